//! Cycles of a program: the mirror of the sequencer, loader, streamer, drain and mover in `templates/rtl`.
//!
//! Three agents work on consecutive CONV instructions at the same time: the loader brings weight
//! tiles and parameters, the streamer sends pixels through the array, the drain reads finished
//! accumulators and writes the lanes. Each waits for the one before it and for the resource it
//! shares with its own predecessor. Partial CONVs and the one that completes their sums are one block: they share
//! a bank of accumulators, and the drain sees the last only. A FILL runs while the block before it streams; the
//! drain of that block waits for it. [`timeline`] computes, instruction by instruction, the cycle of
//! every such event; cycle 0 is the first one in which the program runs. The result equals the
//! hardware's counter for every program, so no constant here is fitted: each names the registers
//! that it counts.
//!
//! ```text
//! dispatch d      = max(fetched, loader ready, previous taken by the streamer, mover idle)
//! first word i0   = max(d + 1, previous swap + 1)
//! taken    t      = max(d + 1, previous stream end, writes before the previous block, barrier)
//! first pixel p0  = max(t + 1, i0 + rows - 1)
//! pass            = max(pixels, rows)
//! last swap       = p0 + (tiles - 1) * pass;   stream end = last swap + pixels - 1
//! parameters      = max(last tile's first word + rows, previous drain start + 2)
//! drain start     = max(stream end + rows + cols + 8, previous drain end + 1, parameters + 6, FILL behind it)
//! drain end       = drain start + outputs * (window - 1 + chunks) - 1
//! ```
//!
//! Transfers between the lanes and external memory run beside all of this, one after another, see `transfers.rs`. They wait
//! for blocks, write-back and FILL have precedence at the lanes, and nothing waits for them but LOAD, STORE, END and a CONV
//! with a fence.
//! The entries of a table follow the parameters, one a cycle, and count as such.
//!
//! Where weights are streamed, the last word of a tile and of the parameters waits until it is there, see
//! `external.rs`; tiles are then followed one by one.

mod activity;
mod transfers;

pub use activity::{Activity, Span, activities};

use crate::external::WeightStream;
use crate::table::TABLE_ENTRIES;
use crate::{AcceleratorConfig, Step, Table, Transfer};
use transfers::{Busy, Transfers};

/// From the start of a fetch to the first cycle in which the instruction may be dispatched: eight
/// addresses, two cycles of memory.
const FETCH_CYCLES: u64 = 10;
/// Words of bias and shift after the last weight tile of a CONV.
const PARAMETER_WORDS: u64 = 5;
/// From the last pixel of a stream to the first drain operation, without rows and columns: base
/// registers 3, lane address and memory 4, product and sum 2, accumulator write 1, less the two
/// cycles in which an operation reaches the accumulators itself.
const STREAM_TO_DRAIN: u64 = 8;
/// From the last parameter word to the first drain operation that may use it.
const PARAMETERS_TO_DRAIN: u64 = 2;
/// From the first drain operation to the first parameter word of the next instruction.
const DRAIN_TO_PARAMETERS: u64 = 2;
/// From a drain operation to the cycle behind its lane write, when the lanes hold the result: accumulator 4,
/// maximum, bias, two shifts, rounding, zero point and clamp 7, rotation and write 2.
const WRITE_BACK: u64 = 13;
/// What tables add to it: their memory.
const TABLE_READ: u64 = 2;
/// From the last parameter word to the first entry of a table, less one: until results of the block before the previous
/// one no longer pass the table that is overwritten.
const TABLE_LEAD: u64 = 4;
/// From the last cell or beat of the mover to its write to the lanes.
const MOVER_WRITE: u64 = 1;
/// Cycles by which a stream may be taken before its first lane read: base registers and lane address.
const READ_LEAD: u64 = 4;
/// From the issue of a STORE's read to the beat on the output: lane address, memory 2, FIFO.
const STORE_LATENCY: u64 = 4;
/// From the last beat of a LOAD or STORE to the start of the next fetch.
const HOLD_RELEASE: u64 = 2;

/// When every step ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Cycle in which the last write or beat of the step happens, one for each step; of a partial CONV, that of the
    /// step before.
    pub end_cycle: Vec<u64>,
    /// First cycle in which a lane may be read, for each CONV; for other steps the cycle behind everything earlier.
    pub first_read: Vec<u64>,
    /// Cycles from start to done, as the hardware counts them: those in which a stream waits are not
    /// included.
    pub total_cycles: u64,
}

