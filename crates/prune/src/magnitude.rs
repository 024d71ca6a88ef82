//! Importance of channels from weights alone.
//!
//! Rows that compute a channel and columns that read it both count, unless said otherwise. `w` has the
//! batch normalization right behind its layer folded in, unless said otherwise: the raw scale of a
//! normalized weight means nothing.

use std::collections::{BTreeMap, BTreeSet};

use espalier_ir::{Diagnostic, Diagnostics, Graph, Op, ParamId};

use crate::activations::SAMPLES_PER_BIN;
use crate::criterion::{LP_POWER, LP_WEIGHT};
use crate::entropy::{Grid, entropy_bits};
use crate::{DependencyGroups, Group, Member, Role};

/// Most bins of a weight histogram, besides that of zero.
const WEIGHT_BINS: usize = 16;

/// `|w| + lambda |w|^p`.
pub(crate) fn l1_lp(w: f64) -> f64 {
    w.abs() + LP_WEIGHT * w.abs().powf(LP_POWER)
}

/// `energy / sum of all energies of the set that are at least as large` (Lee et al. 2021,
/// for sets of units; equal ones count for each other, so that order plays no part). The largest has 1.
pub(crate) fn lamp(energies: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..energies.len()).collect();
    order.sort_by(|a, b| energies[*b].total_cmp(&energies[*a]));
    let mut scores = vec![0.0; energies.len()];
    let mut sum = 0.0;
    for equal in order.chunk_by(|a, b| energies[*a] == energies[*b]) {
        sum += equal.iter().map(|i| energies[*i]).sum::<f64>();
        for i in equal {
            scores[*i] = if sum > 0.0 { energies[*i] / sum } else { 0.0 };
        }
    }
    scores
}

/// For each channel, the sum over members of `finish(sum over the weights of the member of measure(w))`.
pub(crate) fn magnitudes(
    graph: &Graph,
    groups: &DependencyGroups,
    measure: &dyn Fn(f64) -> f64,
    finish: &dyn Fn(f64) -> f64,
) -> Vec<Vec<f64>> {
    let scales = folded_scales(graph);
    let score = |group: &Group| {
        let mut scores = vec![0.0; group.channels];
        for member in group.members.iter().filter(|m| m.role != Role::PerChannel) {
            let values = folded(graph, &scales, member.param);
            add_member(&mut scores, member, &values, graph.param(member.param).shape(), measure, finish);
        }
        scores
    };
    groups.groups.iter().map(score).collect()
}

/// Energy of rows and columns as stored, and of the batch-normalization scales (Fang et al. 2023).
pub(crate) fn group_norm(graph: &Graph, groups: &DependencyGroups) -> Vec<Vec<f64>> {
    let scales = norm_scales(graph);
    let square = |w: f64| w * w;
    let score = |group: &Group| {
        let mut scores = vec![0.0; group.channels];
        for member in group.members.iter().filter(|m| m.role != Role::PerChannel || scales.contains(&m.param)) {
            let tensor = graph.param(member.param);
            add_member(&mut scores, member, tensor.as_f32(), tensor.shape(), &square, &|e| e);
        }
        scores
    };
    groups.groups.iter().map(score).collect()
}

/// Squared Euclidean norm of the columns that read each channel.
pub(crate) fn reader_energies(graph: &Graph, groups: &DependencyGroups) -> Vec<Vec<f64>> {
    let scales = folded_scales(graph);
    let score = |group: &Group| {
        let mut energies = vec![0.0; group.channels];
        for member in group.members.iter().filter(|m| m.role == Role::Input) {
            let values = folded(graph, &scales, member.param);
            add_member(&mut energies, member, &values, graph.param(member.param).shape(), &|w| w * w, &|e| e);
        }
        energies
    };
    groups.groups.iter().map(score).collect()
}

