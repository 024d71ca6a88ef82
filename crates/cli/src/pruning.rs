//! The pruning loop: rounds of removing and fine-tuning on the way to a cycle budget.

use espalier_data::Dataset;
use espalier_ir::{Diagnostics, Graph, Op, TensorMap};
use espalier_prune::{
    ChannelOptions, Criterion, Evidence, SplitPolicy, Unit, VectorOptions, apply, apply_masks, channel_means,
    channel_plan, compensate, dense_cycles, dependency_groups, feasible_split, geometric_budgets, importance,
    vector_importance, vector_masks,
};
use espalier_target::AcceleratorConfig;
use espalier_train::{Execution, recalibrate_batch_norm};

use crate::evidence::collect_evidence;
use crate::failure::Outcome;
use crate::pipeline::sample;
use crate::progress::Progress;
use crate::project::PruneSection;
use crate::report::PruningReport;
use crate::training::{Tuning, accuracy, fine_tune, samples};

/// Samples over which the mean of removed channels is taken.
const COMPENSATION_SAMPLES: usize = 64;

/// A network within its budget.
pub struct Pruned {
    /// The network.
    pub graph: Graph,
    /// How it came about.
    pub rounds: Vec<PruningReport>,
}

/// One round: what is removed, down to how many cycles.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Channels(u64),
    Vectors(u64),
}

/// Prunes `original` to at most `budget` cycles.
///
/// # Errors
/// `budget-not-met` with the nearest feasible number of cycles, before any training; whatever a stage refuses.
pub fn prune(
    original: &Graph,
    config: &AcceleratorConfig,
    budget: u64,
    section: &PruneSection,
    tuning: &Tuning,
    progress: &mut Progress,
) -> Outcome<Pruned> {
    let rounds = plan_rounds(original, config, budget, section)?;
    let mut pruned = Pruned { graph: original.clone(), rounds: Vec::new() };
    for (index, round) in rounds.iter().enumerate() {
        let removed = remove(&pruned.graph, config, *round, section, tuning)?;
        let graph = refresh_statistics(&removed.graph, tuning.train)?;
        let before = accuracy(&graph, tuning.validation)?.fraction();
        let (kind, budget_cycles) = match round {
            Round::Channels(budget) => ("channels", *budget),
            Round::Vectors(budget) => ("vectors", *budget),
        };
        progress.line(&format!(
            "  round {}/{} ({kind}): {} cycles, validation {:.2} %",
            index + 1,
            rounds.len(),
            removed.cycles,
            100.0 * before
        ));
        let epochs = if index + 1 == rounds.len() { section.final_epochs } else { section.epochs };
        let tuned = fine_tune(&graph, &removed.masks, tuning, epochs, section.learning_rate, None, progress)?;
        let after = accuracy(&tuned.graph, tuning.validation)?.fraction();
        progress.line(&format!("    after {epochs} epochs: validation {:.2} %", 100.0 * after));
        pruned.graph = tuned.graph;
        pruned.rounds.push(PruningReport {
            step: index + 1,
            budget_cycles,
            cycles: removed.cycles,
            channels_removed: removed.channels,
            vectors_pruned: removed.vectors,
            accuracy_before: Some(before),
            accuracy_after: Some(after),
        });
    }
    Ok(pruned)
}

/// Divides the way to the budget into rounds, after checking that it can be reached at all.
fn plan_rounds(
    graph: &Graph,
    config: &AcceleratorConfig,
    budget: u64,
    section: &PruneSection,
) -> Result<Vec<Round>, Diagnostics> {
    let dense = dense_cycles(graph, config)?;
    if budget >= dense {
        return Ok(Vec::new());
    }
    let policy = match section.channel_share {
        share if share <= 0.0 => SplitPolicy::Vectors,
        share if share >= 1.0 => SplitPolicy::Channels,
        channel_share => SplitPolicy::Both { channel_share },
    };
    // Which channels and vectors matter decides where to cut, hardly how far one can: magnitudes need no data.
    let groups = dependency_groups(graph)?;
    let scores = importance(graph, &groups, Criterion::L1, Criterion::L1.default_normalization(), &Evidence::NONE)?;
    let options = ChannelOptions { budget_cycles: budget, min_keep: section.min_keep };
    let split = feasible_split(graph, &groups, &scores, config, &options, policy)?;
    let steps = section.steps;
    let (channel_steps, vector_steps) = match (split.channel_cycles, split.vector_cycles) {
        (Some(_), Some(_)) => (steps.div_ceil(2), (steps / 2).max(1)),
        _ => (steps, steps),
    };
    let channels = split.channel_cycles.map_or(Vec::new(), |end| geometric_budgets(dense, end, channel_steps));
    let start = split.channel_cycles.unwrap_or(dense);
    let vectors = split.vector_cycles.map_or(Vec::new(), |end| geometric_budgets(start, end, vector_steps));
    Ok(channels.into_iter().map(Round::Channels).chain(vectors.into_iter().map(Round::Vectors)).collect())
}

/// What one round leaves.
struct Removed {
    graph: Graph,
    masks: TensorMap,
    cycles: u64,
    channels: usize,
    vectors: usize,
}

fn remove(
    graph: &Graph,
    config: &AcceleratorConfig,
    round: Round,
    section: &PruneSection,
    tuning: &Tuning,
) -> Result<Removed, Diagnostics> {
    let criterion = section.criterion.seeded(tuning.seed);
    let unit = match round {
        Round::Channels(_) => Unit::Channel,
        Round::Vectors(_) => Unit::Vector,
    };
    let evidence = collect_evidence(graph, criterion.needs(unit).unwrap_or_default(), tuning.train, tuning.seed)?;
    let normalization = criterion.default_normalization();
    match round {
        Round::Channels(budget_cycles) => {
            let groups = dependency_groups(graph)?;
            let scores = importance(graph, &groups, criterion, normalization, &evidence)?;
            let options = ChannelOptions { budget_cycles, min_keep: section.min_keep };
            let plan = channel_plan(graph, &groups, &scores, config, &options)?;
            let part = sample(tuning.train, COMPENSATION_SAMPLES, tuning.seed);
            let means = channel_means(graph, &part.samples().map(|s| vec![s]).collect::<Vec<_>>());
            let smaller = apply(&compensate(graph, &plan, &means)?, &plan)?;
            let channels = plan.removed();
            Ok(Removed { graph: smaller, masks: TensorMap::new(), cycles: plan.cycles, channels, vectors: 0 })
        }
        Round::Vectors(budget_cycles) => {
            let scores = vector_importance(graph, config, criterion, normalization, &evidence)?;
            let options = VectorOptions { budget_cycles, min_keep: section.min_keep };
            let plan = vector_masks(graph, config, &scores, &options)?;
            let vectors = plan.layers.iter().map(|l| l.vectors - l.kept).sum();
            let masked = apply_masks(graph, &plan.masks)?;
            Ok(Removed { graph: masked, masks: plan.masks, cycles: plan.cycles, channels: 0, vectors })
        }
    }
}

/// Fresh statistics for batch normalization, if there is any: removal changes what it sees.
fn refresh_statistics(graph: &Graph, train: &Dataset) -> Result<Graph, Diagnostics> {
    let normalizes = graph.nodes().into_iter().any(|id| matches!(graph.node(id).op, Op::BatchNorm { .. }));
    if !normalizes {
        return Ok(graph.clone());
    }
    recalibrate_batch_norm(graph, &samples(train), Execution::default())
}
