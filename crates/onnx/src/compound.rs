//! Operators that ONNX writes as several nodes, or with constants in another shape.

use espalier_ir::{Normalize, ParamId, Statistics, Tensor};

use crate::export::Writer;
use crate::write;

impl Writer<'_> {
    /// Channels picked from a value: a range as Slice, zeros around it as Pad, anything else as Gather, which reads
    /// zeros from a channel added behind the last.
    pub(crate) fn select(&mut self, name: &str, input: &str, channels: &[Option<usize>], shape: &[usize]) {
        let available = shape[0];
        let zeros = |c: &&Option<usize>| c.is_none();
        let before = channels.iter().take_while(zeros).count();
        let after = channels[before..].iter().rev().take_while(zeros).count();
        let middle = &channels[before..channels.len() - after];
        let range = middle.first().copied().flatten().map(|first| first..first + middle.len());
        let contiguous = range.filter(|r| middle.iter().copied().eq(r.clone().map(Some)));
        let mut steps: Vec<(&str, Vec<Vec<i64>>)> = Vec::new();
        let pad = |before: usize, after: usize| {
            let rank = shape.len() + 1;
            let mut pads = vec![0; 2 * rank];
            (pads[1], pads[rank + 1]) = (before as i64, after as i64);
            ("Pad", vec![pads])
        };
        if let Some(range) = contiguous {
            if range != (0..available) || (before, after) == (0, 0) {
                steps.push(("Slice", vec![vec![range.start as i64], vec![range.end as i64], vec![1]]));
            }
            if (before, after) != (0, 0) {
                steps.push(pad(before, after));
            }
        } else {
            if channels.contains(&None) {
                steps.push(pad(0, 1));
            }
            steps.push(("Gather", vec![channels.iter().map(|c| c.unwrap_or(available) as i64).collect()]));
        }
        let mut value = input.to_owned();
        let last = steps.len() - 1;
        for (index, (op, lists)) in steps.into_iter().enumerate() {
            let output = if index == last { name.to_owned() } else { self.names.take(&format!("{name}.part")) };
            let mut inputs = vec![value];
            for list in lists {
                let constant = self.names.take(&format!("{name}.{}", op.to_lowercase()));
                self.out.initializer.push(write::int64_tensor(&constant, &list));
                inputs.push(constant);
            }
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let attributes = if op == "Gather" { vec![write::int("axis", 1)] } else { Vec::new() };
            self.out.node.push(write::node(op, &output, &inputs, attributes));
            value = output;
        }
    }

    /// Name of a slope, shaped to broadcast along the axes of a sample behind the channels.
    pub(crate) fn slope(&mut self, param: ParamId, rank: usize) -> String {
        let tensor = self.graph.param(param);
        let mut shape = tensor.shape().to_vec();
        if shape != [1] {
            shape.resize(rank, 1);
        }
        if let Some(name) = self.reshaped.get(&(param, shape.len())) {
            return name.clone();
        }
        let name =
            self.initializer(self.graph.param_name(param), &Tensor::f32(shape.clone(), tensor.as_f32().to_vec()));
        self.reshaped.insert((param, shape.len()), name.clone());
        name
    }

    /// Softmax over the axes of a sample from `axis` on; ONNX has it for one axis.
    pub(crate) fn softmax(&mut self, name: &str, input: &str, shape: &[usize], axis: usize) {
        let attributes = vec![write::int("axis", axis as i64 + 1)];
        if axis + 1 == shape.len() {
            self.out.node.push(write::node("Softmax", name, &[input], attributes));
            return;
        }
        let joined: Vec<usize> = shape[..axis].iter().copied().chain([shape[axis..].iter().product()]).collect();
        let joined = self.reshape_to(&format!("{name}.joined"), input, &joined);
        let soft = self.names.take(&format!("{name}.softmax"));
        self.out.node.push(write::node("Softmax", &soft, &[&joined], attributes));
        self.reshape_as(name, &soft, shape);
    }

    /// Matrix product; what it reads transposed is transposed before.
    pub(crate) fn matrix_product(&mut self, name: &str, inputs: &[String], rank: usize, transpose: [bool; 2]) {
        let mut exchanged: Vec<usize> = (0..=rank).collect();
        exchanged.swap(rank - 1, rank);
        let operands: Vec<String> = inputs
            .iter()
            .zip(transpose)
            .map(|(input, turned)| {
                if !turned {
                    return input.clone();
                }
                self.transpose_by(&format!("{name}.turned"), input, &exchanged)
            })
            .collect();
        self.out.node.push(write::node("MatMul", name, &[&operands[0], &operands[1]], Vec::new()));
    }

    /// Normalization: at every position as LayerNormalization of values with their channels last; in groups as
    /// InstanceNormalization of values with the groups as channels.
    pub(crate) fn normalize(&mut self, name: &str, input: &str, shape: &[usize], normalize: &Normalize) {
        let epsilon = write::float("epsilon", normalize.epsilon);
        let [gamma, beta] = [normalize.gamma, normalize.beta];
        let groups = match normalize.over {
            Statistics::Position => {
                self.least_opset(LAYER_NORMALIZATION);
                let [gamma, beta] = [gamma, beta].map(|p| self.param(p));
                let attributes = vec![write::int("axis", -1), epsilon];
                if shape.len() == 1 {
                    self.out.node.push(write::node("LayerNormalization", name, &[input, &gamma, &beta], attributes));
                    return;
                }
                let rank = shape.len();
                let last: Vec<usize> = [0].into_iter().chain(2..=rank).chain([1]).collect();
                let first: Vec<usize> = [0, rank].into_iter().chain(1..rank).collect();
                let turned = self.transpose_by(&format!("{name}.channels_last"), input, &last);
                let normalized = self.names.take(&format!("{name}.normalized"));
                let node = write::node("LayerNormalization", &normalized, &[&turned, &gamma, &beta], attributes);
                self.out.node.push(node);
                let axes = vec![write::ints("perm", &first)];
                self.out.node.push(write::node("Transpose", name, &[&normalized], axes));
                return;
            }
            Statistics::Groups(groups) => groups,
        };
        if groups == shape[0] && shape.len() > 1 {
            let [gamma, beta] = [gamma, beta].map(|p| self.param(p));
            self.out.node.push(write::node("InstanceNormalization", name, &[input, &gamma, &beta], vec![epsilon]));
            return;
        }
        let each = shape.iter().product::<usize>() / groups;
        let grouped = self.reshape_to(&format!("{name}.groups"), input, &[groups, each]);
        let plain =
            [1.0, 0.0].map(|v| self.initializer(&format!("{name}.plain"), &Tensor::f32([groups], vec![v; groups])));
        let normalized = self.names.take(&format!("{name}.normalized"));
        let inputs = [grouped.as_str(), &plain[0], &plain[1]];
        self.out.node.push(write::node("InstanceNormalization", &normalized, &inputs, vec![epsilon]));
        let apart = self.reshape_to(&format!("{name}.channels"), &normalized, shape);
        let [gamma, beta] = [gamma, beta].map(|p| self.slope(p, shape.len()));
        let scaled = self.names.take(&format!("{name}.scaled"));
        self.out.node.push(write::node("Mul", &scaled, &[&apart, &gamma], Vec::new()));
        self.out.node.push(write::node("Add", name, &[&scaled, &beta], Vec::new()));
    }

    /// A new value: the input under another shape of a sample.
    fn reshape_to(&mut self, wanted: &str, input: &str, shape: &[usize]) -> String {
        let name = self.names.take(wanted);
        self.reshape_as(&name, input, shape);
        name
    }

    fn reshape_as(&mut self, name: &str, input: &str, shape: &[usize]) {
        let shape = self.batch_shape(name, shape);
        self.out.node.push(write::node("Reshape", name, &[input, &shape], Vec::new()));
    }

    /// A new value: the input with its axes, the batch included, in another order.
    fn transpose_by(&mut self, wanted: &str, input: &str, axes: &[usize]) -> String {
        let name = self.names.take(wanted);
        self.out.node.push(write::node("Transpose", &name, &[input], vec![write::ints("perm", axes)]));
        name
    }
}

/// The first operator set with that operator.
const LAYER_NORMALIZATION: i64 = 17;
