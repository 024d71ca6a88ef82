//! Layers that enlarge a map: transposed convolutions and nearest-neighbour repetition.
//!
//! With a step of `s` between the kernels of neighbouring inputs, output `s * q + r` of an axis takes tap `t` from input
//! `q - (t - before - r) / s`, for the taps with `t - before = r` modulo `s`. So every *phase* `r` is a convolution of its
//! own with every `s`-th tap and step 1, and the results of the phases are interleaved.

use crate::ArrayLayer;

/// How the results of a layer are spread over a larger map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interleave {
    /// Outputs of a phase lie this far apart, `[vertical, horizontal]`; as many phases an axis.
    pub factor: [usize; 2],
    /// Rows and columns cut off before the first output.
    pub before: [usize; 2],
}

impl Interleave {
    /// The phase that tap `tap` of an axis belongs to.
    pub fn phase(&self, axis: usize, tap: usize) -> usize {
        let (factor, before) = (self.factor[axis], self.before[axis]);
        (tap + before * (factor - 1)) % factor
    }

    /// Where the phase of a tap reads with it, relative to the position of the output.
    pub fn offset(&self, axis: usize, tap: usize) -> isize {
        let whole = (self.before[axis] + self.phase(axis, tap)) as isize - tap as isize;
        whole / self.factor[axis] as isize
    }

    /// Rows above and below, or columns left and right, of `size` elements that are read for `outputs` of every phase.
    pub fn reach(&self, axis: usize, kernel: usize, (size, outputs): (usize, usize)) -> [usize; 2] {
        let offsets = (0..kernel).map(|tap| self.offset(axis, tap));
        let (low, high) = offsets.fold((0, 0), |(low, high), o| (o.min(low), o.max(high)));
        let end = outputs as isize + high - size as isize;
        [(-low) as usize, end.max(0) as usize]
    }
}

impl ArrayLayer {
    /// How its results are spread, if they are.
    pub fn interleave(&self) -> Option<Interleave> {
        self.op.interleave()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of tap and input adds to the output that the transposed convolution says.
    #[test]
    fn taps_meet_the_outputs_of_the_definition() {
        for (factor, before, kernel) in [(2, 1, 4), (2, 0, 3), (3, 2, 5), (3, 0, 2), (1, 1, 3), (4, 3, 4)] {
            let spread = Interleave { factor: [factor; 2], before: [before; 2] };
            for (tap, input) in (0..kernel).flat_map(|t| (0..6isize).map(move |i| (t, i))) {
                let output = factor as isize * input + tap as isize - before as isize;
                let q = input - spread.offset(0, tap);
                assert_eq!(output, factor as isize * q + spread.phase(0, tap) as isize, "{factor} {before} {tap}");
            }
        }
    }
}
