//! The project file: what `espalier run` reads.

use std::path::{Path, PathBuf};

use espalier_data::{Layout, Preprocessing};
use espalier_ir::{Diagnostic, Diagnostics};
use espalier_prune::{Budgets, Criterion, Resource, Unit};
use espalier_target::{ActivationStore, Multiplier, WeightSource};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::engines::VerifyEngine;
use crate::files;
use crate::pruning::{RegularizationSection, Schedule, Units};
use crate::train_options::TrainSection;
use crate::training::Metric;

/// A project file is text of a few kilobytes.
const MAX_PROJECT_BYTES: u64 = 1 << 20;

/// A whole project. Paths are relative to the folder of the file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Seed of every random choice.
    #[serde(default)]
    pub seed: u64,
    /// The network.
    pub model: ModelSection,
    /// Samples to train, decide and measure with.
    pub data: DataSection,
    /// The device.
    pub target: TargetSection,
    /// Deviations from the accelerator that the target proposes.
    #[serde(default)]
    pub accelerator: AcceleratorSection,
    /// What the result may cost.
    #[serde(default)]
    pub budget: BudgetSection,
    /// How to get there.
    #[serde(default)]
    pub prune: PruneSection,
    /// How to learn on the way.
    #[serde(default)]
    pub train: TrainSection,
    /// How to round.
    #[serde(default)]
    pub quantize: QuantizeSection,
    /// What to prove.
    #[serde(default)]
    pub verify: VerifySection,
    /// Where the result goes.
    #[serde(default)]
    pub output: OutputSection,
}

/// `[model]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// ONNX file.
    pub path: Option<PathBuf>,
    /// Architecture file, instead: the network is trained first.
    pub architecture: Option<PathBuf>,
}

/// `[data]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Training samples: a file, a folder of images by class, or a list of files.
    pub train: Paths,
    /// Labels of the training samples, if they are in files of their own.
    #[serde(default)]
    pub train_labels: Paths,
    /// Test samples, looked at once at the end (and for the baseline).
    pub test: Paths,
    /// Labels of the test samples.
    #[serde(default)]
    pub test_labels: Paths,
    /// Samples for decisions on the way; absent: a part of the training samples.
    #[serde(default)]
    pub validation: Paths,
    /// Labels of the validation samples.
    #[serde(default)]
    pub validation_labels: Paths,
    /// Calibration samples; absent: a part of the training samples.
    #[serde(default)]
    pub calibration: Paths,
    /// Most calibration samples.
    #[serde(default = "defaults::calibration_samples")]
    pub calibration_samples: usize,
    /// Share of the training samples held out for decisions on the way, if `validation` names none.
    #[serde(default = "defaults::validation_fraction")]
    pub validation_fraction: f64,
    /// From stored values to inputs of the model.
    #[serde(default)]
    pub preprocessing: PreprocessingSection,
}

/// `[data.preprocessing]`: `(value * scale - mean) / std`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessingSection {
    /// Factor, a number or a ratio in quotes.
    #[serde(deserialize_with = "ratio")]
    #[schemars(with = "Option<Ratio>")]
    pub scale: Option<f32>,
    /// One number, or one a channel or column.
    pub mean: Vec<f32>,
    /// As many divisors.
    pub std: Vec<f32>,
    /// Order of the axes in the files.
    #[schemars(with = "LayoutName")]
    pub layout: Layout,
}

/// `[target]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSection {
    /// Name of a target, or path of a target file; may be left out if there is a board.
    #[serde(default)]
    pub name: Option<String>,
    /// Name of a board, or path of a board file.
    #[serde(default)]
    pub board: Option<String>,
}

