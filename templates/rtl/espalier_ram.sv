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
  parameter     InitFile = "",
  // 1 = one port for both directions, as single-port memories have; a write takes precedence over a read.
  parameter int SinglePort = 0
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

  // Sliced into the widest words that one block of 16 Kbit (and parity, where it is wide enough) holds at this
  // depth, so that no multiplexer of blocks stands between a memory and its output register, as tools that
  // prefer wide blocks would build it. Initial content is given in whole words, hence without slices; a
  // simulation is quicker without them.
`ifdef SYNTHESIS
  localparam int BlockW =
      Depth > 8192 ? 1 : Depth > 4096 ? 2 : Depth > 2048 ? 4 : Depth > 1024 ? 9 : Depth > 512 ? 18 : 36;
  localparam int SliceW = InitFile == "" && SinglePort == 0 && BlockW < Width ? BlockW : Width;
`else
  localparam int SliceW = Width;
`endif
  localparam int Slices = (Width + SliceW - 1) / SliceW;

  if (SinglePort != 0) begin : gen_single_port
    (* ram_style = "huge" *)
    logic [Width-1:0] memory [0:Depth-1];
    logic [AddrW-1:0] addr;
    logic [Width-1:0] word_q;
    logic [Width-1:0] out_q;

    if (InitFile != "") begin : gen_init
      initial $readmemh(InitFile, memory);
    end

    assign addr = wr_en_i ? wr_addr_i : rd_addr_i;

    always_ff @(posedge clk_i) begin
      if (wr_en_i) memory[addr] <= wr_data_i;
      else if (rd_en_i) word_q <= memory[addr];
      out_q <= word_q;
    end

    assign rd_data_o = out_q;
  end else begin : gen_two_ports
    for (genvar s = 0; s < Slices; s++) begin : gen_slice
      localparam int Low  = s * SliceW;
      localparam int Bits = Low + SliceW > Width ? Width - Low : SliceW;

      (* ram_style = "block", no_rw_check *)
      logic [Bits-1:0] memory [0:Depth-1];
      logic [Bits-1:0] word_q;
      logic [Bits-1:0] out_q;

`ifndef SYNTHESIS
`ifndef VERILATOR
      // Where simulators know unknown values, a lane that nobody has read yet, or that a STORE has read where it holds
      // no channel, would make sums unknown whose weights are zero.
      initial begin
        word_q = '0;
        out_q  = '0;
      end
      if (InitFile == "") begin : gen_zero
        initial for (int i = 0; i < Depth; i++) memory[i] = '0;
      end
`endif
`endif

      if (InitFile != "") begin : gen_init
        initial $readmemh(InitFile, memory);
      end

      always_ff @(posedge clk_i) begin
        if (wr_en_i) memory[wr_addr_i] <= wr_data_i[Low+:Bits];
      end

      always_ff @(posedge clk_i) begin
        if (rd_en_i) word_q <= memory[rd_addr_i];
        out_q <= word_q;
      end

      assign rd_data_o[Low+:Bits] = out_q;
    end
  end

endmodule

`default_nettype wire