/// Words of the weight stream that a step takes, in order.
pub(crate) fn stream_words(step: &Step, config: &AcceleratorConfig) -> u64 {
    let Step::Conv { tiles, partial, table, .. } = *step else { return 0 };
    let behind = if partial { 0 } else { PARAMETER_WORDS + table.words(config.cols) as u64 };
    u64::from(tiles) * config.rows as u64 + behind
}

/// Cycles of a sequence of steps, which END follows. With streamed weights: if the input and output streams do not
/// wait; while they do, more weights arrive, so that the counter may stay below.
pub fn timeline(steps: &[Step], config: &AcceleratorConfig) -> Timeline {
    let mut clock = Clock::new(config);
    clock.stream = config.external().map(|memory| {
        let words = steps.iter().map(|step| stream_words(step, config)).sum();
        WeightStream::new(memory, words)
    });
    let mut transfers = Vec::new();
    let mut timeline = Timeline {
        first_read: Vec::with_capacity(steps.len()),
        end_cycle: Vec::with_capacity(steps.len()),
        total_cycles: 0,
    };
    let mut block = 0;
    for (index, step) in steps.iter().enumerate() {
        if matches!(step, Step::Transfer(_)) {
            transfers.push(index);
        }
        timeline.end_cycle.push(clock.step(step));
        timeline.first_read.push(clock.first_read);
        match step {
            Step::Conv { partial: false, .. } => block = index,
            // It may have delayed the drain of the block before it.
            Step::Fill { .. } if clock.draining => timeline.end_cycle[block] = clock.written(),
            _ => {}
        }
    }
    // END is dispatched like a FILL; its own cycle is the last one that counts.
    timeline.total_cycles = clock.idle().max(clock.fetched) + 1;
    for (index, end) in transfers.into_iter().zip(clock.transfers.ends()) {
        timeline.end_cycle[index] = *end;
    }
    timeline
}

/// Which part of a program a stretch of steps is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    /// Nothing runs before.
    pub first: bool,
    /// END follows.
    pub last: bool,
}

/// Cycles by which steps move the end of the drain at least, whatever ran before them; from the
/// start if they are the first, to the end of the program if they are the last.
///
/// All events are maxima of earlier events plus constants, so they can only be later than here,
/// where everything but the drain ended long ago.
pub(crate) fn least_cycles(steps: &[Step], config: &AcceleratorConfig, stretch: Stretch) -> u64 {
    /// Far behind everything that a program without history has to wait for.
    const LONG: u64 = 1 << 40;
    let mut clock = Clock::new(config);
    let before = if stretch.first { 0 } else { LONG };
    if !stretch.first {
        (clock.drain_end, clock.drained) = (before, true);
    }
    for step in steps {
        clock.step(step);
    }
    let end = if stretch.last { clock.idle().max(clock.fetched) + 1 } else { clock.drain_end };
    end.saturating_sub(before)
}

/// Cycles of the last events of each agent, where the next instruction has to look at them. Zero
/// where nothing has happened: no event of the first instruction can be that early.
struct Clock {
    rows: u64,
    cols: u64,
    /// From a drain operation to the cycle behind its lane write.
    write_back: u64,
    /// The next instruction can be dispatched as far as its fetch is concerned.
    fetched: u64,
    /// The loader can start.
    loader_ready: u64,
    /// The pending register is empty.
    pending_free: u64,
    /// The mover is idle.
    mover_idle: u64,
    /// Swap of the newest tile.
    swap: u64,
    /// Last pixel of the newest stream.
    stream_end: u64,
    /// First and last operation of the newest drain, and last one of the drain before.
    drain_start: u64,
    drain_end: u64,
    older_drain_end: u64,
    /// Whether a block has run: without one the drain constrains nothing.
    drained: bool,
    /// Whether the newest drain may still lie ahead.
    draining: bool,
    /// Whether the next CONV adds to the sums of the one before.
    continues: bool,
    /// First lane read of the newest step.
    first_read: u64,
    /// Writes of the newest block, once they are known not to be delayed any more.
    newest: Option<Busy>,
    /// What moves between the lanes and external memory.
    transfers: Transfers,
    /// Where the weights come from; `None`: from a memory on the chip, which has every word at any time.
    stream: Option<WeightStream>,
}

