//! Every command of the book runs as it stands there, in one folder, page by page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands of a page in ```sh blocks, and whether they take long.
fn commands(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut block: Option<bool> = None;
    for line in text.lines() {
        match (line, block) {
            ("```sh", None) => block = Some(false),
            ("```sh slow", None) => block = Some(true),
            ("```", _) => block = None,
            (line, Some(slow)) => found.push((line.to_owned(), slow)),
            _ => {}
        }
    }
    found
}

#[test]
fn every_command_of_the_book_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    copy(&root.join("examples/lenet5-mnist"), &folder.path().join("examples/lenet5-mnist"));
    copy(&root.join("examples/mlp-mnist"), &folder.path().join("examples/mlp-mnist"));
    copy(&root.join("examples/mnist"), &folder.path().join("examples/mnist"));
    let slow_too = std::env::var_os("ESPALIER_BOOK_SLOW").is_some();
    let summary = fs::read_to_string(root.join("docs/book/SUMMARY.md")).unwrap();
    let mut ran = 0;
    for page in summary.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let text = fs::read_to_string(root.join("docs/book").join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        // The reference pages are shared with readers of the repository; their commands have tests of their own.
        if page.starts_with("../") {
            continue;
        }
        for (line, slow) in commands(&text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[0], "espalier", "{page}: {line}");
            // Whether tools are missing is the machine's business.
            if (slow && !slow_too) || words[1] == "doctor" {
                continue;
            }
            let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
            let output = command.args(&words[1..]).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{page}: {line}\n{}", String::from_utf8_lossy(&output.stderr));
            ran += 1;
        }
    }
    assert!(ran >= 18, "{ran} commands");
    assert!(folder.path().join("design/report.html").is_file() && folder.path().join("results.xml").is_file());
}

/// The files of a folder, without its sub-folders.
fn copy(from: &Path, to: &PathBuf) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
