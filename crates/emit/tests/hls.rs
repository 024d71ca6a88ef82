//! The Vitis HLS kernel under g++ writes what the machine writes, byte for byte and in order, and its test bench finds
//! whatever is changed.
//!
//! A missing tool is reported and skipped, unless `ESPALIER_REQUIRE_TOOLS=1`.

mod common;
#[path = "cosim/programs.rs"]
#[allow(dead_code, reason = "programs with errors are for the simulation")]
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::have;
use espalier_emit::{HlsReport, HlsRun, design_files, hls, hls_arguments, parse_hls_report, parse_trace, write_trace};
use espalier_lower::testing::{
    Random, depthwise_layer, gated_layer, lenet, quantized, random_config, random_graph, random_input, spilling,
};
use espalier_lower::{Instruction, Machine, MachineRun, Program, compile};
use espalier_quant::QuantizedGraph;
use espalier_target::{AcceleratorConfig, Table};
use tempfile::TempDir;

/// Undefined behaviour and warnings are errors in tests.
const STRICT: [&str; 3] = ["-Werror", "-fsanitize=undefined", "-fno-sanitize-recover=all"];

/// Builds the test bench of the kernel in a folder.
fn build(folder: &Path, extra: &[&str], binary: &str) {
    common::tool(&folder.join("hls"), "g++", &hls_arguments(binary, extra));
}

/// A program, its test bench, and the machine's runs.
struct Bench {
    folder: TempDir,
    program: Program,
    runs: Vec<MachineRun>,
    run: HlsRun,
}

