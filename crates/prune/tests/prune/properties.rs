//! What removal promises, on every topology and on random networks of all operators.

use std::collections::{BTreeMap, BTreeSet};

use espalier_ir::{Graph, NodeId, Normalize, Op, ParamId, Statistics, Tensor, array_layers, evaluate};
use espalier_prune::{
    ChannelOptions, Criterion, DependencyGroups, Evidence, Normalization, PruningPlan, Role, apply, channel_plan,
    dense_cycles, dependency_groups, importance, minimum_channel_cycles, permute,
};
use espalier_target::AcceleratorConfig;

use crate::nets::{Dice, random_graph, random_graph_of_all};
use crate::topologies::TOPOLOGIES;

/// Weights drawn for each topology.
const SEEDS: std::ops::Range<u64> = 0..12;
const RANDOM: std::ops::Range<u64> = 0..200;

fn each(check: &dyn Fn(&str, u64, &Graph)) {
    for topology in TOPOLOGIES {
        SEEDS.for_each(|seed| check(topology.name, seed, &(topology.build)(seed)));
    }
    for seed in RANDOM {
        check("random", seed, &random_graph(seed));
        check("random, all operators", seed, &random_graph_of_all(seed));
    }
}

fn sample(graph: &Graph, dice: &mut Dice) -> Vec<Vec<f32>> {
    graph.inputs().iter().map(|i| dice.values(graph.node(*i).shape.iter().product())).collect()
}

fn outputs(graph: &Graph, sample: &[Vec<f32>]) -> Vec<f32> {
    let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
    let values = evaluate(graph, &inputs);
    graph.outputs().iter().flat_map(|o| values[o].clone()).collect()
}

/// Equal to 1e-5 of the largest value on the way: sums in another order round differently.
fn assert_equal(a: &Graph, b: &Graph, dice: &mut Dice, what: &str) {
    let sample = sample(a, dice);
    let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
    let scale = evaluate(a, &inputs).values().flatten().fold(1.0f32, |m, v| m.max(v.abs()));
    let (a, b) = (outputs(a, &sample), outputs(b, &sample));
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() <= 1e-5 * scale, "{what}: {a} and {b} at scale {scale}");
    }
}

