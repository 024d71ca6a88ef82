//! Batch normalization (Ioffe and Szegedy 2015) with few passes over the values.

use pulp::Arch;

use super::{LANES, layout};

/// Sums of `f` per channel over the samples of `x` and `g`, which have one layout.
fn sums(x: &[f32], g: &[f32], samples: usize, channels: usize, f: impl Fn(usize, f32, f32) -> f32) -> Vec<f64> {
    let row = channels * LANES;
    let block = x.len() / layout::blocks(samples);
    let mut totals = vec![0.0f64; channels];
    let mut lanes = vec![0.0f32; row];
    for (number, (x, g)) in x.chunks_exact(block).zip(g.chunks_exact(block)).enumerate() {
        lanes.fill(0.0);
        Arch::new().dispatch(|| {
            for (x, g) in x.chunks_exact(row).zip(g.chunks_exact(row)) {
                let rows = lanes.chunks_exact_mut(LANES).zip(x.chunks_exact(LANES)).zip(g.chunks_exact(LANES));
                for (channel, ((sum, x), g)) in rows.enumerate() {
                    for lane in 0..LANES {
                        sum[lane] += f(channel, x[lane], g[lane]);
                    }
                }
            }
        });
        let used = (samples - number * LANES).min(LANES);
        for (total, lanes) in totals.iter_mut().zip(lanes.chunks_exact(LANES)) {
            *total += lanes[..used].iter().map(|v| f64::from(*v)).sum::<f64>();
        }
    }
    totals
}

/// Sum per channel over all pixels of the samples.
pub(crate) fn channel_sums(x: &[f32], samples: usize, channels: usize) -> Vec<f32> {
    sums(x, x, samples, channels, |_, x, _| x).into_iter().map(|s| s as f32).collect()
}

/// Mean and biased variance per channel over all pixels of the samples.
pub(crate) fn statistics(x: &[f32], samples: usize, channels: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (x.len() / layout::blocks(samples) / LANES / channels * samples) as f64;
    let mean: Vec<f32> = sums(x, x, samples, channels, |_, x, _| x).into_iter().map(|s| (s / count) as f32).collect();
    let squares = sums(x, x, samples, channels, |c, x, _| (x - mean[c]) * (x - mean[c]));
    (mean, squares.into_iter().map(|s| (s / count) as f32).collect())
}

/// `x * factor + offset`, both per channel.
pub(crate) fn scale(x: &[f32], factor: &[f32], offset: &[f32]) -> Vec<f32> {
    let mut y = x.to_vec();
    Arch::new().dispatch(|| {
        for row in y.chunks_exact_mut(factor.len() * LANES) {
            for (lanes, (factor, offset)) in row.chunks_exact_mut(LANES).zip(factor.iter().zip(offset)) {
                for y in lanes {
                    *y = *y * factor + offset;
                }
            }
        }
    });
    y
}

/// Gradients of a normalization.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

/// Gradients of `(x - mean) / deviation * gamma + beta`. With `of_batch`, mean and deviation are those
/// of `x` itself and pass gradients too; otherwise they are constants.
pub(crate) fn gradients(
    gradient: &[f32],
    x: &[f32],
    samples: usize,
    [mean, inverse_deviation, gamma]: [&[f32]; 3],
    of_batch: bool,
) -> Gradients {
    let channels = gamma.len();
    let count = (x.len() / layout::blocks(samples) / LANES / channels * samples) as f64;
    let beta = sums(gradient, x, samples, channels, |_, g, _| g);
    let products = sums(gradient, x, samples, channels, |c, g, x| g * (x - mean[c]));
    let gamma_gradient: Vec<f64> = products.iter().zip(inverse_deviation).map(|(p, d)| p * f64::from(*d)).collect();
    // dx = gamma / s * (g - mean(g) - xhat * mean(g * xhat)), a linear function of g and x.
    let coefficients: Vec<[f32; 3]> = (0..channels)
        .map(|c| {
            let scale = gamma[c] * inverse_deviation[c];
            if !of_batch {
                return [scale, 0.0, 0.0];
            }
            let by_x = -f64::from(scale) * f64::from(inverse_deviation[c]) * gamma_gradient[c] / count;
            let constant = -f64::from(scale) * beta[c] / count - by_x * f64::from(mean[c]);
            [scale, by_x as f32, constant as f32]
        })
        .collect();
    let mut result = gradient.to_vec();
    Arch::new().dispatch(|| {
        let row = channels * LANES;
        for (result, x) in result.chunks_exact_mut(row).zip(x.chunks_exact(row)) {
            let lanes = result.chunks_exact_mut(LANES).zip(x.chunks_exact(LANES));
            for ((result, x), [by_g, by_x, constant]) in lanes.zip(&coefficients) {
                for (r, x) in result.iter_mut().zip(x) {
                    *r = *r * by_g + (*x * by_x + constant);
                }
            }
        }
    });
    if of_batch {
        layout::clear_unused(&mut result, samples);
    }
    let narrow = |v: Vec<f64>| v.into_iter().map(|v| v as f32).collect();
    Gradients { x: result, gamma: narrow(gamma_gradient), beta: narrow(beta) }
}

