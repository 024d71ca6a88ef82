//! Target files: built-in ones and broken ones.

use espalier_target::{
    AcceleratorConfig, Confidence, Multiplier, Target, builtin_names, builtin_target, builtin_targets,
    check_multiplier, memories, parse_target, resources,
};

const ECP5: &str = include_str!("../../../hw-targets/ecp5-85f.toml");

#[test]
fn every_builtin_target_is_sound() {
    let targets = builtin_targets();
    let kinds = |asic: bool| targets.iter().filter(|t| t.asic.is_some() == asic).count();
    assert_eq!((kinds(false), kinds(true)), (21, 7));
    for target in &targets {
        assert!(target.accelerator.validate().is_ok());
        assert!(target.facts().len() >= 14, "{}", target.name);
        assert!(target.facts().iter().all(|(_, f)| f.source.len() > 4));
        assert_eq!(target.energy.mac_pj.confidence, Confidence::Assumed, "nobody measured energy");
        let config = target.accelerator.with_depths_for(200, 30);
        let taken = resources(target, &config);
        assert!(taken.uses.iter().all(|u| u.used.is_finite() && u.fill() >= 0.0), "{taken:?}");
    }
}

#[test]
fn every_target_file_is_built_in() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hw-targets");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let stem = path.file_stem().and_then(|s| s.to_str()).expect("a name");
            let target = parse_target(stem, &text).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(target.name, stem);
            assert_eq!(builtin_target(stem).as_ref(), Some(&target), "{stem}");
            count += 1;
        }
    }
    assert_eq!(count, builtin_names().count());
}

#[test]
fn families_give_what_a_file_lacks_and_no_more() {
    let text = ECP5.replace(
        "multipliers = {",
        "row_cells = { value = 1, source = \"my own design\", confidence = \"measured\" }\nmultipliers = {",
    );
    let own = parse_target("own", &text).expect("a key of the family may be overridden");
    let (ecp5, own) = (target("ecp5-85f").fpga.expect("an FPGA"), own.fpga.expect("an FPGA"));
    assert_eq!((own.row_cells.value, own.column_cells.value), (1.0, ecp5.column_cells.value));
    let unknown = broken("family = \"ecp5\"", "family = \"ecp6\"");
    assert!(unknown.contains("'ecp6'") && unknown.contains("xilinx-7"), "{unknown}");
    let alone = broken("family = \"ecp5\"\n", "");
    assert!(alone.contains("mac_pj"), "without a family all keys are needed: {alone}");
    let unit = broken("clock_mhz", "clock_hz");
    assert!(unit.contains("clock_hz") && unit.contains("clock_mhz") && unit.contains("line 6"), "{unit}");
}

/// The findings for the ECP5 file after replacing `from` by `to`.
fn broken(from: &str, to: &str) -> String {
    assert!(ECP5.contains(from), "{from}");
    parse_target("t.toml", &ECP5.replacen(from, to, 1)).expect_err("must be refused").to_string()
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    let text = broken("rows = 8", "rows = 8\nrowz = 9");
    assert!(text.contains("rowz") && text.contains("line 10"), "{text}");
    assert!(broken("[fpga]", "[fpga]\nluts = 3").contains("luts"));
    assert!(broken("[energy]", "[energie]").contains("energie"));
    assert!(broken("confidence = \"measured\"", "confidence = \"certain\"").contains("certain"));
}

#[test]
fn numbers_need_a_source_and_a_sane_value() {
    assert!(broken(", confidence = \"measured\"", "").contains("confidence"));
    assert!(broken("value = 83640, source = \"device database of nextpnr-ecp5\"", "value = 83640").contains("source"));
    let text = broken("source = \"device database of nextpnr-ecp5\"", "source = \" \"");
    assert!(text.contains("fpga.cells") && text.contains("source is empty"), "{text}");
    assert!(broken("value = 230", "value = -1").contains("static_mw"));
    assert!(broken("value = 230", "value = nan").contains("static_mw"));
    assert!(broken("value = 100", "value = 0").contains("stands still"));
    assert!(broken("ports = 2", "ports = 1").contains("two ports"));
    assert!(broken("[512, 36]", "[0, 36]").contains("no words"));
    assert!(broken("rows = 8", "rows = 64").contains("'rows'"));
}

#[test]
fn text_that_is_no_target_is_refused() {
    for text in ["", "name", "name = 3", "\u{0}", "[fpga", "clock_mhz = { value = 1e400 }"] {
        assert!(parse_target("x", text).is_err());
    }
}

/// The built-in target with this name.
fn target(name: &str) -> Target {
    builtin_target(name).expect("built in")
}

/// Amount of one resource that a configuration takes.
fn used(target: &Target, config: &AcceleratorConfig, name: &str) -> f64 {
    resources(target, config).uses.iter().find(|u| u.name == name).expect("listed").used
}