/// A plan that keeps a random part of every open group.
pub fn random_plan(groups: &DependencyGroups, dice: &mut Dice) -> PruningPlan {
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

/// The graph with the columns that read removed channels set to zero.
fn zero_columns(graph: &Graph, groups: &DependencyGroups, plan: &PruningPlan) -> Graph {
    let mut masked = graph.clone();
    for (group, plan) in groups.groups.iter().zip(&plan.groups) {
        for member in group.members.iter().filter(|m| m.role == Role::Input) {
            let mut tensor = masked.param(member.param).clone();
            let (extent, inner) = (tensor.shape()[member.axis], tensor.shape()[member.axis + 1..].iter().product());
            let removed = (0..group.channels).filter(|c| !plan.kept.contains(c));
            let columns: BTreeSet<usize> = removed.flat_map(|c| member.positions[c].iter().copied()).collect();
            for (i, column) in tensor.as_f32_mut().chunks_mut(inner).enumerate() {
                if columns.contains(&(i % extent)) {
                    column.fill(0.0);
                }
            }
            masked.set_param(member.param, tensor);
        }
    }
    masked
}

/// The network with removed channels masked: the columns that read them are zero, and what reads channels without
/// weights does not see them. Normalizations take their statistics over the channels that stay, and products of values
/// sum over these alone; both written out with selections, from the graph before pruning.
fn masked(graph: &Graph, groups: &DependencyGroups, plan: &PruningPlan) -> Graph {
    let columns = zero_columns(graph, groups, plan);
    let mut result = Graph::new("masked");
    for (id, name, tensor) in columns.params() {
        assert_eq!(result.add_param(name, tensor.clone()), id, "parameters keep their names");
    }
    let kept = |value: NodeId| -> Vec<usize> {
        let channels = groups.value_channels(value).iter().enumerate();
        channels.filter(|(_, c)| plan.groups[c.group].kept.contains(&c.channel)).map(|(i, _)| i).collect()
    };
    let mut places: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in columns.nodes() {
        let node = columns.node(id);
        let mut operands: Vec<NodeId> = columns.operands(id).iter().map(|o| places[o]).collect();
        let place = match &node.op {
            Op::Input { shape } => result.add_input(&node.name, shape),
            Op::Normalize(normalize) => {
                let kept = kept(id);
                let mut part = |param| {
                    let values = kept.iter().map(|c| columns.param(param).as_f32()[*c]).collect();
                    result.add_param("part", Tensor::f32([kept.len()], values))
                };
                let (gamma, beta) = (part(normalize.gamma), part(normalize.beta));
                let over = match normalize.over {
                    Statistics::Groups(groups) if groups == node.shape[0] => Statistics::Groups(kept.len()),
                    over => over,
                };
                let op = Op::Normalize(Normalize { over, gamma, beta, ..normalize.clone() });
                let all: Vec<Option<usize>> = (0..node.shape[0]).map(|c| kept.binary_search(&c).ok()).collect();
                let picked = Op::Select { channels: kept.into_iter().map(Some).collect() };
                let picked = result.add("picked", picked, &operands).unwrap();
                let normalized = result.add(&node.name, op, &[picked]).unwrap();
                result.add("spread", Op::Select { channels: all }, &[normalized])
            }
            Op::MatMul { transpose: [true, false] } if node.shape.len() == 2 => {
                let left = columns.operands(id)[0];
                let kept = kept(left);
                let all = (0..columns.node(left).shape[0]).map(|c| kept.contains(&c).then_some(c)).collect();
                operands[0] = result.add("seen", Op::Select { channels: all }, &operands[..1]).unwrap();
                result.add(&node.name, node.op.clone(), &operands)
            }
            op => result.add(&node.name, op.clone(), &operands),
        };
        places.insert(id, place.unwrap());
    }
    columns.outputs().iter().for_each(|o| result.add_output(places[o]));
    result
}

#[test]
fn removal_equals_masking() {
    let mut removed: BTreeMap<String, usize> = BTreeMap::new();
    let count = std::cell::RefCell::new(&mut removed);
    each(&|name, seed, graph| {
        let what = format!("{name}, seed {seed}");
        let groups = dependency_groups(graph).unwrap();
        let mut dice = Dice::new(seed);
        let plan = random_plan(&groups, &mut dice);
        let small = apply(graph, &plan).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_equal(&masked(graph, &groups, &plan), &small, &mut dice, &format!("{what}\n{graph}\n{small}"));
        *count.borrow_mut().entry(name.to_owned()).or_default() += plan.removed();
    });
    for topology in TOPOLOGIES {
        assert!(removed[topology.name] > 0, "{}: nothing was removed", topology.name);
    }
    assert!(removed["random, all operators"] > 1000, "{removed:?}");
}

/// Orders that exchange channels which occur equally often everywhere.
pub fn random_orders(graph: &Graph, groups: &DependencyGroups, dice: &mut Dice) -> Vec<Vec<usize>> {
    let values: Vec<_> = graph.nodes().into_iter().map(|n| groups.value_channels(n)).collect();
    let order = |(index, group): (usize, &espalier_prune::Group)| {
        let mut order: Vec<usize> = (0..group.channels).collect();
        if group.frozen.is_some() {
            return order;
        }
        let owned = |c: usize| -> Vec<usize> {
            let members = group.members.iter().map(|m| m.positions[c].len());
            let here =
                |v: &&[espalier_prune::ChannelRef]| v.iter().filter(|r| (r.group, r.channel) == (index, c)).count();
            members.chain(values.iter().map(here)).collect()
        };
        let kinds: Vec<Vec<usize>> = (0..group.channels).map(owned).collect();
        for kind in kinds.iter().collect::<BTreeSet<_>>() {
            let places: Vec<usize> = (0..group.channels).filter(|c| kinds[*c] == *kind).collect();
            let mut shuffled = places.clone();
            dice.shuffle(&mut shuffled);
            places.into_iter().zip(shuffled).for_each(|(p, s)| order[p] = s);
        }
        order
    };
    groups.groups.iter().enumerate().map(order).collect()
}

#[test]
fn permuting_the_channels_of_a_group_changes_nothing() {
    let moved = std::cell::RefCell::new(BTreeMap::<String, usize>::new());
    each(&|name, seed, graph| {
        let groups = dependency_groups(graph).unwrap();
        let mut dice = Dice::new(seed);
        let orders = random_orders(graph, &groups, &mut dice);
        let permuted = permute(graph, &groups, &orders).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}"));
        assert_equal(graph, &permuted, &mut dice, &format!("{name}, seed {seed}\n{graph}"));
        let count = orders.iter().flat_map(|o| o.iter().enumerate()).filter(|(i, c)| i != *c).count();
        *moved.borrow_mut().entry(name.to_owned()).or_default() += count;
    });
    let moved = moved.into_inner();
    assert!(TOPOLOGIES.iter().all(|t| moved[t.name] > 0), "{moved:?}");
}

