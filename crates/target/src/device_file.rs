//! Reading target files: a file over its family, with every finding at its line and, if there is one, a suggestion.

use espalier_ir::{Diagnostic, Diagnostics, nearest};

use crate::Target;
use crate::calibration::calibrated_families;
use crate::device::files;

/// What devices of one architecture have in common: costs of the parts of an accelerator, energy of events.
const FAMILIES: [(&str, &str); 10] = files!(
    "families/",
    "ice40",
    "ecp5",
    "nexus",
    "gowin",
    "xilinx-7",
    "ultrascale-plus",
    "versal",
    "cyclone-v",
    "arria-10",
    "agilex-7",
);

/// Bounds that no real device exceeds, `(key, least, most, unit)`: beyond, a value is in another unit.
const PLAUSIBLE: [(&str, f64, f64, &str); 15] = [
    ("clock_mhz", 0.1, 10_000.0, "MHz"),
    ("energy.mac_pj", 0.0, 1_000.0, "pJ"),
    ("energy.lane_byte_pj", 0.0, 1_000.0, "pJ"),
    ("energy.accumulator_pj", 0.0, 1_000.0, "pJ"),
    ("energy.weight_bit_pj", 0.0, 100.0, "pJ"),
    ("energy.external_byte_pj", 0.0, 100_000.0, "pJ"),
    ("energy.overhead", 0.0, 100.0, "a fraction"),
    ("energy.static_mw", 0.0, 200_000.0, "mW"),
    ("fpga.cell_limit", 0.01, 1.0, "a fraction"),
    ("fpga.cells", 100.0, 20e6, "look-up tables"),
    ("fpga.flip_flops", 100.0, 40e6, "flip-flops"),
    ("fpga.multipliers", 0.0, 1e6, "multipliers"),
    ("asic.placement_density", 0.05, 1.0, "a fraction"),
    ("asic.two_port_factor", 1.0, 10.0, "a factor"),
    ("asic.area_mm2", 1e-4, 1_000.0, "mm2"),
];

/// Reads a target file; `at` names it in findings.
///
/// # Errors
/// If it is not TOML, names an unknown family, has unknown or missing keys, or numbers out of their range.
pub fn parse_target(at: &str, text: &str) -> Result<Target, Diagnostics> {
    let invalid = |error: toml::de::Error| {
        let line = error.span().map(|span| line_at(text, span.start)).or_else(|| line_of_error(text, &error));
        finding(at, line, error.message().to_owned()).with_help(help_for(error.message()))
    };
    let file: toml::Table = text.parse().map_err(invalid)?;
    let target: Target = match file.get("family").and_then(toml::Value::as_str) {
        Some(family) => with_family(at, text, &file, family)?.try_into().map_err(invalid)?,
        None => toml::from_str(text).map_err(invalid)?,
    };
    let mut findings = Diagnostics::new();
    check(at, text, &target, &mut findings);
    let accelerator = &target.accelerator;
    for bad in
        [accelerator.validate(), crate::check_multiplier(&target, accelerator)].into_iter().filter_map(Result::err)
    {
        for mut bad in bad.iter().cloned() {
            // These checks also serve project files and do not know where the key stands.
            let key = bad.at.split('\'').nth(1).and_then(|key| line_of_path(text, &["accelerator", key]));
            let place = key.map_or_else(String::new, |line| format!(", line {line}"));
            bad.at = format!("target '{at}'{place}, {}", bad.at);
            findings.push(bad);
        }
    }
    findings.into_result(target)
}

fn finding(at: &str, line: Option<usize>, message: String) -> Diagnostic {
    let place = line.map_or_else(String::new, |line| format!(", line {line}"));
    Diagnostic::error("invalid-target", format!("target '{at}'{place}"), message)
}

/// What to do about an error of the parser.
fn help_for(message: &str) -> String {
    if let Some(close) = closest_expected(message) {
        return format!("did you mean '{close}'?");
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return format!("add '{key}'; hw-targets/README.md explains every key, `family` gives most of them");
    }
    "every number is a table { value, source, confidence }; confidence is one of datasheet, measured, calibrated, assumed"
        .to_owned()
}

/// Of the names that a message lists after the first, the one that is most like the first.
fn closest_expected(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let wrong = names.next()?;
    nearest(wrong, names)
}

