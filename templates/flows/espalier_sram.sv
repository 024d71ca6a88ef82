// SPDX-License-Identifier: MIT OR Apache-2.0
{% for line in header %}// ${ line }$
{% endfor %}`default_nettype none

// Wrappers of the process's macros: one write port, one read port, data one cycle after the address. For synthesis each
// holds an instance of espalier_sram_WORDSxBITS_macro, which the integrator defines as the process's macro (or two of them,
// interleaved, where macros have one port); for simulation, registers.
{% for m in macros %}
module espalier_sram_${ m.words }$x${ m.bits }$ (
  input  wire logic             clk_i,
  input  wire logic             wr_en_i,
  input  wire logic [${ m.high_address }$:0] wr_addr_i,
  input  wire logic [${ m.bits - 1 }$:0] wr_data_i,
  input  wire logic             rd_en_i,
  input  wire logic [${ m.high_address }$:0] rd_addr_i,
  output logic [${ m.bits - 1 }$:0] rd_data_o
);

`ifdef SYNTHESIS
  espalier_sram_${ m.words }$x${ m.bits }$_macro u_macro (
    .clk    (clk_i),
    .wr_en  (wr_en_i),
    .wr_addr(wr_addr_i),
    .wr_data(wr_data_i),
    .rd_en  (rd_en_i),
    .rd_addr(rd_addr_i),
    .rd_data(rd_data_o)
  );
`else
  logic [${ m.bits - 1 }$:0] memory [0:${ m.words - 1 }$];

  always_ff @(posedge clk_i) begin
    if (wr_en_i) memory[wr_addr_i] <= wr_data_i;
    if (rd_en_i) rd_data_o <= memory[rd_addr_i];
  end
`endif

endmodule
{% endfor %}
`ifdef SYNTHESIS
{% for m in macros %}
(* blackbox *)
module espalier_sram_${ m.words }$x${ m.bits }$_macro (
  input  wire clk,
  input  wire wr_en,
  input  wire [${ m.high_address }$:0] wr_addr,
  input  wire [${ m.bits - 1 }$:0] wr_data,
  input  wire rd_en,
  input  wire [${ m.high_address }$:0] rd_addr,
  output wire [${ m.bits - 1 }$:0] rd_data
);
endmodule
{% endfor %}`endif

`default_nettype wire
