//! What pruning cost an earlier run: accuracy by the share of the work that was left.

use std::path::Path;

use espalier_ir::{Diagnostic, Diagnostics};

use crate::design::report_path;
use crate::files::read_bounded;

/// A report is far smaller.
const MAX_REPORT_BYTES: u64 = 64 << 20;

/// Validation accuracy of the rounds of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Share of the dense cycles and accuracy, rising shares.
    points: Vec<(f64, f64)>,
}

impl Profile {
    /// The rounds that `espalier run` noted in the report of a folder.
    ///
    /// # Errors
    /// If there is no report, or it has no rounds with an accuracy.
    pub fn read(folder: &Path) -> Result<Profile, Diagnostics> {
        let path = report_path(folder);
        let bytes = read_bounded(&path, MAX_REPORT_BYTES)?;
        let at = path.display().to_string();
        let refuse = |what: String| {
            Diagnostics::from(Diagnostic::error("no-profile", &at, what).with_help(
                "give the folder of a finished `espalier run`; its rounds of pruning say what accuracy is left",
            ))
        };
        let report: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        Profile::new(&report).ok_or_else(|| refuse("has no rounds of pruning with an accuracy".to_owned()))
    }

    fn new(report: &serde_json::Value) -> Option<Profile> {
        let dense = report.pointer("/cycles/dense")?.as_f64().filter(|cycles| *cycles > 0.0)?;
        let round = |round: &serde_json::Value| {
            let accepted = round.get("accepted").is_none_or(|a| a == true);
            let point = (round.get("cycles")?.as_f64()? / dense, round.get("accuracy_after")?.as_f64()?);
            accepted.then_some(point)
        };
        let mut points: Vec<(f64, f64)> = report.get("pruning")?.as_array()?.iter().filter_map(round).collect();
        if points.is_empty() {
            return None;
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Some(Profile { points })
    }

    /// Accuracy at a share of the work, on straight lines between the rounds; `None` below the least that was tried.
    pub fn accuracy(&self, share: f64) -> Option<f64> {
        let above = self.points.iter().position(|(known, _)| *known >= share - 1e-9);
        match above {
            None => self.points.last().map(|p| p.1),
            Some(0) if self.points[0].0 > share + 1e-9 => None,
            Some(0) => Some(self.points[0].1),
            Some(i) => {
                let ((x0, y0), (x1, y1)) = (self.points[i - 1], self.points[i]);
                Some(if x1 > x0 { y0 + (y1 - y0) * (share - x0) / (x1 - x0) } else { y1 })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn accuracy_lies_between_the_rounds_and_is_unknown_below_them() {
        let round = |cycles: u64, accuracy: f64, accepted: bool| json!({ "cycles": cycles, "accuracy_after": accuracy, "accepted": accepted });
        let rounds = [round(800, 0.9, true), round(400, 0.8, true), round(200, 0.1, false)];
        let profile = Profile::new(&json!({ "cycles": { "dense": 1000 }, "pruning": rounds })).unwrap();
        assert_eq!(profile.accuracy(0.4), Some(0.8));
        assert!((profile.accuracy(0.6).unwrap() - 0.85).abs() < 1e-9);
        assert_eq!((profile.accuracy(1.0), profile.accuracy(0.39)), (Some(0.9), None));
        assert_eq!(Profile::new(&json!({ "cycles": { "dense": 1000 }, "pruning": [] })), None);
    }
}
