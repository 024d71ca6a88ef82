// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Streamed weights: a ring of Depth words that espalier_fetch fills from external memory and the loader empties in
 * order. It takes the place of the weight memory.
 *
 * Handshake: while valid_o is high, pop_i takes a word, which is on word_o two cycles later, as from a memory. A word is
 * valid three cycles after the beat that completes it. start_i empties the ring and begins the stream anew.
 */
module espalier_weight_stream #(
  // Bytes of a beat, of a word, and words of the ring.
  parameter int BusBytes  = 8,
  parameter int WordBytes = 18,
  parameter int Depth     = 512,
  // Bits of an address; derived, do not override.
  parameter int AddrW     = $clog2(Depth)
) (
  input  wire logic                   clk_i,
  input  wire logic                   rst_ni,

  // stream, see espalier_fetch
  input  wire logic                   start_i,
  input  wire logic [63:0]            base_i,
  input  wire logic [31:0]            beats_i,
  output logic                        error_o,

  // AXI4 read address and data channels
  output logic                        ar_valid_o,
  input  wire logic                   ar_ready_i,
  output logic [63:0]                 ar_addr_o,
  output logic [7:0]                  ar_len_o,
  input  wire logic                   r_valid_i,
  output logic                        r_ready_o,
  input  wire logic [8*BusBytes-1:0]  r_data_i,
  input  wire logic [1:0]             r_resp_i,

  // words
  output logic                        valid_o,
  input  wire logic                   pop_i,
  output logic [8*WordBytes-1:0]      word_o
);

  localparam int               CountW   = $clog2(Depth + 1);
  localparam logic [AddrW-1:0] LastWord = AddrW'(Depth - 1);

  logic                   push;
  logic [8*WordBytes-1:0] push_word;
  logic [AddrW-1:0]       wr_ptr_q, rd_ptr_q;
  logic [CountW-1:0]      count_d, count_q;
  logic                   valid_q;

  espalier_fetch #(
    .BusBytes  (BusBytes),
    .WordBytes (WordBytes),
    .Depth     (Depth),
    .BurstBeats(espalier_pkg::BURST_BEATS)
  ) u_fetch (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .start_i     (start_i),
    .base_i      (base_i),
    .beats_i     (beats_i),
    .ar_valid_o  (ar_valid_o),
    .ar_ready_i  (ar_ready_i),
    .ar_addr_o   (ar_addr_o),
    .ar_len_o    (ar_len_o),
    .r_valid_i   (r_valid_i),
    .r_ready_o   (r_ready_o),
    .r_data_i    (r_data_i),
    .r_resp_i    (r_resp_i),
    .word_valid_o(push),
    .word_o      (push_word),
    .free_i      (pop_i),
    .error_o     (error_o)
  );

  espalier_ram #(
    .Width(8 * WordBytes),
    .Depth(Depth)
  ) u_ring (
    .clk_i    (clk_i),
    .wr_en_i  (push),
    .wr_addr_i(wr_ptr_q),
    .wr_data_i(push_word),
    .rd_en_i  (pop_i),
    .rd_addr_i(rd_ptr_q),
    .rd_data_o(word_o)
  );

  assign valid_o = valid_q;

  always_comb begin
    count_d = count_q;
    if (push && !pop_i) count_d = count_q + CountW'(1);
    if (pop_i && !push) count_d = count_q - CountW'(1);
    if (start_i) count_d = '0;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      wr_ptr_q <= '0;
      rd_ptr_q <= '0;
    end else begin
      if (push) wr_ptr_q <= wr_ptr_q == LastWord ? '0 : wr_ptr_q + AddrW'(1);
      if (pop_i) rd_ptr_q <= rd_ptr_q == LastWord ? '0 : rd_ptr_q + AddrW'(1);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      valid_q <= 1'b0;
    end else begin
      count_q <= count_d;
      valid_q <= count_d != '0;
    end
  end

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(pop_i && !valid_q)) else $error("word taken from an empty ring");
      assert (!(push && count_q == CountW'(Depth))) else $error("ring overflow");
    end
  end
`endif

endmodule

`default_nettype wire
