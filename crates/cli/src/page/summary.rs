//! The top of the page: verdicts, the main figures, accuracy against cycles.

use espalier_prune::Resource;

use super::scale::{Axis, Kind, Plot};
use super::value::{Figure, Source, percent};
use crate::report::{Report, Score};
use crate::training::Metric;

/// What holds and what does not, and the figures that people ask for first.
pub struct Summary {
    /// All verdicts are good.
    pub good: bool,
    /// The verdicts in one sentence.
    pub verdict: String,
    /// Main figures.
    pub cards: Vec<Card>,
    /// Every budget.
    pub budgets: Vec<Budget>,
}

/// One main figure.
pub struct Card {
    /// What it is.
    pub label: &'static str,
    /// The figure.
    pub figure: Figure,
    /// What to compare it with.
    pub notes: Vec<(&'static str, Figure)>,
    /// Label of an uncertain number, such as `assumed`.
    pub assumed: Option<&'static str>,
}

/// One budget with its verdict.
pub struct Budget {
    /// What is limited.
    pub name: String,
    /// The most.
    pub limit: Figure,
    /// What the design takes.
    pub value: Figure,
    /// Whether it is within.
    pub met: bool,
    /// Share of the limit that is taken, in per cent up to 100, if that makes sense.
    pub fill: Option<f64>,
}

/// How sure a number is, if it is not from a data sheet.
pub fn origin(confidence: Option<espalier_target::Confidence>) -> Option<&'static str> {
    match confidence {
        Some(espalier_target::Confidence::Assumed) => Some("assumed"),
        Some(espalier_target::Confidence::Calibrated) => Some("calibrated"),
        Some(espalier_target::Confidence::Measured) => Some("measured"),
        Some(espalier_target::Confidence::Datasheet) => Some("data sheet"),
        None => None,
    }
}

/// The summary of a report.
pub fn summary(report: &Report, source: &Source) -> Summary {
    let mut verdicts = Vec::new();
    let budgets = report.budget.as_ref().is_none_or(|b| b.met);
    if report.budget.is_some() {
        verdicts.push(if budgets { "all budgets are met" } else { "a budget is NOT met" });
    }
    let (mut equal, mut timed) = (true, true);
    match &report.verification {
        None => verdicts.push("not verified yet"),
        Some(v) => {
            (equal, timed) = (v.mismatches == 0, v.cycles_equal != Some(false));
            verdicts.push(if equal { "every element of every layer agrees" } else { "engines DIFFER" });
            match v.cycles_equal {
                Some(true) => verdicts.push("the hardware takes exactly the predicted cycles"),
                Some(false) => verdicts.push("the hardware takes OTHER cycles than predicted"),
                None => {}
            }
        }
    }
    let mut verdict = verdicts.join("; ");
    if let Some(first) = verdict.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Summary {
        good: budgets && equal && timed,
        verdict,
        cards: cards(report, source),
        budgets: budget_rows(report, source),
    }
}

