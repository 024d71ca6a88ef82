//! Division of samples into disjoint sets.

use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};

use espalier_ir::Random;

use crate::Dataset;

/// Indices of two disjoint sets of samples, each in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// For training.
    pub train: Vec<usize>,
    /// Held out of training, for decisions on the way.
    pub validation: Vec<usize>,
}

/// Holds out `validation_fraction` of `samples`, with the same mixture of labels in both sets.
///
/// Every index below `samples` is in exactly one set. `labels`, if given, has one label a sample.
///
/// # Panics
/// If the fraction is not within 0.0..=1.0 or the labels are too few: bugs of the caller.
pub fn split(samples: usize, labels: Option<&[u32]>, validation_fraction: f64, seed: u64) -> Split {
    assert!((0.0..=1.0).contains(&validation_fraction), "the fraction is within 0 and 1");
    let held_out = (samples as f64 * validation_fraction).round() as usize;
    let mut is_held_out = vec![false; samples];
    for index in choose(samples, labels, held_out, seed) {
        is_held_out[index] = true;
    }
    let (validation, train) = (0..samples).partition(|i| is_held_out[*i]);
    Split { train, validation }
}

/// Indices of `count` samples (all, if there are fewer) with the mixture of labels of the whole, ascending.
///
/// # Panics
/// If the labels are too few: a bug of the caller.
pub fn choose(samples: usize, labels: Option<&[u32]>, count: usize, seed: u64) -> Vec<usize> {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for index in 0..samples {
        classes.entry(labels.map_or(0, |l| l[index])).or_default().push(index);
    }
    let count = count.min(samples);
    let mut random = Random::new(seed);
    let mut chosen = Vec::with_capacity(count);
    let mut seen = 0;
    for indices in classes.values_mut() {
        random.shuffle(indices);
        seen += indices.len();
        // Rounding the running total keeps every class within one sample of its exact share.
        let target = (seen as u128 * count as u128 / samples as u128) as usize;
        let share = target - chosen.len();
        chosen.extend(&indices[..share]);
    }
    chosen.sort_unstable();
    chosen
}

/// How many of `samples` have the same values as a sample of `seen`; labels do not count.
pub fn repeated(seen: &Dataset, samples: &Dataset) -> usize {
    let seen: HashSet<Values<'_>> = seen.samples().map(Values).collect();
    samples.samples().filter(|s| seen.contains(&Values(s))).count()
}

/// Values of a sample, equal if their bits are.
struct Values<'a>(&'a [f32]);

impl Values<'_> {
    fn bits(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|v| v.to_bits())
    }
}

impl PartialEq for Values<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bits().eq(other.bits())
    }
}

impl Eq for Values<'_> {}

impl Hash for Values<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().for_each(|bits| bits.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_disjoint_complete_and_stratified() {
        // Class 0 is nine times as frequent as class 1.
        let labels: Vec<u32> = (0..1000).map(|i| u32::from(i % 10 == 3)).collect();
        let parts = split(1000, Some(&labels), 0.2, 7);
        assert_eq!((parts.train.len(), parts.validation.len()), (800, 200));
        let mut all = [parts.train.clone(), parts.validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        let rare = parts.validation.iter().filter(|i| labels[**i] == 1).count();
        assert_eq!(rare, 20);
    }

    #[test]
    fn repeated_samples_are_counted_by_their_bits() {
        let of = |values: &[f32]| Dataset { shape: vec![2], inputs: values.to_vec(), labels: None };
        let seen = of(&[1.0, 2.0, 0.0, 3.0]);
        assert_eq!(repeated(&seen, &of(&[1.0, 2.0, 1.0, 2.0, 2.0, 1.0, -0.0, 3.0])), 2);
        assert_eq!(repeated(&seen, &of(&[])), 0);
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(split(500, None, 0.3, 1), split(500, None, 0.3, 1));
        assert_ne!(split(500, None, 0.3, 1), split(500, None, 0.3, 2));
    }

    #[test]
    fn extremes() {
        assert_eq!(split(3, None, 0.0, 0).train, [0, 1, 2]);
        assert_eq!(split(3, None, 1.0, 0).validation, [0, 1, 2]);
        assert_eq!(split(0, None, 0.5, 0).train.len(), 0);
        assert_eq!(choose(5, None, 99, 0), [0, 1, 2, 3, 4]);
        let labels: Vec<u32> = (0..7).collect();
        assert_eq!(choose(7, Some(&labels), 3, 0).len(), 3);
    }
}
