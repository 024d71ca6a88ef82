//! How channels pass through operators: the index maps behind the dependency groups.
//!
//! | operator | its output channels | couples |
//! |---|---|---|
//! | Conv, Gemm | new; read the operand through axis 1 of the weight | |
//! | depthwise Conv | those of the operand, each repeated by the channel multiplier | |
//! | grouped Conv | new; position `j` of every group is one channel | position `i` of every input group |
//! | ConvTranspose | as Conv, with the axes of the weight exchanged | |
//! | BatchNorm, PRelu, activations, pooling, Resize | those of the operand | |
//! | Add | those of the operands | the operands, index by index |
//! | Mul | those of the operand that is not repeated | the operands, index by index; not 1 with many |
//! | LSTM, GRU | new, one a hidden unit; read by `R` at the next step, and the operand through axis 1 of `W` | |
//! | Normalize | those of the operand | position `i` of every group |
//! | Offset, Softmax of other axes | those of the operand | |
//! | MatMul of pairs of matrices | those of the operands | the operands, index by index |
//! | MatMul that sums over the first axes | frozen | the operands, index by index |
//! | MatMul else | those of the left operand; the right one is frozen | |
//! | TimeStep, Transpose that keeps the first axis | those of the operand | |
//! | Concat | those of the operands one after another | |
//! | Concat along another axis | those of the operands | the operands, index by index |
//! | Select | those it picks; a new one, computed by nothing, for each zero | |
//! | Flatten, Reshape | every channel repeated `height * width` times | channels that the new shape joins |
//! | one parameter in two places | | both uses, index by index |

use std::collections::BTreeMap;

use espalier_ir::{Conv, ConvTranspose, Diagnostic, Graph, NodeId, Normalize, Op, ParamId, Recurrent, Statistics};
use petgraph::unionfind::UnionFind;

use crate::groups::Role;

/// Most channel indices of all values together.
const MAX_INDICES: usize = 1 << 24;

/// Atoms (indices of what producers compute), merged into classes by `sets`.
pub(crate) struct Flow {
    /// Union-find over atoms.
    pub sets: UnionFind<usize>,
    /// Atom of every index on the first axis of every value.
    pub values: BTreeMap<NodeId, Vec<usize>>,
    /// Role and atom of every index on every axis of a parameter that belongs to channels.
    pub axes: BTreeMap<(ParamId, usize), (Role, Vec<usize>)>,
    /// Nodes that compute new channels, with the atoms of all of them.
    pub producers: Vec<(NodeId, Vec<usize>)>,
    /// Selections that add zeros, with the atoms of these: channels that nothing computes.
    pub zeros: Vec<(NodeId, Vec<usize>)>,
    /// Of the atoms of each of these values at least one must stay.
    pub required: Vec<Vec<usize>>,
    /// Atoms that may not go, with the reason.
    pub frozen: Vec<(Vec<usize>, String)>,
}

/// Follows the channels of a verified graph.
pub(crate) fn trace(graph: &Graph) -> Result<Flow, Diagnostic> {
    let indices = graph.nodes().iter().fold(0usize, |n, id| n.saturating_add(graph.node(*id).shape[0]));
    if indices > MAX_INDICES {
        return Err(Diagnostic::error(
            "model-too-large",
            format!("graph '{}'", graph.name),
            format!("its values have {indices} channels and features, at most {MAX_INDICES} are analysed"),
        ));
    }
    let mut flow = Flow {
        sets: UnionFind::new_empty(),
        values: BTreeMap::new(),
        axes: BTreeMap::new(),
        producers: Vec::new(),
        zeros: Vec::new(),
        required: Vec::new(),
        frozen: Vec::new(),
    };
    for id in graph.nodes() {
        let value = flow.node(graph, id);
        flow.values.insert(id, value);
    }
    for output in graph.outputs() {
        let reason = format!("graph output '{}'", graph.node(*output).name);
        flow.freeze(&flow.values[output].clone(), &reason);
    }
    Ok(flow)
}

/// True for a convolution in which every output channel reads exactly one input channel.
pub(crate) fn is_depthwise(graph: &Graph, conv: &Conv) -> bool {
    conv.groups > 1 && graph.param(conv.weight).shape()[1] == 1
}

/// As [`is_depthwise`], transposed.
pub(crate) fn is_depthwise_transpose(graph: &Graph, conv: &ConvTranspose) -> bool {
    conv.groups > 1 && graph.param(conv.weight).shape()[0] == conv.groups
}

