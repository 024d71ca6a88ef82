//! What does not fit is refused with numbers; what the hardware could not do is an error of the machine.

use espalier_ir::{Conv, Diagnostics, Graph, NodeId, Op, Pads, Pool, Tensor};
use espalier_lower::testing::{Random, lenet, quantized, random_input};
use espalier_lower::{
    Area, ConvInstruction, Instruction, LaneWrite, Machine, PARAMETER_WORDS, Program, Stream, WeightWord, compile,
    first_difference, first_write_difference, layer_tensors, run,
};
use espalier_quant::QuantizedGraph;
use espalier_target::{AcceleratorConfig, Multiplier, Table};

fn lenet_graph() -> QuantizedGraph {
    quantized(&lenet(5), &mut Random::new(5)).unwrap()
}

fn config() -> AcceleratorConfig {
    AcceleratorConfig::new(8, 8, 4096, 256)
}

fn refusal(graph: &QuantizedGraph, config: &AcceleratorConfig, code: &str) -> String {
    let findings = compile(graph, config).unwrap_err();
    let finding = findings.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("no '{code}' in {findings}"));
    assert!(finding.help.is_some());
    finding.to_string()
}

#[test]
fn memories_that_are_too_small_are_named_with_numbers() {
    let graph = lenet_graph();
    let program = compile(&graph, &config()).unwrap();
    let weights = program.weights.len();
    let text = refusal(&graph, &AcceleratorConfig { weight_words: Some(100), ..config() }, "memory-too-small");
    assert!(text.contains(&format!("needs {weights} weight words, the memory holds 100")), "{text}");
    assert!(text.contains("at least 8192") && (4097..8192).contains(&weights), "{weights}: {text}");
    let text = refusal(&graph, &AcceleratorConfig { program_instructions: Some(4), ..config() }, "memory-too-small");
    assert!(text.contains(&format!("needs {} instructions, the memory holds 4", program.instructions.len())), "{text}");
    let peak = program.memory.peak_bytes;
    let exact = compile(&graph, &AcceleratorConfig { lane_bytes: peak, ..config() }).unwrap();
    assert_eq!(exact.memory.peak_bytes, peak);
    let text = refusal(&graph, &AcceleratorConfig { lane_bytes: peak - 1, ..config() }, "lanes-too-small");
    assert!(text.contains(&format!("need {peak} bytes of every lane, the lanes have {}", peak - 1)), "{text}");
    let text = refusal(&graph, &AcceleratorConfig { lane_bytes: 64, ..config() }, "tensor-too-large");
    assert!(text.contains("64"), "{text}");
    let text = refusal(&graph, &AcceleratorConfig { accumulator_bits: 20, ..config() }, "accumulator-overflow");
    assert!(text.contains("the accumulators have 20"), "{text}");
}

#[test]
fn depths_left_open_become_powers_of_two() {
    let program = compile(&lenet_graph(), &config()).unwrap();
    let (weights, instructions) = (program.config.weight_words.unwrap(), program.config.program_instructions.unwrap());
    assert!(weights.is_power_of_two() && weights >= program.weights.len() && weights / 2 < program.weights.len());
    assert!(instructions.is_power_of_two() && instructions >= program.instructions.len());
}

/// A padded convolution and a padded maximum pooling read the same tensor.
fn two_paddings(relu: bool) -> Result<Program, Diagnostics> {
    let mut graph = Graph::new("halo");
    let x = graph.add_input("x", &[2, 6, 6]).unwrap();
    let values = |count: usize| (0..count).map(|i| i as f32 / 7.0 - 0.5).collect::<Vec<f32>>();
    let pads = Pads { top: 1, left: 1, bottom: 1, right: 1 };
    let conv = |graph: &mut Graph, from: NodeId| {
        let weight = graph.add_param("w", Tensor::f32([2, 2, 3, 3], values(36)));
        let op = Conv { weight, bias: None, stride: [1, 1], pads, dilation: [1, 1], groups: 1 };
        graph.add("conv", Op::Conv(op), &[from]).unwrap()
    };
    let mut shared = conv(&mut graph, x);
    if relu {
        shared = graph.add("relu", Op::Relu, &[shared]).unwrap();
    }
    let left = conv(&mut graph, shared);
    let pool = Pool { kernel: [3, 3], stride: [1, 1], pads };
    let right = graph.add("pool", Op::MaxPool(pool), &[shared]).unwrap();
    let sum = graph.add("sum", Op::Add, &[left, right]).unwrap();
    graph.add_output(sum);
    let mut random = Random::new(1);
    let graph = quantized(&graph, &mut random)?;
    let program = compile(&graph, &config())?;
    let input = random_input(&graph, &mut random);
    assert_eq!(run(&program, &input)?.1, graph.predict(&input));
    Ok(program)
}

