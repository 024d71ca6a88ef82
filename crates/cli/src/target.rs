//! Which target and which accelerator a user means.

use std::path::Path;

use espalier_ir::{Diagnostic, Diagnostics, nearest};
use espalier_target::{
    AcceleratorConfig, Board, Host, ResourceUse, Target, builtin_board_names, builtin_boards, builtin_names,
    builtin_target, check_multiplier, parse_board, parse_target,
};

use crate::args::TargetOptions;
use crate::files::read_bounded;
use crate::project::AcceleratorSection;

/// A target file is text of a few kilobytes.
const MAX_TARGET_BYTES: u64 = 1 << 20;

/// Finds a built-in target by name, or reads a target file.
///
/// # Errors
/// If there is no such target, or the file is not a good one.
pub fn find_target(name: &str) -> Result<Target, Diagnostics> {
    if name.ends_with(".toml") {
        let bytes = read_bounded(Path::new(name), MAX_TARGET_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| Diagnostic::error("invalid-target", name, "is not text"))?;
        return parse_target(name, &text);
    }
    builtin_target(name).ok_or_else(|| {
        let known = builtin_names().collect::<Vec<_>>().join(", ");
        let near = nearest(name, builtin_names()).map_or_else(String::new, |n| format!("did you mean '{n}'? "));
        Diagnostic::error("unknown-target", format!("target '{name}'"), "is not known")
            .with_help(format!("{near}known are {known}; or give the path of a target file ending in .toml"))
            .into()
    })
}

/// Finds a built-in board by name, or reads a board file.
///
/// # Errors
/// If there is no such board, or the file is not a good one.
pub fn find_board(name: &str) -> Result<Board, Diagnostics> {
    if name.ends_with(".toml") {
        let bytes = read_bounded(Path::new(name), MAX_TARGET_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| Diagnostic::error("invalid-board", name, "is not text"))?;
        return parse_board(name, &text);
    }
    builtin_boards().into_iter().find(|b| b.name == name).ok_or_else(|| {
        let known = builtin_board_names().collect::<Vec<_>>().join(", ");
        Diagnostic::error("unknown-board", format!("board '{name}'"), "is not known")
            .with_help(format!("known are {known}; or give the path of a board file ending in .toml"))
            .into()
    })
}

/// The board of that name and the target of its device; a target that is named, too, must have the same name or be a file.
///
/// # Errors
/// If there is neither, no such board or target, or the two do not belong together.
pub fn board_and_target(
    board: Option<&str>,
    target: Option<&str>,
    at: &str,
) -> Result<(Option<Board>, Target), Diagnostics> {
    let board = board.map(find_board).transpose()?;
    let target = match (&board, target) {
        (None, None) => {
            return Err(Diagnostic::error("missing-target", at, "neither a target nor a board is named")
                .with_help("`espalier targets` lists both")
                .into());
        }
        (Some(board), None) => board.target(),
        (None, Some(name)) => find_target(name)?,
        (Some(board), Some(name)) => board.with_memory(find_target(name)?),
    };
    // A target file of the user's own may describe the same device.
    let other = |b: &&Board| b.target != target.name && builtin_names().any(|known| known == target.name);
    if let Some(b) = board.as_ref().filter(|b| other(b) || b.target().family != target.family) {
        let message = format!("board '{}' has the device '{}', not '{}'", b.name, b.target, target.name);
        return Err(Diagnostic::error("wrong-target", at, message).with_help("leave the target out").into());
    }
    Ok((board, target))
}

