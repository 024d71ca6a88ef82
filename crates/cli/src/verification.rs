//! The engines against each other: every element of every layer, and every cycle count.

use std::path::Path;
use std::time::Instant;

use espalier_ir::{Diagnostic, LayerSource};
use espalier_lower::{Difference, LaneWrite, Machine, Program, first_difference, layer_tensors};
use espalier_quant::{ReferenceInterpreter, argmax};

use crate::design::Design;
use crate::engines::Engines;
use crate::failure::Outcome;
use crate::progress::Progress;
use crate::report::{EngineReport, VerificationReport};
use crate::simulate::{IMAGES_PER_CALL, Stalls};

/// Result of a verification.
pub struct Verification {
    /// For the report.
    pub report: VerificationReport,
    /// Cycles that the machine predicts.
    pub predicted: u64,
    /// Cycles that the hardware counted; of the first input that differs, if any does.
    pub simulated: Option<u64>,
    /// Cycles of every layer in the hardware, from its lane writes.
    pub layer_cycles: Option<Vec<u64>>,
    /// The first instruction whose last lane write came in another cycle than predicted, readable.
    pub late: Option<String>,
}

impl Verification {
    /// What is wrong, if anything is.
    pub fn finding(&self) -> Option<Diagnostic> {
        let report = &self.report;
        if report.mismatches > 0 {
            let first = report.first_difference.clone().unwrap_or_default();
            let message = format!("{} of {} elements differ; the first: {first}", report.mismatches, report.elements);
            return Some(Diagnostic::error("mismatch", "verification", message));
        }
        if report.cycles_equal == Some(false) {
            let simulated = self.simulated.unwrap_or(0);
            let late = self.late.as_ref().map_or_else(String::new, |l| format!("; the first: {l}"));
            let message = format!("predicted {} cycles, the hardware took {simulated}{late}", self.predicted);
            return Some(Diagnostic::error("cycles-differ", "verification", message));
        }
        None
    }
}

/// Elements of one engine compared and different.
struct Tally {
    report: EngineReport,
    first: Option<String>,
}

/// Runs `inputs` through the reference and through `engines`, with the hardware and the kernel of `folder`. `stalls`
/// are those of the simulated hardware. The last `random_inputs` inputs are known to be random.
///
/// # Errors
/// If an engine cannot run at all; differences are a result.
pub fn verify(
    design: &Design,
    folder: &Path,
    inputs: &[Vec<i8>],
    random_inputs: usize,
    engines: &Engines,
    stalls: Stalls,
    progress: &Progress,
) -> Outcome<Verification> {
    let Design { quantized, program, .. } = design;
    let reference = ReferenceInterpreter::new(quantized);
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights)?;
    let cycles = machine.cycles();
    let mut by_machine = Tally::new("machine");
    let mut by_hardware = Tally::new("verilator");
    let mut by_kernel = Tally::new("hls");
    let mut hardware = Hardware::default();
    let ran = [engines.machine, engines.simulator.is_some(), engines.hls.is_some()];
    let runs = inputs.len() * ran.iter().filter(|ran| **ran).count();
    let mut task = progress.task("comparing", runs as u64);
    let mut done = 0;
    let mut advance = |inputs: usize, engine: &str| {
        done += inputs as u64;
        task.at(done, engine);
    };
    for (chunk_index, chunk) in inputs.chunks(IMAGES_PER_CALL).enumerate() {
        let first = chunk_index * IMAGES_PER_CALL;
        let expected: Vec<Vec<Vec<i8>>> = chunk.iter().map(|input| reference.run(input)).collect();
        let compare = |tally: &mut Tally, index: usize, writes: &[LaneWrite], (beats, class): (&[Vec<u8>], u32)| {
            tally.compare(first + index, program, (writes, beats, class), &chunk[index], &expected[index]);
        };
        if engines.machine {
            let begin = Instant::now();
            for (index, input) in chunk.iter().enumerate() {
                let run = machine.run(&program.input_beats(input), true)?;
                compare(&mut by_machine, index, &run.writes, (&run.beats, run.class));
            }
            by_machine.report.seconds += begin.elapsed().as_secs_f64();
            advance(chunk.len(), "machine");
        }
        if let Some(simulator) = &engines.simulator {
            let begin = Instant::now();
            let stalls = Stalls { seed: stalls.seed.wrapping_add(chunk_index as u64), ..stalls };
            let ends = simulator.run(program, folder, chunk, stalls, cycles.total, &mut |index, run| {
                compare(&mut by_hardware, index, &run.writes, (&run.beats, run.class));
                hardware.note(run.cycles, cycles.total);
            })?;
            hardware.late = hardware.late.or_else(|| first_late(program, &cycles.end_cycle, &ends));
            hardware.layer_cycles = Some(cycles_by_layer(program, &ends));
            by_hardware.report.seconds += begin.elapsed().as_secs_f64();
            advance(chunk.len(), "verilator");
        }
        if let Some(kernel) = &engines.hls {
            let begin = Instant::now();
            kernel.run(program, folder, chunk, &mut |index, run| {
                compare(&mut by_kernel, index, &run.writes, (&run.beats, run.class));
            })?;
            by_kernel.report.seconds += begin.elapsed().as_secs_f64();
            advance(chunk.len(), "hls");
        }
    }
    let tallies: Vec<Tally> =
        [by_machine, by_hardware, by_kernel].into_iter().zip(ran).filter_map(|(t, ran)| ran.then_some(t)).collect();
    let sum = |count: fn(&EngineReport) -> u64| tallies.iter().map(|t| count(&t.report)).sum();
    let report = VerificationReport {
        engines: std::iter::once("reference".to_owned())
            .chain(tallies.iter().map(|t| t.report.engine.clone()))
            .collect(),
        inputs: inputs.len(),
        random_inputs,
        elements: sum(|r| r.elements),
        mismatches: sum(|r| r.mismatches),
        cycles_equal: engines.simulator.is_some().then(|| !hardware.differs && hardware.late.is_none()),
        first_difference: tallies.iter().find_map(|t| t.first.clone()),
        by_engine: tallies.into_iter().map(|t| t.report).collect(),
    };
    let Hardware { simulated, layer_cycles, late, .. } = hardware;
    Ok(Verification { report, predicted: cycles.total, simulated, layer_cycles, late })
}

