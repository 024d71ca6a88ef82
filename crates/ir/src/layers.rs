//! Which nodes form one layer of the accelerator.
//!
//! A layer is one operation of the array (convolution, fully connected, pooling, addition,
//! concatenation, gate) with what its write-back does on the way: batch normalization folded into the
//! weights, clamping and a function of single values as activation, and a following maximum pooling of
//! non-overlapping windows.
//! A convolution whose only reader is an addition takes the other operand into its sums.
//! A value that somebody else reads as well is never folded away.

use std::collections::{BTreeMap, BTreeSet};

use crate::curve::{curve_at, curve_behind};
use crate::input::input_layout;
use crate::residual::{Fusion, fusions};
use crate::wide::{LOWER, LOWER_AND_UPPER, Products, UPPER, joins, products};
use crate::{Diagnostic, Diagnostics, Graph, Interleave, LayerCurve, NodeId, Op, Pads, Pool, Residual};

/// Where a layer reads a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerSource {
    /// The graph input with this position.
    Input(usize),
    /// The output of the layer with this index.
    Layer(usize),
}

/// Bounds that the activation puts on real values; `min = 0, max = inf` is ReLU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    /// Lower bound, minus infinity if there is none.
    pub min: f32,
    /// Upper bound, infinity if there is none.
    pub max: f32,
}

impl Activation {
    /// No bounds.
    pub const NONE: Activation = Activation { min: f32::NEG_INFINITY, max: f32::INFINITY };

    fn narrowed(self, min: f32, max: f32) -> Self {
        // The later clamp wins where bounds cross, as in clamp(clamp(x, a, b), c, d); and the upper bound wins over a
        // lower bound above it, as in evaluation.
        Activation { min: self.min.max(min).min(max), max: self.max.max(min).min(max) }
    }
}

/// The operation of a layer on tensors `[channels, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrayOp {
    /// Convolution, or a fully connected layer as a convolution whose kernel is its whole input.
    Conv {
        /// The Conv or Gemm node.
        node: NodeId,
        /// Batch normalization right behind it, to be folded into weights and bias.
        batch_norm: Option<NodeId>,
        /// Kernel, `[height, width]`.
        kernel: [usize; 2],
        /// Step, `[vertical, horizontal]`.
        stride: [usize; 2],
        /// Zero padding.
        pads: Pads,
        /// Distance of taps.
        dilation: [usize; 2],
        /// Channel groups.
        groups: usize,
    },
    /// Transposed convolution.
    ConvTranspose {
        /// The ConvTranspose node.
        node: NodeId,
        /// Batch normalization right behind it, to be folded into weights and bias.
        batch_norm: Option<NodeId>,
        /// Kernel, `[height, width]`.
        kernel: [usize; 2],
        /// Distance of the kernels of neighbouring inputs, and what is cut off.
        interleave: Interleave,
        /// Channel groups.
        groups: usize,
    },
    /// Every element repeated.
    Resize {
        /// `[vertical, horizontal]`.
        factor: [usize; 2],
    },
    /// A batch normalization that cannot be folded: one multiplication and addition a channel.
    Scale {
        /// The BatchNorm node.
        node: NodeId,
    },
    /// Mean over windows; `divisor` counts the elements of a full window.
    AveragePool {
        /// Window, stride and padding.
        pool: Pool,
    },
    /// Maximum over windows; a 1x1 window with an activation is a stand-alone activation.
    MaxPool {
        /// Window, stride and padding.
        pool: Pool,
    },
    /// Sum of two tensors.
    Add,
    /// The first source, each channel multiplied by its element of the second one, `[channels, 1, 1]`.
    Gate,
    /// Products of pairs of vectors, `sources[2 p] * sources[2 p + 1]`, added up as a value of 16 bits: `[channels, 1, 2]`, the
    /// upper and the lower digit of each channel. A pair may read a digit of such a value: the upper one in the first pair,
    /// the lower one in the last.
    Products,
    /// A value of 16 bits rounded to 8: the lower digit, to which the upper one is added as a residual operand.
    Narrow,
    /// Vectors side by side, one a column.
    Sequence,
    /// Join along the channels.
    Concat,
    /// Channels picked from one tensor.
    Select {
        /// For each output channel the channel that it copies, or `None` for zeros.
        channels: Vec<Option<usize>>,
    },
}

