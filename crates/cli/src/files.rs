//! Reading what the user names: models, data sets, arrays.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use espalier_data::{Array, Content, Dataset, Preprocessing, decode_image, labels_from, parse};
use espalier_ir::{Diagnostic, Diagnostics, Graph};

/// Larger models do not fit any target by orders of magnitude.
const MAX_MODEL_BYTES: u64 = 1 << 30;
/// Larger data files are to be cut into parts.
const MAX_DATA_BYTES: u64 = 2 << 30;
/// Samples of more values than this in all are to be cut into parts (1 GiB as floats).
const MAX_VALUES: usize = 1 << 28;

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// If it does not exist, cannot be read, or is larger.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let at = path.display().to_string();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Diagnostic::error("missing-file", &at, "does not exist")
            .with_help("check the path; paths in a project file are relative to that file"),
        _ => Diagnostic::error("unreadable-file", &at, format!("cannot be read: {error}")),
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Diagnostic::error("file-too-large", &at, format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Imports a model; its name is the stem of the file.
///
/// # Errors
/// If the file cannot be read or is not a model that can be imported.
pub fn load_model(path: &Path) -> Result<Graph, Diagnostics> {
    let bytes = read_bounded(path, MAX_MODEL_BYTES)?;
    import_model(&bytes, path)
}

/// As [`load_model`], from bytes.
///
/// # Errors
/// If the bytes are not a model that can be imported.
pub fn import_model(bytes: &[u8], path: &Path) -> Result<Graph, Diagnostics> {
    let name = path.file_stem().map_or_else(|| "model".to_owned(), |s| s.to_string_lossy().into_owned());
    let mut graph = espalier_onnx::import(bytes)?;
    graph.name = name;
    Ok(graph)
}

/// What samples must fit.
pub struct Fit<'a> {
    /// Shape of the model's input.
    pub shape: &'a [usize],
    /// Outputs of the model; 0 if labels are of no interest.
    pub classes: usize,
    /// From stored values to inputs.
    pub preprocessing: &'a Preprocessing,
    /// Part of an archive with several: `train` or `test`.
    pub part: Option<&'a str>,
}

/// The input shape and number of outputs of a classifier with one input.
///
/// # Errors
/// If the model has several inputs: the data formats hold one array.
pub fn model_interface(graph: &Graph) -> Result<(Vec<usize>, usize), Diagnostic> {
    let [input] = graph.inputs() else {
        let message = format!("has {} inputs; data sets have one", graph.inputs().len());
        return Err(Diagnostic::error("several-inputs", format!("model '{}'", graph.name), message));
    };
    let outputs = graph.outputs().first().map_or(0, |o| graph.node(*o).shape.iter().product());
    Ok((graph.node(*input).shape.clone(), outputs))
}

/// Loads samples (and labels) from files, one folder of images by class, or `random:N`.
///
/// # Errors
/// All that is wrong with the files or does not fit the model.
pub fn load_dataset(inputs: &[String], labels: &[String], fit: &Fit, seed: u64) -> Result<Dataset, Diagnostics> {
    if let [only] = inputs
        && let Some(count) = only.strip_prefix("random:")
    {
        let count = count.parse().map_err(|_| {
            Diagnostic::error("bad-argument", only, "is not random:N").with_help("for example random:64")
        })?;
        return Ok(Dataset::random(count, fit.shape, seed)?);
    }
    let at = inputs.join(", ");
    let mut joined = Joined::default();
    for path in inputs {
        joined.add(load_inputs(Path::new(path), fit)?, path)?;
    }
    let mut separate = Vec::new();
    for path in labels {
        separate.extend(load_labels(Path::new(path))?);
    }
    let labels = if labels.is_empty() { joined.labels } else { Some(separate) };
    let array = Array { shape: joined.shape, values: joined.values };
    Dataset::assemble(array, labels, fit.shape, fit.classes, fit.preprocessing, &at)
}

/// Inputs of several files behind one another.
#[derive(Default)]
struct Joined {
    shape: Vec<usize>,
    values: Vec<f32>,
    labels: Option<Vec<u32>>,
}

impl Joined {
    fn add(&mut self, (inputs, labels): (Array, Option<Vec<u32>>), at: &str) -> Result<(), Diagnostic> {
        if self.shape.is_empty() {
            *self = Joined { shape: inputs.shape, values: inputs.values, labels };
            return Ok(());
        }
        if inputs.shape.get(1..) != self.shape.get(1..) || labels.is_some() != self.labels.is_some() {
            let message = format!("shape {:?} does not continue {:?} of the files before", inputs.shape, self.shape);
            return Err(Diagnostic::error("mixed-data", at, message).with_help("give files of the same kind"));
        }
        check_size(self.values.len() + inputs.values.len(), at)?;
        self.shape[0] += inputs.shape[0];
        self.values.extend(inputs.values);
        if let (Some(all), Some(labels)) = (&mut self.labels, labels) {
            all.extend(labels);
        }
        Ok(())
    }
}

