//! Recurrent layers as plain operators, one copy for every time step: what the accelerator executes.
//!
//! The copies of a step share their parameters and are *peers* ([`Graph::peer`]): quantized alike, so that they also share
//! their integers. Functions that occur several times in a step are *alike* ([`Graph::alike`]): one table serves them. An
//! LSTM step is, with one matrix product a gate over the joined features and hidden state,
//!
//! ```text
//! i, o, f = sigmoid(W x + R h + b)    g = tanh(W x + R h + b)    c = f * c + i * g    h = o * tanh(c)
//! ```
//!
//! and a GRU step, where `1 - z` is a batch normalization of `z`,
//!
//! ```text
//! z, r = sigmoid(W x + R h + b)    n = tanh(W x + b + r * (R h + b)) or tanh(W x + R (r * h) + b)    h = z * h + (1 - z) * n
//! ```
//!
//! The first step leaves out what a state of zero makes zero. Layers that read the steps of another one, forwards, backwards
//! or both, read its states directly; for every other reader the states are joined side by side.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{Cell, Diagnostic, Graph, Node, NodeId, Op, ParamId, Recurrent, Tensor, Unary};

/// Steps of all recurrent layers together that are unrolled at most: no program has room for more.
const MAX_STEPS: usize = 4096;

/// The graph with every LSTM and GRU unrolled in time; the same graph if there is none.
///
/// # Errors
/// More steps than a program can hold.
pub fn unrolled(graph: &Graph) -> Result<Cow<'_, Graph>, Diagnostic> {
    if !graph.nodes().into_iter().any(|n| matches!(graph.node(n).op, Op::Recurrent(_))) {
        return Ok(Cow::Borrowed(graph));
    }
    let steps = |node: NodeId| match &graph.node(node).op {
        Op::Recurrent(_) => graph.node(node).shape[1..].iter().product(),
        _ => 0usize,
    };
    let total: usize = graph.nodes().into_iter().map(steps).fold(0, usize::saturating_add);
    if total > MAX_STEPS {
        let message = format!("its recurrent layers take {total} steps, a program holds at most {MAX_STEPS}");
        return Err(Diagnostic::error("sequence-too-long", format!("model '{}'", graph.name), message)
            .with_help("give shorter sequences: fewer frames, or windows of the signal"));
    }
    let mut unroller = Unroller { from: graph, to: graph.without_nodes(), values: BTreeMap::new() };
    for node in graph.nodes() {
        let value = unroller.node(node)?;
        unroller.values.insert(node, value);
    }
    for output in graph.outputs() {
        let node = unroller.whole(*output)?;
        unroller.to.add_output(node);
    }
    unroller.to.remove_unused_params();
    Ok(Cow::Owned(unroller.to))
}

/// What a node of the recurrent graph has become.
#[derive(Clone)]
enum Value {
    Node(NodeId),
    /// A sequence: for every step the vectors whose channels follow one another.
    Steps(Vec<Vec<NodeId>>),
}

struct Unroller<'a> {
    from: &'a Graph,
    to: Graph,
    values: BTreeMap<NodeId, Value>,
}

