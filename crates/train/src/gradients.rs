//! Gradients for importance scores. Batch normalization uses its running statistics, so that a
//! gradient does not depend on which samples share a batch.

use espalier_ir::{Diagnostic, Diagnostics, Graph, Tensor, TensorMap};

use crate::forward::{Normalize, Params};
use crate::model::{Model, sum_gradients};
use crate::random::balanced;
use crate::workers::Workers;
use crate::{Execution, Samples};

/// Gate products of all batches together may take this much.
const MAX_BYTES: usize = 4 << 30;

/// Gradient of the mean cross-entropy over all samples, for every trained parameter, in its shape.
///
/// # Errors
/// If the graph cannot be executed, or the samples do not fit it.
pub fn gradients(graph: &Graph, samples: &Samples<'_>, execution: Execution) -> Result<TensorMap, Diagnostics> {
    let (model, workers) = prepare(graph, samples, execution)?;
    let indices: Vec<usize> = (0..samples.len()).collect();
    Ok(model.values(&mean_gradients(&model, samples, &indices, &workers)))
}

/// For each of `batches` consecutive parts of the samples: `w * g`, element by element, where `g` is
/// the gradient of the mean cross-entropy over that part.
///
/// The sum of the products over a slice of a weight is the derivative of the loss by a gate on that
/// slice, so squaring the sums and averaging over batches gives the Taylor importance of Molchanov et
/// al. 2019 (equation 8).
///
/// # Errors
/// As [`gradients`]; also if `batches` is 0 or exceeds the samples, or the result would be huge.
pub fn gate_products(
    graph: &Graph,
    samples: &Samples<'_>,
    batches: usize,
    execution: Execution,
) -> Result<Vec<TensorMap>, Diagnostics> {
    let (model, workers) = prepare(graph, samples, execution)?;
    if batches == 0 || batches > samples.len() {
        let message = format!("{batches} batches of {} samples", samples.len());
        return Err(Diagnostic::error("bad-training-option", "batches", message)
            .with_help("take at least 1 and at most one a sample")
            .into());
    }
    if graph.parameter_count().saturating_mul(batches).saturating_mul(4) > MAX_BYTES {
        let message = format!("{batches} batches of {} parameters exceed 4 GiB", graph.parameter_count());
        return Err(Diagnostic::error("too-large", "batches", message).with_help("use fewer batches").into());
    }
    let indices: Vec<usize> = (0..samples.len()).collect();
    let batches: Vec<&[usize]> = balanced(samples.len(), batches).into_iter().map(|r| &indices[r]).collect();
    let products = |gradients: &Params| -> TensorMap {
        model.values(gradients).into_iter().map(|(id, g)| (id, product(graph.param(id), g))).collect()
    };
    if batches.iter().any(|b| b.len() > model.plan.chunk()) {
        // Large batches keep all threads busy by themselves.
        return Ok(batches.iter().map(|b| products(&mean_gradients(&model, samples, b, &workers))).collect());
    }
    Ok(workers.map(&batches, |batch| {
        products(&model.shard(samples, batch, batch.len() as f32, Normalize::Running, None).gradients)
    }))
}

fn product(weight: &Tensor, mut gradient: Tensor) -> Tensor {
    for (g, w) in gradient.as_f32_mut().iter_mut().zip(weight.as_f32()) {
        *g *= w;
    }
    gradient
}

fn prepare(
    graph: &Graph,
    samples: &Samples<'_>,
    execution: Execution,
) -> Result<(Model<'static>, Workers), Diagnostics> {
    let model = Model::new(graph, None, execution)?;
    let mut findings = Diagnostics::new();
    samples.check("samples", &model.plan, &mut findings);
    findings.into_result((model, Workers::new(execution)?))
}

fn mean_gradients(model: &Model<'_>, samples: &Samples<'_>, indices: &[usize], workers: &Workers) -> Params {
    let divisor = indices.len() as f32;
    let chunks: Vec<&[usize]> = indices.chunks(model.plan.chunk()).collect();
    // A few chunks at a time bound the memory that their gradients take.
    let mut total = Params::new();
    for group in chunks.chunks(16) {
        let parts = workers.map(group, |c| model.shard(samples, c, divisor, Normalize::Running, None).gradients);
        total = workers.alone(|| sum_gradients(std::iter::once(total).chain(parts)));
    }
    total
}
