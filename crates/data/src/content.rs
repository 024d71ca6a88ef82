//! Recognition of formats by content.

use espalier_ir::Diagnostic;

use crate::{Array, cifar, gunzip, idx, npy, npz, picture};

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// One array: inputs or labels, as the user says.
    Array(Array),
    /// Inputs with their labels, if the format has them.
    Pair(Array, Option<Array>),
    /// An encoded image, to be decoded with the number of channels that the model takes.
    Image(Vec<u8>),
}

/// Reads a file of any supported format; gzip is undone first. `part` is as in [`crate::parse_npz`].
///
/// # Errors
/// If the format is unknown or the file is damaged or too large.
pub fn parse(bytes: &[u8], at: &str, part: Option<&str>) -> Result<Content, Diagnostic> {
    let bytes = gunzip(bytes, at)?;
    if npy::is_npy(&bytes) {
        return npy::parse_npy(&bytes, at).map(Content::Array);
    }
    if npz::is_npz(&bytes) {
        return npz::parse_npz(&bytes, at, part).map(|(inputs, labels)| Content::Pair(inputs, labels));
    }
    if picture::image_format(&bytes).is_some() {
        return Ok(Content::Image(bytes.into_owned()));
    }
    // CIFAR-10 has no magic number. An IDX file that is also a whole number of its records, each with a
    // label below 10, does not fit its own header.
    if idx::is_idx(&bytes) {
        match idx::parse_idx(&bytes, at) {
            Err(finding) if !cifar::is_cifar10(&bytes) => return Err(finding),
            Err(_) => {}
            Ok(array) => return Ok(Content::Array(array)),
        }
    }
    if cifar::is_cifar10(&bytes) {
        let (inputs, labels) = cifar::parse_cifar10(&bytes, at)?;
        let labels = Array { shape: vec![labels.len()], values: labels.iter().map(|l| *l as f32).collect() };
        return Ok(Content::Pair(inputs, Some(labels)));
    }
    let what = if bytes.is_empty() { "is empty" } else { "has no known data format" };
    Err(Diagnostic::error("unknown-data-format", at, what)
        .with_help("known are IDX, CIFAR-10 binary, NPY, NPZ, PNG and JPEG, also with gzip"))
}
