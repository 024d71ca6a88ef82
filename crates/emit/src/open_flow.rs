//! From the hardware to a bitstream with open tools: scripts of a design, and the commands as data.

use askama::Template;
use espalier_lower::Program;
use espalier_target::{AcceleratorConfig, Board, Multiplier, PACKED_CELLS, Pins, Target};

use crate::DesignFiles;
use crate::rtl::{SERIAL_MODULES, core_modules, header, render};

/// What `espalier synth` runs, in the folder `flow/` of a design.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFlow {
    /// Family as in the target file.
    pub family: String,
    /// Place and route, if there is an open tool.
    pub placer: Option<Placer>,
    /// Clocks of a bit of the serial line.
    pub divider: u32,
    /// Whether the weights have to come through the serial line.
    pub load_weights: bool,
    /// Pairs of a resource's name in the estimates and the cells of the netlist that are counted for it; the cells that
    /// begin so.
    pub cells: Vec<(&'static str, &'static [&'static str])>,
}

/// Place and route, and the packing of its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placer {
    /// Program that places and routes.
    pub tool: &'static str,
    /// Its arguments without `--freq` and `--seed`.
    pub arguments: Vec<String>,
    /// What it writes.
    pub placed: &'static str,
    /// Program that makes the bitstream.
    pub pack_tool: &'static str,
    /// Its arguments.
    pub pack_arguments: Vec<String>,
    /// The bitstream.
    pub bitstream: &'static str,
    /// Pairs of a resource's name in the estimates and in the placer's report.
    pub resources: Vec<(&'static str, &'static str)>,
    /// Command that writes the bitstream to the board.
    program: &'static str,
}

#[derive(Template)]
#[template(path = "flows/top.sv")]
struct Top<'a> {
    header: &'a [String],
    baud: String,
    clock_mhz: String,
    divider: u32,
    single_port: u8,
    compact: u8,
    weights: &'a str,
}

#[derive(Template)]
#[template(path = "flows/synth.ys")]
struct SynthScript<'a> {
    header: &'a [String],
    family: &'a str,
    sources: Vec<String>,
    unset_style: bool,
    /// For `synth_xilinx`, which maps some memories and registers wrongly: library of the block RAMs for wide memories.
    xilinx_block_rams: Option<&'a str>,
    command: &'a str,
}

#[derive(Template)]
#[template(path = "flows/Makefile")]
struct Makefile<'a> {
    header: &'a [String],
    goal: &'a str,
    placer: Option<()>,
    placer_tool: &'a str,
    placer_arguments: String,
    placed: &'a str,
    pack_tool: &'a str,
    pack_arguments: String,
    result: &'a str,
    program: &'a str,
}

/// Yosys' command for a family, if it knows it.
pub(crate) fn synthesis(family: &str) -> Option<&'static str> {
    Some(match family {
        "ice40" => "synth_ice40 -spram -top top",
        "ecp5" => "synth_ecp5 -top top",
        "gowin" => "synth_gowin -top top",
        "nexus" => "synth_nexus -top top",
        "xilinx-7" => "synth_xilinx -family xc7 -flatten -top top",
        "ultrascale-plus" => "synth_xilinx -family xcup -flatten -top top",
        "cyclone-v" => "synth_intel_alm -family cyclonev -top top",
        _ => return None,
    })
}

/// Name and text of the library of block RAMs for wide memories of Xilinx devices, see the file.
const XILINX_BLOCK_RAMS: (&str, &str) =
    ("xilinx_block_rams.txt", include_str!("../templates/flows/xilinx_block_rams.txt"));

/// A processing element in one hardware multiplier of an iCE40, see the file.
pub(crate) const ICE40_ELEMENT: &str = include_str!("../templates/flows/espalier_pe_ice40.v");

/// Whether a family is so small that weights lie in single-port memories and registers in block RAM.
pub(crate) fn small_family(family: &str) -> bool {
    family == "ice40"
}

/// Whether [`ICE40_ELEMENT`] takes the place of `espalier_pe.sv`.
pub(crate) fn replaces_element(family: &str, config: &AcceleratorConfig) -> bool {
    family == "ice40" && config.multiplier != Multiplier::Packed
}