impl Flow {
    fn node(&mut self, graph: &Graph, id: NodeId) -> Vec<usize> {
        let node = graph.node(id);
        let operands: Vec<Vec<usize>> = graph.operands(id).iter().map(|o| self.values[o].clone()).collect();
        match &node.op {
            Op::Input { shape } => {
                let atoms = self.produce(id, shape[0]);
                self.freeze(&atoms, &format!("graph input '{}'", node.name));
                atoms
            }
            Op::Conv(conv) => self.conv(graph, id, conv, &operands[0]),
            Op::Gemm { weight, bias } => {
                let atoms = self.produce(id, node.shape[0]);
                self.weights(*weight, *bias, &atoms);
                self.index((*weight, 1), Role::Input, &operands[0]);
                atoms
            }
            Op::Add => {
                self.couple(&operands[0], &operands[1]);
                operands[0].clone()
            }
            Op::Mul => self.product(&operands[0], &operands[1]),
            Op::MatMul { transpose } => self.matrix_product(id, *transpose, &operands, &node.shape),
            Op::Concat { axis: 0 } => operands.concat(),
            Op::Concat { .. } => {
                operands[1..].iter().for_each(|other| self.couple(&operands[0], other));
                operands[0].clone()
            }
            Op::Select { channels } => self.select(id, channels, &operands[0]),
            Op::ConvTranspose(conv) => self.conv_transpose(graph, id, conv, &operands[0]),
            Op::Recurrent(recurrent) => self.recurrent(id, node.shape[0], recurrent, &operands[0]),
            Op::TimeStep { .. } => operands[0].clone(),
            Op::Transpose { axes } if axes[0] == 0 => operands[0].clone(),
            Op::Transpose { .. } => {
                let reason = format!("transpose '{}' makes channels of another axis", node.name);
                self.freeze(&operands[0], &reason);
                let atoms = self.produce(id, node.shape[0]);
                self.freeze(&atoms, &reason);
                atoms
            }
            Op::PRelu { slope } => {
                if graph.param(*slope).len() > 1 {
                    self.index((*slope, 0), Role::PerChannel, &operands[0]);
                }
                operands[0].clone()
            }
            Op::BatchNorm { gamma, beta, mean, variance, .. } => {
                for param in [gamma, beta, mean, variance] {
                    self.index((*param, 0), Role::PerChannel, &operands[0]);
                }
                operands[0].clone()
            }
            Op::Normalize(Normalize { over, gamma, beta, .. }) => {
                // A group of one channel goes with it; larger ones keep as many channels as each other.
                if let Statistics::Groups(groups) = over
                    && *groups < operands[0].len()
                {
                    let each = operands[0].len() / groups;
                    self.repeat(&operands[0], each);
                }
                for param in [gamma, beta] {
                    self.index((*param, 0), Role::PerChannel, &operands[0]);
                }
                operands[0].clone()
            }
            Op::Offset { offset } => {
                self.index((*offset, 0), Role::PerChannel, &operands[0]);
                operands[0].clone()
            }
            Op::Flatten | Op::Reshape { .. } => {
                let from = &graph.node(graph.operands(id)[0]).shape;
                self.reshape(&operands[0], from, &node.shape, &node.name)
            }
            // Each channel by itself.
            Op::Softmax { axis } if *axis > 0 => operands[0].clone(),
            Op::Softmax { .. } => {
                self.freeze(&operands[0], &format!("softmax '{}' mixes all channels", node.name));
                operands[0].clone()
            }
            Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => operands[0].clone(),
            Op::Relu | Op::Clip { .. } | Op::Unary(_) | Op::Resize { .. } => operands[0].clone(),
            Op::MaxPool(_) | Op::AveragePool { .. } | Op::GlobalAveragePool => operands[0].clone(),
        }
    }

    fn conv(&mut self, graph: &Graph, id: NodeId, conv: &Conv, operand: &[usize]) -> Vec<usize> {
        let out = graph.node(id).shape[0];
        if is_depthwise(graph, conv) {
            let multiplier = out / operand.len();
            let atoms: Vec<usize> = (0..out).map(|o| operand[o / multiplier]).collect();
            self.weights(conv.weight, conv.bias, &atoms);
            return atoms;
        }
        let (per_group_out, per_group_in) = (out / conv.groups, operand.len() / conv.groups);
        let position = self.produce(id, per_group_out);
        let atoms: Vec<usize> = (0..out).map(|o| position[o % per_group_out]).collect();
        self.weights(conv.weight, conv.bias, &atoms);
        self.repeat(operand, per_group_in);
        self.index((conv.weight, 1), Role::Input, &operand[..per_group_in]);
        atoms
    }

    fn conv_transpose(&mut self, graph: &Graph, id: NodeId, conv: &ConvTranspose, operand: &[usize]) -> Vec<usize> {
        let out = graph.node(id).shape[0];
        let (per_group_out, per_group_in) = (out / conv.groups, operand.len() / conv.groups);
        let atoms: Vec<usize> = if is_depthwise_transpose(graph, conv) {
            self.index((conv.weight, 0), Role::Output, operand);
            (0..out).map(|o| operand[o / per_group_out]).collect()
        } else {
            let position = self.produce(id, per_group_out);
            self.index((conv.weight, 1), Role::Output, &position);
            self.repeat(operand, per_group_in);
            self.index((conv.weight, 0), Role::Input, operand);
            (0..out).map(|o| position[o % per_group_out]).collect()
        };
        if let Some(bias) = conv.bias {
            self.index((bias, 0), Role::PerChannel, &atoms);
        }
        atoms
    }

    /// Groups of `each` channels keep as many channels as each other: position `j` of every group is one channel.
    fn repeat(&mut self, operand: &[usize], each: usize) {
        for (i, atom) in operand.iter().enumerate() {
            self.sets.union(operand[i % each], *atom);
        }
    }

