//! Fake quantization gives the very integers that the accelerator computes, and can be trained through.

mod common;

use common::{ConvOptions, Net, Random, bars, pads, small_cnn};
use espalier_ir::{Graph, NodeId, Op, Pads, Pool, TensorMap};
use espalier_train::{
    ActivationQuant, Backend, Execution, FakeQuant, FineTuning, Samples, TrainConfig, WeightQuant, evaluate, fine_tune,
    logits,
};

const EXECUTION: Execution = Execution { backend: Backend::Native, threads: 2 };

/// Integers of a value `[channels, height, width]` and what they mean.
#[derive(Clone)]
struct Int {
    q: Vec<i32>,
    shape: [usize; 3],
    quant: ActivationQuant,
}

impl Int {
    fn at(&self, c: usize, y: isize, x: isize) -> i32 {
        let [_, h, w] = self.shape;
        if y < 0 || x < 0 || y >= h as isize || x >= w as isize {
            return 0;
        }
        self.q[(c * h + y as usize) * w + x as usize] - i32::from(self.quant.zero_point)
    }
}

/// `acc / 2^shift`, ties to even, in integers.
fn shifted(acc: i64, shift: i32) -> i64 {
    let (floor, rest) = (acc >> shift, acc & ((1 << shift) - 1));
    let half = if shift == 0 { i64::MAX } else { 1 << (shift - 1) };
    floor + i64::from(rest > half || (rest == half && floor & 1 == 1))
}

fn requantized(acc: i64, shift: i32, quant: ActivationQuant, low: i64) -> i32 {
    assert!((0..=31).contains(&shift));
    (shifted(acc, shift) + i64::from(quant.zero_point)).clamp(low, 127) as i32
}

fn weight_integers(values: &[f32], exponents: &[i32]) -> Vec<i64> {
    let each = values.len() / exponents.len();
    let scaled = values.iter().enumerate().map(|(i, w)| f64::from(*w) / 2f64.powi(exponents[i / each]));
    scaled.map(|w| (w.round_ties_even() as i64).clamp(-127, 127)).collect()
}

/// Weights `[out, in / groups, kh, kw]` as the accelerator takes them.
struct Kernel<'a> {
    weight: Vec<i64>,
    bias: Vec<i64>,
    exponents: &'a [i32],
    size: [usize; 2],
    groups: usize,
    pads: Pads,
}

fn integer_conv(x: &Int, k: &Kernel<'_>, out_shape: [usize; 3], quant: ActivationQuant, relu: bool) -> Int {
    let [outs, oh, ow] = out_shape;
    let per_group = x.shape[0] / k.groups;
    let low = if relu { i64::from(quant.zero_point) } else { -128 };
    let mut q = Vec::new();
    for o in 0..outs {
        for y in 0..oh {
            for xx in 0..ow {
                let mut acc = k.bias[o];
                for i in 0..per_group {
                    for ky in 0..k.size[0] {
                        for kx in 0..k.size[1] {
                            let channel = o / (outs / k.groups) * per_group + i;
                            let (iy, ix) =
                                ((y + ky) as isize - k.pads.top as isize, (xx + kx) as isize - k.pads.left as isize);
                            let tap = k.weight[((o * per_group + i) * k.size[0] + ky) * k.size[1] + kx];
                            acc += tap * i64::from(x.at(channel, iy, ix));
                        }
                    }
                }
                q.push(requantized(acc, quant.exponent - x.quant.exponent - k.exponents[o], quant, low));
            }
        }
    }
    Int { q, shape: out_shape, quant }
}

fn max_pooled(x: &Int) -> Int {
    let [c, h, w] = x.shape;
    let zero = i32::from(x.quant.zero_point);
    let mut q = Vec::new();
    for ch in 0..c {
        for y in (0..h).step_by(2) {
            for xx in (0..w).step_by(2) {
                let at = |dy: isize, dx: isize| x.at(ch, y as isize + dy, xx as isize + dx) + zero;
                q.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
            }
        }
    }
    Int { q, shape: [c, h / 2, w / 2], quant: x.quant }
}

