// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Test bench of the accelerator: loads a program and its weights through the host port, runs it on a number of
// images with random gaps on both streams, and reports cycles, outputs and every lane write. One build serves
// all programs of its configuration. README.md describes the arguments, the file formats and the exit codes.

#include <cctype>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "Vespalier_core.h"
#include "bench.h"
#include "verilated.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

namespace {

using namespace bench;

enum HostAddress : uint32_t {
    kControl = 0x00000000,
    kCycles = 0x00000004,
    kStalls = 0x00000008,
    kClass = 0x00000038,
    kConfigHash = 0x0000000c,
    kGeometry = 0x00000010,
    kChecksum = 0x0000001c,
    kStreamBase = 0x00000020,
    kStreamBaseHigh = 0x00000024,
    kStreamBytes = 0x00000028,
    kSpillBeat = 0x0000002c,
    kSpillBase32 = 0x00000030,
    kSpillBaseHigh = 0x00000034,
    kProgram = 0x10000000,
    kWeights = 0x20000000,
};

constexpr uint32_t kStatusDone = 2;
constexpr uint32_t kStatusError = 4;
constexpr uint32_t kOtherConfiguration = 2;
constexpr uint32_t kTraceVersion = 1;
// Where external memory begins: beyond 4 GiB, so that no bit of the address is without a test.
constexpr uint64_t kMemoryBase = 0x5'6000'0000;
constexpr uint64_t kSpillBase = 0x6'7000'1000;

// --- arguments

struct Options {
    std::string program, weights, inputs, outputs, trace, coverage;
    uint64_t images = 1, max_images = UINT64_MAX;
    uint64_t beats_in = 0, beats_out = 0;
    uint64_t timeout = 100'000'000;
    uint64_t seed = 1;
    uint64_t stall_in = 0, stall_out = 0, stall_memory = 0;  // percent
    uint64_t memory_latency = 64;
    uint64_t spill_bytes = 0;
    bool has_hash = false;
    uint64_t hash = 0;
};

const char* const kUsageText =
    "usage: Vespalier_core --program FILE --weights FILE [--inputs FILE] [--images N] [--max-images N]\n"
    "         [--beats-in N] [--beats-out N] [--outputs FILE] [--trace-out FILE] [--timeout CYCLES]\n"
    "         [--seed N] [--stall-in PERCENT] [--stall-out PERCENT] [--stall-memory PERCENT]\n"
    "         [--memory-latency CYCLES] [--spill-bytes N] [--config-hash N] [--coverage FILE]\n";

uint64_t number(const std::string& name, const char* text, uint64_t most = UINT64_MAX) {
    char* end = nullptr;
    const unsigned long long value = std::strtoull(text, &end, 10);
    if (end == text || *end != '\0' || value > most) fail(kUsage, "bad value '" + std::string(text) + "' of " + name);
    return value;
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name.rfind("+verilator+", 0) == 0) continue;
        if (i + 1 >= argc) fail(kUsage, "no value for '" + name + "'\n" + kUsageText);
        const char* value = argv[++i];
        if (name == "--program") options.program = value;
        else if (name == "--weights") options.weights = value;
        else if (name == "--inputs") options.inputs = value;
        else if (name == "--outputs") options.outputs = value;
        else if (name == "--trace-out") options.trace = value;
        else if (name == "--coverage") options.coverage = value;
        else if (name == "--images") options.images = number(name, value);
        else if (name == "--max-images") options.max_images = number(name, value);
        else if (name == "--beats-in") options.beats_in = number(name, value);
        else if (name == "--beats-out") options.beats_out = number(name, value);
        else if (name == "--timeout") options.timeout = number(name, value);
        else if (name == "--seed") options.seed = number(name, value);
        else if (name == "--stall-in") options.stall_in = number(name, value, 99);
        else if (name == "--stall-out") options.stall_out = number(name, value, 99);
        else if (name == "--stall-memory") options.stall_memory = number(name, value, 99);
        else if (name == "--memory-latency") options.memory_latency = number(name, value, 1 << 20);
        else if (name == "--spill-bytes") options.spill_bytes = number(name, value, uint64_t(1) << 30);
        else if (name == "--config-hash") {
            options.hash = number(name, value, UINT32_MAX);
            options.has_hash = true;
        }
        else fail(kUsage, "unknown argument '" + name + "'\n" + kUsageText);
    }
    if (options.program.empty() || options.weights.empty()) fail(kUsage, std::string("missing file\n") + kUsageText);
