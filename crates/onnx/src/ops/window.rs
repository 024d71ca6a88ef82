//! Operators that slide a window: convolution, pooling, means over height and width.

use espalier_ir::{Conv, ConvTranspose, Diagnostic, NodeId, Op, Pads, Pool};

use crate::import::{Importer, never_negative};
use crate::node::Node;
use crate::ops::large_pool::split;
use crate::value::{Element, Outcome, Stop, Value, View};

/// Stride, padding and dilation of a window.
struct Window {
    stride: [usize; 2],
    pads: Pads,
    dilation: [usize; 2],
}

/// Convolution; a zero Pad before it becomes part of its padding.
pub fn conv(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let weight = importer.constant(node, 1, "the weight")?;
    let bias = importer.optional_constant(node, 2, "the bias")?;
    let line = importer.make_line(node, 0)?;
    let weight = match weight.shape[..] {
        [o, i, k] if line => weight.reshaped(vec![o, i, 1, k]),
        _ => weight,
    };
    let [_, _, kh, kw] = weight.shape[..] else {
        let message = format!("the weight has shape {:?}: 1-D and 2-D convolutions are supported", weight.shape);
        return Err(node.unsupported(message).into());
    };
    let kernel = pair(node, line, "kernel_shape", Some([kh, kw]))?;
    if kernel != [kh, kw] {
        let message = format!("kernel_shape {kernel:?} differs from the weight, {:?}", weight.shape);
        return Err(node.error("invalid-attribute", message).into());
    }
    let groups = node.int("group", 1)?;
    let groups = usize::try_from(groups)
        .map_err(|_| node.error("invalid-attribute", format!("attribute 'group' is {groups}")))?;
    let (input, extra) = importer.padded(node, 0)?;
    let window = window(node, line, kernel, spatial(importer, node, input)?, extra)?;
    let weight = importer.weight(node, 1, &weight)?;
    let bias = bias.map(|b| importer.weight(node, 2, &b)).transpose()?;
    let Window { stride, pads, dilation } = window;
    importer.emit(node, Op::Conv(Conv { weight, bias, stride, pads, dilation, groups }), &[input])
}

/// Transposed convolution.
pub fn conv_transpose(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let weight = importer.constant(node, 1, "the weight")?;
    let bias = importer.optional_constant(node, 2, "the bias")?;
    let [_, _, kh, kw] = weight.shape[..] else {
        let message = format!("the weight has shape {:?}: only 2-D convolutions are supported", weight.shape);
        return Err(node.unsupported(message).into());
    };
    let kernel = node.extents("kernel_shape", 1, Some([kh, kw]))?;
    if kernel != [kh, kw] {
        let message = format!("kernel_shape {kernel:?} differs from the weight, {:?}", weight.shape);
        return Err(node.error("invalid-attribute", message).into());
    }
    let automatic = node.text("auto_pad", "NOTSET")?;
    if !matches!(automatic, "NOTSET" | "" | "VALID") || node.has("output_shape") {
        return Err(node
            .unsupported("leaves its padding to auto_pad or output_shape")
            .with_help("give pads and output_padding as numbers")
            .into());
    }
    let groups = node.int("group", 1)?;
    let groups = usize::try_from(groups)
        .map_err(|_| node.error("invalid-attribute", format!("attribute 'group' is {groups}")))?;
    let [top, left, bottom, right] = node.extents("pads", 0, Some([0; 4]))?;
    let input = importer.tensor(node, 0)?;
    let op = ConvTranspose {
        weight: importer.weight(node, 1, &weight)?,
        bias: bias.map(|b| importer.weight(node, 2, &b)).transpose()?,
        stride: node.extents("strides", 1, Some([1, 1]))?,
        pads: Pads { top, left, bottom, right },
        output_pads: node.extents("output_padding", 0, Some([0, 0]))?,
        dilation: node.extents("dilations", 1, Some([1, 1]))?,
        groups,
    };
    importer.emit(node, Op::ConvTranspose(op), &[input])
}

