//! Building ONNX messages.

use espalier_ir::{Pads, Tensor, TensorData};

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};

/// A node with one output, which has the name of the node.
pub fn node(op: &str, name: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(name.to_owned()),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![name.to_owned()],
        attribute: attributes,
        ..Default::default()
    }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..Default::default()
    }
}

/// A text attribute.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.into()),
        ..Default::default()
    }
}

/// An attribute that lists integers.
pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.iter().map(|v| *v as i64).collect(),
        ..Default::default()
    }
}

/// The `pads` attribute.
pub fn pads(pads: Pads) -> AttributeProto {
    ints("pads", &[pads.top, pads.left, pads.bottom, pads.right])
}

/// An initializer.
pub fn tensor(name: &str, tensor: &Tensor) -> TensorProto {
    let (element, raw) = match tensor.data() {
        TensorData::F32(values) => (DataType::Float, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        TensorData::I8(values) => (DataType::Int8, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        TensorData::I32(values) => (DataType::Int32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    raw_tensor(name, tensor.shape(), element, raw)
}

/// An initializer that lists 64-bit integers.
pub fn int64_tensor(name: &str, values: &[i64]) -> TensorProto {
    raw_tensor(name, &[values.len()], DataType::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// An initializer that holds one 64-bit integer and has no axes.
pub fn int64_scalar(name: &str, value: i64) -> TensorProto {
    raw_tensor(name, &[], DataType::Int64, value.to_le_bytes().to_vec())
}

fn raw_tensor(name: &str, shape: &[usize], element: DataType, raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: shape.iter().map(|d| *d as i64).collect(),
        data_type: Some(element as i32),
        raw_data: Some(raw),
        ..Default::default()
    }
}

/// Name, type and shape of an input or output; the batch axis is dynamic and called "N".
pub fn value_info(name: &str, sample: &[usize], element: DataType) -> ValueInfoProto {
    let dim = |value| Dimension { value: Some(value), ..Default::default() };
    let batch = dim(dimension::Value::DimParam("N".to_owned()));
    let rest = sample.iter().map(|d| dim(dimension::Value::DimValue(*d as i64)));
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(rest).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type), ..Default::default() }
}
