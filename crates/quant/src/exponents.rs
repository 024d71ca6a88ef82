//! Exponents and zero points of all tensors, such that every shift lies in its range.
//!
//! Each tensor starts with its own best parameters; the constraints between tensors then only ever raise exponents
//! (coarser steps), which must end because the graph has no cycle and every demand is bounded by another exponent:
//!
//! * maximum pooling, selections of channels and stand-alone activations write with the parameters of the tensor they read;
//! * where a layer ends in a table, `y` is what enters the table, and what leaves it is free;
//! * convolution: `e_y >= e_x + e_w[o]` for every channel; with an operand r that it adds, also `e_r >= e_x + e_w[o]` and
//!   `e_r - 12 <= e_y <= e_r + 19`;
//! * a map and its gates, factors of its channels: both have zero point 0, and `e_y - 31 <= e_x + e_g <= e_y`;
//! * products added to a value c of 16 bits: all factors f have one exponent; a value v of 8 bits lies 0, 4 or 6 bits
//!   above c; `e_y >= e_c + e_f`. Such a value starts with the finest exponent that covers its range, `e_y >= e_c` where it
//!   is rounded to 8 bits;
//! * addition and concatenation: operands differ by at most 6, `e_y >= min(e_i)` and `e_y <= min(e_i) + 31`.

use std::borrow::Cow;

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostic, Diagnostics, LayerSource};

use crate::activation::{Candidate, EXPONENTS};
use crate::calibrate::{CalibrationMethod, CalibrationTable};
use crate::histogram::Histogram;
use crate::model::{FixedExponents, QuantParams};
use crate::requantize::wide_value;
use crate::residual::MAX_RESIDUAL_SHIFT;
use crate::weights::MAX_SHIFT;

/// Bits of a digit of a value of 16 bits.
pub(crate) const DIGIT_BITS: i32 = 8;

/// Left shifts with which products of 8 bits are added to such a value; 8 is that of its upper digit.
const PRODUCT_SHIFTS: [i32; 3] = [6, 4, 0];

/// Left shifts of operands of Add and Concat, also the largest weight `2^6` on the array.
pub(crate) const MAX_LEFT_SHIFT: i32 = 6;

/// Parameters of all inputs, then of all layers, then of what enters the table of each layer (without one: those of the
/// layer).
pub(crate) struct TensorParams {
    params: Vec<QuantParams>,
    inputs: usize,
}

impl TensorParams {
    pub(crate) fn fixed(fixed: &FixedExponents) -> Self {
        let params = [&fixed.inputs[..], &fixed.layers, &fixed.arguments].concat();
        TensorParams { params, inputs: fixed.inputs.len() }
    }

    pub(crate) fn of(&self, source: LayerSource) -> QuantParams {
        self.params[slot(self.inputs, source)]
    }

    pub(crate) fn layer(&self, index: usize) -> QuantParams {
        self.params[self.inputs + index]
    }

    /// What the operation of a layer is requantized to.
    pub(crate) fn argument(&self, index: usize) -> QuantParams {
        let layers = (self.params.len() - self.inputs) / 2;
        self.params[self.inputs + layers + index]
    }

    pub(crate) fn input(&self, index: usize) -> QuantParams {
        self.params[index]
    }
}

fn slot(inputs: usize, source: LayerSource) -> usize {
    match source {
        LayerSource::Input(index) => index,
        LayerSource::Layer(index) => inputs + index,
    }
}

/// Chooses all parameters. `weights[l]` holds the weight exponents of layer `l`, `None` for channels without weights.
///
/// # Errors
/// Tensors whose exponent would leave -40..=40.
pub(crate) fn choose(
    layers: &[ArrayLayer],
    table: &CalibrationTable,
    weights: &[Vec<Option<i32>>],
) -> Result<TensorParams, Diagnostics> {
    let solver = Solver::new(layers, table);
    let histograms = solver.histograms(table);
    let candidates = solver.candidates(&histograms, table.method);
    let mut exponents: Vec<i32> = candidates.iter().map(|c| c.best().exponent).collect();
    for (slot, layer) in layers.iter().enumerate().map(|(i, l)| (solver.root[table.inputs.len() + i], l)) {
        if layer.is_wide() {
            exponents[slot] = wide_exponent(&histograms[slot]);
        }
    }
    solver.follow_roots(&mut exponents);
    while solver.raise(&mut exponents, weights) {}
    let mut findings = Diagnostics::new();
    let names = table.tensors();
    let tensors = exponents.iter().zip(names).enumerate();
    // What shares the parameters of another tensor is reported there.
    for (_, (exponent, tensor)) in tensors.filter(|(slot, _)| solver.root[*slot] == *slot) {
        let magnitude = f64::from(tensor.min().abs().max(tensor.max()));
        let beyond = magnitude > 512.0 * f64::from(*EXPONENTS.end()).exp2();
        if !EXPONENTS.contains(exponent) || beyond {
            findings.push(
                Diagnostic::error(
                    "exponent-range",
                    format!("tensor '{}'", tensor.name),
                    format!("values {} to {} need a step of 2^{exponent}", tensor.min(), tensor.max()),
                )
                .with_help(format!(
                    "steps reach from 2^{} to 2^{}",
                    EXPONENTS.start(),
                    EXPONENTS.end()
                )),
            );
        }
    }
    let params = solver.root.iter().map(|root| candidates[*root].with_exponent(exponents[*root])).collect();
    findings.into_result(TensorParams { params, inputs: solver.inputs })
}

