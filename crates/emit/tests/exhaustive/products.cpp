// All activations times all pairs of weights through a row of four columns: two that share a multiplier, two that
// multiply by adders. Exit code 1 and a message at the first wrong product.
#include <cstdint>
#include <cstdio>

#include "Vespalier_array.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {
// Bits of a partial sum; must be the module's parameter.
constexpr int kSumBits = 16;
// Cycles from an activation to the sum of column 0: product, sum.
constexpr int kLatency = 2;

Vespalier_array* dut;

void tick() {
  dut->clk_i = 0;
  dut->eval();
  dut->clk_i = 1;
  dut->eval();
}
}  // namespace

int main(int argc, char** argv) {
  Verilated::commandArgs(argc, argv);
  dut = new Vespalier_array;
  uint64_t checked = 0;
  for (int pair = 0; pair < 1 << 16; ++pair) {
    const int8_t weights[2] = {int8_t(pair), int8_t(pair >> 8)};
    const uint32_t bytes = uint32_t(pair) | uint32_t(pair) << 16;
    dut->weight_i = bytes;
    for (int i = 0; i < 8; ++i) tick();
    dut->load_i = 1;
    tick();
    dut->load_i = 0;
    dut->swap_i = 1;
    tick();
    dut->swap_i = 0;
    for (int t = 0; t < 256 + kLatency + 3; ++t) {
      dut->act_i = uint8_t(t);
      tick();
      for (int column = 0; column < 4; ++column) {
        const int of = t + 1 - kLatency - column;
        if (of < 0 || of > 255) continue;
        const int expected = int8_t(of) * weights[column % 2];
        const int got = int16_t(dut->psum_o >> (kSumBits * column));
        if (got != expected) {
          std::printf("column %d: %d * %d gives %d beside %d\n", column, int8_t(of), weights[column % 2], got,
                      weights[1 - column % 2]);
          return 1;
        }
        ++checked;
      }
    }
  }
  std::printf("%llu products\n", static_cast<unsigned long long>(checked));
  return 0;
}
