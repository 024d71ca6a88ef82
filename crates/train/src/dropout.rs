//! Dropout in front of fully connected layers.

use espalier_ir::Random;

use crate::random::stream;

/// Inverted dropout (Srivastava et al. 2014): each input of a Gemm is 0 with probability `rate`, else
/// divided by `1 - rate`, so that inference needs no change.
#[derive(Clone, Copy)]
pub(crate) struct Dropout<'a> {
    pub(crate) rate: f32,
    pub(crate) seed: u64,
    pub(crate) epoch: usize,
    /// Which sample stands at each place of the batch: what is dropped depends on nothing else.
    pub(crate) samples: &'a [usize],
}

impl Dropout<'_> {
    /// Factors `[samples * features]` of the step at `position` in the plan.
    pub(crate) fn factors(&self, position: usize, features: usize) -> Vec<f32> {
        let kept = 1.0 / (1.0 - self.rate);
        let of_sample = |sample: &usize| {
            let mut random: Random = stream(self.seed, 0xd809 + position as u64, self.epoch, *sample);
            (0..features).map(move |_| if random.unit() < self.rate { 0.0 } else { kept }).collect::<Vec<_>>()
        };
        self.samples.iter().flat_map(of_sample).collect()
    }
}
