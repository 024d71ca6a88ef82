//! Recurrent layers: LSTM and GRU over a sequence, and the operators around them.
//!
//! A sequence is `[features, 1, time]`: features are channels, time is a line of width `time`, as one-dimensional
//! convolutions and pooling read it. A layer runs in one direction; a bidirectional layer is two of them and a
//! `Concat`, forward first, so that each direction may keep hidden units of its own. States start at zero.

use crate::{Graph, ParamId};

/// The equations of one time step; gates in the order in which ONNX stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Hochreiter and Schmidhuber 1997 with forget gate, without peepholes. Gates i, o, f, c:
    /// `c = f * c + i * tanh(..)`, `h = o * tanh(c)`.
    Lstm,
    /// Cho et al. 2014. Gates z, r, h: `h = (1 - z) * tanh(..) + z * h`.
    Gru {
        /// True if the reset gate multiplies `R h + Rb` (as cuDNN, PyTorch and Keras do), false if it multiplies `h`.
        linear_before_reset: bool,
    },
}

impl Cell {
    /// The ONNX name.
    pub fn name(self) -> &'static str {
        match self {
            Cell::Lstm => "LSTM",
            Cell::Gru { .. } => "GRU",
        }
    }

    /// Gates, each with one row a hidden unit.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
        }
    }
}

/// One direction of a recurrent layer. Its value is the hidden state after every step, `[hidden, 1, time]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrent {
    /// LSTM or GRU.
    pub cell: Cell,
    /// True if time runs backwards; results stand at the step that they belong to.
    pub reverse: bool,
    /// `W [gates * hidden, features]`, gate-major: row `g * hidden + j` is gate `g` of unit `j`.
    pub weight: ParamId,
    /// `R [gates * hidden, hidden]`, rows as those of `W`.
    pub recurrence: ParamId,
    /// Biases of `W` and of `R`, `[gates * hidden]` each.
    pub bias: Option<[ParamId; 2]>,
}

impl Recurrent {
    /// Hidden states for `x [features, time]`, as `[hidden, time]`.
    pub(crate) fn evaluate(&self, graph: &Graph, x: &[f32], features: usize) -> Vec<f32> {
        let time = x.len() / features;
        let hidden = graph.param(self.recurrence).shape()[1];
        let [input_bias, recurrent_bias] = match self.bias {
            Some(bias) => bias.map(|b| graph.param(b).as_f32().to_vec()),
            None => [0, 1].map(|_| vec![0.0; self.cell.gates() * hidden]),
        };
        let weight = graph.param(self.weight).as_f32();
        let recurrence = graph.param(self.recurrence).as_f32();
        let rows = |gate: usize| gate * hidden..(gate + 1) * hidden;
        let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
        let mut y = vec![0.0; hidden * time];
        for step in 0..time {
            let t = if self.reverse { time - 1 - step } else { step };
            let now: Vec<f32> = (0..features).map(|f| x[f * time + t]).collect();
            let from_x = affine(weight, &now, &input_bias);
            let from_h = affine(recurrence, &h, &recurrent_bias);
            let sum = |row: usize| from_x[row] + from_h[row];
            match self.cell {
                Cell::Lstm => {
                    for j in 0..hidden {
                        let [i, o, f] = [0, 1, 2].map(|g| sigmoid(sum(g * hidden + j)));
                        c[j] = f * c[j] + i * sum(3 * hidden + j).tanh();
                        h[j] = o * c[j].tanh();
                    }
                }
                Cell::Gru { linear_before_reset } => {
                    let [z, r] = [0, 1].map(|g| rows(g).map(|row| sigmoid(sum(row))).collect::<Vec<f32>>());
                    let from_h: Vec<f32> = if linear_before_reset {
                        from_h[rows(2)].iter().zip(&r).map(|(v, r)| v * r).collect()
                    } else {
                        let kept: Vec<f32> = h.iter().zip(&r).map(|(h, r)| h * r).collect();
                        affine(&recurrence[2 * hidden * hidden..], &kept, &recurrent_bias[rows(2)])
                    };
                    for j in 0..hidden {
                        let new = (from_x[2 * hidden + j] + from_h[j]).tanh();
                        h[j] = (1.0 - z[j]) * new + z[j] * h[j];
                    }
                }
            }
            h.iter().enumerate().for_each(|(j, h)| y[j * time + t] = *h);
        }
        y
    }

    /// Shape of the value for an operand of shape `from`, given the shapes of the parameters; or what does not fit.
    pub(crate) fn shape<'a>(
        &self,
        from: &[usize],
        param: &dyn Fn(ParamId) -> &'a [usize],
    ) -> Result<Vec<usize>, String> {
        let [features, rest @ ..] = from else { return Err("operand has no features".to_owned()) };
        if rest.is_empty() {
            return Err(format!("takes [features, time] or [features, 1, time], not {from:?}"));
        }
        let (weight, recurrence) = (param(self.weight), param(self.recurrence));
        let fits = match (weight, recurrence) {
            ([rows, inputs], [recurrent_rows, hidden]) => {
                inputs == features && rows == recurrent_rows && hidden.checked_mul(self.cell.gates()) == Some(*rows)
            }
            _ => false,
        };
        if !fits {
            return Err(format!("weights {weight:?} and {recurrence:?} do not fit each other and input {from:?}"));
        }
        for bias in self.bias.iter().flatten() {
            if param(*bias) != &weight[..1] {
                return Err(format!("bias has shape {:?}, not {:?}", param(*bias), &weight[..1]));
            }
        }
        let time = rest.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).ok_or("shape overflows")?;
        Ok(vec![recurrence[1], 1, time])
    }
}

/// `W x + b`.
fn affine(weight: &[f32], x: &[f32], bias: &[f32]) -> Vec<f32> {
    let rows = weight.chunks(x.len()).zip(bias);
    rows.map(|(row, b)| row.iter().zip(x).map(|(w, v)| w * v).sum::<f32>() + b).collect()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Values of shape `from` with axis `i` of the result being axis `axes[i]` of the operand.
pub(crate) fn transpose(x: &[f32], from: &[usize], axes: &[usize]) -> Vec<f32> {
    let stride = |axis: usize| from[axis + 1..].iter().product::<usize>();
    let mut positions = vec![0];
    for axis in axes {
        let steps = (0..from[*axis]).map(|i| i * stride(*axis));
        positions = positions.iter().flat_map(|p| steps.clone().map(move |s| p + s)).collect();
    }
    positions.into_iter().map(|p| x[p]).collect()
}
