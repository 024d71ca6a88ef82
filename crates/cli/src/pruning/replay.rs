//! The rounds of an earlier run once more: nothing is chosen, everything is trained.

use espalier_ir::{Diagnostics, Graph};
use espalier_prune::dependency_groups;

use crate::failure::Outcome;
use crate::progress::Progress;

use super::candidate::{refresh_statistics, without};
use super::plan::PlanFile;
use super::{Run, Step, figures_of};

impl Run<'_> {
    /// With the settings, data and seed of the run that made the plan, the result is the same to the last bit; with
    /// others, the same structure is trained differently. Masks that changed while the earlier run trained are those
    /// of its end from the start.
    pub(super) fn replay(&mut self, plan: &PlanFile, progress: &mut Progress) -> Outcome<()> {
        for round in &plan.rounds {
            let (train, seed) = (self.tuning.train, self.tuning.seed);
            let graph = &self.accepted.graph;
            let channels = round.channels(&dependency_groups(graph)?, self.accepted.figures.cycles)?;
            let removed = channels.removed();
            let smaller = if removed > 0 { without(graph, &channels, train, seed)? } else { graph.clone() };
            let masks = round.tensors(&smaller)?;
            let graph = refresh_statistics(&smaller, &masks, train, seed)?;
            let step = Step {
                criterion: round.criterion()?,
                cycles: figures_of(&espalier_prune::apply_masks(&graph, &masks)?, self.hardware)?.cycles,
                graph,
                masks,
                channels_removed: removed,
                kept_channels: round.kept_channels.clone(),
                vectors_pruned: round.vectors_pruned,
                certified_gap: None,
                regrow: None,
            };
            self.tune(step, &round.budgets, round.last, progress)?;
        }
        Ok(())
    }
}

/// Whether all rounds can be taken, before hours of training.
///
/// # Errors
/// `plan-mismatch` for everything in the first round with a misfit; an unknown criterion.
pub(super) fn check(plan: &PlanFile, original: &Graph) -> Result<(), Diagnostics> {
    let mut graph = original.clone();
    for round in &plan.rounds {
        round.criterion()?;
        let channels = round.channels(&dependency_groups(&graph)?, 0)?;
        graph = espalier_prune::apply(&graph, &channels)?;
        round.tensors(&graph)?;
    }
    Ok(())
}