impl Clock {
    fn new(config: &AcceleratorConfig) -> Clock {
        Clock {
            rows: config.rows as u64,
            cols: config.cols as u64,
            write_back: WRITE_BACK + if config.activation_tables { TABLE_READ } else { 0 },
            fetched: FETCH_CYCLES,
            loader_ready: 0,
            pending_free: 0,
            mover_idle: 0,
            swap: 0,
            stream_end: 0,
            drain_start: 0,
            drain_end: 0,
            older_drain_end: 0,
            drained: false,
            draining: false,
            continues: false,
            first_read: 0,
            newest: None,
            transfers: Transfers::new(config),
            stream: None,
        }
    }

    /// Cycle in which the last write of the newest block reaches the lanes.
    fn written(&self) -> u64 {
        if self.drained { self.drain_end + self.write_back - 1 } else { 0 }
    }

    /// First cycle in which everything earlier is finished.
    fn idle(&mut self) -> u64 {
        self.settle();
        self.written_and_moved().max(self.transfers.idle())
    }

    /// First cycle in which all blocks are written and the mover is idle.
    fn written_and_moved(&self) -> u64 {
        let drained = if self.drained { self.drain_end + self.write_back + 1 } else { 0 };
        drained.max(self.mover_idle)
    }

    /// No FILL can delay the newest block any more.
    fn settle(&mut self) {
        if let Some(newest) = self.newest.take() {
            // From a drain operation to the cycle in which its write keeps transfers from the lanes.
            let to_port = self.write_back - 1;
            self.transfers.occupy(Busy { start: self.drain_start + to_port, end: self.drain_end + to_port, ..newest });
        }
    }

    /// Runs one step; returns its end.
    fn step(&mut self, step: &Step) -> u64 {
        match *step {
            Step::Conv { tiles, pixels, outputs, window, chunks, barrier, fence, partial, table } => {
                let period = u64::from(window) - 1 + u64::from(chunks);
                let last = (!partial).then_some((u64::from(outputs) * period, table));
                self.settle();
                let end = self.conv(tiles.into(), pixels.into(), last, (barrier, fence));
                if !partial {
                    self.newest = Some(Busy { start: 0, end: 0, period, free: u64::from(window) - 1 });
                }
                end
            }
            Step::Transfer(transfer) => {
                self.transfer(transfer);
                0
            }
            Step::Fill { cells } => self.fill(cells.into()),
            Step::Load { beats } => self.stream_beats(u64::from(beats)) + MOVER_WRITE,
            Step::Store { beats } => self.stream_beats(u64::from(beats) + STORE_LATENCY),
        }
    }

    /// LOAD or STORE whose last beat is `cycles` after the dispatch. The next fetch waits for it.
    fn stream_beats(&mut self, cycles: u64) -> u64 {
        self.first_read = self.fetched.max(self.idle());
        let last = self.first_read + cycles;
        self.draining = false;
        self.mover_idle = last + 1;
        self.fetched = last + HOLD_RELEASE + FETCH_CYCLES;
        last
    }

    /// A transfer is given out when the block before it streams, everything earlier (with a barrier that block, too) will
    /// be in the lanes at its first access, and the queue has room.
    fn transfer(&mut self, transfer: Transfer) {
        self.settle();
        let mut dispatch = self.fetched.max(self.pending_free).max(self.mover_idle).max(self.transfers.room());
        if self.drained {
            let drain_end = if self.draining && !transfer.barrier { self.older_drain_end } else { self.drain_end };
            dispatch = dispatch.max(drain_end + self.write_back - READ_LEAD);
        }
        self.fetched = dispatch + 1 + FETCH_CYCLES;
        // Not earlier than a stream: the last write of a block keeps transfers from the lanes in its own cycle.
        self.first_read = dispatch + READ_LEAD;
        self.transfers.start(dispatch, transfer);
    }

