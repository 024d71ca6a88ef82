//! Operators without parameters of their own, or with few, as tensors `[batch, channels, height, width]`.

use burn::tensor::activation::{elu, hard_sigmoid, leaky_relu, relu, sigmoid, softplus, tanh};
use burn::tensor::module::conv_transpose2d;
use burn::tensor::ops::ConvTransposeOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use espalier_ir::{ConvTranspose, Unary};

/// A function of single values.
pub(crate) fn unary(function: Unary, x: Tensor<4>) -> Tensor<4> {
    match function {
        Unary::Sigmoid => sigmoid(x),
        Unary::Tanh => tanh(x),
        Unary::LeakyRelu { alpha } => leaky_relu(x, alpha.into()),
        Unary::HardSigmoid { alpha, beta } => hard_sigmoid(x, alpha.into(), beta.into()),
        Unary::Elu { alpha } => elu(x, alpha.into()),
        Unary::Softplus => softplus(x, 1.0),
    }
}

/// `x` from 0, `slope * x` below; one slope a channel, or one in all.
pub(crate) fn prelu(x: Tensor<4>, slope: Tensor<1>) -> Tensor<4> {
    let [slopes] = slope.dims();
    relu(x.clone()) - relu(-x) * slope.reshape([1, slopes, 1, 1])
}

/// Channels picked from a value, zeros where there is none.
pub(crate) fn select(x: Tensor<4>, channels: &[Option<usize>], device: &Device) -> Tensor<4> {
    let [batch, available, height, width] = x.dims();
    let x = if channels.contains(&None) {
        Tensor::cat(vec![x, Tensor::zeros([batch, 1, height, width], device)], 1)
    } else {
        x
    };
    let indices: Vec<i64> = channels.iter().map(|c| c.unwrap_or(available) as i64).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [channels.len()]), device);
    x.select(1, indices)
}

/// Axes of a sample in another order.
pub(crate) fn transpose(x: Tensor<4>, axes: &[usize]) -> Tensor<4> {
    // Samples with two axes have a third of extent 1, which stays the last.
    let axis = |i: usize| axes.get(i).map_or(i as isize + 1, |a| *a as isize + 1);
    x.permute([0, axis(0), axis(1), axis(2)])
}

/// Every element repeated, `[vertical, horizontal]`.
pub(crate) fn resize(x: Tensor<4>, factor: [usize; 2]) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let tall = x.reshape([batch, channels * height, 1, width]).repeat_dim(2, factor[0]);
    let rows = channels * height * factor[0];
    let wide = tall.reshape([batch, rows, width, 1]).repeat_dim(3, factor[1]);
    wide.reshape([batch, channels, height * factor[0], width * factor[1]])
}

/// Transposed convolution to `[channels, height, width]` of `shape`; padding cuts off what lies outside.
pub(crate) fn conv_transpose(
    conv: &ConvTranspose,
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    shape: [usize; 3],
) -> Tensor<4> {
    let options = ConvTransposeOptions::new(conv.stride, [0, 0], conv.output_pads, conv.dilation, conv.groups);
    let whole = conv_transpose2d(x, weight, bias, options);
    let [_, height, width] = shape;
    whole.narrow(2, conv.pads.top, height).narrow(3, conv.pads.left, width)
}
