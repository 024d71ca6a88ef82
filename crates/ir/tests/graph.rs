//! Shapes, evaluation and grouping into layers, on graphs small enough to check by hand.

use espalier_ir::{
    Activation, ArrayOp, Conv, ConvTranspose, Curve, Graph, LayerSource, NodeId, Normalize, Op, Pads, Pool, Statistics,
    Tensor, Unary, array_layers, evaluate, evaluate_output,
};

fn conv(graph: &mut Graph, from: NodeId, out: usize, kernel: usize, stride: usize, pads: Pads) -> NodeId {
    let channels = graph.node(from).shape[0];
    let count = out * channels * kernel * kernel;
    let weight = Tensor::f32([out, channels, kernel, kernel], (0..count).map(|i| (i % 7) as f32 - 3.0).collect());
    let weight = graph.add_param("w", weight);
    let op = Conv { weight, bias: None, stride: [stride; 2], pads, dilation: [1, 1], groups: 1 };
    graph.add("conv", Op::Conv(op), &[from]).unwrap()
}

fn batch_norm(graph: &mut Graph, from: NodeId) -> NodeId {
    let c = graph.node(from).shape[0];
    let [gamma, beta, mean, variance] =
        [2.0, 1.0, 0.5, 4.0].map(|v| graph.add_param("bn", Tensor::f32([c], vec![v; c])));
    graph.add("bn", Op::BatchNorm { gamma, beta, mean, variance, epsilon: 0.0 }, &[from]).unwrap()
}

fn pool(kernel: usize, stride: usize, pad: usize) -> Pool {
    Pool { kernel: [kernel; 2], stride: [stride; 2], pads: Pads { top: pad, left: pad, bottom: 0, right: 0 } }
}

#[test]
fn convolution_with_stride_and_one_sided_padding() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 3, 3]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([1, 1, 2, 2], vec![1.0, 10.0, 100.0, 1000.0]));
    let bias = graph.add_param("b", Tensor::f32([1], vec![0.5]));
    let pads = Pads { top: 1, left: 0, bottom: 0, right: 1 };
    let op = Conv { weight, bias: Some(bias), stride: [2, 2], pads, dilation: [1, 1], groups: 1 };
    let y = graph.add("y", Op::Conv(op), &[x]).unwrap();
    graph.add_output(y);
    assert_eq!(graph.node(y).shape, [1, 2, 2]);
    let input: Vec<f32> = (1..=9).map(|v| v as f32).collect();
    // Rows of the padded image: [0 0 0 0] [1 2 3 0] [4 5 6 0] [7 8 9 0].
    assert_eq!(
        evaluate_output(&graph, &[&input]),
        [2100.5, 3.0 * 100.0 + 0.5, 4.0 + 50.0 + 700.0 + 8000.5, 6.0 + 900.5]
    );
    graph.verify().unwrap();
}

#[test]
fn average_pool_counts_padding_only_when_told() {
    for (count_include_pad, expected) in [(true, 0.25), (false, 1.0)] {
        let mut graph = Graph::new("t");
        let x = graph.add_input("x", &[1, 1, 1]).unwrap();
        let op = Op::AveragePool { pool: pool(2, 1, 1), count_include_pad };
        let y = graph.add("y", op, &[x]).unwrap();
        graph.add_output(y);
        assert_eq!(evaluate_output(&graph, &[&[1.0]]), [expected]);
    }
}

