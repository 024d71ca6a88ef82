//! LSTM and GRU against the equations of ONNX written out for one unit, and what is around them.

use espalier_ir::{
    ArrayOp, Cell, Graph, NodeId, Op, Random, Recurrent, Tensor, array_layers, evaluate_output, unrolled,
};

/// One unit reading one feature over 3 steps; row `g` of W is `w[g]`, and so on.
fn unit(cell: Cell, reverse: bool, w: &[f32], r: &[f32], wb: &[f32], rb: &[f32]) -> Graph {
    let mut graph = Graph::new("unit");
    let x = graph.add_input("x", &[1, 3]).unwrap();
    let mut param =
        |name: &str, shape: &[usize], values: &[f32]| graph.add_param(name, Tensor::f32(shape, values.to_vec()));
    let gates = cell.gates();
    let (weight, recurrence) = (param("w", &[gates, 1], w), param("r", &[gates, 1], r));
    let bias = Some([param("wb", &[gates], wb), param("rb", &[gates], rb)]);
    let y = graph.add("y", Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias }), &[x]).unwrap();
    graph.add_output(y);
    graph.verify().unwrap();
    assert_eq!(graph.node(y).shape, [1, 1, 3]);
    assert_eq!(graph.macs(), 3 * 2 * gates as u64);
    graph
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const X: [f32; 3] = [0.5, -1.5, 2.0];
const W: [f32; 4] = [0.3, -0.7, 0.9, 1.1];
const R: [f32; 4] = [-0.4, 0.8, 0.6, -1.2];
const WB: [f32; 4] = [0.1, 0.2, -0.3, 0.05];
const RB: [f32; 4] = [-0.15, 0.25, 0.35, -0.45];

fn close(ours: &[f32], expected: &[f64]) {
    assert_eq!(ours.len(), expected.len());
    for (a, b) in ours.iter().zip(expected) {
        assert!((f64::from(*a) - b).abs() < 1e-6, "{ours:?} {expected:?}");
    }
}

/// Steps in the order of time, with the equations `step(x, h)`.
fn step_by_step(reverse: bool, mut step: impl FnMut(f64, f64) -> f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..3).collect();
    if reverse {
        order.reverse();
    }
    let (mut y, mut h) = (vec![0.0; 3], 0.0);
    for t in order {
        h = step(f64::from(X[t]), h);
        y[t] = h;
    }
    y
}

#[test]
fn lstm_gates_are_input_output_forget_cell() {
    let sum =
        |g: usize, x: f64, h: f64| f64::from(W[g]) * x + f64::from(R[g]) * h + f64::from(WB[g]) + f64::from(RB[g]);
    for reverse in [false, true] {
        let mut c = 0.0;
        let expected = step_by_step(reverse, |x, h| {
            let [i, o, f] = [0, 1, 2].map(|g| sigmoid(sum(g, x, h)));
            c = f * c + i * sum(3, x, h).tanh();
            o * c.tanh()
        });
        close(&evaluate_output(&unit(Cell::Lstm, reverse, &W, &R, &WB, &RB), &[&X]), &expected);
    }
}

#[test]
fn gru_gates_are_update_reset_hidden_and_reset_comes_before_or_after() {
    let [w, r, wb, rb] = [&W, &R, &WB, &RB].map(|v| v[..3].to_vec());
    let of = |v: &[f32], g: usize| f64::from(v[g]);
    for (reverse, linear_before_reset) in [(false, false), (false, true), (true, false), (true, true)] {
        let expected = step_by_step(reverse, |x, h| {
            let [z, reset] = [0, 1].map(|g| sigmoid(of(&w, g) * x + of(&r, g) * h + of(&wb, g) + of(&rb, g)));
            let from_h = if linear_before_reset {
                reset * (of(&r, 2) * h + of(&rb, 2))
            } else {
                of(&r, 2) * (reset * h) + of(&rb, 2)
            };
            let new = (of(&w, 2) * x + of(&wb, 2) + from_h).tanh();
            (1.0 - z) * new + z * h
        });
        let graph = unit(Cell::Gru { linear_before_reset }, reverse, &w, &r, &wb, &rb);
        close(&evaluate_output(&graph, &[&X]), &expected);
    }
}

/// An LSTM of 2 units over 4 steps of 3 features, samples given step by step as `[time, features]`.
fn sequence(graph: &mut Graph) -> NodeId {
    let x = graph.add_input("x", &[4, 3]).unwrap();
    let x = graph.add("features_first", Op::Transpose { axes: vec![1, 0] }, &[x]).unwrap();
    let values = |n: usize| (0..n).map(|i| (i * 7 % 5) as f32 * 0.2 - 0.4).collect::<Vec<f32>>();
    let weight = graph.add_param("w", Tensor::f32([8, 3], values(24)));
    let recurrence = graph.add_param("r", Tensor::f32([8, 2], values(16)));
    let lstm = Recurrent { cell: Cell::Lstm, reverse: false, weight, recurrence, bias: None };
    graph.add("lstm", Op::Recurrent(lstm), &[x]).unwrap()
}

