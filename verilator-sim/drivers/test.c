// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The C driver against a simulated board: `test FOLDER axi|serial BOARD ARGUMENTS...`. Starts the board, talks to it through
// pipes, and checks what drivers promise; crates/emit/tests/drivers.rs lists the files of FOLDER. Prints what differs.
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bridge.h"
#include "espalier.h"
#include "espalier_dma.h"
#include "espalier_linux.h"

// The memory that the driver gets begins a little behind that of the board: not where spilled tensors may begin.
enum { BOARD_BYTES = 1 << 20, MEMORY_BEGIN = 192, MEMORY_BYTES = BOARD_BYTES - MEMORY_BEGIN };
#define BOARD_ADDRESS 0x600000000ull

static int to_board, from_board;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void check(int right, const char *what) {
    if (!right) fail(what);
}

static void expect(espalier_status got, espalier_status wanted, const char *what) {
    if (got == wanted) return;
    fprintf(stderr, "%s: '%s' instead of '%s'\n", what, espalier_status_text(got), espalier_status_text(wanted));
    exit(1);
}

// --- the board's address space

static void send_command(char operation, uintptr_t address, const uint32_t *value) {
    const uint32_t offset = (uint32_t)(address - (address >= BRIDGE_ENGINE ? BRIDGE_ENGINE : BRIDGE_CORE));
    uint8_t bytes[10] = {address >= BRIDGE_ENGINE, (uint8_t)operation};
    const size_t count = value ? 10 : 6;
    memcpy(bytes + 2, &offset, 4);
    if (value) memcpy(bytes + 6, value, 4);
    check(write(to_board, bytes, count) == (ssize_t)count, "the board is gone");
}

static void receive(uint8_t *bytes, size_t count) {
    while (count > 0) {
        const ssize_t got = read(from_board, bytes, count);
        check(got > 0, "the board is gone");
        bytes += got;
        count -= (size_t)got;
    }
}

uint32_t bridge_read32(uintptr_t address) {
    uint32_t value;
    send_command('r', address, NULL);
    receive((uint8_t *)&value, 4);
    return value;
}

void bridge_write32(uintptr_t address, uint32_t value) {
    uint8_t answer;
    send_command('w', address, &value);
    receive(&answer, 1);
}

static void start_board(char **arguments) {
    int there[2], back[2];
    check(pipe(there) == 0 && pipe(back) == 0, "pipes");
    if (fork() == 0) {
        dup2(there[0], STDIN_FILENO);
        dup2(back[1], STDOUT_FILENO);
        close(there[1]);
        close(back[0]);
        execv(arguments[0], arguments);
        _exit(127);
    }
    close(there[0]);
    close(back[1]);
    to_board = there[1];
    from_board = back[0];
}

// --- files

static uint8_t *read_file(const char *folder, const char *name, size_t *size) {
    char path[4096];
    FILE *file;
    uint8_t *bytes;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    check(file != NULL, path);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size + 1);
    check(bytes != NULL && fread(bytes, 1, *size, file) == *size, path);
    fclose(file);
    return bytes;
}

