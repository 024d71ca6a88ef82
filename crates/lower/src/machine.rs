//! The instruction-level machine: executes what the hardware executes, nothing more.
//!
//! It sees encoded instructions, weight words and input beats, never the schedule. What would be
//! garbage or a race in hardware is an error here: reading a byte that nobody wrote, or one whose
//! write is still under way; writing one that is still being saved; restoring what was never saved; leaving the lanes or
//! the weight memory; sums wider than the accumulators. Rows whose weights are all zero may read anything.

use std::collections::VecDeque;

use espalier_ir::{Diagnostic, Diagnostics};
use espalier_quant::{requantize, wide_digits};
use espalier_target::{AcceleratorConfig, GATE_QUEUE, TABLE_ENTRIES, Table, Timeline, timeline};

use crate::arithmetic::{accumulate_pair, add_bias, add_checked, cannot_overflow, fit};
use crate::fields::INSTRUCTION_WORDS;
use crate::isa::{Area, ConvInstruction, Instruction, Stream, TransferInstruction};
use crate::lanes::Lanes;
use crate::program::{Program, step_of};
use crate::weights::{PARAMETER_WORDS, WeightWord, unpack_parameters};

/// One cycle of writing to the lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneWrite {
    /// Index of the instruction.
    pub instruction: u32,
    /// Address in every lane.
    pub address: u16,
    /// Bit `l`: lane `l` is written.
    pub mask: u32,
    /// One byte a lane; those of other lanes are zero.
    pub data: Vec<i8>,
}

/// Cycles of a program, as the hardware counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CycleReport {
    /// From start to done.
    pub total: u64,
    /// End of every instruction but END.
    pub end_cycle: Vec<u64>,
}

/// What one sample did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRun {
    /// Every lane write in order; empty if not recorded.
    pub writes: Vec<LaneWrite>,
    /// The output stream: beats of `rows` bytes.
    pub beats: Vec<Vec<u8>>,
    /// What the register `class` holds afterwards; 0 without one.
    pub class: u32,
}

/// A program loaded into a machine.
#[derive(Debug, Clone)]
pub struct Machine {
    config: AcceleratorConfig,
    instructions: Vec<Instruction>,
    weights: Vec<WeightWord>,
}

/// Runs a compiled program on one sample: every lane write, the results and the cycles.
///
/// # Errors
/// The first thing the hardware could not do: a bug of the compiler, or of whoever changed the program.
///
/// # Panics
/// If `input` does not hold `program.input_len()` values.
pub fn run(program: &Program, input: &[i8]) -> Result<(MachineRun, Vec<i8>, CycleReport), Diagnostics> {
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights)?;
    let run = machine.run(&program.input_beats(input), true)?;
    let outputs = program
        .output_from_beats(&run.beats)
        .map_err(|what| Diagnostic::error("machine-fault", "output stream", what))?;
    let cycles = machine.cycles();
    Ok((run, outputs, cycles))
}

impl Machine {
    /// Loads encoded instructions and weight words.
    ///
    /// # Errors
    /// Words that are no instruction, a program without END, weights of another width or beyond the
    /// memory, a configuration out of its bounds.
    pub fn new(config: &AcceleratorConfig, program: &[u32], weights: &[WeightWord]) -> Result<Machine, Diagnostics> {
        config.validate()?;
        let mut findings = Diagnostics::new();
        let mut instructions = Vec::new();
        let (words, rest) = program.as_chunks::<INSTRUCTION_WORDS>();
        for (index, words) in words.iter().enumerate() {
            match Instruction::decode(words) {
                Ok(instruction) => instructions.push(instruction),
                Err(error) => findings.push(fault(format!("instruction {index}"), error)),
            }
            if matches!(instructions.last(), Some(Instruction::End)) {
                break;
            }
        }
        if !rest.is_empty() || (!findings.has_errors() && !matches!(instructions.last(), Some(Instruction::End))) {
            findings.push(fault("program", "does not end with END"));
        }
        if config.program_instructions.is_some_and(|depth| words.len() > depth) {
            findings.push(fault("program", format!("{} instructions do not fit the program memory", words.len())));
        }
        if config.external().is_none() && config.weight_words.is_some_and(|depth| weights.len() > depth) {
            findings.push(fault("weights", format!("{} words do not fit the weight memory", weights.len())));
        }
        if let Some(index) = weights.iter().position(|w| w.bytes.len() != config.cols) {
            findings.push(fault(format!("weight word {index}"), format!("does not hold {} bytes", config.cols)));
        }
        findings.into_result(Machine { config: config.clone(), instructions, weights: weights.to_vec() })
    }

