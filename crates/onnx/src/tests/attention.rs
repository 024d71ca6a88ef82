//! Attention as exporters write it, against loops over heads.

use espalier_ir::{Graph, Op, evaluate_output};

use super::{Model, int, ints, nodes, op};

const TOKENS: usize = 3;
const FEATURES: usize = 4;

/// Heads of `dim` features; the keys and values of `shared` of them are the same.
#[derive(Clone, Copy)]
struct Heads {
    count: usize,
    shared: usize,
    dim: usize,
}

impl Heads {
    fn kv(self) -> usize {
        self.count / self.shared
    }
}

/// Projections, heads as an axis in front of the tokens, products, and back.
fn model(heads: Heads) -> Model {
    let Heads { count, shared, dim } = heads;
    let (h, kv, d, t) = (count as i64, heads.kv() as i64, dim as i64, TOKENS as i64);
    let mut model = Model::new(&[TOKENS, FEATURES])
        .weight("wq", &[FEATURES, count * dim])
        .weight("wk", &[FEATURES, heads.kv() * dim])
        .weight("wv", &[FEATURES, heads.kv() * dim])
        .weight("bq", &[count * dim])
        .weight("wo", &[count * dim, FEATURES])
        .floats("root", &[], &[2.0])
        .ints("q_heads", &[0, t, h, d])
        .ints("kv_heads", &[0, t, kv, d])
        .ints("repeated", &[1, kv, shared as i64, t, d])
        .ints("all_heads", &[0, h, t, d])
        .ints("between", &[2])
        .ints("joined", &[0, t, h * d]);
    for (value, split) in [("q", "q_heads"), ("k", "kv_heads"), ("v", "kv_heads")] {
        model = model.node("MatMul", &["x", &format!("w{value}")], &format!("{value}.p"));
        let mut projected = format!("{value}.p");
        if value == "q" {
            model = model.node("Add", &["bq", "q.p"], "q.b");
            projected = "q.b".to_owned();
        }
        model = model.node("Reshape", &[&projected, split], &format!("{value}.r"));
        let axes = ints("perm", &[0, 2, 1, 3]);
        model = model.with("Transpose", &[&format!("{value}.r")], &format!("{value}.h"), vec![axes]);
        if value != "q" && shared > 1 {
            model = model
                .node("Unsqueeze", &[&format!("{value}.h"), "between"], &format!("{value}.u"))
                .node("Expand", &[&format!("{value}.u"), "repeated"], &format!("{value}.e"))
                .node("Reshape", &[&format!("{value}.e"), "all_heads"], &format!("{value}.all"));
        } else {
            model = model.node("Identity", &[&format!("{value}.h")], &format!("{value}.all"));
        }
    }
    model
        .with("Transpose", &["k.all"], "k.t", vec![ints("perm", &[0, 1, 3, 2])])
        .node("MatMul", &["q.all", "k.t"], "scores")
        .node("Div", &["scores", "root"], "scaled")
        .with("Softmax", &["scaled"], "weights", vec![int("axis", -1)])
        .node("MatMul", &["weights", "v.all"], "mixed")
        .with("Transpose", &["mixed"], "turned", vec![ints("perm", &[0, 2, 1, 3])])
        .node("Reshape", &["turned", "joined"], "flat")
        .node("MatMul", &["flat", "wo"], "back")
        .node("Add", &["x", "back"], "y")
}

/// A quarter of 1, 2, 3, ... modulo 7: neither sorted nor large.
fn sample() -> Vec<f32> {
    (0..TOKENS * FEATURES).map(|i| (i * 5 % 7) as f32 / 16.0 - 0.2).collect()
}

fn weight(graph_values: &dyn Fn(usize) -> f32, x: &[f32], outputs: usize) -> Vec<f32> {
    let inputs = x.len() / TOKENS;
    let at = |t: usize, o: usize| (0..inputs).map(|i| x[t * inputs + i] * graph_values(i * outputs + o)).sum();
    (0..TOKENS).flat_map(|t| (0..outputs).map(move |o| (t, o))).map(|(t, o)| at(t, o)).collect()
}

