//! Which nodes the outputs need, in an order in which they can be read.

use std::collections::{BTreeSet, HashMap};

use espalier_ir::{Diagnostic, Diagnostics};

use crate::proto::{GraphProto, NodeProto};

/// Most nodes of one model.
const MAX_NODES: usize = 1 << 14;

/// Needed nodes, operands first, and how often each value is read.
pub struct Topology<'a> {
    /// Nodes that contribute to an output, in the order of the model where it is possible.
    pub nodes: Vec<&'a NodeProto>,
    /// Number of readers a value has, graph outputs included.
    pub uses: HashMap<&'a str, usize>,
}

#[derive(Clone, Copy)]
enum Producer {
    Node(usize),
    Given,
}

/// Sorts the nodes; adds what is wrong with the wiring to `findings`.
pub fn sort<'a>(graph: &'a GraphProto, findings: &mut Diagnostics) -> Topology<'a> {
    if graph.node.len() > MAX_NODES {
        let message = format!("the model has {} nodes, more than {MAX_NODES}", graph.node.len());
        findings.push(Diagnostic::error("model-too-large", "graph", message));
        return Topology { nodes: Vec::new(), uses: HashMap::new() };
    }
    let producers = producers(graph, findings);
    let needed = needed(graph, &producers);
    report_missing(graph, &producers, &needed, findings);
    let mut uses: HashMap<&str, usize> = HashMap::new();
    let outputs = graph.output.iter().map(|o| o.name());
    let read = needed.iter().flat_map(|n| graph.node[*n].input.iter().map(String::as_str));
    for name in outputs.chain(read) {
        *uses.entry(name).or_default() += 1;
    }
    Topology { nodes: ordered(graph, &producers, &needed, findings), uses }
}

fn producers<'a>(graph: &'a GraphProto, findings: &mut Diagnostics) -> HashMap<&'a str, Producer> {
    let mut producers: HashMap<&str, Producer> = HashMap::new();
    let mut duplicate = |what: &str, name: &str| {
        let message = format!("{what} '{name}' is defined twice");
        findings.push(
            Diagnostic::error("duplicate-name", what.to_owned() + " '" + name + "'", message)
                .with_help("every value of a model needs its own name; export the model again"),
        );
    };
    for tensor in &graph.initializer {
        if producers.insert(tensor.name(), Producer::Given).is_some() {
            duplicate("initializer", tensor.name());
        }
    }
    // Old models list initializers among the inputs as well.
    let mut inputs = BTreeSet::new();
    for input in &graph.input {
        producers.insert(input.name(), Producer::Given);
        if !inputs.insert(input.name()) {
            duplicate("input", input.name());
        }
    }
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if producers.contains_key(output.as_str()) {
                duplicate("value", output);
            } else {
                producers.insert(output, Producer::Node(index));
            }
        }
    }
    producers
}

fn needed(graph: &GraphProto, producers: &HashMap<&str, Producer>) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<&str> = graph.output.iter().map(|o| o.name()).collect();
    while let Some(name) = open.pop() {
        if let Some(Producer::Node(index)) = producers.get(name)
            && needed.insert(*index)
        {
            open.extend(graph.node[*index].input.iter().map(String::as_str));
        }
    }
    needed
}

fn report_missing(
    graph: &GraphProto,
    producers: &HashMap<&str, Producer>,
    needed: &BTreeSet<usize>,
    findings: &mut Diagnostics,
) {
    let mut missing = |at: String, name: &str| {
        let message = format!("value '{name}' is read but never defined");
        findings.push(
            Diagnostic::error("missing-value", at, message)
                .with_help("the model is incomplete: check that its weights were exported with it"),
        );
    };
    for index in needed {
        let node = &graph.node[*index];
        for input in node.input.iter().filter(|i| !i.is_empty() && !producers.contains_key(i.as_str())) {
            missing(format!("node '{}' ({})", name_of(node), node.op_type()), input);
        }
    }
    for output in graph.output.iter().filter(|o| !producers.contains_key(o.name())) {
        missing(format!("output '{}'", output.name()), output.name());
    }
}

/// Kahn's algorithm; among the nodes that are ready, the first of the model comes first.
fn ordered<'a>(
    graph: &'a GraphProto,
    producers: &HashMap<&str, Producer>,
    needed: &BTreeSet<usize>,
    findings: &mut Diagnostics,
) -> Vec<&'a NodeProto> {
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut waits: HashMap<usize, usize> = needed.iter().map(|n| (*n, 0)).collect();
    for index in needed {
        for input in &graph.node[*index].input {
            if let Some(Producer::Node(producer)) = producers.get(input.as_str()) {
                readers.entry(*producer).or_default().push(*index);
                *waits.get_mut(index).expect("every needed node has an entry") += 1;
            }
        }
    }
    let mut ready: BTreeSet<usize> = needed.iter().copied().filter(|n| waits[n] == 0).collect();
    let mut order = Vec::new();
    while let Some(index) = ready.pop_first() {
        order.push(&graph.node[index]);
        waits.remove(&index);
        for reader in readers.get(&index).map(Vec::as_slice).unwrap_or_default() {
            let left = waits.get_mut(reader).expect("readers are needed and not yet done");
            *left -= 1;
            if *left == 0 {
                ready.insert(*reader);
            }
        }
    }
    if let Some(first) = waits.keys().min() {
        let names: BTreeSet<&str> = waits.keys().map(|n| name_of(&graph.node[*n])).collect();
        let shown: Vec<&str> = names.into_iter().take(8).collect();
        let message = format!("{} nodes read their own results: {}", waits.len(), shown.join(", "));
        let at = format!("node '{}'", name_of(&graph.node[*first]));
        findings.push(Diagnostic::error("cycle", at, message).with_help("only acyclic models can be compiled"));
    }
    order
}

/// Name of a node, or of its first output if it has none.
pub fn name_of(node: &NodeProto) -> &str {
    match node.name() {
        "" => node.output.first().map_or("", String::as_str),
        name => name,
    }
}
