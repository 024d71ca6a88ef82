//! `[train]` of the project file: how every training of a run learns.

use espalier_ir::{Diagnostic, Diagnostics};
use espalier_train::{Augmentation, Backend, Execution, Optimizer, Schedule, TrainConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pretraining::TransferSection;

/// Labels are below this.
const MAX_CLASSES: usize = 1 << 16;

/// `[train]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSection {
    /// Who computes.
    pub backend: BackendName,
    /// Step rule.
    pub optimizer: OptimizerName,
    /// Share of the previous step in SGD.
    pub momentum: f32,
    /// Pull of convolution and Gemm weights towards zero.
    pub weight_decay: f32,
    /// Course of the learning rate.
    pub schedule: ScheduleName,
    /// Share of the steps in which the learning rate rises.
    pub warmup: f64,
    /// Share of each label that all classes get.
    pub label_smoothing: f32,
    /// Probability that an input of a Gemm is dropped.
    pub dropout: f32,
    /// Share of the running average of the weights that each step leaves; 0 uses the newest weights.
    pub average: f32,
    /// Random changes of the pictures.
    pub augmentation: AugmentationSection,
    /// Passes over the training samples of a training from scratch or a transfer.
    pub epochs: usize,
    /// Its learning rate at the start.
    pub learning_rate: f64,
    /// Its samples a step.
    pub batch: usize,
    /// Give the model a new head for other classes, and train that first.
    pub transfer: Option<TransferSection>,
}

/// Names of the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendName {
    /// Own kernels, and burn for the rest.
    Native,
    /// burn on the CPU.
    Flex,
    /// burn with ndarray.
    Ndarray,
    /// burn on a graphics processor, in builds with the feature `gpu`.
    Gpu,
}

/// Names of the step rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// With momentum.
    Sgd,
    /// With Nesterov's momentum.
    Nesterov,
    /// With decoupled weight decay.
    Adam,
}

/// Names of the schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// Down to zero.
    Cosine,
    /// No change.
    Constant,
    /// A tenth after each third.
    Step,
}

/// `[train.augmentation]`
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentationSection {
    /// Mirror half of the pictures.
    pub flip_horizontal: bool,
    /// Most pixels of a move in each direction.
    pub shift_pixels: usize,
    /// Most that is added to a whole picture, after preprocessing.
    pub brightness: f32,
    /// Standard deviation of noise, after preprocessing.
    pub noise: f32,
    /// Blends of two samples and their labels: parameter of the Beta distribution of the shares, 0 to 1.
    pub mixup: f32,
}

impl Default for TrainSection {
    fn default() -> Self {
        TrainSection {
            backend: BackendName::Native,
            optimizer: OptimizerName::Sgd,
            momentum: 0.9,
            weight_decay: 1e-4,
            schedule: ScheduleName::Cosine,
            warmup: 0.0,
            label_smoothing: 0.0,
            dropout: 0.0,
            average: 0.0,
            augmentation: AugmentationSection::default(),
            epochs: 20,
            learning_rate: 0.05,
            batch: 64,
            transfer: None,
        }
    }
}

impl TrainSection {
    /// As the train crate wants it; all else is at its default.
    pub fn to_config(&self) -> TrainConfig {
        let momentum = self.momentum;
        let AugmentationSection { flip_horizontal, shift_pixels, brightness, noise, mixup } = self.augmentation;
        let backend = match self.backend {
            BackendName::Native => Backend::Native,
            BackendName::Flex => Backend::Flex,
            BackendName::Ndarray => Backend::Ndarray,
            BackendName::Gpu => Backend::Gpu,
        };
        TrainConfig {
            execution: Execution { backend, ..Execution::default() },
            optimizer: match self.optimizer {
                OptimizerName::Sgd => Optimizer::Sgd { momentum },
                OptimizerName::Nesterov => Optimizer::Nesterov { momentum },
                OptimizerName::Adam => Optimizer::Adam,
            },
            schedule: match self.schedule {
                ScheduleName::Cosine => Schedule::Cosine,
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Step => Schedule::Step { drops: 2, factor: 0.1 },
            },
            weight_decay: self.weight_decay,
            warmup: self.warmup,
            label_smoothing: self.label_smoothing,
            dropout: self.dropout,
            average: (self.average != 0.0).then_some(self.average),
            augmentation: Augmentation { flip_horizontal, shift_pixels, brightness, noise, mixup },
            ..TrainConfig::default()
        }
    }

    /// All values out of their bounds.
    pub fn findings(&self) -> Diagnostics {
        let mut findings = self.to_config().findings();
        let mut require = |good: bool, key: &str, message: &str| {
            if !good {
                findings.push(Diagnostic::error("bad-training-option", key, message));
            }
        };
        let positive = |v: f64| v.is_finite() && v > 0.0;
        require(self.epochs > 0, "epochs", "must be at least 1");
        require(positive(self.learning_rate), "learning_rate", "must be above 0");
        require(self.batch > 0, "batch", "must be at least 1");
        if let Some(transfer) = &self.transfer {
            let TransferSection { classes, unfreeze_after, unfreeze_learning_rate, .. } = transfer;
            let classes = classes.is_none_or(|n| (1..=MAX_CLASSES).contains(&n));
            require(classes, "transfer.classes", &format!("must be from 1 to {MAX_CLASSES}"));
            let after = unfreeze_after.is_none_or(|n| (1..self.epochs).contains(&n));
            require(after, "transfer.unfreeze_after", "must be at least 1 and below epochs");
            let rate = unfreeze_learning_rate.is_none_or(positive);
            require(rate, "transfer.unfreeze_learning_rate", "must be above 0");
        }
        findings
    }
}