/// `[accelerator]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcceleratorSection {
    /// Rows of the array.
    pub rows: Option<usize>,
    /// Columns of the array.
    pub cols: Option<usize>,
    /// Depth of one activation lane.
    pub lane_bytes: Option<usize>,
    /// Pixels of one accumulator bank.
    pub accumulator_pixels: Option<usize>,
    /// Width of the accumulators.
    pub accumulator_bits: Option<u32>,
    /// Weight vectors that share a row of the array, 1 or 2.
    pub combine: Option<usize>,
    /// Arrays that share the rows of every map, each with lanes of its own: 1, 2, 4 or 8.
    pub clusters: Option<usize>,
    /// What forms the products: plain, packed or lut.
    #[schemars(with = "Option<MultiplierName>")]
    pub multiplier: Option<Multiplier>,
    /// Hardware multipliers that the arrays may take.
    pub max_multipliers: Option<usize>,
    /// Multipliers a lane of the depthwise unit, 0 = no unit.
    pub depthwise_taps: Option<usize>,
    /// Computed factors of channels as weights of the depthwise unit (squeeze and excitation); absent: if the network needs
    /// them.
    pub gates: Option<bool>,
    /// Sums of several products and 16-bit results in the depthwise unit (what LSTM and GRU carry from step to step); absent:
    /// if the network needs them.
    pub states: Option<bool>,
    /// Tables in write-back for sigmoid-like functions; absent: if the network needs them.
    pub activation_tables: Option<bool>,
    /// A register with the index of the largest output, the class.
    pub argmax: Option<bool>,
    /// Where the weights are while a program runs: on-chip or streamed.
    #[schemars(with = "Option<WeightSourceName>")]
    pub weights: Option<WeightSource>,
    /// Where tensors are that the lanes do not hold: on-chip (there may be none) or spilled.
    #[schemars(with = "Option<ActivationStoreName>")]
    pub activations: Option<ActivationStore>,
    /// Bytes that external memory delivers a cycle.
    pub memory_bytes_per_cycle: Option<usize>,
    /// Cycles from a read of external memory to its first data.
    pub memory_latency_cycles: Option<usize>,
    /// Words of the weight memory, or of the ring for streamed weights.
    pub weight_words: Option<usize>,
    /// Instructions of the program memory.
    pub program_instructions: Option<usize>,
}

/// `[budget]`: at most one of the first three; any of the others besides.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetSection {
    /// Share of the dense design's cycles.
    pub cycles_fraction: Option<f64>,
    /// Cycles for one sample.
    pub cycles: Option<u64>,
    /// Milliseconds for one sample.
    pub latency_ms: Option<f64>,
    /// Energy of one sample, uJ.
    pub energy_uj: Option<f64>,
    /// Multiply-accumulate operations of one sample.
    pub macs: Option<u64>,
    /// Weights and biases.
    pub parameters: Option<u64>,
    /// Bytes of weight memory.
    pub weight_bytes: Option<u64>,
    /// Bytes of all lanes at the fullest moment.
    pub activation_bytes: Option<u64>,
    /// Block RAMs of the smallest memories that hold the network.
    pub block_rams: Option<u64>,
    /// Hardware multipliers.
    pub multipliers: Option<u64>,
    /// Logic cells.
    pub logic_cells: Option<u64>,
    /// What `max_accuracy_drop`, `prune.floor` and the probe of candidates look at.
    pub metric: Metric,
    /// Points of it that the INT8 network may lie below the float baseline.
    pub max_accuracy_drop: f64,
}

