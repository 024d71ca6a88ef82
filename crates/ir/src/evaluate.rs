//! Float evaluation of a graph, one sample at a time: the meaning of every operator.

use std::collections::BTreeMap;

use crate::product;
use crate::recurrent::transpose;
use crate::unary::leaky;
use crate::upsample::{conv_transpose, resize};
use crate::{Conv, Graph, NodeId, Op, Pool};

/// Values of all nodes for one sample; `inputs[i]` holds the values of graph input `i`, row-major.
///
/// # Panics
/// If an input has the wrong number of values: callers check data against the model first.
pub fn evaluate(graph: &Graph, inputs: &[&[f32]]) -> BTreeMap<NodeId, Vec<f32>> {
    let mut values: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
    for id in graph.nodes() {
        let operands = graph.operands(id);
        let value = match &graph.node(id).op {
            Op::Input { shape } => {
                let position = graph.inputs().iter().position(|i| *i == id).expect("inputs are listed");
                assert_eq!(
                    inputs[position].len(),
                    shape.iter().product::<usize>(),
                    "input {position} has the wrong size"
                );
                inputs[position].to_vec()
            }
            _ => {
                let operand_values: Vec<&[f32]> = operands.iter().map(|o| values[o].as_slice()).collect();
                evaluate_node(graph, id, &operands, &operand_values)
            }
        };
        values.insert(id, value);
    }
    values
}

/// Values of the first output for one sample. Panics like [`evaluate`].
pub fn evaluate_output(graph: &Graph, inputs: &[&[f32]]) -> Vec<f32> {
    let output = graph.outputs()[0];
    evaluate(graph, inputs).remove(&output).expect("every node has a value")
}

fn evaluate_node(graph: &Graph, id: NodeId, operands: &[NodeId], x: &[&[f32]]) -> Vec<f32> {
    let node = graph.node(id);
    let in_shape = &graph.node(operands[0]).shape;
    match &node.op {
        Op::Input { .. } => unreachable!("inputs are handled by the caller"),
        Op::Conv(c) => conv(graph, c, x[0], in_shape, &node.shape),
        Op::Gemm { weight, bias } => gemm(graph, *weight, *bias, x[0]),
        Op::Add => x[0].iter().zip(x[1]).map(|(a, b)| a + b).collect(),
        Op::Mul => {
            let shapes = [0, 1].map(|i| graph.node(operands[i]).shape.as_slice());
            product::elementwise(x, shapes, &node.shape)
        }
        Op::MatMul { transpose } => {
            let shapes = [0, 1].map(|i| graph.node(operands[i]).shape.as_slice());
            product::matrices(x, shapes, *transpose)
        }
        Op::Concat { axis } => {
            let outer: usize = node.shape[..*axis].iter().product();
            let rows = |row: usize| {
                x.iter().flat_map(move |part| &part[row * (part.len() / outer)..(row + 1) * (part.len() / outer)])
            };
            (0..outer).flat_map(rows).copied().collect()
        }
        Op::Select { channels } => {
            let each: usize = in_shape[1..].iter().product();
            let channel = |c: &Option<usize>| c.map_or(vec![0.0; each], |c| x[0][c * each..(c + 1) * each].to_vec());
            channels.iter().flat_map(channel).collect()
        }
        Op::ConvTranspose(c) => conv_transpose(graph, c, x[0], in_shape, &node.shape),
        Op::Resize { factor } => resize(x[0], in_shape, *factor),
        Op::Unary(unary) => x[0].iter().map(|v| unary.apply(*v)).collect(),
        Op::PRelu { slope } => {
            let slope = graph.param(*slope).as_f32();
            let each = x[0].len() / slope.len();
            x[0].iter().enumerate().map(|(i, v)| leaky(*v, slope[i / each])).collect()
        }
        Op::BatchNorm { gamma, beta, mean, variance, epsilon } => {
            let per_channel = x[0].len() / in_shape[0];
            let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(|p| graph.param(*p).as_f32());
            x[0].iter()
                .enumerate()
                .map(|(i, v)| {
                    let c = i / per_channel;
                    (v - mean[c]) / (variance[c] + epsilon).sqrt() * gamma[c] + beta[c]
                })
                .collect()
        }
        Op::Relu => x[0].iter().map(|v| v.max(0.0)).collect(),
        Op::Clip { min, max } => x[0].iter().map(|v| v.max(*min).min(*max)).collect(),
        Op::MaxPool(pool) => {
            pooled(pool, x[0], in_shape, &node.shape, |window| window.iter().copied().fold(f32::NEG_INFINITY, f32::max))
        }
        Op::AveragePool { pool, count_include_pad } => {
            let full = pool.kernel[0] * pool.kernel[1];
            pooled(pool, x[0], in_shape, &node.shape, |window| {
                let count = if *count_include_pad { full } else { window.len() };
                window.iter().sum::<f32>() / count as f32
            })
        }
        Op::GlobalAveragePool => {
            let per_channel = in_shape[1] * in_shape[2];
            x[0].chunks(per_channel).map(|c| c.iter().sum::<f32>() / per_channel as f32).collect()
        }
        Op::Flatten | Op::Reshape { .. } => x[0].to_vec(),
        Op::Recurrent(recurrent) => recurrent.evaluate(graph, x[0], in_shape[0]),
        Op::TimeStep { step } => x[0].chunks(x[0].len() / in_shape[0]).map(|feature| feature[*step]).collect(),
        Op::Transpose { axes } => transpose(x[0], in_shape, axes),
        Op::Normalize(normalize) => normalize.evaluate(graph, x[0], in_shape[0]),
        Op::Offset { offset } => x[0].iter().zip(graph.param(*offset).as_f32()).map(|(v, o)| v + o).collect(),
        Op::Softmax { axis } => {
            let each = in_shape[*axis..].iter().product();
            x[0].chunks(each).flat_map(softmax).collect()
        }
        Op::QuantizeLinear { scale, zero_point } => {
            per_channel(x[0], scale, zero_point, |v, s, z| (v / s).round_ties_even().clamp(-512.0, 512.0) + z)
                .into_iter()
                .map(|q| q.clamp(-128.0, 127.0))
                .collect()
        }
        Op::DequantizeLinear { scale, zero_point } => per_channel(x[0], scale, zero_point, |q, s, z| (q - z) * s),
    }
}

