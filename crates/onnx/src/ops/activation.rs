//! Functions of single values, and the slope of a parametric ReLU.

use espalier_ir::{Op, Unary};

use super::elementwise::per_channel;
use crate::import::Importer;
use crate::node::Node;
use crate::value::Outcome;

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    importer.elementwise(node, 0, Op::Unary(Unary::Sigmoid))
}

/// Hyperbolic tangent.
pub fn tanh(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    importer.elementwise(node, 0, Op::Unary(Unary::Tanh))
}

/// `ln(1 + exp(x))`.
pub fn softplus(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    importer.elementwise(node, 0, Op::Unary(Unary::Softplus))
}

/// ReLU with a slope below 0.
pub fn leaky_relu(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let alpha = node.float("alpha")?.unwrap_or(0.01);
    importer.elementwise(node, 0, Op::Unary(Unary::LeakyRelu { alpha }))
}

/// Exponential below 0.
pub fn elu(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let alpha = node.float("alpha")?.unwrap_or(1.0);
    importer.elementwise(node, 0, Op::Unary(Unary::Elu { alpha }))
}

/// Straight line between 0 and 1.
pub fn hard_sigmoid(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let alpha = node.float("alpha")?.unwrap_or(0.2);
    let beta = node.float("beta")?.unwrap_or(0.5);
    importer.elementwise(node, 0, Op::Unary(Unary::HardSigmoid { alpha, beta }))
}

/// `x * HardSigmoid(x)` with slope 1/6: two graph nodes.
pub fn hard_swish(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let input = importer.tensor(node, 0)?;
    let gate = importer.names.take(&format!("{}.gate", node.name));
    let op = Op::Unary(Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 });
    let gate = importer.graph.add(gate, op, &[input])?;
    importer.emit(node, Op::Mul, &[input, gate])
}

/// ReLU with one slope a channel, or one in all.
pub fn prelu(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let constant = importer.constant(node, 1, "the slope")?;
    let view = importer.float_view(node, 0)?;
    let values = match importer.floats(node, &constant, "the slope")? {
        [single] => vec![*single],
        _ => per_channel(importer, node, &view, &constant)?,
    };
    let input = importer.tensor(node, 0)?;
    let name = node.input(1).unwrap_or_default();
    // The shape in the model differs from that of the parameter, so the two are kept apart.
    let key = format!("{name} as slope of {}", values.len());
    let slope = match importer.params.get(&key) {
        Some(param) => *param,
        None => {
            let param = importer.new_param(node, name, vec![values.len()], values)?;
            importer.params.insert(key, param);
            param
        }
    };
    importer.emit(node, Op::PRelu { slope }, &[input])
}
