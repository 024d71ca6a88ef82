//! The planned program: which instructions run in which order, without addresses or weights.
//!
//! For each graph input: fill its halo, load its planes. For each layer: one CONV for each rectangle
//! of pixels and block of channels, preceded by another one if the layer adds a residual operand; and,
//! behind the first, the halo of its output, which is filled while that CONV streams. At the end, store
//! the outputs. Where tensors are spilled, the same is done strip by strip, and behind the first block of a strip stand the
//! transfers that run beside it. The code generator turns exactly these steps into instructions.

use std::ops::Range;

use espalier_ir::LayerSource;

use crate::config::GATE_QUEUE;
use crate::geometry::tensor_index;
use crate::{
    AcceleratorConfig, CellRect, LanePart, LayerGeometry, NetworkGeometry, PixelTile, SourceGeometry, Table, Work,
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
        /// Waits for all earlier transfers before it reads.
        fence: bool,
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
    /// Moves a part of a tensor between the lanes and external memory.
    Transfer(Transfer),
}

/// A transfer between the lanes and external memory: `planes` runs of neighbouring addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// From external memory into the lanes; else the other way.
    pub restore: bool,
    /// Waits for all earlier writes; else for those of all blocks but the newest.
    pub barrier: bool,
    /// Addresses of every lane in a run.
    pub run: u32,
    /// Runs.
    pub planes: u32,
    /// First beat in external memory.
    pub first_beat: u32,
    /// Beats from run to run.
    pub step_beats: u32,
}

/// What one instruction does, in terms of the geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fill halo cells of a tensor.
    Fill {
        /// The part.
        part: usize,
        /// The cells.
        rect: CellRect,
    },
    /// Load elements of a graph input.
    Load {
        /// Position of the input.
        input: usize,
        /// The part.
        part: usize,
        /// The cells.
        rect: CellRect,
    },
    /// Compute a block of a rectangle.
    Conv {
        /// Layer.
        layer: usize,
        /// Job.
        job: usize,
        /// Index into `pixel_tiles`.
        pixel_tile: usize,
        /// Index into `blocks`.
        block: usize,
        /// Which CONV of the block: see [`LayerGeometry::parts`].
        part: usize,
    },
    /// Send the factors of some blocks of a gated layer to the depthwise unit.
    Gates {
        /// Job.
        job: usize,
        /// The part of the blocks that takes them.
        part: usize,
        /// First block.
        first: usize,
        /// Blocks.
        count: usize,
    },
    /// Store elements of a graph output.
    Store {
        /// The part.
        part: usize,
        /// The cells.
        rect: CellRect,
    },
    /// Save or restore a part.
    Transfer {
        /// The part.
        part: usize,
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
    assert_eq!(tiles.len(), network.layers.len(), "tile counts for every layer");
    let mut planner = Planner::new(network, config);
    for (index, job) in network.residence.jobs.iter().enumerate() {
        match job.work {
            Work::Load { input } => planner.load(index, input),
            Work::Layer { layer, strip } => planner.layer(index, layer, strip, &tiles[layer]),
            Work::Store { .. } => planner.store(index),
        }
    }
    planner.program
}

/// What comes before the first layer.
pub(crate) fn loads(network: &NetworkGeometry, config: &AcceleratorConfig) -> Vec<Step> {
    let mut planner = Planner::new(network, config);
    for (index, job) in network.residence.jobs.iter().enumerate() {
        if let Work::Load { input } = job.work {
            planner.load(index, input);
        }
    }
    planner.program.into_iter().map(|planned| planned.step).collect()
}

/// The steps of the program with the layer that each belongs to.
pub fn steps(network: &NetworkGeometry, config: &AcceleratorConfig, tiles: &[Vec<u32>]) -> Vec<(Option<usize>, Step)> {
    plan(network, config, tiles).into_iter().map(|p| (p.layer, p.step)).collect()
}

/// Goes through the jobs and knows what is under way.
struct Planner<'a> {
    network: &'a NetworkGeometry,
    config: &'a AcceleratorConfig,
    beats_per_word: usize,
    program: Vec<PlannedStep>,
    /// The part of the job before that is still to be saved.
    unsaved: Option<usize>,
    /// The restores of the next job are given out.
    restored: bool,
    /// Transfers were given out that no CONV, LOAD or STORE has waited for.
    moving: bool,
}

impl<'a> Planner<'a> {
    fn new(network: &'a NetworkGeometry, config: &'a AcceleratorConfig) -> Self {
        let beats_per_word = config.spill_memory().map_or(0, |memory| memory.beats_per_word);
        Planner { network, config, beats_per_word, program: Vec::new(), unsaved: None, restored: false, moving: false }
    }

