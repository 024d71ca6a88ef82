//! The topologies that pruning has to get right, each as small as it can be.

use espalier_ir::{ConvTranspose, Graph, NodeId, Op, Pads, Pool, Unary};

use crate::nets::Net;

/// A topology, and whether the accelerator executes it.
pub struct Topology {
    pub name: &'static str,
    pub on_array: bool,
    pub build: fn(u64) -> Graph,
}

const fn array(name: &'static str, build: fn(u64) -> Graph) -> Topology {
    Topology { name, on_array: true, build }
}

const fn host(name: &'static str, build: fn(u64) -> Graph) -> Topology {
    Topology { name, on_array: false, build }
}

/// Every topology but recurrent networks, attention and norms over channels.
pub const TOPOLOGIES: &[Topology] = &[
    array("lenet", lenet),
    array("mlp", mlp),
    array("cnn with batch normalization", cnn),
    array("batch normalization on the input", normalized_input),
    array("vgg", vgg),
    array("residual, identity", |s| residual(s, Shortcut::Identity)),
    array("residual, projection", |s| residual(s, Shortcut::Projection)),
    array("residual, zero padding", |s| residual(s, Shortcut::ZeroPadding)),
    array("bottleneck", bottleneck),
    array("pre-activation residual", pre_activation),
    array("mobilenet v1", mobilenet_v1),
    array("mobilenet v2", mobilenet_v2),
    host("mobilenet v3", mobilenet_v3),
    array("resnext", resnext),
    array("densenet", densenet),
    array("inception", inception),
    array("squeezenet", squeezenet),
    host("u-net, transposed convolution", |s| unet(s, true)),
    host("u-net, resize", |s| unet(s, false)),
    array("concat then split", concat_split),
    array("split with a shared module", shared_split),
    array("shufflenet", shufflenet),
    host("channel mask", channel_mask),
    array("one output channel", one_output),
    array("depthwise multiplier 2", multiplier),
    array("1-D keyword spotting", keyword_1d),
    array("ds-cnn", ds_cnn),
    array("autoencoder", autoencoder),
    host("convolutional autoencoder, tied weights", tied_autoencoder),
    array("shared weights", shared_weights),
    array("several inputs and outputs", several_ends),
    host("prelu", prelu),
    array("padded channels read by a convolution", padded_reader),
    array("duplicated channels", duplicated),
    host("depthwise transposed convolution", depthwise_transpose),
];

impl Net {
    fn unit(&mut self, x: NodeId, out: usize, k: usize, stride: usize) -> NodeId {
        let c = self.conv(x, out, k, stride, 1);
        let n = self.norm(c);
        self.relu(n)
    }

    fn depthwise(&mut self, x: NodeId, stride: usize) -> NodeId {
        let c = self.channels(x);
        let d = self.conv(x, c, 3, stride, c);
        let n = self.norm(d);
        self.relu(n)
    }

    fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op("add", Op::Add, &[a, b])
    }

    fn cat(&mut self, parts: &[NodeId]) -> NodeId {
        self.op("cat", Op::Concat, parts)
    }

    fn select(&mut self, x: NodeId, channels: Vec<Option<usize>>) -> NodeId {
        self.op("select", Op::Select { channels }, &[x])
    }

    fn range(&mut self, x: NodeId, range: std::ops::Range<usize>) -> NodeId {
        self.select(x, range.map(Some).collect())
    }

    fn unary(&mut self, x: NodeId, unary: Unary) -> NodeId {
        self.op("unary", Op::Unary(unary), &[x])
    }

    fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op("mul", Op::Mul, &[a, b])
    }

    pub fn deconv(&mut self, x: NodeId, out: usize, groups: usize) -> NodeId {
        let inputs = self.channels(x);
        let weight = self.param("up", &[inputs, out / groups, 2, 2], 1.0 / (inputs as f32).sqrt());
        let bias = Some(self.param("upb", &[out], 0.5));
        let conv = ConvTranspose {
            weight,
            bias,
            stride: [2, 2],
            pads: Pads::default(),
            output_pads: [0, 0],
            dilation: [1, 1],
            groups,
        };
        self.op("deconv", Op::ConvTranspose(conv), &[x])
    }

    /// Squeeze and excite: one gate a channel.
    pub fn squeeze_excite(&mut self, x: NodeId, width: usize, gate: Unary) -> NodeId {
        let c = self.channels(x);
        let s = self.op("squeeze", Op::GlobalAveragePool, &[x]);
        let s = self.conv(s, width, 1, 1, 1);
        let s = self.relu(s);
        let s = self.conv(s, c, 1, 1, 1);
        let s = self.unary(s, gate);
        self.mul(x, s)
    }

    pub fn hard_swish(&mut self, x: NodeId) -> NodeId {
        let gate = self.unary(x, Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 });
        self.mul(x, gate)
    }

    /// Average, flattened, and a fully connected layer of three classes.
    fn head(mut self, x: NodeId) -> Graph {
        let x = self.op("gap", Op::GlobalAveragePool, &[x]);
        let x = self.op("flat", Op::Flatten, &[x]);
        let x = self.gemm(x, 3);
        self.finish(x)
    }
}

