//! Many accelerators for one network on one target: what each would cost, and which are worth building.

use espalier_ir::{ArrayOp, Graph};
use serde::Serialize;

use crate::config::{MAX_LANE_BYTES, MAX_SIDE, MIN_COLS, MIN_SIDE};
use crate::{
    AcceleratorConfig, CostModel, Multiplier, Resources, Target, WeightSource, check_multiplier, estimate_model,
};

/// What is tried: every combination of these values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Space {
    /// Rows of the array.
    pub rows: Vec<usize>,
    /// Columns of the array.
    pub cols: Vec<usize>,
    /// Vectors that share a row.
    pub combine: Vec<usize>,
    /// Arrays side by side.
    pub clusters: Vec<usize>,
    /// How products are formed, where the target allows it.
    pub multiplier: Vec<Multiplier>,
    /// Multipliers a lane of the depthwise unit, 0 = no unit; where an array cannot have it, it is left out.
    pub depthwise_taps: Vec<usize>,
    /// Pixels that an accumulator bank holds.
    pub accumulator_pixels: Vec<usize>,
    /// Where the weights are.
    pub weights: Vec<WeightSource>,
    /// Shares of the weight tiles of every prunable block that are kept, 0 (one tile) to 1 (not pruned).
    pub densities: Vec<f64>,
}

impl Default for Space {
    /// Arrays from 4 to 32 in steps of 4 and of two columns, both ways to share rows, up to four of them, multipliers shared or not, 32 to 512 pixels, weights on
    /// the chip or streamed; not pruned.
    fn default() -> Self {
        let sides: Vec<usize> = (MIN_SIDE..=MAX_SIDE).step_by(4).collect();
        Space {
            rows: sides.clone(),
            cols: std::iter::once(MIN_COLS).chain(sides).collect(),
            combine: vec![1, 2],
            clusters: vec![1, 2, 4],
            multiplier: vec![Multiplier::Plain, Multiplier::Packed],
            depthwise_taps: vec![0, 3],
            accumulator_pixels: vec![32, 64, 128, 256, 512],
            weights: vec![WeightSource::OnChip, WeightSource::Streamed],
            densities: vec![1.0],
        }
    }
}

impl Space {
    /// All configurations that `target` can have; what is not varied is as in its default. Memory depths follow from
    /// the network.
    pub fn configs(&self, target: &Target) -> Vec<AcceleratorConfig> {
        let depths = AcceleratorConfig { weight_words: None, program_instructions: None, ..target.accelerator.clone() };
        let mut configs = vec![depths];
        let mut vary = |values: &[usize], set: fn(&mut AcceleratorConfig, usize)| {
            configs = std::mem::take(&mut configs).iter().flat_map(|c| with_each(c, values, set)).collect();
        };
        vary(&self.rows, |c, rows| c.rows = rows);
        vary(&self.cols, |c, cols| c.cols = cols);
        vary(&self.combine, |c, combine| c.combine = combine);
        vary(&self.clusters, |c, clusters| c.clusters = clusters);
        vary(&self.depthwise_taps, |c, taps| c.depthwise_taps = taps);
        vary(&self.accumulator_pixels, |c, pixels| c.accumulator_pixels = pixels);
        let with_multiplier =
            |c: &AcceleratorConfig| with_each(c, &self.multiplier, |c, multiplier| c.multiplier = multiplier);
        configs = configs.iter().flat_map(with_multiplier).collect();
        // What is assumed of external memory goes with it.
        let with_weights = |c: &AcceleratorConfig| {
            with_each(c, &self.weights, |c, weights| {
                c.weights = weights;
                if weights == WeightSource::OnChip && c.spill_memory().is_none() {
                    (c.memory_bytes_per_cycle, c.memory_latency_cycles) = (None, None);
                }
            })
        };
        configs = configs.iter().flat_map(with_weights).collect();
        // The unit sends lane c to column c.
        configs.retain(|c| check_multiplier(target, c).is_ok() && (c.depthwise_taps == 0 || c.rows <= c.cols));
        configs
    }
}

fn with_each<T: Copy>(
    config: &AcceleratorConfig,
    values: &[T],
    set: impl Fn(&mut AcceleratorConfig, T),
) -> Vec<AcceleratorConfig> {
    let with = |value: &T| {
        let mut config = config.clone();
        set(&mut config, *value);
        config
    };
    values.iter().map(with).collect()
}

