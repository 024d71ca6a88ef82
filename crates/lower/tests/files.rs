//! A program survives being written as files; damaged files are refused, never trusted.

use espalier_lower::testing::{Random, lenet, quantized, random_config, random_graph, random_input};
use espalier_lower::{Manifest, Program, compile, run};
use espalier_quant::{CalibrationMethod, CalibrationTable, calibrate};
use espalier_target::AcceleratorConfig;

fn reload(program: &Program) -> Program {
    Program::from_parts(&program.manifest_json(), &program.program_image(), &program.weight_image()).unwrap()
}

fn lenet_program() -> Program {
    compile(&quantized(&lenet(5), &mut Random::new(5)).unwrap(), &AcceleratorConfig::new(8, 8, 4096, 256)).unwrap()
}

#[test]
fn programs_come_back_as_they_were() {
    let mut compared = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let Ok(graph) = quantized(&random_graph(&mut random), &mut random) else { continue };
        let Ok(program) = compile(&graph, &random_config(&mut random)) else { continue };
        let again = reload(&program);
        assert_eq!(again, program, "seed {seed}");
        let input = random_input(&graph, &mut random);
        assert_eq!(run(&again, &input).unwrap().1, graph.predict(&input));
        compared += 1;
    }
    assert!(compared >= 40);
}

type Change = fn(&mut Manifest);

/// Every manifest that a change makes is refused.
#[test]
fn numbers_that_cannot_be_are_refused() {
    let program = lenet_program();
    let manifest = program.manifest();
    let (instructions, weights) = (program.program_image(), program.weight_image());
    let changes: [(&str, Change); 18] = [
        ("format", |m| m.format = 2),
        ("hash", |m| m.config_hash ^= 1),
        ("rows", |m| m.accelerator.rows = 1000),
        ("depth", |m| m.accelerator.weight_words = None),
        ("instructions", |m| m.instructions = usize::MAX),
        ("weights", |m| m.weight_words = usize::MAX),
        ("fewer weights", |m| m.weight_words -= 1),
        ("peak", |m| m.peak_bytes = 5000),
        ("layer_of", |m| m.layer_of[3] = Some(99)),
        ("layer_of length", |m| m.layer_of.push(None)),
        ("conv without layer", |m| m.layer_of.iter_mut().for_each(|l| *l = None)),
        ("no output", |m| m.outputs.clear()),
        ("output shape", |m| m.outputs[0].shape = vec![usize::MAX, 3]),
        ("empty tensor", |m| m.layers[0].shape[1] = 0),
        ("huge tensor", |m| m.layers[0].shape = [usize::MAX; 3]),
        ("huge halo", |m| m.inputs[0].halo = [usize::MAX; 3]),
        ("base", |m| m.layers[0].base = usize::MAX),
        ("exponent", |m| m.layers[0].exponent = i32::MIN),
    ];
    for (name, change) in changes {
        let mut changed = manifest.clone();
        change(&mut changed);
        let json = serde_json::to_string(&changed).unwrap();
        let outcome = Program::from_parts(&json, &instructions, &weights);
        assert!(outcome.is_err(), "{name}");
    }
    let json = program.manifest_json();
    assert!(Program::from_parts(&json, &weights, &instructions).is_err());
    assert!(Program::from_parts(&json, "", "").is_err());
    assert!(Program::from_parts("{}", &instructions, &weights).is_err());
    assert!(Program::from_parts(&json.replace("\"softmax\"", "\"sofmax\""), &instructions, &weights).is_err());
}

/// Any byte may be damaged: the answer is a program or findings, never a panic.
#[test]
fn damaged_bytes_do_no_harm() {
    let program = lenet_program();
    let texts = [program.manifest_json(), program.program_image()];
    let weights = program.weight_image();
    let mut random = Random::new(4);
    for round in 0..600 {
        let which = round % 2;
        let mut bytes = texts[which].clone().into_bytes();
        for _ in 0..random.within(1, 3) {
            let at = random.within(0, bytes.len() - 1);
            bytes[at] = b"0123456789abcdef\n\"{}[],.-"[random.within(0, 24)];
        }
        let text = String::from_utf8(bytes).unwrap();
        let [manifest, image] = if which == 0 { [&text, &texts[1]] } else { [&texts[0], &text] };
        if let Ok(loaded) = Program::from_parts(manifest, image, &weights) {
            let input = vec![1; loaded.input_len()];
            // A fault of the machine is fine, too.
            let _ = run(&loaded, &input);
        }
    }
}

/// What was observed survives in a file, with and without functions of single values.
#[test]
fn calibration_tables_are_written_and_read() {
    let mut functions = 0;
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let graph = random_graph(&mut random);
        let len: usize = graph.inputs().iter().map(|i| graph.node(*i).shape.iter().product::<usize>()).sum();
        let sample: Vec<f32> = (0..len).map(|_| random.float()).collect();
        let Ok(table) = calibrate(&graph, &mut [&sample[..]].into_iter(), CalibrationMethod::Range) else { continue };
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<CalibrationTable>(&text).unwrap(), table, "seed {seed}");
        functions += table.arguments.iter().flatten().count();
    }
    assert!(functions > 5, "only {functions} functions");
}
