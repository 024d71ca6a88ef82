//! NPY, the array format of NumPy, versions 1 to 3.
//!
//! `93 NUMPY major minor`, the length of the header (2 bytes in version 1, else 4), a Python
//! dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, the values.

use espalier_ir::Diagnostic;

use crate::Array;
use crate::array::{MAX_AXES, expect_payload};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses longer headers by default.
const MAX_HEADER: usize = 10_000;

struct Header {
    /// Kind letter of NumPy: `f`, `i`, `u` or `b`.
    kind: u8,
    width: usize,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// True if the bytes start like NPY.
pub(crate) fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// True if the bytes are an NPY file of 8-bit signed integers.
pub fn is_npy_i8(bytes: &[u8]) -> bool {
    split_header(bytes)
        .is_some_and(|(header, _)| parse_header(header, "").is_ok_and(|h| (h.kind, h.width) == (b'i', 1)))
}

/// Reads booleans, integers of 1 to 8 bytes and floats of 4 or 8 bytes, in C or Fortran order.
///
/// # Errors
/// If the header is not NPY, names another type, or does not match the number of bytes.
pub fn parse_npy(bytes: &[u8], at: &str) -> Result<Array, Diagnostic> {
    let (header, payload) = split_header(bytes).ok_or_else(|| {
        Diagnostic::error("damaged-data", at, "is truncated or has no NPY header").with_help("save the array again")
    })?;
    let header = parse_header(header, at)?;
    let payload = expect_payload(payload, &header.shape, header.width, at)?;
    let values = payload.chunks_exact(header.width).map(|chunk| number(chunk, &header)).collect();
    let array = Array { shape: header.shape, values };
    Ok(if header.fortran_order { to_c_order(array) } else { array })
}

fn split_header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (start, len) = match rest {
        [1, _, a, b, ..] => (4, usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, _, a, b, c, d, ..] => (6, usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?),
        _ => return None,
    };
    if len > MAX_HEADER {
        return None;
    }
    let header = std::str::from_utf8(rest.get(start..start + len)?).ok()?;
    Some((header, &rest[start + len..]))
}

fn parse_header(header: &str, at: &str) -> Result<Header, Diagnostic> {
    let damaged = || Diagnostic::error("damaged-data", at, "has an NPY header that cannot be read");
    let value = |key: &str| -> Result<&str, Diagnostic> {
        let (_, rest) = header.split_once(&format!("'{key}':")).ok_or_else(damaged)?;
        Ok(rest.trim_start())
    };
    let descr = value("descr")?.strip_prefix('\'').and_then(|d| d.split_once('\'')).ok_or_else(damaged)?.0;
    let supported = || {
        Diagnostic::error("unsupported-data-type", at, format!("has element type '{descr}'"))
            .with_help("save it as float32, float64 or an integer type")
    };
    let (order, kind, width) = match descr.as_bytes() {
        [order @ (b'<' | b'>' | b'|' | b'='), kind, width] if width.is_ascii_digit() => {
            (*order, *kind, usize::from(width - b'0'))
        }
        _ => return Err(supported()),
    };
    if !matches!((kind, width), (b'f', 4 | 8) | (b'i' | b'u', 1 | 2 | 4 | 8) | (b'b', 1)) {
        return Err(supported());
    }
    let fortran_order = match value("fortran_order")? {
        v if v.starts_with("True") => true,
        v if v.starts_with("False") => false,
        _ => return Err(damaged()),
    };
    let tuple = value("shape")?.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or_else(damaged)?.0;
    let shape = tuple
        .split(',')
        .map(str::trim)
        .filter(|extent| !extent.is_empty())
        .map(|extent| extent.parse::<usize>().map_err(|_| damaged()))
        .take(MAX_AXES + 1)
        .collect::<Result<Vec<usize>, _>>()?;
    Ok(Header { kind, width, big_endian: order == b'>', fortran_order, shape })
}

fn number(chunk: &[u8], header: &Header) -> f32 {
    let mut bytes = [0; 8];
    bytes[..chunk.len()].copy_from_slice(chunk);
    if header.big_endian {
        bytes[..chunk.len()].reverse();
    }
    let raw = u64::from_le_bytes(bytes);
    let unused_bits = 64 - 8 * header.width;
    match (header.kind, header.width) {
        (b'f', 4) => f32::from_bits(raw as u32),
        (b'f', _) => f64::from_bits(raw) as f32,
        // The left shift moves the sign bit to the top, the arithmetic right shift spreads it.
        (b'i', _) => ((raw << unused_bits).cast_signed() >> unused_bits) as f32,
        _ => raw as f32,
    }
}