#[test]
fn one_border_holds_one_value() {
    two_paddings(true).unwrap();
    let findings = two_paddings(false).unwrap_err();
    assert!(findings.iter().any(|f| f.code == "halo-conflict" && f.help.is_some()), "{findings}");
}

const ROWS: usize = 4;

fn small() -> AcceleratorConfig {
    AcceleratorConfig::new(ROWS, 4, 32, 16)
}

/// One pixel, one tile: column 0 takes lane 0 at `src`, written to lane 0 at `dst`.
fn conv(src: u16, dst: u16) -> ConvInstruction {
    ConvInstruction {
        barrier: true,
        fence: false,
        partial: false,
        sum_shift: 0,
        table: Table::Off,
        chunks: 1,
        columns: 1,
        rot: 0,
        rot_step: 0,
        tiles: 1,
        dst_step_chunk: 0,
        weight_addr: 0,
        zero_point: 0,
        src_base: src,
        src_step_x: 1,
        src_step_y: 1,
        src_step_wx: 0,
        src_step_wy: 0,
        window: [1, 1],
        window_sum: false,
        depthwise: false,
        gated: false,
        wide: false,
        lo: -128,
        hi: 127,
        nx: 1,
        ny: 1,
        dst_base: dst,
        dst_step_y: 1,
        dst_step_x: 1,
    }
}

fn weights() -> Vec<WeightWord> {
    let mut words = vec![WeightWord::empty(4); ROWS + PARAMETER_WORDS];
    words[0].bytes[0] = 1;
    words
}

fn execute(config: &AcceleratorConfig, weights: &[WeightWord], instructions: &[Instruction]) -> Result<(), String> {
    let words: Vec<u32> = instructions.iter().chain([&Instruction::End]).flat_map(|i| i.encode().unwrap()).collect();
    let machine = Machine::new(config, &words, weights).map_err(|e| e.to_string())?;
    machine.run(&[], true).map(|_| ()).map_err(|e| e.to_string())
}

fn fill(value: i8, base: u16, nx: u16) -> Instruction {
    Instruction::Fill { value, area: Area { base, step_y: 0, nx, ny: 1 } }
}

#[test]
fn columns_on_one_multiplier_see_one_vector() {
    let run = |multiplier, select| {
        let config = AcceleratorConfig { combine: 2, multiplier, ..small() };
        let mut weights = weights();
        weights[0].bytes[1] = 1;
        weights[0].select = select;
        execute(&config, &weights, &[fill(5, 0, 4), Instruction::Conv(conv(0, 8))])
    };
    assert!(run(Multiplier::Packed, 0b10).unwrap_err().contains("share a multiplier"));
    assert!(run(Multiplier::Packed, 0b01).unwrap_err().contains("share a multiplier"));
    run(Multiplier::Packed, 0b11).unwrap();
    run(Multiplier::Plain, 0b10).unwrap();
}

