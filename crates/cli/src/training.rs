//! Between the pipeline and the training crate: samples, fine-tuning with progress, fake quantization.

use std::collections::BTreeMap;

use espalier_data::Dataset;
use espalier_ir::{ArrayOp, Diagnostics, Graph, LayerSource, Op, Tensor, TensorMap, array_layers};
use espalier_quant::{FixedExponents, QuantParams};
use espalier_train::{
    ActivationQuant, Confusion, Distillation, Execution, FakeQuant, FineTuned, FineTuning, Hooks, Masking, Optimizer,
    Remask, Remasking, Samples, TrainConfig, TrainState, WeightQuant, confusion, fine_tune_with,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Keeper;
use crate::progress::Progress;
use crate::report::Score;

/// The samples of a labelled data set.
///
/// # Panics
/// If it has no labels: the pipeline checks that first.
pub fn samples(dataset: &Dataset) -> Samples<'_> {
    let labels = dataset.labels.as_deref().expect("the data set has labels");
    Samples { inputs: &dataset.inputs, labels, sample_len: dataset.sample_len() }
}

/// What `budget.metric` names: what floor, largest drop and probe look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of samples that are right.
    #[default]
    Accuracy,
    /// Mean of the classes' F1 scores: a rare class counts like a frequent one.
    MacroF1,
}

impl Metric {
    /// As it is written in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::MacroF1 => "macro-F1",
        }
    }
}

/// How good a network is on some samples.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// Share of samples that are right, 0..=1.
    pub accuracy: f64,
    /// [`Confusion::macro_f1`], 0..=1.
    pub macro_f1: f64,
    /// Samples judged.
    pub samples: usize,
}

impl Quality {
    /// From counts.
    pub fn new(confusion: &Confusion) -> Self {
        let samples = confusion.counts.iter().sum::<u64>() as usize;
        Quality { accuracy: confusion.accuracy(), macro_f1: confusion.macro_f1(), samples }
    }

    /// By one metric, 0..=1.
    pub fn by(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::MacroF1 => self.macro_f1,
        }
    }

    /// For the report.
    pub fn score(&self) -> Score {
        Score { metric: "top-1".to_owned(), value: self.accuracy, macro_f1: self.macro_f1, samples: self.samples }
    }
}

/// Samples that are judged between two steps of the bar.
const JUDGED_AT_ONCE: usize = 512;

/// Quality of a float graph.
///
/// # Errors
/// If the graph cannot be executed.
pub fn quality(graph: &Graph, dataset: &Dataset, progress: &Progress) -> Result<Quality, Diagnostics> {
    let sample_len = dataset.sample_len();
    judge_in_parts(dataset, progress, |inputs, labels| {
        confusion(graph, &Samples { inputs, labels, sample_len }, None, Execution::default())
    })
}

/// Quality by the predictions of `judge` on parts of a data set, one after the other, so that a bar can move.
///
/// # Errors
/// The first of `judge`.
///
/// # Panics
/// If the data set has no labels: the pipeline checks that first.
pub fn judge_in_parts<E>(
    dataset: &Dataset,
    progress: &Progress,
    judge: impl Fn(&[f32], &[u32]) -> Result<Confusion, E>,
) -> Result<Quality, E> {
    let Samples { inputs, labels, sample_len } = samples(dataset);
    let first = labels.len().min(JUDGED_AT_ONCE);
    let mut shown = progress.task("judging samples", labels.len() as u64);
    let mut all = judge(&inputs[..first * sample_len], &labels[..first])?;
    let mut done = first;
    let rest = inputs[first * sample_len..].chunks(JUDGED_AT_ONCE * sample_len);
    for (inputs, labels) in rest.zip(labels[first..].chunks(JUDGED_AT_ONCE)) {
        shown.at(done as u64, "");
        let part = judge(inputs, labels)?;
        all.counts.iter_mut().zip(part.counts).for_each(|(sum, count)| *sum += count);
        done += labels.len();
    }
    Ok(Quality::new(&all))
}

/// What a fine-tuning learns with.
#[derive(Clone, Copy)]
pub struct Tuning<'a> {
    /// Samples to learn from.
    pub train: &'a Dataset,
    /// Samples that choose the epoch.
    pub validation: &'a Dataset,
    /// Network whose outputs count as well.
    pub teacher: &'a Graph,
    /// Its share of the loss.
    pub distillation: f32,
    /// Its temperature.
    pub temperature: f32,
    /// Samples a step.
    pub batch: usize,
    /// How to learn; what the other fields say is left at its default.
    pub options: &'a TrainConfig,
    /// Seed of the order of samples.
    pub seed: u64,
    /// Where states are kept.
    pub keeper: &'a Keeper,
}

