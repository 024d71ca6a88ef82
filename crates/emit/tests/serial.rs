//! Networks through the serial line: bytes at the pins of the design in, results out, as the machine computes them.
//!
//! The hardware as written, and the netlists that Yosys makes of it for one family each of what can be simulated. The
//! second takes longer; `ESPALIER_NETLIST=full` adds arrays of 8 x 8. `espalier synth DIR --simulate N` does the same with a
//! whole network on real inputs.

mod common;

use std::fs;

use common::{have, small_network, tool, write};
use espalier_emit::{
    SERIAL_BINARY, design_files, open_flow, open_flow_files, serial_bench_files, serial_identify, serial_infer,
    serial_load, serial_results, serial_script, serial_verilator_arguments,
};
use espalier_lower::run;
use espalier_target::{AcceleratorConfig, Board, Target, builtin_board_names, builtin_target, parse_board};
use tempfile::TempDir;

/// A board with four clocks a bit.
fn quick_board(target: &Target) -> Board {
    let text = format!(
        "name = 'quick'\ndescription = 'test'\ntarget = '{}'\npart = '{}'\nhost = 'processor'\n\
         clock_mhz = {{ value = 4, source = 'test', confidence = 'assumed' }}\n\
         baud = {{ value = 1000000, source = 'test', confidence = 'assumed' }}\n",
        target.name,
        target.part.as_deref().unwrap(),
    );
    parse_board("quick", &text).unwrap()
}

/// Compiles a small network for a target, simulates it through its pins, and compares every output with the machine.
fn check(target: &str, (rows, cols): (usize, usize), netlist: bool) {
    let target = builtin_target(target).unwrap();
    let board = quick_board(&target);
    let config = AcceleratorConfig { accumulator_bits: 24, ..AcceleratorConfig::new(rows, cols, 512, 32) };
    let (program, inputs) = small_network(&config, 2);
    let flow = open_flow(&target, Some(&board)).unwrap();
    let folder = TempDir::new().unwrap();
    write(folder.path(), &design_files(&program, &target.name));
    write(folder.path(), &open_flow_files(&program, &target, Some(&board)));
    let work = folder.path().join("flow");
    write(&work, &serial_bench_files(&flow.family));
    if netlist {
        tool(&work, "yosys", &["-q", "synth.ys"]);
        // Yosys 0.23 connects the parity bits of these wrongly.
        assert!(!fs::read_to_string(work.join("netlist.v")).unwrap().contains(".WRITE_WIDTH_B(32'd72)"));
        tool(&work, "yosys", &["-q", "models.ys"]);
    }
    tool(&work, "verilator", &serial_verilator_arguments(netlist));

    let stores = program.instructions.iter().map(|i| i.beats_out() as usize);
    let beats_out: usize = stores.sum();
    // Loading is tried where memories have initial content, too.
    let mut exchanges = serial_identify(&program);
    if flow.load_weights || !netlist {
        exchanges.extend(serial_load(&program));
    }
    for input in &inputs {
        exchanges.extend(serial_infer(&program, &program.input_beats(input), beats_out));
    }
    fs::write(work.join("script.bin"), serial_script(&exchanges)).unwrap();
    let arguments = ["--script", "script.bin", "--replies", "replies.bin", "--divider", "4", "--timeout", "1000000"];
    tool(&work, work.join(SERIAL_BINARY).to_str().unwrap(), &arguments);
    let replies = fs::read(work.join("replies.bin")).unwrap();
    let results = serial_results(&exchanges, &replies).unwrap();
    assert_eq!(results.len(), inputs.len() * beats_out * rows);
    for (input, stream) in inputs.iter().zip(results.chunks(beats_out * rows)) {
        let beats: Vec<Vec<u8>> = stream.chunks(rows).map(<[u8]>::to_vec).collect();
        let (_, expected, _) = run(&program, input).unwrap();
        assert_eq!(program.output_from_beats(&beats).unwrap(), expected, "{} {rows}x{cols}", target.name);
    }
}

#[test]
fn a_network_runs_through_the_serial_line() {
    if have("verilator", "--version") {
        check("ecp5-85f", (5, 6), false);
        check("ice40up5k", (4, 2), false);
    }
}

#[test]
fn the_netlist_for_ice40_computes_the_same() {
    if have("verilator", "--version") && have("yosys", "-V") {
        check("ice40up5k", (4, 2), true);
    }
}

#[test]
fn the_netlist_for_ecp5_computes_the_same() {
    if have("verilator", "--version") && have("yosys", "-V") {
        check("ecp5-85f", (4, 4), true);
    }
}

#[test]
fn the_netlist_for_7_series_computes_the_same() {
    if have("verilator", "--version") && have("yosys", "-V") {
        // From five rows the FIFO of the mover is wider than 36 bits, but no block RAM.
        check("xc7a100t", (5, 2), true);
    }
}

#[test]
fn larger_netlists_compute_the_same() {
    if std::env::var("ESPALIER_NETLIST").is_ok_and(|v| v == "full") {
        check("ecp5-85f", (8, 8), true);
        check("xc7a100t", (8, 8), true);
    }
}

#[test]
fn every_board_gets_a_complete_flow() {
    let (program, _) = small_network(&AcceleratorConfig::new(4, 4, 512, 32), 1);
    for name in builtin_board_names() {
        let board = espalier_target::builtin_boards().into_iter().find(|b| b.name == name).unwrap();
        let target = board.target();
        let Some(flow) = open_flow(&target, Some(&board)) else { continue };
        let files = open_flow_files(&program, &target, Some(&board));
        let script = files.get("flow/synth.ys").unwrap();
        assert!(
            script.contains("synth_") && files.get("flow/top.sv").unwrap().contains(&format!("({})", flow.divider))
        );
        for (_, pin) in board.pins.iter().flat_map(|p| p.ports()).filter(|_| flow.placer.is_some()) {
            let constraints = files.get("flow/pins.lpf").or(files.get("flow/pins.pcf")).unwrap();
            assert!(constraints.contains(&pin.pin), "{name}: {constraints}");
        }
        assert_eq!(files, open_flow_files(&program, &target, Some(&board)));
    }
}
