//! What disappears, and what it leaves behind.

use espalier_ir::{Conv, Op};

use super::{Model, int, ints, nodes, op, output, text};

#[test]
fn an_added_constant_becomes_the_bias() {
    let graph = Model::new(&[2])
        .weight("w", &[2, 2])
        .weight("b", &[1, 2])
        .node("MatMul", &["x", "w"], "m")
        .node("Add", &["b", "m"], "y")
        .graph();
    assert_eq!(nodes(&graph), ["m Gemm"]);
    assert_eq!(output(&graph), [1.5 + 0.5, 2.0 + 1.0]);

    let graph = Model::new(&[1, 3, 3])
        .weight("w", &[2, 1, 3, 3])
        .weight("b", &[2])
        .weight("c", &[1, 2, 1, 1])
        .node("Conv", &["x", "w", "b"], "m")
        .node("Sub", &["m", "c"], "y")
        .graph();
    let Op::Conv(Conv { bias: Some(bias), .. }) = op(&graph, "m") else { panic!() };
    assert_eq!(graph.param(bias).as_f32(), [0.0, 0.0]);
    assert_eq!(graph.params().count(), 2, "the old bias is gone");
}

#[test]
fn a_bias_is_not_folded_into_what_others_read() {
    // The other reader comes by another name of the same value.
    let graph = Model::new(&[1, 3, 3])
        .weight("w", &[1, 1, 1, 1])
        .floats("b", &[], &[10.0])
        .node("Conv", &["x", "w"], "m")
        .node("Identity", &["m"], "alias")
        .node("Add", &["alias", "b"], "shifted")
        .node("Add", &["m", "shifted"], "y")
        .graph();
    assert_eq!(nodes(&graph), ["m Conv", "shifted BatchNormalization", "y Add"]);
    assert_eq!(output(&graph), (0..9).map(|i| i as f32 + 10.0).collect::<Vec<_>>());
    // A graph output is a reader.
    let graph = Model::new(&[2])
        .output("m")
        .weight("w", &[2, 2])
        .weight("b", &[2])
        .node("MatMul", &["x", "w"], "m")
        .node("Add", &["m", "b"], "y")
        .graph();
    assert_eq!(nodes(&graph), ["m Gemm", "y BatchNormalization"]);
}

#[test]
fn scaling_by_constants_is_a_normalization() {
    let graph = Model::new(&[2, 1, 2])
        .floats("mean", &[2, 1, 1], &[1.0, 2.0])
        .floats("std", &[1], &[0.5])
        .node("Sub", &["x", "mean"], "a")
        .node("Div", &["a", "std"], "b")
        .node("Mul", &["mean", "b"], "y")
        .graph();
    assert_eq!(output(&graph), [-2.0, 0.0, 0.0, 4.0]);
}

#[test]
fn transpositions_that_undo_each_other_leave_nothing() {
    let graph = Model::new(&[2, 3, 4])
        .with("Transpose", &["x"], "a", vec![ints("perm", &[0, 2, 3, 1])])
        .node("Relu", &["a"], "b")
        .node("Add", &["a", "b"], "c")
        .with("Transpose", &["c"], "y", vec![ints("perm", &[0, 3, 1, 2])])
        .graph();
    assert_eq!(nodes(&graph), ["b Relu", "c Add"]);
    assert_eq!(output(&graph), (0..24).map(|i| 2.0 * i as f32).collect::<Vec<_>>());
}

#[test]
fn a_transposition_before_a_fully_connected_layer_reorders_its_weights() {
    for (reshape, transposed) in [(false, true), (true, false)] {
        // Weight 1 at the position of channel 1, row 0, column 1 in channels-last order.
        let mut weight = [0.0; 8];
        weight[3] = 1.0;
        let model = Model::new(&[2, 2, 2]).node("Relu", &["x"], "r").with(
            "Transpose",
            &["r"],
            "t",
            vec![ints("perm", &[0, 2, 3, 1])],
        );
        let model = match reshape {
            true => model.ints("shape", &[0, -1]).node("Reshape", &["t", "shape"], "f"),
            false => model.node("Flatten", &["t"], "f"),
        };
        let shape = if transposed { [1, 8] } else { [8, 1] };
        let attributes = vec![int("transB", i64::from(transposed))];
        let graph = model.floats("w", &shape, &weight).with("Gemm", &["f", "w"], "y", attributes).graph();
        assert_eq!(nodes(&graph), ["r Relu", "f Flatten", "y Gemm"]);
        assert_eq!(output(&graph), [5.0], "element [1, 0, 1] of [2, 2, 2]");
    }
}

