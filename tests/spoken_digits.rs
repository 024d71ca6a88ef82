//! Recurrent classifiers of spoken digits lose half of their hidden units and keep their accuracy.
//!
//! Training from scratch, Taylor importance on training samples, a plan by parameters, removal, fine-tuning; the epoch
//! is chosen on held-out training samples, and the test samples are looked at once before and once after.

use std::fs;

use espalier_data::{Array, labels_from, parse_npz, split};
use espalier_ir::{Cell, Graph, Op, Random, Recurrent, Tensor, TensorMap};
use espalier_lower::{compile, first_difference, run};
use espalier_prune::{
    Criterion, Evidence, Normalization, SizeBudget, SizeOptions, apply, dependency_groups, importance, size_plan,
};
use espalier_quant::{CalibrationMethod, QuantizeOptions, ReferenceInterpreter, calibrate, quantize};
use espalier_target::{AcceleratorConfig, CostModel};
use espalier_tests::shared;
use espalier_train::{Execution, FineTuning, Optimizer, Samples, TrainConfig, evaluate, fine_tune, gate_products};

/// Frames of a sample, and cepstral coefficients of a frame.
const SAMPLE: [usize; 2] = [49, 10];
const CLASSES: usize = 10;
const HIDDEN: usize = 32;

struct Part {
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

impl Part {
    fn new(array: &Array, labels: &[u32], mean: &[f32], std: &[f32], picked: &[usize]) -> Self {
        let len: usize = SAMPLE.iter().product();
        let values = picked.iter().flat_map(|i| array.values[i * len..(i + 1) * len].iter().enumerate());
        let inputs = values.map(|(i, v)| (v - mean[i % mean.len()]) / std[i % std.len()]).collect();
        Part { inputs, labels: picked.iter().map(|i| labels[*i]).collect() }
    }

    fn samples(&self) -> Samples<'_> {
        Samples { inputs: &self.inputs, labels: &self.labels, sample_len: SAMPLE.iter().product() }
    }
}

/// Training, validation and test samples, normalized.
fn digits(seed: u64) -> Option<[Part; 3]> {
    let [data, norm] = ["fsdd_mfcc49x10", "fsdd_norm"].map(|n| shared(&format!("data/kws/{n}.npz")));
    let (data, norm) = (fs::read(data?).unwrap(), fs::read(norm?).unwrap());
    let (mean, std) = parse_npz(&norm, "norm", None).unwrap();
    let (mean, std) = (mean.values, std.unwrap().values);
    let read = |part| {
        let (inputs, labels) = parse_npz(&data, "digits", Some(part)).unwrap();
        (inputs, labels_from(&labels.unwrap(), "digits").unwrap())
    };
    let (inputs, labels) = read("train");
    let parts = split(labels.len(), Some(&labels), 0.1, seed);
    let [train, validation] = [parts.train, parts.validation].map(|p| Part::new(&inputs, &labels, &mean, &std, &p));
    let (inputs, labels) = read("test");
    let all: Vec<usize> = (0..labels.len()).collect();
    Some([train, validation, Part::new(&inputs, &labels, &mean, &std, &all)])
}

/// One recurrent layer, the mean of its states over time, a fully connected layer; untrained.
fn classifier(seed: u64, cell: Cell) -> Graph {
    let mut random = Random::new(seed);
    let mut graph = Graph::new("digits");
    let x = graph.add_input("x", &SAMPLE).unwrap();
    let x = graph.add("features_first", Op::Transpose { axes: vec![1, 0] }, &[x]).unwrap();
    let rows = cell.gates() * HIDDEN;
    // Uniform, as PyTorch initializes recurrent layers.
    let bound = 1.0 / (HIDDEN as f32).sqrt();
    let mut param = |name: &str, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|_| (2.0 * random.unit() - 1.0) * bound).collect();
        graph.add_param(name, Tensor::f32(shape, values))
    };
    let (weight, recurrence) = (param("W", &[rows, SAMPLE[1]]), param("R", &[rows, HIDDEN]));
    let bias = Some([param("Wb", &[rows]), param("Rb", &[rows])]);
    let (fc, fc_bias) = (param("fc", &[CLASSES, HIDDEN]), param("fc.bias", &[CLASSES]));
    let layer = Recurrent { cell, reverse: false, weight, recurrence, bias };
    let states = graph.add("states", Op::Recurrent(layer), &[x]).unwrap();
    let mean = graph.add("mean", Op::GlobalAveragePool, &[states]).unwrap();
    let flat = graph.add("flat", Op::Flatten, &[mean]).unwrap();
    let end = graph.add("digit", Op::Gemm { weight: fc, bias: Some(fc_bias) }, &[flat]).unwrap();
    graph.add_output(end);
    graph
}