    /// Cycles of any sample: they do not depend on data.
    pub fn cycles(&self) -> CycleReport {
        let timeline = self.timeline();
        CycleReport { total: timeline.total_cycles, end_cycle: timeline.end_cycle }
    }

    /// When every instruction begins and ends.
    fn timeline(&self) -> Timeline {
        let steps: Vec<_> = self.instructions.iter().filter_map(|i| step_of(i, &self.config)).collect();
        timeline(&steps, &self.config)
    }

    /// The order of the effects: FILLs behind a block come before it. What they write, it must not read.
    fn order(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.instructions.len());
        let mut block = Vec::new();
        for (index, instruction) in self.instructions.iter().enumerate() {
            match instruction {
                Instruction::Fill { .. } => order.push(index),
                Instruction::Conv(conv) => {
                    let complete = block.last().is_some_and(|last: &(usize, bool)| !last.1);
                    if complete {
                        order.extend(block.drain(..).map(|(index, _)| index));
                    }
                    block.push((index, conv.partial));
                }
                _ => {
                    order.extend(block.drain(..).map(|(index, _)| index));
                    order.push(index);
                }
            }
        }
        order
    }

    /// FILLs of a block stand before the transfers behind it.
    fn check_fills(&self) -> Result<(), Diagnostics> {
        let late = |pair: &[Instruction]| matches!(pair, [Instruction::Transfer(_), Instruction::Fill { .. }]);
        let mut block = false;
        for (index, pair) in self.instructions.windows(2).enumerate() {
            match pair[0] {
                Instruction::Conv(_) => block = true,
                Instruction::Load { .. } | Instruction::Store { .. } => block = false,
                _ => {}
            }
            if block && late(pair) {
                return Err(fault(format!("instruction {}", index + 1), "a FILL behind a transfer").into());
            }
        }
        Ok(())
    }

    /// Executes the program on one input stream; `record` keeps all lane writes.
    ///
    /// # Errors
    /// The first thing the hardware could not do, naming the instruction.
    pub fn run(&self, beats: &[Vec<u8>], record: bool) -> Result<MachineRun, Diagnostics> {
        let mut execution = Execution {
            config: &self.config,
            weights: &self.weights,
            lanes: Lanes::new(self.config.rows, self.config.lane_bytes),
            beats: beats.iter(),
            writes: record.then(Vec::new),
            output: Vec::new(),
            best: None,
            counted: 0,
            gates: VecDeque::new(),
            current: 0,
            streamed: self.config.external().map(|_| 0),
            sums: Sums::Done,
            tables: [Vec::new(), Vec::new()],
            scratch: Scratch::default(),
            memory: Vec::new(),
            now: 0,
            end: 0,
        };
        let timeline = self.timeline();
        self.check_fills()?;
        // What a transfer has to wait for: earlier ones have always ended when it begins.
        let is_transfer = |index: &usize| matches!(self.instructions[*index], Instruction::Transfer(_));
        let mut before_transfers = timeline.end_cycle.clone();
        (0..before_transfers.len()).filter(is_transfer).for_each(|index| before_transfers[index] = 0);
        for index in self.order() {
            let instruction = &self.instructions[index];
            execution.current = index as u32;
            execution.now = timeline.first_read.get(index).copied().unwrap_or(timeline.total_cycles);
            execution.end = timeline.end_cycle.get(index).copied().unwrap_or(timeline.total_cycles);
            let ends = if is_transfer(&index) { &before_transfers } else { &timeline.end_cycle };
            execution.lanes.settle(ends, execution.now);
            execution
                .execute(instruction)
                .map_err(|what| fault(format!("instruction {index} ({})", instruction.opcode().name()), what))?;
        }
        if !execution.gates.is_empty() {
            return Err(fault("gates", format!("{} beats were not taken", execution.gates.len())).into());
        }
        if execution.beats.len() > 0 {
            return Err(fault("input stream", format!("{} beats were not taken", execution.beats.len())).into());
        }
        if let Some(left) = execution.streamed.map(|taken| self.weights.len() - taken).filter(|left| *left > 0) {
            return Err(fault("weight stream", format!("{left} words were not taken")).into());
        }
        let class = execution.best.map_or(0, |(_, class)| class);
        Ok(MachineRun { writes: execution.writes.unwrap_or_default(), beats: execution.output, class })
    }
}

