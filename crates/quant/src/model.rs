//! The quantized network as plain data.

use espalier_ir::{Curve, Interleave, LayerSource, Pads, Pool};
use serde::{Deserialize, Serialize};

use crate::ReferenceInterpreter;
use crate::residual::QuantizedResidual;

/// How integers stand for real values: `real = (q - zero_point) * 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantParams {
    /// Binary logarithm of the step.
    pub exponent: i32,
    /// The integer that stands for 0.
    pub zero_point: i8,
}

impl QuantParams {
    /// The step, `2^exponent`.
    pub fn scale(self) -> f32 {
        power_of_two(self.exponent) as f32
    }

    /// `clamp(round_half_even(value / scale) + zero_point, -128, 127)`.
    pub fn quantize(self, value: f32) -> i8 {
        let q = (f64::from(value) / power_of_two(self.exponent)).round_ties_even() + f64::from(self.zero_point);
        q.clamp(-128.0, 127.0) as i8
    }

    /// `(q - zero_point) * scale`.
    pub fn dequantize(self, q: i8) -> f32 {
        ((f64::from(q) - f64::from(self.zero_point)) * power_of_two(self.exponent)) as f32
    }
}

/// `2^exponent`, exact for every exponent that occurs here (a double holds -1022..=1023).
pub fn power_of_two(exponent: i32) -> f64 {
    f64::from(exponent).exp2()
}

/// An int8 tensor without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizedTensor {
    /// Name of the graph input or the layer.
    pub name: String,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Scale and zero point.
    pub params: QuantParams,
}

impl QuantizedTensor {
    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Integer operation of one layer. `zp` is the zero point of the tensor read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuantizedOp {
    /// `acc[o] = bias[o] + sum w * (x - zp)`; padding adds nothing. Averages and scales are depthwise convolutions.
    Conv {
        /// `[out, in / groups, kernel_h, kernel_w]`, each in -127..=127; zero where pruned.
        weight: Vec<i8>,
        /// Shape of `weight`.
        weight_shape: [usize; 4],
        /// `[out]`, in units of `2^(e_x + weight_exponent)`; the zero point of the input is not folded in.
        bias: Vec<i32>,
        /// Binary logarithm of the weight step of every output channel.
        weight_exponent: Vec<i32>,
        /// Requantization shift of every output channel, 0..=31: `e_y - e_x - weight_exponent`.
        shift: Vec<u8>,
        /// Step of the window, `[vertical, horizontal]`.
        stride: [usize; 2],
        /// Padding with the zero point.
        pads: Pads,
        /// Distance of taps, `[vertical, horizontal]`.
        dilation: [usize; 2],
        /// Channel groups.
        groups: usize,
        /// How the results of a transposed convolution are spread; it has neither stride nor padding of its own then.
        interleave: Option<Interleave>,
        /// Whether this is an average: every channel with itself, all taps with the same weight.
        average: bool,
        /// `acc[o]` also takes `(r - zp_r) * 2^left_shift[o]` of the second tensor read.
        residual: Option<Box<QuantizedResidual>>,
    },
    /// Maximum over windows, then the clamp; padding never wins. Output parameters are those of the input.
    MaxPool {
        /// The window; 1x1 is a stand-alone activation.
        pool: Pool,
    },
    /// `acc = (a - zp_a) * 2^left_shift[0] + (b - zp_b) * 2^left_shift[1]`.
    Add {
        /// Up to 6 each, the smaller is 0.
        left_shift: [u8; 2],
        /// Requantization shift, 0..=31.
        shift: u8,
    },
    /// `acc = x - zp` of the channel copied, 0 where there is none. Output parameters are those of the input.
    Select {
        /// For each output channel the channel that it copies, or `None` for zeros.
        channels: Vec<Option<usize>>,
    },
    /// `acc = x - zp` of the element repeated. Output parameters are those of the input.
    Resize {
        /// `[vertical, horizontal]`.
        factor: [usize; 2],
    },
    /// `acc = x * g` with the element of the second source that belongs to the channel. Both have zero point 0.
    Gate {
        /// Requantization shift of all channels, 0..=31.
        shift: u8,
    },
    /// `acc = sum of v * g * 2^left_shift` over the pairs of sources `v, g`, all with zero point 0, rounded to 16 bits: two
    /// digits a channel, [`crate::wide_digits`].
    Products {
        /// One a pair: 0, 4, 6 or 8; 0 for the last.
        left_shift: Vec<u8>,
        /// Requantization shift, 0..=31.
        shift: u8,
    },
    /// The sources side by side, all with the parameters of the output.
    Sequence,
    /// `acc = (x - zp) * 2^left_shift` for every part.
    Concat {
        /// Up to 6 each, the smallest is 0.
        left_shift: Vec<u8>,
        /// Requantization shift of all parts, 0..=31.
        shift: u8,
    },
}

/// The function of single values that a layer applies last, as a table over the integers that its operation gives.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedTable {
    /// The function.
    pub curve: Curve,
    /// Scale and zero point of what enters it: the operation is requantized to these.
    pub argument: QuantParams,
    /// The value for `-128..=127`, in this order; one such run for all channels, or one for each.
    pub entries: Vec<i8>,
}

