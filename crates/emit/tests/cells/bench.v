// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The memories of memories.v as they are written (top) and as they are mapped (mapped) get the same writes and reads. What is
// undefined in the first does not count.
`timescale 1ns / 1ns
module bench;
  reg clk = 0, write = 0, read = 0, reset = 0;
  reg [15:0] write_address = 0, read_address = 0;
  reg [71:0] data = 0;
  wire [255:0] expected, found;
  integer cycle, differences = 0;
  top as_written (clk, write, read, reset, write_address, read_address, data, expected);
  mapped as_mapped (clk, write, read, reset, write_address, read_address, data, found);

  // Addresses from few places, so that reads meet what was written; both halves of the largest memory.
  function [15:0] place(input integer random);
    place = {random[1:0], 8'b0, random[2], 2'b0, random[5:3]};
  endfunction

  initial begin
    #1;
    for (cycle = 0; cycle < 20000; cycle = cycle + 1) begin
      if (!(found ==? expected)) begin
        differences = differences + 1;
        if (differences < 10) $display("cycle %0d: expected %h, found %h", cycle, expected, found);
      end
      write = $random; read = $random; reset = ($random & 7) == 0;
      write_address = cycle < 10000 ? place($random) : $random;
      read_address = cycle < 10000 ? place($random) : $random;
      data = {$random, $random, $random};
      #1 clk = 1;
      #1 clk = 0;
      #1;
    end
    $display("%0d cycles, %0d differences", cycle, differences);
    $finish;
  end
endmodule
