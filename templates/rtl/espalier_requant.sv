// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Requantization of one column: q = clamp(round_half_even((max(acc) + bias) / 2^shift) + zero_point, lo, hi).
 *
 * The maximum over a pooling window is taken first; it commutes with the rest, which is monotonic. Stages,
 * counted from the drain's operation (stage 0): acc_i at 4, maximum 5, bias 6, shift by bytes 7, shift by
 * bits 8, rounding decision and saturation to 10 bits 9, zero point 10, clamp 11 (q_o).
 *
 * Bias and shift of the next instruction are collected byte by byte in `next` registers and move into the
 * stages with the first operation of that instruction (bias_take_i at stage 4, shift_take_i at stage 5), so
 * that two drains may follow each other without a gap.
 */
module espalier_requant #(
  // Bits of an accumulator, at most 32.
  parameter int AccW = 32
) (
  input  wire logic                   clk_i,

  // parameter words: byte `param_index_i` of the bias, or the shift if it is 4
  input  wire logic                   param_valid_i,
  input  wire logic [2:0]             param_index_i,
  input  wire logic [7:0]             param_i,
  input  wire logic                   bias_take_i,
  input  wire logic                   shift_take_i,

  // accumulator and what to do with it: start a window, continue it, or keep the result (neither)
  input  wire logic signed [AccW-1:0] acc_i,
  input  wire logic                   load_i,
  input  wire logic                   max_i,

  // output range, valid at the stages that use it
  input  wire logic signed [7:0]      zero_point_i,
  input  wire logic signed [7:0]      lo_i,
  input  wire logic signed [7:0]      hi_i,
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
  logic signed [AccW-1:0] max_q;
  logic signed [31:0]     biased_q;
  logic signed [33:0]     bytes_d, bytes_q;
  logic [2:0]             bits_q;
  logic signed [33:0]     shifted_d, shifted_q;
  logic signed [9:0]      short_q;
  logic                   round_q;
  logic signed [10:0]     moved_q;

  always_comb begin
    bytes_d = {biased_q, 2'b00};
    unique case (shift_q[4:3])
      2'd1: bytes_d = {{8{biased_q[31]}}, biased_q[31:8], biased_q[7], |biased_q[6:0]};
      2'd2: bytes_d = {{16{biased_q[31]}}, biased_q[31:16], biased_q[15], |biased_q[14:0]};
      2'd3: bytes_d = {{24{biased_q[31]}}, biased_q[31:24], biased_q[23], |biased_q[22:0]};
      default: bytes_d = {biased_q, 2'b00};
    endcase
  end

  always_comb begin
    shifted_d = bytes_q;
    unique case (bits_q)
      3'd1: shifted_d = {{1{bytes_q[33]}}, bytes_q[33:2], |bytes_q[1:0]};
      3'd2: shifted_d = {{2{bytes_q[33]}}, bytes_q[33:3], |bytes_q[2:0]};
      3'd3: shifted_d = {{3{bytes_q[33]}}, bytes_q[33:4], |bytes_q[3:0]};
      3'd4: shifted_d = {{4{bytes_q[33]}}, bytes_q[33:5], |bytes_q[4:0]};
      3'd5: shifted_d = {{5{bytes_q[33]}}, bytes_q[33:6], |bytes_q[5:0]};
      3'd6: shifted_d = {{6{bytes_q[33]}}, bytes_q[33:7], |bytes_q[6:0]};
      3'd7: shifted_d = {{7{bytes_q[33]}}, bytes_q[33:8], |bytes_q[7:0]};
      default: shifted_d = bytes_q;
    endcase
  end

  // Ten bits decide every clamp: beyond +-512 no zero point brings the value back into range.
  logic fits;
  assign fits = shifted_q[33:11] == {23{shifted_q[33]}};

  always_ff @(posedge clk_i) begin
    if (load_i || (max_i && acc_i > max_q)) max_q <= acc_i;
    biased_q  <= 32'(max_q) + bias_q;
    bytes_q   <= bytes_d;
    bits_q    <= shift_q[2:0];
    shifted_q <= shifted_d;
    short_q   <= fits ? shifted_q[11:2] : {shifted_q[33], {9{!shifted_q[33]}}};
    round_q   <= fits && shifted_q[1] && (shifted_q[0] || shifted_q[2]);
    moved_q   <= 11'(short_q) + 11'(zero_point_i) + {10'b0, round_q};
    if (moved_q < 11'(lo_i)) q_o <= lo_i;
    else if (moved_q > 11'(hi_i)) q_o <= hi_i;
    else q_o <= moved_q[7:0];
  end

endmodule

`default_nettype wire
