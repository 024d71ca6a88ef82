// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The integrator's wrapper as software on a board sees it: registers behind AXI4-Lite, and an AXI DMA engine in direct
// mode (registers as in AMD's PG021) between its streams and a memory. Drivers are tested against it. Every channel waits
// at random. Built with ESPALIER_STREAM_BYTES or ESPALIER_SPILL_BYTES, the bytes of a beat, for a design with such ports to
// the memory. Arguments:
//
//   --memory FILE     a file that is mapped as the memory, at kMemoryBase; both sides see it
//   --stall PERCENT   cycles in which a channel waits (0)
//   --seed N          of these waits (1)
//
// Commands on standard input, numbers little-endian: space (u8: 0 core, 1 engine), operation (u8: 'r' or 'w'), address
// (u32), value (u32, only to write). Answer: the value (u32) of a read, one zero byte for a write. It ends with its input.
//
// Exit codes: 0 fine, 2 wrong arguments, 3 no answer in time, 4 broken protocol, 5 an assertion of the hardware failed.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "Vespalier_top.h"
#include "bench.h"
#include "verilated.h"

namespace {

using namespace bench;

// Beyond 4 GiB, so that no bit of an address is without a test.
constexpr uint64_t kMemoryBase = 0x6'0000'0000;
// Where the processor sees the core.
constexpr uint32_t kCoreBase = 0x8000'0000;
// Clocks after which an access is given up, and clocks that pass while software looks at the engine.
constexpr int kPatience = 100'000;
constexpr int kLook = 50;

// One direction of the engine.
struct Channel {
    enum Register { kControl = 0x00, kStatus = 0x04, kAddress = 0x18, kAddressHigh = 0x1c, kLength = 0x28 };
    enum Bits : uint32_t { kRun = 1, kReset = 4, kHalted = 1, kIdle = 2, kInternal = 0x10, kDecode = 0x40 };

    uint32_t control = 0, errors = 0, length = 0;
    uint64_t address = 0;
    bool busy = false, idle = false, offered = false;
    uint64_t at = 0, left = 0;

    void fault(uint32_t bits) {
        errors |= bits;
        control &= ~kRun;
        busy = false;
    }
    uint32_t status() const { return (control & kRun ? 0u : kHalted) | (idle ? kIdle : 0u) | errors; }
};

// The ports of the core to the memory, as far as the design has them.
class MasterPorts {
  public:
    MasterPorts([[maybe_unused]] Vespalier_top& top, uint8_t* memory, uint64_t bytes, uint64_t stall, uint64_t seed)
        : random_(seed), waits_(stall, random_),
#ifdef ESPALIER_STREAM_BYTES
          weights_{kMemoryBase, memory, bytes, ESPALIER_STREAM_BYTES},
          weight_reads_({top.m_axi_arready, top.m_axi_arvalid, top.m_axi_araddr, top.m_axi_arlen, top.m_axi_rvalid,
                         top.m_axi_rready, top.m_axi_rdata, top.m_axi_rresp, &top.m_axi_rlast}),
#endif
#ifdef ESPALIER_SPILL_BYTES
          spill_reads_({top.m_axi_spill_arready, top.m_axi_spill_arvalid, top.m_axi_spill_araddr, top.m_axi_spill_arlen,
                        top.m_axi_spill_rvalid, top.m_axi_spill_rready, top.m_axi_spill_rdata, top.m_axi_spill_rresp,
                        &top.m_axi_spill_rlast}),
          spill_writes_({top.m_axi_spill_awready, top.m_axi_spill_awvalid, top.m_axi_spill_awaddr, top.m_axi_spill_awlen,
                         top.m_axi_spill_wready, top.m_axi_spill_wvalid, top.m_axi_spill_wdata, top.m_axi_spill_wlast,
                         top.m_axi_spill_bvalid, top.m_axi_spill_bready, top.m_axi_spill_bresp}),
          spill_{kMemoryBase, memory, bytes, ESPALIER_SPILL_BYTES},
#endif
          now_(0) {}

    // The inputs of a cycle.
    void drive() {
#ifdef ESPALIER_STREAM_BYTES
        weight_reads_.drive(weights_, waits_, now_, 1);
#endif
#ifdef ESPALIER_SPILL_BYTES
        spill_reads_.drive(spill_, waits_, now_, 1);
        spill_writes_.drive(spill_, waits_, now_, 1);
#endif
        ++now_;
    }

