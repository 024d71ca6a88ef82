//! Training from scratch and transfer on the built binary.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use common::bars;
use espalier_data::{write_npy_f32, write_npy_i8};

const NET: &str = "
name = 'bars'
input.shape = [1, 12, 12]
layers = [
  { op = 'conv', channels = 8, kernel = 3, pads = 'same', name = 'conv_a' },
  { op = 'batch_norm', name = 'norm_a' },
  { op = 'relu' },
  { op = 'max_pool', kernel = 3 },
  { op = 'flatten' },
  { op = 'dropout', rate = 0.1 },
  { op = 'dense', features = 4, name = 'head' },
]
";

/// A project that trains [`NET`] on bars, in a folder of its own.
fn project(folder: &Path, model: &str, train: &str) -> PathBuf {
    if !folder.join("train.npy").exists() {
        bars(folder, "train", (1, 0.6), 600);
        bars(folder, "test", (2, 0.6), 300);
        fs::write(folder.join("net.toml"), NET).unwrap();
    }
    let text = format!(
        "seed = 5\n{model}\ntarget.name = 'ecp5-85f'\nbudget.max_accuracy_drop = 5\n[data]\ntrain = 'train.npy'\n\
         train_labels = 'train_labels.npy'\ntest = 'test.npy'\ntest_labels = 'test_labels.npy'\n\
         [quantize]\nqat_epochs = 0\n[verify]\nsamples = 1\n[train]\n{train}\n"
    );
    let path = folder.join("espalier.toml");
    fs::write(&path, text).unwrap();
    path
}

const ARCHITECTURE: &str = "model.architecture = 'net.toml'";

fn espalier(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--json"]).args(arguments).output().unwrap()
}

fn answer(arguments: &[&str]) -> Value {
    let output = espalier(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = espalier(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_network_is_trained_from_scratch_and_the_seed_decides() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), ARCHITECTURE, "epochs = 6");
    let report = answer(&["train", text(&project)]);
    assert_eq!(report["model"], "bars");
    assert_eq!(report["parameters"], 8 * 9 + 8 + 16 + 4 * 128 + 4);
    assert_eq!(report["data"]["train"].as_u64().unwrap() + report["data"]["validation"].as_u64().unwrap(), 600);
    assert_eq!((&report["test"]["samples"], &report["seed"], &report["epochs"]), (&300.into(), &5.into(), &6.into()));
    assert!(report["test"]["value"].as_f64().unwrap() > 0.9, "{report}");
    let best = report["best_epoch"].as_u64().unwrap() as usize;
    let course = report["course"].as_array().unwrap();
    let validation: Vec<f64> = course.iter().map(|e| e["validation"].as_f64().unwrap()).collect();
    assert_eq!(report["validation"]["value"], validation[best - 1], "the best epoch was kept");
    assert!(validation.iter().all(|v| *v <= validation[best - 1]), "{validation:?}");

    let model = folder.path().join("out.trained.onnx");
    let bytes = fs::read(&model).unwrap();
    let on_paper: Value = serde_json::from_slice(&fs::read(model.with_extension("json")).unwrap()).unwrap();
    assert_eq!(on_paper, report);
    assert_eq!(answer(&["inspect", text(&model)])["parameters"], report["parameters"]);
    let leftovers = fs::read_dir(folder.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("partial"));
    assert_eq!(leftovers.count(), 0);

    let again = folder.path().join("again.onnx");
    let repeated = answer(&["train", text(&project), "--out", text(&again)]);
    assert_eq!(fs::read(&again).unwrap(), bytes);
    assert_eq!(repeated["fingerprint"], report["fingerprint"]);
    let other = answer(&["train", text(&project), "--out", text(&again), "--seed", "6", "--epochs", "1"]);
    assert_ne!(fs::read(&again).unwrap(), bytes);
    assert_ne!(other["fingerprint"]["inputs"], report["fingerprint"]["inputs"]);
    assert_eq!(other["epochs"], 1);
}