#if !VM_COVERAGE
    if (!options.coverage.empty()) fail(kUsage, "this simulation was built without --coverage-toggle");
#endif
    if (options.images > options.max_images) options.images = options.max_images;
    return options;
}

// --- files

std::vector<uint8_t> read_file(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) fail(kUsage, "cannot open '" + path + "'");
    std::vector<uint8_t> bytes;
    uint8_t buffer[1 << 16];
    std::size_t count;
    while ((count = std::fread(buffer, 1, sizeof buffer, file)) > 0) bytes.insert(bytes.end(), buffer, buffer + count);
    std::fclose(file);
    return bytes;
}

// The words of a $readmemh image: one a line, hexadecimal digits, highest first. Each becomes `parts` 32-bit words,
// lowest first.
std::vector<uint32_t> read_image(const std::string& path, std::size_t parts) {
    std::vector<uint32_t> words;
    std::vector<uint32_t> word(parts);
    std::size_t digits = 0;
    const std::vector<uint8_t> text = read_file(path);
    for (const uint8_t byte : text) {
        if (std::isxdigit(byte)) {
            if (++digits > 8 * parts) fail(kUsage, "'" + path + "' has a word of more than " + std::to_string(parts) + " parts");
            for (std::size_t p = parts; p-- > 0;) word[p] = word[p] << 4 | (p ? word[p - 1] >> 28 : 0);
            word[0] |= static_cast<uint32_t>(std::isdigit(byte) ? byte - '0' : (byte | 0x20) - 'a' + 10);
        } else if (byte == '\n') {
            if (digits > 0) words.insert(words.end(), word.begin(), word.end());
            word.assign(parts, 0);
            digits = 0;
        } else {
            fail(kUsage, "'" + path + "' holds something else than hexadecimal digits");
        }
    }
    if (digits > 0) fail(kUsage, "'" + path + "' does not end with a line break");
    return words;
}

// A binary output file that may be absent.
class Sink {
  public:
    explicit Sink(const std::string& path) {
        if (path.empty()) return;
        file_ = std::fopen(path.c_str(), "wb");
        if (file_ == nullptr) fail(kUsage, "cannot write '" + path + "'");
    }
    bool open() const { return file_ != nullptr; }
    void put(const void* bytes, std::size_t count) {
        if (file_ != nullptr && std::fwrite(bytes, 1, count, file_) != count) fail(kUsage, "writing a file failed");
    }
    void close() {
        if (file_ != nullptr && std::fclose(file_) != 0) fail(kUsage, "writing a file failed");
        file_ = nullptr;
    }

  private:
    std::FILE* file_ = nullptr;
};

