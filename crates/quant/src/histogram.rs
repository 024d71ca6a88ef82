//! Histogram of the values of one tensor over all samples.
//!
//! Bins are `2^width_exponent` wide and aligned at 0, and a wider range is reached by merging pairs of bins. Counts and
//! width therefore depend on the values alone, never on the order or grouping of samples.

use serde::{Deserialize, Serialize};

/// Bins on each side of zero.
const HALF: i64 = 2048;

/// Narrowest bin: values around `2^-80` are zero for every purpose.
const MIN_WIDTH_EXPONENT: i32 = -90;

/// Counts of values, with exact zeros apart because no quantization moves them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    width_exponent: i32,
    counts: Vec<u64>,
    zeros: u64,
    min: f32,
    max: f32,
    finite: bool,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            width_exponent: MIN_WIDTH_EXPONENT,
            counts: vec![0; 2 * HALF as usize],
            zeros: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            finite: true,
        }
    }
}

impl Histogram {
    /// Smallest value; infinity if there is none.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// Largest value; minus infinity if there is none.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// False if a value was infinite or not a number; such values are not counted.
    pub fn is_finite(&self) -> bool {
        self.finite
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    /// Counts values.
    pub fn add(&mut self, values: &[f32]) {
        for value in values {
            self.finite &= value.is_finite();
        }
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (min, max) = finite.clone().fold((self.min, self.max), |(lo, hi), v| (lo.min(v), hi.max(v)));
        (self.min, self.max) = (min, max);
        self.widen_to(min.abs().max(max.abs()));
        let inverse = (-f64::from(self.width_exponent)).exp2() as f32;
        for value in finite {
            if value == 0.0 {
                self.zeros += 1;
            } else {
                self.counts[((value * inverse).floor() as i64 + HALF) as usize] += 1;
            }
        }
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, mut other: Histogram) {
        let width = self.width_exponent.max(other.width_exponent);
        self.grow(width);
        other.grow(width);
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.zeros += other.zeros;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.finite &= other.finite;
    }

    /// Makes room for `magnitude`; infinite if there is no value yet.
    fn widen_to(&mut self, magnitude: f32) {
        if !magnitude.is_finite() || magnitude == 0.0 {
            return;
        }
        let mut width = self.width_exponent;
        while f64::from(magnitude) >= HALF as f64 * f64::from(width).exp2() {
            width += 1;
        }
        self.grow(width);
    }

    fn grow(&mut self, width_exponent: i32) {
        let by = width_exponent - self.width_exponent;
        if by == 0 {
            return;
        }
        let mut merged = vec![0; self.counts.len()];
        for (i, count) in self.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            merged[(((i as i64 - HALF) >> by.min(62)) + HALF) as usize] += count;
        }
        self.counts = merged;
        self.width_exponent = width_exponent;
    }

    /// Value below which a fraction `p` (0..=1) of all values lies, to the resolution of the bins.
    pub fn quantile(&self, p: f64) -> f64 {
        let target = p * self.total() as f64;
        let mut seen = 0u64;
        for (value, count) in self.points() {
            seen += count;
            if seen as f64 >= target {
                return value;
            }
        }
        f64::from(self.max)
    }

    /// Non-empty bins as (representative value, count) in ascending order, zeros as one of them.
    pub fn points(&self) -> impl Iterator<Item = (f64, u64)> {
        let width = f64::from(self.width_exponent).exp2();
        let (min, max) = (f64::from(self.min), f64::from(self.max));
        let bin = move |i: usize, count: u64| {
            let centre = ((i as i64 - HALF) as f64 + 0.5) * width;
            (centre.clamp(min, max), count)
        };
        let (negative, positive) = self.counts.split_at(HALF as usize);
        let negative = negative.iter().enumerate().map(move |(i, c)| bin(i, *c));
        let positive = positive.iter().enumerate().map(move |(i, c)| bin(i + HALF as usize, *c));
        negative.chain(std::iter::once((0.0, self.zeros))).chain(positive).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_grouping_do_not_matter() {
        let values: Vec<f32> = (0..4000).map(|i| ((i * 7919) % 4001) as f32 * 0.01 - 13.0).collect();
        let mut whole = Histogram::default();
        whole.add(&values);
        let mut parts = Histogram::default();
        for chunk in values.chunks(17).rev() {
            let mut part = Histogram::default();
            part.add(chunk);
            parts.merge(part);
        }
        assert_eq!(whole, parts);
        assert_eq!(whole.total(), 4000);
        assert_eq!((whole.min(), whole.max()), (-13.0, 27.0));
    }

    #[test]
    fn quantiles_are_within_one_bin() {
        let mut histogram = Histogram::default();
        histogram.add(&(0..1000).map(|i| i as f32).collect::<Vec<_>>());
        assert!((histogram.quantile(0.5) - 500.0).abs() <= 1.0);
        assert!((histogram.quantile(0.999) - 998.5).abs() <= 1.0);
        assert_eq!(histogram.quantile(1.0), 999.0);
    }

    #[test]
    fn extremes_and_non_finite_values() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.0, -0.0]);
        assert_eq!(histogram.points().collect::<Vec<_>>(), [(0.0, 2)]);
        histogram.add(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE]);
        assert_eq!(histogram.total(), 5);
        assert!(histogram.is_finite());
        histogram.add(&[f32::NAN, f32::INFINITY]);
        assert!(!histogram.is_finite());
        assert_eq!(histogram.total(), 5);
    }
}
