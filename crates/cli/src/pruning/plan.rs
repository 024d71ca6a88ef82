//! `plan.json`: what each accepted round removed from the given network, enough to do it again.

use std::collections::BTreeMap;
use std::path::Path;

use espalier_ir::{Diagnostic, Diagnostics, Graph, Tensor, TensorMap};
use espalier_prune::{Budgets, Criterion, DependencyGroups, PruningPlan};
use espalier_target::Figures;
use serde::{Deserialize, Serialize};

use crate::files::read_bounded;

/// A bit a weight and round, as text.
const MAX_PLAN_BYTES: u64 = 1 << 28;

/// What an accepted round removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRound {
    /// From 1; rounds that were undone are missing.
    pub round: usize,
    /// Name of the criterion.
    pub criterion: String,
    /// What had to hold after the round.
    pub budgets: Budgets,
    /// Whether it was the one after which the network was trained for `final_epochs`.
    pub last: bool,
    /// Indices of the channels that stay, by group, where some went. They count the channels before this round.
    pub kept_channels: BTreeMap<String, Vec<usize>>,
    /// Weight vectors that are pruned after the round.
    pub vectors_pruned: usize,
    /// Weights that are zero after the round, by parameter: one bit a weight in row-major order, eight a byte, lowest
    /// first, as hexadecimal digits; 1 = kept.
    pub masks: BTreeMap<String, String>,
    /// Figures after the round.
    pub figures: Figures,
}

/// `plan.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Accepted rounds in order.
    pub rounds: Vec<PlanRound>,
}

impl PlanFile {
    /// The file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data serializes") + "\n"
    }

    /// Reads a plan of an earlier run.
    ///
    /// # Errors
    /// `bad-plan` if it is not one, or has no round.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let bytes = read_bounded(path, MAX_PLAN_BYTES)?;
        let refuse = |message: String| {
            Diagnostic::error("bad-plan", path.display().to_string(), message)
                .with_help("give the plan.json that `espalier run` wrote into its output folder")
        };
        let plan: PlanFile = serde_json::from_slice(&bytes).map_err(|e| refuse(format!("is not a plan: {e}")))?;
        if plan.rounds.is_empty() {
            return Err(refuse("has no round".to_owned()).into());
        }
        Ok(plan)
    }
}

impl PlanRound {
    /// The criterion.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn criterion(&self) -> Result<Criterion, Diagnostic> {
        Criterion::from_name(&self.criterion)
    }

    /// The channels that stay, for the network that the round meets.
    ///
    /// # Errors
    /// `plan-mismatch` for every group that is not of this network.
    pub fn channels(&self, groups: &DependencyGroups, cycles: u64) -> Result<PruningPlan, Diagnostics> {
        let mut plan = PruningPlan::keep_all(groups, cycles);
        let mut findings = Diagnostics::new();
        for (name, kept) in &self.kept_channels {
            match plan.groups.iter_mut().find(|g| g.name == *name) {
                Some(group) => group.kept.clone_from(kept),
                None => findings.push(self.mismatch(name, "the network has no such group".to_owned())),
            }
        }
        findings.into_result(())?;
        plan.check(groups)?;
        Ok(plan)
    }

    /// The masks, for the network without the channels of the round.
    ///
    /// # Errors
    /// `plan-mismatch` for every parameter that the network lacks or that has another size.
    pub fn tensors(&self, graph: &Graph) -> Result<TensorMap, Diagnostics> {
        let ids: BTreeMap<&str, _> = graph.params().map(|(id, name, tensor)| (name, (id, tensor.shape()))).collect();
        let mut findings = Diagnostics::new();
        let mut masks = TensorMap::new();
        for (name, digits) in &self.masks {
            let Some((id, shape)) = ids.get(name.as_str()) else {
                findings.push(self.mismatch(name, "the network has no such parameter".to_owned()));
                continue;
            };
            match unpack(digits, shape.iter().product()) {
                Some(mask) => {
                    masks.insert(*id, Tensor::f32(shape.to_vec(), mask));
                }
                None => {
                    findings.push(self.mismatch(name, format!("the mask does not have one bit for each of {shape:?}")))
                }
            }
        }
        findings.into_result(masks)
    }

    fn mismatch(&self, name: &str, message: String) -> Diagnostic {
        Diagnostic::error("plan-mismatch", format!("round {} of the plan: {name}", self.round), message)
            .with_help("replay a plan with the model and the accelerator that it was made for")
    }
}

/// Masks by the names of their parameters, as bits.
pub fn pack(graph: &Graph, masks: &TensorMap) -> BTreeMap<String, String> {
    let digits = |mask: &Tensor| {
        let byte = |chunk: &[f32]| chunk.iter().rev().fold(0u8, |byte, kept| byte << 1 | u8::from(*kept != 0.0));
        mask.as_f32().chunks(8).map(|chunk| format!("{:02x}", byte(chunk))).collect()
    };
    masks.iter().map(|(id, mask)| (graph.param_name(*id).to_owned(), digits(mask))).collect()
}

/// `elements` values of 0 and 1; none if there are not so many bits, or others than 0 behind them.
fn unpack(digits: &str, elements: usize) -> Option<Vec<f32>> {
    if !digits.bytes().all(|d| d.is_ascii_hexdigit()) || digits.len() != 2 * elements.div_ceil(8) {
        return None;
    }
    let mut bits = Vec::with_capacity(digits.len() * 4);
    for at in (0..digits.len()).step_by(2) {
        let byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        bits.extend((0..8).map(|bit| byte >> bit & 1));
    }
    let rest = bits.split_off(elements);
    rest.iter().all(|b| *b == 0).then(|| bits.into_iter().map(f32::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_survive_packing_and_everything_else_is_refused() {
        for elements in [1, 7, 8, 9, 27] {
            let mut graph = Graph::new("g");
            let values: Vec<f32> = (0..elements).map(|i| f32::from(u8::from(i % 3 != 0))).collect();
            let id = graph.add_param("w", Tensor::f32([elements], values.clone()));
            let masks = TensorMap::from([(id, Tensor::f32([elements], values.clone()))]);
            let digits = &pack(&graph, &masks)["w"];
            assert_eq!(unpack(digits, elements), Some(values));
            assert_eq!(unpack(digits, elements + 8), None);
            assert_eq!(unpack(&digits.replace('0', "g").replace('6', "x"), elements).map(|_| ()), None);
        }
        assert_eq!(unpack("ff", 7), None, "a bit too many");
        assert_eq!(unpack("+f", 8).map(|v| v.len()), None);
        assert_eq!(unpack("é", 8), None);
    }
}
