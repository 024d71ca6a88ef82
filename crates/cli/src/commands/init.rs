//! `espalier init`: a commented project file for a model and a data set, by looking at them.

use std::fs;
use std::path::{Path, PathBuf};

use espalier_data::{Layout, Preprocessing};
use espalier_ir::{Diagnostic, Diagnostics, Graph};
use espalier_target::{DesignPoint, Target, builtin_targets};
use serde::Serialize;

use crate::args::InitArgs;
use crate::commands::Answer;
use crate::commands::explore::best_fit;
use crate::failure::Outcome;
use crate::files::{Fit, load_dataset, load_model, model_interface};
use crate::output::write_file;
use crate::progress::Progress;
use crate::project;
use crate::render::{pairs, shape};
use crate::target::find_target;

/// Where the data of a project lie and how they become inputs.
#[derive(Debug, Default, Clone)]
struct Found {
    train: Vec<PathBuf>,
    train_labels: Vec<PathBuf>,
    test: Vec<PathBuf>,
    test_labels: Vec<PathBuf>,
    /// Empty where a part of the training data is to be held out.
    validation: Vec<PathBuf>,
    validation_labels: Vec<PathBuf>,
    /// Bytes, which a model usually takes as 0 to 1.
    bytes: bool,
}

#[derive(Serialize)]
struct InitAnswer {
    project: PathBuf,
    model: String,
    input: Vec<usize>,
    outputs: usize,
    classes: usize,
    train_samples: usize,
    test_samples: usize,
    /// None where a part of the training samples is held out.
    validation_samples: Option<usize>,
    target: String,
}

/// Writes a project file.
///
/// # Errors
/// `output-file` if there is one already; if model or data cannot be read, or no target holds the network.
pub fn init(args: &InitArgs, progress: &mut Progress) -> Outcome<Answer> {
    if args.out.exists() {
        let at = args.out.display().to_string();
        let help = "name another file with --out, or remove this one";
        return Err(Diagnostic::error("output-file", at, "exists; it is not replaced").with_help(help).into());
    }
    let graph = progress.stage("import", "Looking at the model", |_| load_model(&args.model))?;
    let (input, outputs) = model_interface(&graph)?;
    let found = look(&args.data)?;
    let (layout, train, classes) = progress.stage("train", "Looking at the training data", |_| {
        count(&found.train, &found.train_labels, &input, "train")
    })?;
    let (_, test, _) = progress
        .stage("test", "Looking at the test data", |_| count(&found.test, &found.test_labels, &input, "test"))?;
    let look_at_validation = |_: &mut Progress| count(&found.validation, &found.validation_labels, &input, "val");
    let validation = match found.validation.as_slice() {
        [] => None,
        _ => Some(progress.stage("validation", "Looking at the validation data", look_at_validation)?.1),
    };
    if classes > outputs {
        let message = format!("has {classes} classes, the model has {outputs} outputs");
        let help = "give the data set that the model was trained on; [train.transfer] takes a model to other classes";
        return Err(Diagnostic::error("label-out-of-range", args.data.display().to_string(), message)
            .with_help(help)
            .into());
    }
    let (target, best) = progress.stage("fit", "Choosing a target", |p| choose(&graph, args.target.as_deref(), p))?;
    let folder = args.out.parent().unwrap_or(Path::new(""));
    let (found, target, best) = (&found, &target, &best);
    let text = text(&Text { args, folder, found, layout, target, best, classes, train, test, validation });
    write_file(&args.out, text.as_bytes())?;
    // What was written must be what `run` reads.
    project::load(&args.out)?;
    let held_out = validation.map_or_else(String::new, |samples| format!(", {samples} validation"));
    let lines = pairs(&[
        ("model", format!("{}, input {}, {outputs} outputs", graph.name, shape(&input))),
        ("data", format!("{train} training{held_out} and {test} test samples, {classes} classes")),
        ("target", format!("{}, array {}", target.name, best.config.array_text())),
        ("written", args.out.display().to_string()),
        ("next", format!("espalier run {}", args.out.display())),
    ]);
    let answer = InitAnswer {
        project: args.out.clone(),
        model: graph.name.clone(),
        input,
        outputs,
        classes,
        train_samples: train,
        test_samples: test,
        validation_samples: validation,
        target: target.name.clone(),
    };
    Ok(Answer::new(&answer, lines))
}

