//! From layers to loops: where each tensor lies, how output channels and pixels are cut.
//!
//! Output channels are computed in blocks of `cols`, output pixels in rectangles whose conv pixels
//! fit an accumulator bank. One CONV instruction computes one block of one rectangle.

use std::ops::Range;

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostics, Graph, Interleave, LayerSource, Op, Pads, input_layout};

use crate::check;
use crate::config::MAX_WINDOW;
use crate::depthwise;
use crate::external::ActivationStore;
use crate::{AcceleratorConfig, Halo, Residence, Table, TensorLayout, Vector, dense_tiles, spill};

/// Which input channels reach which output channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connectivity {
    /// A convolution with this many groups; 1 = every input channel reaches every output channel.
    Grouped(usize),
    /// Channel to channel (pooling, scaling, addition): each source holds all output channels.
    Diagonal,
    /// Channels of the sources one after another.
    Joined,
    /// Each output channel copies the given channel of the only source, or none and is zero.
    Selected(Vec<Option<usize>>),
}

/// Output channels that one pass computes, one a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// First output channel.
    pub first: usize,
    /// Channels, at most `cols`.
    pub columns: usize,
    /// The outputs that it computes where the layer is interleaved, `[vertical, horizontal]`; else 0.
    pub phase: [usize; 2],
}

/// A rectangle of output pixels (after pooling; of each phase).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelTile {
    /// First row.
    pub y: usize,
    /// First column.
    pub x: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl PixelTile {
    /// Output pixels.
    pub fn outputs(&self) -> usize {
        self.height * self.width
    }

    /// The rows of the first cluster, which has the most: cluster `k` computes rows `k`, `k + clusters` and so on.
    #[must_use]
    pub fn of_cluster(&self, config: &AcceleratorConfig) -> PixelTile {
        PixelTile { height: self.height.div_ceil(config.clusters), ..*self }
    }
}

/// One tensor that a layer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceGeometry {
    /// Which tensor.
    pub source: LayerSource,
    /// Its layout.
    pub layout: TensorLayout,
    /// Byte, relative to the base of the tensor, that output pixel (0, 0) reads with kernel tap
    /// (0, 0) in plane 0; where the layer is interleaved, element (0, 0).
    pub origin: usize,
}

/// Byte steps of the pixel loops of an instruction in its sources, modulo 2^16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceSteps {
    /// To the next output row.
    pub y: usize,
    /// To the next output column.
    pub x: usize,
    /// To the next row of the pooling window.
    pub wy: usize,
    /// To the next column of the pooling window.
    pub wx: usize,
}

/// How the last source of a convolution is added to its sums: in passes of its own, with one weight a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidualGeometry {
    /// Diagonal or selected.
    pub connectivity: Connectivity,
    /// Step through the source, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Weight tiles in every block of the layer; it is never pruned.
    pub tiles: Vec<u32>,
}

/// Everything about one layer that follows from shapes and the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerGeometry {
    /// Name of the layer.
    pub name: String,
    /// ONNX operator.
    pub op_name: &'static str,
    /// Tensors read; all but a residual operand, which is the last, have the same pitch.
    pub sources: Vec<SourceGeometry>,
    /// Layout of the tensor written.
    pub output: TensorLayout,
    /// Which channels are connected.
    pub connectivity: Connectivity,
    /// Whether every second source holds a factor for each channel, by which the one before is multiplied instead of weights.
    pub gated: bool,
    /// Whether the sources are vectors, a column of the output each.
    pub sequence: bool,
    /// How the last source is added, if it is a residual operand. What the rest of the geometry says of vectors and
    /// tiles does not include it: see [`LayerGeometry::residual_part`].
    pub residual: Option<ResidualGeometry>,
    /// Weight tiles in every block of each vector that a fully connected layer reads besides the first: the sources behind
    /// it. They are never pruned.
    pub joined: Vec<Vec<u32>>,
    /// The earlier layer, of another time step, that has the same weight words.
    pub shares_words: Option<usize>,
    /// Kernel, `[height, width]`; 1x1 where the window is a pooling window.
    pub kernel: [usize; 2],
    /// Stride of the convolution, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Padding of the sources.
    pub pads: Pads,
    /// Distance of kernel taps.
    pub dilation: [usize; 2],
    /// How the results of the phases lie in the output; `None`: one result after another.
    pub interleave: Option<Interleave>,
    /// Shape before pooling or of each phase, `[channels, height, width]`.
    pub conv_shape: [usize; 3],
    /// Window of the maximum or sum that write-back takes, `[height, width]`; 1x1 = none.
    pub window: [usize; 2],
    /// Whether it takes the sum.
    pub window_sum: bool,
    /// Conv pixels from one pooled output to the next, `[vertical, horizontal]`.
    pub window_stride: [usize; 2],
    /// Horizontal taps that a pass of the depthwise unit computes; `None` = the layer takes the array.
    pub depthwise: Option<usize>,
    /// The tables that the results pass: none, that of an earlier layer, one for all channels, one for each.
    pub table: Table,
    /// Blocks of output channels.
    pub blocks: Vec<Block>,
    /// Rectangles of output pixels, row by row.
    pub pixel_tiles: Vec<PixelTile>,
    /// Those of each strip, of whole rows, that is computed at a time; one strip if no tensor of the layer is spilled.
    pub strips: Vec<Range<usize>>,
}

