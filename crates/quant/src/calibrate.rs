//! Observing every tensor of the accelerator on samples.

use std::collections::BTreeMap;

use espalier_ir::{ArrayLayer, Diagnostic, Diagnostics, Graph, array_layers, evaluate, unrolled};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// Samples evaluated before their histograms are merged; bounds the memory.
const BATCH: usize = 64;

/// How the range of a tensor follows from what was observed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CalibrationMethod {
    /// Smallest to largest value; the step is the better of the two powers of two next to it by squared error.
    Range,
    /// As `Range`, without the given percentage's complement on either side: 99.9 leaves out 0.1 % below and above.
    Percentile(f32),
    /// Least squared error over five powers of two and several zero points, with clipping.
    Mse,
}

/// What was observed of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorStatistics {
    /// Name of the graph input or the layer.
    pub name: String,
    pub(crate) histogram: Histogram,
}

impl TensorStatistics {
    /// Smallest value over all samples.
    pub fn min(&self) -> f32 {
        self.histogram.min()
    }

    /// Largest value over all samples.
    pub fn max(&self) -> f32 {
        self.histogram.max()
    }
}

/// Observations of all graph inputs and layer outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationTable {
    /// How ranges are derived.
    pub method: CalibrationMethod,
    /// Number of samples seen.
    pub samples: usize,
    /// One per graph input.
    pub inputs: Vec<TensorStatistics>,
    /// One per layer of [`espalier_ir::array_layers`]: its output after activation and fused pooling.
    pub layers: Vec<TensorStatistics>,
    /// One per layer: what enters its function of single values, if it has one.
    pub arguments: Vec<Option<TensorStatistics>>,
}

impl CalibrationTable {
    /// Inputs, layers, and what the operation of every layer gives: the argument of its function, or the layer itself.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorStatistics> {
        let results =
            self.layers.iter().zip(&self.arguments).map(|(layer, argument)| argument.as_ref().unwrap_or(layer));
        self.inputs.iter().chain(&self.layers).chain(results)
    }
}

/// Evaluates `graph` on all samples (each the values of all inputs, one input after the other) and records every tensor.
/// The result does not depend on the number of threads.
///
/// # Errors
/// Layers that the accelerator cannot execute, no sample, samples of the wrong size, values that are not finite, a
/// percentile outside (50, 100].
pub fn calibrate(
    graph: &Graph,
    samples: &mut dyn Iterator<Item = &[f32]>,
    method: CalibrationMethod,
) -> Result<CalibrationTable, Diagnostics> {
    let graph = &*unrolled(graph)?;
    let layers = array_layers(graph)?;
    check_method(method)?;
    let sizes: Vec<usize> = graph.inputs().iter().map(|i| graph.node(*i).shape.iter().product()).collect();
    let expected: usize = sizes.iter().sum();
    let mut table = empty_table(graph, &layers, method);
    loop {
        let batch: Vec<&[f32]> = samples.take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        if let Some(sample) = batch.iter().find(|s| s.len() != expected) {
            return Err(wrong_size(graph, sample.len(), expected).into());
        }
        table.samples += batch.len();
        let observed = batch
            .par_iter()
            .fold(|| empty(&table), |seen, sample| observe(graph, &layers, &sizes, sample, seen))
            .reduce(|| empty(&table), merge);
        let tensors = table.inputs.iter_mut().chain(&mut table.layers).chain(table.arguments.iter_mut().flatten());
        tensors.zip(observed).for_each(|(t, histogram)| t.histogram.merge(histogram));
    }
    check(&table, graph)?;
    Ok(table)
}

/// The values of one sample, input by input.
pub(crate) fn split_inputs<'a>(sizes: &[usize], mut sample: &'a [f32]) -> Vec<&'a [f32]> {
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let (part, rest) = sample.split_at(*size);
        parts.push(part);
        sample = rest;
    }
    parts
}

pub(crate) fn wrong_size(graph: &Graph, found: usize, expected: usize) -> Diagnostic {
    Diagnostic::error(
        "sample-size",
        format!("model '{}'", graph.name),
        format!("a sample has {found} values, the model takes {expected}"),
    )
    .with_help("check the data set and its preprocessing against the inputs of the model")
}

fn check_method(method: CalibrationMethod) -> Result<(), Diagnostic> {
    match method {
        CalibrationMethod::Percentile(p) if !(p > 50.0 && p <= 100.0) => Err(Diagnostic::error(
            "calibration-percentile",
            "calibration",
            format!("percentile {p} is not above 50 and up to 100"),
        )),
        _ => Ok(()),
    }
}

fn empty_table(graph: &Graph, layers: &[ArrayLayer], method: CalibrationMethod) -> CalibrationTable {
    let tensor = |name: &str| TensorStatistics { name: name.to_owned(), histogram: Histogram::default() };
    CalibrationTable {
        method,
        samples: 0,
        inputs: graph.inputs().iter().map(|i| tensor(&graph.node(*i).name)).collect(),
        layers: layers.iter().map(|l| tensor(&l.name)).collect(),
        arguments: layers.iter().map(|l| l.curve.as_ref().map(|_| tensor(&l.name))).collect(),
    }
}

fn empty(table: &CalibrationTable) -> Vec<Histogram> {
    vec![Histogram::default(); table.inputs.len() + table.layers.len() + table.arguments.iter().flatten().count()]
}

fn observe(
    graph: &Graph,
    layers: &[ArrayLayer],
    sizes: &[usize],
    sample: &[f32],
    mut seen: Vec<Histogram>,
) -> Vec<Histogram> {
    let values: BTreeMap<_, _> = evaluate(graph, &split_inputs(sizes, sample));
    let nodes = graph.inputs().iter().copied().chain(layers.iter().map(ArrayLayer::output_node));
    let arguments = layers.iter().filter_map(|l| l.curve.as_ref().map(|c| c.operand));
    nodes.chain(arguments).zip(&mut seen).for_each(|(node, histogram)| histogram.add(&values[&node]));
    seen
}

fn merge(mut a: Vec<Histogram>, b: Vec<Histogram>) -> Vec<Histogram> {
    a.iter_mut().zip(b).for_each(|(a, b)| a.merge(b));
    a
}

fn check(table: &CalibrationTable, graph: &Graph) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    if table.samples == 0 {
        findings.push(
            Diagnostic::error("no-calibration-data", format!("model '{}'", graph.name), "there is no sample")
                .with_help("give at least one sample; a few hundred are usual"),
        );
    }
    let observed = table.inputs.iter().chain(&table.layers).chain(table.arguments.iter().flatten());
    for tensor in observed.filter(|t| !t.histogram.is_finite()) {
        findings.push(Diagnostic::error(
            "non-finite-value",
            format!("tensor '{}'", tensor.name),
            "a sample makes it infinite or not a number",
        ));
    }
    findings.into_result(())
}
