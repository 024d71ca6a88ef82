//! Models that are quantized already.

use espalier_ir::{Op, Tensor};

use super::{Model, int, ints, nodes, op, output};
use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataType;
use crate::write;

fn bytes(name: &str, element: DataType, dims: &[i64], values: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(element as i32),
        raw_data: Some(values.to_vec()),
        ..Default::default()
    }
}

#[test]
fn dequantized_constants_are_weights() {
    let graph = Model::new(&[2])
        .tensor(bytes("q", DataType::Int8, &[2, 2], &[1, 255, 100, 128]))
        .tensor(bytes("z", DataType::Int8, &[2], &[0, 1]))
        .floats("s", &[2], &[0.5, 2.0])
        .tensor(write::tensor("bq", &Tensor::i32([2], vec![1000, -1000])))
        .floats("bs", &[], &[0.25])
        .with("DequantizeLinear", &["q", "s", "z"], "w", vec![int("axis", 0)])
        .node("DequantizeLinear", &["bq", "bs"], "b")
        .with("Gemm", &["x", "w", "b"], "y", vec![int("transB", 1)])
        .graph();
    assert_eq!(nodes(&graph), ["y Gemm"]);
    let Op::Gemm { weight, bias } = op(&graph, "y") else { panic!() };
    assert_eq!(graph.param(weight).as_f32(), [0.5, -0.5, 198.0, -258.0]);
    assert_eq!(graph.param(bias.unwrap()).as_f32(), [250.0, -250.0]);
}

#[test]
fn unsigned_activations_are_kept_as_signed_ones() {
    let graph = Model::new(&[1, 2, 2])
        .tensor(bytes("z", DataType::Uint8, &[], &[130]))
        .floats("s", &[], &[0.5])
        .node("QuantizeLinear", &["x", "s", "z"], "q")
        .with("MaxPool", &["q"], "p", vec![ints("kernel_shape", &[1, 2])])
        .node("DequantizeLinear", &["p", "s", "z"], "y")
        .graph();
    assert_eq!(op(&graph, "q"), Op::QuantizeLinear { scale: vec![0.5], zero_point: vec![2] });
    assert_eq!(op(&graph, "y"), Op::DequantizeLinear { scale: vec![0.5], zero_point: vec![2] });
    assert_eq!(output(&graph), [1.0, 3.0]);
}

#[test]
fn quantized_values_are_not_taken_for_floats() {
    let quantized = || {
        Model::new(&[3])
            .tensor(bytes("z", DataType::Uint8, &[], &[0]))
            .tensor(bytes("signed", DataType::Int8, &[], &[0]))
            .floats("s", &[], &[1.0])
            .node("QuantizeLinear", &["x", "s", "z"], "q")
    };
    for (op, inputs) in [("Relu", &["q"][..]), ("Identity", &["q"]), ("DequantizeLinear", &["q", "s", "signed"])] {
        assert!(quantized().node(op, inputs, "y").import().is_err(), "{op}");
    }
    for scale in [0.0, -1.0, f32::NAN] {
        let model = Model::new(&[3]).floats("s", &[], &[scale]).node("QuantizeLinear", &["x", "s"], "q");
        assert!(model.node("DequantizeLinear", &["q", "s"], "y").import().is_err(), "{scale}");
    }
}
