//! What a compiled program costs, next to the unpruned network on the same accelerator.

use espalier_ir::{Diagnostics, Graph, array_layers, unrolled};
use espalier_lower::{Instruction, Machine, Program};
use espalier_quant::{QuantizedGraph, QuantizedLayer, QuantizedOp};
use espalier_target::{Action, CostEstimate, CostModel, Figures, Target, estimate, estimate_model, figures, plan};

use crate::design::Design;
use crate::report::{CyclesReport, LayerReport, ModelReport};

/// Cost of a compiled program.
pub struct Assessment {
    /// The network before and after.
    pub model: ModelReport,
    /// Cycles before and after.
    pub cycles: CyclesReport,
    /// Useful multiply-accumulates per cycle and array element.
    pub utilization: f64,
    /// Cost model's view of the program.
    pub estimate: CostEstimate,
    /// What budgets may limit.
    pub figures: Figures,
    /// One entry a layer.
    pub layers: Vec<LayerReport>,
}

/// Compares the program of `design` with `original` on the same accelerator.
///
/// # Errors
/// If the accelerator cannot hold the original network.
pub fn assess(original: &Graph, design: &Design) -> Result<Assessment, Diagnostics> {
    let Design { graph, quantized, program, info, .. } = design;
    let dense = estimate(original, &info.target, &unresolved(program), None)?;
    let before = array_layers(&*unrolled(original)?)?;
    let model = CostModel::new(graph, &program.config)?;
    let tiles = tiles_of_program(&model, program);
    let after = estimate_model(&model, &info.target, &tiles);
    let machine = Machine::new(&program.config, &program.program_words(), &program.weights)?;
    let predicted = machine.cycles().total;
    let capacity = program.config.macs_per_cycle() as f64;
    let useful: Vec<u64> = quantized
        .layers
        .iter()
        .zip(&after.layers)
        .map(|(layer, cost)| useful_macs(layer).unwrap_or(cost.macs))
        .collect();
    let layers = after.layers.iter().enumerate().map(|(index, cost)| LayerReport {
        name: cost.name.clone(),
        op: cost.op_name.to_owned(),
        peer: quantized.layers[index].peer,
        out_channels_before: before.get(index).map_or(0, |l| l.out_shape[0]),
        out_channels_after: quantized.layers[index].output.shape[0],
        tiles_dense: dense.layers.get(index).map_or(0, |l| l.tiles),
        tiles_kept: cost.tiles,
        cycles_dense: dense.layers.get(index).map_or(0, |l| l.cycles),
        cycles_predicted: cost.cycles,
        cycles_simulated: None,
        utilization: share(useful[index] as f64, capacity * cost.cycles as f64),
        macs: useful[index],
        bottleneck: cost.bottleneck,
        cycle_use: cost.cycle_use,
        weight_bytes_loaded: cost.weight_bytes_loaded,
        energy: cost.energy,
    });
    Ok(Assessment {
        model: model_report(original, graph, quantized),
        cycles: CyclesReport {
            dense: Some(dense.cycles),
            predicted: Some(predicted),
            simulated: None,
            ratio: Some(share(predicted as f64, dense.cycles as f64)),
        },
        utilization: share(useful.iter().sum::<u64>() as f64, capacity * predicted as f64),
        figures: figures(model.network(), &tiles, &info.target, &program.config),
        layers: layers.collect(),
        estimate: after,
    })
}

/// The configuration with memory depths left open: the dense network may need deeper ones. A ring for streamed weights
/// stays as it is.
fn unresolved(program: &Program) -> espalier_target::AcceleratorConfig {
    let weight_words = program.config.external().map(|memory| memory.ring_words);
    espalier_target::AcceleratorConfig { weight_words, program_instructions: None, ..program.config.clone() }
}

/// Weight tiles of every block of every layer, as the program has them.
fn tiles_of_program(model: &CostModel, program: &Program) -> Vec<Vec<u32>> {
    let mut tiles = model.dense_tiles().to_vec();
    // The program has one instruction for each step of the plan, in the same order.
    for (step, instruction) in
        plan(model.network(), model.config(), model.dense_tiles()).iter().zip(&program.instructions)
    {
        // The last part of a block comes last.
        if let (Action::Conv { layer, block, .. }, Instruction::Conv(conv)) = (step.action, instruction) {
            tiles[layer][block] = u32::from(conv.tiles);
        }
    }
    tiles
}

/// Multiply-accumulates with a weight that is not zero; `None` for layers without weights.
fn useful_macs(layer: &QuantizedLayer) -> Option<u64> {
    match &layer.op {
        QuantizedOp::Conv { weight, .. } => {
            let weights = weight.iter().filter(|w| **w != 0).count() as u64;
            Some(weights * layer.conv_shape[1..].iter().product::<usize>() as u64)
        }
        _ => None,
    }
}

fn model_report(original: &Graph, graph: &Graph, quantized: &QuantizedGraph) -> ModelReport {
    let shape_of = |ids: &[espalier_ir::NodeId]| ids.first().map_or(Vec::new(), |id| original.node(*id).shape.clone());
    let kept = graph.params().filter_map(|(_, _, tensor)| match tensor.data() {
        espalier_ir::TensorData::F32(values) => Some(values.iter().filter(|v| **v != 0.0).count()),
        _ => None,
    });
    ModelReport {
        name: original.name.clone(),
        parameters: original.parameter_count(),
        macs: original.macs(),
        parameters_kept: kept.sum(),
        macs_after: graph.macs(),
        input_shape: shape_of(original.inputs()),
        output_shape: shape_of(original.outputs()),
        host_operators: if quantized.softmax { vec!["Softmax".to_owned()] } else { Vec::new() },
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The target in the report.
pub fn target_report(target: &Target) -> crate::report::TargetReport {
    crate::report::TargetReport {
        name: target.name.clone(),
        clock_mhz: target.clock_mhz.value,
        clock_confidence: Some(target.clock_mhz.confidence),
        description: target.description.clone(),
    }
}