impl QuantizedTable {
    /// Evaluates `curve` at all integers: `quantize(curve(dequantize(p)))`.
    pub(crate) fn new(curve: &Curve, channels: usize, argument: QuantParams, output: QuantParams) -> Self {
        let runs = if curve.by_channel() { channels } else { 1 };
        let run = |channel| {
            let entry = move |p| output.quantize(curve.apply(channel, argument.dequantize(p)));
            (i8::MIN..=i8::MAX).map(entry)
        };
        QuantizedTable { curve: curve.clone(), argument, entries: (0..runs).flat_map(run).collect() }
    }

    /// The 256 entries of a channel.
    pub fn run(&self, channel: usize) -> &[i8] {
        let first = if self.entries.len() == 256 { 0 } else { 256 * channel };
        &self.entries[first..first + 256]
    }

    /// The value for an integer.
    pub fn look_up(&self, channel: usize, p: i8) -> i8 {
        self.run(channel)[(i16::from(p) + 128) as usize]
    }
}

/// One layer of the accelerator; same index as in [`espalier_ir::array_layers`].
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLayer {
    /// Name of the node that gives the layer its operation.
    pub name: String,
    /// ONNX name of that operator.
    pub op_name: &'static str,
    /// The operation.
    pub op: QuantizedOp,
    /// Tensors read, in operand order.
    pub sources: Vec<LayerSource>,
    /// For each source the only column of a line that is read; `None`: the whole map.
    pub steps: Vec<Option<usize>>,
    /// The tensor written, after the fused pooling. Of values of 16 bits the exponent is that of the lower digit.
    pub output: QuantizedTensor,
    /// Shape before the fused pooling, or of each phase of a result that is interleaved.
    pub conv_shape: [usize; 3],
    /// Bounds of the requantized integers, from the activation.
    pub clamp: (i8, i8),
    /// Maximum pooling of the requantized integers: window equal to stride, no padding.
    pub fused_pool: Option<Pool>,
    /// What they become at last, if not themselves.
    pub table: Option<QuantizedTable>,
    /// The earlier layer that does the same at the first time step.
    pub peer: Option<usize>,
    /// The earlier layer that has the same scales and zero points.
    pub alike: Option<usize>,
}

impl QuantizedLayer {
    /// Whether it writes values of 16 bits, as digits side by side.
    pub fn is_wide(&self) -> bool {
        matches!(self.op, QuantizedOp::Products { .. })
    }

    /// The sources whose channels its weights belong to, one after another: all but a residual operand.
    pub fn weighted_sources(&self) -> &[LayerSource] {
        let added = matches!(&self.op, QuantizedOp::Conv { residual: Some(_), .. });
        &self.sources[..self.sources.len() - usize::from(added)]
    }

    /// Scale and zero point to which the operation is requantized: those of the output, or what enters the table.
    pub fn requantized(&self) -> QuantParams {
        self.table.as_ref().map_or(self.output.params, |t| t.argument)
    }

    /// Smallest and largest integer that it may write.
    pub fn range(&self) -> (i8, i8) {
        if self.is_wide() {
            return (i8::MIN, i8::MAX);
        }
        let Some(table) = &self.table else { return self.clamp };
        let (lo, hi) = self.clamp;
        let within = |p: i8| (i16::from(p) + 128) as usize;
        let entries = table.entries.chunks(256).flat_map(|run| &run[within(lo)..=within(hi)]);
        entries.fold((i8::MAX, i8::MIN), |(low, high), e| (low.min(*e), high.max(*e)))
    }
}

/// A quantized network. [`crate::quantize`] is the only constructor, so that every property it proves holds: shifts in
/// 0..=31, left shifts up to 6, accumulators within 32 bits.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QuantizedGraph {
    /// Name of the model.
    pub name: String,
    /// Graph inputs in the order of the model.
    pub inputs: Vec<QuantizedTensor>,
    /// Layers in execution order.
    pub layers: Vec<QuantizedLayer>,
    /// Which tensors leave the accelerator, in the order of the model.
    pub outputs: Vec<LayerSource>,
    /// Which inputs have samples `[time, features]`; the accelerator takes `[features, 1, time]`.
    pub transposed: Vec<bool>,
    /// Shapes of the inputs as the model declares them.
    pub input_shapes: Vec<Vec<usize>>,
    /// Shapes of the outputs as the model declares them.
    pub output_shapes: Vec<Vec<usize>>,
    /// Whether the host applies softmax to the dequantized outputs.
    pub softmax: bool,
}