fn image(seed: u64) -> (Net, NodeId) {
    Net::new(seed, &[2, 8, 8])
}

fn lenet(seed: u64) -> Graph {
    let (mut net, mut x) = Net::new(seed, &[1, 8, 8]);
    for out in [4, 6] {
        x = net.conv(x, out, 3, 1, 1);
        x = net.relu(x);
        x = net.pool(x, 2, 2);
    }
    x = net.op("flat", Op::Flatten, &[x]);
    for out in [9, 7] {
        x = net.gemm(x, out);
        x = net.relu(x);
    }
    x = net.gemm(x, 3);
    net.finish(x)
}

/// Fully connected: what Gemm with either orientation and MatMul with Add all import as.
fn mlp(seed: u64) -> Graph {
    let (mut net, mut x) = Net::new(seed, &[6]);
    for out in [9, 8] {
        x = net.gemm(x, out);
        x = net.norm(x);
        x = net.relu(x);
    }
    x = net.gemm(x, 3);
    let soft = net.op("soft", Op::Softmax, &[x]);
    net.finish(soft)
}

fn cnn(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 6, 3, 1);
    let x = net.pool(x, 2, 2);
    // Normalization behind the activation, and a lower bound above 0.
    let x = net.conv(x, 7, 3, 1, 1);
    let x = net.op("clip", Op::Clip { min: 0.1, max: 2.0 }, &[x]);
    let x = net.norm(x);
    net.head(x)
}

fn normalized_input(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.norm(x);
    let x = net.unit(x, 5, 3, 2);
    net.head(x)
}

fn vgg(seed: u64) -> Graph {
    let (mut net, mut x) = image(seed);
    for (out, normalized) in [(5, true), (6, false)] {
        for _ in 0..2 {
            x = net.conv(x, out, 3, 1, 1);
            if normalized {
                x = net.norm(x);
            }
            x = net.relu(x);
        }
        x = net.pool(x, 2, 2);
    }
    x = net.op("flat", Op::Flatten, &[x]);
    x = net.gemm(x, 8);
    x = net.relu(x);
    x = net.gemm(x, 3);
    net.finish(x)
}

#[derive(Clone, Copy)]
enum Shortcut {
    Identity,
    Projection,
    ZeroPadding,
}

fn residual(seed: u64, shortcut: Shortcut) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 1);
    let stages: &[(usize, usize)] = match shortcut {
        Shortcut::Identity => &[(4, 1), (4, 1)],
        _ => &[(4, 1), (8, 2), (12, 2)],
    };
    for (out, stride) in stages {
        let a = net.unit(x, *out, 3, *stride);
        let b = net.conv(a, *out, 3, 1, 1);
        let b = net.norm(b);
        let c = net.channels(x);
        let skip = if c == *out {
            x
        } else if let Shortcut::Projection = shortcut {
            let p = net.conv(x, *out, 1, *stride, 1);
            net.norm(p)
        } else {
            let pool = Pool { kernel: [1, 1], stride: [*stride; 2], pads: Pads::default() };
            let s = net.op("every second", Op::MaxPool(pool), &[x]);
            let zeros = vec![None; (out - c) / 2];
            let all: Vec<Option<usize>> = (0..c).map(Some).collect();
            net.select(s, [&zeros[..], &all, &zeros].concat())
        };
        let sum = net.add(b, skip);
        x = net.relu(sum);
    }
    net.head(x)
}

