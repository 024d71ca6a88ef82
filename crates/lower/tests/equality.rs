//! The machine gives the integers of the reference interpreter, for every element of every layer.

use espalier_lower::testing::{
    Random, depthwise_layer, gated_layer, lenet, quantized, random_config, random_graph, random_input,
    recurrent_network, spilling,
};
use espalier_lower::{
    Area, Instruction, Machine, Program, TransferInstruction, compile, first_difference, layer_tensors, run,
};
use espalier_quant::{QuantizedGraph, argmax};
use espalier_target::{AcceleratorConfig, ActivationStore, CostModel};

/// Runs one sample through both and compares everything.
fn compare(graph: &QuantizedGraph, program: &Program, input: &[i8]) {
    let expected = graph.run(input);
    let (run, outputs, cycles) = run(program, input).unwrap_or_else(|e| panic!("{e}"));
    if let Some(difference) = first_difference(program, &run.writes, &expected) {
        panic!("{difference}");
    }
    let tensors = layer_tensors(program, &run.writes).unwrap();
    assert!(tensors.iter().zip(&expected).all(|(got, expected)| got.as_ref() == Some(expected)));
    assert_eq!(outputs, graph.predict(input));
    assert_eq!(cycles.end_cycle.len(), program.instructions.len() - 1);
    assert!(cycles.total >= *cycles.end_cycle.last().unwrap());
    let last = program.memory.tensor(*program.outputs.last().unwrap());
    let scores = &outputs[outputs.len() - last.elements()..];
    let sought = program.config.argmax && last.layout.shape[1..] == [1, 1];
    assert_eq!(program.seeks_class(), sought);
    assert_eq!(run.class as usize, if sought { argmax(scores) } else { 0 });
}

#[test]
fn random_networks_on_random_arrays() {
    let (mut compared, mut tiled, mut refused) = (0, 0, 0);
    let (mut functions, mut enlarged, mut sought) = ([0, 0], 0, 0);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let graph = random_graph(&mut random);
        let Ok(graph) = quantized(&graph, &mut random) else {
            refused += 1;
            continue;
        };
        let config = random_config(&mut random);
        let program = match compile(&graph, &config) {
            Ok(program) => program,
            Err(findings) => {
                let expected =
                    ["halo-conflict", "flattened-operand", "no-activation-tables", "no-gates", "tensor-too-large"];
                assert!(findings.iter().all(|f| expected.contains(&f.code)), "seed {seed}: {findings}");
                refused += 1;
                continue;
            }
        };
        for _ in 0..2 {
            let input = random_input(&graph, &mut random);
            let outcome = std::panic::catch_unwind(|| compare(&graph, &program, &input));
            assert!(outcome.is_ok(), "seed {seed}, {config:?}");
        }
        let convs = program.instructions.iter().filter(|i| matches!(i, Instruction::Conv(_))).count();
        tiled += usize::from(convs > graph.layers.iter().map(|l| l.conv_shape[0].div_ceil(config.cols)).sum());
        sought += usize::from(program.seeks_class());
        compared += 1;
        let tables = graph.layers.iter().filter_map(|l| l.table.as_ref());
        functions[0] += tables.clone().count();
        functions[1] += tables.filter(|t| t.curve.by_channel()).count();
        enlarged +=
            program.instructions.iter().filter(|i| matches!(i, Instruction::Conv(c) if c.dst_step_x > 1)).count();
    }
    assert!(functions[0] >= 100 && functions[1] >= 10, "{functions:?} layers with tables, with tables by channel");
    assert!(sought >= 20, "only {sought} classes were sought");
    assert!(enlarged >= 100, "only {enlarged} instructions wrote with gaps");
    assert!(compared >= 300, "only {compared} networks were compared, {refused} refused");
    assert!(tiled >= 50, "only {tiled} networks were cut into pixel tiles");
}

