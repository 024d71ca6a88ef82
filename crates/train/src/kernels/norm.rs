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
