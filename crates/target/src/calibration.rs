//! What the parts of an accelerator take of an FPGA or of silicon, fitted to syntheses, and how well that predicts others.
//!
//! The files of `hw-targets/calibration/` are written by `cargo bench --workspace --bench calibrate` and compiled in.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{AcceleratorConfig, Multiplier};

/// A part of an accelerator that look-up tables and flip-flops are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Sequencer, loader, mover and host interface.
    Base,
    /// A row: its lane, its share of write-back and streams.
    Row,
    /// A bit of the address of a lane.
    LaneAddressBit,
    /// A column: requantization, clamp, maximum, rotation.
    Column,
    /// A bit of the accumulator of a column.
    AccumulatorBit,
    /// A bit of the address of an accumulator of a column.
    PixelAddressBit,
    /// A processing element with a hardware multiplier of its own.
    Element,
    /// A bit of its partial sum.
    ElementSumBit,
    /// A processing element that shares a hardware multiplier with its neighbour.
    PackedElement,
    /// A bit of its partial sum.
    PackedSumBit,
    /// A processing element that multiplies by adders.
    SoftElement,
    /// A row of an array beside the first one.
    ClusterRow,
    /// A column of it.
    ClusterColumn,
    /// A row where vectors share rows.
    CombinedRow,
    /// A processing element with a multiplier of its own, or of adders, where vectors share rows.
    CombinedElement,
    /// A processing element that shares a multiplier, where vectors share rows.
    CombinedPackedElement,
    /// The depthwise unit, for each column.
    DepthwiseColumn,
    /// A multiplier of the depthwise unit.
    DepthwiseTap,
    /// A byte of a lane that waits for the array, in the depthwise unit.
    DepthwiseWait,
    /// Gates of the depthwise unit, for each row.
    GateRow,
    /// States of the depthwise unit, for each column.
    StateColumn,
    /// The search for the class, for each row.
    ArgmaxRow,
    /// Tables of the write-back, for each column.
    TableColumn,
    /// Streaming of weights.
    Stream,
    /// A byte of a weight word that is streamed.
    StreamByte,
}

/// How many of each part a configuration has, without those that it has none of.
pub fn parts(config: &AcceleratorConfig) -> Vec<(Part, f64)> {
    let (rows, cols, clusters) = (config.rows as f64, config.cols as f64, config.clusters as f64);
    let hard = clusters * rows * config.hard_cols() as f64;
    let (plain, packed) = if config.multiplier == Multiplier::Packed { (0.0, hard) } else { (hard, 0.0) };
    let soft = clusters * rows * cols - hard;
    let second = config.combine as f64 - 1.0;
    let further = clusters - 1.0;
    let sum_bits = f64::from(config.partial_sum_bits());
    let address = |words: usize| f64::from(words.next_power_of_two().trailing_zeros());
    let taps = clusters * config.depthwise_taps as f64;
    let units = if config.depthwise_taps > 0 { clusters } else { 0.0 };
    let (stream, word_bytes) = config.external().map_or((0.0, 0.0), |m| (1.0, m.word_bytes as f64));
    let counts = [
        (Part::Base, 1.0),
        (Part::Row, rows),
        (Part::LaneAddressBit, rows * address(config.lane_bytes)),
        (Part::Column, cols),
        (Part::AccumulatorBit, cols * f64::from(config.accumulator_bits)),
        (Part::PixelAddressBit, cols * address(config.accumulator_pixels)),
        (Part::Element, plain),
        (Part::ElementSumBit, plain * sum_bits),
        (Part::PackedElement, packed),
        (Part::PackedSumBit, packed * sum_bits),
        (Part::SoftElement, soft),
        (Part::ClusterRow, further * rows),
        (Part::ClusterColumn, further * cols),
        (Part::CombinedRow, second * clusters * rows),
        (Part::CombinedElement, second * (plain + soft)),
        (Part::CombinedPackedElement, second * packed),
        (Part::DepthwiseColumn, units * cols),
        (Part::DepthwiseTap, rows * taps),
        (Part::DepthwiseWait, units * rows * (rows - 1.0)),
        (Part::GateRow, if config.gates { rows } else { 0.0 }),
        (Part::StateColumn, if config.states { cols } else { 0.0 }),
        (Part::ArgmaxRow, if config.argmax { rows } else { 0.0 }),
        (Part::TableColumn, if config.activation_tables { cols } else { 0.0 }),
        (Part::Stream, stream),
        (Part::StreamByte, word_bytes),
    ];
    counts.into_iter().filter(|(_, count)| *count > 0.0).collect()
}

