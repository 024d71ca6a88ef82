//! Where tensors are while a program runs, and in which order the work is done.
//!
//! A tensor is *resident*, whole in the lanes from the job that writes it to the last that reads it, or *spilled*: it lies
//! in external memory as it would lie in the lanes, halo included, and passes through the lanes in *strips* of some rows.
//! The work is a list of *jobs*: an input or a strip of it is loaded, one strip of a layer is computed, an output or a strip
//! of it is stored. What a job has in the lanes are *parts* of tensors, each alive for some jobs; the allocator places them.
//!
//! Transfers run beside the array. Behind the first block of a job follow the *save* of what the job before wrote and the
//! *restores* of what the next job reads, unless that depends on this job: so a restored part is alive from the job before,
//! a part that is saved to the job behind it. A job may also be *late*, surely if it depends on the one before: save and
//! restores then come between the two, which takes time but less room, since nothing is alive longer than its own job.
//!
//! Without spilling every layer is one strip and every tensor one part.

use std::ops::Range;

use espalier_ir::LayerSource;

use crate::allocation::{Demand, lower_bound};
use crate::geometry::tensor_index;
use crate::{BURST_BEATS, LayerGeometry, NetworkGeometry, TensorLayout};

/// Some rows and planes of a tensor in the lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanePart {
    /// The tensor.
    pub tensor: LayerSource,
    /// Rows, counted from the top of the halo.
    pub lines: Range<usize>,
    /// Rows for which a plane has room: the same for all strips that one layer reads, so that these share its weights.
    pub plane_lines: usize,
    /// Planes; those that the tensor does not have do not count.
    pub planes: Range<usize>,
    /// First and last job during which it is in the lanes.
    pub life: [usize; 2],
}

impl LanePart {
    /// Bytes of every lane from one plane to the next; `layout` is that of the tensor.
    pub fn plane_bytes(&self, layout: &TensorLayout) -> usize {
        self.plane_lines.saturating_mul(layout.pitch).saturating_add(layout.halo.side)
    }

    /// Neighbouring bytes of a plane that hold the rows.
    pub fn run(&self, layout: &TensorLayout) -> usize {
        self.lines.len() * layout.pitch + layout.halo.side
    }

    /// Bytes of every lane.
    pub fn bytes(&self, layout: &TensorLayout) -> usize {
        self.planes_of(layout).len().saturating_mul(self.plane_bytes(layout))
    }

    /// The planes that are there; a pruned network has fewer than the one whose residence it shares.
    pub fn planes_of(&self, layout: &TensorLayout) -> Range<usize> {
        self.planes.start..self.planes.end.min(layout.planes)
    }

    /// The part as a tensor of its own: of its rows and planes, with as much of the halo as it has.
    pub fn layout(&self, layout: &TensorLayout) -> TensorLayout {
        let [channels, height, width] = layout.shape;
        let top = layout.halo.top;
        let rows = self.lines.start.max(top)..self.lines.end.min(top + height);
        let planes = self.planes_of(layout);
        let channels = channels.min(planes.end * layout.rows).saturating_sub(planes.start * layout.rows);
        let mut part = layout.clone();
        part.shape = [channels, rows.len(), width];
        part.planes = planes.len();
        part.halo.top = rows.start - self.lines.start;
        part.halo.bottom = self.lines.end - rows.end;
        part.plane_bytes = self.plane_bytes(layout);
        part
    }

    /// The layout by which a CONV addresses the part: that of the tensor, with the planes as far apart as here.
    fn view(&self, layout: &TensorLayout) -> TensorLayout {
        TensorLayout { plane_bytes: self.plane_bytes(layout), ..layout.clone() }
    }

