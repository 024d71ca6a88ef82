//! What a person meets first: doctor, explain, completions, manual pages, schema, init, regress, pipes and colours.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(arguments).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = command(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&text(&[&["--json", "--quiet"], arguments].concat())).unwrap()
}

#[test]
fn codes_are_explained_and_typos_are_answered_with_the_nearest() {
    assert!(text(&["explain", "budget-not-met"]).replace('\n', " ").contains("Raise the budget"));
    assert!(text(&["explain", "error[lanes-too-small]"]).contains("lane_bytes"));
    let all = json(&["explain"]);
    assert!(all.as_array().unwrap().len() > 100);
    let output = command(&["explain", "budget-not-meet"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("did you mean 'budget-not-met'?"), "{stderr}");
    assert!(!stderr.contains('\x1b'), "no colours where nobody looks: {stderr:?}");
    let output = command(&["targets", "ecp5-85"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean 'ecp5-85f'?"));
    let output = command(&["inspekt"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("inspect"));
}

#[test]
fn the_doctor_names_every_tool() {
    let output = command(&["--json", "doctor"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tools = report["tools"].as_array().unwrap();
    let missing = tools.iter().any(|t| t["needed"] == true && t["version"].is_null());
    assert_eq!(output.status.success(), !missing);
    for tool in ["verilator", "g++", "make", "yosys"] {
        let tool = tools.iter().find(|t| t["name"] == tool).unwrap();
        assert!(!tool["get"].as_str().unwrap().is_empty());
    }
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&["completions", shell]);
        for command in ["regress", "explain", "verify"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = json(&["man", folder.path().to_str().unwrap()]);
    assert!(pages["pages"].as_array().unwrap().len() > 15);
    let page = fs::read_to_string(folder.path().join("espalier-verify.1")).unwrap();
    assert!(page.contains(".SH NAME") && page.contains("samples"), "{page}");
}

/// What is wrong with a value by the part of JSON Schema that the schema uses.
fn problems(value: &Value, schema: &Value, whole: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = whole.pointer(reference.trim_start_matches('#')).expect("references lead somewhere");
        return problems(value, target, whole, at, found);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let fits = |choice: &Value| {
                let mut bad = Vec::new();
                problems(value, choice, whole, at, &mut bad);
                bad.is_empty()
            };
            if !choices.iter().any(fits) {
                found.push(format!("{at}: {value} fits none of {}", schema[key]));
            }
        }
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        found.push(format!("{at}: {value} is no {kinds:?}"));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value))
        || schema.get("const").is_some_and(|c| c != value)
    {
        found.push(format!("{at}: {value} is not allowed"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        problems(item, &schema["items"], whole, &format!("{at}[{index}]"), found);
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(schema) => problems(item, schema, whole, &format!("{at}.{key}"), found),
            None if schema["additionalProperties"] == false => found.push(format!("{at}: unknown key '{key}'")),
            None => {}
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(key).is_none() {
            found.push(format!("{at}: '{key}' is missing"));
        }
    }
}

#[test]
fn the_schema_takes_every_example_and_refuses_typos() {
    let schema = json(&["schema"]);
    let check = |text: &str| {
        let value: toml::Value = toml::from_str(text).unwrap();
        let mut found = Vec::new();
        problems(&serde_json::to_value(value).unwrap(), &schema, &schema, "project", &mut found);
        found
    };
    let mut files = Vec::new();
    for folder in ["lenet5-mnist", "mlp-mnist", "train-lenet5", "results"] {
        for entry in fs::read_dir(root().join("examples").join(folder)).unwrap().map(|e| e.unwrap().path()) {
            if entry.extension().is_some_and(|e| e == "toml") {
                files.push(entry);
            }
        }
    }
    assert!(files.len() >= 12, "{files:?}");
    let mut commented = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(check(&text), Vec::<String>::new(), "{}", file.display());
        commented += &text;
    }
    let minimal = "model.path = 'm'\ntarget.name = 't'\ndata.train = 'a'\ndata.test = ['b', 'c']\n";
    assert!(check(minimal).is_empty());
    for bad in [
        "speed = 1",
        "prune.steps = 'three'",
        "prune.criterion = 'tailor'",
        "verify.engines = ['gpu']",
        "data.tests = 'x'",
    ] {
        assert_eq!(check(&format!("{minimal}{bad}\n")).len(), 1, "{bad}: {:?}", check(&format!("{minimal}{bad}\n")));
    }
    assert!(check("target.name = 't'\ndata.train = 'a'\ndata.test = 'b'\n").iter().any(|p| p.contains("'model'")));
    // Doc comments are what an editor shows.
    let described = schema["properties"].as_object().unwrap();
    assert!(described.values().all(|p| p["description"].is_string() || p["$ref"].is_string()), "{schema}");
}

#[test]
fn init_writes_a_project_that_reads_back_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = root().join("examples/lenet5-mnist/own_mnist_lenet5_relu.onnx");
    let data = root().join("examples/mnist");
    let out = folder.path().join("espalier.toml");
    let arguments = [
        "init",
        model.to_str().unwrap(),
        data.to_str().unwrap(),
        "--target",
        "ecp5-85f",
        "--out",
        out.to_str().unwrap(),
    ];
    let answer = json(&arguments);
    assert_eq!((&answer["classes"], &answer["test_samples"]), (&10.into(), &10_000.into()));
    let text = fs::read_to_string(&out).unwrap();
    assert!(
        text.contains("scale = \"1/255\"") && text.contains("t10k-labels") && text.matches("\n# ").count() > 8,
        "{text}"
    );
    let output = command(&arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error[output-file]"));
    assert_eq!(fs::read_to_string(&out).unwrap(), text);

    // Arrays beside each other, and a model that they do not fit.
    common::bars(folder.path(), "train", (1, 1.0), 20);
    common::bars(folder.path(), "test", (2, 1.0), 20);
    let out = folder.path().join("other.toml");
    let output =
        command(&["init", model.to_str().unwrap(), folder.path().to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("error[wrong-image-size]"), "{output:?}");
    assert!(!out.exists());
}

#[test]
fn a_suite_runs_what_changed_and_finds_what_broke() {
    let folder = tempfile::tempdir().unwrap();
    let suite = folder.path().join("suite");
    let model = root().join("examples/mlp-mnist/own_mnist_mlp_784_64_32_10.onnx");
    for name in ["a", "deep/b"] {
        let out = suite.join(name);
        let fixed = ["compile", model.to_str().unwrap(), "--target", "ecp5-85f", "--calibration", "random:4"];
        json(&[&fixed as &[&str], &["--out", out.to_str().unwrap()]].concat());
    }
    let junit = folder.path().join("junit.xml");
    let arguments = [
        "regress",
        suite.to_str().unwrap(),
        "--engines",
        "reference,machine",
        "-n",
        "1",
        "--junit",
        junit.to_str().unwrap(),
    ];
    let counts = |answer: &Value| ["designs", "passed", "failed", "unchanged"].map(|key| answer[key].as_u64().unwrap());
    assert_eq!(counts(&json(&arguments)), [2, 2, 0, 0]);
    assert_eq!(counts(&json(&arguments)), [2, 2, 0, 2]);
    assert!(fs::read_to_string(&junit).unwrap().contains("tests=\"2\" failures=\"0\""));

    // One digit of every weight word.
    let weights = suite.join("deep/b/memory/weights.hex");
    let text = fs::read_to_string(&weights).unwrap();
    let change = |line: &str| {
        let last = if line.ends_with('4') { '5' } else { '4' };
        format!("{}{last}\n", &line[..line.len() - 1])
    };
    fs::write(&weights, text.lines().map(change).collect::<String>()).unwrap();
    let output = command(&[&["--json", "--quiet"], &arguments as &[&str]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts(&answer), [2, 1, 1, 1]);
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(
        xml.contains("failures=\"1\"") && xml.contains("<failure message=") && xml.contains("name=\"deep/b\""),
        "{xml}"
    );
}
