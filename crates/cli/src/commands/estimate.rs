//! `espalier estimate`: what a model costs on a target, without data and without training.

use espalier_target::{AcceleratorConfig, CostEstimate};
use serde::Serialize;

use crate::args::EstimateArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::files::load_model;
use crate::render::{count, pairs, percent, table};
use crate::target::{board_and_target, resource_warning, with_options};

#[derive(Serialize)]
struct EstimateAnswer<'a> {
    model: &'a str,
    #[serde(flatten)]
    estimate: &'a CostEstimate,
    warnings: Vec<espalier_ir::Diagnostic>,
}

/// Estimates a model as it is; zero weights are skipped as the accelerator skips them.
///
/// # Errors
/// If the model cannot be imported or the accelerator cannot hold it.
pub fn estimate(args: &EstimateArgs) -> Outcome<Answer> {
    let graph = load_model(&args.model)?;
    let (_, target) = board_and_target(args.target.board.as_deref(), args.target.target.as_deref(), "--target")?;
    let config = with_options(&target, &args.target)?.with_units_for(&graph)?;
    let model = espalier_target::CostModel::new(&graph, &config)?;
    let tiles = espalier_target::tiles_of_weights(&model, &graph);
    let estimate = espalier_target::estimate(&graph, &target, &config, Some(&tiles))?;
    let warnings: Vec<_> = resource_warning(&target, &estimate.resources).into_iter().collect();
    let text = show(&graph.name, &estimate, &warnings);
    Ok(Answer::new(&EstimateAnswer { model: &graph.name, estimate: &estimate, warnings }, text))
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

fn show(model: &str, estimate: &CostEstimate, warnings: &[espalier_ir::Diagnostic]) -> String {
    let memory = estimate.config.external();
    let layers = estimate.layers.iter().map(|l| {
        let read = memory.map(|_| format!("{:.1}", l.memory_bytes_per_cycle));
        let head = [l.name.clone(), l.op_name.to_owned(), count(l.macs), count(l.tiles), count(l.cycles)];
        let tail = [percent(l.utilization), l.bottleneck.reason().to_owned()];
        head.into_iter().chain(read).chain(tail).collect::<Vec<_>>()
    });
    let read = memory.map(|_| "bytes/cycle");
    let header: Vec<&str> =
        ["layer", "op", "MACs", "tiles", "cycles"].into_iter().chain(read).chain(["utilization", "because"]).collect();
    let layers = table(&header, 2, layers);
    let confidence = |c: espalier_target::Confidence| format!("{c:?}").to_lowercase();
    let config = &estimate.config;
    let head = pairs(&[
        ("model", model.to_owned()),
        ("target", estimate.target.clone()),
        ("array", format!("{} rows x {} columns", config.rows, config.cols)),
        ("multipliers", multipliers(config)),
        ("cycles", format!("{} (loading and storing: {})", count(estimate.cycles), count(estimate.transfer_cycles))),
        (
            "latency",
            format!(
                "{:.4} ms at {} MHz ({})",
                estimate.latency_ms,
                estimate.clock_mhz,
                confidence(estimate.clock_confidence)
            ),
        ),
        ("energy", format!("{:.3} uJ ({})", estimate.energy_uj, confidence(estimate.energy_confidence))),
        ("utilization", percent(estimate.utilization)),
        ("lanes", format!("{} of {} bytes", count(estimate.lane_bytes as u64), count(config.lane_bytes as u64))),
        ("weight memory", weights(estimate)),
    ]);
    let resources = estimate
        .resources
        .uses
        .iter()
        .map(|u| vec![u.name.clone(), format!("{:.0}", u.used), format!("{:.0}", u.available), percent(u.fill())]);
    let resources = table(&["resource", "used", "available", "share"], 1, resources);
    let warnings: String = warnings.iter().map(|w| format!("\n{w}")).collect();
    format!("{layers}\n{head}\n{resources}{warnings}")
}
