//! Branch and bound over the order of elimination: whatever is chosen so far, the messages of the
//! dual give the exact minimum over the rest, and those of each resource the least that it takes.

use super::eliminate::{Elimination, Minimum};
use super::problem::Tables;

/// Depth-first search for choices better than the best one.
pub(super) struct Branch<'a> {
    pub tables: &'a Tables,
    pub elimination: &'a Elimination,
    /// Of the weighted sum, then of each resource alone.
    pub minima: Vec<Minimum>,
    /// To be taken off the weighted sum.
    pub price: f64,
    /// True costs of a choice within the tables' budgets: does it hold them all?
    pub holds: &'a mut dyn FnMut(&[usize]) -> bool,
    /// Loss of the best choice; others must be better.
    pub best: f64,
    pub choice: Option<Vec<usize>>,
    /// Nodes and questions to `holds` that may still be spent.
    pub nodes: usize,
    pub questions: usize,
    /// Least bound of what was left unexplored; infinite = nothing was.
    pub open: f64,
}

impl Branch<'_> {
    /// Searches; afterwards the optimum is at least `min(best, open)`.
    pub fn run(&mut self) {
        let bounds: Vec<f64> = self.minima.iter().map(|m| m.value).collect();
        let order: Vec<usize> = self.elimination.variables().collect();
        let mut choice = vec![0; order.len()];
        self.descend(&order, 0, &bounds, &mut choice);
    }

    fn hopeless(&self, bound: f64) -> bool {
        bound - self.price >= self.best - 1e-9 * self.best.abs()
    }

    fn descend(&mut self, order: &[usize], depth: usize, bounds: &[f64], choice: &mut Vec<usize>) {
        let Some(variable) = order.get(depth).copied() else { return self.leaf(choice) };
        let size = self.tables.sizes[variable];
        let mut increments = vec![vec![0.0; size]; bounds.len()];
        for (minimum, out) in self.minima.iter().zip(&mut increments) {
            self.elimination.increments(minimum, depth, choice, out);
        }
        let mut children: Vec<usize> = (0..size).collect();
        children.sort_by(|a, b| increments[0][*a].total_cmp(&increments[0][*b]).then(b.cmp(a)));
        for child in children {
            let next: Vec<f64> = bounds.iter().zip(&increments).map(|(b, i)| b + i[child]).collect();
            let over = |(needed, budget): (&f64, &f64)| *needed > budget + 1e-9 * budget.abs();
            if self.hopeless(next[0]) || next[1..].iter().zip(&self.tables.budgets).any(over) {
                continue;
            }
            if self.nodes == 0 {
                self.open = self.open.min(next[0] - self.price);
                continue;
            }
            self.nodes -= 1;
            choice[variable] = child;
            self.descend(order, depth + 1, &next, choice);
        }
    }

    fn leaf(&mut self, choice: &[usize]) {
        let row = self.tables.evaluate(choice);
        if row[0] >= self.best - 1e-9 * self.best.abs() || !self.tables.within(&row, &self.tables.budgets) {
            return;
        }
        if self.questions == 0 {
            self.open = self.open.min(row[0]);
            return;
        }
        self.questions -= 1;
        if (self.holds)(choice) {
            self.best = row[0];
            self.choice = Some(choice.to_vec());
        }
    }
}
