//! Forward and backward passes with our own kernels for the operators that take the time; all others
//! are computed and differentiated by burn, one small tape each.

use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};
use espalier_ir::{Conv, Op, ParamId};

use crate::fake_quant;
use crate::forward::{BatchStatistics, Forward, Normalize, Params};
use crate::kernels::windows::Windows;
use crate::kernels::{conv, elementwise, layout, norm, pool};
use crate::model::{flat, to_vec};
use crate::plan::{Plan, Step};

/// Windows of the steps that have some, by step.
pub(crate) fn windows(plan: &Plan) -> Vec<Option<Windows>> {
    let of = |step: &Step| {
        let input = || {
            let [_, h, w] = plan.steps[step.operands[0]].dims;
            [h, w]
        };
        let output = [step.dims[1], step.dims[2]];
        match &step.op {
            Op::Conv(conv) => {
                let shape = &plan.params[&conv.weight];
                let kernel = [shape[2], shape[3]];
                Some(Windows::new(input(), output, kernel, conv.stride, conv.pads, conv.dilation))
            }
            Op::MaxPool(pool) => Some(Windows::new(input(), output, pool.kernel, pool.stride, pool.pads, [1, 1])),
            Op::Gemm { .. } => Some(Windows::single()),
            _ => None,
        }
    };
    plan.steps.iter().map(of).collect()
}

/// A value of some samples: `[blocks][pixels][channels][LANES]`.
type Value = Rc<Vec<f32>>;

/// What the backward pass of a step needs.
enum Saved {
    /// Inputs, and steps without a gradient in this walk.
    Nothing,
    Conv {
        x: Value,
        weight: Vec<f32>,
        rounded: Option<Box<Rounded>>,
        dropped: Option<Vec<f32>>,
    },
    Norm {
        x: Value,
        mean: Vec<f32>,
        inverse_deviation: Vec<f32>,
        gamma: Vec<f32>,
        of_batch: bool,
    },
    Relu {
        y: Value,
    },
    Clip {
        x: Value,
        min: f32,
        max: f32,
    },
    Max {
        x: Value,
        y: Value,
    },
    Mean,
    Add,
    Flatten,
    Burn {
        operands: Vec<Tensor<4>>,
        leaves: Params,
        output: Box<Tensor<4>>,
    },
}

/// Weight and bias before and after rounding, on a tape.
struct Rounded {
    leaves: Params,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
}

/// Rounding of a value, on a tape, element by element.
struct RoundedValue {
    before: Tensor<4>,
    after: Tensor<4>,
}

