//! From a quantized network to a program for the accelerator, and the machine that executes it.
//!
//! [`compile`] places the tensors in the lanes, packs the weight vectors and writes one instruction
//! for each step that `espalier_target::plan` lists; the result is a [`Program`], plain data.
//! [`Machine`] executes encoded instructions and weight words as the hardware does and logs every
//! lane write; [`first_difference`] compares such a log, its own or that of the hardware, with the
//! tensors of the reference interpreter.
//!
//! [`fields`] is the one description of the instruction set: `docs/isa.md` and the constants of the
//! hardware are generated from it. [`registers`] is the same for the host port.

mod arithmetic;
mod binary;
mod compare;
mod fields;
mod isa;
mod lanes;
mod layers;
mod machine;
mod manifest;
mod pack;
mod program;
mod registers;
mod schedule;
#[cfg(feature = "testing")]
pub mod testing;
mod weights;

pub use binary::{
    FileWord, PROGRAM_MAGIC, PROGRAM_VERSION, geometry, program_file_header, program_file_markdown, program_file_tensor,
};
pub use compare::{Difference, first_difference, first_write_difference, layer_tensors};
pub use fields::{Field, INSTRUCTION_WORDS, IsaError, Opcode, fields, fields_markdown, used_bits};
pub use isa::{Area, ConvInstruction, Instruction, Stream, TransferInstruction, end_packets};
pub use machine::{CycleReport, LaneWrite, Machine, MachineRun, run};
pub use manifest::{Manifest, OutputEntry, TensorEntry, TensorRef};
pub use program::{MemoryMap, PlacedTensor, Program, Strip};
pub use registers::{
    Access, ErrorCode, Region, Register, RegisterField, error_codes, region_base, regions, register_offset, registers,
    registers_markdown,
};
pub use schedule::compile;
pub use weights::{PARAMETER_WORDS, WeightWord, host_words_per_weight};
