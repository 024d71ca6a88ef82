//! The criteria: each against numbers by hand, all against what any of them must satisfy.

use std::collections::{BTreeMap, BTreeSet};

use espalier_ir::{Graph, NodeId, Op, Tensor, TensorMap, evaluate};
use espalier_prune::{
    ActivationStatistics, Criterion, DependencyGroups, Evidence, Needs, Normalization, Unit, activation_sites,
    channel_readers, dependency_groups, importance, permute, vector_importance,
};
use espalier_target::AcceleratorConfig;

use crate::nets::{Dice, Net, random_graph, resnet};

const SAMPLES: usize = 160;
const CLASSES: usize = 3;

/// Everything that any criterion may ask for.
fn all_needs() -> Needs {
    Criterion::ALL.iter().filter_map(|c| c.needs(Unit::Channel)).fold(Needs::default(), Needs::and)
}

fn inputs(graph: &Graph, samples: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut dice = Dice::new(seed);
    let len = graph.node(graph.inputs()[0]).shape.iter().product();
    (0..samples).map(|_| dice.values(len)).collect()
}

/// Evidence that follows every permutation of channels: activations are real, "gradients" are functions of
/// weights and activations element by element.
fn evidence(graph: &Graph, inputs: &[Vec<f32>]) -> Evidence {
    let samples: Vec<Vec<&[f32]>> = inputs.iter().map(|i| vec![i.as_slice()]).collect();
    let labels: Vec<u32> = inputs.iter().map(|i| u32::from(i[0] > 0.0) + u32::from(i[1] > 0.0)).collect();
    let activations = ActivationStatistics::of_samples(graph, all_needs(), &samples, &labels);
    let product = |batch: usize, w: f32| w * (w * 3.0 + batch as f32).sin() - 0.01 * w;
    let products = (0..4)
        .map(|b| {
            let tensor = |t: &Tensor| Tensor::f32(t.shape(), t.as_f32().iter().map(|w| product(b, *w)).collect());
            graph.params().map(|(id, _, t)| (id, tensor(t))).collect::<TensorMap>()
        })
        .collect();
    let gate = |reader: NodeId| {
        let operand = graph.operands(reader)[0];
        let site = &activations.sites[&operand];
        let rows = site.means.chunks(site.channels()).flatten().map(|m| m * (m * 2.0).cos() * 0.1).collect();
        (reader, Tensor::f32([site.samples, site.channels()], rows))
    };
    let gate_gradients = channel_readers(graph).into_iter().map(gate).collect();
    Evidence { products, batch_samples: 16.0, gate_gradients, activations: Some(activations) }
}

/// A random reordering of every open group, among channels that own equally much.
fn orders(groups: &DependencyGroups, dice: &mut Dice) -> Vec<Vec<usize>> {
    let order = |group: &espalier_prune::Group| {
        let mut order: Vec<usize> = (0..group.channels).collect();
        if group.frozen.is_some() {
            return order;
        }
        let owned = |c: usize| -> Vec<usize> { group.members.iter().map(|m| m.positions[c].len()).collect() };
        let kinds: BTreeSet<Vec<usize>> = (0..group.channels).map(owned).collect();
        for kind in kinds {
            let places: Vec<usize> = (0..group.channels).filter(|c| owned(*c) == kind).collect();
            let mut shuffled = places.clone();
            dice.shuffle(&mut shuffled);
            places.into_iter().zip(shuffled).for_each(|(p, s)| order[p] = s);
        }
        order
    };
    groups.groups.iter().map(order).collect()
}

