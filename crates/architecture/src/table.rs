//! One table of the file: keys are taken by type, and everything wrong is noted with its line.

use espalier_ir::{Diagnostic, Diagnostics, Pads, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::padding::Padding;

/// Larger numbers are mistakes; sums and products of two stay far from overflow.
const MAX_COUNT: usize = 1 << 24;

/// The text and how to speak of places in it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'t> {
    /// Name of the file.
    pub(crate) at: &'t str,
    pub(crate) text: &'t str,
}

impl Source<'_> {
    /// `file:line` of a byte.
    pub(crate) fn place(&self, offset: usize) -> String {
        let line = 1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|b| **b == b'\n').count();
        format!("{}:{line}", self.at)
    }

    pub(crate) fn finding(&self, offset: usize, label: &str, message: impl Into<String>) -> Diagnostic {
        let separator = if label.is_empty() { "" } else { ": " };
        Diagnostic::error("bad-architecture", format!("{}{separator}{label}", self.place(offset)), message)
    }
}

/// A table whose keys are taken one by one. A key that is wrong gives some value and a finding; who reads on until the
/// end gathers all of them.
pub(crate) struct Table<'t> {
    pub(crate) source: Source<'t>,
    /// Byte where it begins.
    pub(crate) offset: usize,
    /// What it is, for findings.
    pub(crate) label: String,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
    pub(crate) findings: Diagnostics,
}

impl<'t> Table<'t> {
    pub(crate) fn new(source: Source<'t>, offset: usize, label: String, table: &'t DeTable<'t>) -> Self {
        Table { source, offset, label, table, asked: Vec::new(), findings: Diagnostics::new() }
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, value)| value)
    }

    /// Notes what is wrong with the table as a whole.
    pub(crate) fn refuse(&mut self, message: impl Into<String>) {
        let finding = self.source.finding(self.offset, &self.label, message);
        self.findings.push(finding);
    }

    fn refuse_value(&mut self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let message = format!("'{key}' must be {expected}");
        self.findings.push(self.source.finding(value.span().start, &self.label, message));
    }

    fn missing(&mut self, key: &str, expected: &str) {
        self.refuse(format!("lacks '{key}', {expected}"));
    }

    /// A whole number of at least `least`; without a default the key must be there.
    pub(crate) fn count(&mut self, key: &'static str, default: Option<usize>, least: usize) -> usize {
        let expected = format!("a whole number from {least} to {MAX_COUNT}");
        match (self.take(key), default) {
            (Some(value), _) => whole(value.get_ref(), least).unwrap_or_else(|| {
                self.refuse_value(key, value, &expected);
                least.max(1)
            }),
            (None, Some(default)) => default,
            (None, None) => {
                self.missing(key, &expected);
                least.max(1)
            }
        }
    }

    /// One number for both axes, or `[vertical, horizontal]`, each at least 1.
    pub(crate) fn pair(&mut self, key: &'static str, default: Option<[usize; 2]>) -> [usize; 2] {
        let expected = "a whole number from 1, or two: [vertical, horizontal]";
        let Some(value) = self.take(key) else {
            return default.unwrap_or_else(|| {
                self.missing(key, expected);
                [1, 1]
            });
        };
        match numbers(value.get_ref(), 1).as_deref() {
            Some([n]) if !matches!(value.get_ref(), DeValue::Array(_)) => [*n, *n],
            Some([vertical, horizontal]) => [*vertical, *horizontal],
            _ => {
                self.refuse_value(key, value, expected);
                [1, 1]
            }
        }
    }

    /// A list of whole numbers of at least `least`.
    pub(crate) fn counts(&mut self, key: &'static str, least: usize) -> Vec<usize> {
        let expected = format!("a list of whole numbers from {least}");
        let Some(value) = self.take(key) else {
            self.missing(key, &expected);
            return Vec::new();
        };
        let is_list = matches!(value.get_ref(), DeValue::Array(list) if !list.is_empty());
        let list = numbers(value.get_ref(), least).filter(|_| is_list);
        list.unwrap_or_else(|| {
            self.refuse_value(key, value, &expected);
            Vec::new()
        })
    }

    /// The key `pads`; none by default.
    pub(crate) fn pads(&mut self) -> Padding {
        let expected = "\"same\", a whole number, or [top, left, bottom, right]";
        let Some(value) = self.take("pads") else { return Padding::Given(Pads::default()) };
        if matches!(value.get_ref(), DeValue::String(text) if text == "same") {
            return Padding::Same;
        }
        let pads = match numbers(value.get_ref(), 0).as_deref() {
            Some([n]) => Pads { top: *n, left: *n, bottom: *n, right: *n },
            Some([top, left, bottom, right]) => Pads { top: *top, left: *left, bottom: *bottom, right: *right },
            _ => {
                self.refuse_value("pads", value, expected);
                Pads::default()
            }
        };
        Padding::Given(pads)
    }

    /// A finite number.
    pub(crate) fn number(&mut self, key: &'static str, default: Option<f32>) -> f32 {
        let Some(value) = self.take(key) else {
            return default.unwrap_or_else(|| {
                self.missing(key, "a number");
                0.0
            });
        };
        let number = match value.get_ref() {
            DeValue::Integer(_) => integer(value.get_ref()).map(|n| n as f32),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        number.filter(|n: &f32| n.is_finite()).unwrap_or_else(|| {
            self.refuse_value(key, value, "a finite number");
            0.0
        })
    }

    /// True or false.
    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(value) => value.get_ref().as_bool().unwrap_or_else(|| {
                self.refuse_value(key, value, "true or false");
                default
            }),
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Some(text.to_string()),
            _ => {
                self.refuse_value(key, value, "a text");
                None
            }
        }
    }

    /// No, one or several texts with their places.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<(String, usize)>> {
        let value = self.take(key)?;
        let text = |v: &Spanned<DeValue<'_>>| match v.get_ref() {
            DeValue::String(text) => Some((text.to_string(), v.span().start)),
            _ => None,
        };
        let list = match value.get_ref() {
            DeValue::Array(list) => list.iter().map(text).collect(),
            _ => text(value).map(|t| vec![t]),
        };
        if list.is_none() {
            self.refuse_value(key, value, "the name of a layer, or a list of names");
        }
        list
    }

    /// All findings; keys that nobody asked for are among them.
    pub(crate) fn finish(mut self) -> Diagnostics {
        for (key, _) in self.table.iter().filter(|(k, _)| !self.asked.contains(&k.get_ref().as_ref())) {
            let name = key.get_ref();
            let help = match nearest(name, self.asked.iter().copied()) {
                Some(near) => format!("did you mean '{near}'? Known: {}", self.asked.join(", ")),
                None => format!("known: {}", self.asked.join(", ")),
            };
            let message = format!("has no key '{name}'");
            self.findings.push(self.source.finding(key.span().start, &self.label, message).with_help(help));
        }
        self.findings
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let DeValue::Integer(integer) = value else { return None };
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn whole(value: &DeValue<'_>, least: usize) -> Option<usize> {
    let number = usize::try_from(integer(value)?).ok()?;
    (least..=MAX_COUNT).contains(&number).then_some(number)
}

/// One number or a list of numbers.
fn numbers(value: &DeValue<'_>, least: usize) -> Option<Vec<usize>> {
    match value {
        DeValue::Array(list) => list.iter().map(|v| whole(v.get_ref(), least)).collect(),
        single => whole(single, least).map(|n| vec![n]),
    }
}
