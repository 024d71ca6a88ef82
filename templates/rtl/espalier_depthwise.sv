// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Depthwise unit: convolves the byte stream of every lane with Taps weights of its own, beside the array.
 *
 * The channel of lane c belongs to column c. The last Taps bytes of the lane stay in a shift register, so that
 * sum = weight[0] * x(t) + weight[1] * x(t-1) + ...: one pass computes Taps neighbouring taps of a kernel row.
 * Byte k of the weight word of row c is weight[k] of column c. Weights are loaded, kept in shadow registers and
 * swapped like those of the array's first column, from which the unit takes its marks.
 *
 * The sum takes the place of the array's partial sum, Rows + c + 1 cycles after act_i of lane 0: bytes, marks
 * and weights wait Rows - 1 cycles in shift registers, the product and the sum take one cycle each. Columns
 * without a lane get zero. What the shift register holds from before a run or a swap reaches sums that the
 * streamer does not accumulate.
 */
module espalier_depthwise #(
  // Rows of the array = lanes, 4..Cols.
  parameter int Rows  = 8,
  // Columns of the array.
  parameter int Cols  = 8,
  // Multipliers a lane, 2..8, at most Rows.
  parameter int Taps  = 3,
  // Bits of a partial sum.
  parameter int PsumW = 18
) (
  input  wire logic                  clk_i,

  // per lane: activation and its swap and weight capture marks, as the array gets them
  input  wire logic [8*Rows-1:0]     act_i,
  input  wire logic [Rows-1:0]       swap_i,
  input  wire logic [Rows-1:0]       load_i,

  // weights as they leave the weight memory
  input  wire logic [8*Taps-1:0]     weight_i,

  // accumulation step 0 belongs to an instruction of this unit
  input  wire logic                  depthwise_i,

  // partial sums of the array, and those to accumulate
  input  wire logic [PsumW*Cols-1:0] psum_i,
  output logic [PsumW*Cols-1:0]      psum_o
);

  // Cycles by which bytes and marks of a lane wait.
  localparam int Wait = Rows - 1;
  // Cycles by which weights wait for the capture mark of lane 0, which is three cycles behind them.
  localparam int WeightDelay = Wait + 3;

  // bit c + 1: the sum that meets the accumulator of column c is the unit's
  logic [Cols+1:0] depthwise_q;

  always_ff @(posedge clk_i) depthwise_q <= {depthwise_q[Cols:0], depthwise_i};

  logic [8*Taps*WeightDelay-1:0] weight_q;

  always_ff @(posedge clk_i) weight_q <= {weight_q[8*Taps*(WeightDelay-1)-1:0], weight_i};

  for (genvar c = 0; c < Cols; c++) begin : gen_column
    logic signed [PsumW-1:0] sum;

    assign psum_o[PsumW*c+:PsumW] = depthwise_q[c+1] ? sum : psum_i[PsumW*c+:PsumW];

    if (c < Rows) begin : gen_lane
      logic [8*Taps-1:0]       word_in, word_q;
      logic [8*Taps-1:0]       shadow_q, active_q;
      logic [8*Wait-1:0]       wait_act_q;
      logic [Wait-1:0]         wait_swap_q, wait_load_q;
      logic [8*Taps-1:0]       window;
      logic [8*(Taps-1)-1:0]   past_q;
      logic signed [PsumW-1:0] sum_q;

      if (c == 0) begin : gen_first
        assign word_in = weight_q[8*Taps*(WeightDelay-1)+:8*Taps];
      end else begin : gen_next
        assign word_in = gen_column[c-1].gen_lane.word_q;
      end

      // byte k is the activation k cycles ago
      assign window = {past_q, wait_act_q[8*(Wait-1)+:8]};

      always_ff @(posedge clk_i) begin
        word_q      <= word_in;
        wait_act_q  <= {wait_act_q[8*(Wait-1)-1:0], act_i[8*c+:8]};
        wait_swap_q <= {wait_swap_q[Wait-2:0], swap_i[c]};
        wait_load_q <= {wait_load_q[Wait-2:0], load_i[c]};
        if (wait_load_q[Wait-1]) shadow_q <= word_in;
        if (wait_swap_q[Wait-1]) active_q <= shadow_q;
        past_q      <= window[8*(Taps-1)-1:0];
      end

      for (genvar k = 0; k < Taps; k++) begin : gen_tap
        logic signed [7:0]       byte_in, weight;
        logic signed [15:0]      product_q;
        logic signed [PsumW-1:0] total;

        assign byte_in = window[8*k+:8];
        assign weight  = active_q[8*k+:8];
        always_ff @(posedge clk_i) product_q <= byte_in * weight;

        if (k == 0) begin : gen_first_tap
          assign total = PsumW'(product_q);
        end else begin : gen_next_tap
          assign total = gen_tap[k-1].total + PsumW'(product_q);
        end
      end

      // Behind its taps: Yosys knows only nets that were declared before.
      always_ff @(posedge clk_i) sum_q <= gen_tap[Taps-1].total;
      assign sum = sum_q;

      if (c == Rows - 1) begin : gen_last
        logic unused_word;
        assign unused_word = ^word_q;
      end
    end else begin : gen_idle
      assign sum = '0;
    end
  end

  logic unused_depthwise;
  assign unused_depthwise = ^depthwise_q;

`ifndef SYNTHESIS
  initial begin
    if (Rows > Cols) $fatal(1, "the depthwise unit wants Rows <= Cols");
    if (Taps < 2 || Taps > 8 || Taps > Rows) $fatal(1, "Taps must be 2..8 and at most Rows");
  end
`endif

endmodule

`default_nettype wire
