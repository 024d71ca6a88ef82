//! Importance of weight vectors: the `1 x cols` weights from one input channel and kernel tap to one
//! block of output channels, the unit that the accelerator skips.

use std::collections::BTreeMap;

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostics, Graph, Op, ParamId, Random, unrolled};
use espalier_target::{
    AcceleratorConfig, Columns, CostModel, LayerGeometry, NetworkGeometry, Vector, block_vectors, connected_columns,
    weight_index,
};

use crate::importance::normalize;
use crate::magnitude::{folded, folded_scales};
use crate::masks::check_scores;
use crate::vector_scores::{Granularity, VectorInputs, layer_scores};
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
    /// With `combine = 2`, the score of every single weight: `columns[layer][block][i][column]`, 0 where the
    /// vector is not connected; a vector is then worth the sum of its columns.
    pub columns: Option<Vec<Option<WeightScores>>>,
}

impl VectorScores {
    /// The same with one score for all vectors of a kernel position and group of `rows` channels: what is chosen by
    /// them are whole `rows x cols` blocks of weights, the coarser pruning that vectors are compared with.
    ///
    /// # Errors
    /// If the accelerator cannot execute the network; `scores-mismatch` if the scores are not of it.
    pub fn tied_to_blocks(mut self, graph: &Graph, config: &AcceleratorConfig) -> Result<Self, Diagnostics> {
        let model = CostModel::new(graph, config)?;
        check_scores(model.network(), &prunable_weights(&*unrolled(graph)?, model.layers()), &self)?;
        for (index, layer) in model.network().layers.iter().enumerate() {
            for block in 0..layer.blocks.len() {
                let key = |v: Vector| (v.source, v.channel / config.rows, v.ky, v.kx);
                let keys: Vec<_> = block_vectors(layer, block).map(key).collect();
                if let Some(scores) = &mut self.scores[index] {
                    tie(&keys, scores[block].iter_mut().map(std::slice::from_mut));
                }
                if let Some(Some(columns)) = self.columns.as_mut().map(|c| &mut c[index]) {
                    tie(&keys, columns[block].iter_mut().map(Vec::as_mut_slice));
                }
            }
        }
        Ok(self)
    }
}

/// Replaces rows of equal keys by their mean.
fn tie<'a, K: Ord>(keys: &[K], rows: impl Iterator<Item = &'a mut [f64]>) {
    let mut groups: BTreeMap<&K, Vec<&mut [f64]>> = BTreeMap::new();
    keys.iter().zip(rows).for_each(|(key, row)| groups.entry(key).or_default().push(row));
    for mut rows in groups.into_values() {
        for column in 0..rows[0].len() {
            let mean = rows.iter().map(|r| r[column]).sum::<f64>() / rows.len() as f64;
            rows.iter_mut().for_each(|r| r[column] = mean);
        }
    }
}

/// Scores of the weights of a layer: `[block][vector][column]`.
pub type WeightScores = Vec<Vec<Vec<f64>>>;

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
    let weights = prunable_weights(&*unrolled(graph)?, model.layers());
    let unit = if config.combine > 1 { Granularity::Weight } else { Granularity::Vector };
    let score_layer = |(layer, weight): (&LayerGeometry, &Option<ParamId>)| {
        let param = (*weight)?;
        let values = folded(graph, &folded_weights, param);
        let inputs = VectorInputs { graph, layer, param, values: &values, evidence, unit };
        let scores = layer_scores(&inputs, criterion, &mut random);
        Some(normalized(scores, normalization))
    };
    let layers = &model.network().layers;
    let scores: Vec<Option<Vec<Vec<f64>>>> = layers.iter().zip(&weights).map(score_layer).collect();
    if unit == Granularity::Vector {
        return Ok(VectorScores { criterion, normalization, scores, columns: None });
    }
    let by_vector = |(layer, scores): (&LayerGeometry, Option<Vec<Vec<f64>>>)| {
        let block =
            |(b, scores): (usize, Vec<f64>)| scores.chunks(layer.blocks[b].columns).map(<[f64]>::to_vec).collect();
        scores.map(|blocks| blocks.into_iter().enumerate().map(block).collect::<WeightScores>())
    };
    let columns: Vec<_> = layers.iter().zip(scores).map(by_vector).collect();
    let total = |layer: &WeightScores| layer.iter().map(|b| b.iter().map(|v| v.iter().sum()).collect()).collect();
    let scores = columns.iter().map(|layer| layer.as_ref().map(total)).collect();
    Ok(VectorScores { criterion, normalization, scores, columns: Some(columns) })
}

