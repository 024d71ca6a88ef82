//! Inference: logits, accuracy, and fresh statistics for batch normalization.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use espalier_ir::{Diagnostics, Graph, NodeId};

use crate::forward::{BatchStatistics, Normalize};
use crate::loss::{cross_entropy, predicted};
use crate::model::{Model, flat, to_vec};
use crate::random::balanced;
use crate::samples::check_inputs;
use crate::workers::Workers;
use crate::{Execution, FakeQuant, Samples};

/// Result of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Samples whose largest logit is that of their label.
    pub correct: usize,
    /// Samples evaluated.
    pub samples: usize,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

impl Accuracy {
    /// Share of correct samples, 0..=1.
    pub fn fraction(&self) -> f64 {
        self.correct as f64 / self.samples.max(1) as f64
    }
}

/// Logits of whole samples, one sample after the other: the first output, before a final Softmax.
///
/// # Errors
/// If the graph cannot be executed, or `inputs` is not a number of whole samples.
pub fn logits(
    graph: &Graph,
    inputs: &[f32],
    quantization: Option<&FakeQuant>,
    execution: Execution,
) -> Result<Vec<f32>, Diagnostics> {
    let model = Model::new(graph, quantization, execution)?;
    let mut findings = Diagnostics::new();
    // Whole samples of another size show up as a remainder.
    let len = if inputs.len().is_multiple_of(model.plan.sample_len) { model.plan.sample_len } else { inputs.len() };
    check_inputs("inputs", inputs, len, &model.plan, &mut findings);
    let workers = findings.into_result(Workers::new(execution)?)?;
    Ok(batched_logits(&model, inputs, &workers))
}

/// Accuracy and loss over all samples.
///
/// # Errors
/// If the graph cannot be executed, or the samples do not fit it.
pub fn evaluate(
    graph: &Graph,
    samples: &Samples<'_>,
    quantization: Option<&FakeQuant>,
    execution: Execution,
) -> Result<Accuracy, Diagnostics> {
    let model = Model::new(graph, quantization, execution)?;
    let mut findings = Diagnostics::new();
    samples.check("samples", &model.plan, &mut findings);
    let workers = findings.into_result(Workers::new(execution)?)?;
    Ok(accuracy(&model, samples, &workers))
}

/// The graph with running statistics that are those of `samples`: needed after pruning, which
/// changes what the normalizations see. The gradient plays no part. Nodes are normalized by the
/// statistics of chunks of samples; mean and variance are pooled over all chunks.
///
/// # Errors
/// As [`evaluate`].
pub fn recalibrate_batch_norm(
    graph: &Graph,
    samples: &Samples<'_>,
    execution: Execution,
) -> Result<Graph, Diagnostics> {
    let model = Model::new(graph, None, execution)?;
    let mut findings = Diagnostics::new();
    samples.check("samples", &model.plan, &mut findings);
    let workers = findings.into_result(Workers::new(execution)?)?;
    let chunks = balanced(samples.len(), samples.len().div_ceil(model.plan.chunk()));
    let len = model.plan.sample_len;
    let parts = workers.map(&chunks, |chunk| {
        let inputs = samples.inputs[chunk.start * len..chunk.end * len].to_vec();
        let (_, statistics) = model.forward(&model.params, Normalize::Batch).run(inputs);
        statistics.into_iter().map(Moments::new).collect::<Vec<_>>()
    });
    let mut params = model.params.clone();
    for (node, moments) in pooled(parts.into_iter().flatten()) {
        let Some((mean_id, variance_id)) = model.statistics_of(node) else { continue };
        let (mean, variance) = moments.mean_and_variance();
        params.insert(mean_id, flat(mean, &model.device));
        params.insert(variance_id, flat(variance, &model.device));
    }
    Ok(model.graph_with(graph, &params))
}

/// Sums of x and x^2 per channel.
struct Moments {
    node: NodeId,
    sum: Vec<f64>,
    squares: Vec<f64>,
    count: f64,
}

impl Moments {
    fn new(statistics: BatchStatistics) -> Self {
        let host = |t: Tensor<1>| to_vec(t).into_iter().map(f64::from).collect::<Vec<f64>>();
        let count = statistics.count as f64;
        let (mean, variance) = (host(statistics.mean), host(statistics.variance));
        let squares = mean.iter().zip(&variance).map(|(m, v)| (v + m * m) * count).collect();
        Moments { node: statistics.node, sum: mean.iter().map(|m| m * count).collect(), squares, count }
    }

    fn add(&mut self, other: &Moments) {
        for (a, b) in self.sum.iter_mut().zip(&other.sum) {
            *a += b;
        }
        for (a, b) in self.squares.iter_mut().zip(&other.squares) {
            *a += b;
        }
        self.count += other.count;
    }

    /// Mean and unbiased variance.
    fn mean_and_variance(&self) -> (Vec<f32>, Vec<f32>) {
        let mean: Vec<f64> = self.sum.iter().map(|s| s / self.count).collect();
        let unbiased = self.count / (self.count - 1.0).max(1.0);
        let variance =
            self.squares.iter().zip(&mean).map(|(s, m)| ((s / self.count - m * m).max(0.0) * unbiased) as f32);
        (mean.iter().map(|m| *m as f32).collect(), variance.collect())
    }
}

fn pooled(parts: impl Iterator<Item = Moments>) -> BTreeMap<NodeId, Moments> {
    let mut total: BTreeMap<NodeId, Moments> = BTreeMap::new();
    for part in parts {
        match total.get_mut(&part.node) {
            Some(sum) => sum.add(&part),
            None => {
                total.insert(part.node, part);
            }
        }
    }
    total
}

/// Logits of checked inputs, chunk by chunk.
pub(crate) fn batched_logits(model: &Model<'_>, inputs: &[f32], workers: &Workers) -> Vec<f32> {
    let chunks: Vec<&[f32]> = inputs.chunks(model.plan.chunk() * model.plan.sample_len).collect();
    workers.map(&chunks, |chunk| model.logits(chunk)).concat()
}

/// Accuracy over checked samples.
pub(crate) fn accuracy(model: &Model<'_>, samples: &Samples<'_>, workers: &Workers) -> Accuracy {
    let logits = batched_logits(model, samples.inputs, workers);
    let mut accuracy = Accuracy { correct: 0, samples: samples.len(), loss: 0.0 };
    for (row, label) in logits.chunks(model.plan.classes).zip(samples.labels) {
        accuracy.correct += usize::from(predicted(row) == *label as usize);
        accuracy.loss += cross_entropy(row, *label);
    }
    accuracy.loss /= samples.len().max(1) as f64;
    accuracy
}