    /// Where row 0 of the halo would lie if the part at `base` had all rows, modulo 2^16.
    pub fn origin(&self, layout: &TensorLayout, base: usize) -> usize {
        base.wrapping_sub(self.lines.start * layout.pitch) & 0xffff
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Loads its output, of a graph input.
    Load {
        /// Position of the input.
        input: usize,
    },
    /// Computes one strip of a layer.
    Layer {
        /// The layer.
        layer: usize,
        /// Position among the strips of the layer.
        strip: usize,
    },
    /// Stores its source, of a graph output.
    Store {
        /// Position of the output.
        output: usize,
    },
}

/// One piece of work and the parts that it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What it does.
    pub work: Work,
    /// LanePart of every source, in their order.
    pub sources: Vec<usize>,
    /// LanePart that it writes, if any.
    pub output: Option<usize>,
    /// Sources that are restored from external memory for it.
    pub restores: Vec<usize>,
    /// Whether the output is saved to external memory.
    pub saves: bool,
    /// Whether its restores, and before them the save of the job before, come between the two instead of beside the job
    /// before: because it reads what that writes, or to need less room.
    pub late: bool,
}

/// Parts, jobs, and the place of spilled tensors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Residence {
    /// Parts of tensors in the lanes.
    pub parts: Vec<LanePart>,
    /// Jobs in the order of the program.
    pub jobs: Vec<Job>,
    /// First beat in external memory of graph inputs, then of layer outputs; `None` = resident.
    pub spilled: Vec<Option<usize>>,
    /// Beats of external memory that spilled tensors take.
    pub beats: usize,
}

impl Residence {
    /// The only residence of a network without spilled tensors.
    pub fn on_chip(network: &NetworkGeometry) -> Self {
        let tensors = network.inputs.len() + network.layers.len();
        Builder::new(network, (&vec![false; tensors], &[]), 1, 0).residence()
    }

    /// The residence of a network of which some tensors are spilled; layers that touch these are cut into strips, and
    /// those in `late` never restore beside the job before. A row of a lane takes `beats` beats of external memory; inputs and outputs pass in strips of about `pixels`.
    pub(crate) fn new(
        network: &NetworkGeometry,
        (spilled, late): (&[bool], &[bool]),
        beats: usize,
        pixels: usize,
    ) -> Self {
        Builder::new(network, (spilled, late), beats, pixels).residence()
    }

    /// Bytes and lives of all parts.
    pub fn demands(&self, network: &NetworkGeometry) -> Vec<Demand> {
        let demand = |part: &LanePart| Demand {
            bytes: part.bytes(network.layout(part.tensor)),
            first: part.life[0],
            last: part.life[1],
        };
        self.parts.iter().map(demand).collect()
    }

    /// Bytes of every lane alive at the fullest moment: no allocation needs less.
    pub fn live_bytes(&self, network: &NetworkGeometry) -> usize {
        lower_bound(&self.demands(network))
    }

    /// Whether any tensor is spilled.
    pub fn spills(&self) -> bool {
        self.beats > 0
    }

    /// The geometry of a layer as one of its jobs sees it: sources and output lie as the parts do.
    pub fn view(&self, shape: &LayerGeometry, job: usize) -> LayerGeometry {
        let mut view = shape.clone();
        let Job { sources, output, .. } = &self.jobs[job];
        for (source, part) in view.sources.iter_mut().zip(sources) {
            source.layout = self.parts[*part].view(&source.layout);
        }
        let output = output.expect("a layer has an output");
        view.output = self.parts[output].view(&view.output);
        view
    }
}

/// Whether any of the parts that are restored holds rows of the one that is written.
fn depends(parts: &[LanePart], written: usize, restores: &[usize]) -> bool {
    let written = &parts[written];
    restores.iter().map(|part| &parts[*part]).any(|read| {
        read.tensor == written.tensor && read.lines.start < written.lines.end && written.lines.start < read.lines.end
    })
}

struct Builder<'a> {
    network: &'a NetworkGeometry,
    spilled: &'a [bool],
    /// Layers whose jobs are late; those beyond its end are not.
    late: &'a [bool],
    beats: usize,
    pixels: usize,
    parts: Vec<LanePart>,
    jobs: Vec<Job>,
    /// The part that is a resident tensor.
    resident: Vec<Option<usize>>,
}