impl Bench {
    fn new(graph: &QuantizedGraph, config: &AcceleratorConfig, random: &mut Random, images: usize) -> Option<Bench> {
        let program = compile(graph, config).ok()?;
        let machine = Machine::new(&program.config, &program.program_words(), &program.weights).unwrap();
        let inputs: Vec<_> = (0..images).map(|_| program.input_beats(&random_input(graph, random))).collect();
        let runs: Vec<MachineRun> = inputs.iter().map(|beats| machine.run(beats, true).unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        common::write(folder.path(), &design_files(&program, "test"));
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let write = |name: &str, bytes: Vec<u8>| {
            fs::write(folder.path().join(name), bytes).unwrap();
            Some(path(name))
        };
        let writes: Vec<_> = runs.iter().map(|r| r.writes.as_slice()).collect();
        let outputs: Vec<u8> = runs.iter().flat_map(|r| r.beats.iter().flatten().copied()).collect();
        let run = HlsRun {
            program: path("memory/program.hex"),
            weights: path("memory/weights.hex"),
            inputs: write("inputs.bin", inputs.iter().flatten().flatten().copied().collect()).unwrap(),
            images,
            beats_in: inputs[0].len(),
            beats_out: runs[0].beats.len(),
            spill_bytes: program.memory.spilled_bytes,
            outputs: Some(path("outputs.bin")),
            trace: Some(path("trace.bin")),
            expected: write("expected.bin", write_trace(&writes, program.config.rows)),
            expected_outputs: write("expected_outputs.bin", outputs),
            layers: Some(path("hls/layers.txt")),
        };
        let bench = Bench { folder, program, runs, run };
        bench.build(&STRICT, "hls_tb");
        Some(bench)
    }

    fn build(&self, extra: &[&str], binary: &str) {
        build(self.folder.path(), extra, binary);
    }

    fn start(&self) -> Output {
        let binary = self.folder.path().join("hls/hls_tb");
        Command::new(binary).args(self.run.arguments()).output().unwrap()
    }

    /// Everything is equal; returns what was compared.
    fn passes(&self) -> HlsReport {
        let output = self.start();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{:?}: {stderr}", self.program.config);
        let report = parse_hls_report(&String::from_utf8_lossy(&output.stdout)).unwrap();
        assert_eq!((report.mismatches, report.images), (0, self.runs.len()));
        assert_eq!(report.config_hash, self.program.config_hash());
        assert_eq!(report.classes, self.runs.iter().map(|run| run.class).collect::<Vec<_>>());
        assert_eq!(report.writes, self.runs.iter().map(|r| r.writes.len() as u64).sum::<u64>());
        report
    }

    /// Something is found; returns what the bench says.
    #[track_caller]
    fn fails(&self, code: i32) -> String {
        let output = self.start();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        stderr
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `check` with a changed file, and puts the file back.
    fn with_file<T>(&self, name: &str, change: impl Fn(&mut Vec<u8>), check: impl Fn() -> T) -> T {
        let good = fs::read(self.path(name)).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad != good, "{name} is unchanged");
        fs::write(self.path(name), bad).unwrap();
        let result = check();
        fs::write(self.path(name), good).unwrap();
        result
    }

    /// Runs `check` with one bit of an instruction flipped.
    fn with_bit<T>(&self, instruction: usize, word: usize, bit: u32, check: impl Fn() -> T) -> T {
        let change = |text: &mut Vec<u8>| {
            let at = (instruction * 8 + word) * 9;
            let digits = std::str::from_utf8(&text[at..at + 8]).unwrap();
            let value = u32::from_str_radix(digits, 16).unwrap() ^ 1 << bit;
            text[at..at + 8].copy_from_slice(format!("{value:08x}").as_bytes());
        };
        self.with_file("memory/program.hex", change, check)
    }

    fn first(&self, what: impl Fn(&Instruction) -> bool) -> usize {
        self.program.instructions.iter().position(what).unwrap()
    }
}

#[test]
fn random_networks_on_random_arrays() {
    if !have("g++", "--version") {
        return;
    }
    let (mut compared, mut combined, mut pooled, mut added) = (0, 0, 0, 0);
    for seed in 0.. {
        if compared == 10 {
            break;
        }
        let mut random = Random::new(7000 + seed);
        let Ok(graph) = quantized(&random_graph(&mut random), &mut random) else { continue };
        let config = AcceleratorConfig { combine: 1 + compared % 2, ..random_config(&mut random) };
        let Some(bench) = Bench::new(&graph, &config, &mut random, 3) else { continue };
        let report = bench.passes();
        assert!(report.elements > 0, "seed {seed}");
        // What the kernel writes is also read by the other side; the core fills some halos earlier.
        let trace = parse_trace(&fs::read(bench.path("trace.bin")).unwrap(), config.rows).unwrap();
        for (got, run) in trace.iter().zip(&bench.runs) {
            let mut writes = run.writes.clone();
            writes.sort_by_key(|w| w.instruction);
            assert!(*got == writes, "seed {seed}");
        }
        compared += 1;
        combined += usize::from(config.combine == 2);
        let pools = |i: &Instruction| matches!(i, Instruction::Conv(c) if c.window_size() > 1);
        let has = |what: &dyn Fn(&Instruction) -> bool| usize::from(bench.program.instructions.iter().any(what));
        pooled += has(&pools);
        added += has(&|i| matches!(i, Instruction::Conv(c) if c.partial));
    }
    assert!(added >= 1, "no network of {compared} adds to earlier sums");
    assert!(combined >= 3 && compared - combined >= 3, "{combined} of {compared} combine rows");
    assert!(pooled >= 3, "{pooled} of {compared} pool");
}

#[test]
fn gates_of_channels() {
    if !have("g++", "--version") {
        return;
    }
    let mut sent = 0;
    for seed in 0..3 {
        let mut random = Random::new(7500 + seed);
        let (graph, config) = gated_layer(&mut random);
        let graph = quantized(&graph, &mut random).unwrap();
        let Some(bench) = Bench::new(&graph, &config, &mut random, 3) else { continue };
        assert!(bench.passes().elements > 0, "seed {seed}");
        // Without states, there are neither wide results nor sums in parts.
        let unit = bench.first(|i| matches!(i, Instruction::Conv(c) if c.depthwise && c.table == Table::Off));
        for (word, bit) in [(5, 13), (0, 24)] {
            let said = bench.with_bit(unit, word, bit, || bench.fails(4));
            assert!(
                said.contains(&format!("stopped at instruction {unit} ")) && said.contains("out of bounds"),
                "{said}"
            );
        }
        let gates = |i: &&Instruction| matches!(i, Instruction::Store { gates: true, .. });
        sent += bench.program.instructions.iter().filter(gates).count();
    }
    assert!(sent >= 4, "{sent} beats of gates");
}

/// Instruction streams that no network is compiled to, above all sums of the depthwise unit in parts and wide results.
#[test]
fn random_instruction_streams() {
    if !have("g++", "--version") {
        return;
    }
    for (rows, cols, clusters, taps) in [(5, 7, 1, 3), (4, 6, 2, 2)] {
        let config = AcceleratorConfig {
            clusters,
            depthwise_taps: taps,
            gates: true,
            states: true,
            activation_tables: clusters == 1,
            accumulator_bits: if clusters == 1 { 32 } else { 24 },
            weight_words: Some(1 << 15),
            program_instructions: Some(512),
            ..AcceleratorConfig::new(rows, cols, 1 << 12, 64)
        };
        let folder = tempfile::tempdir().unwrap();
        common::write(folder.path(), &hls(&config, "test", 1));
        build(folder.path(), &STRICT, "hls_tb");
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let mut sums = [0; 2];
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let program = programs::random_program(&config, &mut random);
            sums[0] += program.convs(|conv| conv.depthwise && conv.partial);
            sums[1] += program.convs(|conv| conv.wide);
            let beats = program.random_beats(rows, &mut random);
            let expected = program.machine(&config).run(&beats, true).unwrap();
            fs::write(path("program.hex"), program.image()).unwrap();
            fs::write(path("weights.hex"), program.weight_image(&config)).unwrap();
            fs::write(path("inputs.bin"), beats.concat()).unwrap();
            fs::write(path("expected.bin"), write_trace(&[&expected.writes], rows)).unwrap();
            fs::write(path("expected_outputs.bin"), expected.beats.concat()).unwrap();
            let run = HlsRun {
                program: path("program.hex"),
                weights: path("weights.hex"),
                inputs: path("inputs.bin"),
                images: 1,
                beats_in: beats.len(),
                beats_out: program.beats_out(),
                expected: Some(path("expected.bin")),
                expected_outputs: Some(path("expected_outputs.bin")),
                ..HlsRun::default()
            };
            let report = common::tool(folder.path(), &path("hls/hls_tb"), &run.arguments());
            let report = parse_hls_report(&report).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!((report.mismatches, report.writes), (0, expected.writes.len() as u64), "seed {seed}");
        }
        assert!(sums.iter().all(|sum| *sum > 100), "{sums:?} partial and wide sums of the unit");
    }
}

