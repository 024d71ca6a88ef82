//! How long the plans for a network of the size of ResNet-20 take.

use divan::{Bencher, black_box};
use espalier_ir::Graph;
use espalier_prune::{
    Budgets, ChannelOptions, Criterion, Evidence, JointOptions, Normalization, Resource, VectorOptions, channel_plan,
    dense_cycles, dependency_groups, importance, joint_plan, vector_importance, vector_masks,
};
use espalier_target::{AcceleratorConfig, builtin_target};

#[path = "../tests/prune/nets.rs"]
#[allow(dead_code, reason = "the generator of the tests")]
mod nets;

fn main() {
    divan::main();
}

fn setup() -> (Graph, AcceleratorConfig) {
    (nets::resnet(1, 3, 16, 32), AcceleratorConfig::new(16, 16, 65536, 1024))
}

#[divan::bench(sample_count = 20)]
fn groups(bencher: Bencher) {
    let (graph, _) = setup();
    bencher.bench(|| dependency_groups(black_box(&graph)).unwrap());
}

// Channels alone reach 39 %.
#[divan::bench(args = [75, 50, 40], sample_count = 5, sample_size = 1)]
fn channels(bencher: Bencher, percent: u64) {
    let (graph, config) = setup();
    let groups = dependency_groups(&graph).unwrap();
    let scores = importance(&graph, &groups, Criterion::L2, Normalization::Sum, &Evidence::NONE).unwrap();
    let budget_cycles = dense_cycles(&graph, &config).unwrap() * percent / 100;
    let options = ChannelOptions { budget_cycles, min_keep: 0.0 };
    bencher.bench(|| channel_plan(&graph, &groups, &scores, &config, &options).unwrap());
}

#[divan::bench(args = [75, 50, 25], sample_count = 5, sample_size = 1)]
fn vectors(bencher: Bencher, percent: u64) {
    let (graph, config) = setup();
    let budget_cycles = dense_cycles(&graph, &config).unwrap() * percent / 100;
    bencher.bench(|| {
        let scores = vector_importance(&graph, &config, Criterion::L2, Normalization::Sum, &Evidence::NONE).unwrap();
        vector_masks(&graph, &config, &scores, &VectorOptions { budget_cycles, min_keep: 0.0 }).unwrap()
    });
}

const CASES: [&str; 6] = ["cycles", "three", "macs", "energy", "vectors", "vectors three"];

// One budget (cycles), three that follow steps, and one that every channel changes; then with vectors.
#[divan::bench(args = CASES, sample_count = 3, sample_size = 1)]
fn joint(bencher: Bencher, case: &str) {
    let (graph, config) = setup();
    let groups = dependency_groups(&graph).unwrap();
    let scores = importance(&graph, &groups, Criterion::L2, Normalization::Share, &Evidence::NONE).unwrap();
    let vectors = vector_importance(&graph, &config, Criterion::L2, Normalization::Share, &Evidence::NONE).unwrap();
    let vectors = case.starts_with("vectors").then_some(&vectors);
    let target = builtin_target("ecp5-85f").unwrap();
    let plan = |budgets| {
        let options = JointOptions::new(budgets);
        joint_plan(&graph, &groups, &scores, vectors, &target, &config, &options).unwrap()
    };
    let before = plan(Budgets::new()).before;
    let limited: &[Resource] = match case {
        "cycles" | "vectors" => &[Resource::Cycles],
        "macs" => &[Resource::Cycles, Resource::Macs],
        "energy" => &[Resource::Cycles, Resource::EnergyNj],
        _ => &[Resource::Cycles, Resource::WeightBytes, Resource::BlockRams],
    };
    let budgets = limited.iter().fold(Budgets::new(), |b, r| {
        let share = if matches!(r, Resource::Macs | Resource::EnergyNj) { 0.4 } else { 0.6 };
        b.with(*r, (share * r.of(&before)).floor())
    });
    println!("{}", plan(budgets.clone()).summary());
    bencher.bench(|| plan(budgets.clone()));
}
