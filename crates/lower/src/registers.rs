//! The table of registers: from it come the constants of the hardware's package, the headers of the drivers, the
//! IP-XACT description and `docs/registers.md`.

use std::fmt::Write;

/// Who may do what with a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Writing has no effect.
    ReadOnly,
    /// Reading and writing; what each means stands with the register.
    ReadWrite,
}

/// Some bits of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterField {
    /// Name in lower snake case.
    pub name: &'static str,
    /// Highest bit.
    pub hi: u8,
    /// Lowest bit.
    pub lo: u8,
    /// What they say.
    pub meaning: &'static str,
}

/// One 32-bit register of the host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// Name in lower snake case.
    pub name: &'static str,
    /// Byte address.
    pub offset: u32,
    /// Who may do what.
    pub access: Access,
    /// What it says as a whole.
    pub meaning: &'static str,
    /// Its parts, if it has some.
    pub fields: &'static [RegisterField],
}

/// A memory behind the host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Name in lower snake case.
    pub name: &'static str,
    /// First byte address; the upper four bits select the region.
    pub base: u32,
    /// What is there.
    pub meaning: &'static str,
}

/// A value of `error_code` in the control register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// Name in lower snake case.
    pub name: &'static str,
    /// The value.
    pub code: u8,
    /// What happened.
    pub meaning: &'static str,
}

const fn field(name: &'static str, (hi, lo): (u8, u8), meaning: &'static str) -> RegisterField {
    RegisterField { name, hi, lo, meaning }
}

const fn register(
    name: &'static str,
    offset: u32,
    access: Access,
    meaning: &'static str,
    fields: &'static [RegisterField],
) -> Register {
    Register { name, offset, access, meaning, fields }
}

const REGISTERS: [Register; 15] = [
    register(
        "control",
        0x00,
        Access::ReadWrite,
        "writing 1 starts the program",
        &[
            field("running", (0, 0), "a program runs; written as 1: start"),
            field("done", (1, 1), "it ended, or was refused, since the last start"),
            field("error", (2, 2), "`error_code` is not 0"),
            field("error_code", (11, 8), "first error of the last start"),
        ],
    ),
    register("cycles", 0x04, Access::ReadOnly, "cycles of the last run, without those in which a stream waited", &[]),
    register("stalls", 0x08, Access::ReadOnly, "cycles in which a stream waited", &[]),
    register(
        "config_hash",
        0x0c,
        Access::ReadWrite,
        "read: hash of the configuration of the hardware; written: that of the program, which begins its loading and clears \
         `checksum`",
        &[],
    ),
    register(
        "geometry",
        0x10,
        Access::ReadOnly,
        "size of the array",
        &[
            field("rows", (7, 0), "rows = bytes of a beat of the streams"),
            field("cols", (15, 8), "columns"),
            field("combine", (17, 16), "vectors that share a row"),
            field("memory_beat_bytes", (31, 24), "bytes of a beat of external memory, 0: weights are on the chip"),
        ],
    ),
    register("instruction", 0x14, Access::ReadOnly, "number of the instruction that runs or comes next", &[]),
    register(
        "interrupt",
        0x18,
        Access::ReadWrite,
        "the interrupt at the end of a program, and at its refusal",
        &[field("enable", (0, 0), "1: raise it"), field("pending", (1, 1), "it is raised; writing 1 clears it")],
    ),
    register(
        "checksum",
        0x1c,
        Access::ReadWrite,
        "CRC-32 (of zlib, bytes of each word lowest first) of the words written into the memories since `config_hash` was; \
         what is written is subtracted by exclusive or, and a program starts only if 0 is left",
        &[],
    ),
    register(
        "weights_low",
        0x20,
        Access::ReadWrite,
        "address of the weights in external memory, lower half; a whole number of beats",
        &[],
    ),
    register("weights_high", 0x24, Access::ReadWrite, "its upper half", &[]),
    register("weights_bytes", 0x28, Access::ReadWrite, "their length, in whole beats", &[]),
    register(
        "spill_beat",
        0x2c,
        Access::ReadOnly,
        "bytes of a beat of the port for spilled tensors, 0: there is none",
        &[],
    ),
    register(
        "spill_low",
        0x30,
        Access::ReadWrite,
        "address of the memory for spilled tensors, lower half; a multiple of 4096",
        &[],
    ),
    register("spill_high", 0x34, Access::ReadWrite, "its upper half", &[]),
    register(
        "class",
        0x38,
        Access::ReadOnly,
        "index of the largest value of the last output, the first of equal ones; 0 without `argmax`, and if the output is a map",
        &[],
    ),
];

