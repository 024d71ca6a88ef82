//! `report.json`: everything a run found out, under stable paths. `docs/report.md` documents the schema.

use espalier_ir::Diagnostic;
use espalier_prune::{Budgets, Resource};
use espalier_target::{Bottleneck, Confidence, CycleUse, EnergySplit, Resources};
use serde::{Deserialize, Serialize};

use crate::assess::{Assessment, target_report};
use crate::design::Design;
use crate::engines::Engines;
use crate::progress::Progress;
use crate::render::{by_step, count, more_like_it, pairs, percent, table};
use crate::training::Metric;
use crate::verification::Verification;

/// Version of the schema; raised when a path changes its meaning or disappears.
pub const SCHEMA: &str = "espalier-report/1";

/// The whole report. What a command does not know is `null` or empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Command that wrote it: `run`, `compile` or `verify`.
    pub command: String,
    /// The network.
    pub model: ModelReport,
    /// The device.
    pub target: TargetReport,
    /// Array sizes and memory depths, all resolved.
    pub accelerator: serde_json::Value,
    /// Hash of that configuration, eight hexadecimal digits; the hardware returns the same.
    pub config_hash: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// What was allowed.
    pub budget: Option<BudgetReport>,
    /// Samples of each part of the data.
    pub data: DataReport,
    /// Top-1 accuracy on the test samples.
    pub accuracy: AccuracyReport,
    /// Cycles for one sample.
    pub cycles: CyclesReport,
    /// Multiply-accumulates of the network that runs, per cycle and array element.
    pub utilization: Option<f64>,
    /// Milliseconds for one sample at the target's clock.
    pub latency_ms: Option<f64>,
    /// Microjoules for one sample, from the target's energy numbers.
    pub energy_uj: Option<f64>,
    /// Where the energy goes, and how sure its numbers are.
    pub energy: Option<EnergyReport>,
    /// Estimated resources of the accelerator on the target.
    pub resources: Option<Resources>,
    /// What tools or a board measured, beside the estimate.
    pub measurements: Vec<Measurement>,
    /// Comparison of the engines.
    pub verification: Option<VerificationReport>,
    /// One entry a layer.
    pub layers: Vec<LayerReport>,
    /// Rounds of pruning.
    pub pruning: Vec<PruningReport>,
    /// Rounding of the network.
    pub quantization: Option<QuantizationReport>,
    /// Time of every stage.
    pub stages: Vec<StageReport>,
    /// Versions of this program and of the tools it called.
    pub tools: ToolsReport,
    /// Warnings on the way.
    pub warnings: Vec<Finding>,
}

/// The network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ModelReport {
    /// Name.
    pub name: String,
    /// Trained values before pruning.
    pub parameters: usize,
    /// Multiply-accumulates for one sample before pruning.
    pub macs: u64,
    /// Trained values after pruning that are not zero.
    pub parameters_kept: usize,
    /// Multiply-accumulates after channel pruning.
    pub macs_after: u64,
    /// Shape of one input sample.
    pub input_shape: Vec<usize>,
    /// Shape of one output.
    pub output_shape: Vec<usize>,
    /// Operators that the host computes.
    pub host_operators: Vec<String>,
}

/// The device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TargetReport {
    /// Name.
    pub name: String,
    /// Clock, MHz.
    pub clock_mhz: f64,
    /// How sure the clock is.
    #[serde(default)]
    pub clock_confidence: Option<Confidence>,
    /// Manufacturer, part, speed grade.
    #[serde(default)]
    pub description: String,
}

/// Energy of one sample.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnergyReport {
    /// Its parts, transfers included.
    #[serde(flatten)]
    pub split: EnergySplit,
    /// How sure it is: the least sure of the target's constants.
    pub confidence: Confidence,
}

/// A figure that a tool or a board measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured, such as `logic cells` or `clock`.
    pub name: String,
    /// Its unit, empty for counts.
    #[serde(default)]
    pub unit: String,
    /// What the model said, if it says anything.
    pub estimated: Option<f64>,
    /// What was found.
    pub measured: f64,
    /// Who found it: a tool with its version, or a board.
    #[serde(default)]
    pub source: String,
}

