//! Importance from activations: what each channel carries at the places where it is observed.
//!
//! A channel that several nodes read has the largest of its scores: needed by one is needed.

use espalier_ir::{Graph, NodeId, ParamId};

use crate::activations::{ACTIVATION_BINS, SAMPLES_PER_BIN, SiteStatistics, has_exact_zeros, map_site};
use crate::entropy::{Grid, entropy_bits, mutual_information_bits};
use crate::evidence::{LayerWeight, ReadBy, Reading, readings};
use crate::magnitude::{folded, folded_scales, reader_energies};
use crate::{ActivationStatistics, Criterion, DependencyGroups};

/// Importance of every channel of every group; the evidence is checked.
pub(crate) fn measured(
    graph: &Graph,
    groups: &DependencyGroups,
    criterion: Criterion,
    activations: &ActivationStatistics,
) -> Vec<Vec<f64>> {
    let mut scores: Vec<Vec<f64>> = groups.groups.iter().map(|g| vec![0.0; g.channels]).collect();
    if criterion == Criterion::Wanda {
        wanda(graph, groups, activations, &mut scores);
        return scores;
    }
    // Feature maps without extent have no rank; where a group has others, these decide.
    let mut ranked = vec![false; groups.groups.len()];
    let mut sites: Vec<NodeId> = readings(graph).into_iter().map(|r| map_site(graph, r.value)).collect();
    sites.sort_unstable();
    sites.dedup();
    if criterion == Criterion::Hrank {
        for site in sites.iter().filter(|s| activations.sites[s].mean_rank().is_some()) {
            groups.value_channels(*site).iter().for_each(|c| ranked[c.group] = true);
        }
    }
    for site in sites {
        let statistics = &activations.sites[&site];
        let flat = criterion == Criterion::Hrank && statistics.mean_rank().is_none();
        let of_site = channel_worth(graph, criterion, activations, site);
        for (channel, score) in groups.value_channels(site).iter().zip(of_site) {
            if !(flat && ranked[channel.group]) {
                let best = &mut scores[channel.group][channel.channel];
                *best = best.max(score);
            }
        }
    }
    if criterion == Criterion::EntropyEnergy {
        let mut energies = reader_energies(graph, groups);
        for reading in readings(graph) {
            if let ReadBy::Value(other) = reading.by {
                let factors = activations.sites[&other].energy_of_samples();
                for (channel, energy) in groups.value_channels(reading.value).iter().zip(factors) {
                    energies[channel.group][channel.channel] += energy;
                }
            }
        }
        scores.iter_mut().flatten().zip(energies.into_iter().flatten()).for_each(|(s, e)| *s *= e.sqrt());
    }
    scores
}

/// What the values of a node are worth, for each index on its first axis:
///
/// * APoZ: the share that is not zero (Hu et al. 2016); nearly zero where no clamp makes zeros;
/// * mean activation: mean magnitude;
/// * HRank: mean rank of the maps (Lin et al. 2020), for maps without extent the mean magnitude;
/// * entropies: of the mean over positions (global average pooling, Luo and Wu 2017), one number a
///   sample, in bits; with energy: share of the most possible, times the root mean square;
/// * class information: between the same number and the label, in bits. There are as many bins, at most
///   32 besides that of zero, as leave four samples to each bin and class.
pub(crate) fn channel_worth(
    graph: &Graph,
    criterion: Criterion,
    activations: &ActivationStatistics,
    node: NodeId,
) -> Vec<f64> {
    let site = &activations.sites[&node];
    match criterion {
        Criterion::Apoz => site.zero_fraction(has_exact_zeros(graph, node)).into_iter().map(|z| 1.0 - z).collect(),
        Criterion::Hrank => site.mean_rank().unwrap_or_else(|| site.mean_magnitude()),
        Criterion::ActivationEntropy => entropies(site),
        Criterion::EntropyEnergy => {
            let most = ((ACTIVATION_BINS + 1) as f64).log2();
            entropies(site).into_iter().zip(site.mean_square()).map(|(h, e)| h / most * e.sqrt()).collect()
        }
        Criterion::ClassMi => class_information(site, activations),
        _ => site.mean_magnitude(),
    }
}

/// Means of one channel in all samples.
fn channel_means(site: &SiteStatistics, channel: usize) -> impl Iterator<Item = f32> {
    site.means.iter().skip(channel).step_by(site.channels()).copied()
}

