//! The subcommands on the built binary: what they write, and that the engines agree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use espalier_data::{parse_npy, write_npy_f32, write_npy_i8};
use espalier_ir::{Cell, Conv, Graph, Op, Pads, Random, Recurrent, Tensor};
use serde_json::Value;

fn example(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(relative)
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--quiet", "--json"]).args(arguments).output().unwrap()
}

fn espalier(arguments: &[&str]) -> Value {
    let output = command(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The command fails with `exit`; the finding is in the JSON as well as on the standard error.
fn fails(arguments: &[&str], exit: i32, code: &str) {
    let output = command(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    assert!(stderr.contains(&format!("error[{code}]")) && !stderr.contains("panicked"), "{code} in {stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["findings"].as_array().unwrap().iter().any(|f| f["code"] == code), "{json}");
}

fn has_verilator() -> bool {
    let found = Command::new("verilator").arg("--version").output().is_ok_and(|o| o.status.success());
    assert!(found || std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Verilator is required but missing");
    if !found {
        eprintln!("skipped: Verilator is not installed");
    }
    found
}

/// The fully connected example, compiled into `folder/design`.
fn compiled(folder: &Path, extra: &[&str]) -> (String, Value) {
    let out = folder.join("design").to_str().unwrap().to_owned();
    let model = example("mlp-mnist/own_mnist_mlp_784_64_32_10.onnx");
    let model = model.to_str().unwrap();
    let images = example("mnist/t10k-images-idx3-ubyte.gz");
    let images = images.to_str().unwrap();
    let fixed = ["compile", model, "--target", "ecp5-85f", "--calibration", images, "--scale", "1/255", "--out", &out];
    let report = espalier(&[&fixed, extra].concat());
    (out, report)
}

/// Three inputs: two of random values, one at both ends of the range.
fn inputs(folder: &Path) -> String {
    let mut random = Random::new(5);
    let mut values: Vec<f32> = (0..2 * 784).map(|_| random.unit()).collect();
    values.extend((0..784).map(|i| if i % 3 == 0 { 1e6 } else { -1e6 }));
    let path = folder.join("x.npy");
    fs::write(&path, write_npy_f32(&[3, 784], &values)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn read(path: &Path) -> espalier_data::Array {
    parse_npy(&fs::read(path).unwrap(), "t").unwrap()
}

#[test]
fn integer_engines_give_the_same_integers_in_every_layer() {
    let folder = tempfile::tempdir().unwrap();
    let (design, _) = compiled(folder.path(), &[]);
    let x = inputs(folder.path());
    let mut engines = vec!["reference", "machine"];
    if has_verilator() {
        engines.extend(["verilator", "hls"]);
    }
    let mut seen: Option<Vec<(String, espalier_data::Array)>> = None;
    for engine in engines {
        let y = folder.path().join("y.npy");
        let tensors = folder.path().join(engine);
        let (y_text, tensors_text) = (y.to_str().unwrap(), tensors.to_str().unwrap());
        let answer = espalier(&[
            "infer",
            &design,
            "--engine",
            engine,
            "--input",
            &x,
            "--out",
            y_text,
            "--raw",
            "--all-tensors",
            tensors_text,
        ]);
        assert_eq!(answer["samples"], 3);
        let mut all = vec![("y".to_owned(), read(&y))];
        let names = answer["tensors"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned());
        all.extend(names.map(|name| (name.clone(), read(&tensors.join(&name)))));
        assert_eq!(all.len(), 4, "the output and three layers");
        assert_eq!(all[1].1.shape, [3, 64, 1, 1]);
        match &seen {
            None => seen = Some(all),
            Some(seen) => assert_eq!(*seen, all, "{engine}"),
        }
    }
}

#[test]
fn float_and_dequantized_outputs_are_close_and_int8_inputs_are_taken_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (design, _) = compiled(folder.path(), &[]);
    let digits = folder.path().join("digits.npy");
    // Inputs that the network was made for: the stored ones.
    let stored = read(&Path::new(&design).join("inputs.npy"));
    let first: Vec<f32> = stored.values[..784].to_vec();
    let int8: Vec<i8> = first.iter().map(|v| *v as i8).collect();
    fs::write(&digits, write_npy_i8(&[784], &int8)).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(Path::new(&design).join("program.json")).unwrap()).unwrap();
    let input = &json["inputs"][0];
    let step = 2f32.powi(input["exponent"].as_i64().unwrap() as i32);
    let zero = input["zero_point"].as_i64().unwrap() as f32;
    let real: Vec<f32> = first.iter().map(|v| (v - zero) * step).collect();
    let real_path = folder.path().join("real.npy");
    fs::write(&real_path, write_npy_f32(&[784], &real)).unwrap();
    let infer = |engine: &str, x: &Path| {
        let y = folder.path().join("y.npy");
        let (x, y_text) = (x.to_str().unwrap(), y.to_str().unwrap());
        espalier(&["infer", &design, "--engine", engine, "--input", x, "--out", y_text]);
        read(&y)
    };
    let from_int8 = infer("reference", &digits);
    assert_eq!(from_int8.shape, [1, 10]);
    assert_eq!(from_int8, infer("reference", &real_path), "the same input in both forms");
    let float = infer("float", &real_path);
    let range = float.values.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in float.values.iter().zip(&from_int8.values) {
        assert!((a - b).abs() < 0.1 * range, "{a} and {b}");
    }
}

#[test]
fn inference_refuses_what_makes_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let (design, _) = compiled(folder.path(), &[]);
    let x = inputs(folder.path());
    let y = folder.path().join("y.npy");
    let y = y.to_str().unwrap();
    let model = example("mlp-mnist/own_mnist_mlp_784_64_32_10.onnx");
    let model = model.to_str().unwrap();
    fails(&["infer", model, "--engine", "machine", "--input", &x, "--out", y], 2, "no-design");
    fails(&["infer", model, "--engine", "float", "--raw", "--input", &x, "--out", y], 2, "bad-argument");
    let odd = folder.path().join("odd.npy");
    fs::write(&odd, write_npy_f32(&[3, 28], &[0.0; 84])).unwrap();
    fails(&["infer", &design, "--input", odd.to_str().unwrap(), "--out", y], 2, "wrong-sample-shape");
    fs::write(&odd, write_npy_f32(&[784], &[f32::NAN; 784])).unwrap();
    fails(&["infer", &design, "--input", odd.to_str().unwrap(), "--out", y], 2, "non-finite-input");
    assert!(!Path::new(y).exists());
}

#[test]
fn sparsity_saves_cycles_and_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (_, report) = compiled(folder.path(), &["--sparsity", "0.5"]);
    let cycles = |name: &str| report["cycles"][name].as_u64().unwrap();
    assert!(2 * cycles("predicted") <= cycles("dense"));
    assert!(report["layers"][0]["tiles_kept"].as_u64() < report["layers"][0]["tiles_dense"].as_u64());
    let model = example("mlp-mnist/own_mnist_mlp_784_64_32_10.onnx");
    let out = folder.path().join("other");
    let compile = |sparsity: &str, exit, code| {
        let (model, out) = (model.to_str().unwrap(), out.to_str().unwrap());
        let fixed = ["compile", model, "--target", "ecp5-85f", "--calibration", "random:4", "--out", out, "--sparsity"];
        fails(&[&fixed, [sparsity].as_slice()].concat(), exit, code);
    };
    compile("0.9999", 1, "budget-not-met");
    compile("1.5", 2, "bad-argument");
    compile("nan", 2, "bad-argument");
    assert!(!out.exists());
}

#[test]
fn equal_inputs_give_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    let collect = |name: &str| {
        let parent = folder.path().join(name);
        fs::create_dir(&parent).unwrap();
        let (design, _) = compiled(&parent, &["--sparsity", "0.3"]);
        [
            "design.json",
            "program.json",
            "memory/program.hex",
            "memory/weights.hex",
            "model_int8.onnx",
            "rtl/files.f",
            "hls/espalier_hls_config.h",
            "hls/layers.txt",
            "hls/vectors/writes.bin",
        ]
        .map(|file| fs::read(Path::new(&design).join(file)).unwrap())
    };
    assert!(collect("a") == collect("b"));
}

#[test]
fn damaged_designs_are_findings() {
    let folder = tempfile::tempdir().unwrap();
    let (design, _) = compiled(folder.path(), &[]);
    let verify = ["verify", &design, "--samples", "1", "--no-simulation"];
    assert_eq!(espalier(&verify)["verification"]["mismatches"], 0);
    let cases = [
        ("design.json", "damaged-design"),
        ("program.json", "damaged-program"),
        ("memory/program.hex", "damaged-program"),
        ("memory/weights.hex", "damaged-program"),
        ("inputs.npy", "damaged-data"),
        ("report.json", "damaged-design"),
    ];
    for (file, code) in cases {
        let path = Path::new(&design).join(file);
        let good = fs::read(&path).unwrap();
        for bad in [&b"{}\n"[..], b"", &good[..good.len() / 2]] {
            fs::write(&path, bad).unwrap();
            let output = command(&verify);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{file}: {stderr}");
            assert!(!stderr.contains("panicked"), "{file}: {stderr}");
        }
        fs::write(&path, "nonsense").unwrap();
        fails(&verify, 2, code);
        fs::write(&path, good).unwrap();
    }
    fs::remove_file(Path::new(&design).join("model.onnx")).unwrap();
    fails(&verify, 2, "missing-file");
    fails(&["verify", folder.path().to_str().unwrap()], 2, "no-design");
    fails(&["verify", &design, "--samples", "0"], 2, "bad-argument");
}

#[test]
fn engines_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (design, _) = compiled(folder.path(), &["--rows", "5", "--cols", "7", "--combine", "2", "--sparsity", "0.6"]);
    let verify = |engines: &str| espalier(&["verify", &design, "--samples", "3", "--engines", engines]);
    let report = verify("machine");
    assert_eq!(report["verification"]["engines"], serde_json::json!(["reference", "machine"]));
    assert_eq!(report["tools"]["cpp_compiler"], Value::Null);
    fails(&["verify", &design, "--engines", "reference"], 2, "bad-argument");
    let unknown = command(&["verify", &design, "--engines", "reference,gpu"]);
    assert_eq!(unknown.status.code(), Some(2));
    let both = command(&["verify", &design, "--engines", "hls", "--no-simulation"]);
    assert_eq!(both.status.code(), Some(2));
    if !has_verilator() {
        return;
    }
    let report = verify("reference,hls");
    assert_eq!(report["verification"]["engines"], serde_json::json!(["reference", "hls"]));
    assert_eq!(report["verification"]["mismatches"], 0);
    assert_eq!(report["verification"]["by_engine"][0]["engine"], "hls");
    assert!(report["tools"]["cpp_compiler"].as_str().unwrap().contains("g++"));

    // The folder's own vectors: what Vitis compares, too.
    let hls = Path::new(&design).join("hls");
    let built = Command::new("g++")
        .args("-std=c++14 -O2 -DESPALIER_TRACE -w espalier_hls.cpp espalier_hls_tb.cpp -o tb".split(' '))
        .current_dir(&hls)
        .status();
    assert!(built.unwrap().success());
    let size = fs::read_to_string(hls.join("vectors/size.txt")).unwrap();
    let size: Vec<&str> = size.split_whitespace().collect();
    let arguments = format!(
        "--program ../memory/program.hex --weights ../memory/weights.hex --images 1 --beats-in {} --beats-out {} \
         --inputs vectors/inputs.bin --expected vectors/writes.bin --expected-outputs vectors/outputs.bin \
         --layers layers.txt",
        size[0], size[1]
    );
    let run = || Command::new(hls.join("tb")).args(arguments.split_whitespace()).current_dir(&hls).output().unwrap();
    assert_eq!(run().status.code(), Some(0), "{}", String::from_utf8_lossy(&run().stderr));
    let mut expected = fs::read(hls.join("vectors/writes.bin")).unwrap();
    // All lanes of the last write, whichever it writes.
    expected.iter_mut().rev().take(5).for_each(|byte| *byte ^= 1);
    fs::write(hls.join("vectors/writes.bin"), expected).unwrap();
    assert_eq!(run().status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run().stderr).contains("first difference: input 0, instruction"));

    // A kernel that computes something else is found, and named.
    let kernel = hls.join("espalier_hls.cpp");
    let text = fs::read_to_string(&kernel).unwrap();
    fs::write(&kernel, text.replace("+ drain.zero_point,", "+ drain.zero_point + 1,")).unwrap();
    let output = command(&["verify", &design, "--samples", "3", "--engines", "reference,machine,hls"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("error[mismatch]"), "{stderr}");
    let report: Value = serde_json::from_slice(&fs::read(Path::new(&design).join("report.json")).unwrap()).unwrap();
    assert_eq!(report["verification"]["by_engine"][0]["mismatches"], 0);
    assert!(report["verification"]["by_engine"][1]["mismatches"].as_u64() > Some(0));
    assert!(report["verification"]["first_difference"].as_str().unwrap().starts_with("hls, input 0, layer 0"));
}

/// Maps that the lanes do not hold, a depthwise convolution of them, and rows that do not fill whole beats, in all engines.
#[test]
fn a_spilled_design_with_a_depthwise_unit_agrees_with_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut random = Random::new(9);
    let mut graph = Graph::new("spilled");
    let mut map = graph.add_input("x", &[3, 20, 20]).unwrap();
    for (channels, filters, kernel, groups) in [(3, 12, 3, 1), (12, 12, 3, 12), (12, 5, 1, 1)] {
        let shape = [filters, channels / groups, kernel, kernel];
        let values = (0..shape.iter().product()).map(|_| random.unit() - 0.5).collect();
        let weight = graph.add_param("weight", Tensor::f32(shape, values));
        let halo = kernel / 2;
        let pads = Pads { top: halo, left: halo, bottom: halo, right: halo };
        let op = Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups };
        map = graph.add("conv", Op::Conv(op), &[map]).unwrap();
    }
    graph.add_output(map);
    fs::write(path("model.onnx"), espalier_onnx::export(&graph)).unwrap();
    let values: Vec<f32> = (0..4 * 3 * 20 * 20).map(|_| random.unit()).collect();
    fs::write(path("x.npy"), write_npy_f32(&[4, 3, 20, 20], &values)).unwrap();
    let (model, data, design) = (path("model.onnx"), path("x.npy"), path("design"));
    let options = "--target ecp5-85f --rows 7 --cols 8 --lane-bytes 512 --depthwise-taps 3 --activations spilled \
                   --memory-bytes-per-cycle 4";
    let fixed = ["compile", &model, "--calibration", &data, "--out", &design];
    espalier(&fixed.into_iter().chain(options.split_whitespace()).collect::<Vec<_>>());

    let text = |name: &str| fs::read_to_string(Path::new(&design).join(name)).unwrap();
    let program = text("memory/program.hex");
    let first_words = program.lines().step_by(8).map(|word| u32::from_str_radix(word, 16).unwrap());
    // A CONV of the depthwise unit, SAVE, RESTORE.
    for (mask, value) in [(15, 9), (7, 5), (7, 6)] {
        assert!(first_words.clone().any(|word| word & mask == value), "{value}");
    }
    let manifest: Value = serde_json::from_str(&text("program.json")).unwrap();
    let binary = fs::read(Path::new(&design).join("driver/program.bin")).unwrap();
    let word = espalier_lower::program_file_header().iter().position(|w| w.name == "spill_bytes").unwrap();
    let spilled = u32::from_le_bytes(binary[4 * word..4 * word + 4].try_into().unwrap());
    assert!(spilled > 0 && manifest["spilled_bytes"] == spilled, "{spilled}: {}", manifest["spilled_bytes"]);
    if has_verilator() {
        let report = espalier(&["verify", &design, "--samples", "2", "--engines", "reference,machine,verilator,hls"]);
        assert_eq!(report["verification"]["mismatches"], 0, "{report}");
        assert_eq!(report["verification"]["cycles_equal"], true, "{report}");
    }
}

