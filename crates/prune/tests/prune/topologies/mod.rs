//! The topologies that pruning has to get right, each as small as it can be.

mod branching;
mod mixing;
mod plain;
mod residual;

use espalier_ir::{ConvTranspose, Graph, NodeId, Op, Pads, Unary};

use self::branching::*;
use self::mixing::*;
use self::plain::*;
use self::residual::*;
use crate::nets::Net;

/// A topology, and whether the accelerator executes it.
pub struct Topology {
    pub name: &'static str,
    pub on_array: bool,
    pub build: fn(u64) -> Graph,
}

const fn array(name: &'static str, build: fn(u64) -> Graph) -> Topology {
    Topology { name, on_array: true, build }
}

const fn host(name: &'static str, build: fn(u64) -> Graph) -> Topology {
    Topology { name, on_array: false, build }
}

/// Quantized values; no gradients.
pub const QUANTIZED: &str = "scales a channel";

/// Every topology but recurrent networks, which have tests of their own.
pub const TOPOLOGIES: &[Topology] = &[
    array("lenet", lenet),
    array("mlp", mlp),
    array("cnn with batch normalization", cnn),
    array("batch normalization on the input", normalized_input),
    array("vgg", vgg),
    array("residual, identity", |s| residual(s, Shortcut::Identity)),
    array("residual, projection", |s| residual(s, Shortcut::Projection)),
    array("residual, zero padding", |s| residual(s, Shortcut::ZeroPadding)),
    array("bottleneck", bottleneck),
    array("pre-activation residual", pre_activation),
    array("mobilenet v1", mobilenet_v1),
    array("mobilenet v2", mobilenet_v2),
    array("mobilenet v3", mobilenet_v3),
    array("resnext", resnext),
    array("densenet", densenet),
    array("inception", inception),
    array("squeezenet", squeezenet),
    array("u-net, transposed convolution", |s| unet(s, true)),
    array("u-net, resize", |s| unet(s, false)),
    array("concat then split", concat_split),
    array("split with a shared module", shared_split),
    array("shufflenet", shufflenet),
    host("channel mask", channel_mask),
    array("one output channel", one_output),
    array("depthwise multiplier 2", multiplier),
    array("1-D keyword spotting", keyword_1d),
    array("ds-cnn", ds_cnn),
    array("autoencoder", autoencoder),
    array("convolutional autoencoder, tied weights", tied_autoencoder),
    array("shared weights", shared_weights),
    array("several inputs and outputs", several_ends),
    array("prelu", prelu),
    array("padded channels read by a convolution", padded_reader),
    array("duplicated channels", duplicated),
    array("depthwise transposed convolution", depthwise_transpose),
    array("efficientnet", efficientnet),
    host("maps side by side", side_by_side),
    host("pixel shuffle", pixel_shuffle),
    host("layer normalization", layer_norm),
    host("convnext", convnext),
    host("group normalization", group_norm),
    host("instance normalization", instance_norm),
    host("multi-head attention", |s| transformer(s, 2, 1, false)),
    host("grouped-query attention", |s| transformer(s, 4, 2, false)),
    host("attention, heads apart", |s| transformer(s, 2, 1, true)),
    host("grouped queries, heads apart", |s| transformer(s, 4, 2, true)),
    host(QUANTIZED, quantized),
];

impl Net {
    fn unit(&mut self, x: NodeId, out: usize, k: usize, stride: usize) -> NodeId {
        let c = self.conv(x, out, k, stride, 1);
        let n = self.norm(c);
        self.relu(n)
    }

    fn depthwise(&mut self, x: NodeId, stride: usize) -> NodeId {
        let c = self.channels(x);
        let d = self.conv(x, c, 3, stride, c);
        let n = self.norm(d);
        self.relu(n)
    }

    fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op("add", Op::Add, &[a, b])
    }

    fn cat(&mut self, parts: &[NodeId]) -> NodeId {
        self.op("cat", Op::Concat { axis: 0 }, parts)
    }

    fn select(&mut self, x: NodeId, channels: Vec<Option<usize>>) -> NodeId {
        self.op("select", Op::Select { channels }, &[x])
    }

    fn range(&mut self, x: NodeId, range: std::ops::Range<usize>) -> NodeId {
        self.select(x, range.map(Some).collect())
    }

    fn unary(&mut self, x: NodeId, unary: Unary) -> NodeId {
        self.op("unary", Op::Unary(unary), &[x])
    }

    fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.op("mul", Op::Mul, &[a, b])
    }

    pub fn deconv(&mut self, x: NodeId, out: usize, groups: usize) -> NodeId {
        let inputs = self.channels(x);
        let weight = self.param("up", &[inputs, out / groups, 2, 2], 1.0 / (inputs as f32).sqrt());
        let bias = Some(self.param("upb", &[out], 0.5));
        let conv = ConvTranspose {
            weight,
            bias,
            stride: [2, 2],
            pads: Pads::default(),
            output_pads: [0, 0],
            dilation: [1, 1],
            groups,
        };
        self.op("deconv", Op::ConvTranspose(conv), &[x])
    }

    /// Squeeze and excite: one gate a channel.
    pub fn squeeze_excite(&mut self, x: NodeId, width: usize, gate: Unary) -> NodeId {
        let c = self.channels(x);
        let s = self.op("squeeze", Op::GlobalAveragePool, &[x]);
        let s = self.conv(s, width, 1, 1, 1);
        let s = self.relu(s);
        let s = self.conv(s, c, 1, 1, 1);
        let s = self.unary(s, gate);
        self.mul(x, s)
    }

    pub fn hard_swish(&mut self, x: NodeId) -> NodeId {
        let gate = self.unary(x, Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 });
        self.mul(x, gate)
    }

    /// Average, flattened, and a fully connected layer of three classes.
    fn head(mut self, x: NodeId) -> Graph {
        let x = self.op("gap", Op::GlobalAveragePool, &[x]);
        let x = self.op("flat", Op::Flatten, &[x]);
        let x = self.gemm(x, 3);
        self.finish(x)
    }
}

fn image(seed: u64) -> (Net, NodeId) {
    Net::new(seed, &[2, 8, 8])
}
