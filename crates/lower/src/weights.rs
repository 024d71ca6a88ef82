//! Weight memory: one word holds a weight a column and the address offset of its row.

use espalier_target::AcceleratorConfig;

/// Parameter words behind the weight tiles of a block: four bytes of bias and one of shift.
pub const PARAMETER_WORDS: usize = 5;

/// One word of weight memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightWord {
    /// Byte `j` belongs to column `j`: a weight, or a byte of the column's parameters.
    pub bytes: Vec<i8>,
    /// Address offset of the row, modulo 2^16; zero in parameter words.
    pub offset: u16,
    /// Address offset of the second vector of a combined row; zero where there is none.
    pub second_offset: u16,
    /// Bit `j`: the weight of column `j` belongs to the second vector.
    pub select: u32,
}

/// 32-bit words through which the host writes one weight word.
pub fn host_words_per_weight(config: &AcceleratorConfig) -> usize {
    config.weight_word_bits().div_ceil(32)
}

impl WeightWord {
    /// A word whose weights all belong to one vector.
    pub fn new(bytes: Vec<i8>, offset: u16) -> Self {
        WeightWord { bytes, offset, second_offset: 0, select: 0 }
    }

    /// A word of zero weights: an unused row.
    pub fn empty(cols: usize) -> Self {
        WeightWord::new(vec![0; cols], 0)
    }

    /// The word as bytes, lowest first: weights of columns 0.., the offset; with `combine = 2` then the
    /// second offset and the select bits.
    pub fn to_bytes(&self, config: &AcceleratorConfig) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.bytes.iter().map(|b| b.cast_unsigned()).collect();
        bytes.extend(self.offset.to_le_bytes());
        if config.combine > 1 {
            bytes.extend(self.second_offset.to_le_bytes());
            bytes.extend(&self.select.to_le_bytes()[..config.cols.div_ceil(8)]);
        }
        bytes
    }

    /// The word that these bytes mean, if they are as many as the configuration wants.
    pub fn from_bytes(bytes: &[u8], config: &AcceleratorConfig) -> Option<Self> {
        if bytes.len() * 8 != config.weight_word_bits() {
            return None;
        }
        let (weights, rest) = bytes.split_at_checked(config.cols)?;
        let half = |at: usize| rest.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let select = rest.get(4..).unwrap_or_default();
        Some(WeightWord {
            bytes: weights.iter().map(|b| b.cast_signed()).collect(),
            offset: half(0),
            second_offset: half(2),
            select: select.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte)),
        })
    }

    /// The word in 32-bit pieces, lowest first, padded with zeros: what the host port takes.
    pub fn to_host_words(&self, config: &AcceleratorConfig) -> Vec<u32> {
        let bytes = self.to_bytes(config);
        bytes.chunks(4).map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))).collect()
    }

    /// The word as hexadecimal digits, highest first: one line of a `$readmemh` file.
    pub fn to_hex(&self, config: &AcceleratorConfig) -> String {
        self.to_bytes(config).iter().rev().map(|b| format!("{b:02x}")).collect()
    }

    /// The word that a line of hexadecimal digits means, if it has exactly as many as the configuration wants.
    pub fn from_hex(line: &str, config: &AcceleratorConfig) -> Option<Self> {
        let count = config.weight_word_bits() / 8;
        if line.len() != 2 * count || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let bytes: Option<Vec<u8>> =
            (0..count).rev().map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).ok()).collect();
        WeightWord::from_bytes(&bytes?, config)
    }

    /// Columns with a weight of the first and of the second vector, as bits.
    pub fn used_columns(&self) -> [u32; 2] {
        let used = self.bytes.iter().rev().fold(0, |bits, w| bits << 1 | u32::from(*w != 0));
        [used & !self.select, used & self.select]
    }
}

/// Packs bias and shift of the columns: words 0 to 3 hold the bytes of the bias, word 4 the shift.
pub(crate) fn pack_parameters(bias: &[i32], shift: &[u8], cols: usize) -> Vec<WeightWord> {
    let mut words = vec![WeightWord::empty(cols); PARAMETER_WORDS];
    for (column, (bias, shift)) in bias.iter().zip(shift).enumerate() {
        for (word, byte) in words.iter_mut().zip(bias.to_le_bytes()) {
            word.bytes[column] = byte.cast_signed();
        }
        words[4].bytes[column] = shift.cast_signed();
    }
    words
}

/// Bias and shift of a column from the five parameter words behind the tiles.
pub(crate) fn unpack_parameters(words: &[WeightWord], column: usize) -> (i32, u8) {
    let byte = |word: usize| words[word].bytes[column].cast_unsigned();
    (i32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]), byte(4))
}