static uint8_t *memory_of(const char *folder) {
    char path[4096];
    int file;
    void *memory;
    snprintf(path, sizeof path, "%s/memory.bin", folder);
    file = open(path, O_RDWR);
    memory = mmap(NULL, BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    check(file >= 0 && memory != MAP_FAILED, path);
    return memory;
}

// --- checks

typedef struct board {
    espalier_port port;
    espalier_program program;
    int serial;
    const char *folder;
    uint8_t *input_beats, *output_beats;
} board;

static espalier_status infer(board *b, const int8_t *input, int8_t *output) {
    return espalier_infer(&b->port, &b->program, input, output, b->input_beats, b->output_beats);
}

// Loads the program and runs every sample.
static void results_are_right(board *b) {
    size_t bytes, expected_bytes, real_bytes;
    const int8_t *input = (const int8_t *)read_file(b->folder, "inputs.bin", &bytes);
    const int8_t *expected = (const int8_t *)read_file(b->folder, "expected.bin", &expected_bytes);
    const float *real = (const float *)read_file(b->folder, "reals.bin", &real_bytes);
    const float *expected_real = (const float *)read_file(b->folder, "expected_reals.bin", &real_bytes);
    const size_t elements = espalier_input_elements(&b->program), results = espalier_output_elements(&b->program);
    int8_t *quantized = malloc(elements), *output = malloc(results);
    float *values = malloc(4 * results);
    uint32_t cycles = 0, best = 0;
    expect(espalier_load(&b->port, &b->program), ESPALIER_OK, "load");
    if (b->serial) {
        b->input_beats = malloc(espalier_input_bytes(&b->port, &b->program));
        b->output_beats = malloc(espalier_output_bytes(&b->port, &b->program));
    } else {
        expect(espalier_dma_buffers(&b->port, &b->program, &b->input_beats, &b->output_beats), ESPALIER_OK, "buffers");
    }
    check(bytes >= 2 * elements && bytes / elements == expected_bytes / results, "sizes of the files");
    for (size_t i = 0; i < bytes / elements; ++i) {
        espalier_quantize(&b->program, real + i * elements, quantized);
        check(memcmp(quantized, input + i * elements, elements) == 0, "quantized inputs");
        expect(infer(b, quantized, output), ESPALIER_OK, "infer");
        check(memcmp(output, expected + i * results, results) == 0, "results");
        espalier_dequantize(&b->program, output, values);
        check(memcmp(values, expected_real + i * results, 4 * results) == 0, "real results");
        expect(espalier_class(&b->port, &best), ESPALIER_OK, "class");
        check(best == espalier_argmax(output, results), "class");
        printf("class %u\n", (unsigned)best);
    }
    expect(espalier_cycles(&b->port, &cycles), ESPALIER_OK, "cycles");
    check(cycles > 0, "cycles");
    free(quantized), free(output), free(values);
}

static espalier_status open_changed(const uint8_t *bytes, size_t size, size_t at, int bit) {
    espalier_program program;
    uint8_t *copy = malloc(size);
    espalier_status status;
    memcpy(copy, bytes, size);
    copy[at] ^= (uint8_t)(1 << bit);
    status = espalier_program_open(&program, copy, size);
    free(copy);
    return status;
}

// Memory that is not there is missed before the core starts.
static void too_little_memory_is_refused(board *b) {
    uint64_t address;
    if (b->serial) {
        check(b->port.place == NULL, "memory behind a serial line");
    } else {
        expect(b->port.place(b->port.context, NULL, 0, MEMORY_BYTES + 1, &address), ESPALIER_NO_MEMORY, "memory");
    }
}

// Each is refused with a status of its own, and the right program then runs without a reset.
static void wrong_programs_are_refused(board *b) {
    const size_t size = b->program.size, elements = espalier_input_elements(&b->program);
    size_t other_size;
    uint8_t *other = read_file(b->folder, "other.bin", &other_size), *copy = malloc(size);
    int8_t *input = calloc(elements, 1), *output = malloc(espalier_output_elements(&b->program));
    const uint32_t hash = espalier_program_header(&b->program, ESPALIER_FILE_CONFIG_HASH) ^ 1;
    espalier_program program;
    uint32_t sum;

    expect(open_changed(b->program.bytes, size, 0, 3), ESPALIER_NOT_A_PROGRAM, "another file");
    expect(open_changed(b->program.bytes, size, 4, 3), ESPALIER_OTHER_VERSION, "another version");
    for (size_t at = 12; at < size; at += size / 50) {
        expect(open_changed(b->program.bytes, size, at, (int)(at % 8)), ESPALIER_CORRUPTED, "one bit");
    }
    for (size_t cut = 4; cut < size; cut += size / 50) {
        expect(espalier_program_open(&program, b->program.bytes, cut), ESPALIER_TRUNCATED, "cut off");
    }
    expect(espalier_program_open(&program, other, other_size), ESPALIER_OK, "the other program");
    expect(espalier_load(&b->port, &program), ESPALIER_OTHER_CONFIGURATION, "another configuration");
    results_are_right(b);

    // What the core itself finds: one bit of the program on its way, a word too many, another hash.
    memcpy(copy, b->program.bytes, size);
    copy[4 * (ESPALIER_FILE_WORDS + 2 * ESPALIER_TENSOR_WORDS) + 21] ^= 4;
    sum = espalier_crc32(0, copy, size - 4);
    memcpy(copy + size - 4, &sum, 4);
    expect(espalier_program_open(&program, copy, size), ESPALIER_OK, "a file that was damaged before its checksum");
    expect(espalier_load(&b->port, &program), ESPALIER_CHECKSUM, "one bit on the way");
    expect(infer(b, input, output), ESPALIER_CHECKSUM, "start after that");
    results_are_right(b);
    expect(b->port.write(b->port.context, ESPALIER_REGION_PROGRAM, &hash, 1), ESPALIER_OK, "write");
    expect(infer(b, input, output), ESPALIER_CHECKSUM, "start after a word too many");
    expect(b->port.write(b->port.context, ESPALIER_REG_CONFIG_HASH, &hash, 1), ESPALIER_OK, "write");
    expect(infer(b, input, output), ESPALIER_OTHER_CONFIGURATION, "start of another configuration");
    free(other), free(copy), free(input), free(output);
}

int main(int argc, char **argv) {
    espalier_dma dma = {0};
    espalier_line line;
    board b = {0};
    size_t size;
    uint8_t *bytes;
    if (argc < 4) fail("test FOLDER axi|serial BOARD ARGUMENTS...");
    signal(SIGPIPE, SIG_IGN);
    b.folder = argv[1];
    b.serial = strcmp(argv[2], "serial") == 0;
    start_board(argv + 3);
    if (b.serial) {
        espalier_line_attach(&b.port, &line, from_board, to_board);
    } else {
        dma.core = BRIDGE_CORE;
        dma.engine = BRIDGE_ENGINE;
        dma.memory = memory_of(b.folder) + MEMORY_BEGIN;
        dma.memory_address = BOARD_ADDRESS + MEMORY_BEGIN;
        dma.memory_bytes = MEMORY_BYTES;
        expect(espalier_dma_open(&b.port, &dma), ESPALIER_OK, "the engine");
    }
    bytes = read_file(b.folder, "program.bin", &size);
    expect(espalier_program_open(&b.program, bytes, size), ESPALIER_OK, "the program");
    results_are_right(&b);
    too_little_memory_is_refused(&b);
    wrong_programs_are_refused(&b);
    results_are_right(&b);
    puts("passed");
    return 0;
}