/// Scales and zero points alone, to quantize a fine-tuned graph exactly as it was trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedExponents {
    /// One per graph input.
    pub inputs: Vec<QuantParams>,
    /// One per layer.
    pub layers: Vec<QuantParams>,
    /// One per layer: what enters its table; where it has none, the parameters of the layer.
    #[serde(default)]
    pub arguments: Vec<QuantParams>,
    /// Weight exponent of every output channel of every layer; empty for layers without weights.
    pub weights: Vec<Vec<i32>>,
}

impl QuantizedGraph {
    /// The tensor behind a source.
    pub fn tensor(&self, source: LayerSource) -> &QuantizedTensor {
        match source {
            LayerSource::Input(index) => &self.inputs[index],
            LayerSource::Layer(index) => &self.layers[index].output,
        }
    }

    /// Shape of what a layer reads of a source.
    pub fn read_shape(&self, layer: &QuantizedLayer, source: usize) -> [usize; 3] {
        let [channels, height, width] = self.tensor(layer.sources[source]).shape;
        if layer.steps[source].is_some() { [channels, 1, 1] } else { [channels, height, width] }
    }

    /// Smallest and largest integer that a tensor may hold.
    pub fn range(&self, source: LayerSource) -> (i8, i8) {
        match source {
            LayerSource::Input(_) => (i8::MIN, i8::MAX),
            LayerSource::Layer(index) => self.layers[index].range(),
        }
    }

    /// Number of values of one sample: all inputs, one after the other.
    pub fn input_elements(&self) -> usize {
        self.inputs.iter().map(QuantizedTensor::elements).sum()
    }

    /// All scales and zero points.
    pub fn exponents(&self) -> FixedExponents {
        let weights = |layer: &QuantizedLayer| match &layer.op {
            QuantizedOp::Conv { weight_exponent, .. } => weight_exponent.clone(),
            _ => Vec::new(),
        };
        FixedExponents {
            inputs: self.inputs.iter().map(|t| t.params).collect(),
            layers: self.layers.iter().map(|l| l.output.params).collect(),
            arguments: self.layers.iter().map(QuantizedLayer::requantized).collect(),
            weights: self.layers.iter().map(weights).collect(),
        }
    }

    /// One sample as integers, in the order in which the accelerator takes them. Several inputs follow one another, here and in [`QuantizedGraph::run`].
    ///
    /// # Panics
    /// If the number of values is wrong: callers check data against the model first.
    pub fn quantize_input(&self, values: &[f32]) -> Vec<i8> {
        assert_eq!(values.len(), self.input_elements(), "sample of the wrong size");
        let mut rest = values;
        let mut q = Vec::with_capacity(values.len());
        for (input, transposed) in self.inputs.iter().zip(&self.transposed) {
            let (part, tail) = rest.split_at(input.elements());
            let [features, _, time] = input.shape;
            let from = |i: usize| if *transposed { i % time * features + i / time } else { i };
            q.extend((0..part.len()).map(|i| input.params.quantize(part[from(i)])));
            rest = tail;
        }
        q
    }

    /// Real outputs from the integers of [`QuantizedGraph::predict`], row-major in the declared shapes, all outputs one
    /// after the other; softmax, if the model ends in it, is applied here.
    ///
    /// # Panics
    /// If the number of values is wrong.
    pub fn dequantize_output(&self, values: &[i8]) -> Vec<f32> {
        let mut rest = values;
        let mut real = Vec::with_capacity(values.len());
        for output in &self.outputs {
            let tensor = self.tensor(*output);
            let (part, tail) = rest.split_at(tensor.elements());
            let start = real.len();
            real.extend(part.iter().map(|q| tensor.params.dequantize(*q)));
            if self.softmax {
                softmax(&mut real[start..]);
            }
            rest = tail;
        }
        assert!(rest.is_empty(), "more integers than the outputs hold");
        real
    }

    /// Every layer's output `[C, H, W]` for one sample. Builds a [`ReferenceInterpreter`]; keep one for many samples.
    ///
    /// # Panics
    /// If the number of values is wrong.
    pub fn run(&self, input: &[i8]) -> Vec<Vec<i8>> {
        ReferenceInterpreter::new(self).run(input)
    }

    /// The integers of all outputs for one sample, one output after the other. Panics like [`QuantizedGraph::run`].
    pub fn predict(&self, input: &[i8]) -> Vec<i8> {
        ReferenceInterpreter::new(self).predict(input)
    }
}

fn softmax(values: &mut [f32]) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|v| *v /= sum);
}
