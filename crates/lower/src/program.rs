//! The compiled program: instructions, weights, and where every tensor lies.

use std::collections::BTreeMap;
use std::fmt::Write;

use espalier_ir::LayerSource;
use espalier_target::{AcceleratorConfig, LanePart, Multiplier, Step, TensorLayout, Transfer};
use serde::{Deserialize, Serialize};

use crate::fields::INSTRUCTION_WORDS;
use crate::isa::Instruction;
use crate::weights::WeightWord;

/// A tensor in lane memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedTensor {
    /// Name of the graph input, or of the layer.
    pub name: String,
    /// ONNX operator of the layer; `Input` for graph inputs.
    pub op_name: String,
    /// First byte of every lane that belongs to it; 0 if it is spilled.
    pub base: usize,
    /// First beat in external memory, if it is spilled: then the lanes hold it strip by strip, see [`Program::strips`].
    pub spilled: Option<usize>,
    /// Place of its elements relative to `base`.
    pub layout: TensorLayout,
    /// The real value of a step is 2^exponent.
    pub exponent: i32,
    /// Integer that means zero.
    pub zero_point: i8,
}

impl PlacedTensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.layout.shape.iter().product()
    }

    /// Channel, row and column of the element that a lane holds at an address; `None` for the halo,
    /// unused lanes and addresses outside the tensor.
    pub fn element_at(&self, lane: usize, address: usize) -> Option<[usize; 3]> {
        let layout = &self.layout;
        let [channels, height, width] = layout.shape;
        let relative = address.checked_sub(self.base).filter(|r| *r < layout.bytes())?;
        let (plane, rest) = (relative / layout.plane_bytes, relative % layout.plane_bytes);
        let inner = rest.checked_sub(layout.origin())?;
        let (y, x) = (inner / layout.pitch, inner % layout.pitch);
        let channel = if layout.planes > 1 {
            plane * layout.rows + lane
        } else if lane < channels * layout.replicas {
            lane % channels
        } else {
            return None;
        };
        (channel < channels && y < height && x < width).then_some([channel, y, x])
    }

    /// The tensor as the lanes hold it in one strip, and the row of the tensor that is row 0 there.
    pub fn strip(&self, strip: &Strip) -> (PlacedTensor, usize) {
        let part = LanePart {
            tensor: LayerSource::Input(0),
            lines: strip.first_line..strip.first_line + strip.lines,
            plane_lines: strip.lines,
            planes: 0..self.layout.planes,
            life: [0, 0],
        };
        let placed = PlacedTensor { base: strip.base, layout: part.layout(&self.layout), ..self.clone() };
        (placed, strip.first_line.saturating_sub(self.layout.halo.top))
    }

    /// Index of an element in the row-major tensor.
    pub fn index(&self, [c, y, x]: [usize; 3]) -> usize {
        let [_, height, width] = self.layout.shape;
        (c * height + y) * width + x
    }
}

/// Where an instruction writes a spilled tensor: some rows, counted from the top of the halo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strip {
    /// First byte of every lane.
    pub base: usize,
    /// First row.
    pub first_line: usize,
    /// Rows.
    pub lines: usize,
}

/// Places of all tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMap {
    /// Graph inputs.
    pub inputs: Vec<PlacedTensor>,
    /// Output of every layer, by layer index.
    pub layers: Vec<PlacedTensor>,
    /// Bytes of every lane in use.
    pub peak_bytes: usize,
    /// Bytes alive at the fullest moment: no placement needs less.
    pub lower_bound_bytes: usize,
    /// Bytes of external memory that spilled tensors take.
    pub spilled_bytes: usize,
}

impl MemoryMap {
    /// The tensor that a layer reads or the graph returns.
    pub fn tensor(&self, source: LayerSource) -> &PlacedTensor {
        match source {
            LayerSource::Input(i) => &self.inputs[i],
            LayerSource::Layer(i) => &self.layers[i],
        }
    }
}

/// A program for one accelerator configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Name of the model.
    pub name: String,
    /// The configuration, with all memory depths known.
    pub config: AcceleratorConfig,
    /// Instructions, the last one END.
    pub instructions: Vec<Instruction>,
    /// The layer that each instruction works for; `None` for loading, storing and END.
    pub layer_of: Vec<Option<usize>>,
    /// Where CONVs write tensors that are spilled, by instruction; the others write their layer's output.
    pub strips: BTreeMap<usize, Strip>,
    /// Weight memory from address 0, or the stream of weights from its beginning.
    pub weights: Vec<WeightWord>,
    /// Places of the tensors.
    pub memory: MemoryMap,
    /// Tensors that are the result, in the order of the model.
    pub outputs: Vec<LayerSource>,
    /// Their shapes as the model declares them.
    pub output_shapes: Vec<Vec<usize>>,
    /// Whether the host takes the softmax of every output.
    pub softmax: bool,
}

