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
 * Column c delivers the partial sum of a pixel Rows + c + 1 cycles after act_i of row 0, however the products
 * are formed: the first HardCols columns by hardware multipliers, one for each element or, if Packed, one for
 * the elements of columns 2p and 2p + 1 of a row (espalier_pe_pair); the others by adders.
 */
module espalier_array #(
  // Rows of the array, 4..32.
  parameter int Rows = 8,
  // Columns of the array, 2..32.
  parameter int Cols = 8,
  // Bits of a partial sum.
  parameter int PsumW = 18,
  // Activations a row carries, 1 or 2.
  parameter int Combine = 1,
  // 1 = two columns share a multiplier; with Combine = 2 both then obey the select bit of the left one.
  parameter int Packed = 0,
  // Columns whose products take hardware multipliers; even if Packed.
  parameter int HardCols = Cols,
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
  // Bits of the weights of a pair with their select bit.
  localparam int PairW       = 16 + Combine;

  for (genvar c = 0; c < Cols; c++) begin : gen_skew
    localparam int Pair  = Packed != 0 && c < HardCols ? 1 : 0;
    localparam int WordW = Pair != 0 ? PairW : WeightW;

    if (Pair == 0 || c % 2 == 0) begin : gen_word
      logic [WordW-1:0]                 word;
      logic [WordW*(WeightDelay+c)-1:0] delay_q;

      if (Pair != 0) begin : gen_pair
        // Both weights as the lower and the upper part of one factor, see espalier_pe_pair.
        logic signed [7:0] low, high;
        assign low        = weight_i[WeightW*c+:8];
        assign high       = weight_i[WeightW*(c+1)+:8];
        assign word[16:0] = {9'(high) - {8'b0, low[7]}, low};
        if (Combine > 1) begin : gen_select
          assign word[WordW-1] = weight_i[WeightW*c+8];
        end
      end else begin : gen_single
        assign word = weight_i[WeightW*c+:WeightW];
      end

      always_ff @(posedge clk_i) begin
        delay_q <= {delay_q[WordW*(WeightDelay+c-1)-1:0], word};
      end
    end else begin : gen_right
      if (Combine > 1) begin : gen_unused_select
        logic unused_select;
        assign unused_select = weight_i[WeightW*c+8];
      end
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    for (genvar c = 0; c < Cols; c++) begin : gen_col
      localparam int Pair  = Packed != 0 && c < HardCols ? 1 : 0;
      localparam int Right = Pair != 0 && c % 2 != 0 ? 1 : 0;
      localparam int WordW = Pair != 0 ? PairW : WeightW;

      // What leaves to the right and downwards; the right half of a pair repeats what the left half sends.
      logic [8*Combine-1:0]    act_out;
      logic                    swap_out, load_out;
      logic [WordW-1:0]        weight_out;
      logic signed [PsumW-1:0] psum_in, psum_out;

      if (r == 0) begin : gen_top
        assign psum_in = '0;
      end else begin : gen_below
        assign psum_in = gen_row[r-1].gen_col[c].psum_out;
      end

      if (Right != 0) begin : gen_right
        assign act_out    = gen_row[r].gen_col[c-1].act_out;
        assign swap_out   = gen_row[r].gen_col[c-1].swap_out;
        assign load_out   = gen_row[r].gen_col[c-1].load_out;
        assign weight_out = '0;
        assign psum_out   = gen_row[r].gen_col[c-1].gen_element.gen_pair.high_out;
      end else begin : gen_element
        logic [8*Combine-1:0] act_in;
        logic                 swap_in, load_in;
        logic [WordW-1:0]     weight_in;

        if (c == 0) begin : gen_first
          assign act_in  = act_i[8*Combine*r+:8*Combine];
          assign swap_in = swap_i[r];
          assign load_in = load_i[r];
        end else begin : gen_inner
          assign act_in  = gen_row[r].gen_col[c-1].act_out;
          assign swap_in = gen_row[r].gen_col[c-1].swap_out;
          assign load_in = gen_row[r].gen_col[c-1].load_out;
        end

        if (r == 0) begin : gen_first_row
          assign weight_in = gen_skew[c].gen_word.delay_q[WordW*(WeightDelay+c-1)+:WordW];
        end else begin : gen_next_row
          assign weight_in = gen_row[r-1].gen_col[c].weight_out;
        end

        if (Pair != 0) begin : gen_pair
          logic signed [PsumW-1:0] high_out;

          espalier_pe_pair #(
            .PsumW  (PsumW),
            .Combine(Combine)
          ) u_pair (
            .clk_i   (clk_i),
            .act_i   (act_in),
            .act_o   (act_out),
            .swap_i  (swap_in),
            .swap_o  (swap_out),
            .load_i  (load_in),
            .load_o  (load_out),
            .weight_i(weight_in),
            .weight_o(weight_out),
            .low_i   (psum_in),
            .low_o   (psum_out),
            .high_i  (gen_row[r].gen_col[c+1].psum_in),
            .high_o  (high_out)
          );
        end else begin : gen_single
          espalier_pe #(
            .PsumW  (PsumW),
            .Combine(Combine),
            .Soft   (c < HardCols ? 0 : 1)
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
        end
      end

      if (r == Rows - 1) begin : gen_bottom
        logic unused_weight;
        assign unused_weight = ^weight_out;
        if (Right != 0) begin : gen_late
          // The right half of a pair works a cycle before a column of its own would.
          logic [PsumW-1:0] late_q;
          always_ff @(posedge clk_i) late_q <= psum_out;
          assign psum_o[PsumW*c+:PsumW] = late_q;
        end else begin : gen_direct
          assign psum_o[PsumW*c+:PsumW] = psum_out;
        end
      end else if (Right != 0) begin : gen_no_weight
        logic unused_weight;
        assign unused_weight = ^weight_out;
      end
      if (c == Cols - 1) begin : gen_end
        logic unused_right;
        assign unused_right = ^{act_out, swap_out, load_out};
      end
    end
  end

endmodule

`default_nettype wire
