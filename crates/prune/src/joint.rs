//! Channels and vectors together under several budgets.

use espalier_ir::{Diagnostic, Diagnostics, Graph, array_layers, unrolled};
use espalier_target::{AcceleratorConfig, Figures, Target};
use serde::{Deserialize, Serialize};

use crate::channels::{keep_order, minimum_count};
use crate::curves::Curves;
use crate::joint_search::{JointSearch, losses};
use crate::masks::Choice;
use crate::network_cost::NetworkCost;
use crate::solver::SolverOptions;
use crate::tables::{Terms, VectorLoss};
use crate::{Budgets, DependencyGroups, ImportanceScores, PruningPlan, VectorPlan, VectorScores};

/// Limits of the joint choice.
#[derive(Debug, Clone, PartialEq)]
pub struct JointOptions {
    /// What must not be exceeded.
    pub budgets: Budgets,
    /// Fraction of its channels that every group, and of its tiles that every layer keeps at least, 0 to 1.
    pub min_keep: f64,
    /// How thoroughly to search.
    pub solver: SolverOptions,
}

impl JointOptions {
    /// Some budgets, everything else free.
    pub fn new(budgets: Budgets) -> Self {
        JointOptions { budgets, min_keep: 0.0, solver: SolverOptions::default() }
    }
}

/// One decision, for the log: what went and what the network took then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointDecision {
    /// The group whose channels, or the layer whose tiles are meant.
    pub name: String,
    /// Whether tiles are counted, else channels.
    pub tiles: bool,
    /// Channels or tiles before.
    pub from: usize,
    /// Channels or tiles after.
    pub to: usize,
    /// What the objective loses by it.
    pub loss: f64,
    /// The whole network after it.
    pub figures: Figures,
}

/// Which channels stay and how many weight tiles each block keeps, under several budgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointPlan {
    /// The channels. Its cycles are those with all vectors of the channels that stay; the log is in `decisions` below.
    pub channels: PruningPlan,
    /// `tiles[layer][block]`: weight tiles of the network with the channels that stay.
    pub tiles: Vec<Vec<u32>>,
    /// The budgets, all of which hold.
    pub budgets: Budgets,
    /// Figures of the whole network with all vectors.
    pub before: Figures,
    /// Figures with the channels and tiles that stay.
    pub after: Figures,
    /// What the objective loses: importance of channels and vectors, as the normalization of the scores counts it.
    pub loss: f64,
    /// No choice of channels within the budgets loses less (with vectors: no choice of the channel counts and tile
    /// levels that were considered); absent if there is no proof.
    pub bound: Option<f64>,
    /// What was decided, in the order of loss per saving.
    pub decisions: Vec<JointDecision>,
}

impl JointPlan {
    /// `(loss - bound) / loss`: how much less might be lost at most; 0 = proven optimal.
    pub fn gap(&self) -> Option<f64> {
        self.bound.map(|bound| if self.loss <= bound { 0.0 } else { (self.loss - bound) / self.loss })
    }

    /// A few lines for the log: every limited resource before and after, loss and certified gap.
    pub fn summary(&self) -> String {
        let mut lines = Vec::new();
        for (resource, limit) in &self.budgets.limits {
            let (before, after) = (resource.of(&self.before), resource.of(&self.after));
            let percent = if before > 0.0 { 100.0 * after / before } else { 100.0 };
            lines.push(format!("{}: {before:.0} -> {after:.0} of {limit:.0} ({percent:.1} %)", resource.name()));
        }
        let removed = self.channels.removed();
        let kept: u64 = self.tiles.iter().flatten().map(|t| u64::from(*t)).sum();
        lines.push(format!("{removed} channels removed, {kept} weight tiles kept, loss {:.4}", self.loss));
        lines.push(match self.gap() {
            Some(gap) if gap < 1e-6 => "proven: no choice within the budgets loses less".to_owned(),
            Some(gap) => format!("certified: no choice within the budgets loses more than {:.2} % less", 100.0 * gap),
            None => "no certificate: groups too wide or layers that read too many groups".to_owned(),
        });
        lines.join("\n")
    }
}

