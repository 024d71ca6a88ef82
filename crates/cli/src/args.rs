//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use espalier_data::{Layout, Preprocessing};
use espalier_target::{ActivationStore, Multiplier, WeightSource};

use crate::engines::VerifyEngine;
use crate::project::parse_ratio;

const EXAMPLES: &str = "\
Examples:
  espalier doctor
  espalier init model.onnx data
  espalier run examples/lenet5-mnist/espalier.toml
  espalier run examples/lenet5-mnist/espalier.toml --resume
  espalier run examples/lenet5-mnist/espalier.toml --replay out/plan.json --out again
  espalier train examples/train-lenet5/espalier.toml
  espalier inspect model.onnx
  espalier estimate model.onnx --target ecp5-85f
  espalier fit model.onnx --target xc7z020
  espalier explore model.onnx --target xc7z020 --density 1,0.5 --csv front.csv --plot front.svg
  espalier compare model.onnx --targets ecp5-85f,xc7z020,k26
  espalier compile model.onnx --target xc7z020 --calibration images.npy --out design
  espalier compile model.onnx --board ulx3s-85f --calibration images.npy --out design
  espalier verify design --samples 20
  espalier report design
  espalier report run-a run-b --out compare.html
  espalier synth design --simulate
  espalier regress designs --junit results.xml
  espalier explain budget-not-met
  espalier infer design --engine verilator --input x.npy --out y.npy

Exit codes:
  0  fine
  1  a check failed: engines differ, a budget is not met, accuracy fell too far
  2  usage or input error";

/// Turns a trained ONNX model into a pruned, quantized and bit-exactly verified INT8 accelerator.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// Write the result as JSON to the standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Show the time of every stage.
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole project: prune, fine-tune, quantize, generate hardware, verify, report.
    Run(RunArgs),
    /// Train the network of a project: from scratch, from an architecture file, or on from a given model.
    Train(TrainArgs),
    /// List the nodes, parameters and operations of a model, and how it maps to the accelerator.
    Inspect(InspectArgs),
    /// Predict cycles, latency, energy and resources of a model; needs no data and no training.
    Estimate(EstimateArgs),
    /// Search array shapes and memories for a model; the best trade-offs of time, energy and resources.
    Explore(ExploreArgs),
    /// Choose the fastest accelerator for a model that a target holds.
    Fit(FitArgs),
    /// Put a model on several targets, or several compiled or finished designs, side by side.
    Compare(CompareArgs),
    /// Draw the HTML page of a finished design anew, or one page that compares several.
    Report(ReportArgs),
    /// Quantize a model and generate its accelerator, without training.
    Compile(CompileArgs),
    /// Compare reference, machine, simulated hardware and HLS kernel of a compiled folder, element by element.
    Verify(VerifyArgs),
    /// Map, place and route a compiled folder with open tools: bitstream, measured resources and clock.
    Synth(SynthArgs),
    /// Put all files of a compiled folder into one archive, the same bytes for the same files.
    Pack(PackArgs),
    /// Compute the outputs of a model or compiled folder with one of the engines.
    Infer(InferArgs),
    /// Show what the pruner can do.
    Prune(PruneArgs),
    /// List the known targets and boards, or show one with the sources of its numbers.
    Targets(TargetsArgs),
    /// Write a commented project file for a model and a data set by looking at them.
    Init(InitArgs),
    /// Verify all compiled designs below a folder in parallel; unchanged ones that passed are not run again.
    Regress(RegressArgs),
    /// Say which tools are there, which are missing and how to get them.
    Doctor,
    /// Explain the code of an error or warning, or list all codes.
    Explain(ExplainArgs),
    /// Print the JSON schema of project files, for editors.
    Schema,
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command, into a folder.
    Man(ManArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Project file.
    pub project: PathBuf,
    /// Output folder instead of the project's.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Seed instead of the project's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Continue a run that was interrupted, from its last whole epoch; the result is that of an uninterrupted run.
    #[arg(long)]
    pub resume: bool,
    /// Remove what the plan.json of an earlier run says, instead of choosing; what is trained after it, the project says.
    #[arg(long, value_name = "PLAN")]
    pub replay: Option<PathBuf>,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Project file.
    pub project: PathBuf,
    /// ONNX file to write, with a report beside it; by default beside the project's output folder, where `run` finds it.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Seed instead of the project's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Passes over the training samples instead of the project's.
    #[arg(long)]
    pub epochs: Option<usize>,
    /// ONNX model whose layers are taken over; only its classifier is made anew (see [train.transfer]).
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// Continue a training that was interrupted, from its last whole epoch; the result is that of an uninterrupted one.
    #[arg(long)]
    pub resume: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// ONNX file.
    pub model: PathBuf,
}

