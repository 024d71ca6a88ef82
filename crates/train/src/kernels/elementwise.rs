//! Operators that treat every element alike.

use pulp::Arch;

/// `max(x, 0)`.
pub(crate) fn relu(x: &[f32]) -> Vec<f32> {
    Arch::new().dispatch(|| x.iter().map(|v| if *v > 0.0 { *v } else { 0.0 }).collect())
}

/// Keeps the gradient where the output of the ReLU is positive.
pub(crate) fn relu_gradient(gradient: &mut [f32], y: &[f32]) {
    Arch::new().dispatch(|| {
        for (g, y) in gradient.iter_mut().zip(y) {
            *g = if *y > 0.0 { *g } else { 0.0 };
        }
    });
}

/// `min(max(x, low), high)`.
pub(crate) fn clip(x: &[f32], low: f32, high: f32) -> Vec<f32> {
    Arch::new().dispatch(|| x.iter().map(|v| v.max(low).min(high)).collect())
}

/// Keeps the gradient where `x` is within the bounds.
pub(crate) fn clip_gradient(gradient: &mut [f32], x: &[f32], low: f32, high: f32) {
    Arch::new().dispatch(|| {
        for (g, x) in gradient.iter_mut().zip(x) {
            *g = if *x >= low && *x <= high { *g } else { 0.0 };
        }
    });
}

/// `a + b`.
pub(crate) fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    Arch::new().dispatch(|| a.iter().zip(b).map(|(a, b)| a + b).collect())
}

/// `a += b`.
pub(crate) fn add_to(a: &mut [f32], b: &[f32]) {
    Arch::new().dispatch(|| {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    });
}

/// `a * b`.
pub(crate) fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    Arch::new().dispatch(|| a.iter().zip(b).map(|(a, b)| a * b).collect())
}