#[test]
fn absurd_sample_counts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (design, _) = compiled(folder.path(), &[]);
    fails(&["verify", &design, "--samples", "18446744073709551615"], 2, "bad-argument");
    let model = example("mlp-mnist/own_mnist_mlp_784_64_32_10.onnx");
    let (model, out) = (model.to_str().unwrap(), folder.path().join("out"));
    let out = out.to_str().unwrap();
    let compile = |data: &str, code| {
        fails(&["compile", model, "--target", "ecp5-85f", "--calibration", data, "--out", out], 2, code);
    };
    compile("random:18446744073709551615", "data-too-large");
    compile("random:0", "no-samples");
    compile("random:many", "bad-argument");
}

#[test]
fn images_that_do_not_fit_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let model = example("lenet5-mnist/own_mnist_lenet5_relu.onnx");
    let (model, out) = (model.to_str().unwrap(), folder.path().join("out"));
    let out = out.to_str().unwrap();
    let data = folder.path().join("x.npy");
    let compile = |shape: &[usize], code| {
        fs::write(&data, write_npy_f32(shape, &vec![0.5; shape.iter().product()])).unwrap();
        let data = data.to_str().unwrap();
        fails(&["compile", model, "--target", "ecp5-85f", "--calibration", data, "--out", out], 2, code);
    };
    compile(&[2, 32, 32], "wrong-image-size");
    compile(&[2, 3, 28, 28], "wrong-channel-count");
    compile(&[2, 28], "wrong-sample-shape");
    compile(&[0, 28, 28], "no-samples");
}

