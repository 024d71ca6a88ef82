// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Requests of an AXI4 address channel, a burst at a time.
 *
 * A burst has BurstBeats beats, the first fewer if it does not begin at a multiple of its size and the last fewer at the
 * end: none crosses a boundary of its own size, hence none of 4 KiB. length_o and next_o belong to a burst at addr_i of a
 * run with left_i beats; take_i, only while room_o is high, requests it.
 *
 * Latency: a request leaves one cycle after take_i.
 */
module espalier_burst #(
  // Bytes of a beat, a power of two.
  parameter int BusBytes   = 8,
  // Beats of a burst, a power of two.
  parameter int BurstBeats = 16,
  // Bits of a number of beats.
  parameter int LeftW      = 32,
  // Bits of a length; derived, do not override.
  parameter int LenW       = $clog2(BurstBeats) + 1
) (
  input  wire logic             clk_i,
  input  wire logic             rst_ni,

  // next burst
  input  wire logic [63:0]      addr_i,
  input  wire logic [LeftW-1:0] left_i,
  input  wire logic             take_i,
  output logic                  room_o,
  output logic [LenW-1:0]       length_o,
  output logic [63:0]           next_o,

  // AXI4 address channel
  output logic                  valid_o,
  input  wire logic             ready_i,
  output logic [63:0]           addr_o,
  output logic [7:0]            len_o
);

  localparam int BeatW  = $clog2(BusBytes);
  localparam int BurstW = $clog2(BurstBeats);

  logic [LenW-1:0] to_boundary;

  assign to_boundary = LenW'(BurstBeats) - {1'b0, addr_i[BeatW+:BurstW]};
  assign length_o    = left_i < LeftW'(to_boundary) ? left_i[LenW-1:0] : to_boundary;
  assign next_o      = addr_i + {{(64 - BeatW - LenW) {1'b0}}, length_o, {BeatW{1'b0}}};
  assign room_o      = !valid_o || ready_i;

  always_ff @(posedge clk_i) begin
    if (take_i) begin
      addr_o <= addr_i;
      len_o  <= 8'(length_o) - 8'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else if (take_i) valid_o <= 1'b1;
    else if (ready_i) valid_o <= 1'b0;
  end

`ifndef SYNTHESIS
  logic        wait_q;
  logic [71:0] held_q;
  always @(posedge clk_i) begin
    wait_q <= rst_ni && valid_o && !ready_i;
    held_q <= {addr_o, len_o};
    if (rst_ni) begin
      assert (!(take_i && !room_o)) else $error("request without room");
      assert (wait_q !== 1'b1 || (valid_o && {addr_o, len_o} == held_q)) else $error("request changed while it waited");
      assert (!valid_o || (addr_o[11:0] + ((12'(len_o) + 12'd1) << BeatW) - 12'd1) >= addr_o[11:0])
      else $error("burst across 4 KiB");
    end
  end
`endif

endmodule

`default_nettype wire
