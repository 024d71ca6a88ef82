//! An independent runtime, tract, agrees with the importer and with the integers of the exported QDQ model.

use std::fs;

use espalier_ir::{Conv, ConvTranspose, Graph, NodeId, Op, Pads, Unary, evaluate_output};
use espalier_onnx::{ExportOptions, QuantizedParam, export, export_with, import};
use espalier_quant::{
    CalibrationMethod, QuantizeOptions, QuantizedGraph, calibrate, fold_batch_norm, quantize, to_qdq,
};
use espalier_tests::{noise, shared};
use tract_onnx::prelude::*;

/// Inputs per model.
const SAMPLES: u64 = 20;

/// Models, and the largest value of their inputs.
const FLOAT_MODELS: [(&str, f32); 4] = [
    ("own_mnist_lenet5_relu", 1.0),
    ("own_mnist_mlp_784_64_32_10", 1.0),
    ("onnxzoo_mnist_cntk", 255.0),
    ("own_fashion_cnn_bn", 1.0),
];

/// Depthwise layers, residual additions and shortcuts of zero channels besides.
const QUANTIZED_MODELS: [(&str, f32); 7] = [
    FLOAT_MODELS[0],
    FLOAT_MODELS[1],
    FLOAT_MODELS[2],
    FLOAT_MODELS[3],
    ("own_fsdd_dscnn", 3.0),
    ("mlperf_tiny_resnet8_cifar10", 255.0),
    ("resnet20_cifar10", 2.0),
];

fn model_bytes(name: &str) -> Option<Vec<u8>> {
    shared(&format!("models/{name}.onnx")).map(|path| fs::read(path).unwrap())
}

/// The model in tract, for samples of this shape, optimized as tract's users run it.
fn in_tract(bytes: &[u8], sample: &[usize]) -> Arc<TypedRunnableModel> {
    let shape: Vec<usize> = std::iter::once(1).chain(sample.iter().copied()).collect();
    tract_onnx::onnx()
        // Models say "N" for the batch of inner values as well, which tract does not unify with 1.
        .with_ignore_value_info(true)
        .model_for_read(&mut &bytes[..])
        .and_then(|m| m.with_input_fact(0, f32::fact(shape).into()))
        .and_then(|m| m.into_optimized())
        .and_then(|m| m.into_runnable())
        .unwrap_or_else(|e| panic!("{e:?}"))
}

fn run(model: &Arc<TypedRunnableModel>, sample: &[usize], values: &[f32]) -> TVec<TValue> {
    let shape: Vec<usize> = std::iter::once(1).chain(sample.iter().copied()).collect();
    model.run(tvec!(Tensor::from_shape(&shape, values).unwrap().into())).unwrap()
}

fn floats(value: &TValue) -> Vec<f32> {
    value.to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}

fn input_shape(graph: &Graph) -> Vec<usize> {
    graph.node(graph.inputs()[0]).shape.clone()
}

/// Nothing, everything, and noise.
fn sample(shape: &[usize], largest: f32, index: u64) -> Vec<f32> {
    let len = shape.iter().product();
    match index {
        0 => vec![0.0; len],
        1 => vec![largest; len],
        _ => noise(len, index).into_iter().map(|v| v * largest).collect(),
    }
}

#[test]
fn imported_graphs_give_the_values_of_tract() {
    for (name, largest) in FLOAT_MODELS {
        let Some(bytes) = model_bytes(name) else { return };
        let graph = import(&bytes).unwrap();
        let shape = input_shape(&graph);
        let [original, exported] = [bytes, export(&graph)].map(|bytes| in_tract(&bytes, &shape));
        for index in 0..SAMPLES {
            let values = sample(&shape, largest, index);
            let ours = evaluate_output(&graph, &[&values]);
            let range = ours.iter().fold(0f32, |m, v| m.max(v.abs()));
            for model in [&original, &exported] {
                let theirs = floats(&run(model, &shape, &values)[0]);
                assert_eq!(ours.len(), theirs.len(), "{name}");
                let error = ours.iter().zip(&theirs).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(error <= 1e-4 * range, "{name}, sample {index}: {error} of {range}");
            }
        }
    }
}

fn quantized(bytes: &[u8], largest: f32) -> QuantizedGraph {
    let graph = fold_batch_norm(&import(bytes).unwrap());
    let shape = input_shape(&graph);
    let samples: Vec<Vec<f32>> = (0..8).map(|i| sample(&shape, largest, i)).collect();
    let table = calibrate(&graph, &mut samples.iter().map(Vec::as_slice), CalibrationMethod::Percentile(99.9)).unwrap();
    quantize(&graph, &table, &QuantizeOptions::default()).unwrap()
}

#[test]
fn exported_integers_are_those_of_the_reference_in_every_layer() {
    for (name, largest) in QUANTIZED_MODELS {
        let Some(bytes) = model_bytes(name) else { return };
        let reference = quantized(&bytes, largest);
        assert_equal_in_tract(name, &reference, largest);
    }
}

