//! Which classes are taken for which.

use espalier_ir::{Diagnostics, Graph};

use crate::loss::{cross_entropy, predicted};
use crate::{Execution, FakeQuant, Samples, logits};

/// Confusion matrix, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// Number of classes.
    pub classes: usize,
    /// `[true class][predicted class]`, row-major.
    pub counts: Vec<u64>,
}

impl Confusion {
    /// Counts samples by their label and the class that was predicted, both below `classes`.
    ///
    /// # Panics
    /// If one is not.
    pub fn new(classes: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut counts = vec![0; classes * classes];
        for (label, predicted) in pairs {
            assert!((predicted as usize) < classes, "class {predicted} of {classes}");
            counts[label as usize * classes + predicted as usize] += 1;
        }
        Confusion { classes, counts }
    }

    /// Share of correct samples, 0..=1; 0 without samples.
    pub fn accuracy(&self) -> f64 {
        let hits: u64 = (0..self.classes).map(|c| self.count(c, c)).sum();
        hits as f64 / self.counts.iter().sum::<u64>().max(1) as f64
    }

    /// Mean over the classes that occur, as label or prediction, of `2 TP / (2 TP + FP + FN)`: unlike
    /// accuracy it does not hide a rare class that is never found.
    pub fn macro_f1(&self) -> f64 {
        let scores: Vec<f64> = (0..self.classes)
            .filter_map(|c| {
                let labelled: u64 = (0..self.classes).map(|p| self.count(c, p)).sum();
                let claimed: u64 = (0..self.classes).map(|t| self.count(t, c)).sum();
                (labelled + claimed > 0).then(|| 2.0 * self.count(c, c) as f64 / (labelled + claimed) as f64)
            })
            .collect();
        scores.iter().sum::<f64>() / scores.len().max(1) as f64
    }

    fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }
}

/// Confusion matrix over all samples.
///
/// # Errors
/// As [`evaluate`](crate::evaluate).
pub fn confusion(
    graph: &Graph,
    samples: &Samples<'_>,
    quantization: Option<&FakeQuant>,
    execution: Execution,
) -> Result<Confusion, Diagnostics> {
    judge(graph, samples, quantization, execution).map(|(_, confusion)| confusion)
}

/// Cross-entropy of each sample in nats, and confusion matrix over all, in one pass.
///
/// # Errors
/// As [`evaluate`](crate::evaluate).
pub fn judge(
    graph: &Graph,
    samples: &Samples<'_>,
    quantization: Option<&FakeQuant>,
    execution: Execution,
) -> Result<(Vec<f64>, Confusion), Diagnostics> {
    let plan = crate::plan::Plan::new(graph)?;
    let mut findings = Diagnostics::new();
    samples.check("samples", &plan, &mut findings);
    findings.into_result(())?;
    let logits = logits(graph, samples.inputs, quantization, execution)?;
    let classes = plan.classes;
    let rows = || logits.chunks(classes).zip(samples.labels.iter().copied());
    let confusion = Confusion::new(classes, rows().map(|(row, label)| (label, predicted(row) as u32)));
    Ok((rows().map(|(row, label)| cross_entropy(row, label)).collect(), confusion))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macro_f1_weighs_classes_alike() {
        // Class 0: 90 of 90 and 10 false claims; class 1: 0 of 10; class 2 does not occur.
        let table = Confusion { classes: 3, counts: vec![90, 0, 0, 10, 0, 0, 0, 0, 0] };
        assert_eq!(table.accuracy(), 0.9);
        assert!((table.macro_f1() - (180.0 / 190.0) / 2.0).abs() < 1e-12);
        assert_eq!(Confusion { classes: 2, counts: vec![0; 4] }.macro_f1(), 0.0);
    }
}
