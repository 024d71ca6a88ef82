//! Energy with the switching activity of real data instead of the assumed one.

use std::path::Path;

use espalier_emit::BlockActivity;
use espalier_ir::Diagnostic;
use serde::Serialize;

use crate::design::Design;
use crate::progress::Progress;
use crate::simulate::{IMAGES_PER_CALL, Simulator};

/// Modules whose bits are those of the multiply-accumulate operations.
const ARRAY: [&str; 3] = ["espalier_pe", "espalier_pe_pair", "espalier_mul"];

/// What a counting simulation found; `activity` in the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActivityReport {
    /// Inputs that were simulated.
    pub inputs: usize,
    /// Clocks that they took.
    pub clocks: u64,
    /// Every module.
    pub blocks: Vec<BlockActivity>,
    /// Share of the bits of the array that change in a clock.
    pub array: f64,
    /// Share for which the target's energy of an operation holds.
    pub assumed: f64,
    /// Energy of one inference with the measured share, uJ; the energy of an operation is taken to be in proportion to it.
    pub energy_uj: f64,
    /// The same with the assumed share, uJ.
    pub assumed_energy_uj: f64,
}

/// Simulates up to 16 inputs with counters at every bit. `predicted_cycles` is for one of them.
///
/// # Errors
/// If the simulation cannot be built or fails, or there is no estimate of the energy in `report`.
pub fn measure(
    design: &Design,
    folder: &Path,
    inputs: &[Vec<i8>],
    predicted_cycles: u64,
    report: &serde_json::Value,
    progress: &Progress,
) -> Result<ActivityReport, Diagnostic> {
    let simulator = Simulator::build(folder, true, progress)?;
    let inputs = &inputs[..inputs.len().min(IMAGES_PER_CALL)];
    let (blocks, clocks) = simulator.activity(&design.program, folder, inputs, predicted_cycles)?;
    let sum = |count: fn(&BlockActivity) -> u64| {
        blocks.iter().filter(|b| ARRAY.contains(&b.block.as_str())).map(count).sum::<u64>() as f64
    };
    let array = sum(|b| b.toggles) / (sum(|b| b.bits) * clocks as f64).max(1.0);
    let energy = &design.info.target.energy;
    let number = |path: &str| {
        report.pointer(path).and_then(serde_json::Value::as_f64).ok_or_else(|| {
            Diagnostic::error("damaged-design", folder.display().to_string(), format!("the report has no {path}"))
        })
    };
    let (total, macs) = (number("/energy_uj")?, number("/energy/macs_uj")?);
    let change = macs * (array / energy.activity.value - 1.0) * (1.0 + energy.overhead.value);
    Ok(ActivityReport {
        inputs: inputs.len(),
        clocks,
        blocks,
        array,
        assumed: energy.activity.value,
        energy_uj: total + change,
        assumed_energy_uj: total,
    })
}
