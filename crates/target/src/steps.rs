//! The planned program: which instructions run in which order, without addresses or weights.
//!
//! For each graph input: fill its halo, load its planes. For each layer: one CONV for each rectangle
//! of pixels and block of channels, preceded by another one if the layer adds a residual operand; and,
//! behind the first, the halo of its output, which is filled while that CONV streams. At the end, store
//! the outputs. The code generator turns exactly these steps into instructions.

use std::ops::Range;

use espalier_ir::LayerSource;

use crate::{
    AcceleratorConfig, CellRect, LayerGeometry, NetworkGeometry, PixelTile, SourceGeometry, Table, dense_tiles,
};

/// What the timing of one instruction depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Streams pixels through weight tiles and writes the result back.
    Conv {
        /// Weight tiles, at least 1.
        tiles: u32,
        /// Pixels that a pass streams: outputs times window, or what the depthwise unit has to read.
        pixels: u32,
        /// Output pixels.
        outputs: u32,
        /// Conv pixels of one pooling window; 1 = no pooling.
        window: u32,
        /// Lane writes an output pixel.
        chunks: u32,
        /// Waits for all earlier writes before it reads.
        barrier: bool,
        /// Leaves its sums in the accumulators, where the next CONV adds to them: nothing is written.
        partial: bool,
        /// Whether the results pass tables, and whether these are loaded.
        table: Table,
    },
    /// Writes one value to cells of all lanes.
    Fill {
        /// Cells.
        cells: u32,
    },
    /// Takes beats from the input stream.
    Load {
        /// Beats.
        beats: u32,
    },
    /// Sends beats to the output stream.
    Store {
        /// Beats.
        beats: u32,
    },
}

/// What one instruction does, in terms of the geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fill halo cells of a tensor.
    Fill {
        /// The tensor.
        tensor: LayerSource,
        /// The cells.
        rect: CellRect,
    },
    /// Load elements of a graph input.
    Load {
        /// Position of the input.
        input: usize,
        /// The cells.
        rect: CellRect,
    },
    /// Compute a block of a rectangle.
    Conv {
        /// Layer.
        layer: usize,
        /// Index into `pixel_tiles`.
        pixel_tile: usize,
        /// Index into `blocks`.
        block: usize,
        /// Adds the residual operand, before the weights of the layer.
        residual: bool,
    },
    /// Store elements of a graph output.
    Store {
        /// Position of the output.
        output: usize,
        /// The cells.
        rect: CellRect,
    },
}

/// One instruction of the planned program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedStep {
    /// The layer that the instruction belongs to; `None` for loading inputs and storing outputs.
    pub layer: Option<usize>,
    /// What it does.
    pub action: Action,
    /// What its timing depends on.
    pub step: Step,
}

/// The whole program; `tiles[layer][block]` are the weight tiles of each block.
///
/// # Panics
/// If `tiles` does not have an entry for every block: a bug of the caller.
pub fn plan(network: &NetworkGeometry, config: &AcceleratorConfig, tiles: &[Vec<u32>]) -> Vec<PlannedStep> {
    let mut program = loads(network);
    assert_eq!(tiles.len(), network.layers.len(), "tile counts for every layer");
    for (layer, (shape, tiles)) in network.layers.iter().zip(tiles).enumerate() {
        let residual = residual_tiles(shape, config);
        instructions(&mut program, shape, layer, (tiles, &residual), barriers(network, layer));
    }
    for (output, source) in network.outputs.iter().enumerate() {
        for rect in network.layout(*source).element_rects() {
            let step = Step::Store { beats: small(rect.cells()) };
            program.push(PlannedStep { layer: None, action: Action::Store { output, rect }, step });
        }
    }
    program
}

/// What comes before the first layer.
pub(crate) fn loads(network: &NetworkGeometry) -> Vec<PlannedStep> {
    let mut program = Vec::new();
    for (input, layout) in network.inputs.iter().enumerate() {
        fill(&mut program, layout.halo_rects(), LayerSource::Input(input), None);
        for rect in layout.element_rects() {
            let step = Step::Load { beats: small(rect.cells()) };
            program.push(PlannedStep { layer: None, action: Action::Load { input, rect }, step });
        }
    }
    program
}

/// The steps of the program with the layer that each belongs to.
pub fn steps(network: &NetworkGeometry, config: &AcceleratorConfig, tiles: &[Vec<u32>]) -> Vec<(Option<usize>, Step)> {
    plan(network, config, tiles).into_iter().map(|p| (p.layer, p.step)).collect()
}

fn fill(program: &mut Vec<PlannedStep>, rects: Vec<CellRect>, tensor: LayerSource, layer: Option<usize>) {
    for rect in rects {
        let step = Step::Fill { cells: small(rect.cells()) };
        program.push(PlannedStep { layer, action: Action::Fill { tensor, rect }, step });
    }
}

