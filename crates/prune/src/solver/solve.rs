//! All layers of the solver together.

use super::branch::Branch;
use super::dual::{Dual, maximize};
use super::eliminate::{Elimination, TABLE_LIMIT};
use super::moves::{Moves, State};
use super::problem::{Problem, Tables};

/// Starts that get a local search.
const STARTS: usize = 6;
/// Rounds in which the budgets of the tables are tightened by what the true costs add.
const CORRECTIONS: usize = 8;
/// Single moves that are tried with true costs at the end.
const POLISH: usize = 400;
/// Questions for true costs in branch and bound.
const QUESTIONS: usize = 2_000;

/// How long and how thoroughly to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolverOptions {
    /// Start from the iterates of the dual; else from the true-cost greedy alone.
    pub dual: bool,
    /// Give back what still fits.
    pub refill: bool,
    /// Local search.
    pub local: bool,
    /// Nodes of branch and bound at the end; 0 = none. It proves optimality where it finishes.
    pub nodes: usize,
    /// Most entries of a joint table in variable elimination; beyond, bounds stay valid but are weaker.
    pub table_limit: usize,
}

impl Default for SolverOptions {
    fn default() -> Self {
        SolverOptions { dual: true, refill: true, local: true, nodes: 300_000, table_limit: TABLE_LIMIT }
    }
}

/// Which start led to the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The true-cost greedy from the largest candidates.
    Greedy,
    /// A minimizer of the dual.
    Dual,
    /// Branch and bound.
    Branch,
}

/// A choice within all budgets.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// The candidate of each variable.
    pub choice: Vec<usize>,
    /// Its loss.
    pub loss: f64,
    /// Its true costs.
    pub costs: Vec<f64>,
    /// No choice within the budgets loses less than this.
    pub bound: f64,
    /// The bound of the Lagrangian dual alone, before branch and bound.
    pub dual_bound: f64,
    /// Which start led here.
    pub start: Start,
}

impl Solution {
    /// `(loss - bound) / loss`: how much less might be lost at most; 0 = proven optimal.
    pub fn gap(&self) -> f64 {
        if self.loss <= self.bound { 0.0 } else { (self.loss - self.bound) / self.loss }
    }
}

/// Budgets that cannot be met, or that no plan was found for.
#[derive(Debug, Clone, PartialEq)]
pub struct Infeasible {
    /// The resource that is short: a position in [`Problem::budgets`].
    pub resource: usize,
    /// The least of it with which a choice was found.
    pub nearest: f64,
    /// Whether all other budgets hold there; else only those listed before.
    pub others_hold: bool,
    /// The choice; empty if none was found even without the other budgets.
    pub choice: Vec<usize>,
}

/// Solves a problem. `exact` gives the true costs of a choice, at least those of the tables: the
/// tables then make the bound, while every accepted choice holds the budgets by its true costs.
///
/// # Errors
/// [`Infeasible`] if no choice within the budgets was found.
pub fn solve(
    problem: &Problem,
    exact: &mut dyn FnMut(&[usize]) -> Vec<f64>,
    options: &SolverOptions,
) -> Result<Solution, Infeasible> {
    search(problem, exact, options).ok_or_else(|| nearest(problem, exact, options))
}

/// A lower bound of the loss of every choice within the budgets, from the dual alone; `upper` is a loss near it.
pub(crate) fn lower_bound(problem: &Problem, upper: f64, options: &SolverOptions) -> f64 {
    let tables = Tables::new(problem);
    let elimination = Elimination::new(&tables, options.table_limit);
    maximize(&tables, &elimination, upper).bound
}

