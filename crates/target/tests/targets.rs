//! Target files: built-in ones and broken ones.

use espalier_target::{AcceleratorConfig, Confidence, builtin_targets, memories, parse_target, resources};

const ECP5: &str = include_str!("../../../hw-targets/ecp5-85f.toml");

#[test]
fn every_builtin_target_is_sound() {
    let targets = builtin_targets();
    let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["ecp5-85f", "xc7z020", "ice40up5k", "ihp-sg13g2"]);
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
    for entry in std::fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let stem = path.file_stem().and_then(|s| s.to_str()).expect("a name");
            let target = parse_target(stem, &text).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(target.name, stem);
            assert!(builtin_targets().contains(&target), "{stem}");
        }
    }
}

/// The findings for the ECP5 file after replacing `from` by `to`.
fn broken(from: &str, to: &str) -> String {
    assert!(ECP5.contains(from), "{from}");
    parse_target("t.toml", &ECP5.replacen(from, to, 1)).expect_err("must be refused").to_string()
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    let text = broken("rows = 8", "rows = 8\nrowz = 9");
    assert!(text.contains("rowz") && text.contains("line 8"), "{text}");
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

#[test]
fn block_rams_of_the_default_ecp5_by_hand() {
    let target = &builtin_targets()[0];
    let config = target.accelerator.with_depths_for(16_000, 200);
    assert_eq!((config.weight_words, config.program_instructions), (Some(16_384), Some(256)));
    let words: Vec<(&str, usize, usize)> = memories(&config).iter().map(|m| (m.name, m.words, m.bits)).collect();
    assert_eq!(
        words,
        [("lanes", 16_384, 8), ("accumulators", 256, 32), ("weights", 16_384, 80), ("program", 2048, 32)]
    );
    let taken = resources(target, &config);
    let of = |name: &str| taken.uses.iter().find(|u| u.name == name).expect("listed").used;
    // Lanes 8 x 8, accumulators 16 x 1, weights 8 x 9 (2048x9) = 72 or 80 (16384x1), program 4.
    assert_eq!(of("DP16KD"), 64.0 + 16.0 + 72.0 + 4.0);
    assert_eq!(of("multipliers"), 64.0);
    assert!(taken.fits, "{taken:?}");
}

#[test]
fn an_array_beyond_the_multipliers_takes_logic() {
    let target = &builtin_targets()[0];
    let config = AcceleratorConfig::new(16, 16, 1024, 64).with_depths_for(1, 1);
    let taken = resources(target, &config);
    let of = |name: &str| taken.uses.iter().find(|u| u.name == name).expect("listed").used;
    assert_eq!(of("multipliers"), 156.0);
    assert!(of("logic cells") > 100.0 * 330.0, "100 products without a multiplier");
    let large = AcceleratorConfig::new(32, 32, 65_536, 4096).with_depths_for(1 << 20, 1000);
    assert!(!resources(target, &large).fits);
}

#[test]
fn given_memory_depths_stay() {
    let config = AcceleratorConfig { weight_words: Some(100), ..AcceleratorConfig::new(8, 8, 1024, 64) };
    let resolved = config.with_depths_for(5000, 5000);
    assert_eq!((resolved.weight_words, resolved.program_instructions), (Some(100), Some(8192)));
}
