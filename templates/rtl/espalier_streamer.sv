// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Pixel streamer: walks the pixels of one instruction once per weight tile, one pixel a cycle.
 *
 * It takes the pending instruction when it is idle or emits its last pixel, so instructions follow each
 * other without a gap, provided that the accumulator bank is free (what the block before the previous one
 * writes is in the lanes) and a barrier and a fence, if asked for, are satisfied. A tile starts when the loader reports it
 * complete; swap_o tells the loader that the shadow registers are free again.
 *
 * A block is a run of partial instructions and the one that ends it: they add to the same bank, and only
 * the end of the last one is reported (acc_last_o).
 *
 * The walk is four nested loops (y, x, window y, window x; the last is innermost), each with a base address
 * from which the next iteration starts: one addition a cycle, no multiplication.
 *
 * With Depthwise, an instruction for the depthwise unit walks runs of neighbouring bytes (x and y loops only) and
 * accumulates some of them: not the first `lead` of a run, then one of every `skip` + 1, and not the `gap` behind
 * a row of outputs. A run ends with an output. With States, such instructions may be partial, too, if all of the block
 * walk the same runs; their sums are shifted further than those of the array.
 *
 * With Clusters > 1, cluster k takes rows k, k + Clusters, ... of the outputs: all walk at once, over as many rows as the
 * first one has, and those that have no row left in the last round are not valid there. Runs of the depthwise unit are
 * not joined then.
 *
 * Latency: base_* leave three cycles after the emission; acc_* leave Rows + 6 cycles after it, when the
 * partial sum of column 0 is two cycles away.
 */