impl LayerGeometry {
    /// Conv pixels that one output takes.
    pub fn window_area(&self) -> usize {
        self.window[0] * self.window[1]
    }

    /// The sources that the layer reads with its own loops: all but a residual operand or gates.
    pub fn weighted_sources(&self) -> &[SourceGeometry] {
        if self.gated || self.sequence || !self.joined.is_empty() {
            return &self.sources[..1];
        }
        &self.sources[..self.sources.len() - usize::from(self.residual.is_some())]
    }

    /// CONVs of a block of a rectangle: all but the last leave their sums in the accumulators.
    pub fn parts(&self) -> usize {
        if self.gated {
            return self.sources.len() / 2;
        }
        usize::from(self.residual.is_some()) + self.joined.len() + 1
    }

    /// The source that a part reads.
    pub fn part_source(&self, part: usize) -> usize {
        if self.gated {
            return 2 * part;
        }
        match part.checked_sub(usize::from(self.residual.is_some())) {
            None => self.sources.len() - 1,
            Some(vector) if vector < self.joined.len() => vector + 1,
            Some(_) => 0,
        }
    }

    /// Weight tiles of a part of a block that takes `tiles` itself.
    pub fn part_tiles(&self, part: usize, block: usize, tiles: u32) -> u32 {
        match (&self.residual, self.part_source(part).checked_sub(1)) {
            (Some(residual), _) if part == 0 => residual.tiles[block],
            (_, Some(vector)) if !self.gated => self.joined[vector][block],
            _ => tiles,
        }
    }

    /// What a part of each block reads, as a layer of its own with the same blocks and rectangles: the addition of a
    /// residual operand, a product; the last one is the layer without them.
    pub fn part(&self, part: usize) -> LayerGeometry {
        if self.gated {
            return LayerGeometry { sources: self.sources[2 * part..2 * part + 2].to_vec(), ..self.clone() };
        }
        match self.residual_part() {
            Some(residual) if part == 0 => residual,
            _ if self.joined.is_empty() => self.clone(),
            _ => {
                let sources = vec![self.sources[self.part_source(part)].clone()];
                LayerGeometry { sources, residual: None, joined: Vec::new(), ..self.clone() }
            }
        }
    }

    /// Weight tiles of all parts of a block but the last.
    pub fn tiles_before(&self, block: usize, tiles: u32) -> u32 {
        (0..self.parts() - 1).map(|part| self.part_tiles(part, block, tiles)).sum()
    }

    /// Conv pixels of a rectangle.
    pub fn pixels(&self, tile: &PixelTile) -> usize {
        tile.outputs() * self.window_area()
    }

    /// The addition of the residual operand as a layer of its own, with the same blocks and rectangles: one CONV of it
    /// precedes each CONV of the layer and leaves its sums in the accumulators.
    pub fn residual_part(&self) -> Option<LayerGeometry> {
        let residual = self.residual.as_ref()?;
        Some(LayerGeometry {
            sources: vec![self.sources.last()?.clone()],
            connectivity: residual.connectivity.clone(),
            residual: None,
            joined: Vec::new(),
            depthwise: None,
            kernel: [1, 1],
            stride: residual.stride,
            pads: Pads::default(),
            dilation: [1, 1],
            ..self.clone()
        })
    }

