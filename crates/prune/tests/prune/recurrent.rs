//! Hidden units of recurrent layers as channels: removal, permutation and importance.

use std::collections::BTreeMap;

use espalier_ir::{Cell, Graph, NodeId, Op, Recurrent, Tensor, TensorMap, evaluate, evaluate_output};
use espalier_prune::{
    ActivationStatistics, ChannelOptions, Criterion, DependencyGroups, Evidence, Member, Needs, Normalization,
    PruningPlan, Role, SizeBudget, SizeOptions, Unit, apply, channel_means, channel_plan, compensate,
    dependency_groups, importance, permute, size_plan,
};
use espalier_target::AcceleratorConfig;

use crate::nets::{Dice, Net, random_graph, random_graph_of_all};

const CELLS: [Cell; 3] =
    [Cell::Lstm, Cell::Gru { linear_before_reset: false }, Cell::Gru { linear_before_reset: true }];

fn layer(net: &mut Net, from: NodeId, cell: Cell, hidden: usize, reverse: bool) -> NodeId {
    let (features, rows) = (net.channels(from), cell.gates() * hidden);
    let weight = net.param("W", &[rows, features], 1.5 / (features as f32).sqrt());
    let recurrence = net.param("R", &[rows, hidden], 1.5 / (hidden as f32).sqrt());
    let bias = (net.dice.below(4) > 0).then(|| [net.param("Wb", &[rows], 0.5), net.param("Rb", &[rows], 0.5)]);
    net.op("rnn", Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias }), &[from])
}

/// Layers forward, reverse or in both directions, over samples or over what convolutions give.
fn random_recurrent(seed: u64) -> Graph {
    let mut dice = Dice::new(seed ^ 0x5e9);
    let (mut net, x) = Net::new(seed, &[[5, 3], [6, 4]][dice.below(2)]);
    let mut x = net.op("features_first", Op::Transpose { axes: vec![1, 0] }, &[x]);
    if dice.below(3) == 0 {
        // Maps [channels, height, width]; their rows become features, as in networks for sounds.
        let shape = net.graph.node(x).shape.clone();
        let map = net.op("map", Op::Reshape { shape: vec![1, shape[0], shape[1]] }, &[x]);
        let map = net.conv(map, 2 + dice.below(3), 3, 1, 1);
        let map = net.relu(map);
        let [c, h, w] = net.graph.node(map).shape[..] else { panic!() };
        let axes = if dice.below(2) == 0 { vec![0, 1, 2] } else { vec![0, 2, 1] };
        let map = net.op("turned", Op::Transpose { axes: axes.clone() }, &[map]);
        let (features, time) = if axes[1] == 1 { (c * h, w) } else { (c * w, h) };
        x = net.op("features", Op::Reshape { shape: vec![features, 1, time] }, &[map]);
    }
    for _ in 0..1 + dice.below(3) {
        let (cell, hidden) = (CELLS[dice.below(3)], 2 + dice.below(5));
        x = match dice.below(4) {
            0 | 1 => layer(&mut net, x, cell, hidden, dice.below(3) == 0),
            _ => {
                let directions = [false, true].map(|reverse| layer(&mut net, x, cell, hidden, reverse));
                net.op("both", Op::Concat { axis: 0 }, &directions)
            }
        };
        if dice.below(3) == 0 {
            x = net.norm(x);
            // A lower bound above 0: removal is not the same as a unit that is silent.
            x = net.op("clip", Op::Clip { min: 0.1, max: 6.0 }, &[x]);
        }
    }
    let time = net.graph.node(x).shape[2];
    x = match dice.below(4) {
        0 => net.op("mean", Op::GlobalAveragePool, &[x]),
        1 => x,
        2 => net.op("first", Op::TimeStep { step: 0 }, &[x]),
        _ => net.op("last", Op::TimeStep { step: time - 1 }, &[x]),
    };
    x = net.op("flat", Op::Flatten, &[x]);
    x = net.gemm(x, 5);
    x = net.relu(x);
    x = net.gemm(x, 3);
    net.finish(x)
}

