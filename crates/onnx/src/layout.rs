//! Views whose elements lie in another order than their node: brought to the order that an operator reads.
//!
//! An order that reshapes and transpositions make is a list of digits: `extent` steps of `stride` each, the last digit
//! the fastest. Sorted by stride, the digits are the axes under which the node has to be seen before one transposition
//! gives the order.

use espalier_ir::{NodeId, Op, Pads};

use crate::import::Importer;
use crate::node::Node;
use crate::value::{Stop, Value, View};

/// How an order comes about: the node under `shape`, its axes as `axes` says.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    /// Shape that the node is given.
    pub shape: Vec<usize>,
    /// For each axis of the result that of `shape`.
    pub axes: Vec<usize>,
}

impl Turn {
    /// The turn that puts the values of a node in `order`, seen under axes of the given extents; `None` if there is none.
    pub fn of(order: &[u32], extents: &[usize]) -> Option<Turn> {
        let mut digits: Vec<(usize, usize)> = Vec::new();
        let mut block = order.len();
        for extent in extents {
            block /= extent;
            digits.extend(axis_digits(order, *extent, block)?);
        }
        let mut by_stride: Vec<usize> = (0..digits.len()).collect();
        by_stride.sort_by_key(|d| std::cmp::Reverse(digits[*d].1));
        let mut stride = order.len();
        for digit in &by_stride {
            stride /= digits[*digit].0;
            if digits[*digit].1 != stride {
                return None;
            }
        }
        let mut axes = vec![0; digits.len()];
        by_stride.iter().enumerate().for_each(|(axis, digit)| axes[*digit] = axis);
        let turn = Turn { shape: by_stride.iter().map(|d| digits[*d].0).collect(), axes };
        let positions = crate::ops::positions(&turn.shape, &turn.axes);
        positions.iter().map(|p| *p as u32).eq(order.iter().copied()).then_some(turn)
    }
}

/// Digits of one axis: `extent` entries, `block` elements apart in the view.
fn axis_digits(order: &[u32], extent: usize, block: usize) -> Option<Vec<(usize, usize)>> {
    let at = |i: usize| order[i * block] as usize;
    let mut digits = Vec::new();
    let mut known = 1;
    while known < extent {
        // The next digit steps by what the first entry behind all known ones says.
        let stride = at(known).checked_sub(at(0))?;
        let mut count = 1;
        while (count + 1) * known <= extent && at(count * known).checked_sub(at(0)) == Some(count * stride) {
            count += 1;
        }
        if count < 2 || !extent.is_multiple_of(known * count) {
            return None;
        }
        digits.push((count, stride));
        known *= count;
    }
    digits.reverse();
    Some(digits)
}

