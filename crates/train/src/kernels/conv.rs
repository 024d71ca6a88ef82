//! Convolutions (and fully connected layers, their case of one pixel) with both gradients.
//!
//! Weights that are zero cost nothing where they are zero side by side, as pruned vectors are, and neither do the
//! gradients of masked weights. Leaving out a product with zero changes no sum.

use pulp::{Arch, Simd, WithSimd};

use super::LANES;
use super::windows::{Taps, Windows};

/// Output channels that one pass over a window computes: 4 x 2 vectors hide the latency of the
/// multiply-add and leave registers for the input.
const TILE: usize = 4;

/// Input channels whose weight gradients share what the first cache holds.
const WINDOW: usize = 12;

/// Channels of a convolution and its windows.
pub(crate) struct Shape<'a> {
    pub(crate) windows: &'a Windows,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
}

impl Shape<'_> {
    fn in_pixels(&self) -> usize {
        self.windows.readers.pixels()
    }

    fn out_pixels(&self) -> usize {
        self.windows.reads.pixels()
    }

    /// Input and output channels of a group.
    fn per_group(&self) -> (usize, usize) {
        (self.inputs / self.groups, self.outputs / self.groups)
    }

    /// Output of `x`. `weight` is `[outputs, inputs / groups, taps]`.
    pub(crate) fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let (inputs, outputs) = self.per_group();
        let taps = self.windows.taps;
        let (in_block, out_block) = (self.in_pixels() * self.inputs * LANES, self.out_pixels() * self.outputs * LANES);
        let mut y = vec![0.0; x.len() / in_block * out_block];
        for group in 0..self.groups {
            let first = group * outputs;
            let packed = Rows::new(taps, inputs, outputs, |o, i, t| weight[((first + o) * inputs + i) * taps + t]);
            let bias: Vec<f32> = bias.map_or_else(|| vec![0.0; outputs], |b| b[first..first + outputs].to_vec());
            for (src, dst) in x.chunks(in_block).zip(y.chunks_mut(out_block)) {
                Arch::new().dispatch(Gather {
                    taps: &self.windows.reads,
                    src,
                    src_channels: Channels { total: self.inputs, first: group * inputs, count: inputs },
                    dst,
                    dst_channels: Channels { total: self.outputs, first, count: outputs },
                    rows: &packed,
                    bias: &bias,
                });
            }
        }
        y
    }

    /// Gradient of the input, from that of the output.
    pub(crate) fn input_gradient(&self, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = self.per_group();
        let taps = self.windows.taps;
        let (in_block, out_block) = (self.in_pixels() * self.inputs * LANES, self.out_pixels() * self.outputs * LANES);
        let mut result = vec![0.0; gradient.len() / out_block * in_block];
        let bias = vec![0.0; inputs];
        for group in 0..self.groups {
            let first = group * outputs;
            let packed = Rows::new(taps, outputs, inputs, |i, o, t| weight[((first + o) * inputs + i) * taps + t]);
            for (src, dst) in gradient.chunks(out_block).zip(result.chunks_mut(in_block)) {
                Arch::new().dispatch(Gather {
                    taps: &self.windows.readers,
                    src,
                    src_channels: Channels { total: self.outputs, first, count: outputs },
                    dst,
                    dst_channels: Channels { total: self.inputs, first: group * inputs, count: inputs },
                    rows: &packed,
                    bias: &bias,
                });
            }
        }
        result
    }

    /// Gradient of the weight, in its layout; where `mask` is 0, zero or the gradient, whichever is less work.
    pub(crate) fn weight_gradient(&self, x: &[f32], gradient: &[f32], mask: Option<&[f32]>) -> Vec<f32> {
        let (inputs, outputs) = self.per_group();
        let taps = self.windows.taps;
        let rows: Vec<LearningRows> = (0..self.groups)
            .map(|group| {
                let mask = mask.map(|m| &m[group * outputs * inputs * taps..][..outputs * inputs * taps]);
                LearningRows::new(taps, inputs, outputs, mask)
            })
            .collect();
        let (in_block, out_block) = (self.in_pixels() * self.inputs * LANES, self.out_pixels() * self.outputs * LANES);
        let mut result = vec![0.0; self.outputs * inputs * taps];
        for (x, gradient) in x.chunks(in_block).zip(gradient.chunks(out_block)) {
            if self.in_pixels() == 1 && self.out_pixels() == 1 && self.groups == 1 && taps == 1 {
                Arch::new().dispatch(Outer { x, gradient, result: &mut result });
                continue;
            }
            for (group, rows) in rows.iter().enumerate() {
                let result = &mut result[group * outputs * inputs * taps..][..outputs * inputs * taps];
                Arch::new().dispatch(Products {
                    pairs: &self.windows.pairs,
                    rows,
                    taps,
                    x,
                    x_channels: Channels { total: self.inputs, first: group * inputs, count: inputs },
                    gradient,
                    gradient_channels: Channels { total: self.outputs, first: group * outputs, count: outputs },
                    result,
                });
            }
        }
        result
    }
}

