//! What a user may get wrong: exit code, code of the finding, and nothing left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn example(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(relative)
}

fn lenet() -> PathBuf {
    example("lenet5-mnist/own_mnist_lenet5_relu.onnx")
}

fn espalier(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).arg("--quiet").args(arguments).output().unwrap()
}

/// The command fails with `exit`, names `code`, gives help where promised, and does not panic.
fn fails(output: &Output, exit: i32, code: &str) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{text}");
    assert!(text.contains(&format!("error[{code}]")), "expected {code} in:\n{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The LeNet project with `change` applied to its text, in a folder of its own.
fn project(folder: &Path, change: impl Fn(String) -> String) -> PathBuf {
    let original = fs::read_to_string(example("lenet5-mnist/espalier.toml")).unwrap();
    let absolute = original
        .replace("\"../mnist/", &format!("\"{}/", example("mnist").display()))
        .replace("\"own_mnist", &format!("\"{}/own_mnist", example("lenet5-mnist").display()));
    let path = folder.join("espalier.toml");
    fs::write(&path, change(absolute)).unwrap();
    path
}

#[test]
fn files_that_are_no_models() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(lenet()).unwrap();
    for (name, bytes) in [("cut", &bytes[..bytes.len() / 2]), ("text", b"not a model".as_slice()), ("empty", &[])] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let output = espalier(&["inspect", text(&path)]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.contains("error[") && !stderr.contains("panicked"), "{name}: {stderr}");
    }
    fails(&espalier(&["inspect", text(&folder.path().join("absent.onnx"))]), 2, "missing-file");
}

#[test]
fn unknown_targets_and_impossible_arrays() {
    let model = lenet();
    let output = espalier(&["estimate", text(&model), "--target", "no-such-chip"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ecp5-85f"), "the known targets are listed");
    let output = espalier(&["estimate", text(&model), "--target", "ecp5-85f", "--rows", "33"]);
    fails(&output, 2, "invalid-accelerator");
    let output = espalier(&["estimate", text(&model), "--target", "ecp5-85f", "--lane-bytes", "64"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    let output = espalier(&["estimate", text(&model), "--target", "ecp5-85f", "--multiplier", "packed"]);
    let message = fails(&output, 2, "multiplier-not-available");
    assert!(message.contains("25 x 8 bits") && message.contains("max_multipliers"), "{message}");
    let output = espalier(&["estimate", text(&model), "--target", "xc7z020", "--multiplier", "booth"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("plain, packed, lut"));
}

#[test]
fn multipliers_of_a_project() {
    let folder = tempfile::tempdir().unwrap();
    let with = |keys: &str| {
        let change = |text: String| text.replace("[accelerator]\n", &format!("[accelerator]\n{keys}\n"));
        espalier(&["run", text(&project(folder.path(), change))])
    };
    fails(&with("multiplier = \"packed\""), 2, "multiplier-not-available");
    let output = with("multiplier = \"shared\"");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("packed"));
}

#[test]
fn data_that_does_not_exist_or_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let model = lenet();
    let out = folder.path().join("out");
    let compile = |data: &str| {
        espalier(&["compile", text(&model), "--target", "ecp5-85f", "--calibration", data, "--out", text(&out)])
    };
    fails(&compile("absent.npy"), 2, "missing-file");
    // 10,000 labels are no images of 28 x 28.
    let output = compile(text(&example("mnist/t10k-labels-idx1-ubyte.gz")));
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("28"), "the expected shape is named");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn unknown_keys_are_shown_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), |t| t.replace("[verify]", "[verify]\nspeed = 3"));
    let message = fails(&espalier(&["run", text(&path)]), 2, "bad-project-file");
    assert!(message.contains("speed"), "{message}");
}

#[test]
fn a_budget_out_of_reach_names_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), |t| t.replace("cycles_fraction = 0.33", "cycles = 100"));
    let message = fails(&espalier(&["run", text(&path)]), 1, "budget-not-met");
    assert!(message.contains("100") && message.contains("help"), "{message}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn missing_verilator_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), |t| t);
    let output = Command::new(env!("CARGO_BIN_EXE_espalier"))
        .args(["--quiet", "run", text(&path)])
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let message = fails(&output, 2, "missing-tool");
    assert!(message.contains("apt-get install"), "{message}");
}

#[test]
fn foreign_folders_and_files_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let model = lenet();
    let precious = folder.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("thesis.tex"), "years of work").unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for out in [&precious, &file, &file.join("below")] {
        let output = espalier(&[
            "compile",
            text(&model),
            "--target",
            "ecp5-85f",
            "--calibration",
            "random:4",
            "--out",
            text(out),
        ]);
        fails(&output, 2, "output-folder");
    }
    assert_eq!(fs::read_to_string(precious.join("thesis.tex")).unwrap(), "years of work");
}

#[test]
fn a_killed_run_leaves_no_result_and_the_next_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), |t| t);
    let mut child = Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--quiet", "run", text(&path)]).spawn().unwrap();
    // Long enough to be at work, far too short to finish training.
    std::thread::sleep(std::time::Duration::from_secs(2));
    child.kill().unwrap();
    child.wait().unwrap();
    let out = folder.path().join("out");
    assert!(!out.exists(), "a killed run leaves no result");
    let model = lenet();
    let output =
        espalier(&["compile", text(&model), "--target", "ecp5-85f", "--calibration", "random:4", "--out", text(&out)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.join("report.json").is_file());
    // A checkpoint is there only if an epoch was done in time; it is the killed run's, to be resumed.
    let names = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
    let left = names.filter(|name| !name.to_string_lossy().ends_with(".checkpoint"));
    assert_eq!(left.count(), 2, "the project and its result, no left-overs");
}

