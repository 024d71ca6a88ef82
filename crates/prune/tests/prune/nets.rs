//! Networks for tests and benchmarks: a seeded generator, and residual networks as in the literature.

use espalier_ir::{
    Conv, ConvTranspose, Graph, NodeId, Normalize, Op, Pads, ParamId, Pool, Statistics, Tensor, TensorMap, Unary,
};

/// A seeded stream of numbers (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    /// Uniform in `-1..1`.
    pub fn signed(&mut self) -> f32 {
        self.below(2_000_001) as f32 / 1e6 - 1.0
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.signed()).collect()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// A graph under construction.
pub struct Net {
    pub graph: Graph,
    pub dice: Dice,
}

impl Net {
    pub fn new(seed: u64, input: &[usize]) -> (Self, NodeId) {
        let mut graph = Graph::new(format!("net{seed}"));
        let x = graph.add_input("x", input).unwrap();
        (Net { graph, dice: Dice::new(seed) }, x)
    }

    pub fn channels(&self, node: NodeId) -> usize {
        self.graph.node(node).shape[0]
    }

    pub fn param(&mut self, name: &str, shape: &[usize], scale: f32) -> ParamId {
        let values = self.dice.values(shape.iter().product());
        self.graph.add_param(name, Tensor::f32(shape, values.into_iter().map(|v| v * scale).collect()))
    }

    pub fn op(&mut self, name: &str, op: Op, from: &[NodeId]) -> NodeId {
        self.graph.add(name, op, from).unwrap()
    }

    pub fn conv_with(&mut self, from: NodeId, weight: ParamId, bias: bool, stride: usize, groups: usize) -> NodeId {
        let [out, _, k, _] = *self.graph.param(weight).shape() else { unreachable!() };
        let bias = bias.then(|| self.param("b", &[out], 0.5));
        let p = k / 2;
        let pads = Pads { top: p, left: p, bottom: p, right: p };
        let conv = Conv { weight, bias, stride: [stride; 2], pads, dilation: [1, 1], groups };
        self.op("conv", Op::Conv(conv), &[from])
    }

    pub fn conv(&mut self, from: NodeId, out: usize, k: usize, stride: usize, groups: usize) -> NodeId {
        let inputs = self.channels(from) / groups;
        let weight = self.param("w", &[out, inputs, k, k], 1.5 / ((inputs * k * k) as f32).sqrt());
        let bias = self.dice.below(2) == 0;
        self.conv_with(from, weight, bias, stride, groups)
    }