fn fault(at: impl Into<String>, what: impl ToString) -> Diagnostic {
    Diagnostic::error("machine-fault", at, what.to_string())
}

/// Buffers that instructions reuse.
#[derive(Default)]
struct Scratch {
    /// Address of every pixel.
    pixels: Vec<u16>,
    /// Activations of the two streams of each row of a pair, one value a pixel.
    activations: [[Vec<i16>; 2]; 2],
    /// One run of pixels a column.
    sums: Vec<i32>,
    /// The same of one tile, where sums may overflow.
    tile: Vec<i32>,
    /// One run of outputs a column: what chunk 0 writes, and what the others do.
    results: [Vec<i8>; 2],
}

/// What the accumulators hold between instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sums {
    /// Nothing that anybody waits for.
    Done,
    /// Sums of a partial CONV over so many rows, each counted as often as its shift multiplies it.
    Partial {
        /// Rectangle, pooling window, columns and stream of the depthwise unit, which the CONV that goes on must share.
        shape: ([u32; 5], Option<Stream>),
        /// Bound of the sums, in products.
        products: u64,
    },
}

struct Execution<'a> {
    config: &'a AcceleratorConfig,
    weights: &'a [WeightWord],
    lanes: Lanes,
    beats: std::slice::Iter<'a, Vec<u8>>,
    writes: Option<Vec<LaneWrite>>,
    output: Vec<Vec<u8>>,
    /// Largest byte of the beats that count for the class so far, and its index.
    best: Option<(i8, u32)>,
    /// Bytes of these beats.
    counted: u32,
    /// Factors of channels, a beat for each tile that will take one.
    gates: VecDeque<Vec<i8>>,
    current: u32,
    /// Weight words taken from the stream; `None` if they are on the chip.
    streamed: Option<usize>,
    sums: Sums,
    /// The tables of every column that were loaded last, and those before; empty until some are loaded.
    tables: [Vec<[i8; TABLE_ENTRIES]>; 2],
    scratch: Scratch,
    /// What was saved to external memory, beat by beat.
    memory: Vec<Option<Vec<u8>>>,
    /// When the instruction first reads the lanes, and when it ends.
    now: u64,
    end: u64,
}

fn addresses(area: &Area) -> impl Iterator<Item = u16> {
    let Area { base, step_y, nx, ny } = *area;
    (0..ny).flat_map(move |y| (0..nx).map(move |x| base.wrapping_add(y.wrapping_mul(step_y)).wrapping_add(x)))
}

impl<'a> Execution<'a> {
    fn execute(&mut self, instruction: &Instruction) -> Result<(), String> {
        if self.sums != Sums::Done && !matches!(instruction, Instruction::Conv(_) | Instruction::Fill { .. }) {
            return Err("the sums of a partial CONV were never completed".to_owned());
        }
        match instruction {
            Instruction::End => {}
            Instruction::Conv(conv) => return self.conv(conv),
            Instruction::Fill { value, area } => {
                let row = vec![*value; self.config.rows];
                for address in addresses(area) {
                    self.write(address, self.all_lanes(), &row)?;
                }
            }
            Instruction::Load { replicate, area, .. } => {
                for address in addresses(area) {
                    let beat = self.beats.next().ok_or("the input stream has ended")?;
                    let row = self.replicated(beat, usize::from(*replicate))?;
                    self.write(address, self.all_lanes(), &row)?;
                }
            }
            Instruction::Store { area, gates, class_lanes, more } => {
                if *class_lanes > 0 && !self.config.argmax {
                    return Err("looks for a class, and nothing keeps it".to_owned());
                }
                let mut left = area.cells();
                for address in addresses(area) {
                    let beat = self.lanes.column(address)?;
                    left -= 1;
                    if *class_lanes > 0 {
                        let last = left == 0 && !more;
                        self.find_class(&beat, if last { usize::from(*class_lanes) } else { beat.len() });
                    }
                    if *gates { self.push_gates(beat)? } else { self.output.push(beat) }
                }
            }
            Instruction::Transfer(transfer) => return self.transfer(transfer),
        }
        Ok(())
    }

