//! The Vitis HLS kernel under g++, built once for each configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use espalier_emit::{HlsRun, hls_arguments, parse_hls_report, parse_trace, write_trace};
use espalier_ir::{Diagnostic, Diagnostics};
use espalier_lower::{Machine, MachineRun, Program};

use crate::cache::{Build, absolute, cache_failed, cache_folder, sources, tail, tool_version};
use crate::output::{OutputFolder, ScratchFolder};
use crate::progress::Progress;
use crate::simulate::{IMAGES_PER_CALL, output_beats};

/// Name of the test bench's binary.
const BINARY: &str = "espalier_hls_tb";

/// The built kernel with its test bench.
pub struct HlsKernel {
    binary: PathBuf,
    /// First line of `g++ --version`.
    pub version: String,
}

impl HlsKernel {
    /// Builds the kernel in `folder`, or finds it in the cache.
    ///
    /// # Errors
    /// If g++ is missing or fails, or the folder has no kernel.
    pub fn build(folder: &Path, progress: &Progress) -> Result<HlsKernel, Diagnostic> {
        let version = compiler_version()?;
        let is_source = |path: &Path| path.extension().is_some_and(|e| e == "cpp" || e == "h");
        let build = Build {
            name: "hls",
            tool: "g++",
            version: &version,
            arguments: hls_arguments(BINARY, &[]),
            inside: "hls",
            binary: &format!("hls/{BINARY}"),
            note: "compiling the HLS kernel (a few seconds, once for each accelerator) ...",
        };
        let binary = build.cached(&sources(folder, &["hls"], is_source)?, progress)?;
        Ok(HlsKernel { binary, version })
    }

    /// Runs inputs through the kernel with the memory images in `folder`; `each` takes the results, input by
    /// input.
    ///
    /// # Errors
    /// If the kernel refuses the program, or the test bench answers what is not understood.
    pub fn run(
        &self,
        program: &Program,
        folder: &Path,
        inputs: &[Vec<i8>],
        each: &mut dyn FnMut(usize, MachineRun),
    ) -> Result<(), Diagnostic> {
        let cache = cache_folder();
        let scratch = ScratchFolder::create(&cache).map_err(|error| cache_failed(&cache, &error))?;
        for (chunk_index, chunk) in inputs.chunks(IMAGES_PER_CALL).enumerate() {
            let runs = self.call(program, folder, chunk, scratch.path())?;
            runs.into_iter().enumerate().for_each(|(index, run)| each(chunk_index * IMAGES_PER_CALL + index, run));
        }
        Ok(())
    }

    /// Lane writes and output beats of some inputs.
    fn call(
        &self,
        program: &Program,
        folder: &Path,
        inputs: &[Vec<i8>],
        scratch: &Path,
    ) -> Result<Vec<MachineRun>, Diagnostic> {
        let streams: Vec<Vec<Vec<u8>>> = inputs.iter().map(|input| program.input_beats(input)).collect();
        let [input_path, output_path, trace_path] = ["inputs.bin", "outputs.bin", "trace.bin"].map(|n| scratch.join(n));
        fs::write(&input_path, streams.iter().flatten().flatten().copied().collect::<Vec<u8>>())
            .map_err(|error| cache_failed(scratch, &error))?;
        let text = |path: &Path| path.display().to_string();
        let rows = program.config.rows;
        let run = HlsRun {
            program: text(&absolute(&folder.join("memory/program.hex"))),
            weights: text(&absolute(&folder.join("memory/weights.hex"))),
            inputs: text(&input_path),
            images: inputs.len(),
            beats_in: streams[0].len(),
            beats_out: output_beats(program),
            spill_bytes: program.memory.spilled_bytes,
            outputs: Some(text(&output_path)),
            trace: Some(text(&trace_path)),
            ..HlsRun::default()
        };
        let output =
            Command::new(&self.binary).args(run.arguments()).output().map_err(|error| failed(&error.to_string()))?;
        if !output.status.success() {
            return Err(failed(&tail(&output)));
        }
        let report = parse_hls_report(&String::from_utf8_lossy(&output.stdout)).map_err(|what| failed(&what))?;
        if report.config_hash != program.config_hash() {
            return Err(failed("the kernel is not of the program's configuration"));
        }
        let read = |path: &Path| fs::read(path).map_err(|error| cache_failed(path, &error));
        let traces = parse_trace(&read(&trace_path)?, rows).map_err(|what| failed(&what))?;
        let bytes = read(&output_path)?;
        if traces.len() != inputs.len()
            || report.classes.len() != inputs.len()
            || bytes.len() != inputs.len() * run.beats_out * rows
        {
            return Err(failed("the results are incomplete"));
        }
        let streams = bytes.chunks(run.beats_out * rows);
        let runs = traces.into_iter().zip(streams).zip(report.classes).map(|((writes, stream), class)| MachineRun {
            writes,
            beats: stream.chunks(rows).map(<[u8]>::to_vec).collect(),
            class,
        });
        Ok(runs.collect())
    }
}

/// First line of `g++ --version`.
///
/// # Errors
/// If g++ is not installed.
pub fn compiler_version() -> Result<String, Diagnostic> {
    tool_version("g++", "install it with `sudo apt-get install g++`; without 'hls' among the engines it is not needed")
}

fn failed(what: &str) -> Diagnostic {
    Diagnostic::error("simulation-failed", "HLS kernel", what)
        .with_help("compile the model again; if it happens with unchanged files, it is a bug worth reporting")
}

/// Writes `hls/vectors/`: the first stored input with the lane writes and outputs that the test bench expects.
///
/// # Errors
/// If the machine cannot execute the program, or the file system refuses.
pub fn write_vectors(program: &Program, input: &[i8], out: &OutputFolder) -> Result<(), Diagnostics> {
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights)?;
    let beats = program.input_beats(input);
    let run = machine.run(&beats, true)?;
    let rows = program.config.rows;
    let size = format!("{} {} {rows} {}\n", beats.len(), run.beats.len(), program.memory.spilled_bytes);
    out.write("hls/vectors/size.txt", size.as_bytes())?;
    out.write("hls/vectors/inputs.bin", &beats.concat())?;
    out.write("hls/vectors/outputs.bin", &run.beats.concat())?;
    out.write("hls/vectors/writes.bin", &write_trace(&[&run.writes], rows))?;
    Ok(())
}
