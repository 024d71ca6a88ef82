//! Entropy and mutual information of histograms, with the bias of small samples removed.
//!
//! The plug-in estimate `-sum p ln p` of `N` samples is too low by about `(K - 1) / 2N` nats, `K`
//! being the number of bins that are not empty; adding that is the correction of Miller (1955) and
//! Madow. Without it a channel seen in fewer samples, or spread over more bins, would look different
//! from what it is; mutual information would be far from 0 for independent variables.

/// Entropy in bits of what the counts were drawn from.
pub fn entropy_bits(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let n = total as f64;
    let plug_in: f64 = counts
        .iter()
        .filter(|c| **c > 0)
        .map(|c| {
            let p = *c as f64 / n;
            -p * p.ln()
        })
        .sum();
    let occupied = counts.iter().filter(|c| **c > 0).count();
    (plug_in + (occupied as f64 - 1.0) / (2.0 * n)) / std::f64::consts::LN_2
}

/// Mutual information in bits of class and bin; `joint[class][bin]` are counts.
///
/// `H(bin) - sum over classes of p(class) H(bin | class)`, all terms corrected, at least 0.
pub fn mutual_information_bits(joint: &[Vec<u64>]) -> f64 {
    let bins = joint.iter().map(Vec::len).max().unwrap_or(0);
    let mut marginal = vec![0u64; bins];
    for counts in joint {
        marginal.iter_mut().zip(counts).for_each(|(m, c)| *m += c);
    }
    let total: u64 = marginal.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let conditional: f64 =
        joint.iter().map(|counts| counts.iter().sum::<u64>() as f64 / total as f64 * entropy_bits(counts)).sum();
    (entropy_bits(&marginal) - conditional).max(0.0)
}

/// Equal bins between the quantiles 0.1 % and 99.9 % of the values that are not zero; zero has a bin
/// of its own. One grid serves all channels that are compared: on a grid of its own, a channel of
/// amplitude 1e-6 would score as high as a strong one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    low: f32,
    high: f32,
    bins: usize,
}

impl Grid {
    /// A grid of `bins` bins, besides that of zero, for these values.
    pub fn new(values: impl Iterator<Item = f32>, bins: usize) -> Self {
        let mut values: Vec<f32> = values.filter(|v| *v != 0.0).collect();
        if values.is_empty() {
            return Grid { low: 0.0, high: 0.0, bins };
        }
        let last = values.len() - 1;
        let mut quantile = |q: f64| {
            let index = (last as f64 * q).round() as usize;
            *values.select_nth_unstable_by(index, f32::total_cmp).1
        };
        let (low, high) = (quantile(0.001), quantile(0.999));
        Grid { low, high, bins }
    }

    /// Number of bins, that of zero included.
    pub fn bins(&self) -> usize {
        self.bins + 1
    }

    /// Bin of a value; what lies outside belongs to the nearest.
    pub fn bin(&self, value: f32) -> usize {
        if value == 0.0 {
            return self.bins;
        }
        let width = f64::from(self.high) - f64::from(self.low);
        if width <= 0.0 {
            return 0;
        }
        let place = (f64::from(value) - f64::from(self.low)) / width * self.bins as f64;
        // Casts of negative numbers give 0.
        (place as usize).min(self.bins - 1)
    }

    /// Histogram of values.
    pub fn counts(&self, values: impl Iterator<Item = f32>) -> Vec<u64> {
        let mut counts = vec![0; self.bins()];
        values.for_each(|v| counts[self.bin(v)] += 1);
        counts
    }
}
