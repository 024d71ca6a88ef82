//! Per-layer pictures: cycles and what limits them, vectors by lane, roofline.

use espalier_target::Bottleneck;

use super::scale::{Axis, Kind, Plot};
use super::value::{Figure, Source, number, percent};
use crate::details::Details;
use crate::report::{LayerReport, Report};

/// Cycles of one layer as bars.
pub struct Bars {
    /// Number of the layer.
    pub number: usize,
    /// Name of the layer.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Channels before and after.
    pub channels: [Figure; 2],
    /// Class, name, length in per cent of the longest bar, and cycles of each bar.
    pub bars: Vec<(&'static str, &'static str, f64, Figure)>,
    /// Class, name and share in per cent of each part of the kept cycles.
    pub parts: Vec<(&'static str, &'static str, f64)>,
    /// What limits the layer, short.
    pub limit: &'static str,
    /// Why, in a sentence.
    pub why: String,
}

/// A short name of what limits a layer.
fn limit(bottleneck: Bottleneck) -> &'static str {
    match bottleneck {
        Bottleneck::Compute => "compute",
        Bottleneck::WeightLoad => "weight loading",
        Bottleneck::IdleRows => "idle rows",
        Bottleneck::IdleClusters => "idle clusters",
        Bottleneck::IdleColumns => "idle columns",
        Bottleneck::Memory => "external memory",
        Bottleneck::WriteBack => "write-back, halo",
    }
}

/// Parts of the cycles of a layer in per cent; what overlaps with the next layer is left out.
fn parts(layer: &LayerReport) -> Vec<(&'static str, &'static str, f64)> {
    let used = &layer.cycle_use;
    let all = [
        ("compute", "multiplying", used.compute),
        ("weight-load", "waiting for weights", used.weight_load),
        ("idle-rows", "rows without a vector", used.idle_rows),
        ("idle-columns", "columns without a weight", used.idle_columns),
        ("idle-clusters", "clusters without a row of the map", used.idle_clusters),
        ("external", "waiting for external memory", used.memory),
        ("write-back", "write-back, halo, latency", used.write_back),
    ]
    .map(|(class, name, cycles)| (class, name, cycles.max(0.0)));
    let sum: f64 = all.iter().map(|p| p.2).sum();
    all.into_iter().map(|(class, name, cycles)| (class, name, round(100.0 * cycles / sum.max(1e-9)))).collect()
}

fn round(value: f64) -> f64 {
    (100.0 * value).round() / 100.0
}

/// Bars of all layers.
pub fn bars(report: &Report, source: &Source) -> Vec<Bars> {
    let cycles = |l: &LayerReport| l.cycles_dense.max(l.cycles_predicted).max(l.cycles_simulated.unwrap_or(0));
    let longest = report.layers.iter().map(cycles).max().unwrap_or(1).max(1) as f64;
    let bars_of = |(index, layer): (usize, &LayerReport)| {
        let path = |key: &str| format!("/layers/{index}/{key}");
        let length = |cycles: u64| round(100.0 * cycles as f64 / longest);
        let mut bars = vec![
            ("dense", "dense", length(layer.cycles_dense), source.count(&path("cycles_dense"))),
            ("kept", "kept", length(layer.cycles_predicted), source.count(&path("cycles_predicted"))),
        ];
        if let Some(simulated) = layer.cycles_simulated {
            bars.push(("simulated", "simulated", length(simulated), source.count(&path("cycles_simulated"))));
        }
        let parts = parts(layer);
        let worst = parts.iter().max_by(|a, b| a.2.total_cmp(&b.2));
        let share = worst.map_or(String::new(), |p| format!("; most of its cycles ({:.0} %): {}", p.2, p.1));
        Bars {
            number: index + 1,
            name: layer.name.clone(),
            op: match steps(report, index) {
                1 => layer.op.clone(),
                steps => format!("{}, one of {steps} time steps", layer.op),
            },
            channels: [source.count(&path("out_channels_before")), source.count(&path("out_channels_after"))],
            bars,
            limit: limit(layer.bottleneck),
            why: format!("{}{share}", layer.bottleneck.reason()),
            parts,
        }
    };
    first_steps(report).map(bars_of).collect()
}

/// Layers without those of later time steps, which are like the first.
pub fn first_steps(report: &Report) -> impl Iterator<Item = (usize, &LayerReport)> {
    report.layers.iter().enumerate().filter(|(_, layer)| layer.peer.is_none())
}

/// How many time steps a layer stands for.
fn steps(report: &Report, layer: usize) -> usize {
    1 + report.layers.iter().filter(|l| l.peer == Some(layer)).count()
}

/// Surviving vectors by layer and lane.
pub struct Heat {
    /// Number of lanes.
    pub lanes: usize,
    /// One row a layer.
    pub rows: Vec<HeatRow>,
}

