//! The checkpoint of a run or training: one file beside what it writes, from which `--resume` goes on.
//!
//! `.NAME.checkpoint` stands beside the folder or file `NAME`, which appears only when a run is done. It holds the state of
//! every training of the run as of its last whole epoch, is written aside, synced and renamed after each epoch, and
//! disappears with the end of the run. Everything between the trainings follows from data, seed and settings: a
//! resumed run goes the same way again, but takes the result of each finished training from here and continues the one
//! that was interrupted. So it decides the same and ends with the same bytes.
//!
//! Format: magic bytes; identity (TOML); number of trainings; name and state of each; every text and state behind its
//! length in 64 bits, little-endian; and the FNV-1a hash of everything before.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use espalier_data::Dataset;
use espalier_ir::{Diagnostic, Diagnostics};
use espalier_train::TrainState;

use crate::files::read_bounded;

const MAGIC: &[u8; 8] = b"ESPRUN01";
/// No model that fits a target makes larger ones.
const MAX_BYTES: u64 = 4 << 30;

/// What must not change between a run and its continuation: values, or their hashes, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// The identity of this version of the program.
    pub fn new() -> Self {
        Identity(BTreeMap::from([("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]))
    }

    /// The same with a setting, or a section of settings.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Debug) -> Self {
        self.0.insert(name.to_owned(), format!("{value:#?}"));
        self
    }

    /// The same with the hash of a file.
    #[must_use]
    pub fn with_bytes(self, name: &str, bytes: &[u8]) -> Self {
        self.with(name, format_args!("{:016x}", fnv(bytes.iter().copied())))
    }

    /// The same with the hash of samples and labels.
    #[must_use]
    pub fn with_samples(self, name: &str, samples: &Dataset) -> Self {
        let labels = samples.labels.iter().flatten().flat_map(|l| l.to_le_bytes());
        let hash = fnv(samples.inputs.iter().flat_map(|v| v.to_le_bytes()).chain(labels));
        self.with(name, format_args!("{hash:016x} ({} samples)", samples.len()))
    }

    /// What differs from the identity in a checkpoint, one text for each value.
    fn differences(&self, saved: &Identity) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(saved.0.keys()).collect();
        let of = |identity: &Identity, name: &str| identity.0.get(name).cloned().unwrap_or_else(|| "absent".to_owned());
        let mut found = Vec::new();
        for name in names {
            let (now, then) = (of(self, name), of(saved, name));
            let (now, then): (Vec<&str>, Vec<&str>) = (now.lines().collect(), then.lines().collect());
            if now == then {
                continue;
            }
            // Sections have a key on each line, as long as no list grows.
            if now.len() != then.len() {
                found.push(format!("{name} is another"));
                continue;
            }
            let pairs = now.iter().zip(&then).filter(|(now, then)| now != then);
            let tidy = |line: &str| line.trim().trim_end_matches(',').to_owned();
            found.extend(
                pairs.map(|(now, then)| format!("{name}: {} in the checkpoint, {} now", tidy(then), tidy(now))),
            );
        }
        found
    }
}

/// Keeps the checkpoint of one run.
pub struct Keeper {
    path: PathBuf,
    identity: Identity,
    /// States by the name of the training.
    trainings: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Trainings begun in each stage.
    begun: RefCell<BTreeMap<&'static str, usize>>,
}

impl Keeper {
    /// Begins the checkpoint of a run or training that writes `out`; with `resume` takes up what an interrupted run
    /// left, if it left anything.
    ///
    /// # Errors
    /// `checkpoint-exists` without `resume` if there is one; `checkpoint-mismatch` with everything that differs;
    /// `bad-checkpoint` if it is damaged.
    pub fn begin(out: &Path, identity: Identity, resume: bool) -> Result<Self, Diagnostics> {
        let name = out.file_name().map_or_else(|| "out".to_owned(), |n| n.to_string_lossy().into_owned());
        let path = out.with_file_name(format!(".{name}.checkpoint"));
        let place = path.display().to_string();
        let (trainings, begun) = (RefCell::default(), RefCell::default());
        let mut keeper = Keeper { path, identity, trainings, begun };
        let path = keeper.path.as_path();
        if !path.exists() {
            return Ok(keeper);
        }
        if !resume {
            let message = "a run that was interrupted left this checkpoint";
            let help = "continue that run with --resume, or delete the file to start anew";
            return Err(Diagnostic::error("checkpoint-exists", place, message).with_help(help).into());
        }
        let bytes = read_bounded(path, MAX_BYTES)?;
        let (saved, trainings) = decode(&bytes).ok_or_else(|| {
            Diagnostic::error("bad-checkpoint", &place, "is damaged, cut off or not a checkpoint of a run")
                .with_help("delete it and start the run anew")
        })?;
        let mismatch = |message: String| {
            Diagnostic::error("checkpoint-mismatch", &place, message)
                .with_help("resume with what the run was started with, or delete the file to start anew")
        };
        let mut findings = Diagnostics::new();
        keeper.identity.differences(&saved).into_iter().for_each(|message| findings.push(mismatch(message)));
        findings.into_result(())?;
        keeper.trainings = RefCell::new(trainings);
        Ok(keeper)
    }

    /// What is resumed, as a line.
    pub fn summary(&self) -> String {
        match self.trainings.borrow().len() {
            0 => "  no checkpoint: everything starts at its beginning".to_owned(),
            n => format!("  resuming from the checkpoint of {n} trainings"),
        }
    }

    /// Name of the next training of a stage; the same in every run of a project.
    pub fn next(&self, stage: &'static str) -> String {
        let mut begun = self.begun.borrow_mut();
        let number = begun.entry(stage).or_default();
        *number += 1;
        format!("{stage}-{number}")
    }

    /// The state of a training, if there is one.
    ///
    /// # Errors
    /// `bad-checkpoint` if it is not one.
    pub fn training(&self, name: &str) -> Result<Option<TrainState>, Diagnostic> {
        self.trainings.borrow().get(name).map(|bytes| TrainState::from_bytes(bytes)).transpose()
    }

    /// Saves the state of a training.
    ///
    /// # Errors
    /// `checkpoint-not-written` if the file system refuses.
    pub fn save(&self, name: &str, state: &TrainState) -> Result<(), Diagnostic> {
        let path = &self.path;
        self.trainings.borrow_mut().insert(name.to_owned(), state.to_bytes());
        let bytes = encode(&self.identity, &self.trainings.borrow());
        let aside = aside(path);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&aside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&aside, path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&aside);
            let message = format!("cannot be written ({} bytes): {error}", bytes.len());
            Diagnostic::error("checkpoint-not-written", path.display().to_string(), message)
                .with_help("make room, or choose another folder with --out; what was saved before is still there")
        })
    }

    /// Removes the checkpoint: the run is done.
    pub fn finish(self) {
        let _ = fs::remove_file(aside(&self.path));
        let _ = fs::remove_file(self.path);
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".partial");
    aside.into()
}

