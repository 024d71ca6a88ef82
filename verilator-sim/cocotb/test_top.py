# SPDX-License-Identifier: MIT OR Apache-2.0
"""The integrator's wrapper on bus models of somebody else (cocotbext-axi), with random pauses on every port.

`job.json` in ESPALIER_JOB says what to run and what must come out; crates/emit/tests/axi.rs writes it.
"""

import json
import os
import random
import struct
import zlib

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, with_timeout
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteMaster,
    AxiRam,
    AxiReadBus,
    AxiSlaveRead,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

with open(os.environ["ESPALIER_JOB"], encoding="utf-8") as file:
    JOB = json.load(file)

CONTROL, CYCLES, STALLS, HASH, GEOMETRY, INSTRUCTION, INTERRUPT, CHECKSUM = range(0x00, 0x20, 4)
STREAM_BASE, STREAM_BASE_HIGH, STREAM_BYTES = 0x20, 0x24, 0x28
SPILL_BEAT, SPILL_BASE, SPILL_BASE_HIGH = 0x2C, 0x30, 0x34
PROGRAM, WEIGHTS = 0x1000_0000, 0x2000_0000
# Where the integrator put the core.
BASE = 0x8000_0000
RUNNING, DONE, ERROR = 1, 2, 4
UNKNOWN_OPCODE, OTHER_CONFIGURATION, MEMORY, PACKET, WRONG_CHECKSUM = 1, 2, 3, 4, 5
# Beyond 4 GiB, and neither at a burst nor at 4 KiB: the first burst is short, and one has to stop at the boundary.
MEMORY_BASE = 0x3_0000_0FC8 if JOB["beat_bytes"] <= 8 else 0x3_0000_0FC0
# Spilled tensors begin at a multiple of 4 KiB.
SPILL_MEMORY = 0x3000
LONGEST_US = 40_000
# Without external memory the cycles are those predicted.
EXACT = JOB["beat_bytes"] == 0 and JOB["spill_beat_bytes"] == 0


class WeightMemory:
    """External memory with the weights at MEMORY_BASE; reads elsewhere, or of the faulty beat, fail."""

    def __init__(self, data):
        self.data = data
        self.reads = 0
        self.fault = None

    async def read(self, address, length):
        offset = address - MEMORY_BASE
        if self.reads == self.fault or not 0 <= offset <= len(self.data) - length:
            self.reads += 1
            raise ValueError(f"no data at {address:#x}")
        self.reads += 1
        return self.data[offset : offset + length]


def pauses(seed, percent):
    """A generator that says in each cycle whether to wait."""
    source = random.Random(seed)
    while True:
        yield source.randrange(100) < percent


