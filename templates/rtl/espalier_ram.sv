// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Memory with one write port and one read port, both synchronous.
 *
 * Read latency is two cycles: the block RAM's own register and an output register, so that neither the
 * memory's clock-to-output time nor its routing shares a cycle with logic. What a read returns while the
 * same address is being written is undefined (no_rw_check saves the bypass logic); every user of this
 * module schedules around it.
 */
module espalier_ram #(
  // Bits of one word.
  parameter int Width    = 8,
  // Number of words.
  parameter int Depth    = 1024,
  // Bits of an address; derived, do not override.
  parameter int AddrW    = $clog2(Depth),
  // Hex file with the initial content; "" leaves it undefined.
  parameter     InitFile = ""
) (
  input  wire logic             clk_i,

  // write port
  input  wire logic             wr_en_i,
  input  wire logic [AddrW-1:0] wr_addr_i,
  input  wire logic [Width-1:0] wr_data_i,

  // read port
  input  wire logic             rd_en_i,
  input  wire logic [AddrW-1:0] rd_addr_i,
  output logic [Width-1:0]      rd_data_o
);

  (* ram_style = "block", no_rw_check *)
  logic [Width-1:0] memory [0:Depth-1];
  logic [Width-1:0] word_q;

  if (InitFile != "") begin : gen_init
    initial $readmemh(InitFile, memory);
  end

  always_ff @(posedge clk_i) begin
    if (wr_en_i) memory[wr_addr_i] <= wr_data_i;
  end

  always_ff @(posedge clk_i) begin
    if (rd_en_i) word_q <= memory[rd_addr_i];
    rd_data_o <= word_q;
  end

endmodule

`default_nettype wire