#[test]
fn every_criterion_is_finite_deterministic_and_follows_permutations() {
    let mut compared = BTreeMap::new();
    for seed in 0..24 {
        let graph = random_graph(seed);
        let groups = dependency_groups(&graph).unwrap();
        let mut dice = Dice::new(seed);
        let orders = orders(&groups, &mut dice);
        let permuted = permute(&graph, &groups, &orders).unwrap();
        let permuted_groups = dependency_groups(&permuted).unwrap();
        let inputs = inputs(&graph, SAMPLES, seed);
        let (seen, seen_permuted) = (evidence(&graph, &inputs), evidence(&permuted, &inputs));
        for criterion in Criterion::ALL {
            let rate = |graph: &Graph, groups, seen: &Evidence| {
                importance(graph, groups, criterion, Normalization::None, seen)
            };
            let scores = match rate(&graph, &groups, &seen) {
                Ok(scores) => scores,
                Err(findings) => {
                    assert_eq!(criterion, Criterion::BnScale, "{findings}");
                    assert!(findings.iter().all(|f| f.code == "missing-batch-norm" && f.help.is_some()));
                    continue;
                }
            };
            assert_eq!(scores, rate(&graph, &groups, &seen).unwrap(), "{criterion:?} is not deterministic");
            assert!(scores.scores.iter().flatten().all(|s| s.is_finite() && *s >= 0.0), "{criterion:?} {seed}");
            if criterion == (Criterion::Random { seed: 0 }) {
                continue;
            }
            let after = rate(&permuted, &permuted_groups, &seen_permuted).unwrap();
            for (group, order) in orders.iter().enumerate() {
                let scale = scores.scores[group].iter().fold(0.0f64, |m, s| m.max(*s));
                // The order of sums moves single values over the border of a bin, or of a rank.
                let tolerance = match criterion {
                    Criterion::ActivationEntropy | Criterion::EntropyEnergy | Criterion::ClassMi => 0.02,
                    Criterion::Hrank | Criterion::WeightEntropy => 0.02,
                    _ => 1e-4,
                };
                for (new, old) in order.iter().enumerate() {
                    let (a, b) = (after.scores[group][new], scores.scores[group][*old]);
                    assert!((a - b).abs() <= tolerance * scale, "{criterion:?} seed {seed}: {a} and {b} of {scale}");
                    *compared.entry(criterion.name()).or_insert(0) += usize::from(new != *old);
                }
            }
        }
    }
    // Few random graphs normalize every channel; that criterion has a test of its own.
    compared.remove("bn-scale");
    assert_eq!(compared.len(), Criterion::ALL.len() - 2);
    assert!(compared.values().all(|n| *n > 100), "{compared:?}");
}

#[test]
fn every_criterion_rates_vectors_or_names_those_that_do() {
    let config = AcceleratorConfig::new(4, 4, 8192, 64);
    for seed in 0..12 {
        let graph = random_graph(seed);
        let seen = evidence(&graph, &inputs(&graph, SAMPLES, seed));
        for criterion in Criterion::ALL {
            let scores = vector_importance(&graph, &config, criterion, Normalization::None, &seen);
            if criterion.needs(Unit::Vector).is_none() {
                let finding = scores.unwrap_err().iter().next().unwrap().clone();
                assert_eq!(finding.code, "criterion-not-for-vectors");
                assert!(finding.help.unwrap().contains("wanda"));
                assert!(criterion.check_unit(Unit::Vector).is_err() && criterion.check_unit(Unit::Channel).is_ok());
                continue;
            }
            let scores = scores.unwrap().scores;
            let flat: Vec<f64> = scores.into_iter().flatten().flatten().flatten().collect();
            assert!(flat.iter().all(|s| s.is_finite() && *s >= 0.0), "{criterion:?} {seed}");
            assert!(flat.iter().any(|s| *s > 0.0), "{criterion:?} {seed}");
        }
    }
}

/// What a criterion needs is what it reads: without, it refuses; with nothing else, it gives the same.
#[test]
fn needs_are_exact() {
    let graph = resnet(3, 1, 4, 8);
    let groups = dependency_groups(&graph).unwrap();
    let config = AcceleratorConfig::new(4, 4, 8192, 64);
    let all_inputs = inputs(&graph, SAMPLES, 3);
    let full = evidence(&graph, &all_inputs);
    let samples: Vec<Vec<&[f32]>> = all_inputs.iter().map(|i| vec![i.as_slice()]).collect();
    let only = |needs: Needs| {
        let labels: &[u32] = if needs.labels { &full.activations.as_ref().unwrap().labels } else { &[] };
        let products = if needs.products { full.products.clone() } else { Vec::new() };
        let gates = if needs.gate_gradients { full.gate_gradients.clone() } else { BTreeMap::new() };
        let activations = needs.activations.then(|| ActivationStatistics::of_samples(&graph, needs, &samples, labels));
        Evidence { products, batch_samples: 16.0, gate_gradients: gates, activations }
    };
    let fields: [fn(&mut Needs); 7] = [
        |n| n.products = false,
        |n| n.gate_gradients = false,
        |n| n.activations = false,
        |n| n.zeros = false,
        |n| n.sample_means = false,
        |n| n.ranks = false,
        |n| n.labels = false,
    ];
    for criterion in Criterion::ALL {
        for unit in [Unit::Channel, Unit::Vector] {
            let Some(needs) = criterion.needs(unit) else { continue };
            let rate = |seen: &Evidence| match unit {
                Unit::Channel => {
                    importance(&graph, &groups, criterion, Normalization::None, seen).map(|s| format!("{:?}", s.scores))
                }
                Unit::Vector => vector_importance(&graph, &config, criterion, Normalization::None, seen)
                    .map(|s| format!("{:?}", s.scores)),
            };
            assert_eq!(rate(&only(needs)).unwrap(), rate(&full).unwrap(), "{criterion:?} {unit:?}");
            for field in fields {
                let mut less = needs;
                field(&mut less);
                if less != needs {
                    let findings = rate(&only(less)).unwrap_err();
                    assert!(findings.iter().all(|f| f.code.starts_with("missing-")), "{criterion:?}: {findings}");
                }
            }
        }
    }
}