#[test]
fn conv_norm_relu_and_pool_are_one_layer() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 8, 8]).unwrap();
    let c = conv(&mut graph, x, 3, 3, 1, Pads { top: 1, left: 1, bottom: 1, right: 1 });
    let b = batch_norm(&mut graph, c);
    let p = graph.add("pool", Op::MaxPool(pool(2, 2, 0)), &[b]).unwrap();
    let r = graph.add("relu", Op::Relu, &[p]).unwrap();
    let flat = graph.add("flat", Op::Flatten, &[r]).unwrap();
    let weight = graph.add_param("fc", Tensor::f32([2, 48], vec![0.0; 96]));
    let fc = graph.add("fc", Op::Gemm { weight, bias: None }, &[flat]).unwrap();
    let softmax = graph.add("softmax", Op::Softmax { axis: 0 }, &[fc]).unwrap();
    graph.add_output(softmax);

    let layers = array_layers(&graph).unwrap();
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[0].nodes, [c, b, p, r]);
    assert_eq!(layers[0].conv_shape, [3, 8, 8]);
    assert_eq!(layers[0].out_shape, [3, 4, 4]);
    assert_eq!(layers[0].activation, Activation { min: 0.0, max: f32::INFINITY });
    assert_eq!(layers[0].sources, [LayerSource::Input(0)]);
    assert_eq!(layers[0].output_node(), r);
    // The fully connected layer reads the tensor before flattening as one 4x4 kernel.
    assert!(matches!(layers[1].op, ArrayOp::Conv { kernel: [4, 4], .. }), "{:?}", layers[1].op);
    assert_eq!(layers[1].in_shapes, [[3, 4, 4]]);
    assert_eq!(layers[1].out_shape, [2, 1, 1]);
}

#[test]
fn values_read_twice_are_kept() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[2, 4, 4]).unwrap();
    let c = conv(&mut graph, x, 2, 1, 1, Pads::default());
    let r = graph.add("relu", Op::Relu, &[c]).unwrap();
    let sum = graph.add("sum", Op::Add, &[c, r]).unwrap();
    let clip = graph.add("clip", Op::Clip { min: 0.0, max: 6.0 }, &[sum]).unwrap();
    graph.add_output(clip);
    let layers = array_layers(&graph).unwrap();
    // The convolution feeds both the ReLU and the sum, so neither may swallow it.
    assert_eq!(layers.iter().map(|l| l.op_name).collect::<Vec<_>>(), ["Conv", "Relu", "Add"]);
    assert_eq!(layers[0].activation, Activation::NONE);
    assert_eq!(layers[2].sources, [LayerSource::Layer(0), LayerSource::Layer(1)]);
    assert_eq!(layers[2].activation, Activation { min: 0.0, max: 6.0 });
}

#[test]
fn overlapping_or_padded_pools_stay_layers_of_their_own() {
    for p in [pool(3, 2, 0), pool(2, 2, 1)] {
        let mut graph = Graph::new("t");
        let x = graph.add_input("x", &[1, 9, 9]).unwrap();
        let c = conv(&mut graph, x, 2, 1, 1, Pads::default());
        let y = graph.add("pool", Op::MaxPool(p), &[c]).unwrap();
        graph.add_output(y);
        let layers = array_layers(&graph).unwrap();
        assert_eq!(layers.len(), 2);
        assert_eq!(layers[1].op, ArrayOp::MaxPool { pool: p });
    }
}

#[test]
fn all_unsupported_nodes_are_reported_at_once() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[4, 4, 2]).unwrap();
    let reshape = graph.add("odd", Op::Reshape { shape: vec![2, 4, 4] }, &[x]).unwrap();
    let soft = graph.add("mid", Op::Softmax { axis: 0 }, &[reshape]).unwrap();
    let relu = graph.add("relu", Op::Relu, &[soft]).unwrap();
    graph.add_output(relu);
    let findings = array_layers(&graph).unwrap_err();
    let places: Vec<&str> = findings.iter().map(|f| f.at.as_str()).collect();
    assert_eq!(places, ["node 'odd'", "node 'mid'"]);
    assert!(findings.iter().all(|f| f.help.is_some()));
}

