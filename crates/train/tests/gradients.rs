//! Gradients against finite differences, and what is derived from them.

mod common;

use common::{ConvOptions, Net, bars, pads, small_cnn};
use espalier_ir::{Graph, Op, Pads, Pool, Unary};
use espalier_train::{Backend, Execution, evaluate, gate_products, gradients};

const EXECUTION: Execution = Execution { backend: Backend::Native, threads: 2 };

/// No kinks: smooth operators only, so that finite differences mean something.
fn smooth_net() -> Graph {
    let (mut net, x) = Net::new(11, &[1, 8, 8]);
    let options = ConvOptions { pads: pads(1, 0, 0, 1), stride: [2, 1], ..Default::default() };
    let x = net.conv(x, 4, [3, 2], options);
    let x = net.batch_norm(x);
    let y = net.conv(x, 4, [3, 3], ConvOptions { groups: 2, pads: pads(1, 1, 1, 1), ..Default::default() });
    let x = net.add(Op::Add, &[x, y]);
    let x = net.add(Op::Concat { axis: 0 }, &[x, y]);
    let pool = Pool { kernel: [2, 2], stride: [2, 2], pads: Pads { top: 1, ..Default::default() } };
    let x = net.add(Op::AveragePool { pool, count_include_pad: false }, &[x]);
    let x = net.add(Op::Flatten, &[x]);
    let x = net.gemm(x, 4);
    net.finish(x)
}

/// Selections, gates, larger maps and smooth activations.
fn bent_net() -> Graph {
    let (mut net, x) = Net::new(12, &[1, 8, 8]);
    let x = net.conv(x, 4, [3, 3], ConvOptions { stride: [2, 2], ..Default::default() });
    let x = net.add(Op::Unary(Unary::Tanh), &[x]);
    let x = net.conv_transpose(x, 2);
    let x = net.gate(x, true);
    let c = net.shape(x)[0];
    let channels = (0..c + 3).map(|i| (i != 1).then_some((i * 2 + 1) % c)).collect();
    let x = net.add(Op::Select { channels }, &[x]);
    let x = net.add(Op::Unary(Unary::Softplus), &[x]);
    let x = net.gate(x, false);
    let x = net.conv(x, 3, [2, 2], ConvOptions { stride: [2, 2], ..Default::default() });
    let x = net.add(Op::Unary(Unary::Elu { alpha: 1.0 }), &[x]);
    let x = net.add(Op::Resize { factor: [2, 1] }, &[x]);
    let x = net.add(Op::Flatten, &[x]);
    let x = net.gemm(x, 4);
    net.finish(x)
}

#[test]
fn gradients_equal_finite_differences() {
    // Weights and biases of two Conv and a Gemm, gamma and beta; no running statistics.
    assert_eq!(compare_with_differences(&smooth_net()), 8);
    // Weights and biases of Conv, ConvTranspose, two gates, Conv and Gemm.
    assert_eq!(compare_with_differences(&bent_net()), 12);
}

/// Checks some elements of every gradient; returns the number of parameters.
fn compare_with_differences(graph: &Graph) -> usize {
    let data = bars(1, 5);
    let computed = gradients(graph, &data.samples(), EXECUTION).unwrap();
    let loss = |graph: &Graph| evaluate(graph, &data.samples(), None, EXECUTION).unwrap().loss;
    let mut checked = 0;
    for (id, gradient) in &computed {
        for i in (0..gradient.len()).step_by(1 + gradient.len() / 8) {
            let step = 0.01f32;
            let shifted = |by: f32| {
                let mut graph = graph.clone();
                let mut tensor = graph.param(*id).clone();
                tensor.as_f32_mut()[i] += by;
                graph.set_param(*id, tensor);
                loss(&graph)
            };
            let difference = (shifted(step) - shifted(-step)) / f64::from(2.0 * step);
            let exact = f64::from(gradient.as_f32()[i]);
            assert!((difference - exact).abs() < 2e-3 * exact.abs().max(0.5), "{id:?}[{i}]: {exact}, not {difference}");
            checked += 1;
        }
    }
    assert!(checked > 40);
    computed.len()
}

#[test]
fn slopes_have_gradients() {
    let (mut net, x) = Net::new(13, &[1, 8, 8]);
    let x = net.conv(x, 3, [3, 3], ConvOptions { stride: [2, 2], ..Default::default() });
    let slope = net.param(&[3], 0.5, 0.0);
    let x = net.add(Op::PRelu { slope }, &[x]);
    let shared = net.param(&[1], 0.5, 0.0);
    let x = net.add(Op::PRelu { slope: shared }, &[x]);
    let x = net.add(Op::Flatten, &[x]);
    let x = net.gemm(x, 4);
    let graph = net.finish(x);
    let data = bars(1, 5);
    let computed = gradients(&graph, &data.samples(), EXECUTION).unwrap();
    let loss = |graph: &Graph| evaluate(graph, &data.samples(), None, EXECUTION).unwrap().loss;
    for (param, index) in [(slope, 0), (slope, 1), (slope, 2), (shared, 0)] {
        // The loss is smooth in the slope, since the kink stays at 0 as long as slopes keep their sign.
        let shifted = |by: f32| {
            let mut graph = graph.clone();
            let mut tensor = graph.param(param).clone();
            tensor.as_f32_mut()[index] += by;
            graph.set_param(param, tensor);
            loss(&graph)
        };
        let difference = (shifted(0.01) - shifted(-0.01)) / 0.02;
        let exact = f64::from(computed[&param].as_f32()[index]);
        assert!((difference - exact).abs() < 2e-3 * exact.abs().max(0.5), "{param:?}[{index}]: {exact}, {difference}");
    }
}

#[test]
fn gate_products_are_weight_times_gradient_of_each_part() {
    let graph = small_cnn(3, 4, true);
    let data = bars(2, 130);
    let products = gate_products(&graph, &data.samples(), 2, EXECUTION).unwrap();
    assert_eq!(products.len(), 2);
    let whole = gradients(&graph, &data.samples(), EXECUTION).unwrap();
    for (id, gradient) in &whole {
        for i in 0..gradient.len() {
            // Both parts have 65 samples, so the mean of their gradients is that of the whole.
            let mean = (products[0][id].as_f32()[i] + products[1][id].as_f32()[i]) / 2.0;
            let expected = gradient.as_f32()[i] * graph.param(*id).as_f32()[i];
            assert!((mean - expected).abs() < 1e-5, "{mean} {expected}");
        }
    }
    assert_ne!(products[0], products[1]);
    assert!(gate_products(&graph, &data.samples(), 0, EXECUTION).is_err());
    assert!(gate_products(&graph, &data.samples(), 131, EXECUTION).is_err());
}

#[test]
fn gradients_do_not_depend_on_threads() {
    let graph = small_cnn(4, 4, true);
    let data = bars(3, 300);
    let run = |threads| gradients(&graph, &data.samples(), Execution { threads, ..EXECUTION }).unwrap();
    assert_eq!(run(1), run(3));
}
