//! Padding, kept until the operator that reads it.

use espalier_ir::Pads;

use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value, View};

/// Most zeros that Pad may add on one side.
const MAX_PAD: i64 = 4096;

const HELP: &str = "zero padding of height and width right before a convolution or pooling is supported";

/// Zero padding of height and width; a view that the next operator takes into its own padding.
pub fn pad(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let amounts = match importer.integers(node, 1, "the list of pads")? {
        Some(amounts) => amounts,
        None => node.ints("pads")?.unwrap_or_default().to_vec(),
    };
    let value = match importer.optional_constant(node, 2, "the pad value")? {
        Some(constant) => constant.floats().and_then(|v| v.first().copied()).unwrap_or(0.0),
        None => node.float("value")?.unwrap_or(0.0),
    };
    let mode = node.text("mode", "constant")?;
    let axes = importer.integers(node, 3, "the list of axes")?;
    let view = importer.view(node, 0)?;
    let rank = view.shape.len();
    let axes: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|a| node.axis(*a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let sides = sides(node, &amounts, &axes, rank)?;
    let finding = if sides.iter().all(|s| *s == [0, 0]) {
        return Ok(Value::View(view));
    } else if mode != "constant" || value != 0.0 {
        node.unsupported(format!("pads with mode '{mode}' and value {value}"))
    } else if let Some(axis) = (0..rank).find(|a| (rank != 4 || *a < 2) && sides[*a] != [0, 0]) {
        node.unsupported(format!("pads axis {axis} of values of shape {:?}", view.shape))
    } else if view.pads != Pads::default() {
        node.unsupported("pads what is padded already")
    } else {
        let [[top, bottom], [left, right]] = [sides[2], sides[3]];
        return Ok(Value::View(View { pads: Pads { top, left, bottom, right }, ..view }));
    };
    let padded = view.shape.iter().zip(&sides).map(|(d, [before, after])| d + before + after).collect();
    Ok(importer.recover(finding.with_help(HELP), Some(padded)))
}

/// Zeros before and after, for every axis.
fn sides(node: &Node<'_>, amounts: &[i64], axes: &[usize], rank: usize) -> Result<Vec<[usize; 2]>, Stop> {
    if amounts.len() != 2 * axes.len() {
        return Err(node.error("invalid-attribute", format!("{} pads for {} axes", amounts.len(), axes.len())).into());
    }
    if amounts.iter().any(|a| !(0..=MAX_PAD).contains(a)) {
        let message = format!("pads {amounts:?} are not all from 0 to {MAX_PAD}");
        return Err(node.error("invalid-attribute", message).into());
    }
    let mut sides = vec![[0, 0]; rank];
    for (i, axis) in axes.iter().enumerate() {
        sides[*axis] = [amounts[i] as usize, amounts[i + axes.len()] as usize];
    }
    Ok(sides)
}
