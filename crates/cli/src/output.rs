//! The output folder: built aside, then put in place at once, so that it is never half-written.
//!
//! Beside the folder `NAME` stands `.NAME.partial` while a run writes. A marker file in each says that the
//! folder is ours; a folder without it is never touched. The marker of a folder in work is locked, and the
//! lock ends with the process, however it ends; so what a killed run left behind is known and removed by
//! the next. Interruption by Ctrl-C removes it at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use espalier_ir::Diagnostic;

/// Name of the file that makes a folder ours.
pub const MARKER: &str = ".espalier";

/// Folders to remove when the user interrupts. Whoever changes such a folder holds the lock, so that nothing is written
/// behind the back of the removal.
static IN_WORK: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes folders in work and ends the process when the user interrupts it.
pub fn clean_up_on_interrupt() {
    let handler = || {
        if let Ok(folders) = IN_WORK.lock() {
            for folder in folders.iter() {
                let _ = fs::remove_dir_all(folder);
            }
        }
        // 128 + SIGINT, as shells report it.
        std::process::exit(130);
    };
    // Without a handler the default action ends the process as well; the folder is removed by the next run.
    let _ = ctrlc::set_handler(handler);
}

/// A folder in work. Dropped without [`OutputFolder::commit`], it disappears.
pub struct OutputFolder {
    final_path: PathBuf,
    partial: PathBuf,
    committed: bool,
    _lock: File,
}

/// A folder for files that nobody keeps; disappears when dropped and on interruption.
pub struct ScratchFolder(PathBuf);

impl OutputFolder {
    /// Begins a folder that will stand at `path`.
    ///
    /// # Errors
    /// If `path` is a file or a folder that is not ours, if another run writes it, or if the place is not writable.
    pub fn begin(path: &Path) -> Result<Self, Diagnostic> {
        let place = path.display().to_string();
        let refuse = |message: String, help: &str| Diagnostic::error("output-folder", &place, message).with_help(help);
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(refuse("is not the name of a folder".into(), "name a folder that may be created"));
        };
        if path.is_file() {
            return Err(refuse("is a file".into(), "name a folder that may be created"));
        }
        if path.is_dir() && !is_ours(path) && !is_empty(path) {
            return Err(refuse(
                "is not empty and was not written by espalier".into(),
                "name another folder, or empty it first",
            ));
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let not_writable =
            |error: std::io::Error| refuse(format!("cannot be written: {error}"), "choose another folder with --out");
        fs::create_dir_all(parent).map_err(not_writable)?;
        let partial = parent.join(format!(".{name}.partial"));
        let previous = parent.join(format!(".{name}.previous"));
        restore(path, &previous);
        if partial.exists() {
            if is_locked(&partial) {
                return Err(refuse("is being written by another run".into(), "wait for it, or name another folder"));
            }
            if !is_ours(&partial) && !is_empty(&partial) {
                let message = format!("needs the place of {}, which was not written by espalier", partial.display());
                return Err(refuse(message, "remove that folder, or name another output folder"));
            }
            fs::remove_dir_all(&partial).map_err(not_writable)?;
        }
        fs::create_dir(&partial).map_err(not_writable)?;
        register(&partial);
        let marker = File::create(partial.join(MARKER)).map_err(not_writable)?;
        let _ = marker.try_lock();
        Ok(OutputFolder { final_path: path.to_owned(), partial, committed: false, _lock: marker })
    }

    /// Where the files are while in work.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Writes a file at a relative path inside the folder.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, relative: &str, bytes: &[u8]) -> Result<(), Diagnostic> {
        let path = self.partial.join(relative);
        debug_assert!(Path::new(relative).components().all(|c| matches!(c, std::path::Component::Normal(_))));
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(path.parent().expect("the file is inside the folder"))?;
            fs::write(&path, bytes)
        };
        let _guard = IN_WORK.lock();
        write().map_err(|error| {
            let place = self.final_path.join(relative).display().to_string();
            Diagnostic::error("output-folder", place, format!("cannot be written: {error}"))
        })
    }

    /// Puts the folder in place of what was there.
    ///
    /// # Errors
    /// If the file system refuses; what was there stays then.
    pub fn commit(mut self) -> Result<(), Diagnostic> {
        let previous = self.partial.with_file_name(format!(
            ".{}.previous",
            self.final_path.file_name().expect("checked at the start").to_string_lossy()
        ));
        let swap = || -> std::io::Result<()> {
            if self.final_path.exists() {
                fs::rename(&self.final_path, &previous)?;
            }
            fs::rename(&self.partial, &self.final_path)
        };
        let guard = IN_WORK.lock();
        let swapped = swap();
        drop(guard);
        if let Err(error) = swapped {
            restore(&self.final_path, &previous);
            let place = self.final_path.display().to_string();
            return Err(Diagnostic::error("output-folder", place, format!("cannot be put in place: {error}")));
        }
        let _ = fs::remove_dir_all(&previous);
        self.committed = true;
        Ok(())
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.partial);
        }
        unregister(&self.partial);
    }
}

