//! What the tests that run tools share.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use espalier_emit::DesignFiles;
use espalier_lower::testing::{Random, quantized, random_graph, random_input};
use espalier_lower::{Program, compile};
use espalier_target::AcceleratorConfig;

/// Whether a tool can be started; it must be if `ESPALIER_REQUIRE_TOOLS` is set.
pub fn have(tool: &str, version: &str) -> bool {
    let found = Command::new(tool).arg(version).stdin(Stdio::null()).output().is_ok();
    if !found {
        assert!(
            std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(),
            "ESPALIER_REQUIRE_TOOLS is set, but {tool} is missing"
        );
        println!("skipped: {tool} is not installed");
    }
    found
}

/// Runs a command in a folder, which must succeed; returns what it printed.
pub fn tool(folder: &Path, program: &str, arguments: &[impl AsRef<str>]) -> String {
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    let output = Command::new(program).args(&arguments).current_dir(folder).output().unwrap();
    let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
    text
}

/// Writes files below a folder; none is there already.
pub fn write(folder: &Path, files: &DesignFiles) {
    for (path, text) in files.iter() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(!path.exists(), "{} is written twice", path.display());
        fs::write(path, text).unwrap();
    }
}

/// The first random network that fits the configuration and is neither trivial nor large, with some inputs.
pub fn small_network(config: &AcceleratorConfig, inputs: usize) -> (Program, Vec<Vec<i8>>) {
    let draw = |seed| {
        let mut random = Random::new(seed);
        let network = quantized(&random_graph(&mut random), &mut random).ok()?;
        let program = compile(&network, config).ok()?;
        let good = (100..1000).contains(&program.weights.len()) && program.memory.layers.len() >= 3;
        good.then(|| (program, (0..inputs).map(|_| random_input(&network, &mut random)).collect()))
    };
    (0..1000).find_map(draw).expect("one of a thousand networks is of that size")
}
