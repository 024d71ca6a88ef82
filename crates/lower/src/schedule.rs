//! From a quantized network to a program: placement, weights, one instruction for each planned step.

use espalier_ir::{Diagnostic, Diagnostics, LayerSource};
use espalier_quant::{QuantizedGraph, QuantizedTensor};
use espalier_target::{
    AcceleratorConfig, Action, CellRect, DepthwiseStream, LayerGeometry, NetworkGeometry, PlannedStep, Step, Table,
    TensorLayout, geometry, plan,
};

use crate::isa::{
    Area, ConvInstruction, Instruction, MAX_INSTRUCTIONS, MAX_LANE_BYTES, MAX_WEIGHT_WORDS, Stream, end_packets,
};
use crate::layers::{array_layers, residual, zero_point};
use crate::memory::{Allocation, allocate, demands, lower_bound, tensor_index};
use crate::pack::{PackedBlock, pack_block, table_words};
use crate::program::{MemoryMap, PlacedTensor, Program};
use crate::weights::WeightWord;

/// Compiles a network for an accelerator.
///
/// Depths of weight and program memory that the configuration leaves open become the smallest
/// power of two that holds the program. Streamed weights lie in the order in which the program takes them.
///
/// # Errors
/// Everything that does not fit, with what is needed and what is there: lane memory, accumulators,
/// weight memory, program memory, fields of instructions; tensors whose readers want different
/// padding.
pub fn compile(graph: &QuantizedGraph, config: &AcceleratorConfig) -> Result<Program, Diagnostics> {
    let shapes: Vec<[usize; 3]> = graph.inputs.iter().map(|i| i.shape).collect();
    let network = geometry(&array_layers(graph), &shapes, &graph.outputs, config)?;
    let mut findings = Diagnostics::new();
    let halo_values = halo_values(graph, &network, &mut findings);
    let demands = demands(&network);
    let allocation = allocate(&demands);
    if allocation.peak > config.lane_bytes {
        findings.push(lanes_too_small(graph, &network, &allocation, config));
    }
    let packed = pack_all(graph, &network, config, &allocation, &mut findings);
    findings.into_result(())?;
    let steps = plan(&network, config, &packed.tiles);
    let emitter = Emitter { graph, network: &network, bases: &allocation.bases, halo_values, packed: &packed };
    let mut instructions: Vec<Instruction> = steps.iter().map(|step| emitter.instruction(step)).collect();
    end_packets(&mut instructions);
    instructions.push(Instruction::End);
    let mut layer_of: Vec<Option<usize>> = steps.iter().map(|s| s.layer).collect();
    layer_of.push(None);
    let config = resolve_depths(config, packed.weights.len(), instructions.len())?;
    check_instructions(&instructions, &layer_of, graph)?;
    let program = Program {
        name: graph.name.clone(),
        config,
        instructions,
        layer_of,
        weights: packed.weights,
        memory: memory_map(graph, &network, &allocation, lower_bound(&demands)),
        outputs: graph.outputs.clone(),
        output_shapes: graph.output_shapes.clone(),
        softmax: graph.softmax,
    };
    let planned: Vec<Step> = steps.iter().map(|s| s.step).collect();
    assert_eq!(program.steps(), planned, "instructions and the cost model disagree");
    Ok(program)
}

/// What the halo of each tensor holds: graph inputs, then layer outputs.
fn halo_values(graph: &QuantizedGraph, network: &NetworkGeometry, findings: &mut Diagnostics) -> Vec<i8> {
    let inputs = (0..network.inputs.len()).map(LayerSource::Input);
    let layers = (0..network.layers.len()).map(LayerSource::Layer);
    inputs
        .chain(layers)
        .map(|source| {
            let layout = network.layout(source);
            let zero_point = zero_point(graph, source);
            if layout.pads_minimum && layout.pads_zero_point && zero_point != i8::MIN {
                findings.push(halo_conflict(graph, source, zero_point));
            }
            if layout.pads_minimum { i8::MIN } else { zero_point }
        })
        .collect()
}

