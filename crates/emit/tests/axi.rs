//! The integrator's wrapper on bus models of somebody else: cocotb with cocotbext-axi in Icarus Verilog, with random
//! pauses on every port. `verilator-sim/cocotb/test_top.py` says what is checked.
//!
//! Needs what `verilator-sim/setup.sh --tests` installs; without it the test says so and passes, unless
//! `ESPALIER_REQUIRE_TOOLS=1`.

use std::fs;
use std::path::Path;
use std::process::Command;

use espalier_emit::rtl;
use espalier_lower::testing::{Random, quantized, random_graph, random_input, spilling};
use espalier_lower::{Machine, Program, compile, host_words_per_weight};
use espalier_target::{AcceleratorConfig, ActivationStore, WeightSource};

/// The Python that has cocotb.
fn python() -> Option<std::path::PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = repository.join("verilator-sim/.venv/bin/python");
    let answers = |program: &Path, arguments: &[&str]| Command::new(program).args(arguments).output();
    let cocotb = answers(&python, &["-c", "import cocotb, cocotbext.axi"]).is_ok_and(|o| o.status.success());
    let icarus = answers(Path::new("iverilog"), &["-V"]).is_ok();
    if cocotb && icarus {
        return Some(python);
    }
    assert!(
        std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(),
        "ESPALIER_REQUIRE_TOOLS is set, but cocotb or iverilog is missing: run verilator-sim/setup.sh --tests"
    );
    println!("skipped: cocotb or iverilog is not installed");
    None
}

fn hex(beats: &[Vec<u8>]) -> String {
    beats.iter().flatten().map(|byte| format!("{byte:02x}")).collect()
}

/// A small network that this configuration holds, with convolutions on several rectangles.
fn program(config: &AcceleratorConfig) -> (Program, Vec<Vec<i8>>) {
    for seed in 0..200 {
        let mut random = Random::new(5000 + seed);
        let Ok(network) = quantized(&random_graph(&mut random), &mut random) else { continue };
        let small = match config.spill_memory() {
            None => Some(config.clone()),
            Some(_) => spilling(&network, config, &mut random),
        };
        let Some(Ok(program)) = small.map(|config| compile(&network, &config)) else { continue };
        if config.spill_memory().is_some() && program.strips.len() < 4 {
            continue;
        }
        let machine = Machine::new(&program.config, &program.program_words(), &program.weights).unwrap();
        // A simulator that interprets takes its time; the streams of less say little.
        if (1500..4000).contains(&machine.cycles().total) && program.weights.len() > 100 {
            let inputs = (0..2).map(|_| random_input(&network, &mut random)).collect();
            return (program, inputs);
        }
    }
    panic!("no random network of the wanted size fits {config:?}");
}

/// Which bytes of an output packet carry values: those whose change changes the results.
fn used(program: &Program, beats: &[Vec<u8>]) -> Vec<bool> {
    let values = program.output_from_beats(beats).unwrap();
    let rows = program.config.rows;
    let mut changed = beats.to_vec();
    (0..beats.len() * rows)
        .map(|byte| {
            changed[byte / rows][byte % rows] ^= 1;
            let differs = program.output_from_beats(&changed).unwrap() != values;
            changed[byte / rows][byte % rows] ^= 1;
            differs
        })
        .collect()
}

fn check(config: &AcceleratorConfig) {
    let Some(python) = python() else { return };
    let (program, inputs) = program(config);
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights).unwrap();
    let streams: Vec<_> = inputs.iter().map(|input| program.input_beats(input)).collect();
    let outputs: Vec<_> = streams.iter().map(|beats| machine.run(beats, false).unwrap().beats).collect();
    let job = serde_json::json!({
        "rows": program.config.rows,
        "cols": program.config.cols,
        "combine": program.config.combine,
        "beat_bytes": program.config.external().map_or(0, |memory| memory.bytes_per_cycle),
        "spill_beat_bytes": program.config.spill_memory().map_or(0, |memory| memory.bytes_per_cycle),
        "spill_bytes": program.memory.spilled_bytes,
        "config_hash": program.config_hash(),
        "program": program.program_words(),
        "parts": host_words_per_weight(&program.config),
        "weights": program.host_weight_words(),
        "weight_stream": hex(&[program.weight_stream()]),
        "inputs": streams.iter().map(|beats| hex(beats)).collect::<Vec<_>>(),
        "outputs": outputs.iter().map(|beats| hex(beats)).collect::<Vec<_>>(),
        "used": used(&program, &outputs[0]),
        "cycles": machine.cycles().total,
    });
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("rtl")).unwrap();
    for (path, text) in rtl(&program.config, "axi", program.config_hash()).iter() {
        fs::write(folder.path().join(path), text).unwrap();
    }
    fs::write(folder.path().join("job.json"), job.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../verilator-sim/cocotb/run.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{text}", output.status);
}

#[test]
fn bus_models_agree_with_weights_on_the_chip() {
    check(&AcceleratorConfig::new(4, 4, 1 << 12, 32));
}

#[test]
fn bus_models_agree_with_streamed_weights() {
    check(&AcceleratorConfig {
        weights: WeightSource::Streamed,
        memory_bytes_per_cycle: Some(8),
        weight_words: Some(40),
        ..AcceleratorConfig::new(5, 8, 1 << 12, 32)
    });
}

#[test]
fn bus_models_agree_with_spilled_activations() {
    check(&AcceleratorConfig {
        activations: ActivationStore::Spilled,
        memory_bytes_per_cycle: Some(4),
        ..AcceleratorConfig::new(7, 5, 1 << 12, 32)
    });
}
