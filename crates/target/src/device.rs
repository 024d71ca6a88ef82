//! Devices: what they offer and what is known about their speed and energy.
//!
//! A target is a TOML file. Every number in it is a [`Fact`]: a value, where it comes from, and how
//! sure it is. Unknown keys and numbers without a source are refused.

use espalier_ir::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};

use crate::AcceleratorConfig;

/// How sure a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Printed in a vendor's data sheet or library.
    Datasheet,
    /// Measured with tools on a design of this kind.
    Measured,
    /// An engineering estimate; results that depend on it are estimates too.
    Assumed,
}

/// A number with its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// The number, in the unit that its key names.
    pub value: f64,
    /// Document, measurement or reasoning that it comes from.
    pub source: String,
    /// How sure it is.
    pub confidence: Confidence,
}

/// A device or process that an accelerator can be built on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name as used on the command line.
    pub name: String,
    /// Manufacturer, part, speed grade.
    pub description: String,
    /// Family of `hw-targets/families/` that the file takes the keys from which it does not have itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Part as the vendor's tools name it, for project files; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Clock of the default accelerator, MHz.
    pub clock_mhz: Fact,
    /// The accelerator that is built if the project says nothing else.
    pub accelerator: AcceleratorConfig,
    /// Energy of the counted events.
    pub energy: Energy,
    /// Resources of an FPGA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpga: Option<Fpga>,
    /// Areas of an ASIC process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asic: Option<Asic>,
}

/// Energy of the events that the cost model counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Energy {
    /// One INT8 multiplication and addition, pJ.
    pub mac_pj: Fact,
    /// One byte read from or written to a lane, pJ.
    pub lane_byte_pj: Fact,
    /// One accumulator word read or written, pJ.
    pub accumulator_pj: Fact,
    /// One bit read from weight memory and shifted to its place, pJ.
    pub weight_bit_pj: Fact,
    /// Clock tree and control, as a fraction of the sum of the above.
    pub overhead: Fact,
    /// Static power, mW.
    pub static_mw: Fact,
}

/// Resources of an FPGA and what the parts of an accelerator take of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fpga {
    /// Look-up tables (with their carry logic).
    pub cells: Fact,
    /// Flip-flops.
    pub flip_flops: Fact,
    /// Hardware multipliers.
    pub multipliers: Fact,
    /// Fraction of the look-up tables that can be used before routing suffers.
    pub cell_limit: Fact,
    /// Block RAMs of each kind.
    pub memories: Vec<BlockRam>,
    /// Look-up tables a processing element takes for each bit of its partial sum.
    pub pe_cells_per_sum_bit: Fact,
    /// Flip-flops of a processing element.
    pub pe_flip_flops: Fact,
    /// A processing element that shares a hardware multiplier with its neighbour; absent if the multipliers are too
    /// narrow for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Element>,
    /// A processing element that multiplies by adders.
    pub soft: Element,
    /// Look-up tables of a row: lane address, its share of write-back and streams.
    pub row_cells: Fact,
    /// Flip-flops of a row.
    pub row_flip_flops: Fact,
    /// Look-up tables of a column: accumulation, requantization, clamp, maximum, rotation.
    pub column_cells: Fact,
    /// Flip-flops of a column.
    pub column_flip_flops: Fact,
    /// Look-up tables of sequencer, loader and host interface.
    pub base_cells: Fact,
    /// Flip-flops of sequencer, loader and host interface.
    pub base_flip_flops: Fact,
    /// Look-up tables that a processing element takes in addition where vectors share rows.
    pub combined_pe_cells: Fact,
    /// Flip-flops of a processing element in addition.
    pub combined_pe_flip_flops: Fact,
    /// Look-up tables of a row in addition.
    pub combined_row_cells: Fact,
    /// Flip-flops of a row in addition.
    pub combined_row_flip_flops: Fact,
    /// Look-up tables of a tap of the depthwise unit, in each lane.
    pub depthwise_tap_cells: Fact,
    /// Flip-flops of a tap, in each lane.
    pub depthwise_tap_flip_flops: Fact,
    /// Flip-flops of a lane for each cycle that its bytes and marks wait for the array; 0 where look-up tables shift.
    pub depthwise_wait_flip_flops: Fact,
}

