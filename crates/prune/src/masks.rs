//! Lane-balanced vector pruning under a cycle budget.
//!
//! A block of output channels takes as many weight tiles as its fullest lane has vectors. So for a
//! wanted tile count `t` the best choice is exact: the `t` most important vectors of every lane (of
//! a channel with `r` replicas: `t * r` of its vectors). What that keeps is concave in `t`, and a
//! tile costs one pass; dividing tiles among all blocks of all layers is then a separable concave
//! allocation, which the greedy choice by gain per cycle solves up to the last tile. The final cycle
//! count is that of the target's timeline, and tiles are given out only while it is in the budget.
//!
//! With `combine = 2` a lane of a tile holds a pair of vectors; [`crate::combine`] chooses the pairs, and
//! what `t` tiles keep is made concave before it is allocated.

use std::collections::{BTreeMap, HashMap};

use espalier_ir::{Diagnostic, Diagnostics, Graph, ParamId, Tensor, TensorMap, unrolled};
use espalier_target::{
    AcceleratorConfig, Columns, CostModel, LayerGeometry, NetworkGeometry, Vector, block_vectors, connected_columns,
    tiles_of_mask, tiles_of_weights,
};
use serde::{Deserialize, Serialize};

use crate::VectorScores;
use crate::allocation::{BlockChoice, allocate};
use crate::budgets::budget_not_met;
use crate::combine::Candidates;
use crate::vectors::{flat_index, live_columns, prunable_weights};

/// Limits of the vector choice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorOptions {
    /// Most cycles of the whole program.
    pub budget_cycles: u64,
    /// Fraction of its present tiles that every block keeps at least, 0 to 1; one tile in any case.
    pub min_keep: f64,
}

/// What vector pruning leaves of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorLayer {
    /// Name of the layer.
    pub name: String,
    /// Vectors that are not zero before.
    pub vectors: usize,
    /// Vectors kept.
    pub kept: usize,
    /// Fraction of the layer's importance kept; 1 for layers that are never touched.
    pub importance_kept: f64,
}

/// Which weights stay, as masks over the weights, and what that costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorPlan {
    /// 1 for kept and 0 for pruned weights, of every weight that may be pruned.
    pub masks: TensorMap,
    /// Tiles of every block of every layer: `tiles[layer][block]`.
    pub tiles: Vec<Vec<u32>>,
    /// The same before.
    pub dense_tiles: Vec<Vec<u32>>,
    /// One entry a layer.
    pub layers: Vec<VectorLayer>,
    /// Cycles allowed.
    pub budget_cycles: u64,
    /// Cycles before.
    pub dense_cycles: u64,
    /// Cycles after.
    pub cycles: u64,
    /// Fraction of all importance kept.
    pub importance_kept: f64,
}

/// Chooses the vectors that stay, so that the program takes at most the budgeted cycles.
///
/// Vectors that are already zero stay zero. Depthwise convolutions, pooling, additions and
/// concatenations are never touched.
///
/// # Errors
/// `budget-not-met` with the smallest reachable number of cycles; whatever the target refuses about
/// the network; `scores-mismatch` if the scores are not of this network and configuration.
pub fn vector_masks(
    graph: &Graph,
    config: &AcceleratorConfig,
    scores: &VectorScores,
    options: &VectorOptions,
) -> Result<VectorPlan, Diagnostics> {
    let choice = Choice::new(graph, config, scores, options.min_keep)?;
    let reachable = choice.cycles(&choice.least());
    if reachable > options.budget_cycles {
        let dense = choice.cycles(&choice.present);
        return Err(budget_not_met("vector", options.budget_cycles, reachable, dense).into());
    }
    let mut cost = |tiles: &[Vec<u32>]| choice.cycles(tiles);
    let tiles = allocate(&choice.blocks, &choice.least(), options.budget_cycles, &mut cost);
    Ok(choice.plan(graph, &tiles, options.budget_cycles))
}

/// The fewest cycles that vector pruning can reach.
///
/// # Errors
/// As [`vector_masks`], but for the budget.
pub fn minimum_vector_cycles(
    graph: &Graph,
    config: &AcceleratorConfig,
    scores: &VectorScores,
    min_keep: f64,
) -> Result<u64, Diagnostics> {
    let choice = Choice::new(graph, config, scores, min_keep)?;
    Ok(choice.cycles(&choice.least()))
}

