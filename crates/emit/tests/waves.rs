//! The waveforms of `docs/rtl.md`, drawn from a simulation of the hardware: two tiles of nine pixels on a 4x4 array.
//!
//! `UPDATE_EXPECT=1` draws them anew. Needs Icarus Verilog, as the other tests of tools do.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use espalier_emit::design_files;
use espalier_ir::{Conv, Graph, Op, Pads, Tensor};
use espalier_lower::compile;
use espalier_lower::testing::{Random, quantized};
use espalier_target::AcceleratorConfig;

/// What a bus shows while its condition holds, else nothing.
struct Signal {
    name: &'static str,
    /// Where it lives in the core, for the reader.
    module: &'static str,
    /// Verilog expression: 1 while there is something to show.
    valid: &'static str,
    /// Verilog expression of the value; none draws a single wire.
    value: Option<&'static str>,
}

const SIGNALS: [Signal; 14] = [
    Signal { name: "weight word: row", module: "loader", valid: "dut.weight_valid", value: Some("dut.word_row") },
    Signal { name: "parameter word", module: "loader", valid: "dut.param_valid", value: Some("dut.word_row") },
    Signal { name: "tile_ready", module: "loader", valid: "dut.tile_ready", value: None },
    Signal { name: "swap", module: "streamer", valid: "dut.swap", value: None },
    Signal { name: "base_mark", module: "streamer", valid: "dut.base_valid && dut.base_mark", value: None },
    Signal { name: "base_addr", module: "streamer", valid: "dut.base_valid", value: Some("dut.base_addr") },
    Signal {
        name: "act, row 0",
        module: "lane",
        valid: "past[3]",
        value: Some("dut.gen_cluster[0].u_cluster.gen_lane[0].u_lane.act_o"),
    },
    Signal {
        name: "act, row 3",
        module: "lane",
        valid: "past[6]",
        value: Some("dut.gen_cluster[0].u_cluster.gen_lane[3].u_lane.act_o"),
    },
    Signal { name: "swap, row 0", module: "lane", valid: "dut.gen_cluster[0].u_cluster.swap_mark[0]", value: None },
    Signal {
        name: "psum[7:0], column 0",
        module: "array",
        valid: "dut.gen_cluster[0].u_cluster.gen_step[2].step[8]",
        value: Some("dut.gen_cluster[0].u_cluster.psum[7:0]"),
    },
    Signal {
        name: "accumulator write",
        module: "accumulator",
        valid: "dut.gen_cluster[0].u_cluster.gen_step[3].step[8]",
        value: Some("dut.gen_cluster[0].u_cluster.gen_step[3].step[3:0]"),
    },
    Signal { name: "drain read", module: "drain", valid: "dut.drain_valid", value: Some("dut.drain_addr") },
    Signal { name: "results", module: "drain", valid: "dut.wb_valid", value: Some("dut.wb_addr") },
    Signal { name: "lane write", module: "write-back", valid: "dut.trace_valid_o", value: Some("dut.trace_addr_o") },
];

/// A kernel of 1x2 on four channels: eight vectors in four lanes, two tiles.
fn network() -> Graph {
    let mut graph = Graph::new("waves");
    let x = graph.add_input("x", &[4, 3, 4]).unwrap();
    let weights = (0..32).map(|i| (i * 7 % 13) as f32 / 13.0 - 0.45).collect();
    let conv = Conv {
        weight: graph.add_param("w", Tensor::f32([4, 4, 1, 2], weights)),
        bias: None,
        stride: [1, 1],
        pads: Pads { top: 0, left: 0, bottom: 0, right: 0 },
        dilation: [1, 1],
        groups: 1,
    };
    let y = graph.add("conv", Op::Conv(conv), &[x]).unwrap();
    graph.add_output(y);
    graph
}

