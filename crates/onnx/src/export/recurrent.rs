//! Recurrent layers: sequences go from `[N, features, 1, time]` to `[time, N, features]` and back.

use espalier_ir::{Cell, Graph, NodeId, Op, ParamId, Recurrent, Tensor};

use super::{ExportOptions, Writer};
use crate::write;

/// The forward and the reverse half of a bidirectional layer, if `join` is one that ONNX can hold in one node: equal
/// numbers of hidden units, and no other reader of either half.
pub(super) fn halves(graph: &Graph, join: NodeId, options: &ExportOptions) -> Option<[Recurrent; 2]> {
    let [first, second] = graph.operands(join)[..] else { return None };
    let (Op::Concat { axis: 0 }, Op::Recurrent(forward), Op::Recurrent(reverse)) =
        (&graph.node(join).op, &graph.node(first).op, &graph.node(second).op)
    else {
        return None;
    };
    let alone = |half: NodeId| graph.consumers(half) == [join] && !graph.outputs().contains(&half);
    let fits = forward.cell == reverse.cell
        && (forward.reverse, reverse.reverse) == (false, true)
        && forward.bias.is_some() == reverse.bias.is_some()
        && graph.operands(first) == graph.operands(second)
        && graph.node(first).shape == graph.node(second).shape;
    let params = graph.node(first).op.params().into_iter().chain(graph.node(second).op.params());
    let floats = params.into_iter().all(|p| !options.quantized.contains_key(&p));
    (fits && floats && alone(first) && alone(second)).then(|| [forward.clone(), reverse.clone()])
}

