// SPDX-License-Identifier: MIT OR Apache-2.0
//! Driver of an Espalier core, without the standard library, heap or global state.
//!
//! ```no_run
//! # fn main() -> Result<(), espalier_driver::Error> {
//! # use espalier_driver::{argmax, Accelerator, Dma, Mmio, Program, RawMemory};
//! # let (bytes, input): (&[u8], [i8; 784]) = (&[], [0; 784]);
//! let program = Program::open(bytes)?; // program.bin
//! // Addresses of the core, of the DMA engine, and of memory that both sides reach.
//! let (core, engine) = unsafe { (Mmio::new(0x4000_0000), Mmio::new(0x4040_0000)) };
//! let memory = unsafe { RawMemory::new(0x1000_0000, 0x1000_0000, 1 << 20) };
//! let mut accelerator = Accelerator::new(Dma::open(core, engine, memory)?);
//! accelerator.load(&program)?;
//! let mut output = [0; 10];
//! let (mut packet, mut answer) = ([0; 8192], [0; 64]);
//! accelerator.infer(&program, &input, &mut output, &mut packet, &mut answer)?;
//! let class = argmax(&output);
//! # Ok(()) }
//! ```
//!
//! Boards without a processor are reached through [`Serial`] over any [`Line`].
#![no_std]
#![warn(missing_docs)]

pub mod registers;

use registers::*;

/// Why something did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The program has an unknown instruction.
    UnknownInstruction,
    /// The program is for another configuration of the hardware.
    OtherConfiguration,
    /// External memory answered with an error; results are wrong.
    Memory,
    /// The input packet has another length than the program takes.
    Packet,
    /// What arrived in the core is not what was sent.
    Checksum,
    /// The core reports an error that this driver does not know.
    Core(u32),
    /// The bytes are something else than a program file.
    NotAProgram,
    /// The file has a form that this driver does not know.
    OtherVersion,
    /// Bytes of the file are missing.
    Truncated,
    /// The checksum of the file is wrong.
    Corrupted,
    /// The program needs external memory, and the port has none, or too little.
    NoMemory,
    /// A slice has another length than the program asks for.
    WrongLength,
    /// The core or the port did not answer in time.
    Timeout,
    /// The port failed.
    Port,
}

/// How a core is reached. Words are four bytes, lowest first.
pub trait Port {
    /// Reads a register.
    fn read(&mut self, address: u32) -> Result<u32, Error>;
    /// Writes words to addresses that grow by four.
    fn write(&mut self, address: u32, words: &[u8]) -> Result<(), Error>;
    /// Writes weight words of `parts` words each, from the first one on.
    fn write_weights(&mut self, words: &[u8], parts: usize) -> Result<(), Error>;
    /// Sends an input packet and takes the output packet.
    fn exchange(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Error>;
    /// Sets memory aside that the core reaches, from a multiple of 4096 on, instead of what an earlier program had: streamed
    /// weights, which it fills in, and from the next multiple of 4096 on so many bytes for spilled tensors.
    fn place(&mut self, _weights: &[u8], _spill_bytes: usize) -> Result<u64, Error> {
        Err(Error::NoMemory)
    }
    /// Bytes of a beat of so many rows.
    fn beat_bytes(&self, rows: usize) -> usize {
        rows
    }
}

/// Shape and scale of a tensor: real = (integer - zero_point) * 2^exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Binary logarithm of a step.
    pub exponent: i32,
    /// Integer that means 0.
    pub zero_point: i32,
}

impl Tensor {
    /// Number of values.
    pub fn elements(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn beats(&self, rows: usize) -> usize {
        (self.channels + rows - 1) / rows * self.height * self.width
    }

    /// Byte of its part of a packet that holds a value.
    fn place(&self, index: usize, rows: usize, beat_bytes: usize) -> usize {
        let plane = self.height * self.width;
        let channel = index / plane;
        (channel / rows * plane + index % plane) * beat_bytes + channel % rows
    }
}

/// The checked content of `program.bin`.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    bytes: &'a [u8],
}