#[test]
fn the_machine_refuses_what_hardware_would_do_wrong() {
    let good = [fill(5, 0, 4), Instruction::Conv(conv(0, 8))];
    execute(&small(), &weights(), &good).unwrap();
    let cases: [(&str, ConvInstruction); 8] = [
        ("nobody wrote", conv(4, 8)),
        ("beyond its 32 bytes", conv(32, 8)),
        ("writes address 32", conv(0, 32)),
        ("the accumulators hold 16", ConvInstruction { nx: 17, src_step_x: 0, ..conv(0, 8) }),
        ("columns", ConvInstruction { columns: 5, ..conv(0, 8) }),
        ("writes address 38", ConvInstruction { nx: 3, src_step_x: 0, dst_step_x: 15, ..conv(0, 8) }),
        ("there are none", ConvInstruction { table: Table::Shared, ..conv(0, 8) }),
        ("weight words", ConvInstruction { weight_addr: 1, ..conv(0, 8) }),
    ];
    for (expected, conv) in cases {
        let error = execute(&small(), &weights(), &[fill(5, 0, 4), Instruction::Conv(conv)]).unwrap_err();
        assert!(error.contains(expected) && error.contains("instruction 1 (CONV)"), "{expected}: {error}");
    }
    let tables = AcceleratorConfig { activation_tables: true, ..small() };
    let kept = [fill(5, 0, 4), Instruction::Conv(ConvInstruction { table: Table::Kept, ..conv(0, 8) })];
    assert!(execute(&tables, &weights(), &kept).unwrap_err().contains("before any is loaded"));
    let area = Area { base: 0, step_y: 0, nx: 1, ny: 1 };
    let class = [fill(5, 0, 4), Instruction::Store { more: false, gates: false, class_lanes: 2, area }];
    assert!(execute(&small(), &weights(), &class).unwrap_err().contains("looks for a class"));
    // Two clusters take nine rows each, and no run that joins them.
    let clusters = AcceleratorConfig { clusters: 2, depthwise_taps: 2, ..small() };
    let rows = |ny| ConvInstruction { ny, src_step_y: 0, dst_step_y: 0, nx: 2, src_step_x: 0, ..conv(0, 8) };
    let of = |conv| execute(&clusters, &weights(), &[fill(5, 0, 4), Instruction::Conv(conv)]);
    of(rows(16)).unwrap();
    assert!(of(rows(17)).unwrap_err().contains("18 pixels, the accumulators hold 16"));
    let stream = Stream { positions: 2, lead: 1, skip: 0, gap: 0, joined: true };
    let [src_step_wx, src_step_wy] = stream.to_steps();
    let joined = ConvInstruction { depthwise: true, src_step_wx, src_step_wy, src_step_x: 1, ..conv(0, 8) };
    assert!(of(joined).unwrap_err().contains("joins all rows"));
    let mut shifted = weights();
    shifted[ROWS + 4].bytes[0] = 32;
    assert!(execute(&small(), &shifted, &good).unwrap_err().contains("shifts by 32"));
    let mut lowest = weights();
    lowest[0].bytes[0] = -128;
    assert!(execute(&small(), &lowest, &good).unwrap_err().contains("-128"));
    assert!(
        execute(&small(), &weights(), &[Instruction::Load { replicate: 0, more: false, area }])
            .unwrap_err()
            .contains("ended")
    );
}

#[test]
fn reads_that_overtake_writes_are_found() {
    let chain = |barrier| {
        let second = ConvInstruction { barrier, ..conv(8, 9) };
        [fill(5, 0, 4), Instruction::Conv(conv(0, 8)), Instruction::Conv(second)]
    };
    execute(&small(), &weights(), &chain(true)).unwrap();
    assert!(execute(&small(), &weights(), &chain(false)).unwrap_err().contains("under way"));
}

/// Rows whose weights are all zero may read anything, also bytes that do not exist.
#[test]
fn idle_rows_read_anything() {
    let mut words = weights();
    words[1].offset = 31;
    words[2].offset = 5000;
    execute(&small(), &words, &[fill(5, 0, 4), Instruction::Conv(conv(0, 8))]).unwrap();
}

#[test]
fn sums_wider_than_the_accumulators_are_found() {
    let config = AcceleratorConfig { accumulator_bits: 20, ..small() };
    let words = |tiles: u16, bias: i32| {
        let mut words = vec![WeightWord::new(vec![127, 0, 0, 0], 0); usize::from(tiles) * ROWS];
        let parameters = bias.to_le_bytes().into_iter().chain([0]);
        words.extend(parameters.map(|byte| WeightWord::new(vec![byte.cast_signed(), 0, 0, 0], 0)));
        words
    };
    let run = |tiles: u16, bias: i32| {
        let program = [fill(-128, 0, 4), Instruction::Conv(ConvInstruction { tiles, ..conv(0, 8) })];
        execute(&config, &words(tiles, bias), &program)
    };
    // 8 tiles * 4 rows * 127 * 128 = 520192, which leaves 4096 to 2^19.
    run(8, 0).unwrap();
    assert!(run(9, 0).unwrap_err().contains("-585216"));
    run(8, -4096).unwrap();
    assert!(run(8, -4097).unwrap_err().contains("-524289"));
}

#[test]
fn programs_that_are_none_are_refused() {
    let words =
        |instructions: &[Instruction]| -> Vec<u32> { instructions.iter().flat_map(|i| i.encode().unwrap()).collect() };
    let load = |program: &[u32]| Machine::new(&small(), program, &weights()).map(|_| ());
    load(&words(&[Instruction::End])).unwrap();
    load(&[]).unwrap_err();
    load(&words(&[fill(0, 0, 1)])).unwrap_err();
    load(&words(&[Instruction::End])[..7]).unwrap_err();
    load(&[15; 8]).unwrap_err();
    let narrow = [WeightWord::empty(3)];
    assert!(Machine::new(&small(), &words(&[Instruction::End]), &narrow).is_err());
    let deep = AcceleratorConfig { weight_words: Some(16), ..small() };
    assert!(Machine::new(&deep, &words(&[Instruction::End]), &vec![WeightWord::empty(4); 17]).is_err());
}