/// A range of channels of a value.
#[derive(Clone, Copy)]
struct Channels {
    total: usize,
    first: usize,
    count: usize,
}

impl Channels {
    #[inline(always)]
    fn at(self, pixel: usize) -> std::ops::Range<usize> {
        let start = (pixel * self.total + self.first) * LANES;
        start..start + self.count * LANES
    }
}

/// For every tile of targets and every tap, the sources that any of the targets reads with a weight other than zero.
struct Rows {
    taps: usize,
    /// By tile and tap.
    starts: Vec<usize>,
    sources: Vec<u32>,
    /// By row; behind the last target zeros.
    weights: Vec<[f32; TILE]>,
}

impl Rows {
    fn new(taps: usize, sources: usize, targets: usize, value: impl Fn(usize, usize, usize) -> f32) -> Self {
        let mut rows = Rows { taps, starts: vec![0], sources: Vec::new(), weights: Vec::new() };
        for first in (0..targets).step_by(TILE) {
            for tap in 0..taps {
                for source in 0..sources {
                    let weights =
                        std::array::from_fn(|t| if first + t < targets { value(first + t, source, tap) } else { 0.0 });
                    if weights != [0.0; TILE] {
                        rows.sources.push(source as u32);
                        rows.weights.push(weights);
                    }
                }
                rows.starts.push(rows.sources.len());
            }
        }
        rows
    }

    #[inline(always)]
    fn of(&self, tile: usize, tap: u32) -> impl Iterator<Item = (&u32, &[f32; TILE])> {
        let at = tile * self.taps + tap as usize;
        let range = self.starts[at]..self.starts[at + 1];
        self.sources[range.clone()].iter().zip(&self.weights[range])
    }
}

/// Every destination pixel: the sum over its taps and all source channels.
struct Gather<'a> {
    taps: &'a Taps,
    src: &'a [f32],
    src_channels: Channels,
    dst: &'a mut [f32],
    dst_channels: Channels,
    rows: &'a Rows,
    bias: &'a [f32],
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LANES / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, LANES>(simd),
        }
    }
}

