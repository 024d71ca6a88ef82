//! The tables of `docs/results.md`: runs every project of `examples/results` with seeds 1 to 3 and prints accuracy
//! and cycles, mean and spread. With `--criteria` each project is run with every criterion of the adaptive choice alone,
//! and with the choice. `--data KEY=FILE` (an absolute path) puts other samples into `[data]`, as often as wanted: `test=FILE`
//! measures on more of them, `validation=FILE` decides with some that no model has seen.
//!
//! `cargo bench --workspace --bench results -- [NAME] [--seeds N] [--criteria] [--data KEY=FILE]...`, after `cargo build
//! --release --workspace`. Takes from a minute (LeNet-5) to hours.

use std::path::{Path, PathBuf};

use espalier_tests::{answer, espalier};
use serde_json::Value;

fn main() {
    let (mut seeds, mut criteria, mut wanted, mut change) = (3, false, None, Change::default());
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--criteria" => criteria = true,
            "--seeds" => seeds = arguments.next().and_then(|n| n.parse().ok()).expect("--seeds takes a number"),
            "--data" => {
                let given = arguments.next().expect("--data takes KEY=FILE");
                let (key, file) = given.split_once('=').expect("--data takes KEY=FILE");
                assert!(Path::new(file).is_absolute(), "--data takes an absolute path: cargo runs benches elsewhere");
                change.data.push((key.to_owned(), file.into()));
            }
            _ => wanted = Some(argument),
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/results");
    let mut projects: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the projects are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter(|path| wanted.as_ref().is_none_or(|w| name(path).contains(w.as_str())))
        .collect();
    projects.sort();
    if criteria {
        return compare_criteria(&projects, seeds, &change);
    }
    println!("| project | cycles | of dense | baseline | pruned | INT8 | INT8 by seed | seconds a run |");
    println!("|---|---|---|---|---|---|---|---|");
    for project in projects {
        let runs: Vec<Value> = (1..=seeds).filter_map(|seed| run(&project, seed, &change)).collect();
        if !runs.is_empty() {
            println!("{}", row(&name(&project), &runs));
        }
    }
}

/// Each criterion alone, and the choice among them by validation samples: INT8 accuracy.
const CRITERIA: [&str; 5] = ["taylor", "l2", "lamp", "entropy-energy", "adaptive"];

/// What is not as the project says.
#[derive(Default, Clone)]
struct Change {
    criterion: Option<&'static str>,
    /// Keys of `[data]`.
    data: Vec<(String, PathBuf)>,
}

fn compare_criteria(projects: &[PathBuf], seeds: u64, change: &Change) {
    println!("| project | {} | best alone - adaptive |", CRITERIA.join(" | "));
    println!("|---|{}---|", "---|".repeat(CRITERIA.len()));
    for project in projects {
        let int8 = |criterion| {
            let change = Change { criterion: Some(criterion), ..change.clone() };
            let runs: Vec<Value> = (1..=seeds).filter_map(|seed| run(project, seed, &change)).collect();
            moments(&runs, "/accuracy/int8/value")
        };
        let figures = CRITERIA.map(int8);
        let best = figures[..CRITERIA.len() - 1].iter().map(|(mean, _)| *mean).fold(f64::NAN, f64::max);
        let cells = figures.map(|(mean, spread)| format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * spread));
        let behind = 100.0 * (best - figures[CRITERIA.len() - 1].0);
        println!("| {} | {} | {behind:+.2} |", name(project), cells.join(" | "));
    }
}

/// A copy of a project with changes; its paths no longer depend on where it lies.
fn changed(project: &Path, change: &Change) -> String {
    let text = std::fs::read_to_string(project).expect("the project can be read");
    let mut table: toml::Table = text.parse().expect("the project is TOML");
    let folder = project.parent().expect("it lies in a folder");
    for section in ["model", "data"] {
        let values = table[section].as_table_mut().expect("a section").iter_mut();
        values.for_each(|(_, value)| absolute(value, folder));
    }
    let mut set = |section: &str, key: &str, value: String| {
        table[section].as_table_mut().expect("a section").insert(key.to_owned(), value.into());
    };
    change.criterion.into_iter().for_each(|criterion| set("prune", "criterion", criterion.to_owned()));
    change.data.iter().for_each(|(key, file)| set("data", key, file.display().to_string()));
    table.to_string()
}

fn absolute(value: &mut toml::Value, folder: &Path) {
    match value {
        toml::Value::String(text) if text.starts_with("..") => {
            *text = folder.join(&*text).to_string_lossy().into_owned();
        }
        toml::Value::Array(values) => values.iter_mut().for_each(|v| absolute(v, folder)),
        _ => {}
    }
}

/// Mean and standard deviation of a figure.
fn moments(runs: &[Value], path: &str) -> (f64, f64) {
    let number = |run: &Value| run.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let mean = runs.iter().map(number).sum::<f64>() / runs.len() as f64;
    let squares: f64 = runs.iter().map(|r| (number(r) - mean).powi(2)).sum();
    (mean, (squares / (runs.len() as f64 - 1.0).max(1.0)).sqrt())
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The report of a run; none, with a line that says why, if it failed.
fn run(project: &Path, seed: u64, change: &Change) -> Option<Value> {
    let out = tempfile::tempdir().expect("a temporary folder can be made");
    let path = out.path().join("project.toml");
    std::fs::write(&path, changed(project, change)).expect("the project can be written");
    let mut run = espalier("run");
    run.arg(path).args(["--seed", &seed.to_string(), "--out"]).arg(out.path().join("out"));
    answer(run).inspect_err(|text| eprintln!("{}, seed {seed}: {text}", name(project))).ok()
}

fn row(name: &str, runs: &[Value]) -> String {
    let number = |run: &Value, path: &str| run.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let accuracy = |path: &str| {
        let (mean, spread) = moments(runs, path);
        format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * spread)
    };
    let cycles = moments(runs, "/cycles/predicted").0;
    let int8: Vec<String> = runs.iter().map(|r| format!("{:.2}", 100.0 * number(r, "/accuracy/int8/value"))).collect();
    let seconds = |run: &Value| {
        let stages = run.pointer("/stages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        stages.iter().map(|s| number(s, "/seconds")).sum::<f64>()
    };
    format!(
        "| {name} | {cycles:.0} | {:.1} % | {} | {} | {} | {} | {:.0} |",
        100.0 * cycles / moments(runs, "/cycles/dense").0,
        accuracy("/accuracy/baseline/value"),
        accuracy("/accuracy/pruned/value"),
        accuracy("/accuracy/int8/value"),
        int8.join(", "),
        runs.iter().map(seconds).sum::<f64>() / runs.len() as f64,
    )
}
