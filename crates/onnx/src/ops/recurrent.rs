//! LSTM and GRU: each direction becomes a layer of its own, joined forward first.

use espalier_ir::{Cell, Diagnostic, NodeId, Op, ParamId, Recurrent};

use crate::constant::Constant;
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop, Value, View};

/// Long short-term memory, without peepholes.
pub fn lstm(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    if node.int("input_forget", 0)? != 0 {
        return Err(node.unsupported("couples input and forget gate (input_forget)").into());
    }
    layer(importer, node, Cell::Lstm, &["Sigmoid", "Tanh", "Tanh"])
}

/// Gated recurrent unit.
pub fn gru(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let linear_before_reset = node.flag("linear_before_reset", false)?;
    layer(importer, node, Cell::Gru { linear_before_reset }, &["Sigmoid", "Tanh"])
}

/// Extents of a layer.
struct Extents {
    time: usize,
    features: usize,
    hidden: usize,
    /// True for each direction that runs backwards.
    directions: Vec<bool>,
    /// `[batch, time, features]` instead of `[time, batch, features]`.
    batch_first: bool,
}

fn layer(importer: &mut Importer<'_>, node: &Node<'_>, cell: Cell, activations: &[&str]) -> Outcome {
    let directions = match node.text("direction", "forward")? {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => return Err(node.error("invalid-attribute", format!("direction is '{other}'")).into()),
    };
    check_functions(node, activations, directions.len())?;
    let batch_first = node.flag("layout", false)?;
    let weight = importer.constant(node, 1, "the weight W")?;
    let recurrence = importer.constant(node, 2, "the weight R")?;
    let bias = importer.optional_constant(node, 3, "the bias")?;
    let view = importer.float_view(node, 0)?;
    if view.pads != espalier_ir::Pads::default() {
        return Err(node.unsupported("reads the result of a Pad").into());
    }
    let [steps, batch] = if batch_first { [1, 0] } else { [0, 1] };
    let features = match view.shape[..] {
        [_, _, features] if view.shape[batch] == 1 => features,
        ref shape => {
            let wanted = if batch_first { "[batch, time, features]" } else { "[time, batch, features]" };
            let message = format!("reads a value of shape {shape:?}, not {wanted} with a batch of 1");
            return Err(node
                .error("batch-axis", message)
                .with_help(
                    "transpose samples to that order in the model (batch_first in PyTorch), and export it with a \
                     dynamic batch or a batch of 1",
                )
                .into());
        }
    };
    let hidden = recurrence.shape.last().copied().unwrap_or(0);
    let extents = Extents { time: view.shape[steps], features, hidden, directions, batch_first };
    check_shapes(node, cell, &extents, &weight, &recurrence, bias.as_ref())?;
    check_states(importer, node, &extents)?;
    importer.charge(node, extents.time.saturating_mul(features))?;
    let features_first = (0..features).flat_map(|f| (0..extents.time).map(move |t| t * features + f));
    let wanted: Vec<u32> = features_first.map(|p| view.order.as_ref().map_or(p as u32, |order| order[p])).collect();
    let input = importer.arranged(node, &view, &wanted, features)?;
    let mut nodes = Vec::new();
    for (index, reverse) in extents.directions.iter().enumerate() {
        let op = Recurrent {
            cell,
            reverse: *reverse,
            weight: parameter(importer, node, 1, &weight, index, [0, 1])?,
            recurrence: parameter(importer, node, 2, &recurrence, index, [0, 1])?,
            bias: match &bias {
                None => None,
                Some(bias) => Some([
                    parameter(importer, node, 3, bias, index, [0, 2])?,
                    parameter(importer, node, 3, bias, index, [1, 2])?,
                ]),
            },
        };
        let name = match (extents.directions.len(), reverse) {
            (1, _) => node.name.clone(),
            (_, false) => format!("{}.forward", node.name),
            (_, true) => format!("{}.reverse", node.name),
        };
        let name = importer.names.take(&name);
        nodes.push(importer.graph.add(name, Op::Recurrent(op), &[input])?);
    }
    outputs(importer, node, &extents, &nodes)
}

/// Part `part` of `parts` of one direction of input `index`, as a parameter; layers that read the same values share it.
fn parameter(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    index: usize,
    whole: &Constant,
    direction: usize,
    [part, parts]: [usize; 2],
) -> Result<ParamId, Stop> {
    let stored = node.input(index).unwrap_or_default().to_owned();
    let key = format!("{stored}[{direction}, {part} of {parts}]");
    if let Some(param) = importer.params.get(&key) {
        return Ok(*param);
    }
    let each = whole.len() / whole.shape[0] / parts;
    let first = (direction * parts + part) * each;
    let values = importer.floats(node, whole, &stored)?[first..first + each].to_vec();
    let shape = if parts == 1 { whole.shape[1..].to_vec() } else { vec![each] };
    let mut name = stored;
    if whole.shape[0] > 1 {
        name += if direction == 0 { ".forward" } else { ".reverse" };
    }
    if parts > 1 {
        name += if part == 0 { ".input" } else { ".recurrent" };
    }
    let param = importer.new_param(node, &name, shape, values)?;
    importer.params.insert(key, param);
    Ok(param)
}

