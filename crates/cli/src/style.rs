//! Colours on the standard error, where a person reads it.

use std::io::IsTerminal;

/// Findings with coloured severities if the standard error is a terminal and nothing forbids colours (`NO_COLOR`, see
/// no-color.org, or a terminal without them).
pub fn findings(text: &str) -> String {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    if std::io::stderr().is_terminal() && !set("NO_COLOR") && !dumb { coloured(text) } else { text.to_owned() }
}

fn coloured(text: &str) -> String {
    let line = |line: &str| {
        let head = |colour: &str, (code, message): (&str, &str)| format!("\x1b[1;{colour}m{code}:\x1b[0m{message}");
        match line {
            l if l.starts_with("error[") => l.split_once(':').map(|parts| head("31", parts)),
            l if l.starts_with("warning[") => l.split_once(':').map(|parts| head("33", parts)),
            l if l.starts_with("  help:") => l.split_once(':').map(|parts| head("36", parts)),
            _ => None,
        }
        .unwrap_or_else(|| line.to_owned())
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_severities_are_coloured() {
        let text = "error[a-b]: what: it is\n  --> place\n  help: do this";
        let expected = "\x1b[1;31merror[a-b]:\x1b[0m what: it is\n  --> place\n\x1b[1;36m  help:\x1b[0m do this";
        assert_eq!(coloured(text), expected);
        // The standard error of tests is no terminal.
        assert_eq!(findings(text), text);
    }
}
