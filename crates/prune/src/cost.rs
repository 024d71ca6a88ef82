//! Cycles of a network whose channel counts vary, by the target's own geometry and timeline.
//!
//! The search asks for thousands of variants of one network. What a layer looks like depends only on
//! the widths of what it reads and writes, and on what a selection picks, so layers are cached by those.

use std::collections::HashMap;

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostics, Graph, LayerSource, array_layers, unrolled};
use espalier_target::{
    AcceleratorConfig, CostModel, LayerGeometry, NetworkGeometry, Step, dense_tiles, geometry, graph_ends, plan,
    timeline,
};

use crate::{ChannelRef, DependencyGroups};

/// Cycles of a program with the given tiles.
pub(crate) fn program_cycles(network: &NetworkGeometry, tiles: &[Vec<u32>], config: &AcceleratorConfig) -> u64 {
    let steps: Vec<Step> = plan(network, config, tiles).into_iter().map(|p| p.step).collect();
    timeline(&steps, config).total_cycles
}

/// Cycles that a graph takes with all its vectors.
///
/// # Errors
/// If the accelerator cannot execute or hold the network.
pub fn dense_cycles(graph: &Graph, config: &AcceleratorConfig) -> Result<u64, Diagnostics> {
    let model = CostModel::new(graph, config)?;
    Ok(model.total_cycles(model.dense_tiles()))
}

/// Number of channels of a tensor as a function of the channels kept in each group.
#[derive(Clone)]
pub(crate) struct Width {
    fixed: usize,
    /// Group and, for each number of kept channels, how many indices they cover.
    parts: Vec<(usize, Vec<usize>)>,
}

impl Width {
    pub fn at(&self, counts: &[usize]) -> usize {
        self.fixed + self.parts.iter().map(|(group, covered)| covered[counts[*group]]).sum::<usize>()
    }

    /// The groups that it depends on.
    pub fn groups(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|(group, _)| *group)
    }
}

/// A selection whose channels come and go, of a layer or of its residual operand. Channels are named by group and place in the order of keeping.
#[derive(Clone)]
pub(crate) struct Selection {
    channels: Vec<Option<usize>>,
    source: Vec<(usize, usize)>,
    output: Vec<(usize, usize)>,
}

impl Selection {
    pub fn new(graph: &Graph, groups: &DependencyGroups, layer: &ArrayLayer, order: &[Vec<usize>]) -> Option<Self> {
        let selection = match (&layer.op, &layer.residual) {
            (ArrayOp::Select { channels }, _) => Some((layer.nodes[0], channels)),
            (_, Some(residual)) => residual.select.zip(residual.channels.as_ref()),
            _ => None,
        };
        let (node, channels) = selection?;
        let places = |node| {
            let place = |c: &ChannelRef| {
                let place = order[c.group].iter().position(|o| *o == c.channel).expect("orders name all channels");
                (c.group, place)
            };
            groups.value_channels(graph.origin(node)).iter().map(place).collect()
        };
        let source = places(graph.operands(node)[0]);
        Some(Selection { channels: channels.clone(), source, output: places(node) })
    }

    /// What remains of the selection: for each channel 0 for zeros, else one more than the channel it copies.
    pub fn at<'a>(&'a self, counts: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        let kept = |(group, place): &(usize, usize)| *place < counts[*group];
        let mut next = 0;
        let positions: Vec<usize> = self
            .source
            .iter()
            .map(|s| {
                next += usize::from(kept(s));
                next
            })
            .collect();
        let output = self.output.iter().zip(&self.channels).filter(move |(o, _)| kept(o));
        output.map(move |(_, channel)| channel.map_or(0, |c| positions[c]))
    }
}

/// The cost of channel counts.
pub(crate) struct ChannelCost<'a> {
    config: &'a AcceleratorConfig,
    layers: Vec<ArrayLayer>,
    widths: Vec<Width>,
    selections: Vec<Option<Selection>>,
    input_shapes: Vec<[usize; 3]>,
    outputs: Vec<LayerSource>,
    current: NetworkGeometry,
    keys: Vec<Vec<usize>>,
    tiles: Vec<Vec<u32>>,
    known_layers: HashMap<(usize, Vec<usize>), (LayerGeometry, Vec<u32>)>,
    known_totals: HashMap<Vec<usize>, u64>,
}

impl<'a> ChannelCost<'a> {
    /// `order[g]` lists the channels of a group in the order in which they are kept.
    pub fn new(
        graph: &Graph,
        groups: &DependencyGroups,
        order: &[Vec<usize>],
        config: &'a AcceleratorConfig,
    ) -> Result<Self, Diagnostics> {
        let graph = &*unrolled(graph)?;
        let layers = array_layers(graph)?;
        let (input_shapes, outputs) = graph_ends(graph, &layers);
        let current = geometry(&layers, &input_shapes, &outputs, config)?;
        let widths = layers.iter().map(|l| width(graph, groups, l, order)).collect();
        let selections = layers.iter().map(|l| Selection::new(graph, groups, l, order)).collect();
        let tiles = current.layers.iter().map(|l| dense_tiles(l, config)).collect();
        let mut cost = ChannelCost {
            config,
            keys: Vec::new(),
            layers,
            widths,
            selections,
            input_shapes,
            outputs,
            current,
            tiles,
            known_layers: HashMap::new(),
            known_totals: HashMap::new(),
        };
        let counts: Vec<usize> = groups.groups.iter().map(|g| g.channels).collect();
        cost.keys = (0..cost.layers.len()).map(|l| cost.key(l, &counts)).collect();
        for (layer, key) in cost.keys.iter().enumerate() {
            let known = (cost.current.layers[layer].clone(), cost.tiles[layer].clone());
            cost.known_layers.insert((layer, key.clone()), known);
        }
        Ok(cost)
    }