/// The graph with masked weights set to zero.
///
/// # Errors
/// `mask-mismatch` for every mask that is not of the shape of its parameter.
pub fn apply_masks(graph: &Graph, masks: &TensorMap) -> Result<Graph, Diagnostics> {
    let mut findings = Diagnostics::new();
    let mut masked = graph.clone();
    let shapes: BTreeMap<ParamId, &[usize]> = graph.params().map(|(id, _, t)| (id, t.shape())).collect();
    for (param, mask) in masks {
        if shapes.get(param) != Some(&mask.shape()) {
            let message = format!("a mask of shape {:?} fits no parameter of the model", mask.shape());
            findings.push(Diagnostic::error("mask-mismatch", format!("{param:?}"), message));
            continue;
        }
        let mut tensor = graph.param(*param).clone();
        tensor.as_f32_mut().iter_mut().zip(mask.as_f32()).for_each(|(w, m)| {
            if *m == 0.0 {
                *w = 0.0;
            }
        });
        masked.set_param(*param, tensor);
    }
    findings.into_result(masked)
}

/// The network, its vectors and their worth.
pub(crate) struct Choice {
    model: CostModel,
    weights: Vec<Option<ParamId>>,
    live: Vec<Vec<Vec<Columns>>>,
    /// Tiles before.
    pub present: Vec<Vec<u32>>,
    /// Blocks of prunable layers.
    blocks: Vec<BlockChoice>,
    /// For those, the live vectors of every lane class, best first: indices into the block's vectors.
    ranked: Vec<Vec<Ranked>>,
    min_keep: f64,
}

/// Vectors that compete for the same lanes.
struct Ranked {
    /// Lanes that hold them, hence rows a tile.
    capacity: usize,
    /// Position among the vectors of the block, and score; best first.
    vectors: Vec<(usize, f64)>,
    /// How they share rows, if they do.
    combined: Option<Candidates>,
}

impl Choice {
    pub fn new(
        graph: &Graph,
        config: &AcceleratorConfig,
        scores: &VectorScores,
        min_keep: f64,
    ) -> Result<Self, Diagnostics> {
        let model = CostModel::new(graph, config)?;
        let unrolled = unrolled(graph)?;
        let weights = prunable_weights(&unrolled, model.layers());
        check_scores(model.network(), &weights, scores)?;
        let live = live_columns(&unrolled, model.layers(), model.network());
        let present = tiles_of_weights(&model, graph);
        let (normalization, columns) = (scores.normalization, &scores.columns);
        let (mut blocks, mut ranked) = (Vec::new(), Vec::new());
        for (index, layer) in model.network().layers.iter().enumerate() {
            let Some(scores) = &scores.scores[index] else { continue };
            for block in 0..layer.blocks.len() {
                let columns = columns.as_ref().and_then(|c| c[index].as_ref()).map(|c| c[block].as_slice());
                let classes = rank(layer, block, &live[index][block], &scores[block], columns, config);
                let tiles = present[index][block] as usize;
                let mut importance = vec![0.0; tiles];
                for class in &classes {
                    importance.iter_mut().zip(class.gains(tiles)).for_each(|(sum, gain)| *sum += gain);
                }
                blocks.push(BlockChoice::new(layer, config, (index, block), importance, normalization));
                ranked.push(classes);
            }
        }
        Ok(Choice { model, weights, live, present, blocks, ranked, min_keep })
    }

    pub fn cycles(&self, tiles: &[Vec<u32>]) -> u64 {
        self.model.total_cycles(tiles)
    }

    /// The fewest tiles that every block may have.
    fn least(&self) -> Vec<Vec<u32>> {
        let mut tiles = self.present.clone();
        for b in &self.blocks {
            let present = tiles[b.layer][b.block];
            let share = (f64::from(present) * self.min_keep.clamp(0.0, 1.0)).ceil() as u32;
            tiles[b.layer][b.block] = share.clamp(1, present);
        }
        tiles
    }

    /// Columns that every vector keeps if the blocks have so many tiles.
    fn kept(&self, tiles: &[Vec<u32>]) -> Vec<Vec<Vec<Columns>>> {
        let layers = &self.model.network().layers;
        let whole = |layer: &LayerGeometry, b: usize, live: &[Columns]| {
            let columns = |(v, live): (Vector, &Columns)| if *live == 0 { 0 } else { connected_columns(layer, b, &v) };
            block_vectors(layer, b).zip(live).map(columns).collect()
        };
        let blocks = |(layer, live): (&LayerGeometry, &Vec<Vec<Columns>>)| {
            live.iter().enumerate().map(|(b, live)| whole(layer, b, live)).collect()
        };
        let mut kept: Vec<Vec<Vec<Columns>>> = layers.iter().zip(&self.live).map(blocks).collect();
        for (b, classes) in self.blocks.iter().zip(&self.ranked) {
            let limit = tiles[b.layer][b.block] as usize;
            for class in classes {
                class.restrict(limit * class.capacity, &mut kept[b.layer][b.block]);
            }
        }
        kept
    }

