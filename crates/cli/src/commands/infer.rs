//! `espalier infer`: outputs of one engine, so that anyone can compare it with any other runtime.

use std::path::Path;

use espalier_data::{Array, is_npy_i8, parse_npy, write_npy_f32, write_npy_i8};
use espalier_ir::{Diagnostic, Graph, array_layers, evaluate, unrolled};
use espalier_lower::{Machine, Program, layer_tensors};
use espalier_quant::{QuantizedGraph, ReferenceInterpreter};
use serde::Serialize;

use crate::args::{Engine, InferArgs};
use crate::commands::Answer;
use crate::design::Design;
use crate::failure::Outcome;
use crate::files::{load_model, read_bounded};
use crate::hls::HlsKernel;
use crate::output::write_file;
use crate::progress::Progress;
use crate::render::{pairs, shape};
use crate::simulate::{Simulator, Stalls};

/// Larger inputs are to be cut into parts.
const MAX_INPUT_BYTES: u64 = 1 << 30;

#[derive(Serialize)]
struct Inference {
    engine: String,
    samples: usize,
    output_shape: Vec<usize>,
    out: String,
    tensors: Vec<String>,
    cycles: Option<u64>,
}

/// One tensor of all samples: name and shape of one sample, values one sample after the other.
struct NamedTensor<T> {
    name: String,
    shape: Vec<usize>,
    values: Vec<T>,
}

/// Results of an engine: outputs in the model's shape, and every layer.
struct Results<T> {
    output_shape: Vec<usize>,
    outputs: Vec<T>,
    layers: Vec<NamedTensor<T>>,
    cycles: Option<u64>,
}

/// Runs an engine.
///
/// # Errors
/// If the model or the inputs cannot be read, do not fit, or the engine fails.
pub fn infer(args: &InferArgs, progress: &mut Progress) -> Outcome<Answer> {
    let bytes = read_bounded(&args.input, MAX_INPUT_BYTES)?;
    let at = args.input.display().to_string();
    let array = parse_npy(&bytes, &at)?;
    let raw_input = is_npy_i8(&bytes);
    if args.engine == Engine::Float {
        if args.raw {
            return Err(bad("--raw", "the float engine has no int8 tensors"));
        }
        let graph = if args.model.is_dir() { Design::load(&args.model)?.graph } else { load_model(&args.model)? };
        let samples = samples(&array, input_len(&graph), &at)?;
        let results = float(&graph, &samples)?;
        return write(args, samples.len(), &results, write_npy_f32);
    }
    if !args.model.is_dir() {
        return Err(Diagnostic::error("no-design", args.model.display().to_string(), "is not a compiled folder")
            .with_help("the integer engines need scales: run `espalier compile` first and name its folder")
            .into());
    }
    let design = Design::load(&args.model)?;
    let samples = samples(&array, design.program.input_len(), &at)?;
    let integers: Vec<Vec<i8>> = if raw_input {
        samples.iter().map(|s| s.iter().map(|v| *v as i8).collect()).collect()
    } else {
        samples.iter().map(|s| design.quantized.quantize_input(s)).collect()
    };
    let results = match args.engine {
        Engine::Reference => reference(&design.quantized, &integers),
        Engine::Machine => machine(&design, &integers)?,
        Engine::Hls => hls(&design, &args.model, &integers, progress)?,
        Engine::Verilator | Engine::Float => verilator(&design, &args.model, &integers, progress)?,
    };
    if args.raw {
        return write(args, integers.len(), &results, write_npy_i8);
    }
    write(args, integers.len(), &dequantized(&design, &results), write_npy_f32)
}

fn bad(at: &str, message: &str) -> crate::failure::Failure {
    Diagnostic::error("bad-argument", at, message).into()
}

fn input_len(graph: &Graph) -> usize {
    graph.inputs().iter().map(|i| graph.node(*i).shape.iter().product::<usize>()).sum()
}

