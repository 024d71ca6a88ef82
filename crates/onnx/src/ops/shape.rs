//! Operators that rename or reorder values without computing.

use std::rc::Rc;

use espalier_ir::Pads;

use crate::constant::{Constant, Data, DataType, wrap};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Element, Outcome, Stop, Value, View};

/// The value itself.
pub fn identity(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    importer.operand(node, 0)
}

/// Nothing, in inference.
pub fn dropout(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    if let Some(mode) = importer.optional_constant(node, 2, "training_mode")?
        && mode.ints() != Some(&[0])
    {
        return Err(node.unsupported("is in training mode").with_help("export the model in inference mode").into());
    }
    importer.operand(node, 0)
}

/// Conversion of constants; of computed values only between floats.
pub fn cast(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let to = node.int("to", 0)?;
    let to = i32::try_from(to)
        .ok()
        .and_then(|t| DataType::try_from(t).ok())
        .ok_or_else(|| node.error("invalid-attribute", format!("attribute 'to' is {to}")))?;
    let to_float = matches!(to, DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16);
    match importer.operand(node, 0)? {
        Value::View(view) if to_float && view.element == Element::Float => Ok(Value::View(view)),
        Value::Constant(constant) => {
            importer.charge(node, constant.len())?;
            let data = match (&*constant.data, to_float) {
                (Data::Float(_), true) => return Ok(Value::Constant(Constant { element: to, ..constant })),
                (Data::Float(v), false) if to == DataType::Bool => {
                    Data::Int(v.iter().map(|x| (*x != 0.0).into()).collect())
                }
                (Data::Float(v), false) => Data::Int(v.iter().map(|x| wrap(*x as i64, to)).collect()),
                (Data::Int(v), true) => Data::Float(v.iter().map(|x| *x as f32).collect()),
                (Data::Int(v), false) => Data::Int(v.iter().map(|x| wrap(*x, to)).collect()),
            };
            Ok(Value::Constant(Constant { element: to, data: Rc::new(data), ..constant }))
        }
        _ => Err(node
            .unsupported(format!("converts computed values to {}", to.as_str_name()))
            .with_help("only conversions between floats are taken inside a model")
            .into()),
    }
}

/// The shape at batch size one.
pub fn shape(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let extents = match importer.operand(node, 0)? {
        Value::Constant(constant) => constant.shape,
        Value::View(view) => padded_shape(&view),
        Value::Failed => return Err(Stop::Quiet),
    };
    let rank = extents.len() as i64;
    let bound = |value: i64| if value < 0 { value.saturating_add(rank) } else { value }.clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)?), bound(node.int("end", i64::MAX)?));
    let picked: Vec<i64> = extents[start.min(end)..end].iter().map(|d| *d as i64).collect();
    Ok(Value::Constant(Constant::int(vec![picked.len()], picked)))
}

fn padded_shape(view: &View) -> Vec<usize> {
    let mut shape = view.shape.clone();
    if let [_, _, h, w] = &mut shape[..] {
        *h += view.pads.top + view.pads.bottom;
        *w += view.pads.left + view.pads.right;
    }
    shape
}

/// Two axes: those before `axis`, and the rest.
pub fn flatten(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let axis = node.int("axis", 1)?;
    renamed(importer, node, |node, shape| {
        // Unlike other axes, this one may be the rank itself.
        let axis = if axis == shape.len() as i64 { shape.len() } else { node.axis(axis, shape.len())? };
        Ok(vec![shape[..axis].iter().product(), shape[axis..].iter().product()])
    })
}

/// Another shape; 0 keeps an extent, -1 follows from the others.
pub fn reshape(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let wanted = importer.integers(node, 1, "the shape")?.unwrap_or_default();
    let keep_zero = node.flag("allowzero", false)?;
    renamed(importer, node, |node, shape| {
        let wrong = || node.error("shape-mismatch", format!("cannot turn {shape:?} into {wanted:?}"));
        let mut resolved = Vec::new();
        let mut open = None;
        for (i, extent) in wanted.iter().enumerate() {
            resolved.push(match extent {
                0 if !keep_zero => *shape.get(i).ok_or_else(wrong)?,
                -1 if open.is_none() => {
                    open = Some(i);
                    1
                }
                _ => usize::try_from(*extent).map_err(|_| wrong())?,
            });
        }
        let known = resolved.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).ok_or_else(wrong)?;
        if let Some(open) = open {
            let whole: usize = shape.iter().product();
            resolved[open] = whole.checked_div(known).ok_or_else(wrong)?;
        }
        Ok(resolved)
    })
}

/// Drops axes of extent 1.
pub fn squeeze(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let axes = axes(importer, node)?;
    renamed(importer, node, |node, shape| {
        let dropped: Vec<usize> = match &axes {
            Some(axes) => axes.iter().map(|a| node.axis(*a, shape.len())).collect::<Result<_, _>>()?,
            None => (0..shape.len()).filter(|a| shape[*a] == 1).collect(),
        };
        if let Some(axis) = dropped.iter().find(|a| shape[**a] != 1) {
            return Err(node.error("shape-mismatch", format!("axis {axis} of {shape:?} is not 1")).into());
        }
        Ok((0..shape.len()).filter(|a| !dropped.contains(a)).map(|a| shape[a]).collect())
    })
}

