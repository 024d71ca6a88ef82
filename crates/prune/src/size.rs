//! Channels under a budget of multiply-accumulates or parameters, for networks without an accelerator mapping.
//!
//! Both are sums over parameters, and over products of values, of `factor * product of kept extents`, so no target is
//! asked. They fall with every channel, without steps, so a greedy choice one channel at a time suffices.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, ParamId};
use serde::{Deserialize, Serialize};

use crate::channels::{keep_order, minimum_count};
use crate::{Decision, DependencyGroups, ImportanceScores, PruningPlan};

/// What a size is counted in, and how much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizeBudget {
    /// Multiply-accumulates for one sample, as [`Graph::macs`] counts them.
    Macs(u64),
    /// Trained values, as [`Graph::parameter_count`] counts them.
    Parameters(u64),
}

/// Limits of [`size_plan`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeOptions {
    /// Largest size of the network.
    pub budget: SizeBudget,
    /// Fraction of its channels that every group keeps at least, 0 to 1.
    pub min_keep: f64,
}

/// Channels that stay, and the size that this gives, in the unit of the budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizePlan {
    /// The channels, for [`crate::apply`]; all cycles in it are 0, because there is no target.
    pub plan: PruningPlan,
    /// Size before.
    pub dense: u64,
    /// Size after.
    pub size: u64,
}

/// Chooses the channels that stay: from all of them, the channel with the least importance lost per size saved goes
/// (of each group the least important one) until the budget holds; then what still fits comes back.
///
/// # Errors
/// `budget-not-met` with the smallest reachable size; `scores-mismatch` if the scores are not of these groups.
pub fn size_plan(
    graph: &Graph,
    groups: &DependencyGroups,
    scores: &ImportanceScores,
    options: &SizeOptions,
) -> Result<SizePlan, Diagnostics> {
    crate::importance::check_scores(groups, scores)?;
    let orders: Vec<Vec<usize>> = groups.groups.iter().zip(&scores.scores).map(|(g, s)| keep_order(g, s)).collect();
    let least: Vec<usize> =
        groups.groups.iter().zip(&scores.scores).map(|(g, s)| minimum_count(g, s, options.min_keep)).collect();
    let all: Vec<usize> = groups.groups.iter().map(|g| g.channels).collect();
    let (budget, unit, factors, products) = match options.budget {
        SizeBudget::Macs(budget) => (budget, "multiply-accumulates", mac_factors(graph), matrix_products(graph)),
        SizeBudget::Parameters(budget) => (budget, "parameters", trained(graph), BTreeMap::new()),
    };
    let mut size = Size::new(graph, groups, &orders, &factors);
    size.0.extend(products.into_iter().map(|(left, each)| (each, vec![Extent::of_value(groups, &orders, left)])));
    let floor = size.at(&least);
    if floor > budget {
        let message = format!("{budget} {unit} are allowed, but channel pruning reaches no less than {floor}");
        return Err(Diagnostic::error("budget-not-met", "pruning budget", message)
            .with_help(format!("allow at least {floor} of {} {unit}, or lower min_keep", size.at(&all)))
            .into());
    }
    let worth = Worth::new(groups, &orders, scores);
    let mut counts = all.clone();
    let mut now = size.at(&counts);
    while now > budget {
        let lower = (0..counts.len()).filter(|g| counts[*g] > least[*g]);
        let priced = lower.map(|g| {
            let next = size.with(&counts, g, counts[g] - 1);
            // At most what is missing counts as saved: the last channel need not be a large one.
            let saved = (now - next).min(now - budget) as f64;
            (g, next, worth.step(g, counts[g] - 1) / saved.max(1e-9))
        });
        let best = priced.min_by(|a, b| a.2.total_cmp(&b.2)).expect("the floor is within the budget");
        (counts[best.0], now) = (counts[best.0] - 1, best.1);
    }
    loop {
        let raised = (0..counts.len()).filter(|g| counts[*g] < all[*g]);
        let fitting = raised.map(|g| (g, size.with(&counts, g, counts[g] + 1))).filter(|(_, next)| *next <= budget);
        let best = fitting.max_by(|a, b| worth.step(a.0, counts[a.0]).total_cmp(&worth.step(b.0, counts[b.0])));
        let Some((group, next)) = best else { break };
        (counts[group], now) = (counts[group] + 1, next);
    }
    let mut plan = PruningPlan::keep_all(groups, 0);
    for (g, group) in plan.groups.iter_mut().enumerate().filter(|(g, _)| counts[*g] < all[*g]) {
        group.kept = orders[g][..counts[g]].to_vec();
        group.kept.sort_unstable();
        let importance_lost = worth.kept[g][all[g]] - worth.kept[g][counts[g]];
        let group = group.name.clone();
        plan.decisions.push(Decision { group, from: all[g], to: counts[g], cycles: 0, importance_lost });
    }
    let total = |counts: &[usize]| worth.kept.iter().zip(counts).map(|(kept, n)| kept[*n]).sum::<f64>();
    if total(&all) > 0.0 {
        plan.importance_kept = total(&counts) / total(&all);
    }
    Ok(SizePlan { plan, dense: size.at(&all), size: now })
}