module espalier_streamer #(
  // Rows of the array.
  parameter int Rows      = 8,
  // Bits of a pixel number.
  parameter int AccAddrW  = 10,
  // Whether there is a depthwise unit.
  parameter bit Depthwise = 1'b0,
  // 1 = write-back has tables, which take two cycles.
  parameter int Tables    = 0,
  // Arrays that share the rows of the outputs: 1, 2, 4 or 8.
  parameter int Clusters  = 1,
  // 1 = sums of the depthwise unit may stay for the next instruction.
  parameter int States    = 0,
  // Bits of half a shift; derived, do not override.
  parameter int ShiftW    = States != 0 ? 3 : 2
) (
  input  wire logic                clk_i,
  input  wire logic                rst_ni,

  // pending instruction
  input  wire logic                pend_valid_i,
  input  wire logic [255:0]        pend_instr_i,
  // no SAVE or RESTORE is under way
  input  wire logic                moved_i,
  output logic                     take_o,
  output logic                     take_bank_o,
  output logic                     busy_o,

  // tile handshake with the loader
  input  wire logic                tile_ready_i,
  output logic                     swap_o,

  // drain: last operation of a bank; banks that are in use, and that of the newest block
  input  wire logic                drain_last_i,
  input  wire logic                drain_bank_i,
  output logic [1:0]               bank_busy_o,
  output logic                     bank_newest_o,

  // pixel base to lane 0 of each cluster
  output logic [Clusters-1:0]      base_valid_o,
  output logic                     base_mark_o,
  output logic [16*Clusters-1:0]   base_addr_o,

  // accumulation step of column 0, valid for each cluster
  output logic [Clusters-1:0]      acc_valid_o,
  output logic                     acc_first_o,
  output logic [ShiftW-1:0]        acc_shift_o,
  output logic                     acc_bank_o,
  output logic                     acc_last_o,
  output logic [AccAddrW-1:0]      acc_addr_o,
  output logic                     acc_depthwise_o
);

  // Cycles from the emission to the counter in front of acc_*.
  localparam int AccDelay = Rows + 5;
  // Cycles from the last operation of a drain until its bank is free: a stream taken then reads the lanes at the
  // earliest when the last write is there.
  localparam int DrainDelay = 8 + 2 * Tables;
  localparam int ClusterBits = $clog2(Clusters);

  logic        active_d, active_q;
  logic [1:0]  bank_busy_d, bank_busy_q;
  logic        next_bank_q;                   // bank of the next instruction
  logic        bank_q;                        // bank of this one
  logic        adds_q;                        // the next instruction goes on with the sums of this one
  logic        partial_q;                     // this one does not end its block
  logic [ShiftW-1:0] new_shift, shift_q;      // in steps of two bits

  // loop counters: iterations after this one, and whether there are none
  logic [3:0]  wx_d, wx_q, wy_d, wy_q;
  logic [11:0] x_d, x_q, y_d, y_q;
  logic [15:0] tiles_d, tiles_q;
  logic        wx_last_d, wx_last_q, wy_last_d, wy_last_q;
  logic        x_last_d, x_last_q, y_last_d, y_last_q;
  logic        tile_last_d, tile_last_q;
  logic        tile_start_d, tile_start_q;
  logic        tile_first_d, tile_first_q;

  // addresses: this pixel, and the start of the present iteration of each loop
  logic [15:0] addr_d, addr_q;
  logic [15:0] wy_base_d, wy_base_q, x_base_d, x_base_q, y_base_d, y_base_q;

  // operands of the active instruction; loop counts minus one
  logic [3:0]  win_x_m1_q, win_y_m1_q;
  logic [11:0] nx_m1_q, ny_m1_q;
  logic        win_x_one_q, win_y_one_q, nx_one_q, ny_one_q;
  logic [15:0] src_base_q, step_x_q, step_y_q, step_wx_q, step_wy_q;

  // operands of the pending instruction
  logic [3:0]  new_win_x, new_win_y;
  logic [11:0] new_nx, all_ny, new_ny;
  logic [15:0] new_tiles, new_base;

  assign new_win_x = pend_instr_i[espalier_pkg::WIN_X_LSB+:4];
  assign new_win_y = pend_instr_i[espalier_pkg::WIN_Y_LSB+:4];
  assign new_tiles = {1'b0, pend_instr_i[espalier_pkg::TILES_LSB+:15]};
  assign new_base  = pend_instr_i[espalier_pkg::SRC_BASE_LSB+:16];

  logic        emit, pixel_last, tile_end, stream_end, take;
  logic [15:0] wx_next, wy_next, x_next, y_next;
  logic [1:0]  shift_code;

  assign emit       = active_q && (!tile_start_q || tile_ready_i);
  assign pixel_last = wx_last_q && wy_last_q && x_last_q && y_last_q;
  assign tile_end   = emit && pixel_last;
  assign stream_end = tile_end && tile_last_q;
  assign swap_o     = emit && tile_start_q;

  // Mask of a bank. An index on the left of an assignment would become a shifter.
  function automatic logic [1:0] one_bank(input logic bank);
    one_bank = bank ? 2'b10 : 2'b01;
  endfunction

  // The bank of a block that has begun is in use by the block itself.
  logic bank_free, other_free, pend_partial;
  assign pend_partial = pend_instr_i[espalier_pkg::PARTIAL_LSB];
  assign bank_free    = adds_q || !(next_bank_q ? bank_busy_q[1] : bank_busy_q[0]);
  assign other_free   = !(next_bank_q ? bank_busy_q[0] : bank_busy_q[1]);

  assign take = pend_valid_i && (!active_q || stream_end) && bank_free
                && (!pend_instr_i[espalier_pkg::BARRIER_LSB] || other_free)
                && (!pend_instr_i[espalier_pkg::FENCE_LSB] || moved_i);
  assign take_o      = take;
  assign take_bank_o = next_bank_q;
  assign busy_o      = active_q;
  assign bank_busy_o = bank_busy_q;
  assign bank_newest_o = bank_q;

  // Shift by 0, 2, 4, 6 bits, for the depthwise unit by 0, 4, 6, 8.
  assign shift_code = pend_partial ? pend_instr_i[espalier_pkg::SUM_SHIFT_LSB+:2] : 2'd0;

  if (States != 0) begin : gen_states
    logic further;
    assign further   = pend_instr_i[espalier_pkg::DEPTHWISE_LSB] && shift_code != 2'd0;
    assign new_shift = ShiftW'(shift_code) + ShiftW'(further);
  end else begin : gen_stateless
    assign new_shift = shift_code;
`ifndef SYNTHESIS
    always @(posedge clk_i) begin
      if (rst_ni && take && pend_instr_i[espalier_pkg::DEPTHWISE_LSB]) begin
        assert (!pend_partial && !adds_q) else $error("partial sums of the depthwise unit");
        assert (!pend_instr_i[espalier_pkg::WIDE_LSB]) else $error("there are no wide results");
      end
    end
`endif
  end

  // depthwise: whether this pixel is accumulated, and the first one of its tile
  logic        kept, kept_first, depthwise;

  if (Depthwise) begin : gen_depthwise
    // drop counts down to a pixel that is kept; left counts the outputs of the row after this one
    logic        depthwise_q;
    logic [3:0]  drop_d, drop_q, lead_q, skip_q, gap_q;
    logic [11:0] left_d, left_q, width_m1_q;
    logic        fresh_d, fresh_q;            // no pixel of the tile was kept
    logic        new_depthwise, new_joined;
    logic [3:0]  new_lead;
    logic [11:0] new_width;

    assign new_depthwise = pend_instr_i[espalier_pkg::DEPTHWISE_LSB];
    assign new_joined    = pend_instr_i[espalier_pkg::SRC_STEP_WY_LSB+12];
    assign new_lead      = pend_instr_i[espalier_pkg::SRC_STEP_WY_LSB+:4];
    assign new_width     = pend_instr_i[espalier_pkg::NX_LSB+:12];
    assign new_nx        = new_depthwise ? pend_instr_i[espalier_pkg::SRC_STEP_WX_LSB+:12] : new_width;
    assign all_ny        = new_depthwise && new_joined ? 12'd1 : pend_instr_i[espalier_pkg::NY_LSB+:12];

    assign depthwise  = depthwise_q;
    assign kept       = !depthwise_q || drop_q == 4'd0;
    assign kept_first = kept && fresh_q;

    always_comb begin
      drop_d  = drop_q;
      left_d  = left_q;
      fresh_d = fresh_q;
      if (emit) begin
        drop_d = drop_q - 4'd1;
        if (kept) begin
          fresh_d = 1'b0;
          drop_d  = skip_q;
          left_d  = left_q - 12'd1;
          if (left_q == 12'd0) begin
            drop_d = gap_q;
            left_d = width_m1_q;
          end
        end
        if (wx_last_q && wy_last_q && x_last_q) begin
          drop_d = lead_q;
          left_d = width_m1_q;
        end
        if (pixel_last) fresh_d = 1'b1;
      end
      if (take) begin
        drop_d  = new_lead;
        left_d  = new_width - 12'd1;
        fresh_d = 1'b1;
      end
    end

    always_ff @(posedge clk_i) begin
      drop_q  <= drop_d;
      left_q  <= left_d;
      fresh_q <= fresh_d;
      if (take) begin
        depthwise_q <= new_depthwise;
        lead_q      <= new_lead;
        skip_q      <= pend_instr_i[espalier_pkg::SRC_STEP_WY_LSB+4+:4];
        gap_q       <= pend_instr_i[espalier_pkg::SRC_STEP_WY_LSB+8+:4];
        width_m1_q  <= left_d;
      end
    end

`ifndef SYNTHESIS
    always @(posedge clk_i) begin
      if (rst_ni && tile_end) begin
        assert (kept) else $error("a run does not end with an output");
      end
      if (rst_ni && take && new_depthwise) begin
        assert (new_win_x == 4'd1 && new_win_y == 4'd1) else $error("depthwise CONV with a window");
        assert (Clusters == 1 || !new_joined) else $error("joined rows cannot be shared");
      end
      // Another order of pixels could read sums that are still to be written.
      if (rst_ni && take && adds_q) begin
        assert (new_depthwise == depthwise_q) else $error("a block of the array and the depthwise unit");
        assert (!new_depthwise || (pend_instr_i[espalier_pkg::SRC_STEP_WX_LSB+:16] == step_wx_q
                                   && pend_instr_i[espalier_pkg::SRC_STEP_WY_LSB+:13] == step_wy_q[12:0]))
        else $error("a block of different streams");
      end
    end
`endif
  end else begin : gen_array_only
    assign new_nx     = pend_instr_i[espalier_pkg::NX_LSB+:12];
    assign all_ny     = pend_instr_i[espalier_pkg::NY_LSB+:12];
    assign depthwise  = 1'b0;
    assign kept       = 1'b1;
    assign kept_first = swap_o;
`ifndef SYNTHESIS
    always @(posedge clk_i) begin
      if (rst_ni && take) begin
        assert (!pend_instr_i[espalier_pkg::DEPTHWISE_LSB]) else $error("there is no depthwise unit");
      end
    end
`endif
  end

  // --- clusters: rows of the first one; which of them have a pixel here
  logic [Clusters-1:0] shared;

  if (Clusters > 1) begin : gen_clusters
    logic [11:0]            all_ny_m1;
    logic [ClusterBits-1:0] rest_q;           // clusters that have a row in the last round, minus one
    assign all_ny_m1 = all_ny - 12'd1;
    assign new_ny    = (all_ny_m1 >> ClusterBits) + 12'd1;
    always_ff @(posedge clk_i) begin
      if (take) rest_q <= all_ny_m1[ClusterBits-1:0];
    end
    assign shared[0] = 1'b1;
    for (genvar k = 1; k < Clusters; k++) begin : gen_shared
      assign shared[k] = !y_last_q || rest_q >= ClusterBits'(k);
    end
  end else begin : gen_alone
    assign new_ny = all_ny;
    assign shared = 1'b1;
  end

  assign wx_next = addr_q + step_wx_q;
  assign wy_next = wy_base_q + step_wy_q;
  assign x_next  = x_base_q + step_x_q;
  assign y_next  = y_base_q + step_y_q;

  always_comb begin
    active_d     = active_q;
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
    tile_first_d = tile_first_q;
    addr_d       = addr_q;
    wy_base_d    = wy_base_q;
    x_base_d     = x_base_q;
    y_base_d     = y_base_q;

    if (emit) begin
      tile_start_d = pixel_last;
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
              y_d          = ny_m1_q;
              y_last_d     = ny_one_q;
              addr_d       = src_base_q;
              wy_base_d    = src_base_q;
              x_base_d     = src_base_q;
              y_base_d     = src_base_q;
              tiles_d      = tiles_q - 16'd1;
              tile_last_d  = tiles_q == 16'd1;
              tile_first_d = 1'b0;
              if (tile_last_q) active_d = 1'b0;
            end
          end
        end
      end
    end

    if (take) begin
      active_d     = 1'b1;
      wx_d         = new_win_x - 4'd1;
      wx_last_d    = new_win_x == 4'd1;
      wy_d         = new_win_y - 4'd1;
      wy_last_d    = new_win_y == 4'd1;
      x_d          = new_nx - 12'd1;
      x_last_d     = new_nx == 12'd1;
      y_d          = new_ny - 12'd1;
      y_last_d     = new_ny == 12'd1;
      tiles_d      = new_tiles - 16'd1;
      tile_last_d  = new_tiles == 16'd1;
      tile_start_d = 1'b1;
      tile_first_d = !adds_q;
      addr_d       = new_base;
      wy_base_d    = new_base;
      x_base_d     = new_base;
      y_base_d     = new_base;
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
    tile_first_q <= tile_first_d;
    addr_q       <= addr_d;
    wy_base_q    <= wy_base_d;
    x_base_q     <= x_base_d;
    y_base_q     <= y_base_d;
    if (take) begin
      bank_q      <= next_bank_q;
      partial_q   <= pend_partial;
      shift_q     <= new_shift;
      win_x_m1_q  <= wx_d;
      win_x_one_q <= wx_last_d;
      win_y_m1_q  <= wy_d;
      win_y_one_q <= wy_last_d;
      nx_m1_q     <= x_d;
      nx_one_q    <= x_last_d;
      ny_m1_q     <= y_d;
      ny_one_q    <= y_last_d;
      src_base_q  <= new_base;
      step_x_q    <= pend_instr_i[espalier_pkg::SRC_STEP_X_LSB+:16];
      step_y_q    <= pend_instr_i[espalier_pkg::SRC_STEP_Y_LSB+:16] << ClusterBits;
      step_wx_q   <= pend_instr_i[espalier_pkg::SRC_STEP_WX_LSB+:16];
      step_wy_q   <= pend_instr_i[espalier_pkg::SRC_STEP_WY_LSB+:16];
    end
  end

  logic [DrainDelay-1:0] drained_q, drained_bank_q;
  logic                  drained, drained_bank;

  assign drained      = drained_q[DrainDelay-1];
  assign drained_bank = drained_bank_q[DrainDelay-1];

  always_ff @(posedge clk_i) begin
    drained_bank_q <= {drained_bank_q[DrainDelay-2:0], drain_bank_i};
  end

  always_comb begin
    bank_busy_d = bank_busy_q;
    if (drained) bank_busy_d = bank_busy_q & ~one_bank(drained_bank);
    if (take) bank_busy_d = bank_busy_d | one_bank(next_bank_q);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q    <= 1'b0;
      bank_busy_q <= '0;
      next_bank_q <= 1'b0;
      adds_q      <= 1'b0;
      drained_q   <= '0;
    end else begin
      active_q    <= active_d;
      bank_busy_q <= bank_busy_d;
      drained_q   <= {drained_q[DrainDelay-2:0], drain_last_i};
      if (take) adds_q <= pend_partial;
      if (take && !pend_partial) next_bank_q <= !next_bank_q;
    end
  end

  // Pixel base on its way to lane 0: two registers more than routing needs, so that the offsets of the next
  // tile, whose load starts one cycle after the swap, reach a row exactly when its swap has passed.
  // On the way cluster k adds k rows, a power of two a register.
  logic [Clusters-1:0] valid1_q, valid2_q;
  logic [1:0]          mark_q;

  always_ff @(posedge clk_i) begin
    mark_q      <= {mark_q[0], swap_o};
    base_mark_o <= mark_q[1];
  end

  if (Clusters > 1) begin : gen_rows
    logic [15:0] row_q, row1_q, row2_q;
    always_ff @(posedge clk_i) begin
      if (take) row_q <= pend_instr_i[espalier_pkg::SRC_STEP_Y_LSB+:16];
      row1_q <= row_q;
      row2_q <= row1_q;
    end
    for (genvar k = 0; k < Clusters; k++) begin : gen_base
      logic [15:0] addr1_q, addr2_q, addr3_q;
      always_ff @(posedge clk_i) begin
        addr1_q <= k % 2 != 0 ? addr_q + row_q : addr_q;
        addr2_q <= k / 2 % 2 != 0 ? addr1_q + {row1_q[14:0], 1'b0} : addr1_q;
        addr3_q <= k / 4 != 0 ? addr2_q + {row2_q[13:0], 2'b0} : addr2_q;
      end
      assign base_addr_o[16*k+:16] = addr3_q;
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
      addr1_q     <= addr_q;
      addr2_q     <= addr1_q;
      base_addr_o <= addr2_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid1_q     <= '0;
      valid2_q     <= '0;
      base_valid_o <= '0;
    end else begin
      valid1_q     <= emit ? shared : '0;
      valid2_q     <= valid1_q;
      base_valid_o <= valid2_q;
    end
  end

  // Accumulation steps: the marks are delayed, the pixel number is counted again at the end of the delay.
  logic [AccDelay-1:0]   acc_mark_q, acc_first_q, acc_bank_q, acc_last_q;
  logic [ShiftW*AccDelay-1:0] acc_shift_q;
  logic [Clusters*AccDelay-1:0] acc_valid_q;
  logic [Clusters-1:0]   acc_valid;

  assign acc_valid = acc_valid_q[Clusters*(AccDelay-1)+:Clusters];

  always_ff @(posedge clk_i) begin
    acc_mark_q  <= {acc_mark_q[AccDelay-2:0], kept_first};
    acc_first_q <= {acc_first_q[AccDelay-2:0], tile_first_q};
    acc_bank_q  <= {acc_bank_q[AccDelay-2:0], bank_q};
    acc_shift_q <= {acc_shift_q[ShiftW*(AccDelay-1)-1:0], shift_q};
    acc_shift_o <= acc_shift_q[ShiftW*AccDelay-1-:ShiftW];
    acc_first_o <= acc_first_q[AccDelay-1];
    acc_bank_o  <= acc_bank_q[AccDelay-1];
    if (acc_valid[0]) begin
      acc_addr_o <= acc_mark_q[AccDelay-1] ? '0 : acc_addr_o + AccAddrW'(1);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      acc_valid_q <= '0;
      acc_last_q  <= '0;
      acc_valid_o <= '0;
      acc_last_o  <= 1'b0;
    end else begin
      acc_valid_q <= {acc_valid_q[Clusters*(AccDelay-1)-1:0], emit && kept ? shared : Clusters'(0)};
      acc_last_q  <= {acc_last_q[AccDelay-2:0], stream_end && !partial_q};
      acc_valid_o <= acc_valid;
      acc_last_o  <= acc_last_q[AccDelay-1];
    end
  end

  if (Depthwise) begin : gen_acc_depthwise
    logic [AccDelay-1:0] acc_depthwise_q;
    always_ff @(posedge clk_i) begin
      acc_depthwise_q <= {acc_depthwise_q[AccDelay-2:0], depthwise};
      acc_depthwise_o <= acc_depthwise_q[AccDelay-1];
    end
  end else begin : gen_no_depthwise
    assign acc_depthwise_o = depthwise;
  end

  logic unused_instr;
  assign unused_instr = ^pend_instr_i;

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni && take) begin
      assert (new_win_x != 0 && new_win_y != 0 && new_nx != 0 && new_ny != 0 && new_tiles != 0)
      else $error("CONV with an empty loop");
    end
    if (rst_ni) begin
      assert (!(take && !adds_q && bank_busy_q[next_bank_q])) else $error("bank taken while busy");
      assert (!(take && adds_q && !bank_busy_q[next_bank_q])) else $error("sums continued in an unused bank");
    end
  end
`endif

endmodule

`default_nettype wire
