//! Vectors, lanes and tiles: which row of which weight tile holds which weights.
//!
//! A *vector* is the weights of one input channel and kernel tap to the channels of one block. It
//! may sit in any lane that holds a replica of its channel; [`place`] gives it to the least loaded
//! one. With `combine = 2` two vectors of the same lane share a *row* of a tile if no column has a
//! weight in both (with packed multipliers: no pair of columns). A block then takes as many weight tiles as its fullest
//! lane has rows. The cost model and the code generator both use this one function, so they cannot disagree. On the
//! depthwise unit a vector is the weights of one channel and up to `depthwise_taps` taps of a kernel row, and its lane is
//! that of the channel's first replica.

use std::collections::{BTreeMap, BTreeSet};

use crate::pairing::pair;
use crate::{AcceleratorConfig, Connectivity, LayerGeometry};

/// Names one vector of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vector {
    /// Position among the sources of the layer.
    pub source: usize,
    /// Channel of that source.
    pub channel: usize,
    /// Row of the kernel.
    pub ky: usize,
    /// Column of the kernel.
    pub kx: usize,
}

/// Columns of a block as bits: bit `j` stands for column `j`.
pub type Columns = u32;

/// What one row of one tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// A vector.
    pub first: Vector,
    /// A second one in the same lane, with weights in other columns; only with `combine = 2`.
    pub second: Option<Vector>,
}

/// Which vectors each lane holds, in the order of the tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// `lanes[r][t]` is row `r` of tile `t`; a lane may have fewer than `tiles`.
    pub lanes: Vec<Vec<Row>>,
}