void append(std::vector<uint8_t>& bytes, uint32_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

// The memory behind both ports of the core: streamed weights, and spilled tensors.
class Memory {
  public:
    Memory(Vespalier_core& top, const Options& options, Random& random)
        : options_(options), waits_(options.stall_memory, random),
          weight_reads_({top.ar_ready_i, top.ar_valid_o, top.ar_addr_o, top.ar_len_o, top.r_valid_i, top.r_ready_o, top.r_data_i,
                         top.r_resp_i, nullptr}),
          spill_reads_({top.spill_ar_ready_i, top.spill_ar_valid_o, top.spill_ar_addr_o, top.spill_ar_len_o,
                        top.spill_r_valid_i, top.spill_r_ready_o, top.spill_r_data_i, top.spill_r_resp_i,
                        &top.spill_r_last_i}),
          spill_writes_({top.spill_aw_ready_i, top.spill_aw_valid_o, top.spill_aw_addr_o, top.spill_aw_len_o,
                         top.spill_w_ready_i, top.spill_w_valid_o, top.spill_w_data_o, top.spill_w_last_o,
                         top.spill_b_valid_i, top.spill_b_ready_o, top.spill_b_resp_i}) {}

    void fill_weights(std::vector<uint8_t> bytes, unsigned beat_bytes) {
        weight_bytes_ = std::move(bytes);
        weights_ = {kMemoryBase, weight_bytes_.data(), weight_bytes_.size(), beat_bytes};
    }
    void fill_spill(uint64_t bytes, unsigned beat_bytes) {
        spill_bytes_.assign(bytes, 0xa5);
        spill_ = {kSpillBase, spill_bytes_.data(), bytes, beat_bytes};
    }
    uint64_t weight_bytes() const { return weights_.size; }
    uint64_t waits() const { return waits_.total(); }
    bool idle() const { return weight_reads_.idle() && spill_reads_.idle() && spill_writes_.idle(); }

    void drive(uint64_t now) {
        weight_reads_.drive(weights_, waits_, now, options_.memory_latency);
        spill_reads_.drive(spill_, waits_, now, options_.memory_latency);
        spill_writes_.drive(spill_, waits_, now, options_.memory_latency);
    }

  private:
    const Options& options_;
    Waits waits_;
    std::vector<uint8_t> weight_bytes_, spill_bytes_;
    Region weights_, spill_;
    Reads<Bare<decltype(std::declval<Vespalier_core&>().r_data_i)>> weight_reads_;
    Reads<Bare<decltype(std::declval<Vespalier_core&>().spill_r_data_i)>> spill_reads_;
    Writes<Bare<decltype(std::declval<Vespalier_core&>().spill_w_data_o)>> spill_writes_;
};

// --- the bench

class Bench {
  public:
    Bench(VerilatedContext& context, const Options& options)
        : context_(context), options_(options), top_(&context), random_(options.seed), memory_random_(options.seed + 1),
          memory_(top_, options, memory_random_), trace_(options.trace), output_(options.outputs) {}

    int run();

  private:
    void clock();
    void write_host(uint32_t address, uint32_t value);
    void write_memory(uint32_t address, uint32_t value);
    uint32_t read_host(uint32_t address);
    void load();
    void run_image(const uint8_t* beats);
    void record();
    void note_end();

    VerilatedContext& context_;
    const Options& options_;
    Vespalier_core top_;
    Random random_;
    Random memory_random_;
    Memory memory_;
    Sink trace_;
    Sink output_;
    unsigned rows_ = 0;
    unsigned cols_ = 0;
    unsigned combine_ = 1;
    unsigned beat_bytes_ = 0;  // of external memory, 0 = weights are on the chip
    uint64_t clocks_ = 0;
    uint32_t checksum_ = 0;
    std::vector<uint8_t> records_;  // lane writes of the running image
    uint32_t record_count_ = 0;
    std::vector<uint32_t> ends_;  // cycle of the last lane write of every instruction of the running image
};

void Bench::clock() {
    memory_.drive(clocks_);
    top_.clk_i = 0;
    top_.eval();
    top_.clk_i = 1;
    top_.eval();
    ++clocks_;
}

void Bench::write_host(uint32_t address, uint32_t value) {
    top_.host_we_i = 1;
    top_.host_addr_i = address;
    top_.host_wdata_i = value;
    clock();
    top_.host_we_i = 0;
}

// A word of program or weights: the checksum is the CRC-32 of all of them.
void Bench::write_memory(uint32_t address, uint32_t value) {
    checksum_ = ~checksum_ ^ value;
    for (int bit = 0; bit < 32; ++bit) checksum_ = checksum_ >> 1 ^ (checksum_ & 1 ? 0xedb88320 : 0);
    checksum_ = ~checksum_;
    write_host(address, value);
}

uint32_t Bench::read_host(uint32_t address) {
    top_.host_addr_i = address;
    clock();
    return top_.host_rdata_o;
}

void Bench::load() {
    if (const uint32_t beat = read_host(kSpillBeat)) {
        memory_.fill_spill(options_.spill_bytes, beat);
        write_host(kSpillBase32, static_cast<uint32_t>(kSpillBase));
        write_host(kSpillBaseHigh, static_cast<uint32_t>(kSpillBase >> 32));
    }
    const std::vector<uint32_t> program = read_image(options_.program, 1);
    for (std::size_t i = 0; i < program.size(); ++i) {
        write_memory(kProgram + 4 * static_cast<uint32_t>(i), program[i]);
    }
    // A weight a column and a row offset; a second offset and select bits in whole bytes if rows are combined.
    const std::size_t bits = 8 * cols_ + 16 + (combine_ > 1 ? 16 + (cols_ + 7) / 8 * 8 : 0);
    const std::size_t parts = (bits + 31) / 32;
    const std::vector<uint32_t> weights = read_image(options_.weights, parts);
    if (beat_bytes_ > 0) {
        std::vector<uint8_t> stream;
        for (std::size_t i = 0; i < weights.size(); i += parts) {
            for (std::size_t byte = 0; byte < bits / 8; ++byte) {
                stream.push_back(static_cast<uint8_t>(weights[i + byte / 4] >> (8 * (byte % 4))));
            }
        }
        stream.resize((stream.size() + beat_bytes_ - 1) / beat_bytes_ * beat_bytes_);
        memory_.fill_weights(std::move(stream), beat_bytes_);
        write_host(kStreamBase, static_cast<uint32_t>(kMemoryBase));
        write_host(kStreamBaseHigh, static_cast<uint32_t>(kMemoryBase >> 32));
        write_host(kStreamBytes, static_cast<uint32_t>(memory_.weight_bytes()));
    } else {
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const uint32_t address = static_cast<uint32_t>(i / parts) << 6 | static_cast<uint32_t>(i % parts) << 2;
            write_memory(kWeights + address, weights[i]);
        }
    }
    write_host(kChecksum, checksum_);
}

