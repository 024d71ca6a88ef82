//! Seeded random networks, samples and configurations, for tests of this crate and of those above it.
//!
//! Networks hold what the accelerator supports in unusual sizes: odd channel counts, strides beyond
//! the kernel, dilation, groups, one-sided padding, overlapping and fused pooling, sums and joins of
//! any earlier values, and pruned vectors up to whole layers of zeros.

use espalier_ir::{Conv, ConvTranspose, Diagnostics, Graph, NodeId, Op, Pads, Pool, Tensor, Unary};
use espalier_quant::{CalibrationMethod, QuantizeOptions, QuantizedGraph, calibrate, quantize};
use espalier_target::{AcceleratorConfig, ActivationStore, Multiplier, WeightSource};

use crate::compile;

mod recurrent;

pub use recurrent::recurrent_network;

/// Seeded draws for tests.
#[derive(Debug, Clone)]
pub struct Random(espalier_ir::Random);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Random(espalier_ir::Random::new(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number in `low..=high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() % (high - low + 1) as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.within(0, 99) < percent
    }

    /// A number in -1..1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Rows and columns from 4 to 32 independently, often few accumulator pixels, one or two vectors a row, some on shared
/// multipliers, a depthwise unit where it is possible, weights on the chip or streamed, and one to eight clusters.
pub fn random_config(random: &mut Random) -> AcceleratorConfig {
    let side = |random: &mut Random| if random.chance(50) { 4 << random.within(0, 3) } else { random.within(4, 32) };
    let (rows, cols) = (side(random), side(random));
    let pixels = if random.chance(50) { random.within(16, 40) } else { 16 << random.within(0, 6) };
    let combine = random.within(1, 2);
    let multiplier = if pixels % 2 == 1 { Multiplier::Packed } else { Multiplier::Plain };
    let depthwise_taps = if rows <= cols { [0, 2, 3, 4][random.within(0, 3)] } else { 0 };
    let weights = if random.chance(30) { WeightSource::Streamed } else { WeightSource::OnChip };
    let config = AcceleratorConfig {
        combine,
        clusters: [1, 1, 2, 4, 1, 8][(pixels / 2 + cols) % 6],
        multiplier,
        depthwise_taps,
        activation_tables: random.chance(90),
        gates: depthwise_taps > 0 && random.chance(70),
        argmax: (pixels + cols).is_multiple_of(3),
        weights,
        ..AcceleratorConfig::new(rows, cols, 1 << 15, pixels)
    };
    AcceleratorConfig { states: config.gates && (pixels + rows).is_multiple_of(2), ..config }
}

/// The configuration with lanes that hold 30 to 95 % of what a network needs, so that tensors have to be spilled; `None` if
/// the network does not compile even with all it needs.
pub fn spilling(graph: &QuantizedGraph, config: &AcceleratorConfig, random: &mut Random) -> Option<AcceleratorConfig> {
    // Without external memory, its keys have no meaning.
    let on_chip = AcceleratorConfig {
        activations: ActivationStore::OnChip,
        weights: WeightSource::OnChip,
        weight_words: None,
        memory_bytes_per_cycle: None,
        memory_latency_cycles: None,
        ..config.clone()
    };
    let needed = compile(graph, &on_chip).ok()?.memory.peak_bytes;
    let lane_bytes = needed * random.within(30, 95) / 100;
    (lane_bytes >= 16).then(|| AcceleratorConfig {
        lane_bytes,
        activations: ActivationStore::Spilled,
        ..config.clone()
    })
}

/// One depthwise convolution of any shape, and an array with a depthwise unit.
pub fn depthwise_layer(random: &mut Random) -> (Graph, AcceleratorConfig) {
    let channels = random.within(1, 40);
    let kernel = [[1, 1], [3, 3], [5, 5], [10, 4], [1, 7], [4, 2]][random.within(0, 5)];
    let size = [random.within(10, 24), random.within(7, 20)];
    let mut graph = Graph::new("depthwise");
    let x = graph.add_input("x", &[channels, size[0], size[1]]).unwrap();
    let extreme = random.chance(30);
    let weight = |r: &mut Random| if extreme { r.float().signum() } else { r.float() * f32::from(!r.chance(20)) };
    let values = (0..channels * kernel[0] * kernel[1]).map(|_| weight(random)).collect();
    let op = Conv {
        weight: graph.add_param("w", Tensor::f32([channels, 1, kernel[0], kernel[1]], values)),
        bias: None,
        stride: [random.within(1, 3), random.within(1, 3)],
        pads: Pads {
            top: random.within(0, kernel[0] - 1),
            left: random.within(0, kernel[1] - 1),
            bottom: random.within(0, kernel[0] - 1),
            right: random.within(0, kernel[1] - 1),
        },
        dilation: if kernel == [3, 3] { [random.within(1, 2), random.within(1, 2)] } else { [1, 1] },
        groups: channels,
    };
    let y = graph.add("conv", Op::Conv(op), &[x]).unwrap();
    graph.add_output(y);
    let rows = random.within(4, 16);
    let config = AcceleratorConfig {
        depthwise_taps: random.within(2, rows.min(8)),
        combine: random.within(1, 2),
        ..AcceleratorConfig::new(rows, random.within(rows, 20), 1 << 14, 128)
    };
    (graph, config)
}

/// A map with a factor for each channel, computed from another map or an input, and an array that can do it.
pub fn gated_layer(random: &mut Random) -> (Graph, AcceleratorConfig) {
    let channels = random.within(1, 70);
    let mut graph = Graph::new("gated");
    let x = graph.add_input("x", &[channels, random.within(1, 12), random.within(1, 12)]).unwrap();
    let from = if random.chance(50) { conv(&mut graph, random, x).unwrap_or(x) } else { x };
    let y = if random.chance(30) {
        let factors = graph.add_input("factors", &[graph.node(from).shape[0], 1, 1]).unwrap();
        graph.add("scaled", Op::Mul, &[factors, from]).unwrap()
    } else {
        gate(&mut graph, random, from).expect("maps have channels")
    };
    let y =
        if random.chance(50) { conv(&mut graph, random, y).unwrap_or(y) } else { activation(&mut graph, random, y) };
    graph.add_output(y);
    let rows = random.within(4, 12);
    let config = AcceleratorConfig {
        depthwise_taps: random.within(2, rows.min(4)),
        gates: true,
        activation_tables: true,
        combine: random.within(1, 2),
        ..AcceleratorConfig::new(rows, random.within(rows, 14), 1 << 14, [16, 40, 128][random.within(0, 2)])
    };
    (graph, config)
}

/// A network of one to seven operations.
pub fn random_graph(random: &mut Random) -> Graph {
    let mut graph = Graph::new("random");
    let shape = [channels(random), random.within(1, 14), random.within(1, 14)];
    let mut values = vec![graph.add_input("x", &shape).expect("an input of any shape is fine")];
    if random.chance(10) {
        values.push(graph.add_input("x2", &shape).expect("an input of any shape is fine"));
    }
    for _ in 0..random.within(1, 7) {
        // Mostly a chain, sometimes a branch.
        let from =
            if random.chance(80) { values[values.len() - 1] } else { values[random.within(0, values.len() - 1)] };
        values.extend(random_node(&mut graph, random, from, &values));
    }
    if random.chance(40) {
        let from = values[values.len() - 1];
        values.push(classifier(&mut graph, random, from));
    }
    let ends: Vec<NodeId> = graph.nodes().into_iter().filter(|n| graph.consumers(*n).is_empty()).collect();
    let softmax = random.chance(20) && ends.iter().all(|n| graph.node(*n).shape.len() == 1);
    for end in ends {
        let end =
            if softmax { graph.add("softmax", Op::Softmax { axis: 0 }, &[end]).expect("takes anything") } else { end };
        graph.add_output(end);
    }
    graph
}

fn channels(random: &mut Random) -> usize {
    if random.chance(60) { random.within(1, 9) } else { random.within(1, 45) }
}

/// One operation with what may be fused to it; nothing if it does not fit.
fn random_node(graph: &mut Graph, random: &mut Random, from: NodeId, values: &[NodeId]) -> Option<NodeId> {
    let shape = graph.node(from).shape.clone();
    if shape.len() != 3 {
        return None;
    }
    let node = match random.within(0, 12) {
        0..=4 => conv(graph, random, from)?,
        5 => graph.add("pool", Op::MaxPool(pool(random, true)), &[from]).ok()?,
        6 => {
            let op = Op::AveragePool { pool: pool(random, true), count_include_pad: true };
            graph.add("average", op, &[from]).ok()?
        }
        7 if random.chance(60) => residual_block(graph, random, from)?,
        7 => {
            let alike: Vec<NodeId> = values.iter().copied().filter(|v| graph.node(*v).shape == shape).collect();
            let other = alike[random.within(0, alike.len() - 1)];
            graph.add("add", Op::Add, &[from, other]).ok()?
        }
        8 => {
            let fits = |v: &NodeId| graph.node(*v).shape.len() == 3 && graph.node(*v).shape[1..] == shape[1..];
            let alike: Vec<NodeId> = values.iter().copied().filter(fits).collect();
            let parts: Vec<NodeId> =
                (0..random.within(1, 3)).map(|_| alike[random.within(0, alike.len() - 1)]).collect();
            graph.add("concat", Op::Concat { axis: 0 }, &parts).ok()?
        }
        9 => batch_norm(graph, random, from)?,
        10 if shape[1].max(shape[2]) <= 14 => {
            if random.chance(60) {
                conv_transpose(graph, random, from)?
            } else {
                let factor = [random.within(1, 3), random.within(1, 3)];
                graph.add("repeat", Op::Resize { factor }, &[from]).ok()?
            }
        }
        11 => gate(graph, random, from)?,
        _ => select(graph, random, from)?,
    };
    Some(activation(graph, random, node))
}

/// Squeeze and excitation: channels multiplied by what a layer computes from their means.
fn gate(graph: &mut Graph, random: &mut Random, from: NodeId) -> Option<NodeId> {
    let channels = graph.node(from).shape[0];
    let means = graph.add("means", Op::GlobalAveragePool, &[from]).ok()?;
    let op = Conv {
        weight: graph.add_param("weight", weights(random, &[channels, channels, 1, 1])),
        bias: None,
        stride: [1, 1],
        pads: Pads::default(),
        dilation: [1, 1],
        groups: 1,
    };
    let factors = graph.add("excite", Op::Conv(op), &[means]).ok()?;
    let factors = activation(graph, random, factors);
    let operands = if random.chance(50) { [from, factors] } else { [factors, from] };
    graph.add("scaled", Op::Mul, &operands).ok()
}

/// A convolution that keeps the shape, added to what it reads.
fn residual_block(graph: &mut Graph, random: &mut Random, from: NodeId) -> Option<NodeId> {
    let channels = graph.node(from).shape[0];
    let side = 2 * random.within(0, 1) + 1;
    let weight = weights(random, &[channels, channels, side, side]);
    let op = Conv {
        weight: graph.add_param("weight", weight),
        bias: None,
        stride: [1, 1],
        pads: Pads { top: side / 2, left: side / 2, bottom: side / 2, right: side / 2 },
        dilation: [1, 1],
        groups: 1,
    };
    let node = graph.add("inner", Op::Conv(op), &[from]).ok()?;
    let node = if random.chance(30) { batch_norm(graph, random, node)? } else { node };
    let operands = if random.chance(50) { [from, node] } else { [node, from] };
    graph.add("add", Op::Add, &operands).ok()
}

fn conv(graph: &mut Graph, random: &mut Random, from: NodeId) -> Option<NodeId> {
    let inputs = graph.node(from).shape[0];
    let divisors: Vec<usize> = (1..=inputs).filter(|g| inputs.is_multiple_of(*g)).collect();
    let groups = match random.within(0, 9) {
        0..=6 => 1,
        7 => inputs,
        _ => divisors[random.within(0, divisors.len() - 1)],
    };
    let outputs = if groups == 1 { channels(random) } else { groups * random.within(1, 2) };
    let kernel = [random.within(1, 4), random.within(1, 4)];
    let bias = random
        .chance(70)
        .then(|| graph.add_param("bias", Tensor::f32([outputs], (0..outputs).map(|_| random.float()).collect())));
    let weight = weights(random, &[outputs, inputs / groups, kernel[0], kernel[1]]);
    let op = Conv {
        weight: graph.add_param("weight", weight),
        bias,
        stride: [random.within(1, 3), random.within(1, 3)],
        pads: pads(random, kernel, 60),
        dilation: if random.chance(20) { [random.within(1, 2), random.within(1, 2)] } else { [1, 1] },
        groups,
    };
    let node = graph.add("conv", Op::Conv(op), &[from]).ok()?;
    if random.chance(30) { batch_norm(graph, random, node) } else { Some(node) }
}

/// A transposed convolution whose result is a whole multiple of its input.
fn conv_transpose(graph: &mut Graph, random: &mut Random, from: NodeId) -> Option<NodeId> {
    let inputs = graph.node(from).shape[0];
    let groups = if random.chance(30) { inputs } else { 1 };
    let outputs = if groups == 1 { channels(random) } else { groups * random.within(1, 2) };
    let kernel = [random.within(1, 5), random.within(1, 5)];
    let stride = [random.within(1, 3), random.within(1, 3)];
    let mut axis = |i: usize| {
        let before = random.within(0, kernel[i] - 1);
        // (size - 1) * stride + kernel - before - after + more is a multiple of the stride.
        let rest = (kernel[i] + stride[i] * before - before) % stride[i];
        let more = if random.chance(50) { (stride[i] - rest) % stride[i] } else { 0 };
        let after = (rest + more) % stride[i];
        (before, after, more)
    };
    let [(top, bottom, below), (left, right, beside)] = [axis(0), axis(1)];
    let weight = weights(random, &[inputs, outputs / groups, kernel[0], kernel[1]]);
    let op = ConvTranspose {
        weight: graph.add_param("weight", weight),
        bias: None,
        stride,
        pads: Pads { top, left, bottom, right },
        output_pads: [below, beside],
        dilation: [1, 1],
        groups,
    };
    let node = graph.add("enlarge", Op::ConvTranspose(op), &[from]).ok()?;
    if random.chance(30) { batch_norm(graph, random, node) } else { Some(node) }
}

/// Random weights of which vectors, single weights, whole output channels or everything may be zero.
fn weights(random: &mut Random, shape: &[usize]) -> Tensor {
    let per_output: usize = shape[1..].iter().product();
    let sparsity = [0, 0, 30, 70, 95][random.within(0, 4)];
    let scattered = [0, 0, 40, 80][random.within(0, 3)];
    let extreme = random.chance(20);
    let mut values = Vec::new();
    // The same taps vanish for many outputs at once: pruned vectors.
    let kept: Vec<bool> = (0..per_output).map(|_| !random.chance(sparsity)).collect();
    for _ in 0..shape[0] {
        let dead = random.chance(5);
        for kept in &kept {
            let value = if extreme { random.float().signum() * 127.0 / 128.0 } else { random.float() };
            values.push(if *kept && !dead && !random.chance(scattered) { value } else { 0.0 });
        }
    }
    if random.chance(3) {
        values.fill(0.0);
    }
    Tensor::f32(shape, values)
}

fn pads(random: &mut Random, kernel: [usize; 2], percent: usize) -> Pads {
    if !random.chance(percent) {
        return Pads::default();
    }
    let mut below = |k: usize| random.within(0, k - 1);
    Pads { top: below(kernel[0]), left: below(kernel[1]), bottom: below(kernel[0]), right: below(kernel[1]) }
}

fn pool(random: &mut Random, padded: bool) -> Pool {
    let kernel = [random.within(1, 4), random.within(1, 4)];
    let stride = if random.chance(50) { kernel } else { [random.within(1, 4), random.within(1, 4)] };
    Pool { kernel, stride, pads: pads(random, kernel, if padded { 40 } else { 0 }) }
}

/// Channels of a value in any order, some of them twice, some not, and zeros between them.
fn select(graph: &mut Graph, random: &mut Random, from: NodeId) -> Option<NodeId> {
    let available = graph.node(from).shape[0];
    let first = random.within(0, available - 1);
    let channels = match random.within(0, 2) {
        // A slice, and one with zeros around it.
        0 => (first..available).map(Some).collect(),
        1 => {
            let zeros = [random.within(0, 9), random.within(0, 9)].map(|n| vec![None; n]);
            [&zeros[0][..], &(0..available).map(Some).collect::<Vec<_>>(), &zeros[1][..]].concat()
        }
        _ => (0..channels(random)).map(|_| random.chance(85).then(|| random.within(0, available - 1))).collect(),
    };
    graph.add("select", Op::Select { channels }, &[from]).ok()
}

fn batch_norm(graph: &mut Graph, random: &mut Random, from: NodeId) -> Option<NodeId> {
    let count = graph.node(from).shape[0];
    let mut param = |graph: &mut Graph, name: &str, low: f32| {
        let values = (0..count).map(|_| low + random.float()).collect();
        graph.add_param(name, Tensor::f32([count], values))
    };
    let gamma = param(graph, "gamma", 0.5);
    let beta = param(graph, "beta", 0.0);
    let mean = param(graph, "mean", 0.0);
    let variance = param(graph, "variance", 1.5);
    graph.add("norm", Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 }, &[from]).ok()
}

/// Clamping and non-overlapping pooling, or nothing.
fn activation(graph: &mut Graph, random: &mut Random, from: NodeId) -> NodeId {
    let mut node = from;
    match random.within(0, 3) {
        0 | 1 => node = graph.add("relu", Op::Relu, &[node]).expect("takes anything"),
        2 => {
            let clip = Op::Clip { min: -random.float().abs(), max: random.float().abs() + 0.1 };
            node = graph.add("clip", clip, &[node]).expect("takes anything");
        }
        _ => {}
    }
    let bends = random.chance(15);
    let first = random.chance(50);
    if bends && first {
        node = function(graph, random, node);
    }
    if random.chance(25) {
        let kernel = [random.within(1, 3), random.within(1, 3)];
        let pool = Pool { kernel, stride: kernel, pads: Pads::default() };
        node = graph.add("fused", Op::MaxPool(pool), &[node]).unwrap_or(node);
    }
    if bends && !first { function(graph, random, node) } else { node }
}

/// A function of single values: alone, as a gate, or with slopes.
fn function(graph: &mut Graph, random: &mut Random, from: NodeId) -> NodeId {
    let unary = match random.within(0, 5) {
        0 => Unary::Sigmoid,
        1 => Unary::Tanh,
        2 => Unary::LeakyRelu { alpha: random.float() },
        3 => Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        4 => Unary::Elu { alpha: 1.0 },
        _ => Unary::Softplus,
    };
    match random.within(0, 3) {
        0 => {
            let count = if random.chance(30) { 1 } else { graph.node(from).shape[0] };
            let slopes = Tensor::f32([count], (0..count).map(|_| random.float()).collect());
            let slope = graph.add_param("slope", slopes);
            graph.add("prelu", Op::PRelu { slope }, &[from]).expect("a slope a channel")
        }
        1 => {
            let gate = graph.add("gate", Op::Unary(unary), &[from]).expect("takes anything");
            graph.add("gated", Op::Mul, &[from, gate]).expect("equal shapes")
        }
        _ => graph.add("function", Op::Unary(unary), &[from]).expect("takes anything"),
    }
}

/// Flattening and a fully connected layer, perhaps behind a global average.
fn classifier(graph: &mut Graph, random: &mut Random, from: NodeId) -> NodeId {
    let mut node = from;
    if random.chance(30) && graph.node(node).shape.len() == 3 {
        node = graph.add("global", Op::GlobalAveragePool, &[node]).expect("takes maps");
    }
    node = graph.add("flat", Op::Flatten, &[node]).expect("takes anything");
    for _ in 0..random.within(1, 2) {
        let features = graph.node(node).shape[0];
        let outputs = random.within(1, 50);
        let weight = weights(random, &[outputs, features]);
        let weight = graph.add_param("weight", weight);
        let bias = Tensor::f32([outputs], (0..outputs).map(|_| random.float()).collect());
        let bias = Some(graph.add_param("bias", bias));
        node = graph.add("fc", Op::Gemm { weight, bias }, &[node]).expect("the weight fits");
    }
    node
}

/// `graph` quantized with the ranges of a few random samples.
///
/// # Errors
/// As calibration and quantization.
pub fn quantized(graph: &Graph, random: &mut Random) -> Result<QuantizedGraph, Diagnostics> {
    let len: usize = graph.inputs().iter().map(|i| graph.node(*i).shape.iter().product::<usize>()).sum();
    let samples: Vec<Vec<f32>> = (0..3).map(|_| (0..len).map(|_| random.float()).collect()).collect();
    let table = calibrate(graph, &mut samples.iter().map(Vec::as_slice), CalibrationMethod::Range)?;
    quantize(graph, &table, &QuantizeOptions::default())
}

/// A sample of integers: random, with runs of the extremes.
pub fn random_input(graph: &QuantizedGraph, random: &mut Random) -> Vec<i8> {
    let extreme = random.chance(30);
    let value = |random: &mut Random| match (extreme, random.within(0, 9)) {
        (true, 0..=3) => i8::MIN,
        (true, 4..=7) => i8::MAX,
        _ => random.bits() as i8,
    };
    (0..graph.input_elements()).map(|_| value(random)).collect()
}

/// LeNet-5 on 28x28 images with random weights: two 5x5 convolutions with pooling, three fully
/// connected layers.
pub fn lenet(seed: u64) -> Graph {
    let mut random = Random::new(seed);
    let mut graph = Graph::new("lenet");
    let mut node = graph.add_input("image", &[1, 28, 28]).expect("an input of any shape is fine");
    for (outputs, pad) in [(6, 2), (16, 0)] {
        let inputs = graph.node(node).shape[0];
        let scale = 1.0 / (inputs as f32 * 25.0).sqrt();
        let values = (0..outputs * inputs * 25).map(|_| random.float() * scale).collect();
        let weight = graph.add_param("weight", Tensor::f32([outputs, inputs, 5, 5], values));
        let pads = Pads { top: pad, left: pad, bottom: pad, right: pad };
        let op = Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
        node = graph.add("conv", Op::Conv(op), &[node]).expect("fits");
        node = graph.add("relu", Op::Relu, &[node]).expect("fits");
        let pool = Pool { kernel: [2, 2], stride: [2, 2], pads: Pads::default() };
        node = graph.add("pool", Op::MaxPool(pool), &[node]).expect("fits");
    }
    node = graph.add("flat", Op::Flatten, &[node]).expect("fits");
    for outputs in [120, 84, 10] {
        let inputs = graph.node(node).shape[0];
        let scale = 1.0 / (inputs as f32).sqrt();
        let values = (0..outputs * inputs).map(|_| random.float() * scale).collect();
        let weight = graph.add_param("weight", Tensor::f32([outputs, inputs], values));
        node = graph.add("fc", Op::Gemm { weight, bias: None }, &[node]).expect("fits");
        if outputs != 10 {
            node = graph.add("relu", Op::Relu, &[node]).expect("fits");
        }
    }
    graph.add_output(node);
    graph
}
