//! Training of a [`Graph`](espalier_ir::Graph): fine-tuning under pruning masks, knowledge
//! distillation, quantization-aware training, evaluation and gradients.
//!
//! This is the only crate that knows burn. A graph is walked node by node with burn's tensor
//! functions; parameters stay in our own maps, so that a mask is one multiplication after each step.
//!
//! Results depend on the seed and on [`TrainConfig::shards`], never on the number of threads: a batch
//! is cut into a fixed number of shards, each computed by one thread, and summed in a fixed order.

mod config;
mod evaluate;
mod fake_quant;
mod fine_tune;
mod forward;
mod gradients;
mod loss;
mod model;
mod operators;
mod optimizer;
mod plan;
mod random;
mod recurrent;
mod samples;
mod workers;

pub use config::{Backend, Distillation, Execution, Optimizer, Schedule, TrainConfig};
pub use evaluate::{Accuracy, evaluate, logits, recalibrate_batch_norm};
pub use fake_quant::{ActivationQuant, FakeQuant, WeightQuant};
pub use fine_tune::{EpochLog, FineTuned, FineTuning, Progress, fine_tune};
pub use gradients::{gate_products, gradients};
pub use samples::Samples;
