//! What a network costs on a target: cycles, time, energy and resources, layer by layer.

use espalier_ir::{Diagnostic, Diagnostics, Graph};
use serde::{Deserialize, Serialize};

use crate::config::{MAX_LANE_BYTES, PARAMETER_WORDS};
use crate::cost::{CostModel, Cycles, kept_weights};
use crate::device::{Confidence, Energy};
use crate::energy::{EnergySplit, dynamic_energy, static_nj, transfer_energy};
use crate::resources::{Resources, resources};
use crate::tiles::TileFill;
use crate::{AcceleratorConfig, LayerGeometry, PixelTile, Target};

/// What a layer loses most cycles to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bottleneck {
    /// Nothing much: more than 80 % of the cycles do useful work.
    Compute,
    /// Fewer pixels than rows: loading the next weights takes longer than the pass.
    WeightLoad,
    /// Rows without a vector in some tiles.
    IdleRows,
    /// Columns without an output channel, or without a weight in the vector (channel-wise layers).
    IdleColumns,
    /// Clusters without a row of the map.
    IdleClusters,
    /// Write-back, halo filling and pipeline latency that the stream does not hide.
    WriteBack,
    /// Streamed weights arrive more slowly than the array uses them.
    Memory,
}

impl Bottleneck {
    /// A sentence for the report.
    pub fn reason(self) -> &'static str {
        match self {
            Bottleneck::Compute => "the array is busy",
            Bottleneck::WeightLoad => "a pass has fewer pixels than the array has rows, so weights load too slowly",
            Bottleneck::IdleRows => "some lanes have fewer vectors than others",
            Bottleneck::IdleColumns => "many columns have no weight to multiply with",
            Bottleneck::IdleClusters => "the map has too few rows for all clusters",
            Bottleneck::Memory => "weights arrive from external memory too slowly",
            Bottleneck::WriteBack => "write-back and halo filling are not hidden by the stream",
        }
    }
}

/// Where the cycles of a layer go. The parts add up to its cycles; where its end overlaps with the next layer, the
/// write-back part is negative.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CycleUse {
    /// Every row and column multiplies.
    pub compute: f64,
    /// The array waits for weights.
    pub weight_load: f64,
    /// Rows without a vector, in cycles of all arrays.
    pub idle_rows: f64,
    /// Columns without a weight, likewise.
    pub idle_columns: f64,
    /// Clusters without a row of the map, likewise.
    #[serde(default)]
    pub idle_clusters: f64,
    /// The array waits for weights from external memory.
    pub memory: f64,
    /// Write-back, halo filling and pipeline latency that the stream does not hide.
    pub write_back: f64,
}

impl CycleUse {
    /// What costs most; compute if it takes more than 80 %.
    fn bottleneck(&self, cycles: u64) -> Bottleneck {
        if self.compute > 0.8 * cycles as f64 {
            return Bottleneck::Compute;
        }
        let losses = [
            (Bottleneck::WeightLoad, self.weight_load),
            (Bottleneck::IdleRows, self.idle_rows),
            (Bottleneck::IdleColumns, self.idle_columns),
            (Bottleneck::IdleClusters, self.idle_clusters),
            (Bottleneck::Memory, self.memory),
            (Bottleneck::WriteBack, self.write_back),
        ];
        losses.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(Bottleneck::Compute, |(cause, _)| cause)
    }
}

/// The least cycles of a layer, by what has to happen in them; the largest is the layer's roofline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// Every processing element multiplies in every cycle.
    pub compute: u64,
    /// One row of weights, or of biases and shifts, is loaded in every cycle.
    pub weight_stream: u64,
    /// External memory delivers its bytes in every cycle; 0 if the weights are on the chip.
    pub memory: u64,
}

impl Roofline {
    /// The largest with its name.
    pub fn bound(&self) -> (u64, &'static str) {
        let bounds = [(self.memory, "memory"), (self.weight_stream, "weight stream"), (self.compute, "compute")];
        bounds.into_iter().max_by_key(|(cycles, _)| *cycles).unwrap_or_default()
    }
}

