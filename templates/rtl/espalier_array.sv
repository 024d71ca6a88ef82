// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Rows x Cols processing elements with the weight skew of their columns.
 *
 * Row r receives its activations r cycles after row 0 (the lanes do that). Weight words enter at the top
 * and move down one row a cycle; column c is delayed by c so that a word is captured in the same diagonal
 * order in which tiles are swapped. Row r of a tile is sent r cycles after row 0 and travels r cycles, and
 * the swap mark of the tile reaches row r only r cycles after row 0: hence a load may start in the very
 * cycle of the preceding swap, and a tile takes max(pixels, Rows) cycles.
 *
 * Column c delivers the partial sum of a pixel Rows + c + 1 cycles after act_i of row 0.
 */
module espalier_array #(
  // Rows of the array, 4..32.
  parameter int Rows = 8,
  // Columns of the array, 4..32.
  parameter int Cols = 8,
  // Bits of a partial sum.
  parameter int PsumW = 18,
  // Activations a row carries, 1 or 2.
  parameter int Combine = 1,
  // Bits of a weight with its select bit; derived, do not override.
  parameter int WeightW = 7 + Combine
) (
  input  wire logic                      clk_i,

  // per row: operands, and their swap and weight capture marks
  input  wire logic [8*Combine*Rows-1:0] act_i,
  input  wire logic [Rows-1:0]           swap_i,
  input  wire logic [Rows-1:0]           load_i,

  // per column: weight with its select bit as they leave the weight memory
  input  wire logic [WeightW*Cols-1:0]   weight_i,

  // per column: partial sum, column c delayed by c
  output logic [PsumW*Cols-1:0]          psum_o
);

  // Cycles between the weight word and the capture in row 0, column 0: the offset of a row acts on the lane
  // address, which is three cycles ahead of the swap mark (lane read and operand register).
  localparam int WeightDelay = 3;

  for (genvar c = 0; c < Cols; c++) begin : gen_skew
    logic [WeightW*(WeightDelay+c)-1:0] delay_q;

    always_ff @(posedge clk_i) begin
      delay_q <= {delay_q[WeightW*(WeightDelay+c-1)-1:0], weight_i[WeightW*c+:WeightW]};
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    for (genvar c = 0; c < Cols; c++) begin : gen_col
      logic [8*Combine-1:0]    act_in, act_out;
      logic [WeightW-1:0]      weight_in, weight_out;
      logic signed [PsumW-1:0] psum_in, psum_out;
      logic                    swap_in, swap_out;
      logic                    load_in, load_out;

      if (c == 0) begin : gen_left
        assign act_in  = act_i[8*Combine*r+:8*Combine];
        assign swap_in = swap_i[r];
        assign load_in = load_i[r];
      end else begin : gen_inner
        assign act_in  = gen_row[r].gen_col[c-1].act_out;
        assign swap_in = gen_row[r].gen_col[c-1].swap_out;
        assign load_in = gen_row[r].gen_col[c-1].load_out;
      end

      if (r == 0) begin : gen_top
        assign weight_in = gen_skew[c].delay_q[WeightW*(WeightDelay+c-1)+:WeightW];
        assign psum_in   = '0;
      end else begin : gen_below
        assign weight_in = gen_row[r-1].gen_col[c].weight_out;
        assign psum_in   = gen_row[r-1].gen_col[c].psum_out;
      end

      espalier_pe #(
        .PsumW  (PsumW),
        .Combine(Combine)
      ) u_pe (
        .clk_i   (clk_i),
        .act_i   (act_in),
        .act_o   (act_out),
        .swap_i  (swap_in),
        .swap_o  (swap_out),
        .load_i  (load_in),
        .load_o  (load_out),
        .weight_i(weight_in),
        .weight_o(weight_out),
        .psum_i  (psum_in),
        .psum_o  (psum_out)
      );

      if (r == Rows - 1) begin : gen_bottom
        logic unused_weight;
        assign unused_weight = ^weight_out;
        assign psum_o[PsumW*c+:PsumW] = psum_out;
      end
      if (c == Cols - 1) begin : gen_right
        logic unused_right;
        assign unused_right = ^{act_out, swap_out, load_out};
      end
    end
  end

endmodule

`default_nettype wire
