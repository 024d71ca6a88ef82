//! Pruned topologies in an independent runtime, and the Taylor importance against finite differences.

use espalier_ir::{Graph, evaluate};
use espalier_onnx::{export, import};
use espalier_prune::{
    ChannelOptions, Criterion, DependencyGroups, Evidence, Normalization, PruningPlan, Role, apply, channel_plan,
    dense_cycles, dependency_groups, importance,
};
use espalier_target::AcceleratorConfig;
use espalier_tests::{noise, shared};
use espalier_train::{Execution, Samples, evaluate as loss_of, gate_products};
use tract_onnx::prelude::*;

#[path = "../crates/prune/tests/prune/nets.rs"]
#[allow(dead_code, reason = "a part of the generator of the pruner's tests")]
mod nets;
#[path = "../crates/prune/tests/prune/topologies/mod.rs"]
#[allow(dead_code, reason = "a part of the topologies of the pruner's tests")]
mod topologies;

use nets::{Dice, random_graph_of_all};
use topologies::{QUANTIZED, TOPOLOGIES};

/// A plan that keeps about half of every open group.
fn half(groups: &DependencyGroups, dice: &mut Dice) -> PruningPlan {
    let mut plan = PruningPlan::keep_all(groups, 0);
    for (index, group) in groups.prunable() {
        let mut kept: Vec<usize> = (0..group.channels).filter(|_| dice.below(2) == 0).collect();
        for set in &group.required {
            if !set.iter().any(|c| kept.contains(c)) {
                kept.push(set[0]);
            }
        }
        kept.sort_unstable();
        kept.dedup();
        plan.groups[index].kept = kept;
    }
    plan
}

fn samples(graph: &Graph, seed: u64) -> Vec<Vec<f32>> {
    let centred = |(i, node)| {
        let len = graph.node(node).shape.iter().product();
        noise(len, seed + 100 * i as u64).into_iter().map(|v| 2.0 * v - 1.0).collect()
    };
    graph.inputs().iter().copied().enumerate().map(centred).collect()
}

/// All outputs of an exported model in tract.
fn in_tract(graph: &Graph, inputs: &[Vec<f32>], what: &str) -> Vec<f32> {
    let bytes = export(graph);
    let shapes: Vec<Vec<usize>> = graph
        .inputs()
        .iter()
        .map(|i| std::iter::once(1).chain(graph.node(*i).shape.iter().copied()).collect())
        .collect();
    let mut model = tract_onnx::onnx().with_ignore_value_info(true).model_for_read(&mut &bytes[..]).unwrap();
    for (i, shape) in shapes.iter().enumerate() {
        model = model.with_input_fact(i, f32::fact(shape).into()).unwrap();
    }
    // A pass of tract 0.23.9 fails on some Gemm that reads flattened channels of a random network.
    let model = if what.starts_with("random") { model.into_typed() } else { model.into_optimized() };
    let model = model.and_then(|m| m.into_runnable()).unwrap_or_else(|e| panic!("{what}: {e:?}\n{graph}"));
    let values = shapes.iter().zip(inputs).map(|(s, v)| Tensor::from_shape(s, v).unwrap().into()).collect();
    let outputs = model.run(values).unwrap_or_else(|e| panic!("{what}: {e:?}\n{graph}"));
    outputs.iter().flat_map(|o| o.to_plain_array_view::<f32>().unwrap().iter().copied().collect::<Vec<_>>()).collect()
}

fn ours(graph: &Graph, inputs: &[Vec<f32>]) -> (Vec<f32>, f32) {
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let values = evaluate(graph, &inputs);
    let largest = values.values().flatten().fold(1.0f32, |m, v| m.max(v.abs()));
    (graph.outputs().iter().flat_map(|o| values[o].clone()).collect(), largest)
}

#[test]
fn pruned_networks_run_elsewhere_with_the_same_values() {
    let seeds = 0..3u64;
    let built = TOPOLOGIES.iter().flat_map(|t| seeds.clone().map(move |s| (t.name, s, (t.build)(s))));
    let random = (0..40u64).map(|s| ("random", s, random_graph_of_all(s)));
    for (name, seed, graph) in built.chain(random) {
        let groups = dependency_groups(&graph).unwrap();
        let plan = half(&groups, &mut Dice::new(seed));
        for graph in [apply(&graph, &plan).unwrap(), graph] {
            let what = format!("{name}, seed {seed}");
            let inputs = samples(&graph, seed);
            let (expected, scale) = ours(&graph, &inputs);
            let again = import(&export(&graph)).unwrap_or_else(|e| panic!("{what}: {e}"));
            for found in [in_tract(&graph, &inputs, &what), ours(&again, &inputs).0] {
                assert_eq!(found.len(), expected.len(), "{what}");
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() <= 1e-4 * scale, "{what}: {a}, not {b}\n{graph}");
                }
            }
        }
    }
}