impl<'a> Program<'a> {
    /// Checks the bytes of a file.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let program = Program { bytes };
        if bytes.len() < 4 || program.header(FILE_MAGIC) != FILE_MAGIC_VALUE {
            return Err(Error::NotAProgram);
        }
        if bytes.len() < 4 * (FILE_WORDS as usize + 1) {
            return Err(Error::Truncated);
        }
        if program.header(FILE_VERSION) != FILE_VERSION_VALUE {
            return Err(Error::OtherVersion);
        }
        let size = program.header(FILE_FILE_BYTES) as usize;
        if bytes.len() < size {
            return Err(Error::Truncated);
        }
        let (content, checksum) = bytes.split_at(bytes.len() - 4);
        if bytes.len() != size || !program.is_complete() || crc32(content) != word(checksum) {
            return Err(Error::Corrupted);
        }
        Ok(program)
    }

    /// Whether the parts of the file add up to its size.
    fn is_complete(&self) -> bool {
        let number = |index| u64::from(self.header(index));
        let tensors = number(FILE_INPUTS) + number(FILE_OUTPUTS);
        let words = u64::from(FILE_WORDS)
            + u64::from(TENSOR_WORDS) * tensors
            + number(FILE_PROGRAM_WORDS)
            + number(FILE_WEIGHT_WORDS)
            + (number(FILE_STREAM_BYTES) + 3) / 4;
        let parts = number(FILE_WEIGHT_PARTS);
        (1..=16).contains(&parts)
            && number(FILE_WEIGHT_WORDS) % parts == 0
            && self.rows() > 0
            && 4 * (words + 1) == self.bytes.len() as u64
    }

    /// A word of the header, `FILE_...` of [`registers`].
    pub fn header(&self, index: u32) -> u32 {
        word(&self.bytes[4 * index as usize..])
    }

    fn rows(&self) -> usize {
        ((self.header(FILE_GEOMETRY) & GEOMETRY_ROWS_MASK) >> GEOMETRY_ROWS_LSB) as usize
    }

    fn tensors(&self, first: u32, count: u32) -> impl Iterator<Item = Tensor> + 'a {
        let bytes = self.bytes;
        (first..first + count).map(move |index| {
            let entry = &bytes[4 * (FILE_WORDS + TENSOR_WORDS * index) as usize..];
            let number = |place: u32| word(&entry[4 * place as usize..]);
            Tensor {
                channels: number(TENSOR_CHANNELS) as usize,
                height: number(TENSOR_HEIGHT) as usize,
                width: number(TENSOR_WIDTH) as usize,
                exponent: number(TENSOR_EXPONENT) as i32,
                zero_point: number(TENSOR_ZERO_POINT) as i32,
            }
        })
    }

    /// The inputs.
    pub fn inputs(&self) -> impl Iterator<Item = Tensor> + 'a {
        self.tensors(0, self.header(FILE_INPUTS))
    }

    /// The outputs.
    pub fn outputs(&self) -> impl Iterator<Item = Tensor> + 'a {
        self.tensors(self.header(FILE_INPUTS), self.header(FILE_OUTPUTS))
    }

    /// Integers that stand for real values of all inputs: not a number becomes 0, others saturate.
    pub fn quantize(&self, real: &[f32], input: &mut [i8]) {
        let mut values = real.iter().zip(input);
        for tensor in self.inputs() {
            for (value, integer) in values.by_ref().take(tensor.elements()) {
                let steps = (f64::from(*value) * power_of_two(-tensor.exponent)).clamp(-512.0, 512.0);
                // Adding and subtracting 1.5 * 2^52 rounds to even.
                const ROUND: f64 = 6_755_399_441_055_744.0;
                *integer = (steps + ROUND - ROUND + f64::from(tensor.zero_point)) as i8;
            }
        }
    }

    /// Real values that integers of all outputs stand for.
    pub fn dequantize(&self, output: &[i8], real: &mut [f32]) {
        let mut values = output.iter().zip(real);
        for tensor in self.outputs() {
            for (integer, value) in values.by_ref().take(tensor.elements()) {
                *value = (f64::from(i32::from(*integer) - tensor.zero_point) * power_of_two(tensor.exponent)) as f32;
            }
        }
    }

    /// Words of the program memory, and of the weights or their stream.
    fn content(&self) -> (&'a [u8], &'a [u8]) {
        let begin = 4 * (FILE_WORDS + TENSOR_WORDS * (self.header(FILE_INPUTS) + self.header(FILE_OUTPUTS))) as usize;
        self.bytes[begin..self.bytes.len() - 4].split_at(4 * self.header(FILE_PROGRAM_WORDS) as usize)
    }
}

