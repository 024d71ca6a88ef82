// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Tables of write-back: every column looks its result up in 256 entries of its own.
 *
 * Two banks: entries for a later instruction are written to the one that results do not pass. Entries come one a
 * cycle, 0 first: own_i = 1: byte c of the weight word is that of column c; own_i = 0: the bytes of a word are
 * consecutive entries of all columns, from the lowest on; fresh_i marks the cycle of a new word.
 *
 * Latency: two cycles, for results that pass the table (use_i) and for those that do not.
 */
module espalier_table #(
  // Columns of the array.
  parameter int Cols = 8
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,       // for the assertion only

  // entries
  input  wire logic              entry_valid_i,
  input  wire logic              entry_bank_i,
  input  wire logic [7:0]        entry_index_i,
  input  wire logic              entry_own_i,
  input  wire logic              entry_fresh_i,
  input  wire logic [8*Cols-1:0] word_i,

  // results
  input  wire logic              valid_i,
  input  wire logic              use_i,
  input  wire logic              bank_i,
  input  wire logic [8*Cols-1:0] q_i,
  output logic [8*Cols-1:0]      q_o
);

  // Bytes of the newest word that are entries of later cycles.
  logic [8*Cols-1:0] rest, rest_q;
  logic [8*Cols-1:0] plain1_q, plain2_q;
  logic              use1_q, use2_q;

  assign rest = entry_fresh_i ? word_i : rest_q;

  always_ff @(posedge clk_i) begin
    rest_q   <= rest >> 8;
    plain1_q <= q_i;
    plain2_q <= plain1_q;
    use1_q   <= use_i;
    use2_q   <= use1_q;
  end

  for (genvar c = 0; c < Cols; c++) begin : gen_column
    logic [7:0] looked_up;

    // Entry p stands for the integer p - 128, whose upper bit is inverted.
    espalier_ram #(
      .Width(8),
      .Depth(512)
    ) u_ram (
      .clk_i    (clk_i),
      .wr_en_i  (entry_valid_i),
      .wr_addr_i({entry_bank_i, entry_index_i}),
      .wr_data_i(entry_own_i ? word_i[8*c+:8] : rest[7:0]),
      .rd_en_i  (1'b1),
      .rd_addr_i({bank_i, !q_i[8*c+7], q_i[8*c+:7]}),
      .rd_data_o(looked_up)
    );

    assign q_o[8*c+:8] = use2_q ? looked_up : plain2_q[8*c+:8];
  end

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni && entry_valid_i && valid_i && use_i) begin
      assert (entry_bank_i != bank_i) else $error("a table is overwritten that results still pass");
    end
  end
`endif

endmodule

`default_nettype wire
