//! Tile counts by hand, and placements by brute force.

mod common;

use std::collections::BTreeSet;

use common::{conv, dense, lenet, network, pads};
use espalier_ir::{Graph, Op, Pads};
use espalier_target::{
    AcceleratorConfig, LayerGeometry, Multiplier, Step, Table, Vector, block_vectors, builtin_target,
    connected_columns, dense_tiles, layer_figures, place, steps, tiles_of_mask, weight_index,
};
use proptest::prelude::*;

#[test]
fn lenet_tiles_on_8x8_by_hand() {
    let config = AcceleratorConfig::new(8, 8, 4096, 256);
    let net = network(&lenet(), &config);
    let tiles: Vec<Vec<u32>> = net.layers.iter().map(|l| dense_tiles(l, &config)).collect();
    assert_eq!(tiles[0], [4], "25 taps of one channel in eight replicas");
    assert_eq!(tiles[1], [25, 25], "six channels, one lane each");
    assert_eq!(tiles[2], [50; 15], "16 channels of 5x5 in two planes");
    assert_eq!(tiles[3], [15; 11], "120 features");
    assert_eq!(tiles[4], [11, 11], "84 features in eleven planes");
}

#[test]
fn depthwise_uses_the_diagonal() {
    let mut g = Graph::new("dw");
    let x = g.add_input("x", &[20, 6, 6]).expect("an input");
    let y = conv(&mut g, x, [20, 1, 3, 3], [1, 1], pads(1), [1, 1], 20);
    g.add_output(y);
    // Eight columns, eight lanes: nine taps a lane. Twelve columns: four lanes hold two channels.
    for (rows, cols, expected) in [(8, 8, vec![9, 9, 9]), (8, 12, vec![18, 9]), (16, 16, vec![9, 9])] {
        let config = AcceleratorConfig::new(rows, cols, 1024, 64);
        assert_eq!(dense_tiles(&network(&g, &config).layers[0], &config), expected);
    }
}

#[test]
fn channels_of_one_lane_share_rows_when_combined() {
    let mut g = Graph::new("dw");
    let x = g.add_input("x", &[20, 6, 6]).expect("an input");
    let y = conv(&mut g, x, [20, 1, 3, 3], [1, 1], pads(1), [1, 1], 20);
    g.add_output(y);
    // Twelve columns over eight lanes: the two channels of a lane have different columns.
    let config = AcceleratorConfig { combine: 2, ..AcceleratorConfig::new(8, 12, 1024, 64) };
    assert_eq!(dense_tiles(&network(&g, &config).layers[0], &config), [9, 9]);
    let net = network(&lenet(), &config);
    assert_eq!(dense_tiles(&net.layers[1], &config), [25, 25], "dense vectors collide");
}

#[test]
fn an_addition_of_narrow_maps_uses_replicas() {
    let mut g = Graph::new("add");
    let x = g.add_input("x", &[4, 6, 6]).expect("an input");
    let a = conv(&mut g, x, [4, 4, 1, 1], [1, 1], pads(0), [1, 1], 1);
    let a = g.add("relu", Op::Relu, &[a]).expect("any shape");
    let sum = g.add("sum", Op::Add, &[a, x]).expect("equal shapes");
    g.add_output(sum);
    let config = AcceleratorConfig::new(8, 8, 1024, 64);
    let net = network(&g, &config);
    assert_eq!(dense_tiles(&net.layers[1], &config), [1], "both operands in one tile");
    let config = AcceleratorConfig::new(4, 4, 1024, 64);
    assert_eq!(dense_tiles(&network(&g, &config).layers[1], &config), [2]);
}

#[test]
fn a_selection_reads_what_it_picks_and_nothing_else() {
    let mut g = Graph::new("select");
    let x = g.add_input("x", &[20, 6, 6]).expect("an input");
    let channels: Vec<Option<usize>> = [vec![None; 8], [19, 3, 3, 11].map(Some).to_vec()].concat();
    let y = g.add("select", Op::Select { channels: channels.clone() }, &[x]).expect("picks channels");
    g.add_output(y);
    let config = AcceleratorConfig::new(8, 8, 1024, 64);
    let layer = &network(&g, &config).layers[0];
    let read = |block| block_vectors(layer, block).map(|v| v.channel).collect::<Vec<_>>();
    assert_eq!([read(0), read(1)], [vec![], vec![3, 11, 19]]);
    // Channels 3, 11 and 19 share a lane. The block of zeros takes a tile to be written.
    assert_eq!(dense_tiles(layer, &config), [1, 3]);
    for (output, channel) in channels.iter().enumerate().skip(8) {
        for vector in block_vectors(layer, 1) {
            let connected = weight_index(layer, &vector, output).is_some();
            assert_eq!(connected_columns(layer, 1, &vector) >> (output - 8) & 1 == 1, connected);
            assert_eq!(connected, *channel == Some(vector.channel), "{vector:?} to {output}");
        }
    }
}

