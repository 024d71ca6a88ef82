//! Every model of `shared/models` through every engine on five real inputs: dense, with half of its cycles pruned away by
//! vectors, and the same with two vectors a row, on arrays of 8x8 and 16x16. Prints a table; fails on the first mismatch
//! or cycle that differs.
//!
//! `cargo bench --workspace --bench models -- [NAME]`, after `cargo build --release --workspace`. Takes up to an hour.
//! What one network cannot give by vectors alone (depthwise layers have none) is halved until it can.

use std::path::{Path, PathBuf};

use espalier_data::{gunzip, parse_cifar10, write_npy_f32};
use espalier_tests::{answer, espalier, shared};
use serde_json::Value;

/// What feeds a model.
struct Model {
    name: &'static str,
    /// File below `shared/data`.
    data: &'static str,
    preprocessing: &'static [&'static str],
}

const fn model(name: &'static str, data: &'static str, preprocessing: &'static [&'static str]) -> Model {
    Model { name, data, preprocessing }
}

const MODELS: [Model; 10] = [
    model("own_mnist_lenet5_relu", "mnist/t10k-images-idx3-ubyte.gz", &["--scale", "1/255"]),
    model("own_mnist_mlp_784_64_32_10", "mnist/t10k-images-idx3-ubyte.gz", &["--scale", "1/255"]),
    model("onnxzoo_mnist_cntk", "mnist/t10k-images-idx3-ubyte.gz", &[]),
    model("own_fashion_cnn_bn", "fashion-mnist/t10k-images-idx3-ubyte.gz", &["--scale", "1/255"]),
    model(
        "own_fsdd_dscnn",
        "kws/fsdd_mfcc49x10.npz",
        &[
            "--mean",
            "-84.55194,2.9193766,0.838669,-0.37121087,-1.5176316,-0.77066696,-0.57046795,-0.3093689,-0.46634343,-0.26217073",
            "--std",
            "45.804794,5.7462244,3.3977611,2.5999022,2.8508122,2.3741817,1.6817329,1.4331454,1.3108010,1.1779780",
        ],
    ),
    model("mlperf_tiny_resnet8_cifar10", "cifar10/test_batch_first1000.bin.gz", &[]),
    model(
        "resnet20_cifar10",
        "cifar10/test_batch_first1000.bin.gz",
        &["--scale", "1/255", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"],
    ),
    model(
        "mlperf_tiny_dscnn_kws",
        "kws/kws01_mfcc_int8_1000.npz",
        &["--scale", "0.5847029", "--mean", "48.530341", "--std", "1"],
    ),
    // No pictures of people here: those of CIFAR-10, enlarged.
    model("mlperf_tiny_mobilenetv1_vww96", "cifar10/test_batch_first1000.bin.gz", &["--scale", "1/255"]),
    // The windows of one clip, 640 numbers each.
    model("mlperf_tiny_ad_autoencoder", "ad/normal_id_01_00000000_hist_librosa.bin", &[]),
];

/// Name, vectors a row, share of the cycles to prune.
const VARIANTS: [(&str, &str, f64); 3] = [("dense", "1", 0.0), ("vectors", "1", 0.5), ("combined", "2", 0.5)];
const INPUTS: &str = "5";
const WINDOW: usize = 640;
/// Pictures of CIFAR-10 that are enlarged, and the factor: 32 x 32 to 96 x 96.
const PICTURES: usize = 64;
const ENLARGED: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |model: &&Model| arguments.iter().all(|a| model.name.contains(a.as_str()));
    println!("| model | array | variant | cycles, predicted = simulated | of dense | elements compared | mismatches |");
    println!("|---|---|---|---|---|---|---|");
    let mut failed = false;
    for model in MODELS.iter().filter(wanted) {
        for side in ["8", "16"] {
            for (variant, combine, sparsity) in VARIANTS {
                match verify(model, side, combine, sparsity) {
                    Ok(cells) => println!("| {} | {side}x{side} | {variant} | {cells} |", model.name),
                    Err(text) => {
                        failed = true;
                        println!("| {} | {side}x{side} | {variant} | failed | | | |", model.name);
                        eprintln!("{} {side}x{side} {variant}: {text}", model.name);
                    }
                }
            }
        }
    }
    if failed {
        std::process::exit(1);
    }
}

