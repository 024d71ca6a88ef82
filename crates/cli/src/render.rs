//! Readable results on the standard output.

use std::collections::BTreeMap;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// A table with a header row; columns from `first_number` on are aligned to the right, but for those of words.
pub fn table(header: &[&str], first_number: usize, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().copied());
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let is_words = |index: usize| rows.iter().any(|row| row[index].starts_with(char::is_alphabetic));
    let numbers: Vec<usize> = (first_number..header.len()).filter(|index| !is_words(*index)).collect();
    for row in rows {
        table.add_row(row);
    }
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// How far an estimate may be off, relative to what it estimates.
pub fn within(error: f64) -> String {
    if error == 0.0 { "exact".to_owned() } else { format!("within {:.0} %", (100.0 * error).ceil()) }
}

/// Pairs of a name and a value, one a line, values aligned.
pub fn pairs(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// A count with thin groups of three digits: 61706 as `61 706`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share as a percentage with two decimals.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A shape as `1 x 28 x 28`.
pub fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// Positions of items that are shown in one row: each by itself, but for time steps, which follow the first one.
pub fn by_step<T>(items: &[T], peer: impl Fn(&T) -> Option<usize>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut steps = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let group = *steps.entry(peer(item).unwrap_or(index)).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    groups
}

/// What is said of a row that stands for so many.
pub fn more_like_it(rows: usize) -> String {
    if rows > 1 { format!(" and {} more like it", rows - 1) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 61_706, 1_234_567].map(count), ["0", "999", "1 000", "61 706", "1 234 567"]);
    }

    #[test]
    fn numbers_stand_at_the_right_and_words_at_the_left() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text =
            table(&["name", "count", "because"], 1, [row(["a", "1", "short"]), row(["b", "100", "a longer one"])]);
        let line = text.lines().find(|l| l.contains("short")).unwrap();
        assert!(line.contains("│ a    ┆     1 ┆ short        │"), "{text}");
    }

    #[test]
    fn pairs_line_up() {
        assert_eq!(pairs(&[("a", "1".into()), ("long", "2".into())]), "a     1\nlong  2");
    }
}
