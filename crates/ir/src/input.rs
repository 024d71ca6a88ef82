//! How the accelerator takes a graph input.

use crate::layers::as_chw;
use crate::{Graph, NodeId, Op};

/// A graph input as a tensor of the accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputLayout {
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Samples are `[time, features]` and are exchanged to `[features, 1, time]` before the accelerator takes them: nothing
    /// else reads the input.
    pub transposed: bool,
    /// Nodes whose value is that tensor.
    pub views: Vec<NodeId>,
}

/// The tensor of an input: of a sequence with time first that with its features first.
pub fn input_layout(graph: &Graph, input: NodeId) -> InputLayout {
    let mut views = vec![input];
    loop {
        let end = views[views.len() - 1];
        let [only] = graph.consumers(end)[..] else { break };
        if graph.outputs().contains(&end) {
            break;
        }
        views.push(only);
        match (&graph.node(only).op, &graph.node(only).shape[..]) {
            (Op::Reshape { .. }, [_, _]) => {}
            (Op::Transpose { axes }, [features, time]) if axes[..] == [1, 0] => {
                return InputLayout { shape: [*features, 1, *time], transposed: true, views };
            }
            _ => break,
        }
    }
    InputLayout { shape: as_chw(&graph.node(input).shape), transposed: false, views: vec![input] }
}
