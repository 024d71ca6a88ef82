//! When transfers between the lanes and external memory end: the mirror of `espalier_transfer.sv`.
//!
//! Transfers wait in a queue of four and run one after another. Bursts have 16 beats, the first fewer if it does not begin at a
//! multiple of its size; the memory answers in order, the first beat `latency` cycles after the request, then one beat a
//! cycle, each not before the one before it was taken. An address of all lanes, a *word*, takes some beats. Its access to
//! the lanes waits for a cycle in which neither write-back nor FILL writes.
//!
//! ```text
//! begin   b      = max(given out + 1, end of the transfer before) + 1
//! restore request a(k) = max(a(k-1) + 1, last beat of burst k - 8 taken + 1, b)
//!         beat        = max(a + 1 + latency, beat before + 1, for the last of a word: access of the word before)
//!         access      = first free cycle behind the last beat of the word
//! save    access g(w) = first free cycle from max(b, g(w-1) + 1, last beat of word w - 8 + 1) on
//!         beat        = max(g + 4, beat before + 1, b + 1)
//!         response    = last beat of the burst + latency; a burst begins behind that of burst k - 8
//! end            = behind the last access, or two cycles behind the last response
//! ```
//!
//! Apart from the wait for a free cycle all events are maxima of earlier ones plus constants, and a cycle that is not free
//! delays at most one access. So a memory that holds back requests, beats or responses for `x` cycles in all delays the end
//! of a program by at most `x` cycles and one for every write of write-back and FILL.

use std::collections::VecDeque;

use crate::external::SpillMemory;
use crate::{AcceleratorConfig, BURST_BEATS, Transfer};

/// Transfers that wait.
const QUEUE: usize = 4;
/// Bursts under way.
const OUTSTANDING: usize = 8;
/// Words between the lanes and the port while a tensor is saved.
const SAVE_WORDS: usize = 8;
/// From the access of a saved word to its first beat.
const ACCESS_TO_BEAT: u64 = 4;

/// Cycles in which write-back or FILL writes the lanes: of every `period` cycles from `start` to `end` all but the first
/// `free`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy {
    pub start: u64,
    pub end: u64,
    pub period: u64,
    pub free: u64,
}

pub(super) struct Transfers {
    /// Without one there are no transfers.
    memory: Option<SpillMemory>,
    /// All transfers, with the cycles in which they were given out.
    given: Vec<(u64, Transfer)>,
    /// Ends of the first of them. One is computed only when somebody waits for it: then all writes that it has to avoid
    /// are known.
    ends: Vec<u64>,
    /// Writes to the lanes that accesses have to avoid, in order.
    busy: VecDeque<Busy>,
}

impl Transfers {
    pub fn new(config: &AcceleratorConfig) -> Self {
        Transfers { memory: config.spill_memory(), given: Vec::new(), ends: Vec::new(), busy: VecDeque::new() }
    }

    /// Writes to the lanes, none earlier than those told before.
    pub fn occupy(&mut self, busy: Busy) {
        if self.memory.is_some() {
            self.busy.push_back(busy);
        }
    }

    /// First cycle in which another transfer can be given out.
    pub fn room(&mut self) -> u64 {
        let Some(leaves) = self.given.len().checked_sub(QUEUE) else { return 0 };
        while self.ends.len() < leaves {
            self.run();
        }
        self.leaves(leaves) + 1
    }

    /// When a transfer leaves the queue; the one before it has been run.
    fn leaves(&self, index: usize) -> u64 {
        let before = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        (self.given[index].0 + 1).max(before)
    }

    pub fn start(&mut self, dispatch: u64, transfer: Transfer) {
        self.given.push((dispatch, transfer));
    }

    /// First cycle in which all transfers have ended.
    pub fn idle(&mut self) -> u64 {
        while self.ends.len() < self.given.len() {
            self.run();
        }
        self.ends.last().map_or(0, |end| end + 1)
    }

