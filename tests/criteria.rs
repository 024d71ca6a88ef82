//! Criteria on measured evidence: a useless channel is found, and measurements agree between crates.

use std::collections::BTreeMap;

use espalier_ir::{Conv, Graph, NodeId, Op, Pads, ParamId, Random, Tensor};
use espalier_prune::{
    ActivationStatistics, Criterion, Evidence, Needs, Normalization, Role, Unit, activation_sites, channel_readers,
    dependency_groups, importance, vector_importance,
};
use espalier_target::AcceleratorConfig;
use espalier_train::{Execution, Samples, gate_gradients, gate_products, visit_activations};

const SAMPLES: usize = 400;
const CLASSES: usize = 4;
const SIDE: usize = 6;
/// The planted channel.
const USELESS: usize = 3;

struct Data {
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

impl Data {
    /// Noise with a bright row that names the class.
    fn new() -> Self {
        let mut random = Random::new(11);
        let mut data = Data { inputs: Vec::new(), labels: Vec::new() };
        for _ in 0..SAMPLES {
            let label = random.below(CLASSES);
            data.labels.push(label as u32);
            for y in 0..SIDE {
                let bright = if y == label { 1.5 } else { 0.0 };
                data.inputs.extend((0..SIDE).map(|_| bright + random.unit() - 0.5));
            }
        }
        data
    }

    fn samples(&self) -> Samples<'_> {
        Samples { inputs: &self.inputs, labels: &self.labels, sample_len: SIDE * SIDE }
    }
}

struct Net {
    graph: Graph,
    random: Random,
}

impl Net {
    fn param(&mut self, name: &str, shape: &[usize], scale: f32, offset: f32) -> ParamId {
        let values = (0..shape.iter().product()).map(|_| (self.random.unit() * 2.0 - 1.0) * scale + offset).collect();
        self.graph.add_param(name, Tensor::f32(shape, values))
    }

    /// Convolution, batch normalization, ReLU.
    fn unit(&mut self, x: NodeId, out: usize) -> NodeId {
        let inputs = self.graph.node(x).shape[0];
        let weight = self.param("w", &[out, inputs, 3, 3], (6.0 / (9 * inputs) as f32).sqrt(), 0.0);
        let pads = Pads { top: 1, left: 1, bottom: 1, right: 1 };
        let conv = Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
        let x = self.graph.add("conv", Op::Conv(conv), &[x]).unwrap();
        let [gamma, beta, mean] = [(0.3, 1.0), (0.3, 0.1), (0.1, 0.0)].map(|(s, o)| self.param("bn", &[out], s, o));
        let variance = self.graph.add_param("bn", Tensor::f32([out], vec![1.0; out]));
        let norm = Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 };
        let x = self.graph.add("bn", norm, &[x]).unwrap();
        self.graph.add("relu", Op::Relu, &[x]).unwrap()
    }
}

/// A residual network whose first six channels are one stream that three nodes read.
fn network() -> Graph {
    let mut net = Net { graph: Graph::new("net"), random: Random::new(5) };
    let x = net.graph.add_input("x", &[1, SIDE, SIDE]).unwrap();
    let stream = net.unit(x, 6);
    let inner = net.unit(stream, 5);
    let back = net.unit(inner, 6);
    let sum = net.graph.add("add", Op::Add, &[stream, back]).unwrap();
    let pool = net.graph.add("gap", Op::GlobalAveragePool, &[sum]).unwrap();
    let flat = net.graph.add("flat", Op::Flatten, &[pool]).unwrap();
    let weight = net.param("fc", &[CLASSES, 6], 1.0, 0.0);
    let bias = Some(net.param("fcb", &[CLASSES], 0.2, 0.0));
    let end = net.graph.add("fc", Op::Gemm { weight, bias }, &[flat]).unwrap();
    net.graph.add_output(end);
    net.graph
}

/// Sets to zero whatever the channel owns with one of the roles.
fn clear(graph: &mut Graph, roles: &[Role]) {
    let groups = dependency_groups(graph).unwrap();
    let group = &groups.groups[1];
    assert_eq!(group.channels, 6, "the stream");
    for member in group.members.iter().filter(|m| roles.contains(&m.role)) {
        let mut tensor = graph.param(member.param).clone();
        let shape = tensor.shape().to_vec();
        let inner: usize = shape[member.axis + 1..].iter().product();
        for (i, value) in tensor.as_f32_mut().iter_mut().enumerate() {
            if member.positions[USELESS].contains(&(i / inner % shape[member.axis])) {
                *value = 0.0;
            }
        }
        graph.set_param(member.param, tensor);
    }
}

fn evidence(graph: &Graph, data: &Data) -> Evidence {
    let needs = Criterion::ALL.iter().filter_map(|c| c.needs(Unit::Channel)).fold(Needs::default(), Needs::and);
    let (samples, execution) = (data.samples(), Execution::default());
    let mut activations = ActivationStatistics { labels: data.labels.clone(), ..Default::default() };
    let observe = |chunk: &espalier_train::ActivationChunk| {
        ActivationStatistics::observe(graph, needs, chunk.first, &chunk.values)
    };
    visit_activations(graph, &activation_sites(graph), &samples, execution, observe, &mut |part| {
        activations.absorb(part);
    })
    .unwrap();
    Evidence {
        products: gate_products(graph, &samples, 8, execution).unwrap(),
        batch_samples: SAMPLES as f64 / 8.0,
        gate_gradients: gate_gradients(graph, &channel_readers(graph), &samples, execution).unwrap(),
        activations: Some(activations),
    }
}

