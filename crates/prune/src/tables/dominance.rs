//! Drops candidates that no plan needs.

use super::Tables;
use crate::solver::Factor;

impl Tables<'_> {
    /// Drops candidates that cost no less than the next larger one, whatever the others choose.
    pub(super) fn drop_dominated(&mut self) {
        for v in 0..self.variables.len() {
            let mut kept: Vec<usize> = vec![self.values[v].len() - 1];
            for candidate in (0..self.values[v].len() - 1).rev() {
                let larger = kept[kept.len() - 1];
                let losses = &self.problem.losses[v];
                let worse = |f: &Factor| self.costs_no_less(f, v, candidate, larger);
                if losses[larger] > losses[candidate] || !self.problem.factors.iter().all(worse) {
                    kept.push(candidate);
                }
            }
            kept.reverse();
            if kept.len() < self.values[v].len() {
                self.select(v, &kept);
            }
        }
    }

    fn costs_no_less(&self, factor: &Factor, variable: usize, candidate: usize, larger: usize) -> bool {
        let Some((size, stride)) = self.axis(factor, variable) else { return true };
        let no_less = |table: &Vec<f64>| {
            table.chunks(size * stride).all(|part| {
                let (a, b) = (&part[candidate * stride..][..stride], &part[larger * stride..][..stride]);
                a.iter().zip(b).all(|(a, b)| a >= b)
            })
        };
        no_less(&factor.loss) && factor.costs.iter().all(no_less)
    }

    /// Size of the axis of a variable in a table, and the distance of its entries.
    fn axis(&self, factor: &Factor, variable: usize) -> Option<(usize, usize)> {
        let position = factor.scope.iter().position(|v| *v == variable)?;
        let size = |v: &usize| self.values[*v].len();
        Some((size(&variable), factor.scope[position + 1..].iter().map(size).product()))
    }

    /// Keeps some candidates of a variable.
    fn select(&mut self, variable: usize, kept: &[usize]) {
        for index in 0..self.problem.factors.len() {
            let Some((size, stride)) = self.axis(&self.problem.factors[index], variable) else { continue };
            let cut = |table: &Vec<f64>| -> Vec<f64> {
                let parts = table.chunks(size * stride);
                parts.flat_map(|part| kept.iter().flat_map(move |k| part[k * stride..][..stride].to_vec())).collect()
            };
            let factor = &mut self.problem.factors[index];
            factor.loss = cut(&factor.loss);
            factor.costs = factor.costs.iter().map(cut).collect();
        }
        self.problem.losses[variable] = kept.iter().map(|k| self.problem.losses[variable][*k]).collect();
        self.values[variable] = kept.iter().map(|k| self.values[variable][*k]).collect();
    }
}
