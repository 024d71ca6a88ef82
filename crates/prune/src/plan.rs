//! Plans: which channels stay. Plain data, to be printed, saved and replayed.

use serde::{Deserialize, Serialize};

use espalier_ir::{Diagnostic, Diagnostics};

use crate::DependencyGroups;

/// What stays of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPlan {
    /// Name of the group.
    pub name: String,
    /// Channels before.
    pub channels: usize,
    /// Channels that stay, ascending.
    pub kept: Vec<usize>,
}

/// One decision of the search, for the log: why channels went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Name of the group.
    pub group: String,
    /// Channels before the decision.
    pub from: usize,
    /// Channels after it.
    pub to: usize,
    /// Cycles of the whole program after it.
    pub cycles: u64,
    /// Importance lost; negative if channels came back.
    pub importance_lost: f64,
}

/// Which channels of each dependency group stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruningPlan {
    /// One entry a group, in the order of [`DependencyGroups::groups`].
    pub groups: Vec<GroupPlan>,
    /// Cycles allowed.
    pub budget_cycles: u64,
    /// Cycles of the network before.
    pub dense_cycles: u64,
    /// Cycles of the network after, with all vectors of the remaining channels.
    pub cycles: u64,
    /// Importance that stays, as a fraction of that of all channels that could be removed; 1 if none could.
    pub importance_kept: f64,
    /// Decisions in the order in which they were taken.
    pub decisions: Vec<Decision>,
}

impl PruningPlan {
    /// The plan that keeps everything, at `cycles`.
    pub fn keep_all(groups: &DependencyGroups, cycles: u64) -> Self {
        PruningPlan {
            groups: groups
                .groups
                .iter()
                .map(|g| GroupPlan { name: g.name.clone(), channels: g.channels, kept: (0..g.channels).collect() })
                .collect(),
            budget_cycles: cycles,
            dense_cycles: cycles,
            cycles,
            importance_kept: 1.0,
            decisions: Vec::new(),
        }
    }

    /// Channels removed, over all groups.
    pub fn removed(&self) -> usize {
        self.groups.iter().map(|g| g.channels - g.kept.len()).sum()
    }

    /// Checks that the plan belongs to these groups.
    ///
    /// # Errors
    /// `plan-mismatch` for every group that differs, removes frozen channels or leaves a node without any.
    pub fn check(&self, groups: &DependencyGroups) -> Result<(), Diagnostics> {
        let mut findings = Diagnostics::new();
        let mut wrong = |at: &str, message: String| {
            findings.push(
                Diagnostic::error("plan-mismatch", format!("group '{at}' of the pruning plan"), message)
                    .with_help("make the plan anew from this model"),
            );
        };
        if self.groups.len() != groups.groups.len() {
            wrong("*", format!("the plan has {} groups, the model {}", self.groups.len(), groups.groups.len()));
        }
        for (plan, group) in self.groups.iter().zip(&groups.groups) {
            let ascending = plan.kept.windows(2).all(|p| p[0] < p[1]);
            if plan.name != group.name || plan.channels != group.channels {
                wrong(&plan.name, format!("the model has '{}' with {} channels", group.name, group.channels));
            } else if !ascending || plan.kept.last().is_some_and(|c| *c >= group.channels) {
                wrong(&plan.name, "kept channels are not ascending indices below the number of channels".to_owned());
            } else if let Some(reason) = &group.frozen
                && plan.kept.len() < group.channels
            {
                wrong(&plan.name, format!("removes channels that must stay: {reason}"));
            } else if group.required.iter().any(|set| !set.iter().any(|c| plan.kept.binary_search(c).is_ok())) {
                wrong(&plan.name, "leaves a node without any channel".to_owned());
            }
        }
        findings.into_result(())
    }
}
