//! The optimizer behind plans under several budgets: choose one candidate for every variable so that
//! little importance is lost and no resource exceeds its budget.
//!
//! It knows nothing of networks. A [`Problem`] is a sum of tables, each over the few variables that
//! one layer depends on. [`solve`] runs, in this order: Lagrangian dual (a lower bound, and starts
//! for the rest), true-cost greedy, refill, local search, and branch and bound up to a node limit.

mod branch;
mod dual;
mod eliminate;
mod moves;
mod problem;
mod solve;

pub use problem::{Factor, Problem};
pub(crate) use solve::lower_bound;
pub use solve::{Infeasible, Solution, SolverOptions, Start, solve};
