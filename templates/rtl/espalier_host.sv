// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Host port: control and status registers, and writing of the program and weight memories.
 *
 * Byte addresses, 32-bit words; the upper four bits select a region:
 *
 *   0x0  0x00  write: bit 0 starts the program; read: bit 0 running, bit 1 done, bit 2 error, [11:8] error code
 *        0x04  read: cycles of the last run, without those in which a stream waited
 *        0x08  read: cycles in which a stream waited
 *        0x0c  read: configuration hash; write: that for which the program was compiled
 *        0x10  read: [7:0] rows, [15:8] columns, [17:16] vectors that share a row, [31:24] bytes of a memory beat
 *        0x14  read: number of the instruction that runs or comes next
 *        0x18  bit 0 enables the interrupt; bit 1 it is pending, writing 1 clears it
 *        0x20  address of the weights in external memory, lower half; 0x24 upper half
 *        0x28  their bytes, in whole beats
 *        0x2c  read: [7:0] bytes of a beat of the port for spilled tensors, 0 = there is none
 *        0x30  address of the spilled tensors, a multiple of 4096, lower half; 0x34 upper half
 *   0x1  program memory, one 32-bit word each four bytes
 *   0x2  weight memory, 64 bytes a word: 4-byte parts at [5:2], word number at [27:6]. Parts are collected;
 *        writing the last part of a word stores it. Nothing is there if weights are streamed.
 *
 * Error codes: 1 unknown instruction; 2 the program is for another configuration, it was not started; 3 external
 * memory answered with an error, results are wrong; 4 an input packet ended too early or too late (TLAST).
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

  localparam logic [3:0] RegionControl = 4'h0;
  localparam logic [3:0] RegionProgram = 4'h1;
  localparam logic [3:0] RegionWeights = 4'h2;
  localparam logic [3:0] ErrorRefused  = 4'd2;

  localparam int         Parts    = (WordW + 31) / 32;
  localparam logic [3:0] LastPart = 4'(Parts - 1);

  logic [3:0]             region;
  logic [WeightAddrW-1:0] addr_q;
  logic                   part_en_q;
  logic [3:0]             part_q;
  logic [31:0]            data_q;
  logic [32*Parts-1:0]    word_q;

  logic [31:0]            program_hash_q;
  logic                   refused_q, done_q;
  logic                   enable_q, pending_q;
  logic                   control, start, refuse;
  logic [3:0]             error;

  assign region  = host_addr_i[31:28];
  assign control = host_we_i && region == RegionControl;
  assign start   = control && host_addr_i[7:2] == 6'd0 && host_wdata_i[0];
  assign refuse  = start && program_hash_q != ConfigHash;
  assign error   = refused_q ? ErrorRefused : error_i;

  assign interrupt_o = enable_q && pending_q;

  // One register stage in front of the memories: the port may come from far away.
  always_ff @(posedge clk_i) begin
    prog_addr_o   <= host_addr_i[2+:ProgAddrW];
    prog_data_o   <= host_wdata_i;
    part_q        <= host_addr_i[5:2];
    data_q        <= host_wdata_i;
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
      start_o     <= start && !refuse;
      prog_en_o   <= host_we_i && region == RegionProgram;
      part_en_q   <= host_we_i && region == RegionWeights;
      weight_en_o <= part_en_q && part_q == LastPart;
    end
  end

  assign weight_data_o = word_q[WordW-1:0];

  // Registers.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      program_hash_q <= '0;
      refused_q      <= 1'b0;
      done_q         <= 1'b0;
      enable_q       <= 1'b0;
      pending_q      <= 1'b0;
      stream_base_o  <= '0;
      stream_bytes_o <= '0;
      spill_base_o   <= '0;
    end else begin
      done_q <= done_i;
      if (start) refused_q <= refuse;
      if (control && host_addr_i[7:2] == 6'd3) program_hash_q <= host_wdata_i;
      if (control && host_addr_i[7:2] == 6'd6) begin
        enable_q <= host_wdata_i[0];
        if (host_wdata_i[1]) pending_q <= 1'b0;
      end
      if (refuse || (done_i && !done_q)) pending_q <= 1'b1;
      if (StreamBytes > 0 && control) begin
        if (host_addr_i[7:2] == 6'd8) stream_base_o[31:0] <= host_wdata_i;
        if (host_addr_i[7:2] == 6'd9) stream_base_o[63:32] <= host_wdata_i;
        if (host_addr_i[7:2] == 6'd10) stream_bytes_o <= host_wdata_i;
      end
      if (SpillBytes > 0 && control) begin
        if (host_addr_i[7:2] == 6'd12) spill_base_o[31:0] <= host_wdata_i;
        if (host_addr_i[7:2] == 6'd13) spill_base_o[63:32] <= host_wdata_i;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    case (host_addr_i[7:2])
      6'd0: host_rdata_o <= {20'b0, error, 5'b0, error != '0, done_i || refused_q, running_i};
      6'd1: host_rdata_o <= cycles_i;
      6'd2: host_rdata_o <= stalls_i;
      6'd3: host_rdata_o <= ConfigHash;
      6'd4: host_rdata_o <= {8'(StreamBytes), 6'b0, 2'(Combine), 8'(Cols), 8'(Rows)};
      6'd5: host_rdata_o <= 32'(index_i);
      6'd6: host_rdata_o <= {30'b0, pending_q, enable_q};
      6'd8: host_rdata_o <= stream_base_o[31:0];
      6'd9: host_rdata_o <= stream_base_o[63:32];
      6'd10: host_rdata_o <= stream_bytes_o;
      6'd11: host_rdata_o <= 32'(SpillBytes);
      6'd12: host_rdata_o <= spill_base_o[31:0];
      6'd13: host_rdata_o <= spill_base_o[63:32];
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
    end
  end
`endif

endmodule

`default_nettype wire
