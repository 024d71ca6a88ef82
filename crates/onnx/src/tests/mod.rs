//! Tests on models small enough to check by hand, built message by message.

mod attention;
mod channels;
mod folding;
mod normalize;
mod operators;
mod pixels;
mod quantized;
mod recurrent;
mod refusals;

use espalier_ir::{Diagnostics, Graph, Op, Tensor};
use prost::Message;

use crate::import::import;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use crate::write;

/// A model under construction.
struct Model {
    graph: GraphProto,
    opset: i64,
}

impl Model {
    /// A model with input "x" of this shape per sample and output "y".
    fn new(sample: &[usize]) -> Self {
        let graph = GraphProto {
            name: Some("test".to_owned()),
            input: vec![write::value_info("x", sample, DataType::Float)],
            output: vec![write::value_info("y", &[1], DataType::Float)],
            ..Default::default()
        };
        Model { graph, opset: 13 }
    }

    fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    fn output(mut self, name: &str) -> Self {
        self.graph.output.push(write::value_info(name, &[1], DataType::Float));
        self
    }

    fn node(self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.with(op, inputs, output, vec![])
    }

    fn with(mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> Self {
        self.graph.node.push(write::node(op, output, inputs, attributes));
        self
    }

    fn proto(mut self, node: NodeProto) -> Self {
        self.graph.node.push(node);
        self
    }

    /// Float weights 0.5, 1.0, 1.5, ..., all different.
    fn weight(self, name: &str, shape: &[usize]) -> Self {
        let values = (1..=shape.iter().product()).map(|i| i as f32 / 2.0).collect();
        self.tensor(write::tensor(name, &Tensor::f32(shape, values)))
    }

    fn floats(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.tensor(write::tensor(name, &Tensor::f32(shape, values.to_vec())))
    }

    fn ints(self, name: &str, values: &[i64]) -> Self {
        self.tensor(write::int64_tensor(name, values))
    }

    fn tensor(mut self, tensor: TensorProto) -> Self {
        self.graph.initializer.push(tensor);
        self
    }

    fn bytes(self) -> Vec<u8> {
        let opset = OperatorSetIdProto { domain: None, version: Some(self.opset) };
        ModelProto { graph: Some(self.graph), opset_import: vec![opset], ..Default::default() }.encode_to_vec()
    }

    fn import(self) -> Result<Graph, Diagnostics> {
        import(&self.bytes())
    }

    /// The imported graph; everything but the inputs as "name Op".
    fn graph(self) -> Graph {
        self.import().unwrap_or_else(|e| panic!("{e}"))
    }
}

/// Names and operators of all nodes but inputs.
fn nodes(graph: &Graph) -> Vec<String> {
    let nodes = graph.nodes().into_iter().map(|n| graph.node(n));
    nodes.filter(|n| !matches!(n.op, Op::Input { .. })).map(|n| format!("{} {}", n.name, n.op.name())).collect()
}

/// Operator of the node with this name.
fn op(graph: &Graph, name: &str) -> Op {
    let found = graph.nodes().into_iter().find(|n| graph.node(*n).name == name);
    graph.node(found.unwrap_or_else(|| panic!("no node '{name}' in {:?}", nodes(graph)))).op.clone()
}

/// 0, 1, 2, ... as a sample for the only input.
fn counting(graph: &Graph) -> Vec<f32> {
    let len: usize = graph.node(graph.inputs()[0]).shape.iter().product();
    (0..len).map(|i| i as f32).collect()
}

/// The output for [`counting`].
fn output(graph: &Graph) -> Vec<f32> {
    espalier_ir::evaluate_output(graph, &[&counting(graph)])
}

fn int(name: &str, value: i64) -> AttributeProto {
    write::int(name, value)
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let kind = Some(AttributeType::Ints as i32);
    AttributeProto { name: Some(name.to_owned()), r#type: kind, ints: values.to_vec(), ..Default::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    let kind = Some(AttributeType::String as i32);
    AttributeProto { name: Some(name.to_owned()), r#type: kind, s: Some(value.into()), ..Default::default() }
}
