//! Weights, bias, exponent and shift of every output channel of one layer.

use std::ops::RangeInclusive;

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostic, Graph, Interleave, Pads};

use crate::bounds::{Interval, Operand, weighted_sum};
use crate::fold::{folded_values, gains};
use crate::model::{QuantParams, power_of_two};
use crate::quantize::WeightRounding;
use crate::residual::MAX_RESIDUAL_SHIFT;

/// Largest shift of the requantizer.
pub(crate) const MAX_SHIFT: i32 = 31;

/// Integers up to here are exact as 32-bit floats.
pub(crate) const FLOAT_EXACT: i64 = 1 << 24;

/// Fraction bits that the bias of a channel without weights keeps.
const DEAD_SHIFT: i32 = 8;

/// A float layer as a convolution: `[out, in / groups, kernel_h, kernel_w]` weights and one bias per channel.
#[derive(Clone)]
pub(crate) struct FloatConv {
    pub(crate) weight: Vec<f32>,
    pub(crate) shape: [usize; 4],
    pub(crate) bias: Vec<f32>,
    pub(crate) stride: [usize; 2],
    pub(crate) pads: Pads,
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
    /// How the results are spread, if it is a transposed convolution.
    pub(crate) interleave: Option<Interleave>,
}

impl FloatConv {
    /// Weights of every output channel.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &[f32]> {
        self.weight.chunks(self.shape[1..].iter().product())
    }
}

/// The layer as a convolution, batch normalization folded in; `None` for maximum, addition and concatenation.
pub(crate) fn float_conv(graph: &Graph, layer: &ArrayLayer) -> Option<FloatConv> {
    let channels: usize = match layer.op {
        ArrayOp::Conv { .. } => layer.in_shapes[..layer.own_sources().len()].iter().map(|s| s[0]).sum(),
        _ => layer.in_shapes[0][0],
    };
    let depthwise = |weight: Vec<f32>, bias, kernel: [usize; 2], stride, pads| FloatConv {
        weight,
        shape: [channels, 1, kernel[0], kernel[1]],
        bias,
        stride,
        pads,
        dilation: [1, 1],
        groups: channels,
        interleave: None,
    };
    match &layer.op {
        ArrayOp::Conv { node, batch_norm, kernel, stride, pads, dilation, groups } => {
            let (weight, bias) = folded_values(graph, *node, *batch_norm);
            // A fully connected layer's rows are already in the order [channel, y, x] of the tensor it reads.
            let shape = [layer.conv_shape[0], channels / groups, kernel[0], kernel[1]];
            let (stride, pads, dilation, groups) = (*stride, *pads, *dilation, *groups);
            Some(FloatConv { weight, shape, bias, stride, pads, dilation, groups, interleave: None })
        }
        ArrayOp::ConvTranspose { node, batch_norm, kernel, interleave, groups } => {
            let (weight, bias) = folded_values(graph, *node, *batch_norm);
            let outputs = layer.conv_shape[0];
            let shape = [outputs, channels / groups, kernel[0], kernel[1]];
            let weight = transposed(&weight, shape, *groups);
            let (pads, interleave) = (Pads::default(), Some(*interleave));
            Some(FloatConv { weight, shape, bias, stride: [1, 1], pads, dilation: [1, 1], groups: *groups, interleave })
        }
        ArrayOp::Scale { node } => {
            let (gain, offset): (Vec<f32>, Vec<f32>) =
                gains(graph, *node).into_iter().map(|(g, o)| (g as f32, o as f32)).unzip();
            Some(depthwise(gain, offset, [1, 1], [1, 1], Pads::default()))
        }
        ArrayOp::AveragePool { pool } => {
            let area = pool.kernel[0] * pool.kernel[1];
            let weight = vec![mean_weight(area); channels * area];
            Some(depthwise(weight, vec![0.0; channels], pool.kernel, pool.stride, pool.pads))
        }
        ArrayOp::Narrow => Some(depthwise(vec![1.0; channels], vec![0.0; channels], [1, 1], [1, 1], Pads::default())),
        ArrayOp::MaxPool { .. }
        | ArrayOp::Products
        | ArrayOp::Sequence
        | ArrayOp::Add
        | ArrayOp::Gate
        | ArrayOp::Concat
        | ArrayOp::Select { .. }
        | ArrayOp::Resize { .. } => None,
    }
}

