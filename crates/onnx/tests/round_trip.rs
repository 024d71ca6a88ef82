//! Any graph survives export and import: random graphs over all operators give the same values.

use std::collections::BTreeMap;

use espalier_ir::{
    Cell, Conv, ConvTranspose, Graph, NodeId, Normalize, Op, Pads, ParamId, Pool, Recurrent, Statistics, Tensor, Unary,
    evaluate,
};
use espalier_onnx::{ExportOptions, QuantizedParam, export, export_with, import};
use proptest::prelude::*;

/// A graph that grows by random operators; refused ones are left out.
struct Growing {
    graph: Graph,
    random: TestRng,
    last: NodeId,
}

/// Small numbers from a seed.
struct TestRng(u64);

impl TestRng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pair(&mut self, least: usize, bound: usize) -> [usize; 2] {
        [least + self.below(bound), least + self.below(bound)]
    }

    fn pads(&mut self) -> Pads {
        let [top, left] = self.pair(0, 3);
        let [bottom, right] = self.pair(0, 3);
        Pads { top, left, bottom, right }
    }
}

impl Growing {
    fn new(seed: u64) -> Self {
        let mut random = TestRng(seed);
        let shape = [1 + random.below(4), 3 + random.below(7), 3 + random.below(7)];
        let mut graph = Graph::new("random");
        let last = match random.below(4) {
            0 => graph.add_input("x", &shape[..1]).unwrap(),
            _ => graph.add_input("x", &shape).unwrap(),
        };
        Growing { graph, random, last }
    }

    fn param(&mut self, shape: &[usize]) -> ParamId {
        let values = (0..shape.iter().product()).map(|_| self.random.below(255) as f32 / 64.0 - 2.0).collect();
        self.graph.add_param("w", Tensor::f32(shape, values))
    }

    fn pool(&mut self) -> Pool {
        Pool { kernel: self.random.pair(1, 3), stride: self.random.pair(1, 3), pads: self.random.pads() }
    }

    fn positive(&mut self, channels: usize) -> ParamId {
        let id = self.param(&[channels]);
        let values = self.graph.param(id).as_f32().iter().map(|v| v.abs() + 0.5).collect();
        self.graph.set_param(id, Tensor::f32([channels], values));
        id
    }

