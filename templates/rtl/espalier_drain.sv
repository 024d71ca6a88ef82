// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Drain: reads finished accumulators, takes the maximum or sum of each pooling window, requantizes, and hands
 * every output pixel to the write-back once a chunk.
 *
 * One operation a cycle: window - 1 pooling operations, then `chunks` writes of the same result, for every
 * output, or with States its two digits. An instruction starts when its stream has passed the last column (acc_last_i), its parameters are
 * loaded, the drain before has issued its last operation and no FILL runs or may come that belongs before its
 * writes (hold_i); two drains follow each other without a gap.
 *
 * An operation issued in cycle 0 addresses the accumulators in cycle 1, leaves requantization at stage 11
 * (col_q_o, table_*), and is in the lanes after stage 13 (espalier_writeback). With Tables, the results pass
 * espalier_table on the way, and wb_* and the lanes are two stages later.
 */
module espalier_drain #(
  // Columns of the array.
  parameter int Cols     = 8,
  // Bits of an accumulator.
  parameter int AccW     = 32,
  // Bits of a pixel number.
  parameter int AccAddrW = 10,
  // Bits of an instruction number.
  parameter int IndexW   = 8,
  // 1 = write-back has tables.
  parameter int Tables   = 0,
  // 1 = waiting instructions and write operations lie in block RAM, for devices with few flip-flops.
  parameter int Compact  = 0,
  // Arrays that share the rows of the outputs, see espalier_streamer.
  parameter int Clusters = 1,
  // 1 = results may be wide, see espalier_requant.
  parameter int States   = 0,
  // Bits of a cluster's number; derived, do not override.
  parameter int ClusterW = Clusters > 1 ? $clog2(Clusters) : 1
) (
  input  wire logic                 clk_i,
  input  wire logic                 rst_ni,

  // instruction, kept when the streamer takes it
  input  wire logic                 take_i,
  input  wire logic                 take_bank_i,
  input  wire logic [255:0]         take_instr_i,
  input  wire logic [IndexW-1:0]    take_index_i,

  // end of a stream at the last column
  input  wire logic                 acc_last_i,
  input  wire logic                 acc_last_bank_i,

  // FILLs go before the drain of the newest block
  input  wire logic                 hold_i,
  input  wire logic                 hold_bank_i,

  // parameter words
  input  wire logic                 params_full_i,
  output logic                      params_taken_o,
  input  wire logic                 param_valid_i,
  input  wire logic [2:0]           param_index_i,
  input  wire logic [8*Cols-1:0]    param_i,

  // accumulators
  output logic                      rd_valid_o,
  output logic                      rd_bank_o,
  output logic [ClusterW-1:0]       rd_cluster_o,
  output logic [AccAddrW-1:0]       rd_addr_o,
  input  wire logic [AccW*Cols-1:0] rd_data_i,

  // progress: last operation of an instruction, any operation
  output logic                      last_o,
  output logic                      last_bank_o,
  output logic                      busy_o,

  // with col_q_o: whether it passes the tables, and which bank
  output logic                      table_valid_o,
  output logic                      table_use_o,
  output logic                      table_bank_o,

  // to the write-back
  output logic                      wb_valid_o,
  output logic [15:0]               wb_addr_o,
  output logic [6:0]                wb_rot_o,
  output logic [5:0]                wb_columns_o,
  output logic [IndexW-1:0]         wb_index_o,
  output logic [8*Cols-1:0]         col_q_o
);

  // Stages of an operation.
  localparam int QStage  = 11;
  localparam int WbStage = QStage + 2 * Tables;
  localparam int Stages  = WbStage + 2;
  // step in x, swap, table, sum, chunks, columns, rotation, its step, chunk step, zero point, bounds, window, counts, destination, index
  localparam int PlainW     = 4 + 1 + 2 + 1 + 4 + 6 + 7 + 7 + 16 + 24 + 8 + 24 + 32 + IndexW;
  // whether the results are wide
  localparam int InfoW      = PlainW + (States != 0 ? 1 : 0);

  // --- instructions between take and drain, one a bank
  logic [InfoW-1:0] info_take, info;
  logic [1:0]       done_d, done_q;
  logic             bank_q;                   // bank of the next drain

  // Where the window has one pixel, the step inside it is that of outputs.
  logic take_single, take_spreads, take_swaps;
  assign take_single  = take_instr_i[espalier_pkg::WIN_X_LSB+:4] == 4'd1 && take_instr_i[espalier_pkg::WIN_Y_LSB+:4] == 4'd1;
  assign take_spreads = take_single && !take_instr_i[espalier_pkg::DEPTHWISE_LSB];
  assign take_swaps   = take_single && Tables != 0 && take_instr_i[espalier_pkg::TABLE_LSB+:2] == 2'd1
                        && take_instr_i[espalier_pkg::SWAP_TABLES_LSB];

  assign info_take[PlainW-1:0] = {
    take_spreads ? take_instr_i[espalier_pkg::SRC_STEP_WX_LSB+:4] : 4'd1,
    take_swaps,
    take_instr_i[espalier_pkg::TABLE_LSB+:2],
    take_instr_i[espalier_pkg::WINDOW_SUM_LSB],
    take_instr_i[espalier_pkg::CHUNKS_M1_LSB+:4],
    take_instr_i[espalier_pkg::COLUMNS_LSB+:6],
    {take_instr_i[espalier_pkg::ROT_LSB+5], take_instr_i[espalier_pkg::ROT_LSB+:6]},
    take_instr_i[espalier_pkg::ROT_STEP_LSB+:7],
    take_instr_i[espalier_pkg::DST_STEP_CHUNK_LSB+:16],
    take_instr_i[espalier_pkg::ZERO_POINT_LSB+:8],
    take_instr_i[espalier_pkg::LO_LSB+:8],
    take_instr_i[espalier_pkg::HI_LSB+:8],
    take_instr_i[espalier_pkg::WIN_X_LSB+:4],
    take_instr_i[espalier_pkg::WIN_Y_LSB+:4],
    take_instr_i[espalier_pkg::NX_LSB+:12],
    take_instr_i[espalier_pkg::NY_LSB+:12],
    take_instr_i[espalier_pkg::DST_BASE_LSB+:16],
    take_instr_i[espalier_pkg::DST_STEP_Y_LSB+:16],
    take_index_i
  };

  if (Compact != 0) begin : gen_info_memory
    // There two cycles after a change of bank_q, three before the next drain can start.
    (* ram_style = "block", no_rw_check *)
    logic [InfoW-1:0] memory [0:1];
    logic [InfoW-1:0] info_q;

    always_ff @(posedge clk_i) begin
      if (take_i) memory[take_bank_i] <= info_take;
      info_q <= memory[bank_q];
    end
    assign info = info_q;
  end else begin : gen_info_registers
    logic [InfoW-1:0] info0_q, info1_q;

    always_ff @(posedge clk_i) begin
      if (take_i && !take_bank_i) info0_q <= info_take;
      if (take_i && take_bank_i) info1_q <= info_take;
    end
    assign info = bank_q ? info1_q : info0_q;
  end

  logic [3:0]        new_chunks_m1, new_win_x, new_win_y;
  logic [5:0]        new_columns;
  logic [6:0]        new_rot, new_rot_step;
  logic [15:0]       new_step_chunk, new_dst_base, new_step_y;
  logic [23:0]       new_range;
  logic [11:0]       new_nx, new_ny;
  logic [IndexW-1:0] new_index;
  logic              new_sum;
  logic [1:0]        new_table;
  logic              new_swap;
  logic [3:0]        new_step_x;

  assign {new_step_x, new_swap, new_table, new_sum, new_chunks_m1, new_columns, new_rot, new_rot_step, new_step_chunk, new_range, new_win_x, new_win_y,
          new_nx, new_ny, new_dst_base, new_step_y, new_index} = info[PlainW-1:0];

  // --- operation counters
  logic        start, busy_d, busy_q, first_q, op_bank_q;
  logic        win_last, window_end, output_end, last;
  logic [3:0]  wx_d, wx_q, wy_d, wy_q, chunk_d, chunk_q;
  logic        wx_last_d, wx_last_q, wy_last_d, wy_last_q, chunk_last_d, chunk_last_q;
  logic        chunk_first_d, chunk_first_q, win_first_d, win_first_q;
  logic [11:0] x_d, x_q, y_d, y_q;
  logic        x_last_d, x_last_q, y_last_d, y_last_q;
  logic [15:0] addr_d, addr_q, cell_d, cell_q, row_d, row_q;
  logic [6:0]  rot_d, rot_q;
  logic [AccAddrW-1:0] pixel_d, pixel_q;      // in its cluster
  logic [AccAddrW-1:0] next_pixel, row_pixel; // behind this output; of the first output of the row
  logic [ClusterW-1:0] cluster_q;

  // operands of the instruction
  logic [3:0]        win_x_m1_q, win_y_m1_q, chunks_m1_q;
  logic              win_x_one_q, win_y_one_q, chunks_one_q, nx_one_q;
  logic [11:0]       nx_m1_q;
  logic [15:0]       step_chunk_q, step_y_q;
  logic [3:0]        step_x_q;
  logic [6:0]        rot0_q, rot_step_q;
  logic [5:0]        columns_q;
  logic [23:0]       range_q;
  logic [IndexW-1:0] index_q;
  logic              sum_q;

  logic [15:0] addr_next, cell_next, row_next;

  // --- operations on their way; bit s is stage s
  logic [Stages:1]  valid_q;
  logic [5:1]       first_stage_q;

  // Mask of a bank. An index on the left of an assignment would become a shifter.
  function automatic logic [1:0] one_bank(input logic bank);
    one_bank = bank ? 2'b10 : 2'b01;
  endfunction

  assign start = (bank_q ? done_q[1] : done_q[0]) && (!busy_q || last) && params_full_i && !first_q && !first_stage_q[1]
                 && !(hold_i && hold_bank_i == bank_q);

  assign win_last   = wx_last_q && wy_last_q;
  assign window_end = busy_q && win_last;
  assign output_end = window_end && chunk_last_q;
  assign last       = output_end && x_last_q && y_last_q;

  assign last_o      = last;
  assign last_bank_o = op_bank_q;

  assign addr_next = addr_q + step_chunk_q;
  assign cell_next = cell_q + 16'(step_x_q);
  assign row_next  = row_q + step_y_q;

  assign next_pixel = chunk_first_q ? pixel_q + AccAddrW'(1) : pixel_q;

  // Row y of the outputs is in cluster y modulo Clusters, where the next of its own follows.
  if (Clusters > 1) begin : gen_clusters
    logic [AccAddrW-1:0] row_pixel_q;
    logic                last_cluster;
    assign last_cluster = cluster_q == ClusterW'(Clusters - 1);
    assign row_pixel    = last_cluster ? next_pixel : row_pixel_q;
    always_ff @(posedge clk_i) begin
      if (start) begin
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

    if (start) begin
      busy_d        = 1'b1;
      win_first_d   = 1'b1;
      wx_d          = new_win_x - 4'd1;
      wx_last_d     = new_win_x == 4'd1;
      wy_d          = new_win_y - 4'd1;
      wy_last_d     = new_win_y == 4'd1;
      chunk_first_d = 1'b1;
      chunk_d       = new_chunks_m1;
      chunk_last_d  = new_chunks_m1 == 4'd0;
      x_d           = new_nx - 12'd1;
      x_last_d      = new_nx == 12'd1;
      y_d           = new_ny - 12'd1;
      y_last_d      = new_ny == 12'd1;
      addr_d        = new_dst_base;
      cell_d        = new_dst_base;
      row_d         = new_dst_base;
      rot_d         = new_rot;
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
    if (start) begin
      op_bank_q    <= bank_q;
      win_x_m1_q   <= wx_d;
      win_x_one_q  <= wx_last_d;
      win_y_m1_q   <= wy_d;
      win_y_one_q  <= wy_last_d;
      chunks_m1_q  <= chunk_d;
      chunks_one_q <= chunk_last_d;
      nx_m1_q      <= x_d;
      nx_one_q     <= x_last_d;
      step_chunk_q <= new_step_chunk;
      step_y_q     <= new_step_y;
      step_x_q     <= new_step_x;
      rot0_q       <= new_rot;
      rot_step_q   <= new_rot_step;
      columns_q    <= new_columns;
      range_q      <= new_range;
      index_q      <= new_index;
      sum_q        <= new_sum;
    end
  end

  always_comb begin
    done_d = done_q;
    if (start) done_d = done_q & ~one_bank(bank_q);
    if (acc_last_i) done_d = done_d | one_bank(acc_last_bank_i);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q        <= 1'b0;
      first_q       <= 1'b0;
      bank_q        <= 1'b0;
      done_q        <= '0;
      valid_q       <= '0;
      first_stage_q <= '0;
    end else begin
      busy_q        <= busy_d;
      first_q       <= start;
      done_q        <= done_d;
      valid_q       <= {valid_q[Stages-1:1], busy_q};
      first_stage_q <= {first_stage_q[4:1], first_q};
      if (start) bank_q <= !bank_q;
    end
  end

  // The loader may issue the next parameter words once the first operation is at stage 2.
  assign params_taken_o = first_stage_q[1];
  assign busy_o         = busy_q || (|valid_q);

  // --- stage 1: accumulator address
  always_ff @(posedge clk_i) begin
    rd_bank_o    <= op_bank_q;
    rd_addr_o    <= pixel_q;
    rd_cluster_o <= cluster_q;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) rd_valid_o <= 1'b0;
    else         rd_valid_o <= busy_q && chunk_first_q;
  end

  // --- stages 1..4: what the requantization does with the accumulator
  logic [4:1] load_q, max_q, add_q;

  always_ff @(posedge clk_i) begin
    load_q <= {load_q[3:1], chunk_first_q && win_first_q};
    max_q  <= {max_q[3:1], chunk_first_q && !win_first_q && !sum_q};
    add_q  <= {add_q[3:1], chunk_first_q && !win_first_q && sum_q};
  end

  // --- output range: drains start at least eight cycles apart, so one register is enough until stage 5
  logic [23:0] range_late_q;
  logic [8:0]  zero_point_q;
  logic [7:0]  lo_q, hi_q;
  logic        wide, low;
  logic [9:6]  first_late_q;

  always_ff @(posedge clk_i) begin
    first_late_q <= {first_late_q[8:6], first_stage_q[5]};
    if (first_stage_q[5]) range_late_q <= range_q;
    if (first_late_q[9]) {lo_q, hi_q} <= range_late_q[15:0];
  end

  if (States != 0) begin : gen_states
    logic        wide_q, wide_range_q, wide_late_q;
    logic [10:1] low_q;                       // chunks behind the first one write the low digit

    assign info_take[PlainW] = take_instr_i[espalier_pkg::DEPTHWISE_LSB] && take_instr_i[espalier_pkg::WIDE_LSB];

    always_ff @(posedge clk_i) begin
      if (start) wide_q <= info[PlainW];
      if (first_stage_q[5]) wide_range_q <= wide_q;
      if (first_late_q[8]) zero_point_q <= wide_range_q ? 9'd128 : {range_late_q[23], range_late_q[23:16]};
      if (first_late_q[9]) wide_late_q <= wide_range_q;
      low_q <= {low_q[9:1], !chunk_first_q};
    end
    assign wide = wide_late_q;
    assign low  = low_q[10];

