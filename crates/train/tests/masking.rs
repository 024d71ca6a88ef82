//! Masks that change during the training: growth back, exact zeros, the last choice stays.

mod common;

use common::{ConvOptions, Data, Net, bars, pads, small_cnn};
use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, ParamId, Tensor, TensorMap};
use espalier_train::{
    Backend, Execution, FakeQuant, FineTuned, FineTuning, Hooks, Masking, Remasking, TrainConfig, WeightQuant,
    evaluate, fine_tune, fine_tune_with,
};

fn config(masking: Masking) -> TrainConfig {
    let execution = Execution { threads: 2, ..Default::default() };
    TrainConfig { epochs: 4, batch_size: 32, learning_rate: 0.05, masking, execution, ..Default::default() }
}

fn weights(graph: &Graph) -> Vec<ParamId> {
    graph.params().filter(|(_, _, t)| t.shape().len() > 1).map(|(id, ..)| id).collect()
}

/// Keeps this share of each weight, by magnitude.
fn largest(graph: &Graph, share: f64) -> TensorMap {
    let mask = |id: ParamId| {
        let tensor = graph.param(id);
        let mut order: Vec<f32> = tensor.as_f32().iter().map(|w| w.abs()).collect();
        order.sort_by(f32::total_cmp);
        let limit = order[((1.0 - share) * (order.len() - 1) as f64).round() as usize];
        let kept = tensor.as_f32().iter().map(|w| f32::from(u8::from(w.abs() >= limit))).collect();
        (id, Tensor::f32(tensor.shape(), kept))
    };
    weights(graph).into_iter().map(mask).collect()
}

/// Masks that keep the worst: a choice that training has to undo.
fn smallest(graph: &Graph, share: f64) -> TensorMap {
    let mut masks = largest(graph, 1.0 - share);
    masks.values_mut().flat_map(|m| m.as_f32_mut()).for_each(|m| *m = 1.0 - *m);
    masks
}

fn zeros_where_masked(tuned: &FineTuned) {
    for (id, mask) in &tuned.masks {
        for (w, m) in tuned.graph.param(*id).as_f32().iter().zip(mask.as_f32()) {
            assert_eq!(*w == 0.0, *m == 0.0);
        }
    }
}

fn run(
    task: &FineTuning<'_>,
    config: &TrainConfig,
    remask: &mut dyn FnMut(&Remasking<'_>) -> Result<TensorMap, Diagnostics>,
) -> Result<FineTuned, Diagnostics> {
    fine_tune_with(task, config, None, Hooks { progress: &mut |_| Ok(()), remask: Some(remask), checkpoint: None })
}

fn task<'a>(graph: &'a Graph, masks: &'a TensorMap, data: &'a Data) -> FineTuning<'a> {
    FineTuning { graph, masks, train: data.samples(), validation: None, quantization: None }
}

#[test]
fn pruned_weights_come_back_and_training_ends_with_exact_zeros() {
    let (graph, data, test) = (small_cnn(31, 4, true), bars(31, 640), bars(32, 300));
    let start = smallest(&graph, 0.3);
    let task = task(&graph, &start, &data);
    let config = config(Masking::Feedback { every_steps: 5, until_fraction: 0.5 });
    let mut seen = Vec::new();
    let tuned = run(&task, &config, &mut |r| {
        seen.push((r.step, r.steps, r.last));
        Ok(largest(r.graph, 0.3))
    })
    .unwrap();
    // 20 steps an epoch: the last choice after step 40, then nothing changes.
    let expected: Vec<_> = (1..=8).map(|i| (5 * i, 80, i == 8)).collect();
    assert_eq!(seen, expected);
    zeros_where_masked(&tuned);
    let back = start.iter().map(|(id, m)| {
        m.as_f32().iter().zip(tuned.masks[id].as_f32()).filter(|(old, new)| **old == 0.0 && **new == 1.0).count()
    });
    assert!(back.sum::<usize>() > 20);
    let accuracy = |g| evaluate(g, &test.samples(), None, config.execution).unwrap().fraction();
    let fixed = TrainConfig { masking: Masking::Fixed, ..config.clone() };
    let stuck = fine_tune(&task, &fixed, &mut |_| Ok(())).unwrap();
    assert_eq!(stuck.masks, start);
    assert!(accuracy(&tuned.graph) >= accuracy(&stuck.graph), "{} {}", accuracy(&tuned.graph), accuracy(&stuck.graph));
    assert!(accuracy(&tuned.graph) > 0.95, "{}", accuracy(&tuned.graph));
}

