//! `espalier run`: a whole project.

use crate::args::RunArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::progress::Progress;
use crate::pruning::PlanFile;
use crate::{pipeline, project};

/// Runs a project file.
///
/// # Errors
/// If the project cannot be run; what a run found out, failed checks included, is an answer.
pub fn run(args: &RunArgs, progress: &mut Progress) -> Outcome<Answer> {
    let mut project = project::load(&args.project)?;
    if let Some(out) = &args.out {
        project.output.dir.clone_from(out);
    }
    if let Some(seed) = args.seed {
        project.seed = seed;
    }
    let replay = args.replay.as_deref().map(PlanFile::read).transpose()?;
    let (report, failure) = pipeline::run(&project, args.resume, replay.as_ref(), progress)?;
    Ok(Answer { failure, ..Answer::new(&report, report.to_text()) })
}