/// A core behind a port.
#[derive(Debug)]
pub struct Accelerator<P> {
    /// The port.
    pub port: P,
}

/// Reads of the status that follow an output packet, at most.
const STATUS_READS: usize = 1_000_000;

impl<P: Port> Accelerator<P> {
    /// A core that nothing is known of.
    pub fn new(port: P) -> Self {
        Accelerator { port }
    }

    /// Writes a program; the core refuses to start until that has succeeded.
    pub fn load(&mut self, program: &Program) -> Result<(), Error> {
        let hash = program.header(FILE_CONFIG_HASH);
        if self.port.read(REG_CONFIG_HASH)? != hash {
            return Err(Error::OtherConfiguration);
        }
        let (code, weights) = program.content();
        self.set(REG_CONFIG_HASH, hash)?;
        self.port.write(REGION_PROGRAM, code)?;
        let stream_bytes = program.header(FILE_STREAM_BYTES);
        let spill_bytes = program.header(FILE_SPILL_BYTES);
        if stream_bytes == 0 && !weights.is_empty() {
            self.port.write_weights(weights, program.header(FILE_WEIGHT_PARTS) as usize)?;
        }
        if stream_bytes > 0 || spill_bytes > 0 {
            let stream = &weights[..stream_bytes as usize];
            let address = self.port.place(stream, spill_bytes as usize)?;
            self.set(REG_WEIGHTS_LOW, address as u32)?;
            self.set(REG_WEIGHTS_HIGH, (address >> 32) as u32)?;
            self.set(REG_WEIGHTS_BYTES, stream_bytes)?;
            let spill = address + aligned(stream.len(), PAGE) as u64;
            self.set(REG_SPILL_LOW, spill as u32)?;
            self.set(REG_SPILL_HIGH, (spill >> 32) as u32)?;
        }
        self.set(REG_CHECKSUM, program.header(FILE_CHECKSUM))?;
        if self.port.read(REG_CHECKSUM)? == 0 { Ok(()) } else { Err(Error::Checksum) }
    }

    /// Bytes of the input and of the output packet.
    pub fn packet_bytes(&self, program: &Program) -> (usize, usize) {
        let bytes = self.port.beat_bytes(program.rows());
        (program.header(FILE_BEATS_IN) as usize * bytes, program.header(FILE_BEATS_OUT) as usize * bytes)
    }

    /// Runs the loaded program on one sample: values of all inputs, channel by channel, row by row, and of all outputs.
    /// The packets have the lengths of [`Accelerator::packet_bytes`], or more.
    pub fn infer(
        &mut self,
        program: &Program,
        input: &[i8],
        output: &mut [i8],
        input_packet: &mut [u8],
        output_packet: &mut [u8],
    ) -> Result<(), Error> {
        let rows = program.rows();
        let bytes = self.port.beat_bytes(rows);
        let (input_bytes, output_bytes) = self.packet_bytes(program);
        let elements = |tensors: &mut dyn Iterator<Item = Tensor>| tensors.map(|t| t.elements()).sum::<usize>();
        if input.len() != elements(&mut program.inputs())
            || output.len() != elements(&mut program.outputs())
            || input_packet.len() < input_bytes
            || output_packet.len() < output_bytes
        {
            return Err(Error::WrongLength);
        }
        let input_packet = &mut input_packet[..input_bytes];
        let output_packet = &mut output_packet[..output_bytes];
        input_packet.fill(0);
        let (mut values, mut begin) = (input, 0);
        for tensor in program.inputs() {
            let (now, rest) = values.split_at(tensor.elements());
            for (index, value) in now.iter().enumerate() {
                input_packet[begin + tensor.place(index, rows, bytes)] = *value as u8;
            }
            values = rest;
            begin += tensor.beats(rows) * bytes;
        }
        self.set(REG_CONTROL, CONTROL_RUNNING_MASK)?;
        self.is_done()?;
        if let Err(error) = self.port.exchange(input_packet, output_packet) {
            // What the core says explains why a stream stands still.
            self.is_done()?;
            return Err(error);
        }
        let mut reads = 0;
        while !self.is_done()? {
            reads += 1;
            if reads == STATUS_READS {
                return Err(Error::Timeout);
            }
        }
        let (mut at, mut begin) = (0, 0);
        for tensor in program.outputs() {
            for index in 0..tensor.elements() {
                output[at] = output_packet[begin + tensor.place(index, rows, bytes)] as i8;
                at += 1;
            }
            begin += tensor.beats(rows) * bytes;
        }
        Ok(())
    }

