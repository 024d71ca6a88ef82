//! Training before pruning: from scratch by an architecture file, or on from a given model.

mod origin;
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Instant;

use espalier_ir::{Diagnostic, Graph, TensorMap};
use espalier_train::{EpochLog, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Keeper;
use crate::failure::Outcome;
use crate::files::{import_model, read_bounded};
use crate::output::write_file;
use crate::pipeline::Data;
use crate::progress::Progress;
use crate::project::Project;
use crate::report::{DataReport, Score};
use crate::training::{Start, Tuning, fine_tune, quality};

pub use origin::Origin;
pub use transfer::TransferSection;

/// A report of a training has a line an epoch.
const MAX_REPORT_BYTES: u64 = 1 << 24;
/// Trained networks are at most as large as models may be.
const MAX_MODEL_BYTES: u64 = 1 << 30;

/// What a training gave, written beside the model as JSON.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingReport {
    /// The network.
    pub model: String,
    /// ONNX file.
    pub path: PathBuf,
    /// Trained values.
    pub parameters: usize,
    /// Multiply-accumulates for one sample.
    pub macs: u64,
    /// Seed of weights, order of samples, augmentation and dropout.
    pub seed: u64,
    /// Samples of each part; the parts are disjoint.
    pub data: DataReport,
    /// Passes over the training samples.
    pub epochs: usize,
    /// The pass whose weights were kept, from 1; 0 if none was better than the start.
    pub best_epoch: usize,
    /// Accuracy of the kept weights on the samples that chose them.
    pub validation: Score,
    /// Accuracy on samples that nothing depended on, measured once.
    pub test: Score,
    /// Time of the training.
    pub seconds: f64,
    /// One entry an epoch.
    pub course: Vec<EpochReport>,
    /// What the training depended on, and the file that it gave.
    pub fingerprint: Fingerprint,
}

/// One pass over the training samples.
#[derive(Debug, Clone, Serialize)]
pub struct EpochReport {
    /// Mean loss while weights changed.
    pub loss: f64,
    /// Share of training samples that were right meanwhile.
    pub train: f64,
    /// Share of validation samples that are right after it.
    pub validation: Option<f64>,
    /// At its end.
    pub learning_rate: f64,
}

/// Hashes: equal inputs need no second training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of network, data, seed and options.
    pub inputs: String,
    /// Of the ONNX file.
    pub model: String,
}

/// Where the trained model of a project is kept: beside the output folder, which is replaced as a whole.
pub fn kept_model(project: &Project) -> PathBuf {
    let name = project.output.dir.file_name().map_or_else(|| "out".to_owned(), |n| n.to_string_lossy().into_owned());
    project.output.dir.with_file_name(format!("{name}.trained.onnx"))
}

/// The trained network of a project: read, if network, data, seed and options are those of the training that is kept;
/// else trained and kept.
///
/// # Errors
/// As [`train`].
pub fn trained(
    project: &Project,
    origin: &Origin,
    data: &Data,
    keeper: &Keeper,
    progress: &mut Progress,
) -> Outcome<Graph> {
    let path = kept_model(project);
    if let Some(mut graph) = kept(&path, &inputs(project, origin, data)) {
        // As after the training itself, whatever the file is called.
        graph.name.clone_from(&origin.graph.name);
        progress.line(&format!("  {} is of the same network, data, seed and options", path.display()));
        return Ok(graph);
    }
    train(project, origin, data, &path, keeper, progress).map(|(graph, _)| graph)
}

fn kept(path: &Path, inputs: &str) -> Option<Graph> {
    #[derive(Deserialize)]
    struct Kept {
        fingerprint: Fingerprint,
    }
    let report = read_bounded(&path.with_extension("json"), MAX_REPORT_BYTES).ok()?;
    let Kept { fingerprint } = serde_json::from_slice(&report).ok()?;
    let bytes = read_bounded(path, MAX_MODEL_BYTES).ok()?;
    if fingerprint.inputs != inputs || fingerprint.model != hex(hash(bytes.iter().map(|b| u32::from(*b)))) {
        return None;
    }
    import_model(&bytes, path).ok()
}

