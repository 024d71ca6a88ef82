//! Weights in external memory: what is assumed of it, and when their words arrive.
//!
//! The weights of a program lie in the order in which the loader takes them, without gaps. `espalier_fetch.sv`
//! requests them in bursts as soon as a whole burst has room behind everything requested before, and the memory
//! answers in order: the first beat `latency_cycles` after the request, then one beat a cycle. [`WeightStream`] is the mirror:
//!
//! ```text
//! decision a(k) = max(a(k-1) + 1, pop of the word that made room + 1)
//! first beat    = max(last beat of burst k-1 + 1, a(k) + 1 + latency)
//! word n there  = beat that completes it + 3
//! word n taken  = max(start of its group + place in the group, there)
//! ```
//!
//! All events are maxima of earlier ones plus constants, so a memory that holds back requests or beats for `x`
//! cycles in all delays the end of a program by at most `x` cycles.

use std::str::FromStr;

use espalier_ir::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};

use crate::AcceleratorConfig;

/// Beats of a read burst.
pub const BURST_BEATS: usize = 16;
/// Bytes a cycle where the configuration does not say: a 64-bit port.
const DEFAULT_BYTES_PER_CYCLE: usize = 8;
/// Latency where the configuration does not say: some 0.4 us at 150 MHz.
const DEFAULT_LATENCY_CYCLES: usize = 64;
/// Words of the ring where the configuration does not say: what block RAMs of 36 bits hold anyway.
const DEFAULT_RING_WORDS: usize = 512;
/// From the decision to request a burst to the request.
const REQUEST: u64 = 1;
/// From the beat that completes a word to the first cycle in which the loader can take it.
const BEAT_TO_WORD: u64 = 3;

/// Where the weights are while a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightSource {
    /// In a memory on the chip that holds all of them.
    #[default]
    OnChip,
    /// In external memory, read ahead into a ring of `weight_words` words.
    Streamed,
}

impl WeightSource {
    pub(crate) fn is_on_chip(&self) -> bool {
        *self == WeightSource::OnChip
    }
}

impl WeightSource {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WeightSource::OnChip => "on-chip",
            WeightSource::Streamed => "streamed",
        }
    }
}

impl FromStr for WeightSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "on-chip" => Ok(WeightSource::OnChip),
            "streamed" => Ok(WeightSource::Streamed),
            other => Err(format!("'{other}' is neither on-chip nor streamed")),
        }
    }
}

/// Where tensors are that the lanes do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationStore {
    /// There are none: all living tensors fit the lanes.
    #[default]
    OnChip,
    /// In external memory: tensors that do not fit pass through the lanes in strips.
    Spilled,
}

impl ActivationStore {
    pub(crate) fn is_on_chip(&self) -> bool {
        *self == ActivationStore::OnChip
    }

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ActivationStore::OnChip => "on-chip",
            ActivationStore::Spilled => "spilled",
        }
    }
}

impl FromStr for ActivationStore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "on-chip" => Ok(ActivationStore::OnChip),
            "spilled" => Ok(ActivationStore::Spilled),
            other => Err(format!("'{other}' is neither on-chip nor spilled")),
        }
    }
}

/// The memory that tensors are spilled to, behind a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpillMemory {
    /// Bytes of a beat; one beat a cycle.
    pub bytes_per_cycle: usize,
    /// Cycles from a read request to its first beat, and from the last beat of a write to its response.
    pub latency_cycles: usize,
    /// Beats that one address of all lanes takes; the last one is filled up with zeros.
    pub beats_per_word: usize,
}

impl SpillMemory {
    pub(crate) fn new(config: &AcceleratorConfig) -> Self {
        let bytes_per_cycle = port_bytes(config);
        SpillMemory {
            bytes_per_cycle,
            latency_cycles: config.memory_latency_cycles.unwrap_or(DEFAULT_LATENCY_CYCLES),
            beats_per_word: config.rows.div_ceil(bytes_per_cycle),
        }
    }
}

/// Width of the ports to external memory.
fn port_bytes(config: &AcceleratorConfig) -> usize {
    let short = config.weight_word_bits() / 8 < DEFAULT_BYTES_PER_CYCLE;
    config.memory_bytes_per_cycle.unwrap_or(if short { 4 } else { DEFAULT_BYTES_PER_CYCLE })
}

