//! Energy of one inference: counted events times the constants of the target, with bounds that follow from how sure those
//! are.

use serde::{Deserialize, Serialize};

use crate::cost::layer_words;
use crate::device::{Energy, Fact};
use crate::{AcceleratorConfig, LayerGeometry, NetworkGeometry, Target, TensorLayout};

/// Where the energy of one inference goes, uJ.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergySplit {
    /// Multiply-accumulate operations.
    pub macs_uj: f64,
    /// Reads and writes of the activation lanes.
    pub lanes_uj: f64,
    /// Reads and writes of the accumulators.
    pub accumulators_uj: f64,
    /// Reads of the weight memory.
    pub weights_uj: f64,
    /// Clock and control, in proportion to the four above.
    pub overhead_uj: f64,
    /// Static power of the device over the time.
    pub static_uj: f64,
    /// Reads and writes of external memory: streamed weights, inputs, outputs.
    #[serde(default)]
    pub external_uj: f64,
}

impl EnergySplit {
    /// All of it, uJ.
    pub fn total_uj(&self) -> f64 {
        self.core_uj() + self.external_uj
    }

    /// Without external memory, uJ.
    pub fn core_uj(&self) -> f64 {
        self.core_events_uj() + self.overhead_uj + self.static_uj
    }

    /// Without static power, uJ.
    pub(crate) fn dynamic_uj(&self) -> f64 {
        self.core_events_uj() + self.overhead_uj + self.external_uj
    }

    fn core_events_uj(&self) -> f64 {
        self.macs_uj + self.lanes_uj + self.accumulators_uj + self.weights_uj
    }

    /// The same with another part added.
    #[must_use]
    pub fn and(&self, other: &EnergySplit) -> EnergySplit {
        EnergySplit {
            macs_uj: self.macs_uj + other.macs_uj,
            lanes_uj: self.lanes_uj + other.lanes_uj,
            accumulators_uj: self.accumulators_uj + other.accumulators_uj,
            weights_uj: self.weights_uj + other.weights_uj,
            overhead_uj: self.overhead_uj + other.overhead_uj,
            static_uj: self.static_uj + other.static_uj,
            external_uj: self.external_uj + other.external_uj,
        }
    }

    /// Least and most that it may be if every constant is off by as much as it may be, all to the same side, uJ.
    pub fn range_uj(&self, energy: &Energy) -> [f64; 2] {
        let parts = [
            (self.macs_uj, &energy.mac_pj),
            (self.lanes_uj, &energy.lane_byte_pj),
            (self.accumulators_uj, &energy.accumulator_pj),
            (self.weights_uj, &energy.weight_bit_pj),
            (self.overhead_uj, &energy.overhead),
            (self.static_uj, &energy.static_mw),
            (self.external_uj, &energy.external_byte_pj),
        ];
        let sum = |bound: fn(f64, &Fact) -> f64| parts.iter().map(|(uj, fact)| bound(*uj, fact)).sum();
        [sum(|uj, fact| uj / fact.factor()), sum(|uj, fact| uj * fact.factor())]
    }
}

/// Events of the array with clock and control.
fn with_overhead(events: EnergySplit, target: &Target) -> EnergySplit {
    EnergySplit { overhead_uj: events.core_events_uj() * target.energy.overhead.value, ..events }
}

/// Energy of the counted events of a layer with clock and control, without static power.
pub(crate) fn dynamic_energy(
    shape: &LayerGeometry,
    tiles: &[u32],
    macs: u64,
    config: &AcceleratorConfig,
    target: &Target,
) -> EnergySplit {
    let energy = &target.energy;
    let (rows, cols) = (config.rows as u64, config.cols as u64);
    let all_tiles = tiles.iter().enumerate().map(|(b, t)| u64::from(t + shape.tiles_before(b, *t))).sum::<u64>();
    let pixels = shape.conv_pixels();
    let streamed: u64 = shape.pixel_tiles.iter().map(|t| shape.reads(t, config) as u64).sum();
    let [channels, height, width] = shape.output.shape;
    let lane_bytes = all_tiles * streamed * rows * config.combine as u64
        + (channels * shape.output.replicas * height * width * config.clusters) as u64;
    // The first tile of a block writes only; the drain reads once more.
    let accumulator = 2 * all_tiles * pixels * cols;
    let weight_bits = all_tiles * rows * shape.pixel_tiles.len() as u64 * config.weight_word_bits() as u64;
    let words = || layer_words(shape, tiles, config) as u64;
    let external_bytes = config.external().map_or(0, |memory| words() * memory.word_bytes as u64);
    let events = EnergySplit {
        macs_uj: macs as f64 * energy.mac_pj.value / 1e6,
        lanes_uj: lane_bytes as f64 * energy.lane_byte_pj.value / 1e6,
        accumulators_uj: accumulator as f64 * energy.accumulator_pj.value / 1e6,
        weights_uj: weight_bits as f64 * energy.weight_bit_pj.value / 1e6,
        external_uj: external_bytes as f64 * energy.external_byte_pj.value / 1e6,
        ..EnergySplit::default()
    };
    with_overhead(events, target)
}

/// Energy of static power over some cycles, nJ.
pub fn static_nj(cycles: u64, target: &Target) -> f64 {
    cycles as f64 / target.clock_mhz.value * target.energy.static_mw.value
}

/// Energy of all LOADs and STOREs with clock and control, nJ, without static power: the lanes, and the other end of the
/// streams.
pub fn transfer_nj(network: &NetworkGeometry, target: &Target, config: &AcceleratorConfig) -> f64 {
    transfer_energy(network, config, target).dynamic_uj() * 1e3
}

/// The same, part by part.
pub(crate) fn transfer_energy(network: &NetworkGeometry, config: &AcceleratorConfig, target: &Target) -> EnergySplit {
    let bytes = |layout: &TensorLayout| {
        layout.element_rects().iter().map(|r| r.cells() as u64).sum::<u64>() * config.rows as u64
    };
    let loaded: u64 = network.inputs.iter().map(bytes).sum();
    let stored: u64 = network.outputs.iter().map(|s| bytes(network.layout(*s))).sum();
    let bytes = (loaded + stored) as f64;
    // What is loaded goes to the lanes of every cluster.
    let lane_bytes = (loaded * config.clusters as u64 + stored) as f64;
    let events = EnergySplit {
        lanes_uj: lane_bytes * target.energy.lane_byte_pj.value / 1e6,
        external_uj: bytes * target.energy.external_byte_pj.value / 1e6,
        ..EnergySplit::default()
    };
    with_overhead(events, target)
}