impl Writer<'_> {
    /// One direction as an ONNX layer of its own.
    pub(super) fn recurrent(&mut self, name: &str, operand: NodeId, input: &str, recurrent: &Recurrent) {
        let [weight, recurrence] = [recurrent.weight, recurrent.recurrence].map(|p| self.one_direction(p));
        let mut weights = vec![weight, recurrence];
        weights.extend(recurrent.bias.map(|biases| self.biases(name, biases)));
        let direction = if recurrent.reverse { "reverse" } else { "forward" };
        let states = self.layer(name, operand, input, recurrent, direction, &weights);
        // [time, 1, N, hidden] to [N, hidden, 1, time].
        self.features_first(name, name, &states, &[2, 3, 1, 0]);
    }

    /// Both directions of `pair`, joined forward first.
    pub(super) fn bidirectional(&mut self, name: &str, operand: NodeId, input: &str, pair: &[Recurrent; 2]) {
        let time: usize = self.graph.node(operand).shape[1..].iter().product();
        let graph = self.graph;
        let joined = |params: &[ParamId]| -> Vec<f32> {
            params.iter().flat_map(|p| graph.param(*p).as_f32()).copied().collect()
        };
        let [rows, features] = graph.param(pair[0].weight).shape()[..] else { unreachable!("checked by inference") };
        let hidden = graph.param(pair[0].recurrence).shape()[1];
        let weight = Tensor::f32([2, rows, features], joined(&[pair[0].weight, pair[1].weight]));
        let recurrence = Tensor::f32([2, rows, hidden], joined(&[pair[0].recurrence, pair[1].recurrence]));
        let mut weights = vec![self.initializer(&format!("{name}.W"), &weight)];
        weights.push(self.initializer(&format!("{name}.R"), &recurrence));
        if let [Some(forward), Some(reverse)] = [pair[0].bias, pair[1].bias] {
            let biases = Tensor::f32([2, 2 * rows], joined(&[forward, reverse].concat()));
            weights.push(self.initializer(&format!("{name}.biases"), &biases));
        }
        let states = self.layer(name, operand, input, &pair[0], "bidirectional", &weights);
        // [time, 2, N, hidden] to [N, 2, hidden, time], then both directions as features.
        let apart = self.names.take(&format!("{name}.directions"));
        self.features_first(name, &apart, &states, &[2, 1, 3, 0]);
        let shape = self.batch_shape(name, &[2 * hidden, 1, time]);
        let mut joined = write::node("Reshape", name, &[&apart, &shape], Vec::new());
        joined.name = Some(self.names.take(&format!("{name}.joined")));
        self.out.node.push(joined);
    }

    /// The ONNX layer itself; the name of its output.
    fn layer(
        &mut self,
        name: &str,
        operand: NodeId,
        input: &str,
        recurrent: &Recurrent,
        direction: &str,
        weights: &[String],
    ) -> String {
        let hidden = self.graph.param(recurrent.recurrence).shape()[1];
        let lines = self.lines(name, operand, input);
        let sequence = self.names.take(&format!("{name}.input"));
        self.out.node.push(write::node("Transpose", &sequence, &[&lines], vec![write::ints("perm", &[2, 0, 1])]));
        let mut attributes = vec![write::int("hidden_size", hidden as i64), write::text("direction", direction)];
        if let Cell::Gru { linear_before_reset } = recurrent.cell {
            attributes.push(write::int("linear_before_reset", i64::from(linear_before_reset)));
        }
        let states = self.names.take(&format!("{name}.states"));
        let inputs: Vec<&str> = std::iter::once(&sequence).chain(weights).map(String::as_str).collect();
        let mut node = write::node(recurrent.cell.name(), &states, &inputs, attributes);
        node.name = Some(name.to_owned());
        self.out.node.push(node);
        states
    }

    fn features_first(&mut self, name: &str, output: &str, states: &str, axes: &[usize]) {
        let mut back = write::node("Transpose", output, &[states], vec![write::ints("perm", axes)]);
        back.name = Some(self.names.take(&format!("{name}.features_first")));
        self.out.node.push(back);
    }

    /// One step of a sequence.
    pub(super) fn time_step(&mut self, name: &str, operand: NodeId, input: &str, step: usize) {
        let lines = self.lines(name, operand, input);
        let index = self.names.take(&format!("{name}.step"));
        self.out.initializer.push(write::int64_scalar(&index, step as i64));
        self.out.node.push(write::node("Gather", name, &[&lines, &index], vec![write::int("axis", 2)]));
    }

    /// The value as `[N, features, time]`.
    fn lines(&mut self, name: &str, operand: NodeId, input: &str) -> String {
        let shape = &self.graph.node(operand).shape;
        if shape.len() == 2 {
            return input.to_owned();
        }
        let lines = self.names.take(&format!("{name}.lines"));
        let shape = self.batch_shape(&lines, &[shape[0], shape[1..].iter().product()]);
        self.out.node.push(write::node("Reshape", &lines, &[input, &shape], Vec::new()));
        lines
    }

    /// A weight behind an axis of directions; written once, however many layers share it.
    fn one_direction(&mut self, param: ParamId) -> String {
        if let Some(name) = self.reshaped.get(&(param, 3)) {
            return name.clone();
        }
        let name = if self.options.quantized.contains_key(&param) {
            let matrix = self.param(param);
            self.unsqueezed(&matrix)
        } else {
            let tensor = self.graph.param(param);
            let shape: Vec<usize> = std::iter::once(1).chain(tensor.shape().iter().copied()).collect();
            self.initializer(self.graph.param_name(param), &Tensor::f32(shape, tensor.as_f32().to_vec()))
        };
        self.reshaped.insert((param, 3), name.clone());
        name
    }

    /// Both biases, one behind the other.
    fn biases(&mut self, name: &str, biases: [ParamId; 2]) -> String {
        if biases.iter().any(|b| self.options.quantized.contains_key(b)) {
            let parts = biases.map(|b| self.param(b));
            let joined = self.names.take(&format!("{name}.biases"));
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            self.out.node.push(write::node("Concat", &joined, &parts, vec![write::int("axis", 0)]));
            return self.unsqueezed(&joined);
        }
        let values: Vec<f32> = biases.iter().flat_map(|b| self.graph.param(*b).as_f32()).copied().collect();
        self.initializer(&format!("{name}.biases"), &Tensor::f32([1, values.len()], values))
    }

    /// The value behind an axis of extent 1.
    fn unsqueezed(&mut self, value: &str) -> String {
        let name = self.names.take(&format!("{value}.directions"));
        let axes = self.names.take(&format!("{name}.axes"));
        self.out.initializer.push(write::int64_tensor(&axes, &[0]));
        self.out.node.push(write::node("Unsqueeze", &name, &[value, &axes], Vec::new()));
        name
    }
}
