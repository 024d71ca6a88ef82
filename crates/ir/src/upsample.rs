//! Float evaluation of operators that enlarge a map.

use crate::{ConvTranspose, Graph};

/// Transposed convolution: every input value adds the kernel, scaled, at `stride` times its position.
pub(crate) fn conv_transpose(
    graph: &Graph,
    c: &ConvTranspose,
    x: &[f32],
    in_shape: &[usize],
    out_shape: &[usize],
) -> Vec<f32> {
    let weight = graph.param(c.weight);
    let [in_channels, per_group, kh, kw] = *weight.shape() else { unreachable!("checked by inference") };
    let [h, w] = [in_shape[1], in_shape[2]];
    let [out_channels, oh, ow] = [out_shape[0], out_shape[1], out_shape[2]];
    let weight = weight.as_f32();
    let in_per_group = in_channels / c.groups;
    let mut y = vec![0.0; out_channels * oh * ow];
    if let Some(bias) = c.bias {
        for (plane, b) in y.chunks_mut(oh * ow).zip(graph.param(bias).as_f32()) {
            plane.fill(*b);
        }
    }
    for i in 0..in_channels {
        for j in 0..per_group {
            let o = i / in_per_group * per_group + j;
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let tap = weight[((i * per_group + j) * kh + ky) * kw + kx];
                for (at, value) in x[i * h * w..(i + 1) * h * w].iter().enumerate() {
                    let oy = (at / w * c.stride[0] + ky * c.dilation[0]).wrapping_sub(c.pads.top);
                    let ox = (at % w * c.stride[1] + kx * c.dilation[1]).wrapping_sub(c.pads.left);
                    if oy < oh && ox < ow {
                        y[(o * oh + oy) * ow + ox] += tap * value;
                    }
                }
            }
        }
    }
    y
}

/// Every element repeated `factor` times, `[vertical, horizontal]`.
pub(crate) fn resize(x: &[f32], in_shape: &[usize], factor: [usize; 2]) -> Vec<f32> {
    let width = in_shape[2];
    x.chunks(width)
        .flat_map(|row| {
            let wide: Vec<f32> = row.iter().flat_map(|v| std::iter::repeat_n(*v, factor[1])).collect();
            wide.repeat(factor[0])
        })
        .collect()
}
