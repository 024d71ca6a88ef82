//! What an entry of `layers` says, before the shapes of its operands are known.

use espalier_ir::{Cell, Op, Unary, nearest};

use crate::padding::Padding;
use crate::table::Table;

/// Where a window goes.
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) pads: Padding,
}

/// One layer.
pub(crate) enum Layer {
    /// An operator that depends on nothing.
    Plain(Op),
    /// Convolution to `channels` channels in `groups` groups; without them one filter a channel.
    Conv { channels: Option<[usize; 2]>, window: Window, bias: bool },
    /// Transposed convolution.
    ConvTranspose { channels: usize, groups: usize, window: Window, output_pads: [usize; 2], bias: bool },
    /// Fully connected.
    Dense { features: usize, bias: bool },
    /// Batch normalization.
    BatchNorm { epsilon: f32 },
    /// One slope a channel.
    PRelu,
    /// Maximum, or average; whether padding counts.
    Pool { window: Window, average: Option<bool> },
    /// LSTM or GRU.
    Recurrent { cell: Cell, units: usize, reverse: bool, bias: bool },
    /// `[1, time, features]` or `[time, features]` to `[features, time]`.
    Sequence,
    /// The newest step of a sequence.
    LastStep,
    /// Channels of zeros around those there are.
    PadChannels { before: usize, after: usize },
    /// Channels from `start` up to but not including `end`.
    Slice { start: usize, end: usize },
    /// The channels of all groups in turn.
    Shuffle { groups: usize },
    /// Inputs of the next fully connected layer are dropped in training.
    Dropout { rate: f32 },
}

/// All names of layers.
const NAMES: [&str; 35] = [
    "add",
    "average_pool",
    "batch_norm",
    "clip",
    "concat",
    "conv",
    "conv_transpose",
    "dense",
    "depthwise_conv",
    "dropout",
    "elu",
    "flatten",
    "global_average_pool",
    "gru",
    "hard_sigmoid",
    "last_step",
    "leaky_relu",
    "lstm",
    "max_pool",
    "mul",
    "pad_channels",
    "prelu",
    "relu",
    "relu6",
    "reshape",
    "select_step",
    "sequence",
    "shuffle_channels",
    "sigmoid",
    "slice_channels",
    "softmax",
    "softplus",
    "tanh",
    "transpose",
    "upsample",
];