    fn op(&mut self, shape: &[usize]) -> Op {
        let channels = shape[0];
        match self.random.below(21) {
            0 | 1 => {
                let groups = if self.random.below(2) == 0 { channels } else { 1 };
                let out = groups * (1 + self.random.below(3));
                let kernel = self.random.pair(1, 3);
                let weight = self.param(&[out, channels / groups, kernel[0], kernel[1]]);
                let bias = if self.random.below(2) == 0 { Some(self.param(&[out])) } else { None };
                let [stride, dilation] = [self.random.pair(1, 2), self.random.pair(1, 2)];
                Op::Conv(Conv { weight, bias, stride, pads: self.random.pads(), dilation, groups })
            }
            2 => {
                let out = 1 + self.random.below(9);
                let weight = self.param(&[out, channels]);
                let bias = if self.random.below(2) == 0 { Some(self.param(&[out])) } else { None };
                Op::Gemm { weight, bias }
            }
            3 => Op::Relu,
            4 => match self.random.below(3) {
                0 => Op::Clip { min: -1.0, max: f32::INFINITY },
                1 => Op::Clip { min: f32::NEG_INFINITY, max: 6.0 },
                _ => Op::Clip { min: 0.0, max: 6.0 },
            },
            5 => Op::BatchNorm {
                gamma: self.param(&[channels]),
                beta: self.param(&[channels]),
                mean: self.param(&[channels]),
                variance: self.positive(channels),
                epsilon: 1e-3,
            },
            6 => Op::MaxPool(self.pool()),
            7 => Op::AveragePool { pool: self.pool(), count_include_pad: self.random.below(2) == 0 },
            8 => Op::GlobalAveragePool,
            9 => Op::Flatten,
            10 => Op::Reshape { shape: vec![shape.iter().product(), 1, 1] },
            11 => Op::Select { channels: self.selection(channels) },
            12 => {
                let groups = if self.random.below(2) == 0 { channels } else { 1 };
                let per_group = 1 + self.random.below(3);
                let kernel = self.random.pair(1, 3);
                let weight = self.param(&[channels, per_group, kernel[0], kernel[1]]);
                let bias = if self.random.below(2) == 0 { Some(self.param(&[groups * per_group])) } else { None };
                let [stride, dilation] = [self.random.pair(1, 3), self.random.pair(1, 2)];
                let output_pads = [0, 1].map(|a| self.random.below(stride[a].max(dilation[a])));
                let pads = self.random.pads();
                Op::ConvTranspose(ConvTranspose { weight, bias, stride, pads, output_pads, dilation, groups })
            }
            13 => Op::Resize { factor: self.random.pair(1, 3) },
            14 => Op::PRelu {
                slope: match self.random.below(2) {
                    0 => self.param(&[1]),
                    _ => self.param(&[channels]),
                },
            },
            15 => Op::Unary(match self.random.below(6) {
                0 => Unary::Sigmoid,
                1 => Unary::Tanh,
                2 => Unary::LeakyRelu { alpha: 0.125 },
                3 => Unary::HardSigmoid { alpha: 0.25, beta: 0.5 },
                4 => Unary::Elu { alpha: 0.75 },
                _ => Unary::Softplus,
            }),
            16 => {
                let divisors: Vec<usize> = (1..=channels).filter(|d| channels.is_multiple_of(*d)).collect();
                let over = match self.random.below(divisors.len() + 1) {
                    0 => Statistics::Position,
                    d => Statistics::Groups(divisors[d - 1]),
                };
                let [gamma, beta] = [self.param(&[channels]), self.param(&[channels])];
                Op::Normalize(Normalize { over, gamma, beta, epsilon: 1e-2 })
            }
            // One value a channel would go into the layer before, and round otherwise.
            17 if shape[1..].iter().product::<usize>() > 1 => Op::Offset { offset: self.param(shape) },
            18 if shape.len() == 3 => Op::Transpose { axes: vec![0, 2, 1] },
            _ => Op::Softmax { axis: self.random.below(shape.len()) },
        }
    }

    /// Products of a value with itself, in every combination that fits.
    fn product(&mut self, from: NodeId) -> Result<NodeId, espalier_ir::Diagnostic> {
        let other = self.graph.add("other", Op::Relu, &[from])?;
        let transpose = [[true, false], [false, true]][self.random.below(2)];
        self.graph.add("product", Op::MatMul { transpose }, &[from, other])
    }

    /// Channels as pixels, or values joined along any axis.
    fn rearranged(&mut self, from: NodeId) -> Result<NodeId, espalier_ir::Diagnostic> {
        let shape = self.graph.node(from).shape.clone();
        if let [c, h, w] = shape[..]
            && c.is_multiple_of(4)
            && self.random.below(2) == 0
        {
            let apart = self.graph.add("apart", Op::Reshape { shape: vec![c / 4, 2, 2, h, w] }, &[from])?;
            let woven = self.graph.add("woven", Op::Transpose { axes: vec![0, 3, 1, 4, 2] }, &[apart])?;
            return self.graph.add("shuffled", Op::Reshape { shape: vec![c / 4, 2 * h, 2 * w] }, &[woven]);
        }
        let other = self.graph.add("other", Op::Relu, &[from])?;
        let axis = self.random.below(shape.len());
        self.graph.add("joined", Op::Concat { axis }, &[from, other])
    }

    /// A slice, zeros around one, or any channels in any order.
    fn selection(&mut self, channels: usize) -> Vec<Option<usize>> {
        let first = self.random.below(channels);
        let mut slice: Vec<Option<usize>> = (first..=first + self.random.below(channels - first)).map(Some).collect();
        match self.random.below(4) {
            0 => slice,
            1 => {
                slice.splice(0..0, vec![None; self.random.below(3)]);
                slice.extend(vec![None; self.random.below(3)]);
                slice
            }
            _ => (0..1 + self.random.below(6))
                .map(|_| (self.random.below(4) > 0).then(|| self.random.below(channels)))
                .collect(),
        }
    }

