//! Groups, proved by what they promise: channels of a group may be permuted and removed.

use espalier_ir::{Graph, Op, evaluate_output};
use espalier_prune::{DependencyGroups, PruningPlan, Role, apply, dependency_groups, permute};

use crate::nets::{Dice, Net, random_graph, resnet};

const SEEDS: std::ops::Range<u64> = 0..200;

fn run(graph: &Graph, dice: &mut Dice) -> (Vec<f32>, Vec<f32>) {
    let input = dice.values(graph.node(graph.inputs()[0]).shape.iter().product());
    let output = evaluate_output(graph, &[&input]);
    (input, output)
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    let scale = a.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-4 * scale, "{what}: {a} and {b} at scale {scale}");
    }
}

/// A plan that keeps a random part of every open group.
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

/// The graph with the columns that read removed channels set to zero.
fn zero_columns(graph: &Graph, groups: &DependencyGroups, plan: &PruningPlan) -> Graph {
    let mut masked = graph.clone();
    for (group, plan) in groups.groups.iter().zip(&plan.groups) {
        for member in group.members.iter().filter(|m| m.role == Role::Input) {
            let mut tensor = masked.param(member.param).clone();
            let shape = tensor.shape().to_vec();
            let inner: usize = shape[2..].iter().product();
            let removed = (0..group.channels).filter(|c| !plan.kept.contains(c));
            for column in removed.flat_map(|c| &member.positions[c]) {
                for row in 0..shape[0] {
                    tensor.as_f32_mut()[(row * shape[1] + column) * inner..][..inner].fill(0.0);
                }
            }
            masked.set_param(member.param, tensor);
        }
    }
    masked
}

#[test]
fn permuting_the_channels_of_a_group_changes_nothing() {
    for seed in SEEDS {
        let graph = random_graph(seed);
        let groups = dependency_groups(&graph).unwrap();
        let mut dice = Dice::new(seed);
        let orders: Vec<Vec<usize>> = groups
            .groups
            .iter()
            .map(|group| {
                let mut order: Vec<usize> = (0..group.channels).collect();
                if group.frozen.is_some() {
                    return order;
                }
                // Only channels that own equally much everywhere may change places.
                let owned = |c: usize| -> Vec<usize> { group.members.iter().map(|m| m.positions[c].len()).collect() };
                let kinds: std::collections::BTreeSet<Vec<usize>> = (0..group.channels).map(owned).collect();
                for kind in kinds {
                    let places: Vec<usize> = (0..group.channels).filter(|c| owned(*c) == kind).collect();
                    let mut shuffled = places.clone();
                    dice.shuffle(&mut shuffled);
                    places.into_iter().zip(shuffled).for_each(|(p, s)| order[p] = s);
                }
                order
            })
            .collect();
        let permuted = permute(&graph, &groups, &orders).unwrap();
        let (input, output) = run(&graph, &mut dice);
        assert_close(&output, &evaluate_output(&permuted, &[&input]), &format!("seed {seed}\n{graph}"));
    }
}

#[test]
fn removal_equals_zero_columns_in_the_readers() {
    let mut removed = 0;
    for seed in SEEDS {
        let graph = random_graph(seed);
        let groups = dependency_groups(&graph).unwrap();
        let mut dice = Dice::new(seed);
        let plan = random_plan(&groups, &mut dice);
        removed += plan.removed();
        let masked = zero_columns(&graph, &groups, &plan);
        let small = apply(&graph, &plan).unwrap();
        let (input, output) = run(&masked, &mut dice);
        assert_close(&output, &evaluate_output(&small, &[&input]), &format!("seed {seed}\n{graph}"));
        assert_eq!(small.parameter_count() < graph.parameter_count(), plan.removed() > 0, "seed {seed}");
    }
    assert!(removed > 1000, "the generator removed only {removed} channels");
}

#[test]
fn removing_nothing_is_the_identity_and_removals_commute() {
    let mut compared = 0;
    for seed in 0..50 {
        let graph = random_graph(seed);
        let groups = dependency_groups(&graph).unwrap();
        let same = apply(&graph, &PruningPlan::keep_all(&groups, 0)).unwrap();
        assert!(graph.params().eq(same.params()), "seed {seed}");
        // Half of the groups first, the others second, and the other way round.
        let plan = random_plan(&groups, &mut Dice::new(seed));
        let part = |graph: &Graph, parity: usize| -> Option<Graph> {
            let now = dependency_groups(graph).unwrap();
            // A group that only some of its channels held together may fall apart: another numbering.
            if !now.groups.iter().map(|g| &g.name).eq(groups.groups.iter().map(|g| &g.name)) {
                return None;
            }
            let groups = now;
            let mut part = PruningPlan::keep_all(&groups, 0);
            for i in (0..part.groups.len()).filter(|i| i % 2 == parity) {
                part.groups[i] = plan.groups[i].clone();
            }
            Some(apply(graph, &part).unwrap())
        };
        let twice = |first, second| part(&part(&graph, first)?, second);
        let (Some(a), Some(b)) = (twice(0, 1), twice(1, 0)) else { continue };
        compared += 1;
        assert!(a.params().eq(b.params()), "seed {seed}");
        assert!(a.params().eq(apply(&graph, &plan).unwrap().params()), "seed {seed}");
    }
    assert!(compared > 40, "only {compared} networks");
}

