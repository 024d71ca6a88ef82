//! A plan with its parameters on a device: what evaluation, gradients and training share.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use espalier_ir::{Diagnostics, Graph, NodeId, Op, ParamId, Tensor as Values, TensorMap};

use crate::dropout::Dropout;
use crate::fake_quant::FakeQuant;
use crate::forward::{BatchStatistics, Forward, Normalize, Params};
use crate::kernels::windows::Windows;
use crate::loss::{Blend, Teaching, predicted, summed_loss};
use crate::native::{self, Walk};
use crate::plan::Plan;
use crate::{Backend, Execution, Samples};

pub(crate) struct Model<'a> {
    pub(crate) plan: Plan,
    pub(crate) params: Params,
    pub(crate) quantization: Option<&'a FakeQuant>,
    pub(crate) device: Device,
    /// Windows of the steps, if our own kernels compute.
    native: Option<Vec<Option<Windows>>>,
}

/// How to train on a part of a batch.
pub(crate) struct Pass<'a> {
    /// Divides the summed loss.
    pub(crate) divisor: f32,
    pub(crate) normalize: Normalize,
    pub(crate) teaching: Option<&'a Teaching>,
    /// Share of the labels that is spread over all classes.
    pub(crate) smoothing: f32,
    pub(crate) dropout: Option<Dropout<'a>>,
    /// What is blended into each sample.
    pub(crate) blends: Option<&'a [Blend]>,
    /// Where these are 0, nobody looks at the gradient.
    pub(crate) masks: &'a Params,
}

/// Loss, hits and gradients of a part of a batch.
pub(crate) struct Shard {
    /// Sum over the samples.
    pub(crate) loss: f64,
    pub(crate) correct: usize,
    /// Gradients of the summed loss divided by the divisor that was asked for.
    pub(crate) gradients: Params,
    pub(crate) statistics: Vec<BatchStatistics>,
}

impl<'a> Model<'a> {
    /// # Errors
    /// What [`Plan::new`] and [`FakeQuant::check`] find.
    pub(crate) fn new(
        graph: &Graph,
        quantization: Option<&'a FakeQuant>,
        execution: Execution,
    ) -> Result<Self, Diagnostics> {
        let plan = Plan::new(graph)?;
        let mut findings = Diagnostics::new();
        if let Some(quantization) = quantization {
            quantization.check(&plan, &mut findings);
        }
        let device = execution.backend.device()?;
        let params = plan.params.keys().map(|p| (*p, flat(graph.param(*p).as_f32().to_vec(), &device))).collect();
        let native = (execution.backend == Backend::Native).then(|| native::windows(&plan));
        findings.into_result(Model { plan, params, quantization, device, native })
    }

    /// Logits of whole samples, `[samples * classes]`.
    pub(crate) fn logits(&self, inputs: &[f32]) -> Vec<f32> {
        let forward = self.forward(&self.params, Normalize::Running);
        match &self.native {
            Some(windows) => Walk::new(forward, windows, false).run(inputs),
            None => to_vec(forward.run(inputs.to_vec()).0),
        }
    }

    pub(crate) fn forward<'b>(&'b self, params: &'b Params, normalize: Normalize) -> Forward<'b> {
        Forward {
            plan: &self.plan,
            params,
            normalize,
            quantization: self.quantization,
            device: &self.device,
            dropout: None,
            hooks: None,
        }
    }

