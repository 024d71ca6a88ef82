//! The shared models import and survive a round trip.

use std::fs;
use std::path::{Path, PathBuf};

use espalier_ir::{Diagnostics, Graph, Op, evaluate_output};
use espalier_onnx::{export, import};

/// The folder of models, or `None` with a visible note.
fn models() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("ESPALIER_SHARED").map_or(beside, PathBuf::from).join("models");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

fn load(folder: &Path, name: &str) -> Result<Graph, Diagnostics> {
    import(&fs::read(folder.join(format!("{name}.onnx"))).unwrap())
}

/// Reproducible values around zero.
fn noise(len: usize, mut state: u64) -> Vec<f32> {
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

#[test]
fn sizes_of_all_models_are_those_of_their_description() {
    let Some(folder) = models() else { return };
    // Parameters and thousands of multiply-accumulates as the README of the models gives them;
    // there the two numbers of a constant shape count as parameters of the CNTK model.
    let expected = [
        ("own_mnist_lenet5_relu", 61_706, 417, 1),
        ("own_mnist_mlp_784_64_32_10", 52_650, 52, 1),
        ("own_fashion_cnn_bn", 24_058, 1_920, 1),
        ("own_fsdd_dscnn", 5_994, 652, 1),
        ("onnxzoo_mnist_cntk", 5_994, 787, 1),
        ("mlperf_tiny_resnet8_cifar10", 78_186, 12_500, 10),
        ("mlperf_tiny_dscnn_kws", 23_756, 2_660, 10),
        ("mlperf_tiny_mobilenetv1_vww96", 216_322, 7_490, 10),
        ("mlperf_tiny_ad_autoencoder", 267_928, 264, 1),
        ("resnet20_cifar10", 269_722, 40_550, 10),
    ];
    for (name, parameters, kilo_macs, tolerance) in expected {
        let graph = load(&folder, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(graph.parameter_count(), parameters, "{name}");
        assert!((graph.macs() / 1000).abs_diff(kilo_macs) <= tolerance, "{name}: {}", graph.macs());
        assert_eq!((graph.inputs().len(), graph.outputs().len()), (1, 1), "{name}");
    }
}

#[test]
fn names_and_windows_are_those_of_the_model() {
    let Some(folder) = models() else { return };
    let graph = load(&folder, "onnxzoo_mnist_cntk").unwrap();
    let nodes: Vec<_> = graph.nodes().into_iter().map(|n| graph.node(n).clone()).collect();
    let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    // The fully connected layer has no name and takes that of its output.
    let expected =
        "Input3 Convolution28 ReLU32 Pooling66 Convolution110 ReLU114 Pooling160 Times212_reshape0 Plus214_Output_0";
    assert_eq!(names.join(" "), expected);
    let Op::Conv(conv) = &nodes[1].op else { panic!() };
    assert_eq!((conv.pads.top, conv.pads.left, conv.pads.bottom, conv.pads.right), (2, 2, 2, 2));
    let Op::Gemm { weight, bias } = nodes[8].op else { panic!() };
    assert_eq!(graph.param(weight).shape(), [10, 256]);
    assert_eq!(graph.param(bias.unwrap()).shape(), [10]);
    assert_eq!(graph.param_name(weight), "Parameter193_reshape1");

    let graph = load(&folder, "mlperf_tiny_dscnn_kws").unwrap();
    let pads: Vec<_> = graph
        .nodes()
        .into_iter()
        .filter_map(|n| if let Op::Conv(c) = &graph.node(n).op { Some(c.pads) } else { None })
        .collect();
    assert_eq!((pads[0].top, pads[0].left, pads[0].bottom, pads[0].right), (4, 1, 5, 1));
}

#[test]
fn a_round_trip_keeps_every_value() {
    let Some(folder) = models() else { return };
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some()) {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        if entry.extension().unwrap() != "onnx" {
            continue;
        }
        let graph = import(&fs::read(&entry).unwrap()).unwrap();
        let again = import(&export(&graph)).unwrap();
        assert_eq!(graph.to_string(), again.to_string(), "{name}");
        let shape = &graph.node(graph.inputs()[0]).shape;
        let input = noise(shape.iter().product(), 1);
        assert_eq!(evaluate_output(&graph, &[&input]), evaluate_output(&again, &[&input]), "{name}");
    }
}

#[test]
fn shortcuts_without_weights_are_strided_maxima_and_selections() {
    let Some(folder) = models() else { return };
    let graph = load(&folder, "resnet20_cifar10").unwrap();
    let shortcut: Vec<(String, &str)> = graph
        .nodes()
        .into_iter()
        .map(|n| graph.node(n))
        .filter(|n| n.name.contains("shortcut"))
        .map(|n| (n.name.clone(), n.op.name()))
        .collect();
    let expected = [
        ("layer2.0.shortcut.slice", "MaxPool"),
        ("layer2.0.shortcut.pad", "Select"),
        ("layer3.0.shortcut.slice", "MaxPool"),
        ("layer3.0.shortcut.pad", "Select"),
    ];
    assert_eq!(shortcut, expected.map(|(name, op)| (name.to_owned(), op)));
}
