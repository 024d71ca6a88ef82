//! LSTM and GRU as exporters write them, against the equations of ONNX in doubles.

use std::collections::HashSet;

use espalier_ir::{Graph, Op, Tensor, evaluate, evaluate_output};
use prost::Message;

use super::{Model, int, ints, nodes, text};
use crate::export;
use crate::import::import;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{AttributeProto, ModelProto, type_proto};
use crate::write;

const TIME: usize = 4;
const FEATURES: usize = 3;
const HIDDEN: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Lstm,
    Gru,
    GruAfter,
}

const KINDS: [Kind; 3] = [Kind::Lstm, Kind::Gru, Kind::GruAfter];

impl Kind {
    fn gates(self) -> usize {
        if self == Kind::Lstm { 4 } else { 3 }
    }

    fn op(self) -> &'static str {
        if self == Kind::Lstm { "LSTM" } else { "GRU" }
    }

    fn attributes(self, direction: &'static str) -> Vec<AttributeProto> {
        let mut attributes = vec![int("hidden_size", HIDDEN as i64), text("direction", direction)];
        if self == Kind::GruAfter {
            attributes.push(int("linear_before_reset", 1));
        }
        attributes
    }
}

/// Different values between -0.9 and 0.9.
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 11) % 19) as f32 * 0.1 - 0.9).collect()
}

/// W, R and B of a layer of `directions`, named after it.
struct Layer {
    w: Vec<f32>,
    r: Vec<f32>,
    b: Vec<f32>,
    features: usize,
}

impl Layer {
    fn new(kind: Kind, directions: usize, features: usize, seed: usize) -> Self {
        let rows = directions * kind.gates() * HIDDEN;
        let [w, r, b] = [values(rows * features, seed), values(rows * HIDDEN, seed + 1), values(2 * rows, seed + 2)];
        Layer { w, r, b, features }
    }

    fn add(&self, model: Model, kind: Kind, directions: usize, name: &str) -> Model {
        let rows = kind.gates() * HIDDEN;
        model
            .floats(&format!("{name}.w"), &[directions, rows, self.features], &self.w)
            .floats(&format!("{name}.r"), &[directions, rows, HIDDEN], &self.r)
            .floats(&format!("{name}.b"), &[directions, 2 * rows], &self.b)
    }

    /// States of one direction, one a step, by the equations of the ONNX operators.
    fn direction(&self, kind: Kind, x: &[Vec<f64>], index: usize, reverse: bool) -> Vec<Vec<f64>> {
        let rows = kind.gates() * HIDDEN;
        let dot = |m: &[f32], v: &[f64], row: usize| -> f64 {
            let row = &m[(index * rows + row) * v.len()..][..v.len()];
            row.iter().zip(v).map(|(a, b)| f64::from(*a) * b).sum()
        };
        let [wb, rb] = [0, rows].map(|o| move |row: usize| f64::from(self.b[index * 2 * rows + o + row]));
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        let (mut h, mut c) = (vec![0.0; HIDDEN], [0.0; HIDDEN]);
        let mut states = vec![Vec::new(); x.len()];
        for step in 0..x.len() {
            let t = if reverse { x.len() - 1 - step } else { step };
            let of_x = |row: usize| dot(&self.w, &x[t], row) + wb(row);
            let of_h = |row: usize, h: &[f64]| dot(&self.r, h, row) + rb(row);
            let gate = |g: usize, j: usize| sigmoid(of_x(g * HIDDEN + j) + of_h(g * HIDDEN + j, &h));
            let mut next = h.clone();
            let reset: Vec<f64> = (0..HIDDEN).map(|j| gate(1, j) * h[j]).collect();
            for j in 0..HIDDEN {
                let row = (kind.gates() - 1) * HIDDEN + j;
                match kind {
                    Kind::Lstm => {
                        c[j] = gate(2, j) * c[j] + gate(0, j) * (of_x(row) + of_h(row, &h)).tanh();
                        next[j] = gate(1, j) * c[j].tanh();
                    }
                    Kind::Gru | Kind::GruAfter => {
                        let from_h = if kind == Kind::Gru { of_h(row, &reset) } else { gate(1, j) * of_h(row, &h) };
                        let new = (of_x(row) + from_h).tanh();
                        next[j] = (1.0 - gate(0, j)) * new + gate(0, j) * h[j];
                    }
                }
            }
            h = next;
            states[t] = h.clone();
        }
        states
    }

