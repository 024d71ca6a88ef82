//! Simulation of the hardware with Verilator, built once for each configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use espalier_emit::{
    BenchReport, BenchRun, BlockActivity, SIMULATION_BINARY, activity_arguments, parse_activity, parse_report,
    parse_trace, verilator_arguments,
};
use espalier_ir::Diagnostic;
use espalier_lower::{LaneWrite, Program};

use crate::cache::{Build, absolute, cache_failed, cache_folder, sources, tail, tool_version};
use crate::output::ScratchFolder;
use crate::progress::Progress;

/// Folders of a design that the simulation is built from.
const SOURCES: [&str; 2] = ["rtl", "sim"];
/// Images that run in one call; bounds the size of the trace.
pub const IMAGES_PER_CALL: usize = 16;
/// File of the counts in the scratch folder.
const COUNTS: &str = "counts.dat";
/// Clocks beyond the predicted cycles after which the simulation gives up, per percent of stalls and in all.
const TIMEOUT_FACTOR: u64 = 20;

/// A built simulation.
pub struct Simulator {
    binary: PathBuf,
    /// It also counts the changes of every bit, which takes several times as long.
    counts: bool,
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
    /// Its register `class`.
    pub class: u32,
}

/// What the hardware did with several inputs.
struct Call {
    runs: Vec<SimulatedRun>,
    /// Cycle of the last lane write of every instruction; 0 for those that write nothing.
    ends: Vec<u64>,
    /// Simulated clocks.
    clocks: u64,
}

impl Simulator {
    /// Builds the simulation of the hardware in `folder`, or finds it in the cache; with `counts` one that counts the changes
    /// of every bit as well.
    ///
    /// # Errors
    /// If Verilator or the C++ compiler is missing or fails.
    pub fn build(folder: &Path, counts: bool, progress: &Progress) -> Result<Simulator, Diagnostic> {
        let version = verilator_version()?;
        let build = Build {
            name: if counts { "activity" } else { "verilator" },
            tool: "verilator",
            version: &version,
            arguments: if counts { activity_arguments() } else { verilator_arguments() },
            inside: "sim",
            binary: SIMULATION_BINARY,
            note: "building the simulation (seconds, minutes for the largest arrays; once for each accelerator) ...",
        };
        let binary = build.cached(&sources(folder, &SOURCES, |_| true)?, progress)?;
        Ok(Simulator { binary, counts, version })
    }

    /// How often the bits of every module change while the hardware computes `inputs`, without gaps in the streams; and the
    /// clocks that it took.
    ///
    /// # Errors
    /// As [`Simulator::run`].
    pub fn activity(
        &self,
        program: &Program,
        folder: &Path,
        inputs: &[Vec<i8>],
        predicted_cycles: u64,
    ) -> Result<(Vec<BlockActivity>, u64), Diagnostic> {
        let cache = cache_folder();
        let scratch = ScratchFolder::create(&cache).map_err(|error| cache_failed(&cache, &error))?;
        let stalls = Stalls { seed: 1, input: 0, output: 0 };
        let clocks = self.call(program, folder, inputs, stalls, predicted_cycles, scratch.path())?.clocks;
        let path = scratch.path().join(COUNTS);
        let text = fs::read_to_string(&path).map_err(|error| cache_failed(&path, &error))?;
        let blocks = parse_activity(&text, clocks).map_err(|message| simulation_failed(&message))?;
        Ok((blocks, clocks))
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
        // While a stream waits, streamed weights still arrive: then fewer cycles would be counted than predicted.
        let gaps = |percent: u32| if program.config.external().is_some() { 0 } else { percent };
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
            coverage: self.counts.then(|| text(&scratch.join(COUNTS))),
            timeout: predicted_cycles.saturating_mul(TIMEOUT_FACTOR).saturating_add(1_000_000),
            seed: stalls.seed,
            stall_in: gaps(stalls.input),
            stall_out: gaps(stalls.output),
            config_hash: program.config_hash(),
            memory_latency: program.config.memory_latency(),
            spill_bytes: program.memory.spilled_bytes,
            stall_memory: 0,
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
    if report.cycles.len() != images
        || report.classes.len() != images
        || traces.len() != images
        || beats.len() != images * beats_out * rows
    {
        return Err(simulation_failed("the results are incomplete"));
    }
    let streams = beats.chunks(beats_out * rows);
    let counters = report.cycles.iter().zip(&report.classes);
    let runs = traces.into_iter().zip(streams).zip(counters).map(|((writes, stream), (cycles, class))| SimulatedRun {
        writes,
        class: *class,
        beats: stream.chunks(rows).map(<[u8]>::to_vec).collect(),
        cycles: *cycles,
    });
    let mut ends = report.ends.clone();
    ends.resize(program.instructions.len(), 0);
    Ok(Call { runs: runs.collect(), ends, clocks: report.clocks })
}

/// Beats of the output stream of one sample.
pub fn output_beats(program: &Program) -> usize {
    program.instructions.iter().map(|i| i.beats_out() as usize).sum()
}

/// `verilator --version`.
///
/// # Errors
/// If Verilator is not installed.
pub fn verilator_version() -> Result<String, Diagnostic> {
    tool_version(
        "verilator",
        "install it with `sudo apt-get install verilator g++ make`, or run `sh verilator-sim/setup.sh`; \
         `espalier verify --engines reference,machine` compares the other engines without it",
    )
}

/// The simulated hardware did what no program should make it do.
fn simulation_failed(what: &str) -> Diagnostic {
    Diagnostic::error("simulation-failed", "simulation", what)
        .with_help("compile the model again; if it happens with unchanged files, it is a bug worth reporting")
}
