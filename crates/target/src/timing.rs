//! Cycles of a program. Placeholder until the timing of the RTL is settled.

use crate::{AcceleratorConfig, Step};

/// When every step ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Cycle in which the step is complete, one for each step.
    pub end_cycle: Vec<u64>,
    /// Cycles from start to done.
    pub total_cycles: u64,
}

/// Cycles of a sequence of steps.
pub fn timeline(steps: &[Step], config: &AcceleratorConfig) -> Timeline {
    let mut now = 0u64;
    let end_cycle: Vec<u64> = steps
        .iter()
        .map(|step| {
            now += match *step {
                Step::Conv { tiles, pixels, .. } => u64::from(tiles) * u64::from(pixels).max(config.rows as u64),
                Step::Fill { cells } => u64::from(cells),
                Step::Load { beats } | Step::Store { beats } => u64::from(beats),
            };
            now
        })
        .collect();
    Timeline { end_cycle, total_cycles: now }
}
