// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The accelerator as a Vitis HLS kernel: it executes the program and the memory images of the SystemVerilog core, one
// instruction after the other, and writes the same bytes to the same addresses in the same order. Constants come from
// espalier_hls_config.h; docs/isa.md defines the instructions. Sums wrap at ACCUMULATOR_BITS, as in the core.
//
// Instructions do not overlap here, so the fields `barrier` and `fence` ask for what holds anyway.

#include "espalier_hls.h"

namespace {

using namespace espalier;

// --- memories; they keep their contents from call to call

// Activations. One memory a row: every row reads at an address of its own in the same cycle.
int8_t lanes[ROWS][LANE_BYTES];
// Weight words in 32-bit parts. If weights are streamed, those of one tile with its parameters pass through it.
constexpr uint32_t STREAM_WORDS = TABLES ? TABLE_ENTRIES : ROWS + PARAMETER_WORDS;
constexpr uint32_t MEMORY_WORDS = STREAMED ? STREAM_WORDS : WEIGHT_WORDS;
uint32_t weight_memory[MEMORY_WORDS][WEIGHT_PARTS];
uint32_t program_memory[PROGRAM_INSTRUCTIONS * INSTRUCTION_WORDS];
// Sums of one block. One memory a column: every column adds to its own in the same cycle.
int32_t accumulator[COLS][ACCUMULATOR_PIXELS];
// What the results of each column become; stays from CONV to CONV.
// Those that were loaded last, and those before.
int8_t table[2][COLS][TABLES ? TABLE_ENTRIES : 1];
int table_bank = 0;
int tables_loaded = 0;
// Factors of channels that gated tiles take, a beat each, first in first out.
int8_t gates[GATES ? GATES : 1][ROWS];
uint32_t gates_first = 0;
uint32_t gates_held = 0;
// Requantized outputs of one block.
int8_t result[COLS][ACCUMULATOR_PIXELS];
// The low digits of wide ones.
int8_t low_digit[COLS][STATES ? ACCUMULATOR_PIXELS : 1];

uint32_t loaded_instructions = 0;
uint32_t loaded_words = 0;
// The last CONV left its sums to the next one.
bool sums_pending = false;
// What the depthwise unit streamed for them: all of a block stream the same.
uint32_t pending_stream = 0;

// --- decoding

// Value of a field; `place` is a constant, so this is wiring.
int32_t get(const uint32_t words[INSTRUCTION_WORDS], const Field place) {
#pragma HLS INLINE
    const uint32_t mask = 0xffffffffu >> (32 - place.width);
    const uint32_t raw = (words[place.word] >> place.lsb) & mask;
    const uint32_t sign = place.is_signed ? 1u << (place.width - 1) : 0;
    // Flipping the sign bit and subtracting it again extends it.
    return static_cast<int32_t>(raw ^ sign) - static_cast<int32_t>(sign);
}

uint16_t get_address(const uint32_t words[INSTRUCTION_WORDS], const Field place) {
#pragma HLS INLINE
    return static_cast<uint16_t>(get(words, place));
}

// Addresses base + y*step_y + x*step_x, in the order of FILL, LOAD, STORE and the write-back.
struct Area {
    uint16_t base, step_y;
    uint32_t nx, ny;
    uint16_t step_x;
};

Area area_of(const uint32_t words[INSTRUCTION_WORDS], const Field base, const Field step_y) {
#pragma HLS INLINE
    return {get_address(words, base), get_address(words, step_y), static_cast<uint32_t>(get(words, NX)),
            static_cast<uint32_t>(get(words, NY)), 1};
}

bool is_empty(const Area& area) { return area.nx == 0 || area.ny == 0; }

// Walks an area: the address is `row` + x * step_x.
struct Walk {
    uint32_t x;
    uint16_t row;
};

void advance(Walk& walk, const Area& area) {
#pragma HLS INLINE
    if (++walk.x == area.nx) {
        walk.x = 0;
        walk.row = static_cast<uint16_t>(walk.row + area.step_y);
    }
}

uint32_t address_of(const Walk& walk, const Area& area) {
#pragma HLS INLINE
    return static_cast<uint16_t>(walk.row + walk.x * area.step_x);
}

// Pixels that a CONV streams: a rectangle of outputs, each with its pooling window.
struct Source {
    uint16_t base, step_x, step_y, step_wx, step_wy;
    uint32_t nx, win_x, win_y;
};

// Walks the pixels of a source: `window_row` is where the current row of the window begins, and so on outwards.
struct PixelWalk {
    uint32_t x, wx, wy;
    uint16_t address, window_row, window, row;
};

void advance(PixelWalk& at, const Source& source) {
#pragma HLS INLINE
    at.address = static_cast<uint16_t>(at.address + source.step_wx);
    if (++at.wx < source.win_x) return;
    at.wx = 0;
    at.window_row = static_cast<uint16_t>(at.window_row + source.step_wy);
    if (++at.wy == source.win_y) {
        at.wy = 0;
        at.window = static_cast<uint16_t>(at.window + source.step_x);
        if (++at.x == source.nx) {
            at.x = 0;
            at.row = static_cast<uint16_t>(at.row + source.step_y);
            at.window = at.row;
        }
        at.window_row = at.window;
    }
    at.address = at.window_row;
}

// --- weight words

uint8_t weight_byte(const uint32_t parts[WEIGHT_PARTS], int index) {
#pragma HLS INLINE
    return static_cast<uint8_t>(parts[index / 4] >> (8 * (index % 4)));
}

// The place in the weight memory of `count` words of the image. If weights are streamed, they are read into it first.
uint32_t words_at(const uint32_t* image, uint32_t address, uint32_t count) {
    if (!STREAMED) return address;
    for (uint32_t word = 0; word < count; ++word) {
#pragma HLS LOOP_TRIPCOUNT min=PARAMETER_WORDS max=ROWS
        for (uint32_t part = 0; part < WEIGHT_PARTS; ++part) {
#pragma HLS PIPELINE II=1
            weight_memory[word][part] = image[(address + word) * WEIGHT_PARTS + part];
        }
    }
    return 0;
}

// One weight tile, in registers.
struct Tile {
    int8_t weight[ROWS][COLS];
    // Column takes the second vector of the row.
    bool second[ROWS][COLS];
    uint16_t offset[ROWS][COMBINE];
    // A vector without a weight is not read: its address means nothing.
    bool used[ROWS][COMBINE];
};

void load_tile(uint32_t address, Tile& tile) {
    for (int row = 0; row < ROWS; ++row) {
// One weight word a cycle: all its parts are read at once.
#pragma HLS PIPELINE II=1
        const uint32_t* const parts = weight_memory[address + static_cast<uint32_t>(row)];
        for (int vector = 0; vector < COMBINE; ++vector) {
#pragma HLS UNROLL
            const int at = COLS + 2 * vector;
            tile.offset[row][vector] =
                static_cast<uint16_t>(weight_byte(parts, at) | weight_byte(parts, at + 1) << 8);
            tile.used[row][vector] = false;
        }
        for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
            const int8_t weight = static_cast<int8_t>(weight_byte(parts, column));
            // Select bits follow the second offset; without combined rows there are none.
            const int select = COMBINE > 1 ? COLS + 4 + column / 8 : 0;
            const bool second = COMBINE > 1 && (weight_byte(parts, select) >> (column % 8) & 1);
            tile.weight[row][column] = weight;
            tile.second[row][column] = second;
            if (weight != 0) tile.used[row][second ? COMBINE - 1 : 0] = true;
        }
    }
}

