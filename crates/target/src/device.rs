//! Devices: what they offer and what is known about their speed and energy.
//!
//! A target is a TOML file. Every number in it is a [`Fact`]: a value, where it comes from, and how
//! sure it is. Unknown keys and numbers without a source are refused.

use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, Logic, Part, calibration};
use crate::{AcceleratorConfig, parse_target};

/// How sure a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Printed in a vendor's data sheet or library.
    Datasheet,
    /// Measured with tools on a design of this kind.
    Measured,
    /// Computed by a formula whose coefficients were fitted to measurements.
    Calibrated,
    /// An engineering estimate; results that depend on it are estimates too.
    Assumed,
}

impl Confidence {
    /// Its name in files and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Confidence::Datasheet => "datasheet",
            Confidence::Measured => "measured",
            Confidence::Calibrated => "calibrated",
            Confidence::Assumed => "assumed",
        }
    }
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
    /// The true value lies between `value / within` and `value * within`; absent: what is usual for this confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
}

impl Fact {
    /// The true value lies between the value divided by this and multiplied by it.
    pub fn factor(&self) -> f64 {
        self.within.unwrap_or(match self.confidence {
            Confidence::Datasheet | Confidence::Measured => 1.1,
            Confidence::Calibrated => 1.5,
            Confidence::Assumed => 2.0,
        })
    }
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
    /// Share of the bits of activations and weights that change from one cycle to the next for which `mac_pj` holds.
    pub activity: Fact,
    /// Clock tree and control, as a fraction of the sum of the above.
    pub overhead: Fact,
    /// Static power, mW.
    pub static_mw: Fact,
    /// One byte read from or written to external memory, with its interface, pJ.
    pub external_byte_pj: Fact,
}

impl Energy {
    /// Every number with its key.
    pub fn facts(&self) -> [(&'static str, &Fact); 8] {
        [
            ("mac_pj", &self.mac_pj),
            ("lane_byte_pj", &self.lane_byte_pj),
            ("accumulator_pj", &self.accumulator_pj),
            ("weight_bit_pj", &self.weight_bit_pj),
            ("activity", &self.activity),
            ("overhead", &self.overhead),
            ("static_mw", &self.static_mw),
            ("external_byte_pj", &self.external_byte_pj),
        ]
    }
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
    /// Family of `hw-targets/calibration/` that says what the parts of an accelerator take.
    pub calibration: String,
    /// Look-up tables of this device for one of that family; absent if it is of that family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells_factor: Option<Fact>,
    /// Flip-flops likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_flops_factor: Option<Fact>,
    /// Where a logic cell holds a look-up table and a flip-flop behind it: share of the flip-flops that lie so. The others
    /// take cells of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_flip_flops: Option<Fact>,
    /// Whether two processing elements can share a multiplier, which takes one of at least 25 x 8 bits.
    #[serde(default)]
    pub packed: bool,
    /// Whether the depthwise unit multiplies by adders, since the tools use no multipliers for it.
    #[serde(default)]
    pub soft_depthwise: bool,
}

impl Fpga {
    /// What the parts of an accelerator take on the family that this device is compared with.
    pub fn calibration(&self) -> &'static Calibration {
        calibration(&self.calibration).expect("target files are checked")
    }

    /// Look-up tables and flip-flops of an accelerator.
    pub fn logic(&self, config: &AcceleratorConfig) -> Logic {
        let factor = |fact: &Option<Fact>| fact.as_ref().map_or(1.0, |f| f.value);
        let logic = self.calibration().logic(config);
        Logic {
            cells: logic.cells * factor(&self.cells_factor),
            flip_flops: logic.flip_flops * factor(&self.flip_flops_factor),
        }
    }
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
    /// Process of `hw-targets/calibration/` that says what the parts of an accelerator take, um2 of cells.
    pub calibration: String,
    /// Area of a cell of this process for one of that; absent if it is that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells_factor: Option<Fact>,
    /// Area of a memory with a read and a write port relative to the single-port macro.
    pub two_port_factor: Fact,
    /// Memory macros.
    pub macros: Vec<SramMacro>,
}

impl Asic {
    /// What the parts of an accelerator take in the process that this one is compared with.
    pub fn calibration(&self) -> &'static Calibration {
        calibration(&self.calibration).expect("target files are checked")
    }

    fn factor(&self) -> f64 {
        self.cells_factor.as_ref().map_or(1.0, |f| f.value)
    }

    /// Area of the cells of an accelerator, um2.
    pub fn cells_um2(&self, config: &AcceleratorConfig) -> f64 {
        self.calibration().logic(config).cells * self.factor()
    }

    /// Area of a flip-flop with the logic around it, um2: that of the sequencer and its neighbours, for parts that were not
    /// synthesized in this process.
    pub(crate) fn um2_per_flip_flop(&self) -> f64 {
        let base = self.calibration().parts.get(&Part::Base).copied().unwrap_or_default();
        base.cells / base.flip_flops.max(1.0) * self.factor()
    }
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

impl SramMacro {
    /// `WORDSxBITS`, as its wrapper in the generated hardware is called.
    pub fn name(&self) -> String {
        format!("{}x{}", self.words, self.bits)
    }
}

macro_rules! files {
    ($folder:literal, $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../hw-targets/", $folder, $name, ".toml")))),+]
    };
}
pub(crate) use files;

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

impl Target {
    /// Every number of the target with its key.
    pub fn facts(&self) -> Vec<(String, &Fact)> {
        let mut facts = vec![("clock_mhz".to_owned(), &self.clock_mhz)];
        facts.extend(self.energy.facts().map(|(key, fact)| (format!("energy.{key}"), fact)));
        if let Some(f) = &self.fpga {
            let named = [
                ("cells", &f.cells),
                ("flip_flops", &f.flip_flops),
                ("multipliers", &f.multipliers),
                ("cell_limit", &f.cell_limit),
            ];
            facts.extend(named.map(|(key, fact)| (format!("fpga.{key}"), fact)));
            let factors = [
                ("cells_factor", &f.cells_factor),
                ("flip_flops_factor", &f.flip_flops_factor),
                ("shared_flip_flops", &f.shared_flip_flops),
            ];
            facts.extend(factors.into_iter().filter_map(|(key, fact)| Some((format!("fpga.{key}"), fact.as_ref()?))));
            facts.extend(f.memories.iter().map(|m| (format!("fpga.memories '{}'", m.name), &m.blocks)));
        }
        if let Some(a) = &self.asic {
            let named = [
                ("area_mm2", &a.area_mm2),
                ("placement_density", &a.placement_density),
                ("two_port_factor", &a.two_port_factor),
            ];
            facts.extend(named.map(|(key, fact)| (format!("asic.{key}"), fact)));
            facts.extend(a.cells_factor.iter().map(|fact| ("asic.cells_factor".to_owned(), fact)));
            facts.extend(a.macros.iter().map(|m| (format!("asic.macros {}x{}", m.words, m.bits), &m.area_mm2)));
        }
        facts
    }
}