const SEEDS: std::ops::Range<u64> = 0..200;

fn input(graph: &Graph, dice: &mut Dice) -> Vec<f32> {
    dice.values(graph.node(graph.inputs()[0]).shape.iter().product())
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    let scale = a.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-6 * scale, "{what}: {a} and {b} at scale {scale}");
    }
}

fn random_plan(groups: &DependencyGroups, dice: &mut Dice) -> PruningPlan {
    let mut plan = PruningPlan::keep_all(groups, 0);
    for (index, group) in groups.prunable() {
        let mut kept: Vec<usize> = (0..group.channels).filter(|_| dice.below(2) == 0).collect();
        for set in &group.required {
            if !set.iter().any(|c| kept.contains(c)) {
                kept.push(set[dice.below(set.len())]);
            }
        }
        kept.sort_unstable();
        kept.dedup();
        plan.groups[index].kept = kept;
    }
    plan
}

/// Multiplies all columns that read the given channels; convolutions have several taps a column.
fn scale_columns(graph: &mut Graph, members: &[Member], channels: &[usize], factor: f32) {
    for member in members.iter().filter(|m| m.role == Role::Input) {
        let mut tensor = graph.param(member.param).clone();
        let shape = tensor.shape().to_vec();
        let inner: usize = shape[2..].iter().product();
        for column in channels.iter().flat_map(|c| &member.positions[*c]) {
            for row in 0..shape[0] {
                let place = (row * shape[1] + column) * inner;
                tensor.as_f32_mut()[place..place + inner].iter_mut().for_each(|w| *w *= factor);
            }
        }
        graph.set_param(member.param, tensor);
    }
}

#[test]
fn removing_units_equals_zero_columns_in_recurrence_and_readers() {
    let mut removed = 0;
    for seed in SEEDS {
        let graph = random_recurrent(seed);
        let groups = dependency_groups(&graph).unwrap();
        let mut dice = Dice::new(seed);
        let plan = random_plan(&groups, &mut dice);
        removed += plan.removed();
        let mut masked = graph.clone();
        for (group, kept) in groups.groups.iter().zip(&plan.groups) {
            let gone: Vec<usize> = (0..group.channels).filter(|c| !kept.kept.contains(c)).collect();
            scale_columns(&mut masked, &group.members, &gone, 0.0);
        }
        let small = apply(&graph, &plan).unwrap();
        let x = input(&graph, &mut dice);
        assert_close(&evaluate_output(&masked, &[&x]), &evaluate_output(&small, &[&x]), &format!("{seed}\n{graph}"));
        assert_eq!(small.parameter_count() < graph.parameter_count(), plan.removed() > 0, "seed {seed}");
    }
    assert!(removed > 1000, "only {removed} units were removed");
}

#[test]
fn units_may_change_places() {
    let mut moved = 0;
    for seed in SEEDS {
        let graph = random_recurrent(seed);
        let groups = dependency_groups(&graph).unwrap();
        let mut dice = Dice::new(seed);
        let orders: Vec<Vec<usize>> = groups
            .groups
            .iter()
            .map(|group| {
                let mut order: Vec<usize> = (0..group.channels).collect();
                if group.frozen.is_none() {
                    dice.shuffle(&mut order);
                    moved += group.channels;
                }
                order
            })
            .collect();
        let permuted = permute(&graph, &groups, &orders).unwrap();
        let x = input(&graph, &mut dice);
        let what = format!("{seed}\n{graph}");
        assert_close(&evaluate_output(&graph, &[&x]), &evaluate_output(&permuted, &[&x]), &what);
    }
    assert!(moved > 1000);
}

