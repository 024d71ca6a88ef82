//! tract, an independent runtime, gives the values of recurrent graphs from their exported models, whole and pruned.

use espalier_ir::{Cell, Graph, NodeId, Op, ParamId, Random, Recurrent, Tensor as Values, evaluate_output};
use espalier_onnx::{export, import};
use espalier_prune::{PruningPlan, apply, dependency_groups};
use espalier_tests::noise;
use tract_onnx::prelude::*;

const CELLS: [Cell; 3] =
    [Cell::Lstm, Cell::Gru { linear_before_reset: false }, Cell::Gru { linear_before_reset: true }];

struct Net {
    graph: Graph,
    random: Random,
}

impl Net {
    fn param(&mut self, shape: &[usize]) -> ParamId {
        let values = (0..shape.iter().product()).map(|_| 1.6 * self.random.unit() - 0.8).collect();
        self.graph.add_param("p", Values::f32(shape, values))
    }

    fn layer(&mut self, x: NodeId, cell: Cell, hidden: usize, reverse: bool) -> NodeId {
        let (features, rows) = (self.graph.node(x).shape[0], cell.gates() * hidden);
        let (weight, recurrence) = (self.param(&[rows, features]), self.param(&[rows, hidden]));
        let bias = Some([self.param(&[rows]), self.param(&[rows])]);
        let layer = Recurrent { cell, reverse, weight, recurrence, bias };
        self.graph.add("layer", Op::Recurrent(layer), &[x]).unwrap()
    }
}

/// Samples `[6, 3]` through two directions and a layer on top, to its last step or its mean.
fn network(seed: u64, cell: Cell, mean: bool) -> Graph {
    let mut net = Net { graph: Graph::new("net"), random: Random::new(seed) };
    let x = net.graph.add_input("x", &[6, 3]).unwrap();
    let x = net.graph.add("features_first", Op::Transpose { axes: vec![1, 0] }, &[x]).unwrap();
    let directions = [false, true].map(|reverse| net.layer(x, cell, 5, reverse));
    let both = net.graph.add("both", Op::Concat { axis: 0 }, &directions).unwrap();
    // tract 0.23 takes a layer that is reverse only for a forward one, so the top is forward.
    let top = net.layer(both, cell, 4, false);
    let end = if mean {
        let mean = net.graph.add("mean", Op::GlobalAveragePool, &[top]).unwrap();
        net.graph.add("flat", Op::Flatten, &[mean]).unwrap()
    } else {
        net.graph.add("step", Op::TimeStep { step: 3 }, &[top]).unwrap()
    };
    let (weight, bias) = (net.param(&[3, 4]), Some(net.param(&[3])));
    let end = net.graph.add("end", Op::Gemm { weight, bias }, &[end]).unwrap();
    net.graph.add_output(end);
    net.graph
}

/// Every second unit goes; both directions keep as many, so that they stay one ONNX node.
fn pruned(graph: &Graph) -> Graph {
    let groups = dependency_groups(graph).unwrap();
    let mut plan = PruningPlan::keep_all(&groups, 0);
    for (index, group) in groups.prunable() {
        plan.groups[index].kept = (0..group.channels).filter(|c| c % 2 == 0).collect();
    }
    apply(graph, &plan).unwrap()
}

#[test]
fn exported_recurrent_graphs_give_the_values_of_tract() {
    for (seed, cell) in (0..4).flat_map(|seed| CELLS.map(|cell| (seed, cell))) {
        let graph = network(seed, cell, seed < 2);
        for graph in [pruned(&graph), graph] {
            let bytes = export(&graph);
            let again = import(&bytes).unwrap_or_else(|e| panic!("{e}\n{graph}"));
            let model = tract_onnx::onnx()
                .with_ignore_value_info(true)
                .model_for_read(&mut &bytes[..])
                .and_then(|m| m.with_input_fact(0, f32::fact([1, 6, 3]).into()))
                .and_then(|m| m.into_optimized())
                .and_then(|m| m.into_runnable())
                .unwrap_or_else(|e| panic!("{e:?}\n{graph}"));
            for sample in 0..4 {
                let values: Vec<f32> = noise(18, sample).into_iter().map(|v| 2.0 * v - 1.0).collect();
                let ours = evaluate_output(&graph, &[&values]);
                assert_eq!(ours, evaluate_output(&again, &[&values]));
                let input = Tensor::from_shape(&[1, 6, 3], &values).unwrap();
                let theirs = model.run(tvec!(input.into())).unwrap();
                let theirs = theirs[0].to_plain_array_view::<f32>().unwrap();
                assert_eq!(ours.len(), theirs.len());
                for (a, b) in ours.iter().zip(&theirs) {
                    assert!((a - b).abs() < 1e-5, "{cell:?}, seed {seed}: {a} and {b}\n{graph}");
                }
            }
        }
    }
}