impl Layer {
    /// Reads the keys of a layer called `op`; what is wrong is noted in the table.
    pub(crate) fn read(op: &str, table: &mut Table<'_>) -> Option<Layer> {
        let plain = |op| Some(Layer::Plain(op));
        match op {
            "conv" => {
                let channels = Some([table.count("channels", None, 1), table.count("groups", Some(1), 1)]);
                Some(Layer::Conv { channels, window: window(table), bias: table.flag("bias", true) })
            }
            "depthwise_conv" => {
                Some(Layer::Conv { channels: None, window: window(table), bias: table.flag("bias", true) })
            }
            "conv_transpose" => Some(Layer::ConvTranspose {
                channels: table.count("channels", None, 1),
                groups: table.count("groups", Some(1), 1),
                window: window(table),
                output_pads: [table.count("output_rows", Some(0), 0), table.count("output_columns", Some(0), 0)],
                bias: table.flag("bias", true),
            }),
            "dense" => {
                Some(Layer::Dense { features: table.count("features", None, 1), bias: table.flag("bias", true) })
            }
            "batch_norm" => {
                let epsilon = table.number("epsilon", Some(1e-5));
                if epsilon <= 0.0 {
                    table.refuse("'epsilon' must be above 0");
                }
                Some(Layer::BatchNorm { epsilon })
            }
            "max_pool" => Some(Layer::Pool { window: pool(table), average: None }),
            "average_pool" => {
                Some(Layer::Pool { window: pool(table), average: Some(table.flag("count_include_pad", false)) })
            }
            "lstm" | "gru" => {
                let cell = match op {
                    "lstm" => Cell::Lstm,
                    _ => Cell::Gru { linear_before_reset: table.flag("linear_before_reset", true) },
                };
                let units = table.count("units", None, 1);
                let (reverse, bias) = (table.flag("reverse", false), table.flag("bias", true));
                Some(Layer::Recurrent { cell, units, reverse, bias })
            }
            "sequence" => Some(Layer::Sequence),
            "last_step" => Some(Layer::LastStep),
            "select_step" => plain(Op::TimeStep { step: table.count("step", None, 0) }),
            "pad_channels" => {
                let (before, after) = (table.count("before", Some(0), 0), table.count("after", Some(0), 0));
                Some(Layer::PadChannels { before, after })
            }
            "slice_channels" => {
                let (start, end) = (table.count("start", Some(0), 0), table.count("end", None, 1));
                Some(Layer::Slice { start, end })
            }
            "shuffle_channels" => Some(Layer::Shuffle { groups: table.count("groups", None, 1) }),
            "dropout" => {
                let rate = table.number("rate", None);
                if !(0.0..1.0).contains(&rate) {
                    table.refuse("'rate' must be from 0 up to but not including 1");
                }
                Some(Layer::Dropout { rate })
            }
            "prelu" => Some(Layer::PRelu),
            "clip" => {
                let (min, max) =
                    (table.number("min", Some(f32::NEG_INFINITY)), table.number("max", Some(f32::INFINITY)));
                if min >= max {
                    table.refuse("'min' must be below 'max'");
                }
                plain(Op::Clip { min, max })
            }
            "reshape" => plain(Op::Reshape { shape: table.counts("shape", 1) }),
            "transpose" => plain(Op::Transpose { axes: table.counts("axes", 0) }),
            "upsample" => plain(Op::Resize { factor: table.pair("factor", None) }),
            "add" => plain(Op::Add),
            "mul" => plain(Op::Mul),
            "concat" => plain(Op::Concat { axis: 0 }),
            "relu" => plain(Op::Relu),
            "relu6" => plain(Op::Clip { min: 0.0, max: 6.0 }),
            "sigmoid" => plain(Op::Unary(Unary::Sigmoid)),
            "tanh" => plain(Op::Unary(Unary::Tanh)),
            "softplus" => plain(Op::Unary(Unary::Softplus)),
            "leaky_relu" => plain(Op::Unary(Unary::LeakyRelu { alpha: table.number("alpha", Some(0.01)) })),
            "elu" => plain(Op::Unary(Unary::Elu { alpha: table.number("alpha", Some(1.0)) })),
            "hard_sigmoid" => {
                let (alpha, beta) = (table.number("alpha", Some(0.2)), table.number("beta", Some(0.5)));
                plain(Op::Unary(Unary::HardSigmoid { alpha, beta }))
            }
            "flatten" => plain(Op::Flatten),
            "global_average_pool" => plain(Op::GlobalAveragePool),
            "softmax" => plain(Op::Softmax { axis: 0 }),
            _ => None,
        }
    }

    /// What to try instead of a name that is no layer.
    pub(crate) fn help(op: &str) -> String {
        let near = nearest(op, NAMES).map_or_else(String::new, |near| format!("did you mean '{near}'? "));
        format!("{near}Known: {}", NAMES.join(", "))
    }
}

fn window(table: &mut Table<'_>) -> Window {
    let kernel = table.pair("kernel", None);
    let (stride, dilation) = (table.pair("stride", Some([1, 1])), table.pair("dilation", Some([1, 1])));
    Window { kernel, stride, dilation, pads: table.pads() }
}

/// Windows of pooling stand side by side unless the file says something else.
fn pool(table: &mut Table<'_>) -> Window {
    let kernel = table.pair("kernel", None);
    Window { kernel, stride: table.pair("stride", Some(kernel)), dilation: [1, 1], pads: table.pads() }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;
    use crate::table::Source;

    #[test]
    fn every_known_name_is_a_layer() {
        let empty = DeTable::new();
        for name in NAMES {
            let mut table = Table::new(Source { at: "t", text: "" }, 0, String::new(), &empty);
            assert!(Layer::read(name, &mut table).is_some(), "{name}");
        }
        assert!(NAMES.is_sorted());
    }
}
