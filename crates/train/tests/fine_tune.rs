//! Training: it learns, keeps masks, is reproducible, and stops when told or when it diverges.

mod common;

use common::{Data, bars, small_cnn};
use espalier_ir::{Diagnostic, Graph, Op, Tensor, TensorMap};
use espalier_train::{
    Backend, Distillation, Execution, FineTuned, FineTuning, Optimizer, Progress, Schedule, TrainConfig, evaluate,
    fine_tune, recalibrate_batch_norm,
};

fn config() -> TrainConfig {
    let execution = Execution { backend: Backend::Native, threads: 2 };
    TrainConfig { epochs: 4, batch_size: 32, learning_rate: 0.05, execution, ..Default::default() }
}

fn task<'a>(graph: &'a Graph, masks: &'a TensorMap, train: &'a Data) -> FineTuning<'a> {
    FineTuning { graph, masks, train: train.samples(), validation: None, quantization: None }
}

fn quiet(_: &Progress) -> Result<(), Diagnostic> {
    Ok(())
}

fn losses(tuned: &FineTuned) -> Vec<f64> {
    tuned.epochs.iter().map(|e| e.train.loss).collect()
}

fn params(graph: &Graph) -> Vec<Vec<f32>> {
    graph.params().map(|(_, _, t)| t.as_f32().to_vec()).collect()
}

#[test]
fn a_separable_task_is_learned_by_every_variant() {
    let (train, test) = (bars(1, 1200), bars(2, 400));
    let masks = TensorMap::new();
    for (normalized, optimizer, learning_rate) in [
        (false, Optimizer::Sgd { momentum: 0.9 }, 0.05),
        (true, Optimizer::Sgd { momentum: 0.9 }, 0.05),
        (true, Optimizer::Adam, 0.01),
    ] {
        let graph = small_cnn(5, 4, normalized);
        let before = evaluate(&graph, &test.samples(), None, config().execution).unwrap();
        assert!(before.fraction() < 0.7, "{before:?}");
        let config = TrainConfig { optimizer, learning_rate, ..config() };
        let tuned = fine_tune(&task(&graph, &masks, &train), &config, &mut quiet).unwrap();
        let after = evaluate(&tuned.graph, &test.samples(), None, config.execution).unwrap();
        assert!(after.fraction() > 0.95, "{optimizer:?} {normalized}: {after:?}");
        assert_eq!((tuned.best_epoch, tuned.epochs.len()), (4, 4));
        let losses = losses(&tuned);
        assert!(losses[3] < losses[0] / 2.0, "{losses:?}");
    }
}

#[test]
fn masked_weights_are_zero_from_start_to_end() {
    let graph = small_cnn(6, 4, true);
    let data = bars(3, 200);
    let masks: TensorMap = graph
        .params()
        .filter(|(_, _, t)| t.shape().len() > 1)
        .map(|(id, _, t)| (id, Tensor::f32(t.shape(), (0..t.len()).map(|i| f32::from(i % 3 != 0)).collect())))
        .collect();
    assert_eq!(masks.len(), 2);
    for epochs in [0, 2] {
        for optimizer in [Optimizer::Sgd { momentum: 0.9 }, Optimizer::Adam] {
            let config = TrainConfig { epochs, optimizer, ..config() };
            let tuned = fine_tune(&task(&graph, &masks, &data), &config, &mut quiet).unwrap();
            for (id, mask) in &masks {
                let (weights, old) = (tuned.graph.param(*id).as_f32(), graph.param(*id).as_f32());
                for ((w, m), old) in weights.iter().zip(mask.as_f32()).zip(old) {
                    assert_eq!(*m == 0.0, *w == 0.0);
                    assert!(epochs > 0 || *w == old * m);
                }
            }
        }
    }
}

#[test]
fn same_seed_same_weights_whatever_the_threads() {
    let graph = small_cnn(7, 4, true);
    let data = bars(4, 150);
    let masks = TensorMap::new();
    let run = |seed, threads, shards| {
        let execution = Execution { threads, ..config().execution };
        let config = TrainConfig { seed, epochs: 2, shards, execution, ..config() };
        params(&fine_tune(&task(&graph, &masks, &data), &config, &mut quiet).unwrap().graph)
    };
    assert_eq!(run(1, 1, 3), run(1, 4, 3));
    assert_eq!(run(1, 2, 3), run(1, 2, 3));
    assert_ne!(run(1, 2, 3), run(2, 2, 3));
}

