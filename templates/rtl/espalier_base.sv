// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Pixel base on its way from the streamer to lane 0 of each cluster.
 *
 * Two registers more than routing needs, so that the offsets of the next tile, whose load starts one cycle after the
 * swap, reach a row exactly when its swap has passed. On the way cluster k adds k rows, a power of two a register.
 *
 * Latency: three cycles.
 */
module espalier_base #(
  // Arrays that share the rows of the outputs: 1, 2, 4 or 8.
  parameter int Clusters = 1
) (
  input  wire logic                clk_i,
  input  wire logic                rst_ni,

  // bytes from row to row, of the instruction that is taken
  input  wire logic                take_i,
  input  wire logic [15:0]         step_y_i,

  // a pixel of the first cluster, valid for each; the first one of its tile
  input  wire logic [Clusters-1:0] valid_i,
  input  wire logic                mark_i,
  input  wire logic [15:0]         addr_i,

  output logic [Clusters-1:0]      valid_o,
  output logic                     mark_o,
  output logic [16*Clusters-1:0]   addr_o
);

  logic [Clusters-1:0] valid1_q, valid2_q;
  logic [1:0]          mark_q;

  always_ff @(posedge clk_i) begin
    mark_q <= {mark_q[0], mark_i};
    mark_o <= mark_q[1];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid1_q <= '0;
      valid2_q <= '0;
      valid_o  <= '0;
    end else begin
      valid1_q <= valid_i;
      valid2_q <= valid1_q;
      valid_o  <= valid2_q;
    end
  end

  if (Clusters > 1) begin : gen_rows
    logic [15:0] row_q, row1_q, row2_q;
    always_ff @(posedge clk_i) begin
      if (take_i) row_q <= step_y_i;
      row1_q <= row_q;
      row2_q <= row1_q;
    end
    for (genvar k = 0; k < Clusters; k++) begin : gen_base
      logic [15:0] addr1_q, addr2_q, addr3_q;
      always_ff @(posedge clk_i) begin
        addr1_q <= k % 2 != 0 ? addr_i + row_q : addr_i;
        addr2_q <= k / 2 % 2 != 0 ? addr1_q + {row1_q[14:0], 1'b0} : addr1_q;
        addr3_q <= k / 4 != 0 ? addr2_q + {row2_q[13:0], 2'b0} : addr2_q;
      end
      assign addr_o[16*k+:16] = addr3_q;
    end
    if (Clusters < 8) begin : gen_unused_row
      logic unused_row;
      assign unused_row = ^{row1_q, row2_q};
    end else begin : gen_unused_bits
      logic unused_bits;
      assign unused_bits = ^{row1_q[15], row2_q[15:14]};
    end
  end else begin : gen_row
    logic [15:0] addr1_q, addr2_q;
    always_ff @(posedge clk_i) begin
      addr1_q <= addr_i;
      addr2_q <= addr1_q;
      addr_o  <= addr2_q;
    end
    logic unused_step;
    assign unused_step = ^{take_i, step_y_i};
  end

endmodule

`default_nettype wire
