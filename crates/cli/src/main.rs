//! `espalier`: a trained ONNX model in, a pruned and bit-exactly verified accelerator out.
//!
//! This crate alone touches files and processes. [`pipeline`] is the order of the stages; each file of
//! [`commands`] is one subcommand; everything else serves these.

mod activity;
mod args;
mod assess;
mod cache;
mod chart;
mod checkpoint;
mod commands;
mod design;
mod details;
mod engines;
mod evidence;
mod failure;
mod files;
mod hls;
mod output;
mod page;
mod pipeline;
mod pretraining;
mod profile;
mod progress;
mod project;
mod pruning;
mod render;
mod report;
mod simulate;
mod style;
mod synthesis;
mod target;
mod train_options;
mod training;
mod verification;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::commands::{
    Answer, compare, compile, estimate, explore, infer, inspect, pack, prune, run, synth, targets, train, verify,
};
use crate::failure::Failure;
use crate::progress::Progress;

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::clean_up_on_interrupt();
    let mut progress = Progress::new(cli.quiet, cli.verbose, !cli.json);
    let result = match &cli.command {
        Command::Run(args) => run::run(args, &mut progress),
        Command::Train(args) => train::train(args, &mut progress),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Estimate(args) => estimate::estimate(args),
        Command::Explore(args) => explore::explore(args, &mut progress),
        Command::Fit(args) => explore::fit(args, &mut progress),
        Command::Compare(args) => compare::compare(args),
        Command::Report(args) => commands::report::report(args),
        Command::Compile(args) => compile::compile(args, &mut progress),
        Command::Verify(args) => verify::verify(args, &mut progress),
        Command::Synth(args) => synth::synth(args, &mut progress),
        Command::Pack(args) => pack::pack(args, &mut progress),
        Command::Infer(args) => infer::infer(args, &mut progress),
        Command::Prune(args) => prune::prune(args),
        Command::Targets(args) => targets::targets(args),
        Command::Init(args) => commands::init::init(args, &mut progress),
        Command::Regress(args) => commands::regress::regress(args, &mut progress),
        Command::Doctor => commands::doctor::doctor(),
        Command::Explain(args) => commands::explain::explain(args),
        Command::Schema => commands::shell::schema(),
        Command::Completions(args) => commands::shell::completions(args),
        Command::Man(args) => commands::shell::man(args),
    };
    let (answer, failure) = match result {
        Ok(Answer { json, text, failure }) => (Some(if cli.json { json } else { text }), failure),
        Err(failure) => (None, Some(failure)),
    };
    if let Some(answer) = answer {
        print(&answer);
    } else if let (true, Some(Failure(findings))) = (cli.json, &failure) {
        let findings = serde_json::json!({ "findings": findings });
        print(&serde_json::to_string_pretty(&findings).expect("plain data becomes JSON"));
    }
    match failure {
        Some(failure) => {
            eprintln!("{}", style::findings(&failure.0.to_string()));
            failure.exit_code()
        }
        None => ExitCode::SUCCESS,
    }
}

/// Writes to the standard output; a reader that has gone away, as in `espalier ... | head`, is no error.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{}", text.trim_end());
}
