//! Operators. Axes are those of ONNX without the batch: a value is `[channels, height, width]` or
//! `[features]`.

use serde::{Deserialize, Serialize};

use crate::{Normalize, ParamId, Recurrent, Unary};

/// Padding of the two spatial axes, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pads {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

/// A 2-D convolution. Weight axes: `[out_channels, in_channels / groups, kernel_h, kernel_w]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// Weight.
    pub weight: ParamId,
    /// Bias, `[out_channels]`.
    pub bias: Option<ParamId>,
    /// Step of the window, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Zero padding.
    pub pads: Pads,
    /// Distance of kernel taps, `[vertical, horizontal]`.
    pub dilation: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

/// A transposed 2-D convolution. Weight axes: `[in_channels, out_channels / groups, kernel_h, kernel_w]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTranspose {
    /// Weight.
    pub weight: ParamId,
    /// Bias, `[out_channels]`.
    pub bias: Option<ParamId>,
    /// Distance of the kernels of neighbouring inputs, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Rows and columns cut off the result.
    pub pads: Pads,
    /// Rows added below and columns added to the right, `[vertical, horizontal]`, each below the stride or dilation.
    pub output_pads: [usize; 2],
    /// Distance of kernel taps, `[vertical, horizontal]`.
    pub dilation: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

/// Window of a pooling operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Window, `[height, width]`.
    pub kernel: [usize; 2],
    /// Step, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Padding: minus infinity for the maximum, zero for the average.
    pub pads: Pads,
}

/// What a node computes. Every operator has exactly one output.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A graph input.
    Input {
        /// Shape of one sample.
        shape: Vec<usize>,
    },
    /// Convolution of `[channels, height, width]`.
    Conv(Conv),
    /// `y = W x + b` on `[features]`; weight `[out_features, in_features]`, bias `[out_features]`.
    Gemm {
        /// Weight.
        weight: ParamId,
        /// Bias.
        bias: Option<ParamId>,
    },
    /// Sum of two values of equal shape.
    Add,
    /// Product of two values with as many axes; an axis of extent 1 is repeated to fit that of the other.
    Mul,
    /// Matrix product of two values `[rows, columns]`, or of as many pairs as the first axis of `[n, rows, columns]` has.
    MatMul {
        /// Whether the last two axes of each operand are exchanged first.
        transpose: [bool; 2],
    },
    /// Values joined along an axis; the first one is that of the channels.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Channels (indices of the first axis) picked from a value: slices, splits, shuffles, zero padding of channels.
    Select {
        /// For each channel of the result the channel of the operand, or `None` for zeros.
        channels: Vec<Option<usize>>,
    },
    /// Transposed convolution of `[channels, height, width]`.
    ConvTranspose(ConvTranspose),
    /// Every element of `[channels, height, width]` repeated: nearest neighbour, enlarged by whole factors.
    Resize {
        /// `[vertical, horizontal]`.
        factor: [usize; 2],
    },
    /// A function of single values.
    Unary(Unary),
    /// `x` from 0, `slope * x` below.
    PRelu {
        /// One slope a channel (first axis), or `[1]` for all.
        slope: ParamId,
    },
    /// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, per channel (first axis).
    BatchNorm {
        /// Scale, `[channels]`.
        gamma: ParamId,
        /// Offset, `[channels]`.
        beta: ParamId,
        /// Running mean, `[channels]`.
        mean: ParamId,
        /// Running variance, `[channels]`.
        variance: ParamId,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalization by the statistics of the sample itself.
    Normalize(Normalize),
    /// `x + offset`, element by element: what positions have of their own.
    Offset {
        /// Offset, of the shape of a sample.
        offset: ParamId,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound; minus infinity if absent in the model.
        min: f32,
        /// Upper bound; infinity if absent in the model.
        max: f32,
    },
    /// Maximum over windows.
    MaxPool(Pool),
    /// Mean over windows.
    AveragePool {
        /// The window.
        pool: Pool,
        /// Whether padded elements count in the divisor.
        count_include_pad: bool,
    },
    /// Mean over height and width: `[channels, height, width]` to `[channels, 1, 1]`.
    GlobalAveragePool,
    /// `[channels, height, width]` to `[channels * height * width]`, channel-major.
    Flatten,
    /// The same values under another per-sample shape, row-major.
    Reshape {
        /// New shape of one sample.
        shape: Vec<usize>,
    },
    /// An LSTM or GRU in one direction, `[features, 1, time]` (or `[features, time]`) to `[hidden, 1, time]`.
    Recurrent(Recurrent),
    /// One step of a sequence, `[features, 1, time]` to `[features]`.
    TimeStep {
        /// Position, from 0.
        step: usize,
    },
    /// Axes in another order.
    Transpose {
        /// For each axis of the result that of the operand.
        axes: Vec<usize>,
    },
    /// Softmax over all axes of a sample from `axis` on, taken together; computed on the host, never on the accelerator.
    Softmax {
        /// The first axis that is summed over; 0 for all features of a sample.
        axis: usize,
    },
    /// Float to int8: `clamp(round_half_even(x / scale) + zero_point)`.
    QuantizeLinear {
        /// One scale, or one per channel (first axis of the value).
        scale: Vec<f32>,
        /// As many zero points.
        zero_point: Vec<i8>,
    },
    /// Int8 to float: `(q - zero_point) * scale`.
    DequantizeLinear {
        /// One scale, or one per channel (first axis of the value).
        scale: Vec<f32>,
        /// As many zero points.
        zero_point: Vec<i8>,
    },
}

