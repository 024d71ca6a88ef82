//! Costs of whole networks.

mod common;

use common::{conv, conv2d, dense, lenet, network, pads, resnet8};
use espalier_ir::{Graph, Op, Tensor};
use espalier_target::{
    AcceleratorConfig, Bottleneck, Confidence, CostModel, Step, builtin_target, dense_tiles, estimate, estimate_model,
    steps, tiles_of_weights, timeline,
};

#[test]
fn macs_of_a_dense_network_are_those_of_its_layers() {
    let target = &builtin_target("ecp5-85f").unwrap();
    let estimate = estimate(&resnet8(), target, &target.accelerator, None).expect("mappable");
    let convolutions = estimate.layers.iter().filter(|l| l.op_name != "Add" && l.op_name != "GlobalAveragePool");
    assert_eq!(convolutions.map(|l| l.dense_macs).sum::<u64>(), resnet8().macs());
    assert_eq!(estimate.macs, estimate.dense_macs);
    assert_eq!(estimate.cycles, estimate.dense_cycles);
    assert_eq!(estimate.layers.iter().map(|l| l.cycles).sum::<u64>() + estimate.transfer_cycles, estimate.cycles);
    assert!((0.5..1.0).contains(&estimate.utilization), "{}", estimate.utilization);
    assert_eq!(estimate.energy_confidence, Confidence::Assumed);
    let milliseconds = estimate.cycles as f64 / (estimate.clock_mhz * 1e3);
    assert!((estimate.latency_ms - milliseconds).abs() < 1e-9);
    assert!(estimate.resources.fits, "{:?}", estimate.resources);
}

#[test]
fn cost_model_equals_planning_anew() {
    for config in [AcceleratorConfig::new(8, 8, 16_384, 256), AcceleratorConfig::new(5, 12, 32_768, 100)] {
        let graph = resnet8();
        let model = CostModel::new(&graph, &config).expect("mappable");
        let net = network(&graph, &config);
        let mut tiles: Vec<Vec<u32>> = net.layers.iter().map(|l| dense_tiles(l, &config)).collect();
        assert_eq!(model.dense_tiles(), tiles);
        for round in 0..4 {
            let plain: Vec<Step> = steps(&net, &config, &tiles).into_iter().map(|(_, s)| s).collect();
            assert_eq!(model.steps(&tiles), plain);
            let total = timeline(&plain, &config).total_cycles;
            assert_eq!(model.total_cycles(&tiles), total);
            let cycles = model.cycles(&tiles);
            assert_eq!((cycles.total, cycles.layers.iter().sum::<u64>() + cycles.transfer), (total, total));
            tiles.iter_mut().flatten().for_each(|t| *t = (*t - (*t > round) as u32).max(1));
        }
    }
}

#[test]
fn a_removed_tile_saves_its_passes() {
    let config = AcceleratorConfig::new(8, 8, 16_384, 256);
    let model = CostModel::new(&resnet8(), &config).expect("mappable");
    let dense = model.dense_tiles().to_vec();
    let before = model.total_cycles(&dense);
    for layer in 0..dense.len() {
        for block in (0..dense[layer].len()).filter(|b| dense[layer][*b] > 8) {
            let mut tiles = dense.clone();
            tiles[layer][block] -= 1;
            assert_eq!(before - model.total_cycles(&tiles), model.cycles_per_tile(layer), "layer {layer}");
        }
    }
}

/// Each doubling of the clusters shortens the program, and where it goes still adds up.
#[test]
fn clusters_share_the_rows_of_maps() {
    let target = &builtin_target("u250").unwrap();
    let graph = resnet8();
    let mut before = u64::MAX;
    for clusters in [1, 2, 4, 8] {
        let config = AcceleratorConfig { clusters, ..AcceleratorConfig::new(16, 16, 16_384, 128) };
        let cost = estimate(&graph, target, &config, None).expect("mappable");
        assert!(cost.cycles < before, "{clusters}: {} cycles", cost.cycles);
        assert!(clusters != 2 || cost.cycles * 10 < before * 6, "{} of {before} cycles", cost.cycles);
        for layer in &cost.layers {
            let used = &layer.cycle_use;
            let sum = used.compute + used.weight_load + used.idle_rows + used.idle_columns;
            let sum = sum + used.idle_clusters + used.memory + used.write_back;
            assert!((sum - layer.cycles as f64).abs() < 1e-6, "{}: {sum} of {}", layer.name, layer.cycles);
            assert!(used.idle_clusters >= 0.0 && used.weight_load >= 0.0 && layer.utilization <= 1.0);
        }
        before = cost.cycles;
    }
    for clusters in [0, 3, 6, 9, 16] {
        let config = AcceleratorConfig { clusters, ..target.accelerator.clone() };
        let findings = config.validate().unwrap_err();
        assert_eq!(findings.iter().filter(|f| f.at.contains("clusters")).count(), 1, "{clusters}: {findings}");
    }
}

