//! What tests across the crates share: where data is found, reproducible values, and the built program for benches.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A file of the shared data beside the repository (`ESPALIER_SHARED` names another place), or
/// `None` with a visible note.
pub fn shared(path: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("ESPALIER_SHARED").map_or(beside, PathBuf::from).join(path);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// `len` values from 0 to 1, the same for the same `seed` (a linear congruential generator).
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        })
        .collect()
}

/// A command of the built program, with its answer as JSON; for benches.
pub fn espalier(command: &str) -> Command {
    // Benches are target/release/deps/NAME-*.
    let executable = std::env::current_exe().expect("the bench knows where it is");
    let path = executable.parent().and_then(Path::parent).expect("it lies in deps/").join("espalier");
    let mut espalier = Command::new(path);
    espalier.args(["--json", "--quiet", command]);
    espalier
}

/// Runs a command.
///
/// # Errors
/// What it wrote to the standard error, if it failed or did not answer in JSON.
pub fn answer(mut command: Command) -> Result<Value, String> {
    let output = command.output().map_err(|e| format!("{e}; run `cargo build --release --workspace` first"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(text);
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {text}"))
}
