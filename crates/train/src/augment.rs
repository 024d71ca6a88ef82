//! Random changes of training samples.

use espalier_ir::{Diagnostic, Diagnostics, Random};

/// Changes drawn anew for every sample in every epoch, from the seed alone: the number of threads and
/// shards plays no part. Samples are `[channels, height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Augmentation {
    /// Mirror left and right, half of the time.
    pub flip_horizontal: bool,
    /// Move by up to this many pixels in each direction; edges are repeated. Padding by n and cropping
    /// at random is the same thing (He et al. 2016 pad CIFAR-10 by 4).
    pub shift_pixels: usize,
    /// Add one number to a whole picture, uniform in -brightness..brightness, in units of the input.
    pub brightness: f32,
    /// Standard deviation of Gaussian noise on every value, in units of the input.
    pub noise: f32,
    /// Blend every sample with another one, and their labels likewise; the share of the other one is drawn from
    /// Beta(mixup, mixup), 0 to 1 (Zhang et al. 2018). With a teacher, who sees the same blend, it stands in for
    /// samples that one does not have (Beyer et al. 2022).
    pub mixup: f32,
}

impl Augmentation {
    /// True if it changes anything.
    pub fn is_active(&self) -> bool {
        *self != Augmentation::default()
    }

    pub(crate) fn check(&self, findings: &mut Diagnostics) {
        for (key, value) in [("brightness", self.brightness), ("noise", self.noise)] {
            if !(value.is_finite() && value >= 0.0) {
                findings.push(refused(key, format!("must not be negative, is {value}")));
            }
        }
        if !(0.0..=1.0).contains(&self.mixup) {
            findings.push(refused("mixup", format!("must be 0 to 1, is {}", self.mixup)));
        }
    }

    pub(crate) fn check_size(&self, [_, height, width]: [usize; 3], findings: &mut Diagnostics) {
        if self.shift_pixels > 0 && self.shift_pixels >= height.min(width) {
            let message = format!("{} does not fit pictures of {height} x {width}", self.shift_pixels);
            findings.push(refused("shift_pixels", message));
        }
    }

    /// Appends the changed sample to `out`.
    pub(crate) fn apply(
        &self,
        sample: &[f32],
        [_, height, width]: [usize; 3],
        random: &mut Random,
        out: &mut Vec<f32>,
    ) {
        let flip = self.flip_horizontal && random.below(2) == 1;
        let mut shift = || random.below(2 * self.shift_pixels + 1) as isize - self.shift_pixels as isize;
        let (down, right) = (shift(), shift());
        let offset = if self.brightness > 0.0 { (2.0 * random.unit() - 1.0) * self.brightness } else { 0.0 };
        let clamped = |at: usize, by: isize, size: usize| (at as isize - by).clamp(0, size as isize - 1) as usize;
        let start = out.len();
        for plane in sample.chunks(height * width) {
            for y in 0..height {
                let row = &plane[clamped(y, down, height) * width..][..width];
                out.extend((0..width).map(|x| {
                    let x = clamped(x, right, width);
                    row[if flip { width - 1 - x } else { x }] + offset
                }));
            }
        }
        if self.noise > 0.0 {
            for pair in out[start..].chunks_mut(2) {
                for (value, noise) in pair.iter_mut().zip(gaussian(random)) {
                    *value += self.noise * noise;
                }
            }
        }
    }
}

/// The share of the other sample in a blend: a draw from Beta(a, a), 0 < a <= 1 (Johnk 1964).
pub(crate) fn blend_share(a: f32, random: &mut Random) -> f32 {
    loop {
        let mut draw = || f64::from(random.unit()).powf(1.0 / f64::from(a));
        let (x, y) = (draw(), draw());
        if x + y > 0.0 && x + y <= 1.0 {
            return (x / (x + y)) as f32;
        }
    }
}