fn halo_conflict(graph: &QuantizedGraph, source: LayerSource, zero_point: i8) -> Diagnostic {
    Diagnostic::error(
        "halo-conflict",
        tensor_place(graph, source),
        format!(
            "a padded convolution and a padded maximum pooling both read this tensor, whose zero is {zero_point}: \
             its border cannot hold {zero_point} for the one and -128 for the other"
        ),
    )
    .with_help("put a ReLU behind this layer, pool without padding, or let the two read different layers")
}

fn tensor_place(graph: &QuantizedGraph, source: LayerSource) -> String {
    match source {
        LayerSource::Input(i) => format!("input '{}'", graph.inputs[i].name),
        LayerSource::Layer(i) => format!("layer '{}' ({})", graph.layers[i].name, graph.layers[i].op_name),
    }
}

fn lanes_too_small(
    graph: &QuantizedGraph,
    network: &NetworkGeometry,
    allocation: &Allocation,
    config: &AcceleratorConfig,
) -> Diagnostic {
    let inputs = network.inputs.len();
    let sources = (0..inputs).map(LayerSource::Input).chain((0..network.layers.len()).map(LayerSource::Layer));
    let highest = sources
        .max_by_key(|s| allocation.bases[tensor_index(*s, inputs)] + network.layout(*s).bytes())
        .expect("something takes the peak");
    let help = if allocation.peak <= MAX_LANE_BYTES {
        format!("set 'lane_bytes' to at least {}", allocation.peak.next_power_of_two())
    } else {
        format!("use more than {} rows, or shrink the network's input", config.rows)
    };
    Diagnostic::error(
        "lanes-too-small",
        tensor_place(graph, highest),
        format!(
            "the tensors alive at once need {} bytes of every lane, the lanes have {}",
            allocation.peak, config.lane_bytes
        ),
    )
    .with_help(help)
}

struct Packed {
    /// Tiles, by layer and block.
    tiles: Vec<Vec<u32>>,
    /// First weight word of the residual operand and of the layer's own weights, by layer, rectangle and block; one
    /// rectangle stands for all where they read the same words.
    addresses: Vec<Vec<Vec<[usize; 2]>>>,
    weights: Vec<WeightWord>,
}

impl Packed {
    /// First weight words of a block for a rectangle: the residual operand's, the layer's.
    fn address(&self, layer: usize, pixel_tile: usize, block: usize) -> [u32; 2] {
        let rectangles = &self.addresses[layer];
        rectangles[pixel_tile.min(rectangles.len() - 1)][block].map(|first| first as u32)
    }
}

fn pack_all(
    graph: &QuantizedGraph,
    network: &NetworkGeometry,
    config: &AcceleratorConfig,
    allocation: &Allocation,
    findings: &mut Diagnostics,
) -> Packed {
    let mut packed = Packed { tiles: Vec::new(), addresses: Vec::new(), weights: Vec::new() };
    for (layer, geometry) in graph.layers.iter().zip(&network.layers) {
        let bases: Vec<usize> =
            layer.sources.iter().map(|s| allocation.bases[tensor_index(*s, network.inputs.len())]).collect();
        let pack = |block| pack_block(graph, layer, geometry, config, block, &bases);
        let blocks: Vec<PackedBlock> = match (0..geometry.blocks.len()).map(pack).collect() {
            Ok(blocks) => blocks,
            // One finding a layer says enough.
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        // A stream passes once, so every rectangle has a copy of its own.
        let rectangles = if config.external().is_some() { geometry.pixel_tiles.len() } else { 1 };
        let mut addresses = Vec::new();
        for rectangle in 0..rectangles {
            let mut place = |(index, block): (usize, &PackedBlock)| {
                let first = packed.weights.len();
                packed.weights.extend_from_slice(&block.words);
                packed.weights.extend(table_words(layer, geometry, config, (rectangle, index)));
                [first, first + block.residual_tiles as usize * config.rows]
            };
            addresses.push(blocks.iter().enumerate().map(&mut place).collect());
        }
        packed.tiles.push(blocks.iter().map(|b| b.tiles).collect());
        packed.addresses.push(addresses);
    }
    packed
}

/// Memory depths of the program, or why it does not fit.
fn resolve_depths(
    config: &AcceleratorConfig,
    weights: usize,
    instructions: usize,
) -> Result<AcceleratorConfig, Diagnostics> {
    let mut findings = Diagnostics::new();
    let mut depth = |key: &'static str, what: &str, wanted: Option<usize>, needed: usize, least: usize, most: usize| {
        let available = wanted.unwrap_or(most);
        if needed > available {
            let help = match wanted {
                Some(_) if needed <= most => {
                    format!("set '{key}' to at least {}, or leave it out", needed.next_power_of_two())
                }
                _ => "prune more, or use a larger array".to_owned(),
            };
            findings.push(
                Diagnostic::error(
                    "memory-too-small",
                    format!("accelerator key '{key}'"),
                    format!("the program needs {needed} {what}, the memory holds {available}"),
                )
                .with_help(help),
            );
        }
        Some(wanted.unwrap_or_else(|| needed.next_power_of_two().max(least)))
    };
    let weight_words = match config.external() {
        None => depth("weight_words", "weight words", config.weight_words, weights, 16, MAX_WEIGHT_WORDS),
        Some(memory) => {
            depth("weight_words", "streamed weight words", None, weights, 16, MAX_WEIGHT_WORDS);
            Some(memory.ring_words)
        }
    };
    let program_instructions =
        depth("program_instructions", "instructions", config.program_instructions, instructions, 2, MAX_INSTRUCTIONS);
    findings.into_result(AcceleratorConfig { weight_words, program_instructions, ..config.clone() })
}

