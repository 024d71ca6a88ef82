//! The finding for budgets that cannot be met.

use espalier_ir::Diagnostic;

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
