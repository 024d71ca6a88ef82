//! Figures of a network for any channel counts and tile levels, by the target's own functions.
//!
//! What a layer looks like depends only on the widths of what it reads and writes, and on what a selection
//! picks, so layers are computed one by one and remembered.

use std::collections::HashMap;

use espalier_ir::{Diagnostics, Graph, LayerSource, array_layers, unrolled};
use espalier_target::{
    AcceleratorConfig, Connectivity, Figures, LayerFigures, LayerGeometry, NetworkGeometry, Target, dense_tiles,
    geometry, graph_ends, layer_figures, least_layer_cycles, total_figures,
};

use crate::DependencyGroups;
use crate::cost::{Selection, Width, width};

/// Fraction of the tiles of a layer that each level keeps; level 0 keeps all.
pub(crate) const LEVELS: [f64; 14] = [1.0, 0.92, 0.84, 0.76, 0.68, 0.6, 0.52, 0.45, 0.38, 0.32, 0.26, 0.2, 0.14, 0.08];

/// One layer at certain widths.
#[derive(Clone)]
pub(crate) struct Layer {
    pub shape: LayerGeometry,
    pub tiles: Vec<u32>,
    pub figures: LayerFigures,
}

/// A network whose channel counts and tile levels vary.
#[derive(Clone)]
pub(crate) struct NetworkCost<'a> {
    pub target: &'a Target,
    pub config: &'a AcceleratorConfig,
    /// With all channels.
    pub network: NetworkGeometry,
    /// Of the output of each layer.
    pub widths: Vec<Width>,
    selections: Vec<Option<Selection>>,
    known: HashMap<(usize, Vec<usize>, usize), Layer>,
    dense: HashMap<(usize, Vec<usize>), u32>,
    /// The layer asked for last, with all tiles.
    newest: Option<(usize, Vec<usize>, LayerGeometry, Vec<u32>)>,
}

impl<'a> NetworkCost<'a> {
    /// `orders[g]` lists the channels of a group in the order in which they are kept.
    pub fn new(
        graph: &Graph,
        groups: &DependencyGroups,
        orders: &[Vec<usize>],
        target: &'a Target,
        config: &'a AcceleratorConfig,
    ) -> Result<Self, Diagnostics> {
        let graph = &*unrolled(graph)?;
        let layers = array_layers(graph)?;
        let (inputs, outputs) = graph_ends(graph, &layers);
        let network = geometry(&layers, &inputs, &outputs, config)?;
        let widths = layers.iter().map(|l| width(graph, groups, l, orders)).collect();
        let selections = layers.iter().map(|l| Selection::new(graph, groups, l, orders)).collect();
        let (known, dense) = (HashMap::new(), HashMap::new());
        Ok(NetworkCost { target, config, network, widths, selections, known, dense, newest: None })
    }

    /// Width of a tensor with `counts[g]` channels of each group.
    pub fn tensor_width(&self, source: LayerSource, counts: &[usize]) -> usize {
        match source {
            LayerSource::Input(i) => self.network.inputs[i].shape[0],
            LayerSource::Layer(i) => self.widths[i].at(counts),
        }
    }

    /// Groups that a tensor's width depends on.
    pub fn tensor_groups(&self, source: LayerSource) -> Vec<usize> {
        match source {
            LayerSource::Input(_) => Vec::new(),
            LayerSource::Layer(i) => self.widths[i].groups().collect(),
        }
    }

