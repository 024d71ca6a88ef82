//! A program as files: a manifest and two memory images, and the way back with every number checked.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, LayerSource};
use espalier_target::{AcceleratorConfig, Halo, TensorLayout};
use serde::{Deserialize, Serialize};

use crate::fields::INSTRUCTION_WORDS;
use crate::isa::{Instruction, MAX_INSTRUCTIONS, MAX_WEIGHT_WORDS};
use crate::program::{MemoryMap, PlacedTensor, Program, Strip, config_hash};
use crate::weights::WeightWord;

/// Version of the manifest's form.
const FORMAT: u32 = 1;

/// Everything about a program that the memory images do not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// The configuration, all depths given.
    pub accelerator: AcceleratorConfig,
    /// What the hardware answers when asked for its configuration.
    pub config_hash: u32,
    /// Instructions in the program image.
    pub instructions: usize,
    /// Words in the weight image.
    pub weight_words: usize,
    /// Bytes of every lane in use.
    pub peak_bytes: usize,
    /// Bytes alive at the fullest moment.
    pub lower_bound_bytes: usize,
    /// Bytes of external memory that spilled tensors take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spilled_bytes: usize,
    /// Graph inputs.
    pub inputs: Vec<TensorEntry>,
    /// Output of every layer.
    pub layers: Vec<TensorEntry>,
    /// Results.
    pub outputs: Vec<OutputEntry>,
    /// Whether the host takes the softmax of every output.
    pub softmax: bool,
    /// The layer that each instruction works for.
    pub layer_of: Vec<Option<usize>>,
    /// Where instructions write spilled tensors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strips: BTreeMap<usize, Strip>,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// A tensor in lane memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEntry {
    /// Name of the input or layer.
    pub name: String,
    /// ONNX operator, or `Input`.
    pub op_name: String,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// First byte in every lane.
    pub base: usize,
    /// First beat in external memory, if it is spilled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spilled: Option<usize>,
    /// Rows above, rows below, columns at the side.
    pub halo: [usize; 3],
    /// A reader pads with the zero point.
    pub pads_zero_point: bool,
    /// A reader pads with the minimum.
    pub pads_minimum: bool,
    /// Values of 16 bits, as digits side by side.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wide: bool,
    /// Binary logarithm of the step.
    pub exponent: i32,
    /// Integer that means zero.
    pub zero_point: i8,
}

/// A result of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputEntry {
    /// The tensor.
    pub tensor: TensorRef,
    /// Shape as the model declares it.
    pub shape: Vec<usize>,
}

/// Names a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorRef {
    /// Graph input with this position.
    Input(usize),
    /// Output of the layer with this index.
    Layer(usize),
}

impl Program {
    /// The manifest that belongs to the memory images.
    pub fn manifest(&self) -> Manifest {
        let tensor_ref = |source: &LayerSource| match source {
            LayerSource::Input(i) => TensorRef::Input(*i),
            LayerSource::Layer(i) => TensorRef::Layer(*i),
        };
        Manifest {
            format: FORMAT,
            model: self.name.clone(),
            accelerator: self.config.clone(),
            config_hash: self.config_hash(),
            instructions: self.instructions.len(),
            weight_words: self.weights.len(),
            peak_bytes: self.memory.peak_bytes,
            lower_bound_bytes: self.memory.lower_bound_bytes,
            spilled_bytes: self.memory.spilled_bytes,
            inputs: self.memory.inputs.iter().map(entry).collect(),
            layers: self.memory.layers.iter().map(entry).collect(),
            outputs: (self.outputs.iter().zip(&self.output_shapes))
                .map(|(source, shape)| OutputEntry { tensor: tensor_ref(source), shape: shape.clone() })
                .collect(),
            softmax: self.softmax,
            layer_of: self.layer_of.clone(),
            strips: self.strips.clone(),
        }
    }

    /// The manifest as JSON.
    pub fn manifest_json(&self) -> String {
        serde_json::to_string_pretty(&self.manifest()).expect("a manifest has no map with odd keys") + "\n"
    }