    fn part(&self, part: usize) -> &'a LanePart {
        &self.network.residence.parts[part]
    }

    fn push(&mut self, layer: Option<usize>, action: Action, step: Step) {
        self.program.push(PlannedStep { layer, action, step });
    }

    /// The halo of a part.
    fn fill(&mut self, part: usize, layer: Option<usize>) {
        let place = self.part(part);
        for rect in place.layout(self.network.layout(place.tensor)).halo_rects() {
            self.push(layer, Action::Fill { part, rect }, Step::Fill { cells: small(rect.cells()) });
        }
    }

    fn load(&mut self, job: usize, input: usize) {
        let job = &self.network.residence.jobs[job];
        let part = job.output.expect("a LOAD has an output");
        self.fill(part, None);
        let place = self.part(part);
        for rect in place.layout(self.network.layout(place.tensor)).element_rects() {
            self.push(None, Action::Load { input, part, rect }, Step::Load { beats: small(rect.cells()) });
        }
        self.moving = false;
        if job.saves {
            self.transfer(part, false, false, None);
        }
    }

    fn store(&mut self, job: usize) {
        self.late(job, None);
        self.moving = false;
        for part in &self.network.residence.jobs[job].sources {
            let place = self.part(*part);
            for rect in place.layout(self.network.layout(place.tensor)).element_rects() {
                self.push(None, Action::Store { part: *part, rect }, Step::Store { beats: small(rect.cells()) });
            }
        }
    }

    /// What a job restores, and before that what the job before saves, where that could not run beside the job before.
    fn late(&mut self, job: usize, layer: Option<usize>) {
        if std::mem::take(&mut self.restored) {
            return;
        }
        let restores = &self.network.residence.jobs[job].restores;
        if let Some(part) = self.unsaved.take_if(|_| layer.is_none() || !restores.is_empty()) {
            self.transfer(part, false, true, layer);
        }
        for part in restores {
            self.transfer(*part, true, true, layer);
        }
    }

    /// What runs beside a job, behind its first block: saving what the job before wrote, restoring what the next reads.
    fn beside(&mut self, job: usize, layer: usize) {
        let residence = &self.network.residence;
        if let Some(part) = self.unsaved.take() {
            self.transfer(part, false, false, Some(layer));
        }
        if let Some(next) = residence.jobs.get(job + 1).filter(|next| !next.late) {
            for part in &next.restores {
                self.transfer(*part, true, false, Some(layer));
            }
            self.restored = true;
        }
    }

    fn transfer(&mut self, part: usize, restore: bool, barrier: bool, layer: Option<usize>) {
        let residence = &self.network.residence;
        let place = self.part(part);
        let layout = self.network.layout(place.tensor);
        let first = residence.spilled[tensor_index(place.tensor, self.network.inputs.len())];
        let words = place.planes.start * layout.plane_bytes + place.lines.start * layout.pitch;
        let step = Step::Transfer(Transfer {
            restore,
            barrier,
            run: small(place.run(layout)),
            planes: small(place.planes_of(layout).len()),
            first_beat: small(first.expect("only spilled tensors are moved") + words * self.beats_per_word),
            step_beats: small(layout.plane_bytes * self.beats_per_word),
        });
        self.moving = true;
        self.push(layer, Action::Transfer { part }, step);
    }

    fn layer(&mut self, index: usize, layer: usize, strip: usize, tiles: &[u32]) {
        self.late(index, Some(layer));
        let (network, job) = (self.network, &self.network.residence.jobs[index]);
        let shape = &network.layers[layer];
        let output = job.output.expect("a layer has an output");
        let none = Barriers { others: false, weights: false };
        let waits = Waits {
            barriers: if strip == 0 { barriers(network, layer) } else { none },
            fence: std::mem::take(&mut self.moving),
        };
        let mut begun = false;
        for Conv { pixel_tile, block, part, gates, step } in
            convs(shape, self.config, shape.strips[strip].clone(), tiles, waits)
        {
            for Gates { part, first, count } in gates {
                let action = Action::Gates { job: index, part, first, count };
                self.push(Some(layer), action, Step::Store { beats: small(count) });
            }
            self.push(Some(layer), Action::Conv { layer, job: index, pixel_tile, block, part }, step);
            if part + 1 == shape.parts() && !std::mem::replace(&mut begun, true) {
                // A resident tensor has its halo since its first strip.
                if strip == 0 || job.saves {
                    self.fill(output, Some(layer));
                }
                self.beside(index, layer);
            }
        }
        self.unsaved = job.saves.then_some(output);
    }
}

/// The steps of one layer by itself, without transfers; `barriers` as [`barriers()`] gives them.
pub(crate) fn layer_steps(
    shape: &LayerGeometry,
    config: &AcceleratorConfig,
    tiles: &[u32],
    barriers: Barriers,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut fills = shape.output.halo_rects();
    let waits = Waits { barriers, fence: false };
    for conv in convs(shape, config, 0..shape.pixel_tiles.len(), tiles, waits) {
        steps.extend(conv.gates.iter().map(|gates| Step::Store { beats: small(gates.count) }));
        steps.push(conv.step);
        if conv.part + 1 == shape.parts() {
            steps.extend(fills.drain(..).map(|rect| Step::Fill { cells: small(rect.cells()) }));
        }
    }
    steps
}