#[test]
fn operators_of_the_host_are_listed_and_selections_are_layers() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[2, 4, 4]).unwrap();
    let picked = graph.add("pick", Op::Select { channels: vec![Some(1), None, Some(0)] }, &[x]).unwrap();
    let relu = graph.add("relu", Op::Relu, &[picked]).unwrap();
    let mask = graph.add("mask", Op::Select { channels: vec![Some(0)] }, &[relu]).unwrap();
    let layers = |graph: &Graph, output| {
        let mut graph = graph.clone();
        graph.add_output(output);
        array_layers(&graph)
    };
    let found = layers(&graph, mask).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].op, ArrayOp::Select { channels: vec![Some(1), None, Some(0)] });
    assert_eq!((found[0].out_shape, found[0].activation.min), ([3, 4, 4], 0.0));
    let product = graph.add("product", Op::Mul, &[relu, mask]).unwrap();
    let bent = graph.add("bent", Op::Unary(Unary::Tanh), &[product]).unwrap();
    let slope = graph.add_param("slope", Tensor::f32([3], vec![0.5; 3]));
    let sloped = graph.add("sloped", Op::PRelu { slope }, &[bent]).unwrap();
    let large = graph.add("large", Op::Resize { factor: [2, 1] }, &[sloped]).unwrap();
    let above = graph.add("above", Op::Concat { axis: 1 }, &[large, large]).unwrap();
    let offset = graph.add_param("offset", Tensor::f32([3, 16, 4], vec![0.5; 192]));
    let placed = graph.add("placed", Op::Offset { offset }, &[above]).unwrap();
    let norm = Normalize { over: Statistics::Position, gamma: slope, beta: slope, epsilon: 1e-5 };
    let normal = graph.add("normal", Op::Normalize(norm), &[placed]).unwrap();
    let scores = graph.add("scores", Op::MatMul { transpose: [false, true] }, &[normal, normal]).unwrap();
    let weights = graph.add("weights", Op::Softmax { axis: 2 }, &[scores]).unwrap();
    let findings = layers(&graph, weights).unwrap_err();
    let places: Vec<&str> = findings.iter().map(|f| f.at.trim_start_matches("node ").trim_matches('\'')).collect();
    let refused = ["product", "above", "placed", "normal", "scores", "weights"];
    assert_eq!(places, refused, "layers that read them need no finding of their own");
    assert!(findings.iter().all(|f| f.code == "unsupported-on-accelerator" && f.help.is_some()));
}

#[test]
fn functions_and_larger_maps_are_layers() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[2, 4, 4]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([2, 3, 4, 2], vec![1.0; 48]));
    let conv = ConvTranspose {
        weight,
        bias: None,
        stride: [2, 2],
        pads: Pads { top: 1, left: 0, bottom: 1, right: 0 },
        output_pads: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let grown = graph.add("grown", Op::ConvTranspose(conv.clone()), &[x]).unwrap();
    let gate = graph.add("gate", Op::Unary(Unary::Sigmoid), &[grown]).unwrap();
    let silu = graph.add("silu", Op::Mul, &[gate, grown]).unwrap();
    let large = graph.add("large", Op::Resize { factor: [2, 1] }, &[silu]).unwrap();
    let relu = graph.add("relu", Op::Relu, &[large]).unwrap();
    let tanh = graph.add("tanh", Op::Unary(Unary::Tanh), &[relu]).unwrap();
    let slope = graph.add_param("slope", Tensor::f32([3], vec![0.5; 3]));
    let sloped = graph.add("sloped", Op::PRelu { slope }, &[tanh]).unwrap();
    graph.add_output(sloped);
    let layers = array_layers(&graph).unwrap();
    let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["grown", "large", "sloped"]);
    assert_eq!(layers[0].nodes, [grown, gate, silu]);
    let curve = layers[0].curve.clone().unwrap();
    assert_eq!((curve.function, curve.operand), (Curve::Gated(Unary::Sigmoid), grown));
    assert_eq!((layers[0].conv_shape, layers[0].out_shape), ([3, 4, 4], [3, 8, 8]));
    assert_eq!((layers[1].conv_shape, layers[1].out_shape, layers[1].activation.min), ([3, 8, 8], [3, 16, 8], 0.0));
    assert_eq!(layers[1].curve.clone().unwrap().operand, relu);
    assert_eq!(layers[2].curve.clone().unwrap().function, Curve::Sloped(vec![0.5; 3]));
    // A map that does not grow by whole factors, and taps that are apart.
    let [odd, apart] = [
        ConvTranspose { pads: Pads::default(), stride: [3, 2], ..conv.clone() },
        ConvTranspose { dilation: [2, 1], pads: Pads { top: 3, ..conv.pads }, output_pads: [1, 0], ..conv },
    ];
    for (op, what) in [(odd, "does not divide"), (apart, "dilation")] {
        let mut graph = graph.clone();
        let node = graph.add("n", Op::ConvTranspose(op), &[x]).unwrap();
        graph.add_output(node);
        let findings = array_layers(&graph).unwrap_err();
        assert!(findings.iter().all(|f| f.message.contains(what)), "{findings}");
    }
}

