//! Resources, energy, evidence, decisions, and where everything comes from.

use serde_json::Value;

use super::summary::origin;
use super::value::{Figure, Source, count, number, percent};
use crate::report::Report;

/// Use of one resource.
pub struct Fill {
    /// Name.
    pub name: String,
    /// Amount taken and available.
    pub used: Figure,
    /// Likewise.
    pub available: Figure,
    /// Share taken, readable.
    pub share: String,
    /// Length of the bar in per cent.
    pub length: f64,
    /// Place of the limit in per cent.
    pub limit: f64,
    /// Whether it stays within.
    pub fits: bool,
    /// How sure the amount is.
    pub origin: &'static str,
    /// Largest error against syntheses that the fit had not seen, if the family was synthesized.
    pub within: Option<Figure>,
}

/// Resources of the accelerator.
pub fn resources(report: &Report, source: &Source) -> Vec<Fill> {
    let Some(resources) = &report.resources else { return Vec::new() };
    let uses = resources.uses.iter().enumerate();
    uses.map(|(index, one)| Fill {
        name: one.name.clone(),
        used: source.number(&format!("/resources/uses/{index}/used")),
        available: source.number(&format!("/resources/uses/{index}/available")),
        share: if one.fill().is_finite() { percent(one.fill(), 1) } else { "not there".to_owned() },
        length: (100.0 * one.fill()).clamp(0.0, 100.0),
        limit: (100.0 * one.limit).clamp(0.0, 100.0),
        fits: one.fits(),
        origin: origin(Some(one.confidence)).unwrap_or_default(),
        within: one.worst_error.map(|_| source.within(&format!("/resources/uses/{index}/worst_error"))),
    })
    .collect()
}

/// Where the energy goes.
pub struct Energy {
    /// How sure the numbers are.
    pub origin: Option<&'static str>,
    /// All of it.
    pub total: Figure,
    /// Class, name, share in per cent and energy of each part.
    pub parts: Vec<(&'static str, &'static str, f64, Figure)>,
    /// Name, share in per cent and parts of each layer.
    pub layers: Vec<(String, f64, Vec<Figure>)>,
}

const ENERGY_PARTS: [(&str, &str, &str); 7] = [
    ("compute", "multiply-accumulate", "macs_uj"),
    ("idle-rows", "activation lanes", "lanes_uj"),
    ("write-back", "accumulators", "accumulators_uj"),
    ("weight-load", "weight memory", "weights_uj"),
    ("idle-columns", "clock and control", "overhead_uj"),
    ("static", "static power", "static_uj"),
    ("external", "external memory", "external_uj"),
];

/// Energy of the design.
pub fn energy(report: &Report, source: &Source) -> Option<Energy> {
    let energy = report.energy.as_ref()?;
    let total = energy.split.total_uj().max(1e-12);
    let part = |key: &str| source.0.pointer(&format!("/energy/{key}")).and_then(Value::as_f64).unwrap_or(0.0);
    let share = |value: f64| (1e4 * value / total).round() / 100.0;
    let layers = report.layers.iter().enumerate().map(|(index, layer)| {
        let figures = ENERGY_PARTS.map(|(_, _, key)| source.number(&format!("/layers/{index}/energy/{key}")));
        (layer.name.clone(), share(layer.energy.total_uj()), figures.to_vec())
    });
    Some(Energy {
        origin: origin(Some(energy.confidence)),
        total: source.number("/energy_uj"),
        parts: ENERGY_PARTS
            .map(|(class, name, key)| (class, name, share(part(key)), source.number(&format!("/energy/{key}"))))
            .to_vec(),
        layers: layers.collect(),
    })
}

/// What was compared.
pub struct Verification {
    /// Inputs, and how many of them are random.
    pub inputs: [Figure; 2],
    /// Whether the cycles agree, readable.
    pub cycles: &'static str,
    /// The first difference.
    pub first: Option<String>,
    /// Name, inputs, elements, mismatches, seconds of each engine.
    pub engines: Vec<(String, [Figure; 4])>,
}