#[cfg(test)]
mod tests {
    use espalier_ir::Random;

    use super::*;

    const SAMPLES: usize = LANES + 3;
    const CHANNELS: usize = 3;
    const PIXELS: usize = 4;
    const EPSILON: f32 = 1e-3;

    /// Sum of the normalized values, each times its factor, in doubles but for the kernels themselves.
    fn loss(x: &[f32], gamma: &[f32], beta: &[f32], factors: &[f32]) -> f64 {
        let (mean, variance) = statistics(x, SAMPLES, CHANNELS);
        let scales: Vec<f32> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + EPSILON).sqrt()).collect();
        let offsets: Vec<f32> = beta.iter().zip(&mean).zip(&scales).map(|((b, m), s)| b - m * s).collect();
        let y = layout::unpack(&scale(x, &scales, &offsets), SAMPLES, CHANNELS, PIXELS);
        y.iter().zip(factors).map(|(y, f)| f64::from(*y) * f64::from(*f)).sum()
    }

    /// The way back through the statistics of the batch equals finite differences, also with lanes that are not used.
    #[test]
    fn gradients_with_the_statistics_of_the_batch_equal_differences() {
        let mut random = Random::new(21);
        let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| 2.0 * random.unit() - 1.0).collect() };
        let plain = values(SAMPLES * CHANNELS * PIXELS);
        let factors = values(plain.len());
        let (gamma, beta) = (values(CHANNELS), values(CHANNELS));
        let x = layout::pack(&plain, CHANNELS, PIXELS);
        let (mean, variance) = statistics(&x, SAMPLES, CHANNELS);
        let inverse: Vec<f32> = variance.iter().map(|v| 1.0 / (v + EPSILON).sqrt()).collect();
        let gradient = layout::pack(&factors, CHANNELS, PIXELS);
        let computed = gradients(&gradient, &x, SAMPLES, [&mean, &inverse, &gamma], true);
        let step = 1e-2f32;
        let close = |difference: f64, exact: f32, what: &str| {
            let difference = difference / f64::from(2.0 * step);
            assert!((difference - f64::from(exact)).abs() < 2e-3, "{what}: {exact}, not {difference}");
        };
        let by_x = layout::unpack(&computed.x, SAMPLES, CHANNELS, PIXELS);
        assert!(by_x.iter().any(|g| g.abs() > 0.1));
        for i in (0..plain.len()).step_by(7) {
            let moved = |by: f32| {
                let mut plain = plain.clone();
                plain[i] += by;
                loss(&layout::pack(&plain, CHANNELS, PIXELS), &gamma, &beta, &factors)
            };
            close(moved(step) - moved(-step), by_x[i], "x");
        }
        for c in 0..CHANNELS {
            let moved = |values: &[f32], by: f32| {
                let mut values = values.to_vec();
                values[c] += by;
                values
            };
            let of_gamma = |by: f32| loss(&x, &moved(&gamma, by), &beta, &factors);
            close(of_gamma(step) - of_gamma(-step), computed.gamma[c], "gamma");
            let of_beta = |by: f32| loss(&x, &gamma, &moved(&beta, by), &factors);
            close(of_beta(step) - of_beta(-step), computed.beta[c], "beta");
        }
        // Moving all values of a channel alike changes nothing.
        for c in 0..CHANNELS {
            let sum: f32 = by_x.chunks(PIXELS).skip(c).step_by(CHANNELS).flatten().sum();
            assert!(sum.abs() < 1e-4, "{sum}");
        }
    }
}
