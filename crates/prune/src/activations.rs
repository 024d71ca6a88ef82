//! What channels carry: statistics of activations, collected sample by sample in bounded memory.
//!
//! *Where.* A channel is observed where it is read: at the operand of every node of
//! [`crate::channel_readers`], hence behind batch normalization, additions and the activation
//! function; at both operands of a matrix product that sums over it; what a recurrent layer reads, and its own states,
//! which it reads at the next step. Where only pooling, flattening or reshaping stands between, the map before them is
//! observed as well: that is where zeros, ranks and means of a *feature map* are taken, while the operand
//! itself rates the single elements that vectors read.

use std::collections::{BTreeMap, BTreeSet};

use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, evaluate};

use crate::evidence::{ReadBy, readings};
use crate::rank::numerical_rank;
use crate::{Criterion, Needs};

/// Samples whose feature maps are ranked: the mean rank hardly depends on them (Lin et al. 2020).
pub const RANK_SAMPLES: usize = 128;
/// Bins of an activation histogram, besides that of zero.
pub const ACTIVATION_BINS: usize = 32;
/// Samples for each bin that an entropy needs at least.
pub const SAMPLES_PER_BIN: usize = 4;
/// Where zeros are not exact: below the root mean square of all channels, times this power of two.
const NEARLY_ZERO: i32 = -10;
/// Most bytes that the means of all samples may take.
const MAX_BYTES: usize = 1 << 30;

/// Sums over the samples at one node; `channels` is the extent of its first axis.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteStatistics {
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// Samples seen.
    pub samples: usize,
    /// Sum of magnitudes of each channel, over samples and positions.
    pub magnitude: Vec<f64>,
    /// Sum of squares of each channel.
    pub energy: Vec<f64>,
    /// Values of each channel by binary exponent, `[channels * 256]`, 0 = zero; empty if not asked for.
    pub exponents: Vec<u64>,
    /// Mean over positions, `[samples, channels]`; empty if not asked for.
    pub means: Vec<f32>,
    /// Sum of the ranks of the maps of each channel; empty if not asked for.
    pub ranks: Vec<u64>,
    /// Samples whose maps were ranked.
    pub ranked: usize,
}

/// Statistics of every observed node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ActivationStatistics {
    /// By node.
    pub sites: BTreeMap<NodeId, SiteStatistics>,
    /// Class of every sample, in order; empty if unknown.
    pub labels: Vec<u32>,
}

/// The nodes to observe.
pub fn activation_sites(graph: &Graph) -> Vec<NodeId> {
    let read = readings(graph).into_iter().flat_map(|r| match r.by {
        ReadBy::Weight(_) => vec![r.value],
        ReadBy::Value(other) => vec![r.value, other],
    });
    let sites: BTreeSet<NodeId> = read.flat_map(|o| [o, map_site(graph, o)]).collect();
    sites.into_iter().collect()
}

/// The map whose elements an operand pools or rearranges; the operand itself if it does neither.
pub(crate) fn map_site(graph: &Graph, operand: NodeId) -> NodeId {
    match &graph.node(operand).op {
        Op::Flatten
        | Op::Reshape { .. }
        | Op::Resize { .. }
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::GlobalAveragePool => map_site(graph, graph.operands(operand)[0]),
        _ => operand,
    }
}

impl ActivationStatistics {
    /// Statistics of whole samples, of which the first is number `first` of all; `values` holds those of
    /// every node to observe, one sample after the other.
    ///
    /// # Panics
    /// If the values of a node are not whole samples.
    pub fn observe(graph: &Graph, needs: Needs, first: usize, values: &BTreeMap<NodeId, Vec<f32>>) -> Self {
        let site = |(node, values): (&NodeId, &Vec<f32>)| {
            (*node, SiteStatistics::new(&graph.node(*node).shape, needs, first, values))
        };
        ActivationStatistics { sites: values.iter().map(site).collect(), labels: Vec::new() }
    }

    /// Adds the statistics of the samples that follow.
    pub fn absorb(&mut self, later: ActivationStatistics) {
        for (node, site) in later.sites {
            match self.sites.get_mut(&node) {
                Some(sum) => sum.absorb(site),
                None => {
                    self.sites.insert(node, site);
                }
            }
        }
        self.labels.extend(later.labels);
    }

