//! Random optimization problems with the structure of networks, for tests and benchmarks.

use espalier_prune::{Factor, Problem};

use crate::nets::Dice;

/// Standard normal number (sum of twelve uniform ones).
fn normal(dice: &mut Dice) -> f64 {
    (0..12).map(|_| dice.below(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0
}

/// Channels of the three stages and the nine inner groups of ResNet-20.
const WIDTHS: [usize; 12] = [16, 32, 64, 16, 16, 16, 32, 32, 32, 64, 64, 64];
/// Channels that a tile covers on either side.
const TILE: usize = 4;

/// One layer: groups read and written (`None`: fixed), kernel area, output side.
struct Layer {
    from: Result<usize, usize>,
    to: Result<usize, usize>,
    taps: usize,
    side: usize,
}

fn layers() -> Vec<Layer> {
    let mut layers = vec![Layer { from: Err(3), to: Ok(0), taps: 9, side: 32 }];
    for stage in 0..3 {
        for block in 0..3 {
            let inner = 3 + 3 * stage + block;
            let side = 32 >> stage;
            let from = if stage > 0 && block == 0 { stage - 1 } else { stage };
            layers.push(Layer { from: Ok(from), to: Ok(inner), taps: 9, side });
            layers.push(Layer { from: Ok(inner), to: Ok(stage), taps: 9, side });
            if from != stage {
                layers.push(Layer { from: Ok(from), to: Ok(stage), taps: 1, side });
            }
        }
    }
    layers.push(Layer { from: Ok(2), to: Err(10), taps: 1, side: 1 });
    layers
}

/// A problem of the size of ResNet-20 with sorted log-normal scores and tile 4: one budget (cycles) or three (cycles,
/// 18 Kb block RAMs of weights, activation traffic), each 30 to 60 % of what the whole network takes.
pub fn resnet20_like(seed: u64, budgets: usize) -> Problem {
    let mut dice = Dice::new(seed + 1);
    let losses = WIDTHS.iter().map(|channels| tile_losses(*channels, &mut dice)).collect();
    let factor = |layer: &Layer| {
        let scope: Vec<usize> = [layer.from, layer.to].into_iter().flatten().collect();
        let counts = |end: Result<usize, usize>| match end {
            Ok(group) => (1..=WIDTHS[group] / TILE).map(|t| t * TILE).collect(),
            Err(fixed) => vec![fixed],
        };
        let mut costs = vec![Vec::new(); budgets];
        for from in counts(layer.from) {
            for to in counts(layer.to) {
                let pixels = layer.side * layer.side;
                let cycles = from.div_ceil(TILE) * to.div_ceil(TILE) * layer.taps * pixels;
                let rams = (from * to * layer.taps).div_ceil(2304);
                let traffic = (from + to) * pixels;
                costs.iter_mut().zip([cycles, rams, traffic]).for_each(|(c, value)| c.push(value as f64));
            }
        }
        Factor { scope, loss: Vec::new(), costs }
    };
    let mut problem = Problem { losses, factors: layers().iter().map(factor).collect(), budgets: vec![0.0; budgets] };
    let largest: Vec<usize> = problem.losses.iter().map(|l| l.len() - 1).collect();
    let (_, full) = problem.evaluate(&largest);
    let fraction = |dice: &mut Dice| 0.3 + 0.3 * dice.below(1000) as f64 / 1000.0;
    problem.budgets = full.iter().map(|f| (f * fraction(&mut dice)).floor()).collect();
    problem
}

/// Loss for each number of kept tiles, from 1: the sum of the scores of the channels that go.
fn tile_losses(channels: usize, dice: &mut Dice) -> Vec<f64> {
    let scale = (0.5 * normal(dice)).exp();
    let mut scores: Vec<f64> = (0..channels).map(|_| scale * normal(dice).exp()).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    (1..=channels / TILE).map(|tiles| scores[tiles * TILE..].iter().sum()).collect()
}

/// A problem with at most five variables of up to six candidates, tables over one to three of them, and staircase
/// costs that are not always monotone.
#[allow(dead_code, reason = "the benchmark does without")]
pub fn tiny(seed: u64, budgets: usize) -> Problem {
    let mut dice = Dice::new(seed + 77);
    let count = 2 + dice.below(4);
    let mut losses: Vec<Vec<f64>> = Vec::new();
    for _ in 0..count {
        let mut scores: Vec<f64> = (0..2 + dice.below(5)).map(|_| normal(&mut dice).exp()).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        losses.push((1..=scores.len()).map(|kept| scores[kept..].iter().sum()).collect());
    }
    let mut factors = Vec::new();
    for first in 0..count {
        let mut scope = vec![first];
        let more = 1 + dice.below(2);
        for _ in 0..more {
            let other = dice.below(count);
            if !scope.contains(&other) {
                scope.push(other);
            }
        }
        let entries: usize = scope.iter().map(|v| losses[*v].len()).product();
        let mut costs = Vec::new();
        for _ in 0..budgets {
            let (step, noise) = (1 + dice.below(3), dice.below(2));
            let cost = |e: usize, dice: &mut Dice| {
                let mut rest = e;
                let mut product = 7;
                for v in scope.iter().rev() {
                    product *= (rest % losses[*v].len()) / step + 1;
                    rest /= losses[*v].len();
                }
                (product + noise * dice.below(5)) as f64
            };
            costs.push((0..entries).map(|e| cost(e, &mut dice)).collect());
        }
        let loss =
            if dice.below(3) == 0 { (0..entries).map(|_| dice.below(100) as f64 / 100.0).collect() } else { vec![] };
        factors.push(Factor { scope, loss, costs });
    }
    let mut problem = Problem { losses, factors, budgets: vec![0.0; budgets] };
    let largest: Vec<usize> = problem.losses.iter().map(|l| l.len() - 1).collect();
    let (_, full) = problem.evaluate(&largest);
    problem.budgets = full.iter().map(|f| (f * (0.1 + 0.9 * dice.below(100) as f64 / 100.0)).floor()).collect();
    problem
}
