//! Values of 16 bits: sums of products of vectors that go on as operands of such products, as the cell state of an LSTM does.

use std::collections::BTreeMap;

use crate::residual::stored_shape;
use crate::{Graph, NodeId, Op};

/// Column of the upper digit of a value of 16 bits.
pub(crate) const UPPER: usize = 0;
/// Column of the lower digit.
pub(crate) const LOWER: usize = 1;
/// What is read where both are added: the lower digit, and the upper one as a residual operand.
pub(crate) const LOWER_AND_UPPER: [Option<usize>; 2] = [Some(LOWER), Some(UPPER)];

/// How a value of 16 bits is computed.
#[derive(Debug, Clone)]
pub(crate) struct Products {
    /// Products to be added: a value, which may have 16 bits itself, and a factor.
    pub pairs: Vec<[NodeId; 2]>,
    /// Nodes between them and the value.
    pub inner: Vec<NodeId>,
}

/// The values of a graph that are kept with 16 bits: `v' = v * f + a * g` from step to step and its beginning, `a * g`.
pub(crate) fn products(graph: &Graph) -> BTreeMap<NodeId, Products> {
    let mut found: BTreeMap<NodeId, Products> = BTreeMap::new();
    for node in graph.nodes() {
        let products = match graph.node(node).op {
            Op::Mul => begins(graph, node),
            Op::Add => goes_on(graph, node, &found),
            _ => None,
        };
        found.extend(products.map(|p| (node, p)));
    }
    found
}

/// A product that is an operand of a product in a sum of products.
fn begins(graph: &Graph, product: NodeId) -> Option<Products> {
    let operands = vectors(graph, product)?;
    let next = |reader: NodeId| {
        let [sum] = graph.consumers(reader)[..] else { return false };
        summands(graph, sum).is_some_and(|summands| summands.contains(&reader))
    };
    let state = graph.consumers(product).into_iter().any(next);
    state.then(|| Products { pairs: vec![operands], inner: Vec::new() })
}

/// A sum of two products, one of which has an operand of 16 bits.
fn goes_on(graph: &Graph, sum: NodeId, found: &BTreeMap<NodeId, Products>) -> Option<Products> {
    let summands = summands(graph, sum)?;
    // The value of 16 bits comes first.
    let ordered = |product: &NodeId| {
        let [a, b] = vectors(graph, *product)?;
        Some(if found.contains_key(&b) { [b, a] } else { [a, b] })
    };
    let pairs: Vec<[NodeId; 2]> = summands.iter().map(ordered).collect::<Option<_>>()?;
    let wide = |node: &NodeId| found.contains_key(node);
    let fits = pairs.iter().filter(|[value, _]| wide(value)).count() == 1 && !pairs.iter().any(|[_, f]| wide(f));
    fits.then(|| Products { pairs, inner: summands.to_vec() })
}

/// The two products of vectors that a sum adds, if nobody else reads them.
fn summands(graph: &Graph, sum: NodeId) -> Option<[NodeId; 2]> {
    let [a, b] = graph.operands(sum)[..] else { return None };
    let private = |n: NodeId| graph.consumers(n).len() == 1 && !graph.outputs().contains(&n);
    let fits = matches!(graph.node(sum).op, Op::Add) && a != b && [a, b].into_iter().all(private);
    (fits && vectors(graph, a).is_some() && vectors(graph, b).is_some()).then_some([a, b])
}

/// The operands of a product of two vectors.
fn vectors(graph: &Graph, product: NodeId) -> Option<[NodeId; 2]> {
    let [a, b] = graph.operands(product)[..] else { return None };
    let shape = |n: NodeId| stored_shape(graph, n);
    let fits = matches!(graph.node(product).op, Op::Mul) && shape(a) == shape(b) && shape(a)[1..] == [1, 1];
    fits.then_some([a, b])
}

/// Vectors joined for fully connected layers alone, which read them one by one.
pub(crate) fn joins(graph: &Graph) -> Vec<NodeId> {
    let joins = |node: &NodeId| {
        let vector = |o: &NodeId| stored_shape(graph, *o)[1..] == [1, 1];
        let readers = graph.consumers(*node);
        matches!(graph.node(*node).op, Op::Concat { axis: 0 })
            && !graph.outputs().contains(node)
            && !readers.is_empty()
            && readers.iter().all(|r| matches!(graph.node(*r).op, Op::Gemm { .. }))
            && graph.operands(*node).iter().all(vector)
    };
    graph.nodes().into_iter().filter(joins).collect()
}
