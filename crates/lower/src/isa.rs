//! The instruction set: typed instructions and their encoding in eight 32-bit words.

use espalier_target::Table;
use serde::Serialize;

use crate::fields::{
    BARRIER, CHUNKS, COLUMNS, DEPTHWISE, DST_BASE, DST_STEP_CHUNK, DST_STEP_Y, FENCE, FIRST_BEAT, Field, GATED, HI,
    INSTRUCTION_WORDS, IsaError, LO, NX, NY, OPCODE, Opcode, PARTIAL, ROT, ROT_STEP, RUN, SRC_BASE, SRC_STEP_WX,
    SRC_STEP_WY, SRC_STEP_X, SRC_STEP_Y, STEP_BEATS, SUM_SHIFT, SWAP_TABLES, TABLE, TILES, WEIGHT_ADDR, WIDE, WIN_X,
    WIN_Y, WINDOW_SUM, ZERO_POINT, check_unused,
};

/// Bytes of a lane that addresses of 16 bits reach.
pub const MAX_LANE_BYTES: usize = 1 << 16;
/// Weight words that addresses of 24 bits reach.
pub const MAX_WEIGHT_WORDS: usize = 1 << 24;
/// Instructions of the largest program memory.
pub const MAX_INSTRUCTIONS: usize = 1 << 16;

/// Operands of [`Instruction::Conv`].
///
/// It reads `src_base + y*src_step_y + x*src_step_x + wy*src_step_wy + wx*src_step_wx` plus the offset of
/// the row, modulo 2^16, for all `y`, `x`, `wy`, `wx` (`wx` innermost), and writes the maximum or sum of each
/// window at `dst_base + y*dst_step_y + x*dst_step_x + chunk*dst_step_chunk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConvInstruction {
    /// Waits for all earlier writes.
    pub barrier: bool,
    /// Waits for all earlier SAVEs and RESTOREs.
    pub fence: bool,
    /// Leaves the sums in the accumulators for the next CONV and writes nothing.
    pub partial: bool,
    /// Code of the left shift of the sums of every tile, 0..=3, see [`Self::shift_bits`]; 0 unless `partial`.
    pub sum_shift: u8,
    /// Whether the results pass tables, and whether these are loaded; off if `partial`.
    pub table: Table,
    /// Lane writes of one output, 1..=16.
    pub chunks: u8,
    /// Columns that hold output channels, 1..=32.
    pub columns: u8,
    /// Chunk `k`: lane `l` takes column `l + rot + k*rot_step`, if that is in `0..columns`; -32..=31.
    pub rot: i8,
    /// See `rot`.
    pub rot_step: i8,
    /// Weight tiles, 1..=32767.
    pub tiles: u16,
    /// Write address step of chunks.
    pub dst_step_chunk: u16,
    /// First weight word, 24 bits: `tiles * rows` words of weights, then, unless `partial`, five of parameters and those
    /// of the tables that are loaded.
    pub weight_addr: u32,
    /// Added after the shift.
    pub zero_point: i8,
    /// First read address.
    pub src_base: u16,
    /// Read address step of outputs in x.
    pub src_step_x: u16,
    /// Read address step of outputs in y.
    pub src_step_y: u16,
    /// Read address step inside the window in x.
    pub src_step_wx: u16,
    /// Read address step inside the window in y.
    pub src_step_wy: u16,
    /// Pooling window `[y, x]`, each 1..=15.
    pub window: [u8; 2],
    /// Takes the sum of each window instead of the maximum.
    pub window_sum: bool,
    /// The depthwise unit computes: the window is 1x1, and its steps are a [`Stream`] instead.
    pub depthwise: bool,
    /// Weights of 1 stand for gates; only with `depthwise`.
    pub gated: bool,
    /// Results have 16 bits, of which chunk 0 writes the high digit and chunk 1 the low one; only with `depthwise`, two
    /// chunks and no table, and neither `zero_point` nor `lo` and `hi` matter then.
    pub wide: bool,
    /// Smallest output.
    pub lo: i8,
    /// Largest output.
    pub hi: i8,
    /// Outputs in x, 1..=4095.
    pub nx: u16,
    /// Outputs in y, 1..=4095.
    pub ny: u16,
    /// First write address.
    pub dst_base: u16,
    /// Write address step of rows.
    pub dst_step_y: u16,
    /// Write address step of outputs in x, 1..=15; 1 unless the window is 1x1 and the array computes.
    pub dst_step_x: u16,
}