fn added(a: &Int, b: &Int, quant: ActivationQuant) -> Int {
    let low = a.quant.exponent.min(b.quant.exponent);
    let real = |x: &Int, i: usize| i64::from(x.q[i] - i32::from(x.quant.zero_point)) << (x.quant.exponent - low);
    let q = (0..a.q.len()).map(|i| requantized(real(a, i) + real(b, i), quant.exponent - low, quant, -128)).collect();
    Int { q, shape: a.shape, quant }
}

/// Convolution + ReLU + pooling, depthwise convolution, addition, global average, fully connected.
struct Fixture {
    graph: Graph,
    nodes: [NodeId; 7],
    quantization: FakeQuant,
}

fn fixture(seed: u64) -> Fixture {
    let (mut net, input) = Net::new(seed, &[2, 6, 7]);
    let conv = net.conv(input, 4, [3, 3], ConvOptions { pads: pads(1, 0, 1, 1), ..Default::default() });
    let relu = net.add(Op::Relu, &[conv]);
    let pool = net.add(Op::MaxPool(Pool { kernel: [2, 2], stride: [2, 2], pads: Pads::default() }), &[relu]);
    let depthwise = net.conv(pool, 4, [1, 1], ConvOptions { groups: 4, ..Default::default() });
    let add = net.add(Op::Add, &[depthwise, pool]);
    let average = net.add(Op::GlobalAveragePool, &[add]);
    let flat = net.add(Op::Flatten, &[average]);
    let fc = net.gemm(flat, 3);
    let activation = |exponent, zero_point| ActivationQuant { exponent, zero_point };
    let weights = |exponents: Vec<i32>, input| WeightQuant { exponents, input_exponent: Some(input) };
    let quantization = FakeQuant {
        activations: [
            (input, activation(-6, 3)),
            (pool, activation(-6, -128)),
            (depthwise, activation(-5, 5)),
            (add, activation(-4, -20)),
            (average, activation(-6, 0)),
            (fc, activation(-5, 1)),
        ]
        .into(),
        weights: [
            (conv, weights(vec![-7, -6, -9, -7], -6)),
            (depthwise, weights(vec![-5, -6, -7, -6], -6)),
            (average, weights(vec![-9], -4)),
            (fc, weights(vec![-7, -6, -8], -6)),
        ]
        .into(),
    };
    Fixture { graph: net.finish(fc), nodes: [input, conv, pool, depthwise, add, average, fc], quantization }
}

/// The whole fixture in integers; returns the real values of the last layer.
fn simulated(f: &Fixture, sample: &[f32]) -> Vec<f32> {
    let [input, conv, pool, depthwise, add, average, fc] = f.nodes;
    let quant = |n: NodeId| f.quantization.activations[&n];
    let kernel = |n: NodeId| {
        let WeightQuant { exponents, input_exponent } = &f.quantization.weights[&n];
        let (weight, bias, groups, pads) = match &f.graph.node(n).op {
            Op::Conv(c) => (c.weight, c.bias.unwrap(), c.groups, c.pads),
            Op::Gemm { weight, bias } => (*weight, bias.unwrap(), 1, Pads::default()),
            other => panic!("{other:?}"),
        };
        let size = f.graph.param(weight).shape().get(2..).filter(|s| s.len() == 2).map_or([1, 1], |s| [s[0], s[1]]);
        let units = exponents.iter().map(|e| 2f64.powi(e + input_exponent.unwrap()));
        let bias = f.graph.param(bias).as_f32().iter().zip(units);
        let bias = bias.map(|(b, unit)| (f64::from(*b) / unit).round_ties_even() as i64).collect();
        Kernel {
            weight: weight_integers(f.graph.param(weight).as_f32(), exponents),
            bias,
            exponents,
            size,
            groups,
            pads,
        }
    };
    let q = sample.iter().map(|v| {
        let scaled = (f64::from(*v) / 2f64.powi(quant(input).exponent)).round_ties_even() as i64;
        (scaled + i64::from(quant(input).zero_point)).clamp(-128, 127) as i32
    });
    let x = Int { q: q.collect(), shape: [2, 6, 7], quant: quant(input) };
    let x = max_pooled(&integer_conv(&x, &kernel(conv), [4, 6, 6], quant(pool), true));
    let y = integer_conv(&x, &kernel(depthwise), [4, 3, 3], quant(depthwise), false);
    let x = added(&y, &x, quant(add));
    let exponents = f.quantization.weights[&average].exponents.repeat(4);
    // round(2^9 / 9) = 57
    let mean = Kernel {
        weight: vec![57; 36],
        bias: vec![0; 4],
        exponents: &exponents,
        size: [3, 3],
        groups: 4,
        pads: Pads::default(),
    };
    let x = integer_conv(&x, &mean, [4, 1, 1], quant(average), false);
    let x = integer_conv(&x, &kernel(fc), [3, 1, 1], quant(fc), false);
    x.q.iter().map(|q| (q - i32::from(x.quant.zero_point)) as f32 * 2f32.powi(x.quant.exponent)).collect()
}

