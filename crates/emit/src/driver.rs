//! Drivers: embedded plain files in C, Python and Rust, and their constants, generated from the tables of registers and of
//! the program file.

use askama::Template;
use espalier_lower::{
    PROGRAM_MAGIC, PROGRAM_VERSION, error_codes, program_file_header, program_file_tensor, regions, registers,
};

use crate::DesignFiles;
use crate::rtl::render;

/// Files without generated text.
const FILES: [(&str, &str); 9] = [
    ("driver/c/espalier.h", include_str!("../templates/driver/c/espalier.h")),
    ("driver/c/espalier.c", include_str!("../templates/driver/c/espalier.c")),
    ("driver/c/espalier_dma.h", include_str!("../templates/driver/c/espalier_dma.h")),
    ("driver/c/espalier_dma.c", include_str!("../templates/driver/c/espalier_dma.c")),
    ("driver/c/espalier_linux.h", include_str!("../templates/driver/c/espalier_linux.h")),
    ("driver/c/espalier_linux.c", include_str!("../templates/driver/c/espalier_linux.c")),
    ("driver/python/espalier.py", include_str!("../templates/driver/python/espalier.py")),
    ("driver/rust/Cargo.toml", include_str!("../templates/driver/rust/Cargo.toml")),
    ("driver/rust/src/lib.rs", include_str!("../templates/driver/rust/src/lib.rs")),
];

#[derive(Template)]
#[template(path = "driver/c/espalier_registers.h")]
struct CHeader<'a> {
    c: &'a Constants,
}

#[derive(Template)]
#[template(path = "driver/python/espalier_registers.py")]
struct PythonModule<'a> {
    c: &'a Constants,
}

#[derive(Template)]
#[template(path = "driver/rust/src/registers.rs")]
struct RustModule<'a> {
    c: &'a Constants,
}

/// Name in upper snake case and value.
type Constant = (String, String);

/// What all drivers know.
struct Constants {
    version: &'static str,
    registers: Vec<Constant>,
    regions: Vec<Constant>,
    errors: Vec<Constant>,
    file: Vec<Constant>,
}

/// The drivers, in `driver/`: the same for every design. `driver/program.bin`, which they load, is
/// [`espalier_lower::Program::to_binary`].
pub fn driver_files() -> DesignFiles {
    let mut files = DesignFiles::default();
    for (path, text) in FILES {
        files.add(path, text);
    }
    files.add("driver/c/espalier_registers.h", render(&CHeader { c: &constants("u") }));
    files.add("driver/python/espalier_registers.py", render(&PythonModule { c: &constants("") }));
    files.add("driver/rust/src/registers.rs", render(&RustModule { c: &constants("") }));
    files
}

/// The tables as constants; `suffix` makes a number unsigned where the language asks for it.
fn constants(suffix: &str) -> Constants {
    let name = |parts: &[&str]| parts.join("_").to_uppercase();
    let hex = |value: u32| format!("{value:#x}{suffix}");
    let mut all_registers = Vec::new();
    for r in registers() {
        all_registers.push((name(&["reg", r.name]), hex(r.offset)));
        for f in r.fields {
            let mask = (u32::MAX >> (31 - (f.hi - f.lo))) << f.lo;
            all_registers.push((name(&[r.name, f.name, "mask"]), hex(mask)));
            all_registers.push((name(&[r.name, f.name, "lsb"]), f.lo.to_string()));
        }
    }
    let mut file =
        vec![(name(&["file_magic_value"]), hex(PROGRAM_MAGIC)), (name(&["file_version_value"]), hex(PROGRAM_VERSION))];
    for (prefix, words) in [("file", program_file_header()), ("tensor", program_file_tensor())] {
        file.extend(words.iter().enumerate().map(|(index, w)| (name(&[prefix, w.name]), index.to_string())));
        file.push((name(&[prefix, "words"]), words.len().to_string()));
    }
    Constants {
        version: env!("CARGO_PKG_VERSION"),
        registers: all_registers,
        regions: regions().iter().map(|r| (name(&["region", r.name]), hex(r.base))).collect(),
        errors: error_codes().iter().map(|e| (name(&["error", e.name]), e.code.to_string())).collect(),
        file,
    }
}
