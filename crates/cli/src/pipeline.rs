//! The stages of a run, one after the other. `compile` shares the later ones.

use espalier_data::{Dataset, choose, repeated, split};
use espalier_ir::{Diagnostic, Diagnostics, Graph, Op};
use espalier_prune::{Budgets, Resource};
use espalier_quant::{
    CalibrationMethod, QuantizeOptions, QuantizedGraph, ReferenceInterpreter, calibrate, fold_batch_norm, quantize,
};
use espalier_target::{AcceleratorConfig, Figures, Target, estimate};
use espalier_train::Confusion;

use crate::assess::assess;
use crate::checkpoint::{Identity, Keeper};
use crate::design::{Design, DesignInfo, MAX_STORED_INPUTS, as_written};
use crate::details::Details;
use crate::engines::{Choice, Engines};
use crate::failure::{Failure, Outcome};
use crate::files::{Fit, load_dataset, model_interface};
use crate::output::OutputFolder;
use crate::page;
use crate::pretraining::{Origin, trained};
use crate::progress::Progress;
use crate::project::{DataSection, Project};
use crate::pruning::{Goal, Hardware, PlanFile, Pruned, prune};
use crate::report::{AccuracyReport, BudgetReport, DataReport, LimitReport, QuantizationReport, Report, Score};
use crate::simulate::Stalls;
use crate::target::{board_and_target, check_board, resource_warning, with_section};
use crate::training::{
    Metric, Quality, Start, Tuning, fake_quantization, fine_tune, judge_in_parts, quality, zero_masks,
};
use crate::verification::{Verification, verify};

/// Percent of cycles in which the simulated surroundings keep the hardware waiting.
pub const STALL_PERCENT: u32 = 10;

/// Samples of a run; train, validation and test are disjoint.
pub struct Data {
    /// To learn from.
    pub train: Dataset,
    /// To decide with.
    pub validation: Dataset,
    /// To measure the result with.
    pub test: Dataset,
    /// To choose scales with.
    calibration: Dataset,
}

impl Data {
    /// Sizes of the parts.
    pub fn report(&self) -> DataReport {
        DataReport {
            train: self.train.len(),
            validation: self.validation.len(),
            calibration: self.calibration.len(),
            test: self.test.len(),
        }
    }

    /// A warning for each two parts with samples in common: what was learned from, or decided with, says too much of
    /// itself.
    fn warnings(&self) -> Vec<Diagnostic> {
        let (train, validation, test) =
            (("training", &self.train), ("validation", &self.validation), ("test", &self.test));
        let pairs = [(train, validation), (train, test), (validation, test)];
        let found = pairs.into_iter().filter_map(|((by, seen), (name, samples))| {
            let repeated = repeated(seen, samples);
            let message = format!("{repeated} of {} {name} samples are {by} samples, too", samples.len());
            (repeated > 0).then(|| {
                Diagnostic::warning("repeated-samples", "data", message)
                    .with_help("an accuracy on them promises too much for new samples; leave them out of one part")
            })
        });
        found.collect()
    }

    /// As many classes as the labels need.
    pub fn classes(&self) -> usize {
        let parts = [&self.train, &self.validation, &self.test];
        parts.iter().flat_map(|p| p.labels.iter().flatten()).max().map_or(0, |label| *label as usize + 1)
    }
}

