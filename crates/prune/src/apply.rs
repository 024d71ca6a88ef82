//! Surgery: a smaller or reordered graph from a plan, exactly.
//!
//! Removal gathers the kept indices on every axis of every parameter that channels index, and
//! nothing else: the result computes the same as the original whose readers' columns are zero.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, Graph, Normalize, Op, ParamId, Statistics, Tensor};

use crate::flow::{is_depthwise, is_depthwise_transpose};
use crate::{ChannelRef, DependencyGroups, PruningPlan, dependency_groups};

/// Removes the channels that the plan does not keep.
///
/// # Errors
/// If the graph is invalid, or `plan-mismatch` if the plan is not of this graph.
pub fn apply(graph: &Graph, plan: &PruningPlan) -> Result<Graph, Diagnostics> {
    let groups = dependency_groups(graph)?;
    plan.check(&groups)?;
    let mut kept: Vec<Vec<bool>> = groups.groups.iter().map(|g| vec![false; g.channels]).collect();
    for (kept, group) in kept.iter_mut().zip(&plan.groups) {
        group.kept.iter().for_each(|c| kept[*c] = true);
    }
    let select = |channels: &[ChannelRef]| -> Vec<usize> {
        (0..channels.len()).filter(|i| kept[channels[*i].group][channels[*i].channel]).collect()
    };
    rearrange(graph, &groups, &select)
}

/// Reorders channels: new channel `c` of group `g` is old channel `orders[g][c]`. The function of
/// the network does not change.
///
/// # Errors
/// `bad-permutation` for every group whose order is not a permutation, moves frozen channels, or
/// exchanges channels that own different numbers of indices of some parameter or value.
pub fn permute(graph: &Graph, groups: &DependencyGroups, orders: &[Vec<usize>]) -> Result<Graph, Diagnostics> {
    check_orders(groups, orders)?;
    let select = |channels: &[ChannelRef]| -> Vec<usize> {
        let mut places: BTreeMap<ChannelRef, Vec<usize>> = BTreeMap::new();
        channels.iter().enumerate().for_each(|(i, c)| places.entry(*c).or_default().push(i));
        let mut seen: BTreeMap<ChannelRef, usize> = BTreeMap::new();
        channels
            .iter()
            .map(|c| {
                let occurrence = seen.entry(*c).or_default();
                *occurrence += 1;
                let source = ChannelRef { group: c.group, channel: orders[c.group][c.channel] };
                places[&source][*occurrence - 1]
            })
            .collect()
    };
    rearrange(graph, groups, &select)
}

fn check_orders(groups: &DependencyGroups, orders: &[Vec<usize>]) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    let mut wrong = |name: &str, message: &str| {
        findings.push(Diagnostic::error("bad-permutation", format!("group '{name}'"), message));
    };
    if orders.len() != groups.groups.len() {
        wrong("*", "there must be one order for each group");
        return findings.into_result(());
    }
    for (index, (group, order)) in groups.groups.iter().zip(orders).enumerate() {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        let moved = order.iter().enumerate().any(|(i, c)| i != *c);
        if sorted != (0..group.channels).collect::<Vec<_>>() {
            wrong(&group.name, "the order is not a permutation of the channels");
        } else if moved && group.frozen.is_some() {
            wrong(&group.name, "the channels are frozen");
        } else if moved && !alike(groups, index, order) {
            wrong(&group.name, "exchanges channels that own different parts of a parameter");
        }
    }
    findings.into_result(())
}

/// True if channels that change places occur equally often in every parameter and every value.
fn alike(groups: &DependencyGroups, index: usize, order: &[usize]) -> bool {
    let group = &groups.groups[index];
    let of_members = group.members.iter().map(|m| m.positions.iter().map(Vec::len).collect::<Vec<_>>());
    let of_values = groups.values.values().map(|channels| {
        let mut counts = vec![0; group.channels];
        channels.iter().filter(|c| c.group == index).for_each(|c| counts[c.channel] += 1);
        counts
    });
    of_members.chain(of_values).all(|counts| order.iter().enumerate().all(|(to, from)| counts[to] == counts[*from]))
}