/// Maximum over windows, of floats or of quantized values.
pub fn max_pool(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let line = importer.make_line(node, 0)?;
    let view = importer.view(node, 0)?;
    let element = view.element;
    let (mut input, mut extra) = match element {
        Element::Float => importer.padded(node, 0)?,
        _ => (importer.solid(node, view)?.node, Pads::default()),
    };
    if extra != Pads::default() && !never_negative(&importer.graph.node(input).op) {
        // The zeros may be larger than values of the maximum, so they have to be there.
        (input, extra) = (importer.tensor(node, 0)?, Pads::default());
    }
    let pool = pool(importer, node, line, input, extra)?;
    let (pool, input) = if element == Element::Float { split(importer, node, pool, input)? } else { (pool, input) };
    let view = importer.emit_named(&node.name, Op::MaxPool(pool), &[input], element)?;
    Ok(Value::View(importer.as_line(node, view)))
}

/// Mean over windows.
pub fn average_pool(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let line = importer.make_line(node, 0)?;
    let (input, extra) = importer.padded(node, 0)?;
    let mut count_include_pad = node.flag("count_include_pad", false)?;
    let pool = pool(importer, node, line, input, extra)?;
    if extra != Pads::default() {
        if pool.pads != extra && !count_include_pad {
            return Err(node
                .unsupported("has padding that counts, from Pad, and padding that does not, its own")
                .with_help("pad in one of the two places")
                .into());
        }
        count_include_pad = true;
    }
    importer.emit(node, Op::AveragePool { pool, count_include_pad }, &[input])
}

/// Mean over height and width.
pub fn global_average_pool(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    importer.make_line(node, 0)?;
    let input = importer.tensor(node, 0)?;
    spatial(importer, node, input)?;
    importer.emit(node, Op::GlobalAveragePool, &[input])
}

/// Maximum over height and width.
pub fn global_max_pool(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    importer.make_line(node, 0)?;
    let input = importer.tensor(node, 0)?;
    let kernel = spatial(importer, node, input)?;
    let pool = Pool { kernel, stride: [1, 1], pads: Pads::default() };
    let (pool, input) = split(importer, node, pool, input)?;
    importer.emit(node, Op::MaxPool(pool), &[input])
}

/// Mean over height, width or both.
pub fn reduce_mean(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let axes = match importer.integers(node, 1, "the list of axes")? {
        Some(axes) => axes,
        None => node.ints("axes")?.unwrap_or_default().to_vec(),
    };
    let keep = node.flag("keepdims", true)?;
    if axes.is_empty() && node.flag("noop_with_empty_axes", false)? {
        return importer.operand(node, 0);
    }
    let view = importer.view(node, 0)?;
    if importer.is_sequence(&view) && importer.graph.node(view.node).shape.len() == 3 && !axes.is_empty() {
        let axes: Vec<usize> = axes.iter().map(|a| node.axis(*a, view.shape.len())).collect::<Result<_, _>>()?;
        return importer.mean_of_sequence(node, &view, &axes, keep);
    }
    let line = importer.make_line(node, 0)?;
    let rank = importer.view(node, 0)?.shape.len();
    let input = importer.tensor(node, 0)?;
    let [h, w] = spatial(importer, node, input)?;
    let axes: Vec<usize> = axes.iter().map(|a| node.axis(*a, rank)).collect::<Result<_, _>>()?;
    if axes.is_empty() || axes.iter().any(|a| *a < 2) {
        return Err(node
            .unsupported(format!("takes the mean over axes {axes:?}"))
            .with_help("means are supported over height and width, axes 2 and 3")
            .into());
    }
    let over = if line { [true, true] } else { [axes.contains(&2), axes.contains(&3)] };
    let op = if over == [true, true] {
        Op::GlobalAveragePool
    } else {
        let kernel = [if over[0] { h } else { 1 }, if over[1] { w } else { 1 }];
        Op::AveragePool { pool: Pool { kernel, stride: [1, 1], pads: Pads::default() }, count_include_pad: false }
    };
    let view = importer.emit_named(&node.name, op, &[input], Element::Float)?;
    let view = importer.as_line(node, view);
    let shape = (0..rank).filter(|a| keep || !axes.contains(a)).map(|a| view.shape[a]).collect();
    let label = format!("{}_flat", node.name).into();
    Ok(Value::View(View { shape, label, ..view }))
}