/// The same array row-major, given values with the first axis fastest.
fn to_c_order(array: Array) -> Array {
    let mut index = vec![0; array.shape.len()];
    let mut strides = vec![1; array.shape.len()];
    for axis in 1..array.shape.len() {
        strides[axis] = strides[axis - 1] * array.shape[axis - 1];
    }
    let mut values = Vec::with_capacity(array.values.len());
    for _ in 0..array.values.len() {
        let position: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        values.push(array.values[position]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < array.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Array { shape: array.shape, values }
}

/// An NPY file of 32-bit floats, row-major.
///
/// # Panics
/// If the number of values is not the product of `shape`: a bug of the caller.
pub fn write_npy_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
    assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?} does not hold the values");
    let mut bytes = npy_header("<f4", shape);
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// An NPY file of 8-bit signed integers, row-major. Panics like [`write_npy_f32`].
pub fn write_npy_i8(shape: &[usize], values: &[i8]) -> Vec<u8> {
    assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?} does not hold the values");
    let mut bytes = npy_header("|i1", shape);
    bytes.extend(values.iter().map(|v| v.cast_unsigned()));
    bytes
}

fn npy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let extents: String = shape.iter().map(|e| format!("{e}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", extents.trim_end());
    // The values start at a multiple of 64 bytes; a line feed ends the header.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let len = u16::try_from(header.len()).expect("a header of a few axes is short");
    [MAGIC, &[1, 0], &len.to_le_bytes(), header.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(version: u8, header: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[version, 0]].concat();
        if version == 1 {
            bytes.extend((header.len() as u16).to_le_bytes());
        } else {
            bytes.extend((header.len() as u32).to_le_bytes());
        }
        bytes.extend(header.as_bytes());
        bytes.extend(payload);
        bytes
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    #[test]
    fn every_type_reads_its_extremes() {
        let cases: Vec<(&str, Vec<u8>, f32)> = vec![
            ("<f4", 1.5f32.to_le_bytes().to_vec(), 1.5),
            (">f4", 1.5f32.to_be_bytes().to_vec(), 1.5),
            ("<f8", (-0.25f64).to_le_bytes().to_vec(), -0.25),
            ("|i1", vec![0x80], -128.0),
            ("|u1", vec![0xff], 255.0),
            ("<i2", (-32768i16).to_le_bytes().to_vec(), -32768.0),
            (">i2", (-2i16).to_be_bytes().to_vec(), -2.0),
            ("<i4", i32::MIN.to_le_bytes().to_vec(), -2_147_483_648.0),
            ("<i8", (-3i64).to_le_bytes().to_vec(), -3.0),
            ("<u8", 7u64.to_le_bytes().to_vec(), 7.0),
            ("|b1", vec![1], 1.0),
        ];
        for (descr, payload, expected) in cases {
            for version in [1, 2, 3] {
                let array = parse_npy(&npy(version, &header(descr, "(1,)"), &payload), "t").unwrap();
                assert_eq!((array.shape, array.values), (vec![1], vec![expected]), "{descr} version {version}");
            }
        }
    }

    #[test]
    fn fortran_order_is_turned() {
        let header = "{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3), }";
        let array = parse_npy(&npy(1, header, &[1, 4, 2, 5, 3, 6]), "t").unwrap();
        assert_eq!(array.values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn written_files_read_back_and_are_aligned() {
        for shape in [vec![], vec![3], vec![2, 1, 5]] {
            let len = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..len).map(|v| v as f32 - 0.5).collect();
            let bytes = write_npy_f32(&shape, &values);
            assert_eq!((bytes.len() - 4 * len) % 64, 0);
            assert_eq!(parse_npy(&bytes, "t").unwrap(), Array { shape, values });
        }
        let bytes = write_npy_i8(&[2], &[-128, 127]);
        assert_eq!(parse_npy(&bytes, "t").unwrap().values, [-128.0, 127.0]);
    }

    #[test]
    fn hostile_headers_are_refused() {
        let code = |bytes: &[u8]| parse_npy(bytes, "t").unwrap_err().code;
        assert_eq!(code(&npy(1, &header("<c8", "(1,)"), &[0; 8])), "unsupported-data-type");
        assert_eq!(code(&npy(1, &header("<U25", "(1,)"), &[0; 100])), "unsupported-data-type");
        assert_eq!(code(&npy(1, &header("<f4", "(99999999999, 99999999999)"), &[])), "data-too-large");
        assert_eq!(code(&npy(1, &header("<f4", "(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)"), &[0; 4])), "data-too-large");
        assert_eq!(code(&npy(1, &header("<f4", "(-1,)"), &[])), "damaged-data");
        assert_eq!(code(&npy(1, &header("<f4", "(3,)"), &[0; 11])), "damaged-data");
        assert_eq!(code(&npy(9, &header("<f4", "(1,)"), &[0; 4])), "damaged-data");
        let whole = npy(2, &header("<f4", "(1,)"), &[0; 4]);
        for end in 0..whole.len() {
            assert!(parse_npy(&whole[..end], "t").is_err(), "cut to {end} bytes");
        }
    }
}
