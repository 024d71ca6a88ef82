//! The compiled folder: what `compile` and `run` write and `verify` and `infer` read.
//!
//! | file | content |
//! |---|---|
//! | `model.onnx` | the network that was compiled, in float, with zeros where vectors are pruned |
//! | `model_int8.onnx` | the same as integers in QDQ form, which recurrent networks have not |
//! | `design.json` | target, scales and calibration: with `model.onnx` it determines every integer |
//! | `program.json`, `memory/` | the program: places of the tensors, instructions, weights |
//! | `rtl/`, `sim/`, `synth/` | hardware, Verilator bench, synthesis scripts |
//! | `flow/` | project for the tools of the target's vendor; what `espalier synth` runs |
//! | `build/` | what `espalier synth` made: bitstream, netlist, logs |
//! | `driver/` | drivers in C, Python and Rust, and `program.bin`, which they load |
//! | `hls/` | Vitis HLS kernel, its test bench, and vectors of the first stored input |
//! | `inputs.npy` | int8 inputs to verify with |
//! | `report.json`, `details.json`, `report.html` | the report |

use std::path::{Path, PathBuf};

use espalier_data::{parse_npy, write_npy_i8};
use espalier_ir::{Diagnostic, Diagnostics, Graph, ParamId, Severity};
use espalier_lower::Program;
use espalier_onnx::{ExportOptions, QuantizedParam, export, export_with};
use espalier_quant::{
    CalibrationTable, FixedExponents, QuantizeOptions, QuantizedGraph, WeightRounding, quantize, to_qdq,
};
use espalier_target::{Board, Target};
use serde::{Deserialize, Serialize};

use crate::failure::Outcome;
use crate::files::{import_model, read_bounded};
use crate::hls::write_vectors;
use crate::output::OutputFolder;

/// Version of `design.json`.
const FORMAT: u32 = 1;
/// Most bytes of any file of a compiled folder.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Most inputs stored for verification.
pub const MAX_STORED_INPUTS: usize = 64;

/// What the other files of the folder do not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesignInfo {
    /// Version of this form.
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// The target.
    pub target: Target,
    /// The board that it is on, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<Board>,
    /// Seed of the run.
    pub seed: u64,
    /// Step of the weights.
    pub weight_rounding: WeightRounding,
    /// Scales of quantization-aware training, if it ran.
    pub fixed: Option<FixedExponents>,
    /// What calibration observed.
    pub calibration: CalibrationTable,
}

/// A compiled network in memory.
pub struct Design {
    /// The float network.
    pub graph: Graph,
    /// The integers.
    pub quantized: QuantizedGraph,
    /// The program.
    pub program: Program,
    /// The rest.
    pub info: DesignInfo,
    /// Inputs to verify with.
    pub inputs: Vec<Vec<i8>>,
}

impl DesignInfo {
    /// Information about a design.
    pub fn new(model: &str, target: &Target, seed: u64, options: &QuantizeOptions, table: CalibrationTable) -> Self {
        DesignInfo {
            format: FORMAT,
            model: model.to_owned(),
            target: target.clone(),
            board: None,
            seed,
            weight_rounding: options.weights,
            fixed: options.fixed.clone(),
            calibration: table,
        }
    }

    fn options(&self) -> QuantizeOptions {
        QuantizeOptions { weights: self.weight_rounding, fixed: self.fixed.clone() }
    }
}

/// The network as a reader of its ONNX file sees it. Everything behind is computed from this one, so that whoever
/// reads the file computes the same.
///
/// # Errors
/// If the written model cannot be read back: a bug.
pub fn as_written(graph: &Graph) -> Result<Graph, Diagnostics> {
    import_model(&export(graph), Path::new(&format!("{}.onnx", graph.name)))
}

