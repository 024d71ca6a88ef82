/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "espalier.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK_WORDS = 64,         /* words that are converted at once */
    STATUS_READS = 1000000    /* after the output packet the core needs a few cycles */
};

static uint32_t word_at(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

uint32_t espalier_crc32(uint32_t crc, const uint8_t *bytes, size_t count) {
    crc = ~crc;
    for (size_t i = 0; i < count; ++i) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1u ? 0xedb88320u : 0u);
    }
    return ~crc;
}

/* --- program file */

uint32_t espalier_program_header(const espalier_program *program, size_t word) {
    return word_at(program->bytes + 4 * word);
}

static size_t inputs(const espalier_program *program) {
    return espalier_program_header(program, ESPALIER_FILE_INPUTS);
}

static size_t outputs(const espalier_program *program) {
    return espalier_program_header(program, ESPALIER_FILE_OUTPUTS);
}

static size_t rows(const espalier_program *program) {
    return (espalier_program_header(program, ESPALIER_FILE_GEOMETRY) & ESPALIER_GEOMETRY_ROWS_MASK) >>
           ESPALIER_GEOMETRY_ROWS_LSB;
}

/* Byte at which program words begin. */
static size_t code_offset(const espalier_program *program) {
    return 4 * (ESPALIER_FILE_WORDS + ESPALIER_TENSOR_WORDS * (inputs(program) + outputs(program)));
}

static size_t elements(const espalier_program *program, size_t first, size_t count) {
    size_t sum = 0;
    for (size_t i = first; i < first + count; ++i) {
        const espalier_tensor tensor = espalier_program_tensor(program, i);
        sum += (size_t)tensor.channels * tensor.height * tensor.width;
    }
    return sum;
}

/* Whether the parts of the file add up to its size. */
static int is_complete(const espalier_program *program) {
    const uint32_t parts = espalier_program_header(program, ESPALIER_FILE_WEIGHT_PARTS);
    const uint32_t weights = espalier_program_header(program, ESPALIER_FILE_WEIGHT_WORDS);
    const uint64_t tensors = (uint64_t)espalier_program_header(program, ESPALIER_FILE_INPUTS) +
                             espalier_program_header(program, ESPALIER_FILE_OUTPUTS);
    const uint64_t words = ESPALIER_FILE_WORDS + ESPALIER_TENSOR_WORDS * tensors +
                           espalier_program_header(program, ESPALIER_FILE_PROGRAM_WORDS) + weights +
                           ((uint64_t)espalier_program_header(program, ESPALIER_FILE_STREAM_BYTES) + 3) / 4;
    return parts >= 1 && parts <= 16 && weights % parts == 0 && rows(program) > 0 && 4 * (words + 1) == program->size;
}

espalier_status espalier_program_open(espalier_program *program, const void *bytes, size_t size) {
    program->bytes = (const uint8_t *)bytes;
    program->size = size;
    if (size < 4 || espalier_program_header(program, ESPALIER_FILE_MAGIC) != ESPALIER_FILE_MAGIC_VALUE) {
        return ESPALIER_NOT_A_PROGRAM;
    }
    if (size < 4 * (ESPALIER_FILE_WORDS + 1)) return ESPALIER_TRUNCATED;
    if (espalier_program_header(program, ESPALIER_FILE_VERSION) != ESPALIER_FILE_VERSION_VALUE) {
        return ESPALIER_OTHER_VERSION;
    }
    /* A damaged length looks like a damaged file if the rest of it is there. */
    if (size < espalier_program_header(program, ESPALIER_FILE_FILE_BYTES)) return ESPALIER_TRUNCATED;
    if (size != espalier_program_header(program, ESPALIER_FILE_FILE_BYTES) || !is_complete(program) ||
        espalier_crc32(0, program->bytes, size - 4) != word_at(program->bytes + size - 4)) {
        return ESPALIER_CORRUPTED;
    }
    return ESPALIER_OK;
}

espalier_tensor espalier_program_tensor(const espalier_program *program, size_t index) {
    const uint8_t *entry = program->bytes + 4 * (ESPALIER_FILE_WORDS + ESPALIER_TENSOR_WORDS * index);
    espalier_tensor tensor;
    tensor.channels = word_at(entry + 4 * ESPALIER_TENSOR_CHANNELS);
    tensor.height = word_at(entry + 4 * ESPALIER_TENSOR_HEIGHT);
    tensor.width = word_at(entry + 4 * ESPALIER_TENSOR_WIDTH);
    tensor.exponent = (int32_t)word_at(entry + 4 * ESPALIER_TENSOR_EXPONENT);
    tensor.zero_point = (int32_t)word_at(entry + 4 * ESPALIER_TENSOR_ZERO_POINT);
    return tensor;
}

size_t espalier_input_elements(const espalier_program *program) { return elements(program, 0, inputs(program)); }

size_t espalier_output_elements(const espalier_program *program) {
    return elements(program, inputs(program), outputs(program));
}

/* --- streams */

static size_t beat_bytes(const espalier_port *port, const espalier_program *program) {
    size_t padded = 1;
    if (!port->pads_beats) return rows(program);
    while (padded < rows(program)) padded *= 2;
    return padded;
}

