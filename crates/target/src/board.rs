//! Boards: which device is on them, and where its clock, serial line and lamp are.

use espalier_ir::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};

use crate::device::{Confidence, Fact};
use crate::{Target, builtin_names, builtin_target};

/// A board that carries a known device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Name as used on the command line.
    pub name: String,
    /// Manufacturer and product.
    pub description: String,
    /// Name of the target that its device is.
    pub target: String,
    /// Part as the vendor's tools name it.
    pub part: String,
    /// Who talks to the accelerator.
    pub host: Host,
    /// Oscillator at the pin `clk`, MHz; with a processor, the clock that its program logic gets by default.
    pub clock_mhz: Fact,
    /// Power of the processor beside the accelerator, mW; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_mw: Option<Fact>,
    /// Rate of the serial line, baud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<Fact>,
    /// Electrical standard of the pins, as the vendor's constraints name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_standard: Option<String>,
    /// Pins of a design without a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<Pins>,
    /// Memories outside the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memories: Vec<BoardMemory>,
}

/// Who talks to the accelerator on a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// Whoever is at the other end of a serial line (`espalier_serial`).
    Serial,
    /// A processor in the device, over AXI.
    Processor,
}

/// Pins of a design with the serial host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// Clock input.
    pub clk: Pin,
    /// From the other side to the device.
    pub uart_rx: Pin,
    /// From the device to the other side.
    pub uart_tx: Pin,
    /// A lamp.
    pub led: Pin,
}

/// One pin with the origin of its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Ball or number of the package.
    pub pin: String,
    /// Document that says so.
    pub source: String,
    /// How sure it is.
    pub confidence: Confidence,
}

/// A memory chip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardMemory {
    /// Kind, such as `DDR3L, 16 bits`.
    pub kind: String,
    /// Peak rate, GB/s.
    pub gbytes_per_s: Fact,
    /// Energy of one byte with the interface on both sides, pJ.
    pub pj_per_byte: Fact,
}

impl Pins {
    /// Port of `espalier_board` and its pin.
    pub fn ports(&self) -> [(&'static str, &Pin); 4] {
        [("clk", &self.clk), ("uart_rx", &self.uart_rx), ("uart_tx", &self.uart_tx), ("led", &self.led)]
    }
}

impl Board {
    /// Every number with its key.
    pub fn facts(&self) -> Vec<(String, String, Confidence, &str)> {
        let fact = |key: &str, f: &'_ Fact| (key.to_owned(), f.value.to_string(), f.confidence);
        let mut rows = vec![(fact("clock_mhz", &self.clock_mhz), self.clock_mhz.source.as_str())];
        rows.extend(self.host_mw.iter().map(|f| (fact("host_mw", f), f.source.as_str())));
        rows.extend(self.baud.iter().map(|f| (fact("baud", f), f.source.as_str())));
        let pins = self.pins.iter().flat_map(Pins::ports);
        rows.extend(pins.map(|(port, p)| ((format!("pin {port}"), p.pin.clone(), p.confidence), p.source.as_str())));
        rows.extend(self.memories.iter().flat_map(|m| {
            let facts = [("GB/s", &m.gbytes_per_s), ("pJ a byte", &m.pj_per_byte)];
            facts.map(|(unit, f)| (fact(&format!("{}, {unit}", m.kind), f), f.source.as_str()))
        }));
        rows.into_iter().map(|((key, value, confidence), source)| (key, value, confidence, source)).collect()
    }

    /// Clocks of a bit of the serial line, at least 4.
    pub fn divider(&self) -> u32 {
        let baud = self.baud.as_ref().map_or(1e6, |b| b.value);
        ((self.clock_mhz.value * 1e6 / baud).round() as u32).max(4)
    }

    /// The target of its device with the external memory of the board.
    ///
    /// # Panics
    /// If the file was not read by [`parse_board`].
    pub fn target(&self) -> Target {
        self.with_memory(builtin_target(&self.target).expect("parse_board checks the target"))
    }

    /// A target with the energy of the board's first memory in place of its own.
    pub fn with_memory(&self, mut target: Target) -> Target {
        if let Some(memory) = self.memories.first() {
            target.energy.external_byte_pj = memory.pj_per_byte.clone();
        }
        target
    }

    /// Energy of the processor beside the accelerator over a time, uJ; 0 where there is none.
    pub fn host_uj(&self, milliseconds: f64) -> f64 {
        self.host_mw.as_ref().map_or(0.0, |power| power.value * milliseconds)
    }
}

macro_rules! boards {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../hw-targets/boards/", $name, ".toml")))),+]
    };
}

