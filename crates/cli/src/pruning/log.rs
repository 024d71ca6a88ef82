//! What was decided on the way and why: the log, one JSON object a line, and the plan.

use std::collections::BTreeMap;

use espalier_ir::{Graph, TensorMap};
use espalier_prune::Budgets;
use espalier_target::Figures;
use serde::Serialize;

/// One line of `prune-log.jsonl`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Entry {
    /// A round begins.
    Round {
        /// From 1.
        round: usize,
        /// What must hold after it.
        budgets: Budgets,
    },
    /// What one criterion would remove, and how good the network looks before training.
    Candidate {
        /// The round.
        round: usize,
        /// The criterion.
        criterion: &'static str,
        /// Mean loss on the probe samples of the validation part.
        loss: f64,
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

/// What an accepted round removed.
#[derive(Debug, Clone, Serialize)]
pub struct PlanRound {
    /// From 1; rounds that were undone are missing.
    pub round: usize,
    /// The criterion.
    pub criterion: &'static str,
    /// Indices of the channels that stay, by group, where some went. They count the channels before this round.
    pub kept_channels: BTreeMap<String, Vec<usize>>,
    /// Figures after the round.
    pub figures: Figures,
}

/// `plan.json`: what was removed from the given network.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PlanFile {
    /// Accepted rounds in order.
    pub rounds: Vec<PlanRound>,
    /// Weights that are zero in the end, by parameter: one bit a weight in row-major order, eight a byte, lowest
    /// first, as hexadecimal digits; 1 = kept.
    pub masks: BTreeMap<String, String>,
}

impl PlanFile {
    /// Notes the final masks.
    pub fn set_masks(&mut self, graph: &Graph, masks: &TensorMap) {
        let named = masks.iter().map(|(id, mask)| {
            let bits = mask.as_f32().chunks(8).map(|chunk| {
                let byte = chunk.iter().rev().fold(0u8, |byte, kept| byte << 1 | u8::from(*kept != 0.0));
                format!("{byte:02x}")
            });
            (graph.param_name(*id).to_owned(), bits.collect())
        });
        self.masks = named.collect();
    }

    /// The file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data serializes") + "\n"
    }
}