#[test]
fn shards_do_not_change_the_gradient_without_batch_norm() {
    let graph = small_cnn(7, 4, false);
    let data = bars(4, 64);
    let masks = TensorMap::new();
    let run = |shards| {
        let config = TrainConfig { epochs: 2, shards, ..config() };
        params(&fine_tune(&task(&graph, &masks, &data), &config, &mut quiet).unwrap().graph)
    };
    for (a, b) in run(1).concat().into_iter().zip(run(5).concat()) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn backends_agree() {
    let data = bars(5, 120);
    let masks = TensorMap::new();
    for normalized in [false, true] {
        let graph = small_cnn(8, 4, normalized);
        let run = |backend| {
            let execution = Execution { backend, threads: 2 };
            let config = TrainConfig { epochs: 2, execution, ..config() };
            let mut trace = Vec::new();
            let mut record = |p: &Progress| {
                trace.push(p.loss);
                Ok(())
            };
            fine_tune(&task(&graph, &masks, &data), &config, &mut record).unwrap();
            trace
        };
        let flex = run(Backend::Flex);
        assert_eq!(flex.len(), 8);
        for backend in [Backend::Native, Backend::Ndarray] {
            let other = run(backend);
            for (a, b) in flex.iter().zip(&other) {
                assert!((a - b).abs() < 5e-4, "{flex:?} {other:?}");
            }
        }
    }
}

#[test]
fn the_best_epoch_is_kept() {
    let graph = small_cnn(9, 4, false);
    let (train, validation) = (bars(6, 300), bars(7, 200));
    let masks = TensorMap::new();
    let task = FineTuning { validation: Some(validation.samples()), ..task(&graph, &masks, &train) };
    let tuned = fine_tune(&task, &config(), &mut quiet).unwrap();
    let kept = evaluate(&tuned.graph, &validation.samples(), None, config().execution).unwrap();
    let logged = tuned.epochs[tuned.best_epoch - 1].validation.unwrap();
    assert_eq!(kept.correct, logged.correct);
    assert!(tuned.epochs.iter().all(|e| e.validation.unwrap().correct <= kept.correct));

    // Labels that contradict the validation: every epoch is worse than the start, which is kept.
    let wrong = Data { labels: train.labels.iter().map(|l| (l + 1) % 4).collect(), ..bars(6, 300) };
    let masks = TensorMap::new();
    let task = FineTuning { graph: &tuned.graph, train: wrong.samples(), masks: &masks, ..task };
    let spoiled = fine_tune(&task, &config(), &mut quiet).unwrap();
    assert_eq!((spoiled.best_epoch, spoiled.before.unwrap().correct), (0, kept.correct));
    assert_eq!(params(&spoiled.graph), params(&tuned.graph));
}

#[test]
fn a_teacher_alone_is_enough() {
    let (train, test) = (bars(8, 1000), bars(9, 300));
    let masks = TensorMap::new();
    let start = small_cnn(10, 4, false);
    let teacher = fine_tune(&task(&start, &masks, &train), &config(), &mut quiet).unwrap().graph;
    let unlabelled = Data { labels: vec![0; 1000], ..bars(8, 1000) };
    let student = small_cnn(11, 4, true);
    let distillation = Some(Distillation { teacher: teacher.clone(), temperature: 2.0, weight: 1.0 });
    let distilled = TrainConfig { distillation, ..config() };
    let tuned = fine_tune(&task(&student, &masks, &unlabelled), &distilled, &mut quiet).unwrap();
    let accuracy = evaluate(&tuned.graph, &test.samples(), None, config().execution).unwrap();
    assert!(accuracy.fraction() > 0.95, "{accuracy:?}");

    let other = small_cnn(11, 3, true);
    let three = Data { labels: vec![0; 1000], ..bars(8, 1000) };
    let error = fine_tune(&task(&other, &masks, &three), &distilled, &mut quiet).unwrap_err();
    assert_eq!(error.iter().next().unwrap().code, "teacher-mismatch");
}

#[test]
fn progress_counts_and_can_stop() {
    let graph = small_cnn(12, 4, false);
    let data = bars(10, 70);
    let masks = TensorMap::new();
    let mut seen = Vec::new();
    let mut record = |p: &Progress| {
        assert_eq!((p.epochs, p.samples_total), (2, 70));
        seen.push((p.epoch, p.samples_done));
        Ok(())
    };
    let two = TrainConfig { epochs: 2, ..config() };
    fine_tune(&task(&graph, &masks, &data), &two, &mut record).unwrap();
    assert_eq!(seen, [(1, 23), (1, 46), (1, 70), (2, 23), (2, 46), (2, 70)]);

    let mut calls = 0;
    let mut stop = |_: &Progress| {
        calls += 1;
        Err(Diagnostic::error("interrupted", "", "stopped by the user"))
    };
    let error = fine_tune(&task(&graph, &masks, &data), &config(), &mut stop).unwrap_err();
    assert_eq!(error.iter().next().unwrap().code, "interrupted");
    assert_eq!(calls, 1);
}

#[test]
fn divergence_is_reported_with_help() {
    let graph = small_cnn(13, 4, false);
    let data = bars(11, 200);
    let masks = TensorMap::new();
    let wild = TrainConfig { learning_rate: 1e12, gradient_clip: None, schedule: Schedule::Constant, ..config() };
    let error = fine_tune(&task(&graph, &masks, &data), &wild, &mut quiet).unwrap_err();
    let finding = error.iter().next().unwrap();
    assert_eq!(finding.code, "training-diverged");
    assert!(finding.help.as_ref().unwrap().contains("learning_rate"));
}

#[test]
fn bad_options_and_masks_are_found_together() {
    let graph = small_cnn(14, 4, false);
    let data = bars(12, 20);
    let first = graph.params().next().unwrap().0;
    let masks = TensorMap::from([(first, Tensor::f32([2], vec![0.5, 1.0]))]);
    let bad = TrainConfig {
        batch_size: 0,
        shards: 0,
        learning_rate: -1.0,
        optimizer: Optimizer::Sgd { momentum: 1.0 },
        ..config()
    };
    let error = fine_tune(&task(&graph, &masks, &data), &bad, &mut quiet).unwrap_err();
    let codes: Vec<&str> = error.iter().map(|d| d.code).collect();
    assert_eq!(
        codes,
        ["bad-training-option", "bad-training-option", "bad-training-option", "bad-training-option", "bad-mask"]
    );
    let shape = graph.param(first).shape();
    let halves = TensorMap::from([(first, Tensor::f32(shape, vec![0.5; graph.param(first).len()]))]);
    assert!(fine_tune(&task(&graph, &halves, &data), &config(), &mut quiet).is_err());
}

#[test]
fn recalibration_finds_the_statistics_of_the_data() {
    let graph = small_cnn(15, 4, true);
    let data = bars(13, 333);
    let fresh = recalibrate_batch_norm(&graph, &data.samples(), config().execution).unwrap();
    let (mean_id, variance_id) = graph
        .nodes()
        .into_iter()
        .find_map(|n| match graph.node(n).op {
            Op::BatchNorm { mean, variance, .. } => Some((mean, variance)),
            _ => None,
        })
        .unwrap();
    // By hand: the values in front of the normalization, sample by sample.
    let conv = graph.operands(graph.nodes()[2])[0];
    let channels = graph.node(conv).shape[0];
    let mut values = vec![Vec::new(); channels];
    for sample in data.inputs.chunks(64) {
        let all = espalier_ir::evaluate(&graph, &[sample]);
        for (c, plane) in all[&conv].chunks(64).enumerate() {
            values[c].extend(plane.iter().map(|v| f64::from(*v)));
        }
    }
    for (c, values) in values.iter().enumerate() {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        assert!((f64::from(fresh.param(mean_id).as_f32()[c]) - mean).abs() < 1e-4);
        assert!((f64::from(fresh.param(variance_id).as_f32()[c]) - variance).abs() < 1e-3);
    }
    let weights = |g: &Graph| {
        g.params().filter(|(i, ..)| ![mean_id, variance_id].contains(i)).map(|p| p.2.clone()).collect::<Vec<_>>()
    };
    assert_eq!(weights(&graph), weights(&fresh));
}

#[test]
fn one_batch_moves_running_statistics_by_the_momentum() {
    let graph = small_cnn(16, 4, true);
    let data = bars(14, 40);
    let masks = TensorMap::new();
    let one = TrainConfig { epochs: 1, batch_size: 40, shards: 1, batch_norm_momentum: 1.0, ..config() };
    let tuned = fine_tune(&task(&graph, &masks, &data), &one, &mut quiet).unwrap().graph;
    // With momentum 1 the statistics are those of the only batch, under the weights before the step.
    let fresh = recalibrate_batch_norm(&graph, &data.samples(), config().execution).unwrap();
    for node in graph.nodes() {
        if let Op::BatchNorm { mean, variance, .. } = graph.node(node).op {
            for id in [mean, variance] {
                for (a, b) in tuned.param(id).as_f32().iter().zip(fresh.param(id).as_f32()) {
                    assert!((a - b).abs() < 1e-4, "{a} {b}");
                }
            }
        }
    }
}
