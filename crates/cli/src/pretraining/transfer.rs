//! `[train.transfer]`: which parts of a given model stay as they are.

use std::collections::BTreeSet;

use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, ParamId, nearest};
use schemars::JsonSchema;
use serde::Deserialize;

/// `[train.transfer]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransferSection {
    /// Classes of the new head; absent: as many as the labels need.
    pub classes: Option<usize>,
    /// What does not learn.
    pub freeze: Freeze,
    /// Epochs after which everything learns; absent: never.
    pub unfreeze_after: Option<usize>,
    /// Learning rate from then on; absent: a tenth of the rate before.
    pub unfreeze_learning_rate: Option<f64>,
}

/// Parameters that do not learn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "Patterns")]
pub enum Freeze {
    /// All but those of the new head.
    #[default]
    AllButTheHead,
    /// Those of layers with these names; a star at the end stands for any rest. The head learns in any case.
    Layers(Vec<String>),
}

const ALL: &str = "all but the head";

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected \"all but the head\" or a list of layers such as [\"conv*\", \"dense_1\"]")]
enum Patterns {
    Word(String),
    List(Vec<String>),
}

impl TryFrom<Patterns> for Freeze {
    type Error = String;

    fn try_from(patterns: Patterns) -> Result<Self, String> {
        match patterns {
            Patterns::Word(word) if word == ALL => Ok(Freeze::AllButTheHead),
            Patterns::Word(word) => Err(format!("'{word}' is neither \"{ALL}\" nor a list of layers")),
            Patterns::List(list) => Ok(Freeze::Layers(list)),
        }
    }
}

/// Parameters of `graph` that `freeze` names, without those of the head.
///
/// # Errors
/// `bad-freeze`: every pattern that names no layer with parameters.
pub(super) fn frozen(graph: &Graph, head: NodeId, freeze: &Freeze) -> Result<BTreeSet<ParamId>, Diagnostics> {
    let everything = [String::from("*")];
    let patterns = match freeze {
        Freeze::AllButTheHead => &everything[..],
        Freeze::Layers(patterns) => patterns,
    };
    let layers: Vec<(String, Vec<ParamId>)> = graph
        .nodes()
        .into_iter()
        .map(|n| (graph.node(n).name.clone(), graph.node(n).op.params()))
        .filter(|(_, params)| !params.is_empty())
        .collect();
    let mut findings = Diagnostics::new();
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let fits = |name: &str| pattern.strip_suffix('*').map_or(name == pattern, |prefix| name.starts_with(prefix));
        let named: Vec<&ParamId> = layers.iter().filter(|(name, _)| fits(name)).flat_map(|(_, p)| p).collect();
        if named.is_empty() {
            let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
            let near = nearest(pattern.trim_end_matches('*'), names.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("did you mean '{near}'? "));
            let help = format!("{near}Layers with parameters: {}", names.join(", "));
            let message = format!("'{pattern}' names no layer with parameters");
            findings.push(Diagnostic::error("bad-freeze", "train.transfer.freeze", message).with_help(help));
        }
        found.extend(named);
    }
    for param in graph.node(head).op.params() {
        found.remove(&param);
    }
    findings.into_result(found)
}

#[cfg(test)]
mod tests {
    use espalier_architecture::read;

    use super::*;

    #[test]
    fn patterns_name_layers_and_never_the_head() {
        let text = "input.shape = [4]\nlayers = [\n{ op = \"dense\", features = 3, name = \"body_1\" },\n\
                    { op = \"relu\", name = \"body_2\" },\n{ op = \"dense\", features = 2, name = \"head\" },\n]";
        let graph = read(text, "t", 1).unwrap().graph;
        let head = graph.outputs()[0];
        let layers = |list: &[&str]| Freeze::Layers(list.iter().map(ToString::to_string).collect());
        let names = |freeze: &Freeze| -> Vec<String> {
            let frozen = frozen(&graph, head, freeze).unwrap();
            frozen.iter().map(|p| graph.param_name(*p).to_owned()).collect()
        };
        let body = ["body_1.weight", "body_1.bias"];
        assert_eq!(names(&Freeze::AllButTheHead), body);
        assert_eq!(names(&layers(&["body*"])), body);
        assert_eq!(names(&layers(&["*"])), body);
        assert_eq!(names(&layers(&["head"])), [""; 0]);
        assert_eq!(names(&layers(&[])), [""; 0]);
        let text = frozen(&graph, head, &layers(&["bodi_1", "body_2", "body_1"])).unwrap_err().to_string();
        assert_eq!(text.matches("bad-freeze").count(), 2, "{text}");
        assert!(text.contains("did you mean 'body_1'?") && text.contains("'body_2' names no layer"), "{text}");
    }
}