/// Cycles that the simulated hardware took.
#[derive(Default)]
struct Hardware {
    /// Of the first input that differs from the prediction, else of any.
    simulated: Option<u64>,
    differs: bool,
    layer_cycles: Option<Vec<u64>>,
    late: Option<String>,
}

impl Hardware {
    fn note(&mut self, cycles: u64, predicted: u64) {
        if !self.differs {
            self.simulated = Some(cycles);
            self.differs = cycles != predicted;
        }
    }
}

/// The first instruction that writes lanes and ends in another cycle than predicted. `ends` are 0 for those that do
/// not, and absent behind the last one that does.
fn first_late(program: &Program, predicted: &[u64], ends: &[u64]) -> Option<String> {
    let (index, (expected, got)) =
        predicted.iter().zip(ends).enumerate().find(|(_, (expected, got))| **got != 0 && expected != got)?;
    let opcode = program.instructions[index].opcode().name();
    Some(format!("instruction {index} ({opcode}) ends in cycle {got} instead of {expected}"))
}

/// Cycles of each layer: from the end of what came before it to the end of its last instruction.
fn cycles_by_layer(program: &Program, ends: &[u64]) -> Vec<u64> {
    let mut layers = vec![0; program.memory.layers.len()];
    let mut before = 0;
    for (layer, end) in program.layer_of.iter().zip(ends) {
        if let Some(layer) = layer {
            layers[*layer] += end.saturating_sub(before);
        }
        before = before.max(*end);
    }
    layers
}

impl Tally {
    fn new(engine: &'static str) -> Self {
        Tally {
            report: EngineReport { engine: engine.to_owned(), inputs: 0, elements: 0, mismatches: 0, seconds: 0.0 },
            first: None,
        }
    }

    fn compare(
        &mut self,
        input: usize,
        program: &Program,
        (writes, beats, class): (&[LaneWrite], &[Vec<u8>], u32),
        sample: &[i8],
        expected: &[Vec<i8>],
    ) {
        let engine = self.report.engine.clone();
        self.report.inputs += 1;
        self.report.elements += expected.iter().map(|t| t.len() as u64).sum::<u64>();
        let describe = |what: &dyn std::fmt::Display| format!("{engine}, input {input}, {what}");
        if let Some(difference) = first_difference(program, writes, expected) {
            self.report.mismatches += differing(program, writes, expected);
            self.first.get_or_insert_with(|| describe(&with_opcode(program, &difference)));
            return;
        }
        let outputs = expected_outputs(program, sample, expected);
        match program.output_from_beats(beats) {
            Ok(values) if values == outputs => {
                let best = expected_class(program, &outputs);
                if best != class {
                    self.report.mismatches += 1;
                    self.first.get_or_insert_with(|| describe(&format!("the class is {class} instead of {best}")));
                }
            }
            Ok(values) => {
                let wrong = values.iter().zip(&outputs).filter(|(a, b)| a != b).count();
                self.report.mismatches += wrong as u64;
                self.first.get_or_insert_with(|| describe(&format!("{wrong} values of the output stream differ")));
            }
            Err(what) => {
                self.report.mismatches += 1;
                self.first.get_or_insert_with(|| describe(&what));
            }
        }
    }
}

/// What the register `class` holds behind these outputs; 0 if the hardware does not look for it.
fn expected_class(program: &Program, outputs: &[i8]) -> u32 {
    if !program.seeks_class() {
        return 0;
    }
    let last = program.outputs.last().map_or(0, |last| program.memory.tensor(*last).elements());
    argmax(&outputs[outputs.len() - last..]) as u32
}

/// The outputs of a network, from its input and what the reference gives for each layer.
pub fn expected_outputs(program: &Program, sample: &[i8], layers: &[Vec<i8>]) -> Vec<i8> {
    let results = program.outputs.iter().map(|source| match source {
        LayerSource::Layer(layer) => layers[*layer].as_slice(),
        LayerSource::Input(position) => {
            let before: usize = program.memory.inputs[..*position].iter().map(|i| i.elements()).sum();
            &sample[before..before + program.memory.inputs[*position].elements()]
        }
    });
    results.collect::<Vec<_>>().concat()
}

/// Number of elements that differ; at least one.
fn differing(program: &Program, writes: &[LaneWrite], expected: &[Vec<i8>]) -> u64 {
    let Ok(tensors) = layer_tensors(program, writes) else { return 1 };
    let wrong = |(got, expected): (&Option<Vec<i8>>, &Vec<i8>)| match got {
        Some(got) => got.iter().zip(expected).filter(|(a, b)| a != b).count(),
        None => expected.len(),
    };
    tensors.iter().zip(expected).map(wrong).sum::<usize>().max(1) as u64
}

fn with_opcode(program: &Program, difference: &Difference) -> String {
    let opcode = difference.instruction.and_then(|i| program.instructions.get(i)).map(|i| i.opcode().name());
    match opcode {
        Some(opcode) => format!("{difference} ({opcode})"),
        None => difference.to_string(),
    }
}