    /// Cycles of the last run, without those in which a stream waited.
    pub fn cycles(&mut self) -> Result<u32, Error> {
        self.port.read(REG_CYCLES)
    }

    /// Index of the largest value of the last output of the last run: the class. Needs hardware with `argmax`.
    pub fn best(&mut self) -> Result<u32, Error> {
        self.port.read(REG_CLASS)
    }

    fn set(&mut self, register: u32, value: u32) -> Result<(), Error> {
        self.port.write(register, &value.to_le_bytes())
    }

    /// Whether the program has ended.
    fn is_done(&mut self) -> Result<bool, Error> {
        let control = self.port.read(REG_CONTROL)?;
        match (control & CONTROL_ERROR_CODE_MASK) >> CONTROL_ERROR_CODE_LSB {
            0 => Ok(control & CONTROL_DONE_MASK != 0),
            ERROR_UNKNOWN_INSTRUCTION => Err(Error::UnknownInstruction),
            ERROR_OTHER_CONFIGURATION => Err(Error::OtherConfiguration),
            ERROR_MEMORY => Err(Error::Memory),
            ERROR_PACKET => Err(Error::Packet),
            ERROR_CHECKSUM => Err(Error::Checksum),
            code => Err(Error::Core(code)),
        }
    }
}

/// Index of the largest value, the first one of several: the class.
pub fn argmax(values: &[i8]) -> usize {
    let better = |best: usize, (index, value): (usize, &i8)| if *value > values[best] { index } else { best };
    values.iter().enumerate().fold(0, better)
}

/// CRC-32 as of zlib.
pub fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| crc >> 1 ^ (if crc & 1 == 1 { 0xedb8_8320 } else { 0 });
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
    !bytes.iter().fold(!0, byte)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// 2^exponent, for exponents that a double has.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent.clamp(-1022, 1023)) as u64) << 52)
}

/// Registers of a device.
pub trait Registers {
    /// Reads one.
    fn read(&mut self, offset: u32) -> u32;
    /// Writes one.
    fn write(&mut self, offset: u32, value: u32);
}

/// Registers in the address space.
#[derive(Debug)]
pub struct Mmio {
    base: usize,
}

impl Mmio {
    /// Registers from an address on.
    ///
    /// # Safety
    /// The device must be there, with all the registers that are used, and be used by nobody else.
    pub unsafe fn new(base: usize) -> Self {
        Mmio { base }
    }
}

impl Registers for Mmio {
    fn read(&mut self, offset: u32) -> u32 {
        // Safe because of what `new` asks for.
        unsafe { core::ptr::read_volatile((self.base + offset as usize) as *const u32) }
    }

    fn write(&mut self, offset: u32, value: u32) {
        // Safe because of what `new` asks for.
        unsafe { core::ptr::write_volatile((self.base + offset as usize) as *mut u32, value) }
    }
}

/// Memory that processor and hardware reach.
pub trait Memory {
    /// Where the hardware sees it.
    fn address(&self) -> u64;
    /// Its length.
    fn bytes(&self) -> usize;
    /// Writes; the hardware sees it afterwards.
    fn write(&mut self, at: usize, bytes: &[u8]);
    /// Reads what the hardware wrote.
    fn read(&mut self, at: usize, bytes: &mut [u8]);
}

/// Memory in the address space, not cached.
#[derive(Debug)]
pub struct RawMemory {
    base: usize,
    address: u64,
    bytes: usize,
}

impl RawMemory {
    /// Memory from an address on: as the processor sees it, and as the hardware does.
    ///
    /// # Safety
    /// The memory must be there, not cached, and used by nobody else.
    pub unsafe fn new(base: usize, address: u64, bytes: usize) -> Self {
        RawMemory { base, address, bytes }
    }
}