    /// Byte steps of the pixel loops.
    pub fn source_steps(&self) -> SourceSteps {
        let pitch = self.sources[0].layout.pitch;
        let wrap = |rows: usize, columns: usize| (rows.wrapping_mul(pitch).wrapping_add(columns)) & 0xffff;
        let [sy, sx] = self.stride;
        SourceSteps {
            y: wrap(sy.wrapping_mul(self.window_stride[0]), 0),
            x: wrap(0, sx.wrapping_mul(self.window_stride[1])),
            wy: wrap(sy, 0),
            wx: wrap(0, sx),
        }
    }

    /// Where the row that holds `vector` reads, relative to what the pixel loops address: the row
    /// offset of a weight word, modulo 2^16. `bases` are the base addresses of all sources.
    pub fn row_offset(&self, vector: &Vector, bases: &[usize]) -> u16 {
        let source = &self.sources[vector.source];
        let layout = &source.layout;
        let tap = match &self.interleave {
            None => vector.ky * self.dilation[0] * layout.pitch + self.first_tap(vector) * self.dilation[1],
            Some(spread) => {
                let [y, x] = [spread.offset(0, vector.ky), spread.offset(1, vector.kx)];
                (y as usize).wrapping_mul(layout.pitch).wrapping_add(x as usize)
            }
        };
        let plane = layout.plane(vector.channel) * layout.plane_bytes;
        let here = (bases[vector.source] + source.origin + plane).wrapping_add(tap);
        wrap(here.wrapping_sub(bases[0] + self.sources[0].origin))
    }

    /// Address that the pixel loops of a rectangle start from, with the base address of its source: the first, or that of
    /// its column.
    pub fn read_address(&self, pixel_tile: usize, base: usize) -> u16 {
        let (steps, tile) = (self.source_steps(), &self.pixel_tiles[pixel_tile]);
        if self.sequence {
            return wrap(base + self.sources[pixel_tile].origin);
        }
        wrap(base + self.sources[0].origin + tile.y * steps.y + tile.x * steps.x)
    }

    /// Address of the first write of a block of a rectangle, with the base address of the output.
    pub fn write_address(&self, tile: &PixelTile, block: &Block, base: usize) -> u16 {
        let plane = self.output.write_back(block.first, block.columns).plane_offset;
        let [fy, fx] = self.output_steps();
        let [y, x] = [tile.y * fy + block.phase[0], tile.x * fx + block.phase[1]];
        wrap(base + plane + self.output.origin() + y * self.output.pitch + x)
    }

    /// Distance of the outputs of a block in the tensor written, `[vertical, horizontal]`.
    pub fn output_steps(&self) -> [usize; 2] {
        self.interleave.map_or([1, 1], |spread| spread.factor)
    }

    /// The taps of the kernel that a block has, one for each vector of a channel: row and first column.
    pub(crate) fn block_taps(&self, block: usize) -> Vec<[usize; 2]> {
        let ([kh, kw], phase) = (self.kernel, self.blocks[block].phase);
        let used = |axis: usize, tap: &usize| self.interleave.is_none_or(|s| s.phase(axis, *tap) == phase[axis]);
        let columns: Vec<usize> = (0..kw).step_by(self.depthwise.unwrap_or(1)).filter(|kx| used(1, kx)).collect();
        let rows = (0..kh).filter(|ky| used(0, ky));
        rows.flat_map(|ky| columns.iter().map(move |kx| [ky, *kx])).collect()
    }

    /// Cycles that one weight tile of any block takes, over all rectangles: what a tile removed by
    /// pruning saves.
    pub fn cycles_per_tile(&self, config: &AcceleratorConfig) -> u64 {
        self.pixel_tiles.iter().map(|t| self.stream(t, config).max(config.rows) as u64).sum()
    }