#[test]
fn spilled_networks_in_strips() {
    if !have("g++", "--version") {
        return;
    }
    let mut compared = 0;
    for seed in 0..100 {
        let mut random = Random::new(8000 + seed);
        let Ok(graph) = quantized(&random_graph(&mut random), &mut random) else { continue };
        let Some(config) = spilling(&graph, &random_config(&mut random), &mut random) else { continue };
        let strips = compile(&graph, &config).map_or(0, |program| program.strips.len());
        if strips < 4 || compared == 4 {
            continue;
        }
        let mut bench = Bench::new(&graph, &config, &mut random, 2).unwrap();
        bench.passes();
        bench.run.spill_bytes /= 2;
        assert!(bench.fails(4).contains("a spilled tensor does not fit"), "seed {seed}");
        compared += 1;
    }
    assert_eq!(compared, 4, "networks in strips");
}

/// Tables of both kinds, and outputs with gaps between them.
#[test]
fn functions_and_larger_maps() {
    if !have("g++", "--version") {
        return;
    }
    let mut left: Vec<fn(&Instruction) -> bool> = vec![
        |i| matches!(i, Instruction::Conv(c) if c.table == Table::Own),
        |i| matches!(i, Instruction::Conv(c) if c.table == Table::Shared),
        |i| matches!(i, Instruction::Conv(c) if c.dst_step_x > 1),
    ];
    for seed in 0..300 {
        let mut random = Random::new(12_000 + seed);
        let Ok(graph) = quantized(&random_graph(&mut random), &mut random) else { continue };
        let config = random_config(&mut random);
        let Ok(program) = compile(&graph, &config) else { continue };
        if let Some(kind) = left.iter().position(|has| program.instructions.iter().any(has)) {
            left.remove(kind);
            Bench::new(&graph, &config, &mut random, 2).unwrap().passes();
        }
    }
    assert!(left.is_empty(), "{} kinds of instructions were not drawn", left.len());
}