/// Which accelerator.
#[derive(Debug, Args)]
pub struct TargetOptions {
    /// Name of a target (see `espalier targets`), or path of a target file.
    #[arg(long, short, required_unless_present = "board")]
    pub target: Option<String>,
    /// Board (see `espalier targets`), or path of a board file; its device is the target.
    #[arg(long)]
    pub board: Option<String>,
    /// Rows of the array instead of the target's.
    #[arg(long)]
    pub rows: Option<usize>,
    /// Columns of the array instead of the target's.
    #[arg(long)]
    pub cols: Option<usize>,
    /// Bytes of one activation lane instead of the target's.
    #[arg(long)]
    pub lane_bytes: Option<usize>,
    /// Bits of an accumulator, 20 to 32, instead of the target's.
    #[arg(long)]
    pub accumulator_bits: Option<u32>,
    /// Pixels that one accumulator bank holds instead of the target's.
    #[arg(long)]
    pub accumulator_pixels: Option<usize>,
    /// Weight vectors that share a row of the array, 1 or 2, instead of the target's.
    #[arg(long)]
    pub combine: Option<usize>,
    /// Arrays that share the rows of every map, each with lanes of its own: 1, 2, 4 or 8, instead of the target's.
    #[arg(long)]
    pub clusters: Option<usize>,
    /// What forms the products instead of the target's choice: plain, packed (two columns share a hardware
    /// multiplier) or lut (adders).
    #[arg(long)]
    pub multiplier: Option<Multiplier>,
    /// Hardware multipliers that the arrays may take; columns beyond multiply by adders.
    #[arg(long)]
    pub max_multipliers: Option<usize>,
    /// Multipliers a lane of the depthwise unit, 2 to 8, or 0 for none, instead of the target's.
    #[arg(long)]
    pub depthwise_taps: Option<usize>,
    /// A register with the index of the largest output, the class.
    #[arg(long)]
    pub argmax: bool,
    /// Where the weights are while a program runs instead of the target's choice: on-chip, or streamed from external
    /// memory through a ring of `--weight-words` words.
    #[arg(long)]
    pub weights: Option<WeightSource>,
    /// Words of the weight memory, or of the ring for streamed weights.
    #[arg(long)]
    pub weight_words: Option<usize>,
    /// Where tensors are that the lanes do not hold: on-chip (there may be none), or spilled to external memory.
    #[arg(long)]
    pub activations: Option<ActivationStore>,
    /// Bytes that external memory delivers a cycle: 4, 8, 16 or 32.
    #[arg(long)]
    pub memory_bytes_per_cycle: Option<usize>,
    /// Cycles from a read of external memory to its first data.
    #[arg(long)]
    pub memory_latency_cycles: Option<usize>,
}

/// Arguments of `estimate`.
#[derive(Debug, Args)]
pub struct EstimateArgs {
    /// ONNX file.
    pub model: PathBuf,
    #[command(flatten)]
    pub target: TargetOptions,
}

/// Arguments of `explore`.
#[derive(Debug, Args)]
pub struct ExploreArgs {
    /// ONNX file.
    pub model: PathBuf,
    /// Name of a target (see `espalier targets`), or path of a target file.
    #[arg(long, short)]
    pub target: String,
    #[command(flatten)]
    pub space: SpaceOptions,
    /// Shares of the weight tiles that a pruner leaves in every block, above 0 to 1 (not pruned).
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub density: Vec<f64>,
    /// Folder of a finished `espalier run`, whose rounds of pruning say what accuracy each density left there.
    #[arg(long)]
    pub profile: Option<PathBuf>,
    /// CSV file to write the trade-offs to.
    #[arg(long)]
    pub csv: Option<PathBuf>,
    /// SVG file to draw time against the fullest resource in: all points, and the trade-offs.
    #[arg(long)]
    pub plot: Option<PathBuf>,
}

/// Arguments of `fit`.
#[derive(Debug, Args)]
pub struct FitArgs {
    /// ONNX file.
    pub model: PathBuf,
    /// Name of a target (see `espalier targets`), or path of a target file.
    #[arg(long, short)]
    pub target: String,
    #[command(flatten)]
    pub space: SpaceOptions,
    /// Share of the weight tiles that a pruner leaves in every block, above 0 to 1 (not pruned).
    #[arg(long, default_value_t = 1.0)]
    pub density: f64,
}