/// Cuts an array into samples.
fn samples(array: &Array, len: usize, at: &str) -> Result<Vec<Vec<f32>>, Diagnostic> {
    let whole: usize = array.shape.iter().product();
    let is_one = whole == len;
    let is_many = array.shape.len() > 1 && array.shape[1..].iter().product::<usize>() == len;
    if whole == 0 || !(is_one || is_many) {
        let message = format!("has shape {:?}; the model takes samples of {len} values", array.shape);
        return Err(Diagnostic::error("wrong-sample-shape", at, message)
            .with_help("give one sample, or several along the first axis"));
    }
    if let Some(value) = array.values.iter().find(|v| !v.is_finite()) {
        return Err(Diagnostic::error("non-finite-input", at, format!("holds {value}")));
    }
    Ok(array.values.chunks(len).map(<[f32]>::to_vec).collect())
}

fn float(graph: &Graph, samples: &[Vec<f32>]) -> Outcome<Results<f32>> {
    // A model that the accelerator cannot execute still has outputs.
    let steps = unrolled(graph);
    let graph = steps.as_deref().unwrap_or(graph);
    let layers = array_layers(graph).unwrap_or_default();
    let mut named: Vec<NamedTensor<f32>> = layers
        .iter()
        .map(|l| NamedTensor { name: l.name.clone(), shape: l.out_shape.to_vec(), values: Vec::new() })
        .collect();
    let mut outputs = Vec::new();
    let sizes: Vec<usize> = graph.inputs().iter().map(|i| graph.node(*i).shape.iter().product()).collect();
    for sample in samples {
        let mut parts = Vec::new();
        let mut rest = sample.as_slice();
        for size in &sizes {
            let (part, tail) = rest.split_at(*size);
            parts.push(part);
            rest = tail;
        }
        let values = evaluate(graph, &parts);
        graph.outputs().iter().for_each(|o| outputs.extend(&values[o]));
        for (tensor, layer) in named.iter_mut().zip(&layers) {
            tensor.values.extend(&values[&layer.output_node()]);
        }
    }
    let shapes: Vec<Vec<usize>> = graph.outputs().iter().map(|o| graph.node(*o).shape.clone()).collect();
    Ok(Results { output_shape: output_shape(&shapes), outputs, layers: named, cycles: None })
}

/// Shape of one sample's outputs: that of the only output, or all values in a row.
fn output_shape(shapes: &[Vec<usize>]) -> Vec<usize> {
    match shapes {
        [only] => only.clone(),
        _ => vec![shapes.iter().map(|s| s.iter().product::<usize>()).sum()],
    }
}

fn empty_results(quantized: &QuantizedGraph, cycles: Option<u64>) -> Results<i8> {
    let layer = |l: &espalier_quant::QuantizedLayer| NamedTensor {
        name: l.name.clone(),
        shape: l.output.shape.to_vec(),
        values: Vec::new(),
    };
    Results {
        output_shape: output_shape(&quantized.output_shapes),
        outputs: Vec::new(),
        layers: quantized.layers.iter().map(layer).collect(),
        cycles,
    }
}

fn reference(quantized: &QuantizedGraph, inputs: &[Vec<i8>]) -> Results<i8> {
    let interpreter = ReferenceInterpreter::new(quantized);
    let mut results = empty_results(quantized, None);
    for input in inputs {
        results.outputs.extend(interpreter.predict(input));
        for (tensor, values) in results.layers.iter_mut().zip(interpreter.run(input)) {
            tensor.values.extend(values);
        }
    }
    results
}

fn machine(design: &Design, inputs: &[Vec<i8>]) -> Outcome<Results<i8>> {
    let program = &design.program;
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights)?;
    let mut results = empty_results(&design.quantized, Some(machine.cycles().total));
    for input in inputs {
        let run = machine.run(&program.input_beats(input), true)?;
        collect(&mut results, program, "machine", &run.writes, &run.beats)?;
    }
    Ok(results)
}