#[test]
fn too_few_samples_for_an_entropy_are_refused() {
    let graph = resnet(3, 1, 4, 8);
    let groups = dependency_groups(&graph).unwrap();
    for (criterion, samples) in [(Criterion::ActivationEntropy, 131), (Criterion::ClassMi, 8 * CLASSES - 1)] {
        for (samples, good) in [(samples, false), (samples + 1, true)] {
            let seen = evidence(&graph, &inputs(&graph, samples, 1));
            let rated = importance(&graph, &groups, criterion, Normalization::None, &seen);
            assert_eq!(rated.is_ok(), good, "{criterion:?} {samples}");
            if let Err(findings) = rated {
                assert_eq!(findings.iter().next().unwrap().code, "too-few-samples");
            }
        }
    }
    let one_batch = Evidence::of_products(evidence(&graph, &inputs(&graph, 1, 1)).products[..1].to_vec(), 4.0);
    let config = AcceleratorConfig::new(4, 4, 8192, 64);
    let refused = vector_importance(&graph, &config, Criterion::Obd, Normalization::None, &one_batch).unwrap_err();
    assert_eq!(refused.iter().next().unwrap().code, "too-few-samples");
}

#[test]
fn statistics_do_not_depend_on_how_samples_are_cut() {
    let graph = random_graph(7);
    let inputs = inputs(&graph, 150, 7);
    let samples: Vec<Vec<&[f32]>> = inputs.iter().map(|i| vec![i.as_slice()]).collect();
    let one_by_one = ActivationStatistics::of_samples(&graph, all_needs(), &samples, &[]);
    let sites = activation_sites(&graph);
    let mut chunked = ActivationStatistics::default();
    for (index, chunk) in inputs.chunks(64).enumerate() {
        let mut values: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
        for input in chunk {
            for (node, value) in evaluate(&graph, &[input]).into_iter().filter(|v| sites.contains(&v.0)) {
                values.entry(node).or_default().extend(value);
            }
        }
        chunked.absorb(ActivationStatistics::observe(&graph, all_needs(), 64 * index, &values));
    }
    for (node, site) in &one_by_one.sites {
        let other = &chunked.sites[node];
        assert_eq!((&site.exponents, &site.means, &site.ranks), (&other.exponents, &other.means, &other.ranks));
        assert_eq!((site.samples, site.ranked), (150, 128));
        assert!(site.energy.iter().zip(&other.energy).all(|(a, b)| (a - b).abs() <= 1e-9 * a));
    }
}

/// Scores of the channels of the first convolution, unnormalized.
fn rate(graph: &Graph, criterion: Criterion, seen: &Evidence) -> Vec<f64> {
    let groups = dependency_groups(graph).unwrap();
    importance(graph, &groups, criterion, Normalization::None, seen).unwrap().scores[1].clone()
}

fn close(scores: &[f64], expected: &[f64]) {
    assert_eq!(scores.len(), expected.len());
    let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6 * b.abs().max(1.0);
    assert!(scores.iter().zip(expected).all(near), "{scores:?}, not {expected:?}");
}

