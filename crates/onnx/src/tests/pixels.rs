//! Channels as pixels, and values joined along other axes than the channels.

use super::{Model, int, nodes, output, text};

#[test]
fn depth_becomes_space_in_both_orders() {
    // Sample value = index; channel c of pixel (0, 0) is c.
    let model = |mode: Option<&str>| {
        let attributes = [Some(int("blocksize", 2)), mode.map(|m| text("mode", m))].into_iter().flatten().collect();
        output(&Model::new(&[8, 1, 1]).with("DepthToSpace", &["x"], "y", attributes).graph())
    };
    // [2, 2, 2]: with the pixel as the slower index, channel 0 has the even depths.
    assert_eq!(model(None), [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    assert_eq!(model(Some("DCR")), model(None));
    assert_eq!(model(Some("CRD")), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let wide = Model::new(&[4, 2, 3]).with("DepthToSpace", &["x"], "y", vec![int("blocksize", 2)]).graph();
    let expected: Vec<f32> = (0..4)
        .flat_map(|row| (0..6).map(move |column| ((row % 2 * 2 + column % 2) * 6 + row / 2 * 3 + column / 2) as f32))
        .collect();
    assert_eq!(output(&wide), expected);
}

#[test]
fn space_becomes_depth_and_back() {
    let there = Model::new(&[2, 4, 6]).with("SpaceToDepth", &["x"], "y", vec![int("blocksize", 2)]).graph();
    let expected: Vec<f32> = (0..8)
        .flat_map(|d| {
            let (place, c) = (d / 2, d % 2);
            (0..6).map(move |p| (c * 24 + (p / 3 * 2 + place / 2) * 6 + p % 3 * 2 + place % 2) as f32)
        })
        .collect();
    assert_eq!(output(&there), expected);
    let back = Model::new(&[2, 4, 6])
        .with("SpaceToDepth", &["x"], "deep", vec![int("blocksize", 2)])
        .with("DepthToSpace", &["deep"], "y", vec![int("blocksize", 2)])
        .graph();
    assert_eq!(output(&back), (0..48).map(|i| i as f32).collect::<Vec<_>>());
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    for (op, sample) in [("DepthToSpace", [6, 2, 2]), ("SpaceToDepth", [1, 3, 2])] {
        let findings = Model::new(&sample).with(op, &["x"], "y", vec![int("blocksize", 2)]).import().unwrap_err();
        assert_eq!(findings.iter().next().unwrap().code, "shape-mismatch");
    }
}

#[test]
fn values_are_joined_along_every_axis_of_a_sample() {
    let joined = |sample: &[usize], axis| {
        Model::new(sample).node("Relu", &["x"], "r").with("Concat", &["x", "r"], "y", vec![int("axis", axis)]).graph()
    };
    assert_eq!(output(&joined(&[1, 2, 2], 2)), [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(output(&joined(&[1, 2, 2], 3)), [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
    assert_eq!(output(&joined(&[2, 2], -1)), [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
    // A line, which the graph holds as a map of height 1.
    let line = Model::new(&[2, 3])
        .weight("w", &[2, 2, 1])
        .node("Conv", &["x", "w"], "c")
        .with("Concat", &["c", "c"], "y", vec![int("axis", 2)])
        .graph();
    assert_eq!(nodes(&line).last().map(String::as_str), Some("output Reshape"));
    assert_eq!(output(&line).len(), 12);
    assert_eq!(output(&line)[..3], output(&line)[3..6]);
}
