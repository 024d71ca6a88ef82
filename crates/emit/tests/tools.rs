//! What three independent tools say about the generated hardware: Verilator's lint without a warning, Icarus
//! elaborates it, Yosys finds no open or doubly driven net and maps memories and multipliers to hard blocks.
//!
//! A missing tool is reported and skipped, unless `ESPALIER_REQUIRE_TOOLS=1`.

mod common;

use std::fs;
use std::path::Path;

use common::have;
use espalier_emit::{DesignFiles, core_flow, open_flow, parse_cells, rtl, serial_bench_files};
use espalier_target::{
    AcceleratorConfig, ActivationStore, Multiplier, PACKED_CELLS, WeightSource, builtin_target, resources,
};
use tempfile::TempDir;

/// Configurations at the ends of every bound.
fn configurations() -> Vec<AcceleratorConfig> {
    let config = |rows, cols, lane_bytes, pixels, bits, words, instructions| AcceleratorConfig {
        accumulator_bits: bits,
        weight_words: Some(words),
        program_instructions: Some(instructions),
        ..AcceleratorConfig::new(rows, cols, lane_bytes, pixels)
    };
    vec![
        config(4, 4, 16, 16, 20, 16, 2),
        config(5, 32, 1000, 100, 27, 1000, 100),
        config(32, 4, 65536, 4096, 32, 1 << 20, 1 << 12),
        config(8, 8, 4096, 256, 32, 4096, 256),
        config(7, 19, 65535, 4095, 31, 17, 3),
        AcceleratorConfig { depthwise_taps: 2, ..config(4, 4, 16, 16, 20, 16, 2) },
        AcceleratorConfig { depthwise_taps: 8, combine: 2, ..config(9, 12, 4096, 128, 32, 1024, 64) },
        AcceleratorConfig { clusters: 2, argmax: true, ..config(4, 4, 16, 16, 20, 16, 2) },
        AcceleratorConfig { argmax: true, ..config(5, 6, 100, 16, 20, 16, 2) },
        AcceleratorConfig {
            clusters: 8,
            depthwise_taps: 3,
            gates: true,
            states: true,
            ..config(5, 7, 1000, 100, 27, 1000, 100)
        },
        AcceleratorConfig { activation_tables: true, ..config(4, 4, 16, 16, 20, 16, 2) },
        AcceleratorConfig { depthwise_taps: 2, gates: true, ..config(4, 4, 16, 16, 20, 16, 2) },
        AcceleratorConfig {
            depthwise_taps: 3,
            gates: true,
            states: true,
            argmax: true,
            ..config(32, 32, 4096, 128, 32, 1024, 64)
        },
        AcceleratorConfig { activation_tables: true, combine: 2, ..config(6, 32, 1000, 100, 27, 1000, 100) },
        AcceleratorConfig { combine: 2, ..config(4, 5, 16, 16, 20, 16, 2) },
        AcceleratorConfig { combine: 2, ..config(32, 32, 65536, 128, 32, 1024, 64) },
        AcceleratorConfig { multiplier: Multiplier::Packed, ..config(4, 6, 1024, 32, 32, 64, 4) },
        AcceleratorConfig { multiplier: Multiplier::Lut, combine: 2, ..config(4, 5, 1024, 32, 32, 64, 4) },
        AcceleratorConfig {
            multiplier: Multiplier::Packed,
            max_multipliers: Some(19),
            combine: 2,
            ..config(8, 7, 1024, 32, 32, 64, 4)
        },
        AcceleratorConfig { multiplier: Multiplier::Packed, ..config(16, 24, 16384, 128, 32, 8192, 256) },
        streamed(4, config(4, 4, 16, 16, 20, 24, 2)),
        streamed(16, AcceleratorConfig { combine: 2, ..config(5, 11, 1000, 100, 27, 47, 100) }),
        streamed(32, config(32, 32, 65536, 128, 32, 1 << 16, 64)),
        streamed(8, config(8, 6, 4096, 128, 32, 512, 64)),
        spilled(4, AcceleratorConfig { depthwise_taps: 2, combine: 2, ..config(5, 6, 100, 16, 20, 24, 2) }),
        spilled(32, config(8, 8, 4096, 128, 32, 512, 64)),
        spilled(8, streamed(8, config(16, 8, 4096, 128, 32, 512, 64))),
        spilled(8, streamed(8, AcceleratorConfig { clusters: 4, combine: 2, ..config(8, 8, 4096, 128, 32, 512, 64) })),
    ]
}