fn lenet_bench(config: &AcceleratorConfig) -> Bench {
    let mut random = Random::new(11);
    let graph = quantized(&lenet(11), &mut random).unwrap();
    Bench::new(&graph, config, &mut random, 2).unwrap()
}

#[test]
fn depthwise_convolutions_of_several_taps_a_pass() {
    if !have("g++", "--version") {
        return;
    }
    let mut on_unit = 0;
    for seed in 0..50 {
        let mut random = Random::new(9000 + seed);
        let (graph, config) = depthwise_layer(&mut random);
        let graph = quantized(&graph, &mut random).unwrap();
        let depthwise = |i: &Instruction| matches!(i, Instruction::Conv(c) if c.depthwise);
        if on_unit == 4 || !compile(&graph, &config).unwrap().instructions.iter().any(depthwise) {
            continue;
        }
        Bench::new(&graph, &config, &mut random, 2).unwrap().passes();
        on_unit += 1;
    }
    assert_eq!(on_unit, 4, "layers on the unit");
}

#[test]
fn odd_arrays_and_narrow_accumulators() {
    if !have("g++", "--version") {
        return;
    }
    for (rows, cols, combine) in [(5, 7, 2), (32, 4, 1)] {
        let config = AcceleratorConfig { combine, ..AcceleratorConfig::new(rows, cols, 16384, 100) };
        lenet_bench(&AcceleratorConfig { accumulator_bits: 25, ..config }).passes();
    }
}

#[test]
fn every_change_is_found_and_named() {
    if !have("g++", "--version") {
        return;
    }
    let bench = lenet_bench(&AcceleratorConfig::new(8, 8, 8192, 256));
    bench.passes();
    let conv = bench.first(|i| matches!(i, Instruction::Conv(_)));
    let layer = bench.program.layer_of[conv].unwrap();

    // A weight of the first row: the lowest digits of a line belong to column 0.
    let flip = |text: &mut Vec<u8>| {
        let end = text.iter().position(|b| *b == b'\n').unwrap();
        text[end - 1] = if text[end - 1] == b'0' { b'7' } else { b'0' };
    };
    let said = bench.with_file("memory/weights.hex", flip, || bench.fails(1));
    assert!(said.contains(&format!("layer {layer}, channel 0")), "{said}");
    assert!(said.contains("first difference") && said.contains("expected") && said.contains("instruction"), "{said}");

    // Rotation, zero point and destination of the first block.
    for (word, bit) in [(0, 18), (2, 25), (7, 0)] {
        let said = bench.with_bit(conv, word, bit, || bench.fails(1));
        assert!(said.contains(&format!("instruction {conv}, ")), "{said}");
    }

    // Expected values: the last byte of the last write, of the last output, and one write too many.
    let last = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let with_mask = bench.runs[1].writes.last().unwrap().mask >> 7 & 1 == 1;
    let change = |bytes: &mut Vec<u8>| {
        let len = bytes.len();
        // Lane 0 of the last write, or lane 7 if that is written.
        bytes[if with_mask { len - 1 } else { len - 8 }] ^= 1;
    };
    let said = bench.with_file("expected.bin", change, || bench.fails(1));
    assert!(said.contains("input 1") && said.contains("layer 4"), "{said}");
    let outputs = |bytes: &mut Vec<u8>| {
        // Ten outputs in two beats of eight: the last lane that means something is lane 1.
        let at = bytes.len() - 7;
        bytes[at] ^= 1;
    };
    let said = bench.with_file("expected_outputs.bin", outputs, || bench.fails(1));
    assert!(said.contains("output beat 1, lane 1"), "{said}");
    bench.with_file("inputs.bin", |bytes| bytes[8 * 300] ^= 64, || bench.fails(1));
    let shorter = |bytes: &mut Vec<u8>| {
        let record = 10 + 8;
        let count = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        bytes[12..16].copy_from_slice(&(count - 1).to_le_bytes());
        let end = 16 + count as usize * record;
        bytes.drain(end - record..end);
    };
    let said = bench.with_file("expected.bin", shorter, || bench.fails(1));
    assert!(said.contains("number of lane writes"), "{said}");

    // Files that cannot be: usage errors, before anything runs.
    bench.with_file("expected.bin", |bytes| bytes.truncate(40), || bench.fails(2));
    bench.with_file("expected_outputs.bin", |bytes| bytes.truncate(3), || bench.fails(2));
    bench.with_file("memory/weights.hex", |bytes| last(bytes), || bench.fails(2));
    bench.with_file("hls/layers.txt", |bytes| bytes[0] = b'?', || bench.fails(2));
    bench.passes();
}

