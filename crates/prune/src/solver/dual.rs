//! The Lagrangian dual: prices of the resources that give the best lower bound.
//!
//! For prices `l >= 0` of budgets (loss per whole budget), `D(l) = min over choices of loss + sum l_r
//! (cost_r / B_r - 1)` is at most the optimum, because the sum is at most 0 within the budgets
//! (Everett 1963, Fisher 1981). `D` is concave. With one budget its maximum is found exactly, from
//! the intersection of two lines at a time; with several one price after another in
//! that way, and by subgradient steps of Polyak's length from zero.

use super::eliminate::Elimination;
use super::problem::Tables;

/// Additions that all steps together may take, and the bounds of their number.
const WORK: usize = 120_000_000;
const STEPS: std::ops::RangeInclusive<usize> = 30..=300;
/// Steps for one price at a time.
const ALONE: usize = 8;
/// Steps without improvement after which the step length is halved.
const PATIENCE: usize = 8;

/// The best bound found, and the choices met on the way.
pub(super) struct Dual {
    /// Weights of loss and costs at the best bound.
    pub weights: Vec<f64>,
    /// Sum of the prices, to be taken off the weighted minimum.
    pub price: f64,
    pub bound: f64,
    /// Minimizers, each once, in the order in which they were met.
    pub choices: Vec<Vec<usize>>,
}

struct Point {
    prices: Vec<f64>,
    value: f64,
    /// Costs as fractions of the budgets.
    use_: Vec<f64>,
}

struct Search<'a> {
    tables: &'a Tables,
    elimination: &'a Elimination,
    choices: Vec<Vec<usize>>,
    best: Option<(f64, Vec<f64>)>,
}

/// Maximizes the dual; `upper` is the loss of some choice within the budgets, or a guess.
pub(super) fn maximize(tables: &Tables, elimination: &Elimination, upper: f64) -> Dual {
    let mut search = Search { tables, elimination, choices: Vec::new(), best: None };
    let steps = (WORK / elimination.work.max(1)).clamp(*STEPS.start(), *STEPS.end());
    match tables.budgets.len() {
        0 => drop(search.ask(Vec::new())),
        1 => search.lines(0, &[0.0], steps),
        _ => {
            search.each(ALONE);
            search.subgradient(upper, steps);
            search.each(ALONE);
        }
    }
    let (bound, prices) = search.best.take().unwrap_or((f64::NEG_INFINITY, vec![0.0; tables.budgets.len()]));
    Dual { weights: search.weights(&prices), price: prices.iter().sum(), bound, choices: search.choices }
}

impl Search<'_> {
    fn weights(&self, prices: &[f64]) -> Vec<f64> {
        std::iter::once(1.0).chain(prices.iter().zip(&self.tables.budgets).map(|(p, b)| p / b)).collect()
    }

    fn ask(&mut self, prices: Vec<f64>) -> Point {
        let minimum = self.elimination.minimize(self.tables, &self.weights(&prices));
        let value = minimum.value - prices.iter().sum::<f64>();
        if self.best.as_ref().is_none_or(|(best, _)| value > *best) {
            self.best = Some((value, prices.clone()));
        }
        let choice = self.elimination.decode(&minimum, &self.tables.sizes);
        let row = self.tables.evaluate(&choice);
        if !self.choices.contains(&choice) {
            self.choices.push(choice);
        }
        let use_ = row[1..].iter().zip(&self.tables.budgets).map(|(c, b)| c / b).collect();
        Point { prices, value, use_ }
    }

    /// Best price of one budget, the others given: each choice is a line over that price; the two that bracket the
    /// maximum meet at the next one, until no line lies below their meeting point.
    fn lines(&mut self, budget: usize, from: &[f64], steps: usize) {
        let mut at = |price: f64| {
            let mut prices = from.to_vec();
            prices[budget] = price;
            let point = self.ask(prices);
            let slope = point.use_[budget] - 1.0;
            (price, point.value, slope)
        };
        let mut low = at(0.0);
        if low.2 <= 0.0 {
            return;
        }
        let mut high = at(1.0 + 2.0 * low.1.abs());
        for _ in 0..60 {
            if high.2 <= 0.0 {
                break;
            }
            low = high;
            high = at(high.0 * 4.0);
        }
        for _ in 0..steps {
            let slope = low.2 - high.2;
            if slope <= 0.0 || high.2 > 0.0 {
                return;
            }
            // Both lines at the price where they meet.
            let price = (high.1 - high.0 * high.2 - low.1 + low.0 * low.2) / slope;
            let meeting = low.1 + (price - low.0) * low.2;
            let point = at(price.max(0.0));
            if point.1 >= meeting - 1e-12 * meeting.abs() {
                return;
            }
            if point.2 > 0.0 { low = point } else { high = point }
        }
    }

    /// Prices at the best bound so far.
    fn best_prices(&self) -> Vec<f64> {
        let none = vec![0.0; self.tables.budgets.len()];
        self.best.as_ref().map_or(none, |(_, prices)| prices.clone())
    }

    /// One price after another, each from the best so far.
    fn each(&mut self, steps: usize) {
        for budget in 0..self.tables.budgets.len() {
            self.lines(budget, &self.best_prices(), steps);
        }
    }

    /// Several budgets: steps along the excess, as long as the distance to `upper` suggests (Polyak 1969).
    fn subgradient(&mut self, upper: f64, steps: usize) {
        let mut point = self.ask(vec![0.0; self.tables.budgets.len()]);
        if point.use_.iter().all(|u| *u <= 1.0) {
            return;
        }
        let (mut length, mut since) = (1.0, 0);
        for _ in 0..steps {
            let prices = &point.prices;
            // A price of 0 cannot fall.
            let excess: Vec<f64> =
                point.use_.iter().zip(prices).map(|(u, p)| if *u < 1.0 && *p == 0.0 { 0.0 } else { u - 1.0 }).collect();
            let square: f64 = excess.iter().map(|e| e * e).sum();
            let best = self.best.as_ref().map_or(point.value, |(value, _)| *value);
            let distance = upper - point.value;
            if square == 0.0 || upper - best <= 1e-9 * upper.abs() || length < 1e-4 {
                return;
            }
            let next = prices.iter().zip(&excess).map(|(p, e)| (p + length * distance * e / square).max(0.0));
            let next = next.collect();
            point = self.ask(next);
            since += 1;
            if point.value > best + 1e-7 * best.abs() {
                since = 0;
            } else if since >= PATIENCE {
                (length, since) = (length / 2.0, 0);
                point = self.ask(self.best_prices());
            }
        }
    }
}
