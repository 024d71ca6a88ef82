//! Simulation of the hardware with Verilator.
//!
//! Building takes far longer than running, and the hardware depends on the configuration only, so built
//! simulations are kept in a cache folder (`ESPALIER_CACHE`, else `XDG_CACHE_HOME/espalier`, else
//! `~/.cache/espalier`) under a hash of their sources, the arguments and Verilator's version.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use espalier_emit::{BenchReport, BenchRun, SIMULATION_BINARY, parse_report, parse_trace, verilator_arguments};
use espalier_ir::Diagnostic;
use espalier_lower::{LaneWrite, Program};

use crate::output::ScratchFolder;
use crate::progress::Progress;

/// Folders of a design that the simulation is built from.
const SOURCES: [&str; 2] = ["rtl", "sim"];
/// Images that run in one call; bounds the size of the trace.
pub const IMAGES_PER_CALL: usize = 16;
/// Clocks beyond the predicted cycles after which the simulation gives up, per percent of stalls and in all.
const TIMEOUT_FACTOR: u64 = 20;

/// A built simulation.
pub struct Simulator {
    binary: PathBuf,
    /// `verilator --version`.
    pub version: String,
}

/// Random gaps in the streams of the simulated hardware.
#[derive(Debug, Clone, Copy)]
pub struct Stalls {
    /// Seed of the gaps.
    pub seed: u64,
    /// Percent of cycles in which no input is offered.
    pub input: u32,
    /// Percent of cycles in which no output is accepted.
    pub output: u32,
}

/// What the simulated hardware did with one input.
pub struct SimulatedRun {
    /// Every lane write in order.
    pub writes: Vec<LaneWrite>,
    /// The output stream, beats of `rows` bytes.
    pub beats: Vec<Vec<u8>>,
    /// Its cycle counter.
    pub cycles: u64,
}

/// What the hardware did with several inputs.
struct Call {
    runs: Vec<SimulatedRun>,
    /// Cycle of the last lane write of every instruction; 0 for those that write nothing.
    ends: Vec<u64>,
}

impl Simulator {
    /// Builds the simulation of the hardware in `folder`, or finds it in the cache.
    ///
    /// # Errors
    /// If Verilator or the C++ compiler is missing or fails.
    pub fn build(folder: &Path, progress: &Progress) -> Result<Simulator, Diagnostic> {
        let version = verilator_version()?;
        let sources = sources(folder)?;
        let cache = cache_folder();
        let place = cache.join(format!("verilator-{}", key(&sources, &version)));
        let binary = place.join("simulation");
        if binary.is_file() {
            progress.line("  simulation found in the cache");
            return Ok(Simulator { binary, version });
        }
        let scratch = ScratchFolder::create(&cache).map_err(|error| cache_failed(&cache, &error))?;
        for (relative, bytes) in &sources {
            let path = scratch.path().join(relative);
            let write = || fs::create_dir_all(path.parent().expect("inside")).and_then(|()| fs::write(&path, bytes));
            write().map_err(|error| cache_failed(&cache, &error))?;
        }
        progress.line("  building the simulation (about 15 seconds, once for each accelerator) ...");
        let mut command = Command::new("verilator");
        command.args(verilator_arguments()).current_dir(scratch.path().join("sim"));
        let output = command.output().map_err(|error| tool_failed("verilator", &error.to_string()))?;
        if !output.status.success() {
            return Err(tool_failed("verilator", &tail(&output)));
        }
        // Another run may have built the same; its folder is as good as ours.
        let finished = scratch.path().join("finished");
        let place_it = || {
            fs::create_dir_all(&finished)?;
            fs::rename(scratch.path().join(SIMULATION_BINARY), finished.join("simulation"))?;
            fs::rename(&finished, &place)
        };
        if let Err(error) = place_it()
            && !binary.is_file()
        {
            return Err(cache_failed(&cache, &error));
        }
        Ok(Simulator { binary, version })
    }

    /// Runs inputs through the hardware with the memory images in `folder`; `each` takes the results, input by input.
    /// Returns the cycle of the last lane write of every instruction, 0 for those that write nothing.
    ///
    /// # Errors
    /// If the simulation fails, gives up, or answers what is not understood.
    pub fn run(
        &self,
        program: &Program,
        folder: &Path,
        inputs: &[Vec<i8>],
        stalls: Stalls,
        predicted_cycles: u64,
        each: &mut dyn FnMut(usize, SimulatedRun),
    ) -> Result<Vec<u64>, Diagnostic> {
        let cache = cache_folder();
        let scratch = ScratchFolder::create(&cache).map_err(|error| cache_failed(&cache, &error))?;
        let mut ends = Vec::new();
        for (chunk_index, chunk) in inputs.chunks(IMAGES_PER_CALL).enumerate() {
            let call = self.call(program, folder, chunk, stalls, predicted_cycles, scratch.path())?;
            ends = call.ends;
            for (index, run) in call.runs.into_iter().enumerate() {
                each(chunk_index * IMAGES_PER_CALL + index, run);
            }
        }
        Ok(ends)
    }

