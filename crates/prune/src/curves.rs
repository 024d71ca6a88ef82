//! What a layer loses when vectors go, at any channel counts and tile level.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use espalier_ir::{ArrayLayer, LayerSource};
use espalier_target::{AcceleratorConfig, Columns, Connectivity, LayerGeometry, NetworkGeometry, block_vectors};

use crate::combine::Candidates;
use crate::masks::combined_gains;
use crate::network_cost::{LEVELS, kept_tiles};
use crate::tables::VectorLoss;
use crate::{DependencyGroups, Normalization, VectorScores};

/// By layer and kept channels.
type Known = HashMap<(usize, Vec<usize>), Vec<f64>>;

/// Loss curves of all layers, computed when asked for.
///
/// The scores are those of the whole network. At other counts, the vectors of the channels that are
/// kept compete for the lanes that these channels then have; of each block the best stay, and tiles
/// are divided among the blocks by importance.
pub(crate) struct Curves<'a> {
    network: &'a NetworkGeometry,
    config: &'a AcceleratorConfig,
    scores: &'a VectorScores,
    /// For each layer that reads one tensor: group and rank of each of its channels.
    sources: Vec<Vec<(usize, usize)>>,
    /// Least fraction of the tiles of a layer.
    min_keep: f64,
    known: RefCell<Known>,
}

impl<'a> Curves<'a> {
    pub fn new(
        network: &'a NetworkGeometry,
        config: &'a AcceleratorConfig,
        layers: &[ArrayLayer],
        groups: &DependencyGroups,
        orders: &[Vec<usize>],
        scores: &'a VectorScores,
        min_keep: f64,
    ) -> Self {
        let rank = |group: usize, channel: usize| orders[group].iter().position(|c| *c == channel).unwrap_or(0);
        let channels = |layer: &LayerGeometry| match layer.sources[0].source {
            LayerSource::Layer(i) => {
                let read = groups.value_channels(layers[i].output_node());
                read.iter().map(|c| (c.group, rank(c.group, c.channel))).collect()
            }
            LayerSource::Input(_) => Vec::new(),
        };
        let sources = network.layers.iter().map(channels).collect();
        Curves { network, config, scores, sources, min_keep, known: RefCell::default() }
    }

    /// Channels of the source that are kept, ascending.
    fn kept(&self, layer: usize, counts: &[usize]) -> Vec<usize> {
        match &self.sources[layer][..] {
            [] => (0..self.network.layers[layer].sources[0].layout.shape[0]).collect(),
            channels => (0..channels.len()).filter(|i| channels[*i].1 < counts[channels[*i].0]).collect(),
        }
    }

    /// Loss at each level if the channels `kept` are read.
    fn curve(&self, layer: usize, kept: &[usize]) -> Vec<f64> {
        let shape = &self.network.layers[layer];
        let Some(scores) = &self.scores.scores[layer] else { return vec![0.0; LEVELS.len()] };
        let layout = shape.sources[0].layout.with_channels(kept.len().max(1));
        let lanes: BTreeMap<usize, usize> = kept.iter().enumerate().map(|(new, c)| (*c, layout.lane(new, 0))).collect();
        let mut gains: Vec<f64> = Vec::new();
        let mut tiles = 1;
        for (block, scores) in scores.iter().enumerate() {
            let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (i, vector) in block_vectors(shape, block).enumerate() {
                if let Some(lane) = lanes.get(&vector.channel) {
                    classes.entry(*lane).or_default().push(i);
                }
            }
            let of_block = classes.values().map(|c| c.len().div_ceil(layout.replicas)).max().unwrap_or(1);
            tiles = tiles.max(of_block);
            let columns = self.scores.columns.as_ref().and_then(|c| c[layer].as_ref()).map(|c| &c[block]);
            let mut of_tile = vec![0.0; of_block];
            for class in classes.values_mut() {
                let added = match columns {
                    None => {
                        class.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                        let held = |tile: &[usize]| tile.iter().map(|i| scores[*i]).sum();
                        class.chunks(layout.replicas).map(held).collect()
                    }
                    Some(columns) => pair_gains(columns, class, layout.replicas, of_block, self.config),
                };
                of_tile.iter_mut().zip(added).for_each(|(sum, added): (&mut f64, f64)| *sum += added);
            }
            gains.extend(of_tile);
        }
        gains.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = gains.iter().sum();
        let worth = |kept: f64| self.scores.normalization.worth(kept, total);
        let lost = |level: usize| {
            let kept = kept_tiles(&[tiles as u32], level)[0] as usize * scores.len();
            worth(total) - worth(gains.iter().take(kept).sum::<f64>().min(total))
        };
        (0..LEVELS.len()).map(lost).collect()
    }
}

/// Points at which pairs are chosen: the levels are not more.
const PAIR_POINTS: usize = 8;

/// Importance that each tile adds whose rows hold two of the vectors `class`.
fn pair_gains(
    columns: &[Vec<f64>],
    class: &[usize],
    replicas: usize,
    tiles: usize,
    config: &AcceleratorConfig,
) -> Vec<f64> {
    let scores: Vec<Vec<f64>> = class.iter().map(|i| columns[*i].clone()).collect();
    let bit = |(j, score): (usize, &f64)| if *score > 0.0 { 1 << j } else { 0 };
    let live: Vec<Columns> =
        scores.iter().map(|v| v.iter().enumerate().map(bit).fold(0, |a, b: Columns| a | b)).collect();
    combined_gains(&Candidates::new(&scores, &live, config), replicas, tiles, PAIR_POINTS)
}

impl VectorLoss for Curves<'_> {
    fn levels(&self, layer: usize) -> usize {
        let shape = &self.network.layers[layer];
        if self.scores.scores[layer].is_none() || shape.connectivity != Connectivity::Grouped(1) {
            return 1;
        }
        LEVELS.iter().filter(|share| **share >= self.min_keep).count().max(1)
    }

    fn loss(&self, layer: usize, counts: &[usize], outputs: usize, level: usize) -> f64 {
        if level == 0 || self.scores.scores[layer].is_none() {
            return 0.0;
        }
        let kept = self.kept(layer, counts);
        let mut known = self.known.borrow_mut();
        let key = (layer, kept);
        let curve = match known.get(&key) {
            Some(curve) => curve.clone(),
            None => {
                let curve = self.curve(layer, &key.1);
                known.insert(key, curve.clone());
                curve
            }
        };
        // A share is one of what is left; other scores go with the output channels that they belong to.
        let part = match self.scores.normalization {
            Normalization::Share => 1.0,
            _ => outputs as f64 / self.network.layers[layer].conv_shape[0] as f64,
        };
        curve[level] * part
    }
}
