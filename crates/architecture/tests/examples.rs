//! The architectures of the repository: sizes, initial weights, and the way to ONNX and back.

use std::fs;
use std::path::Path;

use espalier_architecture::read;
use espalier_ir::{Graph, Op, Random, evaluate_output};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../examples/architectures/{name}.toml"));
    fs::read_to_string(path).unwrap()
}

fn graph(name: &str) -> Graph {
    read(&example(name), name, 1).unwrap_or_else(|findings| panic!("{findings}")).graph
}

/// Parameters: those of the models of the same name that others published or that the repository holds.
const SIZES: [(&str, usize); 9] = [
    ("simple_net", 3_210),
    ("mlp", 52_650),
    ("lenet5", 61_706),
    ("resnet8", 78_186),
    ("resnet20", 269_722),
    ("dscnn", 23_626),
    ("dscnn_small", 6_218),
    ("mobilenet_v3", 9_346),
    ("lstm", 5_962),
];

#[test]
fn sizes_are_those_that_the_files_state() {
    for (name, parameters) in SIZES {
        let graph = graph(name);
        assert_eq!(graph.parameter_count(), parameters, "{name}");
        assert_eq!(graph.node(graph.outputs()[0]).shape, [10], "{name}");
        let grouped: String = parameters.to_string();
        let (thousands, rest) = grouped.split_at(grouped.len() - 3);
        assert!(example(name).contains(&format!("{thousands},{rest} parameters")), "{name} states its size");
    }
    assert_eq!(
        SIZES.len(),
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/architectures")).unwrap().count()
    );
    let twelve = example("dscnn").replace("features = 10", "features = 12");
    assert_eq!(read(&twelve, "dscnn", 1).unwrap().graph.parameter_count(), 23_756);
    let unpadded = example("lenet5").replace(", pads = 2", "");
    assert_eq!(read(&unpadded, "lenet5", 1).unwrap().graph.parameter_count(), 44_426);
    // Multiply-accumulates of the published models.
    assert_eq!(graph("resnet8").macs(), 12_501_632);
    assert_eq!(graph("resnet20").macs(), 40_551_040);
}

#[test]
fn every_architecture_survives_onnx() {
    for (name, _) in SIZES {
        let before = graph(name);
        let bytes = espalier_onnx::export(&before);
        let after = espalier_onnx::import(&bytes).unwrap_or_else(|findings| panic!("{name}: {findings}"));
        assert_eq!(after.parameter_count(), before.parameter_count(), "{name}");
        let kinds = |g: &Graph| {
            g.nodes().into_iter().map(|n| (g.node(n).op.name(), g.node(n).shape.clone())).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&after), kinds(&before), "{name}");
        let mut random = Random::new(3);
        let len = before.node(before.inputs()[0]).shape.iter().product();
        let input: Vec<f32> = (0..len).map(|_| random.unit() - 0.5).collect();
        assert_eq!(evaluate_output(&after, &[&input]), evaluate_output(&before, &[&input]), "{name}");
    }
}

#[test]
fn initial_weights_depend_on_the_seed_and_keep_the_size_of_signals() {
    for (name, _) in SIZES {
        let values = |seed| {
            let graph = read(&example(name), name, seed).unwrap().graph;
            graph.params().map(|(_, _, t)| t.as_f32().to_vec()).collect::<Vec<_>>().concat()
        };
        assert_eq!(values(7), values(7));
        assert_ne!(values(7), values(8));
    }
    // Logits of noise neither vanish nor explode, however deep the network (all but normalized ones pass many layers).
    for (name, _) in SIZES {
        let graph = graph(name);
        let mut random = Random::new(4);
        let len = graph.node(graph.inputs()[0]).shape.iter().product();
        let input: Vec<f32> = (0..len).map(|_| (random.unit() - 0.5) * 12f32.sqrt()).collect();
        let largest = evaluate_output(&graph, &[&input]).iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!((1e-3..1e3).contains(&largest), "{name}: {largest}");
    }
}

#[test]
fn rectified_layers_start_wider_than_the_classifier_and_forget_gates_open() {
    let bound =
        |graph: &Graph, param| graph.param(param).as_f32().iter().fold(0.0f32, |m: f32, v: &f32| m.max(v.abs()));
    let net = graph("lenet5");
    let weights: Vec<_> = net
        .nodes()
        .into_iter()
        .filter_map(|n| match &net.node(n).op {
            Op::Conv(conv) => Some(conv.weight),
            Op::Gemm { weight, .. } => Some(*weight),
            _ => None,
        })
        .collect();
    // He: sqrt(6 / inputs) for the layers in front of rectifiers; Glorot: sqrt(6 / (inputs + outputs)) for the last.
    let limits = [25.0f32, 150.0, 400.0, 120.0, 94.0].map(|n| (6.0 / n).sqrt());
    for (weight, limit) in weights.into_iter().zip(limits) {
        let largest = bound(&net, weight);
        assert!(largest <= limit && largest > 0.9 * limit, "{largest} of {limit}");
    }
    let net = graph("lstm");
    let bias = net.nodes().into_iter().find_map(|n| match &net.node(n).op {
        Op::Recurrent(layer) => layer.bias,
        _ => None,
    });
    let values = net.param(bias.unwrap()[0]).as_f32();
    assert!(values[..64].iter().chain(&values[96..]).all(|v| *v == 0.0) && values[64..96].iter().all(|v| *v == 1.0));
}
