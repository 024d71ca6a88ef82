//! Resources that an accelerator takes on a target.
//!
//! Logic is a linear formula over the parts of an accelerator, whose coefficients are fitted to syntheses ([`crate::parts`]). Memories are packed exactly: `espalier_ram.sv` cuts every memory into slices, and a
//! slice takes the fewest blocks over all aspect ratios.

use serde::{Deserialize, Serialize};

use crate::calibration::held_out;
use crate::device::{Asic, BlockRam, Confidence, Fact, Fpga, SramMacro};
use crate::table::TABLE_ENTRIES;
use crate::{AcceleratorConfig, SpillMemory, Target};

/// Use of one kind of resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceUse {
    /// Name, such as `logic cells` or a block RAM primitive.
    pub name: String,
    /// Amount taken.
    pub used: f64,
    /// Amount that the target has.
    pub available: f64,
    /// Fraction of it that may be used.
    pub limit: f64,
    /// How sure the amount is.
    #[serde(default = "assumed")]
    pub confidence: Confidence,
    /// Largest relative error against syntheses that were not used for the fit; absent if the family was not synthesized.
    #[serde(default)]
    pub worst_error: Option<f64>,
}

fn assumed() -> Confidence {
    Confidence::Assumed
}

impl ResourceUse {
    /// Fraction taken; 0.5 is half.
    pub fn fill(&self) -> f64 {
        if self.available > 0.0 {
            self.used / self.available
        } else if self.used > 0.0 {
            f64::INFINITY
        } else {
            0.0
        }
    }

    /// True if it stays within the limit.
    pub fn fits(&self) -> bool {
        self.used <= self.available * self.limit
    }

    /// What is taken and what there is, to be read: whole numbers, of areas thousandths.
    pub fn amounts(&self) -> [String; 2] {
        let unit = if self.name.ends_with("mm2") { 1000.0 } else { 1.0 };
        [self.used, self.available].map(|amount| ((amount * unit).round() / unit).to_string())
    }

    /// "5 of 4 multipliers".
    pub fn taken(&self) -> String {
        let [used, available] = self.amounts();
        format!("{used} of {available} {}", self.name)
    }
}

/// Resources of one accelerator on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// One entry for each kind.
    pub uses: Vec<ResourceUse>,
    /// True if every kind stays within its limit.
    pub fits: bool,
}

/// Name of the logic cells that look-up tables and flip-flops take together, where a cell holds one of each.
pub const PACKED_CELLS: &str = "packed logic cells";

/// One memory of the accelerator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What it holds.
    pub name: &'static str,
    /// How many of them there are.
    pub count: usize,
    /// Words of each.
    pub words: usize,
    /// Bits of a word.
    pub bits: usize,
}

/// The memories of a configuration; depths that are absent count as one word.
pub fn memories(config: &AcceleratorConfig) -> Vec<Memory> {
    let memory = |name, count, words, bits| Memory { name, count, words, bits };
    // Synthesis removes the bits of row offsets that no lane address has.
    let address_bits = config.lane_bytes.next_power_of_two().trailing_zeros() as usize;
    let weight_bits = weight_bits(config, address_bits);
    // One is loaded while results pass the other.
    let tables = config.activation_tables.then(|| memory("tables", config.cols, 2 * TABLE_ENTRIES, 8));
    let others = [
        // A second read port is a second copy.
        memory("lanes", config.clusters * config.rows * config.combine, config.lane_bytes, 8),
        memory(
            "accumulators",
            config.clusters * 2 * config.cols,
            config.accumulator_pixels,
            config.accumulator_bits as usize,
        ),
        memory("weights", 1, config.weight_words.unwrap_or(1), weight_bits),
        memory("program", 1, config.program_instructions.unwrap_or(1) * 8, 32),
    ];
    others.into_iter().chain(tables).collect()
}

/// Bits of a weight word that synthesis keeps: whole slices, where at least one bit is used.
fn weight_bits(config: &AcceleratorConfig, address_bits: usize) -> usize {
    if config.combine == 1 {
        // Only the upper bits of the row offset are unused, and these are the last of the word.
        return config.cols * 8 + address_bits;
    }
    let slice = slice_bits(config.weight_words.unwrap_or(1));
    used_weight_slices(config, address_bits, slice) * slice
}

/// Slices of so many bits of a weight word that hold at least one bit that is used: row offsets have as many as a lane address.
fn used_weight_slices(config: &AcceleratorConfig, address_bits: usize, slice: usize) -> usize {
    let second = config.cols * 8 + 16;
    let select = second + 16;
    let used = |bit: usize| {
        let of_second = (second..second + address_bits).contains(&bit) || (select..select + config.cols).contains(&bit);
        bit < config.cols * 8 + address_bits || (config.combine > 1 && of_second)
    };
    (0..(select + config.cols).div_ceil(slice)).filter(|s| (s * slice..(s + 1) * slice).any(used)).count()
}