#[test]
fn block_rams_of_the_default_ecp5_by_hand() {
    let target = target("ecp5-85f");
    let config = target.accelerator.with_depths_for(16_000, 200);
    assert_eq!((config.weight_words, config.program_instructions), (Some(16_384), Some(256)));
    let words: Vec<(&str, usize, usize)> = memories(&config).iter().map(|m| (m.name, m.words, m.bits)).collect();
    assert_eq!(
        words,
        [("lanes", 16_384, 8), ("accumulators", 128, 32), ("weights", 16_384, 78), ("program", 2048, 32)]
    );
    // Lanes 8 x 8, accumulators 16 x 1, weights 78 slices of one bit, program 3 slices of nine bits and one of five.
    assert_eq!(used(&target, &config, "DP16KD"), 64.0 + 16.0 + 78.0 + 4.0);
    assert_eq!(used(&target, &config, "multipliers"), 64.0);
    assert!(resources(&target, &config).fits);
}

/// Cells, flip-flops and block RAMs as Yosys 0.23 reported them for the generated core.
#[test]
fn estimates_agree_with_synthesis() {
    let measured = [
        ("ecp5-85f", "DP16KD", (4, 4, 1), [5749.0, 5425.0, 18.0]),
        ("ecp5-85f", "DP16KD", (8, 8, 1), [10_088.0, 10_952.0, 34.0]),
        ("ecp5-85f", "DP16KD", (8, 16, 1), [17_023.0, 19_377.0, 57.0]),
        ("ecp5-85f", "DP16KD", (8, 8, 2), [10_853.0, 12_179.0, 45.0]),
        ("xc7z020", "RAMB18E1", (4, 4, 1), [2862.0, 4448.0, 18.0]),
        ("xc7z020", "RAMB18E1", (8, 8, 1), [4824.0, 7611.0, 34.0]),
        ("xc7z020", "RAMB18E1", (8, 16, 1), [8118.0, 12_452.0, 57.0]),
        ("xc7z020", "RAMB18E1", (8, 8, 2), [5394.0, 8914.0, 45.0]),
        // Not used for the fit.
        ("xc7z020", "RAMB18E1", (12, 12, 1), [6824.0, 11_624.0, 49.0]),
        ("xc7z020", "RAMB18E1", (4, 4, 2), [3072.0, 4938.0, 25.0]),
        ("ecp5-85f", "DP16KD", (4, 4, 2), [5881.0, 5869.0, 25.0]),
        ("ecp5-85f", "DP16KD", (12, 12, 1), [15_215.0, 18_913.0, 49.0]),
    ];
    for (name, ram, (rows, cols, combine), [cells, flip_flops, blocks]) in measured {
        let target = target(name);
        let config = AcceleratorConfig { combine, ..AcceleratorConfig::new(rows, cols, 2048, 128) };
        let config = config.with_depths_for(2048, 64);
        let what = format!("{name} {rows}x{cols}x{combine}");
        let near = |got: f64, want: f64| (got / want - 1.0).abs() < 0.06;
        assert!(near(used(&target, &config, "logic cells"), cells), "{what}");
        assert!(near(used(&target, &config, "flip-flops"), flip_flops), "{what}");
        assert_eq!(used(&target, &config, ram), blocks, "{what}");
    }
}

/// What the depthwise unit of three taps takes in addition, as Yosys 0.23 reported it for the module.
#[test]
fn the_depthwise_unit_takes_what_synthesis_reported() {
    let measured = [
        ("ecp5-85f", 8, [544.0, 2017.0, 24.0]),
        ("ecp5-85f", 16, [1104.0, 5289.0, 48.0]),
        ("xc7z020", 8, [248.0, 481.0, 24.0]),
    ];
    for (name, side, expected) in measured {
        let target = target(name);
        let plain = AcceleratorConfig::new(side, side, 2048, 128).with_depths_for(2048, 64);
        let unit = AcceleratorConfig { depthwise_taps: 3, ..plain.clone() };
        for (resource, expected) in ["logic cells", "flip-flops", "multipliers"].into_iter().zip(expected) {
            let more = used(&target, &unit, resource) - used(&target, &plain, resource);
            assert!((more / expected - 1.0).abs() < 0.1, "{name} {side}: {more} {resource}");
        }
    }
}

/// Deep memories, which the hardware cuts into slices of few bits.
#[test]
fn deep_memories_take_the_blocks_that_synthesis_reported() {
    let deep = AcceleratorConfig::new(8, 8, 8192, 256).with_depths_for(8192, 256);
    assert_eq!(used(&target("ecp5-85f"), &deep, "DP16KD"), 91.0);
    assert_eq!(used(&target("xc7z020"), &deep, "RAMB18E1"), 91.0);
    let deeper = AcceleratorConfig::new(16, 16, 16_384, 1024).with_depths_for(16_384, 256);
    assert_eq!(used(&target("xc7z020"), &deeper, "RAMB18E1"), 338.0);
}

