//! Projects for the tools of a target's vendor, in the folder `flow/` of a design: only those of its own target.
//!
//! Every word in them is fixed, a number, or a name that [`espalier_target::parse_board`] or this file restricts to harmless
//! characters: a script runs nothing that a model's name says.

use askama::Template;
use espalier_lower::Program;
use espalier_target::{Asic, Board, Host, Target, memories};

use crate::DesignFiles;
use crate::component::component_file;
use crate::open_flow::{board_top, open_flow};
use crate::rtl::{SERIAL_MODULES, core_modules, header, memory_interface, render};

#[derive(Template)]
#[template(path = "flows/vivado.tcl")]
struct Vivado<'a> {
    header: &'a [String],
    note: &'a str,
    part: &'a str,
    sources: Vec<&'a str>,
    serial_sources: Vec<&'a str>,
    processor: bool,
    processor_vlnv: &'a str,
    zynq7: bool,
    clock_mhz: f64,
    rows: usize,
    stream_bytes: usize,
    stream_bits: usize,
    pads_stream: bool,
    control_base: &'a str,
    engine_base: &'a str,
    address_bits: u32,
    stream_high: usize,
    padding: usize,
    /// Masters of the core that see the processor's memory.
    masters: Vec<&'a str>,
}

struct PinLine<'a> {
    port: &'static str,
    pin: &'a str,
}

#[derive(Template)]
#[template(path = "flows/quartus.qsf")]
struct Quartus<'a> {
    header: &'a [String],
    family: &'a str,
    part: &'a str,
    sources: Vec<String>,
    pins: Vec<PinLine<'a>>,
    io: String,
}

#[derive(Template)]
#[template(path = "flows/clock.sdc")]
struct ClockConstraints<'a> {
    header: &'a [String],
    period: String,
    clock: &'a str,
    inputs: &'a [&'a str],
    outputs: &'a [&'a str],
}

#[derive(Template)]
#[template(path = "flows/gowin.tcl")]
struct Gowin<'a> {
    header: &'a [String],
    device: &'a str,
    part: &'a str,
    sources: Vec<String>,
    pins: bool,
}

#[derive(Template)]
#[template(path = "flows/radiant.tcl")]
struct Radiant<'a> {
    header: &'a [String],
    part: &'a str,
    sources: Vec<String>,
}

#[derive(Template)]
#[template(path = "flows/espalier.core")]
struct FuseSoc<'a> {
    header: &'a [String],
    sources: Vec<String>,
    tool: &'a str,
    part: &'a str,
}

#[derive(Template)]
#[template(path = "flows/openlane.json")]
struct OpenLane<'a> {
    header_line: &'a str,
    sources: Vec<String>,
    period: String,
    utilization: u32,
    density: u32,
    memories: String,
}

/// A memory macro of a process.
struct Macro {
    words: usize,
    bits: usize,
    high_address: u32,
    area_um2: u64,
}

#[derive(Template)]
#[template(path = "flows/espalier_ram_macros.sv")]
struct MacroMemory<'a> {
    header: &'a [String],
    /// Name, parameters and ports of the module.
    interface: &'static str,
    macros: &'a [Macro],
}

#[derive(Template)]
#[template(path = "flows/espalier_sram.sv")]
struct MacroWrappers<'a> {
    header: &'a [String],
    macros: &'a [Macro],
}

