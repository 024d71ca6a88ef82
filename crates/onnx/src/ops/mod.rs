//! The operators: one table, one function each.

mod activation;
mod elementwise;
mod expand;
mod fold;
mod large_pool;
mod linear;
mod normalize;
mod pad;
mod pixels;
mod product;
mod quantize;
mod recurrent;
mod resize;
mod shape;
mod slicing;
mod window;

pub use shape::positions;

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
    /// Whether outputs behind the first may be used.
    pub many_outputs: bool,
    /// Imports one node.
    pub run: fn(&mut Importer<'_>, &Node<'_>) -> Outcome,
}

const fn operator(
    name: &'static str,
    inputs: RangeInclusive<usize>,
    run: fn(&mut Importer<'_>, &Node<'_>) -> Outcome,
) -> Operator {
    Operator { name, inputs, many_outputs: false, run }
}

/// Most operands of Concat.
const MANY: usize = 4096;

/// All supported operators, sorted by name.
const OPERATORS: &[Operator] = &[
    operator("Add", 2..=2, elementwise::add),
    operator("ArgMax", 1..=1, elementwise::argmax),
    operator("AveragePool", 1..=1, window::average_pool),
    operator("BatchNormalization", 5..=5, elementwise::batch_norm),
    operator("Cast", 1..=1, shape::cast),
    operator("Clip", 1..=3, elementwise::clip),
    operator("Concat", 1..=MANY, slicing::concat),
    operator("Constant", 0..=0, fold::constant),
    operator("ConstantOfShape", 1..=1, fold::constant_of_shape),
    operator("Conv", 2..=3, window::conv),
    operator("ConvTranspose", 2..=3, window::conv_transpose),
    operator("DepthToSpace", 1..=1, pixels::depth_to_space),
    operator("DequantizeLinear", 2..=3, quantize::dequantize),
    operator("Div", 2..=2, elementwise::div),
    operator("Dropout", 1..=3, shape::dropout),
    operator("Elu", 1..=1, activation::elu),
    operator("Expand", 2..=2, expand::expand),
    operator("Flatten", 1..=1, shape::flatten),
    Operator { many_outputs: true, ..operator("GRU", 3..=6, recurrent::gru) },
    operator("Gather", 2..=2, slicing::gather),
    operator("Gemm", 2..=3, linear::gemm),
    operator("GlobalAveragePool", 1..=1, window::global_average_pool),
    operator("GlobalMaxPool", 1..=1, window::global_max_pool),
    operator("GroupNormalization", 3..=3, normalize::group_norm),
    operator("HardSigmoid", 1..=1, activation::hard_sigmoid),
    operator("HardSwish", 1..=1, activation::hard_swish),
    operator("Identity", 1..=1, shape::identity),
    operator("InstanceNormalization", 3..=3, normalize::instance_norm),
    Operator { many_outputs: true, ..operator("LSTM", 3..=8, recurrent::lstm) },
    operator("LayerNormalization", 2..=3, normalize::layer_norm),
    operator("LeakyRelu", 1..=1, activation::leaky_relu),
    operator("MatMul", 2..=2, linear::matmul),
    operator("MaxPool", 1..=1, window::max_pool),
    operator("Mul", 2..=2, elementwise::mul),
    operator("PRelu", 2..=2, activation::prelu),
    operator("Pad", 1..=4, pad::pad),
    operator("QuantizeLinear", 2..=3, quantize::quantize),
    operator("ReduceMean", 1..=2, window::reduce_mean),
    operator("Relu", 1..=1, elementwise::relu),
    operator("Reshape", 2..=2, shape::reshape),
    operator("Resize", 2..=4, resize::resize),
    operator("Shape", 1..=1, shape::shape),
    operator("Sigmoid", 1..=1, activation::sigmoid),
    operator("Slice", 1..=5, slicing::slice),
    operator("Softmax", 1..=1, elementwise::softmax),
    operator("Softplus", 1..=1, activation::softplus),
    operator("SpaceToDepth", 1..=1, pixels::space_to_depth),
    Operator { many_outputs: true, ..operator("Split", 1..=2, slicing::split) },
    operator("Squeeze", 1..=2, shape::squeeze),
    operator("Sub", 2..=2, elementwise::sub),
    operator("Tanh", 1..=1, activation::tanh),
    operator("Transpose", 1..=1, shape::transpose),
    operator("Unsqueeze", 1..=2, shape::unsqueeze),
    operator("Upsample", 1..=2, resize::upsample),
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
        "TopK" => "end the model with the logits; the class is found on the host",
        "Selu" | "Gelu" | "Mish" | "Swish" | "Erf" | "Exp" => {
            "train with Relu or Clip (ReLU6), which is all that the write-back of the array does"
        }
        "Pow" | "Sqrt" | "ReduceSum" => {
            "write layer normalization as LayerNormalization: export with operator set 17 or a later one"
        }
        "Loop" | "Scan" => "unrolled recurrence is not read: export recurrent layers as LSTM or GRU operators",
        "RNN" => "of the recurrent layers LSTM and GRU are supported",
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
