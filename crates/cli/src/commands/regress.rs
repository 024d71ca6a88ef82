//! `espalier regress`: all designs below a folder, verified in parallel; those that passed and did not change are kept.

use std::collections::BTreeMap;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use espalier_ir::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};

use crate::args::RegressArgs;
use crate::commands::Answer;
use crate::design::Design;
use crate::engines::Choice;
use crate::failure::{Failure, Outcome};
use crate::output::write_file;
use crate::pipeline::{STALL_PERCENT, verification_inputs};
use crate::progress::Progress;
use crate::render::{count, table};
use crate::report::verification_text;
use crate::simulate::Stalls;
use crate::verification::verify;

/// What earlier runs found, in the folder of the designs.
const MEMORY: &str = ".espalier-regress.json";
/// Files that verification writes or does not read.
const RESULTS: [&str; 6] = ["report.json", "report.html", "details.json", "plan.json", "prune-log.jsonl", ".espalier"];
/// Folders below folders that are searched.
const MAX_DEPTH: usize = 8;

/// Result of one design.
#[derive(Debug, Clone, Serialize)]
struct Case {
    /// Folder, relative to that of the suite.
    design: String,
    passed: bool,
    /// Passed earlier with the same content; not run again.
    unchanged: bool,
    seconds: f64,
    elements: u64,
    cycles: u64,
    /// What was compared, or what is wrong.
    message: String,
}

/// A design that passed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Passed {
    /// Hash of everything that the result depends on.
    content: String,
    elements: u64,
    cycles: u64,
}

#[derive(Serialize)]
struct RegressAnswer {
    designs: usize,
    passed: usize,
    failed: usize,
    unchanged: usize,
    seconds: f64,
    cases: Vec<Case>,
}

/// Verifies all designs.
///
/// # Errors
/// If there is none, or a tool is missing; designs that fail are an answer that fails.
pub fn regress(args: &RegressArgs, progress: &mut Progress) -> Outcome<Answer> {
    if args.samples == 0 {
        return Err(Diagnostic::error("bad-argument", "--samples", "must be at least 1").into());
    }
    let begin = Instant::now();
    let designs = designs(&args.dir)?;
    let choice = Choice::new(args.engines.as_deref(), "--engines", progress)?;
    let memory_path = args.dir.join(MEMORY);
    let memory: BTreeMap<String, Passed> =
        fs::read(&memory_path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let progress: &Progress = progress;
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Case, String)>> = Mutex::new(Vec::new());
    let shown = Mutex::new(progress.task("verifying designs", designs.len() as u64));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, designs.len()) {
            scope.spawn(|| {
                while let Some((index, folder)) = designs.get(next.fetch_add(1, Ordering::Relaxed)).map(|d| (d.0, &d.1))
                {
                    let name = name_of(&args.dir, folder);
                    let content = content(folder, args, choice);
                    let known = memory.get(&name).filter(|p| p.content == content && !args.all);
                    let case = known.map_or_else(|| run(folder, &name, args, choice), |passed| kept(&name, passed));
                    let verdict = if case.passed { "passed" } else { "FAILED" };
                    progress.line(&format!("  {verdict} {name} ({:.1} s)", case.seconds));
                    let mut shown = shown.lock().expect("no worker panics");
                    if case.unchanged {
                        shown.leave_out()
                    } else {
                        shown.advance()
                    }
                    found.lock().expect("no worker panics").push((index, case, content));
                }
            });
        }
    });
    drop(shown);
    let mut found = found.into_inner().expect("no worker panics");
    found.sort_by_key(|(index, ..)| *index);
    let passed: BTreeMap<String, Passed> = found
        .iter()
        .filter(|(_, case, _)| case.passed)
        .map(|(_, case, content)| {
            let Case { design, elements, cycles, .. } = case;
            (design.clone(), Passed { content: content.clone(), elements: *elements, cycles: *cycles })
        })
        .collect();
    let text = serde_json::to_string_pretty(&passed).expect("plain data becomes JSON") + "\n";
    write_file(&memory_path, text.as_bytes())?;
    let cases: Vec<Case> = found.into_iter().map(|(_, case, _)| case).collect();
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(path) = &args.junit {
        write_file(path, junit(&cases, seconds).as_bytes())?;
    }
    Ok(answer(cases, seconds))
}

fn answer(cases: Vec<Case>, seconds: f64) -> Answer {
    let rows = cases.iter().map(|c| {
        let state = if !c.passed {
            "FAILED"
        } else if c.unchanged {
            "unchanged"
        } else {
            "passed"
        };
        let number = |n: u64| if c.passed { count(n) } else { String::new() };
        vec![c.design.clone(), state.to_owned(), number(c.elements), number(c.cycles), format!("{:.1}", c.seconds)]
    });
    let mut text = table(&["design", "result", "elements", "cycles", "seconds"], 2, rows);
    let failed: Vec<&Case> = cases.iter().filter(|c| !c.passed).collect();
    let unchanged = cases.iter().filter(|c| c.unchanged).count();
    text += &format!(
        "\n{} designs: {} passed ({unchanged} unchanged), {} failed, in {seconds:.1} s",
        cases.len(),
        cases.len() - failed.len(),
        failed.len()
    );
    let mut findings = Diagnostics::new();
    for case in &failed {
        findings.push(Diagnostic::error("regression-failed", format!("design '{}'", case.design), &case.message));
    }
    let failure = findings.has_errors().then_some(Failure(findings));
    let (designs, failed) = (cases.len(), failed.len());
    let answer = RegressAnswer { designs, passed: designs - failed, failed, unchanged, seconds, cases };
    Answer { failure, ..Answer::new(&answer, text) }
}