impl Placement {
    /// Tiles of the block: at least one, since the block must be written in any case.
    pub fn tiles(&self) -> u32 {
        let most = self.lanes.iter().map(Vec::len).max().unwrap_or(0).max(1);
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// Vectors placed.
    pub fn vectors(&self) -> usize {
        self.lanes.iter().flatten().map(|row| 1 + usize::from(row.second.is_some())).sum()
    }
}

/// Pairs of a source and the range of its channels that a block reads.
fn channel_ranges(layer: &LayerGeometry, block: usize) -> Vec<(usize, std::ops::Range<usize>)> {
    let block = layer.blocks[block];
    let (first, end) = (block.first, block.first + block.columns);
    match &layer.connectivity {
        Connectivity::Grouped(groups) => {
            let [channels, ..] = layer.sources[0].layout.shape;
            let per_group = channels / groups;
            let out_per_group = layer.conv_shape[0] / groups;
            let range = first / out_per_group * per_group..((end - 1) / out_per_group + 1) * per_group;
            vec![(0, range)]
        }
        Connectivity::Diagonal => (0..layer.weighted_sources().len()).map(|s| (s, first..end)).collect(),
        Connectivity::Joined => {
            let mut start = 0;
            let mut ranges = Vec::new();
            for (s, source) in layer.sources.iter().enumerate() {
                let channels = source.layout.shape[0];
                let (low, high) = (first.max(start), end.min(start + channels));
                if low < high {
                    ranges.push((s, low - start..high - start));
                }
                start += channels;
            }
            ranges
        }
        Connectivity::Selected(channels) => {
            let read: BTreeSet<usize> = channels[first..end].iter().copied().flatten().collect();
            read.into_iter().map(|c| (0, c..c + 1)).collect()
        }
    }
}

/// All vectors of a block in their fixed order: source, channel, kernel row, kernel column.
pub fn block_vectors(layer: &LayerGeometry, block: usize) -> impl Iterator<Item = Vector> {
    let taps = layer.block_taps(block);
    let vectors =
        move |source, channel| taps.clone().into_iter().map(move |[ky, kx]| Vector { source, channel, ky, kx });
    channel_ranges(layer, block)
        .into_iter()
        .flat_map(|(source, channels)| channels.map(move |channel| (source, channel)))
        .flat_map(move |(source, channel)| vectors(source, channel))
}

/// Where the weight of a vector to an output channel stands in the layer's weight
/// `[out, in / groups, kernel_h, kernel_w]`; diagonal, joined and selecting layers count as depthwise
/// (`[out, 1, kernel_h, kernel_w]`). `None` if the two are not connected.
pub fn weight_index(layer: &LayerGeometry, vector: &Vector, output: usize) -> Option<[usize; 4]> {
    match &layer.connectivity {
        Connectivity::Grouped(groups) => {
            let per_group = layer.sources[0].layout.shape[0] / groups;
            let group = output / (layer.conv_shape[0] / groups);
            let local = vector.channel.checked_sub(group * per_group)?;
            (local < per_group).then_some([output, local, vector.ky, vector.kx])
        }
        Connectivity::Diagonal => (vector.channel == output).then_some([output, 0, vector.ky, vector.kx]),
        Connectivity::Joined => {
            let before = channels_before(layer, vector.source);
            (before + vector.channel == output).then_some([output, 0, vector.ky, vector.kx])
        }
        Connectivity::Selected(channels) => {
            (channels[output] == Some(vector.channel)).then_some([output, 0, vector.ky, vector.kx])
        }
    }
}

/// Channels of the sources before one.
fn channels_before(layer: &LayerGeometry, source: usize) -> usize {
    layer.sources[..source].iter().map(|s| s.layout.shape[0]).sum()
}

/// Columns of a block that a vector is connected to: those for which [`weight_index`] has an answer.
pub fn connected_columns(layer: &LayerGeometry, block: usize, vector: &Vector) -> Columns {
    let block = layer.blocks[block];
    let (first, end) = (block.first, block.first + block.columns);
    let columns = |outputs: std::ops::Range<usize>| {
        let (low, high) = (outputs.start.max(first), outputs.end.min(end));
        (low..high).fold(0, |columns: Columns, output| columns | 1 << (output - first))
    };
    match &layer.connectivity {
        Connectivity::Grouped(1) => columns(first..end),
        Connectivity::Grouped(groups) => {
            let group = vector.channel / (layer.sources[0].layout.shape[0] / groups);
            let outputs = layer.conv_shape[0] / groups;
            columns(group * outputs..(group + 1) * outputs)
        }
        Connectivity::Diagonal => columns(vector.channel..vector.channel + 1),
        Connectivity::Joined => {
            let before = channels_before(layer, vector.source);
            columns(before + vector.channel..before + vector.channel + 1)
        }
        Connectivity::Selected(channels) => (first..end)
            .filter(|output| channels[*output] == Some(vector.channel))
            .fold(0, |columns, output| columns | 1 << (output - first)),
    }
}

/// Distributes the vectors of a block over the lanes. `columns` names the columns in which a vector has
/// a weight; vectors without any are left out.
///
/// With `combine = 2`, as many vectors as possible that may sit in the same lanes and have no column (with
/// packed multipliers: no pair of columns) in common are paired. Rows with fewer replicas go first, else in the fixed order of their first vectors;
/// each goes to its least loaded lane, the lowest of several. With one source this is optimal: lanes of
/// different channels never compete unless they have no choice.
pub fn place(
    layer: &LayerGeometry,
    config: &AcceleratorConfig,
    block: usize,
    columns: &dyn Fn(&Vector) -> Columns,
) -> Placement {
    let kept: Vec<(Vector, Columns)> =
        block_vectors(layer, block).map(|v| (v, columns(&v))).filter(|(_, c)| *c != 0).collect();
    let mut rows: Vec<Row> = if config.combine > 1 && layer.depthwise.is_none() {
        paired(layer, config, &kept)
    } else {
        kept.into_iter().map(|(first, _)| Row { first, second: None }).collect()
    };
    let replicas = |row: &Row| layer.sources[row.first.source].layout.replicas;
    rows.sort_by_key(replicas);
    let mut lanes = vec![Vec::new(); config.rows];
    for row in rows {
        let layout = &layer.sources[row.first.source].layout;
        let lane = (0..usable_replicas(layer, layout.replicas))
            .map(|k| layout.lane(row.first.channel, k))
            .min_by_key(|lane| (lanes[*lane].len(), *lane))
            .expect("every tensor has a replica");
        lanes[lane].push(row);
    }
    Placement { lanes }
}

/// Rows in the order of their first vectors.
fn paired(layer: &LayerGeometry, config: &AcceleratorConfig, kept: &[(Vector, Columns)]) -> Vec<Row> {
    let mut classes: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for (i, (vector, _)) in kept.iter().enumerate() {
        classes.entry(lanes_of(layer, vector)).or_default().push(i);
    }
    let mut rows: Vec<(usize, Option<usize>)> = Vec::new();
    for class in classes.into_values() {
        let columns: Vec<Columns> = class.iter().map(|i| config.occupied(kept[*i].1)).collect();
        rows.extend(pair(&columns).into_iter().map(|(a, b)| (class[a], b.map(|b| class[b]))));
    }
    rows.sort_unstable();
    rows.into_iter().map(|(a, b)| Row { first: kept[a].0, second: b.map(|b| kept[b].0) }).collect()
}

/// All lanes that a vector may sit in.
fn lanes_of(layer: &LayerGeometry, vector: &Vector) -> Vec<usize> {
    let layout = &layer.sources[vector.source].layout;
    (0..layout.replicas).map(|k| layout.lane(vector.channel, k)).collect()
}

/// Replicas that vectors may read: the depthwise unit has the channel of lane `c` in column `c`, so only the first.
fn usable_replicas(layer: &LayerGeometry, replicas: usize) -> usize {
    if layer.depthwise.is_some() { 1 } else { replicas }
}

/// Replica counts of the sources, ascending, each once.
fn replica_counts(layer: &LayerGeometry) -> Vec<usize> {
    let mut counts: Vec<usize> = layer.sources.iter().map(|s| s.layout.replicas).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// Tiles of every block if no vector is pruned.
pub fn dense_tiles(layer: &LayerGeometry, config: &AcceleratorConfig) -> Vec<u32> {
    let counts = replica_counts(layer);
    let tiles = |block: usize| {
        if shares_rows(layer, config) {
            place(layer, config, block, &|v| connected_columns(layer, block, v)).tiles()
        } else {
            // Every vector of a block is connected to some column of it.
            count_tiles(layer, config, block, &counts, &|_, _| 1)
        }
    };
    (0..layer.blocks.len()).map(tiles).collect()
}

/// Whether dense vectors may share a row: not if each reaches every column.
fn shares_rows(layer: &LayerGeometry, config: &AcceleratorConfig) -> bool {
    config.combine > 1 && layer.connectivity != Connectivity::Grouped(1)
}

/// What a tile of a block holds if no vector is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TileFill {
    /// Rows with a vector.
    pub rows: u64,
    /// Weights in these rows.
    pub weights: u64,
}

/// What each tile of each block holds if no vector is pruned: of [`dense_tiles`] tiles.
pub(crate) fn dense_fill(layer: &LayerGeometry, config: &AcceleratorConfig) -> Vec<Vec<TileFill>> {
    if layer.connectivity == Connectivity::Grouped(1) {
        return full_fill(layer, config);
    }
    let of_block = |block: usize| {
        let columns = |v: &Vector| connected_columns(layer, block, v);
        let placement = place(layer, config, block, &columns);
        let mut tiles = vec![TileFill::default(); placement.tiles() as usize];
        for (tile, row) in placement.lanes.iter().flat_map(|lane| lane.iter().enumerate()) {
            let columns = columns(&row.first) | row.second.map_or(0, |v| columns(&v));
            tiles[tile].rows += 1;
            tiles[tile].weights += u64::from(columns.count_ones()) * layer.taps_of(&row.first).len() as u64;
        }
        tiles
    };
    (0..layer.blocks.len()).map(of_block).collect()
}

/// The same where every vector reaches every column: no two share a row, and blocks of the same taps have the same vectors.
fn full_fill(layer: &LayerGeometry, config: &AcceleratorConfig) -> Vec<Vec<TileFill>> {
    let counts = replica_counts(layer);
    let mut known: Option<([usize; 2], Vec<u64>)> = None;
    let of_block = |block: usize| {
        let phase = layer.blocks[block].phase;
        let rows = match known.take() {
            Some((known, rows)) if known == phase => rows,
            _ => filled_rows(&lane_loads(layer, config, block, &counts, &|_, _| 1)),
        };
        let columns = layer.blocks[block].columns as u64;
        let tiles = rows.iter().map(|rows| TileFill { rows: *rows, weights: rows * columns }).collect();
        known = Some((phase, rows));
        tiles
    };
    (0..layer.blocks.len()).map(of_block).collect()
}

/// Rows with a vector in each tile; at least one tile.
fn filled_rows(loads: &[u32]) -> Vec<u64> {
    let tiles = loads.iter().copied().max().unwrap_or(0).max(1);
    (0..tiles).map(|tile| loads.iter().filter(|load| **load > tile).count() as u64).collect()
}

/// Tiles of every block if vectors have weights in the columns `columns(block, vector)` only.
pub fn tiles_of_mask(
    layer: &LayerGeometry,
    config: &AcceleratorConfig,
    columns: &dyn Fn(usize, &Vector) -> Columns,
) -> Vec<u32> {
    let counts = replica_counts(layer);
    let tiles = |block: usize| match config.combine {
        1 => count_tiles(layer, config, block, &counts, columns),
        _ => place(layer, config, block, &|v| columns(block, v)).tiles(),
    };
    (0..layer.blocks.len()).map(tiles).collect()
}

/// What `place(..).tiles()` gives without pairs, counting instead of listing.
fn count_tiles(
    layer: &LayerGeometry,
    config: &AcceleratorConfig,
    block: usize,
    counts: &[usize],
    columns: &dyn Fn(usize, &Vector) -> Columns,
) -> u32 {
    lane_loads(layer, config, block, counts, columns).into_iter().max().unwrap_or(0).max(1)
}

/// How many vectors of a block each lane holds.
fn lane_loads(
    layer: &LayerGeometry,
    config: &AcceleratorConfig,
    block: usize,
    counts: &[usize],
    columns: &dyn Fn(usize, &Vector) -> Columns,
) -> Vec<u32> {
    let taps = layer.block_taps(block);
    let mut loads = vec![0u32; config.rows];
    for count in counts {
        for (source, channels) in channel_ranges(layer, block) {
            let layout = &layer.sources[source].layout;
            if layout.replicas != *count {
                continue;
            }
            for channel in channels {
                let vector = |[ky, kx]: &[usize; 2]| Vector { source, channel, ky: *ky, kx: *kx };
                let kept = taps.iter().map(vector).filter(|v| columns(block, v) != 0).count();
                for _ in 0..kept {
                    let lane = (0..usable_replicas(layer, layout.replicas))
                        .map(|k| layout.lane(channel, k))
                        .min_by_key(|lane| (loads[*lane], *lane))
                        .expect("every tensor has a replica");
                    loads[lane] += 1;
                }
            }
        }
    }
    loads
}
