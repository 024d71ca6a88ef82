//! `espalier prune`: what the pruner can do.

use espalier_prune::{Criterion, Unit};
use serde::Serialize;

use crate::args::PruneArgs;
use crate::commands::Answer;
use crate::failure::Outcome;
use crate::render::table;

/// One criterion, as listed.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    description: &'static str,
    /// What it reads to rate channels.
    needs: String,
    applies_to: Vec<Unit>,
    /// What it reads to rate vectors, if it can.
    needs_for_vectors: Option<String>,
    citation: &'static str,
}

/// Lists the importance criteria.
///
/// # Errors
/// None so far.
pub fn prune(args: &PruneArgs) -> Outcome<Answer> {
    debug_assert!(args.list_criteria, "the only thing to ask for is required");
    let listed: Vec<Listed> = Criterion::ALL.into_iter().map(listed).collect();
    let rows = listed.iter().map(|c| {
        let needs = match &c.needs_for_vectors {
            Some(vectors) if *vectors != c.needs => format!("{} (vectors: {vectors})", c.needs),
            _ => c.needs.clone(),
        };
        let units = if c.applies_to.len() == 2 { "channels, vectors" } else { "channels" };
        vec![c.name.into(), c.description.into(), needs, units.into(), c.citation.into()]
    });
    let text = table(&["criterion", "measures", "needs", "applies to", "source"], usize::MAX, rows);
    Ok(Answer::new(&listed, text))
}

fn listed(criterion: Criterion) -> Listed {
    let needs = |unit| criterion.needs(unit).map(|n| n.to_string());
    Listed {
        name: criterion.name(),
        description: criterion.description(),
        needs: needs(Unit::Channel).unwrap_or_default(),
        applies_to: [Unit::Channel, Unit::Vector].into_iter().filter(|u| criterion.needs(*u).is_some()).collect(),
        needs_for_vectors: needs(Unit::Vector),
        citation: criterion.citation(),
    }
}