    /// States of a bidirectional layer, forward first.
    fn both(&self, kind: Kind, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let [forward, reverse] = [false, true].map(|r| self.direction(kind, x, usize::from(r), r));
        forward.into_iter().zip(reverse).map(|(a, b)| [a, b].concat()).collect()
    }
}

/// The sample, row-major `[time, features]`.
fn sample() -> Vec<f32> {
    values(TIME * FEATURES, 5)
}

fn steps() -> Vec<Vec<f64>> {
    sample().chunks(FEATURES).map(|s| s.iter().map(|v| f64::from(*v)).collect()).collect()
}

/// The model gives `expected`, and so does what is exported from it.
fn check(model: Model, expected: &[f64], what: &str) -> Graph {
    let graph = model.import().unwrap_or_else(|e| panic!("{what}: {e}"));
    let exported = export(&graph);
    let written = ModelProto::decode(&exported[..]).unwrap().graph.unwrap();
    let names: HashSet<&str> = written.node.iter().map(|n| n.name()).collect();
    assert_eq!(names.len(), written.node.len(), "{what}: nodes of one name\n{graph}");
    let again = import(&exported).unwrap_or_else(|e| panic!("{what}: {e}\n{graph}"));
    for graph in [&graph, &again] {
        let ours = evaluate_output(graph, &[&sample()]);
        assert_eq!(ours.len(), expected.len(), "{what}\n{graph}");
        let close = ours.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5);
        assert!(close, "{what}: {ours:?}, not {expected:?}\n{graph}");
    }
    let ops = |graph: &Graph| graph.nodes().into_iter().map(|n| graph.node(n).op.name()).collect::<Vec<_>>();
    assert_eq!(ops(&graph), ops(&again), "{what}\n{graph}\n{again}");
    graph
}

fn last(y: &[Vec<f64>]) -> Vec<f64> {
    y[TIME - 1].clone()
}

fn mean(y: &[Vec<f64>]) -> Vec<f64> {
    (0..y[0].len()).map(|f| y.iter().map(|s| s[f]).sum::<f64>() / TIME as f64).collect()
}

/// PyTorch with batch_first: zero states of a computed shape, time brought to the front and back.
fn torch(kind: Kind, bidirectional: bool, layers: usize) -> (Model, Vec<Vec<f64>>, &'static str) {
    let directions = if bidirectional { 2 } else { 1 };
    let mut model = Model::new(&[TIME, FEATURES])
        .ints("zero", &[0])
        .ints("first", &[(layers * directions) as i64])
        .ints("hidden", &[HIDDEN as i64])
        .ints("merged", &[0, 0, -1])
        .ints("one", &[1])
        .node("Shape", &["x"], "shape")
        .with("Gather", &["shape", "zero"], "batch", vec![int("axis", 0)])
        .with("Concat", &["first", "batch", "hidden"], "states", vec![int("axis", 0)])
        .floats("nought", &[], &[0.0])
        .node("Expand", &["nought", "states"], "h0")
        .with("Transpose", &["x"], "t0", vec![ints("perm", &[1, 0, 2])]);
    let mut y = steps();
    for layer in 0..layers {
        let name = format!("l{layer}");
        let weights = Layer::new(kind, directions, y[0].len(), 3 * layer);
        model = weights.add(model, kind, directions, &name);
        let [from, to] = [layer, layer + 1].map(|l| format!("t{l}"));
        let [w, r, b] = ["w", "r", "b"].map(|p| format!("{name}.{p}"));
        let range = [("s", layer * directions), ("e", (layer + 1) * directions)];
        let range = range.map(|(n, at)| (format!("{name}.{n}"), at as i64));
        model = model.ints(&range[0].0, &[range[0].1]).ints(&range[1].0, &[range[1].1]);
        let state = format!("{name}.h0");
        model = model.node("Slice", &["h0", &range[0].0, &range[1].0, "zero"], &state);
        let mut inputs = vec![&from[..], &w, &r, &b, "", &state];
        if kind == Kind::Lstm {
            inputs.push(&state);
        }
        let direction = if bidirectional { "bidirectional" } else { "forward" };
        let mut node = write::node(kind.op(), &format!("{name}.y"), &inputs, kind.attributes(direction));
        node.output.push(format!("{name}.yh"));
        model = model.proto(node);
        let states = format!("{name}.y");
        model = if bidirectional {
            let moved = format!("{name}.moved");
            model.with("Transpose", &[&states], &moved, vec![ints("perm", &[0, 2, 1, 3])]).node(
                "Reshape",
                &[&moved, "merged"],
                &to,
            )
        } else {
            model.node("Squeeze", &[&states, "one"], &to)
        };
        y = if bidirectional { weights.both(kind, &y) } else { weights.direction(kind, &y, 0, false) };
    }
    let end = ["t0", "t1", "t2"][layers];
    let model = model.with("Transpose", &[end], "batch_first", vec![ints("perm", &[1, 0, 2])]);
    (model, y, end)
}