// Puts the next beat of gates in the place of the weights of a tile of the depthwise unit.
bool take_gates(Tile& tile) {
    if (gates_held == 0) return false;
    for (int row = 0; row < ROWS; ++row) {
#pragma HLS UNROLL
        if (tile.weight[row][0] != 0) tile.weight[row][0] = gates[gates_first][row];
    }
    gates_first = gates_first + 1 < GATES ? gates_first + 1 : 0;
    --gates_held;
    return true;
}

// Bias and shift of every column, from the words behind the tiles.
struct Parameters {
    uint32_t bias[COLS];
    uint8_t shift[COLS];
};

void load_parameters(uint32_t address, Parameters& parameters) {
    for (int word = 0; word < PARAMETER_WORDS; ++word) {
#pragma HLS PIPELINE II=1
        const uint32_t* const parts = weight_memory[address + static_cast<uint32_t>(word)];
        for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
            const uint8_t byte = weight_byte(parts, column);
            const uint32_t before = word == 0 ? 0 : parameters.bias[column];
            if (word < 4) parameters.bias[column] = before | static_cast<uint32_t>(byte) << (8 * word);
            else parameters.shift[column] = byte & 31;
        }
    }
}

// Tables of all columns: byte e of the words is entry e of all of them, or byte c of word e that of column c.
void load_tables(uint32_t address, bool own) {
    table_bank ^= 1;
    for (int entry = 0; entry < TABLE_ENTRIES; ++entry) {
#pragma HLS PIPELINE II=1
        const uint32_t* const parts = weight_memory[address + static_cast<uint32_t>(own ? entry : entry / COLS)];
        for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
            table[table_bank][column][TABLES ? entry : 0] = static_cast<int8_t>(weight_byte(parts, own ? column : entry % COLS));
        }
    }
    if (tables_loaded < 2) ++tables_loaded;
}

// --- arithmetic

// The sum, cut to the width of the accumulators.
int32_t add_wrapped(int32_t a, int32_t b) {
#pragma HLS INLINE
    const uint32_t sign = 1u << (ACCUMULATOR_BITS - 1);
    const uint32_t mask = 0xffffffffu >> (32 - ACCUMULATOR_BITS);
    const uint32_t sum = (static_cast<uint32_t>(a) + static_cast<uint32_t>(b)) & mask;
    return static_cast<int32_t>((sum ^ sign) - sign);
}

