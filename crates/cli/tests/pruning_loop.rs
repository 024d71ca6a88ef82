//! The rounds of `espalier run`: several criteria, several budgets, floors, logs and plans that repeat.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The LeNet project with another `[budget]` and `[prune]`, written into a folder.
fn project(folder: &Path, budget: &str, prune: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let (model, data) = (examples.join("lenet5-mnist/own_mnist_lenet5_relu.onnx"), examples.join("mnist"));
    let (model, data) = (model.display(), data.display());
    let text = format!(
        "seed = 3\n[model]\npath = \"{model}\"\n[data]\n\
         train = \"{data}/train24k-images-idx3-ubyte.gz\"\ntrain_labels = \"{data}/train24k-labels-idx1-ubyte.gz\"\n\
         test = \"{data}/t10k-images-idx3-ubyte.gz\"\ntest_labels = \"{data}/t10k-labels-idx1-ubyte.gz\"\n\
         preprocessing = {{ scale = \"1/255\" }}\n[target]\nname = \"ecp5-85f\"\n\
         [budget]\n{budget}\n[prune]\n{prune}\n[quantize]\nqat_epochs = 0\n[verify]\nsamples = 1\n"
    );
    let path = folder.join("espalier.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Runs a project; none without Verilator, which every run needs.
fn run(project: &Path, out: &Path) -> Option<Output> {
    run_with(project, out, &[])
}

fn run_with(project: &Path, out: &Path, more: &[&str]) -> Option<Output> {
    if !Command::new("verilator").arg("--version").output().is_ok_and(|o| o.status.success()) {
        assert!(std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Verilator is required but missing");
        eprintln!("skipped: Verilator is not installed");
        return None;
    }
    let command = ["--json", "--quiet", "run", project.to_str().unwrap(), "--out", out.to_str().unwrap()];
    Some(Command::new(env!("CARGO_BIN_EXE_espalier")).args(command).args(more).output().unwrap())
}

fn log(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("prune-log.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn adaptive_rounds_try_every_candidate_and_repeat_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(
        folder.path(),
        "cycles_fraction = 0.5\nparameters = 40000\nmax_accuracy_drop = 5",
        "criterion = \"adaptive\"\ncandidates = [\"l2\", \"random\"]\nsteps = 2\nepochs = 1\nfinal_epochs = 1\n\
         floor = 5.0\nschedule = \"linear\"",
    );
    let outs = [folder.path().join("a"), folder.path().join("b")];
    for out in &outs {
        let Some(output) = run(&path, out) else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let [a, b] = outs.map(|out| {
        (log(&out), fs::read_to_string(out.join("plan.json")).unwrap(), fs::read(out.join("report.json")).unwrap())
    });
    assert_eq!((&a.0, &a.1), (&b.0, &b.1), "the same seed decides the same");
    let report: Value = serde_json::from_slice(&a.2).unwrap();
    let rounds = report["pruning"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    let log = a.0;
    for (index, round) in rounds.iter().enumerate() {
        assert_eq!(round["accepted"], true);
        let of_round = |event: &str| -> Vec<&Value> {
            log.iter().filter(|e| e["event"] == event && e["round"] == index + 1).collect()
        };
        let candidates = of_round("candidate");
        assert_eq!(candidates.len(), 2);
        let loss = |c: &Value| c["loss"].as_f64().unwrap();
        let best = candidates.iter().find(|c| c["criterion"] == round["criterion"]).unwrap();
        let other = candidates.iter().find(|c| c["criterion"] != round["criterion"]).unwrap();
        // In the first round the least loss wins, later the other must lead clearly.
        let before = (index > 0).then(|| &rounds[index - 1]["criterion"]);
        match before {
            Some(before) => {
                let challenger = candidates.iter().find(|c| c["criterion"] != *before).unwrap();
                let gain = |key: &str| challenger["gain"][key].as_f64().unwrap();
                let clear = gain("mean") > 2.0 * gain("standard_error");
                assert_eq!(clear, challenger["criterion"] == round["criterion"], "{candidates:?}");
                let lead = loss(candidates.iter().find(|c| c["criterion"] == *before).unwrap()) - loss(challenger);
                assert!((gain("mean") - lead).abs() < 1e-9, "{candidates:?}");
            }
            None => assert!(loss(best) < loss(other) && best["gain"].is_null(), "{candidates:?}"),
        }
        assert!(candidates.iter().all(|c| c["tuned_samples"] == 2048), "each is tried for a pass: {candidates:?}");
        let tuned = of_round("tuned")[0];
        assert!(best["loss"].as_f64().unwrap() < 0.2 && best["accuracy"].as_f64() > tuned["before"].as_f64());
        assert!(!of_round("decision").is_empty());
        assert_eq!(of_round("tuned").len(), 1);
    }
    let last = rounds.last().unwrap();
    assert!(last["cycles"].as_f64().unwrap() <= last["budgets"]["cycles"].as_f64().unwrap());
    let plan: Value = serde_json::from_str(&a.1).unwrap();
    let figures = &plan["rounds"][1]["figures"];
    assert!(figures["parameters"].as_u64().unwrap() <= 40_000, "{figures}");
    assert_eq!(report["verification"]["mismatches"], 0);

    // The plan alone, with a project that would choose otherwise, gives the same network.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let prune = "criterion = \"random\"\nunits = \"channels\"\nepochs = 1\nfinal_epochs = 1";
    let path = project(&other, "max_accuracy_drop = 5", prune);
    let (plan, out) = (folder.path().join("a/plan.json"), folder.path().join("replayed"));
    let output = run_with(&path, &out, &["--replay", plan.to_str().unwrap()]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["model.onnx", "plan.json"] {
        assert!(fs::read(out.join(name)).unwrap() == fs::read(folder.path().join("a").join(name)).unwrap(), "{name}");
    }
}

#[test]
fn plans_that_do_not_fit_are_refused_before_any_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = project(folder.path(), "max_accuracy_drop = 5", "");
    let plan = folder.path().join("plan.json");
    let refused = |text: &str| {
        fs::write(&plan, text).unwrap();
        let output = run_with(&path, &folder.path().join("out"), &["--replay", plan.to_str().unwrap()])?;
        assert_eq!(output.status.code(), Some(2));
        assert!(!folder.path().join("out").exists());
        Some(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let round = |channels: &str, masks: &str| {
        let figures = "\"cycles\":1,\"energy_nj\":1,\"multipliers\":1,\"logic_cells\":1,\"block_rams\":1,\
                       \"macs\":1,\"parameters\":1,\"weight_bytes\":1,\"activation_bytes\":1,\"instructions\":1";
        format!(
            "{{\"rounds\":[{{\"round\":1,\"criterion\":\"l2\",\"budgets\":{{}},\"last\":true,\
             \"kept_channels\":{{{channels}}},\"vectors_pruned\":0,\"masks\":{{{masks}}},\
             \"figures\":{{{figures}}}}}]}}"
        )
    };
    let Some(text) = refused("{}") else { return };
    assert!(text.contains("bad-plan"), "{text}");
    assert!(refused("{\"rounds\":[]}").unwrap().contains("has no round"));
    let text = refused(&round("\"elsewhere\":[0],\"nowhere\":[1]", "")).unwrap();
    assert!(text.contains("plan-mismatch") && text.contains("elsewhere") && text.contains("nowhere"), "{text}");
    let text = refused(&round("", "\"no_weight\":\"00\"")).unwrap();
    assert!(text.contains("plan-mismatch") && text.contains("no_weight"), "{text}");
    assert!(refused(&round("", "").replace("l2", "l9")).unwrap().contains("did you mean"));
}

#[test]
fn regularized_training_makes_zeros_before_the_first_round() {
    let folder = tempfile::tempdir().unwrap();
    let prune = "units = \"vectors\"\nsteps = 1\nepochs = 0\nfinal_epochs = 1\nsparsify_epochs = 2\n\
                 regularization = { l1 = 0.02, group_lasso = 0.02 }";
    let path = project(folder.path(), "cycles_fraction = 0.4\nmax_accuracy_drop = 5", prune);
    let out = folder.path().join("out");
    let Some(output) = run(&path, &out) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let log = log(&out);
    assert_eq!(log[0]["event"], "sparsified");
    let number = |key: &str| log[0][key].as_f64().unwrap();
    assert!(number("zeros") > 0.2 && number("zeros") < 1.0, "{}", log[0]);
    assert!(number("after") > 0.97, "{}", log[0]);
}

#[test]
fn rounds_below_the_floor_are_undone() {
    let folder = tempfile::tempdir().unwrap();
    let prune = "criterion = \"l1\"\nsteps = 1\nepochs = 0\nfinal_epochs = 0\nfloor = 0.0";
    let path = project(folder.path(), "cycles_fraction = 0.2", prune);
    let out = folder.path().join("out");
    let Some(output) = run(&path, &out) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error[budget-not-met]"), "{text}");
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let rounds = report["pruning"].as_array().unwrap();
    assert_eq!(rounds.iter().filter(|r| r["accepted"] == false).count(), 3);
    let candidates: Vec<Value> = log(&out).into_iter().filter(|e| e["event"] == "candidate").collect();
    assert_eq!(candidates.len(), 3);
    assert!(candidates.iter().all(|c| c["tuned_samples"] == 0), "without a choice nothing is tried: {candidates:?}");
    // What was accepted before, here the given network, is what was built and verified.
    assert_eq!(report["verification"]["mismatches"], 0);
    assert!(report["accuracy"]["int8"]["value"].as_f64().unwrap() > 0.98);
}

#[test]
fn with_a_floor_and_no_budget_the_network_shrinks_as_far_as_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let prune = "criterion = \"l2\"\nunits = \"vectors\"\nepochs = 0\nfloor = 2.0";
    let path = project(folder.path(), "max_accuracy_drop = 3", prune);
    let out = folder.path().join("out");
    let Some(output) = run(&path, &out) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let cycles = |key: &str| report["cycles"][key].as_f64().unwrap();
    assert!(cycles("predicted") < 0.85 * cycles("dense"), "{} of {}", cycles("predicted"), cycles("dense"));
    let rounds = report["pruning"].as_array().unwrap();
    assert_eq!(rounds.iter().filter(|r| r["accepted"] == false).count(), 3);
    let accepted: Vec<f64> =
        rounds.iter().filter(|r| r["accepted"] == true).map(|r| r["cycles"].as_f64().unwrap()).collect();
    assert!(!accepted.is_empty() && accepted.windows(2).all(|w| w[1] < w[0]), "{accepted:?}");
}