/// The target's accelerator with the deviations of the command line.
///
/// # Errors
/// Every value out of its bounds.
pub fn with_options(target: &Target, options: &TargetOptions) -> Result<AcceleratorConfig, Diagnostics> {
    let TargetOptions {
        rows,
        cols,
        lane_bytes,
        accumulator_pixels,
        accumulator_bits,
        combine,
        clusters,
        multiplier,
        max_multipliers,
        depthwise_taps,
        argmax,
        weights,
        weight_words,
        activations,
        memory_bytes_per_cycle,
        memory_latency_cycles,
        ..
    } = options;
    let section = AcceleratorSection {
        rows: *rows,
        cols: *cols,
        lane_bytes: *lane_bytes,
        accumulator_pixels: *accumulator_pixels,
        accumulator_bits: *accumulator_bits,
        combine: *combine,
        clusters: *clusters,
        multiplier: *multiplier,
        max_multipliers: *max_multipliers,
        depthwise_taps: *depthwise_taps,
        argmax: argmax.then_some(true),
        weights: *weights,
        activations: *activations,
        weight_words: *weight_words,
        memory_bytes_per_cycle: *memory_bytes_per_cycle,
        memory_latency_cycles: *memory_latency_cycles,
        ..AcceleratorSection::default()
    };
    with_section(target, &section)
}

/// The target's accelerator with the deviations of a project.
///
/// # Errors
/// Every value out of its bounds.
pub fn with_section(target: &Target, section: &AcceleratorSection) -> Result<AcceleratorConfig, Diagnostics> {
    let base = &target.accelerator;
    let config = AcceleratorConfig {
        rows: section.rows.unwrap_or(base.rows),
        cols: section.cols.unwrap_or(base.cols),
        lane_bytes: section.lane_bytes.unwrap_or(base.lane_bytes),
        accumulator_pixels: section.accumulator_pixels.unwrap_or(base.accumulator_pixels),
        accumulator_bits: section.accumulator_bits.unwrap_or(base.accumulator_bits),
        combine: section.combine.unwrap_or(base.combine),
        clusters: section.clusters.unwrap_or(base.clusters),
        multiplier: section.multiplier.unwrap_or(base.multiplier),
        max_multipliers: section.max_multipliers.or(base.max_multipliers),
        depthwise_taps: section.depthwise_taps.unwrap_or(base.depthwise_taps),
        gates: section.gates.unwrap_or(base.gates),
        states: section.states.unwrap_or(base.states),
        argmax: section.argmax.unwrap_or(base.argmax),
        activation_tables: section.activation_tables.unwrap_or(base.activation_tables),
        weights: section.weights.unwrap_or(base.weights),
        activations: section.activations.unwrap_or(base.activations),
        memory_bytes_per_cycle: section.memory_bytes_per_cycle.or(base.memory_bytes_per_cycle),
        memory_latency_cycles: section.memory_latency_cycles.or(base.memory_latency_cycles),
        weight_words: section.weight_words.or(base.weight_words),
        program_instructions: section.program_instructions.or(base.program_instructions),
    };
    config.validate()?;
    check_multiplier(target, &config)?;
    Ok(config)
}

/// Refuses what the generated design for a board cannot do.
///
/// # Errors
/// If weights are streamed, or tensors spilled, and only a serial line leads to the accelerator.
pub fn check_board(board: Option<&Board>, config: &AcceleratorConfig) -> Result<(), Diagnostic> {
    let external = config.external().is_some() || config.spill_memory().is_some();
    let Some(board) = board.filter(|b| b.host == Host::Serial && external) else { return Ok(()) };
    let message = "the generated design for this board has no way to its external memory";
    Err(Diagnostic::error("no-external-memory", format!("board '{}'", board.name), message)
        .with_help("keep weights and tensors on the chip, or choose a board whose processor is the host"))
}

/// Warns if the accelerator takes more than the target has.
pub fn resource_warning(target: &Target, resources: &espalier_target::Resources) -> Option<Diagnostic> {
    let over: Vec<String> = resources.uses.iter().filter(|u| !u.fits()).map(ResourceUse::taken).collect();
    (!over.is_empty()).then(|| {
        Diagnostic::warning(
            "target-too-small",
            format!("target '{}'", target.name),
            format!("the accelerator takes {}", over.join(", ")),
        )
        .with_help("use fewer rows or columns, smaller lanes, or a larger target")
    })
}
