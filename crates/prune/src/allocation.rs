//! Divides weight tiles among blocks: greedy by gain per cycle, exact at the end.

use espalier_target::{AcceleratorConfig, LayerGeometry};

use crate::Normalization;

/// A block whose number of tiles is to be chosen.
pub(crate) struct BlockChoice {
    /// Layer of the block.
    pub layer: usize,
    /// Index of the block in its layer.
    pub block: usize,
    /// Importance that each further tile keeps.
    pub importance: Vec<f64>,
    /// What each further tile adds to the objective; never increasing.
    gains: Vec<f64>,
    /// Estimated cycles with `t` tiles, without overlap between instructions.
    cycles: Vec<u64>,
}

impl BlockChoice {
    /// `importance[t]` is what tile `t` keeps.
    pub fn new(
        layer: &LayerGeometry,
        config: &AcceleratorConfig,
        (index, block): (usize, usize),
        importance: Vec<f64>,
        normalization: Normalization,
    ) -> Self {
        let channels = layer.blocks[block];
        let chunks = layer.output.write_back(channels.first, channels.columns).chunks;
        // An instruction takes as long as its passes, but not less than its write-back.
        let cycles = |tiles: usize| {
            let instruction = |tile: &espalier_target::PixelTile| {
                let stream = tiles * layer.stream(tile, config).max(config.rows);
                stream.max(tile.outputs() * (layer.window_area() - 1 + chunks)) as u64
            };
            layer.pixel_tiles.iter().map(instruction).sum()
        };
        let part = match normalization {
            // A layer is worth the same however many blocks it has.
            Normalization::Share => channels.columns as f64 / layer.conv_shape[0] as f64,
            _ => 1.0,
        };
        BlockChoice {
            layer: index,
            block,
            cycles: (0..=importance.len()).map(cycles).collect(),
            gains: gains(&importance, normalization).into_iter().map(|g| g * part).collect(),
            importance,
        }
    }

    /// Gain a cycle of tile `t` (from 0).
    fn rate(&self, t: usize) -> f64 {
        self.gains[t] / (self.cycles[t + 1] - self.cycles[t]) as f64
    }
}

/// Differences of the worth; rounding must not make them rise.
fn gains(importance: &[f64], normalization: Normalization) -> Vec<f64> {
    let total: f64 = importance.iter().sum();
    let (mut kept, mut last) = (0.0, f64::INFINITY);
    let gain = |added: &f64| {
        let before = normalization.worth(kept, total);
        kept += added;
        last = (normalization.worth(kept, total) - before).clamp(0.0, last);
        last
    };
    importance.iter().map(gain).collect()
}

/// One tile more for one block.
struct Item {
    rate: f64,
    gain: f64,
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
        items.extend((first..b.gains.len()).map(|tile| Item { rate: b.rate(tile), gain: b.gains[tile], choice, tile }));
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
    let mut allocation = Allocation { choices, items: &items, budget, cost };
    let mut best = with_first(low);
    allocation.fill(&mut best, None);
    allocation.exchange(least, &mut best);
    best
}

/// Rounds of exchange; it ends earlier if nothing improves.
const ROUNDS: usize = 4;
/// Most tiles that a block gives up at once in an exchange.
const GIVEN_UP: u32 = 3;

struct Allocation<'a> {
    choices: &'a [BlockChoice],
    /// Best rate first.
    items: &'a [Item],
    budget: u64,
    cost: &'a mut dyn FnMut(&[Vec<u32>]) -> u64,
}

impl Allocation<'_> {
    /// What the allocation maximizes.
    fn objective(&self, tiles: &[Vec<u32>]) -> f64 {
        self.choices.iter().map(|b| b.gains[..tiles[b.layer][b.block] as usize].iter().sum::<f64>()).sum()
    }

    /// Gives out what is left of the budget to items that are cheap enough, those of block `held` aside.
    fn fill(&mut self, tiles: &mut [Vec<u32>], held: Option<usize>) {
        // A block that one item did not fit cannot take a later one either: tiles are in order of gain.
        let mut closed = vec![false; self.choices.len()];
        for item in self.items {
            let b = &self.choices[item.choice];
            if closed[item.choice] || held == Some(item.choice) || item.gain == 0.0 {
                continue;
            }
            if tiles[b.layer][b.block] as usize != item.tile {
                continue;
            }
            tiles[b.layer][b.block] += 1;
            // What overlaps between instructions, such as filling halos, can hide all cycles of a tile.
            if (self.cost)(tiles) > self.budget {
                tiles[b.layer][b.block] -= 1;
                closed[item.choice] = true;
            }
        }
    }

    /// Takes tiles from one block and fills the others; keeps what is better. The greedy choice is
    /// optimal but for the last tile, which matters where tiles are few.
    fn exchange(&mut self, least: &[Vec<u32>], best: &mut Vec<Vec<u32>>) {
        let mut worth = self.objective(best);
        for _ in 0..ROUNDS {
            let before = worth;
            for choice in 0..self.choices.len() {
                let (layer, block) = (self.choices[choice].layer, self.choices[choice].block);
                for fewer in 1..=GIVEN_UP.min(best[layer][block] - least[layer][block]) {
                    let mut tiles = best.clone();
                    tiles[layer][block] -= fewer;
                    self.fill(&mut tiles, Some(choice));
                    let new = self.objective(&tiles);
                    if new > worth + 1e-9 * worth.abs() {
                        (*best, worth) = (tiles, new);
                        break;
                    }
                }
            }
            if worth <= before {
                return;
            }
        }
    }
}
