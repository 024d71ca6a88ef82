//! The subcommands, each in a file of its own: arguments in, [`Answer`] out.

pub mod compare;
pub mod compile;
pub mod doctor;
pub mod estimate;
pub mod explain;
pub mod explore;
pub mod infer;
pub mod init;
pub mod inspect;
pub mod pack;
pub mod prune;
pub mod regress;
pub mod report;
pub mod run;
pub mod shell;
pub mod synth;
pub mod targets;
pub mod train;
pub mod verify;

use crate::failure::Failure;

/// What a command prints.
pub struct Answer {
    /// With `--json`.
    pub json: String,
    /// Otherwise.
    pub text: String,
    /// A check that failed although there is an answer.
    pub failure: Option<Failure>,
}

impl Answer {
    /// An answer of a command that did what it should.
    pub fn new(json: &impl serde::Serialize, text: String) -> Self {
        let json = serde_json::to_string_pretty(json).expect("plain data becomes JSON");
        Answer { json, text, failure: None }
    }
}