fn softmax(x: &[f32]) -> Vec<f32> {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f32> = x.iter().map(|v| (v - max).exp()).collect();
    let sum: f32 = exp.iter().sum();
    exp.into_iter().map(|v| v / sum).collect()
}

fn per_channel(x: &[f32], scale: &[f32], zero_point: &[i8], f: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
    let each = x.len() / scale.len();
    x.iter().enumerate().map(|(i, v)| f(*v, scale[i / each], f32::from(zero_point[i / each]))).collect()
}

fn gemm(graph: &Graph, weight: crate::ParamId, bias: Option<crate::ParamId>, x: &[f32]) -> Vec<f32> {
    let weight = graph.param(weight);
    let bias = bias.map(|b| graph.param(b).as_f32());
    weight
        .as_f32()
        .chunks(x.len())
        .enumerate()
        .map(|(o, row)| row.iter().zip(x).map(|(w, v)| w * v).sum::<f32>() + bias.map_or(0.0, |b| b[o]))
        .collect()
}

fn conv(graph: &Graph, c: &Conv, x: &[f32], in_shape: &[usize], out_shape: &[usize]) -> Vec<f32> {
    let weight = graph.param(c.weight);
    let [out_channels, per_group, kh, kw] = *weight.shape() else { unreachable!("checked by inference") };
    let [h, w] = [in_shape[1], in_shape[2]];
    let [oh, ow] = [out_shape[1], out_shape[2]];
    let weight = weight.as_f32();
    let out_per_group = out_channels / c.groups;
    let mut y = vec![0.0; out_channels * oh * ow];
    for o in 0..out_channels {
        let plane = &mut y[o * oh * ow..(o + 1) * oh * ow];
        plane.fill(c.bias.map_or(0.0, |b| graph.param(b).as_f32()[o]));
        for i in 0..per_group {
            let channel = o / out_per_group * per_group + i;
            let input = &x[channel * h * w..(channel + 1) * h * w];
            for ky in 0..kh {
                for kx in 0..kw {
                    let tap = weight[((o * per_group + i) * kh + ky) * kw + kx];
                    if tap == 0.0 {
                        continue;
                    }
                    for (oy, row) in plane.chunks_mut(ow).enumerate() {
                        let Some(iy) = (oy * c.stride[0] + ky * c.dilation[0]).checked_sub(c.pads.top) else {
                            continue;
                        };
                        if iy >= h {
                            continue;
                        }
                        for (ox, value) in row.iter_mut().enumerate() {
                            let ix = (ox * c.stride[1] + kx * c.dilation[1]).wrapping_sub(c.pads.left);
                            if ix < w {
                                *value += tap * input[iy * w + ix];
                            }
                        }
                    }
                }
            }
        }
    }
    y
}

/// Applies `f` to the elements inside each window, padding left out.
fn pooled(pool: &Pool, x: &[f32], in_shape: &[usize], out_shape: &[usize], f: impl Fn(&[f32]) -> f32) -> Vec<f32> {
    let [h, w] = [in_shape[1], in_shape[2]];
    let [oh, ow] = [out_shape[1], out_shape[2]];
    let mut window = Vec::with_capacity(pool.kernel[0] * pool.kernel[1]);
    let mut y = Vec::with_capacity(out_shape.iter().product());
    for input in x.chunks(h * w) {
        for oy in 0..oh {
            for ox in 0..ow {
                window.clear();
                for ky in 0..pool.kernel[0] {
                    let iy = (oy * pool.stride[0] + ky).wrapping_sub(pool.pads.top);
                    for kx in 0..pool.kernel[1] {
                        let ix = (ox * pool.stride[1] + kx).wrapping_sub(pool.pads.left);
                        if iy < h && ix < w {
                            window.push(input[iy * w + ix]);
                        }
                    }
                }
                y.push(f(&window));
            }
        }
    }
    y
}