/// The vendor's project for a target, a FuseSoC core file and the IP-XACT description of the core.
pub fn vendor_flow_files(program: &Program, target: &Target, board: Option<&Board>) -> DesignFiles {
    let mut files = DesignFiles::default();
    let header = header(&target.name, program.config_hash());
    let family = target.family.as_deref().unwrap_or_default();
    let part = board.map(|b| b.part.as_str()).or(target.part.as_deref()).filter(|p| harmless(p)).unwrap_or("PART");
    let clock_mhz = board.map_or(target.clock_mhz.value, |b| b.clock_mhz.value);
    match family {
        "xilinx-7" | "ultrascale-plus" | "versal" => {
            vivado(&mut files, &header, program, part, board, clock_mhz);
        }
        "cyclone-v" | "arria-10" | "agilex-7" => quartus(&mut files, &header, (family, part), board, clock_mhz),
        "gowin" => {
            let pins = board.and_then(|b| b.pins.as_ref());
            let flow =
                Gowin { header: &header, device: "GW2A-18C", part, sources: board_sources(), pins: pins.is_some() };
            files.add("flow/gowin.tcl", render(&flow));
            if let Some(pins) = pins {
                let mut text: String = header.iter().map(|line| format!("// {line}\n")).collect();
                for (port, pin) in pins.ports() {
                    text += &format!("IO_LOC \"{port}\" {};\nIO_PORT \"{port}\" IO_TYPE=LVCMOS33;\n", pin.pin);
                }
                files.add("flow/pins.cst", text);
            }
            files.add("flow/espalier.sdc", clock_file(&header, clock_mhz, "clk", &["uart_rx"], &["uart_tx", "led"]));
        }
        "nexus" => {
            files.add("flow/radiant.tcl", render(&Radiant { header: &header, part, sources: board_sources() }));
            files.add("flow/espalier.sdc", clock_file(&header, clock_mhz, "clk", &["uart_rx"], &["uart_tx", "led"]));
        }
        _ => {}
    }
    if let Some(asic) = &target.asic {
        openlane(&mut files, &header, program, asic, clock_mhz);
    }
    // Families that Yosys knows have their top level from `open_flow_files`.
    let needs_top = target.fpga.is_some() && open_flow(target, board).is_none();
    if needs_top {
        files.add("flow/top.sv", board_top(&header, target, board));
    }
    let tool = match family {
        "xilinx-7" | "ultrascale-plus" | "versal" => "vivado",
        "cyclone-v" | "arria-10" | "agilex-7" => "quartus",
        _ => "",
    };
    let sources: Vec<String> = core_sources().map(|name| format!("rtl/{name}")).collect();
    let core = FuseSoc { header: &header, sources: sources.clone(), tool, part };
    files.add("espalier.core", render(&core));
    files.add("component.xml", component_file(&header, program, sources));
    files
}

/// Letters, digits and what part numbers have besides.
fn harmless(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_/.".contains(c))
}

/// File names of the core and its AXI wrapper.
fn core_sources() -> impl Iterator<Item = &'static str> {
    core_modules().filter_map(|path| path.strip_prefix("rtl/")).chain(["espalier_top.v"])
}

/// Paths, from `flow/`, of the core, the serial host and the top level of boards without a processor.
fn board_sources() -> Vec<String> {
    let serial = SERIAL_MODULES.iter().map(|(path, _)| *path);
    core_modules().chain(serial).map(|path| format!("../{path}")).chain(["top.sv".to_owned()]).collect()
}

fn period(clock_mhz: f64) -> String {
    format!("{:.3}", 1000.0 / clock_mhz)
}

fn clock_file(header: &[String], clock_mhz: f64, clock: &str, inputs: &[&str], outputs: &[&str]) -> String {
    render(&ClockConstraints { header, period: period(clock_mhz), clock, inputs, outputs })
}

