//! What a walk does besides computing logits.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use espalier_ir::NodeId;

/// Factors on what nodes read, and values to keep.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Factor on the first operand of a node, `[batch, channels, 1, 1]`.
    pub(crate) gates: BTreeMap<NodeId, Tensor<4>>,
    /// Nodes whose values are kept.
    pub(crate) keep: BTreeSet<NodeId>,
    /// Their values, after the walk.
    pub(crate) kept: RefCell<BTreeMap<NodeId, Tensor<4>>>,
}

impl Hooks {
    /// Applies the gate of `node` to its operands.
    pub(crate) fn gate(&self, node: NodeId, operands: &mut [Tensor<4>]) {
        if let (Some(gate), Some(first)) = (self.gates.get(&node), operands.first_mut()) {
            *first = first.clone() * gate.clone();
        }
    }

    /// Keeps the value of `node`, if asked to.
    pub(crate) fn keep(&self, node: NodeId, value: &Tensor<4>) {
        if self.keep.contains(&node) {
            self.kept.borrow_mut().insert(node, value.clone());
        }
    }
}
