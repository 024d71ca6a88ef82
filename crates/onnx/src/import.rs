//! ONNX to graph: inputs, then node after node, then outputs.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use espalier_ir::{Diagnostic, Diagnostics, Graph, Op, Pads, ParamId};

use crate::constant::{Constant, DataType};
use crate::decode::decode;
use crate::node::Node;
use crate::ops;
use crate::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto};
use crate::topology::{self, name_of};
use crate::value::{Element, Stop, Value, View};

/// Operator sets whose operators mean what this importer takes them to mean.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Elements that constant folding may produce whatever the size of the file.
const BASE_BUDGET: usize = 1 << 22;

/// Reads a model.
///
/// # Errors
/// Everything that keeps the model from being imported: a damaged file, unsupported operators,
/// shapes that do not fit.
pub fn import(bytes: &[u8]) -> Result<Graph, Diagnostics> {
    let model = decode(bytes)?;
    let opset = opset(&model)?;
    let Some(graph) = &model.graph else {
        return Err(Diagnostic::error("invalid-model", "model", "the file holds no graph")
            .with_help("this is no ONNX model; PyTorch, TensorFlow and Keras models have to be exported to ONNX first")
            .into());
    };
    let mut importer = Importer::new(graph, opset, bytes.len());
    for sparse in &graph.sparse_initializer {
        let name = sparse.values.as_ref().map_or("", |v| v.name());
        importer.findings.push(
            Diagnostic::error("sparse-tensor", format!("initializer '{name}'"), "is stored as a sparse tensor")
                .with_help("store weights as dense tensors; zeros are found and used all the same"),
        );
        importer.values.insert(name, Value::Failed);
    }
    let topology = topology::sort(graph, &mut importer.findings);
    importer.uses = topology.uses;
    importer.time_first = topology.nodes.iter().filter_map(|n| time_first(n)).collect();
    for input in &graph.input {
        importer.input(input);
    }
    for node in topology.nodes {
        importer.visit(node);
    }
    importer.outputs(&graph.output);
    importer.finish()
}

fn opset(model: &ModelProto) -> Result<i64, Diagnostic> {
    let standard = model.opset_import.iter().find(|o| matches!(o.domain(), "" | "ai.onnx"));
    // Models of the first IR versions name no operator set; that means version 1.
    let version = standard.map_or(1, |o| o.version());
    if model.graph.is_some() && !OPSETS.contains(&version) {
        return Err(Diagnostic::error("unsupported-opset", "model", format!("the model uses operator set {version}"))
            .with_help(format!(
                "operator sets {} to {} are known; convert the model with onnx.version_converter, best to 13",
                OPSETS.start(),
                OPSETS.end()
            )));
    }
    Ok(version)
}

/// State of an import.
pub struct Importer<'a> {
    /// The graph so far.
    pub graph: Graph,
    /// Names of graph nodes.
    pub names: Names,
    /// Values by name; initializers are added when they are first read.
    pub values: HashMap<&'a str, Value>,
    /// Parameters by the name of the value.
    pub params: HashMap<String, ParamId>,
    /// Elements that may still be produced.
    pub budget: usize,
    /// Values of the outputs behind the first of the node that is being imported.
    pub further: Vec<Value>,
    initializers: HashMap<&'a str, &'a TensorProto>,
    declared: HashMap<&'a str, &'a ValueInfoProto>,
    uses: HashMap<&'a str, usize>,
    /// Names of the outputs of the model.
    results: HashSet<&'a str>,
    /// Values that recurrent layers read as `[time, batch, features]`.
    time_first: HashSet<&'a str>,
    explained: HashSet<&'a str>,
    findings: Diagnostics,
    opset: i64,
}

impl<'a> Importer<'a> {
    fn new(graph: &'a GraphProto, opset: i64, file_size: usize) -> Self {
        let name = if graph.name().is_empty() { "model" } else { graph.name() };
        Importer {
            graph: Graph::new(name),
            names: Names::default(),
            values: HashMap::new(),
            params: HashMap::new(),
            budget: BASE_BUDGET.saturating_add(file_size.saturating_mul(2)),
            initializers: graph.initializer.iter().rev().map(|t| (t.name(), t)).collect(),
            declared: graph.value_info.iter().map(|v| (v.name(), v)).collect(),
            further: Vec::new(),
            uses: HashMap::new(),
            results: graph.output.iter().map(|o| o.name()).collect(),
            time_first: HashSet::new(),
            explained: HashSet::new(),
            findings: Diagnostics::new(),
            opset,
        }
    }

    /// The value with this name.
    pub fn lookup(&mut self, name: &str) -> Value {
        if let Some(value) = self.values.get(name) {
            return value.clone();
        }
        let Some((name, tensor)) = self.initializers.get_key_value(name) else { return Value::Failed };
        let value = match Constant::from_proto(tensor, &format!("initializer '{name}'")) {
            Ok(constant) => Value::Constant(constant),
            Err(finding) => {
                self.findings.push(finding);
                Value::Failed
            }
        };
        self.values.insert(name, value.clone());
        value
    }

