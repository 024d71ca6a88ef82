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
 * With Depthwise, an instruction for the depthwise unit walks runs of neighbouring bytes (x and y loops only) and
 * accumulates some of them, see espalier_runs. With States, such instructions may be partial, too, if all of the block
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

  // operands of the pending instruction
  logic [3:0]  new_win_x, new_win_y;
  logic [11:0] new_nx, all_ny, new_ny;
  logic [15:0] new_tiles, new_step_wx, new_step_wy, new_step_y;

  assign new_win_x   = pend_instr_i[espalier_pkg::WIN_X_LSB+:4];
  assign new_win_y   = pend_instr_i[espalier_pkg::WIN_Y_LSB+:4];
  assign new_tiles   = {1'b0, pend_instr_i[espalier_pkg::TILES_LSB+:15]};
  assign new_step_wx = pend_instr_i[espalier_pkg::SRC_STEP_WX_LSB+:16];
  assign new_step_wy = pend_instr_i[espalier_pkg::SRC_STEP_WY_LSB+:16];
  assign new_step_y  = pend_instr_i[espalier_pkg::SRC_STEP_Y_LSB+:16];

  logic        emit, row_end, last_row, pixel_last, tile_start, last_tile, tile_end, stream_end, take;
  logic        tile_first_q;                  // the first tile of a sum
  logic [15:0] addr;
  logic [1:0]  shift_code;

  assign emit       = active_q && (!tile_start || tile_ready_i);
  assign pixel_last = row_end && last_row;
  assign tile_end   = emit && pixel_last;
  assign stream_end = tile_end && last_tile;
  assign swap_o     = emit && tile_start;

  espalier_walk u_walk (
    .clk_i       (clk_i),
    .take_i      (take),
    .emit_i      (emit),
    .win_x_i     (new_win_x),
    .win_y_i     (new_win_y),
    .nx_i        (new_nx),
    .ny_i        (new_ny),
    .tiles_i     (new_tiles),
    .base_i      (pend_instr_i[espalier_pkg::SRC_BASE_LSB+:16]),
    .step_wx_i   (new_step_wx),
    .step_wy_i   (new_step_wy),
    .step_x_i    (pend_instr_i[espalier_pkg::SRC_STEP_X_LSB+:16]),
    .step_y_i    (new_step_y << ClusterBits),
    .addr_o      (addr),
    .row_end_o   (row_end),
    .last_row_o  (last_row),
    .tile_start_o(tile_start),
    .last_tile_o (last_tile)
  );

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
    logic        new_depthwise, new_joined;
    logic [11:0] new_width;

    assign new_depthwise = pend_instr_i[espalier_pkg::DEPTHWISE_LSB];
    assign new_joined    = new_step_wy[12];
    assign new_width     = pend_instr_i[espalier_pkg::NX_LSB+:12];
    assign new_nx        = new_depthwise ? new_step_wx[11:0] : new_width;
    assign all_ny        = new_depthwise && new_joined ? 12'd1 : pend_instr_i[espalier_pkg::NY_LSB+:12];

    espalier_runs u_runs (
      .clk_i       (clk_i),
      .take_i      (take),
      .emit_i      (emit),
      .row_end_i   (row_end),
      .tile_end_i  (pixel_last),
      .depthwise_i (new_depthwise),
      .lead_i      (new_step_wy[3:0]),
      .skip_i      (new_step_wy[7:4]),
      .gap_i       (new_step_wy[11:8]),
      .width_i     (new_width),
      .kept_o      (kept),
      .kept_first_o(kept_first),
      .depthwise_o (depthwise)
    );

`ifndef SYNTHESIS
    logic [28:0] steps_q;                     // of the instruction before
    always @(posedge clk_i) begin
      if (rst_ni && tile_end) begin
        assert (kept) else $error("a run does not end with an output");
      end
      if (rst_ni && take && new_depthwise) begin
        assert (new_win_x == 4'd1 && new_win_y == 4'd1) else $error("depthwise CONV with a window");
        assert (Clusters == 1 || !new_joined) else $error("joined rows cannot be shared");
      end
      // Another order of pixels could read sums that are still to be written.
      if (take) steps_q <= {new_step_wx, new_step_wy[12:0]};
      if (rst_ni && take && adds_q) begin
        assert (new_depthwise == depthwise) else $error("a block of the array and the depthwise unit");
        assert (!new_depthwise || {new_step_wx, new_step_wy[12:0]} == steps_q) else $error("a block of different streams");
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
      assign shared[k] = !last_row || rest_q >= ClusterBits'(k);
    end
  end else begin : gen_alone
    assign new_ny = all_ny;
    assign shared = 1'b1;
  end

  always_comb begin
    active_d = active_q;
    if (stream_end) active_d = 1'b0;
    if (take) active_d = 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (tile_end) tile_first_q <= 1'b0;
    if (take) begin
      tile_first_q <= !adds_q;
      bank_q       <= next_bank_q;
      partial_q    <= pend_partial;
      shift_q      <= new_shift;
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

  espalier_base #(
    .Clusters(Clusters)
  ) u_base (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .take_i  (take),
    .step_y_i(new_step_y),
    .valid_i (emit ? shared : Clusters'(0)),
    .mark_i  (swap_o),
    .addr_i  (addr),
    .valid_o (base_valid_o),
    .mark_o  (base_mark_o),
    .addr_o  (base_addr_o)
  );

  espalier_steps #(
    .Delay    (Rows + 5),
    .AccAddrW (AccAddrW),
    .Clusters (Clusters),
    .ShiftW   (ShiftW),
    .Depthwise(Depthwise)
  ) u_steps (
    .clk_i      (clk_i),
    .rst_ni     (rst_ni),
    .valid_i    (emit && kept ? shared : Clusters'(0)),
    .mark_i     (kept_first),
    .first_i    (tile_first_q),
    .shift_i    (shift_q),
    .bank_i     (bank_q),
    .last_i     (stream_end && !partial_q),
    .depthwise_i(depthwise),
    .valid_o    (acc_valid_o),
    .first_o    (acc_first_o),
    .shift_o    (acc_shift_o),
    .bank_o     (acc_bank_o),
    .last_o     (acc_last_o),
    .addr_o     (acc_addr_o),
    .depthwise_o(acc_depthwise_o)
  );

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
