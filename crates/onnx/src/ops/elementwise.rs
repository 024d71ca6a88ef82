//! Operators that treat every element, or every channel, by itself.

use espalier_ir::{Conv, Op, Pads};

use super::fold;
use crate::constant::Constant;
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Element, Outcome, Stop, Value, View};

/// `max(x, 0)`.
pub fn relu(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    importer.elementwise(node, 0, Op::Relu)
}

/// `min(max(x, min), max)`, bounds as attributes or as inputs.
pub fn clip(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let mut bounds = [f32::NEG_INFINITY, f32::INFINITY];
    for (index, name) in ["min", "max"].into_iter().enumerate() {
        let bound = match importer.optional_constant(node, index + 1, "a bound")? {
            Some(constant) => match constant.floats() {
                Some([bound]) => Some(*bound),
                _ => return Err(node.error("invalid-tensor", "a bound is not one float").into()),
            },
            None => node.float(name)?,
        };
        // The operator before version 11 says "no bound" by the largest float.
        bounds[index] = bound.filter(|b| b.abs() < f32::MAX).unwrap_or(bounds[index]);
    }
    let [min, max] = bounds;
    if min > max {
        return Err(node.error("invalid-attribute", format!("the bounds are [{min}, {max}]")).into());
    }
    importer.elementwise(node, 0, Op::Clip { min, max })
}

/// Softmax over all features of a sample.
pub fn softmax(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let view = importer.float_view(node, 0)?;
    let rank = view.shape.len();
    let whole: usize = view.shape.iter().product();
    let covered = if node.opset < 13 {
        let axis = node.axis(node.int("axis", 1)?, rank)?;
        view.shape[axis..].iter().product()
    } else {
        view.shape[node.axis(node.int("axis", -1)?, rank)?]
    };
    if covered != whole {
        return Err(node
            .unsupported(format!("normalizes only a part of the values, shape {:?}", view.shape))
            .with_help("softmax is supported over the classes of a classifier")
            .into());
    }
    importer.elementwise(node, 0, Op::Softmax)
}

/// Batch normalization with the statistics of the model.
pub fn batch_norm(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let names = ["the scale", "the offset", "the mean", "the variance"];
    let constants: Vec<Constant> =
        (0..4).map(|i| importer.constant(node, i + 1, names[i])).collect::<Result<_, _>>()?;
    if node.flag("training_mode", false)? || !node.flag("spatial", true)? {
        return Err(node
            .unsupported("is in training mode, or not per channel")
            .with_help("export the model in inference mode (model.eval())")
            .into());
    }
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    let variance = importer.floats(node, &constants[3], names[3])?;
    if variance.iter().any(|v| v + epsilon <= 0.0) {
        return Err(node.error("invalid-tensor", "a variance is not positive").into());
    }
    let input = importer.tensor(node, 0)?;
    let mut params = Vec::new();
    for (i, constant) in constants.iter().enumerate() {
        params.push(importer.weight(node, i + 1, constant)?);
    }
    let op = Op::BatchNorm { gamma: params[0], beta: params[1], mean: params[2], variance: params[3], epsilon };
    importer.emit(node, op, &[input])
}

/// Sum of two values, or of a value and a constant per channel.
pub fn add(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    match operands(importer, node)? {
        Operands::Constants(a, b) => fold::add(importer, node, &a, &b),
        Operands::Views => sum(importer, node),
        Operands::Mixed { view, constant, .. } => offset(importer, node, view, constant, 1.0),
    }
}

/// Difference; at least one operand must be a constant.
pub fn sub(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    match operands(importer, node)? {
        Operands::Constants(a, b) => fold::sub(importer, node, &a, &b),
        Operands::Mixed { view: 0, constant, .. } => offset(importer, node, 0, constant, -1.0),
        _ => Err(node.unsupported("subtracts computed values").with_help("only constants can be subtracted").into()),
    }
}

/// Product of two values, or of a value and a constant per channel.
pub fn mul(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    match operands(importer, node)? {
        Operands::Constants(a, b) => fold::mul(importer, node, &a, &b),
        Operands::Mixed { view, constant, .. } => factor(importer, node, view, constant, |v| v),
        Operands::Views => product(importer, node),
    }
}

/// Quotient by a constant.
pub fn div(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    match operands(importer, node)? {
        Operands::Constants(a, b) => fold::div(importer, node, &a, &b),
        Operands::Mixed { view: 0, constant, .. } => factor(importer, node, 0, constant, |v| 1.0 / v),
        _ => Err(node.unsupported("divides by computed values").with_help("only constants can divide").into()),
    }
}

enum Operands {
    Constants(Constant, Constant),
    Views,
    Mixed { view: usize, constant: Constant },
}

fn operands(importer: &mut Importer<'_>, node: &Node<'_>) -> Result<Operands, Stop> {
    Ok(match (importer.operand(node, 0)?, importer.operand(node, 1)?) {
        (Value::Constant(a), Value::Constant(b)) => Operands::Constants(a, b),
        (Value::View(_), Value::Constant(constant)) => Operands::Mixed { view: 0, constant },
        (Value::Constant(constant), Value::View(_)) => Operands::Mixed { view: 1, constant },
        _ => Operands::Views,
    })
}

