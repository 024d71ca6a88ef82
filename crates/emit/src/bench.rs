//! The Verilator bench: how to build it, how to call it, what it answers.

use espalier_lower::LaneWrite;
use serde::Deserialize;

use crate::DesignFiles;

/// Where [`verilator_arguments`] puts the simulation, relative to the folder of the design.
pub const SIMULATION_BINARY: &str = "sim/build/Vespalier_core";

/// First word of a trace file: "ESPT".
pub(crate) const TRACE_MAGIC: u32 = 0x5450_5345;
/// Second word of a trace file.
pub(crate) const TRACE_VERSION: u32 = 1;

/// The bench and its waivers, in `sim/`: the same for every design.
pub fn bench_files() -> DesignFiles {
    let mut files = DesignFiles::default();
    files.add("sim/sim_main.cpp", include_str!("../templates/../verilator-sim/sim_main.cpp"));
    files.add("sim/bench.h", include_str!("../templates/../verilator-sim/bench.h"));
    files.add("sim/espalier.vlt", include_str!("../templates/../verilator-sim/lint/espalier.vlt"));
    files
}

/// Arguments of `verilator`, to be run in `sim/` of the design; builds [`SIMULATION_BINARY`].
pub fn verilator_arguments() -> Vec<String> {
    optimized("-O2")
}

/// The same with so much optimization of what runs in every clock. What runs once is not worth any.
pub(crate) fn optimized(level: &str) -> Vec<String> {
    let arguments = format!(
        "--cc --exe --build -O3 --x-assign fast --x-initial fast --assert --top-module espalier_core \
        -Mdir build -CFLAGS -std=c++17 -CFLAGS -DVL_USER_STOP -CFLAGS -DVL_USER_FATAL \
        -MAKEFLAGS OPT_FAST={level} -MAKEFLAGS OPT_SLOW=-O0 -F ../rtl/files.f espalier.vlt sim_main.cpp"
    );
    arguments.split_whitespace().map(str::to_owned).collect()
}

/// One call of the simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchRun {
    /// Program image, as in `memory/program.hex`.
    pub program: String,
    /// Weight image, as in `memory/weights.hex`.
    pub weights: String,
    /// Input beats of all images, `rows` bytes each.
    pub inputs: String,
    /// Images to run.
    pub images: usize,
    /// Input beats of an image.
    pub beats_in: usize,
    /// Output beats of an image.
    pub beats_out: usize,
    /// Where to write the output beats of all images, if anywhere.
    pub outputs: Option<String>,
    /// Where to write the log of lane writes, if anywhere.
    pub trace: Option<String>,
    /// Where to write how often every bit changed, if anywhere; only a simulation of [`crate::activity_arguments`] can.
    pub coverage: Option<String>,
    /// Clocks after which an image is given up.
    pub timeout: u64,
    /// Seed of the gaps in both streams.
    pub seed: u64,
    /// Percent of cycles in which no input is offered.
    pub stall_in: u32,
    /// Percent of cycles in which no output is accepted.
    pub stall_out: u32,
    /// Hash of the configuration that the program is for; hardware of another one refuses it.
    pub config_hash: u32,
    /// Cycles from a read request to its first beat, and from the last beat of a write to its response.
    pub memory_latency: usize,
    /// Bytes of external memory for spilled tensors.
    pub spill_bytes: usize,
    /// Percent of cycles in which external memory takes no request or beat, and in which it holds back a beat or response.
    pub stall_memory: u32,
}

impl BenchRun {
    /// The arguments of [`SIMULATION_BINARY`].
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--program", self.program.clone());
        add("--weights", self.weights.clone());
        add("--inputs", self.inputs.clone());
        add("--images", self.images.to_string());
        add("--beats-in", self.beats_in.to_string());
        add("--beats-out", self.beats_out.to_string());
        add("--timeout", self.timeout.to_string());
        add("--seed", self.seed.to_string());
        add("--stall-in", self.stall_in.to_string());
        add("--stall-out", self.stall_out.to_string());
        add("--config-hash", self.config_hash.to_string());
        add("--memory-latency", self.memory_latency.to_string());
        add("--stall-memory", self.stall_memory.to_string());
        add("--spill-bytes", self.spill_bytes.to_string());
        if let Some(path) = &self.outputs {
            add("--outputs", path.clone());
        }
        if let Some(path) = &self.trace {
            add("--trace-out", path.clone());
        }
        if let Some(path) = &self.coverage {
            add("--coverage", path.clone());
        }
        arguments
    }
}

