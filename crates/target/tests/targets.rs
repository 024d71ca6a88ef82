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
        "cells_factor = { value = 0.5, source = \"my own design\", confidence = \"measured\" }\nmultipliers = {",
    );
    let own = parse_target("own", &text).expect("a key of the family may be added to");
    let (ecp5, own) = (target("ecp5-85f").fpga.expect("an FPGA"), own.fpga.expect("an FPGA"));
    let config = AcceleratorConfig::new(8, 8, 2048, 128);
    let (whole, half) = (ecp5.logic(&config), own.logic(&config));
    assert!((half.cells / whole.cells - 0.5).abs() < 1e-9 && half.flip_flops == whole.flip_flops);
    assert_eq!(own.cell_limit, ecp5.cell_limit);
    let alone = broken("family = \"ecp5\"\n", "");
    assert!(alone.contains("mac_pj"), "without a family all keys are needed: {alone}");
}

/// The findings for the ECP5 file after replacing `from` by `to`.
fn broken(from: &str, to: &str) -> String {
    assert!(ECP5.contains(from), "{from}");
    parse_target("t.toml", &ECP5.replacen(from, to, 1)).expect_err("must be refused").to_string()
}

/// Every fault has its line, and, where one can be given, a suggestion.
#[test]
fn faults_are_refused_with_their_line_and_a_suggestion() {
    let line = |of: &str| ECP5.lines().position(|l| l.starts_with(of)).expect("is there") + 1;
    let cases: [(&str, &str, usize, &[&str]); 22] = [
        ("rows = 8", "rows = 8\nrowz = 9", line("rows") + 1, &["rowz", "did you mean 'rows'?"]),
        ("[fpga]", "[fpga]\ncell = 3", line("[fpga]") + 1, &["did you mean 'cells'?"]),
        ("[energy]", "[energie]", line("[energy]"), &["energie", "did you mean 'energy'?"]),
        ("clock_mhz", "clock_hz", line("clock_mhz"), &["did you mean 'clock_mhz'?"]),
        ("static_mw", "static_w", line("static_mw"), &["did you mean 'static_mw'?"]),
        ("\"measured\"", "\"mesured\"", line("clock_mhz"), &["did you mean 'measured'?"]),
        (", confidence = \"measured\"", "", line("clock_mhz"), &["confidence", "add 'confidence'"]),
        (
            "value = 83640, source = \"device database of nextpnr-ecp5\"",
            "value = 83640",
            line("cells"),
            &["add 'source'"],
        ),
        ("family = \"ecp5\"", "family = \"ecp6\"", line("family"), &["'ecp6'", "did you mean 'ecp5'?", "xilinx-7"]),
        ("[fpga]", "[fpga]\ncalibration = \"ecp7\"", line("[fpga]") + 1, &["'ecp7'", "known are ecp5"]),
        ("value = 230", "value = -1", line("static_mw"), &["energy.static_mw", "not a number from 0"]),
        ("value = 230", "value = nan", line("static_mw"), &["energy.static_mw"]),
        ("value = 230", "value = \"230\"", line("static_mw"), &["invalid type"]),
        ("value = 83640,", "value = 3,", line("cells"), &["fpga.cells", "another unit"]),
        (
            "source = \"device database of nextpnr-ecp5\"",
            "source = \" \"",
            line("cells"),
            &["fpga.cells", "source is empty"],
        ),
        ("clock_mhz = { value = ", "clock_mhz = { value = 1000", line("clock_mhz"), &["another unit", "MHz"]),
        ("cells = {", "cells = 83640 #", line("cells"), &["{ value, source, confidence }"]),
        ("ports = 2", "ports = 1", line("[[fpga.memories]]"), &["two ports"]),
        ("[512, 36]", "[0, 36]", line("shapes"), &["no words"]),
        ("rows = 8", "rows = 64", line("rows"), &["'rows'", "from 4 to 32"]),
        ("lane_bytes = 16384\n", "", line("[accelerator]"), &["add 'lane_bytes'"]),
        ("cols = 8", "cols 8", line("cols"), &["t.toml"]),
    ];
    for (from, to, line, expected) in cases {
        let text = broken(from, to);
        assert!(text.contains(&format!("line {line}")), "{from} -> {to}, line {line}: {text}");
        expected.iter().for_each(|part| assert!(text.contains(part), "{from} -> {to}: {part}\n{text}"));
    }
    assert!(broken("cells = {", "cellz = {").contains("cellz"));
}

#[test]
fn all_bad_numbers_are_reported_at_once() {
    let text = ECP5.replacen("value = 230", "value = -1", 1).replacen("rows = 8", "rows = 64", 1);
    let text = text.replacen("[512, 36]", "[0, 36]", 1);
    let findings = parse_target("t.toml", &text).expect_err("refused");
    assert_eq!(findings.iter().count(), 3, "{findings}");
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

/// Deep memories, which the hardware cuts into slices of few bits.
#[test]
fn deep_memories_take_the_blocks_that_synthesis_reported() {
    let deep = AcceleratorConfig::new(8, 8, 8192, 256).with_depths_for(8192, 256);
    assert_eq!(used(&target("ecp5-85f"), &deep, "DP16KD"), 91.0);
    assert_eq!(used(&target("xc7z020"), &deep, "RAMB18E1"), 91.0);
    let deeper = AcceleratorConfig::new(16, 16, 16_384, 1024).with_depths_for(16_384, 256);
    assert_eq!(used(&target("xc7z020"), &deeper, "RAMB18E1"), 338.0);
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
    assert!((48.0 * 60.0..48.0 * 180.0).contains(&more), "{more}");
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
fn default_accelerators_fit_all_targets_but_the_coarsest() {
    for target in builtin_targets() {
        let taken = resources(&target, &target.accelerator.with_depths_for(2048, 64));
        // Memory macros of more than a square millimetre for four kilobytes.
        let too_small = target.name == "gf180";
        assert_eq!(taken.fits, !too_small, "{}: {:?}", target.name, taken.uses);
    }
}

#[test]
fn given_memory_depths_stay() {
    let config = AcceleratorConfig { weight_words: Some(100), ..AcceleratorConfig::new(8, 8, 1024, 64) };
    let resolved = config.with_depths_for(5000, 5000);
    assert_eq!((resolved.weight_words, resolved.program_instructions), (Some(100), Some(8192)));
}

#[test]
fn areas_are_not_rounded_to_nothing() {
    let target = builtin_target("sky130hd").unwrap();
    let uses = resources(&target, &target.accelerator.with_depths_for(2048, 64)).uses;
    let shown = espalier_target::ResourceUse { used: 0.3338, ..uses[0].clone() };
    assert_eq!(shown.taken(), "0.334 of 10 logic area mm2");
    assert!(uses.iter().all(|u| u.used > 0.0 && u.amounts()[0] != "0"), "{uses:?}");
}
