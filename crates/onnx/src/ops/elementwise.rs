//! Operators that treat every element, or every channel, by itself.

use espalier_ir::{Conv, Diagnostic, Normalize, Op, ParamId};

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

/// Softmax over all features of a sample, or over the last axes.
pub fn softmax(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let view = importer.unpadded(node, 0)?;
    let rank = view.shape.len();
    let whole: usize = view.shape.iter().product();
    let axis = node.axis(node.int("axis", if node.opset < 13 { 1 } else { -1 })?, rank)?;
    // Up to operator set 12 all axes from this one on count as one.
    let behind = if node.opset < 13 { rank } else { axis + 1 };
    let everything = view.shape[axis..behind].iter().product::<usize>() == whole;
    if everything && view.order.is_none() {
        return importer.elementwise(node, 0, Op::Softmax { axis: 0 });
    }
    if !everything && view.shape[behind..].iter().any(|d| *d != 1) {
        return Err(node
            .unsupported(format!("normalizes an axis in the middle of {:?}", view.shape))
            .with_help("softmax is supported over the last axis, and over all values of a sample")
            .into());
    }
    // The batch, of one sample, is no axis of the graph; heads may have taken its place.
    let batch = usize::from(view.shape[0] == 1);
    let wanted: Vec<u32> = (0..whole).map(|e| view.order.as_ref().map_or(e as u32, |o| o[e])).collect();
    let input = match importer.turned(node, &view, &wanted, &view.shape[batch..])? {
        Some(input) => input,
        // A sum over everything does not ask for an order.
        None if everything => return importer.elementwise(node, 0, Op::Softmax { axis: 0 }),
        None => importer.tensor(node, 0)?,
    };
    let axis = if everything { 0 } else { axis - batch };
    let result = importer.emit_named(&node.name, Op::Softmax { axis }, &[input], Element::Float)?;
    Ok(Value::View(View { shape: view.shape, ..result }))
}

/// The class, at the end of a model: not part of the graph, which returns the values among which it is sought; host or
/// hardware (`argmax`) finds the first of the largest.
pub fn argmax(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let view = importer.unpadded(node, 0)?;
    let axis = node.axis(node.int("axis", 0)?, view.shape.len())?;
    let everything = view.shape[axis] == view.shape.iter().product::<usize>();
    let result = node.proto.output.first().map_or("", String::as_str);
    let help = "end the model with the scores; the class is found on the host";
    if !everything {
        return Err(node.unsupported(format!("seeks along an axis of {:?}", view.shape)).with_help(help).into());
    }
    if !importer.only_returned(result) {
        return Err(node.unsupported("is not the end of the model").with_help(help).into());
    }
    if node.int("select_last_index", 0)? != 0 {
        return Err(node.unsupported("takes the last of equal values").with_help(help).into());
    }
    importer.operand(node, 0)
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
    let (operands, view) = importer.alike(node)?;
    importer.seen_as(node, &view, Op::Add, &operands)
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
    if a.shape == b.shape {
        let (operands, view) = importer.alike(node)?;
        return importer.seen_as(node, &view, Op::Mul, &operands);
    }
    let operands = [importer.tensor(node, 0)?, importer.tensor(node, 1)?];
    importer.emit(node, Op::Mul, &operands)
}

/// `x + sign * c`: into the layer before if nobody else reads that, else a node.
fn offset(importer: &mut Importer<'_>, node: &Node<'_>, index: usize, constant: Constant, sign: f32) -> Outcome {
    let (view, values) = spread(importer, node, index, &constant)?;
    let values: Vec<f32> = values.into_iter().map(|v| sign * v).collect();
    let channels = importer.graph.node(view.node).shape[0];
    let Some(per_channel) = one_a_channel(&values, channels) else {
        let name = node.input(1 - index).unwrap_or_default();
        let shape = importer.graph.node(view.node).shape.clone();
        let offset = importer.new_param(node, name, shape, values)?;
        return importer.seen_as_it_was(node, &view, Op::Offset { offset });
    };
    if view.exclusive {
        let bias = match &importer.graph.node(view.node).op {
            Op::Conv(Conv { bias, .. }) | Op::Gemm { bias, .. } => Some(*bias),
            Op::Normalize(normalize) => Some(Some(normalize.beta)),
            _ => None,
        };
        if let Some(bias) = bias {
            let before = bias.map_or(vec![0.0; channels], |b| importer.graph.param(b).as_f32().to_vec());
            let sum = before.iter().zip(&per_channel).map(|(a, b)| a + b).collect();
            let name = node.input(1 - index).unwrap_or_default();
            let bias = importer.new_param(node, name, vec![channels], sum)?;
            let op = match importer.graph.node(view.node).op.clone() {
                Op::Conv(conv) => Op::Conv(Conv { bias: Some(bias), ..conv }),
                Op::Gemm { weight, .. } => Op::Gemm { weight, bias: Some(bias) },
                Op::Normalize(normalize) => Op::Normalize(Normalize { beta: bias, ..normalize }),
                _ => unreachable!("the operator has a bias"),
            };
            importer.graph.set_op(view.node, op);
            return Ok(Value::View(view));
        }
    }
    channel_wise(importer, node, &view, vec![1.0; channels], per_channel)
}

