//! Importance of channels: what is lost when a channel goes.
//!
//! * **L1, L2** (Li et al. 2017, arXiv 1608.08710; all members of the group as in DepGraph, arXiv
//!   2301.12900): `I_c = sum over weight slices of c of sum |w|`, or `sqrt(sum w^2)`. Slices are rows
//!   that compute the channel and columns that read it. A batch normalization right behind a layer
//!   is folded in first, because the raw scale of a normalized weight means nothing.
//! * **Taylor** (Molchanov et al. 2019, arXiv 1906.10771): first-order change of the loss when the
//!   channel is gated by `z_c`, at `z_c = 1`: `I_c = mean over batches of (dL/dz_c)^2`. The gate
//!   stands where the channel is *read*: `dL/dz_c = sum over the columns of all readers of w * g`,
//!   which is the derivative along exactly what removal does. With ReLU between (positively
//!   homogeneous) it equals the paper's gate on the filter, `sum w * g` over the filter and its bias
//!   or over gamma and beta; unlike that, it counts a channel once however many layers in series
//!   or on a residual stream compute it.
//! * **Random**: the control that every comparison needs.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, Graph, Op, ParamId, Random, TensorMap};
use serde::{Deserialize, Serialize};

use crate::{DependencyGroups, Role};

/// How importance is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Sum of magnitudes.
    L1,
    /// Euclidean norm (channels) or energy (vectors).
    L2,
    /// Squared first-order change of the loss; needs gradients.
    Taylor,
    /// Seeded uniform numbers.
    Random {
        /// The seed.
        seed: u64,
    },
}

/// How scores of different groups or layers are made comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// Not at all: right for Taylor, whose scores are changes of one loss.
    None,
    /// Divide by the mean of the group: every channel is worth the same on average.
    Mean,
    /// Divide by the sum of the group: every group is worth the same, whether wide or narrow.
    Sum,
    /// As `Sum`, but plans maximize the *product* of what every group (layer) keeps instead of the
    /// sum: what one layer loses the next cannot restore, so no layer is starved for the others.
    Share,
}

/// Smallest share told apart from nothing by [`Normalization::Share`].
const LEAST_SHARE: f64 = 1e-3;

impl Normalization {
    /// What a plan maximizes the sum of: worth of a group of which `kept` of `total` stays.
    pub(crate) fn worth(self, kept: f64, total: f64) -> f64 {
        match self {
            Normalization::Share if total > 0.0 => (kept / total + LEAST_SHARE).ln(),
            _ => kept,
        }
    }
}

impl Criterion {
    /// The normalization that suits the criterion: none for Taylor, else by share.
    pub fn default_normalization(self) -> Normalization {
        match self {
            Criterion::Taylor => Normalization::None,
            _ => Normalization::Share,
        }
    }
}

/// Scores of all channels, at least 0; larger = more important.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportanceScores {
    /// What was measured.
    pub criterion: Criterion,
    /// How groups were made comparable.
    pub normalization: Normalization,
    /// `scores[group][channel]`.
    pub scores: Vec<Vec<f64>>,
}

/// Importance of every channel of every group.
///
/// `products` holds one map a batch with the elementwise products weight * gradient of at least
/// every convolution and Gemm weight; only [`Criterion::Taylor`] reads it.
///
/// # Errors
/// `missing-gradients` for each weight without a product of its shape, or if there is no batch.
pub fn importance(
    graph: &Graph,
    groups: &DependencyGroups,
    criterion: Criterion,
    normalization: Normalization,
    products: &[TensorMap],
) -> Result<ImportanceScores, Diagnostics> {
    let mut scores: Vec<Vec<f64>> = match criterion {
        Criterion::L1 => magnitudes(graph, groups, &|w| f64::from(w.abs())),
        Criterion::L2 => {
            let mut energy = magnitudes(graph, groups, &|w| f64::from(w) * f64::from(w));
            energy.iter_mut().flatten().for_each(|s| *s = s.sqrt());
            energy
        }
        Criterion::Taylor => {
            check_products(graph, products)?;
            taylor(graph, groups, products)
        }
        Criterion::Random { seed } => {
            let mut random = Random::new(seed);
            groups.groups.iter().map(|g| (0..g.channels).map(|_| f64::from(random.unit())).collect()).collect()
        }
    };
    for group in &mut scores {
        normalize(group, normalization);
    }
    Ok(ImportanceScores { criterion, normalization, scores })
}

/// Scales scores of one group or layer in place; all-zero scores stay.
pub(crate) fn normalize(scores: &mut [f64], normalization: Normalization) {
    let sum: f64 = scores.iter().sum();
    let divisor = match normalization {
        Normalization::None => return,
        Normalization::Mean => sum / scores.len() as f64,
        Normalization::Sum | Normalization::Share => sum,
    };
    if divisor > 0.0 && divisor.is_finite() {
        scores.iter_mut().for_each(|s| *s /= divisor);
    }
}