    /// FILL beside the stream of the newest block, once all earlier ones are written.
    fn fill(&mut self, cells: u64) -> u64 {
        let earlier = if self.draining { self.older_drain_end + self.write_back + 1 } else { self.written_and_moved() };
        let dispatch = self.fetched.max(self.pending_free).max(self.mover_idle).max(earlier);
        let last = dispatch + cells;
        self.mover_idle = last + 1;
        self.fetched = dispatch + 1 + FETCH_CYCLES;
        self.first_read = dispatch;
        self.transfers.occupy(Busy { start: dispatch + 1 + MOVER_WRITE, end: last + MOVER_WRITE, period: 1, free: 0 });
        if self.draining {
            // It starts when the next instruction is known to be no FILL.
            let delay = (self.mover_idle.max(self.fetched) + 1).saturating_sub(self.drain_start);
            self.drain_start += delay;
            self.drain_end += delay;
        }
        last + MOVER_WRITE
    }

    /// CONV with so many drain operations and such tables, or a partial one.
    fn conv(&mut self, tiles: u64, pixels: u64, last: Option<(u64, Table)>, (barrier, fence): (bool, bool)) -> u64 {
        let dispatch = self.fetched.max(self.loader_ready).max(self.pending_free).max(self.mover_idle);
        let first_word = dispatch.max(self.swap) + 1;

        let mut taken = (dispatch + 1).max(self.stream_end);
        if !self.continues {
            taken = taken.max(self.older_drain_end + self.write_back - READ_LEAD);
        }
        if barrier && self.drained {
            taken = taken.max(self.drain_end + self.write_back - READ_LEAD);
        }

        if fence {
            taken = taken.max(self.transfers.idle());
        }

        let pass = pixels.max(self.rows);
        let (swap, last_word) = match self.stream.take() {
            None => {
                let first_pixel = (taken + 1).max(first_word + self.rows - 1);
                let swap = first_pixel + (tiles - 1) * pass;
                let last_tile_word = if tiles == 1 { first_word } else { swap - pass + 1 };
                (swap, last_tile_word + self.rows - 1)
            }
            Some(mut stream) => {
                let last = self.streamed_tiles(&mut stream, tiles, pixels, (taken, first_word));
                self.stream = Some(stream);
                last
            }
        };
        let stream_end = swap + pixels - 1;

        self.fetched = dispatch + 1 + FETCH_CYCLES;
        self.pending_free = taken + 1;
        self.swap = swap;
        self.stream_end = stream_end;
        self.first_read = taken + READ_LEAD;
        self.continues = last.is_none();
        let Some((operations, table)) = last else {
            self.loader_ready = last_word;
            return self.written();
        };
        let mut parameters = last_word + 1;
        let mut drain_start = stream_end + self.rows + self.cols + STREAM_TO_DRAIN;
        if self.drained {
            parameters = parameters.max(self.drain_start + DRAIN_TO_PARAMETERS);
            drain_start = drain_start.max(self.drain_end + 1);
        }
        let mut last_parameter = match &mut self.stream {
            None => parameters + PARAMETER_WORDS - 1,
            Some(stream) => stream.take(parameters, PARAMETER_WORDS),
        };
        if table.loads() {
            last_parameter = self.last_entry(last_parameter + TABLE_LEAD + 1, table);
        }
        drain_start = drain_start.max(last_parameter + PARAMETERS_TO_DRAIN);

        self.loader_ready = last_parameter;
        self.older_drain_end = self.drain_end;
        self.drain_start = drain_start;
        self.drain_end = drain_start + operations - 1;
        (self.drained, self.draining) = (true, true);
        self.written()
    }

    /// The cycle of the last entry of tables whose first one may come in cycle `first`.
    fn last_entry(&mut self, first: u64, table: Table) -> u64 {
        let (entries, words) = (TABLE_ENTRIES as u64, table.words(self.cols as usize) as u64);
        match &mut self.stream {
            Some(stream) if table == Table::Own => stream.take(first, entries),
            Some(stream) => {
                // A word holds the entries of as many cycles as there are columns.
                let mut word = stream.take(first, 1);
                for _ in 1..words {
                    word = stream.take(word + self.cols, 1);
                }
                word + entries - (words - 1) * self.cols - 1
            }
            None => first + entries - 1,
        }
    }