fn lenet_log() -> (Program, Vec<LaneWrite>, Vec<Vec<i8>>) {
    let graph = lenet_graph();
    let program = compile(&graph, &config()).unwrap();
    let input = random_input(&graph, &mut Random::new(9));
    let (run, ..) = run(&program, &input).unwrap();
    (program, run.writes, graph.run(&input))
}

#[test]
fn every_changed_byte_of_a_layer_is_found() {
    let (program, writes, expected) = lenet_log();
    assert_eq!(first_difference(&program, &writes, &expected), None);
    assert_eq!(first_write_difference(&writes, &writes), None);
    let mut random = Random::new(2);
    let convs: Vec<usize> = (0..writes.len())
        .filter(|i| matches!(program.instructions[writes[*i].instruction as usize], Instruction::Conv(_)))
        .collect();
    for _ in 0..50 {
        let index = convs[random.within(0, convs.len() - 1)];
        let mut changed = writes.clone();
        let write = &mut changed[index];
        let lane = write.mask.trailing_zeros() as usize;
        write.data[lane] ^= 1 << random.within(0, 7);
        let got = write.data[lane];
        let found = first_difference(&program, &changed, &expected).expect("a changed byte is a difference");
        let [c, y, x] = found.coordinate.unwrap();
        let layer = found.layer.unwrap();
        let tensor = &program.memory.layers[layer];
        assert_eq!(
            (found.lane, found.got, found.instruction),
            (lane, Some(got), Some(writes[index].instruction as usize))
        );
        assert_eq!(found.expected, Some(expected[layer][tensor.index([c, y, x])]));
        assert!(found.to_string().contains(&format!("channel {c}, row {y}, column {x}")));
        assert_eq!(first_write_difference(&writes, &changed).unwrap().0, index);
    }
}

#[test]
fn missing_and_stray_writes_are_found() {
    let (program, writes, expected) = lenet_log();
    let last = writes.len() - 1;
    let found = first_difference(&program, &writes[..last], &expected).unwrap();
    assert_eq!((found.layer, found.got), (Some(expected.len() - 1), None));
    assert!(layer_tensors(&program, &writes[..last]).unwrap().last().unwrap().is_none());
    assert_eq!(first_write_difference(&writes, &writes[..last]).unwrap().0, last);
    let mut stray = writes.clone();
    stray[last].address = stray[last].address.wrapping_add(4000);
    let found = first_difference(&program, &stray, &expected).unwrap();
    assert_eq!((found.coordinate, found.expected), (None, None));
    assert!(layer_tensors(&program, &stray).is_err());
    let mut nonsense = writes.clone();
    nonsense[0].instruction = u32::MAX;
    assert_eq!(first_difference(&program, &nonsense, &expected).unwrap().layer, None);
    // Two replicas of one element that differ.
    let replicated = program.memory.layers.iter().position(|t| t.layout.replicas > 1);
    assert_eq!(replicated, None, "LeNet's layers have more than rows / 2 channels");
}

/// Sums in parts: the second part adds to the first, shifted; what is never completed or changes its shape is found.
#[test]
fn partial_sums_are_completed_by_a_conv_of_the_same_shape() {
    let mut words = weights();
    let first = words.split_off(ROWS);
    // Weights of the partial CONV, then those of the one that completes it, with parameters.
    let program_words = [&words[..], &words[..], &first[..]].concat();
    let partial = ConvInstruction { partial: true, sum_shift: 3, ..conv(0, 8) };
    let last = ConvInstruction { weight_addr: ROWS as u32, barrier: false, ..conv(0, 8) };
    let run = |parts: &[ConvInstruction]| {
        let convs = parts.iter().copied().map(Instruction::Conv);
        let program: Vec<Instruction> = [fill(1, 0, 4)].into_iter().chain(convs).collect();
        let words: Vec<u32> = program.iter().chain([&Instruction::End]).flat_map(|i| i.encode().unwrap()).collect();
        let machine = Machine::new(&small(), &words, &program_words).map_err(|e| e.to_string())?;
        machine.run(&[], true).map(|run| run.writes.last().map(|w| w.data[0])).map_err(|e| e.to_string())
    };
    assert_eq!(run(&[partial, last]), Ok(Some(64 + 1)));
    assert_eq!(run(&[partial, ConvInstruction { sum_shift: 1, ..partial }, last]), Ok(Some(64 + 4 + 1)));
    assert!(run(&[partial]).unwrap_err().contains("never completed"));
    assert!(run(&[partial, ConvInstruction { nx: 2, ..last }]).unwrap_err().contains("another rectangle"));
}

