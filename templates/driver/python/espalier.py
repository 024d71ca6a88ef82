# SPDX-License-Identifier: MIT OR Apache-2.0
"""Driver of an Espalier core: on PYNQ, and over the serial line of boards without a processor.

    from pynq import Overlay
    import espalier

    accelerator = espalier.Accelerator(espalier.PynqPort(Overlay("system.bit")))
    accelerator.load(open("program.bin", "rb").read())
    values = accelerator.infer(image)          # real values, channel by channel, row by row
    print(espalier.argmax(values))

Over a serial line (needs pyserial), the port is `espalier.SerialPort("/dev/ttyUSB1")`; everything else is the same.
"""

import math
import struct
import zlib
from dataclasses import dataclass

from espalier_registers import *  # noqa: F403

# pylint: disable=undefined-variable


class EspalierError(Exception):
    """What a driver or a core refuses."""


class NotAProgram(EspalierError):
    """The bytes are something else."""


class OtherVersion(EspalierError):
    """The file has a form that this driver does not know."""


class Truncated(EspalierError):
    """Bytes of the file are missing."""


class Corrupted(EspalierError):
    """The checksum of the file is wrong."""


class NoMemory(EspalierError):
    """The program needs external memory, and the port has none, or too little."""


class NoAnswer(EspalierError):
    """The core or the port did not answer, or not as it should."""


class CoreError(EspalierError):
    """The core reports an error; `code` is its number."""

    code = 0


class UnknownInstruction(CoreError):
    """The program has an unknown instruction."""

    code = ERROR_UNKNOWN_INSTRUCTION


class OtherConfiguration(CoreError):
    """The program is for another configuration of the hardware."""

    code = ERROR_OTHER_CONFIGURATION


class MemoryFault(CoreError):
    """External memory answered with an error; results are wrong."""

    code = ERROR_MEMORY


class WrongPacket(CoreError):
    """The input packet has another length than the program takes."""

    code = ERROR_PACKET


class WrongChecksum(CoreError):
    """What arrived in the core is not what was sent."""

    code = ERROR_CHECKSUM


# Spilled tensors begin at a multiple of so many bytes.
ALIGNMENT = 4096

CORE_ERRORS = {error.code: error for error in CoreError.__subclasses__()}


