//! What other programs read: completions for shells, manual pages, the schema of project files.

use clap::CommandFactory;
use espalier_ir::Diagnostic;
use serde::Serialize;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::output::write_file;
use crate::project;

/// Completions for a shell.
///
/// # Errors
/// None.
pub fn completions(args: &CompletionsArgs) -> Outcome<Answer> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "espalier", &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(Answer::new(&serde_json::json!({ "shell": args.shell.to_string(), "script": text }), text))
}

#[derive(Serialize)]
struct ManAnswer {
    pages: Vec<String>,
}

/// Manual pages: `espalier.1` and one for each command.
///
/// # Errors
/// If a file cannot be written.
pub fn man(args: &ManArgs) -> Outcome<Answer> {
    let failed = |error: std::io::Error| {
        Diagnostic::error("output-file", args.dir.display().to_string(), format!("cannot be written: {error}"))
    };
    let root = Cli::command();
    let mut pages = Vec::new();
    let subcommands = root.get_subcommands().map(|c| (format!("espalier-{}", c.get_name()), c.clone()));
    for (name, command) in std::iter::once(("espalier".to_owned(), root.clone())).chain(subcommands) {
        let mut page = Vec::new();
        // The program keeps what it is given: names of commands are few.
        let shown: &'static str = Box::leak(name.clone().into_boxed_str());
        clap_mangen::Man::new(command.name(shown)).render(&mut page).map_err(failed)?;
        write_file(&args.dir.join(format!("{name}.1")), &page)?;
        pages.push(format!("{name}.1"));
    }
    let text = format!("{} pages written to {}", pages.len(), args.dir.display());
    Ok(Answer::new(&ManAnswer { pages }, text))
}

/// The JSON schema of project files.
///
/// # Errors
/// None.
pub fn schema() -> Outcome<Answer> {
    let schema = project::schema();
    let text = serde_json::to_string_pretty(&schema).expect("plain data becomes JSON");
    Ok(Answer::new(&schema, text))
}