/// Estimates what a configuration takes; resolve its memory depths first.
pub fn resources(target: &Target, config: &AcceleratorConfig) -> Resources {
    let uses = match (&target.fpga, &target.asic) {
        (Some(fpga), _) => fpga_uses(fpga, config),
        (_, Some(asic)) => asic_uses(asic, config),
        _ => Vec::new(),
    };
    Resources { fits: uses.iter().all(ResourceUse::fits), uses }
}

fn fpga_uses(fpga: &Fpga, config: &AcceleratorConfig) -> Vec<ResourceUse> {
    let mut logic = fpga.logic(config);
    if let Some(memory) = config.spill_memory() {
        let (cells, flip_flops) = spill_logic(memory, config.rows);
        logic.cells += cells;
        logic.flip_flops += flip_flops;
    }
    let taps = if fpga.soft_depthwise { 0 } else { config.clusters * config.rows * config.depthwise_taps };
    let multipliers = (config.hardware_multipliers() + taps) as f64;
    let accuracy = held_out(&fpga.calibration);
    let own = fpga.cells_factor.is_none() && fpga.flip_flops_factor.is_none();
    let confidence = if own { Confidence::Calibrated } else { Confidence::Assumed };
    let entry = |name: &str, used: f64, available: &Fact, error: f64| ResourceUse {
        name: name.to_owned(),
        used: used.round(),
        available: available.value,
        limit: 1.0,
        confidence,
        worst_error: own.then_some(error),
    };
    let cells = entry("logic cells", logic.cells, &fpga.cells, accuracy.worst.cells);
    let mut uses = vec![
        ResourceUse { limit: fpga.cell_limit.value, ..cells },
        entry("flip-flops", logic.flip_flops, &fpga.flip_flops, accuracy.worst.flip_flops),
        entry("multipliers", multipliers, &fpga.multipliers, 0.0),
    ];
    if let Some(shared) = &fpga.shared_flip_flops {
        let packed = logic.cells + (1.0 - shared.value) * logic.flip_flops;
        // Packing was measured for three designs only: no error is claimed.
        uses.push(ResourceUse { worst_error: None, ..entry(PACKED_CELLS, packed, &fpga.cells, 0.0) });
    }
    uses.extend(block_rams(fpga, config).into_iter().map(|(kind, used)| entry(&kind.name, used, &kind.blocks, 0.0)));
    uses
}

/// Look-up tables and flip-flops that move tensors to external memory and back: requests, counters, two registers of a word,
/// and the second output register of every lane. From the synthesis of three sizes for 7 series; other families are taken to
/// need as much.
fn spill_logic(memory: SpillMemory, rows: usize) -> (f64, f64) {
    let (word, port) = ((memory.bytes_per_cycle * memory.beats_per_word) as f64, memory.bytes_per_cycle as f64);
    (440.0 + rows as f64, 411.0 + 8.0 * (2.0 * word - port) + 8.0 * rows as f64)
}

/// Packs every memory into the two-port kind that takes the smallest share of its blocks; weights into single-port blocks
/// where there are some, as the flow of those devices does.
fn block_rams<'a>(fpga: &'a Fpga, config: &AcceleratorConfig) -> Vec<(&'a BlockRam, f64)> {
    let mut used = vec![0usize; fpga.memories.len()];
    let single_port = fpga.memories.iter().position(|kind| kind.ports == 1);
    for memory in memories(config) {
        if let (Some(kind), "weights", None) = (single_port, memory.name, config.external()) {
            used[kind] += whole_blocks(memory.words, config.weight_word_bits(), &fpga.memories[kind].shapes);
            continue;
        }
        let best = (0..used.len())
            .filter(|k| fpga.memories[*k].ports >= 2)
            .map(|k| (k, memory.count * blocks(memory.words, memory.bits, &fpga.memories[k].shapes)))
            .min_by(|a, b| {
                let share = |(k, n): &(usize, usize)| (used[*k] + n) as f64 / fpga.memories[*k].blocks.value.max(1.0);
                share(a).total_cmp(&share(b))
            });
        if let Some((kind, n)) = best {
            used[kind] += n;
        }
    }
    let two_ports = fpga.memories.iter().position(|kind| kind.ports >= 2);
    if let (Some(_), Some(kind)) = (single_port, two_ports) {
        let of = |(words, bits): (usize, usize)| whole_blocks(words, bits, &fpga.memories[kind].shapes);
        used[kind] += compact_memories(config).into_iter().map(of).sum::<usize>();
    }
    fpga.memories.iter().zip(used).map(|(kind, used)| (kind, used as f64)).collect()
}

