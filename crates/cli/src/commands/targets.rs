//! `espalier targets`: what is known, and from where.

use espalier_target::{
    Board, Calibration, Confidence, Host, Logic, Part, PointUse, Target, builtin_boards, builtin_targets,
};
use serde_json::json;

use crate::args::TargetsArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::render::{pairs, table};
use crate::target::{find_board, find_target};

/// Lists all targets and boards, or shows one.
///
/// # Errors
/// If there is neither a target nor a board of that name.
pub fn targets(args: &TargetsArgs) -> Outcome<Answer> {
    match &args.name {
        Some(name) => {
            if let Some(board) = builtin_boards().into_iter().find(|b| b.name == *name) {
                return Ok(Answer::new(&board, show_board(&board)));
            }
            // A file may be either.
            if name.ends_with(".toml")
                && let Ok(board) = find_board(name)
            {
                return Ok(Answer::new(&board, show_board(&board)));
            }
            let target = find_target(name)?;
            Ok(Answer::new(&target, show(&target)))
        }
        None => {
            let targets = builtin_targets();
            let boards = builtin_boards();
            let rows = targets.iter().map(|t| {
                vec![
                    t.name.clone(),
                    t.description.clone(),
                    t.accelerator.array_text(),
                    t.clock_mhz.value.to_string(),
                    t.clock_mhz.confidence.name().to_owned(),
                ]
            });
            let text = table(&["target", "description", "array", "MHz", "clock is"], 2, rows);
            let rows = boards.iter().map(|b| {
                vec![
                    b.name.clone(),
                    b.description.clone(),
                    b.target.clone(),
                    host(b).to_owned(),
                    b.clock_mhz.value.to_string(),
                ]
            });
            let board_text = table(&["board", "description", "target", "host", "MHz"], 4, rows);
            Ok(Answer::new(&json!({ "targets": targets, "boards": boards }), format!("{text}\n{board_text}")))
        }
    }
}

fn host(board: &Board) -> &'static str {
    match board.host {
        Host::Serial => "serial line",
        Host::Processor => "processor",
    }
}

fn show_board(board: &Board) -> String {
    let head = pairs(&[
        ("board", format!("{}: {}", board.name, board.description)),
        ("target", format!("{}, part {}", board.target, board.part)),
        ("host", host(board).to_owned()),
    ]);
    let rows = board
        .facts()
        .into_iter()
        .map(|(key, value, sure, source)| vec![key, value, sure.name().to_owned(), source.to_owned()]);
    format!("{head}\n{}", table(&["number", "value", "confidence", "source"], usize::MAX, rows))
}

fn show(target: &Target) -> String {
    let config = &target.accelerator;
    let array = format!("{} (rows x columns), {} vectors a row", config.array_text(), config.combine);
    let head = pairs(&[
        ("target", format!("{}: {}", target.name, target.description)),
        ("array", array),
        ("lanes", format!("{} bytes each", config.lane_bytes)),
        ("accumulators", format!("{} pixels of {} bits", config.accumulator_pixels, config.accumulator_bits)),
    ]);
    let rows = target
        .facts()
        .into_iter()
        .map(|(key, fact)| vec![key, fact.value.to_string(), fact.confidence.name().to_owned(), fact.source.clone()]);
    let fpga = target.fpga.iter().flat_map(|fpga| calibrated(fpga.calibration(), "LUTs"));
    let asic = target.asic.iter().flat_map(|asic| calibrated(asic.calibration(), "um2"));
    let rows = rows.chain(fpga).chain(asic);
    format!("{head}\n{}", table(&["number", "value", "confidence", "source"], usize::MAX, rows))
}

/// What each part of an accelerator takes, as it was fitted.
fn calibrated(calibration: &Calibration, cells: &str) -> Vec<Vec<String>> {
    let held_out = calibration.accuracy(PointUse::HeldOut);
    let source = format!(
        "{} on {}, {} syntheses; {} others: {cells} within {:.1} %, flip-flops within {:.1} %",
        calibration.tool,
        calibration.family,
        calibration.accuracy(PointUse::Fit).points,
        held_out.points,
        100.0 * held_out.worst.cells,
        100.0 * held_out.worst.flip_flops
    );
    let row = |(part, logic): (&Part, &Logic)| {
        let value = format!("{} {cells}, {} flip-flops", logic.cells, logic.flip_flops);
        vec![format!("part {part:?}"), value, Confidence::Calibrated.name().to_owned(), source.clone()]
    };
    calibration.parts.iter().map(row).collect()
}