/// The weights of every vector that may be pruned: parameter and ascending row-major positions, for training that
/// shrinks vectors as groups.
///
/// # Errors
/// If the accelerator cannot execute the network.
pub fn vector_elements(graph: &Graph, config: &AcceleratorConfig) -> Result<Vec<(ParamId, Vec<usize>)>, Diagnostics> {
    let model = CostModel::new(graph, config)?;
    let weights = prunable_weights(&*unrolled(graph)?, model.layers());
    let mut vectors = Vec::new();
    for (layer, param) in model.network().layers.iter().zip(weights) {
        let Some(param) = param else { continue };
        for (b, block) in layer.blocks.iter().enumerate() {
            for vector in block_vectors(layer, b) {
                let outputs = block.first..block.first + block.columns;
                let mut positions: Vec<usize> = outputs.filter_map(|o| flat_index(layer, &vector, o)).collect();
                positions.sort_unstable();
                vectors.extend((!positions.is_empty()).then_some((param, positions)));
            }
        }
    }
    Ok(vectors)
}

/// Normalizes over all blocks of a layer together.
fn normalized(scores: Vec<Vec<f64>>, normalization: Normalization) -> Vec<Vec<f64>> {
    let mut flat = scores.concat();
    normalize(&mut flat, normalization);
    let mut rest = flat.into_iter();
    scores.iter().map(|block| rest.by_ref().take(block.len()).collect()).collect()
}

/// Position, in the row-major weight, of the weight of a vector to an output channel.
pub(crate) fn flat_index(layer: &LayerGeometry, vector: &Vector, output: usize) -> Option<usize> {
    let [kh, kw] = layer.kernel;
    let per_group = match layer.connectivity {
        espalier_target::Connectivity::Grouped(groups) => {
            let read = &layer.sources[..=layer.joined.len()];
            read.iter().map(|s| s.layout.shape[0]).sum::<usize>() / groups
        }
        _ => 1,
    };
    weight_index(layer, vector, output).map(|[o, i, y, x]| ((o * per_group + i) * kh + y) * kw + x)
}

/// The weight of every layer that vector pruning may touch; those of time steps are parts of a recurrent layer's.
pub(crate) fn prunable_weights(graph: &Graph, layers: &[ArrayLayer]) -> Vec<Option<ParamId>> {
    let weights = layer_weights(graph, layers);
    let mut uses: BTreeMap<ParamId, usize> = BTreeMap::new();
    weights.iter().flatten().for_each(|w| *uses.entry(*w).or_default() += 1);
    let depthwise = |layer: &ArrayLayer| matches!(layer.op, ArrayOp::Conv { groups, .. } if groups > 1 && groups == layer.in_shapes[0][0]);
    let prunable = weights.into_iter().zip(layers);
    let fits = |w: &ParamId, layer: &ArrayLayer| uses[w] == 1 && !depthwise(layer) && !graph.is_step(layer.nodes[0]);
    prunable.map(|(weight, layer)| weight.filter(|w| fits(w, layer))).collect()
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

/// For every vector of every block of every layer, the columns in which it has a weight that is not zero. The code
/// generator packs no others.
pub(crate) fn live_columns(graph: &Graph, layers: &[ArrayLayer], network: &NetworkGeometry) -> Vec<Vec<Vec<Columns>>> {
    let weights = layer_weights(graph, layers);
    let of_layer = |(layer, weight): (&LayerGeometry, Option<ParamId>)| {
        let values = weight.map(|param| graph.param(param).as_f32());
        let live = |b: usize, v: Vector| match values {
            Some(values) => {
                let first = layer.blocks[b].first;
                let nonzero = |j: &usize| flat_index(layer, &v, first + j).is_some_and(|i| values.get(i) != Some(&0.0));
                (0..layer.blocks[b].columns).filter(nonzero).fold(0, |columns, j| columns | 1 << j)
            }
            None => connected_columns(layer, b, &v),
        };
        (0..layer.blocks.len()).map(|b| block_vectors(layer, b).map(|v| live(b, v)).collect()).collect()
    };
    network.layers.iter().zip(weights).map(of_layer).collect()
}
