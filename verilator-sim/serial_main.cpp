// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Test bench of a design with the serial host: sees nothing but its four pins, so that it drives the hardware as
// written and the netlist of a synthesis alike. Arguments:
//
//   --script FILE    for each command: bytes (u32), the bytes, bytes of the answer (u32); little-endian
//   --replies FILE   where to write all answers
//   --divider N      clocks of a bit
//   --timeout N      clocks without an expected byte after which it gives up (10,000,000)
//
// or --interactive DIVIDER: standard input and output are the line, until the input ends.
//
// Prints one line of JSON, if it has a script: clocks, seconds. Exit codes: 0 fine, 2 wrong arguments or files, 3 no answer in time.

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

[[noreturn]] void fail(int code, const std::string& what) {
    std::fprintf(stderr, "error: %s\n", what.c_str());
    std::exit(code);
}

// Number behind `name`, or `otherwise`; the text behind it for files.
const char* argument(int argc, char** argv, const char* name) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], name) == 0) return argv[i + 1];
    }
    return nullptr;
}

class Line {
  public:
    Line(Vtop& top, uint32_t divider) : top_(top), divider_(divider) {
        top_.uart_rx = 1;
        // The design resets itself.
        for (int i = 0; i < 64; ++i) clock();
    }

    void send(uint8_t byte) {
        bit(0);
        for (int i = 0; i < 8; ++i) bit((byte >> i) & 1);
        bit(1);
    }

    void clock() {
        top_.clk = 0;
        top_.eval();
        top_.clk = 1;
        top_.eval();
        ++clocks_;
        receive();
    }

    std::vector<uint8_t> received;
    uint64_t clocks() const { return clocks_; }

  private:
    void bit(int value) {
        top_.uart_rx = value;
        for (uint32_t i = 0; i < divider_; ++i) clock();
    }

    // Samples each bit in its middle.
    void receive() {
        if (bits_ == 0) {
            if (!top_.uart_tx) {
                bits_ = 10;
                wait_ = divider_ / 2;
            }
        } else if (--wait_ == 0) {
            wait_ = divider_;
            --bits_;
            if (bits_ >= 1 && bits_ <= 8) byte_ = static_cast<uint8_t>((byte_ >> 1) | (top_.uart_tx << 7));
            if (bits_ == 0) {
                if (!top_.uart_tx) fail(3, "a byte without stop bit");
                received.push_back(byte_);
            }
        }
    }

    Vtop& top_;
    uint32_t divider_;
    uint64_t clocks_ = 0;
    uint32_t bits_ = 0;
    uint32_t wait_ = 0;
    uint8_t byte_ = 0;
};

// Passes bytes on in both directions as they come.
int interactive(Line& line) {
    // Clocks between two looks at the input.
    constexpr int kLook = 500;
    for (;;) {
        pollfd input{STDIN_FILENO, POLLIN, 0};
        if (poll(&input, 1, 0) > 0) {
            uint8_t bytes[64];
            const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
            if (count <= 0) return 0;
            for (ssize_t i = 0; i < count; ++i) line.send(bytes[i]);
        } else {
            for (int i = 0; i < kLook && line.received.empty(); ++i) line.clock();
        }
        const auto count = static_cast<ssize_t>(line.received.size());
        if (count > 0 && write(STDOUT_FILENO, line.received.data(), line.received.size()) != count) return 0;
        line.received.clear();
    }
}

}  // namespace

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    Vtop top;
    if (const char* divider = argument(argc, argv, "--interactive")) {
        Line line(top, static_cast<uint32_t>(std::strtoul(divider, nullptr, 10)));
        return interactive(line);
    }
    const char* script_path = argument(argc, argv, "--script");
    const char* replies_path = argument(argc, argv, "--replies");
    const char* divider_text = argument(argc, argv, "--divider");
    const char* timeout_text = argument(argc, argv, "--timeout");
    if (!script_path || !replies_path || !divider_text) fail(2, "--script, --replies and --divider are needed");
    const uint32_t divider = static_cast<uint32_t>(std::strtoul(divider_text, nullptr, 10));
    const uint64_t timeout = timeout_text ? std::strtoull(timeout_text, nullptr, 10) : 10'000'000;
    if (divider < 4) fail(2, "--divider must be at least 4");

    std::ifstream file(script_path, std::ios::binary);
    if (!file) fail(2, std::string("cannot read ") + script_path);
    const std::vector<uint8_t> script{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    size_t at = 0;
    const auto word = [&]() {
        if (script.size() - at < 4) fail(2, "the script is cut off");
        uint32_t value = 0;
        for (int i = 0; i < 4; ++i) value |= static_cast<uint32_t>(script[at + i]) << (8 * i);
        at += 4;
        return value;
    };

    Line line(top, divider);
    const auto begin = std::chrono::steady_clock::now();
    size_t expected = 0;
    for (size_t command = 0; at < script.size(); ++command) {
        const uint32_t bytes = word();
        if (script.size() - at < bytes) fail(2, "the script is cut off");
        for (uint32_t i = 0; i < bytes; ++i) line.send(script[at + i]);
        at += bytes;
        expected += word();
        uint64_t last = line.clocks();
        size_t have = line.received.size();
        while (line.received.size() < expected) {
            line.clock();
            if (line.received.size() != have) {
                have = line.received.size();
                last = line.clocks();
            }
            if (line.clocks() - last > timeout) fail(3, "no answer to command " + std::to_string(command));
        }
    }
    for (uint32_t i = 0; i < 20 * divider; ++i) line.clock();
    top.final();
    std::ofstream replies(replies_path, std::ios::binary);
    replies.write(reinterpret_cast<const char*>(line.received.data()), static_cast<std::streamsize>(line.received.size()));
    if (!replies) fail(2, std::string("cannot write ") + replies_path);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("{\"clocks\": %llu, \"seconds\": %.3f}\n", static_cast<unsigned long long>(line.clocks()), seconds);
    return 0;
}
