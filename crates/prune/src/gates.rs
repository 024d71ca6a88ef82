//! Importance of channels from derivatives by gates.
//!
//! A gate `z`, 1 in the network as it is, multiplies a channel where it is *read*; pruning sets it to 0.
//! `dL/dz = sum over the columns of all readers of w * dL/dw` is the derivative along exactly what
//! removal does. With ReLU between (positively homogeneous) it equals the gate on the filter, `sum w g`
//! over the filter and its bias or over gamma and beta; unlike that, it counts a channel once however
//! many layers in series or on a residual stream compute it.

use std::collections::BTreeSet;

use espalier_ir::{Graph, ParamId, TensorMap};

use crate::evidence::{channel_readers, layer_weight};
use crate::magnitude::axis_sums;
use crate::{DependencyGroups, Evidence, Role};

/// Squared first-order change of the loss, `mean over batches of (dL/dz)^2` (Molchanov et al. 2019,
/// equation 8): products are summed with their sign before they are squared. Of channels that no weight reads, only a
/// product of two values, the gate is that on the rows that compute one factor.
pub(crate) fn taylor(graph: &Graph, groups: &DependencyGroups, products: &[TensorMap]) -> Vec<Vec<f64>> {
    let mut scores: Vec<Vec<f64>> = groups.groups.iter().map(|g| vec![0.0; g.channels]).collect();
    let rows = linear_params(graph);
    for batch in products {
        for (group, scores) in groups.groups.iter().zip(&mut scores) {
            let mut gates = vec![0.0; group.channels];
            let mut computed = vec![0.0; group.channels];
            let mut read = vec![false; group.channels];
            for member in group.members.iter().filter(|m| m.role == Role::Input || rows.contains(&m.param)) {
                let shape = graph.param(member.param).shape();
                let Some(products) = batch.get(&member.param) else { continue };
                let sums = axis_sums(products.as_f32(), shape, member.axis, &|v| v);
                for (channel, positions) in member.positions.iter().enumerate().filter(|(_, p)| !p.is_empty()) {
                    let sum = positions.iter().map(|p| sums[*p]).sum::<f64>();
                    if member.role == Role::Input {
                        gates[channel] += sum;
                        read[channel] = true;
                    } else {
                        computed[channel] += sum;
                    }
                }
            }
            // Both factors of the product are computed: a gate on each, of which one would do.
            for channel in (0..group.channels).filter(|c| !read[*c]) {
                gates[channel] = computed[channel] / 2.0;
            }
            for (score, gate) in scores.iter_mut().zip(gates) {
                *score += gate * gate / products.len() as f64;
            }
        }
    }
    scores
}

/// Weights and biases of layers: what computes a channel in proportion.
fn linear_params(graph: &Graph) -> BTreeSet<ParamId> {
    let layer = |id| layer_weight(graph, id).map(|_| graph.node(id).op.params());
    graph.nodes().into_iter().filter_map(layer).flatten().collect()
}

/// First and second moment over samples of the derivative by a gate: `(E[d], E[d^2])`. The second is the
/// diagonal of the empirical Fisher information, which stands for the second derivative near a minimum
/// of a cross-entropy (Theis et al. 2018); gradients of *samples* are squared, not those of batches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct GateMoments {
    pub(crate) mean: f64,
    pub(crate) square: f64,
}

impl GateMoments {
    /// Second-order change alone, `E[d^2] / 2` (LeCun et al. 1989).
    pub(crate) fn obd(self) -> f64 {
        self.square / 2.0
    }

    /// Magnitude of the change of the loss to second order when the gate closes, `|E[d^2] / 2 - E[d]|`.
    pub(crate) fn second_order(self) -> f64 {
        (self.square / 2.0 - self.mean).abs()
    }

    /// Unbiased moments from the derivatives `m_t` of the mean loss over batches of `b` samples: with
    /// mean `m` and unbiased variance `s^2` of `T` batches, `E[d^2] = b s^2 + m^2 - s^2 / T`.
    pub(crate) fn of_batches(gates: impl ExactSizeIterator<Item = f64> + Clone, batch_samples: f64) -> Self {
        let count = gates.len() as f64;
        let mean = gates.clone().sum::<f64>() / count;
        let variance = gates.map(|g| (g - mean).powi(2)).sum::<f64>() / (count - 1.0);
        GateMoments { mean, square: batch_samples * variance + mean * mean - variance / count }
    }
}

/// Moments of the gate of every channel over single samples.
pub(crate) fn gate_moments(graph: &Graph, groups: &DependencyGroups, evidence: &Evidence) -> Vec<Vec<GateMoments>> {
    let mut moments: Vec<Vec<GateMoments>> =
        groups.groups.iter().map(|g| vec![GateMoments::default(); g.channels]).collect();
    let mut gates: Vec<Vec<f64>> = groups.groups.iter().map(|g| vec![0.0; g.channels]).collect();
    let readers: Vec<_> = channel_readers(graph)
        .into_iter()
        .map(|r| (&evidence.gate_gradients[&r], groups.value_channels(graph.operands(r)[0])))
        .collect();
    let samples = readers.first().map_or(0, |r| r.0.shape()[0]);
    for sample in 0..samples {
        gates.iter_mut().flatten().for_each(|g| *g = 0.0);
        for (gradients, channels) in &readers {
            let row = &gradients.as_f32()[sample * channels.len()..(sample + 1) * channels.len()];
            for (channel, gradient) in channels.iter().zip(row) {
                gates[channel.group][channel.channel] += f64::from(*gradient);
            }
        }
        for (moments, gate) in moments.iter_mut().flatten().zip(gates.iter().flatten()) {
            moments.mean += gate / samples as f64;
            moments.square += gate * gate / samples as f64;
        }
    }
    moments
}
