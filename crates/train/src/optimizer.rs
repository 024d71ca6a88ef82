//! One training step: clip, update each tensor by burn's rules, multiply by the masks.

use std::collections::{BTreeMap, BTreeSet};

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamW, AdamWConfig, AdamWState, Optimizer as _, Sgd, SgdConfig, SgdState};
use espalier_ir::ParamId;

use crate::forward::Params;
use crate::model::to_vec;
use crate::{Optimizer, Schedule, TrainConfig};

/// A rule with its states. burn decays every tensor that it is given, hence two instances.
enum Rule {
    Sgd { decayed: Sgd, plain: Sgd, states: BTreeMap<ParamId, SgdState<1>> },
    Adam { decayed: AdamW, plain: AdamW, states: BTreeMap<ParamId, AdamWState<1>> },
}

pub(crate) struct Updater {
    rule: Rule,
    decayed: BTreeSet<ParamId>,
    masks: Params,
    clip: Option<f32>,
}

impl Updater {
    pub(crate) fn new(config: &TrainConfig, decayed: BTreeSet<ParamId>, masks: Params) -> Self {
        let rule = match config.optimizer {
            Optimizer::Sgd { momentum } => {
                // Dampening would scale the gradient itself, unlike every published recipe.
                let momentum =
                    (momentum > 0.0).then(|| MomentumConfig::new().with_momentum(momentum.into()).with_dampening(0.0));
                let plain = SgdConfig::new().with_momentum(momentum);
                let decay = (config.weight_decay > 0.0).then(|| WeightDecayConfig::new(config.weight_decay));
                let decayed = plain.clone().with_weight_decay(decay).build();
                Rule::Sgd { decayed, plain: plain.build(), states: BTreeMap::new() }
            }
            Optimizer::Adam => {
                let adam = AdamWConfig::new().with_epsilon(1e-8);
                let decayed = adam.clone().with_weight_decay(config.weight_decay).build();
                Rule::Adam { decayed, plain: adam.with_weight_decay(0.0).build(), states: BTreeMap::new() }
            }
        };
        Updater { rule, decayed, masks, clip: config.gradient_clip }
    }

    /// Sets masked parameters to zero.
    pub(crate) fn mask(&self, params: &mut Params) {
        for (id, mask) in &self.masks {
            if let Some(param) = params.get_mut(id) {
                *param = param.clone() * mask.clone();
            }
        }
    }

    /// Changes `params` by one step against `gradients`.
    pub(crate) fn step(&mut self, rate: f64, params: &mut Params, mut gradients: Params) {
        // Masked gradients must not count in the norm, nor build up momentum.
        self.mask(&mut gradients);
        let scale = self.clip.map_or(1.0, |clip| clip_factor(&gradients, clip));
        for (id, mut gradient) in gradients {
            if scale < 1.0 {
                gradient = gradient.mul_scalar(scale);
            }
            let old = params[&id].clone();
            let decays = self.decayed.contains(&id);
            let new = match &mut self.rule {
                Rule::Sgd { decayed, plain, states } => {
                    let rule = if decays { decayed } else { plain };
                    let (new, state) = rule.step(rate, old, gradient, states.remove(&id));
                    states.extend(state.map(|s| (id, s)));
                    new
                }
                Rule::Adam { decayed, plain, states } => {
                    let rule = if decays { decayed } else { plain };
                    let (new, state) = rule.step(rate, old, gradient, states.remove(&id));
                    states.extend(state.map(|s| (id, s)));
                    new
                }
            };
            params.insert(id, new);
        }
        self.mask(params);
    }
}

/// Factor that brings the norm of all gradients together down to `clip`.
fn clip_factor(gradients: &Params, clip: f32) -> f32 {
    let squares: f64 = gradients
        .values()
        .map(|g| to_vec(g.clone()).into_iter().map(|v| f64::from(v) * f64::from(v)).sum::<f64>())
        .sum();
    let norm = squares.sqrt();
    if norm > f64::from(clip) { (f64::from(clip) / norm) as f32 } else { 1.0 }
}

/// Learning rate of step `step` of `steps`.
pub(crate) fn learning_rate(config: &TrainConfig, step: usize, steps: usize) -> f64 {
    match config.schedule {
        Schedule::Constant => config.learning_rate,
        Schedule::Cosine => {
            let done = step as f64 / steps.max(1) as f64;
            config.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::flat;

    fn param() -> ParamId {
        espalier_ir::Graph::new("t").add_param("w", espalier_ir::Tensor::f32([1], vec![0.0]))
    }

    fn run(config: &TrainConfig, mask: Option<Vec<f32>>, gradients: &[Vec<f32>]) -> Vec<f32> {
        let (id, device) = (param(), Device::flex());
        let masks = mask.map(|m| (id, flat(m, &device))).into_iter().collect();
        let mut updater = Updater::new(config, BTreeSet::from([id]), masks);
        let mut params = Params::from([(id, flat(vec![1.0, -2.0], &device))]);
        updater.mask(&mut params);
        for gradient in gradients {
            updater.step(0.1, &mut params, Params::from([(id, flat(gradient.clone(), &device))]));
        }
        to_vec(params.remove(&id).unwrap())
    }

    fn close(a: &[f32], b: &[f32]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
    }

    #[test]
    fn momentum_and_decay_follow_the_formula() {
        let config = TrainConfig { weight_decay: 0.5, gradient_clip: None, ..Default::default() };
        // v1 = g + 0.5 w; w1 = w - 0.1 v1; v2 = 0.9 v1 + g + 0.5 w1; w2 = w1 - 0.1 v2.
        let by_hand = |mut w: f32, g: f32| {
            let mut v = 0.0;
            for _ in 0..2 {
                v = 0.9 * v + g + 0.5 * w;
                w -= 0.1 * v;
            }
            w
        };
        close(&run(&config, None, &[vec![1.0, 3.0], vec![1.0, 3.0]]), &[by_hand(1.0, 1.0), by_hand(-2.0, 3.0)]);
    }

    #[test]
    fn adam_moves_by_the_rate_at_first() {
        let config =
            TrainConfig { optimizer: Optimizer::Adam, weight_decay: 0.0, gradient_clip: None, ..Default::default() };
        close(&run(&config, None, &[vec![7.0, -0.01]]), &[0.9, -1.9]);
    }

    #[test]
    fn long_gradients_are_shortened_and_masked_ones_do_not_count() {
        let config = TrainConfig {
            optimizer: Optimizer::Sgd { momentum: 0.0 },
            weight_decay: 0.0,
            gradient_clip: Some(1.0),
            ..Default::default()
        };
        close(&run(&config, None, &[vec![30.0, 40.0]]), &[1.0 - 0.06, -2.0 - 0.08]);
        assert_eq!(run(&config, Some(vec![0.0, 1.0]), &[vec![1e6, 0.5]]), [0.0, -2.05]);
    }

    #[test]
    fn cosine_falls_from_the_rate_to_zero() {
        let config = TrainConfig { learning_rate: 0.4, ..Default::default() };
        assert_eq!(learning_rate(&config, 0, 10), 0.4);
        assert!((learning_rate(&config, 5, 10) - 0.2).abs() < 1e-12);
        assert!(learning_rate(&config, 10, 10) < 1e-12);
    }
}
