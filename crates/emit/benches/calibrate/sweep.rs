//! Which accelerators are synthesized.

use espalier_target::{AcceleratorConfig, Multiplier, PointUse, WeightSource};

/// Points of a family: options in small arrays for the fit, others and larger ones to see how well it predicts.
pub fn points(family: &str) -> Vec<(PointUse, AcceleratorConfig)> {
    let [fit, held_out] = match family {
        "ice40" => small_device(),
        "ecp5" => [[plain(), options()].concat(), others()],
        "xilinx-7" => {
            [[plain(), options(), shared_multipliers()].concat(), [others(), other_shared_multipliers()].concat()]
        }
        _ => process(),
    };
    let with_use = |used_for| move |config| (used_for, config);
    fit.into_iter().map(with_use(PointUse::Fit)).chain(held_out.into_iter().map(with_use(PointUse::HeldOut))).collect()
}

/// For the fit, and held out: a device for small arrays without the depthwise unit, whose multipliers Yosys would build of logic.
fn small_device() -> [Vec<AcceleratorConfig>; 2] {
    let lut = |config| AcceleratorConfig { multiplier: Multiplier::Lut, ..config };
    let combined = |config| AcceleratorConfig { combine: 2, ..config };
    let fit = vec![
        usual(4, 4),
        config([4, 2], [256, 16], [20, 512, 16]),
        config([8, 2], [1024, 64], [24, 1024, 32]),
        config([4, 5], [512, 256], [28, 1024, 64]),
        config([6, 3], [8192, 32], [24, 4096, 128]),
        combined(config([4, 3], [1024, 64], [24, 1024, 32])),
        lut(config([4, 3], [1024, 64], [24, 1024, 32])),
        streamed(config([4, 3], [1024, 64], [24, 512, 32])),
        AcceleratorConfig { activation_tables: true, ..config([4, 3], [1024, 64], [24, 1024, 32]) },
        clustered(2, config([4, 2], [256, 16], [20, 512, 16])),
        AcceleratorConfig { argmax: true, ..config([8, 2], [1024, 64], [24, 1024, 32]) },
        clustered(2, config([6, 3], [512, 32], [24, 1024, 64])),
    ];
    let held_out = vec![
        config([4, 2], [1024, 64], [24, 4096, 128]),
        config([7, 3], [1000, 100], [30, 3000, 100]),
        combined(config([5, 2], [2048, 32], [26, 1024, 64])),
        AcceleratorConfig { max_multipliers: Some(8), ..config([4, 4], [512, 32], [24, 1024, 32]) },
        clustered(2, config([5, 2], [512, 32], [26, 1024, 64])),
    ];
    [fit, held_out]
}

/// For the fit, and held out: an ASIC process, where every multiplier is made of cells.
fn process() -> [Vec<AcceleratorConfig>; 2] {
    let combined = |config| AcceleratorConfig { combine: 2, ..config };
    let fit = vec![
        usual(4, 4),
        usual(8, 4),
        usual(4, 8),
        config([4, 2], [256, 64], [20, 512, 16]),
        config([8, 2], [1024, 64], [24, 1024, 32]),
        config([4, 5], [512, 256], [28, 1024, 64]),
        config([6, 3], [4096, 512], [24, 4096, 128]),
        config([8, 6], [512, 1024], [28, 512, 128]),
        combined(usual(4, 4)),
        combined(config([8, 3], [1024, 64], [24, 1024, 32])),
        AcceleratorConfig { depthwise_taps: 3, ..usual(4, 6) },
        gated(usual(4, 6)),
        stateful(usual(4, 6)),
        AcceleratorConfig { depthwise_taps: 3, ..usual(8, 3) },
        AcceleratorConfig { depthwise_taps: 5, ..usual(6, 6) },
        streamed(usual(4, 4)),
        streamed(usual(4, 12)),
        AcceleratorConfig { activation_tables: true, ..usual(4, 6) },
        clustered(2, usual(4, 4)),
        AcceleratorConfig { argmax: true, ..usual(8, 4) },
        clustered(2, config([8, 2], [1024, 64], [24, 1024, 32])),
        clustered(4, config([4, 3], [512, 64], [24, 1024, 32])),
    ];
    let held_out = vec![
        config([7, 5], [1000, 100], [30, 3000, 100]),
        config([5, 4], [32768, 64], [20, 1024, 512]),
        combined(config([6, 8], [4096, 64], [26, 1024, 64])),
        streamed(config([8, 8], [8192, 128], [32, 512, 128])),
        AcceleratorConfig { depthwise_taps: 4, ..config([8, 10], [2048, 256], [32, 2048, 64]) },
        clustered(2, combined(config([5, 6], [2048, 64], [28, 1024, 64]))),
    ];
    [fit, held_out]
}

