//! Channels that become pixels, and pixels that become channels: as one transposition between two shapes.

use espalier_ir::{NodeId, Op};

use crate::import::Importer;
use crate::node::Node;
use crate::value::{Outcome, Stop};

/// `[c * b * b, h, w]` to `[c, h * b, w * b]`.
pub fn depth_to_space(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let (input, [channels, height, width], b) = operand(importer, node)?;
    if !channels.is_multiple_of(b * b) {
        return Err(misfit(node, b, &[channels, height, width]));
    }
    let c = channels / (b * b);
    let input = match node.text("mode", "DCR")? {
        "CRD" => input,
        // The place of the pixel is the slower index: channels are brought together first.
        "DCR" => {
            let order = (0..channels).map(|j| Some(j % (b * b) * c + j / (b * b))).collect();
            importer.named(&format!("{}.channels", node.name), Op::Select { channels: order }, &[input])?
        }
        other => return Err(node.error("invalid-attribute", format!("attribute 'mode' is '{other}'")).into()),
    };
    let apart = importer.reshaped(&node.name, input, &[c, b, b, height, width])?;
    let woven = importer.transposed(&node.name, apart, &[0, 3, 1, 4, 2])?;
    importer.emit(node, Op::Reshape { shape: vec![c, height * b, width * b] }, &[woven])
}

/// `[c, h * b, w * b]` to `[b * b * c, h, w]`, the place of the pixel as the slower index.
pub fn space_to_depth(importer: &mut Importer<'_>, node: &Node<'_>) -> Outcome {
    let (input, [c, height, width], b) = operand(importer, node)?;
    if !height.is_multiple_of(b) || !width.is_multiple_of(b) {
        return Err(misfit(node, b, &[c, height, width]));
    }
    let woven = importer.reshaped(&node.name, input, &[c, height / b, b, width / b, b])?;
    let apart = importer.transposed(&node.name, woven, &[0, 2, 4, 1, 3])?;
    let channels = importer.reshaped(&node.name, apart, &[c * b * b, height / b, width / b])?;
    let order = (0..c * b * b).map(|j| Some(j % c * (b * b) + j / c)).collect();
    importer.emit(node, Op::Select { channels: order }, &[channels])
}

fn operand(importer: &mut Importer<'_>, node: &Node<'_>) -> Result<(NodeId, [usize; 3], usize), Stop> {
    let block = node.int("blocksize", 0)?;
    let input = importer.tensor(node, 0)?;
    let block = usize::try_from(block)
        .ok()
        .filter(|b| (1..=256).contains(b))
        .ok_or_else(|| node.error("invalid-attribute", format!("attribute 'blocksize' is {block}")))?;
    match importer.graph.node(input).shape[..] {
        [c, h, w] => Ok((input, [c, h, w], block)),
        ref shape => Err(node.unsupported(format!("reads samples of shape {shape:?}, not of three axes")).into()),
    }
}

fn misfit(node: &Node<'_>, block: usize, shape: &[usize]) -> Stop {
    node.error("shape-mismatch", format!("blocks of {block} x {block} do not divide {shape:?}")).into()
}
