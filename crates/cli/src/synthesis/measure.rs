//! Reading what the tools report.

use std::collections::BTreeMap;

use espalier_emit::OpenFlow;
use serde::Serialize;

/// One kind of resource: what was estimated and what the tools say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredResource {
    /// Name as in the estimate.
    pub name: String,
    /// Estimate for the accelerator alone; `null` if there is none.
    pub estimate: Option<f64>,
    /// What the tools say about the whole design, with its serial host.
    pub measured: f64,
    /// `estimate / measured - 1`.
    pub error: Option<f64>,
    /// What the device has.
    pub available: Option<f64>,
}

/// What the placer reports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Placed {
    /// Used and available, by the tool's name.
    pub utilization: BTreeMap<String, (f64, f64)>,
    /// Slowest clock, MHz.
    pub fmax_mhz: Option<f64>,
}

/// Reads nextpnr's `--report`.
///
/// # Errors
/// What is not understood.
pub fn parse_placed(json: &str) -> Result<Placed, String> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let number = |v: &serde_json::Value, key: &str| v.get(key).and_then(serde_json::Value::as_f64);
    let utilization = value.get("utilization").and_then(|u| u.as_object()).ok_or("there is no utilization")?;
    let utilization = utilization
        .iter()
        .filter_map(|(name, v)| Some((name.clone(), (number(v, "used")?, number(v, "available")?))))
        .collect();
    let clocks = value.get("fmax").and_then(|f| f.as_object()).into_iter().flatten();
    let fmax_mhz = clocks.filter_map(|(_, v)| number(v, "achieved")).min_by(f64::total_cmp);
    Ok(Placed { utilization, fmax_mhz })
}

/// Puts what the tools say beside the estimates.
pub fn compare(
    flow: &OpenFlow,
    estimates: &serde_json::Value,
    cells: &BTreeMap<String, f64>,
    placed: Option<&Placed>,
) -> Vec<MeasuredResource> {
    let estimates = estimates.get("uses").and_then(|u| u.as_array());
    let estimate_of = |name: &str| {
        let entry = estimates?.iter().find(|u| u.get("name").is_some_and(|n| n == name))?;
        Some((entry.get("used")?.as_f64()?, entry.get("available")?.as_f64()?))
    };
    let mut rows = Vec::new();
    for (name, prefixes) in &flow.cells {
        let names = flow.placer.iter().flat_map(|p| &p.resources);
        let reported =
            names.clone().find(|(known, _)| known == name).and_then(|(_, tool)| placed?.utilization.get(*tool));
        let measured = reported.map_or_else(|| flow.count(cells, name), |(used, _)| *used);
        let estimate = estimate_of(name);
        if measured == 0.0 && (estimate.is_none() || prefixes.is_empty()) {
            continue;
        }
        let used = estimate.map(|(used, _)| used);
        rows.push(MeasuredResource {
            name: (*name).to_owned(),
            estimate: used,
            measured,
            error: used.filter(|_| measured > 0.0).map(|used| used / measured - 1.0),
            available: reported.map(|(_, available)| *available).or(estimate.map(|(_, available)| available)),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_clock_counts() {
        let json = r#"{"fmax": {"a": {"achieved": 40.5, "constraint": 12.0}, "b": {"achieved": 33.2, "constraint": 12.0}},
                       "utilization": {"ICESTORM_LC": {"available": 5280, "used": 5053}}}"#;
        let placed = parse_placed(json).unwrap();
        assert_eq!(placed.fmax_mhz, Some(33.2));
        assert_eq!(placed.utilization["ICESTORM_LC"], (5053.0, 5280.0));
        assert!(parse_placed("{}").is_err() && parse_placed("").is_err());
    }
}
