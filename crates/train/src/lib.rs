//! Training of a [`Graph`](espalier_ir::Graph): fine-tuning under pruning masks, knowledge
//! distillation, regularization, quantization-aware training, evaluation, gradients and activations.
//!
//! This is the only crate that knows burn. A graph is walked node by node; parameters stay in our own
//! maps, so that a mask is one multiplication after each step. With [`Backend::Native`] the operators
//! that take the time have kernels of their own, forward and backward (`kernels`), on values that hold
//! samples in their last axis; every other operator is computed and differentiated by burn. The other
//! backends are burn alone, and the tests compare all of them. `cargo bench --workspace --bench train`,
//! `--bench burn_modules` and `benches/tensorflow_resnet8.py` time the same networks in all three ways.
//!
//! Batches are gathered and augmented inside the shards: gathering takes below 3 % of a step of LeNet-5 or
//! ResNet-8, less than handing batches over from a thread of their own could save.
//!
//! What changes while it trains goes through [`Hooks`]: masks ([`Masking::Feedback`]) and checkpoints
//! ([`TrainState`]).
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
mod operators;
mod optimizer;
mod plan;
mod random;
mod recurrent;
mod regularize;
mod resume;
mod samples;
mod state;
mod teacher;
mod workers;

pub use activations::{ActivationChunk, visit_activations};
pub use augment::Augmentation;
pub use config::{Backend, Distillation, Execution, Masking, Optimizer, Schedule, TrainConfig};
pub use confusion::{Confusion, confusion, judge};
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