#[test]
fn a_step_and_the_mean_over_time_read_features() {
    let input: Vec<f32> = (0..12).map(|i| i as f32 / 6.0 - 1.0).collect();
    let end = |op: Op| {
        let mut graph = Graph::new("end");
        let y = sequence(&mut graph);
        let end = graph.add("end", op, &[y]).unwrap();
        graph.add_output(y);
        graph.add_output(end);
        graph.verify().unwrap();
        let mut values = espalier_ir::evaluate(&graph, &[&input]);
        (values.remove(&y).unwrap(), values.remove(&end).unwrap(), graph.node(end).shape.clone())
    };
    let (y, step, shape) = end(Op::TimeStep { step: 3 });
    assert_eq!((step, shape), (vec![y[3], y[7]], vec![2]));
    let (y, mean, shape) = end(Op::GlobalAveragePool);
    assert_eq!(shape, [2, 1, 1]);
    close(&mean, &[0, 4].map(|f| y[f..f + 4].iter().map(|v| f64::from(*v)).sum::<f64>() / 4.0));
    // Features first: the transposed samples give the same values.
    let mut graph = Graph::new("direct");
    let y = sequence(&mut graph);
    graph.add_output(y);
    let Op::Recurrent(lstm) = graph.node(y).op.clone() else { panic!() };
    let mut direct = Graph::new("direct");
    let x = direct.add_input("x", &[3, 1, 4]).unwrap();
    let [weight, recurrence] = [lstm.weight, lstm.recurrence].map(|p| direct.add_param("p", graph.param(p).clone()));
    let z = direct.add("z", Op::Recurrent(Recurrent { weight, recurrence, ..lstm }), &[x]).unwrap();
    direct.add_output(z);
    let transposed: Vec<f32> = (0..12).map(|i| input[i % 4 * 3 + i / 4]).collect();
    assert_eq!(evaluate_output(&graph, &[&input]), evaluate_output(&direct, &[&transposed]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |shape: &[usize], w: [usize; 2], r: [usize; 2], bias: usize| {
        let mut graph = Graph::new("t");
        let x = graph.add_input("x", shape).unwrap();
        let mut param = |shape: &[usize]| graph.add_param("p", Tensor::f32(shape, vec![0.0; shape.iter().product()]));
        let (weight, recurrence) = (param(&w), param(&r));
        let bias = Some([param(&[bias]), param(&[bias])]);
        let op = Recurrent { cell: Cell::Lstm, reverse: false, weight, recurrence, bias };
        graph.add("lstm", Op::Recurrent(op), &[x]).map_err(|e| e.to_string())
    };
    assert!(refused(&[3, 4], [8, 3], [8, 2], 8).is_ok());
    for (shape, w, r, bias) in [
        (&[3][..], [8, 3], [8, 2], 8),
        (&[2, 4], [8, 3], [8, 2], 8),
        (&[3, 4], [6, 3], [6, 2], 6),
        (&[3, 4], [8, 3], [4, 2], 8),
        (&[3, 4], [8, 3], [8, 2], 16),
    ] {
        assert!(refused(shape, w, r, bias).unwrap_err().contains("LSTM"));
    }
    let mut graph = Graph::new("t");
    let y = sequence(&mut graph);
    assert!(graph.add("late", Op::TimeStep { step: 4 }, &[y]).is_err());
    assert!(graph.add("axes", Op::Transpose { axes: vec![0, 0, 1] }, &[y]).is_err());
}

#[test]
fn only_unrolled_recurrence_is_a_list_of_layers() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[2, 1, 4]).unwrap();
    let layer = lstm(&mut graph, 2, 3);
    let y = graph.add("y", Op::Recurrent(layer), &[x]).unwrap();
    let last = graph.add("last", Op::TimeStep { step: 3 }, &[y]).unwrap();
    let weight = graph.add_param("fc", Tensor::f32([1, 3], vec![1.0; 3]));
    let end = graph.add("fc", Op::Gemm { weight, bias: None }, &[last]).unwrap();
    graph.add_output(end);
    let findings = array_layers(&graph).unwrap_err();
    let found: Vec<(&str, &str)> = findings.iter().map(|f| (f.code, f.at.as_str())).collect();
    assert_eq!(found, [("unsupported-on-accelerator", "node 'y'")]);
    let layers = array_layers(&unrolled(&graph).unwrap()).unwrap();
    let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names[..6], ["y_t0_i_sum", "y_t0_o_sum", "y_t0_g_sum", "y_t0_c", "y_t0_tanh", "y_t0_h"]);
    assert_eq!(layers.len(), 6 + 3 * 7 + 1);
    // The cell state of 16 bits is read as digits, the input as steps.
    let state = layers.iter().find(|l| l.name == "y_t2_c").unwrap();
    assert_eq!(state.op, ArrayOp::Products);
    assert_eq!(state.steps, [Some(0), None, None, None, Some(1), None]);
    assert_eq!((state.out_shape, state.peer), ([3, 1, 2], Some(3)));
    let gate = layers.iter().find(|l| l.name == "y_t2_i_sum").unwrap();
    assert_eq!((&gate.steps[..], gate.in_shapes.as_slice()), (&[None, Some(2)][..], &[[3, 1, 1], [2, 1, 1]][..]));
}