const REGIONS: [Region; 3] = [
    Region { name: "control", base: 0x0000_0000, meaning: "registers" },
    Region {
        name: "program",
        base: 0x1000_0000,
        meaning: "program memory, one 32-bit word each four bytes; write only",
    },
    Region {
        name: "weights",
        base: 0x2000_0000,
        meaning: "weight memory, 64 bytes a word: 4-byte parts at bits 5:2, word number at bits 27:6. Writing the last part of \
                  a word stores it. Nothing is there if weights are streamed; write only",
    },
];

const ERROR_CODES: [ErrorCode; 5] = [
    ErrorCode {
        name: "unknown_instruction",
        code: 1,
        meaning: "the program has an opcode that does not exist, and ended there",
    },
    ErrorCode {
        name: "other_configuration",
        code: 2,
        meaning: "refused: the program is for another configuration of the hardware",
    },
    ErrorCode { name: "memory", code: 3, meaning: "external memory answered with an error; results are wrong" },
    ErrorCode { name: "packet", code: 4, meaning: "an input packet ended too early or too late (TLAST)" },
    ErrorCode {
        name: "checksum",
        code: 5,
        meaning: "refused: the words that arrived in the memories are not those that `checksum` was written for",
    },
];

/// Every register, by offset.
pub fn registers() -> &'static [Register] {
    &REGISTERS
}

/// The regions of the host port.
pub fn regions() -> &'static [Region] {
    &REGIONS
}

/// Every error code, by value.
pub fn error_codes() -> &'static [ErrorCode] {
    &ERROR_CODES
}

/// Address of a register.
///
/// # Panics
/// If there is none of that name: a bug.
pub fn register_offset(name: &str) -> u32 {
    REGISTERS.iter().find(|r| r.name == name).expect("registers are named as in the table").offset
}

/// First address of a region.
///
/// # Panics
/// If there is none of that name: a bug.
pub fn region_base(name: &str) -> u32 {
    REGIONS.iter().find(|r| r.name == name).expect("regions are named as in the table").base
}

/// The tables as Markdown: the generated part of `docs/registers.md`.
pub fn registers_markdown() -> String {
    let mut text = String::from("| address | register | access | bits | meaning |\n|---|---|---|---|---|\n");
    for r in registers() {
        let access = if r.access == Access::ReadOnly { "read" } else { "read, write" };
        writeln!(text, "| {:#04x} | `{}` | {access} | 31:0 | {} |", r.offset, r.name, r.meaning).expect("strings grow");
        for f in r.fields {
            let bits = if f.hi == f.lo { f.hi.to_string() } else { format!("{}:{}", f.hi, f.lo) };
            writeln!(text, "| | `{}` | | {bits} | {} |", f.name, f.meaning).expect("strings grow");
        }
    }
    text += "\n| from | region | what is there |\n|---|---|---|\n";
    for r in regions() {
        writeln!(text, "| {:#010x} | {} | {} |", r.base, r.name, r.meaning).expect("strings grow");
    }
    text += "\n| `error_code` | name | meaning |\n|---|---|---|\n";
    for e in error_codes() {
        writeln!(text, "| {} | `{}` | {} |", e.code, e.name, e.meaning).expect("strings grow");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_in_order_and_fields_do_not_overlap() {
        assert!(REGISTERS.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        assert!(REGISTERS.iter().all(|r| r.offset % 4 == 0 && r.offset < 0x100));
        for r in REGISTERS {
            let mut bits = 0u64;
            for f in r.fields {
                let mask = ((1u64 << (f.hi - f.lo + 1)) - 1) << f.lo;
                assert!(f.hi < 32 && bits & mask == 0, "{}.{}", r.name, f.name);
                bits |= mask;
            }
        }
        assert!(ERROR_CODES.iter().enumerate().all(|(i, e)| usize::from(e.code) == i + 1));
    }
}