#[test]
fn given_validation_samples_decide_and_those_of_another_part_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), ARCHITECTURE, "epochs = 1");
    bars(folder.path(), "val", (3, 0.6), 100);
    let base = fs::read_to_string(&path).unwrap();
    let with = |keys: &str| {
        fs::write(&path, base.replace("[data]\n", &format!("[data]\n{keys}\n"))).unwrap();
        let output = espalier(&["train", text(&path)]);
        (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, report, log) = with("validation = 'val.npy'\nvalidation_labels = 'val_labels.npy'");
    assert!(code == Some(0) && !log.contains("repeated-samples"), "{log}");
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!([&report["data"]["train"], &report["data"]["validation"]], [&Value::from(600), &Value::from(100)]);
    assert_eq!(report["validation"]["samples"], 100);

    let (code, _, log) =
        with("validation = ['val.npy', 'test.npy']\nvalidation_labels = ['val_labels.npy', 'test_labels.npy']");
    assert!(code == Some(0) && log.contains("300 of 300 test samples are validation samples, too"), "{log}");
    let (code, _, log) = with("validation = 'val.npy'");
    assert!(code == Some(2) && log.contains("data.validation_labels"), "{log}");

    // `init` finds them by their name, and takes no samples of evaluation for them.
    let found = folder.path().join("found.toml");
    let model = folder.path().join("out.trained.onnx");
    let init = || answer(&["init", text(&model), text(folder.path()), "--target", "ecp5-85f", "--out", text(&found)]);
    let samples = init();
    assert_eq!((&samples["validation_samples"], &samples["test_samples"]), (&100.into(), &300.into()));
    let written = fs::read_to_string(&found).unwrap();
    assert!(written.contains("validation = \"val.npy\"\nvalidation_labels = \"val_labels.npy\""), "{written}");
    for name in ["val.npy", "val_labels.npy"] {
        fs::rename(folder.path().join(name), folder.path().join(format!("e{name}"))).unwrap();
    }
    fs::remove_file(&found).unwrap();
    assert_eq!(init()["validation_samples"], Value::Null);
    assert!(!fs::read_to_string(&found).unwrap().contains("validation ="));
}

#[test]
fn a_run_trains_once_and_again_only_if_something_changed() {
    if !Command::new("verilator").arg("--version").output().is_ok_and(|o| o.status.success()) {
        assert!(std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Verilator is required but missing");
        eprintln!("skipped: Verilator is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), ARCHITECTURE, "epochs = 4");
    let trained = answer(&["train", text(&path)]);
    let run = || {
        let output = espalier(&["run", text(&path)]);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{log}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["verification"]["mismatches"], 0);
        assert!(report["accuracy"]["int8"]["value"].as_f64().unwrap() > 0.85, "{}", report["accuracy"]);
        let kept: Value = serde_json::from_slice(&fs::read(folder.path().join("out.trained.json")).unwrap()).unwrap();
        assert_eq!(report["accuracy"]["baseline"], kept["test"]);
        (log.contains("is of the same network"), kept)
    };
    assert_eq!(run(), (true, trained.clone()));
    project(folder.path(), ARCHITECTURE, "epochs = 4\nmomentum = 0.8");
    let (used_again, other) = run();
    assert!(!used_again && other["fingerprint"] != trained["fingerprint"]);
}

#[test]
fn whatever_a_training_depends_on_changes_its_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("net.onnx");
    let inputs = |options: &str, more: &[&str]| {
        let path = project(folder.path(), ARCHITECTURE, options);
        let report = answer(&[&["train", text(&path), "--out", text(&out), "--epochs", "1"], more].concat());
        report["fingerprint"]["inputs"].as_str().unwrap().to_owned()
    };
    let plain = inputs("", &[]);
    assert_eq!(plain, inputs("", &[]));
    let mut all = vec![plain, inputs("average = 0.5", &[]), inputs("", &["--seed", "9"])];
    fs::write(folder.path().join("net.toml"), NET.replace("channels = 8", "channels = 6")).unwrap();
    all.push(inputs("", &[]));
    bars(folder.path(), "train", (7, 0.6), 600);
    all.push(inputs("", &[]));
    let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), 5, "{all:?}");
}