// round_half_even((pooled + bias) / 2^shift)
int64_t rounded(int32_t pooled, uint32_t bias, uint8_t shift) {
#pragma HLS INLINE
    const int64_t value = static_cast<int32_t>(static_cast<uint32_t>(pooled) + bias);
    // The remainder carries over when it exceeds one half, or equals it and the quotient is odd.
    const int64_t odd = (value >> shift) & 1;
    const int64_t half = shift == 0 ? 0 : (int64_t(1) << (shift - 1)) - 1 + odd;
    return (value + half) >> shift;
}

int32_t clamped(int64_t value, int32_t lo, int32_t hi) {
#pragma HLS INLINE
    return static_cast<int32_t>(value < lo ? lo : value > hi ? hi : value);
}

// --- the lanes

void write_lanes(uint32_t instruction, uint32_t address, uint32_t mask, const int8_t data[ROWS]) {
#pragma HLS INLINE
    for (int lane = 0; lane < ROWS; ++lane) {
#pragma HLS UNROLL
        if (mask >> lane & 1) lanes[lane][address] = data[lane];
    }
#ifdef ESPALIER_TRACE
    espalier_trace(instruction, static_cast<uint16_t>(address), mask, data);
#else
    (void)instruction;
#endif
}

constexpr uint32_t ALL_LANES = 0xffffffffu >> (32 - ROWS);

// --- CONV

// Adds one tile, over all pixels of its source and shifted to the left, to the accumulators; `first` overwrites them.
bool stream_tile(const Source& source, const Tile& tile, uint32_t pixels, bool first, int shift) {
    bool inside = true;
    PixelWalk at = {0, 0, 0, source.base, source.base, source.base, source.base};
    for (uint32_t pixel = 0; pixel < pixels; ++pixel) {
// One pixel a cycle is what the array is for: ROWS * COLS products, each pixel in a cell of its own ...
#pragma HLS PIPELINE II=1
// ... so that no iteration of this loop reads what another one writes; the next tile starts after the last write.
#pragma HLS DEPENDENCE variable=accumulator type=inter dependent=false
#pragma HLS LOOP_TRIPCOUNT min=1 max=ACCUMULATOR_PIXELS
        int32_t sum[COLS];
#pragma HLS ARRAY_PARTITION variable=sum complete
        for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
            sum[column] = 0;
        }
        for (int row = 0; row < ROWS; ++row) {
#pragma HLS UNROLL
            int16_t activation[2];
#pragma HLS ARRAY_PARTITION variable=activation complete
            for (int vector = 0; vector < 2; ++vector) {
#pragma HLS UNROLL
                activation[vector] = 0;
                if (vector < COMBINE && tile.used[row][vector % COMBINE]) {
                    const uint32_t address = static_cast<uint16_t>(at.address + tile.offset[row][vector % COMBINE]);
                    if (address < LANE_BYTES) activation[vector] = lanes[row][address];
                    else inside = false;
                }
            }
            for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
                const int16_t value = activation[COMBINE > 1 && tile.second[row][column] ? 1 : 0];
                sum[column] += tile.weight[row][column] * value;
            }
        }
        for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
            const int32_t shifted = static_cast<int32_t>(static_cast<uint32_t>(sum[column]) << shift);
            accumulator[column][pixel] = add_wrapped(first ? 0 : accumulator[column][pixel], shifted);
        }
        advance(at, source);
    }
    return inside;
}

// What the depthwise unit streams: for every run, `positions` bytes of each lane, of which some complete a sum that is
// kept: after `lead` others, with `skip` between two outputs and `gap` between two rows of outputs.
struct Runs {
    uint32_t count, positions, lead, skip, gap;
};

// Adds one tile of the depthwise unit: lane r is convolved with the taps in row r of the tile, into column r.
bool stream_depthwise(const Source& source, const Runs& runs, const Tile& tile, bool first, int shift) {
    bool inside = true;
    // What each lane read before; byte k belongs to tap k.
    int8_t history[ROWS][MAX_TAPS];
#pragma HLS ARRAY_PARTITION variable=history complete dim=0
    uint32_t position = 0, drop = 0, x = 0, output = 0;
    uint16_t row_address = source.base;
    uint16_t address = source.base;
    const uint32_t total = runs.count * runs.positions;
    for (uint32_t step = 0; step < total; ++step) {
// One byte of every lane a cycle; each output has a cell of its own.
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=accumulator type=inter dependent=false
#pragma HLS LOOP_TRIPCOUNT min=1 max=LANE_BYTES
        if (position == 0) {
            drop = runs.lead;
            x = 0;
            address = row_address;
        }
        const bool kept = drop == 0;
        for (int row = 0; row < ROWS; ++row) {
#pragma HLS UNROLL
            int32_t sum = 0;
            for (int tap = MAX_TAPS - 1; tap > 0; --tap) {
#pragma HLS UNROLL
                history[row][tap] = position == 0 ? 0 : history[row][tap - 1];
                if (tap < DEPTHWISE_TAPS) sum += tile.weight[row][tap] * history[row][tap];
            }
            history[row][0] = 0;
            if (tile.used[row][0]) {
                const uint32_t at = static_cast<uint16_t>(address + tile.offset[row][0]);
                if (at < LANE_BYTES) history[row][0] = lanes[row][at];
                else inside = false;
            }
            sum += tile.weight[row][0] * history[row][0];
            if (kept && row < COLS) {
                const int32_t shifted = static_cast<int32_t>(static_cast<uint32_t>(sum) << shift);
                int32_t& cell = accumulator[row % COLS][output];
                cell = add_wrapped(first ? 0 : cell, shifted);
            }
        }
        for (int column = ROWS; column < COLS; ++column) {
#pragma HLS UNROLL
            if (kept && first) accumulator[column][output] = 0;
        }
        if (!kept) {
            --drop;
        } else {
            ++output;
            const bool row_ends = ++x == source.nx;
            drop = row_ends ? runs.gap : runs.skip;
            if (row_ends) x = 0;
        }
        address = static_cast<uint16_t>(address + source.step_x);
        if (++position == runs.positions) {
            position = 0;
            row_address = static_cast<uint16_t>(row_address + source.step_y);
        }
    }
    return inside;
}

