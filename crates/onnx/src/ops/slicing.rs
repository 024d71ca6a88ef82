//! Operators that pick or join parts of tensors.

use espalier_ir::{NodeId, Op, Pads, Pool};

use crate::constant::{Constant, Data};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Element, Outcome, Stop, Value, View};

/// Joins constants, or computed values, along any axis.
pub fn concat(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let axis = node.int("axis", 1)?;
    let operands: Vec<Value> =
        (0..node.proto.input.len()).map(|i| importer.operand(node, i)).collect::<Result<_, _>>()?;
    if let [single] = &operands[..] {
        return Ok(single.clone());
    }
    let views = operands.iter().map(|o| if let Value::View(view) = o { Some(view.clone()) } else { None });
    if let Some(views) = views.collect::<Option<Vec<View>>>()
        && let Some(joined) = importer.joined_sequences(node, &views, node.axis(axis, views[0].shape.len())?)
    {
        return joined;
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
    let mut joined = 0;
    for (index, operand) in operands.iter().enumerate() {
        let Value::View(view) = operand else { return Err(Stop::Quiet) };
        let rank = view.shape.len();
        joined = node.axis(axis, rank)?;
        if joined == 0 {
            return Err(node
                .error("batch-axis", format!("joins values of shape {:?} along axis {axis}", view.shape))
                .with_help("values can be joined along every axis but that of the samples, axis 0")
                .into());
        }
        nodes.push(importer.tensor(node, index)?);
        // A line is held as a map of height 1: its last axis is that of the map.
        if joined == 2 && importer.graph.node(nodes[index]).shape.len() == rank {
            joined = 3;
        }
    }
    importer.emit(node, Op::Concat { axis: joined - 1 }, &nodes)
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

/// Entries of a constant, or channels of a computed value.
pub fn gather(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let indices = importer.constant(node, 1, "the list of indices")?;
    let data = importer.operand(node, 0)?;
    let shape = match &data {
        Value::Constant(constant) => &constant.shape,
        Value::View(view) => &view.shape,
        Value::Failed => return Err(Stop::Quiet),
    };
    let axis = node.axis(node.int("axis", 0)?, shape.len())?;
    let extent = shape[axis];
    let Some(indices_read) = indices.ints() else {
        return Err(node.error("invalid-tensor", "the indices are not integers").into());
    };
    let picked: Vec<usize> = indices_read.iter().map(|i| node.axis(*i, extent)).collect::<Result<_, _>>()?;
    let data = match data {
        Value::Constant(constant) => constant,
        Value::View(view) if importer.is_sequence(&view) && (view.order.is_some() || axis != 1) => {
            let shape = [&view.shape[..axis], &indices.shape, &view.shape[axis + 1..]].concat();
            let places = entries(importer, node, &view.shape, axis, &picked)?;
            return importer.part_of_sequence(node, &view, &places, shape);
        }
        _ if axis == 1 && indices.shape.len() == 1 && !picked.is_empty() => {
            return importer.select(node, 0, picked.into_iter().map(Some).collect());
        }
        _ => return Err(node.unsupported("picks entries of computed values").with_help(PARTS).into()),
    };
    let shape: Vec<usize> =
        data.shape[..axis].iter().chain(&indices.shape).chain(&data.shape[axis + 1..]).copied().collect();
    pick(importer, node, &data, axis, &picked, shape)
}

const PARTS: &str = "of computed values channels can be taken (axis 1), and every n-th row and column from the first \
                     to the end; use convolutions to crop maps otherwise";

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

/// A range of a constant; of computed values channels, and every n-th row and column.
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
        Value::View(view) if view.element == Element::Float => part(importer, node, view, &ranges),
        Value::View(_) => Err(node.unsupported("takes a part of quantized values").with_help(PARTS).into()),
        Value::Failed => Err(Stop::Quiet),
    }
}

