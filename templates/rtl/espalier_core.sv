// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * The accelerator: sequencer, weight loader, streamer, clusters (lanes, array, accumulators), drain, write-back, mover.
 *
 * Programs and weights are written through the host port or come from hex files; inputs and outputs are
 * streams of one byte a lane. The trace outputs show every lane write in order, for the test bench; they
 * cost nothing when they are left open. Defaults of the parameters are the generated configuration.
 */
module espalier_core #(
  // Rows (lanes) and columns of the array, 4..32 and 2..32.
  parameter int          Rows        = espalier_pkg::ROWS,
  parameter int          Cols        = espalier_pkg::COLS,
  // Weight vectors that share a row, 1 or 2.
  parameter int          Combine     = espalier_pkg::COMBINE,
  // Arrays that share the rows of every map: 1, 2, 4 or 8.
  parameter int          Clusters    = espalier_pkg::CLUSTERS,
  // 1 = two columns share a hardware multiplier, and columns that have one, see espalier_array.
  parameter int          Packed      = espalier_pkg::PACKED,
  parameter int          HardCols    = espalier_pkg::HARD_COLS,
  // Multipliers a lane of the depthwise unit, 0 = no unit.
  parameter int          Depthwise   = espalier_pkg::DEPTHWISE_TAPS,
  // Beats of computed factors that may wait for the depthwise unit, 0 = it takes none.
  parameter int          Gates       = espalier_pkg::GATES,
  // 1 = the depthwise unit adds products up, also to results of 16 bits.
  parameter int          States      = espalier_pkg::STATES,
  // 1 = write-back has tables.
  parameter int          Tables      = espalier_pkg::TABLES,
  // 1 = there is a register with the class.
  parameter int          Argmax      = espalier_pkg::ARGMAX,
  // Bytes of a lane.
  parameter int          LaneDepth   = espalier_pkg::LANE_BYTES,
  // Pixels of an accumulator bank.
  parameter int          AccDepth    = espalier_pkg::ACCUMULATOR_PIXELS,
  // Bits of an accumulator.
  parameter int          AccW        = espalier_pkg::ACCUMULATOR_BITS,
  // Words of the weight memory, or of the ring that weights are streamed through.
  parameter int          WeightDepth = espalier_pkg::WEIGHT_WORDS,
  // Bytes of a beat of external memory, from which weights are streamed; 0 = they are on the chip.
  parameter int          StreamBytes = espalier_pkg::STREAM_BYTES,
  // Bytes of a beat of the port for spilled tensors; 0 = all tensors fit the lanes.
  parameter int          SpillBytes  = espalier_pkg::SPILL_BYTES,
  // Instructions of the program memory.
  parameter int          ProgDepth   = espalier_pkg::PROGRAM_INSTRUCTIONS,
  // Value of the hash register.
  parameter logic [31:0] ConfigHash  = espalier_pkg::CONFIG_HASH,
  // 1 = the weight memory has one port for both directions.
  parameter int          WeightSinglePort = 0,
  // 1 = block RAM instead of some registers, see espalier_drain.
  parameter int          Compact     = 0,
  // Bits of a word that enter the checksum in a cycle, 32 or 1, see espalier_host.
  parameter int          ChecksumBits = 32,
  // Hex files with the initial content of the memories; "" leaves them to the host.
  parameter              ProgramFile = "",
  parameter              WeightFile  = "",
  // Bits of a beat of external memory; derived, do not override.
  parameter int          BusW        = StreamBytes > 0 ? 8 * StreamBytes : 8,
  parameter int          SpillW      = SpillBytes > 0 ? 8 * SpillBytes : 8
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,

  // host port, see espalier_host
  input  wire logic              host_we_i,
  input  wire logic [31:0]       host_addr_i,
  input  wire logic [31:0]       host_wdata_i,
  output logic [31:0]            host_rdata_o,

  // input stream, byte l for lane l
  input  wire logic              in_valid_i,
  output logic                   in_ready_o,
  input  wire logic [8*Rows-1:0] in_data_i,
  input  wire logic              in_last_i,

  // output stream
  output logic                   out_valid_o,
  input  wire logic              out_ready_i,
  output logic [8*Rows-1:0]      out_data_o,
  output logic                   out_last_o,

  // external memory, read address and read data channels of AXI4; unused if weights are on the chip
  output logic                   ar_valid_o,
  input  wire logic              ar_ready_i,
  output logic [63:0]            ar_addr_o,
  output logic [7:0]             ar_len_o,
  input  wire logic              r_valid_i,
  output logic                   r_ready_o,
  input  wire logic [BusW-1:0]   r_data_i,
  input  wire logic [1:0]        r_resp_i,

  // spilled tensors, AXI4; unused if there are none
  output logic                   spill_ar_valid_o,
  input  wire logic              spill_ar_ready_i,
  output logic [63:0]            spill_ar_addr_o,
  output logic [7:0]             spill_ar_len_o,
  input  wire logic              spill_r_valid_i,
  output logic                   spill_r_ready_o,
  input  wire logic [SpillW-1:0] spill_r_data_i,
  input  wire logic [1:0]        spill_r_resp_i,
  input  wire logic              spill_r_last_i,
  output logic                   spill_aw_valid_o,
  input  wire logic              spill_aw_ready_i,
  output logic [63:0]            spill_aw_addr_o,
  output logic [7:0]             spill_aw_len_o,
  output logic                   spill_w_valid_o,
  input  wire logic              spill_w_ready_i,
  output logic [SpillW-1:0]      spill_w_data_o,
  output logic                   spill_w_last_o,
  input  wire logic              spill_b_valid_i,
  output logic                   spill_b_ready_o,
  input  wire logic [1:0]        spill_b_resp_i,

  // high from the end of a program until the next start
  output logic                   done_o,
  // high from then, if it is enabled, until it is cleared through the host port
  output logic                   interrupt_o,

  // every lane write: instruction, address, enabled lanes, data
  output logic                   trace_valid_o,
  output logic [31:0]            trace_instr_o,
  output logic [15:0]            trace_addr_o,
  output logic [Rows-1:0]        trace_mask_o,
  output logic [8*Rows-1:0]      trace_data_o
);

  localparam int WordW       = 8 * Cols + 16 + (Combine - 1) * (16 + 8 * ((Cols + 7) / 8));
  localparam int WeightW     = 7 + Combine;
  localparam int AccAddrW    = $clog2(AccDepth);
  localparam int WeightAddrW = $clog2(WeightDepth);
  localparam int ProgAddrW   = $clog2(ProgDepth) + 3;
  localparam int IndexW      = ProgAddrW - 3;
  localparam int ClusterBits = $clog2(Clusters);
  localparam int ClusterW    = Clusters > 1 ? ClusterBits : 1;
  localparam int TapsW       = Depthwise > 0 ? 8 * Depthwise : 8;
  localparam int ShiftW      = States != 0 ? 3 : 2;

  // --- host, program and weight memories
  logic                   start, running, done;
  logic [3:0]             error;
  logic [IndexW-1:0]      run_index;
  logic                   packet_error;
  logic [15:0]            best_class;
  logic [31:0]            cycles, stalls;
  logic                   host_prog_en, host_weight_en;
  logic [ProgAddrW-1:0]   host_prog_addr;
  logic [31:0]            host_prog_data;
  logic [WeightAddrW-1:0] host_weight_addr;
  logic [WordW-1:0]       host_weight_data;

  logic                   prog_en;
  logic [ProgAddrW-1:0]   prog_addr;
  logic [31:0]            prog_data;
  logic                   weight_en, weight_there, weight_take, fetch_error;
  logic [WeightAddrW-1:0] weight_addr;
  logic [63:0]            stream_base;
  logic [31:0]            stream_bytes;
  logic [63:0]            spill_base;
  logic [WordW-1:0]       weight_word;

  espalier_host #(
    .Rows       (Rows),
    .Cols       (Cols),
    .Combine    (Combine),
    .ProgAddrW  (ProgAddrW),
    .WeightAddrW(WeightAddrW),
    .StreamBytes(StreamBytes),
    .SpillBytes (SpillBytes),
    .ConfigHash (ConfigHash),
    .ChecksumBits(ChecksumBits)
  ) u_host (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .host_we_i    (host_we_i),
    .host_addr_i  (host_addr_i),
    .host_wdata_i (host_wdata_i),
    .host_rdata_o (host_rdata_o),
    .start_o      (start),
    .running_i    (running),
    .done_i       (done),
    .error_i      (error),
    .cycles_i     (cycles),
    .stalls_i     (stalls),
    .index_i      (run_index),
    .class_i      (best_class),
    .interrupt_o  (interrupt_o),
    .stream_base_o (stream_base),
    .stream_bytes_o(stream_bytes),
    .spill_base_o  (spill_base),
    .prog_en_o    (host_prog_en),
    .prog_addr_o  (host_prog_addr),
    .prog_data_o  (host_prog_data),
    .weight_en_o  (host_weight_en),
    .weight_addr_o(host_weight_addr),
    .weight_data_o(host_weight_data)
  );

  espalier_ram #(
    .Width   (32),
    .Depth   (8 * ProgDepth),
    .AddrW   (ProgAddrW),
    .InitFile(ProgramFile)
  ) u_program (
    .clk_i    (clk_i),
    .wr_en_i  (host_prog_en),
    .wr_addr_i(host_prog_addr),
    .wr_data_i(host_prog_data),
    .rd_en_i  (prog_en),
    .rd_addr_i(prog_addr),
    .rd_data_o(prog_data)
  );

  if (StreamBytes > 0) begin : gen_weight_stream
    espalier_weight_stream #(
      .BusBytes (StreamBytes),
      .WordBytes(WordW / 8),
      .Depth    (WeightDepth)
    ) u_weights (
      .clk_i     (clk_i),
      .rst_ni    (rst_ni),
      .start_i   (start),
      .base_i    (stream_base),
      .beats_i   (stream_bytes >> $clog2(StreamBytes)),
      .error_o   (fetch_error),
      .ar_valid_o(ar_valid_o),
      .ar_ready_i(ar_ready_i),
      .ar_addr_o (ar_addr_o),
      .ar_len_o  (ar_len_o),
      .r_valid_i (r_valid_i),
      .r_ready_o (r_ready_o),
      .r_data_i  (r_data_i),
      .r_resp_i  (r_resp_i),
      .valid_o   (weight_there),
      .pop_i     (weight_take),
      .word_o    (weight_word)
    );
    logic unused_memory;
    assign unused_memory = ^{weight_en, weight_addr, host_weight_en, host_weight_addr, host_weight_data};
  end else begin : gen_weight_memory
    espalier_ram #(
      .Width   (WordW),
      .Depth   (WeightDepth),
      .AddrW   (WeightAddrW),
      .InitFile(WeightFile),
      .SinglePort(WeightSinglePort)
    ) u_weights (
      .clk_i    (clk_i),
      .wr_en_i  (host_weight_en),
      .wr_addr_i(host_weight_addr),
      .wr_data_i(host_weight_data),
      .rd_en_i  (weight_en),
      .rd_addr_i(weight_addr),
      .rd_data_o(weight_word)
    );
    assign weight_there = 1'b1;
    assign fetch_error  = 1'b0;
    assign ar_valid_o   = 1'b0;
    assign ar_addr_o    = '0;
    assign ar_len_o     = '0;
    assign r_ready_o    = 1'b0;
    logic unused_stream;
    assign unused_stream = ^{weight_take, stream_base, stream_bytes, ar_ready_i, r_valid_i, r_data_i, r_resp_i};
  end

  // --- control
  logic              load_start, load_ready;
  logic [255:0]      instr;
  logic              pend_valid;
  logic [255:0]      pend_instr;
  logic [IndexW-1:0] pend_index;
  logic              take, take_bank;
  logic              move_start, move_busy, stall;
  logic [IndexW-1:0] move_index;
  logic              stream_busy, drain_busy, hold;
  logic [1:0]        bank_busy;
  logic              bank_newest;
  logic              transfer_start, transfer_room, transfer_idle, transfer_error;

  espalier_sequencer #(
    .ProgAddrW(ProgAddrW),
    .Spill    (SpillBytes > 0 ? 1 : 0)
  ) u_sequencer (
    .clk_i         (clk_i),
    .rst_ni        (rst_ni),
    .start_i       (start),
    .running_o     (running),
    .done_o        (done),
    .error_o       (error),
    .cycles_o      (cycles),
    .stalls_o      (stalls),
    .mem_en_o      (prog_en),
    .mem_addr_o    (prog_addr),
    .mem_data_i    (prog_data),
    .index_o       (run_index),
    .fault_i       (fetch_error || transfer_error),
    .packet_i      (packet_error),
    .load_start_o  (load_start),
    .instr_o       (instr),
    .load_ready_i  (load_ready),
    .pend_valid_o  (pend_valid),
    .pend_instr_o  (pend_instr),
    .pend_index_o  (pend_index),
    .take_i        (take),
    .move_start_o  (move_start),
    .move_index_o  (move_index),
    .move_busy_i   (move_busy),
    .stall_i       (stall),
    .transfer_start_o(transfer_start),
    .transfer_room_i (transfer_room),
    .transfer_idle_i (transfer_idle),
    .older_free_i    (!(bank_newest ? bank_busy[0] : bank_busy[1])),
    .newest_free_i   (bank_busy == '0),
    .compute_busy_i(stream_busy || bank_busy != '0 || drain_busy),
    .written_i     (!drain_busy && !(bank_newest ? bank_busy[0] : bank_busy[1])),
    .hold_o        (hold)
  );

  assign done_o = done;

  // --- weights
  logic       weight_valid, param_valid;
  logic [4:0] word_row;
  logic       word_gated;
  logic       tile_ready, swap;
  logic       params_full, params_taken;
  logic       entry_valid, entry_bank, entry_own, entry_fresh;
  logic [7:0] entry_index;

  espalier_loader #(
    .Rows  (Rows),
    .Cols  (Cols),
    .AddrW (WeightAddrW),
    .Tables(Tables)
  ) u_loader (
    .clk_i         (clk_i),
    .rst_ni        (rst_ni),
    .start_i       (load_start),
    .instr_i       (instr),
    .ready_o       (load_ready),
    .mem_en_o      (weight_en),
    .mem_addr_o    (weight_addr),
    .mem_valid_i   (weight_there),
    .mem_take_o    (weight_take),
    .weight_valid_o(weight_valid),
    .param_valid_o (param_valid),
    .word_row_o    (word_row),
    .word_gated_o  (word_gated),
    .entry_valid_o (entry_valid),
    .entry_bank_o  (entry_bank),
    .entry_index_o (entry_index),
    .entry_own_o   (entry_own),
    .entry_fresh_o (entry_fresh),
    .tile_ready_o  (tile_ready),
    .swap_i        (swap),
    .params_full_o (params_full),
    .params_taken_i(params_taken)
  );

  // --- pixels
  logic [Clusters-1:0]    base_valid, acc_valid;
  logic                   base_mark;
  logic [16*Clusters-1:0] base_addr;
  logic                   acc_first, acc_bank, acc_last;
  logic [ShiftW-1:0]      acc_shift;
  logic [AccAddrW-1:0]    acc_addr;
  logic                   acc_depthwise;
  logic                   drain_last, drain_last_bank;

  espalier_streamer #(
    .Rows     (Rows),
    .AccAddrW (AccAddrW),
    .Depthwise(Depthwise > 0),
    .Tables   (Tables),
    .Clusters (Clusters),
    .States   (States)
  ) u_streamer (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .pend_valid_i(pend_valid),
    .pend_instr_i(pend_instr),
    .moved_i     (transfer_idle),
    .take_o      (take),
    .take_bank_o (take_bank),
    .busy_o      (stream_busy),
    .tile_ready_i(tile_ready),
    .swap_o      (swap),
    .drain_last_i(drain_last),
    .drain_bank_i(drain_last_bank),
    .bank_busy_o (bank_busy),
    .bank_newest_o(bank_newest),
    .base_valid_o(base_valid),
    .base_mark_o (base_mark),
    .base_addr_o (base_addr),
    .acc_valid_o (acc_valid),
    .acc_first_o (acc_first),
    .acc_shift_o (acc_shift),
    .acc_bank_o  (acc_bank),
    .acc_last_o  (acc_last),
    .acc_addr_o  (acc_addr),
    .acc_depthwise_o(acc_depthwise)
  );

  // --- what a weight word holds: for every column the weight with its select bit, for every vector of the row
  // its offset and whether any weight uses it
  logic [WeightW*Cols-1:0] column_weights;
  logic [Combine-1:0]      row_used;
  logic [16*Combine-1:0]   row_offset;

  assign row_offset[15:0] = weight_word[8*Cols+:16];

  if (Combine > 1) begin : gen_combined
    localparam int SelectLsb = 8 * Cols + 32;
    logic [Cols-1:0] nonzero, select;
    for (genvar c = 0; c < Cols; c++) begin : gen_column
      assign nonzero[c]                         = |weight_word[8*c+:8];
      assign column_weights[WeightW*c+:WeightW] = {select[c], weight_word[8*c+:8]};
    end
    assign select            = weight_word[SelectLsb+:Cols];
    assign row_offset[31:16] = weight_word[8*Cols+16+:16];
    assign row_used          = {|(nonzero & select), |(nonzero & ~select)};
    if (WordW > SelectLsb + Cols) begin : gen_unused_select
      logic unused_select;
      assign unused_select = ^weight_word[WordW-1:SelectLsb+Cols];
    end
  end else begin : gen_single
    assign column_weights = weight_word[8*Cols-1:0];
    assign row_used       = |weight_word[8*Cols-1:0];
  end

  // --- clusters: each has lanes, an array, a depthwise unit and accumulators; the lanes of all hold the same bytes
  logic [8*Rows-1:0] store_data, save_data;
  logic              store_en, save_en;
  logic [15:0]       store_addr;
  logic [Rows-1:0]   wr_en;
  logic [15:0]       wr_addr;
  logic [8*Rows-1:0] wr_data;

  logic                 drain_valid, drain_bank;
  logic [ClusterW-1:0]  drain_cluster;
  logic [AccAddrW-1:0]  drain_addr;
  logic [AccW*Cols-1:0] drain_data;
  logic                 finished, finished_bank;

  // Taps of the depthwise unit, or the gates that stand for them.
  logic [TapsW-1:0]     taps;
  logic                 gate_valid;

  for (genvar k = 0; k < Clusters; k++) begin : gen_cluster
    logic [8*Rows-1:0]    stored, saved;
    logic [AccW*Cols-1:0] drained;
    logic                 last, last_bank;

    espalier_cluster #(
      .Rows     (Rows),
      .Cols     (Cols),
      .Combine  (Combine),
      .Packed   (Packed),
      .HardCols (HardCols),
      .Depthwise(Depthwise),
      .LaneDepth(LaneDepth),
      .AccDepth (AccDepth),
      .AccW     (AccW),
      .Spill    (SpillBytes > 0 && k == 0 ? 1 : 0),
      .States   (States)
    ) u_cluster (
      .clk_i          (clk_i),
      .rst_ni         (rst_ni),
      .base_valid_i   (base_valid[k]),
      .base_mark_i    (base_mark),
      .base_addr_i    (base_addr[16*k+:16]),
      .weight_valid_i (weight_valid),
      .weight_row_i   (word_row),
      .weight_used_i  (row_used),
      .weight_offset_i(row_offset),
      .weight_i       (column_weights),
      .taps_i         (taps),
      .store_en_i     (store_en && k == 0),
      .store_addr_i   (store_addr),
      .store_data_o   (stored),
      .save_en_i      (save_en && k == 0),
      .save_data_o    (saved),
      .wr_en_i        (wr_en),
      .wr_addr_i      (wr_addr),
      .wr_data_i      (wr_data),
      .acc_valid_i    (acc_valid[k]),
      .acc_first_i    (acc_first),
      .acc_shift_i    (acc_shift),
      .acc_bank_i     (acc_bank),
      .acc_last_i     (acc_last),
      .acc_addr_i     (acc_addr),
      .acc_depthwise_i(acc_depthwise),
      .last_o         (last),
      .last_bank_o    (last_bank),
      .drain_valid_i  (drain_valid && drain_cluster == ClusterW'(k)),
      .drain_bank_i   (drain_bank),
      .drain_addr_i   (drain_addr),
      .drain_data_o   (drained)
    );

    if (k == 0) begin : gen_first
      assign store_data    = stored;
      assign save_data     = saved;
      assign finished      = last;
      assign finished_bank = last_bank;
    end else begin : gen_further
      logic unused_further;
      assign unused_further = ^{stored, saved, last, last_bank};
    end
  end

  if (Clusters > 1) begin : gen_select
    // The accumulators answer three cycles after the address.
    logic [ClusterW-1:0]  cluster1_q, cluster2_q, cluster3_q;
    logic [AccW*Cols-1:0] drained [0:Clusters-1];
    always_ff @(posedge clk_i) begin
      cluster1_q <= drain_cluster;
      cluster2_q <= cluster1_q;
      cluster3_q <= cluster2_q;
    end
    for (genvar k = 0; k < Clusters; k++) begin : gen_drained
      assign drained[k] = gen_cluster[k].drained;
    end
    // Not a part of one long vector: its index would become a multiplier.
    assign drain_data = drained[cluster3_q];
  end else begin : gen_only
    assign drain_data = gen_cluster[0].drained;
  end

  if (Gates > 0) begin : gen_gates
    assign taps[TapsW-1:8] = weight_word[TapsW-1:8];
    espalier_gates #(
      .Rows (Rows),
      .Depth(Gates)
    ) u_gates (
      .clk_i   (clk_i),
      .rst_ni  (rst_ni),
      .start_i (start),
      .push_i  (gate_valid),
      .data_i  (out_data_o),
      .valid_i (weight_valid),
      .gated_i (word_gated),
      .row_i   (word_row),
      .weight_i(weight_word[7:0]),
      .weight_o(taps[7:0])
    );
  end else begin : gen_no_gates
    logic unused_gates;
    assign taps         = weight_word[TapsW-1:0];
    assign unused_gates = word_gated ^ gate_valid;
  end

  // --- drain and write-back
  logic              wb_valid;
  logic [15:0]       wb_addr;
  logic [6:0]        wb_rot;
  logic [5:0]        wb_columns;
  logic [IndexW-1:0] wb_index;
  logic [8*Cols-1:0] col_q, result;
  logic              table_valid, table_use, table_bank;

  espalier_drain #(
    .Cols    (Cols),
    .AccW    (AccW),
    .AccAddrW(AccAddrW),
    .IndexW  (IndexW),
    .Tables  (Tables),
    .Compact (Compact),
    .Clusters(Clusters),
    .States  (States)
  ) u_drain (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .take_i         (take),
    .take_bank_i    (take_bank),
    .take_instr_i   (pend_instr),
    .take_index_i   (pend_index),
    .acc_last_i     (finished),
    .acc_last_bank_i(finished_bank),
    .hold_i         (hold),
    .hold_bank_i    (bank_newest),
    .params_full_i  (params_full),
    .params_taken_o (params_taken),
    .param_valid_i  (param_valid),
    .param_index_i  (word_row[2:0]),
    .param_i        (weight_word[8*Cols-1:0]),
    .rd_valid_o     (drain_valid),
    .rd_bank_o      (drain_bank),
    .rd_cluster_o   (drain_cluster),
    .rd_addr_o      (drain_addr),
    .rd_data_i      (drain_data),
    .last_o         (drain_last),
    .last_bank_o    (drain_last_bank),
    .busy_o         (drain_busy),
    .table_valid_o  (table_valid),
    .table_use_o    (table_use),
    .table_bank_o   (table_bank),
    .wb_valid_o     (wb_valid),
    .wb_addr_o      (wb_addr),
    .wb_rot_o       (wb_rot),
    .wb_columns_o   (wb_columns),
    .wb_index_o     (wb_index),
    .col_q_o        (col_q)
  );

  if (Tables != 0) begin : gen_tables
    espalier_table #(
      .Cols(Cols)
    ) u_tables (
      .clk_i        (clk_i),
      .rst_ni       (rst_ni),
      .entry_valid_i(entry_valid),
      .entry_bank_i (entry_bank),
      .entry_index_i(entry_index),
      .entry_own_i  (entry_own),
      .entry_fresh_i(entry_fresh),
      .word_i       (weight_word[8*Cols-1:0]),
      .valid_i      (table_valid),
      .use_i        (table_use),
      .bank_i       (table_bank),
      .q_i          (col_q),
      .q_o          (result)
    );
  end else begin : gen_no_tables
    assign result = col_q;
    logic unused_tables;
    assign unused_tables = ^{entry_valid, entry_bank, entry_index, entry_own, entry_fresh, table_valid, table_use, table_bank};
  end

  logic              mv_valid;
  logic [15:0]       mv_addr;
  logic [8*Rows-1:0] mv_data;
  logic [IndexW-1:0] trace_index;
  logic              lanes_free, restore, save;
  logic [15:0]       transfer_addr;
  logic [8*Rows-1:0] restore_data;

  espalier_writeback #(
    .Rows  (Rows),
    .Cols  (Cols),
    .IndexW(IndexW)
  ) u_writeback (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .wb_valid_i   (wb_valid),
    .wb_addr_i    (wb_addr),
    .wb_rot_i     (wb_rot),
    .wb_columns_i (wb_columns),
    .wb_index_i   (wb_index),
    .col_q_i      (result),
    .mv_valid_i   (mv_valid),
    .mv_addr_i    (mv_addr),
    .mv_data_i    (mv_data),
    .mv_index_i   (move_index),
    .free_o       (lanes_free),
    .restore_i    (restore),
    .save_i       (save),
    .tr_addr_i    (transfer_addr),
    .tr_data_i    (restore_data),
    .save_o       (save_en),
    .wr_en_o      (wr_en),
    .wr_addr_o    (wr_addr),
    .wr_data_o    (wr_data),
    .trace_valid_o(trace_valid_o),
    .trace_index_o(trace_index)
  );

  assign trace_instr_o = 32'(trace_index);
  assign trace_addr_o  = wr_addr;
  assign trace_mask_o  = wr_en;
  assign trace_data_o  = wr_data;

  if (SpillBytes > 0) begin : gen_transfer
    espalier_transfer #(
      .Rows      (Rows),
      .BusBytes  (SpillBytes),
      .BurstBeats(espalier_pkg::BURST_BEATS)
    ) u_transfer (
      .clk_i     (clk_i),
      .rst_ni    (rst_ni),
      .base_i    (spill_base),
      .start_i   (transfer_start),
      .instr_i   (instr),
      .room_o    (transfer_room),
      .idle_o    (transfer_idle),
      .free_i    (lanes_free),
      .restore_o (restore),
      .save_o    (save),
      .addr_o    (transfer_addr),
      .data_o    (restore_data),
      .saved_i   (save_data),
      .ar_valid_o(spill_ar_valid_o),
      .ar_ready_i(spill_ar_ready_i),
      .ar_addr_o (spill_ar_addr_o),
      .ar_len_o  (spill_ar_len_o),
      .r_valid_i (spill_r_valid_i),
      .r_ready_o (spill_r_ready_o),
      .r_data_i  (spill_r_data_i),
      .r_resp_i  (spill_r_resp_i),
      .r_last_i  (spill_r_last_i),
      .aw_valid_o(spill_aw_valid_o),
      .aw_ready_i(spill_aw_ready_i),
      .aw_addr_o (spill_aw_addr_o),
      .aw_len_o  (spill_aw_len_o),
      .w_valid_o (spill_w_valid_o),
      .w_ready_i (spill_w_ready_i),
      .w_data_o  (spill_w_data_o),
      .w_last_o  (spill_w_last_o),
      .b_valid_i (spill_b_valid_i),
      .b_ready_o (spill_b_ready_o),
      .b_resp_i  (spill_b_resp_i),
      .error_o   (transfer_error)
    );
  end else begin : gen_no_transfer
    assign transfer_room    = 1'b0;
    assign transfer_idle    = 1'b1;
    assign transfer_error   = 1'b0;
    assign restore          = 1'b0;
    assign save             = 1'b0;
    assign transfer_addr    = '0;
    assign restore_data     = '0;
    assign spill_ar_valid_o = 1'b0;
    assign spill_ar_addr_o  = '0;
    assign spill_ar_len_o   = '0;
    assign spill_r_ready_o  = 1'b0;
    assign spill_aw_valid_o = 1'b0;
    assign spill_aw_addr_o  = '0;
    assign spill_aw_len_o   = '0;
    assign spill_w_valid_o  = 1'b0;
    assign spill_w_data_o   = '0;
    assign spill_w_last_o   = 1'b0;
    assign spill_b_ready_o  = 1'b0;
    logic unused_spill;
    assign unused_spill = ^{transfer_start, lanes_free, save_data, spill_base, spill_ar_ready_i, spill_r_valid_i,
                            spill_r_data_i, spill_r_resp_i, spill_r_last_i, spill_aw_ready_i, spill_w_ready_i,
                            spill_b_valid_i, spill_b_resp_i};
  end

  logic [5:0] class_lanes;

  if (Argmax != 0) begin : gen_argmax
    // Of the last beat of a packet some lanes may be of no channel.
    logic [5:0] lanes;
    assign lanes = class_lanes == '0 || out_last_o ? class_lanes : 6'(Rows);
    espalier_argmax #(
      .Rows(Rows)
    ) u_argmax (
      .clk_i  (clk_i),
      .rst_ni (rst_ni),
      .start_i(start),
      .valid_i(out_valid_o && out_ready_i),
      .data_i (out_data_o),
      .lanes_i(lanes),
      .class_o(best_class)
    );
  end else begin : gen_no_argmax
    logic unused_lanes;
    assign best_class   = '0;
    assign unused_lanes = ^class_lanes;
  end

  espalier_mover #(
    .Rows (Rows),
    .Gates(Gates)
  ) u_mover (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .start_i     (move_start),
    .instr_i     (instr),
    .busy_o      (move_busy),
    .in_valid_i  (in_valid_i),
    .in_ready_o  (in_ready_o),
    .in_data_i   (in_data_i),
    .in_last_i   (in_last_i),
    .in_error_o  (packet_error),
    .out_valid_o (out_valid_o),
    .out_ready_i (out_ready_i),
    .out_data_o  (out_data_o),
    .out_last_o  (out_last_o),
    .gate_valid_o(gate_valid),
    .class_lanes_o(class_lanes),
    .mv_valid_o  (mv_valid),
    .mv_addr_o   (mv_addr),
    .mv_data_o   (mv_data),
    .store_en_o  (store_en),
    .store_addr_o(store_addr),
    .store_data_i(store_data),
    .stall_o     (stall)
  );

