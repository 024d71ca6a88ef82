//! The same networks as in `train.rs`, written the way burn's book does: modules, autodiff, a module
//! optimizer, all threads inside the kernels. Training samples a second, for comparison.
//!
//! `cargo bench --workspace --bench burn_modules`

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use divan::counter::ItemsCount;

const BATCH: usize = 64;

fn main() {
    divan::main();
}

fn conv(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Conv2d {
    let padding = match (kernel, stride) {
        (3, 1) => PaddingConfig2d::Explicit(1, 1, 1, 1),
        (3, _) => PaddingConfig2d::Explicit(0, 0, 1, 1),
        _ => PaddingConfig2d::Valid,
    };
    Conv2dConfig::new(channels, [kernel; 2]).with_stride([stride; 2]).with_padding(padding).init(device)
}

#[derive(Module, Debug)]
struct LeNet {
    convs: Vec<Conv2d>,
    linears: Vec<Linear>,
}

impl LeNet {
    fn new(device: &Device) -> Self {
        let same = PaddingConfig2d::Explicit(2, 2, 2, 2);
        let first = Conv2dConfig::new([1, 6], [5, 5]).with_padding(same).init(device);
        let linears = [[400, 120], [120, 84], [84, 10]];
        LeNet {
            convs: vec![first, conv([6, 16], 5, 1, device)],
            linears: linears.iter().map(|[i, o]| LinearConfig::new(*i, *o).init(device)).collect(),
        }
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<2> {
        for conv in &self.convs {
            x = max_pool2d(relu(conv.forward(x)), MaxPoolOptions::new([2, 2]).with_stride([2, 2]));
        }
        let mut x: Tensor<2> = x.flatten(1, 3);
        for (position, linear) in self.linears.iter().enumerate() {
            x = linear.forward(x);
            x = if position < 2 { relu(x) } else { x };
        }
        x
    }
}

#[derive(Module, Debug)]
struct Block {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    shortcut: Option<Conv2d>,
}

#[derive(Module, Debug)]
struct ResNet8 {
    stem: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Block>,
    head: Linear,
}

impl ResNet8 {
    fn new(device: &Device) -> Self {
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        let blocks = [(16, 16, 1), (16, 32, 2), (32, 64, 2)].map(|(i, o, stride)| Block {
            convs: vec![conv([i, o], 3, stride, device), conv([o, o], 3, 1, device)],
            norms: vec![norm(o), norm(o)],
            shortcut: (stride > 1).then(|| conv([i, o], 1, stride, device)),
        });
        ResNet8 {
            stem: conv([3, 16], 3, 1, device),
            norm: norm(16),
            blocks: blocks.into(),
            head: LinearConfig::new(64, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.norm.forward(self.stem.forward(x)));
        for block in &self.blocks {
            let y = relu(block.norms[0].forward(block.convs[0].forward(x.clone())));
            let y = block.norms[1].forward(block.convs[1].forward(y));
            x = match &block.shortcut {
                Some(shortcut) => shortcut.forward(x),
                None => x,
            };
            x = relu(x + y);
        }
        let [batch, channels, h, w] = x.dims();
        self.head.forward(x.reshape([batch, channels, h * w]).mean_dim(2).reshape([batch, channels]))
    }
}

/// One epoch of `batches` batches of pictures with these dimensions.
fn epoch<M: Module + Clone>(model: &M, forward: impl Fn(&M, Tensor<4>) -> Tensor<2>, dims: [usize; 3], batches: usize) {
    let device = Device::flex().autodiff();
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let mut model = model.clone();
    let [c, h, w] = dims;
    let values: Vec<f32> = (0..BATCH * c * h * w).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    let labels: Vec<i32> = (0..BATCH as i32).map(|i| i % 10).collect();
    for _ in 0..batches {
        let x = Tensor::<4>::from_data(TensorData::new(values.clone(), [BATCH, c, h, w]), &device);
        let y = Tensor::<1, Int>::from_data(TensorData::new(labels.clone(), [BATCH]), &device);
        let loss = CrossEntropyLossConfig::new().init(&device).forward(forward(&model, x), y);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.01, model, gradients);
    }
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn lenet(bencher: divan::Bencher<'_, '_>) {
    let model = LeNet::new(&Device::flex().autodiff());
    bencher.counter(ItemsCount::new(16 * BATCH)).bench_local(|| epoch(&model, LeNet::forward, [1, 28, 28], 16));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn resnet8(bencher: divan::Bencher<'_, '_>) {
    let model = ResNet8::new(&Device::flex().autodiff());
    bencher.counter(ItemsCount::new(4 * BATCH)).bench_local(|| epoch(&model, ResNet8::forward, [3, 32, 32], 4));
}