size_t espalier_input_bytes(const espalier_port *port, const espalier_program *program) {
    return espalier_program_header(program, ESPALIER_FILE_BEATS_IN) * beat_bytes(port, program);
}

size_t espalier_output_bytes(const espalier_port *port, const espalier_program *program) {
    return espalier_program_header(program, ESPALIER_FILE_BEATS_OUT) * beat_bytes(port, program);
}

/* Moves values between tensors and the beats of a packet. */
static void rearrange(const espalier_port *port, const espalier_program *program, size_t first, size_t count,
                      int8_t *values, uint8_t *beats, int pack) {
    const size_t lanes = rows(program), stride = beat_bytes(port, program);
    for (size_t i = first; i < first + count; ++i) {
        const espalier_tensor tensor = espalier_program_tensor(program, i);
        const size_t places = (size_t)tensor.height * tensor.width;
        for (size_t c = 0; c < tensor.channels; ++c) {
            uint8_t *beat = beats + c / lanes * places * stride + c % lanes;
            for (size_t place = 0; place < places; ++place, beat += stride, ++values) {
                if (pack) {
                    *beat = (uint8_t)*values;
                } else {
                    *values = (int8_t)*beat;
                }
            }
        }
        beats += (tensor.channels + lanes - 1) / lanes * places * stride;
    }
}

void espalier_quantize(const espalier_program *program, const float *real, int8_t *input) {
    for (size_t i = 0; i < inputs(program); ++i) {
        const espalier_tensor tensor = espalier_program_tensor(program, i);
        const size_t count = elements(program, i, 1);
        for (size_t k = 0; k < count; ++k) {
            const double steps = rint(ldexp((double)*real++, -tensor.exponent)) + tensor.zero_point;
            /* Not a number becomes 0. */
            *input++ = (int8_t)(steps >= 127 ? 127 : steps <= -128 ? -128 : steps == steps ? steps : 0);
        }
    }
}

void espalier_dequantize(const espalier_program *program, const int8_t *output, float *real) {
    for (size_t i = inputs(program); i < inputs(program) + outputs(program); ++i) {
        const espalier_tensor tensor = espalier_program_tensor(program, i);
        const size_t count = elements(program, i, 1);
        for (size_t k = 0; k < count; ++k) *real++ = ldexpf((float)(*output++ - tensor.zero_point), tensor.exponent);
    }
}

/* --- the core */

static espalier_status write_register(const espalier_port *port, uint32_t address, uint32_t value) {
    return port->write(port->context, address, &value, 1);
}

/* Writes `count` words of the file; `parts` is 0 for the program memory. */
static espalier_status write_words(const espalier_port *port, const uint8_t *bytes, size_t count, size_t parts) {
    uint32_t words[BLOCK_WORDS];
    const size_t block = parts ? BLOCK_WORDS / parts * parts : BLOCK_WORDS;
    for (size_t done = 0; done < count;) {
        const size_t now = count - done < block ? count - done : block;
        espalier_status status;
        for (size_t i = 0; i < now; ++i) words[i] = word_at(bytes + 4 * (done + i));
        status = parts ? port->write_weights(port->context, done / parts, words, now, parts)
                       : port->write(port->context, ESPALIER_REGION_PROGRAM + 4 * (uint32_t)done, words, now);
        if (status != ESPALIER_OK) return status;
        done += now;
    }
    return ESPALIER_OK;
}

size_t espalier_aligned(size_t bytes) {
    return (bytes + ESPALIER_ALIGNMENT - 1) / ESPALIER_ALIGNMENT * ESPALIER_ALIGNMENT;
}

/* Finds room in external memory for streamed weights and spilled tensors, and tells the core where it is. */
static espalier_status place(const espalier_port *port, const uint8_t *weights, uint32_t weight_bytes,
                             uint32_t spill_bytes) {
    uint64_t address;
    espalier_status status;
    if (!port->place) return ESPALIER_NO_MEMORY;
    status = port->place(port->context, weights, weight_bytes, spill_bytes, &address);
    if (status == ESPALIER_OK) status = write_register(port, ESPALIER_REG_WEIGHTS_LOW, (uint32_t)address);
    if (status == ESPALIER_OK) status = write_register(port, ESPALIER_REG_WEIGHTS_HIGH, (uint32_t)(address >> 32));
    if (status == ESPALIER_OK) status = write_register(port, ESPALIER_REG_WEIGHTS_BYTES, weight_bytes);
    address += espalier_aligned(weight_bytes);
    if (status == ESPALIER_OK) status = write_register(port, ESPALIER_REG_SPILL_LOW, (uint32_t)address);
    if (status == ESPALIER_OK) status = write_register(port, ESPALIER_REG_SPILL_HIGH, (uint32_t)(address >> 32));
    return status;
}

