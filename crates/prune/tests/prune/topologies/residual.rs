//! Networks with residual streams.

use espalier_ir::{Graph, NodeId, Op, Pads, Pool, Unary};

use super::image;
use crate::nets::Net;

#[derive(Clone, Copy)]
pub enum Shortcut {
    Identity,
    Projection,
    ZeroPadding,
}

pub fn residual(seed: u64, shortcut: Shortcut) -> Graph {
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

pub fn bottleneck(seed: u64) -> Graph {
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

pub fn pre_activation(seed: u64) -> Graph {
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

pub fn mobilenet_v2(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.unit(x, 4, 3, 1);
    for (wide, out, stride) in [(8, 5, 2), (10, 5, 1), (9, 6, 1)] {
        x = inverted(&mut net, x, wide, out, stride);
    }
    net.head(x)
}

pub fn mobilenet_v3(seed: u64) -> Graph {
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

pub fn resnext(seed: u64) -> Graph {
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
