//! Regularized training: weights that are not needed shrink to zero while the network learns.
//!
//! Loss plus `l1 sum |w| + lp sum (w^2 + epsilon)^(p/2)` over all Conv and Gemm weights, plus
//! `group_lasso sum over groups of sqrt(n) ||w_group||_2` (Yuan and Lin 2006; as structured sparsity
//! Wen et al. 2016, arXiv 1608.03665), `n` being the number of elements of the group.
//!
//! * The smooth term enters the gradient: `lp p w (w^2 + epsilon)^(p/2 - 1)`. With `p < 1` it is not
//!   convex and pushes small weights harder than large ones (Chartrand 2007); `epsilon` bounds the
//!   force at 0.
//! * The two others are applied by their proximal operator after each step of rate `r`: a soft threshold
//!   `sign(w) max(|w| - r l1, 0)`, then `w *= max(0, 1 - r group_lasso sqrt(n) / ||w||)` for each group.
//!   That gives exact zeros, which a subgradient never reaches. Groups that overlap, such as the row and
//!   the column of a residual stream, shrink one after another in the order given; with Adam the rate is
//!   the plain one, without its scaling.
//!
//! Masked elements are zero: they add nothing to a norm and stay zero.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use espalier_ir::{Diagnostic, Diagnostics, ParamId};

use crate::forward::Params;
use crate::model::{Model, flat, to_vec};

/// Some slices of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSlices {
    /// The parameter.
    pub param: ParamId,
    /// Its axis.
    pub axis: usize,
    /// Indices on that axis.
    pub indices: Vec<usize>,
}

/// What is added to the loss. The default adds nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Regularization {
    /// Factor of the sum of magnitudes.
    pub l1: f32,
    /// Factor of the sum of powers.
    pub lp: f32,
    /// Exponent `p` of the powers, above 0 and at most 1.
    pub power: f32,
    /// `epsilon`, added to the square of each weight in the powers; above 0.
    pub smoothing: f32,
    /// Factor of the group lasso.
    pub group_lasso: f32,
    /// Groups of elements that shrink together, such as all that belongs to a channel.
    pub groups: Vec<Vec<ParamSlices>>,
    /// More groups, each of elements of one parameter (row-major positions), such as the weights of one vector.
    pub elements: Vec<(ParamId, Vec<usize>)>,
}

impl Default for Regularization {
    fn default() -> Self {
        Regularization {
            l1: 0.0,
            lp: 0.0,
            power: 0.5,
            smoothing: 1e-6,
            group_lasso: 0.0,
            groups: Vec::new(),
            elements: Vec::new(),
        }
    }
}

impl Regularization {
    /// All values that make no sense for this model.
    pub(crate) fn check(&self, model: &Model<'_>, findings: &mut Diagnostics) {
        let mut refuse =
            |key: &str, message: String| findings.push(Diagnostic::error("bad-training-option", key, message));
        for (key, factor) in [("l1", self.l1), ("lp", self.lp), ("group_lasso", self.group_lasso)] {
            if !(factor.is_finite() && factor >= 0.0) {
                refuse(&format!("regularization.{key}"), format!("must not be negative, is {factor}"));
            }
        }
        if !(self.power > 0.0 && self.power <= 1.0) {
            refuse("regularization.power", format!("must be above 0 and at most 1, is {}", self.power));
        }
        if !(self.smoothing.is_finite() && self.smoothing > 0.0) {
            refuse("regularization.smoothing", format!("must be a positive number, not {}", self.smoothing));
        }
        for (group, slices) in self.groups.iter().enumerate() {
            for ParamSlices { param, axis, indices } in slices {
                let at = format!("regularization.groups[{group}]");
                match model.plan.params.get(param).map(|shape| shape.get(*axis)) {
                    _ if !model.plan.trainable.contains(param) => {
                        refuse(&at, format!("{param:?} is no parameter that learns"));
                    }
                    Some(Some(extent)) => {
                        if let Some(index) = indices.iter().find(|i| *i >= extent) {
                            refuse(&at, format!("index {index} of {param:?} is not below {extent}"));
                        }
                    }
                    _ => refuse(&at, format!("{param:?} has no axis {axis}")),
                }
            }
        }
        for (group, (param, positions)) in self.elements.iter().enumerate() {
            let at = format!("regularization.elements[{group}]");
            let len: usize = model.plan.params.get(param).map_or(0, |shape| shape.iter().product());
            if !model.plan.trainable.contains(param) {
                refuse(&at, format!("{param:?} is no parameter that learns"));
            } else if let Some(position) = positions.iter().find(|p| **p >= len) {
                refuse(&at, format!("position {position} of {param:?} is not below {len}"));
            } else if !positions.windows(2).all(|p| p[0] < p[1]) {
                refuse(&at, "positions do not ascend".to_owned());
            }
        }
    }
}