#[test]
fn forward_equals_an_integer_simulation() {
    for seed in 0..20 {
        let f = fixture(seed);
        let mut random = Random(seed + 100);
        // Beyond the int8 range of the input too (-2..2).
        let inputs: Vec<f32> = (0..5 * 84).map(|_| 2.5 * random.value()).collect();
        for backend in [Backend::Native, Backend::Flex, Backend::Ndarray] {
            let ours = logits(&f.graph, &inputs, Some(&f.quantization), Execution { backend, ..EXECUTION }).unwrap();
            let integers: Vec<f32> = inputs.chunks(84).flat_map(|s| simulated(&f, s)).collect();
            assert_eq!(ours, integers, "seed {seed}, {backend:?}");
        }
        let float = logits(&f.graph, &inputs, None, EXECUTION).unwrap();
        let rounded = logits(&f.graph, &inputs, Some(&f.quantization), EXECUTION).unwrap();
        assert_ne!(float, rounded);
    }
}

#[test]
fn gradients_through_rounding_are_those_of_burn() {
    for seed in 0..10 {
        let f = fixture(seed);
        let mut random = Random(seed + 200);
        let inputs: Vec<f32> = (0..19 * 84).map(|_| 2.5 * random.value()).collect();
        let labels: Vec<u32> = (0..19).map(|i| i % 3).collect();
        let train = Samples { inputs: &inputs, labels: &labels, sample_len: 84 };
        let masks = TensorMap::new();
        let quantization = Some(&f.quantization);
        let task = FineTuning { graph: &f.graph, masks: &masks, train, validation: None, quantization };
        let step = |backend| {
            let execution = Execution { backend, ..EXECUTION };
            let config =
                TrainConfig { epochs: 1, learning_rate: 0.1, gradient_clip: None, execution, ..Default::default() };
            fine_tune(&task, &config, &mut |_| Ok(())).unwrap().graph
        };
        let (native, burn) = (step(Backend::Native), step(Backend::Flex));
        for ((id, _, a), (_, _, b)) in native.params().zip(burn.params()) {
            for (a, b) in a.as_f32().iter().zip(b.as_f32()) {
                assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "seed {seed}, {id:?}: {a} is not {b}");
            }
        }
        assert_ne!(native.params().next().unwrap().2, f.graph.params().next().unwrap().2);
    }
}

/// Coarse rounding of `small_cnn`: 8 bits of activations at poor exponents, weights of about 3 bits.
fn coarse(graph: &Graph) -> FakeQuant {
    let mut quant = FakeQuant::default();
    for node in graph.nodes() {
        let (op, shape) = (&graph.node(node).op, &graph.node(node).shape);
        match op {
            Op::Conv(_) | Op::Gemm { .. } => {
                let weights = WeightQuant { exponents: vec![-2; shape[0]], input_exponent: None };
                quant.weights.insert(node, weights);
            }
            Op::Relu => {
                quant.activations.insert(node, ActivationQuant { exponent: -3, zero_point: -128 });
            }
            _ => {}
        }
    }
    quant
}