// How the sums of a block become outputs.
struct Drain {
    Area area;
    uint32_t window, columns, chunks;
    bool window_sum, table, wide;
    int32_t rot, rot_step, zero_point, lo, hi;
    uint16_t step_chunk;
};

// Maximum or sum of every window, and requantization.
void pool(const Drain& drain, const Parameters& parameters, uint32_t pixels) {
    int32_t pooled[COLS];
#pragma HLS ARRAY_PARTITION variable=pooled complete
    for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
        pooled[column] = 0;
    }
    uint32_t in_window = 0;
    uint32_t output = 0;
    for (uint32_t pixel = 0; pixel < pixels; ++pixel) {
// One sum of every column a cycle; only the maximum or sum of the window goes around.
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=ACCUMULATOR_PIXELS
        const bool last = in_window + 1 == drain.window;
        for (int column = 0; column < COLS; ++column) {
#pragma HLS UNROLL
            const int32_t sum = accumulator[column][pixel];
            int32_t& kept = pooled[column];
            if (in_window == 0) kept = sum;
            else if (drain.window_sum) kept = add_wrapped(kept, sum);
            else if (sum > kept) kept = sum;
            if (last) {
                const int64_t value = rounded(kept, parameters.bias[column], parameters.shift[column]);
                const int32_t q = clamped(value + drain.zero_point, drain.lo, drain.hi);
                // 256 * high + low + 128
                const int32_t m = clamped(value + 128, -32768, 32767);
                result[column][output] = static_cast<int8_t>(STATES && drain.wide      ? m >> 8
                                                             : TABLES && drain.table ? table[table_bank][column][TABLES ? q + 128 : 0]
                                                                                     : q);
                if (STATES && drain.wide) low_digit[column][STATES ? output : 0] = static_cast<int8_t>((m & 255) - 128);
            }
        }
        in_window = last ? 0 : in_window + 1;
        if (last) ++output;
    }
}

// Outputs into the lanes: chunk by chunk, each lane takes the column that the rotation names.
Error write_back(uint32_t instruction, const Drain& drain) {
    const uint32_t writes = drain.area.nx * drain.area.ny * drain.chunks;
    Walk walk = {0, drain.area.base};
    uint32_t chunk = 0;
    uint32_t output = 0;
    int32_t rotation = drain.rot;
    uint16_t chunk_offset = 0;
    for (uint32_t write = 0; write < writes; ++write) {
// One write of all lanes a cycle ...
#pragma HLS PIPELINE II=1
// ... and nothing is read from the lanes here.
#pragma HLS DEPENDENCE variable=lanes type=inter dependent=false
#pragma HLS LOOP_TRIPCOUNT min=1 max=ACCUMULATOR_PIXELS
        int8_t data[ROWS];
#pragma HLS ARRAY_PARTITION variable=data complete
        uint32_t mask = 0;
        for (int lane = 0; lane < ROWS; ++lane) {
#pragma HLS UNROLL
            const int32_t column = lane + rotation;
            const bool hit = column >= 0 && column < static_cast<int32_t>(drain.columns);
            const bool low = STATES && drain.wide && chunk > 0;
            data[lane] = !hit ? 0 : low ? low_digit[column][STATES ? output : 0] : result[column][output];
            mask |= static_cast<uint32_t>(hit) << lane;
        }
        const uint32_t address = static_cast<uint16_t>(address_of(walk, drain.area) + chunk_offset);
        if (address >= LANE_BYTES) return ERROR_LANE_ADDRESS;
        write_lanes(instruction, address, mask, data);
        if (++chunk == drain.chunks) {
            chunk = 0;
            rotation = drain.rot;
            chunk_offset = 0;
            ++output;
            advance(walk, drain.area);
        } else {
            rotation += drain.rot_step;
            chunk_offset = static_cast<uint16_t>(chunk_offset + drain.step_chunk);
        }
    }
    return ERROR_NONE;
}