/// What a search tries instead of everything sensible.
#[derive(Debug, Args)]
pub struct SpaceOptions {
    /// Rows of the array.
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<usize>,
    /// Columns of the array.
    #[arg(long, value_delimiter = ',')]
    pub cols: Vec<usize>,
    /// Weight vectors that share a row of the array, 1 or 2.
    #[arg(long, value_delimiter = ',')]
    pub combine: Vec<usize>,
    /// Arrays side by side: 1, 2, 4, 8.
    #[arg(long, value_delimiter = ',')]
    pub clusters: Vec<usize>,
    /// Pixels that one accumulator bank holds.
    #[arg(long, value_delimiter = ',')]
    pub accumulator_pixels: Vec<usize>,
    /// How products are formed: plain, packed, lut.
    #[arg(long, value_delimiter = ',')]
    pub multiplier: Vec<Multiplier>,
    /// Multipliers a lane of the depthwise unit, 0 = no unit.
    #[arg(long, value_delimiter = ',')]
    pub depthwise_taps: Vec<usize>,
    /// Where the weights are: on-chip, streamed.
    #[arg(long, value_delimiter = ',')]
    pub weights: Vec<WeightSource>,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// One ONNX file with --targets, or at least two folders with a report.json.
    #[arg(required = true)]
    pub designs: Vec<PathBuf>,
    /// Targets to put the model on.
    #[arg(long, value_delimiter = ',')]
    pub targets: Vec<String>,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders of finished runs: one is drawn into its report.html, several are compared.
    #[arg(required = true)]
    pub designs: Vec<PathBuf>,
    /// HTML file to write; by default report.html in the folder, or compare.html here.
    #[arg(long, short)]
    pub out: Option<PathBuf>,
}

/// How stored values become inputs of the model.
#[derive(Debug, Clone, Args)]
pub struct PreprocessingOptions {
    /// Factor applied to stored values, a number or a ratio such as 1/255.
    #[arg(long, value_parser = parse_ratio)]
    pub scale: Option<f32>,
    /// Subtracted after scaling: one number, or one a channel (or column), separated by commas.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    pub mean: Vec<f32>,
    /// Divisor after that, as many as means.
    #[arg(long, value_delimiter = ',')]
    pub std: Vec<f32>,
    /// Order of the axes in the files.
    #[arg(long, value_enum, default_value = "nchw")]
    pub layout: LayoutArg,
}

impl PreprocessingOptions {
    /// As the data crate wants it.
    pub fn to_preprocessing(&self) -> Preprocessing {
        Preprocessing {
            scale: self.scale.unwrap_or(1.0),
            mean: self.mean.clone(),
            std: self.std.clone(),
            layout: match self.layout {
                LayoutArg::Nchw => Layout::Nchw,
                LayoutArg::Nhwc => Layout::Nhwc,
            },
        }
    }
}

/// Order of axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayoutArg {
    /// Channels, height, width.
    Nchw,
    /// Height, width, channels.
    Nhwc,
}

/// Arguments of `pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// Compiled folder.
    pub dir: PathBuf,
    /// Archive to write; by default the folder's name with .tar, beside it.
    #[arg(long, short)]
    pub out: Option<PathBuf>,
}

/// Arguments of `synth`.
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Compiled folder.
    pub dir: PathBuf,
    /// Clock to aim at, MHz, instead of the board's or target's.
    #[arg(long)]
    pub freq: Option<f64>,
    /// Seed of the placement.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Simulate the netlist on so many inputs (1 if no number is given) and compare with the reference.
    #[arg(long, value_name = "INPUTS", num_args = 0..=1, default_missing_value = "1", default_value_t = 0)]
    pub simulate: usize,
    /// Stop after the mapping: no placement, no clock, no bitstream.
    #[arg(long)]
    pub map_only: bool,
}

