//! All figures that a budget may limit, for any channel counts and tiles: of one layer, and of a network.
//!
//! Layers add up but for two figures. Cycles overlap between layers; [`least_layer_cycles`] is what a
//! layer adds at least. Activations live together; [`live_tensors`] says which.

use serde::{Deserialize, Serialize};

use crate::cost::{kept_weights, own_words};
use crate::energy::{dynamic_energy, static_nj, transfer_nj};
use crate::resources::resources;
use crate::steps::{barriers, layer_steps, loads};
use crate::tiles::dense_fill;
use crate::timing::{Stretch, least_cycles};
use crate::{AcceleratorConfig, Connectivity, LayerGeometry, NetworkGeometry, Resources, Step, Target, plan, timeline};
use espalier_ir::LayerSource;

/// What a network takes on one accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Cycles of one inference, from start to done.
    pub cycles: u64,
    /// Energy of one inference, nJ, external memory included; the event counts of the estimate.
    pub energy_nj: f64,
    /// Hardware multipliers of the array; 0 without an FPGA.
    pub multipliers: u64,
    /// Logic cells (look-up tables) of the accelerator; 0 without an FPGA.
    pub logic_cells: u64,
    /// Block RAMs of all kinds for the smallest memories (powers of two) that hold this network; 0 without an FPGA.
    pub block_rams: u64,
    /// Bytes of weight memory that the program fills: weights, row offsets, biases and shifts. With streamed weights those
    /// that it reads from external memory.
    pub weight_bytes: u64,
    /// Bytes of all lanes that living tensors take at the fullest moment, halo and replicas included.
    pub activation_bytes: u64,
    /// Multiply-accumulate operations for which the tiles have room, as in the estimate.
    pub macs: u64,
    /// Weights for which the tiles have room and one bias for each output channel, over all layers.
    pub parameters: u64,
    /// Instructions of the program, the final END included.
    pub instructions: u64,
}

/// What one layer adds to the figures of its network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerFigures {
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Weights and biases.
    pub parameters: u64,
    /// Words of weight memory, or of the stream of weights.
    pub weight_words: u64,
    /// Energy of the counted events, nJ; the static power comes with the cycles.
    pub dynamic_nj: f64,
}

/// Figures of a layer with `tiles[block]` weight tiles.
pub fn layer_figures(
    shape: &LayerGeometry,
    tiles: &[u32],
    target: &Target,
    config: &AcceleratorConfig,
) -> LayerFigures {
    let weights = kept_weights(&dense_fill(shape, config), tiles) + shape.joined_weights();
    let channels = shape.conv_shape[0] as u64;
    let parameters = match shape.connectivity {
        Connectivity::Grouped(_) => weights + channels,
        _ if shape.op_name == "BatchNormalization" => 2 * channels,
        _ => 0,
    };
    let macs = weights * shape.conv_pixels();
    LayerFigures {
        macs,
        parameters,
        weight_words: own_words(shape, tiles, config) as u64,
        dynamic_nj: dynamic_energy(shape, tiles, macs, config, target).dynamic_uj() * 1e3,
    }
}

/// Figures of a network with `tiles[layer][block]` weight tiles.
///
/// # Panics
/// If `tiles` does not have an entry for every block of every layer: a bug of the caller.
pub fn figures(network: &NetworkGeometry, tiles: &[Vec<u32>], target: &Target, config: &AcceleratorConfig) -> Figures {
    let of = |(shape, tiles): (&LayerGeometry, &Vec<u32>)| layer_figures(shape, tiles, target, config);
    let layers: Vec<LayerFigures> = network.layers.iter().zip(tiles).map(of).collect();
    total_figures(network, tiles, &layers, target, config)
}

/// [`figures`] from those of the layers, where they are known. Panics like it.
pub fn total_figures(
    network: &NetworkGeometry,
    tiles: &[Vec<u32>],
    layers: &[LayerFigures],
    target: &Target,
    config: &AcceleratorConfig,
) -> Figures {
    let steps: Vec<Step> = plan(network, config, tiles).into_iter().map(|p| p.step).collect();
    let cycles = timeline(&steps, config).total_cycles;
    let words: u64 = layers.iter().map(|l| l.weight_words).sum();
    let lane_bytes = live_bytes(network);
    let used = resources(target, &smallest_memories(config, words as usize, steps.len() + 1, lane_bytes));
    Figures {
        cycles,
        energy_nj: layers.iter().map(|l| l.dynamic_nj).sum::<f64>()
            + transfer_nj(network, target, config)
            + static_nj(cycles, target),
        multipliers: amount(&used, &|name| name == "multipliers"),
        // Of the configured lanes, so that they do not depend on the network.
        logic_cells: target.fpga.as_ref().map_or(0, |f| f.logic(config).cells.round() as u64),
        block_rams: block_rams(target, &used),
        weight_bytes: words * weight_word_bytes(config),
        activation_bytes: (lane_bytes * config.rows) as u64,
        macs: layers.iter().map(|l| l.macs).sum(),
        parameters: layers.iter().map(|l| l.parameters).sum(),
        instructions: steps.len() as u64 + 1,
    }
}

