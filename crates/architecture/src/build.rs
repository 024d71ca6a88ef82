//! From text to graph.

use std::collections::BTreeMap;

use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::initialize::initialize;
use crate::layer::Layer;
use crate::table::{Source, Table};

/// An architecture file is text of a few kilobytes.
const MAX_BYTES: usize = 1 << 20;
/// More layers are a mistake.
const MAX_LAYERS: usize = 4096;

/// A network as an architecture file describes it.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// The network, with initial weights.
    pub graph: Graph,
    /// Probability, 0 up to but not including 1, that an input of a Gemm is dropped in training, for each Gemm that
    /// stands behind a `dropout`.
    pub dropout: BTreeMap<NodeId, f32>,
}

/// Reads an architecture file and gives the network random weights; `at` names the file in findings, and the network
/// if the file has no `name`.
///
/// # Errors
/// `bad-architecture`: all that is wrong with the file, each with its line: syntax, unknown layers and keys (with the
/// nearest known ones), values out of bounds, names that do not exist, shapes that do not fit, layers that nobody
/// reads, more parameters than 2^26.
pub fn read(text: &str, at: &str, seed: u64) -> Result<Architecture, Diagnostics> {
    let source = Source { at, text };
    if text.len() > MAX_BYTES {
        return Err(Diagnostic::error("bad-architecture", at, format!("is larger than {MAX_BYTES} bytes")).into());
    }
    let document = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or_else(|| at.to_owned(), |span| source.place(span.start));
        Diagnostic::error("bad-architecture", place, error.message().to_owned())
            .with_help("docs/training.md describes the format")
    })?;
    let mut top = Table::new(source, 0, String::new(), document.get_ref());
    let stem = at.rsplit(['/', '\\']).next().unwrap_or(at).trim_end_matches(".toml");
    let name = top.text("name").unwrap_or_else(|| stem.to_owned());
    let mut builder = Builder {
        graph: Graph::new(name),
        values: BTreeMap::new(),
        last: None,
        places: BTreeMap::new(),
        parameters: 0,
        dropout: BTreeMap::new(),
        pending: None,
    };
    match top.take("input") {
        None => top.refuse("lacks [input] with the shape of one sample"),
        Some(value) => builder.input(value, &mut top),
    }
    match top.take("layers") {
        None => top.refuse("lacks 'layers', the list of layers"),
        Some(value) => builder.layers(value, &mut top),
    }
    let mut findings = top.finish();
    if !findings.has_errors() {
        builder.check_end(source, &mut findings);
    }
    let Builder { mut graph, dropout, .. } = findings.into_result(builder)?;
    initialize(&mut graph, seed);
    Ok(Architecture { graph, dropout })
}

pub(crate) struct Builder {
    pub(crate) graph: Graph,
    /// Values by name; `None` if what should give them has a finding.
    values: BTreeMap<String, Option<NodeId>>,
    /// Value of the layer before.
    last: Option<NodeId>,
    /// Where the layer of a node stands, and what it is called in findings.
    pub(crate) places: BTreeMap<NodeId, (usize, String)>,
    pub(crate) parameters: usize,
    pub(crate) dropout: BTreeMap<NodeId, f32>,
    /// A dropout that waits for its fully connected layer.
    pub(crate) pending: Option<(f32, usize, String)>,
}

impl Builder {
    fn input(&mut self, value: &Spanned<DeValue<'_>>, top: &mut Table<'_>) {
        self.values.insert("input".to_owned(), None);
        let DeValue::Table(table) = value.get_ref() else {
            return top.refuse("'input' must be a table: [input] with shape = [...]");
        };
        let mut table = Table::new(top.source, value.span().start, "input".to_owned(), table);
        let shape = table.counts("shape", 1);
        let findings = table.finish();
        if findings.is_empty() {
            match self.graph.add_input("input", &shape) {
                Ok(node) => {
                    self.last = Some(node);
                    self.values.insert("input".to_owned(), Some(node));
                    self.places.insert(node, (value.span().start, "input".to_owned()));
                }
                Err(error) => top.findings.push(top.source.finding(value.span().start, "input", error.message)),
            }
        }
        top.findings.extend(findings);
    }

