//! Training that shrinks what may be removed, before anything is.

use espalier_ir::{Diagnostics, Graph, Op, TensorMap};
use espalier_prune::{dependency_groups, vector_elements};
use espalier_target::AcceleratorConfig;
use espalier_train::{ParamSlices, Regularization, TrainConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::failure::Outcome;
use crate::progress::Progress;
use crate::training::{Start, Tuning, fine_tune, quality};

use super::log::Entry;
use super::{Accepted, Run, Units, figures_of};

/// `[prune.regularization]`: what is added to the loss in the `sparsify_epochs`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegularizationSection {
    /// Factor of the sum of magnitudes of all weights.
    pub l1: f32,
    /// Factor of the sum of their powers.
    pub lp: f32,
    /// Exponent of the powers, above 0 and at most 1.
    pub power: f32,
    /// Factor of the group lasso over what `units` lets go: channels, weight vectors, or both.
    pub group_lasso: f32,
}

impl Default for RegularizationSection {
    fn default() -> Self {
        let Regularization { l1, lp, power, group_lasso, .. } = Regularization::default();
        RegularizationSection { l1, lp, power, group_lasso }
    }
}

impl RegularizationSection {
    /// Whether it adds anything.
    pub fn is_active(&self) -> bool {
        [self.l1, self.lp, self.group_lasso].iter().any(|factor| *factor != 0.0)
    }

    /// Keys and what is wrong with their values.
    pub fn findings(&self) -> Vec<(&'static str, &'static str)> {
        let factors = [("l1", self.l1), ("lp", self.lp), ("group_lasso", self.group_lasso)];
        let wrong = factors.into_iter().filter(|(_, factor)| !(factor.is_finite() && *factor >= 0.0));
        let power = (!(self.power > 0.0 && self.power <= 1.0)).then_some(("power", "must be above 0 and at most 1"));
        wrong.map(|(key, _)| (key, "must be a number that is not negative")).chain(power).collect()
    }

    /// With the groups of a network.
    fn regularization(
        self,
        graph: &Graph,
        config: &AcceleratorConfig,
        units: Units,
    ) -> Result<Regularization, Diagnostics> {
        let lasso = self.group_lasso > 0.0;
        let groups = if lasso && units.channels() { channels(graph)? } else { Vec::new() };
        let elements = if lasso && units.vectors() { vector_elements(graph, config)? } else { Vec::new() };
        let RegularizationSection { l1, lp, power, group_lasso } = self;
        Ok(Regularization { l1, lp, power, group_lasso, groups, elements, ..Regularization::default() })
    }
}

/// All that belongs to each channel that may go.
fn channels(graph: &Graph) -> Result<Vec<Vec<ParamSlices>>, Diagnostics> {
    let groups = dependency_groups(graph)?;
    let mut slices = Vec::new();
    for (_, group) in groups.prunable() {
        for channel in 0..group.channels {
            let of_member = |m: &espalier_prune::Member| ParamSlices {
                param: m.param,
                axis: m.axis,
                indices: m.positions[channel].clone(),
            };
            slices.push(group.members.iter().map(of_member).collect());
        }
    }
    Ok(slices)
}

impl Run<'_> {
    /// Trains the given network with the regularization of the project; the rounds start from the result of the last
    /// epoch.
    pub(super) fn sparsify(&mut self, progress: &mut Progress) -> Outcome<()> {
        let (section, graph) = (self.section, &self.accepted.graph);
        let before = quality(graph, self.tuning.validation, progress)?;
        let regularization = section.regularization.regularization(graph, self.hardware.config, section.units)?;
        let options = TrainConfig { regularization: Some(regularization), ..self.tuning.options.clone() };
        let tuning = Tuning { options: &options, ..*self.tuning };
        let masks = TensorMap::new();
        let start = Start {
            stage: "sparsify",
            graph,
            masks: &masks,
            epochs: section.sparsify_epochs,
            learning_rate: section.learning_rate,
            quantization: None,
            choose_epoch: false,
        };
        let tuned = fine_tune(&start, &tuning, None, progress)?.graph;
        let after = quality(&tuned, self.tuning.validation, progress)?;
        let zeros = share_of_zeros(&tuned);
        progress.line(&format!(
            "  regularized for {} epochs: validation {} {:.2} %, before {:.2} %; {:.1} % of the weights are zero",
            section.sparsify_epochs,
            self.metric.name(),
            100.0 * after.by(self.metric),
            100.0 * before.by(self.metric),
            100.0 * zeros
        ));
        let (epochs, before, after) = (section.sparsify_epochs, before.accuracy, after.accuracy);
        self.log.push(Entry::Sparsified { epochs, before, after, zeros });
        let figures = figures_of(&tuned, self.hardware)?;
        self.accepted = Accepted { graph: tuned, figures };
        Ok(())
    }
}

/// Of the weights of convolutions and fully connected layers.
fn share_of_zeros(graph: &Graph) -> f64 {
    let weight = |id| match &graph.node(id).op {
        Op::Conv(conv) => Some(conv.weight),
        Op::Gemm { weight, .. } => Some(*weight),
        _ => None,
    };
    let weights: Vec<&[f32]> =
        graph.nodes().into_iter().filter_map(weight).map(|param| graph.param(param).as_f32()).collect();
    let all: usize = weights.iter().map(|w| w.len()).sum();
    let zeros = weights.iter().flat_map(|w| w.iter()).filter(|w| **w == 0.0).count();
    zeros as f64 / all.max(1) as f64
}