/// Finds training and test data by the names that such files usually have.
fn look(data: &Path) -> Result<Found, Diagnostic> {
    let at = data.display().to_string();
    if data.is_file() {
        // An archive with parts, or one set for both.
        let both = vec![data.to_owned()];
        return Ok(Found { train: both.clone(), test: both, ..Found::default() });
    }
    if !data.is_dir() {
        return Err(Diagnostic::error("missing-file", at, "does not exist"));
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(data)
        .map_err(|error| Diagnostic::error("unreadable-file", &at, format!("cannot be listed: {error}")))?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .collect();
    entries.sort();
    let named = |words: &[&str], without: &[&str]| -> Vec<PathBuf> {
        let name = |p: &PathBuf| p.file_name().map_or_else(String::new, |n| n.to_string_lossy().to_lowercase());
        let fits =
            |p: &&PathBuf| words.iter().all(|w| name(p).contains(w)) && !without.iter().any(|w| name(p).contains(w));
        entries.iter().filter(fits).cloned().collect()
    };
    let first = |mut paths: Vec<PathBuf>| {
        paths.truncate(1);
        paths
    };
    let either = |a: Vec<PathBuf>, b: Vec<PathBuf>| if a.is_empty() { b } else { a };
    let idx = named(&["train", "images", "idx"], &[]);
    let found = if !idx.is_empty() {
        let test = |word: &str| first(either(named(&["t10k", word, "idx"], &[]), named(&["test", word, "idx"], &[])));
        Found {
            train: first(idx),
            train_labels: first(named(&["train", "labels", "idx"], &[])),
            test: test("images"),
            test_labels: test("labels"),
            bytes: true,
            ..Found::default()
        }
    } else if !named(&["data_batch"], &[]).is_empty() {
        Found { train: named(&["data_batch"], &[]), test: named(&["test_batch"], &[]), bytes: true, ..Found::default() }
    } else {
        let array = |part: &str| first(named(&[part, ".np"], &["label"]));
        let array_labels = |part: &str| first(named(&[part, "label", ".np"], &[]));
        let folders = |words: &[&str]| -> Vec<PathBuf> {
            words.iter().map(|w| data.join(w)).filter(|p| p.is_dir()).take(1).collect()
        };
        if array("train").is_empty() {
            let (train, validation) = (folders(&["train", "training"]), folders(&["validation", "val"]));
            match folders(&["test"]) {
                test if test.is_empty() => Found { train, test: validation, bytes: true, ..Found::default() },
                test => Found { train, test, validation, bytes: true, ..Found::default() },
            }
        } else {
            Found {
                train: array("train"),
                train_labels: array_labels("train"),
                test: array("test"),
                test_labels: array_labels("test"),
                validation: first(named(&["val", ".np"], &["label", "train", "test", "eval"])),
                validation_labels: first(named(&["val", "label", ".np"], &["train", "test", "eval"])),
                bytes: false,
            }
        }
    };
    if found.train.is_empty() || found.test.is_empty() {
        let help = "known are IDX files (train-images-idx3-ubyte ...), CIFAR-10 (data_batch_1.bin ...), folders train \
                    and test of images by class, train.npy with train_labels.npy, and NPZ archives";
        return Err(Diagnostic::error("no-samples", at, "holds no training and test data that are known by name")
            .with_help(help));
    }
    Ok(found)
}

/// The order of axes that fits the model, samples, and classes.
fn count(inputs: &[PathBuf], labels: &[PathBuf], shape: &[usize], part: &str) -> Outcome<(Layout, usize, usize)> {
    let strings = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
    let read = |layout| {
        let preprocessing = Preprocessing { layout, ..Preprocessing::default() };
        let fit = Fit { shape, classes: 0, preprocessing: &preprocessing, part: Some(part) };
        load_dataset(&strings(inputs), &strings(labels), &fit, 0)
    };
    let turned = |bad: &Diagnostics| bad.iter().any(|f| f.code == "wrong-layout");
    let (layout, dataset) = match read(Layout::Nchw) {
        Err(bad) if turned(&bad) => (Layout::Nhwc, read(Layout::Nhwc)?),
        other => (Layout::Nchw, other?),
    };
    let Some(labels) = &dataset.labels else {
        let help = "use folders by class, an archive with labels, or name the labels in the project file by hand";
        return Err(Diagnostic::error("missing-labels", strings(inputs).join(", "), "has no labels")
            .with_help(help)
            .into());
    };
    Ok((layout, dataset.len(), labels.iter().max().map_or(0, |l| *l as usize + 1)))
}

/// The named target, or the smallest FPGA that holds the network unpruned, with its fastest array.
fn choose(graph: &Graph, name: Option<&str>, progress: &mut Progress) -> Outcome<(Target, DesignPoint)> {
    let mut targets = match name {
        Some(name) => vec![find_target(name)?],
        None => builtin_targets().into_iter().filter(|t| t.fpga.is_some()).collect(),
    };
    let cells = |t: &Target| t.fpga.as_ref().map_or(0.0, |f| f.cells.value);
    targets.sort_by(|a, b| cells(a).total_cmp(&cells(b)));
    for target in targets {
        if let Some(best) = best_fit(graph, &target, progress) {
            return Ok((target, best));
        }
    }
    let help = "`espalier explore MODEL --target T --density 0.3` shows what pruning would do";
    let at = format!("network '{}'", graph.name);
    Err(Diagnostic::error("nothing-fits", at, "fits unpruned on no target that was tried").with_help(help).into())
}

/// What the text of a project file says.
struct Text<'a> {
    args: &'a InitArgs,
    folder: &'a Path,
    found: &'a Found,
    layout: Layout,
    target: &'a Target,
    best: &'a DesignPoint,
    classes: usize,
    train: usize,
    test: usize,
    validation: Option<usize>,
}