    pub fn norm(&mut self, from: NodeId) -> NodeId {
        let c = self.channels(from);
        let [gamma, beta, mean] = ["g", "b", "m"].map(|n| self.param(n, &[c], 1.0));
        let variance = self.dice.values(c).into_iter().map(|v| v.abs() + 0.2).collect();
        let variance = self.graph.add_param("v", Tensor::f32([c], variance));
        self.op("bn", Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 }, &[from])
    }

    pub fn relu(&mut self, from: NodeId) -> NodeId {
        self.op("relu", Op::Relu, &[from])
    }

    pub fn gemm(&mut self, from: NodeId, out: usize) -> NodeId {
        let inputs = self.channels(from);
        let weight = self.param("fc", &[out, inputs], 1.5 / (inputs as f32).sqrt());
        let bias = Some(self.param("fcb", &[out], 0.5));
        self.op("fc", Op::Gemm { weight, bias }, &[from])
    }

    pub fn pool(&mut self, from: NodeId, k: usize, stride: usize) -> NodeId {
        let pool = Pool { kernel: [k; 2], stride: [stride; 2], pads: Pads::default() };
        self.op("pool", Op::MaxPool(pool), &[from])
    }

    pub fn normalize(&mut self, x: NodeId, over: Statistics) -> NodeId {
        let c = self.channels(x);
        let [gamma, beta] = ["ng", "nb"].map(|n| self.param(n, &[c], 1.0));
        self.op("normalize", Op::Normalize(Normalize { over, gamma, beta, epsilon: 1e-3 }), &[x])
    }

    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        self.op("reshape", Op::Reshape { shape: shape.to_vec() }, &[x])
    }

    pub fn transpose(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        self.op("transpose", Op::Transpose { axes: axes.to_vec() }, &[x])
    }

    /// Channels become pixels: `[c * 2 * 2, h, w]` to `[c, 2 h, 2 w]`.
    pub fn pixel_shuffle(&mut self, x: NodeId) -> NodeId {
        let [c, h, w] = self.graph.node(x).shape[..] else { unreachable!() };
        let apart = self.reshape(x, &[c / 4, 2, 2, h, w]);
        let woven = self.transpose(apart, &[0, 3, 1, 4, 2]);
        self.reshape(woven, &[c / 4, 2 * h, 2 * w])
    }

    /// Pixels become channels, `[c, 2 h, 2 w]` to `[c * 2 * 2, h, w]`.
    pub fn pixel_unshuffle(&mut self, x: NodeId) -> NodeId {
        let [c, h, w] = self.graph.node(x).shape[..] else { unreachable!() };
        let woven = self.reshape(x, &[c, h / 2, 2, w / 2, 2]);
        let apart = self.transpose(woven, &[0, 2, 4, 1, 3]);
        self.reshape(apart, &[4 * c, h / 2, w / 2])
    }

    /// Attention over values `[features, 1, tokens]`: every token takes a mean of all others. Heads are `dim` wide; so
    /// many query heads share a key and value head. `apart` computes each head by itself, else all as one product.
    pub fn attention(&mut self, x: NodeId, heads: usize, shared: usize, dim: usize, apart: bool) -> NodeId {
        let (features, tokens) = (self.channels(x), self.graph.node(x).shape[2]);
        let kv = heads / shared;
        let q = self.conv(x, heads * dim, 1, 1, 1);
        let k = self.conv(x, kv * dim, 1, 1, 1);
        let v = self.conv(x, kv * dim, 1, 1, 1);
        let mixed = if apart {
            let head = |net: &mut Net, value: NodeId, h: usize| {
                let part =
                    net.op("head", Op::Select { channels: (h * dim..(h + 1) * dim).map(Some).collect() }, &[value]);
                net.reshape(part, &[dim, tokens])
            };
            let outputs: Vec<NodeId> = (0..heads)
                .map(|h| {
                    let (q, k, v) = (head(self, q, h), head(self, k, h / shared), head(self, v, h / shared));
                    let scores = self.op("scores", Op::MatMul { transpose: [true, false] }, &[q, k]);
                    let weights = self.op("weights", Op::Softmax { axis: 1 }, &[scores]);
                    self.op("mixed", Op::MatMul { transpose: [false, true] }, &[v, weights])
                })
                .collect();
            self.op("heads", Op::Concat { axis: 0 }, &outputs)
        } else {
            let repeated = |net: &mut Net, value: NodeId| {
                let value = net.reshape(value, &[kv, dim, tokens]);
                if shared == 1 {
                    return value;
                }
                let channels = (0..heads).map(|h| Some(h / shared)).collect();
                net.op("repeated", Op::Select { channels }, &[value])
            };
            let q = self.reshape(q, &[heads, dim, tokens]);
            let (k, v) = (repeated(self, k), repeated(self, v));
            let scores = self.op("scores", Op::MatMul { transpose: [true, false] }, &[q, k]);
            let weights = self.op("weights", Op::Softmax { axis: 2 }, &[scores]);
            // As exporters write it: tokens by dimensions, turned afterwards.
            let v = self.transpose(v, &[0, 2, 1]);
            let mixed = self.op("mixed", Op::MatMul { transpose: [false, false] }, &[weights, v]);
            self.transpose(mixed, &[0, 2, 1])
        };
        let joined = self.reshape(mixed, &[heads * dim, 1, tokens]);
        let back = self.conv(joined, features, 1, 1, 1);
        self.op("add", Op::Add, &[x, back])
    }

    /// Ends the graph at `node`.
    pub fn finish(mut self, node: NodeId) -> Graph {
        self.graph.add_output(node);
        self.graph.verify().unwrap();
        self.graph
    }

    fn activation(&mut self, from: NodeId) -> NodeId {
        match self.dice.below(4) {
            0 => from,
            // A lower bound above 0: removal is not the same as a zero channel.
            1 => self.op("clip", Op::Clip { min: 0.1, max: 6.0 }, &[from]),
            _ => self.relu(from),
        }
    }

    /// Channels in any order, some twice, some not, some zero.
    fn any_channels(&mut self, x: NodeId) -> NodeId {
        let c = self.channels(x);
        let count = 1 + self.dice.below(c + 2);
        let channels = (0..count).map(|_| (self.dice.below(5) > 0).then(|| self.dice.below(c))).collect();
        self.op("select", Op::Select { channels }, &[x])
    }

    /// What the accelerator does with selections: splits, shuffles, zero padding of shortcuts.
    fn selecting_piece(&mut self, x: NodeId) -> NodeId {
        let c = self.channels(x);
        match self.dice.below(4) {
            0 if c > 1 => {
                // Split, one part convolved, joined, shuffled.
                let cut = 1 + self.dice.below(c - 1);
                let [a, b] = [0..cut, cut..c].map(|r| Op::Select { channels: r.map(Some).collect() });
                let (a, b) = (self.op("split", a, &[x]), self.op("split", b, &[x]));
                let width = 1 + self.dice.below(5);
                let b = self.conv(b, width, 3, 1, 1);
                let joined = self.op("cat", Op::Concat { axis: 0 }, &[a, b]);
                let mut order: Vec<Option<usize>> = (0..cut + width).map(Some).collect();
                self.dice.shuffle(&mut order);
                self.op("shuffle", Op::Select { channels: order }, &[joined])
            }
            1 => {
                // A shortcut without weights into a wider stream.
                let (before, after) = (self.dice.below(3), self.dice.below(3));
                let channels = [vec![None; before], (0..c).map(Some).collect(), vec![None; after]].concat();
                let wide = self.conv(x, channels.len(), 3, 1, 1);
                let padded = self.op("pad", Op::Select { channels }, &[x]);
                self.op("add", Op::Add, &[padded, wide])
            }
            _ => self.any_channels(x),
        }
    }

    /// One random piece with an operator that the accelerator does not have.
    fn host_piece(&mut self, x: NodeId) -> NodeId {
        let [c, h, w] = self.graph.node(x).shape[..] else { unreachable!() };
        match self.dice.below(11) {
            6 => {
                let divisors: Vec<usize> = (1..=c).filter(|d| c.is_multiple_of(*d)).collect();
                let over = match self.dice.below(divisors.len() + 1) {
                    0 => Statistics::Position,
                    d => Statistics::Groups(divisors[d - 1]),
                };
                self.normalize(x, over)
            }
            7 => {
                let offset = self.param("offset", &[c, h, w], 0.5);
                self.op("offset", Op::Offset { offset }, &[x])
            }
            8 => {
                let wide = self.conv(x, c, 3, 1, 1);
                let axis = 1 + self.dice.below(2);
                self.op("beside", Op::Concat { axis }, &[x, wide])
            }
            9 if c.is_multiple_of(4) && h * w < 100 => self.pixel_shuffle(x),
            9 if h.is_multiple_of(2) && w.is_multiple_of(2) => self.pixel_unshuffle(x),
            10 if h * w < 100 => {
                let tokens = self.reshape(x, &[c, 1, h * w]);
                let shared = 1 + self.dice.below(2);
                let heads = shared * (1 + self.dice.below(2));
                let (dim, apart) = (1 + self.dice.below(3), self.dice.below(2) == 0);
                let mixed = self.attention(tokens, heads, shared, dim, apart);
                self.reshape(mixed, &[c, h, w])
            }
            0 => {
                let gate = if self.dice.below(2) == 0 { Op::GlobalAveragePool } else { Op::Unary(Unary::Tanh) };
                let gate = self.op("squeeze", gate, &[x]);
                let gate = self.conv(gate, 2, 1, 1, 1);
                let gate = self.conv(gate, c, 1, 1, 1);
                let gate = self.op("gate", Op::Unary(Unary::Sigmoid), &[gate]);
                self.op("mul", Op::Mul, &[x, gate])
            }
            1 => {
                let mask = if self.dice.below(2) == 0 {
                    self.conv(x, 1, 3, 1, 1)
                } else {
                    let channel = self.dice.below(c);
                    self.op("pick", Op::Select { channels: vec![Some(channel)] }, &[x])
                };
                self.op("mask", Op::Mul, &[mask, x])
            }
            2 => {
                let slopes = if self.dice.below(2) == 0 { 1 } else { c };
                let slope = self.param("slope", &[slopes], 0.5);
                self.op("prelu", Op::PRelu { slope }, &[x])
            }
            3 => {
                let groups = [1, 1, if c.is_multiple_of(2) { 2 } else { 1 }, c][self.dice.below(4)];
                let per_group = 1 + self.dice.below(3);
                let weight = self.param("up", &[c, per_group, 3, 2], 0.5);
                let bias = (self.dice.below(2) == 0).then(|| self.param("upb", &[per_group * groups], 0.5));
                let pads = Pads { top: 1, left: 0, bottom: 0, right: 1 };
                let conv =
                    ConvTranspose { weight, bias, stride: [1, 1], pads, output_pads: [0, 0], dilation: [1, 1], groups };
                self.op("deconv", Op::ConvTranspose(conv), &[x])
            }
            4 => {
                let pool = Pool { kernel: [2, 2], stride: [2, 2], pads: Pads::default() };
                let mean = self.op("mean", Op::AveragePool { pool, count_include_pad: true }, &[x]);
                self.op("resize", Op::Resize { factor: [2, 2] }, &[mean])
            }
            _ => {
                let unary = [
                    Unary::Sigmoid,
                    Unary::Tanh,
                    Unary::LeakyRelu { alpha: 0.2 },
                    Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
                    Unary::Elu { alpha: 1.0 },
                    Unary::Softplus,
                ][self.dice.below(6)];
                self.op("unary", Op::Unary(unary), &[x])
            }
        }
    }

    /// One random piece of network behind `x`.
    fn piece(&mut self, x: NodeId) -> NodeId {
        let c = self.channels(x);
        let width = 2 + self.dice.below(7);
        match self.dice.below(11) {
            9 | 10 => self.selecting_piece(x),
            0 => {
                let depthwise = self.conv(x, c * (1 + self.dice.0 as usize % 2), 3, 1, c);
                self.activation(depthwise)
            }
            1 | 2 => {
                let a = self.conv(x, width, 3, 1, 1);
                let a = self.norm(a);
                let a = self.activation(a);
                let b = self.conv(a, c, 3, 1, 1);
                let sum = self.op("add", Op::Add, &[b, x]);
                self.activation(sum)
            }
            3 => {
                let parts = [self.conv(x, width, 1, 1, 1), self.conv(x, 3, 3, 1, 1), x];
                let count = 2 + self.dice.below(2);
                self.op("cat", Op::Concat { axis: 0 }, &parts[..count])
            }
            4 if c.is_multiple_of(2) => {
                let grouped = self.conv(x, 2 * width, 3, 1, 2);
                self.norm(grouped)
            }
            5 => {
                // One weight in two places.
                let a = self.conv(x, width, 1, 1, 1);
                let weight = self.param("shared", &[width, width, 3, 3], 0.4);
                let b = self.conv_with(a, weight, true, 1, 1);
                let b = self.activation(b);
                self.conv_with(b, weight, true, 1, 1)
            }
            6 => {
                // A sum of a concatenation and one wide convolution.
                let parts = [self.conv(x, width, 1, 1, 1), self.conv(x, 2, 1, 1, 1)];
                let cat = self.op("cat", Op::Concat { axis: 0 }, &parts);
                let wide = self.conv(x, width + 2, 3, 1, 1);
                self.op("add", Op::Add, &[cat, wide])
            }
            7 => self.norm(x),
            _ => {
                let a = self.conv(x, width, 3, 1, 1);
                self.activation(a)
            }
        }
    }
}

