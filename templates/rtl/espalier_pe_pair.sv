// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Two processing elements of neighbouring columns that share one wide multiplier: an activation of a bytes
 * times high * 2^16 + low, which fits 25 x 18 bits (DSP48E1) and 27 x 18 bits (DSP48E2).
 *
 * The lower 16 bits of the product are act * low exactly; the upper 16 are act * high, less one if the lower
 * product is negative, which its sign bit gives back as the carry of the upper column's sum. Exact for all
 * bytes, also -128. The word that is loaded holds low in bits 7:0 and, in bits 16:8, high less one if low is
 * negative: the upper part of the factor as it is (espalier_array prepares it once for a column).
 *
 * Both columns work in the cycle of the left one; operands and marks leave two cycles later, so that the next
 * column finds them when it would behind two elements of its own. Otherwise as espalier_pe.
 */
module espalier_pe_pair #(
  // Bits of a partial sum: 15 + clog2(rows) cannot overflow with weights in -127..127.
  parameter int PsumW   = 18,
  // Activations a row carries, 1 or 2.
  parameter int Combine = 1,
  // Bits of a pair of weights with its select bit; derived, do not override.
  parameter int PairW   = 16 + Combine
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
  input  wire logic [PairW-1:0]         weight_i,
  output logic [PairW-1:0]              weight_o,

  // partial sums of the left (low) and the right (high) column, downwards
  input  wire logic signed [PsumW-1:0]  low_i,
  output logic signed [PsumW-1:0]       low_o,
  input  wire logic signed [PsumW-1:0]  high_i,
  output logic signed [PsumW-1:0]       high_o
);

  logic [PairW-1:0]     shadow_q;
  logic [PairW-1:0]     weight_q;
  logic signed [7:0]    operand;
  logic signed [24:0]   factor;
  logic signed [31:0]   product_q;
  logic [8*Combine-1:0] act_q;
  logic                 swap_q, load_q;
  logic [PsumW:0]       high_sum;

  assign factor = {weight_q[16:8], {8{weight_q[7]}}, weight_q[7:0]};
  if (Combine > 1) begin : gen_select
    assign operand = weight_q[17] ? act_i[15:8] : act_i[7:0];
  end else begin : gen_single
    assign operand = act_i;
  end

  // The lowest bit is the carry into the sum: 1 + product_q[15].
  assign high_sum = {high_i, 1'b1} + {PsumW'($signed(product_q[31:16])), product_q[15]};

  logic unused_carry;
  assign unused_carry = high_sum[0];

  always_ff @(posedge clk_i) begin
    act_q     <= act_i;
    act_o     <= act_q;
    swap_q    <= swap_i;
    swap_o    <= swap_q;
    load_q    <= load_i;
    load_o    <= load_q;
    weight_o  <= weight_i;
    if (load_i) shadow_q <= weight_i;
    if (swap_i) weight_q <= shadow_q;
    product_q <= 32'(operand) * 32'(factor);
    low_o     <= low_i + PsumW'($signed(product_q[15:0]));
    high_o    <= high_sum[PsumW:1];
  end

endmodule

`default_nettype wire