impl ConvInstruction {
    /// Outputs, after pooling.
    pub fn outputs(&self) -> u32 {
        u32::from(self.nx) * u32::from(self.ny)
    }

    /// Elements of the pooling window.
    pub fn window_size(&self) -> u32 {
        u32::from(self.window[0]) * u32::from(self.window[1])
    }

    /// Bits by which the sums of every tile are shifted to the left: 0, 2, 4 or 6, those of the depthwise unit 0, 4, 6 or 8.
    pub fn shift_bits(&self) -> u32 {
        let code = u32::from(self.sum_shift);
        if self.depthwise && code > 0 { 2 * code + 2 } else { 2 * code }
    }

    /// Pixels that one tile streams where so many clusters share the rows of outputs.
    pub fn pixels(&self, clusters: usize) -> u32 {
        let rows = u32::from(self.ny).div_ceil(clusters as u32);
        match self.stream() {
            Some(stream) if stream.joined => stream.positions.into(),
            Some(stream) => u32::from(stream.positions) * rows,
            None => self.bank_pixels(clusters),
        }
    }

    /// Pixels that are accumulated, in all clusters together.
    pub fn accumulators(&self) -> u32 {
        self.outputs() * self.window_size()
    }

    /// Pixels that an accumulator bank of each of so many clusters has to hold.
    pub fn bank_pixels(&self, clusters: usize) -> u32 {
        u32::from(self.ny).div_ceil(clusters as u32) * u32::from(self.nx) * self.window_size()
    }

    /// Whether the field of `src_step_wx`, which a window of one pixel does not need, holds `dst_step_x`.
    fn spreads(&self) -> bool {
        self.window == [1, 1] && !self.depthwise
    }

    /// What the depthwise unit streams; `None` without it.
    pub fn stream(&self) -> Option<Stream> {
        self.depthwise.then(|| Stream::from_steps(self.src_step_wx, self.src_step_wy))
    }
}

/// What a CONV with `depthwise` streams, in the place of the steps of the pooling window: a run of neighbouring
/// bytes for each row of outputs, or one for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Bytes of a run, 1..=4095: `src_step_wx`.
    pub positions: u16,
    /// Positions before the first output of a run: bits 3:0 of `src_step_wy`.
    pub lead: u8,
    /// Positions between two outputs: bits 7:4.
    pub skip: u8,
    /// Positions between two rows of outputs of one run: bits 11:8.
    pub gap: u8,
    /// One run holds all rows: bit 12.
    pub joined: bool,
}

impl Stream {
    /// From `src_step_wx` and `src_step_wy`.
    pub fn from_steps(wx: u16, wy: u16) -> Stream {
        let nibble = |bit: u16| (wy >> bit & 15) as u8;
        Stream { positions: wx, lead: nibble(0), skip: nibble(4), gap: nibble(8), joined: wy >> 12 & 1 == 1 }
    }

    /// `src_step_wx` and `src_step_wy`.
    pub fn to_steps(self) -> [u16; 2] {
        let Stream { positions, lead, skip, gap, joined } = self;
        let nibbles = [lead, skip, gap].iter().rev().fold(u16::from(joined), |bits, n| bits << 4 | u16::from(*n & 15));
        [positions, nibbles]
    }

    /// The positions of a run of `rows` rows of `width` outputs whose sums are kept.
    pub fn kept(self, width: u16, rows: u16) -> impl Iterator<Item = usize> {
        let [lead, step] = [self.lead, self.skip + 1].map(usize::from);
        let row = (usize::from(width) - 1) * step + usize::from(self.gap) + 1;
        (0..usize::from(rows)).flat_map(move |y| (0..usize::from(width)).map(move |x| lead + y * row + x * step))
    }

    /// Positions of such a run up to its last output; `width` and `rows` are at least 1.
    pub fn length(self, width: u16, rows: u16) -> i64 {
        let [width, rows, skip] = [i64::from(width), i64::from(rows), i64::from(self.skip)];
        let row = (width - 1) * (skip + 1) + 1;
        i64::from(self.lead) + rows * row + (rows - 1) * i64::from(self.gap)
    }
}