fn lstm(graph: &mut Graph, features: usize, hidden: usize) -> Recurrent {
    recurrent(graph, Cell::Lstm, false, (features, hidden), 1)
}

/// Parameters from a seed.
fn recurrent(graph: &mut Graph, cell: Cell, reverse: bool, (features, hidden): (usize, usize), seed: u64) -> Recurrent {
    let mut random = Random::new(seed);
    let rows = cell.gates() * hidden;
    let mut param = |shape: Vec<usize>| {
        let values = (0..shape.iter().product()).map(|_| random.unit() * 2.0 - 1.0).collect();
        graph.add_param("p", Tensor::f32(shape, values))
    };
    let (weight, recurrence) = (param(vec![rows, features]), param(vec![rows, hidden]));
    let bias = Some([param(vec![rows]), param(vec![rows])]);
    Recurrent { cell, reverse, weight, recurrence, bias }
}

/// Unrolled networks compute what recurrent ones do: every cell, both directions, layers on layers, all readers.
#[test]
fn unrolling_changes_nothing() {
    let cells = [Cell::Lstm, Cell::Gru { linear_before_reset: true }, Cell::Gru { linear_before_reset: false }];
    let mut random = Random::new(5);
    for (index, cell) in cells.into_iter().enumerate() {
        for readers in 0..4 {
            let mut graph = Graph::new("t");
            let x = graph.add_input("x", &[3, 1, 5]).unwrap();
            let seed = (10 * index + readers) as u64;
            let layer = |graph: &mut Graph, from, reverse, sizes, seed| {
                let op = Op::Recurrent(recurrent(graph, cell, reverse, sizes, seed));
                graph.add("cell", op, &[from]).unwrap()
            };
            let forward = layer(&mut graph, x, false, (3, 4), seed);
            let backward = layer(&mut graph, x, true, (3, 2), seed + 100);
            let both = graph.add("both", Op::Concat { axis: 0 }, &[forward, backward]).unwrap();
            let second = layer(&mut graph, both, readers == 1, (6, 3), seed + 200);
            let end = match readers {
                0 => graph.add("last", Op::TimeStep { step: 4 }, &[both]).unwrap(),
                1 => graph.add("mean", Op::GlobalAveragePool, &[second]).unwrap(),
                2 => second,
                _ => graph.add("relu", Op::Relu, &[both]).unwrap(),
            };
            graph.add_output(end);
            let flat = unrolled(&graph).unwrap();
            flat.verify().unwrap();
            assert!(!flat.nodes().into_iter().any(|n| matches!(flat.node(n).op, Op::Recurrent(_))));
            array_layers(&flat).unwrap_or_else(|e| panic!("{cell:?}, {readers}: {e}"));
            let sample: Vec<f32> = (0..15).map(|_| random.unit() * 4.0 - 2.0).collect();
            let (ours, expected) = (evaluate_output(&flat, &[&sample]), evaluate_output(&graph, &[&sample]));
            assert_eq!(ours.len(), expected.len());
            for (a, b) in ours.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{cell:?}, {readers}: {ours:?} {expected:?}");
            }
        }
    }
}

/// A file may ask for any number of steps; nobody builds them all.
#[test]
fn absurd_sequences_are_refused() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 1, 1 << 20]).unwrap();
    let layer = lstm(&mut graph, 1, 1);
    let y = graph.add("y", Op::Recurrent(layer), &[x]).unwrap();
    graph.add_output(y);
    let refused = unrolled(&graph).unwrap_err();
    assert_eq!(refused.code, "sequence-too-long");
    assert!(refused.message.contains("1048576 steps"), "{refused}");
}