/// Cost of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerCost {
    /// Name of the layer.
    pub name: String,
    /// ONNX operator.
    pub op_name: &'static str,
    /// The layer that does the same at the first time step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<usize>,
    /// Cycles.
    pub cycles: u64,
    /// Cycles without pruning.
    pub dense_cycles: u64,
    /// Weight tiles over all blocks.
    pub tiles: u64,
    /// The same without pruning.
    pub dense_tiles: u64,
    /// Multiply-accumulate operations with a weight (also those of additions and pooling).
    pub macs: u64,
    /// The same without pruning.
    pub dense_macs: u64,
    /// Time, ms.
    pub latency_ms: f64,
    /// The least cycles that it could take.
    pub roofline: Roofline,
    /// Bytes that the lanes deliver a cycle.
    pub lane_bytes_per_cycle: f64,
    /// Bytes of weights that the layer reads from external memory a cycle; 0 if they are on the chip.
    pub memory_bytes_per_cycle: f64,
    /// `macs / (rows * cols * clusters * cycles)`, 0 to 1.
    pub utilization: f64,
    /// What costs most of the rest.
    pub bottleneck: Bottleneck,
    /// Where the cycles go.
    pub cycle_use: CycleUse,
    /// Weights that the loader brings, bytes.
    pub weight_bytes_loaded: u64,
    /// Energy, uJ.
    pub energy_uj: f64,
    /// Where it goes.
    pub energy: EnergySplit,
}

/// Cost of a network on a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostEstimate {
    /// Name of the target.
    pub target: String,
    /// The configuration with all memory depths.
    pub config: AcceleratorConfig,
    /// Layers in execution order.
    pub layers: Vec<LayerCost>,
    /// Cycles for loading inputs and storing outputs.
    pub transfer_cycles: u64,
    /// Cycles from start to done.
    pub cycles: u64,
    /// The same without pruning.
    pub dense_cycles: u64,
    /// Multiply-accumulate operations kept.
    pub macs: u64,
    /// The same without pruning.
    pub dense_macs: u64,
    /// `macs / (rows * cols * clusters * cycles)`, 0 to 1.
    pub utilization: f64,
    /// Clock, MHz.
    pub clock_mhz: f64,
    /// How sure the clock is.
    pub clock_confidence: Confidence,
    /// Time of one inference, ms.
    pub latency_ms: f64,
    /// Energy of one inference, external memory included, uJ.
    pub energy_uj: f64,
    /// Least and most that it may be, from how sure each constant is, uJ.
    pub energy_range_uj: [f64; 2],
    /// Where it goes, transfers included.
    pub energy: EnergySplit,
    /// How sure the energy is: the least sure of its constants.
    pub energy_confidence: Confidence,
    /// Words of weight memory used.
    pub weight_words: usize,
    /// Instructions used, the final END included.
    pub instructions: usize,
    /// Bytes of every lane that living tensors take at the fullest moment, before fragmentation.
    pub lane_bytes: usize,
    /// Resources.
    pub resources: Resources,
}

/// Estimates a network. `tiles[layer][block]` are the weight tiles kept; `None` = nothing pruned.
///
/// MACs are those for which the tiles have room, every lane filled: what a lane-balanced pruner
/// keeps. Resources do not make the estimate fail; see `resources.fits`.
///
/// # Errors
/// Everything in the graph that the accelerator or the configuration cannot hold, and tile counts
/// that do not belong to the graph.
pub fn estimate(
    graph: &Graph,
    target: &Target,
    config: &AcceleratorConfig,
    tiles: Option<&[Vec<u32>]>,
) -> Result<CostEstimate, Diagnostics> {
    let model = CostModel::new(graph, config)?;
    let tiles = tiles.unwrap_or(model.dense_tiles());
    check_tiles(&model, tiles)?;
    check_lanes(graph, &model)?;
    Ok(estimate_model(&model, target, tiles))
}

fn check_tiles(model: &CostModel, tiles: &[Vec<u32>]) -> Result<(), Diagnostics> {
    let dense = model.dense_tiles();
    let same_shape = tiles.len() == dense.len() && tiles.iter().zip(dense).all(|(t, d)| t.len() == d.len());
    if !same_shape || tiles.iter().flatten().any(|t| *t == 0) {
        let message = "the tile counts do not belong to this graph and configuration";
        return Err(Diagnostic::error("foreign-tiles", "tile counts", message).into());
    }
    Ok(())
}

fn check_lanes(graph: &Graph, model: &CostModel) -> Result<(), Diagnostics> {
    let (live, held) = (model.live_bytes(), model.config().lane_bytes);
    if live <= held {
        return Ok(());
    }
    let message = format!("tensors that live at once take {live} bytes of every lane, the lanes have {held}");
    let help = if live <= MAX_LANE_BYTES {
        format!("set 'lane_bytes' to at least {}", live.next_power_of_two())
    } else {
        format!("use more than {} rows, or shrink the network's input", model.config().rows)
    };
    Err(Diagnostic::error("lanes-too-small", format!("network '{}'", graph.name), message).with_help(help).into())
}