/// The lowest score of the stream belongs to the planted channel alone.
fn finds(graph: &Graph, criterion: Criterion, seen: &Evidence) -> bool {
    let groups = dependency_groups(graph).unwrap();
    let scores = importance(graph, &groups, criterion, Normalization::None, seen).unwrap().scores;
    let stream = &scores[1];
    stream.iter().enumerate().all(|(c, s)| c == USELESS || *s > stream[USELESS])
}

/// Nothing that is computed reaches the planted channel: all that data show of it is zero.
#[test]
fn a_silent_channel_has_the_lowest_score() {
    let mut graph = network();
    clear(&mut graph, &[Role::Output, Role::PerChannel]);
    let seen = evidence(&graph, &Data::new());
    for criterion in [
        Criterion::BnScale,
        Criterion::Taylor,
        Criterion::TaylorSecond,
        Criterion::Obd,
        Criterion::Apoz,
        Criterion::MeanActivation,
        Criterion::Hrank,
        Criterion::ActivationEntropy,
        Criterion::EntropyEnergy,
        Criterion::ClassMi,
        Criterion::Wanda,
    ] {
        assert!(finds(&graph, criterion, &seen), "{}", criterion.name());
    }
}

/// The planted channel carries values, but nobody reads them: what asks for the effect must see that.
#[test]
fn an_unread_channel_has_the_lowest_score() {
    let mut graph = network();
    clear(&mut graph, &[Role::Input]);
    let seen = evidence(&graph, &Data::new());
    for criterion in
        [Criterion::Taylor, Criterion::TaylorSecond, Criterion::Obd, Criterion::EntropyEnergy, Criterion::Wanda]
    {
        assert!(finds(&graph, criterion, &seen), "{}", criterion.name());
    }
    for criterion in [Criterion::Apoz, Criterion::MeanActivation, Criterion::Hrank] {
        assert!(!finds(&graph, criterion, &seen), "{} looks at the channel alone", criterion.name());
    }
}

/// The stream has a channel that nobody reads: so do all vectors that read it.
#[test]
fn vectors_of_an_unread_channel_have_the_lowest_score() {
    let mut graph = network();
    clear(&mut graph, &[Role::Input]);
    let seen = evidence(&graph, &Data::new());
    let config = AcceleratorConfig::new(4, 4, 4096, 64);
    for criterion in Criterion::ALL.into_iter().filter(|c| c.needs(Unit::Vector).is_some()) {
        if matches!(criterion, Criterion::Random { .. }) {
            continue;
        }
        let scores = vector_importance(&graph, &config, criterion, Normalization::None, &seen).unwrap().scores;
        // The convolution that reads the stream: 6 channels of 9 taps in blocks of 4 outputs.
        for block in scores[1].as_ref().unwrap() {
            assert_eq!(block.len(), 54);
            assert!(block[9 * USELESS..9 * (USELESS + 1)].iter().all(|s| *s == 0.0), "{}", criterion.name());
            assert!(block.iter().any(|s| *s > 0.0), "{}", criterion.name());
        }
    }
}

#[test]
fn both_collectors_of_activations_see_the_same() {
    let graph = network();
    let data = Data::new();
    let fast = evidence(&graph, &data).activations.unwrap();
    let needs = Criterion::Wanda.needs(Unit::Channel).unwrap().and(Criterion::ClassMi.needs(Unit::Channel).unwrap());
    let samples: Vec<Vec<&[f32]>> = data.inputs.chunks(SIDE * SIDE).map(|s| vec![s]).collect();
    let slow = ActivationStatistics::of_samples(&graph, needs, &samples, &data.labels);
    assert_eq!(fast.labels, slow.labels);
    assert_eq!(fast.sites.keys().collect::<Vec<_>>(), slow.sites.keys().collect::<Vec<_>>());
    for (node, site) in &slow.sites {
        let other = &fast.sites[node];
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-4 * a.abs().max(1e-3);
        assert!(site.energy.iter().zip(&other.energy).all(|(a, b)| near(*a, *b)));
        assert!(site.magnitude.iter().zip(&other.magnitude).all(|(a, b)| near(*a, *b)));
        assert!(site.means.iter().zip(&other.means).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

/// The mean over samples of the gates is the sum of weight times gradient over the columns of the readers.
#[test]
fn gates_of_samples_add_up_to_those_of_batches() {
    let graph = network();
    let data = Data::new();
    let seen = evidence(&graph, &data);
    let groups = dependency_groups(&graph).unwrap();
    let mut of_samples: BTreeMap<usize, f64> = BTreeMap::new();
    for reader in channel_readers(&graph) {
        let operand = graph.operands(reader)[0];
        let gates = seen.gate_gradients[&reader].as_f32();
        let channels = groups.value_channels(operand);
        for (i, gate) in gates.iter().enumerate() {
            let channel = channels[i % channels.len()];
            if channel.group == 1 {
                *of_samples.entry(channel.channel).or_default() += f64::from(*gate) / SAMPLES as f64;
            }
        }
    }
    let whole = gate_products(&graph, &data.samples(), 1, Execution::default()).unwrap();
    let taylor = importance(
        &graph,
        &groups,
        Criterion::Taylor,
        Normalization::None,
        &Evidence::of_products(whole, SAMPLES as f64),
    );
    for (channel, score) in taylor.unwrap().scores[1].iter().enumerate() {
        let gate = of_samples[&channel];
        assert!((score - gate * gate).abs() <= 1e-3 * score.max(1e-6), "{channel}: {score} and {}", gate * gate);
    }
}
