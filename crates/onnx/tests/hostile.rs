//! Damaged files end in findings, never in a panic.

use std::fs;
use std::path::Path;

use espalier_ir::{Cell, ConvTranspose, Graph, NodeId, Op, Pads, Pool, Recurrent, Tensor, Unary};
use espalier_onnx::{export, import};

fn model() -> Option<Vec<u8>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("ESPALIER_SHARED").map_or(beside, Into::into).join("models");
    let path = folder.join("own_mnist_lenet5_relu.onnx");
    match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            println!("skipped: {} is not there", path.display());
            None
        }
    }
}

#[test]
fn cut_files_are_refused() {
    let Some(bytes) = model() else { return };
    for i in 0..200 {
        let cut = bytes.len() * i / 200;
        assert!(import(&bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
    }
}

#[test]
fn flipped_bytes_do_no_harm() {
    let Some(bytes) = model() else { return };
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    // Weights take nearly all of the file; the structure lies between them.
    let structure: Vec<usize> = {
        let tail = bytes.len() - 600;
        (0..200).chain(tail..bytes.len()).collect()
    };
    let mut refused = 0;
    for round in 0..2_000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random(3) {
            let at = if round % 2 == 0 { random(damaged.len()) } else { structure[random(structure.len())] };
            damaged[at] ^= 1 << random(8);
        }
        refused += usize::from(import(&damaged).is_err());
    }
    assert!(refused > 300, "{refused} of 2000 damaged files were refused");
}

/// A file of little but structure: selections in all three forms, gates, slopes and larger maps.
fn small_model() -> Vec<u8> {
    let mut graph = Graph::new("small");
    let x = graph.add_input("x", &[3, 4, 4]).unwrap();
    let slope = graph.add_param("slope", Tensor::f32([3], vec![0.5; 3]));
    let weight = graph.add_param("w", Tensor::f32([5, 2, 2, 2], vec![0.5; 40]));
    let deconv = ConvTranspose {
        weight,
        bias: None,
        stride: [2, 2],
        pads: Pads { top: 1, ..Pads::default() },
        output_pads: [0, 1],
        dilation: [1, 1],
        groups: 1,
    };
    let pool = Pool { kernel: [1, 1], stride: [2, 2], pads: Pads::default() };
    let ops = [
        Op::PRelu { slope },
        Op::Select { channels: vec![None, Some(1), Some(2), None] },
        Op::Select { channels: vec![Some(2), None, Some(0), Some(2), Some(1)] },
        Op::MaxPool(pool),
        Op::ConvTranspose(deconv),
        Op::Unary(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        Op::Resize { factor: [1, 2] },
    ];
    let mut value = x;
    for op in ops {
        value = graph.add("n", op, &[value]).unwrap();
    }
    let one = graph.add("one", Op::Select { channels: vec![Some(1)] }, &[value]).unwrap();
    let product = graph.add("product", Op::Mul, &[one, value]).unwrap();
    graph.add_output(product);
    export(&graph)
}

/// Two directions and a layer on top; its last step and its mean go to a classifier.
fn recurrent() -> Vec<u8> {
    fn layer(graph: &mut Graph, x: NodeId, cell: Cell, reverse: bool) -> NodeId {
        let (features, rows) = (graph.node(x).shape[0], cell.gates() * 2);
        let mut param = |shape: &[usize]| graph.add_param("p", Tensor::f32(shape, vec![0.5; shape.iter().product()]));
        let (weight, recurrence) = (param(&[rows, features]), param(&[rows, 2]));
        let bias = Some([param(&[rows]), param(&[rows])]);
        graph.add("r", Op::Recurrent(Recurrent { cell, reverse, weight, recurrence, bias }), &[x]).unwrap()
    }
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", &[4, 3]).unwrap();
    let x = graph.add("t", Op::Transpose { axes: vec![1, 0] }, &[x]).unwrap();
    let directions = [false, true].map(|reverse| layer(&mut graph, x, Cell::Lstm, reverse));
    let both = graph.add("b", Op::Concat { axis: 0 }, &directions).unwrap();
    let top = layer(&mut graph, both, Cell::Gru { linear_before_reset: true }, true);
    let last = graph.add("s", Op::TimeStep { step: 3 }, &[top]).unwrap();
    let mean = graph.add("m", Op::GlobalAveragePool, &[top]).unwrap();
    let mean = graph.add("f", Op::Flatten, &[mean]).unwrap();
    let end = graph.add("e", Op::Concat { axis: 0 }, &[last, mean]).unwrap();
    graph.add_output(end);
    export(&graph)
}

#[test]
fn flipped_bytes_of_small_files_do_no_harm() {
    for (name, bytes) in [("maps", small_model()), ("sequences", recurrent())] {
        assert!(import(&bytes).is_ok(), "{name}");
        flip(name, &bytes);
    }
}

fn flip(name: &str, bytes: &[u8]) {
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.to_vec();
        for _ in 0..1 + random(3) {
            let at = random(damaged.len());
            damaged[at] = if random(2) == 0 { damaged[at] ^ (1 << random(8)) } else { random(256) as u8 };
        }
        refused += usize::from(import(&damaged).is_err());
    }
    assert!(refused > 6_000, "{name}: {refused} of 20000 damaged files were refused");
}