fn text(t: &Text<'_>) -> String {
    let Text { args, folder, found, target, best, .. } = t;
    let quoted = |path: &Path| toml::Value::String(relative(path, folder)).to_string();
    let list = |paths: &[PathBuf]| match paths {
        [one] => quoted(one),
        several => format!("[\n    {},\n]", several.iter().map(|p| quoted(p)).collect::<Vec<_>>().join(",\n    ")),
    };
    let labels = |key: &str, paths: &[PathBuf]| {
        if paths.is_empty() { String::new() } else { format!("{key} = {}\n", list(paths)) }
    };
    let config = &best.config;
    let layout = match t.layout {
        Layout::Nhwc => "# The files have the channels last.\nlayout = \"nhwc\"\n",
        Layout::Nchw => "",
    };
    let scale = if found.bytes {
        "# Bytes become 0 to 1. If the model was trained on other values, change this and add mean and std.\nscale = \"1/255\"\n"
    } else {
        "# Values are taken as they are. If the model was trained on others: (value * scale - mean) / std.\n\
         # scale = \"1/255\"\n# mean = [0.0]\n# std = [1.0]\n"
    };
    let mut out = format!(
        "# Written by `espalier init`. Run it with `espalier run {name}`.\n\
         # `espalier schema` prints a JSON schema for editors; every key is explained in the example\n\
         # examples/lenet5-mnist/espalier.toml. Paths are relative to this file.\n\n\
         # Seed of every random choice: equal seeds give equal designs.\nseed = 1\n\n[model]\npath = {model}\n\n[data]\n",
        name = args.out.display(),
        model = quoted(&args.model),
    );
    out += &format!("# {} samples, {} classes.\ntrain = {}\n", t.train, t.classes, list(&found.train));
    out += &labels("train_labels", &found.train_labels);
    out += &format!("# {} samples, looked at once at the end.\ntest = {}\n", t.test, list(&found.test));
    out += &labels("test_labels", &found.test_labels);
    if let Some(validation) = t.validation {
        out += &format!("# {validation} samples for decisions on the way.\nvalidation = {}\n", list(&found.validation));
        out += &labels("validation_labels", &found.validation_labels);
    }
    out += &format!("\n[data.preprocessing]\n{scale}{layout}");
    out += &format!(
        "\n# {description}: {cells} logic cells. `espalier targets` lists the others.\n[target]\nname = \"{target}\"\n\n\
         # The fastest array for this network that the target holds, as `espalier fit` finds it: {cycles} cycles unpruned.\n\
         [accelerator]\nrows = {rows}\ncols = {cols}\nlane_bytes = {lane_bytes}\naccumulator_pixels = {pixels}\n\
         combine = {combine}\nclusters = {clusters}\nmultiplier = \"{multiplier}\"\ndepthwise_taps = {taps}\n\n\
         [budget]\n# Share of the unpruned network's cycles; or `cycles`, or `latency_ms`.\ncycles_fraction = 0.5\n\
         # Points that INT8 accuracy may lie below the given model; more is a failed check.\nmax_accuracy_drop = 1.0\n\n\
         [prune]\n# In each round the best of several criteria, by the loss on held-out samples.\ncriterion = \"adaptive\"\n\
         # Rounds of removing and fine-tuning, passes over the samples after each, and after the last.\n\
         steps = 3\nepochs = 2\nfinal_epochs = 6\n\n\
         [verify]\n# Inputs through every engine, every element of every layer compared.\nsamples = 5\n",
        description = target.description,
        cells = target.fpga.as_ref().map_or(0.0, |f| f.cells.value),
        target = args.target.as_deref().unwrap_or(&target.name),
        cycles = best.cycles,
        rows = config.rows,
        cols = config.cols,
        lane_bytes = config.lane_bytes,
        pixels = config.accumulator_pixels,
        combine = config.combine,
        clusters = config.clusters,
        multiplier = config.multiplier.name(),
        taps = config.depthwise_taps,
    );
    out
}

/// A path as the project file names it: relative to its folder where that is above the path, else absolute.
fn relative(path: &Path, folder: &Path) -> String {
    let whole = |p: &Path| std::path::absolute(p).unwrap_or_else(|_| p.to_owned());
    let (path, folder) = (whole(path), whole(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }));
    path.strip_prefix(&folder).map_or_else(|_| path.display().to_string(), |rest| rest.display().to_string())
}