/// Functions by table, and maps that grow: what no model above has.
#[test]
fn functions_and_larger_maps_give_the_same_integers() {
    for (index, function) in FUNCTIONS.into_iter().enumerate() {
        let graph = decoder(function, index as u64);
        let bytes = export(&graph);
        assert_equal_in_tract(function, &quantized(&bytes, 1.0), 1.0);
    }
}

const FUNCTIONS: [&str; 6] = ["sigmoid", "tanh", "leaky", "silu", "hard-swish", "prelu"];

/// A transposed convolution and repeated elements between two convolutions, each with the function behind it.
fn decoder(function: &str, seed: u64) -> Graph {
    let mut graph = Graph::new(function);
    let x = graph.add_input("x", &[3, 6, 6]).unwrap();
    let weight = |graph: &mut Graph, shape: [usize; 4]| {
        let values = noise(shape.iter().product(), seed + 10).into_iter().map(|v| v - 0.5).collect();
        graph.add_param("w", espalier_ir::Tensor::f32(shape, values))
    };
    let pads = Pads { top: 1, left: 1, bottom: 1, right: 1 };
    let conv = Conv {
        weight: weight(&mut graph, [5, 3, 3, 3]),
        bias: None,
        stride: [1, 1],
        pads,
        dilation: [1, 1],
        groups: 1,
    };
    let y = graph.add("first", Op::Conv(conv), &[x]).unwrap();
    let y = apply(&mut graph, function, y);
    let grow = ConvTranspose {
        weight: weight(&mut graph, [5, 4, 4, 4]),
        bias: None,
        stride: [2, 2],
        pads,
        output_pads: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let y = graph.add("grow", Op::ConvTranspose(grow), &[y]).unwrap();
    let y = apply(&mut graph, function, y);
    let y = graph.add("repeat", Op::Resize { factor: [2, 1] }, &[y]).unwrap();
    let conv = Conv {
        weight: weight(&mut graph, [2, 4, 3, 3]),
        bias: None,
        stride: [2, 2],
        pads,
        dilation: [1, 1],
        groups: 1,
    };
    let y = graph.add("last", Op::Conv(conv), &[y]).unwrap();
    graph.add_output(y);
    graph
}

fn apply(graph: &mut Graph, function: &str, x: NodeId) -> NodeId {
    let gated = |graph: &mut Graph, unary| {
        let gate = graph.add("gate", Op::Unary(unary), &[x]).unwrap();
        graph.add("gated", Op::Mul, &[x, gate]).unwrap()
    };
    match function {
        "sigmoid" => graph.add("function", Op::Unary(Unary::Sigmoid), &[x]).unwrap(),
        "tanh" => graph.add("function", Op::Unary(Unary::Tanh), &[x]).unwrap(),
        "leaky" => graph.add("function", Op::Unary(Unary::LeakyRelu { alpha: 0.1 }), &[x]).unwrap(),
        "silu" => gated(graph, Unary::Sigmoid),
        "hard-swish" => gated(graph, Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }),
        _ => {
            let channels = graph.node(x).shape[0];
            let slopes = (0..channels).map(|c| 0.3 - 0.1 * c as f32).collect();
            let slope = graph.add_param("slope", espalier_ir::Tensor::f32([channels], slopes));
            graph.add("function", Op::PRelu { slope }, &[x]).unwrap()
        }
    }
}

/// tract gives the reference's integers in every layer, and its outputs.
fn assert_equal_in_tract(name: &str, reference: &QuantizedGraph, largest: f32) {
    let model = to_qdq(reference).unwrap();
    // Ties are rounded alike in tract, whatever another runtime does.
    let others = model.warnings.iter().filter(|w| !w.message.contains("of a tie")).count();
    assert_eq!(others, 0, "{name}: {}", model.warnings);
    let shape = input_shape(&model.graph);
    let options = ExportOptions {
        quantized: model
            .integers
            .iter()
            .map(|(id, (values, scale))| (*id, QuantizedParam { values: values.clone(), scale: scale.clone() }))
            .collect(),
    };
    // The model as a user gets it, with weights as integers and as floats, and with every layer in sight.
    let mut open = model.graph.clone();
    model.layers.iter().for_each(|layer| open.add_output(*layer));
    let outputs = [export_with(&model.graph, &options), export(&model.graph)].map(|b| in_tract(&b, &shape));
    let open = in_tract(&export_with(&open, &options), &shape);
    for index in 0..SAMPLES {
        let values = sample(&shape, largest, index);
        let integers = reference.quantize_input(&values);
        let layers = reference.run(&integers);
        let real = reference.dequantize_output(&reference.predict(&integers));
        for model in &outputs {
            assert_eq!(floats(&run(model, &shape, &values)[0]), real, "{name}, sample {index}");
        }
        let theirs = run(&open, &shape, &values);
        assert_eq!(theirs.len(), layers.len() + 1);
        for (layer, (ours, theirs)) in layers.iter().zip(&theirs[1..]).enumerate() {
            let theirs: Vec<i8> = theirs.to_plain_array_view::<i8>().unwrap().iter().copied().collect();
            assert!(*ours == theirs, "{name}, sample {index}, layer '{}'", reference.layers[layer].name);
        }
    }
}
