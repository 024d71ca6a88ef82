//! Values during import: constants, and views of graph nodes.
//!
//! A view is a node plus what ONNX did to its values since without computing: another shape,
//! another order, zero padding. Most views become a node of their own only when an operator needs
//! the values in exactly that form; a pair of transpositions that undo each other never does.

use std::rc::Rc;

use espalier_ir::{Conv, Diagnostic, NodeId, Op, Pads, ParamId, Tensor};

use crate::constant::{Constant, DataType};
use crate::import::Importer;
use crate::layout::Turn;
use crate::node::Node;

/// What the values of a view are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Floats.
    Float,
    /// The result of QuantizeLinear.
    Int8,
    /// The result of QuantizeLinear with an unsigned zero point; kept as int8, 128 lower.
    Uint8,
}

/// A value that depends on a graph input.
#[derive(Debug, Clone)]
pub struct View {
    /// The node that computes the values.
    pub node: NodeId,
    /// ONNX shape at batch size one, before padding; as many elements as the node has.
    pub shape: Vec<usize>,
    /// `order[i]` is the position in the node of the `i`-th element of the view; `None` if equal.
    pub order: Option<Rc<[u32]>>,
    /// Zeros around the last two axes.
    pub pads: Pads,
    /// What the values are.
    pub element: Element,
    /// True if no other view of the same node has readers.
    pub exclusive: bool,
    /// Name for the node that makes the shape real.
    pub label: Rc<str>,
}

/// A value of the model.
#[derive(Debug, Clone)]
pub enum Value {
    /// Known now.
    Constant(Constant),
    /// Computed from the inputs.
    View(View),
    /// Not available; the reason has been reported.
    Failed,
}

/// Why an operator could not be imported.
pub enum Stop {
    /// A reason that has been reported already.
    Quiet,
    /// A new finding.
    Finding(Diagnostic),
}

impl From<Diagnostic> for Stop {
    fn from(finding: Diagnostic) -> Self {
        Stop::Finding(finding)
    }
}

/// Result of one operator.
pub type Outcome = Result<Value, Stop>;