    fn input(&mut self, input: &'a ValueInfoProto) {
        let name = input.name();
        if self.initializers.contains_key(name) || self.values.contains_key(name) || !self.uses.contains_key(name) {
            return;
        }
        let value = match self.add_input(input) {
            Ok(view) => Value::View(view),
            Err(finding) => {
                self.findings.push(finding);
                Value::Failed
            }
        };
        self.values.insert(name, value);
    }

    fn add_input(&mut self, input: &ValueInfoProto) -> Result<View, Diagnostic> {
        let shape = match time_first_shape(input).filter(|_| self.time_first.contains(input.name())) {
            Some(shape) => shape,
            None => input_shape(input)?,
        };
        let batch = usize::from(shape[0] > 1);
        let sample: Vec<usize> = (0..shape.len()).filter(|axis| *axis != batch).map(|axis| shape[axis]).collect();
        let name = self.names.take(input.name());
        let label: Rc<str> = name.as_str().into();
        let node = self.graph.add_input(name, &sample)?;
        Ok(View {
            node,
            shape,
            order: None,
            pads: Pads::default(),
            element: Element::Float,
            exclusive: self.uses.get(input.name()) == Some(&1),
            label,
        })
    }

    fn visit(&mut self, proto: &'a NodeProto) {
        let node = Node { proto, name: name_of(proto).to_owned(), opset: self.opset };
        self.further.clear();
        let value = match self.run(&node) {
            Ok(value) => value,
            Err(Stop::Quiet) => Value::Failed,
            Err(Stop::Finding(finding)) => {
                let declared = proto.output.first().and_then(|o| self.declared.get(o.as_str()));
                let shape = declared.and_then(|d| input_shape(d).ok());
                self.recover(finding, shape)
            }
        };
        let values = std::iter::once(value).chain(std::mem::take(&mut self.further));
        let failed = std::iter::repeat(Value::Failed);
        for (output, mut value) in proto.output.iter().zip(values.chain(failed)) {
            if let Value::View(view) = &mut value {
                view.exclusive &= self.uses.get(output.as_str()) == Some(&1);
            }
            self.values.entry(output).or_insert(value);
        }
    }

    /// Reports a finding. The value that it prevents is replaced by a new input of that shape, so
    /// that operators behind it are checked as well; the graph is not used any more.
    pub fn recover(&mut self, finding: Diagnostic, shape: Option<Vec<usize>>) -> Value {
        self.findings.push(finding);
        let Some((1, sample)) = shape.as_ref().and_then(|s| s.split_first()).map(|(batch, rest)| (*batch, rest)) else {
            return Value::Failed;
        };
        let name = self.names.take("lost");
        let Ok(node) = self.graph.add_input(name, sample) else { return Value::Failed };
        Value::View(View {
            node,
            shape: shape.unwrap_or_default(),
            order: None,
            pads: Pads::default(),
            element: Element::Float,
            exclusive: false,
            label: "lost".into(),
        })
    }

    fn run(&mut self, node: &Node<'a>) -> Result<Value, Stop> {
        let standard = matches!(node.proto.domain(), "" | "ai.onnx");
        let Some(operator) = ops::find(node.op()).filter(|_| standard) else {
            return Err(self.unknown(node).into());
        };
        let count = node.proto.input.len();
        if !operator.inputs.contains(&count) {
            let (least, most) = (operator.inputs.start(), operator.inputs.end());
            let message = format!("has {count} inputs; {least} to {most} are possible");
            return Err(node.error("wrong-arity", message).into());
        }
        // Of several outputs any may be left out.
        if node.proto.output.first().is_none_or(|o| o.is_empty() && !operator.many_outputs) {
            return Err(node.error("wrong-arity", "has no output").into());
        }
        let further = node.proto.output[1..].iter().filter(|_| !operator.many_outputs);
        if let Some(name) = further.into_iter().find(|o| self.uses.contains_key(o.as_str()) && !o.is_empty()) {
            return Err(node
                .unsupported(format!("further output '{name}' is used; only the first is supported"))
                .into());
        }
        (operator.run)(self, node)
    }

    /// True if the value with this name is an output of the model and nothing else reads it.
    pub fn only_returned(&self, name: &str) -> bool {
        self.results.contains(name) && self.uses.get(name) == Some(&1)
    }

    /// True if something reads the value with this name.
    pub fn is_used(&self, name: &str) -> bool {
        self.uses.contains_key(name)
    }

    fn unknown(&mut self, node: &Node<'a>) -> Diagnostic {
        let domain = match node.proto.domain() {
            "" | "ai.onnx" => String::new(),
            domain => format!("{domain}::"),
        };
        let finding = node.unsupported(format!("operator {domain}{} is not supported", node.op()));
        // Once for each operator is enough.
        if !self.explained.insert(node.op()) {
            return finding;
        }
        match ops::advice(node.op()) {
            Some(advice) => finding.with_help(advice),
            None => finding.with_help(format!("supported operators: {}", ops::names().join(", "))),
        }
    }