#[test]
fn channels_pixels_and_maps_by_hand() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[2, 1, 2]).unwrap();
    let column = graph.add("column", Op::Select { channels: vec![None, Some(1), Some(1)] }, &[x]).unwrap();
    let row = graph.add("row", Op::Select { channels: vec![Some(0)] }, &[x]).unwrap();
    let product = graph.add("product", Op::Mul, &[row, column]).unwrap();
    let resized = graph.add("resized", Op::Resize { factor: [2, 2] }, &[x]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([2, 1, 1, 2], vec![1.0, 10.0, 100.0, 1000.0]));
    let op = ConvTranspose {
        weight,
        bias: None,
        stride: [1, 2],
        pads: Pads { left: 1, ..Pads::default() },
        output_pads: [0, 1],
        dilation: [1, 1],
        groups: 2,
    };
    let grown = graph.add("grown", Op::ConvTranspose(op), &[x]).unwrap();
    let slope = graph.add_param("s", Tensor::f32([2], vec![0.5, 2.0]));
    let bent = graph.add("bent", Op::PRelu { slope }, &[x]).unwrap();
    for node in [product, resized, grown, bent] {
        graph.add_output(node);
    }
    graph.verify().unwrap();
    let values = evaluate(&graph, &[&[-1.0, 2.0, -3.0, 4.0]]);
    assert_eq!(values[&product], [0.0, 0.0, 3.0, 8.0, 3.0, 8.0]);
    assert_eq!(values[&resized], [[-1.0, -1.0, 2.0, 2.0].repeat(2), [-3.0, -3.0, 4.0, 4.0].repeat(2)].concat());
    // The first column is cut off, one is added.
    assert_eq!(values[&grown], [-10.0, 2.0, 20.0, 0.0, -3000.0, 400.0, 4000.0, 0.0]);
    assert_eq!(values[&bent], [-0.5, 2.0, -6.0, 4.0]);
    // Two products for each of two inputs, in each of two groups.
    assert_eq!(graph.macs(), 8);
}

#[test]
fn selections_gates_and_slopes_have_to_fit() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[3, 4, 4]).unwrap();
    let pair = graph.add("pair", Op::Select { channels: vec![Some(0), Some(2)] }, &[x]).unwrap();
    let mut refused = |op: Op, from: &[NodeId]| graph.add("n", op, from).unwrap_err().code;
    assert_eq!(refused(Op::Select { channels: vec![Some(3)] }, &[x]), "shape-mismatch");
    assert_eq!(refused(Op::Select { channels: Vec::new() }, &[x]), "shape-mismatch");
    assert_eq!(refused(Op::Mul, &[x, pair]), "shape-mismatch");
    assert_eq!(refused(Op::Resize { factor: [usize::MAX, 2] }, &[x]), "shape-mismatch");
    assert_eq!(refused(Op::Resize { factor: [0, 2] }, &[x]), "shape-mismatch");
    let slope = graph.add_param("s", Tensor::f32([2], vec![0.5, 2.0]));
    assert_eq!(graph.add("n", Op::PRelu { slope }, &[x]).unwrap_err().code, "shape-mismatch");
    let weight = graph.add_param("w", Tensor::f32([3, 1, 2, 2], vec![1.0; 12]));
    let pads = Pads { top: usize::MAX, ..Pads::default() };
    for (pads, output_pads, groups) in [(pads, [0, 0], 1), (Pads::default(), [1, 0], 1), (Pads::default(), [0, 0], 2)] {
        let (stride, dilation) = ([1, 1], [1, 1]);
        let op = ConvTranspose { weight, bias: None, stride, pads, output_pads, dilation, groups };
        assert_eq!(graph.add("n", Op::ConvTranspose(op), &[x]).unwrap_err().code, "shape-mismatch");
    }
}

