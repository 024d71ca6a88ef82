//! Prices of a pruning decision: the cycles of a network for any choice of tile counts.
//!
//! A [`CostModel`] plans the program once; asking for another choice of tiles only exchanges the
//! tile counts and runs the timing again, so a pruner can ask thousands of times.

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostics, Graph, Op, array_layers, unrolled};

use crate::config::PARAMETER_WORDS;
use crate::tiles::{TileFill, dense_fill};
use crate::timing::timeline;
use crate::{
    AcceleratorConfig, Action, LayerGeometry, NetworkGeometry, PlannedStep, Step, geometry, graph_ends, plan,
    weight_index,
};

/// Cycles of every part of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycles {
    /// From start to done.
    pub total: u64,
    /// Of each layer: from the end of what came before it to the end of its last instruction.
    pub layers: Vec<u64>,
    /// Loading inputs (with their halo), storing outputs, and the end of the program.
    pub transfer: u64,
}

/// The network on one configuration, planned once.
#[derive(Debug, Clone)]
pub struct CostModel {
    layers: Vec<ArrayLayer>,
    network: NetworkGeometry,
    config: AcceleratorConfig,
    dense: Vec<Vec<u32>>,
    /// What the dense tiles hold, by layer and block.
    fill: Vec<Vec<Vec<TileFill>>>,
    program: Vec<PlannedStep>,
}

impl CostModel {
    /// Plans a graph.
    ///
    /// # Errors
    /// Everything in the graph that the accelerator or this configuration cannot hold.
    pub fn new(graph: &Graph, config: &AcceleratorConfig) -> Result<Self, Diagnostics> {
        let graph = &*unrolled(graph)?;
        let layers = array_layers(graph)?;
        let (inputs, outputs) = graph_ends(graph, &layers);
        let network = geometry(&layers, &inputs, &outputs, config)?;
        let fill: Vec<Vec<Vec<TileFill>>> = network.layers.iter().map(|l| dense_fill(l, config)).collect();
        let tiles = |blocks: &Vec<Vec<TileFill>>| blocks.iter().map(|tiles| tiles.len() as u32).collect();
        let dense: Vec<Vec<u32>> = fill.iter().map(tiles).collect();
        let program = plan(&network, config, &dense);
        Ok(CostModel { layers, network, config: config.clone(), dense, fill, program })
    }

    /// The layers of the graph.
    pub fn layers(&self) -> &[ArrayLayer] {
        &self.layers
    }

    /// The geometry behind the prices.
    pub fn network(&self) -> &NetworkGeometry {
        &self.network
    }

    /// The configuration.
    pub fn config(&self) -> &AcceleratorConfig {
        &self.config
    }

    /// Tiles of every block of every layer without pruning.
    pub fn dense_tiles(&self) -> &[Vec<u32>] {
        &self.dense
    }

    /// What the dense tiles of the blocks of a layer hold.
    pub(crate) fn fill(&self, layer: usize) -> &[Vec<TileFill>] {
        &self.fill[layer]
    }

    /// The timing-relevant steps for a choice of tiles.
    ///
    /// # Panics
    /// If `tiles` does not have an entry for every block of every layer: a bug of the caller.
    pub fn steps(&self, tiles: &[Vec<u32>]) -> Vec<Step> {
        let with_tiles = |planned: &PlannedStep| match (planned.action, planned.step) {
            (
                Action::Conv { layer, block, part, .. },
                Step::Conv { pixels, outputs, window, chunks, barrier, fence, partial, table, .. },
            ) => {
                let tiles = self.network.layers[layer].part_tiles(part, block, tiles[layer][block]);
                Step::Conv { tiles, pixels, outputs, window, chunks, barrier, fence, partial, table }
            }
            (_, step) => step,
        };
        self.program.iter().map(with_tiles).collect()
    }

    /// Cycles from start to done for a choice of tiles. Panics like [`CostModel::steps`].
    pub fn total_cycles(&self, tiles: &[Vec<u32>]) -> u64 {
        timeline(&self.steps(tiles), &self.config).total_cycles
    }

    /// Cycles of every part for a choice of tiles. Panics like [`CostModel::steps`].
    pub fn cycles(&self, tiles: &[Vec<u32>]) -> Cycles {
        let time = timeline(&self.steps(tiles), &self.config);
        let mut layers = vec![0; self.layers.len()];
        let mut before = 0;
        for (planned, end) in self.program.iter().zip(&time.end_cycle) {
            if let Some(layer) = planned.layer {
                layers[layer] += end.saturating_sub(before);
            }
            before = before.max(*end);
        }
        let transfer = time.total_cycles - layers.iter().sum::<u64>();
        Cycles { total: time.total_cycles, layers, transfer }
    }

