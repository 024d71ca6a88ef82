// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Which pixels of a walk are accumulated: all of them for the array, some for the depthwise unit.
 *
 * The unit's instructions walk runs of neighbouring bytes. Not accumulated are the first `lead` of a run, then all but one
 * of every `skip` + 1, and the `gap` behind a row of outputs. A run ends with an output.
 *
 * take_i loads the operands of an instruction, emit_i goes on to the next pixel; the outputs belong to the present one.
 */
module espalier_runs (
  input  wire logic        clk_i,

  input  wire logic        take_i,
  input  wire logic        emit_i,
  input  wire logic        row_end_i,
  input  wire logic        tile_end_i,

  // operands; outputs of a row
  input  wire logic        depthwise_i,
  input  wire logic [3:0]  lead_i,
  input  wire logic [3:0]  skip_i,
  input  wire logic [3:0]  gap_i,
  input  wire logic [11:0] width_i,

  // accumulated; as the first one of its tile; by the depthwise unit
  output logic             kept_o,
  output logic             kept_first_o,
  output logic             depthwise_o
);

  logic        depthwise_q;
  logic [3:0]  drop_d, drop_q;                // counts down to a pixel that is kept
  logic [3:0]  lead_q, skip_q, gap_q;
  logic [11:0] left_d, left_q, width_m1_q;    // outputs of the row after this one
  logic        fresh_d, fresh_q;              // no pixel of the tile was kept

  assign depthwise_o  = depthwise_q;
  assign kept_o       = !depthwise_q || drop_q == 4'd0;
  assign kept_first_o = kept_o && fresh_q;

  always_comb begin
    drop_d  = drop_q;
    left_d  = left_q;
    fresh_d = fresh_q;
    if (emit_i) begin
      drop_d = drop_q - 4'd1;
      if (kept_o) begin
        fresh_d = 1'b0;
        drop_d  = skip_q;
        left_d  = left_q - 12'd1;
        if (left_q == 12'd0) begin
          drop_d = gap_q;
          left_d = width_m1_q;
        end
      end
      if (row_end_i) begin
        drop_d = lead_q;
        left_d = width_m1_q;
      end
      if (tile_end_i) fresh_d = 1'b1;
    end
    if (take_i) begin
      drop_d  = lead_i;
      left_d  = width_i - 12'd1;
      fresh_d = 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    drop_q  <= drop_d;
    left_q  <= left_d;
    fresh_q <= fresh_d;
    if (take_i) begin
      depthwise_q <= depthwise_i;
      lead_q      <= lead_i;
      skip_q      <= skip_i;
      gap_q       <= gap_i;
      width_m1_q  <= left_d;
    end
  end

endmodule

`default_nettype wire
