//! Fast exact convolution for the interpreter, in 32-bit integers.
//!
//! The input is stored as `x - zp` with zero padding, split into one plane per phase of the stride, so that the values
//! one tap meets on its way over all outputs are contiguous. An output plane is then a sum of shifted input planes:
//! blocks of outputs stay in registers while all non-zero taps of the channel pass. Columns between the rows (the
//! padding) are computed too and not read.

use espalier_ir::Interleave;

use crate::requantize::requantize;

/// Outputs that one block keeps in registers.
const BLOCK: usize = 32;
/// Block for small planes and remainders.
const SMALL_BLOCK: usize = 8;

/// A convolution prepared for many samples.
pub(crate) enum ConvKernel {
    /// One output position that reads the whole input: rows of weights.
    Dense { weight: Vec<i16> },
    /// All other convolutions.
    Planes(Planes),
    /// Transposed convolutions: one for each phase.
    Phases { factor: [usize; 2], phases: Vec<Planes> },
}

pub(crate) struct Planes {
    /// Non-zero taps: offset into the stored input, weight.
    taps: Vec<(u32, i16)>,
    /// Taps of channel `o`: `taps[starts[o]..starts[o + 1]]`.
    starts: Vec<usize>,
    in_shape: [usize; 3],
    stride: [usize; 2],
    pads: [usize; 2],
    /// Rows and columns of one phase plane.
    phase: [usize; 2],
}

/// Geometry and weights of a convolution.
#[derive(Clone, Copy)]
pub(crate) struct ConvSpec<'a> {
    pub(crate) weight: &'a [i8],
    pub(crate) weight_shape: [usize; 4],
    pub(crate) in_shape: [usize; 3],
    pub(crate) out_shape: [usize; 3],
    pub(crate) stride: [usize; 2],
    /// Above and to the left; the other sides follow from the output shape.
    pub(crate) pads: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

/// What write-back needs of one layer.
pub(crate) struct WriteBack<'a> {
    pub(crate) bias: &'a [i32],
    pub(crate) shift: &'a [u8],
    pub(crate) zero_point: i8,
    pub(crate) clamp: (i8, i8),
    /// What is added to the sum of every output, `[out, h, w]`.
    pub(crate) addend: Option<&'a [i32]>,
}

impl WriteBack<'_> {
    /// The output with index `index` in channel `o`.
    fn output(&self, o: usize, index: usize, sum: i32) -> i8 {
        let sum = sum + self.addend.map_or(0, |a| a[index]);
        requantize(sum, self.shift[o], self.zero_point, self.clamp)
    }
}

impl ConvKernel {
    pub(crate) fn new(spec: &ConvSpec) -> Self {
        let [_, per_group, kh, kw] = spec.weight_shape;
        let whole = spec.groups == 1 && [per_group, kh, kw] == spec.in_shape && spec.pads == [0, 0];
        if whole && spec.dilation == [1, 1] && spec.out_shape[1..] == [1, 1] {
            return ConvKernel::Dense { weight: spec.weight.iter().map(|w| i16::from(*w)).collect() };
        }
        ConvKernel::Planes(Planes::new(spec))
    }

    /// A transposed convolution; `spec` has its taps, and the shape of a phase.
    pub(crate) fn interleaved(spec: &ConvSpec, spread: &Interleave) -> Self {
        let [fy, fx] = spread.factor;
        let phases = (0..fy).flat_map(|y| (0..fx).map(move |x| [y, x]));
        ConvKernel::Phases { factor: spread.factor, phases: phases.map(|p| phase(spec, spread, p)).collect() }
    }