    fn transfer(&mut self, transfer: &TransferInstruction) -> Result<(), String> {
        let memory = self.config.spill_memory().ok_or("moves activations, and there is no port for them")?;
        for (address, beat) in transfer.words(memory.beats_per_word) {
            let beats = beat..beat + memory.beats_per_word;
            if !transfer.restore {
                let word = self.lanes.save(address, self.end)?;
                if self.memory.len() < beats.end {
                    self.memory.resize(beats.end, None);
                }
                for (beat, bytes) in beats.zip(word.chunks(memory.bytes_per_cycle)) {
                    let mut bytes = bytes.to_vec();
                    bytes.resize(memory.bytes_per_cycle, 0);
                    self.memory[beat] = Some(bytes);
                }
                continue;
            }
            let mut data = Vec::with_capacity(self.config.rows);
            for beat in beats {
                let bytes = self.memory.get(beat).and_then(Option::as_ref);
                let bytes = bytes.ok_or_else(|| format!("restores beat {beat}, which nobody saved"))?;
                data.extend(bytes.iter().map(|byte| byte.cast_signed()));
            }
            // The last beat is filled up with zeros.
            data.truncate(self.config.rows);
            // Not before its own end for what earlier transfers save: they run one after another.
            self.lanes.write(address, self.all_lanes(), &data, (self.current, self.end))?;
        }
        Ok(())
    }

    /// The largest of the first bytes of a beat, if it is larger than all before.
    fn find_class(&mut self, beat: &[u8], lanes: usize) {
        for (lane, byte) in beat.iter().enumerate().take(lanes) {
            let value = byte.cast_signed();
            if self.best.is_none_or(|(best, _)| value > best) {
                self.best = Some((value, self.counted + lane as u32));
            }
        }
        self.counted += beat.len() as u32;
    }

    fn push_gates(&mut self, beat: Vec<u8>) -> Result<(), String> {
        if !self.config.gates {
            return Err("sends gates, and the depthwise unit takes none".to_owned());
        }
        if self.gates.len() == GATE_QUEUE {
            return Err(format!("sends more than {GATE_QUEUE} beats of gates"));
        }
        self.gates.push_back(beat.iter().map(|byte| byte.cast_signed()).collect());
        Ok(())
    }

    /// A tile with the next gates in the place of its weights, which are 1 or 0.
    fn gated(&mut self, tile: &[WeightWord]) -> Result<Vec<WeightWord>, String> {
        let gates = self.gates.pop_front().ok_or("wants gates, and none are left")?;
        let word = |(word, gate): (&WeightWord, i8)| {
            let [0 | 1, rest @ ..] = &word.bytes[..] else {
                return Err("a gated weight is neither 0 nor 1".to_owned());
            };
            if rest.iter().any(|w| *w != 0) {
                return Err("a gated weight belongs to a tap before the newest".to_owned());
            }
            let mut gated = word.clone();
            gated.bytes[0] *= gate;
            Ok(gated)
        };
        tile.iter().zip(gates).map(word).collect()
    }

    fn all_lanes(&self) -> u32 {
        u32::MAX >> (32 - self.config.rows)
    }

    fn replicated(&self, beat: &[u8], channels: usize) -> Result<Vec<i8>, String> {
        let rows = self.config.rows;
        if beat.len() != rows {
            return Err(format!("a beat has {} bytes instead of {rows}", beat.len()));
        }
        let copied = if channels == 0 { 0 } else { channels * (rows / channels) };
        Ok((0..rows).map(|lane| beat[if lane < copied { lane % channels } else { lane }].cast_signed()).collect())
    }

