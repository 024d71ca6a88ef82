//! Functions of single values that write-back looks up in a table of 256 entries.

use crate::unary::leaky;
use crate::{Graph, NodeId, Op, Unary};

/// A function of single values.
#[derive(Debug, Clone, PartialEq)]
pub enum Curve {
    /// `f(x)`.
    Plain(Unary),
    /// `x * f(x)`: with a sigmoid that is SiLU, with a hard sigmoid hard-swish.
    Gated(Unary),
    /// `x` from 0, `slope * x` below; one slope, or one a channel.
    Sloped(Vec<f32>),
}

impl Curve {
    /// Its value for a channel.
    pub fn apply(&self, channel: usize, x: f32) -> f32 {
        match self {
            Curve::Plain(unary) => unary.apply(x),
            Curve::Gated(unary) => x * unary.apply(x),
            Curve::Sloped(slopes) => leaky(x, slopes[if slopes.len() == 1 { 0 } else { channel }]),
        }
    }

    /// Whether channels have functions of their own.
    pub fn by_channel(&self) -> bool {
        matches!(self, Curve::Sloped(slopes) if slopes.len() > 1)
    }

    /// Whether it never falls, so that the maximum of a window may be taken before it.
    pub fn is_monotone(&self) -> bool {
        match self {
            Curve::Plain(unary) => match unary {
                Unary::LeakyRelu { alpha } | Unary::HardSigmoid { alpha, .. } | Unary::Elu { alpha } => *alpha >= 0.0,
                Unary::Sigmoid | Unary::Tanh | Unary::Softplus => true,
            },
            Curve::Gated(_) => false,
            Curve::Sloped(slopes) => slopes.iter().all(|s| *s >= 0.0),
        }
    }

    /// The arguments beyond which it hardly changes (by less than 1/500 of its range); always includes 0.
    pub fn active(&self) -> (f32, f32) {
        const NONE: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);
        let (low, high) = match self {
            Curve::Plain(unary) => match *unary {
                Unary::Sigmoid => (-7.0, 7.0),
                Unary::Tanh => (-3.9, 3.9),
                Unary::HardSigmoid { alpha, beta } if alpha > 0.0 => (-beta / alpha, (1.0 - beta) / alpha),
                Unary::Elu { .. } | Unary::Softplus => (-7.0, f32::INFINITY),
                Unary::HardSigmoid { .. } | Unary::LeakyRelu { .. } => NONE,
            },
            Curve::Gated(unary) => match *unary {
                Unary::Sigmoid => (-8.0, f32::INFINITY),
                Unary::HardSigmoid { alpha, beta } if alpha > 0.0 => (-beta / alpha, f32::INFINITY),
                _ => NONE,
            },
            Curve::Sloped(_) => NONE,
        };
        (low.min(0.0), high.max(0.0))
    }

    /// Whether no value is below 0.
    pub fn is_non_negative(&self) -> bool {
        matches!(self, Curve::Plain(Unary::Sigmoid | Unary::HardSigmoid { .. } | Unary::Softplus))
    }
}

/// The function of a layer, and the node whose value enters it.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerCurve {
    /// The function.
    pub function: Curve,
    /// What enters it: the operation of the layer with bounds and pooling before the function.
    pub operand: NodeId,
}

/// The function that the readers of `operand` compute from it, if they compute nothing else, with the nodes that do:
/// one, or for a gate the function and the product. Nobody else may read the values between them.
pub(crate) fn curve_behind(graph: &Graph, operand: NodeId) -> Option<(Curve, Vec<NodeId>)> {
    let consumers = graph.consumers(operand);
    match consumers[..] {
        [only] => Some((plain(graph, only)?, vec![only])),
        [a, b] => [(a, b), (b, a)].into_iter().find_map(|(gate, product)| gated(graph, operand, gate, product)),
        _ => None,
    }
}

/// The function that starts at the node `gate`: with the product behind it if that is all that reads it.
pub(crate) fn curve_at(graph: &Graph, gate: NodeId) -> Option<(Curve, Vec<NodeId>)> {
    let operand = graph.operands(gate)[0];
    let product = match graph.consumers(gate)[..] {
        [product] => gated(graph, operand, gate, product),
        _ => None,
    };
    product.or_else(|| Some((plain(graph, gate)?, vec![gate])))
}

fn plain(graph: &Graph, node: NodeId) -> Option<Curve> {
    match &graph.node(node).op {
        Op::Unary(unary) => Some(Curve::Plain(*unary)),
        Op::PRelu { slope } => Some(Curve::Sloped(graph.param(*slope).as_f32().to_vec())),
        _ => None,
    }
}

fn gated(graph: &Graph, operand: NodeId, gate: NodeId, product: NodeId) -> Option<(Curve, Vec<NodeId>)> {
    let (Op::Unary(unary), Op::Mul) = (&graph.node(gate).op, &graph.node(product).op) else { return None };
    let factors = graph.operands(product);
    let pair = factors == [operand, gate] || factors == [gate, operand];
    let alone = graph.consumers(gate).len() == 1 && !graph.outputs().contains(&gate);
    (pair && alone && operand != gate).then(|| (Curve::Gated(*unary), vec![gate, product]))
}
