//! `details.json`: what the pictures of the report are drawn from. `docs/report.md` documents the schema.

use espalier_ir::{Diagnostics, Graph, LayerSource, array_layers, unrolled};
use espalier_lower::{Instruction, Program};
use espalier_target::{Activity, CostModel, activities, connected_columns, place};
use serde::{Deserialize, Serialize};

use crate::design::Design;

/// Version of the schema; raised when a path changes its meaning or disappears.
pub const SCHEMA: &str = "espalier-details/1";

/// Everything that is too long for `report.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// [`SCHEMA`].
    pub schema: String,
    /// Cycles from start to done.
    pub cycles: u64,
    /// Layers of the network: inputs first, then as in the report.
    pub graph: Vec<GraphNode>,
    /// Weight vectors of every layer by lane, as in the report.
    pub lanes: Vec<LayerLanes>,
    /// Every instruction but END.
    pub timeline: Vec<TimelineStep>,
    /// Bytes of one lane.
    pub lane_bytes: usize,
    /// Every tensor in the lanes.
    pub memory: Vec<TensorSpan>,
}

/// An input or a layer of the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GraphNode {
    /// Name of the graph input or layer.
    pub name: String,
    /// ONNX operator, or `Input`.
    pub op: String,
    /// Positions in the list of the tensors that it reads.
    pub sources: Vec<usize>,
    /// Output of the given model, `[channels, height, width]`.
    pub shape_before: [usize; 3],
    /// Output of the hardware.
    pub shape_after: [usize; 3],
}

/// Weight vectors of one layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerLanes {
    /// Name of the layer.
    pub name: String,
    /// Vectors in each lane of the given model, all blocks together.
    pub dense: Vec<u32>,
    /// Vectors in each lane of the program that hold a weight.
    pub kept: Vec<u32>,
}

/// One instruction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimelineStep {
    /// Operation: CONV, FILL, LOAD or STORE.
    pub opcode: String,
    /// Index of its layer in the report, if it works for one.
    pub layer: Option<usize>,
    /// Passes of a CONV through the array, else 0.
    pub passes: u32,
    /// Cycles of one pass.
    pub pass_cycles: u32,
    /// When the agents work on it.
    #[serde(flatten)]
    pub activity: Activity,
}

/// A tensor in the lanes, from its first write to its last read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TensorSpan {
    /// Name of the graph input or layer.
    pub name: String,
    /// First byte of every lane.
    pub base: usize,
    /// Bytes of every lane, halo included.
    pub bytes: usize,
    /// Cycle of the first write.
    pub first_cycle: u64,
    /// Cycle behind the last read.
    pub last_cycle: u64,
}

impl Details {
    /// Details of `design`, which was made from `original`.
    ///
    /// # Errors
    /// If the accelerator cannot hold the original network.
    pub fn new(original: &Graph, design: &Design) -> Result<Details, Diagnostics> {
        let program = &design.program;
        let open = espalier_target::AcceleratorConfig {
            weight_words: None,
            program_instructions: None,
            ..program.config.clone()
        };
        let dense = CostModel::new(original, &open)?;
        let activities = activities(&program.steps(), &program.config);
        let timeline: Vec<TimelineStep> = (program.instructions.iter().zip(&program.layer_of).zip(activities))
            .map(|((instruction, layer), activity)| {
                let (passes, pass_cycles) = passes(instruction, program);
                let opcode = instruction.opcode().name().to_owned();
                TimelineStep { opcode, layer: *layer, passes, pass_cycles, activity }
            })
            .collect();
        let cycles = espalier_target::timeline(&program.steps(), &program.config).total_cycles;
        Ok(Details {
            schema: SCHEMA.to_owned(),
            cycles,
            graph: graph(original, design)?,
            lanes: lanes(&dense, program),
            memory: memory(design, &timeline, cycles),
            lane_bytes: program.config.lane_bytes,
            timeline,
        })
    }

    /// The JSON text: one line an entry would be long, so it is not indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data becomes JSON") + "\n"
    }
}

/// Passes of an instruction and the cycles of each.
fn passes(instruction: &Instruction, program: &Program) -> (u32, u32) {
    match instruction {
        Instruction::Conv(conv) => {
            (conv.tiles.into(), conv.pixels(program.config.clusters).max(program.config.rows as u32))
        }
        _ => (0, 0),
    }
}