/// The memory that weights are streamed from, and the ring that they pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExternalMemory {
    /// Bytes of a beat; one beat a cycle.
    pub bytes_per_cycle: usize,
    /// Cycles from a request to its first beat.
    pub latency_cycles: usize,
    /// Bytes of a weight word.
    pub word_bytes: usize,
    /// Words of the ring.
    pub ring_words: usize,
}

impl ExternalMemory {
    pub(crate) fn new(config: &AcceleratorConfig) -> Self {
        ExternalMemory {
            bytes_per_cycle: port_bytes(config),
            latency_cycles: config.memory_latency_cycles.unwrap_or(DEFAULT_LATENCY_CYCLES),
            word_bytes: config.weight_word_bits() / 8,
            ring_words: config.weight_words.unwrap_or(DEFAULT_RING_WORDS),
        }
    }

    /// Cycles in which so many words pass the port of the memory.
    pub fn transfer_cycles(&self, words: u64) -> u64 {
        (words * self.word_bytes as u64).div_ceil(self.bytes_per_cycle as u64)
    }
}

/// What [`AcceleratorConfig::validate`] does not say with bounds alone.
pub(crate) fn check(config: &AcceleratorConfig) -> Diagnostics {
    let mut findings = Diagnostics::new();
    let mut finding = |key: &str, what: String, help: &str| {
        findings.push(
            Diagnostic::error("invalid-accelerator", format!("accelerator key '{key}'"), what)
                .with_help(help.to_owned()),
        );
    };
    match config.external().map(|m| m.bytes_per_cycle).or(config.spill_memory().map(|m| m.bytes_per_cycle)) {
        Some(bytes) if !bytes.is_power_of_two() => {
            finding("memory_bytes_per_cycle", format!("{bytes} is no power of two"), "use 4, 8, 16 or 32");
        }
        Some(_) => {}
        None => {
            let given = [
                ("memory_bytes_per_cycle", config.memory_bytes_per_cycle),
                ("memory_latency_cycles", config.memory_latency_cycles),
            ];
            for (key, _) in given.into_iter().filter(|(_, value)| value.is_some()) {
                let help = "set 'weights' to \"streamed\" or 'activations' to \"spilled\", or leave the key out";
                finding(key, "is given, but weights and activations are on the chip".to_owned(), help);
            }
        }
    }
    findings
}

/// Words that the loader takes one after another: a weight tile, or parameters.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// Number of its first word in the stream.
    first: u64,
    /// Cycle in which that word would be taken at the earliest.
    start: u64,
}

/// When the words of a program's weight stream can be taken.
#[derive(Debug, Clone)]
pub(crate) struct WeightStream {
    memory: ExternalMemory,
    /// Words of the whole stream, and its beats.
    words: u64,
    beats: u64,
    /// First beat of every burst so far.
    bursts: Vec<u64>,
    /// Decision of the newest request.
    decided: u64,
    /// Groups so far, and the one that holds the word that made room last.
    groups: Vec<Group>,
    room: usize,
    /// Words taken.
    taken: u64,
}

impl WeightStream {
    /// A stream of so many words; fetching starts in cycle 0.
    pub fn new(memory: ExternalMemory, words: u64) -> Self {
        WeightStream {
            memory,
            words,
            beats: memory.transfer_cycles(words),
            bursts: Vec::new(),
            decided: 0,
            groups: Vec::new(),
            room: 0,
            taken: 0,
        }
    }

    /// The loader takes the next `words` words, the first not before cycle `start`: the cycle of the last one.
    ///
    /// # Panics
    /// If the stream has fewer words: a bug of the caller.
    pub fn take(&mut self, start: u64, words: u64) -> u64 {
        assert!(self.taken + words <= self.words, "words beyond the end of the weight stream");
        self.groups.push(Group { first: self.taken, start });
        self.taken += words;
        let last = self.taken - 1;
        let there = self.there(last);
        (start + words - 1).max(there)
    }

    /// First cycle in which a word can be taken. Words arrive at most one a cycle, so where a group has begun, only
    /// its last word can be late.
    fn there(&mut self, word: u64) -> u64 {
        let beat = self.memory.transfer_cycles(word + 1) - 1;
        let burst = (beat / BURST_BEATS as u64) as usize;
        while self.bursts.len() <= burst {
            self.request();
        }
        self.bursts[burst] + beat % BURST_BEATS as u64 + BEAT_TO_WORD
    }