/// A random network with everything that couples channels and that the accelerator executes.
pub fn random_graph(seed: u64) -> Graph {
    grown(seed, false)
}

/// A random network with every operator.
pub fn random_graph_of_all(seed: u64) -> Graph {
    grown(seed, true)
}

fn grown(seed: u64, all: bool) -> Graph {
    let mut dice = Dice::new(seed ^ 0xabcd);
    let (mut net, x) = Net::new(seed, &[1 + dice.below(3), 5 + dice.below(3), 6]);
    let mut x = net.conv(x, 2 + dice.below(6), 3, 1, 1);
    for _ in 0..2 + dice.below(4) {
        x = if all && dice.below(2) == 0 { net.host_piece(x) } else { net.piece(x) };
    }
    x = net.pool(x, 2, 1 + dice.below(2));
    x = net.piece(x);
    if dice.below(3) == 0 {
        x = net.op("gap", Op::GlobalAveragePool, &[x]);
    }
    let features = net.graph.node(x).shape.iter().product();
    let flatten = if dice.below(2) == 0 { Op::Flatten } else { Op::Reshape { shape: vec![features] } };
    x = net.op("flat", flatten, &[x]);
    if dice.below(2) == 0 {
        x = net.gemm(x, 5);
        x = net.relu(x);
    }
    x = net.gemm(x, 3);
    if dice.below(2) == 0 {
        x = net.op("soft", Op::Softmax { axis: 0 }, &[x]);
    }
    net.finish(x)
}

