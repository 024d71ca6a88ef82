//! RTL against machine: random instruction streams and random networks, every lane write in order, every
//! output beat, and the cycle counter against the timing model, with random gaps on both streams.
//!
//! Needs Verilator; without it the tests say so and pass, unless `ESPALIER_REQUIRE_TOOLS=1`. One simulation is built
//! for each configuration and reused, also by later runs as long as the hardware does not change.
//! `ESPALIER_COSIM=full` adds larger arrays and more programs, and registers that start at random values.

#[path = "../common/mod.rs"]
mod common;
mod programs;
mod simulation;

use espalier_lower::testing::{Random, quantized, random_graph, random_input, recurrent_network, spilling};
use espalier_lower::{Machine, Program, compile, run};
use espalier_quant::QuantizedGraph;
use espalier_target::{AcceleratorConfig, ActivationStore, Multiplier, WeightSource};
use simulation::{Job, Simulation};

/// Rows, columns, accumulator pixels, accumulator bits, vectors a row and taps of the depthwise unit of the simulated
/// configurations: square, wide, tall, odd, smallest.
type Shape = (usize, usize, usize, u32, usize, usize);
const QUICK: [Shape; 9] = [
    (4, 4, 32, 28, 1, 0),
    (5, 12, 64, 32, 1, 0),
    (13, 4, 16, 32, 1, 0),
    (8, 8, 256, 24, 1, 0),
    (4, 4, 32, 32, 2, 0),
    (6, 11, 128, 32, 2, 0),
    (7, 9, 128, 32, 2, 3),
    (4, 4, 64, 32, 1, 2),
    (4, 2, 16, 24, 1, 0),
];
const FULL: [Shape; 8] = [
    (9, 3, 40, 32, 2, 0),
    (16, 16, 1024, 32, 1, 0),
    (32, 5, 40, 32, 1, 0),
    (4, 32, 64, 32, 1, 0),
    (32, 32, 64, 32, 1, 0),
    (8, 8, 256, 24, 2, 0),
    (32, 32, 64, 32, 2, 0),
    (16, 16, 128, 32, 1, 8),
];

/// Shapes with other multipliers than one an element: shared ones (also beside adders, with an odd column, and two vectors
/// a row), adders.
const MULTIPLIERS: [(Shape, Multiplier, Option<usize>); 6] = [
    ((5, 12, 64, 32, 1, 0), Multiplier::Packed, Some(20)),
    ((6, 11, 128, 32, 2, 3), Multiplier::Packed, None),
    ((4, 4, 32, 28, 1, 0), Multiplier::Lut, None),
    ((16, 24, 128, 32, 1, 3), Multiplier::Packed, None),
    ((8, 8, 256, 24, 2, 0), Multiplier::Plain, Some(40)),
    ((16, 24, 128, 32, 2, 3), Multiplier::Packed, None),
];

/// Shapes with streamed weights: bytes of a beat, latency, words of the ring.
const STREAMED: [(Shape, usize, usize, usize); 6] = [
    ((4, 4, 32, 28, 1, 0), 4, 1, 24),
    ((8, 8, 256, 24, 1, 0), 8, 40, 64),
    ((5, 12, 64, 32, 1, 0), 4, 7, 47),
    ((6, 11, 128, 32, 2, 3), 16, 64, 100),
    ((4, 6, 64, 32, 1, 2), 8, 20, 512),
    ((16, 16, 128, 32, 1, 3), 8, 64, 512),
];

/// Shapes with spilled activations: bytes of a beat, latency, whether weights are streamed, too. Networks are compiled for
/// lanes that do not hold them. With and without the depthwise unit, and rows that do not fill whole beats.
const SPILLED: [(Shape, usize, usize, bool); 6] = [
    ((4, 4, 32, 32, 1, 0), 4, 1, false),
    ((8, 8, 64, 32, 1, 2), 4, 30, true),
    ((13, 13, 64, 32, 1, 3), 8, 64, false),
    ((6, 11, 32, 32, 2, 3), 16, 9, false),
    ((16, 16, 128, 32, 1, 4), 8, 64, true),
    ((32, 32, 64, 32, 2, 0), 8, 300, true),
];

/// Shapes with several clusters: how many, and bytes of a beat where weights are streamed and activations spilled. Pooling,
/// two vectors a row, the depthwise unit with gates and tables are among them.
const CLUSTERED: [(Shape, usize, Option<usize>); 6] = [
    ((4, 4, 32, 32, 1, 0), 2, None),
    ((5, 12, 16, 32, 1, 3), 4, None),
    ((6, 11, 32, 32, 2, 2), 8, None),
    ((8, 8, 64, 24, 1, 2), 2, Some(4)),
    ((13, 4, 16, 32, 2, 0), 4, Some(8)),
    ((16, 16, 128, 32, 1, 3), 4, None),
];