/// Y, the states after all steps, and Y_h, those after the last.
fn outputs(importer: &mut Importer<'_>, node: &Node<'_>, extents: &Extents, nodes: &[NodeId]) -> Outcome {
    let Extents { time, hidden, batch_first, .. } = *extents;
    let directions = nodes.len();
    let used = |index: usize| node.proto.output.get(index).is_some_and(|o| !o.is_empty() && importer.is_used(o));
    let [all_used, last_used, cell_used] = [0, 1, 2].map(used);
    let mut further = Vec::new();
    if last_used {
        let mut last = Vec::new();
        for (id, reverse) in nodes.iter().zip(&extents.directions) {
            let step = if *reverse { 0 } else { time - 1 };
            let name = format!("{}.last", importer.graph.node(*id).name);
            last.push(importer.named(&name, Op::TimeStep { step }, &[*id])?);
        }
        let joined = match last[..] {
            [single] => single,
            _ => importer.named(&format!("{}.last", node.name), Op::Concat { axis: 0 }, &last)?,
        };
        let shape = if batch_first { vec![1, directions, hidden] } else { vec![directions, 1, hidden] };
        further.push(importer.sequence_view(node, joined, shape, (0..(directions * hidden) as u32).collect()));
    } else {
        further.push(Value::Failed);
    }
    if cell_used {
        let finding = node
            .unsupported("gives its last cell state (output Y_c) to another operator")
            .with_help("only hidden states leave the layer: use the output or its last step");
        further.push(importer.recover(finding, None));
    }
    importer.further = further;
    if !all_used {
        return Ok(Value::Failed);
    }
    let sequence = match *nodes {
        [single] => single,
        _ => importer.named(&node.name, Op::Concat { axis: 0 }, nodes)?,
    };
    let shape = if batch_first { vec![1, time, directions, hidden] } else { vec![time, directions, 1, hidden] };
    importer.charge(node, time.saturating_mul(directions * hidden))?;
    let order = (0..time).flat_map(|t| (0..directions * hidden).map(move |f| (f * time + t) as u32)).collect();
    let value = importer.sequence_view(node, sequence, shape, order);
    Ok(match value {
        Value::View(view) => Value::View(View { exclusive: !last_used, ..view }),
        other => other,
    })
}

fn check_functions(node: &Node<'_>, activations: &[&str], directions: usize) -> Result<(), Diagnostic> {
    if let Some(given) = node.texts("activations")? {
        let expected = activations.repeat(directions);
        let same = given.len() == expected.len() && given.iter().zip(&expected).all(|(a, b)| a.eq_ignore_ascii_case(b));
        if !same {
            return Err(node
                .unsupported(format!("has activations {given:?}"))
                .with_help(format!("only the usual ones are supported: {activations:?}")));
        }
    }
    if node.float("clip")?.is_some_and(|c| c != 0.0) {
        return Err(node.unsupported("clips its sums").with_help("train without cell clipping"));
    }
    Ok(())
}

fn check_shapes(
    node: &Node<'_>,
    cell: Cell,
    extents: &Extents,
    weight: &Constant,
    recurrence: &Constant,
    bias: Option<&Constant>,
) -> Result<(), Diagnostic> {
    let Extents { features, hidden, .. } = *extents;
    let directions = extents.directions.len();
    let rows = hidden.checked_mul(cell.gates()).filter(|rows| *rows > 0 && rows.checked_mul(2).is_some());
    let rows = rows.ok_or_else(|| node.error("shape-mismatch", "the weight R has no hidden units"))?;
    let given = node.int("hidden_size", hidden as i64)?;
    if given != hidden as i64 {
        return Err(node.error("invalid-attribute", format!("hidden_size is {given}, the weight R has {hidden}")));
    }
    let expected = [
        ("W", Some(weight), vec![directions, rows, features]),
        ("R", Some(recurrence), vec![directions, rows, hidden]),
        ("B", bias, vec![directions, 2 * rows]),
    ];
    for (name, found, expected) in expected {
        if let Some(found) = found
            && found.shape != expected
        {
            let message = format!("{name} has shape {:?}, not {expected:?}", found.shape);
            return Err(node.error("shape-mismatch", message));
        }
    }
    Ok(())
}

/// Lengths, initial states and peepholes: nothing but what is there without them.
fn check_states(importer: &mut Importer<'_>, node: &Node<'_>, extents: &Extents) -> Result<(), Stop> {
    if let Some(lengths) = importer.optional(node, 4)? {
        let time = extents.time as i64;
        let full = matches!(&lengths, Value::Constant(c) if c.ints().is_some_and(|v| v.iter().all(|l| *l == time)));
        if !full {
            return Err(node
                .unsupported("has sequences of different lengths (sequence_lens)")
                .with_help("hardware is built for one length: pad or cut all sequences to it and leave the input out")
                .into());
        }
    }
    for (index, what) in [(5, "initial_h"), (6, "initial_c"), (7, "P (peepholes)")] {
        if let Some(state) = importer.optional(node, index)? {
            let zero = matches!(&state, Value::Constant(c) if c.floats().is_some_and(|v| v.iter().all(|s| *s == 0.0)));
            if !zero {
                return Err(node
                    .unsupported(format!("has {what} other than zero"))
                    .with_help("every sample starts at zero, without peepholes: leave the input out")
                    .into());
            }
        }
    }
    Ok(())
}