#[test]
fn training_with_rounding_recovers_what_rounding_costs() {
    let (train, test) = (bars(21, 1000), bars(22, 400));
    let masks = TensorMap::new();
    let start = small_cnn(23, 4, false);
    let config =
        TrainConfig { epochs: 3, batch_size: 32, learning_rate: 0.05, execution: EXECUTION, ..Default::default() };
    let mut quiet = |_: &_| Ok(());
    let task =
        FineTuning { graph: &start, masks: &masks, train: train.samples(), validation: None, quantization: None };
    let float = fine_tune(&task, &config, &mut quiet).unwrap().graph;
    let quant = coarse(&float);
    let accuracy = |g: &Graph, q| evaluate(g, &test.samples(), q, EXECUTION).unwrap();
    let rounded = accuracy(&float, Some(&quant));
    let task = FineTuning { graph: &float, quantization: Some(&quant), ..task };
    let config = TrainConfig { learning_rate: 0.02, ..config };
    let trained = fine_tune(&task, &config, &mut quiet).unwrap().graph;
    let recovered = accuracy(&trained, Some(&quant));
    assert!(accuracy(&float, None).fraction() > 0.97);
    assert!(recovered.loss < rounded.loss * 0.9, "{rounded:?} {recovered:?}");
    assert!(recovered.correct >= rounded.correct);
    assert!(recovered.fraction() > 0.95, "{recovered:?}");
}

#[test]
fn frozen_normalization_equals_running_statistics() {
    let graph = small_cnn(24, 4, true);
    let data = bars(25, 30);
    let norm = graph.nodes().into_iter().find(|n| matches!(graph.node(*n).op, Op::BatchNorm { .. })).unwrap();
    let fine = WeightQuant { exponents: vec![-30; 6], input_exponent: Some(-40) };
    // 127 * 2^-30 saturates every factor; a fine but sufficient exponent changes next to nothing.
    let quant = |exponent| FakeQuant {
        weights: [(norm, WeightQuant { exponents: vec![exponent; 6], input_exponent: None })].into(),
        ..Default::default()
    };
    let run = |q: Option<&FakeQuant>| logits(&graph, &data.inputs, q, EXECUTION).unwrap();
    let distance =
        |q: &FakeQuant| run(Some(q)).iter().zip(run(None)).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(distance(&quant(-6)) < 0.1);
    assert!(distance(&FakeQuant { weights: [(norm, fine)].into(), ..Default::default() }) > 0.1);
    // Training leaves the statistics alone.
    let q = quant(-6);
    let masks = TensorMap::new();
    let task =
        FineTuning { graph: &graph, masks: &masks, train: data.samples(), validation: None, quantization: Some(&q) };
    let config = TrainConfig { epochs: 1, execution: EXECUTION, ..Default::default() };
    let tuned = fine_tune(&task, &config, &mut |_| Ok(())).unwrap().graph;
    let Op::BatchNorm { mean, variance, gamma, .. } = graph.node(norm).op else { unreachable!() };
    assert_eq!(tuned.param(mean), graph.param(mean));
    assert_eq!(tuned.param(variance), graph.param(variance));
    assert_ne!(tuned.param(gamma), graph.param(gamma));
}

#[test]
fn entries_that_do_not_fit_are_refused() {
    let graph = small_cnn(26, 4, false);
    let [input, conv] = [graph.nodes()[0], graph.nodes()[1]];
    let weights = |n: usize, e: i32| WeightQuant { exponents: vec![e; n], input_exponent: None };
    let quant = FakeQuant {
        activations: [(conv, ActivationQuant { exponent: 500, zero_point: 0 })].into(),
        weights: [(input, weights(1, 0)), (conv, weights(5, i32::MIN))].into(),
    };
    let error = logits(&graph, &[0.0; 64], Some(&quant), EXECUTION).unwrap_err();
    assert_eq!(error.iter().filter(|d| d.code == "bad-fake-quantization").count(), 4, "{error}");
}