void Bench::record() {
    const uint32_t mask = top_.trace_mask_o;
    append(records_, top_.trace_instr_o, 4);
    append(records_, mask, 4);
    append(records_, top_.trace_addr_o, 2);
    for (unsigned lane = 0; lane < rows_; ++lane) {
        records_.push_back(mask >> lane & 1 ? get_byte(top_.trace_data_o, lane) : 0);
    }
    ++record_count_;
}

// The counter reaches the host port one clock late.
void Bench::note_end() {
    const std::size_t instruction = top_.trace_instr_o;
    if (ends_.size() <= instruction) ends_.resize(instruction + 1, 0);
    ends_[instruction] = top_.host_rdata_o + 1;
}

void Bench::run_image(const uint8_t* beats) {
    write_host(kControl, 1);
    records_.clear();
    record_count_ = 0;
    ends_.clear();
    uint64_t taken = 0, sent = 0, waited = 0;
    bool offered = false;
    std::vector<uint8_t> beat(rows_);
    // Two clocks until the start has passed the host port and cleared `done`.
    if (const uint32_t status = read_host(kControl); status & kStatusError) {
        const bool other = (status >> 8 & 0xf) == kOtherConfiguration;
        fail(kProtocol, other ? "the accelerator refuses a program for another configuration"
                              : "the accelerator refuses what was loaded: its checksum is wrong");
    }
    top_.host_addr_i = kCycles;
    clock();
    while (!top_.done_o) {
        // An offered beat stays until it is taken; a new one may be held back.
        if (!offered) offered = taken < options_.beats_in && !random_.percent(options_.stall_in);
        top_.in_valid_i = offered;
        if (offered) set_bytes(top_.in_data_i, beats + taken * rows_, rows_);
        top_.in_last_i = taken + 1 == options_.beats_in;
        top_.out_ready_i = !random_.percent(options_.stall_out);

        if (offered && top_.in_ready_o) {
            ++taken;
            offered = false;
        }
        if (top_.out_valid_o && top_.out_ready_i) {
            for (unsigned lane = 0; lane < rows_; ++lane) beat[lane] = get_byte(top_.out_data_o, lane);
            if (sent < options_.beats_out) output_.put(beat.data(), rows_);
            if (bool(top_.out_last_o) != (sent + 1 == options_.beats_out)) fail(kProtocol, "TLAST at beat " + std::to_string(sent));
            ++sent;
        }
        if (top_.trace_valid_o) note_end();
        if (trace_.open() && top_.trace_valid_o) record();
        clock();
        if (++waited > options_.timeout) fail(kTimeout, "no end after " + std::to_string(waited) + " clocks");
    }
    if (trace_.open() && top_.trace_valid_o) record();
    top_.in_valid_i = 0;
    top_.out_ready_i = 0;
    const uint32_t status = read_host(kControl);
    if (status & kStatusError) fail(kProtocol, "the accelerator reports error " + std::to_string(status >> 8 & 0xf));
    if (!memory_.idle()) fail(kProtocol, "the memory has requests that nobody waits for");
    if (taken != options_.beats_in) {
        fail(kProtocol, std::to_string(taken) + " of " + std::to_string(options_.beats_in) + " input beats were taken");
    }
    if (sent != options_.beats_out) {
        fail(kProtocol, std::to_string(sent) + " output beats instead of " + std::to_string(options_.beats_out));
    }
    if (trace_.open()) {
        std::vector<uint8_t> count;
        append(count, record_count_, 4);
        trace_.put(count.data(), count.size());
        trace_.put(records_.data(), records_.size());
    }
}

