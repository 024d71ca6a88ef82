//! Fully connected layers.

use espalier_ir::{Conv, Op, Pads, ParamId};

use super::product;
use crate::constant::Constant;
use crate::import::Importer;
use crate::layout::features_last;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value, View};

/// `alpha * x * W + beta * c` with constant `W` and `c`.
pub fn gemm(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let alpha = node.float("alpha")?.unwrap_or(1.0);
    let beta = node.float("beta")?.unwrap_or(1.0);
    let transposed = node.flag("transB", false)?;
    let weight = importer.constant(node, 1, "the weight")?;
    let bias = importer.optional_constant(node, 2, "the bias")?;
    let view = importer.float_view(node, 0)?;
    if node.flag("transA", false)? && view.shape != [1, 1] {
        let help = "drop the transposition: samples are rows";
        return Err(node.unsupported("transposes its first input").with_help(help).into());
    }
    let matrix = Matrix::new(node, &weight, transposed)?;
    linear(importer, node, &matrix, alpha, view, bias.map(|bias| (bias, beta)))
}

/// `x * W`; a following Add of a constant becomes the bias of a constant `W`.
pub fn matmul(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    if let Value::Constant(_) = importer.operand(node, 0)? {
        return Err(node
            .unsupported("multiplies a constant by samples")
            .with_help("samples are rows: write x * W with the weight as second operand")
            .into());
    }
    let Value::Constant(weight) = importer.operand(node, 1)? else { return product::product(importer, node) };
    let view = importer.float_view(node, 0)?;
    let matrix = Matrix::new(node, &weight, false)?;
    linear(importer, node, &matrix, 1.0, view, None)
}

/// One fully connected layer, or the same one at every position: a 1x1 convolution of the features.
fn linear(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    matrix: &Matrix<'_>,
    alpha: f32,
    view: View,
    bias: Option<(Constant, f32)>,
) -> Outcome {
    let with_bias = |importer: &mut Importer<'_>| -> Result<Option<ParamId>, Stop> {
        let add = |(constant, beta): &(Constant, f32)| broadcast_bias(importer, node, constant, matrix.outputs, *beta);
        bias.as_ref().map(add).transpose()
    };
    let positions = match view.shape.split_last() {
        Some((features, rest)) if *features == matrix.inputs => rest.iter().product(),
        _ => 1,
    };
    if positions == 1 {
        let weight = scaled_weight(importer, node, matrix, alpha, &view)?;
        let bias = with_bias(importer)?;
        return fully_connected(importer, node, view, weight, bias);
    }
    let &Matrix { constant, rows_are_outputs, outputs, inputs } = matrix;
    let (input, _) = importer.features_first(node, 0, inputs)?;
    let name = node.input(1).unwrap_or_default().to_owned();
    // Layers that share a weight share its new form.
    let form = format!("{name} at positions, {rows_are_outputs}, {alpha}");
    let weight = match importer.params.get(&form) {
        Some(param) => *param,
        None => {
            let values = importer.floats(node, constant, &name)?;
            let at = |o: usize, i: usize| if rows_are_outputs { o * inputs + i } else { i * outputs + o };
            let weight = (0..outputs).flat_map(|o| (0..inputs).map(move |i| alpha * values[at(o, i)])).collect();
            let param = importer.new_param(node, &name, vec![outputs, inputs, 1, 1], weight)?;
            importer.params.insert(form, param);
            param
        }
    };
    let bias = with_bias(importer)?;
    let conv = Conv { weight, bias, stride: [1, 1], pads: Pads::default(), dilation: [1, 1], groups: 1 };
    let result = importer.named(&node.name, Op::Conv(conv), &[input])?;
    let shape = view.shape[..view.shape.len() - 1].iter().copied().chain([outputs]).collect();
    Ok(importer.sequence_view(node, result, shape, features_last(outputs, positions)))
}

/// A weight with two axes.
struct Matrix<'c> {
    constant: &'c Constant,
    /// True if the axes are `[outputs, inputs]`.
    rows_are_outputs: bool,
    outputs: usize,
    inputs: usize,
}

impl<'c> Matrix<'c> {
    fn new(node: &Node<'_>, constant: &'c Constant, rows_are_outputs: bool) -> Result<Self, Stop> {
        let [rows, columns] = constant.shape[..] else {
            let message = format!("the weight has shape {:?}, not two axes", constant.shape);
            return Err(node.unsupported(message).into());
        };
        let (outputs, inputs) = if rows_are_outputs { (rows, columns) } else { (columns, rows) };
        Ok(Matrix { constant, rows_are_outputs, outputs, inputs })
    }
}

/// The weight as `[outputs, inputs]`, columns in the order in which the graph stores the values.
fn scaled_weight(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    matrix: &Matrix<'_>,
    alpha: f32,
    view: &View,
) -> Result<ParamId, Stop> {
    let &Matrix { constant, rows_are_outputs, outputs, inputs } = matrix;
    let (features, rest) = view.shape.split_last().unwrap_or((&0, &[]));
    if *features != inputs || rest.is_empty() || rest.iter().any(|d| *d != 1) {
        let message = format!("a weight of shape {:?} does not fit an input of shape {:?}", constant.shape, view.shape);
        return Err(node.error("shape-mismatch", message).into());
    }
    if rows_are_outputs && alpha == 1.0 && view.order.is_none() {
        return importer.weight(node, 1, constant);
    }
    let name = node.input(1).unwrap_or_default().to_owned();
    let values = importer.floats(node, constant, &name)?;
    let mut weight = vec![0.0; values.len()];
    for output in 0..outputs {
        for input in 0..inputs {
            let from = if rows_are_outputs { output * inputs + input } else { input * outputs + output };
            let column = view.order.as_ref().map_or(input, |order| order[input] as usize);
            weight[output * inputs + column] = alpha * values[from];
        }
    }
    importer.new_param(node, &name, vec![outputs, inputs], weight)
}

fn broadcast_bias(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    bias: &Constant,
    outputs: usize,
    beta: f32,
) -> Result<ParamId, Stop> {
    if beta == 1.0 && bias.shape == [outputs] {
        return importer.weight(node, 2, bias);
    }
    let (last, rest) = bias.shape.split_last().unwrap_or((&1, &[]));
    if bias.shape.len() > 2 || (*last != 1 && *last != outputs) || rest.iter().any(|d| *d != 1) {
        let message = format!("a bias of shape {:?} does not fit {outputs} outputs", bias.shape);
        return Err(node.error("shape-mismatch", message).into());
    }
    let name = node.input(2).unwrap_or_default().to_owned();
    importer.charge(node, outputs)?;
    let values = importer.floats(node, bias, &name)?;
    let values = (0..outputs).map(|i| beta * values[if *last == 1 { 0 } else { i }]).collect();
    importer.new_param(node, &name, vec![outputs], values)
}

fn fully_connected(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    view: View,
    weight: ParamId,
    bias: Option<ParamId>,
) -> Outcome {
    if view.pads != Pads::default() {
        return Err(node.unsupported("reads the result of a Pad").into());
    }
    let batches = view.shape[..view.shape.len() - 1].to_vec();
    let features: usize = view.shape.iter().product();
    // The columns of the weight have been reordered already.
    let flat = View { shape: vec![1, features], order: None, ..view };
    let input = importer.solid(node, flat)?.node;
    let Value::View(result) = importer.emit(node, Op::Gemm { weight, bias }, &[input])? else {
        unreachable!("emit gives a view")
    };
    let outputs = result.shape[1];
    let shape = batches.into_iter().chain([outputs]).collect();
    Ok(Value::View(View { shape, ..result }))
}
