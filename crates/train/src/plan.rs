//! A graph made ready to be executed: steps in order, with everything checked that could fail later.

use std::collections::{BTreeMap, BTreeSet};

use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, ParamId, TensorData};

/// One node. Values are `[batch, channels, height, width]`, whatever the rank in the graph.
pub(crate) struct Step {
    pub(crate) node: NodeId,
    pub(crate) op: Op,
    /// Steps whose values this one reads.
    pub(crate) operands: Vec<usize>,
    /// Shape of one sample of the value.
    pub(crate) shape: Vec<usize>,
    /// The same as three axes.
    pub(crate) dims: [usize; 3],
    /// Of an input: where its values begin in a sample.
    pub(crate) offset: usize,
    /// Steps that read the value, plus one for the output: then the value can be dropped.
    pub(crate) readers: usize,
}

/// Steps from the inputs to the logits: the first output, before a final Softmax.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Step that gives the logits.
    pub(crate) output: usize,
    /// Values of one sample: all inputs, one after the other.
    pub(crate) sample_len: usize,
    /// Number of logits.
    pub(crate) classes: usize,
    /// Shapes of all parameters that the steps read.
    pub(crate) params: BTreeMap<ParamId, Vec<usize>>,
    /// Parameters that learn: all but running statistics.
    pub(crate) trainable: BTreeSet<ParamId>,
    /// BatchNorm nodes that keep their running statistics in training.
    pub(crate) frozen_norms: BTreeSet<NodeId>,
    /// Conv, Gemm and recurrent weights, to which weight decay applies.
    pub(crate) decayed: BTreeSet<ParamId>,
    /// Elements of all values of one sample, unfolded convolution inputs included.
    pub(crate) elements: usize,
}

impl Plan {
    /// # Errors
    /// Every node that cannot be trained; a graph without output.
    pub(crate) fn new(graph: &Graph) -> Result<Self, Diagnostics> {
        let mut findings = Diagnostics::new();
        if graph.outputs().is_empty() {
            findings.push(Diagnostic::error(
                "unsupported-in-training",
                format!("model '{}'", graph.name),
                "has no output; training needs one",
            ));
            return Err(findings);
        }
        let mut output = graph.outputs()[0];
        if matches!(graph.node(output).op, Op::Softmax { axis: 0 }) {
            output = graph.operands(output)[0];
        }
        let mut plan = Plan {
            steps: Vec::new(),
            output: 0,
            sample_len: graph.inputs().iter().map(|i| elements(graph, *i)).sum(),
            classes: graph.node(output).shape.iter().product(),
            params: BTreeMap::new(),
            trainable: BTreeSet::new(),
            frozen_norms: BTreeSet::new(),
            decayed: BTreeSet::new(),
            elements: 0,
        };
        let needed = ancestors(graph, output);
        let mut positions = BTreeMap::new();
        for node in graph.nodes().into_iter().filter(|n| needed.contains(n)) {
            check_node(graph, node, &mut findings);
            positions.insert(node, plan.steps.len());
            plan.add(graph, node, &positions);
        }
        plan.output = positions[&output];
        plan.steps[plan.output].readers += 1;
        findings.into_result(plan)
    }

