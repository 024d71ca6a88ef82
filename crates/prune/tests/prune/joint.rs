//! Plans under several budgets: exact figures, limits that hold, certificates, errors.

use std::collections::BTreeMap;

use espalier_ir::{Graph, Op};
use espalier_prune::{
    Budgets, Criterion, DependencyGroups, Evidence, ImportanceScores, JointOptions, JointPlan, Normalization,
    PruningPlan, Resource, apply, channel_plan, dependency_groups, importance, joint_plan, tile_masks,
    vector_importance,
};
use espalier_target::{AcceleratorConfig, CostModel, Figures, Target, builtin_target, figures};

use crate::nets::{Dice, Net, random_graph, resnet};
use crate::topologies::TOPOLOGIES;

const LIMITABLE: [Resource; 7] = [
    Resource::Cycles,
    Resource::EnergyNj,
    Resource::BlockRams,
    Resource::WeightBytes,
    Resource::ActivationBytes,
    Resource::Macs,
    Resource::Parameters,
];

fn target() -> Target {
    builtin_target("ecp5-85f").unwrap()
}

fn small() -> AcceleratorConfig {
    AcceleratorConfig {
        activation_tables: true,
        gates: true,
        depthwise_taps: 2,
        ..AcceleratorConfig::new(4, 4, 8192, 64)
    }
}

struct Case {
    graph: Graph,
    groups: DependencyGroups,
    scores: ImportanceScores,
}

impl Case {
    fn new(graph: Graph, normalization: Normalization) -> Self {
        let groups = dependency_groups(&graph).unwrap();
        let scores = importance(&graph, &groups, Criterion::L2, normalization, &Evidence::NONE).unwrap();
        Case { graph, groups, scores }
    }

    fn plan(&self, config: &AcceleratorConfig, budgets: Budgets, vectors: bool) -> Result<JointPlan, String> {
        let scores = vectors.then(|| {
            vector_importance(&self.graph, config, Criterion::L2, self.scores.normalization, &Evidence::NONE).unwrap()
        });
        let options = JointOptions::new(budgets);
        joint_plan(&self.graph, &self.groups, &self.scores, scores.as_ref(), &target(), config, &options)
            .map_err(|findings| findings.to_string())
    }
}

/// Figures by the target alone, of the graph that the plan leaves.
fn recount(graph: &Graph, plan: &JointPlan, config: &AcceleratorConfig) -> Figures {
    let smaller = apply(graph, &plan.channels).unwrap();
    let model = CostModel::new(&smaller, config).unwrap();
    let room = plan.tiles.iter().flatten().zip(model.dense_tiles().iter().flatten()).all(|(t, d)| (1..=*d).contains(t));
    assert!(room, "a block keeps more tiles than it has");
    figures(model.network(), &plan.tiles, &target(), config)
}

#[test]
fn any_budgets_hold_by_the_targets_own_count() {
    let (config, mut pruned, mut certified, mut infeasible) = (small(), 0, 0, 0);
    for seed in 0..120 {
        let mut dice = Dice::new(seed + 500);
        let normalization = if dice.below(2) == 0 { Normalization::Share } else { Normalization::Sum };
        let case = Case::new(random_graph(seed), normalization);
        let full = case.plan(&config, Budgets::new(), false).unwrap();
        assert_eq!((full.channels.removed(), full.gap(), full.after), (0, Some(0.0), full.before));
        let mut budgets = Budgets::new();
        for _ in 0..1 + dice.below(3) {
            let resource = LIMITABLE[dice.below(LIMITABLE.len())];
            let fraction = 0.45 + 0.5 * dice.below(100) as f64 / 100.0;
            budgets = budgets.with(resource, (resource.of(&full.before) * fraction).ceil());
        }
        let vectors = dice.below(3) == 0;
        let plan = match case.plan(&config, budgets.clone(), vectors) {
            Ok(plan) => plan,
            Err(message) => {
                assert!(message.contains("nearest feasible budget is"), "seed {seed}: {message}");
                assert!(!message.contains("is inf"), "seed {seed}: {message}");
                infeasible += 1;
                continue;
            }
        };
        assert!(budgets.hold(&plan.after), "seed {seed}: {:?} exceeds {budgets:?}", plan.after);
        let counted = recount(&case.graph, &plan, &config);
        assert!((counted.energy_nj - plan.after.energy_nj).abs() < 1e-6 * counted.energy_nj);
        assert_eq!(Figures { energy_nj: 0.0, ..counted }, Figures { energy_nj: 0.0, ..plan.after }, "seed {seed}");
        certified += usize::from(plan.gap().is_some_and(|gap| gap < 0.05));
        pruned += plan.channels.removed();
        // The log leads to the plan.
        assert_eq!(plan.decisions.last().map_or(plan.before, |d| d.figures), plan.after, "seed {seed}");
        let logged: f64 = plan.decisions.iter().map(|d| d.loss).sum();
        assert!((logged - plan.loss).abs() < 1e-9 * (1.0 + plan.loss), "seed {seed}");
        assert!(plan.summary().lines().count() >= 3);
    }
    println!("{pruned} channels, {certified} plans certified within 5 %, {infeasible} infeasible");
    assert!(pruned > 300 && certified > 50 && infeasible < 40, "{pruned} {certified} {infeasible}");
}