espalier_status espalier_load(const espalier_port *port, const espalier_program *program) {
    const uint32_t hash = espalier_program_header(program, ESPALIER_FILE_CONFIG_HASH);
    const size_t program_words = espalier_program_header(program, ESPALIER_FILE_PROGRAM_WORDS);
    const size_t weight_words = espalier_program_header(program, ESPALIER_FILE_WEIGHT_WORDS);
    const size_t parts = espalier_program_header(program, ESPALIER_FILE_WEIGHT_PARTS);
    const uint32_t stream_bytes = espalier_program_header(program, ESPALIER_FILE_STREAM_BYTES);
    const uint32_t spill_bytes = espalier_program_header(program, ESPALIER_FILE_SPILL_BYTES);
    const uint8_t *code = program->bytes + code_offset(program);
    uint32_t value;
    espalier_status status = port->read(port->context, ESPALIER_REG_CONFIG_HASH, &value);
    if (status != ESPALIER_OK) return status;
    if (value != hash) return ESPALIER_OTHER_CONFIGURATION;
    status = write_register(port, ESPALIER_REG_CONFIG_HASH, hash);
    if (status == ESPALIER_OK) status = write_words(port, code, program_words, 0);
    if (status == ESPALIER_OK) status = write_words(port, code + 4 * program_words, weight_words, parts);
    if (status == ESPALIER_OK && (stream_bytes > 0 || spill_bytes > 0)) {
        status = place(port, code + 4 * program_words, stream_bytes, spill_bytes);
    }
    if (status == ESPALIER_OK) {
        status = write_register(port, ESPALIER_REG_CHECKSUM, espalier_program_header(program, ESPALIER_FILE_CHECKSUM));
    }
    if (status == ESPALIER_OK) status = port->read(port->context, ESPALIER_REG_CHECKSUM, &value);
    if (status == ESPALIER_OK && value != 0) status = ESPALIER_CHECKSUM;
    return status;
}

/* The core's error code, and whether it is done. */
static espalier_status read_status(const espalier_port *port, int *done) {
    uint32_t control;
    const espalier_status status = port->read(port->context, ESPALIER_REG_CONTROL, &control);
    if (status != ESPALIER_OK) return status;
    *done = (control & ESPALIER_CONTROL_DONE_MASK) != 0;
    return (espalier_status)((control & ESPALIER_CONTROL_ERROR_CODE_MASK) >> ESPALIER_CONTROL_ERROR_CODE_LSB);
}

espalier_status espalier_infer(const espalier_port *port, const espalier_program *program, const int8_t *input,
                               int8_t *output, uint8_t *input_beats, uint8_t *output_beats) {
    int done = 0;
    espalier_status status, exchanged;
    memset(input_beats, 0, espalier_input_bytes(port, program));
    /* `rearrange` only reads the values here. */
    rearrange(port, program, 0, inputs(program), (int8_t *)(uintptr_t)input, input_beats, 1);
    status = write_register(port, ESPALIER_REG_CONTROL, ESPALIER_CONTROL_RUNNING_MASK);
    if (status == ESPALIER_OK) status = read_status(port, &done);
    if (status != ESPALIER_OK) return status;
    exchanged = port->exchange(port->context, input_beats, espalier_input_bytes(port, program), output_beats,
                               espalier_output_bytes(port, program));
    /* What the core says explains why a stream stands still. */
    for (long i = 0; i < STATUS_READS && status == ESPALIER_OK && !done; ++i) {
        status = read_status(port, &done);
        if (exchanged != ESPALIER_OK) break;
    }
    if (status == ESPALIER_OK) status = exchanged;
    if (status == ESPALIER_OK && !done) status = ESPALIER_TIMEOUT;
    if (status == ESPALIER_OK) rearrange(port, program, inputs(program), outputs(program), output, output_beats, 0);
    return status;
}

espalier_status espalier_cycles(const espalier_port *port, uint32_t *cycles) {
    return port->read(port->context, ESPALIER_REG_CYCLES, cycles);
}

espalier_status espalier_class(const espalier_port *port, uint32_t *class_index) {
    return port->read(port->context, ESPALIER_REG_CLASS, class_index);
}

size_t espalier_argmax(const int8_t *values, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; ++i) {
        if (values[i] > values[best]) best = i;
    }
    return best;
}

const char *espalier_status_text(espalier_status status) {
    switch (status) {
        case ESPALIER_OK: return "fine";
        case ESPALIER_UNKNOWN_INSTRUCTION: return "the program has an unknown instruction";
        case ESPALIER_OTHER_CONFIGURATION: return "the program is for another configuration of the hardware";
        case ESPALIER_MEMORY: return "external memory answered with an error";
        case ESPALIER_PACKET: return "the input packet has another length than the program takes";
        case ESPALIER_CHECKSUM: return "what arrived in the core is not what was sent";
        case ESPALIER_NOT_A_PROGRAM: return "the file is not a program";
        case ESPALIER_OTHER_VERSION: return "the program file has a form that this driver does not know";
        case ESPALIER_TRUNCATED: return "the program file is cut off";
        case ESPALIER_CORRUPTED: return "the program file is damaged";
        case ESPALIER_NO_MEMORY: return "there is too little external memory, or none";
        case ESPALIER_TIMEOUT: return "no answer in time";
        case ESPALIER_PORT: return "the port failed";
    }
    return "unknown status";
}
