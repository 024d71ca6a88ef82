//! Divides weight tiles among blocks: greedy by gain per cycle, exact at the end.

use espalier_target::{AcceleratorConfig, LayerGeometry};

/// A block whose number of tiles is to be chosen.
pub(crate) struct BlockChoice {
    /// Layer of the block.
    pub layer: usize,
    /// Index of the block in its layer.
    pub block: usize,
    /// Importance that each further tile adds; never increasing.
    pub gains: Vec<f64>,
    /// Estimated cycles with `t` tiles, without overlap between instructions.
    cycles: Vec<u64>,
}

impl BlockChoice {
    /// `gains[t]` is what tile `t` adds.
    pub fn new(layer: &LayerGeometry, config: &AcceleratorConfig, index: usize, block: usize, gains: Vec<f64>) -> Self {
        let channels = layer.blocks[block];
        let chunks = layer.output.write_back(channels.first, channels.columns).chunks;
        // An instruction takes as long as its passes, but not less than its write-back.
        let cycles = |tiles: usize| {
            let instruction = |tile: &espalier_target::PixelTile| {
                let stream = tiles * layer.pixels(tile).max(config.rows);
                stream.max(tile.outputs() * (layer.window_area() - 1 + chunks)) as u64
            };
            layer.pixel_tiles.iter().map(instruction).sum()
        };
        BlockChoice { layer: index, block, cycles: (0..=gains.len()).map(cycles).collect(), gains }
    }

    /// Importance a cycle of tile `t` (from 0).
    fn rate(&self, t: usize) -> f64 {
        self.gains[t] / (self.cycles[t + 1] - self.cycles[t]) as f64
    }
}

/// One tile more for one block.
struct Item {
    rate: f64,
    choice: usize,
    tile: usize,
}

/// Tiles for every block: at least `least`, and as important as possible with `cost(tiles) <= budget`.
///
/// `cost(least) <= budget` must hold, and more tiles must not cost less.
pub(crate) fn allocate(
    choices: &[BlockChoice],
    least: &[Vec<u32>],
    budget: u64,
    cost: &mut dyn FnMut(&[Vec<u32>]) -> u64,
) -> Vec<Vec<u32>> {
    let mut items: Vec<Item> = Vec::new();
    for (choice, b) in choices.iter().enumerate() {
        let first = least[b.layer][b.block] as usize;
        items.extend((first..b.gains.len()).map(|tile| Item { rate: b.rate(tile), choice, tile }));
    }
    // A rate of 0 / 0 (no gain, no cost) counts as the best: total_cmp puts NaN above infinity.
    items.sort_by(|a, b| b.rate.abs().total_cmp(&a.rate.abs()).then(a.tile.cmp(&b.tile)).then(a.choice.cmp(&b.choice)));
    let with_first = |count: usize| {
        let mut tiles = least.to_vec();
        items[..count].iter().for_each(|i| tiles[choices[i.choice].layer][choices[i.choice].block] += 1);
        tiles
    };
    // Largest prefix within the budget.
    let (mut low, mut high) = (0, items.len());
    while low < high {
        let middle = (low + high).div_ceil(2);
        if cost(&with_first(middle)) <= budget {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let mut tiles = with_first(low);
    fill(choices, &items[low..], &mut tiles, budget, cost);
    tiles
}

/// Gives out what is left of the budget to later items that are cheap enough.
fn fill(
    choices: &[BlockChoice],
    items: &[Item],
    tiles: &mut [Vec<u32>],
    budget: u64,
    cost: &mut dyn FnMut(&[Vec<u32>]) -> u64,
) {
    // A block that one item did not fit cannot take a later one either: tiles are in order of gain.
    let mut closed = vec![false; choices.len()];
    for item in items {
        let b = &choices[item.choice];
        if closed[item.choice] || item.rate == 0.0 {
            continue;
        }
        tiles[b.layer][b.block] += 1;
        if cost(tiles) > budget {
            tiles[b.layer][b.block] -= 1;
            closed[item.choice] = true;
        }
    }
}