impl Gather<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(mut self, simd: S) {
        let whole = self.dst_channels.count / TILE * TILE;
        for pixel in 0..self.taps.pixels() {
            for first in (0..whole).step_by(TILE) {
                self.tile::<S, V, TILE>(simd, pixel, first);
            }
            match self.dst_channels.count - whole {
                1 => self.tile::<S, V, 1>(simd, pixel, whole),
                2 => self.tile::<S, V, 2>(simd, pixel, whole),
                3 => self.tile::<S, V, 3>(simd, pixel, whole),
                _ => {}
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize, const T: usize>(&mut self, simd: S, pixel: usize, first: usize) {
        let mut sums: [[S::f32s; V]; T] = std::array::from_fn(|t| [simd.splat_f32s(self.bias[first + t]); V]);
        for (source, tap) in self.taps.of(pixel) {
            let (src, _) = S::as_simd_f32s(&self.src[self.src_channels.at(*source as usize)]);
            for (channel, w) in self.rows.of(first / TILE, *tap) {
                let x = &src[*channel as usize * V..][..V];
                let x: [S::f32s; V] = std::array::from_fn(|v| x[v]);
                for t in 0..T {
                    let w = simd.splat_f32s(w[t]);
                    for v in 0..V {
                        sums[t][v] = simd.mul_add_f32s(w, x[v], sums[t][v]);
                    }
                }
            }
        }
        let range = self.dst_channels.at(pixel);
        let (dst, _) = S::as_mut_simd_f32s(&mut self.dst[range.start + first * LANES..][..T * LANES]);
        for (dst, sums) in dst.chunks_exact_mut(V).zip(sums) {
            dst.copy_from_slice(&sums);
        }
    }
}

/// For every tile of outputs, window of inputs and tap, the inputs whose weight to any of the outputs learns.
struct LearningRows {
    taps: usize,
    windows: usize,
    /// First output of each tile, and how many it has: [`TILE`], or 1 at the end.
    tiles: Vec<(usize, usize)>,
    /// By tile, window and tap.
    starts: Vec<usize>,
    inputs: Vec<u32>,
}

impl LearningRows {
    fn new(taps: usize, inputs: usize, outputs: usize, mask: Option<&[f32]>) -> Self {
        let whole = outputs / TILE * TILE;
        let tiles = (0..whole).step_by(TILE).map(|o| (o, TILE)).chain((whole..outputs).map(|o| (o, 1))).collect();
        let windows = inputs.div_ceil(WINDOW);
        let mut rows = LearningRows { taps, windows, tiles, starts: vec![0], inputs: Vec::new() };
        for (first, count) in &rows.tiles {
            let learns = |input: &usize, tap: usize| {
                let at = |o: usize| (o * inputs + input) * taps + tap;
                mask.is_none_or(|m| (*first..first + count).any(|o| m[at(o)] != 0.0))
            };
            for window in (0..inputs).step_by(WINDOW) {
                for tap in 0..taps {
                    let all = window..inputs.min(window + WINDOW);
                    rows.inputs.extend(all.filter(|i| learns(i, tap)).map(|i| i as u32));
                    rows.starts.push(rows.inputs.len());
                }
            }
        }
        rows
    }

    #[inline(always)]
    fn of(&self, tile: usize, window: usize, tap: usize) -> &[u32] {
        let at = (tile * self.windows + window) * self.taps + tap;
        &self.inputs[self.starts[at]..self.starts[at + 1]]
    }
}

/// Weight gradient `[outputs][inputs][taps]`: products over pixels and samples.
struct Products<'a> {
    pairs: &'a [Vec<Vec<(u32, u32)>>],
    rows: &'a LearningRows,
    taps: usize,
    x: &'a [f32],
    x_channels: Channels,
    gradient: &'a [f32],
    gradient_channels: Channels,
    result: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LANES / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, LANES>(simd),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(mut self, simd: S) {
        let (pairs, rows) = (self.pairs, self.rows);
        for chunk in pairs {
            for (tile, (first, count)) in rows.tiles.iter().enumerate() {
                for window in 0..rows.windows {
                    // All taps read nearly the same pixels, which stay in the cache.
                    for (tap, pairs) in chunk.iter().enumerate() {
                        let inputs = rows.of(tile, window, tap);
                        if *count == TILE {
                            self.row::<S, V, TILE>(simd, pairs, tap, *first, inputs);
                        } else {
                            self.row::<S, V, 1>(simd, pairs, tap, *first, inputs);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn row<S: Simd, const V: usize, const O: usize>(
        &mut self,
        simd: S,
        pairs: &[(u32, u32)],
        tap: usize,
        first: usize,
        inputs: &[u32],
    ) {
        let mut threes = inputs.chunks_exact(3);
        for three in &mut threes {
            self.tile::<S, V, O, 3>(simd, pairs, tap, first, three);
        }
        match threes.remainder() {
            [_] => self.tile::<S, V, O, 1>(simd, pairs, tap, first, threes.remainder()),
            [_, _] => self.tile::<S, V, O, 2>(simd, pairs, tap, first, threes.remainder()),
            _ => {}
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize, const O: usize, const I: usize>(
        &mut self,
        simd: S,
        pairs: &[(u32, u32)],
        tap: usize,
        first: usize,
        inputs: &[u32],
    ) {
        let (gradient, _) = S::as_simd_f32s(&self.gradient[(self.gradient_channels.first + first) * LANES..]);
        let (x, _) = S::as_simd_f32s(&self.x[self.x_channels.first * LANES..]);
        let (gradient_pixel, x_pixel) = (self.gradient_channels.total * V, self.x_channels.total * V);
        let offsets: [usize; I] = std::array::from_fn(|i| inputs[i] as usize * V);
        let mut sums = [[simd.splat_f32s(0.0); I]; O];
        for (out, source) in pairs {
            let g = &gradient[*out as usize * gradient_pixel..][..O * V];
            let x: [&[S::f32s]; I] = offsets.map(|offset| &x[*source as usize * x_pixel + offset..][..V]);
            for v in 0..V {
                let x: [S::f32s; I] = x.map(|x| x[v]);
                for o in 0..O {
                    for i in 0..I {
                        sums[o][i] = simd.mul_add_f32s(g[o * V + v], x[i], sums[o][i]);
                    }
                }
            }
        }
        for (o, sums) in sums.iter().enumerate() {
            for (i, sum) in sums.iter().enumerate() {
                let index = ((first + o) * self.x_channels.count + inputs[i] as usize) * self.taps + tap;
                self.result[index] += simd.reduce_sum_f32s(*sum);
            }
        }
    }
}

/// Weight gradient `[outputs][inputs]` of one pixel: with the input transposed there is nothing to reduce.
struct Outer<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    result: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let inputs = self.x.len() / LANES;
        let mut transposed = vec![0.0f32; self.x.len()];
        for (i, lanes) in self.x.chunks_exact(LANES).enumerate() {
            for (lane, value) in lanes.iter().enumerate() {
                transposed[lane * inputs + i] = *value;
            }
        }
        for (row, gradient) in self.result.chunks_exact_mut(inputs).zip(self.gradient.chunks_exact(LANES)) {
            for (g, x) in gradient.chunks_exact(4).zip(transposed.chunks_exact(4 * inputs)) {
                let (x0, x) = x.split_at(inputs);
                let (x1, x) = x.split_at(inputs);
                let (x2, x3) = x.split_at(inputs);
                for ((((r, x0), x1), x2), x3) in row.iter_mut().zip(x0).zip(x1).zip(x2).zip(x3) {
                    *r += (g[0] * x0 + g[1] * x1) + (g[2] * x2 + g[3] * x3);
                }
            }
        }
    }
}
