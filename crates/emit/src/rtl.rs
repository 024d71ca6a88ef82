//! The hardware: embedded plain files, the generated package and the generated wrapper.

use askama::Template;
use espalier_lower::{Opcode, error_codes, fields, regions, registers};
use espalier_target::{AcceleratorConfig, BURST_BEATS, GATE_QUEUE, Multiplier};

use crate::DesignFiles;

/// Weight memory of a configuration that leaves its depth open.
const DEFAULT_WEIGHT_WORDS: usize = 4096;
/// Program memory of a configuration that leaves its depth open.
pub(crate) const DEFAULT_PROGRAM_INSTRUCTIONS: usize = 256;

macro_rules! plain_modules {
    ($($name:literal),* $(,)?) => {
        [$((concat!("rtl/", $name), include_str!(concat!("../templates/rtl/", $name)))),*]
    };
}

/// Modules without generated text, leaves first.
const MODULES: [(&str, &str); 35] = plain_modules![
    "espalier_ram.sv",
    "espalier_shared_ram.sv",
    "espalier_fifo.sv",
    "espalier_mul.sv",
    "espalier_pe.sv",
    "espalier_pe_pair.sv",
    "espalier_array.sv",
    "espalier_lane.sv",
    "espalier_gates.sv",
    "espalier_depthwise.sv",
    "espalier_accumulator.sv",
    "espalier_cluster.sv",
    "espalier_requant.sv",
    "espalier_outputs.sv",
    "espalier_delay.sv",
    "espalier_drain.sv",
    "espalier_table.sv",
    "espalier_writeback.sv",
    "espalier_mover.sv",
    "espalier_argmax.sv",
    "espalier_burst.sv",
    "espalier_transfer.sv",
    "espalier_fetch.sv",
    "espalier_weight_stream.sv",
    "espalier_entries.sv",
    "espalier_loader.sv",
    "espalier_walk.sv",
    "espalier_runs.sv",
    "espalier_base.sv",
    "espalier_steps.sv",
    "espalier_streamer.sv",
    "espalier_sequencer.sv",
    "espalier_host.sv",
    "espalier_core.sv",
    "espalier_axil.sv",
];

/// The serial host, for boards without a processor.
pub(crate) const SERIAL_MODULES: [(&str, &str); 3] =
    plain_modules!["espalier_uart.sv", "espalier_serial.sv", "espalier_board.sv"];

/// Paths of the core's modules, in the order in which tools read them.
pub(crate) fn core_modules() -> impl Iterator<Item = &'static str> {
    std::iter::once("rtl/espalier_pkg.sv").chain(MODULES.iter().map(|(path, _)| *path))
}

/// Name, parameters and ports of `espalier_ram`.
pub(crate) fn memory_interface() -> &'static str {
    let text = include_str!("../templates/rtl/espalier_ram.sv");
    let start = text.find("module espalier_ram").expect("the file has the module");
    let end = text.find("\n);").expect("the module has ports");
    &text[start..end + "\n);".len()]
}

/// Words of the weight memory, or of the ring of streamed weights.
pub(crate) fn weight_depth(config: &AcceleratorConfig) -> usize {
    config.external().map_or(config.weight_words.unwrap_or(DEFAULT_WEIGHT_WORDS), |memory| memory.ring_words)
}

/// One `localparam` of the package.
struct Constant {
    kind: &'static str,
    name: String,
    value: String,
}

#[derive(Template)]
#[template(path = "rtl/espalier_pkg.sv")]
struct Package<'a> {
    header: &'a [String],
    constants: Vec<Constant>,
    opcodes: Vec<Constant>,
    registers: Vec<Constant>,
    regions: Vec<Constant>,
    errors: Vec<Constant>,
    fields: Vec<Constant>,
}

#[derive(Template)]
#[template(path = "rtl/espalier_top.v")]
struct Top<'a> {
    header: &'a [String],
    stream_high: usize,
    /// The port to external memory, if weights are streamed.
    memory: Option<MemoryPort>,
    /// The one for spilled tensors.
    spill: Option<MemoryPort>,
}

/// Constants of an AXI4 master.
struct MemoryPort {
    data_high: usize,
    strobe_high: usize,
    /// Binary logarithm of the bytes of a beat.
    size: u32,
}

