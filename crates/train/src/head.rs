//! A new classifier on the features of a trained network.

use espalier_ir::{Diagnostic, Graph, NodeId, Op, Random, Tensor};

/// A network with a fresh head.
#[derive(Debug, Clone)]
pub struct NewHead {
    /// The network; all parameters but those of the head are as before.
    pub graph: Graph,
    /// The Gemm or Conv that is new.
    pub head: NodeId,
}

/// Replaces the classifier, the last Gemm or 1 x 1 Conv before the output, by a fresh one for `classes`
/// classes: weights uniform in ±sqrt(6 / (inputs + classes)) (Glorot and Bengio 2010), biases zero.
///
/// # Errors
/// If there is no such head, or something behind it depends on the number of classes.
pub fn with_new_head(graph: &Graph, classes: usize, seed: u64) -> Result<NewHead, Diagnostic> {
    let refuse = |message: String| {
        Diagnostic::error("no-classifier-head", format!("model '{}'", graph.name), message)
            .with_help("transfer needs a model that ends in a Gemm or 1 x 1 Conv, pooled or not, and a class or more")
    };
    if classes == 0 {
        return Err(refuse("cannot be given 0 classes".to_owned()));
    }
    let [output] = graph.outputs() else { return Err(refuse("has several outputs or none".to_owned())) };
    let mut head = *output;
    let (weight, bias) = loop {
        match &graph.node(head).op {
            Op::Gemm { weight, bias } => break (*weight, *bias),
            Op::Conv(conv) if conv.groups == 1 && graph.param(conv.weight).shape()[2..] == [1, 1] => {
                break (conv.weight, conv.bias);
            }
            Op::Softmax { .. } | Op::Flatten | Op::GlobalAveragePool | Op::AveragePool { .. } | Op::Relu => {
                head = graph.operands(head)[0];
            }
            other => return Err(refuse(format!("ends in {}, not in a classifier", other.name()))),
        }
    };
    let mut shape = graph.param(weight).shape().to_vec();
    let inputs: usize = shape[1..].iter().product();
    shape[0] = classes;
    let limit = (6.0 / (inputs + classes) as f32).sqrt();
    let mut random = Random::new(seed);
    let values = (0..classes * inputs).map(|_| (2.0 * random.unit() - 1.0) * limit).collect();
    let mut graph = graph.clone();
    graph.set_param(weight, Tensor::f32(shape, values));
    if let Some(bias) = bias {
        graph.set_param(bias, Tensor::f32([classes], vec![0.0; classes]));
    }
    graph.refresh_shapes()?;
    Ok(NewHead { graph, head })
}

#[cfg(test)]
mod tests {
    use espalier_ir::Conv;

    use super::*;

    #[test]
    fn pooled_convolutions_are_heads_and_others_are_not() {
        let mut graph = Graph::new("net");
        let x = graph.add_input("x", &[3, 4, 4]).unwrap();
        let weight = graph.add_param("w", Tensor::f32([5, 3, 1, 1], vec![1.0; 15]));
        let conv = Conv { weight, bias: None, stride: [1, 1], pads: Default::default(), dilation: [1, 1], groups: 1 };
        let conv = graph.add("conv", Op::Conv(conv), &[x]).unwrap();
        let pooled = graph.add("pool", Op::GlobalAveragePool, &[conv]).unwrap();
        let flat = graph.add("flat", Op::Flatten, &[pooled]).unwrap();
        let mut ends_in_add = graph.clone();
        graph.add_output(flat);
        let NewHead { graph, head } = with_new_head(&graph, 9, 1).unwrap();
        assert_eq!((head, &graph.node(flat).shape[..]), (conv, &[9][..]));
        assert!(graph.param(weight).as_f32().iter().all(|w| w.abs() <= (6.0f32 / 12.0).sqrt() && *w != 1.0));

        let sum = ends_in_add.add("sum", Op::Add, &[flat, flat]).unwrap();
        ends_in_add.add_output(sum);
        assert_eq!(with_new_head(&ends_in_add, 9, 1).unwrap_err().code, "no-classifier-head");
    }
}
