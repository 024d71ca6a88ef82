//! Seeded random networks with everything that one accelerator layer may be, in odd sizes.

use espalier_ir::{Conv, ConvTranspose, Graph, NodeId, Op, Pads, ParamId, Pool, Tensor, Unary};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `from..=to`.
    pub fn within(&mut self, from: usize, to: usize) -> usize {
        from + (self.next() % (to - from + 1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.within(0, 99) < percent
    }

    /// Uniform in -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0, from.len() - 1)]
    }

    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.signed() * scale).collect()
    }

    /// Integers with every extreme among them.
    pub fn integers(&mut self, count: usize) -> Vec<i8> {
        let any = |r: &mut Self| if r.chance(20) { r.pick(&[-128, 127, 0]) } else { r.next() as i8 };
        (0..count).map(|_| any(self)).collect()
    }
}

/// A random network and samples for its input.
pub struct Case {
    pub graph: Graph,
    pub samples: Vec<Vec<f32>>,
}

impl Case {
    pub fn new(seed: u64) -> Self {
        let mut builder =
            Builder { random: Random(seed), graph: Graph::new(format!("random {seed}")), open: Vec::new() };
        let shape = [builder.random.within(1, 5), builder.random.within(5, 13), builder.random.within(5, 13)];
        if builder.random.chance(10) {
            // No image: fully connected layers alone.
            let input = builder.graph.add_input("x", &[shape.iter().product()]).unwrap();
            builder.open.push(input);
            return builder.finish();
        }
        let input = builder.graph.add_input("x", &shape).unwrap();
        builder.open.push(input);
        for _ in 0..builder.random.within(2, 7) {
            builder.step();
        }
        builder.finish()
    }

    pub fn samples(&self) -> impl Iterator<Item = &[f32]> {
        self.samples.iter().map(Vec::as_slice)
    }
}

struct Builder {
    random: Random,
    graph: Graph,
    /// Spatial values that later layers may read.
    open: Vec<NodeId>,
}

impl Builder {
    fn finish(mut self) -> Case {
        self.head();
        let Builder { mut random, mut graph, .. } = self;
        graph.remove_unused_params();
        graph.verify().unwrap();
        let offset = if random.chance(50) { 2.0 } else { 0.0 };
        let count = graph.node(graph.inputs()[0]).shape.iter().product();
        let samples = (0..12).map(|_| random.values(count, 2.0).iter().map(|v| v + offset).collect()).collect();
        Case { graph, samples }
    }

    fn step(&mut self) {
        let from = if self.random.chance(70) { *self.open.last().unwrap() } else { self.random.pick(&self.open) };
        let made = match self.random.within(0, 14) {
            0..=4 => self.conv(from),
            5 => self.residual(from),
            6 => self.concat(from),
            7 => self.max_pool(from),
            8 => self.average_pool(from),
            9 => Some(self.batch_norm(from)),
            10 => Some(self.activation(from)),
            11 => self.select(from),
            12 => self.enlarge(from),
            13 => self.gate(from),
            _ => {
                let op = Op::GlobalAveragePool;
                (self.open.len() > 3).then(|| self.graph.add("gap", op, &[from]).unwrap())
            }
        };
        self.open.extend(made);
    }

    fn weight(&mut self, shape: &[usize]) -> ParamId {
        let fan_in: usize = shape[1..].iter().product();
        let mut values = Vec::new();
        for _ in 0..shape[0] {
            let spread = 2f32.powi(self.random.within(0, 3) as i32 - 2);
            let mut channel = self.random.values(fan_in, spread * (3.0 / fan_in as f32).sqrt());
            if self.random.chance(8) {
                channel.fill(0.0);
            }
            if self.random.chance(30) {
                channel.iter_mut().step_by(2).for_each(|w| *w = 0.0);
            }
            values.extend(channel);
        }
        self.graph.add_param("w", Tensor::f32(shape, values))
    }

    fn bias(&mut self, channels: usize) -> Option<ParamId> {
        let values = self.random.values(channels, 0.3);
        self.random.chance(70).then(|| self.graph.add_param("b", Tensor::f32([channels], values)))
    }

    fn conv(&mut self, from: NodeId) -> Option<NodeId> {
        let channels = self.graph.node(from).shape[0];
        let groups = if self.random.chance(30) { channels } else { 1 };
        let out = if groups == 1 { self.random.within(1, 9) } else { channels * self.random.within(1, 2) };
        let [kh, kw] = [self.random.pick(&[1, 2, 3, 5]), self.random.pick(&[1, 2, 3, 5])];
        let mut pad = |kernel: usize| self.random.within(0, kernel - 1);
        let pads = Pads { top: pad(kh), left: pad(kw), bottom: pad(kh), right: pad(kw) };
        let stride = [self.random.pick(&[1, 1, 2, 3]), self.random.pick(&[1, 1, 2, 3])];
        let dilation = [self.random.pick(&[1, 1, 2]), self.random.pick(&[1, 1, 2])];
        let weight = self.weight(&[out, channels / groups, kh, kw]);
        let bias = self.bias(out);
        let op = Op::Conv(Conv { weight, bias, stride, pads, dilation, groups });
        // Windows that do not fit a small input are refused: no node then.
        let conv = self.graph.add("conv", op, &[from]).ok()?;
        Some(self.tail(conv))
    }

