//! The search behind [`crate::channel_plan`]: descend, refill, improve locally.

use espalier_ir::Diagnostics;

use crate::cost::ChannelCost;
use crate::{Decision, DependencyGroups, ImportanceScores};

/// Rounds of local search; it ends earlier if nothing improves.
const LOCAL_ROUNDS: usize = 16;
/// How many cheaper steps of one group the local search tries.
const LOCAL_STEPS: usize = 4;
/// Pairs of groups are lowered together only in networks with at most this many prunable groups.
const PAIR_GROUPS: usize = 8;
/// Below this many channels every count is priced when steps are sought, above by bisection.
const SCANNED: usize = 32;

/// Kept channels of each group, and what the network then costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub counts: Vec<usize>,
    pub cycles: u64,
}

/// A network with a choice of channel counts.
pub(crate) struct Search<'a> {
    /// Channels of each group in the order in which they are kept.
    pub orders: Vec<Vec<usize>>,
    /// `prefix[g][n]`: importance of the first `n` channels; 0 for frozen groups.
    prefix: Vec<Vec<f64>>,
    /// `worth[g][n]`: what they add to the objective.
    worth: Vec<Vec<f64>>,
    /// Counts worth considering, descending from all channels.
    candidates: Vec<Vec<usize>>,
    /// Groups with a choice.
    open: Vec<usize>,
    cost: ChannelCost<'a>,
    full: State,
    floor: State,
}

/// Receives decisions: the search, the state before and after, and the group that changed.
type Log<'l> = &'l mut dyn FnMut(&Search, &State, &State, usize);

impl<'a> Search<'a> {
    /// `minimum[g]` channels of each group stay in any case.
    pub fn new(
        groups: &DependencyGroups,
        orders: Vec<Vec<usize>>,
        scores: &ImportanceScores,
        minimum: &[usize],
        mut cost: ChannelCost<'a>,
    ) -> Result<Self, Diagnostics> {
        let all: Vec<usize> = groups.groups.iter().map(|g| g.channels).collect();
        let prefix = orders.iter().zip(&scores.scores).zip(&groups.groups).map(|((order, scores), group)| {
            let mut sums = vec![0.0];
            let worth = if group.frozen.is_some() { 0.0 } else { 1.0 };
            order.iter().for_each(|c| sums.push(sums[sums.len() - 1] + worth * scores[*c]));
            sums
        });
        let prefix: Vec<Vec<f64>> = prefix.collect();
        let worth = |sums: &Vec<f64>| {
            let total = sums[sums.len() - 1];
            sums.iter().map(|kept| scores.normalization.worth(*kept, total)).collect()
        };
        let worth = prefix.iter().map(worth).collect();
        let full = State { cycles: cost.cycles(&all)?, counts: all };
        let mut search =
            Search { orders, prefix, worth, candidates: Vec::new(), open: Vec::new(), cost, floor: full.clone(), full };
        let full = search.full.counts.clone();
        for (group, least) in minimum.iter().enumerate() {
            let mut counts = search.steps(group, &full, *least)?;
            counts.extend(search.steps(group, minimum, *least)?);
            search.candidates.push(counts);
        }
        search.find_floor(minimum)?;
        for group in 0..minimum.len() {
            let counts = &mut search.candidates[group];
            counts.push(search.floor.counts[group]);
            counts.sort_unstable_by(|a, b| b.cmp(a));
            counts.dedup();
            if counts.len() > 1 {
                search.open.push(group);
            }
        }
        Ok(search)
    }

    /// The cheapest state. Fewest channels are not always cheapest (narrow tensors are stored in
    /// several copies, which take time to write), so the groups are tried in turn until none helps.
    fn find_floor(&mut self, minimum: &[usize]) -> Result<(), Diagnostics> {
        let last = self.candidates.iter().map(|c| *c.iter().min().expect("all channels are a candidate")).collect();
        for start in [minimum.to_vec(), last] {
            let mut best = self.state(start)?;
            let mut before = u64::MAX;
            while best.cycles < before {
                before = best.cycles;
                for (group, least) in minimum.iter().enumerate() {
                    let few = *least..=self.full.counts[group].min(least + SCANNED);
                    for count in few.chain(self.candidates[group].clone()) {
                        let next = self.with(&best, group, count)?;
                        let better = next.cycles.cmp(&best.cycles).then(best.counts[group].cmp(&count)).is_lt();
                        if better {
                            best = next;
                        }
                    }
                }
            }
            if best.cycles < self.floor.cycles {
                self.floor = best;
            }
        }
        Ok(())
    }

