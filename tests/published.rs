//! Published figures of other accelerators beside the estimates of this program: `docs/published.md`, which
//! `UPDATE_EXPECT=1 cargo test --release --workspace --test published` writes anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use espalier_ir::Graph;
use espalier_target::{
    AcceleratorConfig, CostEstimate, CostModel, Multiplier, Target, WeightSource, builtin_target, estimate_model,
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A network of `tests/networks/` or `examples/architectures/` with any weights.
fn network(name: &str) -> Graph {
    let places = ["tests/networks", "examples/architectures"].map(|folder| repository().join(folder));
    let file = places.iter().map(|folder| folder.join(format!("{name}.toml"))).find(|path| path.exists());
    let text = std::fs::read_to_string(file.expect("there is such a network")).expect("the file can be read");
    espalier_architecture::read(&text, name, 1).unwrap_or_else(|e| panic!("{e}")).graph
}

/// Nothing pruned; lanes as deep as the network needs, even where the hardware has no such lanes.
fn estimate(graph: &Graph, target: &Target, config: &AcceleratorConfig) -> CostEstimate {
    let model = CostModel::new(graph, config).unwrap_or_else(|e| panic!("{e}"));
    estimate_model(&model, target, model.dense_tiles())
}

/// A published time of one image.
struct Time {
    system: &'static str,
    model: &'static str,
    device: &'static str,
    /// Time of one image, ms.
    published_ms: f64,
    /// Clock that was published, MHz; the estimate takes the same.
    clock_mhz: f64,
    target: &'static str,
    array: [usize; 2],
    multiplier: Multiplier,
    taps: usize,
}

#[rustfmt::skip]
const TIMES: [Time; 8] = [
    Time { system: "fpgaConvNet, MLPerf Tiny 1.1", model: "resnet8", device: "XC7Z020", published_ms: 0.411, clock_mhz: 143.0,
        target: "xc7z020", array: [16, 24], multiplier: Multiplier::Packed, taps: 0 },
    Time { system: "fpgaConvNet, MLPerf Tiny 1.1", model: "resnet8", device: "XC7Z010", published_ms: 3.15, clock_mhz: 125.0,
        target: "xc7z010", array: [8, 16], multiplier: Multiplier::Packed, taps: 0 },
    Time { system: "fpgaConvNet, MLPerf Tiny 1.1", model: "dscnn", device: "XC7Z020", published_ms: 0.324, clock_mhz: 143.0,
        target: "xc7z020", array: [16, 16], multiplier: Multiplier::Packed, taps: 3 },
    Time { system: "fpgaConvNet, MLPerf Tiny 1.1", model: "mobilenetv1", device: "XC7Z020", published_ms: 9.49, clock_mhz: 111.0,
        target: "xc7z020", array: [16, 16], multiplier: Multiplier::Packed, taps: 3 },
    Time { system: "hls4ml RN08, MLPerf Tiny 1.0 (another ResNet-8)", model: "resnet8", device: "XC7Z020", published_ms: 7.64,
        clock_mhz: 100.0, target: "xc7z020", array: [16, 16], multiplier: Multiplier::Packed, taps: 0 },
    Time { system: "Tensil 8x8, 16 bits, its own model", model: "resnet20", device: "XC7A35T", published_ms: 21.0, clock_mhz: 150.0,
        target: "xc7a35t", array: [8, 8], multiplier: Multiplier::Plain, taps: 0 },
    Time { system: "Tensil 12x12, 16 bits, its own model", model: "resnet20", device: "XC7Z020", published_ms: 14.0,
        clock_mhz: 150.0, target: "xc7z020", array: [12, 12], multiplier: Multiplier::Plain, taps: 0 },
    Time { system: "Tensil 16x16, 16 bits, its own model", model: "resnet20", device: "ZU3EG", published_ms: 4.0, clock_mhz: 300.0,
        target: "zu3eg", array: [16, 16], multiplier: Multiplier::Plain, taps: 0 },
];

/// NVIDIA's figures for the NVDLA at 16 nm, 1 GHz, ResNet-50 in INT8 (nvdla.org, primer): array, images a second, mean mW of
/// the core, mm2. The size with 2,048 MACs is larger than our arrays.
const NVDLA: [([usize; 2], f64, f64, f64); 6] = [
    ([32, 32], 153.0, 143.0, 1.8),
    ([32, 16], 93.0, 80.0, 1.4),
    ([16, 16], 46.0, 48.0, 1.0),
    ([16, 8], 20.0, 31.0, 0.84),
    ([16, 4], 7.3, 21.0, 0.55),
    ([16, 2], 3.6, 17.0, 0.51),
];

fn with_clock(target: &str, clock_mhz: f64) -> Target {
    let mut target = builtin_target(target).expect("built in");
    target.clock_mhz.value = clock_mhz;
    target
}

fn times() -> String {
    let mut text = String::from(TIMES_HEAD);
    for t in TIMES {
        let target = with_clock(t.target, t.clock_mhz);
        let config = AcceleratorConfig {
            multiplier: t.multiplier,
            depthwise_taps: t.taps,
            ..AcceleratorConfig::new(t.array[0], t.array[1], 32768, 128)
        };
        let ours = estimate(&network(t.model), &target, &config);
        writeln!(
            text,
            "| {} | {} | {}, {} MHz | {} | {:.3} | {}x{} | {:.1} |",
            t.system,
            t.model,
            t.device,
            t.clock_mhz,
            t.published_ms,
            ours.latency_ms,
            t.array[0],
            t.array[1],
            t.published_ms / ours.latency_ms
        )
        .expect("strings grow");
        assert!(ours.latency_ms < t.published_ms, "{}: slower than what is published", t.system);
    }
    text
}

/// Our accelerator of the size of an NVDLA on ResNet-50, weights from external memory of 16 bytes a cycle.
fn like_nvdla(graph: &Graph, [rows, cols]: [usize; 2]) -> CostEstimate {
    let bytes = (cols + 2).next_power_of_two() / 2;
    let config = AcceleratorConfig {
        weights: WeightSource::Streamed,
        memory_bytes_per_cycle: Some(bytes.clamp(4, 16)),
        ..AcceleratorConfig::new(rows, cols, 65536, 1024)
    };
    estimate(graph, &builtin_target("asic-16nm").expect("built in"), &config)
}

/// Logarithm of our core energy an image over the published one, for each size.
fn residuals(graph: &Graph) -> Vec<f64> {
    let published = |(_, fps, mw, _): &([usize; 2], f64, f64, f64)| mw / fps * 1e3;
    NVDLA.iter().map(|n| (like_nvdla(graph, n.0).energy.core_uj() / published(n)).ln()).collect()
}

fn nvdla(graph: &Graph) -> String {
    let mut text = String::from(NVDLA_HEAD);
    for (n, residual) in NVDLA.iter().zip(residuals(graph)) {
        let ([rows, cols], fps, mw, _) = *n;
        let ours = like_nvdla(graph, [rows, cols]);
        let core = ours.energy.core_uj() / 1e3;
        writeln!(
            text,
            "| {} | {fps} | {:.1} | {:.2} | {core:.2} | {:+.0} % | {:.2} |",
            rows * cols,
            1e3 / ours.latency_ms,
            mw / fps,
            100.0 * (residual.exp() - 1.0),
            ours.energy.external_uj / 1e3
        )
        .expect("strings grow");
    }
    text
}

fn boards() -> String {
    let mut text = String::from(BOARDS_HEAD);
    let board = espalier_target::builtin_boards().into_iter().find(|b| b.name == "pynq-z2").expect("built in");
    let config = AcceleratorConfig { multiplier: Multiplier::Packed, ..AcceleratorConfig::new(16, 16, 32768, 128) };
    let ours = estimate(&network("resnet8"), &board.target(), &config);
    let total = ours.energy_uj + board.host_uj(ours.latency_ms);
    let [low, high] = ours.energy_range_uj;
    writeln!(
        text,
        "| Zynq XC7Z020, PYNQ-Z2 board | hls4ml RN07, MLPerf Tiny 0.7 | 1,620 | 16x16, ResNet-8 | {:.0} ({:.0} to {:.0} for the core, \
         {:.0} for the processor) |",
        total / ours.latency_ms,
        low / ours.latency_ms,
        high / ours.latency_ms,
        board.host_uj(1.0)
    )
    .expect("strings grow");
    let zynq = builtin_target("xc7z045").expect("built in");
    let config = AcceleratorConfig { multiplier: Multiplier::Plain, ..AcceleratorConfig::new(32, 28, 32768, 128) };
    let ours = estimate(&network("resnet20"), &zynq, &config);
    let per_watt = 2.0 * ours.macs as f64 / ours.energy.core_uj() / 1e3;
    writeln!(
        text,
        "| Zynq XC7Z045 | an accelerator of 2016, 135 GOP/s/W | | 32x28, ResNet-20 | {per_watt:.0} GOP/s/W ({:.0} mW) |",
        ours.energy.core_uj() / ours.latency_ms
    )
    .expect("strings grow");
    text
}

const TIMES_HEAD: &str = "## Time

Published: one image, as the source says. Estimate: this accelerator on the same device at the same clock, nothing pruned, INT8,
cycles exact, the clock *as published* and not shown to be reached by us. Lanes of 32 KiB whether they fit or not.

| system | network | device | published, ms | estimate, ms | array | published / estimate |
|---|---|---|---|---|---|---|
";

const NVDLA_HEAD: &str = "
## Energy at 16 nm

The NVDLA on ResNet-50 in INT8 (1 GHz, 16 nm, mean power of the core; nvdla.org) and this accelerator with as many multipliers,
weights streamed. `energy.overhead` of `asic-16nm` is fitted to these six sizes (least squares of the logarithms); what is left is
the residual. External memory is not in either core.

| MACs | NVDLA, images/s | estimate | NVDLA, mJ an image | estimate | residual | external memory, mJ |
|---|---|---|---|---|---|---|
";

const BOARDS_HEAD: &str = "
## Power of FPGAs

Nothing was fitted to these rows; energy of FPGAs is assumed, with a factor of two.

| device | published by | published, mW | estimate for | estimate, mW |
|---|---|---|---|---|
";

const HEAD: &str = "# Published figures beside the estimates

Written by `UPDATE_EXPECT=1 cargo test --release --workspace --test published`; the test computes every figure anew.

";

#[test]
fn the_committed_table_is_what_the_model_says() {
    let resnet50 = network("resnet50");
    let text = format!("{HEAD}{}{}{}", times(), nvdla(&resnet50), boards());
    let path = repository().join("docs/published.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("the table can be written");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "UPDATE_EXPECT=1 writes it anew");
}

#[test]
fn the_overhead_at_16_nm_is_the_one_that_fits_best() {
    let residuals = residuals(&network("resnet50"));
    let mean = residuals.iter().sum::<f64>() / residuals.len() as f64;
    let worst = residuals.iter().fold(0.0f64, |worst, r| worst.max(r.abs()));
    println!("mean {mean:+.3}, worst {worst:.3} (natural logarithms)");
    assert!(mean.abs() < 0.02, "mean of the logarithms {mean:+.3}");
    let overhead = builtin_target("asic-16nm").expect("built in").energy.overhead;
    assert!(worst.exp() < overhead.factor(), "the file says within {}, it is {:.2}", overhead.factor(), worst.exp());
}
