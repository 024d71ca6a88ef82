//! The projects for vendors' tools of every target and board: scripts run in tclsh with the vendor's commands replaced, files
//! that they name exist, descriptions are well-formed and agree with the hardware, and no name from outside reaches them.
//! The memories of ASIC targets are simulated.

mod common;

use std::fs;
use std::path::Path;

use common::{have, small_network, tool};
use espalier_emit::{
    BenchRun, SIMULATION_BINARY, design_files, driver_files, open_flow_files, parse_report, vendor_flow_files,
    verilator_arguments,
};
use espalier_lower::testing::{Random, lenet, quantized};
use espalier_lower::{Program, compile, registers, run};
use espalier_target::{
    AcceleratorConfig, ActivationStore, Board, Target, WeightSource, builtin_boards, builtin_names, builtin_target,
};
use tempfile::TempDir;

fn program(config: &AcceleratorConfig) -> Program {
    compile(&quantized(&lenet(1), &mut Random::new(1)).unwrap(), config).unwrap()
}

/// All files of a design, as `espalier compile` writes them.
fn write(program: &Program, target: &Target, board: Option<&Board>) -> TempDir {
    let folder = TempDir::new().unwrap();
    for files in [
        design_files(program, &target.name),
        open_flow_files(program, target, board),
        vendor_flow_files(program, target, board),
        driver_files(),
    ] {
        common::write(folder.path(), &files);
    }
    folder
}

