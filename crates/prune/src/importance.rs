//! Importance of channels: what is lost when a channel goes, by one of the [`Criterion`]s.

use espalier_ir::{Diagnostic, Diagnostics, Graph, Random};
use serde::{Deserialize, Serialize};

use crate::gates::{gate_moments, taylor};
use crate::magnitude::{bn_scale, fpgm, group_norm, l1_lp, lamp, magnitudes, weight_entropy};
use crate::measured::measured;
use crate::{Criterion, DependencyGroups, Evidence, Unit};

/// How scores of different groups or layers are made comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// Not at all: right for Taylor, whose scores are changes of one loss.
    None,
    /// Divide by the mean of the group: every channel is worth the same on average.
    Mean,
    /// Divide by the sum of the group: every group is worth the same, whether wide or narrow.
    Sum,
    /// As `Sum`, but plans maximize the *product* of what every group (layer) keeps instead of the
    /// sum: what one layer loses the next cannot restore, so no layer is starved for the others.
    Share,
}

/// Smallest share told apart from nothing by [`Normalization::Share`].
const LEAST_SHARE: f64 = 1e-3;

impl Normalization {
    /// What a plan maximizes the sum of: worth of a group of which `kept` of `total` stays.
    pub(crate) fn worth(self, kept: f64, total: f64) -> f64 {
        match self {
            Normalization::Share if total > 0.0 => (kept / total + LEAST_SHARE).ln(),
            _ => kept,
        }
    }
}

/// Scores of all channels, at least 0; larger = more important.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportanceScores {
    /// What was measured.
    pub criterion: Criterion,
    /// How groups were made comparable.
    pub normalization: Normalization,
    /// `scores[group][channel]`.
    pub scores: Vec<Vec<f64>>,
}

/// Importance of every channel of every group.
///
/// # Errors
/// What the criterion reads and `evidence` lacks (`missing-gradients`, `missing-activations`,
/// `missing-labels`, `too-few-samples`); `missing-batch-norm` for [`Criterion::BnScale`].
pub fn importance(
    graph: &Graph,
    groups: &DependencyGroups,
    criterion: Criterion,
    normalization: Normalization,
    evidence: &Evidence,
) -> Result<ImportanceScores, Diagnostics> {
    evidence.check(graph, criterion, Unit::Channel)?;
    let same = |v: f64| v;
    let energy = || magnitudes(graph, groups, &|w| w * w, &same);
    let mut scores: Vec<Vec<f64>> = match criterion {
        Criterion::L1 => magnitudes(graph, groups, &f64::abs, &same),
        Criterion::L2 => {
            let mut energy = energy();
            energy.iter_mut().flatten().for_each(|s| *s = s.sqrt());
            energy
        }
        Criterion::L1Lp => magnitudes(graph, groups, &l1_lp, &same),
        Criterion::GroupLasso => magnitudes(graph, groups, &|w| w * w, &f64::sqrt),
        Criterion::GroupNorm => group_norm(graph, groups),
        Criterion::Lamp => energy().iter().map(|e| lamp(e)).collect(),
        Criterion::Fpgm => fpgm(graph, groups),
        Criterion::BnScale => bn_scale(graph, groups)?,
        Criterion::WeightEntropy => weight_entropy(graph, groups),
        Criterion::Taylor => taylor(graph, groups, &evidence.products),
        Criterion::TaylorSecond => of_gates(graph, groups, evidence, &|m| m.second_order()),
        Criterion::Obd => of_gates(graph, groups, evidence, &|m| m.obd()),
        Criterion::Apoz
        | Criterion::MeanActivation
        | Criterion::Hrank
        | Criterion::ActivationEntropy
        | Criterion::EntropyEnergy
        | Criterion::ClassMi
        | Criterion::Wanda => {
            measured(graph, groups, criterion, evidence.activations.as_ref().expect("the evidence is checked"))
        }
        Criterion::Random { seed } => {
            let mut random = Random::new(seed);
            groups.groups.iter().map(|g| (0..g.channels).map(|_| f64::from(random.unit())).collect()).collect()
        }
    };
    for group in &mut scores {
        normalize(group, normalization);
    }
    Ok(ImportanceScores { criterion, normalization, scores })
}

fn of_gates(
    graph: &Graph,
    groups: &DependencyGroups,
    evidence: &Evidence,
    score: &dyn Fn(crate::gates::GateMoments) -> f64,
) -> Vec<Vec<f64>> {
    let moments = gate_moments(graph, groups, evidence);
    moments.into_iter().map(|group| group.into_iter().map(score).collect()).collect()
}

/// Scales scores of one group or layer in place; all-zero scores stay.
pub(crate) fn normalize(scores: &mut [f64], normalization: Normalization) {
    let sum: f64 = scores.iter().sum();
    let divisor = match normalization {
        Normalization::None => return,
        Normalization::Mean => sum / scores.len() as f64,
        Normalization::Sum | Normalization::Share => sum,
    };
    if divisor > 0.0 && divisor.is_finite() {
        scores.iter_mut().for_each(|s| *s /= divisor);
    }
}

/// Checks that there is a finite score of at least 0 for every channel.
pub(crate) fn check_scores(groups: &DependencyGroups, scores: &ImportanceScores) -> Result<(), Diagnostics> {
    let fits = scores.scores.len() == groups.groups.len()
        && groups.groups.iter().zip(&scores.scores).all(|(g, s)| g.channels == s.len());
    let finite = scores.scores.iter().flatten().all(|s| s.is_finite() && *s >= 0.0);
    if fits && finite {
        return Ok(());
    }
    let message = if fits { "a score is negative or not a number" } else { "the scores are not of these groups" };
    Err(Diagnostic::error("scores-mismatch", "importance scores", message).into())
}
