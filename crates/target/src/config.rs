//! The parameters of one accelerator instance.

use espalier_ir::{ArrayOp, Diagnostic, Diagnostics, Graph, array_layers, unrolled};
use serde::{Deserialize, Serialize};

use crate::Multiplier;
use crate::external::{ActivationStore, BURST_BEATS, ExternalMemory, SpillMemory, WeightSource};

/// Largest extent of the array on either axis.
pub const MAX_SIDE: usize = 32;
/// Fewest rows of the array: a pixel may come again after as many cycles.
pub const MIN_SIDE: usize = 4;
/// Fewest columns of the array, for devices with few cells.
pub const MIN_COLS: usize = 2;
/// Largest depth of a lane: addresses have 16 bits.
pub const MAX_LANE_BYTES: usize = 1 << 16;
/// Most pixels of one pass.
pub const MAX_ACCUMULATOR_PIXELS: usize = 4096;
/// Fewest pixels of one pass that the accumulators must hold.
pub const MIN_ACCUMULATOR_PIXELS: usize = 16;
/// Most words of weight memory: addresses have 24 bits.
pub const MAX_WEIGHT_WORDS: usize = 1 << 24;
/// Most instructions of a program.
pub const MAX_PROGRAM_INSTRUCTIONS: usize = 1 << 16;
/// Largest value of a counter field (`nx`, `ny`) of an instruction.
pub const MAX_COUNT: usize = 4095;
/// Most weight tiles of a block.
pub const MAX_TILES: u32 = (1 << 15) - 1;
/// Largest pooling window on either axis.
pub const MAX_WINDOW: usize = 15;

/// Most multipliers a lane of the depthwise unit.
pub const MAX_DEPTHWISE_TAPS: usize = 8;

/// Most arrays side by side.
pub const MAX_CLUSTERS: usize = 8;

/// Beats of computed factors that wait for the depthwise unit.
pub const GATE_QUEUE: usize = 16;

/// Longest latency of external memory that the cycle model takes.
pub const MAX_MEMORY_LATENCY: usize = 1 << 16;

/// Words behind the weights of a block: four bytes of bias and the shift of every column.
pub const PARAMETER_WORDS: usize = 5;

/// One accelerator instance: array size and memory depths. Two equal configurations generate the same hardware.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceleratorConfig {
    /// Rows of the array = activation lanes = input channels a cycle, 4 to 32.
    pub rows: usize,
    /// Columns of the array = output channels a cycle, 2 to 32.
    pub cols: usize,
    /// Depth of one activation lane in bytes, at most 65536.
    pub lane_bytes: usize,
    /// Pixels that one accumulator bank holds, 16 to 4096.
    pub accumulator_pixels: usize,
    /// Width of an accumulator, 20 to 32 bits.
    #[serde(default = "default_accumulator_bits")]
    pub accumulator_bits: u32,
    /// Weight vectors that share a row of a tile, each column taking a weight of one of them: 1 or 2. With 2
    /// the lanes are read twice a cycle.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub combine: usize,
    /// Arrays that compute neighbouring rows of outputs side by side: 1, 2, 4 or 8. Each has lanes, which all hold the
    /// same bytes, accumulators and a depthwise unit of its own; weights and write-back serve all of them.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub clusters: usize,
    /// What forms the products.
    #[serde(default, skip_serializing_if = "Multiplier::is_plain")]
    pub multiplier: Multiplier,
    /// Hardware multipliers that the arrays may take; columns beyond multiply by adders. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_multipliers: Option<usize>,
    /// Multipliers a lane of the depthwise unit, which computes as many horizontal taps a pass; 0 = no unit, else 2
    /// to 8, at most `rows`, with `rows <= cols`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depthwise_taps: usize,
    /// Whether write-back has tables: functions of single values (sigmoid, SiLU, hard-swish, leaky ReLU and others).
    #[serde(default, skip_serializing_if = "is_false")]
    pub activation_tables: bool,
    /// Whether the depthwise unit can take computed factors of channels for its weights (squeeze and excitation).
    #[serde(default, skip_serializing_if = "is_false")]
    pub gates: bool,
    /// Whether the depthwise unit can add several products and keep sums of 16 bits: what LSTM and GRU carry from step to
    /// step. Wants `gates`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub states: bool,
    /// Whether a register holds the index of the largest output, the class.
    #[serde(default, skip_serializing_if = "is_false")]
    pub argmax: bool,
    /// Where the weights are while a program runs.
    #[serde(default, skip_serializing_if = "WeightSource::is_on_chip")]
    pub weights: WeightSource,
    /// Where tensors are that the lanes do not hold.
    #[serde(default, skip_serializing_if = "ActivationStore::is_on_chip")]
    pub activations: ActivationStore,
    /// Bytes that external memory delivers or takes a cycle = width of each of its ports, a power of two; absent: 8, or 4
    /// where a weight word has fewer bytes. Only with streamed weights or spilled activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_per_cycle: Option<usize>,
    /// Cycles from a read request to its first beat that the cycle model assumes; absent: 64. Only with streamed weights or
    /// spilled activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_latency_cycles: Option<usize>,
    /// Words of the weight memory; absent: the smallest power of two that holds the program. With streamed weights the
    /// words of the ring that they pass through; absent: 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_words: Option<usize>,
    /// Instructions of the program memory; absent: the smallest power of two that holds the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_instructions: Option<usize>,
}