fn scalar(name: &str, value: i64) -> crate::proto::TensorProto {
    write::int64_scalar(name, value)
}

#[test]
fn layers_of_pytorch_with_batch_first() {
    for kind in KINDS {
        for (bidirectional, layers) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
            let what = format!("{kind:?}, bidirectional {bidirectional}, {layers} layers");
            let build = || torch(kind, bidirectional, layers);
            // out[:, -1]
            let (model, y, _) = build();
            let model = model.tensor(scalar("i", -1)).with("Gather", &["batch_first", "i"], "y", vec![int("axis", 1)]);
            let graph = check(model, &last(&y), &what);
            assert_eq!(graph.node(graph.outputs()[0]).shape, [y[0].len()]);
            let transposed = nodes(&graph).iter().filter(|n| n.ends_with("Transpose")).count();
            assert_eq!(transposed, 1, "{what}: only samples are transposed\n{graph}");
            // out[:, -1:, :], then flattened.
            let (model, y, _) = build();
            let model = model.ints("from", &[-1]).ints("to", &[i64::MAX]);
            let model = model.node("Slice", &["batch_first", "from", "to", "one"], "s").node("Flatten", &["s"], "y");
            check(model, &last(&y), &what);
            // out.mean(1), and the mean before the batch comes back to the front.
            let (model, y, _) = build();
            let mean_over_time = vec![ints("axes", &[1]), int("keepdims", 0)];
            check(model.with("ReduceMean", &["batch_first"], "y", mean_over_time), &mean(&y), &what);
            let (model, y, end) = build();
            let kept = vec![ints("axes", &[0])];
            check(model.with("ReduceMean", &[end], "m", kept).node("Squeeze", &["m", "zero"], "y"), &mean(&y), &what);
            // Everything, flattened for a fully connected layer.
            let (model, y, _) = build();
            let size = TIME * y[0].len();
            let fc = values(2 * size, 3);
            let model = model.floats("fc", &[2, size], &fc).node("Flatten", &["batch_first"], "f");
            let model = model.with("Gemm", &["f", "fc"], "y", vec![int("transB", 1)]);
            let flat = y.concat();
            let dot = |row: &[f32]| row.iter().zip(&flat).map(|(w, v)| f64::from(*w) * v).sum();
            check(model, &fc.chunks(size).map(dot).collect::<Vec<f64>>(), &what);
            // The whole sequence as the output, batch first.
            let (model, y, _) = build();
            let graph = check(model.node("Tanh", &["batch_first"], "y"), &tanh(&y.concat()), &what);
            assert_eq!(graph.node(graph.outputs()[0]).shape, [TIME, y[0].len()]);
        }
    }
}

fn tanh(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v.tanh()).collect()
}

