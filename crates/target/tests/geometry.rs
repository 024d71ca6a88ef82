//! Loops and addresses of layers against a plain evaluation of their indices.

mod common;

use common::{conv, conv2d, lenet, max_pool, network, relu, resnet8};
use espalier_ir::{Graph, LayerSource, Op, Pads, Pool, array_layers};
use espalier_target::{
    AcceleratorConfig, Connectivity, LayerGeometry, PixelTile, Vector, block_vectors, dense_tiles, geometry, graph_ends,
};
use proptest::prelude::*;

/// Checks that output (oy, ox) with tap (ky, kx) and window position reads the element that the
/// definition of the convolution names, or a halo cell if that lies outside.
fn assert_reads(layer: &LayerGeometry, bases: &[usize]) {
    let steps = layer.source_steps();
    let mut seen = vec![0u32; layer.output.shape[1] * layer.output.shape[2]];
    for (index, tile) in layer.pixel_tiles.iter().enumerate() {
        for (y, x) in (0..tile.height).flat_map(|y| (0..tile.width).map(move |x| (y, x))) {
            seen[(tile.y + y) * layer.output.shape[2] + tile.x + x] += 1;
            for (wy, wx) in (0..layer.window[0]).flat_map(|a| (0..layer.window[1]).map(move |b| (a, b))) {
                for vector in block_vectors(layer, 0) {
                    let address = usize::from(layer.read_address(index, bases[0]))
                        + y * steps.y
                        + x * steps.x
                        + wy * steps.wy
                        + wx * steps.wx
                        + usize::from(layer.row_offset(&vector, bases));
                    let conv_y = (tile.y + y) * layer.window_stride[0] + wy;
                    let conv_x = (tile.x + x) * layer.window_stride[1] + wx;
                    assert_eq!(address & 0xffff, expected(layer, bases, &vector, conv_y, conv_x), "{layer:?}");
                }
            }
        }
    }
    assert!(seen.iter().all(|n| *n == 1), "every output pixel exactly once: {seen:?}");
}

/// Address of the padded input element, from the definition.
fn expected(layer: &LayerGeometry, bases: &[usize], vector: &Vector, conv_y: usize, conv_x: usize) -> usize {
    let layout = &layer.sources[vector.source].layout;
    let y = conv_y * layer.stride[0] + vector.ky * layer.dilation[0] + layout.halo.top - layer.pads.top;
    let x = conv_x * layer.stride[1] + vector.kx * layer.dilation[1] + layout.halo.side - layer.pads.left;
    let inside = layout.plane(vector.channel) * layout.plane_bytes + y * layout.pitch + x;
    assert!(inside < layout.bytes(), "reads beyond the tensor");
    bases[vector.source] + inside
}

#[test]
fn lenet_layers_are_cut_as_expected() {
    let config = AcceleratorConfig::new(8, 8, 4096, 256);
    let net = network(&lenet(), &config);
    let conv1 = &net.layers[0];
    assert_eq!((conv1.window, conv1.window_stride), ([2, 2], [2, 2]));
    assert_eq!(conv1.output.shape, [6, 14, 14]);
    // 256 / 4 outputs a pass = 4 rows of 14: four near-equal parts of 14 rows.
    let heights: Vec<usize> = conv1.pixel_tiles.iter().map(|t| t.height).collect();
    assert_eq!(heights, [3, 4, 3, 4]);
    assert_eq!(net.inputs[0].replicas, 8);
    assert_eq!(net.inputs[0].halo.top, 2);
    // The first fully connected layer reads 16 maps of 5x5 as one kernel.
    assert_eq!(net.layers[2].kernel, [5, 5]);
    assert_eq!(net.layers[2].pixel_tiles, [PixelTile { y: 0, x: 0, height: 1, width: 1 }]);
    assert_eq!(net.outputs, [LayerSource::Layer(4)]);
    assert_eq!(net.layers[4].blocks.len(), 2);
    assert_eq!(net.layers[4].blocks[1].columns, 2);
    for layer in &net.layers {
        assert_reads(layer, &[100]);
    }
}

