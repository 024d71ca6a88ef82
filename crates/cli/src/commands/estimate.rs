//! `espalier estimate`: what a model costs on a target, without data and without training.

use espalier_target::{AcceleratorConfig, Board, CostEstimate, LayerCost};
use serde::Serialize;

use crate::args::EstimateArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::files::load_model;
use crate::render::{by_step, count, more_like_it, pairs, percent, table, within};
use crate::target::{board_and_target, resource_warning, with_options};

#[derive(Serialize)]
struct EstimateAnswer<'a> {
    model: &'a str,
    #[serde(flatten)]
    estimate: &'a CostEstimate,
    /// Inferences a second, one after the other.
    throughput: f64,
    /// Energy of one inference without external memory, uJ.
    core_uj: f64,
    /// Energy of one inference on the board with its processor, uJ; absent without a board.
    #[serde(skip_serializing_if = "Option::is_none")]
    board_uj: Option<f64>,
    warnings: Vec<espalier_ir::Diagnostic>,
}

/// Estimates a model as it is; zero weights are skipped as the accelerator skips them.
///
/// # Errors
/// If the model cannot be imported or the accelerator cannot hold it.
pub fn estimate(args: &EstimateArgs) -> Outcome<Answer> {
    let graph = load_model(&args.model)?;
    let (board, target) = board_and_target(args.target.board.as_deref(), args.target.target.as_deref(), "--target")?;
    let config = with_options(&target, &args.target)?.with_units_for(&graph)?;
    let model = espalier_target::CostModel::new(&graph, &config)?;
    let tiles = espalier_target::tiles_of_weights(&model, &graph);
    let estimate = espalier_target::estimate(&graph, &target, &config, Some(&tiles))?;
    let answer = EstimateAnswer {
        model: &graph.name,
        throughput: 1e3 / estimate.latency_ms,
        core_uj: estimate.energy.core_uj(),
        board_uj: board.as_ref().map(|b| estimate.energy_uj + b.host_uj(estimate.latency_ms)),
        warnings: resource_warning(&target, &estimate.resources).into_iter().collect(),
        estimate: &estimate,
    };
    Ok(Answer::new(&answer, show(&answer, board.as_ref())))
}

/// How the products are formed.
fn multipliers(config: &AcceleratorConfig) -> String {
    let soft = config.cols - config.hard_cols();
    let by_adders = if soft == 0 { String::new() } else { format!("; {soft} columns multiply by adders") };
    format!("{} ({}{by_adders})", config.hardware_multipliers(), config.multiplier.name())
}

/// Where the weights are, and how many there are.
fn weights(estimate: &CostEstimate) -> String {
    let words = count(estimate.weight_words as u64);
    let Some(memory) = estimate.config.external() else { return format!("{words} words") };
    let bytes = estimate.weight_words * memory.word_bytes;
    format!(
        "{words} words streamed through {} ({} bytes, {:.2} a cycle of {}, latency {} cycles)",
        count(memory.ring_words as u64),
        count(bytes as u64),
        bytes as f64 / estimate.cycles.max(1) as f64,
        memory.bytes_per_cycle,
        memory.latency_cycles
    )
}

fn layers(estimate: &CostEstimate) -> String {
    let memory = estimate.config.external();
    let header = ["layer", "op", "MACs", "tiles", "cycles", "at least", "bound", "busy", "uJ", "lanes B/cycle"];
    let header: Vec<&str> = header.into_iter().chain(memory.map(|_| "memory B/cycle")).chain(["because"]).collect();
    let rows = by_step(&estimate.layers, |l| l.peer).into_iter().map(|group| {
        let l = &estimate.layers[group[0]];
        let sum = |of: fn(&LayerCost) -> u64| count(group.iter().map(|l| of(&estimate.layers[*l])).sum());
        let energy: f64 = group.iter().map(|l| estimate.layers[*l].energy_uj).sum();
        let name = format!("{}{}", l.name, more_like_it(group.len()));
        let mut row = vec![name, l.op_name.to_owned(), sum(|l| l.macs), sum(|l| l.tiles), sum(|l| l.cycles)];
        row.extend([sum(|l| l.roofline.bound().0), l.roofline.bound().1.to_owned(), percent(l.utilization)]);
        row.extend([format!("{energy:.3}"), format!("{:.1}", l.lane_bytes_per_cycle)]);
        row.extend(memory.map(|_| format!("{:.1}", l.memory_bytes_per_cycle)));
        row.push(l.bottleneck.reason().to_owned());
        row
    });
    table(&header, 2, rows)
}

/// Energy with its bounds and what they come from.
fn energy(answer: &EstimateAnswer, board: Option<&Board>) -> Vec<(&'static str, String)> {
    let estimate = answer.estimate;
    let [low, high] = estimate.energy_range_uj;
    let external = estimate.energy.external_uj;
    let mut lines = vec![
        (
            "energy",
            format!(
                "{:.2} uJ, {low:.2} to {high:.2} ({}; from how sure each constant is, see `espalier targets {}`)",
                estimate.energy_uj,
                estimate.energy_confidence.name(),
                estimate.target
            ),
        ),
        ("of that core", format!("{:.2} uJ, external memory {external:.2} uJ", answer.core_uj)),
    ];
    if let (Some(total), Some(host)) = (answer.board_uj, board.and_then(|b| b.host_mw.as_ref())) {
        let confidence = host.confidence.name();
        lines.push(("with processor", format!("{total:.2} uJ ({confidence}: {} mW for it)", host.value)));
    }
    lines
}

fn show(answer: &EstimateAnswer, board: Option<&Board>) -> String {
    let estimate = answer.estimate;
    let config = &estimate.config;
    let clock = format!("at {} MHz ({})", estimate.clock_mhz, estimate.clock_confidence.name());
    let gops = 2.0 * estimate.macs as f64 / estimate.latency_ms / 1e6;
    let mut head = vec![
        ("model", answer.model.to_owned()),
        ("target", estimate.target.clone()),
        ("array", format!("{} (rows x columns)", config.array_text())),
        ("multipliers", multipliers(config)),
        (
            "cycles",
            format!(
                "{} (loading and storing: {}); exact, as the hardware counts them",
                count(estimate.cycles),
                count(estimate.transfer_cycles)
            ),
        ),
        ("latency", format!("{:.4} ms {clock}", estimate.latency_ms)),
        ("throughput", format!("{:.1} a second, {gops:.1} GOP/s {clock}", answer.throughput)),
    ];
    head.extend(energy(answer, board));
    head.extend([
        ("utilization", percent(estimate.utilization)),
        ("lanes", format!("{} of {} bytes", count(estimate.lane_bytes as u64), count(config.lane_bytes as u64))),
        ("weight memory", weights(estimate)),
    ]);
    let resources = estimate.resources.uses.iter().map(|u| {
        let error = u.worst_error.map_or_else(String::new, |error| format!(", {}", within(error)));
        let sure = u.confidence.name().to_owned() + &error;
        let [used, available] = u.amounts();
        vec![u.name.clone(), used, available, percent(u.fill()), sure]
    });
    let resources = table(&["resource", "used", "available", "share", "is"], 1, resources);
    let warnings: String = answer.warnings.iter().map(|w| format!("\n{w}")).collect();
    format!("{}\n{}\n{resources}{warnings}", layers(estimate), pairs(&head))
}