fn spilled(bytes: usize, config: AcceleratorConfig) -> AcceleratorConfig {
    AcceleratorConfig { activations: ActivationStore::Spilled, memory_bytes_per_cycle: Some(bytes), ..config }
}

fn streamed(bytes: usize, config: AcceleratorConfig) -> AcceleratorConfig {
    AcceleratorConfig { weights: WeightSource::Streamed, memory_bytes_per_cycle: Some(bytes), ..config }
}

fn small() -> AcceleratorConfig {
    AcceleratorConfig {
        weight_words: Some(1024),
        program_instructions: Some(64),
        ..AcceleratorConfig::new(4, 4, 4096, 512)
    }
}

fn write(design: &DesignFiles) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    common::write(folder.path(), design);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (from, to) in [("lint", "sim/espalier.vlt"), ("synth", "synth/ecp5.ys"), ("synth", "synth/xc7.ys")] {
        let to = folder.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(repository.join("verilator-sim").join(from).join(to.file_name().unwrap()), to).unwrap();
    }
    folder
}

/// Runs a tool in a folder of the design; it must succeed. Returns what it printed.
fn tool(folder: &TempDir, inside: &str, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    common::tool(&folder.path().join(inside), words[0], &words[1..])
}

#[test]
fn verilator_has_no_warning() {
    if !have("verilator", "--version") {
        return;
    }
    for config in configurations() {
        let folder = write(&rtl(&config, "lint", 1));
        for top in ["espalier_top", "espalier_core"] {
            let wrapper = if top == "espalier_top" { "espalier_top.v" } else { "" };
            let command =
                format!("verilator --lint-only -Wall --top-module {top} ../sim/espalier.vlt -F files.f {wrapper}");
            let text = tool(&folder, "rtl", &command);
            assert_eq!(text, "", "{config:?}");
        }
    }
}

#[test]
fn icarus_elaborates_the_hardware() {
    if !have("iverilog", "-V") {
        return;
    }
    for config in configurations() {
        let folder = write(&rtl(&config, "icarus", 1));
        let text = tool(&folder, "rtl", "iverilog -g2012 -s espalier_top -o ../design.vvp -c files.f espalier_top.v");
        assert_eq!(text, "", "{config:?}");
    }
}

#[test]
fn yosys_finds_no_problem() {
    if !have("yosys", "-V") {
        return;
    }
    for config in [0, 1, 5, 6, 7, 9, 10, 11, 13, 14, 16, 19].map(|i| configurations()[i].clone()) {
        let folder = write(&rtl(&config, "yosys", 1));
        let script = fs::read_to_string(folder.path().join("synth/ecp5.ys")).unwrap();
        let reads: String =
            script.lines().filter(|l| l.starts_with("read_verilog")).map(|l| format!("{l}\n")).collect();
        let check = reads + "hierarchy -check -top espalier_top\nproc\ncheck -assert\n";
        fs::write(folder.path().join("check.ys"), check).unwrap();
        tool(&folder, "", "yosys -q check.ys");
    }
}

/// Number of cells of a type in the statistics that Yosys printed.
fn cells(statistics: &str, kind: &str) -> usize {
    let mut counts = statistics.lines().filter_map(|l| l.trim().strip_prefix(kind)?.trim().parse::<usize>().ok());
    counts.next_back().unwrap_or(0)
}