    /// Requests the next burst.
    fn request(&mut self) {
        let (index, length) = (self.bursts.len() as u64, BURST_BEATS as u64);
        // A whole burst needs room, also where the last one is shorter.
        let bytes = (index + 1) * length * self.memory.bytes_per_cycle as u64;
        let (word_bytes, room) =
            (self.memory.word_bytes as u64, (self.memory.ring_words * self.memory.word_bytes) as u64);
        let popped = bytes.saturating_sub(room).div_ceil(word_bytes);
        let mut decided = if index == 0 { 0 } else { self.decided + 1 };
        if popped > 0 {
            decided = decided.max(self.pop(popped - 1) + 1);
        }
        self.decided = decided;
        let first = decided + REQUEST + self.memory.latency_cycles as u64;
        let after = self.bursts.last().map_or(0, |before| before + length);
        self.bursts.push(first.max(after));
        debug_assert!(index * length < self.beats, "a burst behind the end of the stream");
    }

    /// Cycle in which a word was taken; words are asked for in order.
    fn pop(&mut self, word: u64) -> u64 {
        while self.groups.get(self.room + 1).is_some_and(|group| group.first <= word) {
            self.room += 1;
        }
        let group = self.groups[self.room];
        let there = self.there(word);
        (group.start + word - group.first).max(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;
    use crate::{Step, timeline};

    fn streamed(latency: usize, ring: usize) -> AcceleratorConfig {
        AcceleratorConfig {
            weights: WeightSource::Streamed,
            memory_latency_cycles: Some(latency),
            weight_words: Some(ring),
            ..AcceleratorConfig::new(8, 8, 4096, 256)
        }
    }

    fn cycles(config: &AcceleratorConfig, blocks: usize, tiles: u32, pixels: u32) -> u64 {
        let block = Step::Conv {
            tiles,
            pixels,
            outputs: pixels,
            window: 1,
            chunks: 1,
            barrier: false,
            fence: false,
            partial: false,
            table: Table::Off,
        };
        timeline(&vec![block; blocks], config).total_cycles
    }

    #[test]
    fn a_fast_memory_costs_nothing_but_the_first_words() {
        let chip = AcceleratorConfig::new(8, 8, 4096, 256);
        let stream = streamed(40, 512);
        let of = |config: &AcceleratorConfig| cycles(config, 20, 4, 64) - cycles(config, 10, 4, 64);
        assert_eq!(of(&stream), of(&chip));
        let late = cycles(&stream, 10, 4, 64) - cycles(&chip, 10, 4, 64);
        // The last word of the first tile comes with the tenth beat: request in cycle 1, 40 cycles, nine beats more and
        // three cycles. On the chip it is taken in cycle 18: dispatch, the next cycle, and seven words more.
        assert_eq!(late, (1 + 40 + 9 + 3) - (10 + 1 + 7));
    }

    #[test]
    fn a_slow_port_sets_the_pace() {
        let config = AcceleratorConfig { memory_bytes_per_cycle: Some(4), ..streamed(10, 512) };
        // 40 blocks of 16 tiles and parameters, 10 bytes a word; eight pixels a pass would take 128 cycles a block.
        let words = 40 * (16 * 8 + 5);
        assert_eq!(cycles(&config, 80, 16, 8) - cycles(&config, 40, 16, 8), words * 10 / 4);
    }

    #[test]
    fn more_room_and_less_latency_are_never_slower() {
        let of = |latency, ring| cycles(&streamed(latency, ring), 30, 6, 10);
        for (latency, ring) in [(10, 64), (100, 64), (100, 512)] {
            assert!(of(latency, ring * 2) <= of(latency, ring));
            assert!(of(latency / 2, ring) <= of(latency, ring));
        }
        // A ring that the latency empties: each burst waits for its own round trip.
        assert!(of(400, 32) > 2 * of(10, 32));
    }

    #[test]
    fn impossible_memories_are_refused() {
        let refused = |config: AcceleratorConfig| config.validate().unwrap_err().to_string();
        let port = |bytes| AcceleratorConfig { memory_bytes_per_cycle: Some(bytes), ..streamed(10, 512) };
        assert!(refused(port(16)).contains("between 4 and 10"), "wider than a word of ten bytes");
        assert!(refused(port(6)).contains("power of two"));
        assert!(refused(streamed(0, 512)).contains("memory_latency_cycles"));
        assert!(refused(streamed(10, 20)).contains("weight_words"));
        let chip = AcceleratorConfig { weights: WeightSource::OnChip, ..port(8) };
        assert!(refused(chip).contains("on the chip"));
        port(8).validate().unwrap();
    }
}
