//! `espalier verify`: are the files of a compiled folder what they should be, to the last bit and cycle?

use std::path::Path;

use espalier_ir::Diagnostic;

use crate::activity;
use crate::args::VerifyArgs;
use crate::commands::Answer;
use crate::design::{Design, report_path};
use crate::engines::{Choice, Engines, VerifyEngine};
use crate::failure::{Failure, Outcome};
use crate::files::{Fit, load_dataset, model_interface, read_bounded};
use crate::output::write_file;
use crate::page;
use crate::pipeline::{STALL_PERCENT, verification_inputs};
use crate::progress::Progress;
use crate::render::{count, pairs, percent};
use crate::report::{SCHEMA, verification_text};
use crate::simulate::Stalls;
use crate::verification::{Verification, verify as verify_engines};

/// Most values of all inputs together.
const MAX_INPUT_VALUES: usize = 1 << 28;
/// A report is far smaller.
const MAX_REPORT_BYTES: u64 = 64 << 20;

/// Verifies a folder and notes the result in its report.
///
/// # Errors
/// If the folder cannot be read or an engine cannot run; differences are an answer that fails.
pub fn verify(args: &VerifyArgs, progress: &mut Progress) -> Outcome<Answer> {
    if args.samples == 0 {
        return Err(Diagnostic::error("bad-argument", "--samples", "must be at least 1").into());
    }
    let design = progress.stage("load", "Reading the design", |_| Design::load(&args.dir))?;
    if args.samples.checked_mul(design.program.input_len()).is_none_or(|values| values > MAX_INPUT_VALUES) {
        let message = format!("{} inputs have more than {MAX_INPUT_VALUES} values", args.samples);
        return Err(Diagnostic::error("bad-argument", "--samples", message).into());
    }
    let (inputs, random_inputs) = inputs(args, &design)?;
    let named = if args.no_simulation { Some([VerifyEngine::Machine].as_slice()) } else { args.engines.as_deref() };
    let choice = Choice::new(named, "--engines", progress)?;
    let engines = progress.stage("build-engines", "Preparing the engines", |p| choice.build(&args.dir, p))?;
    let stalls = Stalls { seed: args.seed, input: STALL_PERCENT, output: STALL_PERCENT };
    let verification = progress.stage("verify", "Comparing the engines", |progress| {
        verify_engines(&design, &args.dir, &inputs, random_inputs, &engines, stalls, progress)
    })?;
    let mut report = update_report(&args.dir, &verification, &engines, progress)?;
    let mut lines = vec![
        ("verification", verification_text(&verification.report)),
        ("predicted cycles", verification.predicted.to_string()),
    ];
    if let Some(simulated) = verification.simulated {
        lines.push(("simulated cycles", simulated.to_string()));
    }
    for engine in &verification.report.by_engine {
        let text = format!(
            "{} inputs, {} elements, {} mismatches, {:.3} s",
            engine.inputs,
            count(engine.elements),
            count(engine.mismatches),
            engine.seconds
        );
        lines.push((engine.engine.as_str(), text));
    }
    if args.activity {
        let activity = progress.stage("activity", "Counting the changes of every bit", |p| {
            activity::measure(&design, &args.dir, &inputs, verification.predicted, &report, p)
        })?;
        let text = format!(
            "{} of the bits of the array change in a clock ({} assumed): {:.2} uJ instead of {:.2}; the energy of an event stays \
             {}",
            percent(activity.array),
            percent(activity.assumed),
            activity.energy_uj,
            activity.assumed_energy_uj,
            design.info.target.energy.mac_pj.confidence.name()
        );
        lines.push(("activity (measured)", text));
        let fields = report.as_object_mut().expect("update_report checks it");
        fields.insert("activity".to_owned(), serde_json::to_value(&activity).expect("plain data becomes JSON"));
        write_report(&args.dir, &report)?;
    }
    let failure = verification.finding().map(Failure::from);
    Ok(Answer { failure, ..Answer::new(&report, pairs(&lines)) })
}

fn inputs(args: &VerifyArgs, design: &Design) -> Outcome<(Vec<Vec<i8>>, usize)> {
    let Some(data) = &args.data else {
        return Ok(verification_inputs(design, args.samples, args.seed));
    };
    let (shape, _) = model_interface(&design.graph)?;
    let preprocessing = args.preprocessing.to_preprocessing();
    let fit = Fit { shape: &shape, classes: 0, preprocessing: &preprocessing, part: Some("test") };
    let dataset = load_dataset(std::slice::from_ref(data), &[], &fit, args.seed)?;
    if dataset.len() < args.samples {
        let message = format!("holds {} samples, {} are asked for", dataset.len(), args.samples);
        return Err(Diagnostic::error("too-few-samples", data, message).with_help("lower --samples").into());
    }
    Ok((dataset.samples().take(args.samples).map(|s| design.quantized.quantize_input(s)).collect(), 0))
}

/// Replaces what the report of the folder says about verification.
fn update_report(
    folder: &Path,
    verification: &Verification,
    engines: &Engines,
    progress: &Progress,
) -> Outcome<serde_json::Value> {
    let path = report_path(folder);
    let damaged = |what: String| Diagnostic::error("damaged-design", path.display().to_string(), what);
    let bytes = read_bounded(&path, MAX_REPORT_BYTES)?;
    let mut report: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    let fields = report.as_object_mut().filter(|f| f.get("schema").is_some_and(|s| s == SCHEMA));
    let fields = fields.ok_or_else(|| damaged(format!("is not a report of schema {SCHEMA}")))?;
    let json = |value: serde_json::Result<serde_json::Value>| value.expect("plain data becomes JSON");
    fields.insert("command".to_owned(), "verify".into());
    fields.insert("verification".to_owned(), json(serde_json::to_value(&verification.report)));
    fields.insert("stages".to_owned(), json(serde_json::to_value(progress.stages())));
    if let Some(cycles) = fields.get_mut("cycles").and_then(|c| c.as_object_mut()) {
        cycles.insert("predicted".to_owned(), verification.predicted.into());
        cycles.insert("simulated".to_owned(), verification.simulated.into());
    }
    if let Some(layers) = fields.get_mut("layers").and_then(|l| l.as_array_mut()) {
        for (layer, cycles) in layers.iter_mut().zip(verification.layer_cycles.iter().flatten()) {
            if let Some(layer) = layer.as_object_mut() {
                layer.insert("cycles_simulated".to_owned(), (*cycles).into());
            }
        }
    }
    if let Some(tools) = fields.get_mut("tools").and_then(|t| t.as_object_mut()) {
        tools.insert("verilator".to_owned(), engines.verilator_version().into());
        tools.insert("cpp_compiler".to_owned(), engines.compiler_version().into());
    }
    write_report(folder, &report)?;
    Ok(report)
}

/// Writes a report and the page that is drawn from it.
fn write_report(folder: &Path, report: &serde_json::Value) -> Outcome<()> {
    let text = serde_json::to_string_pretty(report).expect("plain data becomes JSON") + "\n";
    write_file(&report_path(folder), text.as_bytes())?;
    page::write(folder)?;
    Ok(())
}