    /// The layer cut into so many strips of nearly equal height, at most one a row.
    #[must_use]
    pub(crate) fn in_strips(self, strips: usize, config: &AcceleratorConfig) -> LayerGeometry {
        // Interleaved outputs are counted before they are spread, and come in one strip.
        // Neither are the digits of a value.
        let ([_, height, width], strips) = match self.interleave {
            Some(_) => (self.conv_shape, 1),
            None if self.output.wide => (self.conv_shape, 1),
            None => (self.output.shape, strips),
        };
        if self.sequence {
            // Every column has a source of its own.
            let tiles: Vec<_> = (0..width).map(|x| PixelTile { y: 0, x, height: 1, width: 1 }).collect();
            let strips = std::iter::once(0..tiles.len()).collect();
            return LayerGeometry { strips, pixel_tiles: tiles, ..self };
        }
        let limit = config.accumulator_pixels / self.window_area();
        let (mut tiles, mut ranges) = (Vec::new(), Vec::new());
        for (y, height) in split(height, height.div_ceil(strips.min(height))) {
            let first = tiles.len();
            tiles.extend(
                pixel_tiles(height, width, limit, config.clusters).into_iter().map(|t| PixelTile { y: y + t.y, ..t }),
            );
            ranges.push(first..tiles.len());
        }
        LayerGeometry { pixel_tiles: tiles, strips: ranges, ..self }
    }

    /// Weights of the vectors that a fully connected layer reads besides the first.
    pub fn joined_weights(&self) -> u64 {
        let read: usize = self.sources[1..].iter().take(self.joined.len()).map(|s| s.layout.shape[0]).sum();
        (read * self.conv_shape[0]) as u64
    }

    /// Multiply-accumulate operations of one vector of a block over all conv pixels.
    pub fn conv_pixels(&self) -> u64 {
        self.pixel_tiles.iter().map(|t| self.pixels(t) as u64).sum()
    }
}

impl LayerGeometry {
    /// The layer with other channel counts of its sources and its output: what [`geometry()`] gives
    /// for the narrower network. Depthwise layers stay depthwise. `picked` is what a selection then picks, of the layer or
    /// of its residual operand; of no use where there is none.
    #[must_use]
    pub fn with_channels(
        &self,
        sources: &[usize],
        output: usize,
        picked: &[Option<usize>],
        config: &AcceleratorConfig,
    ) -> LayerGeometry {
        let mut narrow = self.clone();
        for (source, channels) in narrow.sources.iter_mut().zip(sources) {
            source.layout = source.layout.with_channels(*channels);
        }
        narrow.output = self.output.with_channels(output);
        narrow.conv_shape[0] = output;
        let residual = narrow.residual.as_mut().map(|r| &mut r.connectivity);
        for connectivity in residual.into_iter().chain([&mut narrow.connectivity]) {
            if let Connectivity::Selected(channels) = connectivity {
                *channels = picked.to_vec();
            }
        }
        if let Connectivity::Grouped(groups) = &mut narrow.connectivity
            && *groups > 1
            && *groups == self.sources[0].layout.shape[0]
        {
            *groups = sources[0];
        }
        narrow.blocks = blocks(output, config.cols, self.output_steps());
        narrow.depthwise = None;
        depthwise::choose(narrow, config).with_other_tiles(config)
    }

    /// The layer with the tiles of its residual operand and of the vectors behind the first.
    fn with_other_tiles(mut self, config: &AcceleratorConfig) -> LayerGeometry {
        let first = usize::from(self.residual.is_some());
        self.joined = (0..self.joined.len()).map(|vector| dense_tiles(&self.part(first + vector), config)).collect();
        let tiles = self.residual_part().map(|part| dense_tiles(&part, config));
        if let (Some(residual), Some(tiles)) = (&mut self.residual, tiles) {
            residual.tiles = tiles;
        }
        self
    }
}

/// Blocks of `cols` output channels, for each phase.
fn blocks(channels: usize, cols: usize, [fy, fx]: [usize; 2]) -> Vec<Block> {
    let block = |first, phase| Block { first, columns: cols.min(channels - first), phase };
    let phases = (0..fy).flat_map(|y| (0..fx).map(move |x| [y, x]));
    phases.flat_map(|phase| (0..channels).step_by(cols).map(move |first| block(first, phase))).collect()
}

/// The low 16 bits: lane addresses wrap.
fn wrap(address: usize) -> u16 {
    (address & 0xffff) as u16
}

/// The geometry of a whole network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkGeometry {
    /// Layouts of the graph inputs.
    pub inputs: Vec<TensorLayout>,
    /// Layers in execution order.
    pub layers: Vec<LayerGeometry>,
    /// Tensors that are the result.
    pub outputs: Vec<LayerSource>,
    /// Where the tensors are while the program runs.
    pub residence: Residence,
}

