//! Maximum over windows and mean over all pixels.

use pulp::Arch;

use super::LANES;
use super::windows::Windows;

/// Maximum of each window; padding never wins.
pub(crate) fn max(x: &[f32], windows: &Windows, channels: usize) -> Vec<f32> {
    let row = channels * LANES;
    let (in_block, out_block) = (windows.readers.pixels() * row, windows.reads.pixels() * row);
    let mut y = vec![f32::NEG_INFINITY; x.len() / in_block * out_block];
    Arch::new().dispatch(|| {
        for (x, y) in x.chunks_exact(in_block).zip(y.chunks_exact_mut(out_block)) {
            for (pixel, y) in y.chunks_exact_mut(row).enumerate() {
                for (source, _) in windows.reads.of(pixel) {
                    for (y, x) in y.iter_mut().zip(&x[*source as usize * row..][..row]) {
                        *y = if *x > *y { *x } else { *y };
                    }
                }
            }
        }
    });
    y
}

/// Gradient of the input: all of it goes to the first of the largest elements.
pub(crate) fn max_gradient(gradient: &[f32], x: &[f32], y: &[f32], windows: &Windows, channels: usize) -> Vec<f32> {
    let row = channels * LANES;
    let (in_block, out_block) = (windows.readers.pixels() * row, windows.reads.pixels() * row);
    let mut result = vec![0.0; x.len()];
    let mut rest = vec![0.0; row];
    Arch::new().dispatch(|| {
        let blocks = x.chunks_exact(in_block).zip(result.chunks_exact_mut(in_block));
        let outputs = y.chunks_exact(out_block).zip(gradient.chunks_exact(out_block));
        for ((x, result), (y, gradient)) in blocks.zip(outputs) {
            for (pixel, (y, gradient)) in y.chunks_exact(row).zip(gradient.chunks_exact(row)).enumerate() {
                rest.copy_from_slice(gradient);
                for (source, _) in windows.reads.of(pixel) {
                    let range = *source as usize * row..(*source as usize + 1) * row;
                    let elements = result[range.clone()].iter_mut().zip(&x[range]).zip(y).zip(rest.iter_mut());
                    for (((result, x), y), rest) in elements {
                        let hit = *x == *y;
                        *result += if hit { *rest } else { 0.0 };
                        *rest = if hit { 0.0 } else { *rest };
                    }
                }
            }
        }
    });
    result
}

/// Mean over the pixels.
pub(crate) fn mean(x: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let row = channels * LANES;
    let mut y = vec![0.0; x.len() / pixels];
    Arch::new().dispatch(|| {
        for (x, y) in x.chunks_exact(row * pixels).zip(y.chunks_exact_mut(row)) {
            for x in x.chunks_exact(row) {
                for (y, x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            }
            for y in y {
                *y /= pixels as f32;
            }
        }
    });
    y
}

/// Gradient of the input of [`mean`].
pub(crate) fn mean_gradient(gradient: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let row = channels * LANES;
    let mut result = Vec::with_capacity(gradient.len() * pixels);
    let factor = 1.0 / pixels as f32;
    for gradient in gradient.chunks_exact(row) {
        let share: Vec<f32> = gradient.iter().map(|g| g * factor).collect();
        for _ in 0..pixels {
            result.extend_from_slice(&share);
        }
    }
    result
}
