//! Graph to ONNX, operator set 13, or the first later one that has all operators.

mod recurrent;

use std::collections::{BTreeMap, HashSet};

use espalier_ir::{Graph, NodeId, Op, ParamId, Pool, Tensor, Unary};
use prost::Message;

use crate::import::Names;
use crate::proto::tensor_proto::DataType;
use crate::proto::{AttributeProto, GraphProto, ModelProto, OperatorSetIdProto};
use crate::write;

/// Operator set of exported models at least: the first whose QuantizeLinear has an axis.
const OPSET: i64 = 13;
/// IR version that belongs to it, and that of later sets.
const IR_VERSIONS: [i64; 2] = [7, 8];

/// A parameter to be written as integers and a DequantizeLinear along its first axis.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedParam {
    /// The integers, of the shape of the parameter: int8 for weights, int32 for biases.
    pub values: Tensor,
    /// One scale, or one per entry of the first axis.
    pub scale: Vec<f32>,
}

/// How a graph is written.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Parameters to be written as integers; all others are written as floats.
    pub quantized: BTreeMap<ParamId, QuantizedParam>,
}

/// Writes a graph as an ONNX model with a dynamic batch axis.
pub fn export(graph: &Graph) -> Vec<u8> {
    export_with(graph, &ExportOptions::default())
}

/// Writes a graph as an ONNX model, some of its parameters as integers.
///
/// # Panics
/// If a quantized parameter differs in shape from the one it stands for: a bug of the caller.
pub fn export_with(graph: &Graph, options: &ExportOptions) -> Vec<u8> {
    let mut writer = Writer {
        graph,
        options,
        out: GraphProto { name: Some(graph.name.clone()), ..Default::default() },
        names: Names::default(),
        node_names: BTreeMap::new(),
        param_names: BTreeMap::new(),
        reshaped: BTreeMap::new(),
        quantized: HashSet::new(),
        opset: OPSET,
    };
    for id in graph.nodes() {
        let name = writer.names.take(&graph.node(id).name);
        writer.node_names.insert(id, name);
    }
    for id in graph.nodes() {
        writer.node(id);
    }
    writer.outputs();
    ModelProto {
        ir_version: Some(IR_VERSIONS[usize::from(writer.opset > OPSET)]),
        producer_name: Some("espalier".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(writer.opset) }],
        graph: Some(writer.out),
        ..Default::default()
    }
    .encode_to_vec()
}

/// State of an export.
pub(crate) struct Writer<'a> {
    pub(crate) graph: &'a Graph,
    options: &'a ExportOptions,
    pub(crate) out: GraphProto,
    pub(crate) names: Names,
    node_names: BTreeMap<NodeId, String>,
    param_names: BTreeMap<ParamId, String>,
    /// Parameters written with more axes than they have, by parameter and number of axes.
    pub(crate) reshaped: BTreeMap<(ParamId, usize), String>,
    /// Nodes whose values are int8.
    quantized: HashSet<NodeId>,
    opset: i64,
}

