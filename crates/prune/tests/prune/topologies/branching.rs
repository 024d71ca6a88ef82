//! Networks whose values are joined, split, shuffled, masked and padded.

use espalier_ir::{Graph, Op, Pads, Pool, Unary};

use super::image;

pub fn densenet(seed: u64) -> Graph {
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

pub fn inception(seed: u64) -> Graph {
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

pub fn squeezenet(seed: u64) -> Graph {
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

pub fn unet(seed: u64, transposed: bool) -> Graph {
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

pub fn concat_split(seed: u64) -> Graph {
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

pub fn shared_split(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 8, 3, 1);
    let weight = net.param("shared", &[5, 4, 3, 3], 0.3);
    let halves = [net.range(x, 0..4), net.range(x, 4..8)].map(|half| net.conv_with(half, weight, false, 1, 1));
    let cat = net.cat(&halves);
    let x = net.relu(cat);
    net.head(x)
}

pub fn shufflenet(seed: u64) -> Graph {
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
pub fn channel_mask(seed: u64) -> Graph {
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

pub fn several_ends(seed: u64) -> Graph {
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

/// Zeros that no sum fills.
pub fn padded_reader(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 4, 3, 1);
    let x = net.select(x, vec![None, Some(0), Some(1), None, Some(2), Some(3), None]);
    // Normalization makes them constants other than zero.
    let x = net.norm(x);
    let x = net.unit(x, 5, 3, 1);
    net.head(x)
}

/// Channels that occur several times, and some that occur nowhere.
pub fn duplicated(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.unit(x, 6, 3, 1);
    let twice = net.select(x, [0, 1, 2, 0, 1, 2].map(Some).to_vec());
    let other = net.select(x, [4, 3, 4, 3, 4, 3].map(Some).to_vec());
    let sum = net.add(twice, other);
    let mixed = net.cat(&[sum, x]);
    let x = net.unit(mixed, 5, 1, 1);
    net.head(x)
}
