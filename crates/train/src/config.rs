//! What a user may choose about training.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, ParamId};

use crate::Augmentation;

use crate::Regularization;

/// Who computes. All but [`Gpu`](Backend::Gpu) are pure Rust and run on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Own kernels for convolution, normalization and the like, burn-flex for everything else: several
    /// times faster in training than burn-flex alone.
    #[default]
    Native,
    /// burn-flex and burn's automatic differentiation.
    Flex,
    /// burn-ndarray, which burn 0.22 carries for the last time; burn-flex succeeds it.
    Ndarray,
    /// burn-wgpu on the graphics processor that wgpu takes by itself; only in builds with the feature `gpu`.
    Gpu,
}

impl Backend {
    /// # Errors
    /// `no-backend` if this build does not have it.
    // Users ask for burn-ndarray by name, so it stays although burn deprecates it in favour of flex.
    #[allow(deprecated)]
    pub(crate) fn device(self) -> Result<Device, Diagnostic> {
        match self {
            Backend::Native | Backend::Flex => Ok(Device::flex()),
            Backend::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "gpu")]
            Backend::Gpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "gpu"))]
            Backend::Gpu => {
                let message = "this program was built without `--features gpu`";
                Err(Diagnostic::error("no-backend", "backend", message))
            }
        }
    }
}

/// Where and how wide to compute; it never changes results beyond float rounding of the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Execution {
    /// Backend.
    pub backend: Backend,
    /// Threads; 0 takes as many as the machine offers.
    pub threads: usize,
}

/// Rule that turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum (0 = none); weight decay is added to the gradient.
    Sgd {
        /// Share of the previous velocity, 0 up to but not including 1.
        momentum: f32,
    },
    /// The same with Nesterov's momentum, which looks one step ahead.
    Nesterov {
        /// Share of the previous velocity, 0 up to but not including 1.
        momentum: f32,
    },
    /// Adam with decoupled weight decay (AdamW), beta 0.9 and 0.999.
    Adam,
    /// The same with steps relative to each parameter: the learning rate counts in units of its root mean square
    /// (Shazeer and Stern 2018, arXiv 1804.04235). For networks whose scales differ much from layer to layer, as
    /// after folding of batch normalization.
    RelativeAdam,
}

/// Learning rate over the steps of the training, after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Schedule {
    /// Always the given rate.
    Constant,
    /// Half a cosine from the given rate down to zero.
    #[default]
    Cosine,
    /// Multiplied by `factor` at `drops` equally spaced points.
    Step {
        /// Number of drops.
        drops: usize,
        /// Factor of each drop, above 0.
        factor: f64,
    },
}

/// What happens to masked weights during the training.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Masking {
    /// They are zero and stay zero.
    #[default]
    Fixed,
    /// Dynamic pruning with feedback (Lin et al. 2020, arXiv 2006.07253): the network computes with
    /// masked weights, but their values live on under the masks and move by the gradients taken there;
    /// from time to time the caller chooses new masks, so that what was pruned may come back.
    Feedback {
        /// Steps between two choices.
        every_steps: usize,
        /// Share of all steps, 0..=1, after which the last choice is made; from then on as `Fixed`.
        until_fraction: f64,
    },
}

/// Learning from the outputs of another network.
#[derive(Debug, Clone)]
pub struct Distillation {
    /// The teacher: same input and classes as the graph in training.
    pub teacher: Graph,
    /// Divides the logits of both before softmax; above 0, commonly 2..=6.
    pub temperature: f32,
    /// Share of the teacher in the loss, 0..=1; the labels have the rest.
    pub weight: f32,
}

