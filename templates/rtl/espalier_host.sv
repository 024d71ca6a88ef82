// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Host port: control and status registers, and writing of the program and weight memories.
 *
 * Byte addresses, 32-bit words; the upper four bits select a region. docs/registers.md lists registers, regions and
 * error codes; espalier_pkg has their numbers.
 *
 * A program is started only if it was compiled for this configuration, and if the words that were written into the
 * memories since then are those that its checksum was computed of: a CRC-32 as of zlib. Writing the hash of the
 * configuration clears the checksum, writing the checksum subtracts it, and what is left must be zero. Memories with
 * initial content need no writing, and so no checksum.
 *
 * Reads answer one cycle after the address. Memories must not be written while a program runs.
 */
module espalier_host #(
  // Rows and columns of the array.
  parameter int          Rows        = 8,
  parameter int          Cols        = 8,
  // Vectors that share a row, 1 or 2.
  parameter int          Combine     = 1,
  // Bits of a program memory address.
  parameter int          ProgAddrW   = 10,
  // Bits of a weight memory address.
  parameter int          WeightAddrW = 10,
  // Bits of a weight memory word; derived, do not override.
  parameter int          WordW       = 8 * Cols + 16 + (Combine - 1) * (16 + 8 * ((Cols + 7) / 8)),
  // Bytes of a beat of external memory, 0 = weights are on the chip.
  parameter int          StreamBytes = 0,
  // Bytes of a beat of the port for spilled tensors, 0 = there is none.
  parameter int          SpillBytes  = 0,
  // Bits of a word that enter the checksum in a cycle: 32, or 1, which takes less logic and a slow host, that leaves 32
  // cycles after a word.
  parameter int          ChecksumBits = 32,
  // Bits of an instruction number; derived, do not override.
  parameter int          IndexW      = ProgAddrW - 3,
  // Identifies the configuration that the hardware was generated for.
  parameter logic [31:0] ConfigHash  = 32'h0
) (
  input  wire logic                   clk_i,
  input  wire logic                   rst_ni,

  // host
  input  wire logic                   host_we_i,
  input  wire logic [31:0]            host_addr_i,
  input  wire logic [31:0]            host_wdata_i,
  output logic [31:0]                 host_rdata_o,

  // control and status
  output logic                        start_o,
  input  wire logic                   running_i,
  input  wire logic                   done_i,
  input  wire logic [3:0]             error_i,
  input  wire logic [31:0]            cycles_i,
  input  wire logic [31:0]            stalls_i,
  input  wire logic [IndexW-1:0]      index_i,
  input  wire logic [15:0]            class_i,
  output logic                        interrupt_o,

  // weights in external memory
  output logic [63:0]                 stream_base_o,
  output logic [31:0]                 stream_bytes_o,

  // spilled tensors
  output logic [63:0]                 spill_base_o,

  // program memory
  output logic                        prog_en_o,
  output logic [ProgAddrW-1:0]        prog_addr_o,
  output logic [31:0]                 prog_data_o,

  // weight memory
  output logic                        weight_en_o,
  output logic [WeightAddrW-1:0]      weight_addr_o,
  output logic [WordW-1:0]            weight_data_o
);

  localparam int          Parts    = (WordW + 31) / 32;
  localparam logic [3:0]  LastPart = 4'(Parts - 1);
  // CRC-32, lowest bit first.
  localparam logic [31:0] Polynomial = 32'hedb8_8320;
  localparam logic [31:0] Entering   = ChecksumBits == 32 ? '1 : 32'd1;

  logic [3:0]             region;
  logic [WeightAddrW-1:0] addr_q;
  logic                   part_en_q;
  logic [3:0]             part_q;
  logic [31:0]            data_q;
  logic [32*Parts-1:0]    word_q;

  logic                   own_q;                // the program is for this configuration
  logic [31:0]            checksum_q, remainder;
  logic [3:0]             refusal, refusal_q;   // error code, 0 = none
  logic                   done_q;
  logic                   enable_q, pending_q;
  logic                   control, start, write_hash, write_checksum, write_memory, stored;
  logic [5:0]             entering_q;           // cycles in which the last word still enters the checksum
  logic [3:0]             error;

  assign region         = host_addr_i[31:28];
  assign control        = host_we_i && region == espalier_pkg::REGION_CONTROL;
  assign start          = control && host_addr_i[7:2] == espalier_pkg::REG_CONTROL && host_wdata_i[0];
  assign write_hash     = control && host_addr_i[7:2] == espalier_pkg::REG_CONFIG_HASH;
  assign write_checksum = control && host_addr_i[7:2] == espalier_pkg::REG_CHECKSUM;
  assign write_memory   = host_we_i
                          && (region == espalier_pkg::REGION_PROGRAM || region == espalier_pkg::REGION_WEIGHTS);
  assign error          = refusal_q != '0 ? refusal_q : error_i;

  assign stored  = entering_q != '0;
  assign refusal = !own_q                     ? espalier_pkg::ERROR_OTHER_CONFIGURATION
                 : checksum_q != '0 || stored ? espalier_pkg::ERROR_CHECKSUM : 4'd0;

  // The bits of a word run through the checksum, lowest first.
  always_comb begin
    remainder = ~checksum_q ^ (data_q & Entering);
    for (int b = 0; b < ChecksumBits; b++) remainder = (remainder >> 1) ^ ((remainder & 32'd1) != '0 ? Polynomial : '0);
  end

  assign interrupt_o = enable_q && pending_q;

  // One register stage in front of the memories: the port may come from far away.
  always_ff @(posedge clk_i) begin
    prog_addr_o   <= host_addr_i[2+:ProgAddrW];
    prog_data_o   <= host_wdata_i;
    part_q        <= host_addr_i[5:2];
    data_q        <= ChecksumBits < 32 && stored ? data_q >> 1 : host_wdata_i;
    weight_addr_o <= addr_q;
    addr_q        <= host_addr_i[6+:WeightAddrW];
    for (int p = 0; p < Parts; p++) begin
      if (part_en_q && part_q == 4'(p)) word_q[32*p+:32] <= data_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      start_o     <= 1'b0;
      prog_en_o   <= 1'b0;
      part_en_q   <= 1'b0;
      weight_en_o <= 1'b0;
    end else begin
      start_o     <= start && refusal == '0;
      prog_en_o   <= host_we_i && region == espalier_pkg::REGION_PROGRAM;
      part_en_q   <= host_we_i && region == espalier_pkg::REGION_WEIGHTS;
      weight_en_o <= part_en_q && part_q == LastPart;
    end
  end

  assign weight_data_o = word_q[WordW-1:0];

  // Registers.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      own_q          <= 1'b0;
      checksum_q     <= '0;
      entering_q     <= '0;
      refusal_q      <= '0;
      done_q         <= 1'b0;
      enable_q       <= 1'b0;
      pending_q      <= 1'b0;
      stream_base_o  <= '0;
      stream_bytes_o <= '0;
      spill_base_o   <= '0;
    end else begin
      done_q <= done_i;
      if (start) refusal_q <= refusal;
      if (write_hash) own_q <= host_wdata_i == ConfigHash;
      if (write_memory) entering_q <= 6'(32 / ChecksumBits);
      else if (stored) entering_q <= entering_q - 6'd1;
      if (write_hash) checksum_q <= '0;
      else            checksum_q <= (stored ? ~remainder : checksum_q) ^ (write_checksum ? host_wdata_i : '0);
      if (control && host_addr_i[7:2] == espalier_pkg::REG_INTERRUPT) begin
        enable_q <= host_wdata_i[0];
        if (host_wdata_i[1]) pending_q <= 1'b0;
      end
      if ((start && refusal != '0) || (done_i && !done_q)) pending_q <= 1'b1;
      if (StreamBytes > 0 && control) begin
        if (host_addr_i[7:2] == espalier_pkg::REG_WEIGHTS_LOW) stream_base_o[31:0] <= host_wdata_i;
        if (host_addr_i[7:2] == espalier_pkg::REG_WEIGHTS_HIGH) stream_base_o[63:32] <= host_wdata_i;
        if (host_addr_i[7:2] == espalier_pkg::REG_WEIGHTS_BYTES) stream_bytes_o <= host_wdata_i;
      end
      if (SpillBytes > 0 && control) begin
        if (host_addr_i[7:2] == espalier_pkg::REG_SPILL_LOW) spill_base_o[31:0] <= host_wdata_i;
        if (host_addr_i[7:2] == espalier_pkg::REG_SPILL_HIGH) spill_base_o[63:32] <= host_wdata_i;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    case (host_addr_i[7:2])
      espalier_pkg::REG_CONTROL:
        host_rdata_o <= {20'b0, error, 5'b0, error != '0, done_i || refusal_q != '0, running_i};
      espalier_pkg::REG_CYCLES:        host_rdata_o <= cycles_i;
      espalier_pkg::REG_STALLS:        host_rdata_o <= stalls_i;
      espalier_pkg::REG_CONFIG_HASH:   host_rdata_o <= ConfigHash;
      espalier_pkg::REG_GEOMETRY:      host_rdata_o <= {8'(StreamBytes), 6'b0, 2'(Combine), 8'(Cols), 8'(Rows)};
      espalier_pkg::REG_INSTRUCTION:   host_rdata_o <= 32'(index_i);
      espalier_pkg::REG_INTERRUPT:     host_rdata_o <= {30'b0, pending_q, enable_q};
      espalier_pkg::REG_CHECKSUM:      host_rdata_o <= checksum_q;
      espalier_pkg::REG_WEIGHTS_LOW:   host_rdata_o <= stream_base_o[31:0];
      espalier_pkg::REG_WEIGHTS_HIGH:  host_rdata_o <= stream_base_o[63:32];
      espalier_pkg::REG_WEIGHTS_BYTES: host_rdata_o <= stream_bytes_o;
      espalier_pkg::REG_SPILL_BEAT:    host_rdata_o <= 32'(SpillBytes);
      espalier_pkg::REG_SPILL_LOW:     host_rdata_o <= spill_base_o[31:0];
      espalier_pkg::REG_SPILL_HIGH:    host_rdata_o <= spill_base_o[63:32];
      espalier_pkg::REG_CLASS:         host_rdata_o <= 32'(class_i);
      default: host_rdata_o <= '0;
    endcase
  end

  logic unused_bits;
  assign unused_bits = ^{host_addr_i, word_q};

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(running_i && (prog_en_o || weight_en_o)))
      else $error("memory written while a program runs");
      assert (!(ChecksumBits < 32 && stored && write_memory))
      else $error("word written before the one before is summed");
    end
  end
`endif

endmodule

`default_nettype wire
