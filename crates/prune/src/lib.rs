//! Pruning for the systolic array: what goes is chosen by importance and paid for in exact cycles.
//!
//! Two kinds of pruning, both returned as plain plans:
//!
//! * **Channels.** [`dependency_groups`] finds which channels must go together, [`importance`] rates
//!   them, [`channel_plan`] chooses under a cycle budget, [`apply`] removes them physically.
//! * **Vectors.** [`vector_importance`] rates the `1 x cols` weight vectors that the array skips,
//!   [`vector_masks`] keeps the same number of them in every lane.
//!
//! [`split_budget`] and [`geometric_budgets`] divide the way between the two and over several rounds
//! of fine-tuning. All cycles are those of `espalier_target`; the theory is in `docs/pruning.md`.

mod allocation;
mod apply;
mod budgets;
mod channels;
mod compensate;
mod cost;
mod flow;
mod groups;
mod importance;
mod masks;
mod plan;
mod random;
mod schedule;
mod search;
mod vectors;

pub use apply::{apply, permute};
pub use channels::{ChannelOptions, channel_plan, minimum_channel_cycles};
pub use compensate::{channel_means, compensate};
pub use cost::dense_cycles;
pub use groups::{ChannelRef, DependencyGroups, Group, Member, Role, dependency_groups};
pub use importance::{Criterion, ImportanceScores, Normalization, importance};
pub use masks::{VectorLayer, VectorOptions, VectorPlan, apply_masks, minimum_vector_cycles, vector_masks};
pub use plan::{Decision, GroupPlan, PruningPlan};
pub use schedule::{BudgetSplit, SplitPolicy, geometric_budgets, split_budget};
pub use vectors::{VectorScores, vector_importance};