/// Arguments of `compile`.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// ONNX file.
    pub model: PathBuf,
    #[command(flatten)]
    pub target: TargetOptions,
    /// Calibration data: a file or folder of any supported format, or random:N.
    #[arg(long)]
    pub calibration: String,
    /// Folder to create.
    #[arg(long, short)]
    pub out: PathBuf,
    #[command(flatten)]
    pub preprocessing: PreprocessingOptions,
    /// Share of the weight vectors' cycles to prune by magnitude, 0 up to but not including 1; no fine-tuning.
    #[arg(long, default_value_t = 0.0)]
    pub sparsity: f64,
    /// Most calibration samples used.
    #[arg(long, default_value_t = 256)]
    pub calibration_samples: usize,
    /// How ranges follow from the calibration data: range, mse, or a percentile such as 99.99.
    #[arg(long, default_value = "mse")]
    pub method: String,
    /// Seed of the choice of samples.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Compiled folder.
    pub dir: PathBuf,
    /// Number of inputs.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub samples: usize,
    /// Inputs to verify with, instead of those stored in the folder.
    #[arg(long)]
    pub data: Option<String>,
    #[command(flatten)]
    pub preprocessing: PreprocessingOptions,
    /// Seed of random inputs, taken when the stored ones are too few, and of stalls in the simulation.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Engines to compare, separated by commas; without it all, the HLS kernel only if g++ is there.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub engines: Option<Vec<VerifyEngine>>,
    /// Short for `--engines reference,machine`; needs neither Verilator nor g++.
    #[arg(long, conflicts_with = "engines")]
    pub no_simulation: bool,
    /// Also count in Verilator how often every bit changes, and estimate the energy with that.
    #[arg(long, conflicts_with = "no_simulation")]
    pub activity: bool,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The float model.
    Float,
    /// The integer reference interpreter.
    Reference,
    /// The instruction-level machine.
    Machine,
    /// The hardware, simulated by Verilator.
    Verilator,
    /// The Vitis HLS kernel, compiled by g++.
    Hls,
}

/// Arguments of `infer`.
#[derive(Debug, Args)]
pub struct InferArgs {
    /// ONNX file (float engine only) or compiled folder.
    pub model: PathBuf,
    /// What computes.
    #[arg(long, short, value_enum, default_value = "float")]
    pub engine: Engine,
    /// Inputs as NPY, one sample or several; int8 arrays are taken as already quantized.
    #[arg(long, short)]
    pub input: PathBuf,
    /// NPY file to write.
    #[arg(long, short)]
    pub out: PathBuf,
    /// Write int8 tensors instead of floats; not for the float engine.
    #[arg(long)]
    pub raw: bool,
    /// Folder for the output of every layer, one NPY file each.
    #[arg(long)]
    pub all_tensors: Option<PathBuf>,
}

/// Arguments of `prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// List the importance criteria: what they measure, need and apply to, and where they come from.
    #[arg(long, required = true)]
    pub list_criteria: bool,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// ONNX file.
    pub model: PathBuf,
    /// Folder or file of the data: IDX or CIFAR-10 files, train and test folders of images by class, or an NPZ archive.
    pub data: PathBuf,
    /// Project file to write; an existing one is never replaced.
    #[arg(long, short, default_value = "espalier.toml")]
    pub out: PathBuf,
    /// Target instead of the smallest that holds the network.
    #[arg(long, short)]
    pub target: Option<String>,
}

/// Arguments of `regress`.
#[derive(Debug, Args)]
pub struct RegressArgs {
    /// Folder with compiled designs at any depth.
    pub dir: PathBuf,
    /// Inputs through every engine of every design.
    #[arg(long, short = 'n', default_value_t = 5)]
    pub samples: usize,
    /// Engines to compare, separated by commas; without it all, the HLS kernel only if g++ is there.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub engines: Option<Vec<VerifyEngine>>,
    /// Designs verified at the same time; by default one a core.
    #[arg(long, short)]
    pub jobs: Option<usize>,
    /// JUnit XML file to write.
    #[arg(long)]
    pub junit: Option<PathBuf>,
    /// Run unchanged designs as well.
    #[arg(long)]
    pub all: bool,
    /// Seed of random inputs and of stalls in the simulation.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Code, such as `budget-not-met`.
    pub code: Option<String>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell.
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages; created if need be.
    pub dir: PathBuf,
}

/// Arguments of `targets`.
#[derive(Debug, Args)]
pub struct TargetsArgs {
    /// Target or board to show in full.
    pub name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_means_may_be_negative() {
        let options = ["--target", "u250", "--calibration", "d.npz", "--mean", "-84.5,2.9", "--out", "o"];
        let line = ["espalier", "compile", "m.onnx"].into_iter().chain(options);
        let Command::Compile(compile) = Cli::try_parse_from(line).expect("the line is fine").command else {
            panic!("another command");
        };
        assert_eq!(compile.preprocessing.mean, [-84.5, 2.9]);
    }
}