/// What a processing element takes that has no multiplier of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Element {
    /// Look-up tables for each bit of its partial sum.
    pub cells_per_sum_bit: Fact,
    /// Flip-flops.
    pub flip_flops: Fact,
    /// Look-up tables in addition where vectors share rows.
    pub combined_cells: Fact,
    /// Flip-flops in addition.
    pub combined_flip_flops: Fact,
}

/// One kind of block RAM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRam {
    /// Name of the primitive.
    pub name: String,
    /// How many the device has.
    pub blocks: Fact,
    /// 2 = can be read and written in one cycle, as all generated memories require; 1 = cannot.
    pub ports: u32,
    /// Aspect ratios as `[words, bits]`.
    pub shapes: Vec<[usize; 2]>,
}

/// Areas of an ASIC process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asic {
    /// Area that the accelerator may take, mm2.
    pub area_mm2: Fact,
    /// Fraction of the standard-cell area that cells can fill.
    pub placement_density: Fact,
    /// Cell area of a processing element, um2.
    pub pe_um2: Fact,
    /// Cell area of a row, um2.
    pub row_um2: Fact,
    /// Cell area of a column, um2.
    pub column_um2: Fact,
    /// Cell area of sequencer, loader and host interface, um2.
    pub base_um2: Fact,
    /// Cell area of a processing element in addition where vectors share rows, um2.
    pub combined_pe_um2: Fact,
    /// Cell area of a row in addition, um2.
    pub combined_row_um2: Fact,
    /// Area of a memory with a read and a write port relative to the single-port macro.
    pub two_port_factor: Fact,
    /// Memory macros.
    pub macros: Vec<SramMacro>,
}

/// One memory macro of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SramMacro {
    /// Words.
    pub words: usize,
    /// Bits of a word.
    pub bits: usize,
    /// Area, mm2.
    pub area_mm2: Fact,
}

macro_rules! files {
    ($folder:literal, $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../hw-targets/", $folder, $name, ".toml")))),+]
    };
}

/// What devices of one architecture have in common: costs of the parts of an accelerator, energy of events.
const FAMILIES: [(&str, &str); 10] = files!(
    "families/",
    "ice40",
    "ecp5",
    "nexus",
    "gowin",
    "xilinx-7",
    "ultrascale-plus",
    "versal",
    "cyclone-v",
    "arria-10",
    "agilex-7",
);

/// FPGAs from small to large by vendor, then ASIC processes from coarse to fine.
const BUILTIN: [(&str, &str); 28] = files!(
    "",
    "ice40up5k",
    "ecp5-25f",
    "ecp5-45f",
    "ecp5-85f",
    "lifcl-40",
    "gw2a-18",
    "xc7z010",
    "xc7z020",
    "xc7z045",
    "xc7a35t",
    "xc7a100t",
    "zu3eg",
    "zu7ev",
    "zu9eg",
    "k26",
    "u50",
    "u250",
    "vc1902",
    "5cseba6",
    "10ax115",
    "agf014",
    "gf180",
    "sky130hd",
    "ihp-sg13g2",
    "nangate45",
    "asic-28nm",
    "asic-16nm",
    "asap7",
);

/// Names of the targets that come with Espalier.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// The target of that name that comes with Espalier.
pub fn builtin_target(name: &str) -> Option<Target> {
    let (name, text) = BUILTIN.iter().find(|(known, _)| *known == name)?;
    Some(parse_target(name, text).expect("built-in targets are tested"))
}

/// The targets that come with Espalier.
pub fn builtin_targets() -> Vec<Target> {
    builtin_names().filter_map(builtin_target).collect()
}

