//! Samples that fit a model.

use espalier_ir::{Diagnostic, Diagnostics, Random};

use crate::array::checked_len;
use crate::{Array, Layout, Preprocessing};

/// Labels above this are taken for something else than classes.
const MAX_CLASSES: usize = 1 << 16;

/// Preprocessed samples of one shape, with labels if they are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Shape of one sample: that of the model's input.
    pub shape: Vec<usize>,
    /// All samples, one behind the other, row-major.
    pub inputs: Vec<f32>,
    /// One class a sample.
    pub labels: Option<Vec<u32>>,
}

impl Dataset {
    /// Joins inputs and labels, brings samples to the model's input shape and preprocesses them.
    ///
    /// A sample fits if its axes other than 1 equal those of the model, or if one of the two is flat and
    /// both have equally many values. `classes` is the number of outputs of the model; 0 checks nothing.
    ///
    /// # Errors
    /// All that does not fit: image size, channel count, label count, label range, values that are not
    /// numbers, preprocessing numbers.
    pub fn assemble(
        inputs: Array,
        labels: Option<Vec<u32>>,
        model_shape: &[usize],
        classes: usize,
        preprocessing: &Preprocessing,
        at: &str,
    ) -> Result<Dataset, Diagnostics> {
        let mut findings = Diagnostics::new();
        let samples = inputs.shape.first().copied().unwrap_or(0);
        if samples == 0 || inputs.values.is_empty() {
            findings.push(Diagnostic::error("no-samples", at, format!("array of shape {:?} is empty", inputs.shape)));
            return Err(findings);
        }
        let stored = &inputs.shape[1..];
        if let Some(labels) = &labels {
            check_labels(labels, samples, classes, at, &mut findings);
        }
        if let Some(finding) = misfit(stored, model_shape, preprocessing.layout, at) {
            findings.push(finding);
        } else if let Some(problem) = preprocessing.problem(&channels_first(stored, preprocessing.layout)) {
            findings.push(Diagnostic::error("bad-preprocessing", at, problem));
        }
        if let Some(index) = inputs.values.iter().position(|v| !v.is_finite()) {
            let sample = index / (inputs.values.len() / samples);
            let message = format!("sample {sample} holds {}", inputs.values[index]);
            findings.push(Diagnostic::error("non-finite-input", at, message));
        }
        findings.into_result(())?;
        let values = preprocess(inputs, preprocessing);
        Ok(Dataset { shape: model_shape.to_vec(), inputs: values, labels })
    }

    /// `count` samples of values uniform in 0..1, without labels.
    ///
    /// # Errors
    /// If that is more than the limit on the size of arrays.
    pub fn random(count: usize, shape: &[usize], seed: u64) -> Result<Dataset, Diagnostic> {
        let at = format!("random:{count}");
        if count == 0 {
            return Err(Diagnostic::error("no-samples", at, "no sample is asked for"));
        }
        let len = checked_len(&[&[count], shape].concat(), &at)?;
        let mut random = Random::new(seed);
        let inputs = (0..len).map(|_| random.unit()).collect();
        Ok(Dataset { shape: shape.to_vec(), inputs, labels: None })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs.len() / self.sample_len()
    }

    /// True if there is no sample.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Values of one sample.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().product::<usize>().max(1)
    }

    /// The values of sample `index`.
    pub fn sample(&self, index: usize) -> &[f32] {
        let len = self.sample_len();
        &self.inputs[index * len..(index + 1) * len]
    }

    /// All samples in order.
    pub fn samples(&self) -> impl Iterator<Item = &[f32]> {
        self.inputs.chunks_exact(self.sample_len())
    }

    /// The samples with these indices.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Dataset {
        Dataset {
            shape: self.shape.clone(),
            inputs: indices.iter().flat_map(|i| self.sample(*i)).copied().collect(),
            labels: self.labels.as_ref().map(|l| indices.iter().map(|i| l[*i]).collect()),
        }
    }
}

/// Labels as class numbers, from an array `[n]`, `[n, 1]` or `[n, classes]` (one-hot).
///
/// # Errors
/// If the array has another shape or values that are not class numbers.
pub fn labels_from(array: &Array, at: &str) -> Result<Vec<u32>, Diagnostic> {
    let bad = |message: String| {
        Diagnostic::error("bad-labels", at, message).with_help("labels are whole numbers 0, 1, 2, ..., one a sample")
    };
    match array.shape[..] {
        [_] | [_, 1] => array
            .values
            .iter()
            .enumerate()
            .map(|(index, v)| match *v {
                v if v.fract() == 0.0 && v >= 0.0 && v < MAX_CLASSES as f32 => Ok(v as u32),
                v => Err(bad(format!("label {index} is {v}"))),
            })
            .collect(),
        [_, classes] if classes > 1 => array
            .values
            .chunks_exact(classes)
            .enumerate()
            .map(|(index, row)| {
                let ones = row.iter().filter(|v| **v == 1.0).count();
                let zeros = row.iter().filter(|v| **v == 0.0).count();
                match row.iter().position(|v| *v == 1.0) {
                    Some(class) if ones == 1 && zeros == classes - 1 => Ok(class as u32),
                    _ => Err(bad(format!("row {index} is not one-hot"))),
                }
            })
            .collect(),
        _ => Err(bad(format!("labels have shape {:?}", array.shape))),
    }
}

