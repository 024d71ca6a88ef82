//! Axes and points of the two charts with coordinates.

use super::value::{Figure, count, number, percent};

/// Width and height of a plot, and its margins (left, right, top, bottom), in units of its drawing.
const SIZE: [f64; 2] = [420.0, 290.0];
const MARGIN: [f64; 4] = [66.0, 14.0, 12.0, 44.0];

/// How values of an axis are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers, short.
    Count,
    /// Shares of 1.
    Percent,
    /// Numbers, logarithmic axis.
    Log,
}

/// One axis.
pub struct Axis {
    kind: Kind,
    low: f64,
    high: f64,
    /// What it shows, with unit.
    pub label: String,
}

/// A mark at a place.
pub struct Mark {
    /// Place.
    pub x: f64,
    /// Place.
    pub y: f64,
    /// CSS class.
    pub class: &'static str,
    /// Shape: `circle`, `ring`, `cross` or `diamond`.
    pub shape: &'static str,
    /// What it is, for tooltips and the table.
    pub title: String,
    /// Short text beside it, empty for none.
    pub label: String,
}

/// Text beside a mark, or beside several at one place.
pub struct Label {
    /// Place of its anchor.
    pub x: f64,
    /// Place of its baseline.
    pub y: f64,
    /// The side at which it has its anchor, as in SVG.
    pub anchor: &'static str,
    /// The text.
    pub text: String,
    /// Line from the mark to a text that does not stand beside it: from x, y to x, y.
    pub leader: Option<[f64; 4]>,
}

/// Half the side of a mark.
const MARK: f64 = 5.0;
/// Width and height of a letter where letters are largest: at phone width, and bold.
const LETTER: [f64; 2] = [8.5, 14.0];
/// From a mark to its text.
const GAP: f64 = 4.0;
/// Farther away where that is taken.
const REACHES: [f64; 5] = [0.0, 12.0, 24.0, 36.0, 48.0];
/// Where a text may stand: right and down of its mark, in the order in which places are tried.
const DIRECTIONS: [[f64; 2]; 8] =
    [[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [0.8, -0.8], [-0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]];

/// A rectangle: left, top, right, bottom.
#[derive(Debug, Clone, Copy)]
struct Area([f64; 4]);

impl Area {
    fn meets(&self, other: &Area) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        a < g && e < c && b < h && f < d
    }

    fn inside(&self, other: &Area) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        a >= e && b >= f && c <= g && d <= h
    }
}

/// A tick of an axis.
pub struct Tick {
    /// Place along the axis.
    pub at: f64,
    /// Text.
    pub text: String,
}

/// A plot, ready to draw.
pub struct Plot {
    /// Sides of the plot area: left, right, top, bottom.
    pub left: f64,
    /// Right side.
    pub right: f64,
    /// Top side.
    pub top: f64,
    /// Bottom side.
    pub bottom: f64,
    /// What the axes show.
    pub x_label: String,
    /// What the axes show.
    pub y_label: String,
    /// Ticks.
    pub x_ticks: Vec<Tick>,
    /// Ticks.
    pub y_ticks: Vec<Tick>,
    /// CSS class and SVG path of each line.
    pub lines: Vec<(&'static str, String)>,
    /// Marks.
    pub marks: Vec<Mark>,
    /// Class, shape and text of each kind of mark or line.
    pub legend: Vec<(&'static str, &'static str, &'static str)>,
    /// Header of the table behind it.
    pub header: Vec<&'static str>,
    /// The table behind it, one row a mark.
    pub rows: Vec<Vec<Figure>>,
}

impl Axis {
    /// An axis that shows all values with some room around.
    pub fn new(kind: Kind, label: &str, values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = match kind {
            Kind::Log => (low.max(1e-12) / 1.6, high.max(1e-12) * 1.6),
            Kind::Count => (0.0, 1.06 * high.max(1.0)),
            Kind::Percent => {
                let room = (0.12 * (high - low)).max(0.002);
                ((low - room).max(0.0), (high + room).min(1.0))
            }
        };
        Axis { kind, low, high, label: label.to_owned() }
    }

    /// Place of a value, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Log => (value.max(1e-12) / self.low).ln() / (self.high / self.low).ln(),
            _ => (value - self.low) / (self.high - self.low),
        }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        if self.kind == Kind::Log {
            let exponents = || self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let inside = |steps: &[f64]| -> Vec<f64> {
                let all = exponents().flat_map(|e| steps.iter().map(move |m| m * 10f64.powi(e)));
                all.filter(|v| *v >= self.low && *v <= self.high).collect()
            };
            let choices = [&[1.0, 2.0, 5.0] as &[f64], &[1.0, 3.0], &[1.0]].map(inside);
            let [.., sparse] = &choices;
            let chosen = choices.iter().find(|c| c.len() <= 7).unwrap_or(sparse);
            return chosen.iter().map(|v| (*v, number(*v))).collect();
        }
        let step = nice((self.high - self.low) / 5.0);
        let first = (self.low / step).ceil() as i64;
        let values = (first..).map(|i| i as f64 * step).take_while(|v| *v <= self.high * (1.0 + 1e-9));
        let decimals = usize::from(step < 0.01) + usize::from(step < 0.001);
        let show = |v: f64| match self.kind {
            Kind::Percent => percent(v, decimals),
            _ => short(v),
        };
        values.map(|v| (v, show(v))).collect()
    }
}

