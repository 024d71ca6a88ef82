//! `compare.html`: several runs side by side.

use askama::Template;

use super::Run;
use super::scale::{Axis, Kind, Plot};
use super::value::{Figure, percent};
use crate::report::Report;

/// Length in per cent and cycles of a layer in one run; none where the run has no such layer.
type Bar = Option<(f64, Figure)>;

/// Colours of runs, as CSS classes.
const CLASSES: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];

#[derive(Template)]
#[template(path = "compare.html")]
struct Comparison {
    title: String,
    runs: Vec<(usize, String)>,
    rows: Vec<Row>,
    accuracy: Option<Plot>,
    layers: Vec<(String, Vec<Bar>)>,
}

/// One line of the table.
struct Row {
    name: &'static str,
    /// Figure of each run, and whether it is the best.
    cells: Vec<(Figure, bool)>,
}

/// A page that compares runs.
pub fn compare(runs: &[Run]) -> String {
    let page = Comparison {
        title: format!("{} runs compared", runs.len()),
        runs: runs.iter().enumerate().map(|(i, r)| (i % CLASSES.len(), r.name.clone())).collect(),
        rows: rows(runs),
        accuracy: chart(runs),
        layers: layers(runs),
    };
    page.render().expect("rendering into a string does not fail")
}

/// Which end of a scale is better.
#[derive(Clone, Copy, PartialEq)]
enum Better {
    Less,
    More,
    Neither,
}

fn rows(runs: &[Run]) -> Vec<Row> {
    let text = |name, of: &dyn Fn(&Report) -> String| Row {
        name,
        cells: runs.iter().map(|r| (Figure::text(of(&r.report)), false)).collect(),
    };
    let figure = |name, path: &str, better: Better, show: &dyn Fn(&Run) -> Figure| {
        let values: Vec<Option<f64>> = runs.iter().map(|r| r.source.0.pointer(path).and_then(|v| v.as_f64())).collect();
        let known = values.iter().flatten().copied();
        let best = match better {
            Better::Less => known.fold(f64::INFINITY, f64::min),
            Better::More => known.fold(f64::NEG_INFINITY, f64::max),
            Better::Neither => f64::NAN,
        };
        Row { name, cells: runs.iter().zip(values).map(|(run, value)| (show(run), value == Some(best))).collect() }
    };
    let count = |name, path: &'static str, better| figure(name, path, better, &|r| r.source.count(path));
    let number = |name, path: &'static str, better| figure(name, path, better, &|r| r.source.number(path));
    let share = |name, path: &'static str, better| figure(name, path, better, &|r| r.source.percent(path, 2));
    vec![
        text("model", &|r| r.model.name.clone()),
        text("target", &|r| r.target.name.clone()),
        share("accuracy, given model", "/accuracy/baseline/value", Better::Neither),
        share("accuracy, INT8", "/accuracy/int8/value", Better::More),
        share("macro-F1, INT8", "/accuracy/int8/macro_f1", Better::More),
        count("cycles, dense", "/cycles/dense", Better::Neither),
        count("cycles", "/cycles/predicted", Better::Less),
        count("cycles, simulated", "/cycles/simulated", Better::Neither),
        share("cycles, of dense", "/cycles/ratio", Better::Less),
        number("latency, ms", "/latency_ms", Better::Less),
        number("energy, µJ", "/energy_uj", Better::Less),
        share("utilization", "/utilization", Better::More),
        count("weights that are not zero", "/model/parameters_kept", Better::Less),
        count("elements compared", "/verification/elements", Better::Neither),
        count("mismatches", "/verification/mismatches", Better::Neither),
        text("budgets", &|r| match &r.budget {
            Some(budget) if budget.met => "met".to_owned(),
            Some(_) => "NOT met".to_owned(),
            None => "none".to_owned(),
        }),
        text("seed", &|r| r.seed.to_string()),
    ]
}

/// Result of every run, and the network that it was given.
fn chart(runs: &[Run]) -> Option<Plot> {
    let scores = |run: &Run| {
        let report = &run.report;
        let (baseline, int8) = (report.accuracy.baseline.as_ref()?.value, report.accuracy.int8.as_ref()?.value);
        Some([(report.cycles.dense? as f64, baseline), (report.cycles.predicted? as f64, int8)])
    };
    let known: Vec<_> = runs.iter().enumerate().filter_map(|(i, run)| Some((i, run, scores(run)?))).collect();
    if known.is_empty() {
        return None;
    }
    let all = || known.iter().flat_map(|(_, _, points)| points);
    let x = Axis::new(Kind::Count, "cycles for one input", all().map(|p| p.0));
    let y = Axis::new(Kind::Percent, "accuracy on test samples", all().map(|p| p.1));
    let mut plot = Plot::new(&x, &y);
    plot.header = vec!["run", "cycles", "accuracy, INT8", "cycles, dense", "accuracy, given model"];
    for (index, run, points) in &known {
        let class = CLASSES[index % CLASSES.len()];
        let [from, to] = points.map(|at| plot.place(&x, &y, at));
        plot.line(class, &[from, to]);
        plot.mark(
            from,
            class,
            "ring",
            format!("{}, given model: {}", run.name, percent(points[0].1, 2)),
            String::new(),
        );
        plot.mark(to, class, "circle", format!("{}: {}", run.name, percent(points[1].1, 2)), (index + 1).to_string());
        plot.rows.push(vec![
            Figure::text(format!("{} {}", index + 1, run.name)),
            run.source.count("/cycles/predicted"),
            run.source.percent("/accuracy/int8/value", 2),
            run.source.count("/cycles/dense"),
            run.source.percent("/accuracy/baseline/value", 2),
        ]);
    }
    plot.legend = vec![("ring-key", "ring", "given model"), ("ring-key", "circle", "INT8 hardware, by number of run")];
    Some(plot)
}

/// Cycles of the layers of all runs, by name in the order of the first run.
fn layers(runs: &[Run]) -> Vec<(String, Vec<Bar>)> {
    let mut names: Vec<&String> = Vec::new();
    for layer in runs.iter().flat_map(|r| &r.report.layers) {
        if !names.contains(&&layer.name) {
            names.push(&layer.name);
        }
    }
    let all = runs.iter().flat_map(|r| &r.report.layers);
    let longest = all.map(|l| l.cycles_predicted).max().unwrap_or(1).max(1) as f64;
    let of = |run: &Run, name: &String| {
        let index = run.report.layers.iter().position(|l| l.name == *name)?;
        let length = 100.0 * run.report.layers[index].cycles_predicted as f64 / longest;
        Some(((100.0 * length).round() / 100.0, run.source.count(&format!("/layers/{index}/cycles_predicted"))))
    };
    names.into_iter().map(|name| (name.clone(), runs.iter().map(|run| of(run, name)).collect())).collect()
}