/// Estimates a planned network; `tiles` has a positive entry for every block.
///
/// # Panics
/// If it does not: a bug of the caller.
pub fn estimate_model(model: &CostModel, target: &Target, tiles: &[Vec<u32>]) -> CostEstimate {
    let dense = model.dense_tiles();
    let cycles = model.cycles(tiles);
    let dense_cycles = if tiles == dense { cycles.clone() } else { model.cycles(dense) };
    let config = model.resolved_config(tiles);
    let layers: Vec<LayerCost> = (0..tiles.len())
        .map(|i| {
            let shape = &model.network().layers[i];
            let macs =
                |tiles: &[u32]| (kept_weights(model.fill(i), tiles) + shape.joined_weights()) * shape.conv_pixels();
            let before = tiles[i].iter().enumerate().map(|(block, t)| u64::from(shape.tiles_before(block, *t)));
            let other_tiles = before.sum();
            let share = LayerShare {
                shape,
                tiles: &tiles[i],
                fill: model.fill(i),
                macs: macs(&tiles[i]),
                cycles: cycles.layers[i],
                other_tiles,
            };
            let (cycle_use, energy) = (share.cycle_use(model.config()), share.energy(model.config(), target));
            LayerCost {
                name: shape.name.clone(),
                op_name: shape.op_name,
                peer: model.layers()[i].peer,
                cycles: cycles.layers[i],
                dense_cycles: dense_cycles.layers[i],
                tiles: tiles[i].iter().map(|t| u64::from(*t)).sum(),
                dense_tiles: dense[i].iter().map(|t| u64::from(*t)).sum(),
                macs: share.macs,
                dense_macs: macs(&dense[i]),
                latency_ms: cycles.layers[i] as f64 / target.clock_mhz.value / 1e3,
                roofline: share.roofline(model.config()),
                lane_bytes_per_cycle: ratio(share.lane_bytes(model.config()), cycles.layers[i]),
                memory_bytes_per_cycle: ratio(share.memory_bytes(model.config()), cycles.layers[i]),
                utilization: ratio(share.macs, config.macs_per_cycle() as u64 * cycles.layers[i]),
                bottleneck: cycle_use.bottleneck(cycles.layers[i]),
                cycle_use,
                weight_bytes_loaded: share.weight_bytes(model.config()),
                energy_uj: energy.total_uj(),
                energy,
            }
        })
        .collect();
    total(model, target, config, tiles, layers, &cycles, dense_cycles.total)
}