/// The convolution of vectors one after another as if all had the step of the first; `exponents` are those of the vectors,
/// `channels` how many each has.
pub(crate) fn with_common_step(mut conv: FloatConv, exponents: &[i32], channels: &[usize]) -> FloatConv {
    let steps: Vec<f32> = exponents
        .iter()
        .zip(channels)
        .flat_map(|(e, channels)| vec![power_of_two(e - exponents[0]) as f32; *channels])
        .collect();
    conv.weight.chunks_mut(steps.len()).for_each(|row| row.iter_mut().zip(&steps).for_each(|(w, step)| *w *= step));
    conv
}

/// Weights `[in, out / groups, kernel_h, kernel_w]` in the order `shape` = `[out, in / groups, kernel_h, kernel_w]`, or back:
/// then `shape` is `[in, out / groups, ..]`.
pub(crate) fn transposed<T: Copy>(weight: &[T], shape: [usize; 4], groups: usize) -> Vec<T> {
    let [first, second, kh, kw] = shape;
    let (each, per_group) = (kh * kw, first / groups);
    let run = |at: usize| {
        let (group, a, b) = (at / second / per_group, at / second % per_group, at % second);
        let from = ((group * second + b) * per_group + a) * each;
        &weight[from..from + each]
    };
    (0..first * second).flat_map(run).copied().collect()
}

/// `w * 2^-k` with the largest `k` for which `w = round(2^k / area)` fits 127: nearest int8 mean over `area` elements.
fn mean_weight(area: usize) -> f32 {
    let weight = |k: i32| (power_of_two(k) / area as f64).round();
    let k = (0..63).rev().find(|k| weight(*k) <= 127.0).expect("1 / area rounds to 0 or 1");
    (weight(k) * power_of_two(-k)) as f32
}

/// Exponents of all channels that follow from the weights alone; `None` where all weights are zero.
pub(crate) fn weight_exponents(conv: &FloatConv, rounding: WeightRounding) -> Vec<Option<i32>> {
    conv.channels().map(|w| weight_exponent(w, rounding)).collect()
}

fn weight_exponent(weights: &[f32], rounding: WeightRounding) -> Option<i32> {
    let max = weights.iter().map(|w| f64::from(w.abs())).fold(0.0, f64::max);
    if max == 0.0 {
        return None;
    }
    // The smallest step with which the largest weight rounds to at most 127.
    let mut covering = (max / 127.5).log2().floor() as i32;
    while max / power_of_two(covering) >= 127.5 {
        covering += 1;
    }
    let finer = covering - 1;
    let clipping_pays =
        rounding == WeightRounding::SquaredError && squared_error(weights, finer) < squared_error(weights, covering);
    Some(if clipping_pays { finer } else { covering })
}

fn squared_error(weights: &[f32], exponent: i32) -> f64 {
    let step = power_of_two(exponent);
    weights.iter().map(|w| (f64::from(quantize_weight(*w, exponent)) * step - f64::from(*w)).powi(2)).sum()
}