  private:
    Random random_;
    Waits waits_;
#ifdef ESPALIER_STREAM_BYTES
    Region weights_;
    Reads<Bare<decltype(std::declval<Vespalier_top&>().m_axi_rdata)>> weight_reads_;
#endif
#ifdef ESPALIER_SPILL_BYTES
    Reads<Bare<decltype(std::declval<Vespalier_top&>().m_axi_spill_rdata)>> spill_reads_;
    Writes<Bare<decltype(std::declval<Vespalier_top&>().m_axi_spill_wdata)>> spill_writes_;
    Region spill_;
#endif
    uint64_t now_;
};

class Bridge {
  public:
    Bridge(VerilatedContext& context, uint8_t* memory, uint64_t bytes, uint64_t stall, uint64_t seed)
        : top_(&context), memory_(memory), bytes_(bytes), stall_(stall), random_(seed),
          ports_(top_, memory, bytes, stall, seed + 1) {
        top_.aresetn = 0;
        for (int i = 0; i < 4; ++i) clock();
        top_.aresetn = 1;
        clock();
        rows_ = access(false, 0x10, 0) & 0xff;
        for (stride_ = 1; stride_ < rows_;) stride_ *= 2;
    }

    int serve();

  private:
    bool waits() { return random_.percent(stall_); }
    uint8_t* memory(uint64_t address, uint64_t count) {
        const bool inside = address >= kMemoryBase && count <= bytes_ && address - kMemoryBase <= bytes_ - count;
        return inside ? memory_ + (address - kMemoryBase) : nullptr;
    }
    void clock();
    uint32_t access(bool write, uint32_t address, uint32_t value);
    uint32_t engine(bool write, uint32_t address, uint32_t value);
    void start(Channel& channel, uint32_t length);

    Vespalier_top top_;
    uint8_t* memory_;
    uint64_t bytes_;
    uint64_t stall_;
    Random random_;
    unsigned rows_ = 4, stride_ = 4;
    Channel to_stream_, to_memory_;
    MasterPorts ports_;
};

// One clock: inputs, what both sides agree on before the edge, and the edge.
void Bridge::clock() {
    Channel& source = to_stream_;
    if (source.busy && !source.offered && !waits()) {
        source.offered = true;
        set_bytes(top_.s_axis_tdata, memory(source.at, stride_), rows_);
        top_.s_axis_tlast = source.left == stride_;
    }
    top_.s_axis_tvalid = source.offered;
    top_.m_axis_tready = to_memory_.busy && !waits();
    ports_.drive();
    top_.aclk = 0;
    top_.eval();
    if (top_.s_axis_tvalid && top_.s_axis_tready) {
        source.offered = false;
        source.at += stride_;
        source.left -= stride_;
        source.idle = source.left == 0;
        source.busy = !source.idle;
    }
    Channel& sink = to_memory_;
    if (top_.m_axis_tvalid && top_.m_axis_tready) {
        if (sink.left < stride_) {
            sink.fault(Channel::kInternal);
        } else {
            uint8_t* bytes = memory(sink.at, stride_);
            for (unsigned lane = 0; lane < stride_; ++lane) bytes[lane] = lane < rows_ ? get_byte(top_.m_axis_tdata, lane) : 0;
            sink.at += stride_;
            sink.left -= stride_;
            if (top_.m_axis_tlast) {
                sink.busy = false;
                sink.idle = true;
            }
        }
    }
    top_.aclk = 1;
    top_.eval();
}

// One access of the registers; address, data and answer wait at random.
uint32_t Bridge::access(bool write, uint32_t address, uint32_t value) {
    bool address_sent = false, data_sent = !write;
    top_.s_axil_awaddr = top_.s_axil_araddr = kCoreBase | address;
    top_.s_axil_wdata = value;
    top_.s_axil_wstrb = 0xf;
    for (int i = 0; i < kPatience; ++i) {
        const bool offer = top_.s_axil_awvalid || top_.s_axil_arvalid || !waits();
        top_.s_axil_awvalid = write && !address_sent && offer;
        top_.s_axil_arvalid = !write && !address_sent && offer;
        top_.s_axil_wvalid = !data_sent && (top_.s_axil_wvalid || !waits());
        top_.s_axil_bready = write && !waits();
        top_.s_axil_rready = !write && !waits();
        top_.aclk = 0;
        top_.eval();
        const bool sent = write ? top_.s_axil_awvalid && top_.s_axil_awready : top_.s_axil_arvalid && top_.s_axil_arready;
        const bool taken = top_.s_axil_wvalid && top_.s_axil_wready;
        const bool ended = write ? top_.s_axil_bvalid && top_.s_axil_bready : top_.s_axil_rvalid && top_.s_axil_rready;
        const uint32_t data = top_.s_axil_rdata;
        const unsigned answer = write ? top_.s_axil_bresp : top_.s_axil_rresp;
        clock();
        address_sent = address_sent || sent;
        data_sent = data_sent || taken;
        top_.s_axil_awvalid = top_.s_axil_awvalid && !sent;
        top_.s_axil_arvalid = top_.s_axil_arvalid && !sent;
        top_.s_axil_wvalid = top_.s_axil_wvalid && !taken;
        if (ended) {
            if (answer != 0) fail(kProtocol, "an access was answered with an error");
            top_.s_axil_bready = top_.s_axil_rready = 0;
            return data;
        }
    }
    fail(kTimeout, "the registers do not answer");
}

void Bridge::start(Channel& channel, uint32_t length) {
    if (!(channel.control & Channel::kRun) || channel.busy) fail(kProtocol, "a transfer begins while the engine cannot");
    channel.at = channel.address;
    channel.left = length;
    channel.idle = false;
    if (length == 0 || length % stride_ != 0) return channel.fault(Channel::kInternal);
    if (memory(channel.address, length) == nullptr) return channel.fault(Channel::kDecode);
    channel.busy = true;
}

uint32_t Bridge::engine(bool write, uint32_t address, uint32_t value) {
    for (int i = 0; i < kLook; ++i) clock();
    Channel& channel = address < 0x30 ? to_stream_ : to_memory_;
    const uint32_t offset = address < 0x30 ? address : address - 0x30;
    switch (offset) {
        case Channel::kControl:
            if (!write) return channel.control;
            channel.control = value & Channel::kRun;
            if (value & Channel::kReset) to_stream_ = to_memory_ = Channel();
            return 0;
        case Channel::kStatus: return channel.status();
        case Channel::kAddress:
            if (write) channel.address = (channel.address & ~uint64_t(0xffffffff)) | value;
            return static_cast<uint32_t>(channel.address);
        case Channel::kAddressHigh:
            if (write) channel.address = (channel.address & 0xffffffff) | uint64_t(value) << 32;
            return static_cast<uint32_t>(channel.address >> 32);
        case Channel::kLength:
            if (write) start(channel, value);
            return channel.length;
        default: fail(kProtocol, "the engine has no register " + std::to_string(address));
    }
}

bool read_exactly(uint8_t* bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        const ssize_t got = ::read(STDIN_FILENO, bytes + done, count - done);
        if (got <= 0) return false;
        done += static_cast<size_t>(got);
    }
    return true;
}

