//! Runs that are killed and continued on the built binary.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use common::bars;

const NET: &str = "
name = 'bars'
input.shape = [1, 12, 12]
layers = [
  { op = 'conv', channels = 16, kernel = 3, pads = 'same' },
  { op = 'batch_norm' },
  { op = 'relu' },
  { op = 'max_pool', kernel = 3 },
  { op = 'conv', channels = 24, kernel = 3, pads = 'same' },
  { op = 'relu' },
  { op = 'flatten' },
  { op = 'dense', features = 4 },
]
";

/// Training, two rounds with a criterion chosen by probing and regrowth, and rounding.
const PROJECT: &str = "
seed = 5
model.architecture = 'net.toml'
target.name = 'ecp5-85f'
budget = { cycles_fraction = 0.6, max_accuracy_drop = 50 }
quantize = { qat_threshold = 0.0, qat_epochs = 2 }
verify.samples = 1
train.epochs = 3
[data]
train = 'train.npy'
train_labels = 'train_labels.npy'
test = 'test.npy'
test_labels = 'test_labels.npy'
[prune]
criterion = 'adaptive'
candidates = ['l2', 'random']
steps = 2
epochs = 4
final_epochs = 5
regrow = true
";

/// `espalier train` if a model is to be written, else `espalier run`.
fn arguments(project: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
    let name = if out.extension().is_some_and(|e| e == "onnx") { "train" } else { "run" };
    command.args(["--json", "--quiet", name]).arg(project).arg("--out").arg(out).args(more);
    command
}

/// Runs to the end.
fn finish(project: &Path, out: &Path, more: &[&str]) {
    let output = arguments(project, out, more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn refused(project: &Path, out: &Path, more: &[&str]) -> String {
    let output = arguments(project, out, more).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Kills a run as soon as its checkpoint is longer than `bytes`; the length then.
fn kill(project: &Path, out: &Path, checkpoint: &Path, more: &[&str], bytes: u64) -> u64 {
    let mut child = arguments(project, out, more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while fs::metadata(checkpoint).map_or(0, |m| m.len()) <= bytes {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        assert!(start.elapsed() < Duration::from_secs(300), "the checkpoint does not grow beyond {bytes} bytes");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    fs::metadata(checkpoint).unwrap().len()
}

/// What a run leaves, without times.
fn result(out: &Path) -> (Vec<Vec<u8>>, Value) {
    let files = ["model.onnx", "plan.json", "prune-log.jsonl"].map(|name| fs::read(out.join(name)).unwrap());
    let mut report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    report.as_object_mut().unwrap().remove("stages");
    for engine in report["verification"]["by_engine"].as_array_mut().unwrap() {
        engine.as_object_mut().unwrap().remove("seconds");
    }
    (files.to_vec(), report)
}

fn prepare(folder: &Path) -> PathBuf {
    bars(folder, "train", (1, 2.0), 1500);
    bars(folder, "test", (2, 2.0), 200);
    fs::write(folder.join("net.toml"), NET).unwrap();
    let project = folder.join("espalier.toml");
    fs::write(&project, PROJECT).unwrap();
    project
}

#[test]
fn a_run_killed_again_and_again_ends_like_one_that_was_not() {
    if !Command::new("verilator").arg("--version").output().is_ok_and(|o| o.status.success()) {
        assert!(std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Verilator is required but missing");
        eprintln!("skipped: Verilator is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let project = prepare(folder.path());
    let whole = folder.path().join("a").join("out");
    finish(&project, &whole, &["--resume"]);

    // In the training, in a round of pruning, and in a later one.
    let out = folder.path().join("b").join("out");
    let checkpoint = out.with_file_name(".out.checkpoint");
    let first = kill(&project, &out, &checkpoint, &[], 0);
    let text = refused(&project, &out, &[]);
    assert!(text.contains("checkpoint-exists") && text.contains("--resume"), "{text}");
    let second = kill(&project, &out, &checkpoint, &["--resume"], first + first / 4);
    kill(&project, &out, &checkpoint, &["--resume"], second + second / 8);

    let bytes = fs::read(&checkpoint).unwrap();
    let other = folder.path().join("other.toml");
    fs::write(&other, PROJECT.replace("steps = 2", "steps = 3")).unwrap();
    let text = refused(&other, &out, &["--resume", "--seed", "6"]);
    assert!(text.contains("seed: 5 in the checkpoint, 6 now"), "{text}");
    assert!(text.contains("[prune]: steps: 2 in the checkpoint, steps: 3 now"), "{text}");
    assert!(text.contains("training samples"), "the seed divides the samples: {text}");
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused(&project, &out, &["--resume"]).contains("bad-checkpoint"));
    assert!(checkpoint.exists(), "nothing is lost by a refusal");
    fs::write(&checkpoint, bytes).unwrap();

    finish(&project, &out, &["--resume"]);
    let ((files, report), (expected_files, expected_report)) = (result(&out), result(&whole));
    assert_eq!(report, expected_report);
    assert!(files == expected_files, "model, plan or log differ");
    let hidden = |e: &fs::DirEntry| e.file_name().to_string_lossy().starts_with('.');
    let left = fs::read_dir(out.parent().unwrap()).unwrap().map(Result::unwrap).filter(hidden);
    assert_eq!(left.count(), 0, "checkpoint and partial folder are gone");
}

#[test]
fn a_training_that_was_killed_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let project = prepare(folder.path());
    let [whole, out] = ["whole.onnx", "net.onnx"].map(|name| folder.path().join(name));
    finish(&project, &whole, &[]);
    let checkpoint = folder.path().join(".net.onnx.checkpoint");
    kill(&project, &out, &checkpoint, &[], 0);
    let text = refused(&project, &out, &[]);
    assert!(text.contains("checkpoint-exists") && text.contains("--resume"), "{text}");
    let text = refused(&project, &out, &["--resume", "--epochs", "4"]);
    assert!(text.contains("[train]: epochs: 3 in the checkpoint, epochs: 4 now"), "{text}");
    assert!(!out.exists());
    finish(&project, &out, &["--resume"]);
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap(), "the models differ");
    assert!(!checkpoint.exists());
}
