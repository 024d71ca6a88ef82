//! Unbalanced classes, where accuracy and macro-F1 decide differently.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use espalier_data::{write_npy_f32, write_npy_i8};
use espalier_ir::{Graph, Op, Tensor};
use serde_json::Value;

const UNITS: usize = 32;

/// 32 features, 32 hidden units, 3 classes by features 0, 1 and 2. The unit with the smallest weights alone knows class
/// 2; without it class 0 is answered.
fn network() -> Vec<u8> {
    let mut graph = Graph::new("rare");
    let x = graph.add_input("x", &[UNITS]).unwrap();
    // No weight is zero: zeros cost nothing, so nothing would have to go.
    let mut first = vec![0.1; UNITS * UNITS];
    let mut second = vec![0.1; 3 * UNITS];
    for unit in 0..UNITS {
        let (feature, weight) = match unit {
            24 => (2, 0.5),
            0..24 => (if unit < 2 { unit } else { unit + 1 }, 4.0),
            _ => (unit, 4.0),
        };
        first[unit * UNITS + feature] = weight;
    }
    (second[0], second[UNITS + 1], second[2 * UNITS + 24]) = (1.0, 1.0, 3.0);
    let weight = graph.add_param("w1", Tensor::f32([UNITS, UNITS], first));
    let hidden = graph.add("fc1", Op::Gemm { weight, bias: None }, &[x]).unwrap();
    let hidden = graph.add("relu", Op::Relu, &[hidden]).unwrap();
    let weight = graph.add_param("w2", Tensor::f32([3, UNITS], second));
    let bias = Some(graph.add_param("b2", Tensor::f32([3], vec![0.5, 0.0, 0.0])));
    let y = graph.add("fc2", Op::Gemm { weight, bias }, &[hidden]).unwrap();
    graph.add_output(y);
    espalier_onnx::export(&graph)
}

/// One feature is 1; of each 25 samples one is of class 2.
fn samples(folder: &Path, name: &str, count: usize) {
    let label = |i: usize| if i.is_multiple_of(25) { 2 } else { i % 2 };
    let inputs: Vec<f32> =
        (0..count).flat_map(|i| (0..UNITS).map(move |f| if f == label(i) { 1.0 } else { 0.0 })).collect();
    let labels: Vec<i8> = (0..count).map(|i| label(i) as i8).collect();
    fs::write(folder.join(format!("{name}.npy")), write_npy_f32(&[count, UNITS], &inputs)).unwrap();
    fs::write(folder.join(format!("{name}_labels.npy")), write_npy_i8(&[count], &labels)).unwrap();
}

/// Takes hidden units away, those with small weights first, without training.
fn run(folder: &Path, budget: &str, prune: &str) -> (Output, Value) {
    let text = format!(
        "model.path = 'net.onnx'\ntarget.name = 'ecp5-85f'\nverify.samples = 1\nquantize.qat_epochs = 0\n\
         [data]\ntrain = 'train.npy'\ntrain_labels = 'train_labels.npy'\ntest = 'test.npy'\n\
         test_labels = 'test_labels.npy'\n[budget]\ncycles_fraction = 0.9\n{budget}\n\
         [prune]\ncriterion = 'l1'\nunits = 'channels'\nsteps = 1\nepochs = 0\nfinal_epochs = 0\n{prune}\n"
    );
    let project = folder.join("espalier.toml");
    fs::write(&project, text).unwrap();
    let out = folder.join("out");
    let output =
        Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--json", "--quiet", "run"]).arg(&project).output().unwrap();
    let report = fs::read(out.join("report.json"));
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output, serde_json::from_slice(&report).unwrap())
}

#[test]
fn macro_f1_keeps_a_rare_class_that_accuracy_gives_up() {
    if !Command::new("verilator").arg("--version").output().is_ok_and(|o| o.status.success()) {
        assert!(std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Verilator is required but missing");
        eprintln!("skipped: Verilator is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.onnx"), network()).unwrap();
    samples(folder, "train", 1000);
    samples(folder, "test", 500);
    let score = |report: &Value, name: &str, key: &str| report["accuracy"][name][key].as_f64().unwrap();

    let (output, report) = run(folder, "max_accuracy_drop = 5", "floor = 5.0");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((score(&report, "baseline", "value"), score(&report, "baseline", "macro_f1")), (1.0, 1.0));
    assert_eq!(score(&report, "int8", "value"), 0.96, "{report}");
    assert!(score(&report, "int8", "macro_f1") < 0.67, "{report}");
    assert_eq!(report["pruning"][0]["accepted"], true);
    assert!(report["pruning"][0]["macro_f1_after"].as_f64().unwrap() < 0.67);

    // The floor undoes every such round.
    let (output, report) = run(folder, "max_accuracy_drop = 5\nmetric = 'macro_f1'", "floor = 5.0");
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report["pruning"].as_array().unwrap().iter().all(|r| r["accepted"] == false), "{report}");
    assert_eq!((score(&report, "int8", "value"), score(&report, "int8", "macro_f1")), (1.0, 1.0));

    // Without a floor the largest drop notices.
    let (output, report) = run(folder, "max_accuracy_drop = 5\nmetric = 'macro_f1'", "");
    assert_eq!((output.status.code(), &report["budget"]["metric"]), (Some(1), &"macro_f1".into()));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("accuracy-not-met") && text.contains("INT8 macro-F1"), "{text}");
}