    fn layers(&mut self, value: &Spanned<DeValue<'_>>, top: &mut Table<'_>) {
        let list = match value.get_ref() {
            DeValue::Array(list) if (1..=MAX_LAYERS).contains(&list.len()) => list,
            DeValue::Array(list) => {
                return top.refuse(format!("has {} layers; there must be 1 to {MAX_LAYERS}", list.len()));
            }
            _ => return top.refuse("'layers' must be a list of layers"),
        };
        for (index, entry) in list.iter().enumerate() {
            let offset = entry.span().start;
            let DeValue::Table(table) = entry.get_ref() else {
                let message = "must be a table such as { op = \"relu\" }";
                top.findings.push(top.source.finding(offset, &format!("layer {}", index + 1), message));
                self.last = None;
                continue;
            };
            let table = Table::new(top.source, offset, format!("layer {}", index + 1), table);
            top.findings.extend(self.layer(index, table));
        }
    }

    fn layer(&mut self, index: usize, mut table: Table<'_>) -> Diagnostics {
        let given = table.text("name");
        if let Some(name) = &given {
            table.label = format!("layer '{name}'");
        }
        let Some(op) = table.text("op") else {
            if table.findings.is_empty() {
                table.refuse(format!("lacks 'op', what it computes. {}", Layer::help("")));
            }
            self.define(given, String::new(), None);
            return table.findings;
        };
        if given.is_none() {
            table.label = format!("layer {} ({op})", index + 1);
        }
        let operands = self.operands(&mut table);
        let Some(layer) = Layer::read(&op, &mut table) else {
            let finding = table.source.finding(table.offset, &table.label, format!("there is no layer '{op}'"));
            table.findings.push(finding.with_help(Layer::help(&op)));
            self.define(given, String::new(), None);
            return table.findings;
        };
        let default = format!("{op}_{}", index + 1);
        let name = given.clone().unwrap_or_else(|| default.clone());
        if given.is_some() && self.values.contains_key(&name) {
            table.refuse("has a name that is already taken");
        }
        let (source, offset, label) = (table.source, table.offset, table.label.clone());
        let mut findings = table.finish();
        let mut value = None;
        if let (Some(operands), false) = (operands, findings.has_errors()) {
            match self.add(&name, layer, &operands, (offset, &label)) {
                Ok(node) => value = Some(node),
                Err(message) => findings.push(source.finding(offset, &label, message)),
            }
        }
        self.define(given, default, value);
        findings
    }

    fn define(&mut self, given: Option<String>, default: String, value: Option<NodeId>) {
        self.values.entry(given.unwrap_or(default)).or_insert(value);
        self.last = value;
    }

    /// The values that a layer reads: `from`, or that of the layer before, and `with`; `None` if one is unknown.
    fn operands(&mut self, table: &mut Table<'_>) -> Option<Vec<NodeId>> {
        let mut values = Vec::new();
        let (from, with) = (table.texts("from"), table.texts("with"));
        if from.is_none() {
            values.push(self.last);
        }
        for (name, offset) in from.into_iter().chain(with).flatten() {
            match self.values.get(&name) {
                Some(value) => values.push(*value),
                None => {
                    let message = format!("reads '{name}', which no layer before it is called");
                    let near = espalier_ir::nearest(&name, self.values.keys().map(String::as_str));
                    let mut finding = table.source.finding(offset, &table.label, message);
                    if let Some(near) = near {
                        finding = finding.with_help(format!("did you mean '{near}'?"));
                    }
                    table.findings.push(finding);
                    values.push(None);
                }
            }
        }
        values.into_iter().collect()
    }

    /// The last layer gives the output; every other value must be read.
    fn check_end(&mut self, source: Source<'_>, findings: &mut Diagnostics) {
        if let Some((_, offset, label)) = &self.pending {
            findings.push(source.finding(*offset, label, "stands at the end; only a dense layer may follow it"));
        }
        let Some(output) = self.last else { return };
        for node in self.graph.nodes().into_iter().filter(|n| *n != output && self.graph.consumers(*n).is_empty()) {
            let (offset, label) = &self.places[&node];
            findings.push(source.finding(
                *offset,
                label,
                "has a value that no layer reads; the last layer is the output",
            ));
        }
        self.graph.add_output(output);
    }
}