#[test]
fn an_empty_block_still_takes_a_tile() {
    let config = AcceleratorConfig::new(8, 8, 4096, 256);
    let net = network(&lenet(), &config);
    assert_eq!(tiles_of_mask(&net.layers[1], &config, &|block, _| block as u32), [1, 25]);
    assert_eq!(place(&net.layers[1], &config, 0, &|_| 0).tiles(), 1);
}

#[test]
fn planned_steps_of_a_small_network() {
    let mut g = Graph::new("small");
    let x = g.add_input("x", &[1, 4, 4]).expect("an input");
    let c = conv(&mut g, x, [6, 1, 3, 3], [1, 1], pads(1), [1, 1], 1);
    let y = dense(&mut g, c, 3);
    g.add_output(y);
    let config = AcceleratorConfig::new(4, 4, 1024, 64);
    let net = network(&g, &config);
    let tiles: Vec<Vec<u32>> = net.layers.iter().map(|l| dense_tiles(l, &config)).collect();
    let conv = |barrier, tiles, pixels, chunks| Step::Conv {
        tiles,
        pixels,
        outputs: pixels,
        window: 1,
        chunks,
        barrier,
        fence: false,
        partial: false,
        table: Table::Off,
    };
    assert_eq!(
        steps(&net, &config, &tiles),
        [
            (None, Step::Fill { cells: 6 }),
            (None, Step::Fill { cells: 4 }),
            (None, Step::Fill { cells: 5 }),
            (None, Step::Load { beats: 16 }),
            (Some(0), conv(true, 3, 16, 1)),
            (Some(0), conv(false, 3, 16, 1)),
            (Some(1), conv(true, 32, 1, 1)),
            (None, Step::Store { beats: 1 }),
        ]
    );
}

fn any_layer() -> impl Strategy<Value = (Graph, AcceleratorConfig)> {
    let group = (1usize..5, 1usize..5, 1usize..9);
    (group, 1usize..4, 4usize..=32, 4usize..=32, 0usize..3).prop_map(|((groups, i, o), k, rows, cols, kind)| {
        let mut g = Graph::new("random");
        let x = g.add_input("x", &[groups * i, 5, 5]).expect("an input");
        let weight = [groups * o, i, k, k];
        let c = conv(&mut g, x, weight, [1, 1], Pads::default(), [1, 1], groups);
        let op = [Op::Relu, Op::Add, Op::Concat { axis: 0 }][kind].clone();
        let operands = if kind == 0 { vec![c] } else { vec![c, c] };
        let y = g.add("last", op, &operands).expect("equal shapes");
        g.add_output(y);
        (g, AcceleratorConfig::new(rows, cols, 4096, 64))
    })
}