    /// Of three axes the first counts pairs of matrices, as heads do: index by index. Of two, the first axis is summed
    /// over if the left operand alone is transposed; else it is that of the result, and the right one is not followed.
    fn matrix_product(
        &mut self,
        id: NodeId,
        transpose: [bool; 2],
        operands: &[Vec<usize>],
        shape: &[usize],
    ) -> Vec<usize> {
        let reason = "a product of two values sums over it, or makes channels of another axis";
        match (shape.len(), transpose) {
            (3, _) => {
                self.couple(&operands[0], &operands[1]);
                return operands[0].clone();
            }
            (_, [false, _]) => {
                self.freeze(&operands[1], reason);
                return operands[0].clone();
            }
            (_, [true, false]) => self.couple(&operands[0], &operands[1]),
            (_, [true, true]) => operands.iter().for_each(|o| self.freeze(o, reason)),
        }
        let atoms = self.produce(id, shape[0]);
        self.freeze(&atoms, reason);
        atoms
    }

    /// Hidden unit `j` is row `g * hidden + j` of every gate `g`; column `j` of `R` reads it at the next step.
    fn recurrent(&mut self, id: NodeId, hidden: usize, recurrent: &Recurrent, operand: &[usize]) -> Vec<usize> {
        let units = self.produce(id, hidden);
        let rows = units.repeat(recurrent.cell.gates());
        let [input_bias, recurrent_bias] = recurrent.bias.map_or([None; 2], |b| b.map(Some));
        self.weights(recurrent.weight, input_bias, &rows);
        self.weights(recurrent.recurrence, recurrent_bias, &rows);
        self.index((recurrent.weight, 1), Role::Input, operand);
        self.index((recurrent.recurrence, 1), Role::Input, &units);
        units
    }

    /// A factor with one channel is repeated: it belongs to all channels, so it must stay and couples none.
    fn product(&mut self, a: &[usize], b: &[usize]) -> Vec<usize> {
        match (a.len(), b.len()) {
            (a_len, b_len) if a_len == b_len => {
                self.couple(a, b);
                a.to_vec()
            }
            (1, _) => {
                self.required.push(a.to_vec());
                b.to_vec()
            }
            _ => {
                self.required.push(b.to_vec());
                a.to_vec()
            }
        }
    }

    fn select(&mut self, id: NodeId, channels: &[Option<usize>], operand: &[usize]) -> Vec<usize> {
        let atoms: Vec<usize> =
            channels.iter().map(|c| c.map_or_else(|| self.sets.new_set(), |c| operand[c])).collect();
        let zeros: Vec<usize> = channels.iter().zip(&atoms).filter(|(c, _)| c.is_none()).map(|(_, a)| *a).collect();
        if !zeros.is_empty() {
            self.zeros.push((id, zeros));
        }
        self.required.push(atoms.clone());
        atoms
    }

    /// Channels of the same values under another shape, row-major: index `j` of the new first axis
    /// holds the elements `j * to .. (j + 1) * to`, index `i` of the old `i * from .. (i + 1) * from`.
    fn reshape(&mut self, operand: &[usize], from: &[usize], to: &[usize], name: &str) -> Vec<usize> {
        let from: usize = from[1..].iter().product();
        let count = to[0];
        let to: usize = to[1..].iter().product();
        if !from.is_multiple_of(to) && !to.is_multiple_of(from) {
            self.freeze(operand, &format!("reshape '{name}' cuts across channels"));
        }
        (0..count)
            .map(|j| {
                let (first, last) = (j * to / from, ((j + 1) * to - 1) / from);
                for i in first..last {
                    self.sets.union(operand[i], operand[i + 1]);
                }
                operand[first]
            })
            .collect()
    }

    fn produce(&mut self, node: NodeId, count: usize) -> Vec<usize> {
        let atoms: Vec<usize> = (0..count).map(|_| self.sets.new_set()).collect();
        self.producers.push((node, atoms.clone()));
        atoms
    }

    fn weights(&mut self, weight: ParamId, bias: Option<ParamId>, atoms: &[usize]) {
        self.index((weight, 0), Role::Output, atoms);
        if let Some(bias) = bias {
            self.index((bias, 0), Role::PerChannel, atoms);
        }
    }

    /// Declares to which channels the indices of an axis belong; a second use couples both.
    fn index(&mut self, axis: (ParamId, usize), role: Role, atoms: &[usize]) {
        if let Some((known, first)) = self.axes.get_mut(&axis) {
            let first = first.clone();
            // Weights tied to their own transpose compute and read the same channels.
            if role == Role::Input {
                *known = role;
            }
            self.couple(&first, atoms);
        } else {
            self.axes.insert(axis, (role, atoms.to_vec()));
        }
    }

    fn couple(&mut self, a: &[usize], b: &[usize]) {
        for (a, b) in a.iter().zip(b) {
            self.sets.union(*a, *b);
        }
    }

    fn freeze(&mut self, atoms: &[usize], reason: &str) {
        self.frozen.push((atoms.to_vec(), reason.to_owned()));
    }
}