/// Runs a project and puts the output folder in place; with `resume` goes on from the checkpoint of an interrupted run,
/// with `replay` prunes as an earlier run did. The report comes with the check that failed, if one did.
///
/// # Errors
/// If a stage cannot do its work; no output is left then, but the checkpoint of finished epochs is.
pub fn run(
    project: &Project,
    resume: bool,
    replay: Option<&PlanFile>,
    progress: &mut Progress,
) -> Outcome<(Report, Option<Failure>)> {
    let seed = project.seed;
    let origin = progress.stage("import", "Importing the model", |_| Origin::load(project))?;
    let (board, target) =
        board_and_target(project.target.board.as_deref(), project.target.name.as_deref(), "project key 'target.name'")?;
    // Everything that can refuse a run does so before the hours of training.
    let config = with_section(&target, &project.accelerator)?.with_units_for(&origin.graph)?;
    check_board(board.as_ref(), &config)?;
    let mut dense = estimate(&origin.graph, &target, &config, None)?;
    if let Some(warning) = resource_warning(&target, &dense.resources) {
        progress.warn(warning);
    }
    let choice = Choice::new(project.verify.engines.as_deref(), "verify.engines", progress)?;
    let out = OutputFolder::begin(&project.output.dir)?;
    let (shape, outputs) = model_interface(&origin.graph)?;
    let classes = origin.classes(outputs);
    let data = progress.stage("data", "Reading the data", |p| load_data(&project.data, &shape, classes, seed, p))?;
    let mut identity = identity(project, &origin, &data, &target, &config);
    if let Some(plan) = replay {
        identity = identity.with_bytes("plan", plan.to_json().as_bytes());
    }
    let keeper = Keeper::begin(&project.output.dir, identity, resume)?;
    if resume {
        progress.line(&keeper.summary());
    }
    let original = if origin.needs_training() {
        let train = |progress: &mut Progress| trained(project, &origin, &data, &keeper, progress);
        let graph = progress.stage("train", "Training", train)?;
        dense = estimate(&graph, &target, &config, None)?;
        graph
    } else {
        origin.graph
    };
    let baseline = progress.stage("baseline", "Measuring the given model", |p| quality(&original, &data.test, p))?;
    progress.line(&format!("  {:.2} % of {} test samples", 100.0 * baseline.accuracy, baseline.samples));

    let options = project.train.to_config();
    let tuning = Tuning {
        train: &data.train,
        validation: &data.validation,
        teacher: &original,
        distillation: project.prune.distillation,
        temperature: project.prune.distillation_temperature,
        batch: project.prune.batch,
        options: &options,
        seed,
        keeper: &keeper,
    };
    let budgets = project.budget.budgets(dense.cycles, target.clock_mhz.value);
    let goal = replay.map_or(Goal::Budgets(&budgets), Goal::Plan);
    let free = budgets.limits.is_empty() && project.prune.floor.is_none();
    let Pruned { graph, rounds, log, plan } = if free && replay.is_none() {
        Pruned::untouched(&original)
    } else {
        let hardware = Hardware { target: &target, config: &config };
        progress.stage("prune", "Pruning and fine-tuning", |progress| {
            prune(&original, hardware, goal, &project.prune, project.budget.metric, &tuning, progress)
        })?
    };
    if !rounds.is_empty() {
        out.write("prune-log.jsonl", log.as_bytes())?;
        out.write("plan.json", plan.as_bytes())?;
    }
    let (mut design, quantization) = progress
        .stage("quantize", "Quantizing", |progress| quantize_project(&graph, project, &data, &tuning, progress))?;
    // Nothing is decided on them any more: the hardware is shown images that no stage has seen.
    design.inputs = stored_inputs(&data.test, &design.quantized);
    let mut design = progress.stage("compile", "Compiling", |_| design.compile(&original, &target, &config, seed))?;
    design.info.board = board;
    let warnings = progress.stage("emit", "Writing hardware and models", |_| design.write(&out))?;
    warnings.iter().for_each(|w| progress.warn(w.clone()));
    let (verification, engines) = progress.stage("verify", "Comparing the engines", |progress| {
        verify_stored(&design, &out, choice, project.verify.samples, seed, progress)
    })?;
    let accuracy =
        progress.stage("test", "Measuring on the test samples", |p| measure(&design, &baseline, &data.test, p))?;

    let assessment = assess(&original, &design)?;
    let mut report = Report::new("run", &design, &assessment, progress);
    report.data = data.report();
    report.accuracy = accuracy;
    report.pruning = rounds;
    report.quantization = Some(quantization);
    report.set_verification(&verification, &engines);
    let findings = checks(&mut report, &budgets, &assessment.figures, project, &verification);
    out.write("report.json", report.to_json().as_bytes())?;
    out.write(page::DETAILS_FILE, Details::new(&original, &design)?.to_json().as_bytes())?;
    page::write(out.path())?;
    out.commit()?;
    keeper.finish();
    progress.line(&format!("written to {}", project.output.dir.display()));
    Ok((report, findings.has_errors().then_some(Failure(findings))))
}

