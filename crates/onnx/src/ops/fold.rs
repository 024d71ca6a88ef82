//! Arithmetic on constants: shapes that a model computes, scaled weights.

use std::rc::Rc;

use crate::constant::{Constant, Data};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value};

/// A constant of the model.
pub fn constant(_: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let constant = if let Some(tensor) = node.tensor("value")? {
        Constant::from_proto(tensor, &node.at())?
    } else if let Some(value) = node.float("value_float")? {
        Constant::float(vec![], vec![value])
    } else if let Some(values) = node.floats("value_floats")? {
        Constant::float(vec![values.len()], values.to_vec())
    } else if node.has("value_int") {
        Constant::int(vec![], vec![node.int("value_int", 0)?])
    } else if let Some(values) = node.ints("value_ints")? {
        Constant::int(vec![values.len()], values.to_vec())
    } else {
        return Err(node.unsupported("holds neither numbers nor a dense tensor").into());
    };
    Ok(Value::Constant(constant))
}

/// A constant with the same value everywhere.
pub fn constant_of_shape(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let shape = importer.integers(node, 0, "the shape")?.unwrap_or_default();
    let value = match node.tensor("value")? {
        Some(tensor) => Constant::from_proto(tensor, &node.at())?,
        None => Constant::float(vec![1], vec![0.0]),
    };
    let wrong = || node.error("invalid-tensor", format!("a constant of shape {shape:?} from {} values", value.len()));
    let extents: Vec<usize> =
        shape.iter().map(|d| usize::try_from(*d)).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let count = extents.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).ok_or_else(wrong)?;
    if value.len() != 1 {
        return Err(wrong().into());
    }
    importer.charge(node, count)?;
    Ok(Value::Constant(value.picked(extents, std::iter::repeat_n(0, count))))
}

/// Sum.
pub fn add(importer: &mut Importer<'_>, node: &Node<'_>, a: &Constant, b: &Constant) -> Outcome {
    binary(importer, node, a, b, |a, b| a + b, i64::checked_add)
}

/// Difference.
pub fn sub(importer: &mut Importer<'_>, node: &Node<'_>, a: &Constant, b: &Constant) -> Outcome {
    binary(importer, node, a, b, |a, b| a - b, i64::checked_sub)
}

/// Product.
pub fn mul(importer: &mut Importer<'_>, node: &Node<'_>, a: &Constant, b: &Constant) -> Outcome {
    binary(importer, node, a, b, |a, b| a * b, i64::checked_mul)
}

/// Quotient, of integers towards zero.
pub fn div(importer: &mut Importer<'_>, node: &Node<'_>, a: &Constant, b: &Constant) -> Outcome {
    binary(importer, node, a, b, |a, b| a / b, i64::checked_div)
}

fn binary(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    a: &Constant,
    b: &Constant,
    float: impl Fn(f32, f32) -> f32,
    int: impl Fn(i64, i64) -> Option<i64>,
) -> Outcome {
    let wrong = || {
        let message = format!("constants of shape {:?} and {:?} do not go together", a.shape, b.shape);
        Stop::from(node.error("shape-mismatch", message))
    };
    let shape = broadcast(&a.shape, &b.shape).ok_or_else(wrong)?;
    let count = shape.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).ok_or_else(wrong)?;
    importer.charge(node, count.saturating_mul(2))?;
    let [from_a, from_b] = [sources(&a.shape, &shape), sources(&b.shape, &shape)];
    let pairs = from_a.into_iter().zip(from_b);
    let data = match (&*a.data, &*b.data) {
        (Data::Float(a), Data::Float(b)) => Data::Float(pairs.map(|(i, j)| float(a[i], b[j])).collect()),
        (Data::Int(a), Data::Int(b)) => {
            let values: Option<Vec<i64>> = pairs.map(|(i, j)| int(a[i], b[j])).collect();
            Data::Int(values.ok_or_else(|| node.error("invalid-tensor", "integer arithmetic overflows"))?)
        }
        _ => return Err(wrong()),
    };
    Ok(Value::Constant(Constant { shape, element: a.element, data: Rc::new(data) }))
}

/// Shape that both broadcast to.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, other) | (other, 1) => Some(other),
            _ => None,
        })
        .collect()
}

/// For each element of `to`, its position in a tensor of shape `from` that broadcasts to it.
pub fn sources(from: &[usize], to: &[usize]) -> Vec<usize> {
    let mut positions = vec![0];
    for (axis, extent) in to.iter().enumerate() {
        let own = (axis + from.len()).checked_sub(to.len()).map_or(1, |i| from[i]);
        positions = positions
            .iter()
            .flat_map(|p| (0..*extent).map(move |i| if own == 1 { p * own } else { p * own + i }))
            .collect();
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_aligns_the_last_axes() {
        assert_eq!(broadcast(&[2, 1], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[], &[3]), Some(vec![3]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(sources(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(sources(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(sources(&[], &[2, 2]), [0; 4]);
        assert_eq!(sources(&[1, 2], &[3, 2]), [0, 1, 0, 1, 0, 1]);
    }
}
