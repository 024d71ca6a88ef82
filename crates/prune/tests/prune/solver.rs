//! The solver on problems as such: against exhaustive search, and its gap at the size of a network.

use espalier_prune::{Infeasible, Problem, Solution, SolverOptions, solve};

use crate::instances::{resnet20_like, tiny};

fn run(problem: &Problem, options: &SolverOptions) -> Result<Solution, Infeasible> {
    solve(problem, &mut |choice| problem.evaluate(choice).1, options)
}

fn within(costs: &[f64], budgets: &[f64]) -> bool {
    costs.iter().zip(budgets).all(|(c, b)| c <= b)
}

/// All choices with loss and costs.
fn all(problem: &Problem) -> Vec<(f64, Vec<f64>)> {
    let mut choice = vec![0; problem.losses.len()];
    let mut points = Vec::new();
    loop {
        points.push(problem.evaluate(&choice));
        let Some(next) = (0..choice.len()).find(|v| choice[*v] + 1 < problem.losses[*v].len()) else { return points };
        choice[..next].fill(0);
        choice[next] += 1;
    }
}

fn best(points: &[(f64, Vec<f64>)], budgets: &[f64]) -> Option<f64> {
    points.iter().filter(|(_, costs)| within(costs, budgets)).map(|(loss, _)| *loss).min_by(f64::total_cmp)
}

#[test]
fn small_problems_are_solved_exactly_and_bounds_hold() {
    let (mut solved, mut infeasible) = (0, 0);
    for seed in 0..900 {
        let problem = tiny(seed, 1 + seed as usize % 3);
        let points = all(&problem);
        let optimum = best(&points, &problem.budgets);
        match run(&problem, &SolverOptions::default()) {
            Ok(solution) => {
                let optimum = optimum.expect("the solver found a choice");
                let close = (solution.loss - optimum).abs() <= 1e-9 * (1.0 + optimum);
                assert!(close, "seed {seed}: {} instead of {optimum}", solution.loss);
                assert!(solution.dual_bound <= optimum + 1e-9 * (1.0 + optimum), "seed {seed}");
                assert!(solution.bound <= optimum + 1e-9 * (1.0 + optimum), "seed {seed}");
                assert!(solution.gap() <= 1e-9, "seed {seed}: small problems are proven");
                assert_eq!(problem.evaluate(&solution.choice).1, solution.costs);
                assert!(within(&solution.costs, &problem.budgets), "seed {seed}");
                solved += 1;
            }
            Err(short) => {
                assert_eq!(optimum, None, "seed {seed}: a choice exists");
                assert!(short.nearest > problem.budgets[short.resource], "seed {seed}");
                // The figure is reached, and no smaller one would do.
                let mut wider = problem.clone();
                wider.budgets[short.resource] = short.nearest;
                if short.others_hold {
                    assert!(run(&wider, &SolverOptions::default()).is_ok(), "seed {seed}");
                    wider.budgets[short.resource] = short.nearest - 1.0;
                }
                assert_eq!(best(&points, &wider.budgets), None, "seed {seed}");
                infeasible += 1;
            }
        }
    }
    println!("{solved} solved, {infeasible} infeasible");
    assert!(solved > 400 && infeasible > 50, "{solved} solved, {infeasible} infeasible");
}

#[test]
fn without_branch_and_bound_bounds_hold_and_small_tables_only_weaken_them() {
    for seed in 0..300 {
        let problem = tiny(seed, 1 + seed as usize % 3);
        let Some(optimum) = best(&all(&problem), &problem.budgets) else { continue };
        for table_limit in [1, 8, usize::MAX] {
            let options = SolverOptions { nodes: 0, table_limit, ..SolverOptions::default() };
            // A heuristic may miss the only choice.
            let Ok(solution) = run(&problem, &options) else { continue };
            assert!(solution.bound <= optimum + 1e-9 * (1.0 + optimum), "seed {seed} limit {table_limit}");
            assert!(solution.loss >= optimum - 1e-9 * (1.0 + optimum), "seed {seed}");
            assert!(within(&solution.costs, &problem.budgets), "seed {seed}");
        }
    }
}

#[test]
fn true_costs_above_those_of_the_tables_are_respected() {
    // What the tables do not show: a charge for every variable above its first candidate.
    let hidden = |problem: &Problem, choice: &[usize]| -> Vec<f64> {
        let above = choice.iter().filter(|c| **c > 0).count() as f64;
        problem.evaluate(choice).1.into_iter().map(|c| c + 3.0 * above).collect()
    };
    let mut solved = 0;
    for seed in 0..300 {
        let problem = tiny(seed, 1 + seed as usize % 3);
        let solution = solve(&problem, &mut |c| hidden(&problem, c), &SolverOptions::default());
        let mut optimum = f64::INFINITY;
        let mut choice = vec![0; problem.losses.len()];
        loop {
            if within(&hidden(&problem, &choice), &problem.budgets) {
                optimum = optimum.min(problem.evaluate(&choice).0);
            }
            let Some(next) = (0..choice.len()).find(|v| choice[*v] + 1 < problem.losses[*v].len()) else { break };
            choice[..next].fill(0);
            choice[next] += 1;
        }
        let Ok(solution) = solution else {
            assert_eq!(optimum, f64::INFINITY, "seed {seed}");
            continue;
        };
        assert!(within(&hidden(&problem, &solution.choice), &problem.budgets), "seed {seed}");
        assert!((solution.loss - optimum).abs() <= 1e-9 * (1.0 + optimum), "seed {seed}");
        assert!(solution.bound <= optimum + 1e-9 * (1.0 + optimum), "seed {seed}");
        solved += 1;
    }
    assert!(solved > 100, "only {solved} solved");
}

#[test]
fn the_gap_at_the_size_of_resnet20_is_small() {
    for (budgets, allowed) in [(1, 0.015), (3, 0.035)] {
        let (mut sum, mut worst, mut certified, mut count) = (0.0, 0.0f64, 0.0f64, 0);
        for seed in 0..60 {
            let problem = resnet20_like(seed, budgets);
            let solution = run(&problem, &SolverOptions::default());
            let Ok(solution) = solution else { panic!("seed {seed}: {solution:?}") };
            assert!(within(&solution.costs, &problem.budgets));
            // The gap to the dual, not to what branch and bound made of it.
            let gap = (solution.loss - solution.dual_bound) / solution.loss;
            assert!(gap >= -1e-9 && solution.gap() <= gap + 1e-9, "seed {seed}");
            sum += gap;
            worst = worst.max(gap);
            certified = certified.max(solution.gap());
            count += 1;
        }
        let mean = sum / f64::from(count);
        println!("{budgets} budgets: gap to the dual {mean:.4} mean, {worst:.4} worst; certified {certified:.4} worst");
        assert!(mean <= allowed, "{budgets} budgets: mean gap {mean}");
        assert!(certified <= 0.01, "{budgets} budgets: worst certified gap {certified}");
    }
}

#[test]
fn the_same_problem_gives_the_same_solution() {
    let problem = resnet20_like(5, 3);
    let solution = || run(&problem, &SolverOptions::default()).unwrap();
    assert_eq!(solution(), solution());
}