impl Memory for RawMemory {
    fn address(&self) -> u64 {
        self.address
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.bytes);
        // Safe because of what `new` asks for.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (self.base + at) as *mut u8, bytes.len()) }
    }

    fn read(&mut self, at: usize, bytes: &mut [u8]) {
        assert!(at + bytes.len() <= self.bytes);
        // Safe because of what `new` asks for.
        unsafe { core::ptr::copy_nonoverlapping((self.base + at) as *const u8, bytes.as_mut_ptr(), bytes.len()) }
    }
}

/// A core behind AXI: its registers, and packets through one AXI DMA engine in direct mode (registers as in AMD's PG021), as
/// the generated Vivado project builds it.
#[derive(Debug)]
pub struct Dma<C, E, M> {
    core: C,
    engine: E,
    memory: M,
    /// Bytes at the beginning of the memory that hold streamed weights and spilled tensors.
    reserved: usize,
}

/// The engine's channels, and the registers of each.
mod engine {
    pub const TO_STREAM: u32 = 0x00;
    pub const TO_MEMORY: u32 = 0x30;
    pub const CONTROL: u32 = 0x00;
    pub const STATUS: u32 = 0x04;
    pub const ADDRESS: u32 = 0x18;
    pub const ADDRESS_HIGH: u32 = 0x1c;
    pub const LENGTH: u32 = 0x28;
    pub const RUN: u32 = 1;
    pub const RESET: u32 = 4;
    pub const IDLE: u32 = 2;
    pub const ERRORS: u32 = 0x70;
    /// How often a waiting function looks.
    pub const SPINS: usize = 100_000_000;
}

impl<C: Registers, E: Registers, M: Memory> Dma<C, E, M> {
    /// Resets the engine.
    pub fn open(core: C, engine: E, memory: M) -> Result<Self, Error> {
        let mut dma = Dma { core, engine, memory, reserved: 0 };
        dma.reset()?;
        Ok(dma)
    }

    fn reset(&mut self) -> Result<(), Error> {
        // One channel's reset resets both.
        self.engine.write(engine::TO_STREAM + engine::CONTROL, engine::RESET);
        let busy = |dma: &mut Self| dma.engine.read(engine::TO_STREAM + engine::CONTROL) & engine::RESET != 0;
        if (0..engine::SPINS).any(|_| !busy(self)) { Ok(()) } else { Err(Error::Timeout) }
    }

    fn begin(&mut self, channel: u32, at: usize, bytes: usize) {
        let address = self.memory.address() + at as u64;
        self.engine.write(channel + engine::CONTROL, engine::RUN);
        self.engine.write(channel + engine::ADDRESS, address as u32);
        self.engine.write(channel + engine::ADDRESS_HIGH, (address >> 32) as u32);
        // The length starts the transfer.
        self.engine.write(channel + engine::LENGTH, bytes as u32);
    }

    fn finish(&mut self, channel: u32) -> Result<(), Error> {
        for _ in 0..engine::SPINS {
            let status = self.engine.read(channel + engine::STATUS);
            if status & engine::ERRORS != 0 {
                return Err(Error::Port);
            }
            if status & engine::IDLE != 0 {
                return Ok(());
            }
        }
        Err(Error::Timeout)
    }
}

/// Spilled tensors begin at a multiple of so many bytes.
const PAGE: usize = 4096;
/// What a transfer of the engine touches begins at a multiple of so many bytes.
const LINE: usize = 64;

/// Rounds up to a multiple.
fn aligned(bytes: usize, to: usize) -> usize {
    (bytes + to - 1) / to * to
}

impl<C: Registers, E: Registers, M: Memory> Port for Dma<C, E, M> {
    fn read(&mut self, address: u32) -> Result<u32, Error> {
        Ok(self.core.read(address))
    }

    fn write(&mut self, address: u32, words: &[u8]) -> Result<(), Error> {
        for (index, bytes) in words.chunks_exact(4).enumerate() {
            self.core.write(address + 4 * index as u32, word(bytes));
        }
        Ok(())
    }

    fn write_weights(&mut self, words: &[u8], parts: usize) -> Result<(), Error> {
        for (index, bytes) in words.chunks_exact(4 * parts).enumerate() {
            self.write(REGION_WEIGHTS + 64 * index as u32, bytes)?;
        }
        Ok(())
    }