/// Products of the depthwise unit, some with gates, added with all shifts to a result of two digits.
#[test]
fn states_are_sums_of_the_depthwise_unit() {
    let config = AcceleratorConfig { depthwise_taps: 2, gates: true, states: true, ..small() };
    let stream = Stream { positions: 1, lead: 0, skip: 0, gap: 0, joined: false };
    let [src_step_wx, src_step_wy] = stream.to_steps();
    // Every part takes lane 0 of address 0 with weight 1, the last one has parameters: no bias, no shift.
    let unit = ConvInstruction { depthwise: true, src_step_wx, src_step_wy, columns: 4, ..conv(0, 8) };
    let part = |sum_shift| ConvInstruction { partial: true, sum_shift, ..unit };
    let wide = ConvInstruction { wide: true, chunks: 2, dst_step_chunk: 1, barrier: false, ..unit };
    let gates = |value| {
        let area = Area { base: 4, step_y: 0, nx: 1, ny: 1 };
        [fill(value, 4, 1), Instruction::Store { more: false, gates: true, class_lanes: 0, area }]
    };
    let run = |config: &AcceleratorConfig, gate: i8, parts: &[ConvInstruction]| {
        let convs = parts.iter().copied().map(Instruction::Conv);
        let gated: Vec<Instruction> = parts.iter().filter(|part| part.gated).flat_map(|_| gates(gate)).collect();
        let program: Vec<Instruction> = gated.into_iter().chain([fill(100, 0, 4)]).chain(convs).collect();
        let words: Vec<u32> = program.iter().chain([&Instruction::End]).flat_map(|i| i.encode().unwrap()).collect();
        let machine = Machine::new(config, &words, &weights()).map_err(|e| e.to_string())?;
        let run = machine.run(&[], true).map_err(|e| e.to_string())?;
        let convs =
            run.writes.iter().filter(|write| matches!(program[write.instruction as usize], Instruction::Conv(_)));
        Ok::<_, String>(convs.map(|write| (write.address, write.data[0])).collect::<Vec<_>>())
    };
    let digits = |high, low| Ok(vec![(8, high), (9, low)]);
    assert_eq!(run(&config, 0, &[wide]), digits(0, 100));
    // 100 * (1 + 16 + 64 + 256 + 1) saturates.
    assert_eq!(run(&config, 0, &[part(0), part(1), part(2), part(3), wide]), digits(127, 127));
    // 100 * 16 + 100 = 6 * 256 + 164 = 7 * 256 - 92
    assert_eq!(run(&config, 0, &[part(1), wide]), digits(7, -92));
    // 100 * -128 * 1 + 100 * 64 + 100 = -6300 = -25 * 256 + 100
    let gated = ConvInstruction { gated: true, ..part(0) };
    assert_eq!(run(&config, -128, &[gated, part(2), wide]), digits(-25, 100));
    assert_eq!(run(&config, -128, &[ConvInstruction { sum_shift: 3, ..gated }, wide]), digits(-128, -128));
    // Without `wide` as always.
    assert_eq!(run(&config, 1, &[gated, unit]), Ok(vec![(8, 127)]));

    let refused = |parts: &[ConvInstruction], what: &str| {
        let error = run(&config, 1, parts).unwrap_err();
        assert!(error.contains(what), "{error}");
    };
    refused(&[part(1)], "never completed");
    let longer = Stream { positions: 2, lead: 1, ..stream };
    let [src_step_wx, src_step_wy] = longer.to_steps();
    refused(&[part(1), ConvInstruction { src_step_wx, src_step_wy, ..wide }], "or stream");
    refused(&[part(1), ConvInstruction { columns: 3, ..wide }], "another rectangle");
    let array = ConvInstruction { columns: 4, ..conv(0, 8) };
    refused(&[part(1), array], "or stream");
    refused(&[ConvInstruction { partial: true, sum_shift: 1, ..array }, wide], "or stream");
    let stateless = AcceleratorConfig { states: false, ..config.clone() };
    for parts in [&[wide][..], &[part(0), unit]] {
        assert!(run(&stateless, 1, parts).unwrap_err().contains("keeps states"));
    }
    let gateless = AcceleratorConfig { gates: false, ..config.clone() };
    let findings = gateless.validate().unwrap_err();
    let finding = findings.iter().next().unwrap();
    assert!(finding.to_string().contains("'states'") && finding.help.is_some(), "{findings}");
}
