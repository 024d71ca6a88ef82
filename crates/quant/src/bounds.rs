//! Interval arithmetic: what an accumulator can hold, from the actual weights and the ranges of the tensors read.
//!
//! The hardware sums `w * x` over the taps of a pass, in an order of its own, and adds the bias with the zero point
//! folded in, `bias - zp * sum(w)`; the interpreter and a float runtime sum `w * (x - zp)`. The interval of a layer
//! holds every partial sum of either way, so one number of bits serves all.

use espalier_ir::LayerSource;

use crate::model::{QuantizedGraph, QuantizedOp};

/// Smallest and largest value, in units of the accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl Interval {
    pub(crate) const ZERO: Interval = Interval { min: 0, max: 0 };

    pub(crate) fn hull(self, other: Interval) -> Interval {
        Interval { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn add(self, other: Interval) -> Interval {
        Interval { min: self.min + other.min, max: self.max + other.max }
    }

    fn point(value: i64) -> Interval {
        Interval { min: value, max: value }
    }

    /// All products of a value of each.
    fn product(self, other: Interval) -> Interval {
        self.scaled(other.min).hull(self.scaled(other.max))
    }

    fn scaled(self, factor: i64) -> Interval {
        let (a, b) = (self.min * factor, self.max * factor);
        Interval { min: a.min(b), max: a.max(b) }
    }

    /// Bits of a two's complement number that holds the interval.
    pub(crate) fn bits(self) -> u32 {
        let magnitude = self.max.max(!self.min).max(0);
        65 - magnitude.leading_zeros()
    }

    /// Largest magnitude.
    pub(crate) fn magnitude(self) -> i64 {
        self.max.max(-self.min)
    }
}

/// A tensor as the array reads it: its integers and its zero point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) range: (i8, i8),
    pub(crate) zero_point: i8,
}

impl Operand {
    /// Values `x` on the bus; halo and lanes without a channel may show the zero point and 0.
    fn raw(self) -> Interval {
        let [lo, hi, zp] = [self.range.0, self.range.1, self.zero_point].map(i64::from);
        Interval { min: lo.min(zp).min(0), max: hi.max(zp).max(0) }
    }

    /// Values `x - zp`; includes 0 because of padding.
    fn centred(self) -> Interval {
        let [lo, hi, zp] = [self.range.0, self.range.1, self.zero_point].map(i64::from);
        Interval { min: (lo - zp).min(0), max: (hi - zp).max(0) }
    }
}

/// All partial sums of a weighted sum with integer weights, `terms` = (weight, operand).
pub(crate) fn weighted_sum(terms: impl Iterator<Item = (i64, Operand)>, bias: i64) -> Interval {
    let (mut raw, mut centred, mut folded) = (Interval::ZERO, Interval::ZERO, bias);
    for (weight, operand) in terms {
        raw = raw.add(operand.raw().scaled(weight));
        centred = centred.add(operand.centred().scaled(weight));
        folded -= weight * i64::from(operand.zero_point);
    }
    // Sums without the bias, with the bias first, and the folded bias on its way to the drain.
    let with_bias = centred.add(Interval::point(bias));
    raw.hull(raw.add(Interval::point(folded))).hull(centred).hull(with_bias).hull(Interval::point(folded))
}

impl QuantizedGraph {
    /// What the weights of an output channel meet, one by one: the channels of one source, or of vectors one after another.
    pub(crate) fn weight_operands(&self, sources: &[LayerSource], weights: usize) -> Vec<Operand> {
        let operand = |source| Operand { range: self.range(source), zero_point: self.tensor(source).params.zero_point };
        match sources {
            [source] => vec![operand(*source); weights],
            vectors => vectors.iter().flat_map(|s| vec![operand(*s); self.tensor(*s).shape[0]]).collect(),
        }
    }

    /// Bits of the two's complement accumulator that `layer` needs: every partial sum fits, whatever the input.
    /// At most 32, which [`crate::quantize`] proves.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn accumulator_bits(&self, layer: usize) -> u32 {
        self.interval(layer).bits()
    }

    pub(crate) fn interval(&self, layer: usize) -> Interval {
        let layer = &self.layers[layer];
        let operand = |source| Operand { range: self.range(source), zero_point: self.tensor(source).params.zero_point };
        match &layer.op {
            QuantizedOp::Conv { weight, weight_shape, bias, residual, .. } => {
                let each: usize = weight_shape[1..].iter().product();
                let read = self.weight_operands(layer.weighted_sources(), each);
                let channels = weight.chunks(each).zip(bias).enumerate();
                let intervals = channels.map(|(o, (w, b))| {
                    let added = residual.as_ref().filter(|r| r.channel(o).is_some());
                    let last = layer.sources[layer.sources.len() - 1];
                    let added = added.map(|r| (1 << r.left_shift[o], operand(last)));
                    let weighted = w.iter().map(|w| i64::from(*w)).zip(read.iter().copied());
                    weighted_sum(weighted.chain(added), i64::from(*b))
                });
                intervals.reduce(Interval::hull).unwrap_or(Interval::ZERO)
            }
            QuantizedOp::MaxPool { .. } | QuantizedOp::Select { .. } | QuantizedOp::Resize { .. } => {
                weighted_sum([(1, operand(layer.sources[0]))].into_iter(), 0)
            }
            QuantizedOp::Sequence => weighted_sum([(1, operand(layer.sources[0]))].into_iter(), 0),
            QuantizedOp::Products { left_shift, .. } => {
                let pairs = layer.sources.chunks(2).zip(left_shift);
                let product = |(pair, left): (&[LayerSource], &u8)| {
                    operand(pair[0]).raw().product(operand(pair[1]).raw()).scaled(1 << left)
                };
                // In any order: each product may be missing.
                let part = |p: Interval| p.hull(Interval::ZERO);
                pairs.map(|pair| part(product(pair))).fold(Interval::ZERO, Interval::add)
            }
            QuantizedOp::Gate { .. } => {
                let [map, gates] = [layer.sources[0], layer.sources[1]].map(|s| operand(s).raw());
                map.product(gates)
            }
            QuantizedOp::Add { left_shift, .. } => {
                let terms = layer.sources.iter().zip(left_shift).map(|(s, l)| (1 << l, operand(*s)));
                weighted_sum(terms, 0)
            }
            QuantizedOp::Concat { left_shift, .. } => {
                let parts = layer.sources.iter().zip(left_shift);
                let intervals = parts.map(|(s, l)| weighted_sum([(1 << l, operand(*s))].into_iter(), 0));
                intervals.reduce(Interval::hull).unwrap_or(Interval::ZERO)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_two_s_complement() {
        let bits = |min, max| Interval { min, max }.bits();
        assert_eq!(bits(0, 0), 1);
        assert_eq!(bits(-128, 127), 8);
        assert_eq!(bits(-129, 0), 9);
        assert_eq!(bits(0, 128), 9);
        assert_eq!(bits(i64::from(i32::MIN), i64::from(i32::MAX)), 32);
        assert_eq!(bits(0, 1 << 31), 33);
    }

    #[test]
    fn every_way_of_summing_is_inside() {
        let operand = Operand { range: (-128, 127), zero_point: -128 };
        // One weight of 127, bias 5: w * x in -16256..=16129, folded bias 5 + 16256, w * (x - zp) in 0..=32385.
        let interval = weighted_sum([(127, operand)].into_iter(), 5);
        assert_eq!(interval, Interval { min: -127 * 128, max: 127 * 127 + 5 + 127 * 128 });
    }
}
