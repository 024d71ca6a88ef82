//! Quantization-aware training: values rounded as the hardware rounds them, gradients as if not.
//!
//! Scales are powers of two and ties round to even, so that rounding in floats gives the integers of
//! the accelerator exactly (as long as sums stay below 2^24, the integers that a float holds). The
//! gradient is the clipped straight-through estimator: 1 inside the int8 range, 0 outside.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use espalier_ir::{Diagnostic, Diagnostics, NodeId, Op};

use crate::plan::{Plan, Step};

/// Int8 form of a value: real = (q - zero_point) * 2^exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationQuant {
    /// Base-2 logarithm of the scale.
    pub exponent: i32,
    /// Integer that stands for zero.
    pub zero_point: i8,
}

/// Int8 form of the weights of a node, in -127..=127.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightQuant {
    /// Base-2 logarithm of the scale of each output channel.
    pub exponents: Vec<i32>,
    /// Exponent of the node's input; if given, biases are rounded to multiples of
    /// `2^(input_exponent + exponents[o])`, the unit of the accumulators.
    pub input_exponent: Option<i32>,
}

/// Which values and weights are rounded. Nodes that are not named stay in float.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeQuant {
    /// By node whose value is stored as int8: inputs and the last node of each accelerator layer.
    pub activations: BTreeMap<NodeId, ActivationQuant>,
    /// By node with weights: Conv, ConvTranspose and Gemm; AveragePool and GlobalAveragePool, whose weight
    /// 1 / (kernel elements) then becomes the nearest multiple of `2^exponents[0]`; BatchNorm, which is
    /// then frozen at its running statistics and multiplies by rounded factors.
    pub weights: BTreeMap<NodeId, WeightQuant>,
}

/// Powers of two that are normal floats, with room for their reciprocals.
const EXPONENTS: std::ops::RangeInclusive<i32> = -100..=100;

impl FakeQuant {
    /// Entries that do not fit the graph.
    pub(crate) fn check(&self, plan: &Plan, findings: &mut Diagnostics) {
        let mut refuse = |message: String| {
            findings.push(Diagnostic::error("bad-fake-quantization", "quantization-aware training", message));
        };
        let steps: BTreeMap<NodeId, &Step> = plan.steps.iter().map(|s| (s.node, s)).collect();
        for (node, quant) in &self.activations {
            if !steps.contains_key(node) {
                refuse(format!("node {node:?} is not part of the model"));
            }
            if !EXPONENTS.contains(&quant.exponent) {
                refuse(format!("exponent {} is out of range", quant.exponent));
            }
        }
        for (node, quant) in &self.weights {
            let channels = match steps.get(node).map(|s| (&s.op, s.dims[0])) {
                Some((Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. } | Op::BatchNorm { .. }, channels)) => {
                    channels
                }
                Some((Op::AveragePool { .. } | Op::GlobalAveragePool, _)) => 1,
                Some((op, _)) => {
                    refuse(format!("node {node:?} ({}) has no weights", op.name()));
                    continue;
                }
                None => {
                    refuse(format!("node {node:?} is not part of the model"));
                    continue;
                }
            };
            if quant.exponents.len() != channels {
                refuse(format!("node {node:?} has {channels} channels, not {}", quant.exponents.len()));
            }
            if quant.exponents.iter().chain(&quant.input_exponent).any(|e| !EXPONENTS.contains(e)) {
                refuse(format!("node {node:?} has an exponent out of range"));
            }
        }
    }
}

/// 2^exponent, exactly, for normal floats.
pub(crate) fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127).clamp(1, 254) as u32) << 23)
}

/// Rounds to even with the gradient of the identity.
fn round_through<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let constant = x.clone().detach();
    let difference = constant.clone().round() - constant;
    // Exact: the difference is (Sterbenz), so the sum is the rounded value itself.
    x + difference
}

