//! Vector plans: lane-balanced, within the budget, and close to the optimum.

use std::collections::BTreeMap;

use espalier_ir::{Graph, Op, array_layers};
use espalier_prune::{
    Criterion, Evidence, Normalization, VectorOptions, VectorPlan, apply_masks, minimum_vector_cycles, vector_elements,
    vector_importance, vector_masks,
};
use espalier_target::{
    AcceleratorConfig, LayerGeometry, NetworkGeometry, Step, Vector, connected_columns, geometry, graph_ends, place,
    plan, tiles_of_mask, timeline, weight_index,
};

use crate::nets::{Dice, Net, random_graph, random_products, resnet};

fn network(graph: &Graph, config: &AcceleratorConfig) -> NetworkGeometry {
    let layers = array_layers(graph).unwrap();
    let (inputs, outputs) = graph_ends(graph, &layers);
    geometry(&layers, &inputs, &outputs, config).unwrap()
}

fn cycles(network: &NetworkGeometry, tiles: &[Vec<u32>], config: &AcceleratorConfig) -> u64 {
    let steps: Vec<Step> = plan(network, config, tiles).into_iter().map(|p| p.step).collect();
    timeline(&steps, config).total_cycles
}

/// Tiles of every layer, from nothing but the zeros of the weights.
fn tiles_of_zeros(graph: &Graph, config: &AcceleratorConfig) -> Vec<Vec<u32>> {
    let layers = array_layers(graph).unwrap();
    let alive = |layer: &LayerGeometry, index: usize, block: usize, vector: &Vector| {
        let espalier_ir::ArrayOp::Conv { node, .. } = layers[index].op else {
            return connected_columns(layer, block, vector);
        };
        let weight = graph.param(graph.node(node).op.params()[0]);
        let per_group: usize = weight.len() / (weight.shape()[0] * layer.kernel[0] * layer.kernel[1]);
        let block = layer.blocks[block];
        let nonzero = |j: &usize| {
            weight_index(layer, vector, block.first + j).is_some_and(|[o, i, y, x]| {
                weight.as_f32()[((o * per_group + i) * layer.kernel[0] + y) * layer.kernel[1] + x] != 0.0
            })
        };
        (0..block.columns).filter(nonzero).fold(0, |columns, j| columns | 1 << j)
    };
    let network = network(graph, config);
    let tiles = |(i, layer)| tiles_of_mask(layer, config, &|block, v| alive(layer, i, block, v));
    network.layers.iter().enumerate().map(tiles).collect()
}

#[test]
fn vectors_divide_the_weights_that_may_be_pruned() {
    for seed in 0..12 {
        let graph = random_graph(seed);
        for config in [AcceleratorConfig::new(4, 5, 4096, 64), AcceleratorConfig::new(8, 16, 4096, 64)] {
            let mut seen: BTreeMap<_, Vec<usize>> = BTreeMap::new();
            for (param, positions) in vector_elements(&graph, &config).unwrap() {
                assert!((1..=config.cols).contains(&positions.len()));
                seen.entry(param).or_default().extend(positions);
            }
            assert!(!seen.is_empty());
            for (param, mut positions) in seen {
                positions.sort_unstable();
                assert!(positions.iter().copied().eq(0..graph.param(param).len()), "{}", graph.param_name(param));
            }
        }
    }
}

fn plan_at(graph: &Graph, config: &AcceleratorConfig, criterion: Criterion, percent: u64) -> (VectorPlan, u64) {
    let products = random_products(graph, 2, &mut Dice::new(8));
    let scores = vector_importance(
        graph,
        config,
        criterion,
        criterion.default_normalization(),
        &Evidence::of_products(products, 4.0),
    )
    .unwrap();
    let floor = minimum_vector_cycles(graph, config, &scores, 0.0).unwrap();
    let dense = cycles(&network(graph, config), &tiles_of_zeros(graph, config), config);
    let budget_cycles = floor + (dense - floor) * percent / 100;
    let plan = vector_masks(graph, config, &scores, &VectorOptions { budget_cycles, min_keep: 0.0 }).unwrap();
    (plan, dense)
}