Error conv(uint32_t instruction, const uint32_t words[INSTRUCTION_WORDS], const uint32_t* image) {
    Area area = area_of(words, DST_BASE, DST_STEP_Y);
    const Source source = {get_address(words, SRC_BASE),
                           get_address(words, SRC_STEP_X),
                           get_address(words, SRC_STEP_Y),
                           get_address(words, SRC_STEP_WX),
                           get_address(words, SRC_STEP_WY),
                           area.nx,
                           static_cast<uint32_t>(get(words, WIN_X)),
                           static_cast<uint32_t>(get(words, WIN_Y))};
    const bool partial = get(words, PARTIAL) != 0;
    const bool depthwise = get(words, DEPTHWISE) != 0;
    const bool gated = depthwise && get(words, GATED) != 0;
    // Where the window has one pixel, the step inside it is that of outputs.
    if (!depthwise && source.win_x == 1 && source.win_y == 1) area.step_x = source.step_wx & 15;
    const Drain drain = {area,
                         source.win_x * source.win_y,
                         static_cast<uint32_t>(get(words, COLUMNS)),
                         static_cast<uint32_t>(get(words, CHUNKS_M1)) + 1,
                         !depthwise && get(words, WINDOW_SUM) != 0,
                         !partial && get(words, TABLE) != 0,
                         depthwise && get(words, WIDE) != 0,
                         get(words, ROT),
                         get(words, ROT_STEP),
                         get(words, ZERO_POINT),
                         get(words, LO),
                         get(words, HI),
                         get_address(words, DST_STEP_CHUNK)};
    const uint32_t tiles = static_cast<uint32_t>(get(words, TILES));
    const uint32_t weights = static_cast<uint32_t>(get(words, WEIGHT_ADDR));
    // At most 4095 * 4095 * 225: fits 32 bits.
    const uint32_t pixels = area.nx * area.ny * drain.window;
    if (is_empty(area) || drain.window == 0 || pixels > ACCUMULATOR_PIXELS || tiles == 0 || drain.columns == 0 ||
        drain.columns > COLS || drain.lo > drain.hi) {
        return ERROR_OPERAND;
    }
    const int code = partial ? get(words, SUM_SHIFT) : 0;
    const int shift = depthwise && code > 0 ? 2 * code + 2 : 2 * code;
    // 2: a table for all columns is loaded, 3: one for each.
    const int32_t loads = partial ? 0 : get(words, TABLE) & 3;
    const uint32_t table_words = loads == 2 ? TABLE_WORDS : loads == 3 ? TABLE_ENTRIES : 0;
    // Or those before are taken.
    const bool swaps = drain.table && loads == 1 && source.win_x == 1 && source.win_y == 1 && get(words, SWAP_TABLES) != 0;
    if (drain.table && (!TABLES || (table_words == 0 && tables_loaded < (swaps ? 2 : 1)))) return ERROR_OPERAND;
    const uint32_t parameter_words = partial ? 0 : PARAMETER_WORDS + table_words;
    if (weights + tiles * ROWS + parameter_words > loaded_words) return ERROR_WEIGHT_ADDRESS;
    const uint32_t wy = source.step_wy;
    const bool joined = (wy >> 12 & 1) != 0;
    const Runs runs = {joined ? 1 : area.ny, source.step_wx, wy & 15, wy >> 4 & 15, wy >> 8 & 15};
    const uint32_t stream = depthwise ? 1u << 31 | (wy & 0x1fff) << 16 | source.step_wx : 0;
    if (sums_pending && stream != pending_stream) return ERROR_OPERAND;
    if (drain.wide && (!STATES || partial || drain.table || drain.chunks != 2)) return ERROR_OPERAND;
    if (depthwise) {
        // A run ends with its last output, so that no more sums are kept than there are outputs.
        const uint32_t rows = joined ? area.ny : 1;
        const uint32_t length = runs.lead + rows * ((area.nx - 1) * (runs.skip + 1) + 1) + (rows - 1) * runs.gap;
        if (DEPTHWISE_TAPS == 0 || ROWS > COLS || drain.window != 1 || (partial && !STATES) || length != runs.positions ||
            (gated && GATES == 0)) {
            return ERROR_OPERAND;
        }
    }

    Tile tile;
// All weights of the tile are multiplied at once.
#pragma HLS ARRAY_PARTITION variable=tile.weight complete dim=0
#pragma HLS ARRAY_PARTITION variable=tile.second complete dim=0
#pragma HLS ARRAY_PARTITION variable=tile.offset complete dim=0
#pragma HLS ARRAY_PARTITION variable=tile.used complete dim=0
    for (uint32_t index = 0; index < tiles; ++index) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=MAX_TILES
        load_tile(words_at(image, weights + index * ROWS, ROWS), tile);
        if (gated && !take_gates(tile)) return ERROR_GATES;
        const bool first = index == 0 && !sums_pending;
        const bool inside = depthwise ? stream_depthwise(source, runs, tile, first, shift)
                                      : stream_tile(source, tile, pixels, first, shift);
        if (!inside) return ERROR_LANE_ADDRESS;
    }
    sums_pending = partial;
    pending_stream = stream;
    if (partial) return ERROR_NONE;
    Parameters parameters;
