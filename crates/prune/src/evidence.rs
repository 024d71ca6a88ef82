//! What data say about a network, as far as criteria need it: plain data, collected elsewhere.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, ParamId, Tensor, TensorMap};

use crate::flow::{is_depthwise, is_depthwise_transpose};
use crate::{ActivationStatistics, Criterion, Unit};

/// Measurements that criteria read; [`Criterion::needs`] says which, the rest stays empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// For every batch, the elementwise products weight * gradient of the mean loss over the batch, of
    /// at least every convolution and Gemm weight.
    pub products: Vec<TensorMap>,
    /// Samples a batch of `products` (their mean, where batches differ by one).
    pub batch_samples: f64,
    /// For every node of [`channel_readers`], `[samples, channels]`: the derivative of the loss of each
    /// sample by a factor on that channel of what the node reads.
    pub gate_gradients: BTreeMap<NodeId, Tensor>,
    /// What the channels carry.
    pub activations: Option<ActivationStatistics>,
}

impl Evidence {
    /// For criteria that read nothing but weights.
    pub const NONE: Evidence =
        Evidence { products: Vec::new(), batch_samples: 0.0, gate_gradients: BTreeMap::new(), activations: None };

    /// Evidence that consists of the products of batches of `batch_samples` samples.
    pub fn of_products(products: Vec<TensorMap>, batch_samples: f64) -> Self {
        Evidence { products, batch_samples, ..Evidence::NONE }
    }
}

/// The nodes that read channels of their first operand: through the columns of a weight all Gemm and all convolutions
/// but depthwise ones, through which channels only pass; through another value a matrix product that sums over them.
pub fn channel_readers(graph: &Graph) -> Vec<NodeId> {
    let gated = |r: Reading| (!matches!(graph.node(r.reader).op, Op::Recurrent(_))).then_some(r.reader);
    readings(graph).into_iter().filter_map(gated).collect()
}

/// A place where channels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) reader: NodeId,
    /// The value whose channels are read.
    pub(crate) value: NodeId,
    pub(crate) by: ReadBy,
}

/// What the channels that a node reads are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadBy {
    Weight(LayerWeight),
    /// The same channels of another value.
    Value(NodeId),
}

/// All places where channels are read. A recurrent layer also reads its own units, at the next step.
pub(crate) fn readings(graph: &Graph) -> Vec<Reading> {
    let mut readings = Vec::new();
    for reader in graph.nodes() {
        let operands = graph.operands(reader);
        let node = graph.node(reader);
        let mut read = |value, by| readings.push(Reading { reader, value, by });
        match &node.op {
            Op::Recurrent(recurrent) => {
                read(operands[0], ReadBy::Weight(LayerWeight::matrix(recurrent.weight)));
                read(reader, ReadBy::Weight(LayerWeight::matrix(recurrent.recurrence)));
            }
            Op::MatMul { transpose: [true, false] } if node.shape.len() == 2 => {
                read(operands[0], ReadBy::Value(operands[1]));
            }
            _ => {
                if let Some(weight) = layer_weight(graph, reader).filter(|w| !w.depthwise) {
                    read(operands[0], ReadBy::Weight(weight));
                }
            }
        }
    }
    readings
}

/// The weight through which a node computes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerWeight {
    pub(crate) param: ParamId,
    /// Axis that the channels of the operand index.
    pub(crate) input_axis: usize,
    /// Channel groups.
    pub(crate) groups: usize,
    /// Whether each channel computes its own alone.
    pub(crate) depthwise: bool,
}

impl LayerWeight {
    /// A matrix `[outputs, inputs]`.
    fn matrix(param: ParamId) -> Self {
        LayerWeight { param, input_axis: 1, groups: 1, depthwise: false }
    }
}

/// The one place that knows which layers have a weight.
pub(crate) fn layer_weight(graph: &Graph, node: NodeId) -> Option<LayerWeight> {
    match &graph.node(node).op {
        Op::Conv(conv) => {
            let depthwise = is_depthwise(graph, conv);
            Some(LayerWeight { param: conv.weight, input_axis: 1, groups: conv.groups, depthwise })
        }
        Op::ConvTranspose(conv) => {
            let depthwise = is_depthwise_transpose(graph, conv);
            Some(LayerWeight { param: conv.weight, input_axis: 0, groups: conv.groups, depthwise })
        }
        Op::Gemm { weight, .. } => Some(LayerWeight::matrix(*weight)),
        _ => None,
    }
}