#[test]
fn an_interrupted_run_cleans_up_at_once() {
    if !has_verilator() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let project = example("lenet5-mnist/espalier.toml");
    let arguments = ["--quiet", "run", project.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let mut child = Command::new(env!("CARGO_BIN_EXE_espalier")).args(arguments).spawn().unwrap();
    let partial = folder.path().join(".out.partial");
    let begun = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        partial.join(".espalier").exists()
    });
    assert!(begun, "the folder in work appears");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn every_command_answers_in_json() {
    let model = example("lenet5-mnist/own_mnist_lenet5_relu.onnx");
    let model = model.to_str().unwrap();
    let inspection = espalier(&["inspect", model]);
    assert_eq!(inspection["parameters"], 61_706);
    assert_eq!(inspection["layers"].as_array().unwrap().len(), 5);
    let estimate = espalier(&["estimate", model, "--target", "ecp5-85f"]);
    assert!(estimate["cycles"].as_u64().unwrap() > 0 && estimate["resources"]["fits"] == true);
    let smaller = espalier(&["estimate", model, "--target", "ecp5-85f", "--rows", "4", "--cols", "5"]);
    assert!(smaller["cycles"].as_u64() > estimate["cycles"].as_u64());
    let targets = espalier(&["targets"]);
    assert!(targets["targets"].as_array().unwrap().iter().any(|t| t["name"] == "ice40up5k"));
    assert!(targets["boards"].as_array().unwrap().iter().any(|b| b["name"] == "icebreaker"));
    assert_eq!(espalier(&["targets", "ulx3s-85f"])["pins"]["clk"]["pin"], "G2");
    assert_eq!(espalier(&["targets", "xc7z020"])["name"], "xc7z020");
}

