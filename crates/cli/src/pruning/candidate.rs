//! One way to prune a network further, and how good it promises to be.

use std::collections::BTreeMap;

use espalier_data::Dataset;
use espalier_ir::{Diagnostics, Graph, Op, TensorMap};
use espalier_prune::{
    Budgets, Criterion, DependencyGroups, Evidence, JointOptions, JointPlan, PruningPlan, Resource, Unit,
    VectorOptions, VectorPlan, VectorScores, apply, apply_masks, channel_means, compensate, dependency_groups,
    importance, joint_plan, tile_masks, vector_importance, vector_masks,
};
use espalier_target::{AcceleratorConfig, Target};
use espalier_train::{Execution, judge, recalibrate_batch_norm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::collect_evidence;
use crate::pipeline::sample;
use crate::progress::Progress;
use crate::training::{Metric, Quality, Tuning, samples, tune_briefly};

/// Samples over which the mean of removed channels is taken.
const COMPENSATION_SAMPLES: usize = 64;
/// Training samples that refresh batch-normalization statistics before a candidate is judged.
const STATISTICS_SAMPLES: usize = 2048;
/// Validation samples that judge a candidate.
const PROBE_SAMPLES: usize = 1000;
/// Training samples of the pass that candidates of several criteria get before they are judged: 32 steps of the usual
/// 64 samples undo most of what a cut breaks, and cost little beside the epochs that follow. What is broken at first says
/// little about what training restores.
const TRIAL_SAMPLES: usize = 2048;
/// Standard errors by which another criterion must lead to replace that of the round before: of two that are alike,
/// 1 in 44 leads so far by chance; of several, more.
const CLEAR: f64 = 2.0;

/// What may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Units {
    /// Whole channels and weight vectors, divided by price.
    Both,
    /// Whole channels only.
    Channels,
    /// Weight vectors only.
    Vectors,
    /// Whole `rows x cols` blocks of weights only: what vectors are compared with.
    Blocks,
}

impl Units {
    /// Whether weight vectors may go, alone or in blocks.
    pub fn vectors(self) -> bool {
        self != Units::Channels
    }

    /// Whether whole channels may go.
    pub fn channels(self) -> bool {
        matches!(self, Units::Both | Units::Channels)
    }
}

/// The accelerator that is pruned for.
#[derive(Clone, Copy)]
pub struct Hardware<'a> {
    /// The device.
    pub target: &'a Target,
    /// The array.
    pub config: &'a AcceleratorConfig,
}

/// What to remove, and by which rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    /// What makes a unit important.
    pub criterion: Criterion,
    /// What must hold afterwards.
    pub budgets: &'a Budgets,
    /// What may go.
    pub units: Units,
    /// Least share of the channels of a group and of the tiles of a layer that stays.
    pub min_keep: f64,
    /// Seed of the samples.
    pub seed: u64,
}

/// A network that keeps within the budgets.
pub struct Candidate {
    /// The rule's criterion.
    pub criterion: Criterion,
    /// Without the removed channels; weights under the masks are still there.
    pub graph: Graph,
    /// 0 where weights are pruned; empty if no vector was.
    pub masks: TensorMap,
    /// Channels, tiles, figures, certified gap.
    pub plan: JointPlan,
    /// Vectors, if any may go.
    pub vectors: Option<VectorPlan>,
}

/// How a candidate does on up to 1,000 validation samples.
pub struct Probe {
    /// Training samples that it had learned from since it was cut; 0 if it was judged at once.
    pub tuned_samples: usize,
    /// Hits.
    pub quality: Quality,
    /// Cross-entropy of each sample in nats, which tells more than a count of hits. By macro-F1 times a weight that
    /// makes all classes count alike, so that a rare class that is never found shows.
    pub losses: Vec<f64>,
}

impl Probe {
    /// A probe that learned from `tuned_samples`, from the loss of each sample and its label.
    fn new(tuned_samples: usize, quality: Quality, mut losses: Vec<f64>, labels: &[u32], metric: Metric) -> Self {
        if metric == Metric::MacroF1 {
            let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
            labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
            let share = labels.len() as f64 / counts.len() as f64;
            losses.iter_mut().zip(labels).for_each(|(loss, label)| *loss *= share / counts[label] as f64);
        }
        Probe { tuned_samples, quality, losses }
    }

    /// Mean over the samples.
    pub fn loss(&self) -> f64 {
        self.losses.iter().sum::<f64>() / self.losses.len() as f64
    }

    /// How much less it loses than `other` on the same samples.
    pub fn gain_over(&self, other: &Probe) -> Gain {
        let differences: Vec<f64> = other.losses.iter().zip(&self.losses).map(|(other, own)| other - own).collect();
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>();
        Gain { mean, standard_error: (squares / (count - 1.0).max(1.0) / count).sqrt() }
    }
}

/// Mean difference of the losses of the same samples, nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gain {
    /// Above 0 if the probe loses less than the other.
    pub mean: f64,
    /// Of the mean.
    pub standard_error: f64,
}