    /// Groups that a layer depends on: those of what it reads and of what it writes.
    pub fn layer_groups(&self, layer: usize) -> Vec<usize> {
        let sources = self.network.layers[layer].sources.iter().map(|s| s.source);
        let mut groups: Vec<usize> =
            sources.chain([LayerSource::Layer(layer)]).flat_map(|s| self.tensor_groups(s)).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Bytes of every lane that a tensor takes.
    pub fn tensor_bytes(&self, source: LayerSource, counts: &[usize]) -> usize {
        self.network.layout(source).with_channels(self.tensor_width(source, counts)).bytes()
    }

    /// A layer with the channels `counts` and tile level `level`.
    pub fn layer(&mut self, layer: usize, counts: &[usize], level: usize) -> Layer {
        let key = self.key(layer, counts);
        if self.newest.as_ref().is_none_or(|newest| (newest.0, &newest.1) != (layer, &key)) {
            let (sources, rest) = key.split_at(self.network.layers[layer].sources.len());
            let (output, picked) = rest.split_first().expect("a key names the output");
            let picked: Vec<Option<usize>> = picked.iter().map(|c| c.checked_sub(1)).collect();
            let shape = self.network.layers[layer].with_channels(sources, *output, &picked, self.config);
            let full = self.full_tiles(layer, sources, &shape);
            self.newest = Some((layer, key, shape, full));
        }
        let Some((_, _, shape, full)) = &self.newest else { unreachable!("it was just set") };
        let tiles = kept_tiles(full, level);
        Layer { figures: layer_figures(shape, &tiles, self.target, self.config), tiles, shape: shape.clone() }
    }

    /// Tiles of all blocks of a layer that reads tensors of the given widths.
    fn full_tiles(&mut self, layer: usize, sources: &[usize], shape: &LayerGeometry) -> Vec<u32> {
        if shape.connectivity != Connectivity::Grouped(1) {
            return dense_tiles(shape, self.config);
        }
        // All blocks read the same vectors.
        let config = self.config;
        let tiles = self.dense.entry((layer, sources.to_vec())).or_insert_with(|| {
            let first = LayerGeometry { blocks: vec![shape.blocks[0]], ..shape.clone() };
            dense_tiles(&first, config)[0]
        });
        vec![*tiles; shape.blocks.len()]
    }

    /// Widths of the sources of a layer, then of its output; then what a selection picks.
    fn key(&self, layer: usize, counts: &[usize]) -> Vec<usize> {
        let sources = self.network.layers[layer].sources.iter().map(|s| self.tensor_width(s.source, counts));
        let picked = self.selections[layer].iter().flat_map(|s| s.at(counts));
        sources.chain([self.widths[layer].at(counts)]).chain(picked).collect()
    }

    /// The least that a layer adds to the cycles of any program.
    pub fn least_cycles(&self, layer: usize, at: &Layer) -> u64 {
        least_layer_cycles(&self.network, layer, &at.shape, &at.tiles, self.config)
    }

    /// Exact figures, and tiles of all blocks.
    pub fn exact(&mut self, counts: &[usize], levels: &[usize]) -> (Figures, Vec<Vec<u32>>) {
        let mut network = NetworkGeometry { layers: Vec::with_capacity(levels.len()), ..self.without_layers() };
        let (mut tiles, mut figures) = (Vec::new(), Vec::new());
        for (layer, level) in levels.iter().enumerate() {
            let key = self.key(layer, counts);
            if !self.known.contains_key(&(layer, key.clone(), *level)) {
                let computed = self.layer(layer, counts, *level);
                self.known.insert((layer, key.clone(), *level), computed);
            }
            let known = &self.known[&(layer, key, *level)];
            network.layers.push(known.shape.clone());
            tiles.push(known.tiles.clone());
            figures.push(known.figures);
        }
        (total_figures(&network, &tiles, &figures, self.target, self.config), tiles)
    }

    fn without_layers(&self) -> NetworkGeometry {
        NetworkGeometry {
            inputs: self.network.inputs.clone(),
            layers: Vec::new(),
            outputs: self.network.outputs.clone(),
            residence: self.network.residence.clone(),
        }
    }
}

/// The tiles of each block at a level, at least one.
pub(crate) fn kept_tiles(full: &[u32], level: usize) -> Vec<u32> {
    full.iter().map(|t| ((f64::from(*t) * LEVELS[level]).ceil() as u32).clamp(1, (*t).max(1))).collect()
}
