//! The graph: nodes in a petgraph that is never exposed, parameters beside them.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Op, Tensor, infer_shape};

/// Names a node of one [`Graph`]; stable under removal of other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(u32);

/// Names a parameter of one [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParamId(u32);

/// One operator and the shape of its only output.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name as in the model, unique in the graph.
    pub name: String,
    /// Operator.
    pub op: Op,
    /// Shape of one sample of the output: `[channels, height, width]` or `[features]`.
    pub shape: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
struct Param {
    name: String,
    tensor: Tensor,
}

/// A network with known shapes.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    // Edge weight: position of the value among the operands of the target.
    nodes: StableDiGraph<Node, usize>,
    params: BTreeMap<ParamId, Param>,
    next_param: u32,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    /// Nodes of later time steps with those of the first that do the same.
    peers: BTreeMap<NodeId, NodeId>,
    /// Nodes with earlier ones that compute the same function of other values.
    alike: BTreeMap<NodeId, NodeId>,
    /// Of an unrolled graph: the node of the recurrent one that each has come from.
    origins: BTreeMap<NodeId, NodeId>,
    /// Nodes of time steps, which have no counterpart there.
    steps: BTreeSet<NodeId>,
}

fn index(id: NodeId) -> NodeIndex {
    NodeIndex::new(id.0 as usize)
}

fn id(index: NodeIndex) -> NodeId {
    NodeId(u32::try_from(index.index()).expect("petgraph indices are 32 bits wide"))
}

impl Graph {
    /// A graph without nodes.
    pub fn new(name: impl Into<String>) -> Self {
        Graph {
            name: name.into(),
            nodes: StableDiGraph::new(),
            params: BTreeMap::new(),
            next_param: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            peers: BTreeMap::new(),
            alike: BTreeMap::new(),
            origins: BTreeMap::new(),
            steps: BTreeSet::new(),
        }
    }

    /// The parameters alone.
    pub(crate) fn without_nodes(&self) -> Self {
        Graph { params: self.params.clone(), next_param: self.next_param, ..Graph::new(&self.name) }
    }

    /// Declares that `node` does at its time step what `first` does at the first: both are quantized alike.
    pub fn set_peer(&mut self, node: NodeId, first: NodeId) {
        self.peers.insert(node, first);
    }

    /// Declares that `node` computes the same function as `first`, so that one table shall serve both.
    pub fn set_alike(&mut self, node: NodeId, first: NodeId) {
        self.alike.insert(node, first);
    }

    /// The node with which this one shares scales and zero points: its peer, or one of the same function.
    pub fn alike(&self, node: NodeId) -> Option<NodeId> {
        self.peer(node).or_else(|| self.alike.get(&node).copied())
    }

    /// Records what an unrolled node has come from, and whether it is part of a time step.
    pub(crate) fn set_origin(&mut self, node: NodeId, origin: NodeId, step: bool) {
        self.origins.insert(node, origin);
        if step {
            self.steps.insert(node);
        }
    }

    /// The node of the recurrent graph that one of an unrolled graph has come from, whose value has as many channels; of
    /// other graphs the node itself.
    pub fn origin(&self, node: NodeId) -> NodeId {
        self.origins.get(&node).copied().unwrap_or(node)
    }

    /// Whether a node is part of a time step of a recurrent layer, so that its parameters are parts of the layer's.
    pub fn is_step(&self, node: NodeId) -> bool {
        self.steps.contains(&node)
    }

    /// The node that does at the first time step what this one does at a later one.
    pub fn peer(&self, node: NodeId) -> Option<NodeId> {
        self.peers.get(&node).copied()
    }

    /// Adds an input whose samples have `shape`.
    ///
    /// # Errors
    /// As [`Graph::add`].
    pub fn add_input(&mut self, name: impl Into<String>, shape: &[usize]) -> Result<NodeId, Diagnostic> {
        let id = self.add(name, Op::Input { shape: shape.to_vec() }, &[])?;
        self.inputs.push(id);
        Ok(id)
    }

