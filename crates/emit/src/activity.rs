//! How often the bits of the hardware change: toggle counts of a simulation built for that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::optimized;

/// Arguments of `verilator` for a simulation that counts the changes of every bit; else as [`crate::verilator_arguments`], but
/// for less optimization: so much code takes longer to compile than the few inputs that are counted.
pub fn activity_arguments() -> Vec<String> {
    let mut arguments = optimized("-O1");
    // Wider signals would not be counted.
    arguments.extend(["--coverage-toggle", "--coverage-underscore", "--coverage-max-width", "8192"].map(str::to_owned));
    arguments
}

/// Changes of all bits of all instances of one module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockActivity {
    /// Module.
    pub block: String,
    /// Bits of its ports and signals, over all instances.
    pub bits: u64,
    /// Changes, over all instances and clocks.
    pub toggles: u64,
    /// Share of the bits that change in a clock.
    pub activity: f64,
}

/// Reads the counts that the simulation wrote; `clocks` is how long they were taken. Clocks themselves are left out.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_activity(text: &str, clocks: u64) -> Result<Vec<BlockActivity>, String> {
    let mut blocks: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("C '")) {
        let (point, count) = line[3..].rsplit_once("' ").ok_or("a line of the counts has no end")?;
        let count: u64 = count.trim().parse().map_err(|_| format!("'{count}' is no count"))?;
        let value = |key: &str| point.split('\u{1}').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('\u{2}'));
        let (Some(page), Some(signal)) = (value("page"), value("o")) else { continue };
        let Some(module) = page.strip_prefix("v_toggle/") else { continue };
        if ["clk_i", "rst_ni"].contains(&signal) {
            continue;
        }
        // Parameters make module names such as espalier_pe__P12_S0.
        let module = module.split("__").next().unwrap_or(module);
        let block = blocks.entry(module.to_owned()).or_default();
        block[0] += 1;
        block[1] += count;
    }
    if blocks.is_empty() || clocks == 0 {
        return Err("the simulation counted nothing".to_owned());
    }
    let entry = |(block, [bits, toggles]): (String, [u64; 2])| {
        let activity = toggles as f64 / (bits as f64 * clocks as f64);
        BlockActivity { block, bits, toggles, activity }
    };
    Ok(blocks.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_the_instances_of_a_module() {
        let point = |module: &str, signal: &str, instance: &str, count: u64| {
            format!(
                "C '\u{1}f\u{2}x.sv\u{1}l\u{2}3\u{1}page\u{2}v_toggle/{module}\u{1}o\u{2}{signal}\u{1}h\u{2}{instance}' {count}\n"
            )
        };
        let text = "# SystemC::Coverage-3\n".to_owned()
            + &point("espalier_pe__P12", "act_i[0]", "TOP.a", 10)
            + &point("espalier_pe__P12", "act_i[0]", "TOP.b", 30)
            + &point("espalier_pe__P12", "clk_i", "TOP.b", 200)
            + &point("espalier_lane", "addr[1]", "TOP.c", 5);
        let blocks = parse_activity(&text, 100).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[1].block.as_str(), blocks[1].bits, blocks[1].toggles), ("espalier_pe", 2, 40));
        assert!((blocks[1].activity - 0.2).abs() < 1e-12 && (blocks[0].activity - 0.05).abs() < 1e-12);
        assert!(parse_activity("", 100).is_err() && parse_activity("C 'x' y", 1).is_err());
    }
}
