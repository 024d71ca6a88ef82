//! Quantization error of every layer.

use espalier_ir::{Diagnostics, Graph, array_layers, evaluate};
use rayon::prelude::*;

use crate::ReferenceInterpreter;
use crate::calibrate::{split_inputs, wrong_size};
use crate::model::QuantizedGraph;

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
        layers.map(|((q, layer), node)| signal_and_noise(&exact[node], q, layer.output.params)).collect()
    };
    // Collected in order and summed in order: float sums must not depend on the number of threads.
    let powers: Vec<Vec<(f64, f64)>> = samples.par_iter().map(powers).collect();
    let ratio = |layer: usize| {
        let sum = powers.iter().fold((0.0, 0.0), |s, p| (s.0 + p[layer].0, s.1 + p[layer].1));
        if sum.1 == 0.0 { f64::INFINITY } else { 10.0 * (sum.0 / sum.1).log10() }
    };
    Ok((0..nodes.len()).map(ratio).collect())
}

fn signal_and_noise(exact: &[f32], q: &[i8], params: crate::QuantParams) -> (f64, f64) {
    let pairs = exact.iter().zip(q);
    pairs.fold((0.0, 0.0), |(signal, noise), (x, q)| {
        let error = f64::from(*x) - f64::from(params.dequantize(*q));
        (signal + f64::from(*x).powi(2), noise + error * error)
    })
}
