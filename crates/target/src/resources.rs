//! Resources that an accelerator takes on a target.
//!
//! Logic is a linear formula over rows, columns and processing elements with the coefficients of the
//! target file. Memories are packed exactly: `espalier_ram.sv` cuts every memory into slices, and a
//! slice takes the fewest blocks over all aspect ratios.

use serde::{Deserialize, Serialize};

use crate::device::{Asic, Element, Fact, Fpga};
use crate::table::TABLE_ENTRIES;
use crate::{AcceleratorConfig, ExternalMemory, Multiplier, SpillMemory, Target};

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
}

/// Resources of one accelerator on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// One entry for each kind.
    pub uses: Vec<ResourceUse>,
    /// True if every kind stays within its limit.
    pub fits: bool,
}

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
        memory("lanes", config.rows * config.combine, config.lane_bytes, 8),
        memory("accumulators", 2 * config.cols, config.accumulator_pixels, config.accumulator_bits as usize),
        memory("weights", 1, config.weight_words.unwrap_or(1), weight_bits),
        memory("program", 1, config.program_instructions.unwrap_or(1) * 8, 32),
    ];
    others.into_iter().chain(tables).collect()
}

/// Bits of a weight word that synthesis keeps: whole slices, where at least one bit is used.
fn weight_bits(config: &AcceleratorConfig, address_bits: usize) -> usize {
    let weights = config.cols * 8;
    if config.combine == 1 {
        // Only the upper bits of the row offset are unused, and these are the last of the word.
        return weights + address_bits;
    }
    let second = weights + 16;
    let select = second + 16;
    let used = |bit: usize| {
        bit < weights + address_bits
            || (second..second + address_bits).contains(&bit)
            || (select..select + config.cols).contains(&bit)
    };
    let slice = slice_bits(config.weight_words.unwrap_or(1));
    let slices = (select + config.cols).div_ceil(slice);
    (0..slices).filter(|s| (s * slice..(s + 1) * slice).any(used)).count() * slice
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
    let (rows, cols) = (config.rows as f64, config.cols as f64);
    let unit = rows * config.depthwise_taps as f64;
    let waiting = if config.depthwise_taps > 0 { rows * (rows - 1.0) } else { 0.0 };
    let second = config.combine as f64 - 1.0;
    let (element_cells, element_flip_flops) = element_logic(fpga, config);
    let cells = element_cells
        + rows * (fpga.row_cells.value + second * fpga.combined_row_cells.value)
        + cols * fpga.column_cells.value
        + fpga.base_cells.value
        + unit * fpga.depthwise_tap_cells.value;
    let flip_flops = element_flip_flops
        + rows * (fpga.row_flip_flops.value + second * fpga.combined_row_flip_flops.value)
        + cols * fpga.column_flip_flops.value
        + fpga.base_flip_flops.value
        + unit * fpga.depthwise_tap_flip_flops.value
        + waiting * fpga.depthwise_wait_flip_flops.value;
    let (stream_cells, stream_flip_flops) = config.external().map_or((0.0, 0.0), stream_logic);
    let (spill_cells, spill_flip_flops) =
        config.spill_memory().map_or((0.0, 0.0), |memory| spill_logic(memory, config.rows));
    let cells = cells + stream_cells + spill_cells;
    let flip_flops = flip_flops + stream_flip_flops + spill_flip_flops;
    let multipliers = config.hardware_multipliers() as f64 + unit;
    let entry = |name: &str, used: f64, available: f64, limit: f64| ResourceUse {
        name: name.to_owned(),
        used: used.round(),
        available,
        limit,
    };
    let mut uses = vec![
        entry("logic cells", cells, fpga.cells.value, fpga.cell_limit.value),
        entry("flip-flops", flip_flops, fpga.flip_flops.value, 1.0),
        entry("multipliers", multipliers, fpga.multipliers.value, 1.0),
    ];
    uses.extend(block_rams(fpga, config));
    uses
}

/// Look-up tables and flip-flops that stream weights from external memory: a multiplexer for every bit of a word and its
/// registers, requests and counters. From the synthesis of words of 18 bytes and a port of 8 for 7 series; other families are
/// taken to need as much.
fn stream_logic(memory: ExternalMemory) -> (f64, f64) {
    let (word, port) = (memory.word_bytes as f64, memory.bytes_per_cycle as f64);
    (400.0 + 8.0 * word, 490.0 + 8.0 * (2.0 * word + port))
}

