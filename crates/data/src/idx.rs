//! IDX, the format of the MNIST family: `00 00 type axes`, big-endian extents, big-endian values.

use espalier_ir::Diagnostic;

use crate::Array;
use crate::array::{MAX_AXES, expect_payload};

/// True if the bytes start like IDX.
pub(crate) fn is_idx(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0x08 | 0x09 | 0x0b..=0x0e, axes, ..] if (1..=MAX_AXES).contains(&usize::from(*axes)))
}

/// Reads an IDX file of any element type: u8, i8, i16, i32, f32, f64.
///
/// # Errors
/// If the header is not IDX, or does not match the number of bytes.
pub fn parse_idx(bytes: &[u8], at: &str) -> Result<Array, Diagnostic> {
    if !is_idx(bytes) {
        return Err(Diagnostic::error("unknown-data-format", at, "is not an IDX file"));
    }
    let axes = usize::from(bytes[3]);
    let header = 4 + 4 * axes;
    let Some(extents) = bytes.get(4..header) else {
        return Err(Diagnostic::error("damaged-data", at, "is truncated inside the header").with_help("fetch it again"));
    };
    let shape: Vec<usize> = extents
        .chunks_exact(4)
        .map(|e| u32::from_be_bytes([e[0], e[1], e[2], e[3]]))
        .map(|e| usize::try_from(e).expect("usize holds 32 bits"))
        .collect();
    let width = match bytes[2] {
        0x08 | 0x09 => 1,
        0x0b => 2,
        0x0c | 0x0d => 4,
        _ => 8,
    };
    let payload = expect_payload(&bytes[header..], &shape, width, at)?;
    let values = match bytes[2] {
        0x08 => payload.iter().map(|b| f32::from(*b)).collect(),
        0x09 => payload.iter().map(|b| f32::from(b.cast_signed())).collect(),
        0x0b => words(payload, |b: [u8; 2]| f32::from(i16::from_be_bytes(b))),
        0x0c => words(payload, |b: [u8; 4]| i32::from_be_bytes(b) as f32),
        0x0d => words(payload, f32::from_be_bytes),
        _ => words(payload, |b: [u8; 8]| f64::from_be_bytes(b) as f32),
    };
    Ok(Array { shape, values })
}

fn words<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|chunk| value(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(kind: u8, extents: &[u32], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, extents.len() as u8];
        bytes.extend(extents.iter().flat_map(|e| e.to_be_bytes()));
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn every_element_type_is_big_endian() {
        for (kind, payload, expected) in [
            (0x08, vec![0, 255], vec![0.0, 255.0]),
            (0x09, vec![0x80, 0x7f], vec![-128.0, 127.0]),
            (0x0b, vec![0x80, 0, 0x01, 0x02], vec![-32768.0, 258.0]),
            (0x0c, vec![0xff, 0xff, 0xff, 0xfe, 0, 1, 0, 0], vec![-2.0, 65536.0]),
            (0x0d, [1.5f32.to_be_bytes(), (-2.0f32).to_be_bytes()].concat(), vec![1.5, -2.0]),
            (0x0e, [1.5f64.to_be_bytes(), (-2.0f64).to_be_bytes()].concat(), vec![1.5, -2.0]),
        ] {
            let array = parse_idx(&idx(kind, &[2], &payload), "t").unwrap();
            assert_eq!(array, Array { shape: vec![2], values: expected }, "type {kind:#x}");
        }
    }

    #[test]
    fn size_must_match_and_nothing_is_allocated_for_a_lie() {
        let cut = parse_idx(&idx(8, &[3, 2], &[1, 2, 3]), "cut.idx").unwrap_err();
        assert_eq!(cut.code, "damaged-data");
        assert_eq!(cut.at, "cut.idx");
        assert_eq!(parse_idx(&idx(8, &[1], &[1, 2]), "t").unwrap_err().code, "damaged-data");
        assert_eq!(parse_idx(&idx(8, &[u32::MAX; 8], &[]), "t").unwrap_err().code, "data-too-large");
        assert_eq!(parse_idx(&[0, 0, 8, 3, 0, 0], "t").unwrap_err().code, "damaged-data");
        assert_eq!(parse_idx(b"", "t").unwrap_err().code, "unknown-data-format");
    }
}
