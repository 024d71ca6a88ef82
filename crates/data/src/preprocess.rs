//! From stored values to what a model was trained on.

use serde::{Deserialize, Serialize};

/// Order of the axes of a stored sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels, height, width.
    #[default]
    Nchw,
    /// Height, width, channels.
    Nhwc,
}

/// `(value * scale - mean) / std`, with one mean and deviation, or one a channel (or a column).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocessing {
    /// Factor applied first; 1/255 turns bytes into 0..1.
    pub scale: f32,
    /// Subtracted after scaling; empty means 0.
    pub mean: Vec<f32>,
    /// Divisor after that; empty means 1.
    pub std: Vec<f32>,
    /// Order of the axes in the files.
    pub layout: Layout,
}

impl Default for Preprocessing {
    /// Values as they are.
    fn default() -> Self {
        Preprocessing { scale: 1.0, mean: Vec::new(), std: Vec::new(), layout: Layout::Nchw }
    }
}

impl Preprocessing {
    /// What is wrong with these numbers for samples of shape `[channels, ..., columns]`, if anything.
    pub fn problem(&self, shape: &[usize]) -> Option<String> {
        let allowed = [shape.first().copied().unwrap_or(1), shape.last().copied().unwrap_or(1)];
        for (name, list) in [("mean", &self.mean), ("std", &self.std)] {
            if list.len() > 1 && !allowed.contains(&list.len()) {
                let [channels, columns] = allowed;
                let count = list.len();
                return Some(format!("'{name}' has {count} values for {channels} channels and {columns} columns"));
            }
            if list.iter().any(|v| !v.is_finite()) {
                return Some(format!("'{name}' holds a value that is not a finite number"));
            }
        }
        if self.std.contains(&0.0) {
            return Some("'std' holds a zero".to_owned());
        }
        (!self.scale.is_finite() || self.scale == 0.0).then(|| format!("'scale' is {}", self.scale))
    }

    /// Applies the numbers to one sample of shape `[channels, ..., columns]`, for which
    /// [`Preprocessing::problem`] found nothing.
    pub(crate) fn apply(&self, sample: &mut [f32], shape: &[usize]) {
        let channels = shape.first().copied().unwrap_or(1).max(1);
        let per_channel = (sample.len() / channels).max(1);
        let pick = |list: &[f32], index: usize, otherwise: f32| match list.len() {
            0 => otherwise,
            1 => list[0],
            len if len == channels => list[index / per_channel],
            len => list[index % len],
        };
        for (index, value) in sample.iter_mut().enumerate() {
            *value = (*value * self.scale - pick(&self.mean, index, 0.0)) / pick(&self.std, index, 1.0);
        }
    }
}