    fn exchange(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Error> {
        let (source, sink) = (self.reserved, self.reserved + aligned(input.len(), LINE));
        if sink + output.len() > self.memory.bytes() {
            return Err(Error::NoMemory);
        }
        self.memory.write(source, input);
        self.begin(engine::TO_MEMORY, sink, output.len());
        self.begin(engine::TO_STREAM, source, input.len());
        let finished = self.finish(engine::TO_STREAM).and_then(|()| self.finish(engine::TO_MEMORY));
        if finished.is_err() {
            // A transfer that stands still would be in the way of the next one.
            self.reset()?;
        }
        finished?;
        self.memory.read(sink, output);
        Ok(())
    }

    fn place(&mut self, weights: &[u8], spill_bytes: usize) -> Result<u64, Error> {
        let outside = (self.memory.address() % PAGE as u64) as usize;
        let skipped = aligned(outside, PAGE) - outside;
        let bytes = skipped + aligned(weights.len(), PAGE) + spill_bytes;
        if bytes > self.memory.bytes() {
            return Err(Error::NoMemory);
        }
        self.memory.write(skipped, weights);
        self.reserved = aligned(bytes, LINE);
        Ok(self.memory.address() + skipped as u64)
    }

    fn beat_bytes(&self, rows: usize) -> usize {
        rows.next_power_of_two()
    }
}

/// A serial line.
pub trait Line {
    /// Sends bytes.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Error>;
    /// Waits for bytes.
    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Error>;
}

/// The serial host of boards without a processor.
#[derive(Debug)]
pub struct Serial<L> {
    /// The line.
    pub line: L,
}

/// Words or beats of one command.
const MOST: usize = 1 << 16;
const WRITE: u8 = 1;
const READ: u8 = 2;
const INPUT: u8 = 3;
const OUTPUT: u8 = 4;

impl<L: Line> Serial<L> {
    /// The other end of a line.
    pub fn new(line: L) -> Self {
        Serial { line }
    }

    fn send(&mut self, operation: u8, count: usize, address: u32, data: &[u8]) -> Result<(), Error> {
        let [c0, c1] = ((count - 1) as u16).to_le_bytes();
        let [a0, a1, a2, a3] = address.to_le_bytes();
        self.line.send(&[operation, c0, c1, a0, a1, a2, a3])?;
        self.line.send(data)
    }

    fn command(&mut self, operation: u8, count: usize, address: u32, data: &[u8]) -> Result<(), Error> {
        self.send(operation, count, address, data)?;
        let mut answer = [0];
        self.line.receive(&mut answer)?;
        if answer[0] == operation { Ok(()) } else { Err(Error::Port) }
    }
}

impl<L: Line> Port for Serial<L> {
    fn read(&mut self, address: u32) -> Result<u32, Error> {
        self.send(READ, 1, address, &[])?;
        let mut bytes = [0; 4];
        self.line.receive(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn write(&mut self, address: u32, words: &[u8]) -> Result<(), Error> {
        for (block, bytes) in words.chunks(4 * MOST).enumerate() {
            self.command(WRITE, bytes.len() / 4, address + (block * 4 * MOST) as u32, bytes)?;
        }
        Ok(())
    }

    fn write_weights(&mut self, words: &[u8], parts: usize) -> Result<(), Error> {
        let step = MOST / parts;
        for (block, bytes) in words.chunks(4 * parts * step).enumerate() {
            self.command(WRITE, bytes.len() / 4, REGION_WEIGHTS + (block * step * 64) as u32, bytes)?;
        }
        Ok(())
    }

    fn exchange(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Error> {
        let rows = ((self.read(REG_GEOMETRY)? & GEOMETRY_ROWS_MASK) >> GEOMETRY_ROWS_LSB) as usize;
        if rows == 0 {
            return Err(Error::Port);
        }
        let mut left = input.len();
        for bytes in input.chunks(rows * MOST) {
            left -= bytes.len();
            // The packet goes on in the next command, or ends.
            self.command(INPUT, bytes.len() / rows, u32::from(left > 0), bytes)?;
        }
        for bytes in output.chunks_mut(rows * MOST) {
            self.send(OUTPUT, bytes.len() / rows, 0, &[])?;
            self.line.receive(bytes)?;
        }
        Ok(())
    }
}