fn train(graph: &Graph, parts: &[Part; 3], epochs: usize, learning_rate: f64, seed: u64) -> Graph {
    let config = TrainConfig {
        epochs,
        batch_size: 32,
        shards: 2,
        learning_rate,
        optimizer: Optimizer::Adam,
        seed,
        ..Default::default()
    };
    let masks = TensorMap::new();
    let [train, validation, _] = parts;
    let (train, validation) = (train.samples(), Some(validation.samples()));
    let task = FineTuning { graph, masks: &masks, train, validation, quantization: None };
    fine_tune(&task, &config, &mut |_| Ok(())).unwrap().graph
}

/// Correct test samples before and after half of the units are gone, of 300, and the network that remains.
fn halved(parts: &[Part; 3], cell: Cell, seed: u64) -> ([usize; 2], Graph) {
    let execution = Execution::default();
    let test = |graph: &Graph| evaluate(graph, &parts[2].samples(), None, execution).unwrap().correct;
    let dense = train(&classifier(seed, cell), parts, 12, 0.01, seed);
    let groups = dependency_groups(&dense).unwrap();
    let products = gate_products(&dense, &parts[0].samples(), 16, execution).unwrap();
    let evidence = Evidence::of_products(products, parts[0].labels.len() as f64 / 16.0);
    let scores = importance(&dense, &groups, Criterion::Taylor, Normalization::None, &evidence).unwrap();
    // What a layer with half of the units has.
    let half = HIDDEN / 2;
    let parameters = cell.gates() * half * (SAMPLE[1] + half + 2) + CLASSES * (half + 1);
    let options = SizeOptions { budget: SizeBudget::Parameters(parameters as u64), min_keep: 0.0 };
    let plan = size_plan(&dense, &groups, &scores, &options).unwrap();
    let small = apply(&dense, &plan.plan).unwrap();
    assert_eq!((small.parameter_count(), plan.plan.removed()), (parameters, half));
    let tuned = train(&small, parts, 6, 0.005, seed + 100);
    let figures = [test(&dense), test(&tuned)];
    println!(
        "{} seed {seed}: {} of 300 with {HIDDEN} units, {} before and {} after fine-tuning with {half}; {} -> {} MACs",
        cell.name(),
        figures[0],
        test(&small),
        figures[1],
        dense.macs(),
        small.macs()
    );
    (figures, tuned)
}

/// Correct test samples of the integers; three of them on the accelerator, element by element.
fn in_hardware(parts: &[Part; 3], graph: &Graph) -> usize {
    let len: usize = SAMPLE.iter().product();
    let mut samples = parts[0].inputs.chunks(len).take(256);
    let table = calibrate(graph, &mut samples, CalibrationMethod::Range).unwrap();
    let quantized = quantize(graph, &table, &QuantizeOptions::default()).unwrap();
    let config = AcceleratorConfig::new(16, 16, 4096, 256).with_units_for(graph).unwrap();
    let program = compile(&quantized, &config).unwrap();
    let model = CostModel::new(graph, &config).unwrap();
    let cycles = model.total_cycles(model.dense_tiles());
    // The steps share their weights.
    assert_eq!(model.weight_words(model.dense_tiles()), program.weights.len());
    for sample in parts[2].inputs.chunks(len).take(3) {
        let input = quantized.quantize_input(sample);
        let (run, outputs, report) = run(&program, &input).unwrap();
        assert_eq!(first_difference(&program, &run.writes, &quantized.run(&input)), None);
        assert_eq!((outputs, report.total), (quantized.predict(&input), cycles));
    }
    let correct = ReferenceInterpreter::new(&quantized).evaluate(&parts[2].inputs, &parts[2].labels).unwrap();
    println!("INT8: {correct} of 300; {cycles} cycles on 16x16, {} weight words", program.weights.len());
    correct
}

fn check(cell: Cell, seed: u64) {
    let Some(parts) = digits(seed) else { return };
    let ([before, after], small) = halved(&parts, cell, seed);
    let integers = in_hardware(&parts, &small);
    assert!(integers + 6 >= after, "{integers} of 300 as integers, {after} before");
    assert!(before >= 270, "the network did not learn: {before} of 300");
    assert!(after + 6 >= before, "{after} of 300, {before} before: more than two points lost");
}

#[test]
fn an_lstm_keeps_its_accuracy_with_half_of_its_units() {
    check(Cell::Lstm, 1);
}

#[test]
fn a_gru_keeps_its_accuracy_with_half_of_its_units() {
    check(Cell::Gru { linear_before_reset: true }, 1);
}
