//! `espalier inspect`: what a model is made of, and how it maps to the accelerator.

use espalier_ir::{ArrayLayer, Diagnostics, Graph, LayerSource, array_layers, unrolled};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::commands::Answer;
use crate::failure::{Failure, Outcome};
use crate::files::load_model;
use crate::render::{by_step, count, more_like_it, pairs, shape, table};

#[derive(Serialize)]
struct Inspection {
    model: String,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    parameters: usize,
    macs: u64,
    nodes: Vec<Node>,
    layers: Vec<Layer>,
    findings: Diagnostics,
}

#[derive(Serialize)]
struct Value {
    name: String,
    shape: Vec<usize>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    op: &'static str,
    operands: Vec<String>,
    shape: Vec<usize>,
    parameters: usize,
    macs: u64,
    layer: Option<usize>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    op: &'static str,
    sources: Vec<String>,
    nodes: Vec<String>,
    out_shape: [usize; 3],
    activation: Option<[f32; 2]>,
    fused_pool: Option<[usize; 2]>,
    macs: u64,
    /// The layer that does the same at the first time step.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<usize>,
}

/// Describes a model.
///
/// # Errors
/// If the file cannot be imported. A model that the accelerator cannot execute is described, and the answer fails.
pub fn inspect(args: &InspectArgs) -> Outcome<Answer> {
    let graph = load_model(&args.model)?;
    let steps = unrolled(&graph).map_err(Diagnostics::from);
    let (layers, findings) = match steps.as_deref().map_err(Clone::clone).and_then(array_layers) {
        Ok(layers) => (layers, Diagnostics::new()),
        Err(findings) => (Vec::new(), findings),
    };
    let inspection = describe(&graph, steps.as_deref().unwrap_or(&graph), &layers, findings.clone());
    let mut answer = Answer::new(&inspection, show(&inspection));
    answer.failure = findings.has_errors().then_some(Failure(findings));
    Ok(answer)
}

/// `layers` are those of the graph with its time steps, `unrolled`.
fn describe(graph: &Graph, unrolled: &Graph, layers: &[ArrayLayer], findings: Diagnostics) -> Inspection {
    let name = |id: espalier_ir::NodeId| graph.node(id).name.clone();
    let value = |id: &espalier_ir::NodeId| Value { name: name(*id), shape: graph.node(*id).shape.clone() };
    let nodes = graph.nodes().into_iter().map(|id| {
        let node = graph.node(id);
        Node {
            name: node.name.clone(),
            op: node.op.name(),
            operands: graph.operands(id).into_iter().map(name).collect(),
            shape: node.shape.clone(),
            parameters: node.op.params().iter().map(|p| graph.param(*p).len()).sum(),
            macs: graph.node_macs(id),
            layer: layers.iter().position(|l| l.nodes.iter().any(|n| unrolled.origin(*n) == id)),
        }
    });
    let source = |source: &LayerSource| match source {
        LayerSource::Input(index) => name(graph.inputs()[*index]),
        LayerSource::Layer(index) => layers[*index].name.clone(),
    };
    let layer = |l: &ArrayLayer| Layer {
        name: l.name.clone(),
        op: l.op_name,
        sources: l.sources.iter().map(source).collect(),
        nodes: l.nodes.iter().map(|n| unrolled.node(*n).name.clone()).collect(),
        out_shape: l.out_shape,
        activation: (l.activation != espalier_ir::Activation::NONE).then_some([l.activation.min, l.activation.max]),
        fused_pool: l.fused_pool.map(|p| p.kernel),
        macs: l.nodes.iter().map(|n| unrolled.node_macs(*n)).sum(),
        peer: l.peer,
    };
    Inspection {
        model: graph.name.clone(),
        inputs: graph.inputs().iter().map(value).collect(),
        outputs: graph.outputs().iter().map(value).collect(),
        parameters: graph.parameter_count(),
        macs: graph.macs(),
        nodes: nodes.collect(),
        layers: layers.iter().map(layer).collect(),
        findings,
    }
}

fn show(inspection: &Inspection) -> String {
    let values = |values: &[Value]| {
        values.iter().map(|v| format!("{} [{}]", v.name, shape(&v.shape))).collect::<Vec<_>>().join(", ")
    };
    let head = pairs(&[
        ("model", inspection.model.clone()),
        ("inputs", values(&inspection.inputs)),
        ("outputs", values(&inspection.outputs)),
        ("parameters", count(inspection.parameters as u64)),
        ("multiply-accumulates", count(inspection.macs)),
    ]);
    let nodes = inspection.nodes.iter().map(|n| {
        vec![
            n.name.clone(),
            n.op.to_owned(),
            n.operands.join(", "),
            shape(&n.shape),
            count(n.parameters as u64),
            count(n.macs),
            n.layer.map_or_else(|| "-".to_owned(), |l| l.to_string()),
        ]
    });
    let nodes = table(&["node", "op", "reads", "shape", "parameters", "MACs", "layer"], 3, nodes);
    if inspection.layers.is_empty() {
        return format!("{head}\n{nodes}");
    }
    // Time steps share a row.
    let layers = by_step(&inspection.layers, |l| l.peer).into_iter().map(|group| {
        let l = &inspection.layers[group[0]];
        let nodes = format!("{}{}", l.nodes.join(" + "), more_like_it(group.len()));
        let macs = group.iter().map(|l| inspection.layers[*l].macs).sum();
        vec![group[0].to_string(), nodes, l.sources.join(", "), shape(&l.out_shape), count(macs)]
    });
    let layers = table(&["layer", "nodes in one pass", "reads", "shape", "MACs"], 3, layers);
    format!("{head}\n{nodes}\n{layers}")
}