/// Loss and figures of every choice of channel counts.
fn exhaustive(case: &Case, config: &AcceleratorConfig) -> Vec<(f64, Figures)> {
    let open: Vec<usize> = case.groups.prunable().map(|(i, _)| i).collect();
    let order = |g: usize| {
        let mut order: Vec<usize> = (0..case.groups.groups[g].channels).collect();
        order.sort_by(|a, b| case.scores.scores[g][*b].total_cmp(&case.scores.scores[g][*a]).then(a.cmp(b)));
        order
    };
    let orders: BTreeMap<usize, Vec<usize>> = open.iter().map(|g| (*g, order(*g))).collect();
    let mut counts = vec![1; open.len()];
    let mut points = Vec::new();
    loop {
        let mut plan = PruningPlan::keep_all(&case.groups, 0);
        let mut loss = 0.0;
        for (g, n) in open.iter().zip(&counts) {
            plan.groups[*g].kept = orders[g][..*n].to_vec();
            plan.groups[*g].kept.sort_unstable();
            loss += orders[g][*n..].iter().map(|c| case.scores.scores[*g][*c]).sum::<f64>();
        }
        if let Ok(graph) = apply(&case.graph, &plan) {
            let model = CostModel::new(&graph, config).unwrap();
            points.push((loss, figures(model.network(), model.dense_tiles(), &target(), config)));
        }
        let Some(next) = (0..open.len()).find(|i| counts[*i] < case.groups.groups[open[*i]].channels) else {
            return points;
        };
        counts[..next].fill(1);
        counts[next] += 1;
    }
}

fn wide(seed: u64) -> Graph {
    let (mut net, x) = Net::new(seed, &[2, 4, 4]);
    let x = net.conv(x, 70 + 9 * (seed as usize - 15), 3, 1, 1);
    let x = net.relu(x);
    let x = net.conv(x, 5, 1, 1, 1);
    let x = net.op("flat", Op::Flatten, &[x]);
    let x = net.gemm(x, 3);
    net.finish(x)
}

#[test]
fn plans_for_tiny_networks_are_optimal_and_bounds_never_exceed_the_optimum() {
    let config = small();
    let (mut worst, mut sum, mut gaps, mut count) = (1.0f64, 0.0, 0.0, 0);
    for seed in 0..20 {
        // The last ones have more counts than candidates.
        let graph = if seed < 16 { crate::channels::tiny(seed) } else { wide(seed) };
        let case = Case::new(graph, Normalization::Sum);
        let points = exhaustive(&case, &config);
        let mut dice = Dice::new(seed + 9);
        for _ in 0..8 {
            // Budgets that some choice meets.
            let some = points[dice.below(points.len())].1;
            let mut budgets = Budgets::new();
            for _ in 0..1 + dice.below(3) {
                let resource = LIMITABLE[dice.below(LIMITABLE.len())];
                budgets = budgets.with(resource, resource.of(&some));
            }
            let optimum = points.iter().filter(|(_, f)| budgets.hold(f)).map(|p| p.0).fold(f64::INFINITY, f64::min);
            let plan = case.plan(&config, budgets.clone(), false).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert!(budgets.hold(&plan.after));
            assert!(plan.loss >= optimum - 1e-9, "seed {seed}: better than exhaustive search");
            let bound = plan.bound.expect("small groups");
            assert!(bound <= optimum + 1e-9, "seed {seed}: bound {bound} above the optimum {optimum}");
            let kept = case.groups.prunable().count() as f64;
            let ratio = (kept - plan.loss) / (kept - optimum);
            worst = worst.min(ratio);
            sum += ratio;
            gaps += plan.gap().unwrap();
            count += 1;
        }
    }
    let mean = sum / f64::from(count);
    println!("of the optimum: worst {worst:.4}, mean {mean:.5}; mean certified gap {:.4}", gaps / f64::from(count));
    assert!(worst > 0.97 && mean > 0.998, "worst {worst}, mean {mean}");
    assert!(gaps < 0.02 * f64::from(count), "mean gap {}", gaps / f64::from(count));
}