/// One walk over the steps for some samples.
pub(crate) struct Walk<'a> {
    forward: Forward<'a>,
    windows: &'a [Option<Windows>],
    samples: usize,
    /// Keep what the backward pass needs.
    differentiate: bool,
    saved: Vec<(Saved, Option<RoundedValue>)>,
    pub(crate) statistics: Vec<BatchStatistics>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(forward: Forward<'a>, windows: &'a [Option<Windows>], differentiate: bool) -> Self {
        Walk { forward, windows, samples: 0, differentiate, saved: Vec::new(), statistics: Vec::new() }
    }

    /// Logits `[samples * classes]` of `inputs`, which holds whole samples.
    pub(crate) fn run(&mut self, inputs: &[f32]) -> Vec<f32> {
        let plan = self.forward.plan;
        self.samples = inputs.len() / plan.sample_len;
        let mut values: Vec<Option<Value>> = Vec::with_capacity(plan.steps.len());
        let mut left: Vec<usize> = plan.steps.iter().map(|s| s.readers).collect();
        for (index, step) in plan.steps.iter().enumerate() {
            let mut operands = Vec::with_capacity(step.operands.len());
            for operand in &step.operands {
                left[*operand] -= 1;
                let value = if left[*operand] == 0 { values[*operand].take() } else { values[*operand].clone() };
                operands.push(value.expect("values live until their last reader"));
            }
            let (mut value, saved) = match &step.op {
                Op::Input { .. } => {
                    let [c, h, w] = step.dims;
                    (Rc::new(layout::pack(inputs, c, h * w)), Saved::Nothing)
                }
                _ => self.step(index, step, operands),
            };
            let mut rounded = None;
            if let Some(quant) = self.forward.quantization.and_then(|q| q.activations.get(&step.node)) {
                let before = self.leaf(Tensor::from_data(
                    TensorData::new(value.to_vec(), [1, 1, 1, value.len()]),
                    self.forward.device,
                ));
                let after = fake_quant::activation(before.clone(), *quant);
                value = Rc::new(to_vec(after.clone()));
                rounded = self.differentiate.then_some(RoundedValue { before, after });
            }
            if self.differentiate {
                self.saved.push((saved, rounded));
            }
            values.push(Some(value));
        }
        let output = values[plan.output].take().expect("the output was computed");
        let [c, h, w] = plan.steps[plan.output].dims;
        layout::unpack(&output, self.samples, c, h * w)
    }

    fn leaf<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        if self.differentiate { tensor.autodiff().require_grad() } else { tensor }
    }

    fn host(&self, param: ParamId) -> Vec<f32> {
        to_vec(self.forward.params[&param].clone())
    }

    fn step(&mut self, index: usize, step: &Step, operands: Vec<Value>) -> (Value, Saved) {
        let quantized = self.forward.quantization.is_some_and(|q| q.weights.contains_key(&step.node));
        let x = operands[0].clone();
        let (value, saved) = match &step.op {
            Op::Conv(Conv { weight, bias, .. }) | Op::Gemm { weight, bias } => {
                let (weight, bias, rounded) = self.weight_and_bias(step, *weight, *bias, quantized);
                let features = self.forward.plan.steps[step.operands[0]].dims[0];
                let dropped = matches!(step.op, Op::Gemm { .. }).then(|| self.forward.dropout_factors(step, features));
                let dropped = dropped.flatten().map(|factors| layout::pack(&factors, features, 1));
                let x = match &dropped {
                    Some(factors) => Rc::new(elementwise::product(&x, factors)),
                    None => x,
                };
                let y = self.conv_shape(index, step).forward(&x, &weight, bias.as_deref());
                (y, Saved::Conv { x, weight, rounded, dropped })
            }
            Op::BatchNorm { gamma, beta, mean, variance, epsilon } if !quantized => {
                let [gamma, beta] = [gamma, beta].map(|p| self.host(*p));
                let of_batch = self.forward.normalize(step) == Normalize::Batch;
                let (mean, variance) = if of_batch {
                    let (mean, variance) = norm::statistics(&x, self.samples, step.dims[0]);
                    self.statistics.push(BatchStatistics {
                        node: step.node,
                        mean: flat(mean.clone(), self.forward.device),
                        variance: flat(variance.clone(), self.forward.device),
                        count: self.samples * step.dims[1] * step.dims[2],
                    });
                    (mean, variance)
                } else {
                    (self.host(*mean), self.host(*variance))
                };
                let inverse_deviation: Vec<f32> = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
                let factor: Vec<f32> = gamma.iter().zip(&inverse_deviation).map(|(g, d)| g * d).collect();
                let offset: Vec<f32> = beta.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
                (norm::scale(&x, &factor, &offset), Saved::Norm { x, mean, inverse_deviation, gamma, of_batch })
            }
            Op::Relu => {
                let y = Rc::new(elementwise::relu(&x));
                return (y.clone(), Saved::Relu { y });
            }
            Op::Clip { min, max } => (elementwise::clip(&x, *min, *max), Saved::Clip { x, min: *min, max: *max }),
            Op::MaxPool(_) => {
                let windows = self.windows[index].as_ref().expect("pooling has windows");
                let y = Rc::new(pool::max(&x, windows, step.dims[0]));
                return (y.clone(), Saved::Max { x, y });
            }
            Op::GlobalAveragePool if !quantized => (pool::mean(&x, step.dims[0], self.pixels(step)), Saved::Mean),
            Op::Add => (elementwise::add(&x, &operands[1]), Saved::Add),
            Op::Flatten | Op::Reshape { .. } if step.dims[1] * step.dims[2] == 1 => {
                let [c, ..] = self.forward.plan.steps[step.operands[0]].dims;
                (layout::swap(&x, self.pixels(step), c), Saved::Flatten)
            }
            _ => return self.by_burn(step, &operands),
        };
        (Rc::new(value), saved)
    }

    /// Pixels of the first operand of a step.
    fn pixels(&self, step: &Step) -> usize {
        let [_, h, w] = self.forward.plan.steps[step.operands[0]].dims;
        h * w
    }

    fn conv_shape(&self, index: usize, step: &Step) -> conv::Shape<'a> {
        let windows = self.windows[index].as_ref().expect("convolutions have windows");
        let [inputs, ..] = self.forward.plan.steps[step.operands[0]].dims;
        let groups = if let Op::Conv(conv) = &step.op { conv.groups } else { 1 };
        conv::Shape { windows, inputs, outputs: step.dims[0], groups }
    }

    fn weight_and_bias(
        &self,
        step: &Step,
        weight: ParamId,
        bias: Option<ParamId>,
        quantized: bool,
    ) -> (Vec<f32>, Option<Vec<f32>>, Option<Box<Rounded>>) {
        if !quantized {
            return (self.host(weight), bias.map(|b| self.host(b)), None);
        }
        let leaves = self.leaves(step);
        let quant = self.forward.quantization.and_then(|q| q.weights.get(&step.node));
        let (weight, bias) = Forward { params: &leaves, ..self.forward }.weight_and_bias(weight, bias, quant);
        let host = (to_vec(weight.clone()), bias.clone().map(to_vec));
        (host.0, host.1, Some(Box::new(Rounded { leaves, weight, bias })))
    }

    /// The parameters of a step, on a tape of their own if they learn.
    fn leaves(&self, step: &Step) -> Params {
        let params = step.op.params().into_iter();
        params
            .map(|id| {
                let tensor = self.forward.params[&id].clone();
                (id, if self.forward.plan.trainable.contains(&id) { self.leaf(tensor) } else { tensor })
            })
            .collect()
    }

    fn by_burn(&mut self, step: &Step, operands: &[Value]) -> (Value, Saved) {
        let operands: Vec<Tensor<4>> = operands
            .iter()
            .zip(&step.operands)
            .map(|(value, operand)| {
                let [c, h, w] = self.forward.plan.steps[*operand].dims;
                let data = TensorData::new(layout::unpack(value, self.samples, c, h * w), [self.samples, c, h, w]);
                self.leaf(Tensor::from_data(data, self.forward.device))
            })
            .collect();
        let leaves = self.leaves(step);
        let mut statistics = Vec::new();
        let output = Forward { params: &leaves, ..self.forward }.step(step, operands.clone(), &mut statistics);
        self.statistics.extend(statistics);
        let [c, h, w] = step.dims;
        (
            Rc::new(layout::pack(&to_vec(output.clone()), c, h * w)),
            Saved::Burn { operands, leaves, output: Box::new(output) },
        )
    }

    /// Gradients of the trained parameters, from the gradient of the logits `[samples * classes]`. Those of weights
    /// under `masks` need not be right.
    pub(crate) fn backward(mut self, logits: &[f32], masks: &Params) -> Params {
        let plan = self.forward.plan;
        // Steps without a trained parameter before them need no gradient.
        let mut needed = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let trains = step.op.params().iter().any(|p| plan.trainable.contains(p));
            needed.push(trains || step.operands.iter().any(|o| needed[*o]));
        }
        let mut gradients: Vec<Option<Vec<f32>>> = plan.steps.iter().map(|_| None).collect();
        let [c, h, w] = plan.steps[plan.output].dims;
        gradients[plan.output] = Some(layout::pack(logits, c, h * w));
        let mut result = Params::new();
        for (index, step) in plan.steps.iter().enumerate().rev() {
            let (saved, rounded) = self.saved.pop().expect("one entry a step");
            let Some(mut gradient) = gradients[index].take().filter(|_| needed[index]) else { continue };
            if let Some(RoundedValue { before, after }) = rounded {
                let seed = Tensor::from_data(TensorData::new(gradient, after.dims()), self.forward.device);
                let mut tape = (after * seed).sum().backward();
                gradient = to_vec(before.grad_remove(&mut tape).expect("the value is on the tape"));
            }
            let wanted: Vec<bool> = step.operands.iter().map(|o| needed[*o]).collect();
            let passed = self.step_backward((index, step), saved, gradient, &wanted, masks, &mut result);
            for (operand, gradient) in step.operands.iter().zip(passed) {
                let Some(gradient) = gradient else { continue };
                match &mut gradients[*operand] {
                    Some(sum) => elementwise::add_to(sum, &gradient),
                    empty => *empty = Some(gradient),
                }
            }
        }
        result
    }

    /// Gradients of the operands that want one; those of parameters are added to `result`.
    fn step_backward(
        &self,
        (index, step): (usize, &Step),
        saved: Saved,
        mut gradient: Vec<f32>,
        wanted: &[bool],
        masks: &Params,
        result: &mut Params,
    ) -> Vec<Option<Vec<f32>>> {
        let trains = |id: &ParamId| self.forward.plan.trainable.contains(id);
        let mut add = |id: ParamId, gradient: Tensor<1>| {
            if !trains(&id) {
                return;
            }
            let sum = match result.remove(&id) {
                Some(so_far) => so_far + gradient,
                None => gradient,
            };
            result.insert(id, sum);
        };
        let device = self.forward.device;
        let passed = match saved {
            Saved::Nothing => return Vec::new(),
            Saved::Conv { x, weight, rounded, dropped } => {
                let (Op::Conv(Conv { weight: weight_id, bias: bias_id, .. })
                | Op::Gemm { weight: weight_id, bias: bias_id }) = &step.op
                else {
                    unreachable!("saved by these operators")
                };
                let shape = self.conv_shape(index, step);
                let mask = masks.get(weight_id).map(|m| to_vec(m.clone()));
                let weight_gradient = match trains(weight_id) {
                    true => shape.weight_gradient(&x, &gradient, mask.as_deref()),
                    false => vec![0.0; weight.len()],
                };
                let weight_gradient = flat(weight_gradient, device);
                let bias_gradient =
                    bias_id.map(|_| flat(norm::channel_sums(&gradient, self.samples, step.dims[0]), device));
                match rounded {
                    None => {
                        add(*weight_id, weight_gradient);
                        bias_id.iter().zip(bias_gradient).for_each(|(id, g)| add(*id, g));
                    }
                    Some(rounded) if !rounded.leaves.keys().any(trains) => {}
                    Some(rounded) => {
                        let Rounded { leaves, weight, bias } = *rounded;
                        let mut product = (weight * weight_gradient).sum();
                        if let (Some(bias), Some(gradient)) = (bias, bias_gradient) {
                            product = product + (bias * gradient).sum();
                        }
                        let mut tape = product.backward();
                        for (id, leaf) in leaves {
                            leaf.grad_remove(&mut tape).into_iter().for_each(|g| add(id, g));
                        }
                    }
                }
                wanted[0].then(|| {
                    let gradient = shape.input_gradient(&gradient, &weight);
                    match &dropped {
                        Some(factors) => elementwise::product(&gradient, factors),
                        None => gradient,
                    }
                })
            }
            Saved::Norm { x, mean, inverse_deviation, gamma, of_batch } => {
                let Op::BatchNorm { gamma: gamma_id, beta, .. } = step.op else {
                    unreachable!("saved by this operator")
                };
                let terms = [&mean[..], &inverse_deviation, &gamma];
                let gradients = norm::gradients(&gradient, &x, self.samples, terms, of_batch);
                add(gamma_id, flat(gradients.gamma, device));
                add(beta, flat(gradients.beta, device));
                Some(gradients.x)
            }
            Saved::Relu { y } => {
                elementwise::relu_gradient(&mut gradient, &y);
                Some(gradient)
            }
            Saved::Clip { x, min, max } => {
                elementwise::clip_gradient(&mut gradient, &x, min, max);
                Some(gradient)
            }
            Saved::Max { x, y } => {
                let windows = self.windows[index].as_ref().expect("pooling has windows");
                Some(pool::max_gradient(&gradient, &x, &y, windows, step.dims[0]))
            }
            Saved::Mean => Some(pool::mean_gradient(&gradient, step.dims[0], self.pixels(step))),
            Saved::Add => return vec![Some(gradient.clone()), Some(gradient)],
            Saved::Flatten => {
                let [c, ..] = self.forward.plan.steps[step.operands[0]].dims;
                Some(layout::swap(&gradient, c, self.pixels(step)))
            }
            Saved::Burn { operands, leaves, output } => {
                let [c, h, w] = step.dims;
                let seed = layout::unpack(&gradient, self.samples, c, h * w);
                let seed = Tensor::from_data(TensorData::new(seed, [self.samples, c, h, w]), device);
                let mut tape = (*output * seed).sum().backward();
                for (id, leaf) in leaves {
                    leaf.grad_remove(&mut tape).into_iter().for_each(|g| add(id, g));
                }
                let packed = |leaf: Tensor<4>| {
                    let [_, c, h, w] = leaf.dims();
                    leaf.grad_remove(&mut tape).map(|g| layout::pack(&to_vec(g), c, h * w))
                };
                return operands.into_iter().map(packed).collect();
            }
        };
        vec![passed]
    }
}
