//! When each agent of the accelerator works on each step: what a picture of a run is drawn from.

use serde::{Deserialize, Serialize};

use super::{Clock, FETCH_CYCLES};
use crate::{AcceleratorConfig, Step};

/// First and last cycle of an agent's work on one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First cycle.
    pub start: u64,
    /// Last cycle.
    pub end: u64,
}

/// Work of the agents on one step; absent where an agent has no part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Activity {
    /// The loader brings weight words and parameters; waiting for free registers is included.
    pub loader: Option<Span>,
    /// Pixels stream through the array.
    pub stream: Option<Span>,
    /// Sums leave the accumulators for the lanes.
    pub drain: Option<Span>,
    /// Cells are filled, loaded or stored.
    pub mover: Option<Span>,
}

/// Activities of a sequence of steps, which END follows: the events behind [`crate::timeline`].
pub fn activities(steps: &[Step], config: &AcceleratorConfig) -> Vec<Activity> {
    let mut clock = Clock::new(config);
    let mut activities: Vec<Activity> = Vec::with_capacity(steps.len());
    let mut block = None;
    for (index, step) in steps.iter().enumerate() {
        let swap = clock.swap;
        clock.step(step);
        let mut activity = Activity::default();
        match *step {
            Step::Conv { tiles, pixels, partial, .. } => {
                let dispatch = clock.fetched - 1 - FETCH_CYCLES;
                let passes = (u64::from(tiles) - 1) * u64::from(pixels).max(clock.rows);
                activity.loader = Some(Span { start: dispatch.max(swap) + 1, end: clock.loader_ready });
                activity.stream = Some(Span { start: clock.swap - passes, end: clock.stream_end });
                if !partial {
                    activity.drain = Some(drain(&clock));
                    block = Some(index);
                }
            }
            // Runs beside everything else; when is known behind the last one only.
            Step::Transfer(_) => {}
            Step::Fill { .. } | Step::Load { .. } | Step::Store { .. } => {
                activity.mover = Some(Span { start: clock.first_read, end: clock.mover_idle });
                // A FILL may have delayed the drain of the block before it.
                if let Some(block) = block.filter(|_| clock.draining) {
                    activities[block].drain = Some(drain(&clock));
                }
            }
        }
        activities.push(activity);
    }
    activities
}

/// Until the last write reaches the lanes.
fn drain(clock: &Clock) -> Span {
    Span { start: clock.drain_start, end: clock.written() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Table, timeline};

    /// The last event of a step is where the timeline says that it ends, and no agent does two things at once.
    #[test]
    fn activities_agree_with_the_timeline() {
        let conv = |tiles, pixels, barrier, partial| Step::Conv {
            tiles,
            pixels,
            outputs: pixels,
            window: 1,
            chunks: 1,
            barrier,
            fence: false,
            partial,
            table: Table::Off,
        };
        let steps = [
            Step::Fill { cells: 3 },
            Step::Load { beats: 9 },
            conv(3, 9, true, false),
            Step::Fill { cells: 400 },
            conv(1, 4, false, true),
            conv(2, 4, false, false),
            Step::Store { beats: 4 },
        ];
        let config = AcceleratorConfig::new(8, 8, 4096, 256);
        let (timeline, activities) = (timeline(&steps, &config), activities(&steps, &config));
        for (index, activity) in activities.iter().enumerate() {
            let last = activity.drain.or(activity.mover).map(|span| span.end);
            assert!(last.is_none_or(|end| end.abs_diff(timeline.end_cycle[index]) <= 1), "{index}: {activity:?}");
            assert!(last.is_none_or(|end| end <= timeline.total_cycles));
        }
        let agents: [fn(&Activity) -> Option<Span>; 3] = [|a| a.loader, |a| a.stream, |a| a.mover];
        for of in agents {
            let spans: Vec<Span> = activities.iter().filter_map(of).collect();
            assert!(spans.iter().all(|s| s.start <= s.end), "{spans:?}");
            assert!(spans.windows(2).all(|w| w[0].end < w[1].start), "{spans:?}");
        }
        assert_eq!(activities[2].stream.unwrap().end + 1 - activities[2].stream.unwrap().start, 3 * 9);
    }
}
