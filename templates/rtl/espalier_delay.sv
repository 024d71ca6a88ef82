// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Delay of a word, in registers or in a ring of memory.
 *
 * Latency: Cycles, 2 to 16.
 */
module espalier_delay #(
  // Bits of the word.
  parameter int Width   = 8,
  // Cycles of the delay.
  parameter int Cycles  = 13,
  // 1 = in block RAM, for devices with few flip-flops.
  parameter int Compact = 0
) (
  input  wire logic             clk_i,
  input  wire logic             rst_ni,
  input  wire logic [Width-1:0] data_i,
  output logic [Width-1:0]      data_o
);

  if (Compact != 0) begin : gen_memory
    // A ring of 16: what is written now is read Cycles - 1 cycles later, and there one more cycle later.
    (* ram_style = "block", no_rw_check *)
    logic [Width-1:0] memory [0:15];
    logic [Width-1:0] late_q;
    logic [3:0]       place_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) place_q <= '0;
      else         place_q <= place_q + 4'd1;
    end

    always_ff @(posedge clk_i) begin
      memory[place_q] <= data_i;
      late_q          <= memory[place_q - 4'(Cycles - 1)];
    end
    assign data_o = late_q;
  end else begin : gen_registers
    logic [Width*Cycles-1:0] data_q;

    always_ff @(posedge clk_i) begin
      data_q <= {data_q[Width*(Cycles-1)-1:0], data_i};
    end
    assign data_o = data_q[Width*(Cycles-1)+:Width];
    logic unused_rst;
    assign unused_rst = rst_ni;
  end

endmodule

`default_nettype wire