const BUILTIN: [(&str, &str); 7] =
    boards!("icebreaker", "ulx3s-85f", "tang-primer-20k", "arty-a7-100t", "pynq-z2", "kv260", "de10-nano");

/// Names of the boards that come with Espalier.
pub fn builtin_board_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// The boards that come with Espalier.
pub fn builtin_boards() -> Vec<Board> {
    BUILTIN.iter().map(|(name, text)| parse_board(name, text).expect("built-in boards are tested")).collect()
}

/// Reads a board file; `at` names it in findings.
///
/// # Errors
/// If it is not TOML, has unknown or missing keys, names an unknown target, a number is not positive, or a word would
/// not be safe in a constraint file.
pub fn parse_board(at: &str, text: &str) -> Result<Board, Diagnostics> {
    let place = || format!("board '{at}'");
    let board: Board = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|s| text.get(..s.start).map_or(1, |t| t.matches('\n').count() + 1));
        let place = line.map_or_else(place, |line| format!("{}, line {line}", place()));
        Diagnostic::error("invalid-board", place, error.message().to_owned())
            .with_help("hw-targets/README.md lists the keys; pins are tables { pin, source, confidence }")
    })?;
    let mut findings = Diagnostics::new();
    let mut refuse = |message: String| findings.push(Diagnostic::error("invalid-board", place(), message));
    if !builtin_names().any(|name| name == board.target) {
        refuse(format!("target '{}' is not known", board.target));
    }
    let numbers = std::iter::once(("clock_mhz", &board.clock_mhz))
        .chain(board.baud.iter().map(|b| ("baud", b)))
        .chain(board.host_mw.iter().map(|f| ("host_mw", f)));
    let memories =
        board.memories.iter().flat_map(|m| [("gbytes_per_s", &m.gbytes_per_s), ("pj_per_byte", &m.pj_per_byte)]);
    for (key, fact) in numbers.chain(memories) {
        if !(fact.value.is_finite() && fact.value > 0.0) {
            refuse(format!("{key} = {} is not positive", fact.value));
        }
    }
    if board.host == Host::Serial && board.pins.is_none() {
        refuse("host = \"serial\" needs [pins] with clk, uart_rx, uart_tx and led".to_owned());
    }
    // These words go into constraint files and scripts of several tools.
    let pins = board.pins.iter().flat_map(Pins::ports).map(|(_, p)| p.pin.as_str());
    for word in pins.chain([board.part.as_str()]).chain(board.io_standard.as_deref()) {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
        if word.is_empty() || !word.chars().all(safe) {
            refuse(format!("'{word}' may have letters, digits, and - _ / . only"));
        }
    }
    findings.into_result(board)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_is_read_and_names_its_file() {
        for ((name, _), board) in BUILTIN.iter().zip(builtin_boards()) {
            assert_eq!(*name, board.name);
            assert_eq!(board.target().name, board.target);
            assert!(board.facts().iter().all(|(_, _, _, source)| !source.is_empty()), "{name}");
        }
    }

    #[test]
    fn the_serial_rates_are_met_within_two_percent() {
        for board in builtin_boards().into_iter().filter(|b| b.host == Host::Serial) {
            let baud = board.baud.as_ref().unwrap().value;
            let rate = board.clock_mhz.value * 1e6 / f64::from(board.divider());
            assert!((rate / baud - 1.0).abs() < 0.02, "{}: {rate} instead of {baud}", board.name);
        }
    }

    #[test]
    fn bad_boards_are_refused_with_every_finding() {
        let text = BUILTIN[0].1;
        let refused = |text: String| parse_board("b", &text).unwrap_err().to_string();
        assert!(refused(text.replace("pin = \"35\"", "pin = \"35; rm -rf x\"")).contains("letters, digits"));
        assert!(refused(text.replace("ice40up5k\"", "ice41\"")).contains("'ice41' is not known"));
        assert!(refused(text.replace("value = 12,", "value = -12,")).contains("not positive"));
        assert!(refused(text.replace("[pins]", "[pinz]")).contains("line"));
        let both = text.replace("ice40up5k\"", "ice41\"").replace("value = 12,", "value = 0,");
        assert_eq!(parse_board("b", &both).unwrap_err().iter().count(), 2);
    }
}
