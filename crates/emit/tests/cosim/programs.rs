//! Random instruction streams that use what no compiled network would: the lanes are four regions, every
//! group of CONVs reads one and writes another, with any steps, windows, rotations and offsets that stay
//! inside, sums in one part or several with any shifts, any mix of FILL, LOAD and STORE between them, tiny and
//! long passes, and extreme numbers; and, where there is a port for spilled tensors, SAVEs and RESTOREs of what no block
//! touches until a fence.

use espalier_lower::testing::Random;
use espalier_lower::{
    Area, ConvInstruction, Instruction, Machine, PARAMETER_WORDS, Stream, TransferInstruction, WeightWord, end_packets,
};
use espalier_target::{AcceleratorConfig, GATE_QUEUE, Table};

/// Regions of the lanes.
const REGIONS: usize = 4;

pub struct RandomProgram {
    instructions: Vec<Instruction>,
    weights: Vec<WeightWord>,
}

impl RandomProgram {
    fn words(&self) -> Vec<u32> {
        self.instructions.iter().flat_map(|i| i.encode().expect("random instructions are legal")).collect()
    }

    pub fn machine(&self, config: &AcceleratorConfig) -> Machine {
        Machine::new(config, &self.words(), &self.weights).expect("random programs are legal")
    }

    pub fn image(&self) -> String {
        self.words().iter().map(|w| format!("{w:08x}\n")).collect()
    }

    pub fn weight_image(&self, config: &AcceleratorConfig) -> String {
        self.weights.iter().map(|w| w.to_hex(config) + "\n").collect()
    }

    fn beats(&self, count: impl Fn(&Instruction) -> u32) -> usize {
        self.instructions.iter().map(|i| count(i) as usize).sum()
    }

    /// CONVs of a kind.
    pub fn convs(&self, kind: impl Fn(&ConvInstruction) -> bool) -> usize {
        self.instructions.iter().filter(|i| matches!(i, Instruction::Conv(conv) if kind(conv))).count()
    }

    /// Bytes of external memory that its SAVEs write.
    pub fn spill_bytes(&self, config: &AcceleratorConfig) -> usize {
        let Some(memory) = config.spill_memory() else { return 0 };
        let end = |i: &Instruction| match i {
            Instruction::Transfer(t) => {
                t.words(memory.beats_per_word).map(|(_, beat)| beat + memory.beats_per_word).max()
            }
            _ => None,
        };
        memory.bytes_per_cycle * self.instructions.iter().filter_map(end).max().unwrap_or(0)
    }

    pub fn beats_out(&self) -> usize {
        self.beats(Instruction::beats_out)
    }

    pub fn random_beats(&self, rows: usize, random: &mut Random) -> Vec<Vec<u8>> {
        let beats = self.beats(Instruction::beats_in);
        let extreme = random.chance(30);
        (0..beats).map(|_| (0..rows).map(|_| byte(random, extreme)).collect()).collect()
    }
}

/// Any byte, or often an end of the range.
fn byte(random: &mut Random, extreme: bool) -> u8 {
    if extreme && random.chance(80) { if random.chance(50) { 0x80 } else { 0x7f } } else { random.bits() as u8 }
}

/// A program that sends as many gates as there is room for, and takes none: what an error in the middle of a program leaves.
pub fn abandoned_gates(config: &AcceleratorConfig) -> RandomProgram {
    let cell = Area { base: 0, step_y: 0, nx: 1, ny: 1 };
    let instructions = vec![
        Instruction::Load { replicate: 0, more: false, area: cell },
        Instruction::Store { more: false, gates: true, class_lanes: 0, area: Area { ny: GATE_QUEUE as u16, ..cell } },
        Instruction::Store { more: false, gates: false, class_lanes: 0, area: cell },
        Instruction::End,
    ];
    RandomProgram { instructions, weights: vec![WeightWord::empty(config.cols)] }
}