#[test]
fn removing_nothing_is_the_identity_and_removals_commute() {
    for seed in 0..100 {
        let graph = random_recurrent(seed);
        let groups = dependency_groups(&graph).unwrap();
        let same = apply(&graph, &PruningPlan::keep_all(&groups, 0)).unwrap();
        assert!(graph.params().eq(same.params()), "seed {seed}");
        let plan = random_plan(&groups, &mut Dice::new(seed));
        let part = |graph: &Graph, parity: usize| {
            let mut part = PruningPlan::keep_all(&dependency_groups(graph).unwrap(), 0);
            for i in (0..part.groups.len()).filter(|i| i % 2 == parity) {
                part.groups[i] = plan.groups[i].clone();
            }
            apply(graph, &part).unwrap()
        };
        let (a, b) = (part(&part(&graph, 0), 1), part(&part(&graph, 1), 0));
        assert!(a.params().eq(b.params()), "seed {seed}");
        assert!(a.params().eq(apply(&graph, &plan).unwrap().params()), "seed {seed}");
    }
}

/// Members of a group by name of the parameter and axis.
fn owned(graph: &Graph, groups: &DependencyGroups, group: usize) -> BTreeMap<(String, usize), Vec<Vec<usize>>> {
    let members = groups.groups[group].members.iter();
    members.map(|m| ((graph.param_name(m.param).to_owned(), m.axis), m.positions.clone())).collect()
}

/// Two directions of 2 units, 3 units on top of both, and a classifier that reads the last step.
fn stacked() -> Graph {
    let (mut net, x) = Net::new(1, &[3, 1, 4]);
    let named = |net: &mut Net, name: &str, from: NodeId, hidden: usize, reverse: bool| {
        let cell = Cell::Lstm;
        let (rows, features) = (4 * hidden, net.channels(from));
        let mut param = |kind: &str, shape: &[usize]| net.param(&format!("{name}.{kind}"), shape, 1.0);
        let (weight, recurrence) = (param("W", &[rows, features]), param("R", &[rows, hidden]));
        let bias = Some([param("Wb", &[rows]), param("Rb", &[rows])]);
        net.op(name, Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias }), &[from])
    };
    let directions = [named(&mut net, "f", x, 2, false), named(&mut net, "b", x, 2, true)];
    let both = net.op("both", Op::Concat { axis: 0 }, &directions);
    let top = named(&mut net, "top", both, 3, false);
    let last = net.op("last", Op::TimeStep { step: 3 }, &[top]);
    let end = net.gemm(last, 2);
    net.finish(end)
}

#[test]
fn a_unit_owns_a_row_of_every_gate_its_column_of_r_and_the_columns_of_readers() {
    let graph = stacked();
    let groups = dependency_groups(&graph).unwrap();
    let names: Vec<&str> = groups.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["x", "f", "b", "top", "fc"]);
    let rows =
        |hidden: usize| -> Vec<Vec<usize>> { (0..hidden).map(|j| (0..4).map(|g| g * hidden + j).collect()).collect() };
    let columns = |from: usize, n: usize| -> Vec<Vec<usize>> { (from..from + n).map(|c| vec![c]).collect() };
    let expected = |name: &str, hidden: usize, reader: &str, first: usize| {
        let mut parts: BTreeMap<(String, usize), Vec<Vec<usize>>> = BTreeMap::new();
        for kind in ["W", "R", "Wb", "Rb"] {
            parts.insert((format!("{name}.{kind}"), 0), rows(hidden));
        }
        parts.insert((format!("{name}.R"), 1), columns(0, hidden));
        parts.insert((reader.to_owned(), 1), columns(first, hidden));
        parts
    };
    assert_eq!(owned(&graph, &groups, 1), expected("f", 2, "top.W", 0));
    assert_eq!(owned(&graph, &groups, 2), expected("b", 2, "top.W", 2));
    assert_eq!(owned(&graph, &groups, 3), expected("top", 3, "fc", 0));
    assert_eq!(groups.groups[3].required, [vec![0, 1, 2]]);
    assert!(
        groups.groups[1]
            .members
            .iter()
            .all(|m| (m.role == Role::PerChannel) == (graph.param(m.param).shape().len() == 1))
    );
}

