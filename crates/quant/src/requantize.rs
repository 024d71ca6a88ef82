//! The one definition of rounding and saturation.

/// `round_half_even(value / 2^shift)`, exactly. `shift` is at most 31.
pub fn shift_half_even(value: i64, shift: u8) -> i64 {
    if shift == 0 {
        return value;
    }
    // The remainder carries over when it exceeds one half, or equals it and the quotient is odd.
    let odd = (value >> shift) & 1;
    (value + (1 << (shift - 1)) - 1 + odd) >> shift
}

/// Accumulator to int8: `clamp(round_half_even(accumulator / 2^shift) + zero_point, lo, hi)` with `clamp = (lo, hi)`.
pub fn requantize(accumulator: i32, shift: u8, zero_point: i8, clamp: (i8, i8)) -> i8 {
    let value = shift_half_even(i64::from(accumulator), shift) + i64::from(zero_point);
    value.clamp(i64::from(clamp.0), i64::from(clamp.1)) as i8
}

/// Accumulator to a value of 16 bits as two digits, `value = 256 * upper + lower`: rounded like any other, in
/// -32896..=32639 (-128, -128 to 127, 127).
pub fn wide_digits(accumulator: i32, shift: u8) -> [i8; 2] {
    let raised = (shift_half_even(i64::from(accumulator), shift) + 128).clamp(i64::from(i16::MIN), i64::from(i16::MAX));
    [(raised >> 8) as i8, ((raised & 0xff) - 128) as i8]
}

/// The value of two digits.
pub fn wide_value([upper, lower]: [i8; 2]) -> i32 {
    256 * i32::from(upper) + i32::from(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_hold_a_value_of_sixteen_bits() {
        for (sum, expected) in (-32896..=32639).zip(-32896i64..) {
            let [high, low] = wide_digits(sum, 0).map(i64::from);
            assert_eq!(256 * high + low, expected);
        }
        let ends = [(32640, [127, 127]), (i32::MAX, [127, 127]), (-32897, [-128, -128]), (i32::MIN, [-128, -128])];
        for (sum, digits) in ends {
            assert_eq!(wide_digits(sum, 0), digits, "{sum}");
        }
        // Half a unit goes to the even neighbour, also from one high digit to the next: 127.5, 128.5, -128.5.
        let ties = [(1, [0, 0]), (3, [0, 2]), (-1, [0, 0]), (-3, [0, -2]), (255, [1, -128]), (257, [1, -128])];
        for (sum, digits) in ties.into_iter().chain([(-257, [0, -128]), (-259, [-1, 126])]) {
            assert_eq!(wide_digits(sum, 1), digits, "{sum} / 2");
        }
        assert_eq!(wide_digits(i32::MIN, 31), [0, -1]);
    }

    #[test]
    fn ties_go_to_the_even_neighbour_on_both_sides_of_zero() {
        // Halves of odd and even numbers: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4 and their negatives.
        let expected = [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2), (-7, -4)];
        for (value, rounded) in expected {
            assert_eq!(shift_half_even(value, 1), rounded, "{value} / 2");
        }
        // Quarters: only exact halves are ties.
        let expected = [(5, 1), (6, 2), (7, 2), (9, 2), (10, 2), (11, 3), (-5, -1), (-6, -2), (-9, -2), (-10, -2)];
        for (value, rounded) in expected {
            assert_eq!(shift_half_even(value, 2), rounded, "{value} / 4");
        }
    }

    #[test]
    fn equals_the_float_definition_on_a_dense_range() {
        for shift in 0..=31u8 {
            for value in -1000..=1000i64 {
                for scaled in [value, value << (shift / 2), (value << shift) >> 1] {
                    let exact = (scaled as f64 / f64::from(shift).exp2()).round_ties_even();
                    assert_eq!(shift_half_even(scaled, shift) as f64, exact, "{scaled} >> {shift}");
                }
            }
        }
    }

    #[test]
    fn extreme_accumulators_and_shifts() {
        let all = (-128, 127);
        assert_eq!(requantize(i32::MAX, 31, 0, all), 1);
        assert_eq!(requantize(1 << 30, 31, 0, all), 0, "one half is a tie");
        assert_eq!(requantize((1 << 30) + 1, 31, 0, all), 1);
        assert_eq!(requantize(i32::MIN, 31, 0, all), -1);
        assert_eq!(requantize(-(1 << 30), 31, 5, all), 5);
        assert_eq!(requantize(i32::MAX, 0, 127, all), 127);
        assert_eq!(requantize(i32::MIN, 0, -128, all), -128);
        assert_eq!(requantize(-3, 0, 7, all), 4);
    }

    #[test]
    fn saturates_at_the_clamp() {
        assert_eq!(requantize(127, 0, 0, (-128, 127)), 127);
        assert_eq!(requantize(128, 0, 0, (-128, 127)), 127);
        assert_eq!(requantize(-128, 0, 0, (-128, 127)), -128);
        assert_eq!(requantize(-129, 0, 0, (-128, 127)), -128);
        assert_eq!(requantize(-40, 2, -3, (-3, 127)), -3, "ReLU: nothing below the zero point");
        assert_eq!(requantize(4000, 2, -128, (-128, 64)), 64, "upper bound of ReLU6");
    }
}