    fn write(&mut self, address: u16, mask: u32, data: &[i8]) -> Result<(), String> {
        self.lanes.write(address, mask, data, (self.current, self.now))?;
        if let Some(writes) = &mut self.writes {
            let data = data.iter().enumerate().map(|(l, v)| if mask >> l & 1 == 1 { *v } else { 0 }).collect();
            writes.push(LaneWrite { instruction: self.current, address, mask, data });
        }
        Ok(())
    }

    fn conv(&mut self, conv: &ConvInstruction) -> Result<(), String> {
        let held = conv.bank_pixels(self.config.clusters) as usize;
        if held > self.config.accumulator_pixels {
            return Err(format!("{held} pixels, the accumulators hold {}", self.config.accumulator_pixels));
        }
        if self.config.clusters > 1 && conv.stream().is_some_and(|stream| stream.joined) {
            return Err("joins all rows in one run, which clusters cannot share".to_owned());
        }
        if conv.depthwise && self.config.depthwise_taps == 0 {
            return Err("wants a depthwise unit, and there is none".to_owned());
        }
        if conv.gated && !self.config.gates {
            return Err("wants gates, and the depthwise unit takes none".to_owned());
        }
        if (conv.wide || conv.depthwise && conv.partial) && !self.config.states {
            return Err("adds products or keeps states, and the depthwise unit does not".to_owned());
        }
        if usize::from(conv.columns) > self.config.cols {
            return Err(format!("{} columns, the array has {}", conv.columns, self.config.cols));
        }
        if conv.table != Table::Off && !self.config.activation_tables {
            return Err("wants tables, and there are none".to_owned());
        }
        let (tiles, parameters) = self.weight_stream(conv)?;
        let window = conv.window.map(u32::from);
        // Another stream would come in another order: a cell could be read before it is written.
        let shape = ([conv.nx.into(), conv.ny.into(), window[0], window[1], conv.columns.into()], conv.stream());
        let before = match self.sums {
            Sums::Done => 0,
            Sums::Partial { shape: begun, products } if begun == shape => products,
            Sums::Partial { .. } => {
                return Err("adds to the sums of another rectangle, window, block or stream".to_owned());
            }
        };
        let shift = conv.shift_bits();
        let taps = if conv.depthwise { self.config.depthwise_taps } else { 1 };
        let products = before + (((tiles.len() * taps) as u64) << shift);
        let checked = !cannot_overflow(products, self.config.accumulator_bits);
        let mut scratch = std::mem::take(&mut self.scratch);
        pixel_addresses(conv, &mut scratch.pixels);
        if self.sums == Sums::Done {
            scratch.sums.clear();
            scratch.sums.resize(usize::from(conv.columns) * conv.accumulators() as usize, 0);
        }
        for tile in tiles.chunks(self.config.rows) {
            match conv.stream() {
                Some(stream) if conv.gated => {
                    let tile = self.gated(tile)?;
                    self.stream_depthwise(&tile, conv, (stream, shift), &mut scratch)?;
                }
                Some(stream) => self.stream_depthwise(tile, conv, (stream, shift), &mut scratch)?,
                None => self.stream_tile(tile, (shift, checked), &mut scratch)?,
            }
        }
        self.sums = if conv.partial { Sums::Partial { shape, products } } else { Sums::Done };
        if !conv.partial {
            self.drain(conv, parameters, &mut scratch)?;
        }
        self.scratch = scratch;
        Ok(())
    }

    /// Weight words of all tiles, then the parameter words and those of tables.
    fn weight_stream(&mut self, conv: &ConvInstruction) -> Result<(&'a [WeightWord], &'a [WeightWord]), String> {
        let weights = usize::from(conv.tiles) * self.config.rows;
        let start = conv.weight_addr as usize;
        let parameters = if conv.partial { 0 } else { PARAMETER_WORDS + conv.table.words(self.config.cols) };
        let stream = self
            .weights
            .get(start..start + weights + parameters)
            .ok_or_else(|| format!("reads weight words {start}.. beyond the {} there are", self.weights.len()))?;
        if let Some(taken) = &mut self.streamed {
            if *taken != start {
                return Err(format!("wants weight word {start}, the stream is at word {taken}"));
            }
            *taken += weights + parameters;
        }
        Ok(stream.split_at(weights))
    }

