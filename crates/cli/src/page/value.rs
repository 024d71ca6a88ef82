//! Figures of a report with the place that they come from.

use askama::Template;
use serde_json::Value;

use crate::render;

/// A report, from which figures are read by JSON pointer.
pub struct Source(pub Value);

/// One figure: its text for people, its value and its pointer for programs.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"{% if path.is_empty() %}{{ text }}{% else %}<data value="{{ value }}" data-path="{{ path }}">{{ text }}</data>{% endif %}"#,
    ext = "html"
)]
pub struct Figure {
    path: String,
    value: String,
    text: String,
}

impl Figure {
    /// A text that is no figure of the report.
    pub fn text(text: impl Into<String>) -> Figure {
        Figure { path: String::new(), value: String::new(), text: text.into() }
    }
}

impl Source {
    fn figure(&self, path: &str, show: impl Fn(f64) -> String) -> Figure {
        let value = self.0.pointer(path).filter(|v| v.is_number());
        let text = value.and_then(Value::as_f64).map_or_else(|| "–".to_owned(), show);
        Figure { path: path.to_owned(), value: value.map(Value::to_string).unwrap_or_default(), text }
    }

    /// How far an estimate may be off.
    pub fn within(&self, path: &str) -> Figure {
        self.figure(path, render::within)
    }

    /// A whole number in groups of three digits.
    pub fn count(&self, path: &str) -> Figure {
        self.figure(path, |v| count(v as u64))
    }

    /// A share of 1 in per cent with so many decimals.
    pub fn percent(&self, path: &str, decimals: usize) -> Figure {
        self.figure(path, |v| percent(v, decimals))
    }

    /// A number with four significant digits.
    pub fn number(&self, path: &str) -> Figure {
        self.figure(path, number)
    }

    /// Whether there is a number.
    pub fn has(&self, path: &str) -> bool {
        self.0.pointer(path).is_some_and(Value::is_number)
    }
}

/// A count whose groups do not break apart.
pub fn count(value: u64) -> String {
    render::count(value).replace(' ', "\u{202f}")
}

/// A share of 1 in per cent.
pub fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$}\u{202f}%", 100.0 * share)
}

/// Four significant digits, or all of a large number.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if magnitude >= 3 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(value.abs().round() as u64));
    }
    let decimals = (3 - magnitude).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits() {
        let shown = [0.0, 0.012345, 1.5, 99.999, 12_345.6, -1234.0].map(number);
        assert_eq!(shown, ["0", "0.01235", "1.5", "100", "12\u{202f}346", "-1\u{202f}234"]);
    }

    #[test]
    fn figures_are_escaped_and_absent_ones_are_dashes() {
        let source = Source(serde_json::json!({ "a<b": 7, "s": "text" }));
        let figure = source.count("/a<b").render().unwrap();
        assert_eq!(figure, r#"<data value="7" data-path="/a&#60;b">7</data>"#);
        assert_eq!(source.count("/s").render().unwrap(), r#"<data value="" data-path="/s">–</data>"#);
    }
}