impl NetworkGeometry {
    /// Layout of a tensor.
    pub fn layout(&self, source: LayerSource) -> &TensorLayout {
        match source {
            LayerSource::Input(i) => &self.inputs[i],
            LayerSource::Layer(i) => &self.layers[i].output,
        }
    }
}

/// Shapes of the inputs of a graph, `[channels, height, width]`, and the tensors that are its
/// outputs (looking through views and a final softmax).
pub fn graph_ends(graph: &Graph, layers: &[ArrayLayer]) -> (Vec<[usize; 3]>, Vec<LayerSource>) {
    let shapes = graph.inputs().iter().map(|id| input_layout(graph, *id).shape);
    let outputs = graph.outputs().iter().filter_map(|output| {
        let mut id = *output;
        loop {
            if let Some(position) = graph.inputs().iter().position(|i| *i == id) {
                return Some(LayerSource::Input(position));
            }
            // Of a value of 16 bits and its rounding the latter.
            if let Some(layer) = layers.iter().rposition(|l| l.nodes.contains(&id)) {
                return Some(LayerSource::Layer(layer));
            }
            match graph.node(id).op {
                Op::Flatten | Op::Reshape { .. } | Op::Softmax { .. } => id = *graph.operands(id).first()?,
                _ => return None,
            }
        }
    });
    (shapes.collect(), outputs.collect())
}

/// Lays out all tensors and cuts all layers.
///
/// `input_shapes` and `outputs` are those of [`graph_ends`]; every source of a layer must be an
/// input or an earlier layer, as `espalier_ir::array_layers` gives them.
///
/// # Errors
/// Every layer or tensor that the configuration cannot hold, and every bad field of the
/// configuration.
pub fn geometry(
    layers: &[ArrayLayer],
    input_shapes: &[[usize; 3]],
    outputs: &[LayerSource],
    config: &AcceleratorConfig,
) -> Result<NetworkGeometry, Diagnostics> {
    config.validate()?;
    let mut findings = Diagnostics::new();
    check::layers(layers, config, &mut findings);
    let layouts = layouts(layers, input_shapes, config);
    check::tensors(layers, &layouts, input_shapes.len(), config, &mut findings);
    findings.into_result(())?;
    let index = |source: LayerSource| tensor_index(source, input_shapes.len());
    let mut geometry: Vec<LayerGeometry> = layers
        .iter()
        .enumerate()
        .map(|(i, layer)| {
            let sources = layer.sources.iter().map(|s| (*s, layouts[index(*s)].clone())).collect();
            layer_geometry(layer, sources, layouts[index(LayerSource::Layer(i))].clone(), config)
        })
        .collect();
    keep_tables(layers, &mut geometry);
    for index in 0..layers.len() {
        geometry[index].shares_words = same_words(layers, &geometry, index);
    }
    let mut findings = Diagnostics::new();
    check::tile_counts(&geometry, config, &mut findings);
    findings.into_result(())?;
    let mut network = NetworkGeometry {
        inputs: layouts[..input_shapes.len()].to_vec(),
        layers: geometry,
        outputs: outputs.to_vec(),
        residence: Residence::default(),
    };
    network.residence = Residence::on_chip(&network);
    match config.activations {
        ActivationStore::OnChip => Ok(network),
        ActivationStore::Spilled => spill::fit(network, config),
    }
}

/// Layers whose table is one of the two that were loaded last need not load it again.
fn keep_tables(layers: &[ArrayLayer], geometry: &mut [LayerGeometry]) {
    let root = |mut index: usize| {
        while let Some(alike) = layers[index].alike {
            index = alike;
        }
        index
    };
    let (mut last, mut other): (Option<usize>, Option<usize>) = (None, None);
    for (index, layer) in layers.iter().enumerate() {
        let Some(curve) = &layer.curve else { continue };
        let same = |other: usize| {
            root(other) == root(index) && layers[other].curve.as_ref().is_some_and(|c| c.function == curve.function)
        };
        let pooled = geometry[index].window != [1, 1];
        match geometry[index].table {
            Table::Shared if last.is_some_and(same) => geometry[index].table = Table::Kept,
            // The bit that says so is an operand where a window has several pixels.
            Table::Shared if other.is_some_and(same) && !pooled => {
                geometry[index].table = Table::Swapped;
                (last, other) = (other, last);
            }
            Table::Shared => (last, other) = (Some(index), last),
            // Several loads, maybe.
            _ => (last, other) = (None, None),
        }
    }
}

