//! Which input pixels a sliding window reads, worked out once for a node.

use espalier_ir::Pads;

/// Output pixels whose weight gradients are summed before they are written.
const CHUNK: usize = 64;

/// For every pixel of one side, `(pixel of the other side, tap)`, taps ascending.
#[derive(Debug, Clone)]
pub(crate) struct Taps {
    starts: Vec<u32>,
    entries: Vec<(u32, u32)>,
}

impl Taps {
    fn new(lists: Vec<Vec<(u32, u32)>>) -> Self {
        let mut starts = vec![0];
        let mut entries = Vec::new();
        for list in lists {
            entries.extend(list);
            starts.push(entries.len() as u32);
        }
        Taps { starts, entries }
    }

    pub(crate) fn pixels(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline(always)]
    pub(crate) fn of(&self, pixel: usize) -> &[(u32, u32)] {
        &self.entries[self.starts[pixel] as usize..self.starts[pixel + 1] as usize]
    }
}

/// The geometry of one convolution or pooling.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    /// Taps of a window: kernel height times width.
    pub(crate) taps: usize,
    /// By output pixel: what it reads.
    pub(crate) reads: Taps,
    /// By input pixel: who reads it.
    pub(crate) readers: Taps,
    /// By chunk of output pixels and tap: `(output pixel, input pixel)`.
    pub(crate) pairs: Vec<Vec<Vec<(u32, u32)>>>,
}

impl Windows {
    /// `input` and `output` are `[height, width]`.
    pub(crate) fn new(
        input: [usize; 2],
        output: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        pads: Pads,
        dilation: [usize; 2],
    ) -> Self {
        let taps = kernel[0] * kernel[1];
        let mut reads = vec![Vec::new(); output[0] * output[1]];
        let mut readers = vec![Vec::new(); input[0] * input[1]];
        let mut pairs = vec![vec![Vec::new(); taps]; (output[0] * output[1]).div_ceil(CHUNK)];
        let position = |out: usize, tap: usize, axis: usize, begin: usize| {
            (out * stride[axis] + tap * dilation[axis]).checked_sub(begin).filter(|i| *i < input[axis])
        };
        for out in 0..output[0] * output[1] {
            let (y, x) = (out / output[1], out % output[1]);
            for (tap, pairs) in pairs[out / CHUNK].iter_mut().enumerate() {
                let row = position(y, tap / kernel[1], 0, pads.top);
                let column = position(x, tap % kernel[1], 1, pads.left);
                let (Some(row), Some(column)) = (row, column) else { continue };
                let source = row * input[1] + column;
                reads[out].push((source as u32, tap as u32));
                readers[source].push((out as u32, tap as u32));
                pairs.push((out as u32, source as u32));
            }
        }
        Windows { taps, reads: Taps::new(reads), readers: Taps::new(readers), pairs }
    }

    /// One pixel that reads one pixel: a fully connected layer.
    pub(crate) fn single() -> Self {
        Windows::new([1, 1], [1, 1], [1, 1], [1, 1], Pads::default(), [1, 1])
    }
}
