//! What the accelerator cannot hold, said with numbers and a way out.

use espalier_ir::{ArrayLayer, ArrayOp, Diagnostic, Diagnostics, Residual};

use crate::config::{MAX_COUNT, MAX_LANE_BYTES, MAX_TILES, MAX_WINDOW};
use crate::geometry::window;
use crate::{AcceleratorConfig, LayerGeometry, TensorLayout, dense_tiles};

/// Checks loops that do not depend on where tensors lie.
pub(crate) fn layers(layers: &[ArrayLayer], config: &AcceleratorConfig, findings: &mut Diagnostics) {
    for layer in layers {
        operands(layer, findings);
        if layer.curve.is_some() && !config.activation_tables {
            findings.push(
                Diagnostic::error(
                    "no-activation-tables",
                    format!("layer '{}' ({})", layer.name, layer.op_name),
                    "ends in a function of single values, and write-back has no tables for it",
                )
                .with_help("set 'activation_tables' to true, or train with Relu or Clip (ReLU6) instead"),
            );
        }
        if matches!(layer.op, ArrayOp::Gate) && !config.gates {
            findings.push(
                Diagnostic::error(
                    "no-gates",
                    format!("layer '{}' ({})", layer.name, layer.op_name),
                    "multiplies channels by computed factors, and the depthwise unit takes none",
                )
                .with_help("set 'gates' to true and 'depthwise_taps' to at least 2, on an array with rows <= cols"),
            );
        }
        if layer.is_wide() && !config.states {
            findings.push(
                Diagnostic::error(
                    "no-states",
                    format!("layer '{}' ({})", layer.name, layer.op_name),
                    "adds products as a value of 16 bits, and the depthwise unit keeps none",
                )
                .with_help("set 'states' and 'gates' to true and 'depthwise_taps' to at least 2, on an array with rows <= cols"),
            );
        }
        let ([wy, wx], _) = window(layer);
        let at = format!("layer '{}' ({})", layer.name, layer.op_name);
        if wy > MAX_WINDOW || wx > MAX_WINDOW {
            findings.push(
                Diagnostic::error(
                    "window-too-large",
                    at,
                    format!("maximum pooling window {wy}x{wx} exceeds {MAX_WINDOW}x{MAX_WINDOW}"),
                )
                .with_help("split the pooling into two smaller ones in a row"),
            );
        } else if wy * wx > config.accumulator_pixels {
            findings.push(
                Diagnostic::error(
                    "window-exceeds-accumulators",
                    at,
                    format!(
                        "one pooling window has {} pixels, the accumulators hold {}",
                        wy * wx,
                        config.accumulator_pixels
                    ),
                )
                .with_help(format!("set 'accumulator_pixels' to at least {}", wy * wx)),
            );
        }
    }
}

/// A layer that works channel by channel cannot read a feature map as flat features.
fn operands(layer: &ArrayLayer, findings: &mut Diagnostics) {
    let [channels, height, width] = layer.conv_shape;
    let fits = match layer.op {
        ArrayOp::ConvTranspose { .. } => true,
        ArrayOp::Resize { .. } => layer.in_shapes.iter().all(|s| *s == layer.conv_shape),
        ArrayOp::Conv { .. } => layer.residual.as_ref().is_none_or(|r| residual_fits(layer, r)),
        ArrayOp::Concat | ArrayOp::Select { .. } => layer.in_shapes.iter().all(|s| s[1..] == [height, width]),
        // The list of layers holds none whose operands do not fit.
        ArrayOp::Gate | ArrayOp::Products | ArrayOp::Narrow | ArrayOp::Sequence => true,
        ArrayOp::Add | ArrayOp::Scale { .. } => layer.in_shapes.iter().all(|s| *s == layer.conv_shape),
        ArrayOp::AveragePool { .. } | ArrayOp::MaxPool { .. } => layer.in_shapes.iter().all(|s| s[0] == channels),
    };
    if !fits {
        findings.push(
            Diagnostic::error(
                "flattened-operand",
                format!("layer '{}' ({})", layer.name, layer.op_name),
                format!("reads maps {:?} as {:?}", layer.in_shapes, layer.conv_shape),
            )
            .with_help("move the flattening behind this operator; only fully connected layers read flattened maps"),
        );
    }
}

/// The operand that a convolution adds covers its whole output.
fn residual_fits(layer: &ArrayLayer, residual: &Residual) -> bool {
    let ([channels, height, width], Some([from, rows, columns])) = (layer.conv_shape, layer.in_shapes.last()) else {
        return false;
    };
    let [sy, sx] = residual.stride;
    let channels_fit = match &residual.channels {
        None => channels == *from,
        Some(picked) => channels == picked.len() && picked.iter().flatten().all(|c| c < from),
    };
    channels_fit && rows.div_ceil(sy) == height && columns.div_ceil(sx) == width
}

/// Checks every tensor: graph inputs first, then layer outputs.
pub(crate) fn tensors(
    layers: &[ArrayLayer],
    layouts: &[TensorLayout],
    inputs: usize,
    config: &AcceleratorConfig,
    findings: &mut Diagnostics,
) {
    for (i, layout) in layouts.iter().enumerate() {
        let at = match i.checked_sub(inputs) {
            None => format!("graph input {i}"),
            Some(layer) => format!("layer '{}' ({})", layers[layer].name, layers[layer].op_name),
        };
        let [channels, height, width] = layout.shape;
        if height > MAX_COUNT || width > MAX_COUNT {
            findings.push(
                Diagnostic::error(
                    "map-too-large",
                    at.clone(),
                    format!("a map of {height}x{width} exceeds {MAX_COUNT} rows or columns"),
                )
                .with_help("scale the input of the network down"),
            );
        }
        if layout.bytes() > config.lane_bytes && config.spill_memory().is_none() {
            let message = format!(
                "the tensor {channels}x{height}x{width} takes {} bytes of every lane, the lanes have {}",
                layout.bytes(),
                config.lane_bytes
            );
            findings.push(Diagnostic::error("tensor-too-large", at, message).with_help(larger_lanes(layout, config)));
        }
    }
}

fn larger_lanes(layout: &TensorLayout, config: &AcceleratorConfig) -> String {
    if layout.bytes() <= MAX_LANE_BYTES {
        format!("set 'lane_bytes' to at least {}", layout.bytes().next_power_of_two())
    } else if layout.planes > 1 {
        format!("use more than {} rows, or shrink the network's input", config.rows)
    } else {
        format!("a lane addresses at most {MAX_LANE_BYTES} bytes; shrink the network's input")
    }
}

/// Checks the tile counts of all blocks against the 15-bit field of an instruction.
pub(crate) fn tile_counts(layers: &[LayerGeometry], config: &AcceleratorConfig, findings: &mut Diagnostics) {
    for layer in layers {
        let most = dense_tiles(layer, config).into_iter().max().unwrap_or(0);
        if most > MAX_TILES {
            findings.push(
                Diagnostic::error(
                    "too-many-tiles",
                    format!("layer '{}' ({})", layer.name, layer.op_name),
                    format!("a block takes {most} weight tiles, an instruction holds {MAX_TILES}"),
                )
                .with_help(format!("use more than {} rows", config.rows)),
            );
        }
    }
}