fn spatial(importer: &Importer<'_>, node: &Node<'_>, input: NodeId) -> Result<[usize; 2], Diagnostic> {
    match importer.graph.node(input).shape[..] {
        [_, h, w] => Ok([h, w]),
        ref shape => Err(node
            .unsupported(format!("reads samples of shape {shape:?}"))
            .with_help("windows are supported over samples of shape [channels, height, width]")),
    }
}

fn pool(importer: &Importer<'_>, node: &Node<'_>, line: bool, input: NodeId, extra: Pads) -> Result<Pool, Stop> {
    let kernel = pair(node, line, "kernel_shape", None)?;
    let size = spatial(importer, node, input)?;
    let Window { stride, pads, dilation } = window(node, line, kernel, size, extra)?;
    if dilation != [1, 1] {
        return Err(node.unsupported(format!("has dilations {dilation:?}; pooling windows have no gaps")).into());
    }
    if node.flag("ceil_mode", false)? {
        let before_after = [(pads.top, pads.bottom), (pads.left, pads.right)];
        for axis in 0..2 {
            let padded = size[axis] + before_after[axis].0 + before_after[axis].1;
            if padded >= kernel[axis] && !(padded - kernel[axis]).is_multiple_of(stride[axis]) {
                let message = format!("ceil_mode adds a partial window on axis {}", axis + 2);
                return Err(node
                    .unsupported(message)
                    .with_help("set ceil_mode to 0, or pad the input so that the windows fit")
                    .into());
            }
        }
    }
    Ok(Pool { kernel, stride, pads })
}

/// Vertical and horizontal extents; a window over a line has only the latter.
fn pair(node: &Node<'_>, line: bool, name: &str, default: Option<[usize; 2]>) -> Result<[usize; 2], Diagnostic> {
    if !line {
        return node.extents(name, 1, default);
    }
    let [horizontal] = node.extents(name, 1, default.map(|[_, horizontal]| [horizontal]))?;
    Ok([1, horizontal])
}

/// Reads the attributes of a window over `size`; `extra` is zero padding in front of the node.
fn window(
    node: &Node<'_>,
    line: bool,
    kernel: [usize; 2],
    size: [usize; 2],
    extra: Pads,
) -> Result<Window, Diagnostic> {
    let stride = pair(node, line, "strides", Some([1, 1]))?;
    let dilation = pair(node, line, "dilations", Some([1, 1]))?;
    let size = [size[0] + extra.top + extra.bottom, size[1] + extra.left + extra.right];
    let same = |late: bool| {
        let [vertical, horizontal] = [0, 1].map(|axis| {
            let extent = (kernel[axis] - 1) * dilation[axis] + 1;
            let total = ((size[axis].div_ceil(stride[axis]) - 1) * stride[axis] + extent).saturating_sub(size[axis]);
            let smaller = total / 2;
            if late { [smaller, total - smaller] } else { [total - smaller, smaller] }
        });
        [vertical[0], horizontal[0], vertical[1], horizontal[1]]
    };
    let [top, left, bottom, right] = match node.text("auto_pad", "NOTSET")? {
        "NOTSET" | "" if line => {
            let [before, after] = node.extents("pads", 0, Some([0; 2]))?;
            [0, before, 0, after]
        }
        "NOTSET" | "" => node.extents("pads", 0, Some([0; 4]))?,
        "VALID" => [0; 4],
        "SAME_UPPER" => same(true),
        "SAME_LOWER" => same(false),
        other => return Err(node.error("invalid-attribute", format!("attribute 'auto_pad' is '{other}'"))),
    };
    let pads = Pads {
        top: top + extra.top,
        left: left + extra.left,
        bottom: bottom + extra.bottom,
        right: right + extra.right,
    };
    Ok(Window { stride, pads, dilation })
}