    /// Streaming cycles that one tile removed from any block of a layer saves.
    pub fn cycles_per_tile(&self, layer: usize) -> u64 {
        self.network.layers[layer].cycles_per_tile(&self.config)
    }

    /// Instructions of the program, the final END included.
    pub fn instructions(&self) -> usize {
        self.program.len() + 1
    }

    /// Words of weights for a choice of tiles: in a memory on the chip each block once, shared by all its rectangles; in a
    /// stream once for each rectangle.
    pub fn weight_words(&self, tiles: &[Vec<u32>]) -> usize {
        self.network.layers.iter().zip(tiles).map(|(shape, tiles)| own_words(shape, tiles, &self.config)).sum()
    }

    /// Bytes of every lane that living tensors take at the fullest moment: a lower bound for any
    /// allocation. A tensor lives from the layer that writes it to the last that reads it.
    pub fn live_bytes(&self) -> usize {
        crate::figures::live_bytes(&self.network)
    }

    /// The configuration with absent memory depths chosen for this program.
    pub fn resolved_config(&self, tiles: &[Vec<u32>]) -> AcceleratorConfig {
        self.config.with_depths_for(self.weight_words(tiles), self.instructions())
    }
}

/// Words of weights that a layer adds to those of earlier ones: in a memory time steps share them.
pub(crate) fn own_words(shape: &LayerGeometry, tiles: &[u32], config: &AcceleratorConfig) -> usize {
    let shared = shape.shares_words.is_some() && config.external().is_none();
    if shared { 0 } else { layer_words(shape, tiles, config) }
}

/// Words of weights of a layer, all its parts included.
pub(crate) fn layer_words(shape: &LayerGeometry, tiles: &[u32], config: &AcceleratorConfig) -> usize {
    let words = |(block, tiles): (usize, &u32)| {
        (tiles + shape.tiles_before(block, *tiles)) as usize * config.rows + PARAMETER_WORDS
    };
    let once: usize = tiles.iter().enumerate().map(words).sum();
    once * weight_copies(shape, config) + shape.table_words(config)
}

/// How often the weights of a layer are in the program: in a stream once for each rectangle; in a memory on the chip once,
/// unless several sources lie elsewhere for every strip.
pub fn weight_copies(shape: &LayerGeometry, config: &AcceleratorConfig) -> usize {
    match config.external() {
        Some(_) => shape.pixel_tiles.len(),
        None if shape.weighted_sources().len() > 1 => shape.strips.len(),
        None => 1,
    }
}

/// Tiles of every block if vectors whose weights in `graph` are all zero are left out. `graph` is
/// the graph that `model` was made from, or one that differs in weights only.
pub fn tiles_of_weights(model: &CostModel, graph: &Graph) -> Vec<Vec<u32>> {
    let Ok(graph) = unrolled(graph) else { return model.dense.clone() };
    model
        .layers
        .iter()
        .zip(&model.network.layers)
        .zip(&model.dense)
        .map(|((layer, shape), dense)| {
            let ArrayOp::Conv { node, .. } = layer.op else { return dense.clone() };
            let (Op::Conv(espalier_ir::Conv { weight, .. }) | Op::Gemm { weight, .. }) = graph.node(node).op else {
                return dense.clone();
            };
            let weights = graph.param(weight).as_f32();
            let taps = shape.kernel;
            let per_output = weights.len() / shape.conv_shape[0];
            let nonzero = |block: usize, v: &crate::Vector| {
                let block = shape.blocks[block];
                let has_weight = |j: &usize| {
                    weight_index(shape, v, block.first + j).is_some_and(|[o, i, ky, _]| {
                        let row = o * per_output + (i * taps[0] + ky) * taps[1];
                        shape.taps_of(v).any(|kx| weights[row + kx] != 0.0)
                    })
                };
                (0..block.columns).filter(has_weight).fold(0, |columns, j| columns | 1 << j)
            };
            crate::tiles_of_mask(shape, &model.config, &nonzero)
        })
        .collect()
}

/// Weights of a layer for which its tiles have room: each column of each row takes one weight of the vectors in its lane. A
/// lane-balanced pruner keeps as many. A residual operand does not count. `fill` is that of the dense tiles.
pub(crate) fn kept_weights(fill: &[Vec<TileFill>], tiles: &[u32]) -> u64 {
    fill.iter().zip(tiles).flat_map(|(fill, tiles)| fill.iter().take(*tiles as usize)).map(|tile| tile.weights).sum()
}
