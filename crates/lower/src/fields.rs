//! The table of instruction fields: from it come the encoding, the documentation and the constants of
//! the hardware.

use serde::Serialize;

/// 32-bit words of one instruction.
pub const INSTRUCTION_WORDS: usize = 8;

/// What an instruction does; the value is the code in the lowest bits of word 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Opcode {
    /// Waits until everything is idle, then raises `done`.
    End = 0,
    /// Streams pixels through weight tiles and writes one block of output channels.
    Conv = 1,
    /// Writes one value into a rectangle of all lanes.
    Fill = 2,
    /// Takes a rectangle from the input stream.
    Load = 3,
    /// Sends a rectangle to the output stream.
    Store = 4,
    /// Writes runs of lane addresses to external memory.
    Save = 5,
    /// Reads them back.
    Restore = 6,
}

impl Opcode {
    /// All opcodes, in the order of their codes.
    pub const ALL: [Opcode; 7] =
        [Opcode::End, Opcode::Conv, Opcode::Fill, Opcode::Load, Opcode::Store, Opcode::Save, Opcode::Restore];

    /// The mnemonic.
    pub fn name(self) -> &'static str {
        ["END", "CONV", "FILL", "LOAD", "STORE", "SAVE", "RESTORE"][self as usize]
    }
}

/// Place and meaning of one field of an instruction. Bits that no field of an opcode covers are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Name in lower snake case, as in the hardware package.
    pub name: &'static str,
    /// Word of the instruction, 0..8.
    pub word: u8,
    /// Highest bit in that word.
    pub hi: u8,
    /// Lowest bit in that word.
    pub lo: u8,
    /// Two's complement instead of unsigned.
    pub signed: bool,
    /// Opcodes that read it.
    pub used_by: &'static [Opcode],
    /// What it says.
    pub meaning: &'static str,
}

impl Field {
    /// Number of bits.
    pub const fn width(&self) -> u32 {
        (self.hi - self.lo + 1) as u32
    }

    /// Smallest and largest value that fits.
    pub const fn range(&self) -> (i64, i64) {
        let width = self.width();
        if self.signed { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
    }

    fn mask(&self) -> u32 {
        (u32::MAX >> (32 - self.width())) << self.lo
    }

    /// Sets the field in words where it is zero.
    pub(crate) fn put(&self, words: &mut [u32; INSTRUCTION_WORDS], value: i64) -> Result<(), IsaError> {
        let (min, max) = self.range();
        if value < min || value > max {
            return Err(IsaError::OutOfRange { field: self.name, value, min, max });
        }
        // Truncation keeps the two's complement bits, which the mask cuts to the field.
        words[self.word as usize] |= ((value as u32) << self.lo) & self.mask();
        Ok(())
    }

    /// Reads the field.
    pub(crate) fn get(&self, words: &[u32; INSTRUCTION_WORDS]) -> i64 {
        let raw = i64::from((words[self.word as usize] & self.mask()) >> self.lo);
        let (_, max) = self.range();
        if raw > max { raw - (1 << self.width()) } else { raw }
    }
}

/// Why words are no instruction, or an instruction has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// A value does not fit its field, or the hardware cannot execute it.
    #[error("field '{field}' is {value}, outside {min}..={max}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// The value.
        value: i64,
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
    },
    /// No instruction has this code.
    #[error("opcode {0} does not exist")]
    UnknownOpcode(u32),
    /// A bit is set that the opcode does not read.
    #[error("{opcode} sets unused bits {bits:#010x} of word {word}")]
    UnusedBits {
        /// Mnemonic.
        opcode: &'static str,
        /// Word, 0..8.
        word: usize,
        /// The bits.
        bits: u32,
    },
}

const ALL: &[Opcode] = &Opcode::ALL;
const CONV: &[Opcode] = &[Opcode::Conv];
const READS: &[Opcode] = &[Opcode::Conv, Opcode::Store];
const WRITES: &[Opcode] = &[Opcode::Conv, Opcode::Fill, Opcode::Load, Opcode::Save, Opcode::Restore];
const AREA: &[Opcode] = &[Opcode::Conv, Opcode::Fill, Opcode::Load, Opcode::Store];
const ROWS: &[Opcode] = &[Opcode::Conv, Opcode::Fill, Opcode::Load, Opcode::Store, Opcode::Save, Opcode::Restore];
const TRANSFERS: &[Opcode] = &[Opcode::Save, Opcode::Restore];

const fn unsigned(
    name: &'static str,
    (word, hi, lo): (u8, u8, u8),
    used_by: &'static [Opcode],
    meaning: &'static str,
) -> Field {
    Field { name, word, hi, lo, signed: false, used_by, meaning }
}

