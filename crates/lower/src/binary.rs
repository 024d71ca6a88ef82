//! `program.bin`: a program as drivers load it. The tables of words give its form to drivers and to `docs/registers.md`.

use std::fmt::Write;

use espalier_target::AcceleratorConfig;

use crate::program::{PlacedTensor, Program};
use crate::weights::host_words_per_weight;

/// First word of the file: "ESPL".
pub const PROGRAM_MAGIC: u32 = 0x4c50_5345;
/// Second word: this form.
pub const PROGRAM_VERSION: u32 = 2;

/// One 32-bit word of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileWord {
    /// Name in lower snake case.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

const fn word(name: &'static str, meaning: &'static str) -> FileWord {
    FileWord { name, meaning }
}

const HEADER: [FileWord; 16] = [
    word("magic", "0x4c505345, the letters ESPL"),
    word("version", "2"),
    word("file_bytes", "length of the file"),
    word("config_hash", "configuration that the program is for"),
    word("geometry", "its `geometry` register"),
    word("program_words", "words for the program memory"),
    word("weight_words", "words for the weight memory, 0 if weights are streamed"),
    word("weight_parts", "words of one weight word"),
    word("stream_bytes", "bytes of weights for external memory, 0 if they are on the chip"),
    word("spill_bytes", "bytes of external memory that spilled tensors need, 0 if there are none"),
    word("checksum", "what is written into the register `checksum`"),
    word("beats_in", "beats of an input packet"),
    word("beats_out", "beats of an output packet"),
    word("inputs", "number of input tensors"),
    word("outputs", "number of output tensors"),
    word("softmax", "1: the model ends with a softmax of every output, which is left to the host"),
];

const TENSOR: [FileWord; 5] = [
    word("channels", "channels"),
    word("height", "rows"),
    word("width", "columns"),
    word("exponent", "the real value of a step is 2^exponent; signed"),
    word("zero_point", "integer that means 0; signed"),
];

/// Words at the beginning of the file.
pub fn program_file_header() -> &'static [FileWord] {
    &HEADER
}

/// Words of the entry of a tensor; inputs and then outputs follow the header.
pub fn program_file_tensor() -> &'static [FileWord] {
    &TENSOR
}

/// Value of the register `geometry` of a configuration.
pub fn geometry(config: &AcceleratorConfig) -> u32 {
    let beat = config.external().map_or(0, |memory| memory.bytes_per_cycle);
    (beat << 24 | config.combine << 16 | config.cols << 8 | config.rows) as u32
}

impl Program {
    /// `program.bin`, all words little-endian: header, tensors, program words, weight words or the stream of weights
    /// (padded to whole words), and the CRC-32 (of zlib) of everything before.
    pub fn to_binary(&self) -> Vec<u8> {
        let instructions = self.program_words();
        let streamed = self.config.external().is_some();
        let weights = if streamed { Vec::new() } else { self.host_weight_words() };
        let mut stream = if streamed { self.weight_stream() } else { Vec::new() };
        let stream_bytes = stream.len();
        stream.resize(stream_bytes.next_multiple_of(4), 0);
        let inputs: Vec<&PlacedTensor> = self.memory.inputs.iter().collect();
        let outputs: Vec<&PlacedTensor> = self.outputs.iter().map(|o| self.memory.tensor(*o)).collect();
        let tensors: Vec<u32> = inputs.iter().chain(&outputs).flat_map(|t| entry(t)).collect();
        let words = HEADER.len() + tensors.len() + instructions.len() + weights.len();
        let beats = |tensors: &[&PlacedTensor]| tensors.iter().map(|t| beats(t)).sum::<usize>() as u32;
        let header: [u32; HEADER.len()] = [
            PROGRAM_MAGIC,
            PROGRAM_VERSION,
            (4 * words + stream.len() + 4) as u32,
            self.config_hash(),
            geometry(&self.config),
            instructions.len() as u32,
            weights.len() as u32,
            host_words_per_weight(&self.config) as u32,
            stream_bytes as u32,
            self.memory.spilled_bytes as u32,
            self.load_checksum(),
            beats(&inputs),
            beats(&outputs),
            inputs.len() as u32,
            outputs.len() as u32,
            u32::from(self.softmax),
        ];
        let all = header.into_iter().chain(tensors).chain(instructions).chain(weights);
        let mut bytes: Vec<u8> = all.flat_map(u32::to_le_bytes).chain(stream).collect();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

/// The order of a tensor's bytes in a stream needs no more than its shape: planes of `rows` channels, in each of them
/// rows and columns, in each beat the channels.
fn entry(tensor: &PlacedTensor) -> [u32; TENSOR.len()] {
    let [channels, height, width] = tensor.layout.shape.map(|n| n as u32);
    [channels, height, width, tensor.exponent.cast_unsigned(), i32::from(tensor.zero_point).cast_unsigned()]
}

fn beats(tensor: &PlacedTensor) -> usize {
    let [_, height, width] = tensor.layout.shape;
    tensor.layout.planes * height * width
}

/// The form of the file as Markdown: the second generated part of `docs/registers.md`.
pub fn program_file_markdown() -> String {
    let mut text = String::from("| word | header | meaning |\n|---|---|---|\n");
    for (index, w) in HEADER.iter().enumerate() {
        writeln!(text, "| {index} | `{}` | {} |", w.name, w.meaning).expect("strings grow");
    }
    text += "\n| word | tensor | meaning |\n|---|---|---|\n";
    for (index, w) in TENSOR.iter().enumerate() {
        writeln!(text, "| {index} | `{}` | {} |", w.name, w.meaning).expect("strings grow");
    }
    text
}
