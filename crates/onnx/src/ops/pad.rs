//! Padding: of channels a selection, of height and width kept until the operator that reads it.

use espalier_ir::Pads;

use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value, View};

/// Most zeros that Pad may add on one side.
const MAX_PAD: i64 = 4096;

const HELP: &str = "zero padding of channels, height and width is supported";

/// Zero padding of channels, height and width; the latter a view that the next operator takes into its own padding.
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
    } else if let Some(axis) = (0..rank).find(|a| (*a == 0 || (rank != 4 && *a > 1)) && sides[*a] != [0, 0]) {
        node.unsupported(format!("pads axis {axis} of values of shape {:?}", view.shape))
    } else {
        return zeros(importer, node, view, &sides);
    };
    let padded = view.shape.iter().zip(&sides).map(|(d, [before, after])| d + before + after).collect();
    Ok(importer.recover(finding.with_help(HELP), Some(padded)))
}

fn zeros(importer: &mut Importer<'_>, node: &Node<'_>, view: View, sides: &[[usize; 2]]) -> Outcome {
    let mut view = view;
    if sides[1] != [0, 0] {
        let [before, after] = sides[1].map(|n| vec![None; n]);
        importer.charge(node, before.len() + after.len() + view.shape[1])?;
        let all: Vec<Option<usize>> = (0..view.shape[1]).map(Some).collect();
        let Value::View(selected) = importer.select(node, 0, [before, all, after].concat())? else {
            unreachable!("select gives a view")
        };
        view = selected;
    } else if view.pads != Pads::default() {
        // Padded already: that becomes a layer, this is left to the reader.
        let tensor = importer.tensor(node, 0)?;
        let shape = std::iter::once(1).chain(importer.graph.node(tensor).shape.iter().copied()).collect();
        view = View { node: tensor, shape, order: None, pads: Pads::default(), ..view };
    }
    let [top, bottom, left, right] = match sides {
        [_, _, vertical, horizontal] => [vertical[0], vertical[1], horizontal[0], horizontal[1]],
        _ => [0; 4],
    };
    Ok(Value::View(View { pads: Pads { top, left, bottom, right }, ..view }))
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
