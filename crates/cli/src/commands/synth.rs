//! `espalier synth`: what a design really takes, and its bitstream.

use espalier_ir::Diagnostic;

use crate::args::SynthArgs;
use crate::commands::Answer;
use crate::design::{Design, report_path};
use crate::failure::{Failure, Outcome};
use crate::files::read_bounded;
use crate::output::write_file;
use crate::progress::Progress;
use crate::render::{count, pairs, percent, table};
use crate::report::SCHEMA;
use crate::synthesis::{MeasuredResource, Options, Step, Synthesis, synthesize};

/// A report is far smaller.
const MAX_REPORT_BYTES: u64 = 64 << 20;

/// Runs the open flow of a folder and notes the result in its report.
///
/// # Errors
/// If the folder cannot be read, there is no flow, or a tool is missing or fails; a netlist that computes something else
/// is an answer that fails.
pub fn synth(args: &SynthArgs, progress: &mut Progress) -> Outcome<Answer> {
    if args.freq.is_some_and(|f| !(f.is_finite() && f > 0.0)) {
        return Err(Diagnostic::error("bad-argument", "--freq", "must be positive").into());
    }
    let design = progress.stage("load", "Reading the design", |_| Design::load(&args.dir))?;
    let path = report_path(&args.dir);
    let damaged = |what: String| Diagnostic::error("damaged-design", path.display().to_string(), what);
    let bytes = read_bounded(&path, MAX_REPORT_BYTES)?;
    let mut report: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    let fields = report.as_object_mut().filter(|f| f.get("schema").is_some_and(|s| s == SCHEMA));
    let fields = fields.ok_or_else(|| damaged(format!("is not a report of schema {SCHEMA}")))?;
    let estimates = fields.get("resources").cloned().unwrap_or_default();
    let steps = fields.get("synthesis").and_then(|s| s.get("steps")).cloned().unwrap_or_default();
    let earlier: Vec<Step> = serde_json::from_value(steps).unwrap_or_default();
    let options = Options { frequency: args.freq, seed: args.seed, simulate: args.simulate, map_only: args.map_only };
    let synthesis = synthesize(&design, &args.dir, &estimates, &earlier, options, progress)?;
    let json = serde_json::to_value(&synthesis).expect("plain data becomes JSON");
    fields.insert("command".to_owned(), "synth".into());
    fields.insert("synthesis".to_owned(), json);
    let text = serde_json::to_string_pretty(&report).expect("plain data becomes JSON") + "\n";
    write_file(&path, text.as_bytes())?;
    let failure = finding(&synthesis).map(Failure::from);
    Ok(Answer { failure, ..Answer::new(&report, show(&synthesis)) })
}

fn finding(synthesis: &Synthesis) -> Option<Diagnostic> {
    let simulation = synthesis.simulation.as_ref().filter(|s| s.mismatches > 0)?;
    let message = format!("{} of {} values differ from the reference", simulation.mismatches, simulation.elements);
    Some(Diagnostic::error("mismatch", "netlist", message))
}

fn show(synthesis: &Synthesis) -> String {
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| count(v.round() as u64));
    let row = |r: &MeasuredResource| {
        vec![
            r.name.clone(),
            number(r.estimate),
            number(Some(r.measured)),
            r.error.map_or_else(String::new, |e| format!("{:+.1} %", 100.0 * e)),
            number(r.available),
            r.available.filter(|a| *a > 0.0).map_or_else(String::new, |a| percent(r.measured / a)),
        ]
    };
    let header = ["resource", "estimate", "measured", "error", "device", "fill"];
    let resources = table(&header, 1, synthesis.resources.iter().map(row));
    let mut lines = Vec::new();
    if let Some(fmax) = synthesis.fmax_mhz {
        let met = if fmax >= synthesis.clock_mhz { "met" } else { "NOT met" };
        lines.push(("clock", format!("{fmax:.2} MHz; {} MHz are {met}", synthesis.clock_mhz)));
    }
    if let (Some(path), Some(bytes)) = (&synthesis.bitstream, synthesis.bitstream_bytes) {
        lines.push(("bitstream", format!("{path}, {} bytes", count(bytes))));
    }
    for step in &synthesis.steps {
        let memory = step.peak_mb.map_or_else(String::new, |mb| format!(", {mb:.0} MB"));
        lines.push(("step", format!("{}: {:.1} s{memory}", step.tool, step.seconds)));
    }
    if let Some(simulation) = &synthesis.simulation {
        let text = format!(
            "{} inputs, {} values, {} mismatches, {} clocks; built in {:.0} s, ran {:.1} s",
            simulation.inputs,
            count(simulation.elements),
            count(simulation.mismatches),
            count(simulation.clocks),
            simulation.build_seconds,
            simulation.seconds
        );
        lines.push(("netlist", text));
    }
    lines.push(("note", "estimates are for the accelerator alone, measured is with its serial host".to_owned()));
    format!("{resources}\n{}", pairs(&lines))
}
