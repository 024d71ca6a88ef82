//! From text to graph.

use std::collections::BTreeMap;

use espalier_ir::{Conv, ConvTranspose, Diagnostic, Diagnostics, Graph, NodeId, Op, ParamId, Pool, Recurrent, Tensor};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::initialize::initialize;
use crate::layer::{Layer, Window};
use crate::table::{Source, Table};

/// Networks of more parameters (256 MiB as floats) fit no target by orders of magnitude.
const MAX_PARAMETERS: usize = 1 << 26;
/// An architecture file is text of a few kilobytes.
const MAX_BYTES: usize = 1 << 20;
/// More layers are a mistake.
const MAX_LAYERS: usize = 4096;
/// Selections of more channels are a mistake.
const MAX_CHANNELS: usize = 1 << 16;

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

struct Builder {
    graph: Graph,
    /// Values by name; `None` if what should give them has a finding.
    values: BTreeMap<String, Option<NodeId>>,
    /// Value of the layer before.
    last: Option<NodeId>,
    /// Where the layer of a node stands, and what it is called in findings.
    places: BTreeMap<NodeId, (usize, String)>,
    parameters: usize,
    dropout: BTreeMap<NodeId, f32>,
    /// A dropout that waits for its fully connected layer.
    pending: Option<(f32, usize, String)>,
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

    /// The values that a layer reads: `from`, or that of the layer before, and `with`. `None` if one of them is unknown.
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

    /// Adds the nodes of a layer; the last one is its value.
    fn add(
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
                if inputs % groups != 0 || channels % groups != 0 {
                    return Err(format!("{groups} groups do not divide {inputs} and {channels} channels"));
                }
                let Window { kernel: [height, width], stride, dilation, .. } = window;
                let weight = self.param(&format!("{name}.weight"), &[channels, inputs / groups, height, width])?;
                let bias = self.bias(name, bias, channels)?;
                let pads = window.pads.pads(&shape, window.kernel, stride, dilation);
                Op::Conv(Conv { weight, bias, stride, pads, dilation, groups })
            }
            Layer::ConvTranspose { channels, groups, window, output_pads, bias } => {
                let inputs = shape[0];
                if inputs % groups != 0 || channels % groups != 0 {
                    return Err(format!("{groups} groups do not divide {inputs} and {channels} channels"));
                }
                let crate::padding::Padding::Given(pads) = window.pads else {
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

fn selection(channels: usize) -> Result<(), String> {
    if channels <= MAX_CHANNELS {
        Ok(())
    } else {
        Err(format!("gives {channels} channels; {MAX_CHANNELS} are the most"))
    }
}
