//! The importance criteria by name: what each measures, what it needs, and where it comes from.
//!
//! The formulas are in `docs/pruning.md` and at the functions that compute them; all scores are at least
//! 0, larger = more important.

use std::fmt;

use espalier_ir::{Diagnostic, nearest};
use serde::{Deserialize, Serialize};

use crate::Normalization;

/// Exponent of the second term of [`Criterion::L1Lp`].
pub const LP_POWER: f64 = 0.5;
/// Weight of the second term of [`Criterion::L1Lp`].
pub const LP_WEIGHT: f64 = 1.0;

/// How importance is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Sum of magnitudes.
    L1,
    /// Euclidean norm (channels) or energy (vectors).
    L2,
    /// Sum of magnitudes and of their roots: what training with `L1 + lambda Lp` shrinks.
    L1Lp,
    /// Sum of the Euclidean norms of all slices: what training with group lasso shrinks.
    GroupLasso,
    /// Energy of rows, columns and batch-normalization scales as they are.
    GroupNorm,
    /// Energy as a share of what is at least as large in the group or layer.
    Lamp,
    /// Mean distance of a filter to the others of its layer.
    Fpgm,
    /// Magnitude of the batch-normalization scale.
    BnScale,
    /// Information of the weights of the filter.
    WeightEntropy,
    /// Squared first-order change of the loss.
    Taylor,
    /// Magnitude of the second-order change of the loss.
    TaylorSecond,
    /// Second-order term alone, by the diagonal Fisher information.
    Obd,
    /// Share of activations that are not zero.
    Apoz,
    /// Mean magnitude of the activations.
    MeanActivation,
    /// Mean rank of the feature maps.
    Hrank,
    /// Entropy of the mean activation over samples.
    ActivationEntropy,
    /// Entropy of the activation, times its strength, times that of its readers.
    EntropyEnergy,
    /// Information of the activation about the class.
    ClassMi,
    /// Energy of the weights that read, times that of what they read.
    Wanda,
    /// Seeded uniform numbers: the control.
    Random {
        /// The seed.
        seed: u64,
    },
}

/// What is rated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A channel of a dependency group.
    Channel,
    /// A `1 x cols` weight vector.
    Vector,
}

/// What a criterion reads besides the graph; everything else may be left out of the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Needs {
    /// [`crate::Evidence::products`].
    pub products: bool,
    /// [`crate::Evidence::gate_gradients`].
    pub gate_gradients: bool,
    /// [`crate::Evidence::activations`]: sums of magnitudes and squares.
    pub activations: bool,
    /// With how often activations are (nearly) zero.
    pub zeros: bool,
    /// With the mean of every channel in every sample.
    pub sample_means: bool,
    /// With ranks of feature maps.
    pub ranks: bool,
    /// With the class of every sample.
    pub labels: bool,
}