    fn add(&mut self, graph: &Graph, node: NodeId, positions: &BTreeMap<NodeId, usize>) {
        let operands: Vec<usize> = graph.operands(node).iter().map(|o| positions[o]).collect();
        for operand in &operands {
            self.steps[*operand].readers += 1;
        }
        let op = graph.node(node).op.clone();
        let dims = three_axes(&graph.node(node).shape);
        let unfolded = match &op {
            Op::Conv(conv) => graph.param(conv.weight).shape()[1..].iter().product::<usize>() * dims[1] * dims[2],
            Op::ConvTranspose(conv) => {
                graph.param(conv.weight).shape()[2..].iter().product::<usize>() * dims[1] * dims[2]
            }
            // Sums and gates of every step are kept for the way back.
            Op::Recurrent(recurrent) => 3 * recurrent.cell.gates() * dims.iter().product::<usize>(),
            _ => 0,
        };
        self.elements = self.elements.saturating_add(dims.iter().product()).saturating_add(unfolded);
        for param in op.params() {
            self.params.insert(param, graph.param(param).shape().to_vec());
        }
        match &op {
            Op::Conv(espalier_ir::Conv { weight, .. })
            | Op::ConvTranspose(espalier_ir::ConvTranspose { weight, .. })
            | Op::Gemm { weight, .. } => {
                self.trainable.extend(op.params());
                self.decayed.insert(*weight);
            }
            Op::Recurrent(recurrent) => {
                self.trainable.extend(op.params());
                self.decayed.extend([recurrent.weight, recurrent.recurrence]);
            }
            Op::PRelu { .. } | Op::Normalize(_) | Op::Offset { .. } => self.trainable.extend(op.params()),
            Op::BatchNorm { gamma, beta, .. } => self.trainable.extend([*gamma, *beta]),
            _ => {}
        }
        let before = graph.inputs().iter().take_while(|i| **i != node);
        let offset = before.map(|i| elements(graph, *i)).sum();
        let shape = graph.node(node).shape.clone();
        self.steps.push(Step { node, op, operands, shape, dims, offset, readers: 0 });
    }

    /// Takes parameters out of the training.
    pub(crate) fn freeze(&mut self, frozen: &BTreeSet<ParamId>, findings: &mut Diagnostics) {
        for id in frozen.iter().filter(|id| !self.params.contains_key(id)) {
            let message = format!("parameter {id:?} is not read by the model");
            findings.push(Diagnostic::error("bad-training-option", "frozen", message));
        }
        self.trainable.retain(|id| !frozen.contains(id));
        for step in &self.steps {
            if matches!(step.op, Op::BatchNorm { gamma, .. } if frozen.contains(&gamma)) {
                self.frozen_norms.insert(step.node);
            }
        }
    }

    /// Shape `[channels, height, width]` of an input sample.
    pub(crate) fn input_dims(&self) -> [usize; 3] {
        let input = self.steps.iter().find(|s| matches!(s.op, Op::Input { .. }));
        input.map_or([self.sample_len, 1, 1], |s| s.dims)
    }

    /// Samples that one job may hold at once, so that its values stay within a few hundred MiB.
    pub(crate) fn chunk(&self) -> usize {
        (MAX_CHUNK_ELEMENTS / self.elements.max(1)).clamp(1, MAX_CHUNK)
    }
}

/// Most axes of a sample that are exchanged.
const MAX_AXES: usize = 5;
/// Larger chunks fall out of the caches and gain nothing.
const MAX_CHUNK: usize = 64;
const MAX_CHUNK_ELEMENTS: usize = 1 << 25;

fn elements(graph: &Graph, node: NodeId) -> usize {
    graph.node(node).shape.iter().product()
}

fn ancestors(graph: &Graph, node: NodeId) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if found.insert(node) {
            open.extend(graph.operands(node));
        }
    }
    found
}

fn check_node(graph: &Graph, node: NodeId, findings: &mut Diagnostics) {
    let espalier_ir::Node { name, op, .. } = graph.node(node);
    if matches!(op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. }) {
        findings.push(
            Diagnostic::error(
                "unsupported-in-training",
                format!("node '{name}'"),
                format!("{} belongs to an already quantized model, which cannot be trained", op.name()),
            )
            .with_help("start from the float model; quantization-aware training adds the rounding itself"),
        );
    }
    if let Op::Transpose { axes } = op
        && axes.len() > MAX_AXES
    {
        let message = format!("exchanges {} axes of a sample; training knows up to {MAX_AXES}", axes.len());
        findings.push(Diagnostic::error("unsupported-in-training", format!("node '{name}'"), message));
    }
    for param in op.params() {
        if !matches!(graph.param(param).data(), TensorData::F32(_)) {
            findings.push(Diagnostic::error(
                "unsupported-in-training",
                format!("parameter '{}'", graph.param_name(param)),
                "holds integers; only float parameters can be trained",
            ));
        }
    }
}

/// Any per-sample shape as `[channels, height, width]`; axes beyond the third join the second.
fn three_axes(shape: &[usize]) -> [usize; 3] {
    match shape {
        [c, h, w] => [*c, *h, *w],
        [] => [1, 1, 1],
        [c, rest @ ..] => [*c, rest.iter().product(), 1],
    }
}