/// The first layer that does at another time step what this one does, and reads as many tensors of the same layouts.
fn same_words(layers: &[ArrayLayer], geometry: &[LayerGeometry], index: usize) -> Option<usize> {
    let peer = layers[index].peer?;
    let shape = |index: usize| {
        let sources = geometry[index].sources.iter().zip(&layers[index].steps);
        let sources: Vec<_> = sources.map(|(s, step)| (&s.layout, step.is_some())).collect();
        let LayerGeometry { output, residual, connectivity, table, .. } = &geometry[index];
        (sources, output, residual, connectivity, table)
    };
    let same = |other: &usize| {
        (*other == peer || layers[*other].peer == Some(peer))
            && std::mem::discriminant(&layers[*other].op) == std::mem::discriminant(&layers[index].op)
            && shape(*other) == shape(index)
    };
    (peer..index).find(same)
}

/// Position of a tensor among inputs and layer outputs.
pub(crate) fn tensor_index(source: LayerSource, inputs: usize) -> usize {
    match source {
        LayerSource::Input(i) => i,
        LayerSource::Layer(i) => inputs + i,
    }
}

/// Layouts of all graph inputs, then of all layer outputs.
fn layouts(layers: &[ArrayLayer], input_shapes: &[[usize; 3]], config: &AcceleratorConfig) -> Vec<TensorLayout> {
    let inputs = input_shapes.len();
    let shapes: Vec<[usize; 3]> = input_shapes.iter().copied().chain(layers.iter().map(|l| l.out_shape)).collect();
    let mut halos = vec![Halo::default(); shapes.len()];
    let mut pads_by = vec![(false, false); shapes.len()];
    for layer in layers {
        let (pads, minimum) = layer_pads(layer);
        for source in weighted_sources(layer) {
            let i = tensor_index(*source, inputs);
            let halo = &mut halos[i];
            halo.top = halo.top.max(pads.top);
            halo.bottom = halo.bottom.max(pads.bottom);
            halo.side = halo.side.max(pads.left).max(pads.right);
            let padded = pads != Pads::default();
            pads_by[i].0 |= padded && !minimum;
            pads_by[i].1 |= padded && minimum;
        }
    }
    share_pitch(layers, inputs, &mut halos);
    let layout = |(i, shape): (usize, &[usize; 3])| {
        let layout = TensorLayout {
            pads_zero_point: pads_by[i].0,
            pads_minimum: pads_by[i].1,
            ..TensorLayout::new(*shape, config.rows, i < inputs, halos[i])
        };
        if i >= inputs && layers[i - inputs].is_wide() { layout.of_wide() } else { layout }
    };
    shapes.iter().enumerate().map(layout).collect()
}

/// Gives all sources of one layer the same side halo: one instruction reads them with one pitch.
fn share_pitch(layers: &[ArrayLayer], inputs: usize, halos: &mut [Halo]) {
    loop {
        let mut changed = false;
        for layer in layers {
            // The columns of a sequence are read with the same offsets.
            let columns = matches!(layer.op, ArrayOp::Sequence);
            let sources = if columns { &layer.sources[..] } else { weighted_sources(layer) };
            let tensors: Vec<usize> = sources.iter().map(|s| tensor_index(*s, inputs)).collect();
            let most = |of: fn(&Halo) -> usize| tensors.iter().map(|i| of(&halos[*i])).max().unwrap_or(0);
            let shared = Halo { top: most(|h| h.top), bottom: most(|h| h.bottom), side: most(|h| h.side) };
            for i in tensors {
                let halo = if columns { shared } else { Halo { side: shared.side, ..halos[i] } };
                changed |= halos[i] != halo;
                halos[i] = halo;
            }
        }
        if !changed {
            return;
        }
    }
}

/// The sources that a layer reads with its own loops: all but a residual operand or gates.
fn weighted_sources(layer: &ArrayLayer) -> &[LayerSource] {
    match layer.op {
        ArrayOp::Gate | ArrayOp::Products | ArrayOp::Sequence => &layer.sources[..1],
        _ => layer.own_sources(),
    }
}

