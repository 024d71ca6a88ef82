//! Masks that hold still, and masks that change while the weights under them live on.

use espalier_ir::{Diagnostics, Graph, TensorMap};

use crate::Masking;
use crate::forward::Params;
use crate::model::{Model, flat};
use crate::optimizer::mask;

/// What new masks may be chosen by.
#[derive(Debug, Clone, Copy)]
pub struct Remasking<'a> {
    /// The network with the weights under the masks: what is pruned now, with the values it would come
    /// back with.
    pub graph: &'a Graph,
    /// Gradient of the loss of the newest batch at the masked weights, for every trained parameter and
    /// also where it is masked: the criterion of growth of Evci et al. 2020 (RigL, arXiv 1911.11134).
    /// None before the first step.
    pub gradients: Option<&'a TensorMap>,
    /// Steps done; with `steps` the progress, for budgets that shrink (Zhu and Gupta 2017, arXiv 1710.01878).
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// These masks are the last: they stay until the end.
    pub last: bool,
}

/// Chooses masks as in [`FineTuning::masks`](crate::FineTuning); parameters without one are not masked.
pub type Remask<'a> = &'a mut dyn FnMut(&Remasking<'_>) -> Result<TensorMap, Diagnostics>;

/// The masks of a training.
pub(crate) struct Masks {
    /// The masks in force.
    pub(crate) masks: Params,
    /// Values under the masks while masks change; the network itself holds them masked.
    pub(crate) dense: Option<Params>,
    every_steps: usize,
    /// Step after which masks stay.
    freeze: usize,
    nothing: Params,
}

impl Masks {
    /// Applies the first masks to the model.
    pub(crate) fn new(masking: Masking, masks: &TensorMap, steps: usize, model: &mut Model<'_>) -> Self {
        let masks = on_device(masks, model);
        let (every_steps, freeze, dense) = match masking {
            Masking::Fixed => (1, 0, None),
            Masking::Feedback { every_steps, until_fraction } => {
                let freeze = (until_fraction * steps as f64).ceil() as usize;
                (every_steps, freeze.min(steps), Some(Params::new()))
            }
        };
        let mut result = Masks { masks, dense, every_steps, freeze, nothing: Params::new() };
        result.cover(&mut model.params);
        result
    }

    /// True once masks no longer change.
    pub(crate) fn are_final(&self) -> bool {
        self.dense.is_none()
    }

    /// True if masks are to be chosen after `step` steps.
    pub(crate) fn due(&self, step: usize) -> bool {
        !self.are_final() && (self.last(step) || (step > 0 && step.is_multiple_of(self.every_steps)))
    }

    /// True if masks chosen after `step` steps stay.
    pub(crate) fn last(&self, step: usize) -> bool {
        step >= self.freeze
    }

    /// Masks that hold in the update itself: none while the values under them live.
    pub(crate) fn in_update(&self) -> &Params {
        if self.are_final() { &self.masks } else { &self.nothing }
    }

    /// Puts the values under the masks back in place.
    pub(crate) fn uncover(&self, params: &mut Params) {
        params.extend(self.dense.iter().flatten().map(|(id, values)| (*id, values.clone())));
    }

    /// Keeps the values under the masks, if they live, and masks the parameters.
    pub(crate) fn cover(&mut self, params: &mut Params) {
        if let Some(dense) = &mut self.dense {
            *dense = self.masks.keys().map(|id| (*id, params[id].clone())).collect();
        }
        mask(params, &self.masks);
    }

    /// Takes checked masks into force; `dense` are all parameters, uncovered.
    pub(crate) fn replace(&mut self, masks: &TensorMap, last: bool, dense: Params, model: &mut Model<'_>) {
        self.masks = on_device(masks, model);
        model.params = dense;
        if last {
            self.dense = None;
        }
        self.cover(&mut model.params);
    }
}

fn on_device(masks: &TensorMap, model: &Model<'_>) -> Params {
    masks.iter().map(|(id, m)| (*id, flat(m.as_f32().to_vec(), &model.device))).collect()
}
