//! `espalier train`: a network of its own for a project, from scratch or from a given model.

use crate::args::TrainArgs;
use crate::checkpoint::{Identity, Keeper};
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::files::model_interface;
use crate::pipeline::load_data;
use crate::pretraining::{Origin, TrainingReport, kept_model, train as train_network};
use crate::progress::Progress;
use crate::project;
use crate::render::{count, pairs, percent};

/// Trains the network of a project file.
///
/// # Errors
/// If the project, the network or the data cannot be used, or the training diverges.
pub fn train(args: &TrainArgs, progress: &mut Progress) -> Outcome<Answer> {
    let mut project = project::load(&args.project)?;
    if let Some(seed) = args.seed {
        project.seed = seed;
    }
    if let Some(model) = &args.from {
        project.model.path = Some(model.clone());
        project.model.architecture = None;
        project.train.transfer.get_or_insert_default();
    }
    if let Some(epochs) = args.epochs {
        project.train.epochs = epochs;
    }
    project::check(&project, &args.project.display().to_string())?;
    let path = args.out.clone().unwrap_or_else(|| kept_model(&project));
    let origin = progress.stage("import", "Reading the network", |_| Origin::load(&project))?;
    let (shape, outputs) = model_interface(&origin.graph)?;
    let classes = origin.classes(outputs);
    let data =
        progress.stage("data", "Reading the data", |p| load_data(&project.data, &shape, classes, project.seed, p))?;
    let identity = Identity::new()
        .with("seed", project.seed)
        .with_bytes("model", &origin.identity())
        .with_samples("training samples", &data.train)
        .with_samples("validation samples", &data.validation)
        .with("[train]", &project.train);
    let keeper = Keeper::begin(&path, identity, args.resume)?;
    if args.resume {
        progress.line(&keeper.summary());
    }
    let (_, report) = progress
        .stage("train", "Training", |progress| train_network(&project, &origin, &data, &path, &keeper, progress))?;
    keeper.finish();
    Ok(Answer::new(&report, text(&report)))
}

fn text(report: &TrainingReport) -> String {
    let accuracy = |score: &crate::report::Score| format!("{} of {} samples", percent(score.value), score.samples);
    pairs(&[
        ("model", format!("{}, {} parameters", report.model, count(report.parameters as u64))),
        ("trained", format!("{} epochs in {:.0} s, best {}", report.epochs, report.seconds, report.best_epoch)),
        ("validation", accuracy(&report.validation)),
        ("test", accuracy(&report.test)),
        ("written", report.path.display().to_string()),
    ])
}
