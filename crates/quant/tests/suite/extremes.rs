//! Accumulators at their limits, dead channels, hand-computed layers.

use espalier_ir::{Conv, Graph, Op, Pads, Pool, Tensor};
use espalier_quant::{
    CalibrationMethod, QuantParams, QuantizeOptions, QuantizedGraph, QuantizedOp, calibrate, quantize, to_qdq,
};

use crate::generator::Random;

fn quantized(graph: &Graph, samples: &[Vec<f32>]) -> QuantizedGraph {
    let mut iter = samples.iter().map(Vec::as_slice);
    let table = calibrate(graph, &mut iter, CalibrationMethod::Range).unwrap();
    quantize(graph, &table, &QuantizeOptions::default()).unwrap()
}

fn conv_graph(channels: usize, kernel: usize, weights: Vec<f32>, bias: Vec<f32>) -> Graph {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[channels, kernel, kernel]).unwrap();
    let out = bias.len();
    let weight = graph.add_param("w", Tensor::f32([out, channels, kernel, kernel], weights));
    let bias = graph.add_param("b", Tensor::f32([out], bias));
    let pads = Pads { top: 1, left: 1, bottom: 1, right: 1 };
    let op = Conv { weight, bias: Some(bias), stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
    let y = graph.add("conv", Op::Conv(op), &[x]).unwrap();
    graph.add_output(y);
    graph
}

#[test]
fn largest_weights_and_inputs_stay_inside_the_proven_bits() {
    let (channels, kernel) = (64, 3);
    let taps = channels * kernel * kernel;
    let mut random = Random(5);
    let signs: Vec<f32> = (0..taps).map(|_| if random.chance(50) { 127.0 } else { -127.0 }).collect();
    let graph = conv_graph(channels, kernel, signs, vec![1000.0]);
    for offset in [0.0, 128.0] {
        let range = [-128.0 + offset, 127.0 + offset];
        let model = quantized(&graph, &range.map(|v| vec![v; taps]));
        let zero = i64::from(model.inputs[0].params.zero_point);
        assert_eq!(zero, -(offset as i64));
        let QuantizedOp::Conv { weight, bias, .. } = &model.layers[0].op else { panic!() };
        assert!(weight.iter().all(|w| w.abs() == 127));
        let bits = model.accumulator_bits(0);
        let limit = 1i64 << (bits - 1);
        let folded = i64::from(bias[0]) - zero * weight.iter().map(|w| i64::from(*w)).sum::<i64>();
        let mut reached = 0;
        for towards in [1i8, -1] {
            let input: Vec<i8> = weight.iter().map(|w| if (*w > 0) == (towards > 0) { 127 } else { -128 }).collect();
            let (mut raw, mut centred) = (0i64, i64::from(bias[0]));
            for (w, x) in weight.iter().zip(&input) {
                raw += i64::from(*w) * i64::from(*x);
                centred += i64::from(*w) * (i64::from(*x) - zero);
                assert!(raw.abs() < limit && centred.abs() < limit);
                reached = reached.max(raw.abs()).max(centred.abs());
            }
            assert_eq!(raw + folded, centred);
            // The centre of the 3x3 output sees the whole input; the float model must agree on it.
            let qdq = to_qdq(&model).unwrap();
            let real: Vec<f32> = input.iter().map(|q| model.inputs[0].params.dequantize(*q)).collect();
            let expected = espalier_ir::evaluate(&qdq.graph, &[&real])[&qdq.layers[0]].clone();
            assert_eq!(model.run(&input)[0].iter().map(|q| f32::from(*q)).collect::<Vec<_>>(), expected);
        }
        assert!(reached >= limit / 4, "{bits} bits are more than needed for {reached}");
    }
}

#[test]
fn dead_channels_write_their_bias() {
    let weights = [vec![0.0; 9], vec![0.5; 9], vec![1e-30; 9]].concat();
    let graph = conv_graph(1, 3, weights, vec![0.75, 0.0, -1e4]);
    let model = quantized(&graph, &[vec![1.0; 9], vec![-1.0; 9]]);
    let output = &model.layers[0].output;
    let values = model.run(&[127; 9])[0].clone();
    assert!(values[..9].iter().all(|q| *q == output.params.quantize(0.75)));
    assert!(values[18..].iter().all(|q| *q == output.params.quantize(-1e4)));
    assert!(model.accumulator_bits(0) <= 24);
}

