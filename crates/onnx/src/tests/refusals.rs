//! Models that cannot be imported: each reason has its code and its place.

use espalier_ir::Diagnostics;

use super::{Model, int, ints, text};
use crate::proto::{NodeProto, SparseTensorProto, StringStringEntryProto, TensorProto};
use crate::write;

fn codes(findings: &Diagnostics) -> Vec<(&str, &str)> {
    findings.iter().map(|d| (d.code, d.at.as_str())).collect()
}

fn refused(model: Model, code: &str, at: &str) {
    let findings = model.import().map(|g| panic!("{code}: imported\n{g}")).unwrap_err();
    assert_eq!(codes(&findings), [(code, at)], "{findings}");
}

#[test]
fn unsupported_operators_are_listed_together() {
    let foreign = NodeProto { domain: Some("com.example".to_owned()), ..write::node("Relu", "f", &["x"], vec![]) };
    let findings = Model::new(&[1, 4, 4])
        .proto(foreign)
        .node("Loop", &["f"], "a")
        .node("LogSoftmax", &["a"], "b")
        .node("Loop", &["b"], "y")
        .import()
        .unwrap_err();
    let expected = [("f", "Relu"), ("a", "Loop"), ("b", "LogSoftmax"), ("y", "Loop")]
        .map(|(name, op)| ("unsupported-operator", format!("node '{name}' ({op})")));
    assert_eq!(codes(&findings), expected.iter().map(|(c, a)| (*c, a.as_str())).collect::<Vec<_>>());
    let help: Vec<&str> = findings.iter().map(|d| d.help.as_deref().unwrap_or_default()).collect();
    assert!(help[0].contains("BatchNormalization, Cast, Clip"));
    assert!(help[2].contains("logits"));
    assert_eq!(help[3], "", "said once");
}

#[test]
fn damaged_wiring() {
    refused(Model::new(&[3]).node("Relu", &["nowhere"], "y"), "missing-value", "node 'y' (Relu)");
    refused(Model::new(&[3]), "missing-value", "output 'y'");
    refused(Model::new(&[3]).node("Relu", &["x", "x"], "y"), "wrong-arity", "node 'y' (Relu)");
    refused(Model::new(&[3]).node("Add", &["x", ""], "y"), "wrong-arity", "node 'y' (Add)");
    refused(Model::new(&[3]).node("Relu", &["y"], "y"), "cycle", "node 'y'");
    let twice = Model::new(&[3]).node("Relu", &["x"], "y").node("Clip", &["x"], "y");
    refused(twice, "duplicate-name", "value 'y'");
    let twice = Model::new(&[3]).ints("c", &[0]).ints("c", &[1]).node("Relu", &["x"], "y");
    refused(twice, "duplicate-name", "initializer 'c'");
    let mut mask = write::node("Dropout", "y", &["x"], vec![]);
    mask.output.push("mask".to_owned());
    refused(Model::new(&[3]).output("mask").proto(mask), "unsupported-operator", "node 'y' (Dropout)");
}

#[test]
fn attributes_out_of_range() {
    let conv =
        |attribute| Model::new(&[1, 8, 8]).weight("w", &[1, 1, 3, 3]).with("Conv", &["x", "w"], "y", vec![attribute]);
    let wrong = [
        ints("pads", &[-1, 0, 0, 0]),
        ints("pads", &[0, 0]),
        ints("pads", &[i64::MAX, 0, 0, 0]),
        ints("strides", &[0, 1]),
        ints("strides", &[-1, 1]),
        ints("dilations", &[1, i64::MIN]),
        ints("kernel_shape", &[3, 4]),
        int("group", -1),
        int("strides", 1),
        text("auto_pad", "SAME"),
    ];
    for attribute in wrong {
        refused(conv(attribute), "invalid-attribute", "node 'y' (Conv)");
    }
    refused(conv(int("group", 3)), "shape-mismatch", "node 'y' (Conv)");
    refused(conv(int("group", 0)), "shape-mismatch", "node 'y' (Conv)");
    refused(conv(ints("dilations", &[4, 4])), "shape-mismatch", "node 'y' (Conv)");
    let perm = |axes: &[i64]| Model::new(&[3, 4]).with("Transpose", &["x"], "y", vec![ints("perm", axes)]);
    refused(perm(&[0, 1, 1]), "invalid-attribute", "node 'y' (Transpose)");
    refused(perm(&[0, 1, 7]), "invalid-attribute", "node 'y' (Transpose)");
    for shape in [&[-1, -1][..], &[0, 5], &[-2, 12], &[0, 0, 0, 0], &[i64::MAX, i64::MAX], &[0, -1, 0, 0]] {
        let model = Model::new(&[3, 4]).ints("s", shape).node("Reshape", &["x", "s"], "y");
        refused(model, "shape-mismatch", "node 'y' (Reshape)");
    }
}

