//! Channel plans: within the budget by the target's own count, and close to the optimum.

use espalier_ir::{Graph, Op};
use espalier_prune::{
    ChannelOptions, Criterion, DependencyGroups, Evidence, ImportanceScores, Normalization, PruningPlan, apply,
    channel_plan, dense_cycles, dependency_groups, importance, minimum_channel_cycles,
};
use espalier_target::AcceleratorConfig;

use crate::nets::{Dice, Net, random_graph, resnet};

fn scores(graph: &Graph, groups: &DependencyGroups, criterion: Criterion) -> ImportanceScores {
    importance(graph, groups, criterion, Normalization::Sum, &Evidence::NONE).unwrap()
}

fn options(budget_cycles: u64) -> ChannelOptions {
    ChannelOptions { budget_cycles, min_keep: 0.0 }
}

#[test]
fn plans_on_random_networks_respect_the_budget_as_the_target_counts_it() {
    let config = AcceleratorConfig::new(4, 4, 8192, 64);
    let mut pruned = 0;
    for seed in 0..60 {
        let graph = random_graph(seed);
        let groups = dependency_groups(&graph).unwrap();
        let scores = scores(&graph, &groups, Criterion::L2);
        let dense = dense_cycles(&graph, &config).unwrap();
        let floor = minimum_channel_cycles(&graph, &groups, &scores, &config, 0.0).unwrap();
        for quarter in 0..=4 {
            let budget = floor + (dense - floor) * quarter / 4;
            let plan = channel_plan(&graph, &groups, &scores, &config, &options(budget)).unwrap();
            let small = apply(&graph, &plan).unwrap();
            assert_eq!(plan.cycles, dense_cycles(&small, &config).unwrap(), "seed {seed} quarter {quarter}");
            assert!(plan.cycles <= budget, "seed {seed}: {} of {budget}", plan.cycles);
            assert!((0.0..=1.0 + 1e-9).contains(&plan.importance_kept));
            pruned += plan.removed();
            if quarter == 4 {
                assert_eq!(plan.removed(), 0, "seed {seed}: nothing has to go");
            }
        }
    }
    assert!(pruned > 500, "only {pruned} channels were removed");
}

/// Best importance within the budget over all numbers of channels, by exhaustive search.
fn exhaustive(
    graph: &Graph,
    groups: &DependencyGroups,
    scores: &ImportanceScores,
    config: &AcceleratorConfig,
    worth: &dyn Fn(f64) -> f64,
) -> Vec<(u64, f64)> {
    let open: Vec<usize> = groups.prunable().map(|(i, _)| i).collect();
    let mut points = Vec::new();
    let mut counts: Vec<usize> = open.iter().map(|_| 1).collect();
    loop {
        let mut plan = PruningPlan::keep_all(groups, 0);
        let mut kept = 0.0;
        for (group, count) in open.iter().zip(&counts) {
            let mut order: Vec<usize> = (0..groups.groups[*group].channels).collect();
            order.sort_by(|a, b| scores.scores[*group][*b].total_cmp(&scores.scores[*group][*a]));
            order.truncate(*count);
            kept += worth(order.iter().map(|c| scores.scores[*group][*c]).sum::<f64>());
            order.sort_unstable();
            plan.groups[*group].kept = order;
        }
        points.push((dense_cycles(&apply(graph, &plan).unwrap(), config).unwrap(), kept));
        let Some(next) = (0..counts.len()).find(|i| counts[*i] < groups.groups[open[*i]].channels) else {
            return points;
        };
        counts[..next].fill(1);
        counts[next] += 1;
    }
}

pub fn tiny(seed: u64) -> Graph {
    let mut dice = Dice::new(seed);
    let (mut net, x) = Net::new(seed, &[1, 6, 6]);
    let mut x = net.conv(x, 5 + dice.below(5), 3, 1, 1);
    x = net.relu(x);
    let inner = net.conv(x, 4 + dice.below(7), 3, 1, 1);
    let inner = net.relu(inner);
    let channels = net.channels(x);
    if dice.below(2) == 0 {
        let back = net.conv(inner, channels, 3, 1, 1);
        x = net.op("add", Op::Add, &[back, x]);
    } else {
        x = net.conv(inner, 6 + dice.below(4), 1, 2, 1);
    }
    x = net.pool(x, 2, 2);
    x = net.op("flat", Op::Flatten, &[x]);
    x = net.gemm(x, 3);
    net.finish(x)
}

#[test]
fn the_search_is_within_a_few_percent_of_the_optimum() {
    // The sum of what the groups keep, and the product of their shares.
    near_optimum(Normalization::Sum, &|kept| kept, &|value| value);
    near_optimum(Normalization::Share, &|kept| (kept + 1e-3).ln(), &f64::exp);
}