pub fn random_program(config: &AcceleratorConfig, random: &mut Random) -> RandomProgram {
    let mut writer = Writer {
        config,
        random,
        instructions: Vec::new(),
        weights: Vec::new(),
        busy: Vec::new(),
        saved: Vec::new(),
        moving: Vec::new(),
    };
    // Every byte is written once, so that any read is defined.
    for region in 0..REGIONS {
        let area = Area { base: writer.base(region), step_y: 0, nx: writer.region() as u16, ny: 1 };
        let value = writer.random.bits() as i8;
        writer.instructions.push(Instruction::Fill { value, area });
    }
    for _ in 0..writer.random.within(1, 8) {
        match writer.random.within(0, 9) {
            0 => writer.fill(),
            1 | 2 => writer.load(),
            3 => writer.store(),
            _ => writer.layer(),
        }
    }
    writer.load();
    writer.layer();
    writer.store();
    end_packets(&mut writer.instructions);
    writer.instructions.push(Instruction::End);
    RandomProgram { instructions: writer.instructions, weights: writer.weights }
}

/// What one CONV of a block computes.
struct Part {
    tiles: usize,
    shift: u8,
    partial: bool,
    /// The depthwise unit computes it.
    unit: Option<Unit>,
}

struct Unit {
    stream: Stream,
    gated: bool,
    wide: bool,
}

struct Writer<'a> {
    config: &'a AcceleratorConfig,
    random: &'a mut Random,
    instructions: Vec<Instruction>,
    weights: Vec<WeightWord>,
    /// Regions that the newest block reads and writes.
    busy: Vec<usize>,
    /// All SAVEs so far.
    saved: Vec<TransferInstruction>,
    /// Regions that transfers touch since the last fence.
    moving: Vec<usize>,
}