/// Rows and columns; bytes of a lane and pixels; accumulator bits, weight words and instructions.
fn config(array: [usize; 2], depths: [usize; 2], rest: [usize; 3]) -> AcceleratorConfig {
    AcceleratorConfig {
        accumulator_bits: rest[0] as u32,
        weight_words: Some(rest[1]),
        program_instructions: Some(rest[2]),
        ..AcceleratorConfig::new(array[0], array[1], depths[0], depths[1])
    }
}

fn usual(rows: usize, cols: usize) -> AcceleratorConfig {
    config([rows, cols], [2048, 128], [32, 2048, 64])
}

fn streamed(config: AcceleratorConfig) -> AcceleratorConfig {
    AcceleratorConfig { weights: WeightSource::Streamed, weight_words: Some(512), ..config }
}

fn clustered(clusters: usize, config: AcceleratorConfig) -> AcceleratorConfig {
    AcceleratorConfig { clusters, ..config }
}

fn gated(config: AcceleratorConfig) -> AcceleratorConfig {
    AcceleratorConfig { depthwise_taps: 3, gates: true, ..config }
}

fn stateful(config: AcceleratorConfig) -> AcceleratorConfig {
    AcceleratorConfig { states: true, ..gated(config) }
}

fn plain() -> Vec<AcceleratorConfig> {
    vec![
        usual(4, 4),
        usual(8, 4),
        usual(4, 8),
        usual(8, 8),
        usual(12, 6),
        config([4, 2], [256, 16], [20, 512, 16]),
        config([6, 6], [16384, 512], [24, 8192, 256]),
        config([8, 6], [512, 1024], [28, 512, 128]),
        config([5, 4], [32768, 64], [20, 1024, 512]),
    ]
}

fn options() -> Vec<AcceleratorConfig> {
    let lut = |config| AcceleratorConfig { multiplier: Multiplier::Lut, ..config };
    vec![
        AcceleratorConfig { combine: 2, ..usual(4, 4) },
        AcceleratorConfig { combine: 2, ..usual(8, 6) },
        lut(usual(4, 4)),
        lut(usual(8, 4)),
        AcceleratorConfig { depthwise_taps: 3, ..usual(4, 6) },
        AcceleratorConfig { depthwise_taps: 3, ..usual(8, 8) },
        gated(usual(8, 8)),
        stateful(usual(8, 8)),
        AcceleratorConfig { depthwise_taps: 5, ..usual(6, 6) },
        streamed(usual(4, 4)),
        streamed(usual(4, 12)),
        AcceleratorConfig { activation_tables: true, ..usual(4, 6) },
        clustered(2, usual(4, 4)),
        AcceleratorConfig { argmax: true, ..usual(8, 4) },
        clustered(2, usual(8, 4)),
        clustered(4, usual(4, 6)),
    ]
}

fn shared_multipliers() -> Vec<AcceleratorConfig> {
    let shared = |config| AcceleratorConfig { multiplier: Multiplier::Packed, ..config };
    vec![
        shared(usual(4, 4)),
        shared(usual(8, 8)),
        AcceleratorConfig { combine: 2, ..shared(usual(8, 4)) },
        AcceleratorConfig { combine: 2, ..shared(usual(6, 8)) },
    ]
}

fn others() -> Vec<AcceleratorConfig> {
    vec![
        config([12, 12], [4096, 256], [32, 4096, 128]),
        config([7, 5], [1000, 100], [30, 3000, 100]),
        AcceleratorConfig { combine: 2, ..config([6, 8], [4096, 64], [26, 1024, 64]) },
        AcceleratorConfig {
            multiplier: Multiplier::Lut,
            max_multipliers: None,
            combine: 2,
            ..config([5, 6], [1024, 128], [32, 512, 32])
        },
        AcceleratorConfig { max_multipliers: Some(27), ..config([9, 6], [2048, 128], [28, 2048, 128]) },
        streamed(config([8, 8], [8192, 128], [32, 512, 128])),
        AcceleratorConfig { depthwise_taps: 4, ..config([8, 10], [2048, 256], [32, 2048, 64]) },
        gated(config([5, 7], [1024, 64], [32, 1024, 64])),
        stateful(config([5, 7], [1024, 64], [32, 1024, 64])),
        AcceleratorConfig { activation_tables: true, ..config([5, 8], [1024, 64], [32, 1024, 64]) },
        clustered(2, AcceleratorConfig { combine: 2, ..config([6, 5], [1024, 64], [28, 1024, 64]) }),
        clustered(4, AcceleratorConfig { depthwise_taps: 3, ..config([4, 5], [1024, 128], [32, 1024, 64]) }),
    ]
}

fn other_shared_multipliers() -> Vec<AcceleratorConfig> {
    let shared = |config| AcceleratorConfig { multiplier: Multiplier::Packed, ..config };
    vec![
        AcceleratorConfig { depthwise_taps: 3, ..shared(config([16, 16], [4096, 128], [32, 4096, 128])) },
        AcceleratorConfig {
            combine: 2,
            max_multipliers: Some(20),
            ..shared(config([8, 7], [1024, 64], [32, 1024, 64]))
        },
    ]
}
