//! `docs/calibration.md`: every point with its prediction.

use std::fmt::Write;

use espalier_target::{
    AcceleratorConfig, Accuracy, Calibration, CalibrationPoint, Multiplier, PointUse, builtin_target,
};

/// The page.
pub fn page(calibrations: &[Calibration]) -> String {
    let mut text = HEAD.to_owned();
    let error = |value: f64| format!("{:.1} %", 100.0 * value);
    for calibration in calibrations {
        let accuracy = |used_for| calibration.accuracy(used_for);
        for (name, Accuracy { points, mean, worst }) in
            [("fitted", accuracy(PointUse::Fit)), ("held out", accuracy(PointUse::HeldOut))]
        {
            writeln!(
                text,
                "| {} | {name} | {points} | {} | {} | {} | {} |",
                calibration.family,
                error(mean.cells),
                error(worst.cells),
                error(mean.flip_flops),
                error(worst.flip_flops)
            )
            .expect("strings grow");
        }
    }
    for calibration in calibrations {
        for (used_for, name) in [(PointUse::HeldOut, "held out"), (PointUse::Fit, "fitted")] {
            let silicon = builtin_target(&calibration.family).is_some_and(|t| t.asic.is_some());
            let columns = if silicon { PROCESS_COLUMNS } else { COLUMNS };
            writeln!(text, "\n## {}, {name} ({})\n\n{columns}", calibration.family, calibration.tool)
                .expect("strings grow");
            for point in calibration.points.iter().filter(|p| p.used_for == used_for) {
                text += &row(calibration, point);
            }
        }
    }
    text
}

const HEAD: &str = "# Calibration of the resource estimates

Written by `cargo bench --workspace --bench calibrate`; `crates/target/tests/calibration.rs` compares every point with the model.
Synthesis of the generated core (without a host) with Yosys, the estimate in brackets. *Held out* accelerators were not used for
the fit. Multipliers, block RAMs and memory macros are equal to the estimate in every row. Of ASIC processes the area of all
cells is compared, mapped to the cell library but not placed, in the place of LUTs.

| family | points | number | LUT or area, mean error | worst | flip-flops, mean | worst |
|---|---|---|---|---|---|---|
";

const COLUMNS: &str = "| array | options | LUTs | flip-flops | multipliers | block RAMs |\n|---|---|---|---|---|---|";
const PROCESS_COLUMNS: &str =
    "| array | options | um2 of cells | flip-flops | multipliers | memory macros |\n|---|---|---|---|---|---|";

fn row(calibration: &Calibration, point: &CalibrationPoint) -> String {
    let config = &point.config;
    let predicted = calibration.logic(config);
    let rams: Vec<String> =
        point.block_rams.iter().filter(|(_, n)| **n > 0.0).map(|(name, n)| format!("{n:.0} {name}")).collect();
    format!(
        "| {}x{} | {} | {:.0} ({:.0}) | {:.0} ({:.0}) | {:.0} | {} |\n",
        config.rows,
        config.cols,
        options(config),
        point.cells,
        predicted.cells,
        point.flip_flops,
        predicted.flip_flops,
        point.multipliers,
        rams.join(", ")
    )
}

fn options(config: &AcceleratorConfig) -> String {
    let mut options = Vec::new();
    if config.combine > 1 {
        options.push("two vectors a row".to_owned());
    }
    if config.clusters > 1 {
        options.push(format!("{} clusters", config.clusters));
    }
    match config.multiplier {
        Multiplier::Plain => {}
        Multiplier::Packed => options.push("packed".to_owned()),
        Multiplier::Lut => options.push("adders".to_owned()),
    }
    if let Some(most) = config.max_multipliers {
        options.push(format!("at most {most} multipliers"));
    }
    if config.depthwise_taps > 0 {
        options.push(format!("depthwise unit of {} taps", config.depthwise_taps));
    }
    let named = [
        (config.gates, "gates"),
        (config.states, "states"),
        (config.activation_tables, "tables"),
        (config.argmax, "class"),
    ];
    options.extend(named.into_iter().filter(|(there, _)| *there).map(|(_, name)| name.to_owned()));
    if let Some(memory) = config.external() {
        options.push(format!("streamed, {} bytes a cycle", memory.bytes_per_cycle));
    }
    options.push(format!("lanes {}", config.lane_bytes));
    options.push(format!("{} pixels of {} bits", config.accumulator_pixels, config.accumulator_bits));
    options.push(format!("{} words", config.weight_words.unwrap_or(0)));
    options.push(format!("{} instructions", config.program_instructions.unwrap_or(0)));
    options.join(", ")
}
