//! Regularized training: each term against its formula after one step, exact zeros, masks, refusals.

mod common;

use common::{Data, bars, small_cnn};
use espalier_ir::{Diagnostic, Graph, Op, ParamId, Tensor, TensorMap};
use espalier_train::{
    Backend, Execution, FineTuning, Optimizer, ParamSlices, Progress, Regularization, TrainConfig, evaluate, fine_tune,
};

const RATE: f64 = 0.1;
const EXECUTION: Execution = Execution { backend: Backend::Flex, threads: 2 };

fn quiet(_: &Progress) -> Result<(), Diagnostic> {
    Ok(())
}

/// Plain gradient descent: what a step of rate 0.1 on the whole data makes of the graph.
fn one_step(graph: &Graph, data: &Data, masks: &TensorMap, regularization: Option<Regularization>) -> Graph {
    let config = TrainConfig {
        epochs: 1,
        batch_size: data.labels.len(),
        learning_rate: RATE,
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        weight_decay: 0.0,
        gradient_clip: None,
        regularization,
        execution: EXECUTION,
        ..Default::default()
    };
    let task = FineTuning { graph, masks, train: data.samples(), validation: None, quantization: None };
    fine_tune(&task, &config, &mut quiet).unwrap().graph
}

fn weights(graph: &Graph) -> Vec<ParamId> {
    let weight = |id| match &graph.node(id).op {
        Op::Conv(conv) => Some(conv.weight),
        Op::Gemm { weight, .. } => Some(*weight),
        _ => None,
    };
    graph.nodes().into_iter().filter_map(weight).collect()
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

#[test]
fn l1_is_a_soft_threshold_of_weights_and_of_nothing_else() {
    let (graph, data) = (small_cnn(1, 4, true), bars(1, 40));
    let masks = TensorMap::new();
    let plain = one_step(&graph, &data, &masks, None);
    let sparse = one_step(&graph, &data, &masks, Some(Regularization { l1: 2.0, ..Default::default() }));
    let mut zeros = 0;
    for (id, _, tensor) in plain.params() {
        let (before, after) = (tensor.as_f32(), sparse.param(id).as_f32());
        if weights(&graph).contains(&id) {
            let threshold = 2.0 * RATE as f32;
            let expected: Vec<f32> = before.iter().map(|w| w.signum() * (w.abs() - threshold).max(0.0)).collect();
            close(after, &expected);
            zeros += after.iter().filter(|w| **w == 0.0).count();
        } else {
            assert_eq!(before, after);
        }
    }
    assert!(zeros > 10, "exact zeros: {zeros}");
}

#[test]
fn the_power_enters_the_gradient_and_is_bounded_at_zero() {
    let (mut graph, data) = (small_cnn(2, 4, false), bars(2, 40));
    // A weight that is exactly zero feels no force.
    let first = weights(&graph)[0];
    let mut tensor = graph.param(first).clone();
    tensor.as_f32_mut()[0] = 0.0;
    graph.set_param(first, tensor);
    let masks = TensorMap::new();
    let plain = one_step(&graph, &data, &masks, None);
    let (lp, power, smoothing) = (0.3f32, 0.5f32, 1e-4f32);
    let options = Regularization { lp, power, smoothing, ..Default::default() };
    let pulled = one_step(&graph, &data, &masks, Some(options));
    for id in weights(&graph) {
        let start = graph.param(id).as_f32();
        let expected: Vec<f32> = (plain.param(id).as_f32().iter().zip(start))
            .map(|(after, w)| after - RATE as f32 * lp * power * w * (w * w + smoothing).powf(power / 2.0 - 1.0))
            .collect();
        close(pulled.param(id).as_f32(), &expected);
    }
    assert!((pulled.param(first).as_f32()[0] - plain.param(first).as_f32()[0]).abs() < 1e-6);
}

/// Row 0 and column 1 of the last weight, which share an element; and the first filter of the first one.
fn groups(graph: &Graph) -> Vec<Vec<ParamSlices>> {
    let [first, last] = weights(graph)[..] else { panic!("two layers") };
    let slice = |param, axis, index| ParamSlices { param, axis, indices: vec![index] };
    vec![vec![slice(last, 0, 0), slice(last, 1, 1)], vec![slice(first, 0, 0)]]
}

#[test]
fn group_lasso_shrinks_groups_as_wholes_and_counts_every_element_once() {
    let (graph, data) = (small_cnn(3, 4, true), bars(3, 40));
    let [first, last] = weights(&graph)[..] else { panic!("two layers") };
    let mut mask = vec![1.0; graph.param(first).len()];
    mask[0] = 0.0;
    let masks = TensorMap::from([(first, Tensor::f32(graph.param(first).shape(), mask))]);
    let plain = one_step(&graph, &data, &masks, None);
    let strength = 0.5f32;
    let options = Regularization { group_lasso: strength, groups: groups(&graph), ..Default::default() };
    let shrunk = one_step(&graph, &data, &masks, Some(options));
    let columns = graph.param(last).shape()[1];
    let in_group = [
        (last, Box::new(move |i: usize| i / columns == 0 || i % columns == 1) as Box<dyn Fn(usize) -> bool>),
        (first, Box::new(|i: usize| i < 9)),
    ];
    for (param, member) in in_group {
        let before = plain.param(param).as_f32();
        let elements: Vec<f32> = before.iter().enumerate().filter(|(i, _)| member(*i)).map(|(_, w)| *w).collect();
        let norm = elements.iter().map(|w| w * w).sum::<f32>().sqrt();
        let factor = (1.0 - RATE as f32 * strength * (elements.len() as f32).sqrt() / norm).max(0.0);
        assert!(factor > 0.0 && factor < 0.99, "the case should tell something: {factor}");
        let expected: Vec<f32> =
            before.iter().enumerate().map(|(i, w)| if member(i) { w * factor } else { *w }).collect();
        close(shrunk.param(param).as_f32(), &expected);
    }
    assert_eq!(shrunk.param(first).as_f32()[0], 0.0, "masks hold");
}

#[test]
fn single_elements_form_groups_as_slices_do() {
    let (graph, data) = (small_cnn(3, 4, true), bars(3, 40));
    let first = weights(&graph)[0];
    let shrunk = |groups, elements| {
        let options = Regularization { group_lasso: 0.5, groups, elements, ..Default::default() };
        one_step(&graph, &data, &TensorMap::new(), Some(options)).param(first).clone()
    };
    let slices = shrunk(vec![vec![ParamSlices { param: first, axis: 0, indices: vec![1] }]], Vec::new());
    assert_eq!(shrunk(Vec::new(), vec![(first, (9..18).collect())]), slices);
    assert_ne!(shrunk(Vec::new(), vec![(first, (9..17).collect())]), slices);
}

#[test]
fn a_strong_group_lasso_empties_filters_while_the_network_learns() {
    let (graph, data, test) = (small_cnn(4, 4, false), bars(4, 800), bars(5, 200));
    let first = weights(&graph)[0];
    let filters = graph.param(first).shape()[0];
    let row = |c| vec![ParamSlices { param: first, axis: 0, indices: vec![c] }];
    let regularization =
        Regularization { group_lasso: 0.15, groups: (0..filters).map(row).collect(), ..Default::default() };
    let config = TrainConfig {
        epochs: 6,
        batch_size: 20,
        learning_rate: 0.05,
        regularization: Some(regularization),
        execution: EXECUTION,
        ..Default::default()
    };
    let masks = TensorMap::new();
    let task = FineTuning { graph: &graph, masks: &masks, train: data.samples(), validation: None, quantization: None };
    let tuned = fine_tune(&task, &config, &mut quiet).unwrap().graph;
    let values = tuned.param(first).as_f32();
    let empty = values.chunks(values.len() / filters).filter(|f| f.iter().all(|w| *w == 0.0)).count();
    let accuracy = evaluate(&tuned, &test.samples(), None, EXECUTION).unwrap().fraction();
    assert!(empty >= 1 && empty < filters, "{empty} of {filters} filters are empty");
    assert!(accuracy > 0.9, "{accuracy}");
}

#[test]
fn what_makes_no_sense_is_refused_all_at_once() {
    let (graph, data) = (small_cnn(6, 4, true), bars(6, 8));
    let statistics = graph
        .nodes()
        .into_iter()
        .find_map(|id| match graph.node(id).op {
            Op::BatchNorm { mean, .. } => Some(mean),
            _ => None,
        })
        .unwrap();
    let slice = |param, axis, index| vec![ParamSlices { param, axis, indices: vec![index] }];
    let weight = weights(&graph)[0];
    let regularization = Regularization {
        l1: -1.0,
        lp: f32::NAN,
        power: 1.5,
        smoothing: 0.0,
        group_lasso: f32::INFINITY,
        groups: vec![slice(statistics, 0, 0), slice(weight, 7, 0), slice(weight, 0, 99)],
        elements: vec![(statistics, vec![0]), (weight, vec![0, 1 << 20]), (weight, vec![1, 1])],
    };
    let config = TrainConfig { regularization: Some(regularization), execution: EXECUTION, ..Default::default() };
    let masks = TensorMap::new();
    let task = FineTuning { graph: &graph, masks: &masks, train: data.samples(), validation: None, quantization: None };
    let text = fine_tune(&task, &config, &mut quiet).unwrap_err().to_string();
    for place in ["l1", "lp", "power", "smoothing", "group_lasso"] {
        assert!(text.contains(&format!("regularization.{place}")), "{place} in {text}");
    }
    for group in 0..3 {
        assert!(text.contains(&format!("regularization.groups[{group}]")), "{group} in {text}");
        assert!(text.contains(&format!("regularization.elements[{group}]")), "{group} in {text}");
    }
}