/// Everything that the course of a run depends on.
fn identity(project: &Project, origin: &Origin, data: &Data, target: &Target, config: &AcceleratorConfig) -> Identity {
    let Project { seed, budget, prune, train, quantize, .. } = project;
    Identity::new()
        .with("seed", seed)
        .with_bytes("model", &origin.identity())
        .with_samples("training samples", &data.train)
        .with_samples("validation samples", &data.validation)
        .with_samples("calibration samples", &data.calibration)
        .with_samples("test samples", &data.test)
        .with("target", target)
        .with("accelerator", config)
        .with("[budget]", budget)
        .with("[prune]", prune)
        .with("[train]", train)
        .with("[quantize]", quantize)
}

/// Reads all samples and divides them; warns of those that two parts share.
///
/// # Errors
/// All that is wrong with the files, or does not fit inputs of `shape` and labels below `classes` (0: any).
pub fn load_data(
    section: &DataSection,
    shape: &[usize],
    classes: usize,
    seed: u64,
    progress: &mut Progress,
) -> Outcome<Data> {
    let preprocessing = section.preprocessing.to_preprocessing();
    let fit = |part| Fit { shape, classes, preprocessing: &preprocessing, part: Some(part) };
    let mut findings = Diagnostics::new();
    let mut load = |inputs: &[String], labels: &[String], part: &'static str, key: &str| {
        let loaded = load_dataset(inputs, labels, &fit(part), seed).and_then(|dataset| {
            if dataset.labels.is_some() || key == "calibration" {
                return Ok(dataset);
            }
            Err(Diagnostic::error("missing-labels", inputs.join(", "), format!("the {key} samples have no labels"))
                .with_help(format!("name the file with the labels as data.{key}_labels"))
                .into())
        });
        loaded.map_err(|found| findings.extend(found)).ok()
    };
    let all = load(&section.train.0, &section.train_labels.0, "train", "train");
    let test = load(&section.test.0, &section.test_labels.0, "test", "test");
    let given = match section.validation.0.as_slice() {
        [] => None,
        paths => load(paths, &section.validation_labels.0, "val", "validation"),
    };
    let separate = match section.calibration.0.as_slice() {
        [] => None,
        paths => load(paths, &[], "train", "calibration"),
    };
    let (Some(all), Some(test)) = (all, test) else { return Err(Failure(findings)) };
    findings.into_result(())?;
    let (train, validation) = match given {
        Some(validation) => (all, validation),
        None => {
            let parts = split(all.len(), all.labels.as_deref(), section.validation_fraction, seed);
            if parts.train.is_empty() || parts.validation.is_empty() {
                let message = format!("{} training samples cannot be divided", all.len());
                return Err(Diagnostic::error("no-samples", section.train.0.join(", "), message).into());
            }
            (all.select(&parts.train), all.select(&parts.validation))
        }
    };
    let source = separate.as_ref().unwrap_or(&train);
    let calibration = sample(source, section.calibration_samples, seed);
    let data = Data { calibration, train, validation, test };
    data.warnings().into_iter().for_each(|w| progress.warn(w));
    Ok(data)
}

/// A part of a data set with the same mixture of labels.
pub fn sample(dataset: &Dataset, count: usize, seed: u64) -> Dataset {
    dataset.select(&choose(dataset.len(), dataset.labels.as_deref(), count, seed))
}

/// The samples that a design keeps for its verification.
fn stored_inputs(dataset: &Dataset, quantized: &QuantizedGraph) -> Vec<Vec<i8>> {
    dataset.samples().take(MAX_STORED_INPUTS).map(|s| quantized.quantize_input(s)).collect()
}

/// A network with everything that fixes its integers, before compilation.
pub struct Quantized {
    /// The float network as written.
    pub graph: Graph,
    /// What calibration observed.
    pub table: espalier_quant::CalibrationTable,
    /// Rounding.
    pub options: QuantizeOptions,
    /// The integers.
    pub quantized: QuantizedGraph,
    /// Samples to verify with.
    pub inputs: Vec<Vec<i8>>,
}

impl Quantized {
    /// Folds, calibrates and quantizes a network.
    ///
    /// # Errors
    /// If it cannot be quantized.
    pub fn new(
        graph: &Graph,
        calibration: &Dataset,
        method: CalibrationMethod,
        progress: &Progress,
    ) -> Result<Self, Diagnostics> {
        let graph = as_written(&fold_batch_norm(graph))?;
        let mut shown = progress.task("calibrating", calibration.len() as u64);
        let mut samples = calibration.samples().enumerate().map(|(index, sample)| {
            shown.at(index as u64, "");
            sample
        });
        let table = calibrate(&graph, &mut samples, method)?;
        let options = QuantizeOptions::default();
        let quantized = quantize(&graph, &table, &options)?;
        let inputs = stored_inputs(calibration, &quantized);
        Ok(Quantized { graph, table, options, quantized, inputs })
    }

