//! Simulations built from the files of a design, kept from run to run.
//!
//! Building takes far longer than running, and the sources depend on the configuration only, so what was built is kept
//! in a cache folder (`ESPALIER_CACHE`, else `XDG_CACHE_HOME/espalier`, else `~/.cache/espalier`) under a hash of its
//! sources, the arguments and the tool's version.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use espalier_ir::Diagnostic;

use crate::output::ScratchFolder;
use crate::progress::Progress;

/// What to build.
pub struct Build<'a> {
    /// Start of the folder's name in the cache.
    pub name: &'a str,
    /// Compiler.
    pub tool: &'a str,
    /// What it calls its version.
    pub version: &'a str,
    /// Its arguments, which name files relative to `inside`.
    pub arguments: Vec<String>,
    /// Where it runs, relative to the design.
    pub inside: &'a str,
    /// What it makes, relative to the design.
    pub binary: &'a str,
    /// Said before it is called.
    pub note: &'a str,
}

impl Build<'_> {
    /// The built simulation: from the cache, or built from `sources`.
    ///
    /// # Errors
    /// If the tool fails or the cache cannot be written.
    pub fn cached(&self, sources: &[(PathBuf, Vec<u8>)], progress: &Progress) -> Result<PathBuf, Diagnostic> {
        let cache = cache_folder();
        let place = cache.join(format!("{}-{}", self.name, self.key(sources)));
        let binary = place.join("simulation");
        if binary.is_file() {
            progress.line(&format!("  {} found in the cache", self.name));
            return Ok(binary);
        }
        let scratch = ScratchFolder::create(&cache).map_err(|error| cache_failed(&cache, &error))?;
        for (relative, bytes) in sources {
            let path = scratch.path().join(relative);
            let write = || fs::create_dir_all(path.parent().expect("inside")).and_then(|()| fs::write(&path, bytes));
            write().map_err(|error| cache_failed(&cache, &error))?;
        }
        progress.line(&format!("  {}", self.note));
        let mut command = Command::new(self.tool);
        command.args(&self.arguments).current_dir(scratch.path().join(self.inside));
        let output = command.output().map_err(|error| tool_failed(self.tool, &error.to_string()))?;
        if !output.status.success() {
            return Err(tool_failed(self.tool, &tail(&output)));
        }
        if !binary.is_file() {
            // A folder without the binary is damaged.
            let _ = fs::remove_dir_all(&place);
        }
        // Another run may have built the same; its folder is as good as ours.
        let finished = scratch.path().join("finished");
        let place_it = || {
            fs::create_dir_all(&finished)?;
            fs::rename(scratch.path().join(self.binary), finished.join("simulation"))?;
            fs::rename(&finished, &place)
        };
        if let Err(error) = place_it()
            && !binary.is_file()
        {
            return Err(cache_failed(&cache, &error));
        }
        Ok(binary)
    }

    fn key(&self, sources: &[(PathBuf, Vec<u8>)]) -> String {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(salt);
            hasher.write(self.version.as_bytes());
            self.arguments.iter().for_each(|a| hasher.write(a.as_bytes()));
            for (path, bytes) in sources {
                hasher.write(path.as_os_str().as_encoded_bytes());
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            }
            hasher.finish()
        };
        format!("{:016x}{:016x}", hash(0), hash(1))
    }
}

/// Files of folders of a design that `wanted` accepts, with their relative paths, in a fixed order.
///
/// # Errors
/// If a folder cannot be read.
pub fn sources(
    folder: &Path,
    parts: &[&str],
    wanted: fn(&Path) -> bool,
) -> Result<Vec<(PathBuf, Vec<u8>)>, Diagnostic> {
    let mut sources = Vec::new();
    for part in parts {
        read_folder(folder, part, wanted, &mut sources).map_err(|error| {
            let at = folder.join(part).display().to_string();
            Diagnostic::error("damaged-design", at, format!("cannot be read: {error}")).with_help("compile again")
        })?;
    }
    sources.sort();
    Ok(sources)
}

fn read_folder(
    folder: &Path,
    part: &str,
    wanted: fn(&Path) -> bool,
    sources: &mut Vec<(PathBuf, Vec<u8>)>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(folder.join(part))? {
        let entry = entry?;
        if entry.file_type()?.is_file() && wanted(&entry.path()) {
            sources.push((Path::new(part).join(entry.file_name()), fs::read(entry.path())?));
        }
    }
    Ok(())
}

/// The first line of what a tool says when asked for its version.
///
/// # Errors
/// If it is not installed; `help` says what to do then.
pub fn tool_version(tool: &str, help: &str) -> Result<String, Diagnostic> {
    let missing = |what: String| Diagnostic::error("missing-tool", tool, what).with_help(help);
    match Command::new(tool).arg("--version").output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
        }
        Ok(output) => Err(missing(format!("does not run: {}", tail(&output)))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing("is not installed".to_owned())),
        Err(error) => Err(missing(format!("does not run: {error}"))),
    }
}

/// Where built simulations and scratch folders lie.
pub fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = variable("ESPALIER_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|c| c.join("espalier")))
        .or_else(|| variable("HOME").map(|h| h.join(".cache/espalier")))
        .unwrap_or_else(|| std::env::temp_dir().join("espalier-cache"));
    absolute(&folder)
}

/// The path as a program that runs elsewhere understands it.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The cache folder, or a file in it, cannot be used.
pub fn cache_failed(place: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("cache-folder", place.display().to_string(), format!("cannot be used: {error}"))
        .with_help("set ESPALIER_CACHE to a folder that can be written")
}

fn tool_failed(tool: &str, what: &str) -> Diagnostic {
    Diagnostic::error("tool-failed", tool, what)
        .with_help("see docs/testing.md for the versions that are known to work")
}

/// The last lines that a tool printed.
pub fn tail(output: &Output) -> String {
    const LINES: usize = 12;
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat();
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let code = output.status.code().map_or_else(|| "a signal".to_owned(), |c| format!("exit code {c}"));
    format!("ended with {code}\n  {}", lines[lines.len().saturating_sub(LINES)..].join("\n  "))
}