/// `[prune]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneSection {
    /// What makes a channel or vector important; absent for `adaptive`, the best of `candidates` in each round.
    #[serde(deserialize_with = "criterion")]
    #[schemars(schema_with = "criterion_schema")]
    pub criterion: Option<Criterion>,
    /// What the adaptive choice tries.
    #[serde(deserialize_with = "criteria")]
    #[schemars(schema_with = "criteria_schema")]
    pub candidates: Vec<Criterion>,
    /// Rounds of pruning and fine-tuning.
    pub steps: usize,
    /// How much each round takes away.
    pub schedule: Schedule,
    /// What may be removed.
    pub units: Units,
    /// Points of validation accuracy (or what `budget.metric` names) that no round may lose against the given network; a
    /// round that does is undone.
    pub floor: Option<f64>,
    /// Whether pruned vectors may come back while a network is fine-tuned.
    pub regrow: bool,
    /// Least share of the channels of a layer that stays.
    pub min_keep: f64,
    /// Passes over the training samples with `regularization`, before the first round.
    pub sparsify_epochs: usize,
    /// What shrinks weights in these passes.
    pub regularization: RegularizationSection,
    /// Passes over the training samples after each round.
    pub epochs: usize,
    /// Passes after the last round.
    pub final_epochs: usize,
    /// Learning rate at the start of each round.
    pub learning_rate: f64,
    /// Samples a training step.
    pub batch: usize,
    /// Share of the unpruned network's outputs in the loss, 0 (labels only) to 1.
    pub distillation: f32,
    /// What divides the outputs of both networks before they are compared: the larger, the more unlikely classes count.
    pub distillation_temperature: f32,
}

/// `[quantize]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeSection {
    /// range, mse, or a percentile in quotes.
    pub method: String,
    /// Points of validation accuracy whose loss starts quantization-aware training.
    pub qat_threshold: f64,
    /// Passes of that training.
    pub qat_epochs: usize,
    /// Its learning rate, relative to the size of each parameter.
    pub qat_learning_rate: f64,
}

/// `[verify]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifySection {
    /// Inputs through every engine.
    pub samples: usize,
    /// Engines to compare; absent: all, the HLS kernel only if g++ is there.
    pub engines: Option<Vec<VerifyEngine>>,
}

/// `[output]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSection {
    /// Folder, relative to the project file.
    pub dir: PathBuf,
}

/// No, one or several paths.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(from = "OneOrMany")]
pub struct Paths(pub Vec<String>);

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Paths {
    fn from(paths: OneOrMany) -> Self {
        Paths(match paths {
            OneOrMany::One(path) => vec![path],
            OneOrMany::Many(paths) => paths,
        })
    }
}

mod defaults {
    pub fn calibration_samples() -> usize {
        512
    }

    pub fn validation_fraction() -> f64 {
        0.1
    }
}

impl Default for BudgetSection {
    fn default() -> Self {
        BudgetSection {
            cycles_fraction: None,
            cycles: None,
            latency_ms: None,
            energy_uj: None,
            macs: None,
            parameters: None,
            weight_bytes: None,
            activation_bytes: None,
            block_rams: None,
            multipliers: None,
            logic_cells: None,
            metric: Metric::Accuracy,
            max_accuracy_drop: 0.5,
        }
    }
}

impl BudgetSection {
    /// What must hold in the end, where the unpruned network takes `dense_cycles` at `clock_mhz`.
    pub fn budgets(&self, dense_cycles: u64, clock_mhz: f64) -> Budgets {
        let fraction = self.cycles_fraction.map(|f| dense_cycles as f64 * f);
        let latency = self.latency_ms.map(|ms| ms * 1e3 * clock_mhz);
        let count = |n: Option<u64>| n.map(|n| n as f64);
        let limits = [
            (Resource::Cycles, count(self.cycles).or(fraction).or(latency).map(f64::floor)),
            (Resource::EnergyNj, self.energy_uj.map(|uj| uj * 1e3)),
            (Resource::Macs, count(self.macs)),
            (Resource::Parameters, count(self.parameters)),
            (Resource::WeightBytes, count(self.weight_bytes)),
            (Resource::ActivationBytes, count(self.activation_bytes)),
            (Resource::BlockRams, count(self.block_rams)),
            (Resource::Multipliers, count(self.multipliers)),
            (Resource::LogicCells, count(self.logic_cells)),
        ];
        Budgets { limits: limits.into_iter().filter_map(|(resource, limit)| Some((resource, limit?))).collect() }
    }
}

impl PruneSection {
    /// The criteria that make candidates: one, or those of the adaptive choice.
    pub fn pool(&self) -> Vec<Criterion> {
        self.criterion.map_or_else(|| self.candidates.clone(), |c| vec![c])
    }
}

