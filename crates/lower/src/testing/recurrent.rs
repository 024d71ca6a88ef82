//! Random recurrent networks.

use espalier_ir::{Cell, Graph, NodeId, Op, Recurrent, Tensor, Unary};
use espalier_target::{AcceleratorConfig, WeightSource};

use super::{Random, weights};

/// One or two LSTM or GRU layers in one or both directions over a few steps, read at a step, at their end or on average, and
/// an array that can do it.
pub fn recurrent_network(random: &mut Random) -> (Graph, AcceleratorConfig) {
    let mut graph = Graph::new("recurrent");
    let time = random.within(1, 5);
    let features = if random.chance(50) { random.within(1, 6) } else { random.within(1, 40) };
    let mut value = graph.add_input("x", &[features, 1, time]).expect("an input of any shape is fine");
    if random.chance(30) {
        value = graph.add("squashed", Op::Unary(Unary::Tanh), &[value]).expect("takes anything");
    }
    for _ in 0..random.within(1, 2) {
        let hidden = if random.chance(50) { random.within(1, 9) } else { random.within(1, 40) };
        let first = random.chance(70);
        let forward = layer(&mut graph, random, value, (hidden, !first));
        value = if random.chance(30) {
            let units = random.within(1, 12);
            let backward = layer(&mut graph, random, value, (units, first));
            graph.add("both", Op::Concat { axis: 0 }, &[forward, backward]).expect("lines of one length")
        } else {
            forward
        };
    }
    let value = match random.within(0, 3) {
        0 => value,
        1 => {
            let mean = graph.add("mean", Op::GlobalAveragePool, &[value]).expect("a line");
            graph.add("flat", Op::Flatten, &[mean]).expect("takes anything")
        }
        _ => graph.add("last", Op::TimeStep { step: random.within(0, time - 1) }, &[value]).expect("a step"),
    };
    let value = if graph.node(value).shape.len() == 1 && random.chance(70) {
        let from = graph.node(value).shape[0];
        let classes = random.within(1, 12);
        let weight = graph.add_param("weight", weights(random, &[classes, from]));
        graph.add("classes", Op::Gemm { weight, bias: None }, &[value]).expect("features")
    } else {
        value
    };
    graph.add_output(value);
    let rows = random.within(4, 16);
    let streamed = random.chance(20);
    let config = AcceleratorConfig {
        depthwise_taps: random.within(2, rows.min(4)),
        gates: true,
        states: true,
        activation_tables: true,
        argmax: random.chance(30),
        combine: random.within(1, 2),
        clusters: if random.chance(20) { 2 } else { 1 },
        weights: if streamed { WeightSource::Streamed } else { WeightSource::OnChip },
        ..AcceleratorConfig::new(rows, random.within(rows, 20), 1 << 13, 16)
    };
    (graph, config)
}

/// An LSTM or GRU with so many units, in reverse or not.
fn layer(graph: &mut Graph, random: &mut Random, from: NodeId, (hidden, reverse): (usize, bool)) -> NodeId {
    let features = graph.node(from).shape[0];
    let cell = match random.within(0, 3) {
        0 => Cell::Gru { linear_before_reset: false },
        1 => Cell::Gru { linear_before_reset: true },
        _ => Cell::Lstm,
    };
    let rows = cell.gates() * hidden;
    let weight = graph.add_param("w", weights(random, &[rows, features]));
    let recurrence = graph.add_param("r", weights(random, &[rows, hidden]));
    let mut bias = |name: &str, random: &mut Random| {
        let large = if random.chance(20) { 4.0 } else { 0.5 };
        graph.add_param(name, Tensor::f32([rows], (0..rows).map(|_| random.float() * large).collect::<Vec<f32>>()))
    };
    let bias = random.chance(80).then(|| [bias("wb", random), bias("rb", random)]);
    let op = Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias });
    graph.add("recurrent", op, &[from]).expect("parameters that fit")
}
