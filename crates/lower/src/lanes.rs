//! Activation lanes that know who wrote each byte, and whether the write has arrived.

/// Byte-wide memories of equal depth.
pub(crate) struct Lanes {
    depth: usize,
    /// `[lane][address]`.
    bytes: Vec<i8>,
    /// Who wrote the byte: index of the instruction plus one, 0 = nobody.
    writer: Vec<u32>,
    /// Writes of instructions below this index have arrived.
    arrived: u32,
}

impl Lanes {
    /// Lanes that hold garbage.
    pub fn new(rows: usize, depth: usize) -> Self {
        Lanes { depth, bytes: vec![0; rows * depth], writer: vec![0; rows * depth], arrived: 0 }
    }

    /// The next reads happen when the writes of instructions below this index are in the lanes.
    pub fn settle(&mut self, arrived: u32) {
        self.arrived = arrived;
    }

    /// Bytes of a lane at all `pixels + offset`, modulo 2^16.
    pub fn gather(&self, lane: usize, pixels: &[u16], offset: u16, values: &mut Vec<i16>) -> Result<(), String> {
        let range = lane * self.depth..(lane + 1) * self.depth;
        let (bytes, writer) = (&self.bytes[range.clone()], &self.writer[range]);
        values.clear();
        let mut bad = false;
        values.extend(pixels.iter().map(|pixel| {
            let address = usize::from(pixel.wrapping_add(offset));
            // Writer 0 wraps to the largest number: nobody's write never arrives.
            bad |= writer.get(address).is_none_or(|w| w.wrapping_sub(1) >= self.arrived);
            bytes.get(address).copied().map_or(0, i16::from)
        }));
        if bad {
            let faults = pixels.iter().filter_map(|p| self.fault(lane, usize::from(p.wrapping_add(offset))));
            return Err(faults.into_iter().next().expect("one of the reads was bad"));
        }
        Ok(())
    }

    /// What is wrong with reading a byte, if anything.
    fn fault(&self, lane: usize, address: usize) -> Option<String> {
        if address >= self.depth {
            return Some(format!("reads lane {lane} at {address}, beyond its {} bytes", self.depth));
        }
        match self.writer[lane * self.depth + address] {
            0 => Some(format!("reads lane {lane} at {address}, which nobody wrote")),
            writer if writer > self.arrived => Some(format!(
                "reads lane {lane} at {address} while the write of instruction {} may be under way",
                writer - 1
            )),
            _ => None,
        }
    }

    /// All lanes at one address; bytes that nobody wrote read as zero, as they carry no element.
    pub fn column(&self, address: u16) -> Result<Vec<u8>, String> {
        let address = usize::from(address);
        if address >= self.depth {
            return Err(format!("reads address {address}, beyond the {} bytes of a lane", self.depth));
        }
        Ok(self.bytes[address..].iter().step_by(self.depth).map(|b| b.cast_unsigned()).collect())
    }

    /// Writes the lanes of `mask`.
    pub fn write(&mut self, address: u16, mask: u32, data: &[i8], instruction: u32) -> Result<(), String> {
        let address = usize::from(address);
        if address >= self.depth {
            return Err(format!("writes address {address}, beyond the {} bytes of a lane", self.depth));
        }
        for (lane, byte) in data.iter().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
            self.bytes[lane * self.depth + address] = *byte;
            self.writer[lane * self.depth + address] = instruction + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_need_a_write_that_has_arrived() {
        let mut lanes = Lanes::new(4, 16);
        let mut values = Vec::new();
        lanes.write(3, 0b0101, &[-128, 1, 127, 2], 5).unwrap();
        lanes.settle(5);
        assert!(lanes.gather(0, &[3], 0, &mut values).unwrap_err().contains("instruction 5"));
        lanes.settle(6);
        lanes.gather(0, &[4, 2], u16::MAX, &mut values).unwrap_err();
        lanes.gather(0, &[4], u16::MAX, &mut values).unwrap();
        assert_eq!(values, [-128]);
        assert!(lanes.gather(1, &[3], 0, &mut values).unwrap_err().contains("nobody"));
        assert!(lanes.gather(3, &[16], 0, &mut values).unwrap_err().contains("beyond"));
        assert!(lanes.write(16, 1, &[0; 4], 0).unwrap_err().contains("beyond"));
        assert_eq!(lanes.column(3).unwrap(), [128, 0, 127, 0]);
    }
}
