// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * FIFO of 2^AddrW words in distributed RAM. The writer guarantees by credits that it never overflows;
 * reader side valid/ready, a word is visible the cycle after its push.
 */
module espalier_fifo #(
  // Bits of a word.
  parameter int Width = 64,
  // Bits of an address.
  parameter int AddrW = 3
) (
  input  wire logic             clk_i,
  input  wire logic             rst_ni,

  // writer
  input  wire logic             push_i,
  input  wire logic [Width-1:0] data_i,

  // reader
  output logic                  valid_o,
  input  wire logic             ready_i,
  output logic [Width-1:0]      data_o
);

  (* ram_style = "distributed" *)
  logic [Width-1:0] memory [0:(1<<AddrW)-1];
  logic [AddrW-1:0] wr_ptr_q, rd_ptr_q;
  logic [AddrW:0]   count_q;
  logic             pop;

  assign valid_o = count_q != '0;
  assign pop     = valid_o && ready_i;
  assign data_o  = memory[rd_ptr_q];

  always_ff @(posedge clk_i) begin
    if (push_i) memory[wr_ptr_q] <= data_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wr_ptr_q <= '0;
      rd_ptr_q <= '0;
      count_q  <= '0;
    end else begin
      if (push_i) wr_ptr_q <= wr_ptr_q + AddrW'(1);
      if (pop) rd_ptr_q <= rd_ptr_q + AddrW'(1);
      if (push_i && !pop) count_q <= count_q + (AddrW + 1)'(1);
      if (pop && !push_i) count_q <= count_q - (AddrW + 1)'(1);
    end
  end

`ifndef SYNTHESIS
  logic             wait_q;
  logic [Width-1:0] data_q;
  always @(posedge clk_i) begin
    wait_q <= rst_ni && valid_o && !ready_i;
    data_q <= data_o;
    if (rst_ni) begin
      assert (!(push_i && count_q == (AddrW + 1)'(1 << AddrW))) else $error("FIFO overflow");
      assert (wait_q !== 1'b1 || (valid_o && data_o == data_q))
      else $error("output changed while it waited");
    end
  end
`endif

endmodule

`default_nettype wire
