//! Findings about what a user may give.

use espalier_ir::{Cell, Diagnostics, Graph, Op, Recurrent, Tensor};
use espalier_quant::{CalibrationMethod, CalibrationTable, QuantizeOptions, calibrate, quantize, to_qdq};

fn network(softmax_inside: bool) -> Graph {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[2]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([2, 2], vec![1.0, 0.5, -0.5, 0.25]));
    let y = graph.add("fc", Op::Gemm { weight, bias: None }, &[x]).unwrap();
    let z = graph.add("softmax", Op::Softmax { axis: 0 }, &[y]).unwrap();
    graph.add_output(z);
    if softmax_inside {
        graph.add_output(y);
    }
    graph
}

fn table(graph: &Graph, samples: &[&[f32]]) -> Result<CalibrationTable, Diagnostics> {
    calibrate(graph, &mut samples.iter().copied(), CalibrationMethod::Range)
}

fn codes<T>(result: Result<T, Diagnostics>) -> Vec<&'static str> {
    result.err().map_or(Vec::new(), |d| d.iter().map(|d| d.code).collect())
}

#[test]
fn calibration_data_is_checked() {
    let graph = network(false);
    assert_eq!(codes(table(&graph, &[])), ["no-calibration-data"]);
    assert_eq!(codes(table(&graph, &[&[1.0, 2.0], &[1.0]])), ["sample-size"]);
    assert_eq!(codes(table(&graph, &[&[1.0, f32::NAN]])), ["non-finite-value", "non-finite-value"]);
    let percentile = |p| calibrate(&graph, &mut [[1.0, 2.0].as_slice()].into_iter(), CalibrationMethod::Percentile(p));
    for p in [50.0, 100.1, f32::NAN] {
        assert_eq!(codes(percentile(p)), ["calibration-percentile"]);
    }
    percentile(100.0).unwrap();
}

#[test]
fn a_table_of_another_graph_is_refused() {
    let graph = network(false);
    let observed = table(&graph, &[&[1.0, 2.0]]).unwrap();
    let mut other = network(false);
    let last = other.operands(other.outputs()[0])[0];
    let relu = other.add("relu", Op::Relu, &[last]).unwrap();
    let fc = other.node(last).op.clone();
    let more = other.add("more", fc, &[relu]).unwrap();
    other.add_output(more);
    assert_eq!(codes(quantize(&other, &observed, &QuantizeOptions::default())), ["stale-calibration"]);
    let model = quantize(&graph, &observed, &QuantizeOptions::default()).unwrap();
    let mut fixed = model.exponents();
    fixed.weights[0].pop();
    let options = QuantizeOptions { fixed: Some(fixed), ..Default::default() };
    assert_eq!(codes(quantize(&graph, &observed, &options)), ["stale-calibration"]);
    let mut fixed = model.exponents();
    fixed.weights[0][1] = -90;
    let options = QuantizeOptions { fixed: Some(fixed), ..Default::default() };
    assert_eq!(codes(quantize(&graph, &observed, &options)), ["accumulator-range"]);
}

#[test]
fn softmax_is_for_all_outputs_or_none() {
    let graph = network(true);
    let observed = table(&graph, &[&[1.0, 2.0]]).unwrap();
    let options = QuantizeOptions::default();
    assert_eq!(codes(quantize(&graph, &observed, &options)), ["softmax-placement"]);
    let graph = network(false);
    let model = quantize(&graph, &observed, &options).unwrap();
    assert!(model.softmax);
    let q = model.predict(&model.quantize_input(&[1.0, 2.0]));
    let real = model.dequantize_output(&q);
    assert!((real.iter().sum::<f32>() - 1.0).abs() < 1e-6 && real[0] > real[1]);
}

#[test]
fn damaged_weights_are_named() {
    let mut graph = network(false);
    let observed = table(&graph, &[&[1.0, 2.0]]).unwrap();
    let weight = graph.params().next().unwrap().0;
    graph.set_param(weight, Tensor::f32([2, 2], vec![1.0, f32::INFINITY, 0.0, 0.0]));
    assert_eq!(codes(quantize(&graph, &observed, &QuantizeOptions::default())), ["non-finite-weight"]);
    // Values that no exponent reaches.
    graph.set_param(weight, Tensor::f32([2, 2], vec![1e30; 4]));
    let observed = table(&graph, &[&[1.0, 2.0]]).unwrap();
    assert_eq!(codes(quantize(&graph, &observed, &QuantizeOptions::default())), ["exponent-range"]);
}

#[test]
fn evaluation_checks_its_data() {
    let graph = network(false);
    let observed = table(&graph, &[&[1.0, 2.0], &[-1.0, 1.0]]).unwrap();
    let model = quantize(&graph, &observed, &QuantizeOptions::default()).unwrap();
    let interpreter = espalier_quant::ReferenceInterpreter::new(&model);
    assert_eq!(interpreter.evaluate(&[1.0, 2.0, -1.0, 1.0], &[0, 1]).unwrap(), 2);
    assert_eq!(interpreter.evaluate(&[1.0, 2.0, 3.0], &[0, 1]).unwrap_err().code, "sample-size");
    assert_eq!(interpreter.evaluate(&[1.0, 2.0], &[2]).unwrap_err().code, "sample-size");
}

#[test]
fn recurrent_networks_have_no_qdq_form() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[2, 1, 3]).unwrap();
    let mut param = |shape: [usize; 2]| graph.add_param("w", Tensor::f32(shape, vec![0.5; shape[0] * shape[1]]));
    let (weight, recurrence) = (param([8, 2]), param([8, 2]));
    let lstm = Recurrent { cell: Cell::Lstm, reverse: false, weight, recurrence, bias: None };
    let y = graph.add("lstm", Op::Recurrent(lstm), &[x]).unwrap();
    graph.add_output(y);
    let observed = table(&graph, &[&[1.0; 6]]).unwrap();
    let model = quantize(&graph, &observed, &QuantizeOptions::default()).unwrap();
    let refused = to_qdq(&model).unwrap_err();
    assert_eq!((refused.code, refused.at.as_str()), ("no-qdq-form", "layer 'lstm_t0_c'"));
    let other = table(&network(false), &[&[1.0, 2.0]]).unwrap();
    assert_eq!(codes(quantize(&graph, &other, &QuantizeOptions::default())), ["stale-calibration"]);
}