    /// Tiles whose words are streamed: the last swap and the cycle of the last word.
    fn streamed_tiles(
        &self,
        stream: &mut WeightStream,
        tiles: u64,
        pixels: u64,
        (taken, first_word): (u64, u64),
    ) -> (u64, u64) {
        let mut last_word = stream.take(first_word, self.rows);
        let mut swap = (taken + 1).max(last_word);
        for _ in 1..tiles {
            last_word = stream.take(swap + 1, self.rows);
            swap = (swap + pixels).max(last_word);
        }
        (swap, last_word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rows: usize, cols: usize) -> AcceleratorConfig {
        AcceleratorConfig::new(rows, cols, 4096, 256)
    }

    fn conv(tiles: u32, outputs: u32, barrier: bool) -> Step {
        Step::Conv {
            tiles,
            pixels: outputs,
            outputs,
            window: 1,
            chunks: 1,
            barrier,
            fence: false,
            partial: false,
            table: Table::Off,
        }
    }

    #[test]
    fn an_empty_program_is_fetched_and_ends() {
        assert_eq!(timeline(&[], &config(8, 8)).total_cycles, FETCH_CYCLES + 1);
    }

    #[test]
    fn one_tile_more_costs_exactly_one_pass() {
        for (pixels, pass) in [(64, 64), (3, 8)] {
            let of = |tiles| timeline(&[conv(tiles, pixels, true)], &config(8, 8)).total_cycles;
            assert_eq!(of(7) - of(6), pass);
            assert_eq!(of(100) - of(6), 94 * pass);
        }
    }

    #[test]
    fn long_blocks_follow_each_other_without_a_gap() {
        let program = |blocks| vec![conv(4, 64, false); blocks];
        let of = |blocks| timeline(&program(blocks), &config(8, 8)).total_cycles;
        assert_eq!(of(9) - of(8), 4 * 64);
    }

    #[test]
    fn a_drain_longer_than_its_stream_sets_the_pace() {
        let step = Step::Conv {
            tiles: 1,
            pixels: 64,
            outputs: 64,
            window: 1,
            chunks: 3,
            barrier: false,
            fence: false,
            partial: false,
            table: Table::Off,
        };
        let of = |blocks| timeline(&vec![step; blocks], &config(8, 8)).total_cycles;
        assert_eq!(of(9) - of(8), 3 * 64);
    }

    /// Sums in two parts take as long as in one.
    #[test]
    fn partial_sums_cost_nothing_of_their_own() {
        let part = |tiles, partial| Step::Conv {
            tiles,
            pixels: 64,
            outputs: 64,
            window: 1,
            chunks: 1,
            barrier: false,
            fence: false,
            partial,
            table: Table::Off,
        };
        let of = |steps: &[Step]| timeline(steps, &config(8, 8)).total_cycles;
        let whole = vec![part(5, false); 6];
        let parts = [part(1, true), part(4, false)].repeat(6);
        assert_eq!(of(&parts), of(&whole));
    }

    /// The halo is filled behind a stream that is long enough.
    #[test]
    fn a_fill_hides_behind_the_stream_before_it() {
        let of = |fills: &[Step]| {
            let blocks = [conv(9, 64, true), conv(9, 64, false)];
            let steps = [&blocks[..1], fills, &blocks[1..]].concat();
            timeline(&steps, &config(8, 8))
        };
        let (alone, filled) = (of(&[]), of(&[Step::Fill { cells: 40 }, Step::Fill { cells: 60 }]));
        assert_eq!(alone.total_cycles, filled.total_cycles);
        assert!(filled.end_cycle[2] < filled.end_cycle[0]);
        let long = of(&[Step::Fill { cells: 1000 }]);
        assert_eq!(long.end_cycle[0] - long.end_cycle[1], 64 + WRITE_BACK - 1);
        assert!(long.total_cycles > alone.total_cycles);
    }

    #[test]
    fn end_cycles_never_decrease() {
        let steps = [
            Step::Fill { cells: 3 },
            Step::Fill { cells: 40 },
            Step::Load { beats: 9 },
            conv(3, 9, true),
            conv(1, 1, false),
            conv(2, 9, true),
            Step::Store { beats: 9 },
        ];
        let timeline = timeline(&steps, &config(4, 6));
        assert!(timeline.end_cycle.is_sorted());
        assert!(timeline.total_cycles > timeline.end_cycle[6]);
    }
}
