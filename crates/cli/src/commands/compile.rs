//! `espalier compile`: hardware for a model as it is, without training.

use espalier_ir::{Diagnostic, Diagnostics, Graph};
use espalier_prune::{Criterion, Evidence, VectorOptions, apply_masks, dense_cycles, vector_importance, vector_masks};
use espalier_target::AcceleratorConfig;

use crate::args::CompileArgs;
use crate::assess::assess;
use crate::commands::Answer;
use crate::details::Details;
use crate::failure::Outcome;
use crate::files::{Fit, load_dataset, load_model, model_interface};
use crate::output::OutputFolder;
use crate::page;
use crate::pipeline::{Quantized, calibration_method, sample};
use crate::progress::Progress;
use crate::report::Report;
use crate::target::{board_and_target, check_board, resource_warning, with_options};

/// Compiles a model.
///
/// # Errors
/// If a stage cannot do its work; no output is left then.
pub fn compile(args: &CompileArgs, progress: &mut Progress) -> Outcome<Answer> {
    let original = progress.stage("import", "Importing the model", |_| load_model(&args.model))?;
    let (board, target) = board_and_target(args.target.board.as_deref(), args.target.target.as_deref(), "--target")?;
    let config = with_options(&target, &args.target)?.with_units_for(&original)?;
    check_board(board.as_ref(), &config)?;
    let method = calibration_method(&args.method)?;
    let out = OutputFolder::begin(&args.out)?;
    let calibration = progress.stage("data", "Reading the calibration data", |_| -> Outcome<_> {
        let (shape, _) = model_interface(&original)?;
        let preprocessing = args.preprocessing.to_preprocessing();
        let fit = Fit { shape: &shape, classes: 0, preprocessing: &preprocessing, part: Some("train") };
        let all = load_dataset(std::slice::from_ref(&args.calibration), &[], &fit, args.seed)?;
        Ok(sample(&all, args.calibration_samples.max(1), args.seed))
    })?;
    let graph = progress.stage("prune", "Pruning", |_| prune_vectors(&original, &config, args.sparsity))?;
    let quantized = progress.stage("quantize", "Quantizing", |p| Quantized::new(&graph, &calibration, method, p))?;
    let mut design =
        progress.stage("compile", "Compiling", |_| quantized.compile(&original, &target, &config, args.seed))?;
    design.info.board = board;
    let warnings = progress.stage("emit", "Writing hardware and models", |_| design.write(&out))?;
    warnings.iter().for_each(|w| progress.warn(w.clone()));
    let assessment = assess(&original, &design)?;
    if let Some(warning) = resource_warning(&target, &assessment.estimate.resources) {
        progress.warn(warning);
    }
    let mut report = Report::new("compile", &design, &assessment, progress);
    report.data.calibration = calibration.len();
    out.write("report.json", report.to_json().as_bytes())?;
    out.write(page::DETAILS_FILE, Details::new(&original, &design)?.to_json().as_bytes())?;
    page::write(out.path())?;
    out.commit()?;
    Ok(Answer::new(&report, report.to_text()))
}

/// Removes the weakest vectors until `sparsity` of the cycles are gone.
fn prune_vectors(graph: &Graph, config: &AcceleratorConfig, sparsity: f64) -> Result<Graph, Diagnostics> {
    if !(0.0..1.0).contains(&sparsity) {
        let message = format!("{sparsity} is not from 0 up to but not including 1");
        return Err(Diagnostic::error("bad-argument", "--sparsity", message).into());
    }
    if sparsity == 0.0 {
        return Ok(graph.clone());
    }
    let budget_cycles = (dense_cycles(graph, config)? as f64 * (1.0 - sparsity)) as u64;
    let criterion = Criterion::L2;
    let scores = vector_importance(graph, config, criterion, criterion.default_normalization(), &Evidence::NONE)?;
    let plan = vector_masks(graph, config, &scores, &VectorOptions { budget_cycles, min_keep: 0.0 })?;
    apply_masks(graph, &plan.masks)
}
