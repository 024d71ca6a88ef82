//! NPZ: a zip archive of NPY files.

use std::io::Cursor;

use espalier_ir::Diagnostic;

use crate::gzip::read_bounded;
use crate::{Array, parse_npy};

/// Names of the arrays of inputs and labels that are tried, in this order.
const PAIRS: [(&str, &str); 4] = [("x", "y"), ("inputs", "labels"), ("images", "labels"), ("data", "labels")];
/// More members than this are not a data set.
const MAX_MEMBERS: usize = 1000;

/// True if the bytes start like a zip archive.
pub(crate) fn is_npz(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// Reads inputs and, if present, labels.
///
/// With `part` (`train`, `test`, ...) arrays named `x_train`, `y_train` are preferred to `x`, `y`. An
/// archive with a single array holds inputs; one with two arrays of any names holds inputs and labels,
/// the latter being the one with fewer axes.
///
/// # Errors
/// If the archive is damaged, too large, or its arrays cannot be told apart.
pub fn parse_npz(bytes: &[u8], at: &str, part: Option<&str>) -> Result<(Array, Option<Array>), Diagnostic> {
    let damaged = |error| Diagnostic::error("damaged-data", at, format!("is not a readable archive: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let names: Vec<String> =
        archive.file_names().take(MAX_MEMBERS).filter_map(|n| n.strip_suffix(".npy")).map(str::to_owned).collect();
    let mut read = |name: &str| -> Result<Array, Diagnostic> {
        let at = format!("{at}:{name}");
        let member = archive.by_name(&format!("{name}.npy")).map_err(damaged)?;
        let compressed_len = usize::try_from(member.compressed_size()).unwrap_or(usize::MAX).min(bytes.len());
        parse_npy(&read_bounded(member, compressed_len, &at)?, &at)
    };
    let has = |name: &String| names.contains(name);
    let named = |suffix: &str| {
        PAIRS.iter().map(|(x, y)| (format!("{x}{suffix}"), format!("{y}{suffix}"))).find(|(x, _)| has(x))
    };
    let pair = part.and_then(|p| named(&format!("_{p}"))).or_else(|| named(""));
    if let Some((inputs, labels)) = pair {
        let inputs = read(&inputs)?;
        let labels = if has(&labels) { Some(read(&labels)?) } else { None };
        return Ok((inputs, labels));
    }
    match names.as_slice() {
        [only] => Ok((read(only)?, None)),
        [a, b] => {
            let (a, b) = (read(a)?, read(b)?);
            Ok(if a.shape.len() >= b.shape.len() { (a, Some(b)) } else { (b, Some(a)) })
        }
        _ => Err(Diagnostic::error("ambiguous-data", at, format!("holds the arrays {}", quoted(&names)))
            .with_help("name the inputs 'x' and the labels 'y' (or 'x_train', 'y_train', 'x_test', 'y_test')")),
    }
}

fn quoted(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut list: Vec<String> = names.iter().take(SHOWN).map(|n| format!("'{n}'")).collect();
    if names.len() > SHOWN {
        list.push(format!("and {} more", names.len() - SHOWN));
    }
    if list.is_empty() { "(none)".to_owned() } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{write_npy_f32, write_npy_i8};

    fn npz(members: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            writer.start_file(format!("{name}.npy"), options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn pairs_are_found_by_name_part_or_rank() {
        let x = |v: f32| write_npy_f32(&[2, 2], &[v; 4]);
        let y = |v: i8| write_npy_i8(&[2], &[v; 2]);
        for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
            let named = npz(&[("y", y(1)), ("x", x(5.0)), ("names", vec![1, 2])], method);
            let (inputs, labels) = parse_npz(&named, "t", Some("train")).unwrap();
            assert_eq!((inputs.values[0], labels.unwrap().values[0]), (5.0, 1.0));
        }
        let stored = zip::CompressionMethod::Stored;
        let parts = npz(&[("x_train", x(1.0)), ("y_train", y(1)), ("x_test", x(2.0)), ("y_test", y(2))], stored);
        assert_eq!(parse_npz(&parts, "t", Some("test")).unwrap().0.values[0], 2.0);
        assert_eq!(parse_npz(&parts, "t", None).unwrap_err().code, "ambiguous-data");
        let (inputs, labels) = parse_npz(&npz(&[("b", y(3)), ("a", x(4.0))], stored), "t", None).unwrap();
        assert_eq!((inputs.values[0], labels.unwrap().values[0]), (4.0, 3.0));
        assert!(parse_npz(&npz(&[("only", x(0.0))], stored), "t", None).unwrap().1.is_none());
        assert_eq!(parse_npz(&npz(&[], stored), "t", None).unwrap_err().code, "ambiguous-data");
    }

    #[test]
    fn bombs_and_truncation_are_refused() {
        let zeros = write_npy_f32(&[10 << 20], &vec![0.0; 10 << 20]);
        let bomb = npz(&[("x", zeros)], zip::CompressionMethod::Deflated);
        assert!(bomb.len() < 100_000);
        assert_eq!(parse_npz(&bomb, "t", None).unwrap_err().code, "data-too-large");
        let whole = npz(&[("x", write_npy_f32(&[4], &[1.0; 4]))], zip::CompressionMethod::Deflated);
        for end in 0..whole.len() {
            assert!(parse_npz(&whole[..end], "t", None).is_err(), "cut to {end} bytes");
        }
    }
}
