//! The executor computes what `ir::evaluate` defines.

mod common;

use common::{ConvOptions, Net, Random, pads};
use espalier_ir::{Graph, NodeId, Normalize, Op, Pads, Pool, Statistics, TensorMap, evaluate_output};
use espalier_train::{
    Backend, Execution, FineTuning, Optimizer, Samples, TrainConfig, evaluate, fine_tune, gradients, logits,
};
use proptest::prelude::*;

fn assert_equal(graph: &Graph, seed: u64, backend: Backend) {
    // One more sample than a block of the native kernels holds.
    let n = if backend == Backend::Native { 17 } else { 3 };
    let len: usize = graph.node(graph.inputs()[0]).shape.iter().product();
    let inputs = Random(seed).values(n * len);
    let execution = Execution { backend, threads: 2 };
    let ours = logits(graph, &inputs, None, execution).unwrap();
    let reference: Vec<f32> = inputs.chunks(len).flat_map(|x| evaluate_output(graph, &[x])).collect();
    assert_eq!(ours.len(), reference.len());
    for (a, b) in ours.iter().zip(&reference) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{backend:?}: {a} is not {b}");
    }
}

/// Our own gradients are those of burn: with running statistics, and in a step of the training.
fn assert_same_steps(graph: &Graph, seed: u64) {
    let n = 19;
    let len: usize = graph.node(graph.inputs()[0]).shape.iter().product();
    let classes: usize = graph.node(graph.outputs()[0]).shape.iter().product();
    let inputs = Random(seed ^ 1).values(n * len);
    let labels: Vec<u32> = (0..n).map(|i| (i % classes) as u32).collect();
    let train = Samples { inputs: &inputs, labels: &labels, sample_len: len };
    let masks = TensorMap::new();
    let task = FineTuning { graph, masks: &masks, train, validation: None, quantization: None };
    let run = |backend| {
        let execution = Execution { backend, threads: 2 };
        let optimizer = Optimizer::Sgd { momentum: 0.0 };
        let config =
            TrainConfig { epochs: 1, shards: 1, learning_rate: 1e-2, optimizer, execution, ..Default::default() };
        let tuned = fine_tune(&task, &config, &mut |_| Ok(())).unwrap().graph;
        let tuned: TensorMap = tuned.params().map(|(id, _, tensor)| (id, tensor.clone())).collect();
        (tuned, gradients(graph, &train, execution).unwrap())
    };
    let (native, burn) = (run(Backend::Native), run(Backend::Flex));
    for (native, burn) in [(native.0, burn.0), (native.1, burn.1)] {
        assert!(native.keys().eq(burn.keys()));
        let scale = burn.values().flat_map(|t| t.as_f32()).fold(1.0f32, |m, v| m.max(v.abs()));
        for (id, tensor) in &burn {
            for (a, b) in native[id].as_f32().iter().zip(tensor.as_f32()) {
                assert!((a - b).abs() <= 1e-3 * scale, "{id:?}: {a} is not {b}");
            }
        }
    }
}

