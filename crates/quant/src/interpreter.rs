//! The reference interpreter: the definition of every integer that the accelerator computes.

use std::borrow::Cow;

use espalier_ir::{Diagnostic, LayerSource, Pool};
use rayon::prelude::*;

use crate::kernel::{ConvKernel, ConvSpec, WriteBack};
use crate::model::{QuantizedGraph, QuantizedLayer, QuantizedOp};
use crate::requantize::{requantize, wide_digits};
use crate::residual::addend;

/// Executes a [`QuantizedGraph`] exactly, sample by sample. Preparing it costs about as much as one sample.
pub struct ReferenceInterpreter<'a> {
    graph: &'a QuantizedGraph,
    kernels: Vec<Option<ConvKernel>>,
    /// The last layer that reads the output of each layer; itself if none does.
    last_use: Vec<usize>,
}

/// Tensors of one sample.
struct Values<'a> {
    inputs: Vec<&'a [i8]>,
    layers: Vec<Vec<i8>>,
}

impl Values<'_> {
    fn of(&self, source: LayerSource) -> &[i8] {
        match source {
            LayerSource::Input(index) => self.inputs[index],
            LayerSource::Layer(index) => &self.layers[index],
        }
    }
}

impl<'a> ReferenceInterpreter<'a> {
    /// Prepares the weights.
    pub fn new(graph: &'a QuantizedGraph) -> Self {
        let kernels = graph.layers.iter().map(|l| kernel(graph, l)).collect();
        let mut last_use: Vec<usize> = (0..graph.layers.len()).collect();
        let mut used = |source: &LayerSource, by: usize| {
            if let LayerSource::Layer(index) = source {
                last_use[*index] = by;
            }
        };
        for (by, layer) in graph.layers.iter().enumerate() {
            layer.sources.iter().for_each(|s| used(s, by));
        }
        graph.outputs.iter().for_each(|s| used(s, usize::MAX));
        ReferenceInterpreter { graph, kernels, last_use }
    }

    /// Every layer's output `[C, H, W]` for one sample: all inputs, one after the other.
    ///
    /// # Panics
    /// If the number of values is wrong: callers check data against the model first.
    pub fn run(&self, input: &[i8]) -> Vec<Vec<i8>> {
        self.execute(input, false).layers
    }

    /// The integers of all outputs, one output after the other. Panics like [`ReferenceInterpreter::run`].
    pub fn predict(&self, input: &[i8]) -> Vec<i8> {
        let values = self.execute(input, true);
        self.graph.outputs.iter().flat_map(|o| values.of(*o).iter().copied()).collect()
    }

    /// Samples whose largest value of the first output (the first of equal ones) stands at the label. `inputs` holds
    /// one sample after the other. Samples are shared out to all threads.
    ///
    /// # Errors
    /// If inputs and labels do not fit each other or the model.
    pub fn evaluate(&self, inputs: &[f32], labels: &[u32]) -> Result<usize, Diagnostic> {
        let classes = self.classify(inputs, labels)?;
        Ok(classes.iter().zip(labels).filter(|(class, label)| class == label).count())
    }

    /// The position of the largest value of the first output (the first of equal ones) for every sample, as
    /// [`ReferenceInterpreter::evaluate`] compares it with the label.
    ///
    /// # Errors
    /// If inputs and labels do not fit each other or the model.
    pub fn classify(&self, inputs: &[f32], labels: &[u32]) -> Result<Vec<u32>, Diagnostic> {
        let each = self.graph.input_elements();
        let output = self.graph.tensor(self.graph.outputs[0]);
        if labels.len().checked_mul(each) != Some(inputs.len()) {
            return Err(self.misfit(format!("{} values do not make {} samples", inputs.len(), labels.len())));
        }
        if let Some(label) = labels.iter().find(|l| **l as usize >= output.elements()) {
            return Err(self.misfit(format!("label {label} for {} outputs", output.elements())));
        }
        let class = |sample: &[f32]| {
            let q = self.predict(&self.graph.quantize_input(sample));
            argmax(&q[..output.elements()]) as u32
        };
        Ok(inputs.par_chunks(each.max(1)).map(class).collect())
    }

    fn misfit(&self, message: String) -> Diagnostic {
        Diagnostic::error("sample-size", format!("model '{}'", self.graph.name), message)
            .with_help("check the data set and its preprocessing against the model")
    }

