//! Weight words of one block, and the proof that its accumulators cannot overflow.

use espalier_ir::Diagnostic;
use espalier_quant::{QuantizedGraph, QuantizedLayer};
use espalier_target::{AcceleratorConfig, Columns, LayerGeometry, TABLE_ENTRIES, Table, Vector, place};

use crate::layers::{parameters, residual, residual_weight, value_range, weight, zero_point};
use crate::weights::{WeightWord, pack_parameters};

/// The packed weights of one block of output channels.
pub(crate) struct PackedBlock {
    /// Weight tiles of the residual operand.
    pub residual_tiles: u32,
    /// Weight tiles.
    pub tiles: u32,
    /// `(residual_tiles + tiles) * rows` words, tile by tile, then the parameter words.
    pub words: Vec<WeightWord>,
}

/// Packs a block; `bases` are the base addresses of the sources.
///
/// # Errors
/// If the sums of a channel do not fit `accumulator_bits`, or its bias does not fit 32 bits.
pub(crate) fn pack_block(
    graph: &QuantizedGraph,
    layer: &QuantizedLayer,
    geometry: &LayerGeometry,
    config: &AcceleratorConfig,
    block: usize,
    bases: &[usize],
) -> Result<PackedBlock, Diagnostic> {
    let channels = geometry.blocks[block];
    let mut sums = vec![Sums::default(); channels.columns];
    let mut words = Vec::new();
    let mut residual_tiles = 0;
    if let (Some(residual), Some(part)) = (residual(layer), geometry.residual_part()) {
        let weight = |vector: &Vector, output| residual_weight(residual, &part, vector, output);
        let packing = Packing { graph, geometry: &part, config, block, bases: &bases[bases.len() - 1..] };
        residual_tiles = packing.tiles(&weight, residual.sum_shift(), &mut words, &mut sums);
    }
    let weight = |vector: &Vector, output| weight(layer, geometry, vector, output);
    let tiles = Packing { graph, geometry, config, block, bases }.tiles(&weight, 0, &mut words, &mut sums);
    if geometry.gated {
        let [map, gates] = [0, 1].map(|i| value_range(graph, layer.sources[i]));
        sums.fill_with(|| Sums::product(map, gates));
    }
    if geometry.window_sum {
        sums.iter_mut().for_each(|sums| sums.repeat(geometry.window_area() as i64));
    }
    let mut biases = Vec::new();
    let mut shifts = Vec::new();
    for (column, sums) in sums.iter().enumerate() {
        let output = channels.first + column;
        let (bias, shift) = parameters(layer, output);
        biases.push(sums.folded_bias(bias, config).map_err(|what| {
            Diagnostic::error(
                "accumulator-overflow",
                format!("layer '{}' ({})", layer.name, layer.op_name),
                format!("output channel {output}: {what}"),
            )
            .with_help(
                "set 'accumulator_bits' to 32, or calibrate with more data so that weights and biases scale down",
            )
        })?);
        shifts.push(shift);
    }
    words.extend(pack_parameters(&biases, &shifts, config.cols));
    Ok(PackedBlock { residual_tiles, tiles, words })
}

/// The words of the tables that a block of a rectangle loads: entry `e` of all columns is byte `e` of them, or byte `c`
/// of word `e` that of column `c`.
pub(crate) fn table_words(
    layer: &QuantizedLayer,
    geometry: &LayerGeometry,
    config: &AcceleratorConfig,
    (rectangle, block): (usize, usize),
) -> Vec<WeightWord> {
    let Some(table) = &layer.table else { return Vec::new() };
    let channels = geometry.blocks[block];
    let word = |mut bytes: Vec<i8>| {
        bytes.resize(config.cols, 0);
        WeightWord::new(bytes, 0)
    };
    match geometry.block_table(rectangle, block) {
        Table::Off | Table::Kept => Vec::new(),
        Table::Shared => table.run(0).chunks(config.cols).map(|bytes| word(bytes.to_vec())).collect(),
        Table::Own => {
            let runs: Vec<&[i8]> = (0..channels.columns).map(|j| table.run(channels.first + j)).collect();
            (0..TABLE_ENTRIES).map(|entry| word(runs.iter().map(|run| run[entry]).collect())).collect()
        }
    }
}

/// What packing the vectors of a block, or of the addition before it, takes.
struct Packing<'a> {
    graph: &'a QuantizedGraph,
    geometry: &'a LayerGeometry,
    config: &'a AcceleratorConfig,
    block: usize,
    bases: &'a [usize],
}

