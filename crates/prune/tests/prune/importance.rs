//! Importance, against values computed by hand and finite differences.

use espalier_ir::{Graph, Tensor, TensorMap, evaluate_output};
use espalier_prune::{
    Criterion, Evidence, Normalization, PruningPlan, Role, channel_means, compensate, dependency_groups, importance,
    vector_importance,
};
use espalier_target::AcceleratorConfig;

use crate::nets::{Dice, Net, random_graph, random_products, resnet};

/// 1x1 convolutions 1 -> 2 -> 1 with known weights.
fn tiny(columns: [f32; 2]) -> Graph {
    let (mut net, x) = Net::new(1, &[1, 1, 1]);
    let first = net.graph.add_param("first", Tensor::f32([2, 1, 1, 1], vec![3.0, -4.0]));
    let a = net.conv_with(x, first, false, 1, 1);
    let second = net.graph.add_param("second", Tensor::f32([1, 2, 1, 1], columns.to_vec()));
    let b = net.conv_with(a, second, false, 1, 1);
    net.finish(b)
}

#[test]
fn magnitudes_count_rows_and_columns() {
    let graph = tiny([-1.0, 3.0]);
    let groups = dependency_groups(&graph).unwrap();
    let scores = |c, n| importance(&graph, &groups, c, n, &Evidence::NONE).unwrap().scores[1].clone();
    assert_eq!(scores(Criterion::L1, Normalization::None), [4.0, 7.0]);
    assert_eq!(scores(Criterion::L2, Normalization::None), [10f64.sqrt(), 5.0]);
    assert_eq!(scores(Criterion::L1, Normalization::Sum), [4.0 / 11.0, 7.0 / 11.0]);
    assert_eq!(scores(Criterion::L1, Normalization::Mean), [8.0 / 11.0, 14.0 / 11.0]);
}

#[test]
fn taylor_sums_signed_products_before_it_squares() {
    let graph = tiny([1.0, 1.0]);
    let groups = dependency_groups(&graph).unwrap();
    let column = graph.params().find(|p| p.1 == "second").unwrap().0;
    let first = graph.params().find(|p| p.1 == "first").unwrap().0;
    let batch = |a: f32, b: f32| -> TensorMap {
        [(first, Tensor::f32([2, 1, 1, 1], vec![9.0, 9.0])), (column, Tensor::f32([1, 2, 1, 1], vec![a, b]))].into()
    };
    let products = [batch(1.0, -2.0), batch(-1.0, -2.0)];
    let scores = importance(
        &graph,
        &groups,
        Criterion::Taylor,
        Normalization::None,
        &Evidence::of_products(products.to_vec(), 1.0),
    )
    .unwrap();
    // Both batches count with their square: gates of opposite sign do not cancel.
    assert_eq!(scores.scores[1], [1.0, 4.0]);
    assert_eq!(
        importance(&graph, &groups, Criterion::Taylor, Normalization::None, &Evidence::NONE)
            .unwrap_err()
            .iter()
            .next()
            .unwrap()
            .code,
        "missing-gradients"
    );
}

/// Output of a network whose channel `c` is scaled by `gate` where it is read.
fn gated(graph: &Graph, positions: &[(espalier_ir::ParamId, Vec<usize>)], gate: f32, input: &[f32]) -> f32 {
    let mut graph = graph.clone();
    for (param, columns) in positions {
        let mut tensor = graph.param(*param).clone();
        let [rows, extent] = [tensor.shape()[0], tensor.shape()[1]];
        let inner: usize = tensor.shape()[2..].iter().product();
        for column in columns {
            for row in 0..rows {
                tensor.as_f32_mut()[(row * extent + column) * inner..][..inner].iter_mut().for_each(|w| *w *= gate);
            }
        }
        graph.set_param(*param, tensor);
    }
    evaluate_output(&graph, &[input])[0]
}

#[test]
fn the_gate_of_taylor_is_the_derivative_of_the_output() {
    for seed in 0..20 {
        let graph = random_graph(seed);
        let groups = dependency_groups(&graph).unwrap();
        let mut dice = Dice::new(seed);
        let input = dice.values(graph.node(graph.inputs()[0]).shape.iter().product());
        let Some((index, group)) = groups.prunable().last() else { continue };
        let columns: Vec<_> =
            group.members.iter().filter(|m| m.role == Role::Input).map(|m| (m.param, m.positions[0].clone())).collect();
        // The loss is the first output; weight gradients by central differences on those columns only.
        let mut products: TensorMap =
            graph.params().map(|(id, _, t)| (id, Tensor::f32(t.shape(), vec![0.0; t.len()]))).collect();
        let h = 1e-2;
        for (param, positions) in &columns {
            let shape = graph.param(*param).shape().to_vec();
            let inner: usize = shape[2..].iter().product();
            for place in positions.iter().flat_map(|c| {
                let shape = &shape;
                (0..shape[0]).flat_map(move |r| (0..inner).map(move |i| (r * shape[1] + c) * inner + i))
            }) {
                let w = graph.param(*param).as_f32()[place];
                let at = |delta: f32| {
                    let mut moved = graph.clone();
                    let mut tensor = moved.param(*param).clone();
                    tensor.as_f32_mut()[place] += delta;
                    moved.set_param(*param, tensor);
                    f64::from(evaluate_output(&moved, &[&input])[0])
                };
                let gradient = (at(h) - at(-h)) / f64::from(2.0 * h);
                products.get_mut(param).unwrap().as_f32_mut()[place] = w * gradient as f32;
            }
        }
        let scores = importance(
            &graph,
            &groups,
            Criterion::Taylor,
            Normalization::None,
            &Evidence::of_products(vec![products], 1.0),
        )
        .unwrap();
        let slope = (gated(&graph, &columns, 1.0 + h, &input) - gated(&graph, &columns, 1.0 - h, &input)) / (2.0 * h);
        let (a, b) = (scores.scores[index][0].sqrt(), f64::from(slope.abs()));
        // Kinks of ReLU and pooling inside the step make single points differ a little.
        assert!((a - b).abs() < 0.02 + 0.1 * b, "seed {seed}: {a} and {b}");
    }
}