/// Words and bits of the memories that take the place of registers in the flow of small devices: what the drain knows of two
/// instructions, addresses, rotations and instructions on their way to the write-back (`Compact` of `espalier_drain.sv`), and
/// the output stream.
fn compact_memories(config: &AcceleratorConfig) -> [(usize, usize); 3] {
    let bits = |words: usize| words.next_power_of_two().trailing_zeros() as usize;
    let address = bits(config.lane_bytes) + bits(config.program_instructions.unwrap_or(1));
    // The search for the class looks at the end of a packet.
    [(2, 129), (16, address + 13), (8, 8 * config.rows + usize::from(config.argmax))]
}

/// Blocks that hold `words` x `bits` without slices.
fn whole_blocks(words: usize, bits: usize, shapes: &[[usize; 2]]) -> usize {
    shapes.iter().map(|[w, b]| words.div_ceil(*w) * bits.div_ceil(*b)).min().unwrap_or(0)
}

/// Blocks that hold `words` x `bits`: each slice takes the fewest of one aspect ratio.
pub(crate) fn blocks(words: usize, bits: usize, shapes: &[[usize; 2]]) -> usize {
    let fewest = |bits: usize| {
        shapes.iter().map(|[w, b]| words.div_ceil(*w) * bits.div_ceil(*b)).min().unwrap_or(usize::MAX / 1024)
    };
    let slice = slice_bits(words);
    let rest = bits % slice;
    (bits / slice).saturating_mul(fewest(slice)) + if rest == 0 { 0 } else { fewest(rest) }
}

/// Bits of the slices that `espalier_ram.sv` cuts a memory of so many words into.
fn slice_bits(words: usize) -> usize {
    match words {
        0..=512 => 36,
        513..=1024 => 18,
        1025..=2048 => 9,
        2049..=4096 => 4,
        4097..=8192 => 2,
        _ => 1,
    }
}

/// Bits up to which `espalier_ram_macros.sv` makes a memory of registers.
const MOST_REGISTER_BITS: usize = 512;

fn asic_uses(asic: &Asic, config: &AcceleratorConfig) -> Vec<ResourceUse> {
    let mut cells_um2 = asic.cells_um2(config);
    if let Some(memory) = config.spill_memory() {
        cells_um2 += spill_logic(memory, config.rows).1 * asic.um2_per_flip_flop();
    }
    let (small, large): (Vec<_>, Vec<_>) =
        memories(config).into_iter().partition(|m| m.words * m.bits <= MOST_REGISTER_BITS);
    let register_bits: usize = small.iter().map(|m| m.count * m.words * m.bits).sum();
    cells_um2 += register_bits as f64 * asic.um2_per_flip_flop();
    let logic = cells_um2 / 1e6 / asic.placement_density.value.max(0.01);
    let macros: f64 = large.iter().map(|m| m.count as f64 * macro_area(asic, config, m)).sum();
    let memory = macros * asic.two_port_factor.value;
    let available = asic.area_mm2.value;
    let own = asic.cells_factor.is_none();
    let calibrated = ResourceUse {
        name: "logic area mm2".to_owned(),
        used: logic,
        available,
        limit: 1.0,
        confidence: if own { Confidence::Calibrated } else { Confidence::Assumed },
        worst_error: own.then(|| held_out(&asic.calibration).worst.cells),
    };
    let assumed = |name: &str, used| ResourceUse {
        name: name.to_owned(),
        used,
        confidence: Confidence::Assumed,
        worst_error: None,
        ..calibrated.clone()
    };
    let others = [assumed("memory area mm2", memory), assumed("total area mm2", logic + memory)];
    [calibrated].into_iter().chain(others).collect()
}

/// Area of the macros that hold a memory, mm2: those of the kind of which the whole word takes least, without those that hold
/// no bit that is used.
fn macro_area(asic: &Asic, config: &AcceleratorConfig, memory: &Memory) -> f64 {
    let weights = memory.name == "weights";
    let bits = if weights { config.weight_word_bits() } else { memory.bits };
    let area = |m: &&SramMacro, slices: usize| (memory.words.div_ceil(m.words) * slices) as f64 * m.area_mm2.value;
    let whole = |m: &&SramMacro| area(m, bits.div_ceil(m.bits));
    let Some(kind) = asic.macros.iter().min_by(|a, b| whole(a).total_cmp(&whole(b))) else { return f64::INFINITY };
    let address_bits = config.lane_bytes.next_power_of_two().trailing_zeros() as usize;
    let slices = if weights { used_weight_slices(config, address_bits, kind.bits) } else { bits.div_ceil(kind.bits) };
    area(&kind, slices)
}
