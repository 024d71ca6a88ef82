//! One walk over the steps of a plan, for inference and for training alike.

use std::collections::BTreeMap;

use burn::tensor::activation::{relu, softmax};
use burn::tensor::module::{avg_pool2d, batch_norm, batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};
use espalier_ir::{Conv, NodeId, Op, Pads, ParamId, Pool, Recurrent};

use crate::dropout::Dropout;
use crate::fake_quant::{self, FakeQuant, WeightQuant, power_of_two};
use crate::hooks::Hooks;
use crate::operators;
use crate::plan::{Plan, Step};
use crate::recurrent::{self, Weights};

/// Parameters as flat vectors: one rank for weights, biases, masks and optimizer states.
pub(crate) type Params = BTreeMap<ParamId, Tensor<1>>;

/// What batch normalization divides by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normalize {
    /// Running statistics: inference.
    Running,
    /// The statistics of the batch itself: training.
    Batch,
}

/// Mean and biased variance of the input of a BatchNorm node in one batch.
pub(crate) struct BatchStatistics {
    pub(crate) node: NodeId,
    pub(crate) mean: Tensor<1>,
    pub(crate) variance: Tensor<1>,
    /// Elements of a channel that were averaged.
    pub(crate) count: usize,
}

/// All that a walk reads.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) params: &'a Params,
    pub(crate) normalize: Normalize,
    pub(crate) quantization: Option<&'a FakeQuant>,
    /// Gates and values to keep.
    pub(crate) hooks: Option<&'a Hooks>,
    /// Where constants are created; without autodiff.
    pub(crate) device: &'a Device,
    pub(crate) dropout: Option<Dropout<'a>>,
}

