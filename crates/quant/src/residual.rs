//! The operand that a convolution adds to its sums, in units of the accumulator.
//!
//! An element counts `2^k` units, `k = e_r - e_x - e_w[o]`. The array multiplies it by a weight `2^0..=2^6` and shifts
//! the sums of the pass to the left by 0, 2, 4 or 6, the same for all channels: so the `k` of a layer must lie in one of
//! 0..=6, 2..=8, 4..=10, 6..=12. Channels whose weights are so small that `k` is larger get a coarser weight exponent.
//! With `k = 12` the rounding of a thousand weights adds less than a tenth of an output step.

use std::ops::RangeInclusive;

use crate::exponents::MAX_LEFT_SHIFT;

/// Left shifts of the sums of a pass that the array can do.
pub const SUM_SHIFTS: [u8; 4] = [0, 2, 4, 6];

/// Largest `k`.
pub(crate) const MAX_RESIDUAL_SHIFT: i32 = SUM_SHIFTS[3] as i32 + MAX_LEFT_SHIFT;

/// How a convolution adds its second operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizedResidual {
    /// Output `(y, x)` takes the operand's element `(y, x) * stride`, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// For each output channel the channel of the operand, or `None` for zero; without a list every channel its own.
    pub channels: Option<Vec<Option<usize>>>,
    /// `k` of every output channel; of channels that add nothing it means nothing.
    pub left_shift: Vec<u8>,
}

impl QuantizedResidual {
    /// Channel of the operand that an output channel adds.
    pub fn channel(&self, output: usize) -> Option<usize> {
        self.channels.as_ref().map_or(Some(output), |c| c[output])
    }

    /// The left shift of the sums of a pass: what remains of every `left_shift` is an exponent of a weight, 0..=6.
    pub fn sum_shift(&self) -> u8 {
        let added = self.left_shift.iter().enumerate().filter(|(o, _)| self.channel(*o).is_some());
        sum_shift(added.map(|(_, k)| i32::from(*k))).expect("quantization keeps the shifts within reach of each other")
    }
}

/// The smallest shift of sums that serves all `k`.
pub(crate) fn sum_shift(shifts: impl Iterator<Item = i32> + Clone) -> Option<u8> {
    SUM_SHIFTS.into_iter().find(|s| shifts.clone().all(|k| (0..=MAX_LEFT_SHIFT).contains(&(k - i32::from(*s)))))
}

/// The `k` that all channels of a layer shall have, from those that their weights would give (`None`: no weights).
pub(crate) fn window(shifts: impl Iterator<Item = Option<i32>>) -> RangeInclusive<i32> {
    let least = shifts.flatten().min().unwrap_or(MAX_RESIDUAL_SHIFT).max(0);
    let shift = SUM_SHIFTS.into_iter().map(i32::from).rfind(|s| *s <= least).expect("the least is not negative");
    shift..=shift + MAX_LEFT_SHIFT
}

/// The operand as the interpreter adds it: `(r - zero_point) * 2^k` for every output `[channels, height, width]`.
pub(crate) fn addend(
    residual: &QuantizedResidual,
    (values, [_, height, width], zero_point): (&[i8], [usize; 3], i8),
    [channels, rows, columns]: [usize; 3],
) -> Vec<i32> {
    let mut sums = Vec::with_capacity(channels * rows * columns);
    let [sy, sx] = residual.stride;
    for output in 0..channels {
        let Some(channel) = residual.channel(output) else {
            sums.resize(sums.len() + rows * columns, 0);
            continue;
        };
        let plane = &values[channel * height * width..(channel + 1) * height * width];
        for y in 0..rows {
            let row = plane[y * sy * width..].iter().step_by(sx).take(columns);
            sums.extend(row.map(|r| (i32::from(*r) - i32::from(zero_point)) << residual.left_shift[output]));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_from_the_least_shift() {
        let of = |shifts: &[i32]| window(shifts.iter().map(|k| Some(*k)));
        assert_eq!(of(&[0, 9]), 0..=6);
        assert_eq!(of(&[3, 2, 12]), 2..=8);
        assert_eq!(of(&[5]), 4..=10);
        assert_eq!(of(&[8, 20]), 6..=12);
        assert_eq!(window([None].into_iter()), 6..=12);
    }

    #[test]
    fn one_shift_serves_all_or_none() {
        let of = |shifts: &[i32]| sum_shift(shifts.iter().copied());
        assert_eq!([of(&[]), of(&[0, 6]), of(&[1, 7]), of(&[6, 12])], [Some(0), Some(0), None, Some(6)]);
        assert_eq!([of(&[2, 8]), of(&[13]), of(&[-1])], [Some(2), None, None]);
    }
}