impl ArrayOp {
    /// How the results are spread over a larger map, if they are.
    pub fn interleave(&self) -> Option<Interleave> {
        match self {
            ArrayOp::ConvTranspose { interleave, .. } => Some(*interleave),
            ArrayOp::Resize { factor } => Some(Interleave { factor: *factor, before: [0, 0] }),
            _ => None,
        }
    }
}

/// One layer: what the array computes and what write-back adds.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayLayer {
    /// Name of the node that gives the layer its operation.
    pub name: String,
    /// ONNX name of that operator.
    pub op_name: &'static str,
    /// The operation.
    pub op: ArrayOp,
    /// Tensors read, in operand order.
    pub sources: Vec<LayerSource>,
    /// For each source the only column of a line that is read, a step in time or a digit; `None`: the whole map.
    pub steps: Vec<Option<usize>>,
    /// Shapes of what is read of those tensors, `[channels, height, width]`.
    pub in_shapes: Vec<[usize; 3]>,
    /// Shape of the result before the fused pooling, or of each phase of one that is interleaved.
    pub conv_shape: [usize; 3],
    /// Shape of the tensor that the layer writes.
    pub out_shape: [usize; 3],
    /// How the last of `sources` is added to the sums of a convolution, if it is.
    pub residual: Option<Residual>,
    /// Bounds applied to the result.
    pub activation: Activation,
    /// The function of single values that comes last: after bounds and pooling.
    pub curve: Option<LayerCurve>,
    /// Fused maximum pooling: a window equal to its stride, without padding.
    pub fused_pool: Option<Pool>,
    /// Graph nodes that the layer covers, in order; the value of the last is the layer's output.
    pub nodes: Vec<NodeId>,
    /// The earlier layer that does the same at the first time step.
    pub peer: Option<usize>,
    /// The earlier layer with which it shares scales and zero points: that one, or one of the same function.
    pub alike: Option<usize>,
}

impl ArrayLayer {
    /// The sources without a residual operand.
    pub fn own_sources(&self) -> &[LayerSource] {
        &self.sources[..self.sources.len() - usize::from(self.residual.is_some())]
    }

    /// Whether it writes values of 16 bits.
    pub fn is_wide(&self) -> bool {
        matches!(self.op, ArrayOp::Products)
    }

    /// The graph node whose value this layer writes.
    pub fn output_node(&self) -> NodeId {
        *self.nodes.last().expect("a layer covers at least one node")
    }
}

/// Splits a graph into the layers that the accelerator executes, in execution order.
///
/// Flatten, Reshape between `[c, h, w]` and `[c * h * w]`, and a final Softmax (computed on the
/// host) are views and belong to no layer.
///
/// # Errors
/// Every node that the accelerator cannot execute, all at once.
pub fn array_layers(graph: &Graph) -> Result<Vec<ArrayLayer>, Diagnostics> {
    let fusions = fusions(graph);
    let products = products(graph);
    let joins = joins(graph);
    let absorbed = fusions.values().flat_map(Fusion::absorbed);
    let absorbed = absorbed.chain(products.values().flat_map(|p| p.inner.clone())).chain(joins.clone()).collect();
    let mut builder = Builder {
        graph,
        fusions,
        products,
        absorbed,
        layers: Vec::new(),
        values: BTreeMap::new(),
        columns: BTreeMap::new(),
        wide: BTreeMap::new(),
        findings: Diagnostics::new(),
    };
    for node in graph.nodes() {
        builder.visit(node);
    }
    let Builder { mut layers, findings, .. } = builder;
    for index in 0..layers.len() {
        // A value of 16 bits and its rounding have the same node.
        let layer_of = |node: NodeId| {
            layers.iter().position(|l| l.output_node() == node && l.is_wide() == layers[index].is_wide())
        };
        let node = layers[index].output_node();
        let (peer, alike) = (graph.peer(node).and_then(layer_of), graph.alike(node).and_then(layer_of));
        (layers[index].peer, layers[index].alike) = (peer, alike);
    }
    findings.into_result(layers)
}