class Bench:
    """The wrapper between its bus models."""

    def __init__(self, dut):
        self.dut = dut
        cocotb.start_soon(Clock(dut.aclk, 10, unit="ns").start())
        common = (dut.aclk, dut.aresetn)
        self.control = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), *common, reset_active_level=False)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), *common, reset_active_level=False)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), *common, reset_active_level=False)
        self.memory = None
        if JOB["beat_bytes"] > 0:
            self.memory = WeightMemory(bytes.fromhex(JOB["weight_stream"]))
            bus = AxiReadBus.from_prefix(dut, "m_axi")
            self.reader = AxiSlaveRead(bus, *common, target=self.memory, reset_active_level=False)
        self.spill = None
        if JOB["spill_beat_bytes"] > 0:
            bus = AxiBus.from_prefix(dut, "m_axi_spill")
            size = SPILL_MEMORY + JOB["spill_bytes"]
            self.spill = AxiRam(bus, *common, size=size, reset_active_level=False)

    async def reset(self):
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 4)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 4)

    def pause(self, seed, percent):
        """Random waits on every channel that a bus model drives."""
        channels = [self.source, self.sink]
        channels += [self.control.write_if.aw_channel, self.control.write_if.w_channel, self.control.write_if.b_channel]
        channels += [self.control.read_if.ar_channel, self.control.read_if.r_channel]
        if self.memory is not None:
            channels += [self.reader.ar_channel, self.reader.r_channel]
        if self.spill is not None:
            channels += [self.spill.read_if.ar_channel, self.spill.read_if.r_channel]
            channels += [self.spill.write_if.aw_channel, self.spill.write_if.w_channel, self.spill.write_if.b_channel]
        for index, channel in enumerate(channels):
            channel.set_pause_generator(pauses(100 * seed + index, percent))

    async def read(self, address):
        return await self.control.read_dword(BASE | address)

    async def write(self, address, value):
        await self.control.write_dword(BASE | address, value)

    async def status(self):
        value = await self.read(CONTROL)
        return value & 7, value >> 8 & 0xF

    async def load(self, program=None, checksum=None):
        """Program, weights, the hash of their configuration and their checksum through AXI4-Lite."""
        program = program or JOB["program"]
        weights = JOB["weights"] if self.memory is None else []
        await self.write(HASH, JOB["config_hash"])
        await self.control.write_dwords(BASE | PROGRAM, program)
        if self.spill is not None:
            await self.write(SPILL_BASE, SPILL_MEMORY & 0xFFFF_FFFF)
            await self.write(SPILL_BASE_HIGH, SPILL_MEMORY >> 32)
        if self.memory is not None:
            await self.write(STREAM_BASE, MEMORY_BASE & 0xFFFF_FFFF)
            await self.write(STREAM_BASE_HIGH, MEMORY_BASE >> 32)
            await self.write(STREAM_BYTES, len(self.memory.data))
        parts = JOB["parts"]
        for index, word in enumerate(weights):
            await self.write(WEIGHTS | index // parts << 6 | index % parts << 2, word)
        words = [*program, *weights]
        expected = zlib.crc32(struct.pack(f"<{len(words)}I", *words))
        assert await self.read(CHECKSUM) == expected
        await self.write(CHECKSUM, expected if checksum is None else checksum)

    async def start(self):
        await self.write(CONTROL, 1)

    async def ended(self):
        """Waits for the interrupt, and clears it."""
        if not self.dut.irq.value:
            await with_timeout(RisingEdge(self.dut.irq), LONGEST_US, "us")
        assert self.dut.done.value or (await self.status())[1] in (OTHER_CONFIGURATION, WRONG_CHECKSUM)
        await self.write(INTERRUPT, 3)
        await RisingEdge(self.dut.aclk)
        await FallingEdge(self.dut.aclk)
        assert not self.dut.irq.value, "the interrupt was cleared"

    async def run(self, image):
        """One image; returns the bytes of the output packet."""
        await self.source.send(AxiStreamFrame(bytes.fromhex(JOB["inputs"][image])))
        await self.start()
        frame = await with_timeout(self.sink.recv(), LONGEST_US, "us")
        await self.ended()
        return bytes(frame.tdata)


async def prepared(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.load()
    await bench.write(INTERRUPT, 1)
    return bench


def meaning(data):
    """Bytes of an output packet that carry values; other lanes hold whatever was there."""
    return bytes(byte for byte, used in zip(data, JOB["used"]) if used)


async def check(bench, image):
    data = await bench.run(image)
    expected = bytes.fromhex(JOB["outputs"][image])
    assert len(data) == len(expected), f"image {image}: {len(data)} bytes instead of {len(expected)}"
    assert meaning(data) == meaning(expected), f"image {image}: other results"
    assert await bench.status() == (DONE, 0)
    assert bench.sink.empty(), "more than one output packet"
    return await bench.read(CYCLES), await bench.read(STALLS)


@cocotb.test()
async def registers_answer(dut):
    bench = Bench(dut)
    await bench.reset()
    assert await bench.read(HASH) == JOB["config_hash"]
    geometry = JOB["rows"] | JOB["cols"] << 8 | JOB["combine"] << 16 | JOB["beat_bytes"] << 24
    assert await bench.read(GEOMETRY) == geometry
    assert await bench.read(SPILL_BEAT) == JOB["spill_beat_bytes"]
    assert await bench.status() == (0, 0)


@cocotb.test()
async def results_are_the_machines(dut):
    """Without a pause: the cycles that the model predicts, if the memory is on the chip."""
    bench = await prepared(dut)
    for image in range(len(JOB["inputs"])):
        cycles, _ = await check(bench, image)
        if EXACT:
            assert cycles == JOB["cycles"], f"{cycles} cycles instead of {JOB['cycles']}"


@cocotb.test()
async def pauses_on_every_port_change_nothing(dut):
    bench = await prepared(dut)
    for image in range(len(JOB["inputs"])):
        bench.pause(image + 1, [30, 70][image % 2])
        cycles, stalls = await check(bench, image)
        assert stalls > 0
        if EXACT:
            assert cycles == JOB["cycles"], "cycles do not count pauses of the streams"


async def refused(bench, code):
    """The program does not start, and after it was loaded again it runs."""
    await bench.start()
    await bench.ended()
    assert await bench.status() == (DONE | ERROR, code)
    await bench.load()
    await check(bench, 0)


@cocotb.test()
async def a_program_for_another_configuration_is_refused(dut):
    bench = await prepared(dut)
    await bench.write(HASH, JOB["config_hash"] ^ 1)
    await refused(bench, OTHER_CONFIGURATION)


@cocotb.test()
async def damaged_and_incomplete_programs_are_refused(dut):
    bench = await prepared(dut)
    words = [*JOB["program"], *(JOB["weights"] if bench.memory is None else [])]
    right = zlib.crc32(struct.pack(f"<{len(words)}I", *words))
    damaged = list(JOB["program"])
    damaged[-3] ^= 1 << 17
    for program in (damaged, JOB["program"][:-8]):
        await bench.load(program, right)
        await refused(bench, WRONG_CHECKSUM)
    await bench.write(PROGRAM, JOB["program"][0])
    await refused(bench, WRONG_CHECKSUM)


@cocotb.test()
async def unknown_instructions_end_the_program(dut):
    bench = await prepared(dut)
    program = list(JOB["program"])
    program[0] |= 7
    await bench.load(program)
    await bench.start()
    await bench.ended()
    assert await bench.status() == (DONE | ERROR, UNKNOWN_OPCODE)
    assert await bench.read(INSTRUCTION) == 0
    await bench.load()
    await check(bench, 0)


@cocotb.test()
async def input_packets_must_have_their_length(dut):
    bench = await prepared(dut)
    data = bytes.fromhex(JOB["inputs"][0])
    half = len(data) // JOB["rows"] // 2 * JOB["rows"]
    for part in (data[:half], data[half:]):
        await bench.source.send(AxiStreamFrame(part))
    await bench.start()
    await bench.sink.recv()
    await bench.ended()
    assert await bench.status() == (DONE | ERROR, PACKET)
    await check(bench, 0)


@cocotb.test(skip=JOB["beat_bytes"] == 0)
async def errors_of_the_memory_are_reported(dut):
    bench = await prepared(dut)
    bench.memory.fault = 10
    await bench.run(0)
    assert await bench.status() == (DONE | ERROR, MEMORY)
    await check(bench, 0)


@cocotb.test(skip=JOB["spill_beat_bytes"] == 0)
async def spilled_tensors_stay_in_their_region(dut):
    bench = await prepared(dut)
    bench.spill.write(0, b"\xa5" * SPILL_MEMORY)
    await check(bench, 0)
    assert bench.spill.read(0, SPILL_MEMORY) == b"\xa5" * SPILL_MEMORY
    assert any(bench.spill.read(SPILL_MEMORY, JOB["spill_bytes"])), "nothing was spilled"
