//! Everything for one program.

use askama::Template;
use espalier_lower::{Instruction, Program};

use crate::DesignFiles;
use crate::bench::{bench_files, verilator_arguments};
use crate::hls::{hls, layers};
use crate::rtl::{header, render, rtl};

#[derive(Template)]
#[template(path = "sim/Makefile")]
struct Makefile<'a> {
    header: &'a [String],
    beats_in: u32,
    beats_out: u32,
    verilator_arguments: String,
}

/// The design of a program: `rtl/` hardware, `memory/` initial contents for `$readmemh` and the bench, `sim/`
/// the Verilator bench with its Makefile, `synth/` Yosys scripts, `hls/` the Vitis HLS kernel. `target` is named in the headers.
pub fn design_files(program: &Program, target: &str) -> DesignFiles {
    let hash = program.config_hash();
    let mut files = rtl(&program.config, target, hash);
    files.add("memory/program.hex", program.program_image());
    files.add("memory/weights.hex", program.weight_image());
    for (path, text) in bench_files().iter() {
        files.add(path, text);
    }
    let makefile = Makefile {
        header: &header(target, hash),
        beats_in: program.instructions.iter().map(Instruction::beats_in).sum(),
        beats_out: program.instructions.iter().map(Instruction::beats_out).sum(),
        verilator_arguments: verilator_arguments().join(" "),
    };
    files.add("sim/Makefile", render(&makefile));
    files.add("synth/ecp5.ys", include_str!("../templates/../verilator-sim/synth/ecp5.ys"));
    files.add("synth/xc7.ys", include_str!("../templates/../verilator-sim/synth/xc7.ys"));
    for (path, text) in hls(&program.config, target, hash).iter() {
        files.add(path, text);
    }
    files.add("hls/layers.txt", layers(program));
    files
}
