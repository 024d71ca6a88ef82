//! Pictures over time: what each agent works on, and which tensors the lanes hold.

use espalier_target::Span;

use super::layers::first_steps;
use super::scale::nice;
use super::value::{count, percent};
use crate::details::{Details, TimelineStep};
use crate::report::Report;

/// Colours that layers take in turn, as CSS classes `c0` to `c7`.
const COLOURS: usize = 8;

/// A tick of the time axis.
pub struct Tick {
    /// Place in per cent.
    pub at: f64,
    /// Cycle.
    pub text: String,
}

/// The timeline.
pub struct Timeline {
    /// Cycles from start to done.
    pub cycles: u64,
    /// Ticks.
    pub ticks: Vec<Tick>,
    /// One row an agent.
    pub agents: Vec<Agent>,
    /// SVG path of the borders between passes.
    pub passes: String,
    /// How many passes there are.
    pub pass_count: u64,
    /// Colour and name of every layer.
    pub legend: Vec<(usize, usize, String)>,
    /// Table behind it: layer, first and last cycle, share of the time, busy cycles of each agent.
    pub rows: Vec<Vec<String>>,
}

/// What one agent does.
pub struct Agent {
    /// Name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Colour (none: no layer), SVG path and title, one a layer.
    pub work: Vec<(Option<usize>, String, String)>,
    /// Share of the cycles in which it works.
    pub busy: String,
}

type Work = fn(&TimelineStep) -> Option<Span>;

const AGENTS: [(&str, &str, Work); 4] = [
    ("mover", "fills halos, loads inputs, stores outputs", |s| s.activity.mover),
    ("loader", "brings weights", |s| s.activity.loader),
    ("array", "streams pixels through the weights", |s| s.activity.stream),
    ("drain", "writes results back to the lanes", |s| s.activity.drain),
];

/// The timeline of all instructions.
pub fn timeline(details: &Details, report: &Report) -> Timeline {
    let cycles = details.cycles.max(1);
    let layers = report.layers.len();
    let name = |layer: usize| report.layers[layer].name.clone();
    let of = |layer: Option<usize>, work: Work| {
        details.timeline.iter().filter(move |s| s.layer.filter(|l| *l < layers) == layer).filter_map(work)
    };
    let length = |spans: &mut dyn Iterator<Item = Span>| spans.map(|s| s.end + 1 - s.start).sum::<u64>();
    let agents = AGENTS.map(|(agent, about, work)| {
        let parts = std::iter::once(None).chain((0..layers).map(Some)).filter_map(|layer| {
            let path: String =
                of(layer, work).map(|s| format!("M{} 0h{}v10h-{1}z", s.start, s.end + 1 - s.start)).collect();
            let spent = length(&mut of(layer, work));
            let who = layer.map_or_else(|| "inputs and outputs".to_owned(), name);
            let title = format!("{agent}, {who}: {} cycles", count(spent));
            (!path.is_empty()).then(|| (layer.map(|l| l % COLOURS), path, title))
        });
        let busy = length(&mut details.timeline.iter().filter_map(work));
        Agent { name: agent, about, work: parts.collect(), busy: percent(busy as f64 / cycles as f64, 0) }
    });
    let streamed = details.timeline.iter().filter_map(|s| s.activity.stream.map(|span| (s, span)));
    let borders = streamed
        .flat_map(|(s, span)| (0..u64::from(s.passes)).map(move |pass| span.start + pass * u64::from(s.pass_cycles)));
    let borders: Vec<u64> = borders.collect();
    let rows = (0..layers).map(|layer| {
        let spans = |work: Work| of(Some(layer), work);
        let all = || AGENTS.iter().flat_map(|(_, _, work)| spans(*work));
        let first = all().map(|s| s.start).min().unwrap_or(0);
        let last = all().map(|s| s.end).max().unwrap_or(0);
        let busy = AGENTS.map(|(_, _, work)| count(length(&mut spans(work))));
        let share = percent((last + 1).saturating_sub(first) as f64 / cycles as f64, 1);
        [vec![name(layer), count(first), count(last), share], busy.to_vec()].concat()
    });
    Timeline {
        cycles,
        ticks: ticks(cycles),
        passes: borders.iter().map(|at| format!("M{at} 0v10")).collect(),
        pass_count: borders.len() as u64,
        agents: agents.into(),
        legend: first_steps(report).map(|(l, layer)| (l % COLOURS, l + 1, layer.name.clone())).collect(),
        rows: rows.collect(),
    }
}

fn ticks(cycles: u64) -> Vec<Tick> {
    let step = nice(cycles as f64 / 5.0).max(1.0);
    let ticks = (0..).map(|i| i as f64 * step).take_while(|v| *v <= 0.97 * cycles as f64);
    ticks.map(|v| Tick { at: round(100.0 * v / cycles as f64), text: super::scale::short(v) }).collect()
}

fn round(value: f64) -> f64 {
    (1000.0 * value).round() / 1000.0
}

/// Tensors in the lanes over time.
pub struct Memory {
    /// Bytes of one lane.
    pub lane_bytes: String,
    /// Highest byte in use.
    pub peak: String,
    /// Ticks of the time.
    pub ticks: Vec<Tick>,
    /// The tensors.
    pub tensors: Vec<Tensor>,
}

/// One tensor.
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Colour: that of the layer which writes it, none for an input.
    pub colour: Option<usize>,
    /// Place in per cent of the picture: left, bottom, width, height.
    pub place: [f64; 4],
    /// First byte, bytes, first and last cycle.
    pub cells: [String; 4],
    /// Whether its name has room.
    pub labelled: bool,
}

/// The memory map: cycles from left to right, addresses from bottom to top up to the highest in use.
pub fn memory(details: &Details) -> Memory {
    let inputs = details.graph.iter().filter(|node| node.op == "Input").count();
    let cycles = details.cycles.max(1) as f64;
    let peak = details.memory.iter().map(|t| t.base + t.bytes).max().unwrap_or(0).max(1);
    let tensors = details.memory.iter().enumerate().map(|(index, tensor)| {
        let last = tensor.last_cycle.min(details.cycles);
        let wide = 100.0 * last.saturating_sub(tensor.first_cycle) as f64 / cycles;
        let high = 100.0 * tensor.bytes as f64 / peak as f64;
        Tensor {
            name: tensor.name.clone(),
            colour: index.checked_sub(inputs).map(|layer| layer % COLOURS),
            place: [100.0 * tensor.first_cycle as f64 / cycles, 100.0 * tensor.base as f64 / peak as f64, wide, high]
                .map(round),
            cells: [count(tensor.base as u64), count(tensor.bytes as u64), count(tensor.first_cycle), count(last)],
            labelled: wide > 9.0 && high > 7.0,
        }
    });
    Memory {
        lane_bytes: count(details.lane_bytes as u64),
        peak: count(peak as u64),
        ticks: ticks(details.cycles.max(1)),
        tensors: tensors.collect(),
    }
}