#[test]
fn constant_zero_networks_quantize() {
    let graph = conv_graph(2, 3, vec![0.0; 36], vec![0.0; 2]);
    let model = quantized(&graph, &[vec![0.0; 18]]);
    assert!(model.run(&[5; 18])[0].iter().all(|q| *q == model.layers[0].output.params.zero_point));
}

/// One value through a 1x1 layer with weight 1 and a pooling: every number below can be checked by hand.
#[test]
fn hand_computed_layer() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 2, 2]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([1, 1, 1, 1], vec![-1.0]));
    let bias = graph.add_param("b", Tensor::f32([1], vec![100.0]));
    let pads = Pads::default();
    let op = Conv { weight, bias: Some(bias), stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
    let y = graph.add("conv", Op::Conv(op), &[x]).unwrap();
    let y = graph.add("relu", Op::Relu, &[y]).unwrap();
    let pool = Pool { kernel: [1, 2], stride: [1, 2], pads };
    let y = graph.add("pool", Op::MaxPool(pool), &[y]).unwrap();
    graph.add_output(y);
    let samples: Vec<Vec<f32>> = (0..64).map(|i| (0..4).map(|k| ((i * 4 + k) - 128) as f32).collect()).collect();
    let model = quantized(&graph, &samples);
    assert_eq!(model.inputs[0].params, QuantParams { exponent: 0, zero_point: 0 });
    assert_eq!(model.layers[0].output.params, QuantParams { exponent: 0, zero_point: -128 });
    let QuantizedOp::Conv { weight, bias, weight_exponent, shift, .. } = &model.layers[0].op else { panic!() };
    // -1 = -64 * 2^-6; acc = 6400 - 64 x, shifted by 6.
    assert_eq!((weight[0], bias[0], weight_exponent[0], shift[0]), (-64, 6400, -6, 6));
    // Rows (127, -3) and (100, 101): 100 - x is (-27, 103) and (0, -1); ReLU, maximum, zero point -128.
    assert_eq!(model.run(&[127, -3, 100, 101])[0], [-25, -128]);
    // 100 + 128 = 228 -> 100.
    assert_eq!(model.run(&[-128, 0, 0, 0])[0], [100, -28]);
    assert_eq!(model.dequantize_output(&model.predict(&[127, -3, 100, 101])), [103.0, 0.0]);
}

#[test]
fn operands_far_apart_are_aligned() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 1, 1]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([1, 1, 1, 1], vec![1e-6]));
    let op = Conv { weight, bias: None, stride: [1, 1], pads: Pads::default(), dilation: [1, 1], groups: 1 };
    let y = graph.add("conv", Op::Conv(op), &[x]).unwrap();
    let sum = graph.add("sum", Op::Add, &[x, y]).unwrap();
    let both = graph.add("both", Op::Concat { axis: 0 }, &[sum, y, x]).unwrap();
    graph.add_output(both);
    let model = quantized(&graph, &[vec![100.0], vec![-100.0], vec![37.0]]);
    let QuantizedOp::Add { left_shift, .. } = &model.layers[1].op else { panic!() };
    assert_eq!(left_shift, &[6, 0]);
    let input = model.quantize_input(&[37.0]);
    let real = model.dequantize_output(&model.predict(&input));
    assert!((real[0] - 37.0).abs() < 1.0 && real[1].abs() < 1.0 && (real[2] - 37.0).abs() < 1.0, "{real:?}");
}

#[test]
fn crossed_bounds_of_a_clip_give_the_upper_one() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 1, 2]).unwrap();
    let y = graph.add("clip", Op::Clip { min: 1.0, max: -0.5 }, &[x]).unwrap();
    graph.add_output(y);
    let model = quantized(&graph, &[vec![1.0, -1.0]]);
    let real = model.dequantize_output(&model.predict(&model.quantize_input(&[1.0, -1.0])));
    assert_eq!(real, espalier_ir::evaluate_output(&graph, &[&[1.0, -1.0]]));
}
