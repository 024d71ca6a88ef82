//! Enlarging maps by whole factors, nearest neighbour.

use espalier_ir::Op;

use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop};

const HELP: &str = "enlarging height and width by whole factors with mode 'nearest' is supported, as is ConvTranspose";

/// Largest factor.
const MAX_FACTOR: f32 = 64.0;

/// Resize of operator set 10 and later.
pub fn resize(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let (scales, sizes) = if node.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let scales = float_list(importer, node, scales)?;
    let sizes = match sizes {
        usize::MAX => None,
        index => importer.integers(node, index, "the list of sizes")?,
    };
    if node.ints("axes")?.is_some() {
        return Err(node.unsupported("names axes").with_help(HELP).into());
    }
    let shape = importer.float_view(node, 0)?.shape;
    let scales = match (scales, sizes) {
        (_, Some(sizes)) if sizes.len() == shape.len() => {
            sizes.iter().zip(&shape).map(|(to, from)| *to as f32 / *from as f32).collect()
        }
        (Some(scales), _) => scales,
        _ => return Err(node.error("wrong-arity", "has neither scales nor sizes").into()),
    };
    let old = node.opset < 11;
    let position = node.text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?;
    let rounding = node.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?;
    enlarge(importer, node, &shape, &scales, &|to, from, factor| nearest(position, rounding, to, from, factor))
}

/// Upsample of operator sets 7 to 9.
pub fn upsample(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let scales = match float_list(importer, node, 1)? {
        Some(scales) => scales,
        None => node.floats("scales")?.unwrap_or_default().to_vec(),
    };
    let shape = importer.float_view(node, 0)?.shape;
    enlarge(importer, node, &shape, &scales, &|to, _, factor| Some(to / factor))
}

fn float_list(importer: &mut Importer<'_>, node: &Node<'_>, index: usize) -> Result<Option<Vec<f32>>, Stop> {
    let Some(constant) = importer.optional_constant(node, index, "the list of scales")? else { return Ok(None) };
    let values = importer.floats(node, &constant, "the list of scales")?.to_vec();
    Ok(Some(values).filter(|v| !v.is_empty()))
}

/// Emits the operator if every row and column takes the one that repetition gives it.
fn enlarge(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    shape: &[usize],
    scales: &[f32],
    source: &dyn Fn(usize, usize, usize) -> Option<usize>,
) -> Outcome {
    let refused = |message: String| Err(node.unsupported(message).with_help(HELP).into());
    if scales == vec![1.0; shape.len()] {
        return importer.operand(node, 0);
    }
    let &[batch, channels, vertical, horizontal] = scales else {
        return refused(format!("resizes values of shape {shape:?} by {scales:?}"));
    };
    let whole = |s: &f32| *s >= 1.0 && *s <= MAX_FACTOR && s.fract() == 0.0;
    if shape.len() != 4 || [batch, channels] != [1.0, 1.0] || ![vertical, horizontal].iter().all(whole) {
        return refused(format!("resizes values of shape {shape:?} by {scales:?}"));
    }
    let mode = node.text("mode", "nearest")?;
    let factor = [vertical as usize, horizontal as usize];
    let repeats = |axis: usize| {
        let (from, factor) = (shape[axis + 2], factor[axis]);
        (0..from * factor).all(|to| source(to, from, factor) == Some(to / factor))
    };
    importer.charge(node, shape[2] * factor[0] + shape[3] * factor[1])?;
    if mode != "nearest" || !repeats(0) || !repeats(1) {
        return refused(format!("resizes with mode '{mode}' and positions that are no repetition"));
    }
    let input = importer.tensor(node, 0)?;
    importer.emit(node, Op::Resize { factor }, &[input])
}

/// The row that ONNX takes for row `to` of `from * factor`.
fn nearest(position: &str, rounding: &str, to: usize, from: usize, factor: usize) -> Option<usize> {
    let (to, scale) = (to as f64, factor as f64);
    let at = match position {
        "half_pixel" => (to + 0.5) / scale - 0.5,
        "pytorch_half_pixel" if from * factor > 1 => (to + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => 0.0,
        "asymmetric" => to / scale,
        "tf_half_pixel_for_nn" => (to + 0.5) / scale,
        "align_corners" if from * factor > 1 => to * (from as f64 - 1.0) / (from as f64 * scale - 1.0),
        "align_corners" => 0.0,
        _ => return None,
    };
    let row = match rounding {
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        "round_prefer_floor" => (at - 0.5).ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        _ => return None,
    };
    Some(row.clamp(0.0, from as f64 - 1.0) as usize)
}