/// Steps between two choices of masks, and the share of all steps after which they stay (Lin et al. 2020 change them
/// every 16 steps for most of a training; the end is needed to settle).
const REMASK_STEPS: usize = 32;
const REMASK_UNTIL: f64 = 0.6;

/// What a fine-tuning starts from.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// The stage of the run, for the checkpoint.
    pub stage: &'static str,
    /// The network.
    pub graph: &'a Graph,
    /// 0 where weights are pruned.
    pub masks: &'a TensorMap,
    /// Passes over the training samples.
    pub epochs: usize,
    /// Learning rate at the start.
    pub learning_rate: f64,
    /// Rounding to train with.
    pub quantization: Option<&'a FakeQuant>,
    /// Whether the epoch that is best on the validation samples is kept; else the last is.
    pub choose_epoch: bool,
}

/// Trains a network under masks, showing progress and keeping its state after each epoch; an interrupted training goes
/// on where it was, a finished one is only read.
///
/// With `remask`, pruned weights live on and masks are chosen anew
/// on the way.
///
/// # Errors
/// If the training refuses its input or diverges.
pub fn fine_tune(
    start: &Start<'_>,
    tuning: &Tuning,
    remask: Option<Remask<'_>>,
    progress: &Progress,
) -> Result<FineTuned, Diagnostics> {
    let Start { stage, graph, masks, epochs, learning_rate, quantization, choose_epoch } = *start;
    let masking = match remask {
        Some(_) if epochs > 0 => Masking::Feedback { every_steps: REMASK_STEPS, until_fraction: REMASK_UNTIL },
        _ => Masking::Fixed,
    };
    let mut remask = remask.filter(|_| epochs > 0);
    // Batch normalization is folded when rounding starts, and the scales of the layers lie far apart.
    let optimizer = quantization.map_or(tuning.options.optimizer, |_| Optimizer::RelativeAdam);
    let config = TrainConfig { optimizer, masking, ..config(tuning, epochs, learning_rate) };
    let task = FineTuning {
        graph,
        masks,
        train: samples(tuning.train),
        validation: choose_epoch.then(|| samples(tuning.validation)),
        quantization,
    };
    let total = (epochs * tuning.train.len()) as u64;
    let mut shown = progress.task("training", total);
    let mut show = |p: &espalier_train::Progress| {
        let done = ((p.epoch - 1) * p.samples_total + p.samples_done) as u64;
        shown.at(done, &format!("epoch {}/{}, loss {:.4}", p.epoch, p.epochs, p.loss));
        Ok(())
    };
    let mut choose = remask.as_mut().map(|remask| |now: &Remasking<'_>| remask(now));
    let remask = choose.as_mut().map(|choose| choose as Remask<'_>);
    let keeper = tuning.keeper;
    let name = keeper.next(stage);
    let resume = keeper.training(&name)?;
    let mut save = |state: &TrainState| keeper.save(&name, state);
    let hooks = Hooks { progress: &mut show, remask, checkpoint: Some(&mut save) };
    fine_tune_with(&task, &config, resume.as_ref(), hooks)
}

/// The network after one pass over the training samples under fixed masks: what a choice among networks looks at.
/// It is too short to be kept in the checkpoint.
///
/// # Errors
/// If the training refuses its input or diverges.
pub fn tune_briefly(
    graph: &Graph,
    masks: &TensorMap,
    learning_rate: f64,
    tuning: &Tuning<'_>,
    progress: &Progress,
) -> Result<Graph, Diagnostics> {
    let train = samples(tuning.train);
    let task = FineTuning { graph, masks, train, validation: None, quantization: None };
    let mut shown = progress.task("trying a candidate", tuning.train.len() as u64);
    let mut show = |p: &espalier_train::Progress| {
        shown.at(p.samples_done as u64, "");
        Ok(())
    };
    Ok(espalier_train::fine_tune(&task, &config(tuning, 1, learning_rate), &mut show)?.graph)
}

/// Options of a training with fixed masks.
fn config(tuning: &Tuning<'_>, epochs: usize, learning_rate: f64) -> TrainConfig {
    let distillation = (tuning.distillation > 0.0).then(|| Distillation {
        teacher: tuning.teacher.clone(),
        temperature: tuning.temperature,
        weight: tuning.distillation,
    });
    TrainConfig {
        epochs,
        batch_size: tuning.batch,
        learning_rate,
        seed: tuning.seed,
        distillation,
        ..tuning.options.clone()
    }
}

/// Masks that keep every zero of the weights of convolutions and fully connected layers.
pub fn zero_masks(graph: &Graph) -> TensorMap {
    let weight = |id| match &graph.node(id).op {
        Op::Conv(conv) => Some(conv.weight),
        Op::Gemm { weight, .. } => Some(*weight),
        _ => None,
    };
    let mut masks = TensorMap::new();
    for param in graph.nodes().into_iter().filter_map(weight) {
        let tensor = graph.param(param);
        let mask: Vec<f32> = tensor.as_f32().iter().map(|w| f32::from(u8::from(*w != 0.0))).collect();
        if mask.contains(&0.0) {
            masks.insert(param, Tensor::f32(tensor.shape().to_vec(), mask));
        }
    }
    masks
}

/// The rounding of a quantized graph, for training. `graph` is the one that was quantized.
///
/// # Errors
/// If the accelerator cannot execute the graph.
pub fn fake_quantization(graph: &Graph, exponents: &FixedExponents) -> Result<FakeQuant, Diagnostics> {
    let layers = array_layers(graph)?;
    let activation = |p: &QuantParams| ActivationQuant { exponent: p.exponent, zero_point: p.zero_point };
    let inputs = graph.inputs().iter().copied().zip(exponents.inputs.iter().map(activation));
    let outputs = layers.iter().map(|l| l.output_node()).zip(exponents.layers.iter().map(activation));
    // What enters a function of single values is rounded, too.
    let arguments = layers.iter().zip(exponents.arguments.iter().map(activation));
    let arguments = arguments.filter_map(|(layer, params)| layer.curve.as_ref().map(|c| (c.operand, params)));
    let mut weights = BTreeMap::new();
    for (layer, weight_exponents) in layers.iter().zip(&exponents.weights) {
        // Vectors one after another have weights in steps of their own: those stay as they are.
        let joined = matches!(layer.op, ArrayOp::Conv { .. }) && layer.own_sources().len() > 1;
        if weight_exponents.is_empty() || joined {
            continue;
        }
        let node = match layer.op {
            ArrayOp::Conv { node, .. } | ArrayOp::ConvTranspose { node, .. } | ArrayOp::Scale { node } => node,
            _ => layer.nodes[0],
        };
        let input = match layer.sources[0] {
            LayerSource::Input(index) => exponents.inputs[index],
            LayerSource::Layer(index) => exponents.layers[index],
        };
        // An average has the same weight everywhere.
        let exponents = match layer.op {
            ArrayOp::AveragePool { .. } => vec![weight_exponents[0]],
            _ => weight_exponents.clone(),
        };
        weights.insert(node, WeightQuant { exponents, input_exponent: Some(input.exponent) });
    }
    Ok(FakeQuant { activations: inputs.chain(arguments).chain(outputs).collect(), weights })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use espalier_ir::Random;
    use espalier_quant::{
        CalibrationMethod, QuantizeOptions, ReferenceInterpreter, calibrate, fold_batch_norm, quantize,
    };
    use espalier_train::{Backend, logits};

    use super::*;

    /// Quantization-aware training must see the integers of the accelerator, with every backend.
    #[test]
    fn training_with_rounding_computes_what_the_interpreter_computes() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let lenet = repository.join("examples/lenet5-mnist/own_mnist_lenet5_relu.onnx");
        let shared = std::env::var("ESPALIER_SHARED").map_or_else(|_| repository.join("../shared"), Into::into);
        let resnet = shared.join("models/mlperf_tiny_resnet8_cifar10.onnx");
        for (path, scale) in [(lenet, 1.0), (resnet, 255.0)] {
            let Ok(bytes) = std::fs::read(&path) else {
                println!("skipped: {} is not there", path.display());
                continue;
            };
            let graph = fold_batch_norm(&espalier_onnx::import(&bytes).unwrap());
            let len: usize = graph.node(graph.inputs()[0]).shape.iter().product();
            let mut random = Random::new(5);
            let inputs: Vec<Vec<f32>> = (0..4).map(|_| (0..len).map(|_| random.unit() * scale).collect()).collect();
            let mut samples = inputs.iter().map(Vec::as_slice);
            let table = calibrate(&graph, &mut samples, CalibrationMethod::Range).unwrap();
            let quantized = quantize(&graph, &table, &QuantizeOptions::default()).unwrap();
            let rounding = fake_quantization(&graph, &quantized.exponents()).unwrap();
            for backend in [Backend::Native, Backend::Flex] {
                let execution = Execution { backend, threads: 1 };
                let trained = logits(&graph, &inputs.concat(), Some(&rounding), execution).unwrap();
                let interpreter = ReferenceInterpreter::new(&quantized);
                let output = quantized.tensor(quantized.outputs[0]).params;
                let run = |input: &Vec<f32>| interpreter.predict(&quantized.quantize_input(input));
                let integers: Vec<f32> = inputs.iter().flat_map(run).map(|q| output.dequantize(q)).collect();
                assert_eq!(trained, integers, "{} {backend:?}", path.display());
            }
        }
    }
}