#[test]
fn values_under_the_masks_move_by_the_gradients_taken_there() {
    let (graph, data) = (small_cnn(33, 4, false), bars(33, 32));
    let masks = smallest(&graph, 0.5);
    let task = task(&graph, &masks, &data);
    let optimizer = espalier_train::Optimizer::Sgd { momentum: 0.0 };
    let masking = Masking::Feedback { every_steps: 1, until_fraction: 1.0 };
    let config = TrainConfig {
        epochs: 1,
        optimizer,
        weight_decay: 0.0,
        gradient_clip: None,
        learning_rate: 0.1,
        schedule: espalier_train::Schedule::Constant,
        ..config(masking)
    };
    let mut checked = 0;
    run(&task, &config, &mut |r| {
        let gradients = r.gradients.expect("there was a batch");
        for id in weights(&graph) {
            let (old, new, g) = (graph.param(id).as_f32(), r.graph.param(id).as_f32(), gradients[&id].as_f32());
            for i in 0..old.len() {
                assert!((old[i] - 0.1 * g[i] - new[i]).abs() < 1e-6);
                checked += usize::from(masks[&id].as_f32()[i] == 0.0 && g[i] != 0.0);
            }
        }
        // Taken at the masked weights: the same as the gradient of the masked graph.
        let mut masked = graph.clone();
        for (id, mask) in &masks {
            let product = graph.param(*id).as_f32().iter().zip(mask.as_f32()).map(|(w, m)| w * m).collect();
            masked.set_param(*id, Tensor::f32(mask.shape(), product));
        }
        let there = espalier_train::gradients(&masked, &data.samples(), config.execution).unwrap();
        for id in weights(&graph) {
            for (a, b) in gradients[&id].as_f32().iter().zip(there[&id].as_f32()) {
                assert!((a - b).abs() < 1e-5);
            }
        }
        Ok(masks.clone())
    })
    .unwrap();
    assert!(checked > 50);
}

#[test]
fn the_result_depends_on_nothing_but_the_seed() {
    let (graph, data, validation) = (small_cnn(34, 4, true), bars(34, 200), bars(35, 100));
    let masks = smallest(&graph, 0.4);
    let masking = Masking::Feedback { every_steps: 3, until_fraction: 0.7 };
    let go = |threads| {
        let validation = Some(validation.samples());
        let task = FineTuning { validation, ..task(&graph, &masks, &data) };
        let config = TrainConfig { execution: Execution { threads, ..Default::default() }, ..config(masking) };
        // Gradual sparsity: the budget shrinks with the progress.
        run(&task, &config, &mut |r| Ok(largest(r.graph, 1.0 - 0.6 * r.step as f64 / r.steps as f64))).unwrap()
    };
    let (one, two) = (go(1), go(2));
    assert_eq!(one.masks, two.masks);
    let values = |g: &Graph| g.params().map(|(_, _, t)| t.clone()).collect::<Vec<_>>();
    assert_eq!(values(&one.graph), values(&two.graph));
    // 28 steps, masks change until step 20: only the epochs from the third on compete.
    assert!(one.best_epoch >= 3, "{}", one.best_epoch);
    zeros_where_masked(&one);
}

#[test]
fn masks_hold_under_quantization_too() {
    let (graph, data) = (small_cnn(36, 4, false), bars(36, 320));
    let conv: NodeId = graph.nodes().into_iter().find(|n| matches!(graph.node(*n).op, Op::Conv(_))).unwrap();
    let quantization = FakeQuant {
        weights: [(conv, WeightQuant { exponents: vec![-4; 6], input_exponent: None })].into(),
        ..Default::default()
    };
    let masks = largest(&graph, 0.5);
    let task = FineTuning { quantization: Some(&quantization), ..task(&graph, &masks, &data) };
    let fixed = fine_tune(&task, &config(Masking::Fixed), &mut |_| Ok(())).unwrap();
    assert_eq!(fixed.masks, masks);
    zeros_where_masked(&fixed);
    let feedback = config(Masking::Feedback { every_steps: 4, until_fraction: 0.6 });
    let dynamic = run(&task, &feedback, &mut |r| Ok(largest(r.graph, 0.5))).unwrap();
    zeros_where_masked(&dynamic);
    // A later choice differs from the first, or nothing was learned under the masks.
    assert_ne!(dynamic.masks, masks);
}

