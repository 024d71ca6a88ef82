// SPDX-License-Identifier: MIT OR Apache-2.0
//
// SB_SPRAM256KA of the iCE40 UltraPlus (FPGA-TN-02022) without its power modes: the model that comes with Yosys forgets
// its content when switched off, for which Yosys and Verilator build 16,384 registers.

module SB_SPRAM256KA (
  input [13:0] ADDRESS,
  input [15:0] DATAIN,
  input [3:0] MASKWREN,
  input WREN, CHIPSELECT, CLOCK, STANDBY, SLEEP, POWEROFF,
  output reg [15:0] DATAOUT
);
  reg [15:0] memory [0:16383];

  always @(posedge CLOCK) if (CHIPSELECT) begin
    if (WREN) begin
      if (MASKWREN[0]) memory[ADDRESS][3:0]   <= DATAIN[3:0];
      if (MASKWREN[1]) memory[ADDRESS][7:4]   <= DATAIN[7:4];
      if (MASKWREN[2]) memory[ADDRESS][11:8]  <= DATAIN[11:8];
      if (MASKWREN[3]) memory[ADDRESS][15:12] <= DATAIN[15:12];
    end else begin
      DATAOUT <= memory[ADDRESS];
    end
  end
endmodule