fn check_labels(labels: &[u32], samples: usize, classes: usize, at: &str, findings: &mut Diagnostics) {
    if labels.len() != samples {
        let message = format!("{samples} samples but {} labels", labels.len());
        findings.push(
            Diagnostic::error("label-count-mismatch", at, message)
                .with_help("check that images and labels belong to the same part of the data set"),
        );
    }
    let largest = labels.iter().max().copied().unwrap_or(0);
    if classes > 0 && largest as usize >= classes {
        let message = format!("label {largest} appears, but the model tells only {classes} classes apart");
        findings.push(Diagnostic::error("label-out-of-range", at, message));
    }
}

/// Shape of one sample as `[channels, height, width]`, or flat if it is.
fn channels_first(stored: &[usize], layout: Layout) -> Vec<usize> {
    match (stored, layout) {
        ([h, w], _) => vec![1, *h, *w],
        ([h, w, c], Layout::Nhwc) => vec![*c, *h, *w],
        _ => stored.to_vec(),
    }
}

/// Why samples of shape `stored` cannot be inputs of shape `model`, if they cannot.
fn misfit(stored: &[usize], model: &[usize], layout: Layout, at: &str) -> Option<Diagnostic> {
    let shape = channels_first(stored, layout);
    let without_ones = |s: &[usize]| s.iter().copied().filter(|e| *e != 1).collect::<Vec<_>>();
    let is_flat = |s: &[usize]| without_ones(s).len() <= 1;
    let count = |s: &[usize]| s.iter().product::<usize>();
    if without_ones(&shape) == without_ones(model)
        || (count(&shape) == count(model) && (is_flat(&shape) || is_flat(model)))
    {
        return None;
    }
    let help_layout = match (stored, model, layout) {
        ([h, w, c], [mc, mh, mw], Layout::Nchw) if [h, w, c] == [mh, mw, mc] => {
            Some("the channels come last in the file: set layout = \"nhwc\" in the preprocessing")
        }
        _ => None,
    };
    let (code, message) = match (shape.as_slice(), model) {
        (_, [_, _, _]) if help_layout.is_some() => {
            ("wrong-layout", format!("samples are {shape:?}, the model takes {model:?}"))
        }
        ([c, h, w], [mc, mh, mw]) if [h, w] == [mh, mw] => {
            ("wrong-channel-count", format!("samples have {c} channels, the model takes {mc}"))
        }
        ([_, h, w], [_, mh, mw]) => {
            ("wrong-image-size", format!("images are {h} x {w} (height x width), the model takes {mh} x {mw}"))
        }
        _ => ("wrong-sample-shape", format!("samples have shape {shape:?}, the model takes {model:?}")),
    };
    let help = help_layout.unwrap_or("use the data set that the model was trained for, or resize the images first");
    Some(Diagnostic::error(code, at, message).with_help(help))
}

