//! What is wrong with a file is said all at once, with lines; nothing panics or takes much memory.

use std::fs;
use std::path::Path;

use espalier_architecture::{Architecture, read};
use espalier_ir::{Graph, Op, Random};

fn findings(text: &str) -> String {
    read(text, "net.toml", 1).unwrap_err().to_string()
}

fn layers(lines: &str) -> Result<Architecture, String> {
    read(&format!("input.shape = [4, 8, 8]\nlayers = [\n{lines}\n]\n"), "net.toml", 1).map_err(|e| e.to_string())
}

#[test]
fn all_findings_come_at_once_with_line_and_suggestion() {
    let text = layers(
        "{ op = \"conv\", chanels = 8, kernel = 3 },\n\
         { op = \"convolution\", name = \"second\" },\n\
         { op = \"relu\", name = \"third\", alpha = 1 },\n\
         { op = \"dense\", features = 0 },\n\
         { op = \"add\", with = \"thrid\" },\n\
         { op = \"max_pool\", kernel = [1, 2, 3], pads = \"valid\" },\n\
         { name = \"nothing\" },\n\
         7,",
    )
    .unwrap_err();
    for expected in [
        "net.toml:3: layer 1 (conv)",
        "did you mean 'channels'?",
        "lacks 'channels', a whole number from 1",
        "there is no layer 'convolution'",
        "net.toml:4: layer 'second'",
        "net.toml:5: layer 'third'",
        "has no key 'alpha'",
        "net.toml:6: layer 4 (dense)",
        "'features' must be a whole number from 1",
        "net.toml:7",
        "reads 'thrid', which no layer before it is called",
        "did you mean 'third'?",
        "net.toml:8: layer 6 (max_pool)",
        "'kernel' must be",
        "'pads' must be \"same\"",
        "net.toml:9: layer 'nothing'",
        "lacks 'op'",
        "net.toml:10: layer 8",
        "must be a table",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert_eq!(text.matches("error[bad-architecture]").count(), 10, "{text}");
}

#[test]
fn shapes_that_do_not_fit_name_the_layer() {
    let text = layers("{ op = \"conv\", channels = 8, kernel = 9, name = \"wide\" },\n{ op = \"relu\" },").unwrap_err();
    assert!(text.contains("layer 'wide'") && text.contains("window of 9 does not fit 8"), "{text}");
    assert_eq!(text.matches("error[").count(), 1, "what follows from it is not said again: {text}");
    let cases = [
        ("{ op = \"dense\", features = 3 },", "put a flatten in front of it"),
        ("{ op = \"conv\", channels = 6, kernel = 1, groups = 3 },", "3 groups do not divide 4 and 6"),
        ("{ op = \"shuffle_channels\", groups = 3 },", "3 groups do not divide 4"),
        ("{ op = \"slice_channels\", end = 5 },", "takes channels 0..5 of 4"),
        ("{ op = \"sequence\" },", "takes [time, features]"),
        ("{ op = \"flatten\" },\n{ op = \"add\", with = \"input\" },", "operands differ in shape"),
        ("{ op = \"add\", from = [] },", "reads no value"),
        ("{ op = \"relu\", with = \"input\" },", "takes 1 operands"),
        ("{ op = \"conv_transpose\", channels = 2, kernel = 2, pads = \"same\" },", "takes pads as numbers"),
        ("{ op = \"dropout\", rate = 0.5 },\n{ op = \"relu\" },", "only a dense layer may"),
        ("{ op = \"flatten\" },\n{ op = \"dropout\", rate = 0.5 },", "stands at the end"),
        ("{ op = \"dropout\", rate = 1.0 },", "'rate' must be from 0"),
        ("{ op = \"clip\", min = 2, max = 1 },", "'min' must be below 'max'"),
        ("{ op = \"relu\", name = \"a\" },\n{ op = \"relu\", name = \"a\" },", "already taken"),
        ("{ op = \"relu\", name = \"lost\" },\n{ op = \"relu\", from = \"input\" },", "no layer reads"),
    ];
    for (lines, expected) in cases {
        let text = layers(lines).map(|_| ()).unwrap_err();
        assert!(text.contains(expected) && text.contains("net.toml:"), "{expected} in\n{text}");
    }
}

#[test]
fn absurd_numbers_cost_nothing() {
    for lines in [
        "{ op = \"conv\", channels = 16777216, kernel = 16777216, pads = \"same\" },",
        "{ op = \"flatten\" },\n{ op = \"dense\", features = 16777216 },",
        "{ op = \"conv\", channels = 1, kernel = 1, pads = 16777216 },",
        "{ op = \"pad_channels\", before = 16777216 },",
        "{ op = \"upsample\", factor = 16777216 },",
        "{ op = \"conv\", channels = 99999999999999999999, kernel = 1 },",
        "{ op = \"conv\", channels = -1, kernel = 1.5 },",
        "{ op = \"reshape\", shape = [16777216, 16777216, 16777216] },",
        "{ op = \"reshape\", shape = [] },",
        "{ op = \"sequence\" },\n{ op = \"lstm\", units = 16777216 },",
    ] {
        assert!(layers(lines).is_err(), "{lines}");
    }
    assert!(findings("input.shape = [16777216, 16777216]\nlayers = [{ op = \"relu\" }]").contains("exceeds"));
    assert!(findings("input.shape = []\nlayers = [{ op = \"relu\" }]").contains("shape"));
    let many = "{ op = \"relu\" },\n".repeat(5000);
    assert!(layers(&many).unwrap_err().contains("5000 layers"));
    assert!(findings(&" ".repeat(2 << 20)).contains("larger than"));
}

#[test]
fn damaged_files_are_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/architectures");
    let text = fs::read_to_string(folder.join("dscnn.toml")).unwrap();
    for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
        let _ = read(&text[..cut], "cut", 1);
    }
    let mut random = Random::new(9);
    for _ in 0..2000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = b" \"[]{}=,.0x9a\n"[random.below(14)];
        }
        let _ = read(&String::from_utf8(bytes).unwrap(), "damaged", 1);
    }
    assert!(findings("layers = [").contains("net.toml:1"));
    let text = findings("");
    assert!(text.contains("lacks [input]") && text.contains("lacks 'layers'"), "{text}");
    assert!(findings("input = 3\nlayers = 4\nspeed = 1").contains("has no key 'speed'"));
}