#[test]
fn magnitudes_count_every_gate_the_recurrence_and_readers() {
    let graph = stacked();
    let groups = dependency_groups(&graph).unwrap();
    let scores = importance(&graph, &groups, Criterion::L2, Normalization::None, &Evidence::NONE).unwrap().scores;
    let param = |name: &str| graph.params().find(|p| p.1 == name).unwrap().2;
    let energy = |name: &str, picked: &dyn Fn(usize, usize) -> bool| -> f64 {
        let tensor = param(name);
        let width = tensor.shape()[1];
        let values = tensor.as_f32().iter().enumerate().filter(|(i, _)| picked(i / width, i % width));
        values.map(|(_, w)| f64::from(*w) * f64::from(*w)).sum()
    };
    for (j, score) in scores[3].iter().enumerate() {
        let expected = energy("top.W", &|row, _| row % 3 == j)
            + energy("top.R", &|row, _| row % 3 == j)
            + energy("top.R", &|_, column| column == j)
            + energy("fc", &|_, column| column == j);
        assert!((score - expected.sqrt()).abs() < 1e-6, "{score} {}", expected.sqrt());
    }
}

#[test]
fn the_gate_of_taylor_closes_recurrence_and_readers() {
    let mut checked = 0;
    for seed in 0..40 {
        let graph = random_recurrent(seed);
        let groups = dependency_groups(&graph).unwrap();
        let mut dice = Dice::new(seed);
        let x = input(&graph, &mut dice);
        let first = |graph: &Graph| f64::from(evaluate_output(graph, &[&x])[0]);
        let Some((index, group)) = groups.prunable().find(|(_, g)| g.name.starts_with("rnn")) else { continue };
        // Weight gradients of the first output by central differences, on the columns that read unit 0 only.
        let zeros = |t: &Tensor| Tensor::f32(t.shape(), vec![0.0; t.len()]);
        let mut products: TensorMap = graph.params().map(|(id, _, t)| (id, zeros(t))).collect();
        let h = 1e-2f32;
        for member in group.members.iter().filter(|m| m.role == Role::Input) {
            let [rows, width] = graph.param(member.param).shape()[..] else { continue };
            for place in member.positions[0].iter().flat_map(|c| (0..rows).map(move |r| r * width + c)) {
                let at = |delta: f32| {
                    let mut moved = graph.clone();
                    let mut tensor = moved.param(member.param).clone();
                    tensor.as_f32_mut()[place] += delta;
                    moved.set_param(member.param, tensor);
                    first(&moved)
                };
                let gradient = (at(h) - at(-h)) / f64::from(2.0 * h);
                let product = graph.param(member.param).as_f32()[place] * gradient as f32;
                products.get_mut(&member.param).unwrap().as_f32_mut()[place] = product;
            }
        }
        let scores = importance(
            &graph,
            &groups,
            Criterion::Taylor,
            Normalization::None,
            &Evidence::of_products(vec![products], 1.0),
        )
        .unwrap();
        let gated = |gate: f32| {
            let mut graph = graph.clone();
            scale_columns(&mut graph, &group.members, &[0], gate);
            first(&graph)
        };
        let slope = ((gated(1.0 + h) - gated(1.0 - h)) / f64::from(2.0 * h)).abs();
        let score = scores.scores[index][0].sqrt();
        // Kinks of ReLU inside the step make single points differ a little.
        assert!((score - slope).abs() < 0.01 + 0.05 * slope, "seed {seed}: {score} and {slope}");
        checked += 1;
    }
    assert!(checked > 30);
}

#[test]
fn importance_needs_gradients_of_both_weights() {
    let graph = stacked();
    let groups = dependency_groups(&graph).unwrap();
    let only: TensorMap = graph.params().filter(|p| !p.1.contains('R')).map(|(id, _, t)| (id, t.clone())).collect();
    let findings =
        importance(&graph, &groups, Criterion::Taylor, Normalization::None, &Evidence::of_products(vec![only], 1.0))
            .unwrap_err();
    let missing: Vec<&str> = findings.iter().map(|f| f.at.as_str()).collect();
    assert_eq!(missing, ["parameter 'f.R'", "parameter 'b.R'", "parameter 'top.R'"]);
}