fn preprocess(inputs: Array, preprocessing: &Preprocessing) -> Vec<f32> {
    let Array { shape: all, mut values } = inputs;
    let stored = &all[1..];
    let len = values.len() / all[0];
    let shape = channels_first(stored, preprocessing.layout);
    let mut planes = vec![0.0; len];
    for sample in values.chunks_exact_mut(len) {
        if let (&[_, _, channels], Layout::Nhwc) = (stored, preprocessing.layout) {
            let per_channel = len / channels;
            for (index, value) in sample.iter().enumerate() {
                planes[index % channels * per_channel + index / channels] = *value;
            }
            sample.copy_from_slice(&planes);
        }
        preprocessing.apply(sample, &shape);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize]) -> Array {
        let len = shape.iter().product::<usize>();
        Array { shape: shape.to_vec(), values: (0..len).map(|v| v as f32).collect() }
    }

    fn codes(
        shape: &[usize],
        labels: Option<Vec<u32>>,
        model: &[usize],
        preprocessing: &Preprocessing,
    ) -> Vec<&'static str> {
        match Dataset::assemble(array(shape), labels, model, 10, preprocessing, "t") {
            Ok(_) => vec![],
            Err(findings) => findings.iter().map(|d| d.code).collect(),
        }
    }

    #[test]
    fn equivalent_shapes_fit() {
        let none = Preprocessing::default();
        for (stored, model) in [
            (vec![2, 28, 28], vec![1, 28, 28]),
            (vec![2, 28, 28], vec![784]),
            (vec![2, 784], vec![1, 28, 28]),
            (vec![2, 1, 28, 28], vec![1, 28, 28]),
            (vec![2, 3, 4, 5], vec![3, 4, 5]),
            (vec![2, 7], vec![7]),
            (vec![2, 7], vec![7, 1, 1]),
        ] {
            assert!(codes(&stored, None, &model, &none).is_empty(), "{stored:?} for {model:?}");
        }
    }

    #[test]
    fn misfits_are_told_apart() {
        let none = Preprocessing::default();
        assert_eq!(codes(&[1, 32, 32], None, &[1, 28, 28], &none), ["wrong-image-size"]);
        assert_eq!(codes(&[1, 28, 28], None, &[3, 28, 28], &none), ["wrong-channel-count"]);
        assert_eq!(codes(&[1, 8, 9, 3], None, &[3, 8, 9], &none), ["wrong-layout"]);
        assert_eq!(codes(&[1, 700], None, &[784], &none), ["wrong-sample-shape"]);
        assert_eq!(codes(&[0, 28, 28], None, &[1, 28, 28], &none), ["no-samples"]);
        assert_eq!(codes(&[3, 4], Some(vec![0, 11]), &[4], &none), ["label-count-mismatch", "label-out-of-range"]);
        let two_means = Preprocessing { mean: vec![0.0; 2], ..none };
        assert_eq!(codes(&[1, 3, 8, 9], None, &[3, 8, 9], &two_means), ["bad-preprocessing"]);
    }

    #[test]
    fn channels_last_are_turned_and_normalized_by_channel() {
        let preprocessing =
            Preprocessing { scale: 2.0, mean: vec![1.0, 0.0], std: vec![1.0, 4.0], layout: Layout::Nhwc };
        // One sample of 1 x 3 pixels with two channels: 0 1 | 2 3 | 4 5.
        let dataset = Dataset::assemble(array(&[1, 1, 3, 2]), None, &[2, 1, 3], 0, &preprocessing, "t").unwrap();
        assert_eq!(dataset.inputs, [-1.0, 3.0, 7.0, 0.5, 1.5, 2.5]);
    }

    #[test]
    fn one_mean_a_column_is_possible() {
        let preprocessing = Preprocessing { mean: vec![0.0, 1.0], ..Preprocessing::default() };
        let dataset = Dataset::assemble(array(&[1, 3, 2]), None, &[1, 3, 2], 0, &preprocessing, "t").unwrap();
        assert_eq!(dataset.inputs, [0.0, 0.0, 2.0, 2.0, 4.0, 4.0]);
    }

    #[test]
    fn labels_come_as_numbers_or_one_hot() {
        let labels = |shape: &[usize], values: &[f32]| {
            labels_from(&Array { shape: shape.to_vec(), values: values.to_vec() }, "t").map_err(|d| d.message)
        };
        assert_eq!(labels(&[2], &[3.0, 0.0]), Ok(vec![3, 0]));
        assert_eq!(labels(&[2, 1], &[3.0, 0.0]), Ok(vec![3, 0]));
        assert_eq!(labels(&[2, 3], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]), Ok(vec![2, 0]));
        assert!(labels(&[1], &[-1.0]).is_err());
        assert!(labels(&[1], &[0.5]).is_err());
        assert!(labels(&[1], &[f32::NAN]).is_err());
        assert!(labels(&[1, 2], &[1.0, 1.0]).is_err());
        assert!(labels(&[1, 2], &[1.0, 7.0]).is_err());
    }

    #[test]
    fn numbers_that_are_none_are_found() {
        let bad = Array { shape: vec![2, 2], values: vec![0.0, 1.0, f32::NAN, 0.0] };
        let findings = Dataset::assemble(bad, None, &[2], 0, &Preprocessing::default(), "t").unwrap_err();
        assert!(findings.to_string().contains("sample 1"), "{findings}");
    }

    #[test]
    fn random_data_is_bounded_and_seeded() {
        assert_eq!(Dataset::random(3, &[2, 2], 1), Dataset::random(3, &[2, 2], 1));
        assert_ne!(Dataset::random(3, &[2, 2], 1), Dataset::random(3, &[2, 2], 2));
        assert_eq!(Dataset::random(usize::MAX, &[2, 2], 1).unwrap_err().code, "data-too-large");
        assert_eq!(Dataset::random(0, &[2], 1).unwrap_err().code, "no-samples");
    }
}
