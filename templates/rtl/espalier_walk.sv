// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Walk over the pixels of an instruction, once per weight tile.
 *
 * Four nested loops (y, x, window y, window x; the last is innermost), each with a base address from which the next
 * iteration starts: one addition a cycle, no multiplication.
 *
 * Handshake: take_i loads the operands of an instruction, emit_i goes on to the next pixel; where both are high, take_i
 * counts. The outputs belong to the present pixel.
 */
module espalier_walk (
  input  wire logic        clk_i,

  input  wire logic        take_i,
  input  wire logic        emit_i,

  // operands: iterations of the loops, tiles, first address, steps
  input  wire logic [3:0]  win_x_i,
  input  wire logic [3:0]  win_y_i,
  input  wire logic [11:0] nx_i,
  input  wire logic [11:0] ny_i,
  input  wire logic [15:0] tiles_i,
  input  wire logic [15:0] base_i,
  input  wire logic [15:0] step_wx_i,
  input  wire logic [15:0] step_wy_i,
  input  wire logic [15:0] step_x_i,
  input  wire logic [15:0] step_y_i,

  // address; end of a row, in the last row; first pixel of a tile, in the last tile
  output logic [15:0]      addr_o,
  output logic             row_end_o,
  output logic             last_row_o,
  output logic             tile_start_o,
  output logic             last_tile_o
);

  // iterations after this one, and whether there are none
  logic [3:0]  wx_d, wx_q, wy_d, wy_q;
  logic [11:0] x_d, x_q, y_d, y_q;
  logic [15:0] tiles_d, tiles_q;
  logic        wx_last_d, wx_last_q, wy_last_d, wy_last_q;
  logic        x_last_d, x_last_q, y_last_d, y_last_q;
  logic        tile_last_d, tile_last_q;
  logic        tile_start_d, tile_start_q;

  // addresses: this pixel, and the start of the present iteration of each loop
  logic [15:0] addr_d, addr_q;
  logic [15:0] wy_base_d, wy_base_q, x_base_d, x_base_q, y_base_d, y_base_q;
  logic [15:0] wx_next, wy_next, x_next, y_next;

  // operands; loop counts minus one
  logic [3:0]  win_x_m1_q, win_y_m1_q;
  logic [11:0] nx_m1_q, ny_m1_q;
  logic        win_x_one_q, win_y_one_q, nx_one_q, ny_one_q;
  logic [15:0] base_q, step_x_q, step_y_q, step_wx_q, step_wy_q;

  assign addr_o       = addr_q;
  assign row_end_o    = wx_last_q && wy_last_q && x_last_q;
  assign last_row_o   = y_last_q;
  assign tile_start_o = tile_start_q;
  assign last_tile_o  = tile_last_q;

  assign wx_next = addr_q + step_wx_q;
  assign wy_next = wy_base_q + step_wy_q;
  assign x_next  = x_base_q + step_x_q;
  assign y_next  = y_base_q + step_y_q;

  always_comb begin
    wx_d         = wx_q;
    wx_last_d    = wx_last_q;
    wy_d         = wy_q;
    wy_last_d    = wy_last_q;
    x_d          = x_q;
    x_last_d     = x_last_q;
    y_d          = y_q;
    y_last_d     = y_last_q;
    tiles_d      = tiles_q;
    tile_last_d  = tile_last_q;
    tile_start_d = tile_start_q;
    addr_d       = addr_q;
    wy_base_d    = wy_base_q;
    x_base_d     = x_base_q;
    y_base_d     = y_base_q;

    if (emit_i) begin
      tile_start_d = row_end_o && y_last_q;
      wx_d         = wx_q - 4'd1;
      wx_last_d    = wx_q == 4'd1;
      addr_d       = wx_next;
      if (wx_last_q) begin
        wx_d      = win_x_m1_q;
        wx_last_d = win_x_one_q;
        wy_d      = wy_q - 4'd1;
        wy_last_d = wy_q == 4'd1;
        addr_d    = wy_next;
        wy_base_d = wy_next;
        if (wy_last_q) begin
          wy_d      = win_y_m1_q;
          wy_last_d = win_y_one_q;
          x_d       = x_q - 12'd1;
          x_last_d  = x_q == 12'd1;
          addr_d    = x_next;
          wy_base_d = x_next;
          x_base_d  = x_next;
          if (x_last_q) begin
            x_d       = nx_m1_q;
            x_last_d  = nx_one_q;
            y_d       = y_q - 12'd1;
            y_last_d  = y_q == 12'd1;
            addr_d    = y_next;
            wy_base_d = y_next;
            x_base_d  = y_next;
            y_base_d  = y_next;
            if (y_last_q) begin
              y_d         = ny_m1_q;
              y_last_d    = ny_one_q;
              addr_d      = base_q;
              wy_base_d   = base_q;
              x_base_d    = base_q;
              y_base_d    = base_q;
              tiles_d     = tiles_q - 16'd1;
              tile_last_d = tiles_q == 16'd1;
            end
          end
        end
      end
    end

    if (take_i) begin
      wx_d         = win_x_i - 4'd1;
      wx_last_d    = win_x_i == 4'd1;
      wy_d         = win_y_i - 4'd1;
      wy_last_d    = win_y_i == 4'd1;
      x_d          = nx_i - 12'd1;
      x_last_d     = nx_i == 12'd1;
      y_d          = ny_i - 12'd1;
      y_last_d     = ny_i == 12'd1;
      tiles_d      = tiles_i - 16'd1;
      tile_last_d  = tiles_i == 16'd1;
      tile_start_d = 1'b1;
      addr_d       = base_i;
      wy_base_d    = base_i;
      x_base_d     = base_i;
      y_base_d     = base_i;
    end
  end

  always_ff @(posedge clk_i) begin
    wx_q         <= wx_d;
    wx_last_q    <= wx_last_d;
    wy_q         <= wy_d;
    wy_last_q    <= wy_last_d;
    x_q          <= x_d;
    x_last_q     <= x_last_d;
    y_q          <= y_d;
    y_last_q     <= y_last_d;
    tiles_q      <= tiles_d;
    tile_last_q  <= tile_last_d;
    tile_start_q <= tile_start_d;
    addr_q       <= addr_d;
    wy_base_q    <= wy_base_d;
    x_base_q     <= x_base_d;
    y_base_q     <= y_base_d;
    if (take_i) begin
      win_x_m1_q  <= wx_d;
      win_x_one_q <= wx_last_d;
      win_y_m1_q  <= wy_d;
      win_y_one_q <= wy_last_d;
      nx_m1_q     <= x_d;
      nx_one_q    <= x_last_d;
      ny_m1_q     <= y_d;
      ny_one_q    <= y_last_d;
      base_q      <= base_i;
      step_x_q    <= step_x_i;
      step_y_q    <= step_y_i;
      step_wx_q   <= step_wx_i;
      step_wy_q   <= step_wy_i;
    end
  end

endmodule

`default_nettype wire