/// A rectangle of lane addresses `base + y*step_y + x`, `x < nx`, `y < ny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Area {
    /// First address.
    pub base: u16,
    /// Step of rows.
    pub step_y: u16,
    /// Width, 1..=4095.
    pub nx: u16,
    /// Height, 1..=4095.
    pub ny: u16,
}

impl Area {
    /// Addresses in the rectangle.
    pub fn cells(&self) -> u32 {
        u32::from(self.nx) * u32::from(self.ny)
    }
}

/// Operands of SAVE and RESTORE: address `lane_base + p*lane_step + i` of all lanes and the beats from
/// `first_beat + p*step_beats + i*beats` on of external memory, for `p < planes`, `i < run`; an address of all lanes takes
/// `beats` beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TransferInstruction {
    /// Into the lanes (RESTORE); else out of them (SAVE).
    pub restore: bool,
    /// Waits for all earlier writes; else for those of all blocks but the newest.
    pub barrier: bool,
    /// First address of the lanes.
    pub lane_base: u16,
    /// Step of runs in the lanes.
    pub lane_step: u16,
    /// Addresses of a run, at least 1.
    pub run: u16,
    /// Runs, 1..=4095.
    pub planes: u16,
    /// First beat, 24 bits.
    pub first_beat: u32,
    /// Step of runs in external memory, 24 bits.
    pub step_beats: u32,
}

impl TransferInstruction {
    /// Every lane address with the number of its first beat, in order.
    pub fn words(self, beats_per_word: usize) -> impl Iterator<Item = (u16, usize)> {
        (0..self.planes).flat_map(move |plane| {
            let lane = self.lane_base.wrapping_add(plane.wrapping_mul(self.lane_step));
            let beat = self.first_beat as usize + usize::from(plane) * self.step_beats as usize;
            (0..self.run).map(move |i| (lane.wrapping_add(i), beat + usize::from(i) * beats_per_word))
        })
    }
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Instruction {
    /// Stops the program.
    End,
    /// One block of output channels over one rectangle of pixels.
    Conv(ConvInstruction),
    /// Writes `value` to all lanes.
    Fill {
        /// The value.
        value: i8,
        /// Where.
        area: Area,
    },
    /// Takes one beat of `rows` bytes an address. With `replicate` = C > 0, lane `l` takes byte `l % C`
    /// for `l < C * (rows / C)`, else its own.
    Load {
        /// Channels to replicate, 1..=4, or 0.
        replicate: u8,
        /// The packet of the input stream goes on in another LOAD; else TLAST comes with the last beat.
        more: bool,
        /// Where.
        area: Area,
    },
    /// Sends one beat of `rows` bytes an address.
    Store {
        /// The packet of the output stream goes on in another STORE; else the last beat carries TLAST.
        more: bool,
        /// The beats wait as gates for the depthwise unit instead of leaving.
        gates: bool,
        /// Lanes of the last beat of the packet that count for the class, at most 32; of other beats all do. 0: none of
        /// this instruction.
        class_lanes: u8,
        /// From where.
        area: Area,
    },
    /// SAVE or RESTORE.
    Transfer(TransferInstruction),
}

/// Makes each stream of a program one packet: only its last LOAD and its last STORE end one.
pub fn end_packets(instructions: &mut [Instruction]) {
    let (mut input, mut output) = (false, false);
    for instruction in instructions.iter_mut().rev() {
        match instruction {
            Instruction::Load { more, .. } => *more = std::mem::replace(&mut input, true),
            Instruction::Store { more, gates: false, .. } => *more = std::mem::replace(&mut output, true),
            _ => {}
        }
    }
}

impl Instruction {
    /// Beats that it takes from the input stream.
    pub fn beats_in(&self) -> u32 {
        if let Instruction::Load { area, .. } = self { area.cells() } else { 0 }
    }

    /// Beats that it sends to the output stream.
    pub fn beats_out(&self) -> u32 {
        if let Instruction::Store { gates: false, area, .. } = self { area.cells() } else { 0 }
    }

    /// The operation.
    pub fn opcode(&self) -> Opcode {
        match self {
            Instruction::End => Opcode::End,
            Instruction::Conv(_) => Opcode::Conv,
            Instruction::Fill { .. } => Opcode::Fill,
            Instruction::Load { .. } => Opcode::Load,
            Instruction::Store { .. } => Opcode::Store,
            Instruction::Transfer(transfer) if transfer.restore => Opcode::Restore,
            Instruction::Transfer(_) => Opcode::Save,
        }
    }