#[test]
fn compensation_leaves_recurrent_readers_alone_and_serves_the_others() {
    let graph = stacked();
    let mut dice = Dice::new(4);
    let samples: Vec<Vec<f32>> = (0..4).map(|_| input(&graph, &mut dice)).collect();
    let samples: Vec<Vec<&[f32]>> = samples.iter().map(|s| vec![s.as_slice()]).collect();
    let groups = dependency_groups(&graph).unwrap();
    let mut plan = PruningPlan::keep_all(&groups, 0);
    plan.groups[3].kept = vec![0, 2];
    let means = channel_means(&graph, &samples);
    let changed = compensate(&graph, &plan, &means).unwrap();
    let differing: Vec<&str> =
        graph.params().zip(changed.params()).filter(|(a, b)| a.2 != b.2).map(|(a, _)| a.1).collect();
    assert_eq!(differing, ["fcb"]);
}

#[test]
fn sizes_of_plans_are_those_of_the_network_and_budgets_hold() {
    for seed in 0..60 {
        let graph = match seed % 3 {
            0 => random_recurrent(seed),
            1 => random_graph(seed),
            _ => random_graph_of_all(seed),
        };
        let groups = dependency_groups(&graph).unwrap();
        let scores = importance(&graph, &groups, Criterion::L2, Normalization::Share, &Evidence::NONE).unwrap();
        for (share, in_macs) in [(1.0, true), (0.7, true), (0.5, true), (0.7, false), (0.5, false)] {
            let dense = if in_macs { graph.macs() } else { graph.parameter_count() as u64 };
            let allowed = (dense as f64 * share) as u64;
            let budget = if in_macs { SizeBudget::Macs(allowed) } else { SizeBudget::Parameters(allowed) };
            let plan = match size_plan(&graph, &groups, &scores, &SizeOptions { budget, min_keep: 0.0 }) {
                Ok(plan) => plan,
                Err(findings) => {
                    assert_eq!(findings.iter().next().unwrap().code, "budget-not-met", "seed {seed}");
                    continue;
                }
            };
            let small = apply(&graph, &plan.plan).unwrap();
            let size = if in_macs { small.macs() } else { small.parameter_count() as u64 };
            assert_eq!((plan.dense, plan.size), (dense, size), "seed {seed}, {share}\n{graph}");
            assert!(size <= allowed, "seed {seed}: {size} of {allowed}");
            assert_eq!(plan.plan.removed() == 0, share == 1.0, "seed {seed}");
        }
    }
}

#[test]
fn a_budget_below_the_floor_names_the_floor() {
    let graph = stacked();
    let groups = dependency_groups(&graph).unwrap();
    let scores = importance(&graph, &groups, Criterion::L1, Normalization::Share, &Evidence::NONE).unwrap();
    let options = |macs| SizeOptions { budget: SizeBudget::Macs(macs), min_keep: 0.0 };
    // One unit each: (3 + 1) * 4 rows * 4 steps in both directions, (2 + 1) * 4 * 4 on top, 2 at the end.
    let floor = 2 * 64 + 48 + 2;
    let plan = size_plan(&graph, &groups, &scores, &options(floor)).unwrap();
    assert_eq!((plan.size, plan.plan.removed()), (floor, 1 + 1 + 2));
    let findings = size_plan(&graph, &groups, &scores, &options(floor - 1)).unwrap_err();
    assert!(findings.to_string().contains(&format!("no less than {floor}")), "{findings}");
    let kept = SizeOptions { min_keep: 0.5, ..options(floor) };
    assert!(size_plan(&graph, &groups, &scores, &kept).is_err());
}