@dataclass(frozen=True)
class Tensor:
    """Shape and scale: real = (integer - zero_point) * 2**exponent."""

    channels: int
    height: int
    width: int
    exponent: int
    zero_point: int

    @property
    def elements(self):
        return self.channels * self.height * self.width

    def places(self, rows, beat_bytes):
        """Bytes of the part of a packet, and the place of every element in it."""
        plane = self.height * self.width
        places = [
            (channel // rows * plane + place) * beat_bytes + channel % rows
            for channel in range(self.channels)
            for place in range(plane)
        ]
        return -(-self.channels // rows) * plane * beat_bytes, places


class Program:
    """The checked content of program.bin."""

    def __init__(self, data):
        data = bytes(data)
        if len(data) < 4 or self._word(data, FILE_MAGIC) != FILE_MAGIC_VALUE:
            raise NotAProgram("not a program file")
        if len(data) < 4 * (FILE_WORDS + 1):
            raise Truncated("the file ends in its header")
        if self._word(data, FILE_VERSION) != FILE_VERSION_VALUE:
            raise OtherVersion(f"version {self._word(data, FILE_VERSION)}")
        size = self._word(data, FILE_FILE_BYTES)
        if len(data) < size:
            raise Truncated(f"{len(data)} of {size} bytes")
        if len(data) != size or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise Corrupted("the checksum of the file is wrong")
        try:
            self._parse(data)
        except struct.error as error:
            raise Corrupted("the parts of the file are longer than the file") from error
        self.rows = (self.header[FILE_GEOMETRY] & GEOMETRY_ROWS_MASK) >> GEOMETRY_ROWS_LSB

    def _parse(self, data):
        self.header = struct.unpack_from(f"<{FILE_WORDS}I", data)
        inputs, outputs = self.header[FILE_INPUTS], self.header[FILE_OUTPUTS]
        at = 4 * FILE_WORDS
        entries = [struct.unpack_from("<IIIii", data, at + 4 * TENSOR_WORDS * i) for i in range(inputs + outputs)]
        tensors = [Tensor(*entry) for entry in entries]
        self.inputs, self.outputs = tensors[:inputs], tensors[inputs:]
        at += 4 * TENSOR_WORDS * (inputs + outputs)
        self.code = struct.unpack_from(f"<{self.header[FILE_PROGRAM_WORDS]}I", data, at)
        at += 4 * len(self.code)
        self.weights = struct.unpack_from(f"<{self.header[FILE_WEIGHT_WORDS]}I", data, at)
        at += 4 * len(self.weights)
        self.stream = data[at : at + self.header[FILE_STREAM_BYTES]]

    @staticmethod
    def _word(data, index):
        return struct.unpack_from("<I", data, 4 * index)[0]


class Accelerator:
    """A core behind a port."""

    def __init__(self, port):
        self.port = port
        self.program = None

    def load(self, data):
        """Checks and writes a program; the core refuses to start until that has succeeded."""
        program = data if isinstance(data, Program) else Program(data)
        port = self.port
        if port.read(REG_CONFIG_HASH) != program.header[FILE_CONFIG_HASH]:
            raise OtherConfiguration("the hardware was made for another configuration")
        port.write(REG_CONFIG_HASH, [program.header[FILE_CONFIG_HASH]])
        port.write(REGION_PROGRAM, program.code)
        if program.weights:
            port.write_weights(program.weights, program.header[FILE_WEIGHT_PARTS])
        spill_bytes = program.header[FILE_SPILL_BYTES]
        if program.stream or spill_bytes:
            weights = port.place(program.stream, spill_bytes)
            spill = weights + aligned(len(program.stream))
            port.write(REG_WEIGHTS_LOW, [weights & 0xFFFF_FFFF])
            port.write(REG_WEIGHTS_HIGH, [weights >> 32])
            port.write(REG_WEIGHTS_BYTES, [len(program.stream)])
            port.write(REG_SPILL_LOW, [spill & 0xFFFF_FFFF])
            port.write(REG_SPILL_HIGH, [spill >> 32])
        port.write(REG_CHECKSUM, [program.header[FILE_CHECKSUM]])
        if port.read(REG_CHECKSUM) != 0:
            raise WrongChecksum("what arrived in the core is not what was sent")
        self.program = program

    def infer(self, values):
        """Real values of all inputs to real values of all outputs; both flat."""
        return self.dequantize(self.infer_integers(self.quantize(values)))

    def quantize(self, values):
        """Integers that stand for real values of all inputs."""
        integers = []
        rest = iter(values)
        for tensor in self.program.inputs:
            for _ in range(tensor.elements):
                steps = round(math.ldexp(float(next(rest)), -tensor.exponent)) + tensor.zero_point
                integers.append(max(-128, min(127, steps)))
        return integers

    def dequantize(self, integers):
        """Real values that integers of all outputs stand for."""
        values = []
        rest = iter(integers)
        for tensor in self.program.outputs:
            values += [math.ldexp(next(rest) - tensor.zero_point, tensor.exponent) for _ in range(tensor.elements)]
        return values

    def infer_integers(self, integers):
        """Integers of all inputs to integers of all outputs."""
        program = self.program
        beat_bytes = self.port.beat_bytes(program.rows)
        packet = bytearray()
        rest = iter(integers)
        for tensor in program.inputs:
            length, places = tensor.places(program.rows, beat_bytes)
            part = bytearray(length)
            for place in places:
                part[place] = next(rest) & 0xFF
            packet += part
        self.port.write(REG_CONTROL, [CONTROL_RUNNING_MASK])
        self._status()
        try:
            answer = self.port.exchange(packet, program.header[FILE_BEATS_OUT] * beat_bytes)
        except NoAnswer:
            # What the core says explains why a stream stands still.
            self._status()
            raise
        while not self._status() & CONTROL_DONE_MASK:
            pass
        result, at = [], 0
        for tensor in program.outputs:
            length, places = tensor.places(program.rows, beat_bytes)
            result += [byte - 256 if byte > 127 else byte for byte in (answer[at + place] for place in places)]
            at += length
        return result

    def cycles(self):
        """Cycles of the last run, without those in which a stream waited."""
        return self.port.read(REG_CYCLES)

    def best(self):
        """Index of the largest value of the last output of the last run: the class. Needs hardware with `argmax`."""
        return self.port.read(REG_CLASS)

    def _status(self):
        control = self.port.read(REG_CONTROL)
        code = (control & CONTROL_ERROR_CODE_MASK) >> CONTROL_ERROR_CODE_LSB
        if code:
            raise CORE_ERRORS.get(code, CoreError)(f"the core reports error {code}")
        return control


def aligned(count):
    """So many bytes rounded up to where spilled tensors may begin."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def argmax(values):
    """Index of the largest value, the first one of several: the class."""
    return max(range(len(values)), key=lambda index: values[index])


class PynqPort:
    """The core and the DMA engine of the generated Vivado project, on PYNQ.

    `allocate` makes buffers that the engine can reach; by default that of pynq.
    """

    def __init__(self, overlay, allocate=None):
        if allocate is None:
            from pynq import allocate  # pylint: disable=import-error,import-outside-toplevel
        self._core = overlay.accelerator
        self._dma = overlay.dma
        self._allocate = allocate
        self._memory = None

    @staticmethod
    def beat_bytes(rows):
        """Beats are padded to a power of two."""
        return 1 << (rows - 1).bit_length()

    def read(self, address):
        return self._core.read(address)

    def write(self, address, words):
        for index, word in enumerate(words):
            self._core.write(address + 4 * index, word)

    def write_weights(self, words, parts):
        for first in range(0, len(words), parts):
            self.write(REGION_WEIGHTS + first // parts * 64, words[first : first + parts])

    def place(self, weights, spill_bytes):
        """Sets memory aside instead of what an earlier program had: streamed weights, which it fills in, and from the next
        multiple of 4096 on so many bytes for spilled tensors; returns its address, a multiple of 4096, too."""
        self._memory = None
        try:
            memory = self._allocate(shape=(ALIGNMENT + aligned(len(weights)) + spill_bytes,), dtype="u1")
        except (MemoryError, RuntimeError) as error:
            raise NoMemory("too little memory for weights and spilled tensors") from error
        begin = -memory.device_address % ALIGNMENT
        memory[begin : begin + len(weights)] = bytearray(weights)
        # All of it: nothing that a cache still holds may overwrite a spilled tensor later.
        memory.flush()
        self._memory = memory
        return memory.device_address + begin

    def exchange(self, packet, answer_bytes):
        source, sink = self._buffer(len(packet), packet), self._buffer(answer_bytes)
        self._dma.recvchannel.transfer(sink)
        self._dma.sendchannel.transfer(source)
        self._dma.sendchannel.wait()
        self._dma.recvchannel.wait()
        sink.invalidate()
        answer = bytes(sink)
        source.freebuffer()
        sink.freebuffer()
        return answer

    def _buffer(self, size, data=None):
        buffer = self._allocate(shape=(size,), dtype="u1")
        if data is not None:
            buffer[:] = bytearray(data)
            buffer.flush()
        return buffer


class SerialPort:
    """The serial host of boards without a processor.

    `line` is the name of a device, which pyserial opens, or an object with `read(count)` and `write(data)`, of which
    `read` gives fewer bytes when it has waited long enough.
    """

    WRITE, READ, INPUT, OUTPUT, MOST = 1, 2, 3, 4, 1 << 16

    def __init__(self, line, baud=1_000_000, timeout_s=10):
        if isinstance(line, str):
            import serial  # pylint: disable=import-error,import-outside-toplevel

            line = serial.Serial(line, baud, timeout=timeout_s)
            # A break ends whatever the board still waited for.
            line.send_break()
            line.reset_input_buffer()
        self._line = line
        self._rows = None

    @staticmethod
    def beat_bytes(rows):
        return rows

    def read(self, address):
        self._send(self.READ, 1, address)
        return struct.unpack("<I", self._receive(4))[0]

    def write(self, address, words):
        for first in range(0, len(words), self.MOST):
            part = words[first : first + self.MOST]
            self._command(self.WRITE, len(part), address + 4 * first, struct.pack(f"<{len(part)}I", *part))

    def write_weights(self, words, parts):
        step = self.MOST // parts * parts
        for first in range(0, len(words), step):
            self.write(REGION_WEIGHTS + first // parts * 64, words[first : first + step])

    def place(self, weights, spill_bytes):
        raise NoMemory("a board with a serial line has no external memory")

    def exchange(self, packet, answer_bytes):
        if self._rows is None:
            self._rows = (self.read(REG_GEOMETRY) & GEOMETRY_ROWS_MASK) >> GEOMETRY_ROWS_LSB
        step = self.MOST * self._rows
        for first in range(0, len(packet), step):
            part = packet[first : first + step]
            # The packet goes on in the next command, or ends.
            more = int(first + step < len(packet))
            self._command(self.INPUT, len(part) // self._rows, more, part)
        answer = b""
        while len(answer) < answer_bytes:
            count = min(step, answer_bytes - len(answer))
            self._send(self.OUTPUT, count // self._rows, 0)
            answer += self._receive(count)
        return answer

    def _send(self, operation, count, address, data=b""):
        self._line.write(struct.pack("<BHI", operation, count - 1, address) + bytes(data))

    def _command(self, operation, count, address, data):
        self._send(operation, count, address, data)
        answer = self._receive(1)[0]
        if answer != operation:
            raise NoAnswer(f"command {operation} was answered with {answer:#x}")

    def _receive(self, count):
        data = self._line.read(count)
        if len(data) < count:
            raise NoAnswer(f"{len(data)} of {count} bytes came")
        return data