fn add_member(
    scores: &mut [f64],
    member: &Member,
    values: &[f32],
    shape: &[usize],
    measure: &dyn Fn(f64) -> f64,
    finish: &dyn Fn(f64) -> f64,
) {
    let sums = axis_sums(values, shape, member.axis, measure);
    for (score, positions) in scores.iter_mut().zip(&member.positions) {
        *score += finish(positions.iter().map(|p| sums[*p]).sum::<f64>());
    }
}

/// Mean magnitude of the scales `gamma` of all batch normalizations of a channel (Liu et al. 2017).
///
/// # Errors
/// `missing-batch-norm` for every prunable group with a channel that is never normalized.
pub(crate) fn bn_scale(graph: &Graph, groups: &DependencyGroups) -> Result<Vec<Vec<f64>>, Diagnostics> {
    let scales = norm_scales(graph);
    let mut findings = Diagnostics::new();
    let mut scores = Vec::new();
    for group in &groups.groups {
        let (mut sums, mut counts) = (vec![0.0; group.channels], vec![0usize; group.channels]);
        for member in group.members.iter().filter(|m| scales.contains(&m.param)) {
            let gamma = graph.param(member.param).as_f32();
            for (channel, positions) in member.positions.iter().enumerate() {
                sums[channel] += positions.iter().map(|p| f64::from(gamma[*p].abs())).sum::<f64>();
                counts[channel] += positions.len();
            }
        }
        let prunable = group.frozen.is_none() && group.channels > 1;
        let without = counts.iter().filter(|c| **c == 0).count();
        if prunable && without > 0 {
            let message = format!("{without} of its {} channels pass no batch normalization", group.channels);
            findings.push(
                Diagnostic::error("missing-batch-norm", format!("channels of '{}'", group.name), message)
                    .with_help("'bn-scale' compares batch-normalization scales; use 'l2' or 'taylor'"),
            );
        }
        scores.push(sums.iter().zip(&counts).map(|(s, n)| s / (*n).max(1) as f64).collect());
    }
    findings.into_result(scores)
}