impl Unroller<'_> {
    fn node(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let node = self.from.node(id);
        let operands = self.from.operands(id);
        match &node.op {
            Op::Input { shape } => {
                let input = self.to.add_input(&node.name, shape)?;
                self.to.set_origin(input, id, false);
                Ok(Value::Node(input))
            }
            Op::Recurrent(recurrent) => {
                let steps = self.steps(operands[0])?;
                self.recurrent(id, &node.name, recurrent, &steps)
            }
            Op::TimeStep { step } => match &self.values[&operands[0]] {
                Value::Steps(steps) => {
                    let parts = steps[*step].clone();
                    let step = self.joined(&node.name, &parts)?;
                    if parts.len() > 1 {
                        self.to.set_origin(step, id, false);
                    }
                    Ok(Value::Node(step))
                }
                Value::Node(_) => self.copied(id),
            },
            Op::Concat { axis: 0 } if self.is_sequence(&operands) => {
                let parts: Vec<_> = operands.iter().map(|o| self.steps(*o)).collect::<Result<_, _>>()?;
                let step = |t: usize| parts.iter().flat_map(|steps| steps[t].clone()).collect();
                Ok(Value::Steps((0..parts[0].len()).map(step).collect()))
            }
            _ => self.copied(id),
        }
    }

    /// Whether one of the values is a sequence of states, and all of them are lines.
    fn is_sequence(&self, operands: &[NodeId]) -> bool {
        let line = |o: &NodeId| matches!(self.from.node(*o).shape[..], [_, 1, _]);
        operands.iter().all(line) && operands.iter().any(|o| matches!(self.values[o], Value::Steps(_)))
    }

    /// The node itself, reading what its operands have become.
    fn copied(&mut self, id: NodeId) -> Result<Value, Diagnostic> {
        let node = self.from.node(id);
        let operands: Vec<NodeId> = self.from.operands(id).iter().map(|o| self.whole(*o)).collect::<Result<_, _>>()?;
        let copy = self.to.add(&node.name, node.op.clone(), &operands)?;
        self.to.set_origin(copy, id, false);
        Ok(Value::Node(copy))
    }

    /// The steps of a value.
    fn steps(&mut self, id: NodeId) -> Result<Vec<Vec<NodeId>>, Diagnostic> {
        let whole = match &self.values[&id] {
            Value::Steps(steps) => return Ok(steps.clone()),
            Value::Node(node) => *node,
        };
        let Node { name, shape, .. } = self.from.node(id);
        let time = shape[1..].iter().product();
        let step = |t: usize| {
            let step = self.to.add(format!("{name}_t{t}"), Op::TimeStep { step: t }, &[whole])?;
            Ok(vec![step])
        };
        (0..time).map(step).collect()
    }

    /// A value as one tensor: the states of all steps side by side.
    fn whole(&mut self, id: NodeId) -> Result<NodeId, Diagnostic> {
        let steps = match self.values[&id].clone() {
            Value::Node(node) => return Ok(node),
            Value::Steps(steps) => steps,
        };
        let name = self.from.node(id).name.clone();
        let mut sequences = Vec::new();
        for part in 0..steps[0].len() {
            let mut columns = Vec::new();
            for step in &steps {
                let channels = self.to.node(step[part]).shape[0];
                let column = format!("{}_column", self.to.node(step[part]).name);
                columns.push(self.to.add(column, Op::Reshape { shape: vec![channels, 1, 1] }, &[step[part]])?);
            }
            sequences.push(if let [only] = columns[..] {
                only
            } else {
                self.to.add(format!("{name}_sequence"), Op::Concat { axis: 2 }, &columns)?
            });
            let (origin, sequence) = (self.to.origin(steps[0][part]), sequences[sequences.len() - 1]);
            self.to.set_origin(sequence, origin, false);
        }
        let whole = self.joined(&name, &sequences)?;
        self.to.set_origin(whole, id, false);
        self.values.insert(id, Value::Node(whole));
        Ok(whole)
    }

    /// Values one after another.
    fn joined(&mut self, name: &str, parts: &[NodeId]) -> Result<NodeId, Diagnostic> {
        match parts {
            [only] => Ok(*only),
            _ => self.to.add(name, Op::Concat { axis: 0 }, parts),
        }
    }

    fn recurrent(
        &mut self,
        origin: NodeId,
        name: &str,
        recurrent: &Recurrent,
        x: &[Vec<NodeId>],
    ) -> Result<Value, Diagnostic> {
        let gates = Gates::new(self, name, recurrent);
        let mut order: Vec<usize> = (0..x.len()).collect();
        if recurrent.reverse {
            order.reverse();
        }
        let mut states = vec![Vec::new(); x.len()];
        let mut copies = Copies { graph: &mut self.to, origin, name, t: 0, first: BTreeMap::new() };
        let (mut h, mut c) = (None, None);
        for t in order {
            copies.t = t;
            let state = match recurrent.cell {
                Cell::Lstm => {
                    let (state, cell) = lstm_step(&mut copies, &gates, &x[t], h, c)?;
                    c = Some(cell);
                    state
                }
                Cell::Gru { linear_before_reset } => gru_step(&mut copies, &gates, &x[t], h, linear_before_reset)?,
            };
            h = Some(state);
            states[t] = vec![state];
        }
        Ok(Value::Steps(states))
    }
}

/// The parameters of all gates.
struct Gates {
    /// `[R W]`, `[hidden, hidden + features]`, with the sum of both biases.
    both: Vec<[ParamId; 2]>,
    /// `W` with the sum of both biases: all that acts where the state is zero.
    first: Vec<[ParamId; 2]>,
    /// `W` and `R` with their own biases, for what a reset gate stands between.
    apart: Vec<[[ParamId; 2]; 2]>,
    /// `-1` and `1`, `[hidden]`; then mean and variance of the normalization that computes `1 - z`.
    complement: [ParamId; 4],
    /// Bias of `R` in the last gate, as the factor of a normalization, if there is one.
    reset_bias: Option<[ParamId; 4]>,
}