    /// The largest count of each equal-cost step of one group, the others at `around`; descending
    /// from all channels.
    fn steps(&mut self, group: usize, around: &[usize], minimum: usize) -> Result<Vec<usize>, Diagnostics> {
        let all = self.full.counts[group];
        let mut counts = around.to_vec();
        let mut priced: Vec<(usize, u64)> = Vec::new();
        let scanned = all.min(SCANNED.max(minimum));
        for n in (minimum..=scanned).chain((scanned < all).then_some(all)) {
            counts[group] = n;
            priced.push((n, self.cost.cycles(&counts)?));
        }
        if let [.., low, high] = priced[..]
            && scanned < all
        {
            priced.pop();
            self.bisect(&mut counts, group, low, high, &mut priced)?;
            priced.push(high);
        }
        let mut least = u64::MAX;
        let mut steps = Vec::new();
        for (n, cycles) in priced.into_iter().rev() {
            if cycles < least {
                steps.push(n);
                least = cycles;
            }
        }
        Ok(steps)
    }

    /// Prices counts between two priced ones, ascending, wherever the cost differs.
    fn bisect(
        &mut self,
        counts: &mut Vec<usize>,
        group: usize,
        low: (usize, u64),
        high: (usize, u64),
        priced: &mut Vec<(usize, u64)>,
    ) -> Result<(), Diagnostics> {
        if high.0 - low.0 < 2 || low.1 == high.1 {
            return Ok(());
        }
        counts[group] = usize::midpoint(low.0, high.0);
        let middle = (counts[group], self.cost.cycles(counts)?);
        self.bisect(counts, group, low, middle, priced)?;
        priced.push(middle);
        self.bisect(counts, group, middle, high, priced)
    }

    /// Everything kept.
    pub fn full(&self) -> &State {
        &self.full
    }

    /// The cheapest state found.
    pub fn floor(&self) -> &State {
        &self.floor
    }

    /// Importance of the kept channels.
    pub fn importance(&self, counts: &[usize]) -> f64 {
        self.prefix.iter().zip(counts).map(|(p, n)| p[*n]).sum()
    }

    /// What the search maximizes.
    fn objective(&self, state: &State) -> f64 {
        self.worth.iter().zip(&state.counts).map(|(w, n)| w[*n]).sum()
    }

    /// Log entry for a change of one group.
    pub fn decision(&self, groups: &DependencyGroups, from: &State, to: &State, group: usize) -> Decision {
        Decision {
            group: groups.groups[group].name.clone(),
            from: from.counts[group],
            to: to.counts[group],
            cycles: to.cycles,
            importance_lost: self.prefix[group][from.counts[group]] - self.prefix[group][to.counts[group]],
        }
    }

    fn state(&mut self, counts: Vec<usize>) -> Result<State, Diagnostics> {
        Ok(State { cycles: self.cost.cycles(&counts)?, counts })
    }

    fn with(&mut self, state: &State, group: usize, count: usize) -> Result<State, Diagnostics> {
        let mut counts = state.counts.clone();
        counts[group] = count;
        self.state(counts)
    }

    /// The best state found within the budget, which [`Search::floor`] must satisfy.
    pub fn run(&mut self, budget: u64, log: Log) -> Result<State, Diagnostics> {
        let mut path = vec![self.full.clone()];
        self.descend(budget, &mut path)?;
        let from_above = self.improve(path[path.len() - 1].clone(), budget)?;
        let from_below = self.improve(self.floor.clone(), budget)?;
        let best = if self.objective(&from_below) > self.objective(&from_above) { from_below } else { from_above };
        self.report(path, &best, log)?;
        Ok(best)
    }

    /// Lowers groups, least importance per cycle saved first, until the budget holds.
    fn descend(&mut self, budget: u64, path: &mut Vec<State>) -> Result<(), Diagnostics> {
        loop {
            let state = path[path.len() - 1].clone();
            if state.cycles <= budget {
                return Ok(());
            }
            let excess = state.cycles - budget;
            let mut best: Option<(f64, State)> = None;
            for group in self.open.clone() {
                for count in self.lower(group, state.counts[group]) {
                    let next = self.with(&state, group, count)?;
                    let saved = state.cycles.saturating_sub(next.cycles).min(excess);
                    let lost = self.worth[group][state.counts[group]] - self.worth[group][count];
                    let price = lost / saved as f64;
                    if saved > 0 && best.as_ref().is_none_or(|(p, _)| price < *p) {
                        best = Some((price, next));
                    }
                }
            }
            // No single group saves anything alone only where two steps coincide: go to the floor,
            // from where the refill climbs back.
            path.push(match best {
                Some((_, next)) => next,
                None => self.floor.clone(),
            });
        }
    }