fn bench() -> String {
    let mut prints = String::new();
    for Signal { valid, value, .. } in &SIGNALS {
        writeln!(prints, "      $write(\"%0d %0d \", {valid}, {});", value.unwrap_or("1'b1")).unwrap();
    }
    format!(
        "module waves;
  reg clk = 0, rst_n = 0, we = 0;
  reg [31:0] addr = 0, data = 0, beat = 0;
  reg [7:0] past = 0;
  wire ready, done;
  espalier_core #(.ProgramFile(\"memory/program.hex\"), .WeightFile(\"memory/weights.hex\")) dut (
    .clk_i(clk), .rst_ni(rst_n), .host_we_i(we), .host_addr_i(addr), .host_wdata_i(data),
    .in_valid_i(1'b1), .in_ready_o(ready), .in_data_i(beat), .in_last_i(1'b0), .out_ready_i(1'b1), .done_o(done),
    .ar_ready_i(1'b0), .r_valid_i(1'b0), .r_data_i(8'd0), .r_resp_i(2'd0), .spill_ar_ready_i(1'b0),
    .spill_r_valid_i(1'b0), .spill_r_data_i(8'd0), .spill_r_resp_i(2'd0), .spill_r_last_i(1'b0), .spill_aw_ready_i(1'b0),
    .spill_w_ready_i(1'b0), .spill_b_valid_i(1'b0), .spill_b_resp_i(2'd0));
  always #1 clk = ~clk;
  always @(posedge clk) begin
    past <= {{past[6:0], dut.base_valid}};
    if (ready) beat <= beat * 5 + 32'h17593b2d;
  end
  always @(negedge clk) if (rst_n) begin
{prints}      $write(\"\\n\");
    if (done) $finish;
  end
  initial begin
    repeat (3) @(negedge clk);
    rst_n = 1; we = 1; addr = {{24'b0, espalier_pkg::REG_CONFIG_HASH, 2'b0}}; data = espalier_pkg::CONFIG_HASH;
    @(negedge clk);
    addr = 0; data = 1;
    @(negedge clk);
    we = 0;
    repeat (1000) @(negedge clk);
    $fatal(1, \"does not end\");
  end
endmodule
"
    )
}

/// `[cycle][signal]`: the value, where there is one to show.
type Trace = Vec<Vec<Option<u32>>>;

fn simulate() -> Trace {
    let config = AcceleratorConfig {
        weight_words: Some(64),
        program_instructions: Some(16),
        ..AcceleratorConfig::new(4, 4, 64, 16)
    };
    let program = compile(&quantized(&network(), &mut Random::new(1)).unwrap(), &config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in design_files(&program, "waves").iter() {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(folder.path().join("rtl/waves.v"), bench()).unwrap();
    let run = |inside: &str, words: &str| {
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        let output = command.args(words).current_dir(folder.path().join(inside)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    run("rtl", "iverilog -g2012 -s waves -o ../waves.vvp -c files.f waves.v");
    let text = run("", "vvp waves.vvp");
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = |pair: &[&str]| (pair[0] == "1").then(|| pair[1].parse().unwrap_or(0));
        words.chunks_exact(2).map(shown).collect()
    };
    text.lines().filter(|l| l.split_whitespace().count() == 2 * SIGNALS.len()).map(line).collect()
}

const CELL: usize = 18;
const ROW: usize = 24;
const LEFT: usize = 210;
const TOP: usize = 30;

/// Fill of what belongs to the first tile, to the second, and to both.
const FILLS: [&str; 3] = ["#cfe3f5", "#fde0c2", "#e2efda"];

/// One row a signal, one cell a cycle.
fn draw(trace: &Trace) -> String {
    let (width, height) = (LEFT + CELL * trace.len() + 10, TOP + ROW * SIGNALS.len() + 8);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\" role=\"img\">\n<title>Two tiles of nine pixels on a 4x4 array</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for cycle in (0..trace.len()).step_by(5) {
        let x = LEFT + CELL * cycle;
        writeln!(
            svg,
            "<path d=\"M{x} {TOP}V{height}\" stroke=\"#e4e4e4\"/><text x=\"{x}\" y=\"20\" fill=\"#666\">{cycle}</text>"
        )
        .unwrap();
    }
    for (index, signal) in SIGNALS.iter().enumerate() {
        let (top, bottom) = (TOP + ROW * index + 4, TOP + ROW * index + ROW - 4);
        let base = bottom - 4;
        writeln!(svg, "<text x=\"6\" y=\"{base}\" fill=\"#777\">{}</text>", signal.module).unwrap();
        writeln!(svg, "<text x=\"84\" y=\"{base}\">{}</text>", signal.name).unwrap();
        if signal.value.is_none() {
            let mut path = format!("M{LEFT} {bottom}");
            for (cycle, value) in trace.iter().map(|c| c[index]).enumerate() {
                let y = if value.is_some() { top } else { bottom };
                write!(path, "H{}V{y}", LEFT + CELL * cycle).unwrap();
            }
            writeln!(svg, "<path d=\"{path}H{}\" fill=\"none\" stroke=\"#1f4e79\" stroke-width=\"1.5\"/>", width - 10)
                .unwrap();
            continue;
        }
        let total = trace.iter().filter(|c| c[index].is_some()).count();
        let values = trace.iter().enumerate().filter_map(|(cycle, c)| Some((cycle, c[index]?)));
        for (number, (cycle, value)) in values.enumerate() {
            let x = LEFT + CELL * cycle;
            let fill = if total % 2 == 0 { FILLS[2 * number / total] } else { FILLS[2] };
            writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{top}\" width=\"{CELL}\" height=\"{}\" fill=\"{fill}\" stroke=\"#1f4e79\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"8\">{value}</text>",
                bottom - top,
                x + CELL / 2,
                bottom - 5
            )
            .unwrap();
        }
        writeln!(svg, "<path d=\"M{LEFT} {bottom}H{}\" stroke=\"#1f4e79\" stroke-width=\"0.5\"/>", width - 10).unwrap();
    }
    svg + "</svg>\n"
}

#[test]
fn waveforms_in_the_documentation_are_those_of_the_hardware() {
    if Command::new("iverilog").arg("-V").output().is_err() {
        assert!(std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "Icarus Verilog is required but missing");
        println!("skipped: iverilog is not installed");
        return;
    }
    let trace = simulate();
    // From the first weight word to the last write of the convolution; the image was loaded before.
    let first = trace.iter().position(|c| c[0].is_some()).expect("weights are loaded");
    let last = trace.iter().rposition(|c| c[13].is_some()).expect("results are written");
    let trace = trace[first.saturating_sub(1)..(last + 3).min(trace.len())].to_vec();
    let shown = |signal: usize| trace.iter().filter(|c| c[signal].is_some()).count();
    assert_eq!([shown(0), shown(1), shown(5), shown(6), shown(9)], [8, 5, 18, 18, 18]);
    assert_eq!([shown(3), shown(4), shown(8)], [2, 2, 2], "two tiles");
    assert_eq!([shown(11), shown(12), shown(13)], [9, 9, 9]);
    let svg = draw(&trace);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images/pass.svg");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &svg).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(svg == expected, "docs/images/pass.svg is old: run with UPDATE_EXPECT=1 and look at it");
}