fn entropies(site: &SiteStatistics) -> Vec<f64> {
    let grid = Grid::new(site.means.iter().copied(), ACTIVATION_BINS);
    (0..site.channels()).map(|c| entropy_bits(&grid.counts(channel_means(site, c)))).collect()
}

fn class_information(site: &SiteStatistics, activations: &ActivationStatistics) -> Vec<f64> {
    let classes = activations.classes();
    let bins = (site.samples / (SAMPLES_PER_BIN * classes)).saturating_sub(1).clamp(1, ACTIVATION_BINS);
    let grid = Grid::new(site.means.iter().copied(), bins);
    let information = |channel| {
        let mut joint = vec![vec![0u64; grid.bins()]; classes];
        for (mean, label) in channel_means(site, channel).zip(&activations.labels) {
            joint[*label as usize][grid.bin(mean)] += 1;
        }
        mutual_information_bits(&joint)
    };
    (0..site.channels()).map(information).collect()
}

/// `sum over the weights w that read the channel of w^2 E[a^2]`, where `a` is the very element that `w`
/// multiplies (Sun et al. 2023, squared so that it adds up). Another value in place of weights counts with the mean
/// over samples of the sum of its squares.
fn wanda(graph: &Graph, groups: &DependencyGroups, activations: &ActivationStatistics, scores: &mut [Vec<f64>]) {
    let scales = folded_scales(graph);
    for Reading { value, by, .. } in readings(graph) {
        let energy = activations.sites[&value].mean_square();
        let worth = match by {
            ReadBy::Value(other) => activations.sites[&other].energy_of_samples(),
            ReadBy::Weight(weight) => {
                let columns = WeightColumns::new(graph, weight);
                let mut worth = vec![0.0; energy.len()];
                for (index, w) in folded(graph, &scales, columns.weight).into_iter().enumerate() {
                    worth[columns.channel(index)] += f64::from(w) * f64::from(w);
                }
                worth
            }
        };
        for ((channel, w), e) in groups.value_channels(value).iter().zip(worth).zip(energy) {
            scores[channel.group][channel.channel] += w * e;
        }
    }
}

/// Which index on the first axis of the operand each element of a weight multiplies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightColumns {
    pub(crate) weight: ParamId,
    input_axis: usize,
    /// Elements behind the first two axes.
    taps: usize,
    /// Extent of the second axis.
    columns: usize,
    /// Rows that belong to one channel group.
    rows_per_group: usize,
}

impl WeightColumns {
    pub(crate) fn new(graph: &Graph, weight: LayerWeight) -> Self {
        let LayerWeight { param, input_axis, groups, .. } = weight;
        WeightColumns::of_shape(param, graph.param(param).shape(), input_axis, groups)
    }

    fn of_shape(weight: ParamId, shape: &[usize], input_axis: usize, groups: usize) -> Self {
        let taps = shape[2..].iter().product();
        WeightColumns { weight, input_axis, taps, columns: shape[1], rows_per_group: shape[0] / groups }
    }

    /// Index on the operand's first axis that the element `index` of the weight multiplies.
    pub(crate) fn channel(&self, index: usize) -> usize {
        let (row, column) = (index / self.taps / self.columns, index / self.taps % self.columns);
        if self.input_axis == 0 { row } else { row / self.rows_per_group * self.columns + column }
    }
}

/// The first layer that reads channels through a weight: its operand, and how.
pub(crate) fn layer_of(graph: &Graph, weight: ParamId) -> Option<(NodeId, LayerWeight)> {
    readings(graph).into_iter().find_map(|r| match r.by {
        ReadBy::Weight(layer) if layer.param == weight => Some((r.value, layer)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use espalier_ir::Tensor;

    use super::*;

    #[test]
    fn columns_follow_axes_and_groups() {
        let weight = Graph::new("t").add_param("w", Tensor::f32([1], vec![0.0]));
        let channels = |shape: &[usize], axis, groups| -> Vec<usize> {
            let columns = WeightColumns::of_shape(weight, shape, axis, groups);
            (0..shape.iter().product()).map(|i| columns.channel(i)).collect()
        };
        assert_eq!(channels(&[2, 3], 1, 1), [0, 1, 2, 0, 1, 2]);
        assert_eq!(channels(&[1, 2, 1, 3], 1, 1), [0, 0, 0, 1, 1, 1]);
        assert_eq!(channels(&[4, 2, 1, 1], 1, 2), [0, 1, 0, 1, 2, 3, 2, 3]);
        assert_eq!(channels(&[2, 2, 1, 2], 0, 1), [0, 0, 0, 0, 1, 1, 1, 1]);
    }
}