/// Chooses channels, and with `vectors` also tiles, so that all budgets hold and the loss is small.
///
/// With vectors, both compete at the same prices: a layer keeps the share of its tiles that is worth
/// its cost at the channel counts in question, so no share between the two is given from outside. The
/// two scores must be comparable: use the same criterion and normalization for both. Taylor scores of
/// both are squared changes of one loss; with shares, each group and each layer contributes the
/// logarithm of what it keeps. Vector scores are those of the whole `graph`.
///
/// # Errors
/// `budget-not-met` with the resource, the nearest feasible figure and a way out; `invalid-budget`;
/// `scores-mismatch`; whatever the target refuses about the network.
pub fn joint_plan(
    graph: &Graph,
    groups: &DependencyGroups,
    scores: &ImportanceScores,
    vectors: Option<&VectorScores>,
    target: &Target,
    config: &AcceleratorConfig,
    options: &JointOptions,
) -> Result<JointPlan, Diagnostics> {
    crate::importance::check_scores(groups, scores)?;
    let each = || groups.groups.iter().zip(&scores.scores);
    let orders: Vec<Vec<usize>> = each().map(|(g, s)| keep_order(g, s)).collect();
    let minimum: Vec<usize> = each().map(|(g, s)| minimum_count(g, s, options.min_keep)).collect();
    let cost = NetworkCost::new(graph, groups, &orders, target, config)?;
    let unrolled = unrolled(graph)?;
    let layers = array_layers(&unrolled)?;
    let network = cost.network.clone();
    if let Some(vectors) = vectors {
        crate::masks::check_scores(&network, &crate::vectors::prunable_weights(&unrolled, &layers), vectors)?;
    }
    let curves = vectors.map(|v| Curves::new(&network, config, &layers, groups, &orders, v, options.min_keep));
    let losses = losses(groups, scores, &orders);
    let terms = Terms {
        budgets: &options.budgets,
        minimum: &minimum,
        loss: &losses,
        vectors: curves.as_ref().map(|c| c as &dyn VectorLoss),
    };
    let mut search = JointSearch { graph, groups, scores, orders: &orders, terms, options, cost };
    search.plan()
}

/// The masks that leave each block at most the tiles of a joint plan: in every lane its best vectors.
///
/// `graph` is the network with the channels that the plan keeps, `scores` those of its vectors. Blocks of layers
/// without scores keep their tiles. If cycles are all that is limited, [`crate::vector_masks`] with the cycles of
/// the plan divides the tiles among the blocks anew, by the scores after the removal.
///
/// # Errors
/// `foreign-tiles` if the tiles are not of this graph; as [`crate::vector_masks`].
pub fn tile_masks(
    graph: &Graph,
    config: &AcceleratorConfig,
    scores: &VectorScores,
    tiles: &[Vec<u32>],
) -> Result<VectorPlan, Diagnostics> {
    let choice = Choice::new(graph, config, scores, 0.0)?;
    let present = &choice.present;
    if tiles.len() != present.len() || tiles.iter().zip(present).any(|(t, p)| t.len() != p.len()) {
        let message = "the tile counts are not of this graph and configuration";
        let help = "apply the channels of the plan before its tiles";
        return Err(Diagnostic::error("foreign-tiles", "tiles of the joint plan", message).with_help(help).into());
    }
    let limit = |(tiles, present): (&Vec<u32>, &Vec<u32>)| tiles.iter().zip(present).map(|(t, p)| *t.min(p)).collect();
    let limited: Vec<Vec<u32>> = tiles.iter().zip(present).map(limit).collect();
    let cycles = choice.cycles(&limited);
    Ok(choice.plan(graph, &limited, cycles))
}
