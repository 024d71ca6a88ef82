//! The HTML page: every chart is there and holds something, figures are those of `report.json`, nothing escapes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn espalier(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(["--json", "--quiet"]).args(arguments).output().unwrap()
}

fn succeed(arguments: &[&str]) -> Value {
    let output = espalier(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A network on pictures of bars, trained, pruned in two rounds and compared by the machine alone: no other tool is needed.
fn run(folder: &Path) -> PathBuf {
    common::bars(folder, "train", (1, 1.0), 400);
    common::bars(folder, "test", (2, 1.0), 100);
    let network = "input.shape = [1, 12, 12]\nlayers = [\n\
                   { op = \"conv\", channels = 8, kernel = 3, pads = 1 },\n{ op = \"relu\" },\n\
                   { op = \"max_pool\", kernel = 2 },\n{ op = \"conv\", channels = 12, kernel = 3 },\n{ op = \"relu\" },\n\
                   { op = \"flatten\" },\n{ op = \"dense\", features = 4 },\n]\n";
    fs::write(folder.join("bars.toml"), network).unwrap();
    let project = "seed = 2\n[model]\narchitecture = \"bars.toml\"\n\
                   [data]\ntrain = \"train.npy\"\ntrain_labels = \"train_labels.npy\"\n\
                   test = \"test.npy\"\ntest_labels = \"test_labels.npy\"\n[target]\nname = \"ecp5-85f\"\n\
                   [budget]\ncycles_fraction = 0.6\nparameters = 5000\nmax_accuracy_drop = 60\n\
                   [train]\nepochs = 3\n\
                   [prune]\ncriterion = \"adaptive\"\ncandidates = [\"l2\", \"taylor\"]\nsteps = 2\nepochs = 1\nfinal_epochs = 1\n\
                   [quantize]\nqat_epochs = 0\n\
                   [verify]\nsamples = 2\nengines = [\"reference\", \"machine\"]\n";
    fs::write(folder.join("espalier.toml"), project).unwrap();
    succeed(&["run", folder.join("espalier.toml").to_str().unwrap()]);
    folder.join("out")
}

/// Values of an attribute in the order of the page.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// What lies between the start of a chart and the end of its section.
fn chart<'a>(html: &'a str, name: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("data-chart=\"{name}\"")).unwrap_or_else(|| panic!("no chart '{name}'"));
    rest.split("</section>").next().unwrap()
}

/// Pairs of the pointer and the value of every figure.
fn figures(html: &str) -> Vec<(&str, &str)> {
    let parts = html.split("<data value=\"").skip(1);
    parts
        .map(|part| {
            let (value, rest) = part.split_once("\" data-path=\"").unwrap();
            (rest.split('"').next().unwrap(), value)
        })
        .collect()
}

#[test]
fn the_page_shows_what_the_report_says() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path());
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let details: Value = serde_json::from_slice(&fs::read(out.join("details.json")).unwrap()).unwrap();
    assert_eq!(details["schema"], "espalier-details/1");
    assert!(html.len() < 2_000_000);

    let shown = figures(&html);
    assert!(shown.len() > 80, "{} figures", shown.len());
    for (pointer, value) in shown {
        let expected = report.pointer(pointer).filter(|v| !v.is_null());
        assert_eq!(expected.map(Value::to_string).unwrap_or_default(), value, "{pointer}");
    }

    let layers = report["layers"].as_array().unwrap().len();
    let rounds = report["pruning"].as_array().unwrap().len();
    assert!(layers >= 3 && rounds >= 2, "{layers} layers, {rounds} rounds");
    let lanes = report["accelerator"]["rows"].as_u64().unwrap() as usize;
    let least = |name: &str, mark: &str, count: usize| {
        let found = chart(&html, name).matches(mark).count();
        assert!(found >= count, "chart '{name}' has {found} of {count} {mark}");
    };
    least("summary", "<li>", 6);
    least("accuracy", "class=\"mark", 2 + 2 * rounds);
    least("budgets", "<tr>", 4);
    least("layers", "class=\"bar dense\"", layers);
    least("layers", "class=\"bar kept\"", layers);
    least("roofline", "class=\"mark", layers);
    least("graph", "class=\"stay\"", layers + 1);
    least("graph", "class=\"edge\"", layers);
    least("lanes", "class=\"cell", layers * lanes);
    least("timeline", "class=\"work", 2 * layers);
    least("memory", "title=", layers + 1);
    least("resources", "class=\"limit\"", 3);
    least("energy", "<tr>", 6 + layers);
    least("verification", "<tr>", 1);
    least("decisions", "<h3>", rounds);
    least("provenance", "<dt>", 8);
    // Every picture has words for those who do not see it.
    for svg in html.split("<svg ").skip(1).map(|s| s.split('>').next().unwrap()) {
        assert!(svg.contains("aria-label=") || svg.contains("aria-hidden="), "<svg {svg}>");
    }
    // One file, no network, a script that stays small.
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains(" src="));
    let (_, script) = html.split_once("<script>").unwrap();
    assert!(script.split("</script>").next().unwrap().len() < 10_000);

    browser(&[out.join("report.html")]);
}

