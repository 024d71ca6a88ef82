//! The search behind [`crate::joint_plan`]: tables, solver, padding, log.

use espalier_ir::{Diagnostics, Graph};
use espalier_target::Figures;

use crate::network_cost::NetworkCost;
use crate::solver::{lower_bound, solve};
use crate::tables::{Tables, Terms};
use crate::{
    Budgets, ChannelOptions, Decision, DependencyGroups, GroupPlan, ImportanceScores, JointDecision, JointOptions,
    JointPlan, PruningPlan, Resource, channel_plan,
};

/// `losses[g][n]`: what the objective loses with `n` channels; 0 for frozen groups.
pub(crate) fn losses(groups: &DependencyGroups, scores: &ImportanceScores, orders: &[Vec<usize>]) -> Vec<Vec<f64>> {
    let of_group = |g: usize| {
        let mut kept = vec![0.0];
        for channel in &orders[g] {
            let score = if groups.groups[g].frozen.is_some() { 0.0 } else { scores.scores[g][*channel] };
            kept.push(kept[kept.len() - 1] + score);
        }
        let total = kept[kept.len() - 1];
        let worth = |kept: f64| scores.normalization.worth(kept, total);
        kept.iter().map(|k| (worth(total) - worth(*k)).max(0.0)).collect()
    };
    (0..orders.len()).map(of_group).collect()
}

/// Figures that change with every channel.
const SMOOTH: [Resource; 3] = [Resource::EnergyNj, Resource::Macs, Resource::Parameters];

/// Channels of each group, tile level of each layer, bound of the loss.
type Found = (Vec<usize>, Vec<usize>, Option<f64>);

/// Everything that a joint plan is made from.
pub(crate) struct JointSearch<'a> {
    pub graph: &'a Graph,
    pub groups: &'a DependencyGroups,
    pub scores: &'a ImportanceScores,
    pub orders: &'a [Vec<usize>],
    pub terms: Terms<'a>,
    pub options: &'a JointOptions,
    pub cost: NetworkCost<'a>,
}

