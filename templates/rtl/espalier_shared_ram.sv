// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Memory with a read port and a port that writes or reads back, both synchronous: true dual-port block RAM.
 *
 * Both reads take two cycles, as in espalier_ram, whose remarks on slices and on reading what is being written hold
 * here, too. wr_en_i and back_en_i are never high together.
 */
module espalier_shared_ram #(
  // Bits of one word.
  parameter int Width = 8,
  // Number of words.
  parameter int Depth = 1024,
  // Bits of an address; derived, do not override.
  parameter int AddrW = $clog2(Depth)
) (
  input  wire logic             clk_i,

  // shared port
  input  wire logic             wr_en_i,
  input  wire logic             back_en_i,
  input  wire logic [AddrW-1:0] wr_addr_i,
  input  wire logic [Width-1:0] wr_data_i,
  output logic [Width-1:0]      back_data_o,

  // read port
  input  wire logic             rd_en_i,
  input  wire logic [AddrW-1:0] rd_addr_i,
  output logic [Width-1:0]      rd_data_o
);

`ifdef SYNTHESIS
  // Blocks with two full ports have at most 18 bits.
  localparam int BlockW = Depth > 8192 ? 1 : Depth > 4096 ? 2 : Depth > 2048 ? 4 : Depth > 1024 ? 9 : 18;
  localparam int SliceW = BlockW < Width ? BlockW : Width;
`else
  localparam int SliceW = Width;
`endif
  localparam int Slices = (Width + SliceW - 1) / SliceW;

  for (genvar s = 0; s < Slices; s++) begin : gen_slice
    localparam int Low  = s * SliceW;
    localparam int Bits = Low + SliceW > Width ? Width - Low : SliceW;

    (* ram_style = "block", no_rw_check *)
    logic [Bits-1:0] memory [0:Depth-1];
    logic [Bits-1:0] word_q, out_q;
    logic [Bits-1:0] back_word_q, back_out_q;

`ifndef SYNTHESIS
    // Lanes without a channel are saved with the others, and bus models take no unknown values: neither of bytes that
    // nobody wrote, nor of products of weights that are zero.
    initial begin
      for (int i = 0; i < Depth; i++) memory[i] = '0;
      word_q = '0;
      out_q  = '0;
    end
`endif

    always_ff @(posedge clk_i) begin
      if (wr_en_i) memory[wr_addr_i] <= wr_data_i[Low+:Bits];
      else if (back_en_i) back_word_q <= memory[wr_addr_i];
      back_out_q <= back_word_q;
    end

    always_ff @(posedge clk_i) begin
      if (rd_en_i) word_q <= memory[rd_addr_i];
      out_q <= word_q;
    end

    assign rd_data_o[Low+:Bits]   = out_q;
    assign back_data_o[Low+:Bits] = back_out_q;
  end

endmodule

`default_nettype wire
