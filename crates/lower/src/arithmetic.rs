//! Integer sums as the array computes them.

/// Adds `weights[0] * first[p] + weights[1] * second[p]` to every pixel `p`.
///
/// With weights in -127..=127 the sum of two products is at most 2 * 127 * 128 in magnitude and fits
/// 16 bits, which is twice as many values a vector register as 32.
pub(crate) fn accumulate_pair(sums: &mut [i32], weights: [i16; 2], first: &[i16], second: &[i16]) {
    match weights {
        [0, 0] => {}
        [w, 0] => sums.iter_mut().zip(first).for_each(|(sum, x)| *sum += i32::from(w * x)),
        [0, w] => sums.iter_mut().zip(second).for_each(|(sum, x)| *sum += i32::from(w * x)),
        [v, w] => {
            for ((sum, x), y) in sums.iter_mut().zip(first).zip(second) {
                *sum += i32::from(v * x + w * y);
            }
        }
    }
}

/// True if no sum of so many products can leave accumulators of `bits` bits.
pub(crate) fn cannot_overflow(products: u64, bits: u32) -> bool {
    products <= ((1 << (bits - 1)) - 1) / (127 * 128)
}

/// Adds the sums of one tile, shifted to the left.
///
/// # Errors
/// The first sum that does not fit `bits` bits, before or after it is added.
pub(crate) fn add_checked(sums: &mut [i32], tile: &[i32], shift: u32, bits: u32) -> Result<(), String> {
    for (sum, more) in sums.iter_mut().zip(tile) {
        let more = fit(i64::from(*more) << shift, bits)?;
        *sum = fit(i64::from(*sum) + i64::from(more), bits)?;
    }
    Ok(())
}

/// Sum and bias.
///
/// # Errors
/// If the result does not fit `bits` bits.
pub(crate) fn add_bias(sum: i32, bias: i32, bits: u32) -> Result<i32, String> {
    fit(i64::from(sum) + i64::from(bias), bits)
}

/// The value, if it fits `bits` bits.
pub(crate) fn fit(value: i64, bits: u32) -> Result<i32, String> {
    let limit = 1i64 << (bits - 1);
    if value < -limit || value >= limit {
        return Err(format!("the sum {value} does not fit accumulators of {bits} bits"));
    }
    Ok(value as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_products_do_not_wrap() {
        let mut sums = [0, 7];
        accumulate_pair(&mut sums, [127, 127], &[-128, 127], &[-128, 127]);
        assert_eq!(sums, [-2 * 127 * 128, 7 + 2 * 127 * 127]);
        accumulate_pair(&mut sums, [-127, -127], &[-128, 0], &[-128, 0]);
        accumulate_pair(&mut sums, [0, -127], &[5, 5], &[0, 1]);
        accumulate_pair(&mut sums, [3, 0], &[1, 0], &[9, 9]);
        assert_eq!(sums, [3, 7 + 2 * 127 * 127 - 127]);
    }

    #[test]
    fn overflow_is_found_at_the_edge() {
        let mut sums = [(1 << 19) - 2];
        add_checked(&mut sums, &[1], 0, 20).unwrap();
        assert!(add_checked(&mut [-(1 << 19)], &[1 << 13], 6, 20).is_err(), "the shifted sum alone is too large");
        assert!(add_checked(&mut sums, &[1], 0, 20).unwrap_err().contains("524288"));
        assert_eq!(add_bias(i32::MIN + 1, -1, 32), Ok(i32::MIN));
        assert!(add_bias(i32::MIN, -1, 32).is_err());
        assert!(cannot_overflow(32, 20) && !cannot_overflow(33, 20));
    }
}
