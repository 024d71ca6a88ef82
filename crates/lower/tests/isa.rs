//! Encoding is a bijection on what the hardware can execute, and the documentation says the same.

use espalier_lower::testing::Random;
use espalier_lower::{
    Area, ConvInstruction, INSTRUCTION_WORDS, Instruction, IsaError, Opcode, Stream, TransferInstruction, WeightWord,
    fields, fields_markdown,
};
use espalier_target::{AcceleratorConfig, Table};

fn random_area(random: &mut Random) -> Area {
    Area {
        base: random.bits() as u16,
        step_y: random.bits() as u16,
        nx: random.within(1, 4095) as u16,
        ny: random.within(1, 4095) as u16,
    }
}

fn random_conv(random: &mut Random) -> ConvInstruction {
    let area = random_area(random);
    let bounds = [random.bits() as i8, random.bits() as i8];
    let partial = random.chance(50);
    let mut half = || random.bits() as u16;
    let conv = ConvInstruction {
        dst_step_chunk: half(),
        src_base: half(),
        src_step_x: half(),
        src_step_y: half(),
        src_step_wx: half(),
        src_step_wy: half(),
        dst_base: area.base,
        dst_step_y: area.step_y,
        nx: area.nx,
        ny: area.ny,
        lo: bounds[0].min(bounds[1]),
        hi: bounds[0].max(bounds[1]),
        barrier: random.chance(50),
        fence: random.chance(50),
        partial,
        sum_shift: if partial { random.within(0, 3) as u8 } else { 0 },
        table: if partial { Table::Off } else { Table::ALL[random.within(0, 3)] },
        chunks: random.within(1, 16) as u8,
        columns: random.within(1, 32) as u8,
        rot: random.within(0, 63) as i8 - 32,
        rot_step: random.within(0, 127) as i8 - 64,
        tiles: random.within(1, 32767) as u16,
        weight_addr: random.within(0, (1 << 24) - 1) as u32,
        zero_point: random.bits() as i8,
        window: [random.within(1, 15) as u8, random.within(1, 15) as u8],
        window_sum: random.chance(50),
        depthwise: false,
        gated: false,
        wide: false,
        dst_step_x: 1,
    };
    // Where the window has one pixel, a bit of its step says that tables are swapped.
    let kept = conv.table == Table::Kept;
    let spread = ConvInstruction {
        window: [1, 1],
        src_step_wx: 0,
        src_step_wy: conv.src_step_wy & if kept { !(1 << 14) } else { u16::MAX },
        table: if kept && conv.weight_addr.is_multiple_of(2) { Table::Swapped } else { conv.table },
        dst_step_x: random.within(1, 15) as u16,
        ..conv
    };
    if conv.window == [1, 1] || random.chance(20) { spread } else { conv }
}

fn random_transfer(random: &mut Random) -> TransferInstruction {
    let area = random_area(random);
    TransferInstruction {
        restore: random.chance(50),
        barrier: random.chance(50),
        lane_base: area.base,
        lane_step: area.step_y,
        run: random.within(1, 65535) as u16,
        planes: area.ny,
        first_beat: random.within(0, (1 << 24) - 1) as u32,
        step_beats: random.within(0, (1 << 24) - 1) as u32,
    }
}

fn random_depthwise(random: &mut Random) -> ConvInstruction {
    let mut nibble = || random.within(0, 15) as u8;
    let mut stream = Stream { positions: 0, lead: nibble(), skip: nibble(), gap: nibble(), joined: nibble() > 7 };
    let [nx, ny] = [random.within(1, 20) as u16, random.within(1, 11) as u16];
    stream.positions = stream.length(nx, if stream.joined { ny } else { 1 }) as u16;
    let [src_step_wx, src_step_wy] = stream.to_steps();
    let plain = ConvInstruction { window: [1, 1], window_sum: false, nx, ny, ..random_conv(random) };
    let plain = ConvInstruction { dst_step_x: 1, ..plain };
    let conv = ConvInstruction { depthwise: true, gated: random.chance(50), src_step_wx, src_step_wy, ..plain };
    let wide = ConvInstruction { wide: true, table: Table::Off, chunks: 2, ..conv };
    if !conv.partial && random.chance(30) { wide } else { conv }
}