    fn forward_of<'b>(&'b self, params: &'b Params, pass: &Pass<'b>) -> Forward<'b> {
        Forward { dropout: pass.dropout, ..self.forward(params, pass.normalize) }
    }

    /// Forward and backward over the samples with these indices.
    pub(crate) fn shard(
        &self,
        samples: &Samples<'_>,
        indices: &[usize],
        divisor: f32,
        normalize: Normalize,
        teaching: Option<&Teaching>,
    ) -> Shard {
        let inputs: Vec<f32> = indices.iter().flat_map(|i| samples.input(*i)).copied().collect();
        let labels: Vec<u32> = indices.iter().map(|i| samples.labels[*i]).collect();
        let masks = &Params::new();
        let pass = Pass { divisor, normalize, teaching, smoothing: 0.0, dropout: None, blends: None, masks };
        self.pass(inputs, &labels, &pass)
    }

    /// Forward and backward over these samples.
    pub(crate) fn pass(&self, inputs: Vec<f32>, labels: &[u32], pass: &Pass<'_>) -> Shard {
        match &self.native {
            Some(windows) => self.native_shard(windows, &inputs, labels, pass),
            None => self.burn_shard(inputs, labels, pass),
        }
    }

    fn native_shard(&self, windows: &[Option<Windows>], inputs: &[f32], labels: &[u32], pass: &Pass<'_>) -> Shard {
        let mut walk = Walk::new(self.forward_of(&self.params, pass), windows, true);
        let host_logits = walk.run(inputs);
        let shape = [labels.len(), self.plan.classes];
        let logits = Tensor::<2>::from_data(TensorData::new(host_logits.clone(), shape), &self.device);
        let logits = logits.autodiff().require_grad();
        let loss = summed_loss(logits.clone(), labels, pass.blends, pass.smoothing, pass.teaching, &self.device);
        let value = f64::from(loss.clone().inner().into_scalar::<f32>());
        let mut tape = loss.div_scalar(pass.divisor).backward();
        let gradient = logits.grad_remove(&mut tape).map_or_else(|| vec![0.0; host_logits.len()], to_vec);
        let statistics = std::mem::take(&mut walk.statistics);
        let gradients = walk.backward(&gradient, pass.masks);
        Shard { loss: value, correct: self.hits(&host_logits, labels), gradients, statistics }
    }

    fn burn_shard(&self, inputs: Vec<f32>, labels: &[u32], pass: &Pass<'_>) -> Shard {
        // Leaves of its own keep the tape of this shard apart from those of other threads.
        let leaves: Params = self
            .params
            .iter()
            .map(|(id, t)| {
                let trainable = self.plan.trainable.contains(id);
                (*id, if trainable { t.clone().autodiff().require_grad() } else { t.clone() })
            })
            .collect();
        let (logits, statistics) = self.forward_of(&leaves, pass).run(inputs);
        let host_logits = to_vec(logits.clone().inner());
        let correct = self.hits(&host_logits, labels);
        let loss = summed_loss(logits, labels, pass.blends, pass.smoothing, pass.teaching, &self.device);
        let value = f64::from(loss.clone().inner().into_scalar::<f32>());
        // Without a parameter there is no tape, which burn answers with a panic.
        let gradients = if self.plan.trainable.is_empty() {
            Params::new()
        } else {
            let mut tape = loss.div_scalar(pass.divisor).backward();
            let trained = leaves.iter().filter(|(id, _)| self.plan.trainable.contains(id));
            trained.filter_map(|(id, leaf)| leaf.grad_remove(&mut tape).map(|g| (*id, g))).collect()
        };
        Shard { loss: value, correct, gradients, statistics }
    }

    fn hits(&self, logits: &[f32], labels: &[u32]) -> usize {
        let rows = logits.chunks(self.plan.classes).zip(labels);
        rows.filter(|(row, label)| predicted(row) == **label as usize).count()
    }

    /// Running statistics after a batch: `(1 - momentum) * old + momentum * new`, where the new mean
    /// and unbiased variance are those of the shards, weighted by their elements.
    pub(crate) fn update_statistics(&mut self, shards: &[Vec<BatchStatistics>], momentum: f32) {
        for (node, (mean, variance)) in averaged_statistics(shards) {
            let Some((mean_id, variance_id)) = self.statistics_of(node) else { continue };
            for (id, new) in [(mean_id, mean), (variance_id, variance)] {
                let old = self.params[&id].clone().mul_scalar(1.0 - momentum);
                self.params.insert(id, old + new.mul_scalar(momentum));
            }
        }
    }

    /// Running mean and variance of a BatchNorm node.
    pub(crate) fn statistics_of(&self, node: NodeId) -> Option<(ParamId, ParamId)> {
        self.plan.steps.iter().find(|s| s.node == node).and_then(|s| match s.op {
            Op::BatchNorm { mean, variance, .. } => Some((mean, variance)),
            _ => None,
        })
    }

    /// The parameters as plain data, in the shapes of the graph.
    pub(crate) fn values(&self, params: &Params) -> TensorMap {
        params.iter().map(|(id, t)| (*id, Values::f32(self.plan.params[id].clone(), to_vec(t.clone())))).collect()
    }

    /// The graph with these parameters.
    pub(crate) fn graph_with(&self, graph: &Graph, params: &Params) -> Graph {
        let mut graph = graph.clone();
        for (id, tensor) in self.values(params) {
            graph.set_param(id, tensor);
        }
        graph
    }
}

fn averaged_statistics(shards: &[Vec<BatchStatistics>]) -> BTreeMap<NodeId, (Tensor<1>, Tensor<1>)> {
    let mut sums: BTreeMap<NodeId, (Tensor<1>, Tensor<1>, usize)> = BTreeMap::new();
    for BatchStatistics { node, mean, variance, count } in shards.iter().flatten() {
        let mean = mean.clone().mul_scalar(*count as f32);
        let unbiased = variance.clone().mul_scalar(*count as f32 * *count as f32 / (*count as f32 - 1.0).max(1.0));
        let sum = match sums.remove(node) {
            Some((m, v, n)) => (m + mean, v + unbiased, n + count),
            None => (mean, unbiased, *count),
        };
        sums.insert(*node, sum);
    }
    sums.into_iter().map(|(node, (m, v, n))| (node, (m.div_scalar(n as f32), v.div_scalar(n as f32)))).collect()
}

/// Adds gradients in the order of the list.
pub(crate) fn sum_gradients(parts: impl IntoIterator<Item = Params>) -> Params {
    let mut total = Params::new();
    for part in parts {
        for (id, gradient) in part {
            let sum = match total.remove(&id) {
                Some(so_far) => so_far + gradient,
                None => gradient,
            };
            total.insert(id, sum);
        }
    }
    total
}

/// A flat tensor without autodiff.
pub(crate) fn flat(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// The values of a tensor, row-major.
pub(crate) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("all our tensors hold f32")
}
