// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Mover: FILL, LOAD and STORE. It runs only while streams and drains are idle.
 *
 * FILL and LOAD write one address a cycle in all lanes; their writes reach the write-back one cycle later.
 * STORE reads one address a cycle into a small FIFO. A read is issued only if the FIFO has room for all
 * reads on their way, and the FIFO is deep enough that the output stream has no gap however long it was
 * stopped: a waiting stream costs exactly the cycles it waits.
 *
 * With `gated` the beats of a STORE go to espalier_gates instead, which always has room.
 *
 * A stream is one packet over all instructions whose bit `partial` says that it goes on: the last beat of the one
 * without it carries TLAST on the output, and must on the input.
 *
 * Streams: a beat is transferred when valid and ready are high; valid never waits for ready and data stay
 * stable while valid waits.
 */
module espalier_mover #(
  // Rows of the array.
  parameter int Rows  = 8,
  // Whether there is a queue of gates.
  parameter int Gates = 0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,

  // instruction; start_i only while busy_o is low
  input  wire logic              start_i,
  input  wire logic [255:0]      instr_i,
  output logic                   busy_o,

  // input stream
  input  wire logic              in_valid_i,
  output logic                   in_ready_o,
  input  wire logic [8*Rows-1:0] in_data_i,
  input  wire logic              in_last_i,
  // a beat ends a packet where none should, or does not end one
  output logic                   in_error_o,

  // output stream
  output logic                   out_valid_o,
  input  wire logic              out_ready_i,
  output logic [8*Rows-1:0]      out_data_o,
  output logic                   out_last_o,

  // out_data_o is a beat of gates
  output logic                   gate_valid_o,

  // lanes of the last beat of the packet that count for the class, 0 = none of this instruction
  output logic [5:0]             class_lanes_o,

  // to the write-back
  output logic                   mv_valid_o,
  output logic [15:0]            mv_addr_o,
  output logic [8*Rows-1:0]      mv_data_o,

  // to the lanes: address, data three cycles later
  output logic                   store_en_o,
  output logic [15:0]            store_addr_o,
  input  wire logic [8*Rows-1:0] store_data_i,

  // a cycle in which a stream waits for the other side
  output logic                   stall_o
);

  // The round trip of a read (issue, three cycles of memory, FIFO, credit) is five cycles.
  localparam int FifoAddrW = 3;

  logic        busy_d, busy_q;                // cells left to issue
  logic        fill_q, load_q, store_q;
  logic [11:0] x_d, x_q, y_d, y_q;
  logic        x_last_d, x_last_q, y_last_d, y_last_q;
  logic [11:0] nx_m1_q;
  logic        nx_one_q;
  logic [15:0] addr_d, addr_q, row_d, row_q, step_q;
  logic [7:0]  value_q;
  logic [2:0]  replicate_q;
  logic        more_q;                        // the packet goes on behind this instruction
  logic        gates_q;                       // what is stored are gates

  logic [FifoAddrW:0] inflight_q;             // reads issued and not yet accepted by the output
  logic               room;
  logic               issue, push, pop, packet_last;
  logic [15:0]        row_next, new_base;
  logic [11:0]        new_nx, new_ny;
  logic [2:0]         opcode;

  assign opcode   = instr_i[espalier_pkg::OPCODE_LSB+:3];
  assign new_base = opcode == espalier_pkg::OP_STORE ? instr_i[espalier_pkg::SRC_BASE_LSB+:16]
                                                     : instr_i[espalier_pkg::DST_BASE_LSB+:16];
  assign new_nx   = instr_i[espalier_pkg::NX_LSB+:12];
  assign new_ny   = instr_i[espalier_pkg::NY_LSB+:12];
  assign row_next = row_q + step_q;
  assign room     = !inflight_q[FifoAddrW];
  assign issue    = busy_q && (fill_q || (load_q && in_valid_i) || (store_q && room));

  assign packet_last = x_last_q && y_last_q && !more_q;
  assign in_error_o  = busy_q && load_q && in_valid_i && in_last_i != packet_last;

  assign in_ready_o = busy_q && load_q;
  assign busy_o     = busy_q || inflight_q != '0;
  assign stall_o    = (in_ready_o && !in_valid_i) || (out_valid_o && !out_ready_i);

  always_comb begin
    busy_d   = busy_q;
    x_d      = x_q;
    x_last_d = x_last_q;
    y_d      = y_q;
    y_last_d = y_last_q;
    addr_d   = addr_q;
    row_d    = row_q;
    if (issue) begin
      x_d      = x_q - 12'd1;
      x_last_d = x_q == 12'd1;
      addr_d   = addr_q + 16'd1;
      if (x_last_q) begin
        x_d      = nx_m1_q;
        x_last_d = nx_one_q;
        y_d      = y_q - 12'd1;
        y_last_d = y_q == 12'd1;
        addr_d   = row_next;
        row_d    = row_next;
        if (y_last_q) busy_d = 1'b0;
      end
    end
    if (start_i) begin
      busy_d   = 1'b1;
      x_d      = new_nx - 12'd1;
      x_last_d = new_nx == 12'd1;
      y_d      = new_ny - 12'd1;
      y_last_d = new_ny == 12'd1;
      addr_d   = new_base;
      row_d    = new_base;
    end
  end

  always_ff @(posedge clk_i) begin
    x_q      <= x_d;
    x_last_q <= x_last_d;
    y_q      <= y_d;
    y_last_q <= y_last_d;
    addr_q   <= addr_d;
    row_q    <= row_d;
    if (start_i) begin
      fill_q      <= opcode == espalier_pkg::OP_FILL;
      load_q      <= opcode == espalier_pkg::OP_LOAD;
      store_q     <= opcode == espalier_pkg::OP_STORE;
      nx_m1_q     <= x_d;
      nx_one_q    <= x_last_d;
      step_q      <= opcode == espalier_pkg::OP_STORE ? instr_i[espalier_pkg::SRC_STEP_Y_LSB+:16]
                                                      : instr_i[espalier_pkg::DST_STEP_Y_LSB+:16];
      value_q     <= instr_i[espalier_pkg::ZERO_POINT_LSB+:8];
      more_q      <= instr_i[espalier_pkg::PARTIAL_LSB];
      replicate_q <= instr_i[espalier_pkg::COLUMNS_LSB+:3];
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      class_lanes_o <= opcode == espalier_pkg::OP_STORE ? instr_i[espalier_pkg::COLUMNS_LSB+:6] : '0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= 1'b0;
    else         busy_q <= busy_d;
  end

  // Writes. Lane l of a tensor with C <= 4 channels takes byte l mod C while whole copies fit.
  for (genvar l = 0; l < Rows; l++) begin : gen_lane
    localparam int Of1 = 0;
    localparam int Of2 = l < 2 * (Rows / 2) ? l % 2 : l;
    localparam int Of3 = l < 3 * (Rows / 3) ? l % 3 : l;
    localparam int Of4 = l < 4 * (Rows / 4) ? l % 4 : l;
    logic [7:0] own, beat;
    logic [7:0] of1, of2, of3, of4;
    assign own = in_data_i[8*l+:8];
    assign of1 = in_data_i[8*Of1+:8];
    assign of2 = in_data_i[8*Of2+:8];
    assign of3 = in_data_i[8*Of3+:8];
    assign of4 = in_data_i[8*Of4+:8];

    always_comb begin
      case (replicate_q)
        3'd1: beat = of1;
        3'd2: beat = of2;
        3'd3: beat = of3;
        3'd4: beat = of4;
        default: beat = own;
      endcase
    end

    always_ff @(posedge clk_i) mv_data_o[8*l+:8] <= fill_q ? value_q : beat;
  end

  always_ff @(posedge clk_i) begin
    mv_addr_o <= addr_q;
    if (!rst_ni) mv_valid_o <= 1'b0;
    else         mv_valid_o <= issue && !store_q;
  end

  // Reads.
  logic [2:0] push_q, last_q;
  logic       valid, ready;

  assign store_en_o   = issue && store_q;
  assign store_addr_o = addr_q;
  assign push         = push_q[2];
  assign pop          = valid && ready;
  assign ready        = gates_q || out_ready_i;
  assign out_valid_o  = valid && !gates_q;
  assign gate_valid_o = valid && gates_q;

  if (Gates != 0) begin : gen_gates
    // Until the next instruction starts, all beats of this one have left.
    always_ff @(posedge clk_i) begin
      if (!rst_ni) gates_q <= 1'b0;
      else if (start_i) gates_q <= opcode == espalier_pkg::OP_STORE && instr_i[espalier_pkg::GATED_LSB];
    end
  end else begin : gen_no_gates
    assign gates_q = 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      push_q     <= '0;
      inflight_q <= '0;
    end else begin
      push_q <= {push_q[1:0], store_en_o};
      if (store_en_o && !pop) inflight_q <= inflight_q + (FifoAddrW + 1)'(1);
      if (pop && !store_en_o) inflight_q <= inflight_q - (FifoAddrW + 1)'(1);
    end
  end

  always_ff @(posedge clk_i) last_q <= {last_q[1:0], packet_last};

  espalier_fifo #(
    .Width(8 * Rows + 1),
    .AddrW(FifoAddrW)
  ) u_fifo (
    .clk_i  (clk_i),
    .rst_ni (rst_ni),
    .push_i (push),
    .data_i ({last_q[2], store_data_i}),
    .valid_o(valid),
    .ready_i(ready),
    .data_o ({out_last_o, out_data_o})
  );

  logic unused_instr;
  assign unused_instr = ^instr_i;

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni && start_i) begin
      assert (!busy_o) else $error("mover started while busy");
      assert (new_nx != 0 && new_ny != 0)
      else $error("FILL, LOAD or STORE without cells");
    end
  end
`endif

endmodule

`default_nettype wire