/// Sources a script with every command that Tcl does not know replaced: files that it names must exist.
const HARNESS: &str = "
proc unknown args {
    foreach argument [lrange $args 1 end] {
        if {[catch {llength $argument}]} { set argument [list $argument] }
        foreach word $argument {
            set known {.sv .v .hex .xdc .cst .sdc}
            if {[file extension $word] in $known && ![file exists $word]} { puts \"missing: $word\"; exit 1 }
        }
    }
    incr ::calls
    return [lindex $args end]
}
set calls 0
foreach script $argv {
    set file [open $script]
    if {![info complete [read $file]]} { puts \"incomplete: $script\"; exit 1 }
    close $file
    source $script
}
puts \"calls $calls\"
";

/// Checks the scripts in `flow/`; returns how many there are.
fn check_scripts(folder: &Path) -> usize {
    let flow = folder.join("flow");
    let Ok(entries) = fs::read_dir(&flow) else { return 0 };
    let mut scripts: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    scripts.retain(|name| ["tcl", "qsf", "qpf", "sdc", "xdc"].iter().any(|end| name.ends_with(&format!(".{end}"))));
    scripts.sort();
    fs::write(folder.join("harness.tcl"), HARNESS).unwrap();
    for script in &scripts {
        let said = tool(&flow, "tclsh", &["../harness.tcl", script]);
        let calls: usize = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(calls >= 1, "{script}: {said}");
    }
    scripts.len()
}

/// Ports of the IP-XACT description, which must be those of the wrapper, and its registers.
const READ_COMPONENT: &str = "
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
space = {'i': 'http://www.accellera.org/XMLSchema/IPXACT/1685-2014'}
names = lambda path: sorted(node.text for node in root.findall(path, space))
print(' '.join(names('.//i:ports/i:port/i:name')))
print(' '.join(names('.//i:register/i:name')))
mapped = names('.//i:physicalPort/i:name')
assert set(mapped) < set(names('.//i:ports/i:port/i:name')) and len(mapped) == len(set(mapped))
";

fn check_descriptions(folder: &Path) {
    let said = tool(folder, "python3", &["-c", READ_COMPONENT, "component.xml"]);
    let wrapper = fs::read_to_string(folder.join("rtl/espalier_top.v")).unwrap();
    let declared = |line: &str| line.trim().starts_with("input ") || line.trim().starts_with("output ");
    let name = |line: &str| line.trim().trim_end_matches(',').rsplit(' ').next().unwrap().to_owned();
    let mut ports: Vec<String> = wrapper.lines().filter(|l| declared(l)).map(name).collect();
    ports.sort();
    let mut known: Vec<&str> = registers().iter().map(|r| r.name).collect();
    known.sort_unstable();
    assert_eq!(said.lines().collect::<Vec<_>>(), [ports.join(" "), known.join(" ")]);

    // A project with a processor leaves no master of the core without its memory.
    let vivado = fs::read_to_string(folder.join("flow/vivado.tcl")).unwrap_or_default();
    if vivado.contains("create_bd_design") {
        for master in ports.iter().filter_map(|p| p.strip_suffix("_arvalid").filter(|p| p.starts_with("m_"))) {
            assert_eq!(vivado.matches(&format!("accelerator/{master}]")).count(), 1, "{master}");
        }
    }

    let core = fs::read_to_string(folder.join("espalier.core")).unwrap();
    let sources: Vec<&str> = core.lines().filter_map(|l| l.strip_prefix("      - rtl/")).collect();
    assert!(core.starts_with("CAPI=2:\n") && sources.len() > 20);
    assert!(sources.iter().all(|name| folder.join("rtl").join(name.split(':').next().unwrap()).is_file()));
    if let Ok(text) = fs::read_to_string(folder.join("flow/config.json")) {
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sources = config["VERILOG_FILES"].as_array().unwrap();
        for name in sources.iter().chain([&config["PNR_SDC_FILE"]]) {
            let path = name.as_str().unwrap().strip_prefix("dir::").unwrap();
            assert!(folder.join("flow").join(path).is_file(), "{path}");
        }
        assert!(config["CLOCK_PERIOD"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn every_target_and_board_gets_a_project() {
    if !have("tclsh", "/dev/null") || !have("python3", "--version") {
        return;
    }
    let plain = program(&AcceleratorConfig::new(6, 8, 8192, 256));
    let streamed = program(&AcceleratorConfig {
        weights: WeightSource::Streamed,
        memory_bytes_per_cycle: Some(8),
        ..AcceleratorConfig::new(8, 8, 8192, 256)
    });
    let spilled = program(&AcceleratorConfig { activations: ActivationStore::Spilled, ..streamed.config.clone() });
    let targets = builtin_names().map(|name| (builtin_target(name).unwrap(), None));
    let boards = builtin_boards().into_iter().map(|board| (board.target(), Some(board)));
    let mut projects = 0;
    for (target, board) in targets.chain(boards) {
        for program in [&plain, &streamed, &spilled] {
            let folder = write(program, &target, board.as_ref());
            let scripts = check_scripts(folder.path());
            let open = folder.path().join("flow/synth.ys").is_file();
            assert!(scripts > 0 || open, "{} has no project", target.name);
            check_descriptions(folder.path());
            projects += 1;
        }
    }
    assert!(projects >= 90);
}

/// The only free texts are the names of model, layers and target; the last one stands in comments, without what could end one.
#[test]
fn names_do_not_reach_scripts() {
    let hostile = ["\"; rm -rf x", "$(touch x) [exec touch x]`touch x`", "a\nb'; --> */ ]]> {{ }} \\", "../../x/%s"];
    let config = AcceleratorConfig::new(8, 8, 8192, 256);
    let text = |program: &Program, target: &Target| -> Vec<(String, String)> {
        let all = [
            design_files(program, &target.name),
            open_flow_files(program, target, None),
            vendor_flow_files(program, target, None),
        ];
        all.iter()
            .flat_map(|files| files.iter().map(|(p, t)| (p.to_owned(), t.to_owned())).collect::<Vec<_>>())
            .collect()
    };
    let plain = program(&config);
    for name in builtin_names() {
        let target = builtin_target(name).unwrap();
        let expected = text(&plain, &target);
        assert!(expected == text(&plain, &target), "{name}: two runs give two designs");
        for word in hostile {
            let mut graph = quantized(&lenet(1), &mut Random::new(1)).unwrap();
            graph.name = word.to_owned();
            graph.layers.iter_mut().for_each(|layer| layer.name = word.to_owned());
            let named = compile(&graph, &config).unwrap();
            assert!(expected == text(&named, &target), "{name}: the model '{word}'");
            let mut renamed = target.clone();
            renamed.name = word.to_owned();
            for ((path, plain), (_, changed)) in expected.iter().zip(text(&plain, &renamed)) {
                for (before, after) in plain.lines().zip(changed.lines()) {
                    let comment = after.contains("Generated by Espalier") && after.contains("for target '");
                    assert!(before == after || comment, "{path}: {after}");
                }
                assert_eq!(plain.lines().count(), changed.lines().count(), "{path}");
                assert!(
                    !changed.contains("rm -rf x\"") && !changed.contains("$(touch") && !changed.contains("[exec touch")
                );
            }
        }
    }
}

/// Memories made of macros compute the same; Yosys finds no problem in what is left for the process's macros.
#[test]
fn macros_replace_the_memories_of_asics() {
    if !have("verilator", "--version") || !have("yosys", "-V") {
        return;
    }
    for name in ["sky130hd", "asap7"] {
        let target = builtin_target(name).unwrap();
        let (program, inputs) = small_network(&AcceleratorConfig::new(4, 5, 1500, 40), 1);
        let input = &inputs[0];
        let folder = write(&program, &target, None);
        let list = fs::read_to_string(folder.path().join("rtl/files.f")).unwrap();
        let list = list.replace("espalier_ram.sv", "../flow/espalier_sram.sv\n../flow/espalier_ram.sv");
        fs::write(folder.path().join("rtl/files.f"), &list).unwrap();
        let reads: String = list.lines().map(|file| format!("read_verilog -sv -DSYNTHESIS {file}\n")).collect();
        let check =
            reads + "read_verilog espalier_top.v\nhierarchy -check -top espalier_top\nproc\ncheck -assert\nstat\n";
        fs::write(folder.path().join("rtl/check.ys"), check).unwrap();
        let said = tool(&folder.path().join("rtl"), "yosys", &["-Q", "check.ys"]);
        assert!(said.contains("_macro"), "no memory became macros");
        if name != "sky130hd" {
            continue;
        }
        let arguments = verilator_arguments();
        tool(&folder.path().join("sim"), "verilator", &arguments);
        let beats = program.input_beats(input);
        fs::write(folder.path().join("inputs.bin"), beats.concat()).unwrap();
        let stores = program.instructions.iter().map(|i| i.beats_out() as usize);
        let bench = BenchRun {
            program: "memory/program.hex".to_owned(),
            weights: "memory/weights.hex".to_owned(),
            inputs: "inputs.bin".to_owned(),
            images: 1,
            beats_in: beats.len(),
            beats_out: stores.sum(),
            outputs: Some("outputs.bin".to_owned()),
            trace: None,
            coverage: None,
            timeout: 1_000_000,
            seed: 1,
            stall_in: 20,
            stall_out: 20,
            config_hash: program.config_hash(),
            memory_latency: 0,
            spill_bytes: 0,
            stall_memory: 0,
        };
        let arguments = bench.arguments();
        let binary = folder.path().join(SIMULATION_BINARY);
        let report = parse_report(&tool(folder.path(), binary.to_str().unwrap(), &arguments)).unwrap();
        let (_, expected, cycles) = run(&program, input).unwrap();
        assert_eq!(report.cycles, [cycles.total]);
        let stream = fs::read(folder.path().join("outputs.bin")).unwrap();
        let beats: Vec<Vec<u8>> = stream.chunks(program.config.rows).map(<[u8]>::to_vec).collect();
        assert_eq!(program.output_from_beats(&beats).unwrap(), expected);
    }
}
