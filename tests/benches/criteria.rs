//! What each criterion costs on a network of the size of ResNet-8: measurements on 2,048 samples of
//! 3 x 32 x 32 values and the scores of all channels. `cargo bench --workspace --bench criteria`.

#[path = "../../crates/prune/tests/prune/nets.rs"]
#[allow(dead_code, reason = "the tests of the pruner use the rest")]
mod nets;

use espalier_ir::{Graph, Random};
use espalier_prune::{
    ActivationStatistics, Criterion, DependencyGroups, Evidence, Needs, Unit, activation_sites, channel_readers,
    dependency_groups, importance,
};
use espalier_train::{Execution, Samples, gate_gradients, gate_products, visit_activations};

const SAMPLES: usize = 2048;
const BATCHES: usize = 32;

fn main() {
    divan::main();
}

fn measure(graph: &Graph, needs: Needs, samples: &Samples<'_>) -> Evidence {
    let execution = Execution::default();
    let mut evidence = Evidence { batch_samples: (SAMPLES / BATCHES) as f64, ..Evidence::NONE };
    if needs.products {
        evidence.products = gate_products(graph, samples, BATCHES, execution).unwrap();
    }
    if needs.gate_gradients {
        evidence.gate_gradients = gate_gradients(graph, &channel_readers(graph), samples, execution).unwrap();
    }
    if needs.activations {
        let mut all = ActivationStatistics { labels: samples.labels.to_vec(), ..Default::default() };
        let observe =
            |c: &espalier_train::ActivationChunk| ActivationStatistics::observe(graph, needs, c.first, &c.values);
        visit_activations(graph, &activation_sites(graph), samples, execution, observe, &mut |p| all.absorb(p))
            .unwrap();
        evidence.activations = Some(all);
    }
    evidence
}

#[divan::bench(args = Criterion::ALL.map(Criterion::name), sample_count = 3, sample_size = 1)]
fn criterion(bencher: divan::Bencher<'_, '_>, name: &str) {
    let graph = nets::resnet(1, 1, 16, 32);
    let groups: DependencyGroups = dependency_groups(&graph).unwrap();
    let mut random = Random::new(1);
    let inputs: Vec<f32> = (0..SAMPLES * 3 * 32 * 32).map(|_| random.unit()).collect();
    let labels: Vec<u32> = (0..SAMPLES).map(|_| random.below(10) as u32).collect();
    let samples = Samples { inputs: &inputs, labels: &labels, sample_len: 3 * 32 * 32 };
    let criterion = Criterion::from_name(name).unwrap();
    let needs = criterion.needs(Unit::Channel).unwrap();
    bencher.bench_local(|| {
        let evidence = measure(&graph, needs, &samples);
        importance(&graph, &groups, criterion, criterion.default_normalization(), &evidence).unwrap()
    });
}