/// The flow of a target, or `None` if Yosys does not know its family. Without a board, pins are placed anywhere.
pub fn open_flow(target: &Target, board: Option<&Board>) -> Option<OpenFlow> {
    let family = target.family.as_deref()?;
    synthesis(family)?;
    let part = board.map(|b| b.part.as_str()).or(target.part.as_deref()).unwrap_or_default();
    let pins = board.and_then(|b| b.pins.as_ref());
    const DPR: &str = "TRELLIS_DPR16X4";
    let cells: Vec<(&'static str, &'static [&'static str])> = match family {
        "ice40" => vec![
            ("logic cells", &["SB_LUT4"]),
            ("flip-flops", &["SB_DFF"]),
            // Place and route packs; the netlist does not say.
            (PACKED_CELLS, &[]),
            ("multipliers", &["SB_MAC16"]),
            ("SB_RAM40_4K", &["SB_RAM40_4K"]),
            ("SB_SPRAM256KA", &["SB_SPRAM256KA"]),
        ],
        "ecp5" => vec![
            // A carry cell is two look-up tables; a memory of 16 x 4 bits is four, and its write port takes the place of two.
            ("logic cells", &["LUT4", "CCU2C", "CCU2C", DPR, DPR, DPR, DPR, DPR, DPR]),
            ("flip-flops", &["TRELLIS_FF"]),
            ("multipliers", &["MULT18X18D"]),
            ("DP16KD", &["DP16KD"]),
        ],
        "xilinx-7" | "ultrascale-plus" => vec![
            // A memory of 32 x 6 bits is four look-up tables.
            (
                "logic cells",
                &["LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "SRL", "RAM32M", "RAM32M", "RAM32M", "RAM32M"],
            ),
            ("flip-flops", &["FD"]),
            ("multipliers", &["DSP48"]),
            ("RAMB18E1", &["RAMB18E1", "RAMB36E1", "RAMB36E1"]),
            ("RAMB18E2", &["RAMB18E2", "RAMB36E2", "RAMB36E2"]),
        ],
        _ => Vec::new(),
    };
    let placer = match family {
        "ice40" => ice40(pins),
        "ecp5" => ecp5(part, pins),
        _ => None,
    };
    Some(OpenFlow {
        family: family.to_owned(),
        placer,
        divider: divider(target, board),
        load_weights: loads_weights(target),
        cells,
    })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn ice40(pins: Option<&Pins>) -> Option<Placer> {
    let pins = if pins.is_some() { "--pcf pins.pcf" } else { "--pcf-allow-unconstrained" };
    Some(Placer {
        tool: "nextpnr-ice40",
        arguments: words(&format!(
            "--up5k --package sg48 --json top.json --asc top.asc --report timing.json --timing-allow-fail {pins}"
        )),
        placed: "top.asc",
        pack_tool: "icepack",
        pack_arguments: words("top.asc top.bin"),
        bitstream: "top.bin",
        resources: vec![
            (PACKED_CELLS, "ICESTORM_LC"),
            ("multipliers", "ICESTORM_DSP"),
            ("SB_RAM40_4K", "ICESTORM_RAM"),
            ("SB_SPRAM256KA", "ICESTORM_SPRAM"),
        ],
        program: "iceprog top.bin",
    })
}

/// The part number says size, speed and package: LFE5U-85F-6BG381C.
fn ecp5(part: &str, pins: Option<&Pins>) -> Option<Placer> {
    let size = ["25", "45", "85"].into_iter().find(|s| part.contains(&format!("-{s}F")))?;
    let speed = ["6", "7", "8"].into_iter().find(|s| part.contains(&format!("F-{s}"))).unwrap_or("6");
    let balls = ["256", "381", "554", "756"].into_iter().find(|b| part.contains(&format!("BG{b}"))).unwrap_or("381");
    let pins = if pins.is_some() { "--lpf pins.lpf" } else { "--lpf-allow-unconstrained" };
    Some(Placer {
        tool: "nextpnr-ecp5",
        arguments: words(&format!(
            "--{size}k --package CABGA{balls} --speed {speed} --json top.json --textcfg top.config \
             --report timing.json --timing-allow-fail {pins}"
        )),
        placed: "top.config",
        pack_tool: "ecppack",
        pack_arguments: words("--compress top.config --bit top.bit"),
        bitstream: "top.bit",
        resources: vec![
            ("logic cells", "TRELLIS_COMB"),
            ("flip-flops", "TRELLIS_FF"),
            ("multipliers", "MULT18X18D"),
            ("DP16KD", "DP16KD"),
        ],
        program: "openFPGALoader -b ulx3s top.bit",
    })
}

/// Scripts and constraints in `flow/` for the open tools: top level, `synth.ys`, pins, Makefile, and models of the cells
/// that Yosys has none for. Empty if there is no open flow.
///
/// # Errors
/// If the family cannot take the configuration.
pub fn open_flow_files(program: &Program, target: &Target, board: Option<&Board>) -> DesignFiles {
    let mut files = DesignFiles::default();
    let Some(flow) = open_flow(target, board) else { return files };
    let header = header(&target.name, program.config_hash());
    let small = small_family(&flow.family);
    let clock = board.map_or(target.clock_mhz.value, |b| b.clock_mhz.value);
    files.add("flow/top.sv", board_top(&header, target, board));
    let replaced = replaces_element(&flow.family, &program.config);
    let mut sources: Vec<String> = core_modules()
        .chain(SERIAL_MODULES.iter().map(|(path, _)| *path))
        .filter(|path| !(replaced && path.ends_with("/espalier_pe.sv")))
        .map(|path| format!("../{path}"))
        .collect();
    if replaced {
        files.add("flow/espalier_pe_ice40.v", ICE40_ELEMENT);
        sources.push("espalier_pe_ice40.v".to_owned());
    }
    sources.push("top.sv".to_owned());
    let command = synthesis(&flow.family).expect("open_flow knows the family");
    let xilinx = command.starts_with("synth_xilinx").then_some(XILINX_BLOCK_RAMS);
    if let Some((library, text)) = xilinx {
        files.add(&format!("flow/{library}"), text);
    }
    let script = SynthScript {
        header: &header,
        family: &flow.family,
        sources,
        unset_style: small,
        xilinx_block_rams: xilinx.map(|(library, _)| library),
        command,
    };
    files.add("flow/synth.ys", render(&script));
    if let Some(pins) = board.and_then(|b| b.pins.as_ref()) {
        pin_file(&mut files, &header, &flow.family, board.and_then(|b| b.io_standard.as_deref()), clock, pins);
    }
    files.add("flow/Makefile", render(&makefile(&header, &flow)));
    files
}

/// The top level of a design without a processor: the accelerator behind its serial host.
pub(crate) fn board_top(header: &[String], target: &Target, board: Option<&Board>) -> String {
    let clock_mhz = board.map_or(target.clock_mhz.value, |b| b.clock_mhz.value);
    let divider = divider(target, board);
    let small = loads_weights(target);
    render(&Top {
        header,
        baud: format!("{:.0}", clock_mhz * 1e6 / f64::from(divider)),
        clock_mhz: clock_mhz.to_string(),
        divider,
        single_port: u8::from(small),
        compact: u8::from(small),
        weights: if small { "" } else { "../memory/weights.hex" },
    })
}

/// Clocks of a bit of the serial line.
fn divider(target: &Target, board: Option<&Board>) -> u32 {
    board.map_or((target.clock_mhz.value.round() as u32).max(4), Board::divider)
}

/// The small family puts weights into single-port memories, which have no initial content.
fn loads_weights(target: &Target) -> bool {
    target.family.as_deref() == Some("ice40")
}

fn makefile<'a>(header: &'a [String], flow: &'a OpenFlow) -> Makefile<'a> {
    let Some(placer) = &flow.placer else {
        return Makefile {
            header,
            goal: "maps the design; there is no open place and route for this family",
            placer: None,
            placer_tool: "",
            placer_arguments: String::new(),
            placed: "",
            pack_tool: "",
            pack_arguments: String::new(),
            result: "top.json",
            program: "@echo 'there is no bitstream'; false",
        };
    };
    Makefile {
        header,
        goal: "makes the bitstream",
        placer: Some(()),
        placer_tool: placer.tool,
        placer_arguments: placer.arguments.join(" "),
        placed: placer.placed,
        pack_tool: placer.pack_tool,
        pack_arguments: placer.pack_arguments.join(" "),
        result: placer.bitstream,
        program: placer.program,
    }
}

fn pin_file(files: &mut DesignFiles, header: &[String], family: &str, io: Option<&str>, clock: f64, pins: &Pins) {
    let mut text: String = header.iter().map(|line| format!("# {line}\n")).collect();
    match family {
        "ice40" => {
            for (port, pin) in pins.ports() {
                text += &format!("set_io {port} {}\n", pin.pin);
            }
            text += &format!("set_frequency clk {clock}\n");
            files.add("flow/pins.pcf", text);
        }
        "ecp5" => {
            let io = io.unwrap_or("LVCMOS33");
            for (port, pin) in pins.ports() {
                text += &format!("LOCATE COMP \"{port}\" SITE \"{}\";\nIOBUF PORT \"{port}\" IO_TYPE={io};\n", pin.pin);
            }
            text += &format!("FREQUENCY PORT \"clk\" {clock} MHZ;\n");
            files.add("flow/pins.lpf", text);
        }
        _ => {}
    }
}
