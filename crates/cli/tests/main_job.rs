//! The main job on real data, held to its bounds, and other models through the same binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn example(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(relative)
}

/// A file of the `shared/` folder beside the repository, if there is one.
fn shared(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ESPALIER_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = root.join(relative);
    if !path.exists() {
        eprintln!("skipped: {relative} is not in a shared/ folder beside the repository");
        return None;
    }
    Some(path)
}

fn has_verilator() -> bool {
    let found = Command::new("verilator").arg("--version").output().is_ok_and(|o| o.status.success());
    assert!(found || std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Verilator is required but missing");
    if !found {
        eprintln!("skipped: Verilator is not installed");
    }
    found
}

fn espalier(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--json"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Compiles a model and verifies two inputs; predicted and simulated cycles agree in total and for every layer.
fn compile_and_verify(model: &Path, target: &str, calibration: &str, scale: &str) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let model = model.to_str().unwrap();
    espalier(&["compile", model, "--target", target, "--calibration", calibration, "--scale", scale, "--out", out]);
    check(&espalier(&["verify", out, "--samples", "2"]), 2);
}

fn check(report: &Value, inputs: u64) {
    assert_eq!(report["verification"]["mismatches"], 0);
    assert_eq!(report["verification"]["inputs"], inputs);
    // Verilator compiles what it writes, so there is a g++ where it runs.
    assert_eq!(report["verification"]["engines"], serde_json::json!(["reference", "machine", "verilator", "hls"]));
    let by_engine = report["verification"]["by_engine"].as_array().unwrap();
    let elements = by_engine[0]["elements"].as_u64().unwrap();
    assert!(elements > 0 && by_engine.len() == 3);
    assert!(by_engine.iter().all(|e| e["mismatches"] == 0 && e["elements"] == elements && e["inputs"] == inputs));
    assert!(report["verification"]["elements"].as_u64().unwrap() > 0);
    assert_eq!(report["cycles"]["predicted"], report["cycles"]["simulated"]);
    let layers = report["layers"].as_array().unwrap();
    assert!(!layers.is_empty());
    assert!(layers.iter().all(|l| l["cycles_simulated"].is_u64()), "{layers:?}");
}

#[test]
fn lenet_is_pruned_to_a_third_and_stays_accurate() {
    if !has_verilator() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let project = example("lenet5-mnist/espalier.toml");
    let report = espalier(&["run", project.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    check(&report, 20);
    let accuracy = |name: &str| {
        assert_eq!(report["accuracy"][name]["samples"], 10_000);
        report["accuracy"][name]["value"].as_f64().unwrap()
    };
    assert_eq!(accuracy("baseline"), 0.9914);
    assert!(accuracy("int8") >= 0.9914 - 0.005, "INT8 accuracy {}", accuracy("int8"));
    let cycles = |name: &str| report["cycles"][name].as_f64().unwrap();
    assert!(cycles("predicted") <= 0.35 * cycles("dense"));
    assert_eq!(report["budget"]["met"], true);

    // The model that it wrote is a model like any other.
    let images = example("mnist/t10k-images-idx3-ubyte.gz");
    compile_and_verify(&out.join("model.onnx"), "ecp5-85f", images.to_str().unwrap(), "1/255");
}

#[test]
fn other_models_need_no_other_code() {
    if !has_verilator() {
        return;
    }
    let images = example("mnist/t10k-images-idx3-ubyte.gz");
    let images = images.to_str().unwrap();
    compile_and_verify(&example("mlp-mnist/own_mnist_mlp_784_64_32_10.onnx"), "ecp5-85f", images, "1/255");
    if let Some(model) = shared("models/onnxzoo_mnist_cntk.onnx") {
        compile_and_verify(&model, "ecp5-85f", images, "1");
    }
    if let (Some(model), Some(data)) =
        (shared("models/own_fashion_cnn_bn.onnx"), shared("data/fashion-mnist/t10k-images-idx3-ubyte.gz"))
    {
        compile_and_verify(&model, "ecp5-85f", data.to_str().unwrap(), "1/255");
    }
}