/// The line that the simulation prints when everything went well.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BenchReport {
    /// Images that ran.
    pub images: u64,
    /// Rows of the simulated hardware.
    pub rows: usize,
    /// Columns of the simulated hardware.
    pub cols: usize,
    /// Its hash register.
    pub config_hash: u32,
    /// Seed of the gaps.
    pub seed: u64,
    /// Cycle counter after each image.
    pub cycles: Vec<u64>,
    /// Stall counter after each image.
    pub stalls: Vec<u64>,
    /// Cycles in which external memory held back a request or a beat that the stated latency would have allowed, of each
    /// image, counted for each channel: the image takes at most so many cycles more than predicted.
    pub memory_waits: Vec<u64>,
    /// The register `class` after each image.
    pub classes: Vec<u32>,
    /// Cycle of the last lane write of every instruction in the last image; 0 for those that write nothing, and
    /// absent behind the last one that writes.
    pub ends: Vec<u64>,
    /// Simulated clocks of all images.
    pub clocks: u64,
    /// Wall-clock seconds that they took.
    pub seconds: f64,
}

/// Reads the simulation's answer.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_report(stdout: &str) -> Result<BenchReport, String> {
    let line = stdout.lines().rev().find(|l| l.starts_with('{')).ok_or("the simulation printed no report")?;
    serde_json::from_str(line).map_err(|e| format!("the simulation's report is not understood: {e}"))
}

/// Reads a log of lane writes: for each image, all writes in order, as the machine lists them.
///
/// All numbers are little-endian: `"ESPT"`, version u32, rows u32; for each image the number of records
/// u32 and the records: instruction u32, mask u32, address u16, one byte a lane (0 where not enabled).
///
/// # Errors
/// What is wrong with the bytes.
pub fn parse_trace(bytes: &[u8], rows: usize) -> Result<Vec<Vec<LaneWrite>>, String> {
    let mut rest = bytes;
    let mut word = |what: &str| {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| format!("the trace ends in {what}"))?;
        rest = tail;
        Ok::<u32, String>(u32::from_le_bytes(*head))
    };
    let header = [word("its header")?, word("its header")?, word("its header")?];
    if header != [TRACE_MAGIC, TRACE_VERSION, rows as u32] {
        return Err(format!("the trace is not of version {TRACE_VERSION} with {rows} rows"));
    }
    let record_len = 10 + rows;
    let mut images = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or("the trace ends in a count")?;
        let count = u32::from_le_bytes(*head) as usize;
        let records = count.checked_mul(record_len).and_then(|len| tail.split_at_checked(len));
        let (records, tail) = records.ok_or_else(|| format!("the trace ends in image {}", images.len()))?;
        images.push(records.chunks_exact(record_len).map(record).collect());
        rest = tail;
    }
    Ok(images)
}

fn record(bytes: &[u8]) -> LaneWrite {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    LaneWrite {
        instruction: word(0),
        mask: word(4),
        address: u16::from_le_bytes([bytes[8], bytes[9]]),
        data: bytes[10..].iter().map(|b| b.cast_signed()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(records: &[(u32, u32, u16, [u8; 4])]) -> Vec<u8> {
        let mut bytes = b"ESPT\x01\0\0\0\x04\0\0\0".to_vec();
        bytes.extend((records.len() as u32).to_le_bytes());
        for (instruction, mask, address, data) in records {
            bytes.extend(instruction.to_le_bytes());
            bytes.extend(mask.to_le_bytes());
            bytes.extend(address.to_le_bytes());
            bytes.extend(data);
        }
        bytes
    }

    #[test]
    fn a_trace_is_read_back() {
        let writes = parse_trace(&trace(&[(7, 0b1010, 513, [0, 255, 0, 128])]), 4).unwrap();
        let expected = LaneWrite { instruction: 7, mask: 0b1010, address: 513, data: vec![0, -1, 0, -128] };
        assert_eq!(writes, [[expected]]);
    }

    #[test]
    fn a_cut_trace_is_refused_at_every_length() {
        let bytes = trace(&[(1, 1, 1, [1; 4]), (2, 2, 2, [2; 4])]);
        for len in (0..bytes.len()).filter(|len| *len != 12) {
            assert!(parse_trace(&bytes[..len], 4).is_err(), "{len} bytes");
        }
        assert!(parse_trace(&bytes, 8).is_err(), "other rows");
    }

    #[test]
    fn reports_are_found_behind_other_output() {
        let report = r#"{"images":1,"rows":4,"cols":8,"config_hash":5,"seed":1,"cycles":[9],"stalls":[0],"memory_waits":[0],"classes":[3],"ends":[0,7],"clocks":20,"seconds":0.1}"#;
        assert_eq!(parse_report(&format!("note\n{report}\n")).unwrap().cycles, [9]);
        assert!(parse_report("").is_err());
        assert!(parse_report("{}").is_err());
    }
}
