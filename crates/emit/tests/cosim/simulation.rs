//! Building and calling the Verilator bench.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use espalier_emit::{
    BenchReport, BenchRun, SIMULATION_BINARY, bench_files, parse_report, parse_trace, rtl, verilator_arguments,
};
use espalier_lower::LaneWrite;
use espalier_target::AcceleratorConfig;

/// The full run simulates the configuration with so many rows as it is synthesized, with sliced memories and without
/// assertions.
const SLICED_ROWS: usize = 13;

/// The configuration with so few columns is simulated as small devices get it: block RAM instead of registers, weights
/// behind a single port.
const COMPACT_COLS: usize = 2;

/// What all simulated hardware answers when asked for its configuration.
const CONFIG_HASH: u32 = 0x00c0_51b1;

/// The tests want the same simulations: the first one builds, while others build others.
static BUILDING: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());

/// What the bench is asked to run.
pub struct Job {
    pub program: String,
    pub weights: String,
    /// Input beats of every image.
    pub images: Vec<Vec<Vec<u8>>>,
    pub beats_out: usize,
    /// Percent of cycles in which the input and the output stream wait.
    pub stalls: (usize, usize),
    /// Latency of external memory, and percent of cycles in which it waits.
    pub memory: (usize, usize),
    /// Bytes of external memory for spilled tensors.
    pub spill_bytes: usize,
    /// Whether the cycles must be those predicted; else they are at most those and the waits of the memory.
    pub exact: bool,
    pub seed: u64,
}

/// What it answers.
pub struct JobResult {
    pub report: BenchReport,
    pub writes: Vec<Vec<LaneWrite>>,
    pub beats: Vec<Vec<u8>>,
}

/// One built simulation.
pub struct Simulation {
    rows: usize,
    binary: PathBuf,
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Simulation {
    /// Builds the simulation of a configuration, or finds it built; `None` without Verilator.
    pub fn build(config: &AcceleratorConfig) -> Option<Simulation> {
        if !crate::common::have("verilator", "--version") {
            return None;
        }
        let (design, bench) = (rtl(config, "cosim", CONFIG_HASH), bench_files());
        let mut arguments = verilator_arguments();
        if config.cols == COMPACT_COLS {
            arguments.extend(["-GCompact=1", "-GWeightSinglePort=1"].map(str::to_owned));
        }
        if super::full() {
            let initial = arguments.iter().position(|a| a == "--x-initial").unwrap();
            arguments[initial + 1] = "unique".to_owned();
            if config.rows == SLICED_ROWS {
                arguments.push("-DSYNTHESIS".to_owned());
            }
        }
        let mut hasher = DefaultHasher::new();
        arguments.hash(&mut hasher);
        design.iter().chain(bench.iter()).for_each(|file| file.hash(&mut hasher));
        let name = format!("cosim-{}x{}-{:016x}", config.rows, config.cols, hasher.finish());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let binary = folder.join(SIMULATION_BINARY);
        let lock = BUILDING.lock().unwrap_or_else(|e| e.into_inner()).entry(folder.clone()).or_default().clone();
        let _guard = lock.lock().unwrap_or_else(|e| e.into_inner());
        if !binary.exists() {
            // Built beside its final place and moved, so that another process cannot see half of it.
            let draft = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            for (path, text) in design.iter().chain(bench.iter()) {
                fs::create_dir_all(draft.path().join(path).parent().unwrap()).unwrap();
                fs::write(draft.path().join(path), text).unwrap();
            }
            let output =
                Command::new("verilator").args(&arguments).current_dir(draft.path().join("sim")).output().unwrap();
            assert!(output.status.success(), "verilator failed:\n{}", text_of(&output));
            if fs::rename(draft.path(), &folder).is_err() {
                assert!(binary.exists(), "no simulation in {}", folder.display());
            }
        }
        Some(Simulation { rows: config.rows, binary })
    }

    /// Runs a job; panics with the bench's message if it fails.
    pub fn run(&self, job: &Job) -> JobResult {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("program.hex"), &job.program).unwrap();
        fs::write(path("weights.hex"), &job.weights).unwrap();
        fs::write(path("inputs.bin"), job.images.concat().concat()).unwrap();
        let run = BenchRun {
            program: path("program.hex"),
            weights: path("weights.hex"),
            inputs: path("inputs.bin"),
            images: job.images.len(),
            beats_in: job.images[0].len(),
            beats_out: job.beats_out,
            outputs: Some(path("outputs.bin")),
            trace: Some(path("trace.bin")),
            coverage: None,
            timeout: 5_000_000,
            seed: job.seed,
            stall_in: job.stalls.0 as u32,
            stall_out: job.stalls.1 as u32,
            config_hash: CONFIG_HASH,
            memory_latency: job.memory.0,
            stall_memory: job.memory.1 as u32,
            spill_bytes: job.spill_bytes,
        };
        let output = Command::new(&self.binary).args(run.arguments()).output().unwrap();
        assert!(output.status.success(), "seed {}: {}\n{}", job.seed, output.status, text_of(&output));
        let outputs = fs::read(path("outputs.bin")).unwrap();
        JobResult {
            report: parse_report(&String::from_utf8_lossy(&output.stdout)).unwrap(),
            writes: parse_trace(&fs::read(path("trace.bin")).unwrap(), self.rows).unwrap(),
            beats: outputs.chunks(self.rows).map(<[u8]>::to_vec).collect(),
        }
    }
}