fn full() -> bool {
    std::env::var("ESPALIER_COSIM").is_ok_and(|v| v == "full")
}

/// Some shapes have tables: square and odd ones, with every other option.
fn with_tables(rows: usize, cols: usize) -> bool {
    [(5, 12), (8, 8), (6, 11), (7, 9), (4, 6), (4, 2), (16, 16), (4, 32)].contains(&(rows, cols))
}

/// Some shapes with a depthwise unit let it keep states: odd and square ones, also with clusters, streamed weights and spilled
/// tensors.
fn with_states(rows: usize, cols: usize) -> bool {
    [(7, 9), (4, 6), (8, 8), (5, 12), (16, 16)].contains(&(rows, cols))
}

fn configurations() -> Vec<AcceleratorConfig> {
    let more: &[_] = if full() { &FULL } else { &[] };
    let config = |(rows, cols, pixels, bits, combine, taps): &Shape| AcceleratorConfig {
        accumulator_bits: *bits,
        combine: *combine,
        depthwise_taps: *taps,
        activation_tables: with_tables(*rows, *cols),
        gates: *taps > 0,
        states: *taps > 0 && with_states(*rows, *cols),
        argmax: *pixels >= 32,
        weight_words: Some(1 << 15),
        program_instructions: Some(512),
        ..AcceleratorConfig::new(*rows, *cols, 1 << 12, *pixels)
    };
    let mut all: Vec<_> = QUICK.iter().chain(more).map(config).collect();
    let kinds = if full() { &MULTIPLIERS[..] } else { &MULTIPLIERS[..3] };
    all.extend(kinds.iter().map(|(shape, multiplier, most)| AcceleratorConfig {
        multiplier: *multiplier,
        max_multipliers: *most,
        ..config(shape)
    }));
    let streamed = if full() { &STREAMED[..] } else { &STREAMED[..5] };
    all.extend(streamed.iter().map(|(shape, bytes, latency, words)| AcceleratorConfig {
        weights: WeightSource::Streamed,
        memory_bytes_per_cycle: Some(*bytes),
        memory_latency_cycles: Some(*latency),
        weight_words: Some(*words),
        ..config(shape)
    }));
    let spilled = if full() { &SPILLED[..] } else { &SPILLED[..3] };
    all.extend(spilled.iter().map(|(shape, bytes, latency, streamed)| AcceleratorConfig {
        activations: ActivationStore::Spilled,
        memory_bytes_per_cycle: Some(*bytes),
        memory_latency_cycles: Some(*latency),
        weights: if *streamed { WeightSource::Streamed } else { WeightSource::OnChip },
        weight_words: Some(if *streamed { 100 } else { 1 << 14 }),
        program_instructions: Some(4096),
        ..config(shape)
    }));
    let clustered = if full() { &CLUSTERED[..] } else { &CLUSTERED[..4] };
    all.extend(clustered.iter().map(|(shape, clusters, memory)| AcceleratorConfig {
        clusters: *clusters,
        weights: if memory.is_some() { WeightSource::Streamed } else { WeightSource::OnChip },
        activations: if memory.is_some() { ActivationStore::Spilled } else { ActivationStore::OnChip },
        memory_bytes_per_cycle: *memory,
        weight_words: Some(if memory.is_some() { 100 } else { 1 << 15 }),
        program_instructions: Some(4096),
        ..config(shape)
    }));
    all
}

/// The configuration; if it can spill, with lanes that do not hold the network.
fn fitting(network: &QuantizedGraph, config: &AcceleratorConfig, random: &mut Random) -> Option<AcceleratorConfig> {
    match config.spill_memory() {
        None => Some(config.clone()),
        Some(_) => spilling(network, config, random).filter(|small| small.lane_bytes <= config.lane_bytes),
    }
}

/// Whether the cycles of a run depend on external memory.
fn has_memory(config: &AcceleratorConfig) -> bool {
    config.external().is_some() || config.spill_memory().is_some()
}