#[test]
fn half_the_tiles_take_about_half_the_cycles() {
    let target = &builtin_target("xc7z020").unwrap();
    let graph = resnet8();
    let model = CostModel::new(&graph, &target.accelerator).expect("mappable");
    let half: Vec<Vec<u32>> = model.dense_tiles().iter().map(|l| l.iter().map(|t| t.div_ceil(2)).collect()).collect();
    let dense = estimate_model(&model, target, model.dense_tiles());
    let pruned = estimate(&graph, target, &target.accelerator, Some(&half)).expect("mappable");
    assert_eq!(pruned.dense_cycles, dense.cycles);
    assert!(pruned.cycles * 10 < dense.cycles * 6, "{} of {}", pruned.cycles, dense.cycles);
    assert!(pruned.energy_uj < dense.energy_uj && pruned.weight_words < dense.weight_words);
    assert!(pruned.macs < dense.macs && pruned.dense_macs == dense.macs);
    assert!(pruned.layers.iter().all(|l| l.utilization <= 1.0));
}

#[test]
fn reasons_name_what_a_layer_loses() {
    let target = &builtin_target("ecp5-85f").unwrap();
    let config = AcceleratorConfig::new(8, 8, 16_384, 1024);
    let reason = |graph: &Graph, layer: usize| {
        estimate(graph, target, &config, None).expect("mappable").layers[layer].bottleneck
    };
    let mut g = Graph::new("mix");
    let x = g.add_input("x", &[8, 16, 16]).expect("an input");
    let busy = conv2d(&mut g, x, 8, 5, 0);
    let depthwise = conv(&mut g, busy, [8, 1, 3, 3], [1, 1], pads(0), [1, 1], 8);
    let few = conv2d(&mut g, depthwise, 1, 5, 0);
    let last = dense(&mut g, few, 64);
    g.add_output(last);
    assert_eq!(reason(&g, 0), Bottleneck::Compute);
    assert_eq!(reason(&g, 1), Bottleneck::IdleColumns);
    assert_eq!(reason(&g, 2), Bottleneck::IdleColumns);
    assert_eq!(reason(&g, 3), Bottleneck::WeightLoad);

    let mut g = Graph::new("five lanes of eight");
    let x = g.add_input("x", &[5, 16, 16]).expect("an input");
    let y = conv2d(&mut g, x, 8, 5, 0);
    g.add_output(y);
    assert_eq!(reason(&g, 0), Bottleneck::IdleRows);
    for bottleneck in [Bottleneck::Compute, Bottleneck::WriteBack, Bottleneck::IdleRows] {
        assert!(!bottleneck.reason().is_empty());
    }
}

#[test]
fn zero_vectors_of_a_graph_cost_nothing() {
    let mut graph = resnet8();
    let config = AcceleratorConfig::new(16, 16, 8192, 256);
    let model = CostModel::new(&graph, &config).expect("mappable");
    assert_eq!(tiles_of_weights(&model, &graph), model.dense_tiles());
    // Zero the middle row of the kernels of layer 1: three of nine taps of every channel.
    let Op::Conv(c) = &graph.node(model.layers()[1].nodes[0]).op else { panic!("a convolution") };
    let weight = c.weight;
    let mut values = graph.param(weight).as_f32().to_vec();
    values.iter_mut().enumerate().filter(|(i, _)| (3..6).contains(&(i % 9))).for_each(|(_, v)| *v = 0.0);
    let shape = graph.param(weight).shape().to_vec();
    graph.set_param(weight, Tensor::f32(shape, values));
    assert_eq!(tiles_of_weights(&model, &graph)[1], [6]);
    assert_eq!(model.dense_tiles()[1], [9]);
}

#[test]
fn fully_connected_zeros_are_found_behind_a_flattened_map() {
    let mut graph = lenet();
    let config = AcceleratorConfig::new(8, 8, 8192, 256);
    let model = CostModel::new(&graph, &config).expect("mappable");
    // Features 16 * 25: channel c, row y, column x at c * 25 + y * 5 + x. Keep row 0 only.
    let Op::Gemm { weight, .. } = graph.node(model.layers()[2].nodes[0]).op else { panic!("fully connected") };
    let shape = graph.param(weight).shape().to_vec();
    let values = (0..shape[0] * shape[1]).map(|i| if i % 25 < 5 { 1.0 } else { 0.0 }).collect();
    graph.set_param(weight, Tensor::f32(shape, values));
    assert_eq!(tiles_of_weights(&model, &graph)[2], [10; 15]);
}

#[test]
fn foreign_tiles_are_refused() {
    let target = &builtin_target("ecp5-85f").unwrap();
    for tiles in [vec![vec![1]], vec![vec![0]; 5]] {
        let findings = estimate(&lenet(), target, &target.accelerator, Some(&tiles)).expect_err("refused");
        assert_eq!(findings.iter().next().map(|d| d.code), Some("foreign-tiles"));
    }
}

#[test]
fn living_tensors_are_summed() {
    let config = AcceleratorConfig::new(16, 16, 8192, 256);
    let model = CostModel::new(&resnet8(), &config).expect("mappable");
    // 16 channels of 32x32 with a halo of 1: 34 * 33 + 1 bytes. In the second convolution of the
    // first block its input, the residual operand and its output live.
    assert_eq!(model.live_bytes(), 3 * (34 * 33 + 1));

    let small = AcceleratorConfig::new(16, 16, 2048, 256);
    let findings = estimate(&resnet8(), &builtin_target("xc7z020").unwrap(), &small, None).expect_err("too small");
    assert!(findings.to_string().contains("3369"), "{findings}");
    assert!(findings.to_string().contains("'lane_bytes' to at least 4096"), "{findings}");
}
