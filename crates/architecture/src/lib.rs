//! Architecture files: a network that is still to be trained, as a list of layers in TOML.
//!
//! A front end like the ONNX importer: text in, [`Graph`](espalier_ir::Graph) out. Each entry becomes one
//! [`Op`](espalier_ir::Op) (a few become two), so shapes, training and pruning are those of any other model;
//! [`initialize`] gives it random weights. `docs/training.md` describes the format, `examples/architectures/`
//! holds networks.

mod build;
mod initialize;
mod layer;
mod nodes;
mod padding;
mod table;

pub use build::{Architecture, read};
pub use initialize::initialize;