/// The keys of a file over those of its family.
fn with_family(at: &str, text: &str, file: &toml::Table, family: &str) -> Result<toml::Table, Diagnostics> {
    let Some((_, family_text)) = FAMILIES.iter().find(|(name, _)| *name == family) else {
        let known = || FAMILIES.iter().map(|(name, _)| *name);
        let meant = nearest(family, known()).map_or_else(String::new, |name| format!("did you mean '{name}'? "));
        let list = known().collect::<Vec<_>>().join(", ");
        return Err(finding(at, line_of_path(text, &["family"]), format!("there is no family '{family}'"))
            .with_help(format!("{meant}known are {list}; without a family a file has all keys itself"))
            .into());
    };
    let mut merged: toml::Table = family_text.parse().expect("families are tested");
    for (key, value) in file {
        match (merged.get_mut(key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(own)) => section.extend(own.clone()),
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(merged)
}

/// Line, from 1, of a byte.
fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
}

/// Line of an error that has no place: the parser names the table, the message the key.
fn line_of_error(text: &str, error: &toml::de::Error) -> Option<usize> {
    let shown = error.to_string();
    let table = shown.lines().find_map(|l| l.strip_prefix("in `")).and_then(|l| l.strip_suffix('`')).unwrap_or("");
    let mut path: Vec<&str> = table.split('.').filter(|key| !key.is_empty()).collect();
    let named = error.message().split('`').nth(1);
    let with_key: Vec<&str> = path.iter().copied().chain(named).collect();
    if let Some(line) = line_of_path(text, &with_key) {
        return Some(line);
    }
    // The table may come from the family in part.
    while !path.is_empty() {
        if let Some(line) = line_of_path(text, &path) {
            return Some(line);
        }
        path.pop();
    }
    None
}

/// Line of the key at the end of a path of tables; of arrays the first element.
fn line_of_path(text: &str, path: &[&str]) -> Option<usize> {
    let root = toml::de::DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    for (depth, key) in path.iter().enumerate() {
        let (found, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
        if depth + 1 == path.len() {
            return Some(line_at(text, found.span().start));
        }
        table = match value.get_ref() {
            toml::de::DeValue::Table(table) => table,
            toml::de::DeValue::Array(array) => array.first()?.get_ref().as_table()?,
            _ => return None,
        };
    }
    None
}

fn check(at: &str, text: &str, target: &Target, findings: &mut Diagnostics) {
    let line = |key: &str| line_of_path(text, &key.split(['.', ' ']).collect::<Vec<_>>());
    for (key, fact) in target.facts() {
        let mut report = |message: String, help: &str| {
            let mut finding = finding(at, line(&key), message).with_help(help);
            finding.at += &format!(", key '{key}'");
            findings.push(finding);
        };
        if !fact.value.is_finite() || fact.value < 0.0 {
            report(format!("{} is not a number from 0", fact.value), "give the value in the unit of the key");
        } else if let Some((_, least, most, unit)) = PLAUSIBLE.iter().find(|(name, ..)| *name == key)
            && !(*least..=*most).contains(&fact.value)
        {
            let message = format!("{} is not between {least} and {most}", fact.value);
            report(message, &format!("the value is in {unit}; is it in another unit?"));
        }
        if fact.source.trim().is_empty() {
            report("the source is empty".to_owned(), "name the document or measurement that the number comes from");
        }
    }
    if target.fpga.is_some() == target.asic.is_some() {
        findings.push(
            finding(at, None, "needs either [fpga] or [asic]".to_owned())
                .with_help("describe the resources of one device"),
        );
    }
    let named = [
        ("fpga.calibration", target.fpga.as_ref().map(|f| &f.calibration), false),
        ("asic.calibration", target.asic.as_ref().map(|a| &a.calibration), true),
    ];
    for (key, name, silicon) in named.into_iter().filter_map(|(key, name, silicon)| Some((key, name?, silicon))) {
        let is_process = |family: &&str| FAMILIES.iter().all(|(name, _)| name != family);
        let known = || calibrated_families().filter(|family| is_process(family) == silicon);
        if !known().any(|family| family == name) {
            let help = format!("known are {}", known().collect::<Vec<_>>().join(", "));
            findings.push(finding(at, line(key), format!("there is no calibration '{name}'")).with_help(help));
        }
    }
    let shapes = target.fpga.iter().flat_map(|f| &f.memories).flat_map(|m| &m.shapes).copied();
    let macros = target.asic.iter().flat_map(|a| &a.macros).map(|m| [m.words, m.bits]);
    if shapes.chain(macros).any(|[words, bits]| words == 0 || bits == 0) {
        let place = line("fpga.memories.shapes").or_else(|| line("asic.macros"));
        findings
            .push(finding(at, place, "a memory has no words or bits".to_owned()).with_help("a shape is [words, bits]"));
    }
    let usable_fpga = target.fpga.iter().all(|f| f.memories.iter().any(|m| m.ports >= 2 && !m.shapes.is_empty()));
    let usable_asic = target.asic.iter().all(|a| !a.macros.is_empty());
    if !usable_fpga || !usable_asic {
        let place = line("fpga.memories").or_else(|| line("asic.macros"));
        findings.push(
            finding(at, place, "has no memory with two ports".to_owned())
                .with_help("list at least one block RAM with ports = 2, or one macro"),
        );
    }
}
