// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Rust driver against a simulated board: `test FOLDER axi|serial BOARD ARGUMENTS...`. Starts the board, talks to it
//! through pipes, and checks what drivers promise; crates/emit/tests/drivers.rs lists the files of FOLDER.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use espalier_driver::registers::*;
use espalier_driver::{Accelerator, Dma, Error, Line, Memory, Port, Program, Registers, Serial, argmax, crc32};

struct Board {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

/// One space of the board's registers.
struct Space(Rc<RefCell<Board>>, u8);

impl Registers for Space {
    fn read(&mut self, offset: u32) -> u32 {
        let mut board = self.0.borrow_mut();
        board.to.write_all(&[&[self.1, b'r'][..], &offset.to_le_bytes()].concat()).unwrap();
        let mut bytes = [0; 4];
        board.from.read_exact(&mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn write(&mut self, offset: u32, value: u32) {
        let mut board = self.0.borrow_mut();
        board.to.write_all(&[&[self.1, b'w'][..], &offset.to_le_bytes(), &value.to_le_bytes()].concat()).unwrap();
        board.from.read_exact(&mut [0]).unwrap();
    }
}

/// The board maps the file, too. What the driver gets of it begins not where spilled tensors may begin.
struct Shared(File);

const BEGIN: u64 = 192;

impl Memory for Shared {
    fn address(&self) -> u64 {
        0x6_0000_0000 + BEGIN
    }

    fn bytes(&self) -> usize {
        (self.0.metadata().unwrap().len() - BEGIN) as usize
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.0.write_all_at(bytes, BEGIN + at as u64).unwrap();
    }

    fn read(&mut self, at: usize, bytes: &mut [u8]) {
        self.0.read_exact_at(bytes, BEGIN + at as u64).unwrap();
    }
}

struct Pins(Rc<RefCell<Board>>);

impl Line for Pins {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.borrow_mut().to.write_all(bytes).map_err(|_| Error::Port)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.borrow_mut().from.read_exact(bytes).map_err(|_| Error::Port)
    }
}

fn integers(path: &Path) -> Vec<i8> {
    fs::read(path).unwrap().iter().map(|b| *b as i8).collect()
}

fn reals(path: &Path) -> Vec<f32> {
    fs::read(path).unwrap().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn infer<P: Port>(accelerator: &mut Accelerator<P>, program: &Program, input: &[i8]) -> Result<Vec<i8>, Error> {
    let (input_bytes, output_bytes) = accelerator.packet_bytes(program);
    let mut output = vec![0; program.outputs().map(|t| t.elements()).sum()];
    let (mut packet, mut answer) = (vec![0; input_bytes], vec![0; output_bytes]);
    accelerator.infer(program, input, &mut output, &mut packet, &mut answer)?;
    Ok(output)
}

/// Loads the program and runs every sample.
fn results_are_right<P: Port>(accelerator: &mut Accelerator<P>, program: &Program, folder: &Path) {
    accelerator.load(program).unwrap();
    let elements = program.inputs().map(|t| t.elements()).sum();
    let results: usize = program.outputs().map(|t| t.elements()).sum();
    let (inputs, expected) = (integers(&folder.join("inputs.bin")), integers(&folder.join("expected.bin")));
    let (real, expected_real) = (reals(&folder.join("reals.bin")), reals(&folder.join("expected_reals.bin")));
    assert!(inputs.len() >= 2 * elements && inputs.len() / elements == expected.len() / results);
    for sample in 0..inputs.len() / elements {
        let (at, to) = (sample * elements, sample * results);
        let mut quantized = vec![0; elements];
        program.quantize(&real[at..at + elements], &mut quantized);
        assert_eq!(quantized, inputs[at..at + elements]);
        let output = infer(accelerator, program, &quantized).unwrap();
        assert_eq!(output, expected[to..to + results], "sample {sample}");
        let mut values = vec![0.0; results];
        program.dequantize(&output, &mut values);
        assert_eq!(values, expected_real[to..to + results]);
        assert!(accelerator.cycles().unwrap() > 0);
        let best = accelerator.best().unwrap();
        assert_eq!(best as usize, argmax(&output));
        println!("class {best}");
    }
}

fn changed(bytes: &[u8], at: usize, mask: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= mask;
    bytes
}

/// Each is refused with an error of its own, and the right program then runs without a reset.
fn wrong_programs_are_refused<P: Port>(accelerator: &mut Accelerator<P>, good: &[u8], folder: &Path) {
    assert_eq!(Program::open(&changed(good, 0, 8)).unwrap_err(), Error::NotAProgram);
    assert_eq!(Program::open(&changed(good, 4, 8)).unwrap_err(), Error::OtherVersion);
    for at in (12..good.len()).step_by(good.len() / 50) {
        assert_eq!(Program::open(&changed(good, at, 1 << (at % 8))).unwrap_err(), Error::Corrupted, "byte {at}");
    }
    for cut in (4..good.len()).step_by(good.len() / 50) {
        assert_eq!(Program::open(&good[..cut]).unwrap_err(), Error::Truncated, "{cut} bytes");
    }
    let other = fs::read(folder.join("other.bin")).unwrap();
    let other = Program::open(&other).unwrap();
    assert_eq!(accelerator.load(&other), Err(Error::OtherConfiguration));
    let program = Program::open(good).unwrap();
    results_are_right(accelerator, &program, folder);

    // What the core itself finds: one bit of the program on its way, a word too many, another hash.
    let zeros = vec![0; program.inputs().map(|t| t.elements()).sum()];
    let tensors = program.header(FILE_INPUTS) + program.header(FILE_OUTPUTS);
    let mut damaged = changed(good, 4 * (FILE_WORDS + TENSOR_WORDS * tensors) as usize + 21, 4);
    damaged.truncate(good.len() - 4);
    damaged.extend(crc32(&damaged).to_le_bytes());
    let damaged = Program::open(&damaged).unwrap();
    assert_eq!(accelerator.load(&damaged), Err(Error::Checksum));
    assert_eq!(infer(accelerator, &program, &zeros), Err(Error::Checksum));
    results_are_right(accelerator, &program, folder);
    accelerator.port.write(REGION_PROGRAM, &[1, 0, 0, 0]).unwrap();
    assert_eq!(infer(accelerator, &program, &zeros), Err(Error::Checksum));
    let hash = program.header(FILE_CONFIG_HASH) ^ 1;
    accelerator.port.write(REG_CONFIG_HASH, &hash.to_le_bytes()).unwrap();
    assert_eq!(infer(accelerator, &program, &zeros), Err(Error::OtherConfiguration));
}

fn check<P: Port>(port: P, folder: &Path) {
    let mut accelerator = Accelerator::new(port);
    let bytes = fs::read(folder.join("program.bin")).unwrap();
    let program = Program::open(&bytes).unwrap();
    results_are_right(&mut accelerator, &program, folder);
    // Memory that is not there is missed before the core starts.
    assert_eq!(accelerator.port.place(&[], 1 << 30), Err(Error::NoMemory));
    wrong_programs_are_refused(&mut accelerator, &bytes, folder);
    results_are_right(&mut accelerator, &program, folder);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = Path::new(&arguments[1]);
    let mut command = Command::new(&arguments[3]);
    let mut child = command.args(&arguments[4..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let board = Rc::new(RefCell::new(Board { child, to, from }));
    if arguments[2] == "serial" {
        check(Serial::new(Pins(board.clone())), folder);
    } else {
        let memory = File::options().read(true).write(true).open(folder.join("memory.bin")).unwrap();
        check(Dma::open(Space(board.clone(), 0), Space(board.clone(), 1), Shared(memory)).unwrap(), folder);
    }
    let Ok(board) = Rc::try_unwrap(board) else { panic!("the port is gone") };
    let Board { mut child, to, from } = board.into_inner();
    drop((to, from));
    assert!(child.wait().unwrap().success());
    println!("passed");
}
