//! Parts of values: channels, every second pixel, gates, and larger maps.

use espalier_ir::{Op, Pool};

use super::{Model, int, ints, nodes, op, output, text};
use crate::write;

#[test]
fn a_slice_of_channels_and_zeros_around_it_are_one_selection() {
    let graph = Model::new(&[3, 1, 1])
        .ints("one", &[1])
        .ints("end", &[9])
        .ints("pads", &[0, 1, 0, 0, 0, 2, 0, 0])
        .node("Slice", &["x", "one", "end", "one"], "s")
        .node("Pad", &["s", "pads"], "y")
        .graph();
    assert_eq!(nodes(&graph), ["s Select"]);
    assert_eq!(op(&graph, "s"), Op::Select { channels: vec![None, Some(1), Some(2), None, None] });
    assert_eq!(output(&graph), [0.0, 1.0, 2.0, 0.0, 0.0]);
}

#[test]
fn the_shortcut_of_resnet_takes_every_second_pixel() {
    let graph = Model::new(&[2, 3, 4])
        .ints("starts", &[0, 0])
        .ints("ends", &[3, 4])
        .ints("axes", &[2, 3])
        .ints("steps", &[2, 2])
        .ints("pads", &[0, 1, 0, 0, 0, 1, 0, 0])
        .node("Slice", &["x", "starts", "ends", "axes", "steps"], "s")
        .node("Pad", &["s", "pads"], "y")
        .graph();
    let Op::MaxPool(Pool { kernel, stride, .. }) = op(&graph, "s") else { panic!() };
    assert_eq!((kernel, stride), ([1, 1], [2, 2]));
    let values = [0.0, 2.0, 8.0, 10.0, 12.0, 14.0, 20.0, 22.0];
    assert_eq!(output(&graph), [&[0.0; 4], &values[..], &[0.0; 4]].concat());
}

#[test]
fn crops_of_maps_are_refused_and_later_findings_still_found() {
    let findings = Model::new(&[2, 4, 4])
        .ints("one", &[1])
        .ints("end", &[3])
        .ints("axis", &[2])
        .node("Slice", &["x", "one", "end", "axis"], "s")
        .with("Concat", &["s", "s"], "y", vec![int("axis", 0)])
        .import()
        .unwrap_err();
    let found: Vec<&str> = findings.iter().map(|f| f.at.as_str()).collect();
    assert_eq!(found, ["node 's' (Slice)", "node 'y' (Concat)"]);
}

#[test]
fn split_gives_every_part() {
    let split = |opset, model: Model, inputs: &[&str], attributes| {
        let mut node = write::node("Split", "a", inputs, attributes);
        node.output.push("b".to_owned());
        model.opset(opset).proto(node).with("Concat", &["b", "a"], "y", vec![int("axis", 1)])
    };
    let old = split(11, Model::new(&[3, 1, 1]), &["x"], vec![int("axis", 1), ints("split", &[1, 2])]).graph();
    assert_eq!(output(&old), [1.0, 2.0, 0.0]);
    let new = Model::new(&[3, 1, 1]).ints("sizes", &[2, 1]);
    assert_eq!(output(&split(13, new, &["x", "sizes"], vec![int("axis", -3)]).graph()), [2.0, 0.0, 1.0]);
    assert_eq!(output(&split(18, Model::new(&[4]), &["x"], vec![int("axis", 1)]).graph()), [2.0, 3.0, 0.0, 1.0]);
    let rows = split(13, Model::new(&[1, 2, 1]), &["x"], vec![int("axis", 2)]).import().unwrap_err();
    assert!(rows.to_string().contains("splits axis 2"), "{rows}");
    let few = split(11, Model::new(&[3]), &["x"], vec![int("axis", 1), ints("split", &[1, 1])]).import().unwrap_err();
    assert!(few.to_string().contains("parts of [1, 1]"), "{few}");
}

#[test]
fn a_channel_shuffle_is_a_selection() {
    let graph = Model::new(&[6, 1, 2])
        .ints("split", &[0, 2, 3, 1, 2])
        .ints("joined", &[0, 6, 1, 2])
        .node("Reshape", &["x", "split"], "a")
        .with("Transpose", &["a"], "b", vec![ints("perm", &[0, 2, 1, 3, 4])])
        .node("Reshape", &["b", "joined"], "c")
        .with("AveragePool", &["c"], "y", vec![ints("kernel_shape", &[1, 2])])
        .graph();
    assert_eq!(nodes(&graph), ["c Select", "y AveragePool"]);
    assert_eq!(output(&graph), [0.5, 6.5, 2.5, 8.5, 4.5, 10.5]);
    let picked = Model::new(&[3]).ints("i", &[2, -3, 2]).with("Gather", &["x", "i"], "y", vec![int("axis", 1)]).graph();
    assert_eq!(output(&picked), [2.0, 0.0, 2.0]);
}