/// A warning on the way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// `warning`.
    pub severity: String,
    /// Stable kebab-case code.
    pub code: String,
    /// The place.
    pub at: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    fn new(diagnostic: &Diagnostic) -> Self {
        let json = serde_json::to_value(diagnostic).and_then(serde_json::from_value);
        json.expect("a finding has the fields of a diagnostic")
    }
}

/// What was allowed, and whether it was kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BudgetReport {
    /// Cycles for one sample; `null` if unlimited.
    pub cycles: Option<u64>,
    /// Share of the dense cycles that this is.
    pub cycles_fraction: Option<f64>,
    /// What may fall so far: `accuracy` or `macro_f1`.
    pub metric: Metric,
    /// Points that it may fall.
    pub max_accuracy_drop: f64,
    /// Every limited resource with the verdict on it.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
    /// True if all limits and the accuracy are within.
    pub met: bool,
}

/// One limited resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitReport {
    /// What is limited.
    pub resource: Resource,
    /// The most that is allowed, in the unit that the resource names.
    pub limit: f64,
    /// What the design takes.
    pub value: f64,
    /// Whether it is within.
    pub met: bool,
}

/// Samples of each part of the data; the parts are disjoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DataReport {
    /// Trained on.
    pub train: usize,
    /// Held out for decisions.
    pub validation: usize,
    /// Observed to choose scales (a part of `train` unless given separately).
    pub calibration: usize,
    /// Measured at the end.
    pub test: usize,
}

/// Accuracy at three points of the way.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AccuracyReport {
    /// The float model as given.
    pub baseline: Option<Score>,
    /// After pruning and fine-tuning, float.
    pub pruned: Option<Score>,
    /// The integers that the hardware computes.
    pub int8: Option<Score>,
}

/// One measured accuracy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Score {
    /// `top-1`.
    pub metric: String,
    /// Share of correct samples, 0..=1.
    pub value: f64,
    /// Mean of the classes' F1 scores, 0..=1.
    pub macro_f1: f64,
    /// Samples measured.
    pub samples: usize,
}

/// Cycles for one sample.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CyclesReport {
    /// The unpruned network on the same accelerator.
    pub dense: Option<u64>,
    /// The generated program, by the cycle model.
    pub predicted: Option<u64>,
    /// The counter of the simulated hardware.
    pub simulated: Option<u64>,
    /// `predicted / dense`.
    pub ratio: Option<f64>,
}

/// Comparison of the engines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerificationReport {
    /// Engines compared.
    pub engines: Vec<String>,
    /// Inputs that went through all of them.
    pub inputs: usize,
    /// How many of these are random rather than from data.
    pub random_inputs: usize,
    /// Elements of layer outputs compared (each between the reference and one engine).
    pub elements: u64,
    /// Elements that differ.
    pub mismatches: u64,
    /// True if every simulated run took exactly the predicted cycles; `null` without simulation.
    pub cycles_equal: Option<bool>,
    /// The first difference, readable.
    pub first_difference: Option<String>,
    /// What each engine was found to do.
    pub by_engine: Vec<EngineReport>,
}

/// One engine against the reference.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EngineReport {
    /// Its name.
    pub engine: String,
    /// Inputs that it took.
    pub inputs: usize,
    /// Elements of layer outputs compared.
    pub elements: u64,
    /// Elements that differ.
    pub mismatches: u64,
    /// Wall-clock seconds of running and comparing, without building.
    pub seconds: f64,
}

/// One layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerReport {
    /// Name of the node.
    pub name: String,
    /// ONNX operator.
    pub op: String,
    /// The layer that does the same at the first time step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<usize>,
    /// Output channels of the given model.
    pub out_channels_before: usize,
    /// Output channels of the hardware.
    pub out_channels_after: usize,
    /// Weight tiles of the given model.
    pub tiles_dense: u64,
    /// Weight tiles of the program.
    pub tiles_kept: u64,
    /// Cycles of the given model.
    pub cycles_dense: u64,
    /// Cycles of the program.
    pub cycles_predicted: u64,
    /// Cycles of the simulated hardware.
    pub cycles_simulated: Option<u64>,
    /// Multiply-accumulates per cycle and array element.
    pub utilization: f64,
    /// Multiply-accumulates with a weight that is not zero.
    #[serde(default)]
    pub macs: u64,
    /// What costs most of the cycles that do not multiply.
    pub bottleneck: Bottleneck,
    /// Where the cycles go.
    #[serde(default)]
    pub cycle_use: CycleUse,
    /// Weights that the loader brings, bytes.
    #[serde(default)]
    pub weight_bytes_loaded: u64,
    /// Energy, uJ.
    #[serde(default)]
    pub energy: EnergySplit,
}

