//! A training that can be put aside: everything the next epoch depends on, as bytes.
//!
//! Format: the magic bytes, 64-bit words and vectors of 32-bit floats, all little-endian, and the
//! FNV-1a hash of everything before as the last word.

use std::collections::BTreeMap;

use espalier_ir::Diagnostic;

use crate::{Accuracy, EpochLog};

const MAGIC: &[u8; 8] = b"ESPTRN01";

/// Values by position of their parameter in the model.
pub(crate) type Section = BTreeMap<u64, Vec<f32>>;

/// State of a training after a whole epoch. Bytes in, bytes out; who stores them is the caller's affair.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainState {
    /// Hash of what must not change between the runs.
    pub(crate) fingerprint: u64,
    pub(crate) epoch: usize,
    pub(crate) step: usize,
    pub(crate) params: Section,
    /// Values under the masks, while those still change.
    pub(crate) dense: Option<Section>,
    pub(crate) masks: Section,
    pub(crate) average: Option<Section>,
    pub(crate) first_moments: Section,
    pub(crate) second_moments: Section,
    pub(crate) moment_steps: BTreeMap<u64, u64>,
    pub(crate) best_epoch: usize,
    pub(crate) best: Option<Section>,
    pub(crate) best_accuracy: Option<Accuracy>,
    pub(crate) before: Option<Accuracy>,
    pub(crate) epochs: Vec<EpochLog>,
}

impl TrainState {
    /// Epochs done.
    pub fn epoch(&self) -> usize {
        self.epoch
    }

    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        for word in [self.fingerprint, self.epoch as u64, self.step as u64, self.best_epoch as u64] {
            out.word(word);
        }
        for section in [&self.params, &self.masks, &self.first_moments, &self.second_moments] {
            out.section(section);
        }
        for section in [&self.dense, &self.average, &self.best] {
            out.option(section.as_ref(), Writer::section);
        }
        out.word(self.moment_steps.len() as u64);
        for (position, steps) in &self.moment_steps {
            out.word(*position);
            out.word(*steps);
        }
        for accuracy in [&self.best_accuracy, &self.before] {
            out.option(accuracy.as_ref(), Writer::accuracy);
        }
        out.word(self.epochs.len() as u64);
        for log in &self.epochs {
            out.word(log.epoch as u64);
            out.accuracy(&log.train);
            out.option(log.validation.as_ref(), Writer::accuracy);
            out.word(log.learning_rate.to_bits());
        }
        let hash = fnv(&out.0);
        out.word(hash);
        out.0
    }

    /// The state that [`TrainState::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are anything else: `bad-checkpoint`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Diagnostic> {
        Self::read(bytes).ok_or_else(|| {
            Diagnostic::error("bad-checkpoint", "checkpoint", "is damaged, cut off or not a checkpoint of a training")
                .with_help("delete it and start the training anew")
        })
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<8>()?;
        if fnv(body) != u64::from_le_bytes(*hash) {
            return None;
        }
        let mut input = Reader(body.strip_prefix(MAGIC)?);
        let (fingerprint, epoch, step, best_epoch) = (input.word()?, input.size()?, input.size()?, input.size()?);
        let [params, masks] = [input.section()?, input.section()?];
        let [first_moments, second_moments] = [input.section()?, input.section()?];
        let [dense, average, best] =
            [input.option(Reader::section)?, input.option(Reader::section)?, input.option(Reader::section)?];
        let mut moment_steps = BTreeMap::new();
        for _ in 0..input.word()? {
            moment_steps.insert(input.word()?, input.word()?);
        }
        let [best_accuracy, before] = [input.option(Reader::accuracy)?, input.option(Reader::accuracy)?];
        let mut epochs = Vec::new();
        for _ in 0..input.word()? {
            let (epoch, train) = (input.size()?, input.accuracy()?);
            let (validation, rate) = (input.option(Reader::accuracy)?, f64::from_bits(input.word()?));
            epochs.push(EpochLog { epoch, train, validation, learning_rate: rate });
        }
        input.0.is_empty().then_some(TrainState {
            fingerprint,
            epoch,
            step,
            params,
            dense,
            masks,
            average,
            first_moments,
            second_moments,
            moment_steps,
            best_epoch,
            best,
            best_accuracy,
            before,
            epochs,
        })
    }
}

/// FNV-1a.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, word: u64) {
        self.0.extend(word.to_le_bytes());
    }

    fn section(&mut self, section: &Section) {
        self.word(section.len() as u64);
        for (position, values) in section {
            self.word(*position);
            self.word(values.len() as u64);
            self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        }
    }

    fn accuracy(&mut self, accuracy: &Accuracy) {
        self.word(accuracy.correct as u64);
        self.word(accuracy.samples as u64);
        self.word(accuracy.loss.to_bits());
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl Fn(&mut Self, &T)) {
        self.word(u64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads what is left; `None` if it does not hold what is asked for.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn size(&mut self) -> Option<usize> {
        self.word()?.try_into().ok()
    }

    fn section(&mut self) -> Option<Section> {
        let mut section = Section::new();
        for _ in 0..self.word()? {
            let position = self.word()?;
            let bytes = self.size()?.checked_mul(4)?;
            let (values, rest) = self.0.split_at_checked(bytes)?;
            let (values, _) = values.as_chunks::<4>();
            section.insert(position, values.iter().map(|v| f32::from_le_bytes(*v)).collect());
            self.0 = rest;
        }
        Some(section)
    }

    fn accuracy(&mut self) -> Option<Accuracy> {
        Some(Accuracy { correct: self.size()?, samples: self.size()?, loss: f64::from_bits(self.word()?) })
    }

    fn option<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.word()? {
            0 => Some(None),
            1 => Some(Some(read(self)?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_back_and_every_damage_is_noticed() {
        let accuracy = Accuracy { correct: 3, samples: 4, loss: 0.5 };
        let log = EpochLog { epoch: 1, train: accuracy, validation: Some(accuracy), learning_rate: 0.1 };
        let section = Section::from([(0, vec![1.0, -0.0]), (7, vec![])]);
        let state = TrainState {
            fingerprint: 9,
            epoch: 1,
            step: 20,
            params: section.clone(),
            dense: Some(section.clone()),
            masks: Section::new(),
            average: None,
            first_moments: section.clone(),
            second_moments: Section::new(),
            moment_steps: BTreeMap::from([(0, 20)]),
            best_epoch: 1,
            best: Some(section),
            best_accuracy: Some(accuracy),
            before: None,
            epochs: vec![log, log],
        };
        let bytes = state.to_bytes();
        assert_eq!(TrainState::from_bytes(&bytes).unwrap(), state);
        for cut in 0..bytes.len() {
            assert!(TrainState::from_bytes(&bytes[..cut]).is_err());
        }
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            assert_eq!(TrainState::from_bytes(&damaged).unwrap_err().code, "bad-checkpoint");
            // Even with a hash that fits there is no panic and no endless loop.
            let end = damaged.len() - 8;
            let hash = fnv(&damaged[..end]).to_le_bytes();
            damaged[end..].copy_from_slice(&hash);
            let _ = TrainState::from_bytes(&damaged);
        }
    }
}
