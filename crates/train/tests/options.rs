//! Options of the training: each does what it says, on top of a training that works without.

mod common;

use common::{Data, bars, small_cnn};
use espalier_ir::{Graph, Op, ParamId, TensorMap};
use espalier_train::{
    Augmentation, Backend, Distillation, Execution, FineTuned, FineTuning, Optimizer, Schedule, TrainConfig, confusion,
    evaluate, fine_tune, gradients,
};

fn config() -> TrainConfig {
    let execution = Execution { threads: 2, ..Default::default() };
    TrainConfig { epochs: 4, batch_size: 32, learning_rate: 0.05, execution, ..Default::default() }
}

fn train(graph: &Graph, data: &Data, config: &TrainConfig) -> FineTuned {
    let masks = TensorMap::new();
    let task = FineTuning { graph, masks: &masks, train: data.samples(), validation: None, quantization: None };
    fine_tune(&task, config, &mut |_| Ok(())).unwrap()
}

fn values(graph: &Graph) -> Vec<Vec<f32>> {
    graph.params().map(|(_, _, t)| t.as_f32().to_vec()).collect()
}

fn fraction(graph: &Graph, data: &Data) -> f64 {
    evaluate(graph, &data.samples(), None, config().execution).unwrap().fraction()
}

#[test]
fn every_option_still_learns_and_changes_the_result() {
    let (graph, data, test) = (small_cnn(51, 4, true), bars(51, 1000), bars(52, 300));
    let plain = values(&train(&graph, &data, &config()).graph);
    for (name, config) in [
        ("nesterov", TrainConfig { optimizer: Optimizer::Nesterov { momentum: 0.9 }, ..config() }),
        ("warm-up", TrainConfig { warmup: 0.2, ..config() }),
        ("steps", TrainConfig { schedule: Schedule::Step { drops: 2, factor: 0.1 }, ..config() }),
        ("smoothing", TrainConfig { label_smoothing: 0.1, ..config() }),
        ("dropout", TrainConfig { dropout: 0.2, ..config() }),
        ("average", TrainConfig { average: Some(0.95), ..config() }),
        ("noise", TrainConfig { augmentation: Augmentation { noise: 0.1, ..Default::default() }, ..config() }),
    ] {
        let tuned = train(&graph, &data, &config);
        assert_ne!(values(&tuned.graph), plain, "{name}");
        assert!(fraction(&tuned.graph, &test) > 0.95, "{name}: {}", fraction(&tuned.graph, &test));
    }
}

