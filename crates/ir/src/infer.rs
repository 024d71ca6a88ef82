//! Output shapes, per sample. All arithmetic is checked: a model from outside may say anything.

use crate::{Diagnostic, Op, Pads, ParamId};

/// Values and parameters larger than this are refused (2^28 elements).
const MAX_ELEMENTS: usize = 1 << 28;

/// Shape of one sample of the output of `op`, given those of its operands and parameters.
///
/// # Errors
/// If the operands do not fit the operator, or the result would be absurdly large.
pub fn infer_shape<'a>(
    name: &str,
    op: &Op,
    operands: &[&[usize]],
    param: &dyn Fn(ParamId) -> &'a [usize],
) -> Result<Vec<usize>, Diagnostic> {
    let wrong =
        |message: String| Diagnostic::error("shape-mismatch", format!("node '{name}' ({})", op.name()), message);
    let arity = match op {
        Op::Input { .. } => 0..=0,
        Op::Add => 2..=2,
        Op::Concat => 1..=usize::MAX,
        _ => 1..=1,
    };
    if !arity.contains(&operands.len()) {
        return Err(wrong(format!("takes {} operands, not {}", arity.start(), operands.len())));
    }
    let first = operands.first().copied().unwrap_or_default();
    let spatial = || match first {
        [c, h, w] => Ok([*c, *h, *w]),
        _ => Err(wrong(format!("takes [channels, height, width], not {first:?}"))),
    };
    let shape = match op {
        Op::Input { shape } => shape.clone(),
        Op::Conv(conv) => {
            let [channels, h, w] = spatial()?;
            let weight = param(conv.weight);
            let [out, per_group, kh, kw] = *weight else {
                return Err(wrong(format!("weight has shape {weight:?}, not four axes")));
            };
            if conv.groups == 0 || per_group.checked_mul(conv.groups) != Some(channels) || out % conv.groups != 0 {
                return Err(wrong(format!(
                    "weight {weight:?} with {} groups does not fit {channels} input channels",
                    conv.groups
                )));
            }
            if let Some(bias) = conv.bias
                && param(bias) != [out]
            {
                return Err(wrong(format!("bias has shape {:?}, not [{out}]", param(bias))));
            }
            let [oh, ow] = windows([h, w], [kh, kw], conv.stride, conv.dilation, conv.pads).map_err(wrong)?;
            vec![out, oh, ow]
        }
        Op::Gemm { weight, bias } => {
            let weight = param(*weight);
            match (first, weight) {
                ([features], [out, inputs]) if features == inputs => {
                    if let Some(bias) = bias
                        && param(*bias) != [*out]
                    {
                        return Err(wrong(format!("bias has shape {:?}, not [{out}]", param(*bias))));
                    }
                    vec![*out]
                }
                _ => return Err(wrong(format!("weight {weight:?} does not fit input {first:?}"))),
            }
        }
        Op::Add => {
            if operands[0] != operands[1] {
                return Err(wrong(format!("operands differ in shape: {:?} and {:?}", operands[0], operands[1])));
            }
            first.to_vec()
        }
        Op::Concat => {
            let rest = first.get(1..).unwrap_or_default();
            let mut channels = 0usize;
            for operand in operands {
                if operand.is_empty() || operand[1..] != *rest {
                    return Err(wrong(format!("operands differ beyond the channels: {first:?} and {operand:?}")));
                }
                channels = channels.saturating_add(operand[0]);
            }
            std::iter::once(channels).chain(rest.iter().copied()).collect()
        }
        Op::BatchNorm { gamma, beta, mean, variance, .. } => {
            for p in [gamma, beta, mean, variance] {
                if param(*p) != &first[..1.min(first.len())] {
                    return Err(wrong(format!("parameter of shape {:?} for input {first:?}", param(*p))));
                }
            }
            first.to_vec()
        }
        Op::MaxPool(pool) | Op::AveragePool { pool, .. } => {
            let [channels, h, w] = spatial()?;
            let p = pool.pads;
            if p.top >= pool.kernel[0]
                || p.bottom >= pool.kernel[0]
                || p.left >= pool.kernel[1]
                || p.right >= pool.kernel[1]
            {
                return Err(wrong("padding is as large as the window".to_owned()));
            }
            let [oh, ow] = windows([h, w], pool.kernel, pool.stride, [1, 1], pool.pads).map_err(wrong)?;
            vec![channels, oh, ow]
        }
        Op::GlobalAveragePool => vec![spatial()?[0], 1, 1],
        Op::Flatten => vec![product(first).ok_or_else(|| wrong("shape overflows".to_owned()))?],
        Op::Reshape { shape } => {
            if product(shape) != product(first) {
                return Err(wrong(format!("cannot turn {first:?} into {shape:?}")));
            }
            shape.clone()
        }
        Op::QuantizeLinear { scale, zero_point } | Op::DequantizeLinear { scale, zero_point } => {
            if scale.len() != zero_point.len() || !(scale.len() == 1 || first.first() == Some(&scale.len())) {
                return Err(wrong(format!(
                    "{} scales and {} zero points for {first:?}",
                    scale.len(),
                    zero_point.len()
                )));
            }
            first.to_vec()
        }
        Op::Relu | Op::Clip { .. } | Op::Softmax => first.to_vec(),
    };
    match product(&shape) {
        Some(1..=MAX_ELEMENTS) => Ok(shape),
        Some(0) => Err(wrong(format!("output shape {shape:?} has no elements"))),
        _ => Err(wrong(format!("output shape {shape:?} exceeds {MAX_ELEMENTS} elements"))),
    }
}

fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |p, d| p.checked_mul(*d))
}

/// Number of window positions on both axes.
fn windows(
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: Pads,
) -> Result<[usize; 2], String> {
    let pads = [(pads.top, pads.bottom), (pads.left, pads.right)];
    let mut out = [0; 2];
    for axis in 0..2 {
        if kernel[axis] == 0 || stride[axis] == 0 || dilation[axis] == 0 {
            return Err("kernel, stride and dilation must be at least 1".to_owned());
        }
        let extent = (kernel[axis] - 1).checked_mul(dilation[axis]).and_then(|e| e.checked_add(1));
        let padded = size[axis].checked_add(pads[axis].0).and_then(|s| s.checked_add(pads[axis].1));
        out[axis] = match (extent, padded) {
            (Some(extent), Some(padded)) if extent <= padded => (padded - extent) / stride[axis] + 1,
            _ => return Err(format!("window of {} does not fit {} elements", kernel[axis], size[axis])),
        };
    }
    Ok(out)
}