#[test]
fn every_layer_becomes_its_operator() {
    let Architecture { graph, dropout } = layers(
        "{ op = \"conv_transpose\", channels = 4, kernel = 2, stride = 2 },\n\
         { op = \"prelu\" },\n\
         { op = \"depthwise_conv\", kernel = [3, 1], pads = \"same\", stride = [2, 1], name = \"a\" },\n\
         { op = \"conv\", channels = 1, kernel = 1 },\n\
         { op = \"sigmoid\" },\n\
         { op = \"mul\", with = \"a\" },\n\
         { op = \"relu6\" },\n\
         { op = \"average_pool\", kernel = 2, count_include_pad = true, name = \"b\" },\n\
         { op = \"shuffle_channels\", groups = 2 },\n\
         { op = \"concat\", with = [\"b\", \"b\"] },\n\
         { op = \"upsample\", factor = [1, 2] },\n\
         { op = \"slice_channels\", start = 2, end = 7 },\n\
         { op = \"reshape\", shape = [5, 1, 64] },\n\
         { op = \"gru\", units = 3, reverse = true, bias = false },\n\
         { op = \"last_step\" },\n\
         { op = \"dropout\", rate = 0.25 },\n\
         { op = \"dense\", features = 2, name = \"end\" },\n\
         { op = \"softmax\" },",
    )
    .unwrap();
    let names: Vec<&str> = graph.nodes().into_iter().map(|n| graph.node(n).op.name()).collect();
    let expected = "Input ConvTranspose PRelu Conv Conv Sigmoid Mul Clip AveragePool Select Concat Resize Select \
                    Reshape GRU TimeStep Gemm Softmax";
    assert_eq!(names.join(" "), expected);
    let node = |graph: &Graph, name: &str| graph.nodes().into_iter().find(|n| graph.node(*n).name == name).unwrap();
    assert_eq!(dropout, [(node(&graph, "end"), 0.25)].into());
    let Op::Conv(depthwise) = &graph.node(node(&graph, "a")).op else { panic!() };
    assert_eq!((depthwise.groups, depthwise.pads.top, depthwise.pads.bottom), (4, 0, 1));
    let shuffle = graph.node(node(&graph, "shuffle_channels_9"));
    assert_eq!(shuffle.op, Op::Select { channels: vec![Some(0), Some(2), Some(1), Some(3)] });
    assert_eq!(graph.node(node(&graph, "b")).shape, [4, 4, 8]);
}
