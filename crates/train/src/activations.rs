//! Values inside the network, handed out chunk by chunk so that memory stays bounded.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId};

use crate::forward::Normalize;
use crate::hooks::Hooks;
use crate::model::{Model, to_vec};
use crate::random::balanced;
use crate::workers::Workers;
use crate::{Execution, Samples};

/// Chunks that are computed before their results are given away.
const CHUNKS_AT_ONCE: usize = 16;

/// Samples that follow each other, and the values of nodes for them.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationChunk {
    /// Number of the first sample.
    pub first: usize,
    /// Values of each node, one sample after the other, each row-major.
    pub values: BTreeMap<NodeId, Vec<f32>>,
}

/// Computes `summarize` of the values of `nodes` for every chunk of samples, side by side, and gives the
/// summaries to `collect` in the order of the samples. Batch normalization uses its running statistics.
///
/// How samples are cut into chunks depends on the graph alone, never on threads.
///
/// # Errors
/// If the graph cannot be executed, the samples do not fit it, or a node is not computed on the way to
/// the first output.
pub fn visit_activations<T: Send>(
    graph: &Graph,
    nodes: &[NodeId],
    samples: &Samples<'_>,
    execution: Execution,
    summarize: impl Fn(&ActivationChunk) -> T + Sync,
    collect: &mut dyn FnMut(T),
) -> Result<(), Diagnostics> {
    let model = Model::new(graph, None, execution)?;
    let mut findings = Diagnostics::new();
    samples.check("samples", &model.plan, &mut findings);
    check_nodes(graph, &model, nodes, &mut findings);
    let workers = findings.into_result(Workers::new(execution)?)?;
    let chunks = balanced(samples.len(), samples.len().div_ceil(model.plan.chunk()));
    let len = samples.sample_len;
    for group in chunks.chunks(CHUNKS_AT_ONCE) {
        let summaries = workers.map(group, |chunk| {
            let hooks = Hooks { keep: nodes.iter().copied().collect(), ..Hooks::default() };
            let mut forward = model.forward(&model.params, Normalize::Running);
            forward.hooks = Some(&hooks);
            forward.run(samples.inputs[chunk.start * len..chunk.end * len].to_vec());
            let values = hooks.kept.into_inner().into_iter().map(|(node, value)| (node, to_vec(value))).collect();
            summarize(&ActivationChunk { first: chunk.start, values })
        });
        summaries.into_iter().for_each(&mut *collect);
    }
    Ok(())
}

/// Findings for nodes that the walk does not compute.
pub(crate) fn check_nodes(graph: &Graph, model: &Model<'_>, nodes: &[NodeId], findings: &mut Diagnostics) {
    let computed: std::collections::BTreeSet<NodeId> = model.plan.steps.iter().map(|s| s.node).collect();
    let known = graph.nodes();
    for node in nodes.iter().filter(|n| !computed.contains(n)) {
        let at = match known.contains(node) {
            true => format!("node '{}'", graph.node(*node).name),
            false => format!("node {node:?}"),
        };
        let message = "is not computed on the way to the first output";
        findings.push(
            Diagnostic::error("unsupported-in-training", at, message)
                .with_help("measurements follow the first output; remove branches that do not reach it"),
        );
    }
}