#[test]
fn shapes_that_do_not_fit_or_overflow_are_errors() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 4, 4]).unwrap();
    let y = graph.add_input("y", &[1, 4, 5]).unwrap();
    let code = |r: Result<NodeId, espalier_ir::Diagnostic>| r.unwrap_err().code;
    assert_eq!(code(graph.add("sum", Op::Add, &[x, y])), "shape-mismatch");
    assert_eq!(code(graph.add("pool", Op::MaxPool(pool(5, 1, 0)), &[x])), "shape-mismatch");
    assert_eq!(code(graph.add("pool", Op::MaxPool(pool(2, 0, 0)), &[x])), "shape-mismatch");
    assert_eq!(code(graph.add_input("huge", &[usize::MAX, 2, 2])), "shape-mismatch");
    assert_eq!(code(graph.add_input("empty", &[0, 2])), "shape-mismatch");
    let pads = Pads { top: usize::MAX, ..Pads::default() };
    let weight = graph.add_param("w", Tensor::f32([1, 1, 1, 1], vec![1.0]));
    let op = Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
    assert_eq!(code(graph.add("conv", Op::Conv(op), &[x])), "shape-mismatch");
}

#[test]
fn bypass_rewires_readers_and_outputs_in_operand_order() {
    let mut graph = Graph::new("t");
    let a = graph.add_input("a", &[2]).unwrap();
    let b = graph.add_input("b", &[2]).unwrap();
    let r = graph.add("r", Op::Relu, &[b]).unwrap();
    let cat = graph.add("cat", Op::Concat { axis: 0 }, &[r, a]).unwrap();
    let last = graph.add("last", Op::Relu, &[cat]).unwrap();
    graph.add_output(last);
    graph.bypass(r);
    graph.bypass(last);
    assert_eq!(graph.operands(cat), [b, a]);
    assert_eq!(graph.outputs(), [cat]);
    graph.verify().unwrap();
}

#[test]
fn damaged_weights_are_found() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([1, 1], vec![f32::NAN]));
    let y = graph.add("y", Op::Gemm { weight, bias: None }, &[x]).unwrap();
    graph.add_output(y);
    assert_eq!(graph.verify().unwrap_err().iter().next().unwrap().code, "non-finite-weight");
}

#[test]
fn operators_behind_flattening_work_on_the_tensor_or_are_refused() {
    let mut graph = Graph::new("flat");
    let input = graph.add_input("x", &[2, 3, 3]).unwrap();
    let relu = graph.add("relu", Op::Relu, &[input]).unwrap();
    let flat = [input, relu].map(|n| graph.add("flat", Op::Flatten, &[n]).unwrap());
    let sum = graph.add("sum", Op::Add, &flat).unwrap();
    graph.add_output(sum);
    // Both operands are stored alike: a sum of tensors.
    let layers = array_layers(&graph).unwrap();
    assert_eq!((layers[1].op.clone(), layers[1].out_shape), (ArrayOp::Add, [2, 3, 3]));

    let weight = graph.add_param("w", Tensor::f32([18, 18], vec![0.0; 18 * 18]));
    let gemm = graph.add("gemm", Op::Gemm { weight, bias: None }, &[sum]).unwrap();
    let mixed = graph.add("mixed", Op::Add, &[gemm, sum]).unwrap();
    let joined = graph.add("joined", Op::Concat { axis: 0 }, &[gemm, sum]).unwrap();
    graph.add_output(mixed);
    graph.add_output(joined);
    let refused = array_layers(&graph).unwrap_err();
    let places: Vec<&str> = refused.iter().map(|d| d.at.as_str()).collect();
    assert_eq!(places, ["node 'mixed'", "node 'joined'"]);
}

/// A convolution adds the other operand only if nobody else reads it and nothing lies between.
#[test]
fn additions_are_fused_where_the_convolution_is_private() {
    let build = |relu: bool, shared: bool| {
        let mut graph = Graph::new("sum");
        let x = graph.add_input("x", &[3, 4, 4]).unwrap();
        let weight = graph.add_param("w", Tensor::f32([3, 3, 1, 1], vec![1.0; 9]));
        let (pads, stride, dilation) = (Pads::default(), [1, 1], [1, 1]);
        let conv = Op::Conv(Conv { weight, bias: None, stride, pads, dilation, groups: 1 });
        let mut y = graph.add("conv", conv, &[x]).unwrap();
        if relu {
            y = graph.add("relu", Op::Relu, &[y]).unwrap();
        }
        let sum = graph.add("sum", Op::Add, &[x, y]).unwrap();
        let end = graph.add("end", Op::Relu, &[sum]).unwrap();
        graph.add_output(end);
        if shared {
            graph.add_output(y);
        }
        array_layers(&graph).unwrap()
    };
    let fused = build(false, false);
    assert_eq!((fused.len(), fused[0].sources.len(), fused[0].nodes.len()), (1, 2, 3));
    assert!(fused[0].residual.as_ref().is_some_and(|r| r.stride == [1, 1] && r.channels.is_none()));
    assert_eq!(fused[0].activation.min, 0.0);
    for apart in [build(true, false), build(false, true)] {
        assert_eq!(apart.len(), 2);
        assert!(apart.iter().all(|l| l.residual.is_none()));
        assert_eq!(apart[1].op, ArrayOp::Add);
    }
}

