// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Transfers between the lanes and external memory: SAVE and RESTORE, beside everything else.
 *
 * Instructions wait in a queue of four and run one after another; idle_o is high when none waits or runs. An address of
 * all lanes, a word, takes Beats beats in memory, lowest lane first, the rest of the last beat zero. The beats of every
 * run move in bursts as of espalier_burst. Base and instructions count in beats.
 *
 * RESTORE requests bursts ahead, at most Outstanding, and holds data back (rready low) while a word cannot reach the
 * lanes. SAVE reads words into a small FIFO, sends a burst's address with its first data or before them, and ends when
 * all responses are there. Both touch the lanes only in cycles in which free_i is high: it says that neither write-back
 * nor FILL writes. restore_o and save_o are high in such a cycle; the data of a save come three cycles later.
 *
 * Latency: an instruction leaves the queue in the cycle behind start_i at the earliest and requests its first burst,
 * or reads its first word, in the one behind that.
 */
module espalier_transfer #(
  // Rows of the array = bytes of a word.
  parameter int Rows        = 8,
  // Bytes of a beat, a power of two.
  parameter int BusBytes    = 8,
  // Beats of a burst, a power of two, and bursts that may be read ahead.
  parameter int BurstBeats  = 16,
  parameter int Outstanding = 8
) (
  input  wire logic                  clk_i,
  input  wire logic                  rst_ni,

  // address of the spilled tensors, a multiple of 4096
  input  wire logic [63:0]           base_i,

  // instructions; start_i only while room_o is high
  input  wire logic                  start_i,
  input  wire logic [255:0]          instr_i,
  output logic                       room_o,
  output logic                       idle_o,

  // lanes
  input  wire logic                  free_i,
  output logic                       restore_o,
  output logic                       save_o,
  output logic [15:0]                addr_o,
  output logic [8*Rows-1:0]          data_o,
  input  wire logic [8*Rows-1:0]     saved_i,

  // AXI4
  output logic                       ar_valid_o,
  input  wire logic                  ar_ready_i,
  output logic [63:0]                ar_addr_o,
  output logic [7:0]                 ar_len_o,
  input  wire logic                  r_valid_i,
  output logic                       r_ready_o,
  input  wire logic [8*BusBytes-1:0] r_data_i,
  input  wire logic [1:0]            r_resp_i,
  input  wire logic                  r_last_i,
  output logic                       aw_valid_o,
  input  wire logic                  aw_ready_i,
  output logic [63:0]                aw_addr_o,
  output logic [7:0]                 aw_len_o,
  output logic                       w_valid_o,
  input  wire logic                  w_ready_i,
  output logic [8*BusBytes-1:0]      w_data_o,
  output logic                       w_last_o,
  input  wire logic                  b_valid_i,
  output logic                       b_ready_o,
  input  wire logic [1:0]            b_resp_i,

  // a beat or a burst came with an error response
  output logic                       error_o
);

  localparam int Beats     = (Rows + BusBytes - 1) / BusBytes;
  localparam int WordW     = 8 * Beats * BusBytes;
  localparam int BeatW     = $clog2(BusBytes);
  localparam int LenW      = $clog2(BurstBeats) + 1;
  localparam int CountW    = Beats > 1 ? $clog2(Beats) : 1;
  localparam int RunW      = 16 + $clog2(Beats + 1);
  localparam int QueueW    = 2;
  localparam int FifoAddrW = 3;

  localparam logic [CountW-1:0] LastBeat = CountW'(Beats - 1);

  // --- queue
  localparam int EntryW = 1 + 24 + 24 + 16 + 16 + 16 + 12;

  logic              q_valid, q_pop, q_restore;
  logic [23:0]       q_first, q_step;
  logic [15:0]       q_lane, q_lane_step, q_run;
  logic [11:0]       q_planes;
  logic [QueueW:0]   waiting_q;
  logic              active_q;

  espalier_fifo #(
    .Width(EntryW),
    .AddrW(QueueW)
  ) u_queue (
    .clk_i  (clk_i),
    .rst_ni (rst_ni),
    .push_i (start_i),
    .data_i ({instr_i[espalier_pkg::OPCODE_LSB+:3] == espalier_pkg::OP_RESTORE,
              instr_i[espalier_pkg::FIRST_BEAT_LSB+:24], instr_i[espalier_pkg::STEP_BEATS_LSB+:24],
              instr_i[espalier_pkg::DST_BASE_LSB+:16], instr_i[espalier_pkg::DST_STEP_Y_LSB+:16],
              instr_i[espalier_pkg::RUN_LSB+:16], instr_i[espalier_pkg::NY_LSB+:12]}),
    .valid_o(q_valid),
    .ready_i(q_pop),
    .data_o ({q_restore, q_first, q_step, q_lane, q_lane_step, q_run, q_planes})
  );

  assign q_pop  = q_valid && !active_q;
  assign room_o = !waiting_q[QueueW];
  assign idle_o = waiting_q == '0 && !active_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) waiting_q <= '0;
    else waiting_q <= waiting_q + (start_i ? (QueueW + 1)'(1) : '0) - (q_pop ? (QueueW + 1)'(1) : '0);
  end

  // --- bursts: run by run
  logic              restore_q;
  logic              more_q;                  // bursts are left
  logic [63:0]       addr_q, plane_addr_q;
  logic [31:0]       step_q;                  // bytes from run to run
  logic [RunW-1:0]   run_beats_q, left_q;     // beats of a run, and those of this one that are left
  logic [11:0]       runs_q;                  // runs behind this one
  logic [3:0]        open_q;                  // bursts requested and not answered
  logic [LenW-1:0]   length;
  logic              burst, burst_room, burst_done, run_done;
  logic [63:0]       next_addr, next_plane;
  logic              a_valid, a_ready;        // either address channel
  logic [63:0]       a_addr;
  logic [7:0]        a_len;
  logic              w_open_q;                // a burst is being written
  logic [LenW-1:0]   w_left_q;
  logic              w_fire, w_end;

  // An instruction ends behind all its requests: those that wait are of the one that runs.
  espalier_burst #(
    .BusBytes  (BusBytes),
    .BurstBeats(BurstBeats),
    .LeftW     (RunW)
  ) u_requests (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .addr_i  (addr_q),
    .left_i  (left_q),
    .take_i  (burst),
    .room_o  (burst_room),
    .length_o(length),
    .next_o  (next_addr),
    .valid_o (a_valid),
    .ready_i (a_ready),
    .addr_o  (a_addr),
    .len_o   (a_len)
  );

  assign ar_valid_o = a_valid && restore_q;
  assign aw_valid_o = a_valid && !restore_q;
  assign a_ready    = restore_q ? ar_ready_i : aw_ready_i;
  assign ar_addr_o  = a_addr;
  assign aw_addr_o  = a_addr;
  assign ar_len_o   = a_len;
  assign aw_len_o   = a_len;

  assign run_done    = left_q == RunW'(length);
  assign next_plane  = plane_addr_q + {32'b0, step_q};
  assign burst       = active_q && more_q && burst_room && open_q < 4'(Outstanding)
                       && (restore_q || !w_open_q || w_end);
  assign burst_done  = restore_q ? r_valid_i && r_ready_o && r_last_i : b_valid_i;
  assign b_ready_o   = 1'b1;

  always_ff @(posedge clk_i) begin
    if (burst) begin
      addr_q <= next_addr;
      left_q <= left_q - RunW'(length);
      if (run_done) begin
        addr_q       <= next_plane;
        plane_addr_q <= next_plane;
        left_q       <= run_beats_q;
        runs_q       <= runs_q - 12'd1;
      end
    end
    if (q_pop) begin
      restore_q    <= q_restore;
      addr_q       <= base_i + (64'(q_first) << BeatW);
      plane_addr_q <= base_i + (64'(q_first) << BeatW);
      step_q       <= 32'(q_step) << BeatW;
      left_q       <= RunW'(q_run) * RunW'(Beats);
      run_beats_q  <= RunW'(q_run) * RunW'(Beats);
      runs_q       <= q_planes - 12'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      more_q <= 1'b0;
      open_q <= '0;
    end else begin
      if (burst && run_done && runs_q == '0) more_q <= 1'b0;
      if (q_pop) more_q <= 1'b1;
      open_q <= open_q + (burst ? 4'd1 : 4'd0) - (burst_done ? 4'd1 : 4'd0);
    end
  end

  // --- lanes: one word a grant, run by run
  logic        words_q;                       // words are left
  logic [15:0] lane_q, lane_run_q, lane_step_q, run_m1_q, word_left_q;
  logic [11:0] lane_runs_q;
  logic        grant;

  assign addr_o = lane_q;
  assign grant  = restore_o || save_o;

  always_ff @(posedge clk_i) begin
    if (grant) begin
      lane_q      <= lane_q + 16'd1;
      word_left_q <= word_left_q - 16'd1;
      if (word_left_q == '0) begin
        lane_q      <= lane_run_q + lane_step_q;
        lane_run_q  <= lane_run_q + lane_step_q;
        word_left_q <= run_m1_q;
        lane_runs_q <= lane_runs_q - 12'd1;
      end
    end
    if (q_pop) begin
      lane_q      <= q_lane;
      lane_run_q  <= q_lane;
      lane_step_q <= q_lane_step;
      run_m1_q    <= q_run - 16'd1;
      word_left_q <= q_run - 16'd1;
      lane_runs_q <= q_planes - 12'd1;
    end
  end

  logic last_word;
  assign last_word = grant && word_left_q == '0 && lane_runs_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) words_q <= 1'b0;
    else if (q_pop) words_q <= 1'b1;
    else if (last_word) words_q <= 1'b0;
  end

  // --- restore: beats to words
  logic [CountW-1:0] r_beat_q;
  logic [WordW-1:0]  word_q, word;
  logic              word_valid_q, beat, word_last;

  assign word_last = r_beat_q == LastBeat;
  assign r_ready_o = !(word_last && word_valid_q && !free_i);
  assign beat      = r_valid_i && r_ready_o;
  assign restore_o = word_valid_q && free_i;
  assign data_o    = word_q[8*Rows-1:0];

  if (Beats > 1) begin : gen_collect
    logic [WordW-8*BusBytes-1:0] early_q;
    assign word = {r_data_i, early_q};
    always_ff @(posedge clk_i) begin
      if (beat) early_q <= word[WordW-1:8*BusBytes];
    end
  end else begin : gen_whole
    assign word = r_data_i;
  end

  always_ff @(posedge clk_i) begin
    if (beat && word_last) word_q <= word;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      r_beat_q     <= '0;
      word_valid_q <= 1'b0;
    end else begin
      if (beat) r_beat_q <= word_last ? '0 : r_beat_q + CountW'(1);
      if (beat && word_last) word_valid_q <= 1'b1;
      else if (free_i) word_valid_q <= 1'b0;
    end
  end

  // --- save: words to beats
  logic [FifoAddrW:0] held_q;                 // words read and not yet sent
  logic [2:0]         push_q;
  logic               s_valid, s_pop;
  logic [8*Rows-1:0]  s_word;
  logic [WordW-1:0]   s_padded;
  logic [CountW-1:0]  w_beat_q;

  assign save_o = active_q && !restore_q && words_q && free_i && !held_q[FifoAddrW];

  espalier_fifo #(
    .Width(8 * Rows),
    .AddrW(FifoAddrW)
  ) u_words (
    .clk_i  (clk_i),
    .rst_ni (rst_ni),
    .push_i (push_q[2]),
    .data_i (saved_i),
    .valid_o(s_valid),
    .ready_i(s_pop),
    .data_o (s_word)
  );

  assign s_padded  = WordW'(s_word);
  assign w_valid_o = w_open_q && s_valid;
  assign w_fire    = w_valid_o && w_ready_i;
  assign w_last_o  = w_left_q == LenW'(1);
  assign w_end     = w_fire && w_last_o;
  assign s_pop     = w_fire && w_beat_q == LastBeat;

  always_comb begin
    w_data_o = '0;
    for (int i = 0; i < Beats; i++) begin
      if (w_beat_q == CountW'(i)) w_data_o = s_padded[8*BusBytes*i+:8*BusBytes];
    end
  end

  always_ff @(posedge clk_i) begin
    if (w_fire) w_left_q <= w_left_q - LenW'(1);
    if (burst) w_left_q <= length;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      push_q   <= '0;
      held_q   <= '0;
      w_beat_q <= '0;
      w_open_q <= 1'b0;
    end else begin
      push_q <= {push_q[1:0], save_o};
      held_q <= held_q + (save_o ? (FifoAddrW + 1)'(1) : '0) - (s_pop ? (FifoAddrW + 1)'(1) : '0);
      if (w_fire) w_beat_q <= w_beat_q == LastBeat ? '0 : w_beat_q + CountW'(1);
      if (w_end) w_open_q <= 1'b0;
      if (burst && !restore_q) w_open_q <= 1'b1;
    end
  end

  // --- end
  logic done;
  assign done = active_q && (restore_q ? last_word : !more_q && !w_open_q && open_q == '0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) active_q <= 1'b0;
    else if (q_pop) active_q <= 1'b1;
    else if (done) active_q <= 1'b0;
  end

  assign error_o = (beat && r_resp_i[1]) || (b_valid_i && b_resp_i[1]);

  logic unused_bits;
  assign unused_bits = ^{instr_i, word_q, r_resp_i[0], b_resp_i[0]};

`ifndef SYNTHESIS
  logic                w_held_q;
  logic [8*BusBytes:0] w_q;
  always @(posedge clk_i) begin
    w_held_q <= rst_ni && w_valid_o && !w_ready_i;
    w_q      <= {w_last_o, w_data_o};
    if (rst_ni) begin
      assert (!(start_i && !room_o)) else $error("transfer without room");
      assert (!(q_pop && a_valid)) else $error("request of the transfer before");
      assert (w_held_q !== 1'b1 || (w_valid_o && {w_last_o, w_data_o} == w_q))
      else $error("write data changed while they waited");
      assert (!(r_valid_i && !(active_q && restore_q && open_q != '0))) else $error("beat without a request");
      assert (!(b_valid_i && open_q == '0)) else $error("response without a burst");
      assert (!(start_i && base_i[11:0] != '0)) else $error("base of the spilled tensors is no multiple of 4096");
    end
  end
`endif

endmodule

`default_nettype wire