fn check_instructions(
    instructions: &[Instruction],
    layer_of: &[Option<usize>],
    graph: &QuantizedGraph,
) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    for (instruction, layer) in instructions.iter().zip(layer_of) {
        if let Err(error) = instruction.encode() {
            let at = layer.map_or_else(|| "input or output".to_owned(), |l| tensor_place(graph, LayerSource::Layer(l)));
            findings.push(Diagnostic::error("not-encodable", at, error.to_string()));
        }
    }
    findings.into_result(())
}

fn memory_map(
    graph: &QuantizedGraph,
    network: &NetworkGeometry,
    allocation: &Allocation,
    lower_bound_bytes: usize,
) -> MemoryMap {
    let inputs = graph.inputs.len();
    let placed =
        |tensor: &QuantizedTensor, name: &str, op_name: &str, base: usize, layout: &TensorLayout| PlacedTensor {
            name: name.to_owned(),
            op_name: op_name.to_owned(),
            base,
            layout: layout.clone(),
            exponent: tensor.params.exponent,
            zero_point: tensor.params.zero_point,
        };
    MemoryMap {
        inputs: (graph.inputs.iter().enumerate())
            .map(|(i, t)| placed(t, &t.name, "Input", allocation.bases[i], &network.inputs[i]))
            .collect(),
        layers: (graph.layers.iter().enumerate())
            .map(|(i, l)| {
                placed(&l.output, &l.name, l.op_name, allocation.bases[inputs + i], &network.layers[i].output)
            })
            .collect(),
        peak_bytes: allocation.peak,
        lower_bound_bytes,
    }
}

struct Emitter<'a> {
    graph: &'a QuantizedGraph,
    network: &'a NetworkGeometry,
    bases: &'a [usize],
    halo_values: Vec<i8>,
    packed: &'a Packed,
}

/// Narrows a number to its field. `check_instructions` and the checks of the geometry have bounded all
/// of them, or they are meant modulo 2^16.
fn field(value: usize) -> u16 {
    value as u16
}

/// Steps inside the pooling window, in x and y; none in one of a single pixel.
fn window_steps(geometry: &LayerGeometry) -> [u16; 2] {
    let steps = geometry.source_steps();
    if geometry.window == [1, 1] { [0, 0] } else { [field(steps.wx), field(steps.wy)] }
}

/// The operands of a stream, which its geometry has bounded.
fn stream_of(stream: &DepthwiseStream) -> Stream {
    Stream {
        positions: field(stream.positions),
        lead: stream.lead as u8,
        skip: stream.skip as u8,
        gap: stream.gap as u8,
        joined: stream.joined,
    }
}

