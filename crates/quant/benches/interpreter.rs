//! Speed of the reference interpreter, in samples, on a LeNet-like and a residual network.

use divan::counter::ItemsCount;
use espalier_ir::{Conv, Graph, NodeId, Op, Pads, Pool, Tensor};
use espalier_quant::{CalibrationMethod, QuantizeOptions, QuantizedGraph, ReferenceInterpreter, calibrate, quantize};

fn main() {
    divan::main();
}

fn weight(graph: &mut Graph, shape: &[usize]) -> espalier_ir::ParamId {
    let count = shape.iter().product();
    let values = (0..count).map(|i: usize| ((i * 7919 % 255) as f32 - 127.0) / 1000.0).collect();
    graph.add_param("w", Tensor::f32(shape, values))
}

fn conv(graph: &mut Graph, from: NodeId, out: usize, kernel: usize, pad: usize) -> NodeId {
    let channels = graph.node(from).shape[0];
    let weight = weight(graph, &[out, channels, kernel, kernel]);
    let pads = Pads { top: pad, left: pad, bottom: pad, right: pad };
    let op = Op::Conv(Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups: 1 });
    let node = graph.add("conv", op, &[from]).unwrap();
    graph.add("relu", Op::Relu, &[node]).unwrap()
}

fn quantized(mut graph: Graph, output: NodeId) -> QuantizedGraph {
    graph.add_output(output);
    let count = graph.node(graph.inputs()[0]).shape.iter().product();
    let sample: Vec<f32> = (0..count).map(|i: usize| (i % 11) as f32 / 10.0).collect();
    let table = calibrate(&graph, &mut [sample.as_slice()].into_iter(), CalibrationMethod::Range).unwrap();
    quantize(&graph, &table, &QuantizeOptions::default()).unwrap()
}

/// 417 k multiply-accumulate operations.
fn lenet() -> QuantizedGraph {
    let mut graph = Graph::new("lenet");
    let mut x = graph.add_input("x", &[1, 28, 28]).unwrap();
    for (out, pad) in [(6, 2), (16, 0)] {
        x = conv(&mut graph, x, out, 5, pad);
        let pool = Pool { kernel: [2, 2], stride: [2, 2], pads: Pads::default() };
        x = graph.add("pool", Op::MaxPool(pool), &[x]).unwrap();
    }
    x = graph.add("flat", Op::Flatten, &[x]).unwrap();
    for out in [120, 84, 10] {
        let features = graph.node(x).shape[0];
        let weight = weight(&mut graph, &[out, features]);
        x = graph.add("fc", Op::Gemm { weight, bias: None }, &[x]).unwrap();
    }
    quantized(graph, x)
}

/// 4.9 M multiply-accumulate operations.
fn residual() -> QuantizedGraph {
    let mut graph = Graph::new("residual");
    let x = graph.add_input("x", &[3, 32, 32]).unwrap();
    let x = conv(&mut graph, x, 16, 3, 1);
    let y = conv(&mut graph, x, 16, 3, 1);
    let y = conv(&mut graph, y, 16, 3, 1);
    let y = graph.add("sum", Op::Add, &[x, y]).unwrap();
    quantized(graph, y)
}

fn bench(bencher: divan::Bencher, model: &QuantizedGraph) {
    let interpreter = ReferenceInterpreter::new(model);
    let input = vec![17; model.input_elements()];
    bencher.counter(ItemsCount::new(1u32)).bench(|| interpreter.predict(divan::black_box(&input)));
}

#[divan::bench]
fn lenet_sample(bencher: divan::Bencher) {
    bench(bencher, &lenet());
}

#[divan::bench]
fn residual_sample(bencher: divan::Bencher) {
    bench(bencher, &residual());
}

#[divan::bench]
fn prepare_lenet(bencher: divan::Bencher) {
    let model = lenet();
    bencher.bench(|| ReferenceInterpreter::new(&model));
}