struct Builder<'a> {
    graph: &'a Graph,
    /// Additions that a convolution before them computes.
    fusions: BTreeMap<NodeId, Fusion>,
    /// Values of 16 bits.
    products: BTreeMap<NodeId, Products>,
    /// Nodes that belong to the layer of such an addition or value, and joined vectors.
    absorbed: BTreeSet<NodeId>,
    layers: Vec<ArrayLayer>,
    /// Where the value of a node lives; `None` for values of nodes that were refused.
    values: BTreeMap<NodeId, Option<LayerSource>>,
    /// The column that a step in time is, in the line that `values` names.
    columns: BTreeMap<NodeId, usize>,
    /// Where values of 16 bits live.
    wide: BTreeMap<NodeId, LayerSource>,
    findings: Diagnostics,
}

/// `[features]` as `[features, 1, 1]`.
pub(crate) fn as_chw(shape: &[usize]) -> [usize; 3] {
    match shape {
        [c, h, w] => [*c, *h, *w],
        _ => [shape.iter().product(), 1, 1],
    }
}

impl Builder<'_> {
    fn visit(&mut self, id: NodeId) {
        if self.values.contains_key(&id) || self.absorbed.contains(&id) {
            return;
        }
        let node = self.graph.node(id);
        let operands = self.graph.operands(id);
        let first = operands.first().and_then(|o| self.values.get(o).copied().flatten());
        match &node.op {
            Op::Input { .. } => {
                let position = self.graph.inputs().iter().position(|i| *i == id).expect("inputs are listed");
                for view in input_layout(self.graph, id).views {
                    self.values.insert(view, Some(LayerSource::Input(position)));
                }
            }
            Op::Flatten => {
                self.values.insert(id, first);
            }
            Op::Reshape { shape } => {
                let from = &self.graph.node(operands[0]).shape;
                let flattens = shape.len() == 1 || as_chw(shape) == as_chw(from);
                if !flattens {
                    self.refuse(
                        id,
                        format!("changes {from:?} into {shape:?}"),
                        "only flattening is free on the accelerator",
                    );
                }
                self.values.insert(id, if flattens { first } else { None });
            }
            Op::Softmax { axis } if *axis > 0 => {
                self.refuse(
                    id,
                    "normalizes parts of a sample",
                    "the host computes softmax over all classes, at the end",
                );
                self.values.insert(id, None);
            }
            Op::Softmax { .. } => {
                if !self.graph.outputs().contains(&id) {
                    self.refuse(id, "is not the last operator", "softmax is computed on the host, at the end");
                }
                self.values.insert(id, first);
            }
            Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => {
                self.refuse(id, "is part of an already quantized model", "start from the float model");
                self.values.insert(id, None);
            }
            Op::Concat { axis } if *axis > 0 => {
                let vector = |o: &NodeId| self.stored_shape(*o)[1..] == [1, 1] && !self.columns.contains_key(o);
                if *axis == 2 && operands.iter().all(vector) {
                    return self.layer(id);
                }
                self.refuse(
                    id,
                    "joins maps side by side",
                    "the array joins along the channels, or vectors side by side",
                );
                self.values.insert(id, None);
            }
            _ if self.products.contains_key(&id) => self.wide_layer(id),
            Op::Mul if self.gate(id).is_some() => self.layer(id),
            Op::TimeStep { step } if self.stored_shape(operands[0])[1] == 1 => {
                self.values.insert(id, first);
                self.columns.insert(id, *step);
            }
            Op::Mul | Op::MatMul { .. } | Op::Normalize(_) | Op::Offset { .. } => {
                let (what, help) = host_only(&node.op);
                self.refuse(id, what, help);
                self.values.insert(id, None);
            }
            Op::Recurrent(_) | Op::TimeStep { .. } | Op::Transpose { .. } => {
                // What comes out of a refused layer needs no finding of its own.
                let reported = operands.iter().any(|o| self.values.get(o) == Some(&None));
                if !reported || matches!(node.op, Op::Recurrent(_)) {
                    let (what, help) = host_only(&node.op);
                    self.refuse(id, what, help);
                }
                self.values.insert(id, None);
            }
            _ => self.layer(id),
        }
    }

    fn refuse(&mut self, id: NodeId, what: impl std::fmt::Display, help: &str) {
        let node = self.graph.node(id);
        self.findings.push(
            Diagnostic::error(
                "unsupported-on-accelerator",
                format!("node '{}'", node.name),
                format!("operator {} {what}", node.op.name()),
            )
            .with_help(help),
        );
    }

    fn layer(&mut self, id: NodeId) {
        let graph = self.graph;
        let fusion = self.fusions.remove(&id);
        let addition = id;
        let id = fusion.as_ref().map_or(id, |f| f.conv);
        let node = graph.node(id);
        let mut operands = self.gate(id).map_or_else(|| graph.operands(id), Vec::from);
        // Joined vectors are read one by one.
        if let (Op::Gemm { .. }, true) = (&node.op, self.absorbed.contains(&operands[0])) {
            operands = graph.operands(operands[0]);
        }
        // A Gemm that reads a flattened tensor reads the tensor itself, as one large kernel.
        let mut in_shapes: Vec<[usize; 3]> = operands.iter().map(|o| self.stored_shape(*o)).collect();
        self.check_flattened(id, &operands, &in_shapes);
        let mut nodes = vec![id];
        if let Some(fusion) = &fusion {
            operands.push(fusion.operand);
            in_shapes.push(self.stored_shape(fusion.operand));
            nodes = fusion.absorbed().chain([addition]).collect();
        }
        let mut activation = Activation::NONE;
        let mut curve = None;
        let mut conv_shape = as_chw(&node.shape);
        let op = match &node.op {
            Op::Conv(conv) => {
                let kernel = &graph.param(conv.weight).shape()[2..];
                ArrayOp::Conv {
                    node: id,
                    batch_norm: fusion.as_ref().and_then(|f| f.batch_norm),
                    kernel: [kernel[0], kernel[1]],
                    stride: conv.stride,
                    pads: conv.pads,
                    dilation: conv.dilation,
                    groups: conv.groups,
                }
            }
            Op::Gemm { .. } => ArrayOp::Conv {
                node: id,
                batch_norm: fusion.as_ref().and_then(|f| f.batch_norm),
                kernel: [in_shapes[0][1], in_shapes[0][2]],
                stride: [1, 1],
                pads: Pads::default(),
                dilation: [1, 1],
                groups: 1,
            },
            Op::ConvTranspose(conv) => {
                let kernel = &graph.param(conv.weight).shape()[2..];
                let interleave = Interleave { factor: conv.stride, before: [conv.pads.top, conv.pads.left] };
                conv_shape = self.phases(id, conv_shape, conv.stride);
                if conv.dilation != [1, 1] {
                    self.refuse(id, format!("has a dilation of {:?}", conv.dilation), "use a dilation of 1");
                }
                let kernel = [kernel[0], kernel[1]];
                ArrayOp::ConvTranspose { node: id, batch_norm: None, kernel, interleave, groups: conv.groups }
            }
            Op::Resize { factor } => {
                conv_shape = in_shapes[0];
                ArrayOp::Resize { factor: *factor }
            }
            Op::BatchNorm { .. } => ArrayOp::Scale { node: id },
            Op::Add => {
                conv_shape = in_shapes[0];
                ArrayOp::Add
            }
            Op::Mul => {
                conv_shape = in_shapes[0];
                ArrayOp::Gate
            }
            Op::Concat { axis: 0 } => ArrayOp::Concat,
            Op::Concat { .. } => ArrayOp::Sequence,
            Op::Select { channels } => ArrayOp::Select { channels: channels.clone() },
            Op::MaxPool(pool) => ArrayOp::MaxPool { pool: *pool },
            Op::AveragePool { pool, count_include_pad } => {
                if pool.pads != Pads::default() && !count_include_pad {
                    self.refuse(
                        id,
                        "divides by a count that varies at the border",
                        "use count_include_pad = 1 or no padding",
                    );
                }
                ArrayOp::AveragePool { pool: *pool }
            }
            Op::GlobalAveragePool => {
                let kernel = [in_shapes[0][1], in_shapes[0][2]];
                ArrayOp::AveragePool { pool: Pool { kernel, stride: [1, 1], pads: Pads::default() } }
            }
            Op::Relu | Op::Clip { .. } => {
                let pool = Pool { kernel: [1, 1], stride: [1, 1], pads: Pads::default() };
                conv_shape = in_shapes[0];
                activation = bounds(&node.op, activation).expect("the operator clamps");
                ArrayOp::MaxPool { pool }
            }
            Op::Unary(_) | Op::PRelu { .. } => {
                conv_shape = in_shapes[0];
                let (function, behind) = curve_at(graph, id).expect("the node is a function");
                nodes = behind;
                curve = Some(LayerCurve { function, operand: operands[0] });
                ArrayOp::MaxPool { pool: Pool { kernel: [1, 1], stride: [1, 1], pads: Pads::default() } }
            }
            other => unreachable!("{} is handled by visit", other.name()),
        };
        let mut behind = WriteBack { activation, curve, fused_pool: None };
        let op = self.absorb(op, fusion.is_none(), &mut nodes, &mut behind);
        let WriteBack { activation, curve, fused_pool } = behind;
        let last = *nodes.last().expect("starts with the node");
        let mut out_shape = as_chw(&graph.node(last).shape);
        if fused_pool.is_none() && op.interleave().is_none() {
            out_shape = conv_shape;
        }
        let index = self.layers.len();
        let mut sources: Option<Vec<LayerSource>> =
            operands.iter().map(|o| self.values.get(o).copied().flatten()).collect();
        let mut steps: Vec<Option<usize>> = operands.iter().map(|o| self.columns.get(o).copied()).collect();
        let mut op = op;
        let mut residual = fusion.map(|f| f.residual);
        if let (Some(wide), Op::Unary(_) | Op::PRelu { .. }) = (self.wide.get(&operands[0]), &node.op) {
            sources = Some(vec![*wide; 2]);
            (op, residual, steps) = (ArrayOp::Narrow, Some(Residual::plain()), LOWER_AND_UPPER.to_vec());
            in_shapes.push(in_shapes[0]);
        }
        for covered in &nodes {
            self.values.insert(*covered, sources.as_ref().map(|_| LayerSource::Layer(index)));
        }
        // A refused operand has been reported; its readers need no finding of their own.
        let Some(sources) = sources else { return };
        self.layers.push(ArrayLayer {
            name: node.name.clone(),
            op_name: node.op.name(),
            op,
            sources,
            steps,
            in_shapes,
            conv_shape,
            out_shape,
            residual,
            activation,
            curve,
            fused_pool,
            nodes,
            peer: None,
            alike: None,
        });
    }

    /// A value of 16 bits and, if anybody wants it so, its rounding to 8.
    fn wide_layer(&mut self, id: NodeId) {
        let (graph, node) = (self.graph, self.graph.node(id));
        let [channels, ..] = as_chw(&node.shape);
        let products = self.products.remove(&id).expect("the caller checked");
        let mut pairs = Vec::new();
        for [value, gate] in &products.pairs {
            let narrow = |o: &NodeId| Some((self.values.get(o).copied().flatten()?, self.columns.get(o).copied()));
            let value = match self.wide.get(value) {
                Some(wide) => Some((*wide, None)),
                None => narrow(value),
            };
            let (Some(value), Some((gate, None))) = (value, narrow(gate)) else {
                // A refused operand has been reported.
                self.values.insert(id, None);
                return;
            };
            pairs.push((value, gate));
        }
        let is_wide = |(source, _): &(LayerSource, Option<usize>)| self.wide.values().any(|w| w == source);
        let wide = pairs.iter().position(|(value, _)| is_wide(value)).map(|at| pairs.remove(at));
        let digit = |step: Option<usize>| wide.map(|((source, _), gate)| ((source, step), gate));
        let parts = digit(Some(UPPER)).into_iter().chain(pairs).chain(digit(Some(LOWER)));
        let reads: Vec<(LayerSource, Option<usize>)> = parts.flat_map(|(value, gate)| [value, (gate, None)]).collect();
        let shape = [channels, 1, 1];
        let layer = ArrayLayer {
            name: node.name.clone(),
            op_name: node.op.name(),
            op: ArrayOp::Products,
            sources: reads.iter().map(|r| r.0).collect(),
            steps: reads.iter().map(|r| r.1).collect(),
            in_shapes: vec![shape; reads.len()],
            conv_shape: shape,
            out_shape: [channels, 1, 2],
            residual: None,
            activation: Activation::NONE,
            curve: None,
            fused_pool: None,
            nodes: products.inner.iter().copied().chain([id]).collect(),
            peer: None,
            alike: None,
        };
        let source = LayerSource::Layer(self.layers.len());
        self.layers.push(layer.clone());
        self.wide.insert(id, source);
        let reads_wide = |reader: NodeId| match graph.node(reader).op {
            Op::Unary(_) | Op::PRelu { .. } => true,
            _ => self.products.values().any(|p| p.inner.contains(&reader) && p.pairs.iter().any(|[v, _]| *v == id)),
        };
        if graph.consumers(id).into_iter().all(reads_wide) && !graph.outputs().contains(&id) {
            return;
        }
        self.values.insert(id, Some(LayerSource::Layer(self.layers.len())));
        self.layers.push(ArrayLayer {
            name: format!("{}_rounded", node.name),
            op: ArrayOp::Narrow,
            sources: vec![source; 2],
            steps: LOWER_AND_UPPER.to_vec(),
            in_shapes: vec![shape; 2],
            out_shape: shape,
            residual: Some(Residual::plain()),
            nodes: vec![id],
            ..layer
        });
    }

    /// The operands of a product in which one is a factor for each channel of the other: the map, then the factors.
    fn gate(&self, product: NodeId) -> Option<[NodeId; 2]> {
        if !matches!(self.graph.node(product).op, Op::Mul) {
            return None;
        }
        let [a, b] = self.graph.operands(product)[..] else { return None };
        let written = as_chw(&self.graph.node(product).shape);
        let fits = |map: NodeId, factors: NodeId| {
            self.stored_shape(map) == written && self.stored_shape(factors) == [written[0], 1, 1]
        };
        let whole = |factors: NodeId| !self.columns.contains_key(&factors);
        [[a, b], [b, a]].into_iter().find(|[map, factors]| fits(*map, *factors) && whole(*factors))
    }

    /// The map of one phase of a result that is interleaved.
    fn phases(&mut self, id: NodeId, [channels, height, width]: [usize; 3], [sy, sx]: [usize; 2]) -> [usize; 3] {
        if !height.is_multiple_of(sy) || !width.is_multiple_of(sx) {
            let what = format!("gives {height}x{width}, which its stride {sy}x{sx} does not divide");
            self.refuse(id, what, "choose padding and output_padding such that the map grows by whole factors");
        }
        [channels, height.div_ceil(sy), width.div_ceil(sx)]
    }

    /// Flattening moves nothing, so an operator behind it must make sense on the tensor itself.
    fn check_flattened(&mut self, id: NodeId, operands: &[NodeId], in_shapes: &[[usize; 3]]) {
        let graph = self.graph;
        let fits = match graph.node(id).op {
            Op::Gemm { .. } | Op::Relu | Op::Clip { .. } | Op::Unary(_) | Op::Mul => true,
            Op::Add => in_shapes.windows(2).all(|w| w[0] == w[1]),
            _ => operands.iter().zip(in_shapes).all(|(o, stored)| as_chw(&graph.node(*o).shape) == *stored),
        };
        if !fits {
            let what = format!("reads flattened tensors, stored as {in_shapes:?}");
            self.refuse(id, what, "move the flattening behind it, to where a fully connected layer reads");
        }
    }

    /// Shape of the stored tensor behind a value, looking through flattening.
    fn stored_shape(&self, id: NodeId) -> [usize; 3] {
        match self.values.get(&id).copied().flatten() {
            _ if self.columns.contains_key(&id) => as_chw(&self.graph.node(id).shape),
            Some(LayerSource::Layer(index)) => self.layers[index].out_shape,
            Some(LayerSource::Input(position)) => input_layout(self.graph, self.graph.inputs()[position]).shape,
            None => as_chw(&self.graph.node(id).shape),
        }
    }

    /// Takes in what reads a layer alone and its write-back can do; a batch normalization only where it is `foldable`.
    fn absorb(
        &self,
        mut op: ArrayOp,
        foldable: bool,
        nodes: &mut Vec<NodeId>,
        WriteBack { activation, curve, fused_pool }: &mut WriteBack,
    ) -> ArrayOp {
        loop {
            let last = *nodes.last().expect("never empty");
            if self.graph.outputs().contains(&last) {
                break;
            }
            if curve.is_none()
                && let Some((function, behind)) = curve_behind(self.graph, last)
            {
                *curve = Some(LayerCurve { function, operand: last });
                nodes.extend(behind);
                continue;
            }
            let [next] = self.graph.consumers(last)[..] else { break };
            let next_op = &self.graph.node(next).op;
            match (&mut op, next_op) {
                (
                    ArrayOp::Conv { batch_norm: batch_norm @ None, .. }
                    | ArrayOp::ConvTranspose { batch_norm: batch_norm @ None, .. },
                    Op::BatchNorm { .. },
                ) if foldable && *activation == Activation::NONE && curve.is_none() && fused_pool.is_none() => {
                    *batch_norm = Some(next);
                }
                (_, Op::Relu | Op::Clip { .. }) if curve.is_none() => {
                    *activation = bounds(next_op, *activation).expect("the operator clamps");
                }
                // The maximum is taken first, which makes no difference where the function never falls.
                (ArrayOp::Conv { .. } | ArrayOp::Scale { .. } | ArrayOp::Add, Op::MaxPool(pool))
                    if fused_pool.is_none()
                        && pool.kernel == pool.stride
                        && pool.pads == Pads::default()
                        && curve.as_ref().is_none_or(|c| c.function.is_monotone()) =>
                {
                    *fused_pool = Some(*pool);
                }
                _ => break,
            }
            nodes.push(next);
        }
        op
    }
}

