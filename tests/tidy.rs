//! Rules that hold for every file, kept by a test instead of by reviewers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// Files below `folder` with one of the endings, links not followed.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|e| e.unwrap()) {
            let kind = entry.file_type().unwrap();
            let path = entry.path();
            let foreign = ["target", ".git", "node_modules", ".venv"].iter().any(|name| path.ends_with(name));
            if kind.is_dir() && !foreign {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|e| endings.iter().any(|x| e == *x)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Crates may depend on those listed in ARCHITECTURE.md and on no other of the workspace.
#[test]
fn crates_depend_in_one_direction() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut allowed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("| `") && l.matches('|').count() == 4) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        allowed.insert(names(cells[1])[0].clone(), names(cells[3]));
    }
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut broken = Vec::new();
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().trim_start_matches("espalier-").to_owned();
        if name == "tests" || name == "cli" {
            continue;
        }
        let Some(allowed) = allowed.get(&name) else {
            broken.push(format!("crate '{name}' is missing from the table of ARCHITECTURE.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if let Some(to) = to.strip_prefix("espalier-")
                && dependency["kind"].is_null()
            {
                seen += 1;
                if !allowed.iter().any(|a| a == to) {
                    broken.push(format!("crate '{name}' depends on '{to}': not in the table of ARCHITECTURE.md"));
                }
            }
        }
    }
    report(broken);
    assert!(seen >= 10, "only {seen} edges between crates were found");
}

#[test]
fn source_files_say_what_they_are_and_leave_nothing_open() {
    let crates = root().join("crates");
    let mut broken = Vec::new();
    // Spelled in two halves, so that this file does not name them.
    let open = [
        "to".to_owned() + "do!(",
        "d".to_owned() + "bg!(",
        "unimple".to_owned() + "mented!(",
        "#[ig".to_owned() + "nore",
    ];
    for path in files(&crates, &["rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display();
        let generated = text.starts_with("// This file is @generated");
        if !generated && !text.starts_with("//!") {
            broken.push(format!("{shown}: starts without a `//!` line that says what it is"));
        }
        for word in &open {
            if text.contains(word.as_str()) {
                broken.push(format!("{shown}: contains {word}"));
            }
        }
        let library = !path.starts_with(crates.join("cli")) && path.components().any(|c| c.as_os_str() == "src");
        if library {
            for word in ["println!(", "eprintln!(", "std::fs::", "std::process::Command"] {
                if text.split("#[cfg(test)]").next().unwrap().contains(word) {
                    broken.push(format!("{shown}: only the command line may use {word}"));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn text_files_have_no_tabs_or_trailing_blanks() {
    let mut broken = Vec::new();
    for path in files(&root(), &["rs", "sv", "toml", "md", "cpp", "h"]) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if line.contains('\t') || line.ends_with(' ') {
                broken.push(format!("{}:{}", path.strip_prefix(root()).unwrap().display(), number + 1));
            }
        }
    }
    report(broken);
}

#[test]
fn hardware_files_hold_the_module_they_are_named_after() {
    let mut broken = Vec::new();
    let files = files(&root().join("templates/rtl"), &["sv", "v"]);
    assert!(files.len() >= 8, "only {} hardware files found", files.len());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let holds = |kind: &str| text.lines().any(|l| l.trim_start().starts_with(&format!("{kind} {stem}")));
        if !holds("module") && !holds("package") {
            broken.push(format!("{}: no module or package '{stem}'", path.display()));
        }
        if !text.contains("SPDX-License-Identifier: MIT OR Apache-2.0") {
            broken.push(format!("{}: no SPDX line", path.display()));
        }
    }
    report(broken);
}

#[test]
fn relative_links_of_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for path in files(&root(), &["md"]) {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") && !path.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: link to {file}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    report(broken);
}
