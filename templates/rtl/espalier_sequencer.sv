// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Sequencer: fetches instructions, dispatches them in order, and counts cycles.
 *
 * An instruction is eight 32-bit words; ten cycles after its fetch starts it can be dispatched. A CONV goes
 * to the weight loader and to the pending register, from which the streamer takes it; the next fetch starts
 * at once. LOAD and STORE wait until everything before them is finished, and everything after them waits for
 * them. FILL waits until the block before it streams and everything earlier is written; the write-back of that
 * block waits for it (hold_o), and so does everything after it. The fetch after a LOAD or STORE starts only when it has ended: then a waiting stream stops
 * everything, and the number of cycles without the waiting ones does not depend on the streams.
 *
 * SAVE and RESTORE go to the queue of transfers, when it has room, the CONV before them streams and everything
 * earlier, with a barrier that block, too, is as good as written; the next fetch starts at once. LOAD, STORE and END
 * wait for all of them. FILLs of a block stand before the transfers behind it.
 *
 * END waits like LOAD and raises done_o until the next start. An unknown opcode ends the program, too. error_o is the
 * first error of the run (espalier_host lists the codes); those of external memory and of input packets do
 * not end it, since no wait depends on data.
 */
module espalier_sequencer #(
  // Bits of a program memory address (32-bit words).
  parameter int ProgAddrW = 10,
  // 1 = there is a unit for SAVE and RESTORE.
  parameter int Spill     = 0,
  // Bits of an instruction number; derived, do not override.
  parameter int IndexW    = ProgAddrW - 3
) (
  input  wire logic                 clk_i,
  input  wire logic                 rst_ni,

  // control and status
  input  wire logic                 start_i,
  output logic                      running_o,
  output logic                      done_o,
  output logic [3:0]                error_o,
  output logic [31:0]               cycles_o,
  output logic [31:0]               stalls_o,
  output logic [IndexW-1:0]         index_o,

  // external memory answered with an error; an input packet ended too early or too late
  input  wire logic                 fault_i,
  input  wire logic                 packet_i,

  // program memory, data two cycles after the address
  output logic                      mem_en_o,
  output logic [ProgAddrW-1:0]      mem_addr_o,
  input  wire logic [31:0]          mem_data_i,

  // loader
  output logic                      load_start_o,
  output logic [255:0]              instr_o,
  input  wire logic                 load_ready_i,

  // streamer
  output logic                      pend_valid_o,
  output logic [255:0]              pend_instr_o,
  output logic [IndexW-1:0]         pend_index_o,
  input  wire logic                 take_i,

  // mover
  output logic                      move_start_o,
  output logic [IndexW-1:0]         move_index_o,
  input  wire logic                 move_busy_i,
  input  wire logic                 stall_i,

  // transfers: room for one, none waits or runs; banks of accumulators whose block is not written
  output logic                      transfer_start_o,
  input  wire logic                 transfer_room_i,
  input  wire logic                 transfer_idle_i,
  input  wire logic                 older_free_i,
  input  wire logic                 newest_free_i,

  // streams, banks and drains; whether all but the newest block is written; whether a FILL runs or may come
  input  wire logic                 compute_busy_i,
  input  wire logic                 written_i,
  output logic                      hold_o
);


  logic                 running_q, done_q;
  logic [3:0]           error_q;
  logic                 fetching_d, fetching_q;
  logic                 hold_d, hold_q;       // a LOAD or STORE runs: fetch later
  logic [2:0]           word_q;
  logic [IndexW-1:0]    index_q;              // instruction that is fetched or waits for dispatch
  logic [1:0]           arrive_q;             // fetched word in the memory, and in its output register
  logic [1:0]           last_q;
  logic                 instr_valid_d, instr_valid_q;
  logic [255:0]         instr_q;
  logic                 pend_valid_q;
  logic [255:0]         pend_instr_q;
  logic [IndexW-1:0]    pend_index_q;
  logic [IndexW-1:0]    move_index_q;
  logic [31:0]          cycles_q, stalls_q;
  logic                 count_q, stall_q;

  logic       word_last, word_arrived;
  logic [2:0] opcode;
  logic       is_conv, is_move, is_wait, is_fill, is_transfer, is_end, is_unknown;
  logic       idle, dispatch_conv, dispatch_move, dispatch_transfer, finish;
  logic       closed_q;                       // a transfer went out since the newest block: no FILL comes

  assign word_last    = fetching_q && word_q == 3'd7;
  assign word_arrived = last_q[1];

  assign opcode     = instr_q[espalier_pkg::OPCODE_LSB+:3];
  assign is_conv    = instr_valid_q && opcode == espalier_pkg::OP_CONV;
  assign is_wait    = instr_valid_q && (opcode == espalier_pkg::OP_LOAD || opcode == espalier_pkg::OP_STORE);
  assign is_fill    = instr_valid_q && opcode == espalier_pkg::OP_FILL;
  assign is_move    = is_wait || is_fill;
  assign is_end     = instr_valid_q && opcode == espalier_pkg::OP_END;
  assign is_transfer = Spill != 0 && instr_valid_q
                       && (opcode == espalier_pkg::OP_SAVE || opcode == espalier_pkg::OP_RESTORE);
  assign is_unknown = instr_valid_q && !is_conv && !is_move && !is_transfer && !is_end;

  assign idle          = !pend_valid_q && load_ready_i && !compute_busy_i && !move_busy_i && transfer_idle_i;
  assign dispatch_conv = is_conv && load_ready_i && !pend_valid_q && !move_busy_i;
  assign dispatch_move = is_fill ? !pend_valid_q && !move_busy_i && written_i : is_wait && idle;
  assign dispatch_transfer = is_transfer && !pend_valid_q && !move_busy_i && transfer_room_i && older_free_i
                             && (newest_free_i || !instr_q[espalier_pkg::BARRIER_LSB]);
  assign finish        = (is_end || is_unknown) && idle;

  // A pending CONV belongs to a block that is not complete, so no FILL can belong before what is.
  assign hold_o       = !pend_valid_q && !closed_q && (!instr_valid_q || is_fill || move_busy_i);
  assign running_o    = running_q;
  assign done_o       = done_q;
  assign error_o      = error_q;
  assign cycles_o     = cycles_q;
  assign stalls_o     = stalls_q;
  assign index_o      = index_q;
  assign mem_en_o     = fetching_q;
  assign mem_addr_o   = {index_q, word_q};
  assign load_start_o = dispatch_conv;
  assign instr_o      = instr_q;
  assign pend_valid_o = pend_valid_q;
  assign pend_instr_o = pend_instr_q;
  assign pend_index_o = pend_index_q;
  assign transfer_start_o = dispatch_transfer;
  assign move_start_o = dispatch_move;
  assign move_index_o = move_index_q;

  always_comb begin
    fetching_d    = fetching_q;
    hold_d        = hold_q;
    instr_valid_d = instr_valid_q;
    if (word_last) fetching_d = 1'b0;
    if (word_arrived) instr_valid_d = 1'b1;
    if (dispatch_conv || dispatch_move || dispatch_transfer || finish) instr_valid_d = 1'b0;
    if (dispatch_conv || (dispatch_move && !is_wait) || dispatch_transfer) fetching_d = 1'b1;
    if (dispatch_move && is_wait) hold_d = 1'b1;
    if (hold_q && !move_busy_i) begin
      hold_d     = 1'b0;
      fetching_d = 1'b1;
    end
    if (start_i) fetching_d = 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      running_q     <= 1'b0;
      done_q        <= 1'b0;
      error_q       <= '0;
      fetching_q    <= 1'b0;
      hold_q        <= 1'b0;
      word_q        <= '0;
      arrive_q      <= '0;
      last_q        <= '0;
      instr_valid_q <= 1'b0;
      pend_valid_q  <= 1'b0;
      closed_q      <= 1'b0;
      count_q       <= 1'b0;
      stall_q       <= 1'b0;
    end else begin
      fetching_q    <= fetching_d;
      hold_q        <= hold_d;
      instr_valid_q <= instr_valid_d;
      arrive_q      <= {arrive_q[0], fetching_q};
      last_q        <= {last_q[0], word_last};
      if (fetching_q) word_q <= word_q + 3'd1;
      if (take_i) pend_valid_q <= 1'b0;
      if (dispatch_conv) pend_valid_q <= 1'b1;
      if (dispatch_transfer) closed_q <= 1'b1;
      else if (dispatch_conv) closed_q <= 1'b0;
      if (start_i) begin
        running_q <= 1'b1;
        done_q    <= 1'b0;
        error_q   <= '0;
      end else begin
        if (finish) begin
          running_q <= 1'b0;
          done_q    <= 1'b1;
        end
        if (error_q == '0) begin
          if (fault_i) error_q <= espalier_pkg::ERROR_MEMORY;
          else if (packet_i) error_q <= espalier_pkg::ERROR_PACKET;
          else if (finish && is_unknown) error_q <= espalier_pkg::ERROR_UNKNOWN_INSTRUCTION;
        end
      end
      count_q <= running_q;
      stall_q <= stall_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) index_q <= '0;
    else if (dispatch_conv || dispatch_move || dispatch_transfer) index_q <= index_q + IndexW'(1);
    if (arrive_q[1]) instr_q <= {mem_data_i, instr_q[255:32]};
    if (dispatch_conv) begin
      pend_instr_q <= instr_q;
      pend_index_q <= index_q;
    end
    if (dispatch_move) move_index_q <= index_q;
    if (start_i) begin
      cycles_q <= '0;
      stalls_q <= '0;
    end else if (count_q) begin
      if (stall_q) stalls_q <= stalls_q + 32'd1;
      else         cycles_q <= cycles_q + 32'd1;
    end
  end


`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(finish && is_unknown)) else $error("unknown opcode %0d", opcode);
      assert (!(start_i && running_q)) else $error("start while running");
    end
  end
`endif

endmodule

`default_nettype wire