#[test]
fn the_joint_plan_keeps_at_least_what_the_channel_plan_keeps() {
    let config = AcceleratorConfig::new(8, 8, 16_384, 256);
    for seed in 0..3 {
        let case = Case::new(resnet(seed, 2, 16, 16), Normalization::Share);
        let dense = case.plan(&config, Budgets::new(), false).unwrap().before.cycles;
        for percent in [80, 60, 45] {
            let limit = dense * percent / 100;
            let options = espalier_prune::ChannelOptions { budget_cycles: limit, min_keep: 0.0 };
            let alone = channel_plan(&case.graph, &case.groups, &case.scores, &config, &options).unwrap();
            let worth = |plan: &PruningPlan| -> f64 {
                let share = |g: usize| plan.groups[g].kept.iter().map(|c| case.scores.scores[g][*c]).sum::<f64>();
                case.groups.prunable().map(|(g, _)| (share(g) + 1e-3).ln()).sum()
            };
            let plan = case.plan(&config, Budgets::new().with(Resource::Cycles, limit as f64), false).unwrap();
            assert!(worth(&plan.channels) >= worth(&alone) - 1e-6, "seed {seed} {percent} %");
            let both = case.plan(&config, Budgets::new().with(Resource::Cycles, limit as f64), true).unwrap();
            println!(
                "seed {seed} {percent} %: loss {:.3}, with vectors {:.3}, gap {:.4?} {:.4?}",
                plan.loss,
                both.loss,
                plan.gap(),
                both.gap()
            );
            assert!(both.loss <= plan.loss + 1e-9, "seed {seed} {percent} %: vectors are one choice more");
            // Carried out, the plan takes what it says.
            let smaller = apply(&case.graph, &both.channels).unwrap();
            let scores =
                vector_importance(&smaller, &config, Criterion::L2, Normalization::Share, &Evidence::NONE).unwrap();
            let masks = tile_masks(&smaller, &config, &scores, &both.tiles).unwrap();
            assert_eq!((&masks.tiles, masks.cycles), (&both.tiles, both.after.cycles));
            assert!(tile_masks(&case.graph, &config, &scores, &both.tiles).is_err());
        }
    }
}