#[test]
fn programs_that_cannot_run_stop_with_the_reason() {
    if !have("g++", "--version") {
        return;
    }
    let bench = lenet_bench(&AcceleratorConfig { combine: 2, ..AcceleratorConfig::new(8, 8, 8192, 256) });
    let conv = bench.first(|i| matches!(i, Instruction::Conv(_)));
    let load = bench.first(|i| matches!(i, Instruction::Load { .. }));
    let store = bench.first(|i| matches!(i, Instruction::Store { .. }));
    let end = bench.program.instructions.len() - 1;
    let stops = |(instruction, word, bit): (usize, usize, u32), reason: &str| {
        let said = bench.with_bit(instruction, word, bit, || bench.fails(4));
        assert!(said.contains(&format!("stopped at instruction {instruction} ")) && said.contains(reason), "{said}");
    };
    stops((load, 0, 2), "unknown opcode");
    stops((end, 0, 31), "reserved bits");
    stops((load, 1, 0), "reserved bits");
    stops((load, 0, 15), "out of bounds");
    stops((conv, 6, 11), "out of bounds");
    stops((conv, 0, 17), "out of bounds");
    stops((conv, 2, 23), "weight word");
    stops((conv, 7, 15), "end of the lanes");
    stops((conv, 3, 15), "end of the lanes");
    stops((store, 3, 15), "end of the lanes");
    stops((load, 6, 5), "input stream");
    stops((store, 6, 5), "output is full");
    let cut = |text: &mut Vec<u8>| text.truncate(end * 8 * 9);
    assert!(bench.with_file("memory/program.hex", cut, || bench.fails(4)).contains("no END"));
    let long = |text: &mut Vec<u8>| (0..10).for_each(|_| text.extend(text.clone()));
    let said = bench.with_file("memory/program.hex", long, || bench.fails(4));
    assert!(said.contains("do not fit their memories"), "{said}");
    // Another number of beats than the program moves.
    let fewer = HlsRun { beats_out: bench.run.beats_out + 1, expected_outputs: None, ..bench.run.clone() };
    let output = Command::new(bench.path("hls/hls_tb")).args(fewer.arguments()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("output beats sent"));
    bench.passes();
}

#[test]
fn without_its_log_the_bench_compares_outputs() {
    if !have("g++", "--version") {
        return;
    }
    let bench = lenet_bench(&AcceleratorConfig::new(8, 16, 8192, 128));
    bench.build(&[&STRICT[..], &["-UESPALIER_TRACE"]].concat(), "outputs_tb");
    let run = HlsRun { expected: None, trace: None, ..bench.run.clone() };
    let start = |run: &HlsRun| Command::new(bench.path("hls/outputs_tb")).args(run.arguments()).output().unwrap();
    let output = start(&run);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report = parse_hls_report(&String::from_utf8_lossy(&output.stdout)).unwrap();
    assert_eq!((report.writes, report.elements), (0, 2 * 10));
    assert_eq!(start(&bench.run).status.code(), Some(2), "a log was asked for");
}