#[test]
fn rows_wider_than_a_pass_are_cut_along_the_row() {
    let mut g = Graph::new("wide");
    let x = g.add_input("x", &[2, 3, 50]).expect("an input");
    let y = conv2d(&mut g, x, 4, 3, 1);
    g.add_output(y);
    let net = network(&g, &AcceleratorConfig::new(4, 4, 1024, 16));
    assert_eq!(net.layers[0].pixel_tiles.len(), 3 * 4);
    assert!(net.layers[0].pixel_tiles.iter().all(|t| (12..=13).contains(&t.width) && t.height == 1));
    assert_reads(&net.layers[0], &[0]);
}

#[test]
fn sources_of_one_layer_share_their_pitch() {
    // `a` is also read with padding, so the other operand of the sum needs its side halo.
    let mut g = Graph::new("residual");
    let x = g.add_input("x", &[8, 6, 5]).expect("an input");
    let a = conv2d(&mut g, x, 8, 1, 0);
    let b = conv2d(&mut g, a, 8, 3, 1);
    let b = g.add("relu", Op::Relu, &[b]).expect("any shape");
    let sum = g.add("sum", Op::Add, &[a, b]).expect("equal shapes");
    let joined = g.add("cat", Op::Concat { axis: 0 }, &[sum, x]).expect("equal maps");
    g.add_output(joined);
    let net = network(&g, &AcceleratorConfig::new(8, 8, 1024, 64));
    let [a, b] = [&net.layers[0].output, &net.layers[1].output];
    assert_eq!((a.halo.top, b.halo.top), (1, 0));
    assert_eq!((a.pitch, b.pitch), (6, 6));
    assert_eq!(net.layers[2].connectivity, Connectivity::Diagonal);
    assert_eq!(net.layers[3].connectivity, Connectivity::Joined);
    assert_reads(&net.layers[2], &[300, 40]);
    assert_reads(&net.layers[3], &[0, 500]);
    for block in 0..2 {
        let sources: Vec<usize> = block_vectors(&net.layers[3], block).map(|v| v.source).collect();
        assert_eq!(sources, vec![block; 8]);
    }
}

/// A shortcut that samples, widens and reads another pitch than the convolution that adds it.
#[test]
fn a_residual_operand_has_steps_of_its_own() {
    let mut g = Graph::new("shortcut");
    let x = g.add_input("x", &[5, 8, 6]).expect("an input");
    let pool = Pool { kernel: [1, 1], stride: [2, 2], pads: Pads::default() };
    let sampled = g.add("sample", Op::MaxPool(pool), &[x]).expect("fits");
    let channels = vec![None, Some(0), Some(1), Some(2), Some(3), Some(4), None, None, None];
    let widened = g.add("widen", Op::Select { channels: channels.clone() }, &[sampled]).expect("fits");
    let a = conv2d(&mut g, sampled, 9, 1, 0);
    let a = g.add("relu", Op::Relu, &[a]).expect("any shape");
    let b = conv2d(&mut g, a, 9, 3, 1);
    let sum = g.add("sum", Op::Add, &[b, widened]).expect("equal shapes");
    g.add_output(sum);
    let config = AcceleratorConfig::new(8, 4, 1024, 16);
    // The sample is read twice, so only the selection is part of the layer.
    let net = network(&g, &config);
    assert_eq!(net.layers.len(), 3);
    let part = net.layers[2].residual_part().expect("the sum is fused");
    assert_eq!((part.connectivity.clone(), part.stride), (Connectivity::Selected(channels), [1, 1]));
    assert_reads(&part, &[40]);
    assert_eq!([0, 1, 2].map(|block| net.layers[2].tiles_before(block, 1)), [1, 1, 1]);

    let mut g = Graph::new("strided");
    let x = g.add_input("x", &[9, 8, 6]).expect("an input");
    let sampled = g.add("sample", Op::MaxPool(pool), &[x]).expect("fits");
    let y = g.add_input("y", &[9, 4, 3]).expect("an input");
    let b = conv2d(&mut g, y, 9, 3, 1);
    let sum = g.add("sum", Op::Add, &[sampled, b]).expect("equal shapes");
    let relu = g.add("relu", Op::Relu, &[sum]).expect("any shape");
    g.add_output(relu);
    let net = network(&g, &config);
    let [layer] = &net.layers[..] else { panic!("one layer") };
    let part = layer.residual_part().expect("the sum is fused");
    assert_eq!((part.connectivity.clone(), part.stride), (Connectivity::Diagonal, [2, 2]));
    assert_reads(&part, &[40]);
    assert_eq!((part.sources[0].layout.pitch, layer.sources[0].layout.pitch), (6, 4));
}

