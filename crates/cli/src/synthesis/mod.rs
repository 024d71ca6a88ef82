//! From the files of a design to a bitstream, with measured resources and clock.
//!
//! Everything happens in a folder beside the design's other files that is renamed to `build/` when it is complete.
//! Tools get fixed file names; nothing of a model reaches a command line.

mod measure;
mod simulate;
mod tools;

use std::fs;
use std::path::Path;

use espalier_emit::{open_flow, parse_cells};
use espalier_ir::Diagnostic;
use serde::Serialize;

pub use measure::MeasuredResource;
pub use simulate::{SerialSimulation, simulate};
pub use tools::Step;

use crate::design::Design;
use crate::failure::Outcome;
use crate::output::ScratchFolder;
use crate::progress::Progress;

/// Folder of what the tools made.
pub const BUILD: &str = "build";
/// Folders that the scripts read.
const NEEDED: [&str; 3] = ["rtl", "memory", "flow"];
/// What is kept of a build, if it is there.
const KEPT: [&str; 10] = [
    "top.bit",
    "top.bin",
    "top.config",
    "top.asc",
    "top.json",
    "netlist.v",
    "cells.txt",
    "timing.json",
    "yosys.log",
    "place.log",
];

/// What was measured; `synthesis` in the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Synthesis {
    /// Family of the device.
    pub family: String,
    /// Board, if one was chosen.
    pub board: Option<String>,
    /// Versions of the tools.
    pub tools: Vec<String>,
    /// Time and memory of every tool.
    pub steps: Vec<Step>,
    /// Estimated and measured resources.
    pub resources: Vec<MeasuredResource>,
    /// Highest clock after placement and routing, MHz; `null` if nothing was placed.
    pub fmax_mhz: Option<f64>,
    /// Clock that the design gets: the board's, else the target's, MHz.
    pub clock_mhz: f64,
    /// The bitstream, relative to the folder of the design; `null` if there is none.
    pub bitstream: Option<String>,
    /// Its size.
    pub bitstream_bytes: Option<u64>,
    /// The netlist simulated on real inputs, if that was asked for.
    pub simulation: Option<SerialSimulation>,
}

/// What the user may choose.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Clock to aim at, MHz, instead of the design's.
    pub frequency: Option<f64>,
    /// Seed of the placement.
    pub seed: u64,
    /// Inputs to simulate the netlist with; 0 leaves it out.
    pub simulate: usize,
    /// Stop after the mapping.
    pub map_only: bool,
}

/// Runs the flow of a design and puts the result into `build/`. `earlier` are the steps of the run before, if there was one.
///
/// # Errors
/// If there is no flow, a tool is missing or fails, the device is too small, or the file system refuses.
pub fn synthesize(
    design: &Design,
    folder: &Path,
    estimates: &serde_json::Value,
    earlier: &[Step],
    options: Options,
    progress: &mut Progress,
) -> Outcome<Synthesis> {
    let info = &design.info;
    let place = folder.display().to_string();
    let flow = open_flow(&info.target, info.board.as_ref()).ok_or_else(|| {
        let message = format!("there is no open flow for target '{}'", info.target.name);
        Diagnostic::error("no-flow", &place, message).with_help(
            "`espalier synth` knows ice40, ecp5 (to a bitstream), nexus, gowin, xilinx-7, ultrascale-plus and \
                 cyclone-v (mapping only); the folder `flow/` has a project for the vendor's tool",
        )
    })?;
    if !folder.join("flow/synth.ys").is_file() {
        return Err(Diagnostic::error("damaged-design", &place, "has no flow/synth.ys")
            .with_help("compile the model again")
            .into());
    }
    let placer = flow.placer.as_ref().filter(|_| !options.map_only);
    let mut names = vec!["yosys"];
    names.extend(placer.iter().flat_map(|p| [p.tool, p.pack_tool]));
    let found = tools::find(&names)?;
    let failed =
        |error: std::io::Error| Diagnostic::error("output-folder", &place, format!("cannot be written: {error}"));
    let scratch = ScratchFolder::create(folder).map_err(failed)?;
    for part in NEEDED {
        copy_folder(&folder.join(part), &scratch.path().join(part)).map_err(failed)?;
    }
    let work = scratch.path().join("flow");

    let script = ["-q".to_owned(), "synth.ys".to_owned()];
    let mut steps =
        vec![progress.stage("map", "Mapping the design", |p| found[0].run(&script, &work, "yosys.log", earlier, p))?];
    let read = |name: &str| {
        fs::read_to_string(work.join(name))
            .map_err(|error| Diagnostic::error("tool-failed", &place, format!("{name} cannot be read: {error}")))
    };
    let cells = parse_cells(&read("cells.txt")?);
    let clock_mhz = info.board.as_ref().map_or(info.target.clock_mhz.value, |b| b.clock_mhz.value);
    let simulation =
        (options.simulate > 0).then(|| simulate(design, &work, &flow, options.simulate, progress)).transpose()?;
    let mut placed = None;
    if let Some(placer) = placer {
        let mut arguments = placer.arguments.clone();
        let frequency = options.frequency.unwrap_or(clock_mhz);
        arguments.extend(["--freq".to_owned(), frequency.to_string(), "--seed".to_owned(), options.seed.to_string()]);
        steps.push(
            progress
                .stage("place", "Placing and routing", |p| found[1].run(&arguments, &work, "place.log", earlier, p))?,
        );
        placed = Some(measure::parse_placed(&read("timing.json")?).map_err(|what| {
            Diagnostic::error("tool-failed", placer.tool, format!("its report is not understood: {what}"))
        })?);
        let arguments = &placer.pack_arguments;
        steps.push(
            progress
                .stage("pack", "Making the bitstream", |p| found[2].run(arguments, &work, "pack.log", earlier, p))?,
        );
    }
    let bitstream = placer.map(|p| p.bitstream);
    let bitstream_bytes = bitstream.and_then(|name| fs::metadata(work.join(name)).ok()).map(|m| m.len());
    keep(&work, folder).map_err(failed)?;
    Ok(Synthesis {
        resources: measure::compare(&flow, estimates, &cells, placed.as_ref()),
        family: flow.family,
        board: info.board.as_ref().map(|b| b.name.clone()),
        tools: found.iter().map(tools::Tool::version).collect(),
        steps,
        fmax_mhz: placed.and_then(|p| p.fmax_mhz),
        clock_mhz,
        bitstream: bitstream.map(|name| format!("{BUILD}/{name}")),
        bitstream_bytes,
        simulation,
    })
}

/// Puts the results in place of those of an earlier build.
fn keep(work: &Path, folder: &Path) -> std::io::Result<()> {
    let build = work.join(BUILD);
    fs::create_dir(&build)?;
    for name in KEPT.iter().filter(|name| work.join(name).is_file()) {
        fs::rename(work.join(name), build.join(name))?;
    }
    let old = work.join("old");
    let place = folder.join(BUILD);
    if place.exists() {
        fs::rename(&place, &old)?;
    }
    fs::rename(&build, &place)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