/// 1x1 convolutions `inputs -> n -> 1` with these rows of weights, all readers' columns 1, `act` between.
fn two_layers(rows: &[Vec<f32>], act: Option<Op>, bias: Option<Vec<f32>>, side: usize) -> Graph {
    let (n, inputs) = (rows.len(), rows[0].len());
    let (mut net, x) = Net::new(1, &[inputs, side, side]);
    let weight = net.graph.add_param("first", Tensor::f32([n, inputs, 1, 1], rows.concat()));
    let mut value = net.conv_with(x, weight, false, 1, 1);
    if let Some(values) = bias {
        let Op::Conv(conv) = net.graph.node(value).op.clone() else { unreachable!() };
        let bias = Some(net.graph.add_param("bias", Tensor::f32([n], values)));
        net.graph.set_op(value, Op::Conv(espalier_ir::Conv { bias, ..conv }));
    }
    if let Some(act) = act {
        value = net.op("act", act, &[value]);
    }
    let weight = net.graph.add_param("second", Tensor::f32([1, n, 1, 1], vec![1.0; n]));
    let end = net.conv_with(value, weight, false, 1, 1);
    net.finish(end)
}

fn seen(graph: &Graph, inputs: &[Vec<f32>], labels: &[u32]) -> Evidence {
    let samples: Vec<Vec<&[f32]>> = inputs.iter().map(|i| vec![i.as_slice()]).collect();
    let activations = Some(ActivationStatistics::of_samples(graph, all_needs(), &samples, labels));
    Evidence { activations, ..Evidence::NONE }
}

#[test]
fn magnitudes_by_hand() {
    let graph = two_layers(&[vec![3.0, 4.0], vec![0.0, -1.0]], None, None, 1);
    let none = &Evidence::NONE;
    close(&rate(&graph, Criterion::GroupLasso, none), &[5.0 + 1.0, 1.0 + 1.0]);
    close(&rate(&graph, Criterion::GroupNorm, none), &[25.0 + 1.0, 1.0 + 1.0]);
    close(&rate(&graph, Criterion::L1Lp, none), &[8.0 + 3f64.sqrt() + 2.0 + 1.0, 2.0 + 2.0]);
    // Energies 26 and 2: the smaller competes with both.
    close(&rate(&graph, Criterion::Lamp, none), &[1.0, 2.0 / 28.0]);
}

#[test]
fn lamp_of_equal_channels_is_equal() {
    let graph = two_layers(&[vec![1.0], vec![-1.0], vec![2f32.sqrt()], vec![0.0]], None, None, 1);
    // Energies with the reader's 1: 2, 2, 3, 1.
    close(&rate(&graph, Criterion::Lamp, &Evidence::NONE), &[2.0 / 7.0, 2.0 / 7.0, 1.0, 1.0 / 8.0]);
}

#[test]
fn fpgm_tells_a_filter_from_its_negative() {
    let graph = two_layers(&[vec![1.0, 2.0], vec![-1.0, -2.0], vec![1.0, 2.0]], None, None, 1);
    // Distances: |F - (-F)| = 2 sqrt 5; squares of weights would make all three the same filter.
    let far = 2.0 * 5f64.sqrt();
    close(&rate(&graph, Criterion::Fpgm, &Evidence::NONE), &[far / 2.0, far, far / 2.0]);
}

#[test]
fn the_batch_normalization_scale_is_what_counts() {
    let build = |gamma: Vec<f32>| {
        let (mut net, x) = Net::new(5, &[2, 4, 4]);
        let c = net.conv(x, 3, 3, 1, 1);
        let [gamma, beta, mean, variance] =
            [gamma, vec![1.0; 3], vec![3.0; 3], vec![2.0; 3]].map(|v| net.graph.add_param("bn", Tensor::f32([3], v)));
        let n = net.op("bn", Op::BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 }, &[c]);
        let end = net.conv(n, 1, 1, 1, 1);
        net.finish(end)
    };
    close(&rate(&build(vec![0.5, -2.0, 0.0]), Criterion::BnScale, &Evidence::NONE), &[0.5, 2.0, 0.0]);
    let energy = |gamma| rate(&build(gamma), Criterion::GroupNorm, &Evidence::NONE);
    let (a, b) = (energy(vec![0.0; 3]), energy(vec![1.0, 2.0, 3.0]));
    close(&b, &[a[0] + 1.0, a[1] + 4.0, a[2] + 9.0]);
    let bare = two_layers(&[vec![1.0], vec![2.0]], None, None, 1);
    let groups = dependency_groups(&bare).unwrap();
    let refused = importance(&bare, &groups, Criterion::BnScale, Normalization::None, &Evidence::NONE).unwrap_err();
    assert_eq!(refused.iter().next().unwrap().code, "missing-batch-norm");
}

