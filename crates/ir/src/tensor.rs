//! Constant data: shape and values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ParamId;

/// Values of a [`Tensor`], row-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 8-bit signed integers.
    I8(Vec<i8>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
}

/// A constant with its shape; the last axis is contiguous.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// One tensor per parameter: gradients, masks, new weights.
pub type TensorMap = BTreeMap<ParamId, Tensor>;

impl Tensor {
    /// A float tensor.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`: a bug of the caller.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self::new(shape.into(), values.len(), TensorData::F32(values))
    }

    /// An int8 tensor. Panics like [`Tensor::f32`].
    pub fn i8(shape: impl Into<Vec<usize>>, values: Vec<i8>) -> Self {
        Self::new(shape.into(), values.len(), TensorData::I8(values))
    }

    /// An int32 tensor. Panics like [`Tensor::f32`].
    pub fn i32(shape: impl Into<Vec<usize>>, values: Vec<i32>) -> Self {
        Self::new(shape.into(), values.len(), TensorData::I32(values))
    }

    fn new(shape: Vec<usize>, len: usize, data: TensorData) -> Self {
        assert_eq!(shape.iter().product::<usize>(), len, "shape {shape:?} does not hold {len} values");
        Tensor { shape, data }
    }

    /// Extent of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if it holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The values as floats.
    ///
    /// # Panics
    /// If the tensor is not a float tensor; parameters of a [`crate::Graph`] outside
    /// quantize / dequantize nodes always are.
    pub fn as_f32(&self) -> &[f32] {
        match &self.data {
            TensorData::F32(values) => values,
            other => panic!("float tensor expected, found {other:?}"),
        }
    }

    /// The values as floats, to change. Panics like [`Tensor::as_f32`].
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        match &mut self.data {
            TensorData::F32(values) => values,
            other => panic!("float tensor expected, found {other:?}"),
        }
    }

    /// Bytes that the values take.
    pub fn bytes(&self) -> usize {
        self.len()
            * match self.data {
                TensorData::I8(_) => 1,
                TensorData::F32(_) | TensorData::I32(_) => 4,
            }
    }
}