#[test]
fn last_states_of_pytorch() {
    for kind in KINDS {
        for bidirectional in [false, true] {
            // h_n of two layers: torch.cat over layers, then h_n[-1] or cat(h_n[-2], h_n[-1]).
            let (model, y, _) = torch(kind, bidirectional, 2);
            let model = model
                .with("Concat", &["l0.yh", "l1.yh"], "hn", vec![int("axis", 0)])
                .tensor(scalar("i", -1))
                .tensor(scalar("j", -2))
                .with("Gather", &["hn", "i"], "a", vec![int("axis", 0)])
                .with("Gather", &["hn", "j"], "b", vec![int("axis", 0)]);
            if bidirectional {
                // The reverse direction ends at the first step.
                let expected = [&y[TIME - 1][..HIDDEN], &y[0][HIDDEN..]].concat();
                let model = model.with("Concat", &["b", "a"], "y", vec![int("axis", 1)]);
                check(model, &expected, &format!("{kind:?}"));
            } else {
                check(model.node("Identity", &["a"], "y"), &last(&y), &format!("{kind:?}"));
            }
        }
    }
}

/// Keras as tf2onnx writes it: only Y_h is read; and a reverse layer, whose last step is the first.
#[test]
fn last_states_of_keras() {
    for (kind, direction) in KINDS.into_iter().flat_map(|k| [(k, "forward"), (k, "reverse")]) {
        let weights = Layer::new(kind, 1, FEATURES, 2);
        let mut node = write::node(kind.op(), "", &["t", "l.w", "l.r", "l.b"], kind.attributes(direction));
        node.output.push("yh".to_owned());
        let model = Model::new(&[TIME, FEATURES]).ints("zero", &[0]);
        let model = model.with("Transpose", &["x"], "t", vec![ints("perm", &[1, 0, 2])]);
        let model = weights.add(model, kind, 1, "l").proto(node).node("Squeeze", &["yh", "zero"], "y");
        let states = weights.direction(kind, &steps(), 0, direction == "reverse");
        let expected = if direction == "reverse" { states[0].clone() } else { last(&states) };
        check(model, &expected, &format!("{kind:?} {direction}"));
    }
}

/// Batch first by the attribute of operator set 14, parts of features, and directions apart.
#[test]
fn batch_first_by_layout_and_parts_of_the_result() {
    for kind in KINDS {
        let weights = Layer::new(kind, 2, FEATURES, 4);
        let states = weights.both(kind, &steps());
        let build = || {
            let mut attributes = kind.attributes("bidirectional");
            attributes.push(int("layout", 1));
            let model = weights.add(Model::new(&[TIME, FEATURES]).opset(14), kind, 2, "l");
            model.with(kind.op(), &["x", "l.w", "l.r", "l.b"], "s", attributes)
        };
        // Y is [batch, time, directions, hidden]: the forward half at step 2, the reverse half of all steps.
        let model = build().tensor(scalar("d", 0)).tensor(scalar("t", 2));
        let model = model.with("Gather", &["s", "d"], "f", vec![int("axis", 2)]);
        let model = model.with("Gather", &["f", "t"], "y", vec![int("axis", 1)]);
        check(model, &states[2][..HIDDEN], &format!("{kind:?}"));
        let mut split = write::node("Split", "a", &["s"], vec![int("axis", 2)]);
        split.output.push("b".to_owned());
        let model = build().ints("two", &[2]).proto(split).node("Squeeze", &["b", "two"], "c");
        let expected: Vec<f64> = states.iter().flat_map(|s| s[HIDDEN..].to_vec()).collect();
        check(model.node("Identity", &["c"], "y"), &expected, &format!("{kind:?}"));
    }
}