`ifndef SYNTHESIS
  initial begin
    if (Rows < 4 || Rows > 32) $fatal(1, "Rows must be 4..32");
    if (Cols < 2 || Cols > 32) $fatal(1, "Cols must be 2..32");
    if (Depthwise < 0 || Depthwise == 1 || Depthwise > 8) $fatal(1, "Depthwise must be 0 or 2..8");
    if (Gates < 0 || (Gates > 0 && Depthwise == 0)) $fatal(1, "Gates want the depthwise unit");
    if (States < 0 || States > 1 || (States > 0 && Gates == 0)) $fatal(1, "States must be 0 or 1 and want gates");
    if (Argmax < 0 || Argmax > 1) $fatal(1, "Argmax must be 0 or 1");
    if (Tables < 0 || Tables > 1) $fatal(1, "Tables must be 0 or 1");
    if (Clusters < 1 || Clusters > 8 || Clusters != 1 << ClusterBits) $fatal(1, "Clusters must be 1, 2, 4 or 8");
    if (Combine < 1 || Combine > 2) $fatal(1, "Combine must be 1 or 2");
    if (HardCols < 0 || HardCols > Cols) $fatal(1, "HardCols must be 0..Cols");
    if (Packed != 0 && HardCols % 2 != 0) $fatal(1, "HardCols must be even if Packed");
    if (LaneDepth < 16 || LaneDepth > 65536) $fatal(1, "LaneDepth must be 16..65536");
    if (AccDepth < 16 || AccDepth > 4096) $fatal(1, "AccDepth must be 16..4096");
    if (AccW < 20 || AccW > 32) $fatal(1, "AccW must be 20..32");
    if (StreamBytes > WordW / 8) $fatal(1, "StreamBytes must be at most a weight word");
    if (WeightDepth < 16 || WeightDepth > 16777216) $fatal(1, "WeightDepth must be 16..2^24");
    if (ProgDepth < 2 || ProgDepth > 65536) $fatal(1, "ProgDepth must be 2..65536");
  end
`endif

endmodule

`default_nettype wire
