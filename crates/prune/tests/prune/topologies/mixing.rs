//! Networks that normalize samples by their own statistics, multiply values by each other, or move pixels.

use espalier_ir::{Conv, Graph, NodeId, Op, Pads, Statistics, Unary};

use super::image;
use crate::nets::Net;

/// A transformer: patches of an image with positions of their own, two blocks, the mean of all tokens.
pub fn transformer(seed: u64, heads: usize, shared: usize, apart: bool) -> Graph {
    let (mut net, x) = image(seed);
    let weight = net.param("patch", &[6, 2, 4, 4], 0.3);
    let patches = Conv { weight, bias: None, stride: [4, 4], pads: Pads::default(), dilation: [1, 1], groups: 1 };
    let x = net.op("patches", Op::Conv(patches), &[x]);
    let x = net.reshape(x, &[6, 1, 4]);
    let offset = net.param("positions", &[6, 1, 4], 0.5);
    let mut x = net.op("placed", Op::Offset { offset }, &[x]);
    for _ in 0..2 {
        let n = net.normalize(x, Statistics::Position);
        x = net.attention(n, heads, shared, 3, apart);
        let n = net.normalize(x, Statistics::Position);
        let wide = net.conv(n, 8, 1, 1, 1);
        let wide = net.relu(wide);
        let back = net.conv(wide, 6, 1, 1, 1);
        x = net.add(x, back);
    }
    let x = net.normalize(x, Statistics::Position);
    net.head(x)
}

/// Layer normalization of features, as in fully connected networks.
pub fn layer_norm(seed: u64) -> Graph {
    let (mut net, x) = Net::new(seed, &[7]);
    let mut x = net.gemm(x, 9);
    for out in [8, 6] {
        x = net.normalize(x, Statistics::Position);
        x = net.relu(x);
        x = net.gemm(x, out);
    }
    x = net.gemm(x, 3);
    net.finish(x)
}

/// Blocks of ConvNeXt: depthwise, normalized at every pixel, widened, narrowed, added.
pub fn convnext(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let mut x = net.conv(x, 5, 3, 2, 1);
    for _ in 0..2 {
        let d = net.conv(x, 5, 3, 1, 5);
        let n = net.normalize(d, Statistics::Position);
        let wide = net.conv(n, 8, 1, 1, 1);
        let wide = net.relu(wide);
        let back = net.conv(wide, 5, 1, 1, 1);
        x = net.add(x, back);
    }
    let x = net.normalize(x, Statistics::Groups(1));
    net.head(x)
}

/// A residual network whose channels are normalized in groups.
pub fn group_norm(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.conv(x, 8, 3, 1, 1);
    let n = net.normalize(x, Statistics::Groups(2));
    let mut x = net.relu(n);
    for (inner, groups) in [(6, 3), (6, 1)] {
        let a = net.conv(x, inner, 3, 1, 1);
        let a = net.normalize(a, Statistics::Groups(groups));
        let a = net.relu(a);
        let b = net.conv(a, 8, 3, 1, 1);
        let b = net.normalize(b, Statistics::Groups(4));
        let sum = net.add(x, b);
        x = net.relu(sum);
    }
    net.head(x)
}

/// Every channel normalized by itself: removal is masking.
pub fn instance_norm(seed: u64) -> Graph {
    let (mut net, mut x) = image(seed);
    for out in [6, 5] {
        x = net.conv(x, out, 3, 1, 1);
        x = net.normalize(x, Statistics::Groups(out));
        x = net.relu(x);
    }
    net.head(x)
}

/// Super-resolution: channels become pixels; and pixels channels at the input.
pub fn pixel_shuffle(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let x = net.pixel_unshuffle(x);
    let x = net.unit(x, 5, 3, 1);
    let x = net.conv(x, 12, 3, 1, 1);
    let x = net.pixel_shuffle(x);
    let x = net.unit(x, 4, 3, 1);
    // What DepthToSpace does without a mode: the offset of the pixel is the slower index.
    let x = net.conv(x, 8, 3, 1, 1);
    let x = net.select(x, (0..8).map(|j| Some(j % 4 * 2 + j / 4)).collect());
    let x = net.pixel_shuffle(x);
    let x = net.unit(x, 3, 3, 2);
    let x = net.pixel_unshuffle(x);
    net.head(x)
}

/// Maps joined above each other and side by side: channels stay where they are.
pub fn side_by_side(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let a = net.unit(x, 5, 3, 1);
    let b = net.unit(x, 5, 1, 1);
    let tall = net.op("above", Op::Concat { axis: 1 }, &[a, b, a]);
    let c = net.unit(tall, 6, 3, 1);
    let d = net.conv(tall, 6, 1, 1, 1);
    let wide = net.op("beside", Op::Concat { axis: 2 }, &[c, d]);
    let x = net.unit(wide, 4, 3, 2);
    net.head(x)
}

/// Blocks of EfficientNet: inverted residuals with SiLU and gates from a squeeze.
pub fn efficientnet(seed: u64) -> Graph {
    let (mut net, x) = image(seed);
    let silu = |net: &mut Net, x: NodeId| {
        let gate = net.unary(x, Unary::Sigmoid);
        net.mul(x, gate)
    };
    let x = net.conv(x, 4, 3, 2, 1);
    let x = net.norm(x);
    let mut x = silu(&mut net, x);
    for (wide, out, stride) in [(8, 4, 1), (8, 5, 2), (10, 5, 1)] {
        let a = net.conv(x, wide, 1, 1, 1);
        let a = net.norm(a);
        let a = silu(&mut net, a);
        let d = net.conv(a, wide, 3, stride, wide);
        let d = net.norm(d);
        let d = silu(&mut net, d);
        let s = net.op("squeeze", Op::GlobalAveragePool, &[d]);
        let s = net.conv(s, 2, 1, 1, 1);
        let s = silu(&mut net, s);
        let s = net.conv(s, wide, 1, 1, 1);
        let s = net.unary(s, Unary::Sigmoid);
        let gated = net.mul(d, s);
        let back = net.conv(gated, out, 1, 1, 1);
        let back = net.norm(back);
        x = if net.channels(x) == out { net.add(x, back) } else { back };
    }
    net.head(x)
}