    /// Adds a parameter.
    pub fn add_param(&mut self, name: impl Into<String>, tensor: Tensor) -> ParamId {
        let id = ParamId(self.next_param);
        self.next_param += 1;
        self.params.insert(id, Param { name: name.into(), tensor });
        id
    }

    /// Adds a node that reads `inputs` in that order. A name already taken gets a suffix.
    ///
    /// # Errors
    /// If the operator does not accept the shapes of its inputs and parameters.
    pub fn add(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> Result<NodeId, Diagnostic> {
        let name = self.unique_name(name.into());
        let shapes: Vec<&[usize]> = inputs.iter().map(|i| self.node(*i).shape.as_slice()).collect();
        let shape = infer_shape(&name, &op, &shapes, &|p| self.param(p).shape())?;
        let node = self.nodes.add_node(Node { name, op, shape });
        for (position, input) in inputs.iter().enumerate() {
            self.nodes.add_edge(index(*input), node, position);
        }
        Ok(id(node))
    }

    fn unique_name(&self, name: String) -> String {
        let taken = |candidate: &str| self.nodes.node_weights().any(|n| n.name == candidate);
        if !name.is_empty() && !taken(&name) {
            return name;
        }
        let stem = if name.is_empty() { "node".to_owned() } else { name };
        (1..).map(|i| format!("{stem}_{i}")).find(|c| !taken(c)).expect("names do not run out")
    }

    /// Declares the value of `node` an output of the graph.
    pub fn add_output(&mut self, node: NodeId) {
        self.outputs.push(node);
    }

    /// Input nodes in the order of the model.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// Output nodes in the order of the model.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// The node.
    pub fn node(&self, node: NodeId) -> &Node {
        &self.nodes[index(node)]
    }

    /// Changes the operator of a node in place; call [`Graph::refresh_shapes`] when done.
    pub fn set_op(&mut self, node: NodeId, op: Op) {
        self.nodes[index(node)].op = op;
    }

    /// Nodes whose values `node` reads, in operand order.
    pub fn operands(&self, node: NodeId) -> Vec<NodeId> {
        let mut edges: Vec<(usize, NodeId)> = self
            .nodes
            .edges_directed(index(node), Direction::Incoming)
            .map(|e| (*e.weight(), id(e.source())))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, n)| n).collect()
    }

    /// Nodes that read the value of `node`, by id; one that reads it twice appears twice.
    pub fn consumers(&self, node: NodeId) -> Vec<NodeId> {
        let mut consumers: Vec<NodeId> =
            self.nodes.neighbors_directed(index(node), Direction::Outgoing).map(id).collect();
        consumers.sort_unstable();
        consumers
    }

    /// All nodes, operands before the nodes that read them. Among the nodes that are ready, the
    /// one added first comes first, so the order is that of the model wherever possible.
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut missing: BTreeMap<NodeId, usize> = self
            .nodes
            .node_indices()
            .map(|n| (id(n), self.nodes.edges_directed(n, Direction::Incoming).count()))
            .collect();
        let mut ready: std::collections::BTreeSet<NodeId> =
            missing.iter().filter(|(_, m)| **m == 0).map(|(n, _)| *n).collect();
        let mut order = Vec::with_capacity(missing.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for consumer in self.consumers(node) {
                let left = missing.get_mut(&consumer).expect("every node is counted");
                *left -= 1;
                if *left == 0 {
                    ready.insert(consumer);
                }
            }
        }
        order
    }

    /// Removes a node with one operand; its readers read that operand instead.
    ///
    /// # Panics
    /// If the node does not have exactly one operand: a bug of the caller.
    pub fn bypass(&mut self, node: NodeId) {
        let operands = self.operands(node);
        assert_eq!(operands.len(), 1, "bypass needs exactly one operand");
        let edges: Vec<(NodeIndex, usize)> =
            self.nodes.edges_directed(index(node), Direction::Outgoing).map(|e| (e.target(), *e.weight())).collect();
        for (target, position) in edges {
            self.nodes.add_edge(index(operands[0]), target, position);
        }
        for output in &mut self.outputs {
            if *output == node {
                *output = operands[0];
            }
        }
        self.nodes.remove_node(index(node));
    }

    /// Removes parameters that no node reads.
    pub fn remove_unused_params(&mut self) {
        let used: std::collections::BTreeSet<ParamId> = self.nodes.node_weights().flat_map(|n| n.op.params()).collect();
        self.params.retain(|id, _| used.contains(id));
    }

    /// Parameters in the order in which they were added.
    pub fn params(&self) -> impl Iterator<Item = (ParamId, &str, &Tensor)> {
        self.params.iter().map(|(id, p)| (*id, p.name.as_str(), &p.tensor))
    }

    /// The values of a parameter.
    pub fn param(&self, param: ParamId) -> &Tensor {
        &self.params[&param].tensor
    }

    /// The name of a parameter.
    pub fn param_name(&self, param: ParamId) -> &str {
        &self.params[&param].name
    }

    /// Replaces the values of a parameter; call [`Graph::refresh_shapes`] if the shape changes.
    pub fn set_param(&mut self, param: ParamId, tensor: Tensor) {
        self.params.get_mut(&param).expect("the parameter is of this graph").tensor = tensor;
    }

    /// Infers all shapes anew, after operators or parameters changed.
    ///
    /// # Errors
    /// The first node whose operands do not fit.
    pub fn refresh_shapes(&mut self) -> Result<(), Diagnostic> {
        for node in self.nodes() {
            let operands = self.operands(node);
            let shapes: Vec<&[usize]> = operands.iter().map(|i| self.node(*i).shape.as_slice()).collect();
            let Node { name, op, .. } = self.node(node);
            let shape = infer_shape(name, op, &shapes, &|p| self.param(p).shape())?;
            self.nodes[index(node)].shape = shape;
        }
        Ok(())
    }

    /// Multiply-accumulate operations for one sample.
    pub fn macs(&self) -> u64 {
        self.nodes().into_iter().map(|n| self.node_macs(n)).sum()
    }

    /// Multiply-accumulate operations of one node for one sample.
    pub fn node_macs(&self, node: NodeId) -> u64 {
        let Node { op, shape, .. } = self.node(node);
        match op {
            Op::Conv(conv) => {
                let per_output: usize = self.param(conv.weight).shape()[1..].iter().product();
                per_output as u64 * shape.iter().product::<usize>() as u64
            }
            Op::ConvTranspose(conv) => {
                let operand = &self.node(self.operands(node)[0]).shape;
                let pixels: usize = operand[1..].iter().product();
                self.param(conv.weight).len() as u64 * pixels as u64
            }
            Op::Gemm { weight, .. } => self.param(*weight).len() as u64,
            Op::MatMul { transpose } => {
                let left = &self.node(self.operands(node)[0]).shape;
                let inner = left[left.len() - if transpose[0] { 2 } else { 1 }];
                inner as u64 * shape.iter().product::<usize>() as u64
            }
            Op::Recurrent(recurrent) => {
                let weights = [recurrent.weight, recurrent.recurrence].map(|p| self.param(p).len() as u64);
                weights.iter().sum::<u64>() * shape[2] as u64
            }
            _ => 0,
        }
    }

    /// Trained values: all parameters but running statistics.
    pub fn parameter_count(&self) -> usize {
        let statistics: std::collections::BTreeSet<ParamId> = self
            .nodes
            .node_weights()
            .filter_map(|n| match n.op {
                Op::BatchNorm { mean, variance, .. } => Some([mean, variance]),
                _ => None,
            })
            .flatten()
            .collect();
        self.params.iter().filter(|(id, _)| !statistics.contains(id)).map(|(_, p)| p.tensor.len()).sum()
    }
}
