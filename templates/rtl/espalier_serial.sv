// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Serial host: commands from a UART reach the host port and both streams of espalier_core, for boards without a
 * processor.
 *
 * A command is seven bytes and its data; numbers are little-endian:
 *
 *   byte 0     1..2       3..6      data                       answer
 *   0x01       words - 1  address   words of 4 bytes           0x01 when all are stored
 *   0x02       words - 1  address                              words of 4 bytes
 *   0x03       beats - 1  0 or 1    beats of Rows bytes        0x03 when the core has taken all
 *   0x04       beats - 1  (any)                                beats of Rows bytes, as soon as the core has them
 *
 * 0x01 and 0x02 are the accesses of espalier_host. Addresses grow by four; in the region of the weights the
 * address behind the last part of a word is the first part of the next word, so that memories are written in
 * one command. An input packet ends with a command whose address is 0. Inputs (0x03) are taken while a program
 * loads them, so it has to be started before. A byte that comes while the core does not take the one before is
 * lost: the answer is then 0xff instead of 0x03.
 *
 * Any other command is answered with 0xff. A break ends what is going on, except for a running program.
 */
module espalier_serial #(
  // Rows of the array = bytes of a beat, at least 4.
  parameter int Rows    = 8,
  // 32-bit parts of a weight word.
  parameter int Parts   = 3,
  // Clocks of a bit of the line.
  parameter int Divider = 25
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,

  // pins
  input  wire logic              rx_i,
  output logic                   tx_o,

  // host port
  output logic                   host_we_o,
  output logic [31:0]            host_addr_o,
  output logic [31:0]            host_wdata_o,
  input  wire logic [31:0]       host_rdata_i,

  // inputs of the core
  output logic                   in_valid_o,
  input  wire logic              in_ready_i,
  output logic [8*Rows-1:0]      in_data_o,
  output logic                   in_last_o,

  // outputs of the core
  input  wire logic              out_valid_i,
  output logic                   out_ready_o,
  input  wire logic [8*Rows-1:0] out_data_i
);

  localparam logic [7:0] OpWrite  = 8'h01;
  localparam logic [7:0] OpRead   = 8'h02;
  localparam logic [7:0] OpInput  = 8'h03;
  localparam logic [7:0] OpOutput = 8'h04;
  localparam logic [7:0] Refused  = 8'hff;

  localparam logic [3:0] RegionWeights = 4'h2;
  localparam logic [3:0] LastPart      = 4'(Parts - 1);
  localparam logic [4:0] LastOfWord    = 5'd3;
  localparam logic [4:0] LastOfBeat    = 5'(Rows - 1);

  // Idle, command bytes, data bytes, one word or beat to or from the core, bytes to send, the answer.
  localparam logic [2:0] Idle   = 3'd0;
  localparam logic [2:0] Header = 3'd1;
  localparam logic [2:0] Data   = 3'd2;
  localparam logic [2:0] Access = 3'd3;
  localparam logic [2:0] Fetch  = 3'd4;
  localparam logic [2:0] Send   = 3'd5;
  localparam logic [2:0] Answer = 3'd6;

  logic [2:0]        state_d, state_q;
  logic [1:0]        op_q;                    // 0x01..0x04, less one
  logic              refused_q;               // the answer is 0xff
  logic [4:0]        byte_d, byte_q;          // bytes of this header, word or beat so far
  logic [15:0]       count_q;                 // words or beats after this one
  logic [31:0]       addr_q;
  logic [8*Rows-1:0] data_q;                  // shifts to the right, first byte lowest

  logic       rx_valid, rx_break, tx_valid, tx_ready;
  logic [7:0] rx_data, tx_data;
  logic       known, beats, last_byte, unit_done, transfer;
  logic       addr_step;

  espalier_uart #(
    .Divider(Divider)
  ) u_uart (
    .clk_i     (clk_i),
    .rst_ni    (rst_ni),
    .rx_i      (rx_i),
    .tx_o      (tx_o),
    .rx_valid_o(rx_valid),
    .rx_break_o(rx_break),
    .rx_data_o (rx_data),
    .tx_valid_i(tx_valid),
    .tx_ready_o(tx_ready),
    .tx_data_i (tx_data)
  );

  assign known     = rx_data >= OpWrite && rx_data <= OpOutput;
  assign beats     = op_q[1];
  assign last_byte = byte_q == (beats ? LastOfBeat : LastOfWord);

  // A write takes one cycle; a read is there in the cycle after its address, which Fetch waits for.
  assign host_we_o    = state_q == Access && !beats;
  assign host_addr_o  = addr_q;
  assign host_wdata_o = data_q[8*Rows-1-:32];
  assign in_valid_o   = state_q == Access && beats;
  assign in_data_o    = data_q;
  assign in_last_o    = count_q == '0 && !addr_q[0];
  assign out_ready_o  = state_q == Fetch && beats;

  assign tx_valid  = state_q == Send || state_q == Answer;
  assign tx_data   = state_q == Send ? data_q[7:0] : refused_q ? Refused : {6'b0, op_q} + 8'd1;
  assign transfer  = tx_valid && tx_ready;

  // The last byte of a word or beat is through.
  assign unit_done = state_q == Access ? !beats || in_ready_i : state_q == Send && transfer && last_byte;
  assign addr_step = unit_done && !beats;

  always_comb begin
    state_d = state_q;
    byte_d  = byte_q;
    case (state_q)
      Idle: begin
        byte_d = '0;
        if (rx_valid) state_d = known ? Header : Answer;
      end
      Header: begin
        if (rx_valid) begin
          byte_d = byte_q + 5'd1;
          if (byte_q == 5'd5) begin
            byte_d  = '0;
            state_d = op_q[0] ? Fetch : Data;
          end
        end
      end
      Data: begin
        if (rx_valid) begin
          byte_d = byte_q + 5'd1;
          if (last_byte) begin
            byte_d  = '0;
            state_d = Access;
          end
        end
      end
      Access: begin
        if (unit_done) state_d = count_q == '0 ? Answer : Data;
      end
      Fetch: begin
        // The address of a read settles for three cycles.
        byte_d = byte_q + 5'd1;
        if (beats ? out_valid_i : byte_q == 5'd2) begin
          byte_d  = '0;
          state_d = Send;
        end
        if (beats && !out_valid_i) byte_d = '0;
      end
      Send: begin
        if (transfer) byte_d = byte_q + 5'd1;
        if (unit_done) begin
          byte_d  = '0;
          state_d = count_q == '0 ? Idle : Fetch;
        end
      end
      Answer: begin
        if (transfer) state_d = Idle;
      end
      default: state_d = Idle;
    endcase
    if (rx_break) state_d = Idle;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= Idle;
    else         state_q <= state_d;
  end

  always_ff @(posedge clk_i) begin
    byte_q <= byte_d;
    if (state_q == Idle && rx_valid) begin
      op_q      <= rx_data[1:0] - 2'd1;
      refused_q <= !known;
    end else if (state_q == Access && rx_valid) begin
      refused_q <= 1'b1;
    end
    if (state_q == Header && rx_valid) {addr_q, count_q} <= {rx_data, addr_q, count_q[15:8]};
    if (unit_done) count_q <= count_q - 16'd1;
    if (addr_step) begin
      if (addr_q[31:28] == RegionWeights && addr_q[5:2] == LastPart) begin
        addr_q <= {addr_q[31:28], addr_q[27:6] + 22'd1, 6'b0};
      end else begin
        addr_q <= addr_q + 32'd4;
      end
    end
    if (state_q == Fetch) data_q <= beats ? out_data_i : (8 * Rows)'(host_rdata_i);
    else if (state_q == Send ? transfer : state_q == Data && rx_valid) data_q <= {rx_data, data_q[8*Rows-1:8]};
  end

`ifndef SYNTHESIS
  initial begin
    if (Divider < 4) $fatal(1, "Divider must be at least 4");
  end
`endif

endmodule

`default_nettype wire
