//! Throughput of training and evaluation of LeNet-5 (28 x 28) and ResNet-8 (32 x 32, the MLPerf Tiny
//! topology) on synthetic pictures, in samples a second.
//!
//! `cargo bench --workspace --bench train`. A case is named `network/backend/threads/shards`.

use std::fmt;

use divan::counter::ItemsCount;
use espalier_ir::{Conv, Diagnostic, Graph, NodeId, Op, Pads, ParamId, Pool, Tensor, TensorMap};
use espalier_train::{Backend, Execution, FineTuning, Samples, TrainConfig, evaluate, fine_tune};

fn main() {
    divan::main();
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Net {
    LeNet,
    ResNet8,
}

impl Net {
    fn graph(self) -> Graph {
        match self {
            Net::LeNet => lenet(),
            Net::ResNet8 => resnet8(),
        }
        .expect("the network is well formed")
    }

    fn samples(self, backend: Backend) -> usize {
        let n = match self {
            Net::LeNet => 1024,
            Net::ResNet8 => 256,
        };
        if backend == Backend::Ndarray { n / 8 } else { n }
    }

    fn sample_len(self) -> usize {
        match self {
            Net::LeNet => 784,
            Net::ResNet8 => 3072,
        }
    }
}

struct Case(Net, Backend, usize, usize);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}/{}/{}", self.0, self.1, self.2, self.3)
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

/// Convolution (padding "same" of TensorFlow), then normalization and ReLU as asked.
fn block(
    graph: &mut Graph,
    x: NodeId,
    shape: [usize; 4],
    stride: usize,
    norm: bool,
    relu: bool,
) -> Result<NodeId, Diagnostic> {
    let fan_in = shape[1] * shape[2] * shape[3];
    let weight = param(graph, &shape, (6.0 / fan_in as f32).sqrt());
    let bias = Some(param(graph, &shape[..1], 0.1));
    let pads = match (shape[2], stride) {
        (1, _) => Pads::default(),
        (_, 1) => Pads { top: 1, left: 1, bottom: 1, right: 1 },
        _ => Pads { top: 0, left: 0, bottom: 1, right: 1 },
    };
    let conv = Conv { weight, bias, stride: [stride, stride], pads, dilation: [1, 1], groups: 1 };
    let mut x = graph.add("conv", Op::Conv(conv), &[x])?;
    if norm {
        let constant = |graph: &mut Graph, v: f32| graph.add_param("bn", Tensor::f32([shape[0]], vec![v; shape[0]]));
        let [gamma, beta, mean, variance] = [1.0, 0.0, 0.0, 1.0].map(|v| constant(graph, v));
        x = graph.add("bn", Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1e-3 }, &[x])?;
    }
    if relu { graph.add("relu", Op::Relu, &[x]) } else { Ok(x) }
}

fn resnet8() -> Result<Graph, Diagnostic> {
    let mut graph = Graph::new("resnet8");
    let x = graph.add_input("x", &[3, 32, 32])?;
    let mut x = block(&mut graph, x, [16, 3, 3, 3], 1, true, true)?;
    for (inputs, outputs, stride) in [(16, 16, 1), (16, 32, 2), (32, 64, 2)] {
        let y = block(&mut graph, x, [outputs, inputs, 3, 3], stride, true, true)?;
        let y = block(&mut graph, y, [outputs, outputs, 3, 3], 1, true, false)?;
        if stride > 1 {
            x = block(&mut graph, x, [outputs, inputs, 1, 1], stride, false, false)?;
        }
        x = graph.add("add", Op::Add, &[x, y])?;
        x = graph.add("relu", Op::Relu, &[x])?;
    }
    let x = graph.add("pool", Op::GlobalAveragePool, &[x])?;
    let x = graph.add("flatten", Op::Flatten, &[x])?;
    let weight = param(&mut graph, &[10, 64], 0.2);
    let bias = Some(param(&mut graph, &[10], 0.1));
    let x = graph.add("fc", Op::Gemm { weight, bias }, &[x])?;
    graph.add_output(x);
    Ok(graph)
}

