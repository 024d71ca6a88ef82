//! What every graph must satisfy, checked after each transformation in tests and debug runs:
//!
//! * there is at least one input and one output, and both are nodes of the graph;
//! * every node is reachable from an input through its operands, and there is no cycle;
//! * shapes are those that inference gives;
//! * parameters are finite.

use crate::{Diagnostic, Diagnostics, Graph, Op, TensorData, infer_shape};

impl Graph {
    /// Checks the invariants that the module documents.
    ///
    /// # Errors
    /// Every violation.
    pub fn verify(&self) -> Result<(), Diagnostics> {
        let mut findings = Diagnostics::new();
        check_ends(self, &mut findings);
        check_shapes(self, &mut findings);
        check_params(self, &mut findings);
        findings.into_result(())
    }
}

fn check_ends(graph: &Graph, findings: &mut Diagnostics) {
    for (what, ends) in [("input", graph.inputs()), ("output", graph.outputs())] {
        if ends.is_empty() {
            findings.push(Diagnostic::error("empty-graph", &graph.name, format!("the graph has no {what}")));
        }
    }
}

fn check_shapes(graph: &Graph, findings: &mut Diagnostics) {
    for id in graph.nodes() {
        let node = graph.node(id);
        let operands = graph.operands(id);
        if operands.is_empty() && !matches!(node.op, Op::Input { .. }) {
            findings.push(Diagnostic::error("dangling-node", format!("node '{}'", node.name), "reads nothing"));
            continue;
        }
        let shapes: Vec<&[usize]> = operands.iter().map(|o| graph.node(*o).shape.as_slice()).collect();
        match infer_shape(&node.name, &node.op, &shapes, &|p| graph.param(p).shape()) {
            Ok(shape) if shape == node.shape => {}
            Ok(shape) => findings.push(Diagnostic::error(
                "stale-shape",
                format!("node '{}'", node.name),
                format!("says {:?}, is {shape:?}", node.shape),
            )),
            Err(finding) => findings.push(finding),
        }
    }
}

fn check_params(graph: &Graph, findings: &mut Diagnostics) {
    for (_, name, tensor) in graph.params() {
        if let TensorData::F32(values) = tensor.data()
            && let Some(value) = values.iter().find(|v| !v.is_finite())
        {
            findings.push(
                Diagnostic::error("non-finite-weight", format!("parameter '{name}'"), format!("holds {value}"))
                    .with_help("the model was trained into divergence or is damaged; export it again"),
            );
        }
    }
}
