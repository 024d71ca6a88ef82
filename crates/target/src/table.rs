//! The tables of write-back: functions of single values, one entry for each of the 256 integers, a table a column.

use serde::{Deserialize, Serialize};

use crate::{AcceleratorConfig, LayerGeometry};

/// Entries of a table.
pub const TABLE_ENTRIES: usize = 256;

/// What a block does with the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Table {
    /// Its results do not pass them.
    #[default]
    Off = 0,
    /// They pass what was loaded last.
    Kept = 1,
    /// It loads the same table for all columns first.
    Shared = 2,
    /// It loads a table for each column first.
    Own = 3,
    /// They pass what was loaded before that, which is kept, too, and counts as loaded last from then on.
    Swapped = 4,
}

impl Table {
    /// All of them; the first four in the order of their codes.
    pub const ALL: [Table; 5] = [Table::Off, Table::Kept, Table::Shared, Table::Own, Table::Swapped];

    /// The code in an instruction: `Swapped` is `Kept` with a bit of its own.
    pub fn code(self) -> u8 {
        if self == Table::Swapped { Table::Kept as u8 } else { self as u8 }
    }

    /// Whether entries are loaded, behind the parameters of the block.
    pub fn loads(self) -> bool {
        matches!(self, Table::Shared | Table::Own)
    }

    /// Weight words that hold the entries: a byte is an entry of all columns, or of its own.
    pub fn words(self, cols: usize) -> usize {
        match self {
            Table::Off | Table::Kept | Table::Swapped => 0,
            Table::Shared => TABLE_ENTRIES.div_ceil(cols),
            Table::Own => TABLE_ENTRIES,
        }
    }
}

impl LayerGeometry {
    /// What a block of a rectangle does with the tables: they are loaded where they may differ from what is there.
    pub fn block_table(&self, pixel_tile: usize, block: usize) -> Table {
        let first = pixel_tile == 0 && block == 0;
        match self.table {
            Table::Shared | Table::Swapped if !first => Table::Kept,
            Table::Own if !first && self.blocks.len() == 1 => Table::Kept,
            table => table,
        }
    }

    /// Weight words of the tables of a layer: in a memory on the chip, each that is ever loaded once.
    pub(crate) fn table_words(&self, config: &AcceleratorConfig) -> usize {
        let rectangles = if config.external().is_some() { self.pixel_tiles.len() } else { 1 };
        let blocks = 0..self.blocks.len();
        let words = |tile| blocks.clone().map(move |block| self.block_table(tile, block).words(config.cols));
        (0..rectangles).flat_map(words).sum()
    }
}
