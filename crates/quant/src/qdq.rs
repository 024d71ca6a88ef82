//! The quantized network as a float graph with QuantizeLinear and DequantizeLinear.
//!
//! All scales are powers of two and all sums are multiples of one, so 32-bit floats are exact up to `2^24` units of the
//! accumulator: any ONNX runtime then gives the integers of [`crate::ReferenceInterpreter`], whatever its order of
//! summing. Each layer is `operator -> (Clip) -> QuantizeLinear -> DequantizeLinear`; rounding and clamping at a bound
//! that is itself a step commute, and so do a maximum and the monotone quantization.

use std::collections::BTreeMap;

use espalier_ir::{
    Conv, ConvTranspose, Curve, Diagnostic, Diagnostics, Graph, Interleave, LayerSource, NodeId, Op, Pads, ParamId,
    Pool, Tensor, Unary,
};

use crate::model::{QuantParams, QuantizedGraph, QuantizedLayer, QuantizedOp, QuantizedTable, power_of_two};
use crate::residual::QuantizedResidual;
use crate::weights::{FLOAT_EXACT, transposed};

/// For a float parameter its int8 or int32 tensor, and one scale per output channel (first axis):
/// `float = integer * scale`.
pub type IntegerParams = BTreeMap<ParamId, (Tensor, Vec<f32>)>;

/// A QDQ graph and what an exporter needs to store its parameters as integers.
#[derive(Debug, Clone)]
pub struct QdqModel {
    /// Float graph; parameters are the exact real values of the integers.
    pub graph: Graph,
    /// The integers behind every parameter of `graph`.
    pub integers: IntegerParams,
    /// For every layer the QuantizeLinear node whose value is the layer's output.
    pub layers: Vec<NodeId>,
    /// Layers whose sums may exceed `2^24`: a float runtime may round them.
    pub warnings: Diagnostics,
}

/// Builds the QDQ form of a quantized graph.
///
/// # Errors
/// Values of 16 bits, as LSTM and GRU have them (`no-qdq-form`).
pub fn to_qdq(quantized: &QuantizedGraph) -> Result<QdqModel, Diagnostic> {
    let model = QdqModel {
        graph: Graph::new(quantized.name.clone()),
        integers: BTreeMap::new(),
        layers: Vec::new(),
        warnings: Diagnostics::new(),
    };
    if let Some(layer) = quantized.layers.iter().find(|l| l.is_wide()) {
        return Err(no_form(&layer.name));
    }
    let mut builder = Builder { quantized, model, inputs: Vec::new(), outputs: Vec::new() };
    builder.inputs()?;
    for index in 0..quantized.layers.len() {
        builder.layer(index)?;
    }
    builder.outputs()?;
    Ok(builder.model)
}

struct Builder<'a> {
    quantized: &'a QuantizedGraph,
    model: QdqModel,
    /// Dequantized inputs, in the shapes that the model declares.
    inputs: Vec<NodeId>,
    /// Dequantized layer outputs, `[C, H, W]` or, behind a Gemm, `[F]`.
    outputs: Vec<NodeId>,
}