#[divan::bench(args = [
    Case(Net::LeNet, Backend::Native, 1, 4),
    Case(Net::LeNet, Backend::Native, 2, 4),
    Case(Net::LeNet, Backend::Flex, 2, 4),
    Case(Net::LeNet, Backend::Ndarray, 2, 2),
    Case(Net::ResNet8, Backend::Native, 1, 4),
    Case(Net::ResNet8, Backend::Native, 2, 4),
    Case(Net::ResNet8, Backend::Flex, 1, 4),
    Case(Net::ResNet8, Backend::Flex, 2, 4),
], sample_count = 5, sample_size = 1)]
fn training(bencher: divan::Bencher<'_, '_>, Case(net, backend, threads, shards): &Case) {
    let (graph, masks) = (net.graph(), TensorMap::new());
    let (samples, sample_len) = (net.samples(*backend), net.sample_len());
    let inputs = values(samples * sample_len, 1.0);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i % 10).collect();
    let train = Samples { inputs: &inputs, labels: &labels, sample_len };
    let task = FineTuning { graph: &graph, masks: &masks, train, validation: None, quantization: None };
    let execution = Execution { backend: *backend, threads: *threads };
    let config = TrainConfig { epochs: 1, shards: *shards, execution, ..Default::default() };
    let run = || fine_tune(&task, &config, &mut |_| Ok(())).expect("training succeeds");
    bencher.counter(ItemsCount::new(samples)).bench(run);
}

/// Masks that keep `percent` of the vectors: the weights of one input channel and tap to eight outputs.
fn masks(graph: &Graph, percent: u32) -> TensorMap {
    let masked = graph.params().filter(|(_, _, p)| p.shape().len() == 4 && p.shape()[1] > 4);
    masked
        .map(|(id, _, p)| {
            let rest = (p.shape()[1] * p.shape()[2] * p.shape()[3]) as u32;
            let keep = |i: u32| {
                let vector = i / rest / 8 * rest + i % rest;
                (vector.wrapping_mul(2_654_435_761) >> 8) % 100 < percent
            };
            let values = (0..p.as_f32().len() as u32).map(|i| f32::from(u8::from(keep(i)))).collect();
            (id, Tensor::f32(p.shape(), values))
        })
        .collect()
}

#[divan::bench(args = [100, 50, 25], sample_count = 5, sample_size = 1)]
fn training_of_pruned_resnet8(bencher: divan::Bencher<'_, '_>, percent: u32) {
    let graph = Net::ResNet8.graph();
    let masks = masks(&graph, percent);
    let (samples, sample_len) = (256, Net::ResNet8.sample_len());
    let inputs = values(samples * sample_len, 1.0);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i % 10).collect();
    let train = Samples { inputs: &inputs, labels: &labels, sample_len };
    let task = FineTuning { graph: &graph, masks: &masks, train, validation: None, quantization: None };
    let config = TrainConfig { epochs: 1, ..Default::default() };
    let run = || fine_tune(&task, &config, &mut |_| Ok(())).expect("training succeeds");
    bencher.counter(ItemsCount::new(samples)).bench(run);
}

#[divan::bench(args = [
    Case(Net::LeNet, Backend::Native, 2, 1),
    Case(Net::LeNet, Backend::Flex, 2, 1),
    Case(Net::LeNet, Backend::Ndarray, 2, 1),
    Case(Net::ResNet8, Backend::Native, 2, 1),
    Case(Net::ResNet8, Backend::Flex, 2, 1),
], sample_count = 5, sample_size = 1)]
fn evaluation(bencher: divan::Bencher<'_, '_>, Case(net, backend, threads, _): &Case) {
    let graph = net.graph();
    let (samples, sample_len) = (net.samples(*backend), net.sample_len());
    let inputs = values(samples * sample_len, 1.0);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i % 10).collect();
    let data = Samples { inputs: &inputs, labels: &labels, sample_len };
    let execution = Execution { backend: *backend, threads: *threads };
    bencher.counter(ItemsCount::new(samples)).bench(|| evaluate(&graph, &data, None, execution).expect("it runs"));
}
