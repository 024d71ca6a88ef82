//! Lane writes against expected tensors: the machine's log and the hardware's are judged alike.

use std::fmt;

use serde::Serialize;

use crate::isa::Instruction;
use crate::machine::LaneWrite;
use crate::program::{PlacedTensor, Program};

/// The first place where a log of lane writes is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Index of the layer, if the instruction works for one.
    pub layer: Option<usize>,
    /// Name of the layer.
    pub name: String,
    /// Channel, row and column; `None` for an address that holds no element of the layer's output.
    pub coordinate: Option<[usize; 3]>,
    /// Lane.
    pub lane: usize,
    /// Address in the lane.
    pub address: usize,
    /// The value that belongs there; `None` if nothing should be written.
    pub expected: Option<i8>,
    /// The value written; `None` if nothing was.
    pub got: Option<i8>,
    /// Index of the instruction that wrote, or should have written.
    pub instruction: Option<usize>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: Option<i8>| v.map_or_else(|| "nothing".to_owned(), |v| v.to_string());
        match self.layer {
            Some(layer) => write!(f, "layer {layer} '{}'", self.name)?,
            None => write!(f, "outside of any layer")?,
        }
        if let Some([c, y, x]) = self.coordinate {
            write!(f, ", channel {c}, row {y}, column {x}")?;
        }
        write!(
            f,
            " (lane {}, address {}): expected {}, got {}",
            self.lane,
            self.address,
            value(self.expected),
            value(self.got)
        )?;
        match self.instruction {
            Some(index) => write!(f, ", instruction {index}"),
            None => Ok(()),
        }
    }
}

/// Output `[c, h, w]` of every layer from a log of lane writes; `None` where elements are missing.
///
/// # Errors
/// The first write that hits no element of its layer's output, or that differs from another replica
/// of its element (`expected` is then the value of the replica written before).
pub fn layer_tensors(program: &Program, writes: &[LaneWrite]) -> Result<Vec<Option<Vec<i8>>>, Box<Difference>> {
    let mut tensors: Vec<Vec<Option<i8>>> = program.memory.layers.iter().map(|t| vec![None; t.elements()]).collect();
    for write in writes {
        let Some((layer, tensor)) = writer(program, write)? else { continue };
        let place = Place::new(program, write, tensor);
        for (lane, got) in written(write) {
            let coordinate = place.element_at(lane, write);
            let Some(element) = coordinate.map(|c| &mut tensors[layer][tensor.index(c)]) else {
                return Err(Box::new(difference(program, write, lane, None, None)));
            };
            let before = *element.get_or_insert(got);
            if before != got {
                return Err(Box::new(difference(program, write, lane, coordinate, Some(before))));
            }
        }
    }
    Ok(tensors.into_iter().map(|values| values.into_iter().collect()).collect())
}

/// Compares every lane write of every layer, replicas included, with the expected tensors, then
/// looks for elements that were never written. The first difference in time comes first.
///
/// # Panics
/// If `expected` does not hold one tensor of the right size for every layer.
pub fn first_difference(program: &Program, writes: &[LaneWrite], expected: &[Vec<i8>]) -> Option<Difference> {
    let layers = &program.memory.layers;
    assert!(layers.iter().map(PlacedTensor::elements).eq(expected.iter().map(Vec::len)), "one tensor a layer");
    let mut missing: Vec<Vec<usize>> =
        layers.iter().zip(expected).map(|(t, e)| vec![t.layout.replicas; e.len()]).collect();
    for write in writes {
        let (layer, tensor) = match writer(program, write) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(stray) => return Some(*stray),
        };
        let place = Place::new(program, write, tensor);
        for (lane, got) in written(write) {
            let coordinate = place.element_at(lane, write);
            let Some(index) = coordinate.map(|c| tensor.index(c)) else {
                return Some(difference(program, write, lane, None, None));
            };
            if expected[layer][index] != got {
                return Some(difference(program, write, lane, coordinate, Some(expected[layer][index])));
            }
            missing[layer][index] = missing[layer][index].saturating_sub(1);
        }
    }
    first_missing(program, &missing, expected)
}

