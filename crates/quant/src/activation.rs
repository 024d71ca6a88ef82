//! Exponent and zero point of one tensor from its histogram.
//!
//! The squared error of a candidate is that of uniform rounding, `step^2 / 12`, for values inside the range of the
//! integers, and the squared distance to the nearest end for values outside.

use crate::calibrate::CalibrationMethod;
use crate::histogram::Histogram;
use crate::model::{QuantParams, power_of_two};

/// Exponents of activations; keeps every product of scales a normal float.
pub(crate) const EXPONENTS: std::ops::RangeInclusive<i32> = -40..=40;

/// An offset that does not lower the squared error by this factor is not worth an odd zero point.
const ASYMMETRY_GAIN: f64 = 0.98;

/// What decides about one tensor.
pub(crate) struct Candidate<'a> {
    histogram: &'a Histogram,
    method: CalibrationMethod,
    /// Proven to be at least 0: all 256 integers serve values from 0.
    non_negative: bool,
    /// Its zero point is 0, whatever the values.
    symmetric: bool,
    /// Values beyond are taken for the ends; always includes 0.
    range: (f64, f64),
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(histogram: &'a Histogram, method: CalibrationMethod, non_negative: bool) -> Self {
        let (min, max) = match method {
            CalibrationMethod::Percentile(p) => {
                let p = f64::from(p) / 100.0;
                (histogram.quantile(1.0 - p), histogram.quantile(p))
            }
            _ => (f64::from(histogram.min()), f64::from(histogram.max())),
        };
        let min = if non_negative { 0.0 } else { min.min(0.0) };
        Candidate { histogram, method, non_negative, symmetric: false, range: (min, max.max(0.0)) }
    }

    /// Makes the zero point 0.
    pub(crate) fn make_symmetric(&mut self) {
        (self.symmetric, self.non_negative) = (true, false);
    }

    /// Takes values beyond `low` and `high` for these, too.
    pub(crate) fn narrow(&mut self, (low, high): (f32, f32)) {
        self.range = (self.range.0.max(f64::from(low)), self.range.1.min(f64::from(high)));
    }

    /// The parameters with the least squared error.
    pub(crate) fn best(&self) -> QuantParams {
        let (min, max) = self.range;
        if min == max {
            // Only zeros were seen: any step does; this one covers -1..1 or 0..2.
            return self.with_exponent(-7);
        }
        let depth = if self.method == CalibrationMethod::Mse { 4 } else { 1 };
        // Finest exponent that covers the range with the best, and with the symmetric zero point.
        let covering = covering_exponent((max - min) / 255.0);
        let symmetric = if self.non_negative { covering } else { covering_exponent((max / 127.0).max(-min / 128.0)) };
        let candidates = (covering - depth..=symmetric).rev().map(|e| self.with_exponent(clamp_exponent(e)));
        candidates.min_by(|a, b| self.error(*a).total_cmp(&self.error(*b))).expect("at least one exponent")
    }

    /// The best zero point for a given exponent.
    pub(crate) fn with_exponent(&self, exponent: i32) -> QuantParams {
        let params = |zero_point: f64| QuantParams { exponent, zero_point: zero_point.clamp(-128.0, 127.0) as i8 };
        if self.symmetric {
            return params(0.0);
        }
        if self.non_negative {
            return params(-128.0);
        }
        let step = power_of_two(exponent);
        let low = (-128.0 - self.range.0 / step).round();
        let high = (127.0 - self.range.1 / step).round();
        let centred = ((low + high) / 2.0).round();
        let symmetric = params(0.0);
        let offset = [low, high, centred]
            .map(params)
            .into_iter()
            .min_by(|a, b| self.error(*a).total_cmp(&self.error(*b)))
            .expect("three candidates");
        if self.error(offset) < self.error(symmetric) * ASYMMETRY_GAIN { offset } else { symmetric }
    }

    fn error(&self, params: QuantParams) -> f64 {
        let step = power_of_two(params.exponent);
        let zero_point = f64::from(params.zero_point);
        let (low, high) = ((-128.0 - zero_point) * step, (127.0 - zero_point) * step);
        let inside = step * step / 12.0;
        let error = |(value, count): (f64, u64)| {
            let value = value.clamp(self.range.0, self.range.1);
            let beyond = (low - value).max(value - high);
            let error = if value == 0.0 {
                0.0
            } else if beyond > step / 2.0 {
                beyond * beyond
            } else {
                inside
            };
            error * count as f64
        };
        self.histogram.points().map(error).sum()
    }
}