/// Of a recurrent network every width of every layer follows from the units that are kept: what the search assumes of
/// it is what the smaller network then takes.
#[test]
fn cycles_of_fewer_units_are_those_of_the_smaller_network() {
    let (mut net, x) = Net::new(1, &[3, 1, 4]);
    let forward = layer(&mut net, x, Cell::Lstm, 13, false);
    let backward = layer(&mut net, x, Cell::Gru { linear_before_reset: true }, 9, true);
    let both = net.op("both", Op::Concat { axis: 0 }, &[forward, backward]);
    let top = layer(&mut net, both, Cell::Gru { linear_before_reset: false }, 10, false);
    let last = net.op("last", Op::TimeStep { step: 3 }, &[top]);
    let end = net.gemm(last, 2);
    let graph = net.finish(end);
    let config = AcceleratorConfig::new(4, 4, 1024, 64).with_units_for(&graph).unwrap();
    assert!(config.states && config.gates && config.activation_tables);
    let dense = espalier_prune::dense_cycles(&graph, &config).unwrap();
    let groups = dependency_groups(&graph).unwrap();
    let scores = importance(&graph, &groups, Criterion::L1, Normalization::Share, &Evidence::NONE).unwrap();
    let mut before = u64::MAX;
    for percent in [95, 80, 70] {
        let options = ChannelOptions { budget_cycles: dense * percent / 100, min_keep: 0.0 };
        let plan = channel_plan(&graph, &groups, &scores, &config, &options).unwrap();
        assert!(plan.removed() > 0 && plan.cycles <= options.budget_cycles, "{percent} %: {plan:?}");
        let smaller = apply(&graph, &plan).unwrap();
        assert_eq!(espalier_prune::dense_cycles(&smaller, &config).unwrap(), plan.cycles);
        assert!(plan.cycles < before);
        before = plan.cycles;
    }
    // The values themselves are fine: one for every node.
    assert_eq!(evaluate(&graph, &[&[0.5; 12]]).len(), graph.nodes().len());
}

/// Statistics of random samples, labelled by the sign of their first value.
fn observed(graph: &Graph, samples: usize) -> Evidence {
    let mut dice = Dice::new(8);
    let inputs: Vec<Vec<f32>> = (0..samples).map(|_| input(graph, &mut dice)).collect();
    let labels: Vec<u32> = inputs.iter().map(|i| u32::from(i[0] > 0.0)).collect();
    let slices: Vec<Vec<&[f32]>> = inputs.iter().map(|i| vec![i.as_slice()]).collect();
    let needs = Criterion::ALL.iter().filter_map(|c| c.needs(Unit::Channel)).fold(Needs::default(), Needs::and);
    let activations = ActivationStatistics::of_samples(graph, needs, &slices, &labels);
    Evidence { activations: Some(activations), ..Evidence::NONE }
}

#[test]
fn units_that_stay_silent_are_found_by_what_they_carry() {
    let mut graph = stacked();
    let groups = dependency_groups(&graph).unwrap();
    // Unit 1 of the backward layer, which only the layer on top reads, and unit 2 of that one: no weight drives them.
    for (group, unit) in [(2, 1), (3, 2)] {
        for member in groups.groups[group].members.iter().filter(|m| m.role != Role::Input) {
            let mut tensor = graph.param(member.param).clone();
            let row: usize = tensor.shape()[1..].iter().product();
            for place in &member.positions[unit] {
                tensor.as_f32_mut()[place * row..(place + 1) * row].fill(0.0);
            }
            graph.set_param(member.param, tensor);
        }
    }
    let evidence = observed(&graph, 300);
    let from_activations =
        Criterion::ALL.iter().filter(|c| c.needs(Unit::Channel).is_some_and(|n| n.activations && !n.gate_gradients));
    let mut tried = 0;
    for criterion in from_activations {
        let scores = importance(&graph, &groups, *criterion, Normalization::None, &evidence).unwrap().scores;
        for (group, unit) in [(2, 1), (3, 2)] {
            let of_group = &scores[group];
            let worst = of_group.iter().enumerate().all(|(c, s)| c == unit || *s > of_group[unit]);
            assert!(worst, "{}: unit {unit} of {of_group:?}", criterion.name());
        }
        tried += 1;
    }
    assert!(tried >= 6, "only {tried} criteria");
}

