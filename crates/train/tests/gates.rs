//! Derivatives by gates and values inside the network, against finite differences and the float evaluation.

mod common;

use std::collections::BTreeMap;

use common::{ConvOptions, Net, bars, pads, small_cnn};
use espalier_ir::{Graph, NodeId, Op, ParamId, Pool, evaluate as evaluate_floats};
use espalier_train::{
    Backend, Execution, Samples, evaluate, gate_gradients, gate_products, gradients, visit_activations,
};

const EXECUTION: Execution = Execution { backend: Backend::Flex, threads: 2 };

/// A stream that three nodes read, one of them by way of an addition; smooth, so that differences mean something.
fn net() -> Graph {
    let (mut net, x) = Net::new(21, &[1, 8, 8]);
    let same = ConvOptions { pads: pads(1, 1, 1, 1), ..Default::default() };
    let x = net.conv(x, 4, [3, 3], same);
    let x = net.batch_norm(x);
    let y = net.conv(x, 4, [3, 3], ConvOptions { groups: 2, ..same });
    let z = net.conv(x, 3, [1, 1], ConvOptions::default());
    let x = net.add(Op::Add, &[x, y]);
    let x = net.add(Op::Concat { axis: 0 }, &[x, z]);
    let pool = Pool { kernel: [2, 2], stride: [2, 2], pads: Default::default() };
    let x = net.add(Op::AveragePool { pool, count_include_pad: false }, &[x]);
    let x = net.add(Op::Flatten, &[x]);
    let x = net.gemm(x, 4);
    net.finish(x)
}

/// Convolutions and Gemm with weight, input channels a group, groups, rows and taps.
fn readers(graph: &Graph) -> Vec<(NodeId, ParamId, usize)> {
    let reader = |id| match &graph.node(id).op {
        Op::Conv(conv) => Some((id, conv.weight, conv.groups)),
        Op::Gemm { weight, .. } => Some((id, *weight, 1)),
        _ => None,
    };
    graph.nodes().into_iter().filter_map(reader).collect()
}

/// Positions in the weight that multiply input `channel`.
fn column(graph: &Graph, weight: ParamId, groups: usize, channel: usize) -> Vec<usize> {
    let shape = graph.param(weight).shape();
    let (rows, columns, taps) = (shape[0], shape[1], shape[2..].iter().product::<usize>());
    let (group, local) = (channel / columns, channel % columns);
    let rows = group * rows / groups..(group + 1) * rows / groups;
    rows.flat_map(|r| (0..taps).map(move |t| (r * columns + local) * taps + t)).collect()
}

fn single(data: &common::Data, i: usize) -> Samples<'_> {
    Samples { inputs: &data.inputs[i * 64..(i + 1) * 64], labels: &data.labels[i..=i], sample_len: 64 }
}

