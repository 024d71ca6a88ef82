//! The only constructor of [`QuantizedGraph`].

use espalier_ir::{
    Activation, ArrayLayer, ArrayOp, Diagnostic, Diagnostics, Graph, InputLayout, LayerCurve, LayerSource, Op, Pads,
    Residual, array_layers, input_layout, unrolled,
};
use serde::{Deserialize, Serialize};

use crate::bounds::Operand;
use crate::calibrate::CalibrationTable;
use crate::exponents::{DIGIT_BITS, MAX_LEFT_SHIFT, TensorParams, choose, copies};
use crate::model::{
    FixedExponents, QuantParams, QuantizedGraph, QuantizedLayer, QuantizedOp, QuantizedTable, QuantizedTensor,
    power_of_two,
};
use crate::residual::{QuantizedResidual, sum_shift, window};
use crate::weights::{
    Addend, Channel, FloatConv, MAX_SHIFT, check_finite, float_conv, quantize_channel, quantize_channel_fixed,
    weight_exponents, with_common_step,
};

/// Step of the weights of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRounding {
    /// The finest power of two with which no weight saturates.
    #[default]
    Cover,
    /// That or the next finer one, by squared error: the largest weights may saturate.
    SquaredError,
}

/// Choices of [`quantize`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuantizeOptions {
    /// Step of the weights.
    pub weights: WeightRounding,
    /// Exponents and zero points to keep, those with which a graph was fine-tuned; calibration is not consulted then.
    pub fixed: Option<FixedExponents>,
}

/// Quantizes `graph` with the observations of [`crate::calibrate`] on the same graph.
///
/// # Errors
/// All of: layers that the accelerator cannot execute, a table or fixed exponents of another graph, tensors beyond the
/// exponents, accumulators beyond 32 bits, weights that are not finite, a softmax that is not the end of every output.
pub fn quantize(
    graph: &Graph,
    table: &CalibrationTable,
    options: &QuantizeOptions,
) -> Result<QuantizedGraph, Diagnostics> {
    let graph = &*unrolled(graph)?;
    let layers = array_layers(graph)?;
    if graph.outputs().is_empty() {
        return Err(
            Diagnostic::error("empty-graph", format!("model '{}'", graph.name), "the graph has no output").into()
        );
    }
    check_table(graph, &layers, table)?;
    let softmax = ends_in_softmax(graph)?;
    let convs: Vec<Option<FloatConv>> = layers.iter().map(|l| float_conv(graph, l)).collect();
    check_weights(&layers, &convs)?;
    let bases: Vec<Vec<Option<i32>>> =
        convs.iter().map(|c| c.as_ref().map_or(Vec::new(), |c| weight_exponents(c, options.weights))).collect();
    let params = match &options.fixed {
        None => choose(&layers, table, &bases)?,
        Some(fixed) => {
            check_fixed(graph, &layers, &convs, fixed)?;
            TensorParams::fixed(fixed)
        }
    };
    let mut quantized = frame(graph, &layers, &params, softmax)?;
    let mut findings = Diagnostics::new();
    for (index, layer) in layers.iter().enumerate() {
        let joined = joined(layer, convs[index].as_ref(), &params, options.weights);
        let (conv, bases) = match &joined {
            Some((conv, bases)) => (Some(conv), bases),
            None => (convs[index].as_ref(), &bases[index]),
        };
        let weights = Weights { conv, bases, fixed: options.fixed.as_ref().map(|f| f.weights[index].as_slice()) };
        match quantized_layer(layer, &weights, &params, &quantized, index) {
            Ok(layer) => quantized.layers.push(layer),
            Err(found) => {
                findings.extend(found);
                // Keep indices right, so that all layers are checked.
                quantized.layers.push(placeholder(layer, &params, index));
            }
        }
    }
    findings.into_result(quantized)
}

/// What quantizing one layer needs of its weights.
struct Weights<'a> {
    conv: Option<&'a FloatConv>,
    bases: &'a [Option<i32>],
    fixed: Option<&'a [i32]>,
}