impl Importer<'_> {
    /// Input `index` of a node, if it is there.
    pub fn optional(&mut self, node: &Node, index: usize) -> Result<Option<Value>, Stop> {
        let Some(name) = node.input(index) else { return Ok(None) };
        match self.lookup(name) {
            Value::Failed => Err(Stop::Quiet),
            value => Ok(Some(value)),
        }
    }

    /// Input `index` of a node, which must be there.
    pub fn operand(&mut self, node: &Node, index: usize) -> Result<Value, Stop> {
        let missing = || node.error("wrong-arity", format!("input {index} is missing"));
        Ok(self.optional(node, index)?.ok_or_else(missing)?)
    }

    /// Input `index`, which must be known now.
    pub fn constant(&mut self, node: &Node, index: usize, what: &str) -> Result<Constant, Stop> {
        match self.operand(node, index)? {
            Value::Constant(constant) => Ok(constant),
            _ => Err(node
                .error("not-constant", format!("{what} is computed from an input"))
                .with_help(
                    "only values stored in the model are taken; export it in inference mode, with constants folded",
                )
                .into()),
        }
    }

    /// As [`Importer::constant`], for an input that may be absent.
    pub fn optional_constant(&mut self, node: &Node, index: usize, what: &str) -> Result<Option<Constant>, Stop> {
        node.input(index).map(|_| self.constant(node, index, what)).transpose()
    }

    /// Input `index` as a list of integers.
    pub fn integers(&mut self, node: &Node, index: usize, what: &str) -> Result<Option<Vec<i64>>, Stop> {
        let Some(constant) = self.optional_constant(node, index, what)? else { return Ok(None) };
        match constant.ints() {
            Some(values) if constant.shape.len() <= 1 => Ok(Some(values.to_vec())),
            _ => Err(node.error("invalid-tensor", format!("{what} is not a list of integers")).into()),
        }
    }

    /// Input `index`, which must depend on a graph input.
    pub fn view(&mut self, node: &Node, index: usize) -> Result<View, Stop> {
        match self.operand(node, index)? {
            Value::View(view) => Ok(view),
            _ => Err(node
                .unsupported(format!("input {index} is a constant"))
                .with_help("fold constants before the export, for example with onnxsim")
                .into()),
        }
    }

    /// Input `index` as a graph node of floats in exactly the shape that ONNX gives it.
    pub fn tensor(&mut self, node: &Node, index: usize) -> Result<NodeId, Stop> {
        let (tensor, pads) = self.padded(node, index)?;
        if pads == Pads::default() {
            return Ok(tensor);
        }
        let view = self.zero_padded(node, tensor, pads)?;
        let tensor = view.node;
        self.remember(node, index, view);
        Ok(tensor)
    }

    /// As [`Importer::tensor`]; zero padding that precedes the node is returned.
    pub fn padded(&mut self, node: &Node, index: usize) -> Result<(NodeId, Pads), Stop> {
        let view = self.float_view(node, index)?;
        let pads = view.pads;
        let solid = self.solid(node, View { pads: Pads::default(), ..view })?;
        self.remember(node, index, View { pads, ..solid.clone() });
        Ok((solid.node, pads))
    }

    /// Zero padding that no window takes in: a depthwise 1x1 convolution of weight 1.
    fn zero_padded(&mut self, node: &Node, tensor: NodeId, pads: Pads) -> Result<View, Stop> {
        let groups = self.graph.node(tensor).shape[0];
        let name = format!("{}.padded", self.graph.node(tensor).name);
        let weight = self.new_param(node, &format!("{name}.one"), vec![groups, 1, 1, 1], vec![1.0; groups])?;
        let conv = Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups };
        self.emit_named(&name, Op::Conv(conv), &[tensor], Element::Float)
    }

    /// The given channels of input `index`; one selection behind another becomes one node.
    pub fn select(&mut self, node: &Node, index: usize, channels: Vec<Option<usize>>) -> Outcome {
        let view = self.float_view(node, index)?;
        let exclusive = view.exclusive;
        let input = self.tensor(node, index)?;
        if let Op::Select { channels: inner } = &self.graph.node(input).op
            && exclusive
            && self.graph.consumers(input).is_empty()
        {
            let channels = channels.iter().map(|c| c.and_then(|c| inner[c])).collect();
            self.graph.set_op(input, Op::Select { channels });
            self.graph.refresh_shapes()?;
            let shape = std::iter::once(1).chain(self.graph.node(input).shape.iter().copied()).collect();
            let label = node.name.as_str().into();
            return Ok(Value::View(View { node: input, shape, order: None, exclusive: true, label, ..view }));
        }
        self.emit(node, Op::Select { channels }, &[input])
    }

    /// Input `index` as a view of floats.
    pub fn float_view(&mut self, node: &Node, index: usize) -> Result<View, Stop> {
        let view = self.view(node, index)?;
        if view.element != Element::Float {
            return Err(node
                .unsupported("reads quantized values")
                .with_help("only DequantizeLinear, MaxPool and reshaping take the result of QuantizeLinear")
                .into());
        }
        Ok(view)
    }

    /// A view whose node has the shape and the order of the view itself.
    pub fn solid(&mut self, node: &Node, mut view: View) -> Result<View, Stop> {
        if view.pads != Pads::default() {
            return Err(pad_left_over(node).into());
        }
        if let Some(order) = view.order.take() {
            // A channel shuffle is an order in which whole channels move.
            if let Some(channels) = channel_order(&order, &self.graph.node(view.node).shape) {
                let name = self.names.take(&view.label);
                view.node = self.graph.add(name, Op::Select { channels }, &[view.node])?;
                return self.solid(node, view);
            }
            // Any other exchange of axes is a transposition between two shapes. Pictures are better given as they are read.
            let picture = matches!(self.graph.node(view.node).op, Op::Input { .. });
            if let [1, sample @ ..] = &view.shape[..]
                && let Some(turn) = Turn::of(&order, sample)
                && !(picture && turn.axes.len() == 3 && turn.axes[0] != 0)
            {
                let sample = sample.to_vec();
                let turned = self.turned(node, &view, &order, &sample)?.expect("the order is a turn");
                return Ok(View { node: turned, ..view });
            }
            let message = format!("needs '{}' in another order of axes", view.label);
            if self.is_sequence(&View { order: None, ..view.clone() }) {
                return Err(node
                    .error("layout", message)
                    .with_help(
                        "behind a recurrent layer take one step or the mean over time, or transpose it to \
                                [batch, features, time] before operators that are not elementwise",
                    )
                    .into());
            }
            return Err(node
                .error("layout", message)
                .with_help("export the model with channels first (NCHW), inputs included")
                .into());
        }
        let Some((1, sample)) = view.shape.split_first().map(|(batch, rest)| (*batch, rest.to_vec())) else {
            let message = format!("reads a value of shape {:?}: the batch axis is gone", view.shape);
            return Err(node
                .error("batch-axis", message)
                .with_help("keep the batch as the first axis, of size 1")
                .into());
        };
        if self.graph.node(view.node).shape == sample || self.is_line(&view) {
            return Ok(view);
        }
        if sample.is_empty() {
            return Err(node.error("batch-axis", "reads a value without any axis but the batch").into());
        }
        let unread = self.graph.consumers(view.node).is_empty() && !self.graph.outputs().contains(&view.node);
        if unread && matches!(self.graph.node(view.node).op, Op::Input { .. }) {
            // Samples are the same numbers in the same order under either shape.
            self.graph.set_op(view.node, Op::Input { shape: sample });
            self.graph.refresh_shapes()?;
            return Ok(view);
        }
        let op = if sample.len() == 1 { Op::Flatten } else { Op::Reshape { shape: sample } };
        let name = self.names.take(&view.label);
        let node = self.graph.add(name, op, &[view.node])?;
        Ok(View { node, ..view })
    }

    /// True for `[channels, length]` held as a map of height 1, which is how one-dimensional windows read it.
    pub fn is_line(&self, view: &View) -> bool {
        let [1, channels, length] = view.shape[..] else { return false };
        view.order.is_none() && self.graph.node(view.node).shape == [channels, 1, length]
    }

    /// Makes input `index`, of samples `[channels, length]`, such a map; true if it has that shape.
    pub fn make_line(&mut self, node: &Node, index: usize) -> Result<bool, Stop> {
        let view = self.view(node, index)?;
        let [1, channels, length] = view.shape[..] else { return Ok(false) };
        if !self.is_line(&view) {
            let (shape, pads) = (view.shape.clone(), view.pads);
            let map = View { shape: vec![1, channels, 1, length], pads: Pads::default(), ..view };
            let map = self.solid(node, map)?;
            self.remember(node, index, View { shape, pads, ..map });
        }
        Ok(true)
    }

    /// Keeps a view that was made solid, so that the next reader finds it.
    fn remember(&mut self, node: &Node, index: usize, view: View) {
        if let Some(name) = node.input(index)
            && let Some(value) = self.values.get_mut(name)
        {
            *value = Value::View(view);
        }
    }

    /// Adds a graph node; the value is its result.
    pub fn emit(&mut self, node: &Node, op: Op, operands: &[NodeId]) -> Outcome {
        let view = self.emit_named(&node.name, op, operands, Element::Float)?;
        Ok(Value::View(self.as_line(node, view)))
    }

    /// The shape that the model gives to what it computes from a line: without the height.
    pub fn as_line(&self, node: &Node, mut view: View) -> View {
        let mut inputs = node.proto.input.iter().filter_map(|name| self.values.get(name.as_str()));
        let from_line = inputs.any(|v| matches!(v, Value::View(v) if self.is_line(v)));
        if from_line && let [1, _, 1, _] = view.shape[..] {
            view.shape.remove(2);
        }
        view
    }

    /// Adds a graph node with a name and element type of its own.
    pub fn emit_named(&mut self, name: &str, op: Op, operands: &[NodeId], element: Element) -> Result<View, Stop> {
        let name = self.names.take(name);
        let label: Rc<str> = name.as_str().into();
        let id = self.graph.add(name, op, operands)?;
        let shape = std::iter::once(1).chain(self.graph.node(id).shape.iter().copied()).collect();
        Ok(View { node: id, shape, order: None, pads: Pads::default(), element, exclusive: true, label })
    }

    /// Applies an operator that treats every element alike, whatever the order of the elements.
    pub fn elementwise(&mut self, node: &Node, index: usize, op: Op) -> Outcome {
        let view = self.float_view(node, index)?;
        if view.order.is_none() || view.pads != Pads::default() {
            let tensor = self.tensor(node, index)?;
            return self.emit(node, op, &[tensor]);
        }
        let result = self.emit_named(&node.name, op, &[view.node], Element::Float)?;
        Ok(Value::View(View { shape: view.shape, order: view.order, ..result }))
    }

    /// A weight as it is in the model; nodes that read the same one share the parameter.
    pub fn weight(&mut self, node: &Node, index: usize, constant: &Constant) -> Result<ParamId, Stop> {
        let name = node.input(index).unwrap_or_default();
        if let Some(param) = self.params.get(name) {
            return Ok(*param);
        }
        let values = self.floats(node, constant, name)?.to_vec();
        let param = self.new_param(node, name, constant.shape.clone(), values)?;
        self.params.insert(name.to_owned(), param);
        Ok(param)
    }

    /// The values of a constant, which must be floats.
    pub fn floats<'c>(&self, node: &Node, constant: &'c Constant, what: &str) -> Result<&'c [f32], Diagnostic> {
        constant.floats().ok_or_else(|| {
            let message = format!("'{what}' has element type {}, not float", constant.element.as_str_name());
            node.error("invalid-tensor", message)
        })
    }

    /// A parameter with values made during the import.
    pub fn new_param(&mut self, node: &Node, name: &str, shape: Vec<usize>, values: Vec<f32>) -> Result<ParamId, Stop> {
        self.charge(node, values.len())?;
        Ok(self.graph.add_param(name, Tensor::f32(shape, values)))
    }

    /// Takes `elements` off what the import may still allocate.
    pub fn charge(&mut self, node: &Node, elements: usize) -> Result<(), Diagnostic> {
        self.budget = self.budget.checked_sub(elements).ok_or_else(|| {
            node.error("model-too-large", "constants computed from the model take far more memory than the model")
        })?;
        Ok(())
    }
}

/// The channels in the order in which a view takes them, if it keeps each in one piece.
pub fn channel_order(order: &[u32], shape: &[usize]) -> Option<Vec<Option<usize>>> {
    let each: usize = shape[1..].iter().product();
    let whole = |chunk: &[u32]| {
        let first = chunk[0] as usize;
        let consecutive = chunk.iter().enumerate().all(|(i, p)| *p as usize == first + i);
        (consecutive && first.is_multiple_of(each)).then_some(Some(first / each))
    };
    order.chunks(each).map(whole).collect()
}

fn pad_left_over(node: &Node) -> Diagnostic {
    node.unsupported("reads the result of a Pad")
        .with_help("zero padding is taken only right before a convolution or pooling, and can be part of that operator")
}

/// True if integers of this type can stand for quantized activations.
pub fn quantized_element(element: DataType) -> Option<Element> {
    match element {
        DataType::Int8 => Some(Element::Int8),
        DataType::Uint8 => Some(Element::Uint8),
        _ => None,
    }
}