    /// Statistics by the float evaluation of the graph; a sample holds one slice for each graph input.
    pub fn of_samples(graph: &Graph, needs: Needs, samples: &[Vec<&[f32]>], labels: &[u32]) -> Self {
        let sites = activation_sites(graph);
        let mut all = ActivationStatistics::default();
        for (first, sample) in samples.iter().enumerate() {
            let mut values = evaluate(graph, sample);
            values.retain(|node, _| sites.binary_search(node).is_ok());
            all.absorb(ActivationStatistics::observe(graph, needs, first, &values));
        }
        all.labels = labels.to_vec();
        all
    }

    /// Checks, before anything is computed, that what `needs` asks for stays below 1 GiB.
    ///
    /// # Errors
    /// `too-large`.
    pub fn check_size(graph: &Graph, needs: Needs, samples: usize) -> Result<(), Diagnostic> {
        let channels: usize = activation_sites(graph).iter().map(|s| graph.node(*s).shape[0]).sum();
        if needs.sample_means && channels.saturating_mul(samples).saturating_mul(4) > MAX_BYTES {
            let message = format!("the means of {channels} channels in {samples} samples exceed 1 GiB");
            return Err(Diagnostic::error("too-large", "activations", message).with_help("use fewer samples"));
        }
        Ok(())
    }

    /// All that keeps the criterion from being computed.
    pub(crate) fn check(&self, graph: &Graph, criterion: Criterion, needs: Needs, findings: &mut Diagnostics) {
        let mut samples = 0;
        for node in activation_sites(graph) {
            let channels = graph.node(node).shape[0];
            let complete = self.sites.get(&node).is_some_and(|s| {
                samples = s.samples;
                s.samples > 0
                    && s.shape == graph.node(node).shape
                    && (!needs.zeros || s.exponents.len() == 256 * channels)
                    && (!needs.sample_means || s.means.len() == s.samples * channels)
                    && (!needs.ranks || s.ranks.len() == channels && s.ranked > 0)
            });
            if !complete {
                let message = format!("'{}' finds no or other statistics here", criterion.name());
                let at = format!("node '{}'", graph.node(node).name);
                findings.push(
                    Diagnostic::error("missing-activations", at, message)
                        .with_help("observe every node of activation_sites with what the criterion needs"),
                );
            }
        }
        let at = || format!("criterion '{}'", criterion.name());
        if needs.labels && self.labels.len() != samples {
            let message = format!("there are {} labels for {samples} samples", self.labels.len());
            findings.push(Diagnostic::error("missing-labels", at(), message));
        }
        let least = match criterion {
            Criterion::ClassMi => 2 * SAMPLES_PER_BIN * self.classes(),
            _ => SAMPLES_PER_BIN * (ACTIVATION_BINS + 1),
        };
        if needs.sample_means && samples < least {
            let message = format!("an entropy over {samples} samples means nothing; at least {least} are needed");
            findings.push(Diagnostic::error("too-few-samples", at(), message).with_help("take more samples"));
        }
    }

    /// Number of classes: one more than the largest label.
    pub(crate) fn classes(&self) -> usize {
        self.labels.iter().max().map_or(1, |l| *l as usize + 1)
    }
}