/// A convolution of several vectors in steps of the first, with the weight exponents that follow.
fn joined(
    layer: &ArrayLayer,
    conv: Option<&FloatConv>,
    params: &TensorParams,
    rounding: WeightRounding,
) -> Option<(FloatConv, Vec<Option<i32>>)> {
    let vectors = layer.own_sources();
    let conv = conv.filter(|_| vectors.len() > 1 && matches!(layer.op, ArrayOp::Conv { .. }))?;
    let exponents: Vec<i32> = vectors.iter().map(|s| params.of(*s).exponent).collect();
    let channels: Vec<usize> = layer.in_shapes[..vectors.len()].iter().map(|s| s[0]).collect();
    let conv = with_common_step(conv.clone(), &exponents, &channels);
    let bases = weight_exponents(&conv, rounding);
    Some((conv, bases))
}

fn frame(
    graph: &Graph,
    layers: &[ArrayLayer],
    params: &TensorParams,
    softmax: bool,
) -> Result<QuantizedGraph, Diagnostics> {
    let layouts: Vec<InputLayout> = graph.inputs().iter().map(|i| input_layout(graph, *i)).collect();
    let inputs = graph.inputs().iter().zip(&layouts).enumerate().map(|(i, (node, layout))| QuantizedTensor {
        name: graph.node(*node).name.clone(),
        shape: layout.shape,
        params: params.input(i),
    });
    let mut outputs = Vec::new();
    for node in graph.outputs() {
        outputs.push(value_source(graph, layers, *node).ok_or_else(|| {
            let name = &graph.node(*node).name;
            Diagnostic::error("unwritten-output", format!("node '{name}'"), "no layer writes this output")
        })?);
    }
    Ok(QuantizedGraph {
        name: graph.name.clone(),
        inputs: inputs.collect(),
        layers: Vec::with_capacity(layers.len()),
        outputs,
        transposed: layouts.iter().map(|l| l.transposed).collect(),
        input_shapes: graph.inputs().iter().map(|i| graph.node(*i).shape.clone()).collect(),
        output_shapes: graph.outputs().iter().map(|o| graph.node(*o).shape.clone()).collect(),
        softmax,
    })
}

/// The tensor behind a value, looking through views and softmax.
fn value_source(graph: &Graph, layers: &[ArrayLayer], mut node: espalier_ir::NodeId) -> Option<LayerSource> {
    loop {
        // Of a value of 16 bits and its rounding the latter.
        if let Some(index) = layers.iter().rposition(|l| l.output_node() == node) {
            return Some(LayerSource::Layer(index));
        }
        if let Some(index) = graph.inputs().iter().position(|i| *i == node) {
            return Some(LayerSource::Input(index));
        }
        match graph.node(node).op {
            Op::Flatten | Op::Reshape { .. } | Op::Softmax { .. } => node = graph.operands(node)[0],
            _ => return None,
        }
    }
}

fn ends_in_softmax(graph: &Graph) -> Result<bool, Diagnostic> {
    let is_softmax = |node: espalier_ir::NodeId| matches!(graph.node(node).op, Op::Softmax { .. });
    let count = graph.outputs().iter().filter(|o| is_softmax(**o)).count();
    let finding = |node: espalier_ir::NodeId, message| {
        let at = format!("node '{}'", graph.node(node).name);
        let help = "the host applies softmax to all outputs or to none, and to nothing else";
        Err(Diagnostic::error("softmax-placement", at, message).with_help(help))
    };
    if let Some(node) = graph.nodes().into_iter().find(|n| is_softmax(*n) && !graph.consumers(*n).is_empty()) {
        return finding(node, "the result of softmax is read by another operator");
    }
    match graph.outputs().iter().find(|o| !is_softmax(**o)) {
        Some(output) if count > 0 => finding(*output, "this output does not end in softmax, another one does"),
        _ => Ok(count > 0),
    }
}

fn check_table(graph: &Graph, layers: &[ArrayLayer], table: &CalibrationTable) -> Result<(), Diagnostic> {
    let inputs = graph.inputs().iter().map(|i| graph.node(*i).name.as_str());
    let names = inputs.chain(layers.iter().map(|l| l.name.as_str()));
    let functions = layers.iter().map(|l| l.curve.is_some());
    let same_functions = functions.eq(table.arguments.iter().map(Option::is_some));
    if same_functions && names.eq(table.inputs.iter().chain(&table.layers).map(|t| t.name.as_str())) {
        return Ok(());
    }
    Err(other_graph(graph, "the calibration table"))
}

fn other_graph(graph: &Graph, what: &str) -> Diagnostic {
    Diagnostic::error(
        "stale-calibration",
        format!("model '{}'", graph.name),
        format!("{what} belongs to a graph with other layers"),
    )
    .with_help("calibrate again after every change of the graph")
}