`ifndef SYNTHESIS
    always @(posedge clk_i) begin
      if (rst_ni && start && info[PlainW]) begin
        assert (new_chunks_m1 == 4'd1 && new_table == '0) else $error("wide results without two digits");
      end
    end
`endif
  end else begin : gen_stateless
    always_ff @(posedge clk_i) begin
      if (first_late_q[8]) zero_point_q <= {range_late_q[23], range_late_q[23:16]};
    end
    assign wide = 1'b0;
    assign low  = 1'b0;
  end

  for (genvar c = 0; c < Cols; c++) begin : gen_col
    espalier_requant #(
      .AccW  (AccW),
      .States(States)
    ) u_requant (
      .clk_i        (clk_i),
      .param_valid_i(param_valid_i),
      .param_index_i(param_index_i),
      .param_i      (param_i[8*c+:8]),
      .bias_take_i  (first_stage_q[4]),
      .shift_take_i (first_stage_q[5]),
      .acc_i        (rd_data_i[AccW*c+:AccW]),
      .load_i       (load_q[4]),
      .max_i        (max_q[4]),
      .add_i        (add_q[4]),
      .zero_point_i (zero_point_q),
      .lo_i         (lo_q),
      .hi_i         (hi_q),
      .wide_i       (wide),
      .low_i        (low),
      .q_o          (col_q_o[8*c+:8])
    );
  end

  // --- tables: the instruction's results pass the bank that was loaded last, or with new_swap the other one
  if (Tables != 0) begin : gen_tables
    logic              use_q, table_bank_q;
    logic [QStage-1:0] late_use_q, late_bank_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) table_bank_q <= 1'b1;
      else if (start && (new_table[1] || new_swap)) table_bank_q <= !table_bank_q;
    end

    always_ff @(posedge clk_i) begin
      if (start) use_q <= new_table != '0;
      late_use_q  <= {late_use_q[QStage-2:0], use_q};
      late_bank_q <= {late_bank_q[QStage-2:0], table_bank_q};
    end
    assign table_valid_o = valid_q[QStage];
    assign table_use_o   = late_use_q[QStage-1];
    assign table_bank_o  = late_bank_q[QStage-1];
  end else begin : gen_no_tables
    assign table_valid_o = 1'b0;
    assign table_use_o   = 1'b0;
    assign table_bank_o  = 1'b0;
    logic unused_table;
    assign unused_table = ^{new_table, new_swap};
  end

  // --- write operations, delayed to meet their result
  localparam int WriteW = 16 + 7 + 6 + IndexW;
  logic [WriteW-1:0]  write, write_late;
  logic [WbStage-1:0] write_valid_q;

  assign write      = {addr_q, rot_q, columns_q, index_q};
  assign wb_valid_o = write_valid_q[WbStage-1];
  assign {wb_addr_o, wb_rot_o, wb_columns_o, wb_index_o} = write_late;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_valid_q <= '0;
    else         write_valid_q <= {write_valid_q[WbStage-2:0], window_end};
  end

  if (Compact != 0) begin : gen_write_memory
    // A ring of 16: what is written now is read WbStage - 1 cycles later, and there one more cycle later.
    (* ram_style = "block", no_rw_check *)
    logic [WriteW-1:0] memory [0:15];
    logic [WriteW-1:0] late_q;
    logic [3:0]        place_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) place_q <= '0;
      else         place_q <= place_q + 4'd1;
    end

    always_ff @(posedge clk_i) begin
      memory[place_q] <= write;
      late_q          <= memory[place_q - 4'(WbStage - 1)];
    end
    assign write_late = late_q;
  end else begin : gen_write_registers
    logic [WriteW*WbStage-1:0] write_q;

    always_ff @(posedge clk_i) begin
      write_q <= {write_q[WriteW*(WbStage-1)-1:0], write};
    end
    assign write_late = write_q[WriteW*(WbStage-1)+:WriteW];
  end

  logic unused_instr;
  assign unused_instr = ^take_instr_i;

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni && acc_last_i) begin
      assert (!done_q[acc_last_bank_i]) else $error("bank finished twice");
    end
    if (rst_ni && first_stage_q[5]) begin
      assert (first_late_q == '0)
      else $error("output range overwritten");
    end
    // The last words of an instruction's own parameters may still arrive when its drain starts.
    if (rst_ni && param_valid_i && param_index_i == 3'd0) begin
      assert (!first_q && first_stage_q[3:1] == '0)
      else $error("parameters overwritten before they were taken");
    end
  end
`endif

endmodule

`default_nettype wire