#[test]
fn memories_and_multipliers_become_hard_blocks() {
    if !have("yosys", "-V") {
        return;
    }
    let folder = write(&rtl(&small(), "synthesis", 1));
    tool(&folder, "", "yosys -q synth/ecp5.ys");
    tool(&folder, "", "yosys -q synth/xc7.ys");
    let ecp5 = fs::read_to_string(folder.path().join("synth/ecp5.txt")).unwrap();
    let xc7 = fs::read_to_string(folder.path().join("synth/xc7.txt")).unwrap();
    assert_eq!(cells(&ecp5, "MULT18X18D"), 16);
    // 4 lanes of 4 KiB: two blocks each; 8 banks of 512 x 32; weights 48 x 1024: three or more; program one.
    assert!((16..=32).contains(&cells(&ecp5, "DP16KD")), "{ecp5}");
    assert_eq!(cells(&xc7, "DSP48E1"), 16);
    // Columns 0 to 3 in two multipliers of each row, column 4 by adders.
    let packed = AcceleratorConfig { multiplier: Multiplier::Packed, cols: 5, ..small() };
    let folder = write(&rtl(&packed, "synthesis", 1));
    tool(&folder, "", "yosys -q synth/xc7.ys");
    assert_eq!(cells(&fs::read_to_string(folder.path().join("synth/xc7.txt")).unwrap(), "DSP48E1"), 8);
    assert!(cells(&xc7, "RAMB36E1") + cells(&xc7, "RAMB18E1") >= 14, "{xc7}");
}

/// One small accelerator synthesized anew: the committed points of `hw-targets/calibration/` are still those of this
/// hardware, more or less.
#[test]
fn a_small_accelerator_takes_what_the_estimate_says() {
    if !have("yosys", "-V") {
        return;
    }
    let config = AcceleratorConfig {
        accumulator_bits: 24,
        weight_words: Some(1024),
        program_instructions: Some(32),
        ..AcceleratorConfig::new(5, 3, 512, 32)
    };
    for name in ["ecp5-25f", "ice40up5k"] {
        let target = builtin_target(name).unwrap();
        let folder = write(&core_flow(&config, &target).unwrap());
        tool(&folder, "", "yosys -q synth.ys");
        let cells = parse_cells(&fs::read_to_string(folder.path().join("cells.txt")).unwrap());
        let flow = open_flow(&target, None).unwrap();
        for one in resources(&target, &config).uses.into_iter().filter(|u| u.name != PACKED_CELLS) {
            let measured = flow.count(&cells, &one.name);
            let near = (one.used / measured - 1.0).abs() < 0.2;
            let exact = one.worst_error == Some(0.0);
            let holds = if exact { one.used == measured } else { near };
            assert!(holds, "{name}: {measured} {}, estimated {}; calibrate anew", one.name, one.used);
        }
    }
}

/// The models of block RAM that netlists for 7 series are simulated with (the netlists themselves: `serial.rs`).
#[test]
fn models_of_block_ram_do_what_the_memories_do() {
    if !have("yosys", "-V") || !have("iverilog", "-V") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    common::write(folder.path(), &serial_bench_files("xilinx-7"));
    // As in `flow/synth.ys`.
    let command = "synth_xilinx -family xc7 -flatten -top top -nosrl";
    let synthesis = format!(
        "read_verilog memories.v\n{command} -run begin:map_memory\nmemory_libmap -lib xilinx_block_rams.txt t:$mem_v2 \
         r:WIDTH>36 %i\n{command} -run map_memory:\nwrite_verilog -noattr netlist.v\n"
    );
    for (name, text) in [
        ("memories.v", include_str!("cells/memories.v")),
        ("bench.v", include_str!("cells/bench.v")),
        ("xilinx_block_rams.txt", include_str!("../templates/flows/xilinx_block_rams.txt")),
        ("synth.ys", &synthesis),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    tool(&folder, "", "yosys -q synth.ys");
    tool(&folder, "", "yosys -q models.ys");
    let mapped = fs::read_to_string(folder.path().join("simulated.v")).unwrap();
    fs::write(folder.path().join("mapped.v"), mapped.replace("module top(", "module mapped(")).unwrap();
    tool(&folder, "", "iverilog -g2012 -s bench -o bench.vvp bench.v memories.v mapped.v");
    assert_eq!(tool(&folder, "", "vvp -n bench.vvp").lines().last(), Some("20000 cycles, 0 differences"));
}
