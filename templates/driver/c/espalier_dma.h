/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Port of a core behind AXI: its registers in memory, and packets through one AXI DMA engine in direct mode (registers as
 * in AMD's PG021), as the generated Vivado project builds it. Works on bare metal as it is; espalier_linux.h maps the same
 * under Linux.
 */
#ifndef ESPALIER_DMA_H
#define ESPALIER_DMA_H

#include "espalier.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espalier_dma {
    /* Registers of the core and of the engine. */
    uintptr_t core, engine;
    /* Memory that both processor and hardware reach: where the processor sees it, where the hardware does, its length.
       Not cached, or kept coherent by the functions below. */
    uint8_t *memory;
    uint64_t memory_address;
    size_t memory_bytes;
    /* Make writes of the processor visible to the hardware, and the reverse; NULL if nothing is needed. */
    void (*flush)(const uint8_t *bytes, size_t count);
    void (*invalidate)(const uint8_t *bytes, size_t count);
    /* Bytes at the beginning of the memory that hold streamed weights and spilled tensors; the packets lie behind them. */
    size_t reserved;
} espalier_dma;

/* Resets the engine and fills the port in. */
espalier_status espalier_dma_open(espalier_port *port, espalier_dma *dma);
/* Buffers for the packets of a program inside the memory, to be asked for after espalier_load; NO_MEMORY if it is too small. */
espalier_status espalier_dma_buffers(const espalier_port *port, const espalier_program *program, uint8_t **input_beats,
                                     uint8_t **output_beats);

#ifdef __cplusplus
}
#endif

#endif