fn default_accumulator_bits() -> u32 {
    32
}

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl AcceleratorConfig {
    /// A configuration with one vector a row, 32-bit accumulators and memories as deep as the program needs.
    pub fn new(rows: usize, cols: usize, lane_bytes: usize, accumulator_pixels: usize) -> Self {
        AcceleratorConfig {
            rows,
            cols,
            lane_bytes,
            accumulator_pixels,
            accumulator_bits: default_accumulator_bits(),
            combine: 1,
            clusters: 1,
            multiplier: Multiplier::Plain,
            max_multipliers: None,
            depthwise_taps: 0,
            activation_tables: false,
            gates: false,
            states: false,
            argmax: false,
            weights: WeightSource::OnChip,
            activations: ActivationStore::OnChip,
            memory_bytes_per_cycle: None,
            memory_latency_cycles: None,
            weight_words: None,
            program_instructions: None,
        }
    }

    /// Rows and columns as people write them, with the clusters if there are several: "16 x 24", "4 times 16 x 24".
    pub fn array_text(&self) -> String {
        let clusters = if self.clusters > 1 { format!("{} times ", self.clusters) } else { String::new() };
        format!("{clusters}{} x {}", self.rows, self.cols)
    }

    /// Multiply-accumulate operations a cycle at full load.
    pub fn macs_per_cycle(&self) -> usize {
        self.rows * self.cols * self.clusters
    }

    /// Bits of a partial sum on its way down a column: 15 for one product of weights in
    /// -127..=127, and one for each doubling of the rows.
    pub fn partial_sum_bits(&self) -> u32 {
        15 + self.rows.next_power_of_two().trailing_zeros()
    }

    /// Bits of one word of the weight memory: a weight for each column and a row offset; with
    /// `combine = 2` also a second row offset and a select bit for each column, in whole bytes.
    pub fn weight_word_bits(&self) -> usize {
        let second = if self.combine > 1 { 16 + self.cols.div_ceil(8) * 8 } else { 0 };
        self.cols * 8 + 16 + second
    }

    /// The configuration with absent memory depths replaced by the smallest power of two that holds
    /// a program of so many weight words and instructions; the depth of a ring for streamed weights does not depend on
    /// them. Depths that are given stay, even if too small.
    #[must_use]
    pub fn with_depths_for(&self, weight_words: usize, instructions: usize) -> Self {
        let words = match self.external() {
            None => weight_words.max(16).next_power_of_two(),
            Some(memory) => memory.ring_words,
        };
        AcceleratorConfig {
            weight_words: self.weight_words.or(Some(words)),
            program_instructions: self.program_instructions.or(Some(instructions.max(2).next_power_of_two())),
            ..self.clone()
        }
    }

    /// The configuration with the units that a network cannot do without: tables of write-back for functions of single
    /// values; gates for products, with a depthwise unit of two taps where there is none; 16-bit states.
    ///
    /// # Errors
    /// What the accelerator cannot execute.
    pub fn with_units_for(&self, graph: &Graph) -> Result<Self, Diagnostics> {
        let layers = array_layers(&*unrolled(graph)?)?;
        let activation_tables = self.activation_tables || layers.iter().any(|l| l.curve.is_some());
        // With fewer columns than rows there is no unit for them, which the check of the layers says best.
        let any = |wanted: fn(&ArrayOp) -> bool| layers.iter().any(|l| wanted(&l.op)) && self.rows <= self.cols;
        let states = self.states || any(|op| matches!(op, ArrayOp::Products));
        let gates = self.gates || states || any(|op| matches!(op, ArrayOp::Gate));
        let depthwise_taps = if gates { self.depthwise_taps.max(2) } else { self.depthwise_taps };
        Ok(AcceleratorConfig { activation_tables, gates, states, depthwise_taps, ..self.clone() })
    }

    /// The memory that weights are streamed from; `None` if they are on the chip.
    pub fn external(&self) -> Option<ExternalMemory> {
        (self.weights == WeightSource::Streamed).then(|| ExternalMemory::new(self))
    }

    /// The memory that tensors are spilled to; `None` if all of them must fit the lanes.
    pub fn spill_memory(&self) -> Option<SpillMemory> {
        (self.activations == ActivationStore::Spilled).then(|| SpillMemory::new(self))
    }

    /// Latency of external memory in cycles, 0 without any.
    pub fn memory_latency(&self) -> usize {
        let weights = self.external().map(|memory| memory.latency_cycles);
        weights.or(self.spill_memory().map(|memory| memory.latency_cycles)).unwrap_or(0)
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// One finding for each field out of its bounds.
    pub fn validate(&self) -> Result<(), Diagnostics> {
        let mut findings = Diagnostics::new();
        let mut check = |field: &str, value: usize, low: usize, high: usize| {
            if !(low..=high).contains(&value) {
                findings.push(
                    Diagnostic::error(
                        "invalid-accelerator",
                        format!("accelerator key '{field}'"),
                        format!("{value} is not between {low} and {high}"),
                    )
                    .with_help(format!("set '{field}' to a value from {low} to {high}")),
                );
            }
        };
        check("rows", self.rows, MIN_SIDE, MAX_SIDE);
        check("cols", self.cols, MIN_COLS, MAX_SIDE);
        check("lane_bytes", self.lane_bytes, 16, MAX_LANE_BYTES);
        check("accumulator_pixels", self.accumulator_pixels, MIN_ACCUMULATOR_PIXELS, MAX_ACCUMULATOR_PIXELS);
        check("accumulator_bits", self.accumulator_bits as usize, 20, 32);
        check("combine", self.combine, 1, 2);
        check("clusters", self.clusters, 1, MAX_CLUSTERS);
        if self.depthwise_taps != 0 {
            check("depthwise_taps", self.depthwise_taps, 2, MAX_DEPTHWISE_TAPS.min(self.rows));
            check("cols", self.cols, self.rows.max(MIN_SIDE), MAX_SIDE);
        }
        if self.gates {
            check("depthwise_taps", self.depthwise_taps, 2, MAX_DEPTHWISE_TAPS.min(self.rows));
        }
        if let Some(words) = self.weight_words {
            check("weight_words", words, 16, MAX_WEIGHT_WORDS);
        }
        if let Some(memory) = self.external() {
            check("memory_bytes_per_cycle", memory.bytes_per_cycle, 4, memory.word_bytes);
            check("memory_latency_cycles", memory.latency_cycles, 1, MAX_MEMORY_LATENCY);
            let burst_words = (BURST_BEATS * memory.bytes_per_cycle).div_ceil(memory.word_bytes);
            check("weight_words", memory.ring_words, 2 * (burst_words + 1), MAX_WEIGHT_WORDS);
        }
        if let Some(memory) = self.spill_memory() {
            check("memory_bytes_per_cycle", memory.bytes_per_cycle, 4, MAX_SIDE);
            check("memory_latency_cycles", memory.latency_cycles, 1, MAX_MEMORY_LATENCY);
        }
        if let Some(instructions) = self.program_instructions {
            check("program_instructions", instructions, 2, MAX_PROGRAM_INSTRUCTIONS);
        }
        if self.states && !self.gates {
            findings.push(
                Diagnostic::error("invalid-accelerator", "accelerator key 'states'", "states are formed with gates")
                    .with_help("set 'gates' to true"),
            );
        }
        if (1..MAX_CLUSTERS).contains(&self.clusters) && !self.clusters.is_power_of_two() {
            let message = format!("{} is no power of two", self.clusters);
            findings.push(
                Diagnostic::error("invalid-accelerator", "accelerator key 'clusters'", message)
                    .with_help("set 'clusters' to 1, 2, 4 or 8"),
            );
        }
        findings.extend(crate::external::check(self));
        findings.into_result(())
    }
}
