//! Bounded decompression.

use std::borrow::Cow;
use std::io::Read;

use espalier_ir::Diagnostic;

/// Output that is always allowed, however small the compressed bytes are.
const MIN_LIMIT: u64 = 16 << 20;
/// Output that is never exceeded.
const MAX_LIMIT: u64 = 1 << 30;
/// Deflate reaches ratios near 1000 on constant data only; images and features stay far below this.
const MAX_RATIO: u64 = 200;

/// The bytes inside a gzip file, or the bytes themselves if they are not gzip.
///
/// # Errors
/// If the stream is damaged, or expands beyond 16 MiB and 200 times its size (at most 1 GiB).
pub fn gunzip<'a>(bytes: &'a [u8], at: &str) -> Result<Cow<'a, [u8]>, Diagnostic> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let reader = flate2::read::MultiGzDecoder::new(bytes);
    read_bounded(reader, bytes.len(), at).map(Cow::Owned)
}

/// Reads a decompressor to its end within the limits that [`gunzip`] states.
pub(crate) fn read_bounded(reader: impl Read, compressed_len: usize, at: &str) -> Result<Vec<u8>, Diagnostic> {
    let limit = (compressed_len as u64).saturating_mul(MAX_RATIO).clamp(MIN_LIMIT, MAX_LIMIT);
    let mut out = Vec::new();
    reader.take(limit + 1).read_to_end(&mut out).map_err(|error| {
        Diagnostic::error("damaged-data", at, format!("cannot be decompressed: {error}"))
            .with_help("fetch the file again")
    })?;
    if out.len() as u64 > limit {
        return Err(Diagnostic::error(
            "data-too-large",
            at,
            format!("{compressed_len} compressed bytes expand to more than {limit}"),
        )
        .with_help("if the file is what you expect, decompress it first"));
    }
    Ok(out)
}