impl Program {
    /// The instructions as 32-bit words, eight each.
    ///
    /// # Panics
    /// If an instruction does not encode: `compile` and loading both check that.
    pub fn program_words(&self) -> Vec<u32> {
        self.instructions.iter().flat_map(|i| i.encode().expect("instructions were checked")).collect()
    }

    /// Program memory as text for `$readmemh`: one 32-bit word a line.
    pub fn program_image(&self) -> String {
        let mut text = String::new();
        for word in self.program_words() {
            writeln!(text, "{word:08x}").expect("writing to a string");
        }
        text
    }

    /// Weight memory as text for `$readmemh`: one weight word a line.
    pub fn weight_image(&self) -> String {
        let mut text = String::new();
        for word in &self.weights {
            text += &word.to_hex(&self.config);
            text.push('\n');
        }
        text
    }

    /// Weight memory as the host port takes it: [`crate::host_words_per_weight`] words a weight word.
    pub fn host_weight_words(&self) -> Vec<u32> {
        self.weights.iter().flat_map(|word| word.to_host_words(&self.config)).collect()
    }

    /// The weights as they lie in external memory, if they are streamed: words without gaps, the last beat padded with
    /// zeros.
    pub fn weight_stream(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.weights.iter().flat_map(|word| word.to_bytes(&self.config)).collect();
        let beat = self.config.external().map_or(1, |memory| memory.bytes_per_cycle);
        bytes.resize(bytes.len().next_multiple_of(beat), 0);
        bytes
    }

    /// CRC-32 (of zlib) of the words that the host writes into the memories: the program, and the weights if they are
    /// not streamed. The hardware computes the same of what arrives.
    pub fn load_checksum(&self) -> u32 {
        let mut words = self.program_words();
        if self.config.external().is_none() {
            words.extend(self.host_weight_words());
        }
        let mut hasher = crc32fast::Hasher::new();
        words.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
        hasher.finalize()
    }

    /// Whether the hardware looks for the class: the last output is no map, and there is a register.
    pub fn seeks_class(&self) -> bool {
        self.instructions.iter().any(|i| matches!(i, Instruction::Store { class_lanes: 1.., .. }))
    }

    /// What the timing of the program depends on; END has no step.
    pub fn steps(&self) -> Vec<Step> {
        self.instructions.iter().filter_map(|i| step_of(i, &self.config)).collect()
    }

    /// A hash of the configuration, which the hardware returns too: FNV-1a of its numbers.
    pub fn config_hash(&self) -> u32 {
        config_hash(&self.config)
    }

    /// Number of values of one sample: all graph inputs one after another.
    pub fn input_len(&self) -> usize {
        self.memory.inputs.iter().map(PlacedTensor::elements).sum()
    }

    /// Number of result values: all outputs one after another.
    pub fn output_len(&self) -> usize {
        self.outputs.iter().map(|o| self.memory.tensor(*o).elements()).sum()
    }

    /// The input stream of one sample (`[c, h, w]` row-major, inputs one after another): beats of
    /// `rows` bytes.
    ///
    /// # Panics
    /// If `input` does not hold [`Program::input_len`] values.
    pub fn input_beats(&self, input: &[i8]) -> Vec<Vec<u8>> {
        assert_eq!(input.len(), self.input_len(), "values of one sample");
        let mut beats = Vec::new();
        let mut rest = input;
        for tensor in &self.memory.inputs {
            let (values, after) = rest.split_at(tensor.elements());
            rest = after;
            for (plane, y, x) in beat_order(&tensor.layout) {
                let mut beat = vec![0; self.config.rows];
                for (lane, channel) in beat_channels(&tensor.layout, plane) {
                    beat[lane] = values[tensor.index([channel, y, x])].cast_unsigned();
                }
                beats.push(beat);
            }
        }
        beats
    }

    /// The results that an output stream carries, outputs one after another.
    ///
    /// # Errors
    /// How many beats are missing or too many, or that a beat has another width.
    pub fn output_from_beats(&self, beats: &[Vec<u8>]) -> Result<Vec<i8>, String> {
        let mut values = vec![0; self.output_len()];
        let mut start = 0;
        let mut beats_left = beats.iter();
        for output in &self.outputs {
            let tensor = self.memory.tensor(*output);
            for (plane, y, x) in beat_order(&tensor.layout) {
                let beat =
                    beats_left.next().ok_or_else(|| format!("the output stream ends after {} beats", beats.len()))?;
                if beat.len() != self.config.rows {
                    return Err(format!("a beat has {} bytes instead of {}", beat.len(), self.config.rows));
                }
                for (lane, channel) in beat_channels(&tensor.layout, plane) {
                    values[start + tensor.index([channel, y, x])] = beat[lane].cast_signed();
                }
            }
            start += tensor.elements();
        }
        match beats_left.count() {
            0 => Ok(values),
            more => Err(format!("the output stream has {more} beats too many")),
        }
    }

