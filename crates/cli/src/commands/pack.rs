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
        let mut archive = tar::Builder::new(Vec::new());
        for path in &paths {
            let content = fs::read(folder.join(path)).map_err(|error| unreadable(path, error))?;
            let place = Path::new(&safe(&name)).join(path);
            archive
                .append_data(&mut header(content.len() as u64), &place, &content[..])
                .map_err(|error| Diagnostic::error("bad-path", place.display().to_string(), error.to_string()))?;
            if archive.get_ref().len() as u64 > MAX_BYTES {
                let message = format!("has more than {MAX_BYTES} bytes");
                return Err(Diagnostic::error("file-too-large", folder.display().to_string(), message).into());
            }
        }
        Ok(archive.into_inner().expect("memory takes all bytes"))
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

/// Header of a file: fixed owner, mode and time.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_kept_and_bytes_are_the_same() {
        let places = [format!("{}/{}", "a".repeat(120), "b".repeat(90)), "c".repeat(300)];
        let archive = || {
            let mut archive = tar::Builder::new(Vec::new());
            places.iter().for_each(|place| archive.append_data(&mut header(5), place, &b"bytes"[..]).unwrap());
            archive.into_inner().unwrap()
        };
        let bytes = archive();
        assert!(bytes == archive());
        let mut read = tar::Archive::new(&bytes[..]);
        let found = read.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert_eq!(found.collect::<Vec<_>>(), places);
    }
}