/// Checks that every batch has a product for every weight.
pub(crate) fn check_products(graph: &Graph, products: &[TensorMap]) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    if products.is_empty() {
        findings.push(
            Diagnostic::error("missing-gradients", "criterion 'taylor'", "there is no batch of gradients")
                .with_help("give at least one batch of training samples, or use 'l2'"),
        );
    }
    for (batch, map) in products.iter().enumerate() {
        for param in weights(graph) {
            if map.get(&param).is_none_or(|t| t.shape() != graph.param(param).shape()) {
                let message = format!("batch {batch} has no gradient of shape {:?}", graph.param(param).shape());
                let at = format!("parameter '{}'", graph.param_name(param));
                findings.push(Diagnostic::error("missing-gradients", at, message));
            }
        }
    }
    findings.into_result(())
}

/// Weights of convolutions, transposed ones, Gemm and recurrent layers, each once.
fn weights(graph: &Graph) -> Vec<ParamId> {
    let mut weights: Vec<ParamId> = graph
        .nodes()
        .into_iter()
        .filter_map(|id| match &graph.node(id).op {
            Op::Conv(conv) => Some(conv.weight),
            Op::ConvTranspose(conv) => Some(conv.weight),
            Op::Gemm { weight, .. } => Some(*weight),
            _ => None,
        })
        .collect();
    weights.extend(graph.nodes().into_iter().flat_map(|id| match &graph.node(id).op {
        Op::Recurrent(recurrent) => vec![recurrent.weight, recurrent.recurrence],
        _ => Vec::new(),
    }));
    weights.sort_unstable();
    weights.dedup();
    weights
}

fn magnitudes(graph: &Graph, groups: &DependencyGroups, measure: &dyn Fn(f32) -> f64) -> Vec<Vec<f64>> {
    let scales = folded_scales(graph);
    let mut scores: Vec<Vec<f64>> = groups.groups.iter().map(|g| vec![0.0; g.channels]).collect();
    for (group, scores) in groups.groups.iter().zip(&mut scores) {
        for member in group.members.iter().filter(|m| m.role != Role::PerChannel) {
            let tensor = graph.param(member.param);
            let mut values = tensor.as_f32().to_vec();
            if let Some(scale) = scales.get(&member.param) {
                scale_rows(&mut values, scale);
            }
            let sums = axis_sums(&values, tensor.shape(), member.axis, measure);
            for (score, positions) in scores.iter_mut().zip(&member.positions) {
                *score += positions.iter().map(|p| sums[*p]).sum::<f64>();
            }
        }
    }
    scores
}

fn taylor(graph: &Graph, groups: &DependencyGroups, products: &[TensorMap]) -> Vec<Vec<f64>> {
    let mut scores: Vec<Vec<f64>> = groups.groups.iter().map(|g| vec![0.0; g.channels]).collect();
    for batch in products {
        for (group, scores) in groups.groups.iter().zip(&mut scores) {
            let mut gates = vec![0.0; group.channels];
            for member in group.members.iter().filter(|m| m.role == Role::Input) {
                let shape = graph.param(member.param).shape();
                let sums = axis_sums(batch[&member.param].as_f32(), shape, member.axis, &|v| f64::from(v));
                for (gate, positions) in gates.iter_mut().zip(&member.positions) {
                    *gate += positions.iter().map(|p| sums[*p]).sum::<f64>();
                }
            }
            for (score, gate) in scores.iter_mut().zip(gates) {
                *score += gate * gate / products.len() as f64;
            }
        }
    }
    scores
}

/// Sum of `measure` over all elements with the same index on `axis`, for each index.
fn axis_sums(values: &[f32], shape: &[usize], axis: usize, measure: &dyn Fn(f32) -> f64) -> Vec<f64> {
    let inner: usize = shape[axis + 1..].iter().product();
    let mut sums = vec![0.0; shape[axis]];
    for (i, chunk) in values.chunks(inner).enumerate() {
        sums[i % shape[axis]] += chunk.iter().map(|v| measure(*v)).sum::<f64>();
    }
    sums
}

/// Multiplies row `o` of a weight by `scale[o]`.
pub(crate) fn scale_rows(values: &mut [f32], scale: &[f32]) {
    let row = values.len() / scale.len();
    for (row, s) in values.chunks_mut(row).zip(scale) {
        row.iter_mut().for_each(|v| *v *= s);
    }
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

/// Checks that there is a finite score of at least 0 for every channel.
pub(crate) fn check_scores(groups: &DependencyGroups, scores: &ImportanceScores) -> Result<(), Diagnostics> {
    let fits = scores.scores.len() == groups.groups.len()
        && groups.groups.iter().zip(&scores.scores).all(|(g, s)| g.channels == s.len());
    let finite = scores.scores.iter().flatten().all(|s| s.is_finite() && *s >= 0.0);
    if fits && finite {
        return Ok(());
    }
    let message = if fits { "a score is negative or not a number" } else { "the scores are not of these groups" };
    Err(Diagnostic::error("scores-mismatch", "importance scores", message).into())
}
