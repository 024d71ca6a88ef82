//! The training loop.

use espalier_ir::{Diagnostic, Diagnostics, Graph, Random, TensorMap};

use crate::evaluate::{accuracy, batched_logits};
use crate::forward::{Normalize, Params};
use crate::loss::Teaching;
use crate::model::{Model, Shard, flat, sum_gradients, to_vec};
use crate::optimizer::{Updater, learning_rate};
use crate::random::{balanced, permutation};
use crate::regularize::Regularizer;
use crate::workers::Workers;
use crate::{Accuracy, Distillation, FakeQuant, Samples, TrainConfig};

/// Values of a batch, with those kept for the backward pass, may take this many elements (32 GiB).
const MAX_BATCH_ELEMENTS: usize = 1 << 33;

/// What is to be trained, and on what.
#[derive(Debug, Clone, Copy)]
pub struct FineTuning<'a> {
    /// The network to start from.
    pub graph: &'a Graph,
    /// 0/1 tensors in the shape of their parameter; where 0, the parameter is and stays exactly 0.
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
    /// Weights and running statistics of the best epoch; of the last one without validation.
    pub graph: Graph,
    /// Validation accuracy before the first step, masks applied.
    pub before: Option<Accuracy>,
    /// One entry an epoch.
    pub epochs: Vec<EpochLog>,
    /// Epoch whose weights were kept, from 1; 0 if none was better than the start.
    pub best_epoch: usize,
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
    let model = Model::new(task.graph, task.quantization, config.execution)?;
    check(task, config, &model)?;
    let workers = Workers::new(config.execution)?;
    let masks = task.masks.iter().map(|(id, m)| (*id, flat(m.as_f32().to_vec(), &model.device))).collect();
    let updater = Updater::new(config, model.plan.decayed.clone(), masks);
    let teacher =
        config.distillation.as_ref().map(|d| teacher_logits(d, task, &model, config, &workers)).transpose()?;
    let regularizer = config.regularization.as_ref().map(|r| Regularizer::new(r, &model));
    let mut trainer = Trainer { task, config, model, workers, updater, regularizer, teacher, step: 0 };
    trainer.run(progress)
}

struct Trainer<'a> {
    task: &'a FineTuning<'a>,
    config: &'a TrainConfig,
    model: Model<'a>,
    workers: Workers,
    updater: Updater,
    regularizer: Option<Regularizer>,
    /// Logits of the teacher for all training samples.
    teacher: Option<Vec<f32>>,
    /// Steps done.
    step: usize,
}