impl<'a> Builder<'a> {
    fn new(
        network: &'a NetworkGeometry,
        (spilled, late): (&'a [bool], &'a [bool]),
        beats: usize,
        pixels: usize,
    ) -> Self {
        let resident = vec![None; spilled.len()];
        Builder { network, spilled, late, beats, pixels, parts: Vec::new(), jobs: Vec::new(), resident }
    }

    fn residence(mut self) -> Residence {
        for input in 0..self.network.inputs.len() {
            self.load(input);
        }
        for layer in 0..self.network.layers.len() {
            self.layer(layer);
        }
        for output in 0..self.network.outputs.len() {
            self.store(output);
        }
        let mut beats = 0;
        let sources = (0..self.network.inputs.len())
            .map(LayerSource::Input)
            .chain((0..self.network.layers.len()).map(LayerSource::Layer));
        let spilled = sources
            .zip(self.spilled)
            .map(|(source, spilled)| {
                let first = beats;
                if *spilled {
                    let bytes = self.network.layout(source).bytes();
                    beats = (first + bytes.saturating_mul(self.beats)).next_multiple_of(BURST_BEATS);
                }
                spilled.then_some(first)
            })
            .collect();
        Residence { parts: self.parts, jobs: self.jobs, spilled, beats }
    }

    fn index(&self, source: LayerSource) -> usize {
        tensor_index(source, self.network.inputs.len())
    }

    fn is_spilled(&self, source: LayerSource) -> bool {
        self.spilled[self.index(source)]
    }

    /// A part that is alive for some jobs.
    fn part(&mut self, tensor: LayerSource, lines: Range<usize>, planes: Range<usize>, life: [usize; 2]) -> usize {
        let plane_lines = lines.len();
        self.parts.push(LanePart { tensor, lines, plane_lines, planes, life });
        self.parts.len() - 1
    }

    /// The part that is a resident tensor, needed by this job.
    fn whole(&mut self, tensor: LayerSource, first: usize) -> usize {
        let (index, now) = (self.index(tensor), self.jobs.len());
        let layout = self.network.layout(tensor);
        let (lines, planes) = (0..layout.lines(), 0..layout.planes);
        let part = match self.resident[index] {
            Some(part) => part,
            None => self.part(tensor, lines, planes, [first, now]),
        };
        self.resident[index] = Some(part);
        self.parts[part].life[1] = now;
        part
    }

    /// Planes and rows of the strips in which a spilled tensor is loaded or stored.
    fn strips(&self, tensor: LayerSource) -> Vec<(Range<usize>, Range<usize>)> {
        let layout = self.network.layout(tensor);
        let [_, height, width] = layout.shape;
        let count = height.div_ceil((self.pixels / width).max(1));
        let lines = |i: usize| output_lines(layout, i * height / count..(i + 1) * height / count);
        (0..layout.planes).flat_map(|plane| (0..count).map(move |i| (plane..plane + 1, lines(i)))).collect()
    }

    fn load(&mut self, input: usize) {
        let tensor = LayerSource::Input(input);
        let job = Job {
            work: Work::Load { input },
            sources: vec![],
            output: None,
            restores: vec![],
            saves: false,
            late: true,
        };
        if !self.is_spilled(tensor) {
            // All inputs are there before the first layer.
            let output = Some(self.whole(tensor, 0));
            self.jobs.push(Job { output, ..job });
            return;
        }
        for (planes, lines) in self.strips(tensor) {
            let now = self.jobs.len();
            let output = Some(self.part(tensor, lines, planes, [now, now + 1]));
            self.jobs.push(Job { output, saves: true, ..job.clone() });
        }
    }