    fn call(
        &self,
        program: &Program,
        folder: &Path,
        inputs: &[Vec<i8>],
        stalls: Stalls,
        predicted_cycles: u64,
        scratch: &Path,
    ) -> Result<Call, Diagnostic> {
        let streams: Vec<Vec<Vec<u8>>> = inputs.iter().map(|input| program.input_beats(input)).collect();
        let [input_path, output_path, trace_path] = ["inputs.bin", "outputs.bin", "trace.bin"].map(|n| scratch.join(n));
        fs::write(&input_path, streams.iter().flatten().flatten().copied().collect::<Vec<u8>>())
            .map_err(|error| cache_failed(scratch, &error))?;
        let beats_out = output_beats(program);
        let text = |path: &Path| path.display().to_string();
        let run = BenchRun {
            program: text(&absolute(&folder.join("memory/program.hex"))),
            weights: text(&absolute(&folder.join("memory/weights.hex"))),
            inputs: text(&input_path),
            images: inputs.len(),
            beats_in: streams[0].len(),
            beats_out,
            outputs: Some(text(&output_path)),
            trace: Some(text(&trace_path)),
            timeout: predicted_cycles.saturating_mul(TIMEOUT_FACTOR).saturating_add(1_000_000),
            seed: stalls.seed,
            stall_in: stalls.input,
            stall_out: stalls.output,
        };
        let output = Command::new(&self.binary)
            .args(run.arguments())
            .output()
            .map_err(|error| simulation_failed(&error.to_string()))?;
        if !output.status.success() {
            return Err(simulation_failed(&tail(&output)));
        }
        let understood = |message: String| simulation_failed(&message);
        let report = parse_report(&String::from_utf8_lossy(&output.stdout)).map_err(understood)?;
        let rows = program.config.rows;
        let read = |path: &Path| fs::read(path).map_err(|error| cache_failed(path, &error));
        let traces = parse_trace(&read(&trace_path)?, rows).map_err(understood)?;
        let beats = read(&output_path)?;
        collect(program, &report, traces, &beats, inputs.len(), beats_out)
    }
}

fn collect(
    program: &Program,
    report: &BenchReport,
    traces: Vec<Vec<LaneWrite>>,
    beats: &[u8],
    images: usize,
    beats_out: usize,
) -> Result<Call, Diagnostic> {
    let rows = program.config.rows;
    if report.config_hash != program.config_hash() {
        return Err(simulation_failed("the hardware is not of the program's configuration"));
    }
    if report.cycles.len() != images || traces.len() != images || beats.len() != images * beats_out * rows {
        return Err(simulation_failed("the results are incomplete"));
    }
    let streams = beats.chunks(beats_out * rows);
    let runs = traces.into_iter().zip(streams).zip(&report.cycles).map(|((writes, stream), cycles)| SimulatedRun {
        writes,
        beats: stream.chunks(rows).map(<[u8]>::to_vec).collect(),
        cycles: *cycles,
    });
    let mut ends = report.ends.clone();
    ends.resize(program.instructions.len(), 0);
    Ok(Call { runs: runs.collect(), ends })
}

/// Beats of the output stream of one sample.
fn output_beats(program: &Program) -> usize {
    let cells = |instruction: &espalier_lower::Instruction| match instruction {
        espalier_lower::Instruction::Store { area } => area.cells() as usize,
        _ => 0,
    };
    program.instructions.iter().map(cells).sum()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `verilator --version`.
///
/// # Errors
/// If Verilator is not installed.
pub fn verilator_version() -> Result<String, Diagnostic> {
    let missing = |what: String| {
        Diagnostic::error("missing-tool", "verilator", what).with_help(
            "install it with `sudo apt-get install verilator g++ make`, or run `sh verilator-sim/setup.sh`; \
             `espalier verify --no-simulation` compares the other engines without it",
        )
    };
    match Command::new("verilator").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(missing(format!("does not run: {}", tail(&output)))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing("is not installed".to_owned())),
        Err(error) => Err(missing(format!("does not run: {error}"))),
    }
}

fn read_folder(folder: &Path, part: &str, sources: &mut Vec<(PathBuf, Vec<u8>)>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder.join(part))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            sources.push((Path::new(part).join(entry.file_name()), fs::read(entry.path())?));
        }
    }
    Ok(())
}

/// All source files with their relative paths, in a fixed order.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Diagnostic> {
    let mut sources = Vec::new();
    for part in SOURCES {
        read_folder(folder, part, &mut sources).map_err(|error| {
            let at = folder.join(part).display().to_string();
            Diagnostic::error("damaged-design", at, format!("cannot be read: {error}")).with_help("compile again")
        })?;
    }
    sources.sort();
    Ok(sources)
}

fn key(sources: &[(PathBuf, Vec<u8>)], version: &str) -> String {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(version.as_bytes());
        verilator_arguments().iter().for_each(|a| hasher.write(a.as_bytes()));
        for (path, bytes) in sources {
            hasher.write(path.as_os_str().as_encoded_bytes());
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
        hasher.finish()
    };
    format!("{:016x}{:016x}", hash(0), hash(1))
}

fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = variable("ESPALIER_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|c| c.join("espalier")))
        .or_else(|| variable("HOME").map(|h| h.join(".cache/espalier")))
        .unwrap_or_else(|| std::env::temp_dir().join("espalier-cache"));
    absolute(&folder)
}

fn cache_failed(place: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("cache-folder", place.display().to_string(), format!("cannot be used: {error}"))
        .with_help("set ESPALIER_CACHE to a folder that can be written")
}

fn tool_failed(tool: &str, what: &str) -> Diagnostic {
    Diagnostic::error("tool-failed", tool, what)
        .with_help("see docs/testing.md for the versions that are known to work")
}

/// The simulated hardware did what no program should make it do.
fn simulation_failed(what: &str) -> Diagnostic {
    Diagnostic::error("simulation-failed", "simulation", what)
        .with_help("compile the model again; if it happens with unchanged files, it is a bug worth reporting")
}

/// The last lines that a tool printed.
fn tail(output: &Output) -> String {
    const LINES: usize = 12;
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat();
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let code = output.status.code().map_or_else(|| "a signal".to_owned(), |c| format!("exit code {c}"));
    format!("ended with {code}\n  {}", lines[lines.len().saturating_sub(LINES)..].join("\n  "))
}