/// All such weights, and those of recurrent layers, each once.
fn weights(graph: &Graph) -> Vec<ParamId> {
    let mut weights: Vec<ParamId> =
        graph.nodes().into_iter().filter_map(|id| layer_weight(graph, id)).map(|w| w.param).collect();
    weights.extend(graph.nodes().into_iter().flat_map(|id| match &graph.node(id).op {
        Op::Recurrent(recurrent) => vec![recurrent.weight, recurrent.recurrence],
        _ => Vec::new(),
    }));
    weights.sort_unstable();
    weights.dedup();
    weights
}

impl Evidence {
    /// Checks that all is there that the criterion reads.
    ///
    /// # Errors
    /// `criterion-not-for-vectors`; `missing-gradients`, `missing-activations`, `too-few-samples`, each
    /// with the parameter or node.
    pub(crate) fn check(&self, graph: &Graph, criterion: Criterion, unit: Unit) -> Result<(), Diagnostics> {
        let needs = criterion.needs(unit).ok_or_else(|| criterion.not_for_vectors())?;
        let mut findings = Diagnostics::new();
        if needs.gate_gradients {
            check_no_recurrence(graph, criterion, &mut findings);
        }
        if needs.products {
            self.check_products(graph, criterion, &mut findings);
        }
        if needs.gate_gradients {
            self.check_gates(graph, criterion, &mut findings);
        }
        if needs.activations {
            match &self.activations {
                Some(activations) => activations.check(graph, criterion, needs, &mut findings),
                None => findings.push(
                    missing("missing-activations", criterion, "no activations were collected")
                        .with_help("collect them over training samples, or use 'l2'"),
                ),
            }
        }
        findings.into_result(())
    }

    fn check_products(&self, graph: &Graph, criterion: Criterion, findings: &mut Diagnostics) {
        let second_order = criterion != Criterion::Taylor;
        if self.products.is_empty() {
            findings.push(
                missing("missing-gradients", criterion, "there is no batch of gradients")
                    .with_help("give at least one batch of training samples, or use 'l2'"),
            );
        } else if second_order && (self.products.len() < 2 || self.batch_samples < 1.0) {
            let message = "the variance of gradients needs at least two batches and the samples of each";
            findings.push(missing("too-few-samples", criterion, message).with_help("divide the samples into batches"));
        }
        for (batch, map) in self.products.iter().enumerate() {
            for param in weights(graph) {
                if map.get(&param).is_none_or(|t| t.shape() != graph.param(param).shape()) {
                    let message = format!("batch {batch} has no gradient of shape {:?}", graph.param(param).shape());
                    let at = format!("parameter '{}'", graph.param_name(param));
                    findings.push(Diagnostic::error("missing-gradients", at, message));
                }
            }
        }
    }

    fn check_gates(&self, graph: &Graph, criterion: Criterion, findings: &mut Diagnostics) {
        let mut samples: Option<usize> = None;
        for reader in channel_readers(graph) {
            let channels = graph.node(graph.operands(reader)[0]).shape[0];
            let found = self.gate_gradients.get(&reader).map(Tensor::shape);
            let fits = match found {
                Some([n, c]) => *c == channels && *n > 0 && *samples.get_or_insert(*n) == *n,
                _ => false,
            };
            if !fits {
                let message = format!("there are no gate gradients of shape [samples, {channels}]");
                let at = format!("node '{}'", graph.node(reader).name);
                findings.push(
                    Diagnostic::error("missing-gradients", at, message)
                        .with_help(format!("'{}' needs them of every node that reads channels", criterion.name())),
                );
            }
        }
    }
}

/// Gates of single samples stand in front of nodes, and none inside a recurrence.
fn check_no_recurrence(graph: &Graph, criterion: Criterion, findings: &mut Diagnostics) {
    for node in graph.nodes().into_iter().map(|n| graph.node(n)).filter(|n| matches!(n.op, Op::Recurrent(_))) {
        let at = format!("node '{}'", node.name);
        let message = format!("'{}' has no gate where {} reads its own units", criterion.name(), node.op.name());
        findings.push(
            Diagnostic::error("criterion-not-for-recurrence", at, message)
                .with_help("use 'taylor', which has one from gradients of weights, or a criterion from activations"),
        );
    }
}

fn missing(code: &'static str, criterion: Criterion, message: &str) -> Diagnostic {
    Diagnostic::error(code, format!("criterion '{}'", criterion.name()), message)
}
