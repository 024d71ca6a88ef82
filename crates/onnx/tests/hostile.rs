//! Damaged files end in findings, never in a panic.

use std::fs;
use std::path::Path;

use espalier_onnx::import;

fn model() -> Option<Vec<u8>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("ESPALIER_SHARED").map_or(beside, Into::into).join("models");
    let path = folder.join("own_mnist_lenet5_relu.onnx");
    match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            println!("skipped: {} is not there", path.display());
            None
        }
    }
}

#[test]
fn cut_files_are_refused() {
    let Some(bytes) = model() else { return };
    for i in 0..200 {
        let cut = bytes.len() * i / 200;
        assert!(import(&bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
    }
}

#[test]
fn flipped_bytes_do_no_harm() {
    let Some(bytes) = model() else { return };
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    // Weights take nearly all of the file; the structure lies between them.
    let structure: Vec<usize> = {
        let tail = bytes.len() - 600;
        (0..200).chain(tail..bytes.len()).collect()
    };
    let mut refused = 0;
    for round in 0..2_000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random(3) {
            let at = if round % 2 == 0 { random(damaged.len()) } else { structure[random(structure.len())] };
            damaged[at] ^= 1 << random(8);
        }
        refused += usize::from(import(&damaged).is_err());
    }
    assert!(refused > 300, "{refused} of 2000 damaged files were refused");
}