fn bottleneck(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 1);
    for (inner, out, stride) in [(3, 8, 1), (4, 8, 1), (4, 10, 2)] {
        let a = net.unit(x, inner, 1, 1);
        let b = net.unit(a, inner, 3, stride);
        let b = net.conv(b, out, 1, 1, 1);
        let b = net.norm(b);
        let skip = if net.channels(x) == out { x } else { net.conv(x, out, 1, stride, 1) };
        let sum = net.add(b, skip);
        x = net.relu(sum);
    }
    net.head(x)
}

fn pre_activation(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.conv(x, 6, 3, 1, 1);
    for _ in 0..2 {
        let n = net.norm(x);
        let a = net.relu(n);
        let a = net.unit(a, 5, 3, 1);
        let b = net.conv(a, 6, 3, 1, 1);
        x = net.add(x, b);
    }
    let x = net.norm(x);
    let x = net.relu(x);
    net.head(x)
}

fn mobilenet_v1(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 2);
    for (out, stride) in [(6, 1), (8, 2)] {
        x = net.depthwise(x, stride);
        x = net.unit(x, out, 1, 1);
    }
    net.head(x)
}

fn inverted(net: &mut Net, x: NodeId, wide: usize, out: usize, stride: usize) -> NodeId {
    let a = net.conv(x, wide, 1, 1, 1);
    let a = net.norm(a);
    let a = net.op("relu6", Op::Clip { min: 0.0, max: 6.0 }, &[a]);
    let a = net.conv(a, wide, 3, stride, wide);
    let a = net.norm(a);
    let a = net.op("relu6", Op::Clip { min: 0.0, max: 6.0 }, &[a]);
    let a = net.conv(a, out, 1, 1, 1);
    let a = net.norm(a);
    if stride == 1 && net.channels(x) == out { net.add(x, a) } else { a }
}

fn mobilenet_v2(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 1);
    for (wide, out, stride) in [(8, 5, 2), (10, 5, 1), (9, 6, 1)] {
        x = inverted(&mut net, x, wide, out, stride);
    }
    net.head(x)
}

fn mobilenet_v3(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.conv(x, 4, 3, 1, 1);
    let x = net.norm(x);
    let mut x = net.hard_swish(x);
    for gate in [Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, Unary::Sigmoid] {
        let a = net.conv(x, 8, 1, 1, 1);
        let a = net.norm(a);
        let a = net.hard_swish(a);
        let a = net.depthwise(a, 1);
        let a = net.squeeze_excite(a, 3, gate);
        let a = net.conv(a, 4, 1, 1, 1);
        let a = net.norm(a);
        x = net.add(x, a);
    }
    net.head(x)
}

fn resnext(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 6, 3, 1);
    for _ in 0..2 {
        let a = net.unit(x, 8, 1, 1);
        let b = net.conv(a, 8, 3, 1, 2);
        let b = net.norm(b);
        let b = net.relu(b);
        let b = net.conv(b, 6, 1, 1, 1);
        x = net.add(x, b);
    }
    net.head(x)
}

fn densenet(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.conv(x, 4, 3, 1, 1);
    for _ in 0..3 {
        let n = net.norm(x);
        let a = net.relu(n);
        let a = net.conv(a, 3, 3, 1, 1);
        x = net.cat(&[x, a]);
    }
    let x = net.norm(x);
    let x = net.unit(x, 6, 1, 1);
    net.head(x)
}

fn inception(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 1);
    for _ in 0..2 {
        let a = net.unit(x, 3, 1, 1);
        let b = net.unit(x, 2, 1, 1);
        let b = net.unit(b, 4, 3, 1);
        let pool = Pool { kernel: [3, 3], stride: [1, 1], pads: Pads { top: 1, left: 1, bottom: 1, right: 1 } };
        let c = net.op("pool", Op::AveragePool { pool, count_include_pad: true }, &[x]);
        let c = net.unit(c, 2, 1, 1);
        x = net.cat(&[a, b, c]);
    }
    net.head(x)
}

fn squeezenet(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 2);
    for _ in 0..2 {
        let s = net.conv(x, 3, 1, 1, 1);
        let s = net.relu(s);
        let a = net.conv(s, 4, 1, 1, 1);
        let b = net.conv(s, 4, 3, 1, 1);
        let cat = net.cat(&[a, b]);
        x = net.relu(cat);
    }
    // The classes are convolved, then averaged.
    let x = net.conv(x, 3, 1, 1, 1);
    let x = net.op("gap", Op::GlobalAveragePool, &[x]);
    net.finish(x)
}