/// What a write's instruction has in the lanes: a tensor, or a strip of it.
enum Place<'a> {
    Whole(&'a PlacedTensor),
    Strip(PlacedTensor, usize),
}

impl<'a> Place<'a> {
    fn new(program: &Program, write: &LaneWrite, tensor: &'a PlacedTensor) -> Self {
        match program.strips.get(&(write.instruction as usize)) {
            None => Place::Whole(tensor),
            Some(strip) => {
                let (placed, first_row) = tensor.strip(strip);
                Place::Strip(placed, first_row)
            }
        }
    }

    /// The element of the whole tensor that a lane holds at the address of a write.
    fn element_at(&self, lane: usize, write: &LaneWrite) -> Option<[usize; 3]> {
        match self {
            Place::Whole(tensor) => tensor.element_at(lane, write.address.into()),
            Place::Strip(strip, first_row) => {
                strip.element_at(lane, write.address.into()).map(|[c, y, x]| [c, y + first_row, x])
            }
        }
    }
}

/// The first write of a log that another log does not have: index, expected, got.
pub fn first_write_difference<'a>(
    expected: &'a [LaneWrite],
    got: &'a [LaneWrite],
) -> Option<(usize, Option<&'a LaneWrite>, Option<&'a LaneWrite>)> {
    let index = expected.iter().zip(got).position(|(e, g)| !same(e, g)).unwrap_or(expected.len().min(got.len()));
    let pair = (expected.get(index), got.get(index));
    (pair != (None, None)).then_some((index, pair.0, pair.1))
}

/// Equal in everything but the bytes of lanes that are not written.
fn same(a: &LaneWrite, b: &LaneWrite) -> bool {
    (a.instruction, a.address, a.mask) == (b.instruction, b.address, b.mask) && written(a).eq(written(b))
}

/// The layer whose output a write belongs to; `None` for input and halo.
fn writer<'a>(program: &'a Program, write: &LaneWrite) -> Result<Option<(usize, &'a PlacedTensor)>, Box<Difference>> {
    match program.instructions.get(write.instruction as usize) {
        Some(Instruction::Conv(_)) => {
            let layer = program.layer_of[write.instruction as usize].expect("every CONV works for a layer");
            Ok(Some((layer, &program.memory.layers[layer])))
        }
        Some(Instruction::Fill { .. } | Instruction::Load { .. }) => Ok(None),
        Some(Instruction::Store { .. } | Instruction::Transfer(_) | Instruction::End) | None => {
            Err(Box::new(difference(program, write, write.mask.trailing_zeros() as usize, None, None)))
        }
    }
}

fn written(write: &LaneWrite) -> impl Iterator<Item = (usize, i8)> + '_ {
    write.data.iter().copied().enumerate().filter(|(lane, _)| *lane < 32 && write.mask >> lane & 1 == 1)
}

fn difference(
    program: &Program,
    write: &LaneWrite,
    lane: usize,
    coordinate: Option<[usize; 3]>,
    expected: Option<i8>,
) -> Difference {
    let instruction = write.instruction as usize;
    let layer = program.layer_of.get(instruction).copied().flatten();
    Difference {
        layer,
        name: layer.map(|l| program.memory.layers[l].name.clone()).unwrap_or_default(),
        coordinate,
        lane,
        address: write.address.into(),
        expected,
        got: write.data.get(lane).copied(),
        instruction: Some(instruction),
    }
}

fn first_missing(program: &Program, missing: &[Vec<usize>], expected: &[Vec<i8>]) -> Option<Difference> {
    let layer = missing.iter().position(|m| m.iter().any(|n| *n > 0))?;
    let index = missing[layer].iter().position(|n| *n > 0)?;
    let tensor = &program.memory.layers[layer];
    let [_, height, width] = tensor.layout.shape;
    let [c, y, x] = [index / (height * width), index / width % height, index % width];
    Some(Difference {
        layer: Some(layer),
        name: tensor.name.clone(),
        coordinate: Some([c, y, x]),
        lane: tensor.layout.lane(c, 0),
        address: tensor.base + tensor.layout.offset(c, y, x),
        expected: Some(expected[layer][index]),
        got: None,
        instruction: None,
    })
}
