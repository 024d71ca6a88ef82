//! LSTM and GRU layers in integers, written out step by step.

use espalier_ir::{Cell, Graph, Op, Random, Recurrent, Tensor, evaluate_output};
use espalier_quant::{
    CalibrationMethod, QuantizeOptions, QuantizedGraph, QuantizedOp, calibrate, layer_sqnr, quantize, shift_half_even,
    to_qdq, wide_value,
};

/// One layer over `time` steps with weights in `-spread..spread`.
fn layer(cell: Cell, [features, hidden, time]: [usize; 3], spread: f32, seed: u64) -> Graph {
    let mut random = Random::new(seed);
    let mut values =
        |count: usize, spread: f32| -> Vec<f32> { (0..count).map(|_| (random.unit() * 2.0 - 1.0) * spread).collect() };
    let mut graph = Graph::new("layer");
    let x = graph.add_input("x", &[features, 1, time]).unwrap();
    let rows = cell.gates() * hidden;
    let weight = graph.add_param("w", Tensor::f32([rows, features], values(rows * features, spread)));
    let recurrence = graph.add_param("r", Tensor::f32([rows, hidden], values(rows * hidden, spread)));
    let bias = ["wb", "rb"].map(|name| graph.add_param(name, Tensor::f32([rows], values(rows, 0.5))));
    let op = Op::Recurrent(Recurrent { cell, reverse: false, weight, recurrence, bias: Some(bias) });
    let y = graph.add("cell", op, &[x]).unwrap();
    graph.add_output(y);
    graph
}

fn samples(len: usize, count: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(77);
    (0..count).map(|_| (0..len).map(|_| random.unit() * 4.0 - 2.0).collect()).collect()
}

fn quantized(graph: &Graph, samples: &[Vec<f32>]) -> QuantizedGraph {
    let mut samples = samples.iter().map(Vec::as_slice);
    let table = calibrate(graph, &mut samples, CalibrationMethod::Range).unwrap();
    quantize(graph, &table, &QuantizeOptions::default()).unwrap()
}

/// The layer of a role at a step.
fn at(model: &QuantizedGraph, t: usize, role: &str) -> usize {
    let name = format!("cell_t{t}_{role}");
    model.layers.iter().position(|l| l.name == name).unwrap_or_else(|| panic!("no layer {name}"))
}

/// The values of 16 bits are sums of products, exact but for one rounding; what is read of them is rounded once more.
#[test]
fn states_are_sums_of_products() {
    let graph = layer(Cell::Lstm, [5, 7, 6], 1.0, 3);
    let samples = samples(30, 12);
    let model = quantized(&graph, &samples);
    for sample in &samples {
        let values = model.run(&model.quantize_input(sample));
        let state = |t: usize, j: usize| {
            let digits = &values[at(&model, t, "c")][2 * j..2 * j + 2];
            i64::from(wide_value([digits[0], digits[1]]))
        };
        for t in 1..6 {
            let layer = &model.layers[at(&model, t, "c")];
            let QuantizedOp::Products { left_shift, shift } = &layer.op else { panic!("{:?}", layer.op) };
            assert_eq!((left_shift[0], left_shift[2]), (8, 0));
            let of = |role: &str, j: usize| i64::from(values[at(&model, t, role)][j]);
            let real = |role: &str| model.layers[at(&model, t, role)].output.params.exponent;
            let unit = layer.output.params.exponent + real("f_sum");
            assert_eq!(unit + i32::from(left_shift[1]), real("g_sum") + real("i_sum"));
            assert_eq!(i32::from(*shift), layer.output.params.exponent - unit);
            (0..7).for_each(|j| {
                let sum = state(t - 1, j) * of("f_sum", j) + ((of("g_sum", j) * of("i_sum", j)) << left_shift[1]);
                let expected = shift_half_even(sum, *shift).clamp(-32_896, 32_639);
                assert_eq!(state(t, j), expected, "step {t}, unit {j}");
                let tanh = &model.layers[at(&model, t, "tanh")];
                let argument = tanh.requantized();
                let down = (argument.exponent - layer.output.params.exponent) as u8;
                let p = shift_half_even(state(t, j), down) + i64::from(argument.zero_point);
                let table = tanh.table.as_ref().unwrap();
                let expected = table.look_up(j, p.clamp(tanh.clamp.0.into(), tanh.clamp.1.into()) as i8);
                assert_eq!(values[at(&model, t, "tanh")][j], expected);
            });
        }
    }
}