/// One round of pruning and fine-tuning.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PruningReport {
    /// Round, from 1.
    pub step: usize,
    /// What was to hold after this round.
    pub budgets: Budgets,
    /// The criterion that was chosen.
    pub criterion: String,
    /// Cycles reached.
    pub cycles: u64,
    /// Channels removed in this round.
    pub channels_removed: usize,
    /// Vectors pruned so far.
    pub vectors_pruned: usize,
    /// Share of the loss by which a better choice could be better at most, if a bound is known.
    pub certified_gap: Option<f64>,
    /// Validation accuracy right after pruning.
    pub accuracy_before: Option<f64>,
    /// Validation accuracy after fine-tuning.
    pub accuracy_after: Option<f64>,
    /// Macro-F1 right after pruning.
    pub macro_f1_before: Option<f64>,
    /// Macro-F1 after fine-tuning.
    pub macro_f1_after: Option<f64>,
    /// Whether the round stayed; else it was undone because the accuracy fell below the floor.
    pub accepted: bool,
}

/// Rounding of the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuantizationReport {
    /// Calibration method.
    pub method: String,
    /// Float accuracy, or macro-F1 if the budget names it, on the validation samples before rounding.
    pub validation_float: Option<f64>,
    /// The same right after rounding.
    pub validation_post_training: Option<f64>,
    /// The same after quantization-aware training, if it ran.
    pub validation_aware: Option<f64>,
}

/// Time of one stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageReport {
    /// Kebab-case name.
    pub name: String,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Versions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ToolsReport {
    /// This program.
    pub espalier: String,
    /// `verilator --version`, if it was called.
    pub verilator: Option<String>,
    /// First line of `g++ --version`, if it compiled the HLS kernel.
    pub cpp_compiler: Option<String>,
}

impl ToolsReport {
    /// This program alone.
    pub fn new() -> Self {
        ToolsReport { espalier: env!("CARGO_PKG_VERSION").to_owned(), verilator: None, cpp_compiler: None }
    }
}

impl Report {
    /// A report of `command` about a compiled design, without accuracy, budget and verification.
    pub fn new(command: &str, design: &Design, assessment: &Assessment, progress: &Progress) -> Self {
        let json = |value: serde_json::Result<serde_json::Value>| value.expect("plain data becomes JSON");
        Report {
            schema: SCHEMA.to_owned(),
            command: command.to_owned(),
            model: assessment.model.clone(),
            target: target_report(&design.info.target),
            accelerator: json(serde_json::to_value(&design.program.config)),
            config_hash: format!("{:08x}", design.program.config_hash()),
            seed: design.info.seed,
            budget: None,
            data: DataReport::default(),
            accuracy: AccuracyReport::default(),
            cycles: assessment.cycles.clone(),
            utilization: Some(assessment.utilization),
            latency_ms: Some(assessment.estimate.latency_ms),
            energy_uj: Some(assessment.estimate.energy_uj),
            energy: Some(EnergyReport {
                split: assessment.estimate.energy,
                confidence: assessment.estimate.energy_confidence,
            }),
            resources: Some(assessment.estimate.resources.clone()),
            measurements: Vec::new(),
            verification: None,
            layers: assessment.layers.clone(),
            pruning: Vec::new(),
            quantization: None,
            stages: progress.stages(),
            tools: ToolsReport::new(),
            warnings: progress.warnings().iter().map(Finding::new).collect(),
        }
    }

