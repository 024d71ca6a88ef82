// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Class: the index of the largest byte of an output, the first of equal ones.
 *
 * Looks at the beats that leave on the output stream: byte l of beat b has index b * Rows + l. A beat passes a tree of
 * comparisons, a level a cycle, and its winner meets that of the beats before. class_o is final Levels + 1 cycles after
 * the last beat, before the END behind it has been fetched.
 */
module espalier_argmax #(
  // Bytes of a beat.
  parameter int Rows = 8
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,

  // a program starts
  input  wire logic              start_i,

  // a beat that leaves, and how many of its bytes count, from byte 0 on
  input  wire logic              valid_i,
  input  wire logic [8*Rows-1:0] data_i,
  input  wire logic [5:0]        lanes_i,

  output logic [15:0]            class_o
);

  localparam int Levels = $clog2(Rows);
  localparam int Places = 1 << Levels;

  logic [Levels-1:0]  valid_q;
  logic [15:0]        base_q;                 // index of byte 0 of the beat at the end of the tree
  logic               found_q;
  logic signed [7:0]  best_q;

  // Level s holds the winners of groups of 2^s bytes: whether there is one, its value, its place in the group.
  for (genvar s = 0; s <= Levels; s++) begin : gen_level
    localparam int Groups = Places >> s;
    logic [Groups-1:0]        used;
    logic [8*Groups-1:0]      value;
    logic [Levels*Groups-1:0] place;
    for (genvar g = 0; g < Groups; g++) begin : gen_group
      if (s == 0) begin : gen_byte
        assign place[Levels*g+:Levels] = '0;
        if (g < Rows) begin : gen_lane
          assign used[g]       = lanes_i > 6'(g);
          assign value[8*g+:8] = data_i[8*g+:8];
        end else begin : gen_none
          assign used[g]       = 1'b0;
          assign value[8*g+:8] = '0;
        end
      end else begin : gen_pair
        logic              right;
        logic signed [7:0] low, high;
        logic [Levels-1:0] low_place, high_place;
        assign low        = gen_level[s-1].value[16*g+:8];
        assign high       = gen_level[s-1].value[16*g+8+:8];
        assign low_place  = gen_level[s-1].place[2*Levels*g+:Levels];
        assign high_place = gen_level[s-1].place[2*Levels*g+Levels+:Levels];
        // Bytes that count come first, so the right one is never alone.
        assign right      = gen_level[s-1].used[2*g+1] && high > low;
        always_ff @(posedge clk_i) begin
          used[g]                  <= gen_level[s-1].used[2*g];
          value[8*g+:8]            <= right ? high : low;
          place[Levels*g+:Levels]  <= right ? high_place | Levels'(1 << (s - 1)) : low_place;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      valid_q <= '0;
      base_q  <= '0;
      found_q <= 1'b0;
      class_o <= '0;
    end else begin
      valid_q <= Levels'({valid_q, valid_i && lanes_i != '0});
      if (valid_q[Levels-1]) begin
        base_q  <= base_q + 16'(Rows);
        found_q <= 1'b1;
        if (!found_q || $signed(gen_level[Levels].value) > best_q) begin
          best_q  <= gen_level[Levels].value;
          class_o <= base_q + 16'(gen_level[Levels].place);
        end
      end
    end
  end

  logic unused_used;
  assign unused_used = gen_level[Levels].used;

endmodule

`default_nettype wire