    /// Lowers the network to a program.
    ///
    /// # Errors
    /// If the accelerator cannot hold it.
    pub fn compile(
        self,
        original: &Graph,
        target: &Target,
        config: &AcceleratorConfig,
        seed: u64,
    ) -> Result<Design, Diagnostics> {
        let Quantized { mut graph, table, options, mut quantized, inputs } = self;
        graph.name.clone_from(&original.name);
        quantized.name.clone_from(&original.name);
        let program = espalier_lower::compile(&quantized, config)?;
        let info = DesignInfo::new(&original.name, target, seed, &options, table);
        Ok(Design { graph, quantized, program, info, inputs })
    }
}

/// Quality of the integers that the hardware computes.
fn quality_of_integers(
    quantized: &QuantizedGraph,
    dataset: &Dataset,
    progress: &Progress,
) -> Result<Quality, Diagnostic> {
    let interpreter = ReferenceInterpreter::new(quantized);
    let classes = quantized.tensor(quantized.outputs[0]).elements();
    judge_in_parts(dataset, progress, |inputs, labels| {
        let predicted = interpreter.classify(inputs, labels)?;
        Ok(Confusion::new(classes, labels.iter().copied().zip(predicted)))
    })
}

/// Reads the name of a calibration method: `range`, `mse` or a percentile.
///
/// # Errors
/// If it is none of these.
pub fn calibration_method(name: &str) -> Result<CalibrationMethod, Diagnostic> {
    match name {
        "range" => Ok(CalibrationMethod::Range),
        "mse" => Ok(CalibrationMethod::Mse),
        _ => name.parse().map(CalibrationMethod::Percentile).map_err(|_| {
            Diagnostic::error("bad-argument", "calibration method", format!("'{name}' is not known"))
                .with_help("use range, mse, or a percentile such as 99.99")
        }),
    }
}

/// Quantizes; trains with rounding if that costs more accuracy than allowed.
fn quantize_project(
    graph: &Graph,
    project: &Project,
    data: &Data,
    tuning: &Tuning,
    progress: &mut Progress,
) -> Outcome<(Quantized, QuantizationReport)> {
    let (section, metric) = (&project.quantize, project.budget.metric);
    let rounded = Quantized::new(graph, &data.calibration, calibration_method(&section.method)?, progress)?;
    let float = quality(&rounded.graph, &data.validation, progress)?.by(metric);
    let post_training = quality_of_integers(&rounded.quantized, &data.validation, progress)?.by(metric);
    progress.line(&format!("  validation: float {:.2} %, INT8 {:.2} %", 100.0 * float, 100.0 * post_training));
    let mut report = QuantizationReport {
        method: section.method.clone(),
        validation_float: Some(float),
        validation_post_training: Some(post_training),
        validation_aware: None,
    };
    if 100.0 * (float - post_training) <= section.qat_threshold || section.qat_epochs == 0 {
        return Ok((rounded, report));
    }
    let recurrent = |node| matches!(rounded.graph.node(node).op, Op::Recurrent(_));
    if rounded.graph.nodes().into_iter().any(recurrent) {
        progress.line("  recurrent layers are not trained with rounding: the integers stay as they are");
        return Ok((rounded, report));
    }
    let exponents = rounded.quantized.exponents();
    let rounding = fake_quantization(&rounded.graph, &exponents)?;
    let masks = zero_masks(&rounded.graph);
    let start = Start {
        stage: "quantize",
        graph: &rounded.graph,
        masks: &masks,
        epochs: section.qat_epochs,
        learning_rate: section.qat_learning_rate,
        quantization: Some(&rounding),
        choose_epoch: true,
    };
    let tuned = fine_tune(&start, tuning, None, progress)?;
    let graph = as_written(&tuned.graph)?;
    let options = QuantizeOptions { fixed: Some(exponents), ..rounded.options.clone() };
    let quantized = quantize(&graph, &rounded.table, &options)?;
    let aware = Quantized { graph, options, quantized, table: rounded.table.clone(), inputs: rounded.inputs.clone() };
    let share = quality_of_integers(&aware.quantized, &data.validation, progress)?.by(metric);
    progress.line(&format!("  after quantization-aware training: INT8 {:.2} %", 100.0 * share));
    report.validation_aware = Some(share);
    Ok((if share > post_training { aware } else { rounded }, report))
}