fn factor(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    index: usize,
    constant: Constant,
    map: impl Fn(f32) -> f32,
) -> Outcome {
    let (view, values) = spread(importer, node, index, &constant)?;
    let channels = importer.graph.node(view.node).shape[0];
    let Some(factors) = one_a_channel(&values, channels) else {
        return Err(misfit(node, &view, &constant).into());
    };
    let factors: Vec<f32> = factors.into_iter().map(map).collect();
    if let Op::Normalize(normalize) = importer.graph.node(view.node).op.clone()
        && view.exclusive
    {
        let mut scaled = |param, index: usize| -> Result<ParamId, Stop> {
            let values = importer.graph.param(param).as_f32().iter().zip(&factors).map(|(a, b)| a * b).collect();
            let name = node.input(index).unwrap_or_default();
            importer.new_param(node, name, vec![channels], values)
        };
        let (gamma, beta) = (scaled(normalize.gamma, 1 - index)?, scaled(normalize.beta, 1 - index)?);
        importer.graph.set_op(view.node, Op::Normalize(Normalize { gamma, beta, ..normalize }));
        return Ok(Value::View(view));
    }
    channel_wise(importer, node, &view, factors, vec![0.0; channels])
}

/// `gamma * x + beta` per channel, as a batch normalization with mean 0 and variance 1.
fn channel_wise(importer: &mut Importer<'_>, node: &Node<'_>, view: &View, gamma: Vec<f32>, beta: Vec<f32>) -> Outcome {
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
    importer.seen_as_it_was(node, view, op)
}

/// Input `index`, and a constant repeated to its shape, in the order in which the node of the view holds its values.
fn spread(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    index: usize,
    constant: &Constant,
) -> Result<(View, Vec<f32>), Stop> {
    let view = importer.unpadded(node, index)?;
    if fold::broadcast(&constant.shape, &view.shape).as_ref() != Some(&view.shape) {
        return Err(misfit(node, &view, constant).into());
    }
    let count: usize = view.shape.iter().product();
    importer.charge(node, count.saturating_mul(2))?;
    let constants = importer.floats(node, constant, "the constant")?;
    let mut values = vec![0.0; count];
    for (element, source) in fold::sources(&constant.shape, &view.shape).into_iter().enumerate() {
        values[view.order.as_ref().map_or(element, |order| order[element] as usize)] = constants[source];
    }
    // Of a value under another shape the channels may be others.
    if view.order.is_none() && one_a_channel(&values, importer.graph.node(view.node).shape[0]).is_none() {
        importer.tensor(node, index)?;
        return Ok((importer.float_view(node, index)?, values));
    }
    Ok((view, values))
}

/// The value of each channel, if it is the same everywhere in the channel.
fn one_a_channel(values: &[f32], channels: usize) -> Option<Vec<f32>> {
    let same = |chunk: &[f32]| chunk.iter().all(|v| *v == chunk[0]).then_some(chunk[0]);
    values.chunks(values.len() / channels).map(same).collect()
}

fn misfit(node: &Node<'_>, view: &View, constant: &Constant) -> Diagnostic {
    let message = format!("joins a constant of shape {:?} and values of shape {:?}", constant.shape, view.shape);
    node.unsupported(message)
        .with_help("constants may be added to every value; factors need one value a channel, or one in all")
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
