//! Repetition of values along axes.

use espalier_ir::Op;

use super::fold::{broadcast, sources};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value, View};

/// A constant repeated to a shape; of a computed value whole channels, as heads that share keys and values are.
pub fn expand(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let wanted = importer.integers(node, 1, "the shape")?.unwrap_or_default();
    let operand = importer.operand(node, 0)?;
    let from = match &operand {
        Value::Constant(constant) => constant.shape.clone(),
        Value::View(view) => view.shape.clone(),
        Value::Failed => return Err(Stop::Quiet),
    };
    let wrong = || Stop::from(node.error("shape-mismatch", format!("cannot repeat {from:?} to {wanted:?}")));
    let extents: Vec<usize> =
        wanted.iter().map(|d| usize::try_from(*d)).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let shape = broadcast(&from, &extents).ok_or_else(wrong)?;
    match operand {
        Value::Constant(constant) => {
            let count = shape.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).ok_or_else(wrong)?;
            importer.charge(node, count.saturating_mul(2))?;
            let picked = sources(&from, &shape);
            Ok(Value::Constant(constant.picked(shape, picked.into_iter())))
        }
        view if shape == from => Ok(view),
        _ => repeat(importer, node, &from, shape),
    }
}

/// One axis of extent 1 repeated: all axes in front of it become the channels.
fn repeat(importer: &mut Importer<'_>, node: &Node<'_>, from: &[usize], shape: Vec<usize>) -> Outcome {
    let view = importer.unpadded(node, 0)?;
    let refused = || {
        let finding = node.unsupported(format!("repeats computed values of shape {from:?} to {shape:?}"));
        Stop::from(finding.with_help("one axis of extent 1 can be repeated; maps are enlarged by Resize"))
    };
    let enlarged: Vec<usize> = (0..shape.len()).filter(|a| from.get(*a) != Some(&shape[*a])).collect();
    let ([axis], true) = (&enlarged[..], from.len() == shape.len()) else { return Err(refused()) };
    let channels: usize = from[..*axis].iter().product();
    let count: usize = from.iter().product();
    importer.charge(node, count.saturating_mul(shape[*axis]))?;
    let wanted: Vec<u32> = (0..count).map(|e| view.order.as_ref().map_or(e as u32, |order| order[e])).collect();
    let behind: Vec<usize> = from[axis + 1..].to_vec();
    let seen: Vec<usize> = std::iter::once(channels).chain(behind).collect();
    let Some(input) = importer.turned(node, &view, &wanted, &seen)? else { return Err(refused()) };
    let picked = (0..channels * shape[*axis]).map(|c| Some(c / shape[*axis])).collect();
    let result = importer.emit_named(&node.name, Op::Select { channels: picked }, &[input], view.element)?;
    Ok(Value::View(View { shape, ..result }))
}
