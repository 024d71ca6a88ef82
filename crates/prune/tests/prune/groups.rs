//! Groups of single networks, and what is refused.

use espalier_ir::{Graph, Op};
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
