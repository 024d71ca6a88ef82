//! Maxima over windows that are larger than the accelerator takes, as maxima of maxima.

use espalier_ir::{Diagnostic, NodeId, Op, Pads, Pool};

use crate::import::Importer;
use crate::node::Node;

/// Largest window of one pooling on either axis.
const LARGEST: usize = 15;

/// Adds nodes for all but the last step of a pooling with a large window: the value that they give, and the last step.
/// Other poolings are their own last step.
pub(super) fn split(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    pool: Pool,
    mut input: NodeId,
) -> Result<(Pool, NodeId), Diagnostic> {
    let [_, height, width] = importer.graph.node(input).shape[..] else { return Ok((pool, input)) };
    if pool.kernel.iter().all(|k| *k <= LARGEST) {
        return Ok((pool, input));
    }
    let Pads { top, left, bottom, right } = pool.pads;
    let step = |axis: usize| Axis { kernel: pool.kernel[axis], stride: pool.stride[axis], pads: [0, 0] };
    let rows = Axis { pads: [top, bottom], ..step(0) }.steps(height);
    let columns = Axis { pads: [left, right], ..step(1) }.steps(width);
    // One axis after the other: a window of k x k then costs 2 k elements instead of k * k.
    let one = Axis { kernel: 1, stride: 1, pads: [0, 0] };
    let rows = rows.into_iter().map(|rows| pooling(rows, one));
    let mut steps: Vec<Pool> = rows.chain(columns.into_iter().map(|columns| pooling(one, columns))).collect();
    let last = steps.pop().expect("every axis has a step");
    for step in steps {
        let name = importer.names.take(&format!("{}.part", node.name));
        input = importer.graph.add(name, Op::MaxPool(step), &[input])?;
    }
    Ok((last, input))
}

/// A pooling along one axis.
#[derive(Clone, Copy)]
struct Axis {
    kernel: usize,
    stride: usize,
    pads: [usize; 2],
}

fn pooling(rows: Axis, columns: Axis) -> Pool {
    let ([top, bottom], [left, right]) = (rows.pads, columns.pads);
    Pool {
        kernel: [rows.kernel, columns.kernel],
        stride: [rows.stride, columns.stride],
        pads: Pads { top, left, bottom, right },
    }
}

impl Axis {
    /// The same maximum of `size` elements in steps of at most [`LARGEST`].
    fn steps(self, size: usize) -> Vec<Axis> {
        let Axis { kernel, stride, pads } = self;
        if kernel <= LARGEST {
            return vec![self];
        }
        // Windows that do not overlap, or a single one, are cut into equal parts, if there are any.
        let single = pads == [0, 0] && size < kernel + stride;
        let divides = |part: &usize| kernel.is_multiple_of(*part) && (single || stride.is_multiple_of(*part));
        if let Some(part) = (2..=LARGEST).rev().find(divides).filter(|_| pads == [0, 0]) {
            let stride = if single { size } else { stride / part };
            let rest = Axis { kernel: kernel / part, stride, pads };
            let first = Axis { kernel: part, stride: part, pads };
            return [first].into_iter().chain(rest.steps(size / part)).collect();
        }
        // Else windows of neighbouring elements, whose maxima are `kernel - part + 1` apart at most.
        let part =
            kernel.div_ceil(2).clamp(pads[0].max(pads[1]) + 1, LARGEST.max(pads[0].max(pads[1]) + 1)).min(kernel);
        let inner = size + pads[0] + pads[1] + 1 - part;
        let rest = Axis { kernel: kernel + 1 - part, stride, pads: [0, 0] };
        [Axis { kernel: part, stride: 1, pads }].into_iter().chain(rest.steps(inner)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(x: &[i32], axis: Axis) -> Vec<i32> {
        let [before, after] = axis.pads.map(|n| vec![i32::MIN; n]);
        let padded = [&before, x, &after].concat();
        padded.windows(axis.kernel).step_by(axis.stride).map(|w| *w.iter().max().unwrap()).collect()
    }

    #[test]
    fn steps_give_the_same_maxima() {
        let x: Vec<i32> = (0..70).map(|i| i * 7919 % 101).collect();
        for kernel in 1..60 {
            for stride in [1, 2, 5, kernel] {
                for pads in [[0, 0], [1, 0], [kernel / 3, kernel / 2]] {
                    let axis = Axis { kernel, stride, pads };
                    let steps = axis.steps(x.len());
                    let found = steps.iter().fold(x.clone(), |x, step| pooled(&x, *step));
                    assert_eq!(found, pooled(&x, axis), "{kernel} {stride} {pads:?}");
                    let largest = LARGEST.max(pads[1] + 1);
                    assert!(steps.iter().all(|s| s.kernel <= largest), "{kernel} {stride} {pads:?}");
                }
            }
        }
    }
}
