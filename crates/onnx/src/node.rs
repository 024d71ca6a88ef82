//! One ONNX node: its name and its attributes, read with checks.

use espalier_ir::Diagnostic;

use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto, TensorProto};

/// Largest kernel, stride, dilation or padding: a window larger than this fits no accelerator.
const MAX_WINDOW: i64 = 4096;

/// A node of the model.
pub struct Node<'a> {
    /// The message.
    pub proto: &'a NodeProto,
    /// Name in the model, or that of the output if the node has none.
    pub name: String,
    /// Version of the operator set.
    pub opset: i64,
}

impl<'a> Node<'a> {
    /// Operator, as ONNX calls it.
    pub fn op(&self) -> &'a str {
        self.proto.op_type()
    }

    /// The place of a finding.
    pub fn at(&self) -> String {
        format!("node '{}' ({})", self.name, self.op())
    }

    /// A finding about this node.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.at(), message)
    }

    /// A finding about a use of the operator that this importer does not take.
    pub fn unsupported(&self, message: impl Into<String>) -> Diagnostic {
        self.error("unsupported-operator", message)
    }

    /// Name of an input; `None` if it is absent or empty, which ONNX treats alike.
    pub fn input(&self, index: usize) -> Option<&'a str> {
        self.proto.input.get(index).map(String::as_str).filter(|n| !n.is_empty())
    }

    fn attribute(&self, name: &str, kind: AttributeType) -> Result<Option<&'a AttributeProto>, Diagnostic> {
        let Some(attribute) = self.proto.attribute.iter().find(|a| a.name() == name) else { return Ok(None) };
        if !attribute.ref_attr_name().is_empty() {
            return Err(self.error("invalid-attribute", format!("attribute '{name}' refers to a function")));
        }
        // Files of the first IR version name no type.
        match attribute.r#type() {
            AttributeType::Undefined => Ok(Some(attribute)),
            found if found == kind => Ok(Some(attribute)),
            found => Err(self.error(
                "invalid-attribute",
                format!("attribute '{name}' has type {}, not {}", found.as_str_name(), kind.as_str_name()),
            )),
        }
    }

    /// True if the attribute is present, whatever it holds.
    pub fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|a| a.name() == name)
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, Diagnostic> {
        Ok(self.attribute(name, AttributeType::Int)?.map_or(default, AttributeProto::i))
    }

    /// A flag: 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Diagnostic> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.error("invalid-attribute", format!("attribute '{name}' is {other}, not 0 or 1"))),
        }
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Result<Option<f32>, Diagnostic> {
        Ok(self.attribute(name, AttributeType::Float)?.map(AttributeProto::f))
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Diagnostic> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    /// A list of floats.
    pub fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, Diagnostic> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, Diagnostic> {
        Ok(self.attribute(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// A text attribute.
    pub fn text(&self, name: &str, default: &'static str) -> Result<&'a str, Diagnostic> {
        match self.attribute(name, AttributeType::String)? {
            None => Ok(default),
            Some(a) => std::str::from_utf8(a.s())
                .map_err(|_| self.error("invalid-attribute", format!("attribute '{name}' is no UTF-8 text"))),
        }
    }

    /// A list of texts; what is no UTF-8 shows as such.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Diagnostic> {
        let attribute = self.attribute(name, AttributeType::Strings)?;
        Ok(attribute.map(|a| a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()))
    }

    /// `N` extents of a window, each at least `least`.
    pub fn extents<const N: usize>(
        &self,
        name: &str,
        least: i64,
        default: Option<[usize; N]>,
    ) -> Result<[usize; N], Diagnostic> {
        let Some(values) = self.ints(name)? else {
            return default.ok_or_else(|| self.error("invalid-attribute", format!("attribute '{name}' is missing")));
        };
        let wrong = || {
            let message = format!("attribute '{name}' is {values:?}, not {N} values from {least} to {MAX_WINDOW}");
            self.error("invalid-attribute", message)
        };
        let values: [i64; N] = values.try_into().map_err(|_| wrong())?;
        if values.iter().any(|v| !(least..=MAX_WINDOW).contains(v)) {
            return Err(wrong());
        }
        Ok(values.map(|v| v as usize))
    }

    /// An axis counted from the front; negative ones count from the back.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Diagnostic> {
        let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        from_front
            .and_then(|a| usize::try_from(a).ok())
            .filter(|a| *a < rank)
            .ok_or_else(|| self.error("invalid-attribute", format!("axis {axis} of a tensor with {rank} axes")))
    }
}
