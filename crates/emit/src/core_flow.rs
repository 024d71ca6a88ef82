//! Mapping of the core alone, without host and content of memories: what resource estimates are compared with.

use std::collections::BTreeMap;

use espalier_target::{AcceleratorConfig, Asic, Target};

use crate::flows::macro_memory;
use crate::open_flow::{ICE40_ELEMENT, replaces_element, small_family, synthesis};
use crate::rtl::{core_modules, header, rtl};
use crate::{DesignFiles, OpenFlow};

const CORE: &str = "rtl/espalier_core.sv";
const MACRO_MODULES: [&str; 2] = ["rtl/macros/espalier_ram.sv", "rtl/macros/espalier_sram.sv"];
/// The core with the parameters that the flow of a small family sets.
const SMALL_CORE: &str = "rtl/espalier_core_small.sv";

/// The core with all memory depths of `config`, and `synth.ys`, which maps it to the target's family and writes the
/// numbers of its cells to `cells.txt`; `None` if Yosys does not know the family. The options are those of
/// [`crate::open_flow`]. For an ASIC the folder needs the Liberty file of the cells, as `cells.lib`; the statistics then have
/// areas, see [`parse_area`].
pub fn core_flow(config: &AcceleratorConfig, target: &Target) -> Option<DesignFiles> {
    if let Some(asic) = &target.asic {
        return Some(cell_flow(config, target, asic));
    }
    let family = target.family.as_deref()?;
    let command = synthesis(family)?;
    let mut files = rtl(config, &target.name, 0);
    let small = small_family(family);
    if small {
        let core = files.get(CORE).expect("rtl writes the core");
        let core = core.replace("WeightSinglePort = 0", "WeightSinglePort = 1");
        files.add(SMALL_CORE, core.replace("Compact     = 0", "Compact     = 1"));
    }
    if replaces_element(family, config) {
        files.add("rtl/espalier_pe_ice40.v", ICE40_ELEMENT);
    }
    let mut script = String::new();
    for path in core_modules() {
        let path = match path {
            CORE if small => SMALL_CORE,
            "rtl/espalier_pe.sv" if replaces_element(family, config) => "rtl/espalier_pe_ice40.v",
            path => path,
        };
        script += &format!("read_verilog -sv {path}\n");
    }
    // The trace serves the bench alone: in a design its outputs are open.
    script += "hierarchy -top espalier_core\ndelete -output espalier_core/w:trace_*\n";
    if small {
        // Neither does the serial host ask for the end of the output.
        script += "delete -output espalier_core/w:out_last_o\nsetattr -unset ram_style a:ram_style=distributed\n";
    }
    script += &format!("{}\ntee -o cells.txt stat\n", command.replace("-top top", "-top espalier_core"));
    files.add("synth.ys", script);
    Some(files)
}

fn cell_flow(config: &AcceleratorConfig, target: &Target, asic: &Asic) -> DesignFiles {
    let mut files = rtl(config, &target.name, 0);
    macro_memory(&mut files, "rtl/macros", &header(&target.name, 0), asic);
    let mut script = String::new();
    for path in core_modules().filter(|path| *path != "rtl/espalier_ram.sv").chain(MACRO_MODULES) {
        script += &format!("read_verilog -sv -DSYNTHESIS {path}\n");
    }
    script += "hierarchy -top espalier_core\ndelete -output espalier_core/w:trace_*\n\
               synth -flatten -top espalier_core\ndfflibmap -liberty cells.lib\nabc -liberty cells.lib\n\
               opt_clean -purge\ntee -o cells.txt stat -liberty cells.lib\n";
    files.add("synth.ys", script);
    files
}

/// Area of all cells in the statistics of a design mapped to a cell library, in the library's unit; memory macros, which the
/// library does not have, are left out.
pub fn parse_area(statistics: &str) -> Option<f64> {
    let line = statistics.lines().rev().find(|line| line.contains("Chip area for"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Cells of the last table that Yosys' `stat` printed, in either of its forms: `NAME COUNT` and `COUNT NAME`.
pub fn parse_cells(statistics: &str) -> BTreeMap<String, f64> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [a, b] = words[..] else { return None };
        let (name, count) = if a.parse::<f64>().is_ok() { (b, a) } else { (a, b) };
        Some((name.to_owned(), count.parse::<f64>().ok()?))
    };
    statistics.lines().filter_map(entry).collect()
}

impl OpenFlow {
    /// Amount of a resource, by its name in the estimates, in [`parse_cells`]; 0 if the flow does not count it.
    pub fn count(&self, cells: &BTreeMap<String, f64>, resource: &str) -> f64 {
        let prefixes = self.cells.iter().find(|(name, _)| *name == resource).map_or(&[][..], |(_, prefixes)| prefixes);
        count_cells(cells, prefixes)
    }
}

/// Number of the cells that begin so; a prefix may be listed twice, for cells that count twice.
pub fn count_cells(cells: &BTreeMap<String, f64>, prefixes: &[&str]) -> f64 {
    let counted = prefixes.iter().flat_map(|p| cells.iter().filter(move |(cell, _)| cell.starts_with(p)));
    // An empty sum of floats would be -0.
    counted.fold(0.0, |sum, (_, n)| sum + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_statistics_are_read() {
        let old = "   Number of cells:              7093\n     SB_LUT4                      3060\n";
        let new = "     7118 cells\n       38   $scopeinfo\n     3046   SB_LUT4\n";
        assert_eq!(parse_cells(old).get("SB_LUT4"), Some(&3060.0));
        assert_eq!(parse_cells(new).get("SB_LUT4"), Some(&3046.0));
    }

    #[test]
    fn areas_are_read() {
        let text =
            "   Area for cell type \\a_macro is unknown!\n\n   Chip area for module '\\espalier_core': 497607.742800\n";
        assert_eq!(parse_area(text), Some(497_607.742_8));
        assert_eq!(parse_area("     38   cells\n"), None);
    }

    #[test]
    fn the_core_of_a_small_family_has_its_parameters() {
        let target = espalier_target::builtin_target("ice40up5k").unwrap();
        let files = core_flow(&target.accelerator, &target).unwrap();
        let core = files.get(SMALL_CORE).unwrap();
        assert!(core.contains("WeightSinglePort = 1") && core.contains("Compact     = 1"));
        assert!(files.get("synth.ys").unwrap().contains(SMALL_CORE));
    }

    #[test]
    fn cells_that_hold_two_count_twice() {
        let target = espalier_target::builtin_target("ecp5-85f").unwrap();
        let flow = crate::open_flow(&target, None).unwrap();
        let cells = parse_cells("     LUT4   10\n     CCU2C   3\n     TRELLIS_FF 7\n");
        assert_eq!(flow.count(&cells, "logic cells"), 16.0);
        assert_eq!((flow.count(&cells, "flip-flops"), flow.count(&cells, "DP16KD")), (7.0, 0.0));
    }
}