fn sum(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let [a, b] = [importer.float_view(node, 0)?, importer.float_view(node, 1)?];
    if a.shape != b.shape {
        let message = format!("adds values of shape {:?} and {:?}", a.shape, b.shape);
        return Err(node.unsupported(message).with_help("sums of computed values need equal shapes").into());
    }
    let same_form = importer.graph.node(a.node).shape == importer.graph.node(b.node).shape;
    let unpadded = a.pads == Pads::default() && b.pads == Pads::default();
    if a.order.is_some() && a.order == b.order && same_form && unpadded {
        let result = importer.emit_named(&node.name, Op::Add, &[a.node, b.node], Element::Float)?;
        return Ok(Value::View(View { shape: a.shape, order: a.order, ..result }));
    }
    let operands = [importer.tensor(node, 0)?, importer.tensor(node, 1)?];
    importer.emit(node, Op::Add, &operands)
}

/// Product of two computed values; axes of extent 1 are repeated.
fn product(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let [a, b] = [importer.float_view(node, 0)?, importer.float_view(node, 1)?];
    let fits =
        a.shape.len() == b.shape.len() && a.shape.iter().zip(&b.shape).all(|(a, b)| a == b || *a == 1 || *b == 1);
    if !fits {
        let message = format!("multiplies values of shape {:?} and {:?}", a.shape, b.shape);
        let help = "factors need as many axes, each of equal extent or 1";
        return Err(node.unsupported(message).with_help(help).into());
    }
    let operands = [importer.tensor(node, 0)?, importer.tensor(node, 1)?];
    importer.emit(node, Op::Mul, &operands)
}

/// `x + sign * c`: into the bias of the layer before if nobody else reads that, else a node.
fn offset(importer: &mut Importer<'_>, node: &Node<'_>, index: usize, constant: Constant, sign: f32) -> Outcome {
    let view = importer.float_view(node, index)?;
    let per_channel = per_channel(importer, node, &view, &constant)?;
    let per_channel: Vec<f32> = per_channel.into_iter().map(|v| sign * v).collect();
    let target = importer.graph.node(view.node);
    let bias = match &target.op {
        Op::Conv(Conv { bias, .. }) | Op::Gemm { bias, .. } => Some(*bias),
        _ => None,
    };
    let as_computed = view.order.is_none()
        && view.pads == Pads::default()
        && view.shape.first() == Some(&1)
        && view.shape[1..] == target.shape[..];
    let Some(bias) = bias.filter(|_| view.exclusive && as_computed) else {
        let ones = vec![1.0; per_channel.len()];
        return channel_wise(importer, node, index, ones, per_channel);
    };
    let before = bias.map(|b| importer.graph.param(b).as_f32().to_vec());
    let sum = match before {
        Some(before) => before.iter().zip(&per_channel).map(|(a, b)| a + b).collect(),
        None => per_channel,
    };
    let channels = sum.len();
    let name = node.input(1 - index).unwrap_or_default();
    let bias = Some(importer.new_param(node, name, vec![channels], sum)?);
    let op = match importer.graph.node(view.node).op.clone() {
        Op::Conv(conv) => Op::Conv(Conv { bias, ..conv }),
        Op::Gemm { weight, .. } => Op::Gemm { weight, bias },
        _ => unreachable!("the operator has a bias"),
    };
    importer.graph.set_op(view.node, op);
    Ok(Value::View(view))
}

fn factor(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    index: usize,
    constant: Constant,
    map: impl Fn(f32) -> f32,
) -> Outcome {
    let view = importer.float_view(node, index)?;
    let gamma: Vec<f32> = per_channel(importer, node, &view, &constant)?.into_iter().map(map).collect();
    let zeros = vec![0.0; gamma.len()];
    channel_wise(importer, node, index, gamma, zeros)
}

/// `gamma * x + beta` per channel, as a batch normalization with mean 0 and variance 1.
fn channel_wise(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    index: usize,
    gamma: Vec<f32>,
    beta: Vec<f32>,
) -> Outcome {
    let input = importer.tensor(node, index)?;
    let channels = gamma.len();
    let mut param = |suffix: &str, values: Vec<f32>| {
        let name = format!("{}.{suffix}", node.name);
        importer.new_param(node, &name, vec![channels], values)
    };
    let op = Op::BatchNorm {
        gamma: param("gamma", gamma)?,
        beta: param("beta", beta)?,
        mean: param("mean", vec![0.0; channels])?,
        variance: param("variance", vec![1.0; channels])?,
        epsilon: 0.0,
    };
    importer.emit(node, op, &[input])
}

/// A constant that broadcasts along all axes but the channels, one value a channel.
pub(super) fn per_channel(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    view: &View,
    constant: &Constant,
) -> Result<Vec<f32>, Stop> {
    let refused = || {
        let message = format!("joins a constant of shape {:?} and values of shape {:?}", constant.shape, view.shape);
        node.unsupported(message).with_help("constants are supported if they have one value a channel, or one in all")
    };
    let rank = view.shape.len();
    let Some(skipped) = rank.checked_sub(constant.shape.len()).filter(|_| rank >= 2) else {
        return Err(refused().into());
    };
    let channels = view.shape[1];
    let fits = constant.shape.iter().enumerate().all(|(i, d)| *d == 1 || (i + skipped == 1 && *d == channels));
    if !fits {
        return Err(refused().into());
    }
    importer.charge(node, channels)?;
    let values = importer.floats(node, constant, "the constant")?;
    Ok((0..channels).map(|c| values[if values.len() == 1 { 0 } else { c }]).collect())
}