impl Importer<'_> {
    /// A node whose values, row-major under `shape`, are those of `view` at `wanted`; `None` if no transposition of a
    /// reshaped node gives that.
    pub fn turned(
        &mut self,
        node: &Node,
        view: &View,
        wanted: &[u32],
        shape: &[usize],
    ) -> Result<Option<NodeId>, Stop> {
        self.charge(node, wanted.len().saturating_mul(2))?;
        let Some(turn) = Turn::of(wanted, shape) else { return Ok(None) };
        let mut input = view.node;
        if !turn.axes.is_sorted() {
            input = self.reshaped(&view.label, input, &turn.shape)?;
            input = self.transposed(&view.label, input, &turn.axes)?;
        }
        Ok(Some(self.reshaped(&view.label, input, shape)?))
    }

    /// The node under another shape; a node that gives it already is used again.
    pub fn reshaped(&mut self, name: &str, input: NodeId, shape: &[usize]) -> Result<NodeId, Stop> {
        if self.graph.node(input).shape == shape {
            return Ok(input);
        }
        let op = Op::Reshape { shape: shape.to_vec() };
        let known = self.graph.consumers(input).into_iter().find(|c| self.graph.node(*c).op == op);
        known.map_or_else(|| self.named(name, op, &[input]), Ok)
    }

    /// Input `index`, whose last axis has so many features, as a node `[features, height, width]`, and the order in
    /// which a result with as many positions is seen as the input is: features last.
    pub fn features_first(&mut self, node: &Node, index: usize, features: usize) -> Result<(NodeId, Vec<u32>), Stop> {
        let view = self.float_view(node, index)?;
        if view.pads != Pads::default() {
            return Err(node.unsupported("reads the result of a Pad").into());
        }
        let count: usize = view.shape.iter().product();
        self.charge(node, count.saturating_mul(2))?;
        let positions = count / features;
        let place = |e: usize| view.order.as_ref().map_or(e as u32, |order| order[e]);
        let wanted: Vec<u32> =
            (0..features).flat_map(|f| (0..positions).map(move |p| p * features + f)).map(place).collect();
        let mut input = self.arranged(node, &view, &wanted, features)?;
        if self.graph.node(input).shape.len() != 3 {
            input = self.reshaped(&view.label, input, &[features, 1, positions])?;
        }
        Ok((input, features_last(features, positions)))
    }

    /// True if the view shows a map with its features as last axis.
    pub fn has_features_last(&self, view: &View) -> bool {
        let shape = &self.graph.node(view.node).shape;
        let (Some(order), Some(features)) = (&view.order, view.shape.last()) else { return false };
        let count: usize = shape.iter().product();
        shape.len() == 3
            && shape[0] == *features
            && order.iter().enumerate().all(|(i, p)| i % features * (count / features) + i / features == *p as usize)
    }

    /// Inputs 0 and 1, of equal shape, as nodes that hold their elements in the same order, and that order.
    pub fn alike(&mut self, node: &Node) -> Result<([NodeId; 2], View), Stop> {
        let views = [self.float_view(node, 0)?, self.float_view(node, 1)?];
        let same = views[0].order == views[1].order
            && self.graph.node(views[0].node).shape == self.graph.node(views[1].node).shape;
        let unpadded = views.iter().all(|v| v.pads == Pads::default());
        let ordered = views.iter().position(|v| v.order.is_some()).filter(|_| unpadded);
        let Some(model) = ordered else {
            let nodes = [self.tensor(node, 0)?, self.tensor(node, 1)?];
            let view = self.view(node, 0)?;
            return Ok((nodes, view));
        };
        let mut nodes = views.each_ref().map(|v| v.node);
        if !same {
            let (first, other) = (&views[model], &views[1 - model]);
            let order = first.order.as_ref().expect("found by its order");
            self.charge(node, order.len())?;
            let mut wanted = vec![0; order.len()];
            for (element, place) in order.iter().enumerate() {
                wanted[*place as usize] = other.order.as_ref().map_or(element as u32, |o| o[element]);
            }
            let shape = self.graph.node(first.node).shape.clone();
            let arranged = self.arranged(node, other, &wanted, shape[0])?;
            nodes[1 - model] = self.reshaped(&other.label, arranged, &shape)?;
        }
        Ok((nodes, views[model].clone()))
    }

    /// Input `index` as a view of floats without padding.
    pub fn unpadded(&mut self, node: &Node, index: usize) -> Result<View, Stop> {
        let view = self.float_view(node, index)?;
        if view.pads == Pads::default() {
            return Ok(view);
        }
        self.tensor(node, index)?;
        self.float_view(node, index)
    }

    /// The result of an operator on the node of a view that leaves every element where it is.
    pub fn seen_as_it_was(&mut self, node: &Node, view: &View, op: Op) -> Result<Value, Stop> {
        let result = self.emit_named(&node.name, op, &[view.node], view.element)?;
        Ok(Value::View(View { shape: view.shape.clone(), order: view.order.clone(), ..result }))
    }

    /// The result of an operator that treats elements alike, seen as `view` sees its operand.
    pub fn seen_as(&mut self, node: &Node, view: &View, op: Op, operands: &[NodeId]) -> Result<Value, Stop> {
        let result = self.emit_named(&node.name, op, operands, view.element)?;
        if view.order.is_none() {
            return Ok(Value::View(self.as_line(node, result)));
        }
        Ok(Value::View(View { shape: view.shape.clone(), order: view.order.clone(), ..result }))
    }
}

/// Order in which a node `[features, positions]` is seen as `[positions, features]`.
pub fn features_last(features: usize, positions: usize) -> Vec<u32> {
    (0..positions).flat_map(|p| (0..features).map(move |f| (f * positions + p) as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(shape: &[usize], axes: &[usize]) -> Vec<u32> {
        crate::ops::positions(shape, axes).into_iter().map(|p| p as u32).collect()
    }

    #[test]
    fn turns_are_found_again() {
        for axes in [[0, 2, 1, 3], [3, 2, 1, 0], [1, 0, 3, 2], [0, 1, 2, 3]] {
            let shape = [2, 3, 4, 5];
            let extents: Vec<usize> = axes.iter().map(|a| shape[*a]).collect();
            let turn = Turn::of(&order(&shape, &axes), &extents).unwrap();
            assert_eq!((turn.shape, turn.axes), (shape.to_vec(), axes.to_vec()));
        }
        // Pixel shuffle: axes of the view hold several digits.
        let shuffle = order(&[3, 2, 2, 4, 5], &[0, 3, 1, 4, 2]);
        let turn = Turn::of(&shuffle, &[3, 8, 10]).unwrap();
        assert_eq!((turn.shape, turn.axes), (vec![3, 2, 2, 4, 5], vec![0, 3, 1, 4, 2]));
        assert_eq!(Turn::of(&[0, 2, 1], &[3]), None);
        assert_eq!(Turn::of(&[1, 0], &[2]), None);
        assert_eq!(Turn::of(&[0, 0], &[2]), None);
    }
}