impl Builder<'_> {
    fn inputs(&mut self) -> Result<(), Diagnostic> {
        let inputs = self.quantized.inputs.iter().zip(&self.quantized.input_shapes).zip(&self.quantized.transposed);
        for ((input, shape), transposed) in inputs {
            let mut node = self.model.graph.add_input(&input.name, shape)?;
            if *transposed {
                let [features, _, time] = input.shape;
                node = self.reshaped(node, &[time, features])?;
                let op = Op::Transpose { axes: vec![1, 0] };
                node = self.add(&format!("{}_features_first", input.name), op, &[node])?;
            }
            let (_, dequantized) = self.requantized(&input.name, input.params, node)?;
            self.inputs.push(dequantized);
        }
        Ok(())
    }

    fn value(&self, source: LayerSource) -> NodeId {
        match source {
            LayerSource::Input(index) => self.inputs[index],
            LayerSource::Layer(index) => self.outputs[index],
        }
    }

    /// The value in the shape `[C, H, W]` of its tensor.
    fn spatial(&mut self, source: LayerSource) -> Result<NodeId, Diagnostic> {
        self.reshaped(self.value(source), &self.quantized.tensor(source).shape)
    }

    /// What a layer reads of a source, `[C, H, W]`.
    fn operand(&mut self, layer: &QuantizedLayer, source: usize) -> Result<NodeId, Diagnostic> {
        let whole = self.spatial(layer.sources[source])?;
        let Some(step) = layer.steps[source] else { return Ok(whole) };
        let step = self.add(&format!("{}_step", layer.name), Op::TimeStep { step }, &[whole])?;
        self.reshaped(step, &self.quantized.read_shape(layer, source))
    }

    fn reshaped(&mut self, node: NodeId, shape: &[usize]) -> Result<NodeId, Diagnostic> {
        let found = &self.model.graph.node(node);
        if found.shape == shape {
            return Ok(node);
        }
        let (name, op) = match shape {
            [_] => (format!("{}_flat", found.name), Op::Flatten),
            _ => (format!("{}_reshaped", found.name), Op::Reshape { shape: shape.to_vec() }),
        };
        self.model.graph.add(name, op, &[node])
    }

    fn add(&mut self, name: &str, op: Op, from: &[NodeId]) -> Result<NodeId, Diagnostic> {
        self.model.graph.add(name, op, from)
    }

    /// Quantize and dequantize nodes.
    fn requantized(&mut self, name: &str, params: QuantParams, from: NodeId) -> Result<(NodeId, NodeId), Diagnostic> {
        let (scale, zero_point) = (vec![params.scale()], vec![params.zero_point]);
        let op = Op::QuantizeLinear { scale: scale.clone(), zero_point: zero_point.clone() };
        let quantized = self.add(&format!("{name}_quantized"), op, &[from])?;
        let op = Op::DequantizeLinear { scale, zero_point };
        Ok((quantized, self.add(&format!("{name}_dequantized"), op, &[quantized])?))
    }

    fn layer(&mut self, index: usize) -> Result<(), Diagnostic> {
        let quantized = self.quantized;
        let layer = &quantized.layers[index];
        let params = layer.requantized();
        let mut value = self.operation(layer)?;
        if let Some(op) = clamp_op(layer.clamp, params) {
            value = self.add(&format!("{}_clamp", layer.name), op, &[value])?;
        }
        let (mut integers, mut value) = self.requantized(&layer.name, params, value)?;
        if let Some(pool) = layer.fused_pool {
            let name = format!("{}_pool", layer.name);
            value = self.add(&name, Op::MaxPool(pool), &[value])?;
            (integers, value) = self.requantized(&name, params, value)?;
        }
        if let Some(table) = &layer.table {
            let name = format!("{}_function", layer.name);
            value = self.curve(&name, &table.curve, value)?;
            (integers, value) = self.requantized(&name, layer.output.params, value)?;
            if let Some(tie) = near_tie(layer, table) {
                self.model.warnings.push(tie);
            }
        }
        self.model.layers.push(integers);
        self.outputs.push(value);
        let bound = quantized.interval(index).magnitude();
        if bound > FLOAT_EXACT {
            self.model.warnings.push(inexact(layer, bound));
        }
        Ok(())
    }

    fn operation(&mut self, layer: &QuantizedLayer) -> Result<NodeId, Diagnostic> {
        let op = match &layer.op {
            QuantizedOp::Conv { residual, .. } if layer.op_name == "Gemm" => {
                let sum = self.gemm(layer)?;
                return self.with_residual(layer, residual.as_deref(), sum);
            }
            QuantizedOp::Conv { weight_shape, groups, interleave: Some(spread), .. } => {
                let op = self.conv_transpose(layer, *weight_shape, *groups, spread);
                let operand = self.operand(layer, 0)?;
                return self.add(&layer.name, op, &[operand]);
            }
            QuantizedOp::Conv { weight_shape, stride, pads, dilation, groups, residual, .. } => {
                let (weight, bias) = self.params(layer, weight_shape);
                let (stride, pads, dilation, groups) = (*stride, *pads, *dilation, *groups);
                let op = Op::Conv(Conv { weight, bias: Some(bias), stride, pads, dilation, groups });
                let operand = self.operand(layer, 0)?;
                let sum = self.add(&layer.name, op, &[operand])?;
                return self.with_residual(layer, residual.as_deref(), sum);
            }
            QuantizedOp::MaxPool { pool } => {
                let stands_still = pool.kernel == [1, 1] && pool.stride == [1, 1] && pool.pads == Pads::default();
                if stands_still {
                    // A stand-alone activation: the clamp and the quantization that follow are all of it.
                    return self.operand(layer, 0);
                }
                Op::MaxPool(*pool)
            }
            QuantizedOp::Add { .. } => Op::Add,
            QuantizedOp::Gate { .. } => Op::Mul,
            QuantizedOp::Concat { .. } => Op::Concat { axis: 0 },
            QuantizedOp::Select { channels } => Op::Select { channels: channels.clone() },
            QuantizedOp::Resize { factor } => Op::Resize { factor: *factor },
            QuantizedOp::Sequence => Op::Concat { axis: 2 },
            QuantizedOp::Products { .. } => return Err(no_form(&layer.name)),
        };
        let operands: Vec<NodeId> =
            (0..layer.sources.len()).map(|i| self.operand(layer, i)).collect::<Result<_, _>>()?;
        self.add(&layer.name, op, &operands)
    }

    /// A transposed convolution. Its weights stay floats: their scales belong to the second axis.
    fn conv_transpose(&mut self, layer: &QuantizedLayer, shape: [usize; 4], groups: usize, spread: &Interleave) -> Op {
        let (weight, bias) = self.params(layer, &shape);
        self.model.integers.remove(&weight);
        let [outputs, per_group, kh, kw] = shape;
        let (inputs, kernel) = (per_group * groups, [kh, kw]);
        let own = [inputs, outputs / groups, kh, kw];
        let values = transposed(self.model.graph.param(weight).as_f32(), own, groups);
        self.model.graph.set_param(weight, Tensor::f32(own, values));
        // What is cut off behind, or missing, follows from the size of the result.
        let [_, height, width] = self.quantized.tensor(layer.sources[0]).shape;
        let ([_, rows, columns], factor, before) = (layer.output.shape, spread.factor, spread.before);
        let whole = |axis: usize, size: usize| (size - 1) * factor[axis] + kernel[axis];
        let behind = |axis, size, out| whole(axis, size) as isize - (before[axis] + out) as isize;
        let [bottom, right] = [behind(0, height, rows), behind(1, width, columns)];
        Op::ConvTranspose(ConvTranspose {
            weight,
            bias: Some(bias),
            stride: factor,
            pads: Pads {
                top: before[0],
                left: before[1],
                bottom: bottom.max(0) as usize,
                right: right.max(0) as usize,
            },
            output_pads: [bottom, right].map(|behind| (-behind).max(0) as usize),
            dilation: [1, 1],
            groups,
        })
    }

    /// The function of a table, as the operators that it came from.
    fn curve(&mut self, name: &str, curve: &Curve, value: NodeId) -> Result<NodeId, Diagnostic> {
        match curve {
            Curve::Plain(unary) => self.add(name, Op::Unary(*unary), &[value]),
            Curve::Gated(unary) => {
                let gate = self.add(&format!("{name}_gate"), Op::Unary(*unary), &[value])?;
                self.add(name, Op::Mul, &[value, gate])
            }
            Curve::Sloped(slopes) => {
                let slopes = Tensor::f32([slopes.len()], slopes.clone());
                let slope = self.model.graph.add_param(format!("{name}.slope"), slopes);
                self.add(name, Op::PRelu { slope }, &[value])
            }
        }
    }

    /// The sum with the operand that the layer adds before it rounds.
    fn with_residual(
        &mut self,
        layer: &QuantizedLayer,
        residual: Option<&QuantizedResidual>,
        sum: NodeId,
    ) -> Result<NodeId, Diagnostic> {
        let Some(residual) = residual else { return Ok(sum) };
        let mut operand = self.operand(layer, layer.sources.len() - 1)?;
        if residual.stride != [1, 1] {
            let pool = Pool { kernel: [1, 1], stride: residual.stride, pads: Pads::default() };
            operand = self.add(&format!("{}_sampled", layer.name), Op::MaxPool(pool), &[operand])?;
        }
        if let Some(channels) = &residual.channels {
            let op = Op::Select { channels: channels.clone() };
            operand = self.add(&format!("{}_selected", layer.name), op, &[operand])?;
        }
        let shape = self.model.graph.node(sum).shape.clone();
        let operand = self.reshaped(operand, &shape)?;
        self.add(&format!("{}_sum", layer.name), Op::Add, &[sum, operand])
    }

    /// A fully connected layer stays one, behind Flatten.
    fn gemm(&mut self, layer: &QuantizedLayer) -> Result<NodeId, Diagnostic> {
        let QuantizedOp::Conv { weight_shape, .. } = &layer.op else { unreachable!("the caller checked") };
        let features: usize = weight_shape[1..].iter().product();
        let vectors = layer.weighted_sources().len();
        let flat = match layer.steps[0] {
            None if vectors == 1 => self.reshaped(self.value(layer.sources[0]), &[features])?,
            _ => {
                let parts: Vec<NodeId> = (0..vectors).map(|i| self.operand(layer, i)).collect::<Result<_, _>>()?;
                let whole = match parts[..] {
                    [only] => only,
                    _ => self.add(&format!("{}_operands", layer.name), Op::Concat { axis: 0 }, &parts)?,
                };
                self.reshaped(whole, &[features])?
            }
        };
        let (weight, bias) = self.params(layer, &[weight_shape[0], features]);
        if vectors > 1 {
            self.scale_by_vector(layer, weight);
        }
        self.add(&layer.name, Op::Gemm { weight, bias: Some(bias) }, &[flat])
    }

    /// Weights of vectors one after another, each in the step of its own; they stay floats, whose scales belong to columns.
    fn scale_by_vector(&mut self, layer: &QuantizedLayer, weight: ParamId) {
        let tensors = layer.weighted_sources().iter().map(|s| self.quantized.tensor(*s));
        let first = self.quantized.tensor(layer.sources[0]).params.exponent;
        let steps: Vec<f32> =
            tensors.flat_map(|t| vec![power_of_two(first - t.params.exponent) as f32; t.shape[0]]).collect();
        self.model.integers.remove(&weight);
        let tensor = self.model.graph.param(weight);
        let values = tensor.as_f32().iter().enumerate().map(|(i, w)| w * steps[i % steps.len()]).collect();
        let shape = tensor.shape().to_vec();
        self.model.graph.set_param(weight, Tensor::f32(shape, values));
    }

    /// Adds weight and bias, as floats and as the integers behind them.
    fn params(&mut self, layer: &QuantizedLayer, shape: &[usize]) -> (ParamId, ParamId) {
        let QuantizedOp::Conv { weight, bias, weight_exponent, .. } = &layer.op else {
            unreachable!("only convolutions have parameters")
        };
        let input_exponent = self.quantized.tensor(layer.sources[0]).params.exponent;
        let scales = |offset: i32| weight_exponent.iter().map(|e| power_of_two(e + offset) as f32).collect::<Vec<_>>();
        let (weight_scale, bias_scale) = (scales(0), scales(input_exponent));
        let each = weight.len() / weight_scale.len();
        let real = weight.iter().enumerate().map(|(i, w)| f32::from(*w) * weight_scale[i / each]).collect();
        let graph = &mut self.model.graph;
        let weight_id = graph.add_param(format!("{}.weight", layer.name), Tensor::f32(shape, real));
        let real = bias.iter().zip(&bias_scale).map(|(b, s)| (f64::from(*b) * f64::from(*s)) as f32).collect();
        let bias_id = graph.add_param(format!("{}.bias", layer.name), Tensor::f32([bias.len()], real));
        self.model.integers.insert(weight_id, (Tensor::i8(shape, weight.clone()), weight_scale));
        self.model.integers.insert(bias_id, (Tensor::i32([bias.len()], bias.clone()), bias_scale));
        (weight_id, bias_id)
    }

    fn outputs(&mut self) -> Result<(), Diagnostic> {
        for (source, shape) in self.quantized.outputs.iter().zip(&self.quantized.output_shapes) {
            let mut value = self.reshaped(self.value(*source), shape)?;
            if self.quantized.softmax {
                let name = format!("{}_softmax", self.quantized.tensor(*source).name);
                value = self.add(&name, Op::Softmax { axis: 0 }, &[value])?;
            }
            self.model.graph.add_output(value);
        }
        Ok(())
    }
}

