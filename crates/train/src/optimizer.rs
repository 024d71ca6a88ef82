//! One training step: clip, update each parameter by its rule, multiply by the masks.
//!
//! The rules are a few lines on plain vectors, so that their state can be saved and loaded exactly.

use std::collections::{BTreeMap, BTreeSet};

use espalier_ir::ParamId;

use crate::forward::Params;
use crate::model::{flat, to_vec};
use crate::{Optimizer, Schedule, TrainConfig};

/// Averages that a rule keeps of one parameter.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moments {
    /// Velocity of SGD, mean gradient of Adam; empty before the first step.
    pub(crate) first: Vec<f32>,
    /// Mean squared gradient of Adam.
    pub(crate) second: Vec<f32>,
    /// Steps that made them.
    pub(crate) steps: u64,
}

pub(crate) struct Updater {
    optimizer: Optimizer,
    weight_decay: f32,
    clip: Option<f32>,
    decayed: BTreeSet<ParamId>,
    pub(crate) moments: BTreeMap<ParamId, Moments>,
}

impl Updater {
    pub(crate) fn new(config: &TrainConfig, decayed: BTreeSet<ParamId>) -> Self {
        let TrainConfig { optimizer, weight_decay, gradient_clip: clip, .. } = *config;
        Updater { optimizer, weight_decay, clip, decayed, moments: BTreeMap::new() }
    }

    /// Changes `params` by one step against `gradients`. Under `masks` nothing that is masked moves,
    /// counts in the norm or builds up momentum.
    pub(crate) fn step(&mut self, rate: f64, params: &mut Params, mut gradients: Params, masks: &Params) {
        mask(&mut gradients, masks);
        let scale = self.clip.map_or(1.0, |clip| clip_factor(&gradients, clip));
        for (id, gradient) in gradients {
            let device = gradient.device();
            let mut gradient = to_vec(gradient);
            if scale < 1.0 {
                gradient.iter_mut().for_each(|g| *g *= scale);
            }
            let mut weights = to_vec(params[&id].clone());
            let decay = if self.decayed.contains(&id) { self.weight_decay } else { 0.0 };
            let moments = self.moments.entry(id).or_default();
            match self.optimizer {
                Optimizer::Sgd { momentum } => sgd(&mut weights, gradient, moments, rate, decay, momentum, false),
                Optimizer::Nesterov { momentum } => sgd(&mut weights, gradient, moments, rate, decay, momentum, true),
                Optimizer::Adam => adam(&mut weights, &gradient, moments, rate, decay),
                Optimizer::RelativeAdam => {
                    let rate = rate * root_mean_square(&weights).max(LEAST_SIZE);
                    adam(&mut weights, &gradient, moments, rate, decay);
                }
            }
            params.insert(id, flat(weights, &device));
        }
        mask(params, masks);
    }
}

/// Size that even a parameter of zeros counts as in relative steps.
const LEAST_SIZE: f64 = 1e-4;

fn root_mean_square(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    (sum / values.len().max(1) as f64).sqrt()
}

/// Sets masked values to zero.
pub(crate) fn mask(values: &mut Params, masks: &Params) {
    for (id, mask) in masks {
        if let Some(value) = values.get_mut(id) {
            *value = value.clone() * mask.clone();
        }
    }
}

/// `v = momentum v + g + decay w`; the step is `v`, or `g + decay w + momentum v` looking ahead
/// (Sutskever et al. 2013). No dampening, as in every published recipe.
fn sgd(
    weights: &mut [f32],
    mut gradient: Vec<f32>,
    moments: &mut Moments,
    rate: f64,
    decay: f32,
    momentum: f32,
    nesterov: bool,
) {
    let rate = rate as f32;
    for (g, w) in gradient.iter_mut().zip(weights.iter()) {
        *g += decay * w;
    }
    if momentum > 0.0 {
        moments.first.resize(gradient.len(), 0.0);
        for (v, g) in moments.first.iter_mut().zip(&mut gradient) {
            *v = momentum * *v + *g;
            *g = if nesterov { *g + momentum * *v } else { *v };
        }
        moments.steps += 1;
    }
    for (w, g) in weights.iter_mut().zip(gradient) {
        *w -= rate * g;
    }
}

