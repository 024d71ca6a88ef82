//! Quantization error of every layer.

use espalier_ir::{Diagnostics, Graph, array_layers, evaluate, unrolled};
use rayon::prelude::*;

use crate::ReferenceInterpreter;
use crate::calibrate::{split_inputs, wrong_size};
use crate::model::{QuantizedGraph, QuantizedLayer, power_of_two};
use crate::requantize::wide_value;

/// Signal-to-quantization-noise ratio in dB of every layer's output over all samples:
/// `10 log10(sum x^2 / sum (x - q)^2)` with `x` of the float graph and `q` of the integers, errors of earlier layers
/// included. Infinite where there is no error; 0 dB means that noise is as strong as the signal.
///
/// # Errors
/// If `graph` is not the one that was quantized, or a sample has the wrong size.
pub fn layer_sqnr(
    graph: &Graph,
    quantized: &QuantizedGraph,
    samples: &mut dyn Iterator<Item = &[f32]>,
) -> Result<Vec<f64>, Diagnostics> {
    let graph = &*unrolled(graph)?;
    let nodes: Vec<_> = array_layers(graph)?.iter().map(|l| l.output_node()).collect();
    let sizes: Vec<usize> = graph.inputs().iter().map(|i| graph.node(*i).shape.iter().product()).collect();
    let samples: Vec<&[f32]> = samples.collect();
    let expected = quantized.input_elements();
    let same = nodes.len() == quantized.layers.len() && sizes.iter().sum::<usize>() == expected;
    if let Some(sample) = samples.iter().find(|s| s.len() != expected || !same) {
        return Err(wrong_size(graph, sample.len(), expected).into());
    }
    let interpreter = ReferenceInterpreter::new(quantized);
    let powers = |sample: &&[f32]| -> Vec<(f64, f64)> {
        let exact = evaluate(graph, &split_inputs(&sizes, sample));
        let layers = interpreter.run(&quantized.quantize_input(sample));
        let layers = layers.iter().zip(&quantized.layers).zip(&nodes);
        layers.map(|((q, layer), node)| signal_and_noise(&exact[node], &real_values(layer, q))).collect()
    };
    // Collected in order and summed in order: float sums must not depend on the number of threads.
    let powers: Vec<Vec<(f64, f64)>> = samples.par_iter().map(powers).collect();
    let ratio = |layer: usize| {
        let sum = powers.iter().fold((0.0, 0.0), |s, p| (s.0 + p[layer].0, s.1 + p[layer].1));
        if sum.1 == 0.0 { f64::INFINITY } else { 10.0 * (sum.0 / sum.1).log10() }
    };
    Ok((0..nodes.len()).map(ratio).collect())
}

/// The real values of a layer's output.
fn real_values(layer: &QuantizedLayer, q: &[i8]) -> Vec<f32> {
    let params = layer.output.params;
    if layer.is_wide() {
        let (digits, _) = q.as_chunks::<2>();
        return digits.iter().map(|d| (f64::from(wide_value(*d)) * power_of_two(params.exponent)) as f32).collect();
    }
    q.iter().map(|q| params.dequantize(*q)).collect()
}

fn signal_and_noise(exact: &[f32], real: &[f32]) -> (f64, f64) {
    let pairs = exact.iter().zip(real);
    pairs.fold((0.0, 0.0), |(signal, noise), (x, real)| {
        let error = f64::from(*x) - f64::from(*real);
        (signal + f64::from(*x).powi(2), noise + error * error)
    })
}