/// All pairs (vector, output channel) that carry a weight, over all blocks.
fn connections(layer: &LayerGeometry) -> BTreeSet<([usize; 4], usize)> {
    let mut all = BTreeSet::new();
    for (b, block) in layer.blocks.iter().enumerate() {
        for vector in block_vectors(layer, b) {
            for output in block.first..block.first + block.columns {
                let index = weight_index(layer, &vector, output);
                assert_eq!(connected_columns(layer, b, &vector) >> (output - block.first) & 1 == 1, index.is_some());
                if let Some(index) = index {
                    assert!(all.insert((index, vector.source)), "a weight in two vectors");
                }
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kept_vector_lies_in_a_lane_of_its_channel((graph, config) in any_layer(), seed in any::<u64>()) {
        for layer in &network(&graph, &config).layers {
            let keep = |block: usize, v: &Vector| {
                let hash = (block * 7919 + v.source * 271 + v.channel * 31 + v.ky * 5 + v.kx) as u64;
                !(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed).count_ones().is_multiple_of(3)
            };
            let columns = |block: usize, v: &Vector| u32::from(keep(block, v));
            let tiles = tiles_of_mask(layer, &config, &columns);
            for (block, expected) in tiles.iter().enumerate() {
                let placement = place(layer, &config, block, &|v| columns(block, v));
                prop_assert_eq!(placement.tiles(), *expected);
                let mut placed: Vec<Vector> = placement.lanes.concat().into_iter().map(|row| row.first).collect();
                placed.sort_unstable();
                let kept: Vec<Vector> = block_vectors(layer, block).filter(|v| keep(block, v)).collect();
                prop_assert_eq!(placed, kept);
                for (lane, rows) in placement.lanes.iter().enumerate() {
                    for v in rows.iter().map(|row| row.first) {
                        let layout = &layer.sources[v.source].layout;
                        prop_assert!((0..layout.replicas).any(|k| layout.lane(v.channel, k) == lane));
                    }
                }
                // A channel's vectors spread evenly over its replicas.
                if layer.sources.len() == 1 {
                    let replicas = layer.sources[0].layout.replicas;
                    let fullest = placement.lanes.iter().map(Vec::len).max().unwrap_or(0);
                    let kept_in = |lane: usize| {
                        let here = |v: &Vector| layer.sources[0].layout.lane(v.channel, 0) == lane;
                        block_vectors(layer, block).filter(|v| keep(block, v) && here(v)).count()
                    };
                    let bound = (0..config.rows).map(|lane| kept_in(lane).div_ceil(replicas)).max().unwrap_or(0);
                    prop_assert_eq!(fullest, bound);
                }
            }
        }
    }

    #[test]
    fn combined_rows_share_a_lane_and_no_column((graph, config) in any_layer(), seed in any::<u64>(), packed: bool) {
        let multiplier = if packed { Multiplier::Packed } else { Multiplier::Plain };
        let combined = AcceleratorConfig { combine: 2, multiplier, ..config.clone() };
        for layer in &network(&graph, &config).layers {
            let columns = |block: usize, v: &Vector| {
                let hash = (block * 7919 + v.source * 271 + v.channel * 31 + v.ky * 5 + v.kx) as u64;
                let bits = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
                connected_columns(layer, block, v) & (bits & bits.rotate_left(17)) as u32
            };
            let dense = tiles_of_mask(layer, &combined, &|block, v| connected_columns(layer, block, v));
            prop_assert_eq!(dense_tiles(layer, &combined), dense);
            let tiles = tiles_of_mask(layer, &combined, &columns);
            for (block, expected) in tiles.iter().enumerate() {
                let placement = place(layer, &combined, block, &|v| columns(block, v));
                prop_assert_eq!(placement.tiles(), *expected);
                let single = place(layer, &config, block, &|v| columns(block, v));
                prop_assert!(placement.tiles() <= single.tiles());
                prop_assert!(2 * placement.tiles() + 1 >= single.tiles() || layer.sources.len() > 1);
                let lanes = |v: &Vector| {
                    let layout = &layer.sources[v.source].layout;
                    (0..layout.replicas).map(|k| layout.lane(v.channel, k)).collect::<Vec<_>>()
                };
                let mut placed = Vec::new();
                for (lane, rows) in placement.lanes.iter().enumerate() {
                    for row in rows {
                        placed.push(row.first);
                        prop_assert!(lanes(&row.first).contains(&lane));
                        if let Some(second) = row.second {
                            placed.push(second);
                            prop_assert!(lanes(&second).contains(&lane));
                            let (first, second) = (columns(block, &row.first), columns(block, &second));
                            prop_assert_eq!(first & second, 0);
                            for pair in 0..if packed { 16 } else { 0 } {
                                let of = |columns: u32| columns >> (2 * pair) & 3 != 0;
                                prop_assert!(!(of(first) && of(second)), "pair {pair}: {first:b} {second:b}");
                            }
                        }
                    }
                }
                placed.sort_unstable();
                let kept: Vec<Vector> = block_vectors(layer, block).filter(|v| columns(block, v) != 0).collect();
                prop_assert_eq!(placement.vectors(), kept.len());
                prop_assert_eq!(placed, kept);
            }
        }
    }

    /// Useful operations are those of the weights that the placement has in the tiles that are kept.
    #[test]
    fn tiles_hold_what_is_placed_in_them((graph, config) in any_layer(), combine in 1usize..3, share in 0.0..1.0) {
        let config = AcceleratorConfig { combine, ..config };
        let target = builtin_target("xc7z020").expect("a target of that name");
        for layer in &network(&graph, &config).layers {
            let kept: Vec<u32> = dense_tiles(layer, &config).iter().map(|t| (f64::from(*t) * share) as u32 + 1).collect();
            let mut weights = 0;
            for (block, tiles) in kept.iter().enumerate() {
                let columns = |v: &Vector| connected_columns(layer, block, v);
                let placement = place(layer, &config, block, &columns);
                for row in placement.lanes.iter().flat_map(|lane| lane.iter().take(*tiles as usize)) {
                    weights += columns(&row.first).count_ones() + row.second.map_or(0, |v| columns(&v).count_ones());
                }
            }
            let figures = layer_figures(layer, &kept, &target, &config);
            prop_assert_eq!(figures.macs, u64::from(weights) * layer.conv_pixels());
        }
    }

    #[test]
    fn every_weight_is_in_exactly_one_vector((graph, config) in any_layer()) {
        let net = network(&graph, &config);
        let layer = &net.layers[0];
        let Some(node) = graph.nodes().into_iter().find(|n| matches!(graph.node(*n).op, Op::Conv(_))) else {
            unreachable!("the network starts with a convolution")
        };
        let weights = graph.param(graph.node(node).op.params()[0]).len();
        prop_assert_eq!(connections(layer).len(), weights);
        if let Some(last) = net.layers.get(1) {
            prop_assert_eq!(connections(last).len(), last.sources.iter().map(|s| s.layout.shape[0]).sum::<usize>());
        }
    }
}
