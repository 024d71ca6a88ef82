//! Pruning for the systolic array: what goes is chosen by importance and paid for in exact cycles.
//!
//! Two kinds of pruning, by themselves or together, all returned as plain plans:
//!
//! * **Channels.** [`dependency_groups`] finds which channels must go together, [`importance`] rates
//!   them by a [`Criterion`] from weights and [`Evidence`], [`channel_plan`] chooses under a cycle
//!   budget, [`apply`] removes them physically.
//! * **Vectors.** [`vector_importance`] rates the `1 x cols` weight vectors that the array skips,
//!   [`vector_masks`] keeps the same number of them in every lane.
//! * **Both, under several budgets.** [`joint_plan`] limits any of cycles, energy, block RAMs, weight and
//!   activation bytes, MACs and parameters at once ([`Budgets`]); channels and tiles compete at the same prices,
//!   and the plan says how much less any other choice could lose at most. [`tile_masks`] carries its tiles out.
//!   The solver behind it, [`solve`], knows no networks: a [`Problem`] is plain tables.
//!
//! All cycles are those of `espalier_target`; the theory is in `docs/pruning.md`. Networks without an accelerator
//! mapping, such as recurrent ones, are pruned by [`size_plan`] under a budget of multiply-accumulates or parameters.
//!
//! ```
//! use espalier_ir::{Conv, Graph, Op, Pads, Tensor};
//! use espalier_prune::{ChannelOptions, Criterion, Evidence, Normalization};
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
//! let scores = espalier_prune::importance(&graph, &groups, Criterion::L1, Normalization::Sum, &Evidence::NONE)?;
//! let dense = espalier_prune::dense_cycles(&graph, &config)?;
//! let options = ChannelOptions { budget_cycles: dense - 1, min_keep: 0.0 };
//! let plan = espalier_prune::channel_plan(&graph, &groups, &scores, &config, &options)?;
//! // One block of 4 columns goes, and with it the 4 channels of least importance.
//! assert_eq!(plan.groups[1].kept, [4, 5, 6, 7]);
//! let small = espalier_prune::apply(&graph, &plan)?;
//! assert_eq!(espalier_prune::dense_cycles(&small, &config)?, plan.cycles);
//!
//! // The same and more from the joint plan, which proves that nothing better exists.
//! use espalier_prune::{Budgets, JointOptions, Resource};
//! let target = espalier_target::builtin_target("ecp5-25f").unwrap();
//! let budgets = Budgets::new().with(Resource::Cycles, plan.budget_cycles as f64).with(Resource::Parameters, 13.0);
//! let options = JointOptions::new(budgets);
//! let joint = espalier_prune::joint_plan(&graph, &groups, &scores, None, &target, &config, &options)?;
//! assert_eq!(joint.channels.groups[1].kept, [4, 5, 6, 7]);
//! assert_eq!((joint.after.parameters, joint.gap()), (8 + 5, Some(0.0)));
//! # Ok::<(), espalier_ir::Diagnostics>(())
//! ```

mod activations;
mod allocation;
mod apply;
mod budgets;
mod channels;
mod combine;
mod compensate;
mod cost;
mod criterion;
mod curves;
mod entropy;
mod evidence;
mod flow;
mod gates;
mod groups;
mod importance;
mod joint;
mod joint_search;
mod magnitude;
mod masks;
mod measured;
mod network_cost;
mod plan;
mod rank;
mod resources;
mod search;
mod size;
mod solver;
mod tables;
mod vector_scores;
mod vectors;

pub use activations::{
    ACTIVATION_BINS, ActivationStatistics, RANK_SAMPLES, SAMPLES_PER_BIN, SiteStatistics, activation_sites,
};
pub use apply::{apply, permute};
pub use channels::{ChannelOptions, channel_plan, minimum_channel_cycles};
pub use compensate::{channel_means, compensate};
pub use cost::dense_cycles;
pub use criterion::{Criterion, LP_POWER, LP_WEIGHT, Needs, Unit};
pub use entropy::{Grid, entropy_bits, mutual_information_bits};
pub use evidence::{Evidence, channel_readers};
pub use groups::{ChannelRef, DependencyGroups, Group, Member, Role, dependency_groups};
pub use importance::{ImportanceScores, Normalization, importance};
pub use joint::{JointDecision, JointOptions, JointPlan, joint_plan, tile_masks};
pub use masks::{VectorLayer, VectorOptions, VectorPlan, apply_masks, minimum_vector_cycles, vector_masks};
pub use plan::{Decision, GroupPlan, PruningPlan};
pub use rank::numerical_rank;
pub use resources::{Budgets, Resource};
pub use size::{SizeBudget, SizeOptions, SizePlan, size_plan};
pub use solver::{Factor, Infeasible, Problem, Solution, SolverOptions, Start, solve};
pub use vectors::{VectorScores, WeightScores, vector_elements, vector_importance};
