//! Derivatives by gates, sample by sample.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, Tensor as Values};

use crate::activations::check_nodes;
use crate::forward::Normalize;
use crate::hooks::Hooks;
use crate::loss::summed_loss;
use crate::model::{Model, to_vec};
use crate::random::balanced;
use crate::workers::Workers;
use crate::{Execution, Samples};

/// The derivatives of all samples together may take this much.
const MAX_BYTES: usize = 1 << 30;

/// For each of `nodes`, `[samples, channels]`: the derivative of the cross-entropy of every sample by a
/// factor on each channel (index on the first axis) of what the node reads, at factor 1.
///
/// The gates are inputs of their own, one a sample and channel, so that one backward pass gives the
/// derivatives of all samples apart: squaring these, not those of a batch, gives the diagonal of the
/// Fisher information. Batch normalization uses its running statistics.
///
/// # Errors
/// If the graph cannot be executed, the samples do not fit it, a node is not computed on the way to the
/// first output or reads nothing, or the result would exceed 1 GiB.
pub fn gate_gradients(
    graph: &Graph,
    nodes: &[NodeId],
    samples: &Samples<'_>,
    execution: Execution,
) -> Result<BTreeMap<NodeId, Values>, Diagnostics> {
    let model = Model::new(graph, None, execution)?;
    let mut findings = Diagnostics::new();
    samples.check("samples", &model.plan, &mut findings);
    check_nodes(graph, &model, nodes, &mut findings);
    let steps = &model.plan.steps;
    let mut widths: BTreeMap<NodeId, usize> = BTreeMap::new();
    for step in steps.iter().filter(|s| nodes.contains(&s.node)) {
        match step.operands.first() {
            Some(operand) => {
                widths.insert(step.node, steps[*operand].dims[0]);
            }
            None => {
                let at = format!("node '{}'", graph.node(step.node).name);
                findings.push(Diagnostic::error("bad-training-option", at, "an input reads nothing to be gated"));
            }
        }
    }
    let total: usize = widths.values().sum();
    if total.saturating_mul(samples.len()).saturating_mul(4) > MAX_BYTES {
        let message = format!("derivatives by {total} gates of {} samples exceed 1 GiB", samples.len());
        findings.push(Diagnostic::error("too-large", "samples", message).with_help("use fewer samples"));
    }
    let workers = findings.into_result(Workers::new(execution)?)?;
    let chunks = balanced(samples.len(), samples.len().div_ceil(model.plan.chunk()));
    let parts = workers.map(&chunks, |chunk| of_chunk(&model, &widths, samples, chunk.clone()));
    let mut rows: BTreeMap<NodeId, Vec<f32>> = widths.keys().map(|n| (*n, Vec::new())).collect();
    for (node, part) in parts.into_iter().flatten() {
        rows.entry(node).or_default().extend(part);
    }
    Ok(rows.into_iter().map(|(node, rows)| (node, Values::f32([samples.len(), widths[&node]], rows))).collect())
}

fn of_chunk(
    model: &Model<'_>,
    widths: &BTreeMap<NodeId, usize>,
    samples: &Samples<'_>,
    chunk: std::ops::Range<usize>,
) -> Vec<(NodeId, Vec<f32>)> {
    let gate = |width: usize| Tensor::<4>::ones([chunk.len(), width, 1, 1], &model.device).autodiff().require_grad();
    let hooks = Hooks { gates: widths.iter().map(|(node, w)| (*node, gate(*w))).collect(), ..Hooks::default() };
    let mut forward = model.forward(&model.params, Normalize::Running);
    forward.hooks = Some(&hooks);
    let len = samples.sample_len;
    let (logits, _) = forward.run(samples.inputs[chunk.start * len..chunk.end * len].to_vec());
    let mut tape = summed_loss(logits, &samples.labels[chunk.clone()], None, 0.0, None, &model.device).backward();
    let gradient = |(node, gate): (&NodeId, &Tensor<4>)| match gate.grad_remove(&mut tape) {
        Some(gradient) => (*node, to_vec(gradient)),
        None => (*node, vec![0.0; chunk.len() * widths[node]]),
    };
    hooks.gates.iter().map(gradient).collect()
}