/// Details add up: what is drawn is what was decided.
#[test]
fn details_agree_with_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path());
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(out.join(name)).unwrap()).unwrap() };
    let (report, details) = (read("report.json"), read("details.json"));
    assert_eq!(details["cycles"], report["cycles"]["predicted"]);
    let layers = report["layers"].as_array().unwrap();
    for (layer, lanes) in layers.iter().zip(details["lanes"].as_array().unwrap()) {
        assert_eq!(layer["name"], lanes["name"]);
        let depth = |key: &str| lanes[key].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).max().unwrap();
        assert!(depth("kept") <= layer["tiles_kept"].as_u64().unwrap(), "{layer} {lanes}");
        assert!(depth("dense") <= layer["tiles_dense"].as_u64().unwrap(), "{layer} {lanes}");
        assert!(depth("kept") > 0);
        let used: f64 = layer["cycle_use"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
        assert!((used - layer["cycles_predicted"].as_f64().unwrap()).abs() < 1e-6, "{layer}");
    }
    let energy: f64 =
        layers.iter().flat_map(|l| l["energy"].as_object().unwrap().values()).filter_map(Value::as_f64).sum();
    assert!(energy > 0.0 && energy <= report["energy_uj"].as_f64().unwrap());
    let last = details["timeline"].as_array().unwrap().iter().filter_map(|s| s["mover"]["end"].as_u64()).max().unwrap();
    assert!(last <= details["cycles"].as_u64().unwrap());
    // No two tensors lie on each other at the same time.
    let memory = details["memory"].as_array().unwrap();
    let number = |t: &Value, key: &str| t[key].as_u64().unwrap();
    for (i, a) in memory.iter().enumerate() {
        for b in &memory[i + 1..] {
            let apart = |low: &str, size: u64, other: u64| {
                number(a, low) + size <= number(b, low) || number(b, low) + other <= number(a, low)
            };
            let bytes = apart("base", number(a, "bytes"), number(b, "bytes"));
            let life = |t: &Value| number(t, "last_cycle") - number(t, "first_cycle");
            assert!(bytes || apart("first_cycle", life(a), life(b)), "{a} {b}");
        }
    }
}

#[test]
fn names_of_models_cannot_break_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path());
    let evil = "</title></style><script>alert('x')</script>\"><img src=x onerror=alert(1)>&";
    for file in ["report.json", "details.json", "prune-log.jsonl"] {
        let text = fs::read_to_string(out.join(file)).unwrap();
        let replace = |line: &str| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            poison(&mut value, evil);
            value.to_string()
        };
        let poisoned =
            if file.ends_with('l') { text.lines().map(replace).collect::<Vec<_>>().join("\n") } else { replace(&text) };
        fs::write(out.join(file), poisoned).unwrap();
    }
    let answer = succeed(&["report", out.to_str().unwrap()]);
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(answer["bytes"].as_u64().unwrap() as usize, html.len());
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!(html.matches("</style").count(), 1);
    assert_eq!(html.matches("<img").count(), 0);
    assert!(html.matches("&#60;script&#62;alert").count() > 20, "the name is shown, escaped");
    for title in attributes(&html, "title").iter().chain(&attributes(&html, "aria-label")) {
        assert!(!title.contains('<') && !title.contains('>'), "{title}");
    }
}

