// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * One processing element of the weight-stationary array: psum_o = psum_i + act_i * weight.
 *
 * Activations and the swap mark move right, partial sums and weights on their way to a row move down, one
 * element a cycle. The swap mark of a tile arrives one cycle before the tile's first activation, so the
 * weight changes exactly between the two tiles. A weight is captured while load_i is high; the shadow
 * register keeps it until the next swap. With Combine = 2 the row carries two activations, and the top bit of
 * the weight selects the one to multiply.
 *
 * Nothing is reset: stale marks leave the array ahead of the first tile, and a multiplier without reset
 * can take all of these registers into the DSP block.
 */
module espalier_pe #(
  // Bits of a partial sum: 15 + clog2(rows) cannot overflow with weights in -127..127.
  parameter int PsumW   = 18,
  // Activations a row carries, 1 or 2.
  parameter int Combine = 1,
  // 0 = the tool takes a hardware multiplier, 1 = adders (espalier_mul).
  parameter int Soft    = 0,
  // Bits of a weight with its select bit; derived, do not override.
  parameter int WeightW = 7 + Combine
) (
  input  wire logic                     clk_i,

  // activation stream, to the right
  input  wire logic [8*Combine-1:0]     act_i,
  output logic [8*Combine-1:0]          act_o,
  input  wire logic                     swap_i,
  output logic                          swap_o,

  // weight load: the word moves down, its capture mark to the right
  input  wire logic                     load_i,
  output logic                          load_o,
  input  wire logic [WeightW-1:0]       weight_i,
  output logic [WeightW-1:0]            weight_o,

  // partial sum, downwards
  input  wire logic signed [PsumW-1:0]  psum_i,
  output logic signed [PsumW-1:0]       psum_o
);

  logic [WeightW-1:0] shadow_q;
  logic [WeightW-1:0] weight_q;
  logic signed [15:0] product_q;
  logic signed [7:0]  operand;
  logic signed [7:0]  factor;
  logic signed [15:0] product;

  assign factor = weight_q[7:0];
  if (Combine > 1) begin : gen_select
    assign operand = weight_q[8] ? act_i[15:8] : act_i[7:0];
  end else begin : gen_single
    assign operand = act_i;
  end

  if (Soft != 0) begin : gen_soft
    espalier_mul u_mul (
      .a_i(operand),
      .b_i(factor),
      .p_o(product)
    );
  end else begin : gen_hard
    assign product = operand * factor;
  end

  always_ff @(posedge clk_i) begin
    act_o     <= act_i;
    swap_o    <= swap_i;
    load_o    <= load_i;
    weight_o  <= weight_i;
    if (load_i) shadow_q <= weight_i;
    if (swap_i) weight_q <= shadow_q;
    product_q <= product;
    psum_o    <= psum_i + PsumW'(product_q);
  end

endmodule

`default_nettype wire
