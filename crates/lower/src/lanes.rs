//! Activation lanes that know who wrote each byte, and whether the write has arrived.

/// Byte-wide memories of equal depth.
pub(crate) struct Lanes {
    depth: usize,
    /// `[lane][address]`.
    bytes: Vec<i8>,
    /// Who wrote the byte: index of the instruction plus one, 0 = nobody.
    writer: Vec<u32>,
    /// Whether the writes of an instruction have arrived.
    arrived: Vec<bool>,
    /// Until when each address is being saved to external memory.
    saved_until: Vec<u64>,
}

impl Lanes {
    /// Lanes that hold garbage.
    pub fn new(rows: usize, depth: usize) -> Self {
        Lanes {
            depth,
            bytes: vec![0; rows * depth],
            writer: vec![0; rows * depth],
            arrived: vec![false],
            saved_until: vec![0; depth],
        }
    }

    /// The next reads happen in cycle `read`, when those instructions have written that end before.
    pub fn settle(&mut self, ends: &[u64], read: u64) {
        self.arrived.clear();
        // Nobody's write never arrives.
        self.arrived.push(false);
        self.arrived.extend(ends.iter().map(|end| *end < read));
    }

    fn has_arrived(&self, writer: u32) -> bool {
        self.arrived.get(writer as usize).copied().unwrap_or(false)
    }

    /// Bytes of a lane at all `pixels + offset`, modulo 2^16.
    pub fn gather(&self, lane: usize, pixels: &[u16], offset: u16, values: &mut Vec<i16>) -> Result<(), String> {
        let range = lane * self.depth..(lane + 1) * self.depth;
        let (bytes, writer) = (&self.bytes[range.clone()], &self.writer[range]);
        values.clear();
        let mut bad = false;
        values.extend(pixels.iter().map(|pixel| {
            let address = usize::from(pixel.wrapping_add(offset));
            bad |= writer.get(address).is_none_or(|w| !self.has_arrived(*w));
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
            writer if !self.has_arrived(writer) => Some(format!(
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

    /// All lanes at one address, whose bytes must have arrived where somebody wrote them, for a transfer that ends in
    /// cycle `until`.
    pub fn save(&mut self, address: u16, until: u64) -> Result<Vec<u8>, String> {
        let word = self.column(address)?;
        let address = usize::from(address);
        for lane in 0..word.len() {
            if self.writer[lane * self.depth + address] != 0
                && let Some(fault) = self.fault(lane, address)
            {
                return Err(fault);
            }
        }
        self.saved_until[address] = until;
        Ok(word)
    }

    /// Writes the lanes of `mask`, from cycle `now` on.
    pub fn write(
        &mut self,
        address: u16,
        mask: u32,
        data: &[i8],
        (instruction, now): (u32, u64),
    ) -> Result<(), String> {
        let address = usize::from(address);
        if address >= self.depth {
            return Err(format!("writes address {address}, beyond the {} bytes of a lane", self.depth));
        }
        if self.saved_until[address] > now {
            return Err(format!("writes address {address} while it may still be saved"));
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
        let ends = [0, 0, 0, 0, 0, 10];
        lanes.write(3, 0b0101, &[-128, 1, 127, 2], (5, 0)).unwrap();
        lanes.settle(&ends, 10);
        assert!(lanes.gather(0, &[3], 0, &mut values).unwrap_err().contains("instruction 5"));
        lanes.settle(&ends, 11);
        lanes.gather(0, &[4, 2], u16::MAX, &mut values).unwrap_err();
        lanes.gather(0, &[4], u16::MAX, &mut values).unwrap();
        assert_eq!(values, [-128]);
        assert!(lanes.gather(1, &[3], 0, &mut values).unwrap_err().contains("nobody"));
        assert!(lanes.gather(3, &[16], 0, &mut values).unwrap_err().contains("beyond"));
        assert!(lanes.write(16, 1, &[0; 4], (0, 0)).unwrap_err().contains("beyond"));
        assert_eq!(lanes.column(3).unwrap(), [128, 0, 127, 0]);
    }

    #[test]
    fn what_is_being_saved_must_not_be_written() {
        let mut lanes = Lanes::new(2, 16);
        lanes.write(3, 0b11, &[1, 2], (0, 0)).unwrap();
        lanes.settle(&[10], 10);
        assert!(lanes.save(3, 50).unwrap_err().contains("under way"));
        lanes.settle(&[10], 11);
        assert_eq!(lanes.save(3, 50).unwrap(), [1, 2]);
        assert!(lanes.write(3, 0b01, &[4, 4], (1, 49)).unwrap_err().contains("saved"));
        lanes.write(3, 0b01, &[4, 4], (1, 50)).unwrap();
    }
}
