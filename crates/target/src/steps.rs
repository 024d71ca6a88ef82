//! The planned program: which instructions run in which order, without addresses or weights.
//!
//! For each graph input: fill its halo, load its planes. For each layer: fill the halo of its
//! output, then one CONV for each rectangle of pixels and block of channels. At the end, store the
//! outputs. The code generator turns exactly these steps into instructions.

use espalier_ir::LayerSource;

use crate::{CellRect, LayerGeometry, NetworkGeometry};

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

/// A pass at least this long hides the latency with which the writes of the instruction before the
/// previous one reach the lanes.
const SAFE_PIXELS: usize = 64;

/// The whole program; `tiles[layer][block]` are the weight tiles of each block.
///
/// # Panics
/// If `tiles` does not have an entry for every block: a bug of the caller.
pub fn plan(network: &NetworkGeometry, tiles: &[Vec<u32>]) -> Vec<PlannedStep> {
    let mut program = loads(network);
    assert_eq!(tiles.len(), network.layers.len(), "tile counts for every layer");
    for (layer, tiles) in tiles.iter().enumerate() {
        fill(&mut program, network, LayerSource::Layer(layer), Some(layer));
        conv(&mut program, network, layer, tiles);
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
        fill(&mut program, network, LayerSource::Input(input), None);
        for rect in layout.element_rects() {
            let step = Step::Load { beats: small(rect.cells()) };
            program.push(PlannedStep { layer: None, action: Action::Load { input, rect }, step });
        }
    }
    program
}

/// The steps of the program with the layer that each belongs to.
pub fn steps(network: &NetworkGeometry, tiles: &[Vec<u32>]) -> Vec<(Option<usize>, Step)> {
    plan(network, tiles).into_iter().map(|p| (p.layer, p.step)).collect()
}

fn fill(program: &mut Vec<PlannedStep>, network: &NetworkGeometry, tensor: LayerSource, layer: Option<usize>) {
    for rect in network.layout(tensor).halo_rects() {
        let step = Step::Fill { cells: small(rect.cells()) };
        program.push(PlannedStep { layer, action: Action::Fill { tensor, rect }, step });
    }
}

/// The steps of one layer by itself: the halo of its output, then its instructions.
pub(crate) fn layer_steps(shape: &LayerGeometry, tiles: &[u32], barrier: bool) -> Vec<Step> {
    let fills = shape.output.halo_rects().into_iter().map(|rect| Step::Fill { cells: small(rect.cells()) });
    let mut program = Vec::new();
    instructions(&mut program, shape, 0, tiles, barrier);
    fills.chain(program.into_iter().map(|planned| planned.step)).collect()
}

fn conv(program: &mut Vec<PlannedStep>, network: &NetworkGeometry, layer: usize, tiles: &[u32]) {
    instructions(program, &network.layers[layer], layer, tiles, needs_barrier(network, layer));
}

fn instructions(program: &mut Vec<PlannedStep>, shape: &LayerGeometry, layer: usize, tiles: &[u32], mut barrier: bool) {
    for (pixel_tile, tile) in shape.pixel_tiles.iter().enumerate() {
        for (block, channels) in shape.blocks.iter().enumerate() {
            let step = Step::Conv {
                tiles: tiles[block],
                pixels: small(shape.stream(tile)),
                outputs: small(tile.outputs()),
                window: small(shape.window_area()),
                chunks: small(shape.output.write_back(channels.first, channels.columns).chunks),
                barrier,
            };
            program.push(PlannedStep { layer: Some(layer), action: Action::Conv { layer, pixel_tile, block }, step });
            barrier = false;
        }
    }
}

/// Whether a layer's sources may still be on their way into the lanes when it could start.
///
/// An instruction starts only after the write-back of the one before the previous has ended. So
/// sources that are older than the previous layer are complete if that layer has two instructions
/// or more, the last long enough to hide the write latency.
fn needs_barrier(network: &NetworkGeometry, layer: usize) -> bool {
    let Some(previous) = layer.checked_sub(1) else { return true };
    let before = &network.layers[previous];
    let several = before.pixel_tiles.len() * before.blocks.len() >= 2;
    let long = before.pixel_tiles.last().is_some_and(|t| before.stream(t) >= SAFE_PIXELS);
    let fresh = network.layers[layer].sources.iter().any(|s| s.source == LayerSource::Layer(previous));
    fresh || !several || !long
}

fn small(value: usize) -> u32 {
    u32::try_from(value).expect("cells and pixels are bounded by the lane addresses")
}
