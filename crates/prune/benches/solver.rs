//! Ways of choosing channels compared on random problems of the size of ResNet-20: excess loss over the best known,
//! share of optimal results, and time, for one and for three budgets.

use std::time::{Duration, Instant};

use espalier_prune::{Problem, SolverOptions, solve};

#[path = "../tests/prune/instances.rs"]
mod instances;
#[path = "../tests/prune/nets.rs"]
#[allow(dead_code, reason = "the generator of the tests")]
mod nets;

const INSTANCES: u64 = 150;
/// Steps from the full network to the budget in which the output-side attribution removes channels.
const STEPS: usize = 30;

/// Loss of a choice within the budgets, if one was found.
type Method = fn(&Problem) -> Option<f64>;

fn main() {
    let methods: [(&str, Method); 6] = [
        ("output-side attribution (as HALP), 30 steps", |p| output_side(p)),
        ("true-cost greedy", |p| run(p, false, false, false, 0)),
        ("true-cost greedy + refill", |p| run(p, false, true, false, 0)),
        ("true-cost greedy + refill + local", |p| run(p, false, true, true, 0)),
        ("dual and greedy + refill + local", |p| run(p, true, true, true, 0)),
        ("the same + branch and bound (default)", |p| run(p, true, true, true, SolverOptions::default().nodes)),
    ];
    for budgets in [1, 3] {
        let problems: Vec<Problem> = (0..INSTANCES).map(|seed| instances::resnet20_like(seed, budgets)).collect();
        let exhaustive = SolverOptions { nodes: 4_000_000, ..SolverOptions::default() };
        let best: Vec<(f64, f64, bool)> = problems
            .iter()
            .map(|p| solve(p, &mut |c| p.evaluate(c).1, &exhaustive).expect("feasible"))
            .map(|s| (s.loss, (s.loss - s.dual_bound) / s.loss, s.gap() < 1e-9))
            .collect();
        let dual = best.iter().map(|b| b.1).sum::<f64>() / best.len() as f64;
        let proven = best.iter().filter(|b| b.2).count();
        println!("{budgets} budget(s): {proven} of {INSTANCES} optima proven; dual bound {:.2} % below", 100.0 * dual);
        println!("| method | mean excess | worst | optimal | found | time |\n|---|---|---|---|---|---|");
        for (name, method) in methods {
            let (mut excess, mut time) = (Vec::new(), Duration::ZERO);
            for (problem, (best, ..)) in problems.iter().zip(&best) {
                let start = Instant::now();
                let loss = method(problem);
                time += start.elapsed();
                excess.extend(loss.map(|loss| (loss / best - 1.0).max(0.0)));
            }
            let mean = excess.iter().sum::<f64>() / excess.len() as f64;
            let worst = excess.iter().copied().fold(0.0, f64::max);
            let optimal = excess.iter().filter(|e| **e < 1e-9).count() as f64 / excess.len() as f64;
            println!(
                "| {name} | {:.2} % | {:.1} % | {:.0} % | {}/{INSTANCES} | {:.2} ms |",
                100.0 * mean,
                100.0 * worst,
                100.0 * optimal,
                excess.len(),
                time.as_secs_f64() * 1e3 / INSTANCES as f64
            );
        }
        println!();
    }
}

fn run(problem: &Problem, dual: bool, refill: bool, local: bool, nodes: usize) -> Option<f64> {
    let options = SolverOptions { dual, refill, local, nodes, ..SolverOptions::default() };
    solve(problem, &mut |choice| problem.evaluate(choice).1, &options).ok().map(|s| s.loss)
}

/// What a step in a group saves is counted only in the layers that write it, at their present input widths; in each of
/// several steps the cheapest choice by that count is made until the true costs hold the step's budgets.
fn output_side(problem: &Problem) -> Option<f64> {
    let mut choice: Vec<usize> = problem.losses.iter().map(|l| l.len() - 1).collect();
    let full = problem.evaluate(&choice).1;
    for step in 1..=STEPS {
        let part = step as f64 / STEPS as f64;
        let budgets: Vec<f64> =
            full.iter().zip(&problem.budgets).map(|(f, b)| f.powf(1.0 - part) * b.powf(part)).collect();
        loop {
            let costs = problem.evaluate(&choice).1;
            let excess: Vec<f64> = costs.iter().zip(&budgets).map(|(c, b)| (c - b).max(0.0) / b).collect();
            if excess.iter().all(|e| *e == 0.0) {
                break;
            }
            let saving = |v: usize| -> f64 {
                // The group that a layer writes is the last of its scope (the first one's input is fixed).
                let written = problem.factors.iter().filter(|f| f.scope.last() == Some(&v));
                let saved = |f: &espalier_prune::Factor| -> f64 {
                    let entry = |c: &[usize]| f.scope.iter().fold(0, |e, u| e * problem.losses[*u].len() + c[*u]);
                    let mut lower = choice.clone();
                    lower[v] -= 1;
                    let of = |r: usize| f.costs[r][entry(&choice)] - f.costs[r][entry(&lower)];
                    (0..budgets.len()).map(|r| (of(r) / budgets[r]).min(excess[r])).sum()
                };
                written.map(saved).sum()
            };
            let price = |v: &usize| (problem.losses[*v][choice[*v] - 1] - problem.losses[*v][choice[*v]]) / saving(*v);
            let open = (0..choice.len()).filter(|v| choice[*v] > 0 && saving(*v) > 0.0);
            let next = open.min_by(|a, b| price(a).total_cmp(&price(b)))?;
            choice[next] -= 1;
        }
    }
    Some(problem.evaluate(&choice).0)
}
