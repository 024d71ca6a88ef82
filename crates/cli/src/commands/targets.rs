//! `espalier targets`: what is known, and from where.

use espalier_target::{Target, builtin_targets};

use crate::args::TargetsArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::render::{pairs, table};
use crate::target::find_target;

/// Lists all targets, or shows one.
///
/// # Errors
/// If there is no target of that name.
pub fn targets(args: &TargetsArgs) -> Outcome<Answer> {
    match &args.name {
        Some(name) => {
            let target = find_target(name)?;
            Ok(Answer::new(&target, show(&target)))
        }
        None => {
            let targets = builtin_targets();
            let rows = targets.iter().map(|t| {
                vec![
                    t.name.clone(),
                    t.description.clone(),
                    format!("{} x {}", t.accelerator.rows, t.accelerator.cols),
                    t.clock_mhz.value.to_string(),
                    format!("{:?}", t.clock_mhz.confidence).to_lowercase(),
                ]
            });
            let text = table(&["target", "description", "array", "MHz", "clock is"], 2, rows);
            Ok(Answer::new(&targets, text))
        }
    }
}

fn show(target: &Target) -> String {
    let config = &target.accelerator;
    let head = pairs(&[
        ("target", format!("{}: {}", target.name, target.description)),
        ("array", format!("{} rows x {} columns, {} vectors a row", config.rows, config.cols, config.combine)),
        ("lanes", format!("{} bytes each", config.lane_bytes)),
        ("accumulators", format!("{} pixels of {} bits", config.accumulator_pixels, config.accumulator_bits)),
    ]);
    let rows = target.facts().into_iter().map(|(key, fact)| {
        let confidence = format!("{:?}", fact.confidence).to_lowercase();
        vec![key, fact.value.to_string(), confidence, fact.source.clone()]
    });
    format!("{head}\n{}", table(&["number", "value", "confidence", "source"], usize::MAX, rows))
}