    fn outputs(&mut self, outputs: &'a [ValueInfoProto]) {
        for output in outputs {
            // Wrapped as a node so that findings name the place.
            let proto = NodeProto {
                op_type: Some("output".to_owned()),
                input: vec![output.name().to_owned()],
                ..Default::default()
            };
            let node = Node { proto: &proto, name: output.name().to_owned(), opset: self.opset };
            match self.output(&node) {
                Ok(()) | Err(Stop::Quiet) => {}
                Err(Stop::Finding(finding)) => self.findings.push(finding),
            }
        }
    }

    fn output(&mut self, node: &Node) -> Result<(), Stop> {
        let view = self.view(node, 0)?;
        if view.element == Element::Uint8 {
            return Err(node
                .unsupported("gives unsigned quantized values")
                .with_help("end the model with DequantizeLinear, or quantize to int8")
                .into());
        }
        let lined = self.is_line(&view);
        let shape: Vec<usize> = view.shape.iter().skip(1).copied().collect();
        let mut output = self.as_output(node, view)?;
        if lined {
            let name = self.names.take("output");
            output = self.graph.add(name, Op::Reshape { shape }, &[output])?;
        }
        self.graph.add_output(output);
        Ok(())
    }

    fn finish(self) -> Result<Graph, Diagnostics> {
        let mut graph = self.findings.into_result(self.graph)?;
        graph.remove_unused_params();
        graph.verify()?;
        Ok(graph)
    }
}

/// The value that a recurrent layer reads with time as its first axis.
fn time_first(node: &NodeProto) -> Option<&str> {
    let layout = node.attribute.iter().find(|a| a.name() == "layout").map_or(0, |a| a.i());
    let recurrent = matches!(node.op_type(), "LSTM" | "GRU") && layout == 0;
    node.input.first().filter(|_| recurrent).map(String::as_str)
}

/// Shape `[time, 1, features]` of an input with the batch as its second axis, dynamic or of extent 1.
fn time_first_shape(input: &ValueInfoProto) -> Option<Vec<usize>> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()? else { return None };
    let size = |dim: &tensor_shape_proto::Dimension| match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(size)) => usize::try_from(size).ok().filter(|s| *s > 0),
        _ => None,
    };
    let dims: Vec<Option<usize>> = tensor.shape.as_ref()?.dim.iter().map(size).collect();
    let float = tensor.elem_type() == DataType::Float as i32;
    match dims[..] {
        [Some(time), None | Some(1), Some(features)] if float && time > 1 => {
            time.checked_mul(features).filter(|n| *n <= u32::MAX as usize)?;
            Some(vec![time, 1, features])
        }
        _ => None,
    }
}

/// Shape of an input at batch size one.
fn input_shape(input: &ValueInfoProto) -> Result<Vec<usize>, Diagnostic> {
    let wrong = |message: String| Diagnostic::error("input-shape", format!("input '{}'", input.name()), message);
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(wrong("is no tensor".to_owned()));
    };
    let element = DataType::try_from(tensor.elem_type()).unwrap_or(DataType::Undefined);
    if !matches!(element, DataType::Float | DataType::Float16 | DataType::Double) {
        return Err(wrong(format!("has element type {}", element.as_str_name()))
            .with_help("inputs have to be floats; move conversions out of the model"));
    }
    let Some(dims) = tensor.shape.as_ref().map(|s| s.dim.as_slice()).filter(|d| d.len() >= 2) else {
        return Err(wrong("has no batch axis followed by at least one other".to_owned()).with_help(
            "export the model with an input of shape [batch, features] or [batch, channels, height, width]",
        ));
    };
    let mut shape = Vec::new();
    for (axis, dim) in dims.iter().enumerate() {
        let size = match dim.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(size)) if size > 0 => usize::try_from(size).ok(),
            _ => None,
        };
        match (axis, size) {
            (0, None | Some(1)) => shape.push(1),
            (0, Some(batch)) => {
                return Err(wrong(format!("has a fixed batch of {batch}"))
                    .with_help("export the model with batch size 1 or a dynamic batch"));
            }
            (_, Some(size)) => shape.push(size),
            (_, None) => {
                return Err(wrong(format!("axis {axis} has no fixed size"))
                    .with_help("hardware is built for one shape: fix it, for example with onnxruntime.tools.make_dynamic_shape_fixed"));
            }
        }
    }
    if shape.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).is_none_or(|n| n > u32::MAX as usize) {
        return Err(wrong(format!("has impossible shape {shape:?}")));
    }
    Ok(shape)
}

/// Gives every node a name of its own.
#[derive(Default)]
pub struct Names {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Names {
    /// `wanted`, with a number if it is taken.
    pub fn take(&mut self, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { "node" } else { wanted };
        let mut name = wanted.to_owned();
        while !self.taken.insert(name.clone()) {
            let next = self.next.entry(wanted.to_owned()).or_default();
            *next += 1;
            name = format!("{wanted}_{next}");
        }
        name
    }
}

/// True if an operator gives no negative value, so that zero padding never wins a maximum.
pub fn never_negative(op: &Op) -> bool {
    matches!(op, Op::Relu) || matches!(op, Op::Clip { min, .. } if *min >= 0.0)
}