/// Reads a target file; `at` names it in findings.
///
/// # Errors
/// If it is not TOML, names an unknown family, has unknown or missing keys, or numbers out of their range.
pub fn parse_target(at: &str, text: &str) -> Result<Target, Diagnostics> {
    let invalid = |error: toml::de::Error| {
        let line = error.span().map_or_else(|| line_of(text, error.message()), |span| line_at(text, span.start));
        let place = line.map_or_else(String::new, |line| format!(", line {line}"));
        Diagnostic::error("invalid-target", format!("target '{at}'{place}"), error.message().to_owned()).with_help(
            "every number is a table { value, source, confidence = \"datasheet\", \"measured\" or \"assumed\" }",
        )
    };
    let file: toml::Table = text.parse().map_err(invalid)?;
    let target: Target = match file.get("family").and_then(toml::Value::as_str) {
        Some(family) => with_family(at, &file, family)?.try_into().map_err(invalid)?,
        None => toml::from_str(text).map_err(invalid)?,
    };
    let mut findings = Diagnostics::new();
    check(at, &target, &mut findings);
    let accelerator = &target.accelerator;
    for bad in
        [accelerator.validate(), crate::check_multiplier(&target, accelerator)].into_iter().filter_map(Result::err)
    {
        findings.extend(bad);
    }
    findings.into_result(target)
}