    /// The program that [`Program::manifest_json`], [`Program::program_image`] and
    /// [`Program::weight_image`] describe. Nothing in the texts is trusted.
    ///
    /// # Errors
    /// Texts that do not parse, do not belong together, or name places that do not exist.
    pub fn from_parts(manifest: &str, program_image: &str, weight_image: &str) -> Result<Program, Diagnostics> {
        let manifest: Manifest =
            serde_json::from_str(manifest).map_err(|error| damaged("manifest", error.to_string()))?;
        check_head(&manifest)?;
        let mut findings = Diagnostics::new();
        let config = &manifest.accelerator;
        let inputs = tensors(&manifest.inputs, config, true, &mut findings);
        let layers = tensors(&manifest.layers, config, false, &mut findings);
        let instructions = parse_program(program_image, &manifest, &mut findings);
        let weights = parse_weights(weight_image, &manifest, &mut findings);
        findings.clone().into_result(())?;
        let (outputs, output_shapes) = outputs(&manifest, &inputs, &layers, &mut findings);
        findings.into_result(Program {
            name: manifest.model,
            config: manifest.accelerator,
            instructions,
            layer_of: manifest.layer_of,
            strips: manifest.strips,
            weights,
            memory: MemoryMap {
                inputs,
                layers,
                peak_bytes: manifest.peak_bytes,
                lower_bound_bytes: manifest.lower_bound_bytes,
                spilled_bytes: manifest.spilled_bytes,
            },
            outputs,
            output_shapes,
            softmax: manifest.softmax,
        })
    }
}

fn damaged(at: impl Into<String>, what: impl Into<String>) -> Diagnostic {
    Diagnostic::error("damaged-program", at, what).with_help("compile the model again")
}

fn entry(tensor: &PlacedTensor) -> TensorEntry {
    let TensorLayout { shape, halo, pads_zero_point, pads_minimum, wide, .. } = tensor.layout;
    TensorEntry {
        name: tensor.name.clone(),
        op_name: tensor.op_name.clone(),
        shape,
        base: tensor.base,
        spilled: tensor.spilled,
        halo: [halo.top, halo.bottom, halo.side],
        pads_zero_point,
        pads_minimum,
        wide,
        exponent: tensor.exponent,
        zero_point: tensor.zero_point,
    }
}

/// Checks the numbers that everything else depends on.
fn check_head(manifest: &Manifest) -> Result<(), Diagnostics> {
    if manifest.format != FORMAT {
        let what = format!("has format {}, this version reads {FORMAT}", manifest.format);
        return Err(damaged("manifest", what).into());
    }
    manifest.accelerator.validate()?;
    let mut findings = Diagnostics::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            findings.push(damaged("manifest", what));
        }
    };
    let config = &manifest.accelerator;
    check(manifest.config_hash == config_hash(config), "the hash does not belong to the configuration");
    let program = config.program_instructions.unwrap_or(0).min(MAX_INSTRUCTIONS);
    let ring = config.external().is_some();
    let weights = if ring { MAX_WEIGHT_WORDS } else { config.weight_words.unwrap_or(0).min(MAX_WEIGHT_WORDS) };
    check(config.weight_words.is_some(), "the depth of the weight memory is missing");
    check((1..=program).contains(&manifest.instructions), "the program does not fit its memory");
    check(manifest.weight_words <= weights, "the weights do not fit their memory");
    check(manifest.peak_bytes <= config.lane_bytes, "the tensors do not fit the lanes");
    check(manifest.layer_of.len() == manifest.instructions, "not every instruction has an entry in 'layer_of'");
    check(
        manifest.layer_of.iter().flatten().all(|layer| *layer < manifest.layers.len()),
        "'layer_of' names a layer that does not exist",
    );
    check(
        manifest.strips.iter().all(|(index, strip)| is_strip(manifest, *index, strip)),
        "'strips' names places that do not exist",
    );
    check(
        manifest.spilled_bytes == 0
            || config.spill_memory().is_some_and(|m| manifest.spilled_bytes <= m.bytes_per_cycle << 24),
        "spilled tensors need a port to external memory that can address them",
    );
    check(!manifest.inputs.is_empty(), "there is no input");
    check(!manifest.outputs.is_empty(), "there is no output");
    findings.into_result(())
}

/// Whether a strip lies in the lanes and is one of the tensor that its instruction writes.
fn is_strip(manifest: &Manifest, index: usize, strip: &Strip) -> bool {
    let layer = manifest.layer_of.get(index).copied().flatten().and_then(|layer| manifest.layers.get(layer));
    layer.is_some_and(|tensor| {
        let [top, bottom, _] = tensor.halo;
        let lines = tensor.shape[1].saturating_add(top).saturating_add(bottom);
        let [from, to] = [strip.first_line, strip.first_line.saturating_add(strip.lines)];
        // It has a row of the tensor itself.
        let rows = from < top.saturating_add(tensor.shape[1]) && to > top;
        strip.base < manifest.accelerator.lane_bytes && rows && to <= lines && tensor.spilled.is_some()
    })
}

