//! How the way to a budget is divided: over rounds of fine-tuning, and between channels and vectors.

use serde::{Deserialize, Serialize};

/// Which kinds of pruning share the work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitPolicy {
    /// Channels only.
    Channels,
    /// Vectors only.
    Vectors,
    /// Channels first, then vectors. The network is to shrink by the factor `budget / dense`;
    /// channels take the factor to the power `channel_share` (0.5 = its square root), vectors the rest.
    Both {
        /// Share of the channels, 0 to 1.
        channel_share: f64,
    },
}

impl Default for SplitPolicy {
    fn default() -> Self {
        SplitPolicy::Both { channel_share: 0.5 }
    }
}

/// Budgets of the two kinds; `None` = that kind has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSplit {
    /// Cycles after channel pruning.
    pub channel_cycles: Option<u64>,
    /// Cycles after vector pruning.
    pub vector_cycles: Option<u64>,
}

/// Divides the way from `dense` to `budget` cycles between channels and vectors.
///
/// `channel_floor` is the least that channel pruning can reach
/// ([`crate::minimum_channel_cycles`]); with [`SplitPolicy::Both`] vectors take over what channels
/// cannot do.
pub fn split_budget(dense: u64, budget: u64, policy: SplitPolicy, channel_floor: u64) -> BudgetSplit {
    if budget >= dense {
        return BudgetSplit { channel_cycles: None, vector_cycles: None };
    }
    match policy {
        SplitPolicy::Channels => BudgetSplit { channel_cycles: Some(budget), vector_cycles: None },
        SplitPolicy::Vectors => BudgetSplit { channel_cycles: None, vector_cycles: Some(budget) },
        SplitPolicy::Both { channel_share } => {
            let share = if channel_share.is_finite() { channel_share.clamp(0.0, 1.0) } else { 0.5 };
            let channels = between(dense, budget, share).max(channel_floor).max(budget);
            BudgetSplit {
                channel_cycles: (channels < dense).then_some(channels),
                vector_cycles: (channels > budget).then_some(budget),
            }
        }
    }
}

/// Budgets of `steps` rounds from `start` (not included) to `target` (the last), each smaller by the
/// same factor: `B_t = exp(t/T ln target + (1 - t/T) ln start)`, as HALP (Shen et al. 2022) does.
/// Empty if there is no step; all `target` if that is not below `start`.
pub fn geometric_budgets(start: u64, target: u64, steps: usize) -> Vec<u64> {
    (1..=steps).map(|t| between(start, target, t as f64 / steps as f64)).collect()
}

/// Geometric interpolation, exact at `share` = 1 and never below `end`.
fn between(start: u64, end: u64, share: f64) -> u64 {
    if start <= end || share >= 1.0 {
        return end;
    }
    let (start, low) = (start as f64, end.max(1) as f64);
    ((start.ln() * (1.0 - share) + low.ln() * share).exp().round() as u64).max(end)
}
