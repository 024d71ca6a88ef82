//! How the processing elements multiply: hardware multipliers, shared ones, adders.

use espalier_ir::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};

use crate::{AcceleratorConfig, Columns, Target};

/// What forms the products of the array. Results and cycles are the same with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multiplier {
    /// One hardware multiplier a processing element.
    #[default]
    Plain,
    /// One hardware multiplier for the elements of columns `2p` and `2p + 1` of a row: the activation times
    /// `high * 2^16 + low`, which needs a multiplier of 25 x 8 bits (AMD WP486).
    Packed,
    /// Adders.
    Lut,
}

impl Multiplier {
    /// All kinds with their names in configuration files.
    pub const NAMES: [(&'static str, Multiplier); 3] =
        [("plain", Multiplier::Plain), ("packed", Multiplier::Packed), ("lut", Multiplier::Lut)];

    /// Its name in configuration files.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Multiplier::Plain
    }
}

impl std::str::FromStr for Multiplier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| format!("'{text}' is none of plain, packed, lut"))
    }
}

impl AcceleratorConfig {
    /// Columns, from the first on, whose products take hardware multipliers: as many as `max_multipliers` is enough
    /// for; with packed multipliers whole pairs. The other columns multiply by adders.
    pub fn hard_cols(&self) -> usize {
        let most = self.max_multipliers.map_or(self.cols, |most| most / (self.rows * self.clusters).max(1));
        match self.multiplier {
            Multiplier::Plain => self.cols.min(most),
            Multiplier::Packed => (self.cols / 2).min(most) * 2,
            Multiplier::Lut => 0,
        }
    }

    /// Hardware multipliers of all arrays.
    pub fn hardware_multipliers(&self) -> usize {
        let columns = if self.multiplier == Multiplier::Packed { self.hard_cols() / 2 } else { self.hard_cols() };
        self.rows * columns * self.clusters
    }

    /// Every column of the array.
    pub fn all_columns(&self) -> Columns {
        (0..self.cols.min(Columns::BITS as usize)).fold(0, |columns, j| columns | 1 << j)
    }

    /// Columns that a weight in one of `columns` keeps the other vector of a row out of: the columns themselves, and
    /// with packed multipliers also their partners, because both see the same activation.
    pub fn occupied(&self, columns: Columns) -> Columns {
        const LEFT: Columns = 0x5555_5555;
        match self.multiplier {
            Multiplier::Packed => columns | (columns & LEFT) << 1 | (columns >> 1 & LEFT),
            Multiplier::Plain | Multiplier::Lut => columns,
        }
    }
}

/// Checks that the target can build the multipliers that a configuration wants.
///
/// # Errors
/// If it wants shared multipliers and those of the target are too narrow, or the target has none at all.
pub fn check_multiplier(target: &Target, config: &AcceleratorConfig) -> Result<(), Diagnostics> {
    let refuse = |message: &str, help: &str| {
        let at = format!("target '{}'", target.name);
        Err(Diagnostic::error("multiplier-not-available", at, message.to_owned()).with_help(help).into())
    };
    match (&target.fpga, config.multiplier) {
        (None, Multiplier::Packed | Multiplier::Lut) => refuse(
            "an ASIC builds each multiplier from cells; there is none to share or to save",
            "set 'multiplier' to \"plain\"",
        ),
        (Some(fpga), Multiplier::Packed) if !fpga.packed => refuse(
            "two INT8 products in one multiplier need 25 x 8 bits, which its multipliers (or the synthesis of them) \
             do not offer",
            "set 'multiplier' to \"plain\", or to \"lut\" or with 'max_multipliers' if there are too few",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(multiplier: Multiplier, most: Option<usize>) -> AcceleratorConfig {
        AcceleratorConfig { multiplier, max_multipliers: most, ..AcceleratorConfig::new(16, 25, 1024, 64) }
    }

    #[test]
    fn columns_with_hardware_multipliers() {
        let cases = [
            (Multiplier::Plain, None, 25, 400),
            (Multiplier::Plain, Some(220), 13, 208),
            (Multiplier::Packed, None, 24, 192),
            (Multiplier::Packed, Some(191), 22, 176),
            (Multiplier::Packed, Some(0), 0, 0),
            (Multiplier::Lut, Some(220), 0, 0),
        ];
        for (multiplier, most, columns, multipliers) in cases {
            let config = config(multiplier, most);
            assert_eq!((config.hard_cols(), config.hardware_multipliers()), (columns, multipliers), "{config:?}");
        }
    }

    #[test]
    fn pairs_of_columns_are_occupied_together() {
        assert_eq!(config(Multiplier::Packed, None).occupied(0b1001_0010_0001), 0b1111_0011_0011);
        assert_eq!(config(Multiplier::Packed, None).occupied(1 << 31), 3 << 30);
        assert_eq!(config(Multiplier::Plain, None).occupied(0b0110), 0b0110);
    }

    #[test]
    fn names_are_read_and_written() {
        for (name, kind) in Multiplier::NAMES {
            assert_eq!((name.parse(), kind.name()), (Ok(kind), name));
        }
        assert!("dsp".parse::<Multiplier>().unwrap_err().contains("packed"));
    }
}