fn check_fixed(
    graph: &Graph,
    layers: &[ArrayLayer],
    convs: &[Option<FloatConv>],
    fixed: &FixedExponents,
) -> Result<(), Diagnostic> {
    let channels = convs.iter().map(|c| c.as_ref().map_or(0, |c| c.shape[0]));
    let fits = fixed.inputs.len() == graph.inputs().len()
        && fixed.layers.len() == layers.len()
        && fixed.arguments.len() == layers.len()
        && channels.eq(fixed.weights.iter().map(Vec::len));
    if fits { Ok(()) } else { Err(other_graph(graph, "the list of fixed exponents")) }
}

fn check_weights(layers: &[ArrayLayer], convs: &[Option<FloatConv>]) -> Result<(), Diagnostics> {
    let mut findings = Diagnostics::new();
    for (layer, conv) in layers.iter().zip(convs) {
        if let Some(Err(finding)) = conv.as_ref().map(|c| check_finite(&layer.name, c)) {
            findings.push(finding);
        }
    }
    findings.into_result(())
}

fn quantized_layer(
    layer: &ArrayLayer,
    weights: &Weights,
    params: &TensorParams,
    graph: &QuantizedGraph,
    index: usize,
) -> Result<QuantizedLayer, Diagnostics> {
    let output = params.argument(index);
    if layer.alike.is_some_and(|other| (params.argument(other), params.layer(other)) != (output, params.layer(index))) {
        let message = "has other scales than the layer of the same function, whose table it shares";
        return Err(Diagnostic::error("fixed-exponent", format!("layer '{}'", layer.name), message).into());
    }
    let op = match (&layer.op, weights.conv) {
        (ArrayOp::Narrow, _) => narrow_op(layer, params, output)?,
        (ArrayOp::Products, _) => products_op(layer, params, output)?,
        (ArrayOp::Sequence, _) if layer.sources.iter().all(|s| params.of(*s) == output) => QuantizedOp::Sequence,
        (_, Some(conv)) => conv_op(layer, conv, weights, graph, output)?,
        (op, None) if copies(op) => {
            if output != params.of(layer.sources[0]) {
                let at = format!("layer '{}'", layer.name);
                return Err(Diagnostic::error(
                    "fixed-exponent",
                    at,
                    format!("{} keeps its input's parameters", layer.op_name),
                )
                .into());
            }
            match op {
                ArrayOp::MaxPool { pool } => QuantizedOp::MaxPool { pool: *pool },
                ArrayOp::Select { channels } => QuantizedOp::Select { channels: channels.clone() },
                ArrayOp::Resize { factor } => QuantizedOp::Resize { factor: *factor },
                _ => unreachable!("nothing else copies"),
            }
        }
        (ArrayOp::Gate, None) => QuantizedOp::Gate { shift: gate_shift(layer, params, output)? },
        (op, None) => {
            let (left, shift) = alignment(layer, params, output)?;
            match op {
                ArrayOp::Add => QuantizedOp::Add { left_shift: [left[0], left[1]], shift },
                _ => QuantizedOp::Concat { left_shift: left, shift },
            }
        }
    };
    Ok(QuantizedLayer { op, ..placeholder(layer, params, index) })
}

/// Everything of a layer but its operation.
fn placeholder(layer: &ArrayLayer, params: &TensorParams, index: usize) -> QuantizedLayer {
    let (argument, output) = (params.argument(index), params.layer(index));
    let table = |c: &LayerCurve| QuantizedTable::new(&c.function, layer.out_shape[0], argument, output);
    QuantizedLayer {
        name: layer.name.clone(),
        op_name: layer.op_name,
        op: QuantizedOp::Concat { left_shift: vec![0; layer.sources.len()], shift: 0 },
        sources: layer.sources.clone(),
        steps: layer.steps.clone(),
        output: QuantizedTensor { name: layer.name.clone(), shape: layer.out_shape, params: output },
        conv_shape: layer.conv_shape,
        clamp: clamp_bounds(layer.activation, argument),
        fused_pool: layer.fused_pool,
        table: layer.curve.as_ref().map(table),
        peer: layer.peer,
        alike: layer.alike,
    }
}

