/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Driver of an Espalier core, without operating system, heap or global state.
 *
 *   espalier_program program;
 *   espalier_port port;                          // espalier_dma.h, espalier_linux.h, or one of your own
 *   espalier_program_open(&program, bytes, size);     // program.bin
 *   espalier_load(&port, &program);
 *   espalier_infer(&port, &program, input, output, input_beats, output_beats);
 *   best = espalier_argmax(output, espalier_output_elements(&program));
 *
 * Every function that can fail returns a status; 0 is success.
 */
#ifndef ESPALIER_H
#define ESPALIER_H

#include <stddef.h>
#include <stdint.h>

#include "espalier_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Spilled tensors begin at a multiple of so many bytes. */
#define ESPALIER_ALIGNMENT 4096u

/* Values below 16 are error codes of the core. */
typedef enum espalier_status {
    ESPALIER_OK = 0,
    ESPALIER_UNKNOWN_INSTRUCTION = ESPALIER_ERROR_UNKNOWN_INSTRUCTION,
    ESPALIER_OTHER_CONFIGURATION = ESPALIER_ERROR_OTHER_CONFIGURATION,
    ESPALIER_MEMORY = ESPALIER_ERROR_MEMORY,
    ESPALIER_PACKET = ESPALIER_ERROR_PACKET,
    ESPALIER_CHECKSUM = ESPALIER_ERROR_CHECKSUM,
    ESPALIER_NOT_A_PROGRAM = 16,  /* the bytes are something else */
    ESPALIER_OTHER_VERSION = 17,  /* a form that this driver does not know */
    ESPALIER_TRUNCATED = 18,      /* bytes are missing */
    ESPALIER_CORRUPTED = 19,      /* the checksum of the file is wrong */
    ESPALIER_NO_MEMORY = 20,      /* the program needs external memory, and the port has none, or too little */
    ESPALIER_TIMEOUT = 21,        /* the core or the port did not answer in time */
    ESPALIER_PORT = 22            /* the port failed */
} espalier_status;

/* How the core is reached. Functions return 0, or a status. */
typedef struct espalier_port {
    void *context;
    espalier_status (*read)(void *context, uint32_t address, uint32_t *value);
    /* Words to addresses that grow by four. */
    espalier_status (*write)(void *context, uint32_t address, const uint32_t *words, size_t count);
    /* Whole weight words of `parts` words each, from number `first` on. */
    espalier_status (*write_weights)(void *context, size_t first, const uint32_t *words, size_t count, size_t parts);
    /* Sends an input packet and takes the output packet. */
    espalier_status (*exchange)(void *context, const uint8_t *input, size_t input_bytes, uint8_t *output,
                                size_t output_bytes);
    /* Sets memory aside that the core reaches, from a multiple of 4096 on, instead of what an earlier program had: streamed
       weights, which it fills in, and from the next multiple of 4096 on so many bytes for spilled tensors. NULL if there is
       no such memory. */
    espalier_status (*place)(void *context, const uint8_t *weights, size_t weight_bytes, size_t spill_bytes,
                             uint64_t *address);
    /* 1: beats are padded to a power of two bytes. */
    int pads_beats;
} espalier_port;

/* A checked program; the bytes stay with the caller. */
typedef struct espalier_program {
    const uint8_t *bytes;
    size_t size;
} espalier_program;

/* Shape and scale of a tensor: real = (integer - zero_point) * 2^exponent. */
typedef struct espalier_tensor {
    uint32_t channels, height, width;
    int32_t exponent, zero_point;
} espalier_tensor;

/* Checks the bytes of program.bin: NOT_A_PROGRAM, OTHER_VERSION, TRUNCATED or CORRUPTED. */
espalier_status espalier_program_open(espalier_program *program, const void *bytes, size_t size);
/* A word of the header, ESPALIER_FILE_... */
uint32_t espalier_program_header(const espalier_program *program, size_t word);
/* A tensor: inputs first, then outputs. */
espalier_tensor espalier_program_tensor(const espalier_program *program, size_t index);
/* Values of all inputs, and of all outputs. */
size_t espalier_input_elements(const espalier_program *program);
size_t espalier_output_elements(const espalier_program *program);
/* Bytes of the packets through a port. */
size_t espalier_input_bytes(const espalier_port *port, const espalier_program *program);
size_t espalier_output_bytes(const espalier_port *port, const espalier_program *program);

/* Integers that stand for real values of all inputs, and the reverse for all outputs. */
void espalier_quantize(const espalier_program *program, const float *real, int8_t *input);
void espalier_dequantize(const espalier_program *program, const int8_t *output, float *real);

/* So many bytes rounded up to where spilled tensors may begin. */
size_t espalier_aligned(size_t bytes);
/* Writes a program. The core refuses to start until that has succeeded. */
espalier_status espalier_load(const espalier_port *port, const espalier_program *program);
/*
 * Runs the loaded program on one sample: values of all inputs, channel by channel, row by row, and of all outputs. The
 * buffers hold espalier_input_bytes and espalier_output_bytes; a DMA engine must be able to reach them.
 */
espalier_status espalier_infer(const espalier_port *port, const espalier_program *program, const int8_t *input,
                               int8_t *output, uint8_t *input_beats, uint8_t *output_beats);
/* Cycles of the last run, without those in which a stream waited. */
espalier_status espalier_cycles(const espalier_port *port, uint32_t *cycles);
/* Index of the largest value of the last output of the last run: the class. Needs hardware with `argmax`. */
espalier_status espalier_class(const espalier_port *port, uint32_t *class_index);
/* The same of any values, the first one of several. */
size_t espalier_argmax(const int8_t *values, size_t count);
/* A few words for people. */
const char *espalier_status_text(espalier_status status);
/* CRC-32 as of zlib; `crc` is that of the bytes before. */
uint32_t espalier_crc32(uint32_t crc, const uint8_t *bytes, size_t count);

#ifdef __cplusplus
}
#endif

#endif
