//! The Python package of `crates/cli/python`: installed by pip, it passes its own tests on the built program, and the
//! Python of the book runs.
//!
//! Needs what `verilator-sim/setup.sh --tests` installs; without it the test says so and passes, unless
//! `ESPALIER_REQUIRE_TOOLS=1`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The Python that has numpy, onnx and pytest.
fn python() -> Option<PathBuf> {
    let python = root().join("verilator-sim/.venv/bin/python");
    let import = ["-c", "import flit_core, numpy, onnx, pytest, tomli_w"];
    if Command::new(&python).args(import).output().is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(),
        "ESPALIER_REQUIRE_TOOLS is set, but Python packages are missing: run verilator-sim/setup.sh --tests"
    );
    println!("skipped: numpy, onnx or pytest is not installed");
    None
}

/// Runs it with the package in `packages` and the built program.
fn run(python: &Path, packages: &Path, folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(python);
    command.args(arguments).current_dir(folder);
    command.env("PYTHONPATH", packages).env("ESPALIER", env!("CARGO_BIN_EXE_espalier"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{said}");
    said
}

#[test]
fn the_package_installs_and_passes_its_tests() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let packages = folder.path().join("packages");
    let package = root().join("crates/cli/python").canonicalize().unwrap();
    // What it needs is there already, so nothing is downloaded.
    let flags = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"];
    let places = [packages.to_str().unwrap(), package.to_str().unwrap()];
    run(&python, &packages, folder.path(), &[&flags[..], &places].concat());
    let tests = package.join("tests");
    let said = run(
        &python,
        &packages,
        folder.path(),
        &["-m", "pytest", "-q", "-p", "no:cacheprovider", tests.to_str().unwrap()],
    );
    let passed = said.split_whitespace().zip(said.split_whitespace().skip(1)).find(|(_, word)| *word == "passed");
    assert!(passed.is_some_and(|(count, _)| count.parse::<usize>().unwrap() >= 9), "{said}");

    // The blocks of the book are one program, run where the examples are.
    let text = fs::read_to_string(root().join("docs/book/python.md")).unwrap();
    let blocks: Vec<&str> = text.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3);
    fs::write(folder.path().join("book.py"), blocks.concat()).unwrap();
    std::os::unix::fs::symlink(root().join("examples").canonicalize().unwrap(), folder.path().join("examples"))
        .unwrap();
    let said = run(&python, &packages, folder.path(), &["book.py"]);
    assert!(said.lines().count() >= 3, "{said}");
    assert!(folder.path().join("python-pruned/report.html").is_file());
}
