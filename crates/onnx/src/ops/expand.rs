//! Repetition of values along axes.

use super::fold::{broadcast, sources};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value};

/// A constant repeated to a shape; a computed value only if that changes nothing.
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
        _ => Err(node.unsupported("repeats computed values").with_help("use Resize with mode 'nearest'").into()),
    }
}