    /// Adds one weight tile, shifted, over all pixels, rows two by two.
    fn stream_tile(
        &self,
        tile: &[WeightWord],
        (shift, checked): (u32, bool),
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let Scratch { pixels, activations, sums, tile: alone, .. } = scratch;
        let apart = checked || shift > 0;
        if apart {
            alone.clear();
            alone.resize(sums.len(), 0);
        }
        let target = if apart { &mut *alone } else { &mut *sums };
        let used: Vec<usize> = (0..tile.len()).filter(|row| tile[*row].bytes.iter().any(|w| *w != 0)).collect();
        for pair in used.chunks(2) {
            for (row, activations) in pair.iter().zip(activations.iter_mut()) {
                let word = &tile[*row];
                if word.bytes.contains(&i8::MIN) {
                    return Err(format!("row {row} holds the weight -128"));
                }
                if self.config.occupied(word.select) & self.config.all_columns() != word.select {
                    return Err(format!("row {row} selects different vectors for columns that share a multiplier"));
                }
                if word.select != 0 && self.config.combine == 1 {
                    return Err(format!("row {row} selects a second vector"));
                }
                // A stream that no weight needs is not read, as in the hardware.
                let offsets = [word.offset, word.second_offset];
                for ((columns, offset), values) in word.used_columns().into_iter().zip(offsets).zip(activations) {
                    if columns != 0 {
                        self.lanes.gather(*row, pixels, offset, values)?;
                    }
                }
            }
            for (column, sums) in target.chunks_mut(pixels.len()).enumerate() {
                let weight = |i: usize| i16::from(tile[pair[i]].bytes[column]);
                let stream = |i: usize| &activations[i][(tile[pair[i]].select >> column & 1) as usize];
                let last = pair.len() - 1;
                let weights = [weight(0), if last == 1 { weight(1) } else { 0 }];
                accumulate_pair(sums, weights, stream(0), stream(last));
            }
        }
        if checked {
            add_checked(sums, alone, shift, self.config.accumulator_bits)?;
        } else if apart {
            sums.iter_mut().zip(alone).for_each(|(sum, more)| *sum += *more << shift);
        }
        Ok(())
    }

    /// Adds one tile of the depthwise unit: row `c` holds the taps of column `c`, byte `k` for the pixel `k` before.
    fn stream_depthwise(
        &self,
        tile: &[WeightWord],
        conv: &ConvInstruction,
        (stream, shift): (Stream, u32),
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let Scratch { pixels, activations, sums, tile: alone, .. } = scratch;
        let values = &mut activations[0][0];
        let (run, rows) = (usize::from(stream.positions), if stream.joined { conv.ny } else { 1 });
        let outputs = conv.outputs() as usize;
        for (column, word) in tile.iter().enumerate() {
            if word.bytes.iter().all(|w| *w == 0) {
                continue;
            }
            // A gate may be that, alone in its sum.
            if word.bytes.contains(&i8::MIN) && !conv.gated {
                return Err(format!("row {column} holds the weight -128"));
            }
            if word.select != 0 {
                return Err(format!("row {column} selects a second vector"));
            }
            self.lanes.gather(column, pixels, word.offset, values)?;
            let taps = &word.bytes[..self.config.depthwise_taps];
            if taps.iter().skip(usize::from(stream.lead) + 1).any(|w| *w != 0) {
                return Err(format!(
                    "row {column} has more taps than the {} pixels read before an output",
                    stream.lead
                ));
            }
            let Some(sums) = sums.chunks_mut(outputs).nth(column) else { continue };
            let sum = |run: &[i16], at: usize| -> i32 {
                let pixels = run[..=at].iter().rev();
                taps.iter().zip(pixels).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum()
            };
            alone.clear();
            alone.extend(values.chunks(run).flat_map(|run| stream.kept(conv.nx, rows).map(move |at| sum(run, at))));
            add_checked(sums, alone, shift, self.config.accumulator_bits)?;
        }
        Ok(())
    }