/// Real models, half of the cycles: what the plan says is what the target counts and what comes back from a file.
#[test]
fn trained_models_are_pruned_within_the_budget() {
    let config = AcceleratorConfig::new(16, 16, 65_536, 1024);
    for name in ["own_mnist_lenet5_relu", "own_fsdd_dscnn", "mlperf_tiny_resnet8_cifar10", "resnet20_cifar10"] {
        let Some(path) = shared(&format!("models/{name}.onnx")) else { return };
        let graph = import(&std::fs::read(path).unwrap()).unwrap();
        let groups = dependency_groups(&graph).unwrap();
        let scores = importance(&graph, &groups, Criterion::L2, Normalization::Share, &Evidence::NONE).unwrap();
        let dense = dense_cycles(&graph, &config).unwrap();
        let started = std::time::Instant::now();
        let options = ChannelOptions { budget_cycles: dense * 3 / 5, min_keep: 0.0 };
        let plan = channel_plan(&graph, &groups, &scores, &config, &options).unwrap();
        println!("{name}: {} of {dense} cycles, {:.0?}", plan.cycles, started.elapsed());
        let small = apply(&graph, &plan).unwrap();
        assert_eq!(dense_cycles(&small, &config).unwrap(), plan.cycles, "{name}");
        assert!(plan.cycles <= plan.budget_cycles && plan.removed() > 0, "{name}");
        let again = import(&export(&small)).unwrap();
        assert_eq!(again.to_string(), small.to_string(), "{name}");
        let inputs = samples(&small, 3);
        let (expected, scale) = ours(&small, &inputs);
        let found = in_tract(&again, &inputs, name);
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-4 * scale), "{name}");
    }
}

/// The graph with the columns that read a channel multiplied by `gate`. A channel that only a product of two values
/// reads: both factors by the root of it.
fn gated(graph: &Graph, groups: &DependencyGroups, group: usize, channel: usize, gate: f32) -> Graph {
    let mut result = graph.clone();
    let members = &groups.groups[group].members;
    let read = members.iter().any(|m| m.role == Role::Input && !m.positions[channel].is_empty());
    let gate = if read { gate } else { gate.sqrt() };
    for member in members.iter().filter(|m| !read || m.role == Role::Input) {
        let mut tensor = result.param(member.param).clone();
        let (extent, inner) = (tensor.shape()[member.axis], tensor.shape()[member.axis + 1..].iter().product());
        for (i, column) in tensor.as_f32_mut().chunks_mut(inner).enumerate() {
            if member.positions[channel].contains(&(i % extent)) {
                column.iter_mut().for_each(|v| *v *= gate);
            }
        }
        result.set_param(member.param, tensor);
    }
    result
}

/// `sqrt(importance)` of a channel is the size of dL/dz at z = 1, z multiplying all that reads it (Molchanov et
/// al. 2019, equation 8).
#[test]
fn taylor_importance_is_the_squared_derivative_by_a_gate() {
    let mut checked = 0;
    for topology in TOPOLOGIES.iter().filter(|t| t.name != QUANTIZED) {
        let graph = (topology.build)(5);
        let elements = |i: &espalier_ir::NodeId| graph.node(*i).shape.iter().product::<usize>();
        let sample_len = graph.inputs().iter().map(elements).sum();
        let inputs: Vec<f32> = noise(3 * sample_len, 9).into_iter().map(|v| 2.0 * v - 1.0).collect();
        let samples = Samples { inputs: &inputs, labels: &[0, 1, 1], sample_len };
        let execution = Execution::default();
        let products = gate_products(&graph, &samples, 1, execution).unwrap();
        let groups = dependency_groups(&graph).unwrap();
        let evidence = Evidence::of_products(products, 3.0);
        let scores = importance(&graph, &groups, Criterion::Taylor, Normalization::None, &evidence).unwrap().scores;
        let loss = |gate: f32, group: usize, channel: usize| {
            loss_of(&gated(&graph, &groups, group, channel, gate), &samples, None, execution).unwrap().loss
        };
        for (index, group) in groups.prunable() {
            for channel in (0..group.channels).step_by(3) {
                let step = 4e-3f32;
                let difference = (loss(1.0 + step, index, channel) - loss(1.0 - step, index, channel)).abs();
                let (found, expected) = (scores[index][channel].sqrt(), difference / f64::from(2.0 * step));
                // Kinks of ReLU and maxima within the step, and 32-bit losses.
                let tolerance = 0.03 * expected.abs().max(0.1);
                assert!((found - expected).abs() <= tolerance, "{}: {found}, not {expected}", topology.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 200, "only {checked} channels");
}
