//! The documents: every command of the book and of the README runs as it stands there, generated pages are up to date,
//! and the book can be built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn espalier(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
    // Help is as wide everywhere.
    command.args(arguments).current_dir(folder).env("COLUMNS", "100").output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = espalier(arguments, &root());
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Commands of a page in ```sh blocks, and whether they take long.
fn commands(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut block: Option<bool> = None;
    for line in text.lines() {
        match (line, block) {
            ("```sh", None) => block = Some(false),
            ("```sh slow", None) => block = Some(true),
            ("```", _) => block = None,
            (line, Some(slow)) if !line.is_empty() && !line.starts_with('#') => found.push((line.to_owned(), slow)),
            _ => {}
        }
    }
    found
}

/// Pages of the book in its order, relative to `docs/`.
fn pages() -> Vec<String> {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    summary.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

/// Runs all commands of a page in `folder`; slow ones only if they are asked for.
fn run(page: &str, text: &str, folder: &Path) -> usize {
    let slow_too = std::env::var_os("ESPALIER_BOOK_SLOW").is_some();
    let mut ran = 0;
    for (line, slow) in commands(text) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "espalier", "{page}: {line}");
        if slow && !slow_too {
            println!("skipped: {page}: {line}: ESPALIER_BOOK_SLOW is not set");
            continue;
        }
        let output = espalier(&words[1..], folder);
        // Whether tools are missing is the machine's business.
        let fine = output.status.success() || (words[1] == "doctor" && output.status.code() == Some(2));
        assert!(fine, "{page}: {line}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "{page}: {line} says nothing");
        ran += 1;
    }
    ran
}