/// The smallest exponent whose power of two is at least `step`.
fn covering_exponent(step: f64) -> i32 {
    let mut exponent = step.log2().ceil() as i32;
    // The logarithm may be off by one unit in the last place.
    while power_of_two(exponent) < step {
        exponent += 1;
    }
    while power_of_two(exponent - 1) >= step {
        exponent -= 1;
    }
    exponent
}

fn clamp_exponent(exponent: i32) -> i32 {
    exponent.clamp(*EXPONENTS.start(), *EXPONENTS.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(values: &[f32], method: CalibrationMethod, non_negative: bool) -> QuantParams {
        let mut histogram = Histogram::default();
        histogram.add(values);
        Candidate::new(&histogram, method, non_negative).best()
    }

    fn ramp(from: f32, to: f32) -> Vec<f32> {
        (0..=5000).map(|i| from + (to - from) * i as f32 / 5000.0).collect()
    }

    #[test]
    fn non_negative_tensors_use_all_integers() {
        let params = best(&ramp(0.0, 255.0), CalibrationMethod::Range, true);
        assert_eq!(params, QuantParams { exponent: 0, zero_point: -128 });
        assert_eq!(best(&ramp(0.0, 300.0), CalibrationMethod::Range, true).exponent, 1);
    }

    #[test]
    fn a_rare_outlier_is_clipped_by_the_finer_neighbour() {
        let mut values = ramp(0.0, 255.0).repeat(20);
        values.push(260.0);
        assert_eq!(best(&values, CalibrationMethod::Range, true).exponent, 0);
        values.pop();
        values.push(4000.0);
        assert_eq!(best(&values, CalibrationMethod::Range, true).exponent, 4);
        assert_eq!(best(&values, CalibrationMethod::Percentile(99.9), true).exponent, 0);
    }

    #[test]
    fn zero_point_is_moved_only_where_it_pays() {
        let symmetric = best(&ramp(-100.0, 100.0), CalibrationMethod::Range, false);
        assert_eq!(symmetric, QuantParams { exponent: 0, zero_point: 0 });
        let shifted = best(&ramp(-50.0, 200.0), CalibrationMethod::Range, false);
        assert_eq!(shifted.exponent, 0);
        assert!((-80..=-70).contains(&shifted.zero_point), "{shifted:?}");
        let negative = best(&ramp(-250.0, -1.0), CalibrationMethod::Mse, false);
        assert_eq!(negative.exponent, 0);
        assert!(negative.zero_point > 117);
    }

    #[test]
    fn symmetric_tensors_lose_the_half_that_they_do_not_need() {
        let mut histogram = Histogram::default();
        histogram.add(&ramp(0.0, 255.0));
        let mut candidate = Candidate::new(&histogram, CalibrationMethod::Range, true);
        candidate.make_symmetric();
        assert_eq!(candidate.best(), QuantParams { exponent: 1, zero_point: 0 });
    }

    #[test]
    fn degenerate_tensors() {
        assert_eq!(best(&[0.0; 4], CalibrationMethod::Mse, true), QuantParams { exponent: -7, zero_point: -128 });
        assert_eq!(best(&[1e-30; 4], CalibrationMethod::Range, true).exponent, *EXPONENTS.start());
        assert_eq!(best(&[1e30; 4], CalibrationMethod::Range, true).exponent, *EXPONENTS.end());
    }
}