impl Packing<'_> {
    /// Appends the words of all tiles, whose sums are shifted left by `shift`; returns how many tiles there are.
    fn tiles(
        &self,
        weight: &dyn Fn(&Vector, usize) -> i8,
        shift: u8,
        words: &mut Vec<WeightWord>,
        sums: &mut [Sums],
    ) -> u32 {
        let Packing { graph, geometry, config, block, bases } = *self;
        let channels = geometry.blocks[block];
        let column_weights = |vector: &Vector| -> Vec<i8> {
            let outputs = channels.first..channels.first + channels.columns;
            let mut weights: Vec<i8> = outputs.map(|output| weight(vector, output)).collect();
            weights.resize(config.cols, 0);
            weights
        };
        let used = |vector: &Vector| {
            if geometry.depthwise.is_some() {
                return Columns::from(tap_weights(weight, geometry, vector, config).iter().any(|w| *w != 0));
            }
            column_weights(vector).iter().rev().fold(0, |columns: Columns, w| columns << 1 | Columns::from(*w != 0))
        };
        let placement = place(geometry, config, block, &used);
        let (tiles, start) = (placement.tiles(), words.len());
        words.resize(start + tiles as usize * config.rows, WeightWord::empty(config.cols));
        for (lane, rows) in placement.lanes.iter().enumerate() {
            for (tile, row) in rows.iter().enumerate() {
                if geometry.depthwise.is_some() {
                    let weights = tap_weights(weight, geometry, &row.first, config);
                    let source = geometry.sources[row.first.source].source;
                    let sums = &mut sums[row.first.channel - channels.first];
                    weights.iter().for_each(|w| {
                        sums.add(i64::from(*w) << shift, zero_point(graph, source), value_range(graph, source));
                    });
                    words[start + tile * config.rows + lane] =
                        WeightWord::new(weights, geometry.row_offset(&row.first, bases));
                    continue;
                }
                let mut word = WeightWord::new(column_weights(&row.first), geometry.row_offset(&row.first, bases));
                if let Some(second) = &row.second {
                    word.second_offset = geometry.row_offset(second, bases);
                    word.select = config.occupied(used(second)) & config.all_columns();
                    for (byte, weight) in word.bytes.iter_mut().zip(column_weights(second)).filter(|(_, w)| *w != 0) {
                        *byte = weight;
                    }
                }
                for (vector, columns) in std::iter::once(&row.first).chain(&row.second).zip(word.used_columns()) {
                    let source = geometry.sources[vector.source].source;
                    let weights = sums.iter_mut().zip(&word.bytes).enumerate().filter(|(j, _)| columns >> j & 1 == 1);
                    weights.for_each(|(_, (sums, weight))| {
                        sums.add(i64::from(*weight) << shift, zero_point(graph, source), value_range(graph, source));
                    });
                }
                words[start + tile * config.rows + lane] = word;
            }
        }
        tiles
    }
}

/// The weights of a vector of the depthwise unit: byte `k` belongs to the pixel read `k` cycles before the newest.
fn tap_weights(
    weight: &dyn Fn(&Vector, usize) -> i8,
    geometry: &LayerGeometry,
    vector: &Vector,
    config: &AcceleratorConfig,
) -> Vec<i8> {
    let newest = geometry.first_tap(vector) + geometry.depthwise.unwrap_or(1) - 1;
    let mut weights = vec![0; config.cols];
    for kx in geometry.taps_of(vector) {
        weights[newest - kx] = weight(&Vector { kx, ..*vector }, vector.channel);
    }
    weights
}

/// What the sum of one output channel can reach.
#[derive(Debug, Clone, Default)]
struct Sums {
    /// Lowest value of any part of the sum, in any order.
    lowest: i64,
    /// Highest.
    highest: i64,
    /// Exact bounds of the whole sum.
    total: (i64, i64),
    /// Sum of weight times zero point.
    zero: i64,
}

impl Sums {
    fn add(&mut self, weight: i64, zero_point: i8, (lo, hi): (i8, i8)) {
        let product = |x: i8| weight * i64::from(x);
        let (low, high) = (product(lo).min(product(hi)), product(lo).max(product(hi)));
        self.lowest += low.min(0);
        self.highest += high.max(0);
        self.total = (self.total.0 + low, self.total.1 + high);
        self.zero += product(zero_point);
    }

    /// One product of two values in these ranges, whose zero points are 0.
    fn product((lo, hi): (i8, i8), (low, high): (i8, i8)) -> Sums {
        let ends = [lo, hi].into_iter().flat_map(|a| [low, high].map(|b| i64::from(a) * i64::from(b)));
        let (least, most) = ends.fold((i64::MAX, i64::MIN), |(least, most), p| (least.min(p), most.max(p)));
        Sums { lowest: least.min(0), highest: most.max(0), total: (least, most), zero: 0 }
    }

    /// The same sum taken `count` times and added up.
    fn repeat(&mut self, count: i64) {
        self.lowest *= count;
        self.highest *= count;
        self.total = (self.total.0 * count, self.total.1 * count);
        self.zero *= count;
    }

    /// The bias for sums of `weight * x` instead of `weight * (x - zero_point)`.
    fn folded_bias(&self, bias: i32, config: &AcceleratorConfig) -> Result<i32, String> {
        let folded = i64::from(bias) - self.zero;
        let narrow = i32::try_from(folded).map_err(|_| format!("the bias {folded} does not fit 32 bits"))?;
        let lowest = self.lowest.min(self.total.0 + folded).min(folded);
        let highest = self.highest.max(self.total.1 + folded).max(folded);
        let limit = 1i64 << (config.accumulator_bits - 1);
        if lowest < -limit || highest >= limit {
            return Err(format!(
                "sums from {lowest} to {highest} need {} bits, the accumulators have {}",
                signed_bits(lowest).max(signed_bits(highest)),
                config.accumulator_bits
            ));
        }
        Ok(narrow)
    }
}

/// Bits of the two's complement form of a value.
fn signed_bits(value: i64) -> u32 {
    let magnitude = if value < 0 { !value } else { value };
    65 - magnitude.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_extremes() {
        assert_eq!([0, -1, 1, 127, -128, 128, -129].map(signed_bits), [1, 1, 2, 8, 8, 9, 9]);
    }

    #[test]
    fn sums_are_bounded_in_any_order() {
        let mut sums = Sums::default();
        sums.add(127, -128, (-128, 127));
        sums.add(-127, -128, (-128, 127));
        assert_eq!((sums.lowest, sums.highest, sums.zero), (-127 * 128 * 2 + 127, 127 * 128 * 2 - 127, 0));
        let config = AcceleratorConfig { accumulator_bits: 20, ..AcceleratorConfig::new(4, 4, 64, 16) };
        assert_eq!(sums.folded_bias(5, &config), Ok(5));
        assert!(sums.folded_bias(1 << 19, &config).unwrap_err().contains("21 bits"));
    }
}
