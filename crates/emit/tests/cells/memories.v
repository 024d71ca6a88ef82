// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Memories of every kind that Yosys maps to block RAM: both sizes, all widths, with initial content, with a first value
// and a reset of what is read, with each order of a write and a read. `crates/emit/tests/tools.rs` compares what they do with
// what the mapped cells do.

// One write port, one read port; a read returns the old word.
module two_ports #(parameter Width = 8, parameter AddrW = 9, parameter First = 0, parameter Reset = 0) (
  input clk, write, read, reset,
  input [15:0] write_address, read_address,
  input [71:0] data,
  output reg [Width-1:0] out = First
);
  (* ram_style = "block" *)
  reg [Width-1:0] memory [0:2**AddrW-1];
  integer i;
  initial if (AddrW <= 9) for (i = 0; i < 2**AddrW; i = i + 1) memory[i] = i * 37 + (i << 20);
  always @(posedge clk) begin
    if (write) memory[write_address[AddrW-1:0]] <= data;
    if (read) begin
      if (reset) out <= Reset;
      else out <= memory[read_address[AddrW-1:0]];
    end
  end
endmodule

// One port; what it returns where it writes: 0 = the old word, 1 = the new word, 2 = what it returned before.
module one_port #(parameter Width = 8, parameter AddrW = 9, parameter Order = 0) (
  input clk, write, read,
  input [15:0] address,
  input [71:0] data,
  output reg [Width-1:0] out = 0
);
  (* ram_style = "block" *)
  reg [Width-1:0] memory [0:2**AddrW-1];
  integer i;
  initial if (AddrW <= 9) for (i = 0; i < 2**AddrW; i = i + 1) memory[i] = i * 37 + (i << 20);
  always @(posedge clk) if (read) begin
    if (write) memory[address[AddrW-1:0]] <= data;
    if (Order == 0 || !write) out <= memory[address[AddrW-1:0]];
    else if (Order == 1) out <= data;
  end
endmodule

module top (
  input clk, write, read, reset,
  input [15:0] write_address, read_address,
  input [71:0] data,
  output [255:0] out
);
  two_ports #(.Width(36), .AddrW(9), .First(36'h9_8765_4321), .Reset(36'h6_1234_5678)) half_wide (
    clk, write, read, reset, write_address, read_address, data, out[35:0]);
  two_ports #(.Width(72), .AddrW(9), .First(72'ha5_0123_4567_89ab_cdef), .Reset(72'h5a_fedc_ba98_7654_3210)) wide (
    clk, write, read, reset, write_address, read_address, data, out[107:36]);
  two_ports #(.Width(18), .AddrW(10), .Reset(18'h2_1357)) half (
    clk, write, read, reset, write_address, read_address, data, out[125:108]);
  two_ports #(.Width(9), .AddrW(11), .First(9'h155)) bytes (
    clk, write, read, reset, write_address, read_address, data, out[134:126]);
  two_ports #(.Width(4), .AddrW(12), .First(4'h9), .Reset(4'h6)) nibbles (
    clk, write, read, reset, write_address, read_address, data, out[138:135]);
  two_ports #(.Width(1), .AddrW(14), .Reset(1)) bits (
    clk, write, read, reset, write_address, read_address, data, out[139]);
  two_ports #(.Width(1), .AddrW(16), .Reset(1)) cascade (
    clk, write, read, reset, write_address, read_address, data, out[140]);
  one_port #(.Width(18), .AddrW(10), .Order(0)) old (clk, write, read, write_address, data, out[158:141]);
  one_port #(.Width(36), .AddrW(10), .Order(1)) fresh (clk, write, read, write_address, data, out[194:159]);
  one_port #(.Width(18), .AddrW(10), .Order(2)) kept (clk, write, read, write_address, data, out[212:195]);
  one_port #(.Width(2), .AddrW(13), .Order(1)) fresh_bits (clk, write, read, write_address, data, out[214:213]);
  one_port #(.Width(1), .AddrW(16), .Order(0)) old_cascade (clk, write, read, write_address, data, out[215]);
  assign out[255:216] = 0;
endmodule