#[test]
fn choices_that_do_not_fit_stop_the_training() {
    let (graph, data) = (small_cnn(37, 4, false), bars(37, 64));
    let masks = TensorMap::new();
    let task = task(&graph, &masks, &data);
    let feedback = config(Masking::Feedback { every_steps: 1, until_fraction: 1.0 });
    let code = |result: Result<FineTuned, Diagnostics>| result.unwrap_err().iter().next().unwrap().code;
    assert_eq!(code(fine_tune(&task, &feedback, &mut |_| Ok(()))), "bad-training-option");
    let halves = |id: ParamId| (id, Tensor::f32(graph.param(id).shape(), vec![0.5; graph.param(id).len()]));
    assert_eq!(code(run(&task, &feedback, &mut |_| Ok(weights(&graph).into_iter().map(halves).collect()))), "bad-mask");
    let stop = &mut |_: &Remasking<'_>| Err(Diagnostic::error("no-budget", "", "nothing fits").into());
    assert_eq!(code(run(&task, &feedback, stop)), "no-budget");
    let never = config(Masking::Feedback { every_steps: 0, until_fraction: 2.0 });
    assert_eq!(run(&task, &never, &mut |_| Ok(TensorMap::new())).unwrap_err().iter().count(), 2);
    // Only the first choice, before the first step.
    let at_once = config(Masking::Feedback { every_steps: 1, until_fraction: 0.0 });
    let mut calls = 0;
    let tuned = run(&task, &at_once, &mut |r| {
        calls += 1;
        assert!(r.last && r.gradients.is_none());
        Ok(largest(r.graph, 0.5))
    })
    .unwrap();
    assert_eq!((calls, tuned.masks), (1, largest(&graph, 0.5)));
}

/// Our kernels leave out what is pruned: whole vectors in wide layers with ragged ends, groups, single weights.
#[test]
fn pruned_networks_train_as_in_burn() {
    let (mut net, x) = Net::new(38, &[1, 8, 8]);
    let same = ConvOptions { pads: pads(1, 1, 1, 1), ..Default::default() };
    let x = net.conv(x, 27, [3, 3], same);
    let x = net.add(Op::Relu, &[x]);
    let x = net.conv(x, 10, [3, 3], ConvOptions { stride: [2, 2], ..same });
    let x = net.add(Op::Relu, &[x]);
    let x = net.conv(x, 14, [3, 3], ConvOptions { groups: 2, ..same });
    let x = net.add(Op::Flatten, &[x]);
    let x = net.gemm(x, 4);
    let graph = net.finish(x);
    let data = bars(38, 80);
    // Of three vectors of eight outputs two go, and a third of the weights of the last.
    let mask = |id: ParamId| {
        let shape = graph.param(id).shape();
        let rest: usize = shape[1..].iter().product();
        let keep = |i: usize| match i / rest / 8 * rest + i % rest {
            vector if vector % 3 < 2 => 0.0,
            _ => f32::from(u8::from(!i.is_multiple_of(3))),
        };
        (id, Tensor::f32(shape, (0..graph.param(id).len()).map(keep).collect()))
    };
    let masks: TensorMap = weights(&graph).into_iter().map(mask).collect();
    let values = |backend| {
        let execution = Execution { backend, threads: 2 };
        let config = TrainConfig { epochs: 2, execution, ..config(Masking::Fixed) };
        let tuned = fine_tune(&task(&graph, &masks, &data), &config, &mut |_| Ok(())).unwrap();
        for (id, mask) in &masks {
            assert!(tuned.graph.param(*id).as_f32().iter().zip(mask.as_f32()).all(|(w, m)| *m != 0.0 || *w == 0.0));
        }
        tuned.graph.params().flat_map(|(_, _, t)| t.as_f32().to_vec()).collect::<Vec<f32>>()
    };
    let (native, burn) = (values(Backend::Native), values(Backend::Flex));
    for (a, b) in native.iter().zip(&burn) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    let start: Vec<f32> = graph.params().flat_map(|(_, _, t)| t.as_f32().to_vec()).collect();
    let moved = start.iter().zip(&native).filter(|(a, b)| **b != 0.0 && a != b).count();
    assert!(moved > 500, "{moved}");
}
