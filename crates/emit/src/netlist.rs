//! Simulation of a design with the serial host through its four pins, as written or as Yosys mapped it.

use crate::DesignFiles;

/// Where [`serial_verilator_arguments`] puts the simulation, relative to the folder `flow/`.
pub const SERIAL_BINARY: &str = "serial/Vtop";

/// Arguments of `verilator`, to be run in `flow/` of the design before `sources` and `serial_main.cpp`; builds
/// [`SERIAL_BINARY`]. A netlist is built without optimization by the compiler, which would take longer than the run.
pub fn serial_verilator_arguments(netlist: bool) -> Vec<String> {
    let level = if netlist { "-O0" } else { "-O1" };
    let warnings = if netlist { "-Wno-fatal -Wno-lint -Wno-style" } else { "--assert ../sim/espalier.vlt" };
    let text = format!(
        "--cc --exe --build -O3 --x-assign fast --x-initial fast {warnings} --top-module top -Mdir serial \
         -CFLAGS -std=c++17 -MAKEFLAGS OPT_FAST={level} -MAKEFLAGS OPT_SLOW=-O0 serial_main.cpp"
    );
    let mut arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if netlist {
        arguments.push("simulated.v".to_owned());
    } else {
        arguments.extend(["-F", "../rtl/files.f"].map(str::to_owned));
        let serial = ["espalier_uart.sv", "espalier_serial.sv", "espalier_board.sv"];
        arguments.extend(serial.map(|name| format!("../rtl/{name}")));
        arguments.push("top.sv".to_owned());
    }
    arguments
}

/// The bench `serial_main.cpp`, models of the cells that Yosys has none for (or none that can be simulated quickly), and
/// `models.ys`, which makes `simulated.v` of them and `netlist.v`. Paths are relative to `flow/` of the design.
pub fn serial_bench_files(family: &str) -> DesignFiles {
    let (library, own) = match family {
        "ice40" => ("ice40", include_str!("../templates/../verilator-sim/cells/ice40.v")),
        "ecp5" => ("ecp5", include_str!("../templates/../verilator-sim/cells/ecp5.v")),
        "xilinx-7" => ("xilinx", include_str!("../templates/../verilator-sim/cells/xc7.v")),
        "nexus" => ("nexus", ""),
        "gowin" => ("gowin", ""),
        "cyclone-v" => ("intel_alm/common", ""),
        _ => ("xilinx", ""),
    };
    let mut files = DesignFiles::default();
    files.add("serial_main.cpp", include_str!("../templates/../verilator-sim/serial_main.cpp"));
    files.add("own_cells.v", own);
    let script = format!(
        "read_verilog netlist.v\nread_verilog -sv +/{library}/cells_sim.v\nread_verilog -overwrite own_cells.v\n\
         hierarchy -top top\nproc\nflatten\nopt_clean\ncheck\nwrite_verilog -noattr simulated.v\n"
    );
    files.add("models.ys", script);
    files
}
