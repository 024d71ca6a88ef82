//! Operators that pick or join parts of tensors.

use espalier_ir::{NodeId, Op, Pads};

use crate::constant::{Constant, Data};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Element, Outcome, Stop, Value, View};

/// Joins constants along any axis, computed values along the channels.
pub fn concat(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let axis = node.int("axis", 1)?;
    let operands: Vec<Value> =
        (0..node.proto.input.len()).map(|i| importer.operand(node, i)).collect::<Result<_, _>>()?;
    if let [single] = &operands[..] {
        return Ok(single.clone());
    }
    let constants: Vec<&Constant> =
        operands.iter().filter_map(|o| if let Value::Constant(c) = o { Some(c) } else { None }).collect();
    if constants.len() == operands.len() {
        return join(importer, node, axis, &constants);
    }
    if !constants.is_empty() {
        return Err(node.unsupported("joins constants with computed values").into());
    }
    let mut nodes: Vec<NodeId> = Vec::new();
    for (index, operand) in operands.iter().enumerate() {
        let Value::View(view) = operand else { return Err(Stop::Quiet) };
        if node.axis(axis, view.shape.len())? != 1 || view.pads != Pads::default() {
            return Err(node
                .unsupported(format!("joins values of shape {:?} along axis {axis}", view.shape))
                .with_help("values can be joined along the channels, axis 1")
                .into());
        }
        nodes.push(importer.tensor(node, index)?);
    }
    importer.emit(node, Op::Concat, &nodes)
}

fn join(importer: &mut Importer<'_>, node: &Node<'_>, axis: i64, parts: &[&Constant]) -> Outcome {
    let mut shape = parts[0].shape.clone();
    let axis = node.axis(axis, shape.len())?;
    shape[axis] = 0;
    for part in parts {
        let fits = part.shape.len() == shape.len()
            && (0..shape.len()).all(|a| a == axis || part.shape[a] == shape[a])
            && part.ints().is_some() == parts[0].ints().is_some();
        if !fits {
            return Err(node.error("shape-mismatch", "joins constants that differ in shape or type").into());
        }
        shape[axis] = shape[axis].saturating_add(part.shape[axis]);
    }
    importer.charge(node, parts.iter().map(|p| p.len()).fold(0, usize::saturating_add))?;
    let outer: usize = shape[..axis].iter().product();
    let mut floats = Vec::new();
    let mut ints = Vec::new();
    for row in 0..outer {
        for part in parts {
            let each = part.len() / outer;
            match &*part.data {
                Data::Float(v) => floats.extend_from_slice(&v[row * each..(row + 1) * each]),
                Data::Int(v) => ints.extend_from_slice(&v[row * each..(row + 1) * each]),
            }
        }
    }
    Ok(Value::Constant(match &*parts[0].data {
        Data::Float(_) => Constant::float(shape, floats),
        Data::Int(_) => Constant { element: parts[0].element, ..Constant::int(shape, ints) },
    }))
}

/// Entries of a constant.
pub fn gather(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let (Value::Constant(data), Value::Constant(indices)) = (importer.operand(node, 0)?, importer.operand(node, 1)?)
    else {
        return Err(node.unsupported("picks entries of computed values").with_help(ONLY_CONSTANTS).into());
    };
    let axis = node.axis(node.int("axis", 0)?, data.shape.len())?;
    let extent = data.shape[axis];
    let Some(indices_read) = indices.ints() else {
        return Err(node.error("invalid-tensor", "the indices are not integers").into());
    };
    let picked: Vec<usize> = indices_read.iter().map(|i| node.axis(*i, extent)).collect::<Result<_, _>>()?;
    let shape: Vec<usize> =
        data.shape[..axis].iter().chain(&indices.shape).chain(&data.shape[axis + 1..]).copied().collect();
    pick(importer, node, &data, axis, &picked, shape)
}

const ONLY_CONSTANTS: &str = "parts can be taken of constants only, such as shapes; use convolutions of stride 1 or 2 \
                              to change the size of computed values";