/// Makes every name in a document hostile.
fn poison(value: &mut Value, evil: &str) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if ["name", "criterion", "description", "message"].contains(&key.as_str()) {
                    *value = evil.into();
                } else {
                    poison(value, evil);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|v| poison(v, evil)),
        _ => {}
    }
}

#[test]
fn runs_are_compared_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path());
    let path = out.to_str().unwrap();
    let page = folder.path().join("compare.html");
    let answer = succeed(&["report", path, path, "--out", page.to_str().unwrap()]);
    assert_eq!(answer["runs"], 2);
    let html = fs::read_to_string(&page).unwrap();
    for name in ["figures", "accuracy", "layers"] {
        assert!(chart(&html, name).matches("<tr>").count() >= 3, "{name}");
    }
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let shown = figures(&html);
    assert!(shown.len() > 30);
    assert!(shown.iter().all(|(at, value)| {
        report.pointer(at).filter(|v| !v.is_null()).map(Value::to_string).unwrap_or_default() == *value
    }));

    let output = espalier(&["report", folder.path().to_str().unwrap(), path]);
    assert_eq!(output.status.code(), Some(2), "a folder without a report is refused");
}

/// The networks of MLPerf Tiny and LeNet-5, as they are: wide, deep and with branches.
#[test]
fn real_networks_in_a_real_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("ESPALIER_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let models = [
        (root.join("examples/lenet5-mnist/own_mnist_lenet5_relu.onnx"), "ecp5-85f"),
        (shared.join("models/mlperf_tiny_resnet8_cifar10.onnx"), "xc7z020"),
        (shared.join("models/mlperf_tiny_dscnn_kws.onnx"), "xc7z020"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut pages = Vec::new();
    for (index, (model, target)) in models.iter().enumerate() {
        if !model.is_file() {
            eprintln!("skipped: {} is not there", model.display());
            continue;
        }
        let out = folder.path().join(format!("design-{index}"));
        let (model, place) = (model.to_str().unwrap(), out.to_str().unwrap());
        let fixed = ["compile", model, "--target", target, "--lane-bytes", "4096", "--calibration", "random:4"];
        succeed(&[&fixed[..], &["--sparsity", "0.2", "--out", place]].concat());
        succeed(&["verify", place, "-n", "1", "--engines", "reference,machine"]);
        pages.push(out.join("report.html"));
    }
    let compared = folder.path().join("compare.html");
    let designs: Vec<&str> = pages.iter().map(|page| page.parent().unwrap().to_str().unwrap()).collect();
    succeed(&[&["report"], &designs[..], &[designs[0], "--out", compared.to_str().unwrap()]].concat());
    pages.push(compared);
    browser(&pages);
}

/// Opens pages in Chromium, with what `verilator-sim/setup.sh --tests` installs: see `tests/browser/README.md`.
fn browser(pages: &[PathBuf]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser");
    let program = std::env::var_os("ESPALIER_BROWSER").unwrap_or_else(|| "chromium".into());
    let starts =
        |name: &std::ffi::OsStr| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    if !folder.join("node_modules/axe-core").is_dir() || !starts("node".as_ref()) || !starts(&program) {
        assert!(
            std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(),
            "ESPALIER_REQUIRE_TOOLS is set, but node, its packages or chromium is missing: verilator-sim/setup.sh --tests"
        );
        println!("skipped: node, its packages or chromium is not installed");
        return;
    }
    let output = Command::new("node").arg(folder.join("check.mjs")).args(pages).output().expect("node starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    println!("{said}");
}
