//! What a project begins with.

use std::collections::{BTreeMap, BTreeSet};

use espalier_architecture::{Architecture, read};
use espalier_ir::{Diagnostic, Diagnostics, Graph, NodeId, ParamId};
use espalier_train::with_new_head;

use super::transfer::frozen;
use crate::failure::Outcome;
use crate::files::{import_model, read_bounded};
use crate::pipeline::Data;
use crate::project::Project;

/// Larger models do not fit any target by orders of magnitude.
const MAX_MODEL_BYTES: u64 = 1 << 30;
/// An architecture file is text of a few kilobytes.
const MAX_ARCHITECTURE_BYTES: u64 = 1 << 20;

/// The network that a project names, and what is still to be done with it.
pub struct Origin {
    /// The network: as given, or with initial weights. Before transfer it has its old head.
    pub graph: Graph,
    /// Content of its file.
    pub(super) bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Given,
    /// Dropout by Gemm.
    Untrained(BTreeMap<NodeId, f32>),
    /// With so many classes, or those of the data.
    Transfer(Option<usize>),
}

/// A network ready to be trained.
pub(super) struct TrainingStart {
    pub(super) graph: Graph,
    pub(super) dropout: BTreeMap<NodeId, f32>,
    pub(super) phases: Vec<Phase>,
}

/// Epochs with the same parameters frozen.
pub(super) struct Phase {
    pub(super) epochs: usize,
    pub(super) learning_rate: f64,
    pub(super) frozen: BTreeSet<ParamId>,
}

impl Origin {
    /// Reads the model or architecture file of a project.
    ///
    /// # Errors
    /// If the file cannot be read or is not what it should be.
    pub fn load(project: &Project) -> Result<Origin, Diagnostics> {
        if let Some(path) = &project.model.architecture {
            let bytes = read_bounded(path, MAX_ARCHITECTURE_BYTES)?;
            let at = path.display().to_string();
            let text =
                str::from_utf8(&bytes).map_err(|_| Diagnostic::error("bad-architecture", at.clone(), "is not text"))?;
            let Architecture { graph, dropout } = read(text, &at, project.seed)?;
            return Ok(Origin { graph, bytes, kind: Kind::Untrained(dropout) });
        }
        let path = project.model.path.as_ref().expect("checked: a project has one of both");
        let bytes = read_bounded(path, MAX_MODEL_BYTES)?;
        let graph = import_model(&bytes, path)?;
        let kind = project.train.transfer.as_ref().map_or(Kind::Given, |t| Kind::Transfer(t.classes));
        Ok(Origin { graph, bytes, kind })
    }

    /// True if the project has to train the network before anything else can be done with it.
    pub fn needs_training(&self) -> bool {
        !matches!(self.kind, Kind::Given)
    }

    /// Number of classes that labels must keep within; 0 if labels decide.
    pub fn classes(&self, outputs: usize) -> usize {
        match self.kind {
            Kind::Transfer(classes) => classes.unwrap_or(0),
            _ => outputs,
        }
    }

    /// All that the network and its training depend on, for comparison with another.
    pub fn identity(&self) -> Vec<u8> {
        [self.kind().as_bytes(), &self.bytes].concat()
    }

    pub(super) fn kind(&self) -> String {
        format!("{:?}", self.kind)
    }

    /// The network that a training starts from, and its phases.
    ///
    /// # Errors
    /// `no-classifier-head` for a model without one, `bad-freeze` for patterns that name no layer with parameters.
    pub(super) fn start(&self, project: &Project, data: &Data) -> Outcome<TrainingStart> {
        let section = &project.train;
        let phase = |epochs, learning_rate, frozen| Phase { epochs, learning_rate, frozen };
        let all = |graph: Graph, dropout| TrainingStart {
            graph,
            dropout,
            phases: vec![phase(section.epochs, section.learning_rate, BTreeSet::new())],
        };
        let classes = match &self.kind {
            Kind::Given => return Ok(all(self.graph.clone(), BTreeMap::new())),
            Kind::Untrained(dropout) => return Ok(all(self.graph.clone(), dropout.clone())),
            Kind::Transfer(classes) => classes.unwrap_or_else(|| data.classes()),
        };
        let transfer = section.transfer.clone().unwrap_or_default();
        let new = with_new_head(&self.graph, classes, project.seed)?;
        let frozen = frozen(&new.graph, new.head, &transfer.freeze)?;
        let before = transfer.unfreeze_after.unwrap_or(section.epochs);
        let mut phases = vec![phase(before, section.learning_rate, frozen)];
        if before < section.epochs {
            let rate = transfer.unfreeze_learning_rate.unwrap_or(section.learning_rate / 10.0);
            phases.push(phase(section.epochs - before, rate, BTreeSet::new()));
        }
        Ok(TrainingStart { graph: new.graph, dropout: BTreeMap::new(), phases })
    }
}