#pragma HLS ARRAY_PARTITION variable=parameters.bias complete
#pragma HLS ARRAY_PARTITION variable=parameters.shift complete
    load_parameters(words_at(image, weights + tiles * ROWS, PARAMETER_WORDS), parameters);
    if (table_words > 0) {
        load_tables(words_at(image, weights + tiles * ROWS + PARAMETER_WORDS, table_words), loads == 3);
    }
    if (swaps) table_bank ^= 1;
    pool(drain, parameters, pixels);
    return write_back(instruction, drain);
}

// --- FILL, LOAD, STORE

Error fill(uint32_t instruction, const Area& area, int8_t value) {
    int8_t data[ROWS];
#pragma HLS ARRAY_PARTITION variable=data complete
    for (int lane = 0; lane < ROWS; ++lane) {
#pragma HLS UNROLL
        data[lane] = value;
    }
    const uint32_t cells = area.nx * area.ny;
    Walk walk = {0, area.base};
    for (uint32_t cell = 0; cell < cells; ++cell) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=LANE_BYTES
        const uint32_t address = address_of(walk, area);
        if (address >= LANE_BYTES) return ERROR_LANE_ADDRESS;
        write_lanes(instruction, address, ALL_LANES, data);
        advance(walk, area);
    }
    return ERROR_NONE;
}

// With `replicate` = C > 0, lane l takes byte l mod C while whole copies fit.
Error load(uint32_t instruction, const Area& area, int replicate, const Beat* input, uint32_t beats, uint32_t& taken) {
    // The byte of every lane, once: a division would be the longest path of the loop.
    uint8_t byte_of[ROWS];
#pragma HLS ARRAY_PARTITION variable=byte_of complete
    int next = 0;
    for (int lane = 0; lane < ROWS; ++lane) {
#pragma HLS PIPELINE II=1
        const bool copied = replicate > 0 && lane - next + replicate <= ROWS;
        byte_of[lane] = static_cast<uint8_t>(copied ? next : lane);
        if (copied) next = next + 1 == replicate ? 0 : next + 1;
    }
    const uint32_t cells = area.nx * area.ny;
    if (cells > beats - taken) return ERROR_INPUT;
    Walk walk = {0, area.base};
    for (uint32_t cell = 0; cell < cells; ++cell) {
// One beat a cycle: the addresses of the bus are consecutive, so this is a burst.
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=LANE_BYTES
        const Beat beat = input[taken + cell];
        int8_t data[ROWS];
#pragma HLS ARRAY_PARTITION variable=data complete
        for (int lane = 0; lane < ROWS; ++lane) {
#pragma HLS UNROLL
            data[lane] = static_cast<int8_t>(beat.lane[byte_of[lane]]);
        }
        const uint32_t address = address_of(walk, area);
        if (address >= LANE_BYTES) return ERROR_LANE_ADDRESS;
        write_lanes(instruction, address, ALL_LANES, data);
        advance(walk, area);
    }
    taken += cells;
    return ERROR_NONE;
}

Error store_gates(const Area& area) {
    const uint32_t cells = area.nx * area.ny;
    if (GATES == 0 || cells > GATES - gates_held) return ERROR_GATES;
    Walk walk = {0, area.base};
    for (uint32_t cell = 0; cell < cells; ++cell) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=GATES
        const uint32_t address = address_of(walk, area);
        if (address >= LANE_BYTES) return ERROR_LANE_ADDRESS;
        const uint32_t place = gates_first + gates_held;
        for (int lane = 0; lane < ROWS; ++lane) {
#pragma HLS UNROLL
            gates[place < GATES ? place : place - GATES][lane] = lanes[lane][address];
        }
        ++gates_held;
        advance(walk, area);
    }
    return ERROR_NONE;
}

// The class: index of the largest byte of the beats that count, the first of equal ones. Of the last beat of a packet
// `class_lanes` bytes count, of others all; 0 = none of this instruction.
struct Best {
    int value;
    uint32_t index;
    uint32_t counted;
};

Error store(const Area& area, int class_lanes, bool more, Beat* output, uint32_t beats, uint32_t& sent, Best& best) {
    const uint32_t cells = area.nx * area.ny;
    if (cells > beats - sent) return ERROR_OUTPUT;
    Walk walk = {0, area.base};
    for (uint32_t cell = 0; cell < cells; ++cell) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=LANE_BYTES
        const uint32_t address = address_of(walk, area);
        if (address >= LANE_BYTES) return ERROR_LANE_ADDRESS;
        Beat beat;
        for (int lane = 0; lane < BEAT_BYTES; ++lane) {
#pragma HLS UNROLL
            beat.lane[lane] = lane < ROWS ? static_cast<uint8_t>(lanes[lane % ROWS][address]) : 0;
        }
        output[sent + cell] = beat;
        if (ARGMAX != 0 && class_lanes > 0) {
            const int counting = cell + 1 == cells && !more ? class_lanes : ROWS;
            for (int lane = 0; lane < ROWS; ++lane) {
#pragma HLS UNROLL
                const int value = lanes[lane][address];
                if (lane < counting && value > best.value) {
                    best.value = value;
                    best.index = best.counted + lane;
                }
            }
            best.counted += ROWS;
        }
        advance(walk, area);
    }
    sent += cells;
    return ERROR_NONE;
}

