// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Requantization of one column: q = clamp(round_half_even((pool(acc) + bias) / 2^shift) + zero_point, lo, hi).
 *
 * The maximum or sum over a pooling window is taken first; the maximum commutes with the rest, which is
 * monotonic. Stages, counted from the drain's operation (stage 0): acc_i at 4, pool 5, bias 6, shift by
 * bytes 7, shift by bits 8, rounding decision and saturation to 10 bits 9, zero point 10, clamp 11 (q_o).
 *
 * With States a result may be wide: m = clamp(round_half_even((acc + bias) / 2^shift) + 128, -2^15, 2^15 - 1), of which
 * q_o is either of two digits in -128..127, m = 256 * high + low + 128. The same stages work with 17 bits then.
 *
 * Bias and shift of the next instruction are collected byte by byte in `next` registers and move into the
 * stages with the first operation of that instruction (bias_take_i at stage 4, shift_take_i at stage 5), so
 * that two drains may follow each other without a gap.
 */
module espalier_requant #(
  // Bits of an accumulator, at most 32.
  parameter int AccW = 32,
  // 1 = results may be wide.
  parameter int States = 0
) (
  input  wire logic                   clk_i,

  // parameter words: byte `param_index_i` of the bias, or the shift if it is 4
  input  wire logic                   param_valid_i,
  input  wire logic [2:0]             param_index_i,
  input  wire logic [7:0]             param_i,
  input  wire logic                   bias_take_i,
  input  wire logic                   shift_take_i,

  // accumulator and what to do with it: start a window, continue its maximum or sum, or keep the result
  input  wire logic signed [AccW-1:0] acc_i,
  input  wire logic                   load_i,
  input  wire logic                   max_i,
  input  wire logic                   add_i,

  // output range, valid at the stages that use it; wide results have the zero point 128
  input  wire logic signed [8:0]      zero_point_i,
  input  wire logic signed [7:0]      lo_i,
  input  wire logic signed [7:0]      hi_i,

  // stage 11 gives a digit of a wide result, the low one
  input  wire logic                   wide_i,
  input  wire logic                   low_i,
  output logic [7:0]                  q_o
);

  logic signed [31:0] bias_next_q, bias_q;
  logic [4:0]         shift_next_q, shift_q;

  always_ff @(posedge clk_i) begin
    if (param_valid_i) begin
      if (param_index_i == 3'd0) bias_next_q[7:0]   <= param_i;
      if (param_index_i == 3'd1) bias_next_q[15:8]  <= param_i;
      if (param_index_i == 3'd2) bias_next_q[23:16] <= param_i;
      if (param_index_i == 3'd3) bias_next_q[31:24] <= param_i;
      if (param_index_i == 3'd4) shift_next_q       <= param_i[4:0];
    end
    if (bias_take_i) bias_q <= bias_next_q;
    if (shift_take_i) shift_q <= shift_next_q;
  end

  // Values with two more bits below: the last bit shifted out, and whether any before it was set.
  logic signed [AccW-1:0] pool_q;
  logic signed [31:0]     biased_q;
  logic signed [33:0]     bytes_q;
  logic [2:0]             bits_q;
  logic signed [33:0]     shifted_q;

  // Shifts right by 8, 16 or 24 and by 0..7; the lowest bit collects whatever falls out.
  function automatic logic [33:0] shift_bytes(input logic signed [31:0] value, input logic [1:0] count);
    case (count)
      2'd1: shift_bytes = {{8{value[31]}}, value[31:8], value[7], |value[6:0]};
      2'd2: shift_bytes = {{16{value[31]}}, value[31:16], value[15], |value[14:0]};
      2'd3: shift_bytes = {{24{value[31]}}, value[31:24], value[23], |value[22:0]};
      default: shift_bytes = {value, 2'b00};
    endcase
  endfunction

  function automatic logic [33:0] shift_bits(input logic signed [33:0] value, input logic [2:0] count);
    case (count)
      3'd1: shift_bits = {{1{value[33]}}, value[33:2], |value[1:0]};
      3'd2: shift_bits = {{2{value[33]}}, value[33:3], |value[2:0]};
      3'd3: shift_bits = {{3{value[33]}}, value[33:4], |value[3:0]};
      3'd4: shift_bits = {{4{value[33]}}, value[33:5], |value[4:0]};
      3'd5: shift_bits = {{5{value[33]}}, value[33:6], |value[5:0]};
      3'd6: shift_bits = {{6{value[33]}}, value[33:7], |value[6:0]};
      3'd7: shift_bits = {{7{value[33]}}, value[33:8], |value[7:0]};
      default: shift_bits = value;
    endcase
  endfunction

  always_ff @(posedge clk_i) begin
    if (add_i) pool_q <= pool_q + acc_i;
    else if (load_i || (max_i && acc_i > pool_q)) pool_q <= acc_i;
    biased_q  <= 32'(pool_q) + bias_q;
    bytes_q   <= shift_bytes(biased_q, shift_q[4:3]);
    bits_q    <= shift_q[2:0];
    shifted_q <= shift_bits(bytes_q, bits_q);
  end

  // Ten bits, or 17, decide every clamp: beyond +-512, or +-65536, no zero point brings the value back into range.
  localparam int ShortW = States != 0 ? 17 : 10;
  logic                     fits;
  logic signed [ShortW-1:0] short_q;
  logic                     round_q;
  logic signed [ShortW:0]   moved_q;
  logic [7:0]               narrow;

  assign fits = shifted_q[33:ShortW+1] == {(33-ShortW){shifted_q[33]}};

  assign narrow = moved_q < (ShortW+1)'(lo_i) ? lo_i : moved_q > (ShortW+1)'(hi_i) ? hi_i : moved_q[7:0];

  always_ff @(posedge clk_i) begin
    short_q <= fits ? shifted_q[ShortW+1:2] : {shifted_q[33], {(ShortW-1){!shifted_q[33]}}};
    round_q <= fits && shifted_q[1] && (shifted_q[0] || shifted_q[2]);
    moved_q <= (ShortW+1)'(short_q) + (ShortW+1)'(zero_point_i) + {{ShortW{1'b0}}, round_q};
  end

  if (States != 0) begin : gen_wide
    logic        beyond;
    logic [15:0] wide;
    assign beyond = moved_q[17:15] != {3{moved_q[17]}};
    assign wide   = beyond ? {moved_q[17], {15{!moved_q[17]}}} : moved_q[15:0];
    // The low byte counts from 0, its digit from -128.
    always_ff @(posedge clk_i) begin
      if (!wide_i) q_o <= narrow;
      else if (low_i) q_o <= {!wide[7], wide[6:0]};
      else q_o <= wide[15:8];
    end
  end else begin : gen_narrow
    always_ff @(posedge clk_i) q_o <= narrow;
    logic unused_wide;
    assign unused_wide = wide_i ^ low_i;
  end

endmodule

`default_nettype wire
