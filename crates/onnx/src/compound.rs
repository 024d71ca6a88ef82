//! Operators that ONNX writes as several nodes, or with constants in another shape.

use espalier_ir::{ParamId, Tensor};

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

    /// Softmax over all axes of a sample, which ONNX has only for one.
    pub(crate) fn wide_softmax(&mut self, name: &str, input: &str, shape: &[usize]) {
        let flat = self.names.take(&format!("{name}.flat"));
        let soft = self.names.take(&format!("{name}.softmax"));
        let shape = self.batch_shape(name, shape);
        self.out.node.push(write::node("Flatten", &flat, &[input], vec![write::int("axis", 1)]));
        self.out.node.push(write::node("Softmax", &soft, &[&flat], vec![write::int("axis", 1)]));
        self.out.node.push(write::node("Reshape", name, &[&soft, &shape], Vec::new()));
    }
}