/// Bytes of one word of weight memory.
pub fn weight_word_bytes(config: &AcceleratorConfig) -> u64 {
    config.weight_word_bits().div_ceil(8) as u64
}

/// Block RAMs of all kinds for memories of the given fill, each rounded up to a power of two.
pub fn memory_blocks(
    target: &Target,
    config: &AcceleratorConfig,
    weight_words: usize,
    instructions: usize,
    lane_bytes: usize,
) -> u64 {
    block_rams(target, &resources(target, &smallest_memories(config, weight_words, instructions, lane_bytes)))
}

fn smallest_memories(
    config: &AcceleratorConfig,
    weight_words: usize,
    instructions: usize,
    lane_bytes: usize,
) -> AcceleratorConfig {
    // The ring of streamed weights is as deep as it was configured, whatever the program.
    let ring = config.external().map(|memory| memory.ring_words);
    let free = AcceleratorConfig { weight_words: ring, program_instructions: None, ..config.clone() };
    AcceleratorConfig {
        lane_bytes: lane_bytes.max(16).next_power_of_two(),
        ..free.with_depths_for(weight_words, instructions)
    }
}

fn amount(resources: &Resources, named: &dyn Fn(&str) -> bool) -> u64 {
    resources.uses.iter().filter(|u| named(&u.name)).map(|u| u.used as u64).sum()
}

fn block_rams(target: &Target, resources: &Resources) -> u64 {
    let kinds: Vec<&str> = target.fpga.iter().flat_map(|f| &f.memories).map(|m| m.name.as_str()).collect();
    amount(resources, &|name| kinds.contains(&name))
}

/// The tensors that live at each moment: when the inputs are loaded and layer 0 runs, when layer 1
/// runs, and so on, and when the outputs are stored. A tensor lives from the layer that writes it to
/// the last that reads it. Independent of channel counts.
pub fn live_tensors(network: &NetworkGeometry) -> Vec<Vec<LayerSource>> {
    let (inputs, count) = (network.inputs.len(), network.layers.len());
    let all = (0..inputs).map(LayerSource::Input).chain((0..count).map(LayerSource::Layer));
    let lives = |source: LayerSource| {
        let first = if let LayerSource::Layer(layer) = source { layer } else { 0 };
        let reads = |i: &usize| network.layers[*i].sources.iter().any(|s| s.source == source);
        let last = if network.outputs.contains(&source) { Some(count) } else { (0..count).rev().find(reads) };
        first..=last.unwrap_or(first)
    };
    let spans: Vec<(LayerSource, std::ops::RangeInclusive<usize>)> = all.map(|s| (s, lives(s))).collect();
    (0..=count).map(|now| spans.iter().filter(|(_, span)| span.contains(&now)).map(|(s, _)| *s).collect()).collect()
}

/// Bytes of every lane that living tensors take at the fullest moment: a lower bound for any allocation.
pub fn live_bytes(network: &NetworkGeometry) -> usize {
    network.residence.live_bytes(network)
}

/// The least that a layer with these tiles adds to the cycles of any program in which it stands at
/// the same place: the sum over all layers is at most the cycles of the whole program. The first
/// layer counts from the start with the loading of inputs, the last one to the end with the storing
/// of outputs. `network` gives the tensors around the layer, whose channels do not matter, and the
/// inputs and outputs.
///
/// The timing is a max-plus system: each event is the latest of some earlier ones plus constants, so
/// it is monotone, and adding to all times moves the result by as much. Started with nothing known
/// but the end of the drain before, it gives a lower bound of the distance to the end of its own.
pub fn least_layer_cycles(
    network: &NetworkGeometry,
    layer: usize,
    shape: &LayerGeometry,
    tiles: &[u32],
    config: &AcceleratorConfig,
) -> u64 {
    let mut steps: Vec<Step> = if layer == 0 { loads(network, config) } else { Vec::new() };
    steps.extend(layer_steps(shape, config, tiles, barriers(network, layer)));
    let stretch = Stretch { first: layer == 0, last: layer + 1 == network.layers.len() };
    if stretch.last {
        let rects = network.outputs.iter().flat_map(|source| match source {
            LayerSource::Layer(i) if *i == layer => shape.output.element_rects(),
            source => network.layout(*source).element_rects(),
        });
        steps.extend(rects.map(|rect| Step::Store { beats: rect.cells() as u32 }));
    }
    least_cycles(&steps, config, stretch)
}

/// The largest array, no larger than `config` on either side, with at most `most` multipliers (or logic cells).
pub fn array_within(
    target: &Target,
    config: &AcceleratorConfig,
    resource: &str,
    most: f64,
) -> Option<AcceleratorConfig> {
    let smaller = |rows: usize, cols: usize| AcceleratorConfig { rows, cols, ..config.clone() };
    let sides = |most: usize| (crate::config::MIN_SIDE..=most).rev();
    let arrays = sides(config.rows).flat_map(|rows| sides(config.cols).map(move |cols| smaller(rows, cols)));
    arrays
        .filter(|array| amount(&resources(target, array), &|n| n == resource) as f64 <= most)
        .max_by_key(|array| (array.macs_per_cycle(), array.rows.min(array.cols)))
}
