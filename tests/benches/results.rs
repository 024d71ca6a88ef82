//! The table of `docs/results.md`: runs every project of `examples/results` with seeds 1 to 3 and prints accuracy
//! and cycles, mean and spread.
//!
//! `cargo bench --workspace --bench results [-- NAME] [-- --seeds N]`, after `cargo build --release --workspace`. Takes
//! from a minute (LeNet-5) to hours.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let seeds = match arguments.iter().position(|a| a == "--seeds") {
        Some(at) => arguments.get(at + 1).and_then(|n| n.parse().ok()).expect("--seeds takes a number"),
        None => 3,
    };
    let wanted = arguments.iter().find(|a| !a.starts_with("--") && a.parse::<u64>().is_err());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/results");
    let mut projects: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the projects are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter(|path| wanted.is_none_or(|w| name(path).contains(w.as_str())))
        .collect();
    projects.sort();
    println!("| project | cycles | of dense | baseline | pruned | INT8 | INT8 by seed | seconds a run |");
    println!("|---|---|---|---|---|---|---|---|");
    for project in projects {
        let runs: Vec<Value> = (1..=seeds).filter_map(|seed| run(&project, seed)).collect();
        if !runs.is_empty() {
            println!("{}", row(&name(&project), &runs));
        }
    }
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The report of a run; none, with a line that says why, if it failed.
fn run(project: &Path, seed: u64) -> Option<Value> {
    // This bench is target/release/deps/results-*.
    let executable = std::env::current_exe().expect("the bench knows where it is");
    let espalier = executable.parent().and_then(Path::parent).expect("it lies in deps/").join("espalier");
    let out = tempfile::tempdir().expect("a temporary folder can be made");
    let result = Command::new(&espalier)
        .args(["--json", "--quiet", "run"])
        .arg(project)
        .args(["--seed", &seed.to_string(), "--out"])
        .arg(out.path().join("out"))
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}; run `cargo build --release --workspace` first", espalier.display()));
    match serde_json::from_slice(&result.stdout) {
        Ok(report) => Some(report),
        Err(_) => {
            eprintln!("{}, seed {seed}: {}", name(project), String::from_utf8_lossy(&result.stderr));
            None
        }
    }
}

fn row(name: &str, runs: &[Value]) -> String {
    let number = |run: &Value, path: &str| run.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let mean = |path: &str| runs.iter().map(|r| number(r, path)).sum::<f64>() / runs.len() as f64;
    let spread = |path: &str| {
        let center = mean(path);
        let squares: f64 = runs.iter().map(|r| (number(r, path) - center).powi(2)).sum();
        (squares / (runs.len() as f64 - 1.0).max(1.0)).sqrt()
    };
    let accuracy = |path: &str| format!("{:.2} ± {:.2} %", 100.0 * mean(path), 100.0 * spread(path));
    let cycles = mean("/cycles/predicted");
    let int8: Vec<String> = runs.iter().map(|r| format!("{:.2}", 100.0 * number(r, "/accuracy/int8/value"))).collect();
    let seconds = |run: &Value| {
        let stages = run.pointer("/stages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        stages.iter().map(|s| number(s, "/seconds")).sum::<f64>()
    };
    format!(
        "| {name} | {cycles:.0} | {:.1} % | {} | {} | {} | {} | {:.0} |",
        100.0 * cycles / mean("/cycles/dense"),
        accuracy("/accuracy/baseline/value"),
        accuracy("/accuracy/pruned/value"),
        accuracy("/accuracy/int8/value"),
        int8.join(", "),
        runs.iter().map(seconds).sum::<f64>() / runs.len() as f64,
    )
}
