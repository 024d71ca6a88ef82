/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Ports under Linux and other POSIX systems: AXI through UIO, and the serial line of boards without a processor.
 *
 * UIO needs a node for the core and one for the DMA engine in the device tree (compatible = "generic-uio"), and a buffer
 * that the engine can reach, such as u-dma-buf gives. docs/bring-up.md shows both.
 */
#ifndef ESPALIER_LINUX_H
#define ESPALIER_LINUX_H

#include "espalier.h"
#include "espalier_dma.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espalier_uio {
    espalier_dma dma;
    size_t memory_bytes;
    void *maps[3];
    size_t lengths[3];
} espalier_uio;

/*
 * Maps the core (/dev/uio0), the DMA engine (/dev/uio1) and the first `memory_bytes` of the buffer (/dev/udmabuf0), whose
 * address stands in a file as hexadecimal number (/sys/class/u-dma-buf/udmabuf0/phys_addr).
 */
espalier_status espalier_uio_open(espalier_port *port, espalier_uio *uio, const char *core, const char *engine,
                                  const char *buffer, const char *buffer_address, size_t memory_bytes);
void espalier_uio_close(espalier_uio *uio);

typedef struct espalier_line {
    int in, out;
    /* Milliseconds without a byte after which the other side is given up. */
    int timeout_ms;
} espalier_line;

/* Opens a serial device, such as /dev/ttyUSB1, at a rate: ESPALIER_PORT if there is no such device or rate. */
espalier_status espalier_line_open(espalier_port *port, espalier_line *line, const char *device, unsigned long baud);
/* Any two descriptors as a line. */
void espalier_line_attach(espalier_port *port, espalier_line *line, int in, int out);

#ifdef __cplusplus
}
#endif

#endif