const fn signed(name: &'static str, place: (u8, u8, u8), used_by: &'static [Opcode], meaning: &'static str) -> Field {
    Field { signed: true, ..unsigned(name, place, used_by, meaning) }
}

pub(crate) const OPCODE: Field = unsigned("opcode", (0, 2, 0), ALL, "operation");
pub(crate) const BARRIER: Field = unsigned(
    "barrier",
    (0, 4, 4),
    &[Opcode::Conv, Opcode::Save, Opcode::Restore],
    "1: start streaming, or moving, only when all earlier writes are in the lanes",
);
pub(crate) const WINDOW_SUM: Field = unsigned(
    "window_sum",
    (0, 5, 5),
    CONV,
    "1: sum of each pooling window instead of its maximum; not with `depthwise`",
);
pub(crate) const GATED: Field = unsigned(
    "gated",
    (0, 5, 5),
    &[Opcode::Conv, Opcode::Store],
    "CONV with `depthwise`: 1: weights of 1 stand for gates, of which each tile takes a beat; STORE: 1: the beats become gates \
     instead of output",
);
pub(crate) const SUM_SHIFT: Field = unsigned(
    "sum_shift",
    (0, 7, 6),
    CONV,
    "with `partial` = 1: sums are shifted left by 0, 2, 4 or 6 bits before they are accumulated, with `depthwise` by 0, 4, 6 \
     or 8",
);
pub(crate) const TABLE: Field = unsigned(
    "table",
    (0, 7, 6),
    CONV,
    "with `partial` = 0: results pass 0: no table, 1: the tables loaded last, 2: one that is loaded for all columns, 3: one \
     that is loaded for each column",
);
pub(crate) const DEPTHWISE: Field = unsigned(
    "depthwise",
    (0, 3, 3),
    CONV,
    "1: the depthwise unit computes instead of the array; the window is 1x1, its steps describe the stream",
);
pub(crate) const CHUNKS: Field = unsigned("chunks_m1", (0, 11, 8), CONV, "lane writes of one output, minus one");
pub(crate) const COLUMNS: Field = unsigned(
    "columns",
    (0, 17, 12),
    &[Opcode::Conv, Opcode::Load, Opcode::Store],
    "CONV: columns that hold output channels, 1..=32; LOAD: channels to replicate, 1..=4, 0 = none; STORE: lanes of the \
     packet's last beat that count for the class, 0 = no beat does",
);
pub(crate) const ROT: Field = signed("rot", (0, 23, 18), CONV, "chunk 0: lane l takes column l + rot, if there is one");
pub(crate) const PARTIAL: Field = unsigned(
    "partial",
    (0, 24, 24),
    &[Opcode::Conv, Opcode::Load, Opcode::Store],
    "CONV: 1: the sums stay in the accumulators, and the next CONV adds to them; nothing is written; LOAD, STORE: 1: the \
     packet goes on in another one, 0: TLAST comes with the last beat",
);
pub(crate) const ROT_STEP: Field = signed("rot_step", (0, 31, 25), CONV, "added to rot from chunk to chunk");
pub(crate) const TILES: Field = unsigned("tiles", (1, 14, 0), CONV, "weight tiles, at least 1");
pub(crate) const FENCE: Field =
    unsigned("fence", (1, 15, 15), CONV, "1: start streaming only when all earlier SAVEs and RESTOREs have ended");
pub(crate) const STEP_BEATS: Field =
    unsigned("step_beats", (1, 23, 0), TRANSFERS, "beats in external memory from run to run");
pub(crate) const FIRST_BEAT: Field = unsigned("first_beat", (2, 23, 0), TRANSFERS, "first beat in external memory");
pub(crate) const RUN: Field = unsigned("run", (3, 15, 0), TRANSFERS, "addresses of a run, at least 1");
pub(crate) const DST_STEP_CHUNK: Field =
    unsigned("dst_step_chunk", (1, 31, 16), CONV, "added to the write address from chunk to chunk");
pub(crate) const WEIGHT_ADDR: Field = unsigned("weight_addr", (2, 23, 0), CONV, "first weight word");
pub(crate) const ZERO_POINT: Field = signed(
    "zero_point",
    (2, 31, 24),
    &[Opcode::Conv, Opcode::Fill],
    "CONV: added after the shift; FILL: the value to write",
);
pub(crate) const SRC_BASE: Field = unsigned("src_base", (3, 15, 0), READS, "first read address");
pub(crate) const SRC_STEP_X: Field = unsigned("src_step_x", (3, 31, 16), CONV, "added from output to output in x");
pub(crate) const SRC_STEP_Y: Field = unsigned("src_step_y", (4, 15, 0), READS, "added from row to row");
pub(crate) const SRC_STEP_WX: Field = unsigned(
    "src_step_wx",
    (4, 31, 16),
    CONV,
    "added inside the pooling window, in x; with `depthwise` the bytes of a run; else with a window of one pixel what is \
     added to the write address from output to output in x, 1 to 15",
);
pub(crate) const SRC_STEP_WY: Field = unsigned(
    "src_step_wy",
    (5, 15, 0),
    CONV,
    "added inside the pooling window, in y; with `depthwise` what is dropped",
);
pub(crate) const WIDE: Field =
    unsigned("wide", (5, 13, 13), CONV, "with `depthwise`: 1: results have 16 bits and are written as two digits");
