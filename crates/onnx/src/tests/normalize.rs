//! Normalization by the statistics of the sample.

use espalier_ir::{Normalize, Op, Statistics};

use super::{Model, counting, int, ints, nodes, op, output};
use crate::write;

const EPSILON: f32 = 1e-3;

/// What is normalized together, and scaled by `scale(i)` and shifted by `offset(i)`.
fn expected(
    x: &[f32],
    set: impl Fn(usize) -> usize,
    scale: impl Fn(usize) -> f32,
    offset: impl Fn(usize) -> f32,
) -> Vec<f32> {
    let of = |i: usize| -> Vec<f32> { (0..x.len()).filter(|j| set(*j) == set(i)).map(|j| x[j]).collect() };
    (0..x.len())
        .map(|i| {
            let together = of(i);
            let mean = together.iter().sum::<f32>() / together.len() as f32;
            let variance = together.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / together.len() as f32;
            (x[i] - mean) / (variance + EPSILON).sqrt() * scale(i) + offset(i)
        })
        .collect()
}

fn assert_close(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}, not {wanted:?}");
}

#[test]
fn layers_are_normalized_over_the_last_axis() {
    let features = Model::new(&[4]).weight("s", &[4]).weight("b", &[4]);
    let attributes = || vec![write::float("epsilon", EPSILON)];
    let graph = features.opset(17).with("LayerNormalization", &["x", "s", "b"], "y", attributes()).graph();
    let half = |i: usize| (i + 1) as f32 / 2.0;
    assert_close(&output(&graph), &expected(&counting(&graph), |_| 0, half, half));
    // Tokens: features last, which the graph holds first.
    let tokens = Model::new(&[3, 4]).weight("s", &[4]).opset(17);
    let graph = tokens.with("LayerNormalization", &["x", "s"], "y", attributes()).graph();
    assert_close(&output(&graph), &expected(&counting(&graph), |i| i / 4, |i| half(i % 4), |_| 0.0));
    let Op::Normalize(Normalize { over, .. }) = op(&graph, "y") else { panic!("{graph}") };
    assert_eq!(over, Statistics::Position);
    // Channels brought to the end and back, as ConvNeXt does.
    let map = Model::new(&[2, 2, 3])
        .weight("s", &[2])
        .opset(17)
        .weight("w", &[2, 2, 1, 1])
        .node("Conv", &["x", "w"], "c")
        .with("Transpose", &["c"], "last", vec![ints("perm", &[0, 2, 3, 1])])
        .with("LayerNormalization", &["last", "s"], "n", attributes())
        .with("Transpose", &["n"], "y", vec![ints("perm", &[0, 3, 1, 2])])
        .graph();
    assert_eq!(nodes(&map), ["c Conv", "n Normalize"]);
}

#[test]
fn a_whole_sample_is_one_group() {
    let model = |scale: &[f32]| {
        let attributes = vec![int("axis", 1), write::float("epsilon", EPSILON)];
        Model::new(&[2, 2]).opset(17).floats("s", &[2, 2], scale).with(
            "LayerNormalization",
            &["x", "s"],
            "y",
            attributes,
        )
    };
    let graph = model(&[2.0, 2.0, 3.0, 3.0]).graph();
    assert_close(&output(&graph), &expected(&counting(&graph), |_| 0, |i| (2 + i / 2) as f32, |_| 0.0));
    let findings = model(&[1.0, 2.0, 3.0, 4.0]).import().unwrap_err();
    assert!(findings.to_string().contains("one value a channel"), "{findings}");
}

#[test]
fn groups_and_instances_are_normalized_with_their_positions() {
    let attributes = |groups| vec![int("num_groups", groups), write::float("epsilon", EPSILON)];
    for (opset, count) in [(21, 4), (18, 2)] {
        let model = Model::new(&[4, 1, 2]).opset(opset).weight("s", &[count]).weight("b", &[count]);
        let graph = model.with("GroupNormalization", &["x", "s", "b"], "y", attributes(2)).graph();
        let value = |i: usize| if count == 4 { (i / 2 + 1) as f32 / 2.0 } else { (i / 4 + 1) as f32 / 2.0 };
        assert_close(&output(&graph), &expected(&counting(&graph), |i| i / 4, value, value));
    }
    let epsilon = vec![write::float("epsilon", EPSILON)];
    let model = Model::new(&[2, 2, 2]).weight("s", &[2]).weight("b", &[2]);
    let graph = model.with("InstanceNormalization", &["x", "s", "b"], "y", epsilon).graph();
    let half = |i: usize| (i / 4 + 1) as f32 / 2.0;
    assert_close(&output(&graph), &expected(&counting(&graph), |i| i / 4, half, half));
}

/// Group normalization before operator set 18: the groups are seen as channels, scale and offset follow.
#[test]
fn groups_written_as_instances_are_one_node() {
    let graph = Model::new(&[4, 1, 2])
        .floats("one", &[2], &[1.0, 1.0])
        .floats("zero", &[2], &[0.0, 0.0])
        .ints("groups", &[0, 2, -1])
        .ints("back", &[0, 4, 1, 2])
        .weight("s", &[4, 1, 1])
        .weight("b", &[4, 1, 1])
        .node("Reshape", &["x", "groups"], "g")
        .with("InstanceNormalization", &["g", "one", "zero"], "n", vec![write::float("epsilon", EPSILON)])
        .node("Reshape", &["n", "back"], "r")
        .node("Mul", &["r", "s"], "m")
        .node("Add", &["m", "b"], "y")
        .graph();
    assert_eq!(nodes(&graph), ["n Normalize"]);
    let half = |i: usize| (i / 2 + 1) as f32 / 2.0;
    assert_close(&output(&graph), &expected(&counting(&graph), |i| i / 4, half, half));
}
