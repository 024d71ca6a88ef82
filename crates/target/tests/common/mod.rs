//! Small networks for the tests.
#![allow(dead_code, reason = "each test file uses some of them")]

use espalier_ir::{Conv, Graph, NodeId, Op, Pads, Pool, Tensor, array_layers};
use espalier_target::{AcceleratorConfig, NetworkGeometry, geometry, graph_ends};

/// Padding of `p` on all sides.
pub fn pads(p: usize) -> Pads {
    Pads { top: p, left: p, bottom: p, right: p }
}

/// Adds a convolution whose weights are all 1.
pub fn conv(
    graph: &mut Graph,
    from: NodeId,
    weight: [usize; 4],
    stride: [usize; 2],
    pads: Pads,
    dilation: [usize; 2],
    groups: usize,
) -> NodeId {
    let weight = graph.add_param("w", Tensor::f32(weight, vec![1.0; weight.iter().product()]));
    let op = Op::Conv(Conv { weight, bias: None, stride, pads, dilation, groups });
    graph.add("conv", op, &[from]).expect("a valid convolution")
}

/// Adds a plain convolution with stride 1.
pub fn conv2d(graph: &mut Graph, from: NodeId, out: usize, kernel: usize, pad: usize) -> NodeId {
    let channels = graph.node(from).shape[0];
    conv(graph, from, [out, channels, kernel, kernel], [1, 1], pads(pad), [1, 1], 1)
}

/// Adds a fully connected layer over the flattened value.
pub fn dense(graph: &mut Graph, from: NodeId, out: usize) -> NodeId {
    let flat = graph.add("flat", Op::Flatten, &[from]).expect("flattens");
    let inputs = graph.node(flat).shape[0];
    let weight = graph.add_param("w", Tensor::f32([out, inputs], vec![1.0; out * inputs]));
    graph.add("fc", Op::Gemm { weight, bias: None }, &[flat]).expect("a valid layer")
}

/// Adds ReLU.
pub fn relu(graph: &mut Graph, from: NodeId) -> NodeId {
    graph.add("relu", Op::Relu, &[from]).expect("a valid layer")
}

/// Adds maximum pooling.
pub fn max_pool(graph: &mut Graph, from: NodeId, kernel: usize, stride: usize, pad: usize) -> NodeId {
    let pool = Pool { kernel: [kernel; 2], stride: [stride; 2], pads: pads(pad) };
    graph.add("pool", Op::MaxPool(pool), &[from]).expect("a valid layer")
}

/// LeNet-5 with ReLU and maximum pooling on 28x28.
pub fn lenet() -> Graph {
    let mut g = Graph::new("lenet");
    let x = g.add_input("x", &[1, 28, 28]).expect("an input");
    let c1 = conv2d(&mut g, x, 6, 5, 2);
    let r1 = relu(&mut g, c1);
    let p1 = max_pool(&mut g, r1, 2, 2, 0);
    let c2 = conv2d(&mut g, p1, 16, 5, 0);
    let r2 = relu(&mut g, c2);
    let p2 = max_pool(&mut g, r2, 2, 2, 0);
    let f1 = dense(&mut g, p2, 120);
    let f1 = relu(&mut g, f1);
    let f2 = dense(&mut g, f1, 84);
    let f2 = relu(&mut g, f2);
    let f3 = dense(&mut g, f2, 10);
    g.add_output(f3);
    g
}

/// ResNet-8 for CIFAR-10: 3x3 convolutions of 16, 32 and 64 channels with residual additions.
pub fn resnet8() -> Graph {
    let mut g = Graph::new("resnet8");
    let x = g.add_input("x", &[3, 32, 32]).expect("an input");
    let c = conv2d(&mut g, x, 16, 3, 1);
    let mut y = relu(&mut g, c);
    for (stage, out) in [16, 32, 64].into_iter().enumerate() {
        let stride = if stage == 0 { 1 } else { 2 };
        let channels = g.node(y).shape[0];
        let a = conv(&mut g, y, [out, channels, 3, 3], [stride; 2], pads(1), [1, 1], 1);
        let a = relu(&mut g, a);
        let b = conv2d(&mut g, a, out, 3, 1);
        let shortcut =
            if stage == 0 { y } else { conv(&mut g, y, [out, channels, 1, 1], [stride; 2], pads(0), [1, 1], 1) };
        let sum = g.add("add", Op::Add, &[b, shortcut]).expect("equal shapes");
        y = relu(&mut g, sum);
    }
    let mean = g.add("gap", Op::GlobalAveragePool, &[y]).expect("a map");
    let logits = dense(&mut g, mean, 10);
    let out = g.add("softmax", Op::Softmax { axis: 0 }, &[logits]).expect("features");
    g.add_output(out);
    g
}

/// The geometry of a graph that must be mappable.
pub fn network(graph: &Graph, config: &AcceleratorConfig) -> NetworkGeometry {
    let layers = array_layers(graph).expect("supported operators");
    let (inputs, outputs) = graph_ends(graph, &layers);
    geometry(&layers, &inputs, &outputs, config).expect("mappable")
}
