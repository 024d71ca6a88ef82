//! Between a running training and its state on paper.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, ParamId};

use crate::TrainConfig;
use crate::fine_tune::{Course, Trainer};
use crate::forward::Params;
use crate::model::{flat, to_vec};
use crate::optimizer::Moments;
use crate::state::{Section, TrainState, fnv};

impl Trainer<'_> {
    pub(crate) fn state(&self) -> TrainState {
        let section = |params: &Params| -> Section {
            params.iter().map(|(id, values)| (self.position(*id), to_vec(values.clone()))).collect()
        };
        let moments = |pick: fn(&Moments) -> &Vec<f32>| -> Section {
            self.updater.moments.iter().map(|(id, m)| (self.position(*id), pick(m).clone())).collect()
        };
        TrainState {
            fingerprint: self.fingerprint(),
            epoch: self.course.epochs.len(),
            step: self.step,
            params: section(&self.model.params),
            dense: self.masking.dense.as_ref().map(section),
            masks: section(&self.masking.masks),
            average: self.average.as_ref().map(section),
            first_moments: moments(|m| &m.first),
            second_moments: moments(|m| &m.second),
            moment_steps: self.updater.moments.iter().map(|(id, m)| (self.position(*id), m.steps)).collect(),
            best_epoch: self.course.best_epoch,
            best: self.course.best.as_ref().map(section),
            best_accuracy: self.course.best_accuracy,
            before: self.course.before,
            epochs: self.course.epochs.clone(),
        }
    }

    /// # Errors
    /// `checkpoint-mismatch` if the state is that of another training.
    pub(crate) fn restore(&mut self, state: &TrainState) -> Result<(), Diagnostic> {
        self.try_restore(state).ok_or_else(|| {
            Diagnostic::error(
                "checkpoint-mismatch",
                "checkpoint",
                "belongs to another model, data set or configuration",
            )
            .with_help("resume with the options it was written with, or delete it and start anew")
        })
    }

    fn try_restore(&mut self, state: &TrainState) -> Option<()> {
        let known = state.fingerprint == self.fingerprint()
            && state.epoch == state.epochs.len()
            && state.epoch <= self.config.epochs
            && state.average.is_some() == self.config.average.is_some();
        let params = self.params(&state.params)?;
        let average = state.average.as_ref().map(|a| self.params(a));
        let complete = |p: &Params| p.len() == self.model.params.len();
        if !known || !complete(&params) || !average.iter().all(|a| a.as_ref().is_some_and(complete)) {
            return None;
        }
        let moments: Option<BTreeMap<ParamId, Moments>> = state
            .moment_steps
            .iter()
            .map(|(position, steps)| {
                let id = self.id(*position)?;
                let of = |section: &Section| {
                    let values = section.get(position)?.clone();
                    (values.is_empty() || values.len() == self.len(id)).then_some(values)
                };
                let (first, second) = (of(&state.first_moments)?, of(&state.second_moments)?);
                Some((id, Moments { first, second, steps: *steps }))
            })
            .collect();
        let best = match &state.best {
            Some(best) => Some(self.params(best).filter(complete)?),
            None => None,
        };
        let masks = self.params(&state.masks)?;
        let dense = match &state.dense {
            Some(dense) => Some(self.params(dense).filter(|d| d.keys().eq(masks.keys()))?),
            None => None,
        };
        self.updater.moments = moments?;
        self.model.params = params;
        self.masking.masks = masks;
        self.masking.dense = dense;
        self.average = average.flatten();
        self.step = state.step;
        self.course = Course {
            before: state.before,
            epochs: state.epochs.clone(),
            best_epoch: state.best_epoch,
            best,
            best_accuracy: state.best_accuracy,
        };
        Some(())
    }

    fn params(&self, section: &Section) -> Option<Params> {
        let tensor = |(position, values): (&u64, &Vec<f32>)| {
            let id = self.id(*position)?;
            (values.len() == self.len(id)).then(|| (id, flat(values.clone(), &self.model.device)))
        };
        section.iter().map(tensor).collect()
    }

    fn position(&self, id: ParamId) -> u64 {
        self.model.plan.params.keys().position(|other| *other == id).expect("the model reads it") as u64
    }

    fn id(&self, position: u64) -> Option<ParamId> {
        self.model.plan.params.keys().nth(usize::try_from(position).ok()?).copied()
    }

    fn len(&self, id: ParamId) -> usize {
        self.model.plan.params[&id].iter().product()
    }

    /// Hash of what must be equal for the rest of the training to be the same: all options but who
    /// computes and who teaches, the samples and the shapes.
    fn fingerprint(&self) -> u64 {
        let config = TrainConfig { distillation: None, execution: Default::default(), ..self.config.clone() };
        let teaching = self.config.distillation.as_ref().map(|d| (d.temperature.to_bits(), d.weight.to_bits()));
        let samples = |s: &crate::Samples<'_>| {
            let inputs = s.inputs.iter().fold(0u64, |hash, v| hash.rotate_left(5) ^ u64::from(v.to_bits()));
            (s.len(), inputs, fnv(&s.labels.iter().flat_map(|l| l.to_le_bytes()).collect::<Vec<u8>>()))
        };
        let data = (samples(&self.task.train), self.task.validation.as_ref().map(samples));
        let shapes: Vec<&Vec<usize>> = self.model.plan.params.values().collect();
        let quantization = self.task.quantization;
        fnv(format!("{config:?} {teaching:?} {data:?} {shapes:?} {quantization:?} {:?}", self.config.execution.backend)
            .as_bytes())
    }
}
