//! `espalier explore` and `espalier fit`: which accelerator for a model on a target.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

use espalier_ir::{Diagnostic, Diagnostics, Graph};
use espalier_target::{Confidence, DesignPoint, ResourceUse, Space, Target, design_points, estimate, fastest, pareto};
use serde::Serialize;

use crate::args::{ExploreArgs, FitArgs, SpaceOptions};
use crate::chart;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::files::load_model;
use crate::output::write_file;
use crate::profile::Profile;
use crate::progress::Progress;
use crate::render::{count, pairs, percent, table};
use crate::target::find_target;

/// Rows of the table on the terminal; the rest is in the CSV file and in the JSON.
const SHOWN: usize = 24;

#[derive(Serialize)]
struct ExploreAnswer<'a> {
    model: &'a str,
    target: &'a str,
    space: &'a Space,
    /// Accelerators that were priced, each at one density.
    points: usize,
    /// Of these, how many the target holds.
    fitting: usize,
    seconds: f64,
    clock_confidence: Confidence,
    front: &'a [DesignPoint],
}

/// Prices all configurations and keeps the trade-offs.
///
/// # Errors
/// If the model cannot be imported, nothing fits, or a file cannot be written.
pub fn explore(args: &ExploreArgs, progress: &mut Progress) -> Outcome<Answer> {
    let graph = load_model(&args.model)?;
    let target = find_target(&args.target)?;
    let space = space(&target, &args.space, &args.density)?;
    let begin = Instant::now();
    let mut points = search(&graph, &target, &space, progress);
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(folder) = &args.profile {
        let profile = Profile::read(folder)?;
        points.iter_mut().for_each(|p| p.accuracy = profile.accuracy(p.density));
    }
    let fitting = points.iter().filter(|p| p.fits()).count();
    let front = pareto(points.clone());
    if front.is_empty() {
        return Err(nothing_fits(&graph, &target, &points).into());
    }
    if let Some(path) = &args.csv {
        write_file(path, csv(&front).as_bytes())?;
    }
    if let Some(path) = &args.plot {
        let title = format!("{} on {}", graph.name, target.name);
        write_file(path, chart::trade_offs(&title, &points, &front).as_bytes())?;
    }
    let answer = ExploreAnswer {
        model: &graph.name,
        target: &target.name,
        space: &space,
        points: points.len(),
        fitting,
        seconds,
        clock_confidence: target.clock_mhz.confidence,
        front: &front,
    };
    let mut text = show(&front);
    if front.len() > SHOWN {
        text += &format!("... and {} more: --csv FILE or --json shows all\n", front.len() - SHOWN);
    }
    let clock = format!("{} MHz ({})", target.clock_mhz.value, target.clock_mhz.confidence.name());
    text += &pairs(&[
        ("model", graph.name.clone()),
        ("target", format!("{} at {clock}", target.name)),
        (
            "priced",
            format!("{} accelerators in {seconds:.2} s, {} fit", count(points.len() as u64), count(fitting as u64)),
        ),
        ("trade-offs", format!("{} that no other beats in time, energy, fill and density at once", front.len())),
        ("figures", sureness(&target, &front[0])),
    ]);
    Ok(Answer::new(&answer, text))
}

/// How sure the figures of a point are.
fn sureness(target: &Target, point: &DesignPoint) -> String {
    let energy = target.energy.facts().iter().map(|(_, fact)| fact.confidence).max();
    let resources = point.resources.uses.iter().map(|u| u.confidence).max();
    let name = |confidence: Option<Confidence>| confidence.map_or("assumed", Confidence::name);
    format!("cycles are exact, energy is {}, resources are {}", name(energy), name(resources))
}

#[derive(Serialize)]
struct FitAnswer<'a> {
    model: &'a str,
    target: &'a str,
    priced: usize,
    best: &'a DesignPoint,
    clock_confidence: Confidence,
}