#[test]
fn gates_equal_finite_differences_of_the_loss_of_each_sample() {
    let graph = net();
    let data = bars(1, 3);
    let nodes: Vec<NodeId> = readers(&graph).iter().map(|r| r.0).collect();
    let gates = gate_gradients(&graph, &nodes, &data.samples(), EXECUTION).unwrap();
    let mut checked = 0;
    for (node, weight, groups) in readers(&graph) {
        let gate = &gates[&node];
        let channels = graph.node(graph.operands(node)[0]).shape[0];
        assert_eq!(gate.shape(), [3, channels]);
        for channel in (0..channels).step_by(1 + channels / 6) {
            let places = column(&graph, weight, groups, channel);
            let loss = |z: f32, sample: usize| {
                let mut graph = graph.clone();
                let mut tensor = graph.param(weight).clone();
                places.iter().for_each(|p| tensor.as_f32_mut()[*p] *= z);
                graph.set_param(weight, tensor);
                evaluate(&graph, &single(&data, sample), None, EXECUTION).unwrap().loss
            };
            for sample in 0..3 {
                let h = 0.01f32;
                let slope = (loss(1.0 + h, sample) - loss(1.0 - h, sample)) / f64::from(2.0 * h);
                let exact = f64::from(gate.as_f32()[sample * channels + channel]);
                assert!((slope - exact).abs() < 2e-3 * exact.abs().max(0.3), "{channel}: {exact}, not {slope}");
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

/// Squared gradients belong to single samples: neither the last one alone nor the square of the mean.
#[test]
fn squares_of_gates_are_those_of_every_sample_by_hand() {
    let graph = small_cnn(7, 4, true);
    let data = bars(2, 70);
    let (node, weight, _) = readers(&graph)[1];
    let gates = gate_gradients(&graph, &[node], &data.samples(), EXECUTION).unwrap();
    let channels = graph.param(weight).shape()[1];
    let mut by_hand = vec![(0.0, 0.0); channels];
    for sample in 0..70 {
        let gradient = &gradients(&graph, &single(&data, sample), EXECUTION).unwrap()[&weight];
        for (channel, (mean, square)) in by_hand.iter_mut().enumerate() {
            let places = column(&graph, weight, 1, channel);
            let product = |p: usize| f64::from(graph.param(weight).as_f32()[p]) * f64::from(gradient.as_f32()[p]);
            let gate: f64 = places.into_iter().map(product).sum();
            *mean += gate / 70.0;
            *square += gate * gate / 70.0;
        }
    }
    let products = gate_products(&graph, &data.samples(), 1, EXECUTION).unwrap();
    let mut far_from_mean = 0;
    for (channel, (mean, square)) in by_hand.into_iter().enumerate() {
        let of_channel = (0..70).map(|s| f64::from(gates[&node].as_f32()[s * channels + channel]));
        let fisher = of_channel.map(|g| g * g).sum::<f64>() / 70.0;
        assert!((fisher - square).abs() < 1e-4 * square.max(1e-3), "{channel}: {fisher} and {square}");
        let of_mean: f64 =
            column(&graph, weight, 1, channel).iter().map(|p| f64::from(products[0][&weight].as_f32()[*p])).sum();
        assert!((of_mean - mean).abs() < 1e-5);
        far_from_mean += usize::from(square > 2.0 * mean * mean && square > 1e-8);
    }
    assert!(far_from_mean > channels / 4, "per-sample squares should differ from the square of the mean");
}

#[test]
fn values_are_those_of_the_float_evaluation_in_the_order_of_the_samples() {
    let graph = net();
    let data = bars(3, 150);
    let nodes: Vec<NodeId> = readers(&graph).iter().map(|r| graph.operands(r.0)[0]).collect();
    let run = |threads| {
        let mut seen: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
        let mut next = 0;
        let execution = Execution { threads, ..EXECUTION };
        visit_activations(&graph, &nodes, &data.samples(), execution, Clone::clone, &mut |chunk| {
            assert_eq!(chunk.first, next);
            next += chunk.values[&nodes[0]].len() / 64;
            for (node, values) in chunk.values {
                seen.entry(node).or_default().extend(values);
            }
        })
        .unwrap();
        assert_eq!(next, 150);
        seen
    };
    let seen = run(2);
    assert_eq!(seen, run(1));
    assert_eq!(seen.len(), nodes.iter().collect::<std::collections::BTreeSet<_>>().len());
    for sample in [0, 63, 64, 149] {
        let expected = evaluate_floats(&graph, &[single(&data, sample).inputs]);
        for (node, values) in &seen {
            let len = expected[node].len();
            for (a, b) in values[sample * len..(sample + 1) * len].iter().zip(&expected[node]) {
                assert!((a - b).abs() < 1e-4, "{a} and {b}");
            }
        }
    }
}

#[test]
fn nodes_that_are_not_computed_are_named() {
    let mut graph = net();
    let input = graph.inputs()[0];
    let aside = graph.add("aside", Op::Relu, &[input]).unwrap();
    graph.add_output(aside);
    let data = bars(4, 2);
    let refused = visit_activations(&graph, &[aside], &data.samples(), EXECUTION, |_| (), &mut |()| ()).unwrap_err();
    assert!(refused.to_string().contains("'aside'"), "{refused}");
    let refused = gate_gradients(&graph, &[aside, input], &data.samples(), EXECUTION).unwrap_err().to_string();
    assert!(refused.contains("'aside'") && refused.contains("'input'"), "{refused}");
}