// --- SAVE, RESTORE: words of a byte a lane, in whole beats; not logged, since their bytes are those of other writes

Error transfer(const uint32_t words[INSTRUCTION_WORDS], bool restore, uint8_t* spill, uint32_t spill_bytes) {
    const uint16_t lane_base = get_address(words, DST_BASE), lane_step = get_address(words, DST_STEP_Y);
    const uint32_t run = static_cast<uint32_t>(get(words, RUN)), planes = static_cast<uint32_t>(get(words, NY));
    const uint32_t first = static_cast<uint32_t>(get(words, FIRST_BEAT));
    const uint32_t step = static_cast<uint32_t>(get(words, STEP_BEATS));
    if (run == 0 || planes == 0) return ERROR_OPERAND;
    for (uint32_t plane = 0; plane < planes; ++plane) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=8
        for (uint32_t i = 0; i < run; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=LANE_BYTES
            const uint32_t address = (lane_base + plane * lane_step + i) & 0xffffu;
            const uint64_t beat = first + static_cast<uint64_t>(plane) * step + static_cast<uint64_t>(i) * SPILL_BEATS;
            const uint64_t byte = beat * SPILL_BEAT_BYTES;
            if (address >= LANE_BYTES) return ERROR_LANE_ADDRESS;
            if (byte + SPILL_WORD_BYTES > spill_bytes) return ERROR_SPILL_ADDRESS;
            for (uint32_t b = 0; b < SPILL_WORD_BYTES; ++b) {
#pragma HLS PIPELINE II=1
                if (restore && b < ROWS) lanes[b][address] = static_cast<int8_t>(spill[byte + b]);
                else if (!restore) spill[byte + b] = b < ROWS ? static_cast<uint8_t>(lanes[b % ROWS][address]) : 0;
            }
        }
    }
    return ERROR_NONE;
}

// --- the program

Error check_bits(uint32_t opcode, const uint32_t words[INSTRUCTION_WORDS]) {
    uint32_t reserved = 0;
    for (int word = 0; word < INSTRUCTION_WORDS; ++word) {
#pragma HLS UNROLL
        reserved |= words[word] & ~USED_BITS[opcode][word];
    }
    return reserved == 0 ? ERROR_NONE : ERROR_RESERVED;
}

void load_memories(const uint32_t* program, uint32_t instructions, const uint32_t* weights, uint32_t weight_words) {
    for (uint32_t word = 0; word < instructions * INSTRUCTION_WORDS; ++word) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=INSTRUCTION_WORDS max=PROGRAM_WORDS
        program_memory[word] = program[word];
    }
    for (uint32_t word = 0; word < (STREAMED ? 0 : weight_words); ++word) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=WEIGHT_WORDS
        for (uint32_t part = 0; part < WEIGHT_PARTS; ++part) {
// One part a cycle, as the bus delivers them.
#pragma HLS PIPELINE II=1
            weight_memory[word][part] = weights[word * WEIGHT_PARTS + part];
        }
    }
    loaded_instructions = instructions;
    loaded_words = weight_words;
}

uint32_t failed(Error error, uint32_t instruction) {
    return STATUS_DONE | STATUS_ERROR | error << 8 | (instruction & 0xffff) << 16;
}

// Executes the loaded program with the image of its weights (read here only if they are streamed) up to END or the first error.
uint32_t execute(const uint32_t* weights, const Beat* input, uint32_t input_beats, Beat* output, uint32_t output_beats,
                 uint8_t* spill, uint32_t spill_bytes, uint32_t& taken, uint32_t& sent, Best& best) {
    sums_pending = false;
    tables_loaded = 0;
    gates_held = 0;
    for (uint32_t index = 0; index < loaded_instructions; ++index) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=PROGRAM_INSTRUCTIONS
        uint32_t words[INSTRUCTION_WORDS];
#pragma HLS ARRAY_PARTITION variable=words complete
        for (uint32_t word = 0; word < INSTRUCTION_WORDS; ++word) {
#pragma HLS PIPELINE II=1
            words[word] = program_memory[index * INSTRUCTION_WORDS + word];
        }
        const uint32_t opcode = static_cast<uint32_t>(get(words, OPCODE));
        if (opcode >= OPCODES) return failed(ERROR_OPCODE, index);
        Error error = check_bits(opcode, words);
        if (error != ERROR_NONE) return failed(error, index);
        if (opcode == OP_END) return STATUS_DONE;
        const Area written = area_of(words, DST_BASE, DST_STEP_Y);
        const Area read = area_of(words, SRC_BASE, SRC_STEP_Y);
        const int replicate = get(words, COLUMNS);
        const bool moves = SPILL_BEATS > 0 && (opcode == OP_SAVE || opcode == OP_RESTORE);
        if (opcode == OP_CONV) error = conv(index, words, weights);
        else if (moves) error = transfer(words, opcode == OP_RESTORE, spill, spill_bytes);
        else if (is_empty(written) || (opcode == OP_LOAD && replicate > 4)) error = ERROR_OPERAND;
        else if (opcode == OP_STORE && (replicate > ROWS || (replicate > 0 && ARGMAX == 0))) error = ERROR_OPERAND;
        else if (opcode == OP_FILL) error = fill(index, written, static_cast<int8_t>(get(words, ZERO_POINT)));
        else if (opcode == OP_LOAD) error = load(index, written, replicate, input, input_beats, taken);
        else if (opcode == OP_STORE && get(words, GATED) != 0) error = store_gates(read);
        else if (opcode == OP_STORE) error = store(read, replicate, get(words, PARTIAL) != 0, output, output_beats, sent, best);
        else error = ERROR_OPCODE;
        if (error != ERROR_NONE) return failed(error, index);
    }
    return failed(ERROR_NO_END, loaded_instructions);
}

}  // namespace