/// Padding of the sources of an operation, and whether it pads with the minimum.
fn layer_pads(layer: &ArrayLayer) -> (Pads, bool) {
    match &layer.op {
        ArrayOp::Conv { pads, .. } => (*pads, false),
        ArrayOp::AveragePool { pool } => (pool.pads, false),
        ArrayOp::MaxPool { pool } => (pool.pads, true),
        ArrayOp::ConvTranspose { kernel, interleave, .. } => {
            let sizes = [1, 2].map(|axis| (layer.in_shapes[0][axis], layer.conv_shape[axis]));
            let [top, bottom] = interleave.reach(0, kernel[0], sizes[0]);
            let [left, right] = interleave.reach(1, kernel[1], sizes[1]);
            (Pads { top, left, bottom, right }, false)
        }
        ArrayOp::Scale { .. }
        | ArrayOp::Add
        | ArrayOp::Gate
        | ArrayOp::Products
        | ArrayOp::Narrow
        | ArrayOp::Sequence
        | ArrayOp::Concat
        | ArrayOp::Select { .. }
        | ArrayOp::Resize { .. } => (Pads::default(), false),
    }
}

/// Pooling window of the write-back and its stride in conv pixels.
pub(crate) fn window(layer: &ArrayLayer) -> ([usize; 2], [usize; 2]) {
    match (&layer.op, layer.fused_pool) {
        (ArrayOp::MaxPool { pool }, _) => (pool.kernel, pool.stride),
        (_, Some(pool)) => (pool.kernel, pool.stride),
        _ => ([1, 1], [1, 1]),
    }
}

fn layer_geometry(
    layer: &ArrayLayer,
    sources: Vec<(LayerSource, TensorLayout)>,
    output: TensorLayout,
    config: &AcceleratorConfig,
) -> LayerGeometry {
    let summed = summed_window(layer, config);
    let (kernel, stride, pads, dilation, connectivity) = match &layer.op {
        ArrayOp::Conv { kernel, stride, pads, dilation, groups, .. } => {
            (*kernel, *stride, *pads, *dilation, Connectivity::Grouped(*groups))
        }
        ArrayOp::ConvTranspose { kernel, groups, .. } => {
            (*kernel, [1, 1], layer_pads(layer).0, [1, 1], Connectivity::Grouped(*groups))
        }
        ArrayOp::Resize { factor } => (*factor, [1, 1], Pads::default(), [1, 1], Connectivity::Diagonal),
        ArrayOp::AveragePool { pool } => match summed {
            None => (pool.kernel, pool.stride, pool.pads, [1, 1], Connectivity::Diagonal),
            // A vector for each window of the kernel.
            Some(window) => {
                let taps = [0, 1].map(|axis| pool.kernel[axis] / window[axis]);
                (taps, [1, 1], pool.pads, window, Connectivity::Diagonal)
            }
        },
        ArrayOp::MaxPool { pool } => ([1, 1], [1, 1], pool.pads, [1, 1], Connectivity::Diagonal),
        ArrayOp::Scale { .. }
        | ArrayOp::Add
        | ArrayOp::Gate
        | ArrayOp::Products
        | ArrayOp::Narrow
        | ArrayOp::Sequence => ([1, 1], [1, 1], Pads::default(), [1, 1], Connectivity::Diagonal),
        ArrayOp::Concat => ([1, 1], [1, 1], Pads::default(), [1, 1], Connectivity::Joined),
        ArrayOp::Select { channels } => {
            ([1, 1], [1, 1], Pads::default(), [1, 1], Connectivity::Selected(channels.clone()))
        }
    };
    let residual = layer.residual.as_ref().map(|residual| ResidualGeometry {
        connectivity: residual.channels.clone().map_or(Connectivity::Diagonal, Connectivity::Selected),
        stride: residual.stride,
        tiles: Vec::new(),
    });
    let weighted = weighted_sources(layer).len();
    let vectors = match layer.op {
        ArrayOp::Conv { .. } => weighted,
        _ => 1,
    };
    let (window, window_stride) = match (&layer.op, summed) {
        (ArrayOp::AveragePool { pool }, Some(window)) => (window, pool.stride),
        _ => window(layer),
    };
    let interleave = layer.interleave();
    let channels = layer.out_shape[0];
    let geometry = LayerGeometry {
        name: layer.name.clone(),
        op_name: layer.op_name,
        sources: sources
            .into_iter()
            .enumerate()
            .map(|(i, (source, layout))| {
                // The offsets of the taps of a phase may be negative.
                let pads = if i < weighted && interleave.is_none() { pads } else { Pads::default() };
                let first = (layout.halo.top - pads.top) * layout.pitch + layout.halo.side - pads.left;
                let origin = first + layer.steps[i].unwrap_or(0);
                SourceGeometry { source, layout, origin }
            })
            .collect(),
        output,
        connectivity,
        gated: matches!(layer.op, ArrayOp::Gate | ArrayOp::Products),
        sequence: matches!(layer.op, ArrayOp::Sequence),
        residual,
        joined: vec![Vec::new(); vectors - 1],
        shares_words: None,
        kernel,
        stride,
        pads,
        dilation,
        interleave,
        conv_shape: layer.conv_shape,
        window,
        window_sum: summed.is_some(),
        window_stride,
        depthwise: None,
        table: match &layer.curve {
            None => Table::Off,
            Some(curve) if curve.function.by_channel() => Table::Own,
            Some(_) => Table::Shared,
        },
        blocks: blocks(channels, config.cols, interleave.map_or([1, 1], |spread| spread.factor)),
        pixel_tiles: Vec::new(),
        strips: Vec::new(),
    };
    depthwise::choose(geometry.in_strips(1, config), config).with_other_tiles(config)
}

