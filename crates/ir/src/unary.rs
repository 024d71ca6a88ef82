//! Functions of single values, and of values with a slope a channel.

use serde::{Deserialize, Serialize};

/// A function applied to every element; constants as ONNX names them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Unary {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` from 0, `alpha x` below.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// `min(max(alpha x + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x` from 0, `alpha (exp(x) - 1)` below.
    Elu {
        /// Minus the limit towards minus infinity.
        alpha: f32,
    },
    /// `ln(1 + exp(x))`.
    Softplus,
}

impl Unary {
    /// The ONNX name.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Sigmoid => "Sigmoid",
            Unary::Tanh => "Tanh",
            Unary::LeakyRelu { .. } => "LeakyRelu",
            Unary::HardSigmoid { .. } => "HardSigmoid",
            Unary::Elu { .. } => "Elu",
            Unary::Softplus => "Softplus",
        }
    }

    /// The function itself.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Unary::Tanh => x.tanh(),
            Unary::LeakyRelu { alpha } => leaky(x, alpha),
            Unary::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Unary::Elu { alpha } => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            // Without overflow: the exponent is never positive.
            Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

/// `x` from 0, `slope * x` below.
pub(crate) fn leaky(x: f32, slope: f32) -> f32 {
    if x < 0.0 { slope * x } else { x }
}