fn tensors(
    entries: &[TensorEntry],
    config: &AcceleratorConfig,
    is_input: bool,
    findings: &mut Diagnostics,
) -> Vec<PlacedTensor> {
    let place = |entry: &TensorEntry| {
        let [top, bottom, side] = entry.halo;
        // Each number is bounded before a layout computes with it; the layout itself saturates.
        let bounded = entry.shape.iter().all(|n| (1..=1 << 24).contains(n)) && entry.halo.iter().all(|n| *n <= 1 << 16);
        let layout = bounded.then(|| TensorLayout {
            pads_zero_point: entry.pads_zero_point,
            pads_minimum: entry.pads_minimum,
            ..TensorLayout::new(entry.shape, config.rows, is_input, Halo { top, bottom, side })
        })?;
        let layout = if entry.wide { layout.of_wide() } else { layout };
        let end = layout.bytes().checked_add(entry.base)?;
        let held = match entry.spilled {
            None => end <= config.lane_bytes,
            Some(beat) => config.spill_memory().is_some() && entry.base == 0 && beat < 1 << 24,
        };
        let fits = held && (-126..=127).contains(&entry.exponent);
        fits.then(|| PlacedTensor {
            name: entry.name.clone(),
            op_name: entry.op_name.clone(),
            base: entry.base,
            spilled: entry.spilled,
            layout,
            exponent: entry.exponent,
            zero_point: entry.zero_point,
        })
    };
    let mut placed = Vec::new();
    for entry in entries {
        match place(entry) {
            Some(tensor) => placed.push(tensor),
            None => findings.push(damaged(format!("tensor '{}'", entry.name), "has a place or scale that cannot be")),
        }
    }
    placed
}

fn outputs(
    manifest: &Manifest,
    inputs: &[PlacedTensor],
    layers: &[PlacedTensor],
    findings: &mut Diagnostics,
) -> (Vec<LayerSource>, Vec<Vec<usize>>) {
    let mut sources = Vec::new();
    let mut shapes = Vec::new();
    for (i, output) in manifest.outputs.iter().enumerate() {
        let (source, tensor) = match output.tensor {
            TensorRef::Input(index) => (LayerSource::Input(index), inputs.get(index)),
            TensorRef::Layer(index) => (LayerSource::Layer(index), layers.get(index)),
        };
        let elements = output.shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
        if elements.is_some() && tensor.map(PlacedTensor::elements) == elements {
            sources.push(source);
            shapes.push(output.shape.clone());
        } else {
            findings.push(damaged(format!("output {i}"), "names no tensor, or one of another size"));
        }
    }
    (sources, shapes)
}

fn parse_program(image: &str, manifest: &Manifest, findings: &mut Diagnostics) -> Vec<Instruction> {
    let is_word = |line: &&str| line.len() == 8 && line.bytes().all(|b| b.is_ascii_hexdigit());
    let words: Vec<u32> =
        image.lines().take_while(is_word).filter_map(|line| u32::from_str_radix(line, 16).ok()).collect();
    let expected = manifest.instructions * INSTRUCTION_WORDS;
    if words.len() != expected || image.lines().count() != expected {
        let what = format!("holds {} good words instead of {expected}", words.len());
        findings.push(damaged("program image", what));
        return Vec::new();
    }
    let mut instructions = Vec::with_capacity(manifest.instructions);
    for (index, words) in words.as_chunks::<INSTRUCTION_WORDS>().0.iter().enumerate() {
        match Instruction::decode(words) {
            Ok(instruction) => instructions.push(instruction),
            Err(error) => findings.push(damaged(format!("instruction {index}"), error.to_string())),
        }
    }
    let conv_without_layer = instructions
        .iter()
        .zip(&manifest.layer_of)
        .any(|(instruction, layer)| matches!(instruction, Instruction::Conv(_)) && layer.is_none());
    if conv_without_layer || !matches!(instructions.last(), Some(Instruction::End)) {
        findings.push(damaged("program image", "does not end with END, or has a CONV without a layer"));
    }
    instructions
}

fn parse_weights(image: &str, manifest: &Manifest, findings: &mut Diagnostics) -> Vec<WeightWord> {
    let config = &manifest.accelerator;
    let words: Vec<WeightWord> = image.lines().map_while(|line| WeightWord::from_hex(line, config)).collect();
    if words.len() != manifest.weight_words || image.lines().count() != words.len() {
        let what = format!("holds {} good words instead of {}", words.len(), manifest.weight_words);
        findings.push(damaged("weight image", what));
    }
    words
}