#[test]
fn criteria_are_listed_with_what_they_need_and_where_they_come_from() {
    let list = espalier(&["prune", "--list-criteria"]);
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), espalier_prune::Criterion::ALL.len());
    for entry in list {
        for key in ["name", "description", "needs", "citation"] {
            assert!(entry[key].as_str().is_some_and(|t| !t.is_empty()), "{key} of {entry}");
        }
        assert_eq!(entry["applies_to"][0], "channel");
    }
    let entry = |name: &str| list.iter().find(|e| e["name"] == name).unwrap();
    assert_eq!(entry("wanda")["applies_to"], serde_json::json!(["channel", "vector"]));
    assert_eq!(entry("fpgm")["applies_to"], serde_json::json!(["channel"]));
    assert_eq!(entry("class-mi")["needs"], "activations, labels");
    assert_eq!(entry("obd")["needs"], "gradients of samples");
    assert_eq!(entry("obd")["needs_for_vectors"], "gradients of batches");
    let output = Command::new(env!("CARGO_BIN_EXE_espalier")).args(["prune", "--list-criteria"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("hrank") && text.contains("2002.10179"), "{text}");
    assert_eq!(command(&["prune"]).status.code(), Some(2));
}

/// A recurrent model: inspected and estimated in one row a role, compiled without a QDQ form, and the same integers in all
/// engines that need no tools. Its samples have time first.
#[test]
fn recurrent_models_are_compiled_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut random = Random::new(4);
    let mut graph = Graph::new("recurrent");
    let mut param = |graph: &mut Graph, shape: [usize; 2]| {
        let values = (0..shape[0] * shape[1]).map(|_| random.unit() * 2.0 - 1.0).collect();
        graph.add_param("w", Tensor::f32(shape, values))
    };
    let x = graph.add_input("x", &[5, 3]).unwrap();
    let x = graph.add("features_first", Op::Transpose { axes: vec![1, 0] }, &[x]).unwrap();
    let (weight, recurrence) = (param(&mut graph, [24, 3]), param(&mut graph, [24, 6]));
    let lstm = Recurrent { cell: Cell::Lstm, reverse: false, weight, recurrence, bias: None };
    let states = graph.add("lstm", Op::Recurrent(lstm), &[x]).unwrap();
    let last = graph.add("last", Op::TimeStep { step: 4 }, &[states]).unwrap();
    let weight = param(&mut graph, [4, 6]);
    let end = graph.add("fc", Op::Gemm { weight, bias: None }, &[last]).unwrap();
    graph.add_output(end);
    let (model, design) = (path("model.onnx"), path("design"));
    fs::write(&model, espalier_onnx::export(&graph)).unwrap();

    let inspected = espalier(&["inspect", &model]);
    assert_eq!(inspected["layers"].as_array().unwrap().len(), 6 + 4 * 7 + 1);
    let shown = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_espalier")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for text in [shown(&["inspect", &model]), shown(&["estimate", &model, "--target", "xc7z020"])] {
        assert!(text.contains("and 4 more like it") && !text.contains("t4_tanh"), "{text}");
    }
    let estimated = espalier(&["estimate", &model, "--target", "xc7z020"]);
    let compiled = espalier(&["compile", &model, "--target", "xc7z020", "--calibration", "random:8", "--out", &design]);
    assert_eq!(compiled["cycles"]["predicted"], estimated["cycles"]);
    assert!(Path::new(&design).join("model.onnx").is_file() && !Path::new(&design).join("model_int8.onnx").exists());
    let verified = espalier(&["verify", &design, "--samples", "3", "--engines", "reference,machine"]);
    assert_eq!(verified["verification"]["mismatches"], 0);

    // The sample [time, features] in its own order, whatever the accelerator makes of it.
    let sample: Vec<f32> = (0..15).map(|i| i as f32 / 8.0 - 1.0).collect();
    fs::write(path("x.npy"), write_npy_f32(&[5, 3], &sample)).unwrap();
    let of = |engine: &str| {
        espalier(&["infer", &design, "--engine", engine, "--input", &path("x.npy"), "--out", &path("y.npy")]);
        parse_npy(&fs::read(path("y.npy")).unwrap(), "y").unwrap().values
    };
    let (float, reference) = (of("float"), of("reference"));
    assert_eq!(reference, of("machine"));
    let near = float.iter().zip(&reference).all(|(a, b)| (a - b).abs() < 0.15);
    assert!(float.len() == 4 && near, "{float:?} {reference:?}");
}