#[test]
fn products_and_sums_over_parts_of_a_sample() {
    let mut graph = Graph::new("t");
    let a = graph.add_input("a", &[2, 3]).unwrap();
    let product = |graph: &mut Graph, transpose| graph.add("p", Op::MatMul { transpose }, &[a, a]);
    assert!(product(&mut graph, [false, false]).is_err(), "2 x 3 times 2 x 3");
    let outer = product(&mut graph, [true, false]).unwrap();
    let inner = product(&mut graph, [false, true]).unwrap();
    let soft = graph.add("soft", Op::Softmax { axis: 1 }, &[a]).unwrap();
    let above = graph.add("above", Op::Concat { axis: 1 }, &[a, a]).unwrap();
    let offset = graph.add_param("o", Tensor::f32([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let moved = graph.add("moved", Op::Offset { offset }, &[a]).unwrap();
    assert_eq!(graph.node(outer).shape, [3, 3]);
    assert_eq!(graph.node_macs(outer), 18);
    assert_eq!(graph.node_macs(inner), 12);
    [outer, inner, soft, above, moved].into_iter().for_each(|n| graph.add_output(n));
    let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let values = evaluate(&graph, &[&x]);
    assert_eq!(values[&outer], [9.0, 12.0, 15.0, 12.0, 17.0, 22.0, 15.0, 22.0, 29.0]);
    assert_eq!(values[&inner], [5.0, 14.0, 14.0, 50.0]);
    assert_eq!(values[&above], [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
    assert_eq!(values[&moved], [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    // Both rows differ by a constant only.
    assert_eq!(values[&soft][..3], values[&soft][3..]);
    assert!((values[&soft][..3].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    // Three axes: as many products as the first one counts.
    let pairs = graph.add_input("pairs", &[2, 1, 2]).unwrap();
    let each = graph.add("each", Op::MatMul { transpose: [false, true] }, &[pairs, pairs]).unwrap();
    let values = evaluate(&graph, &[&x, &[1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(values[&each], [5.0, 25.0]);
}

#[test]
fn statistics_of_a_sample_are_those_of_its_groups_or_positions() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[4, 1, 2]).unwrap();
    let gamma = graph.add_param("g", Tensor::f32([4], vec![1.0, 1.0, 1.0, 2.0]));
    let beta = graph.add_param("b", Tensor::f32([4], vec![0.0, 0.0, 0.0, 10.0]));
    let normalize =
        |graph: &mut Graph, over| graph.add("n", Op::Normalize(Normalize { over, gamma, beta, epsilon: 0.0 }), &[x]);
    let groups = normalize(&mut graph, Statistics::Groups(2)).unwrap();
    let positions = normalize(&mut graph, Statistics::Position).unwrap();
    assert!(normalize(&mut graph, Statistics::Groups(3)).is_err());
    assert!(normalize(&mut graph, Statistics::Groups(0)).is_err());
    // Two values each side of the mean, one apart: plus and minus one.
    let values = evaluate(&graph, &[&[0.0, 0.0, 2.0, 2.0, 5.0, 7.0, 7.0, 5.0]]);
    assert_eq!(values[&groups], [-1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 12.0, 8.0]);
    let values = evaluate(&graph, &[&[1.0, 0.0, 1.0, 2.0, 3.0, 0.0, 3.0, 2.0]]);
    assert_eq!(values[&positions], [-1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 12.0, 12.0]);
}