/// Look-up tables, or area of cells, and flip-flops.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logic {
    /// Look-up tables (with their carry logic); of an ASIC process the area of all cells, um2.
    pub cells: f64,
    /// Flip-flops.
    pub flip_flops: f64,
}

/// What a synthesis is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointUse {
    /// The coefficients are fitted to it.
    Fit,
    /// Kept apart, to see how well the coefficients predict.
    HeldOut,
}

/// One synthesized accelerator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationPoint {
    /// What it is used for.
    #[serde(rename = "use")]
    pub used_for: PointUse,
    /// Hash of the hardware that was synthesized, in hex.
    pub rtl: String,
    /// Look-up tables; of an ASIC process the area of all cells but memory macros, um2.
    pub cells: f64,
    /// Flip-flops.
    pub flip_flops: f64,
    /// Hardware multipliers; an ASIC process has none.
    pub multipliers: f64,
    /// Block RAMs by the name of the primitive, memory macros by [`crate::SramMacro::name`].
    pub block_rams: BTreeMap<String, f64>,
    /// The accelerator, with all memory depths.
    pub config: AcceleratorConfig,
}

/// A file of `hw-targets/calibration/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Family of FPGAs or ASIC process that was synthesized.
    pub family: String,
    /// The synthesis tool with its version.
    pub tool: String,
    /// What each part takes; those that are missing take nothing.
    pub parts: BTreeMap<Part, Logic>,
    /// What was synthesized.
    pub points: Vec<CalibrationPoint>,
}

/// Relative errors of predictions against syntheses.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Syntheses.
    pub points: usize,
    /// Mean of the relative errors.
    pub mean: Logic,
    /// Largest relative error.
    pub worst: Logic,
}

impl Calibration {
    /// What an accelerator takes.
    pub fn logic(&self, config: &AcceleratorConfig) -> Logic {
        parts(config).into_iter().fold(Logic::default(), |sum, (part, count)| {
            let one = self.parts.get(&part).copied().unwrap_or_default();
            Logic { cells: sum.cells + count * one.cells, flip_flops: sum.flip_flops + count * one.flip_flops }
        })
    }

    /// How well it predicts the points of one use.
    pub fn accuracy(&self, used_for: PointUse) -> Accuracy {
        let mut accuracy = Accuracy::default();
        for point in self.points.iter().filter(|p| p.used_for == used_for) {
            let predicted = self.logic(&point.config);
            let error = |predicted: f64, measured: f64| (predicted / measured.max(1.0) - 1.0).abs();
            let cells = error(predicted.cells, point.cells);
            let flip_flops = error(predicted.flip_flops, point.flip_flops);
            accuracy.points += 1;
            accuracy.mean.cells += cells;
            accuracy.mean.flip_flops += flip_flops;
            accuracy.worst.cells = accuracy.worst.cells.max(cells);
            accuracy.worst.flip_flops = accuracy.worst.flip_flops.max(flip_flops);
        }
        let points = accuracy.points.max(1) as f64;
        accuracy.mean = Logic { cells: accuracy.mean.cells / points, flip_flops: accuracy.mean.flip_flops / points };
        accuracy
    }
}

const FILES: [(&str, &str); 5] = [
    ("ecp5", include_str!("../../../hw-targets/calibration/ecp5.toml")),
    ("ice40", include_str!("../../../hw-targets/calibration/ice40.toml")),
    ("xilinx-7", include_str!("../../../hw-targets/calibration/xilinx-7.toml")),
    ("sky130hd", include_str!("../../../hw-targets/calibration/sky130hd.toml")),
    ("ihp-sg13g2", include_str!("../../../hw-targets/calibration/ihp-sg13g2.toml")),
];

static CALIBRATIONS: LazyLock<Vec<Calibration>> =
    LazyLock::new(|| FILES.iter().map(|(_, text)| toml::from_str(text).expect("written by the program")).collect());

static HELD_OUT: LazyLock<Vec<Accuracy>> =
    LazyLock::new(|| CALIBRATIONS.iter().map(|c| c.accuracy(PointUse::HeldOut)).collect());

/// How well the calibration of a family predicts what it was not fitted to; computed once.
pub(crate) fn held_out(family: &str) -> Accuracy {
    FILES.iter().position(|(name, _)| *name == family).map_or_else(Accuracy::default, |index| HELD_OUT[index])
}

/// Families and processes that were synthesized.
pub fn calibrated_families() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// The calibration of a family or process.
pub fn calibration(family: &str) -> Option<&'static Calibration> {
    CALIBRATIONS.iter().find(|c| c.family == family)
}