/// Sum over layers of the mean distance `||F_c - F_j||_2` to the other filters (He et al. 2019): small
/// near the geometric median, where others can stand in. Filters are raw and keep their signs; the mean
/// instead of the paper's sum makes layers of different width comparable and does not change the order in
/// one. A filter without others of its size has its norm.
pub(crate) fn fpgm(graph: &Graph, groups: &DependencyGroups) -> Vec<Vec<f64>> {
    let score = |group: &Group| {
        let mut scores = vec![0.0; group.channels];
        for member in group.members.iter().filter(|m| m.role == Role::Output) {
            let filters = filters(member, graph.param(member.param).as_f32(), graph.param(member.param).shape());
            let mut sums = vec![(0.0, 0usize); group.channels];
            for (c, filter) in filters.iter().enumerate().filter(|f| !f.1.is_empty()) {
                for (j, other) in filters.iter().enumerate().skip(c + 1).filter(|f| f.1.len() == filter.len()) {
                    let distance = distance(filter, other);
                    for index in [c, j] {
                        sums[index].0 += distance;
                        sums[index].1 += 1;
                    }
                }
            }
            for ((score, (sum, count)), filter) in scores.iter_mut().zip(sums).zip(&filters) {
                *score += match count {
                    0 => filter.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt(),
                    n => sum / n as f64,
                };
            }
        }
        scores
    };
    groups.groups.iter().map(score).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

/// All weights that compute each channel, one slice after another.
fn filters(member: &Member, values: &[f32], shape: &[usize]) -> Vec<Vec<f32>> {
    let (extent, inner) = (shape[member.axis], shape[member.axis + 1..].iter().product::<usize>());
    let slice = |p: usize| values.chunks(extent * inner).flat_map(move |outer| &outer[p * inner..(p + 1) * inner]);
    member.positions.iter().map(|positions| positions.iter().flat_map(|p| slice(*p)).copied().collect()).collect()
}

/// Sum over layers of `n H(w_c)`, the information of the `n` weights of the filter in bits: their entropy
/// on a grid of the whole layer, times their number. There are as many bins, at most 16 besides that of
/// zero, as leave four weights to each; filters of fewer than twelve weights carry none.
pub(crate) fn weight_entropy(graph: &Graph, groups: &DependencyGroups) -> Vec<Vec<f64>> {
    let scales = folded_scales(graph);
    let score = |group: &Group| {
        let mut scores = vec![0.0; group.channels];
        for member in group.members.iter().filter(|m| m.role == Role::Output) {
            let values = folded(graph, &scales, member.param);
            let filters = filters(member, &values, graph.param(member.param).shape());
            let weights = filters.iter().map(Vec::len).max().unwrap_or(0);
            let bins = (weights / SAMPLES_PER_BIN).saturating_sub(1).min(WEIGHT_BINS);
            if bins < 2 {
                continue;
            }
            let grid = Grid::new(values.iter().copied(), bins);
            for (score, filter) in scores.iter_mut().zip(&filters) {
                *score += filter.len() as f64 * entropy_bits(&grid.counts(filter.iter().copied()));
            }
        }
        scores
    };
    groups.groups.iter().map(score).collect()
}

/// Sum of `measure` over all elements with the same index on `axis`, for each index.
pub(crate) fn axis_sums(values: &[f32], shape: &[usize], axis: usize, measure: &dyn Fn(f64) -> f64) -> Vec<f64> {
    let inner: usize = shape[axis + 1..].iter().product();
    let mut sums = vec![0.0; shape[axis]];
    for (i, chunk) in values.chunks(inner).enumerate() {
        sums[i % shape[axis]] += chunk.iter().map(|v| measure(f64::from(*v))).sum::<f64>();
    }
    sums
}

/// The values of a weight with the batch normalization behind it folded in.
pub(crate) fn folded(graph: &Graph, scales: &BTreeMap<ParamId, Vec<f32>>, param: ParamId) -> Vec<f32> {
    let mut values = graph.param(param).as_f32().to_vec();
    if let Some(scale) = scales.get(&param) {
        let row = values.len() / scale.len();
        for (row, s) in values.chunks_mut(row).zip(scale) {
            row.iter_mut().for_each(|v| *v *= s);
        }
    }
    values
}

/// The scales `gamma` of all batch normalizations.
fn norm_scales(graph: &Graph) -> BTreeSet<ParamId> {
    let gamma = |id| match graph.node(id).op {
        Op::BatchNorm { gamma, .. } => Some(gamma),
        _ => None,
    };
    graph.nodes().into_iter().filter_map(gamma).collect()
}

/// What folding the batch normalization right behind a layer multiplies its weight rows by:
/// `|gamma| / sqrt(variance + epsilon)`. Weights used twice are left out.
pub(crate) fn folded_scales(graph: &Graph) -> BTreeMap<ParamId, Vec<f32>> {
    let mut uses: BTreeMap<ParamId, usize> = BTreeMap::new();
    let mut scales = BTreeMap::new();
    for id in graph.nodes() {
        let (Op::Conv(espalier_ir::Conv { weight, .. }) | Op::Gemm { weight, .. }) = &graph.node(id).op else {
            continue;
        };
        *uses.entry(*weight).or_default() += 1;
        let [reader] = graph.consumers(id)[..] else { continue };
        if let Op::BatchNorm { gamma, variance, epsilon, .. } = &graph.node(reader).op
            && !graph.outputs().contains(&id)
        {
            let scale = graph.param(*gamma).as_f32().iter().zip(graph.param(*variance).as_f32());
            let scale = scale.map(|(g, v)| g.abs() / (v + epsilon).sqrt()).map(|s| if s.is_finite() { s } else { 1.0 });
            scales.insert(*weight, scale.collect());
        }
    }
    scales.retain(|weight, _| uses[weight] == 1);
    scales
}