#[test]
fn samples_with_time_first_and_features_from_convolutions() {
    let weights = Layer::new(Kind::Lstm, 1, FEATURES, 1);
    let states = weights.direction(Kind::Lstm, &steps(), 0, false);
    // batch_first=False: the batch is the second axis of the input.
    let mut model = weights.add(Model::new(&[TIME, FEATURES]), Kind::Lstm, 1, "l");
    let dim = |value| Dimension { value: Some(value), ..Default::default() };
    let Some(type_proto::Value::TensorType(tensor)) = &mut model.graph.input[0].r#type.as_mut().unwrap().value else {
        panic!("inputs are tensors")
    };
    tensor.elem_type = Some(DataType::Float as i32);
    tensor.shape.as_mut().unwrap().dim = vec![
        dim(dimension::Value::DimValue(TIME as i64)),
        dim(dimension::Value::DimParam("batch".to_owned())),
        dim(dimension::Value::DimValue(FEATURES as i64)),
    ];
    let model = model
        .with("LSTM", &["x", "l.w", "l.r", "l.b"], "s", Kind::Lstm.attributes("forward"))
        .ints("one", &[1])
        .node("Squeeze", &["s", "one"], "q")
        .tensor(scalar("i", -1))
        .with("Gather", &["q", "i"], "y", vec![int("axis", 0)]);
    let graph = check(model, &last(&states), "time first");
    assert_eq!(graph.node(graph.inputs()[0]).shape, [TIME, FEATURES]);
    // Maps [channels, time, bands] as features channel by channel: transposed, flattened, time first.
    let weights = Layer::new(Kind::Gru, 1, FEATURES, 1);
    let gru = |x: &str, model: Model| {
        let model = weights.add(model, Kind::Gru, 1, "l");
        model.with("GRU", &[x, "l.w", "l.r", "l.b"], "y4", Kind::Gru.attributes("forward"))
    };
    let model = Model::new(&[1, TIME, FEATURES])
        .node("Relu", &["x"], "r")
        .with("Transpose", &["r"], "a", vec![ints("perm", &[2, 0, 1, 3])])
        .ints("flat", &[0, 0, -1])
        .node("Reshape", &["a", "flat"], "b");
    let model = gru("b", model).tensor(scalar("i", 3)).with("Gather", &["y4", "i"], "g", vec![int("axis", 0)]);
    let rectified: Vec<Vec<f64>> = steps().into_iter().map(|s| s.into_iter().map(|v| v.max(0.0)).collect()).collect();
    let expected = last(&weights.direction(Kind::Gru, &rectified, 0, false));
    check(model.ints("o", &[0]).node("Squeeze", &["g", "o"], "y"), &expected, "bands of maps");
}

#[test]
fn layers_that_share_weights_still_do() {
    let weights = Layer::new(Kind::Lstm, 1, HIDDEN, 1);
    let model = weights.add(Model::new(&[TIME, HIDDEN]), Kind::Lstm, 1, "l").ints("one", &[1]);
    let model = model.with("Transpose", &["x"], "t", vec![ints("perm", &[1, 0, 2])]);
    let lstm = |model: Model, from: &str, to: &str| {
        model.with("LSTM", &[from, "l.w", "l.r", "l.b"], to, Kind::Lstm.attributes("forward"))
    };
    let model = lstm(lstm(model, "t", "a").node("Squeeze", &["a", "one"], "b"), "b", "c");
    let graph = model.with("Transpose", &["c"], "y", vec![ints("perm", &[2, 1, 3, 0])]).graph();
    assert_eq!(graph.params().count(), 4);
    // Exported weights are shared as well; biases are written for each layer.
    assert_eq!(import(&export(&graph)).unwrap().params().count(), 6);
}

/// The first finding about a model whose LSTM was changed.
fn refused(inputs: &[&str], attributes: Vec<AttributeProto>, change: impl Fn(Model) -> Model) -> String {
    let weights = Layer::new(Kind::Lstm, 1, FEATURES, 1);
    let model = weights.add(Model::new(&[TIME, FEATURES]), Kind::Lstm, 1, "l");
    let model = model.with("Transpose", &["x"], "t", vec![ints("perm", &[1, 0, 2])]);
    let mut node = write::node("LSTM", "s", inputs, attributes);
    node.output.extend(["yh".to_owned(), "yc".to_owned()]);
    let model = change(model).proto(node).ints("zero", &[0]).node("Squeeze", &["yh", "zero"], "y");
    let findings = model.import().map(|g| panic!("imported\n{g}")).unwrap_err();
    assert!(findings.iter().all(|f| f.help.is_some() || f.code == "shape-mismatch"), "{findings}");
    findings.to_string()
}

/// "n": the length of the only sequence.
fn lengths(time: usize) -> crate::proto::TensorProto {
    write::tensor("n", &Tensor::i32([1], vec![time as i32]))
}