impl Gates {
    fn new(unroller: &mut Unroller, name: &str, recurrent: &Recurrent) -> Self {
        let from = unroller.from;
        let (weight, recurrence) = (from.param(recurrent.weight), from.param(recurrent.recurrence));
        let (features, hidden) = (weight.shape()[1], recurrence.shape()[1]);
        let gates = recurrent.cell.gates();
        let bias = |which: usize| match recurrent.bias {
            Some(bias) => from.param(bias[which]).as_f32().to_vec(),
            None => vec![0.0; gates * hidden],
        };
        let [wb, rb] = [0, 1].map(bias);
        let rows = |gate: usize| gate * hidden..(gate + 1) * hidden;
        let mut add = |what: &str, gate: usize, shape: Vec<usize>, values: Vec<f32>| {
            unroller.to.add_param(format!("{name}.{what}{gate}"), Tensor::f32(shape, values))
        };
        let (mut both, mut first, mut apart) = (Vec::new(), Vec::new(), Vec::new());
        for gate in 0..gates {
            let w = weight.as_f32()[gate * hidden * features..(gate + 1) * hidden * features].to_vec();
            let r = recurrence.as_f32()[gate * hidden * hidden..(gate + 1) * hidden * hidden].to_vec();
            let joined = r.chunks(hidden).zip(w.chunks(features)).flat_map(|(r, w)| [r, w].concat()).collect();
            let sum = wb[rows(gate)].iter().zip(&rb[rows(gate)]).map(|(w, r)| w + r).collect();
            let sum = add("bias", gate, vec![hidden], sum);
            let w = add("weight", gate, vec![hidden, features], w);
            both.push([add("weights", gate, vec![hidden, hidden + features], joined), sum]);
            first.push([w, sum]);
            let [wb, rb] = [("input_bias", &wb), ("state_bias", &rb)]
                .map(|(what, bias)| add(what, gate, vec![hidden], bias[rows(gate)].to_vec()));
            apart.push([[w, wb], [add("recurrence", gate, vec![hidden, hidden], r), rb]]);
        }
        let constant = |value: f32| vec![value; hidden];
        let mut normalization = |what: &str, gamma: Vec<f32>, beta: f32| {
            [("gamma", gamma), ("beta", constant(beta)), ("mean", constant(0.0)), ("variance", constant(1.0))]
                .map(|(part, values)| add(&format!("{what}_{part}"), 0, vec![hidden], values))
        };
        let complement = normalization("complement", constant(-1.0), 1.0);
        let last = rb[rows(gates - 1)].to_vec();
        // Whatever its values: a smaller network has the same nodes.
        let reset_bias = recurrent.bias.is_some().then(|| normalization("reset", last, 0.0));
        Gates { both, first, apart, complement, reset_bias }
    }
}

/// Adds the nodes of one step after another, peers of those of the first.
struct Copies<'a> {
    graph: &'a mut Graph,
    /// The recurrent layer.
    origin: NodeId,
    name: &'a str,
    t: usize,
    /// The node of each role in the first step that has it.
    first: BTreeMap<&'static str, NodeId>,
}

impl Copies<'_> {
    fn add(&mut self, role: &'static str, op: Op, operands: &[NodeId]) -> Result<NodeId, Diagnostic> {
        let node = self.graph.add(format!("{}_t{}_{role}", self.name, self.t), op, operands)?;
        self.graph.set_origin(node, self.origin, true);
        let first = *self.first.entry(role).or_insert(node);
        if first != node {
            self.graph.set_peer(node, first);
        }
        Ok(node)
    }

    /// A function that another role computes as well, earlier in the step.
    fn function(
        &mut self,
        role: &'static str,
        function: Unary,
        x: NodeId,
        earlier: &'static str,
    ) -> Result<NodeId, Diagnostic> {
        let node = self.add(role, Op::Unary(function), &[x])?;
        if let Some(first) = self.first.get(earlier).filter(|first| **first != node) {
            self.graph.set_alike(node, *first);
        }
        Ok(node)
    }

    /// A fully connected layer over vectors one after another.
    fn product(
        &mut self,
        role: &'static str,
        operands: &[NodeId],
        [weight, bias]: [ParamId; 2],
    ) -> Result<NodeId, Diagnostic> {
        let from = match operands {
            [only] => *only,
            _ => {
                let name = format!("{}_t{}_{role}_operands", self.name, self.t);
                self.graph.add(name, Op::Concat { axis: 0 }, operands)?
            }
        };
        self.add(role, Op::Gemm { weight, bias: Some(bias) }, &[from])
    }

    fn normalized(&mut self, role: &'static str, x: NodeId, params: [ParamId; 4]) -> Result<NodeId, Diagnostic> {
        let [gamma, beta, mean, variance] = params;
        self.add(role, Op::BatchNorm { gamma, beta, mean, variance, epsilon: 0.0 }, &[x])
    }
}