impl Emitter<'_> {
    fn tensor(&self, source: LayerSource) -> usize {
        tensor_index(source, self.network.inputs.len())
    }

    fn area(&self, source: LayerSource, rect: &CellRect) -> Area {
        Area {
            base: field(self.bases[self.tensor(source)] + rect.offset),
            step_y: field(rect.step_y),
            nx: field(rect.nx),
            ny: field(rect.ny),
        }
    }

    fn instruction(&self, step: &PlannedStep) -> Instruction {
        match &step.action {
            Action::Fill { tensor, rect } => {
                Instruction::Fill { value: self.halo_values[self.tensor(*tensor)], area: self.area(*tensor, rect) }
            }
            Action::Load { input, rect } => {
                let layout = &self.network.inputs[*input];
                let replicate = if layout.replicas > 1 { layout.shape[0] as u8 } else { 0 };
                Instruction::Load { replicate, more: true, area: self.area(LayerSource::Input(*input), rect) }
            }
            Action::Store { output, rect } => {
                Instruction::Store { more: true, area: self.area(self.network.outputs[*output], rect) }
            }
            Action::Conv { layer, pixel_tile, block, residual } => {
                let conv = self.conv(*layer, *pixel_tile, *block, &step.step);
                Instruction::Conv(if *residual { self.addition(*layer, *pixel_tile, *block, conv) } else { conv })
            }
        }
    }

    /// The CONV that adds the residual operand: like that of the weights but for what it reads.
    fn addition(&self, index: usize, pixel_tile: usize, block: usize, conv: ConvInstruction) -> ConvInstruction {
        let geometry = &self.network.layers[index];
        let part = geometry.residual_part().expect("the layer adds a residual operand");
        let residual = residual(&self.graph.layers[index]).expect("the layer adds a residual operand");
        let steps = part.source_steps();
        let [step_wx, step_wy] = window_steps(&part);
        let base = self.bases[self.tensor(part.sources[0].source)];
        ConvInstruction {
            partial: true,
            sum_shift: residual.sum_shift() / 2,
            table: Table::Off,
            weight_addr: self.packed.address(index, pixel_tile, block)[0],
            src_base: part.read_address(&geometry.pixel_tiles[pixel_tile], base),
            src_step_x: field(steps.x),
            src_step_y: field(steps.y),
            src_step_wx: step_wx,
            src_step_wy: step_wy,
            ..conv
        }
    }

    fn conv(&self, index: usize, pixel_tile: usize, block: usize, step: &Step) -> ConvInstruction {
        let Step::Conv { tiles, barrier, partial, .. } = *step else { unreachable!("a CONV has the step of one") };
        let layer = &self.graph.layers[index];
        let geometry = &self.network.layers[index];
        let tile = geometry.pixel_tiles[pixel_tile];
        let channels = geometry.blocks[block];
        let steps = geometry.source_steps();
        let write_back = geometry.output.write_back(channels.first, channels.columns);
        let base = |source| self.bases[self.tensor(source)];
        let stream = geometry.depthwise_stream(&tile);
        let [step_wx, step_wy] = match &stream {
            Some(stream) => stream_of(stream).to_steps(),
            None => window_steps(geometry),
        };
        let [dst_y, dst_x] = geometry.output_steps();
        ConvInstruction {
            barrier,
            partial,
            sum_shift: 0,
            table: geometry.block_table(pixel_tile, block),
            chunks: write_back.chunks as u8,
            columns: channels.columns as u8,
            rot: write_back.rot0 as i8,
            rot_step: write_back.rot_step as i8,
            tiles: field(tiles as usize),
            dst_step_chunk: field(write_back.step),
            weight_addr: self.packed.address(index, pixel_tile, block)[1],
            zero_point: layer.requantized().zero_point,
            src_base: geometry.read_address(&tile, base(geometry.sources[0].source)),
            src_step_x: if stream.is_some() { 1 } else { field(steps.x) },
            src_step_y: field(steps.y),
            src_step_wx: step_wx,
            src_step_wy: step_wy,
            window: [geometry.window[0] as u8, geometry.window[1] as u8],
            window_sum: geometry.window_sum,
            depthwise: stream.is_some(),
            lo: layer.clamp.0,
            hi: layer.clamp.1,
            nx: field(tile.width),
            ny: field(tile.height),
            dst_base: geometry.write_address(&tile, &channels, base(LayerSource::Layer(index))),
            dst_step_y: field(dst_y * geometry.output.pitch),
            dst_step_x: field(dst_x),
        }
    }
}