/// Look-up tables and flip-flops that move tensors to external memory and back: requests, counters, two registers of a word,
/// and the second output register of every lane. From the synthesis of three sizes for 7 series; other families are taken to
/// need as much.
fn spill_logic(memory: SpillMemory, rows: usize) -> (f64, f64) {
    let (word, port) = ((memory.bytes_per_cycle * memory.beats_per_word) as f64, memory.bytes_per_cycle as f64);
    (450.0 + rows as f64, 482.0 + 8.0 * (2.0 * word - port) + 8.0 * rows as f64)
}

/// Look-up tables and flip-flops of all processing elements: columns with hardware multipliers, plain or packed, and
/// columns of adders.
fn element_logic(fpga: &Fpga, config: &AcceleratorConfig) -> (f64, f64) {
    let sum_bits = f64::from(config.partial_sum_bits());
    let second = config.combine as f64 - 1.0;
    let of = |columns: usize, [cells_per_sum_bit, flip_flops, combined_cells, combined_flip_flops]: [&Fact; 4]| {
        let elements = (config.rows * columns) as f64;
        let cells = cells_per_sum_bit.value * sum_bits + second * combined_cells.value;
        (elements * cells, elements * (flip_flops.value + second * combined_flip_flops.value))
    };
    let hard = match (&fpga.packed, config.multiplier) {
        (Some(packed), Multiplier::Packed) => of(config.hard_cols(), facts(packed)),
        _ => of(
            config.hard_cols(),
            [&fpga.pe_cells_per_sum_bit, &fpga.pe_flip_flops, &fpga.combined_pe_cells, &fpga.combined_pe_flip_flops],
        ),
    };
    let soft = of(config.cols - config.hard_cols(), facts(&fpga.soft));
    (hard.0 + soft.0, hard.1 + soft.1)
}

fn facts(element: &Element) -> [&Fact; 4] {
    [&element.cells_per_sum_bit, &element.flip_flops, &element.combined_cells, &element.combined_flip_flops]
}

/// Packs every memory into the two-port kind that takes the smallest share of its blocks.
fn block_rams(fpga: &Fpga, config: &AcceleratorConfig) -> Vec<ResourceUse> {
    let mut used = vec![0usize; fpga.memories.len()];
    for memory in memories(config) {
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
    fpga.memories
        .iter()
        .zip(used)
        .map(|(kind, used)| ResourceUse {
            name: kind.name.clone(),
            used: used as f64,
            available: kind.blocks.value,
            limit: 1.0,
        })
        .collect()
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

fn asic_uses(asic: &Asic, config: &AcceleratorConfig) -> Vec<ResourceUse> {
    let (rows, cols) = (config.rows as f64, config.cols as f64);
    // A tap has the multiplier and the two weight registers of a processing element.
    let cells_um2 = (rows * cols + rows * config.depthwise_taps as f64) * asic.pe_um2.value
        + rows * asic.row_um2.value
        + cols * asic.column_um2.value
        + asic.base_um2.value
        + (config.combine as f64 - 1.0)
            * (rows * cols * asic.combined_pe_um2.value + rows * asic.combined_row_um2.value);
    let logic = cells_um2 / 1e6 / asic.placement_density.value.max(0.01);
    let macros: f64 = memories(config).iter().map(|m| m.count as f64 * macro_area(asic, m.words, m.bits)).sum();
    let memory = macros * asic.two_port_factor.value;
    let available = asic.area_mm2.value;
    let entry = |name: &str, used| ResourceUse { name: name.to_owned(), used, available, limit: 1.0 };
    vec![entry("logic area mm2", logic), entry("memory area mm2", memory), entry("total area mm2", logic + memory)]
}

/// Smallest area of equal macros that hold a memory, mm2.
fn macro_area(asic: &Asic, words: usize, bits: usize) -> f64 {
    let area =
        |m: &crate::device::SramMacro| (words.div_ceil(m.words) * bits.div_ceil(m.bits)) as f64 * m.area_mm2.value;
    asic.macros.iter().map(area).fold(f64::INFINITY, f64::min)
}
