//! The Vitis HLS kernel: embedded plain files, and the generated header of constants.

use std::fmt::Write;

use askama::Template;
use espalier_lower::{
    Field, INSTRUCTION_WORDS, LaneWrite, Opcode, PARAMETER_WORDS, Program, fields, host_words_per_weight, used_bits,
};
use espalier_target::{AcceleratorConfig, GATE_QUEUE, TABLE_ENTRIES, Table};
use serde::Deserialize;

use crate::DesignFiles;
use crate::bench::{TRACE_MAGIC, TRACE_VERSION};
use crate::rtl::{DEFAULT_PROGRAM_INSTRUCTIONS, header, render, weight_depth};

/// Files without generated text.
const FILES: [(&str, &str); 4] = [
    ("hls/espalier_hls.h", include_str!("../templates/hls/espalier_hls.h")),
    ("hls/espalier_hls.cpp", include_str!("../templates/hls/espalier_hls.cpp")),
    ("hls/espalier_hls_tb.cpp", include_str!("../templates/hls/espalier_hls_tb.cpp")),
    ("hls/run_hls.tcl", include_str!("../templates/hls/run_hls.tcl")),
];
/// Bytes of spilled tensors that co-simulation copies.
const SPILL_DEPTH: usize = 1 << 20;
/// Words of the longest stream of weights that the kernel takes.
const MAX_STREAM_WORDS: usize = 1 << 20;
/// What the test bench is compiled from; [`hls`] lists it with its headers.
const SOURCES: [&str; 2] = ["espalier_hls.cpp", "espalier_hls_tb.cpp"];

/// One `constexpr` of the header.
struct Constant {
    kind: &'static str,
    name: String,
    value: String,
}

#[derive(Template)]
#[template(path = "hls/espalier_hls_config.h")]
struct ConfigHeader<'a> {
    header: &'a [String],
    constants: Vec<Constant>,
    opcodes: Vec<Constant>,
    fields: Vec<Constant>,
    used_bits: Vec<String>,
}

/// Kernel, test bench and Tcl of a configuration, in `hls/`. The header `espalier_hls_config.h` is the only generated
/// file. Depths that the configuration leaves open are those of [`crate::rtl()`]. `target` is named in the header.
pub fn hls(config: &AcceleratorConfig, target: &str, hash: u32) -> DesignFiles {
    let mut files = DesignFiles::default();
    files.add("hls/espalier_hls_config.h", render(&config_header(config, hash, &header(target, hash))));
    for (path, text) in FILES {
        files.add(path, text);
    }
    files
}

