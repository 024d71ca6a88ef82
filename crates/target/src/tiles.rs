//! Vectors, lanes and tiles: which row of which weight tile holds which weights.
//!
//! A *vector* is the weights of one input channel and kernel tap to the channels of one block. It
//! may sit in any lane that holds a replica of its channel; [`place`] gives it to the least loaded
//! one. A block then takes as many weight tiles as its fullest lane has vectors. The cost model and
//! the code generator both use this one function, so they cannot disagree.

use std::collections::BTreeSet;

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

/// Which vectors each lane holds, in the order of the tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// `lanes[r][t]` is the vector in row `r` of tile `t`; a lane may have fewer than `tiles`.
    pub lanes: Vec<Vec<Vector>>,
}

impl Placement {
    /// Tiles of the block: at least one, since the block must be written in any case.
    pub fn tiles(&self) -> u32 {
        let most = self.lanes.iter().map(Vec::len).max().unwrap_or(0).max(1);
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// Vectors placed.
    pub fn vectors(&self) -> usize {
        self.lanes.iter().map(Vec::len).sum()
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
        Connectivity::Diagonal => (0..layer.sources.len()).map(|s| (s, first..end)).collect(),
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
    let [kh, kw] = layer.kernel;
    channel_ranges(layer, block).into_iter().flat_map(move |(source, channels)| {
        channels.flat_map(move |channel| {
            (0..kh).flat_map(move |ky| (0..kw).map(move |kx| Vector { source, channel, ky, kx }))
        })
    })
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
            let before: usize = layer.sources[..vector.source].iter().map(|s| s.layout.shape[0]).sum();
            (before + vector.channel == output).then_some([output, 0, vector.ky, vector.kx])
        }
        Connectivity::Selected(channels) => {
            (channels[output] == Some(vector.channel)).then_some([output, 0, vector.ky, vector.kx])
        }
    }
}

/// Distributes the vectors of a block that `keep` accepts over the lanes.
///
/// Vectors with fewer replicas go first, else in their fixed order; each goes to its least loaded
/// lane, the lowest of several. With one source this is optimal: lanes of different channels never
/// compete unless they have no choice.
pub fn place(
    layer: &LayerGeometry,
    config: &AcceleratorConfig,
    block: usize,
    keep: &dyn Fn(&Vector) -> bool,
) -> Placement {
    let mut lanes = vec![Vec::new(); config.rows];
    for count in replica_counts(layer) {
        for vector in block_vectors(layer, block) {
            let layout = &layer.sources[vector.source].layout;
            if layout.replicas != count || !keep(&vector) {
                continue;
            }
            let lane = (0..layout.replicas)
                .map(|k| layout.lane(vector.channel, k))
                .min_by_key(|lane| (lanes[*lane].len(), *lane))
                .expect("every tensor has a replica");
            lanes[lane].push(vector);
        }
    }
    Placement { lanes }
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
    tiles_of_mask(layer, config, &|_, _| true)
}

/// Tiles of every block if only the vectors remain for which `keep(block, vector)` holds.
pub fn tiles_of_mask(
    layer: &LayerGeometry,
    config: &AcceleratorConfig,
    keep: &dyn Fn(usize, &Vector) -> bool,
) -> Vec<u32> {
    let counts = replica_counts(layer);
    (0..layer.blocks.len()).map(|block| count_tiles(layer, config, block, &counts, keep)).collect()
}

/// What `place(..).tiles()` gives, counting instead of listing.
fn count_tiles(
    layer: &LayerGeometry,
    config: &AcceleratorConfig,
    block: usize,
    counts: &[usize],
    keep: &dyn Fn(usize, &Vector) -> bool,
) -> u32 {
    let [kh, kw] = layer.kernel;
    let mut loads = vec![0u32; config.rows];
    for count in counts {
        for (source, channels) in channel_ranges(layer, block) {
            let layout = &layer.sources[source].layout;
            if layout.replicas != *count {
                continue;
            }
            for channel in channels {
                let kept = (0..kh)
                    .flat_map(|ky| (0..kw).map(move |kx| Vector { source, channel, ky, kx }))
                    .filter(|v| keep(block, v))
                    .count();
                for _ in 0..kept {
                    let lane = (0..layout.replicas)
                        .map(|k| layout.lane(channel, k))
                        .min_by_key(|lane| (loads[*lane], *lane))
                        .expect("every tensor has a replica");
                    loads[lane] += 1;
                }
            }
        }
    }
    loads.into_iter().max().unwrap_or(0).max(1)
}
