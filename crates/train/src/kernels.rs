//! The operators that training spends its time in, on vectors of samples.
//!
//! A value is stored as `[blocks][height * width][channels][LANES]`: the last axis are [`LANES`] samples
//! side by side. So a convolution of any stride, padding or dilation is a sum of "tap weight times
//! vector" with no unfolding, no edge cases and no shuffles, and each tap's channels are contiguous.
//! Lanes beyond the last sample hold zeros in inputs and gradients.

pub(crate) mod conv;
pub(crate) mod elementwise;
pub(crate) mod layout;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod windows;

/// Samples of a block: a multiple of every vector width in use.
pub(crate) const LANES: usize = 16;