#[test]
fn budgets_that_cannot_be_met_name_resource_figure_and_help() {
    let config = small();
    let case = Case::new(resnet(3, 1, 8, 16), Normalization::Share);
    let before = case.plan(&config, Budgets::new(), false).unwrap().before;
    for resource in LIMITABLE {
        let message = case.plan(&config, Budgets::new().with(resource, 1.0), false).unwrap_err();
        assert!(message.contains("budget-not-met") && message.contains(resource.name()), "{message}");
        assert!(message.contains("raise the budget"), "{message}");
        let nearest = message.split("nearest feasible budget is ").nth(1).unwrap().split(' ').next().unwrap();
        let nearest: f64 = nearest.parse().unwrap();
        assert!(nearest > 1.0 && nearest < resource.of(&before), "{message}");
        // The figure is feasible (energy is printed with one digit).
        case.plan(&config, Budgets::new().with(resource, nearest + 0.1), false).unwrap();
    }
    let message = case.plan(&config, Budgets::new().with(Resource::Multipliers, 15.0), false).unwrap_err();
    assert!(message.contains("whatever the network"), "{message}");
    let wide = AcceleratorConfig::new(8, 8, 8192, 64);
    let message = case.plan(&wide, Budgets::new().with(Resource::Multipliers, 40.0), false).unwrap_err();
    assert!(message.contains("an array of 5 rows and 8 columns meets the budget"), "{message}");
    let cells = case.plan(&wide, Budgets::new(), false).unwrap().before.logic_cells as f64;
    let message = case.plan(&wide, Budgets::new().with(Resource::LogicCells, 0.8 * cells), false).unwrap_err();
    assert!(message.contains("meets the budget"), "{message}");
    let message = case.plan(&config, Budgets::new().with(Resource::Cycles, f64::NAN), false).unwrap_err();
    assert!(message.contains("invalid-budget"), "{message}");
    // Each budget alone can be met, but not both.
    let floor = |resource| {
        let message = case.plan(&config, Budgets::new().with(resource, 1.0), false).unwrap_err();
        message.split("nearest feasible budget is ").nth(1).unwrap().split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let both =
        Budgets::new().with(Resource::Cycles, floor(Resource::Cycles)).with(Resource::Macs, floor(Resource::Macs));
    if let Err(message) = case.plan(&config, both, false) {
        assert!(message.contains("within the other budgets"), "{message}");
    }
}

/// Every layer reads all layers before it (Huang et al. 2017).
fn densely_connected(layers: usize) -> Graph {
    let (mut net, x) = Net::new(1, &[3, 8, 8]);
    let mut x = net.conv(x, 8, 3, 1, 1);
    for _ in 0..layers {
        let new = net.conv(x, 5, 3, 1, 1);
        let new = net.relu(new);
        x = net.op("cat", Op::Concat { axis: 0 }, &[x, new]);
    }
    let x = net.conv(x, 6, 1, 1, 1);
    let x = net.op("flat", Op::Flatten, &[x]);
    let x = net.gemm(x, 4);
    net.finish(x)
}

#[test]
fn layers_that_read_many_groups_and_wide_layers_are_planned_too() {
    let config = AcceleratorConfig::new(8, 8, 65_536, 256);
    let wide = || {
        let (mut net, x) = Net::new(2, &[3, 6, 6]);
        let mut x = x;
        for width in [96, 200, 320] {
            x = net.conv(x, width, 3, 1, 1);
            x = net.relu(x);
        }
        let x = net.op("gap", Op::GlobalAveragePool, &[x]);
        let x = net.op("flat", Op::Flatten, &[x]);
        let x = net.gemm(x, 10);
        net.finish(x)
    };
    for (name, graph) in [("dense 4", densely_connected(4)), ("dense 20", densely_connected(20)), ("wide", wide())] {
        let case = Case::new(graph, Normalization::Share);
        let before = case.plan(&config, Budgets::new(), false).unwrap().before;
        for resources in [&[Resource::Cycles][..], &[Resource::Cycles, Resource::Macs], &[Resource::Parameters]] {
            let budgets = resources.iter().fold(Budgets::new(), |b, r| b.with(*r, (0.6 * r.of(&before)).floor()));
            let plan = case.plan(&config, budgets.clone(), false).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(budgets.hold(&plan.after), "{name}");
            assert_eq!(recount(&case.graph, &plan, &config).cycles, plan.after.cycles, "{name}");
            println!("{name} {resources:?}: loss {:.3}, gap {:.3?}", plan.loss, plan.gap());
            assert!(plan.gap().is_none_or(|gap| (0.0..=1.0).contains(&gap)));
            if resources == [Resource::Cycles] && name == "wide" {
                assert!(plan.gap().unwrap() < 0.02, "steps of wide layers are all considered");
            }
        }
    }
}

#[test]
fn plans_survive_serialization_and_repeat() {
    let config = small();
    let case = Case::new(resnet(4, 1, 8, 16), Normalization::Share);
    let before = case.plan(&config, Budgets::new(), false).unwrap().before;
    let budgets = || {
        let limits = [Resource::Cycles, Resource::WeightBytes, Resource::ActivationBytes];
        limits.iter().fold(Budgets::new(), |b, r| b.with(*r, (r.of(&before) * 0.7).floor()))
    };
    let plan = case.plan(&config, budgets(), true).unwrap();
    assert_eq!(plan, case.plan(&config, budgets(), true).unwrap());
    let text = serde_json::to_string(&plan).unwrap();
    assert!(text.contains("\"weight_bytes\""));
    let read: JointPlan = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&read.channels.groups, &read.tiles, &read.budgets),
        (&plan.channels.groups, &plan.tiles, &plan.budgets)
    );
    assert_eq!(read.decisions.len(), plan.decisions.len());
    // The parser may miss the last bit of a number.
    assert!((read.loss - plan.loss).abs() < 1e-12 && read.after.cycles == plan.after.cycles);
}

#[test]
fn plans_of_every_topology_cost_what_the_target_counts() {
    let mut planned = 0;
    for topology in TOPOLOGIES.iter().filter(|t| t.on_array) {
        let case = Case::new((topology.build)(2), Normalization::Share);
        for (fraction, vectors, combine) in [(0.8, false, 1), (0.6, true, 1), (0.5, true, 2)] {
            let config = AcceleratorConfig { combine, ..small() };
            let full = case.plan(&config, Budgets::new(), false).unwrap();
            let cycles = (full.before.cycles as f64 * fraction).ceil();
            let Ok(plan) = case.plan(&config, Budgets::new().with(Resource::Cycles, cycles), vectors) else { continue };
            let counted = recount(&case.graph, &plan, &config);
            assert_eq!(counted.cycles, plan.after.cycles, "{}, {fraction}", topology.name);
            assert!(plan.after.cycles as f64 <= cycles, "{}, {fraction}", topology.name);
            planned += 1;
        }
    }
    assert!(planned > 40, "{planned}");
}