/// AdamW (Loshchilov and Hutter 2019) with beta 0.9 and 0.999, epsilon 1e-8.
fn adam(weights: &mut [f32], gradient: &[f32], moments: &mut Moments, rate: f64, decay: f32) {
    const BETA: [f32; 2] = [0.9, 0.999];
    moments.first.resize(gradient.len(), 0.0);
    moments.second.resize(gradient.len(), 0.0);
    moments.steps += 1;
    let correction = BETA.map(|b| (1.0 - f64::from(b).powi(moments.steps.min(1 << 30) as i32)) as f32);
    let (shrink, rate) = (1.0 - rate as f32 * decay, rate as f32);
    let averages = moments.first.iter_mut().zip(&mut moments.second);
    for ((w, g), (first, second)) in weights.iter_mut().zip(gradient).zip(averages) {
        *first = BETA[0] * *first + (1.0 - BETA[0]) * g;
        *second = BETA[1] * *second + (1.0 - BETA[1]) * g * g;
        let step = *first / correction[0] / ((*second / correction[1]).sqrt() + 1e-8);
        *w = *w * shrink - rate * step;
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

/// Learning rate of step `step` of `steps`: a linear rise over the warm-up, then the schedule.
pub(crate) fn learning_rate(config: &TrainConfig, step: usize, steps: usize) -> f64 {
    let warm = (config.warmup * steps as f64).round() as usize;
    if step < warm {
        return config.learning_rate * (step + 1) as f64 / warm as f64;
    }
    let done = (step - warm) as f64 / (steps - warm.min(steps)).max(1) as f64;
    match config.schedule {
        Schedule::Constant => config.learning_rate,
        Schedule::Cosine => config.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        Schedule::Step { drops, factor } => {
            let passed = (done * (drops + 1) as f64).floor().min(drops as f64);
            config.learning_rate * factor.powi(passed as i32)
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

    fn run(config: &TrainConfig, mask_values: Option<Vec<f32>>, gradients: &[Vec<f32>]) -> Vec<f32> {
        let (id, device) = (param(), Device::flex());
        let masks = mask_values.map(|m| (id, flat(m, &device))).into_iter().collect();
        let mut updater = Updater::new(config, BTreeSet::from([id]));
        let mut params = Params::from([(id, flat(vec![1.0, -2.0], &device))]);
        mask(&mut params, &masks);
        for gradient in gradients {
            updater.step(0.1, &mut params, Params::from([(id, flat(gradient.clone(), &device))]), &masks);
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
    fn nesterov_looks_ahead() {
        let optimizer = Optimizer::Nesterov { momentum: 0.9 };
        let config = TrainConfig { optimizer, weight_decay: 0.0, gradient_clip: None, ..Default::default() };
        // v = 1, 1.9; steps 1 + 0.9 v.
        close(&run(&config, None, &[vec![1.0, 0.0], vec![1.0, 0.0]]), &[1.0 - 0.1 * (1.9 + 2.71), -2.0]);
    }

    #[test]
    fn adam_moves_by_the_rate_at_first() {
        let config =
            TrainConfig { optimizer: Optimizer::Adam, weight_decay: 0.0, gradient_clip: None, ..Default::default() };
        close(&run(&config, None, &[vec![7.0, -0.01]]), &[0.9, -1.9]);
    }

    #[test]
    fn relative_steps_do_not_depend_on_the_scale() {
        let config = TrainConfig {
            optimizer: Optimizer::RelativeAdam,
            weight_decay: 0.0,
            gradient_clip: None,
            ..Default::default()
        };
        // The root mean square of 1 and -2 is 1.58.
        let size = 2.5f32.sqrt();
        close(&run(&config, None, &[vec![7.0, -0.01]]), &[1.0 - 0.1 * size, -2.0 + 0.1 * size]);
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

    #[test]
    fn warm_up_rises_and_steps_fall() {
        let schedule = Schedule::Step { drops: 2, factor: 0.1 };
        let config = TrainConfig { learning_rate: 1.0, warmup: 0.25, schedule, ..Default::default() };
        let rates: Vec<f64> = (0..16).map(|s| learning_rate(&config, s, 16)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(rates[7], 1.0);
        assert!((rates[8] - 0.1).abs() < 1e-12 && (rates[11] - 0.1).abs() < 1e-12, "{rates:?}");
        assert!((rates[12] - 0.01).abs() < 1e-12 && (rates[15] - 0.01).abs() < 1e-12, "{rates:?}");
    }
}