    /// Requantized output `[out]` of one position that reads vectors one after another, each with its zero point.
    pub(crate) fn run_joined<'x>(&self, parts: impl Iterator<Item = (&'x [i8], i8)>, write: &WriteBack) -> Vec<i8> {
        let ConvKernel::Dense { weight } = self else { unreachable!("vectors are read as a whole") };
        let x: Vec<i16> = parts.flat_map(|(x, zero)| x.iter().map(move |v| centred(*v, zero))).collect();
        dense(weight, &x, write)
    }

    /// Requantized output `[out, h, w]` for an input of integers with zero point `input_zero`.
    pub(crate) fn run(&self, (x, input_zero): (&[i8], i8), out_shape: [usize; 3], write: &WriteBack) -> Vec<i8> {
        match self {
            ConvKernel::Dense { weight } => {
                let x: Vec<i16> = x.iter().map(|v| centred(*v, input_zero)).collect();
                dense(weight, &x, write)
            }
            ConvKernel::Planes(planes) => planes.run(x, input_zero, out_shape, write),
            ConvKernel::Phases { factor, phases } => {
                let results: Vec<_> = phases.iter().map(|p| p.run(x, input_zero, out_shape, write)).collect();
                let ([_, height, width], [fy, fx]) = (out_shape, *factor);
                let at = |i: usize| {
                    let (x, y, plane) =
                        (i % (fx * width), i / (fx * width) % (fy * height), i / (fx * width * fy * height));
                    results[y % fy * fx + x % fx][(plane * height + y / fy) * width + x / fx]
                };
                (0..fy * fx * out_shape.iter().product::<usize>()).map(at).collect()
            }
        }
    }
}

/// The convolution of one phase: its taps in the order of what they read, with zeros up to the element itself.
fn phase(spec: &ConvSpec, spread: &Interleave, phase: [usize; 2]) -> Planes {
    let [out, per_group, kh, kw] = spec.weight_shape;
    let taps = |axis: usize, kernel: usize| -> Vec<(usize, isize)> {
        let own = (0..kernel).filter(move |tap| spread.phase(axis, *tap) == phase[axis]);
        own.map(move |tap| (tap, spread.offset(axis, tap))).collect()
    };
    let taps = [taps(0, kh), taps(1, kw)];
    let range = |axis: usize| taps[axis].iter().fold((0, 0), |(low, high), (_, o)| (low.min(*o), high.max(*o)));
    let [(top, bottom), (left, right)] = [range(0), range(1)];
    let [rows, columns] = [(bottom - top + 1) as usize, (right - left + 1) as usize];
    let mut weight = vec![0; out * per_group * rows * columns];
    for (channel, weights) in spec.weight.chunks(kh * kw).enumerate() {
        for ((ky, y), (kx, x)) in taps[0].iter().flat_map(|y| taps[1].iter().map(move |x| (y, x))) {
            let at = (channel * rows + (y - top) as usize) * columns + (x - left) as usize;
            weight[at] = weights[ky * kw + kx];
        }
    }
    Planes::new(&ConvSpec {
        weight: &weight,
        weight_shape: [out, per_group, rows, columns],
        pads: [(-top) as usize, (-left) as usize],
        ..*spec
    })
}

fn centred(x: i8, zero: i8) -> i16 {
    i16::from(x) - i16::from(zero)
}

fn dense(weight: &[i16], x: &[i16], write: &WriteBack) -> Vec<i8> {
    let rows = weight.chunks(x.len()).zip(write.bias).enumerate();
    rows.map(|(o, (row, bias))| {
        let sum: i32 = row.iter().zip(x).map(|(w, v)| i32::from(*w) * i32::from(*v)).sum();
        write.output(o, o, bias + sum)
    })
    .collect()
}