fn near_optimum(normalization: Normalization, worth: &dyn Fn(f64) -> f64, scale: &dyn Fn(f64) -> f64) {
    let config = AcceleratorConfig::new(4, 4, 4096, 64);
    let (mut worst, mut sum, mut count) = (1.0f64, 0.0, 0);
    for seed in 0..24 {
        let graph = tiny(seed);
        let groups = dependency_groups(&graph).unwrap();
        let scores = importance(&graph, &groups, Criterion::L1, normalization, &Evidence::NONE).unwrap();
        let points = exhaustive(&graph, &groups, &scores, &config, worth);
        let (low, high) = points.iter().fold((u64::MAX, 0), |(l, h), p| (l.min(p.0), h.max(p.0)));
        assert_eq!(minimum_channel_cycles(&graph, &groups, &scores, &config, 0.0).unwrap(), low, "seed {seed}");
        for step in 0..8 {
            let budget = low + (high - low) * step / 8;
            let within = points.iter().filter(|p| p.0 <= budget);
            let optimum = within.map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
            let plan = channel_plan(&graph, &groups, &scores, &config, &options(budget)).unwrap();
            assert!(plan.cycles <= budget);
            let kept = |g: usize| worth(plan.groups[g].kept.iter().map(|c| scores.scores[g][*c]).sum());
            let found: f64 = groups.prunable().map(|(g, _)| kept(g)).sum();
            let ratio = scale(found) / scale(optimum);
            assert!(ratio < 1.0 + 1e-9, "seed {seed}: better than exhaustive search");
            worst = worst.min(ratio);
            sum += ratio;
            count += 1;
        }
    }
    let mean = sum / f64::from(count);
    println!("channels, {normalization:?}, of the optimum: worst {worst:.4}, mean {mean:.4}");
    assert!(worst > 0.95 && mean > 0.995, "worst {worst}, mean {mean}");
}

#[test]
fn impossible_budgets_name_the_nearest_feasible_one() {
    let graph = resnet(3, 1, 8, 16);
    let config = AcceleratorConfig::new(8, 8, 4096, 128);
    let groups = dependency_groups(&graph).unwrap();
    let scores = scores(&graph, &groups, Criterion::L1);
    for min_keep in [0.0, 0.5, 1.0] {
        let floor = minimum_channel_cycles(&graph, &groups, &scores, &config, min_keep).unwrap();
        let at = |budget_cycles| {
            channel_plan(&graph, &groups, &scores, &config, &ChannelOptions { budget_cycles, min_keep })
        };
        let findings = at(floor - 1).unwrap_err();
        let finding = findings.iter().next().unwrap();
        assert_eq!(finding.code, "budget-not-met");
        assert!(finding.message.contains(&format!("is {floor} cycles")), "{finding}");
        let plan = at(floor).unwrap();
        assert!(plan.cycles <= floor);
        let small = plan.groups.iter().find(|g| (g.kept.len() as f64) < g.channels as f64 * min_keep);
        assert_eq!(small, None);
    }
}

#[test]
fn no_channel_goes_that_saves_nothing() {
    // 16 channels on an 8x8 array: 9 cost as much as 16.
    let graph = resnet(4, 1, 16, 16);
    let config = AcceleratorConfig::new(8, 8, 8192, 256);
    let groups = dependency_groups(&graph).unwrap();
    let scores = scores(&graph, &groups, Criterion::L2);
    let dense = dense_cycles(&graph, &config).unwrap();
    let plan = channel_plan(&graph, &groups, &scores, &config, &options(dense * 3 / 5)).unwrap();
    for (index, group) in groups.prunable() {
        if plan.groups[index].kept.len() == group.channels {
            continue;
        }
        let mut more = plan.clone();
        let missing = (0..group.channels).find(|c| !plan.groups[index].kept.contains(c)).unwrap();
        more.groups[index].kept.push(missing);
        more.groups[index].kept.sort_unstable();
        let cycles = dense_cycles(&apply(&graph, &more).unwrap(), &config).unwrap();
        assert!(cycles > plan.budget_cycles, "group '{}' could keep one more", group.name);
    }
    // The log leads from the whole network to the plan.
    let last = plan.decisions.last().unwrap();
    assert_eq!(last.cycles, plan.cycles);
    for group in &plan.groups {
        let mut at = group.channels;
        for decision in plan.decisions.iter().filter(|d| d.group == group.name) {
            assert_eq!(decision.from, at);
            at = decision.to;
        }
        assert_eq!(at, group.kept.len(), "group '{}'", group.name);
    }
}

#[test]
fn the_same_input_gives_the_same_plan() {
    let graph = resnet(5, 1, 8, 16);
    let config = AcceleratorConfig::new(4, 8, 8192, 256);
    let groups = dependency_groups(&graph).unwrap();
    let scores = scores(&graph, &groups, Criterion::Random { seed: 3 });
    let budget = dense_cycles(&graph, &config).unwrap() / 2;
    let plan = || channel_plan(&graph, &groups, &scores, &config, &options(budget)).unwrap();
    assert_eq!(plan(), plan());
    let mut foreign = scores.clone();
    foreign.scores[1][0] = f64::NAN;
    let findings = channel_plan(&graph, &groups, &foreign, &config, &options(budget)).unwrap_err();
    assert_eq!(findings.iter().next().unwrap().code, "scores-mismatch");
}