#[test]
fn weights_of_one_value_carry_no_information() {
    let mut dice = Dice::new(4);
    let spread = dice.values(72);
    let two: Vec<f32> = (0..72).map(|i| if i % 2 == 0 { -0.5 } else { 0.5 }).collect();
    let graph = two_layers(&[vec![0.5; 72], two, spread], None, None, 1);
    let scores = rate(&graph, Criterion::WeightEntropy, &Evidence::NONE);
    assert_eq!(scores[0], 0.0);
    // One bit for each of 72 weights, and the correction.
    assert!((scores[1] - 72.0).abs() < 1.0, "{scores:?}");
    // 16 bins and that of zero: about four bits each.
    assert!(scores[2] > 3.5 * 72.0 && scores[2] < 4.3 * 72.0, "{scores:?}");
}

/// Channels `relu(x)`, `relu(x - 1)`, `relu(-10)`, and the samples 2, -1, 0.5, 3.
#[test]
fn zeros_means_and_energies_of_a_crafted_network() {
    let graph = two_layers(&[vec![1.0], vec![1.0], vec![0.0]], Some(Op::Relu), Some(vec![0.0, -1.0, -10.0]), 1);
    let inputs: Vec<Vec<f32>> = [2.0, -1.0, 0.5, 3.0].map(|v| vec![v]).to_vec();
    let seen = seen(&graph, &inputs, &[]);
    close(&rate(&graph, Criterion::Apoz, &seen), &[0.75, 0.5, 0.0]);
    close(&rate(&graph, Criterion::MeanActivation, &seen), &[5.5 / 4.0, 3.0 / 4.0, 0.0]);
    close(&rate(&graph, Criterion::Wanda, &seen), &[13.25 / 4.0, 5.0 / 4.0, 0.0]);
    // Values without extent are not ranked but measured.
    close(&rate(&graph, Criterion::Hrank, &seen), &[5.5 / 4.0, 3.0 / 4.0, 0.0]);
}

#[test]
fn without_a_clamp_values_far_below_the_others_count_as_zero() {
    let graph = two_layers(&[vec![1.0], vec![-1e-6], vec![0.0]], None, None, 1);
    let inputs: Vec<Vec<f32>> = [2.0, -1.0, 1e-7, 3.0].map(|v| vec![v]).to_vec();
    close(&rate(&graph, Criterion::Apoz, &seen(&graph, &inputs, &[])), &[0.75, 0.0, 0.0]);
    // Behind ReLU, small is not zero.
    let clamped = two_layers(&[vec![1.0], vec![1e-6], vec![0.0]], Some(Op::Relu), None, 1);
    close(&rate(&clamped, Criterion::Apoz, &seen(&clamped, &inputs, &[])), &[0.75, 0.75, 0.0]);
}

#[test]
fn hrank_is_the_mean_rank_of_the_maps() {
    // Input channel 0 has rank 1, channel 1 the full rank 5.
    let graph = two_layers(&[vec![1.0, 0.0], vec![0.0, -2.0], vec![0.0, 0.0]], None, None, 5);
    let mut input: Vec<f32> = (0..25).map(|i| (1.0 + (i / 5) as f32) * ((i % 5) as f32 - 1.5)).collect();
    input.extend((0..25).map(|i| f32::from(u8::from(i / 5 == i % 5)) * (1.0 + i as f32)));
    let flat: Vec<f32> = input[..25].iter().chain(&[0.0; 25]).copied().collect();
    close(&rate(&graph, Criterion::Hrank, &seen(&graph, &[input, flat], &[])), &[1.0, 2.5, 0.0]);
}

