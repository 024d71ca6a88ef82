//! How a tensor `[channels, height, width]` lies in the activation lanes.
//!
//! A lane is a byte-wide memory; all lanes of one tensor use the same addresses. A tensor with more
//! channels than lanes continues in further *planes* behind the first; one with few channels is
//! stored in several *replicas*, so that more rows of the array can read it at once. Around every
//! plane lies a halo that holds the padding of its readers. The right halo of a row is the left
//! halo of the next: `pitch = width + side`.

/// Width of the border around every plane of a tensor, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Halo {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns on either side, shared between the end of a row and the start of the next.
    pub side: usize,
}

/// Place of a tensor inside the region of lane memory that it occupies, relative to its base address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorLayout {
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Lanes of the accelerator.
    pub rows: usize,
    /// Copies of the tensor in other lanes; 1 if it has more than `rows / 2` channels.
    pub replicas: usize,
    /// Groups of `rows` channels behind one another.
    pub planes: usize,
    /// Border.
    pub halo: Halo,
    /// Values of 16 bits, whose two bytes lie side by side; there are no replicas of them.
    pub wide: bool,
    /// Bytes from one row to the next: width and side halo.
    pub pitch: usize,
    /// Bytes of one plane with its halo.
    pub plane_bytes: usize,
    /// Some reader pads with the zero point.
    pub pads_zero_point: bool,
    /// Some reader pads with the smallest value (maximum pooling).
    pub pads_minimum: bool,
}

/// Cells of a rectangle of lane memory in the order of an instruction: `nx` cells a row, `ny` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRect {
    /// First address, relative to the base of the tensor.
    pub offset: usize,
    /// Cells of a row, at most 4095.
    pub nx: usize,
    /// Rows, at most 4095.
    pub ny: usize,
    /// Bytes from one row to the next.
    pub step_y: usize,
}

impl CellRect {
    /// Number of cells, at most 4095 squared.
    pub fn cells(&self) -> usize {
        self.nx * self.ny
    }

    /// Addresses in the order of the instruction.
    pub fn addresses(self) -> impl Iterator<Item = usize> {
        (0..self.ny).flat_map(move |y| (0..self.nx).map(move |x| self.offset + y * self.step_y + x))
    }
}

/// How a block of output channels is written back: chunk `k` puts column `lane + rot0 + k * rot_step`
/// into every lane for which that is a column of the block, at `plane_offset + k * step` from the
/// address of the element in plane 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteBack {
    /// Chunks = lane writes an output pixel.
    pub chunks: usize,
    /// Byte offset of the plane of the first chunk.
    pub plane_offset: usize,
    /// Column of lane 0 in the first chunk; negative if the first column lies in a higher lane.
    pub rot0: i32,
    /// Added to it from chunk to chunk.
    pub rot_step: i32,
    /// Bytes between chunks.
    pub step: usize,
}

/// How often a tensor of `channels` is stored in `rows` lanes.
///
/// Copies of a layer's output cost one write cycle each, so there are at most four; a graph input
/// of up to four channels is replicated for free while it is loaded.
pub fn replicas(channels: usize, rows: usize, is_graph_input: bool) -> usize {
    if channels == 0 || channels > rows / 2 {
        1
    } else if is_graph_input {
        if channels <= 4 { rows / channels } else { 1 }
    } else {
        (rows / channels).min(4)
    }
}

impl TensorLayout {
    /// The layout of a tensor; sizes saturate, so an absurd tensor is only absurdly large.
    pub fn new(shape: [usize; 3], rows: usize, is_graph_input: bool, halo: Halo) -> Self {
        let [channels, height, width] = shape;
        let pitch = width.saturating_add(halo.side);
        let lines = height.saturating_add(halo.top).saturating_add(halo.bottom);
        TensorLayout {
            shape,
            rows,
            replicas: replicas(channels, rows, is_graph_input),
            planes: channels.div_ceil(rows),
            halo,
            wide: false,
            pitch,
            plane_bytes: lines.saturating_mul(pitch).saturating_add(halo.side),
            pads_zero_point: false,
            pads_minimum: false,
        }
    }

    /// The layout of values of 16 bits: `[channels, height, 2 * width]` bytes.
    #[must_use]
    pub fn of_wide(self) -> Self {
        TensorLayout { wide: true, replicas: 1, ..self }
    }

