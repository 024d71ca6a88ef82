//! Importance of the vectors of one layer by each criterion that can rate them.
//!
//! With the weights `w` of the vector (batch normalization folded in, raw for group-norm), the products
//! `w * g`, and `a`, what the vector reads:
//!
//! | criterion | score |
//! |---|---|
//! | L1, L2, L1 + Lp | `sum \|w\|`, the energy `sum w^2` (adds up over vectors), `sum \|w\| + lambda \|w\|^p` |
//! | group lasso, group norm | `sqrt(sum w^2)`, raw `sum w^2` |
//! | LAMP | energy divided by that of all vectors of the layer with at least as much |
//! | Taylor | `mean over batches of (sum w g)^2`: the gate of the vector |
//! | OBD, second-order Taylor | the same gate; its Fisher information without bias from batches |
//! | Wanda | `sum w^2 E[a^2]` |
//! | other activations | `sum \|w\|`, times the worth of the channel or element that it reads |
//!
//! Where vectors share rows, single weights are rated by the same formulas, as vectors of one column.

use espalier_ir::{Graph, Random, TensorMap};
use espalier_target::{LayerGeometry, Vector, block_vectors};

use crate::gates::GateMoments;
use crate::magnitude::{l1_lp, lamp};
use crate::measured::{WeightColumns, channel_worth, layer_of};
use crate::vectors::flat_index;
use crate::{Criterion, Evidence};

/// What the scores of a layer are computed from.
pub(crate) struct VectorInputs<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) layer: &'a LayerGeometry,
    pub(crate) param: espalier_ir::ParamId,
    /// The weight with batch normalization folded in.
    pub(crate) values: &'a [f32],
    pub(crate) evidence: &'a Evidence,
    /// What is rated.
    pub(crate) unit: Granularity,
}

/// What one score belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granularity {
    /// A vector.
    Vector,
    /// A weight: as many scores a vector as its block has columns, 0 where it is not connected.
    Weight,
}

impl VectorInputs<'_> {
    /// Sum of `measure` over the positions, in the row-major weight, of the weights of each unit, by block.
    fn sums(&self, measure: &dyn Fn(usize) -> f64) -> Vec<Vec<f64>> {
        let layer = self.layer;
        let weights = |b: usize, v: Vector| {
            let block = layer.blocks[b];
            (block.first..block.first + block.columns).map(move |o| flat_index(layer, &v, o).map_or(0.0, measure))
        };
        let block = |b: usize| match self.unit {
            Granularity::Vector => block_vectors(layer, b).map(|v| weights(b, v).sum()).collect(),
            Granularity::Weight => block_vectors(layer, b).flat_map(|v| weights(b, v)).collect(),
        };
        (0..layer.blocks.len()).map(block).collect()
    }
}

/// Scores by block; `random` is drawn from in the order of the vectors.
pub(crate) fn layer_scores(inputs: &VectorInputs<'_>, criterion: Criterion, random: &mut Random) -> Vec<Vec<f64>> {
    let VectorInputs { graph, param, values, evidence, .. } = *inputs;
    let weights = |measure: &dyn Fn(f64) -> f64| inputs.sums(&|i| measure(f64::from(values[i])));
    let energy = || weights(&|w| w * w);
    match criterion {
        Criterion::L1 => weights(&f64::abs),
        Criterion::L2 => energy(),
        Criterion::L1Lp => weights(&l1_lp),
        Criterion::GroupLasso => each(energy(), f64::sqrt),
        Criterion::GroupNorm => {
            let raw = graph.param(param).as_f32();
            inputs.sums(&|i| f64::from(raw[i]) * f64::from(raw[i]))
        }
        Criterion::Lamp => {
            let energies = energy();
            let mut scores = lamp(&energies.concat()).into_iter();
            energies.iter().map(|block| scores.by_ref().take(block.len()).collect()).collect()
        }
        Criterion::Taylor => {
            gates(inputs, &evidence.products, &|gates| gates.iter().map(|g| g * g).sum::<f64>() / gates.len() as f64)
        }
        Criterion::Obd => gates(inputs, &evidence.products, &|gates| {
            GateMoments::of_batches(gates.iter().copied(), evidence.batch_samples).obd()
        }),
        Criterion::TaylorSecond => gates(inputs, &evidence.products, &|gates| {
            GateMoments::of_batches(gates.iter().copied(), evidence.batch_samples).second_order()
        }),
        Criterion::Random { .. } => each(weights(&|_| 0.0), |_| f64::from(random.unit())),
        Criterion::Apoz
        | Criterion::MeanActivation
        | Criterion::Hrank
        | Criterion::ActivationEntropy
        | Criterion::EntropyEnergy
        | Criterion::ClassMi
        | Criterion::Wanda => read_activations(inputs, criterion),
        Criterion::Fpgm | Criterion::BnScale | Criterion::WeightEntropy => {
            unreachable!("refused before: they rate whole filters")
        }
    }
}

fn read_activations(inputs: &VectorInputs<'_>, criterion: Criterion) -> Vec<Vec<f64>> {
    let VectorInputs { graph, param, values, evidence, .. } = *inputs;
    let (operand, layer) = layer_of(graph, param).expect("a prunable weight has one reader");
    let activations = evidence.activations.as_ref().expect("the evidence is checked");
    let columns = WeightColumns::new(graph, layer);
    if criterion == Criterion::Wanda {
        let energy = activations.sites[&operand].mean_square();
        return inputs.sums(&|i| f64::from(values[i]).powi(2) * energy[columns.channel(i)]);
    }
    let worth = channel_worth(graph, criterion, activations, operand);
    inputs.sums(&|i| f64::from(values[i].abs()) * worth[columns.channel(i)])
}

/// `finish` of the gates of each unit in all batches.
fn gates(inputs: &VectorInputs<'_>, products: &[TensorMap], finish: &dyn Fn(&[f64]) -> f64) -> Vec<Vec<f64>> {
    let batches: Vec<Vec<Vec<f64>>> = products
        .iter()
        .map(|batch| {
            let values = batch[&inputs.param].as_f32();
            inputs.sums(&|i| f64::from(values[i]))
        })
        .collect();
    let vector = |block: usize, i: usize| finish(&batches.iter().map(|b| b[block][i]).collect::<Vec<f64>>());
    let blocks = batches.first().map_or(&[][..], Vec::as_slice).iter().enumerate();
    blocks.map(|(block, scores)| (0..scores.len()).map(|i| vector(block, i)).collect()).collect()
}

fn each(mut scores: Vec<Vec<f64>>, mut change: impl FnMut(f64) -> f64) -> Vec<Vec<f64>> {
    scores.iter_mut().flatten().for_each(|s| *s = change(*s));
    scores
}