impl Default for PruneSection {
    fn default() -> Self {
        PruneSection {
            criterion: Some(Criterion::Taylor),
            candidates: vec![Criterion::Taylor, Criterion::L2, Criterion::Lamp, Criterion::EntropyEnergy],
            steps: 3,
            schedule: Schedule::Geometric,
            units: Units::Both,
            floor: None,
            regrow: false,
            min_keep: 0.1,
            sparsify_epochs: 0,
            regularization: RegularizationSection::default(),
            epochs: 2,
            final_epochs: 6,
            learning_rate: 0.01,
            batch: 64,
            distillation: 0.5,
            // Hinton et al. (2015) use 2 to 5 for small networks.
            distillation_temperature: 4.0,
        }
    }
}

impl Default for QuantizeSection {
    fn default() -> Self {
        QuantizeSection { method: "mse".to_owned(), qat_threshold: 0.2, qat_epochs: 3, qat_learning_rate: 0.001 }
    }
}

impl Default for VerifySection {
    fn default() -> Self {
        VerifySection { samples: 20, engines: None }
    }
}

impl Default for OutputSection {
    fn default() -> Self {
        OutputSection { dir: PathBuf::from("out") }
    }
}

impl PreprocessingSection {
    /// As the data crate wants it.
    pub fn to_preprocessing(&self) -> Preprocessing {
        Preprocessing {
            scale: self.scale.unwrap_or(1.0),
            mean: self.mean.clone(),
            std: self.std.clone(),
            layout: self.layout,
        }
    }
}

/// Reads a number or a ratio of two, such as `1/255`.
///
/// # Errors
/// If it is neither, or not finite.
pub fn parse_ratio(text: &str) -> Result<f32, String> {
    let number =
        |part: &str| part.trim().parse::<f64>().map_err(|_| format!("'{text}' is neither a number nor a ratio"));
    let value = match text.split_once('/') {
        Some((dividend, divisor)) => number(dividend)? / number(divisor)?,
        None => number(text)?,
    };
    if value.is_finite() { Ok(value as f32) } else { Err(format!("'{text}' is not a finite number")) }
}

/// A number, or a ratio of two in quotes.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number or a ratio such as \"1/255\"")]
enum Ratio {
    Number(f32),
    Text(String),
}

/// Order of the axes, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes names of another crate")]
enum LayoutName {
    /// Channels, height, width.
    Nchw,
    /// Height, width, channels.
    Nhwc,
}

/// What forms the products, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes names of another crate")]
enum MultiplierName {
    /// One hardware multiplier each.
    Plain,
    /// Two columns share a hardware multiplier.
    Packed,
    /// Adders.
    Lut,
}

/// Where the weights are while a program runs, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes names of another crate")]
enum WeightSourceName {
    /// In a memory on the chip that holds all of them.
    OnChip,
    /// In external memory, read ahead.
    Streamed,
}

/// Where tensors are that the lanes do not hold, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes names of another crate")]
enum ActivationStoreName {
    /// There are none.
    OnChip,
    /// In external memory.
    Spilled,
}

/// Names of criteria.
fn criterion_names() -> Vec<&'static str> {
    Criterion::ALL.into_iter().map(Criterion::name).collect()
}

fn criterion_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = criterion_names().into_iter().chain(["adaptive"]).collect();
    schemars::json_schema!({ "type": "string", "enum": names })
}

fn criteria_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "array", "items": { "type": "string", "enum": criterion_names() } })
}

/// The JSON schema of project files.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Project)
}

fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    match Ratio::deserialize(deserializer)? {
        Ratio::Number(value) => Ok(Some(value)),
        Ratio::Text(text) => parse_ratio(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

/// Reads the name of a criterion, or `adaptive` for none in particular.
fn criterion<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Criterion>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name == "adaptive" { Ok(None) } else { named_criterion(&name).map(Some) }
}

fn criteria<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Criterion>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|name| named_criterion(name)).collect()
}