#[test]
fn transfer_takes_over_what_is_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), ARCHITECTURE, "epochs = 4");
    answer(&["train", text(&path)]);
    let body = folder.path().join("out.trained.onnx");
    // The new task: is the bar horizontal? Labels 0, 0, 1, 1.
    let to_two = |name: &str| {
        let path = folder.path().join(name);
        let array = espalier_data::parse_npy(&fs::read(&path).unwrap(), "t").unwrap();
        let labels: Vec<i8> = array.values.iter().map(|l| (*l as i8) / 2).collect();
        fs::write(path, write_npy_i8(&[labels.len()], &labels)).unwrap();
    };
    to_two("train_labels.npy");
    to_two("test_labels.npy");
    let out = folder.path().join("two.onnx");
    let params = |path: &Path| -> Vec<(String, Vec<f32>)> {
        let graph = espalier_onnx::import(&fs::read(path).unwrap()).unwrap();
        graph.params().map(|(_, name, t)| (name.to_owned(), t.as_f32().to_vec())).collect()
    };
    let unequal = |path: &Path| -> Vec<String> {
        let pairs = params(&body).into_iter().zip(params(path));
        pairs.filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect()
    };
    let path = project(folder.path(), ARCHITECTURE, "epochs = 3");
    let report = answer(&["train", text(&path), "--from", text(&body), "--out", text(&out)]);
    assert!(report["test"]["value"].as_f64().unwrap() > 0.9, "{report}");
    assert_eq!(answer(&["inspect", text(&out)])["parameters"], 8 * 9 + 8 + 16 + 2 * 128 + 2);
    assert_eq!(unequal(&out), ["head.weight", "head.bias"]);

    let transfer = |section: &str| {
        let model = format!("model.path = '{}'", body.display());
        let path = project(folder.path(), &model, &format!("epochs = 3\ntransfer = {{ {section} }}"));
        let report = answer(&["train", text(&path), "--out", text(&out)]);
        assert_eq!((&report["epochs"], report["course"].as_array().unwrap().len()), (&3.into(), 3));
        unequal(&out)
    };
    let only_norm = transfer("classes = 5, freeze = ['conv*']");
    assert!(only_norm.iter().any(|n| n.contains("norm_a")) && !only_norm.iter().any(|n| n.contains("conv_a")));
    assert_eq!(answer(&["inspect", text(&out)])["parameters"], 8 * 9 + 8 + 16 + 5 * 128 + 5);
    let all = transfer("unfreeze_after = 1, unfreeze_learning_rate = 0.02");
    assert!(all.iter().any(|n| n.contains("conv_a")), "{all:?}");
}

#[test]
fn what_cannot_be_trained_is_said_before_any_training() {
    let folder = tempfile::tempdir().unwrap();
    let train = |model: &str, options: &str| {
        let path = project(folder.path(), model, options);
        refused(&["train", text(&path)])
    };
    let both = train("model.path = 'a.onnx'\nmodel.architecture = 'net.toml'", "epochs = 0\nbatch = 0");
    for expected in ["give one of path", "train.epochs", "train.batch"] {
        assert!(both.contains(expected), "{expected} in {both}");
    }
    assert!(train("model = {}", "").contains("give one of path"));
    assert!(train(ARCHITECTURE, "transfer = { classes = 2 }").contains("needs a trained model"));
    assert!(
        train("model.path = 'a.onnx'", "transfer = { freeze = 'everything' }").contains("neither \"all but the head\"")
    );
    assert!(train("model.path = 'a.onnx'", "epochs = 2\ntransfer = { unfreeze_after = 2 }").contains("below epochs"));
    assert!(train("model.architecture = 'absent.toml'", "").contains("missing-file"));
    fs::write(folder.path().join("bad.toml"), NET.replace("'relu'", "'rleu'").replace("kernel = 3 }", "kernle = 3 }"))
        .unwrap();
    let bad = train("model.architecture = 'bad.toml'", "");
    assert!(
        bad.contains("bad.toml:7") && bad.contains("did you mean 'relu'?") && bad.contains("did you mean 'kernel'?"),
        "{bad}"
    );
    fs::write(folder.path().join("three.toml"), NET.replace("features = 4", "features = 3")).unwrap();
    assert!(train("model.architecture = 'three.toml'", "").contains("label"), "labels must fit the network");

    // A network whose last layer is no classifier cannot get another head; nothing is written then.
    let sum = "input.shape = [1, 12, 12]\nlayers = [{ op = 'flatten' }, { op = 'dense', features = 4, name = 'a' },\n\
               { op = 'add', with = 'a' }]\n";
    fs::write(folder.path().join("sum.toml"), sum).unwrap();
    let path = project(folder.path(), "model.architecture = 'sum.toml'", "epochs = 1");
    let model = folder.path().join("sum.onnx");
    answer(&["train", text(&path), "--out", text(&model)]);
    let out = folder.path().join("new.onnx");
    let headless = refused(&["train", text(&path), "--from", text(&model), "--out", text(&out)]);
    assert!(headless.contains("no-classifier-head"), "{headless}");
    let frozen = project(folder.path(), "model.path = 'sum.onnx'", "transfer = { freeze = ['b*'] }");
    assert!(refused(&["train", text(&frozen), "--out", text(&out)]).contains("no-classifier-head"));
    assert!(!out.exists());
    assert!(refused(&["train", text(&path), "--out", text(&folder.path().join("net.bin"))]).contains("output-file"));
}