/// All choices of one training.
#[derive(Debug, Clone)]
pub struct TrainConfig {
    /// Passes over the training samples; 0 only applies the masks.
    pub epochs: usize,
    /// Samples a step. The batches of an epoch differ by at most one sample, so none is tiny.
    pub batch_size: usize,
    /// Parts of a batch that are computed independently. With batch normalization every shard is
    /// normalized by its own statistics ("ghost batch normalization", Hoffer et al. 2017); results
    /// depend on this number, not on threads. At most this many threads are busy in training.
    pub shards: usize,
    /// Learning rate at the start.
    pub learning_rate: f64,
    /// Course of the learning rate.
    pub schedule: Schedule,
    /// Share of all steps, 0..=1, in which the rate rises linearly from nearly zero.
    pub warmup: f64,
    /// Step rule.
    pub optimizer: Optimizer,
    /// Weight decay of Conv, Gemm and recurrent weights; biases and normalization are not decayed.
    pub weight_decay: f32,
    /// Largest Euclidean norm of the whole gradient; longer ones are scaled down.
    pub gradient_clip: Option<f32>,
    /// Weight of the newest batch in the running statistics of batch normalization.
    pub batch_norm_momentum: f32,
    /// Share of the label, 0 up to but not including 1, that is spread over all classes (Szegedy et al. 2016).
    pub label_smoothing: f32,
    /// Probability, 0 up to but not including 1, that an input of a Gemm is dropped in training.
    pub dropout: f32,
    /// Other probabilities for single Gemms.
    pub dropout_of: BTreeMap<NodeId, f32>,
    /// Random changes of the training samples.
    pub augmentation: Augmentation,
    /// Masks that stay or masks that change.
    pub masking: Masking,
    /// Parameters that do not learn. A BatchNorm whose gamma is among them also keeps its statistics.
    pub frozen: BTreeSet<ParamId>,
    /// Judge and return a running average of the parameters instead of the last ones: this share of it
    /// stays in each step, 0 up to but not including 1 (less in the first steps). Often better and never
    /// noisier (Polyak and Juditsky 1992).
    pub average: Option<f32>,
    /// Order of the samples, augmentation and dropout.
    pub seed: u64,
    /// What shrinks weights while they learn, if anything.
    pub regularization: Option<Regularization>,
    /// Teacher, if any.
    pub distillation: Option<Distillation>,
    /// Backend and threads.
    pub execution: Execution,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            epochs: 5,
            batch_size: 64,
            shards: 4,
            learning_rate: 0.01,
            schedule: Schedule::Cosine,
            warmup: 0.0,
            optimizer: Optimizer::Sgd { momentum: 0.9 },
            weight_decay: 1e-4,
            gradient_clip: Some(5.0),
            batch_norm_momentum: 0.1,
            label_smoothing: 0.0,
            dropout: 0.0,
            dropout_of: BTreeMap::new(),
            augmentation: Augmentation::default(),
            masking: Masking::Fixed,
            frozen: BTreeSet::new(),
            average: None,
            seed: 0,
            regularization: None,
            distillation: None,
            execution: Execution::default(),
        }
    }
}

impl TrainConfig {
    /// All values that make no sense, whatever the network; `at` names the option.
    pub fn findings(&self) -> Diagnostics {
        let mut findings = Diagnostics::new();
        self.check(&mut findings);
        findings
    }

    pub(crate) fn check(&self, findings: &mut Diagnostics) {
        let mut require = |good: bool, key: &str, message: String| {
            if !good {
                findings.push(Diagnostic::error("bad-training-option", key, message));
            }
        };
        if let Err(finding) = self.execution.backend.device() {
            require(false, "backend", finding.message);
        }
        let positive = |v: f64| v.is_finite() && v > 0.0;
        require(self.batch_size > 0, "batch_size", "must be at least 1".into());
        require(self.shards > 0, "shards", "must be at least 1".into());
        require(
            positive(self.learning_rate),
            "learning_rate",
            format!("must be a positive number, not {}", self.learning_rate),
        );
        require(
            self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            "weight_decay",
            format!("must not be negative, is {}", self.weight_decay),
        );
        if let Some(clip) = self.gradient_clip {
            require(positive(clip.into()), "gradient_clip", format!("must be a positive number, not {clip}"));
        }
        require(
            (0.0..=1.0).contains(&self.batch_norm_momentum),
            "batch_norm_momentum",
            format!("must be in 0..=1, is {}", self.batch_norm_momentum),
        );
        require((0.0..=1.0).contains(&self.warmup), "warmup", format!("must be in 0..=1, is {}", self.warmup));
        let shares = [
            ("label_smoothing", Some(self.label_smoothing)),
            ("dropout", Some(self.dropout)),
            ("average", self.average),
        ];
        let of_nodes = self.dropout_of.values().map(|rate| ("dropout_of", Some(*rate)));
        for (key, share) in shares.into_iter().chain(of_nodes) {
            if let Some(share) = share {
                require((0.0..1.0).contains(&share), key, format!("must be in 0..1, is {share}"));
            }
        }
        if let Schedule::Step { factor, .. } = self.schedule {
            require(positive(factor), "schedule.factor", format!("must be a positive number, not {factor}"));
        }
        if let Masking::Feedback { every_steps, until_fraction } = self.masking {
            require(every_steps > 0, "masking.every_steps", "must be at least 1".into());
            require(
                (0.0..=1.0).contains(&until_fraction),
                "masking.until_fraction",
                format!("must be in 0..=1, is {until_fraction}"),
            );
        }
        if let Optimizer::Sgd { momentum } | Optimizer::Nesterov { momentum } = self.optimizer {
            require((0.0..1.0).contains(&momentum), "momentum", format!("must be in 0..1, is {momentum}"));
        }
        if let Some(distillation) = &self.distillation {
            let Distillation { temperature, weight, .. } = distillation;
            require(
                positive((*temperature).into()),
                "distillation.temperature",
                format!("must be a positive number, not {temperature}"),
            );
            require((0.0..=1.0).contains(weight), "distillation.weight", format!("must be in 0..=1, is {weight}"));
        }
        self.augmentation.check(findings);
    }
}