    /// Integers that stand for the real values of one sample: the division by a power of two is exact.
    ///
    /// # Panics
    /// If `input` does not hold [`Program::input_len`] values.
    pub fn quantize_input(&self, input: &[f32]) -> Vec<i8> {
        assert_eq!(input.len(), self.input_len(), "values of one sample");
        let params =
            self.memory.inputs.iter().flat_map(|t| std::iter::repeat_n((t.exponent, t.zero_point), t.elements()));
        let quantize = |(value, (exponent, zero_point)): (&f32, (i32, i8))| {
            let steps = (f64::from(*value) * 2f64.powi(-exponent)).round_ties_even() + f64::from(zero_point);
            // Not a number becomes 0, values out of range saturate: casts from floats do both.
            steps as i8
        };
        input.iter().zip(params).map(quantize).collect()
    }

    /// Real values of the results, after the softmax that ends the model, if any.
    ///
    /// # Panics
    /// If `output` does not hold [`Program::output_len`] values.
    pub fn dequantize_output(&self, output: &[i8]) -> Vec<f32> {
        assert_eq!(output.len(), self.output_len(), "values of one result");
        let mut values = Vec::with_capacity(output.len());
        let mut rest = output;
        for source in &self.outputs {
            let tensor = self.memory.tensor(*source);
            let (part, after) = rest.split_at(tensor.elements());
            rest = after;
            let step = 2f32.powi(tensor.exponent);
            let real = part.iter().map(|q| (f32::from(*q) - f32::from(tensor.zero_point)) * step);
            if self.softmax { values.extend(softmax(real.collect())) } else { values.extend(real) }
        }
        values
    }
}

fn softmax(values: Vec<f32>) -> Vec<f32> {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f32> = values.iter().map(|v| (v - max).exp()).collect();
    let sum: f32 = exp.iter().sum();
    exp.into_iter().map(|v| v / sum).collect()
}

/// Plane, row and column of every beat of a tensor.
fn beat_order(layout: &TensorLayout) -> impl Iterator<Item = (usize, usize, usize)> {
    let [_, height, width] = layout.shape;
    (0..layout.planes).flat_map(move |p| (0..height).flat_map(move |y| (0..width).map(move |x| (p, y, x))))
}

/// Lane and channel of every byte that means something in a beat of a plane.
fn beat_channels(layout: &TensorLayout, plane: usize) -> impl Iterator<Item = (usize, usize)> {
    let [channels, ..] = layout.shape;
    let first = plane * layout.rows;
    (first..channels.min(first + layout.rows)).map(move |channel| (channel - first, channel))
}

/// What timing needs of an instruction; `None` for END.
pub(crate) fn step_of(instruction: &Instruction, config: &AcceleratorConfig) -> Option<Step> {
    Some(match instruction {
        Instruction::End => return None,
        Instruction::Conv(conv) => Step::Conv {
            tiles: conv.tiles.into(),
            pixels: conv.pixels(config.clusters),
            outputs: conv.outputs(),
            window: conv.window_size(),
            chunks: conv.chunks.into(),
            barrier: conv.barrier,
            fence: conv.fence,
            partial: conv.partial,
            table: conv.table,
        },
        Instruction::Fill { area, .. } => Step::Fill { cells: area.cells() },
        Instruction::Load { area, .. } => Step::Load { beats: area.cells() },
        Instruction::Store { area, .. } => Step::Store { beats: area.cells() },
        Instruction::Transfer(t) => Step::Transfer(Transfer {
            restore: t.restore,
            barrier: t.barrier,
            run: t.run.into(),
            planes: t.planes.into(),
            first_beat: t.first_beat,
            step_beats: t.step_beats,
        }),
    })
}

/// FNV-1a over all numbers of a configuration and the length of an instruction.
pub(crate) fn config_hash(config: &AcceleratorConfig) -> u32 {
    let numbers = [
        INSTRUCTION_WORDS,
        config.rows,
        config.cols,
        config.lane_bytes,
        config.accumulator_pixels,
        config.accumulator_bits as usize,
        config.combine,
        config.weight_words.unwrap_or(0),
        config.program_instructions.unwrap_or(0),
    ];
    // How products are formed changes no program, unless two columns share a select bit. A part that is not there leaves
    // the hash as it was.
    let shared = (config.combine > 1 && config.multiplier == Multiplier::Packed).then_some(1);
    let unit = (config.depthwise_taps > 0).then_some(0x100 + config.depthwise_taps);
    let tables = config.activation_tables.then_some(0x300);
    let gates = config.gates.then_some(0x500);
    let clusters = (config.clusters > 1).then_some(0x600 + config.clusters);
    let argmax = config.argmax.then_some(0x700);
    let states = config.states.then_some(0x800);
    // The latency of external memory is an assumption, not a part.
    let port = config.external().map(|memory| 0x200 + memory.bytes_per_cycle);
    let spill = config.spill_memory().map(|memory| 0x400 + memory.bytes_per_cycle);
    let parts = shared
        .into_iter()
        .chain(unit)
        .chain(tables)
        .chain(gates)
        .chain(clusters)
        .chain(argmax)
        .chain(states)
        .chain(port)
        .chain(spill);
    let bytes = numbers.into_iter().chain(parts).flat_map(|n| (n as u32).to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
