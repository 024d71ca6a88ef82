// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the benches share: exit codes, bytes of ports, random waits, and the memory behind AXI4 masters.
#ifndef ESPALIER_BENCH_H
#define ESPALIER_BENCH_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <type_traits>
#include <utility>

#include "verilated.h"

namespace bench {

enum ExitCode { kOk = 0, kUsage = 2, kTimeout = 3, kProtocol = 4, kAssertion = 5 };

[[noreturn]] inline void fail(ExitCode code, const std::string& what) {
    std::fflush(stdout);
    std::fprintf(stderr, "error: %s\n", what.c_str());
    std::exit(code);
}

// --- ports wider than 64 bits are arrays of 32-bit words, the others are integers

template <typename Port>
uint8_t get_byte(const Port& port, unsigned index) {
    return static_cast<uint8_t>(port >> (8 * index));
}

template <std::size_t Words>
uint8_t get_byte(const VlWide<Words>& port, unsigned index) {
    return static_cast<uint8_t>(port[index / 4] >> (8 * (index % 4)));
}

template <typename Port>
void set_bytes(Port& port, const uint8_t* bytes, unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    port = static_cast<Port>(value);
}

template <std::size_t Words>
void set_bytes(VlWide<Words>& port, const uint8_t* bytes, unsigned count) {
    for (std::size_t w = 0; w < Words; ++w) port[w] = 0;
    for (unsigned i = 0; i < count; ++i) port[i / 4] |= static_cast<uint32_t>(bytes[i]) << (8 * (i % 4));
}

// xorshift64*: the same sequence everywhere.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
    bool percent(uint64_t chance) {
        if (chance == 0) return false;
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return ((state_ * 0x2545f4914f6cdd1du) >> 33) % 100 < chance;
    }

  private:
    uint64_t state_;
};

// --- external memory: answers in order, the first beat of a read a stated number of cycles after the request, then one a
// cycle, a write as many cycles after its last beat; random waits come on top. It checks what AXI asks of a master.

struct Region {
    uint64_t base = 0;
    uint8_t* bytes = nullptr;
    uint64_t size = 0;
    unsigned beat_bytes = 0;  // 0 = there is no port

    uint8_t* at(uint64_t address) { return bytes + (address - base); }
    void check(uint64_t address, uint64_t beats) const {
        const uint64_t end = address + beats * beat_bytes;
        if (address % beat_bytes != 0 || address / 4096 != (end - 1) / 4096) fail(kProtocol, "a burst crosses 4 KiB");
        if (address < base || end > base + size) fail(kProtocol, "a burst leaves its region");
    }
};

// Cycles of random waits: whether a channel waits now, and how often any did.
class Waits {
  public:
    Waits(uint64_t percent, Random& random) : percent_(percent), random_(random) {}
    bool draw() { return random_.percent(percent_); }
    void count() { ++count_; }
    uint64_t total() const { return count_; }

  private:
    uint64_t percent_;
    Random& random_;
    uint64_t count_ = 0;
};

// The type of a port, of which Verilator's models have references.
template <typename Port>
using Bare = std::remove_reference_t<Port>;

template <typename Data>
struct ReadPort {
    CData &ar_ready, &ar_valid;
    QData& ar_addr;
    CData &ar_len, &r_valid, &r_ready;
    Data& r_data;
    CData& r_resp;
    CData* r_last;
};

template <typename Data>
class Reads {
  public:
    explicit Reads(ReadPort<Data> port) : port_(port) {}
    bool idle() const { return bursts_.empty(); }