#[test]
fn a_flipped_weight_makes_verification_fail() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let model = lenet();
    let output =
        espalier(&["compile", text(&model), "--target", "ecp5-85f", "--calibration", "random:4", "--out", text(&out)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let has_compiler = Command::new("g++").arg("--version").output().is_ok();
    let engines = if has_compiler { "reference,machine,hls" } else { "reference,machine" };
    let verify = || espalier(&["verify", text(&out), "--samples", "2", "--engines", engines]);
    assert!(verify().status.success());
    let path = out.join("memory/weights.hex");
    let mut image = fs::read(&path).unwrap();
    // The last digit of the first word: bit 6 of the weight of column 0.
    let digit = image.iter().position(|b| *b == b'\n').unwrap() - 2;
    image[digit] = if image[digit] == b'0' { b'4' } else { b'0' };
    fs::write(&path, image).unwrap();
    let output = verify();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("error["), "{message}");
    if has_compiler {
        let output = espalier(&["verify", text(&out), "--samples", "2", "--engines", "hls"]);
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("hls, input 0, layer 0") && message.contains("instruction"), "{message}");
    }
}

#[test]
fn a_missing_compiler_is_an_error_only_if_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let model = lenet();
    let output =
        espalier(&["compile", text(&model), "--target", "ecp5-85f", "--calibration", "random:4", "--out", text(&out)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verify = |engines: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
        command.args(["verify", text(&out), "--samples", "1"]).args(engines).env("PATH", folder.path());
        command.output().unwrap()
    };
    let message = fails(&verify(&["--engines", "reference,hls"]), 2, "missing-tool");
    assert!(message.contains("g++") && message.contains("apt-get install"), "{message}");
    assert!(verify(&["--engines", "reference,machine"]).status.success());
    // Something that answers like Verilator, but no g++: the line is printed before the simulation is built.
    let fake = folder.path().join("verilator");
    fs::write(&fake, "#!/bin/sh\necho Verilator 0\n").unwrap();
    let executable = Command::new("chmod").args(["+x", text(&fake)]).status().unwrap();
    assert!(executable.success());
    let output = verify(&[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(message.contains("skipped: the HLS kernel"), "{message}");
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A length-delimited protobuf field.
fn field(number: u64, payload: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(payload.len() as u64), payload.to_vec()].concat()
}

/// An integer protobuf field.
fn integer(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A model of nodes without parameters in a chain, on an input of the given dimensions.
fn model(dimensions: &[u64], operators: &[&str]) -> Vec<u8> {
    let value = |name: &str| {
        let dims: Vec<u8> = dimensions.iter().flat_map(|d| field(1, &integer(1, *d))).collect();
        let tensor = [integer(1, 1), field(2, &dims)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    };
    let node = |(i, operator): (usize, &&str)| {
        let [from, to, name] = [format!("v{i}"), format!("v{}", i + 1), format!("node{i}")];
        let parts = [(1, from.as_str()), (2, &to), (3, &name), (4, operator)];
        field(1, &parts.iter().flat_map(|(n, text)| field(*n, text.as_bytes())).collect::<Vec<u8>>())
    };
    let nodes: Vec<u8> = operators.iter().enumerate().flat_map(node).collect();
    let ends = [field(11, &value("v0")), field(12, &value(&format!("v{}", operators.len())))].concat();
    let graph = [nodes, field(2, b"g"), ends].concat();
    [integer(1, 8), field(7, &graph), field(8, &integer(2, 13))].concat()
}

#[test]
fn unsupported_operators_are_listed_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    fs::write(&path, model(&[1, 2, 4, 4], &["Relu", "Einsum", "Relu", "NonZero"])).unwrap();
    let output = espalier(&["inspect", text(&path)]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    for place in ["node1", "Einsum", "node3", "NonZero", "help"] {
        assert!(message.contains(place), "{place} in {message}");
    }
    fs::write(&path, model(&[1, 2, 4, 4], &["Relu", "Relu"])).unwrap();
    assert!(espalier(&["inspect", text(&path)]).status.success(), "the models of this test are well-formed");
}

#[test]
fn absurd_dimensions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    for dimensions in [[1, u64::MAX >> 1, 4, 4], [1, 1 << 20, 1 << 20, 4], [1, 2, 0, 4]] {
        fs::write(&path, model(&dimensions, &["Relu"])).unwrap();
        let output = espalier(&["inspect", text(&path)]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{dimensions:?}: {message}");
        assert!(message.contains("error[") && !message.contains("panicked"), "{dimensions:?}: {message}");
    }
}

#[test]
fn a_wrong_criterion_is_answered_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| {
        project(folder.path(), |t| t.replace("# criterion = \"taylor\"", &format!("criterion = \"{name}\"")))
    };
    let text = fails(&espalier(&["run", text(&named("hranc"))]), 2, "bad-project-file");
    assert!(text.contains("did you mean 'hrank'?") && text.contains("espalier prune --list-criteria"), "{text}");
}

#[test]
fn a_criterion_for_channels_does_not_start_a_project_that_prunes_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), |t| t.replace("# criterion = \"taylor\"", "criterion = \"bn-scale\""));
    let text = fails(&espalier(&["run", text(&path)]), 2, "criterion-not-for-vectors");
    assert!(text.contains("units = \"channels\""), "{text}");
}