#[test]
fn removing_nothing_is_the_identity() {
    each(&|name, seed, graph| {
        let groups = dependency_groups(graph).unwrap();
        let same = apply(graph, &PruningPlan::keep_all(&groups, 0)).unwrap();
        assert!(graph.params().eq(same.params()), "{name}, seed {seed}");
        let inputs = sample(graph, &mut Dice::new(seed));
        let bits = |graph: &Graph| outputs(graph, &inputs).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(graph), bits(&same), "{name}, seed {seed}");
        let ops = |graph: &Graph| graph.nodes().into_iter().map(|n| graph.node(n).op.clone()).collect::<Vec<_>>();
        assert_eq!(ops(graph), ops(&same), "{name}, seed {seed}");
    });
}

#[test]
fn the_order_of_removals_does_not_matter() {
    let compared = std::cell::Cell::new(0);
    each(&|name, seed, graph| {
        let groups = dependency_groups(graph).unwrap();
        let plan = random_plan(&groups, &mut Dice::new(seed));
        // Half of the groups first, the others second, and the other way round.
        let part = |graph: &Graph, parity: usize| -> Option<Graph> {
            let now = dependency_groups(graph).unwrap();
            // A group that only some of its channels held together may fall apart: another numbering.
            if !now.groups.iter().map(|g| &g.name).eq(groups.groups.iter().map(|g| &g.name)) {
                return None;
            }
            let mut part = PruningPlan::keep_all(&now, 0);
            for i in (0..part.groups.len()).filter(|i| i % 2 == parity) {
                part.groups[i] = plan.groups[i].clone();
            }
            Some(apply(graph, &part).unwrap())
        };
        let twice = |first, second| part(&part(graph, first)?, second);
        let (Some(a), Some(b)) = (twice(0, 1), twice(1, 0)) else { return };
        compared.set(compared.get() + 1);
        assert!(a.params().eq(b.params()), "{name}, seed {seed}");
        let once = apply(graph, &plan).unwrap();
        assert!(a.params().eq(once.params()), "{name}, seed {seed}");
        assert_eq!(a.to_string(), once.to_string(), "{name}, seed {seed}");
    });
    let all = TOPOLOGIES.len() * SEEDS.count() + 2 * RANDOM.count();
    assert!(compared.get() * 10 > all * 8, "only {} of {all} networks", compared.get());
}

/// Trained parameters and multiply-accumulates that remain, from the groups alone.
fn predicted(graph: &Graph, groups: &DependencyGroups, plan: &PruningPlan) -> (usize, u64) {
    let mut kept: BTreeMap<(ParamId, usize), usize> = BTreeMap::new();
    for (group, plan) in groups.groups.iter().zip(&plan.groups) {
        for member in &group.members {
            let here: usize = plan.kept.iter().map(|c| member.positions[*c].len()).sum();
            *kept.entry((member.param, member.axis)).or_default() += here;
        }
    }
    let size = |param: ParamId| -> usize {
        let shape = graph.param(param).shape().iter().enumerate();
        shape.map(|(axis, extent)| kept.get(&(param, axis)).copied().unwrap_or(*extent)).product()
    };
    let statistics: BTreeSet<ParamId> = graph
        .nodes()
        .into_iter()
        .filter_map(|n| {
            if let Op::BatchNorm { mean, variance, .. } = graph.node(n).op { Some([mean, variance]) } else { None }
        })
        .flatten()
        .collect();
    let trained = graph.params().map(|(id, _, _)| id).filter(|id| !statistics.contains(id));
    let macs = |node| {
        let pixels = |shape: &[usize]| shape[1..].iter().product::<usize>();
        match &graph.node(node).op {
            Op::Conv(conv) => size(conv.weight) * pixels(&graph.node(node).shape),
            Op::ConvTranspose(conv) => size(conv.weight) * pixels(&graph.node(graph.operands(node)[0]).shape),
            Op::Gemm { weight, .. } => size(*weight),
            Op::MatMul { .. } => {
                let left = graph.operands(node)[0];
                let channels = groups.value_channels(left);
                let kept = channels.iter().filter(|c| plan.groups[c.group].kept.contains(&c.channel)).count();
                graph.node_macs(node) as usize / channels.len() * kept
            }
            _ => 0,
        }
    };
    (trained.map(size).sum(), graph.nodes().into_iter().map(|n| macs(n) as u64).sum())
}

