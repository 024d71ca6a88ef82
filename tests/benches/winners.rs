//! Whether what `explore` promises is what hardware does: searches accelerators for ResNet-8 on three targets, builds some of
//! each front and compares cycles with those of Verilator, resources with those of the compiled design. Prints a table;
//! fails on the first number that differs.
//!
//! `cargo bench --workspace --bench winners -- [--most N]`, after `cargo build --release --workspace`. N accelerators a target,
//! 4 if not given, evenly from the fastest to the smallest; each is built in Verilator.

use espalier_tests::{answer, espalier, shared};
use serde_json::Value;

const MODEL: &str = "models/mlperf_tiny_resnet8_cifar10.onnx";
const DATA: &str = "data/cifar10/test_batch_first1000.bin.gz";
const TARGETS: [&str; 3] = ["ecp5-85f", "xc7z020", "k26"];
/// Key of a configuration, option of `compile`, value if the key is absent.
const OPTIONS: [(&str, &str, &str); 9] = [
    ("rows", "--rows", ""),
    ("cols", "--cols", ""),
    ("lane_bytes", "--lane-bytes", ""),
    ("accumulator_pixels", "--accumulator-pixels", ""),
    ("combine", "--combine", "1"),
    ("clusters", "--clusters", "1"),
    ("multiplier", "--multiplier", "plain"),
    ("depthwise_taps", "--depthwise-taps", "0"),
    ("weights", "--weights", "on-chip"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let most = match arguments.iter().position(|a| a == "--most") {
        Some(at) => arguments.get(at + 1).and_then(|n| n.parse().ok()).expect("--most takes a number"),
        None => 4,
    };
    println!("| target | accelerator | cycles, explored = compiled = simulated | energy, uJ | fullest resource |");
    println!("|---|---|---|---|---|");
    let rows: Result<Vec<()>, String> = TARGETS.iter().map(|target| winners(target, most)).collect();
    if let Err(text) = rows {
        eprintln!("{text}");
        std::process::exit(1);
    }
}

fn winners(target: &str, most: usize) -> Result<(), String> {
    let mut explore = espalier("explore");
    explore.arg(shared(MODEL).ok_or("no model")?).args(["--target", target]);
    let found = answer(explore)?;
    let front = found["front"].as_array().ok_or("no front")?;
    let most = most.clamp(1, front.len());
    for index in 0..most {
        let winner = &front[index * (front.len() - 1) / (most - 1).max(1)];
        println!("| {target} | {}", verify(target, winner)?);
    }
    Ok(())
}

/// The rest of a row.
fn verify(target: &str, winner: &Value) -> Result<String, String> {
    let data = shared(DATA).ok_or("no data")?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let design = folder.path().join("design");
    let mut compile = espalier("compile");
    compile.arg(shared(MODEL).ok_or("no model")?).args(["--target", target]);
    let mut shown = Vec::new();
    for (key, option, absent) in OPTIONS {
        let value = match &winner["config"][key] {
            Value::Null => absent.to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        shown.push(format!("{} {value}", key.replace('_', " ")));
        compile.args([option, &value]);
    }
    let shown = shown.join(", ");
    compile.arg("--calibration").arg(&data).arg("--out").arg(&design);
    let compiled = answer(compile)?;
    let mut verify = espalier("verify");
    verify.arg(&design).args(["--samples", "1", "--data"]).arg(&data);
    let verified = answer(verify)?;
    let cycles = [&winner["cycles"], &compiled["cycles"]["predicted"], &verified["cycles"]["simulated"]];
    if cycles[0].is_null() || cycles.iter().any(|c| *c != cycles[0]) || verified["verification"]["mismatches"] != 0 {
        return Err(format!("{target}, {shown}: cycles explored, compiled, simulated: {cycles:?}"));
    }
    let used = |uses: &Value| {
        let uses = uses.as_array().map_or(&[][..], Vec::as_slice);
        uses.iter().map(|u| (u["name"].clone(), u["used"].clone())).collect::<Vec<_>>()
    };
    let (explored, built) = (used(&winner["resources"]["uses"]), used(&compiled["resources"]["uses"]));
    if explored.is_empty() || explored != built {
        return Err(format!("{target}, {shown}: resources explored {explored:?}, compiled {built:?}"));
    }
    let number = |key: &str| winner[key].as_f64().unwrap_or(f64::NAN);
    Ok(format!("{shown} | {} | {:.1} | {:.0} % |", cycles[0], number("energy_uj"), 100.0 * number("fill")))
}
