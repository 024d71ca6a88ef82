//! The pruning loop: rounds of choosing, removing, fine-tuning and looking at validation samples.
//!
//! Every round asks the solver for the network of a smaller budget. With `criterion = "adaptive"` each criterion
//! of a pool makes its own candidate, and the one with the least loss on validation samples after a short training
//! is taken; that of the round before stays unless another is clearly better. A round whose validation accuracy falls
//! below the floor is undone and tried again with half the step. The test samples are never looked at. What an earlier
//! run chose can be replayed instead.

mod candidate;
mod log;
mod plan;
mod replay;
mod schedule;
mod sparsify;

use std::collections::{BTreeMap, VecDeque};

use espalier_ir::{Diagnostics, Graph, TensorMap};
use espalier_prune::{Budgets, Criterion, JointPlan, apply_masks};
use espalier_target::{CostModel, Figures, figures, tiles_of_weights};
use espalier_train::Remasking;

use crate::failure::Outcome;
use crate::progress::Progress;
use crate::project::PruneSection;
use crate::report::PruningReport;
use crate::training::{Metric, Start, Tuning, fine_tune, quality};

use candidate::{Candidate, Rule, preferred};
pub use candidate::{Hardware, Units};
use log::{Entry, Log};
pub use plan::PlanFile;
use plan::PlanRound;
pub use schedule::Schedule;
pub use sparsify::RegularizationSection;

/// Rounds that may be undone before the loop gives up.
const MAX_FAILURES: usize = 3;

/// A pruned network.
pub struct Pruned {
    /// The network; pruned weights are zero.
    pub graph: Graph,
    /// How it came about.
    pub rounds: Vec<PruningReport>,
    /// `prune-log.jsonl`, empty if nothing was pruned.
    pub log: String,
    /// `plan.json`, likewise.
    pub plan: String,
}

impl Pruned {
    /// A network as it is.
    pub fn untouched(graph: &Graph) -> Self {
        Pruned { graph: graph.clone(), rounds: Vec::new(), log: String::new(), plan: String::new() }
    }
}

/// Where pruning ends.
#[derive(Clone, Copy)]
pub enum Goal<'a> {
    /// When these hold; without any, when the floor forbids more.
    Budgets(&'a Budgets),
    /// With the last round of an earlier run; nothing is chosen.
    Plan(&'a PlanFile),
}

/// Prunes `original` until the goal is reached.
///
/// # Errors
/// `budget-not-met` with the nearest feasible figure, before any training; `plan-mismatch`; whatever a stage refuses.
pub fn prune(
    original: &Graph,
    hardware: Hardware<'_>,
    goal: Goal<'_>,
    section: &PruneSection,
    metric: Metric,
    tuning: &Tuning,
    progress: &mut Progress,
) -> Outcome<Pruned> {
    let dense = figures_of(original, hardware)?;
    if let Goal::Budgets(goal) = goal
        && goal.hold(&dense)
        && !(goal.limits.is_empty() && section.floor.is_some())
    {
        return Ok(Pruned::untouched(original));
    }
    let mut run = Run {
        hardware,
        section,
        metric,
        tuning,
        least: match (goal, section.floor) {
            (Goal::Budgets(_), Some(points)) => {
                quality(original, tuning.validation, progress)?.by(metric) - points / 100.0
            }
            // A plan holds what was accepted, and so it stays.
            _ => 0.0,
        },
        log: Log::default(),
        plan: PlanFile::default(),
        rounds: Vec::new(),
        accepted: Accepted { graph: original.clone(), figures: dense },
    };
    // What cannot be reached is said before hours of training; how far one can go hardly depends on the criterion.
    match goal {
        Goal::Plan(plan) => replay::check(plan, original)?,
        Goal::Budgets(goal) if goal.limits.is_empty() => {}
        Goal::Budgets(goal) => run.check_feasible(goal)?,
    }
    if section.sparsify_epochs > 0 {
        run.sparsify(progress)?;
    }
    match goal {
        Goal::Plan(plan) => run.replay(plan, progress)?,
        Goal::Budgets(goal) => run.all(goal, progress)?,
    }
    let Run { log, plan, rounds, accepted, .. } = run;
    Ok(Pruned { graph: accepted.graph, rounds, log: log.to_jsonl(), plan: plan.to_json() })
}

/// What a round makes of the network before it is fine-tuned.
struct Step {
    criterion: Criterion,
    /// Without the channels of the round; weights under the masks are still there.
    graph: Graph,
    masks: TensorMap,
    /// Cycles of one inference.
    cycles: u64,
    channels_removed: usize,
    /// By group, where some went.
    kept_channels: BTreeMap<String, Vec<usize>>,
    vectors_pruned: usize,
    certified_gap: Option<f64>,
    /// How the masks may change while the network is fine-tuned: absent if they stay.
    regrow: Option<JointPlan>,
}

/// The last network that kept within the floor.
struct Accepted {
    graph: Graph,
    figures: Figures,
}

struct Run<'a> {
    hardware: Hardware<'a>,
    section: &'a PruneSection,
    metric: Metric,
    tuning: &'a Tuning<'a>,
    /// Value of the metric on validation samples that every round must keep.
    least: f64,
    log: Log,
    plan: PlanFile,
    rounds: Vec<PruningReport>,
    accepted: Accepted,
}