#[test]
fn what_the_graph_cannot_hold_is_refused_with_help() {
    const PLAIN: [&str; 4] = ["t", "l.w", "l.r", "l.b"];
    let same = |m: Model| m;
    let texts = |values: &[&str]| AttributeProto {
        name: Some("activations".to_owned()),
        r#type: Some(AttributeType::Strings as i32),
        strings: values.iter().map(|v| v.as_bytes().to_vec()).collect(),
        ..Default::default()
    };
    let cases = [
        (refused(&["x", "l.w", "l.r"], vec![], same), "not [time, batch, features] with a batch of 1"),
        (refused(&PLAIN, vec![texts(&["Sigmoid", "Relu", "Tanh"])], same), "has activations"),
        (refused(&PLAIN, vec![write::float("clip", 3.0)], same), "clips its sums"),
        (refused(&PLAIN, vec![int("hidden_size", 2), text("direction", "reverse")], |m| m.output("yc")), "Y_c"),
        (
            refused(&["t", "l.w", "l.r", "", "", "h"], vec![], |m| m.weight("h", &[1, 1, HIDDEN])),
            "initial_h other than zero",
        ),
        (refused(&["t", "l.w", "l.r", "", "", "", "", "p"], vec![], |m| m.weight("p", &[1, 6])), "peepholes"),
        (refused(&["t", "l.w", "l.r", "", "n"], vec![], |m| m.tensor(lengths(3))), "different lengths"),
        (refused(&["t", "l.r", "l.r"], vec![], same), "W has shape [1, 8, 2], not [1, 8, 3]"),
    ];
    for (found, expected) in cases {
        assert!(found.contains(expected), "{found}\n\n{expected}");
    }
    // A length that is that of the sequence, and states that are zero, change nothing.
    let weights = Layer::new(Kind::Lstm, 1, FEATURES, 1);
    let model = weights.add(Model::new(&[TIME, FEATURES]), Kind::Lstm, 1, "l").tensor(lengths(TIME));
    let model = model.floats("h", &[1, 1, HIDDEN], &[0.0; HIDDEN]);
    let model = model.with("Transpose", &["x"], "t", vec![ints("perm", &[1, 0, 2])]);
    let inputs = ["t", "l.w", "l.r", "l.b", "n", "h", "h"];
    let model = model.with("LSTM", &inputs, "s", vec![texts(&["sigmoid", "tanh", "tanh"])]);
    let model = model.tensor(scalar("i", -1)).with("Gather", &["s", "i"], "g", vec![int("axis", 0)]);
    let expected = last(&weights.direction(Kind::Lstm, &steps(), 0, false));
    check(model.ints("o", &[1]).node("Squeeze", &["g", "o"], "y"), &expected, "full length");
}

#[test]
fn steps_and_features_in_pieces_are_refused() {
    let (model, ..) = torch(Kind::Lstm, false, 1);
    let model = model.ints("to", &[3]).node("Slice", &["batch_first", "zero", "to", "one"], "y");
    let findings = model.import().unwrap_err().to_string();
    assert!(findings.contains("takes a part of a sequence") && findings.contains("single steps"), "{findings}");
    let (model, ..) = torch(Kind::Lstm, false, 1);
    let findings = model.with("ReduceMean", &["batch_first"], "y", vec![ints("axes", &[2])]).import().unwrap_err();
    assert!(findings.to_string().contains("mean over axes [2]"), "{findings}");
    // Time first at the end: not one value a sample.
    let (model, _, end) = torch(Kind::Lstm, false, 1);
    let findings = model.node("Identity", &[end], "y").import().unwrap_err().to_string();
    assert!(findings.contains("batch"), "{findings}");
}

#[test]
fn every_value_has_the_order_that_the_graph_promises() {
    let (model, y, _) = torch(Kind::Gru, true, 1);
    let graph = model.tensor(scalar("i", 1)).with("Gather", &["batch_first", "i"], "y", vec![int("axis", 1)]).graph();
    let values = evaluate(&graph, &[&sample()]);
    for id in graph.nodes() {
        let node = graph.node(id);
        if let Op::Concat { .. } = node.op {
            assert_eq!(node.shape, [2 * HIDDEN, 1, TIME]);
            for (f, line) in values[&id].chunks(TIME).enumerate() {
                assert!(line.iter().zip(&y).all(|(v, step)| (f64::from(*v) - step[f]).abs() < 1e-5));
            }
        }
    }
    let expected = "x.features_first Transpose|l0.y.forward GRU|l0.y.reverse GRU|l0.y Concat|y TimeStep";
    assert_eq!(nodes(&graph).join("|"), expected);
}