/// Blends `with` into `sample`.
pub(crate) fn blend(sample: &mut [f32], with: &[f32], share: f32) {
    sample.iter_mut().zip(with).for_each(|(v, w)| *v += share * (w - *v));
}

fn refused(key: &str, message: String) -> Diagnostic {
    Diagnostic::error("bad-training-option", format!("augmentation.{key}"), message)
}

/// Two independent standard normal numbers (Box and Muller 1958).
fn gaussian(random: &mut Random) -> [f32; 2] {
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    let angle = 2.0 * std::f32::consts::PI * random.unit();
    [radius * angle.cos(), radius * angle.sin()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(augmentation: Augmentation, seed: u64) -> Vec<f32> {
        let sample: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let mut out = Vec::new();
        augmentation.apply(&sample, [2, 3, 4], &mut Random::new(seed), &mut out);
        out
    }

    #[test]
    fn flips_mirror_rows() {
        let flip = Augmentation { flip_horizontal: true, ..Default::default() };
        let outcomes: Vec<Vec<f32>> = (0..20).map(|seed| changed(flip, seed)).collect();
        assert!(outcomes.iter().any(|o| o[..4] == [0.0, 1.0, 2.0, 3.0]));
        let flipped = outcomes.iter().find(|o| o[0] == 3.0).unwrap();
        assert_eq!(flipped[..8], [3.0, 2.0, 1.0, 0.0, 7.0, 6.0, 5.0, 4.0]);
        assert_eq!(flipped[20..], [23.0, 22.0, 21.0, 20.0]);
    }

    #[test]
    fn shifts_repeat_edges_and_reach_all_offsets() {
        let shift = Augmentation { shift_pixels: 1, ..Default::default() };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let out = changed(shift, seed);
            // The middle of row 1 tells the offset.
            seen.insert(out[5] as i32);
            if out[5] == 0.0 {
                assert_eq!(out[..8], [0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0]);
                assert_eq!(out[20..], [16.0, 16.0, 17.0, 18.0]);
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 8, 9, 10]);
    }

    #[test]
    fn shares_of_blends_follow_the_beta_distribution() {
        // Variance of Beta(a, a) is 1 / (4 (2a + 1)).
        for a in [0.2f32, 0.5, 1.0] {
            let mut random = Random::new(11);
            let shares: Vec<f64> = (0..4000).map(|_| f64::from(blend_share(a, &mut random))).collect();
            let mean = shares.iter().sum::<f64>() / 4000.0;
            let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 4000.0;
            let wanted = 1.0 / (4.0 * (2.0 * f64::from(a) + 1.0));
            assert!((mean - 0.5).abs() < 0.02 && (variance / wanted - 1.0).abs() < 0.05, "{a}: {mean} {variance}");
        }
        let mut sample = [1.0, -2.0];
        blend(&mut sample, &[3.0, 2.0], 0.25);
        assert_eq!(sample, [1.5, -1.0]);
    }

    #[test]
    fn brightness_and_noise_have_their_size() {
        let bright = Augmentation { brightness: 0.5, ..Default::default() };
        let offsets: Vec<f32> = (0..500).map(|seed| changed(bright, seed)[0]).collect();
        assert!(offsets.iter().all(|o| o.abs() <= 0.5) && offsets.iter().any(|o| *o > 0.4));
        let noisy = Augmentation { noise: 2.0, ..Default::default() };
        let noise: Vec<f32> =
            (0..500).flat_map(|s| changed(noisy, s).into_iter().zip(0..).map(|(v, i)| v - i as f32)).collect();
        let n = noise.len() as f32;
        let (mean, square) = (noise.iter().sum::<f32>() / n, noise.iter().map(|v| v * v).sum::<f32>() / n);
        assert!(mean.abs() < 0.1 && (square.sqrt() - 2.0).abs() < 0.1, "{mean} {square}");
        assert_eq!(changed(noisy, 3), changed(noisy, 3));
    }
}