fn unet(seed: u64, transposed: bool) -> Graph {
    let (mut net, x) = image(seed);
    let a = net.unit(x, 4, 3, 1);
    let b = net.pool(a, 2, 2);
    let b = net.unit(b, 6, 3, 1);
    let c = net.pool(b, 2, 2);
    let mut x = net.unit(c, 8, 3, 1);
    for (skip, out) in [(b, 6), (a, 4)] {
        x = if transposed {
            let up = net.deconv(x, out, 1);
            net.norm(up)
        } else {
            net.op("resize", Op::Resize { factor: [2, 2] }, &[x])
        };
        x = net.cat(&[skip, x]);
        x = net.unit(x, out, 3, 1);
    }
    let x = net.conv(x, 2, 1, 1, 1);
    net.finish(x)
}

fn concat_split(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let a = net.unit(x, 4, 3, 1);
    let b = net.unit(x, 5, 3, 1);
    let cat = net.cat(&[a, b]);
    // The cut is not where the parts meet.
    let [left, right] = [net.range(cat, 0..6), net.range(cat, 6..9)];
    let left = net.conv(left, 4, 3, 1, 1);
    let right = net.conv(right, 4, 1, 1, 1);
    let sum = net.add(left, right);
    net.head(sum)
}

fn shared_split(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 8, 3, 1);
    let weight = net.param("shared", &[5, 4, 3, 3], 0.3);
    let halves = [net.range(x, 0..4), net.range(x, 4..8)].map(|half| net.conv_with(half, weight, false, 1, 1));
    let cat = net.cat(&halves);
    let x = net.relu(cat);
    net.head(x)
}

fn shufflenet(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 8, 3, 1);
    for _ in 0..2 {
        let kept = net.range(x, 0..4);
        let a = net.range(x, 4..8);
        let a = net.unit(a, 4, 1, 1);
        let a = net.depthwise(a, 1);
        let a = net.conv(a, 4, 1, 1, 1);
        let cat = net.cat(&[kept, a]);
        // Reshape to [2, 4], transpose, reshape back.
        x = net.select(cat, (0..8).map(|j| Some(j % 2 * 4 + j / 2)).collect());
    }
    // Version 1: grouped convolutions with a shuffle between them.
    let g = net.conv(x, 8, 1, 1, 2);
    let g = net.select(g, (0..8).map(|j| Some(j % 2 * 4 + j / 2)).collect());
    let g = net.conv(g, 6, 1, 1, 2);
    net.head(g)
}

/// A mask with one channel for all, and one with a single number.
fn channel_mask(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 6, 3, 1);
    let mask = net.conv(x, 1, 3, 1, 1);
    let mask = net.unary(mask, Unary::Sigmoid);
    let masked = net.mul(mask, x);
    let picked = net.range(x, 2..3);
    let twice = net.mul(masked, picked);
    let whole = net.op("gap", Op::GlobalAveragePool, &[mask]);
    let scaled = net.mul(twice, whole);
    net.head(scaled)
}

fn one_output(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 5, 3, 1);
    let x = net.unit(x, 1, 3, 1);
    let x = net.conv(x, 4, 3, 1, 1);
    net.head(x)
}

fn multiplier(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 5, 3, 1);
    let d = net.conv(x, 10, 3, 1, 5);
    let d = net.norm(d);
    let d = net.conv(d, 6, 1, 1, 1);
    net.head(d)
}

/// A sequence of 12 steps with 5 features each, as a map of height 1.
fn keyword_1d(seed: u64) -> Graph {
    let (mut net, x) = Net::new(seed, &[5, 1, 12]);
    let mut x = x;
    for (out, stride) in [(6, 1), (8, 2)] {
        let inputs = net.channels(x);
        let weight = net.param("w", &[out, inputs, 1, 3], 0.5);
        let pads = Pads { left: 1, right: 1, ..Pads::default() };
        let conv = espalier_ir::Conv { weight, bias: None, stride: [1, stride], pads, dilation: [1, 1], groups: 1 };
        x = net.op("conv", Op::Conv(conv), &[x]);
        x = net.norm(x);
        x = net.relu(x);
    }
    net.head(x)
}