fn kept(name: &str, passed: &Passed) -> Case {
    Case {
        design: name.to_owned(),
        passed: true,
        unchanged: true,
        seconds: 0.0,
        elements: passed.elements,
        cycles: passed.cycles,
        message: "unchanged since it passed".to_owned(),
    }
}

/// Verifies one design; whatever is wrong with it is a result.
fn run(folder: &Path, name: &str, args: &RegressArgs, choice: Choice) -> Case {
    let begin = Instant::now();
    // Workers would draw over each other.
    let progress = Progress::new(true, false, false);
    let check = || -> Outcome<(u64, u64, bool, String)> {
        let design = Design::load(folder)?;
        let (inputs, random) = verification_inputs(&design, args.samples, args.seed);
        let engines = choice.build(folder, &progress)?;
        let stalls = Stalls { seed: args.seed, input: STALL_PERCENT, output: STALL_PERCENT };
        let found = verify(&design, folder, &inputs, random, &engines, stalls, &progress)?;
        let message = found.finding().map_or_else(|| verification_text(&found.report), |f| f.message);
        Ok((found.report.elements, found.predicted, found.finding().is_none(), message))
    };
    let (elements, cycles, passed, message) = check().unwrap_or_else(|Failure(bad)| (0, 0, false, bad.to_string()));
    let seconds = begin.elapsed().as_secs_f64();
    Case { design: name.to_owned(), passed, unchanged: false, seconds, elements, cycles, message }
}

/// Compiled folders at or below `root`, in the order of their names.
fn designs(root: &Path) -> Outcome<Vec<(usize, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if folder.join("design.json").is_file() {
            found.push(folder);
            continue;
        }
        let entries = fs::read_dir(&folder).map_err(|error| {
            let at = folder.display().to_string();
            Diagnostic::error("unreadable-file", at, format!("cannot be listed: {error}"))
        })?;
        let visible = |p: &PathBuf| !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let below = entries.filter_map(|e| e.ok()).filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        if depth < MAX_DEPTH {
            folders.extend(below.map(|e| e.path()).filter(visible).map(|p| (p, depth + 1)));
        }
    }
    if found.is_empty() {
        return Err(Diagnostic::error("no-design", root.display().to_string(), "holds no compiled design")
            .with_help("`espalier compile` and `espalier run` write designs")
            .into());
    }
    found.sort();
    Ok(found.into_iter().enumerate().collect())
}

fn name_of(root: &Path, folder: &Path) -> String {
    match folder.strip_prefix(root) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.display().to_string(),
        _ => folder.display().to_string(),
    }
}

/// Hash of the files of a design, the program that verifies it, and what is asked of it.
fn content(folder: &Path, args: &RegressArgs, choice: Choice) -> String {
    // Not cryptographic: it guards against change, not against malice.
    let mut hashes = [0u8, 1].map(|salt| {
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(format!("{} {} {} {choice:?}", env!("CARGO_PKG_VERSION"), args.samples, args.seed).as_bytes());
        let tools = ["verilator", "g++"].map(|tool| crate::cache::tool_version(tool, "").unwrap_or_default());
        hasher.write(tools.concat().as_bytes());
        hasher
    });
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().filter_map(|e| e.ok()) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) if !RESULTS.iter().any(|r| entry.file_name() == *r) => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    for file in files {
        let bytes = fs::read(&file).unwrap_or_default();
        for hasher in &mut hashes {
            hasher.write(file.strip_prefix(folder).unwrap_or(&file).as_os_str().as_encoded_bytes());
            hasher.write_usize(bytes.len());
            hasher.write(&bytes);
        }
    }
    hashes.map(|h| format!("{:016x}", h.finish())).concat()
}

/// JUnit XML, as continuous-integration servers read it.
fn junit(cases: &[Case], seconds: f64) -> String {
    let failures = cases.iter().filter(|c| !c.passed).count();
    let head = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{0}\" failures=\"{failures}\" time=\"{seconds:.3}\">\n  \
         <testsuite name=\"espalier regress\" tests=\"{0}\" failures=\"{failures}\" errors=\"0\" time=\"{seconds:.3}\">\n",
        cases.len()
    );
    let case = |c: &Case| {
        let (name, message) = (xml(&c.design), xml(&c.message));
        let body = if c.passed {
            format!("<system-out>{message}</system-out>")
        } else {
            format!("<failure message=\"{message}\"/>")
        };
        format!("    <testcase classname=\"espalier\" name=\"{name}\" time=\"{:.3}\">{body}</testcase>\n", c.seconds)
    };
    head + &cases.iter().map(case).collect::<String>() + "  </testsuite>\n</testsuites>\n"
}

/// Text that XML takes: control characters have no form in it.
fn xml(text: &str) -> String {
    let escape = |c: char| match c {
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\n' => "&#10;".to_owned(),
        c if c.is_control() => '?'.to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_junit_xml() {
        let case = |design: &str, passed: bool, message: &str| Case {
            design: design.to_owned(),
            passed,
            unchanged: false,
            seconds: 0.5,
            elements: 1,
            cycles: 2,
            message: message.to_owned(),
        };
        let text = junit(&[case("a<b", true, "fine"), case("c", false, "1 \"of\" 2\u{7}")], 1.0);
        assert!(text.contains("tests=\"2\" failures=\"1\""), "{text}");
        assert!(text.contains("name=\"a&lt;b\"") && text.contains("1 &quot;of&quot; 2?"), "{text}");
        assert_eq!(text.matches("<testcase").count(), 2);
    }
}