fn total(
    model: &CostModel,
    target: &Target,
    config: AcceleratorConfig,
    tiles: &[Vec<u32>],
    layers: Vec<LayerCost>,
    cycles: &Cycles,
    dense_cycles: u64,
) -> CostEstimate {
    let sum = |f: fn(&LayerCost) -> u64| layers.iter().map(f).sum::<u64>();
    let (macs, dense_macs) = (sum(|l| l.macs), sum(|l| l.dense_macs));
    let static_uj = static_nj(cycles.transfer, target) / 1e3;
    let transfer = EnergySplit { static_uj, ..transfer_energy(model.network(), model.config(), target) };
    let energy = layers.iter().fold(transfer, |sum, layer| sum.and(&layer.energy));
    CostEstimate {
        target: target.name.clone(),
        transfer_cycles: cycles.transfer,
        cycles: cycles.total,
        dense_cycles,
        macs,
        dense_macs,
        utilization: ratio(macs, config.macs_per_cycle() as u64 * cycles.total),
        clock_mhz: target.clock_mhz.value,
        clock_confidence: target.clock_mhz.confidence,
        latency_ms: cycles.total as f64 / target.clock_mhz.value / 1e3,
        energy_uj: energy.total_uj(),
        energy_range_uj: energy.range_uj(&target.energy),
        energy,
        energy_confidence: energy_confidence(&target.energy),
        weight_words: model.weight_words(tiles),
        instructions: model.instructions(),
        lane_bytes: model.live_bytes(),
        resources: resources(target, &config),
        layers,
        config,
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn energy_confidence(energy: &Energy) -> Confidence {
    energy.facts().into_iter().map(|(_, f)| f.confidence).max().unwrap_or(Confidence::Assumed)
}

/// One layer with its tiles, useful operations and cycles.
struct LayerShare<'a> {
    shape: &'a LayerGeometry,
    tiles: &'a [u32],
    fill: &'a [Vec<TileFill>],
    macs: u64,
    cycles: u64,
    /// Tiles of all parts but the last, over all blocks.
    other_tiles: u64,
}

impl LayerShare<'_> {
    /// Tiles over all blocks.
    fn all_tiles(&self) -> u64 {
        self.tiles.iter().map(|t| u64::from(*t)).sum()
    }

    /// Weights that the loader brings, each pixel rectangle anew; a row has one a column.
    fn weight_bytes(&self, config: &AcceleratorConfig) -> u64 {
        let tiles = self.all_tiles() + self.other_tiles;
        tiles * (self.shape.pixel_tiles.len() * config.rows * config.cols) as u64
    }

    /// Bytes that all lanes deliver to the array.
    fn lane_bytes(&self, config: &AcceleratorConfig) -> u64 {
        let streamed: u64 = self.shape.pixel_tiles.iter().map(|t| self.shape.reads(t, config) as u64).sum();
        (self.all_tiles() + self.other_tiles) * streamed * (config.rows * config.combine) as u64
    }

    fn roofline(&self, config: &AcceleratorConfig) -> Roofline {
        let rectangles = self.shape.pixel_tiles.len() as u64;
        let tiles = self.all_tiles() + self.other_tiles;
        let words = tiles * config.rows as u64 + (self.tiles.len() * PARAMETER_WORDS) as u64;
        let streamed = || crate::cost::layer_words(self.shape, self.tiles, config) as u64;
        Roofline {
            compute: self.macs.div_ceil(config.macs_per_cycle() as u64),
            weight_stream: words * rectangles,
            memory: config.external().map_or(0, |memory| memory.transfer_cycles(streamed())),
        }
    }

    /// Bytes of weights from external memory.
    fn memory_bytes(&self, config: &AcceleratorConfig) -> u64 {
        let words = || crate::cost::layer_words(self.shape, self.tiles, config) as u64;
        config.external().map_or(0, |memory| words() * memory.word_bytes as u64)
    }

    /// Cycles in which the layer would wait for external memory if nothing were read ahead.
    fn memory_loss(&self, config: &AcceleratorConfig, stream: f64) -> f64 {
        let words = || crate::cost::layer_words(self.shape, self.tiles, config) as u64;
        config.external().map_or(0.0, |memory| (memory.transfer_cycles(words()) as f64 - stream).max(0.0))
    }

    /// What the layer spends its cycles on.
    fn cycle_use(&self, config: &AcceleratorConfig) -> CycleUse {
        let (rows, clusters) = (config.rows as f64, config.clusters as f64);
        let compute = self.macs as f64 / config.macs_per_cycle() as f64;
        let tiles = (self.all_tiles() + self.other_tiles) as f64;
        // Cycles of a pass if all clusters had as many rows of the map, and those of the one that has most.
        let pixels = self.shape.conv_pixels() as f64 / clusters;
        let most = |t: &PixelTile| self.shape.pixels(&t.of_cluster(config));
        let longest = self.shape.pixel_tiles.iter().map(most).sum::<usize>() as f64;
        let stream = tiles * self.shape.cycles_per_tile(config) as f64;
        // Cycles in which each row has a vector, if the layer's vectors filled their tiles evenly.
        let filled = self.vectors() as f64 * pixels / rows;
        // What the stream does not explain is the memory's, as far as it is too slow.
        let hidden = self.cycles as f64 - stream;
        let memory = self.memory_loss(config, stream).min(hidden.max(0.0));
        CycleUse {
            compute,
            weight_load: stream - tiles * longest,
            idle_clusters: tiles * (longest - pixels),
            idle_rows: tiles * pixels - filled,
            idle_columns: filled - compute,
            memory,
            write_back: hidden - memory,
        }
    }

    /// Rows of tiles that vectors can fill.
    fn vectors(&self) -> u64 {
        let added: usize = self
            .shape
            .residual_part()
            .map_or(0, |part| (0..part.blocks.len()).map(|b| crate::block_vectors(&part, b).count()).sum());
        let kept = self.fill.iter().zip(self.tiles).flat_map(|(fill, tiles)| fill.iter().take(*tiles as usize));
        added as u64 + kept.map(|tile| tile.rows).sum::<u64>()
    }

    /// Energy of the counted events and of the static power over the layer's time.
    fn energy(&self, config: &AcceleratorConfig, target: &Target) -> EnergySplit {
        let static_uj = static_nj(self.cycles, target) / 1e3;
        EnergySplit { static_uj, ..dynamic_energy(self.shape, self.tiles, self.macs, config, target) }
    }
}