impl Design {
    /// Writes all files but the report. Returns warnings about the exported integers.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, out: &OutputFolder) -> Result<Diagnostics, Diagnostics> {
        let json = serde_json::to_vec(&self.info).expect("plain data becomes JSON");
        out.write("design.json", &json)?;
        out.write("model.onnx", &export(&self.graph))?;
        let warnings = match export_int8(&self.quantized) {
            Ok((int8, warnings)) => {
                out.write("model_int8.onnx", &int8)?;
                warnings
            }
            Err(finding) if finding.code == "no-qdq-form" => {
                let mut warnings = Diagnostics::new();
                warnings.push(Diagnostic { severity: Severity::Warning, ..finding });
                warnings
            }
            Err(finding) => return Err(finding.into()),
        };
        out.write("program.json", self.program.manifest_json().as_bytes())?;
        for (path, text) in espalier_emit::design_files(&self.program, &self.info.target.name).iter() {
            out.write(path, text.as_bytes())?;
        }
        let (target, board) = (&self.info.target, self.info.board.as_ref());
        let open = espalier_emit::open_flow_files(&self.program, target, board);
        let vendor = espalier_emit::vendor_flow_files(&self.program, target, board);
        for (path, text) in open.iter().chain(vendor.iter()) {
            out.write(path, text.as_bytes())?;
        }
        for (path, text) in espalier_emit::driver_files().iter() {
            out.write(path, text.as_bytes())?;
        }
        out.write("driver/program.bin", &self.program.to_binary())?;
        if let Some(input) = self.inputs.first() {
            write_vectors(&self.program, input, out)?;
        }
        // Integers lie in the order in which the accelerator takes them, which for a sequence is not that of the model.
        let declared = self.graph.node(self.graph.inputs()[0]).shape.as_slice();
        let taken = &self.quantized.inputs[0].shape[..];
        let sample = if self.quantized.transposed[0] { taken } else { declared };
        let shape = [&[self.inputs.len()], sample].concat();
        // A network with several inputs stores samples flat: its inputs follow one another.
        let shape = if self.graph.inputs().len() == 1 { shape } else { vec![shape[0], self.program.input_len()] };
        out.write("inputs.npy", &write_npy_i8(&shape, &self.inputs.concat()))?;
        Ok(warnings)
    }

    /// Reads a compiled folder back. The integers follow from `model.onnx` and `design.json`; program and memory
    /// images are read as they are, whether they belong to these or not: finding out is what `verify` does.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn load(folder: &Path) -> Outcome<Design> {
        if !folder.join("design.json").is_file() {
            return Err(Diagnostic::error("no-design", folder.display().to_string(), "is not a compiled folder")
                .with_help("`espalier compile` and `espalier run` write such folders")
                .into());
        }
        let path = |name: &str| folder.join(name);
        let info: DesignInfo = serde_json::from_slice(&read_bounded(&path("design.json"), MAX_FILE_BYTES)?)
            .map_err(|error| damaged(&path("design.json"), error.to_string()))?;
        if info.format != FORMAT {
            return Err(damaged(&path("design.json"), format!("has format {}", info.format)).into());
        }
        let model_path = path("model.onnx");
        let mut graph = import_model(&read_bounded(&model_path, MAX_FILE_BYTES)?, &model_path)?;
        graph.name.clone_from(&info.model);
        let quantized = quantize(&graph, &info.calibration, &info.options())?;
        let program = Program::from_parts(
            &read_text(&path("program.json"))?,
            &read_text(&path("memory/program.hex"))?,
            &read_text(&path("memory/weights.hex"))?,
        )?;
        if program.input_len() != quantized.input_elements() || program.memory.layers.len() != quantized.layers.len() {
            return Err(damaged(&path("program.json"), "does not belong to model.onnx".to_owned()).into());
        }
        let inputs = load_inputs(&path("inputs.npy"), program.input_len())?;
        Ok(Design { graph, quantized, program, info, inputs })
    }
}

fn export_int8(quantized: &QuantizedGraph) -> Result<(Vec<u8>, Diagnostics), Diagnostic> {
    let qdq = to_qdq(quantized)?;
    let quantized =
        |(id, (values, scale)): (ParamId, (espalier_ir::Tensor, Vec<f32>))| (id, QuantizedParam { values, scale });
    let options = ExportOptions { quantized: qdq.integers.into_iter().map(quantized).collect() };
    Ok((export_with(&qdq.graph, &options), qdq.warnings))
}

fn load_inputs(path: &Path, len: usize) -> Result<Vec<Vec<i8>>, Diagnostic> {
    let array = parse_npy(&read_bounded(path, MAX_FILE_BYTES)?, &path.display().to_string())?;
    if array.shape.iter().skip(1).product::<usize>() != len || array.values.is_empty() {
        return Err(damaged(path, format!("has shape {:?} for samples of {len} values", array.shape)));
    }
    Ok(array.values.chunks(len).map(|sample| sample.iter().map(|v| *v as i8).collect()).collect())
}

fn read_text(path: &Path) -> Result<String, Diagnostic> {
    String::from_utf8(read_bounded(path, MAX_FILE_BYTES)?).map_err(|_| damaged(path, "is not text".to_owned()))
}

fn damaged(path: &Path, message: String) -> Diagnostic {
    Diagnostic::error("damaged-design", path.display().to_string(), message).with_help("compile the model again")
}

/// Path of the report in a compiled folder.
pub fn report_path(folder: &Path) -> PathBuf {
    folder.join("report.json")
}