    // The inputs of a cycle from the outputs that the clock before left.
    void drive(Region& region, Waits& waits, uint64_t now, uint64_t latency) {
        if (region.beat_bytes == 0) {
            // Nothing is there yet, or ever; inputs may start at random values.
            port_.ar_ready = port_.r_valid = port_.r_resp = 0;
            return;
        }
        port_.ar_ready = !waits.draw();
        if (port_.ar_valid && !port_.ar_ready) waits.count();

        port_.r_valid = 0;
        if (!bursts_.empty() && now >= bursts_.front().first) {
            if (!offered_) offered_ = !waits.draw();
            if (!offered_) waits.count();
            port_.r_valid = offered_;
        }
        port_.r_resp = 0;
        if (port_.r_valid) {
            Burst& burst = bursts_.front();
            set_bytes(port_.r_data, region.at(burst.address), region.beat_bytes);
            if (port_.r_last != nullptr) *port_.r_last = burst.beats == 1;
        }
        // Whether a beat is taken may depend on nothing but registers of the design.
        if (port_.r_valid && port_.r_ready) {
            Burst& burst = bursts_.front();
            offered_ = false;
            burst.address += region.beat_bytes;
            if (--burst.beats == 0) bursts_.pop_front();
        }
        if (port_.ar_valid && port_.ar_ready) {
            const uint64_t beats = uint64_t(port_.ar_len) + 1;
            region.check(port_.ar_addr, beats);
            bursts_.push_back({port_.ar_addr, beats, now + latency});
        }
    }

  private:
    struct Burst {
        uint64_t address, beats, first;
    };
    ReadPort<Data> port_;
    std::deque<Burst> bursts_;
    bool offered_ = false;  // a beat that was offered stays until it is taken
};

template <typename Data>
struct WritePort {
    CData &aw_ready, &aw_valid;
    QData& aw_addr;
    CData &aw_len, &w_ready, &w_valid;
    Data& w_data;
    CData &w_last, &b_valid, &b_ready, &b_resp;
};

template <typename Data>
class Writes {
  public:
    explicit Writes(WritePort<Data> port) : port_(port) {}
    bool idle() const { return bursts_.empty() && data_.empty() && responses_.empty(); }

    void drive(Region& region, Waits& waits, uint64_t now, uint64_t latency) {
        if (region.beat_bytes == 0) {
            port_.aw_ready = port_.w_ready = port_.b_valid = port_.b_resp = 0;
            return;
        }
        port_.b_resp = 0;
        port_.b_valid = 0;
        if (!responses_.empty() && now >= responses_.front()) {
            if (!offered_) offered_ = !waits.draw();
            if (!offered_) waits.count();
            port_.b_valid = offered_;
            if (offered_ && port_.b_ready) {
                offered_ = false;
                responses_.pop_front();
            }
        }
        port_.aw_ready = !waits.draw();
        if (port_.aw_valid && !port_.aw_ready) waits.count();
        if (port_.aw_valid && port_.aw_ready) {
            region.check(port_.aw_addr, uint64_t(port_.aw_len) + 1);
            bursts_.push_back({port_.aw_addr, uint64_t(port_.aw_len) + 1});
        }
        port_.w_ready = !waits.draw();
        if (port_.w_valid && !port_.w_ready) waits.count();
        if (port_.w_valid && port_.w_ready) {
            for (unsigned i = 0; i < region.beat_bytes; ++i) data_.push_back(get_byte(port_.w_data, i));
            ends_.push_back(port_.w_last);
        }
        // Data may come before their address.
        while (!bursts_.empty() && !ends_.empty()) {
            Burst& burst = bursts_.front();
            if (ends_.front() != (burst.beats == 1)) fail(kProtocol, "WLAST is not at the end of a burst");
            ends_.pop_front();
            for (unsigned i = 0; i < region.beat_bytes; ++i) {
                *region.at(burst.address++) = data_.front();
                data_.pop_front();
            }
            if (--burst.beats == 0) {
                bursts_.pop_front();
                responses_.push_back(now + latency);
            }
        }
    }

  private:
    struct Burst {
        uint64_t address, beats;
    };
    WritePort<Data> port_;
    std::deque<Burst> bursts_;
    std::deque<uint8_t> data_;
    std::deque<bool> ends_;
    std::deque<uint64_t> responses_;
    bool offered_ = false;
};

}  // namespace bench

#endif