#[test]
fn a_run_of_the_depthwise_unit_ends_with_its_last_output() {
    let mut random = Random::new(13);
    for _ in 0..2000 {
        let conv = random_depthwise(&mut random);
        round_trip(Instruction::Conv(conv));
        let stream = conv.stream().unwrap();
        let rows = if stream.joined { conv.ny } else { 1 };
        let kept: Vec<usize> = stream.kept(conv.nx, rows).collect();
        assert_eq!(kept.len(), usize::from(conv.nx) * usize::from(rows));
        assert!(kept.is_sorted() && kept[0] == usize::from(stream.lead));
        assert_eq!(kept[kept.len() - 1] + 1, usize::from(stream.positions));
        for wrong in [stream.positions - 1, stream.positions + 1] {
            let conv = ConvInstruction { src_step_wx: wrong, ..conv };
            assert!(Instruction::Conv(conv).encode().is_err(), "{conv:?}");
        }
        let wide = ConvInstruction { wide: true, partial: false, sum_shift: 0, table: Table::Off, chunks: 2, ..conv };
        round_trip(Instruction::Conv(wide));
        let wrong = [
            ConvInstruction { window: [1, 2], ..conv },
            ConvInstruction { partial: true, ..wide },
            ConvInstruction { table: Table::Kept, ..wide },
            ConvInstruction { chunks: 3, ..wide },
            ConvInstruction { src_step_wy: wide.src_step_wy | 1 << 13, ..wide },
        ];
        for wrong in wrong {
            assert!(Instruction::Conv(wrong).encode().is_err(), "{wrong:?}");
        }
    }
}

#[test]
fn sums_of_the_unit_are_shifted_further() {
    let mut random = Random::new(15);
    let (array, unit) = (random_conv(&mut random), random_depthwise(&mut random));
    let bits = |conv| [0, 1, 2, 3].map(|sum_shift| ConvInstruction { partial: true, sum_shift, ..conv }.shift_bits());
    assert_eq!([bits(array), bits(unit)], [[0, 2, 4, 6], [0, 4, 6, 8]]);
}

fn extreme_convs() -> [ConvInstruction; 2] {
    let mut random = Random::new(0);
    let low = ConvInstruction {
        barrier: false,
        fence: false,
        partial: false,
        sum_shift: 0,
        table: Table::Off,
        chunks: 1,
        columns: 1,
        rot: -32,
        rot_step: -64,
        tiles: 1,
        dst_step_chunk: 0,
        weight_addr: 0,
        zero_point: -128,
        src_base: 0,
        src_step_x: 0,
        src_step_y: 0,
        src_step_wx: 0,
        src_step_wy: 0,
        window: [1, 1],
        window_sum: false,
        depthwise: false,
        gated: false,
        wide: false,
        lo: -128,
        hi: -128,
        nx: 1,
        ny: 1,
        dst_base: 0,
        dst_step_y: 0,
        dst_step_x: 1,
    };
    let high = ConvInstruction {
        barrier: true,
        fence: true,
        partial: true,
        sum_shift: 3,
        table: Table::Off,
        chunks: 16,
        columns: 32,
        rot: 31,
        rot_step: 63,
        tiles: 32767,
        dst_step_chunk: 65535,
        weight_addr: (1 << 24) - 1,
        zero_point: 127,
        src_base: 65535,
        src_step_x: 65535,
        src_step_y: 65535,
        src_step_wx: 65535,
        src_step_wy: 65535,
        window: [15, 15],
        window_sum: true,
        depthwise: false,
        gated: false,
        wide: false,
        lo: 127,
        hi: 127,
        nx: 4095,
        ny: 4095,
        dst_base: 65535,
        dst_step_y: 65535,
        dst_step_x: 1,
    };
    assert_ne!(random_conv(&mut random), low);
    [low, high]
}

