//! Files of a compiled folder: the same for the same model, whole in an archive, and harmless whatever a model is called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn example(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(relative)
}

fn espalier(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--quiet", "--json"]).args(arguments).output().unwrap()
}

fn compile(model: &Path, out: &Path, extra: &[&str]) -> Output {
    let images = example("mnist/t10k-images-idx3-ubyte.gz");
    let [model, out, images] = [model, out, &images].map(|path| path.to_str().unwrap());
    let fixed = ["compile", model, "--calibration", images, "--scale", "1/255", "--out", out];
    espalier(&[&fixed, extra].concat())
}

/// Every file below a folder, but those that note how long something took.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found.retain(|name, _| !["report.json", "report.html", ".espalier"].contains(&name.as_str()));
    found
}

#[test]
fn two_runs_write_the_same_and_no_name_becomes_a_command() {
    let folder = tempfile::tempdir().unwrap();
    // The names of the nodes are words of the same length; the model is named after its file.
    let bytes = fs::read(example("mlp-mnist/own_mnist_mlp_784_64_32_10.onnx")).unwrap();
    let (old, new) = (b"dense", b"`$\"';");
    let mut changed = bytes.clone();
    let mut count = 0;
    for at in 0..bytes.len() - old.len() {
        if bytes[at..].starts_with(old) {
            changed[at..at + new.len()].copy_from_slice(new);
            count += 1;
        }
    }
    assert!(count >= 6, "the example names its layers otherwise");
    let model = folder.path().join("\"; touch hacked\n$(touch hacked) [exec touch hacked] --> # .onnx");
    fs::write(&model, changed).unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name).join("design"));
    for out in [&first, &second] {
        let output = compile(&model, out, &["--board", "ulx3s-85f"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let written = files(&first);
    assert!(written == files(&second), "two runs differ");
    for name in ["driver/program.bin", "driver/c/espalier.c", "flow/top.sv", "component.xml", "hls/espalier_hls.cpp"] {
        assert!(written.contains_key(name), "{name} is missing");
    }
    let data = ["model.onnx", "model_int8.onnx", "design.json", "program.json", "details.json"];
    for (name, bytes) in written.iter().filter(|(name, _)| !data.contains(&name.as_str())) {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("hacked") && !text.contains("`$\"'"), "{name} holds a name of the model");
    }
    for inside in ["flow", "sim"] {
        let output = Command::new("make").arg("-n").current_dir(first.join(inside)).output();
        assert!(output.is_ok_and(|o| o.status.success()), "make in {inside}");
        assert!(!first.join(inside).join("hacked").exists());
    }

    let archive = |name: &str| {
        let path = folder.path().join(name);
        let output = espalier(&["pack", first.to_str().unwrap(), "--out", path.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(path).unwrap()
    };
    assert!(archive("a.tar") == archive("b.tar"), "two archives differ");
    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let output = Command::new("tar").arg("xf").arg("../a.tar").current_dir(&unpacked).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(files(&unpacked.join("design")) == written);
    assert!(!folder.path().join("hacked").exists() && !Path::new("hacked").exists());
}

#[test]
fn a_board_without_external_memory_takes_no_streamed_weights() {
    let folder = tempfile::tempdir().unwrap();
    let model = example("mlp-mnist/own_mnist_mlp_784_64_32_10.onnx");
    let streamed = ["--weights", "streamed", "--memory-bytes-per-cycle", "8"];
    let output = compile(&model, &folder.path().join("out"), &[&["--board", "ulx3s-85f"][..], &streamed].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("error[no-external-memory]"), "{text}");
    let output = compile(&model, &folder.path().join("out"), &[&["--board", "pynq-z2"][..], &streamed].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
