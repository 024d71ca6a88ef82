//! `espalier compare`: a model on several targets, or several designs, side by side.

use std::path::{Path, PathBuf};

use espalier_ir::{Diagnostic, Diagnostics};
use espalier_target::{CostModel, estimate, tiles_of_weights};
use serde::Serialize;
use serde_json::Value;

use crate::args::CompareArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::files::{load_model, read_bounded};
use crate::render::{count, percent, table};
use crate::target::find_target;

/// A report is text of less than a megabyte.
const MAX_REPORT_BYTES: u64 = 64 << 20;

/// One column of the comparison.
#[derive(Serialize)]
struct Column {
    name: String,
    /// Line of the table and what stands there; `-` where a design does not say.
    lines: Vec<(&'static str, String)>,
}

#[derive(Serialize)]
struct CompareAnswer {
    columns: Vec<Column>,
}

/// Compares targets for one model, or finished designs by their reports.
///
/// # Errors
/// If there is nothing to compare, or something cannot be read; all findings at once.
pub fn compare(args: &CompareArgs) -> Outcome<Answer> {
    let mut findings = Diagnostics::new();
    let mut columns = Vec::new();
    let mut take = |column: Result<Column, Diagnostics>| match column {
        Ok(column) => columns.push(column),
        Err(bad) => findings.extend(bad),
    };
    if args.targets.is_empty() {
        args.designs.iter().map(|path| of_design(path)).for_each(&mut take);
    } else {
        for path in &args.designs {
            args.targets.iter().map(|target| of_target(path, target, args.designs.len() > 1)).for_each(&mut take);
        }
    }
    findings.into_result(())?;
    if columns.len() < 2 {
        let help = "name several folders of finished runs, or one model and --targets a,b";
        let at = args.designs[0].display().to_string();
        return Err(Diagnostics::from(
            Diagnostic::error("nothing-to-compare", at, "there is only one").with_help(help),
        )
        .into());
    }
    let header: Vec<&str> = std::iter::once("").chain(columns.iter().map(|c| c.name.as_str())).collect();
    let rows = (0..columns[0].lines.len()).map(|line| {
        let cells = columns.iter().map(|c| c.lines[line].1.clone());
        std::iter::once(columns[0].lines[line].0.to_owned()).chain(cells).collect()
    });
    let text = table(&header, 1, rows);
    Ok(Answer::new(&CompareAnswer { columns }, text))
}

/// The estimate of a model on a target.
fn of_target(path: &Path, name: &str, several: bool) -> Result<Column, Diagnostics> {
    let graph = load_model(path)?;
    let target = find_target(name)?;
    let config = target.accelerator.with_units_for(&graph)?;
    let model = CostModel::new(&graph, &config)?;
    let e = estimate(&graph, &target, &config, Some(&tiles_of_weights(&model, &graph)))?;
    let fullest = e.resources.uses.iter().max_by(|a, b| (a.fill() / a.limit).total_cmp(&(b.fill() / b.limit)));
    let lines = vec![
        ("array", e.config.array_text()),
        ("cycles", count(e.cycles)),
        ("clock, MHz", format!("{} ({})", e.clock_mhz, e.clock_confidence.name())),
        ("latency, ms", format!("{:.4}", e.latency_ms)),
        ("inferences a second", format!("{:.0}", 1e3 / e.latency_ms)),
        ("energy, uJ", format!("{:.3} ({})", e.energy_uj, e.energy_confidence.name())),
        ("utilization", percent(e.utilization)),
        (
            "fullest resource",
            fullest.map_or("-".to_owned(), |u| format!("{}, {} ({})", u.name, percent(u.fill()), u.confidence.name())),
        ),
        ("fits", if e.resources.fits { "yes" } else { "no" }.to_owned()),
    ];
    let name = if several { format!("{} on {name}", graph.name) } else { name.to_owned() };
    Ok(Column { name, lines })
}

/// The report of a finished run.
fn of_design(path: &Path) -> Result<Column, Diagnostics> {
    let file: PathBuf = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let bytes = read_bounded(&file, MAX_REPORT_BYTES)?;
    let invalid = |message: String| {
        Diagnostic::error("invalid-report", file.display().to_string(), message)
            .with_help("give the output folder of `espalier run`, or its report.json")
    };
    let report: Value = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
    if !report.is_object() || report.pointer("/cycles/predicted").is_none() {
        return Err(invalid("holds no cycles: it is not the report of a run".to_owned()).into());
    }
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let text = |path: &str| or_dash(report.pointer(path).and_then(Value::as_str).map(str::to_owned));
    let cycles = |path: &str| or_dash(number(path).map(|v| count(v as u64)));
    let share = |path: &str| or_dash(number(path).map(percent));
    let lines = vec![
        ("model", text("/model/name")),
        ("target", text("/target/name")),
        ("cycles, dense", cycles("/cycles/dense")),
        ("cycles", cycles("/cycles/predicted")),
        ("cycles, simulated", cycles("/cycles/simulated")),
        ("latency, ms", or_dash(number("/latency_ms").map(|v| format!("{v:.4}")))),
        ("energy, uJ", or_dash(number("/energy_uj").map(|v| format!("{v:.3}")))),
        ("utilization", share("/utilization")),
        ("accuracy, baseline", share("/accuracy/baseline/value")),
        ("accuracy, pruned", share("/accuracy/pruned/value")),
        ("accuracy, INT8", share("/accuracy/int8/value")),
    ];
    Ok(Column { name: path.display().to_string(), lines })
}
