//! LSTM and GRU: the values of `ir::evaluate`, gradients as finite differences, and learning.

mod common;

use common::{Data, Net, Random};
use espalier_ir::{Cell, Graph, NodeId, Op, Recurrent, TensorMap, evaluate_output};
use espalier_train::{
    Backend, Execution, FineTuning, Optimizer, Samples, TrainConfig, evaluate, fine_tune, gradients, logits,
};

const EXECUTION: Execution = Execution { backend: Backend::Flex, threads: 2 };

const CELLS: [Cell; 3] =
    [Cell::Lstm, Cell::Gru { linear_before_reset: false }, Cell::Gru { linear_before_reset: true }];

fn layer(net: &mut Net, x: NodeId, cell: Cell, hidden: usize, reverse: bool, biased: bool) -> NodeId {
    let (features, rows) = (net.shape(x)[0], cell.gates() * hidden);
    let weight = net.param(&[rows, features], 0.8, 0.0);
    let recurrence = net.param(&[rows, hidden], 0.8, 0.0);
    let bias = biased.then(|| [net.param(&[rows], 0.3, 0.0), net.param(&[rows], 0.3, 0.1)]);
    net.add(Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias }), &[x])
}

/// Samples `[time, features]` through a bidirectional layer and one on top, to `classes`.
fn network(seed: u64, cell: Cell, shape: &[usize], hidden: usize, classes: usize, biased: bool) -> Graph {
    let (mut net, x) = Net::new(seed, shape);
    let x = net.add(Op::Transpose { axes: vec![1, 0] }, &[x]);
    let directions = [false, true].map(|reverse| layer(&mut net, x, cell, hidden, reverse, biased));
    let both = net.add(Op::Concat { axis: 0 }, &directions);
    let top = layer(&mut net, both, cell, hidden, false, biased);
    let last = net.add(Op::TimeStep { step: shape[0] - 1 }, &[top]);
    let end = net.gemm(last, classes);
    net.finish(end)
}

#[test]
fn walks_give_the_values_of_the_reference() {
    for (seed, cell) in CELLS.into_iter().enumerate() {
        for biased in [true, false] {
            let graph = network(seed as u64, cell, &[6, 3], 4, 5, biased);
            let inputs = Random(seed as u64).values(3 * 18);
            let reference: Vec<f32> = inputs.chunks(18).flat_map(|x| evaluate_output(&graph, &[x])).collect();
            for backend in [Backend::Flex, Backend::Ndarray] {
                let ours = logits(&graph, &inputs, None, Execution { backend, threads: 1 }).unwrap();
                assert_eq!(ours.len(), reference.len());
                for (a, b) in ours.iter().zip(&reference) {
                    assert!((a - b).abs() < 1e-5, "{cell:?}, {backend:?}: {a} is not {b}");
                }
            }
        }
    }
}

#[test]
fn sequences_from_maps_and_means_over_time() {
    for axes in [vec![0, 1, 2], vec![0, 2, 1], vec![2, 1, 0], vec![1, 2, 0]] {
        let (mut net, x) = Net::new(5, &[2, 3, 4]);
        let x = net.add(Op::Transpose { axes: axes.clone() }, &[x]);
        let x = layer(&mut net, x, Cell::Lstm, 3, true, true);
        let first = net.add(Op::TimeStep { step: 0 }, &[x]);
        let mean = net.add(Op::GlobalAveragePool, &[x]);
        let mean = net.add(Op::Flatten, &[mean]);
        let both = net.add(Op::Concat { axis: 0 }, &[first, mean]);
        let graph = net.finish(both);
        let inputs = Random(1).values(24);
        let ours = logits(&graph, &inputs, None, EXECUTION).unwrap();
        for (a, b) in ours.iter().zip(evaluate_output(&graph, &[&inputs])) {
            assert!((a - b).abs() < 1e-5, "{axes:?}: {a} is not {b}");
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    for (seed, cell) in CELLS.into_iter().enumerate() {
        let graph = network(seed as u64, cell, &[4, 2], 3, 3, true);
        let inputs = Random(7).values(5 * 8);
        let samples = Samples { inputs: &inputs, labels: &[0, 1, 2, 0, 1], sample_len: 8 };
        let computed = gradients(&graph, &samples, EXECUTION).unwrap();
        // W, R and two biases of three layers, weight and bias of the Gemm.
        assert_eq!(computed.len(), 14, "{cell:?}");
        let loss = |graph: &Graph| evaluate(graph, &samples, None, EXECUTION).unwrap().loss;
        for (id, gradient) in &computed {
            assert!(gradient.as_f32().iter().any(|g| g.abs() > 1e-5), "{cell:?}: no gradient of {id:?}");
            for i in (0..gradient.len()).step_by(1 + gradient.len() / 6) {
                let shifted = |by: f32| {
                    let mut graph = graph.clone();
                    let mut tensor = graph.param(*id).clone();
                    tensor.as_f32_mut()[i] += by;
                    graph.set_param(*id, tensor);
                    loss(&graph)
                };
                let difference = (shifted(0.01) - shifted(-0.01)) / 0.02;
                let exact = f64::from(gradient.as_f32()[i]);
                assert!((difference - exact).abs() < 2e-4, "{cell:?}, {id:?}[{i}]: {exact}, not {difference}");
            }
        }
    }
}

/// 12 steps of noise with a mark in feature 0 at the first step: its sign is the class, so it has to be remembered.
fn remembered(seed: u64, n: usize) -> Data {
    let mut random = Random(seed);
    let mut data = Data { inputs: Vec::new(), labels: Vec::new(), sample_len: 24 };
    for _ in 0..n {
        let label = random.below(2);
        let mut sample: Vec<f32> = random.values(24).into_iter().map(|v| 0.3 * v).collect();
        sample[0] = if label == 0 { -1.0 } else { 1.0 };
        data.inputs.extend(sample);
        data.labels.push(label as u32);
    }
    data
}

#[test]
fn both_cells_learn_to_remember() {
    let (train, test) = (remembered(1, 400), remembered(2, 200));
    for cell in [CELLS[0], CELLS[2]] {
        let (mut net, x) = Net::new(3, &[12, 2]);
        let x = net.add(Op::Transpose { axes: vec![1, 0] }, &[x]);
        let x = layer(&mut net, x, cell, 8, false, true);
        let x = net.add(Op::TimeStep { step: 11 }, &[x]);
        let x = net.gemm(x, 2);
        let mut graph = net.finish(x);
        if cell == Cell::Lstm {
            // Forget gates start open (Jozefowicz et al. 2015), or nothing is left after 12 steps.
            let bias = graph.params().find(|p| p.2.shape() == [32]).unwrap().0;
            let mut tensor = graph.param(bias).clone();
            tensor.as_f32_mut()[16..24].iter_mut().for_each(|b| *b += 2.0);
            graph.set_param(bias, tensor);
        }
        let config = TrainConfig {
            epochs: 15,
            batch_size: 32,
            optimizer: Optimizer::Adam,
            learning_rate: 0.02,
            execution: EXECUTION,
            ..Default::default()
        };
        let masks = TensorMap::new();
        let task =
            FineTuning { graph: &graph, masks: &masks, train: train.samples(), validation: None, quantization: None };
        let run = || fine_tune(&task, &config, &mut |_| Ok(())).unwrap();
        let trained = run();
        let accuracy = evaluate(&trained.graph, &test.samples(), None, EXECUTION).unwrap();
        assert!(accuracy.fraction() > 0.97, "{cell:?}: {accuracy:?}");
        assert!(run().graph.params().eq(trained.graph.params()), "the same seed gives the same weights");
    }
}