/// Networks whose tensors do not fit the lanes, in strips that pass through them.
#[test]
fn spilled_networks_on_tiny_lanes() {
    let (mut compared, mut strips, mut refused) = (0, 0, 0);
    for seed in 20_000..20_500 {
        let mut random = Random::new(seed);
        let graph = random_graph(&mut random);
        let Ok(graph) = quantized(&graph, &mut random) else { continue };
        let config = AcceleratorConfig {
            memory_bytes_per_cycle: random.chance(50).then_some(4),
            memory_latency_cycles: Some(random.within(1, 80)),
            ..random_config(&mut random)
        };
        let Some(config) = spilling(&graph, &config, &mut random) else { continue };
        let program = match compile(&graph, &config) {
            Ok(program) => program,
            Err(findings) => {
                assert!(findings.iter().all(|f| f.code == "lanes-too-small"), "seed {seed}: {findings}");
                refused += 1;
                continue;
            }
        };
        let input = random_input(&graph, &mut random);
        let outcome = std::panic::catch_unwind(|| compare(&graph, &program, &input));
        assert!(outcome.is_ok(), "seed {seed}, {config:?}");
        strips += usize::from(program.strips.len() > 2);
        compared += 1;
    }
    assert!(compared >= 150, "only {compared} networks were compared, {refused} refused");
    assert!(strips >= 80, "only {strips} networks were cut into strips");
}

/// Words that do not fill their beats are filled up with zeros, also for who restores them one beat further.
#[test]
fn the_rest_of_the_last_beat_of_a_word_is_zero() {
    let config = AcceleratorConfig {
        activations: ActivationStore::Spilled,
        memory_bytes_per_cycle: Some(4),
        ..AcceleratorConfig::new(5, 5, 64, 16)
    };
    let area = |base, nx| Area { base, step_y: 0, nx, ny: 1 };
    let save = TransferInstruction {
        restore: false,
        barrier: false,
        lane_base: 0,
        lane_step: 0,
        run: 2,
        planes: 1,
        first_beat: 0,
        step_beats: 0,
    };
    let program = [
        Instruction::Load { replicate: 0, more: false, area: area(0, 2) },
        Instruction::Transfer(save),
        Instruction::Transfer(TransferInstruction { restore: true, lane_base: 8, run: 1, first_beat: 1, ..save }),
        Instruction::Store { more: false, gates: false, class_lanes: 0, area: area(8, 1) },
        Instruction::End,
    ];
    let words: Vec<u32> = program.iter().flat_map(|i| i.encode().unwrap()).collect();
    let machine = Machine::new(&config, &words, &[]).unwrap();
    let run = machine.run(&[vec![1, 2, 3, 4, 5], vec![6, 7, 8, 9, 10]], false).unwrap();
    assert_eq!(run.beats, [[5, 0, 0, 0, 6]]);
}

/// Depthwise convolutions of all shapes on the unit, several taps a pass, with one and two vectors a row.
#[test]
fn depthwise_convolutions_beside_the_array() {
    let mut on_unit = 0;
    for seed in 0..150 {
        let mut random = Random::new(5000 + seed);
        let (graph, config) = depthwise_layer(&mut random);
        let graph = quantized(&graph, &mut random).unwrap();
        let program = compile(&graph, &config).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        on_unit += usize::from(program.instructions.iter().any(|i| matches!(i, Instruction::Conv(c) if c.depthwise)));
        compare(&graph, &program, &random_input(&graph, &mut random));
    }
    assert!(on_unit > 50, "only {on_unit} layers on the unit");
}

/// Maps multiplied by computed factors, more blocks than gates wait among them, spilled or not.
#[test]
fn gates_of_channels() {
    let (mut gated, mut several) = (0, 0);
    for seed in 0..200 {
        let mut random = Random::new(6000 + seed);
        let (graph, config) = gated_layer(&mut random);
        let graph = quantized(&graph, &mut random).unwrap();
        let spilled = random.chance(40).then(|| spilling(&graph, &config, &mut random)).flatten();
        let compiled = spilled.and_then(|config| compile(&graph, &config).ok());
        let program =
            compiled.unwrap_or_else(|| compile(&graph, &config).unwrap_or_else(|e| panic!("seed {seed}: {e}")));
        let sends = program.instructions.iter().filter(|i| matches!(i, Instruction::Store { gates: true, .. })).count();
        gated += usize::from(sends > 0);
        several += usize::from(sends > 1);
        compare(&graph, &program, &random_input(&graph, &mut random));
    }
    assert!(gated > 150 && several > 20, "{gated} gated layers, {several} that send gates more than once");
}

#[test]
fn lenet_on_three_arrays() {
    let mut random = Random::new(7);
    let graph = quantized(&lenet(7), &mut random).unwrap();
    for side in [8, 16, 32] {
        let program = compile(&graph, &AcceleratorConfig::new(side, side, 8192, 1024)).unwrap();
        compare(&graph, &program, &random_input(&graph, &mut random));
    }
}

