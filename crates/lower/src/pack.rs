//! Weight words of one block, and the proof that its accumulators cannot overflow.

use espalier_ir::Diagnostic;
use espalier_quant::{QuantizedGraph, QuantizedLayer};
use espalier_target::{AcceleratorConfig, Columns, LayerGeometry, TABLE_ENTRIES, Table, Vector, place};

use crate::layers::{parameters, product_shift, residual, residual_weight, value_range, weight, zero_point};
use crate::weights::{WeightWord, pack_parameters};

/// The packed weights of one block of output channels.
pub(crate) struct PackedBlock {
    /// Weight tiles of every CONV of the block, the one that writes last.
    pub tiles: Vec<u32>,
    /// As many times `rows` words, tile by tile, then the parameter words.
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
    let mut tiles = Vec::new();
    if let (Some(residual), Some(part)) = (residual(layer), geometry.residual_part()) {
        let weight = |vector: &Vector, output| residual_weight(residual, &part, vector, output);
        let packing = Packing { graph, geometry: &part, config, block, bases: &bases[bases.len() - 1..] };
        tiles.push(packing.tiles(&weight, residual.sum_shift(), &mut words, &mut sums));
    }
    if geometry.gated {
        for part in 0..geometry.parts() {
            let shape = geometry.part(part);
            let weight = |vector: &Vector, output| weight(layer, &shape, 0, vector, output);
            let packing = Packing { graph, geometry: &shape, config, block, bases: &bases[2 * part..] };
            tiles.push(packing.tiles(&weight, 0, &mut words, &mut sums));
        }
        let ranges: Vec<_> = layer.sources.iter().map(|s| value_range(graph, *s)).collect();
        sums.fill_with(|| Sums::products(&ranges, |pair| product_shift(layer, pair)));
    } else {
        for part in tiles.len()..geometry.parts() {
            let shape = geometry.part(part);
            let source = geometry.part_source(part);
            let before: usize = geometry.sources[..source].iter().map(|s| s.layout.shape[0]).sum();
            let weight = |vector: &Vector, output| weight(layer, &shape, before, vector, output);
            let packing = Packing { graph, geometry: &shape, config, block, bases: &bases[source..] };
            let own = packing.tiles(&weight, 0, &mut words, &mut sums);
            // Only the last part may have fewer than it has without pruning.
            let planned = if part + 1 < geometry.parts() { geometry.part_tiles(part, block, own) } else { own };
            let missing = (planned - own) as usize * config.rows;
            words.extend(std::iter::repeat_n(WeightWord::empty(config.cols), missing));
            tiles.push(planned);
        }
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
    Ok(PackedBlock { tiles, words })
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
        Table::Off | Table::Kept | Table::Swapped => Vec::new(),
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

    /// Products of pairs of values in these ranges, whose zero points are 0, each shifted to the left.
    fn products(ranges: &[(i8, i8)], left_shift: impl Fn(usize) -> u8) -> Sums {
        let mut sums = Sums::default();
        for (pair, ranges) in ranges.chunks(2).enumerate() {
            let [(lo, hi), (low, high)] = [ranges[0], ranges[1]];
            let ends = [lo, hi].into_iter().flat_map(|a| [low, high].map(|b| i64::from(a) * i64::from(b)));
            let ends = ends.map(|product| product << left_shift(pair));
            let (least, most) = ends.fold((i64::MAX, i64::MIN), |(least, most), p| (least.min(p), most.max(p)));
            sums.lowest += least.min(0);
            sums.highest += most.max(0);
            sums.total = (sums.total.0 + least, sums.total.1 + most);
        }
        sums
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