fn vivado(
    files: &mut DesignFiles,
    header: &[String],
    program: &Program,
    part: &str,
    board: Option<&Board>,
    clock_mhz: f64,
) {
    let zynq7 = part.starts_with("xc7z");
    let processor = zynq7 || part.starts_with("xczu") || part.starts_with("xck26");
    let processor = processor && board.is_none_or(|b| b.host == Host::Processor);
    let rows = program.config.rows;
    let stream_bytes = rows.next_power_of_two();
    let flow = Vivado {
        header,
        note: if processor {
            "The device's processor talks to the accelerator."
        } else {
            "Nobody but the serial line talks to the accelerator."
        },
        part,
        sources: core_sources().collect(),
        serial_sources: SERIAL_MODULES.iter().filter_map(|(path, _)| path.strip_prefix("rtl/")).collect(),
        processor,
        processor_vlnv: if zynq7 { "xilinx.com:ip:processing_system7" } else { "xilinx.com:ip:zynq_ultra_ps_e" },
        zynq7,
        clock_mhz,
        rows,
        stream_bytes,
        stream_bits: 8 * stream_bytes,
        pads_stream: stream_bytes != rows,
        control_base: if zynq7 { "0x80000000" } else { "0x400000000" },
        engine_base: if zynq7 { "0x40400000" } else { "0xa0000000" },
        address_bits: if zynq7 { 32 } else { 40 },
        stream_high: 8 * rows - 1,
        padding: 8 * (stream_bytes - rows),
        masters: [program.config.external().map(|_| "m_axi"), program.config.spill_memory().map(|_| "m_axi_spill")]
            .into_iter()
            .flatten()
            .collect(),
    };
    files.add("flow/vivado.tcl", render(&flow));
    if processor {
        return;
    }
    let mut text: String = header.iter().map(|line| format!("# {line}\n")).collect();
    let io = board.and_then(|b| b.io_standard.as_deref()).unwrap_or("LVCMOS33");
    match board.and_then(|b| b.pins.as_ref()) {
        Some(pins) => {
            for (port, pin) in pins.ports() {
                text += &format!(
                    "set_property -dict {{ PACKAGE_PIN {} IOSTANDARD {io} }} [get_ports {{ {port} }}]\n",
                    pin.pin
                );
            }
        }
        None => {
            text += "# No board was chosen: add PACKAGE_PIN and IOSTANDARD of clk, uart_rx, uart_tx and led here.\n"
        }
    }
    text += &format!("create_clock -name clk -period {} [get_ports clk]\n", period(clock_mhz));
    text += "set_false_path -from [get_ports uart_rx]\nset_false_path -to [get_ports { uart_tx led }]\n";
    files.add("flow/pins.xdc", text);
}

fn quartus(
    files: &mut DesignFiles,
    header: &[String],
    (family, part): (&str, &str),
    board: Option<&Board>,
    clock_mhz: f64,
) {
    let pins = board.and_then(|b| b.pins.as_ref());
    let flow = Quartus {
        header,
        family: match family {
            "cyclone-v" => "Cyclone V",
            "arria-10" => "Arria 10",
            _ => "Agilex 7",
        },
        part,
        sources: board_sources(),
        pins: pins.iter().flat_map(|p| p.ports()).map(|(port, pin)| PinLine { port, pin: &pin.pin }).collect(),
        io: board.and_then(|b| b.io_standard.as_deref()).unwrap_or("3.3-V_LVTTL").replace('_', " "),
    };
    files.add("flow/espalier.qsf", render(&flow));
    files.add("flow/espalier.qpf", "PROJECT_REVISION = \"espalier\"\n");
    files.add("flow/espalier.sdc", clock_file(header, clock_mhz, "clk", &["uart_rx"], &["uart_tx", "led"]));
}

/// The generated memory of a process's macros and their wrappers, in `folder`.
pub(crate) fn macro_memory(files: &mut DesignFiles, folder: &str, header: &[String], asic: &Asic) {
    let macros: Vec<Macro> = asic
        .macros
        .iter()
        .map(|m| Macro {
            words: m.words,
            bits: m.bits,
            high_address: m.words.next_power_of_two().trailing_zeros().max(1) - 1,
            area_um2: (m.area_mm2.value * 1e6).round() as u64,
        })
        .collect();
    let memory = MacroMemory { header, interface: memory_interface(), macros: &macros };
    files.add(&format!("{folder}/espalier_ram.sv"), render(&memory));
    files.add(&format!("{folder}/espalier_sram.sv"), render(&MacroWrappers { header, macros: &macros }));
}

fn openlane(files: &mut DesignFiles, header: &[String], program: &Program, asic: &Asic, clock_mhz: f64) {
    let density = asic.placement_density.value;
    macro_memory(files, "flow", header, asic);
    let list = memories(&program.config)
        .iter()
        .map(|m| format!("{} x {} words of {} bits ({})", m.count, m.words, m.bits, m.name))
        .collect::<Vec<_>>();
    let flow = OpenLane {
        header_line: &header[0],
        sources: ["espalier_sram.sv".to_owned(), "espalier_ram.sv".to_owned()]
            .into_iter()
            .chain(core_sources().filter(|name| *name != "espalier_ram.sv").map(|name| format!("../rtl/{name}")))
            .collect(),
        period: period(clock_mhz),
        utilization: (density * 70.0).round() as u32,
        density: (density * 100.0).round() as u32,
        memories: list.join(", "),
    };
    files.add("flow/config.json", render(&flow));
    files.add("flow/espalier.sdc", clock_file(header, clock_mhz, "aclk", &[], &[]));
}