impl SiteStatistics {
    fn new(shape: &[usize], needs: Needs, first: usize, values: &[f32]) -> Self {
        let channels = shape[0];
        let positions: usize = shape[1..].iter().product();
        assert!(values.len().is_multiple_of(channels * positions), "values must be whole samples");
        let samples = values.len() / (channels * positions);
        let ranked = if needs.ranks { RANK_SAMPLES.saturating_sub(first).min(samples) } else { 0 };
        let mut site = SiteStatistics {
            shape: shape.to_vec(),
            samples,
            magnitude: vec![0.0; channels],
            energy: vec![0.0; channels],
            exponents: if needs.zeros { vec![0; 256 * channels] } else { Vec::new() },
            means: Vec::with_capacity(if needs.sample_means { samples * channels } else { 0 }),
            ranks: if needs.ranks { vec![0; channels] } else { Vec::new() },
            ranked,
        };
        let (rows, cols) = map_size(shape);
        for (index, map) in values.chunks(positions).enumerate() {
            let (sample, channel) = (index / channels, index % channels);
            let (mut sum, mut magnitude, mut energy) = (0.0, 0.0, 0.0);
            for v in map.iter().map(|v| f64::from(*v)) {
                sum += v;
                magnitude += v.abs();
                energy += v * v;
            }
            site.magnitude[channel] += magnitude;
            site.energy[channel] += energy;
            if needs.zeros {
                let counts = &mut site.exponents[256 * channel..256 * (channel + 1)];
                map.iter().for_each(|v| counts[(v.to_bits() >> 23 & 0xff) as usize] += 1);
            }
            if needs.sample_means {
                site.means.push((sum / positions as f64) as f32);
            }
            if sample < ranked {
                site.ranks[channel] += numerical_rank(map, rows, cols) as u64;
            }
        }
        site
    }

    fn absorb(&mut self, later: SiteStatistics) {
        let add = |sum: &mut Vec<f64>, part: Vec<f64>| sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
        let count = |sum: &mut Vec<u64>, part: Vec<u64>| sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
        self.samples += later.samples;
        self.ranked += later.ranked;
        add(&mut self.magnitude, later.magnitude);
        add(&mut self.energy, later.energy);
        count(&mut self.exponents, later.exponents);
        count(&mut self.ranks, later.ranks);
        self.means.extend(later.means);
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.shape[0]
    }

    /// Values of one channel that were seen.
    fn count(&self) -> f64 {
        self.samples as f64 * self.shape[1..].iter().product::<usize>() as f64
    }

    /// Mean magnitude of each channel.
    pub fn mean_magnitude(&self) -> Vec<f64> {
        self.magnitude.iter().map(|m| m / self.count()).collect()
    }

    /// Mean square of each channel.
    pub fn mean_square(&self) -> Vec<f64> {
        self.energy.iter().map(|e| e / self.count()).collect()
    }

    /// Sum of squares of each channel in a sample, mean over samples.
    pub(crate) fn energy_of_samples(&self) -> Vec<f64> {
        self.energy.iter().map(|e| e / self.samples as f64).collect()
    }

    /// Share of values of each channel that are zero: exactly, or below `2^-10` of the root mean square
    /// of all channels (rounded down to a power of two).
    pub fn zero_fraction(&self, exact: bool) -> Vec<f64> {
        let pooled = self.energy.iter().sum::<f64>() / (self.count() * self.channels() as f64);
        let threshold = if exact || pooled <= 0.0 { 0.0 } else { 127.0 + pooled.sqrt().log2().floor() };
        let first = (threshold as i32 + if exact { 1 } else { NEARLY_ZERO }).clamp(1, 255) as usize;
        self.exponents.chunks(256).map(|c| c[..first].iter().sum::<u64>() as f64 / self.count()).collect()
    }

    /// Mean rank of the maps of each channel; `None` if maps are single rows, columns or values.
    pub fn mean_rank(&self) -> Option<Vec<f64>> {
        let (rows, cols) = map_size(&self.shape);
        (rows.min(cols) > 1).then(|| self.ranks.iter().map(|r| *r as f64 / self.ranked as f64).collect())
    }
}

fn map_size(shape: &[usize]) -> (usize, usize) {
    match shape {
        [_, rows, rest @ ..] => (*rows, rest.iter().product()),
        _ => (1, 1),
    }
}

/// True if the values of the node are zero exactly where they carry nothing: behind a clamp at zero.
pub(crate) fn has_exact_zeros(graph: &Graph, node: NodeId) -> bool {
    match &graph.node(node).op {
        Op::Relu => true,
        Op::Clip { min, .. } => *min == 0.0,
        Op::Concat { .. } | Op::MaxPool(_) | Op::AveragePool { .. } | Op::GlobalAveragePool => {
            graph.operands(node).iter().all(|o| has_exact_zeros(graph, *o))
        }
        Op::Flatten | Op::Reshape { .. } => has_exact_zeros(graph, graph.operands(node)[0]),
        _ => false,
    }
}