/// Whether an operation copies elements, so that it keeps the parameters of what it reads.
pub(crate) fn copies(op: &ArrayOp) -> bool {
    matches!(op, ArrayOp::MaxPool { .. } | ArrayOp::Select { .. } | ArrayOp::Resize { .. })
}

/// The finest exponent with which 16 bits hold all values.
fn wide_exponent(histogram: &Histogram) -> i32 {
    let most = f64::from(histogram.min().abs().max(histogram.max()));
    let finest = (most / f64::from(wide_value([i8::MAX; 2]))).log2().ceil();
    finest.clamp(f64::from(*EXPONENTS.start()), f64::from(*EXPONENTS.end())) as i32
}

struct Solver<'a> {
    layers: &'a [ArrayLayer],
    inputs: usize,
    /// The tensor whose parameters a tensor shares: itself, or the source of a maximum pooling or selection; a layer
    /// without a table and its argument are one.
    root: Vec<usize>,
    non_negative: Vec<bool>,
    /// Tensors whose values count for another one as well, of an earlier time step or the same sequence.
    merged: Vec<(usize, usize)>,
    /// Operands of gates.
    symmetric: Vec<usize>,
}

impl<'a> Solver<'a> {
    fn new(layers: &'a [ArrayLayer], table: &CalibrationTable) -> Self {
        let inputs = table.inputs.len();
        let mut root: Vec<usize> = (0..inputs + 2 * layers.len()).collect();
        let mut non_negative: Vec<bool> = table.inputs.iter().map(|t| t.min() >= 0.0).collect();
        non_negative.resize(root.len(), false);
        let mut merged = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let sources: Vec<usize> = layer.sources.iter().map(|s| slot(inputs, *s)).collect();
            let [output, argument] = [inputs + index, inputs + layers.len() + index];
            if let Some(other) = layer.alike {
                for (own, of) in [(output, inputs + other), (argument, inputs + layers.len() + other)] {
                    root[own] = root[of];
                    non_negative[own] = non_negative[of];
                    // Without a function both are one tensor.
                    if own == output || layer.curve.is_some() {
                        merged.push((own, root[of]));
                    }
                }
                continue;
            }
            if matches!(layer.op, ArrayOp::Sequence) {
                for other in &sources[1..] {
                    let (from, to) = (root[*other], root[sources[0]]);
                    root.iter_mut().filter(|r| **r == from).for_each(|r| *r = to);
                    merged.push((from, to));
                }
            }
            let weighted =
                matches!(layer.op, ArrayOp::Conv { .. } | ArrayOp::ConvTranspose { .. } | ArrayOp::Scale { .. });
            let inherits = !weighted && sources.iter().all(|s| non_negative[*s]);
            non_negative[argument] = layer.activation.min >= 0.0 || inherits;
            if copies(&layer.op) || matches!(layer.op, ArrayOp::Sequence) {
                root[argument] = root[sources[0]];
            }
            match &layer.curve {
                Some(curve) => non_negative[output] = curve.function.is_non_negative(),
                // One tensor: the histogram is that of the layer.
                None if root[argument] == argument => {
                    non_negative[output] = non_negative[argument];
                    root[argument] = output;
                }
                None => {
                    non_negative[output] = non_negative[argument];
                    root[output] = root[argument];
                }
            }
        }
        let gates = layers.iter().filter(|layer| matches!(layer.op, ArrayOp::Gate | ArrayOp::Products));
        let mut symmetric: Vec<usize> =
            gates.flat_map(|layer| &layer.sources).map(|s| root[slot(inputs, *s)]).collect();
        let wide = layers.iter().enumerate().filter(|(_, layer)| layer.is_wide());
        symmetric.extend(wide.map(|(index, _)| root[inputs + index]));
        Solver { layers, inputs, root, non_negative, merged, symmetric }
    }

    /// What was observed of every tensor, and of those that share its parameters without being copies.
    fn histograms<'t>(&self, table: &'t CalibrationTable) -> Vec<Cow<'t, Histogram>> {
        let mut histograms: Vec<_> = table.tensors().map(|t| Cow::Borrowed(&t.histogram)).collect();
        for (from, to) in self.merged.iter().filter(|(from, to)| from != to) {
            let more = histograms[*from].clone().into_owned();
            histograms[*to].to_mut().merge(more);
        }
        histograms
    }

    fn candidates<'t>(&self, histograms: &'t [Cow<Histogram>], method: CalibrationMethod) -> Vec<Candidate<'t>> {
        let candidate = |(h, nn): (&'t Cow<Histogram>, &bool)| Candidate::new(h, method, *nn);
        let mut candidates: Vec<_> = histograms.iter().zip(&self.non_negative).map(candidate).collect();
        // Where a function hardly changes, its argument needs no integers.
        let arguments = &mut candidates[self.inputs + self.layers.len()..];
        for (argument, layer) in arguments.iter_mut().zip(self.layers) {
            if let Some(curve) = &layer.curve {
                argument.narrow(curve.function.active());
            }
        }
        self.symmetric.iter().for_each(|slot| candidates[*slot].make_symmetric());
        candidates
    }

    fn follow_roots(&self, exponents: &mut [i32]) {
        for slot in 0..exponents.len() {
            exponents[slot] = exponents[self.root[slot]];
        }
    }

    /// Raises exponents towards the constraints once; true if one was raised.
    fn raise(&self, exponents: &mut [i32], weights: &[Vec<Option<i32>>]) -> bool {
        let before = exponents.to_vec();
        for (index, layer) in self.layers.iter().enumerate() {
            let output = self.inputs + self.layers.len() + index;
            let sources: Vec<usize> = layer.sources.iter().map(|s| slot(self.inputs, *s)).collect();
            match &layer.op {
                op if copies(op) || matches!(op, ArrayOp::Sequence) => {}
                ArrayOp::Narrow => {
                    self.raise_to(exponents, output, exponents[sources[0]]);
                    self.raise_to(exponents, sources[0], exponents[output] - MAX_SHIFT);
                }
                ArrayOp::Products => self.align_products(exponents, output, layer, &sources),
                ArrayOp::Add | ArrayOp::Concat => {
                    let coarsest = sources.iter().map(|s| exponents[*s]).max().unwrap_or(0);
                    let floor = (coarsest - MAX_LEFT_SHIFT).max(exponents[output] - MAX_SHIFT);
                    sources.iter().for_each(|s| self.raise_to(exponents, *s, floor));
                    let finest = sources.iter().map(|s| exponents[*s]).min().unwrap_or(0);
                    self.raise_to(exponents, output, finest);
                }
                ArrayOp::Gate => {
                    let [map, gates] = [sources[0], sources[1]];
                    self.raise_to(exponents, output, exponents[map] + exponents[gates]);
                    self.raise_to(exponents, map, exponents[output] - MAX_SHIFT - exponents[gates]);
                }
                _ => {
                    // Vectors one after another are read in steps of the first: none has coarser weights than this.
                    let (vectors, added) = sources.split_at(layer.own_sources().len());
                    if let Some(weight) = weights[index].iter().flatten().max() {
                        let coarsest = vectors.iter().map(|s| exponents[*s]).max().expect("a convolution reads");
                        let floor = coarsest + weight;
                        self.raise_to(exponents, output, floor);
                        // The operand that is added must not be finer than the accumulator.
                        added.iter().for_each(|r| self.raise_to(exponents, *r, floor));
                    }
                    for operand in added {
                        self.raise_to(exponents, output, exponents[*operand] - MAX_RESIDUAL_SHIFT);
                        self.raise_to(exponents, *operand, exponents[output] + MAX_RESIDUAL_SHIFT - MAX_SHIFT);
                    }
                }
            }
        }
        self.follow_roots(exponents);
        exponents != before && exponents.iter().all(|e| e <= EXPONENTS.end())
    }

    fn align_products(&self, exponents: &mut [i32], output: usize, layer: &ArrayLayer, sources: &[usize]) {
        let factors: Vec<usize> = sources.iter().skip(1).step_by(2).copied().collect();
        let factor = factors.iter().map(|f| exponents[*f]).max().unwrap_or(0);
        factors.iter().for_each(|f| self.raise_to(exponents, *f, factor));
        let last = sources[sources.len() - 2];
        let values = layer.steps.iter().zip(sources).step_by(2).filter(|(step, _)| step.is_none());
        for value in values.map(|(_, value)| *value).filter(|value| *value != last) {
            self.raise_to(exponents, value, exponents[last]);
            let above = exponents[value] - exponents[last];
            let shift = PRODUCT_SHIFTS.into_iter().find(|s| *s <= above).expect("0 is among them");
            self.raise_to(exponents, last, exponents[value] - shift);
        }
        self.raise_to(exponents, output, exponents[last] + factor);
        self.raise_to(exponents, last, exponents[output] - MAX_SHIFT - factor);
    }

    fn raise_to(&self, exponents: &mut [i32], slot: usize, floor: i32) {
        let root = self.root[slot];
        exponents[root] = exponents[root].max(floor);
        exponents[slot] = exponents[root];
    }
}