/// Runs the job and compares everything with the machine. `meaning` takes from the output beats of an image what
/// is defined: lanes of a plane without a channel hold whatever was there.
///
/// Returns the clocks that the images took.
fn check(
    simulation: &Simulation,
    job: &Job,
    machine: &Machine,
    meaning: &dyn Fn(&[Vec<u8>]) -> Vec<i8>,
    what: &str,
) -> u64 {
    let expected: Vec<_> = job.images.iter().map(|beats| machine.run(beats, true).expect(what)).collect();
    let result = simulation.run(job);
    let cycles = machine.cycles().total;
    let (stalls, waits) = (&result.report.stalls, &result.report.memory_waits);
    // Ends are 0 for instructions that write no lane, and absent behind the last one that does.
    for (i, (want, have)) in machine.cycles().end_cycle.iter().zip(&result.report.ends).enumerate() {
        let good = *have == 0 || !job.exact || have == want;
        assert!(good, "{what}: instruction {i} ends in cycle {have} instead of {want}");
    }
    let classes: Vec<u32> = expected.iter().map(|run| run.class).collect();
    assert_eq!(result.report.classes, classes, "{what}: classes");
    // While a stream waits, streamed weights still arrive; while their memory waits, they do not.
    if job.exact {
        assert_eq!(result.report.cycles, vec![cycles; job.images.len()], "{what}: cycles, stalls {stalls:?}");
        assert!(waits.iter().all(|w| *w == 0), "{what}: memory waited without a reason");
    }
    for (image, (have, waits)) in result.report.cycles.iter().zip(waits).enumerate() {
        // Each write to the lanes may delay a transfer by a cycle that it was not predicted to.
        let writes = if job.spill_bytes > 0 { expected[image].writes.len() as u64 } else { 0 };
        let most = cycles + waits + writes;
        assert!(
            *have <= most,
            "{what}: {have} cycles, predicted {cycles}, {waits} waits of the memory, {writes} writes"
        );
    }
    for (image, (expected, got)) in expected.iter().zip(&result.writes).enumerate() {
        let place = |i: usize| format!("{what}: image {image}, lane write {i}");
        for (i, (want, have)) in expected.writes.iter().zip(got).enumerate() {
            assert_eq!(have, want, "{}", place(i));
        }
        assert_eq!(got.len(), expected.writes.len(), "{}", place(got.len()));
    }
    for (image, (expected, got)) in expected.iter().zip(result.beats.chunks(job.beats_out)).enumerate() {
        assert_eq!(meaning(got), meaning(&expected.beats), "{what}: image {image}, output stream");
    }
    if job.stalls == (0, 0) {
        assert!(result.report.stalls.iter().all(|s| *s == 0), "{what}: a stream waited without a reason");
    }
    result.report.clocks
}

#[test]
fn random_instruction_streams_agree_with_the_machine() {
    let count = if full() { 300 } else { 60 };
    for config in configurations() {
        let Some(simulation) = Simulation::build(&config) else { return };
        let mut sums = [0; 2];
        for seed in 0..count {
            let mut random = Random::new(seed);
            let program = programs::random_program(&config, &mut random);
            sums[0] += program.convs(|conv| conv.depthwise && conv.partial);
            sums[1] += program.convs(|conv| conv.wide);
            let AcceleratorConfig { rows, cols, combine, clusters, .. } = config;
            let what = format!("{clusters} times {rows}x{cols}x{combine} program {seed}");
            let machine = program.machine(&config);
            let stalls = if random.chance(50) { (random.within(0, 60), random.within(0, 60)) } else { (0, 0) };
            let waits = if stalls == (0, 0) { 0 } else { random.within(0, 60) };
            let images = (0..random.within(1, 2)).map(|_| program.random_beats(config.rows, &mut random)).collect();
            let job = Job {
                program: program.image(),
                weights: program.weight_image(&config),
                images,
                beats_out: program.beats_out(),
                stalls,
                memory: (config.memory_latency(), waits),
                spill_bytes: program.spill_bytes(&config),
                exact: !has_memory(&config) || stalls == (0, 0),
                seed,
            };
            let all = |beats: &[Vec<u8>]| beats.concat().into_iter().map(u8::cast_signed).collect();
            check(&simulation, &job, &machine, &all, &what);
        }
        let enough = if config.states { 100 } else { 0 };
        assert!(sums.iter().all(|sum| (*sum > enough) == config.states), "{sums:?} partial and wide sums of the unit");
    }
}

/// The hardware's own assertion says if gates of one run were there in the next.
#[test]
fn gates_of_an_abandoned_program_are_dropped() {
    let config = configurations().into_iter().find(|c| c.gates && !has_memory(c)).expect("some have gates");
    let Some(simulation) = Simulation::build(&config) else { return };
    let mut random = Random::new(1);
    let program = programs::abandoned_gates(&config);
    let images: Vec<_> = (0..3).map(|_| program.random_beats(config.rows, &mut random)).collect();
    let job = Job {
        program: program.image(),
        weights: program.weight_image(&config),
        images: images.clone(),
        beats_out: 1,
        stalls: (0, 0),
        memory: (0, 0),
        spill_bytes: 0,
        exact: true,
        seed: 1,
    };
    assert_eq!(simulation.run(&job).beats, images.concat());
}

