//! Budgets that cannot be met, and how much of a budget each kind of pruning must take.

use espalier_ir::{Diagnostic, Diagnostics, Graph};
use espalier_target::AcceleratorConfig;

use crate::schedule::{BudgetSplit, SplitPolicy, split_budget};
use crate::{
    ChannelOptions, Criterion, DependencyGroups, Evidence, ImportanceScores, Normalization, apply, channel_plan,
    dense_cycles, minimum_channel_cycles, minimum_vector_cycles, vector_importance,
};

/// Smaller channel budgets that are tried if vectors cannot do their share.
const TRIES: u32 = 8;

/// The finding for a budget below what pruning of one kind can reach.
pub(crate) fn budget_not_met(kind: &str, budget: u64, reachable: u64, dense: u64) -> Diagnostic {
    let message = format!(
        "{budget} cycles are not reachable by {kind} pruning: the nearest feasible budget is {reachable} cycles \
         (the network takes {dense} now)"
    );
    let help = match kind {
        "channel" => "raise the budget, lower 'min_keep', prune vectors as well, or use a larger array",
        "vector" => "raise the budget, prune channels first, or use a larger array",
        _ => "raise the budget, lower 'min_keep', or use a larger array",
    };
    Diagnostic::error("budget-not-met", format!("cycle budget of {kind} pruning"), message).with_help(help)
}

/// What each kind of pruning may leave, so that `budget` cycles are reached in the end.
///
/// Starts from [`split_budget`]; with [`SplitPolicy::Both`] the channels take a larger share if
/// vector pruning of what they leave could not reach the budget (it never touches depthwise
/// convolutions, pooling and additions).
///
/// # Errors
/// `budget-not-met` with the smallest number of cycles that the policy can reach, and whatever
/// [`channel_plan`] refuses.
pub fn feasible_split(
    graph: &Graph,
    groups: &DependencyGroups,
    scores: &ImportanceScores,
    config: &AcceleratorConfig,
    options: &ChannelOptions,
    policy: SplitPolicy,
) -> Result<BudgetSplit, Diagnostics> {
    let budget = options.budget_cycles;
    let dense = dense_cycles(graph, config)?;
    let floor = minimum_channel_cycles(graph, groups, scores, config, options.min_keep)?;
    let split = split_budget(dense, budget, policy, floor);
    let Some(vector_cycles) = split.vector_cycles else {
        // Channels alone, or nothing to do.
        return match split.channel_cycles {
            Some(cycles) if cycles < floor => Err(budget_not_met("channel", budget, floor, dense).into()),
            _ => Ok(split),
        };
    };
    if policy == SplitPolicy::Vectors {
        let least = vector_floor(graph, config)?;
        let possible = least <= vector_cycles;
        return if possible { Ok(split) } else { Err(budget_not_met("vector", budget, least, dense).into()) };
    }
    let (first, last) = (split.channel_cycles.unwrap_or(dense), floor.max(budget));
    let mut reachable = u64::MAX;
    for step in 0..=TRIES {
        let channel_cycles = first - (first.saturating_sub(last)) * u64::from(step) / u64::from(TRIES);
        let least = if channel_cycles < dense {
            let options = ChannelOptions { budget_cycles: channel_cycles, ..*options };
            vector_floor(&apply(graph, &channel_plan(graph, groups, scores, config, &options)?)?, config)?
        } else {
            vector_floor(graph, config)?
        };
        if least <= vector_cycles {
            return Ok(BudgetSplit { channel_cycles: (channel_cycles < dense).then_some(channel_cycles), ..split });
        }
        reachable = reachable.min(least);
    }
    Err(budget_not_met("channel and vector", budget, reachable, dense).into())
}

/// What vector pruning can reach; the scores do not matter for that.
fn vector_floor(graph: &Graph, config: &AcceleratorConfig) -> Result<u64, Diagnostics> {
    let scores = vector_importance(graph, config, Criterion::L1, Normalization::None, &Evidence::NONE)?;
    minimum_vector_cycles(graph, config, &scores, 0.0)
}