    /// The eight words.
    ///
    /// # Errors
    /// [`IsaError::OutOfRange`] for the first operand that does not fit or makes no sense.
    pub fn encode(&self) -> Result<[u32; INSTRUCTION_WORDS], IsaError> {
        self.check()?;
        let mut words = [0; INSTRUCTION_WORDS];
        OPCODE.put(&mut words, self.opcode() as i64)?;
        match self {
            Instruction::End => {}
            Instruction::Conv(conv) => {
                for (field, value) in conv_values(conv) {
                    field.put(&mut words, value)?;
                }
            }
            Instruction::Fill { value, area } => {
                ZERO_POINT.put(&mut words, i64::from(*value))?;
                put_area(&mut words, area, DST_BASE, DST_STEP_Y)?;
            }
            Instruction::Load { replicate, area, more } => {
                PARTIAL.put(&mut words, (*more).into())?;
                COLUMNS.put(&mut words, i64::from(*replicate))?;
                put_area(&mut words, area, DST_BASE, DST_STEP_Y)?;
            }
            Instruction::Store { area, more, gates, class_lanes } => {
                COLUMNS.put(&mut words, i64::from(*class_lanes))?;
                PARTIAL.put(&mut words, (*more).into())?;
                GATED.put(&mut words, (*gates).into())?;
                put_area(&mut words, area, SRC_BASE, SRC_STEP_Y)?;
            }
            Instruction::Transfer(transfer) => {
                for (field, value) in transfer_values(transfer) {
                    field.put(&mut words, value)?;
                }
            }
        }
        Ok(words)
    }

    /// The instruction that eight words mean.
    ///
    /// # Errors
    /// Unknown opcodes, bits that the opcode does not read, operands that make no sense.
    pub fn decode(words: &[u32; INSTRUCTION_WORDS]) -> Result<Instruction, IsaError> {
        let code = OPCODE.get(words);
        let opcode = Opcode::ALL.into_iter().find(|o| *o as i64 == code).ok_or(IsaError::UnknownOpcode(code as u32))?;
        check_unused(opcode, words)?;
        let get = |field: Field| field.get(words);
        // The casts below cannot lose bits: no field is wider than the type of its operand.
        let area = |base: Field, step: Field| Area {
            base: get(base) as u16,
            step_y: get(step) as u16,
            nx: get(NX) as u16,
            ny: get(NY) as u16,
        };
        let instruction = match opcode {
            Opcode::End => Instruction::End,
            Opcode::Conv => Instruction::Conv(decode_conv(words)),
            Opcode::Fill => Instruction::Fill { value: get(ZERO_POINT) as i8, area: area(DST_BASE, DST_STEP_Y) },
            Opcode::Load => Instruction::Load {
                replicate: get(COLUMNS) as u8,
                more: get(PARTIAL) != 0,
                area: area(DST_BASE, DST_STEP_Y),
            },
            Opcode::Store => Instruction::Store {
                more: get(PARTIAL) != 0,
                gates: get(GATED) != 0,
                class_lanes: get(COLUMNS) as u8,
                area: area(SRC_BASE, SRC_STEP_Y),
            },
            Opcode::Save | Opcode::Restore => Instruction::Transfer(TransferInstruction {
                restore: opcode == Opcode::Restore,
                barrier: get(BARRIER) != 0,
                lane_base: get(DST_BASE) as u16,
                lane_step: get(DST_STEP_Y) as u16,
                run: get(RUN) as u16,
                planes: get(NY) as u16,
                first_beat: get(FIRST_BEAT) as u32,
                step_beats: get(STEP_BEATS) as u32,
            }),
        };
        instruction.check()?;
        Ok(instruction)
    }