#[test]
fn asymmetric_padding_and_stride_read_the_right_cells() {
    let mut g = Graph::new("same");
    let x = g.add_input("x", &[5, 8, 9]).expect("an input");
    let uneven = Pads { top: 0, left: 1, bottom: 1, right: 2 };
    let y = conv(&mut g, x, [7, 5, 3, 2], [2, 3], uneven, [1, 2], 1);
    g.add_output(y);
    for (rows, cols) in [(4, 8), (8, 4), (5, 6)] {
        let net = network(&g, &AcceleratorConfig::new(rows, cols, 1024, 16));
        assert_reads(&net.layers[0], &[17]);
    }
}

#[test]
fn padded_pooling_marks_its_source() {
    let mut g = Graph::new("pool");
    let x = g.add_input("x", &[6, 7, 7]).expect("an input");
    let p = max_pool(&mut g, x, 3, 2, 1);
    let c = conv2d(&mut g, x, 6, 3, 1);
    let q = max_pool(&mut g, c, 7, 7, 0);
    g.add_output(p);
    g.add_output(q);
    let net = network(&g, &AcceleratorConfig::new(8, 8, 1024, 64));
    assert!(net.inputs[0].pads_minimum && net.inputs[0].pads_zero_point);
    let pool = &net.layers[0];
    assert_eq!((pool.window, pool.window_stride, pool.kernel), ([3, 3], [2, 2], [1, 1]));
    assert_reads(pool, &[0]);
    assert_eq!(net.layers[1].window, [7, 7], "fused");
}

#[test]
fn what_does_not_fit_is_reported_all_at_once() {
    let mut g = Graph::new("big");
    let x = g.add_input("x", &[4, 300, 300]).expect("an input");
    let c = conv2d(&mut g, x, 8, 1, 0);
    let p = max_pool(&mut g, c, 20, 20, 0);
    let r = relu(&mut g, p);
    g.add_output(r);
    let layers = array_layers(&g).expect("supported");
    let (inputs, outputs) = graph_ends(&g, &layers);
    let findings = geometry(&layers, &inputs, &outputs, &AcceleratorConfig::new(8, 8, 4096, 64)).unwrap_err();
    let codes: Vec<&str> = findings.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["window-too-large", "tensor-too-large"]);
    assert!(findings.iter().all(|d| d.help.is_some()));
    assert!(findings.to_string().contains("90000 bytes"), "{findings}");

    let config = AcceleratorConfig { rows: 3, cols: 33, accumulator_bits: 64, ..AcceleratorConfig::new(8, 8, 0, 0) };
    let findings = geometry(&layers, &inputs, &outputs, &config).unwrap_err();
    assert_eq!(findings.iter().filter(|d| d.code == "invalid-accelerator").count(), 5);
}

