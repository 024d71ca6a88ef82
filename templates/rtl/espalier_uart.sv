// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Asynchronous serial receiver and transmitter: 8 data bits, no parity, one stop bit, least significant bit first.
 *
 * A byte arrives with rx_valid_o in the middle of its stop bit; if that is low (a break, or another rate),
 * rx_break_o comes instead. A byte is sent when tx_valid_i and tx_ready_o are high. The line is sampled in the middle of
 * each bit: both sides may differ by 4 % in their clocks if Divider is at least 8.
 */
module espalier_uart #(
  // Clocks of a bit, at least 4.
  parameter int Divider = 25
) (
  input  wire logic       clk_i,
  input  wire logic       rst_ni,

  // pins; high while idle
  input  wire logic       rx_i,
  output logic            tx_o,

  // received bytes
  output logic            rx_valid_o,
  output logic            rx_break_o,
  output logic [7:0]      rx_data_o,

  // bytes to send
  input  wire logic       tx_valid_i,
  output logic            tx_ready_o,
  input  wire logic [7:0] tx_data_i
);

  localparam int                CountW = $clog2(Divider);
  localparam logic [CountW-1:0] Bit    = CountW'(Divider - 1);
  localparam logic [CountW-1:0] Half   = CountW'(Divider / 2 - 1);

  // --- receiver: start bit, eight data bits, stop bit
  logic [2:0]        rx_sync_q;               // the pin is asynchronous
  logic              rx_busy_q;
  logic [CountW-1:0] rx_count_q;
  logic [3:0]        rx_bits_q;               // bits after this one
  logic [7:0]        rx_shift_q;
  logic              rx_line, rx_sample;

  assign rx_line   = rx_sync_q[1];
  assign rx_sample = rx_busy_q && rx_count_q == '0;
  assign rx_data_o = rx_shift_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rx_sync_q  <= '1;
      rx_busy_q  <= 1'b0;
      rx_valid_o <= 1'b0;
      rx_break_o <= 1'b0;
    end else begin
      rx_sync_q  <= {rx_sync_q[1:0], rx_i};
      rx_valid_o <= rx_sample && rx_bits_q == 4'd0 && rx_line;
      rx_break_o <= rx_sample && rx_bits_q == 4'd0 && !rx_line;
      if (!rx_busy_q) begin
        // The falling edge of a start bit; a line that stays low starts nothing.
        rx_busy_q <= rx_sync_q[2] && !rx_line;
      end else if (rx_sample && (rx_bits_q == 4'd0 || (rx_bits_q == 4'd9 && rx_line))) begin
        rx_busy_q <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rx_busy_q) begin
      rx_count_q <= Half;
      rx_bits_q  <= 4'd9;
    end else if (rx_sample) begin
      rx_count_q <= Bit;
      rx_bits_q  <= rx_bits_q - 4'd1;
      if (rx_bits_q != 4'd0) rx_shift_q <= {rx_line, rx_shift_q[7:1]};
    end else begin
      rx_count_q <= rx_count_q - CountW'(1);
    end
  end

  // --- transmitter
  logic              tx_busy_q;
  logic [CountW-1:0] tx_count_q;
  logic [3:0]        tx_bits_q;               // bits after this one
  logic [8:0]        tx_shift_q;

  assign tx_ready_o = !tx_busy_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tx_busy_q <= 1'b0;
      tx_o      <= 1'b1;
    end else if (!tx_busy_q) begin
      tx_busy_q <= tx_valid_i;
      tx_o      <= !tx_valid_i;
    end else if (tx_count_q == '0) begin
      tx_busy_q <= tx_bits_q != 4'd0;
      tx_o      <= tx_bits_q == 4'd0 || tx_shift_q[0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!tx_busy_q) begin
      tx_count_q <= Bit;
      tx_bits_q  <= 4'd9;
      tx_shift_q <= {1'b1, tx_data_i};
    end else if (tx_count_q == '0) begin
      tx_count_q <= Bit;
      tx_bits_q  <= tx_bits_q - 4'd1;
      tx_shift_q <= {1'b1, tx_shift_q[8:1]};
    end else begin
      tx_count_q <= tx_count_q - CountW'(1);
    end
  end

endmodule

`default_nettype wire