#[test]
fn every_command_of_the_book_runs() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["lenet5-mnist", "mlp-mnist", "mnist"] {
        copy(&root().join("examples").join(name), &folder.path().join("examples").join(name));
    }
    let mut ran = 0;
    for page in pages() {
        let text = fs::read_to_string(root().join("docs").join(&page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        // The other pages are shared with readers of the repository; their commands have tests of their own.
        if page.starts_with("book/") {
            ran += run(&page, &text, folder.path());
        }
    }
    assert!(ran >= 30, "{ran} commands");
    for file in ["design/report.html", "compare.html", "results.xml", "outputs.npy", "front.svg", "man/espalier.1"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
}

/// The README's two commands are the main job, which has a test of its own, and the tests themselves; what else it says
/// about commands and their options is held to the program, as is every line of every document.
#[test]
fn documents_name_commands_and_options_that_exist() {
    let known: Vec<String> = subcommands();
    let help: Vec<(String, String)> = known.iter().map(|name| (name.clone(), text(&[name, "--help"]))).collect();
    let mut checked = 0;
    let mut broken = Vec::new();
    for path in documents() {
        let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        let content = fs::read_to_string(&path).unwrap();
        // In code spans and blocks: `espalier NAME --option`.
        for rest in content.split("espalier ").skip(1).filter_map(|rest| rest.split(['`', '\n']).next()) {
            let mut words = rest.split_whitespace().skip_while(|w| ["--json", "--quiet", "--verbose"].contains(w));
            let Some((name, help)) = words.next().and_then(|word| help.iter().find(|(name, _)| name == word)) else {
                continue;
            };
            for option in words.take_while(|w| !["&&", "|", "#"].contains(w)) {
                let option = option.trim_matches(['[', ']', ',', '.', ';', ')', ':']).split('=').next().unwrap();
                if option.starts_with("--") && option.len() > 2 && !help.contains(option) {
                    broken.push(format!("{shown}: `espalier {name}` has no {option}"));
                }
            }
            checked += 1;
        }
        for name in content.split("`espalier ").skip(1).filter_map(|rest| rest.split(['`', ' ', ',', '\n']).next()) {
            let is_name = name.chars().all(|c| c.is_ascii_lowercase()) && !name.is_empty();
            if is_name && !known.iter().any(|k| k == name) && name != "help" {
                broken.push(format!("{shown}: there is no `espalier {name}`"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    assert!(checked > 100, "{checked} commands");
    // And the README has all of them.
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for name in known {
        assert!(readme.contains(&format!("`espalier {name}")), "README.md does not mention `espalier {name}`");
    }
}

fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].iter().map(|name| root().join(name)).collect();
    for folder in ["docs", "docs/book", "crates/cli/python"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path());
        found.extend(entries.filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    found
}

fn subcommands() -> Vec<String> {
    let help = text(&["--help"]);
    let (_, rest) = help.split_once("Commands:\n").expect("help lists the commands");
    let lines = rest.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("     "));
    let names = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 15, "{names:?}");
    names
}

#[test]
fn the_reference_is_what_the_program_says() {
    let mut page = "# Commands\n\nGenerated from `--help` by `UPDATE_EXPECT=1 cargo test --release --workspace --test \
                    book`.\nEach takes `--json`, `--quiet` and `--verbose`.\n\n"
        .to_owned();
    page += &format!("```text\n{}\n```\n", trimmed(&text(&["--help"])));
    for name in subcommands() {
        page += &format!("\n## espalier {name}\n\n```text\n{}\n```\n", trimmed(&text(&[&name, "--help"])));
    }
    expect("docs/book/commands.md", &page);

    let schema: Value = serde_json::from_str(&text(&["schema"])).unwrap();
    let mut page = "# Project file\n\nGenerated from `espalier schema` by `UPDATE_EXPECT=1 cargo test --release \
                    --workspace --test book`.\nWhat an example looks like: `examples/lenet5-mnist/espalier.toml`. Paths \
                    are relative to the file; unknown keys are refused.\n"
        .to_owned();
    sections(&schema, &schema, "", &mut page);
    expect("docs/book/project-file.md", &page);
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// A table of the keys of an object, then one for each key that is an object itself.
fn sections(object: &Value, whole: &Value, name: &str, page: &mut String) {
    let properties = object["properties"].as_object().expect("an object has keys");
    let required = |key: &str| object["required"].as_array().is_some_and(|all| all.iter().any(|k| k == key));
    let mut inner = Vec::new();
    let mut rows = String::new();
    for (key, schema) in properties {
        let target = resolved(schema, whole);
        let about = schema["description"].as_str().or(target["description"].as_str()).unwrap_or_default();
        let about = about.replace('\n', " ").replace('|', "\\|");
        if target["properties"].is_object() {
            let path = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            inner.push((path, target.clone(), about));
            continue;
        }
        let default = match &schema["default"] {
            Value::Null if required(key) => "required".to_owned(),
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        rows += &format!("| `{key}` | {} | {default} | {about} |\n", kind(schema, whole));
    }
    if !rows.is_empty() {
        *page += &format!("\n| key | value | default | meaning |\n|---|---|---|---|\n{rows}");
    }
    for (path, target, about) in inner {
        *page += &format!("\n## `[{path}]`\n\n{about}\n");
        sections(&target, whole, &path, page);
    }
}

/// What a reference leads to; an optional object is that object.
fn resolved(schema: &Value, whole: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return resolved(whole.pointer(reference.trim_start_matches('#')).expect("references lead somewhere"), whole);
    }
    let choices = schema["anyOf"].as_array().map(|all| all.iter().filter(|c| c["type"] != "null").collect::<Vec<_>>());
    match choices.as_deref() {
        Some([one]) => resolved(one, whole),
        _ => schema.clone(),
    }
}

/// What values are allowed, readable.
fn kind(schema: &Value, whole: &Value) -> String {
    let schema = resolved(schema, whole);
    let either = |choices: &[Value]| {
        let mut all: Vec<String> = choices.iter().map(|c| kind(c, whole)).filter(|k| k != "null").collect();
        all.dedup();
        all.join(", ")
    };
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().filter(|v| !v.is_null()).map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        return either(choices);
    }
    let name = match &schema["type"] {
        Value::Array(names) => names.iter().find(|n| *n != "null").and_then(Value::as_str).unwrap_or_default(),
        name => name.as_str().unwrap_or_default(),
    };
    match name {
        "array" => format!("list of {}", kind(&schema["items"], whole)),
        other => other.to_owned(),
    }
}

/// Compares a file of the repository, or writes it anew.
fn expect(path: &str, content: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, content).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let differ = found.lines().zip(content.lines()).position(|(a, b)| a != b);
    assert!(found == content, "{path} is not up to date (line {differ:?}): run with UPDATE_EXPECT=1");
}

#[test]
fn the_book_can_be_built() {
    let candidates = [PathBuf::from("mdbook"), root().join("verilator-sim/.venv/bin/mdbook")];
    let works = |program: &&PathBuf| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    let Some(mdbook) = candidates.iter().find(works) else {
        assert!(
            std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(),
            "mdbook is missing: verilator-sim/setup.sh --tests"
        );
        println!("skipped: mdbook is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("book");
    let mut command = Command::new(mdbook);
    let output = command.arg("build").arg(root().join("docs")).arg("--dest-dir").arg(&target).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let mut links = 0;
    for page in pages() {
        let html =
            fs::read_to_string(target.join(page.replace(".md", ".html"))).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(html.contains("<main>"), "{page}");
        // What a page names is in the book, down to the heading.
        let main = html.split("<main>").nth(1).unwrap();
        let links_of = ["href=\"", "src=\""].into_iter().flat_map(|attribute| main.split(attribute).skip(1));
        for link in links_of.filter_map(|rest| rest.split('"').next()).filter(|link| !link.contains(':')) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let place = target.join(&page).parent().unwrap().join(file);
            let place = if file.is_empty() { target.join(page.replace(".md", ".html")) } else { place };
            assert!(place.is_file(), "{page}: there is no {link}");
            if !heading.is_empty() {
                let text = fs::read_to_string(&place).unwrap();
                assert!(text.contains(&format!("id=\"{heading}\"")), "{page}: there is no {link}");
            }
            links += 1;
        }
    }
    assert!(links > 100, "{links} links");
}

/// The files of a folder, without its sub-folders.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