    /// Cycles with `counts[g]` channels of each group.
    pub fn cycles(&mut self, counts: &[usize]) -> Result<u64, Diagnostics> {
        if let Some(cycles) = self.known_totals.get(counts) {
            return Ok(*cycles);
        }
        let keys: Vec<Vec<usize>> = (0..self.layers.len()).map(|l| self.key(l, counts)).collect();
        let missing = keys
            .iter()
            .enumerate()
            .any(|(l, k)| *k != self.keys[l] && !self.known_layers.contains_key(&(l, k.clone())));
        if missing {
            self.learn(&keys)?;
        }
        for (layer, key) in keys.into_iter().enumerate() {
            if key != self.keys[layer] {
                let (geometry, tiles) = self.known_layers[&(layer, key.clone())].clone();
                self.current.layers[layer] = geometry;
                self.tiles[layer] = tiles;
                self.keys[layer] = key;
            }
        }
        let cycles = program_cycles(&self.current, &self.tiles, self.config);
        self.known_totals.insert(counts.to_vec(), cycles);
        Ok(cycles)
    }

    /// Widths of the sources of a layer, then of its output; then what a selection picks.
    fn key(&self, layer: usize, counts: &[usize]) -> Vec<usize> {
        let sources = self.layers[layer].sources.iter().map(|s| match s {
            LayerSource::Input(i) => self.input_shapes[*i][0],
            LayerSource::Layer(i) => self.widths[*i].at(counts),
        });
        let picked = self.selections[layer].iter().flat_map(|s| s.at(counts));
        sources.chain([self.widths[layer].at(counts)]).chain(picked).collect()
    }

    /// Lays the network out anew and remembers its layers.
    fn learn(&mut self, keys: &[Vec<usize>]) -> Result<(), Diagnostics> {
        let layers: Vec<ArrayLayer> = self.layers.iter().zip(keys).map(|(l, key)| narrowed(l, key)).collect();
        let network = geometry(&layers, &self.input_shapes, &self.outputs, self.config)?;
        for ((index, key), layer) in keys.iter().enumerate().zip(network.layers) {
            let config = self.config;
            self.known_layers.entry((index, key.clone())).or_insert_with(|| {
                let tiles = dense_tiles(&layer, config);
                (layer, tiles)
            });
        }
        Ok(())
    }
}

/// The layer with other channel counts, as `ChannelCost::key` lists them.
fn narrowed(layer: &ArrayLayer, key: &[usize]) -> ArrayLayer {
    let mut narrow = layer.clone();
    let (sources, rest) = key.split_at(layer.sources.len());
    let (output, picked) = rest.split_first().expect("a key names the output");
    let selected = match (&mut narrow.op, &mut narrow.residual) {
        (ArrayOp::Select { channels }, _) => Some(channels),
        (_, Some(residual)) => residual.channels.as_mut(),
        _ => None,
    };
    if let Some(channels) = selected {
        *channels = picked.iter().map(|c| c.checked_sub(1)).collect();
    }
    if let ArrayOp::Conv { groups, .. } | ArrayOp::ConvTranspose { groups, .. } = &mut narrow.op
        && *groups > 1
        && *groups == layer.in_shapes[0][0]
    {
        *groups = sources[0];
    }
    narrow.in_shapes.iter_mut().zip(sources).for_each(|(shape, channels)| shape[0] = *channels);
    narrow.conv_shape[0] = *output;
    narrow.out_shape[0] = *output;
    narrow
}

/// The width of a layer's output; `graph` may be unrolled, unlike the one that the groups are of.
pub(crate) fn width(graph: &Graph, groups: &DependencyGroups, layer: &ArrayLayer, order: &[Vec<usize>]) -> Width {
    let mut occurrences: std::collections::BTreeMap<usize, Vec<usize>> = Default::default();
    for channel in groups.value_channels(graph.origin(layer.output_node())) {
        let counts = occurrences.entry(channel.group).or_insert_with(|| vec![0; groups.groups[channel.group].channels]);
        counts[channel.channel] += 1;
    }
    let mut width = Width { fixed: 0, parts: Vec::new() };
    for (group, occurrences) in occurrences {
        if groups.groups[group].frozen.is_some() {
            width.fixed += occurrences.iter().sum::<usize>();
            continue;
        }
        let mut covered = vec![0];
        for channel in &order[group] {
            covered.push(covered[covered.len() - 1] + occurrences[*channel]);
        }
        width.parts.push((group, covered));
    }
    width
}
