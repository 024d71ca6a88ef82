//! Cycles of a program: the mirror of the sequencer, loader, streamer, drain and mover in `templates/rtl`.
//!
//! Three agents work on consecutive CONV instructions at the same time: the loader brings weight
//! tiles and parameters, the streamer sends pixels through the array, the drain reads finished
//! accumulators and writes the lanes. Each waits for the one before it and for the resource it
//! shares with its own predecessor. [`timeline`] computes, instruction by instruction, the cycle of
//! every such event; cycle 0 is the first one in which the program runs. The result equals the
//! hardware's counter for every program, so no constant here is fitted: each names the registers
//! that it counts.
//!
//! ```text
//! dispatch d      = max(fetched, loader ready, previous taken by the streamer, mover idle)
//! first word i0   = max(d + 1, previous swap + 1)
//! taken    t      = max(d + 1, previous stream end, drain before the previous + 1, barrier)
//! first pixel p0  = max(t + 1, i0 + rows - 1)
//! pass            = max(pixels, rows)
//! last swap       = p0 + (tiles - 1) * pass;   stream end = last swap + pixels - 1
//! parameters      = max(last tile's first word + rows, previous drain start + 2)
//! drain start     = max(stream end + rows + cols + 8, previous drain end + 1, parameters + 6)
//! drain end       = drain start + outputs * (window - 1 + chunks) - 1
//! ```

use crate::{AcceleratorConfig, Step};

/// From the start of a fetch to the first cycle in which the instruction may be dispatched: eight
/// addresses, two cycles of memory.
const FETCH_CYCLES: u64 = 10;
/// Words of bias and shift after the last weight tile of a CONV.
const PARAMETER_WORDS: u64 = 5;
/// From the last pixel of a stream to the first drain operation, without rows and columns: base
/// registers 3, lane address and memory 4, product and sum 2, accumulator write 1, less the two
/// cycles in which an operation reaches the accumulators itself.
const STREAM_TO_DRAIN: u64 = 8;
/// From the first parameter word to the first drain operation that may use it.
const PARAMETERS_TO_DRAIN: u64 = 6;
/// From the first drain operation to the first parameter word of the next instruction.
const DRAIN_TO_PARAMETERS: u64 = 2;
/// From a drain operation to the cycle behind its lane write, when the lanes hold the result: accumulator 4,
/// maximum, bias, two shifts, rounding, zero point and clamp 7, rotation and write 2.
const WRITE_BACK: u64 = 13;
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
    /// Cycle in which the last write or beat of the step happens, one for each step.
    pub end_cycle: Vec<u64>,
    /// Cycles from start to done, as the hardware counts them: those in which a stream waits are not
    /// included.
    pub total_cycles: u64,
}

/// Cycles of a sequence of steps, which END follows.
pub fn timeline(steps: &[Step], config: &AcceleratorConfig) -> Timeline {
    let mut clock = Clock::new(config);
    let end_cycle = steps.iter().map(|step| clock.step(step)).collect();
    // END is dispatched like a FILL; its own cycle is the last one that counts.
    Timeline { end_cycle, total_cycles: clock.idle().max(clock.fetched) + 1 }
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
    /// Whether a CONV has run: without one the drain constrains nothing.
    drained: bool,
}

impl Clock {
    fn new(config: &AcceleratorConfig) -> Clock {
        Clock {
            rows: config.rows as u64,
            cols: config.cols as u64,
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
        }
    }

    /// First cycle in which everything earlier is finished.
    fn idle(&self) -> u64 {
        let drained = if self.drained { self.drain_end + WRITE_BACK + 1 } else { 0 };
        drained.max(self.mover_idle)
    }

    /// Runs one step; returns its end.
    fn step(&mut self, step: &Step) -> u64 {
        match *step {
            Step::Conv { tiles, pixels, outputs, window, chunks, barrier } => {
                let operations = u64::from(outputs) * (u64::from(window) - 1 + u64::from(chunks));
                self.conv(tiles.into(), pixels.into(), operations, barrier)
            }
            Step::Fill { cells } => {
                let dispatch = self.fetched.max(self.idle());
                let last = dispatch + u64::from(cells);
                self.mover_idle = last + 1;
                self.fetched = dispatch + 1 + FETCH_CYCLES;
                last + MOVER_WRITE
            }
            Step::Load { beats } => self.stream_beats(u64::from(beats)) + MOVER_WRITE,
            Step::Store { beats } => self.stream_beats(u64::from(beats) + STORE_LATENCY),
        }
    }

    /// LOAD or STORE whose last beat is `cycles` after the dispatch. The next fetch waits for it.
    fn stream_beats(&mut self, cycles: u64) -> u64 {
        let last = self.fetched.max(self.idle()) + cycles;
        self.mover_idle = last + 1;
        self.fetched = last + HOLD_RELEASE + FETCH_CYCLES;
        last
    }

    fn conv(&mut self, tiles: u64, pixels: u64, operations: u64, barrier: bool) -> u64 {
        let dispatch = self.fetched.max(self.loader_ready).max(self.pending_free).max(self.mover_idle);
        let first_word = dispatch.max(self.swap) + 1;

        let mut taken = (dispatch + 1).max(self.stream_end).max(self.older_drain_end + 1);
        if barrier && self.drained {
            taken = taken.max(self.drain_end + WRITE_BACK - READ_LEAD);
        }

        let pass = pixels.max(self.rows);
        let first_pixel = (taken + 1).max(first_word + self.rows - 1);
        let swap = first_pixel + (tiles - 1) * pass;
        let stream_end = swap + pixels - 1;

        let last_tile_word = if tiles == 1 { first_word } else { swap - pass + 1 };
        let mut parameters = last_tile_word + self.rows;
        let mut drain_start = stream_end + self.rows + self.cols + STREAM_TO_DRAIN;
        if self.drained {
            parameters = parameters.max(self.drain_start + DRAIN_TO_PARAMETERS);
            drain_start = drain_start.max(self.drain_end + 1);
        }
        drain_start = drain_start.max(parameters + PARAMETERS_TO_DRAIN);

        self.fetched = dispatch + 1 + FETCH_CYCLES;
        self.loader_ready = parameters + PARAMETER_WORDS - 1;
        self.pending_free = taken + 1;
        self.swap = swap;
        self.stream_end = stream_end;
        self.older_drain_end = self.drain_end;
        self.drain_start = drain_start;
        self.drain_end = drain_start + operations - 1;
        self.drained = true;
        self.drain_end + WRITE_BACK - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rows: usize, cols: usize) -> AcceleratorConfig {
        AcceleratorConfig::new(rows, cols, 4096, 256)
    }

    fn conv(tiles: u32, outputs: u32, barrier: bool) -> Step {
        Step::Conv { tiles, pixels: outputs, outputs, window: 1, chunks: 1, barrier }
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
        let step = Step::Conv { tiles: 1, pixels: 64, outputs: 64, window: 1, chunks: 3, barrier: false };
        let of = |blocks| timeline(&vec![step; blocks], &config(8, 8)).total_cycles;
        assert_eq!(of(9) - of(8), 3 * 64);
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