fn verify_stored(
    design: &Design,
    out: &OutputFolder,
    choice: Choice,
    samples: usize,
    seed: u64,
    progress: &Progress,
) -> Outcome<(Verification, Engines)> {
    let engines = choice.build(out.path(), progress)?;
    let (inputs, random_inputs) = verification_inputs(design, samples, seed);
    let stalls = Stalls { seed, input: STALL_PERCENT, output: STALL_PERCENT };
    let verification = verify(design, out.path(), &inputs, random_inputs, &engines, stalls, progress)?;
    progress.line(&format!("  {}", crate::report::verification_text(&verification.report)));
    Ok((verification, engines))
}

/// The first stored inputs, then random ones; also how many are random.
pub fn verification_inputs(design: &Design, samples: usize, seed: u64) -> (Vec<Vec<i8>>, usize) {
    let mut inputs: Vec<Vec<i8>> = design.inputs.iter().take(samples).cloned().collect();
    let random_inputs = samples - inputs.len();
    let mut random = espalier_ir::Random::new(seed);
    let len = design.program.input_len();
    for _ in 0..random_inputs {
        inputs.push((0..len).map(|_| (random.bits() >> 56) as u8 as i8).collect());
    }
    (inputs, random_inputs)
}

/// Accuracy of the finished design.
fn measure(design: &Design, baseline: &Quality, test: &Dataset, progress: &Progress) -> Outcome<AccuracyReport> {
    Ok(AccuracyReport {
        baseline: Some(baseline.score()),
        pruned: Some(quality(&design.graph, test, progress)?.score()),
        int8: Some(quality_of_integers(&design.quantized, test, progress)?.score()),
    })
}

/// Compares the result with what was asked for, and notes it in the report.
fn checks(
    report: &mut Report,
    budgets: &Budgets,
    figures: &Figures,
    project: &Project,
    verification: &Verification,
) -> Diagnostics {
    let mut findings = Diagnostics::new();
    if let Some(finding) = verification.finding() {
        findings.push(finding);
    }
    let predicted = report.cycles.predicted.unwrap_or(0);
    let limits: Vec<LimitReport> = budgets
        .limits
        .iter()
        .map(|(resource, limit)| {
            let value = if *resource == Resource::Cycles { predicted as f64 } else { resource.of(figures) };
            LimitReport { resource: *resource, limit: *limit, value, met: value <= *limit }
        })
        .collect();
    for LimitReport { resource, limit, value, .. } in limits.iter().filter(|l| !l.met) {
        let name = resource.name();
        let message = format!("the design takes {value:.0} {name}, {limit:.0} are allowed");
        findings.push(Diagnostic::error("budget-not-met", "budget", message));
    }
    let mut met = limits.iter().all(|l| l.met);
    let metric = project.budget.metric;
    let value = |score: &Option<Score>| {
        score.as_ref().map_or(0.0, |s| match metric {
            Metric::Accuracy => s.value,
            Metric::MacroF1 => s.macro_f1,
        })
    };
    let drop = 100.0 * (value(&report.accuracy.baseline) - value(&report.accuracy.int8));
    if drop > project.budget.max_accuracy_drop {
        met = false;
        let message = format!("INT8 {} is {drop:.2} points below the baseline", metric.name());
        let help = format!("{} points are allowed; raise the budget or the epochs", project.budget.max_accuracy_drop);
        findings.push(Diagnostic::error("accuracy-not-met", "accuracy", message).with_help(help));
    }
    let budget = budgets.limits.get(&Resource::Cycles).map(|cycles| *cycles as u64);
    report.budget = Some(BudgetReport {
        cycles: budget,
        cycles_fraction: budget.zip(report.cycles.dense).map(|(b, dense)| b as f64 / dense.max(1) as f64),
        metric,
        max_accuracy_drop: project.budget.max_accuracy_drop,
        limits,
        met,
    });
    findings
}
