//! From a float graph to the integers that the accelerator computes.
//!
//! [`calibrate`] observes every layer of [`espalier_ir::array_layers`] on samples, [`quantize`] turns the graph into a
//! [`QuantizedGraph`] (its only constructor), and [`ReferenceInterpreter`] defines the integers: the instruction-level
//! machine, the hardware and the QDQ model of [`to_qdq`] must give the same ones. `docs/numerics.md` is the
//! specification.

mod activation;
mod bounds;
mod calibrate;
mod exponents;
mod fold;
mod histogram;
mod interpreter;
mod kernel;
mod model;
mod qdq;
mod quantize;
mod requantize;
mod residual;
mod sqnr;
mod weights;

pub use calibrate::{CalibrationMethod, CalibrationTable, TensorStatistics, calibrate};
pub use fold::fold_batch_norm;
pub use interpreter::{ReferenceInterpreter, argmax};
pub use model::{
    FixedExponents, QuantParams, QuantizedGraph, QuantizedLayer, QuantizedOp, QuantizedTable, QuantizedTensor,
    power_of_two,
};
pub use qdq::{IntegerParams, QdqModel, to_qdq};
pub use quantize::{QuantizeOptions, WeightRounding, quantize};
pub use requantize::{requantize, shift_half_even, wide_digits, wide_value};
pub use residual::{QuantizedResidual, SUM_SHIFTS};
pub use sqnr::layer_sqnr;