    /// Runs all layers; with `forget`, tensors are freed after their last reader.
    fn execute<'v>(&self, input: &'v [i8], forget: bool) -> Values<'v> {
        assert_eq!(input.len(), self.graph.input_elements(), "sample of the wrong size");
        let mut values = Values { inputs: Vec::new(), layers: Vec::with_capacity(self.graph.layers.len()) };
        let mut rest = input;
        for tensor in &self.graph.inputs {
            let (part, tail) = rest.split_at(tensor.elements());
            values.inputs.push(part);
            rest = tail;
        }
        for (index, layer) in self.graph.layers.iter().enumerate() {
            let output = self.layer(layer, self.kernels[index].as_ref(), &values);
            values.layers.push(output);
            let done = (0..=index).filter(|l| forget && self.last_use[*l] == index);
            done.for_each(|l| values.layers[l] = Vec::new());
        }
        values
    }

    fn layer(&self, layer: &QuantizedLayer, kernel: Option<&ConvKernel>, values: &Values) -> Vec<i8> {
        let read = |i: usize| self.read(layer, i, values);
        let operands: Vec<Cow<[i8]>> = (0..layer.sources.len()).map(read).collect();
        let operand = |i: usize| (&*operands[i], self.graph.tensor(layer.sources[i]).params.zero_point);
        let zero_point = layer.requantized().zero_point;
        let before_pool = match &layer.op {
            QuantizedOp::Conv { bias, shift, residual, .. } => {
                let addend = residual.as_ref().map(|residual| {
                    let last = layer.sources.len() - 1;
                    let (r, zero) = operand(last);
                    addend(residual, (r, self.graph.read_shape(layer, last), zero), layer.conv_shape)
                });
                let write = WriteBack { bias, shift, zero_point, clamp: layer.clamp, addend: addend.as_deref() };
                let kernel = kernel.expect("prepared for every convolution");
                match layer.weighted_sources() {
                    [_] => kernel.run(operand(0), layer.conv_shape, &write),
                    vectors => kernel.run_joined((0..vectors.len()).map(operand), &write),
                }
            }
            QuantizedOp::Products { left_shift, shift } => {
                let sum = |channel: usize| -> i32 {
                    let product = |(pair, left): (usize, &u8)| {
                        let [value, gate] = [2 * pair, 2 * pair + 1].map(|i| i32::from(operands[i][channel]));
                        (value * gate) << left
                    };
                    left_shift.iter().enumerate().map(product).sum()
                };
                (0..layer.conv_shape[0]).flat_map(|channel| wide_digits(sum(channel), *shift)).collect()
            }
            QuantizedOp::Sequence => {
                let copied =
                    |(channel, step): (usize, usize)| operands[step][channel].clamp(layer.clamp.0, layer.clamp.1);
                let [channels, _, time] = layer.conv_shape;
                (0..channels).flat_map(|c| (0..time).map(move |t| (c, t))).map(copied).collect()
            }
            QuantizedOp::MaxPool { pool } => {
                let (x, _) = operand(0);
                let (lo, hi) = layer.clamp;
                let mut y = max_pool(x, self.graph.tensor(layer.sources[0]).shape, layer.conv_shape, pool);
                y.iter_mut().for_each(|v| *v = (*v).clamp(lo, hi));
                y
            }
            QuantizedOp::Add { left_shift, shift } => {
                let ((a, za), (b, zb)) = (operand(0), operand(1));
                let aligned = |x: i8, zero: i8, left: u8| (i32::from(x) - i32::from(zero)) << left;
                let sum = |(a, b): (&i8, &i8)| aligned(*a, za, left_shift[0]) + aligned(*b, zb, left_shift[1]);
                a.iter().zip(b).map(|p| requantize(sum(p), *shift, zero_point, layer.clamp)).collect()
            }
            QuantizedOp::Gate { shift } => {
                let ((x, _), (gates, _)) = (operand(0), operand(1));
                let channels = x.chunks(layer.conv_shape[1] * layer.conv_shape[2]).zip(gates);
                let product =
                    |(x, gate): (&i8, i8)| requantize(i32::from(*x) * i32::from(gate), *shift, zero_point, layer.clamp);
                channels.flat_map(|(x, gate)| x.iter().map(move |x| product((x, *gate)))).collect()
            }
            QuantizedOp::Select { channels } => {
                let (x, zero) = operand(0);
                let each = layer.conv_shape[1] * layer.conv_shape[2];
                let copied = |x: &i8| requantize(i32::from(*x) - i32::from(zero), 0, zero_point, layer.clamp);
                let channel = |c: &Option<usize>| match c {
                    Some(c) => x[c * each..(c + 1) * each].iter().map(copied).collect::<Vec<_>>(),
                    None => vec![requantize(0, 0, zero_point, layer.clamp); each],
                };
                channels.iter().flat_map(channel).collect()
            }
            QuantizedOp::Resize { factor } => {
                let (x, zero) = operand(0);
                let copied = |x: &i8| requantize(i32::from(*x) - i32::from(zero), 0, zero_point, layer.clamp);
                let row = |row: &[i8]| {
                    let wide = row.iter().flat_map(|x| std::iter::repeat_n(copied(x), factor[1]));
                    wide.collect::<Vec<_>>().repeat(factor[0])
                };
                x.chunks(layer.conv_shape[2]).flat_map(row).collect()
            }
            QuantizedOp::Concat { left_shift, shift } => {
                let part = |(i, left): (usize, &u8)| {
                    let (x, zero) = operand(i);
                    let left = *left;
                    x.iter().map(move |x| {
                        let aligned = (i32::from(*x) - i32::from(zero)) << left;
                        requantize(aligned, *shift, zero_point, layer.clamp)
                    })
                };
                left_shift.iter().enumerate().flat_map(part).collect()
            }
        };
        let mut output = match &layer.fused_pool {
            Some(pool) => max_pool(&before_pool, layer.conv_shape, layer.output.shape, pool),
            None => before_pool,
        };
        if let Some(table) = &layer.table {
            let [channels, ..] = layer.output.shape;
            let each = output.len() / channels;
            output.iter_mut().enumerate().for_each(|(i, q)| *q = table.look_up(i / each, *q));
        }
        output
    }
}