impl Needs {
    /// What either of the two needs.
    #[must_use]
    pub fn and(self, other: Needs) -> Needs {
        Needs {
            products: self.products || other.products,
            gate_gradients: self.gate_gradients || other.gate_gradients,
            activations: self.activations || other.activations,
            zeros: self.zeros || other.zeros,
            sample_means: self.sample_means || other.sample_means,
            ranks: self.ranks || other.ranks,
            labels: self.labels || other.labels,
        }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.products, "gradients of batches"),
            (self.gate_gradients, "gradients of samples"),
            (self.activations, "activations"),
            (self.labels, "labels"),
        ];
        let parts: Vec<&str> = parts.into_iter().filter(|p| p.0).map(|p| p.1).collect();
        f.write_str(if parts.is_empty() { "weights" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

impl Criterion {
    /// All criteria, magnitudes first; the seed of the random one is 0.
    pub const ALL: [Criterion; 20] = [
        Criterion::L1,
        Criterion::L2,
        Criterion::L1Lp,
        Criterion::GroupLasso,
        Criterion::GroupNorm,
        Criterion::Lamp,
        Criterion::Fpgm,
        Criterion::BnScale,
        Criterion::WeightEntropy,
        Criterion::Taylor,
        Criterion::TaylorSecond,
        Criterion::Obd,
        Criterion::Apoz,
        Criterion::MeanActivation,
        Criterion::Hrank,
        Criterion::ActivationEntropy,
        Criterion::EntropyEnergy,
        Criterion::ClassMi,
        Criterion::Wanda,
        Criterion::Random { seed: 0 },
    ];

    /// Name in project files and reports, as serde writes it.
    pub fn name(self) -> &'static str {
        match self {
            Criterion::L1 => "l1",
            Criterion::L2 => "l2",
            Criterion::L1Lp => "l1-lp",
            Criterion::GroupLasso => "group-lasso",
            Criterion::GroupNorm => "group-norm",
            Criterion::Lamp => "lamp",
            Criterion::Fpgm => "fpgm",
            Criterion::BnScale => "bn-scale",
            Criterion::WeightEntropy => "weight-entropy",
            Criterion::Taylor => "taylor",
            Criterion::TaylorSecond => "taylor-second",
            Criterion::Obd => "obd",
            Criterion::Apoz => "apoz",
            Criterion::MeanActivation => "mean-activation",
            Criterion::Hrank => "hrank",
            Criterion::ActivationEntropy => "activation-entropy",
            Criterion::EntropyEnergy => "entropy-energy",
            Criterion::ClassMi => "class-mi",
            Criterion::Wanda => "wanda",
            Criterion::Random { .. } => "random",
        }
    }

    /// What it measures, in one line.
    pub fn description(self) -> &'static str {
        match self {
            Criterion::L1 => "sum of the magnitudes of the weights",
            Criterion::L2 => "Euclidean norm of the weights",
            Criterion::L1Lp => "sum of |w| + |w|^(1/2), the terms that L1 + lambda Lp training shrinks",
            Criterion::GroupLasso => "sum of the Euclidean norms of all slices, the term that group lasso shrinks",
            Criterion::GroupNorm => "energy of rows, columns and batch-normalization scales as stored",
            Criterion::Lamp => "energy divided by that of everything at least as large",
            Criterion::Fpgm => "mean distance of the filter to the other filters of its layer",
            Criterion::BnScale => "magnitude of the batch-normalization scale",
            Criterion::WeightEntropy => "entropy of the weights of the filter, times their number",
            Criterion::Taylor => "squared first-order change of the loss when the gate closes",
            Criterion::TaylorSecond => "first- and second-order change of the loss when the gate closes",
            Criterion::Obd => "second-order change of the loss alone (diagonal Fisher)",
            Criterion::Apoz => "share of activations that are not zero",
            Criterion::MeanActivation => "mean magnitude of the activations",
            Criterion::Hrank => "mean rank of the feature maps",
            Criterion::ActivationEntropy => "entropy of the mean activation over samples",
            Criterion::EntropyEnergy => "entropy of the activation times its strength times that of its readers",
            Criterion::ClassMi => "mutual information between activation and class",
            Criterion::Wanda => "energy of the reading weights times that of the activation",
            Criterion::Random { .. } => "seeded uniform numbers, the control",
        }
    }

    /// Where it comes from.
    pub fn citation(self) -> &'static str {
        match self {
            Criterion::L1 | Criterion::L2 => "Li et al. 2017, arXiv 1608.08710",
            Criterion::L1Lp => "Chartrand 2007, doi 10.1109/LSP.2007.898300 (Lp, p < 1)",
            Criterion::GroupLasso => "Yuan and Lin 2006; Wen et al. 2016, arXiv 1608.03665",
            Criterion::GroupNorm => "Fang et al. 2023, arXiv 2301.12900",
            Criterion::Lamp => "Lee et al. 2021, arXiv 2010.07611",
            Criterion::Fpgm => "He et al. 2019, arXiv 1811.00250",
            Criterion::BnScale => "Liu et al. 2017, arXiv 1708.06519",
            Criterion::WeightEntropy => "Shannon 1948; Miller 1955 (bias)",
            Criterion::Taylor | Criterion::TaylorSecond => "Molchanov et al. 2019, arXiv 1906.10771",
            Criterion::Obd => "LeCun et al. 1989; Theis et al. 2018, arXiv 1801.05787",
            Criterion::Apoz => "Hu et al. 2016, arXiv 1607.03250",
            Criterion::MeanActivation => "Molchanov et al. 2017, arXiv 1611.06440",
            Criterion::Hrank => "Lin et al. 2020, arXiv 2002.10179",
            Criterion::ActivationEntropy => "Luo and Wu 2017, arXiv 1706.05791; Miller 1955 (bias)",
            Criterion::EntropyEnergy => "Luo and Wu 2017, arXiv 1706.05791, weighted as Sun et al. 2023",
            Criterion::ClassMi => "Battiti 1994, doi 10.1109/72.298224; Miller 1955 (bias)",
            Criterion::Wanda => "Sun et al. 2023, arXiv 2306.11695",
            Criterion::Random { .. } => "-",
        }
    }

    /// What it reads besides the weights to rate such units; `None` if it cannot rate them.
    pub fn needs(self, unit: Unit) -> Option<Needs> {
        let nothing = Needs::default();
        let activations = Needs { activations: true, ..nothing };
        let sample_means = Needs { sample_means: true, ..activations };
        match (self, unit) {
            (Criterion::Fpgm | Criterion::BnScale | Criterion::WeightEntropy, Unit::Vector) => None,
            (Criterion::Taylor, _) | (Criterion::TaylorSecond | Criterion::Obd, Unit::Vector) => {
                Some(Needs { products: true, ..nothing })
            }
            (Criterion::TaylorSecond | Criterion::Obd, Unit::Channel) => {
                Some(Needs { gate_gradients: true, ..nothing })
            }
            (Criterion::MeanActivation | Criterion::Wanda, _) => Some(activations),
            (Criterion::Apoz, _) => Some(Needs { zeros: true, ..activations }),
            (Criterion::Hrank, _) => Some(Needs { ranks: true, ..activations }),
            (Criterion::ActivationEntropy | Criterion::EntropyEnergy, _) => Some(sample_means),
            (Criterion::ClassMi, _) => Some(Needs { labels: true, ..sample_means }),
            _ => Some(nothing),
        }
    }

    /// The normalization that suits the criterion: none where scores are changes of one loss or already
    /// shares, else by share.
    pub fn default_normalization(self) -> Normalization {
        match self {
            Criterion::Taylor | Criterion::TaylorSecond | Criterion::Obd | Criterion::Lamp => Normalization::None,
            _ => Normalization::Share,
        }
    }

    /// The same criterion; if it is the random one, with this seed.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Criterion {
        match self {
            Criterion::Random { .. } => Criterion::Random { seed },
            other => other,
        }
    }

    /// The criterion of that name; the random one with seed 0.
    ///
    /// # Errors
    /// `unknown-criterion`, with the nearest name if one is near.
    pub fn from_name(name: &str) -> Result<Criterion, Diagnostic> {
        if let Some(found) = Criterion::ALL.into_iter().find(|c| c.name() == name) {
            return Ok(found);
        }
        let names: Vec<&str> = Criterion::ALL.iter().map(|c| c.name()).collect();
        let help = match nearest(name, names.iter().copied()) {
            Some(known) => format!("did you mean '{known}'? All: {}", names.join(", ")),
            None => format!("use one of {}", names.join(", ")),
        };
        let message = format!("there is no criterion '{name}'");
        Err(Diagnostic::error("unknown-criterion", "criterion", message).with_help(help))
    }

    /// Finding for a criterion that cannot rate vectors.
    pub(crate) fn not_for_vectors(self) -> Diagnostic {
        let able: Vec<&str> =
            Criterion::ALL.iter().filter(|c| c.needs(Unit::Vector).is_some()).map(|c| c.name()).collect();
        let message = format!("'{}' rates whole filters, not weight vectors", self.name());
        Diagnostic::error("criterion-not-for-vectors", format!("criterion '{}'", self.name()), message)
            .with_help(format!("prune channels only (channel_share = 1), or use one of {}", able.join(", ")))
    }

    /// Checks that the criterion can rate such units.
    ///
    /// # Errors
    /// `criterion-not-for-vectors`, with the alternatives.
    pub fn check_unit(self, unit: Unit) -> Result<(), Diagnostic> {
        if self.needs(unit).is_some() { Ok(()) } else { Err(self.not_for_vectors()) }
    }
}
