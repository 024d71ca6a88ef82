//! What several tests of the built binary share.

use std::fs;
use std::path::Path;

use espalier_data::{write_npy_f32, write_npy_i8};

/// Pictures 1 x 12 x 12 of a bar in noise: horizontal or vertical, left/upper or right/lower half; `noise` is the width of
/// what is added to each pixel.
pub fn bars(folder: &Path, name: &str, (seed, noise): (u64, f32), samples: usize) {
    let mut random = espalier_ir::Random::new(seed);
    let (mut pictures, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let label = random.below(4);
        let position = random.below(6) + 6 * (label & 1);
        for pixel in 0..144 {
            let on = if label & 2 == 0 { pixel / 12 == position } else { pixel % 12 == position };
            pictures.push(f32::from(u8::from(on)) + noise * (random.unit() - 0.5));
        }
        labels.push(label as i8);
    }
    fs::write(folder.join(format!("{name}.npy")), write_npy_f32(&[samples, 1, 12, 12], &pictures)).unwrap();
    fs::write(folder.join(format!("{name}_labels.npy")), write_npy_i8(&[samples], &labels)).unwrap();
}
