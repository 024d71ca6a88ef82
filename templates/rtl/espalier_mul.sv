// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Product of two signed bytes out of adders, for arrays that have fewer hardware multipliers than columns.
 *
 * Written as sums of partial products, which no tool takes for a multiplier. Each of the first four sums takes
 * two bits of the multiplier b, bit 7 of which counts negative: p = a * (b0 + 2 b1 + .. + 64 b6 - 128 b7).
 */
module espalier_mul (
  input  wire logic signed [7:0]  a_i,
  input  wire logic signed [7:0]  b_i,
  output logic signed [15:0]      p_o
);

  // a where bit k of b is set, once for even and once for odd k (there twice as much).
  function automatic logic signed [9:0] even(input logic signed [7:0] a, input logic set);
    even = set ? {{2{a[7]}}, a} : '0;
  endfunction

  function automatic logic signed [9:0] odd(input logic signed [7:0] a, input logic set);
    odd = set ? {a[7], a, 1'b0} : '0;
  endfunction

  logic signed [9:0]  sum0, sum1, sum2, sum3;
  logic signed [12:0] low, high;

  assign sum0 = even(a_i, b_i[0]) + odd(a_i, b_i[1]);
  assign sum1 = even(a_i, b_i[2]) + odd(a_i, b_i[3]);
  assign sum2 = even(a_i, b_i[4]) + odd(a_i, b_i[5]);
  assign sum3 = even(a_i, b_i[6]) - odd(a_i, b_i[7]);
  assign low  = 13'(sum0) + 13'($signed({sum1, 2'b00}));
  assign high = 13'(sum2) + 13'($signed({sum3, 2'b00}));
  assign p_o  = 16'(low) + {high[11:0], 4'b0000};

  logic unused_sign;
  assign unused_sign = high[12];

endmodule

`default_nettype wire
