//! Labelled samples, borrowed from whoever loaded them.

use espalier_ir::{Diagnostic, Diagnostics};

use crate::plan::Plan;

/// Inputs with their classes.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// `labels.len() * sample_len` values, one sample after the other, each row-major, all inputs of a sample in a row.
    pub inputs: &'a [f32],
    /// Class of each sample.
    pub labels: &'a [u32],
    /// Values of one sample.
    pub sample_len: usize,
}

impl<'a> Samples<'a> {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True if there is no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Values of one sample.
    pub(crate) fn input(&self, index: usize) -> &'a [f32] {
        &self.inputs[index * self.sample_len..(index + 1) * self.sample_len]
    }

    /// All that keeps these samples from going through the graph; `what` names them to the user.
    pub(crate) fn check(&self, what: &str, plan: &Plan, findings: &mut Diagnostics) {
        if self.is_empty() {
            findings.push(
                Diagnostic::error("no-samples", what, "there is no sample")
                    .with_help("name a data set that is not empty"),
            );
        }
        check_inputs(what, self.inputs, self.sample_len, plan, findings);
        if self.labels.len().checked_mul(self.sample_len) != Some(self.inputs.len()) {
            findings.push(Diagnostic::error(
                "sample-size-mismatch",
                what,
                format!(
                    "{} labels of {} values each do not match {} values",
                    self.labels.len(),
                    self.sample_len,
                    self.inputs.len()
                ),
            ));
        }
        let outside: Vec<usize> = (0..self.len()).filter(|i| self.labels[*i] as usize >= plan.classes).collect();
        if let Some(first) = outside.first() {
            findings.push(
                Diagnostic::error(
                    "label-out-of-range",
                    what,
                    format!(
                        "{} labels are outside 0..{}, the first is {} at sample {first}",
                        outside.len(),
                        plan.classes,
                        self.labels[*first]
                    ),
                )
                .with_help("the model has fewer outputs than the data set has classes, or labels do not start at 0"),
            );
        }
    }
}

/// Findings about the inputs alone.
pub(crate) fn check_inputs(what: &str, inputs: &[f32], sample_len: usize, plan: &Plan, findings: &mut Diagnostics) {
    if sample_len != plan.sample_len {
        findings.push(
            Diagnostic::error(
                "sample-size-mismatch",
                what,
                format!("a sample has {sample_len} values, the model reads {}", plan.sample_len),
            )
            .with_help("check the input shape of the model and the layout of the data (channels first)"),
        );
    }
    if let Some(position) = inputs.iter().position(|v| !v.is_finite()) {
        findings.push(Diagnostic::error(
            "non-finite-input",
            what,
            format!(
                "value {} of sample {} is {}",
                position % sample_len.max(1),
                position / sample_len.max(1),
                inputs[position]
            ),
        ));
    }
}