#[test]
fn plans_are_lane_balanced_and_within_the_budget() {
    for seed in 0..60 {
        let graph = random_graph(seed);
        let config = AcceleratorConfig {
            combine: 1 + seed as usize / 3 % 2,
            ..AcceleratorConfig::new([4, 8, 5][seed as usize % 3], [8, 4, 7][seed as usize % 3], 8192, 64)
        };
        let criterion =
            [Criterion::L1, Criterion::L2, Criterion::Taylor, Criterion::Random { seed }][seed as usize % 4];
        for percent in [0, 40, 100] {
            let (plan, dense) = plan_at(&graph, &config, criterion, percent);
            let masked = apply_masks(&graph, &plan.masks).unwrap();
            assert_eq!(plan.tiles, tiles_of_zeros(&masked, &config), "seed {seed}");
            assert_eq!(plan.cycles, cycles(&network(&graph, &config), &plan.tiles, &config), "seed {seed}");
            assert_eq!(plan.dense_cycles, dense, "seed {seed}");
            assert!(plan.cycles <= plan.budget_cycles, "seed {seed}: {} of {}", plan.cycles, plan.budget_cycles);
            assert!(plan.tiles.iter().flatten().all(|t| *t >= 1));
            if percent == 100 {
                assert_eq!(plan.tiles, plan.dense_tiles, "seed {seed}: nothing has to go");
                assert!((plan.importance_kept - 1.0).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn every_lane_keeps_its_best_vectors_and_none_is_left_empty_in_vain() {
    let graph = resnet(6, 1, 8, 16);
    let config = AcceleratorConfig::new(8, 8, 8192, 256);
    let (plan, _) = plan_at(&graph, &config, Criterion::L1, 50);
    let layers = array_layers(&graph).unwrap();
    let network = network(&graph, &config);
    let mut checked = 0;
    for (index, layer) in network.layers.iter().enumerate() {
        let espalier_ir::ArrayOp::Conv { node, .. } = layers[index].op else { continue };
        let param = graph.node(node).op.params()[0];
        let Some(mask) = plan.masks.get(&param) else { continue };
        let per_group = layer.sources[0].layout.shape[0];
        let kept = |block: usize, v: &Vector| {
            let first = layer.blocks[block].first;
            mask.as_f32()[((first * per_group + v.channel) * layer.kernel[0] + v.ky) * layer.kernel[1] + v.kx] == 1.0
        };
        for block in 0..layer.blocks.len() {
            let tiles = plan.tiles[index][block] as usize;
            let all = place(layer, &config, block, &|_| 1);
            let chosen = place(layer, &config, block, &|v| u32::from(kept(block, v)));
            for (lane, dense) in chosen.lanes.iter().zip(&all.lanes) {
                assert_eq!(lane.len(), dense.len().min(tiles), "layer {index} block {block}");
                checked += 1;
            }
        }
    }
    assert!(checked > 50);
}

#[test]
fn tied_scores_choose_whole_blocks_that_are_worth_less() {
    let graph = resnet(6, 1, 8, 16);
    let rows = 4;
    let config = AcceleratorConfig::new(rows, 8, 8192, 256);
    let scores = vector_importance(&graph, &config, Criterion::L2, Normalization::None, &Evidence::NONE).unwrap();
    let tied = scores.clone().tied_to_blocks(&graph, &config).unwrap();
    let dense = cycles(&network(&graph, &config), &tiles_of_zeros(&graph, &config), &config);
    let options = VectorOptions { budget_cycles: dense * 6 / 10, min_keep: 0.0 };
    let [fine, coarse] = [&scores, &tied].map(|s| vector_masks(&graph, &config, s, &options).unwrap());
    let energy = |plan: &VectorPlan| -> f32 {
        let masked = apply_masks(&graph, &plan.masks).unwrap();
        plan.masks.keys().flat_map(|p| masked.param(*p).as_f32()).map(|w| w * w).sum()
    };
    assert!(energy(&coarse) < energy(&fine) && coarse.cycles <= options.budget_cycles);
    let mut pruned = 0;
    for (param, mask) in &coarse.masks {
        let [outputs, inputs, h, w] = *graph.param(*param).shape() else { continue };
        let at = |o: usize, i: usize, tap: usize| mask.as_f32()[(o * inputs + i) * h * w + tap];
        for (o, i, tap) in (0..outputs).flat_map(|o| (0..inputs).flat_map(move |i| (0..h * w).map(move |t| (o, i, t))))
        {
            assert_eq!(at(o, i, tap), at(o / 8 * 8, i / rows * rows, tap), "one decision a block");
            pruned += usize::from(at(o, i, tap) == 0.0);
        }
    }
    assert!(pruned > 500, "{pruned}");
}

#[test]
fn combined_rows_keep_more_in_the_same_time() {
    let graph = resnet(6, 1, 8, 16);
    let single = AcceleratorConfig::new(8, 8, 8192, 256);
    let combined = AcceleratorConfig { combine: 2, ..single.clone() };
    for criterion in [Criterion::L2, Criterion::Taylor] {
        let at = |config: &AcceleratorConfig| {
            let (plan, dense) = plan_at(&graph, config, criterion, 40);
            let weights = |masks: &espalier_ir::TensorMap| -> f32 { masks.values().flat_map(|m| m.as_f32()).sum() };
            (plan.cycles as f64 / dense as f64, weights(&plan.masks), plan)
        };
        let ((few, alone, _), (time, paired, plan)) = (at(&single), at(&combined));
        assert!((few - time).abs() < 0.05, "{few} {time}");
        // A row has room for one weight a column in either case; pairs choose them from two vectors.
        assert!(paired > 0.9 * alone && paired <= 1.1 * alone, "{paired} {alone}");
        let energy = |masks: &espalier_ir::TensorMap| -> f64 {
            let kept = masks.iter().flat_map(|(id, m)| graph.param(*id).as_f32().iter().zip(m.as_f32()));
            kept.map(|(w, m)| f64::from(w * w * m)).sum()
        };
        let masks = plan_at(&graph, &single, criterion, 40).0.masks;
        if criterion == Criterion::L2 {
            assert!(energy(&plan.masks) > 1.05 * energy(&masks), "{} {}", energy(&plan.masks), energy(&masks));
        }
    }
}

#[test]
fn a_second_plan_with_the_same_budget_takes_nothing_away() {
    let graph = resnet(6, 1, 8, 16);
    for combine in [1, 2] {
        let config = AcceleratorConfig { combine, ..AcceleratorConfig::new(8, 8, 8192, 256) };
        let (plan, _) = plan_at(&graph, &config, Criterion::L2, 40);
        let masked = apply_masks(&graph, &plan.masks).unwrap();
        let scores = vector_importance(&masked, &config, Criterion::L2, Normalization::Share, &Evidence::NONE).unwrap();
        let options = VectorOptions { budget_cycles: plan.cycles, min_keep: 0.0 };
        let again = vector_masks(&masked, &config, &scores, &options).unwrap();
        let left = apply_masks(&masked, &again.masks).unwrap();
        for (id, name, tensor) in masked.params() {
            assert_eq!(left.param(id), tensor, "combine {combine}: {name}");
        }
        assert_eq!(again.cycles, plan.cycles);
    }
}

fn tiny(seed: u64) -> Graph {
    let mut dice = Dice::new(seed);
    let (mut net, x) = Net::new(seed, &[1 + dice.below(2), 5, 5]);
    let x = net.conv(x, 3 + dice.below(3), 1 + 2 * dice.below(2), 1, 1);
    let x = net.relu(x);
    let x = net.conv(x, 3 + dice.below(6), 1 + 2 * dice.below(2), 1, 1);
    let x = net.op("gap", Op::GlobalAveragePool, &[x]);
    let x = net.op("flat", Op::Flatten, &[x]);
    let x = net.gemm(x, 4);
    net.finish(x)
}

#[test]
fn the_allocation_is_within_a_few_percent_of_the_optimum() {
    near_optimum(Normalization::Sum);
    near_optimum(Normalization::Share);
}

fn near_optimum(normalization: Normalization) {
    let config = AcceleratorConfig::new(4, 4, 4096, 64);
    let (mut worst, mut sum, mut count) = (1.0f64, 0.0, 0);
    for seed in 0..30 {
        let graph = tiny(seed);
        let scores = vector_importance(&graph, &config, Criterion::L2, normalization, &Evidence::NONE).unwrap();
        let network = network(&graph, &config);
        let whole = vector_masks(&graph, &config, &scores, &VectorOptions { budget_cycles: u64::MAX, min_keep: 0.0 });
        let dense = whole.unwrap().tiles;
        // Importance of the best vectors of every lane for every number of tiles, by sorting.
        let kept = |layer: usize, block: usize, tiles: usize| -> f64 {
            let Some(scores) = &scores.scores[layer] else { return 0.0 };
            let layout = &network.layers[layer].sources[0].layout;
            let mut lanes = std::collections::BTreeMap::<usize, Vec<f64>>::new();
            for (v, score) in espalier_target::block_vectors(&network.layers[layer], block).zip(&scores[block]) {
                lanes.entry(layout.lane(v.channel, 0)).or_default().push(*score);
            }
            lanes
                .into_values()
                .map(|mut lane| {
                    lane.sort_by(|a, b| b.total_cmp(a));
                    lane.iter().take(tiles * layout.replicas).sum::<f64>()
                })
                .sum()
        };
        let objective = |tiles: &[Vec<u32>]| -> f64 {
            let blocks = (0..tiles.len()).flat_map(|l| (0..tiles[l].len()).map(move |b| (l, b)));
            let worth = |(l, b): (usize, usize)| match normalization {
                Normalization::Share if scores.scores[l].is_some() => {
                    let layer = &network.layers[l];
                    let part = layer.blocks[b].columns as f64 / layer.conv_shape[0] as f64;
                    part * (kept(l, b, tiles[l][b] as usize) / kept(l, b, usize::MAX / 64) + 1e-3).ln()
                }
                _ => kept(l, b, tiles[l][b] as usize),
            };
            blocks.map(worth).sum()
        };
        let scale = |value: f64| if normalization == Normalization::Share { value.exp() } else { value };
        let mut points = Vec::new();
        let mut tiles: Vec<Vec<u32>> = dense
            .iter()
            .enumerate()
            .map(|(l, t)| if scores.scores[l].is_some() { vec![1; t.len()] } else { t.clone() })
            .collect();
        'all: loop {
            points.push((cycles(&network, &tiles, &config), objective(&tiles)));
            for l in 0..tiles.len() {
                for b in 0..tiles[l].len() {
                    if tiles[l][b] < dense[l][b] {
                        tiles[l][b] += 1;
                        continue 'all;
                    }
                    tiles[l][b] = if scores.scores[l].is_some() { 1 } else { dense[l][b] };
                }
            }
            break;
        }
        let (low, high) = points.iter().fold((u64::MAX, 0), |(l, h), p| (l.min(p.0), h.max(p.0)));
        for step in 0..8 {
            let budget_cycles = low + (high - low) * step / 8;
            let within = points.iter().filter(|p| p.0 <= budget_cycles);
            let optimum = within.map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
            let plan = vector_masks(&graph, &config, &scores, &VectorOptions { budget_cycles, min_keep: 0.0 }).unwrap();
            let ratio = scale(objective(&plan.tiles)) / scale(optimum);
            assert!(plan.cycles <= budget_cycles && ratio < 1.0 + 1e-9, "seed {seed}: {ratio}");
            worst = worst.min(ratio);
            sum += ratio;
            count += 1;
        }
    }
    let mean = sum / f64::from(count);
    println!("vectors, {normalization:?}, of the optimum: worst {worst:.4}, mean {mean:.4}");
    assert!(worst > 0.95 && mean > 0.995, "worst {worst}, mean {mean}");
}

#[test]
fn pruning_twice_only_removes_more() {
    let graph = resnet(7, 1, 8, 16);
    let config = AcceleratorConfig::new(8, 8, 8192, 256);
    let (first, _) = plan_at(&graph, &config, Criterion::L1, 60);
    let once = apply_masks(&graph, &first.masks).unwrap();
    let (second, dense) = plan_at(&once, &config, Criterion::L1, 60);
    assert_eq!(dense, first.cycles);
    for (param, mask) in &second.masks {
        assert!(mask.as_f32().iter().zip(first.masks[param].as_f32()).all(|(b, a)| b <= a));
    }
}

#[test]
fn impossible_budgets_name_the_nearest_feasible_one() {
    let graph = resnet(3, 1, 8, 16);
    let config = AcceleratorConfig::new(8, 8, 4096, 128);
    let scores = vector_importance(&graph, &config, Criterion::L1, Normalization::Sum, &Evidence::NONE).unwrap();
    for min_keep in [0.0, 0.5, 1.0] {
        let floor = minimum_vector_cycles(&graph, &config, &scores, min_keep).unwrap();
        let at = |budget_cycles| vector_masks(&graph, &config, &scores, &VectorOptions { budget_cycles, min_keep });
        let findings = at(floor - 1).unwrap_err();
        let finding = findings.iter().next().unwrap();
        assert_eq!(finding.code, "budget-not-met");
        assert!(finding.message.contains(&format!("is {floor} cycles")), "{finding}");
        assert_eq!(at(floor).unwrap().cycles, floor);
    }
    let other =
        vector_importance(&resnet(3, 2, 8, 16), &config, Criterion::L1, Normalization::Sum, &Evidence::NONE).unwrap();
    let findings = vector_masks(&graph, &config, &other, &VectorOptions { budget_cycles: 1, min_keep: 0.0 });
    assert_eq!(findings.unwrap_err().iter().next().unwrap().code, "scores-mismatch");
}