#[test]
fn inputs_that_are_not_samples_of_floats() {
    let input = |change: &dyn Fn(&mut crate::proto::ValueInfoProto)| {
        let mut model = Model::new(&[3]).node("Relu", &["x"], "y");
        change(&mut model.graph.input[0]);
        model
    };
    refused(input(&|i| i.r#type = None), "input-shape", "input 'x'");
    refused(input(&|i| *i = write::value_info("x", &[], crate::constant::DataType::Float)), "input-shape", "input 'x'");
    refused(
        input(&|i| *i = write::value_info("x", &[3], crate::constant::DataType::Uint8)),
        "input-shape",
        "input 'x'",
    );
    refused(
        input(&|i| *i = write::value_info("x", &[0, 3], crate::constant::DataType::Float)),
        "input-shape",
        "input 'x'",
    );
    refused(
        input(&|i| *i = write::value_info("x", &[1 << 40], crate::constant::DataType::Float)),
        "input-shape",
        "input 'x'",
    );
}

#[test]
fn values_that_are_not_in_the_file() {
    let external = TensorProto {
        name: Some("w".to_owned()),
        dims: vec![2, 2],
        data_type: Some(1),
        external_data: vec![StringStringEntryProto { key: Some("location".into()), value: Some("w.bin".into()) }],
        ..Default::default()
    };
    let model = |tensor| Model::new(&[2]).tensor(tensor).node("MatMul", &["x", "w"], "y");
    refused(model(external), "external-data", "initializer 'w'");
    let short = TensorProto {
        name: Some("w".to_owned()),
        dims: vec![1 << 20, 1 << 20],
        data_type: Some(1),
        raw_data: Some(vec![0; 16]),
        ..Default::default()
    };
    refused(model(short), "invalid-tensor", "initializer 'w'");
    let mut sparse = Model::new(&[2]).node("MatMul", &["x", "w"], "y");
    let values = TensorProto { name: Some("w".to_owned()), ..Default::default() };
    sparse.graph.sparse_initializer.push(SparseTensorProto { values: Some(values), ..Default::default() });
    let findings = sparse.import().unwrap_err();
    assert_eq!(codes(&findings)[0], ("sparse-tensor", "initializer 'w'"));
    let diverged = Model::new(&[1]).floats("w", &[1, 1], &[f32::NAN]).node("MatMul", &["x", "w"], "y");
    refused(diverged, "non-finite-weight", "parameter 'w'");
}

#[test]
fn files_that_are_no_models() {
    for bytes in [&b""[..], b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"not a model", &[0xff; 64], &[0; 64]] {
        assert!(crate::import(bytes).is_err(), "{bytes:?}");
    }
    let old = Model::new(&[3]).opset(6).node("Relu", &["x"], "y");
    refused(old, "unsupported-opset", "model");
}

#[test]
fn layers_that_need_other_forms() {
    let conv = Model::new(&[3, 8, 8, 8]).weight("w", &[4, 3, 3, 3, 3]).node("Conv", &["x", "w"], "y");
    refused(conv, "unsupported-operator", "node 'y' (Conv)");
    let computed = Model::new(&[3]).node("MatMul", &["x", "x"], "y");
    refused(computed, "unsupported-operator", "node 'y' (MatMul)");
    let quotient = Model::new(&[3]).node("Div", &["x", "x"], "y");
    refused(quotient, "unsupported-operator", "node 'y' (Div)");
    let plane = Model::new(&[2, 2, 2]).weight("c", &[2, 2]).node("Mul", &["x", "c"], "y");
    refused(plane, "unsupported-operator", "node 'y' (Mul)");
    let samples = Model::new(&[2, 2]).with("Concat", &["x", "x"], "y", vec![int("axis", 0)]);
    refused(samples, "batch-axis", "node 'y' (Concat)");
    let first = Model::new(&[3]).with("Transpose", &["x"], "y", vec![ints("perm", &[1, 0])]);
    refused(first, "batch-axis", "node 'y' (output)");
}