#[test]
fn wanda_counts_what_the_next_step_and_the_readers_see() {
    let graph = stacked();
    let groups = dependency_groups(&graph).unwrap();
    let evidence = observed(&graph, 40);
    let scores = importance(&graph, &groups, Criterion::Wanda, Normalization::None, &evidence).unwrap().scores;
    let sites = &evidence.activations.as_ref().unwrap().sites;
    let energy = |name: &str| {
        let site = graph.nodes().into_iter().find(|n| graph.node(*n).name == name).unwrap();
        sites[&site].mean_square()
    };
    let column = |name: &str, c: usize| -> f64 {
        let tensor = graph.params().find(|p| p.1 == name).unwrap().2;
        let width = tensor.shape()[1];
        tensor.as_f32().iter().skip(c).step_by(width).map(|w| f64::from(*w) * f64::from(*w)).sum()
    };
    for (j, score) in scores[3].iter().enumerate() {
        let expected = column("top.R", j) * energy("top")[j] + column("fc", j) * energy("last")[j];
        assert!((score - expected).abs() < 1e-9, "{score} is not {expected}");
    }
    for (j, score) in scores[2].iter().enumerate() {
        let expected = column("b.R", j) * energy("b")[j] + column("top.W", 2 + j) * energy("both")[2 + j];
        assert!((score - expected).abs() < 1e-9, "{score} is not {expected}");
    }
}

#[test]
fn gates_of_samples_are_refused_in_a_recurrence() {
    let graph = stacked();
    let groups = dependency_groups(&graph).unwrap();
    for criterion in [Criterion::Obd, Criterion::TaylorSecond] {
        let findings = importance(&graph, &groups, criterion, Normalization::None, &Evidence::NONE).unwrap_err();
        let places: Vec<&str> =
            findings.iter().filter(|f| f.code == "criterion-not-for-recurrence").map(|f| f.at.as_str()).collect();
        assert_eq!(places, ["node 'f'", "node 'b'", "node 'top'"]);
    }
}

/// All states of a layer, read by a convolution over time.
#[test]
fn convolutions_over_states_are_readers_too() {
    for seed in 0..40 {
        let (mut net, x) = Net::new(seed, &[3, 1, 5]);
        let cell = CELLS[seed as usize % 3];
        let directions = [false, true].map(|reverse| layer(&mut net, x, cell, 4, reverse));
        let states = net.op("both", Op::Concat { axis: 0 }, &directions);
        let weight = net.param("w", &[5, 8, 1, 3], 0.4);
        let pads = espalier_ir::Pads { left: 1, right: 1, ..Default::default() };
        let conv = espalier_ir::Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
        let y = net.op("conv", Op::Conv(conv), &[states]);
        let y = net.relu(y);
        let y = net.op("mean", Op::GlobalAveragePool, &[y]);
        let y = net.op("flat", Op::Flatten, &[y]);
        let y = net.gemm(y, 3);
        let graph = net.finish(y);
        let groups = dependency_groups(&graph).unwrap();
        assert_eq!(groups.prunable().map(|(_, g)| g.channels).collect::<Vec<_>>(), [4, 4, 5]);
        let mut dice = Dice::new(seed);
        let plan = random_plan(&groups, &mut dice);
        let mut masked = graph.clone();
        for (group, kept) in groups.groups.iter().zip(&plan.groups) {
            let gone: Vec<usize> = (0..group.channels).filter(|c| !kept.kept.contains(c)).collect();
            scale_columns(&mut masked, &group.members, &gone, 0.0);
        }
        let small = apply(&graph, &plan).unwrap();
        let x = input(&graph, &mut dice);
        assert_close(&evaluate_output(&masked, &[&x]), &evaluate_output(&small, &[&x]), &format!("{seed}\n{graph}"));
    }
}
