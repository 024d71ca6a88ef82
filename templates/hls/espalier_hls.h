// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Interface of the Vitis HLS kernel. docs/hls.md describes it for those who call it.

#ifndef ESPALIER_HLS_H
#define ESPALIER_HLS_H

#include <cstddef>
#include <cstdint>

#include "espalier_hls_config.h"

namespace espalier {

// One beat of either stream: a byte a lane, padded to a power of two so that the layout in C is that of the bus.
struct Beat {
    uint8_t lane[BEAT_BYTES];
};

// Bits of the returned status: those of the register 0x00 of the SystemVerilog core. Bits 15:8 hold an `Error`, bits
// 31:16 the index of the instruction that it concerns.
constexpr uint32_t STATUS_DONE = 2;
constexpr uint32_t STATUS_ERROR = 4;

enum Error : uint32_t {
    ERROR_NONE = 0,
    ERROR_OPCODE = 1,          // no instruction has this code
    ERROR_RESERVED = 2,        // a bit is set that the opcode does not read
    ERROR_OPERAND = 3,         // an operand is out of its bounds, or the block does not fit this accelerator
    ERROR_LANE_ADDRESS = 4,    // an address lies behind the end of the lanes
    ERROR_WEIGHT_ADDRESS = 5,  // a weight word was not loaded
    ERROR_INPUT = 6,           // the input stream has fewer beats than the program takes
    ERROR_OUTPUT = 7,          // the output has less room than the program fills
    ERROR_NO_END = 8,          // the program has no END
    ERROR_IMAGE = 9,           // program or weights do not fit their memories
    ERROR_SPILL_ADDRESS = 10,  // a spilled tensor does not fit the memory for them
    ERROR_GATES = 11,          // a gated tile without gates, or more of them than wait
};

// Words of `counts`.
enum Count { COUNT_IN = 0, COUNT_OUT = 1, COUNT_HASH = 2, COUNT_GEOMETRY = 3, COUNT_CLASS = 4, COUNTS = 5 };

}  // namespace espalier

// Runs the program once.
//
// With `load` = 1 it first copies `instructions` instructions of INSTRUCTION_WORDS words and `weight_words` weight
// words of WEIGHT_PARTS words, lowest first, into its own memories, where they stay for the calls after it; with
// `load` = 0 `program` and `weights` are not read; with streamed weights `weights` is, in every call. `counts` takes the beats read and written, the configuration's hash
// and geometry and the class as in the registers 0x0c, 0x10 and 0x38 of the core. Spilled tensors lie in `spill_bytes` bytes at `spill`, whose
// content does not matter before. Returns the status.
extern "C" uint32_t espalier_hls(const uint32_t* program, uint32_t instructions, const uint32_t* weights,
                                 uint32_t weight_words, uint32_t load, const espalier::Beat* input,
                                 uint32_t input_beats, espalier::Beat* output, uint32_t output_beats, uint8_t* spill,
                                 uint32_t spill_bytes, uint32_t counts[espalier::COUNTS]);

#ifdef ESPALIER_TRACE
// Every write to the lanes, in order, for whoever compares: defined by the test bench, absent in hardware.
void espalier_trace(uint32_t instruction, uint16_t address, uint32_t mask, const int8_t data[espalier::ROWS]);
#endif

#endif