/// A part of a computed value: `ranges` names axes and the indices taken of each.
fn part(importer: &mut Importer<'_>, node: &Node<'_>, view: View, ranges: &[(usize, Vec<usize>)]) -> Outcome {
    let whole = |(axis, picked): &(usize, Vec<usize>)| picked.iter().copied().eq(0..view.shape[*axis]);
    let partial: Vec<&(usize, Vec<usize>)> = ranges.iter().filter(|r| !whole(r)).collect();
    if importer.is_sequence(&view) && partial.iter().any(|r| view.order.is_some() || r.0 != 1) {
        let mut shape = view.shape.clone();
        let mut places: Vec<usize> = (0..shape.iter().product()).collect();
        for (axis, picked) in partial {
            let of_axis = entries(importer, node, &shape, *axis, picked)?;
            places = of_axis.into_iter().map(|e| places[e]).collect();
            shape[*axis] = picked.len();
        }
        return importer.part_of_sequence(node, &view, &places, shape);
    }
    let mut stride = [1, 1];
    let mut channels = None;
    for (axis, picked) in partial {
        let step = picked.get(1).copied().unwrap_or(view.shape[*axis]);
        let steps = || picked.iter().copied().eq((0..view.shape[*axis]).step_by(step.max(1)));
        match axis {
            1 if !picked.is_empty() => channels = Some(picked.iter().copied().map(Some).collect()),
            2 | 3 if view.shape.len() == 4 && steps() => stride[axis - 2] = step,
            _ => {
                let mut shape = view.shape.clone();
                ranges.iter().for_each(|(axis, picked)| shape[*axis] = picked.len());
                let finding = node.unsupported("takes a part of computed values").with_help(PARTS);
                return Ok(importer.recover(finding, Some(shape)));
            }
        }
    }
    let mut value = match channels {
        Some(channels) => importer.select(node, 0, channels)?,
        None => Value::View(view),
    };
    if stride != [1, 1] {
        let input = match &value {
            Value::View(selected) if selected.order.is_none() && selected.pads == Pads::default() => {
                importer.solid(node, selected.clone())?.node
            }
            _ => importer.tensor(node, 0)?,
        };
        let pool = Pool { kernel: [1, 1], stride, pads: Pads::default() };
        value = importer.emit(node, Op::MaxPool(pool), &[input])?;
    }
    Ok(value)
}

/// Parts of a value, one after another along an axis.
pub fn split(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let operand = importer.operand(node, 0)?;
    let shape = match &operand {
        Value::Constant(constant) => constant.shape.clone(),
        Value::View(view) => view.shape.clone(),
        Value::Failed => return Err(Stop::Quiet),
    };
    let axis = node.axis(node.int("axis", 0)?, shape.len())?;
    let sizes = match importer.integers(node, 1, "the list of sizes")? {
        Some(sizes) => Some(sizes),
        None => node.ints("split")?.map(<[i64]>::to_vec),
    };
    let count = node.proto.output.len();
    let sizes: Vec<usize> = match sizes {
        Some(sizes) => sizes.iter().map(|s| usize::try_from(*s).unwrap_or(0)).collect(),
        None => {
            let each = shape[axis].div_ceil(count);
            (0..count).map(|i| each.min(shape[axis].saturating_sub(i * each))).collect()
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
    if sizes.len() != count || total != Some(shape[axis]) || sizes.contains(&0) {
        let message = format!("splits {} values of axis {axis} into {count} parts of {sizes:?}", shape[axis]);
        return Err(node.error("invalid-attribute", message).into());
    }
    importer.charge(node, shape[axis])?;
    let mut parts = Vec::new();
    let mut start = 0;
    for (size, output) in sizes.into_iter().zip(&node.proto.output) {
        let picked: Vec<usize> = (start..start + size).collect();
        start += size;
        parts.push(match &operand {
            Value::Constant(constant) => {
                let mut shape = shape.clone();
                shape[axis] = size;
                pick(importer, node, constant, axis, &picked, shape)?
            }
            Value::View(view) if importer.is_sequence(view) && (view.order.is_some() || axis != 1) => {
                if !importer.is_used(output) {
                    parts.push(Value::Failed);
                    continue;
                }
                let mut shape = shape.clone();
                shape[axis] = size;
                let places = entries(importer, node, &view.shape, axis, &picked)?;
                importer.part_of_sequence(node, view, &places, shape)?
            }
            _ if axis == 1 => {
                let input = importer.tensor(node, 0)?;
                importer.emit(node, Op::Select { channels: picked.into_iter().map(Some).collect() }, &[input])?
            }
            _ => {
                return Err(node.unsupported(format!("splits axis {axis} of computed values")).with_help(PARTS).into());
            }
        });
    }
    let first = parts.remove(0);
    importer.further = parts;
    Ok(first)
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
    let indices = entries(importer, node, &data.shape, axis, picked)?;
    Ok(Value::Constant(data.picked(shape, indices.into_iter())))
}

/// Places of the entries `picked` of one axis of a tensor of this shape.
fn entries(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    shape: &[usize],
    axis: usize,
    picked: &[usize],
) -> Result<Vec<usize>, Stop> {
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let extent = shape[axis];
    importer.charge(node, outer.saturating_mul(inner).saturating_mul(picked.len()).saturating_add(picked.len()))?;
    let starts = (0..outer).flat_map(|o| picked.iter().map(move |p| (o * extent + p) * inner));
    Ok(starts.flat_map(|start| start..start + inner).collect())
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
