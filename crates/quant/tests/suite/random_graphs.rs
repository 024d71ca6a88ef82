//! Properties that hold for every network.

use espalier_ir::{LayerSource, Op, array_layers, evaluate, evaluate_output};
use espalier_quant::{
    CalibrationMethod, QuantizeOptions, QuantizedGraph, QuantizedOp, WeightRounding, calibrate, layer_sqnr, quantize,
    to_qdq,
};

use crate::generator::{Case, Random};

const METHODS: [CalibrationMethod; 3] =
    [CalibrationMethod::Range, CalibrationMethod::Percentile(99.9), CalibrationMethod::Mse];

fn quantized(case: &Case, seed: u64) -> QuantizedGraph {
    let method = METHODS[seed as usize % 3];
    let table = calibrate(&case.graph, &mut case.samples(), method).unwrap();
    let weights = if seed.is_multiple_of(2) { WeightRounding::Cover } else { WeightRounding::SquaredError };
    quantize(&case.graph, &table, &QuantizeOptions { weights, fixed: None }).unwrap()
}

#[test]
fn qdq_model_gives_the_same_integers_in_every_layer() {
    let (mut compared, mut long) = (0, 0);
    for seed in 0..400 {
        let case = Case::new(seed);
        let model = quantized(&case, seed);
        let qdq = to_qdq(&model).unwrap();
        qdq.graph.verify().unwrap();
        // Values of functions near a tie are the same here, where one runtime computes both; long sums are not.
        if qdq.warnings.iter().any(|w| !w.message.contains("of a tie")) {
            long += 1;
            continue;
        }
        let mut random = Random(seed);
        for _ in 0..3 {
            let input = random.integers(model.input_elements());
            let real: Vec<f32> = input.iter().map(|q| model.inputs[0].params.dequantize(*q)).collect();
            assert_eq!(model.quantize_input(&real), input);
            let expected = evaluate(&qdq.graph, &[&real]);
            for (index, output) in model.run(&input).iter().enumerate() {
                let integers: Vec<f32> = output.iter().map(|q| f32::from(*q)).collect();
                let layer = &model.layers[index];
                assert_eq!(expected[&qdq.layers[index]], integers, "seed {seed}, layer {index}: {layer:?}");
                assert_eq!(output.len(), layer.output.elements());
                let (low, high) = layer.range();
                assert!(output.iter().all(|q| (low..=high).contains(q)));
                compared += output.len();
            }
        }
    }
    assert!(compared > 500_000 && long <= 4, "only {compared} values, {long} networks beyond floats");
}

#[test]
fn outputs_have_the_values_and_order_of_the_qdq_model() {
    for seed in 0..100 {
        let case = Case::new(seed);
        let model = quantized(&case, seed);
        let qdq = to_qdq(&model).unwrap();
        let sample = &case.samples[0];
        let values = evaluate(&qdq.graph, &[sample]);
        let expected: Vec<f32> = qdq.graph.outputs().iter().flat_map(|o| values[o].clone()).collect();
        let found = model.dequantize_output(&model.predict(&model.quantize_input(sample)));
        assert_eq!(found, expected, "seed {seed}");
        let shapes: Vec<&Vec<usize>> = qdq.graph.outputs().iter().map(|o| &qdq.graph.node(*o).shape).collect();
        let declared: Vec<&Vec<usize>> = case.graph.outputs().iter().map(|o| &case.graph.node(*o).shape).collect();
        assert_eq!(shapes, declared, "seed {seed}");
        let input = |graph: &espalier_ir::Graph| graph.node(graph.inputs()[0]).shape.clone();
        assert_eq!(input(&qdq.graph), input(&case.graph), "seed {seed}");
    }
}

#[test]
fn integer_parameters_stand_for_the_floats() {
    for seed in 0..50 {
        let case = Case::new(seed);
        let qdq = to_qdq(&quantized(&case, seed)).unwrap();
        for (param, name, tensor) in qdq.graph.params() {
            let Some((integers, scales)) = qdq.integers.get(&param) else {
                // Scales are of the first axis; slopes are no weights.
                let transposed = |n| matches!(&qdq.graph.node(n).op, Op::ConvTranspose(c) if c.weight == param);
                let float = name.ends_with(".slope") || qdq.graph.nodes().into_iter().any(transposed);
                assert!(float, "seed {seed}: {name} has no integers");
                continue;
            };
            assert_eq!(integers.shape(), tensor.shape());
            let each = tensor.len() / scales.len();
            let values: Vec<f64> = match integers.data() {
                espalier_ir::TensorData::I8(v) => v.iter().map(|v| f64::from(*v)).collect(),
                espalier_ir::TensorData::I32(v) => v.iter().map(|v| f64::from(*v)).collect(),
                other => panic!("{other:?}"),
            };
            for (i, real) in tensor.as_f32().iter().enumerate() {
                assert_eq!(values[i] * f64::from(scales[i / each]), f64::from(*real), "seed {seed}, {name}[{i}]");
            }
        }
    }
}

