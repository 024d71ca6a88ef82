//! Additions that a convolution computes in its own sums.
//!
//! `conv(x) + r` is one layer if nobody else reads the convolution: the accelerator adds the other operand, scaled by a
//! power of two, to the sums before they are rounded. On its way the operand may be sampled (a maximum pooling of one
//! element) and get its channels from a selection: the parameter-free shortcut ("option A") of He et al., "Deep Residual
//! Learning for Image Recognition", 2015, section 4.2.

use std::collections::BTreeMap;

use crate::layers::as_chw;
use crate::{Graph, NodeId, Op, Pads};

/// How the second operand of a convolution with a fused addition is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residual {
    /// Step through the operand, `[vertical, horizontal]`: output `(y, x)` takes its element `(y, x) * stride`.
    pub stride: [usize; 2],
    /// For each output channel the channel of the operand, or `None` for zero; without a list every channel its own.
    pub channels: Option<Vec<Option<usize>>>,
    /// The Select node behind `channels`.
    pub select: Option<NodeId>,
}

impl Residual {
    /// The operand as it is.
    pub(crate) fn plain() -> Self {
        Residual { stride: [1, 1], channels: None, select: None }
    }
}

/// An addition and the convolution that takes it in.
#[derive(Debug, Clone)]
pub(crate) struct Fusion {
    /// The Conv or Gemm node.
    pub conv: NodeId,
    /// Batch normalization between it and the addition.
    pub batch_norm: Option<NodeId>,
    /// The tensor that is added.
    pub operand: NodeId,
    /// How.
    pub residual: Residual,
    /// Sampling and selection between the two, in order.
    path: Vec<NodeId>,
}

impl Fusion {
    /// Nodes that are no layers of their own.
    pub fn absorbed(&self) -> impl Iterator<Item = NodeId> {
        [self.conv].into_iter().chain(self.batch_norm).chain(self.path.clone())
    }
}

/// All additions that a convolution before them can take in. Of two candidates the one with the larger kernel does;
/// that does not change when channels are removed.
pub(crate) fn fusions(graph: &Graph) -> BTreeMap<NodeId, Fusion> {
    let mut found = BTreeMap::new();
    for add in graph.nodes().into_iter().filter(|n| matches!(graph.node(*n).op, Op::Add)) {
        let operands = graph.operands(add);
        let [a, b] = operands[..] else { continue };
        let candidates = [(a, b), (b, a)].into_iter().filter(|(a, b)| a != b);
        let fusion = candidates
            .filter_map(|(sum, other)| fusion(graph, sum, other))
            .reduce(|best, next| if taps(graph, next.conv) > taps(graph, best.conv) { next } else { best });
        found.extend(fusion.map(|f| (add, f)));
    }
    found
}

fn fusion(graph: &Graph, sum: NodeId, other: NodeId) -> Option<Fusion> {
    let first = |node: NodeId| graph.operands(node)[0];
    let batch_norm = matches!(graph.node(sum).op, Op::BatchNorm { .. }).then_some(sum);
    let conv = if batch_norm.is_some() { first(sum) } else { sum };
    let fits = match &graph.node(conv).op {
        Op::Conv(conv) => conv.groups == 1,
        Op::Gemm { .. } => true,
        _ => false,
    };
    if !fits || !private(graph, sum) || !private(graph, conv) {
        return None;
    }
    let mut residual = Residual::plain();
    let (mut operand, mut path) = (other, Vec::new());
    while private(graph, operand) {
        match &graph.node(operand).op {
            Op::Select { channels } if residual.select.is_none() => {
                (residual.channels, residual.select) = (Some(channels.clone()), Some(operand));
            }
            Op::MaxPool(pool) if residual.stride == [1, 1] && pool.kernel == [1, 1] && pool.pads == Pads::default() => {
                residual.stride = pool.stride;
            }
            _ => break,
        }
        path.insert(0, operand);
        operand = first(operand);
    }
    let plain = stored_shape(graph, operand) == as_chw(&graph.node(operand).shape);
    let same = match path.last() {
        Some(last) => plain && as_chw(&graph.node(*last).shape) == as_chw(&graph.node(conv).shape),
        None => stored_shape(graph, operand) == as_chw(&graph.node(conv).shape),
    };
    same.then_some(Fusion { conv, batch_norm, operand, residual, path })
}

/// One node alone reads the value.
fn private(graph: &Graph, node: NodeId) -> bool {
    graph.consumers(node).len() == 1 && !graph.outputs().contains(&node)
}

/// Shape of the tensor behind a value: flattening and clamping move nothing.
pub(crate) fn stored_shape(graph: &Graph, mut node: NodeId) -> [usize; 3] {
    loop {
        match graph.node(node).op {
            Op::Flatten
            | Op::Reshape { .. }
            | Op::Softmax { .. }
            | Op::Relu
            | Op::Clip { .. }
            | Op::Unary(_)
            | Op::Add => {
                node = graph.operands(node)[0];
            }
            _ => return as_chw(&graph.node(node).shape),
        }
    }
}

fn taps(graph: &Graph, conv: NodeId) -> usize {
    match &graph.node(conv).op {
        Op::Conv(conv) => graph.param(conv.weight).shape()[2..].iter().product(),
        _ => 1,
    }
}
