/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "espalier_dma.h"

#include <string.h>

/* A platform may have its own way to reach registers. */
#ifndef ESPALIER_READ32
#define ESPALIER_READ32(address) (*(volatile const uint32_t *)(address))
#define ESPALIER_WRITE32(address, value) (*(volatile uint32_t *)(address) = (value))
#endif
/* How often a waiting function looks. */
#ifndef ESPALIER_SPINS
#define ESPALIER_SPINS 100000000L
#endif

enum {
    /* The engine's channels: memory to stream, and stream to memory. */
    TO_STREAM = 0x00,
    TO_MEMORY = 0x30,
    /* Registers of a channel. */
    CONTROL = 0x00,
    STATUS = 0x04,
    ADDRESS = 0x18,
    ADDRESS_HIGH = 0x1c,
    LENGTH = 0x28,
    /* Bits. */
    CONTROL_RUN = 1,
    CONTROL_RESET = 4,
    STATUS_IDLE = 2,
    STATUS_ERRORS = 0x70,
    ALIGNMENT = 64
};

static espalier_status dma_read(void *context, uint32_t address, uint32_t *value) {
    const espalier_dma *dma = (const espalier_dma *)context;
    *value = ESPALIER_READ32(dma->core + address);
    return ESPALIER_OK;
}

static espalier_status dma_write(void *context, uint32_t address, const uint32_t *words, size_t count) {
    const espalier_dma *dma = (const espalier_dma *)context;
    for (size_t i = 0; i < count; ++i) ESPALIER_WRITE32(dma->core + address + 4 * i, words[i]);
    return ESPALIER_OK;
}

static espalier_status dma_write_weights(void *context, size_t first, const uint32_t *words, size_t count,
                                         size_t parts) {
    for (size_t i = 0; i < count; i += parts) {
        const uint32_t address = ESPALIER_REGION_WEIGHTS + 64 * (uint32_t)(first + i / parts);
        dma_write(context, address, words + i, parts);
    }
    return ESPALIER_OK;
}

static espalier_status reset_engine(const espalier_dma *dma) {
    /* One channel's reset resets both. */
    ESPALIER_WRITE32(dma->engine + TO_STREAM + CONTROL, CONTROL_RESET);
    for (long i = 0; i < ESPALIER_SPINS; ++i) {
        if (!(ESPALIER_READ32(dma->engine + TO_STREAM + CONTROL) & CONTROL_RESET)) return ESPALIER_OK;
    }
    return ESPALIER_TIMEOUT;
}

static void begin(const espalier_dma *dma, uintptr_t channel, const uint8_t *bytes, size_t count) {
    const uint64_t address = dma->memory_address + (uint64_t)(bytes - dma->memory);
    ESPALIER_WRITE32(dma->engine + channel + CONTROL, CONTROL_RUN);
    ESPALIER_WRITE32(dma->engine + channel + ADDRESS, (uint32_t)address);
    ESPALIER_WRITE32(dma->engine + channel + ADDRESS_HIGH, (uint32_t)(address >> 32));
    /* The length starts the transfer. */
    ESPALIER_WRITE32(dma->engine + channel + LENGTH, (uint32_t)count);
}

static espalier_status finish(const espalier_dma *dma, uintptr_t channel) {
    for (long i = 0; i < ESPALIER_SPINS; ++i) {
        const uint32_t status = ESPALIER_READ32(dma->engine + channel + STATUS);
        if (status & STATUS_ERRORS) return ESPALIER_PORT;
        if (status & STATUS_IDLE) return ESPALIER_OK;
    }
    return ESPALIER_TIMEOUT;
}

static espalier_status dma_exchange(void *context, const uint8_t *input, size_t input_bytes, uint8_t *output,
                                    size_t output_bytes) {
    const espalier_dma *dma = (const espalier_dma *)context;
    espalier_status status;
    if (dma->flush) dma->flush(input, input_bytes);
    begin(dma, TO_MEMORY, output, output_bytes);
    begin(dma, TO_STREAM, input, input_bytes);
    status = finish(dma, TO_STREAM);
    if (status == ESPALIER_OK) status = finish(dma, TO_MEMORY);
    if (status != ESPALIER_OK) {
        /* A transfer that stands still would be in the way of the next one. */
        reset_engine(dma);
        return status;
    }
    if (dma->invalidate) dma->invalidate(output, output_bytes);
    return ESPALIER_OK;
}

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static espalier_status dma_place(void *context, const uint8_t *weights, size_t weight_bytes, size_t spill_bytes,
                                 uint64_t *address) {
    espalier_dma *dma = (espalier_dma *)context;
    const size_t outside = (size_t)(dma->memory_address % ESPALIER_ALIGNMENT);
    const size_t skipped = espalier_aligned(outside) - outside;
    const size_t bytes = skipped + espalier_aligned(weight_bytes) + spill_bytes;
    if (bytes > dma->memory_bytes) return ESPALIER_NO_MEMORY;
    memcpy(dma->memory + skipped, weights, weight_bytes);
    /* All of it: nothing that a cache still holds may overwrite a spilled tensor later. */
    if (dma->flush) dma->flush(dma->memory, bytes);
    dma->reserved = aligned(bytes);
    *address = dma->memory_address + skipped;
    return ESPALIER_OK;
}

espalier_status espalier_dma_open(espalier_port *port, espalier_dma *dma) {
    dma->reserved = 0;
    port->context = dma;
    port->read = dma_read;
    port->write = dma_write;
    port->write_weights = dma_write_weights;
    port->exchange = dma_exchange;
    port->place = dma_place;
    port->pads_beats = 1;
    return reset_engine(dma);
}

espalier_status espalier_dma_buffers(const espalier_port *port, const espalier_program *program, uint8_t **input_beats,
                                     uint8_t **output_beats) {
    const espalier_dma *dma = (const espalier_dma *)port->context;
    const size_t input = aligned(espalier_input_bytes(port, program));
    if (dma->reserved + input + espalier_output_bytes(port, program) > dma->memory_bytes) return ESPALIER_NO_MEMORY;
    *input_beats = dma->memory + dma->reserved;
    *output_beats = *input_beats + input;
    return ESPALIER_OK;
}