/// QuantizeLinear has 8 bits.
fn no_form(layer: &str) -> Diagnostic {
    let message = "is a value of 16 bits, which the QDQ form cannot round as the accelerator does";
    Diagnostic::error("no-qdq-form", format!("layer '{layer}'"), message)
        .with_help("compare with the reference, the machine, RTL or HLS kernel instead; all of them keep it")
}

/// The real clamp where int8 saturation does not already do it.
fn clamp_op((lo, hi): (i8, i8), params: QuantParams) -> Option<Op> {
    let min = if lo == i8::MIN { f32::NEG_INFINITY } else { params.dequantize(lo) };
    let max = if hi == i8::MAX { f32::INFINITY } else { params.dequantize(hi) };
    match (min, max) {
        (f32::NEG_INFINITY, f32::INFINITY) => None,
        (0.0, f32::INFINITY) => Some(Op::Relu),
        _ => Some(Op::Clip { min, max }),
    }
}

/// A warning if an entry of a table lies so near a tie that another runtime's function may round it elsewhere. Functions
/// of multiplications and additions alone are the same everywhere.
fn near_tie(layer: &QuantizedLayer, table: &QuantizedTable) -> Option<Diagnostic> {
    /// Steps by which runtimes differ; single precision gives about `1e-5` over 256 steps.
    const MARGIN: f64 = 1e-4;
    let (Curve::Plain(unary) | Curve::Gated(unary)) = &table.curve else { return None };
    if matches!(unary, Unary::LeakyRelu { .. } | Unary::HardSigmoid { .. }) {
        return None;
    }
    let tie = (layer.clamp.0..=layer.clamp.1).find(|p| {
        let steps =
            f64::from(table.curve.apply(0, table.argument.dequantize(*p))) / f64::from(layer.output.params.scale());
        ((steps - steps.floor()) - 0.5).abs() < MARGIN
    })?;
    let at = format!("layer '{}'", layer.name);
    let message = format!("the function at {} lies within {MARGIN} steps of a tie", table.argument.dequantize(tie));
    let help = "a float runtime may differ from the accelerator by one step for this value; int8 runtimes do not";
    Some(Diagnostic::warning("inexact-in-float", at, message).with_help(help))
}

fn inexact(layer: &QuantizedLayer, bound: i64) -> Diagnostic {
    Diagnostic::warning(
        "inexact-in-float",
        format!("layer '{}'", layer.name),
        format!("sums may reach {bound}, beyond the 2^24 that 32-bit floats hold exactly"),
    )
    .with_help("a float runtime may differ from the accelerator in the last bit here; int8 runtimes do not")
}