/// A regularization made ready for one model.
pub(crate) struct Regularizer {
    options: Regularization,
    /// Conv and Gemm weights.
    weights: Vec<ParamId>,
    /// Elements of every group, by parameter.
    groups: Vec<Vec<(ParamId, Vec<usize>)>>,
    device: Device,
}

impl Regularizer {
    /// `options` must be checked.
    pub(crate) fn new(options: &Regularization, model: &Model<'_>) -> Self {
        // An element in two slices of one group, such as a row and a column, counts once.
        let elements = |group: &Vec<ParamSlices>| {
            let mut chosen: BTreeMap<ParamId, BTreeSet<usize>> = BTreeMap::new();
            for ParamSlices { param, axis, indices } in group {
                let shape = &model.plan.params[param];
                let (extent, inner) = (shape[*axis], shape[axis + 1..].iter().product::<usize>());
                let outer: usize = shape[..*axis].iter().product();
                let slice =
                    |i: usize| (0..outer).flat_map(move |o| (o * extent + i) * inner..(o * extent + i + 1) * inner);
                chosen.entry(*param).or_default().extend(indices.iter().flat_map(|i| slice(*i)));
            }
            chosen.into_iter().map(|(param, elements)| (param, elements.into_iter().collect())).collect()
        };
        Regularizer {
            options: options.clone(),
            weights: model.plan.decayed.iter().copied().collect(),
            groups: options
                .groups
                .iter()
                .map(elements)
                .chain(options.elements.iter().map(|group| vec![group.clone()]))
                .collect(),
            device: model.device.clone(),
        }
    }

    /// Adds the gradient of the smooth term.
    pub(crate) fn add_gradient(&self, params: &Params, gradients: &mut Params) {
        let Regularization { lp, power, smoothing, .. } = self.options;
        if lp == 0.0 {
            return;
        }
        for weight in &self.weights {
            let w = params[weight].clone();
            let base = (w.clone() * w.clone()).add_scalar(smoothing).powf_scalar(power / 2.0 - 1.0);
            let force = (w * base).mul_scalar(lp * power);
            let sum = match gradients.remove(weight) {
                Some(gradient) => gradient + force,
                None => force,
            };
            gradients.insert(*weight, sum);
        }
    }

    /// The proximal operators after a step of this rate.
    pub(crate) fn shrink(&self, rate: f64, params: &mut Params) {
        if self.options.l1 > 0.0 {
            let threshold = (rate * f64::from(self.options.l1)) as f32;
            for weight in &self.weights {
                let w = params[weight].clone();
                let left = w.clone().abs().sub_scalar(threshold).clamp_min(0.0);
                params.insert(*weight, left * w.sign());
            }
        }
        if self.options.group_lasso > 0.0 && !self.groups.is_empty() {
            self.shrink_groups(rate * f64::from(self.options.group_lasso), params);
        }
    }

    fn shrink_groups(&self, strength: f64, params: &mut Params) {
        let mut host = BTreeMap::new();
        for (param, _) in self.groups.iter().flatten() {
            host.entry(*param).or_insert_with(|| to_vec(params[param].clone()));
        }
        for group in &self.groups {
            let values = group.iter().flat_map(|(param, elements)| elements.iter().map(|e| host[param][*e]));
            let norm = values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
            let count = group.iter().map(|(_, elements)| elements.len()).sum::<usize>() as f64;
            let factor = if norm > 0.0 { (1.0 - strength * count.sqrt() / norm).max(0.0) as f32 } else { 0.0 };
            for (param, elements) in group {
                let values = host.get_mut(param).expect("all were fetched");
                elements.iter().for_each(|e| values[*e] *= factor);
            }
        }
        for (param, values) in host {
            params.insert(param, flat(values, &self.device));
        }
    }
}