#[test]
fn gates_multiply_channels_or_pixels() {
    let squeeze = Model::new(&[2, 1, 2]).node("GlobalAveragePool", &["x"], "g").node("Mul", &["x", "g"], "y").graph();
    assert_eq!(output(&squeeze), [0.0, 0.5, 5.0, 7.5]);
    let mask = Model::new(&[2, 1, 2])
        .ints("z", &[0])
        .ints("o", &[1])
        .node("Slice", &["x", "z", "o", "o"], "m")
        .node("Mul", &["m", "x"], "y")
        .graph();
    assert_eq!(output(&mask), [0.0, 1.0, 0.0, 3.0]);
    let misfit = Model::new(&[4]).ints("i", &[0, 1]).with("Gather", &["x", "i"], "a", vec![int("axis", 1)]);
    let findings = misfit.node("Mul", &["a", "x"], "y").import().unwrap_err();
    assert!(findings.to_string().contains("[1, 2] and [1, 4]"), "{findings}");
}

#[test]
fn hard_swish_is_a_gate() {
    let graph = Model::new(&[5]).opset(14).node("HardSwish", &["x"], "y").graph();
    assert_eq!(nodes(&graph), ["y.gate HardSigmoid", "y Mul"]);
    assert_eq!(output(&graph)[3..], [3.0, 4.0]);
    assert!((output(&graph)[1] - 4.0 / 6.0).abs() < 1e-6);
}

#[test]
fn slopes_are_one_a_channel_or_one_in_all() {
    let slope = |shape: &[usize], values: &[f32]| {
        let model = Model::new(&[2, 1, 2]).floats("s", shape, values).floats("b", &[], &[2.0]);
        output(&model.node("Sub", &["x", "b"], "a").node("PRelu", &["a", "s"], "y").graph())
    };
    assert_eq!(slope(&[2, 1, 1], &[0.5, 0.25]), [-1.0, -0.5, 0.0, 1.0]);
    assert_eq!(slope(&[1], &[0.25]), [-0.5, -0.25, 0.0, 1.0]);
    let plane = Model::new(&[2, 1, 2]).weight("s", &[1, 2]).node("PRelu", &["x", "s"], "y").import();
    assert!(plane.is_err());
}

#[test]
fn maps_grow_by_whole_factors() {
    let resize = |scales: &[f32], position: &str, rounding: &str| {
        let attributes = vec![text("coordinate_transformation_mode", position), text("nearest_mode", rounding)];
        Model::new(&[1, 1, 2]).floats("s", &[4], scales).with("Resize", &["x", "", "s"], "y", attributes).import()
    };
    let wide = [1.0, 1.0, 2.0, 3.0];
    let repeated = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0].repeat(2);
    for (position, rounding) in [("half_pixel", "round_prefer_floor"), ("asymmetric", "floor")] {
        assert_eq!(output(&resize(&wide, position, rounding).unwrap()), repeated);
    }
    assert!(resize(&wide, "asymmetric", "ceil").is_err());
    assert!(resize(&[1.0, 1.0, 1.5, 2.0], "asymmetric", "floor").is_err());
    let sizes = Model::new(&[1, 1, 2]).ints("n", &[1, 1, 2, 6]).node("Resize", &["x", "", "", "n"], "y").graph();
    assert_eq!(output(&sizes), repeated);
    let old = Model::new(&[1, 1, 2]).opset(9).floats("s", &[4], &wide).node("Upsample", &["x", "s"], "y").graph();
    assert_eq!(output(&old), repeated);
    let linear = Model::new(&[1, 1, 2]).floats("s", &[4], &wide);
    assert!(linear.with("Resize", &["x", "", "s"], "y", vec![text("mode", "linear")]).import().is_err());
}

#[test]
fn transposed_convolutions_keep_the_axes_of_their_weight() {
    let attributes = vec![ints("strides", &[1, 2]), ints("output_padding", &[0, 1])];
    let graph = Model::new(&[2, 1, 2])
        .floats("w", &[2, 1, 1, 2], &[1.0, 10.0, 2.0, 20.0])
        .floats("b", &[1], &[0.5])
        .with("ConvTranspose", &["x", "w", "b"], "y", attributes)
        .graph();
    // x = [[0, 1], [2, 3]]: sums 4 and 7 of the first tap, tenfold of the second, one column more.
    assert_eq!(output(&graph), [4.5, 40.5, 7.5, 70.5, 0.5]);
    let automatic = vec![text("auto_pad", "SAME_UPPER")];
    let refused = Model::new(&[2, 1, 2]).weight("w", &[2, 1, 1, 2]);
    assert!(refused.with("ConvTranspose", &["x", "w"], "y", automatic).import().is_err());
}
