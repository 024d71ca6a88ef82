//! The IP-XACT description of the integrator's wrapper: its buses, ports, registers and memories.

use askama::Template;
use espalier_lower::{Access, Program, Register, region_base, registers};

use crate::rtl::{render, weight_depth};

/// A signal of a bus and the port that carries it.
struct PortMap {
    logical: &'static str,
    physical: String,
}

struct Bus {
    name: &'static str,
    kind: &'static str,
    master: bool,
    /// Name of what is behind a slave, or of what a master sees.
    space: Option<&'static str>,
    maps: Vec<PortMap>,
}

struct Port {
    name: String,
    direction: &'static str,
    high: usize,
}

#[derive(Template)]
#[template(path = "flows/component.xml")]
struct Component<'a> {
    header: &'a [String],
    buses: Vec<Bus>,
    registers: &'static [Register],
    program_base: String,
    program_bytes: usize,
    weight_base: String,
    weight_bytes: usize,
    /// Weights come from external memory.
    streamed: bool,
    /// A master sees a memory.
    memory: bool,
    ports: Vec<Port>,
    sources: Vec<String>,
}

impl Component<'_> {
    fn access(&self, register: &Register) -> &'static str {
        if register.access == Access::ReadOnly { "read-only" } else { "read-write" }
    }

    /// Text between tags.
    fn escaped(&self, text: &str) -> String {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('`', "")
    }
}

/// Signal, whether the wrapper drives it, and its highest bit.
type Signal = (&'static str, bool, usize);

const CONTROL: [Signal; 19] = [
    ("AWVALID", false, 0),
    ("AWREADY", true, 0),
    ("AWADDR", false, 31),
    ("AWPROT", false, 2),
    ("WVALID", false, 0),
    ("WREADY", true, 0),
    ("WDATA", false, 31),
    ("WSTRB", false, 3),
    ("BVALID", true, 0),
    ("BREADY", false, 0),
    ("BRESP", true, 1),
    ("ARVALID", false, 0),
    ("ARREADY", true, 0),
    ("ARADDR", false, 31),
    ("ARPROT", false, 2),
    ("RVALID", true, 0),
    ("RREADY", false, 0),
    ("RDATA", true, 31),
    ("RRESP", true, 1),
];

/// A stream, `drives` if the wrapper is its source.
fn stream(drives: bool, high: usize) -> Vec<Signal> {
    vec![("TVALID", drives, 0), ("TREADY", !drives, 0), ("TDATA", drives, high), ("TLAST", drives, 0)]
}

/// A master that reads.
fn reads(data_high: usize) -> Vec<Signal> {
    vec![
        ("ARVALID", true, 0),
        ("ARREADY", false, 0),
        ("ARID", true, 0),
        ("ARADDR", true, 63),
        ("ARLEN", true, 7),
        ("ARSIZE", true, 2),
        ("ARBURST", true, 1),
        ("ARLOCK", true, 0),
        ("ARCACHE", true, 3),
        ("ARPROT", true, 2),
        ("RVALID", false, 0),
        ("RREADY", true, 0),
        ("RID", false, 0),
        ("RDATA", false, data_high),
        ("RRESP", false, 1),
        ("RLAST", false, 0),
    ]
}

/// What a master needs beside that to write.
fn writes(data_high: usize) -> Vec<Signal> {
    vec![
        ("AWVALID", true, 0),
        ("AWREADY", false, 0),
        ("AWID", true, 0),
        ("AWADDR", true, 63),
        ("AWLEN", true, 7),
        ("AWSIZE", true, 2),
        ("AWBURST", true, 1),
        ("AWLOCK", true, 0),
        ("AWCACHE", true, 3),
        ("AWPROT", true, 2),
        ("WVALID", true, 0),
        ("WREADY", false, 0),
        ("WDATA", true, data_high),
        ("WSTRB", true, data_high.div_ceil(8) - 1),
        ("WLAST", true, 0),
        ("BVALID", false, 0),
        ("BREADY", true, 0),
        ("BID", false, 0),
        ("BRESP", false, 1),
    ]
}

/// `component.xml` of a program's core.
pub(crate) fn component_file(header: &[String], program: &Program, sources: Vec<String>) -> String {
    let config = &program.config;
    let high = 8 * config.rows - 1;
    let bus = |name: &'static str, kind, master, space, signals: &[Signal]| {
        let map = |s: &Signal| PortMap { logical: s.0, physical: format!("{name}_{}", s.0.to_lowercase()) };
        Bus { name, kind, master, space, maps: signals.iter().map(map).collect() }
    };
    let mut buses = vec![
        bus("s_axil", "AXI4-Lite", false, Some("registers"), &CONTROL),
        bus("s_axis", "AXI4Stream", false, None, &stream(false, high)),
        bus("m_axis", "AXI4Stream", true, None, &stream(true, high)),
    ];
    let mut signals: Vec<(&str, Vec<Signal>)> =
        vec![("s_axil", CONTROL.to_vec()), ("s_axis", stream(false, high)), ("m_axis", stream(true, high))];
    let weights = config.external().map(|memory| ("m_axi", reads(8 * memory.bytes_per_cycle - 1)));
    let spill = config.spill_memory().map(|memory| {
        let high = 8 * memory.bytes_per_cycle - 1;
        ("m_axi_spill", [reads(high), writes(high)].concat())
    });
    for (name, port) in weights.into_iter().chain(spill) {
        buses.push(bus(name, "AXI4", true, Some("memory"), &port));
        signals.push((name, port));
    }
    let port = |name: &str, drives: bool, high| Port {
        name: name.to_owned(),
        direction: if drives { "out" } else { "in" },
        high,
    };
    let mut ports = vec![port("aclk", false, 0), port("aresetn", false, 0)];
    for (prefix, signals) in &signals {
        ports.extend(signals.iter().map(|s| port(&format!("{prefix}_{}", s.0.to_lowercase()), s.1, s.2)));
    }
    ports.extend([port("done", true, 0), port("irq", true, 0)]);
    render(&Component {
        header,
        buses,
        registers: registers(),
        program_base: format!("{:#010x}", region_base("program")),
        program_bytes: 32 * config.program_instructions.unwrap_or(1),
        weight_base: format!("{:#010x}", region_base("weights")),
        weight_bytes: 64 * weight_depth(config),
        streamed: config.external().is_some(),
        memory: config.external().is_some() || config.spill_memory().is_some(),
        ports,
        sources,
    })
}