impl Writer<'_> {
    fn region(&self) -> usize {
        self.config.lane_bytes / REGIONS
    }

    fn base(&self, region: usize) -> u16 {
        (region * self.region()) as u16
    }

    /// A rectangle, often of few cells.
    fn area(&mut self) -> Area {
        let region = self.random.within(0, REGIONS - 1);
        self.area_in(region)
    }

    fn area_in(&mut self, region: usize) -> Area {
        let most = if self.random.chance(50) { 3 } else { 20 };
        let (nx, ny) = (self.random.within(1, most), self.random.within(1, most));
        let step = self.random.within(0, 40);
        let room = self.region() - (step * (ny - 1) + nx);
        let base = self.base(region) + self.random.within(0, room) as u16;
        Area { base, step_y: step as u16, nx: nx as u16, ny: ny as u16 }
    }

    /// FILLs of regions that the block before them neither reads nor writes.
    fn fill(&mut self) {
        if matches!(self.instructions.last(), Some(Instruction::Transfer(_))) {
            return;
        }
        for _ in 0..self.random.within(1, 4) {
            let free: Vec<usize> =
                (0..REGIONS).filter(|r| !self.busy.contains(r) && !self.moving.contains(r)).collect();
            if free.is_empty() {
                return;
            }
            let region = free[self.random.within(0, free.len() - 1)];
            let area = self.area_in(region);
            let value = self.random.bits() as i8;
            self.instructions.push(Instruction::Fill { value, area });
        }
    }

    /// Transfers of regions that the block before them neither reads nor writes, often more than the queue holds.
    fn transfers(&mut self) {
        let Some(memory) = self.config.spill_memory() else { return };
        for _ in 0..self.random.within(1, 6) {
            let free: Vec<usize> = (0..REGIONS).filter(|r| !self.busy.contains(r)).collect();
            let region = free[self.random.within(0, free.len() - 1)];
            self.moving.push(region);
            let restore = !self.saved.is_empty() && self.random.chance(50);
            let mut transfer = if restore {
                self.saved[self.random.within(0, self.saved.len() - 1)]
            } else {
                let most = (self.region() - 1).min(if self.random.chance(50) { 3 } else { 60 });
                let run = self.random.within(1, most);
                let planes = self.random.within(1, 3.min(self.region() / run));
                let step = self.random.within(run, 60) * memory.beats_per_word;
                TransferInstruction {
                    restore: false,
                    barrier: false,
                    lane_base: 0,
                    lane_step: 0,
                    run: run as u16,
                    planes: planes as u16,
                    first_beat: self.random.within(0, 3000) as u32,
                    step_beats: step as u32,
                }
            };
            let (run, planes) = (usize::from(transfer.run), usize::from(transfer.planes));
            let slack = self.region() - run * planes;
            let step = run + if planes > 1 { self.random.within(0, slack / (planes - 1)) } else { 0 };
            let room = self.region() - (step * (planes - 1) + run);
            transfer.lane_base = self.base(region) + self.random.within(0, room) as u16;
            transfer.lane_step = step as u16;
            transfer.restore = restore;
            transfer.barrier = self.random.chance(20);
            if !restore {
                self.saved.push(transfer);
            }
            self.instructions.push(Instruction::Transfer(transfer));
        }
    }

    fn load(&mut self) {
        self.moving.clear();
        self.busy.clear();
        for _ in 0..self.random.within(1, 2) {
            let area = self.area();
            let replicate = if self.random.chance(50) { 0 } else { self.random.within(1, 4) as u8 };
            self.instructions.push(Instruction::Load { replicate, more: false, area });
        }
    }

    fn store(&mut self) {
        self.moving.clear();
        self.busy.clear();
        for _ in 0..self.random.within(1, 2) {
            let area = self.area();
            let looks = self.config.argmax && self.random.chance(70);
            let class_lanes = if looks { self.random.within(1, self.config.rows) as u8 } else { 0 };
            self.instructions.push(Instruction::Store { more: false, gates: false, class_lanes, area });
        }
    }

    /// CONVs that read one region and write another; only the first needs a barrier.
    fn layer(&mut self) {
        let from = self.random.within(0, REGIONS - 1);
        let to = (from + self.random.within(1, REGIONS - 1)) % REGIONS;
        let count = if self.random.chance(30) { 1 } else { self.random.within(1, 7) };
        for i in 0..count {
            let barrier = i == 0 || self.random.chance(10);
            self.block(from, to, barrier);
            self.busy = vec![from, to];
            if self.random.chance(15) {
                self.fill();
            }
            if self.random.chance(25) {
                self.transfers();
            }
        }
    }

    /// One CONV, or partial ones before it that read other addresses.
    fn block(&mut self, from: usize, to: usize, barrier: bool) {
        if self.config.states && self.random.chance(40) {
            return self.state_block([from, to], barrier);
        }
        let counts = self.counts();
        let columns = if self.random.chance(60) { self.config.cols } else { self.random.within(1, self.config.cols) };
        let mut parts = if self.random.chance(60) { 1 } else { self.random.within(2, 4) };
        let window_sum = self.random.chance(30);
        // Products that the accumulators of one pixel surely hold beside the bias.
        let area = if window_sum { counts.1[0] * counts.1[1] } else { 1 };
        let mut room = (1usize << (self.config.accumulator_bits - 3)) / (127 * 128 * self.config.rows * area);
        if room < 2 {
            parts = 1;
        }
        for part in 1..=parts {
            let tiles = if self.random.chance(30) { 1 } else { self.random.within(1, 6) };
            let tiles = if parts > 1 { tiles.min((room / 2).max(1)) } else { tiles };
            let shift = (0..=self.random.within(0, 3)).rev().find(|s| tiles << (2 * s) <= room / 2).unwrap_or(0);
            let shift = if part < parts && self.random.chance(50) { shift } else { 0 };
            room = room.saturating_sub(tiles << (2 * shift));
            if part < parts && room < 2 {
                continue;
            }
            let stream = if parts == 1 && counts.1 == [1, 1] { self.stream(counts.0) } else { None };
            let gated = stream.is_some() && self.config.gates && self.random.chance(50);
            if gated {
                self.gates(tiles);
            }
            let unit = stream.map(|stream| Unit { stream, gated, wide: false });
            self.conv([from, to], counts, columns, Part { tiles, shift: shift as u8, partial: part < parts, unit });
            self.waits([from, to], barrier);
            let Some(Instruction::Conv(conv)) = self.instructions.last_mut() else { unreachable!("just added") };
            conv.window_sum = window_sum && !conv.depthwise;
        }
    }

    /// Sums of one to four products of the depthwise unit over the same stream, gated or not, mostly to wide results.
    fn state_block(&mut self, [from, to]: [usize; 2], barrier: bool) {
        let (n, stream) = loop {
            let n = self.counts().0;
            if let Some(stream) = self.stream(n) {
                break (n, stream);
            }
        };
        let columns = if self.random.chance(60) { self.config.cols } else { self.random.within(1, self.config.cols) };
        let count = self.random.within(1, 4);
        let mut room = (1 << (self.config.accumulator_bits - 3)) / (128 * 128 * self.config.depthwise_taps);
        let mut parts = Vec::new();
        for index in 1..=count {
            // Something is left for the others.
            let most = room + index - count;
            let tiles = self.random.within(1, 3.min(most));
            let fits = |code: &usize| tiles << [0, 4, 6, 8][*code] <= most;
            let shift = (0..=self.random.within(0, 3)).rev().find(fits).unwrap_or(0);
            let (partial, gated) = (index < count, self.random.chance(50));
            let shift = if partial { shift } else { 0 };
            room -= tiles << [0, 4, 6, 8][shift];
            let wide = !partial && self.random.chance(80);
            parts.push(Part { tiles, shift: shift as u8, partial, unit: Some(Unit { stream, gated, wide }) });
        }
        let gated = |part: &&Part| part.unit.as_ref().is_some_and(|unit| unit.gated);
        let gates: usize = parts.iter().filter(gated).map(|part| part.tiles).sum();
        if gates > 0 {
            self.gates(gates);
        }
        for part in parts {
            self.conv([from, to], (n, [1, 1]), columns, part);
            self.waits([from, to], barrier);
        }
    }

    /// What the newest CONV, which reads and writes these regions, waits for.
    fn waits(&mut self, regions: [usize; 2], barrier: bool) {
        let meets = regions.iter().any(|region| self.moving.contains(region));
        let fence = self.config.spill_memory().is_some() && (meets || self.random.chance(10));
        if fence {
            self.moving.clear();
        }
        let Some(Instruction::Conv(conv)) = self.instructions.last_mut() else { unreachable!("just added") };
        conv.fence = fence;
        // The first waits, or a later one alone; with the rest of the block they may wait any number of times.
        conv.barrier = barrier || self.random.chance(10);
    }

    /// Output counts and window of a pass that the accumulators hold.
    fn counts(&mut self) -> ([usize; 2], [usize; 2]) {
        let limit = match self.random.within(0, 9) {
            0..3 => 3,
            3..6 => 2 * self.config.rows,
            _ => self.config.accumulator_pixels,
        };
        let limit = limit.min(self.config.accumulator_pixels).min(300);
        let clusters = self.config.clusters;
        loop {
            let mut window = [1, 1];
            if self.random.chance(40) {
                window = [self.random.within(1, 4), self.random.within(1, 4)];
            }
            let n = [self.random.within(1, 18), self.random.within(1, 18)];
            if n[0].div_ceil(clusters) * n[1] * window[0] * window[1] <= limit {
                return (n, window);
            }
        }
    }

    /// A stream of the depthwise unit over some outputs, if it is not too long.
    fn stream(&mut self, n: [usize; 2]) -> Option<Stream> {
        let taps = self.config.depthwise_taps;
        if taps == 0 || self.random.chance(50) {
            return None;
        }
        let nibble = |random: &mut Random| if random.chance(50) { 0 } else { random.within(0, 15) as u8 };
        let lead = if self.random.chance(70) { taps - 1 } else { self.random.within(taps - 1, 15) };
        let mut stream = Stream {
            positions: 0,
            lead: lead as u8,
            skip: nibble(self.random),
            gap: nibble(self.random),
            joined: self.random.chance(50) && self.config.clusters == 1,
        };
        stream.positions = stream.length(n[1] as u16, if stream.joined { n[0] as u16 } else { 1 }) as u16;
        (stream.positions < 200).then_some(stream)
    }

    fn conv(
        &mut self,
        [from, to]: [usize; 2],
        (n, window): ([usize; 2], [usize; 2]),
        columns: usize,
        Part { tiles, shift, partial, unit }: Part,
    ) {
        let stream = unit.as_ref().map(|unit| unit.stream);
        let (gated, wide) = unit.map_or((false, false), |unit| (unit.gated, unit.wide));
        let region = self.region();
        let steps =
            [self.random.within(0, 24), self.random.within(0, 3), self.random.within(0, 9), self.random.within(0, 3)];
        let extents = match stream {
            Some(stream) => [if stream.joined { 1 } else { n[0] }, usize::from(stream.positions), 1, 1],
            None => [n[0], n[1], window[0], window[1]],
        };
        let single = window == [1, 1] && stream.is_none();
        let dst_step_x = if single && self.random.chance(30) { self.random.within(1, 15) } else { 1 };
        let [step_wx, step_wy] = stream.map_or([steps[3] as u16, steps[2] as u16], Stream::to_steps);
        let reach: usize = steps.iter().zip(extents).map(|(step, n)| step * (n - 1)).sum();
        let slack = region - 1 - reach;
        // Part of the way to a pixel may be in the row offsets, also beyond the end of the 16-bit addresses.
        let split = self.random.within(0, 60_000) as u16;

        let chunks = if self.random.chance(60) { 1 } else { self.random.within(1, 9) };
        let chunks = if wide { 2 } else { chunks };
        let dst_step_y = self.random.within(0, 20);
        let chunk_step = self.random.within(0, 12);
        let dst_reach = dst_step_y * (n[0] - 1) + dst_step_x * (n[1] - 1) + chunk_step * (chunks - 1);
        let dst = self.random.within(0, region - 1 - dst_reach);

        let rot = self.random.within(0, 24) as i32 - 12;
        let rot_step = if chunks == 1 { 0 } else { self.random.within(0, 8) as i32 - 4 };
        let (a, b) = (self.random.bits() as i8, self.random.bits() as i8);
        let full = self.random.chance(50);
        let table = if partial || wide { Table::Off } else { self.table() };
        // Every other one goes back to the tables before.
        let swaps =
            table == Table::Kept && window == [1, 1] && self.loads() > 1 && self.instructions.len().is_multiple_of(2);
        let table = if swaps { Table::Swapped } else { table };
        // Where the window has one pixel, this bit says so.
        let step_wy =
            if table.code() == Table::Kept.code() && window == [1, 1] { step_wy & !(1 << 14) } else { step_wy };
        self.instructions.push(Instruction::Conv(ConvInstruction {
            barrier: false,
            fence: false,
            partial,
            sum_shift: shift,
            table,
            chunks: chunks as u8,
            columns: columns as u8,
            rot: rot as i8,
            rot_step: rot_step as i8,
            tiles: tiles as u16,
            dst_step_chunk: chunk_step as u16,
            weight_addr: self.weights.len() as u32,
            zero_point: self.random.bits() as i8,
            src_base: self.base(from).wrapping_sub(split),
            src_step_x: steps[1] as u16,
            src_step_y: steps[0] as u16,
            src_step_wx: if single { 0 } else { step_wx },
            src_step_wy: step_wy,
            window: [window[0] as u8, window[1] as u8],
            window_sum: false,
            depthwise: stream.is_some(),
            gated,
            wide,
            lo: if full { -128 } else { a.min(b) },
            hi: if full { 127 } else { a.max(b) },
            nx: n[1] as u16,
            ny: n[0] as u16,
            dst_base: self.base(to) + dst as u16,
            dst_step_y: dst_step_y as u16,
            dst_step_x: dst_step_x as u16,
        }));
        self.weight_stream(tiles, slack, split, (stream.is_some(), gated));
        if !partial {
            self.parameters(wide);
            for _ in 0..table.words(self.config.cols) {
                let bytes = (0..self.config.cols).map(|_| self.random.bits() as i8).collect();
                self.weights.push(WeightWord::new(bytes, 0));
            }
        }
    }

    /// Gates for so many tiles: a STORE, or two.
    fn gates(&mut self, tiles: usize) {
        self.moving.clear();
        self.busy.clear();
        let first = if self.random.chance(30) { tiles / 2 } else { 0 };
        for count in [first, tiles - first].into_iter().filter(|count| *count > 0) {
            let region = self.random.within(0, REGIONS - 1);
            let step = self.random.within(0, 40);
            let room = self.region() - (step * (count - 1) + 1);
            let base = self.base(region) + self.random.within(0, room) as u16;
            let area = Area { base, step_y: step as u16, nx: 1, ny: count as u16 };
            self.instructions.push(Instruction::Store { more: false, gates: true, class_lanes: 0, area });
        }
    }

    /// How often tables were loaded.
    fn loads(&self) -> usize {
        self.instructions.iter().filter(|i| matches!(i, Instruction::Conv(c) if c.table.loads())).count()
    }

    /// Tables that are loaded, or were by an instruction before.
    fn table(&mut self) -> Table {
        let loaded = self.instructions.iter().any(|i| matches!(i, Instruction::Conv(c) if c.table.loads()));
        match self.random.within(0, 5) {
            _ if !self.config.activation_tables => Table::Off,
            0 | 1 => Table::Off,
            2 => Table::Shared,
            3 => Table::Own,
            _ if loaded => Table::Kept,
            _ => Table::Shared,
        }
    }

    fn weight_stream(&mut self, tiles: usize, slack: usize, split: u16, (depthwise, gated): (bool, bool)) {
        let cols = self.config.cols;
        let extreme = self.random.chance(30);
        let sparse = self.random.chance(50);
        for _ in 0..tiles * self.config.rows {
            if sparse && self.random.chance(40) {
                // An unused row may point anywhere.
                let offset = self.random.bits() as u16;
                self.weights.push(WeightWord::new(vec![0; cols], offset));
                continue;
            }
            let offset = split.wrapping_add(self.random.within(0, slack) as u16);
            let bytes = if gated {
                (0..cols).map(|column| i8::from(column == 0)).collect()
            } else {
                (0..cols).map(|_| byte(self.random, extreme).cast_signed().max(-127)).collect()
            };
            let mut word = WeightWord::new(bytes, offset);
            if self.config.combine > 1 && !depthwise && self.random.chance(80) {
                // Now and then all weights select one of the two.
                let select = [self.random.bits() as u32, 0, u32::MAX][self.random.within(0, 5).min(2)];
                word.select = if self.random.chance(70) { self.random.bits() as u32 } else { select };
                // Columns that share a multiplier select the same; the partner of an odd last column is not there.
                word.select = self.config.occupied(word.select) & self.config.all_columns();
                word.second_offset = split.wrapping_add(self.random.within(0, slack) as u16);
            }
            self.weights.push(word);
        }
    }

    /// Biases and shifts; of wide results often such that a sum of 0 is about where they saturate or a digit changes, or a
    /// tie between two values there.
    fn parameters(&mut self, wide_results: bool) {
        let cols = self.config.cols;
        let mut words = vec![WeightWord::empty(cols); PARAMETER_WORDS];
        let wide = self.random.chance(50);
        for column in 0..cols {
            let bits = if wide { self.random.within(1, self.config.accumulator_bits as usize - 3) } else { 14 };
            let bias = (self.random.bits() as i32) >> (31 - bits);
            let shift = if wide { self.random.within(0, 31) } else { self.random.within(6, 12) };
            let (bias, shift) = if wide_results && self.random.chance(60) {
                let shift = self.random.within(0, self.config.accumulator_bits as usize - 20);
                let edge = [-32896, -32641, -128, 0, 127, 32639, 32384][self.random.within(0, 6)];
                let near = self.random.within(0, 4) as i32 - 2;
                let half = if self.random.chance(70) { 1 << shift >> 1 } else { near << shift };
                ((edge << shift) + half + near, shift)
            } else {
                (bias, shift)
            };
            for (word, byte) in words.iter_mut().zip(bias.to_le_bytes()) {
                word.bytes[column] = byte.cast_signed();
            }
            words[4].bytes[column] = shift as i8;
        }
        self.weights.extend(words);
    }
}