fn conv_op(
    layer: &ArrayLayer,
    conv: &FloatConv,
    weights: &Weights,
    graph: &QuantizedGraph,
    output: QuantParams,
) -> Result<QuantizedOp, Diagnostics> {
    let source = layer.sources[0];
    let params = graph.tensor(source).params;
    let operand = |source| Operand { range: graph.range(source), zero_point: graph.tensor(source).params.zero_point };
    let each = conv.shape[1..].iter().product();
    let read = graph.weight_operands(layer.own_sources(), each);
    let input = (params, &read[..]);
    let added = layer.sources[layer.sources.len() - 1];
    let mut findings = Diagnostics::new();
    let mut channels: Vec<Channel> = Vec::with_capacity(conv.shape[0]);
    let adds = |o: usize| layer.residual.as_ref().is_some_and(|r| r.channels.as_ref().is_none_or(|c| c[o].is_some()));
    // Exponent of the operand that is added, relative to the input: its shift is this less the weight exponent.
    let unit = layer.residual.as_ref().map(|_| graph.tensor(added).params.exponent - params.exponent);
    let shifts = weights.bases.iter().enumerate().filter(|(o, _)| adds(*o));
    let shifts = window(shifts.map(|(_, base)| base.and_then(|e| unit.map(|unit| unit - e))));
    for (o, (w, bias)) in conv.channels().zip(&conv.bias).enumerate() {
        let addend = unit.filter(|_| adds(o)).map(|unit| Addend { operand: operand(added), unit });
        let channel = match weights.fixed {
            Some(fixed) => quantize_channel_fixed(w, *bias, fixed[o], input, addend, output),
            None => quantize_channel(w, *bias, weights.bases[o], input, addend.map(|a| (a, &shifts)), output),
        };
        match channel {
            Ok(channel) => channels.push(channel),
            Err(message) => findings.push(
                Diagnostic::error("accumulator-range", format!("layer '{}', channel {o}", layer.name), message)
                    .with_help("calibrate with samples like those the model was trained on"),
            ),
        }
    }
    findings.into_result(())?;
    let residual = match (&layer.residual, unit) {
        (Some(residual), Some(unit)) => Some(Box::new(quantized_residual(layer, residual, &channels, unit)?)),
        _ => None,
    };
    Ok(QuantizedOp::Conv {
        weight: channels.iter().flat_map(|c| c.weight.iter().copied()).collect(),
        weight_shape: conv.shape,
        bias: channels.iter().map(|c| c.bias).collect(),
        weight_exponent: channels.iter().map(|c| c.exponent).collect(),
        shift: channels.iter().map(|c| c.shift).collect(),
        stride: conv.stride,
        pads: conv.pads,
        dilation: conv.dilation,
        groups: conv.groups,
        interleave: conv.interleave,
        average: matches!(layer.op, ArrayOp::AveragePool { .. }),
        residual,
    })
}

/// The operand that a convolution adds, `unit - e_w` bits above the accumulator.
fn quantized_residual(
    layer: &ArrayLayer,
    residual: &Residual,
    channels: &[Channel],
    unit: i32,
) -> Result<QuantizedResidual, Diagnostics> {
    let adds = |o: usize| residual.channels.as_ref().is_none_or(|c| c[o].is_some());
    let shifts: Vec<i32> =
        channels.iter().enumerate().map(|(o, c)| if adds(o) { unit - c.exponent } else { 0 }).collect();
    let used = shifts.iter().enumerate().filter(|(o, _)| adds(*o)).map(|(_, k)| *k);
    if sum_shift(used).is_none() {
        let message = format!("the operand that is added needs left shifts {shifts:?}, too far apart or out of 0..=12");
        return Err(Diagnostic::error("fixed-exponent", format!("layer '{}'", layer.name), message).into());
    }
    Ok(QuantizedResidual {
        stride: residual.stride,
        channels: residual.channels.clone(),
        left_shift: shifts.into_iter().map(|k| k as u8).collect(),
    })
}

/// Left shifts that bring all operands to the finest of their steps, and the shift from there to the output.
fn alignment(layer: &ArrayLayer, params: &TensorParams, output: QuantParams) -> Result<(Vec<u8>, u8), Diagnostics> {
    let exponents: Vec<i32> = layer.sources.iter().map(|s| params.of(*s).exponent).collect();
    let finest = exponents.iter().copied().min().unwrap_or(output.exponent);
    let left = exponents.iter().map(|e| e - finest);
    let shift = output.exponent - finest;
    if left.clone().any(|l| l > MAX_LEFT_SHIFT) || !(0..=MAX_SHIFT).contains(&shift) {
        let message = format!("operands with steps 2^{exponents:?} do not align for 2^{}", output.exponent);
        return Err(Diagnostic::error("fixed-exponent", format!("layer '{}'", layer.name), message).into());
    }
    Ok((left.map(|l| l as u8).collect(), shift as u8))
}

