//! Padding of windows.

use espalier_ir::Pads;

/// Padding as an architecture file says it.
pub(crate) enum Padding {
    /// So many elements.
    Given(Pads),
    /// As many that the output has `ceil(input / stride)` elements, the odd one at the end, as TensorFlow does.
    Same,
}

impl Padding {
    /// Elements on each side for an input of shape `[.., height, width]`.
    pub(crate) fn pads(&self, shape: &[usize], kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Pads {
        let (Padding::Same, [_, height, width]) = (self, shape) else {
            return match self {
                Padding::Given(pads) => *pads,
                Padding::Same => Pads::default(),
            };
        };
        let total = |size: usize, axis: usize| {
            let extent = (kernel[axis] - 1) * dilation[axis] + 1;
            ((size.div_ceil(stride[axis]) - 1) * stride[axis] + extent).saturating_sub(size)
        };
        let [rows, columns] = [total(*height, 0), total(*width, 1)];
        let (top, left) = (rows / 2, columns / 2);
        Pads { top, left, bottom: rows - top, right: columns - left }
    }
}