/// The state and the cell state of a step.
fn lstm_step(
    copies: &mut Copies,
    gates: &Gates,
    x: &[NodeId],
    h: Option<NodeId>,
    c: Option<NodeId>,
) -> Result<(NodeId, NodeId), Diagnostic> {
    // The first one of them is read last.
    let operands: Vec<NodeId> = h.into_iter().chain(x.iter().copied()).collect();
    let weights = if h.is_some() { &gates.both } else { &gates.first };
    const SUMS: [&str; 4] = ["i_sum", "o_sum", "f_sum", "g_sum"];
    let mut gate = |role, gate: usize, function, earlier| {
        let sum = copies.product(SUMS[gate], &operands, weights[gate])?;
        copies.function(role, function, sum, earlier)
    };
    let i = gate("i", 0, Unary::Sigmoid, "i")?;
    let o = gate("o", 1, Unary::Sigmoid, "i")?;
    // A state of zero is forgotten anyway.
    let f = c.map(|c| gate("f", 2, Unary::Sigmoid, "i").map(|f| (f, c))).transpose()?;
    let g = gate("g", 3, Unary::Tanh, "g")?;
    let cell = match f {
        None => copies.add("c", Op::Mul, &[g, i])?,
        Some((f, c)) => {
            let kept = copies.add("kept", Op::Mul, &[c, f])?;
            let new = copies.add("new", Op::Mul, &[g, i])?;
            copies.add("c", Op::Add, &[kept, new])?
        }
    };
    let squashed = copies.function("tanh", Unary::Tanh, cell, "g")?;
    Ok((copies.add("h", Op::Mul, &[squashed, o])?, cell))
}

/// The state of a step.
fn gru_step(
    copies: &mut Copies,
    gates: &Gates,
    x: &[NodeId],
    h: Option<NodeId>,
    linear_before_reset: bool,
) -> Result<NodeId, Diagnostic> {
    let operands: Vec<NodeId> = h.into_iter().chain(x.iter().copied()).collect();
    let weights = if h.is_some() { &gates.both } else { &gates.first };
    let z = copies.product("z_sum", &operands, weights[0])?;
    let z = copies.add("z", Op::Unary(Unary::Sigmoid), &[z])?;
    let reset = |copies: &mut Copies| {
        let r = copies.product("r_sum", &operands, weights[1])?;
        copies.function("r", Unary::Sigmoid, r, "z")
    };
    let sum = match (h, linear_before_reset) {
        (Some(h), true) => {
            let r = reset(copies)?;
            let [own, state] = gates.apart[2];
            let state = copies.product("state", &[h], state)?;
            let kept = copies.add("reset", Op::Mul, &[state, r])?;
            let own = copies.product("own", x, own)?;
            copies.add("n_sum", Op::Add, &[own, kept])?
        }
        (Some(h), false) => {
            let r = reset(copies)?;
            let kept = copies.add("reset", Op::Mul, &[h, r])?;
            let operands: Vec<NodeId> = [kept].into_iter().chain(x.iter().copied()).collect();
            copies.product("n_sum", &operands, gates.both[2])?
        }
        // The bias of R, too, passes the reset gate.
        (None, true) if gates.reset_bias.is_some() => {
            let r = reset(copies)?;
            let kept = copies.normalized("reset", r, gates.reset_bias.expect("the guard says so"))?;
            let own = copies.product("own", x, gates.apart[2][0])?;
            copies.add("n_sum", Op::Add, &[own, kept])?
        }
        (None, _) => copies.product("n_sum", x, gates.first[2])?,
    };
    let n = copies.add("n", Op::Unary(Unary::Tanh), &[sum])?;
    let complement = copies.normalized("complement", z, gates.complement)?;
    match h {
        None => copies.add("h", Op::Mul, &[n, complement]),
        Some(h) => {
            let kept = copies.add("kept", Op::Mul, &[h, z])?;
            let new = copies.add("new", Op::Mul, &[n, complement])?;
            copies.add("h", Op::Add, &[kept, new])
        }
    }
}
