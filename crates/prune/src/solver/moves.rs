//! Descend, refill and local search on the tables.

use super::problem::{Row, Tables};

/// Rounds of local search; it ends earlier if nothing improves.
const ROUNDS: usize = 12;
/// How far one variable is moved in an exchange, in candidates.
const REACH: [usize; 6] = [1, 2, 3, 4, 8, 16];

/// Up to this many candidates all are looked at in every move.
const ALL: usize = 24;
/// Of more, those at these distances, and the ends.
const NEAR: [usize; 11] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48];

/// A choice with its loss and costs.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub choice: Vec<usize>,
    pub row: Row,
}

/// Moves within given budgets (those of the problem, less what the tables do not show).
pub(super) struct Moves<'a> {
    pub tables: &'a Tables,
    pub budgets: Vec<f64>,
}

impl Moves<'_> {
    pub fn state(&self, choice: Vec<usize>) -> State {
        State { row: self.tables.evaluate(&choice), choice }
    }

    pub fn within(&self, state: &State) -> bool {
        self.tables.within(&state.row, &self.budgets)
    }

    /// Loss and costs with another candidate for one variable.
    fn moved(&self, state: &State, variable: usize, candidate: usize) -> Row {
        let mut row = state.row;
        let current = state.choice[variable];
        for (table, stride) in &self.tables.touching[variable] {
            let entry = self.tables.entry(*table, &state.choice);
            self.tables.add(&mut row, *table, entry, -1.0);
            self.tables.add(&mut row, *table, entry + candidate * stride - current * stride, 1.0);
        }
        row
    }

    pub fn set(&self, state: &State, variable: usize, candidate: usize) -> State {
        let mut choice = state.choice.clone();
        choice[variable] = candidate;
        self.state(choice)
    }

    /// By how much the budgets are exceeded, as a sum of fractions.
    fn excess(&self, row: &Row) -> f64 {
        row[1..].iter().zip(&self.budgets).map(|(c, b)| (c - b).max(0.0) / b.abs().max(1e-12)).sum()
    }

    /// Other candidates of a variable: all of a few, else near ones and ever fewer farther away.
    fn others(&self, state: &State, variable: usize) -> impl Iterator<Item = usize> + use<> {
        let (current, size) = (state.choice[variable], self.tables.sizes[variable]);
        let near = move |c: usize| NEAR.contains(&c.abs_diff(current)) || c == 0 || c + 1 == size;
        (0..size).filter(move |c| *c != current && (size <= ALL || near(*c)))
    }

    /// Moves variables, least loss per excess removed first, until the budgets hold. All candidates
    /// are looked at: on a staircase the next one alone often saves nothing. `None` if stuck.
    pub fn descend(&self, mut state: State, held: Option<usize>) -> Option<State> {
        while !self.within(&state) {
            let excess = self.excess(&state.row);
            let mut best: Option<(f64, usize, usize)> = None;
            for variable in (0..state.choice.len()).filter(|v| Some(*v) != held) {
                for candidate in self.others(&state, variable) {
                    let row = self.moved(&state, variable, candidate);
                    let removed = excess - self.excess(&row);
                    let price = (row[0] - state.row[0]) / removed;
                    if removed > 1e-12 && price.is_finite() && best.is_none_or(|(p, ..)| price < p) {
                        best = Some((price, variable, candidate));
                    }
                }
            }
            let (_, variable, candidate) = best?;
            state = self.set(&state, variable, candidate);
        }
        Some(state)
    }

    /// The single move within the budgets that gains most per slack used.
    pub fn best_gain(&self, state: &State, skip: &dyn Fn(usize, usize) -> bool) -> Option<(usize, usize)> {
        let slack: Row = std::array::from_fn(|i| match i {
            0 => 1.0,
            _ => self.budgets.get(i - 1).map_or(1.0, |b| (b - state.row[i]).max(1e-12)),
        });
        let mut best: Option<(f64, usize, usize)> = None;
        for variable in 0..state.choice.len() {
            for candidate in self.others(state, variable).filter(|c| !skip(variable, *c)) {
                let row = self.moved(state, variable, candidate);
                let gain = state.row[0] - row[0];
                if gain <= 1e-12 * state.row[0].abs() || !self.tables.within(&row, &self.budgets) {
                    continue;
                }
                let used = |i: usize| (row[i] - state.row[i]).max(0.0) / slack[i];
                let value = gain / (1e-9 + (1..self.tables.width).map(used).sum::<f64>());
                if best.is_none_or(|(v, ..)| value > v) {
                    best = Some((value, variable, candidate));
                }
            }
        }
        best.map(|(_, variable, candidate)| (variable, candidate))
    }

    /// Takes the best gains while the budgets hold.
    pub fn refill(&self, mut state: State, held: Option<usize>) -> State {
        while let Some((variable, candidate)) = self.best_gain(&state, &|v, _| Some(v) == held) {
            state = self.set(&state, variable, candidate);
        }
        state
    }

    /// Local search: lowers one variable and refills the others, or raises one and descends with the
    /// others; keeps what is better.
    pub fn improve(&self, mut best: State) -> State {
        for _ in 0..ROUNDS {
            let before = best.row[0];
            for variable in 0..best.choice.len() {
                let current = best.choice[variable];
                let down = REACH.iter().filter_map(|r| current.checked_sub(*r));
                let up = REACH.iter().map(|r| current + r).filter(|c| *c < self.tables.sizes[variable]);
                for candidate in down.chain(up).collect::<Vec<_>>() {
                    let start = self.set(&best, variable, candidate);
                    let Some(start) = self.descend(start, Some(variable)) else { continue };
                    let filled = self.refill(start, Some(variable));
                    if filled.row[0] < best.row[0] - 1e-9 * best.row[0].abs() {
                        best = filled;
                        break;
                    }
                }
            }
            if best.row[0] >= before - 1e-9 * before.abs() {
                break;
            }
        }
        best
    }
}
