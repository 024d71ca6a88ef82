//! Exact minimization of a weighted sum of all tables by variable elimination.
//!
//! Variables go one after another (min-fill order); eliminating one replaces all tables that contain
//! it by one message, the minimum over its candidates. Where the joint table of a message would
//! exceed a limit, the tables are divided among several messages, each minimized on its own: the sum
//! of minima is at most the minimum of the sum, so the result stays a lower bound ("mini-buckets",
//! Dechter and Rish 2003, doi 10.1145/636865.636866).

use std::collections::BTreeSet;

use super::problem::Tables;

/// Most entries of the joint table of one message.
pub(super) const TABLE_LIMIT: usize = 1 << 21;

/// Where a summand of a message comes from.
#[derive(Clone, Copy)]
enum Source {
    Table(usize),
    Message(usize),
}

/// A summand and the variables that it depends on.
type Scoped = (Source, Vec<usize>);

/// A summand with its strides: one for each outer variable, then that of the eliminated one.
struct Input {
    source: Source,
    outer: Vec<usize>,
    own: usize,
}

/// The minimum over one variable of a sum of tables, for every choice of the outer variables.
struct Message {
    outer: Vec<usize>,
    /// Of each outer variable in the message, row-major.
    strides: Vec<usize>,
    inputs: Vec<Input>,
}

/// One variable with the messages that eliminate it.
struct Bucket {
    variable: usize,
    messages: std::ops::Range<usize>,
}

/// How to eliminate all variables, for any weights.
pub(super) struct Elimination {
    buckets: Vec<Bucket>,
    messages: Vec<Message>,
    /// No bucket had to be divided: minima are exact.
    pub exact: bool,
    /// Additions of one minimization.
    pub work: usize,
}

/// The messages of one minimization.
pub(super) struct Minimum {
    tables: Vec<Vec<f64>>,
    messages: Vec<Vec<f64>>,
    /// The minimum, or a lower bound.
    pub value: f64,
}

impl Elimination {
    pub fn new(tables: &Tables, limit: usize) -> Self {
        let order = min_fill(tables);
        let mut pending: Vec<Scoped> =
            (0..tables.tables.len()).map(|t| (Source::Table(t), tables.tables[t].scope.clone())).collect();
        let mut plan = Elimination { buckets: Vec::new(), messages: Vec::new(), exact: true, work: 0 };
        for variable in order {
            let (mut inputs, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(_, s)| s.contains(&variable));
            pending = rest;
            inputs.sort_by_key(|(_, scope)| std::cmp::Reverse(scope.len()));
            let first = plan.messages.len();
            for (scope, inputs) in divide(tables, inputs, limit) {
                let outer: Vec<usize> = scope.into_iter().filter(|v| *v != variable).collect();
                let strided = |(source, scope): Scoped| {
                    let steps = strides(&scope, &tables.sizes);
                    let of = |v: &usize| scope.iter().position(|s| s == v).map_or(0, |i| steps[i]);
                    Input { source, outer: outer.iter().map(of).collect(), own: of(&variable) }
                };
                let inputs: Vec<Input> = inputs.into_iter().map(strided).collect();
                let entries: usize = outer.iter().map(|v| tables.sizes[*v]).product();
                plan.work += entries * tables.sizes[variable] * inputs.len();
                pending.push((Source::Message(plan.messages.len()), outer.clone()));
                plan.messages.push(Message { strides: strides(&outer, &tables.sizes), outer, inputs });
            }
            plan.exact &= plan.messages.len() <= first + 1;
            plan.buckets.push(Bucket { variable, messages: first..plan.messages.len() });
        }
        plan
    }

    /// Minimizes `weights[0] * loss + sum weights[1 + r] * cost r`; the loss weight 0 still forbids.
    pub fn minimize(&self, tables: &Tables, weights: &[f64]) -> Minimum {
        let weigh = |row: &[f64]| {
            if row[0] == f64::INFINITY {
                return f64::INFINITY;
            }
            row.iter().zip(weights).map(|(v, w)| v * w).sum()
        };
        let weighted = tables.tables.iter().map(|t| t.rows.chunks(tables.width).map(weigh).collect()).collect();
        let mut minimum = Minimum { tables: weighted, messages: Vec::with_capacity(self.messages.len()), value: 0.0 };
        for bucket in &self.buckets {
            for message in &self.messages[bucket.messages.clone()] {
                let computed = minimum.message(message, tables.sizes[bucket.variable], &tables.sizes);
                if message.outer.is_empty() {
                    minimum.value += computed[0];
                }
                minimum.messages.push(computed);
            }
        }
        minimum
    }

    /// Variables in the order in which a choice is built: reverse elimination.
    pub fn variables(&self) -> impl Iterator<Item = usize> {
        self.buckets.iter().rev().map(|b| b.variable)
    }

