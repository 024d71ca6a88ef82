//! The training loop.

use espalier_ir::{Diagnostic, Diagnostics, Graph, Random, TensorMap};

use crate::augment::{blend, blend_share};
use crate::dropout::Dropout;
use crate::evaluate::accuracy;
use crate::forward::{Normalize, Params};
use crate::loss::Blend;
use crate::masking::Masks;
use crate::model::{Model, Pass, Shard, sum_gradients, to_vec};
use crate::optimizer::{Updater, learning_rate, mask};
use crate::random::{balanced, permutation, stream};
use crate::regularize::Regularizer;
use crate::teacher::Teacher;
use crate::workers::Workers;
use crate::{Accuracy, FakeQuant, Masking, Remask, Remasking, Samples, TrainConfig, TrainState};

/// Values of a batch, with those kept for the backward pass, may take this many elements (32 GiB).
const MAX_BATCH_ELEMENTS: usize = 1 << 33;

/// What is to be trained, and on what.
#[derive(Debug, Clone, Copy)]
pub struct FineTuning<'a> {
    /// The network to start from.
    pub graph: &'a Graph,
    /// 0/1 tensors in the shape of their parameter; where 0, the parameter is and stays exactly 0, or
    /// until masks change ([`Masking::Feedback`](crate::Masking)).
    pub masks: &'a TensorMap,
    /// Samples to learn from.
    pub train: Samples<'a>,
    /// Samples that choose the best epoch; must be disjoint from `train`.
    pub validation: Option<Samples<'a>>,
    /// Rounding to train with.
    pub quantization: Option<&'a FakeQuant>,
}

/// State of a training, reported after each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Current epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Samples of this epoch that are done.
    pub samples_done: usize,
    /// Samples of an epoch.
    pub samples_total: usize,
    /// Mean loss over the samples done in this epoch.
    pub loss: f64,
}

/// What one epoch gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochLog {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Training loss (with distillation, if any) and hits during the epoch, while weights changed.
    pub train: Accuracy,
    /// Accuracy on the validation samples after the epoch.
    pub validation: Option<Accuracy>,
    /// Learning rate at the end of the epoch.
    pub learning_rate: f64,
}

/// The trained graph and the course of the training.
#[derive(Debug, Clone)]
pub struct FineTuned {
    /// Weights and running statistics of the best epoch; of the last one without validation. Exactly
    /// zero wherever `masks` are.
    pub graph: Graph,
    /// The masks at the end: those of the task, unless they changed on the way.
    pub masks: TensorMap,
    /// Validation accuracy before the first step, masks applied.
    pub before: Option<Accuracy>,
    /// One entry an epoch.
    pub epochs: Vec<EpochLog>,
    /// Epoch whose weights were kept, from 1; 0 if none was better than the start. While masks change
    /// no epoch counts as best.
    pub best_epoch: usize,
}

/// Stores the state of a training, or stops it by an error.
pub type Checkpoint<'a> = &'a mut dyn FnMut(&TrainState) -> Result<(), Diagnostic>;

/// Where the caller takes part in a training.
pub struct Hooks<'a> {
    /// Called after each step; its error stops the training.
    pub progress: &'a mut dyn FnMut(&Progress) -> Result<(), Diagnostic>,
    /// Chooses masks; needed for [`Masking::Feedback`].
    pub remask: Option<Remask<'a>>,
    /// Called after each epoch with all that [`fine_tune_with`] needs to go on from there.
    pub checkpoint: Option<Checkpoint<'a>>,
}

/// Trains `task.graph`. `progress` is called after each step; its error stops the training.
///
/// Same task, same config: same result, bit for bit on one machine, whatever the number of threads.
///
/// # Errors
/// Samples, masks, quantization or options that do not fit; a loss that is no longer finite; the
/// error of `progress`.
pub fn fine_tune(
    task: &FineTuning<'_>,
    config: &TrainConfig,
    progress: &mut dyn FnMut(&Progress) -> Result<(), Diagnostic>,
) -> Result<FineTuned, Diagnostics> {
    fine_tune_with(task, config, None, Hooks { progress, remask: None, checkpoint: None })
}

