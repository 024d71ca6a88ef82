//! A dense array as read from a file, and the limits on its size.

use espalier_ir::Diagnostic;

/// Arrays larger than this many values are refused (1 GiB as floats).
pub(crate) const MAX_VALUES: usize = 1 << 28;
/// More axes than this are refused; no data format of images or features needs them.
pub(crate) const MAX_AXES: usize = 8;

/// Values with their shape, row-major. In data sets the first axis counts the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Extent of every axis; empty for a single number.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`; integers are exact up to 2^24.
    pub values: Vec<f32>,
}

/// Number of values of `shape`, if it is within the limits.
pub(crate) fn checked_len(shape: &[usize], at: &str) -> Result<usize, Diagnostic> {
    let len = shape.iter().try_fold(1usize, |p, d| p.checked_mul(*d));
    match len {
        Some(len) if len <= MAX_VALUES && shape.len() <= MAX_AXES => Ok(len),
        _ => Err(Diagnostic::error(
            "data-too-large",
            at,
            format!("declares shape {shape:?}; at most {MAX_VALUES} values in {MAX_AXES} axes are read"),
        )
        .with_help("use a part of the data set, or check that the file is not damaged")),
    }
}

/// Whole bytes of `shape` with `width` bytes a value, which must be exactly what is there.
pub(crate) fn expect_payload<'a>(
    bytes: &'a [u8],
    shape: &[usize],
    width: usize,
    at: &str,
) -> Result<&'a [u8], Diagnostic> {
    let expected = checked_len(shape, at)? * width;
    if bytes.len() == expected {
        return Ok(bytes);
    }
    let problem = if bytes.len() < expected { "is truncated" } else { "has bytes left over" };
    Err(Diagnostic::error(
        "damaged-data",
        at,
        format!("{problem}: shape {shape:?} takes {expected} bytes, {} follow the header", bytes.len()),
    )
    .with_help("fetch the file again"))
}
