//! From a layer to its nodes, once the shapes of its operands are known.

use espalier_ir::{Conv, ConvTranspose, NodeId, Op, ParamId, Pool, Recurrent, Tensor};

use crate::build::Builder;
use crate::layer::{Layer, Window};
use crate::padding::Padding;

/// Networks of more parameters (256 MiB as floats) fit no target by orders of magnitude.
const MAX_PARAMETERS: usize = 1 << 26;
/// Selections of more channels are a mistake.
const MAX_CHANNELS: usize = 1 << 16;

impl Builder {
    /// Adds the nodes of a layer; the last one is its value.
    pub(crate) fn add(
        &mut self,
        name: &str,
        layer: Layer,
        operands: &[NodeId],
        (offset, label): (usize, &str),
    ) -> Result<NodeId, String> {
        let [first, ..] = operands else { return Err("reads no value".to_owned()) };
        if let (Some((.., waiting)), false) = (&self.pending, matches!(layer, Layer::Dense { .. })) {
            return Err(format!("stands behind {waiting}; only a dense layer may"));
        }
        let shape = self.graph.node(*first).shape.clone();
        let op = match layer {
            Layer::Plain(op) => op,
            Layer::Conv { channels, window, bias } => {
                let inputs = shape[0];
                let [channels, groups] = channels.unwrap_or([inputs, inputs]);
                divides(groups, [inputs, channels])?;
                let Window { kernel: [height, width], stride, dilation, .. } = window;
                let weight = self.param(&format!("{name}.weight"), &[channels, inputs / groups, height, width])?;
                let bias = self.bias(name, bias, channels)?;
                let pads = window.pads.pads(&shape, window.kernel, stride, dilation);
                Op::Conv(Conv { weight, bias, stride, pads, dilation, groups })
            }
            Layer::ConvTranspose { channels, groups, window, output_pads, bias } => {
                let inputs = shape[0];
                divides(groups, [inputs, channels])?;
                let Padding::Given(pads) = window.pads else {
                    return Err("takes pads as numbers, which cut off the result".to_owned());
                };
                let Window { kernel: [height, width], stride, dilation, .. } = window;
                let weight = self.param(&format!("{name}.weight"), &[inputs, channels / groups, height, width])?;
                let bias = self.bias(name, bias, channels)?;
                Op::ConvTranspose(ConvTranspose { weight, bias, stride, pads, output_pads, dilation, groups })
            }
            Layer::Dense { features, bias } => {
                let [inputs] = shape[..] else {
                    return Err(format!("takes [features], not {shape:?}: put a flatten in front of it"));
                };
                let weight = self.param(&format!("{name}.weight"), &[features, inputs])?;
                Op::Gemm { weight, bias: self.bias(name, bias, features)? }
            }
            Layer::BatchNorm { epsilon } => {
                let mut param = |what: &str| self.param(&format!("{name}.{what}"), &shape[..1]);
                let (gamma, beta) = (param("gamma")?, param("beta")?);
                Op::BatchNorm { gamma, beta, mean: param("mean")?, variance: param("variance")?, epsilon }
            }
            Layer::PRelu => Op::PRelu { slope: self.param(&format!("{name}.slope"), &shape[..1])? },
            Layer::Pool { window, average } => {
                let Window { kernel, stride, dilation, pads } = window;
                let pool = Pool { kernel, stride, pads: pads.pads(&shape, kernel, stride, dilation) };
                match average {
                    None => Op::MaxPool(pool),
                    Some(count_include_pad) => Op::AveragePool { pool, count_include_pad },
                }
            }
            Layer::Recurrent { cell, units, reverse, bias } => {
                let rows = cell.gates() * units;
                let weight = self.param(&format!("{name}.weight"), &[rows, shape[0]])?;
                let recurrence = self.param(&format!("{name}.recurrence"), &[rows, units])?;
                let bias = match bias {
                    true => Some([
                        self.param(&format!("{name}.bias"), &[rows])?,
                        self.param(&format!("{name}.recurrent_bias"), &[rows])?,
                    ]),
                    false => None,
                };
                Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias })
            }
            Layer::Sequence => {
                let [time, features] = match shape[..] {
                    [time, features] | [1, time, features] => [time, features],
                    _ => return Err(format!("takes [time, features] or [1, time, features], not {shape:?}")),
                };
                let mut frames = *first;
                if shape.len() == 3 {
                    let reshape = Op::Reshape { shape: vec![time, features] };
                    frames = self.node(&format!("{name}.frames"), reshape, operands, (offset, label))?;
                }
                return self.node(name, Op::Transpose { axes: vec![1, 0] }, &[frames], (offset, label));
            }
            Layer::LastStep => Op::TimeStep { step: shape[1..].iter().product::<usize>().saturating_sub(1) },
            Layer::PadChannels { before, after } => {
                let none = |n| std::iter::repeat_n(None, n);
                selection(before + shape[0] + after)?;
                Op::Select { channels: none(before).chain((0..shape[0]).map(Some)).chain(none(after)).collect() }
            }
            Layer::Slice { start, end } => {
                if start >= end || end > shape[0] {
                    return Err(format!("takes channels {start}..{end} of {}", shape[0]));
                }
                selection(end - start)?;
                Op::Select { channels: (start..end).map(Some).collect() }
            }
            Layer::Shuffle { groups } => {
                let channels = shape[0];
                selection(channels)?;
                if !channels.is_multiple_of(groups) {
                    return Err(format!("{groups} groups do not divide {channels} channels"));
                }
                let group = channels / groups;
                Op::Select { channels: (0..channels).map(|c| Some(c % groups * group + c / groups)).collect() }
            }
            Layer::Dropout { rate } => {
                self.pending = Some((rate, offset, label.to_owned()));
                return Ok(*first);
            }
        };
        let node = self.node(name, op, operands, (offset, label))?;
        if let Some((rate, ..)) = self.pending.take() {
            self.dropout.insert(node, rate);
        }
        Ok(node)
    }

    fn node(&mut self, name: &str, op: Op, operands: &[NodeId], place: (usize, &str)) -> Result<NodeId, String> {
        let node = self.graph.add(name, op, operands).map_err(|error| error.message)?;
        self.places.insert(node, (place.0, place.1.to_owned()));
        Ok(node)
    }

    /// A parameter of zeros, if it does not make the network absurdly large.
    fn param(&mut self, name: &str, shape: &[usize]) -> Result<ParamId, String> {
        let len = shape.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis));
        match len.and_then(|len| len.checked_add(self.parameters)) {
            Some(sum) if sum <= MAX_PARAMETERS => self.parameters = sum,
            _ => return Err(format!("has weights {shape:?}: more than {MAX_PARAMETERS} parameters in all")),
        }
        Ok(self.graph.add_param(name, Tensor::f32(shape, vec![0.0; shape.iter().product()])))
    }

    fn bias(&mut self, name: &str, wanted: bool, len: usize) -> Result<Option<ParamId>, String> {
        wanted.then(|| self.param(&format!("{name}.bias"), &[len])).transpose()
    }
}

fn divides(groups: usize, channels: [usize; 2]) -> Result<(), String> {
    let [inputs, outputs] = channels;
    if channels.iter().all(|n| n.is_multiple_of(groups)) {
        return Ok(());
    }
    Err(format!("{groups} groups do not divide {inputs} and {outputs} channels"))
}

fn selection(channels: usize) -> Result<(), String> {
    if channels <= MAX_CHANNELS {
        Ok(())
    } else {
        Err(format!("gives {channels} channels; {MAX_CHANNELS} are the most"))
    }
}
