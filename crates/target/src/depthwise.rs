//! Channel-by-channel convolutions beside the array: which layers take the depthwise unit, and what it streams.
//!
//! The unit has `depthwise_taps` multipliers for each lane. A lane's bytes pass a shift register, so that one
//! pass over a row of pixels computes several horizontal taps of a kernel row, which the array would take one by
//! one, with one column in use for each row. The channel of lane `c` goes to column `c`. A stream cannot jump:
//! it reads all pixels between two outputs, and `taps - 1` before the first one, whose sums are dropped.

use std::ops::Range;

use crate::config::MAX_COUNT;
use crate::{AcceleratorConfig, Block, Connectivity, LayerGeometry, PixelTile, Vector, dense_tiles};

/// Largest value of a 4-bit field.
const MAX_NIBBLE: usize = 15;

/// What one pass of the depthwise unit streams: `rows` runs of `positions` neighbouring bytes. Of each run the
/// sums of the first `lead` positions are dropped, then one is kept and `skip` are dropped, over and over; after
/// each row of outputs `gap` are dropped instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseStream {
    /// Bytes of one run.
    pub positions: usize,
    /// Runs.
    pub rows: usize,
    /// Positions before the first output of a run.
    pub lead: usize,
    /// Positions between two outputs.
    pub skip: usize,
    /// Positions between two rows of outputs in the same run.
    pub gap: usize,
    /// All rows of outputs lie in one run, which passes the halo between them.
    pub joined: bool,
}

impl LayerGeometry {
    /// The stream of the depthwise units over a rectangle; `None` for a layer that takes the array.
    pub fn depthwise_stream(&self, tile: &PixelTile, config: &AcceleratorConfig) -> Option<DepthwiseStream> {
        let lead = self.depthwise? - 1;
        let pitch = self.sources[0].layout.pitch;
        let joined = pitch * (tile.height - 1) + tile.width + lead;
        let gap = pitch - tile.width.min(pitch);
        // One run is shorter if the halo between two rows has fewer bytes than a run has before its first output; but
        // clusters share rows.
        let shorter = self.stride == [1, 1] && tile.height > 1 && gap < lead && config.clusters == 1;
        if shorter && joined <= MAX_COUNT {
            return Some(DepthwiseStream { positions: joined, rows: 1, lead, skip: 0, gap, joined: true });
        }
        let skip = self.stride[1] - 1;
        let positions = (tile.width - 1) * self.stride[1] + 1 + lead;
        Some(DepthwiseStream { positions, rows: tile.height, lead, skip, gap: 0, joined: false })
    }

    /// Pixels that one pass over a rectangle reads, in all clusters together.
    pub fn reads(&self, tile: &PixelTile, config: &AcceleratorConfig) -> usize {
        self.depthwise_stream(tile, config).map_or_else(|| self.pixels(tile), |s| s.positions * s.rows)
    }

    /// Pixels that one pass over a rectangle streams through the array: those of the cluster with the most rows.
    pub fn stream(&self, tile: &PixelTile, config: &AcceleratorConfig) -> usize {
        self.reads(&tile.of_cluster(config), config)
    }

    /// Columns of the kernel whose weights a vector holds: one, or with the depthwise unit up to its taps.
    pub fn taps_of(&self, vector: &Vector) -> Range<usize> {
        vector.kx..(vector.kx + self.depthwise.unwrap_or(1)).min(self.kernel[1])
    }

    /// Column of the kernel that a vector reads first. The last vector of a kernel row reads as many as the others.
    pub fn first_tap(&self, vector: &Vector) -> usize {
        vector.kx.min(self.kernel[1] - self.depthwise.unwrap_or(1))
    }
}

/// The layer on the depthwise unit, if it can run there and its passes are shorter, or it is gated, which only the unit
/// can do; else the layer as it is.
pub(crate) fn choose(layer: LayerGeometry, config: &AcceleratorConfig) -> LayerGeometry {
    let Some(unit) = on_unit(&layer, config) else { return layer };
    if layer.gated || passes(&unit, config) < passes(&layer, config) { unit } else { layer }
}

fn on_unit(layer: &LayerGeometry, config: &AcceleratorConfig) -> Option<LayerGeometry> {
    let [source] = layer.weighted_sources() else { return None };
    let channels = source.layout.shape[0];
    let by_channel = match layer.connectivity {
        Connectivity::Grouped(groups) => groups > 1 && groups == channels && groups == layer.conv_shape[0],
        Connectivity::Diagonal => true,
        Connectivity::Joined | Connectivity::Selected(_) => false,
    };
    let plain = layer.interleave.is_none()
        && layer.dilation[1] == 1
        && layer.window == [1, 1]
        && layer.stride[1] - 1 <= MAX_NIBBLE;
    // The array adds residual operands, and both would have to go through the accumulators in the same order.
    if config.depthwise_taps == 0 || !by_channel || !plain || layer.residual.is_some() {
        return None;
    }
    let blocks = (0..channels).step_by(config.rows);
    let unit = LayerGeometry {
        depthwise: Some(config.depthwise_taps.min(layer.kernel[1])),
        blocks: blocks
            .map(|first| Block { first, columns: config.rows.min(channels - first), phase: [0, 0] })
            .collect(),
        ..layer.clone()
    };
    let fits = |tile: &PixelTile| unit.depthwise_stream(tile, config).is_some_and(|s| s.positions <= MAX_COUNT);
    unit.pixel_tiles.iter().all(fits).then_some(unit)
}

/// Cycles of all passes of a layer, or of its write-back where that takes longer.
fn passes(layer: &LayerGeometry, config: &AcceleratorConfig) -> usize {
    let block = |(block, tiles): (&Block, &u32)| {
        let chunks = layer.output.write_back(block.first, block.columns).chunks;
        let of = |t: &PixelTile| (*tiles as usize * layer.stream(t, config).max(config.rows)).max(t.outputs() * chunks);
        layer.pixel_tiles.iter().map(of).sum::<usize>()
    };
    layer.blocks.iter().zip(&dense_tiles(layer, config)).map(block).sum()
}
