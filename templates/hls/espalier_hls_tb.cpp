// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Self-checking test bench of the HLS kernel. It reads the memory images, inputs and logs that the Verilator bench
// reads and writes, runs the kernel, and compares every lane write and every output beat with what is expected.
// Compiled with ESPALIER_TRACE it sees the lane writes; without (co-simulation) the outputs only.

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "espalier_hls.h"

namespace {

using namespace espalier;

enum ExitCode { EXIT_EQUAL = 0, EXIT_DIFFERENT = 1, EXIT_USAGE = 2, EXIT_KERNEL = 4 };

constexpr uint32_t TRACE_MAGIC = 0x54505345;  // "ESPT"
constexpr uint32_t TRACE_VERSION = 1;

[[noreturn]] void fail(ExitCode code, const std::string& what) {
    std::fflush(stdout);
    std::fprintf(stderr, "error: %s\n", what.c_str());
    std::exit(code);
}

// --- arguments

struct Options {
    std::string program, weights, inputs, outputs, trace, expected, expected_outputs, layers;
    uint64_t images = 1, beats_in = 0, beats_out = 0, spill_bytes = 0;
};

const char* const USAGE =
    "usage: espalier_hls_tb --program FILE --weights FILE [--inputs FILE] [--images N] [--beats-in N] [--beats-out N]\n"
    "         [--outputs FILE] [--trace-out FILE] [--expected FILE] [--expected-outputs FILE] [--layers FILE]\n"
    "         [--spill-bytes N]\n";

uint64_t number(const std::string& name, const char* text) {
    char* end = nullptr;
    const unsigned long long value = std::strtoull(text, &end, 10);
    const bool good = end != text && *end == '\0' && value <= 0xffffffff;
    if (!good) fail(EXIT_USAGE, "bad value '" + std::string(text) + "' of " + name);
    return value;
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (i + 1 >= argc) fail(EXIT_USAGE, "no value for '" + name + "'\n" + USAGE);
        const char* value = argv[++i];
        if (name == "--program") options.program = value;
        else if (name == "--weights") options.weights = value;
        else if (name == "--inputs") options.inputs = value;
        else if (name == "--outputs") options.outputs = value;
        else if (name == "--trace-out") options.trace = value;
        else if (name == "--expected") options.expected = value;
        else if (name == "--expected-outputs") options.expected_outputs = value;
        else if (name == "--layers") options.layers = value;
        else if (name == "--images") options.images = number(name, value);
        else if (name == "--beats-in") options.beats_in = number(name, value);
        else if (name == "--beats-out") options.beats_out = number(name, value);
        else if (name == "--spill-bytes") options.spill_bytes = number(name, value);
        else fail(EXIT_USAGE, "unknown argument '" + name + "'\n" + USAGE);
    }
    if (options.program.empty() || options.weights.empty()) fail(EXIT_USAGE, std::string("missing file\n") + USAGE);
    return options;
}

// --- files

std::vector<uint8_t> read_file(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) fail(EXIT_USAGE, "cannot open '" + path + "'");
    std::vector<uint8_t> bytes;
    uint8_t buffer[1 << 16];
    std::size_t count;
    while ((count = std::fread(buffer, 1, sizeof buffer, file)) > 0) bytes.insert(bytes.end(), buffer, buffer + count);
    std::fclose(file);
    return bytes;
}

void write_file(const std::string& path, const std::vector<uint8_t>& bytes) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) fail(EXIT_USAGE, "cannot write '" + path + "'");
    const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    if (std::fclose(file) != 0 || !written) fail(EXIT_USAGE, "writing '" + path + "' failed");
}