extern "C" uint32_t espalier_hls(const uint32_t* program, uint32_t instructions, const uint32_t* weights,
                                 uint32_t weight_words, uint32_t load, const espalier::Beat* input,
                                 uint32_t input_beats, espalier::Beat* output, uint32_t output_beats, uint8_t* spill,
                                 uint32_t spill_bytes, uint32_t counts[espalier::COUNTS]) {
// Bulk data over bus masters; program and weights share one, as they are read before anything else happens.
#pragma HLS INTERFACE m_axi port=program offset=slave bundle=images depth=PROGRAM_WORDS
#pragma HLS INTERFACE m_axi port=weights offset=slave bundle=images depth=WEIGHT_IMAGE_WORDS
#pragma HLS INTERFACE m_axi port=input offset=slave bundle=input depth=LANE_BYTES
#pragma HLS INTERFACE m_axi port=output offset=slave bundle=output depth=LANE_BYTES
#pragma HLS INTERFACE m_axi port=spill offset=slave bundle=spill depth=SPILL_DEPTH
// A beat is one transfer of the bus.
#pragma HLS AGGREGATE variable=input compact=byte
#pragma HLS AGGREGATE variable=output compact=byte
// Everything else is registers.
#pragma HLS INTERFACE s_axilite port=program
#pragma HLS INTERFACE s_axilite port=instructions
#pragma HLS INTERFACE s_axilite port=weights
#pragma HLS INTERFACE s_axilite port=weight_words
#pragma HLS INTERFACE s_axilite port=load
#pragma HLS INTERFACE s_axilite port=input
#pragma HLS INTERFACE s_axilite port=input_beats
#pragma HLS INTERFACE s_axilite port=output
#pragma HLS INTERFACE s_axilite port=output_beats
#pragma HLS INTERFACE s_axilite port=spill
#pragma HLS INTERFACE s_axilite port=spill_bytes
#pragma HLS INTERFACE s_axilite port=counts
#pragma HLS INTERFACE s_axilite port=return
// A memory a row and two reads a cycle: both vectors of a combined row.
#pragma HLS ARRAY_PARTITION variable=lanes complete dim=1
#pragma HLS BIND_STORAGE variable=lanes type=ram_t2p impl=bram
// A memory a column, read and written in the same cycle.
#pragma HLS ARRAY_PARTITION variable=accumulator complete dim=1
#pragma HLS BIND_STORAGE variable=accumulator type=ram_s2p impl=bram
#pragma HLS ARRAY_PARTITION variable=table complete dim=1
#pragma HLS ARRAY_PARTITION variable=table complete dim=2
#pragma HLS ARRAY_PARTITION variable=gates complete dim=2
#pragma HLS ARRAY_PARTITION variable=result complete dim=1
#pragma HLS BIND_STORAGE variable=result type=ram_s2p impl=bram
#pragma HLS ARRAY_PARTITION variable=low_digit complete dim=1
#pragma HLS BIND_STORAGE variable=low_digit type=ram_s2p impl=bram
// A whole weight word a cycle.
#pragma HLS ARRAY_PARTITION variable=weight_memory complete dim=2
#pragma HLS BIND_STORAGE variable=weight_memory type=ram_s2p impl=bram
// One set of multipliers for all instructions.
#pragma HLS ALLOCATION function instances=stream_tile limit=1
#pragma HLS ALLOCATION function instances=stream_depthwise limit=1
    using namespace espalier;
    uint32_t taken = 0;
    uint32_t sent = 0;
    Best best = {-129, 0, 0};
    uint32_t status;
    if (load != 0 && (instructions > PROGRAM_INSTRUCTIONS || weight_words > WEIGHT_WORDS)) {
        // Nothing half loaded stays behind.
        loaded_instructions = 0;
        loaded_words = 0;
        status = failed(ERROR_IMAGE, 0);
    } else {
        if (load != 0) load_memories(program, instructions, weights, weight_words);
        status = execute(weights, input, input_beats, output, output_beats, spill, spill_bytes, taken, sent, best);
    }
    counts[COUNT_IN] = taken;
    counts[COUNT_OUT] = sent;
    counts[COUNT_HASH] = CONFIG_HASH;
    counts[COUNT_GEOMETRY] = ROWS | COLS << 8 | COMBINE << 16;
    counts[COUNT_CLASS] = best.index;
    return status;
}
