//! Dropout in front of fully connected layers.

use std::collections::BTreeMap;

use espalier_ir::{NodeId, Random};

use crate::random::stream;

/// Inverted dropout (Srivastava et al. 2014): each input of a Gemm is 0 with probability `rate`, else
/// divided by `1 - rate`, so that inference needs no change.
#[derive(Clone, Copy)]
pub(crate) struct Dropout<'a> {
    pub(crate) rate: f32,
    /// Other rates of single Gemms.
    pub(crate) rates: &'a BTreeMap<NodeId, f32>,
    pub(crate) seed: u64,
    pub(crate) epoch: usize,
    /// Which sample stands at each place of the batch: what is dropped depends on nothing else.
    pub(crate) samples: &'a [usize],
}

impl Dropout<'_> {
    /// Factors `[samples * features]` of the step of `node` at `position` in the plan; `None` if it drops nothing.
    pub(crate) fn factors(&self, node: NodeId, position: usize, features: usize) -> Option<Vec<f32>> {
        let rate = self.rates.get(&node).copied().unwrap_or(self.rate);
        if rate == 0.0 {
            return None;
        }
        let kept = 1.0 / (1.0 - rate);
        let of_sample = |sample: &usize| {
            let mut random: Random = stream(self.seed, 0xd809 + position as u64, self.epoch, *sample);
            (0..features).map(move |_| if random.unit() < rate { 0.0 } else { kept }).collect::<Vec<_>>()
        };
        Some(self.samples.iter().flat_map(of_sample).collect())
    }
}
