//! Batch normalization folding on graphs small enough to check by hand.

use espalier_ir::{Conv, Graph, NodeId, Op, Pads, Tensor, evaluate_output};
use espalier_quant::fold_batch_norm;

fn conv(graph: &mut Graph, from: NodeId, bias: Option<f32>) -> NodeId {
    let weight = graph.add_param("w", Tensor::f32([2, 1, 1, 1], vec![3.0, -5.0]));
    let bias = bias.map(|b| graph.add_param("b", Tensor::f32([2], vec![b, -b])));
    let pads = Pads::default();
    let op = Conv { weight, bias, stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
    graph.add("conv", Op::Conv(op), &[from]).unwrap()
}

/// `y = gamma / 2 * (x - 0.5) + 1` with gamma 2 and 4.
fn batch_norm(graph: &mut Graph, from: NodeId) -> NodeId {
    let mut param = |name: &str, a, b| graph.add_param(name, Tensor::f32([2], vec![a, b]));
    let (gamma, beta) = (param("gamma", 2.0, 4.0), param("beta", 1.0, 1.0));
    let (mean, variance) = (param("mean", 0.5, 0.5), param("variance", 3.0, 3.0));
    graph.add("bn", Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1.0 }, &[from]).unwrap()
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes().iter().map(|n| graph.node(*n).op.name()).collect()
}

#[test]
fn with_and_without_bias() {
    for (bias, expected) in [(None, [3.0 * 7.0 + 0.5, -10.0 * 7.0]), (Some(0.25), [21.75, -70.5])] {
        let mut graph = Graph::new("t");
        let x = graph.add_input("x", &[1, 1, 1]).unwrap();
        let y = conv(&mut graph, x, bias);
        let y = batch_norm(&mut graph, y);
        graph.add_output(y);
        let folded = fold_batch_norm(&graph);
        folded.verify().unwrap();
        assert_eq!(names(&folded), ["Input", "Conv"]);
        assert_eq!(folded.params().count(), 2);
        assert_eq!(evaluate_output(&folded, &[&[7.0]]), expected);
        assert_eq!(evaluate_output(&graph, &[&[7.0]]), expected);
    }
}

#[test]
fn fully_connected_and_several_in_a_row() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1]).unwrap();
    let weight = graph.add_param("w", Tensor::f32([2, 1], vec![3.0, -5.0]));
    let y = graph.add("fc", Op::Gemm { weight, bias: None }, &[x]).unwrap();
    let y = batch_norm(&mut graph, y);
    let y = batch_norm(&mut graph, y);
    graph.add_output(y);
    let folded = fold_batch_norm(&graph);
    assert_eq!(names(&folded), ["Input", "Gemm"]);
    assert_eq!(evaluate_output(&folded, &[&[7.0]]), evaluate_output(&graph, &[&[7.0]]));
}

#[test]
fn shared_values_and_weights_are_respected() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 1, 1]).unwrap();
    let first = conv(&mut graph, x, Some(0.5));
    let normalized = batch_norm(&mut graph, first);
    // The same parameters in a second layer, which nothing normalizes.
    let op = graph.node(first).op.clone();
    let second = graph.add("again", op, &[x]).unwrap();
    let sum = graph.add("sum", Op::Add, &[normalized, second]).unwrap();
    // A layer whose plain value is read as well keeps its normalization.
    let third = conv(&mut graph, x, None);
    let kept = batch_norm(&mut graph, third);
    let sum = graph.add("sum", Op::Add, &[sum, kept]).unwrap();
    let sum = graph.add("sum", Op::Add, &[sum, third]).unwrap();
    graph.add_output(sum);
    let folded = fold_batch_norm(&graph);
    folded.verify().unwrap();
    assert_eq!(names(&folded).iter().filter(|n| **n == "BatchNormalization").count(), 1);
    assert_eq!(evaluate_output(&folded, &[&[7.0]]), evaluate_output(&graph, &[&[7.0]]));
}

#[test]
fn an_output_of_the_graph_keeps_its_value() {
    let mut graph = Graph::new("t");
    let x = graph.add_input("x", &[1, 1, 1]).unwrap();
    let y = conv(&mut graph, x, None);
    let z = batch_norm(&mut graph, y);
    graph.add_output(y);
    graph.add_output(z);
    assert_eq!(names(&fold_batch_norm(&graph)), ["Input", "Conv", "BatchNormalization"]);
}
