# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Python driver against a simulated board: `test.py FOLDER axi|serial BOARD ARGUMENTS...`.

Starts the board, talks to it through pipes, in the place of what pynq and pyserial offer, and checks what drivers promise;
crates/emit/tests/drivers.rs lists the files of FOLDER.
"""

import ctypes
import mmap
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import espalier
import espalier_registers as registers

MEMORY_ADDRESS = 0x6_0000_0000
TO_STREAM, TO_MEMORY = 0x00, 0x30
CONTROL, STATUS, ADDRESS, ADDRESS_HIGH, LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28


class Space:
    """Registers of the board, with the methods of pynq.MMIO."""

    def __init__(self, board, number):
        self._board, self._number = board, number

    def read(self, address):
        self._board.stdin.write(struct.pack("<BcI", self._number, b"r", address))
        self._board.stdin.flush()
        return struct.unpack("<I", self._board.stdout.read(4))[0]

    def write(self, address, value):
        self._board.stdin.write(struct.pack("<BcII", self._number, b"w", address, value))
        self._board.stdin.flush()
        assert self._board.stdout.read(1) == b"\0"


def buffer_at(memory, at, size):
    """Part of the board's memory, with the methods of pynq's buffers that drivers use."""

    class Buffer(ctypes.c_uint8 * size):
        device_address = MEMORY_ADDRESS + at
        nbytes = size

        def flush(self):
            pass

        def invalidate(self):
            pass

        def freebuffer(self):
            pass

    return Buffer.from_buffer(memory, at)


class Channel:
    """One direction of the engine, as pynq's driver sets it going."""

    def __init__(self, engine, base):
        self._engine, self._base = engine, base

    def transfer(self, buffer):
        address = buffer.device_address
        for register, value in ((CONTROL, 1), (ADDRESS, address & 0xFFFF_FFFF), (ADDRESS_HIGH, address >> 32), (LENGTH, buffer.nbytes)):
            self._engine.write(self._base + register, value)

    def wait(self):
        for _ in range(10_000):
            status = self._engine.read(self._base + STATUS)
            assert not status & 0x70, f"the engine reports {status:#x}"
            if status & 2:
                return
        raise AssertionError("the transfer does not end")


class Overlay:
    """The generated Vivado project."""

    def __init__(self, board):
        engine = Space(board, 1)
        self.accelerator = Space(board, 0)
        self.dma = type("Dma", (), {"sendchannel": Channel(engine, TO_STREAM), "recvchannel": Channel(engine, TO_MEMORY)})


def axi_port(folder, board):
    file = open(folder / "memory.bin", "r+b")  # the map keeps it
    memory = mmap.mmap(file.fileno(), 0)
    places = {"next": 0}

    def allocate(shape, dtype):
        assert dtype == "u1"
        at = places["next"]
        if at + shape[0] > len(memory):
            raise RuntimeError("Allocate failed")  # as pynq says it
        places["next"] = (at + shape[0] + 63) // 64 * 64
        return buffer_at(memory, at, shape[0])

    return espalier.PynqPort(Overlay(board), allocate)


class Line:
    """A line with the methods of serial.Serial."""

    def __init__(self, board):
        self._board = board

    def read(self, count):
        return self._board.stdout.read(count)

    def write(self, data):
        self._board.stdin.write(data)
        self._board.stdin.flush()


def numbers(path, kind):
    data = path.read_bytes()
    return list(struct.unpack(f"<{len(data) // struct.calcsize(kind)}{kind}", data))


def results_are_right(accelerator, folder):
    accelerator.load((folder / "program.bin").read_bytes())
    program = accelerator.program
    inputs, expected = numbers(folder / "inputs.bin", "b"), numbers(folder / "expected.bin", "b")
    reals, expected_reals = numbers(folder / "reals.bin", "f"), numbers(folder / "expected_reals.bin", "f")
    elements = sum(tensor.elements for tensor in program.inputs)
    results = sum(tensor.elements for tensor in program.outputs)
    assert len(inputs) >= 2 * elements and len(inputs) // elements == len(expected) // results
    for sample in range(len(inputs) // elements):
        real = reals[sample * elements : (sample + 1) * elements]
        assert accelerator.quantize(real) == inputs[sample * elements : (sample + 1) * elements]
        output = accelerator.infer_integers(accelerator.quantize(real))
        assert output == expected[sample * results : (sample + 1) * results], (sample, output)
        assert accelerator.dequantize(output) == expected_reals[sample * results : (sample + 1) * results]
        assert accelerator.cycles() > 0
        assert accelerator.best() == espalier.argmax(output)
        print("class", accelerator.best())


def refused(error, action, *arguments):
    try:
        action(*arguments)
    except espalier.EspalierError as got:
        assert type(got) is error, f"{got!r} instead of {error}"
    else:
        raise AssertionError(f"{error} was expected")


def changed(data, at, mask):
    data = bytearray(data)
    data[at] ^= mask
    return bytes(data)


def too_little_memory_is_refused(accelerator):
    refused(espalier.NoMemory, accelerator.port.place, b"", 1 << 30)


def wrong_programs_are_refused(accelerator, folder):
    good = (folder / "program.bin").read_bytes()
    refused(espalier.NotAProgram, espalier.Program, changed(good, 0, 8))
    refused(espalier.OtherVersion, espalier.Program, changed(good, 4, 8))
    for at in range(12, len(good), len(good) // 50):
        refused(espalier.Corrupted, espalier.Program, changed(good, at, 1 << at % 8))
    for cut in range(4, len(good), len(good) // 50):
        refused(espalier.Truncated, espalier.Program, good[:cut])
    refused(espalier.OtherConfiguration, accelerator.load, (folder / "other.bin").read_bytes())
    results_are_right(accelerator, folder)

    # What the core itself finds: one bit of the program on its way, a word too many, another hash.
    program = espalier.Program(good)
    zeros = [0] * sum(tensor.elements for tensor in program.inputs)
    code = 4 * (registers.FILE_WORDS + registers.TENSOR_WORDS * (len(program.inputs) + len(program.outputs)))
    damaged = changed(good, code + 21, 4)[:-4]
    damaged += struct.pack("<I", zlib.crc32(damaged))
    refused(espalier.WrongChecksum, accelerator.load, damaged)
    refused(espalier.WrongChecksum, accelerator.infer_integers, zeros)
    results_are_right(accelerator, folder)
    accelerator.port.write(registers.REGION_PROGRAM, [1])
    refused(espalier.WrongChecksum, accelerator.infer_integers, zeros)
    accelerator.port.write(registers.REG_CONFIG_HASH, [program.header[registers.FILE_CONFIG_HASH] ^ 1])
    refused(espalier.OtherConfiguration, accelerator.infer_integers, zeros)


def main():
    folder = Path(sys.argv[1])
    board = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if sys.argv[2] == "serial":
        port = espalier.SerialPort(Line(board))
    else:
        port = axi_port(folder, board)
    accelerator = espalier.Accelerator(port)
    results_are_right(accelerator, folder)
    too_little_memory_is_refused(accelerator)
    wrong_programs_are_refused(accelerator, folder)
    results_are_right(accelerator, folder)
    board.stdin.close()
    assert board.wait() == 0
    print("passed")


if __name__ == "__main__":
    main()
