//! Between samples in a row and blocks of lanes.

use super::LANES;

/// Blocks that hold `samples`.
pub(crate) fn blocks(samples: usize) -> usize {
    samples.div_ceil(LANES)
}

/// Samples `[n][channels][pixels]` as `[blocks][pixels][channels][LANES]`.
pub(crate) fn pack(samples: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let len = channels * pixels;
    let n = samples.len() / len.max(1);
    let mut packed = vec![0.0; blocks(n) * len * LANES];
    for (block, group) in packed.chunks_mut(len * LANES).zip(samples.chunks(LANES * len)) {
        for channel in 0..channels {
            for pixel in 0..pixels {
                let lanes = &mut block[(pixel * channels + channel) * LANES..][..LANES];
                for (lane, value) in lanes.iter_mut().zip(group[channel * pixels + pixel..].iter().step_by(len)) {
                    *lane = *value;
                }
            }
        }
    }
    packed
}

/// The inverse of [`pack`] for the first `n` samples.
pub(crate) fn unpack(packed: &[f32], n: usize, channels: usize, pixels: usize) -> Vec<f32> {
    let len = channels * pixels;
    let mut samples = vec![0.0; n * len];
    for (block, group) in packed.chunks(len * LANES).zip(samples.chunks_mut(LANES * len)) {
        for (lane, sample) in group.chunks_mut(len).enumerate() {
            for channel in 0..channels {
                for pixel in 0..pixels {
                    sample[channel * pixels + pixel] = block[(pixel * channels + channel) * LANES + lane];
                }
            }
        }
    }
    samples
}

/// `[blocks][outer][inner][LANES]` as `[blocks][inner][outer][LANES]`: flattening puts channels first.
pub(crate) fn swap(values: &[f32], outer: usize, inner: usize) -> Vec<f32> {
    let mut swapped = vec![0.0; values.len()];
    let size = outer * inner * LANES;
    for (from, to) in values.chunks(size).zip(swapped.chunks_mut(size)) {
        for o in 0..outer {
            for i in 0..inner {
                let lanes = &from[(o * inner + i) * LANES..][..LANES];
                to[(i * outer + o) * LANES..][..LANES].copy_from_slice(lanes);
            }
        }
    }
    swapped
}

/// Sets the lanes of `values` that belong to no sample to zero.
pub(crate) fn clear_unused(values: &mut [f32], samples: usize) {
    let used = samples % LANES;
    if used == 0 {
        return;
    }
    let block = values.len() / blocks(samples);
    let last = values.len() - block;
    for lanes in values[last..].chunks_mut(LANES) {
        lanes[used..].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_undone_and_pads_with_zeros() {
        let samples: Vec<f32> = (0..17 * 6).map(|v| v as f32 + 1.0).collect();
        let mut packed = pack(&samples, 2, 3);
        assert_eq!(packed.len(), 2 * 6 * LANES);
        assert_eq!(packed.iter().filter(|v| **v == 0.0).count(), 15 * 6);
        // Sample 3, channel 1, pixel 2.
        assert_eq!(packed[(2 * 2 + 1) * LANES + 3], samples[3 * 6 + 3 + 2]);
        assert_eq!(unpack(&packed, 17, 2, 3), samples);
        assert_eq!(swap(&swap(&packed, 3, 2), 2, 3), packed);
        let clean = packed.clone();
        packed[6 * LANES + 1] = 9.0;
        clear_unused(&mut packed, 17);
        assert_eq!(packed, clean);
    }
}