fn expected(heads: Heads, x: &[f32]) -> Vec<f32> {
    let Heads { count, shared, dim } = heads;
    let counted = |i: usize| (i + 1) as f32 / 2.0;
    let mut q = weight(&counted, x, count * dim);
    q.iter_mut().enumerate().for_each(|(i, v)| *v += counted(i % (count * dim)));
    let (k, v) = (weight(&counted, x, heads.kv() * dim), weight(&counted, x, heads.kv() * dim));
    let mut mixed = vec![0.0; TOKENS * count * dim];
    for h in 0..count {
        let g = h / shared;
        for t in 0..TOKENS {
            let score = |s: usize| -> f32 {
                let product = |j| q[(t * count + h) * dim + j] * k[(s * heads.kv() + g) * dim + j];
                (0..dim).map(product).sum::<f32>() / 2.0
            };
            let largest = (0..TOKENS).map(score).fold(f32::NEG_INFINITY, f32::max);
            let exp: Vec<f32> = (0..TOKENS).map(|s| (score(s) - largest).exp()).collect();
            let sum: f32 = exp.iter().sum();
            for j in 0..dim {
                let value = |s: usize| exp[s] / sum * v[(s * heads.kv() + g) * dim + j];
                mixed[(t * count + h) * dim + j] = (0..TOKENS).map(value).sum();
            }
        }
    }
    weight(&counted, &mixed, FEATURES).iter().zip(x).map(|(a, b)| a + b).collect()
}

fn check(graph: &Graph, wanted: &[f32]) {
    let found = evaluate_output(graph, &[&sample()]);
    let scale = wanted.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    assert_eq!(found.len(), wanted.len(), "{graph}");
    let close = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4 * scale);
    assert!(close, "{found:?}, not {wanted:?}\n{graph}");
}

#[test]
fn heads_are_the_first_axis_of_a_product() {
    for (count, shared) in [(2, 1), (4, 2), (4, 1)] {
        let heads = Heads { count, shared, dim: 3 };
        let graph = model(heads).graph();
        check(&graph, &expected(heads, &sample()));
        let scores = graph.nodes().into_iter().find(|n| graph.node(*n).name == "scores").unwrap();
        assert_eq!(graph.node(scores).shape, [count, TOKENS, TOKENS]);
        // What comes out of the file again is the same network.
        let again = crate::import(&crate::export(&graph)).unwrap();
        check(&again, &expected(heads, &sample()));
    }
}

#[test]
fn a_single_head_keeps_its_features_first() {
    let heads = Heads { count: 1, shared: 1, dim: 3 };
    let graph = model(heads).graph();
    check(&graph, &expected(heads, &sample()));
    assert_eq!(op(&graph, "scores"), Op::MatMul { transpose: [true, false] }, "{graph}");
    assert_eq!(op(&graph, "mixed"), Op::MatMul { transpose: [false, true] }, "{graph}");
    let again = crate::import(&crate::export(&graph)).unwrap();
    check(&again, &expected(heads, &sample()));
}

#[test]
fn patches_get_positions_and_a_mean() {
    let graph = Model::new(&[1, 4, 4])
        .weight("w", &[3, 1, 2, 2])
        .ints("tokens", &[0, 3, -1])
        .weight("positions", &[1, 4, 3])
        .with("Conv", &["x", "w"], "c", vec![ints("strides", &[2, 2])])
        .node("Reshape", &["c", "tokens"], "r")
        .with("Transpose", &["r"], "t", vec![ints("perm", &[0, 2, 1])])
        .node("Add", &["t", "positions"], "p")
        .with("ReduceMean", &["p"], "y", vec![ints("axes", &[1]), int("keepdims", 0)])
        .graph();
    assert_eq!(nodes(&graph), ["c Conv", "p Offset", "y GlobalAveragePool", "y_1 Flatten"]);
    let x: Vec<f32> = (0..16).map(|i| i as f32).collect();
    let found = evaluate_output(&graph, &[&x]);
    let wanted = |f: usize| -> f32 {
        let patch = |p: usize| -> f32 {
            let pixel = |k: usize| x[(p / 2 * 2 + k / 2) * 4 + p % 2 * 2 + k % 2] * (f * 4 + k + 1) as f32 / 2.0;
            (0..4).map(pixel).sum::<f32>() + (p * 3 + f + 1) as f32 / 2.0
        };
        (0..4).map(patch).sum::<f32>() / 4.0
    };
    assert!(found.iter().enumerate().all(|(f, v)| (v - wanted(f)).abs() < 1e-3), "{found:?}");
}