fn cards(report: &Report, source: &Source) -> Vec<Card> {
    let card = |label, figure, notes: Vec<(&'static str, Figure)>| Card { label, figure, notes, assumed: None };
    let mut cards = Vec::new();
    if source.has("/accuracy/int8/value") {
        let notes = vec![
            ("before", source.percent("/accuracy/baseline/value", 2)),
            ("pruned, float", source.percent("/accuracy/pruned/value", 2)),
            ("macro-F1", source.percent("/accuracy/int8/macro_f1", 2)),
        ];
        cards.push(card("INT8 accuracy, test samples", source.percent("/accuracy/int8/value", 2), notes));
    }
    let notes = vec![
        ("dense", source.count("/cycles/dense")),
        ("of dense", source.percent("/cycles/ratio", 1)),
        ("simulated", source.count("/cycles/simulated")),
    ];
    cards.push(card("Cycles for one input", source.count("/cycles/predicted"), notes));
    let mut latency =
        card("Latency, ms", source.number("/latency_ms"), vec![("clock, MHz", source.number("/target/clock_mhz"))]);
    latency.assumed = match report.target.clock_confidence {
        Some(espalier_target::Confidence::Assumed) => Some("clock assumed"),
        Some(espalier_target::Confidence::Calibrated) => Some("clock calibrated"),
        Some(espalier_target::Confidence::Measured) => Some("clock of synthesis"),
        Some(espalier_target::Confidence::Datasheet) => Some("clock of the data sheet"),
        None => None,
    };
    cards.push(latency);
    let mut energy = card("Energy for one input, µJ", source.number("/energy_uj"), Vec::new());
    energy.assumed = origin(report.energy.as_ref().map(|e| e.confidence));
    cards.push(energy);
    let notes = vec![("of", source.count("/model/parameters"))];
    cards.push(card("Weights that are not zero", source.count("/model/parameters_kept"), notes));
    cards.push(card("Utilization of the array", source.percent("/utilization", 1), Vec::new()));
    if report.verification.is_some() {
        let notes = vec![
            ("mismatches", source.count("/verification/mismatches")),
            ("inputs", source.count("/verification/inputs")),
        ];
        cards.push(card("Elements compared", source.count("/verification/elements"), notes));
    }
    cards
}

fn budget_rows(report: &Report, source: &Source) -> Vec<Budget> {
    let Some(budget) = &report.budget else { return Vec::new() };
    let mut rows: Vec<Budget> = budget
        .limits
        .iter()
        .enumerate()
        .map(|(index, limit)| {
            let path = |key: &str| format!("/budget/limits/{index}/{key}");
            Budget {
                name: match limit.resource {
                    Resource::EnergyNj => "energy, nJ".to_owned(),
                    resource => resource.name().to_owned(),
                },
                limit: source.number(&path("limit")),
                value: source.number(&path("value")),
                met: limit.met,
                fill: Some((100.0 * limit.value / limit.limit.max(1e-12)).clamp(0.0, 100.0)),
            }
        })
        .collect();
    let value = |score: &Option<Score>| {
        score.as_ref().map(|s| match budget.metric {
            Metric::Accuracy => s.value,
            Metric::MacroF1 => s.macro_f1,
        })
    };
    if let (Some(baseline), Some(int8)) = (value(&report.accuracy.baseline), value(&report.accuracy.int8)) {
        let drop = 100.0 * (baseline - int8);
        rows.push(Budget {
            name: format!("loss of INT8 {}, points", budget.metric.name()),
            limit: source.number("/budget/max_accuracy_drop"),
            value: Figure::text(format!("{drop:.2}")),
            met: drop <= budget.max_accuracy_drop,
            fill: Some((100.0 * drop / budget.max_accuracy_drop.max(1e-12)).clamp(0.0, 100.0)),
        });
    }
    rows
}

/// Accuracy against cycles: the given network, every round of pruning before and after training, the result.
pub fn accuracy_chart(report: &Report, source: &Source) -> Option<Plot> {
    let baseline = report.accuracy.baseline.as_ref()?;
    let int8 = report.accuracy.int8.as_ref()?;
    let (dense, last) = (report.cycles.dense? as f64, report.cycles.predicted? as f64);
    let rounds = &report.pruning;
    let all = rounds.iter().flat_map(|r| [r.accuracy_before, r.accuracy_after]).flatten();
    let x = Axis::new(Kind::Count, "cycles for one input", rounds.iter().map(|r| r.cycles as f64).chain([dense, last]));
    let y = Axis::new(Kind::Percent, "accuracy", all.chain([baseline.value, int8.value]));
    let mut plot = Plot::new(&x, &y);
    plot.header = vec!["step", "cycles", "accuracy", "before training", "samples"];
    let dash = || Figure::text("–");

    let start = plot.place(&x, &y, (dense, baseline.value));
    plot.mark(start, "test", "diamond", format!("given model: {}", percent(baseline.value, 2)), "given".to_owned());
    plot.rows.push(vec![
        Figure::text("given model"),
        source.count("/cycles/dense"),
        source.percent("/accuracy/baseline/value", 2),
        dash(),
        Figure::text("test"),
    ]);
    let mut kept = Vec::new();
    for (index, round) in rounds.iter().enumerate() {
        let cycles = round.cycles as f64;
        let path = |key: &str| format!("/pruning/{index}/{key}");
        if let (Some(before), Some(after)) = (round.accuracy_before, round.accuracy_after) {
            let (low, high) = (plot.place(&x, &y, (cycles, before)), plot.place(&x, &y, (cycles, after)));
            plot.line("recovery", &[low, high]);
            let name = format!("round {} ({})", round.step, round.criterion);
            plot.mark(low, "before", "ring", format!("{name} before training: {}", percent(before, 2)), String::new());
            let verdict = if round.accepted { "" } else { ", undone" };
            let title = format!("{name} after training: {}{verdict}", percent(after, 2));
            let (class, shape) = if round.accepted { ("after", "circle") } else { ("undone", "cross") };
            plot.mark(high, class, shape, title, String::new());
            if round.accepted {
                kept.push(high);
            }
        }
        let verdict = if round.accepted { "" } else { ", undone" };
        plot.rows.push(vec![
            Figure::text(format!("round {}, {}{verdict}", round.step, round.criterion)),
            source.count(&path("cycles")),
            source.percent(&path("accuracy_after"), 2),
            source.percent(&path("accuracy_before"), 2),
            Figure::text("validation"),
        ]);
    }
    plot.line("course", &kept);
    let end = plot.place(&x, &y, (last, int8.value));
    plot.mark(end, "test", "diamond", format!("INT8 hardware: {}", percent(int8.value, 2)), "INT8".to_owned());
    plot.rows.push(vec![
        Figure::text("INT8 hardware"),
        source.count("/cycles/predicted"),
        source.percent("/accuracy/int8/value", 2),
        dash(),
        Figure::text("test"),
    ]);
    plot.legend = vec![("test", "diamond", "on test samples")];
    if !rounds.is_empty() {
        plot.legend.push(("after", "circle", "after a round, validation samples"));
        plot.legend.push(("before", "ring", "before its training"));
    }
    if rounds.iter().any(|r| !r.accepted) {
        plot.legend.push(("undone", "cross", "undone"));
    }
    Some(plot)
}
