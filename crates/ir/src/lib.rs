//! The network graph that every stage of Espalier shares, and nothing else.
//!
//! A [`Graph`] is a directed acyclic graph of [`Node`]s, each with one [`Op`] and exactly one
//! output value; parameters (weights, biases, statistics) live beside the nodes and are named by
//! [`ParamId`], so that two nodes may share one. Shapes are per sample: the batch axis is implicit.
//! [`array_layers`] groups nodes into the layers that the accelerator executes; the cost model, the
//! quantizer and the scheduler all start from that one list, so they cannot disagree.
//!
//! This crate knows no file, no process and no other crate of the workspace.

mod curve;
mod diagnostic;
mod evaluate;
mod graph;
mod infer;
mod input;
mod interleave;
mod layers;
mod nearest;
mod normalize;
mod op;
mod product;
mod random;
mod recurrent;
mod residual;
mod tensor;
mod text;
mod unary;
mod unroll;
mod upsample;
mod verify;
mod wide;

pub use curve::{Curve, LayerCurve};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use evaluate::{evaluate, evaluate_output};
pub use graph::{Graph, Node, NodeId, ParamId};
pub use infer::infer_shape;
pub use input::{InputLayout, input_layout};
pub use interleave::Interleave;
pub use layers::{Activation, ArrayLayer, ArrayOp, LayerSource, array_layers};
pub use nearest::nearest;
pub use normalize::{Normalize, Statistics};
pub use op::{Conv, ConvTranspose, Op, Pads, Pool};
pub use random::Random;
pub use recurrent::{Cell, Recurrent};
pub use residual::Residual;
pub use tensor::{Tensor, TensorData, TensorMap};
pub use unary::Unary;
pub use unroll::unrolled;
