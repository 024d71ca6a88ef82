/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _DEFAULT_SOURCE
#include "espalier_linux.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

/* Registers, program memory, and a million weight words. */
#define CORE_BYTES 0x24000000u
#define ENGINE_BYTES 0x1000u

/* --- UIO */

static void *map(const char *path, size_t bytes) {
    const int file = open(path, O_RDWR | O_SYNC);
    void *address;
    if (file < 0) return NULL;
    address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return address == MAP_FAILED ? NULL : address;
}

espalier_status espalier_uio_open(espalier_port *port, espalier_uio *uio, const char *core, const char *engine,
                                  const char *buffer, const char *buffer_address, size_t memory_bytes) {
    const char *paths[3];
    unsigned long long address = 0;
    FILE *file = fopen(buffer_address, "r");
    int found;
    if (!file) return ESPALIER_PORT;
    found = fscanf(file, "%llx", &address);
    fclose(file);
    if (found != 1) return ESPALIER_PORT;
    paths[0] = core, paths[1] = engine, paths[2] = buffer;
    uio->lengths[0] = CORE_BYTES, uio->lengths[1] = ENGINE_BYTES, uio->lengths[2] = memory_bytes;
    for (int i = 0; i < 3; ++i) uio->maps[i] = map(paths[i], uio->lengths[i]);
    if (!uio->maps[0] || !uio->maps[1] || !uio->maps[2]) {
        espalier_uio_close(uio);
        return ESPALIER_PORT;
    }
    uio->dma.core = (uintptr_t)uio->maps[0];
    uio->dma.engine = (uintptr_t)uio->maps[1];
    uio->dma.memory = (uint8_t *)uio->maps[2];
    uio->dma.memory_address = address;
    uio->dma.memory_bytes = memory_bytes;
    /* O_SYNC maps the buffer uncached. */
    uio->dma.flush = NULL;
    uio->dma.invalidate = NULL;
    return espalier_dma_open(port, &uio->dma);
}

void espalier_uio_close(espalier_uio *uio) {
    for (int i = 0; i < 3; ++i) {
        if (uio->maps[i]) munmap(uio->maps[i], uio->lengths[i]);
        uio->maps[i] = NULL;
    }
}

/* --- serial line: the commands of espalier_serial.sv */

enum { WRITE = 1, READ = 2, INPUT = 3, OUTPUT = 4, MOST = 65536 };

static espalier_status send_bytes(const espalier_line *line, const uint8_t *bytes, size_t count) {
    while (count > 0) {
        const ssize_t sent = write(line->out, bytes, count);
        if (sent <= 0) return ESPALIER_PORT;
        bytes += sent;
        count -= (size_t)sent;
    }
    return ESPALIER_OK;
}

static espalier_status receive_bytes(const espalier_line *line, uint8_t *bytes, size_t count) {
    while (count > 0) {
        struct pollfd wait = {0, POLLIN, 0};
        ssize_t got;
        wait.fd = line->in;
        if (poll(&wait, 1, line->timeout_ms) == 0) return ESPALIER_TIMEOUT;
        got = read(line->in, bytes, count);
        if (got <= 0) return ESPALIER_PORT;
        bytes += got;
        count -= (size_t)got;
    }
    return ESPALIER_OK;
}

static espalier_status send_command(const espalier_line *line, uint8_t operation, size_t count, uint32_t address) {
    const uint32_t less = (uint32_t)(count - 1);
    const uint8_t bytes[7] = {operation, (uint8_t)less, (uint8_t)(less >> 8), (uint8_t)address, (uint8_t)(address >> 8),
                              (uint8_t)(address >> 16), (uint8_t)(address >> 24)};
    return send_bytes(line, bytes, sizeof bytes);
}

static espalier_status expect_answer(const espalier_line *line, uint8_t operation) {
    uint8_t answer = 0;
    const espalier_status status = receive_bytes(line, &answer, 1);
    if (status != ESPALIER_OK) return status;
    return answer == operation ? ESPALIER_OK : ESPALIER_PORT;
}

static espalier_status line_read(void *context, uint32_t address, uint32_t *value) {
    uint8_t bytes[4];
    espalier_status status = send_command((espalier_line *)context, READ, 1, address);
    if (status == ESPALIER_OK) status = receive_bytes((espalier_line *)context, bytes, sizeof bytes);
    *value = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return status;
}