/// A wrong name is answered with the nearest.
fn named_criterion<E: serde::de::Error>(name: &str) -> Result<Criterion, E> {
    Criterion::from_name(name).map_err(|finding| {
        let help = finding.help.map_or_else(String::new, |help| format!("; {help}"));
        let list = "`espalier prune --list-criteria` explains them";
        E::custom(format!("{}{help}; {list}", finding.message))
    })
}

/// Reads and checks a project file; relative paths become relative to the current folder.
///
/// # Errors
/// If the file cannot be read, is not TOML, has unknown or missing keys, or values out of their bounds (all at once).
pub fn load(path: &Path) -> Result<Project, Diagnostics> {
    let at = path.display().to_string();
    let bytes = files::read_bounded(path, MAX_PROJECT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| bad(&at, "is not text".to_owned()))?;
    let mut project = parse(&text, &at)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for path in [&mut project.model.path, &mut project.model.architecture].into_iter().flatten() {
        *path = folder.join(&path);
    }
    project.output.dir = folder.join(&project.output.dir);
    let data = &mut project.data;
    let samples = [&mut data.train, &mut data.test, &mut data.validation, &mut data.calibration];
    let labels = [&mut data.train_labels, &mut data.test_labels, &mut data.validation_labels];
    for paths in samples.into_iter().chain(labels) {
        for path in paths.0.iter_mut().filter(|p| !p.starts_with("random:")) {
            *path = folder.join(&path).display().to_string();
        }
    }
    for name in
        [&mut project.target.name, &mut project.target.board].into_iter().flatten().filter(|n| n.ends_with(".toml"))
    {
        *name = folder.join(&*name).display().to_string();
    }
    Ok(project)
}

fn bad(at: &str, message: String) -> Diagnostic {
    Diagnostic::error("bad-project-file", at, message)
}

fn parse(text: &str, at: &str) -> Result<Project, Diagnostics> {
    // The message of the parser shows the line with a caret under the place.
    let project: Project = toml::from_str(text).map_err(|error| {
        let message = error.to_string().trim_end().replace('\n', "\n  ");
        bad(at, message).with_help("all keys are explained in examples/lenet5-mnist/espalier.toml")
    })?;
    check(&project, at)?;
    Ok(project)
}

