// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Operations of a drain, one a cycle: for every output its window (window x is innermost), then its chunks, row by row.
 *
 * Pooling windows read neighbouring accumulators, since pixels are numbered in this order. Row y of the outputs lies in
 * cluster y modulo Clusters, where the next of its own follows.
 *
 * Handshake: start_i loads the operands of an instruction, while nothing is busy or together with last_o; the outputs
 * belong to the operation of this cycle.
 */
module espalier_outputs #(
  // Bits of a pixel number.
  parameter int AccAddrW = 10,
  // Arrays that share the rows of the outputs, see espalier_streamer.
  parameter int Clusters = 1,
  // Bits of a cluster's number.
  parameter int ClusterW = 1
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,

  input  wire logic          start_i,

  // operands: iterations, first address and rotation, steps
  input  wire logic [3:0]    win_x_i,
  input  wire logic [3:0]    win_y_i,
  input  wire logic [3:0]    chunks_m1_i,
  input  wire logic [11:0]   nx_i,
  input  wire logic [11:0]   ny_i,
  input  wire logic [15:0]   base_i,
  input  wire logic [3:0]    step_x_i,
  input  wire logic [15:0]   step_y_i,
  input  wire logic [15:0]   step_chunk_i,
  input  wire logic [6:0]    rot_i,
  input  wire logic [6:0]    rot_step_i,

  // an operation; the last one of an instruction
  output logic               busy_o,
  output logic               last_o,

  // accumulator that it reads, in its cluster; only with the first chunk, first of its window
  output logic [AccAddrW-1:0] pixel_o,
  output logic [ClusterW-1:0] cluster_o,
  output logic               chunk_first_o,
  output logic               win_first_o,

  // what it writes, with the last one of the window
  output logic               write_o,
  output logic [15:0]        addr_o,
  output logic [6:0]         rot_o
);

  logic        busy_d, busy_q;
  logic        win_last, output_end;
  logic [3:0]  wx_d, wx_q, wy_d, wy_q, chunk_d, chunk_q;
  logic        wx_last_d, wx_last_q, wy_last_d, wy_last_q, chunk_last_d, chunk_last_q;
  logic        chunk_first_d, chunk_first_q, win_first_d, win_first_q;
  logic [11:0] x_d, x_q, y_d, y_q;
  logic        x_last_d, x_last_q, y_last_d, y_last_q;
  logic [15:0] addr_d, addr_q, cell_d, cell_q, row_d, row_q;
  logic [6:0]  rot_d, rot_q;
  logic [AccAddrW-1:0] pixel_d, pixel_q;
  logic [AccAddrW-1:0] next_pixel, row_pixel; // behind this output; of the first output of the row
  logic [ClusterW-1:0] cluster_q;
  logic [15:0] addr_next, cell_next, row_next;

  // operands; loop counts minus one
  logic [3:0]  win_x_m1_q, win_y_m1_q, chunks_m1_q;
  logic        win_x_one_q, win_y_one_q, chunks_one_q, nx_one_q;
  logic [11:0] nx_m1_q;
  logic [15:0] step_chunk_q, step_y_q;
  logic [3:0]  step_x_q;
  logic [6:0]  rot0_q, rot_step_q;

  assign win_last      = wx_last_q && wy_last_q;
  assign write_o       = busy_q && win_last;
  assign output_end    = write_o && chunk_last_q;
  assign last_o        = output_end && x_last_q && y_last_q;
  assign busy_o        = busy_q;
  assign pixel_o       = pixel_q;
  assign cluster_o     = cluster_q;
  assign chunk_first_o = chunk_first_q;
  assign win_first_o   = win_first_q;
  assign addr_o        = addr_q;
  assign rot_o         = rot_q;

  assign addr_next  = addr_q + step_chunk_q;
  assign cell_next  = cell_q + 16'(step_x_q);
  assign row_next   = row_q + step_y_q;
  assign next_pixel = chunk_first_q ? pixel_q + AccAddrW'(1) : pixel_q;

  if (Clusters > 1) begin : gen_clusters
    logic [AccAddrW-1:0] row_pixel_q;
    logic                last_cluster;
    assign last_cluster = cluster_q == ClusterW'(Clusters - 1);
    assign row_pixel    = last_cluster ? next_pixel : row_pixel_q;
    always_ff @(posedge clk_i) begin
      if (start_i) begin
        cluster_q   <= '0;
        row_pixel_q <= '0;
      end else if (output_end && x_last_q) begin
        cluster_q   <= cluster_q + ClusterW'(1);
        row_pixel_q <= row_pixel;
      end
    end
  end else begin : gen_alone
    assign row_pixel = next_pixel;
    assign cluster_q = '0;
  end

  always_comb begin
    busy_d        = busy_q;
    wx_d          = wx_q;
    wx_last_d     = wx_last_q;
    wy_d          = wy_q;
    wy_last_d     = wy_last_q;
    win_first_d   = win_first_q;
    chunk_d       = chunk_q;
    chunk_last_d  = chunk_last_q;
    chunk_first_d = chunk_first_q;
    x_d           = x_q;
    x_last_d      = x_last_q;
    y_d           = y_q;
    y_last_d      = y_last_q;
    addr_d        = addr_q;
    cell_d        = cell_q;
    row_d         = row_q;
    rot_d         = rot_q;
    pixel_d       = pixel_q;

    if (busy_q) begin
      pixel_d = next_pixel;
      if (!win_last) begin
        win_first_d = 1'b0;
        wx_d        = wx_q - 4'd1;
        wx_last_d   = wx_q == 4'd1;
        if (wx_last_q) begin
          wx_d      = win_x_m1_q;
          wx_last_d = win_x_one_q;
          wy_d      = wy_q - 4'd1;
          wy_last_d = wy_q == 4'd1;
        end
      end else if (!chunk_last_q) begin
        chunk_first_d = 1'b0;
        chunk_d       = chunk_q - 4'd1;
        chunk_last_d  = chunk_q == 4'd1;
        addr_d        = addr_next;
        rot_d         = rot_q + rot_step_q;
      end else begin
        win_first_d   = 1'b1;
        wx_d          = win_x_m1_q;
        wx_last_d     = win_x_one_q;
        wy_d          = win_y_m1_q;
        wy_last_d     = win_y_one_q;
        chunk_first_d = 1'b1;
        chunk_d       = chunks_m1_q;
        chunk_last_d  = chunks_one_q;
        rot_d         = rot0_q;
        x_d           = x_q - 12'd1;
        x_last_d      = x_q == 12'd1;
        addr_d        = cell_next;
        cell_d        = cell_next;
        if (x_last_q) begin
          x_d      = nx_m1_q;
          x_last_d = nx_one_q;
          y_d      = y_q - 12'd1;
          y_last_d = y_q == 12'd1;
          addr_d   = row_next;
          cell_d   = row_next;
          row_d    = row_next;
          pixel_d  = row_pixel;
          if (y_last_q) busy_d = 1'b0;
        end
      end
    end

    if (start_i) begin
      busy_d        = 1'b1;
      win_first_d   = 1'b1;
      wx_d          = win_x_i - 4'd1;
      wx_last_d     = win_x_i == 4'd1;
      wy_d          = win_y_i - 4'd1;
      wy_last_d     = win_y_i == 4'd1;
      chunk_first_d = 1'b1;
      chunk_d       = chunks_m1_i;
      chunk_last_d  = chunks_m1_i == 4'd0;
      x_d           = nx_i - 12'd1;
      x_last_d      = nx_i == 12'd1;
      y_d           = ny_i - 12'd1;
      y_last_d      = ny_i == 12'd1;
      addr_d        = base_i;
      cell_d        = base_i;
      row_d         = base_i;
      rot_d         = rot_i;
      pixel_d       = '0;
    end
  end

  always_ff @(posedge clk_i) begin
    wx_q          <= wx_d;
    wx_last_q     <= wx_last_d;
    wy_q          <= wy_d;
    wy_last_q     <= wy_last_d;
    win_first_q   <= win_first_d;
    chunk_q       <= chunk_d;
    chunk_last_q  <= chunk_last_d;
    chunk_first_q <= chunk_first_d;
    x_q           <= x_d;
    x_last_q      <= x_last_d;
    y_q           <= y_d;
    y_last_q      <= y_last_d;
    addr_q        <= addr_d;
    cell_q        <= cell_d;
    row_q         <= row_d;
    rot_q         <= rot_d;
    pixel_q       <= pixel_d;
    if (start_i) begin
      win_x_m1_q   <= wx_d;
      win_x_one_q  <= wx_last_d;
      win_y_m1_q   <= wy_d;
      win_y_one_q  <= wy_last_d;
      chunks_m1_q  <= chunk_d;
      chunks_one_q <= chunk_last_d;
      nx_m1_q      <= x_d;
      nx_one_q     <= x_last_d;
      step_chunk_q <= step_chunk_i;
      step_y_q     <= step_y_i;
      step_x_q     <= step_x_i;
      rot0_q       <= rot_i;
      rot_step_q   <= rot_step_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= 1'b0;
    else         busy_q <= busy_d;
  end

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni && start_i) begin
      assert (!busy_q || last_o) else $error("drain started while busy");
    end
  end
`endif

endmodule

`default_nettype wire