    fn lower(&self, group: usize, count: usize) -> Vec<usize> {
        self.candidates[group].iter().copied().filter(|n| *n < count).collect()
    }

    /// Refill, then local search around the result.
    fn improve(&mut self, start: State, budget: u64) -> Result<State, Diagnostics> {
        let mut best = self.refill(start, budget, None)?;
        for _ in 0..LOCAL_ROUNDS {
            let mut improved = self.exchange(&mut best, budget)?;
            if !improved && self.open.len() <= PAIR_GROUPS {
                improved = self.exchange_pairs(&mut best, budget)?;
            }
            if !improved {
                break;
            }
        }
        self.pad(best, budget)
    }

    /// Raises groups, most importance per cycle first, while the budget holds.
    fn refill(&mut self, mut state: State, budget: u64, held: Option<usize>) -> Result<State, Diagnostics> {
        loop {
            let mut best: Option<(f64, State)> = None;
            for group in self.open.clone() {
                if Some(group) == held {
                    continue;
                }
                let count = state.counts[group];
                for n in self.candidates[group].clone().into_iter().rev().filter(|n| *n > count) {
                    let next = self.with(&state, group, n)?;
                    if next.cycles > budget {
                        break;
                    }
                    let gained = self.worth[group][n] - self.worth[group][count];
                    let value = gained / next.cycles.saturating_sub(state.cycles).max(1) as f64;
                    if best.as_ref().is_none_or(|(v, _)| value > *v) {
                        best = Some((value, next));
                    }
                }
            }
            let Some((_, next)) = best else { return Ok(state) };
            state = next;
        }
    }

    /// Lowers one group and gives what that saves to the others; keeps the first gain of each group.
    fn exchange(&mut self, best: &mut State, budget: u64) -> Result<bool, Diagnostics> {
        let mut improved = false;
        for group in self.open.clone() {
            for count in self.lower(group, best.counts[group]).into_iter().take(LOCAL_STEPS) {
                let lowered = self.with(best, group, count)?;
                improved |= self.try_from(best, lowered, budget, Some(group))?;
            }
        }
        Ok(improved)
    }

    /// As [`Search::exchange`] with two groups lowered at once.
    fn exchange_pairs(&mut self, best: &mut State, budget: u64) -> Result<bool, Diagnostics> {
        let mut improved = false;
        for first in self.open.clone() {
            for second in self.open.clone().into_iter().filter(|s| *s > first) {
                for a in self.lower(first, best.counts[first]).into_iter().take(LOCAL_STEPS) {
                    for b in self.lower(second, best.counts[second]).into_iter().take(LOCAL_STEPS) {
                        let mut counts = best.counts.clone();
                        (counts[first], counts[second]) = (a.min(counts[first]), b.min(counts[second]));
                        let lowered = self.state(counts)?;
                        improved |= self.try_from(best, lowered, budget, None)?;
                    }
                }
            }
        }
        Ok(improved)
    }

    fn try_from(
        &mut self,
        best: &mut State,
        from: State,
        budget: u64,
        held: Option<usize>,
    ) -> Result<bool, Diagnostics> {
        if from.cycles > budget {
            return Ok(false);
        }
        let filled = self.refill(from, budget, held)?;
        let (new, old) = (self.objective(&filled), self.objective(best));
        let better = new > old + 1e-9 * old.abs();
        if better {
            *best = filled;
        }
        Ok(better)
    }

    /// Gives back single channels that cost nothing, at counts that the steps did not foresee.
    fn pad(&mut self, mut state: State, budget: u64) -> Result<State, Diagnostics> {
        for group in self.open.clone() {
            while state.counts[group] < self.full.counts[group] {
                let next = self.with(&state, group, state.counts[group] + 1)?;
                if next.cycles > budget {
                    break;
                }
                state = next;
            }
        }
        Ok(state)
    }

    /// Logs the descent, then what refill and local search changed, one group at a time.
    fn report(&mut self, path: Vec<State>, best: &State, log: Log) -> Result<(), Diagnostics> {
        let mut last = path[0].clone();
        for next in path.into_iter().skip(1).chain([best.clone()]) {
            for group in 0..next.counts.len() {
                if next.counts[group] != last.counts[group] {
                    let step = self.with(&last, group, next.counts[group])?;
                    log(self, &last, &step, group);
                    last = step;
                }
            }
        }
        Ok(())
    }
}