fn config_header<'a>(config: &AcceleratorConfig, hash: u32, header: &'a [String]) -> ConfigHeader<'a> {
    let typed = |kind, name: &str, value: usize| Constant { kind, name: name.to_owned(), value: value.to_string() };
    let int = |name: &str, value: usize| typed("int", name, value);
    let unsigned = |name: &str, value: usize| typed("uint32_t", name, value);
    let parts = host_words_per_weight(config);
    // A stream is as long as the addresses of instructions reach; only pragmas depend on it.
    let streamed = config.external().is_some();
    let spill = config.spill_memory();
    let weight_words = if streamed { MAX_STREAM_WORDS } else { weight_depth(config) };
    let instructions = config.program_instructions.unwrap_or(DEFAULT_PROGRAM_INSTRUCTIONS);
    let constants = vec![
        int("ROWS", config.rows),
        int("COLS", config.cols),
        int("COMBINE", config.combine),
        int("DEPTHWISE_TAPS", config.depthwise_taps),
        int("MAX_TAPS", config.depthwise_taps.max(1)),
        int("GATES", if config.gates { GATE_QUEUE } else { 0 }),
        int("STATES", usize::from(config.states)),
        int("TABLES", usize::from(config.activation_tables)),
        int("ARGMAX", usize::from(config.argmax)),
        int("TABLE_ENTRIES", TABLE_ENTRIES),
        int("TABLE_WORDS", Table::Shared.words(config.cols)),
        unsigned("LANE_BYTES", config.lane_bytes),
        // Sums of all clusters, one after another.
        unsigned("ACCUMULATOR_PIXELS", config.accumulator_pixels * config.clusters),
        int("ACCUMULATOR_BITS", config.accumulator_bits as usize),
        int("STREAMED", usize::from(streamed)),
        unsigned("WEIGHT_WORDS", weight_words),
        unsigned("WEIGHT_PARTS", parts),
        unsigned("WEIGHT_IMAGE_WORDS", weight_words * parts),
        unsigned("MAX_TILES", weight_words.div_ceil(config.rows)),
        int("PARAMETER_WORDS", PARAMETER_WORDS),
        unsigned("PROGRAM_INSTRUCTIONS", instructions),
        int("INSTRUCTION_WORDS", INSTRUCTION_WORDS),
        unsigned("PROGRAM_WORDS", instructions * INSTRUCTION_WORDS),
        int("BEAT_BYTES", config.rows.next_power_of_two()),
        unsigned("SPILL_BEAT_BYTES", spill.map_or(0, |memory| memory.bytes_per_cycle)),
        unsigned("SPILL_BEATS", spill.map_or(0, |memory| memory.beats_per_word)),
        unsigned("SPILL_WORD_BYTES", spill.map_or(0, |memory| memory.bytes_per_cycle * memory.beats_per_word)),
        unsigned("SPILL_DEPTH", spill.map_or(1, |_| SPILL_DEPTH)),
        unsigned("OPCODES", Opcode::ALL.len()),
        Constant { kind: "uint32_t", name: "CONFIG_HASH".to_owned(), value: format!("0x{hash:08x}") },
    ];
    let place = |f: &Field| format!("{{{}, {}, {}, {}}}", f.word, f.lo, f.width(), f.signed);
    let opcode = |o: Opcode| Constant { kind: "", name: o.name().to_owned(), value: (o as usize).to_string() };
    let field = |f: &Field| Constant { kind: "", name: f.name.to_uppercase(), value: place(f) };
    let row = |o: Opcode| used_bits(o).map(|bits| format!("0x{bits:08x}")).join(", ");
    ConfigHeader {
        header,
        constants,
        opcodes: Opcode::ALL.into_iter().map(opcode).collect(),
        fields: fields().iter().map(field).collect(),
        used_bits: Opcode::ALL.into_iter().map(row).collect(),
    }
}

/// `hls/layers.txt`: with which the test bench names what a byte means. Numbers only: layers are numbered as in
/// `program.json`.
pub(crate) fn layers(program: &Program) -> String {
    let mut text = String::new();
    for tensor in &program.memory.layers {
        let l = &tensor.layout;
        let [channels, height, width] = l.shape;
        let numbers = [tensor.base, l.plane_bytes, l.origin(), l.pitch, l.planes, l.replicas, channels, height, width];
        let numbers = numbers.map(|n| n.to_string()).join(" ");
        writeln!(text, "layer {numbers}").expect("writing to a string");
    }
    for (index, layer) in program.layer_of.iter().enumerate() {
        if let Some(layer) = layer {
            writeln!(text, "instruction {index} {layer}").expect("writing to a string");
        }
    }
    for source in &program.outputs {
        let l = &program.memory.tensor(*source).layout;
        let [channels, height, width] = l.shape;
        for plane in 0..l.planes {
            let lanes = (channels - plane * l.rows).min(l.rows);
            writeln!(text, "output {} {lanes}", height * width).expect("writing to a string");
        }
    }
    text
}