/// A residual network for 32x32 images with `blocks` blocks of two convolutions in each of three
/// stages of `width`, `2 width` and `4 width` channels (He et al. 2016): 3 blocks, width 16 = ResNet-20.
pub fn resnet(seed: u64, blocks: usize, width: usize, side: usize) -> Graph {
    let (mut net, x) = Net::new(seed, &[3, side, side]);
    let unit = |net: &mut Net, x, out, k, stride| {
        let inputs = net.channels(x);
        let weight = net.param("w", &[out, inputs, k, k], 1.0);
        let c = net.conv_with(x, weight, false, stride, 1);
        net.norm(c)
    };
    let mut x = unit(&mut net, x, width, 3, 1);
    x = net.relu(x);
    for stage in 0..3 {
        for block in 0..blocks {
            let (out, stride) = (width << stage, if stage > 0 && block == 0 { 2 } else { 1 });
            let a = unit(&mut net, x, out, 3, stride);
            let a = net.relu(a);
            let b = unit(&mut net, a, out, 3, 1);
            let skip = if net.channels(x) == out { x } else { unit(&mut net, x, out, 1, stride) };
            let sum = net.op("add", Op::Add, &[b, skip]);
            x = net.relu(sum);
        }
    }
    let x = net.op("gap", Op::GlobalAveragePool, &[x]);
    let x = net.op("flat", Op::Flatten, &[x]);
    let x = net.gemm(x, 10);
    net.finish(x)
}

/// Products weight * gradient as random numbers, `batches` of them.
#[allow(dead_code, reason = "the benchmark does without")]
pub fn random_products(graph: &Graph, batches: usize, dice: &mut Dice) -> Vec<TensorMap> {
    (0..batches)
        .map(|_| graph.params().map(|(id, _, t)| (id, Tensor::f32(t.shape(), dice.values(t.len())))).collect())
        .collect()
}
