//! Throughput of training and evaluation of LeNet-5 on synthetic 28 x 28 pictures, in samples a second.
//!
//! `cargo bench -p espalier-train`. A case is named `backend/threads/shards`.

use std::fmt;

use divan::counter::ItemsCount;
use espalier_ir::{Conv, Diagnostic, Graph, NodeId, Op, Pads, ParamId, Pool, Tensor, TensorMap};
use espalier_train::{Backend, Execution, FineTuning, Samples, TrainConfig, evaluate, fine_tune};

const SAMPLES: usize = 1024;

fn main() {
    divan::main();
}

struct Case(Backend, usize, usize);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}/{}", self.0, self.1, self.2)
    }
}

fn values(n: usize, scale: f32) -> Vec<f32> {
    (0..n as u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale).collect()
}

fn param(graph: &mut Graph, shape: &[usize], scale: f32) -> ParamId {
    graph.add_param("p", Tensor::f32(shape, values(shape.iter().product(), scale)))
}

fn conv(graph: &mut Graph, x: NodeId, shape: [usize; 4], pad: usize) -> Result<NodeId, Diagnostic> {
    let weight = param(graph, &shape, 0.2);
    let bias = Some(param(graph, &shape[..1], 0.1));
    let pads = Pads { top: pad, left: pad, bottom: pad, right: pad };
    let x =
        graph.add("conv", Op::Conv(Conv { weight, bias, stride: [1, 1], pads, dilation: [1, 1], groups: 1 }), &[x])?;
    let x = graph.add("relu", Op::Relu, &[x])?;
    let pool = Pool { kernel: [2, 2], stride: [2, 2], pads: Pads::default() };
    graph.add("pool", Op::MaxPool(pool), &[x])
}

fn lenet() -> Result<Graph, Diagnostic> {
    let mut graph = Graph::new("lenet");
    let x = graph.add_input("x", &[1, 28, 28])?;
    let x = conv(&mut graph, x, [6, 1, 5, 5], 2)?;
    let x = conv(&mut graph, x, [16, 6, 5, 5], 0)?;
    let mut x = graph.add("flatten", Op::Flatten, &[x])?;
    for (position, shape) in [[120, 400], [84, 120], [10, 84]].into_iter().enumerate() {
        let weight = param(&mut graph, &shape, 0.1);
        let bias = Some(param(&mut graph, &shape[..1], 0.1));
        x = graph.add("fc", Op::Gemm { weight, bias }, &[x])?;
        if position < 2 {
            x = graph.add("relu", Op::Relu, &[x])?;
        }
    }
    graph.add_output(x);
    Ok(graph)
}

#[divan::bench(args = [
    Case(Backend::Flex, 1, 1), Case(Backend::Flex, 1, 2), Case(Backend::Flex, 2, 2), Case(Backend::Flex, 2, 4),
    Case(Backend::Ndarray, 2, 2),
], sample_count = 10, sample_size = 1)]
fn training(bencher: divan::Bencher<'_, '_>, Case(backend, threads, shards): &Case) {
    let (graph, masks) = (lenet().expect("the network is well formed"), TensorMap::new());
    let samples = SAMPLES / if *backend == Backend::Ndarray { 8 } else { 1 };
    let inputs = values(samples * 784, 1.0);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i % 10).collect();
    let train = Samples { inputs: &inputs, labels: &labels, sample_len: 784 };
    let task = FineTuning { graph: &graph, masks: &masks, train, validation: None, quantization: None };
    let execution = Execution { backend: *backend, threads: *threads };
    let config = TrainConfig { epochs: 1, shards: *shards, execution, ..Default::default() };
    bencher.counter(ItemsCount::new(samples)).bench(|| fine_tune(&task, &config, &mut |_| Ok(())));
}

#[divan::bench(args = [
    Case(Backend::Flex, 1, 1), Case(Backend::Flex, 2, 1), Case(Backend::Ndarray, 2, 1),
], sample_count = 10, sample_size = 1)]
fn evaluation(bencher: divan::Bencher<'_, '_>, Case(backend, threads, _): &Case) {
    let graph = lenet().expect("the network is well formed");
    let inputs = values(SAMPLES * 784, 1.0);
    let labels: Vec<u32> = (0..SAMPLES as u32).map(|i| i % 10).collect();
    let samples = Samples { inputs: &inputs, labels: &labels, sample_len: 784 };
    let execution = Execution { backend: *backend, threads: *threads };
    bencher.counter(ItemsCount::new(SAMPLES)).bench(|| evaluate(&graph, &samples, None, execution));
}
