//! Which engines a verification compares, and what they need.

use std::path::Path;

use clap::ValueEnum;
use espalier_ir::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::hls::{HlsKernel, compiler_version};
use crate::progress::Progress;
use crate::simulate::{Simulator, verilator_version};

/// An engine that gives integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerifyEngine {
    /// The integer reference interpreter; the others are compared with it.
    Reference,
    /// The instruction-level machine.
    Machine,
    /// The SystemVerilog hardware, simulated by Verilator.
    Verilator,
    /// The Vitis HLS kernel, compiled by g++.
    Hls,
}

/// Engines of a verification beside the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The machine runs.
    pub machine: bool,
    /// The hardware runs.
    pub verilator: bool,
    /// The HLS kernel runs.
    pub hls: bool,
}

/// The engines, built.
pub struct Engines {
    /// Whether the machine is compared.
    pub machine: bool,
    /// The simulated hardware.
    pub simulator: Option<Simulator>,
    /// The HLS kernel.
    pub hls: Option<HlsKernel>,
}

impl Choice {
    /// The engines that are named; without names all, of which the HLS kernel is left out visibly if there is no g++.
    /// Nothing is built yet, but the tools are there.
    ///
    /// # Errors
    /// If nothing is to be compared, or a tool is missing.
    pub fn new(named: Option<&[VerifyEngine]>, at: &str, progress: &Progress) -> Result<Choice, Diagnostic> {
        let Some(named) = named else {
            verilator_version()?;
            let compiler = compiler_version();
            if let Err(missing) = &compiler {
                progress.line(&format!("  skipped: the HLS kernel is not compared: g++ {}", missing.message));
            }
            return Ok(Choice { machine: true, verilator: true, hls: compiler.is_ok() });
        };
        let has = |engine| named.contains(&engine);
        let choice = Choice {
            machine: has(VerifyEngine::Machine),
            verilator: has(VerifyEngine::Verilator),
            hls: has(VerifyEngine::Hls),
        };
        if choice == (Choice { machine: false, verilator: false, hls: false }) {
            return Err(Diagnostic::error("bad-argument", at, "leaves nothing to compare with the reference")
                .with_help("name at least one of machine, verilator and hls"));
        }
        if choice.verilator {
            verilator_version()?;
        }
        if choice.hls {
            compiler_version()?;
        }
        Ok(choice)
    }

    /// Builds what the design in `folder` needs for it.
    ///
    /// # Errors
    /// If a tool fails.
    pub fn build(self, folder: &Path, progress: &Progress) -> Result<Engines, Diagnostic> {
        let simulator = self.verilator.then(|| Simulator::build(folder, false, progress)).transpose()?;
        let hls = self.hls.then(|| HlsKernel::build(folder, progress)).transpose()?;
        Ok(Engines { machine: self.machine, simulator, hls })
    }
}

impl Engines {
    /// Version of Verilator, if it was called.
    pub fn verilator_version(&self) -> Option<String> {
        self.simulator.as_ref().map(|s| s.version.clone())
    }

    /// Version of the C++ compiler, if it was called.
    pub fn compiler_version(&self) -> Option<String> {
        self.hls.as_ref().map(|h| h.version.clone())
    }
}
