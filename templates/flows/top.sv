// SPDX-License-Identifier: MIT OR Apache-2.0
{% for line in header %}// ${ line }$
{% endfor %}//
// The accelerator with its serial host (espalier_serial.sv), ${ baud }$ baud at ${ clock_mhz }$ MHz.
`default_nettype none

module top (
  input  wire clk,
  input  wire uart_rx,
  output wire uart_tx,
  output wire led
);

  espalier_board #(
    .Divider         (${ divider }$),
    .WeightSinglePort(${ single_port }$),
    .Compact         (${ compact }$),
    .ProgramFile     ("../memory/program.hex"),
    .WeightFile      ("${ weights }$")
  ) u_board (
    .clk    (clk),
    .uart_rx(uart_rx),
    .uart_tx(uart_tx),
    .led    (led)
  );

endmodule

`default_nettype wire
