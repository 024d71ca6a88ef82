//! Small networks and data that the tests share.
#![allow(dead_code, reason = "each test file uses its own part")]

use espalier_ir::{Conv, ConvTranspose, Graph, NodeId, Op, Pads, ParamId, Pool, Tensor, Unary};
use espalier_train::Samples;

/// Seeded values; SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Uniform in -1..1.
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Builds graphs with random weights.
pub struct Net {
    pub graph: Graph,
    pub random: Random,
}

impl Net {
    pub fn new(seed: u64, shape: &[usize]) -> (Self, NodeId) {
        let mut graph = Graph::new("net");
        let input = graph.add_input("input", shape).unwrap();
        (Net { graph, random: Random(seed) }, input)
    }

    pub fn param(&mut self, shape: &[usize], scale: f32, offset: f32) -> ParamId {
        let values = self.random.values(shape.iter().product()).into_iter().map(|v| v * scale + offset).collect();
        self.graph.add_param("p", Tensor::f32(shape, values))
    }

    pub fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        self.graph.add("n", op, inputs).unwrap()
    }

    pub fn shape(&self, node: NodeId) -> Vec<usize> {
        self.graph.node(node).shape.clone()
    }

    /// A convolution; weights scaled to keep the variance (He).
    pub fn conv(&mut self, x: NodeId, out: usize, kernel: [usize; 2], options: ConvOptions) -> NodeId {
        let per_group = self.shape(x)[0] / options.groups;
        let fan_in = per_group * kernel[0] * kernel[1];
        let weight = self.param(&[out, per_group, kernel[0], kernel[1]], (6.0 / fan_in as f32).sqrt(), 0.0);
        let bias = options.bias.then(|| self.param(&[out], 0.1, 0.0));
        let ConvOptions { stride, pads, dilation, groups, .. } = options;
        self.add(Op::Conv(Conv { weight, bias, stride, pads, dilation, groups }), &[x])
    }

    pub fn gemm(&mut self, x: NodeId, out: usize) -> NodeId {
        let features = self.shape(x)[0];
        let weight = self.param(&[out, features], (3.0 / features as f32).sqrt(), 0.0);
        let bias = Some(self.param(&[out], 0.1, 0.0));
        self.add(Op::Gemm { weight, bias }, &[x])
    }

    pub fn batch_norm(&mut self, x: NodeId) -> NodeId {
        let c = self.shape(x)[0];
        let op = Op::BatchNorm {
            gamma: self.param(&[c], 0.3, 1.0),
            beta: self.param(&[c], 0.2, 0.0),
            mean: self.param(&[c], 0.2, 0.0),
            variance: self.param(&[c], 0.3, 1.0),
            epsilon: 1e-5,
        };
        self.add(op, &[x])
    }

    /// Channels, or pixels, multiplied by what is computed from them.
    pub fn gate(&mut self, x: NodeId, channels: bool) -> NodeId {
        let c = self.shape(x)[0];
        let gate = if channels {
            let mean = self.add(Op::GlobalAveragePool, &[x]);
            self.conv(mean, c, [1, 1], ConvOptions::default())
        } else {
            self.conv(x, 1, [1, 1], ConvOptions::default())
        };
        let gate = self.add(Op::Unary(Unary::Sigmoid), &[gate]);
        self.add(Op::Mul, &[gate, x])
    }

    /// Channels, or pixels, as weighted means of each other.
    pub fn attend(&mut self, x: NodeId, channels: bool) -> NodeId {
        let shape = self.shape(x);
        let (c, pixels) = (shape[0], shape[1] * shape[2]);
        let query = self.conv(x, c, [1, 1], ConvOptions::default());
        let [query, value] = [query, x].map(|node| self.add(Op::Reshape { shape: vec![c, pixels] }, &[node]));
        let transpose = if channels { [false, true] } else { [true, false] };
        let scores = self.add(Op::MatMul { transpose }, &[query, value]);
        let weights = self.add(Op::Softmax { axis: 1 }, &[scores]);
        let mixed = match channels {
            true => self.add(Op::MatMul { transpose: [false, false] }, &[weights, value]),
            false => self.add(Op::MatMul { transpose: [false, true] }, &[value, weights]),
        };
        self.add(Op::Reshape { shape }, &[mixed])
    }

    /// A transposed convolution with everything that may be uneven.
    pub fn conv_transpose(&mut self, x: NodeId, groups: usize) -> NodeId {
        let c = self.shape(x)[0];
        let per_group = 1 + self.random.below(3);
        let weight = self.param(&[c, per_group, 3, 2], (3.0 / c as f32).sqrt(), 0.0);
        let bias = Some(self.param(&[groups * per_group], 0.1, 0.0));
        let pads = pads(self.random.below(2), 0, self.random.below(3), self.random.below(2));
        let [stride, output_pads, dilation] = [[2, 1], [1, 0], [1, 1 + self.random.below(2)]];
        self.add(Op::ConvTranspose(ConvTranspose { weight, bias, stride, pads, output_pads, dilation, groups }), &[x])
    }

    pub fn finish(mut self, output: NodeId) -> Graph {
        self.graph.add_output(output);
        self.graph
    }
}