#[test]
fn real_values_go_in_and_out_as_the_quantizer_says() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let Ok(graph) = quantized(&random_graph(&mut random), &mut random) else { continue };
        let Ok(program) = compile(&graph, &random_config(&mut random)) else { continue };
        let values: Vec<f32> = (0..program.input_len()).map(|_| random.float() * 3.0).collect();
        assert_eq!(program.quantize_input(&values), graph.quantize_input(&values));
        let outputs: Vec<i8> = (0..program.output_len()).map(|_| random.bits() as i8).collect();
        assert_eq!(program.dequantize_output(&outputs), graph.dequantize_output(&outputs));
    }
}

/// A sample does not see what another left in the lanes, and the log changes nothing.
#[test]
fn runs_are_independent() {
    let mut random = Random::new(3);
    let graph = quantized(&lenet(3), &mut random).unwrap();
    let program = compile(&graph, &AcceleratorConfig::new(8, 16, 8192, 256)).unwrap();
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights).unwrap();
    let beats = program.input_beats(&random_input(&graph, &mut random));
    let logged = machine.run(&beats, true).unwrap();
    machine.run(&program.input_beats(&random_input(&graph, &mut random)), false).unwrap();
    let silent = machine.run(&beats, false).unwrap();
    assert_eq!(logged.beats, silent.beats);
    assert!(silent.writes.is_empty() && !logged.writes.is_empty());
}

/// Weight tiles of every layer and block, read back from the instructions.
fn tiles(program: &Program, model: &CostModel) -> Vec<Vec<u32>> {
    let mut tiles = vec![Vec::new(); model.layers().len()];
    for (instruction, layer) in program.instructions.iter().zip(&program.layer_of) {
        if let (Instruction::Conv(conv), Some(layer)) = (instruction, layer)
            && !conv.partial
            && tiles[*layer].len() < model.network().layers[*layer].blocks.len()
        {
            tiles[*layer].push(u32::from(conv.tiles));
        }
    }
    tiles
}

/// The price of a network before it is quantized is the time of its program.
#[test]
fn the_cost_model_predicts_programs() {
    let mut compared = 0;
    for seed in 1000..1150 {
        let mut random = Random::new(seed);
        let graph = random_graph(&mut random);
        let Ok(quantized) = quantized(&graph, &mut random) else { continue };
        let config = random_config(&mut random);
        let Ok(program) = compile(&quantized, &config) else { continue };
        let model = CostModel::new(&graph, &config).unwrap();
        let tiles = tiles(&program, &model);
        let machine = Machine::new(&program.config, &program.program_words(), &program.weights).unwrap();
        assert_eq!(model.total_cycles(&tiles), machine.cycles().total, "seed {seed}");
        assert_eq!(model.resolved_config(&tiles), program.config, "seed {seed}");
        assert_eq!(model.live_bytes(), program.memory.lower_bound_bytes, "seed {seed}");
        assert!(program.memory.peak_bytes >= program.memory.lower_bound_bytes);
        compared += 1;
    }
    assert!(compared >= 100, "only {compared} networks were compared");
}

/// LSTM and GRU layers, unrolled, with states of 16 bits: the time steps share their weights.
#[test]
fn recurrent_networks() {
    let (mut compared, mut shared) = (0, 0);
    for seed in 40_000..40_120 {
        let mut random = Random::new(seed);
        let (graph, config) = recurrent_network(&mut random);
        let quantized = match quantized(&graph, &mut random) {
            Ok(quantized) => quantized,
            Err(findings) => panic!("seed {seed}: {findings}"),
        };
        let program = compile(&quantized, &config).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for _ in 0..2 {
            let input = random_input(&quantized, &mut random);
            let outcome = std::panic::catch_unwind(|| compare(&quantized, &program, &input));
            assert!(outcome.is_ok(), "seed {seed}, {config:?}");
        }
        let model = CostModel::new(&graph, &config).unwrap();
        let tiles = model.dense_tiles();
        assert!(model.weight_words(tiles) >= program.weights.len(), "seed {seed}");
        shared += usize::from(model.network().layers.iter().any(|l| l.shares_words.is_some()));
        compared += 1;
    }
    assert!(compared >= 100 && shared >= 60, "{compared}, {shared}");
}