int Bridge::serve() {
    const auto word = [](const uint8_t* b) { return uint32_t(b[0]) | uint32_t(b[1]) << 8 | uint32_t(b[2]) << 16 | uint32_t(b[3]) << 24; };
    uint8_t head[6], data[4];
    while (read_exactly(head, sizeof head)) {
        const bool write = head[1] == 'w';
        if (write && !read_exactly(data, sizeof data)) break;
        const uint32_t address = word(head + 2), value = write ? word(data) : 0;
        const uint32_t answer = head[0] == 0 ? access(write, address, value) : engine(write, address, value);
        const uint8_t bytes[4] = {uint8_t(answer), uint8_t(answer >> 8), uint8_t(answer >> 16), uint8_t(answer >> 24)};
        const uint8_t none = 0;
        if (::write(STDOUT_FILENO, write ? &none : bytes, write ? 1 : 4) < 0) break;
    }
    top_.final();
    return 0;
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
    const char* path = nullptr;
    uint64_t stall = 0, seed = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        if (name == "--memory") path = argv[i + 1];
        else if (name == "--stall") stall = std::strtoull(argv[i + 1], nullptr, 10);
        else if (name == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 10);
        else fail(kUsage, "unknown argument '" + name + "'");
    }
    if (path == nullptr || stall > 95) fail(kUsage, "--memory FILE is needed, and --stall is at most 95");
    const int file = ::open(path, O_RDWR);
    struct stat about {};
    if (file < 0 || fstat(file, &about) != 0) fail(kUsage, std::string("cannot open ") + path);
    const size_t bytes = static_cast<size_t>(about.st_size);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) fail(kUsage, std::string("cannot map ") + path);
    VerilatedContext context;
    Bridge bridge(context, static_cast<uint8_t*>(memory), bytes, stall, seed);
    return bridge.serve();
}