/// As above, with packed multipliers and with adders only.
#[test]
fn estimates_of_other_multipliers_agree_with_synthesis() {
    let measured = [
        (Multiplier::Packed, (8, 8, 2, 0), [6198.0, 10_494.0, 32.0, 45.0]),
        (Multiplier::Packed, (16, 16, 1, 3), [13_574.0, 24_879.0, 176.0, 65.0]),
        (Multiplier::Packed, (16, 24, 1, 0), [19_026.0, 33_936.0, 192.0, 88.0]),
        (Multiplier::Lut, (8, 8, 1, 0), [11_746.0, 10_403.0, 0.0, 34.0]),
    ];
    let target = target("xc7z020");
    for (multiplier, (rows, cols, combine, depthwise_taps), [cells, flip_flops, multipliers, blocks]) in measured {
        let config =
            AcceleratorConfig { combine, multiplier, depthwise_taps, ..AcceleratorConfig::new(rows, cols, 2048, 128) };
        let config = config.with_depths_for(2048, 64);
        let what = format!("{multiplier:?} {rows}x{cols}x{combine}, {depthwise_taps} taps");
        let near = |got: f64, want: f64| (got / want - 1.0).abs() < 0.04;
        assert!(near(used(&target, &config, "logic cells"), cells), "{what}");
        assert!(near(used(&target, &config, "flip-flops"), flip_flops), "{what}");
        assert_eq!(used(&target, &config, "multipliers"), multipliers, "{what}");
        assert_eq!(used(&target, &config, "RAMB18E1"), blocks, "{what}");
    }
}

#[test]
fn an_array_beyond_the_multipliers_shares_them_or_adds_or_does_not_fit() {
    let config = AcceleratorConfig::new(16, 16, 1024, 64).with_depths_for(1, 1);
    let zynq = target("xc7z020");
    assert_eq!(used(&zynq, &config, "multipliers"), 256.0);
    assert!(!resources(&zynq, &config).fits);
    let packed = AcceleratorConfig { multiplier: Multiplier::Packed, ..config.clone() };
    assert_eq!(used(&zynq, &packed, "multipliers"), 128.0);
    assert!(resources(&zynq, &packed).fits);
    let limited = AcceleratorConfig { max_multipliers: Some(220), ..config.clone() };
    assert_eq!(used(&zynq, &limited, "multipliers"), 208.0);
    // Three columns of adders.
    let more = used(&zynq, &limited, "logic cells") - used(&zynq, &config, "logic cells");
    assert!((more - 48.0 * 6.05 * 19.0).abs() < 1.0, "{more}");
    assert!(resources(&zynq, &limited).fits);
    let ecp5 = target("ecp5-85f");
    assert!(!resources(&ecp5, &config).fits);
    let large = AcceleratorConfig::new(32, 32, 65_536, 4096).with_depths_for(1 << 20, 1000);
    assert!(!resources(&zynq, &large).fits);
}

#[test]
fn narrow_multipliers_are_not_shared() {
    for target in builtin_targets() {
        let config = |multiplier| AcceleratorConfig { multiplier, ..target.accelerator.clone() };
        let refused = |multiplier| check_multiplier(&target, &config(multiplier)).is_err();
        assert!(!refused(Multiplier::Plain), "{}", target.name);
        let wide = ["xilinx-7", "ultrascale-plus", "versal"].map(Some).contains(&target.family.as_deref());
        assert_eq!(refused(Multiplier::Packed), !wide, "{}", target.name);
        assert_eq!(refused(Multiplier::Lut), target.asic.is_some(), "{}", target.name);
    }
    let ecp5 = toml::to_string(&target("ecp5-85f"))
        .unwrap()
        .replace("[accelerator]", "[accelerator]\nmultiplier = \"packed\"");
    let findings = parse_target("own", &ecp5).expect_err("refused").to_string();
    assert!(findings.contains("multiplier-not-available") && findings.contains("max_multipliers"), "{findings}");
}

#[test]
fn default_accelerators_fit_all_targets_but_the_smallest() {
    for target in builtin_targets() {
        let taken = resources(&target, &target.accelerator.with_depths_for(2048, 64));
        // Too small a device, and memory macros of more than a square millimetre for four kilobytes.
        let too_small = ["ice40up5k", "gf180"].contains(&target.name.as_str());
        assert_eq!(taken.fits, !too_small, "{}: {:?}", target.name, taken.uses);
    }
}

#[test]
fn given_memory_depths_stay() {
    let config = AcceleratorConfig { weight_words: Some(100), ..AcceleratorConfig::new(8, 8, 1024, 64) };
    let resolved = config.with_depths_for(5000, 5000);
    assert_eq!((resolved.weight_words, resolved.program_instructions), (Some(100), Some(8192)));
}