    /// Takes the tables of all columns from weight words: a byte for all of them or each its own.
    fn load_tables(&mut self, table: Table, words: &[WeightWord]) {
        let cols = self.config.cols;
        let entry = |column: usize, p: usize| match table {
            Table::Own => words[p].bytes[column],
            _ => words[p / cols].bytes[p % cols],
        };
        if table.loads() || table == Table::Swapped {
            self.tables.swap(0, 1);
        }
        if table.loads() {
            let column = |column| std::array::from_fn(|p| entry(column, p));
            self.tables[0] = (0..cols).map(column).collect();
        }
    }

    /// Maximum or sum over windows, bias, requantization and write-back.
    fn drain(
        &mut self,
        conv: &ConvInstruction,
        parameters: &[WeightWord],
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let (parameters, entries) = parameters.split_at(PARAMETER_WORDS);
        self.load_tables(conv.table, entries);
        if conv.table != Table::Off && self.tables[0].is_empty() {
            return Err("wants tables before any is loaded".to_owned());
        }
        let pixels = conv.accumulators() as usize;
        let window = conv.window_size() as usize;
        let columns = usize::from(conv.columns);
        scratch.results.iter_mut().for_each(Vec::clear);
        for (column, sums) in scratch.sums.chunks(pixels).enumerate() {
            let (bias, shift) = unpack_parameters(parameters, column);
            if shift > 31 {
                return Err(format!("column {column} shifts by {shift}"));
            }
            for window in sums.chunks(window) {
                let pooled = if conv.window_sum {
                    fit(window.iter().copied().map(i64::from).sum(), self.config.accumulator_bits)?
                } else {
                    *window.iter().max().expect("windows hold a pixel")
                };
                let total = add_bias(pooled, bias, self.config.accumulator_bits)?;
                let result = requantize(total, shift, conv.zero_point, (conv.lo, conv.hi));
                let digits = match conv.table {
                    _ if conv.wide => wide_digits(total, shift),
                    Table::Off => [result; 2],
                    _ => [self.tables[0][column][(i16::from(result) + 128) as usize]; 2],
                };
                scratch.results.iter_mut().zip(digits).for_each(|(results, digit)| results.push(digit));
            }
        }
        let outputs = conv.outputs() as usize;
        let places = (0..conv.ny).flat_map(|y| (0..conv.nx).map(move |x| (y, x)));
        let mut data = vec![0; self.config.rows];
        for (output, (y, x)) in places.enumerate() {
            let along = [(y, conv.dst_step_y), (x, conv.dst_step_x)].map(|(i, step)| i.wrapping_mul(step));
            let address = along.into_iter().fold(conv.dst_base, u16::wrapping_add);
            for chunk in 0..conv.chunks {
                let results = &scratch.results[usize::from(chunk > 0)];
                let rotation = i32::from(conv.rot) + i32::from(chunk) * i32::from(conv.rot_step);
                let mut mask = 0;
                for (lane, byte) in data.iter_mut().enumerate() {
                    let column = usize::try_from(lane as i32 + rotation).ok().filter(|c| *c < columns);
                    *byte = column.map_or(0, |c| results[c * outputs + output]);
                    mask |= u32::from(column.is_some()) << lane;
                }
                let address = address.wrapping_add(u16::from(chunk).wrapping_mul(conv.dst_step_chunk));
                self.write(address, mask, &data)?;
            }
        }
        Ok(())
    }
}

/// Read address of every pixel, in the order of the stream.
fn pixel_addresses(conv: &ConvInstruction, pixels: &mut Vec<u16>) {
    let along = |step: u16, count: u16| (0..count).map(move |i| i.wrapping_mul(step));
    let [window_y, window_x] = conv.window.map(u16::from);
    let (nx, ny) = match conv.stream() {
        Some(stream) => (stream.positions, if stream.joined { 1 } else { conv.ny }),
        None => (conv.nx, conv.ny),
    };
    pixels.clear();
    for y in along(conv.src_step_y, ny) {
        for x in along(conv.src_step_x, nx) {
            let pixel = conv.src_base.wrapping_add(y).wrapping_add(x);
            for wy in along(conv.src_step_wy, window_y) {
                pixels.extend(along(conv.src_step_wx, window_x).map(|wx| pixel.wrapping_add(wy).wrapping_add(wx)));
            }
        }
    }
}