fn ds_cnn(seed: u64) -> Graph {
    let (mut net, x) = Net::new(seed, &[1, 10, 6]);
    let mut x = net.unit(x, 6, 3, 2);
    for _ in 0..2 {
        x = net.depthwise(x, 1);
        x = net.unit(x, 6, 1, 1);
    }
    net.head(x)
}

fn autoencoder(seed: u64) -> Graph {
    let (mut net, mut x) = Net::new(seed, &[10]);
    for out in [8, 3, 8] {
        x = net.gemm(x, out);
        x = net.norm(x);
        x = net.relu(x);
    }
    x = net.gemm(x, 10);
    net.finish(x)
}

/// The decoder uses the weights of the encoder: rows of one are columns of the other.
fn tied_autoencoder(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 5, 3, 1);
    let weight = net.param("tied", &[6, 5, 2, 2], 0.4);
    let conv =
        espalier_ir::Conv { weight, bias: None, stride: [2, 2], pads: Pads::default(), dilation: [1, 1], groups: 1 };
    let code = net.op("encode", Op::Conv(conv), &[x]);
    let code = net.relu(code);
    let conv = ConvTranspose {
        weight,
        bias: None,
        stride: [2, 2],
        pads: Pads::default(),
        output_pads: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let y = net.op("decode", Op::ConvTranspose(conv), &[code]);
    let y = net.conv(y, 2, 3, 1, 1);
    net.finish(y)
}

fn shared_weights(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 6, 3, 1);
    let weight = net.param("shared", &[6, 6, 3, 3], 0.3);
    let mut x = x;
    for _ in 0..3 {
        x = net.conv_with(x, weight, true, 1, 1);
        x = net.relu(x);
    }
    net.head(x)
}

fn several_ends(seed: u64) -> Graph {
    let (mut net, a) = image(seed);
    let b = net.graph.add_input("second", &[3, 8, 8]).unwrap();
    let a = net.unit(a, 5, 3, 1);
    let b = net.unit(b, 5, 3, 1);
    let sum = net.add(a, b);
    let open = net.conv(sum, 4, 3, 1, 1);
    let x = net.relu(open);
    let x = net.unit(x, 6, 3, 2);
    let mut graph = net.head(x);
    graph.add_output(open);
    graph
}

fn prelu(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.conv(x, 6, 3, 1, 1);
    let slope = net.param("slope", &[6], 0.5);
    let x = net.op("prelu", Op::PRelu { slope }, &[x]);
    let x = net.conv(x, 5, 3, 1, 1);
    let slope = net.param("slope", &[1], 0.5);
    let x = net.op("prelu", Op::PRelu { slope }, &[x]);
    let x = net.conv(x, 4, 3, 1, 1);
    let x = net.unary(x, Unary::LeakyRelu { alpha: 0.1 });
    let x = net.conv(x, 4, 3, 1, 1);
    let x = net.unary(x, Unary::Softplus);
    let x = net.conv(x, 4, 3, 1, 1);
    let x = net.unary(x, Unary::Elu { alpha: 0.7 });
    let gate = net.unary(x, Unary::Sigmoid);
    let silu = net.mul(x, gate);
    let t = net.unary(silu, Unary::Tanh);
    net.head(t)
}

/// Zeros that no sum fills.
fn padded_reader(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 4, 3, 1);
    let x = net.select(x, vec![None, Some(0), Some(1), None, Some(2), Some(3), None]);
    // Normalization makes them constants other than zero.
    let x = net.norm(x);
    let x = net.unit(x, 5, 3, 1);
    net.head(x)
}

/// Channels that occur several times, and some that occur nowhere.
fn duplicated(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 6, 3, 1);
    let twice = net.select(x, [0, 1, 2, 0, 1, 2].map(Some).to_vec());
    let other = net.select(x, [4, 3, 4, 3, 4, 3].map(Some).to_vec());
    let sum = net.add(twice, other);
    let mixed = net.cat(&[sum, x]);
    let x = net.unit(mixed, 5, 1, 1);
    net.head(x)
}

fn depthwise_transpose(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 4, 3, 2);
    let up = net.deconv(x, 8, 4);
    let x = net.unit(up, 6, 1, 1);
    let grouped = net.deconv(x, 8, 2);
    let x = net.conv(grouped, 3, 1, 1, 1);
    net.head(x)
}