#[test]
fn batch_normalization_is_folded_into_magnitudes() {
    let (mut net, x) = Net::new(1, &[1, 2, 2]);
    let weight = net.graph.add_param("w", Tensor::f32([4, 1, 1, 1], vec![1.0; 4]));
    let c = net.conv_with(x, weight, false, 1, 1);
    let [gamma, beta, mean, variance] =
        [vec![-2.0, 1.0, 0.5, 0.0], vec![0.0; 4], vec![0.0; 4], vec![1.0, 4.0, 1.0, 1.0]]
            .map(|v| net.graph.add_param("bn", Tensor::f32([4], v)));
    let n = net.op("bn", espalier_ir::Op::BatchNorm { gamma, beta, mean, variance, epsilon: 0.0 }, &[c]);
    let last = net.graph.add_param("last", Tensor::f32([1, 4, 1, 1], vec![0.0; 4]));
    let end = net.conv_with(n, last, false, 1, 1);
    let graph = net.finish(end);
    let groups = dependency_groups(&graph).unwrap();
    let scores = importance(&graph, &groups, Criterion::L1, Normalization::None, &Evidence::NONE).unwrap();
    assert_eq!(scores.scores[1], [2.0, 0.5, 0.5, 0.0]);
}

#[test]
fn random_scores_depend_on_the_seed_alone() {
    let graph = resnet(1, 1, 8, 8);
    let groups = dependency_groups(&graph).unwrap();
    let scores =
        |seed| importance(&graph, &groups, Criterion::Random { seed }, Normalization::None, &Evidence::NONE).unwrap();
    assert_eq!(scores(4), scores(4));
    assert_ne!(scores(4).scores, scores(5).scores);
    assert!(scores(4).scores.iter().flatten().all(|s| (0.0..1.0).contains(s)));
}

#[test]
fn vector_scores_add_up_to_the_layer() {
    let graph = resnet(2, 1, 8, 8);
    let config = AcceleratorConfig::new(8, 8, 4096, 64);
    let mut dice = Dice::new(2);
    let products = random_products(&graph, 2, &mut dice);
    let none = Normalization::None;
    let l1 = vector_importance(&graph, &config, Criterion::L1, none, &Evidence::NONE).unwrap();
    let taylor =
        vector_importance(&graph, &config, Criterion::Taylor, none, &Evidence::of_products(products.clone(), 1.0))
            .unwrap();
    // Last layer: 10 x 32 weights in blocks of 8 and 2 outputs, one vector an input channel and block.
    let fc = l1.scores.last().unwrap().as_ref().unwrap();
    assert_eq!(fc.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32]);
    let weight = graph.params().find(|p| p.1 == "fc").unwrap();
    let total: f64 = weight.2.as_f32().iter().map(|w| f64::from(w.abs())).sum();
    assert!((fc.iter().flatten().sum::<f64>() - total).abs() < 1e-4);
    // Vector 3 of block 1: outputs 8 and 9 of input 3.
    let gate = |b: &TensorMap| {
        let p = b[&weight.0].as_f32();
        f64::from(p[8 * 32 + 3]) + f64::from(p[9 * 32 + 3])
    };
    let expected = products.iter().map(|b| gate(b) * gate(b)).sum::<f64>() / 2.0;
    assert!((taylor.scores.last().unwrap().as_ref().unwrap()[1][3] - expected).abs() < 1e-9);
    // Additions, pooling and the like are never touched.
    assert!(l1.scores.iter().any(Option::is_none));
}

#[test]
fn compensation_is_exact_for_constant_channels_without_padding() {
    for with_norm in [false, true] {
        let (mut net, x) = Net::new(7, &[2, 4, 4]);
        // Channel 1 has no weights: it is constant.
        let mut values = net.dice.values(6);
        values[2..4].fill(0.0);
        let first = net.graph.add_param("first", Tensor::f32([3, 2, 1, 1], values));
        let mut a = net.conv_with(x, first, true, 1, 1);
        a = net.op("clip", espalier_ir::Op::Clip { min: 0.2, max: 3.0 }, &[a]);
        let second = net.param("second", &[4, 3, 1, 1], 1.0);
        let mut b = net.conv_with(a, second, false, 1, 1);
        if with_norm {
            b = net.norm(b);
        }
        let flat = net.op("flat", espalier_ir::Op::Flatten, &[b]);
        let end = net.gemm(flat, 2);
        let graph = net.finish(end);
        let mut dice = Dice::new(1);
        let input = dice.values(32);
        let groups = dependency_groups(&graph).unwrap();
        let mut plan = PruningPlan::keep_all(&groups, 0);
        plan.groups[1].kept = vec![0, 2];
        let means = channel_means(&graph, &[vec![&dice.values(32)], vec![&dice.values(32)]]);
        let folded = compensate(&graph, &plan, &means).unwrap();
        let small = espalier_prune::apply(&folded, &plan).unwrap();
        let (before, after) = (evaluate_output(&graph, &[&input]), evaluate_output(&small, &[&input]));
        let plain = evaluate_output(&espalier_prune::apply(&graph, &plan).unwrap(), &[&input]);
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-4), "{before:?} {after:?}");
        assert!(before.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-2), "the removal must matter");
    }
}