fn encode(identity: &Identity, trainings: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put(&mut out, toml::to_string(&identity.0).expect("plain data serializes").as_bytes());
    out.extend((trainings.len() as u64).to_le_bytes());
    for (name, state) in trainings {
        put(&mut out, name.as_bytes());
        put(&mut out, state);
    }
    let hash = fnv(out.iter().copied());
    out.extend(hash.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<(Identity, BTreeMap<String, Vec<u8>>)> {
    let (body, hash) = bytes.split_last_chunk::<8>()?;
    if fnv(body.iter().copied()) != u64::from_le_bytes(*hash) {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let text = |bytes| str::from_utf8(bytes).ok();
    let identity = toml::from_str(text(take(&mut rest)?)?).ok()?;
    let mut trainings = BTreeMap::new();
    for _ in 0..word(&mut rest)? {
        let name = text(take(&mut rest)?)?.to_owned();
        trainings.insert(name, take(&mut rest)?.to_vec());
    }
    rest.is_empty().then_some((Identity(identity), trainings))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn word(rest: &mut &[u8]) -> Option<u64> {
    let (word, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*word))
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(word(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

/// FNV-1a (Fowler, Noll, Vo): it notices damage, not attacks.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(out: &Path, seed: u64, resume: bool) -> Result<Keeper, Diagnostics> {
        let section = [seed, 7];
        Keeper::begin(out, Identity::new().with("seed", seed).with("section", section), resume)
    }

    #[test]
    fn what_was_saved_is_read_back_and_every_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let path = folder.path().join(".out.checkpoint");
        let keeper = begin(&out, 1, true).unwrap();
        let trainings = BTreeMap::from([("prune-1".to_owned(), vec![1, 2, 3]), ("prune-2".to_owned(), vec![])]);
        let bytes = encode(&keeper.identity, &trainings);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(*begin(&out, 1, true).unwrap().trainings.borrow(), trainings);
        let refused = |seed, resume| begin(&out, seed, resume).err().expect("refused").to_string();
        let text = refused(2, true);
        assert!(text.contains("checkpoint-mismatch") && text.contains("seed: 1 in the checkpoint, 2 now"), "{text}");
        assert!(text.contains("section: 1 in the checkpoint, 2 now"), "all differences come at once: {text}");
        let text = refused(1, false);
        assert!(text.contains("checkpoint-exists") && text.contains("--resume"), "{text}");
        let damaged = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            assert!(refused(1, true).contains("bad-checkpoint"));
        };
        (0..bytes.len()).for_each(|cut| damaged(&bytes[..cut]));
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0x10;
            damaged(&changed);
            // Even with a hash that fits there is no panic and no endless loop.
            let end = changed.len() - 8;
            let hash = fnv(changed[..end].iter().copied()).to_le_bytes();
            changed[end..].copy_from_slice(&hash);
            fs::write(&path, &changed).unwrap();
            let _ = begin(&out, 1, true);
        }
        fs::write(&path, &bytes).unwrap();
        let keeper = begin(&out, 1, true).unwrap();
        assert_eq!(keeper.training("prune-1").unwrap_err().code, "bad-checkpoint");
        assert!(keeper.training("prune-3").unwrap().is_none());
        assert_eq!(
            [keeper.next("prune"), keeper.next("quantize"), keeper.next("prune")],
            ["prune-1", "quantize-1", "prune-2"]
        );
        keeper.finish();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
