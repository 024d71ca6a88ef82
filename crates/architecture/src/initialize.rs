//! Random weights to start from.

use espalier_ir::{Cell, Conv, ConvTranspose, Graph, NodeId, Op, ParamId, Random, Recurrent, Tensor, Unary};

/// Gives every parameter of a network its initial value; `seed` alone decides which.
///
/// - Conv, ConvTranspose and Gemm in front of a rectifier: uniform in ±sqrt(6 / inputs), a variance of 2 / inputs
///   (He et al. 2015, arXiv 1502.01852, eq. 10); others, the classifier among them: uniform in
///   ±sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010, eq. 16). Biases are 0.
/// - LSTM and GRU: both matrices as Glorot and Bengio, each gate by itself; biases 0, but 1 for the forget gate of an
///   LSTM (Gers et al. 2000; Jozefowicz et al. 2015).
/// - Batch normalization: scale 1, offset 0, mean 0, variance 1. PReLU: slope 0.25 (He et al. 2015).
pub fn initialize(graph: &mut Graph, seed: u64) {
    let mut random = Random::new(seed);
    for node in graph.nodes() {
        let op = graph.node(node).op.clone();
        match &op {
            Op::Conv(Conv { weight, bias, groups, .. }) => {
                let shape = graph.param(*weight).shape();
                let window: usize = shape[2..].iter().product();
                let fans = [shape[1] * window, shape[0] / groups * window];
                let bound = bound(graph, node, fans);
                fill(graph, *weight, bound, &mut random);
                bias.iter().for_each(|bias| constant(graph, *bias, 0.0));
            }
            Op::ConvTranspose(ConvTranspose { weight, bias, groups, .. }) => {
                let shape = graph.param(*weight).shape();
                let window: usize = shape[2..].iter().product();
                let fans = [shape[0] / groups * window, shape[1] * window];
                let bound = bound(graph, node, fans);
                fill(graph, *weight, bound, &mut random);
                bias.iter().for_each(|bias| constant(graph, *bias, 0.0));
            }
            Op::Gemm { weight, bias } => {
                let shape = graph.param(*weight).shape();
                let bound = bound(graph, node, [shape[1], shape[0]]);
                fill(graph, *weight, bound, &mut random);
                bias.iter().for_each(|bias| constant(graph, *bias, 0.0));
            }
            Op::BatchNorm { gamma, beta, mean, variance, .. } => {
                for (param, value) in [(gamma, 1.0), (beta, 0.0), (mean, 0.0), (variance, 1.0)] {
                    constant(graph, *param, value);
                }
            }
            Op::PRelu { slope } => constant(graph, *slope, 0.25),
            Op::Recurrent(layer) => recurrent(graph, layer, &mut random),
            _ => {}
        }
    }
}

fn bound(graph: &Graph, node: NodeId, [inputs, outputs]: [usize; 2]) -> f32 {
    if rectified(graph, node) { (6.0 / inputs as f32).sqrt() } else { glorot(inputs, outputs) }
}

fn glorot(inputs: usize, outputs: usize) -> f32 {
    (6.0 / (inputs + outputs) as f32).sqrt()
}

/// True if the values of a node reach a rectifier before any other function.
fn rectified(graph: &Graph, node: NodeId) -> bool {
    let mut node = node;
    loop {
        let consumers = graph.consumers(node);
        let Some(next) = consumers.first() else { return false };
        match graph.node(*next).op {
            Op::Relu
            | Op::Clip { .. }
            | Op::PRelu { .. }
            | Op::Unary(Unary::LeakyRelu { .. } | Unary::Elu { .. } | Unary::Softplus) => return true,
            Op::BatchNorm { .. } | Op::MaxPool(_) | Op::AveragePool { .. } | Op::Add | Op::Concat { axis: 0 } => {
                node = *next
            }
            _ => return false,
        }
    }
}

fn recurrent(graph: &mut Graph, layer: &Recurrent, random: &mut Random) {
    let hidden = graph.param(layer.recurrence).shape()[1];
    let features = graph.param(layer.weight).shape()[1];
    fill(graph, layer.weight, glorot(features, hidden), random);
    fill(graph, layer.recurrence, glorot(hidden, hidden), random);
    let Some([of_input, of_state]) = layer.bias else { return };
    constant(graph, of_state, 0.0);
    let rows = graph.param(of_input).len();
    // Gates i, o, f, c: the third one forgets.
    let is_forget = |row: usize| layer.cell == Cell::Lstm && row / hidden == 2;
    let values = (0..rows).map(|row| f32::from(u8::from(is_forget(row)))).collect();
    graph.set_param(of_input, Tensor::f32([rows], values));
}

fn fill(graph: &mut Graph, param: ParamId, bound: f32, random: &mut Random) {
    let shape = graph.param(param).shape().to_vec();
    let values = (0..shape.iter().product()).map(|_| (2.0 * random.unit() - 1.0) * bound).collect();
    graph.set_param(param, Tensor::f32(shape, values));
}

fn constant(graph: &mut Graph, param: ParamId, value: f32) {
    let shape = graph.param(param).shape().to_vec();
    let len = shape.iter().product();
    graph.set_param(param, Tensor::f32(shape, vec![value; len]));
}
