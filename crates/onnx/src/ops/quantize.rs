//! QuantizeLinear and DequantizeLinear: of constants now, of activations as graph nodes.

use std::rc::Rc;

use espalier_ir::{Op, Pads};

use crate::constant::{Constant, Data, DataType};
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Element, Outcome, Stop, Value, View, quantized_element};

/// Scales and zero points of a node, one or one a channel.
struct Params {
    scale: Vec<f32>,
    zero_point: Vec<i64>,
    /// Type of the zero point; `None` if there is none.
    element: Option<DataType>,
}

/// Floats to integers.
pub fn quantize(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let params = params(importer, node)?;
    // Without a zero point ONNX quantizes to unsigned integers.
    let element = params.element.unwrap_or(DataType::Uint8);
    let Some(kind) = quantized_element(element) else {
        return Err(only_eight_bits(node, element).into());
    };
    match importer.operand(node, 0)? {
        Value::Constant(constant) => {
            let values = importer.floats(node, &constant, "the value")?;
            let channel = channels(node, &constant.shape, &params)?;
            importer.charge(node, values.len())?;
            let (low, high) = if kind == Element::Int8 { (-128.0, 127.0) } else { (0.0, 255.0) };
            let quantized = values.iter().enumerate().map(|(i, v)| {
                let c = channel(i);
                ((v / params.scale[c]).round_ties_even() + params.zero_point[c] as f32).clamp(low, high) as i64
            });
            let data = Rc::new(Data::Int(quantized.collect()));
            Ok(Value::Constant(Constant { element, data, ..constant }))
        }
        _ => {
            let view = importer.float_view(node, 0)?;
            activation(importer, node, view, params, kind)
        }
    }
}

/// Integers to floats.
pub fn dequantize(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let params = params(importer, node)?;
    match importer.operand(node, 0)? {
        Value::Constant(constant) => {
            let Some(values) = constant.ints() else {
                return Err(node.error("invalid-tensor", "reads a constant that is not quantized").into());
            };
            let channel = channels(node, &constant.shape, &params)?;
            importer.charge(node, values.len())?;
            let floats = values.iter().enumerate().map(|(i, q)| {
                let c = channel(i);
                q.saturating_sub(params.zero_point[c]) as f32 * params.scale[c]
            });
            let floats = floats.collect();
            Ok(Value::Constant(Constant::float(constant.shape, floats)))
        }
        _ => {
            let view = importer.view(node, 0)?;
            let element = params.element.unwrap_or(DataType::Uint8);
            if quantized_element(element) != Some(view.element)
                && (params.element.is_some() || view.element == Element::Float)
            {
                return Err(node.error("invalid-tensor", "reads values of another type than its zero point").into());
            }
            activation(importer, node, view, params, Element::Float)
        }
    }
}

/// A quantize or dequantize node of the graph; `result` tells which.
fn activation(importer: &mut Importer<'_>, node: &Node<'_>, view: View, params: Params, result: Element) -> Outcome {
    let axis_fits = params.scale.len() == 1
        || (node.axis(node.int("axis", 1)?, view.shape.len())? == 1 && view.shape[1] == params.scale.len());
    if !axis_fits || view.pads != Pads::default() {
        return Err(node
            .unsupported(format!("has {} scales for values of shape {:?}", params.scale.len(), view.shape))
            .with_help("activations can have one scale, or one a channel")
            .into());
    }
    let unsigned = Element::Uint8 == if result == Element::Float { view.element } else { result };
    // Unsigned values are kept 128 lower, which changes no difference to the zero point.
    let shift = if unsigned { 128 } else { 0 };
    let zero_point: Vec<i8> = params
        .zero_point
        .iter()
        .map(|z| i8::try_from(z - shift))
        .collect::<Result<_, _>>()
        .map_err(|_| node.error("invalid-tensor", "a zero point is out of range"))?;
    let scale = params.scale;
    let one_scale = scale.len() == 1;
    let op = match result {
        Element::Float => Op::DequantizeLinear { scale, zero_point },
        _ => Op::QuantizeLinear { scale, zero_point },
    };
    let view = if view.order.is_some() && one_scale { view } else { importer.solid(node, view)? };
    let emitted = importer.emit_named(&node.name, op, &[view.node], result)?;
    Ok(Value::View(View { shape: view.shape, order: view.order, ..emitted }))
}

fn params(importer: &mut Importer<'_>, node: &Node<'_>) -> Result<Params, Stop> {
    let scale = importer.constant(node, 1, "the scale")?;
    let zero_point = importer.optional_constant(node, 2, "the zero point")?;
    let wrong = |message: &str| Stop::from(node.error("invalid-tensor", message));
    if scale.shape.len() > 1 || node.int("block_size", 0)? != 0 {
        return Err(node.unsupported("has a scale for blocks of a channel").into());
    }
    let values = importer.floats(node, &scale, "the scale")?.to_vec();
    if values.is_empty() || values.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return Err(wrong("a scale is not a positive number"));
    }
    let element = zero_point.as_ref().map(|z| z.element);
    let zeros = match &zero_point {
        Some(constant) => constant.ints().ok_or_else(|| wrong("the zero point is no integer"))?.to_vec(),
        None => vec![0; values.len()],
    };
    if zeros.len() != values.len() {
        return Err(wrong("there are not as many zero points as scales"));
    }
    Ok(Params { scale: values, zero_point: zeros, element })
}

/// Channel of each element of a constant.
fn channels(node: &Node<'_>, shape: &[usize], params: &Params) -> Result<impl Fn(usize) -> usize + use<>, Stop> {
    let count = params.scale.len();
    if count == 1 {
        return Ok(each_of(1, 1));
    }
    let axis = node.axis(node.int("axis", 1)?, shape.len())?;
    if shape[axis] != count {
        let message = format!("{count} scales for axis {axis} of {shape:?}");
        return Err(node.error("shape-mismatch", message).into());
    }
    Ok(each_of(shape[axis + 1..].iter().product::<usize>().max(1), count))
}

fn each_of(inner: usize, count: usize) -> impl Fn(usize) -> usize {
    move |i| i / inner % count
}

fn only_eight_bits(node: &Node<'_>, element: DataType) -> espalier_ir::Diagnostic {
    node.unsupported(format!("quantizes to {}", element.as_str_name()))
        .with_help("activations can be quantized to INT8 or UINT8")
}
