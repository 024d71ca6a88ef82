//! What tests across the crates share: where data is found, and reproducible values.

use std::path::{Path, PathBuf};

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