impl Forward<'_> {
    /// Logits `[batch, classes]` of `inputs`, which holds whole samples; statistics in step order.
    pub(crate) fn run(&self, inputs: Vec<f32>) -> (Tensor<2>, Vec<BatchStatistics>) {
        let plan = self.plan;
        let batch = inputs.len() / plan.sample_len;
        let mut statistics = Vec::new();
        let mut values: Vec<Option<Tensor<4>>> = Vec::with_capacity(plan.steps.len());
        let mut left: Vec<usize> = plan.steps.iter().map(|s| s.readers).collect();
        for step in &plan.steps {
            let mut operands: Vec<Tensor<4>> = step
                .operands
                .iter()
                .map(|o| {
                    left[*o] -= 1;
                    let value = if left[*o] == 0 { values[*o].take() } else { values[*o].clone() };
                    value.expect("values live until their last reader")
                })
                .collect();
            if let Some(hooks) = self.hooks {
                hooks.gate(step.node, &mut operands);
            }
            let mut value = match &step.op {
                Op::Input { .. } => {
                    let [c, h, w] = step.dims;
                    let own = step.offset..step.offset + c * h * w;
                    let values = inputs.chunks(plan.sample_len).flat_map(|sample| &sample[own.clone()]).copied();
                    let data = TensorData::new(values.collect::<Vec<f32>>(), [batch, c, h, w]);
                    Tensor::from_data(data, self.device)
                }
                _ => self.step(step, operands, &mut statistics),
            };
            if let Some(quant) = self.quantization.and_then(|q| q.activations.get(&step.node)) {
                value = fake_quant::activation(value, *quant);
            }
            if let Some(hooks) = self.hooks {
                hooks.keep(step.node, &value);
            }
            values.push(Some(value));
        }
        let logits = values[plan.output].take().expect("the output was computed");
        (logits.reshape([batch, plan.classes]), statistics)
    }

    pub(crate) fn step(
        &self,
        step: &Step,
        mut operands: Vec<Tensor<4>>,
        statistics: &mut Vec<BatchStatistics>,
    ) -> Tensor<4> {
        let weights = self.quantization.and_then(|q| q.weights.get(&step.node));
        let [c, h, w] = step.dims;
        let batch = operands[0].dims()[0];
        if let Op::Concat { axis } = step.op {
            // Samples with more than three axes are held with those behind the second joined.
            let shapes: Vec<&[usize]> = step.operands.iter().map(|o| self.plan.steps[*o].shape.as_slice()).collect();
            return operators::concat(operands, &shapes, axis).reshape([batch, c, h, w]);
        }
        let x = operands.swap_remove(0);
        match &step.op {
            Op::Input { .. } | Op::Concat { .. } => unreachable!("handled by the caller and above"),
            Op::Conv(conv) => self.conv(conv, x, weights),
            Op::Gemm { weight, bias } => self.gemm(*weight, *bias, self.dropped(step, x), c, weights),
            Op::Add => x + operands.pop().expect("an addition has two operands"),
            Op::Mul => x * operands.pop().expect("a product has two operands"),
            Op::MatMul { transpose } => {
                let other = operands.pop().expect("a product has two operands");
                let shapes = [0, 1].map(|i| self.plan.steps[step.operands[i]].shape.as_slice());
                operators::matrix_product([x, other], shapes, *transpose).reshape([batch, c, h, w])
            }
            Op::Normalize(normalize) => {
                let [gamma, beta] = [normalize.gamma, normalize.beta].map(|p| self.param(p));
                operators::normalize(normalize, x, gamma, beta)
            }
            Op::Offset { offset } => x + self.param(*offset).reshape([1, c, h, w]),
            Op::Select { channels } => operators::select(x, channels, self.device),
            Op::ConvTranspose(conv) => {
                let [i, o, kh, kw] = self.plan.params[&conv.weight][..] else { unreachable!("checked by inference") };
                let (mut weight, mut bias) = (self.param(conv.weight), conv.bias.map(|b| self.param(b)));
                if let Some(quant) = weights {
                    // Output channels are the second axis of each group.
                    let exchanged = |w: Tensor<1>, [a, b]: [usize; 2]| {
                        let [len] = w.dims();
                        w.reshape([conv.groups, a, b, kh * kw]).swap_dims(1, 2).reshape([len])
                    };
                    let inputs = i / conv.groups;
                    weight = fake_quant::weight(exchanged(weight, [inputs, o]), &quant.exponents, self.device);
                    weight = exchanged(weight, [o, inputs]);
                    bias = bias.map(|b| fake_quant::bias(b, quant, self.device));
                }
                operators::conv_transpose(conv, x, weight.reshape([i, o, kh, kw]), bias, step.dims)
            }
            Op::Resize { factor } => operators::resize(x, *factor),
            Op::Unary(function) => operators::unary(*function, x),
            Op::PRelu { slope } => operators::prelu(x, self.param(*slope)),
            Op::BatchNorm { .. } => self.batch_norm(step, x, weights, statistics),
            Op::Relu => relu(x),
            Op::Clip { min, max } => clip(x, *min, *max),
            Op::MaxPool(pool) => {
                let options = MaxPoolOptions::new(pool.kernel)
                    .with_stride(pool.stride)
                    .with_padding_pairs(padding_pairs(pool.pads));
                max_pool2d(x, options)
            }
            Op::AveragePool { pool, count_include_pad } => match weights {
                Some(weights) => self.rounded_average(x, pool, weights),
                None => {
                    let options = AvgPoolOptions::new(pool.kernel)
                        .with_stride(pool.stride)
                        .with_padding_pairs(padding_pairs(pool.pads))
                        .with_count_include_pad(*count_include_pad);
                    avg_pool2d(x, options)
                }
            },
            Op::GlobalAveragePool => {
                let [_, channels, height, width] = x.dims();
                match weights {
                    Some(weights) => {
                        let pool = Pool { kernel: [height, width], stride: [1, 1], pads: Pads::default() };
                        self.rounded_average(x, &pool, weights)
                    }
                    None => x.reshape([batch, channels, height * width, 1]).mean_dim(2),
                }
            }
            Op::Flatten | Op::Reshape { .. } => x.reshape([batch, c, h, w]),
            Op::Recurrent(recurrent) => self.recurrent(recurrent, x),
            Op::TimeStep { step: at } => {
                let [batch, features, height, width] = x.dims();
                x.reshape([batch, features, height * width, 1]).narrow(2, *at, 1)
            }
            Op::Transpose { axes } => {
                let shape = &self.plan.steps[step.operands[0]].shape;
                operators::transpose(x, shape, axes).reshape([batch, c, h, w])
            }
            Op::Softmax { axis } => {
                let each: usize = step.shape[*axis..].iter().product();
                softmax(x.reshape([batch * c * h * w / each, each]), 1).reshape([batch, c, h, w])
            }
            Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => unreachable!("refused by the plan"),
        }
    }

    fn param(&self, param: ParamId) -> Tensor<1> {
        self.params[&param].clone()
    }

    /// Weight and bias of a node, rounded if it is quantized.
    pub(crate) fn weight_and_bias(
        &self,
        weight: ParamId,
        bias: Option<ParamId>,
        quant: Option<&WeightQuant>,
    ) -> (Tensor<1>, Option<Tensor<1>>) {
        let (weight, bias) = (self.param(weight), bias.map(|b| self.param(b)));
        match quant {
            None => (weight, bias),
            Some(quant) => (
                fake_quant::weight(weight, &quant.exponents, self.device),
                bias.map(|b| fake_quant::bias(b, quant, self.device)),
            ),
        }
    }

    fn conv(&self, conv: &Conv, x: Tensor<4>, quant: Option<&WeightQuant>) -> Tensor<4> {
        let (weight, bias) = self.weight_and_bias(conv.weight, conv.bias, quant);
        let [o, i, kh, kw] = self.plan.params[&conv.weight][..] else { unreachable!("checked by inference") };
        let options = ConvOptions::new_with_padding(conv.stride, padding_pairs(conv.pads), conv.dilation, conv.groups);
        conv2d(x, weight.reshape([o, i, kh, kw]), bias, options)
    }

    /// Factors of dropout on the input of a Gemm, `[samples * features]`.
    pub(crate) fn dropout_factors(&self, step: &Step, features: usize) -> Option<Vec<f32>> {
        let position = self.plan.steps.iter().position(|s| s.node == step.node);
        self.dropout.and_then(|d| d.factors(step.node, position.expect("the step is one of the plan"), features))
    }

    fn dropped(&self, step: &Step, x: Tensor<4>) -> Tensor<4> {
        let dims = x.dims();
        match self.dropout_factors(step, dims[1..].iter().product()) {
            Some(factors) => x * Tensor::from_data(TensorData::new(factors, dims), self.device),
            None => x,
        }
    }

    /// How a BatchNorm normalizes in this walk.
    pub(crate) fn normalize(&self, step: &Step) -> Normalize {
        if self.plan.frozen_norms.contains(&step.node) { Normalize::Running } else { self.normalize }
    }

    fn gemm(
        &self,
        weight: ParamId,
        bias: Option<ParamId>,
        x: Tensor<4>,
        outputs: usize,
        quant: Option<&WeightQuant>,
    ) -> Tensor<4> {
        let [batch, features, ..] = x.dims();
        let (weight, bias) = self.weight_and_bias(weight, bias, quant);
        let y = x.reshape([batch, features]).matmul(weight.reshape([outputs, features]).transpose());
        let y = match bias {
            Some(bias) => y + bias.reshape([1, outputs]),
            None => y,
        };
        y.reshape([batch, outputs, 1, 1])
    }

    fn recurrent(&self, op: &Recurrent, x: Tensor<4>) -> Tensor<4> {
        let matrix = |param: ParamId| {
            let [rows, columns] = self.plan.params[&param][..] else { unreachable!("checked by inference") };
            self.param(param).reshape([rows, columns]).transpose()
        };
        let bias = op.bias.map(|biases| biases.map(|b| self.param(b).unsqueeze::<2>()));
        let weights = Weights { input: matrix(op.weight), recurrence: matrix(op.recurrence), bias };
        recurrent::recurrent(op.cell, op.reverse, x, weights, self.device)
    }

    fn batch_norm(
        &self,
        step: &Step,
        x: Tensor<4>,
        quant: Option<&WeightQuant>,
        statistics: &mut Vec<BatchStatistics>,
    ) -> Tensor<4> {
        let Op::BatchNorm { gamma, beta, mean, variance, epsilon } = step.op else { unreachable!("by the caller") };
        let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(|p| self.param(p));
        if let Some(quant) = quant {
            let factor = gamma / variance.add_scalar(epsilon).sqrt();
            let offset = beta - mean * factor.clone();
            let shape = [1, step.dims[0], 1, 1];
            let factor = fake_quant::weight(factor, &quant.exponents, self.device);
            let offset = fake_quant::bias(offset, quant, self.device);
            return x * factor.reshape(shape) + offset.reshape(shape);
        }
        match self.normalize(step) {
            Normalize::Running => batch_norm(x, gamma, beta, mean, variance, epsilon.into()),
            Normalize::Batch => {
                let [batch, _, height, width] = x.dims();
                let result = batch_norm_train(x, gamma, beta, epsilon.into());
                statistics.push(BatchStatistics {
                    node: step.node,
                    mean: result.mean.inner(),
                    variance: result.variance.inner(),
                    count: batch * height * width,
                });
                result.output
            }
        }
    }

    /// The accelerator's average: a depthwise convolution with one rounded constant.
    fn rounded_average(&self, x: Tensor<4>, pool: &Pool, quant: &WeightQuant) -> Tensor<4> {
        let [_, channels, ..] = x.dims();
        let [kh, kw] = pool.kernel;
        let unit = power_of_two(quant.exponents[0]);
        let weight = ((1.0 / (kh * kw) as f32) / unit).round_ties_even().min(127.0) * unit;
        let weight = Tensor::full([channels, 1, kh, kw], weight, self.device);
        conv2d(x, weight, None, ConvOptions::new_with_padding(pool.stride, padding_pairs(pool.pads), [1, 1], channels))
    }
}

fn padding_pairs(pads: Pads) -> [(usize, usize); 2] {
    [(pads.top, pads.bottom), (pads.left, pads.right)]
}

/// Open bounds are left out: backends may not take infinities in a clamp.
fn clip(x: Tensor<4>, min: f32, max: f32) -> Tensor<4> {
    let x = if min > f32::NEG_INFINITY { x.clamp_min(min) } else { x };
    if max < f32::INFINITY { x.clamp_max(max) } else { x }
}