    pub fn plan(&self, graph: &Graph, tiles: &[Vec<u32>], budget_cycles: u64) -> VectorPlan {
        let kept = self.kept(tiles);
        let built: Vec<Vec<u32>> = self
            .model
            .network()
            .layers
            .iter()
            .zip(&kept)
            .map(|(layer, kept)| tiles_of(layer, self.model.config(), kept))
            .collect();
        let (gained, total) = self.worth(&built, None);
        VectorPlan {
            masks: self.masks(graph, &kept),
            layers: (0..kept.len()).map(|l| self.layer_summary(l, &kept, &built)).collect(),
            budget_cycles,
            dense_cycles: self.cycles(&self.present),
            cycles: self.cycles(&built),
            importance_kept: if total > 0.0 { gained / total } else { 1.0 },
            tiles: built,
            dense_tiles: self.present.clone(),
        }
    }

    /// Importance kept with the given tiles, and in total; of one layer or of all.
    fn worth(&self, tiles: &[Vec<u32>], layer: Option<usize>) -> (f64, f64) {
        let blocks = self.blocks.iter().filter(|b| layer.is_none_or(|l| l == b.layer));
        blocks.fold((0.0, 0.0), |(kept, total), b| {
            let limit = tiles[b.layer][b.block] as usize;
            (kept + b.importance.iter().take(limit).sum::<f64>(), total + b.importance.iter().sum::<f64>())
        })
    }

    fn layer_summary(&self, layer: usize, kept: &[Vec<Vec<Columns>>], tiles: &[Vec<u32>]) -> VectorLayer {
        let count = |blocks: &[Vec<Columns>]| blocks.iter().flatten().filter(|v| **v != 0).count();
        let (gained, total) = self.worth(tiles, Some(layer));
        VectorLayer {
            name: self.model.network().layers[layer].name.clone(),
            vectors: count(&self.live[layer]),
            kept: count(&kept[layer]),
            importance_kept: if total > 0.0 { gained / total } else { 1.0 },
        }
    }

    fn masks(&self, graph: &Graph, kept: &[Vec<Vec<Columns>>]) -> TensorMap {
        let mut masks = TensorMap::new();
        for (index, layer) in self.model.network().layers.iter().enumerate() {
            let Some(param) = self.weights[index] else { continue };
            let shape = graph.param(param).shape().to_vec();
            let mut mask = vec![0.0; graph.param(param).len()];
            for block in 0..layer.blocks.len() {
                let channels = layer.blocks[block];
                for (vector, kept) in block_vectors(layer, block).zip(&kept[index][block]) {
                    let columns = (0..channels.columns).filter(|j| kept >> j & 1 == 1);
                    columns.filter_map(|j| flat_index(layer, &vector, channels.first + j)).for_each(|i| mask[i] = 1.0);
                }
            }
            masks.insert(param, Tensor::f32(shape, mask));
        }
        masks
    }
}

/// Points at which the importance kept by pairs is computed; between them it is interpolated.
const POINTS: usize = 32;

impl Ranked {
    /// Importance that each of so many tiles adds, never increasing.
    fn gains(&self, tiles: usize) -> Vec<f64> {
        let Some(candidates) = &self.combined else {
            let gain = |chunk: &[(usize, f64)]| chunk.iter().map(|(_, score)| score).sum();
            let mut gains: Vec<f64> = self.vectors.chunks(self.capacity).map(gain).collect();
            gains.resize(tiles, 0.0);
            return gains;
        };
        combined_gains(candidates, self.capacity, tiles, POINTS)
    }

    /// Takes from vectors the columns that they lose with so many rows.
    fn restrict(&self, rows: usize, kept: &mut [Columns]) {
        let Some(candidates) = &self.combined else {
            self.vectors.iter().skip(rows).for_each(|(i, _)| kept[*i] = 0);
            return;
        };
        let mut left = vec![0; self.vectors.len()];
        for (first, second) in candidates.choose(rows) {
            match second {
                None => left[first] = Columns::MAX,
                Some(second) => [left[first], left[second]] = candidates.columns(first, second),
            }
        }
        self.vectors.iter().zip(left).for_each(|((i, _), left)| kept[*i] &= left);
    }
}