/// Trains the network of a project, writes it to `path` and a report beside it.
///
/// # Errors
/// If the network has no head to replace, nothing can be frozen as asked, the training refuses its input or diverges,
/// or the file system refuses.
pub fn train(
    project: &Project,
    origin: &Origin,
    data: &Data,
    path: &Path,
    keeper: &Keeper,
    progress: &mut Progress,
) -> Outcome<(Graph, TrainingReport)> {
    let at = path.display().to_string();
    if path.extension().is_none_or(|e| e != "onnx") || path.is_dir() {
        return Err(Diagnostic::error("output-file", at, "is not the name of an ONNX file")
            .with_help("name a file that ends in .onnx; the report goes to the same name with .json")
            .into());
    }
    let section = &project.train;
    let start = origin.start(project, data)?;
    let begin = Instant::now();
    let mut graph = start.graph.clone();
    let (mut course, mut best_epoch): (Vec<EpochLog>, usize) = (Vec::new(), 0);
    for (number, phase) in start.phases.into_iter().enumerate() {
        let options = TrainConfig { frozen: phase.frozen, dropout_of: start.dropout.clone(), ..section.to_config() };
        let tuning = Tuning {
            train: &data.train,
            validation: &data.validation,
            teacher: &start.graph,
            distillation: 0.0,
            temperature: 1.0,
            batch: section.batch,
            options: &options,
            seed: project.seed.wrapping_add(number as u64),
            keeper,
        };
        let masks = TensorMap::new();
        let (epochs, learning_rate) = (phase.epochs, phase.learning_rate);
        let stage = "train";
        let (quantization, choose_epoch) = (None, true);
        let start = Start { stage, graph: &graph, masks: &masks, epochs, learning_rate, quantization, choose_epoch };
        let tuned = fine_tune(&start, &tuning, None, progress)?;
        if tuned.best_epoch > 0 {
            best_epoch = course.len() + tuned.best_epoch;
        }
        course.extend(tuned.epochs);
        graph = tuned.graph;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = espalier_onnx::export(&graph);
    let mut graph = import_model(&bytes, path)?;
    graph.name.clone_from(&start.graph.name);
    let [validation, test] = [&data.validation, &data.test].map(|part| quality(&graph, part, progress));
    let [validation, test] = [validation?.score(), test?.score()];
    let report = TrainingReport {
        model: graph.name.clone(),
        path: path.to_owned(),
        parameters: graph.parameter_count(),
        macs: graph.macs(),
        seed: project.seed,
        data: data.report(),
        epochs: course.len(),
        best_epoch,
        validation,
        test,
        seconds,
        course: course.iter().map(EpochReport::new).collect(),
        fingerprint: Fingerprint {
            inputs: inputs(project, origin, data),
            model: hex(hash(bytes.iter().map(|b| u32::from(*b)))),
        },
    };
    progress.line(&format!(
        "  epoch {best_epoch} of {}: validation {:.2} %",
        report.epochs,
        100.0 * report.validation.value
    ));
    // The report last: without it, or with that of another model, nobody takes the model for finished.
    write_file(path, &bytes)?;
    let json = serde_json::to_string_pretty(&report).expect("plain data becomes JSON");
    write_file(&path.with_extension("json"), json.as_bytes())?;
    Ok((graph, report))
}

impl EpochReport {
    fn new(log: &EpochLog) -> Self {
        EpochReport {
            loss: log.train.loss,
            train: log.train.fraction(),
            validation: log.validation.map(|v| v.fraction()),
            learning_rate: log.learning_rate,
        }
    }
}

/// Hash of all that the result of a training depends on.
fn inputs(project: &Project, origin: &Origin, data: &Data) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let options = format!("{version} {} {:?} {}", project.seed, project.train, origin.kind());
    let mut all = vec![hash(options.bytes().map(u32::from)), hash(origin.bytes.iter().map(|b| u32::from(*b)))];
    for part in [&data.train, &data.validation, &data.test] {
        all.push(hash(part.inputs.iter().map(|v| v.to_bits())));
        all.push(hash(part.labels.iter().flatten().copied()));
    }
    hex(hash(all.into_iter().flat_map(|h| [h as u32, (h >> 32) as u32])))
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

/// FNV-1a over words (Fowler, Noll, Vo), length included: it tells changes apart, not attacks.
fn hash(words: impl Iterator<Item = u32>) -> u64 {
    let step = |hash: u64, word: u32| (hash ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3);
    let (hash, len) = words.fold((0xcbf2_9ce4_8422_2325, 0u32), |(hash, n), w| (step(hash, w), n.wrapping_add(1)));
    step(hash, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_model_is_used_only_if_it_is_whole_and_of_the_same_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.trained.onnx");
        let text = "input.shape = [4]\nlayers = [{ op = 'dense', features = 2 }]";
        let bytes = espalier_onnx::export(&espalier_architecture::read(text, "t", 1).unwrap().graph);
        let model = hex(hash(bytes.iter().map(|b| u32::from(*b))));
        let report = serde_json::json!({ "fingerprint": { "inputs": "a", "model": model } }).to_string();
        let write = |bytes: &[u8], report: &str| {
            write_file(&path, bytes).unwrap();
            write_file(&path.with_extension("json"), report.as_bytes()).unwrap();
        };
        assert!(kept(&path, "a").is_none());
        write(&bytes, &report);
        assert!(kept(&path, "a").is_some() && kept(&path, "b").is_none());
        write(&bytes[..bytes.len() - 1], &report);
        assert!(kept(&path, "a").is_none());
        write(&bytes, &report[1..]);
        assert!(kept(&path, "a").is_none());
    }
}