    /// The layout with another number of channels; the unchanged one if it is the same (graph inputs
    /// are replicated by a rule of their own).
    #[must_use]
    pub fn with_channels(&self, channels: usize) -> Self {
        if channels == self.shape[0] {
            return self.clone();
        }
        let [_, height, width] = self.shape;
        TensorLayout {
            shape: [channels, height, width],
            replicas: if self.wide { 1 } else { replicas(channels, self.rows, false) },
            planes: channels.div_ceil(self.rows),
            ..self.clone()
        }
    }

    /// Bytes of every lane that the tensor occupies, halo included.
    pub fn bytes(&self) -> usize {
        self.planes.saturating_mul(self.plane_bytes)
    }

    /// Rows of a plane with the halo above and below.
    pub fn lines(&self) -> usize {
        self.shape[1].saturating_add(self.halo.top).saturating_add(self.halo.bottom)
    }

    /// Lane of replica `replica` of a channel.
    pub fn lane(&self, channel: usize, replica: usize) -> usize {
        if self.planes > 1 { channel % self.rows } else { channel + replica * self.shape[0] }
    }

    /// Plane of a channel.
    pub fn plane(&self, channel: usize) -> usize {
        channel / self.rows
    }

    /// Address of an element relative to the base of the tensor, in the lanes of its channel.
    pub fn offset(&self, channel: usize, y: usize, x: usize) -> usize {
        self.plane(channel) * self.plane_bytes + self.origin() + y * self.pitch + x
    }

    /// Address of row 0, column 0 in a plane.
    pub fn origin(&self) -> usize {
        self.halo.top * self.pitch + self.halo.side
    }

    /// True if there is no halo: all elements of a lane are contiguous.
    pub fn is_contiguous(&self) -> bool {
        self.halo == Halo::default()
    }

    /// Exactly the halo cells of all planes. Runs that touch across planes are joined.
    pub fn halo_rects(&self) -> Vec<CellRect> {
        let [_, height, width] = self.shape;
        let Halo { top, bottom, side } = self.halo;
        let mut rects = Vec::new();
        let (above, below) = (top * self.pitch + side, bottom * self.pitch);
        for plane in 0..self.planes {
            let base = plane * self.plane_bytes;
            let before = if plane > 0 { below } else { 0 };
            push_run(&mut rects, base - before, before + above);
            if side > 0 {
                let offset = base + self.origin() + width;
                rects.push(CellRect { offset, nx: side, ny: height, step_y: self.pitch });
            }
        }
        push_run(&mut rects, self.bytes() - below, below);
        rects
    }

    /// All elements in the order plane, row, column: the beats of a LOAD or STORE.
    pub fn element_rects(&self) -> Vec<CellRect> {
        let [_, height, width] = self.shape;
        let mut rects = Vec::new();
        if self.is_contiguous() {
            push_run(&mut rects, 0, self.bytes());
            return rects;
        }
        for plane in 0..self.planes {
            let offset = plane * self.plane_bytes + self.origin();
            rects.push(CellRect { offset, nx: width, ny: height, step_y: self.pitch });
        }
        rects
    }

    /// How channels `first..first + columns`, computed in columns `0..columns`, reach their lanes.
    pub fn write_back(&self, first: usize, columns: usize) -> WriteBack {
        let signed = |v: usize| i32::try_from(v).expect("channels of a mapped tensor fit 31 bits");
        if self.planes > 1 {
            let plane = first / self.rows;
            let last = (first + columns - 1) / self.rows;
            WriteBack {
                chunks: last - plane + 1,
                plane_offset: plane * self.plane_bytes,
                rot0: signed(plane * self.rows) - signed(first),
                rot_step: signed(self.rows),
                step: self.plane_bytes,
            }
        } else {
            WriteBack {
                chunks: self.replicas,
                plane_offset: 0,
                rot0: -signed(first),
                rot_step: -signed(self.shape[0]),
                step: 0,
            }
        }
    }
}

/// Appends a contiguous run as rectangles that fit the counters of an instruction.
fn push_run(rects: &mut Vec<CellRect>, offset: usize, cells: usize) {
    const ROW: usize = crate::config::MAX_COUNT;
    let full = cells / ROW;
    if full > 0 {
        rects.push(CellRect { offset, nx: ROW, ny: full, step_y: ROW });
    }
    if !cells.is_multiple_of(ROW) {
        rects.push(CellRect { offset: offset + full * ROW, nx: cells % ROW, ny: 1, step_y: cells % ROW });
    }
}