pub(crate) const SWAP_TABLES: Field = unsigned(
    "swap_tables",
    (5, 14, 14),
    CONV,
    "with `table` = 1 and a window of one pixel: 1: results pass the tables loaded before those, which count as loaded last from \
     then on",
);
pub(crate) const WIN_X: Field = unsigned("win_x", (5, 19, 16), CONV, "width of the pooling window, at least 1");
pub(crate) const WIN_Y: Field = unsigned("win_y", (5, 23, 20), CONV, "height of the pooling window, at least 1");
pub(crate) const LO: Field = signed("lo", (5, 31, 24), CONV, "lower bound of the output");
pub(crate) const NX: Field = unsigned("nx", (6, 11, 0), AREA, "outputs, or bytes a lane, in x; at least 1");
pub(crate) const NY: Field =
    unsigned("ny", (6, 23, 12), ROWS, "outputs, or bytes a lane, in y; SAVE, RESTORE: runs; at least 1");
pub(crate) const HI: Field = signed("hi", (6, 31, 24), CONV, "upper bound of the output");
pub(crate) const DST_BASE: Field =
    unsigned("dst_base", (7, 15, 0), WRITES, "first write address; SAVE: first read address");
pub(crate) const DST_STEP_Y: Field =
    unsigned("dst_step_y", (7, 31, 16), WRITES, "added to that address from row to row, or run to run");

const FIELDS: [Field; 35] = [
    OPCODE,
    DEPTHWISE,
    BARRIER,
    WINDOW_SUM,
    GATED,
    SUM_SHIFT,
    TABLE,
    CHUNKS,
    COLUMNS,
    ROT,
    PARTIAL,
    ROT_STEP,
    TILES,
    FENCE,
    STEP_BEATS,
    DST_STEP_CHUNK,
    WEIGHT_ADDR,
    FIRST_BEAT,
    ZERO_POINT,
    SRC_BASE,
    RUN,
    SRC_STEP_X,
    SRC_STEP_Y,
    SRC_STEP_WX,
    SRC_STEP_WY,
    WIDE,
    SWAP_TABLES,
    WIN_X,
    WIN_Y,
    LO,
    NX,
    NY,
    HI,
    DST_BASE,
    DST_STEP_Y,
];

/// Every field, by word and bit: the source of `docs/isa.md` and of the hardware's package.
pub fn fields() -> &'static [Field] {
    &FIELDS
}

/// Bits of each word that an opcode reads; all others are zero.
pub fn used_bits(opcode: Opcode) -> [u32; INSTRUCTION_WORDS] {
    let mut bits = [0; INSTRUCTION_WORDS];
    for field in FIELDS.iter().filter(|f| f.used_by.contains(&opcode)) {
        bits[field.word as usize] |= field.mask();
    }
    bits
}

/// Refuses bits that the opcode does not read.
pub(crate) fn check_unused(opcode: Opcode, words: &[u32; INSTRUCTION_WORDS]) -> Result<(), IsaError> {
    for (word, (value, used)) in words.iter().zip(used_bits(opcode)).enumerate() {
        if value & !used != 0 {
            return Err(IsaError::UnusedBits { opcode: opcode.name(), word, bits: value & !used });
        }
    }
    Ok(())
}

/// The table of fields as Markdown, one row a field: the body of `docs/isa.md`.
pub fn fields_markdown() -> String {
    let mut text = String::from("| word | bits | field | type | used by | meaning |\n|---|---|---|---|---|---|\n");
    for f in fields() {
        let bits = if f.hi == f.lo { f.hi.to_string() } else { format!("{}:{}", f.hi, f.lo) };
        let kind = format!("{}{}", if f.signed { "i" } else { "u" }, f.width());
        let used: Vec<&str> = if f.used_by.len() == Opcode::ALL.len() {
            vec!["all"]
        } else {
            f.used_by.iter().map(|o| o.name()).collect()
        };
        text += &format!("| {} | {bits} | `{}` | {kind} | {} | {} |\n", f.word, f.name, used.join(", "), f.meaning);
    }
    text
}