/// Evidence of the verification.
pub fn verification(report: &Report, source: &Source) -> Option<Verification> {
    let found = report.verification.as_ref()?;
    let engines = found.by_engine.iter().enumerate().map(|(index, engine)| {
        let path = |key: &str| format!("/verification/by_engine/{index}/{key}");
        let figures = [
            source.count(&path("inputs")),
            source.count(&path("elements")),
            source.count(&path("mismatches")),
            source.number(&path("seconds")),
        ];
        (engine.engine.clone(), figures)
    });
    Some(Verification {
        inputs: [source.count("/verification/inputs"), source.count("/verification/random_inputs")],
        cycles: match found.cycles_equal {
            Some(true) => "every simulated run took exactly the predicted cycles",
            Some(false) => "the simulated hardware took other cycles than predicted",
            None => "the hardware was not simulated",
        },
        first: found.first_difference.clone(),
        engines: engines.collect(),
    })
}

/// An estimate beside what was measured.
pub struct Measured {
    /// What, with unit.
    pub name: String,
    /// The model's figure.
    pub estimated: Figure,
    /// The measured one.
    pub measured: Figure,
    /// Deviation of the estimate, readable.
    pub deviation: String,
    /// Who measured.
    pub source: String,
}

/// Estimates against measurements: cycles if the hardware was simulated, and whatever tools reported.
pub fn measured(report: &Report, source: &Source) -> Vec<Measured> {
    let deviation = |estimated: Option<f64>, measured: f64| match estimated {
        Some(estimated) if measured != 0.0 => {
            let percent = 100.0 * (estimated / measured - 1.0);
            if percent == 0.0 { "exact".to_owned() } else { format!("{percent:+.1} %") }
        }
        _ => "–".to_owned(),
    };
    let mut rows = Vec::new();
    if let (Some(predicted), Some(simulated)) = (report.cycles.predicted, report.cycles.simulated) {
        rows.push(Measured {
            name: "cycles for one input".to_owned(),
            estimated: source.count("/cycles/predicted"),
            measured: source.count("/cycles/simulated"),
            deviation: deviation(Some(predicted as f64), simulated as f64),
            source: report.tools.verilator.clone().unwrap_or_else(|| "simulation".to_owned()),
        });
    }
    rows.extend(report.measurements.iter().enumerate().map(|(index, one)| Measured {
        name: if one.unit.is_empty() { one.name.clone() } else { format!("{}, {}", one.name, one.unit) },
        estimated: source.number(&format!("/measurements/{index}/estimated")),
        measured: source.number(&format!("/measurements/{index}/measured")),
        deviation: deviation(one.estimated, one.measured),
        source: one.source.clone(),
    }));
    rows
}

/// What was decided in one round of pruning.
pub struct Round {
    /// Round, from 1.
    pub number: u64,
    /// What it was for, readable.
    pub budgets: String,
    /// Criterion, probe loss, its lead over the criterion of the round before, probe accuracy, cycles,
    /// gap of each candidate, and whether it was taken.
    pub candidates: Vec<([String; 6], bool)>,
    /// What went, how much, at which loss, and why.
    pub decisions: Vec<[String; 4]>,
    /// How it ended.
    pub outcome: String,
    /// Whether it stays.
    pub accepted: bool,
}

/// A mean and its standard error; a dash for none.
fn gain(gain: &Value) -> String {
    let part = |key: &str| gain[key].as_f64().map(number);
    part("mean").zip(part("standard_error")).map_or_else(|| "–".to_owned(), |(mean, error)| format!("{mean} ± {error}"))
}