impl Op {
    /// The ONNX name of the operator; `Select`, `TimeStep`, `Normalize` and `Offset` are called that, whatever they are
    /// written as.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input { .. } => "Input",
            Op::Conv(_) => "Conv",
            Op::Gemm { .. } => "Gemm",
            Op::Add => "Add",
            Op::Mul => "Mul",
            Op::MatMul { .. } => "MatMul",
            Op::Concat { .. } => "Concat",
            Op::Select { .. } => "Select",
            Op::ConvTranspose(_) => "ConvTranspose",
            Op::Resize { .. } => "Resize",
            Op::Unary(unary) => unary.name(),
            Op::PRelu { .. } => "PRelu",
            Op::BatchNorm { .. } => "BatchNormalization",
            Op::Normalize(_) => "Normalize",
            Op::Offset { .. } => "Offset",
            Op::Relu => "Relu",
            Op::Clip { .. } => "Clip",
            Op::MaxPool(_) => "MaxPool",
            Op::AveragePool { .. } => "AveragePool",
            Op::GlobalAveragePool => "GlobalAveragePool",
            Op::Flatten => "Flatten",
            Op::Reshape { .. } => "Reshape",
            Op::Recurrent(recurrent) => recurrent.cell.name(),
            Op::TimeStep { .. } => "TimeStep",
            Op::Transpose { .. } => "Transpose",
            Op::Softmax { .. } => "Softmax",
            Op::QuantizeLinear { .. } => "QuantizeLinear",
            Op::DequantizeLinear { .. } => "DequantizeLinear",
        }
    }

    /// Parameters that the operator reads, in a fixed order.
    pub fn params(&self) -> Vec<ParamId> {
        match self {
            Op::Conv(Conv { weight, bias, .. })
            | Op::ConvTranspose(ConvTranspose { weight, bias, .. })
            | Op::Gemm { weight, bias } => std::iter::once(*weight).chain(*bias).collect(),
            Op::BatchNorm { gamma, beta, mean, variance, .. } => vec![*gamma, *beta, *mean, *variance],
            Op::Normalize(Normalize { gamma, beta, .. }) => vec![*gamma, *beta],
            Op::Offset { offset } => vec![*offset],
            Op::PRelu { slope } => vec![*slope],
            Op::Recurrent(Recurrent { weight, recurrence, bias, .. }) => {
                [*weight, *recurrence].into_iter().chain(bias.iter().flatten().copied()).collect()
            }
            _ => Vec::new(),
        }
    }
}