/// Arguments of `g++`, to be run in `hls/` of the design, that build the test bench with its log of lane writes as
/// `binary`. `extra` comes before the sources.
pub fn hls_arguments(binary: &str, extra: &[&str]) -> Vec<String> {
    // Pragmas are for Vitis.
    let fixed = "-std=c++14 -O2 -Wall -Wextra -Wno-unknown-pragmas -DESPALIER_TRACE";
    let words = fixed.split_whitespace().chain(extra.iter().copied()).chain(SOURCES).chain(["-o", binary]);
    words.map(str::to_owned).collect()
}

/// One call of the test bench of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HlsRun {
    /// Program image, as in `memory/program.hex`.
    pub program: String,
    /// Weight image, as in `memory/weights.hex`.
    pub weights: String,
    /// Input beats of all images, `rows` bytes each.
    pub inputs: String,
    /// Images to run.
    pub images: usize,
    /// Input beats of an image.
    pub beats_in: usize,
    /// Output beats of an image.
    pub beats_out: usize,
    /// Where to write the output beats of all images, if anywhere.
    pub outputs: Option<String>,
    /// Where to write the log of lane writes, if anywhere.
    pub trace: Option<String>,
    /// A log to compare the lane writes with.
    pub expected: Option<String>,
    /// Output beats to compare with.
    pub expected_outputs: Option<String>,
    /// Bytes of external memory for spilled tensors.
    pub spill_bytes: usize,
    /// `hls/layers.txt`, to name what differs.
    pub layers: Option<String>,
}

impl HlsRun {
    /// The arguments of the test bench.
    pub fn arguments(&self) -> Vec<String> {
        let numbers = [
            ("--images", self.images),
            ("--beats-in", self.beats_in),
            ("--beats-out", self.beats_out),
            ("--spill-bytes", self.spill_bytes),
        ];
        let files = [("--program", &self.program), ("--weights", &self.weights), ("--inputs", &self.inputs)];
        let optional = [
            ("--outputs", &self.outputs),
            ("--trace-out", &self.trace),
            ("--expected", &self.expected),
            ("--expected-outputs", &self.expected_outputs),
            ("--layers", &self.layers),
        ];
        let mut arguments = Vec::new();
        arguments.extend(files.into_iter().flat_map(|(name, path)| [name.to_owned(), path.clone()]));
        arguments.extend(numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
        let given = optional.into_iter().filter_map(|(name, path)| path.as_ref().map(|p| [name.to_owned(), p.clone()]));
        arguments.extend(given.flatten());
        arguments
    }
}

/// The line that the test bench prints when the kernel ran to its end.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HlsReport {
    /// Images that ran.
    pub images: usize,
    /// Hash of its configuration.
    pub config_hash: u32,
    /// Lane writes compared.
    pub writes: u64,
    /// Bytes compared, of lane writes and outputs.
    pub elements: u64,
    /// What differs.
    pub mismatches: u64,
    /// The class of each image, 0 if the kernel looks for none.
    pub classes: Vec<u32>,
    /// Wall-clock seconds in the kernel.
    pub seconds: f64,
}

/// Reads the test bench's answer.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_hls_report(stdout: &str) -> Result<HlsReport, String> {
    let line = stdout.lines().rev().find(|l| l.starts_with('{')).ok_or("the test bench printed no report")?;
    serde_json::from_str(line).map_err(|e| format!("the test bench's report is not understood: {e}"))
}

/// A log of lane writes in the form that [`crate::parse_trace`] reads, one image after the other.
pub fn write_trace(images: &[&[LaneWrite]], rows: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [TRACE_MAGIC, TRACE_VERSION, rows as u32] {
        bytes.extend(word.to_le_bytes());
    }
    for writes in images {
        bytes.extend((writes.len() as u32).to_le_bytes());
        for write in *writes {
            bytes.extend(write.instruction.to_le_bytes());
            bytes.extend(write.mask.to_le_bytes());
            bytes.extend(write.address.to_le_bytes());
            bytes.extend(write.data.iter().map(|b| b.cast_unsigned()));
        }
    }
    bytes
}
