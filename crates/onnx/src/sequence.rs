//! Sequences: what recurrent layers read and give, seen through the axes that ONNX moves around them.
//!
//! ONNX has time first (`[time, batch, features]`, results `[time, directions, batch, hidden]`), models have the
//! batch first, and the graph holds `[features, 1, time]`. The order of a [`View`] says where each element is, so that
//! steps, directions and means are found whatever transpositions and reshapes lie between.

use std::collections::BTreeMap;
use std::rc::Rc;

use espalier_ir::{NodeId, Op, Pads};

use crate::import::Importer;
use crate::node::Node;
use crate::ops::positions;
use crate::value::{Element, Outcome, Stop, Value, View, channel_order};

const PARTS: &str = "of a sequence, single steps and ranges of features can be taken, and means over all steps";

impl Importer<'_> {
    /// True if the view shows a map with its features last, or a recurrent layer, perhaps behind operators that keep
    /// features apart.
    pub fn is_sequence(&self, view: &View) -> bool {
        if view.element == Element::Float && view.pads == Pads::default() && self.has_features_last(view) {
            return true;
        }
        let mut node = view.node;
        loop {
            match self.graph.node(node).op {
                Op::Recurrent(_) => return view.element == Element::Float && view.pads == Pads::default(),
                Op::Concat { axis: 0 } | Op::Select { .. } | Op::TimeStep { .. } | Op::GlobalAveragePool => {}
                Op::Relu | Op::Clip { .. } | Op::Unary(_) | Op::BatchNorm { .. } => {}
                _ => return false,
            }
            node = self.graph.operands(node)[0];
        }
    }

    /// The node whose values, row-major, are those of `view` at `wanted`, with as many features as `features`.
    ///
    /// # Errors
    /// If no transposition of a whole value gives that.
    pub fn arranged(&mut self, node: &Node, view: &View, wanted: &[u32], features: usize) -> Result<NodeId, Stop> {
        let time = wanted.len() / features;
        let at = |f: usize, t: usize| wanted[f * time + t] as usize;
        let whole =
            |map: &dyn Fn(usize, usize) -> usize| (0..features).all(|f| (0..time).all(|t| at(f, t) == map(f, t)));
        if whole(&|f, t| f * time + t) {
            return self.with_features(node, view.clone(), features, time);
        }
        if whole(&|f, t| t * features + f) {
            let steps = View { shape: vec![1, time, features], order: None, ..view.clone() };
            let mut steps = self.solid(node, steps)?.node;
            let name = format!("{}.features_first", self.graph.node(steps).name);
            // A line is as good as solid elsewhere; here its height is in the way.
            if self.graph.node(steps).shape.len() != 2 {
                let label = self.names.take(&view.label);
                steps = self.graph.add(label, Op::Reshape { shape: vec![time, features] }, &[steps])?;
            }
            return self.transposed(&name, steps, &[1, 0]);
        }
        let shape = self.graph.node(view.node).shape.clone();
        if let Some(channels) = channel_order(wanted, &shape) {
            let name = self.names.take(&view.label);
            let picked = self.graph.add(name, Op::Select { channels }, &[view.node])?;
            return self.with_features(node, View { node: picked, order: None, ..view.clone() }, features, time);
        }
        self.charge(node, wanted.len().saturating_mul(5))?;
        for axes in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            if shape.len() == 3 && positions(&shape, &axes).iter().map(|p| *p as u32).eq(wanted.iter().copied()) {
                let turned = self.transposed(&view.label, view.node, &axes)?;
                let view = View { node: turned, order: None, ..view.clone() };
                return self.with_features(node, view, features, time);
            }
        }
        if let Some(turned) = self.turned(node, view, wanted, &[features, 1, time])? {
            return Ok(turned);
        }
        Err(node
            .error("layout", format!("reads '{}' in an order that no exchange of axes gives", view.label))
            .with_help("bring sequences to [time, batch, features] by transposing and reshaping whole axes")
            .into())
    }

    /// The operand with its axes in another order; a node that gives it already is used again.
    pub fn transposed(&mut self, name: &str, operand: NodeId, axes: &[usize]) -> Result<NodeId, Stop> {
        let op = Op::Transpose { axes: axes.to_vec() };
        let known = self.graph.consumers(operand).into_iter().find(|c| self.graph.node(*c).op == op);
        known.map_or_else(|| self.named(name, op, &[operand]), Ok)
    }

    /// The node that gives the values of a graph output; a sequence may have its axes in any order.
    pub fn as_output(&mut self, node: &Node, view: View) -> Result<NodeId, Stop> {
        match (&view.order, &view.shape[..]) {
            (Some(order), [1, first, ..]) if self.is_sequence(&view) => {
                let (order, features) = (order.clone(), *first);
                let arranged = self.arranged(node, &view, &order, features)?;
                let view = View { node: arranged, order: None, ..view };
                Ok(self.solid(node, view)?.node)
            }
            (_, [first, ..]) if *first > 1 && self.is_sequence(&view) => {
                let message = format!("gives values of shape {:?}: the batch is not the first axis", view.shape);
                Err(node.error("batch-axis", message).with_help("transpose sequences back to batch first").into())
            }
            _ => Ok(self.solid(node, view)?.node),
        }
    }

    /// The node itself if its first axis is that of the features, else reshaped.
    fn with_features(&mut self, node: &Node, view: View, features: usize, time: usize) -> Result<NodeId, Stop> {
        let shape = &self.graph.node(view.node).shape;
        if shape[0] == features && shape.len() > 1 {
            return Ok(view.node);
        }
        Ok(self.solid(node, View { shape: vec![1, features, 1, time], order: None, ..view })?.node)
    }

    /// The elements `picked` of a sequence (places in the view), under `shape`.
    pub fn part_of_sequence(&mut self, node: &Node, view: &View, picked: &[usize], shape: Vec<usize>) -> Outcome {
        let refused = || Stop::from(node.unsupported("takes a part of a sequence").with_help(PARTS));
        self.charge(node, picked.len())?;
        let extents = self.graph.node(view.node).shape.clone();
        let mut time: usize = extents[1..].iter().product();
        let mut places = places(view, picked);
        let mut input = view.node;
        let Some(first) = places.first().map(|p| p % time) else { return Err(refused()) };
        let mut step = None;
        if time > 1 && places.iter().all(|p| p % time == first) {
            step = Some(first);
            places.iter_mut().for_each(|p| *p /= time);
            time = 1;
        }
        // Features in the order in which they first appear; each has to come whole.
        let mut found: BTreeMap<usize, usize> = BTreeMap::new();
        let mut channels = Vec::new();
        for place in &places {
            found.entry(place / time).or_insert_with(|| {
                channels.push(Some(place / time));
                channels.len() - 1
            });
        }
        let order: Vec<u32> = places.iter().map(|p| (found[&(p / time)] * time + p % time) as u32).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..(channels.len() * time) as u32) {
            return Err(refused());
        }
        let whole = channels.iter().copied().eq((0..extents[0]).map(Some));
        if let Some(step) = step {
            let name = if whole { node.name.clone() } else { format!("{}.step", node.name) };
            input = self.named(&name, Op::TimeStep { step }, &[input])?;
        }
        if !whole {
            input = self.named(&node.name, Op::Select { channels }, &[input])?;
        }
        Ok(self.sequence_view(node, input, shape, order))
    }

    /// Mean over `axes`, if they are all of time; `keep` leaves them in place with extent 1.
    pub fn mean_of_sequence(&mut self, node: &Node, view: &View, axes: &[usize], keep: bool) -> Outcome {
        let count = view.shape.iter().product();
        self.charge(node, count)?;
        let time: usize = self.graph.node(view.node).shape[1..].iter().product();
        let kept = |axis: &usize| !axes.contains(axis);
        let shape: Vec<usize> = (0..view.shape.len()).map(|a| if kept(&a) { view.shape[a] } else { 1 }).collect();
        // Elements that are averaged together, by place in the result.
        let mut together: Vec<Vec<usize>> = vec![Vec::new(); shape.iter().product()];
        let all: Vec<usize> = (0..count).collect();
        for (element, place) in places(view, &all).into_iter().enumerate() {
            let (mut rest, mut stride, mut result) = (element, 1, 0);
            for axis in (0..shape.len()).rev() {
                let at = rest % view.shape[axis];
                rest /= view.shape[axis];
                result += if kept(&axis) { at * stride } else { 0 };
                stride *= shape[axis];
            }
            together[result].push(place);
        }
        let whole = |places: &mut Vec<usize>| {
            places.sort_unstable();
            let first = places[0];
            first.is_multiple_of(time) && places.iter().copied().eq(first..first + time)
        };
        if !together.iter_mut().all(whole) {
            return Err(node
                .unsupported(format!("takes the mean over axes {axes:?} of a sequence"))
                .with_help(PARTS)
                .into());
        }
        let order = together.iter().map(|places| (places[0] / time) as u32).collect();
        let input = self.named(&node.name, Op::GlobalAveragePool, &[view.node])?;
        let shape = (0..shape.len()).filter(|a| keep || kept(a)).map(|a| shape[a]).collect();
        Ok(self.sequence_view(node, input, shape, order))
    }

    /// Sequences of equal length joined along any axis; `None` if these are none.
    pub fn joined_sequences(&mut self, node: &Node, views: &[View], axis: usize) -> Option<Outcome> {
        let time = |v: &View| self.graph.node(v.node).shape[1..].to_vec();
        let as_held = |v: &View| v.order.is_none() && v.shape[0] == 1 && v.shape[1..] == self.graph.node(v.node).shape;
        let moved = !views.iter().all(as_held) && (axis != 1 || views.iter().any(|v| v.order.is_some()));
        let alike = views.iter().all(|v| {
            let same = |(a, (x, y)): (usize, (&usize, &usize))| a == axis || x == y;
            let rank = v.shape.len() == views[0].shape.len();
            rank && self.is_sequence(v)
                && time(v) == time(&views[0])
                && v.shape.iter().zip(&views[0].shape).enumerate().all(same)
        });
        if !moved || !alike {
            return None;
        }
        Some(self.join_sequences(node, views, axis))
    }

    fn join_sequences(&mut self, node: &Node, views: &[View], axis: usize) -> Outcome {
        let mut shape = views[0].shape.clone();
        shape[axis] = views.iter().map(|v| v.shape[axis]).sum();
        self.charge(node, shape.iter().product())?;
        let nodes: Vec<NodeId> = views.iter().map(|v| v.node).collect();
        let sizes: Vec<usize> = nodes.iter().map(|n| self.graph.node(*n).shape.iter().product()).collect();
        let outer: usize = shape[..axis].iter().product();
        let mut order = Vec::new();
        for row in 0..outer {
            let mut first = 0;
            for (view, size) in views.iter().zip(&sizes) {
                let each = view.shape.iter().product::<usize>() / outer;
                let picked: Vec<usize> = (row * each..(row + 1) * each).collect();
                order.extend(places(view, &picked).into_iter().map(|p| (first + p) as u32));
                first += size;
            }
        }
        let joined = self.named(&node.name, Op::Concat { axis: 0 }, &nodes)?;
        Ok(self.sequence_view(node, joined, shape, order))
    }

    /// Adds a graph node with a name of its own.
    pub fn named(&mut self, name: &str, op: Op, operands: &[NodeId]) -> Result<NodeId, Stop> {
        let name = self.names.take(name);
        Ok(self.graph.add(name, op, operands)?)
    }

    /// A view of a sequence whose element `i` is at place `order[i]` of the node.
    pub fn sequence_view(&self, node: &Node, of: NodeId, shape: Vec<usize>, order: Vec<u32>) -> Value {
        let plain = order.iter().enumerate().all(|(i, p)| i == *p as usize);
        let order = (!plain).then(|| Rc::from(order));
        let (label, element) = (Rc::from(node.name.as_str()), Element::Float);
        Value::View(View { node: of, shape, order, pads: Pads::default(), element, exclusive: true, label })
    }
}

/// Places in the node of elements of a view.
fn places(view: &View, elements: &[usize]) -> Vec<usize> {
    elements.iter().map(|e| view.order.as_ref().map_or(*e, |order| order[*e] as usize)).collect()
}