/// Chooses the fastest accelerator that fits.
///
/// # Errors
/// As [`explore`].
pub fn fit(args: &FitArgs, progress: &mut Progress) -> Outcome<Answer> {
    let graph = load_model(&args.model)?;
    let target = find_target(&args.target)?;
    let space = space(&target, &args.space, &[args.density])?;
    let points = search(&graph, &target, &space, progress);
    let Some(best) = fastest(&points) else { return Err(nothing_fits(&graph, &target, &points).into()) };
    let config = &best.config;
    let confidence = target.clock_mhz.confidence.name();
    let mut text = pairs(&[
        ("model", graph.name.clone()),
        ("target", target.name.clone()),
        ("priced", format!("{} accelerators", count(points.len() as u64))),
        ("cycles", count(best.cycles)),
        ("latency", format!("{:.4} ms at {} MHz ({confidence})", best.latency_ms, target.clock_mhz.value)),
        ("utilization", percent(best.utilization)),
        (
            "energy",
            format!("{:.3} uJ (from the target's numbers, see `espalier targets {}`)", best.energy_uj, target.name),
        ),
        ("fullest resource", percent(best.fill)),
        ("figures", sureness(&target, best)),
    ]);
    text += &format!(
        "\nfor the project file:\n\n[target]\nname = \"{}\"\n\n[accelerator]\nrows = {}\ncols = {}\nlane_bytes = {}\n\
         accumulator_pixels = {}\ncombine = {}\nclusters = {}\nmultiplier = \"{}\"\ndepthwise_taps = {}\nweights = \"{}\"\n",
        args.target,
        config.rows,
        config.cols,
        config.lane_bytes,
        config.accumulator_pixels,
        config.combine,
        config.clusters,
        config.multiplier.name(),
        config.depthwise_taps,
        config.weights.name()
    );
    let answer = FitAnswer {
        model: &graph.name,
        target: &target.name,
        priced: points.len(),
        best,
        clock_confidence: target.clock_mhz.confidence,
    };
    Ok(Answer::new(&answer, text))
}

/// The fastest accelerator for a model that a target holds, if any.
pub fn best_fit(graph: &Graph, target: &Target, progress: &mut Progress) -> Option<DesignPoint> {
    fastest(&search(graph, target, &Space::default(), progress)).cloned()
}

/// The space that the options leave.
fn space(target: &Target, options: &SpaceOptions, densities: &[f64]) -> Result<Space, Diagnostics> {
    if let Some(bad) = densities.iter().find(|d| !(**d > 0.0 && **d <= 1.0)) {
        let message = format!("{bad} is not a share above 0 and up to 1");
        return Err(Diagnostic::error("bad-density", "--density", message)
            .with_help("1 is not pruned, 0.5 keeps half of the weight tiles of every block")
            .into());
    }
    let all = Space::default();
    let or = |given: &[usize], all: Vec<usize>| if given.is_empty() { all } else { given.to_vec() };
    let space = Space {
        rows: or(&options.rows, all.rows),
        cols: or(&options.cols, all.cols),
        combine: or(&options.combine, all.combine),
        clusters: or(&options.clusters, all.clusters),
        accumulator_pixels: or(&options.accumulator_pixels, all.accumulator_pixels),
        depthwise_taps: or(&options.depthwise_taps, all.depthwise_taps),
        multiplier: if options.multiplier.is_empty() { all.multiplier } else { options.multiplier.clone() },
        weights: if options.weights.is_empty() { all.weights } else { options.weights.clone() },
        densities: densities.to_vec(),
    };
    // One bad value would silently price nothing.
    let mut seen = std::collections::BTreeSet::new();
    let mut findings = Diagnostics::new();
    for config in space.configs(target) {
        if let Err(bad) = config.validate() {
            bad.iter().filter(|f| seen.insert(f.to_string())).for_each(|f| findings.push(f.clone()));
        }
    }
    findings.into_result(space)
}

