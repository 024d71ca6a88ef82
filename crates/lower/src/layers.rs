//! A quantized network as the layers that the geometry is computed from, and the weights and
//! bounds of its operations as the array sees them.

use espalier_ir::{Activation, ArrayLayer, ArrayOp, Graph, LayerCurve, LayerSource, Pads, Pool, Residual};
use espalier_quant::{QuantizedGraph, QuantizedLayer, QuantizedOp, QuantizedResidual};
use espalier_target::{LayerGeometry, Vector, weight_index};

/// The layers of the float graph from which the network was quantized, as far as shapes go.
///
/// Scalings are convolutions by now; these have the same geometry.
pub(crate) fn array_layers(graph: &QuantizedGraph) -> Vec<ArrayLayer> {
    // Geometry never looks at the nodes that a layer names, so one stands for all.
    let mut names = Graph::new("");
    let node = names.add_input("", &[1]).expect("an input of any shape is fine");
    graph
        .layers
        .iter()
        .map(|layer| {
            let op = match &layer.op {
                QuantizedOp::Conv { weight_shape, stride, pads, average: true, .. } => ArrayOp::AveragePool {
                    pool: Pool { kernel: [weight_shape[2], weight_shape[3]], stride: *stride, pads: *pads },
                },
                QuantizedOp::Conv { weight_shape, groups, interleave: Some(interleave), .. } => {
                    ArrayOp::ConvTranspose {
                        node,
                        batch_norm: None,
                        kernel: [weight_shape[2], weight_shape[3]],
                        interleave: *interleave,
                        groups: *groups,
                    }
                }
                QuantizedOp::Conv { weight_shape, stride, pads, dilation, groups, .. } => ArrayOp::Conv {
                    node,
                    batch_norm: None,
                    kernel: [weight_shape[2], weight_shape[3]],
                    stride: *stride,
                    pads: *pads,
                    dilation: *dilation,
                    groups: *groups,
                },
                QuantizedOp::MaxPool { pool } => ArrayOp::MaxPool { pool: *pool },
                QuantizedOp::Add { .. } => ArrayOp::Add,
                QuantizedOp::Gate { .. } => ArrayOp::Gate,
                QuantizedOp::Products { .. } => ArrayOp::Products,
                QuantizedOp::Sequence => ArrayOp::Sequence,
                QuantizedOp::Concat { .. } => ArrayOp::Concat,
                QuantizedOp::Select { channels } => ArrayOp::Select { channels: channels.clone() },
                QuantizedOp::Resize { factor } => ArrayOp::Resize { factor: *factor },
            };
            ArrayLayer {
                name: layer.name.clone(),
                op_name: layer.op_name,
                op,
                sources: layer.sources.clone(),
                steps: layer.steps.clone(),
                in_shapes: (0..layer.sources.len()).map(|s| graph.read_shape(layer, s)).collect(),
                conv_shape: layer.conv_shape,
                out_shape: layer.output.shape,
                residual: residual(layer).map(|residual| Residual {
                    stride: residual.stride,
                    channels: residual.channels.clone(),
                    select: None,
                }),
                activation: Activation::NONE,
                curve: layer.table.as_ref().map(|t| LayerCurve { function: t.curve.clone(), operand: node }),
                fused_pool: layer.fused_pool,
                nodes: vec![node],
                peer: layer.peer,
                alike: layer.alike,
            }
        })
        .collect()
}

/// The operand that a layer adds to its sums.
pub(crate) fn residual(layer: &QuantizedLayer) -> Option<&QuantizedResidual> {
    match &layer.op {
        QuantizedOp::Conv { residual, .. } => residual.as_deref(),
        _ => None,
    }
}

/// Weight with which an output channel adds a channel of the residual operand, before the sums are shifted;
/// `part` is the geometry of the addition.
pub(crate) fn residual_weight(
    residual: &QuantizedResidual,
    part: &LayerGeometry,
    vector: &Vector,
    output: usize,
) -> i8 {
    match weight_index(part, vector, output) {
        Some(_) => 1 << (residual.left_shift[output] - residual.sum_shift()),
        None => 0,
    }
}

/// Zero point of a tensor.
pub(crate) fn zero_point(graph: &QuantizedGraph, source: LayerSource) -> i8 {
    graph.tensor(source).params.zero_point
}

/// Smallest and largest value that a tensor, halo included, can hold.
pub(crate) fn value_range(graph: &QuantizedGraph, source: LayerSource) -> (i8, i8) {
    let pads_minimum = graph.layers.iter().any(|layer| {
        layer.sources.contains(&source)
            && matches!(&layer.op, QuantizedOp::MaxPool { pool } if pool.pads != Pads::default())
    });
    let halo = if pads_minimum { i8::MIN } else { zero_point(graph, source) };
    let (lo, hi) = graph.range(source);
    (lo.min(halo), hi.max(halo))
}

/// Weight of a vector to an output channel; 0 if the two are not connected.
///
/// `before` are the channels of vectors before the one that `geometry` reads.
pub(crate) fn weight(
    layer: &QuantizedLayer,
    geometry: &LayerGeometry,
    before: usize,
    vector: &Vector,
    output: usize,
) -> i8 {
    let Some([o, i, ky, kx]) = weight_index(geometry, vector, output) else { return 0 };
    let i = before + i;
    match &layer.op {
        QuantizedOp::Conv { weight, weight_shape: [_, per_group, kh, kw], .. } => {
            weight[((o * per_group + i) * kh + ky) * kw + kx]
        }
        // A gate stands where this 1 is.
        QuantizedOp::Gate { .. } | QuantizedOp::Products { .. } => 1,
        QuantizedOp::Sequence
        | QuantizedOp::MaxPool { .. }
        | QuantizedOp::Select { .. }
        | QuantizedOp::Resize { .. } => 1,
        QuantizedOp::Add { left_shift, .. } => 1 << left_shift[vector.source],
        QuantizedOp::Concat { left_shift, .. } => 1 << left_shift[vector.source],
    }
}

/// Bias without zero points, and right shift, of an output channel.
pub(crate) fn parameters(layer: &QuantizedLayer, output: usize) -> (i32, u8) {
    match &layer.op {
        QuantizedOp::Conv { bias, shift, .. } => (bias[output], shift[output]),
        QuantizedOp::MaxPool { .. }
        | QuantizedOp::Select { .. }
        | QuantizedOp::Resize { .. }
        | QuantizedOp::Sequence => (0, 0),
        QuantizedOp::Products { shift, .. }
        | QuantizedOp::Add { shift, .. }
        | QuantizedOp::Concat { shift, .. }
        | QuantizedOp::Gate { shift } => (0, *shift),
    }
}

/// Bits by which a product of a layer of products is shifted to the left.
pub(crate) fn product_shift(layer: &QuantizedLayer, pair: usize) -> u8 {
    match &layer.op {
        QuantizedOp::Products { left_shift, .. } => left_shift[pair],
        _ => 0,
    }
}
