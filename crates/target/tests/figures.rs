//! Figures that budgets limit: equal to the estimate, and with true lower bounds layer by layer.

mod common;

use common::{lenet, network, resnet8};
use espalier_ir::Random;
use espalier_target::{
    AcceleratorConfig, CostModel, builtin_target, builtin_targets, estimate, figures, least_layer_cycles, memory_blocks,
};

#[test]
fn figures_are_those_of_the_estimate() {
    for target in &[builtin_target("ecp5-85f").unwrap()] {
        for graph in [lenet(), resnet8()] {
            let config = &target.accelerator;
            let model = CostModel::new(&graph, config).expect("mappable");
            let half: Vec<Vec<u32>> =
                model.dense_tiles().iter().map(|l| l.iter().map(|t| t.div_ceil(2)).collect()).collect();
            for tiles in [model.dense_tiles(), &half] {
                let estimate = estimate(&graph, target, config, Some(tiles)).expect("mappable");
                let all = figures(model.network(), tiles, target, config);
                assert_eq!((all.cycles, all.macs), (estimate.cycles, estimate.macs));
                assert!((all.energy_nj - estimate.energy_uj * 1e3).abs() < 1e-6 * all.energy_nj);
                assert_eq!(all.activation_bytes, (estimate.lane_bytes * config.rows) as u64);
                let used = |name: &str| estimate.resources.uses.iter().find(|u| u.name == name).map(|u| u.used as u64);
                assert_eq!(Some(all.multipliers), used("multipliers"));
                assert_eq!(Some(all.logic_cells), used("logic cells"));
                // The configured lanes are at least as deep as needed.
                assert!(all.block_rams > 0 && all.block_rams <= used("DP16KD").unwrap());
                assert_eq!(all.weight_bytes % (config.cols as u64 + 2), 0);
            }
        }
    }
    // LeNet's parameters, biases included.
    let target = &builtin_target("ecp5-85f").unwrap();
    let graph = lenet();
    let model = CostModel::new(&graph, &target.accelerator).expect("mappable");
    let all = figures(model.network(), model.dense_tiles(), target, &target.accelerator);
    let layers = model.network().layers.iter().filter(|l| l.op_name == "Conv" || l.op_name == "Gemm");
    let expected: usize =
        layers.map(|l| l.conv_shape[0] * (1 + l.sources[0].layout.shape[0] * l.kernel[0] * l.kernel[1])).sum();
    assert_eq!(all.parameters, expected as u64);
}

#[test]
fn the_least_cycles_of_layers_add_up_to_no_more_than_the_program_takes() {
    let mut random = Random::new(5);
    for config in [AcceleratorConfig::new(8, 8, 16_384, 256), AcceleratorConfig::new(5, 12, 32_768, 100)] {
        for graph in [lenet(), resnet8()] {
            let net = network(&graph, &config);
            let model = CostModel::new(&graph, &config).expect("mappable");
            for _ in 0..40 {
                let mut tiles = model.dense_tiles().to_vec();
                tiles.iter_mut().flatten().for_each(|t| *t = 1 + random.below(*t as usize) as u32);
                let least = |l: usize| least_layer_cycles(&net, l, &net.layers[l], &tiles[l], &config);
                let sum: u64 = (0..net.layers.len()).map(least).sum();
                let total = model.total_cycles(&tiles);
                assert!(sum <= total && sum as f64 > 0.9 * total as f64, "{sum} of {total}");
            }
        }
    }
}

#[test]
fn narrower_layers_are_those_of_a_narrower_network() {
    let config = AcceleratorConfig::new(8, 8, 16_384, 256);
    let net = network(&resnet8(), &config);
    for layer in &net.layers {
        let widths: Vec<usize> = layer.sources.iter().map(|s| s.layout.shape[0]).collect();
        assert_eq!(*layer, layer.with_channels(&widths, layer.conv_shape[0], &[], &config));
        let narrow = layer.with_channels(&widths, 3, &[], &config);
        assert_eq!((narrow.output.replicas, narrow.output.planes, narrow.blocks.len()), (2, 1, 1));
    }
}

#[test]
fn deeper_memories_take_no_fewer_blocks() {
    for target in builtin_targets().iter().filter(|t| t.fpga.is_some()) {
        let of = |words: u32, bytes: u32| memory_blocks(target, &target.accelerator, 1 << words, 64, 1 << bytes);
        for words in 4..22 {
            for bytes in 5..16 {
                let here = of(words, bytes);
                assert!(of(words + 1, bytes) >= here && of(words, bytes + 1) >= here, "{words} {bytes}");
            }
        }
    }
}
