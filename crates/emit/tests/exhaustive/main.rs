//! Proofs by trying everything, on the hardware's own modules in Verilator: every product of the packed multiplier and
//! of the one made of adders, and the rounding of requantization, to bytes and to the digits of wide results, for every accumulator of 20 bits and every
//! shift.
//!
//! Needs Verilator; without it the tests say so and pass, unless `ESPALIER_REQUIRE_TOOLS=1`.

use std::fs;
use std::process::Command;

use espalier_emit::rtl;
use espalier_target::AcceleratorConfig;

/// Builds `top` with its parameters and a C++ driver, runs it, and returns what it printed; it must succeed.
/// `None` without Verilator.
fn run(top: &str, parameters: &[&str], driver: &str) -> Option<String> {
    if Command::new("verilator").arg("--version").output().is_err() {
        assert!(std::env::var_os("ESPALIER_REQUIRE_TOOLS").is_none(), "verilator is missing");
        println!("skipped: verilator is not installed");
        return None;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (path, text) in rtl(&AcceleratorConfig::new(4, 4, 1024, 64), "exhaustive", 1).iter() {
        fs::write(folder.path().join(path.replace("rtl/", "")), text).unwrap();
    }
    fs::write(folder.path().join("driver.cpp"), driver).unwrap();
    let mut command = Command::new("verilator");
    command.args(["--cc", "--exe", "--build", "-O3", "--top-module", top, "-CFLAGS", "-O2", "-o", "driver"]);
    command.args(parameters).args(["-f", "files.f", "driver.cpp"]);
    let built = command.current_dir(folder.path()).output().unwrap();
    assert!(built.status.success(), "{}{}", text(&built.stdout), text(&built.stderr));
    let ran = Command::new(folder.path().join("obj_dir/driver")).output().unwrap();
    assert!(ran.status.success(), "{}{}", text(&ran.stdout), text(&ran.stderr));
    Some(text(&ran.stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_product_is_exact() {
    let parameters = ["-GRows=1", "-GCols=4", "-GPsumW=16", "-GPacked=1", "-GHardCols=2"];
    let Some(printed) = run("espalier_array", &parameters, include_str!("products.cpp")) else { return };
    // Four columns with all weights beside all weights, each with all activations.
    assert_eq!(printed.trim(), format!("{} products", 4u64 << 24));
}

#[test]
fn every_rounding_is_half_to_even() {
    // With states, the same and both digits of wide results.
    for (parameters, results) in [(&["-GAccW=20"][..], 1), (&["-GAccW=20", "-GStates=1", "-CFLAGS", "-DSTATES"], 3)] {
        let Some(printed) = run("espalier_requant", parameters, include_str!("rounding.cpp")) else { return };
        assert_eq!(printed.trim(), format!("{} values", results * (32u64 << 20)));
    }
}