/// All RTL files of a configuration, and `rtl/files.f`, which lists the core's for the tools. Depths that the
/// configuration leaves open get 4096 weight words and 256 instructions. `target` is named in the headers.
pub fn rtl(config: &AcceleratorConfig, target: &str, hash: u32) -> DesignFiles {
    let header = header(target, hash);
    let mut files = DesignFiles::default();
    files.add("rtl/espalier_pkg.sv", render(&package(config, hash, &header)));
    for (path, text) in MODULES {
        files.add(path, text);
    }
    let list: String = files.iter().map(|(path, _)| path.replace("rtl/", "") + "\n").collect();
    let port =
        |bytes: usize| MemoryPort { data_high: 8 * bytes - 1, strobe_high: bytes - 1, size: bytes.trailing_zeros() };
    let memory = config.external().map(|memory| port(memory.bytes_per_cycle));
    let spill = config.spill_memory().map(|memory| port(memory.bytes_per_cycle));
    files.add("rtl/espalier_top.v", render(&Top { header: &header, stream_high: 8 * config.rows - 1, memory, spill }));
    files.add("rtl/files.f", list);
    for (path, text) in SERIAL_MODULES {
        files.add(path, text);
    }
    files
}

/// Comment lines that every generated file starts with: tool, version, target, configuration; no date.
pub(crate) fn header(target: &str, hash: u32) -> Vec<String> {
    // A target's name comes from a user's file: it must not end a comment or a string of any language.
    let harmless = |c: char| if c.is_ascii_alphanumeric() || " _.+".contains(c) { c } else { '-' };
    let target = target.chars().map(harmless).collect::<String>().replace("--", "- ");
    vec![
        format!("Generated by Espalier {} for target '{target}', configuration {hash:08x}.", env!("CARGO_PKG_VERSION")),
        "Do not edit: changes belong into the project that generates it.".to_owned(),
    ]
}

/// Renders a template, with the last line break, which askama drops.
pub(crate) fn render(template: &impl Template) -> String {
    template.render().expect("the templates write to strings and call nothing") + "\n"
}

fn package<'a>(config: &AcceleratorConfig, hash: u32, header: &'a [String]) -> Package<'a> {
    let int = |name: &str, value: usize| Constant { kind: "int", name: name.to_owned(), value: value.to_string() };
    let constants = vec![
        int("ROWS", config.rows),
        int("COLS", config.cols),
        int("COMBINE", config.combine),
        int("CLUSTERS", config.clusters),
        int("PACKED", usize::from(config.multiplier == Multiplier::Packed)),
        int("HARD_COLS", config.hard_cols()),
        int("DEPTHWISE_TAPS", config.depthwise_taps),
        int("GATES", if config.gates { GATE_QUEUE } else { 0 }),
        int("STATES", usize::from(config.states)),
        int("TABLES", usize::from(config.activation_tables)),
        int("ARGMAX", usize::from(config.argmax)),
        int("LANE_BYTES", config.lane_bytes),
        int("ACCUMULATOR_PIXELS", config.accumulator_pixels),
        int("ACCUMULATOR_BITS", config.accumulator_bits as usize),
        int("WEIGHT_WORDS", weight_depth(config)),
        int("STREAM_BYTES", config.external().map_or(0, |memory| memory.bytes_per_cycle)),
        int("SPILL_BYTES", config.spill_memory().map_or(0, |memory| memory.bytes_per_cycle)),
        int("BURST_BEATS", BURST_BEATS),
        int("PROGRAM_INSTRUCTIONS", config.program_instructions.unwrap_or(DEFAULT_PROGRAM_INSTRUCTIONS)),
        Constant { kind: "logic [31:0]", name: "CONFIG_HASH".to_owned(), value: format!("32'h{hash:08x}") },
    ];
    let opcodes = Opcode::ALL.into_iter().map(|o| int(o.name(), o as usize)).collect();
    let upper = |name: &str, value: u32| int(&name.to_uppercase(), value as usize);
    let registers = registers().iter().map(|r| upper(r.name, r.offset / 4)).collect();
    let regions = regions().iter().map(|r| upper(r.name, r.base >> 28)).collect();
    let errors = error_codes().iter().map(|e| upper(e.name, e.code.into())).collect();
    let fields = fields()
        .iter()
        .map(|f| int(&format!("{}_LSB", f.name.to_uppercase()), 32 * usize::from(f.word) + usize::from(f.lo)))
        .collect();
    Package { header, constants, opcodes, registers, regions, errors, fields }
}