fn search(problem: &Problem, exact: &mut dyn FnMut(&[usize]) -> Vec<f64>, options: &SolverOptions) -> Option<Solution> {
    let tables = Tables::new(problem);
    let elimination = Elimination::new(&tables, options.table_limit);
    let alone = |r: usize| {
        let weights: Vec<f64> = (0..tables.width).map(|i| f64::from(u8::from(i == r + 1))).collect();
        elimination.minimize(&tables, &weights)
    };
    let minima: Vec<_> = (0..problem.budgets.len()).map(alone).collect();
    if minima.iter().zip(&problem.budgets).any(|(m, b)| m.value > b + 1e-9 * b.abs()) {
        return None;
    }
    let mut run = Run { problem, tables: &tables, exact, options, best: None };
    let largest = tables.sizes.iter().map(|s| s - 1).collect();
    run.from(largest, Start::Greedy);
    let guess = run.best.as_ref().map_or_else(|| worst_loss(problem), |(s, _)| s.row[0]);
    let dual = maximize(&tables, &elimination, guess);
    if options.dual || run.best.is_none() {
        let cheapest = minima.iter().map(|m| elimination.decode(m, &tables.sizes));
        for choice in run.promising(&dual).into_iter().chain(cheapest) {
            run.from(choice, Start::Dual);
        }
    }
    if run.best.is_none() {
        run.from(vec![0; tables.sizes.len()], Start::Greedy);
    }
    let mut open = dual.bound;
    if options.nodes > 0 {
        open = run.branch(&elimination, &dual, minima);
    }
    let (state, start) = run.best.take()?;
    let costs = (run.exact)(&state.choice);
    let loss = state.row[0];
    // Rounding must not put a bound above a loss.
    let bound = open.max(dual.bound).min(loss);
    Some(Solution { choice: state.choice, loss, costs, bound, dual_bound: dual.bound.min(loss), start })
}

fn worst_loss(problem: &Problem) -> f64 {
    let most = |losses: &Vec<f64>| losses.iter().copied().filter(|l| l.is_finite()).fold(0.0, f64::max);
    problem.losses.iter().map(most).sum::<f64>() + problem.factors.iter().map(|f| most(&f.loss)).sum::<f64>()
}

struct Run<'a> {
    problem: &'a Problem,
    tables: &'a Tables,
    exact: &'a mut dyn FnMut(&[usize]) -> Vec<f64>,
    options: &'a SolverOptions,
    best: Option<(State, Start)>,
}

impl Run<'_> {
    /// The dual's choices that are best after a refill.
    fn promising(&self, dual: &Dual) -> Vec<Vec<usize>> {
        let moves = Moves { tables: self.tables, budgets: self.problem.budgets.clone() };
        let refilled = |choice: &Vec<usize>| {
            let state = moves.refill(moves.descend(moves.state(choice.clone()), None)?, None);
            Some((state.row[0], choice.clone()))
        };
        let mut ranked: Vec<(f64, Vec<usize>)> = dual.choices.iter().filter_map(refilled).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        ranked.dedup_by(|a, b| a.0 == b.0);
        ranked.truncate(STARTS);
        ranked.into_iter().map(|(_, choice)| choice).collect()
    }

    /// Descends, refills and improves from a choice; keeps the result if it is the best so far.
    fn from(&mut self, choice: Vec<usize>, start: Start) {
        let mut short = vec![0.0; self.problem.budgets.len()];
        for _ in 0..CORRECTIONS {
            let budgets = self.problem.budgets.iter().zip(&short).map(|(b, s)| b - s).collect();
            let moves = Moves { tables: self.tables, budgets };
            let Some(mut state) = moves.descend(moves.state(choice.clone()), None) else { break };
            if self.options.refill {
                state = moves.refill(state, None);
            }
            if self.options.local {
                state = moves.improve(state);
            }
            let costs = (self.exact)(&state.choice);
            if costs.iter().zip(&self.problem.budgets).all(|(c, b)| c <= b) {
                return self.keep(state, start);
            }
            for (r, short) in short.iter_mut().enumerate() {
                *short = short.max(costs[r] - state.row[1 + r]);
            }
        }
        // The tables show too little of the costs to steer by: true costs alone.
        let state = State { row: self.tables.evaluate(&choice), choice };
        let finite = state.row[0] < f64::INFINITY;
        if finite && (self.exact)(&state.choice).iter().zip(&self.problem.budgets).all(|(c, b)| c <= b) {
            self.keep(state, start);
        }
    }

    /// Fills a choice within the budgets up; keeps it if it is the best so far.
    fn keep(&mut self, state: State, start: Start) {
        let state = if self.options.refill { self.polish(state) } else { state };
        if self.best.as_ref().is_none_or(|(best, _)| state.row[0] < best.row[0] - 1e-12 * best.row[0].abs()) {
            self.best = Some((state, start));
        }
    }

    /// Gains that the tightened budgets forbade but true costs allow.
    fn polish(&mut self, mut state: State) -> State {
        let moves = Moves { tables: self.tables, budgets: self.problem.budgets.clone() };
        let mut refused: Vec<(usize, usize)> = Vec::new();
        for _ in 0..POLISH {
            let skip = |v, c| refused.contains(&(v, c));
            let Some((variable, candidate)) = moves.best_gain(&state, &skip) else { break };
            let next = moves.set(&state, variable, candidate);
            let costs = (self.exact)(&next.choice);
            if costs.iter().zip(&self.problem.budgets).all(|(c, b)| c <= b) {
                state = next;
            } else {
                refused.push((variable, candidate));
            }
        }
        state
    }

    /// Branch and bound; returns a bound of the optimum.
    fn branch(&mut self, elimination: &Elimination, dual: &Dual, alone: Vec<super::eliminate::Minimum>) -> f64 {
        let mut minima = vec![elimination.minimize(self.tables, &dual.weights)];
        minima.extend(alone);
        let budgets = &self.problem.budgets;
        let exact = &mut self.exact;
        let mut holds = |choice: &[usize]| exact(choice).iter().zip(budgets).all(|(c, b)| c <= b);
        let mut branch = Branch {
            tables: self.tables,
            elimination,
            minima,
            price: dual.price,
            holds: &mut holds,
            best: self.best.as_ref().map_or(f64::INFINITY, |(s, _)| s.row[0]),
            choice: None,
            nodes: self.options.nodes,
            questions: QUESTIONS,
            open: f64::INFINITY,
        };
        branch.run();
        let open = branch.open.min(branch.best);
        if let Some(choice) = branch.choice {
            self.best = Some((State { row: self.tables.evaluate(&choice), choice }, Start::Branch));
        }
        open
    }
}

