//! Calibrates the resource estimates: synthesizes accelerators of every option with Yosys, fits what each part takes,
//! and writes points, coefficients and errors to `hw-targets/calibration/FAMILY.toml`, the table to `docs/calibration.md`.
//!
//! `cargo bench --workspace --bench calibrate -- [ecp5|ice40|xilinx-7|sky130hd|ihp-sg13g2] [--keep] [--fit-only]`. Only points
//! whose hardware changed are synthesized again, with `--keep` only new ones; all of them took an hour for the FPGAs, and
//! half an hour for each process beside other work.
//! ASIC processes need the Liberty files of `shared/pdk` beside the repository, or in `ESPALIER_SHARED`.

mod fit;
mod sweep;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use espalier_emit::{core_flow, count_cells, open_flow, parse_area, parse_cells};
use espalier_target::{
    AcceleratorConfig, Calibration, CalibrationPoint, PointUse, Target, builtin_targets, calibrated_families,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let fit_only = arguments.iter().any(|a| a == "--fit-only");
    let keep = arguments.iter().any(|a| a == "--keep");
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    for family in calibrated_families() {
        if wanted.is_empty() || wanted.iter().any(|w| *w == family) {
            calibrate(family, fit_only, keep);
        }
    }
    let all: Vec<Calibration> = calibrated_families().map(|family| read(&path(family))).collect();
    fs::write(repository().join("docs/calibration.md"), table::page(&all)).expect("the table can be written");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn path(family: &str) -> PathBuf {
    repository().join(format!("hw-targets/calibration/{family}.toml"))
}

fn read(path: &Path) -> Calibration {
    let text = fs::read_to_string(path).expect("the file can be read");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Brings the file of a family up to date; a run that is interrupted keeps what it has synthesized.
fn calibrate(family: &str, fit_only: bool, keep: bool) {
    let of = |t: &Target| t.family.as_deref() == Some(family) || t.name == family;
    let target = builtin_targets().into_iter().find(of).expect("has a device");
    let mut calibration = read(&path(family));
    if !fit_only {
        let version = Command::new("yosys").arg("-V").output().expect("Yosys can be run");
        let version = String::from_utf8_lossy(&version.stdout);
        calibration.tool = version.split(" (").next().unwrap_or_default().trim().to_owned();
        let old = std::mem::take(&mut calibration.points);
        let wanted = sweep::points(family);
        for (index, (used_for, config)) in wanted.iter().enumerate() {
            let known = old.iter().find(|p| p.config == *config && (keep || p.rtl == hash(config, &target)));
            let point = known.cloned().map(|p| CalibrationPoint { used_for: *used_for, ..p });
            let point = point.unwrap_or_else(|| {
                let start = Instant::now();
                let point = synthesize(*used_for, config, &target);
                println!("{family} {} of {}: {:.0} s", index + 1, wanted.len(), start.elapsed().as_secs_f64());
                point
            });
            calibration.points.push(point);
            write(&calibration);
        }
    }
    fit::fit(&mut calibration);
    write(&calibration);
    for used_for in [PointUse::Fit, PointUse::HeldOut] {
        let accuracy = calibration.accuracy(used_for);
        println!(
            "{family} {used_for:?}: {} points, cells {:.1} % mean {:.1} % worst, flip-flops {:.1} % mean {:.1} % worst",
            accuracy.points,
            100.0 * accuracy.mean.cells,
            100.0 * accuracy.worst.cells,
            100.0 * accuracy.mean.flip_flops,
            100.0 * accuracy.worst.flip_flops
        );
    }
}

fn write(calibration: &Calibration) {
    let head = "# Written by `cargo bench --workspace --bench calibrate`. What the parts of an accelerator take on this family,\n\
                # fitted to the points whose use is \"fit\", and every synthesized accelerator.\n";
    let text = toml::to_string(calibration).expect("plain data becomes TOML");
    fs::write(path(&calibration.family), head.to_owned() + &text).expect("the file can be written");
}

/// Hash of everything that Yosys reads.
fn hash(config: &AcceleratorConfig, target: &Target) -> String {
    let files = core_flow(config, target).expect("the family has a flow");
    let mut hasher = DefaultHasher::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with("synth.ys") || read_by(&files, path)) {
        path.hash(&mut hasher);
        // The first lines name the tool's version and the target.
        text.lines().filter(|l| !l.contains("Generated by")).for_each(|l| l.hash(&mut hasher));
    }
    format!("{:016x}", hasher.finish())
}

fn read_by(files: &espalier_emit::DesignFiles, path: &str) -> bool {
    files.get("synth.ys").is_some_and(|script| script.contains(path))
}

/// Liberty files of the processes, below `pdk/`.
const LIBERTY: [(&str, &str); 2] =
    [("sky130hd", "sky130hd_tt.lib.gz"), ("ihp-sg13g2", "sg13g2_stdcell_typ_1p20V_25C.lib.gz")];
/// What the names of their flip-flops begin with.
const FLIP_FLOPS: [&str; 4] = ["sky130_fd_sc_hd__df", "sky130_fd_sc_hd__edf", "sg13g2_df", "sg13g2_sdf"];

/// The cell library of a process.
fn library(process: &str) -> Vec<u8> {
    let shared = std::env::var("ESPALIER_SHARED").map_or_else(|_| repository().join("../shared"), PathBuf::from);
    let (_, name) = LIBERTY.iter().find(|(name, _)| *name == process).expect("every process has one");
    let path = shared.join("pdk").join(name);
    let file = fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut text).expect("the file is whole");
    text
}

fn synthesize(used_for: PointUse, config: &AcceleratorConfig, target: &Target) -> CalibrationPoint {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = core_flow(config, target).expect("the family has a flow");
    for (path, text) in files.iter() {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }
    if target.asic.is_some() {
        fs::write(folder.path().join("cells.lib"), library(&target.name)).expect("a file can be written");
    }
    let output = Command::new("yosys").args(["-q", "synth.ys"]).current_dir(folder.path()).output();
    let output = output.expect("Yosys can be run");
    assert!(output.status.success(), "{config:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.path().join("cells.txt")).expect("Yosys wrote its statistics");
    let cells = parse_cells(&text);
    if let Some(asic) = &target.asic {
        let count = |name: &str| count_cells(&cells, &[&format!("espalier_sram_{name}_macro")]);
        let macros = asic.macros.iter().map(|m| (m.name(), count(&m.name())));
        return CalibrationPoint {
            used_for,
            rtl: hash(config, target),
            cells: parse_area(&text).expect("Yosys knows the areas of the cells"),
            flip_flops: count_cells(&cells, &FLIP_FLOPS),
            multipliers: 0.0,
            block_rams: macros.filter(|(_, n)| *n > 0.0).collect(),
            config: config.clone(),
        };
    }
    let flow = open_flow(target, None).expect("the family has a flow");
    let counted = |name: &str| flow.count(&cells, name);
    let memories = target.fpga.iter().flat_map(|f| &f.memories).map(|m| m.name.clone());
    let block_rams: BTreeMap<String, f64> = memories.map(|name| (name.clone(), counted(&name))).collect();
    CalibrationPoint {
        used_for,
        rtl: hash(config, target),
        cells: counted("logic cells"),
        flip_flops: counted("flip-flops"),
        multipliers: counted("multipliers"),
        block_rams,
        config: config.clone(),
    }
}
