//! The way from the unpruned network to its budgets.

use espalier_prune::{Budgets, Resource};
use espalier_target::Figures;
use schemars::JsonSchema;
use serde::Deserialize;

/// How much each round takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The same factor in every round.
    Geometric,
    /// The same amount in every round.
    Linear,
    /// Much at first, little at the end: `B + (dense - B) (1 - t/T)^3` (automated gradual pruning, Zhu and
    /// Gupta 2017, arXiv 1710.01878).
    Agp,
    /// Everything in the first round.
    OneShot,
}

/// Cycles of each round, as a share of those before, if there is no budget to reach.
const FREE_FACTOR: f64 = 0.8;

/// The budgets of every round on the way to `goal`, the last of which is `goal`. Resources that already hold
/// keep their limit.
pub fn path(schedule: Schedule, dense: &Figures, goal: &Budgets, rounds: usize) -> Vec<Budgets> {
    let rounds = if schedule == Schedule::OneShot { 1 } else { rounds };
    (1..=rounds)
        .map(|round| {
            let done = round as f64 / rounds as f64;
            let limits = goal.limits.iter().map(|(resource, limit)| {
                let from = resource.of(dense);
                let between = match schedule {
                    _ if from <= *limit || round == rounds => *limit,
                    Schedule::Geometric => from * (limit / from).powf(done),
                    Schedule::Linear => from + (limit - from) * done,
                    Schedule::Agp | Schedule::OneShot => limit + (from - limit) * (1.0 - done).powi(3),
                };
                (*resource, between)
            });
            Budgets { limits: limits.collect() }
        })
        .collect()
}

/// Budgets halfway, as factors, from what a network takes to `goal`.
pub fn halfway(accepted: &Figures, goal: &Budgets) -> Budgets {
    let middle = |(resource, limit): (&Resource, &f64)| {
        let from = resource.of(accepted);
        (*resource, if from > *limit { (from * limit).sqrt() } else { *limit })
    };
    Budgets { limits: goal.limits.iter().map(middle).collect() }
}

/// The next budget on the way to as few cycles as the accuracy allows.
pub fn fewer_cycles(accepted: &Figures) -> Budgets {
    Budgets::new().with(Resource::Cycles, accepted.cycles as f64 * FREE_FACTOR)
}

#[cfg(test)]
mod tests {
    use espalier_target::{AcceleratorConfig, builtin_target};

    use super::*;

    fn dense() -> Figures {
        let graph = fully_connected();
        let target = &builtin_target("ecp5-25f").unwrap();
        let config = AcceleratorConfig::new(8, 8, 4096, 256);
        let model = espalier_target::CostModel::new(&graph, &config).unwrap();
        espalier_target::figures(model.network(), model.dense_tiles(), target, &config)
    }

    fn fully_connected() -> espalier_ir::Graph {
        let mut graph = espalier_ir::Graph::new("fc");
        let x = graph.add_input("x", &[64]).unwrap();
        let weight = graph.add_param("w", espalier_ir::Tensor::f32([64, 64], vec![1.0; 4096]));
        let y = graph.add("fc", espalier_ir::Op::Gemm { weight, bias: None }, &[x]).unwrap();
        graph.add_output(y);
        graph
    }

    #[test]
    fn every_schedule_ends_at_the_goal_and_never_rises() {
        let dense = dense();
        let goal = Budgets::new()
            .with(Resource::Cycles, dense.cycles as f64 / 4.0)
            .with(Resource::Macs, 2.0 * dense.macs as f64);
        for schedule in [Schedule::Geometric, Schedule::Linear, Schedule::Agp, Schedule::OneShot] {
            let path = path(schedule, &dense, &goal, 4);
            assert_eq!(path.last(), Some(&goal));
            assert_eq!(path.len(), if schedule == Schedule::OneShot { 1 } else { 4 });
            let cycles: Vec<f64> = path.iter().map(|b| b.limits[&Resource::Cycles]).collect();
            assert!(cycles[0] < dense.cycles as f64 && cycles.windows(2).all(|w| w[1] < w[0]), "{schedule:?}");
            assert!(path.iter().all(|b| b.limits[&Resource::Macs] == 2.0 * dense.macs as f64));
        }
        let share = |schedule| path(schedule, &dense, &goal, 2)[0].limits[&Resource::Cycles] / dense.cycles as f64;
        assert!((share(Schedule::Geometric) - 0.5).abs() < 1e-9);
        assert!((share(Schedule::Linear) - 0.625).abs() < 1e-9);
        assert!((share(Schedule::Agp) - (0.25 + 0.75 / 8.0)).abs() < 1e-9);
    }

    #[test]
    fn halfway_is_the_geometric_mean_of_what_must_shrink() {
        let dense = dense();
        let goal = Budgets::new().with(Resource::Cycles, dense.cycles as f64 / 4.0).with(Resource::Macs, 1e12);
        let middle = halfway(&dense, &goal);
        assert!((middle.limits[&Resource::Cycles] - dense.cycles as f64 / 2.0).abs() < 1e-6);
        assert_eq!(middle.limits[&Resource::Macs], 1e12);
    }
}