#[test]
fn layers_and_constraints_are_those_of_the_specification() {
    let (mut fused, mut gates) = (0, 0);
    for seed in 0..200 {
        let case = Case::new(seed);
        let model = quantized(&case, seed);
        let layers = array_layers(&case.graph).unwrap();
        assert_eq!(layers.len(), model.layers.len());
        for (index, (layer, q)) in layers.iter().zip(&model.layers).enumerate() {
            assert_eq!((&layer.name, &layer.sources, layer.out_shape), (&q.name, &q.sources, q.output.shape));
            assert!(model.accumulator_bits(index) <= 32);
            let source = |i: usize| model.tensor(q.sources[i]).params;
            let output = q.requantized();
            match &q.op {
                QuantizedOp::Conv { weight, weight_exponent, shift, residual, .. } => {
                    assert_eq!(residual.is_some(), layer.residual.is_some());
                    if let Some(residual) = residual {
                        fused += 1;
                        let sum_shift = i32::from(residual.sum_shift());
                        for (o, k) in
                            residual.left_shift.iter().enumerate().filter(|(o, _)| residual.channel(*o).is_some())
                        {
                            assert_eq!(i32::from(*k), source(1).exponent - source(0).exponent - weight_exponent[o]);
                            assert!((sum_shift..=sum_shift + 6).contains(&i32::from(*k)));
                        }
                    }
                    assert!(weight.iter().all(|w| *w >= -127));
                    for (e, s) in weight_exponent.iter().zip(shift) {
                        assert!(*s <= 31);
                        assert_eq!(i32::from(*s), output.exponent - source(0).exponent - e);
                    }
                }
                QuantizedOp::MaxPool { .. } | QuantizedOp::Select { .. } | QuantizedOp::Resize { .. } => {
                    assert_eq!(output, source(0));
                }
                QuantizedOp::Gate { shift } => {
                    gates += 1;
                    assert_eq!([0, 1].map(|i| source(i).zero_point), [0, 0]);
                    let exponent: i32 = [0, 1].map(|i| source(i).exponent).iter().sum();
                    assert_eq!(i32::from(*shift), output.exponent - exponent);
                    assert!(*shift <= 31);
                }
                QuantizedOp::Products { .. } | QuantizedOp::Sequence => panic!("{} is not recurrent", layer.name),
                QuantizedOp::Add { left_shift, shift } => {
                    check_alignment(&model, &q.sources, left_shift, *shift, output.exponent)
                }
                QuantizedOp::Concat { left_shift, shift } => {
                    check_alignment(&model, &q.sources, left_shift, *shift, output.exponent)
                }
            }
            if layer.activation.min == 0.0 {
                assert_eq!(q.clamp.0, output.zero_point);
            }
        }
    }
    assert!(fused >= 20, "only {fused} additions were fused");
    assert!(gates >= 20, "only {gates} gates");
}

fn check_alignment(model: &QuantizedGraph, sources: &[LayerSource], left: &[u8], shift: u8, output: i32) {
    assert_eq!(left.iter().min(), Some(&0));
    assert!(left.iter().all(|l| *l <= 6) && shift <= 31);
    for (source, left) in sources.iter().zip(left) {
        assert_eq!(model.tensor(*source).params.exponent - i32::from(*left), output - i32::from(shift));
    }
}

#[test]
fn quantized_outputs_stay_close_to_float() {
    let mut all = Vec::new();
    for seed in 0..120 {
        let case = Case::new(seed);
        let table = calibrate(&case.graph, &mut case.samples(), CalibrationMethod::Range).unwrap();
        let model = quantize(&case.graph, &table, &QuantizeOptions::default()).unwrap();
        for (index, sqnr) in layer_sqnr(&case.graph, &model, &mut case.samples()).unwrap().into_iter().enumerate() {
            // Least where ReLU leaves almost nothing of a layer's output.
            assert!(sqnr > 5.0, "seed {seed}, layer {index}: {sqnr} dB, {:?}", model.layers[index]);
            all.push(sqnr);
        }
    }
    all.sort_by(f64::total_cmp);
    let quantile = |percent: usize| all[all.len() * percent / 100];
    assert!(quantile(50) > 32.0 && quantile(2) > 18.0, "median {} dB, 2 % {} dB", quantile(50), quantile(2));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let case = Case::new(7);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let table = calibrate(&case.graph, &mut case.samples(), CalibrationMethod::Mse).unwrap();
            let model = quantize(&case.graph, &table, &QuantizeOptions::default()).unwrap();
            let sqnr = layer_sqnr(&case.graph, &model, &mut case.samples()).unwrap();
            (table, model, sqnr)
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn fixed_exponents_reproduce_the_model() {
    for seed in 0..60 {
        let case = Case::new(seed);
        let model = quantized(&case, seed);
        let table = calibrate(&case.graph, &mut case.samples().take(1), CalibrationMethod::Mse).unwrap();
        let options = QuantizeOptions { fixed: Some(model.exponents()), ..Default::default() };
        assert_eq!(quantize(&case.graph, &table, &options).unwrap(), model, "seed {seed}");
    }
}

#[test]
fn folding_changes_neither_layers_nor_function() {
    for seed in 0..150 {
        let case = Case::new(seed);
        let folded = espalier_quant::fold_batch_norm(&case.graph);
        folded.verify().unwrap();
        for sample in &case.samples[..2] {
            let (a, b) = (evaluate_output(&case.graph, &[sample]), evaluate_output(&folded, &[sample]));
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "seed {seed}: {a} and {b}");
            }
        }
    }
}
