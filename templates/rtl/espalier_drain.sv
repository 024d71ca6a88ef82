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

  // --- operations
  logic                start, busy, first_q, last, op_bank_q;
  logic                chunk_first, win_first, write;
  logic [15:0]         addr;
  logic [6:0]          rot;
  logic [AccAddrW-1:0] pixel;
  logic [ClusterW-1:0] cluster;

  // operands of the instruction
  logic [5:0]        columns_q;
  logic [23:0]       range_q;
  logic [IndexW-1:0] index_q;
  logic              sum_q;

  espalier_outputs #(
    .AccAddrW(AccAddrW),
    .Clusters(Clusters),
    .ClusterW(ClusterW)
  ) u_outputs (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .start_i      (start),
    .win_x_i      (new_win_x),
    .win_y_i      (new_win_y),
    .chunks_m1_i  (new_chunks_m1),
    .nx_i         (new_nx),
    .ny_i         (new_ny),
    .base_i       (new_dst_base),
    .step_x_i     (new_step_x),
    .step_y_i     (new_step_y),
    .step_chunk_i (new_step_chunk),
    .rot_i        (new_rot),
    .rot_step_i   (new_rot_step),
    .busy_o       (busy),
    .last_o       (last),
    .pixel_o      (pixel),
    .cluster_o    (cluster),
    .chunk_first_o(chunk_first),
    .win_first_o  (win_first),
    .write_o      (write),
    .addr_o       (addr),
    .rot_o        (rot)
  );

  // --- operations on their way; bit s is stage s
  logic [Stages:1]  valid_q;
  logic [5:1]       first_stage_q;

  // Mask of a bank. An index on the left of an assignment would become a shifter.
  function automatic logic [1:0] one_bank(input logic bank);
    one_bank = bank ? 2'b10 : 2'b01;
  endfunction

  assign start = (bank_q ? done_q[1] : done_q[0]) && (!busy || last) && params_full_i && !first_q && !first_stage_q[1]
                 && !(hold_i && hold_bank_i == bank_q);

  assign last_o      = last;
  assign last_bank_o = op_bank_q;

  always_ff @(posedge clk_i) begin
    if (start) begin
      op_bank_q <= bank_q;
      columns_q <= new_columns;
      range_q   <= new_range;
      index_q   <= new_index;
      sum_q     <= new_sum;
    end
  end

  always_comb begin
    done_d = done_q;
    if (start) done_d = done_q & ~one_bank(bank_q);
    if (acc_last_i) done_d = done_d | one_bank(acc_last_bank_i);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      first_q       <= 1'b0;
      bank_q        <= 1'b0;
      done_q        <= '0;
      valid_q       <= '0;
      first_stage_q <= '0;
    end else begin
      first_q       <= start;
      done_q        <= done_d;
      valid_q       <= {valid_q[Stages-1:1], busy};
      first_stage_q <= {first_stage_q[4:1], first_q};
      if (start) bank_q <= !bank_q;
    end
  end

  // The loader may issue the next parameter words once the first operation is at stage 2.
  assign params_taken_o = first_stage_q[1];
  assign busy_o         = busy || (|valid_q);

  // --- stage 1: accumulator address
  always_ff @(posedge clk_i) begin
    rd_bank_o    <= op_bank_q;
    rd_addr_o    <= pixel;
    rd_cluster_o <= cluster;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) rd_valid_o <= 1'b0;
    else         rd_valid_o <= busy && chunk_first;
  end

  // --- stages 1..4: what the requantization does with the accumulator
  logic [4:1] load_q, max_q, add_q;

  always_ff @(posedge clk_i) begin
    load_q <= {load_q[3:1], chunk_first && win_first};
    max_q  <= {max_q[3:1], chunk_first && !win_first && !sum_q};
    add_q  <= {add_q[3:1], chunk_first && !win_first && sum_q};
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
      low_q <= {low_q[9:1], !chunk_first};
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
  logic [WbStage-1:0] write_q;

  assign wb_valid_o = write_q[WbStage-1];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_q <= '0;
    else         write_q <= {write_q[WbStage-2:0], write};
  end

  espalier_delay #(
    .Width  (WriteW),
    .Cycles (WbStage),
    .Compact(Compact)
  ) u_write (
    .clk_i (clk_i),
    .rst_ni(rst_ni),
    .data_i({addr, rot, columns_q, index_q}),
    .data_o({wb_addr_o, wb_rot_o, wb_columns_o, wb_index_o})
  );

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
