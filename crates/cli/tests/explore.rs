//! `explore`, `fit` and `compare` on the built binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn lenet() -> String {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/lenet5-mnist/own_mnist_lenet5_relu.onnx");
    path.to_str().unwrap().to_owned()
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--quiet", "--json"]).args(arguments).output().unwrap()
}

fn espalier(arguments: &[&str]) -> Value {
    let output = command(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = command(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// The winner is built as it was priced: the compiled program takes the cycles that the search promised.
#[test]
fn a_fitted_accelerator_takes_the_cycles_that_were_promised() {
    let folder = tempfile::tempdir().unwrap();
    for target in ["ecp5-25f", "ecp5-45f", "xc7z020", "k26"] {
        let fitted = espalier(&["fit", &lenet(), "--target", target]);
        let config = &fitted["best"]["config"];
        let option = |key: &str| config[key].as_u64().unwrap_or(1).to_string();
        let out = folder.path().join(target);
        let report = espalier(&[
            "compile",
            &lenet(),
            "--target",
            target,
            "--calibration",
            "random:4",
            "--rows",
            &option("rows"),
            "--cols",
            &option("cols"),
            "--combine",
            &option("combine"),
            "--clusters",
            &option("clusters"),
            "--multiplier",
            config["multiplier"].as_str().unwrap_or("plain"),
            "--weights",
            config["weights"].as_str().unwrap_or("on-chip"),
            "--depthwise-taps",
            &config["depthwise_taps"].as_u64().unwrap_or(0).to_string(),
            "--lane-bytes",
            &option("lane_bytes"),
            "--accumulator-pixels",
            &option("accumulator_pixels"),
            "--out",
            out.to_str().unwrap(),
        ]);
        assert_eq!(fitted["best"]["cycles"], report["cycles"]["predicted"], "{target}");
        assert_eq!(fitted["best"]["resources"], report["resources"], "{target}");
        assert_eq!(fitted["best"]["resources"]["fits"], true);
    }
    let design = folder.path().join("ecp5-25f");
    if has_verilator() {
        simulated_as_promised(design.to_str().unwrap());
    }
}

fn has_verilator() -> bool {
    let found = Command::new("verilator").arg("--version").output().is_ok_and(|o| o.status.success());
    assert!(found || std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Verilator is required but missing");
    if !found {
        eprintln!("skipped: Verilator is not installed");
    }
    found
}

/// The hardware of a winner takes the promised cycles, too, and counting its changes gives an activity of its own.
fn simulated_as_promised(design: &str) {
    let report = espalier(&["verify", design, "-n", "2", "--engines", "machine,verilator", "--activity"]);
    assert_eq!(report["cycles"]["simulated"], report["cycles"]["predicted"]);
    assert_eq!(report["verification"]["mismatches"], 0);
    let activity = &report["activity"];
    let share = activity["array"].as_f64().unwrap();
    assert!(0.001 < share && share < 0.6, "{share}");
    let blocks: Vec<&str> =
        activity["blocks"].as_array().unwrap().iter().map(|b| b["block"].as_str().unwrap()).collect();
    for block in ["espalier_pe", "espalier_lane", "espalier_accumulator", "espalier_drain"] {
        assert!(blocks.contains(&block), "{blocks:?}");
    }
    let [measured, assumed] = ["energy_uj", "assumed_energy_uj"].map(|key| activity[key].as_f64().unwrap());
    let less = share < activity["assumed"].as_f64().unwrap();
    assert!(measured > 0.0 && (measured < assumed) == less, "{activity}");
}

/// A run's rounds of pruning give each density its accuracy.
#[test]
fn accuracies_of_a_run_stand_beside_the_densities() {
    let folder = tempfile::tempdir().unwrap();
    let report = r#"{ "cycles": { "dense": 1000 }, "pruning": [
        { "cycles": 500, "accuracy_after": 0.9, "accepted": true }, { "cycles": 250, "accuracy_after": 0.8, "accepted": true } ] }"#;
    fs::write(folder.path().join("report.json"), report).unwrap();
    let profile = folder.path().to_str().unwrap();
    let search = ["explore", &lenet(), "--target", "ecp5-45f", "--cols", "8", "--density", "0.5,0.25,0.1"];
    let answer = espalier(&[&search[..], &["--profile", profile]].concat());
    for point in answer["front"].as_array().unwrap() {
        let expected = match point["density"].as_f64().unwrap() {
            0.5 => Some(0.9),
            0.25 => Some(0.8),
            _ => None,
        };
        assert_eq!(point["accuracy"].as_f64(), expected, "{point}");
    }
    fs::write(folder.path().join("report.json"), "{}").unwrap();
    assert!(refusal(&[&search[..], &["--profile", profile]].concat()).contains("no-profile"));
}

#[test]
fn trade_offs_fit_and_do_not_beat_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let [csv, svg] = ["front.csv", "front.svg"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let answer = espalier(&[
        "explore",
        &lenet(),
        "--target",
        "ecp5-85f",
        "--density",
        "1,0.5,0.25",
        "--csv",
        &csv,
        "--plot",
        &svg,
    ]);
    let front = answer["front"].as_array().unwrap();
    assert!(front.len() > 5 && answer["points"].as_u64().unwrap() > 1000);
    let costs: Vec<[f64; 4]> = front
        .iter()
        .map(|p| ["latency_ms", "energy_uj", "fill", "density"].map(|key| p[key].as_f64().unwrap()))
        .map(|[time, energy, fill, density]| [time, energy, fill, -density])
        .collect();
    for (i, a) in costs.iter().enumerate() {
        assert!(a[2] <= 1.0, "trade-offs fit");
        let beats = |b: &[f64; 4]| a.iter().zip(b).all(|(a, b)| a <= b);
        assert!(!costs.iter().enumerate().any(|(j, b)| i != j && beats(b)), "{a:?}");
    }
    for density in [-1.0, -0.5, -0.25] {
        assert!(costs.iter().any(|c| c[3] == density), "a density may cost accuracy, which nothing here knows");
    }
    assert_eq!(fs::read_to_string(csv).unwrap().lines().count(), front.len() + 1);
    let picture = fs::read_to_string(svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.matches("<circle").count() > front.len());
}

#[test]
fn searches_refuse_what_makes_no_sense() {
    let lenet = lenet();
    assert!(refusal(&["fit", &lenet, "--target", "ecp5-85f", "--rows", "3"]).contains("between 4 and 32"));
    assert!(refusal(&["fit", &lenet, "--target", "ecp5-85f", "--density", "0"]).contains("bad-density"));
    assert!(refusal(&["explore", &lenet, "--target", "ecp5-85f", "--density", "0.5,nan"]).contains("bad-density"));
    let large = ["fit", &lenet, "--target", "ice40up5k", "--rows", "32", "--cols", "32"];
    assert!(refusal(&large).contains("nothing-fits"));
    let below_a_file = format!("{lenet}/front.csv");
    let nowhere = ["explore", &lenet, "--target", "ecp5-85f", "--cols", "8", "--csv", &below_a_file];
    assert!(refusal(&nowhere).contains("front.csv"));
}

#[test]
fn targets_and_designs_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let lenet = lenet();
    let answer = espalier(&["compare", &lenet, "--targets", "ecp5-85f,xc7z020"]);
    let columns = answer["columns"].as_array().unwrap();
    assert_eq!(columns.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(), ["ecp5-85f", "xc7z020"]);
    let designs = ["a", "b"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    for (out, rows) in designs.iter().zip(["8", "16"]) {
        espalier(&[
            "compile",
            &lenet,
            "--target",
            "ecp5-85f",
            "--rows",
            rows,
            "--calibration",
            "random:4",
            "--out",
            out,
        ]);
    }
    let answer = espalier(&["compare", &designs[0], &designs[1]]);
    let cycles = |column: usize| {
        let lines = answer["columns"][column]["lines"].as_array().unwrap();
        lines.iter().find(|l| l[0] == "cycles").unwrap()[1].as_str().unwrap().replace(' ', "").parse::<u64>().unwrap()
    };
    assert!(cycles(0) > cycles(1));
    assert!(refusal(&["compare", &designs[0]]).contains("nothing-to-compare"));
    assert!(refusal(&["compare", &designs[0], &lenet]).contains("invalid-report"));
    assert!(refusal(&["compare", &designs[0], "/nowhere"]).contains("/nowhere"));
}