/// One random node behind `x`; spatial values stay spatial.
fn random_node(net: &mut Net, x: NodeId) -> NodeId {
    let shape = net.shape(x);
    let (c, h, w) = (shape[0], shape[1], shape[2]);
    let mut below = |n: usize| net.random.below(n);
    let kernel = [1 + below(3.min(h)), 1 + below(3.min(w))];
    let stride = [1 + below(2), 1 + below(2)];
    let side = |n: usize, k: usize| n % k;
    let sides = pads(
        side(below(3), kernel[0]),
        side(below(3), kernel[1]),
        side(below(3), kernel[0]),
        side(below(3), kernel[1]),
    );
    let pool = Pool { kernel, stride, pads: sides };
    let kind = below(21);
    let (out, flag) = (1 + below(7), below(2) == 0);
    match kind {
        0 => net.conv(x, out, kernel, ConvOptions { stride, pads: sides, bias: flag, ..Default::default() }),
        1 => {
            // Depthwise, with a multiplier, dilated where the picture is large enough.
            let dilation = [if kernel[0] * 2 <= h { 2 } else { 1 }, if kernel[1] * 2 <= w { 2 } else { 1 }];
            let multiplier = 1 + usize::from(flag);
            let options = ConvOptions { stride, pads: sides, dilation, groups: c, bias: flag };
            net.conv(x, c * multiplier, kernel, options)
        }
        2 if c % 2 == 0 => {
            net.conv(x, 2 * out, kernel, ConvOptions { stride, pads: sides, groups: 2, ..Default::default() })
        }
        3 => net.batch_norm(x),
        4 => net.add(Op::Relu, &[x]),
        5 => net.add(Op::Clip { min: if flag { f32::NEG_INFINITY } else { -0.4 }, max: 0.7 }, &[x]),
        6 => net.add(Op::MaxPool(pool), &[x]),
        7 => net.add(Op::AveragePool { pool, count_include_pad: flag }, &[x]),
        8 => {
            let other = net.conv(x, c, [1, 1], ConvOptions::default());
            net.add(Op::Add, &[other, x])
        }
        9 => {
            let other = net.conv(x, out, [1, 1], ConvOptions::default());
            net.add(Op::Concat { axis: 0 }, &[x, other, x])
        }
        10 => {
            let channels = (0..out).map(|_| (net.random.below(4) > 0).then(|| net.random.below(c))).collect();
            net.add(Op::Select { channels }, &[x])
        }
        11 => net.gate(x, flag),
        12 => net.conv_transpose(x, if flag { c } else { 1 }),
        13 if h * w < 200 => net.add(Op::Resize { factor: [1 + usize::from(flag), 2] }, &[x]),
        15 => {
            let divisors: Vec<usize> = (1..=c).filter(|d| c.is_multiple_of(*d)).collect();
            let over = match net.random.below(divisors.len() + 1) {
                0 => Statistics::Position,
                d => Statistics::Groups(divisors[d - 1]),
            };
            let (gamma, beta) = (net.param(&[c], 0.3, 1.0), net.param(&[c], 0.2, 0.0));
            // Large enough that sets of a few values have a tame gradient.
            net.add(Op::Normalize(Normalize { over, gamma, beta, epsilon: 0.1 }), &[x])
        }
        16 => {
            let offset = net.param(&[c, h, w], 0.5, 0.0);
            net.add(Op::Offset { offset }, &[x])
        }
        17 if h * w < 200 => {
            let other = net.conv(x, c, [1, 1], ConvOptions::default());
            net.add(Op::Concat { axis: 1 + usize::from(flag) }, &[other, x])
        }
        18 if h * w < 100 => net.attend(x, flag),
        19 if c % 4 == 0 && h * w < 100 => {
            let apart = net.add(Op::Reshape { shape: vec![c / 4, 2, 2, h, w] }, &[x]);
            let woven = net.add(Op::Transpose { axes: vec![0, 3, 1, 4, 2] }, &[apart]);
            net.add(Op::Reshape { shape: vec![c / 4, 2 * h, 2 * w] }, &[woven])
        }
        14 => {
            let slope = net.param(&[if flag { c } else { 1 }], 0.5, 0.0);
            net.add(Op::PRelu { slope }, &[x])
        }
        _ => {
            let unary = common::UNARY[net.random.below(common::UNARY.len())];
            net.add(Op::Unary(unary), &[x])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_equal_the_reference(seed in any::<u64>(), depth in 1usize..7, end in 0usize..4) {
        let mut random = Random(seed);
        let (mut net, mut x) = Net::new(seed, &[1 + random.below(5), 4 + random.below(8), 4 + random.below(8)]);
        for _ in 0..depth {
            x = random_node(&mut net, x);
        }
        if end == 0 {
            x = net.add(Op::GlobalAveragePool, &[x]);
        }
        if end < 3 {
            x = net.add(Op::Flatten, &[x]);
            x = net.gemm(x, 5);
        }
        if end == 1 {
            x = net.add(Op::Relu, &[x]);
            x = net.batch_norm(x);
        }
        let graph = net.finish(x);
        for backend in [Backend::Native, Backend::Flex, Backend::Ndarray] {
            assert_equal(&graph, seed, backend);
        }
        assert_same_steps(&graph, seed);
    }
}

#[test]
fn softmax_inside_is_computed_and_at_the_end_is_left_out() {
    let (mut net, x) = Net::new(1, &[3, 2, 2]);
    let inner = net.add(Op::Softmax { axis: 0 }, &[x]);
    let flat = net.add(Op::Reshape { shape: vec![12] }, &[inner]);
    let y = net.gemm(flat, 4);
    assert_equal(&net.graph_with_output(y), 1, Backend::Native);
    let end = net.add(Op::Softmax { axis: 0 }, &[y]);
    let with = net.graph_with_output(end);
    let inputs = Random(9).values(24);
    let run = |g: &Graph| logits(g, &inputs, None, Execution::default()).unwrap();
    assert_eq!(run(&with), run(&net.graph_with_output(y)));
}

impl Net {
    fn graph_with_output(&self, output: NodeId) -> Graph {
        let mut graph = self.graph.clone();
        graph.add_output(output);
        graph
    }
}

#[test]
fn values_of_any_rank_and_unread_nodes_are_fine() {
    let (mut net, x) = Net::new(2, &[2, 3, 1, 2]);
    let normalized = net.batch_norm(x);
    let matrix = net.add(Op::Reshape { shape: vec![4, 3] }, &[normalized]);
    net.add(Op::Relu, &[matrix]);
    let flat = net.add(Op::Flatten, &[matrix]);
    let y = net.gemm(flat, 3);
    assert_equal(&net.finish(y), 2, Backend::Native);
}

#[test]
fn wide_padding_and_one_pixel_work() {
    let (mut net, x) = Net::new(3, &[3, 1, 1]);
    let y = net.conv(x, 4, [5, 3], ConvOptions { pads: pads(4, 0, 3, 2), stride: [3, 1], ..Default::default() });
    let pool = Pool { kernel: [3, 1], stride: [1, 1], pads: Pads { top: 2, bottom: 1, ..Default::default() } };
    let y = net.add(Op::MaxPool(pool), &[y]);
    let y = net.add(Op::AveragePool { pool, count_include_pad: false }, &[y]);
    let graph = net.finish(y);
    assert_equal(&graph, 3, Backend::Native);
    assert_equal(&graph, 3, Backend::Flex);
    assert_equal(&graph, 3, Backend::Ndarray);
}

#[test]
fn quantized_nodes_are_refused() {
    let (mut net, x) = Net::new(4, &[2]);
    let q = net.add(Op::QuantizeLinear { scale: vec![0.5], zero_point: vec![0] }, &[x]);
    let d = net.add(Op::DequantizeLinear { scale: vec![0.5], zero_point: vec![0] }, &[q]);
    let error = logits(&net.finish(d), &[0.0; 2], None, Execution::default()).unwrap_err();
    assert_eq!(error.iter().map(|d| d.code).collect::<Vec<_>>(), ["unsupported-in-training"; 2]);
    assert!(error.to_string().contains("float model"), "{error}");
}

#[test]
fn samples_of_several_inputs_hold_one_after_the_other() {
    let (mut net, x) = Net::new(4, &[2, 2, 3]);
    let unread = net.graph.add_input("unread", &[2]).unwrap();
    let other = net.graph.add_input("other", &[1, 2, 3]).unwrap();
    let scaled = net.conv(other, 2, [1, 1], ConvOptions::default());
    let sum = net.add(Op::Add, &[x, scaled]);
    let flat = net.add(Op::Flatten, &[sum]);
    let y = net.gemm(flat, 3);
    net.add(Op::Relu, &[unread]);
    let graph = net.finish(y);
    let inputs = Random(5).values(4 * 20);
    for backend in [Backend::Flex, Backend::Ndarray] {
        let ours = logits(&graph, &inputs, None, Execution { backend, threads: 2 }).unwrap();
        let parts = inputs.chunks(20).map(|s| [&s[..12], &s[12..14], &s[14..]]);
        let reference: Vec<f32> = parts.flat_map(|p| evaluate_output(&graph, &p)).collect();
        assert_eq!(ours.len(), reference.len());
        assert!(ours.iter().zip(&reference).all(|(a, b)| (a - b).abs() < 1e-5), "{ours:?} {reference:?}");
    }
    assert!(logits(&graph, &inputs[..21], None, Execution::default()).is_err());
}

#[test]
fn samples_that_do_not_fit_are_refused_all_at_once() {
    let graph = common::small_cnn(1, 4, false);
    let check = |inputs: &[f32], labels: &[u32], sample_len| {
        let samples = Samples { inputs, labels, sample_len };
        let error = evaluate(&graph, &samples, None, Execution::default()).unwrap_err();
        error.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(check(&[], &[], 64), ["no-samples"]);
    assert_eq!(check(&[0.0; 128], &[0, 4], 64), ["label-out-of-range"]);
    assert_eq!(check(&[0.0; 126], &[0, 1], 63), ["sample-size-mismatch"]);
    assert_eq!(check(&[0.0; 100], &[0, 9], 64), ["sample-size-mismatch", "label-out-of-range"]);
    assert_eq!(check(&[f32::NAN; 64], &[0], 64), ["non-finite-input"]);
    assert!(logits(&graph, &[0.0; 65], None, Execution::default()).is_err());
    assert!(logits(&graph, &[], None, Execution::default()).unwrap().is_empty());
}