/// A sample shows its label as a pattern of every tenth value; the loss falls within a few steps.
#[test]
fn every_architecture_of_the_examples_learns() {
    let folder = tempfile::tempdir().unwrap();
    let architectures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/architectures");
    let mut files: Vec<PathBuf> = fs::read_dir(architectures).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 9);
    for file in files {
        let options = "epochs = 6\noptimizer = 'adam'\nlearning_rate = 0.005\nbatch = 8";
        let path = project(folder.path(), &format!("model.architecture = '{}'", file.display()), options);
        let graph = espalier_architecture::read(&fs::read_to_string(&file).unwrap(), "net", 1).unwrap().graph;
        let shape = graph.node(graph.inputs()[0]).shape.clone();
        let mut random = espalier_ir::Random::new(3);
        for name in ["train", "test"] {
            let labels: Vec<i8> = (0..20).map(|_| random.below(10) as i8).collect();
            let pattern = |label: &i8, i: usize| f32::from(u8::from(i % 10 == *label as usize));
            let len: usize = shape.iter().product();
            let values = labels.iter().flat_map(|l| (0..len).map(move |i| pattern(l, i))).collect::<Vec<_>>();
            let samples = write_npy_f32(&[&[20], shape.as_slice()].concat(), &values);
            fs::write(folder.path().join(format!("{name}.npy")), samples).unwrap();
            fs::write(folder.path().join(format!("{name}_labels.npy")), write_npy_i8(&[20], &labels)).unwrap();
        }
        let out = folder.path().join("net.onnx");
        let report = answer(&["train", text(&path), "--out", text(&out)]);
        let loss = |epoch: usize| report["course"][epoch]["loss"].as_f64().unwrap();
        assert!(loss(5) < 0.97 * loss(0), "{}: loss {} to {}", file.display(), loss(0), loss(5));
        assert_eq!(report["parameters"], graph.parameter_count(), "{}", file.display());
    }
}

/// A file of the `shared/` folder beside the repository, if there is one.
fn shared(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ESPALIER_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = root.join(relative);
    if !path.exists() {
        eprintln!("skipped: {relative} is not in a shared/ folder beside the repository");
        return None;
    }
    Some(path)
}

/// Features of digits serve clothes: better than those of a random body, and that with few samples.
#[test]
fn lenet_for_digits_transfers_to_clothes() {
    let Some(clothes) = shared("data/fashion-mnist") else { return };
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| espalier_data::parse(&fs::read(clothes.join(name)).unwrap(), name, None).unwrap();
    // The first thousand training samples, and two thousand test samples.
    for (part, name, samples) in [("train10k", "train", 1000), ("t10k", "test", 2000)] {
        let espalier_data::Content::Array(images) = read(&format!("{part}-images-idx3-ubyte.gz")) else { panic!() };
        let espalier_data::Content::Array(labels) = read(&format!("{part}-labels-idx1-ubyte.gz")) else { panic!() };
        let labels: Vec<i8> = labels.values[..samples].iter().map(|l| *l as i8).collect();
        let images = write_npy_f32(&[samples, 1, 28, 28], &images.values[..samples * 784]);
        fs::write(folder.path().join(format!("{name}.npy")), images).unwrap();
        fs::write(folder.path().join(format!("{name}_labels.npy")), write_npy_i8(&[samples], &labels)).unwrap();
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let lenet = examples.join("lenet5-mnist/own_mnist_lenet5_relu.onnx");
    // An untrained body: the architecture with its initial weights, after one epoch that changes next to nothing.
    let architecture = format!("model.architecture = '{}'", examples.join("architectures/lenet5.toml").display());
    let options = "epochs = 1\nlearning_rate = 1e-9\nweight_decay = 0.0";
    let path = project(folder.path(), &architecture, options);
    let scaled = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("[quantize]", "preprocessing.scale = '1/255'\n[quantize]")).unwrap();
    };
    scaled(&path);
    let random = folder.path().join("random.onnx");
    answer(&["train", text(&path), "--out", text(&random)]);
    let path = project(folder.path(), &architecture, "epochs = 8\nlearning_rate = 0.02\nbatch = 32");
    scaled(&path);
    let [known, unknown] = [&lenet, &random].map(|model| {
        let out = folder.path().join("clothes.onnx");
        let report = answer(&["train", text(&path), "--from", text(model), "--out", text(&out)]);
        report["test"]["value"].as_f64().unwrap()
    });
    println!("transfer: {:.2} % of the test samples, from an untrained body {:.2} %", 100.0 * known, 100.0 * unknown);
    assert!(known > 0.65 && known > unknown + 0.03, "{known} from digits, {unknown} from random weights");
}
