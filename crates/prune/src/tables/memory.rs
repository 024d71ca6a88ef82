//! Budgets of memories: what they leave for weights and for feature maps.

use espalier_ir::LayerSource;
use espalier_target::{live_tensors, memory_blocks};

use super::{ENTRIES, Row, Tables, Variable};
use crate::Resource;
use crate::solver::Factor;

/// Most resources of a [`Problem`].
const ROWS: usize = 8;

impl Tables<'_> {
    /// Most words of weight memory, a power of two, within so many block RAMs beside other memories; 0 = none.
    pub(super) fn words_within(&self, block_rams: f64, instructions: usize, lane_bytes: usize) -> f64 {
        let fits = |bits: &u32| {
            let blocks = memory_blocks(self.cost.target, self.cost.config, 1 << bits, instructions, lane_bytes);
            blocks as f64 <= block_rams
        };
        (4..=24).filter(fits).max().map_or(0.0, |bits| f64::from(1u32 << bits))
    }

    /// Most bytes of every lane that the budgets of activations and block RAMs allow.
    fn most_lane_bytes(&self) -> f64 {
        let bytes = self.limit(Resource::ActivationBytes).map(|limit| limit / self.cost.config.rows as f64);
        let rams = self.limit(Resource::BlockRams).map(|limit| {
            let fits = |bits: &u32| {
                memory_blocks(self.cost.target, self.cost.config, 16, self.instructions, 1 << bits) as f64 <= limit
            };
            (4..=24).filter(fits).max().map_or(0.0, |bits| f64::from(1u32 << bits))
        });
        bytes.unwrap_or(f64::INFINITY).min(rams.unwrap_or(f64::INFINITY))
    }

    /// Forbids what does not fit the lanes at some moment; moments with too many groups become a sum
    /// that is limited, as long as there is room for one more.
    pub(super) fn forbid(&mut self) {
        let most = self.most_lane_bytes();
        if most == f64::INFINITY {
            return;
        }
        for tensors in live_tensors(&self.cost.network) {
            let bytes = |counts: &[usize]| tensors.iter().map(|t| self.cost.tensor_bytes(*t, counts)).sum::<usize>();
            if bytes(&self.channels) as f64 <= most {
                continue;
            }
            let groups: Vec<usize> = tensors.iter().flat_map(|t| self.cost.tensor_groups(*t)).collect();
            let scope = self.scope(&groups, None);
            if self.entries(&scope) <= ENTRIES {
                let loss = self.combinations(&scope).map(|at| {
                    let fits = bytes(&self.counts_at(&scope, &at)) as f64 <= most;
                    if fits { 0.0 } else { f64::INFINITY }
                });
                let loss: Vec<f64> = loss.collect();
                let costs = vec![vec![0.0; loss.len()]; self.rows.len()];
                self.problem.factors.push(Factor { scope, loss, costs });
            } else if self.rows.len() < ROWS {
                self.limit_moment(tensors, most);
            }
        }
    }

    fn counts_at(&self, scope: &[usize], at: &[usize]) -> Vec<usize> {
        let mut counts = self.channels.clone();
        for (v, candidate) in scope.iter().zip(at) {
            if let Variable::Count(group) = self.variables[*v] {
                counts[group] = self.values[*v][*candidate];
            }
        }
        counts
    }

    fn limit_moment(&mut self, tensors: Vec<LayerSource>, most: f64) {
        for factor in &mut self.problem.factors {
            let entries = factor.costs.first().map_or(factor.loss.len(), Vec::len);
            factor.costs.push(vec![0.0; entries]);
        }
        let mut fixed = 0.0;
        for tensor in &tensors {
            let scope = self.scope(&self.cost.tensor_groups(*tensor), None);
            if scope.is_empty() {
                fixed += self.cost.tensor_bytes(*tensor, &self.channels) as f64;
                continue;
            }
            if self.entries(&scope) > ENTRIES {
                continue;
            }
            let bytes: Vec<f64> = self
                .combinations(&scope)
                .map(|at| self.cost.tensor_bytes(*tensor, &self.counts_at(&scope, &at)) as f64)
                .collect();
            let mut costs = vec![vec![0.0; bytes.len()]; self.rows.len()];
            costs.push(bytes);
            self.problem.factors.push(Factor { scope, loss: Vec::new(), costs });
        }
        self.rows.push(Row::Moment { tensors, fixed });
        self.problem.budgets.push(most - fixed);
    }
}