/// `[axis, start, end, step]` of every axis that Slice names.
fn slices(importer: &mut Importer<'_>, node: &Node<'_>) -> Result<Vec<[i64; 4]>, Stop> {
    let mut list = |index: usize, name: &str| -> Result<Option<Vec<i64>>, Stop> {
        Ok(match importer.integers(node, index, name)? {
            Some(values) => Some(values),
            None => node.ints(name)?.map(<[i64]>::to_vec),
        })
    };
    let starts = list(1, "starts")?.unwrap_or_default();
    let ends = list(2, "ends")?.unwrap_or_default();
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(node.error("invalid-attribute", "starts, ends, axes and steps do not fit together").into());
    }
    Ok((0..starts.len()).map(|i| [axes[i], starts[i], ends[i], steps[i]]).collect())
}

/// A range of a constant; of computed values only all of them.
pub fn slice(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let slices = slices(importer, node)?;
    let operand = importer.operand(node, 0)?;
    let shape = match &operand {
        Value::Constant(constant) => &constant.shape,
        Value::View(view) => &view.shape,
        Value::Failed => return Err(Stop::Quiet),
    };
    let mut ranges = Vec::new();
    for [axis, start, end, step] in slices {
        let axis = node.axis(axis, shape.len())?;
        importer.charge(node, shape[axis])?;
        ranges.push((axis, range(shape[axis], start, end, step)));
    }
    match operand {
        Value::Constant(mut constant) => {
            for (axis, picked) in ranges {
                let mut shape = constant.shape.clone();
                shape[axis] = picked.len();
                let Value::Constant(next) = pick(importer, node, &constant, axis, &picked, shape)? else {
                    return Err(Stop::Quiet);
                };
                constant = next;
            }
            Ok(Value::Constant(constant))
        }
        Value::View(view)
            if view.element == Element::Float
                && view.pads == Pads::default()
                && ranges.iter().all(|(axis, picked)| picked.iter().copied().eq(0..view.shape[*axis])) =>
        {
            Ok(Value::View(view))
        }
        Value::View(View { mut shape, .. }) => {
            for (axis, picked) in ranges {
                shape[axis] = picked.len();
            }
            let finding = node.unsupported("takes a part of computed values").with_help(ONLY_CONSTANTS);
            Ok(importer.recover(finding, Some(shape)))
        }
        Value::Failed => Err(Stop::Quiet),
    }
}

/// Indices that ONNX's Slice takes of an axis.
fn range(extent: usize, start: i64, end: i64, step: i64) -> Vec<usize> {
    let size = extent as i64;
    let from_front = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let mut at = from_front(start).clamp(low.max(0), high.max(0));
    let end = from_front(end).clamp(low, high);
    let mut picked = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end && at < size) {
        picked.push(at as usize);
        at = at.saturating_add(step);
    }
    picked
}

/// Entries `picked` of one axis of a constant.
fn pick(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    data: &Constant,
    axis: usize,
    picked: &[usize],
    shape: Vec<usize>,
) -> Outcome {
    let outer: usize = data.shape[..axis].iter().product();
    let inner: usize = data.shape[axis + 1..].iter().product();
    let extent = data.shape[axis];
    importer.charge(node, outer.saturating_mul(inner).saturating_mul(picked.len()).saturating_add(picked.len()))?;
    let indices = (0..outer)
        .flat_map(|o| picked.iter().map(move |p| (o * extent + p) * inner))
        .flat_map(|start| start..start + inner);
    Ok(Value::Constant(data.picked(shape, indices)))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn slices_follow_the_rules_of_onnx() {
        assert_eq!(range(5, 1, 3, 1), [1, 2]);
        assert_eq!(range(5, -2, i64::MAX, 1), [3, 4]);
        assert_eq!(range(5, 0, 5, 2), [0, 2, 4]);
        assert_eq!(range(5, -1, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(range(5, 3, 0, -2), [3, 1]);
        assert_eq!(range(5, 4, 2, 1), [0usize; 0]);
        assert_eq!(range(5, 100, -100, -1), [4, 3, 2, 1, 0]);
        assert_eq!(range(0, 0, 1, 1), [0usize; 0]);
        assert_eq!(range(0, 0, -9, -1), [0usize; 0]);
        assert_eq!(range(3, 0, 3, i64::MAX), [0]);
    }
}