/// One accelerator with the network on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DesignPoint {
    /// The configuration, with the smallest memories (powers of two) that hold the network.
    pub config: AcceleratorConfig,
    /// Share of the weight tiles of every prunable block that is kept.
    pub density: f64,
    /// Accuracy that a run of the pruner left at this share of the work, if the caller knows one.
    pub accuracy: Option<f64>,
    /// Cycles of one inference.
    pub cycles: u64,
    /// Time of one inference at the target's clock, ms.
    pub latency_ms: f64,
    /// Energy of one inference, uJ.
    pub energy_uj: f64,
    /// Useful multiply-accumulate operations of those that the array could do, 0 to 1.
    pub utilization: f64,
    /// The fullest resource, relative to what may be used of it; above 1 it does not fit.
    pub fill: f64,
    /// What it takes.
    pub resources: Resources,
}

impl DesignPoint {
    /// Whether the target holds it.
    pub fn fits(&self) -> bool {
        self.resources.fits
    }

    /// At least as good in everything: time, energy, fill, accuracy (where it is not known, weights kept).
    fn dominates(&self, other: &DesignPoint) -> bool {
        let as_accurate = match (self.accuracy, other.accuracy) {
            (Some(own), Some(other)) => own >= other,
            _ => self.density >= other.density,
        };
        as_accurate
            && self.latency_ms <= other.latency_ms
            && self.energy_uj <= other.energy_uj
            && self.fill <= other.fill
    }
}

/// The network on one configuration at several densities; empty if its tensors or layers do not fit the configuration.
/// Cycles are those of the timeline, exact for a network that is pruned to these tiles.
pub fn design_points(
    graph: &Graph,
    target: &Target,
    config: &AcceleratorConfig,
    densities: &[f64],
) -> Vec<DesignPoint> {
    let Ok(config) = config.with_units_for(graph) else { return Vec::new() };
    let wide = AcceleratorConfig { lane_bytes: MAX_LANE_BYTES, ..config };
    if wide.validate().is_err() {
        return Vec::new();
    }
    let Ok(model) = CostModel::new(graph, &wide) else { return Vec::new() };
    let lane_bytes = model.live_bytes().max(16).next_power_of_two();
    if lane_bytes > MAX_LANE_BYTES {
        return Vec::new();
    }
    let point = |density: f64| {
        let tiles = tiles_at(&model, density);
        let estimate = estimate_model(&model, target, &tiles);
        let config = AcceleratorConfig { lane_bytes, ..estimate.config };
        let resources = crate::resources(target, &config);
        DesignPoint {
            density,
            accuracy: None,
            cycles: estimate.cycles,
            latency_ms: estimate.latency_ms,
            energy_uj: estimate.energy_uj,
            utilization: estimate.utilization,
            fill: resources.uses.iter().map(|u| u.fill() / u.limit).fold(0.0, f64::max),
            resources,
            config,
        }
    };
    densities.iter().map(|d| point(*d)).collect()
}

/// Tiles if every block of a layer that can be pruned keeps this share of its own, at least one.
fn tiles_at(model: &CostModel, density: f64) -> Vec<Vec<u32>> {
    let layers = model.layers().iter().zip(model.dense_tiles());
    let kept = |t: &u32| ((f64::from(*t) * density).ceil() as u32).clamp(1, *t);
    let of = |(layer, dense): (&espalier_ir::ArrayLayer, &Vec<u32>)| match layer.op {
        ArrayOp::Conv { groups: 1, .. } => dense.iter().map(kept).collect(),
        _ => dense.clone(),
    };
    layers.map(of).collect()
}

/// Those that fit and that no other beats in time, energy, fill and density at once, fastest first.
pub fn pareto(mut points: Vec<DesignPoint>) -> Vec<DesignPoint> {
    points.retain(DesignPoint::fits);
    points.sort_by(|a, b| order(a).partial_cmp(&order(b)).expect("costs are numbers"));
    let mut front: Vec<DesignPoint> = Vec::new();
    for point in points {
        if !front.iter().any(|better| better.dominates(&point)) {
            front.push(point);
        }
    }
    front
}

/// The fastest that fits; of equals the one that takes least energy and room.
pub fn fastest(points: &[DesignPoint]) -> Option<&DesignPoint> {
    let fitting = points.iter().filter(|p| p.fits());
    fitting.min_by(|a, b| order(a).partial_cmp(&order(b)).expect("costs are numbers"))
}

fn order(point: &DesignPoint) -> (f64, f64, f64, f64) {
    (point.latency_ms, point.energy_uj, point.fill, -point.density)
}
