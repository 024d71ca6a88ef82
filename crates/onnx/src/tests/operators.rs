//! What single operators become.

use espalier_ir::{Conv, Graph, Op, Pads, Pool, evaluate_output};

use super::{Model, int, ints, nodes, op, output, text};
use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataType;
use crate::write;

fn pads_of(op: Op) -> [usize; 4] {
    let (Op::Conv(Conv { pads, .. })
    | Op::MaxPool(Pool { pads, .. })
    | Op::AveragePool { pool: Pool { pads, .. }, .. }) = op
    else {
        panic!("{op:?} has no padding")
    };
    let Pads { top, left, bottom, right } = pads;
    [top, left, bottom, right]
}

/// A window beyond 15 becomes several, along one axis after the other.
#[test]
fn large_maxima_are_taken_in_steps() {
    let attributes = vec![ints("kernel_shape", &[20, 17]), ints("strides", &[20, 2])];
    let graph = Model::new(&[2, 40, 21]).with("MaxPool", &["x"], "y", attributes).graph();
    let kernels = |graph: &Graph| -> Vec<[usize; 2]> {
        let kernel = |n| if let Op::MaxPool(pool) = graph.node(n).op { Some(pool.kernel) } else { None };
        graph.nodes().into_iter().filter_map(kernel).collect()
    };
    assert_eq!(kernels(&graph), [[10, 1], [2, 1], [1, 9], [1, 9]]);
    assert_eq!(graph.node(graph.outputs()[0]).shape, [2, 2, 3]);
    let x: Vec<f32> = (0..2 * 40 * 21).map(|i| (i * 7919 % 1009) as f32).collect();
    let found = evaluate_output(&graph, &[&x]);
    let largest = |c: usize, y: usize, w: usize| {
        let rows = (20 * y..20 * y + 20).flat_map(|r| &x[(c * 40 + r) * 21 + 2 * w..][..17]);
        rows.fold(f32::NEG_INFINITY, |a, b| a.max(*b))
    };
    let expected: Vec<f32> = (0..12).map(|i| largest(i / 6, i / 3 % 2, i % 3)).collect();
    assert_eq!(found, expected);
    let graph = Model::new(&[3, 19, 7]).with("GlobalMaxPool", &["x"], "y", Vec::new()).graph();
    assert_eq!(kernels(&graph), [[10, 1], [10, 1], [1, 7]]);
    assert_eq!(graph.node(graph.outputs()[0]).shape, [3, 1, 1]);
}

#[test]
fn automatic_padding_follows_stride_kernel_and_dilation() {
    // Input 9 x 10, kernel 4 x 3.
    let cases = [
        ("SAME_UPPER", [1, 1], [1, 1], [1, 1, 2, 1]),
        ("SAME_LOWER", [1, 1], [1, 1], [2, 1, 1, 1]),
        ("SAME_UPPER", [2, 2], [1, 1], [1, 0, 2, 1]),
        ("SAME_LOWER", [2, 2], [1, 1], [2, 1, 1, 0]),
        ("SAME_UPPER", [2, 2], [2, 3], [3, 2, 3, 3]),
        ("SAME_UPPER", [5, 5], [1, 1], [0, 0, 0, 0]),
        ("VALID", [1, 1], [1, 1], [0, 0, 0, 0]),
        ("NOTSET", [1, 1], [1, 1], [0, 0, 0, 0]),
    ];
    for (auto_pad, strides, dilations, expected) in cases {
        let attributes = vec![text("auto_pad", auto_pad), ints("strides", &strides), ints("dilations", &dilations)];
        let graph =
            Model::new(&[1, 9, 10]).weight("w", &[1, 1, 4, 3]).with("Conv", &["x", "w"], "y", attributes).graph();
        assert_eq!(pads_of(op(&graph, "y")), expected, "{auto_pad} {strides:?} {dilations:?}");
    }
    let attributes = vec![text("auto_pad", "SAME_LOWER"), ints("strides", &[2, 2]), ints("kernel_shape", &[3, 2])];
    let graph = Model::new(&[1, 9, 10]).with("MaxPool", &["x"], "y", attributes).graph();
    assert_eq!(pads_of(op(&graph, "y")), [1, 0, 1, 0]);
}