fn verilator(design: &Design, folder: &Path, inputs: &[Vec<i8>], progress: &Progress) -> Outcome<Results<i8>> {
    let simulator = Simulator::build(folder, false, progress)?;
    let program = &design.program;
    let predicted = Machine::new(&program.config, &program.program_words(), &program.weights)?.cycles().total;
    let mut results = empty_results(&design.quantized, None);
    let mut outcome = Ok(());
    let stalls = Stalls { seed: 0, input: 0, output: 0 };
    simulator.run(program, folder, inputs, stalls, predicted, &mut |_, run| {
        results.cycles = Some(run.cycles);
        if outcome.is_ok() {
            outcome = collect(&mut results, program, "verilator", &run.writes, &run.beats);
        }
    })?;
    outcome?;
    Ok(results)
}

fn hls(design: &Design, folder: &Path, inputs: &[Vec<i8>], progress: &Progress) -> Outcome<Results<i8>> {
    let kernel = HlsKernel::build(folder, progress)?;
    let program = &design.program;
    let mut results = empty_results(&design.quantized, None);
    let mut outcome = Ok(());
    kernel.run(program, folder, inputs, &mut |_, run| {
        if outcome.is_ok() {
            outcome = collect(&mut results, program, "hls", &run.writes, &run.beats);
        }
    })?;
    outcome?;
    Ok(results)
}

/// Appends what one sample wrote.
fn collect(
    results: &mut Results<i8>,
    program: &Program,
    engine: &str,
    writes: &[espalier_lower::LaneWrite],
    beats: &[Vec<u8>],
) -> Result<(), Diagnostic> {
    let failed = |what: String| Diagnostic::error("mismatch", format!("engine '{engine}'"), what);
    results.outputs.extend(program.output_from_beats(beats).map_err(failed)?);
    let tensors = layer_tensors(program, writes).map_err(|difference| failed(difference.to_string()))?;
    for (tensor, values) in results.layers.iter_mut().zip(tensors) {
        let name = &tensor.name;
        tensor.values.extend(values.ok_or_else(|| failed(format!("layer '{name}' is not complete")))?);
    }
    Ok(())
}

/// Integers as the real values that they stand for.
fn dequantized(design: &Design, results: &Results<i8>) -> Results<f32> {
    let program = &design.program;
    let layers = results.layers.iter().zip(&design.quantized.layers).map(|(tensor, layer)| NamedTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        values: tensor.values.iter().map(|q| layer.output.params.dequantize(*q)).collect(),
    });
    let outputs = results.outputs.chunks(program.output_len()).flat_map(|o| program.dequantize_output(o)).collect();
    Results { output_shape: results.output_shape.clone(), outputs, layers: layers.collect(), cycles: results.cycles }
}

fn write<T>(
    args: &InferArgs,
    samples: usize,
    results: &Results<T>,
    npy: fn(&[usize], &[T]) -> Vec<u8>,
) -> Outcome<Answer> {
    let with_samples = |shape: &[usize]| [&[samples], shape].concat();
    let shape_all = with_samples(&results.output_shape);
    write_file(&args.out, &npy(&shape_all, &results.outputs))?;
    let mut tensors = Vec::new();
    if let Some(folder) = &args.all_tensors {
        for (index, tensor) in results.layers.iter().enumerate() {
            let name = format!("{index:02}_{}.npy", file_name(&tensor.name));
            write_file(&folder.join(&name), &npy(&with_samples(&tensor.shape), &tensor.values))?;
            tensors.push(name);
        }
    }
    let inference = Inference {
        engine: format!("{:?}", args.engine).to_lowercase(),
        samples,
        output_shape: shape_all,
        out: args.out.display().to_string(),
        tensors,
        cycles: results.cycles,
    };
    let mut lines = vec![
        ("engine", inference.engine.clone()),
        ("output", format!("{} [{}]", inference.out, shape(&inference.output_shape))),
    ];
    if let Some(cycles) = inference.cycles {
        lines.push(("cycles", cycles.to_string()));
    }
    if let Some(folder) = &args.all_tensors {
        lines.push(("layers", format!("{} files in {}", inference.tensors.len(), folder.display())));
    }
    Ok(Answer::new(&inference, pairs(&lines)))
}

/// A layer's name with everything replaced that a file name should not hold.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
