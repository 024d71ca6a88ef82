//! `espalier explain`: what a code means and what to do. `docs/diagnostics.md` is the one source of the texts.

use espalier_ir::{Diagnostic, nearest};
use serde::Serialize;

use crate::args::ExplainArgs;
use crate::commands::Answer;
use crate::failure::Outcome;

const TEXTS: &str = include_str!("../../../../docs/diagnostics.md");

#[derive(Serialize)]
struct Explanation {
    code: &'static str,
    text: &'static str,
}

/// Code and text of every section.
fn explanations() -> impl Iterator<Item = Explanation> {
    let sections = TEXTS.split("\n## ").skip(1);
    sections.filter_map(|section| section.split_once('\n')).map(|(code, text)| Explanation { code, text: text.trim() })
}

/// Explains a code, or lists all.
///
/// # Errors
/// `unknown-code` with the nearest one.
pub fn explain(args: &ExplainArgs) -> Outcome<Answer> {
    let Some(code) = &args.code else {
        let all: Vec<Explanation> = explanations().collect();
        let text = all.iter().map(|e| e.code).collect::<Vec<_>>().join("\n");
        return Ok(Answer::new(&all, text));
    };
    // As it stands in a message: error[code].
    let code = code.trim_start_matches("error").trim_start_matches("warning").trim_matches(['[', ']', ':']);
    if let Some(found) = explanations().find(|e| e.code == code) {
        let text = format!("{}\n\n{}", found.code, wrapped(found.text, 100));
        return Ok(Answer::new(&found, text));
    }
    let names: Vec<&str> = explanations().map(|e| e.code).collect();
    let help = match nearest(code, names.iter().copied()) {
        Some(name) => format!("did you mean '{name}'?"),
        None => "`espalier explain` lists all codes".to_owned(),
    };
    Err(Diagnostic::error("unknown-code", format!("code '{code}'"), "is not known").with_help(help).into())
}

/// Lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            match entry.is_dir() {
                true if !entry.ends_with("tests") => sources(&entry, found),
                false if entry.extension().is_some_and(|e| e == "rs") => found.push(entry),
                _ => {}
            }
        }
    }

    fn kebab(text: &str) -> bool {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !text.starts_with('-')
    }

    /// Every code of a finding in the sources: the literal behind a constructor, or at the head of a pair that chooses one.
    fn codes() -> BTreeSet<String> {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files = Vec::new();
        for entry in fs::read_dir(crates).unwrap().map(|e| e.unwrap().path()) {
            sources(&entry.join("src"), &mut files);
        }
        let mut codes = BTreeSet::new();
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for start in ["Diagnostic::error(", "Diagnostic::warning(", ".error(", "missing("] {
                for rest in text.split(start).skip(1) {
                    if let Some(rest) = rest.trim_start().strip_prefix('"') {
                        codes.insert(rest.split('"').next().unwrap().to_owned());
                    }
                }
            }
            // `("code", format!(` chooses between codes.
            let chooses = text.contains("let (code, ");
            for (before, _) in text.match_indices("\", format!(").filter(|_| chooses) {
                let literal = text[..before].rsplit('"').next().unwrap();
                if text[..before - literal.len()].ends_with("(\"") {
                    codes.insert(literal.to_owned());
                }
            }
        }
        codes.into_iter().filter(|c| kebab(c)).collect()
    }

    #[test]
    fn every_code_is_explained_and_no_other() {
        let codes = codes();
        assert!(codes.len() > 100 && codes.contains("wrong-layout") && codes.contains("batch-axis"), "{codes:?}");
        let explained: BTreeSet<String> = explanations().map(|e| e.code.to_owned()).collect();
        let missing: Vec<&String> = codes.difference(&explained).collect();
        assert!(missing.is_empty(), "docs/diagnostics.md lacks {missing:?}");
        let unused: Vec<&String> = explained.difference(&codes).collect();
        assert!(unused.is_empty(), "no source has {unused:?}");
        assert!(explanations().all(|e| e.text.len() > 30), "every text says something");
        assert!(explained.iter().eq(explanations().map(|e| e.code.to_owned()).collect::<Vec<_>>().iter()), "in order");
    }
}
