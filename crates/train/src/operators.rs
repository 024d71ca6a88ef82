//! Operators without parameters of their own, or with few, as tensors `[batch, channels, height, width]`.

use burn::tensor::activation::{elu, hard_sigmoid, leaky_relu, relu, sigmoid, softplus, tanh};
use burn::tensor::module::conv_transpose2d;
use burn::tensor::ops::ConvTransposeOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use espalier_ir::{ConvTranspose, Normalize, Statistics, Unary};

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

/// Axes of a sample of this shape in another order, as three axes or fewer.
pub(crate) fn transpose(x: Tensor<4>, shape: &[usize], axes: &[usize]) -> Tensor<4> {
    // Axes that are missing up to five have extent 1 and stay the last ones.
    let batch = x.dims()[0];
    let extent = |i: usize| shape.get(i).copied().unwrap_or(1);
    let axis = |i: usize| axes.get(i).map_or(i as isize + 1, |a| *a as isize + 1);
    let apart: Tensor<6> = x.reshape([batch, extent(0), extent(1), extent(2), extent(3), extent(4)]);
    let turned = apart.permute([0, axis(0), axis(1), axis(2), axis(3), axis(4)]);
    turned.reshape([batch, shape.iter().product(), 1, 1])
}

/// Samples joined along an axis of their shape; the values in order, whatever the axes.
pub(crate) fn concat(parts: Vec<Tensor<4>>, shapes: &[&[usize]], axis: usize) -> Tensor<4> {
    let outer: usize = shapes[0][..axis].iter().product();
    let rows = parts.into_iter().map(|part| {
        let [batch, c, h, w] = part.dims();
        part.reshape([batch, outer, c * h * w / outer, 1])
    });
    Tensor::cat(rows.collect(), 2)
}

/// Products of pairs of matrices, `[batch, pairs, rows, columns]`.
pub(crate) fn matrix_product(x: [Tensor<4>; 2], shapes: [&[usize]; 2], transpose: [bool; 2]) -> Tensor<4> {
    let mut operands = x.into_iter().zip(shapes).zip(transpose).map(|((x, shape), turned)| {
        let [rows, columns] = [shape[shape.len() - 2], shape[shape.len() - 1]];
        let batch = x.dims()[0];
        let matrices = x.reshape([batch, shape.iter().product::<usize>() / (rows * columns), rows, columns]);
        if turned { matrices.swap_dims(2, 3) } else { matrices }
    });
    let (Some(a), Some(b)) = (operands.next(), operands.next()) else { unreachable!("a product has two operands") };
    a.matmul(b)
}

/// Normalization by the statistics of the sample.
pub(crate) fn normalize(normalize: &Normalize, x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let positions = height * width;
    let centred = |x: Tensor<4>, axis: usize| {
        let centred = x.clone() - x.mean_dim(axis);
        let variance = centred.clone().powi_scalar(2).mean_dim(axis);
        centred / variance.add_scalar(normalize.epsilon).sqrt()
    };
    let normalized = match normalize.over {
        Statistics::Groups(groups) => centred(x.reshape([batch, groups, channels / groups * positions, 1]), 2),
        Statistics::Position => centred(x, 1),
    };
    let shape = [1, channels, 1, 1];
    normalized.reshape([batch, channels, height, width]) * gamma.reshape(shape) + beta.reshape(shape)
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
