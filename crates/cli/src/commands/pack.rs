//! `espalier pack`: one archive of a design, the same bytes for the same files.

use std::fs;
use std::path::{Path, PathBuf};

use espalier_ir::Diagnostic;
use serde_json::json;

use crate::args::PackArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::output::{MARKER, write_file};
use crate::progress::Progress;
use crate::render::{count, pairs};

/// Most bytes of an archive.
const MAX_BYTES: u64 = 2 << 30;
/// Size of a header and of what files are padded to.
const BLOCK: usize = 512;
/// What is left out: marks and folders of work in progress begin with a dot or so.
const SCRATCH: &str = "scratch-";

/// Writes all files of a compiled folder into one archive, beside the folder by default.
///
/// # Errors
/// If the folder is not one, is too large, or the file system refuses.
pub fn pack(args: &PackArgs, progress: &mut Progress) -> Outcome<Answer> {
    let folder = &args.dir;
    if !folder.join("design.json").is_file() {
        return Err(Diagnostic::error("no-design", folder.display().to_string(), "is not a compiled folder")
            .with_help("`espalier compile` and `espalier run` write such folders")
            .into());
    }
    let absolute = crate::cache::absolute(folder);
    let name = absolute.file_name().map_or_else(|| "design".to_owned(), |n| n.to_string_lossy().into_owned());
    let out = args.out.clone().unwrap_or_else(|| absolute.with_file_name(format!("{name}.tar")));
    let unreadable = |path: &Path, error: std::io::Error| {
        Diagnostic::error("unreadable-file", path.display().to_string(), format!("cannot be read: {error}"))
    };
    let mut paths = Vec::new();
    list(folder, Path::new(""), &mut paths).map_err(|error| unreadable(folder, error))?;
    paths.sort();
    let bytes = progress.stage("pack", "Packing", |_| -> Outcome<Vec<u8>> {
        let mut archive = Vec::new();
        for path in &paths {
            let content = fs::read(folder.join(path)).map_err(|error| unreadable(path, error))?;
            let place = format!(
                "{}/{}",
                safe(&name),
                path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
            );
            let header = header(&place, content.len() as u64)
                .ok_or_else(|| Diagnostic::error("bad-path", &place, "is too long for an archive"))?;
            archive.extend(header);
            archive.extend(&content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
            if archive.len() as u64 > MAX_BYTES {
                let message = format!("has more than {MAX_BYTES} bytes");
                return Err(Diagnostic::error("file-too-large", folder.display().to_string(), message).into());
            }
        }
        // Two empty blocks end the archive.
        archive.resize(archive.len() + 2 * BLOCK, 0);
        Ok(archive)
    })?;
    write_file(&out, &bytes)?;
    let result = json!({ "archive": out, "files": paths.len(), "bytes": bytes.len() });
    let lines = [
        ("archive", out.display().to_string()),
        ("files", count(paths.len() as u64)),
        ("bytes", count(bytes.len() as u64)),
    ];
    Ok(Answer::new(&result, pairs(&lines)))
}

/// The name as it stands in the archive.
fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

fn list(folder: &Path, inside: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder.join(inside))? {
        let entry = entry?;
        let path = inside.join(entry.file_name());
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() && !name.starts_with(SCRATCH) && !name.starts_with('.') {
            list(folder, &path, paths)?;
        } else if kind.is_file() && name != MARKER {
            paths.push(path);
        }
    }
    Ok(())
}

/// Header of a file in a POSIX archive (ustar): fixed owner, mode and time. `None` if the path does not fit.
fn header(path: &str, size: u64) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    // The last 100 bytes of the path, and what stands before a slash.
    let cut = if path.len() <= 100 {
        0
    } else {
        path.char_indices().find(|(at, c)| *c == '/' && path.len() - at <= 101)?.0 + 1
    };
    let (prefix, name) = path.split_at(cut);
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if name.len() > 100 || prefix.len() > 155 {
        return None;
    }
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_split_at_a_slash() {
        let long = format!("{}/{}", "a".repeat(120), "b".repeat(90));
        let block = header(&long, 5).unwrap();
        assert_eq!(&block[..90], "b".repeat(90).as_bytes());
        assert_eq!(&block[345..465], "a".repeat(120).as_bytes());
        assert!(header(&"c".repeat(101), 1).is_none());
    }
}
