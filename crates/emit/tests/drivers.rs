//! The drivers in C, Python and Rust on simulated boards: load a program, send inputs, read results, as on hardware; the
//! core behind AXI with a DMA engine, on random waits of every channel, and behind the serial line. Wrong programs are
//! refused, each with an error of its own, and the right one then runs without a reset.
//!
//! The programs in `verilator-sim/drivers/` check all that. They read from a folder: `program.bin` and `other.bin` (for
//! another configuration), `reals.bin` (samples), `inputs.bin` (the same as integers), `expected.bin`,
//! `expected_reals.bin` (results), `memory.bin` (what board and driver share).

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use espalier_emit::{
    DesignFiles, SERIAL_BINARY, design_files, driver_files, open_flow_files, serial_bench_files,
    serial_verilator_arguments,
};
use espalier_lower::testing::{Random, quantized, random_graph, random_input, spilling};
use espalier_lower::{Program, compile, run};
use espalier_target::{AcceleratorConfig, ActivationStore, WeightSource, builtin_target, parse_board};
use tempfile::TempDir;

const SAMPLES: usize = 3;
const MEMORY_BYTES: u64 = 16 << 20;

/// Whether all tools are there.
fn have(tools: &[&str]) -> bool {
    tools.iter().all(|tool| common::have(tool, "--version"))
}

/// Runs a command, which must succeed; returns what it printed.
fn tool(folder: &Path, command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).current_dir(folder).output().unwrap();
    let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    assert!(output.status.success(), "{command}: {}\n{text}", output.status);
    text
}

fn write(folder: &Path, files: &DesignFiles) {
    for (path, text) in files.iter() {
        fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), text).unwrap();
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A small network of two layers or more, with inputs; if the accelerator spills, with lanes that do not hold it.
fn network(config: &AcceleratorConfig) -> (Program, Vec<Vec<i8>>) {
    let draw = |seed| {
        let mut random = Random::new(seed);
        let network = quantized(&random_graph(&mut random), &mut random).ok()?;
        let spills = config.spill_memory().is_some();
        let config = if spills { spilling(&network, config, &mut random)? } else { config.clone() };
        let program = compile(&network, &config).ok()?;
        let good = (100..1000).contains(&program.weights.len())
            && spills == (program.memory.spilled_bytes > 0)
            && program.memory.layers.len() >= 3
            && program.memory.inputs.len() == 1
            && program.outputs.len() == 1
            && program.memory.tensor(program.outputs[0]).layout.shape[1..] == [1, 1];
        good.then(|| (program, (0..SAMPLES).map(|_| random_input(&network, &mut random)).collect()))
    };
    (7000..8000).find_map(draw).expect("one of a thousand networks is of that size")
}

/// The files that the programs read, and the design.
fn job(folder: &Path, config: &AcceleratorConfig) -> Program {
    let config = &AcceleratorConfig { argmax: true, ..config.clone() };
    let (program, inputs) = network(config);
    let (other, _) =
        network(&AcceleratorConfig { accumulator_pixels: 2 * config.accumulator_pixels, ..config.clone() });
    fs::write(folder.join("program.bin"), program.to_binary()).unwrap();
    fs::write(folder.join("other.bin"), other.to_binary()).unwrap();
    File::create(folder.join("memory.bin")).unwrap().set_len(MEMORY_BYTES).unwrap();
    // Halves are rounded to even: some samples lie between two integers.
    let input = &program.memory.inputs[0];
    let real = |q: &i8| {
        let half = if *q % 2 == 0 && *q < 127 { 0.5 } else { 0.0 };
        (f32::from(*q) - f32::from(input.zero_point) + half) * 2f32.powi(input.exponent)
    };
    let reals: Vec<f32> = inputs.iter().flatten().map(real).collect();
    let quantized: Vec<i8> =
        reals.chunks(program.input_len()).flat_map(|sample| program.quantize_input(sample)).collect();
    let outputs: Vec<i8> =
        quantized.chunks(program.input_len()).flat_map(|sample| run(&program, sample).unwrap().1).collect();
    let output = program.memory.tensor(program.outputs[0]);
    let result = |q: &i8| (f32::from(*q) - f32::from(output.zero_point)) * 2f32.powi(output.exponent);
    let bytes = |values: &[i8]| values.iter().map(|v| v.cast_unsigned()).collect::<Vec<u8>>();
    let floats = |values: Vec<f32>| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    fs::write(folder.join("inputs.bin"), bytes(&quantized)).unwrap();
    fs::write(folder.join("expected.bin"), bytes(&outputs)).unwrap();
    fs::write(folder.join("expected_reals.bin"), floats(outputs.iter().map(result).collect())).unwrap();
    fs::write(folder.join("reals.bin"), floats(reals)).unwrap();
    write(folder, &design_files(&program, "drivers"));
    write(folder, &driver_files());
    program
}

