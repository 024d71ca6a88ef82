//! What was decided on the way and why: the log, one JSON object a line.

use espalier_prune::Budgets;
use serde::Serialize;

use super::candidate::Gain;

/// One line of `prune-log.jsonl`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Entry {
    /// Training with regularization before the first round.
    Sparsified {
        /// Passes over the training samples.
        epochs: usize,
        /// Validation accuracy before it.
        before: f64,
        /// After it.
        after: f64,
        /// Share of the weights of convolutions and fully connected layers that became zero.
        zeros: f64,
    },
    /// A round begins.
    Round {
        /// From 1.
        round: usize,
        /// What must hold after it.
        budgets: Budgets,
    },
    /// What one criterion would remove, and how good the network promises to be.
    Candidate {
        /// The round.
        round: usize,
        /// The criterion.
        criterion: &'static str,
        /// Training samples of the short training before it was judged; 0 if there was none.
        tuned_samples: usize,
        /// Mean loss on the probe samples of the validation part; by macro-F1 all classes count alike.
        loss: f64,
        /// How much less that is than with the criterion of the round before, if this is another.
        gain: Option<Gain>,
        /// Accuracy on them.
        accuracy: f64,
        /// Macro-F1 on them.
        macro_f1: f64,
        /// Cycles of one inference.
        cycles: u64,
        /// Certified gap of the plan to the best possible choice by this criterion, if a bound is known.
        gap: Option<f64>,
    },
    /// Why channels or tiles went: one decision of the solver for the chosen criterion.
    Decision {
        /// The round.
        round: usize,
        /// Group or layer.
        name: String,
        /// Channels or tiles.
        unit: &'static str,
        /// Before.
        from: usize,
        /// After.
        to: usize,
        /// Importance lost.
        loss: f64,
        /// Cycles of the whole network after it.
        cycles: u64,
    },
    /// The chosen candidate after fine-tuning.
    Tuned {
        /// The round.
        round: usize,
        /// Its criterion.
        criterion: &'static str,
        /// Validation accuracy before training, on all validation samples.
        before: f64,
        /// After training.
        after: f64,
        /// Macro-F1 before training.
        macro_f1_before: f64,
        /// After training.
        macro_f1_after: f64,
        /// Whether it stays; else the round was undone.
        accepted: bool,
    },
}

/// The log so far.
#[derive(Debug, Clone, Default)]
pub struct Log {
    entries: Vec<Entry>,
}

impl Log {
    /// Adds a line.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// One JSON object a line.
    pub fn to_jsonl(&self) -> String {
        self.entries.iter().map(|e| serde_json::to_string(e).expect("plain data serializes") + "\n").collect()
    }
}
