//! Chains: one layer behind another.

use espalier_ir::{ConvTranspose, Graph, Op, Pads, Unary};

use super::image;
use crate::nets::Net;

pub fn lenet(seed: u64) -> Graph {
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
pub fn mlp(seed: u64) -> Graph {
    let (mut net, mut x) = Net::new(seed, &[6]);
    for out in [9, 8] {
        x = net.gemm(x, out);
        x = net.norm(x);
        x = net.relu(x);
    }
    x = net.gemm(x, 3);
    let soft = net.op("soft", Op::Softmax { axis: 0 }, &[x]);
    net.finish(soft)
}

pub fn cnn(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 6, 3, 1);
    let x = net.pool(x, 2, 2);
    // Normalization behind the activation, and a lower bound above 0.
    let x = net.conv(x, 7, 3, 1, 1);
    let x = net.op("clip", Op::Clip { min: 0.1, max: 2.0 }, &[x]);
    let x = net.norm(x);
    net.head(x)
}

pub fn normalized_input(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.norm(x);
    let x = net.unit(x, 5, 3, 2);
    net.head(x)
}

pub fn vgg(seed: u64) -> Graph {
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

pub fn one_output(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 5, 3, 1);
    let x = net.unit(x, 1, 3, 1);
    let x = net.conv(x, 4, 3, 1, 1);
    net.head(x)
}

pub fn multiplier(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 5, 3, 1);
    let d = net.conv(x, 10, 3, 1, 5);
    let d = net.norm(d);
    let d = net.conv(d, 6, 1, 1, 1);
    net.head(d)
}

/// A sequence of 12 steps with 5 features each, as a map of height 1.
pub fn keyword_1d(seed: u64) -> Graph {
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

pub fn ds_cnn(seed: u64) -> Graph {
    let (mut net, x) = Net::new(seed, &[1, 10, 6]);
    let mut x = net.unit(x, 6, 3, 2);
    for _ in 0..2 {
        x = net.depthwise(x, 1);
        x = net.unit(x, 6, 1, 1);
    }
    net.head(x)
}

pub fn mobilenet_v1(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 2);
    for (out, stride) in [(6, 1), (8, 2)] {
        x = net.depthwise(x, stride);
        x = net.unit(x, out, 1, 1);
    }
    net.head(x)
}

pub fn autoencoder(seed: u64) -> Graph {
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
pub fn tied_autoencoder(seed: u64) -> Graph {
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

pub fn shared_weights(seed: u64) -> Graph {
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

pub fn prelu(seed: u64) -> Graph {
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

pub fn depthwise_transpose(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 4, 3, 2);
    let up = net.deconv(x, 8, 4);
    let x = net.unit(up, 6, 1, 1);
    let grouped = net.deconv(x, 8, 2);
    let x = net.conv(grouped, 3, 1, 1, 1);
    net.head(x)
}

/// Quantized values with a scale and a zero point of every channel.
pub fn quantized(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 6, 3, 1);
    for out in [5, 4] {
        let count = net.channels(x);
        let scale: Vec<f32> = (0..count).map(|c| 2f32.powi(-(c as i32 % 4) - 3)).collect();
        let zero_point: Vec<i8> = (0..count).map(|c| c as i8 * 7 - 20).collect();
        let op = Op::QuantizeLinear { scale: scale.clone(), zero_point: zero_point.clone() };
        let q = net.op("q", op, &[x]);
        let dq = net.op("dq", Op::DequantizeLinear { scale, zero_point }, &[q]);
        x = net.conv(dq, out, 3, 1, 1);
    }
    net.head(x)
}