/// The keys of a file over those of its family.
fn with_family(at: &str, file: &toml::Table, family: &str) -> Result<toml::Table, Diagnostics> {
    let Some((_, text)) = FAMILIES.iter().find(|(name, _)| *name == family) else {
        let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
        let message = format!("there is no family '{family}'");
        return Err(Diagnostic::error("invalid-target", format!("target '{at}', key 'family'"), message)
            .with_help(format!("known are {}; without a family a file has all keys itself", known.join(", ")))
            .into());
    };
    let mut merged: toml::Table = text.parse().expect("families are tested");
    for (key, value) in file {
        match (merged.get_mut(key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(own)) => section.extend(own.clone()),
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(merged)
}

/// Line, from 1, of a byte.
fn line_at(text: &str, byte: usize) -> Option<usize> {
    Some(text.get(..byte)?.matches('\n').count() + 1)
}

/// Line of the key that a message without a place names first, between backticks.
fn line_of(text: &str, message: &str) -> Option<usize> {
    let key = message.split('`').nth(1)?;
    let names =
        |line: &str| line.trim_start_matches('[').trim_end_matches(']').split('=').next().map(str::trim) == Some(key);
    text.lines().position(names).map(|line| line + 1)
}

fn check(at: &str, target: &Target, findings: &mut Diagnostics) {
    for (key, fact) in target.facts() {
        let mut report = |message: String, help: &str| {
            let at = format!("target '{at}', key '{key}'");
            findings.push(Diagnostic::error("invalid-target", at, message).with_help(help));
        };
        if !fact.value.is_finite() || fact.value < 0.0 {
            report(format!("{} is not a number from 0", fact.value), "give the value in the unit of the key");
        }
        if fact.source.trim().is_empty() {
            report("the source is empty".to_owned(), "name the document or measurement that the number comes from");
        }
    }
    if target.clock_mhz.value == 0.0 {
        findings.push(Diagnostic::error("invalid-target", format!("target '{at}'"), "the clock stands still"));
    }
    if target.fpga.is_some() == target.asic.is_some() {
        findings.push(
            Diagnostic::error("invalid-target", format!("target '{at}'"), "needs either [fpga] or [asic]")
                .with_help("describe the resources of one device"),
        );
    }
    let shapes = target.fpga.iter().flat_map(|f| &f.memories).flat_map(|m| &m.shapes).copied();
    let macros = target.asic.iter().flat_map(|a| &a.macros).map(|m| [m.words, m.bits]);
    if shapes.chain(macros).any(|[words, bits]| words == 0 || bits == 0) {
        findings.push(Diagnostic::error("invalid-target", format!("target '{at}'"), "a memory has no words or bits"));
    }
    let usable_fpga = target.fpga.iter().all(|f| f.memories.iter().any(|m| m.ports >= 2 && !m.shapes.is_empty()));
    let usable_asic = target.asic.iter().all(|a| !a.macros.is_empty());
    if !usable_fpga || !usable_asic {
        findings.push(
            Diagnostic::error("invalid-target", format!("target '{at}'"), "has no memory with two ports")
                .with_help("list at least one block RAM with ports = 2, or one macro"),
        );
    }
}

impl Target {
    /// Every number of the target with its key.
    pub fn facts(&self) -> Vec<(String, &Fact)> {
        let e = &self.energy;
        let mut facts = vec![
            ("clock_mhz".to_owned(), &self.clock_mhz),
            ("energy.mac_pj".to_owned(), &e.mac_pj),
            ("energy.lane_byte_pj".to_owned(), &e.lane_byte_pj),
            ("energy.accumulator_pj".to_owned(), &e.accumulator_pj),
            ("energy.weight_bit_pj".to_owned(), &e.weight_bit_pj),
            ("energy.overhead".to_owned(), &e.overhead),
            ("energy.static_mw".to_owned(), &e.static_mw),
        ];
        if let Some(f) = &self.fpga {
            let named = [
                ("cells", &f.cells),
                ("flip_flops", &f.flip_flops),
                ("multipliers", &f.multipliers),
                ("cell_limit", &f.cell_limit),
                ("pe_cells_per_sum_bit", &f.pe_cells_per_sum_bit),
                ("pe_flip_flops", &f.pe_flip_flops),
                ("row_cells", &f.row_cells),
                ("row_flip_flops", &f.row_flip_flops),
                ("column_cells", &f.column_cells),
                ("column_flip_flops", &f.column_flip_flops),
                ("base_cells", &f.base_cells),
                ("base_flip_flops", &f.base_flip_flops),
                ("combined_pe_cells", &f.combined_pe_cells),
                ("combined_pe_flip_flops", &f.combined_pe_flip_flops),
                ("combined_row_cells", &f.combined_row_cells),
                ("combined_row_flip_flops", &f.combined_row_flip_flops),
                ("depthwise_tap_cells", &f.depthwise_tap_cells),
                ("depthwise_tap_flip_flops", &f.depthwise_tap_flip_flops),
                ("depthwise_wait_flip_flops", &f.depthwise_wait_flip_flops),
            ];
            facts.extend(named.map(|(key, fact)| (format!("fpga.{key}"), fact)));
            for (name, element) in f.packed.iter().map(|e| ("packed", e)).chain([("soft", &f.soft)]) {
                let named = [
                    ("cells_per_sum_bit", &element.cells_per_sum_bit),
                    ("flip_flops", &element.flip_flops),
                    ("combined_cells", &element.combined_cells),
                    ("combined_flip_flops", &element.combined_flip_flops),
                ];
                facts.extend(named.map(|(key, fact)| (format!("fpga.{name}.{key}"), fact)));
            }
            facts.extend(f.memories.iter().map(|m| (format!("fpga.memories '{}'", m.name), &m.blocks)));
        }
        if let Some(a) = &self.asic {
            let named = [
                ("area_mm2", &a.area_mm2),
                ("placement_density", &a.placement_density),
                ("pe_um2", &a.pe_um2),
                ("row_um2", &a.row_um2),
                ("column_um2", &a.column_um2),
                ("base_um2", &a.base_um2),
                ("combined_pe_um2", &a.combined_pe_um2),
                ("combined_row_um2", &a.combined_row_um2),
                ("two_port_factor", &a.two_port_factor),
            ];
            facts.extend(named.map(|(key, fact)| (format!("asic.{key}"), fact)));
            facts.extend(a.macros.iter().map(|m| (format!("asic.macros {}x{}", m.words, m.bits), &m.area_mm2)));
        }
        facts
    }
}