/// All steps have the scales, zero points and integers of the first that does the same.
#[test]
fn steps_are_quantized_alike() {
    for cell in [Cell::Lstm, Cell::Gru { linear_before_reset: true }, Cell::Gru { linear_before_reset: false }] {
        let graph = layer(cell, [4, 6, 5], 0.8, 9);
        let model = quantized(&graph, &samples(20, 20));
        let mut peers = 0;
        for layer in &model.layers {
            let Some(peer) = layer.peer.map(|p| &model.layers[p]) else { continue };
            peers += 1;
            assert_eq!((layer.output.params, layer.requantized()), (peer.output.params, peer.requantized()));
            assert_eq!(layer.table, peer.table);
        }
        assert!(peers > 4 * 4, "{peers} layers have peers");
        let role = if cell == Cell::Lstm { "f_sum" } else { "z_sum" };
        let weights = |t: usize| match &model.layers[at(&model, t, role)].op {
            QuantizedOp::Conv { weight, bias, shift, .. } => (weight.clone(), bias.clone(), shift.clone()),
            op => panic!("{op:?}"),
        };
        assert_eq!(weights(1), weights(4));
    }
}

/// With 16 bits the error of a state does not grow over many steps, and all three equations keep close to the floats.
#[test]
fn long_sequences_stay_close_to_float() {
    for cell in [Cell::Lstm, Cell::Gru { linear_before_reset: true }, Cell::Gru { linear_before_reset: false }] {
        let graph = layer(cell, [6, 12, 40], 0.6, 21);
        let samples = samples(240, 10);
        let model = quantized(&graph, &samples);
        let sqnr = layer_sqnr(&graph, &model, &mut samples.iter().map(Vec::as_slice)).unwrap();
        let states: Vec<f64> = model.layers.iter().zip(&sqnr).filter(|(l, _)| l.is_wide()).map(|(_, s)| *s).collect();
        assert_eq!(states.len(), 40);
        assert!(states.iter().all(|s| *s > 24.0), "{cell:?}: {states:?} dB");
        // The output joins all states in their order.
        let exact = evaluate_output(&graph, &[&samples[0]]);
        let output = model.dequantize_output(&model.predict(&model.quantize_input(&samples[0])));
        let worst = exact.iter().zip(&output).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.12, "{cell:?}: {worst}");
    }
}

/// Vectors of very different ranges and a step of a sequence, read one after another: the QDQ form gives the same integers.
#[test]
fn joined_vectors_have_steps_of_their_own() {
    let mut random = Random::new(8);
    let mut graph = Graph::new("joined");
    let a = graph.add_input("a", &[4]).unwrap();
    let b = graph.add_input("b", &[3, 1, 5]).unwrap();
    let step = graph.add("step", Op::TimeStep { step: 2 }, &[b]).unwrap();
    let both = graph.add("both", Op::Concat { axis: 0 }, &[a, step]).unwrap();
    let values: Vec<f32> = (0..6 * 7).map(|_| random.unit() * 2.0 - 1.0).collect();
    let weight = graph.add_param("w", Tensor::f32([6, 7], values));
    let bias = Some(graph.add_param("bias", Tensor::f32([6], vec![0.25; 6])));
    let y = graph.add("fc", Op::Gemm { weight, bias }, &[both]).unwrap();
    let end = graph.add("relu", Op::Relu, &[y]).unwrap();
    graph.add_output(end);
    let sample = |random: &mut Random| -> Vec<f32> {
        (0..19).map(|i| (random.unit() * 2.0 - 1.0) * if i < 4 { 1.0 } else { 40.0 }).collect()
    };
    let samples: Vec<Vec<f32>> = (0..40).map(|_| sample(&mut random)).collect();
    let model = quantized(&graph, &samples);
    assert_eq!(model.layers.len(), 1);
    let [a, b] = [0, 1].map(|i| model.inputs[i].params.exponent);
    assert!(a + 4 < b, "{a}, {b}");
    let qdq = to_qdq(&model).unwrap();
    for sample in &samples {
        let expected = model.predict(&model.quantize_input(sample));
        let real = evaluate_output(&qdq.graph, &[&sample[..4], &sample[4..]]);
        assert_eq!(real, model.dequantize_output(&expected));
    }
    let sqnr = layer_sqnr(&graph, &model, &mut samples.iter().map(Vec::as_slice)).unwrap();
    assert!(sqnr[0] > 30.0, "{sqnr:?} dB");
}
