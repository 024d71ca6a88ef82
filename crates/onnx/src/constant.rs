//! Values known at import: initializers and what is computed from them.

use std::rc::Rc;

use espalier_ir::Diagnostic;

use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataLocation;
pub use crate::proto::tensor_proto::DataType;

/// Values of a constant, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// All floating-point types.
    Float(Vec<f32>),
    /// All integers and booleans.
    Int(Vec<i64>),
}

/// A tensor whose values are known.
#[derive(Debug, Clone)]
pub struct Constant {
    /// Extent of every axis; the product is the number of values.
    pub shape: Vec<usize>,
    /// Type in the model.
    pub element: DataType,
    /// The values.
    pub data: Rc<Data>,
}

impl Constant {
    /// A constant of floats.
    pub fn float(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Constant { shape, element: DataType::Float, data: Rc::new(Data::Float(values)) }
    }

    /// A constant of 64-bit integers.
    pub fn int(shape: Vec<usize>, values: Vec<i64>) -> Self {
        Constant { shape, element: DataType::Int64, data: Rc::new(Data::Int(values)) }
    }

    /// The same values under another shape with as many elements.
    pub fn reshaped(&self, shape: Vec<usize>) -> Self {
        Constant { shape, ..self.clone() }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match &*self.data {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }

    /// The values picked by `indices`, under a new shape.
    pub fn picked(&self, shape: Vec<usize>, indices: impl Iterator<Item = usize>) -> Self {
        let data = match &*self.data {
            Data::Float(v) => Data::Float(indices.map(|i| v[i]).collect()),
            Data::Int(v) => Data::Int(indices.map(|i| v[i]).collect()),
        };
        Constant { shape, element: self.element, data: Rc::new(data) }
    }

    /// The values, if they are floats.
    pub fn floats(&self) -> Option<&[f32]> {
        match &*self.data {
            Data::Float(values) => Some(values),
            Data::Int(_) => None,
        }
    }

    /// The values, if they are integers.
    pub fn ints(&self) -> Option<&[i64]> {
        match &*self.data {
            Data::Int(values) => Some(values),
            Data::Float(_) => None,
        }
    }

    /// Values of an initializer or of a tensor attribute.
    ///
    /// # Errors
    /// If the values are not in the file, do not fill the shape, or have no numeric type.
    pub fn from_proto(tensor: &TensorProto, at: &str) -> Result<Self, Diagnostic> {
        let wrong = |message: String| Diagnostic::error("invalid-tensor", at, message);
        if tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty() {
            return Err(Diagnostic::error("external-data", at, "the values are kept in another file")
                .with_help("save the model with all values inside (onnx.save(..., save_as_external_data=False))"));
        }
        if tensor.segment.is_some() {
            return Err(wrong("is split into segments".to_owned()));
        }
        let element = DataType::try_from(tensor.data_type.unwrap_or(0))
            .map_err(|_| wrong(format!("has unknown element type {}", tensor.data_type())))?;
        let shape = shape_of(&tensor.dims).ok_or_else(|| wrong(format!("has impossible shape {:?}", tensor.dims)))?;
        let count: usize = shape.iter().product();
        let data = values(tensor, element)
            .ok_or_else(|| wrong(format!("has unsupported element type {}", element.as_str_name())))?;
        let constant = Constant { shape, element, data: Rc::new(data) };
        if constant.len() != count {
            let held = constant.len();
            return Err(wrong(format!("has shape {:?} but {held} values", constant.shape)));
        }
        Ok(constant)
    }
}

/// Extents as unsigned numbers, if they are and their product is.
fn shape_of(dims: &[i64]) -> Option<Vec<usize>> {
    let shape: Vec<usize> = dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
    // Zero extents must not hide an overflow of the others.
    shape.iter().filter(|d| **d != 0).try_fold(1usize, |p, d| p.checked_mul(*d))?;
    Some(shape)
}

/// All values that the message holds, however many.
fn values(tensor: &TensorProto, element: DataType) -> Option<Data> {
    if let Some(raw) = &tensor.raw_data
        && !raw.is_empty()
    {
        return raw_values(raw, element);
    }
    let small = &tensor.int32_data;
    Some(match element {
        DataType::Float => Data::Float(tensor.float_data.clone()),
        DataType::Double => Data::Float(tensor.double_data.iter().map(|v| *v as f32).collect()),
        DataType::Float16 => Data::Float(small.iter().map(|v| half(*v as u16)).collect()),
        DataType::Bfloat16 => Data::Float(small.iter().map(|v| brain(*v as u16)).collect()),
        DataType::Int64 => Data::Int(tensor.int64_data.clone()),
        DataType::Uint32 | DataType::Uint64 => {
            Data::Int(tensor.uint64_data.iter().map(|v| wrap(*v as i64, element)).collect())
        }
        DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16 | DataType::Int32 | DataType::Bool => {
            Data::Int(small.iter().map(|v| wrap(i64::from(*v), element)).collect())
        }
        _ => return None,
    })
}

fn raw_values(raw: &[u8], element: DataType) -> Option<Data> {
    fn read<const N: usize, T>(raw: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        // A trailing fraction of a value makes one value too many, so that the count differs.
        let mut values: Vec<T> = raw.as_chunks::<N>().0.iter().map(|c| convert(*c)).collect();
        if !raw.len().is_multiple_of(N) {
            values.push(convert([0; N]));
        }
        values
    }
    Some(match element {
        DataType::Float => Data::Float(read(raw, f32::from_le_bytes)),
        DataType::Double => Data::Float(read(raw, |b| f64::from_le_bytes(b) as f32)),
        DataType::Float16 => Data::Float(read(raw, |b| half(u16::from_le_bytes(b)))),
        DataType::Bfloat16 => Data::Float(read(raw, |b| brain(u16::from_le_bytes(b)))),
        DataType::Int8 => Data::Int(read(raw, |b| i64::from(i8::from_le_bytes(b)))),
        DataType::Uint8 | DataType::Bool => Data::Int(raw.iter().map(|b| i64::from(*b)).collect()),
        DataType::Int16 => Data::Int(read(raw, |b| i64::from(i16::from_le_bytes(b)))),
        DataType::Uint16 => Data::Int(read(raw, |b| i64::from(u16::from_le_bytes(b)))),
        DataType::Int32 => Data::Int(read(raw, |b| i64::from(i32::from_le_bytes(b)))),
        DataType::Uint32 => Data::Int(read(raw, |b| i64::from(u32::from_le_bytes(b)))),
        DataType::Int64 | DataType::Uint64 => Data::Int(read(raw, i64::from_le_bytes)),
        _ => return None,
    })
}

/// An integer as the type stores it.
pub fn wrap(value: i64, element: DataType) -> i64 {
    match element {
        DataType::Int8 => i64::from(value as i8),
        DataType::Uint8 => i64::from(value as u8),
        DataType::Int16 => i64::from(value as i16),
        DataType::Uint16 => i64::from(value as u16),
        DataType::Int32 => i64::from(value as i32),
        DataType::Uint32 => i64::from(value as u32),
        DataType::Bool => i64::from(value != 0),
        _ => value,
    }
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(bits & 0x3ff);
    let magnitude = match bits >> 10 & 0x1f {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2f32.powi(i32::from(exponent) - 15),
    };
    sign * magnitude
}

/// The upper half of single precision.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[i64], element: DataType, raw: &[u8]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(element as i32),
            raw_data: Some(raw.to_vec()),
            ..Default::default()
        }
    }

    #[test]
    fn half_precision_covers_all_classes() {
        let cases = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2f32.powi(-14)),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
            (0x3555, 0.333_251_95),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(brain(0x3f80), 1.0);
    }

    #[test]
    fn sizes_are_checked_against_the_bytes() {
        let read = |t| Constant::from_proto(&t, "t");
        assert_eq!(read(tensor(&[2], DataType::Int8, &[255, 1])).unwrap().ints(), Some(&[-1, 1][..]));
        assert_eq!(read(tensor(&[2], DataType::Uint8, &[255, 1])).unwrap().ints(), Some(&[255, 1][..]));
        assert_eq!(read(tensor(&[], DataType::Double, &2.5f64.to_le_bytes())).unwrap().floats(), Some(&[2.5][..]));
        assert!(read(tensor(&[1], DataType::Float, &[0, 0, 128, 63, 0])).is_err());
        assert!(read(tensor(&[2], DataType::Float, &[0, 0, 128, 63])).is_err());
        assert!(read(tensor(&[-1], DataType::Float, &[0, 0, 128, 63])).is_err());
        assert!(read(tensor(&[i64::MAX, i64::MAX, 0], DataType::Float, &[])).is_err());
        assert!(read(tensor(&[i64::MAX], DataType::Float, &[0; 4])).is_err());
        assert!(read(tensor(&[1], DataType::Complex64, &[0; 8])).is_err());
        assert!(read(tensor(&[0], DataType::Float, &[])).is_ok());
    }
}
