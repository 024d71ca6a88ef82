//! Groups of single networks, and what is refused.

use espalier_ir::{Graph, Op, Statistics};
use espalier_prune::{PruningPlan, Role, apply, dependency_groups, permute};

use crate::nets::{Dice, Net, resnet};
use crate::properties::random_plan;

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

/// One block of attention on tokens `[6, 1, 4]` and a classifier: groups that may lose channels.
fn attention_groups(heads: usize, shared: usize, apart: bool) -> Vec<(usize, Vec<Vec<usize>>)> {
    let (mut net, x) = Net::new(2, &[2, 1, 4]);
    let x = net.conv(x, 6, 1, 1, 1);
    let y = net.attention(x, heads, shared, 3, apart);
    let y = net.op("mean", Op::GlobalAveragePool, &[y]);
    let y = net.op("flat", Op::Flatten, &[y]);
    let y = net.gemm(y, 2);
    let groups = dependency_groups(&net.finish(y)).unwrap();
    // Positions that channel 0 owns in what is computed: rows of the projections.
    let rows = |g: &espalier_prune::Group| {
        let rows = g.members.iter().filter(|m| m.role == Role::Output && !m.positions[0].is_empty());
        rows.map(|m| m.positions[0].clone()).collect()
    };
    groups.prunable().map(|(_, g)| (g.channels, rows(g))).collect()
}

#[test]
fn heads_are_channels_or_their_dimensions_are() {
    let stream = vec![vec![0], vec![0]];
    let three = |first: usize| (first..first + 3).collect::<Vec<_>>();
    // Two heads: rows of query, key and value.
    assert_eq!(attention_groups(2, 1, false), [(6, stream.clone()), (2, vec![three(0); 3])]);
    // Four queries in pairs: of the query both heads of a pair.
    let pair = vec![(0..6).collect::<Vec<_>>(), three(0), three(0)];
    assert_eq!(attention_groups(4, 2, false), [(6, stream.clone()), (2, pair)]);
    // Computed apart: dimensions of query and key, and of the value, in both heads.
    let dimension = vec![vec![0]];
    assert_eq!(attention_groups(2, 1, true), [(6, stream.clone()), (6, vec![vec![0]; 2]), (6, dimension.clone())]);
    // Keys and values that two heads share: their dimension is one of both queries.
    assert_eq!(attention_groups(4, 2, true), [(6, stream), (6, vec![vec![0, 3], vec![0]]), (6, dimension)]);
}

#[test]
fn normalized_groups_keep_as_many_channels_as_each_other() {
    let groups = |over| {
        let (mut net, x) = Net::new(2, &[2, 4, 4]);
        let x = net.conv(x, 8, 3, 1, 1);
        let x = net.normalize(x, over);
        let x = net.op("mean", Op::GlobalAveragePool, &[x]);
        let x = net.op("flat", Op::Flatten, &[x]);
        let x = net.gemm(x, 2);
        let graph = net.finish(x);
        let groups = dependency_groups(&graph).unwrap();
        groups.prunable().next().map(|(_, g)| g.channels)
    };
    assert_eq!(groups(Statistics::Groups(2)), Some(4), "positions of both groups");
    assert_eq!(groups(Statistics::Groups(1)), Some(8));
    assert_eq!(groups(Statistics::Groups(8)), Some(8), "every channel by itself");
    assert_eq!(groups(Statistics::Position), Some(8));
}

/// Layer normalization between two matrices, rebuilt by loops over the features that stay.
#[test]
fn a_pruned_layer_normalization_is_that_of_the_features_that_stay() {
    let (mut net, x) = Net::new(7, &[5]);
    let hidden = net.gemm(x, 6);
    let normal = net.normalize(hidden, Statistics::Position);
    let y = net.gemm(normal, 3);
    let graph = net.finish(y);
    let groups = dependency_groups(&graph).unwrap();
    let (index, _) = groups.prunable().next().unwrap();
    let mut plan = PruningPlan::keep_all(&groups, 0);
    let kept = vec![0, 2, 3, 5];
    plan.groups[index].kept = kept.clone();
    let small = apply(&graph, &plan).unwrap();
    let x = Dice::new(3).values(5);
    let params: Vec<&[f32]> = graph.params().map(|(_, _, t)| t.as_f32()).collect();
    let [w, b, gamma, beta, v, c] = params[..] else { panic!("six parameters") };
    let hidden: Vec<f32> = kept.iter().map(|o| (0..5).map(|i| w[o * 5 + i] * x[i]).sum::<f32>() + b[*o]).collect();
    let mean = hidden.iter().sum::<f32>() / 4.0;
    let deviation = (hidden.iter().map(|h| (h - mean).powi(2)).sum::<f32>() / 4.0 + 1e-3).sqrt();
    let normal: Vec<f32> =
        kept.iter().zip(&hidden).map(|(o, h)| (h - mean) / deviation * gamma[*o] + beta[*o]).collect();
    let expected = (0..3).map(|o| kept.iter().zip(&normal).map(|(i, n)| v[o * 6 + i] * n).sum::<f32>() + c[o]);
    let found = espalier_ir::evaluate_output(&small, &[&x]);
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }
}