#[test]
fn gemm_is_normalized() {
    let graph = Model::new(&[3])
        .weight("w", &[3, 2])
        .weight("b", &[1, 2])
        .with("Gemm", &["x", "w", "b"], "y", vec![write::float("alpha", 2.0), write::float("beta", 4.0)])
        .graph();
    let Op::Gemm { weight, bias } = op(&graph, "y") else { panic!() };
    assert_eq!(graph.param(weight).shape(), [2, 3]);
    assert_eq!(graph.param(weight).as_f32(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    assert_eq!(graph.param(bias.unwrap()).as_f32(), [2.0, 4.0]);
    assert_eq!(graph.param_name(weight), "w");

    let as_it_is = Model::new(&[3])
        .weight("w", &[2, 3])
        .floats("b", &[], &[7.0])
        .with("Gemm", &["x", "w", "b"], "y", vec![int("transB", 1), int("transA", 0)])
        .graph();
    assert_eq!(output(&as_it_is), [0.5 * 2.0 + 3.0 + 7.0, 2.5 + 6.0 + 7.0]);
}

#[test]
fn weights_of_one_name_are_one_parameter() {
    let graph = Model::new(&[2, 4, 4])
        .weight("w", &[2, 2, 1, 1])
        .node("Conv", &["x", "w"], "a")
        .node("Conv", &["a", "w"], "y")
        .graph();
    assert_eq!(graph.params().count(), 1);
}

/// The class at the end of a model is left to the host or the hardware; anywhere else ArgMax is refused.
#[test]
fn a_final_class_is_sought_outside_of_the_graph() {
    let scores = || Model::new(&[3, 1, 1]).node("Flatten", &["x"], "s");
    let graph = scores().with("ArgMax", &["s"], "y", vec![int("axis", 1), int("keepdims", 0)]).graph();
    assert_eq!(evaluate_output(&graph, &[&[1.0, 4.0, 2.0]]), [1.0, 4.0, 2.0]);
    let refused = |model: Model, what: &str| {
        let findings = model.import().unwrap_err().to_string();
        assert!(findings.contains(what) && findings.contains("end the model with the scores"), "{findings}");
    };
    refused(
        scores().with("ArgMax", &["s"], "y", vec![int("axis", 1), int("select_last_index", 1)]),
        "the last of equal",
    );
    let map = Model::new(&[3, 2, 2]).with("ArgMax", &["x"], "y", vec![int("axis", 1)]);
    refused(map, "along an axis of [1, 3, 2, 2]");
    refused(scores().with("ArgMax", &["s"], "a", vec![int("axis", 1)]).node("Relu", &["a"], "y"), "not the end");
}

#[test]
fn clip_takes_bounds_as_attributes_or_inputs() {
    let bounds = |graph: &espalier_ir::Graph| match op(graph, "y") {
        Op::Clip { min, max } => [min, max],
        other => panic!("{other:?}"),
    };
    let attributes = vec![write::float("min", -0.5), write::float("max", f32::MAX)];
    let old = Model::new(&[3]).opset(10).with("Clip", &["x"], "y", attributes).graph();
    assert_eq!(bounds(&old), [-0.5, f32::INFINITY]);
    let new = Model::new(&[3]).floats("high", &[], &[6.0]).node("Clip", &["x", "", "high"], "y").graph();
    assert_eq!(bounds(&new), [f32::NEG_INFINITY, 6.0]);
    assert_eq!(bounds(&Model::new(&[3]).node("Clip", &["x"], "y").graph()), [f32::NEG_INFINITY, f32::INFINITY]);
}

#[test]
fn means_over_height_and_width_in_all_forms() {
    let axes = |list: &[i64], keep| vec![ints("axes", list), int("keepdims", keep)];
    let base = || Model::new(&[2, 2, 3]);
    let attribute = base().with("ReduceMean", &["x"], "y", axes(&[2, -1], 0)).graph();
    let input = base().opset(18).ints("axes", &[3, 2]).with("ReduceMean", &["x", "axes"], "y", vec![]).graph();
    assert_eq!(op(&attribute, "y"), Op::GlobalAveragePool);
    assert_eq!(attribute.node(attribute.outputs()[0]).shape, [2]);
    assert_eq!(input.node(input.outputs()[0]).shape, [2, 1, 1]);
    for graph in [attribute, input] {
        assert_eq!(output(&graph), [2.5, 8.5]);
    }
    let rows = base().with("ReduceMean", &["x"], "y", axes(&[2], 1)).graph();
    assert_eq!(output(&rows), [1.5, 2.5, 3.5, 7.5, 8.5, 9.5]);
}

#[test]
fn ceil_mode_is_taken_if_it_changes_nothing() {
    let pool = |size: usize| {
        let attributes = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), int("ceil_mode", 1)];
        Model::new(&[1, size, size]).with("MaxPool", &["x"], "y", attributes).import()
    };
    assert!(pool(7).is_ok());
    let finding = pool(8).unwrap_err();
    assert!(finding.to_string().contains("ceil_mode adds a partial window"), "{finding}");
}

#[test]
fn softmax_has_to_cover_the_sample() {
    let soft = |opset, sample: &[usize], attributes| {
        Model::new(sample).opset(opset).with("Softmax", &["x"], "y", attributes).import().is_ok()
    };
    assert!(soft(13, &[5], vec![]));
    assert!(soft(13, &[5, 1, 1], vec![int("axis", -3)]));
    assert!(soft(11, &[2, 3, 4], vec![]));
    assert!(!soft(13, &[2, 3, 4], vec![int("axis", 1)]));
    assert!(!soft(13, &[5], vec![int("axis", 0)]));
}

