//! `espalier report`: the page of a finished design, or one that compares several.

use std::path::PathBuf;

use espalier_ir::Diagnostics;
use serde::Serialize;

use crate::args::ReportArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::output::write_file;
use crate::page::{self, Run};

#[derive(Serialize)]
struct ReportAnswer {
    /// The page that was written.
    page: PathBuf,
    bytes: usize,
    runs: usize,
}

/// Draws a page from the files of the runs.
///
/// # Errors
/// If a folder has no report of this version, all of them at once, or the page cannot be written.
pub fn report(args: &ReportArgs) -> Outcome<Answer> {
    let (mut runs, mut findings) = (Vec::new(), Diagnostics::new());
    for folder in &args.designs {
        match Run::load(folder) {
            Ok(run) => runs.push(run),
            Err(bad) => findings.extend(bad),
        }
    }
    findings.into_result(())?;
    let (html, default) = match runs.as_slice() {
        [run] => (run.html(), args.designs[0].join(page::FILE)),
        several => (page::compare(several), PathBuf::from("compare.html")),
    };
    let path = args.out.clone().unwrap_or(default);
    write_file(&path, html.as_bytes())?;
    let text = format!("written to {}", path.display());
    Ok(Answer::new(&ReportAnswer { page: path, bytes: html.len(), runs: runs.len() }, text))
}