/// A value as the accelerator stores it.
pub(crate) fn activation(x: Tensor<4>, quant: ActivationQuant) -> Tensor<4> {
    let zero = f32::from(quant.zero_point);
    let scaled = x.mul_scalar(power_of_two(-quant.exponent)).clamp(-128.0 - zero, 127.0 - zero);
    round_through(scaled).mul_scalar(power_of_two(quant.exponent))
}

/// Weights `[out_channels * per_channel]` as the accelerator stores them, in the same flat shape.
pub(crate) fn weight(w: Tensor<1>, exponents: &[i32], device: &Device) -> Tensor<1> {
    let [len] = w.dims();
    let channels = exponents.len();
    let scaled = w.reshape([channels, len / channels]) * column(exponents.iter().map(|e| power_of_two(-e)), device);
    let rounded = round_through(scaled.clamp(-127.0, 127.0));
    (rounded * column(exponents.iter().map(|e| power_of_two(*e)), device)).reshape([len])
}

/// Biases `[out_channels]` as multiples of the accumulators' unit.
pub(crate) fn bias(b: Tensor<1>, quant: &WeightQuant, device: &Device) -> Tensor<1> {
    let Some(input) = quant.input_exponent else { return b };
    let [channels] = b.dims();
    let exponents = quant.exponents.iter().map(|e| e.saturating_add(input).clamp(-126, 126));
    let down = column(exponents.clone().map(|e| power_of_two(-e)), device).reshape([channels]);
    let up = column(exponents.map(power_of_two), device).reshape([channels]);
    round_through(b * down) * up
}

fn column(values: impl Iterator<Item = f32>, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.collect();
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn powers_of_two_are_exact() {
        assert_eq!(power_of_two(0), 1.0);
        assert_eq!(power_of_two(-100) * power_of_two(100), 1.0);
        assert_eq!(power_of_two(7), 128.0);
    }

    #[test]
    fn activations_round_ties_to_even_and_saturate() {
        let x = [-1e9, -0.25, 0.25, 0.75, 1.25, 63.2, 63.8, 1e9, 3e-30];
        let x = Tensor::<4>::from_data(TensorData::new(x.to_vec(), [1, 9, 1, 1]), &Device::flex());
        let signed = activation(x.clone(), ActivationQuant { exponent: -1, zero_point: 0 });
        assert_eq!(values(signed), [-64.0, 0.0, 0.0, 1.0, 1.0, 63.0, 63.5, 63.5, 0.0]);
        let unsigned = activation(x, ActivationQuant { exponent: -1, zero_point: -128 });
        assert_eq!(values(unsigned), [0.0, 0.0, 0.0, 1.0, 1.0, 63.0, 64.0, 127.5, 0.0]);
    }

    #[test]
    fn gradient_passes_inside_the_range_only() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::from_data(TensorData::new(vec![-200.0f32, -3.3, 5.4, 128.0], [1, 4, 1, 1]), &device)
            .require_grad();
        let y = activation(x.clone(), ActivationQuant { exponent: 0, zero_point: 0 });
        let grads = y.sum().backward();
        assert_eq!(values(x.grad(&grads).unwrap()), [0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn weights_stay_within_127_of_their_channel() {
        let device = Device::flex();
        let w = Tensor::<1>::from_data(TensorData::new(vec![1.0f32, -9.0, 0.3, 0.26], [4]), &device);
        assert_eq!(values(weight(w, &[-4, -1], &device)), [1.0, -7.9375, 0.5, 0.5]);
        let b = Tensor::<1>::from_data(TensorData::new(vec![0.3f32, 0.3], [2]), &device);
        let quant = WeightQuant { exponents: vec![-1, -2], input_exponent: Some(0) };
        assert_eq!(values(bias(b.clone(), &quant, &device)), [0.5, 0.25]);
        assert_eq!(values(bias(b, &WeightQuant { input_exponent: None, ..quant }, &device)), [0.3, 0.3]);
    }
}