fn graph(original: &Graph, design: &Design) -> Result<Vec<GraphNode>, Diagnostics> {
    let before = array_layers(&*unrolled(original)?)?;
    let quantized = &design.quantized;
    let input = |input: &espalier_quant::QuantizedTensor| GraphNode {
        name: input.name.clone(),
        op: "Input".to_owned(),
        sources: Vec::new(),
        shape_before: input.shape,
        shape_after: input.shape,
    };
    let mut nodes: Vec<GraphNode> = quantized.inputs.iter().map(input).collect();
    let inputs = nodes.len();
    nodes.extend(quantized.layers.iter().enumerate().map(|(index, layer)| GraphNode {
        name: layer.name.clone(),
        op: layer.op_name.to_owned(),
        sources: layer.sources.iter().map(|source| position(*source, inputs)).collect(),
        shape_before: before.get(index).map_or(layer.output.shape, |l| l.out_shape),
        shape_after: layer.output.shape,
    }));
    Ok(nodes)
}

/// Position of a tensor among inputs, then layers.
fn position(source: LayerSource, inputs: usize) -> usize {
    match source {
        LayerSource::Input(input) => input,
        LayerSource::Layer(layer) => inputs + layer,
    }
}

/// Vectors by lane: those of the given model as the cost model places them, those of the program as its memory has them.
fn lanes(dense: &CostModel, program: &Program) -> Vec<LayerLanes> {
    let rows = program.config.rows;
    let mut kept = vec![vec![0; rows]; program.memory.layers.len()];
    let mut counted = std::collections::BTreeSet::new();
    for (instruction, layer) in program.instructions.iter().zip(&program.layer_of) {
        let (Instruction::Conv(conv), Some(layer)) = (instruction, layer) else { continue };
        // Rectangles of pixels share the weights of a block; the operand of an addition has no weights of its own.
        if conv.partial || !counted.insert(conv.weight_addr) {
            continue;
        }
        let start = conv.weight_addr as usize;
        let words = program.weights.iter().skip(start).take(usize::from(conv.tiles) * rows);
        for (index, word) in words.enumerate() {
            kept[*layer][index % rows] += word.used_columns().iter().filter(|columns| **columns != 0).count() as u32;
        }
    }
    let before = dense.network().layers.iter().map(|shape| {
        let mut lanes = vec![0; rows];
        for block in 0..shape.blocks.len() {
            let placement = place(shape, dense.config(), block, &|v| connected_columns(shape, block, v));
            for (count, lane) in lanes.iter_mut().zip(placement.lanes) {
                *count += lane.iter().map(|row| 1 + u32::from(row.second.is_some())).sum::<u32>();
            }
        }
        lanes
    });
    let names = program.memory.layers.iter().map(|l| l.name.clone());
    names.zip(before).zip(kept).map(|((name, dense), kept)| LayerLanes { name, dense, kept }).collect()
}

/// A tensor lives from the first instruction of the layer that writes it to the last of its last reader.
fn memory(design: &Design, timeline: &[TimelineStep], cycles: u64) -> Vec<TensorSpan> {
    let (map, quantized) = (&design.program.memory, &design.quantized);
    let (inputs, count) = (map.inputs.len(), map.layers.len());
    let work = |layer: usize| timeline.iter().filter(move |s| s.layer == Some(layer));
    let begins = |layer: usize| {
        let first = |s: &TimelineStep| s.activity.drain.or(s.activity.mover).map(|span| span.start);
        work(layer).filter_map(first).min().unwrap_or(0)
    };
    let ends =
        |layer: usize| work(layer).filter_map(|s| s.activity.stream).map(|span| span.end + 1).max().unwrap_or(cycles);
    let readers = |position_of: usize| {
        let reads =
            |i: &usize| quantized.layers[*i].sources.iter().any(|source| position(*source, inputs) == position_of);
        (0..count).filter(reads).max()
    };
    let is_output = |at: usize| quantized.outputs.iter().any(|source| position(*source, inputs) == at);
    let tensors = map.inputs.iter().chain(&map.layers).enumerate();
    tensors
        // Strips of spilled tensors come and go.
        .filter(|(_, tensor)| tensor.spilled.is_none())
        .map(|(at, tensor)| {
            let first_cycle = if at < inputs { 0 } else { begins(at - inputs) };
            let last_read = if is_output(at) { cycles } else { readers(at).map_or(first_cycle, ends) };
            TensorSpan {
                name: tensor.name.clone(),
                base: tensor.base,
                bytes: tensor.layout.bytes(),
                first_cycle,
                last_cycle: last_read.max(first_cycle + 1),
            }
        })
        .collect()
}