/// The window of an average that write-back sums, streaming its pixels one by one, instead of the array, with a vector for
/// each of them: where a pass has so few outputs that the weights would take longer to load. Of a kernel that is larger than
/// a window may be, it is a part, and the array has a vector for each such part.
fn summed_window(layer: &ArrayLayer, config: &AcceleratorConfig) -> Option<[usize; 2]> {
    let ArrayOp::AveragePool { pool } = layer.op else { return None };
    let [_, height, width] = layer.out_shape;
    let cycles = |[wy, wx]: [usize; 2]| {
        // As if no channel had replicas: a pruned network must not have another geometry.
        let tiles = pool.kernel[0] / wy * (pool.kernel[1] / wx);
        tiles * config.rows.max(wy * wx * height.div_ceil(config.clusters) * width)
    };
    let parts = |axis: usize| (1..=MAX_WINDOW).filter(move |part| pool.kernel[axis].is_multiple_of(*part));
    let windows = parts(0).flat_map(|wy| parts(1).map(move |wx| [wy, wx]));
    let fitting = windows.filter(|[wy, wx]| wy * wx <= config.accumulator_pixels);
    // Of equals the one with the fewest weights.
    let best = fitting.min_by_key(|window| (cycles(*window), std::cmp::Reverse(window[0] * window[1])))?;
    (cycles(best) < cycles([1, 1])).then_some(best)
}

/// Cuts an output map into rectangles of at most `limit` outputs a cluster: whole rows where a row fits,
/// else pieces of single rows. Pieces differ by at most one row for each cluster or one column, so none is needlessly
/// smaller than the time in which the next weights load.
pub(crate) fn pixel_tiles(height: usize, width: usize, limit: usize, clusters: usize) -> Vec<PixelTile> {
    if width <= limit {
        let cuts = split(height.div_ceil(clusters), limit / width);
        let rows = |(y, rows): (usize, usize)| (y * clusters, (rows * clusters).min(height - y * clusters));
        cuts.into_iter().map(rows).map(|(y, height)| PixelTile { y, x: 0, height, width }).collect()
    } else {
        let cuts = split(width, limit);
        (0..height)
            .flat_map(|y| cuts.iter().map(move |(x, width)| PixelTile { y, x: *x, height: 1, width: *width }))
            .collect()
    }
}

/// Starts and lengths of as few near-equal parts of `total` as possible, none above `most` >= 1.
fn split(total: usize, most: usize) -> Vec<(usize, usize)> {
    let parts = total.div_ceil(most);
    (0..parts).map(|i| (i * total / parts, (i + 1) * total / parts - i * total / parts)).collect()
}