/// Prices everything on all cores; the order does not depend on them.
fn search(graph: &Graph, target: &Target, space: &Space, progress: &mut Progress) -> Vec<DesignPoint> {
    let configs = space.configs(target);
    let threads = available_parallelism().map_or(1, usize::from).min(configs.len().max(1));
    let done = AtomicUsize::new(0);
    let mut shown = progress.task("exploring", configs.len() as u64);
    let work = |first: usize| {
        let mine = configs.iter().enumerate().skip(first).step_by(threads);
        let mut found = Vec::new();
        for (index, config) in mine {
            found.push((index, design_points(graph, target, config, &space.densities)));
            done.fetch_add(1, Ordering::Relaxed);
        }
        found
    };
    let mut found = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || work(first))).collect();
        while workers.iter().any(|w| !w.is_finished()) {
            std::thread::sleep(std::time::Duration::from_millis(20));
            shown.at(done.load(Ordering::Relaxed) as u64, "");
        }
        let join = |w: std::thread::ScopedJoinHandle<'_, _>| w.join().expect("pricing does not panic");
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().flat_map(|(_, points)| points).collect()
}

/// Why there is no answer: the network is too large for every array, or the target for none.
fn nothing_fits(graph: &Graph, target: &Target, points: &[DesignPoint]) -> Diagnostics {
    let Some(nearest) = points.iter().min_by(|a, b| a.fill.total_cmp(&b.fill)) else {
        let config = target.accelerator.with_units_for(graph);
        return match config.and_then(|config| estimate(graph, target, &config, None)) {
            Err(findings) => findings,
            Ok(_) => Diagnostic::error("nothing-fits", format!("network '{}'", graph.name), "no array holds it").into(),
        };
    };
    let over = nearest.resources.uses.iter().filter(|u| !u.fits());
    let over: Vec<String> = over.map(ResourceUse::taken).collect();
    let config = &nearest.config;
    let message = format!("even {} takes {}", config.array_text(), over.join(", "));
    Diagnostic::error("nothing-fits", format!("target '{}'", target.name), message)
        .with_help("prune more (a lower --density), or take a larger target")
        .into()
}

fn show(front: &[DesignPoint]) -> String {
    let rows = front.iter().take(SHOWN).map(|p| {
        let c = &p.config;
        vec![
            format!("{} x {}", c.rows, c.cols),
            c.combine.to_string(),
            c.clusters.to_string(),
            c.multiplier.name().to_owned(),
            c.depthwise_taps.to_string(),
            c.accumulator_pixels.to_string(),
            c.weights.name().to_owned(),
            format!("{:.2}", p.density),
            p.accuracy.map_or_else(|| "-".to_owned(), percent),
            count(p.cycles),
            format!("{:.4}", p.latency_ms),
            format!("{:.2}", p.energy_uj),
            percent(p.utilization),
            percent(p.fill),
        ]
    });
    let header = [
        "array",
        "combine",
        "clusters",
        "multiplier",
        "taps",
        "acc pixels",
        "weights",
        "density",
        "accuracy",
        "cycles",
        "ms",
        "uJ",
        "utilization",
        "fill",
    ];
    table(&header, 0, rows) + "\n"
}

fn csv(front: &[DesignPoint]) -> String {
    let mut text = String::from(
        "rows,cols,combine,clusters,multiplier,depthwise_taps,accumulator_pixels,lane_bytes,weights,weight_words,density,accuracy,cycles,latency_ms,energy_uj,utilization,fill\n",
    );
    for p in front {
        let c = &p.config;
        text += &format!(
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
            c.rows,
            c.cols,
            c.combine,
            c.clusters,
            c.multiplier.name(),
            c.depthwise_taps,
            c.accumulator_pixels,
            c.lane_bytes,
            c.weights.name(),
            c.weight_words.unwrap_or(0),
            p.density,
            p.accuracy.map_or_else(String::new, |a| a.to_string()),
            p.cycles,
            p.latency_ms,
            p.energy_uj,
            p.utilization,
            p.fill
        );
    }
    text
}