static espalier_status line_write(void *context, uint32_t address, const uint32_t *words, size_t count) {
    const espalier_line *line = (const espalier_line *)context;
    espalier_status status = send_command(line, WRITE, count, address);
    for (size_t i = 0; i < count && status == ESPALIER_OK; ++i) {
        const uint8_t bytes[4] = {(uint8_t)words[i], (uint8_t)(words[i] >> 8), (uint8_t)(words[i] >> 16),
                                  (uint8_t)(words[i] >> 24)};
        status = send_bytes(line, bytes, sizeof bytes);
    }
    return status == ESPALIER_OK ? expect_answer(line, WRITE) : status;
}

static espalier_status line_write_weights(void *context, size_t first, const uint32_t *words, size_t count,
                                          size_t parts) {
    (void)parts; /* the other side knows them */
    return line_write(context, ESPALIER_REGION_WEIGHTS + 64 * (uint32_t)first, words, count);
}

/* Beats of a command are counted, bytes are not told apart: the packet is cut where the count is full. */
static espalier_status line_exchange(void *context, const uint8_t *input, size_t input_bytes, uint8_t *output,
                                     size_t output_bytes) {
    const espalier_line *line = (const espalier_line *)context;
    uint32_t geometry;
    espalier_status status = line_read(context, ESPALIER_REG_GEOMETRY, &geometry);
    const size_t beat = (geometry & ESPALIER_GEOMETRY_ROWS_MASK) >> ESPALIER_GEOMETRY_ROWS_LSB;
    if (status == ESPALIER_OK && beat == 0) status = ESPALIER_PORT;
    while (status == ESPALIER_OK && input_bytes > 0) {
        const size_t now = input_bytes < MOST * beat ? input_bytes : MOST * beat;
        /* The packet goes on in the next command, or ends. */
        status = send_command(line, INPUT, now / beat, now < input_bytes);
        if (status == ESPALIER_OK) status = send_bytes(line, input, now);
        if (status == ESPALIER_OK) status = expect_answer(line, INPUT);
        input += now;
        input_bytes -= now;
    }
    while (status == ESPALIER_OK && output_bytes > 0) {
        const size_t now = output_bytes < MOST * beat ? output_bytes : MOST * beat;
        status = send_command(line, OUTPUT, now / beat, 0);
        if (status == ESPALIER_OK) status = receive_bytes(line, output, now);
        output += now;
        output_bytes -= now;
    }
    return status;
}

void espalier_line_attach(espalier_port *port, espalier_line *line, int in, int out) {
    line->in = in;
    line->out = out;
    line->timeout_ms = 10000;
    port->context = line;
    port->read = line_read;
    port->write = line_write;
    port->write_weights = line_write_weights;
    port->exchange = line_exchange;
    port->place = NULL;
    port->pads_beats = 0;
}

static speed_t speed_of(unsigned long baud) {
    switch (baud) {
        case 9600: return B9600;
        case 115200: return B115200;
#ifdef B1000000
        case 1000000: return B1000000;
#endif
        default: return B0;
    }
}

espalier_status espalier_line_open(espalier_port *port, espalier_line *line, const char *device, unsigned long baud) {
    struct termios settings;
    const speed_t speed = speed_of(baud);
    const int file = speed == B0 ? -1 : open(device, O_RDWR | O_NOCTTY);
    if (file < 0) return ESPALIER_PORT;
    if (tcgetattr(file, &settings) != 0) {
        close(file);
        return ESPALIER_PORT;
    }
    cfmakeraw(&settings);
    settings.c_cflag |= CLOCAL | CREAD;
    settings.c_cc[VMIN] = 1;
    settings.c_cc[VTIME] = 0;
    if (cfsetispeed(&settings, speed) != 0 || cfsetospeed(&settings, speed) != 0 ||
        tcsetattr(file, TCSANOW, &settings) != 0) {
        close(file);
        return ESPALIER_PORT;
    }
    /* A break ends whatever the board still waited for. */
    tcsendbreak(file, 0);
    tcflush(file, TCIOFLUSH);
    espalier_line_attach(port, line, file, file);
    return ESPALIER_OK;
}
