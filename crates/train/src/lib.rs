//! Training of a [`Graph`](espalier_ir::Graph): fine-tuning under pruning masks, knowledge
//! distillation, regularization, quantization-aware training, evaluation, gradients and activations.
//!
//! This is the only crate that knows burn. A graph is walked node by node with burn's tensor
//! functions; parameters stay in our own maps, so that a mask is one multiplication after each step.
//!
//! Results depend on the seed and on [`TrainConfig::shards`], never on the number of threads: a batch
//! is cut into a fixed number of shards, each computed by one thread, and summed in a fixed order.

mod activations;
mod augment;
mod config;
mod confusion;
mod dropout;
mod evaluate;
mod fake_quant;
mod fine_tune;
mod forward;
mod gates;
mod gradients;
mod head;
mod hooks;
mod kernels;
mod loss;
mod masking;
mod model;
mod native;
mod optimizer;
mod plan;
mod random;
mod regularize;
mod resume;
mod samples;
mod state;
mod teacher;
mod workers;

pub use activations::{ActivationChunk, visit_activations};
pub use augment::Augmentation;
pub use config::{Backend, Distillation, Execution, Masking, Optimizer, Schedule, TrainConfig};
pub use confusion::{Confusion, confusion};
pub use evaluate::{Accuracy, evaluate, logits, recalibrate_batch_norm};
pub use fake_quant::{ActivationQuant, FakeQuant, WeightQuant};
pub use fine_tune::{Checkpoint, EpochLog, FineTuned, FineTuning, Hooks, Progress, fine_tune, fine_tune_with};
pub use gates::gate_gradients;
pub use gradients::{gate_products, gradients};
pub use head::{NewHead, with_new_head};
pub use masking::{Remask, Remasking};
pub use regularize::{ParamSlices, Regularization};
pub use samples::Samples;
pub use state::TrainState;