    /// A gate: one value a channel, one a pixel, or one each.
    fn gated(&mut self, from: NodeId) -> Result<NodeId, espalier_ir::Diagnostic> {
        let gate = match self.random.below(3) {
            0 => self.graph.add("squeeze", Op::GlobalAveragePool, &[from])?,
            1 => self.graph.add("mask", Op::Select { channels: vec![Some(0)] }, &[from])?,
            _ => self.graph.add("gate", Op::Unary(Unary::Sigmoid), &[from])?,
        };
        let operands = if self.random.below(2) == 0 { [from, gate] } else { [gate, from] };
        self.graph.add("gated", Op::Mul, &operands)
    }

    /// A recurrent layer over the pixels of a map, perhaps in both directions, and perhaps one step of it.
    fn recurrent(&mut self, from: NodeId) -> Result<NodeId, espalier_ir::Diagnostic> {
        let shape = self.graph.node(from).shape.clone();
        let cell = match self.random.below(3) {
            0 => Cell::Lstm,
            kind => Cell::Gru { linear_before_reset: kind == 1 },
        };
        let mut layers = Vec::new();
        for reverse in [self.random.below(2) == 0, true].into_iter().take(1 + self.random.below(2)) {
            let hidden = 1 + self.random.below(3);
            let rows = cell.gates() * hidden;
            let (weight, recurrence) = (self.param(&[rows, shape[0]]), self.param(&[rows, hidden]));
            let bias = (self.random.below(2) == 0).then(|| [self.param(&[rows]), self.param(&[rows])]);
            let op = Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias });
            layers.push(self.graph.add("layer", op, &[from])?);
        }
        let states =
            if layers.len() == 1 { layers[0] } else { self.graph.add("both", Op::Concat { axis: 0 }, &layers)? };
        if self.random.below(2) == 0 {
            return Ok(states);
        }
        let step = self.random.below(shape[1..].iter().product());
        self.graph.add("step", Op::TimeStep { step }, &[states])
    }

    fn grow(&mut self) {
        let name = format!("n{}", self.random.below(5));
        let before = self.last;
        let shape = self.graph.node(before).shape.clone();
        let added = match self.random.below(12) {
            10 => self.product(before),
            11 => self.rearranged(before),
            8 => self.gated(before),
            9 => self.recurrent(before),
            0 => self.graph.add(name, Op::Add, &[before, before]),
            1 => {
                let relu = self.graph.add("branch", Op::Relu, &[before]).unwrap();
                self.graph.add(name, Op::Concat { axis: 0 }, &[before, relu, before])
            }
            2 => self.quantized(before),
            _ => {
                let op = self.op(&shape);
                self.graph.add(name, op, &[before])
            }
        };
        if let Ok(added) = added {
            self.last = added;
        }
        if self.random.below(6) == 0 {
            self.graph.add_output(self.last);
        }
    }

    /// Quantize, perhaps something that keeps int8, dequantize.
    fn quantized(&mut self, from: NodeId) -> Result<NodeId, espalier_ir::Diagnostic> {
        let channels = self.graph.node(from).shape[0];
        let count = if self.random.below(2) == 0 { channels } else { 1 };
        let scale: Vec<f32> = (0..count).map(|_| 2f32.powi(self.random.below(8) as i32 - 6)).collect();
        let zero_point: Vec<i8> = (0..count).map(|_| (self.random.below(256) as i32 - 128) as i8).collect();
        let params = (scale.clone(), zero_point.clone());
        let mut node = self.graph.add("q", Op::QuantizeLinear { scale: params.0, zero_point: params.1 }, &[from])?;
        if self.random.below(2) == 0 {
            let pool = self.pool();
            node = self.graph.add("qp", Op::MaxPool(pool), &[node]).unwrap_or(node);
        }
        self.graph.add("dq", Op::DequantizeLinear { scale, zero_point }, &[node])
    }
}

