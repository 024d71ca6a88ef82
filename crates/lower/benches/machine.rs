//! Speed of the machine and of compilation: LeNet-5, dense.

use espalier_lower::testing::{Random, lenet, quantized, random_input};
use espalier_lower::{Machine, compile};
use espalier_target::AcceleratorConfig;

fn main() {
    divan::main();
}

const SIDES: [usize; 3] = [8, 16, 32];

fn config(side: usize) -> AcceleratorConfig {
    AcceleratorConfig::new(side, side, 8192, 1024)
}

#[divan::bench(args = SIDES)]
fn run_lenet(bencher: divan::Bencher, side: usize) {
    let mut random = Random::new(1);
    let graph = quantized(&lenet(1), &mut random).expect("quantizes");
    let program = compile(&graph, &config(side)).expect("fits");
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights).expect("loads");
    let beats = program.input_beats(&random_input(&graph, &mut random));
    bencher.counter(divan::counter::ItemsCount::new(1usize)).bench(|| machine.run(&beats, false));
}

#[divan::bench(args = SIDES)]
fn compile_lenet(bencher: divan::Bencher, side: usize) {
    let graph = quantized(&lenet(1), &mut Random::new(1)).expect("quantizes");
    bencher.bench(|| compile(&graph, &config(side)));
}