/// [`fine_tune`] with changing masks, checkpoints, and from a checkpoint on: a training that is
/// resumed ends with the same bits as one that was never interrupted.
///
/// # Errors
/// As [`fine_tune`]; also the errors of all hooks, `checkpoint-mismatch` for a state of another
/// training, and `bad-mask` for masks of `remask` that do not fit.
pub fn fine_tune_with(
    task: &FineTuning<'_>,
    config: &TrainConfig,
    resume: Option<&TrainState>,
    mut hooks: Hooks<'_>,
) -> Result<FineTuned, Diagnostics> {
    let mut model = Model::new(task.graph, task.quantization, config.execution)?;
    check(task, config, &mut model, hooks.remask.is_some())?;
    let workers = Workers::new(config.execution)?;
    let updater = Updater::new(config, model.plan.decayed.clone());
    let teacher = config.distillation.as_ref().map(|d| Teacher::new(d, task, &model, config, &workers)).transpose()?;
    let steps = config.epochs * task.train.len().div_ceil(config.batch_size);
    let masking = Masks::new(config.masking, task.masks, steps, &mut model);
    let regularizer = config.regularization.as_ref().map(|r| Regularizer::new(r, &model));
    let mut trainer = Trainer {
        task,
        config,
        average: None,
        course: Course::default(),
        step: 0,
        steps,
        model,
        workers,
        updater,
        regularizer,
        teacher,
        masking,
    };
    trainer.run(resume, &mut hooks)
}

/// What has happened so far, as far as the result tells of it.
#[derive(Default)]
pub(crate) struct Course {
    pub(crate) before: Option<Accuracy>,
    pub(crate) epochs: Vec<EpochLog>,
    pub(crate) best_epoch: usize,
    pub(crate) best: Option<Params>,
    pub(crate) best_accuracy: Option<Accuracy>,
}

pub(crate) struct Trainer<'a> {
    pub(crate) task: &'a FineTuning<'a>,
    pub(crate) config: &'a TrainConfig,
    /// Its parameters are those that the network computes with: masked.
    pub(crate) model: Model<'a>,
    workers: Workers,
    pub(crate) updater: Updater,
    regularizer: Option<Regularizer>,
    teacher: Option<Teacher<'a>>,
    pub(crate) masking: Masks,
    /// Running average of the parameters.
    pub(crate) average: Option<Params>,
    pub(crate) course: Course,
    /// Steps done.
    pub(crate) step: usize,
    /// Steps in all.
    steps: usize,
}