#[test]
fn class_information_of_deciding_noisy_and_silent_channels() {
    let mut dice = Dice::new(9);
    let classes = 4;
    let labels: Vec<u32> = (0..2000).map(|_| dice.below(classes) as u32).collect();
    let inputs: Vec<Vec<f32>> = labels.iter().map(|l| vec![*l as f32 + 1.0, 1.0 + 4.0 * dice.signed().abs()]).collect();
    let rows = [vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 0.0], vec![1e-6, 0.0]];
    let graph = two_layers(&rows, Some(Op::Relu), None, 1);
    let seen = seen(&graph, &inputs, &labels);
    let scores = rate(&graph, Criterion::ClassMi, &seen);
    assert!((scores[0] - 2.0).abs() < 0.02, "H(class) is 2 bits: {scores:?}");
    assert!(scores[1] < 0.03 && scores[2] == 0.0, "{scores:?}");
    assert!(scores[3] < 0.03, "on the common grid a whisper says nothing: {scores:?}");
    let entropy = rate(&graph, Criterion::ActivationEntropy, &seen);
    assert!((entropy[0] - 2.0).abs() < 0.02 && entropy[1] > 4.0 && entropy[2] == 0.0, "{entropy:?}");
    let energy = rate(&graph, Criterion::EntropyEnergy, &seen);
    let rms = (inputs.iter().map(|i| f64::from(i[0] * i[0])).sum::<f64>() / 2000.0).sqrt();
    assert!((energy[0] - entropy[0] / 33f64.log2() * rms).abs() < 1e-5, "{energy:?}");
}

/// Every sample counts: not the last alone, nor the square of the mean.
#[test]
fn second_order_scores_square_the_gates_of_samples() {
    let graph = two_layers(&[vec![1.0], vec![2.0]], None, None, 1);
    let [first, second] = channel_readers(&graph)[..] else { panic!("two readers") };
    let gates = Tensor::f32([3, 2], vec![3.0, 0.1, -3.0, 0.1, 0.0, 0.4]);
    let seen = Evidence {
        gate_gradients: [(first, Tensor::f32([3, 1], vec![0.0; 3])), (second, gates)].into(),
        ..Evidence::NONE
    };
    // Means 0 and 0.2, mean squares 6 and 0.06.
    close(&rate(&graph, Criterion::Obd, &seen), &[3.0, 0.03]);
    close(&rate(&graph, Criterion::TaylorSecond, &seen), &[3.0, 0.17]);
}

#[test]
fn a_channel_with_two_readers_has_one_gate() {
    let (mut net, x) = Net::new(2, &[1, 2, 2]);
    let a = net.conv(x, 2, 1, 1, 1);
    let parts = [net.conv(a, 1, 1, 1, 1), net.conv(a, 1, 1, 1, 1)];
    let sum = net.op("add", Op::Add, &parts);
    let graph = net.finish(sum);
    let readers = channel_readers(&graph);
    let rows = [vec![0.0], vec![1.0, 2.0], vec![-1.0, 1.0]];
    let gate_gradients = readers.iter().zip(rows).map(|(r, g)| (*r, Tensor::f32([1, g.len()], g))).collect();
    let seen = Evidence { gate_gradients, ..Evidence::NONE };
    // Derivatives cancel before they are squared.
    close(&rate(&graph, Criterion::Obd, &seen), &[0.0, 4.5]);
}

#[test]
fn vectors_take_the_fisher_information_from_batches_without_bias() {
    let (mut net, x) = Net::new(3, &[2, 1, 1]);
    let flat = net.op("flat", Op::Flatten, &[x]);
    let end = net.gemm(flat, 2);
    let graph = net.finish(end);
    let config = AcceleratorConfig::new(4, 4, 1024, 16);
    let weight = graph.params().find(|p| p.1 == "fc").unwrap().0;
    let bias = graph.params().find(|p| p.1 == "fcb").unwrap().0;
    // The derivative of every sample is drawn; batches hold the mean of eight.
    let mut dice = Dice::new(8);
    let (trials, batches, size) = (400, 4, 8);
    let mut sums = [0.0; 2];
    for _ in 0..trials {
        let products: Vec<TensorMap> = (0..batches)
            .map(|_| {
                let mut mean = [0.0f32; 2];
                for _ in 0..size {
                    mean[0] += (1.0 + dice.signed()) / size as f32;
                    mean[1] += 3.0 * dice.signed() / size as f32;
                }
                // Column 0 belongs to vector 0, in two equal parts.
                let values = vec![mean[0] / 2.0, mean[1], mean[0] / 2.0, 0.0];
                [(weight, Tensor::f32([2, 2], values)), (bias, Tensor::f32([2], vec![0.0; 2]))].into()
            })
            .collect();
        let seen = Evidence::of_products(products, size as f64);
        let scores = vector_importance(&graph, &config, Criterion::Obd, Normalization::None, &seen).unwrap().scores;
        let block = &scores.last().unwrap().as_ref().unwrap()[0];
        sums.iter_mut().zip(block).for_each(|(s, v)| *s += v / f64::from(trials));
    }
    // E[d^2] / 2: (1 + 1/3) / 2, and 9 / 3 / 2; squares of batch means would give (1 + 1/24) / 2 and 0.19.
    assert!((sums[0] - 2.0 / 3.0).abs() < 0.03, "{sums:?}");
    assert!((sums[1] - 1.5).abs() < 0.1, "{sums:?}");
}