/// The next larger of 1, 2, 2.5, 5 times a power of ten.
pub fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-12).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|v| *v >= value * 0.999).unwrap_or(10.0 * power)
}

/// A count as on an axis: 12k, 3.5M.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => return count(value.round() as u64),
    };
    format!("{}{unit}", number(scaled))
}

fn tenths(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

impl Plot {
    /// An empty plot between two axes.
    pub fn new(x: &Axis, y: &Axis) -> Plot {
        let [left, right, top, bottom] = [MARGIN[0], SIZE[0] - MARGIN[1], MARGIN[2], SIZE[1] - MARGIN[3]];
        let mut plot = Plot {
            left,
            right,
            top,
            bottom,
            x_label: x.label.clone(),
            y_label: y.label.clone(),
            x_ticks: Vec::new(),
            y_ticks: Vec::new(),
            lines: Vec::new(),
            marks: Vec::new(),
            legend: Vec::new(),
            header: Vec::new(),
            rows: Vec::new(),
        };
        let tick = |axis: &Axis, place: &dyn Fn(f64) -> f64| {
            axis.ticks().into_iter().map(|(v, text)| Tick { at: place(axis.share(v)), text }).collect()
        };
        plot.x_ticks = tick(x, &|s| plot.left + s * (plot.right - plot.left));
        plot.y_ticks = tick(y, &|s| plot.bottom - s * (plot.bottom - plot.top));
        plot
    }

    /// Place of a pair of values, rounded to a tenth.
    pub fn place(&self, x: &Axis, y: &Axis, at: (f64, f64)) -> (f64, f64) {
        let across = self.left + x.share(at.0).clamp(0.0, 1.0) * (self.right - self.left);
        let up = self.bottom - y.share(at.1).clamp(0.0, 1.0) * (self.bottom - self.top);
        (tenths(across), tenths(up))
    }

    /// Adds a line through places.
    pub fn line(&mut self, class: &'static str, places: &[(f64, f64)]) {
        let parts = places.iter().enumerate().map(|(i, (x, y))| format!("{}{x} {y}", if i == 0 { 'M' } else { 'L' }));
        self.lines.push((class, parts.collect()));
    }

    /// Adds a mark.
    pub fn mark(&mut self, (x, y): (f64, f64), class: &'static str, shape: &'static str, title: String, label: String) {
        self.marks.push(Mark { x, y, class, shape, title, label });
    }

    /// The texts of the marks. Marks at one place share a text; a text stands where it covers neither a mark nor another
    /// text, and one that finds no such place is left out: the table behind the plot has all.
    pub fn labels(&self) -> Vec<Label> {
        let mut places: Vec<(f64, f64, String)> = Vec::new();
        for mark in self.marks.iter().filter(|m| !m.label.is_empty()) {
            match places.iter_mut().find(|(x, y, _)| (x - mark.x).hypot(y - mark.y) < MARK) {
                Some((.., text)) => *text = format!("{text}, {}", mark.label),
                None => places.push((mark.x, mark.y, mark.label.clone())),
            }
        }
        let around = |m: &Mark| Area([m.x - MARK, m.y - MARK, m.x + MARK, m.y + MARK]);
        let mut taken: Vec<Area> = self.marks.iter().map(around).collect();
        let whole = Area([self.left, self.top, self.right + MARGIN[1], self.bottom]);
        let mut labels = Vec::new();
        for (x, y, text) in places {
            let width = text.chars().count() as f64 * LETTER[0];
            let area = |(x, y): (f64, f64), anchor: &str| {
                let left = match anchor {
                    "start" => x,
                    "end" => x - width,
                    _ => x - width / 2.0,
                };
                Area([left, y - 0.8 * LETTER[1], left + width, y + 0.2 * LETTER[1]])
            };
            // The nearest place that is free, first beside the mark.
            let candidates = REACHES.iter().flat_map(|reach| DIRECTIONS.iter().map(move |to| (*reach, *to)));
            let places = candidates.map(|(reach, [right, down])| {
                let away = MARK + GAP + reach;
                let anchor = if right > 0.0 {
                    "start"
                } else if right < 0.0 {
                    "end"
                } else {
                    "middle"
                };
                let end = (x + right * away, y + down * away);
                // From the middle of the text to its baseline, and by half a text up or down.
                let baseline = 0.3 * LETTER[1] + 0.5 * LETTER[1] * down;
                let leader = (reach > 0.0).then_some([x, y, end.0, end.1].map(tenths));
                (Label { x: tenths(end.0), y: tenths(end.1 + baseline), anchor, text: text.clone(), leader }, anchor)
            });
            let fits = |(label, anchor): &(Label, &str)| {
                let area = area((label.x, label.y), anchor);
                area.inside(&whole) && !taken.iter().any(|other| other.meets(&area))
            };
            if let Some((label, anchor)) = places.into_iter().find(fits) {
                taken.push(area((label.x, label.y), anchor));
                labels.push(label);
            }
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        for (low, high) in [(0.2, 0.97), (0.98, 0.995), (0.0, 1.0)] {
            let axis = Axis::new(Kind::Percent, "", [low, high].into_iter());
            let ticks = axis.ticks();
            assert!((2..=12).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.iter().all(|(v, _)| (0.0..=1.0).contains(&axis.share(*v))), "{ticks:?}");
            let mut texts: Vec<&String> = ticks.iter().map(|t| &t.1).collect();
            texts.dedup();
            assert_eq!(texts.len(), ticks.len(), "two ticks look the same: {ticks:?}");
        }
        let log = Axis::new(Kind::Log, "", [0.5, 2000.0].into_iter());
        assert!((3..=7).contains(&log.ticks().len()));
    }

    #[test]
    fn marks_at_one_place_share_a_text() {
        let axis = || Axis::new(Kind::Percent, "", [0.0, 1.0].into_iter());
        let mut plot = Plot::new(&axis(), &axis());
        for (at, label) in [((100.0, 100.0), "1"), ((200.0, 100.0), "2"), ((102.0, 101.0), "3")] {
            plot.mark(at, "", "circle", String::new(), label.to_owned());
        }
        let texts: Vec<String> = plot.labels().into_iter().map(|l| l.text).collect();
        assert_eq!(texts, ["1, 3", "2"]);
    }

    #[test]
    fn texts_cover_nothing() {
        let axis = || Axis::new(Kind::Percent, "", [0.0, 1.0].into_iter());
        let mut plot = Plot::new(&axis(), &axis());
        let mut random = espalier_ir::Random::new(5);
        for index in 0..40 {
            let mut share = || f64::from(random.unit());
            let at = plot.place(&axis(), &axis(), (share(), share()));
            plot.mark(at, "", "circle", String::new(), index.to_string());
        }
        let labels = plot.labels();
        assert!(labels.len() >= 20, "{} labels", labels.len());
        let area = |l: &Label| {
            let width = l.text.len() as f64 * LETTER[0];
            let left = l.x
                - width * f64::from(["start", "middle", "end"].iter().position(|a| *a == l.anchor).unwrap() as u32)
                    / 2.0;
            Area([left, l.y - 0.8 * LETTER[1], left + width, l.y + 0.2 * LETTER[1]])
        };
        for (i, label) in labels.iter().enumerate() {
            let own = area(label);
            assert!(labels[..i].iter().all(|other| !area(other).meets(&own)), "{} covers another", label.text);
            assert!(plot.marks.iter().all(|m| !Area([m.x, m.y, m.x, m.y]).meets(&own)), "{} covers a mark", label.text);
        }
    }

    #[test]
    fn short_counts() {
        assert_eq!([0.0, 950.0, 12_000.0, 2_500_000.0].map(short), ["0", "950", "12k", "2.5M"]);
    }
}
