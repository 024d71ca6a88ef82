// All accumulator values of 20 bits with all shifts through the requantization of a column, against the definition
// clamp(round_half_even(acc / 2^shift) + zero_point); with STATES also the two digits of wide results,
// 256 * high + low = round_half_even(acc / 2^shift), where digits from -128 to 127 reach. Exit code 1 and a message at the
// first difference.
#include <cstdint>
#include <cstdio>

#include "Vespalier_requant.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {
// Cycles from an accumulator to its result.
constexpr int kLatency = 7;
constexpr int kLow = -(1 << 19), kHigh = 1 << 19;

#ifdef STATES
constexpr int kModes = 3;
#else
constexpr int kModes = 1;
#endif
enum Mode { kNarrow, kHighDigit, kLowDigit };

Vespalier_requant* dut;

void tick() {
  dut->clk_i = 0;
  dut->eval();
  dut->clk_i = 1;
  dut->eval();
}

void parameter(int index, int value) {
  dut->param_valid_i = 1;
  dut->param_index_i = index;
  dut->param_i = uint8_t(value);
  tick();
  dut->param_valid_i = 0;
}

int64_t rounded(int64_t value, int shift) {
  const int64_t unit = int64_t(1) << shift;
  const int64_t floor = (value >= 0 ? value : value - unit + 1) / unit;
  const int64_t twice = 2 * (value - floor * unit);
  return twice > unit || (twice == unit && floor % 2 != 0) ? floor + 1 : floor;
}

int64_t clamped(int64_t value, int64_t lo, int64_t hi) { return value < lo ? lo : value > hi ? hi : value; }

int64_t digit(int64_t value, Mode mode) {
  value = clamped(value, 256 * -128 - 128, 256 * 127 + 127);
  int64_t high = value / 256, low = value % 256;
  if (low > 127) high += 1, low -= 256;
  if (low < -128) high -= 1, low += 256;
  return mode == kHighDigit ? high : low;
}
}  // namespace

int main(int argc, char** argv) {
  Verilated::commandArgs(argc, argv);
  dut = new Vespalier_requant;
  uint64_t checked = 0;
  for (int at = 0; at < 32 * kModes; ++at) {
    const int shift = at % 32;
    const Mode mode = static_cast<Mode>(at / 32);
    const int zero_point = shift % 3 == 0 ? 0 : shift % 3 == 1 ? -128 : 100;
    const int lo = shift % 2 == 0 ? -128 : zero_point, hi = 127;
    for (int i = 0; i < 4; ++i) parameter(i, 0);
    parameter(4, shift);
    dut->bias_take_i = 1;
    dut->shift_take_i = 1;
    tick();
    dut->bias_take_i = 0;
    dut->shift_take_i = 0;
    dut->wide_i = mode != kNarrow;
    dut->low_i = mode == kLowDigit;
    dut->zero_point_i = (mode == kNarrow ? zero_point : 128) & 0x1ff;
    dut->lo_i = uint8_t(lo);
    dut->hi_i = uint8_t(hi);
    dut->load_i = 1;
    for (int64_t value = kLow; value < kHigh + kLatency; ++value) {
      dut->acc_i = uint32_t(value) & 0xfffff;
      tick();
      const int64_t of = value + 1 - kLatency;
      if (of < kLow || of >= kHigh) continue;
      const int64_t value_of = rounded(of, shift);
      const int64_t expected = mode == kNarrow ? clamped(value_of + zero_point, lo, hi) : digit(value_of, mode);
      if (int8_t(dut->q_o) != expected) {
        std::printf("%lld shifted by %d, digit %d: %d instead of %lld\n", static_cast<long long>(of), shift, mode,
                    int8_t(dut->q_o), static_cast<long long>(expected));
        return 1;
      }
      ++checked;
    }
  }
  std::printf("%llu values\n", static_cast<unsigned long long>(checked));
  return 0;
}
