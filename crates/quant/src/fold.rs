//! Batch normalization folded into the (transposed) convolution or fully connected layer before it.
//!
//! With `g = gamma / sqrt(variance + epsilon)`, `g * (W x + b - mean) + beta` equals
//! `(g W) x + (g * (b - mean) + beta)`.

use espalier_ir::{Graph, NodeId, Op, ParamId, Tensor};

/// The same function without the batch normalizations that directly follow a Conv, ConvTranspose or Gemm nobody else reads.
///
/// Parameters that only the folded node reads keep their ids, so that masks and gradients still fit.
pub fn fold_batch_norm(graph: &Graph) -> Graph {
    let mut folded = graph.clone();
    let weighted = |n: &NodeId| matches!(graph.node(*n).op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. });
    for node in graph.nodes().into_iter().filter(weighted) {
        // Several in a row fold one by one.
        while let Some(batch_norm) = foldable(&folded, node) {
            fold(&mut folded, node, batch_norm);
        }
    }
    folded.remove_unused_params();
    folded
}

fn foldable(graph: &Graph, node: NodeId) -> Option<NodeId> {
    let [next] = graph.consumers(node)[..] else { return None };
    let normalizes = matches!(graph.node(next).op, Op::BatchNorm { .. });
    (normalizes && !graph.outputs().contains(&node)).then_some(next)
}

fn fold(graph: &mut Graph, node: NodeId, batch_norm: NodeId) {
    let (weight_values, bias_values) = folded_values(graph, node, Some(batch_norm));
    let mut op = graph.node(node).op.clone();
    let (weight, bias) = weight_and_bias(&op);
    let name = graph.node(node).name.clone();
    let shape = graph.param(weight).shape().to_vec();
    let new_weight = replace(graph, weight, &name, Tensor::f32(shape, weight_values));
    let bias_values = Tensor::f32([bias_values.len()], bias_values);
    let new_bias = match bias {
        Some(bias) => replace(graph, bias, &name, bias_values),
        None => graph.add_param(format!("{name}.bias"), bias_values),
    };
    match &mut op {
        Op::Conv(conv) => (conv.weight, conv.bias) = (new_weight, Some(new_bias)),
        Op::ConvTranspose(conv) => (conv.weight, conv.bias) = (new_weight, Some(new_bias)),
        Op::Gemm { weight, bias } => (*weight, *bias) = (new_weight, Some(new_bias)),
        _ => unreachable!("only weighted nodes are folded"),
    }
    graph.set_op(node, op);
    graph.bypass(batch_norm);
}

/// Writes over a parameter that one node reads once, else adds one.
fn replace(graph: &mut Graph, param: ParamId, node: &str, tensor: Tensor) -> ParamId {
    let readers = graph.nodes().iter().flat_map(|n| graph.node(*n).op.params()).filter(|p| *p == param).count();
    if readers == 1 {
        graph.set_param(param, tensor);
        return param;
    }
    let name = format!("{}.{node}", graph.param_name(param));
    graph.add_param(name, tensor)
}

pub(crate) fn weight_and_bias(op: &Op) -> (ParamId, Option<ParamId>) {
    match op {
        Op::Conv(conv) => (conv.weight, conv.bias),
        Op::ConvTranspose(conv) => (conv.weight, conv.bias),
        Op::Gemm { weight, bias } => (*weight, *bias),
        other => unreachable!("{} has no weight", other.name()),
    }
}

/// Weight (in its own layout) and bias of a Conv, ConvTranspose or Gemm with an optional batch normalization folded in.
pub(crate) fn folded_values(graph: &Graph, node: NodeId, batch_norm: Option<NodeId>) -> (Vec<f32>, Vec<f32>) {
    let (weight, bias) = weight_and_bias(&graph.node(node).op);
    let weight = graph.param(weight);
    // The output channel of every weight: in runs of `each`, one group after another where axes are exchanged.
    let (channels, each, of_run): (usize, usize, Box<dyn Fn(usize) -> usize>) =
        match (&graph.node(node).op, weight.shape()) {
            (Op::ConvTranspose(conv), [inputs, per_group, kernel @ ..]) => {
                let (inputs, per_group) = (inputs / conv.groups, *per_group);
                let of_run = move |run: usize| run / (inputs * per_group) * per_group + run % per_group;
                (per_group * conv.groups, kernel.iter().product(), Box::new(of_run))
            }
            (_, shape) => (shape[0], shape[1..].iter().product(), Box::new(|run| run)),
        };
    let mut values = weight.as_f32().to_vec();
    let mut bias = bias.map_or(vec![0.0; channels], |b| graph.param(b).as_f32().to_vec());
    if let Some(batch_norm) = batch_norm {
        let gains = gains(graph, batch_norm);
        for (run, weights) in values.chunks_mut(each).enumerate() {
            weights.iter_mut().for_each(|w| *w = (f64::from(*w) * gains[of_run(run)].0) as f32);
        }
        for (bias, (gain, offset)) in bias.iter_mut().zip(&gains) {
            *bias = (f64::from(*bias) * gain + offset) as f32;
        }
    }
    (values, bias)
}

/// Gain and offset of every channel of a batch normalization: `y = gain * x + offset`.
pub(crate) fn gains(graph: &Graph, batch_norm: NodeId) -> Vec<(f64, f64)> {
    let Op::BatchNorm { gamma, beta, mean, variance, epsilon } = &graph.node(batch_norm).op else {
        unreachable!("not a batch normalization");
    };
    let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(|p| graph.param(*p).as_f32());
    (0..gamma.len())
        .map(|c| {
            let gain = f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(*epsilon)).sqrt();
            (gain, f64::from(beta[c]) - f64::from(mean[c]) * gain)
        })
        .collect()
}