impl Writer<'_> {
    fn node(&mut self, id: NodeId) {
        let graph = self.graph;
        let node = graph.node(id);
        let operands = graph.operands(id);
        let name = self.node_names[&id].clone();
        let keeps_type = matches!(node.op, Op::MaxPool(_) | Op::Flatten | Op::Reshape { .. } | Op::Concat { .. });
        if matches!(node.op, Op::QuantizeLinear { .. })
            || (keeps_type && operands.iter().any(|o| self.quantized.contains(o)))
        {
            self.quantized.insert(id);
        }
        if let Op::Input { shape } = &node.op {
            let element = self.element(id);
            // In the order of the graph's inputs, whatever the order of the nodes.
            let position = graph.inputs().iter().position(|i| *i == id).unwrap_or(usize::MAX);
            let at = self.out.input.len().min(position);
            self.out.input.insert(at, write::value_info(&name, shape, element));
            return;
        }
        let mut inputs: Vec<String> = operands.iter().map(|o| self.node_names[o].clone()).collect();
        if let Op::Select { channels } = &node.op {
            self.select(&name, &inputs[0], channels, &graph.node(operands[0]).shape);
            return;
        }
        if let Some(pair) = recurrent::halves(graph, id, self.options) {
            let source = graph.operands(operands[0])[0];
            let input = self.node_names[&source].clone();
            return self.bidirectional(&name, source, &input, &pair);
        }
        match &node.op {
            Op::Recurrent(_)
                if graph.consumers(id).iter().any(|c| recurrent::halves(graph, *c, self.options).is_some()) =>
            {
                // Written with its other half.
                return;
            }
            Op::Recurrent(recurrent) => return self.recurrent(&name, operands[0], &inputs[0], recurrent),
            Op::TimeStep { step } => return self.time_step(&name, operands[0], &inputs[0], *step),
            Op::Softmax { axis } => return self.softmax(&name, &inputs[0], &node.shape, *axis),
            Op::MatMul { transpose } => return self.matrix_product(&name, &inputs, node.shape.len(), *transpose),
            Op::Normalize(normalize) => return self.normalize(&name, &inputs[0], &node.shape, normalize),
            _ => {}
        }
        for param in node.op.params() {
            inputs.push(match node.op {
                Op::PRelu { slope } => self.slope(slope, node.shape.len()),
                _ => self.param(param),
            });
        }
        let attributes = self.attributes(id, &name, &mut inputs);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let op = if let Op::Offset { .. } = node.op { "Add" } else { node.op.name() };
        self.out.node.push(write::node(op, &name, &inputs, attributes));
    }

    /// Attributes of a node; operators that take constants as inputs get them appended.
    fn attributes(&mut self, id: NodeId, name: &str, inputs: &mut Vec<String>) -> Vec<AttributeProto> {
        let graph = self.graph;
        match &graph.node(id).op {
            Op::Conv(conv) => vec![
                write::ints("kernel_shape", &graph.param(conv.weight).shape()[2..]),
                write::ints("strides", &conv.stride),
                write::pads(conv.pads),
                write::ints("dilations", &conv.dilation),
                write::int("group", conv.groups as i64),
            ],
            Op::Gemm { .. } => vec![write::int("transB", 1)],
            Op::Concat { axis } => vec![write::int("axis", *axis as i64 + 1)],
            Op::Flatten => vec![write::int("axis", 1)],
            Op::BatchNorm { epsilon, .. } => vec![write::float("epsilon", *epsilon)],
            Op::Clip { min, max } => {
                let bounds = [("min", *min), ("max", *max)].map(|(which, bound)| {
                    if bound.is_finite() { self.scalar(&format!("{name}.{which}"), bound) } else { String::new() }
                });
                inputs.extend(bounds);
                while inputs.last().is_some_and(String::is_empty) {
                    inputs.pop();
                }
                Vec::new()
            }
            Op::MaxPool(pool) => pool_attributes(pool),
            Op::AveragePool { pool, count_include_pad } => {
                let mut attributes = pool_attributes(pool);
                attributes.push(write::int("count_include_pad", i64::from(*count_include_pad)));
                attributes
            }
            Op::Reshape { shape } => {
                inputs.push(self.batch_shape(name, shape));
                Vec::new()
            }
            Op::QuantizeLinear { scale, zero_point } | Op::DequantizeLinear { scale, zero_point } => {
                // One value is a scalar; only a list goes along an axis.
                let axes = if scale.len() == 1 { vec![] } else { vec![scale.len()] };
                let scale = Tensor::f32(axes.clone(), scale.clone());
                inputs.push(self.initializer(&format!("{name}.scale"), &scale));
                let zero_point = Tensor::i8(axes.clone(), zero_point.clone());
                inputs.push(self.initializer(&format!("{name}.zero_point"), &zero_point));
                if axes.is_empty() { Vec::new() } else { vec![write::int("axis", 1)] }
            }
            Op::ConvTranspose(conv) => vec![
                write::ints("kernel_shape", &graph.param(conv.weight).shape()[2..]),
                write::ints("strides", &conv.stride),
                write::pads(conv.pads),
                write::ints("output_padding", &conv.output_pads),
                write::ints("dilations", &conv.dilation),
                write::int("group", conv.groups as i64),
            ],
            Op::Resize { factor } => {
                let scales = vec![1.0, 1.0, factor[0] as f32, factor[1] as f32];
                inputs.extend([String::new(), self.initializer(&format!("{name}.scales"), &Tensor::f32([4], scales))]);
                vec![
                    write::text("mode", "nearest"),
                    write::text("coordinate_transformation_mode", "asymmetric"),
                    write::text("nearest_mode", "floor"),
                ]
            }
            Op::Unary(unary) => match *unary {
                Unary::LeakyRelu { alpha } | Unary::Elu { alpha } => vec![write::float("alpha", alpha)],
                Unary::HardSigmoid { alpha, beta } => vec![write::float("alpha", alpha), write::float("beta", beta)],
                Unary::Sigmoid | Unary::Tanh | Unary::Softplus => Vec::new(),
            },
            Op::Transpose { axes } => {
                let axes: Vec<usize> = std::iter::once(0).chain(axes.iter().map(|a| a + 1)).collect();
                vec![write::ints("perm", &axes)]
            }
            Op::Input { .. } | Op::Add | Op::Mul | Op::Offset { .. } | Op::Select { .. } => Vec::new(),
            Op::MatMul { .. } | Op::Normalize(_) | Op::Softmax { .. } => Vec::new(),
            Op::Recurrent(_) | Op::TimeStep { .. } => Vec::new(),
            Op::PRelu { .. } | Op::Relu | Op::GlobalAveragePool => Vec::new(),
        }
    }

    /// An initializer with the shape of a sample behind "keep the batch".
    pub(crate) fn batch_shape(&mut self, name: &str, shape: &[usize]) -> String {
        let values: Vec<i64> = std::iter::once(0).chain(shape.iter().map(|d| *d as i64)).collect();
        let name = self.names.take(&format!("{name}.shape"));
        self.out.initializer.push(write::int64_tensor(&name, &values));
        name
    }

    fn scalar(&mut self, name: &str, value: f32) -> String {
        self.initializer(name, &Tensor::f32(vec![], vec![value]))
    }

    pub(crate) fn initializer(&mut self, name: &str, tensor: &Tensor) -> String {
        let name = self.names.take(name);
        self.out.initializer.push(write::tensor(&name, tensor));
        name
    }

    /// Name of the value of a parameter; written when it is first read.
    pub(crate) fn param(&mut self, param: ParamId) -> String {
        if let Some(name) = self.param_names.get(&param) {
            return name.clone();
        }
        let wanted = self.graph.param_name(param);
        let tensor = self.graph.param(param);
        let name = match self.options.quantized.get(&param) {
            None => self.initializer(wanted, tensor),
            Some(quantized) => {
                assert_eq!(quantized.values.shape(), tensor.shape(), "parameter '{wanted}' changes its shape");
                self.dequantized(wanted, quantized)
            }
        };
        self.param_names.insert(param, name.clone());
        name
    }

    fn dequantized(&mut self, wanted: &str, quantized: &QuantizedParam) -> String {
        let name = self.names.take(wanted);
        let axes = if quantized.scale.len() == 1 { vec![] } else { vec![quantized.scale.len()] };
        let integers = self.initializer(&format!("{name}.integers"), &quantized.values);
        let scale = self.initializer(&format!("{name}.scale"), &Tensor::f32(axes.clone(), quantized.scale.clone()));
        let attributes = if axes.is_empty() { Vec::new() } else { vec![write::int("axis", 0)] };
        // Without a zero point it is 0, which is all that ONNX allows for int32.
        self.out.node.push(write::node("DequantizeLinear", &name, &[&integers, &scale], attributes));
        name
    }

    /// The model needs at least this operator set.
    pub(crate) fn least_opset(&mut self, opset: i64) {
        self.opset = self.opset.max(opset);
    }

    fn element(&self, id: NodeId) -> DataType {
        if self.quantized.contains(&id) { DataType::Int8 } else { DataType::Float }
    }

    fn outputs(&mut self) {
        let mut written = HashSet::new();
        for id in self.graph.outputs() {
            let node = self.graph.node(*id);
            let mut name = self.node_names[id].clone();
            // An output is the result of a node, and of one output only.
            if matches!(node.op, Op::Input { .. }) || !written.insert(*id) {
                let copy = self.names.take(&format!("{name}.output"));
                self.out.node.push(write::node("Identity", &copy, &[&name], Vec::new()));
                name = copy;
            }
            self.out.output.push(write::value_info(&name, &node.shape, self.element(*id)));
        }
    }
}

fn pool_attributes(pool: &Pool) -> Vec<AttributeProto> {
    vec![write::ints("kernel_shape", &pool.kernel), write::ints("strides", &pool.stride), write::pads(pool.pads)]
}