#[test]
fn wanda_weighs_every_element_by_what_it_reads() {
    let (mut net, x) = Net::new(4, &[2, 1, 2]);
    let flat = net.op("flat", Op::Flatten, &[x]);
    let weight = net.graph.add_param("w", Tensor::f32([1, 4], vec![1.0, 2.0, 3.0, 0.5]));
    let end = net.op("fc", Op::Gemm { weight, bias: None }, &[flat]);
    let graph = net.finish(end);
    let seen = seen(&graph, &[vec![1.0, 0.0, 2.0, 4.0], vec![-1.0, 0.0, 0.0, 0.0]], &[]);
    let config = AcceleratorConfig::new(4, 4, 1024, 16);
    let scores = |c| vector_importance(&graph, &config, c, Normalization::None, &seen).unwrap().scores;
    let wanda = scores(Criterion::Wanda);
    // w^2 E[a^2] of the four elements.
    close(&wanda.last().unwrap().as_ref().unwrap()[0], &[1.0, 0.0, 18.0, 2.0]);
    close(&scores(Criterion::MeanActivation).last().unwrap().as_ref().unwrap()[0], &[1.0, 0.0, 3.0, 1.0]);
}

#[test]
fn wanda_of_grouped_convolutions_reads_the_channels_of_the_group() {
    let (mut net, x) = Net::new(4, &[4, 1, 1]);
    let weight = net.graph.add_param("w", Tensor::f32([8, 2, 1, 1], vec![1.0; 16]));
    let end = net.conv_with(x, weight, false, 1, 2);
    let graph = net.finish(end);
    let seen = seen(&graph, &[vec![1.0, 2.0, 3.0, 4.0]], &[]);
    let config = AcceleratorConfig::new(4, 4, 1024, 16);
    let scores = vector_importance(&graph, &config, Criterion::Wanda, Normalization::None, &seen).unwrap().scores;
    let blocks = scores[0].as_ref().unwrap();
    // Four outputs each; the second block reads channels 2 and 3.
    close(&blocks[0], &[4.0, 16.0]);
    close(&blocks[1], &[36.0, 64.0]);
}

#[test]
fn names_are_those_of_serde_and_typing_errors_are_answered() {
    let mut names = BTreeSet::new();
    for criterion in Criterion::ALL {
        let json = serde_json::to_value(criterion).unwrap();
        let name =
            json.as_str().map_or_else(|| json.as_object().unwrap().keys().next().unwrap().clone(), str::to_owned);
        assert_eq!(name, criterion.name());
        assert_eq!(serde_json::from_value::<Criterion>(json).unwrap(), criterion);
        assert_eq!(Criterion::from_name(criterion.name()).unwrap(), criterion);
        assert!(!criterion.description().is_empty() && !criterion.citation().is_empty());
        assert!(criterion.needs(Unit::Channel).is_some());
        assert!(names.insert(criterion.name()));
    }
    assert_eq!(Criterion::Random { seed: 0 }.seeded(7), Criterion::Random { seed: 7 });
    assert_eq!(Criterion::L1.seeded(7), Criterion::L1);
    let help = |name| Criterion::from_name(name).unwrap_err().help.unwrap();
    assert!(help("talyor").starts_with("did you mean 'taylor'?"));
    assert!(help("H-Rank").contains("did you mean 'hrank'?"));
    assert!(help("class_mi").contains("did you mean 'class-mi'?"));
    assert!(!help("something else").contains("did you mean"));
}
