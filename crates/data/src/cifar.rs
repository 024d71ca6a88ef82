//! CIFAR-10 in its binary form: records of one label byte and 3 x 32 x 32 bytes.

use espalier_ir::Diagnostic;

use crate::Array;
use crate::array::checked_len;

const CHANNELS: usize = 3;
const EDGE: usize = 32;
const PIXELS: usize = CHANNELS * EDGE * EDGE;
const RECORD: usize = 1 + PIXELS;
const CLASSES: u8 = 10;

/// True if the length and every label byte fit the format.
pub(crate) fn is_cifar10(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len().is_multiple_of(RECORD) && bytes.chunks_exact(RECORD).all(|r| r[0] < CLASSES)
}

/// Reads images `[n, 3, 32, 32]` of values 0..=255 and labels.
///
/// # Errors
/// If the bytes are not whole records, or a label is not below 10.
pub fn parse_cifar10(bytes: &[u8], at: &str) -> Result<(Array, Vec<u32>), Diagnostic> {
    let records = bytes.len() / RECORD;
    if records == 0 || !bytes.len().is_multiple_of(RECORD) {
        let message = format!("{} bytes are not a whole number of CIFAR-10 records of {RECORD} bytes", bytes.len());
        return Err(Diagnostic::error("damaged-data", at, message).with_help("fetch the file again"));
    }
    let shape = vec![records, CHANNELS, EDGE, EDGE];
    let mut values = Vec::with_capacity(checked_len(&shape, at)?);
    let mut labels = Vec::with_capacity(records);
    for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
        if record[0] >= CLASSES {
            let message = format!("record {index} has label {}, CIFAR-10 ends at {}", record[0], CLASSES - 1);
            return Err(Diagnostic::error("damaged-data", at, message));
        }
        labels.push(u32::from(record[0]));
        values.extend(record[1..].iter().map(|b| f32::from(*b)));
    }
    Ok((Array { shape, values }, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_their_planes_and_labels() {
        let mut bytes = vec![0; 2 * RECORD];
        bytes[0] = 9;
        bytes[1] = 7; // Red, top left.
        bytes[RECORD] = 3;
        bytes[2 * RECORD - 1] = 255; // Blue, bottom right.
        let (images, labels) = parse_cifar10(&bytes, "t").unwrap();
        assert_eq!(images.shape, [2, 3, 32, 32]);
        assert_eq!(labels, [9, 3]);
        assert_eq!((images.values[0], images.values[2 * PIXELS - 1]), (7.0, 255.0));
    }

    #[test]
    fn partial_records_and_wild_labels_are_refused() {
        assert!(parse_cifar10(&[0; RECORD - 1], "t").is_err());
        assert!(parse_cifar10(&[], "t").is_err());
        assert!(!is_cifar10(&[10; RECORD]));
        assert!(parse_cifar10(&[10; RECORD], "t").unwrap_err().message.contains("label 10"));
    }
}