/// The decision log by rounds.
pub fn decisions(log: &[Value], dense_cycles: Option<u64>) -> Vec<Round> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let float = |entry: &Value, key: &str| entry[key].as_f64();
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let share = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| percent(v, 2));
    let mut rounds: Vec<Round> = Vec::new();
    let mut cycles = None;
    for entry in log {
        if entry["event"] == "round" {
            let limits = entry["budgets"].as_object().into_iter().flatten();
            let limits = limits.map(|(name, limit)| format!("{} {}", number(limit.as_f64().unwrap_or(0.0)), name));
            rounds.push(Round {
                number: entry["round"].as_u64().unwrap_or(0),
                budgets: limits.collect::<Vec<_>>().join(", ").replace('_', " "),
                candidates: Vec::new(),
                decisions: Vec::new(),
                outcome: "not finished".to_owned(),
                accepted: false,
            });
            // Later rounds weigh all vectors anew, without saying where they start.
            cycles = dense_cycles.filter(|_| rounds.len() == 1);
            continue;
        }
        let Some(round) = rounds.last_mut() else { continue };
        match entry["event"].as_str() {
            Some("candidate") => {
                let gap = float(entry, "gap").map_or_else(|| "none".to_owned(), |g| percent(g, 2));
                let cells = [
                    text(entry, "criterion"),
                    shown(float(entry, "loss")),
                    gain(&entry["gain"]),
                    share(float(entry, "accuracy")),
                    entry["cycles"].as_u64().map_or_else(|| "–".to_owned(), count),
                    gap,
                ];
                round.candidates.push((cells, false));
            }
            Some("decision") => {
                let (loss, after) = (float(entry, "loss"), entry["cycles"].as_u64());
                let saved = cycles.zip(after).map(|(before, after): (u64, u64)| before.saturating_sub(after));
                cycles = after;
                let why = match (saved.filter(|s| *s > 0), loss) {
                    (Some(saved), Some(loss)) if loss > 0.0 => format!(
                        "saves {} cycles, {} for each thousandth of the loss",
                        count(saved),
                        number(saved as f64 * 1e-3 / loss)
                    ),
                    (Some(saved), _) => format!("saves {} cycles and loses nothing that is measured", count(saved)),
                    (None, _) => format!("leaves {} cycles", after.map_or_else(|| "–".to_owned(), count)),
                };
                let went = format!(
                    "{} → {} {}",
                    entry["from"].as_u64().unwrap_or(0),
                    entry["to"].as_u64().unwrap_or(0),
                    text(entry, "unit")
                );
                round.decisions.push([text(entry, "name"), went, shown(loss), why]);
            }
            Some("tuned") => {
                let criterion = text(entry, "criterion");
                round.accepted = entry["accepted"] == true;
                let verdict = if round.accepted { "kept" } else { "undone: below the floor" };
                let (before, after) = (share(float(entry, "before")), share(float(entry, "after")));
                round.outcome = format!("{criterion}: validation accuracy {before}, after training {after}; {verdict}");
                for candidate in &mut round.candidates {
                    candidate.1 = candidate.0[0] == criterion;
                }
            }
            _ => {}
        }
    }
    rounds
}

/// Versions and everything else that the design depends on.
pub fn provenance(report: &Report, source: &Source) -> Vec<(&'static str, String)> {
    let accelerator = |key: &str| source.0.pointer(&format!("/accelerator/{key}")).map(Value::to_string);
    let side = |key: &str| accelerator(key).unwrap_or_else(|| "?".to_owned());
    let clusters = accelerator("clusters").map_or_else(String::new, |clusters| format!("{clusters} times "));
    let mut rows = vec![
        ("espalier", report.tools.espalier.clone()),
        ("command", report.command.clone()),
        ("seed", report.seed.to_string()),
        ("configuration hash", report.config_hash.clone()),
        ("array", format!("{clusters}{} rows × {} columns", side("rows"), side("cols"))),
        ("device", report.target.description.clone()),
    ];
    let tools = [("Verilator", &report.tools.verilator), ("C++ compiler", &report.tools.cpp_compiler)];
    rows.extend(tools.into_iter().filter_map(|(name, version)| Some((name, version.clone()?))));
    if let Some(rounding) = &report.quantization {
        let share = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), |v| percent(v, 2));
        let (float, after) = (share(rounding.validation_float), share(rounding.validation_post_training));
        let mut text = format!("{}; validation: float {float}, INT8 {after}", rounding.method);
        if let Some(aware) = rounding.validation_aware {
            text += &format!(", after rounding-aware training {}", percent(aware, 2));
        }
        rows.push(("quantization", text));
    }
    let data = &report.data;
    let samples = [data.train, data.validation, data.calibration, data.test].map(|n| count(n as u64));
    let [train, validation, calibration, test] = samples;
    rows.push((
        "samples",
        format!("{train} training, {validation} validation, {calibration} calibration, {test} test"),
    ));
    // What takes no time to speak of is left out.
    let long = report.stages.iter().filter(|s| s.seconds >= 0.05);
    let seconds = long.map(|s| format!("{} {:.1}", s.name.replace('-', " "), s.seconds)).collect::<Vec<_>>();
    let all: f64 = report.stages.iter().map(|s| s.seconds).sum();
    rows.push(("seconds", format!("{all:.1} in all: {}", seconds.join(", "))));
    rows
}
