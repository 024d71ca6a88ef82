//! Convolutions (and fully connected layers, their case of one pixel) with both gradients.

use pulp::{Arch, Simd, WithSimd};

use super::LANES;
use super::windows::{Taps, Windows};

/// Output channels that one pass over a window computes: 4 x 2 vectors hide the latency of the
/// multiply-add and leave registers for the input.
const TILE: usize = 4;

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
            let packed = pack(taps, inputs, outputs, |o, i, t| weight[((first + o) * inputs + i) * taps + t]);
            let bias: Vec<f32> = bias.map_or_else(|| vec![0.0; outputs], |b| b[first..first + outputs].to_vec());
            for (src, dst) in x.chunks(in_block).zip(y.chunks_mut(out_block)) {
                Arch::new().dispatch(Gather {
                    taps: &self.windows.reads,
                    tap_count: taps,
                    src,
                    src_channels: Channels { total: self.inputs, first: group * inputs, count: inputs },
                    dst,
                    dst_channels: Channels { total: self.outputs, first, count: outputs },
                    weights: &packed,
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
            let packed = pack(taps, outputs, inputs, |i, o, t| weight[((first + o) * inputs + i) * taps + t]);
            for (src, dst) in gradient.chunks(out_block).zip(result.chunks_mut(in_block)) {
                Arch::new().dispatch(Gather {
                    taps: &self.windows.readers,
                    tap_count: taps,
                    src,
                    src_channels: Channels { total: self.outputs, first, count: outputs },
                    dst,
                    dst_channels: Channels { total: self.inputs, first: group * inputs, count: inputs },
                    weights: &packed,
                    bias: &bias,
                });
            }
        }
        result
    }

    /// Gradient of the weight, in its layout.
    pub(crate) fn weight_gradient(&self, x: &[f32], gradient: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = self.per_group();
        let taps = self.windows.taps;
        let (in_block, out_block) = (self.in_pixels() * self.inputs * LANES, self.out_pixels() * self.outputs * LANES);
        let mut result = vec![0.0; self.outputs * inputs * taps];
        for (x, gradient) in x.chunks(in_block).zip(gradient.chunks(out_block)) {
            if self.in_pixels() == 1 && self.out_pixels() == 1 && self.groups == 1 && taps == 1 {
                Arch::new().dispatch(Outer { x, gradient, result: &mut result });
                continue;
            }
            for group in 0..self.groups {
                let result = &mut result[group * outputs * inputs * taps..][..outputs * inputs * taps];
                Arch::new().dispatch(Products {
                    pairs: &self.windows.pairs,
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

/// Weights as `[tile][tap][source][TILE]`; the last tile may be narrower.
fn pack(taps: usize, sources: usize, targets: usize, value: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let mut packed = Vec::with_capacity(taps * sources * targets);
    for first in (0..targets).step_by(TILE) {
        for tap in 0..taps {
            for source in 0..sources {
                packed.extend((first..targets.min(first + TILE)).map(|target| value(target, source, tap)));
            }
        }
    }
    packed
}

/// Every destination pixel: the sum over its taps and all source channels.
struct Gather<'a> {
    taps: &'a Taps,
    tap_count: usize,
    src: &'a [f32],
    src_channels: Channels,
    dst: &'a mut [f32],
    dst_channels: Channels,
    weights: &'a [f32],
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
        let width = self.tap_count * self.src_channels.count;
        let whole = self.dst_channels.count / TILE * TILE;
        for pixel in 0..self.taps.pixels() {
            for first in (0..whole).step_by(TILE) {
                self.tile::<S, V, TILE>(simd, pixel, first, width);
            }
            match self.dst_channels.count - whole {
                1 => self.tile::<S, V, 1>(simd, pixel, whole, width),
                2 => self.tile::<S, V, 2>(simd, pixel, whole, width),
                3 => self.tile::<S, V, 3>(simd, pixel, whole, width),
                _ => {}
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize, const T: usize>(&mut self, simd: S, pixel: usize, first: usize, width: usize) {
        let mut sums: [[S::f32s; V]; T] = std::array::from_fn(|t| [simd.splat_f32s(self.bias[first + t]); V]);
        let weights = &self.weights[first * width..][..T * width];
        let per_tap = T * self.src_channels.count;
        for (source, tap) in self.taps.of(pixel) {
            let (src, _) = S::as_simd_f32s(&self.src[self.src_channels.at(*source as usize)]);
            let weights = &weights[*tap as usize * per_tap..][..per_tap];
            for (x, w) in src.chunks_exact(V).zip(weights.chunks_exact(T)) {
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

/// Weight gradient `[outputs][inputs][taps]`: products over pixels and samples.
struct Products<'a> {
    pairs: &'a [Vec<Vec<(u32, u32)>>],
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
        let pairs = self.pairs;
        let (outputs, inputs) = (self.gradient_channels.count, self.x_channels.count);
        let (whole_o, whole_i) = (outputs / 4 * 4, inputs / 3 * 3);
        // All taps of a tile read nearly the same pixels, which stay in the first cache.
        for chunk in pairs {
            for o in (0..whole_o).step_by(4) {
                for i in (0..whole_i).step_by(3) {
                    self.tile::<S, V, 4, 3>(simd, chunk, o, i);
                }
                match inputs - whole_i {
                    1 => self.tile::<S, V, 4, 1>(simd, chunk, o, whole_i),
                    2 => self.tile::<S, V, 4, 2>(simd, chunk, o, whole_i),
                    _ => {}
                }
            }
            for o in whole_o..outputs {
                for i in 0..inputs {
                    self.tile::<S, V, 1, 1>(simd, chunk, o, i);
                }
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize, const O: usize, const I: usize>(
        &mut self,
        simd: S,
        chunk: &[Vec<(u32, u32)>],
        first_o: usize,
        first_i: usize,
    ) {
        let (inputs, taps) = (self.x_channels.count, self.taps);
        let (gradient, _) = S::as_simd_f32s(&self.gradient[(self.gradient_channels.first + first_o) * LANES..]);
        let (x, _) = S::as_simd_f32s(&self.x[(self.x_channels.first + first_i) * LANES..]);
        let (gradient_pixel, x_pixel) = (self.gradient_channels.total * V, self.x_channels.total * V);
        for (tap, pairs) in chunk.iter().enumerate() {
            let mut sums = [[simd.splat_f32s(0.0); I]; O];
            for (out, source) in pairs {
                let g = &gradient[*out as usize * gradient_pixel..][..O * V];
                let x = &x[*source as usize * x_pixel..][..I * V];
                for v in 0..V {
                    let x: [S::f32s; I] = std::array::from_fn(|i| x[i * V + v]);
                    for o in 0..O {
                        for i in 0..I {
                            sums[o][i] = simd.mul_add_f32s(g[o * V + v], x[i], sums[o][i]);
                        }
                    }
                }
            }
            for (o, sums) in sums.iter().enumerate() {
                for (i, sum) in sums.iter().enumerate() {
                    let index = ((first_o + o) * inputs + first_i + i) * taps + tap;
                    self.result[index] += simd.reduce_sum_f32s(*sum);
                }
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
