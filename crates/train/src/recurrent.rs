//! Recurrent layers unrolled over time. Sequences are `[batch, features, 1, time]`, as every value of a walk.

use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor};
use espalier_ir::Cell;

/// Parameters of one direction, in the shapes of [`espalier_ir::Recurrent`] transposed: columns are `gates * hidden`.
pub(crate) struct Weights {
    /// `[features, gates * hidden]`.
    pub(crate) input: Tensor<2>,
    /// `[hidden, gates * hidden]`.
    pub(crate) recurrence: Tensor<2>,
    /// Biases of both, `[1, gates * hidden]`.
    pub(crate) bias: Option<[Tensor<2>; 2]>,
}

/// Hidden states after every step, `[batch, hidden, 1, time]`, for `x [batch, features, ..]`.
pub(crate) fn recurrent(cell: Cell, reverse: bool, x: Tensor<4>, weights: Weights, device: &Device) -> Tensor<4> {
    let [batch, features, height, width] = x.dims();
    let time = height * width;
    let [hidden, _] = weights.recurrence.dims();
    let x = x.reshape([batch, features, time]);
    let mut h = Tensor::zeros([batch, hidden], device);
    let mut c = Tensor::zeros([batch, hidden], device);
    let mut states: Vec<Tensor<3>> = Vec::with_capacity(time);
    for step in 0..time {
        let t = if reverse { time - 1 - step } else { step };
        let now = x.clone().narrow(2, t, 1).reshape([batch, features]);
        let mut from_x = now.matmul(weights.input.clone());
        if let Some([bias, _]) = &weights.bias {
            from_x = from_x + bias.clone();
        }
        match cell {
            Cell::Lstm => (h, c) = lstm_step(from_x, h, c, &weights),
            Cell::Gru { linear_before_reset } => h = gru_step(from_x, h, &weights, linear_before_reset),
        }
        states.push(h.clone().reshape([batch, hidden, 1]));
    }
    if reverse {
        states.reverse();
    }
    Tensor::cat(states, 2).reshape([batch, hidden, 1, time])
}

/// Columns of gate `gate`.
fn gate(sums: &Tensor<2>, gate: usize, hidden: usize) -> Tensor<2> {
    sums.clone().narrow(1, gate * hidden, hidden)
}

/// New `(h, c)`.
fn lstm_step(from_x: Tensor<2>, h: Tensor<2>, c: Tensor<2>, weights: &Weights) -> (Tensor<2>, Tensor<2>) {
    let [_, hidden] = h.dims();
    let mut sums = from_x + h.matmul(weights.recurrence.clone());
    if let Some([_, bias]) = &weights.bias {
        sums = sums + bias.clone();
    }
    // Input, output and forget gate stand side by side and share one function.
    let gates = sigmoid(sums.clone().narrow(1, 0, 3 * hidden));
    let new = tanh(gate(&sums, 3, hidden));
    let c = gate(&gates, 2, hidden) * c + gate(&gates, 0, hidden) * new;
    (gate(&gates, 1, hidden) * tanh(c.clone()), c)
}

fn gru_step(from_x: Tensor<2>, h: Tensor<2>, weights: &Weights, linear_before_reset: bool) -> Tensor<2> {
    let [_, hidden] = h.dims();
    let from_h = |h: Tensor<2>, first: usize, gates: usize| {
        let sums = h.matmul(weights.recurrence.clone().narrow(1, first * hidden, gates * hidden));
        match &weights.bias {
            Some([_, bias]) => sums + bias.clone().narrow(1, first * hidden, gates * hidden),
            None => sums,
        }
    };
    let gates = sigmoid(from_x.clone().narrow(1, 0, 2 * hidden) + from_h(h.clone(), 0, 2));
    let (z, r) = (gate(&gates, 0, hidden), gate(&gates, 1, hidden));
    let kept = if linear_before_reset { r * from_h(h.clone(), 2, 1) } else { from_h(r * h.clone(), 2, 1) };
    let new = tanh(gate(&from_x, 2, hidden) + kept);
    // (1 - z) new + z h
    new.clone() + z * (h - new)
}