/// Builds all three drivers and runs them on a board.
fn check(folder: &Path, kind: &str, board: &str) {
    let tests = repository().join("verilator-sim/drivers");
    let tests = tests.display();
    let c = "-std=c99 -O1 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -Idriver/c";
    tool(folder, &format!("gcc {c} -include {tests}/bridge.h -c driver/c/espalier_dma.c -o dma.o"));
    tool(folder, &format!("gcc {c} driver/c/espalier.c driver/c/espalier_linux.c -c"));
    tool(
        folder,
        &format!(
            "gcc -std=c11 -O1 -Wall -Wextra -Werror -Idriver/c {tests}/test.c espalier.o espalier_linux.o dma.o -lm -o c_test"
        ),
    );
    let rust = "rustc --edition 2021 -D warnings -C debug-assertions -C opt-level=1";
    tool(folder, &format!("{rust} --crate-name espalier_driver --crate-type rlib driver/rust/src/lib.rs"));
    tool(folder, &format!("{rust} {tests}/test.rs --extern espalier_driver=libespalier_driver.rlib -o rust_test"));
    let python = format!("env PYTHONPATH=driver/python PYTHONDONTWRITEBYTECODE=1 python3 {tests}/test.py");
    let mut said = Vec::new();
    for program in ["./c_test", "./rust_test", &python] {
        let text = tool(folder, &format!("{program} . {kind} {board}"));
        assert!(text.ends_with("passed\n"), "{text}");
        said.push(text);
    }
    assert!(said[0].matches("class").count() >= 4 * SAMPLES);
    assert!(said[0] == said[1] && said[1] == said[2], "the drivers name other classes: {said:?}");
}

fn behind_axi(config: &AcceleratorConfig) {
    if !have(&["verilator", "gcc", "rustc", "python3"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let program = job(folder.path(), config);
    let port = |name, bytes: usize| format!("-CFLAGS -DESPALIER_{name}_BYTES={bytes}");
    let weights = program.config.external().map(|memory| port("STREAM", memory.bytes_per_cycle));
    let spill = program.config.spill_memory().map(|memory| port("SPILL", memory.bytes_per_cycle));
    let bench = repository().join("verilator-sim/bridge_main.cpp");
    let command = format!(
        "verilator --cc --exe --build -O3 --x-assign fast --x-initial fast --assert --top-module espalier_top -Mdir bridge \
         -CFLAGS -std=c++17 -CFLAGS -DVL_USER_STOP -CFLAGS -DVL_USER_FATAL {} {} -MAKEFLAGS OPT_FAST=-O1 -MAKEFLAGS OPT_SLOW=-O0 \
         -F rtl/files.f sim/espalier.vlt rtl/espalier_top.v {}",
        weights.unwrap_or_default(),
        spill.unwrap_or_default(),
        bench.display()
    );
    tool(folder.path(), &command);
    check(folder.path(), "axi", "bridge/Vespalier_top --memory memory.bin --stall 30 --seed 5");
}

#[test]
fn the_drivers_run_a_network_behind_axi() {
    behind_axi(&AcceleratorConfig::new(5, 6, 512, 32));
}

#[test]
fn the_drivers_run_streamed_weights() {
    behind_axi(&AcceleratorConfig {
        weights: WeightSource::Streamed,
        memory_bytes_per_cycle: Some(8),
        weight_words: Some(40),
        ..AcceleratorConfig::new(5, 8, 1 << 12, 32)
    });
}

#[test]
fn the_drivers_run_spilled_tensors() {
    let spilled = AcceleratorConfig {
        activations: ActivationStore::Spilled,
        memory_bytes_per_cycle: Some(4),
        ..AcceleratorConfig::new(5, 6, 1 << 12, 32)
    };
    behind_axi(&spilled);
    // Weights lie in front of them.
    behind_axi(&AcceleratorConfig { weights: WeightSource::Streamed, weight_words: Some(40), ..spilled });
}

#[test]
fn the_drivers_run_a_network_through_the_serial_line() {
    if !have(&["verilator", "gcc", "rustc", "python3"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let program =
        job(folder.path(), &AcceleratorConfig { accumulator_bits: 24, ..AcceleratorConfig::new(5, 6, 512, 32) });
    let target = builtin_target("ecp5-85f").unwrap();
    let text = "name = 'quick'\ndescription = 'test'\ntarget = 'ecp5-85f'\npart = 'LFE5U-85F-6BG381C'\nhost = 'processor'\n\
                clock_mhz = { value = 4, source = 'test', confidence = 'assumed' }\n\
                baud = { value = 1000000, source = 'test', confidence = 'assumed' }\n";
    write(folder.path(), &open_flow_files(&program, &target, Some(&parse_board("quick", text).unwrap())));
    let work = folder.path().join("flow");
    write(&work, &serial_bench_files("ecp5"));
    tool(&work, &format!("verilator {}", serial_verilator_arguments(false).join(" ")));
    check(folder.path(), "serial", &format!("/usr/bin/env -C flow {SERIAL_BINARY} --interactive 4"));
}

/// Nothing of one design is in the drivers.
#[test]
fn the_drivers_are_the_same_for_every_design() {
    let files = driver_files();
    assert_eq!(files, driver_files());
    assert!(files.iter().count() >= 12);
    let header = files.get("driver/c/espalier_registers.h").unwrap();
    assert!(header.contains("#define ESPALIER_REG_CHECKSUM 0x1cu\n") && header.contains("ESPALIER_FILE_WORDS 16\n"));
}