    /// What write-back may absorb, in random selection and order.
    fn tail(&mut self, mut node: NodeId) -> NodeId {
        if self.random.chance(40) {
            node = self.batch_norm(node);
        }
        if self.random.chance(60) {
            node = self.activation(node);
        }
        let [_, h, w] = self.graph.node(node).shape[..] else { return node };
        if self.random.chance(30) && h >= 3 && w >= 3 {
            let kernel = [self.random.within(1, 3), self.random.within(1, 3)];
            let pool = Pool { kernel, stride: kernel, pads: Pads::default() };
            node = self.graph.add("pool", Op::MaxPool(pool), &[node]).unwrap();
        }
        node
    }

    fn batch_norm(&mut self, from: NodeId) -> NodeId {
        let channels = self.graph.node(from).shape[0];
        let mut param = |random: &mut Random, centre: f32, spread: f32| {
            let values = random.values(channels, spread).iter().map(|v| v + centre).collect();
            self.graph.add_param("bn", Tensor::f32([channels], values))
        };
        let (gamma, beta) = (param(&mut self.random, 0.8, 0.7), param(&mut self.random, 0.0, 0.5));
        let (mean, variance) = (param(&mut self.random, 0.0, 0.5), param(&mut self.random, 1.0, 0.9));
        self.graph.add("bn", Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1e-3 }, &[from]).unwrap()
    }

    /// A function of single values, with or without slopes and gates.
    fn function(&mut self, from: NodeId) -> NodeId {
        let unary = match self.random.within(0, 5) {
            0 => Unary::Sigmoid,
            1 => Unary::Tanh,
            2 => Unary::LeakyRelu { alpha: 0.1 },
            3 => Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
            4 => Unary::Elu { alpha: 1.0 },
            _ => Unary::Softplus,
        };
        match self.random.within(0, 2) {
            0 => {
                let count = if self.random.chance(30) { 1 } else { self.graph.node(from).shape[0] };
                let values = self.random.values(count, 0.8);
                let slope = self.graph.add_param("slope", Tensor::f32([count], values));
                self.graph.add("prelu", Op::PRelu { slope }, &[from]).unwrap()
            }
            1 => {
                let gate = self.graph.add("gate", Op::Unary(unary), &[from]).unwrap();
                let operands = if self.random.chance(50) { [from, gate] } else { [gate, from] };
                self.graph.add("gated", Op::Mul, &operands).unwrap()
            }
            _ => self.graph.add("function", Op::Unary(unary), &[from]).unwrap(),
        }
    }

    fn activation(&mut self, from: NodeId) -> NodeId {
        if self.random.chance(25) {
            return self.function(from);
        }
        let clip = |min, max| Op::Clip { min, max };
        let op = match self.random.within(0, 4) {
            0..=2 => Op::Relu,
            3 => clip(0.0, 0.7),
            _ => clip(-0.31, 0.9),
        };
        self.graph.add("act", op, &[from]).unwrap()
    }

    fn residual(&mut self, from: NodeId) -> Option<NodeId> {
        let channels = self.graph.node(from).shape[0];
        let shortcut = self.random.chance(40);
        let stride = if shortcut { [self.random.within(1, 2), self.random.within(1, 2)] } else { [1, 1] };
        let zeros = if shortcut { [self.random.within(0, 2), self.random.within(1, 3)] } else { [0, 0] };
        let outputs = channels + zeros[0] + zeros[1];
        let weight = self.weight(&[outputs, channels, 3, 3]);
        let pads = Pads { top: 1, left: 1, bottom: 1, right: 1 };
        let op = Op::Conv(Conv { weight, bias: None, stride, pads, dilation: [1, 1], groups: 1 });
        let branch = self.graph.add("branch", op, &[from]).unwrap();
        let mut other = from;
        if stride != [1, 1] {
            let pool = Pool { kernel: [1, 1], stride, pads: Pads::default() };
            other = self.graph.add("sample", Op::MaxPool(pool), &[other]).unwrap();
        }
        if outputs != channels {
            let [before, after] = zeros.map(|n| vec![None; n]);
            let channels = [before, (0..channels).map(Some).collect(), after].concat();
            other = self.graph.add("widen", Op::Select { channels }, &[other]).unwrap();
        }
        let operands = if self.random.chance(50) { [branch, other] } else { [other, branch] };
        let sum = self.graph.add("sum", Op::Add, &operands).unwrap();
        Some(self.tail(sum))
    }

    fn concat(&mut self, from: NodeId) -> Option<NodeId> {
        let shape = self.graph.node(from).shape.clone();
        let fitting = |n: &&NodeId| self.graph.node(**n).shape[1..] == shape[1..];
        let parts: Vec<NodeId> = self.open.iter().filter(fitting).copied().take(3).collect();
        let joined = self.graph.add("concat", Op::Concat { axis: 0 }, &parts).unwrap();
        Some(if self.random.chance(30) { self.activation(joined) } else { joined })
    }

    /// Picked, repeated, missing and zero channels.
    fn select(&mut self, from: NodeId) -> Option<NodeId> {
        let available = self.graph.node(from).shape[0];
        let count = self.random.within(1, available + 3);
        let channels =
            (0..count).map(|_| self.random.chance(80).then(|| self.random.within(0, available - 1))).collect();
        let made = self.graph.add("select", Op::Select { channels }, &[from]).unwrap();
        Some(if self.random.chance(30) { self.activation(made) } else { made })
    }

    /// A factor for each channel, from the averages of the channels: squeeze and excitation.
    fn gate(&mut self, from: NodeId) -> Option<NodeId> {
        let [channels, _, _] = self.graph.node(from).shape[..] else { return None };
        let means = self.graph.add("means", Op::GlobalAveragePool, &[from]).unwrap();
        let weight = self.weight(&[channels, channels, 1, 1]);
        let bias = self.bias(channels);
        let op = Conv { weight, bias, stride: [1, 1], pads: Pads::default(), dilation: [1, 1], groups: 1 };
        let excited = self.graph.add("excite", Op::Conv(op), &[means]).unwrap();
        let factors = if self.random.chance(50) {
            self.graph.add("sigmoid", Op::Unary(Unary::Sigmoid), &[excited]).unwrap()
        } else {
            self.activation(excited)
        };
        let operands = if self.random.chance(50) { [from, factors] } else { [factors, from] };
        let made = self.graph.add("scaled", Op::Mul, &operands).unwrap();
        Some(if self.random.chance(30) { self.activation(made) } else { made })
    }

    /// A transposed convolution, or elements repeated.
    fn enlarge(&mut self, from: NodeId) -> Option<NodeId> {
        let [channels, height, width] = self.graph.node(from).shape[..] else { return None };
        if height * width > 200 {
            return None;
        }
        let stride = [self.random.within(1, 2), self.random.within(1, 3)];
        if self.random.chance(40) {
            return self.graph.add("repeat", Op::Resize { factor: stride }, &[from]).ok();
        }
        // As large as the stride and two more, one of which each end cuts off.
        let kernel = stride.map(|s| s + 2);
        let groups = if self.random.chance(30) { channels } else { 1 };
        let out = self.random.within(1, 4);
        let weight = self.weight(&[channels, out, kernel[0], kernel[1]]);
        let bias = self.bias(out * groups);
        let pads = Pads { top: 1, left: 1, bottom: 1, right: 1 };
        let op = Op::ConvTranspose(ConvTranspose {
            weight,
            bias,
            stride,
            pads,
            output_pads: [0, 0],
            dilation: [1, 1],
            groups,
        });
        let made = self.graph.add("enlarge", op, &[from]).ok()?;
        Some(self.tail(made))
    }

    fn pool(&mut self) -> Pool {
        let kernel = [self.random.within(1, 4), self.random.within(1, 4)];
        let stride = [self.random.within(1, 3), self.random.within(1, 3)];
        let mut pad = |kernel: usize| self.random.within(0, kernel - 1);
        let (top, left) = (pad(kernel[0]), pad(kernel[1]));
        Pool { kernel, stride, pads: Pads { top, left, bottom: pad(kernel[0]), right: pad(kernel[1]) } }
    }

    fn max_pool(&mut self, from: NodeId) -> Option<NodeId> {
        let pool = self.pool();
        let made = self.graph.add("max", Op::MaxPool(pool), &[from]).ok()?;
        Some(if self.random.chance(30) { self.activation(made) } else { made })
    }

    fn average_pool(&mut self, from: NodeId) -> Option<NodeId> {
        let pool = self.pool();
        self.graph.add("average", Op::AveragePool { pool, count_include_pad: true }, &[from]).ok()
    }

    /// Fully connected layers on the last value, sometimes softmax, sometimes a second output.
    fn head(&mut self) {
        let last = *self.open.last().unwrap();
        let mut node = last;
        let flattens = self.random.chance(80) || self.graph.node(last).shape.len() == 1;
        if flattens {
            node = self.graph.add("flat", Op::Flatten, &[node]).unwrap();
            for _ in 0..self.random.within(1, 2) {
                let features = self.graph.node(node).shape[0];
                let out = self.random.within(2, 12);
                let weight = self.weight(&[out, features]);
                let bias = self.bias(out);
                node = self.graph.add("fc", Op::Gemm { weight, bias }, &[node]).unwrap();
                if self.random.chance(30) {
                    node = self.batch_norm(node);
                }
                if self.random.chance(50) {
                    node = self.activation(node);
                }
                if self.random.chance(15) {
                    // Behind an activation it cannot be folded: a scale of single values.
                    node = self.batch_norm(node);
                }
                if self.random.chance(15) {
                    node = self.graph.add("double", Op::Add, &[node, node]).unwrap();
                }
            }
        }
        if self.random.chance(30) {
            node = self.graph.add("softmax", Op::Softmax { axis: 0 }, &[node]).unwrap();
        } else if flattens && self.random.chance(30) {
            self.graph.add_output(last);
        }
        self.graph.add_output(node);
    }
}