/// Checks all values against their bounds.
///
/// # Errors
/// All that are out of them.
pub fn check(project: &Project, at: &str) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    let mut require = |good: bool, key: &str, message: String| {
        if !good {
            findings.push(bad(&format!("{at}: {key}"), message));
        }
    };
    let Project { model, data, budget, prune, quantize, verify, .. } = project;
    require(
        model.path.is_some() != model.architecture.is_some(),
        "model",
        "must give one of path, a trained model, and architecture, a network to train".into(),
    );
    require(
        model.architecture.is_none() || project.train.transfer.is_none(),
        "train.transfer",
        "needs a trained model, model.path".into(),
    );
    require(!data.train.0.is_empty(), "data.train", "names no file".into());
    require(!data.test.0.is_empty(), "data.test", "names no file".into());
    let open = |v: f64| v > 0.0 && v < 1.0;
    require(open(data.validation_fraction), "data.validation_fraction", "must lie between 0 and 1".into());
    require(data.calibration_samples > 0, "data.calibration_samples", "must be at least 1".into());
    let budgets = [budget.cycles_fraction.is_some(), budget.cycles.is_some(), budget.latency_ms.is_some()];
    require(
        budgets.iter().filter(|b| **b).count() <= 1,
        "budget",
        "give one of cycles_fraction, cycles and latency_ms".into(),
    );
    let positive = |v: f64| v.is_finite() && v > 0.0;
    require(
        budget.cycles_fraction.is_none_or(|f| positive(f) && f <= 1.0),
        "budget.cycles_fraction",
        "must be above 0 and at most 1".into(),
    );
    require(budget.cycles != Some(0), "budget.cycles", "must be at least 1".into());
    require(budget.latency_ms.is_none_or(positive), "budget.latency_ms", "must be above 0".into());
    require(
        (0.0..=100.0).contains(&budget.max_accuracy_drop),
        "budget.max_accuracy_drop",
        "is in points, 0 to 100".into(),
    );
    require(prune.steps > 0, "prune.steps", "must be at least 1".into());
    require(
        prune.floor.is_none_or(|points| (0.0..=100.0).contains(&points)),
        "prune.floor",
        "is in points, 0 to 100".into(),
    );
    require(!prune.pool().is_empty(), "prune.candidates", "names no criterion".into());
    require(budget.energy_uj.is_none_or(positive), "budget.energy_uj", "must be above 0".into());
    require((0.0..=1.0).contains(&prune.min_keep), "prune.min_keep", "must be in 0..=1".into());
    require((0.0..=1.0).contains(&prune.distillation), "prune.distillation", "must be in 0..=1".into());
    let temperature = f64::from(prune.distillation_temperature);
    require(positive(temperature), "prune.distillation_temperature", "must be above 0".into());
    for (key, message) in prune.regularization.findings() {
        require(false, &format!("prune.regularization.{key}"), message.into());
    }
    require(
        (prune.sparsify_epochs > 0) == prune.regularization.is_active(),
        "prune.sparsify_epochs",
        "takes a [prune.regularization] with a factor above 0, and that takes sparsify_epochs above 0".into(),
    );
    require(prune.batch > 0, "prune.batch", "must be at least 1".into());
    require(positive(prune.learning_rate), "prune.learning_rate", "must be above 0".into());
    require(positive(quantize.qat_learning_rate), "quantize.qat_learning_rate", "must be above 0".into());
    require(quantize.qat_threshold >= 0.0, "quantize.qat_threshold", "is in points, at least 0".into());
    require(verify.samples > 0, "verify.samples", "must be at least 1".into());
    let unit = if prune.units.vectors() { Unit::Vector } else { Unit::Channel };
    for finding in prune.pool().iter().filter_map(|c| c.check_unit(unit).err()) {
        let at = format!("{at}: prune.criterion; prune.units = \"channels\" would allow it");
        findings.push(Diagnostic { at, ..finding });
    }
    for finding in project.train.findings().iter() {
        findings.push(bad(&format!("{at}: train.{}", finding.at), finding.message.clone()));
    }
    findings.into_result(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "
model.path = 'm.onnx'
target.name = 'ecp5-85f'
[data]
train = 'x.npz'
test = ['a.bin', 'b.bin']
";

    fn message(text: &str) -> String {
        parse(text, "p.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_minimal_file_is_enough() {
        let project = parse(MINIMAL, "p.toml").unwrap();
        assert_eq!(project.data.test.0, ["a.bin", "b.bin"]);
        assert_eq!(project.verify.samples, 20);
        assert_eq!(project.data.preprocessing.to_preprocessing(), Preprocessing::default());
    }

    #[test]
    fn unknown_keys_are_shown_with_their_line() {
        let message = message(&format!("{MINIMAL}\n[prune]\nspeed = 3\n"));
        assert!(message.contains("unknown field `speed`"), "{message}");
        assert!(message.contains("line 9") && message.contains('^'), "{message}");
        assert!(message.contains("criterion"), "known keys are named: {message}");
    }

    #[test]
    fn all_values_out_of_bounds_come_at_once() {
        let text = format!(
            "{MINIMAL}validation_fraction = 1.5\n[prune]\nsteps = 0\ndistillation_temperature = 0\n\
             [budget]\ncycles = 0\nlatency_ms = nan\n"
        );
        let message = message(&text);
        let keys = ["data.validation_fraction", "prune.steps", "prune.distillation_temperature", "budget.cycles"];
        for key in keys.into_iter().chain(["budget.latency_ms", "p.toml: budget\n"]) {
            assert!(message.contains(key), "{key} in {message}");
        }
    }

    #[test]
    fn every_criterion_has_a_name_and_a_typo_gets_a_suggestion() {
        let read = |name: &str| {
            parse(&format!("{MINIMAL}[prune]\ncriterion = '{name}'\n"), "p.toml").map(|p| p.prune.criterion)
        };
        for known in Criterion::ALL.into_iter().filter(|c| c.needs(Unit::Vector).is_some()) {
            assert_eq!(read(known.name()).unwrap(), Some(known));
        }
        assert_eq!(read("adaptive").unwrap(), None);
        let text = read("tailor").unwrap_err().to_string();
        assert!(text.contains("'tailor'") && text.contains("did you mean 'taylor'?"), "{text}");
        assert!(text.contains("line 8") && text.contains('^'), "{text}");
        let text = read("utterly-unlike-any").unwrap_err().to_string();
        assert!(!text.contains("did you mean") && text.contains("class-mi"), "{text}");
        assert!(message(&format!("{MINIMAL}[prune]\ncriterion = 3\n")).contains("expected a string"));
    }

    #[test]
    fn criteria_that_rate_only_channels_are_refused_for_vectors() {
        let text = |units: &str| format!("{MINIMAL}[prune]\ncriterion = 'fpgm'\nunits = '{units}'\n");
        assert_eq!(parse(&text("channels"), "p.toml").unwrap().prune.criterion, Some(Criterion::Fpgm));
        let message = message(&text("both"));
        assert!(message.contains("criterion-not-for-vectors") && message.contains("prune.criterion"), "{message}");
        assert!(message.contains("wanda"), "alternatives are named: {message}");
    }

    #[test]
    fn options_of_the_training_are_read_and_checked() {
        use espalier_train::{Augmentation, Optimizer, Schedule};
        let text = format!(
            "{MINIMAL}[train]\noptimizer = 'nesterov'\nmomentum = 0.8\nschedule = 'step'\naverage = 0.99\n\
             augmentation = {{ flip_horizontal = true, shift_pixels = 4 }}\n"
        );
        let config = parse(&text, "p.toml").unwrap().train.to_config();
        assert_eq!(config.optimizer, Optimizer::Nesterov { momentum: 0.8 });
        assert_eq!(config.schedule, Schedule::Step { drops: 2, factor: 0.1 });
        assert_eq!(config.average, Some(0.99));
        assert_eq!(config.execution.backend, espalier_train::Backend::Native);
        #[cfg(not(feature = "gpu"))]
        {
            let text = message(&format!("{MINIMAL}[train]\nbackend = 'gpu'\n"));
            assert!(text.contains("train.backend") && text.contains("--features gpu"), "{text}");
        }
        let augmentation = Augmentation { flip_horizontal: true, shift_pixels: 4, ..Default::default() };
        assert_eq!(config.augmentation, augmentation);
        assert!(!parse(MINIMAL, "p.toml").unwrap().train.to_config().augmentation.is_active());

        let text = format!("{MINIMAL}[train]\nmomentum = 1.0\ndropout = 2.0\naugmentation = {{ noise = -1.0 }}\n");
        let message = message(&text);
        for key in ["train.momentum", "train.dropout", "train.augmentation.noise"] {
            assert!(message.contains(key), "{key} in {message}");
        }
    }

    #[test]
    fn scale_is_a_number_or_a_ratio() {
        let scale = |value: &str| {
            parse(&format!("{MINIMAL}preprocessing = {{ scale = {value} }}\n"), "p.toml")
                .map(|p| p.data.preprocessing.scale.unwrap())
                .map_err(|e| e.to_string())
        };
        assert_eq!(scale("'1/255'"), Ok(1.0 / 255.0));
        assert_eq!(scale("0.5"), Ok(0.5));
        assert_eq!(scale("2"), Ok(2.0));
        assert!(scale("'1/0'").unwrap_err().contains("not a finite number"));
        assert!(scale("'a/b'").unwrap_err().contains("neither a number nor a ratio"));
    }
}