// The words of a $readmemh image: one a line, hexadecimal digits, highest first. Each becomes `parts` 32-bit words,
// lowest first.
std::vector<uint32_t> read_image(const std::string& path, std::size_t parts) {
    std::vector<uint32_t> words;
    std::string line;
    for (const uint8_t byte : read_file(path)) {
        if (byte != '\n') {
            if (!std::isxdigit(byte)) fail(EXIT_USAGE, "'" + path + "' holds something else than hexadecimal digits");
            line.push_back(static_cast<char>(byte));
            continue;
        }
        if (line.size() > 8 * parts) fail(EXIT_USAGE, "'" + path + "' has a word that is too wide");
        line.insert(0, 8 * parts - line.size(), '0');
        for (std::size_t part = parts; part-- > 0;) {
            words.push_back(static_cast<uint32_t>(std::strtoul(line.substr(8 * part, 8).c_str(), nullptr, 16)));
        }
        line.clear();
    }
    if (!line.empty()) fail(EXIT_USAGE, "'" + path + "' does not end with a line break");
    return words;
}

void append(std::vector<uint8_t>& bytes, uint32_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

// --- lane writes

struct Write {
    uint32_t instruction, mask;
    uint16_t address;
    int8_t data[ROWS];
};

std::vector<Write> recorded;  // by the running image

#ifdef ESPALIER_TRACE
constexpr bool TRACED = true;
#else
constexpr bool TRACED = false;
#endif

// A log as the Verilator bench writes it, image by image. Writes come in the order of the program: hardware that
// overlaps instructions may log them in another.
std::vector<std::vector<Write>> read_trace(const std::string& path) {
    const std::vector<uint8_t> bytes = read_file(path);
    std::size_t at = 0;
    const auto word = [&](unsigned count) {
        if (bytes.size() - at < count) fail(EXIT_USAGE, "'" + path + "' ends too early");
        uint32_t value = 0;
        for (unsigned i = 0; i < count; ++i) value |= static_cast<uint32_t>(bytes[at++]) << (8 * i);
        return value;
    };
    const bool good = word(4) == TRACE_MAGIC && word(4) == TRACE_VERSION && word(4) == ROWS;
    if (!good) fail(EXIT_USAGE, "'" + path + "' is no log of lane writes of this accelerator");
    std::vector<std::vector<Write>> images;
    while (at < bytes.size()) {
        std::vector<std::vector<Write>> by_instruction;
        for (uint32_t left = word(4); left > 0; --left) {
            Write write;
            write.instruction = word(4);
            write.mask = word(4);
            write.address = static_cast<uint16_t>(word(2));
            for (int8_t& byte : write.data) byte = static_cast<int8_t>(word(1));
            if (write.instruction >= PROGRAM_INSTRUCTIONS) fail(EXIT_USAGE, "'" + path + "' names no instruction");
            if (write.instruction >= by_instruction.size()) by_instruction.resize(write.instruction + 1);
            by_instruction[write.instruction].push_back(write);
        }
        std::vector<Write> image;
        for (const auto& writes : by_instruction) image.insert(image.end(), writes.begin(), writes.end());
        images.push_back(image);
    }
    return images;
}

void append(std::vector<uint8_t>& bytes, const std::vector<Write>& writes) {
    append(bytes, static_cast<uint32_t>(writes.size()), 4);
    for (const Write& write : writes) {
        append(bytes, write.instruction, 4);
        append(bytes, write.mask, 4);
        append(bytes, write.address, 2);
        for (const int8_t byte : write.data) bytes.push_back(static_cast<uint8_t>(byte));
    }
}

// --- what the bytes mean, to name them

struct Layer {
    uint32_t base, plane_bytes, origin, pitch, planes, replicas, channels, height, width;
};

struct Layers {
    std::vector<Layer> layers;
    std::vector<int64_t> of_instruction;  // -1: none
    std::vector<uint32_t> output_lanes;   // lanes that mean something, of every output beat
};

// Lines of a keyword and numbers: `layer` with its place in the lanes, `instruction` with its index and layer, `output`
// with a number of beats and the lanes in use.
Layers read_layers(const std::string& path) {
    Layers layers;
    if (path.empty()) return layers;
    const std::vector<uint8_t> bytes = read_file(path);
    std::string text(bytes.begin(), bytes.end());
    std::size_t from = 0;
    for (std::size_t to; (to = text.find('\n', from)) != std::string::npos; from = to + 1) {
        const std::string line = text.substr(from, to - from);
        Layer l;
        uint32_t a = 0, b = 0;
        if (std::sscanf(line.c_str(), "layer %u %u %u %u %u %u %u %u %u", &l.base, &l.plane_bytes, &l.origin, &l.pitch,
                        &l.planes, &l.replicas, &l.channels, &l.height, &l.width) == 9) {
            if (l.plane_bytes == 0 || l.pitch == 0) fail(EXIT_USAGE, "'" + path + "' has a layer without extent");
            layers.layers.push_back(l);
        } else if (std::sscanf(line.c_str(), "instruction %u %u", &a, &b) == 2 && a < PROGRAM_INSTRUCTIONS) {
            layers.of_instruction.resize(std::max<std::size_t>(layers.of_instruction.size(), a + 1), -1);
            layers.of_instruction[a] = b;
        } else if (std::sscanf(line.c_str(), "output %u %u", &a, &b) == 2 && a <= LANE_BYTES && b <= ROWS) {
            layers.output_lanes.insert(layers.output_lanes.end(), a, b);
        } else {
            fail(EXIT_USAGE, "'" + path + "' has a line that is not understood: " + line);
        }
    }
    return layers;
}

// Layer and element that a lane holds at an address.
std::string place(const Layers& layers, uint32_t instruction, uint32_t lane, uint32_t address) {
    const std::string at = "instruction " + std::to_string(instruction) + ", lane " + std::to_string(lane) +
                           ", address " + std::to_string(address);
    if (instruction >= layers.of_instruction.size() || layers.of_instruction[instruction] < 0 ||
        static_cast<std::size_t>(layers.of_instruction[instruction]) >= layers.layers.size()) {
        return at + ", no layer";
    }
    const std::size_t index = static_cast<std::size_t>(layers.of_instruction[instruction]);
    const Layer& layer = layers.layers[index];
    const std::string name = at + ", layer " + std::to_string(index);
    if (address < layer.base || address - layer.base >= layer.plane_bytes * layer.planes) return name;
    const uint32_t relative = address - layer.base;
    const uint32_t rest = relative % layer.plane_bytes;
    const bool unused = layer.planes == 1 && lane >= layer.channels * layer.replicas;
    if (rest < layer.origin || unused) return name + ", no element";
    const uint32_t channel =
        layer.planes > 1 ? relative / layer.plane_bytes * ROWS + lane : lane % layer.channels;
    const uint32_t y = (rest - layer.origin) / layer.pitch, x = (rest - layer.origin) % layer.pitch;
    if (channel >= layer.channels || y >= layer.height || x >= layer.width) return name + ", no element";
    return name + ", channel " + std::to_string(channel) + ", row " + std::to_string(y) + ", column " +
           std::to_string(x);
}

// --- comparison

struct Tally {
    uint64_t writes = 0, elements = 0, mismatches = 0;
};

void differ(Tally& tally, const std::string& what, int64_t expected, int64_t got, uint64_t count = 1) {
    if (tally.mismatches == 0) {
        std::fprintf(stderr, "first difference: %s: expected %lld, got %lld\n", what.c_str(),
                     static_cast<long long>(expected), static_cast<long long>(got));
    }
    tally.mismatches += count;
}

void compare(Tally& tally, const Layers& layers, uint64_t image, const std::vector<Write>& expected,
             const std::vector<Write>& got) {
    const std::string input = "input " + std::to_string(image) + ", ";
    const std::size_t both = std::min(expected.size(), got.size());
    for (std::size_t i = 0; i < both; ++i) {
        const Write &e = expected[i], &g = got[i];
        if (e.instruction != g.instruction) {
            // What follows is shifted: comparing it says nothing.
            const std::string what = input + "write " + std::to_string(i) + ", index of the instruction";
            return differ(tally, what, e.instruction, g.instruction, expected.size() - i);
        }
        if (e.address != g.address || e.mask != g.mask) {
            const std::string at = input + place(layers, e.instruction, 0, e.address);
            if (e.address != g.address) differ(tally, at + ", address of the write", e.address, g.address);
            if (e.mask != g.mask) differ(tally, at + ", mask of the lanes", e.mask, g.mask);
        }
        for (uint32_t lane = 0; lane < ROWS; ++lane) {
            if (!(e.mask >> lane & 1)) continue;
            ++tally.elements;
            if (e.data[lane] != g.data[lane]) {
                differ(tally, input + place(layers, e.instruction, lane, e.address), e.data[lane], g.data[lane]);
            }
        }
    }
    tally.writes += both;
    if (expected.size() != got.size()) {
        differ(tally, input + "number of lane writes", static_cast<int64_t>(expected.size()),
               static_cast<int64_t>(got.size()));
    }
}

void compare(Tally& tally, const Layers& layers, uint64_t image, const uint8_t* expected, const std::vector<Beat>& got,
             uint64_t beats) {
    for (uint64_t beat = 0; beat < beats; ++beat) {
        const uint32_t lanes = beat < layers.output_lanes.size() ? layers.output_lanes[beat] : ROWS;
        for (uint32_t lane = 0; lane < lanes; ++lane) {
            ++tally.elements;
            const uint8_t e = expected[beat * ROWS + lane], g = got[beat].lane[lane];
            if (e == g) continue;
            differ(tally, "input " + std::to_string(image) + ", output beat " + std::to_string(beat) + ", lane " +
                              std::to_string(lane),
                   static_cast<int8_t>(e), static_cast<int8_t>(g));
        }
    }
}

const char* meaning(uint32_t error) {
    static const char* const TEXTS[] = {"no error",
                                        "unknown opcode",
                                        "reserved bits are set",
                                        "an operand is out of bounds",
                                        "an address lies behind the end of the lanes",
                                        "a weight word was not loaded",
                                        "the input stream has ended",
                                        "the output is full",
                                        "the program has no END",
                                        "program or weights do not fit their memories",
                                        "a spilled tensor does not fit the memory for them",
                                        "gates are missing, or too many"};
    return error < sizeof TEXTS / sizeof TEXTS[0] ? TEXTS[error] : "error without a name";
}

// --- the bench

int run(const Options& options) {
    std::vector<uint32_t> program = read_image(options.program, 1);
    std::vector<uint32_t> weights = read_image(options.weights, WEIGHT_PARTS);
    if (program.size() % INSTRUCTION_WORDS != 0) fail(EXIT_USAGE, "the program ends within an instruction");
    const uint32_t instructions = static_cast<uint32_t>(program.size() / INSTRUCTION_WORDS);
    const uint32_t weight_words = static_cast<uint32_t>(weights.size() / WEIGHT_PARTS);
    // Co-simulation copies as much as the depths of the interfaces say.
    program.resize(std::max<std::size_t>(program.size(), PROGRAM_WORDS));
    weights.resize(std::max<std::size_t>(weights.size(), WEIGHT_IMAGE_WORDS));
    const uint64_t image_bytes = options.beats_in * ROWS;
    const std::vector<uint8_t> inputs = options.inputs.empty() ? std::vector<uint8_t>() : read_file(options.inputs);
    if (image_bytes > 0 && inputs.size() / image_bytes < options.images) {
        fail(EXIT_USAGE, "the inputs file holds less than " + std::to_string(options.images) + " images");
    }
    const Layers layers = read_layers(options.layers);
    std::vector<std::vector<Write>> expected;
    if (!options.expected.empty()) {
        if (!TRACED) fail(EXIT_USAGE, "--expected needs a bench that is compiled with ESPALIER_TRACE");
        expected = read_trace(options.expected);
        if (expected.size() < options.images) fail(EXIT_USAGE, "the expected log holds too few images");
    }
    std::vector<uint8_t> expected_outputs;
    if (!options.expected_outputs.empty()) {
        expected_outputs = read_file(options.expected_outputs);
        if (expected_outputs.size() < options.images * options.beats_out * ROWS) {
            fail(EXIT_USAGE, "the expected outputs hold too few images");
        }
    }

    std::vector<uint8_t> trace, outputs;
    append(trace, TRACE_MAGIC, 4);
    append(trace, TRACE_VERSION, 4);
    append(trace, ROWS, 4);
    Tally tally;
    std::chrono::duration<double> seconds(0);
    std::string classes;
    std::vector<uint8_t> spill(std::max<std::size_t>(options.spill_bytes, SPILL_DEPTH));
    for (uint64_t image = 0; image < options.images; ++image) {
        std::vector<Beat> input(std::max<std::size_t>(options.beats_in, LANE_BYTES), Beat());
        std::vector<Beat> output(std::max<std::size_t>(options.beats_out, LANE_BYTES), Beat());
        for (uint64_t beat = 0; beat < options.beats_in; ++beat) {
            std::memcpy(input[beat].lane, &inputs[image * image_bytes + beat * ROWS], ROWS);
        }
        recorded.clear();
        uint32_t counts[COUNTS] = {0, 0, 0, 0, 0};
        const auto begin = std::chrono::steady_clock::now();
        const uint32_t status = espalier_hls(program.data(), instructions, weights.data(), weight_words, image == 0,
                                             input.data(), static_cast<uint32_t>(options.beats_in), output.data(),
                                             static_cast<uint32_t>(options.beats_out), spill.data(),
                                             static_cast<uint32_t>(options.spill_bytes), counts);
        seconds += std::chrono::steady_clock::now() - begin;
        if (status & STATUS_ERROR) {
            const uint32_t error = status >> 8 & 0xff;
            fail(EXIT_KERNEL, "the kernel stopped at instruction " + std::to_string(status >> 16) + " with error " +
                                  std::to_string(error) + ": " + meaning(error));
        }
        if (!(status & STATUS_DONE)) fail(EXIT_KERNEL, "the kernel did not finish");
        if (counts[COUNT_HASH] != CONFIG_HASH) fail(EXIT_KERNEL, "the kernel is of another configuration");
        if (counts[COUNT_IN] != options.beats_in) {
            differ(tally, "input beats taken", static_cast<int64_t>(options.beats_in), counts[COUNT_IN]);
        }
        if (counts[COUNT_OUT] != options.beats_out) {
            differ(tally, "output beats sent", static_cast<int64_t>(options.beats_out), counts[COUNT_OUT]);
        }
        classes += (image == 0 ? "" : ",") + std::to_string(counts[COUNT_CLASS]);
        for (uint64_t beat = 0; beat < options.beats_out; ++beat) {
            outputs.insert(outputs.end(), output[beat].lane, output[beat].lane + ROWS);
        }
        if (!options.trace.empty()) append(trace, recorded);
        if (!expected.empty()) compare(tally, layers, image, expected[image], recorded);
        if (!expected_outputs.empty()) {
            const uint8_t* const beats = expected_outputs.data() + image * options.beats_out * ROWS;
            compare(tally, layers, image, beats, output, options.beats_out);
        }
    }
    if (!options.trace.empty()) write_file(options.trace, trace);
    if (!options.outputs.empty()) write_file(options.outputs, outputs);
    std::printf("{\"images\":%llu,\"rows\":%d,\"cols\":%d,\"config_hash\":%lu,\"writes\":%llu,\"elements\":%llu,"
                "\"mismatches\":%llu,\"classes\":[%s],\"seconds\":%.6f}\n",
                static_cast<unsigned long long>(options.images), ROWS, COLS, static_cast<unsigned long>(CONFIG_HASH),
                static_cast<unsigned long long>(tally.writes), static_cast<unsigned long long>(tally.elements),
                static_cast<unsigned long long>(tally.mismatches), classes.c_str(), seconds.count());
    return tally.mismatches == 0 ? EXIT_EQUAL : EXIT_DIFFERENT;
}

}  // namespace

#ifdef ESPALIER_TRACE
void espalier_trace(uint32_t instruction, uint16_t address, uint32_t mask, const int8_t data[ROWS]) {
    Write write = {instruction, mask, address, {}};
    for (int lane = 0; lane < ROWS; ++lane) write.data[lane] = mask >> lane & 1 ? data[lane] : 0;
    recorded.push_back(write);
}
#endif

int main(int argc, char** argv) { return run(parse(argc, argv)); }