/// Which of the first instructions of a layer wait for all earlier writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Barriers {
    /// Those of all parts but the last.
    others: bool,
    /// The one of the weights.
    weights: bool,
}

/// What the first instructions of a strip wait for.
struct Waits {
    barriers: Barriers,
    /// All earlier transfers.
    fence: bool,
}

/// One CONV of a layer.
struct Conv {
    pixel_tile: usize,
    block: usize,
    part: usize,
    /// Factors that are sent to the depthwise unit before it, for itself and the blocks behind it.
    gates: Vec<Gates>,
    step: Step,
}

/// Factors that a part takes, of blocks behind one another: a beat each.
struct Gates {
    part: usize,
    first: usize,
    count: usize,
}

/// The CONVs of some rectangles of a layer.
fn convs(
    shape: &LayerGeometry,
    config: &AcceleratorConfig,
    pixel_tiles: Range<usize>,
    tiles: &[u32],
    mut waits: Waits,
) -> Vec<Conv> {
    let mut convs = Vec::new();
    for pixel_tile in pixel_tiles {
        let tile = &shape.pixel_tiles[pixel_tile];
        for (block, channels) in shape.blocks.iter().enumerate() {
            // The two bytes of a value of 16 bits are written one after the other.
            let digits = 1 + usize::from(shape.output.wide);
            let chunks = small(digits * shape.output.write_back(channels.first, channels.columns).chunks);
            let last = shape.parts() - 1;
            for part in 0..=last {
                // A residual operand is added by the array, whatever computes the rest.
                let by_array = part < last && !shape.gated;
                let own = if by_array { shape.pixels(&tile.of_cluster(config)) } else { shape.stream(tile, config) };
                let barrier = if part == last { waits.barriers.weights } else { waits.barriers.others };
                let step = Step::Conv {
                    tiles: shape.part_tiles(part, block, tiles[block]),
                    pixels: small(own),
                    outputs: small(tile.outputs()),
                    window: small(shape.window_area()),
                    chunks,
                    barrier,
                    fence: std::mem::take(&mut waits.fence),
                    partial: part < last,
                    table: if part < last { Table::Off } else { shape.block_table(pixel_tile, block) },
                };
                let gates = if part == 0 { sent_gates(shape, block) } else { Vec::new() };
                convs.push(Conv { pixel_tile, block, part, gates, step });
            }
            waits.barriers = Barriers { others: false, weights: false };
        }
    }
    convs
}

/// What is sent to the depthwise unit before a block: the beats of as many blocks as the queue holds, in the order in which
/// their parts take them, one after another where there are several parts.
fn sent_gates(shape: &LayerGeometry, block: usize) -> Vec<Gates> {
    let parts = shape.parts();
    let blocks = GATE_QUEUE / parts;
    if !shape.gated || !block.is_multiple_of(blocks) {
        return Vec::new();
    }
    let count = blocks.min(shape.blocks.len() - block);
    if parts == 1 {
        return vec![Gates { part: 0, first: block, count }];
    }
    let of_block = |first| (0..parts).map(move |part| Gates { part, first, count: 1 });
    (block..block + count).flat_map(of_block).collect()
}

/// The barriers of the first instructions of a layer.
///
/// A block starts only when the writes of the block before the previous one are in the lanes, so only what the
/// previous block writes may still be under way. Before the first block of a layer that is the last rectangle of
/// the layer before.
pub(crate) fn barriers(network: &NetworkGeometry, layer: usize) -> Barriers {
    let shape = &network.layers[layer];
    // Gates are read by a STORE, which waits for everything; so does what stands behind it. Any column of a sequence may
    // be fresh.
    let weighted = if shape.sequence { &shape.sources[..] } else { shape.weighted_sources() };
    let wait = |part: &LayerGeometry, sources: &[SourceGeometry]| {
        let Some(previous) = layer.checked_sub(1) else { return true };
        // What is restored was saved before.
        let resident = network.residence.spilled[network.inputs.len() + previous].is_none();
        let fresh = resident && sources.iter().any(|s| s.source == LayerSource::Layer(previous));
        let before = &network.layers[previous];
        let [rows, _] = before.output_steps();
        let written = before.pixel_tiles.last().map_or(0..0, |t| rows * t.y..rows * (t.y + t.height));
        let read = part.pixel_tiles.first().map_or(0..0, |tile| rows_read(part, tile));
        fresh && read.start < written.end && written.start < read.end
    };
    let before = |part: usize| {
        let source = shape.part_source(part);
        wait(&shape.part(part), &shape.sources[source..=source])
    };
    let others = if shape.gated { 0 } else { shape.parts() - 1 };
    Barriers { others: (0..others).any(before), weights: wait(shape, weighted) }
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