/// Surviving vectors of one layer.
pub struct HeatRow {
    /// Number of the layer.
    pub number: usize,
    /// Name of the layer.
    pub name: String,
    /// Vectors of all lanes, kept and dense.
    pub kept: u32,
    /// Likewise.
    pub dense: u32,
    /// One entry a lane.
    pub cells: Vec<HeatCell>,
}

/// Surviving vectors in one lane of a layer.
pub struct HeatCell {
    /// Vectors.
    pub kept: u32,
    /// Of so many.
    pub dense: u32,
    /// Depth of the colour, 0 to 100.
    pub depth: u32,
}

/// The heat map; a cell is as deep as its lane is full, next to the fullest lane of the unpruned layer.
pub fn heat(details: &Details, report: &Report) -> Heat {
    let row = |(index, layer): (usize, &crate::details::LayerLanes)| {
        let most = layer.dense.iter().chain(&layer.kept).copied().max().unwrap_or(1).max(1);
        let cell = |(kept, dense): (&u32, &u32)| HeatCell { kept: *kept, dense: *dense, depth: 100 * *kept / most };
        HeatRow {
            number: index + 1,
            name: layer.name.clone(),
            kept: layer.kept.iter().sum(),
            dense: layer.dense.iter().sum(),
            cells: layer.kept.iter().zip(&layer.dense).map(cell).collect(),
        }
    };
    // Later time steps have the vectors of the first.
    let rows = first_steps(report).filter_map(|(index, _)| Some((index, details.lanes.get(index)?))).map(row);
    Heat { lanes: details.lanes.first().map_or(0, |l| l.kept.len()), rows: rows.collect() }
}

/// Roofline of Williams, Waterman and Patterson (2009) with weight loading as the memory: the loader brings one row of
/// `cols` weights a cycle, so a layer cannot do more than `cols` times the multiply-accumulates that it does for
/// each loaded weight byte.
pub fn roofline(report: &Report, source: &Source) -> Option<Plot> {
    let side = |key: &str| report.accelerator.get(key).and_then(serde_json::Value::as_f64);
    let (cols, clusters) = (side("cols")?, side("clusters").unwrap_or(1.0));
    // A loaded weight multiplies in every cluster.
    let (peak, knee) = (side("rows")? * cols * clusters, side("rows")? * clusters);
    let of = |layer: &LayerReport| {
        let intensity = layer.macs as f64 / layer.weight_bytes_loaded.max(1) as f64;
        (intensity, layer.macs as f64 / layer.cycles_predicted.max(1) as f64)
    };
    let shown: Vec<(usize, &LayerReport)> = first_steps(report)
        .filter(|(_, l)| l.macs > 0 && l.cycles_predicted > 0 && l.weight_bytes_loaded > 0)
        .collect();
    if shown.is_empty() {
        return None;
    }
    let points = || shown.iter().map(|(_, l)| of(l));
    let x = Axis::new(
        Kind::Log,
        "multiply-accumulates for each loaded weight byte",
        points().map(|p| p.0).chain([knee / 4.0, 4.0 * knee]),
    );
    let y = Axis::new(Kind::Log, "multiply-accumulates a cycle", points().map(|p| p.1).chain([peak, peak / 16.0]));
    let mut plot = Plot::new(&x, &y);
    let low = points().map(|p| p.0).fold(knee / 4.0, f64::min) / 1.6;
    let high = points().map(|p| p.0).fold(4.0 * knee, f64::max) * 1.6;
    let roof = [(low, low * cols), (knee, peak), (high, peak)].map(|at| plot.place(&x, &y, at));
    // Below the chart the slope is cut off where it enters.
    plot.line("roof", &roof);
    plot.header = vec!["layer", "MACs", "weight bytes loaded", "MACs a byte", "MACs a cycle", "of the roof"];
    for (index, layer) in shown {
        let (intensity, speed) = of(layer);
        let share = speed / (intensity * cols).min(peak);
        let at = plot.place(&x, &y, (intensity, speed));
        let title = format!(
            "{}: {} MACs a cycle, {} of the roof, limited by {}",
            layer.name,
            number(speed),
            percent(share, 0),
            limit(layer.bottleneck)
        );
        plot.mark(at, "after", "circle", title, (index + 1).to_string());
        let path = |key: &str| format!("/layers/{index}/{key}");
        plot.rows.push(vec![
            Figure::text(format!("{} {}", index + 1, layer.name)),
            source.count(&path("macs")),
            source.count(&path("weight_bytes_loaded")),
            Figure::text(number(intensity)),
            Figure::text(number(speed)),
            Figure::text(percent(share, 0)),
        ]);
    }
    plot.legend =
        vec![("after", "circle", "a layer, by its number"), ("roof", "line", "what loading and the array allow")];
    Some(plot)
}