impl Gain {
    /// Whether chance hardly explains it.
    fn is_clear(self) -> bool {
        self.mean > CLEAR * self.standard_error
    }
}

/// The probe that promises most: the one with the least loss, but that of the criterion of the round before as long as no
/// other is clearly better. Fine-tuning levels small leads, and a network cut by many rules has lost something to each.
pub fn preferred(probes: &[Probe], before: Option<usize>) -> usize {
    let least = (0..probes.len()).min_by(|a, b| probes[*a].loss().total_cmp(&probes[*b].loss())).unwrap_or(0);
    match before {
        Some(before) if !probes[least].gain_over(&probes[before]).is_clear() => before,
        _ => least,
    }
}

impl Candidate {
    /// Plans, removes and refreshes the statistics of batch normalization.
    ///
    /// # Errors
    /// `budget-not-met`; whatever the criterion lacks.
    pub fn new(graph: &Graph, hardware: Hardware<'_>, rule: &Rule<'_>, train: &Dataset) -> Result<Self, Diagnostics> {
        let (smaller, plan, scores) = remove_channels(graph, hardware, rule, train)?;
        let vectors = match scores {
            Some(scores) => Some(prune_vectors(&smaller, hardware.config, rule, &plan, &scores)?),
            None => None,
        };
        let masks = vectors.as_ref().map_or_else(TensorMap::new, |v| v.masks.clone());
        let graph = refresh_statistics(&smaller, &masks, train, rule.seed)?;
        Ok(Candidate { criterion: rule.criterion, graph, masks, plan, vectors })
    }

    /// Looks at validation samples, with a learning rate after a short training of a copy: the candidate stays as it is.
    ///
    /// # Errors
    /// If the training refuses its input or diverges.
    pub fn probe(
        &self,
        learning_rate: Option<f64>,
        tuning: &Tuning<'_>,
        metric: Metric,
        progress: &Progress,
    ) -> Result<Probe, Diagnostics> {
        let (network, tuned_samples) = match learning_rate {
            Some(rate) => {
                let part = sample(tuning.train, TRIAL_SAMPLES, tuning.seed);
                let trial = Tuning { train: &part, ..*tuning };
                (tune_briefly(&self.graph, &self.masks, rate, &trial, progress)?, part.len())
            }
            None => (apply_masks(&self.graph, &self.masks)?, 0),
        };
        let part = sample(tuning.validation, PROBE_SAMPLES, tuning.seed);
        let part = samples(&part);
        let (losses, confusion) = judge(&network, &part, None, Execution::default())?;
        Ok(Probe::new(tuned_samples, Quality::new(&confusion), losses, part.labels, metric))
    }

    /// Cycles of one inference.
    pub fn cycles(&self) -> u64 {
        self.vectors.as_ref().map_or(self.plan.after.cycles, |v| v.cycles)
    }

    /// Kept channels by group, where some went.
    pub fn kept_channels(&self) -> BTreeMap<String, Vec<usize>> {
        let shrunk = self.plan.channels.groups.iter().filter(|g| g.kept.len() < g.channels);
        shrunk.map(|g| (g.name.clone(), g.kept.clone())).collect()
    }
}

/// The network without the channels that the plan gives up, the plan, and scores of its vectors.
fn remove_channels(
    graph: &Graph,
    Hardware { target, config }: Hardware<'_>,
    rule: &Rule<'_>,
    train: &Dataset,
) -> Result<(Graph, JointPlan, Option<VectorScores>), Diagnostics> {
    let (criterion, units) = (rule.criterion, rule.units);
    let normalization = criterion.default_normalization();
    let needs = |unit: Unit, wanted: bool| criterion.needs(unit).filter(|_| wanted).unwrap_or_default();
    let wanted = needs(Unit::Channel, units.channels()).and(needs(Unit::Vector, units.vectors()));
    let evidence = collect_evidence(graph, wanted, train, rule.seed)?;
    let mut groups = dependency_groups(graph)?;
    // What is frozen needs no score of its own.
    let by = if units.channels() { criterion } else { Criterion::L1 };
    let scores = importance(graph, &groups, by, normalization, &evidence)?;
    if !units.channels() {
        freeze(&mut groups);
    }
    let rate = |graph: &Graph, evidence: &Evidence| {
        let scores = vector_importance(graph, config, criterion, normalization, evidence)?;
        if units == Units::Blocks { scores.tied_to_blocks(graph, config) } else { Ok(scores) }
    };
    let vectors = units.vectors().then(|| rate(graph, &evidence)).transpose()?;
    let options = JointOptions { min_keep: rule.min_keep, ..JointOptions::new(rule.budgets.clone()) };
    let plan = joint_plan(graph, &groups, &scores, vectors.as_ref(), target, config, &options)?;
    if plan.channels.removed() == 0 {
        return Ok((graph.clone(), plan, vectors));
    }
    let smaller = without(graph, &plan.channels, train, rule.seed)?;
    let vectors = match vectors {
        Some(_) => {
            let evidence = collect_evidence(&smaller, needs(Unit::Vector, true), train, rule.seed)?;
            Some(rate(&smaller, &evidence)?)
        }
        None => None,
    };
    Ok((smaller, plan, vectors))
}