impl Trainer<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(&Progress) -> Result<(), Diagnostic>) -> Result<FineTuned, Diagnostics> {
        let Trainer { updater, model, workers, .. } = self;
        workers.alone(|| updater.mask(&mut model.params));
        let before = self.validate();
        let mut best: (usize, Params) = (0, self.model.params.clone());
        let mut best_accuracy = before;
        let mut epochs = Vec::new();
        let mut random = Random::new(self.config.seed);
        for epoch in 1..=self.config.epochs {
            let order = permutation(&mut random, self.task.train.len());
            let log = self.epoch(epoch, &order, progress)?;
            if better(log.validation, best_accuracy) {
                best = (epoch, self.model.params.clone());
                best_accuracy = log.validation;
            }
            epochs.push(log);
        }
        let (best_epoch, params) = best;
        Ok(FineTuned { graph: self.model.graph_with(self.task.graph, &params), before, epochs, best_epoch })
    }

    fn validate(&self) -> Option<Accuracy> {
        self.task.validation.as_ref().map(|samples| accuracy(&self.model, samples, &self.workers))
    }

    fn epoch(
        &mut self,
        epoch: usize,
        order: &[usize],
        progress: &mut dyn FnMut(&Progress) -> Result<(), Diagnostic>,
    ) -> Result<EpochLog, Diagnostics> {
        let total = order.len();
        let batches = balanced(total, total.div_ceil(self.config.batch_size));
        let steps = batches.len() * self.config.epochs;
        let (mut loss, mut correct, mut rate) = (0.0, 0, 0.0);
        for batch in batches {
            rate = learning_rate(self.config, self.step, steps);
            let shards = self.batch(&order[batch.clone()], rate);
            loss += shards.iter().map(|s| s.loss).sum::<f64>();
            correct += shards.iter().map(|s| s.correct).sum::<usize>();
            if !loss.is_finite() {
                return Err(diverged(epoch, batch.end, loss).into());
            }
            self.step += 1;
            let loss = loss / batch.end as f64;
            let (epochs, samples_done) = (self.config.epochs, batch.end);
            progress(&Progress { epoch, epochs, samples_done, samples_total: total, loss })?;
        }
        // The loss of the last step says nothing about the weights that it left behind.
        if self.model.params.values().any(|p| to_vec(p.clone()).iter().any(|v| !v.is_finite())) {
            return Err(diverged(epoch, total, f64::NAN).into());
        }
        let train = Accuracy { correct, samples: total, loss: loss / total as f64 };
        Ok(EpochLog { epoch, train, validation: self.validate(), learning_rate: rate })
    }

    /// One step on the samples with these indices. The shards come back without gradients.
    fn batch(&mut self, indices: &[usize], rate: f64) -> Vec<Shard> {
        let parts: Vec<&[usize]> =
            balanced(indices.len(), self.config.shards).into_iter().map(|r| &indices[r]).collect();
        let divisor = indices.len() as f32;
        let mut shards = self.workers.map(&parts, |part| {
            let teaching = self.teaching(part);
            self.model.shard(&self.task.train, part, divisor, Normalize::Batch, teaching.as_ref())
        });
        let gradients: Vec<Params> = shards.iter_mut().map(|s| std::mem::take(&mut s.gradients)).collect();
        let statistics: Vec<_> = shards.iter_mut().map(|s| std::mem::take(&mut s.statistics)).collect();
        let momentum = self.config.batch_norm_momentum;
        let Trainer { model, updater, regularizer, workers, .. } = self;
        workers.alone(|| {
            let mut gradients = sum_gradients(gradients);
            if let Some(regularizer) = regularizer {
                regularizer.add_gradient(&model.params, &mut gradients);
            }
            updater.step(rate, &mut model.params, gradients);
            if let Some(regularizer) = regularizer {
                regularizer.shrink(rate, &mut model.params);
            }
            model.update_statistics(&statistics, momentum);
        });
        shards
    }

    fn teaching(&self, indices: &[usize]) -> Option<Teaching> {
        let (distillation, logits) = (self.config.distillation.as_ref()?, self.teacher.as_ref()?);
        let classes = self.model.plan.classes;
        let rows = indices.iter().flat_map(|i| &logits[i * classes..(i + 1) * classes]);
        let Distillation { temperature, weight, .. } = *distillation;
        Some(Teaching { logits: rows.copied().collect(), temperature, weight })
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

fn check(task: &FineTuning<'_>, config: &TrainConfig, model: &Model<'_>) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    config.check(&mut findings);
    if let Some(regularization) = &config.regularization {
        regularization.check(model, &mut findings);
    }
    task.train.check("training samples", &model.plan, &mut findings);
    if let Some(validation) = &task.validation {
        validation.check("validation samples", &model.plan, &mut findings);
    }
    check_masks(task, model, &mut findings);
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

fn check_masks(task: &FineTuning<'_>, model: &Model<'_>, findings: &mut Diagnostics) {
    for (id, mask) in task.masks {
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

fn teacher_logits(
    distillation: &Distillation,
    task: &FineTuning<'_>,
    student: &Model<'_>,
    config: &TrainConfig,
    workers: &Workers,
) -> Result<Vec<f32>, Diagnostics> {
    let teacher = Model::new(&distillation.teacher, None, config.execution)?;
    let shape = |m: &Model<'_>| (m.plan.sample_len, m.plan.classes);
    if shape(&teacher) != shape(student) {
        return Err(Diagnostic::error(
            "teacher-mismatch",
            format!("teacher '{}'", distillation.teacher.name),
            format!(
                "reads {} values and gives {} classes, the student {} and {}",
                teacher.plan.sample_len, teacher.plan.classes, student.plan.sample_len, student.plan.classes
            ),
        )
        .into());
    }
    Ok(batched_logits(&teacher, task.train.inputs, workers))
}