#[test]
fn the_kernel_needs_nothing_but_two_headers() {
    let config = AcceleratorConfig::new(8, 8, 4096, 256);
    let files = hls(&config, "x*/ \"; rm -rf x\n#include", 1);
    for name in ["hls/espalier_hls.cpp", "hls/espalier_hls.h", "hls/espalier_hls_config.h"] {
        let text = files.get(name).unwrap();
        let allowed = ["<cstddef>", "<cstdint>", "\"espalier_hls.h\"", "\"espalier_hls_config.h\""];
        for line in text.lines().filter(|l| l.trim_start().starts_with("#include")) {
            assert!(allowed.iter().any(|a| line == format!("#include {a}")), "{name}: {line}");
        }
        assert!(!text.contains("new ") && !text.contains("malloc") && !text.contains("std::"), "{name}");
    }
    // A loop without constant bounds says how often it runs.
    let kernel = files.get("hls/espalier_hls.cpp").unwrap();
    let lines: Vec<&str> = kernel.lines().collect();
    for (number, line) in lines.iter().enumerate().filter(|(_, l)| l.trim_start().starts_with("for (uint32_t")) {
        let constant =
            ["< INSTRUCTION_WORDS", "< WEIGHT_PARTS", "< SPILL_WORD_BYTES"].iter().any(|bound| line.contains(bound));
        let body = &lines[number + 1..number + 7];
        assert!(constant || body.iter().any(|l| l.contains("LOOP_TRIPCOUNT")), "line {}: {line}", number + 1);
    }
    assert!(files == hls(&config, "x*/ \"; rm -rf x\n#include", 1));
    assert!(!files.get("hls/espalier_hls_config.h").unwrap().contains("\n#include\""));
}

/// A model's name is the only free text of a program.
#[test]
fn names_do_not_reach_generated_files() {
    let mut random = Random::new(2);
    let mut graph = quantized(&lenet(2), &mut random).unwrap();
    let config = AcceleratorConfig::new(8, 8, 8192, 256);
    let plain = compile(&graph, &config).unwrap();
    graph.name = "\"; rm -rf x".to_owned();
    for layer in &mut graph.layers {
        layer.name = "$(touch x) [exec touch x]\n#".to_owned();
    }
    let named = compile(&graph, &config).unwrap();
    assert!(design_files(&plain, "t") == design_files(&named, "t"));
}

#[test]
fn tcl_is_complete() {
    if !have("tclsh", "/dev/null") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = hls(&AcceleratorConfig::new(8, 8, 4096, 256), "t", 1);
    fs::create_dir_all(folder.path().join("hls/vectors")).unwrap();
    fs::write(folder.path().join("hls/run_hls.tcl"), files.get("hls/run_hls.tcl").unwrap()).unwrap();
    fs::write(folder.path().join("hls/vectors/size.txt"), "784 2 8\n").unwrap();
    // Vitis' commands only print themselves; a script that is no Tcl does not get that far.
    let harness = "set f [open hls/run_hls.tcl]\nset text [read $f]\nclose $f\n\
        if {![info complete $text]} { puts incomplete; exit 1 }\n\
        rename exit quit\nproc exit args {}\n\
        foreach name {open_project set_top add_files open_solution set_part create_clock csim_design csynth_design \
        cosim_design export_design} { proc $name args \"puts \\\"$name \\$args\\\"\" }\n\
        source hls/run_hls.tcl\nquit 0\n";
    fs::write(folder.path().join("harness.tcl"), harness).unwrap();
    let output = Command::new("tclsh").arg("harness.tcl").current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = |start: &str| text.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start} in {text}"));
    assert!(line("csim_design").contains("--beats-in 784 --beats-out 2"));
    assert!(line("csim_design").contains("--expected ") && !line("cosim_design").contains("--expected "));
    assert_eq!(line("set_top"), "set_top espalier_hls");
    assert!(Path::new(line("add_files -tb").split_whitespace().nth(2).unwrap()).ends_with("hls/espalier_hls_tb.cpp"));
}
