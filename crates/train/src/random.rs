//! How samples are ordered and divided; the same on every platform.

use espalier_ir::Random;

/// Numbers for one purpose, epoch and sample: whoever computes them, in whatever order.
pub(crate) fn stream(seed: u64, purpose: u64, epoch: usize, sample: usize) -> Random {
    let key = [purpose, epoch as u64, sample as u64];
    Random::new(key.into_iter().fold(seed, |state, part| Random::new(state ^ part.rotate_left(32)).bits()))
}

/// A permutation of `0..n`.
pub(crate) fn permutation(random: &mut Random, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    random.shuffle(&mut order);
    order
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
        let order = permutation(&mut Random::new(7), 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_ne!(order, sorted);
        assert_eq!(order, permutation(&mut Random::new(7), 1000));
        assert_ne!(order, permutation(&mut Random::new(8), 1000));
        assert!(permutation(&mut Random::new(0), 0).is_empty());
    }

    #[test]
    fn balanced_parts_cover_everything() {
        assert_eq!(balanced(7, 3), [0..2, 2..4, 4..7]);
        assert_eq!(balanced(2, 5), [0..1, 1..2]);
        assert_eq!(balanced(5, 0).as_slice(), std::slice::from_ref(&(0..5)));
    }
}
