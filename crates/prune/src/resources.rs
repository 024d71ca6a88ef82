//! Resources that a plan may have to keep within, and their limits.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics};
use espalier_target::{AcceleratorConfig, Figures, Target, array_within};
use serde::{Deserialize, Serialize};

/// A figure of [`Figures`] that a budget can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Cycles of one inference.
    Cycles,
    /// Energy of one inference, nJ.
    EnergyNj,
    /// Hardware multipliers (DSP blocks); fixed by the array.
    Multipliers,
    /// Logic cells (look-up tables); fixed by the array.
    LogicCells,
    /// Block RAMs of the smallest memories that hold the network.
    BlockRams,
    /// Bytes of weight memory that are filled.
    WeightBytes,
    /// Bytes of all lanes at the fullest moment.
    ActivationBytes,
    /// Multiply-accumulate operations of one inference.
    Macs,
    /// Weights and biases.
    Parameters,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 9] = [
        Resource::Cycles,
        Resource::EnergyNj,
        Resource::Multipliers,
        Resource::LogicCells,
        Resource::BlockRams,
        Resource::WeightBytes,
        Resource::ActivationBytes,
        Resource::Macs,
        Resource::Parameters,
    ];

    /// The figure.
    pub fn of(self, figures: &Figures) -> f64 {
        match self {
            Resource::Cycles => figures.cycles as f64,
            Resource::EnergyNj => figures.energy_nj,
            Resource::Multipliers => figures.multipliers as f64,
            Resource::LogicCells => figures.logic_cells as f64,
            Resource::BlockRams => figures.block_rams as f64,
            Resource::WeightBytes => figures.weight_bytes as f64,
            Resource::ActivationBytes => figures.activation_bytes as f64,
            Resource::Macs => figures.macs as f64,
            Resource::Parameters => figures.parameters as f64,
        }
    }

    /// Name in messages, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Cycles => "cycles",
            Resource::EnergyNj => "nJ",
            Resource::Multipliers => "multipliers",
            Resource::LogicCells => "logic cells",
            Resource::BlockRams => "block RAMs",
            Resource::WeightBytes => "bytes of weight memory",
            Resource::ActivationBytes => "bytes of activations",
            Resource::Macs => "MACs",
            Resource::Parameters => "parameters",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Resource::Cycles => "raise the budget, lower 'min_keep', or use a larger array",
            Resource::BlockRams => {
                "raise the budget, lower 'min_keep', or use a smaller array, which has fewer and narrower memories"
            }
            Resource::ActivationBytes => {
                "raise the budget, lower 'min_keep', or shrink the network's input: early feature maps need most"
            }
            _ => "raise the budget or lower 'min_keep'",
        }
    }
}

/// The most of each resource; what is not listed is free.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budgets {
    /// The limits, in the units of [`Resource`].
    pub limits: BTreeMap<Resource, f64>,
}

impl Budgets {
    /// No limit.
    pub fn new() -> Self {
        Budgets::default()
    }

    /// The same with one more limit.
    #[must_use]
    pub fn with(mut self, resource: Resource, limit: f64) -> Self {
        self.limits.insert(resource, limit);
        self
    }

    /// The same without some limits.
    #[must_use]
    pub fn without(&self, resources: &[Resource]) -> Self {
        let limits = self.limits.iter().filter(|(resource, _)| !resources.contains(resource));
        Budgets { limits: limits.map(|(resource, limit)| (*resource, *limit)).collect() }
    }

    /// True if the figures are within all limits.
    pub fn hold(&self, figures: &Figures) -> bool {
        self.limits.iter().all(|(resource, limit)| resource.of(figures) <= *limit)
    }

    /// Checks the limits that pruning cannot influence.
    ///
    /// # Errors
    /// `invalid-budget` for limits that are not positive numbers, or on resources that the target does not have;
    /// `budget-not-met` for multipliers and logic cells, naming the largest array that would meet the budget.
    pub fn check_fixed(
        &self,
        figures: &Figures,
        target: &Target,
        config: &AcceleratorConfig,
    ) -> Result<(), Diagnostics> {
        let mut findings = Diagnostics::new();
        for (resource, limit) in &self.limits {
            let at = format!("budget of {}", resource.name());
            let fixed = matches!(resource, Resource::Multipliers | Resource::LogicCells);
            if !limit.is_finite() || *limit <= 0.0 {
                let message = format!("{limit} is not a positive number");
                findings.push(Diagnostic::error("invalid-budget", at, message).with_help("leave it out for no limit"));
            } else if (fixed || *resource == Resource::BlockRams) && target.fpga.is_none() {
                let message = format!("target '{}' has no {}", target.name, resource.name());
                findings.push(Diagnostic::error("invalid-budget", at, message).with_help("limit what the target has"));
            } else if fixed && resource.of(figures) > *limit {
                let message = format!(
                    "{limit} {} are not enough: the {}x{} array takes {} whatever the network, pruned or not",
                    resource.name(),
                    config.rows,
                    config.cols,
                    resource.of(figures)
                );
                let help = match array_within(target, config, resource.name(), *limit) {
                    Some(array) => {
                        format!("an array of {} rows and {} columns meets the budget", array.rows, array.cols)
                    }
                    None => "no array meets this budget; raise it".to_owned(),
                };
                findings.push(Diagnostic::error("budget-not-met", at, message).with_help(help));
            }
        }
        findings.into_result(())
    }

    /// The finding for a limit that pruning cannot reach.
    pub(crate) fn not_met(&self, resource: Resource, nearest: f64, others_hold: bool, before: &Figures) -> Diagnostic {
        let number = |value: f64| if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.1}") };
        let with = match (self.limits.len(), others_hold) {
            (..=1, _) => "",
            (_, true) => " within the other budgets",
            (_, false) => " within the budgets before, and others are short, too",
        };
        let message = format!(
            "{} {} are not reachable{with}: the nearest feasible budget is {} {} (the network takes {} now)",
            number(self.limits.get(&resource).copied().unwrap_or(0.0)),
            resource.name(),
            number(nearest),
            resource.name(),
            number(resource.of(before)),
        );
        Diagnostic::error("budget-not-met", format!("budget of {}", resource.name()), message)
            .with_help(resource.help())
    }
}