/// The lower digit, and the upper one eight bits above it.
fn narrow_op(layer: &ArrayLayer, params: &TensorParams, output: QuantParams) -> Result<QuantizedOp, Diagnostic> {
    let channels = layer.conv_shape[0];
    let shift = output.exponent - params.of(layer.sources[0]).exponent;
    if !(0..=MAX_SHIFT).contains(&shift) {
        let message = format!("a value of 16 bits is rounded by 2^{shift}, out of 0..=31");
        return Err(Diagnostic::error("fixed-exponent", format!("layer '{}'", layer.name), message));
    }
    Ok(QuantizedOp::Conv {
        weight: vec![1; channels],
        weight_shape: [channels, 1, 1, 1],
        bias: vec![0; channels],
        weight_exponent: vec![0; channels],
        shift: vec![shift as u8; channels],
        stride: [1, 1],
        pads: Pads::default(),
        dilation: [1, 1],
        groups: channels,
        interleave: None,
        average: false,
        residual: Some(Box::new(QuantizedResidual {
            stride: [1, 1],
            channels: None,
            left_shift: vec![DIGIT_BITS as u8; channels],
        })),
    })
}

/// Products in steps of the last one: that of the lower digit, or of the only one.
fn products_op(layer: &ArrayLayer, params: &TensorParams, output: QuantParams) -> Result<QuantizedOp, Diagnostic> {
    let pairs = layer.sources.chunks(2).zip(layer.steps.chunks(2)).enumerate();
    let step = |(pair, (sources, steps)): (usize, (&[LayerSource], &[Option<usize>]))| {
        let digit = if steps[0].is_some() && pair == 0 { DIGIT_BITS } else { 0 };
        sources.iter().map(|s| params.of(*s).exponent).sum::<i32>() + digit
    };
    let steps: Vec<i32> = pairs.map(step).collect();
    let unit = *steps.last().expect("a sum of products has one");
    let left_shift: Vec<i32> = steps.iter().map(|e| e - unit).collect();
    let shift = output.exponent - unit;
    let centred = layer.sources.iter().all(|s| params.of(*s).zero_point == 0) && output.zero_point == 0;
    if !centred || !(0..=MAX_SHIFT).contains(&shift) || left_shift.iter().any(|l| ![0, 4, 6, 8].contains(l)) {
        let message = format!(
            "products with steps of 2^{steps:?} do not align for 2^{} (left shifts are 0, 4, 6 or 8), or a zero point is not 0",
            output.exponent
        );
        return Err(Diagnostic::error("fixed-exponent", format!("layer '{}'", layer.name), message));
    }
    Ok(QuantizedOp::Products { left_shift: left_shift.into_iter().map(|l| l as u8).collect(), shift: shift as u8 })
}

/// The shift from the product of a map and its gates to the output.
fn gate_shift(layer: &ArrayLayer, params: &TensorParams, output: QuantParams) -> Result<u8, Diagnostic> {
    let operands: Vec<QuantParams> = layer.sources.iter().map(|s| params.of(*s)).collect();
    let exponent: i32 = operands.iter().map(|p| p.exponent).sum();
    let shift = output.exponent - exponent;
    let centred = operands.iter().all(|p| p.zero_point == 0);
    if !centred || !(0..=MAX_SHIFT).contains(&shift) {
        let message = format!(
            "a product with steps of 2^{exponent} does not fit 2^{}, or zero points {:?} are not 0",
            output.exponent,
            operands.iter().map(|p| p.zero_point).collect::<Vec<i8>>()
        );
        return Err(Diagnostic::error("fixed-exponent", format!("layer '{}'", layer.name), message));
    }
    Ok(shift as u8)
}

/// Integer bounds of an activation: rounded like any value, the whole int8 range where there is none.
fn clamp_bounds(activation: Activation, params: QuantParams) -> (i8, i8) {
    let bound = |value: f32| {
        let q = (f64::from(value) / power_of_two(params.exponent)).round_ties_even() + f64::from(params.zero_point);
        q.clamp(-128.0, 127.0) as i8
    };
    (bound(activation.min), bound(activation.max))
}
