//! From a quantized network to a program: placement, weights, one instruction for each planned step.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, LayerSource};
use espalier_quant::{QuantizedGraph, QuantizedTensor};
use espalier_target::{
    AcceleratorConfig, Action, Allocation, CellRect, DepthwiseStream, LayerGeometry, NetworkGeometry, PlannedStep,
    Step, Table, TensorLayout, Work, allocate, geometry, lower_bound, plan, weight_copies,
};

use crate::isa::{
    Area, ConvInstruction, Instruction, MAX_INSTRUCTIONS, MAX_LANE_BYTES, MAX_WEIGHT_WORDS, Stream,
    TransferInstruction, end_packets,
};
use crate::layers::{array_layers, product_shift, residual, zero_point};
use crate::pack::{PackedBlock, pack_block, table_words};
use crate::program::{MemoryMap, PlacedTensor, Program, Strip};
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
    let demands = network.residence.demands(&network);
    let allocation = allocate(&demands);
    if allocation.peak > config.lane_bytes {
        findings.push(lanes_too_small(graph, &network, &allocation, config));
    }
    let packed = pack_all(graph, &network, config, &allocation, &mut findings);
    findings.into_result(())?;
    let steps = plan(&network, config, &packed.tiles);
    let places: Vec<Option<Place>> =
        (0..network.residence.jobs.len()).map(|job| place(&network, job, &allocation.bases)).collect();
    let emitter = Emitter {
        config,
        graph,
        network: &network,
        bases: &allocation.bases,
        places: &places,
        halo_values,
        packed: &packed,
    };
    let mut instructions: Vec<Instruction> = steps.iter().map(|step| emitter.instruction(step)).collect();
    end_packets(&mut instructions);
    instructions.push(Instruction::End);
    let mut layer_of: Vec<Option<usize>> = steps.iter().map(|s| s.layer).collect();
    layer_of.push(None);
    let config = resolve_depths(config, packed.weights.len(), instructions.len())?;
    check_instructions(&instructions, &layer_of, graph)?;
    let memory = memory_map(graph, &network, &config, &allocation, lower_bound(&demands));
    let program = Program {
        name: graph.name.clone(),
        config,
        instructions,
        layer_of,
        strips: strips(&network, &steps, &allocation.bases),
        weights: packed.weights,
        memory,
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
    let parts = network.residence.parts.iter().zip(&allocation.bases);
    let highest = parts
        .max_by_key(|(part, base)| *base + part.bytes(network.layout(part.tensor)))
        .map(|(part, _)| part.tensor)
        .expect("something takes the peak");
    let help = if allocation.peak <= MAX_LANE_BYTES {
        let least = allocation.peak.next_power_of_two();
        format!("set 'lane_bytes' to at least {least}, or 'activations' to \"spilled\"")
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

/// A layer as one job sees it, and where its parts lie.
struct Place {
    /// Sources and output with the planes of the parts.
    shape: LayerGeometry,
    /// Where row 0 of the halo of every source would lie, modulo 2^16.
    sources: Vec<usize>,
    /// The same of the output.
    output: usize,
}

/// The place of a job that computes.
fn place(network: &NetworkGeometry, job: usize, bases: &[usize]) -> Option<Place> {
    let residence = &network.residence;
    let (jobs, parts) = (&residence.jobs[job], &residence.parts);
    let Work::Layer { layer, .. } = jobs.work else { return None };
    let origin = |part: usize| parts[part].origin(network.layout(parts[part].tensor), bases[part]);
    Some(Place {
        shape: residence.view(&network.layers[layer], job),
        sources: jobs.sources.iter().map(|part| origin(*part)).collect(),
        output: origin(jobs.output.expect("a layer has an output")),
    })
}

struct Packed {
    /// Tiles of the CONV that writes, by layer and block.
    tiles: Vec<Vec<u32>>,
    /// First weight word of every CONV, by layer, rectangle, block and part; one rectangle stands for all where they read the
    /// same words.
    addresses: Vec<Vec<Vec<Vec<usize>>>>,
    weights: Vec<WeightWord>,
}

impl Packed {
    /// First weight word of a part of a block for a rectangle.
    fn address(&self, layer: usize, pixel_tile: usize, block: usize, part: usize) -> u32 {
        let rectangles = &self.addresses[layer];
        rectangles[pixel_tile.min(rectangles.len() - 1)][block][part] as u32
    }
}

fn pack_all(
    graph: &QuantizedGraph,
    network: &NetworkGeometry,
    config: &AcceleratorConfig,
    allocation: &Allocation,
    findings: &mut Diagnostics,
) -> Packed {
    let count = network.layers.len();
    let mut packed = Packed { tiles: vec![Vec::new(); count], addresses: vec![Vec::new(); count], weights: Vec::new() };
    for job in 0..network.residence.jobs.len() {
        let Some(place) = place(network, job, &allocation.bases) else { continue };
        let Work::Layer { layer: index, strip } = network.residence.jobs[job].work else { continue };
        let (layer, shape) = (&graph.layers[index], &place.shape);
        let copies = weight_copies(shape, config);
        if copies == 1 && strip > 0 {
            continue;
        }
        let pack = |block| pack_block(graph, layer, shape, config, block, &place.sources);
        let blocks: Vec<PackedBlock> = match (0..shape.blocks.len()).map(pack).collect() {
            Ok(blocks) => blocks,
            // One finding a layer says enough.
            Err(finding) => {
                if strip == 0 {
                    findings.push(finding);
                }
                continue;
            }
        };
        // A stream passes once, so every rectangle has a copy of its own; else all of a strip share one.
        let rectangles = if copies == 1 { 0..1 } else { shape.strips[strip].clone() };
        let streamed = config.external().is_some();
        let first_rectangle = rectangles.start;
        for rectangle in rectangles {
            if rectangle > first_rectangle && !streamed {
                let same = packed.addresses[index][rectangle - 1].clone();
                packed.addresses[index].push(same);
                continue;
            }
            let mut place = |(number, block): (usize, &PackedBlock)| {
                let mut words = block.words.clone();
                words.extend(table_words(layer, shape, config, (rectangle, number)));
                // In a memory, time steps share them.
                let same = shape.shares_words.filter(|_| !streamed).and_then(|other| packed.addresses[other].first());
                let same = same.map(|blocks| blocks[number][0]);
                let first = match same.filter(|first| packed.weights[*first..].starts_with(&words)) {
                    Some(first) => first,
                    None => {
                        packed.weights.extend_from_slice(&words);
                        packed.weights.len() - words.len()
                    }
                };
                let before = |part: usize| block.tiles[..part].iter().sum::<u32>() as usize * config.rows;
                (0..block.tiles.len()).map(|part| first + before(part)).collect()
            };
            let addresses = blocks.iter().enumerate().map(&mut place).collect();
            packed.addresses[index].push(addresses);
        }
        if strip == 0 {
            packed.tiles[index] = blocks.iter().map(|b| *b.tiles.last().expect("a block has a CONV")).collect();
        }
    }
    packed
}

/// Where instructions write spilled tensors.
fn strips(network: &NetworkGeometry, steps: &[PlannedStep], bases: &[usize]) -> BTreeMap<usize, Strip> {
    let strip = |(index, step): (usize, &PlannedStep)| {
        let Action::Conv { job, .. } = step.action else { return None };
        let job = &network.residence.jobs[job];
        let part = job.output.filter(|_| job.saves)?;
        let lines = &network.residence.parts[part].lines;
        Some((index, Strip { base: bases[part], first_line: lines.start, lines: lines.len() }))
    };
    steps.iter().enumerate().filter_map(strip).collect()
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
    config: &AcceleratorConfig,
    allocation: &Allocation,
    lower_bound_bytes: usize,
) -> MemoryMap {
    let inputs = graph.inputs.len();
    let residence = &network.residence;
    let placed = |tensor: &QuantizedTensor, name: &str, op_name: &str, index: usize, layout: &TensorLayout| {
        let source = if index < inputs { LayerSource::Input(index) } else { LayerSource::Layer(index - inputs) };
        let resident = residence.parts.iter().position(|part| part.tensor == source);
        let spilled = residence.spilled[index];
        PlacedTensor {
            name: name.to_owned(),
            op_name: op_name.to_owned(),
            base: resident.filter(|_| spilled.is_none()).map_or(0, |part| allocation.bases[part]),
            spilled,
            layout: layout.clone(),
            exponent: tensor.params.exponent,
            zero_point: tensor.params.zero_point,
        }
    };
    MemoryMap {
        inputs: (graph.inputs.iter().enumerate())
            .map(|(i, t)| placed(t, &t.name, "Input", i, &network.inputs[i]))
            .collect(),
        layers: (graph.layers.iter().enumerate())
            .map(|(i, l)| placed(&l.output, &l.name, l.op_name, inputs + i, &network.layers[i].output))
            .collect(),
        peak_bytes: allocation.peak,
        lower_bound_bytes,
        spilled_bytes: config.spill_memory().map_or(0, |memory| residence.beats * memory.bytes_per_cycle),
    }
}

struct Emitter<'a> {
    config: &'a AcceleratorConfig,
    graph: &'a QuantizedGraph,
    network: &'a NetworkGeometry,
    /// Base address of every part.
    bases: &'a [usize],
    /// By job.
    places: &'a [Option<Place>],
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
    fn area(&self, part: usize, rect: &CellRect) -> Area {
        Area {
            base: field(self.bases[part] + rect.offset),
            step_y: field(rect.step_y),
            nx: field(rect.nx),
            ny: field(rect.ny),
        }
    }

    fn instruction(&self, step: &PlannedStep) -> Instruction {
        match &step.action {
            Action::Fill { part, rect } => {
                let inputs = self.network.inputs.len();
                let tensor = match self.network.residence.parts[*part].tensor {
                    LayerSource::Input(i) => i,
                    LayerSource::Layer(i) => inputs + i,
                };
                Instruction::Fill { value: self.halo_values[tensor], area: self.area(*part, rect) }
            }
            Action::Load { input, part, rect } => {
                let layout = &self.network.inputs[*input];
                let replicate = if layout.replicas > 1 { layout.shape[0] as u8 } else { 0 };
                Instruction::Load { replicate, more: true, area: self.area(*part, rect) }
            }
            Action::Gates { job, part, first, count } => {
                let place = self.places[*job].as_ref().expect("a job that computes has a place");
                let source = 2 * part + 1;
                let layout = &place.shape.sources[source].layout;
                let base = place.sources[source] + layout.origin();
                Instruction::Store {
                    more: false,
                    gates: true,
                    class_lanes: 0,
                    area: Area {
                        base: field(base + first * layout.plane_bytes),
                        step_y: field(layout.plane_bytes),
                        nx: 1,
                        ny: field(*count),
                    },
                }
            }
            Action::Store { part, rect } => {
                let area = self.area(*part, rect);
                Instruction::Store { more: true, gates: false, class_lanes: self.class_lanes(*part), area }
            }
            Action::Transfer { part } => self.transfer(*part, &step.step),
            Action::Conv { layer, job, pixel_tile, block, part } => {
                let job = Compute { layer: *layer, job: *job, pixel_tile: *pixel_tile, block: *block, part: *part };
                let adds = *part == 0 && self.network.layers[*layer].residual.is_some();
                let conv = self.conv(&job, &step.step);
                Instruction::Conv(if adds { self.addition(&job, conv) } else { conv })
            }
        }
    }

    /// Lanes of the last beat of the last output that hold a class, if the hardware looks for one and the output is no map.
    fn class_lanes(&self, part: usize) -> u8 {
        let tensor = self.network.residence.parts[part].tensor;
        let shape = self.network.layout(tensor).shape;
        let counts = self.config.argmax && self.network.outputs.last() == Some(&tensor) && shape[1..] == [1, 1];
        if counts { ((shape[0] - 1) % self.config.rows + 1) as u8 } else { 0 }
    }

    fn transfer(&self, part: usize, step: &Step) -> Instruction {
        let Step::Transfer(transfer) = *step else { unreachable!("a transfer has the step of one") };
        let place = &self.network.residence.parts[part];
        Instruction::Transfer(TransferInstruction {
            restore: transfer.restore,
            barrier: transfer.barrier,
            lane_base: field(self.bases[part]),
            lane_step: field(place.plane_bytes(self.network.layout(place.tensor))),
            run: field(transfer.run as usize),
            planes: field(transfer.planes as usize),
            first_beat: transfer.first_beat,
            step_beats: transfer.step_beats,
        })
    }

    /// First weight word of a CONV.
    fn weights(&self, compute: &Compute) -> u32 {
        self.packed.address(compute.layer, compute.pixel_tile, compute.block, compute.part)
    }

    fn place(&self, compute: &Compute) -> &Place {
        self.places[compute.job].as_ref().expect("a job that computes has a place")
    }

    /// The CONV that adds the residual operand: like that of the weights but for what it reads.
    fn addition(&self, compute: &Compute, conv: ConvInstruction) -> ConvInstruction {
        let place = self.place(compute);
        let part = place.shape.residual_part().expect("the layer adds a residual operand");
        let residual = residual(&self.graph.layers[compute.layer]).expect("the layer adds a residual operand");
        let steps = part.source_steps();
        let [step_wx, step_wy] = window_steps(&part);
        let base = *place.sources.last().expect("the layer adds a residual operand");
        ConvInstruction {
            partial: true,
            sum_shift: residual.sum_shift() / 2,
            table: Table::Off,
            src_base: part.read_address(compute.pixel_tile, base),
            src_step_x: field(steps.x),
            src_step_y: field(steps.y),
            src_step_wx: step_wx,
            src_step_wy: step_wy,
            ..conv
        }
    }

    fn conv(&self, compute: &Compute, step: &Step) -> ConvInstruction {
        let Step::Conv { tiles, barrier, fence, partial, .. } = *step else {
            unreachable!("a CONV has the step of one")
        };
        let layer = &self.graph.layers[compute.layer];
        let place = self.place(compute);
        // Each column of a sequence reads a source of its own, as does each part of the sums.
        let part = (place.shape.parts() > 1).then(|| place.shape.part(compute.part));
        let geometry = part.as_ref().unwrap_or(&place.shape);
        let source = if geometry.sequence { compute.pixel_tile } else { place.shape.part_source(compute.part) };
        let wide = layer.is_wide() && !partial;
        // The digits of a value lie side by side.
        let digits = 1 + u8::from(layer.is_wide());
        let tile = geometry.pixel_tiles[compute.pixel_tile];
        let channels = geometry.blocks[compute.block];
        let steps = geometry.source_steps();
        let write_back = geometry.output.write_back(channels.first, channels.columns);
        let stream = geometry.depthwise_stream(&tile, self.config);
        let [step_wx, step_wy] = match &stream {
            Some(stream) => stream_of(stream).to_steps(),
            None => window_steps(geometry),
        };
        let [dst_y, dst_x] = geometry.output_steps();
        ConvInstruction {
            barrier,
            fence,
            partial,
            sum_shift: if partial { sum_shift_code(product_shift(layer, compute.part)) } else { 0 },
            table: if partial { Table::Off } else { geometry.block_table(compute.pixel_tile, compute.block) },
            chunks: digits * write_back.chunks as u8,
            columns: channels.columns as u8,
            rot: write_back.rot0 as i8,
            rot_step: if layer.is_wide() { 0 } else { write_back.rot_step as i8 },
            tiles: field(tiles as usize),
            dst_step_chunk: if layer.is_wide() { 1 } else { field(write_back.step) },
            weight_addr: self.weights(compute),
            zero_point: layer.requantized().zero_point,
            src_base: geometry.read_address(compute.pixel_tile, place.sources[source]),
            src_step_x: if stream.is_some() { 1 } else { field(steps.x) },
            src_step_y: field(steps.y),
            src_step_wx: step_wx,
            src_step_wy: step_wy,
            window: [geometry.window[0] as u8, geometry.window[1] as u8],
            window_sum: geometry.window_sum,
            depthwise: stream.is_some(),
            gated: geometry.gated,
            wide,
            lo: layer.clamp.0,
            hi: layer.clamp.1,
            nx: field(tile.width),
            ny: field(tile.height),
            dst_base: geometry.write_address(&tile, &channels, place.output),
            dst_step_y: field(dst_y * geometry.output.pitch),
            dst_step_x: field(dst_x),
        }
    }
}

/// What a CONV computes.
struct Compute {
    layer: usize,
    job: usize,
    pixel_tile: usize,
    block: usize,
    part: usize,
}

/// The code of a left shift of the depthwise unit.
fn sum_shift_code(bits: u8) -> u8 {
    if bits == 0 { 0 } else { bits / 2 - 1 }
}