    /// Bounds that are tighter than the widths of the fields.
    fn check(&self) -> Result<(), IsaError> {
        let within = |field: Field, value: i64, min: i64, max: i64| {
            if value < min || value > max {
                return Err(IsaError::OutOfRange { field: field.name, value, min, max });
            }
            Ok(())
        };
        let area_within = |area: &Area| {
            within(NX, area.nx.into(), 1, NX.range().1)?;
            within(NY, area.ny.into(), 1, NY.range().1)
        };
        match self {
            Instruction::End => Ok(()),
            Instruction::Conv(c) => {
                within(CHUNKS, i64::from(c.chunks) - 1, 0, CHUNKS.range().1)?;
                within(COLUMNS, c.columns.into(), 1, 32)?;
                within(TILES, c.tiles.into(), 1, TILES.range().1)?;
                if c.partial {
                    within(TABLE, c.table.code().into(), 0, 0)?;
                } else {
                    within(SUM_SHIFT, c.sum_shift.into(), 0, 0)?;
                }
                within(WIN_Y, c.window[0].into(), 1, WIN_Y.range().1)?;
                within(WIN_X, c.window[1].into(), 1, WIN_X.range().1)?;
                if !c.depthwise {
                    within(GATED, c.gated.into(), 0, 0)?;
                    within(WIDE, c.wide.into(), 0, 0)?;
                }
                if c.table == Table::Swapped {
                    within(WIN_Y, c.window[0].into(), 1, 1)?;
                    within(WIN_X, c.window[1].into(), 1, 1)?;
                }
                if c.table.code() == Table::Kept.code() && c.window == [1, 1] {
                    within(SRC_STEP_WY, (c.src_step_wy >> SWAP_TABLES.lo & 1).into(), 0, 0)?;
                }
                if c.wide {
                    within(PARTIAL, c.partial.into(), 0, 0)?;
                    within(TABLE, c.table.code().into(), 0, 0)?;
                    within(CHUNKS, i64::from(c.chunks) - 1, 1, 1)?;
                }
                if let Some(stream) = c.stream() {
                    within(WIN_Y, c.window[0].into(), 1, 1)?;
                    within(WIN_X, c.window[1].into(), 1, 1)?;
                    within(WINDOW_SUM, c.window_sum.into(), 0, 0)?;
                    within(NX, c.nx.into(), 1, NX.range().1)?;
                    within(NY, c.ny.into(), 1, NY.range().1)?;
                    // A run ends with its last output.
                    let rows = if stream.joined { c.ny } else { 1 };
                    let end = stream.length(c.nx, rows);
                    within(SRC_STEP_WX, stream.positions.into(), end, end.min(NX.range().1))?;
                    within(SRC_STEP_WY, c.src_step_wy.into(), 0, 0x1fff)?;
                }
                if c.spreads() {
                    within(SRC_STEP_WX, c.src_step_wx.into(), 0, 0)?;
                    within(SRC_STEP_WX, c.dst_step_x.into(), 1, 15)?;
                } else {
                    within(SRC_STEP_WX, c.dst_step_x.into(), 1, 1)?;
                }
                within(HI, c.hi.into(), c.lo.into(), 127)?;
                area_within(&Area { base: 0, step_y: 0, nx: c.nx, ny: c.ny })
            }
            Instruction::Load { replicate, area, .. } => {
                within(COLUMNS, (*replicate).into(), 0, 4)?;
                area_within(area)
            }
            Instruction::Store { more, gates: true, area, class_lanes } => {
                // Gates are part of no packet.
                within(PARTIAL, (*more).into(), 0, 0)?;
                within(COLUMNS, (*class_lanes).into(), 0, 0)?;
                area_within(area)
            }
            Instruction::Store { area, class_lanes, .. } => {
                within(COLUMNS, (*class_lanes).into(), 0, 32)?;
                area_within(area)
            }
            Instruction::Fill { area, .. } => area_within(area),
            Instruction::Transfer(transfer) => {
                within(RUN, transfer.run.into(), 1, RUN.range().1)?;
                within(NY, transfer.planes.into(), 1, NY.range().1)
            }
        }
    }
}

fn put_area(words: &mut [u32; INSTRUCTION_WORDS], area: &Area, base: Field, step: Field) -> Result<(), IsaError> {
    base.put(words, area.base.into())?;
    step.put(words, area.step_y.into())?;
    NX.put(words, area.nx.into())?;
    NY.put(words, area.ny.into())
}

fn transfer_values(t: &TransferInstruction) -> [(Field, i64); 7] {
    [
        (BARRIER, t.barrier.into()),
        (DST_BASE, t.lane_base.into()),
        (DST_STEP_Y, t.lane_step.into()),
        (RUN, t.run.into()),
        (NY, t.planes.into()),
        (FIRST_BEAT, t.first_beat.into()),
        (STEP_BEATS, t.step_beats.into()),
    ]
}

fn conv_values(c: &ConvInstruction) -> [(Field, i64); 29] {
    [
        (BARRIER, c.barrier.into()),
        (FENCE, c.fence.into()),
        (PARTIAL, c.partial.into()),
        if c.partial { (SUM_SHIFT, c.sum_shift.into()) } else { (TABLE, c.table.code().into()) },
        (CHUNKS, i64::from(c.chunks) - 1),
        (COLUMNS, c.columns.into()),
        (ROT, c.rot.into()),
        (ROT_STEP, c.rot_step.into()),
        (TILES, c.tiles.into()),
        (DST_STEP_CHUNK, c.dst_step_chunk.into()),
        (WEIGHT_ADDR, c.weight_addr.into()),
        (ZERO_POINT, c.zero_point.into()),
        (SRC_BASE, c.src_base.into()),
        (SRC_STEP_X, c.src_step_x.into()),
        (SRC_STEP_Y, c.src_step_y.into()),
        (SRC_STEP_WX, if c.spreads() { c.dst_step_x.into() } else { c.src_step_wx.into() }),
        (SRC_STEP_WY, c.src_step_wy.into()),
        if c.depthwise { (GATED, c.gated.into()) } else { (WINDOW_SUM, c.window_sum.into()) },
        (DEPTHWISE, c.depthwise.into()),
        // The array's step has this bit, too.
        (WIDE, c.wide.into()),
        (SWAP_TABLES, (c.table == Table::Swapped).into()),
        (WIN_X, c.window[1].into()),
        (WIN_Y, c.window[0].into()),
        (LO, c.lo.into()),
        (NX, c.nx.into()),
        (NY, c.ny.into()),
        (HI, c.hi.into()),
        (DST_BASE, c.dst_base.into()),
        (DST_STEP_Y, c.dst_step_y.into()),
    ]
}

fn decode_conv(words: &[u32; INSTRUCTION_WORDS]) -> ConvInstruction {
    let get = |field: Field| field.get(words);
    let partial = get(PARTIAL) != 0;
    let depthwise = get(DEPTHWISE) != 0;
    let table = if partial { Table::Off } else { Table::ALL[get(TABLE) as usize] };
    let single = get(WIN_X) == 1 && get(WIN_Y) == 1;
    let swapped = table == Table::Kept && single && get(SWAP_TABLES) != 0;
    let table = if swapped { Table::Swapped } else { table };
    // Bits that are no part of the step.
    let flags = u16::from(depthwise) << WIDE.lo | u16::from(swapped) << SWAP_TABLES.lo;
    let conv = ConvInstruction {
        barrier: get(BARRIER) != 0,
        fence: get(FENCE) != 0,
        partial,
        sum_shift: if partial { get(SUM_SHIFT) as u8 } else { 0 },
        table,
        chunks: get(CHUNKS) as u8 + 1,
        columns: get(COLUMNS) as u8,
        rot: get(ROT) as i8,
        rot_step: get(ROT_STEP) as i8,
        tiles: get(TILES) as u16,
        dst_step_chunk: get(DST_STEP_CHUNK) as u16,
        weight_addr: get(WEIGHT_ADDR) as u32,
        zero_point: get(ZERO_POINT) as i8,
        src_base: get(SRC_BASE) as u16,
        src_step_x: get(SRC_STEP_X) as u16,
        src_step_y: get(SRC_STEP_Y) as u16,
        src_step_wx: get(SRC_STEP_WX) as u16,
        src_step_wy: get(SRC_STEP_WY) as u16 & !flags,
        window: [get(WIN_Y) as u8, get(WIN_X) as u8],
        window_sum: !depthwise && get(WINDOW_SUM) != 0,
        depthwise,
        gated: depthwise && get(GATED) != 0,
        wide: depthwise && get(WIDE) != 0,
        lo: get(LO) as i8,
        hi: get(HI) as i8,
        nx: get(NX) as u16,
        ny: get(NY) as u16,
        dst_base: get(DST_BASE) as u16,
        dst_step_y: get(DST_STEP_Y) as u16,
        dst_step_x: 1,
    };
    if conv.spreads() { ConvInstruction { dst_step_x: conv.src_step_wx, src_step_wx: 0, ..conv } } else { conv }
}
