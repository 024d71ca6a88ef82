//! How a command ends when it does not end well.

use std::process::ExitCode;

use espalier_ir::{Diagnostic, Diagnostics};

/// Exit code of a failed check.
pub const EXIT_CHECK: u8 = 1;
/// Exit code of a usage or input error; clap uses the same.
pub const EXIT_INPUT: u8 = 2;

/// Codes of findings that are results of a check rather than errors in the input.
const CHECK_CODES: [&str; 7] = [
    "budget-not-met",
    "accuracy-not-met",
    "mismatch",
    "cycles-differ",
    "machine-fault",
    "simulation-failed",
    "regression-failed",
];

/// What a command that cannot do its work returns.
#[derive(Debug)]
pub struct Failure(pub Diagnostics);

impl Failure {
    /// 1 if every error is a failed check, else 2.
    pub fn exit_code(&self) -> ExitCode {
        let only_checks = self.0.iter().all(|d| CHECK_CODES.contains(&d.code));
        ExitCode::from(if only_checks { EXIT_CHECK } else { EXIT_INPUT })
    }
}

impl From<Diagnostic> for Failure {
    fn from(finding: Diagnostic) -> Self {
        Failure(finding.into())
    }
}

impl From<Diagnostics> for Failure {
    fn from(findings: Diagnostics) -> Self {
        Failure(findings)
    }
}

/// Result of a command or a stage.
pub type Outcome<T> = Result<T, Failure>;