/// What write-back does to the results of an operation.
struct WriteBack {
    activation: Activation,
    curve: Option<LayerCurve>,
    fused_pool: Option<Pool>,
}

/// Why the array cannot execute an operator that evaluation, training and pruning know, and what to use instead.
fn host_only(op: &Op) -> (&'static str, &'static str) {
    match op {
        Op::Mul => (
            "multiplies two computed values",
            "the accelerator multiplies a map by one computed factor a channel, [channels, 1, 1]; train without masks and \
             other products",
        ),
        Op::MatMul { .. } => (
            "multiplies two computed values",
            "the array multiplies by weights only: attention runs on the host; evaluate, train, prune and export it as \
             floats",
        ),
        Op::Normalize(_) => (
            "takes mean and variance of every sample",
            "train with batch normalization, whose statistics are constants that fold into weights",
        ),
        Op::Offset { .. } => (
            "adds a constant of its own to every position",
            "the array adds one constant a channel: leave out embeddings of positions",
        ),
        Op::Recurrent(_) => (
            "carries a state from step to step",
            "only its steps are layers of the accelerator: unroll the graph first",
        ),
        Op::TimeStep { .. } => ("takes one step of a sequence", "use a mean or maximum over time"),
        Op::Transpose { .. } => {
            ("exchanges axes", "the array keeps channels first: give samples and weights in that order instead")
        }
        _ => unreachable!("{} runs on the accelerator", op.name()),
    }
}

fn bounds(op: &Op, before: Activation) -> Option<Activation> {
    match op {
        Op::Relu => Some(before.narrowed(0.0, f32::INFINITY)),
        Op::Clip { min, max } => Some(before.narrowed(*min, *max)),
        _ => None,
    }
}