/// The network without some channels; what follows is compensated for their means.
pub fn without(graph: &Graph, channels: &PruningPlan, train: &Dataset, seed: u64) -> Result<Graph, Diagnostics> {
    let part = sample(train, COMPENSATION_SAMPLES, seed);
    let means = channel_means(graph, &part.samples().map(|s| vec![s]).collect::<Vec<_>>());
    apply(&compensate(graph, channels, &means)?, channels)
}

fn freeze(groups: &mut DependencyGroups) {
    for group in &mut groups.groups {
        group.frozen.get_or_insert_with(|| "only vectors may go".to_owned());
    }
}

/// Masks for the tiles of the plan that keep the largest weights of `graph`.
pub fn masks_by_magnitude(
    graph: &Graph,
    config: &AcceleratorConfig,
    rule: &Rule<'_>,
    plan: &JointPlan,
) -> Result<TensorMap, Diagnostics> {
    let normalization = Criterion::L2.default_normalization();
    let scores = vector_importance(graph, config, Criterion::L2, normalization, &Evidence::NONE)?;
    let scores = if rule.units == Units::Blocks { scores.tied_to_blocks(graph, config)? } else { scores };
    Ok(prune_vectors(graph, config, rule, plan, &scores)?.masks)
}

/// Masks for the tiles of the plan. Where only cycles are limited, they are divided anew among the blocks: the plan
/// knows only a few levels a layer.
fn prune_vectors(
    graph: &Graph,
    config: &AcceleratorConfig,
    rule: &Rule<'_>,
    plan: &JointPlan,
    scores: &VectorScores,
) -> Result<VectorPlan, Diagnostics> {
    match rule.budgets.limits.get(&Resource::Cycles) {
        Some(cycles) if rule.budgets.limits.len() == 1 => {
            let options = VectorOptions { budget_cycles: *cycles as u64, min_keep: rule.min_keep };
            vector_masks(graph, config, scores, &options)
        }
        _ => tile_masks(graph, config, scores, &plan.tiles),
    }
}

/// Fresh statistics for batch normalization, if there is any: removal changes what it sees.
pub fn refresh_statistics(graph: &Graph, masks: &TensorMap, train: &Dataset, seed: u64) -> Result<Graph, Diagnostics> {
    let normalizes = graph.nodes().into_iter().any(|id| matches!(graph.node(id).op, Op::BatchNorm { .. }));
    if !normalizes {
        return Ok(graph.clone());
    }
    let part = sample(train, STATISTICS_SAMPLES, seed);
    let fresh = recalibrate_batch_norm(&apply_masks(graph, masks)?, &samples(&part), Execution::default())?;
    let mut graph = graph.clone();
    for id in graph.nodes() {
        if let Op::BatchNorm { mean, variance, .. } = graph.node(id).op {
            [mean, variance].into_iter().for_each(|p| graph.set_param(p, fresh.param(p).clone()));
        }
    }
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(losses: &[f64]) -> Probe {
        let quality = Quality { accuracy: 1.0, macro_f1: 1.0, samples: losses.len() };
        Probe::new(0, quality, losses.to_vec(), &vec![0; losses.len()], Metric::Accuracy)
    }

    #[test]
    fn a_criterion_stays_until_another_is_clearly_better() {
        let before = probe(&[1.0, 2.0, 3.0, 4.0]);
        // Better by half a nat each, by a quarter with twice as large a standard error, and worse.
        let clear = probe(&[0.5, 1.5, 2.5, 3.5]);
        let vague = probe(&[1.0, 2.0, 3.7, 2.3]);
        let worse = probe(&[2.0, 3.0, 4.0, 5.0]);
        let gain = vague.gain_over(&before);
        assert!((gain.mean - 0.25).abs() < 1e-12 && (gain.standard_error - 0.510_718).abs() < 1e-6, "{gain:?}");
        let all = [worse, vague, before, clear];
        assert_eq!(preferred(&all, Some(2)), 3);
        assert_eq!(preferred(&all[..3], Some(2)), 2);
        assert_eq!(preferred(&all[..3], None), 1);
        assert_eq!(preferred(&all[..1], Some(0)), 0);
    }

    #[test]
    fn a_rare_class_counts_as_much_as_a_frequent_one_by_macro_f1() {
        let quality = Quality { accuracy: 1.0, macro_f1: 1.0, samples: 4 };
        let loss = |metric| Probe::new(0, quality, vec![1.0, 1.0, 1.0, 5.0], &[0, 0, 0, 2], metric).loss();
        assert_eq!((loss(Metric::Accuracy), loss(Metric::MacroF1)), (2.0, 3.0));
    }
}