impl ScratchFolder {
    /// Creates a new folder with a unique name inside `parent`, which is created if need be.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn create(parent: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(parent)?;
        for attempt in 0u32.. {
            let path = parent.join(format!("scratch-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    register(&path);
                    return Ok(ScratchFolder(path));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("names do not run out")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        unregister(&self.0);
    }
}

/// Writes one file at once: aside first, then renamed.
///
/// # Errors
/// If the file system refuses.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let aside = path.with_file_name(format!(".{name}.partial-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        fs::write(&aside, bytes)?;
        fs::rename(&aside, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&aside);
        Diagnostic::error("output-file", path.display().to_string(), format!("cannot be written: {error}"))
            .with_help("choose another place")
    })
}

fn is_ours(folder: &Path) -> bool {
    folder.join(MARKER).is_file()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// True if a living process works on the folder.
fn is_locked(folder: &Path) -> bool {
    match File::open(folder.join(MARKER)) {
        Ok(marker) => matches!(marker.try_lock(), Err(fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// Undoes what a run killed between the two renames of [`OutputFolder::commit`] left.
fn restore(path: &Path, previous: &Path) {
    if !is_ours(previous) {
        return;
    }
    if path.exists() {
        let _ = fs::remove_dir_all(previous);
    } else {
        let _ = fs::rename(previous, path);
    }
}

fn register(folder: &Path) {
    if let Ok(mut folders) = IN_WORK.lock() {
        folders.push(folder.to_owned());
    }
}

fn unregister(folder: &Path) {
    if let Ok(mut folders) = IN_WORK.lock() {
        folders.retain(|f| f != folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(path: &Path) -> OutputFolder {
        OutputFolder::begin(path).unwrap()
    }

    #[test]
    fn a_folder_appears_whole_and_replaces_its_predecessor() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/out");
        let folder = begin(&path);
        folder.write("rtl/a.sv", b"one").unwrap();
        assert!(!path.exists());
        folder.commit().unwrap();
        assert_eq!(fs::read(path.join("rtl/a.sv")).unwrap(), b"one");
        let folder = begin(&path);
        folder.write("b", b"two").unwrap();
        folder.commit().unwrap();
        assert!(!path.join("rtl").exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing stays beside it");
    }

    #[test]
    fn an_unfinished_folder_disappears_and_leaves_the_old_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let folder = begin(&path);
        folder.write("a", b"old").unwrap();
        folder.commit().unwrap();
        drop(begin(&path));
        assert_eq!(fs::read(path.join("a")).unwrap(), b"old");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn foreign_folders_and_files_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("precious"), b"x").unwrap();
        let refused = |path: &Path| OutputFolder::begin(path).err().expect("refused").code;
        assert_eq!(refused(parent.path()), "output-folder");
        assert_eq!(refused(&parent.path().join("precious")), "output-folder");
        assert_eq!(refused(&parent.path().join("precious/out")), "output-folder");
        assert!(parent.path().join("precious").exists());
    }

    #[test]
    fn two_runs_do_not_share_a_folder_but_a_dead_one_is_cleared() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let living = begin(&path);
        assert!(OutputFolder::begin(&path).err().unwrap().message.contains("another run"));
        drop(living);
        // What a killed run leaves: a marker that nobody locks.
        let partial = parent.path().join(".out.partial");
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join(MARKER), b"").unwrap();
        fs::write(partial.join("half"), b"").unwrap();
        begin(&path).commit().unwrap();
        assert!(!partial.exists() && !path.join("half").exists());
    }

    #[test]
    fn a_run_killed_between_the_renames_is_undone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let previous = parent.path().join(".out.previous");
        fs::create_dir(&previous).unwrap();
        fs::write(previous.join(MARKER), b"").unwrap();
        drop(begin(&path));
        assert!(path.join(MARKER).exists() && !previous.exists());
    }
}