impl Trainer<'_> {
    fn run(&mut self, resume: Option<&TrainState>, hooks: &mut Hooks<'_>) -> Result<FineTuned, Diagnostics> {
        match resume {
            Some(state) => self.restore(state)?,
            None => {
                self.average = self.config.average.map(|_| self.model.params.clone());
                self.course.before = self.validate();
                if self.masking.are_final() {
                    (self.course.best, self.course.best_accuracy) =
                        (Some(self.model.params.clone()), self.course.before);
                } else if self.masking.due(0) {
                    self.remask(None, hooks)?;
                }
            }
        }
        let mut random = Random::new(self.config.seed);
        for epoch in 1..=self.config.epochs {
            let order = permutation(&mut random, self.task.train.len());
            if epoch <= self.course.epochs.len() {
                continue;
            }
            let log = self.epoch(epoch, &order, hooks)?;
            let course = &mut self.course;
            let first = course.best.is_none();
            if self.masking.are_final() && (first || better(log.validation, course.best_accuracy)) {
                (course.best_epoch, course.best_accuracy) = (epoch, log.validation);
                course.best = Some(self.average.as_ref().unwrap_or(&self.model.params).clone());
            }
            course.epochs.push(log);
            if let Some(checkpoint) = &mut hooks.checkpoint {
                checkpoint(&self.state())?;
            }
        }
        let Course { before, epochs, best_epoch, best, .. } = std::mem::take(&mut self.course);
        let mut params = best.unwrap_or_else(|| self.model.params.clone());
        mask(&mut params, &self.masking.masks);
        let graph = self.model.graph_with(self.task.graph, &params);
        Ok(FineTuned { graph, masks: self.model.values(&self.masking.masks), before, epochs, best_epoch })
    }

    fn validate(&mut self) -> Option<Accuracy> {
        let samples = self.task.validation.as_ref()?;
        let trained = self.average.clone().map(|average| std::mem::replace(&mut self.model.params, average));
        let result = accuracy(&self.model, samples, &self.workers);
        if let Some(params) = trained {
            self.model.params = params;
        }
        Some(result)
    }

    fn epoch(&mut self, epoch: usize, order: &[usize], hooks: &mut Hooks<'_>) -> Result<EpochLog, Diagnostics> {
        let total = order.len();
        let batches = balanced(total, total.div_ceil(self.config.batch_size));
        let (mut loss, mut correct, mut rate) = (0.0, 0, 0.0);
        for batch in batches {
            rate = learning_rate(self.config, self.step, self.steps);
            let (shards, gradients) = self.batch(epoch, &order[batch.clone()], rate);
            loss += shards.iter().map(|s| s.loss).sum::<f64>();
            correct += shards.iter().map(|s| s.correct).sum::<usize>();
            if !loss.is_finite() {
                return Err(diverged(epoch, batch.end, loss).into());
            }
            self.step += 1;
            if self.masking.due(self.step) {
                self.remask(Some(&gradients), hooks)?;
            }
            let loss = loss / batch.end as f64;
            let (epochs, samples_done) = (self.config.epochs, batch.end);
            (hooks.progress)(&Progress { epoch, epochs, samples_done, samples_total: total, loss })?;
        }
        // The loss of the last step says nothing about the weights that it left behind.
        if self.model.params.values().any(|p| to_vec(p.clone()).iter().any(|v| !v.is_finite())) {
            return Err(diverged(epoch, total, f64::NAN).into());
        }
        let train = Accuracy { correct, samples: total, loss: loss / total as f64 };
        Ok(EpochLog { epoch, train, validation: self.validate(), learning_rate: rate })
    }

    /// One step on the samples with these indices. The shards come back without gradients, which are
    /// summed.
    fn batch(&mut self, epoch: usize, indices: &[usize], rate: f64) -> (Vec<Shard>, Params) {
        let parts: Vec<&[usize]> =
            balanced(indices.len(), self.config.shards).into_iter().map(|r| &indices[r]).collect();
        let divisor = indices.len() as f32;
        let mut shards = self.workers.map(&parts, |part| self.shard(epoch, part, divisor));
        let gradients: Vec<Params> = shards.iter_mut().map(|s| std::mem::take(&mut s.gradients)).collect();
        let statistics: Vec<_> = shards.iter_mut().map(|s| std::mem::take(&mut s.statistics)).collect();
        let momentum = self.config.batch_norm_momentum;
        let step = self.step;
        let Trainer { model, updater, regularizer, workers, masking, average, config, .. } = self;
        let gradients = workers.alone(|| {
            let gradients = sum_gradients(gradients);
            masking.uncover(&mut model.params);
            let mut all = gradients.clone();
            if let Some(regularizer) = regularizer {
                regularizer.add_gradient(&model.params, &mut all);
            }
            updater.step(rate, &mut model.params, all, masking.in_update());
            if let Some(regularizer) = regularizer {
                regularizer.shrink(rate, &mut model.params);
            }
            masking.cover(&mut model.params);
            model.update_statistics(&statistics, momentum);
            if let (Some(average), Some(share)) = (average, config.average) {
                // The first steps count more, or the start would linger.
                let share = share.min((1 + step) as f32 / (10 + step) as f32);
                for (id, mean) in average {
                    let new = model.params[id].clone().mul_scalar(1.0 - share);
                    *mean = mean.clone().mul_scalar(share) + new;
                }
            }
            gradients
        });
        (shards, gradients)
    }

    /// Forward and backward over a part of a batch.
    fn shard(&self, epoch: usize, indices: &[usize], divisor: f32) -> Shard {
        let TrainConfig { augmentation, dropout, seed, label_smoothing, .. } = *self.config;
        let mut inputs = Vec::with_capacity(indices.len() * self.task.train.sample_len);
        let mut blends = Vec::new();
        for index in indices {
            let sample = self.task.train.input(*index);
            if !augmentation.is_active() {
                inputs.extend_from_slice(sample);
                continue;
            }
            let mut random = stream(seed, 0xa06, epoch, *index);
            let dims = self.model.plan.input_dims();
            augmentation.apply(sample, dims, &mut random, &mut inputs);
            if augmentation.mixup > 0.0 {
                let (other, share) =
                    (random.below(self.task.train.len()), blend_share(augmentation.mixup, &mut random));
                let mut with = Vec::with_capacity(sample.len());
                augmentation.apply(self.task.train.input(other), dims, &mut random, &mut with);
                let start = inputs.len() - sample.len();
                blend(&mut inputs[start..], &with, share);
                blends.push(Blend { class: self.task.train.labels[other], share });
            }
        }
        let labels: Vec<u32> = indices.iter().map(|i| self.task.train.labels[*i]).collect();
        let teaching = self.teacher.as_ref().map(|t| t.teaching(indices, &inputs));
        let rates = &self.config.dropout_of;
        let drops = dropout > 0.0 || rates.values().any(|rate| *rate > 0.0);
        let dropout = drops.then_some(Dropout { rate: dropout, rates, seed, epoch, samples: indices });
        let (normalize, smoothing) = (Normalize::Batch, label_smoothing);
        let blends = (!blends.is_empty()).then_some(&blends[..]);
        let teaching = teaching.as_ref();
        let masks = self.masking.in_update();
        self.model.pass(inputs, &labels, &Pass { divisor, normalize, teaching, smoothing, dropout, blends, masks })
    }

    /// Asks for new masks.
    fn remask(&mut self, gradients: Option<&Params>, hooks: &mut Hooks<'_>) -> Result<(), Diagnostics> {
        let remask = hooks.remask.as_mut().expect("checked before the training");
        let Trainer { model, masking, task, .. } = self;
        let mut dense = model.params.clone();
        masking.uncover(&mut dense);
        let graph = model.graph_with(task.graph, &dense);
        let gradients = gradients.map(|g| model.values(g));
        let last = masking.last(self.step);
        let (step, steps) = (self.step, self.steps);
        let masks = remask(&Remasking { graph: &graph, gradients: gradients.as_ref(), step, steps, last })?;
        let mut findings = Diagnostics::new();
        check_masks(&masks, model, &mut findings);
        findings.into_result(())?;
        masking.replace(&masks, last, dense, model);
        if let Some(average) = &mut self.average {
            mask(average, &self.masking.masks);
        }
        Ok(())
    }
}

