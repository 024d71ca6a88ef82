//! The operators: one table, one function each.

mod elementwise;
mod fold;
mod linear;
mod pad;
mod quantize;
mod shape;
mod slicing;
mod window;

use std::ops::RangeInclusive;

use crate::import::Importer;
use crate::node::Node;
use crate::value::Outcome;

/// How an operator is imported.
pub struct Operator {
    /// Name in ONNX.
    pub name: &'static str,
    /// Possible numbers of inputs.
    pub inputs: RangeInclusive<usize>,
    /// Imports one node.
    pub run: fn(&mut Importer<'_>, &Node<'_>) -> Outcome,
}

const fn operator(
    name: &'static str,
    inputs: RangeInclusive<usize>,
    run: fn(&mut Importer<'_>, &Node<'_>) -> Outcome,
) -> Operator {
    Operator { name, inputs, run }
}

/// Most operands of Concat.
const MANY: usize = 4096;

/// All supported operators, sorted by name.
const OPERATORS: &[Operator] = &[
    operator("Add", 2..=2, elementwise::add),
    operator("AveragePool", 1..=1, window::average_pool),
    operator("BatchNormalization", 5..=5, elementwise::batch_norm),
    operator("Cast", 1..=1, shape::cast),
    operator("Clip", 1..=3, elementwise::clip),
    operator("Concat", 1..=MANY, slicing::concat),
    operator("Constant", 0..=0, fold::constant),
    operator("ConstantOfShape", 1..=1, fold::constant_of_shape),
    operator("Conv", 2..=3, window::conv),
    operator("DequantizeLinear", 2..=3, quantize::dequantize),
    operator("Div", 2..=2, elementwise::div),
    operator("Dropout", 1..=3, shape::dropout),
    operator("Flatten", 1..=1, shape::flatten),
    operator("Gather", 2..=2, slicing::gather),
    operator("Gemm", 2..=3, linear::gemm),
    operator("GlobalAveragePool", 1..=1, window::global_average_pool),
    operator("GlobalMaxPool", 1..=1, window::global_max_pool),
    operator("Identity", 1..=1, shape::identity),
    operator("MatMul", 2..=2, linear::matmul),
    operator("MaxPool", 1..=1, window::max_pool),
    operator("Mul", 2..=2, elementwise::mul),
    operator("Pad", 1..=4, pad::pad),
    operator("QuantizeLinear", 2..=3, quantize::quantize),
    operator("ReduceMean", 1..=2, window::reduce_mean),
    operator("Relu", 1..=1, elementwise::relu),
    operator("Reshape", 2..=2, shape::reshape),
    operator("Shape", 1..=1, shape::shape),
    operator("Slice", 1..=5, slicing::slice),
    operator("Softmax", 1..=1, elementwise::softmax),
    operator("Squeeze", 1..=2, shape::squeeze),
    operator("Sub", 2..=2, elementwise::sub),
    operator("Transpose", 1..=1, shape::transpose),
    operator("Unsqueeze", 1..=2, shape::unsqueeze),
];

/// The operator with this name.
pub fn find(name: &str) -> Option<&'static Operator> {
    OPERATORS.binary_search_by_key(&name, |o| o.name).ok().map(|i| &OPERATORS[i])
}

/// Names of all operators.
pub fn names() -> Vec<&'static str> {
    OPERATORS.iter().map(|o| o.name).collect()
}

/// What to use instead of some operators that networks often have.
pub fn advice(name: &str) -> Option<&'static str> {
    Some(match name {
        "LogSoftmax" => "use Softmax, or end the model with the logits: their order is the same",
        "ArgMax" | "TopK" => "end the model with the logits; the class is found on the host",
        "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "Gelu" | "Sigmoid" | "Tanh" | "HardSigmoid" | "HardSwish" | "Mish"
        | "Softplus" | "Swish" => "the write-back of the array can clamp only: train with Relu or Clip (ReLU6) instead",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(OPERATORS.is_sorted_by_key(|o| o.name));
        assert!(OPERATORS.iter().all(|o| find(o.name).is_some()));
        assert!(find("Conv3D").is_none());
    }
}