#[test]
fn weights_may_be_half_precision_and_listed_as_inputs() {
    let half = TensorProto {
        name: Some("w".to_owned()),
        dims: vec![1, 2],
        data_type: Some(DataType::Float16 as i32),
        int32_data: vec![0x3c00, 0xc000],
        ..Default::default()
    };
    let mut model = Model::new(&[2]).tensor(half).with("Gemm", &["x", "w"], "y", vec![int("transB", 1)]);
    model.graph.input.insert(0, write::value_info("w", &[2], DataType::Float16));
    let graph = model.graph();
    assert_eq!(graph.inputs().len(), 1);
    assert_eq!(output(&graph), [-2.0]);
}

#[test]
fn names_come_from_the_node_else_from_its_output() {
    let mut relu = write::node("Relu", "a", &["x"], vec![]);
    relu.name = Some("first".to_owned());
    let mut again = write::node("Relu", "b", &["a"], vec![]);
    again.name = Some("first".to_owned());
    let mut unnamed = write::node("Relu", "y", &["b"], vec![]);
    unnamed.name = None;
    let graph = Model::new(&[3]).proto(relu).proto(again).proto(unnamed).graph();
    assert_eq!(nodes(&graph), ["first Relu", "first_1 Relu", "y Relu"]);
}

#[test]
fn only_what_the_outputs_need_is_imported() {
    let graph = Model::new(&[3]).node("Sigmoid", &["x"], "unused").node("Relu", &["x"], "y").graph();
    assert_eq!(nodes(&graph), ["y Relu"]);
    // Nodes out of order are read in order.
    let graph = Model::new(&[3]).node("Relu", &["a"], "y").node("Relu", &["x"], "a").graph();
    assert_eq!(nodes(&graph), ["a Relu", "y Relu"]);
}

#[test]
fn windows_over_a_line_are_windows_of_height_one() {
    let graph = Model::new(&[2, 6])
        .weight("w", &[3, 2, 3])
        .floats("one", &[3], &[1.0; 3])
        .floats("none", &[3], &[0.0; 3])
        .with("Conv", &["x", "w"], "c", vec![ints("pads", &[1, 1]), ints("strides", &[2])])
        .node("BatchNormalization", &["c", "one", "none", "none", "one"], "n")
        .node("Relu", &["n"], "r")
        .node("Add", &["r", "n"], "a")
        .with("MaxPool", &["a"], "m", vec![ints("kernel_shape", &[3])])
        .node("GlobalAveragePool", &["m"], "g")
        .with("Flatten", &["g"], "y", vec![int("axis", 1)])
        .graph();
    let expected = ["c Conv", "n BatchNormalization", "r Relu", "a Add", "m MaxPool", "g GlobalAveragePool"];
    assert_eq!(nodes(&graph)[..6], expected);
    let Op::Conv(conv) = op(&graph, "c") else { panic!() };
    assert_eq!(graph.param(conv.weight).shape(), [3, 2, 1, 3]);
    assert_eq!((pads_of(Op::Conv(conv.clone())), conv.stride), ([0, 1, 0, 1], [1, 2]));
    // Weights 0.5 to 3: the window over 3, 4, 5 and 9, 10, 11, twice (ReLU and sum).
    let window = 3.0 * 0.5 + 4.0 + 5.0 * 1.5 + 9.0 * 2.0 + 10.0 * 2.5 + 11.0 * 3.0;
    assert!((output(&graph)[0] - 2.0 * window).abs() < 1e-2);
    let open = Model::new(&[2, 6]).weight("w", &[3, 2, 3]).node("Conv", &["x", "w"], "y").graph();
    assert_eq!(open.node(open.outputs()[0]).shape, [3, 4]);
    let mean = Model::new(&[2, 3]).with("ReduceMean", &["x"], "y", vec![ints("axes", &[2]), int("keepdims", 0)]);
    assert_eq!(output(&mean.graph()), [1.0, 4.0]);
}

#[test]
fn a_matrix_at_every_token_is_a_convolution() {
    let graph = Model::new(&[2, 3])
        .ints("rows", &[2, 3])
        .weight("w", &[2, 3])
        .weight("b", &[2])
        .ints("samples", &[1, 2, 2])
        .node("Reshape", &["x", "rows"], "r")
        .with("Gemm", &["r", "w", "b"], "g", vec![int("transB", 1), write::float("alpha", 2.0)])
        .node("Reshape", &["g", "samples"], "y")
        .graph();
    let Op::Conv(Conv { weight, .. }) = op(&graph, "g") else { panic!("{graph}") };
    assert_eq!(graph.param(weight).shape(), [2, 3, 1, 1]);
    // Tokens (0, 1, 2) and (3, 4, 5); weights (1, 2, 3) and (4, 5, 6) with alpha, biases 0.5 and 1.
    assert_eq!(output(&graph), [8.5, 18.0, 26.5, 63.0]);
}
