// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Accumulation steps on their way from the streamer to column 0.
 *
 * What belongs to a pixel is delayed; its number is not, but counted again at the end of the delay.
 *
 * Latency: Delay + 1 cycles.
 */
module espalier_steps #(
  // Cycles in front of the counter.
  parameter int Delay     = 13,
  // Bits of a pixel number.
  parameter int AccAddrW  = 10,
  // Arrays, see espalier_streamer.
  parameter int Clusters  = 1,
  // Bits of half a shift.
  parameter int ShiftW    = 2,
  // Whether there is a depthwise unit.
  parameter bit Depthwise = 1'b0
) (
  input  wire logic                clk_i,
  input  wire logic                rst_ni,

  // a pixel, valid for each cluster; whether it is the first one of its tile, and that tile the first one of the sum
  input  wire logic [Clusters-1:0] valid_i,
  input  wire logic                mark_i,
  input  wire logic                first_i,
  input  wire logic [ShiftW-1:0]   shift_i,
  input  wire logic                bank_i,
  input  wire logic                last_i,
  input  wire logic                depthwise_i,

  // the same, with the number of the pixel
  output logic [Clusters-1:0]      valid_o,
  output logic                     first_o,
  output logic [ShiftW-1:0]        shift_o,
  output logic                     bank_o,
  output logic                     last_o,
  output logic [AccAddrW-1:0]      addr_o,
  output logic                     depthwise_o
);

  logic [Delay-1:0]          mark_q, first_q, bank_q, last_q;
  logic [ShiftW*Delay-1:0]   shift_q;
  logic [Clusters*Delay-1:0] valid_q;
  logic [Clusters-1:0]       valid;

  assign valid = valid_q[Clusters*(Delay-1)+:Clusters];

  always_ff @(posedge clk_i) begin
    mark_q  <= {mark_q[Delay-2:0], mark_i};
    first_q <= {first_q[Delay-2:0], first_i};
    bank_q  <= {bank_q[Delay-2:0], bank_i};
    shift_q <= {shift_q[ShiftW*(Delay-1)-1:0], shift_i};
    shift_o <= shift_q[ShiftW*Delay-1-:ShiftW];
    first_o <= first_q[Delay-1];
    bank_o  <= bank_q[Delay-1];
    if (valid[0]) addr_o <= mark_q[Delay-1] ? '0 : addr_o + AccAddrW'(1);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
      last_q  <= '0;
      valid_o <= '0;
      last_o  <= 1'b0;
    end else begin
      valid_q <= {valid_q[Clusters*(Delay-1)-1:0], valid_i};
      last_q  <= {last_q[Delay-2:0], last_i};
      valid_o <= valid;
      last_o  <= last_q[Delay-1];
    end
  end

  if (Depthwise) begin : gen_depthwise
    logic [Delay-1:0] depthwise_q;
    always_ff @(posedge clk_i) begin
      depthwise_q <= {depthwise_q[Delay-2:0], depthwise_i};
      depthwise_o <= depthwise_q[Delay-1];
    end
  end else begin : gen_array_only
    assign depthwise_o = depthwise_i;
  end

endmodule

`default_nettype wire