/// The last cells of a row.
fn verify(model: &Model, side: &str, combine: &str, sparsity: f64) -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = shared(&format!("models/{}.onnx", model.name)).ok_or("the model is not there")?;
    let data = data(model, folder.path())?;
    let design = folder.path().join("design");
    let mut sparsity = sparsity;
    loop {
        let mut compile = espalier("compile");
        compile.arg(&path).args(["--target", "u250", "--rows", side, "--cols", side, "--combine", combine]);
        compile.args(["--lane-bytes", "16384", "--depthwise-taps", "3", "--sparsity", &sparsity.to_string()]);
        compile.arg("--calibration").arg(&data).args(model.preprocessing).arg("--out").arg(&design);
        match answer(compile) {
            Err(text) if text.contains("budget-not-met") && sparsity > 0.05 => sparsity /= 2.0,
            result => {
                result?;
                break;
            }
        };
    }
    let mut verify = espalier("verify");
    verify.arg(&design).args(["--samples", INPUTS, "--data"]).arg(&data).args(model.preprocessing);
    let report = answer(verify)?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).ok_or_else(|| format!("{path} is missing"));
    let (cycles, dense) = (number("/cycles/simulated")?, number("/cycles/dense")?);
    let (elements, mismatches) = (number("/verification/elements")?, number("/verification/mismatches")?);
    if number("/cycles/predicted")? != cycles || mismatches > 0 || elements == 0 {
        return Err(format!("predicted and simulated cycles differ, or {mismatches} of {elements} elements"));
    }
    Ok(format!("{cycles} | {:.1} % | {elements} | {mismatches}", 100.0 * cycles as f64 / dense as f64))
}

/// The calibration and verification data of a model, converted where they are bare numbers.
fn data(model: &Model, folder: &Path) -> Result<PathBuf, String> {
    let path = shared(&format!("data/{}", model.data)).ok_or("the data is not there")?;
    let read = || std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()));
    if model.name.contains("vww96") {
        let npy = folder.join("enlarged.npy");
        std::fs::write(&npy, enlarged(&read()?)?).map_err(|e| e.to_string())?;
        return Ok(npy);
    }
    if !model.data.starts_with("ad/") {
        return Ok(path);
    }
    let bytes = read()?;
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let rows = values.len() / WINDOW;
    let npy = folder.join("windows.npy");
    std::fs::write(&npy, write_npy_f32(&[rows, WINDOW], &values[..rows * WINDOW])).map_err(|e| e.to_string())?;
    Ok(npy)
}

/// Some pictures of a file in the form of CIFAR-10, each pixel as a square of pixels, as NPY `[picture, channel, y, x]`.
fn enlarged(file: &[u8]) -> Result<Vec<u8>, String> {
    let bytes = gunzip(file, "pictures").map_err(|e| e.to_string())?;
    let (pictures, _) = parse_cifar10(&bytes, "pictures").map_err(|e| e.to_string())?;
    let [_, channels, height, width] = pictures.shape[..] else { return Err("not pictures".to_owned()) };
    let (tall, wide) = (ENLARGED * height, ENLARGED * width);
    let values: Vec<f32> = (0..PICTURES * channels * tall * wide)
        .map(|i| {
            let (plane, y, x) = (i / (tall * wide), i / wide % tall / ENLARGED, i % wide / ENLARGED);
            pictures.values[(plane * height + y) * width + x]
        })
        .collect();
    Ok(write_npy_f32(&[PICTURES, channels, tall, wide], &values))
}
