//! Measurements on training samples that an importance criterion reads.

use espalier_data::Dataset;
use espalier_ir::{Diagnostics, Graph};
use espalier_prune::{ActivationStatistics, Evidence, Needs, activation_sites, channel_readers};
use espalier_train::{Execution, gate_gradients, gate_products, visit_activations};

use crate::pipeline::sample;
use crate::training::samples;

/// Samples that rate channels and vectors, and the batches into which they are divided for gradients.
const EVIDENCE_SAMPLES: usize = 2048;
const GRADIENT_BATCHES: usize = 32;

/// What `needs` names, measured on up to 2,048 training samples.
///
/// # Errors
/// If the graph cannot be trained, or the measurements would take too much memory.
pub fn collect_evidence(graph: &Graph, needs: Needs, train: &Dataset, seed: u64) -> Result<Evidence, Diagnostics> {
    let mut evidence = Evidence::NONE;
    if needs == Needs::default() {
        return Ok(evidence);
    }
    let part = sample(train, EVIDENCE_SAMPLES, seed);
    let (samples, execution) = (samples(&part), Execution::default());
    if needs.products {
        let batches = GRADIENT_BATCHES.min(part.len());
        evidence.products = gate_products(graph, &samples, batches, execution)?;
        evidence.batch_samples = part.len() as f64 / batches as f64;
    }
    if needs.gate_gradients {
        evidence.gate_gradients = gate_gradients(graph, &channel_readers(graph), &samples, execution)?;
    }
    if needs.activations {
        ActivationStatistics::check_size(graph, needs, part.len())?;
        let mut all = ActivationStatistics { labels: samples.labels.to_vec(), ..Default::default() };
        visit_activations(
            graph,
            &activation_sites(graph),
            &samples,
            execution,
            |chunk| ActivationStatistics::observe(graph, needs, chunk.first, &chunk.values),
            &mut |part| all.absorb(part),
        )?;
        evidence.activations = Some(all);
    }
    Ok(evidence)
}
