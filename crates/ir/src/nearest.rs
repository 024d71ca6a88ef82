//! What a user may have meant by a name that does not exist.

/// The name among `known` that is nearest to `name`, if one is near: at most a third of its letters differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.to_lowercase().chars().take(64).collect();
    let distances = known.into_iter().map(|k| (edits(&name, k), k));
    distances.filter(|(distance, k)| *distance <= k.len().div_ceil(3)).min().map(|(_, k)| k)
}

/// Least number of inserted, deleted and replaced characters between two words (Levenshtein 1966).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
