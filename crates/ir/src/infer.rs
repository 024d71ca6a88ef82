//! Output shapes, per sample. All arithmetic is checked: a model from outside may say anything.

use crate::product::{elementwise_shape, matrix_shape};
use crate::{ConvTranspose, Diagnostic, Op, Pads, ParamId};

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
        Op::Add | Op::Mul | Op::MatMul { .. } => 2..=2,
        Op::Concat { .. } => 1..=usize::MAX,
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
        Op::Mul | Op::MatMul { .. } => {
            let shape = match op {
                Op::MatMul { transpose } => matrix_shape(operands[0], operands[1], *transpose),
                _ => elementwise_shape(operands[0], operands[1]),
            };
            shape.ok_or_else(|| {
                wrong(format!("operands do not fit each other: {:?} and {:?}", operands[0], operands[1]))
            })?
        }
        Op::Select { channels } => {
            let [available, rest @ ..] = first else { return Err(wrong("operand has no channels".to_owned())) };
            if let Some(missing) = channels.iter().flatten().find(|c| *c >= available) {
                return Err(wrong(format!("picks channel {missing} of {available}")));
            }
            std::iter::once(channels.len()).chain(rest.iter().copied()).collect()
        }
        Op::ConvTranspose(conv) => {
            let [channels, h, w] = spatial()?;
            let weight = param(conv.weight);
            let [inputs, per_group, kh, kw] = *weight else {
                return Err(wrong(format!("weight has shape {weight:?}, not four axes")));
            };
            let out = per_group.checked_mul(conv.groups).unwrap_or(0);
            if conv.groups == 0 || inputs != channels || !channels.is_multiple_of(conv.groups) || out == 0 {
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
            let [oh, ow] = enlarged([h, w], [kh, kw], conv).map_err(wrong)?;
            vec![out, oh, ow]
        }
        Op::Resize { factor } => {
            let [channels, h, w] = spatial()?;
            match (h.checked_mul(factor[0]), w.checked_mul(factor[1])) {
                (Some(h), Some(w)) => vec![channels, h, w],
                _ => return Err(wrong("shape overflows".to_owned())),
            }
        }
        Op::PRelu { slope } => {
            let slope = param(*slope);
            if slope != [1] && (slope.len() != 1 || first.first() != slope.first()) {
                return Err(wrong(format!("slope of shape {slope:?} for input {first:?}")));
            }
            first.to_vec()
        }
        Op::Concat { axis } => {
            let mut joined = first.to_vec();
            let Some(extent) = joined.get_mut(*axis) else {
                return Err(wrong(format!("{first:?} has no axis {axis}")));
            };
            *extent = 0;
            for operand in operands {
                let same = |(a, (x, y)): (usize, (&usize, &usize))| a == *axis || x == y;
                if operand.len() != first.len() || !operand.iter().zip(first).enumerate().all(same) {
                    return Err(wrong(format!("operands differ beyond axis {axis}: {first:?} and {operand:?}")));
                }
                *extent = extent.saturating_add(operand[*axis]);
            }
            joined
        }
        Op::Normalize(normalize) => normalize.shape(first, param).map_err(wrong)?,
        Op::Offset { offset } => {
            if param(*offset) != first {
                return Err(wrong(format!("offset of shape {:?} for input {first:?}", param(*offset))));
            }
            first.to_vec()
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
        Op::Recurrent(recurrent) => recurrent.shape(first, param).map_err(wrong)?,
        Op::TimeStep { step } => {
            let [features, rest @ ..] = first else { return Err(wrong("operand has no features".to_owned())) };
            let time = product(rest).unwrap_or(0);
            if rest.is_empty() || *step >= time {
                return Err(wrong(format!("takes step {step} of {first:?}")));
            }
            vec![*features]
        }
        Op::Transpose { axes } => {
            let mut sorted = axes.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..first.len()) {
                return Err(wrong(format!("{axes:?} is no order of the axes of {first:?}")));
            }
            axes.iter().map(|a| first[*a]).collect()
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
        Op::Softmax { axis } if *axis >= first.len() => return Err(wrong(format!("{first:?} has no axis {axis}"))),
        Op::Relu | Op::Clip { .. } | Op::Unary(_) | Op::Softmax { .. } => first.to_vec(),
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

/// Rows and columns that a transposed convolution gives.
fn enlarged(size: [usize; 2], kernel: [usize; 2], conv: &ConvTranspose) -> Result<[usize; 2], String> {
    let cut = [(conv.pads.top, conv.pads.bottom), (conv.pads.left, conv.pads.right)];
    let mut out = [0; 2];
    for axis in 0..2 {
        let (stride, dilation, more) = (conv.stride[axis], conv.dilation[axis], conv.output_pads[axis]);
        if kernel[axis] == 0 || stride == 0 || dilation == 0 {
            return Err("kernel, stride and dilation must be at least 1".to_owned());
        }
        if more >= stride.max(dilation) {
            return Err(format!("output padding {more} is not below stride {stride} or dilation {dilation}"));
        }
        let last = (size[axis] - 1).checked_mul(stride);
        let extent = (kernel[axis] - 1).checked_mul(dilation);
        let whole = last.zip(extent).and_then(|(l, e)| l.checked_add(e)?.checked_add(1)?.checked_add(more));
        let kept = whole.and_then(|n| n.checked_sub(cut[axis].0)?.checked_sub(cut[axis].1)).filter(|n| *n > 0);
        out[axis] = kept.ok_or_else(|| "padding cuts everything off, or the shape overflows".to_owned())?;
    }
    Ok(out)
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
