//! The documentation of registers and program file, and the file itself, read back with nothing but its tables.

use espalier_lower::testing::{Random, quantized, random_config, random_graph, random_input};
use espalier_lower::{
    PROGRAM_MAGIC, Program, compile, program_file_header, program_file_markdown, program_file_tensor,
    registers_markdown,
};

/// `UPDATE_EXPECT=1` writes the tables into the documentation.
#[test]
fn the_documentation_holds_the_tables() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/registers.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut expected = text.clone();
    for (name, table) in [("registers", registers_markdown()), ("file", program_file_markdown())] {
        let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = expected.split_once(&begin).expect("the start of the table is marked");
        let (_, after) = rest.split_once(&end).expect("the end of the table is marked");
        expected = format!("{before}{begin}{table}{end}{after}");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert!(text == expected, "docs/registers.md is old: run with UPDATE_EXPECT=1 and read the difference");
    }
}

/// The words of a file.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn header(file: &[u32], name: &str) -> usize {
    file[program_file_header().iter().position(|w| w.name == name).unwrap()] as usize
}

/// Positions in a stream of the elements of tensors, as `docs/registers.md` says.
fn positions(shapes: &[[usize; 3]], rows: usize) -> Vec<usize> {
    let mut all = Vec::new();
    let mut start = 0;
    for [channels, height, width] in shapes {
        for c in 0..*channels {
            for place in 0..height * width {
                all.push((start + c / rows * height * width + place) * rows + c % rows);
            }
        }
        start += channels.div_ceil(rows) * height * width;
    }
    all
}

fn check(program: &Program, random: &mut Random, input: &[i8]) {
    let bytes = program.to_binary();
    let file = words(&bytes);
    assert_eq!((bytes.len() % 4, file[0]), (0, PROGRAM_MAGIC));
    assert_eq!(header(&file, "file_bytes"), bytes.len());
    assert_eq!(file.last(), Some(&crc32fast::hash(&bytes[..bytes.len() - 4])));
    let rows = header(&file, "geometry") & 0xff;
    let (inputs, outputs) = (header(&file, "inputs"), header(&file, "outputs"));
    let (first, entry) = (program_file_header().len(), program_file_tensor().len());
    let shape = |at: usize| [0, 1, 2].map(|k| file[first + at * entry + k] as usize);
    let shapes: Vec<_> = (0..inputs + outputs).map(shape).collect();

    let stream = program.input_beats(input).concat();
    assert_eq!(stream.len(), header(&file, "beats_in") * rows);
    for (value, at) in input.iter().zip(positions(&shapes[..inputs], rows)) {
        assert_eq!(stream[at].cast_signed(), *value);
    }
    let beats: Vec<Vec<u8>> =
        (0..header(&file, "beats_out")).map(|_| (0..rows).map(|_| random.bits() as u8).collect()).collect();
    let values = program.output_from_beats(&beats).unwrap();
    let stream = beats.concat();
    let at = positions(&shapes[inputs..], rows);
    assert_eq!(at.len(), values.len());
    assert!(values.iter().zip(at).all(|(value, at)| stream[at].cast_signed() == *value));

    let code = first + (inputs + outputs) * entry;
    let (program_words, weight_words) = (header(&file, "program_words"), header(&file, "weight_words"));
    assert_eq!(file[code..code + program_words], program.program_words());
    let loaded: Vec<u8> =
        file[code..code + program_words + weight_words].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(crc32fast::hash(&loaded) as usize, header(&file, "checksum"));
    let rest = 4 * (code + program_words + weight_words);
    if program.config.external().is_some() {
        assert_eq!(bytes[rest..rest + header(&file, "stream_bytes")], program.weight_stream());
    } else {
        assert_eq!((rest, header(&file, "stream_bytes")), (bytes.len() - 4, 0));
    }
}

#[test]
fn the_file_says_everything() {
    let mut streamed = 0;
    let mut compared = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let Ok(graph) = quantized(&random_graph(&mut random), &mut random) else { continue };
        let Ok(program) = compile(&graph, &random_config(&mut random)) else { continue };
        let input = random_input(&graph, &mut random);
        check(&program, &mut random, &input);
        compared += 1;
        streamed += usize::from(program.config.external().is_some());
    }
    assert!(compared >= 40 && streamed >= 5);
}
