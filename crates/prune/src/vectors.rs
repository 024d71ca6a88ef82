//! Importance of weight vectors: the `1 x cols` weights from one input channel and kernel tap to one
//! block of output channels, the unit that the accelerator skips.

use std::collections::BTreeMap;

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostics, Graph, Op, ParamId, Random};
use espalier_target::{
    AcceleratorConfig, CostModel, LayerGeometry, NetworkGeometry, Vector, block_vectors, weight_index,
};

use crate::importance::normalize;
use crate::magnitude::{folded, folded_scales};
use crate::vector_scores::{VectorInputs, layer_scores};
use crate::{Criterion, Evidence, Normalization, Unit};

/// Scores of all vectors that may be pruned.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorScores {
    /// What was measured.
    pub criterion: Criterion,
    /// How layers were made comparable.
    pub normalization: Normalization,
    /// `scores[layer][block][i]` belongs to vector `i` of `espalier_target::block_vectors`; `None`
    /// for layers that vector pruning never touches.
    pub scores: Vec<Option<Vec<Vec<f64>>>>,
}

/// Importance of every vector of every layer that may be pruned: all convolutions and fully
/// connected layers but depthwise ones and those whose weights a second layer uses.
///
/// The formulas of all criteria are in `docs/pruning.md` and in `vector_scores.rs`.
///
/// # Errors
/// If the accelerator cannot execute the network; `criterion-not-for-vectors`; what the criterion reads
/// and `evidence` lacks.
pub fn vector_importance(
    graph: &Graph,
    config: &AcceleratorConfig,
    criterion: Criterion,
    normalization: Normalization,
    evidence: &Evidence,
) -> Result<VectorScores, Diagnostics> {
    let model = CostModel::new(graph, config)?;
    evidence.check(graph, criterion, Unit::Vector)?;
    let folded_weights = folded_scales(graph);
    let mut random = match criterion {
        Criterion::Random { seed } => Random::new(seed),
        _ => Random::new(0),
    };
    let weights = prunable_weights(graph, model.layers());
    let score_layer = |(layer, weight): (&LayerGeometry, &Option<ParamId>)| {
        let param = (*weight)?;
        let values = folded(graph, &folded_weights, param);
        let inputs = VectorInputs { graph, layer, param, values: &values, evidence };
        let scores = layer_scores(&inputs, criterion, &mut random);
        Some(normalized(scores, normalization))
    };
    let scores = model.network().layers.iter().zip(&weights).map(score_layer).collect();
    Ok(VectorScores { criterion, normalization, scores })
}

/// Normalizes over all blocks of a layer together.
fn normalized(scores: Vec<Vec<f64>>, normalization: Normalization) -> Vec<Vec<f64>> {
    let mut flat = scores.concat();
    normalize(&mut flat, normalization);
    let mut rest = flat.into_iter();
    scores.iter().map(|block| rest.by_ref().take(block.len()).collect()).collect()
}

/// Sum of `measure` over the weights of each vector, by block.
fn sums(layer: &LayerGeometry, values: &[f32], measure: &dyn Fn(f32) -> f64) -> Vec<Vec<f64>> {
    let sum = |block, vector: Vector| {
        weights_of(layer, block, &vector).map(|i| values.get(i).map_or(0.0, |v| measure(*v))).sum()
    };
    (0..layer.blocks.len()).map(|b| block_vectors(layer, b).map(|v| sum(b, v)).collect()).collect()
}

/// Positions, in the row-major weight, of the weights of a vector.
pub(crate) fn weights_of(layer: &LayerGeometry, block: usize, vector: &Vector) -> impl Iterator<Item = usize> {
    let block = layer.blocks[block];
    let [kh, kw] = layer.kernel;
    let channels = layer.sources[0].layout.shape[0];
    let per_group = match layer.connectivity {
        espalier_target::Connectivity::Grouped(groups) => channels / groups,
        _ => 1,
    };
    (block.first..block.first + block.columns)
        .filter_map(|o| weight_index(layer, vector, o))
        .map(move |[o, i, y, x]| ((o * per_group + i) * kh + y) * kw + x)
}

/// The weight of every layer that vector pruning may touch.
pub(crate) fn prunable_weights(graph: &Graph, layers: &[ArrayLayer]) -> Vec<Option<ParamId>> {
    let weights = layer_weights(graph, layers);
    let mut uses: BTreeMap<ParamId, usize> = BTreeMap::new();
    weights.iter().flatten().for_each(|w| *uses.entry(*w).or_default() += 1);
    let depthwise = |layer: &ArrayLayer| matches!(layer.op, ArrayOp::Conv { groups, .. } if groups > 1 && groups == layer.in_shapes[0][0]);
    let prunable = weights.into_iter().zip(layers);
    prunable.map(|(weight, layer)| weight.filter(|w| uses[w] == 1 && !depthwise(layer))).collect()
}

/// The weight of every convolution and fully connected layer.
pub(crate) fn layer_weights(graph: &Graph, layers: &[ArrayLayer]) -> Vec<Option<ParamId>> {
    let weight = |layer: &ArrayLayer| match layer.op {
        ArrayOp::Conv { node, .. } => match &graph.node(node).op {
            Op::Conv(conv) => Some(conv.weight),
            Op::Gemm { weight, .. } => Some(*weight),
            _ => None,
        },
        _ => None,
    };
    layers.iter().map(weight).collect()
}

/// For every block of every layer, which of its vectors have a weight that is not zero. The code
/// generator packs no others.
pub(crate) fn live_vectors(graph: &Graph, layers: &[ArrayLayer], network: &NetworkGeometry) -> Vec<Vec<Vec<bool>>> {
    let weights = layer_weights(graph, layers);
    let of_layer = |(layer, weight): (&LayerGeometry, Option<ParamId>)| match weight {
        Some(param) => {
            let counts = sums(layer, graph.param(param).as_f32(), &|w| f64::from(u8::from(w != 0.0)));
            counts.into_iter().map(|block| block.into_iter().map(|n| n > 0.0).collect()).collect()
        }
        None => (0..layer.blocks.len()).map(|b| block_vectors(layer, b).map(|_| true).collect()).collect(),
    };
    network.layers.iter().zip(weights).map(of_layer).collect()
}
