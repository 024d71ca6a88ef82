//! Bytes to protobuf messages, with a bound on what decoding may allocate.

use espalier_ir::Diagnostic;
use prost::Message;

use crate::proto::ModelProto;

/// Most protobuf messages in one file. An empty message takes 2 bytes in the file but up to about
/// 1 KiB in memory; large networks have some ten thousand messages.
const MAX_MESSAGES: usize = 1 << 16;

/// Deepest nesting, that of prost.
const MAX_DEPTH: usize = 100;

/// Message types that contain messages; all others are `Leaf`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TypeVariant,
    Shape,
    Training,
    Function,
    Annotation,
    Device,
    Sharding,
    ShardedDim,
    Leaf,
}

impl Kind {
    /// Type of the message in a field, if the field holds one (`proto/onnx.proto`).
    fn field(self, number: u64) -> Option<Kind> {
        use Kind::*;
        Some(match (self, number) {
            (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Graph,
            (Model, 8 | 14 | 26) => Leaf,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Graph | Function, n) if n == if self == Graph { 1 } else { 7 } => Node,
            (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
            (Graph, 15) | (Attribute, 22 | 23) => Sparse,
            (Graph, 11..=13) | (Function, 12) => ValueInfo,
            (Graph, 14) => Annotation,
            (Graph, 16) | (Node, 9) | (Tensor, 3 | 13 | 16) | (Annotation, 2) | (ValueInfo, 4) => Leaf,
            (Training, 3 | 4) | (Function, 9 | 14) | (ShardedDim, 2) | (Sharding, 3) | (Shape, 1) => Leaf,
            (Node, 5) | (Function, 11) => Attribute,
            (Node, 10) => Device,
            (Device, 2) => Sharding,
            (Sharding, 4) => ShardedDim,
            (ValueInfo, 2) | (Attribute, 14 | 15) => Type,
            (Type, 1 | 4 | 5 | 7 | 8 | 9) => TypeVariant,
            // Sequence, Map and Optional hold types where Tensor holds a shape; one table for both
            // counts the same messages.
            (TypeVariant, 1) => Type,
            (TypeVariant, 2) => Shape,
            _ => return None,
        })
    }
}

/// Decodes a model.
///
/// # Errors
/// If the bytes are no protobuf message of that type, or hold too many messages.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, Diagnostic> {
    let broken = |what: String| {
        Diagnostic::error("invalid-model", "model", what)
            .with_help("the file is truncated, damaged or not an ONNX model; export it again")
    };
    let mut messages = 0;
    count(bytes, Kind::Model, 0, &mut messages).map_err(|e| broken(e.to_owned()))?;
    if messages > MAX_MESSAGES {
        return Err(broken(format!("the model has more than {MAX_MESSAGES} nodes, attributes and tensors")));
    }
    ModelProto::decode(bytes).map_err(|e| broken(e.to_string()))
}

/// Counts messages, stopping once there are too many.
fn count(mut bytes: &[u8], kind: Kind, depth: usize, messages: &mut usize) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("messages are nested too deeply");
    }
    while !bytes.is_empty() && *messages <= MAX_MESSAGES {
        let key = varint(&mut bytes)?;
        let len = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes)?,
            5 => 4,
            _ => return Err("unknown protobuf wire type"),
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (field, rest) = bytes.split_at_checked(len).ok_or("the file ends in the middle of a field")?;
        bytes = rest;
        if key & 7 == 2
            && let Some(inner) = kind.field(key >> 3)
        {
            *messages += 1;
            count(field, inner, depth + 1, messages)?;
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("the file ends in the middle of a field")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is longer than 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{GraphProto, NodeProto};

    fn model(nodes: usize) -> Vec<u8> {
        let node = vec![NodeProto::default(); nodes];
        ModelProto { graph: Some(GraphProto { node, ..Default::default() }), ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn a_small_file_cannot_claim_much_memory() {
        assert_eq!(decode(&model(1000)).unwrap().graph.unwrap().node.len(), 1000);
        let bomb = model(MAX_MESSAGES);
        assert!(bomb.len() < 200_000);
        assert!(decode(&bomb).unwrap_err().message.contains("more than"));
    }

    #[test]
    fn every_cut_of_a_file_is_refused_or_decoded() {
        let bytes = model(10);
        assert!((0..bytes.len()).filter(|n| decode(&bytes[..*n]).is_err()).count() > bytes.len() / 2);
    }
}
