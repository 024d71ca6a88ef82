//! Pruning for the systolic array: what goes is chosen by importance and paid for in exact cycles.
//!
//! Two kinds of pruning, both returned as plain plans:
//!
//! * **Channels.** [`dependency_groups`] finds which channels must go together, [`importance`] rates
//!   them, [`channel_plan`] chooses under a cycle budget, [`apply`] removes them physically.
//! * **Vectors.** [`vector_importance`] rates the `1 x cols` weight vectors that the array skips,
//!   [`vector_masks`] keeps the same number of them in every lane.
//!
//! Networks without an accelerator mapping, such as recurrent ones, are pruned by [`size_plan`] under a budget of
//! multiply-accumulates or parameters.
//!
//! [`feasible_split`] and [`geometric_budgets`] divide the way between the two and over several rounds
//! of fine-tuning. All cycles are those of `espalier_target`; the theory is in `docs/pruning.md`.
//!
//! ```
//! use espalier_ir::{Conv, Graph, Op, Pads, Tensor};
//! use espalier_prune::{ChannelOptions, Criterion, Normalization};
//! use espalier_target::AcceleratorConfig;
//!
//! // Two convolutions, 1 -> 8 -> 1 channels; channel c of the first has the weight c + 1.
//! let mut graph = Graph::new("example");
//! let x = graph.add_input("x", &[1, 8, 8])?;
//! let mut value = x;
//! for shape in [[8, 1, 1, 1], [1, 8, 1, 1]] {
//!     let weight = graph.add_param("weight", Tensor::f32(shape, (1..=8).map(|v| v as f32).collect()));
//!     let conv = Conv { weight, bias: None, stride: [1, 1], pads: Pads::default(), dilation: [1, 1], groups: 1 };
//!     value = graph.add("conv", Op::Conv(conv), &[value])?;
//! }
//! graph.add_output(value);
//!
//! let config = AcceleratorConfig::new(4, 4, 1024, 64);
//! let groups = espalier_prune::dependency_groups(&graph)?;
//! let scores = espalier_prune::importance(&graph, &groups, Criterion::L1, Normalization::Sum, &[])?;
//! let dense = espalier_prune::dense_cycles(&graph, &config)?;
//! let options = ChannelOptions { budget_cycles: dense - 1, min_keep: 0.0 };
//! let plan = espalier_prune::channel_plan(&graph, &groups, &scores, &config, &options)?;
//! // One block of 4 columns goes, and with it the 4 channels of least importance.
//! assert_eq!(plan.groups[1].kept, [4, 5, 6, 7]);
//! let small = espalier_prune::apply(&graph, &plan)?;
//! assert_eq!(espalier_prune::dense_cycles(&small, &config)?, plan.cycles);
//! # Ok::<(), espalier_ir::Diagnostics>(())
//! ```

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
mod schedule;
mod search;
mod size;
mod vectors;

pub use apply::{apply, permute};
pub use budgets::feasible_split;
pub use channels::{ChannelOptions, channel_plan, minimum_channel_cycles};
pub use compensate::{channel_means, compensate};
pub use cost::dense_cycles;
pub use groups::{ChannelRef, DependencyGroups, Group, Member, Role, dependency_groups};
pub use importance::{Criterion, ImportanceScores, Normalization, importance};
pub use masks::{VectorLayer, VectorOptions, VectorPlan, apply_masks, minimum_vector_cycles, vector_masks};
pub use plan::{Decision, GroupPlan, PruningPlan};
pub use schedule::{BudgetSplit, SplitPolicy, geometric_budgets, split_budget};
pub use size::{SizeBudget, SizeOptions, SizePlan, size_plan};
pub use vectors::{VectorScores, vector_importance};