#[test]
fn a_residual_network_has_one_group_a_stage_and_one_a_block() {
    let groups = dependency_groups(&resnet(1, 3, 16, 8)).unwrap();
    let open: Vec<usize> = groups.prunable().map(|(_, g)| g.channels).collect();
    assert_eq!(open, [16, 16, 16, 16, 32, 32, 32, 32, 64, 64, 64, 64]);
    let frozen: Vec<&str> = groups.groups.iter().filter_map(|g| g.frozen.as_deref()).collect();
    assert_eq!(frozen, ["graph input 'x'", "graph output 'fc'"]);
}

#[test]
fn flattening_gives_every_channel_a_range_of_columns() {
    let (mut net, x) = Net::new(3, &[1, 2, 3]);
    let c = net.conv(x, 4, 1, 1, 1);
    let flat = net.op("flat", Op::Flatten, &[c]);
    let fc = net.gemm(flat, 2);
    let graph = net.finish(fc);
    let groups = dependency_groups(&graph).unwrap();
    let columns = groups.groups[1].members.iter().find(|m| m.role == Role::Input).unwrap();
    assert_eq!(columns.positions[2], (12..18).collect::<Vec<_>>());
}

#[test]
fn depthwise_and_grouped_convolutions_keep_their_groups_consistent() {
    let (mut net, x) = Net::new(5, &[1, 4, 4]);
    let a = net.conv(x, 6, 1, 1, 1);
    let depthwise = net.conv(a, 12, 3, 1, 6);
    let grouped = net.conv(depthwise, 8, 3, 1, 2);
    let end = net.conv(grouped, 1, 1, 1, 1);
    let graph = net.finish(end);
    let groups = dependency_groups(&graph).unwrap();
    // The grouped convolution reads channels 0..6 and 6..12: i and i + 6 go together, and these are
    // the copies of channels i / 2 and i / 2 + 3.
    let sizes: Vec<usize> = groups.groups.iter().map(|g| g.channels).collect();
    assert_eq!(sizes, [1, 3, 4, 1]);
    let mut plan = PruningPlan::keep_all(&groups, 0);
    plan.groups[1].kept = vec![1];
    plan.groups[2].kept = vec![0, 3];
    let small = apply(&graph, &plan).unwrap();
    let shapes: Vec<Vec<usize>> = small.nodes().into_iter().map(|n| small.node(n).shape.clone()).collect();
    assert_eq!(shapes, [vec![1, 4, 4], vec![2, 4, 4], vec![4, 4, 4], vec![4, 4, 4], vec![1, 4, 4]]);
}

#[test]
fn plans_of_another_model_are_refused() {
    let graph = resnet(1, 1, 8, 8);
    let groups = dependency_groups(&graph).unwrap();
    let good = PruningPlan::keep_all(&groups, 0);
    let broken: [fn(&mut PruningPlan); 6] = [
        |p| p.groups.truncate(2),
        |p| p.groups[1].channels = 9,
        |p| p.groups[1].kept = vec![3, 1],
        |p| p.groups[1].kept = vec![8],
        |p| p.groups[1].kept.clear(),
        |p| p.groups[0].kept = vec![0, 1],
    ];
    for (i, damage) in broken.iter().enumerate() {
        let mut plan = good.clone();
        damage(&mut plan);
        let findings = apply(&graph, &plan).unwrap_err();
        assert_eq!(findings.iter().next().unwrap().code, "plan-mismatch", "case {i}");
    }
    let order: Vec<Vec<usize>> = groups.groups.iter().map(|g| (0..g.channels).rev().collect()).collect();
    assert_eq!(permute(&graph, &groups, &order).unwrap_err().iter().next().unwrap().code, "bad-permutation");
}

#[test]
fn plans_survive_serialization() {
    let groups = dependency_groups(&resnet(1, 1, 8, 8)).unwrap();
    let plan = random_plan(&groups, &mut Dice::new(9));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<PruningPlan>(&text).unwrap(), plan);
}

#[test]
fn invalid_graphs_are_findings() {
    let mut graph = Graph::new("empty");
    assert!(dependency_groups(&graph).is_err());
    let x = graph.add_input("x", &[1 << 25]).unwrap();
    let y = graph.add("y", Op::Relu, &[x]).unwrap();
    graph.add_output(y);
    let findings = dependency_groups(&graph).unwrap_err();
    assert_eq!(findings.iter().next().unwrap().code, "model-too-large");
}
