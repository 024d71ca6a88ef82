// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Gates: computed factors of channels that the depthwise unit takes in the place of weights.
 *
 * A beat holds a factor for each lane. Beats come from the mover (a STORE with `gated`) and wait in a queue; the program
 * never sends more than it has room for. Of a gated tile, weights other than 0 are replaced by the factor of their row, in
 * the cycle in which they leave the weight memory; the last row of the tile takes the beat. What a program that ended
 * with an error left is dropped when the next one starts.
 */
module espalier_gates #(
  // Rows of the array = lanes.
  parameter int Rows  = 8,
  // Beats that wait.
  parameter int Depth = 16
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,

  // a program starts
  input  wire logic              start_i,

  // beats from the lanes
  input  wire logic              push_i,
  input  wire logic [8*Rows-1:0] data_i,

  // newest tap of the weight word that leaves the memory, and whether it belongs to a gated tile
  input  wire logic              valid_i,
  input  wire logic              gated_i,
  input  wire logic [4:0]        row_i,
  input  wire logic [7:0]        weight_i,
  output logic [7:0]             weight_o
);

  localparam logic [4:0] LastRow = 5'(Rows - 1);

  logic              there;
  logic              take;
  logic [8*Rows-1:0] factors;
  logic [7:0]        factor;

  assign take = valid_i && gated_i && row_i == LastRow;

  espalier_fifo #(
    .Width(8 * Rows),
    .AddrW($clog2(Depth))
  ) u_queue (
    .clk_i  (clk_i),
    .rst_ni (rst_ni && !start_i),
    .push_i (push_i),
    .data_i (data_i),
    .valid_o(there),
    .ready_i(take),
    .data_o (factors)
  );

  always_comb begin
    factor = '0;
    for (int r = 0; r < Rows; r++) begin
      if (row_i == 5'(r)) factor = factors[8*r+:8];
    end
  end

  assign weight_o = gated_i && weight_i != '0 ? factor : weight_i;

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni && valid_i && gated_i) begin
      assert (there) else $error("a gated tile without gates");
      assert (weight_i <= 8'd1) else $error("a gated weight is neither 0 nor 1");
    end
  end
`else
  logic unused_there;
  assign unused_there = there;
`endif

endmodule

`default_nettype wire