/// How often each weight is multiplied for one sample.
fn mac_factors(graph: &Graph) -> BTreeMap<ParamId, u64> {
    let mut factors: BTreeMap<ParamId, u64> = BTreeMap::new();
    for id in graph.nodes() {
        let pixels = |shape: &[usize]| shape[1..].iter().product::<usize>() as u64;
        let node = graph.node(id);
        let (weights, times) = match &node.op {
            Op::Conv(conv) => (vec![conv.weight], pixels(&node.shape)),
            Op::ConvTranspose(conv) => (vec![conv.weight], pixels(&graph.node(graph.operands(id)[0]).shape)),
            Op::Gemm { weight, .. } => (vec![*weight], 1),
            Op::Recurrent(recurrent) => (vec![recurrent.weight, recurrent.recurrence], pixels(&node.shape)),
            _ => continue,
        };
        weights.into_iter().for_each(|w| *factors.entry(w).or_default() += times);
    }
    factors
}

/// Left operands of products of values, and multiply-accumulates for each of their channels.
fn matrix_products(graph: &Graph) -> BTreeMap<NodeId, u64> {
    let mut products: BTreeMap<NodeId, u64> = BTreeMap::new();
    for id in graph.nodes().into_iter().filter(|id| matches!(graph.node(*id).op, Op::MatMul { .. })) {
        let left = graph.operands(id)[0];
        *products.entry(left).or_default() += graph.node_macs(id) / graph.node(left).shape[0] as u64;
    }
    products
}

/// Every parameter but running statistics, once.
fn trained(graph: &Graph) -> BTreeMap<ParamId, u64> {
    let mut factors: BTreeMap<ParamId, u64> = graph.params().map(|(id, _, _)| (id, 1)).collect();
    for id in graph.nodes() {
        if let Op::BatchNorm { mean, variance, .. } = graph.node(id).op {
            factors.remove(&mean);
            factors.remove(&variance);
        }
    }
    factors
}

/// Indices of one axis that stay: some always, and for each group as many as its number of kept channels covers.
struct Extent {
    always: usize,
    /// Group, and the indices covered by its first `n` channels in the order of keeping, for each `n`.
    covered: Vec<(usize, Vec<usize>)>,
}

impl Extent {
    /// The channels of a value.
    fn of_value(groups: &DependencyGroups, orders: &[Vec<usize>], value: NodeId) -> Self {
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for c in groups.value_channels(value) {
            owned.entry(c.group).or_insert_with(|| vec![0; groups.groups[c.group].channels])[c.channel] += 1;
        }
        let covered = owned.into_iter().map(|(g, counts)| (g, running_sums(orders[g].iter().map(|c| counts[*c]))));
        Extent { always: 0, covered: covered.collect() }
    }
}

/// Sums of the first 0, 1, 2, ... numbers.
fn running_sums(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut sums = vec![0];
    numbers.for_each(|n| sums.push(sums[sums.len() - 1] + n));
    sums
}

/// The size as a function of the channels kept in each group.
struct Size(Vec<(u64, Vec<Extent>)>);

impl Size {
    fn new(graph: &Graph, groups: &DependencyGroups, orders: &[Vec<usize>], factors: &BTreeMap<ParamId, u64>) -> Self {
        let extent = |param: ParamId, axis: usize, whole: usize| {
            let members = groups.groups.iter().enumerate().flat_map(|(g, group)| {
                let of_axis = group.members.iter().filter(move |m| m.param == param && m.axis == axis);
                of_axis.map(move |m| (g, &m.positions))
            });
            let covered: Vec<(usize, Vec<usize>)> = members
                .map(|(g, positions)| (g, running_sums(orders[g].iter().map(|c| positions[*c].len()))))
                .collect();
            let indexed: usize = covered.iter().map(|(_, sums)| sums[sums.len() - 1]).sum();
            Extent { always: whole - indexed, covered }
        };
        let term = |(param, factor): (&ParamId, &u64)| {
            let shape = graph.param(*param).shape();
            (*factor, shape.iter().enumerate().map(|(axis, whole)| extent(*param, axis, *whole)).collect())
        };
        Size(factors.iter().map(term).collect())
    }

    fn at(&self, counts: &[usize]) -> u64 {
        let kept = |e: &Extent| e.always + e.covered.iter().map(|(g, sums)| sums[counts[*g]]).sum::<usize>();
        self.0.iter().map(|(factor, extents)| extents.iter().map(|e| kept(e) as u64).product::<u64>() * factor).sum()
    }

    fn with(&self, counts: &[usize], group: usize, count: usize) -> u64 {
        let mut counts = counts.to_vec();
        counts[group] = count;
        self.at(&counts)
    }
}

/// Importance of the channels kept, and what it is worth to the plan.
struct Worth {
    /// `kept[g][n]`: importance of the first `n` channels; 0 for frozen groups.
    kept: Vec<Vec<f64>>,
    worth: Vec<Vec<f64>>,
}

impl Worth {
    fn new(groups: &DependencyGroups, orders: &[Vec<usize>], scores: &ImportanceScores) -> Self {
        let sums = |g: usize| {
            let mut sums = vec![0.0];
            let open = if groups.groups[g].frozen.is_none() { 1.0 } else { 0.0 };
            orders[g].iter().for_each(|c| sums.push(sums[sums.len() - 1] + open * scores.scores[g][*c]));
            sums
        };
        let kept: Vec<Vec<f64>> = (0..orders.len()).map(sums).collect();
        let worth =
            |sums: &Vec<f64>| sums.iter().map(|kept| scores.normalization.worth(*kept, sums[sums.len() - 1])).collect();
        let worth = kept.iter().map(worth).collect();
        Worth { kept, worth }
    }

    /// What channel number `n + 1` of a group adds to the first `n`.
    fn step(&self, group: usize, n: usize) -> f64 {
        self.worth[group][n + 1] - self.worth[group][n]
    }
}