/// Better validation: more hits, then less loss; without validation the newest is the best.
fn better(new: Option<Accuracy>, old: Option<Accuracy>) -> bool {
    match (new, old) {
        (Some(new), Some(old)) => (new.correct, -new.loss) > (old.correct, -old.loss),
        _ => true,
    }
}

fn diverged(epoch: usize, samples: usize, loss: f64) -> Diagnostic {
    Diagnostic::error(
        "training-diverged",
        format!("epoch {epoch}, after {samples} samples"),
        if loss.is_nan() { "weights or loss are no longer numbers".to_owned() } else { format!("the loss is {loss}") },
    )
    .with_help("lower learning_rate, or set gradient_clip; check that inputs are scaled as the model expects")
}

fn check(task: &FineTuning<'_>, config: &TrainConfig, model: &mut Model<'_>, remasks: bool) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    config.check(&mut findings);
    if let Some(regularization) = &config.regularization {
        regularization.check(model, &mut findings);
    }
    task.train.check("training samples", &model.plan, &mut findings);
    if let Some(validation) = &task.validation {
        validation.check("validation samples", &model.plan, &mut findings);
    }
    check_masks(task.masks, model, &mut findings);
    config.augmentation.check_size(model.plan.input_dims(), &mut findings);
    model.plan.freeze(&config.frozen, &mut findings);
    if config.masking != Masking::Fixed && !remasks {
        let message = "masks are to change, but nobody chooses them";
        findings.push(
            Diagnostic::error("bad-training-option", "masking", message).with_help("give a remask hook, or keep masks"),
        );
    }
    let batch = config.batch_size.min(task.train.len());
    if model.plan.elements.saturating_mul(batch) > MAX_BATCH_ELEMENTS {
        findings.push(
            Diagnostic::error(
                "too-large",
                "batch_size",
                format!("a batch of {batch} samples holds {} values each", model.plan.elements),
            )
            .with_help("use a smaller batch_size"),
        );
    }
    findings.into_result(())
}

fn check_masks(masks: &TensorMap, model: &Model<'_>, findings: &mut Diagnostics) {
    for (id, mask) in masks {
        let mut refuse =
            |message: String| findings.push(Diagnostic::error("bad-mask", format!("mask {id:?}"), message));
        match model.plan.params.get(id) {
            None => refuse("belongs to no parameter that the model reads".to_owned()),
            Some(shape) if shape != mask.shape() => {
                refuse(format!("has shape {:?}, its parameter {shape:?}", mask.shape()));
            }
            Some(_) => match mask.data() {
                espalier_ir::TensorData::F32(values) if values.iter().all(|v| *v == 0.0 || *v == 1.0) => {}
                _ => refuse("must hold the floats 0 and 1 only".to_owned()),
            },
        }
    }
}