/// The steps of one layer by itself; `barriers` as for [`instructions`].
pub(crate) fn layer_steps(
    shape: &LayerGeometry,
    config: &AcceleratorConfig,
    tiles: &[u32],
    barriers: Barriers,
) -> Vec<Step> {
    let mut program = Vec::new();
    instructions(&mut program, shape, 0, (tiles, &residual_tiles(shape, config)), barriers);
    program.into_iter().map(|planned| planned.step).collect()
}

/// Weight tiles of the residual operand in every block; none without one.
pub fn residual_tiles(shape: &LayerGeometry, config: &AcceleratorConfig) -> Vec<u32> {
    shape.residual_part().map_or(Vec::new(), |part| dense_tiles(&part, config))
}

/// Which of the first instructions of a layer wait for all earlier writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Barriers {
    /// The one of the residual operand.
    residual: bool,
    /// The one of the weights.
    weights: bool,
}

/// Appends the CONVs of a layer, and the FILLs of its output's halo behind the first block.
fn instructions(
    program: &mut Vec<PlannedStep>,
    shape: &LayerGeometry,
    layer: usize,
    (tiles, residual_tiles): (&[u32], &[u32]),
    mut barriers: Barriers,
) {
    let mut fills = shape.output.halo_rects();
    for (pixel_tile, tile) in shape.pixel_tiles.iter().enumerate() {
        for (block, channels) in shape.blocks.iter().enumerate() {
            let chunks = small(shape.output.write_back(channels.first, channels.columns).chunks);
            let mut conv = |tiles, barrier, residual| {
                let step = Step::Conv {
                    tiles,
                    pixels: small(if residual { shape.pixels(tile) } else { shape.stream(tile) }),
                    outputs: small(tile.outputs()),
                    window: small(shape.window_area()),
                    chunks,
                    barrier,
                    partial: residual,
                    table: if residual { Table::Off } else { shape.block_table(pixel_tile, block) },
                };
                let action = Action::Conv { layer, pixel_tile, block, residual };
                program.push(PlannedStep { layer: Some(layer), action, step });
            };
            if let Some(tiles) = residual_tiles.get(block) {
                conv(*tiles, barriers.residual, true);
            }
            conv(tiles[block], barriers.weights, false);
            barriers = Barriers { residual: false, weights: false };
            fill(program, std::mem::take(&mut fills), LayerSource::Layer(layer), Some(layer));
        }
    }
}

/// The barriers of the first instructions of a layer.
///
/// A block starts only when the writes of the block before the previous one are in the lanes, so only what the
/// previous block writes may still be under way. Before the first block of a layer that is the last rectangle of
/// the layer before.
pub(crate) fn barriers(network: &NetworkGeometry, layer: usize) -> Barriers {
    let shape = &network.layers[layer];
    let residual = shape.residual_part();
    let (weighted, added) = shape.sources.split_at(shape.sources.len() - usize::from(residual.is_some()));
    let wait = |part: &LayerGeometry, sources: &[SourceGeometry]| {
        let Some(previous) = layer.checked_sub(1) else { return true };
        let fresh = sources.iter().any(|s| s.source == LayerSource::Layer(previous));
        let before = &network.layers[previous];
        let [rows, _] = before.output_steps();
        let written = before.pixel_tiles.last().map_or(0..0, |t| rows * t.y..rows * (t.y + t.height));
        let read = part.pixel_tiles.first().map_or(0..0, |tile| rows_read(part, tile));
        fresh && read.start < written.end && written.start < read.end
    };
    Barriers { residual: residual.as_ref().is_some_and(|part| wait(part, added)), weights: wait(shape, weighted) }
}

/// Rows of the sources that a rectangle reads, without the halo.
fn rows_read(shape: &LayerGeometry, tile: &PixelTile) -> Range<usize> {
    let step = shape.stride[0] * shape.window_stride[0];
    let reach = match &shape.interleave {
        None => (shape.window[0] - 1) * shape.stride[0] + (shape.kernel[0] - 1) * shape.dilation[0] + 1,
        Some(spread) => {
            let offsets = (0..shape.kernel[0]).map(|tap| spread.offset(0, tap));
            (offsets.max().unwrap_or(0).max(0) as usize) + shape.pads.top + 1
        }
    };
    let first = tile.y * step;
    let end = (tile.y + tile.height - 1) * step + reach;
    first.saturating_sub(shape.pads.top)..end.saturating_sub(shape.pads.top)
}

fn small(value: usize) -> u32 {
    u32::try_from(value).expect("cells and pixels are bounded by the lane addresses")
}
