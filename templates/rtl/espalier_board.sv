// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * The accelerator on a board without a processor: core, serial host, and a reset after configuration.
 *
 * The hex files become the initial content of block RAMs. Weights in single-port memories
 * (WeightSinglePort, as the SPRAM of iCE40 UltraPlus) have none; they come through the serial line.
 */
module espalier_board #(
  // Clocks of a bit of the serial line: frequency of clk over its rate, rounded.
  parameter int Divider          = 25,
  // 1 = the weight memory is written and read through one port.
  parameter int WeightSinglePort = 0,
  // 1 = block RAM instead of some registers.
  parameter int Compact          = 0,
  // Hex files with the initial content of the memories; "" leaves them to the host.
  parameter     ProgramFile      = "",
  parameter     WeightFile       = ""
) (
  input  wire logic clk,
  input  wire logic uart_rx,
  output logic      uart_tx,
  // high from the end of a program until the next start
  output logic      led
);

  localparam int Rows  = espalier_pkg::ROWS;
  localparam int WordW = 8 * espalier_pkg::COLS + 16
                         + (espalier_pkg::COMBINE - 1) * (16 + 8 * ((espalier_pkg::COLS + 7) / 8));

  // Registers are zero after configuration.
  logic [4:0] reset_q = '0;
  logic       rst_n;

  assign rst_n = reset_q[4];

  always_ff @(posedge clk) begin
    if (!rst_n) reset_q <= reset_q + 5'd1;
  end

  logic              host_we;
  logic [31:0]       host_addr, host_wdata, host_rdata;
  logic              in_valid, in_ready, in_last, out_valid, out_ready;
  logic [8*Rows-1:0] in_data, out_data;

  espalier_serial #(
    .Rows   (Rows),
    .Parts  ((WordW + 31) / 32),
    .Divider(Divider)
  ) u_serial (
    .clk_i       (clk),
    .rst_ni      (rst_n),
    .rx_i        (uart_rx),
    .tx_o        (uart_tx),
    .host_we_o   (host_we),
    .host_addr_o (host_addr),
    .host_wdata_o(host_wdata),
    .host_rdata_i(host_rdata),
    .in_valid_o  (in_valid),
    .in_ready_i  (in_ready),
    .in_data_o   (in_data),
    .in_last_o   (in_last),
    .out_valid_i (out_valid),
    .out_ready_o (out_ready),
    .out_data_i  (out_data)
  );

  espalier_core #(
    .WeightSinglePort(WeightSinglePort),
    .Compact         (Compact),
    .ChecksumBits    (Compact != 0 ? 1 : 32),
    .ProgramFile     (ProgramFile),
    .WeightFile      (WeightFile)
  ) u_core (
    .clk_i        (clk),
    .rst_ni       (rst_n),
    .host_we_i    (host_we),
    .host_addr_i  (host_addr),
    .host_wdata_i (host_wdata),
    .host_rdata_o (host_rdata),
    .in_valid_i   (in_valid),
    .in_ready_o   (in_ready),
    .in_data_i    (in_data),
    .in_last_i    (in_last),
    .out_valid_o  (out_valid),
    .out_ready_i  (out_ready),
    .out_data_o   (out_data),
    .out_last_o   (),
    .ar_valid_o   (),
    .ar_ready_i   (1'b0),
    .ar_addr_o    (),
    .ar_len_o     (),
    .r_valid_i    (1'b0),
    .r_ready_o    (),
    .r_data_i     ('0),
    .r_resp_i     (2'b0),
    .spill_ar_valid_o(),
    .spill_ar_ready_i(1'b0),
    .spill_ar_addr_o (),
    .spill_ar_len_o  (),
    .spill_r_valid_i (1'b0),
    .spill_r_ready_o (),
    .spill_r_data_i  ('0),
    .spill_r_resp_i  (2'b0),
    .spill_r_last_i  (1'b0),
    .spill_aw_valid_o(),
    .spill_aw_ready_i(1'b0),
    .spill_aw_addr_o (),
    .spill_aw_len_o  (),
    .spill_w_valid_o (),
    .spill_w_ready_i (1'b0),
    .spill_w_data_o  (),
    .spill_w_last_o  (),
    .spill_b_valid_i (1'b0),
    .spill_b_ready_o (),
    .spill_b_resp_i  (2'b0),
    .done_o       (led),
    .interrupt_o  (),
    .trace_valid_o(),
    .trace_instr_o(),
    .trace_addr_o (),
    .trace_mask_o (),
    .trace_data_o ()
  );

endmodule

`default_nettype wire