impl Run<'_> {
    fn all(&mut self, goal: &Budgets, progress: &mut Progress) -> Outcome<()> {
        let free = goal.limits.is_empty();
        let mut ahead: VecDeque<Budgets> = if free {
            VecDeque::from([schedule::fewer_cycles(&self.accepted.figures)])
        } else {
            schedule::path(self.section.schedule, &self.accepted.figures, goal, self.section.steps).into()
        };
        let (mut failures, mut avoid) = (0, None);
        while let Some(budgets) = ahead.pop_front() {
            let last = !free && ahead.is_empty();
            let candidate = match self.choose(&budgets, avoid, last, progress) {
                // Without a goal the least network is an end, not a failure.
                Err(findings) if free && findings.iter().all(|f| f.code == "budget-not-met") => break,
                found => found?,
            };
            let criterion = candidate.criterion;
            self.explain(&candidate.plan);
            if self.tune(self.step(candidate), &budgets, last, progress)? {
                avoid = None;
                if free {
                    ahead.push_back(schedule::fewer_cycles(&self.accepted.figures));
                }
                continue;
            }
            failures += 1;
            if failures == MAX_FAILURES {
                progress.line("  the floor of the accuracy was reached three times: the last accepted network stays");
                break;
            }
            avoid = Some(criterion);
            let halfway = schedule::halfway(&self.accepted.figures, &budgets);
            if !free {
                ahead.push_front(budgets);
            }
            ahead.push_front(halfway);
        }
        Ok(())
    }

    fn rule<'b>(&self, criterion: Criterion, budgets: &'b Budgets) -> Rule<'b> {
        let (units, min_keep, seed) = (self.section.units, self.section.min_keep, self.tuning.seed);
        Rule { criterion: criterion.seeded(seed), budgets, units, min_keep, seed }
    }

    fn check_feasible(&self, goal: &Budgets) -> Result<(), Diagnostics> {
        let rule = self.rule(Criterion::L1, goal);
        Candidate::new(&self.accepted.graph, self.hardware, &rule, self.tuning.train).map(|_| ())
    }

    /// Passes over the training samples after a round.
    fn epochs(&self, last: bool) -> usize {
        if last { self.section.final_epochs } else { self.section.epochs }
    }

    /// The candidate that the probe on validation samples prefers.
    fn choose(
        &mut self,
        budgets: &Budgets,
        avoid: Option<Criterion>,
        last: bool,
        progress: &Progress,
    ) -> Result<Candidate, Diagnostics> {
        let round = self.rounds.len() + 1;
        self.log.push(Entry::Round { round, budgets: budgets.clone() });
        let pool = self.section.pool();
        let allowed: Vec<Criterion> = pool.iter().copied().filter(|c| Some(*c) != avoid || pool.len() == 1).collect();
        // Where nothing is to be chosen, or the round trains nothing, a trial would tell nothing.
        let trial = (allowed.len() > 1 && self.epochs(last) > 0).then_some(self.section.learning_rate);
        let (mut candidates, mut probes) = (Vec::new(), Vec::new());
        for criterion in allowed {
            let rule = self.rule(criterion, budgets);
            let mut candidate = Candidate::new(&self.accepted.graph, self.hardware, &rule, self.tuning.train)?;
            candidate.criterion = criterion;
            let probe = candidate.probe(trial, self.tuning, self.metric, progress)?;
            if pool.len() > 1 {
                let (cycles, name) = (candidate.cycles(), criterion.name());
                let gap = candidate.plan.gap().map_or(String::new(), |g| format!(", gap {:.2} %", 100.0 * g));
                let (metric, loss) = (self.metric, probe.loss());
                let value = format!("{} {:.2} %", metric.name(), 100.0 * probe.quality.by(metric));
                progress.line(&format!("    {name}: {cycles} cycles, probe loss {loss:.4}, {value}{gap}"));
            }
            candidates.push(candidate);
            probes.push(probe);
        }
        let last = self.plan.rounds.last();
        let before = last.and_then(|l| candidates.iter().position(|c| c.criterion.name() == l.criterion));
        for (index, (candidate, probe)) in candidates.iter().zip(&probes).enumerate() {
            self.log.push(Entry::Candidate {
                round,
                criterion: candidate.criterion.name(),
                tuned_samples: probe.tuned_samples,
                loss: probe.loss(),
                gain: before.filter(|b| *b != index).map(|b| probe.gain_over(&probes[b])),
                accuracy: probe.quality.accuracy,
                macro_f1: probe.quality.macro_f1,
                cycles: candidate.cycles(),
                gap: candidate.plan.gap(),
            });
        }
        Ok(candidates.swap_remove(preferred(&probes, before)))
    }

    fn step(&self, candidate: Candidate) -> Step {
        let vectors = candidate.vectors.as_ref();
        Step {
            criterion: candidate.criterion,
            cycles: candidate.cycles(),
            channels_removed: candidate.plan.channels.removed(),
            kept_channels: candidate.kept_channels(),
            vectors_pruned: vectors.map_or(0, |v| v.layers.iter().map(|l| l.vectors - l.kept).sum()),
            certified_gap: candidate.plan.gap(),
            regrow: (self.section.regrow && vectors.is_some()).then_some(candidate.plan),
            graph: candidate.graph,
            masks: candidate.masks,
        }
    }

    /// Fine-tunes what a round chose and keeps it if the floor holds. Returns whether it does.
    fn tune(&mut self, chosen: Step, budgets: &Budgets, last: bool, progress: &mut Progress) -> Outcome<bool> {
        let round = self.rounds.len() + 1;
        let (section, name) = (self.section, chosen.criterion.name());
        let masked = apply_masks(&chosen.graph, &chosen.masks)?;
        let before = quality(&masked, self.tuning.validation, progress)?;
        let (cycles, channels) = (chosen.cycles, chosen.channels_removed);
        progress.line(&format!(
            "  round {round} ({name}): {cycles} cycles, {channels} channels removed, validation {} {:.2} %",
            self.metric.name(),
            100.0 * before.by(self.metric)
        ));
        let epochs = self.epochs(last);
        let start = Start {
            stage: "prune",
            graph: &chosen.graph,
            masks: &chosen.masks,
            epochs,
            learning_rate: section.learning_rate,
            quantization: None,
            choose_epoch: true,
        };
        // Under feedback the weights that count are the large ones: pruned ones have no gradient of their own.
        let rule = self.rule(Criterion::L2, budgets);
        let config = self.hardware.config;
        let mut remask = chosen.regrow.as_ref().map(|plan| {
            let rule = &rule;
            move |now: &Remasking<'_>| candidate::masks_by_magnitude(now.graph, config, rule, plan)
        });
        let remask = remask.as_mut().map(|remask| remask as espalier_train::Remask<'_>);
        let tuned = fine_tune(&start, self.tuning, remask, progress)?;
        let after = quality(&tuned.graph, self.tuning.validation, progress)?;
        let value = after.by(self.metric);
        let accepted = value >= self.least;
        let verdict = if accepted { "" } else { ": below the floor, undone" };
        progress.line(&format!("    after {epochs} epochs: validation {:.2} %{verdict}", 100.0 * value));
        self.log.push(Entry::Tuned {
            round,
            criterion: name,
            before: before.accuracy,
            after: after.accuracy,
            macro_f1_before: before.macro_f1,
            macro_f1_after: after.macro_f1,
            accepted,
        });
        let figures = figures_of(&tuned.graph, self.hardware)?;
        self.rounds.push(PruningReport {
            step: round,
            budgets: budgets.clone(),
            criterion: name.to_owned(),
            cycles: figures.cycles,
            channels_removed: channels,
            vectors_pruned: chosen.vectors_pruned,
            certified_gap: chosen.certified_gap,
            accuracy_before: Some(before.accuracy),
            accuracy_after: Some(after.accuracy),
            macro_f1_before: Some(before.macro_f1),
            macro_f1_after: Some(after.macro_f1),
            accepted,
        });
        if accepted {
            self.plan.rounds.push(PlanRound {
                round,
                criterion: name.to_owned(),
                budgets: budgets.clone(),
                last,
                kept_channels: chosen.kept_channels,
                vectors_pruned: chosen.vectors_pruned,
                masks: plan::pack(&tuned.graph, &tuned.masks),
                figures,
            });
            self.accepted = Accepted { graph: tuned.graph, figures };
        }
        Ok(accepted)
    }

    /// Why each channel or tile went, into the log.
    fn explain(&mut self, plan: &JointPlan) {
        let round = self.rounds.len() + 1;
        for decision in &plan.decisions {
            self.log.push(Entry::Decision {
                round,
                name: decision.name.clone(),
                unit: if decision.tiles { "tiles" } else { "channels" },
                from: decision.from,
                to: decision.to,
                loss: decision.loss,
                cycles: decision.figures.cycles,
            });
        }
    }
}

/// What a network takes, with the tiles that its zeros leave.
fn figures_of(graph: &Graph, Hardware { target, config }: Hardware<'_>) -> Result<Figures, Diagnostics> {
    let model = CostModel::new(graph, config)?;
    Ok(figures(model.network(), &tiles_of_weights(&model, graph), target, config))
}