fn quantize_weight(weight: f32, exponent: i32) -> i8 {
    (f64::from(weight) / power_of_two(exponent)).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// One output channel in integers.
pub(crate) struct Channel {
    pub(crate) weight: Vec<i8>,
    pub(crate) bias: i32,
    pub(crate) exponent: i32,
    pub(crate) shift: u8,
}

/// What a channel adds besides its weighted inputs: an operand whose step is `2^unit` times that of the input.
#[derive(Clone, Copy)]
pub(crate) struct Addend {
    pub(crate) operand: Operand,
    pub(crate) unit: i32,
}

/// Quantizes one output channel.
///
/// The exponent starts from `base` and is raised, weights losing bits, until the shift is at most 31 and the accumulator
/// fits 32 bits; beyond 24 bits it is raised only where the output cannot notice. With an addend, its left shift
/// `unit - exponent` stays in the given range.
///
/// # Errors
/// If the bias alone exceeds the accumulator with the coarsest weights.
pub(crate) fn quantize_channel(
    weights: &[f32],
    bias: f32,
    base: Option<i32>,
    input: (QuantParams, &[Operand]),
    addend: Option<(Addend, &RangeInclusive<i32>)>,
    output: QuantParams,
) -> Result<Channel, String> {
    let (source, operands) = input;
    let top = output.exponent - source.exponent;
    let range = addend.map(|(addend, shifts)| addend.unit - shifts.end()..=addend.unit - shifts.start());
    let base = match (base, &range) {
        (None, None) => return Ok(dead_channel(weights.len(), bias, output.exponent, top)),
        (None, Some(range)) => (top - DEAD_SHIFT).clamp(*range.start(), *range.end()),
        (Some(base), range) => base.max(range.as_ref().map_or(base, |r| *r.start())),
    };
    let last = range.as_ref().map_or(top, |range| top.min(*range.end()));
    for exponent in base.max(top - MAX_SHIFT)..=last {
        let channel = channel_with(weights, bias, exponent, source.exponent, addend.is_none().then_some(top));
        if addend.is_none() && channel.0.iter().all(|w| *w == 0) {
            return Ok(dead_channel(weights.len(), bias, output.exponent, top));
        }
        let bound = channel_interval(&channel.0, channel.1, operands, addend.map(|a| a.0), exponent);
        let harmless = exponent < last && weights.len() as f64 * 255.0 * 8.0 < power_of_two(top - exponent);
        if bound.bits() > 32 || (bound.magnitude() > FLOAT_EXACT && harmless) {
            continue;
        }
        return Ok(finish(channel, exponent, top));
    }
    Err(format!("the bias {bias} is more than 2^31 steps of the accumulator (2^{})", source.exponent + base))
}

/// Quantizes one output channel with a given exponent; weights beyond it saturate.
///
/// # Errors
/// If the shift or the accumulator does not fit.
pub(crate) fn quantize_channel_fixed(
    weights: &[f32],
    bias: f32,
    exponent: i32,
    input: (QuantParams, &[Operand]),
    addend: Option<Addend>,
    output: QuantParams,
) -> Result<Channel, String> {
    let (source, operands) = input;
    let top = output.exponent - source.exponent;
    if !(0..=MAX_SHIFT).contains(&(top - exponent)) {
        return Err(format!("shift {} is not in 0..=31", top - exponent));
    }
    if let Some(shift) = addend.map(|a| a.unit - exponent).filter(|k| !(0..=MAX_RESIDUAL_SHIFT).contains(k)) {
        return Err(format!("left shift {shift} of the operand added is not in 0..={MAX_RESIDUAL_SHIFT}"));
    }
    let channel = channel_with(weights, bias, exponent, source.exponent, addend.is_none().then_some(top));
    match channel_interval(&channel.0, channel.1, operands, addend, exponent).bits() {
        0..=32 => Ok(finish(channel, exponent, top)),
        bits => Err(format!("the accumulator needs {bits} bits, more than 32")),
    }
}

/// Weights and bias; `alone` is the exponent of the output relative to the input if nothing else is added.
fn channel_with(weights: &[f32], bias: f32, exponent: i32, source_exponent: i32, alone: Option<i32>) -> (Vec<i8>, i64) {
    let weight: Vec<i8> = weights.iter().map(|w| quantize_weight(*w, exponent)).collect();
    let mut bias = (f64::from(bias) / power_of_two(source_exponent + exponent)).round_ties_even();
    if let Some(top) = alone.filter(|_| weight.iter().all(|w| *w == 0)) {
        bias = saturated_bias(bias, top - exponent);
    }
    // Far beyond 32 bits and still far from overflow in the interval arithmetic.
    (weight, bias.clamp(-1e15, 1e15) as i64)
}

fn channel_interval(weight: &[i8], bias: i64, read: &[Operand], addend: Option<Addend>, exponent: i32) -> Interval {
    let addend = addend.map(|a| (1i64 << (a.unit - exponent), a.operand));
    weighted_sum(weight.iter().map(|w| i64::from(*w)).zip(read.iter().copied()).chain(addend), bias)
}

fn finish((weight, bias): (Vec<i8>, i64), exponent: i32, top: i32) -> Channel {
    let bias = i32::try_from(bias).expect("the interval includes the bias and fits 32 bits");
    Channel { weight, bias, exponent, shift: (top - exponent) as u8 }
}

/// A channel without weights is its bias, clamped.
fn dead_channel(weights: usize, bias: f32, output_exponent: i32, top: i32) -> Channel {
    let bias = f64::from(bias) / power_of_two(output_exponent - DEAD_SHIFT);
    let bias = saturated_bias(bias.round_ties_even(), DEAD_SHIFT) as i64;
    finish((vec![0; weights], bias), top - DEAD_SHIFT, top)
}

/// A constant beyond 512 output steps saturates whatever the zero point, so no more of it is kept.
fn saturated_bias(bias: f64, shift: i32) -> f64 {
    let limit = (512.0 * power_of_two(shift)).min(power_of_two(30));
    bias.clamp(-limit, limit)
}

/// A finding about weights of a layer that are not finite, which only a damaged or diverged model has.
pub(crate) fn check_finite(layer: &str, conv: &FloatConv) -> Result<(), Diagnostic> {
    match conv.weight.iter().chain(&conv.bias).find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Diagnostic::error(
            "non-finite-weight",
            format!("layer '{layer}'"),
            format!("a weight or bias is {value} after batch normalization is folded in"),
        )
        .with_help("check the running variance of the batch normalization")),
    }
}