    /// Takes in what verification found.
    pub fn set_verification(&mut self, verification: &Verification, engines: &Engines) {
        self.verification = Some(verification.report.clone());
        self.cycles.simulated = verification.simulated;
        for (layer, cycles) in self.layers.iter_mut().zip(verification.layer_cycles.iter().flatten()) {
            layer.cycles_simulated = Some(*cycles);
        }
        self.tools.verilator = engines.verilator_version();
        self.tools.cpp_compiler = engines.compiler_version();
    }

    /// The JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data becomes JSON") + "\n"
    }

    /// The readable form.
    pub fn to_text(&self) -> String {
        let mut parts = vec![layer_table(&self.layers)];
        let mut lines = vec![
            ("model", format!("{} ({} parameters)", self.model.name, count(self.model.parameters as u64))),
            ("target", format!("{} at {} MHz", self.target.name, self.target.clock_mhz)),
        ];
        let accuracy = [
            ("accuracy, baseline", &self.accuracy.baseline),
            ("accuracy, pruned", &self.accuracy.pruned),
            ("accuracy, INT8", &self.accuracy.int8),
        ];
        for (name, score) in accuracy {
            if let Some(score) = score {
                let f1 = percent(score.macro_f1);
                let text =
                    format!("{} of {} test samples, macro-F1 {f1}", percent(score.value), count(score.samples as u64));
                lines.push((name, text));
            }
        }
        let cycles = [
            ("cycles, dense", self.cycles.dense),
            ("cycles, predicted", self.cycles.predicted),
            ("cycles, simulated", self.cycles.simulated),
        ];
        for (name, value) in cycles {
            if let Some(value) = value {
                lines.push((name, count(value)));
            }
        }
        if let Some(ratio) = self.cycles.ratio {
            lines.push(("cycles, of dense", percent(ratio)));
        }
        if let (Some(utilization), Some(latency), Some(energy)) = (self.utilization, self.latency_ms, self.energy_uj) {
            lines.push(("utilization", percent(utilization)));
            lines.push(("latency", format!("{latency:.4} ms")));
            let origin =
                self.energy.as_ref().map_or_else(String::new, |e| format!(" ({:?})", e.confidence).to_lowercase());
            lines.push(("energy", format!("{energy:.3} uJ{origin}")));
        }
        if let Some(budget) = &self.budget {
            lines.push(("budget", if budget.met { "met".to_owned() } else { "NOT met".to_owned() }));
        }
        if let Some(verification) = &self.verification {
            lines.push(("verification", verification_text(verification)));
        }
        parts.push(pairs(&lines));
        parts.join("\n")
    }
}

/// A row a layer; time steps share one, with their sums.
fn layer_table(layers: &[LayerReport]) -> String {
    let row = |group: Vec<usize>| {
        let first = &layers[group[0]];
        let sum = |of: fn(&LayerReport) -> u64| group.iter().map(|l| of(&layers[*l])).sum::<u64>();
        let simulated: Option<u64> = group.iter().map(|l| layers[*l].cycles_simulated).sum();
        let busy: f64 = group.iter().map(|l| layers[*l].utilization * layers[*l].cycles_predicted as f64).sum();
        vec![
            format!("{}{}", first.name, more_like_it(group.len())),
            first.op.clone(),
            format!("{} > {}", first.out_channels_before, first.out_channels_after),
            format!("{} > {}", count(sum(|l| l.tiles_dense)), count(sum(|l| l.tiles_kept))),
            count(sum(|l| l.cycles_dense)),
            count(sum(|l| l.cycles_predicted)),
            simulated.map_or_else(String::new, count),
            percent(busy / sum(|l| l.cycles_predicted).max(1) as f64),
        ]
    };
    let header = ["layer", "op", "channels", "tiles", "dense cycles", "cycles", "simulated", "utilization"];
    table(&header, 2, by_step(layers, |l| l.peer).into_iter().map(row))
}

/// One line about a verification.
pub fn verification_text(report: &VerificationReport) -> String {
    let cycles = match report.cycles_equal {
        Some(true) => ", cycles as predicted",
        Some(false) => ", CYCLES DIFFER",
        None => "",
    };
    format!(
        "{}: {} inputs, {} elements, {} mismatches{cycles}",
        report.engines.join(" = "),
        report.inputs,
        count(report.elements),
        count(report.mismatches)
    )
}
