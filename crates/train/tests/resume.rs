//! A training that is interrupted and resumed ends with the same bits.

mod common;

use common::{Data, bars, small_cnn};
use espalier_ir::{Graph, Tensor, TensorMap};
use espalier_train::{
    Augmentation, Backend, Distillation, Execution, FineTuned, FineTuning, Hooks, Masking, Optimizer, Remasking,
    TrainConfig, TrainState, fine_tune_with,
};

fn every_second(graph: &Graph, phase: usize) -> TensorMap {
    let weights = graph.params().filter(|(_, _, t)| t.shape().len() > 1);
    let mask = |t: &Tensor| (0..t.len()).map(|i| f32::from(u8::from((i + phase).is_multiple_of(2)))).collect();
    weights.map(|(id, _, t)| (id, Tensor::f32(t.shape(), mask(t)))).collect()
}

struct Setting {
    graph: Graph,
    train: Data,
    validation: Data,
    config: TrainConfig,
}

impl Setting {
    /// Runs from `resume` until the end, or until `stop` epochs are done; also gives the last state.
    fn run(&self, resume: Option<&TrainState>, stop: usize) -> (Option<FineTuned>, Vec<u8>) {
        let masks = every_second(&self.graph, 0);
        let validation = Some(self.validation.samples());
        let task = FineTuning {
            graph: &self.graph,
            masks: &masks,
            train: self.train.samples(),
            validation,
            quantization: None,
        };
        let mut last = Vec::new();
        let mut checkpoint = |state: &TrainState| {
            last = state.to_bytes();
            let stopped = espalier_ir::Diagnostic::error("interrupted", "", "killed");
            if state.epoch() == stop { Err(stopped) } else { Ok(()) }
        };
        let mut remask = |r: &Remasking<'_>| Ok(every_second(r.graph, r.step));
        let remask: espalier_train::Remask<'_> = &mut remask;
        let hooks = Hooks { progress: &mut |_| Ok(()), remask: Some(remask), checkpoint: Some(&mut checkpoint) };
        let tuned = fine_tune_with(&task, &self.config, resume, hooks).ok();
        (tuned, last)
    }
}

fn setting(config: TrainConfig) -> Setting {
    let execution = Execution { backend: Backend::Native, threads: 2 };
    let config = TrainConfig { epochs: 4, batch_size: 32, learning_rate: 0.02, execution, ..config };
    Setting { graph: small_cnn(41, 4, true), train: bars(41, 150), validation: bars(42, 80), config }
}

fn settings() -> Vec<Setting> {
    let teacher = small_cnn(43, 4, false);
    vec![
        setting(TrainConfig::default()),
        setting(TrainConfig {
            optimizer: Optimizer::Adam,
            average: Some(0.9),
            dropout: 0.2,
            augmentation: Augmentation { flip_horizontal: true, shift_pixels: 1, noise: 0.1, ..Default::default() },
            distillation: Some(Distillation { teacher, temperature: 2.0, weight: 0.5 }),
            ..Default::default()
        }),
        setting(TrainConfig {
            optimizer: Optimizer::Nesterov { momentum: 0.9 },
            warmup: 0.3,
            masking: Masking::Feedback { every_steps: 3, until_fraction: 0.7 },
            ..Default::default()
        }),
    ]
}

#[test]
fn resumed_trainings_end_with_the_same_bits() {
    for setting in settings() {
        let whole = setting.run(None, 0).0.unwrap();
        for stop in 1..4 {
            let (stopped, bytes) = setting.run(None, stop);
            assert!(stopped.is_none());
            let state = TrainState::from_bytes(&bytes).unwrap();
            assert_eq!((state.epoch(), state.to_bytes()), (stop, bytes));
            let resumed = setting.run(Some(&state), 0).0.unwrap();
            let values = |t: &FineTuned| t.graph.params().map(|(_, _, t)| t.clone()).collect::<Vec<_>>();
            assert_eq!(values(&resumed), values(&whole));
            assert_eq!((&resumed.masks, &resumed.epochs), (&whole.masks, &whole.epochs));
            assert_eq!((resumed.best_epoch, resumed.before), (whole.best_epoch, whole.before));
        }
        // A state of the end has nothing left to do.
        let state = TrainState::from_bytes(&setting.run(None, 0).1).unwrap();
        assert_eq!(setting.run(Some(&state), 0).0.unwrap().epochs, whole.epochs);
    }
}

#[test]
fn a_state_of_another_training_is_refused() {
    let setting = setting(TrainConfig::default());
    let state = TrainState::from_bytes(&setting.run(None, 2).1).unwrap();
    let mut other = settings();
    let changed = [
        Setting { config: TrainConfig { seed: 1, ..setting.config.clone() }, ..other.remove(0) },
        Setting { train: bars(44, 150), ..other_setting() },
        Setting { graph: small_cnn(41, 4, false), ..other_setting() },
    ];
    for changed in &changed {
        assert!(changed.run(Some(&state), 0).0.is_none());
    }
    // Threads are free.
    let execution = Execution { threads: 1, ..setting.config.execution };
    let config = TrainConfig { execution, ..setting.config.clone() };
    assert!(Setting { config, ..other_setting() }.run(Some(&state), 0).0.is_some());
}

fn other_setting() -> Setting {
    setting(TrainConfig::default())
}