#[test]
fn random_networks_agree_with_the_machine() {
    let count = if full() { 60 } else { 16 };
    let mut total = 0;
    // From the other end than the test beside it, so that two compilers are at work.
    for config in configurations().into_iter().rev() {
        let Some(simulation) = Simulation::build(&config) else { return };
        let mut ran = 0;
        for seed in 0..count {
            let mut random = Random::new(1000 + seed);
            let graph = random_graph(&mut random);
            let Ok(network) = quantized(&graph, &mut random) else { continue };
            let Some(config) = fitting(&network, &config, &mut random) else { continue };
            // Networks that do not fit this configuration are the compiler's business.
            let Ok(program) = compile(&network, &config) else { continue };
            let inputs: Vec<_> = (0..2).map(|_| random_input(&network, &mut random)).collect();
            check_network(&simulation, &program, &inputs, (20, 30), seed);
            if has_memory(&config) {
                check_network(&simulation, &program, &inputs, (0, 0), seed);
            }
            ran += 1;
        }
        // Many networks need what a small shape does not have.
        assert!(ran >= 4, "{}x{}: only {ran} networks ran", config.rows, config.cols);
        total += ran;
    }
    assert!(total >= 30, "only {total} networks ran");
}

/// LSTM and GRU layers, unrolled, on every shape that keeps states.
#[test]
fn recurrent_networks_agree_with_the_machine() {
    let count = if full() { 40 } else { 10 };
    let (mut shapes, mut total) = (0, 0);
    for config in configurations().into_iter().filter(|c| c.states && c.activation_tables) {
        let Some(simulation) = Simulation::build(&config) else { return };
        shapes += 1;
        for seed in 0..count {
            let mut random = Random::new(70_000 + seed);
            let (graph, _) = recurrent_network(&mut random);
            let network = quantized(&graph, &mut random).expect("recurrent networks are supported");
            let Some(config) = fitting(&network, &config, &mut random) else { continue };
            // Programs of many steps do not fit every memory.
            let Ok(program) = compile(&network, &config) else { continue };
            let inputs: Vec<_> = (0..2).map(|_| random_input(&network, &mut random)).collect();
            check_network(&simulation, &program, &inputs, if seed % 2 == 0 { (0, 0) } else { (20, 30) }, seed);
            total += 1;
        }
    }
    assert!(shapes >= 4 && total as u64 * 3 >= shapes * count, "{total} networks on {shapes} shapes");
}

/// Random waits on every port for a million cycles: every lane write and every beat of every image is the machine's.
#[test]
fn a_million_cycles_of_waits_lose_nothing() {
    let streamed = |c: &AcceleratorConfig| c.external().is_some() && c.spill_memory().is_none();
    let both = |c: &AcceleratorConfig| c.external().is_some() && c.spill_memory().is_some();
    let streamed = configurations().into_iter().filter(streamed).nth(1).expect("8x8, streamed");
    let both = configurations().into_iter().find(both).expect("8x8, streamed and spilled");
    for config in [streamed, both] {
        let Some(simulation) = Simulation::build(&config) else { return };
        let mut clocks = 0;
        for seed in 0.. {
            if clocks >= 1_000_000 {
                break;
            }
            let mut random = Random::new(9000 + seed);
            let Ok(network) = quantized(&random_graph(&mut random), &mut random) else { continue };
            let Some(config) = fitting(&network, &config, &mut random) else { continue };
            let Ok(program) = compile(&network, &config) else { continue };
            let inputs: Vec<_> = (0..10).map(|_| random_input(&network, &mut random)).collect();
            let stalls = (random.within(10, 80), random.within(10, 80));
            clocks += check_network(&simulation, &program, &inputs, stalls, seed);
        }
    }
}

fn check_network(
    simulation: &Simulation,
    program: &Program,
    inputs: &[Vec<i8>],
    stalls: (usize, usize),
    seed: u64,
) -> u64 {
    let AcceleratorConfig { rows, cols, combine, clusters, .. } = program.config;
    let what = format!("{clusters} times {rows}x{cols}x{combine} network {seed}");
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights).expect(&what);
    let (first, ..) = run(program, &inputs[0]).unwrap_or_else(|e| panic!("{what}: {e}"));
    let job = Job {
        program: program.program_image(),
        weights: program.weight_image(),
        images: inputs.iter().map(|input| program.input_beats(input)).collect(),
        beats_out: first.beats.len(),
        stalls,
        memory: (program.config.memory_latency(), stalls.0),
        spill_bytes: program.memory.spilled_bytes,
        exact: !has_memory(&program.config) || stalls == (0, 0),
        seed,
    };
    let values = |beats: &[Vec<u8>]| program.output_from_beats(beats).expect("as many beats as the program stores");
    check(simulation, &job, &machine, &values, &what)
}