/// Inserts axes of extent 1.
pub fn unsqueeze(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let axes = axes(importer, node)?.unwrap_or_default();
    renamed(importer, node, |node, shape| {
        let rank = shape.len() + axes.len();
        let added: Vec<usize> = axes.iter().map(|a| node.axis(*a, rank)).collect::<Result<_, _>>()?;
        let mut rest = shape.iter();
        let result: Vec<usize> =
            (0..rank).filter_map(|a| if added.contains(&a) { Some(1) } else { rest.next().copied() }).collect();
        if result.len() != rank {
            return Err(node.error("invalid-attribute", format!("axes {axes:?} name one axis twice")).into());
        }
        Ok(result)
    })
}

fn axes(importer: &mut Importer<'_>, node: &Node<'_>) -> Result<Option<Vec<i64>>, Stop> {
    Ok(match importer.integers(node, 1, "the list of axes")? {
        Some(axes) => Some(axes),
        None => node.ints("axes")?.map(<[i64]>::to_vec),
    })
}

/// The same values under the shape that `new_shape` makes of the old one.
fn renamed(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    new_shape: impl Fn(&Node<'_>, &[usize]) -> Result<Vec<usize>, Stop>,
) -> Outcome {
    let operand = importer.operand(node, 0)?;
    let old = match &operand {
        Value::Constant(constant) => &constant.shape,
        Value::View(view) if view.pads == Pads::default() => &view.shape,
        Value::View(_) => return Err(node.unsupported("reads the result of a Pad").into()),
        Value::Failed => return Err(Stop::Quiet),
    };
    let shape = new_shape(node, old)?;
    let count = shape.iter().try_fold(1usize, |p, d| p.checked_mul(*d));
    if count != Some(old.iter().product()) {
        return Err(node.error("shape-mismatch", format!("cannot turn {old:?} into {shape:?}")).into());
    }
    Ok(match operand {
        Value::Constant(constant) => Value::Constant(constant.reshaped(shape)),
        Value::View(view) => Value::View(View { shape, label: node.name.as_str().into(), ..view }),
        Value::Failed => Value::Failed,
    })
}

/// Another order of axes.
pub fn transpose(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let operand = importer.operand(node, 0)?;
    let old = match &operand {
        Value::Constant(constant) => constant.shape.clone(),
        Value::View(view) if view.pads == Pads::default() => view.shape.clone(),
        Value::View(_) => return Err(node.unsupported("reads the result of a Pad").into()),
        Value::Failed => return Err(Stop::Quiet),
    };
    let axes = permutation(node, old.len())?;
    let shape: Vec<usize> = axes.iter().map(|a| old[*a]).collect();
    // Axes of extent 1 may go anywhere; only the order of the others moves values.
    let moved = !axes.iter().filter(|a| old[**a] != 1).is_sorted();
    if moved {
        importer.charge(node, old.iter().product())?;
    }
    Ok(match operand {
        Value::Constant(constant) if moved => {
            Value::Constant(constant.picked(shape, positions(&old, &axes).into_iter()))
        }
        Value::Constant(constant) => Value::Constant(constant.reshaped(shape)),
        Value::View(view) => {
            let label = node.name.as_str().into();
            let order = if moved { composed(view.order.as_deref(), &positions(&old, &axes)) } else { view.order };
            Value::View(View { shape, order, label, ..view })
        }
        Value::Failed => Value::Failed,
    })
}

fn permutation(node: &Node<'_>, rank: usize) -> Result<Vec<usize>, Stop> {
    let Some(axes) = node.ints("perm")? else { return Ok((0..rank).rev().collect()) };
    let axes: Vec<usize> = axes.iter().map(|a| node.axis(*a, rank)).collect::<Result<_, _>>()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(node.error("invalid-attribute", format!("perm {axes:?} is no order of {rank} axes")).into());
    }
    Ok(axes)
}

/// For each element after the transposition, its position before.
pub fn positions(old: &[usize], axes: &[usize]) -> Vec<usize> {
    let mut stride = vec![1; old.len()];
    for axis in (1..old.len()).rev() {
        stride[axis - 1] = stride[axis] * old[axis];
    }
    let mut positions = vec![0];
    for axis in axes {
        positions = positions
            .iter()
            .flat_map(|p| (0..old[*axis]).map(move |i| (p, i)))
            .map(|(p, i)| p + i * stride[*axis])
            .collect();
    }
    positions
}

/// `outer` after `inner`; `None` if the result is the order of the node itself.
pub fn composed(inner: Option<&[u32]>, outer: &[usize]) -> Option<Rc<[u32]>> {
    let order: Rc<[u32]> = outer.iter().map(|p| inner.map_or(*p as u32, |o| o[*p])).collect();
    let plain = order.iter().enumerate().all(|(i, p)| i == *p as usize);
    (!plain).then_some(order)
}