fn graph(seed: u64, steps: usize) -> Graph {
    let mut growing = Growing::new(seed);
    for _ in 0..steps {
        growing.grow();
    }
    let last = growing.last;
    let mut graph = growing.graph;
    graph.add_output(last);
    graph.remove_unused_params();
    graph
}

fn outputs(graph: &Graph) -> Vec<Vec<f32>> {
    let len: usize = graph.node(graph.inputs()[0]).shape.iter().product();
    let sample: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 16.0 - 3.0).collect();
    let values = evaluate(graph, &[&sample]);
    graph.outputs().iter().map(|o| values[o].clone()).collect()
}

/// Equal, where not-a-number (an overflow of both) equals itself.
fn same(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
    let bits = |v: &[Vec<f32>]| v.iter().map(|o| o.iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>();
    bits(a) == bits(b)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(5), ..Default::default() })]

    #[test]
    fn values_survive_export_and_import(seed in any::<u64>(), steps in 1usize..14) {
        let graph = graph(seed, steps);
        let again = import(&export(&graph)).map_err(|e| TestCaseError::fail(format!("{e}\n{graph}")))?;
        prop_assert!(same(&outputs(&graph), &outputs(&again)), "{graph}\n{again}");
        for (before, after) in graph.outputs().iter().zip(again.outputs()) {
            prop_assert_eq!(&graph.node(*before).shape, &again.node(*after).shape);
        }
    }

    #[test]
    fn integer_weights_give_the_same_values(seed in any::<u64>(), steps in 1usize..14) {
        let mut graph = graph(seed, steps);
        let mut quantized = BTreeMap::new();
        let params: Vec<(ParamId, Vec<usize>)> = graph.params().map(|(id, _, t)| (id, t.shape().to_vec())).collect();
        let mut random = TestRng(seed);
        for (id, shape) in params {
            let scale: Vec<f32> = match random.below(2) {
                0 => vec![0.25],
                _ => (0..shape[0]).map(|_| 2f32.powi(-(random.below(9) as i32))).collect(),
            };
            let integers: Vec<i32> = graph.param(id).as_f32().iter().map(|v| (v * 60.0) as i32).collect();
            let each = integers.len() / scale.len();
            let real = integers.iter().enumerate().map(|(i, q)| *q as f32 * scale[i / each]).collect();
            // Statistics must stay positive.
            if graph.param(id).as_f32().iter().any(|v| *v < 0.0) {
                graph.set_param(id, Tensor::f32(shape.clone(), real));
                let values = match random.below(2) {
                    0 => Tensor::i32(shape, integers),
                    _ => Tensor::i8(shape, integers.iter().map(|q| *q as i8).collect()),
                };
                quantized.insert(id, QuantizedParam { values, scale });
            }
        }
        let again = import(&export_with(&graph, &ExportOptions { quantized })).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(same(&outputs(&graph), &outputs(&again)), "{graph}\n{again}");
    }
}

#[test]
fn an_input_that_is_an_output_and_outputs_of_one_node_are_kept() {
    let mut graph = Graph::new("ends");
    let a = graph.add_input("a", &[2, 3]).unwrap();
    let b = graph.add_input("b", &[2, 3]).unwrap();
    let sum = graph.add("sum", Op::Add, &[b, a]).unwrap();
    for output in [sum, a, sum] {
        graph.add_output(output);
    }
    let again = import(&export(&graph)).unwrap();
    let names: Vec<&str> = again.inputs().iter().map(|i| again.node(*i).name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let samples = [[1.0f32; 6], [2.0; 6]];
    let values = evaluate(&again, &[&samples[0], &samples[1]]);
    let outputs: Vec<f32> = again.outputs().iter().map(|o| values[o][0]).collect();
    assert_eq!(outputs, [3.0, 1.0, 3.0]);
}
