//! Channel pruning under a cycle budget.
//!
//! Cycles are a staircase in the number of channels: most removals save nothing, and what a removal
//! saves in the *readers* of a channel counts as much as what it saves where the channel is computed.
//! So the search asks the target for the cost of the whole network each time, looks only at the
//! largest channel count of each equal-cost step, and looks ahead over several steps at once.

use espalier_ir::{Diagnostics, Graph};
use espalier_target::AcceleratorConfig;
use serde::{Deserialize, Serialize};

use crate::budgets::budget_not_met;
use crate::cost::ChannelCost;
use crate::search::{Search, State};
use crate::{DependencyGroups, Group, GroupPlan, ImportanceScores, PruningPlan};

/// Limits of the channel search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelOptions {
    /// Most cycles of the whole program, with all vectors of the remaining channels.
    pub budget_cycles: u64,
    /// Fraction of its channels that every group keeps at least, 0 to 1.
    pub min_keep: f64,
}

/// Chooses the channels that stay, so that the program takes at most the budgeted cycles and as much
/// importance as possible stays.
///
/// Within a group the most important channels stay (ties: the lower index), after one channel for
/// each set that must not vanish.
///
/// # Errors
/// `budget-not-met` with the smallest reachable number of cycles; whatever the target refuses about
/// the network; `scores-mismatch` if the scores are not of these groups.
pub fn channel_plan(
    graph: &Graph,
    groups: &DependencyGroups,
    scores: &ImportanceScores,
    config: &AcceleratorConfig,
    options: &ChannelOptions,
) -> Result<PruningPlan, Diagnostics> {
    let mut search = prepare(graph, groups, scores, config, options.min_keep)?;
    let dense_cycles = search.full().cycles;
    let floor = search.floor().cycles;
    if floor > options.budget_cycles {
        return Err(budget_not_met("channel", options.budget_cycles, floor, dense_cycles).into());
    }
    let mut decisions = Vec::new();
    let best =
        search.run(options.budget_cycles, &mut |s, from, to, g| decisions.push(s.decision(groups, from, to, g)))?;
    Ok(to_plan(groups, &search, &best, options.budget_cycles, dense_cycles, decisions))
}

/// The fewest cycles that channel pruning can reach with `min_keep` of every group.
///
/// # Errors
/// As [`channel_plan`], but for the budget.
pub fn minimum_channel_cycles(
    graph: &Graph,
    groups: &DependencyGroups,
    scores: &ImportanceScores,
    config: &AcceleratorConfig,
    min_keep: f64,
) -> Result<u64, Diagnostics> {
    Ok(prepare(graph, groups, scores, config, min_keep)?.floor().cycles)
}

fn prepare<'a>(
    graph: &Graph,
    groups: &DependencyGroups,
    scores: &ImportanceScores,
    config: &'a AcceleratorConfig,
    min_keep: f64,
) -> Result<Search<'a>, Diagnostics> {
    crate::importance::check_scores(groups, scores)?;
    let orders: Vec<Vec<usize>> = groups.groups.iter().zip(&scores.scores).map(|(g, s)| keep_order(g, s)).collect();
    let minimum: Vec<usize> =
        groups.groups.iter().zip(&scores.scores).map(|(g, s)| minimum_count(g, s, min_keep)).collect();
    let cost = ChannelCost::new(graph, groups, &orders, config)?;
    Search::new(groups, orders, scores, &minimum, cost)
}

/// The most important channel of each required set.
fn protected(group: &Group, scores: &[f64]) -> Vec<usize> {
    let mut channels: Vec<usize> = Vec::new();
    for set in &group.required {
        if !set.iter().any(|c| channels.contains(c)) {
            channels.extend(set.iter().copied().min_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b))));
        }
    }
    channels
}

/// Channels in the order in which they are kept.
pub(crate) fn keep_order(group: &Group, scores: &[f64]) -> Vec<usize> {
    let first = protected(group, scores);
    let mut order: Vec<usize> = (0..group.channels).collect();
    order.sort_by(|a, b| {
        first.contains(b).cmp(&first.contains(a)).then(scores[*b].total_cmp(&scores[*a])).then(a.cmp(b))
    });
    order
}

/// Fewest channels that a group keeps.
pub(crate) fn minimum_count(group: &Group, scores: &[f64], min_keep: f64) -> usize {
    if group.frozen.is_some() {
        return group.channels;
    }
    let fraction = (group.channels as f64 * min_keep.clamp(0.0, 1.0)).ceil() as usize;
    fraction.max(protected(group, scores).len()).clamp(1, group.channels)
}

fn to_plan(
    groups: &DependencyGroups,
    search: &Search,
    best: &State,
    budget_cycles: u64,
    dense_cycles: u64,
    decisions: Vec<crate::Decision>,
) -> PruningPlan {
    let plans = groups.groups.iter().zip(&search.orders).zip(&best.counts).map(|((group, order), count)| {
        let mut kept = order[..*count].to_vec();
        kept.sort_unstable();
        GroupPlan { name: group.name.clone(), channels: group.channels, kept }
    });
    let total = search.importance(&search.full().counts);
    PruningPlan {
        groups: plans.collect(),
        budget_cycles,
        dense_cycles,
        cycles: best.cycles,
        importance_kept: if total > 0.0 { search.importance(&best.counts) / total } else { 1.0 },
        decisions,
    }
}