impl ReferenceInterpreter<'_> {
    /// What a layer reads of a source.
    fn read<'v>(&self, layer: &QuantizedLayer, source: usize, values: &'v Values) -> Cow<'v, [i8]> {
        let whole = values.of(layer.sources[source]);
        let [_, height, width] = self.graph.tensor(layer.sources[source]).shape;
        match layer.steps[source] {
            None => Cow::Borrowed(whole),
            Some(step) => Cow::Owned(whole.chunks(height * width).map(|line| line[step]).collect()),
        }
    }
}

fn kernel(graph: &QuantizedGraph, layer: &QuantizedLayer) -> Option<ConvKernel> {
    let QuantizedOp::Conv { weight, weight_shape, stride, pads, dilation, groups, interleave, .. } = &layer.op else {
        return None;
    };
    let spec = ConvSpec {
        weight,
        weight_shape: *weight_shape,
        in_shape: match layer.weighted_sources() {
            [_] => graph.read_shape(layer, 0),
            _ => [weight_shape[1], weight_shape[2], weight_shape[3]],
        },
        out_shape: layer.conv_shape,
        stride: *stride,
        pads: [pads.top, pads.left],
        dilation: *dilation,
        groups: *groups,
    };
    Some(match interleave {
        None => ConvKernel::new(&spec),
        Some(spread) => ConvKernel::interleaved(&spec, spread),
    })
}

/// Maximum over windows; padding is -128, which no value is below.
fn max_pool(x: &[i8], in_shape: [usize; 3], out_shape: [usize; 3], pool: &Pool) -> Vec<i8> {
    let [_, height, width] = in_shape;
    let window = |o: usize, axis: usize, before: usize, size: usize| {
        let start = o * pool.stride[axis];
        start.saturating_sub(before)..(start + pool.kernel[axis]).saturating_sub(before).min(size)
    };
    let mut y = Vec::with_capacity(out_shape.iter().product());
    for plane in x.chunks(height * width) {
        for oy in 0..out_shape[1] {
            let rows = window(oy, 0, pool.pads.top, height);
            for ox in 0..out_shape[2] {
                let columns = window(ox, 1, pool.pads.left, width);
                let rows = plane[rows.start * width..rows.end * width].chunks(width);
                let max = rows.flat_map(|row| &row[columns.clone()]).max();
                y.push(max.copied().unwrap_or(i8::MIN));
            }
        }
    }
    y
}

/// Position of the largest value, the first of equal ones: the class. 0 if there are none.
pub fn argmax(values: &[i8]) -> usize {
    let max = values.iter().max();
    values.iter().position(|v| Some(v) == max).unwrap_or(0)
}