/// Which resource is short, and how near one can come: the least of it while the others hold. Where no single budget
/// is to blame, budgets are taken one after another until the next cannot be met beside those before.
fn nearest(problem: &Problem, exact: &mut dyn FnMut(&[usize]) -> Vec<f64>, options: &SolverOptions) -> Infeasible {
    let budgets = &problem.budgets;
    let mut least = |resource: usize, kept: &dyn Fn(usize) -> bool, others_hold: bool| {
        let relaxed = minimizing(problem, resource, kept);
        let mut costs_of = |choice: &[usize]| -> Vec<f64> {
            let costs = exact(choice);
            (0..costs.len()).filter(|r| kept(*r)).map(|r| costs[r]).collect()
        };
        let choice = search(&relaxed, &mut costs_of, options)?.choice;
        let nearest = exact(&choice)[resource];
        Some(Infeasible { resource, nearest, others_hold, choice })
    };
    let relative = |short: &Infeasible| short.nearest / budgets[short.resource].abs().max(1e-12);
    let short = |found: &Infeasible| found.nearest > budgets[found.resource];
    let alone = (0..budgets.len()).filter_map(|r| least(r, &|other| other != r, true)).filter(short);
    if let Some(found) = alone.min_by(|a, b| relative(a).total_cmp(&relative(b))) {
        return found;
    }
    let before = (0..budgets.len()).filter_map(|r| least(r, &|other| other < r, false)).find(short);
    let nothing = Infeasible { resource: 0, nearest: f64::INFINITY, others_hold: false, choice: Vec::new() };
    before.unwrap_or(nothing)
}

/// The problem whose loss is the cost of one resource, with some of the other budgets.
fn minimizing(problem: &Problem, resource: usize, kept: &dyn Fn(usize) -> bool) -> Problem {
    let others: Vec<usize> = (0..problem.budgets.len()).filter(|r| *r != resource && kept(*r)).collect();
    let factor = |f: &super::Factor| super::Factor {
        scope: f.scope.clone(),
        loss: (0..f.costs[resource].len())
            .map(|e| if f.loss.get(e) == Some(&f64::INFINITY) { f64::INFINITY } else { f.costs[resource][e] })
            .collect(),
        costs: others.iter().map(|r| f.costs[*r].clone()).collect(),
    };
    Problem {
        losses: problem.losses.iter().map(|l| vec![0.0; l.len()]).collect(),
        factors: problem.factors.iter().map(factor).collect(),
        budgets: others.iter().map(|r| problem.budgets[*r]).collect(),
    }
}
