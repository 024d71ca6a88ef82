//! ONNX bytes to [`espalier_ir::Graph`] and back.
//!
//! [`import`] reads a model as it is at batch size one: a dynamic batch axis becomes 1, shapes that
//! the model computes become constants, and operators that only rename or reorder values disappear.
//! Whatever it cannot express is reported, everything at once. [`export`] writes any graph, also
//! one with quantize / dequantize nodes, for operator set 13 or the first later one that has all its operators.
//!
//! Files are not trusted: a size is believed only when the file holds that many values.

mod compound;
mod constant;
mod decode;
mod export;
mod import;
mod layout;
mod node;
mod ops;
#[rustfmt::skip]
#[allow(missing_docs, clippy::all)]
mod proto;
mod sequence;
#[cfg(test)]
mod tests;
mod topology;
mod value;
mod write;

pub use export::{ExportOptions, QuantizedParam, export, export_with};
pub use import::import;