#[test]
fn resnet_reads_are_right_on_uneven_arrays() {
    for (rows, cols) in [(16, 16), (8, 20), (20, 8)] {
        let net = network(&resnet8(), &AcceleratorConfig::new(rows, cols, 32_768, 128));
        for layer in &net.layers {
            let bases: Vec<usize> = (0..layer.sources.len()).map(|i| i * 7001).collect();
            assert_reads(layer, &bases);
            if let Some(part) = layer.residual_part() {
                assert_reads(&part, &bases[1..]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_convolutions_read_the_right_cells(
        (channels, height, width) in (1usize..12, 5usize..12, 5usize..12),
        kernel in (1usize..4, 1usize..4),
        stride in (1usize..4, 1usize..4),
        dilation in (1usize..3, 1usize..3),
        pad in (0usize..3, 0usize..3, 0usize..3, 0usize..3),
        array in (4usize..=32, 4usize..=32),
        pixels in 16usize..200,
        clusters in 0u32..4,
        base in 0usize..65_536,
    ) {
        let mut g = Graph::new("random");
        let x = g.add_input("x", &[channels, height, width]).expect("an input");
        let pad = Pads { top: pad.0, left: pad.1, bottom: pad.2, right: pad.3 };
        let weight = [5, channels, kernel.0, kernel.1];
        let y = conv(&mut g, x, weight, [stride.0, stride.1], pad, [dilation.0, dilation.1], 1);
        g.add_output(y);
        let config =
            AcceleratorConfig { clusters: 1 << clusters, ..AcceleratorConfig::new(array.0, array.1, 16_384, pixels) };
        let net = network(&g, &config);
        let layer = &net.layers[0];
        prop_assert!(layer.pixel_tiles.iter().all(|t| layer.stream(t, &config) <= pixels));
        let outputs: usize = layer.pixel_tiles.iter().map(|t| t.outputs()).sum();
        prop_assert_eq!(outputs, layer.conv_shape[1] * layer.conv_shape[2]);
        assert_reads_wrapped(layer, base);
    }
}

/// As `assert_reads`, at a base so high that addresses wrap.
fn assert_reads_wrapped(layer: &LayerGeometry, base: usize) {
    let steps = layer.source_steps();
    for (index, tile) in layer.pixel_tiles.iter().enumerate() {
        for vector in block_vectors(layer, 0) {
            let (y, x) = (tile.height - 1, tile.width - 1);
            let address = usize::from(layer.read_address(index, base))
                + y * steps.y
                + x * steps.x
                + usize::from(layer.row_offset(&vector, &[base]));
            assert_eq!(address & 0xffff, expected(layer, &[base], &vector, tile.y + y, tile.x + x) & 0xffff);
        }
    }
}

#[test]
fn averages_with_few_outputs_are_summed_by_the_write_back() {
    let average = |size: usize, kernel: usize, channels: usize| {
        let mut g = Graph::new("average");
        let x = g.add_input("x", &[channels, size, size]).expect("an input");
        let pool = Pool { kernel: [kernel; 2], stride: [kernel; 2], pads: Pads::default() };
        let y = g.add("mean", Op::AveragePool { pool, count_include_pad: true }, &[x]).expect("a pool");
        g.add_output(y);
        let config = AcceleratorConfig::new(8, 8, 8192, 256);
        let net = network(&g, &config);
        let layer = &net.layers[0];
        (layer.window_sum, layer.kernel, layer.window, dense_tiles(layer, &config))
    };
    // One output of 8x8 elements: 64 pixels of one tile instead of 64 tiles that take 8 cycles to load.
    assert_eq!(average(8, 8, 8), (true, [1, 1], [8, 8], vec![1]));
    // 64 outputs of 2x2: four tiles of 64 pixels are as quick.
    assert_eq!(average(16, 2, 8), (false, [2, 2], [1, 1], vec![4]));
    // The fields of an instruction hold windows of up to 15x15, the accumulators 256 pixels: four parts of 8x8.
    assert_eq!(average(16, 16, 8), (true, [2, 2], [8, 8], vec![4]));
    // No part of 17x17 but all of it, pixel by pixel.
    assert_eq!(average(17, 17, 8), (false, [17, 17], [1, 1], vec![289]));
}