/// Gathers every axis by the indices that `select` takes from its channels.
fn rearrange(
    graph: &Graph,
    groups: &DependencyGroups,
    select: &dyn Fn(&[ChannelRef]) -> Vec<usize>,
) -> Result<Graph, Diagnostics> {
    let mut result = graph.clone();
    let mut tensors: BTreeMap<ParamId, Tensor> = BTreeMap::new();
    for ((param, axis), channels) in &groups.axes {
        let tensor = tensors.entry(*param).or_insert_with(|| graph.param(*param).clone());
        *tensor = gather(tensor, *axis, &select(channels));
    }
    for (param, tensor) in tensors {
        result.set_param(param, tensor);
    }
    for id in graph.nodes() {
        match &graph.node(id).op {
            Op::Conv(conv) if is_depthwise(graph, conv) => {
                let operand = graph.operands(id)[0];
                let groups = select(groups.value_channels(operand)).len();
                result.set_op(id, Op::Conv(espalier_ir::Conv { groups, ..conv.clone() }));
            }
            Op::ConvTranspose(conv) if is_depthwise_transpose(graph, conv) => {
                let operand = graph.operands(id)[0];
                let groups = select(groups.value_channels(operand)).len();
                result.set_op(id, Op::ConvTranspose(espalier_ir::ConvTranspose { groups, ..conv.clone() }));
            }
            Op::Normalize(normalize) if normalize.over == Statistics::Groups(groups.value_channels(id).len()) => {
                // One group a channel stays that.
                let over = Statistics::Groups(select(groups.value_channels(id)).len());
                result.set_op(id, Op::Normalize(Normalize { over, ..normalize.clone() }));
            }
            Op::Select { channels } => {
                let sources = select(groups.value_channels(graph.operands(id)[0]));
                let moved: BTreeMap<usize, usize> = sources.into_iter().enumerate().map(|(i, old)| (old, i)).collect();
                let kept = select(groups.value_channels(id)).into_iter();
                let channels = kept.map(|old| channels[old].map(|source| moved[&source])).collect();
                result.set_op(id, Op::Select { channels });
            }
            Op::QuantizeLinear { scale, zero_point } if scale.len() > 1 => {
                let (scale, zero_point) = picked(scale, zero_point, &select(groups.value_channels(id)));
                result.set_op(id, Op::QuantizeLinear { scale, zero_point });
            }
            Op::DequantizeLinear { scale, zero_point } if scale.len() > 1 => {
                let (scale, zero_point) = picked(scale, zero_point, &select(groups.value_channels(id)));
                result.set_op(id, Op::DequantizeLinear { scale, zero_point });
            }
            Op::Reshape { shape } => {
                let mut shape = shape.clone();
                shape[0] = select(groups.value_channels(id)).len();
                result.set_op(id, Op::Reshape { shape });
            }
            _ => {}
        }
    }
    result.refresh_shapes()?;
    result.verify()?;
    Ok(result)
}

/// Scales and zero points of the given channels.
fn picked(scale: &[f32], zero_point: &[i8], channels: &[usize]) -> (Vec<f32>, Vec<i8>) {
    channels.iter().map(|c| (scale[*c], zero_point[*c])).unzip()
}

/// The slices of a float tensor with the given indices on `axis`, in that order.
fn gather(tensor: &Tensor, axis: usize, indices: &[usize]) -> Tensor {
    let extent = tensor.shape()[axis];
    if indices.len() == extent && indices.iter().enumerate().all(|(i, j)| i == *j) {
        return tensor.clone();
    }
    let inner: usize = tensor.shape()[axis + 1..].iter().product();
    let mut values = Vec::with_capacity(tensor.len() / extent * indices.len());
    for outer in tensor.as_f32().chunks(extent * inner) {
        for i in indices {
            values.extend_from_slice(&outer[i * inner..(i + 1) * inner]);
        }
    }
    let mut shape = tensor.shape().to_vec();
    shape[axis] = indices.len();
    Tensor::f32(shape, values)
}