fn load_inputs(path: &Path, fit: &Fit) -> Result<(Array, Option<Vec<u32>>), Diagnostics> {
    if path.is_dir() {
        return load_image_folder(path, fit);
    }
    let at = path.display().to_string();
    match parse(&read_bounded(path, MAX_DATA_BYTES)?, &at, fit.part)? {
        Content::Array(array) => Ok((array, None)),
        Content::Pair(inputs, labels) => {
            let labels = labels.map(|l| labels_from(&l, &at)).transpose()?;
            Ok((inputs, labels))
        }
        Content::Image(bytes) => {
            let Array { shape, values } = decode_image(&bytes, &at, image_channels(fit.shape))?;
            Ok((Array { shape: [&[1], shape.as_slice()].concat(), values }, None))
        }
    }
}

fn load_labels(path: &Path) -> Result<Vec<u32>, Diagnostic> {
    let at = path.display().to_string();
    match parse(&read_bounded(path, MAX_DATA_BYTES)?, &at, None)? {
        Content::Array(array) | Content::Pair(_, Some(array)) => labels_from(&array, &at),
        _ => Err(Diagnostic::error("bad-labels", at, "holds no labels")),
    }
}

/// Channels that images are decoded to for a model input.
fn image_channels(shape: &[usize]) -> usize {
    match shape {
        [channels, _, _] => *channels,
        _ => 1,
    }
}

/// Images directly in `folder` (no labels) or in one sub-folder a class, classes in natural order.
fn load_image_folder(folder: &Path, fit: &Fit) -> Result<(Array, Option<Vec<u32>>), Diagnostics> {
    let classes: Vec<PathBuf> = entries(folder)?.into_iter().filter(|p| p.is_dir()).collect();
    let groups = if classes.is_empty() { vec![folder.to_owned()] } else { classes.clone() };
    let (mut values, mut labels, mut findings) = (Vec::new(), Vec::new(), Diagnostics::new());
    let mut first: Option<Vec<usize>> = None;
    for (label, group) in groups.iter().enumerate() {
        for path in entries(group)?.into_iter().filter(|p| is_image(p)) {
            let at = path.display().to_string();
            let image =
                read_bounded(&path, MAX_DATA_BYTES).and_then(|b| decode_image(&b, &at, image_channels(fit.shape)));
            match image {
                Ok(image) if first.as_ref().is_none_or(|s| *s == image.shape) => {
                    check_size(values.len() + image.values.len(), &at)?;
                    first = Some(image.shape);
                    values.extend(image.values);
                    labels.push(label as u32);
                }
                Ok(image) => findings.push(Diagnostic::error(
                    "wrong-image-size",
                    at,
                    format!("is {:?}, the images before are {:?}", image.shape, first.as_ref().expect("set before")),
                )),
                Err(finding) => findings.push(finding),
            }
        }
    }
    let Some(shape) = first.filter(|_| !findings.has_errors()) else {
        if findings.is_empty() {
            let at = folder.display().to_string();
            findings.push(Diagnostic::error("no-samples", at, "holds no PNG or JPEG image"));
        }
        return Err(findings);
    };
    let array = Array { shape: [&[labels.len()], shape.as_slice()].concat(), values };
    Ok((array, (!classes.is_empty()).then_some(labels)))
}

fn check_size(values: usize, at: &str) -> Result<(), Diagnostic> {
    if values <= MAX_VALUES {
        return Ok(());
    }
    let message = format!("with this file the samples have more than {MAX_VALUES} values");
    Err(Diagnostic::error("data-too-large", at, message).with_help("use a part of the data set"))
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|e| e == "png" || e == "jpg" || e == "jpeg") && path.is_file()
}

/// Entries of a folder; names that are numbers by value, then the others by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let failed = |error: std::io::Error| {
        Diagnostic::error("unreadable-file", folder.display().to_string(), format!("cannot be listed: {error}"))
    };
    let mut paths = std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let number = |p: &PathBuf| p.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok());
    paths.sort_by(|a, b| {
        let key = |p: &PathBuf| (number(p).is_none(), number(p), p.file_name().map(ToOwned::to_owned));
        key(a).cmp(&key(b))
    });
    Ok(paths)
}