#[test]
fn parameters_and_operations_are_those_that_the_groups_predict() {
    each(&|name, seed, graph| {
        let groups = dependency_groups(graph).unwrap();
        let plan = random_plan(&groups, &mut Dice::new(seed));
        let small = apply(graph, &plan).unwrap();
        let found = (small.parameter_count(), small.macs());
        assert_eq!(predicted(graph, &groups, &plan), found, "{name}, seed {seed}");
        assert_eq!(found.0 < graph.parameter_count(), owned(&groups, &plan), "{name}, seed {seed}");
        for node in small.nodes() {
            assert!(!small.node(node).shape.contains(&0), "{name}, seed {seed}");
        }
    });
}

/// Whether the plan removes a channel that some parameter indexes.
fn owned(groups: &DependencyGroups, plan: &PruningPlan) -> bool {
    groups.groups.iter().zip(&plan.groups).any(|(group, plan)| {
        let removed = (0..group.channels).filter(|c| !plan.kept.contains(c));
        removed.into_iter().any(|c| group.members.iter().any(|m| !m.positions[c].is_empty()))
    })
}

#[test]
fn plans_cost_what_the_target_counts_and_leave_no_group_empty() {
    let config = AcceleratorConfig {
        activation_tables: true,
        gates: true,
        depthwise_taps: 2,
        ..AcceleratorConfig::new(4, 4, 8192, 64)
    };
    for topology in TOPOLOGIES {
        let graph = (topology.build)(1);
        if !topology.on_array {
            let findings = array_layers(&graph).unwrap_err();
            assert!(findings.iter().all(|f| f.code == "unsupported-on-accelerator" && f.help.is_some()), "{findings}");
            continue;
        }
        let what = topology.name;
        let groups = dependency_groups(&graph).unwrap();
        let scores = importance(&graph, &groups, Criterion::L1, Normalization::Share, &Evidence::NONE).unwrap();
        let dense = dense_cycles(&graph, &config).unwrap_or_else(|e| panic!("{what}: {e}"));
        let floor = minimum_channel_cycles(&graph, &groups, &scores, &config, 0.0).unwrap();
        for third in 0..=2 {
            let budget_cycles = floor + (dense - floor) * third / 3;
            let options = ChannelOptions { budget_cycles, min_keep: 0.0 };
            let plan = channel_plan(&graph, &groups, &scores, &config, &options).unwrap();
            let small = apply(&graph, &plan).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(plan.cycles, dense_cycles(&small, &config).unwrap(), "{what}, {third}");
            assert!(plan.cycles <= budget_cycles, "{what}, {third}");
            assert!(plan.groups.iter().all(|g| !g.kept.is_empty()), "{what}, {third}");
        }
    }
}

#[test]
fn zeros_vanish_with_what_they_are_added_to() {
    let topology = TOPOLOGIES.iter().find(|t| t.name == "residual, zero padding").unwrap();
    let graph = (topology.build)(3);
    let groups = dependency_groups(&graph).unwrap();
    // One stream of 12 channels: 4 from the first stage, 4 from the second, 4 of the third alone.
    let (index, stream) = groups.prunable().find(|(_, g)| g.channels == 12).unwrap();
    assert_eq!(stream.required.iter().map(Vec::len).collect::<BTreeSet<_>>(), BTreeSet::from([4, 8, 12]));
    // Everything that a padded position adds may go, and all of the first stage but one channel.
    let first = stream.required.iter().find(|r| r.len() == 4).unwrap();
    let mut plan = PruningPlan::keep_all(&groups, 0);
    plan.groups[index].kept = vec![first[0]];
    let small = apply(&graph, &plan).unwrap();
    let selections: Vec<Vec<Option<usize>>> = small
        .nodes()
        .into_iter()
        .filter_map(|n| if let Op::Select { channels } = &small.node(n).op { Some(channels.clone()) } else { None })
        .collect();
    assert_eq!(selections, [[Some(0)], [Some(0)]]);
    assert_equal(&zero_columns(&graph, &groups, &plan), &small, &mut Dice::new(1), "only the first stage");
}

#[test]
fn a_mask_of_one_channel_couples_nothing_and_stays() {
    let topology = TOPOLOGIES.iter().find(|t| t.name == "channel mask").unwrap();
    let graph = (topology.build)(3);
    let groups = dependency_groups(&graph).unwrap();
    let open: Vec<usize> = groups.prunable().map(|(_, g)| g.channels).collect();
    assert_eq!(open, [6], "the mask has one channel and is of no other's group");
    let (index, group) = groups.prunable().next().unwrap();
    assert!(group.required.contains(&vec![2]), "channel 2 multiplies all others: {:?}", group.required);
    let mut plan = PruningPlan::keep_all(&groups, 0);
    plan.groups[index].kept = vec![0, 1];
    assert_eq!(apply(&graph, &plan).unwrap_err().iter().next().unwrap().code, "plan-mismatch");
}