/// Every function of single values.
pub const UNARY: [Unary; 6] = [
    Unary::Sigmoid,
    Unary::Tanh,
    Unary::LeakyRelu { alpha: 0.25 },
    Unary::HardSigmoid { alpha: 0.3, beta: 0.4 },
    Unary::Elu { alpha: 0.8 },
    Unary::Softplus,
];

#[derive(Clone, Copy)]
pub struct ConvOptions {
    pub stride: [usize; 2],
    pub pads: Pads,
    pub dilation: [usize; 2],
    pub groups: usize,
    pub bias: bool,
}

impl Default for ConvOptions {
    fn default() -> Self {
        ConvOptions { stride: [1, 1], pads: Pads::default(), dilation: [1, 1], groups: 1, bias: true }
    }
}

pub fn pads(top: usize, left: usize, bottom: usize, right: usize) -> Pads {
    Pads { top, left, bottom, right }
}

/// Convolution, pooling, fully connected: 8 x 8 pictures in `classes`.
pub fn small_cnn(seed: u64, classes: usize, normalized: bool) -> Graph {
    let (mut net, x) = Net::new(seed, &[1, 8, 8]);
    let mut x = net.conv(x, 6, [3, 3], ConvOptions { pads: pads(1, 1, 1, 1), ..Default::default() });
    if normalized {
        x = net.batch_norm(x);
    }
    let x = net.add(Op::Relu, &[x]);
    let pool = Pool { kernel: [2, 2], stride: [2, 2], pads: Pads::default() };
    let x = net.add(Op::MaxPool(pool), &[x]);
    let x = net.add(Op::Flatten, &[x]);
    let x = net.gemm(x, classes);
    net.finish(x)
}

pub struct Data {
    pub inputs: Vec<f32>,
    pub labels: Vec<u32>,
    pub sample_len: usize,
}

impl Data {
    pub fn samples(&self) -> Samples<'_> {
        Samples { inputs: &self.inputs, labels: &self.labels, sample_len: self.sample_len }
    }
}

/// 8 x 8 pictures of a bar, horizontal or vertical, in the upper/left or lower/right half, with noise: 4 classes.
pub fn bars(seed: u64, n: usize) -> Data {
    let mut random = Random(seed);
    let mut data = Data { inputs: Vec::new(), labels: Vec::new(), sample_len: 64 };
    for _ in 0..n {
        let label = random.below(4);
        let position = random.below(4) + (label & 1) * 4;
        for y in 0..8 {
            for x in 0..8 {
                let on = if label & 2 == 0 { y == position } else { x == position };
                data.inputs.push(f32::from(on) + 0.3 * random.value());
            }
        }
        data.labels.push(label as u32);
    }
    data
}
