//! Between the pipeline and the training crate: samples, fine-tuning with progress, fake quantization.

use std::collections::BTreeMap;

use espalier_data::Dataset;
use espalier_ir::{ArrayOp, Diagnostics, Graph, LayerSource, Op, Tensor, TensorMap, array_layers};
use espalier_quant::{FixedExponents, QuantParams};
use espalier_train::{
    Accuracy, ActivationQuant, Distillation, Execution, FakeQuant, FineTuned, FineTuning, Samples, TrainConfig,
    WeightQuant, evaluate,
};

use crate::progress::Progress;
use crate::report::Score;

/// Distillation compares softened outputs; 4 is the usual choice (Hinton et al. 2015 use 2 to 5 for small nets).
const DISTILLATION_TEMPERATURE: f32 = 4.0;

/// The samples of a labelled data set.
///
/// # Panics
/// If it has no labels: the pipeline checks that first.
pub fn samples(dataset: &Dataset) -> Samples<'_> {
    let labels = dataset.labels.as_deref().expect("the data set has labels");
    Samples { inputs: &dataset.inputs, labels, sample_len: dataset.sample_len() }
}

/// Top-1 accuracy of a float graph.
///
/// # Errors
/// If the graph cannot be executed.
pub fn accuracy(graph: &Graph, dataset: &Dataset) -> Result<Accuracy, Diagnostics> {
    evaluate(graph, &samples(dataset), None, Execution::default())
}

/// An accuracy in the report.
pub fn score(correct: usize, samples: usize) -> Score {
    Score { metric: "top-1", value: correct as f64 / samples.max(1) as f64, samples }
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
    /// Samples a step.
    pub batch: usize,
    /// How to learn; what the other fields say is left at its default.
    pub options: &'a TrainConfig,
    /// Seed of the order of samples.
    pub seed: u64,
}

/// Trains `graph` under `masks`, showing progress.
///
/// # Errors
/// If the training refuses its input or diverges.
pub fn fine_tune(
    graph: &Graph,
    masks: &TensorMap,
    tuning: &Tuning,
    epochs: usize,
    learning_rate: f64,
    quantization: Option<&FakeQuant>,
    progress: &Progress,
) -> Result<FineTuned, Diagnostics> {
    let distillation = (tuning.distillation > 0.0).then(|| Distillation {
        teacher: tuning.teacher.clone(),
        temperature: DISTILLATION_TEMPERATURE,
        weight: tuning.distillation,
    });
    let config = TrainConfig {
        epochs,
        batch_size: tuning.batch,
        learning_rate,
        seed: tuning.seed,
        distillation,
        ..tuning.options.clone()
    };
    let task = FineTuning {
        graph,
        masks,
        train: samples(tuning.train),
        validation: Some(samples(tuning.validation)),
        quantization,
    };
    let total = (epochs * tuning.train.len()) as u64;
    let mut shown = progress.task("fine-tuning", total);
    espalier_train::fine_tune(&task, &config, &mut |p| {
        let done = ((p.epoch - 1) * p.samples_total + p.samples_done) as u64;
        shown.at(done, &format!("epoch {}/{}, loss {:.4}", p.epoch, p.epochs, p.loss));
        Ok(())
    })
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
    let mut weights = BTreeMap::new();
    for (layer, weight_exponents) in layers.iter().zip(&exponents.weights) {
        if weight_exponents.is_empty() {
            continue;
        }
        let node = match layer.op {
            ArrayOp::Conv { node, .. } | ArrayOp::Scale { node } => node,
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
    Ok(FakeQuant { activations: inputs.chain(outputs).collect(), weights })
}
