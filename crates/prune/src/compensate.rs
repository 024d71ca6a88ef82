//! Bias compensation: what a removed channel contributed on average goes into its readers' biases.
//!
//! `b[o] += sum over removed c of mean(x_c) * sum over taps of w[o, c, tap]`. Exact for a channel that
//! is constant, where no padding is read; at padded borders an approximation.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostics, Graph, NodeId, Op, ParamId, Tensor, evaluate};

use crate::flow::is_depthwise;
use crate::{PruningPlan, dependency_groups};

/// Mean of every index on the first axis of every value, over samples and positions; a sample holds
/// one slice for each graph input.
pub fn channel_means(graph: &Graph, samples: &[Vec<&[f32]>]) -> BTreeMap<NodeId, Vec<f32>> {
    let mut sums: BTreeMap<NodeId, Vec<f64>> =
        graph.nodes().into_iter().map(|id| (id, vec![0.0; graph.node(id).shape[0]])).collect();
    for sample in samples {
        for (id, values) in evaluate(graph, sample) {
            let sums = sums.get_mut(&id).expect("every node has sums");
            let each = values.len() / sums.len();
            for (sum, values) in sums.iter_mut().zip(values.chunks(each)) {
                *sum += values.iter().map(|v| f64::from(*v)).sum::<f64>() / each as f64;
            }
        }
    }
    let count = samples.len().max(1) as f64;
    sums.into_iter().map(|(id, sums)| (id, sums.into_iter().map(|s| (s / count) as f32).collect())).collect()
}

/// The graph with the mean contribution of the channels that `plan` removes added to the biases of
/// their readers; [`crate::apply`] the same plan to the result.
///
/// A reader without bias gets one, unless a batch normalization right behind it can take the
/// correction in its mean. Readers that share their bias with another node, transposed convolutions and recurrent
/// layers are left alone.
///
/// # Errors
/// As [`crate::apply`].
pub fn compensate(graph: &Graph, plan: &PruningPlan, means: &BTreeMap<NodeId, Vec<f32>>) -> Result<Graph, Diagnostics> {
    let groups = dependency_groups(graph)?;
    plan.check(&groups)?;
    let mut result = graph.clone();
    for id in graph.nodes() {
        let Some(&operand) = graph.operands(id).first() else { continue };
        let Some(means) = means.get(&operand) else { continue };
        let lost: Vec<f32> = groups
            .value_channels(operand)
            .iter()
            .zip(means)
            .map(|(c, mean)| if plan.groups[c.group].kept.binary_search(&c.channel).is_ok() { 0.0 } else { *mean })
            .collect();
        if lost.iter().any(|m| *m != 0.0)
            && let Some(correction) = contribution(graph, id, &lost)
        {
            add_to_bias(&mut result, id, &correction);
        }
    }
    result.verify()?;
    Ok(result)
}

/// What constant inputs `x` add to every output of a convolution or Gemm.
fn contribution(graph: &Graph, id: NodeId, x: &[f32]) -> Option<Vec<f32>> {
    let (weight, groups) = match &graph.node(id).op {
        Op::Conv(conv) if !is_depthwise(graph, conv) => (conv.weight, conv.groups),
        Op::Gemm { weight, .. } => (*weight, 1),
        _ => return None,
    };
    let weight = graph.param(weight);
    let [out, per_group] = [weight.shape()[0], weight.shape()[1]];
    let taps: usize = weight.shape()[2..].iter().product();
    let rows = weight.as_f32().chunks(per_group * taps).enumerate();
    let sum = |(o, row): (usize, &[f32])| {
        let first = o / (out / groups) * per_group;
        row.chunks(taps).zip(&x[first..]).map(|(w, x)| w.iter().sum::<f32>() * x).sum()
    };
    Some(rows.map(sum).collect())
}

fn add_to_bias(graph: &mut Graph, id: NodeId, correction: &[f32]) {
    let name = format!("{}.bias", graph.node(id).name);
    let mut op = graph.node(id).op.clone();
    let (Op::Conv(espalier_ir::Conv { bias, .. }) | Op::Gemm { bias, .. }) = &mut op else { return };
    if let Some(bias) = *bias {
        shift(graph, bias, correction, 1.0);
        return;
    }
    if let [reader] = graph.consumers(id)[..]
        && let Op::BatchNorm { mean, .. } = graph.node(reader).op
        && !graph.outputs().contains(&id)
    {
        shift(graph, mean, correction, -1.0);
        return;
    }
    *bias = Some(graph.add_param(name, Tensor::f32([correction.len()], correction.to_vec())));
    graph.set_op(id, op);
}

/// Adds `sign * correction` to a parameter that only one node reads.
fn shift(graph: &mut Graph, param: ParamId, correction: &[f32], sign: f32) {
    let uses = graph.nodes().into_iter().flat_map(|n| graph.node(n).op.params()).filter(|p| *p == param).count();
    if uses == 1 {
        let mut tensor = graph.param(param).clone();
        tensor.as_f32_mut().iter_mut().zip(correction).for_each(|(v, c)| *v += sign * c);
        graph.set_param(param, tensor);
    }
}