    /// Last cycle of every transfer.
    pub fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// Computes the next transfer.
    fn run(&mut self) {
        let index = self.ends.len();
        let (leaves, transfer) = (self.leaves(index), self.given[index].1);
        let memory = self.memory.expect("only a configuration with spilled activations has transfers");
        let bursts = bursts(&transfer, &memory);
        let end = if transfer.restore {
            self.restore(leaves + 1, &bursts, &memory)
        } else {
            self.save(leaves + 1, &bursts, &memory)
        };
        self.ends.push(end);
    }

    fn restore(&mut self, begin: u64, bursts: &[u64], memory: &SpillMemory) -> u64 {
        let mut beats = Beats { per_word: memory.beats_per_word as u64, of_word: 0 };
        let mut last_beats: Vec<u64> = Vec::with_capacity(bursts.len());
        let (mut request, mut beat, mut access) = (begin - 1, 0, 0);
        for (k, length) in bursts.iter().enumerate() {
            let free = k.checked_sub(OUTSTANDING).map_or(0, |before| last_beats[before] + 1);
            request = (request + 1).max(free);
            let first = request + 1 + memory.latency_cycles as u64;
            for i in 0..*length {
                beat = (beat + 1).max(if i == 0 { first } else { 0 });
                if beats.next_ends_word() {
                    beat = beat.max(access);
                    access = self.free_from(beat + 1);
                }
            }
            last_beats.push(beat);
        }
        access
    }

    fn save(&mut self, begin: u64, bursts: &[u64], memory: &SpillMemory) -> u64 {
        let mut beats = Beats { per_word: memory.beats_per_word as u64, of_word: 0 };
        let mut last_beats: VecDeque<u64> = VecDeque::new();
        let (mut beat, mut access) = (begin, begin - 1);
        let mut first = true;
        let mut responses: Vec<u64> = Vec::with_capacity(bursts.len());
        for (k, length) in bursts.iter().enumerate() {
            if let Some(before) = k.checked_sub(OUTSTANDING) {
                beat = beat.max(responses[before] + 1);
            }
            for _ in 0..*length {
                if first {
                    let room = if last_beats.len() == SAVE_WORDS { last_beats.pop_front() } else { None };
                    access = self.free_from((access + 1).max(room.map_or(0, |beat| beat + 1)));
                    beat = beat.max(access + ACCESS_TO_BEAT - 1);
                }
                beat += 1;
                first = beats.next_ends_word();
                if first {
                    last_beats.push_back(beat);
                }
            }
            responses.push(beat + memory.latency_cycles as u64);
        }
        responses.last().map_or(beat, |response| response + 1)
    }

    /// The first cycle from `from` on in which nothing else writes the lanes; asked for in order.
    fn free_from(&mut self, mut from: u64) -> u64 {
        while let Some(busy) = self.busy.front() {
            if from < busy.start {
                return from;
            }
            if from > busy.end {
                self.busy.pop_front();
                continue;
            }
            let phase = (from - busy.start) % busy.period;
            if phase < busy.free {
                return from;
            }
            from += busy.period - phase;
            if busy.free == 0 {
                from = busy.end + 1;
            }
        }
        from
    }
}

/// Lengths of all bursts of a transfer, in beats.
fn bursts(transfer: &Transfer, memory: &SpillMemory) -> Vec<u64> {
    let size = BURST_BEATS as u64;
    let mut bursts = Vec::new();
    for plane in 0..u64::from(transfer.planes) {
        let mut at = u64::from(transfer.first_beat) + plane * u64::from(transfer.step_beats);
        let end = at + u64::from(transfer.run) * memory.beats_per_word as u64;
        while at < end {
            let next = (at / size + 1) * size;
            bursts.push(next.min(end) - at);
            at = next.min(end);
        }
    }
    bursts
}

/// Counts beats to words.
struct Beats {
    per_word: u64,
    of_word: u64,
}

impl Beats {
    /// Whether the next beat is the last one of a word.
    fn next_ends_word(&mut self) -> bool {
        self.of_word = (self.of_word + 1) % self.per_word;
        self.of_word == 0
    }
}