impl Planes {
    fn new(spec: &ConvSpec) -> Self {
        let [out, per_group, kh, kw] = spec.weight_shape;
        // Rows and columns that the taps reach, or that hold input.
        let reach = |axis: usize, kernel: usize| {
            let last = (spec.out_shape[axis + 1] - 1) * spec.stride[axis] + (kernel - 1) * spec.dilation[axis] + 1;
            last.max(spec.in_shape[axis + 1] + spec.pads[axis]).div_ceil(spec.stride[axis])
        };
        let phase = [reach(0, kh), reach(1, kw)];
        let phases = spec.stride[0] * spec.stride[1];
        let out_per_group = out / spec.groups;
        let mut taps = Vec::new();
        let mut starts = vec![0];
        for (o, weights) in spec.weight.chunks(per_group * kh * kw).enumerate() {
            for (i, weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0) {
                let channel = o / out_per_group * per_group + i / (kh * kw);
                let y = i / kw % kh * spec.dilation[0];
                let x = i % kw * spec.dilation[1];
                let plane = channel * phases + y % spec.stride[0] * spec.stride[1] + x % spec.stride[1];
                let offset = (plane * phase[0] + y / spec.stride[0]) * phase[1] + x / spec.stride[1];
                taps.push((u32::try_from(offset).expect("values have at most 2^28 elements"), i16::from(*weight)));
            }
            starts.push(taps.len());
        }
        Planes { taps, starts, in_shape: spec.in_shape, stride: spec.stride, pads: spec.pads, phase }
    }

    /// The input minus its zero point, padded, in phase planes, with room for the last block to read beyond.
    fn store(&self, x: &[i8], input_zero: i8) -> Vec<i16> {
        let [channels, height, width] = self.in_shape;
        let [sy, sx] = self.stride;
        let plane = self.phase[0] * self.phase[1];
        let mut stored = vec![0; channels * sy * sx * plane + plane + BLOCK];
        for (row, values) in x.chunks(width).enumerate() {
            let (channel, y) = (row / height, row % height + self.pads[0]);
            for px in 0..sx {
                // Columns x with (x + left) % sx == px.
                let first = (px + sx - self.pads[1] % sx) % sx;
                let at = ((channel * sy + y % sy) * sx + px) * plane + y / sy * self.phase[1];
                let at = at + (first + self.pads[1]) / sx;
                let from = values.iter().skip(first).step_by(sx);
                stored[at..].iter_mut().zip(from).for_each(|(to, v)| *to = centred(*v, input_zero));
            }
        }
        stored
    }

    fn run(&self, x: &[i8], input_zero: i8, out_shape: [usize; 3], write: &WriteBack) -> Vec<i8> {
        let stored = self.store(x, input_zero);
        let [channels, height, width] = out_shape;
        let pitch = self.phase[1];
        let positions = (height - 1) * pitch + width;
        let mut sums = vec![0i32; positions + BLOCK];
        let mut output = Vec::with_capacity(channels * height * width);
        for o in 0..channels {
            let taps = &self.taps[self.starts[o]..self.starts[o + 1]];
            let mut at = 0;
            while at < positions {
                if positions - at > BLOCK / 2 {
                    block::<BLOCK>(&stored, taps, at, write.bias[o], &mut sums);
                    at += BLOCK;
                } else {
                    block::<SMALL_BLOCK>(&stored, taps, at, write.bias[o], &mut sums);
                    at += SMALL_BLOCK;
                }
            }
            for row in sums.chunks(pitch).take(height) {
                let first = output.len();
                output.extend(row[..width].iter().enumerate().map(|(x, sum)| write.output(o, first + x, *sum)));
            }
        }
        output
    }
}

/// Sums of `N` neighbouring positions over all taps.
#[inline(always)]
fn block<const N: usize>(stored: &[i16], taps: &[(u32, i16)], at: usize, bias: i32, sums: &mut [i32]) {
    let mut sum = [bias; N];
    for (offset, weight) in taps {
        let from = *offset as usize + at;
        let values: &[i16; N] = stored[from..from + N].try_into().expect("a slice of N values");
        for (s, v) in sum.iter_mut().zip(values) {
            *s += i32::from(*v) * i32::from(*weight);
        }
    }
    sums[at..at + N].copy_from_slice(&sum);
}