std::string list(const std::vector<uint32_t>& values) {
    std::string text = "[";
    for (std::size_t i = 0; i < values.size(); ++i) text += (i ? "," : "") + std::to_string(values[i]);
    return text + "]";
}

int Bench::run() {
    const std::vector<uint8_t> inputs = options_.inputs.empty() ? std::vector<uint8_t>() : read_file(options_.inputs);

    top_.rst_ni = 0;
    top_.host_we_i = 0;
    top_.in_valid_i = 0;
    top_.out_ready_i = 0;
    for (int i = 0; i < 4; ++i) clock();
    top_.rst_ni = 1;
    clock();

    const uint32_t geometry = read_host(kGeometry);
    rows_ = geometry & 0xff;
    cols_ = geometry >> 8 & 0xff;
    combine_ = geometry >> 16 & 0x3;
    beat_bytes_ = geometry >> 24;
    const uint64_t image_bytes = options_.beats_in * rows_;
    if (inputs.size() / (image_bytes ? image_bytes : 1) < (image_bytes ? options_.images : 0)) {
        fail(kUsage, "the inputs file holds less than " + std::to_string(options_.images) + " images");
    }
    std::vector<uint8_t> header;
    append(header, 0x54505345, 4);  // "ESPT"
    append(header, kTraceVersion, 4);
    append(header, rows_, 4);
    trace_.put(header.data(), header.size());
    const uint32_t hash = read_host(kConfigHash);
    write_host(kConfigHash, options_.has_hash ? static_cast<uint32_t>(options_.hash) : hash);
    load();
#if VM_COVERAGE
    // What changed until here belongs to no image.
    context_.coveragep()->zero();
#endif

    const auto begin = std::chrono::steady_clock::now();
    const uint64_t first_clock = clocks_;
    std::vector<uint32_t> cycles, stalls, waits, classes;
    for (uint64_t image = 0; image < options_.images; ++image) {
        const uint64_t waited = memory_.waits();
        run_image(inputs.data() + image * image_bytes);
        waits.push_back(static_cast<uint32_t>(memory_.waits() - waited));
        cycles.push_back(read_host(kCycles));
        stalls.push_back(read_host(kStalls));
        classes.push_back(read_host(kClass));
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    trace_.close();
    output_.close();
    top_.final();
#if VM_COVERAGE
    if (!options_.coverage.empty()) context_.coveragep()->write(options_.coverage.c_str());
#endif
    std::printf("{\"images\":%" PRIu64 ",\"rows\":%u,\"cols\":%u,\"config_hash\":%u,\"seed\":%" PRIu64
                ",\"cycles\":%s,\"stalls\":%s,\"memory_waits\":%s,\"classes\":%s,\"ends\":%s,\"clocks\":%" PRIu64 ",\"seconds\":%.6f}\n",
                options_.images, rows_, cols_, hash, options_.seed, list(cycles).c_str(), list(stalls).c_str(),
                list(waits).c_str(), list(classes).c_str(), list(ends_).c_str(), clocks_ - first_clock, seconds.count());
    return kOk;
}

}  // namespace

// Built with VL_USER_STOP and VL_USER_FATAL: a failed assertion ends here instead of in abort().
void vl_stop(const char* filename, int linenum, const char* hier) VL_MT_UNSAFE {
    fail(kAssertion, std::string("assertion failed in ") + filename + ":" + std::to_string(linenum) + " (" + hier + ")");
}

void vl_fatal(const char* filename, int linenum, const char* hier, const char* msg) VL_MT_UNSAFE {
    fail(kAssertion, std::string(msg) + " in " + filename + ":" + std::to_string(linenum) + " (" + hier + ")");
}

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    VerilatedContext context;
    context.commandArgs(argc, argv);
    // Matters only for a model built with --x-initial unique: registers without reset start at random values.
    context.randReset(2);
    context.randSeed(static_cast<int>(options.seed & 0x7fffffff));
#if VM_COVERAGE
    context.coveragep()->forcePerInstance(true);
#endif
    Bench bench(context, options);
    return bench.run();
}