#[test]
fn an_input_takes_the_shape_in_which_it_is_read() {
    let last = Model::new(&[4, 4, 1])
        .weight("w", &[1, 1, 3, 3])
        .with("Transpose", &["x"], "t", vec![ints("perm", &[0, 3, 1, 2])])
        .node("Conv", &["t", "w"], "y")
        .graph();
    assert_eq!(nodes(&last), ["y Conv"]);
    assert_eq!(last.node(last.inputs()[0]).shape, [1, 4, 4]);
    // Three channels would change the order of the values.
    let refused = Model::new(&[4, 4, 3])
        .weight("w", &[1, 3, 3, 3])
        .with("Transpose", &["x"], "t", vec![ints("perm", &[0, 3, 1, 2])])
        .node("Conv", &["t", "w"], "y")
        .import()
        .unwrap_err();
    assert_eq!(refused.iter().map(|d| d.code).collect::<Vec<_>>(), ["layout"]);
    // Read in two shapes, the input keeps one and a node makes the other.
    let both = Model::new(&[9])
        .weight("w", &[1, 1, 1, 1])
        .ints("shape", &[-1, 1, 3, 3])
        .node("Reshape", &["x", "shape"], "image")
        .node("Conv", &["image", "w"], "c")
        .node("Flatten", &["c"], "f")
        .node("Add", &["x", "f"], "y")
        .graph();
    assert_eq!(output(&both), (0..9).map(|i| 1.5 * i as f32).collect::<Vec<_>>());
}

#[test]
fn zero_padding_moves_into_the_window() {
    let padded = |mode: &str| {
        Model::new(&[1, 4, 4]).weight("w", &[1, 1, 3, 3]).ints("pads", &[0, 0, 1, 2, 0, 0, 3, 4]).with(
            "Pad",
            &["x", "pads"],
            "p",
            vec![text("mode", mode)],
        )
    };
    let graph = padded("constant").with("Conv", &["p", "w"], "y", vec![ints("pads", &[1, 0, 0, 1])]).graph();
    let Op::Conv(conv) = op(&graph, "y") else { panic!() };
    assert_eq!([conv.pads.top, conv.pads.left, conv.pads.bottom, conv.pads.right], [2, 2, 3, 5]);
    assert!(padded("reflect").node("Conv", &["p", "w"], "y").import().is_err());

    let pool = |model: Model, from: &str| {
        model
            .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
            .node("Pad", &[from, "pads"], "p")
            .with("MaxPool", &["p"], "y", vec![ints("kernel_shape", &[3, 3])])
            .import()
    };
    assert!(pool(Model::new(&[1, 4, 4]).node("Relu", &["x"], "r"), "r").is_ok());
    // Zeros may exceed values below zero, so they become a layer of their own.
    let real = pool(Model::new(&[1, 4, 4]), "x").unwrap();
    assert_eq!(nodes(&real), ["x.padded Conv", "y MaxPool"]);
    let values: Vec<f32> = (0..16).map(|v| v as f32 - 20.0).collect();
    assert_eq!(espalier_ir::evaluate_output(&real, &[&values])[..4], [0.0; 4]);
    assert_eq!(espalier_ir::evaluate_output(&real, &[&values])[5], -10.0);
    let average = Model::new(&[1, 2, 2])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 0, 0])
        .node("Pad", &["x", "pads"], "p")
        .with("AveragePool", &["p"], "y", vec![ints("kernel_shape", &[2, 2])])
        .graph();
    assert_eq!(output(&average), [0.0, 0.25, 0.5, 1.5]);
}

#[test]
fn computed_shapes_become_constants() {
    let graph = Model::new(&[2, 3, 4])
        .ints("zero", &[0])
        .ints("one", &[1])
        .ints("two", &[2])
        .ints("end", &[i64::MAX])
        .node("Shape", &["x"], "s")
        .node("Slice", &["s", "zero", "one"], "n")
        .node("Gather", &["s", "one"], "c")
        .node("Slice", &["s", "two", "end"], "hw")
        .node("Gather", &["hw", "zero"], "h")
        .with("Gather", &["hw", "one"], "w", vec![])
        .node("Mul", &["h", "w"], "area")
        .with("Concat", &["n", "c", "area"], "shape", vec![int("axis", 0)])
        .node("Reshape", &["x", "shape"], "r")
        .with("Cast", &["r"], "y", vec![int("to", 1)])
        .graph();
    assert_eq!(graph.node(graph.outputs()[0]).shape, [2, 12]);
}

#[test]
fn folding_cannot_outgrow_the_file() {
    let doubled = |times: usize| {
        let mut model = Model::new(&[4]).ints("c0", &[1; 64]);
        for i in 0..times {
            let [from, to] = [i, i + 1].map(|i| format!("c{i}"));
            model = model.with("Concat", &[&from, &from], &to, vec![int("axis", 0)]);
        }
        let last = format!("c{times}");
        model.node("Shape", &[&last], "s").node("Reshape", &["x", "s"], "y").import().unwrap_err()
    };
    let codes = |d: espalier_ir::Diagnostics| d.iter().map(|d| d.code).collect::<Vec<_>>();
    assert_eq!(codes(doubled(5)), ["shape-mismatch"]);
    assert_eq!(codes(doubled(60)), ["model-too-large"]);
    let huge = Model::new(&[4]).ints("s", &[1 << 40, 1 << 20]).node("ConstantOfShape", &["s"], "c");
    assert_eq!(codes(huge.node("Add", &["x", "c"], "y").import().unwrap_err()), ["model-too-large"]);
}
