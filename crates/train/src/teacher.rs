//! What a teacher says about training samples.

use espalier_ir::{Diagnostic, Diagnostics};

use crate::evaluate::batched_logits;
use crate::loss::Teaching;
use crate::model::Model;
use crate::workers::Workers;
use crate::{Distillation, FineTuning, TrainConfig};

pub(crate) struct Teacher<'a> {
    source: Source<'a>,
    classes: usize,
    temperature: f32,
    weight: f32,
}

enum Source<'a> {
    /// Of all training samples, worked out once.
    Logits(Vec<f32>),
    /// Augmented samples are new each time, and the teacher must see what the student sees.
    Model(Box<Model<'a>>),
}

impl<'a> Teacher<'a> {
    /// # Errors
    /// If the teacher cannot be executed, or reads or gives something else than the student.
    pub(crate) fn new(
        distillation: &Distillation,
        task: &FineTuning<'_>,
        student: &Model<'_>,
        config: &TrainConfig,
        workers: &Workers,
    ) -> Result<Self, Diagnostics> {
        let Distillation { teacher, temperature, weight } = distillation;
        let model = Model::new(teacher, None, config.execution)?;
        let shape = |m: &Model<'_>| (m.plan.sample_len, m.plan.classes);
        if shape(&model) != shape(student) {
            return Err(Diagnostic::error(
                "teacher-mismatch",
                format!("teacher '{}'", teacher.name),
                format!(
                    "reads {} values and gives {} classes, the student {} and {}",
                    model.plan.sample_len, model.plan.classes, student.plan.sample_len, student.plan.classes
                ),
            )
            .into());
        }
        let source = if config.augmentation.is_active() {
            Source::Model(Box::new(model))
        } else {
            Source::Logits(batched_logits(&model, task.train.inputs, workers))
        };
        Ok(Teacher { source, classes: student.plan.classes, temperature: *temperature, weight: *weight })
    }

    /// Logits of the samples with these indices, which look like `inputs` this time.
    pub(crate) fn teaching(&self, indices: &[usize], inputs: &[f32]) -> Teaching {
        let logits = match &self.source {
            Source::Model(model) => model.logits(inputs),
            Source::Logits(all) => {
                indices.iter().flat_map(|i| &all[i * self.classes..(i + 1) * self.classes]).copied().collect()
            }
        };
        Teaching { logits, temperature: self.temperature, weight: self.weight }
    }
}