impl JointSearch<'_> {
    pub fn plan(&mut self) -> Result<JointPlan, Diagnostics> {
        let all: Vec<usize> = self.groups.groups.iter().map(|g| g.channels).collect();
        let none = vec![0; self.cost.network.layers.len()];
        let before = self.cost.exact(&all, &none).0;
        self.options.budgets.check_fixed(&before, self.cost.target, self.cost.config)?;
        if self.options.budgets.hold(&before) {
            return Ok(self.finish(&before, (all, none), Some(0.0)));
        }
        self.check_lanes(&before)?;
        // Where only steps are limited, few counts matter. If that solution holds the other budgets, it is the best;
        // if not, its bound is one still.
        let steps = self.options.budgets.without(&SMOOTH);
        let mut bound = f64::NEG_INFINITY;
        if !steps.limits.is_empty() && steps != self.options.budgets {
            let (counts, levels, stepwise) = self.solve(&steps, &before)?;
            let after = self.cost.exact(&counts, &levels).0;
            if self.options.budgets.hold(&after) {
                return Ok(self.finish(&before, (counts, levels), stepwise));
            }
            bound = stepwise.unwrap_or(bound);
        }
        let budgets = self.options.budgets.clone();
        let (counts, levels, own) = self.solve(&budgets, &before)?;
        let bound = own.map(|own| own.max(bound)).or((bound > f64::NEG_INFINITY).then_some(bound));
        Ok(self.finish(&before, (counts, levels), bound))
    }

    /// Counts, levels and bound under some of the budgets; with vectors never worse than without.
    fn solve(&mut self, budgets: &Budgets, before: &Figures) -> Result<Found, Diagnostics> {
        let joint = self.solve_tables(budgets, before);
        let Some(vectors) = self.terms.vectors.take() else { return joint };
        let alone = self.solve_tables(budgets, before);
        self.terms.vectors = Some(vectors);
        match (joint, alone) {
            (Ok(joint), Ok((counts, none, _))) if self.loss(&counts, &none) < self.loss(&joint.0, &joint.1) => {
                Ok((counts, none, joint.2))
            }
            (Err(_), Ok((counts, none, _))) => Ok((counts, none, None)),
            (joint, _) => joint,
        }
    }

    fn solve_tables(&mut self, budgets: &Budgets, before: &Figures) -> Result<Found, Diagnostics> {
        let all: Vec<usize> = self.groups.groups.iter().map(|g| g.channels).collect();
        let terms = Terms { budgets, ..self.terms };
        let mut tables = Tables::new(&self.cost, &all, &terms);
        let problem = tables.problem.clone();
        let solution = match solve(&problem, &mut |choice| tables.exact(choice), &self.options.solver) {
            Ok(solution) => solution,
            Err(short) => {
                let resource = tables.resource(short.resource);
                let (counts, levels) = tables.decode(&short.choice);
                let nearest = resource.of(&self.cost.exact(&counts, &levels).0);
                return Err(budgets.not_met(resource, nearest, short.others_hold, before).into());
            }
        };
        let (mut counts, mut levels) = tables.decode(&solution.choice);
        if !tables.bounds
            && let Some(other) = self.by_timeline(budgets)
        {
            let none = vec![0; levels.len()];
            if self.loss(&other, &none) < self.loss(&counts, &levels) {
                (counts, levels) = (other, none);
            }
        }
        let counts = self.pad(counts, &levels, budgets);
        let bound = tables.bounds.then(|| match &tables.relaxed {
            Some(relaxed) => lower_bound(relaxed, solution.loss, &self.options.solver),
            None => solution.bound,
        });
        Ok((counts, levels, bound))
    }

    /// Counts by the search on the exact timeline, which knows nothing but cycles, if they hold all budgets.
    fn by_timeline(&mut self, budgets: &Budgets) -> Option<Vec<usize>> {
        let limit = budgets.limits.get(&Resource::Cycles)?;
        let options = ChannelOptions { budget_cycles: *limit as u64, min_keep: self.options.min_keep };
        // It may find the budget out of reach where vectors help.
        let plan = channel_plan(self.graph, self.groups, self.scores, self.cost.config, &options).ok()?;
        let counts: Vec<usize> = plan.groups.iter().map(|g| g.kept.len()).collect();
        let figures = self.cost.exact(&counts, &vec![0; self.cost.network.layers.len()]).0;
        budgets.hold(&figures).then_some(counts)
    }

    /// Feature maps that do not fit however few channels stay.
    fn check_lanes(&mut self, before: &Figures) -> Result<(), Diagnostics> {
        let levels: Vec<usize> = (0..self.cost.network.layers.len())
            .map(|layer| self.terms.vectors.map_or(0, |v| v.levels(layer) - 1))
            .collect();
        let least = self.cost.exact(self.terms.minimum, &levels).0;
        for resource in [Resource::ActivationBytes, Resource::BlockRams] {
            let limit = self.options.budgets.limits.get(&resource);
            if limit.is_some_and(|limit| resource.of(&least) > *limit) {
                return Err(self.options.budgets.not_met(resource, resource.of(&least), true, before).into());
            }
        }
        Ok(())
    }

    /// Gives back single channels that the budgets have room for, at counts between the candidates.
    fn pad(&mut self, mut counts: Vec<usize>, levels: &[usize], budgets: &Budgets) -> Vec<usize> {
        for group in 0..counts.len() {
            while counts[group] < self.groups.groups[group].channels {
                let mut more = counts.clone();
                more[group] += 1;
                let no_worse = self.loss(&more, levels) <= self.loss(&counts, levels);
                if !no_worse || !budgets.hold(&self.cost.exact(&more, levels).0) {
                    break;
                }
                counts = more;
            }
        }
        counts
    }

    fn loss(&self, counts: &[usize], levels: &[usize]) -> f64 {
        let channels: f64 = self.terms.loss.iter().zip(counts).map(|(l, n)| l[*n]).sum();
        let vectors = self.terms.vectors.map_or(0.0, |v| {
            let layers = levels.iter().enumerate();
            layers.map(|(layer, level)| v.loss(layer, counts, self.cost.widths[layer].at(counts), *level)).sum()
        });
        channels + vectors
    }

    fn finish(&mut self, before: &Figures, kept: (Vec<usize>, Vec<usize>), bound: Option<f64>) -> JointPlan {
        let (counts, levels) = kept;
        let (after, tiles) = self.cost.exact(&counts, &levels);
        let loss = self.loss(&counts, &levels);
        let channels = self.channels(before, &counts);
        JointPlan {
            channels,
            tiles,
            budgets: self.options.budgets.clone(),
            before: *before,
            after,
            loss,
            // Padding may leave the counts that a bound with vectors speaks of.
            bound: bound.filter(|b| *b <= loss + 1e-9 * (1.0 + loss)).map(|b| b.min(loss)),
            decisions: self.log(before, &counts, &levels),
        }
    }

    fn channels(&mut self, before: &Figures, counts: &[usize]) -> PruningPlan {
        let none = vec![0; self.cost.network.layers.len()];
        let groups = self.groups.groups.iter().zip(self.orders).zip(counts).map(|((group, order), count)| {
            let mut kept = order[..*count].to_vec();
            kept.sort_unstable();
            GroupPlan { name: group.name.clone(), channels: group.channels, kept }
        });
        let groups: Vec<GroupPlan> = groups.collect();
        let open = |g: &usize| self.groups.groups[*g].frozen.is_none();
        let sum = |g: usize, kept: &[usize]| kept.iter().map(|c| self.scores.scores[g][*c]).sum::<f64>();
        let total: f64 = (0..counts.len()).filter(open).map(|g| sum(g, &self.orders[g])).sum();
        let part: f64 = (0..counts.len()).filter(open).map(|g| sum(g, &groups[g].kept)).sum();
        let cycles = self.cost.exact(counts, &none).0.cycles;
        let limit = self.options.budgets.limits.get(&Resource::Cycles);
        PruningPlan {
            groups,
            // Vectors may have to do the rest.
            budget_cycles: limit.map_or(before.cycles, |l| *l as u64).max(cycles),
            dense_cycles: before.cycles,
            cycles,
            importance_kept: if total > 0.0 { part / total } else { 1.0 },
            decisions: Vec::<Decision>::new(),
        }
    }

    /// All changes one after another, the least loss per saving (of the whole network alone) first.
    fn log(&mut self, before: &Figures, counts: &[usize], levels: &[usize]) -> Vec<JointDecision> {
        let all: Vec<usize> = self.groups.groups.iter().map(|g| g.channels).collect();
        let none = vec![0; levels.len()];
        let groups = (0..counts.len()).filter(|g| counts[*g] != all[*g]).map(|g| (false, g));
        let layers = (0..levels.len()).filter(|l| levels[*l] > 0).map(|l| (true, l));
        let mut changes: Vec<(bool, usize)> = groups.chain(layers).collect();
        let mut price = |change: &(bool, usize)| {
            let (mut n, mut t) = (all.clone(), none.clone());
            if change.0 {
                t[change.1] = levels[change.1]
            } else {
                n[change.1] = counts[change.1]
            }
            let figures = self.cost.exact(&n, &t).0;
            let saved = |r: &Resource| (r.of(before) - r.of(&figures)) / r.of(before).max(1e-12);
            let saved: f64 = self.options.budgets.limits.keys().map(saved).map(|s| s.max(0.0)).sum();
            self.loss(&n, &t) / saved.max(1e-12)
        };
        let mut priced: Vec<(f64, (bool, usize))> = changes.iter().map(|c| (price(c), *c)).collect();
        priced.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        changes = priced.into_iter().map(|(_, change)| change).collect();
        let (mut n, mut t) = (all, none);
        let mut decisions = Vec::new();
        for (tiles, index) in changes {
            let (loss, old) = (self.loss(&n, &t), self.cost.exact(&n, &t).1);
            if tiles {
                t[index] = levels[index]
            } else {
                n[index] = counts[index]
            }
            let (figures, new) = self.cost.exact(&n, &t);
            let sum = |tiles: &[Vec<u32>]| tiles[index].iter().map(|t| *t as usize).sum::<usize>();
            let (name, from, to) = if tiles {
                (self.cost.network.layers[index].name.clone(), sum(&old), sum(&new))
            } else {
                let group = &self.groups.groups[index];
                (group.name.clone(), group.channels, n[index])
            };
            decisions.push(JointDecision { name, tiles, from, to, loss: self.loss(&n, &t) - loss, figures });
        }
        decisions
    }
}
