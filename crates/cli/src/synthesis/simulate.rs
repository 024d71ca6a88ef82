//! Real inputs through the four pins of a synthesized design, against the reference.

use std::fs;
use std::path::Path;
use std::process::Command;

use espalier_emit::{
    OpenFlow, SERIAL_BINARY, SerialExchange, serial_bench_files, serial_identify, serial_infer, serial_load,
    serial_results, serial_script, serial_verilator_arguments,
};
use espalier_ir::Diagnostic;
use espalier_quant::ReferenceInterpreter;
use serde::{Deserialize, Serialize};

use super::tools;
use crate::cache::{tail, tool_version};
use crate::design::Design;
use crate::failure::Outcome;
use crate::pipeline::verification_inputs;
use crate::progress::Progress;
use crate::simulate::output_beats;

/// Clocks without an answer after which the bench gives up, beyond the predicted cycles.
const PATIENCE: u64 = 100_000;

/// Result of a simulation through the pins.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SerialSimulation {
    /// Inputs that went through.
    pub inputs: usize,
    /// Values compared.
    pub elements: u64,
    /// Values that differ from the reference.
    pub mismatches: u64,
    /// Simulated clocks.
    pub clocks: u64,
    /// Wall-clock seconds of building.
    pub build_seconds: f64,
    /// Wall-clock seconds of running.
    pub seconds: f64,
}

#[derive(Deserialize)]
struct Answer {
    clocks: u64,
    seconds: f64,
}

/// Simulates `netlist.v` in `work` (the folder `flow/` of a design) on the first inputs of the design.
///
/// # Errors
/// If a tool is missing or fails, or the design answers what it should not; different values are a result.
pub fn simulate(
    design: &Design,
    work: &Path,
    flow: &OpenFlow,
    inputs: usize,
    progress: &mut Progress,
) -> Outcome<SerialSimulation> {
    tool_version("verilator", "install it with `sudo apt-get install verilator g++ make`")?;
    let failed = |what: String| Diagnostic::error("simulation-failed", "netlist", what);
    let io = |error: std::io::Error| failed(error.to_string());
    let begin = std::time::Instant::now();
    progress.stage("build-netlist", "Building the simulation", |p| -> Outcome<()> {
        for (name, text) in serial_bench_files(&flow.family).iter() {
            fs::write(work.join(name), text).map_err(io)?;
        }
        let yosys = tools::find(&["yosys"])?;
        yosys[0].run(&["-q".to_owned(), "models.ys".to_owned()], work, "models.log", &[], p)?;
        let mut command = Command::new("verilator");
        command.current_dir(work).args(serial_verilator_arguments(true));
        let output = command.output().map_err(io)?;
        if output.status.success() { Ok(()) } else { Err(failed(tail(&output)).into()) }
    })?;
    let build_seconds = begin.elapsed().as_secs_f64();

    let program = &design.program;
    let (samples, _) = verification_inputs(design, inputs, design.info.seed);
    let mut exchanges = serial_identify(program);
    if flow.load_weights {
        exchanges.extend(serial_load(program));
    }
    let beats_out = output_beats(program);
    for sample in &samples {
        exchanges.extend(serial_infer(program, &program.input_beats(sample), beats_out));
    }
    let answer = progress.stage("simulate", "Simulating", |_| run(work, &exchanges, flow.divider).map_err(&failed))?;
    let replies = fs::read(work.join("replies.bin")).map_err(io)?;
    let results = serial_results(&exchanges, &replies).map_err(&failed)?;
    let reference = ReferenceInterpreter::new(&design.quantized);
    let (mut elements, mut mismatches) = (0, 0);
    for (sample, stream) in samples.iter().zip(results.chunks(beats_out * program.config.rows)) {
        let beats: Vec<Vec<u8>> = stream.chunks(program.config.rows).map(<[u8]>::to_vec).collect();
        let values = program.output_from_beats(&beats).map_err(&failed)?;
        let expected = crate::verification::expected_outputs(program, sample, &reference.run(sample));
        elements += expected.len() as u64;
        mismatches += values.iter().zip(&expected).filter(|(a, b)| a != b).count() as u64;
    }
    Ok(SerialSimulation {
        inputs: samples.len(),
        elements,
        mismatches,
        clocks: answer.clocks,
        build_seconds,
        seconds: answer.seconds,
    })
}

fn run(work: &Path, exchanges: &[SerialExchange], divider: u32) -> Result<Answer, String> {
    fs::write(work.join("script.bin"), serial_script(exchanges)).map_err(|e| e.to_string())?;
    let output = Command::new(crate::cache::absolute(&work.join(SERIAL_BINARY)))
        .current_dir(work)
        .args(["--script", "script.bin", "--replies", "replies.bin", "--divider", &divider.to_string()])
        .args(["--timeout", &(PATIENCE * u64::from(divider) + 50_000_000).to_string()])
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(tail(&output));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("its answer is not understood: {e}"))
}