    fn layer(&mut self, layer: usize) {
        let network = self.network;
        let shape = &network.layers[layer];
        let most = |i: usize| {
            let lines = shape.strips.iter().map(|tiles| source_lines(shape, i, &rows_of(shape, tiles)).len());
            lines.max().expect("a layer has a strip")
        };
        let plane_lines: Vec<usize> = (0..shape.sources.len()).map(most).collect();
        for (strip, tiles) in shape.strips.iter().enumerate() {
            let now = self.jobs.len();
            let rows = rows_of(shape, tiles);
            let (mut sources, mut restores) = (Vec::new(), Vec::new());
            for (i, source) in shape.sources.iter().enumerate() {
                if self.is_spilled(source.source) {
                    let lines = source_lines(shape, i, &rows);
                    let planes = 0..source.layout.planes;
                    let part = self.part(source.source, lines, planes, [now.saturating_sub(1), now]);
                    self.parts[part].plane_lines = plane_lines[i];
                    sources.push(part);
                    restores.push(part);
                } else {
                    sources.push(self.whole(source.source, now));
                }
            }
            let tensor = LayerSource::Layer(layer);
            let saves = self.is_spilled(tensor);
            let output = if saves {
                self.part(tensor, output_lines(&shape.output, rows), 0..shape.output.planes, [now, now + 1])
            } else {
                self.whole(tensor, now)
            };
            let late = self.between(layer, &restores);
            let work = Work::Layer { layer, strip };
            self.jobs.push(Job { work, sources, output: Some(output), restores, saves, late });
        }
    }

    /// Whether the job of a layer that is about to be pushed is late; lives are then shorter.
    fn between(&mut self, layer: usize, restores: &[usize]) -> bool {
        let now = self.jobs.len();
        let Some(Job { work: Work::Layer { .. }, output: Some(written), saves, .. }) = self.jobs.last() else {
            return true;
        };
        let (written, saves) = (*written, *saves);
        let wanted = self.late.get(layer).copied().unwrap_or(false) && !restores.is_empty();
        let late = wanted || depends(&self.parts, written, restores);
        if late {
            if saves {
                self.parts[written].life[1] = now - 1;
            }
            restores.iter().for_each(|part| self.parts[*part].life[0] = now);
        }
        late
    }

    fn store(&mut self, output: usize) {
        let tensor = self.network.outputs[output];
        let job = Job {
            work: Work::Store { output },
            sources: vec![],
            output: None,
            restores: vec![],
            saves: false,
            late: true,
        };
        if !self.is_spilled(tensor) {
            let sources = vec![self.whole(tensor, self.jobs.len())];
            self.jobs.push(Job { sources, ..job });
            return;
        }
        for (planes, lines) in self.strips(tensor) {
            let now = self.jobs.len();
            let part = self.part(tensor, lines, planes, [now, now]);
            self.jobs.push(Job { sources: vec![part], restores: vec![part], ..job.clone() });
        }
    }
}

/// Output rows of a strip.
fn rows_of(shape: &LayerGeometry, tiles: &Range<usize>) -> Range<usize> {
    if shape.interleave.is_some() {
        return 0..shape.output.shape[1];
    }
    let tiles = &shape.pixel_tiles[tiles.clone()];
    let (first, last) = (tiles.first().expect("a strip has a tile"), tiles.last().expect("a strip has a tile"));
    first.y..last.y + last.height
}

/// Lines of an output strip: its rows, with the halo above the first and below the last row of the tensor.
fn output_lines(layout: &TensorLayout, rows: Range<usize>) -> Range<usize> {
    let [_, height, _] = layout.shape;
    let top = layout.halo.top;
    let start = if rows.start == 0 { 0 } else { top + rows.start };
    let end = if rows.end == height { layout.lines() } else { top + rows.end };
    start..end
}

/// Lines of a source that a strip of output rows reads.
fn source_lines(shape: &LayerGeometry, source: usize, rows: &Range<usize>) -> Range<usize> {
    let residual = shape.residual.is_some() && source + 1 == shape.sources.len();
    let part = if residual { shape.residual_part() } else { None };
    let part = part.as_ref().unwrap_or(shape);
    let layout = &shape.sources[source].layout;
    let gates = shape.gated && source % 2 == 1;
    if shape.interleave.is_some() || gates {
        return 0..layout.lines();
    }
    let step = part.stride[0] * part.window_stride[0];
    let reach = (part.window[0] - 1) * part.stride[0] + (part.kernel[0] - 1) * part.dilation[0] + 1;
    let above = layout.halo.top - part.pads.top;
    let end = (rows.end - 1) * step + reach + above;
    rows.start * step + above..end.min(layout.lines())
}