#[test]
fn augmentation_and_dropout_do_not_depend_on_threads_or_backend() {
    let (graph, data) = (small_cnn(53, 4, false), bars(53, 100));
    let augmentation =
        Augmentation { flip_horizontal: true, shift_pixels: 1, brightness: 0.1, noise: 0.05, mixup: 0.5 };
    let run = |backend, threads, shards, seed| {
        let execution = Execution { backend, threads };
        let config = TrainConfig { augmentation, dropout: 0.3, epochs: 2, shards, execution, seed, ..config() };
        values(&train(&graph, &data, &config).graph)
    };
    let native = run(Backend::Native, 1, 4, 1);
    assert_eq!(native, run(Backend::Native, 2, 4, 1));
    assert_ne!(native, run(Backend::Native, 2, 4, 2));
    // Without normalization the cut into shards changes no sample either.
    for other in [run(Backend::Native, 2, 3, 1), run(Backend::Flex, 2, 4, 1)] {
        for (a, b) in native.concat().into_iter().zip(other.concat()) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn shifted_pictures_are_learned_from_centred_ones() {
    // The bar of class 0 stands in row 3 only; the test moves it by one.
    let picture = |row: usize, column: bool| -> Vec<f32> {
        (0..64).map(|i| f32::from(u8::from(if column { i % 8 == row } else { i / 8 == row }))).collect()
    };
    let set = |rows: &[usize]| {
        let mut data = Data { inputs: Vec::new(), labels: Vec::new(), sample_len: 64 };
        for copy in 0..200 / rows.len() {
            for row in rows {
                // Class 2 and 3: position 3 against 6 of a column, so that the position matters.
                let label = copy % 2;
                data.inputs.extend(picture(row + 3 * label, copy % 4 < 2));
                data.labels.push(label as u32);
            }
        }
        data
    };
    let (centred, moved) = (set(&[2]), set(&[1, 3]));
    let graph = small_cnn(54, 4, false);
    let augmentation = Augmentation { shift_pixels: 1, ..Default::default() };
    let plain = fraction(&train(&graph, &centred, &TrainConfig { epochs: 8, ..config() }).graph, &moved);
    let shifted = TrainConfig { epochs: 8, augmentation, ..config() };
    let augmented = fraction(&train(&graph, &centred, &shifted).graph, &moved);
    assert!(augmented > 0.95 && augmented > plain, "{plain} {augmented}");
}

#[test]
fn an_augmented_teacher_sees_what_the_student_sees() {
    // The teacher is the student: its divergence is zero, if and only if both see the same pictures.
    let (graph, data) = (small_cnn(55, 4, false), bars(55, 64));
    let distillation = Some(Distillation { teacher: graph.clone(), temperature: 2.0, weight: 1.0 });
    let augmentation = Augmentation { noise: 1.0, shift_pixels: 2, ..Default::default() };
    let config = TrainConfig { epochs: 1, learning_rate: 1e-9, distillation, augmentation, ..config() };
    let tuned = train(&graph, &data, &config);
    assert!(tuned.epochs[0].train.loss.abs() < 1e-5, "{:?}", tuned.epochs);
}

#[test]
fn frozen_parameters_and_their_statistics_stay() {
    for backend in [Backend::Native, Backend::Flex] {
        let (graph, data) = (small_cnn(56, 4, true), bars(56, 320));
        let head: Vec<ParamId> = graph.node(*graph.nodes().last().unwrap()).op.params();
        let frozen = graph.params().map(|p| p.0).filter(|id| !head.contains(id)).collect();
        let config = TrainConfig { frozen, execution: Execution { backend, threads: 2 }, ..config() };
        let tuned = train(&graph, &data, &config);
        for (id, _, tensor) in graph.params() {
            assert_eq!(tuned.graph.param(id) == tensor, !head.contains(&id), "{id:?}");
        }
        assert!(tuned.epochs[3].train.loss < tuned.epochs[0].train.loss);
    }
}

#[test]
fn dropout_of_one_layer_is_dropout_where_there_is_no_other() {
    let (graph, data) = (small_cnn(53, 4, false), bars(53, 100));
    let head = *graph.nodes().last().unwrap();
    let run = |dropout, of: &[(_, f32)]| {
        let dropout_of = of.iter().copied().collect();
        values(&train(&graph, &data, &TrainConfig { dropout, dropout_of, epochs: 1, ..config() }).graph)
    };
    let dropped = run(0.3, &[]);
    assert_eq!(dropped, run(0.0, &[(head, 0.3)]));
    assert_eq!(run(0.0, &[]), run(0.3, &[(head, 0.0)]));
    assert_ne!(dropped, run(0.0, &[]));
}

#[test]
fn confusion_counts_every_sample() {
    let (graph, data) = (small_cnn(57, 4, false), bars(57, 500));
    let tuned = train(&graph, &data, &TrainConfig { epochs: 1, ..config() }).graph;
    let accuracy = evaluate(&tuned, &data.samples(), None, config().execution).unwrap();
    let table = confusion(&tuned, &data.samples(), None, config().execution).unwrap();
    assert_eq!(table.counts.iter().sum::<u64>(), 500);
    let hits: u64 = (0..4).map(|c| table.counts[c * 4 + c]).sum();
    assert_eq!(hits as usize, accuracy.correct);
    for class in 0..4 {
        let row: u64 = table.counts[class * 4..class * 4 + 4].iter().sum();
        assert_eq!(row as usize, data.labels.iter().filter(|l| **l as usize == class).count());
    }
    assert!((table.accuracy() - accuracy.fraction()).abs() < 1e-12);
}

#[test]
fn a_new_head_learns_new_classes_on_a_frozen_body() {
    let (graph, data) = (small_cnn(58, 4, true), bars(58, 1000));
    let body = train(&graph, &data, &config()).graph;
    // New task: is the bar a row or a column?
    let two = Data { labels: data.labels.iter().map(|l| l / 2).collect(), ..bars(58, 1000) };
    let transferred = espalier_train::with_new_head(&body, 2, 7).unwrap();
    let output = transferred.graph.outputs()[0];
    assert_eq!(transferred.graph.node(output).shape, [2]);
    let head: Vec<ParamId> = transferred.graph.node(transferred.head).op.params();
    assert!(matches!(transferred.graph.node(transferred.head).op, Op::Gemm { .. }));
    let frozen = transferred.graph.params().map(|p| p.0).filter(|id| !head.contains(id)).collect();
    let tuned = train(&transferred.graph, &two, &TrainConfig { frozen, ..config() }).graph;
    assert!(fraction(&tuned, &two) > 0.95, "{}", fraction(&tuned, &two));
    let again = espalier_train::with_new_head(&body, 2, 7).unwrap().graph;
    assert_eq!(values(&again), values(&transferred.graph));
    assert_ne!(values(&espalier_train::with_new_head(&body, 2, 8).unwrap().graph), values(&again));
    let fresh = gradients(&transferred.graph, &two.samples(), config().execution).unwrap();
    assert!(fresh.values().flat_map(|g| g.as_f32()).all(|g| g.is_finite()));
    assert!(espalier_train::with_new_head(&body, 0, 7).is_err());
}

#[test]
fn options_out_of_range_are_found_together() {
    let (graph, data) = (small_cnn(59, 4, false), bars(59, 20));
    let masks = TensorMap::new();
    let task = FineTuning { graph: &graph, masks: &masks, train: data.samples(), validation: None, quantization: None };
    let foreign = small_cnn(59, 4, true).params().last().unwrap().0;
    let bad = TrainConfig {
        warmup: 1.5,
        label_smoothing: 1.0,
        dropout: -0.1,
        average: Some(1.0),
        schedule: Schedule::Step { drops: 1, factor: 0.0 },
        augmentation: Augmentation { shift_pixels: 8, brightness: f32::NAN, ..Default::default() },
        frozen: [foreign].into(),
        ..config()
    };
    let error = fine_tune(&task, &bad, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.iter().filter(|d| d.code == "bad-training-option").count(), 8, "{error}");
}