/// Importance that each of so many tiles of `capacity` rows adds, never increasing, from the choice at that many points.
pub(crate) fn combined_gains(candidates: &Candidates, capacity: usize, tiles: usize, points: usize) -> Vec<f64> {
    let points: Vec<usize> = (0..=points.min(tiles)).map(|i| i * tiles / points.min(tiles).max(1)).collect();
    let value = |t: &usize| candidates.value(&candidates.choose(t * capacity));
    let values: Vec<f64> = points.iter().map(value).collect();
    concave_gains(&points, &values)
}

/// Slopes of the least concave curve above the given points, one for each step of 1.
fn concave_gains(points: &[usize], values: &[f64]) -> Vec<f64> {
    let slope = |a: usize, b: usize| (values[b] - values[a]) / (points[b] - points[a]) as f64;
    let mut hull: Vec<usize> = Vec::new();
    for p in 0..points.len() {
        while let [.., a, b] = hull[..]
            && slope(a, b) <= slope(b, p)
        {
            hull.pop();
        }
        hull.push(p);
    }
    let steps = |w: &[usize]| std::iter::repeat_n(slope(w[0], w[1]), points[w[1]] - points[w[0]]);
    hull.windows(2).flat_map(steps).collect()
}

/// Sorts the live vectors of a block into lane classes, best first (ties: the fixed order). With the scores of
/// columns, vectors share rows.
fn rank(
    layer: &LayerGeometry,
    block: usize,
    live: &[Columns],
    scores: &[f64],
    columns: Option<&[Vec<f64>]>,
    config: &AcceleratorConfig,
) -> Vec<Ranked> {
    let layout = &layer.sources[0].layout;
    let mut classes: BTreeMap<usize, Vec<(usize, f64)>> = Default::default();
    for (i, vector) in block_vectors(layer, block).enumerate().filter(|(i, _)| live[*i] != 0) {
        classes.entry(layout.lane(vector.channel, 0)).or_default().push((i, scores[i]));
    }
    let sorted = classes.into_values().map(|mut vectors| {
        vectors.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let combined = columns.map(|columns| {
            // Weights that are zero are worth nothing, all others something, so that pairing loses none needlessly.
            let score = |(j, score): (usize, &f64), live: Columns| {
                if live >> j & 1 == 0 { 0.0 } else { score.max(f64::MIN_POSITIVE) }
            };
            let scores: Vec<Vec<f64>> = vectors
                .iter()
                .map(|(i, _)| columns[*i].iter().enumerate().map(|c| score(c, live[*i])).collect())
                .collect();
            let columns: Vec<Columns> = vectors.iter().map(|(i, _)| live[*i]).collect();
            Candidates::new(&scores, &columns, config)
        });
        Ranked { capacity: layout.replicas, vectors, combined }
    });
    sorted.collect()
}

/// Tiles of every block of a layer whose vectors have weights in the columns `kept[block]`.
fn tiles_of(layer: &LayerGeometry, config: &AcceleratorConfig, kept: &[Vec<Columns>]) -> Vec<u32> {
    let kept: Vec<HashMap<Vector, Columns>> = kept
        .iter()
        .enumerate()
        .map(|(b, columns)| block_vectors(layer, b).zip(columns.iter().copied()).collect())
        .collect();
    tiles_of_mask(layer, config, &|block, vector| kept[block][vector])
}

pub(crate) fn check_scores(
    network: &NetworkGeometry,
    weights: &[Option<ParamId>],
    scores: &VectorScores,
) -> Result<(), Diagnostics> {
    let fits = scores.scores.len() == network.layers.len()
        && network.layers.iter().zip(&scores.scores).zip(weights).all(|((layer, scores), weight)| match scores {
            Some(scores) => {
                weight.is_some()
                    && scores.len() == layer.blocks.len()
                    && (0..scores.len()).all(|b| scores[b].len() == block_vectors(layer, b).count())
            }
            None => weight.is_none(),
        });
    let finite = scores.scores.iter().flatten().flatten().flatten().all(|s| s.is_finite() && *s >= 0.0);
    if fits && finite {
        return Ok(());
    }
    let message = if fits { "a score is negative or not a number" } else { "the scores are not of this network" };
    Err(Diagnostic::error("scores-mismatch", "vector scores", message).into())
}