fn round_trip(instruction: Instruction) {
    let words = instruction.encode().unwrap();
    assert_eq!(Instruction::decode(&words), Ok(instruction));
}

#[test]
fn every_instruction_survives_encoding() {
    let mut random = Random::new(11);
    round_trip(Instruction::End);
    extreme_convs().into_iter().for_each(|conv| round_trip(Instruction::Conv(conv)));
    for _ in 0..2000 {
        round_trip(Instruction::Conv(random_conv(&mut random)));
        round_trip(Instruction::Fill { value: random.bits() as i8, area: random_area(&mut random) });
        round_trip(Instruction::Load {
            replicate: random.within(0, 4) as u8,
            more: random.chance(50),
            area: random_area(&mut random),
        });
        let gates = random.chance(50);
        round_trip(Instruction::Store {
            more: !gates && random.chance(50),
            gates,
            class_lanes: if gates { 0 } else { random.within(0, 32) as u8 },
            area: random_area(&mut random),
        });
        round_trip(Instruction::Transfer(random_transfer(&mut random)));
    }
}

/// Random bits either mean nothing or mean exactly one instruction.
#[test]
fn decoding_never_guesses() {
    let mut random = Random::new(12);
    let mut decoded = 0;
    for round in 0..20_000u32 {
        let mut words = [0; INSTRUCTION_WORDS];
        words.iter_mut().for_each(|w| *w = (random.bits() & random.bits()) as u32);
        words[0] = (words[0] & !0xff) | (round % 8);
        if let Ok(instruction) = Instruction::decode(&words) {
            assert_eq!(instruction.encode(), Ok(words));
            decoded += 1;
        }
    }
    assert!(decoded > 100, "{decoded}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let [low, high] = extreme_convs();
    let refused = [
        ("chunks_m1", ConvInstruction { chunks: 0, ..low }),
        ("chunks_m1", ConvInstruction { chunks: 17, ..low }),
        ("columns", ConvInstruction { columns: 0, ..low }),
        ("columns", ConvInstruction { columns: 33, ..high }),
        ("rot", ConvInstruction { rot: 64, ..high }),
        ("rot_step", ConvInstruction { rot_step: -65, ..low }),
        ("tiles", ConvInstruction { tiles: 0, ..low }),
        ("tiles", ConvInstruction { tiles: 1 << 15, ..low }),
        ("weight_addr", ConvInstruction { weight_addr: 1 << 24, ..high }),
        ("win_y", ConvInstruction { window: [16, 1], ..high }),
        ("win_x", ConvInstruction { window: [1, 0], ..high }),
        ("nx", ConvInstruction { nx: 4096, ..high }),
        ("ny", ConvInstruction { ny: 0, ..low }),
        ("hi", ConvInstruction { lo: 1, hi: 0, ..low }),
        ("src_step_wx", ConvInstruction { dst_step_x: 0, ..low }),
        ("src_step_wx", ConvInstruction { dst_step_x: 16, ..low }),
        ("src_step_wx", ConvInstruction { src_step_wx: 1, ..low }),
        ("src_step_wx", ConvInstruction { dst_step_x: 2, ..high }),
        ("sum_shift", ConvInstruction { sum_shift: 1, ..low }),
        ("table", ConvInstruction { table: Table::Kept, ..high }),
        ("wide", ConvInstruction { wide: true, chunks: 2, ..low }),
    ];
    for (name, conv) in refused {
        let error = Instruction::Conv(conv).encode().unwrap_err();
        assert!(matches!(error, IsaError::OutOfRange { field, .. } if field == name), "{name}: {error}");
    }
    let area = Area { base: 0, step_y: 0, nx: 1, ny: 1 };
    assert!(Instruction::Load { replicate: 5, more: false, area }.encode().is_err());
    assert!(Instruction::Fill { value: 0, area: Area { ny: 4096, ..area } }.encode().is_err());
    assert_eq!(Instruction::decode(&[7, 0, 0, 0, 0, 0, 0, 0]), Err(IsaError::UnknownOpcode(7)));
    let unused = Instruction::decode(&[0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(unused, Err(IsaError::UnusedBits { opcode: "END", word: 7, bits: 1 }));
}

#[test]
fn fields_do_not_overlap() {
    let places =
        Opcode::ALL.into_iter().flat_map(|opcode| (0..INSTRUCTION_WORDS as u8).map(move |word| (opcode, word)));
    for (opcode, word) in places {
        let mut taken = 0u32;
        for field in fields().iter().filter(|f| f.word == word && f.used_by.contains(&opcode)) {
            for bit in field.lo..=field.hi {
                // One bit has two meanings where the instruction says which.
                let shared = ["table", "gated", "wide", "swap_tables"].contains(&field.name);
                assert!(shared || taken >> bit & 1 == 0, "'{}' overlaps", field.name);
                taken |= 1 << bit;
            }
        }
    }
    assert!(Opcode::ALL.iter().enumerate().all(|(code, opcode)| *opcode as usize == code));
}

#[test]
fn weight_words_survive_every_form() {
    let mut random = Random::new(13);
    for (cols, combine) in (4..=32).flat_map(|cols| [(cols, 1), (cols, 2)]) {
        let config = AcceleratorConfig { combine, ..AcceleratorConfig::new(4, cols, 64, 16) };
        let bytes = (0..cols).map(|i| if i == 0 { -127 } else { random.bits() as i8 }).collect();
        let mut word = WeightWord::new(bytes, random.bits() as u16);
        if combine == 2 {
            word.second_offset = random.bits() as u16;
            word.select = random.bits() as u32 >> (32 - cols);
        }
        assert_eq!(WeightWord::from_bytes(&word.to_bytes(&config), &config), Some(word.clone()));
        assert_eq!(WeightWord::from_hex(&word.to_hex(&config), &config), Some(word.clone()));
        let wider = AcceleratorConfig { cols: cols + 1, ..config.clone() };
        assert_eq!(WeightWord::from_hex(&word.to_hex(&config), &wider), None);
        let host: Vec<u8> = word.to_host_words(&config).iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(host.len() / 4, config.weight_word_bits().div_ceil(32));
        let bytes = word.to_bytes(&config);
        assert_eq!(host[..bytes.len()], bytes);
        assert!(host[bytes.len()..].iter().all(|b| *b == 0));
    }
    let narrow = AcceleratorConfig::new(4, 4, 64, 16);
    let combined = AcceleratorConfig { combine: 2, ..narrow.clone() };
    let word = WeightWord { second_offset: 0x56, select: 0b0110, ..WeightWord::new(vec![1, -1, 2, 3], 0x1234) };
    assert_eq!(word.to_hex(&narrow), "12340302ff01");
    assert_eq!(word.to_hex(&combined), "06005612340302ff01");
    assert_eq!(word.used_columns(), [0b1001, 0b0110]);
    assert_eq!(WeightWord::from_hex("12340302fg01", &narrow), None);
    assert_eq!(WeightWord::from_hex("12340302é01", &narrow), None);
}

/// `UPDATE_EXPECT=1` writes the table into the documentation.
#[test]
fn the_documentation_holds_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/isa.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- fields: generated -->\n").expect("the start of the table is marked");
    let (_, after) = rest.split_once("<!-- end of fields -->").expect("the end of the table is marked");
    let expected = format!("{before}<!-- fields: generated -->\n{}<!-- end of fields -->{after}", fields_markdown());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert!(text == expected, "docs/isa.md is old: run with UPDATE_EXPECT=1 and read the difference");
    }
}
