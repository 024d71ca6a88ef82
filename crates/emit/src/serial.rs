//! What the host sends through the serial line, and what comes back. `espalier_serial.sv` describes the commands.

use espalier_lower::{Program, host_words_per_weight, region_base, register_offset};

/// Command that stores words.
const WRITE: u8 = 1;
/// Command that reads words.
const READ: u8 = 2;
/// Command that feeds the input stream.
const INPUT: u8 = 3;
/// Command that takes from the output stream.
const OUTPUT: u8 = 4;
/// Words or beats of one command.
const MOST: usize = 1 << 16;

/// One command and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialExchange {
    /// Bytes to send.
    pub send: Vec<u8>,
    /// Number of bytes that come back.
    pub reply: usize,
    /// What they must be, if that is known.
    pub expect: Option<Vec<u8>>,
}

fn command(op: u8, count: usize, address: u32, data: Vec<u8>) -> Vec<u8> {
    let count = (count - 1) as u16;
    [vec![op], count.to_le_bytes().to_vec(), address.to_le_bytes().to_vec(), data].concat()
}

fn write(address: u32, words: &[u32]) -> SerialExchange {
    let data = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    SerialExchange { send: command(WRITE, words.len(), address, data), reply: 1, expect: Some(vec![WRITE]) }
}

/// Reads the configuration hash, which must be the program's, and tells the core that it is: a program that lies in the
/// memories since configuration may then start.
pub fn serial_identify(program: &Program) -> Vec<SerialExchange> {
    let hash = program.config_hash();
    let address = register_offset("config_hash");
    let expect = Some(hash.to_le_bytes().to_vec());
    vec![SerialExchange { send: command(READ, 1, address, Vec::new()), reply: 4, expect }, write(address, &[hash])]
}

/// Writes program, weights and their checksum.
pub fn serial_load(program: &Program) -> Vec<SerialExchange> {
    let parts = host_words_per_weight(&program.config);
    let weights = program.host_weight_words();
    // Whole weight words in each command.
    let chunk = MOST / parts * parts;
    let blocks = weights.chunks(chunk).enumerate();
    let at = |block: usize| region_base("weights") + (block * (chunk / parts) * 64) as u32;
    let instructions = program.program_words();
    let code = instructions
        .chunks(MOST)
        .enumerate()
        .map(|(i, words)| write(region_base("program") + (i * MOST * 4) as u32, words));
    let mut exchanges = vec![write(register_offset("config_hash"), &[program.config_hash()])];
    exchanges.extend(code);
    exchanges.extend(blocks.map(|(block, words)| write(at(block), words)));
    exchanges.push(write(register_offset("checksum"), &[program.load_checksum()]));
    exchanges
}

/// Starts the program, sends one input, and takes the result: `beats` as [`Program::input_beats`] makes them.
pub fn serial_infer(program: &Program, beats: &[Vec<u8>], beats_out: usize) -> Vec<SerialExchange> {
    let mut exchanges = vec![write(register_offset("control"), &[1])];
    let last = beats.len().div_ceil(MOST) - 1;
    exchanges.extend(beats.chunks(MOST).enumerate().map(|(number, chunk)| SerialExchange {
        // The packet goes on in the next command.
        send: command(INPUT, chunk.len(), u32::from(number != last), chunk.concat()),
        reply: 1,
        expect: Some(vec![INPUT]),
    }));
    let mut left = beats_out;
    while left > 0 {
        let count = left.min(MOST);
        let reply = count * program.config.rows;
        exchanges.push(SerialExchange { send: command(OUTPUT, count, 0, Vec::new()), reply, expect: None });
        left -= count;
    }
    exchanges
}

/// The exchanges as the bench reads them: for each the number of bytes to send, the bytes, and the number of bytes to
/// wait for (32 bits each, little-endian).
pub fn serial_script(exchanges: &[SerialExchange]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for exchange in exchanges {
        bytes.extend((exchange.send.len() as u32).to_le_bytes());
        bytes.extend(&exchange.send);
        bytes.extend((exchange.reply as u32).to_le_bytes());
    }
    bytes
}

/// Takes the answers apart; those whose answer is not known beforehand are returned behind one another.
///
/// # Errors
/// The first answer that is wrong or missing.
pub fn serial_results(exchanges: &[SerialExchange], replies: &[u8]) -> Result<Vec<u8>, String> {
    let mut rest = replies;
    let mut results = Vec::new();
    for (number, exchange) in exchanges.iter().enumerate() {
        let (reply, tail) = rest
            .split_at_checked(exchange.reply)
            .ok_or_else(|| format!("the answer to command {number} is missing"))?;
        rest = tail;
        match &exchange.expect {
            Some(expected) if expected != reply => {
                return Err(format!("command {number} is answered with {reply:02x?} instead of {expected:02x?}"));
            }
            Some(_) => {}
            None => results.extend(reply),
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_seven_bytes_and_their_data() {
        let exchange = write(0x2000_0040, &[0x0403_0201, 5]);
        assert_eq!(exchange.send, [1, 1, 0, 0x40, 0, 0, 0x20, 1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(serial_script(&[exchange])[..4], 15u32.to_le_bytes());
    }

    #[test]
    fn wrong_and_missing_answers_are_found() {
        let known = write(0, &[1]);
        let data = SerialExchange { send: vec![], reply: 2, expect: None };
        let both = [known, data];
        assert_eq!(serial_results(&both, &[1, 7, 8]), Ok(vec![7, 8]));
        assert!(serial_results(&both, &[255, 7, 8]).unwrap_err().contains("command 0"));
        assert!(serial_results(&both, &[1, 7]).unwrap_err().contains("command 1"));
    }
}
