//! Mapping of the core alone, without host and content of memories: what resource estimates are compared with.

use espalier_target::{AcceleratorConfig, Target};

use crate::DesignFiles;
use crate::open_flow::{ICE40_ELEMENT, replaces_element, small_family, synthesis};
use crate::rtl::{core_modules, rtl};

/// The core with all memory depths of `config`, and `synth.ys`, which maps it to the target's family and writes the
/// numbers of its cells to `cells.txt`; `None` if Yosys does not know the family. The options are those of
/// [`crate::open_flow`].
pub fn core_flow(config: &AcceleratorConfig, target: &Target) -> Option<DesignFiles> {
    let family = target.family.as_deref()?;
    let command = synthesis(family)?;
    let mut files = rtl(config, &target.name, 0);
    let mut script = String::new();
    let replaced = replaces_element(family, config);
    for path in core_modules().filter(|path| !(replaced && path.ends_with("/espalier_pe.sv"))) {
        script += &format!("read_verilog -sv {path}\n");
    }
    if replaced {
        files.add("rtl/espalier_pe_ice40.v", ICE40_ELEMENT);
        script += "read_verilog -sv rtl/espalier_pe_ice40.v\n";
    }
    // The trace serves the bench alone: in a design its outputs are open.
    const WITHOUT_TRACE: &str = "delete -output espalier_core/w:trace_*\n";
    if small_family(family) {
        script += "hierarchy -top espalier_core -chparam WeightSinglePort 1 -chparam Compact 1\n\
                   rename -top espalier_core\nsetattr -unset ram_style a:ram_style=distributed\n";
    } else {
        script += "hierarchy -top espalier_core\n";
    }
    script += WITHOUT_TRACE;
    script += &format!("{}\ntee -o cells.txt stat\n", command.replace("-top top", "-top espalier_core"));
    files.add("synth.ys", script);
    Some(files)
}
