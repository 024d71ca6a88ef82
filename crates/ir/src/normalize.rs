//! Normalization by the statistics of the sample itself.

use serde::{Deserialize, Serialize};

use crate::{Graph, ParamId};

/// What mean and variance are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statistics {
    /// The channels of each of so many groups of equal size, at all positions together: group normalization, with one
    /// channel a group instance normalization.
    Groups(usize),
    /// All channels, at each position by itself: layer normalization.
    Position,
}

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` with mean and biased variance of the sample itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    /// What mean and variance are taken over.
    pub over: Statistics,
    /// Scale, `[channels]`.
    pub gamma: ParamId,
    /// Offset, `[channels]`.
    pub beta: ParamId,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Normalize {
    /// Shape of the result, that of the operand.
    pub(crate) fn shape<'a>(
        &self,
        operand: &[usize],
        param: &dyn Fn(ParamId) -> &'a [usize],
    ) -> Result<Vec<usize>, String> {
        let Some(channels) = operand.first() else { return Err("operand has no channels".to_owned()) };
        if let Statistics::Groups(groups) = self.over
            && (groups == 0 || !channels.is_multiple_of(groups))
        {
            return Err(format!("{groups} groups do not divide {channels} channels"));
        }
        for parameter in [self.gamma, self.beta] {
            if param(parameter) != [*channels] {
                return Err(format!("parameter of shape {:?} for input {operand:?}", param(parameter)));
            }
        }
        Ok(operand.to_vec())
    }

    /// Values for one sample with so many channels.
    pub(crate) fn evaluate(&self, graph: &Graph, x: &[f32], channels: usize) -> Vec<f32> {
        let positions = x.len() / channels;
        let mut y = vec![0.0; x.len()];
        // Positions in `x` of everything that is normalized together.
        let sets: Vec<Vec<usize>> = match self.over {
            Statistics::Groups(groups) => {
                let each = x.len() / groups;
                (0..groups).map(|g| (g * each..(g + 1) * each).collect()).collect()
            }
            Statistics::Position => (0..positions).map(|p| (p..x.len()).step_by(positions).collect()).collect(),
        };
        let [gamma, beta] = [self.gamma, self.beta].map(|p| graph.param(p).as_f32());
        for set in sets {
            let count = set.len() as f32;
            let mean = set.iter().map(|i| x[*i]).sum::<f32>() / count;
            let variance = set.iter().map(|i| (x[*i] - mean).powi(2)).sum::<f32>() / count;
            let deviation = (variance + self.epsilon).sqrt();
            for i in set {
                let channel = i / positions;
                y[i] = (x[i] - mean) / deviation * gamma[channel] + beta[channel];
            }
        }
        y
    }
}