    /// What each candidate of the variable at `depth` adds to the bound of the choice so far (all
    /// variables before it in [`Elimination::variables`] are chosen).
    pub fn increments(&self, minimum: &Minimum, depth: usize, choice: &[usize], out: &mut [f64]) {
        let bucket = &self.buckets[self.buckets.len() - 1 - depth];
        out.fill(0.0);
        for index in bucket.messages.clone() {
            let message = &self.messages[index];
            let entry: usize = message.outer.iter().zip(&message.strides).map(|(v, s)| choice[*v] * s).sum();
            let before = minimum.messages[index][entry];
            for input in &message.inputs {
                let table = minimum.source(input.source);
                let base: usize = message.outer.iter().zip(&input.outer).map(|(v, s)| choice[*v] * s).sum();
                out.iter_mut().enumerate().for_each(|(c, sum)| *sum += table[base + c * input.own]);
            }
            if before.is_finite() {
                out.iter_mut().for_each(|sum| *sum -= before);
            }
        }
    }

    /// The choice with the minimum (with divided buckets: a good one).
    pub fn decode(&self, minimum: &Minimum, sizes: &[usize]) -> Vec<usize> {
        let mut choice = vec![0; sizes.len()];
        let mut values = Vec::new();
        for (depth, variable) in self.variables().enumerate() {
            values.resize(sizes[variable], 0.0);
            self.increments(minimum, depth, &choice, &mut values);
            let best = (0..values.len()).min_by(|a, b| values[*a].total_cmp(&values[*b]).then(b.cmp(a)));
            choice[variable] = best.unwrap_or(0);
        }
        choice
    }
}

impl Minimum {
    fn source(&self, source: Source) -> &[f64] {
        match source {
            Source::Table(t) => &self.tables[t],
            Source::Message(m) => &self.messages[m],
        }
    }

    fn message(&self, message: &Message, candidates: usize, sizes: &[usize]) -> Vec<f64> {
        let entries: usize = message.outer.iter().map(|v| sizes[*v]).product();
        let mut result = Vec::with_capacity(entries);
        let mut at = vec![0usize; message.outer.len()];
        let mut sums = vec![0.0; candidates];
        for _ in 0..entries {
            sums.fill(0.0);
            for input in &message.inputs {
                let table = self.source(input.source);
                let base: usize = at.iter().zip(&input.outer).map(|(a, s)| a * s).sum();
                sums.iter_mut().enumerate().for_each(|(c, sum)| *sum += table[base + c * input.own]);
            }
            result.push(sums.iter().copied().fold(f64::INFINITY, f64::min));
            for (position, variable) in message.outer.iter().enumerate().rev() {
                at[position] += 1;
                if at[position] < sizes[*variable] {
                    break;
                }
                at[position] = 0;
            }
        }
        result
    }
}

fn strides(scope: &[usize], sizes: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; scope.len()];
    for i in (1..strides.len()).rev() {
        strides[i - 1] = strides[i] * sizes[scope[i]];
    }
    strides
}

/// Divides the inputs of a bucket so that no joint table exceeds the limit (one input alone may).
fn divide(tables: &Tables, inputs: Vec<Scoped>, limit: usize) -> Vec<(BTreeSet<usize>, Vec<Scoped>)> {
    let mut parts: Vec<(BTreeSet<usize>, Vec<Scoped>)> = Vec::new();
    for (source, scope) in inputs {
        let joined = |part: &BTreeSet<usize>| -> BTreeSet<usize> { part.iter().chain(&scope).copied().collect() };
        let fits = |part: &BTreeSet<usize>| {
            let union = joined(part);
            let entries = union.iter().try_fold(1usize, |n, v| n.checked_mul(tables.sizes[*v]));
            union.len() == part.len() || entries.is_some_and(|n| n <= limit)
        };
        match parts.iter().position(|(part, _)| fits(part)) {
            Some(i) => {
                parts[i].0 = joined(&parts[i].0);
                parts[i].1.push((source, scope));
            }
            None => parts.push((scope.iter().copied().collect(), vec![(source, scope)])),
        }
    }
    parts
}

/// Elimination order: always the variable that adds fewest edges (ties: the smallest joint table).
fn min_fill(tables: &Tables) -> Vec<usize> {
    let count = tables.sizes.len();
    let mut neighbours: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    for table in &tables.tables {
        for a in &table.scope {
            neighbours[*a].extend(table.scope.iter().filter(|b| *b != a));
        }
    }
    let mut left: BTreeSet<usize> = (0..count).collect();
    let mut order = Vec::with_capacity(count);
    while !left.is_empty() {
        let key = |v: &usize| {
            let around: Vec<usize> = neighbours[*v].iter().copied().collect();
            let pairs = around.iter().enumerate().flat_map(|(i, a)| around[i + 1..].iter().map(move |b| (a, b)));
            let fill = pairs.filter(|(a, b)| !neighbours[**a].contains(b)).count();
            let size: f64 = around.iter().chain([v]).map(|u| (tables.sizes[*u] as f64).ln()).sum();
            (fill, (size * 1e6) as u64, *v)
        };
        let next = left.iter().copied().min_by_key(key).expect("some variable is left");
        left.remove(&next);
        let around = std::mem::take(&mut neighbours[next]);
        for a in &around {
            neighbours[*a].remove(&next);
            neighbours[*a].extend(around.iter().filter(|b| *b != a));
        }
        order.push(next);
    }
    order
}
