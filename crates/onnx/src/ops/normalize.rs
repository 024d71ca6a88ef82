//! Normalization by the statistics of the sample itself.

use espalier_ir::{Normalize, Op, ParamId, Statistics};

use crate::constant::Constant;
use crate::import::Importer;
use crate::node::Node;
use crate::value::{Element, Outcome, Stop, Value, View};

/// Over the last axis at every position, or over all values of a sample.
pub fn layer_norm(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let view = importer.float_view(node, 0)?;
    let rank = view.shape.len();
    let axis = node.axis(node.int("axis", -1)?, rank)?;
    let [features, whole] = [axis, 0].map(|a| view.shape[a..].iter().product::<usize>());
    let last = view.shape[axis + 1..].iter().all(|d| *d == 1);
    if features == whole && !last {
        let input = importer.tensor(node, 0)?;
        let channels = importer.graph.node(input).shape[0];
        let scales = scales(importer, node, |constant| per_channel(constant, channels, whole / channels))?;
        return normalized(importer, node, input, Statistics::Groups(1), scales);
    }
    if !last {
        return Err(node
            .unsupported(format!("normalizes several of the axes {:?} together", view.shape))
            .with_help("layer normalization is supported over the last axis, and over all values of a sample")
            .into());
    }
    let scales = scales(importer, node, |constant| per_channel(constant, features, 1))?;
    // Features without positions may stay as they are.
    let as_held = view.order.is_none() && importer.graph.node(view.node).shape == [whole];
    let (input, order) = match as_held && features == whole {
        true => (view.node, (0..whole as u32).collect()),
        false => importer.features_first(node, 0, features)?,
    };
    let Value::View(result) = normalized(importer, node, input, Statistics::Position, scales)? else {
        return Err(Stop::Quiet);
    };
    Ok(importer.sequence_view(node, result.node, view.shape, order))
}

/// Groups of channels, each with all its positions.
pub fn group_norm(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let input = importer.tensor(node, 0)?;
    let channels = importer.graph.node(input).shape[0];
    let groups = usize::try_from(node.int("num_groups", 0)?).unwrap_or(0);
    if groups == 0 || !channels.is_multiple_of(groups) {
        let message = format!("{groups} groups do not divide {channels} channels");
        return Err(node.error("invalid-attribute", message).into());
    }
    // Up to operator set 20 there is one scale a group.
    let scales = scales(importer, node, |constant| match constant.len() {
        count if count == groups => repeated(constant, channels / groups),
        _ => per_channel(constant, channels, 1),
    })?;
    normalized(importer, node, input, Statistics::Groups(groups), scales)
}

/// Every channel by itself; behind a reshape to `[groups, rest]` groups of channels.
pub fn instance_norm(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let mut view = importer.unpadded(node, 0)?;
    let [1, groups, ..] = view.shape[..] else {
        return Err(node.error("batch-axis", format!("normalizes values of shape {:?}", view.shape)).into());
    };
    if view.order.is_some() || !importer.graph.node(view.node).shape[0].is_multiple_of(groups) {
        importer.tensor(node, 0)?;
        view = importer.float_view(node, 0)?;
    }
    let channels = importer.graph.node(view.node).shape[0];
    let scales = scales(importer, node, |constant| {
        (constant.len() == groups).then(|| repeated(constant, channels / groups)).flatten()
    })?;
    let Value::View(result) = normalized(importer, node, view.node, Statistics::Groups(groups), scales)? else {
        return Err(Stop::Quiet);
    };
    // Only the shape differs from what the node gives.
    Ok(Value::View(View { shape: view.shape, ..result }))
}

/// Scale and offset, one a channel, as `map` makes them of the constants.
fn scales(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    map: impl Fn(&Constant) -> Option<Vec<f32>>,
) -> Result<[Vec<f32>; 2], Stop> {
    let scale = importer.constant(node, 1, "the scale")?;
    let offset = importer.optional_constant(node, 2, "the offset")?;
    let mut read = |constant: &Constant, what: &str| -> Result<Vec<f32>, Stop> {
        importer.charge(node, constant.len())?;
        importer.floats(node, constant, what)?;
        map(constant).ok_or_else(|| {
            let message = format!("has {what} of shape {:?}", constant.shape);
            let help = "scales and offsets of normalizations need one value a channel";
            node.unsupported(message).with_help(help).into()
        })
    };
    let scale = read(&scale, "the scale")?;
    let offset = match offset {
        Some(offset) => read(&offset, "the offset")?,
        None => vec![0.0; scale.len()],
    };
    Ok([scale, offset])
}

/// Values of a constant that has one a channel, or one an element that does not differ within a channel.
fn per_channel(constant: &Constant, channels: usize, each: usize) -> Option<Vec<f32>> {
    let values = constant.floats()?;
    if values.len() == channels {
        return Some(values.to_vec());
    }
    let mut chunks = values.chunks(each);
    let same = |chunk: &[f32]| chunk.iter().all(|v| *v == chunk[0]).then_some(chunk[0]);
    (values.len() == channels * each).then(|| chunks.by_ref().map(same).collect()).flatten()
}

fn repeated(constant: &Constant, times: usize) -> Option<Vec<f32>> {
    Some(constant.floats()?.iter().flat_map(|v| std::iter::repeat_n(*v, times)).collect())
}

fn normalized(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    input: espalier_ir::NodeId,
    over: Statistics,
    [gamma, beta]: [Vec<f32>; 2],
) -> Outcome {
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    if epsilon.is_nan() || epsilon < 0.0 {
        return Err(node.error("invalid-attribute", format!("epsilon is {epsilon}")).into());
    }
    let mut param = |index: usize, values: Vec<f32>| -> Result<ParamId, Stop> {
        let name = match node.input(index) {
            Some(name) => name.to_owned(),
            None => format!("{}.offset", node.name),
        };
        importer.new_param(node, &name, vec![values.len()], values)
    };
    let (gamma, beta) = (param(1, gamma)?, param(2, beta)?);
    let op = Op::Normalize(Normalize { over, gamma, beta, epsilon });
    let view = importer.emit_named(&node.name, op, &[input], Element::Float)?;
    Ok(Value::View(importer.as_line(node, view)))
}
