//! Seeded order of samples; the same on every platform.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to shuffle.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A permutation of `0..n` (Fisher-Yates).
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            // The high half of the product is in 0..=last; its bias is below 2^-32 for any real n.
            let pick = ((u128::from(self.next()) * (last as u128 + 1)) >> 64) as usize;
            order.swap(last, pick);
        }
        order
    }
}

/// Cuts `0..n` into `parts` ranges whose lengths differ by at most one, none of them empty.
pub(crate) fn balanced(n: usize, parts: usize) -> Vec<std::ops::Range<usize>> {
    let parts = parts.clamp(1, n.max(1));
    (0..parts).map(|p| p * n / parts..(p + 1) * n / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_holds_every_index_once_and_follows_the_seed() {
        let order = Random::new(7).permutation(1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_ne!(order, sorted);
        assert_eq!(order, Random::new(7).permutation(1000));
        assert_ne!(order, Random::new(8).permutation(1000));
        assert!(Random::new(0).permutation(0).is_empty());
    }

    #[test]
    fn balanced_parts_cover_everything() {
        assert_eq!(balanced(7, 3), [0..2, 2..4, 4..7]);
        assert_eq!(balanced(2, 5), [0..1, 1..2]);
        assert_eq!(balanced(5, 0).as_slice(), std::slice::from_ref(&(0..5)));
    }
}
