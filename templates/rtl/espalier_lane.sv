// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * One lane: the activation memory of one array row with the row's own address.
 *
 * The pixel base travels down the rows, one row a cycle; the row adds the offset that was loaded together
 * with its weights. The mark of a tile's first pixel makes the new offset valid in that same cycle.
 * Timing, relative to base_valid_i: address +1, memory +2, its output register +3, act_o +4; swap_o
 * leaves at +3, one cycle before the activation, as the processing elements want it.
 *
 * Offsets arrive with a row number and move down one row a cycle; load_o follows three cycles after the
 * capture, when the weights of the same word pass the row. A row whose weights are all zero in a tile does
 * not read its memory: that saves energy, and its meaningless address cannot collide with a write.
 *
 * With Combine = 2 the row reads for two vectors a cycle, each with an offset of its own: the memory is there
 * twice, and both copies are written alike.
 */
module espalier_lane #(
  // Row that this lane serves.
  parameter int Row = 0,
  // Bytes.
  parameter int Depth = 1024,
  // Vectors that the row reads for, 1 or 2.
  parameter int Combine = 1,
  // 1 = the write port reads, too, for SAVE.
  parameter int Spill   = 0,
  // Bits of an address; derived, do not override.
  parameter int AddrW = $clog2(Depth)
) (
  input  wire logic                  clk_i,
  input  wire logic                  rst_ni,

  // pixel base, from the row above and to the row below
  input  wire logic                  base_valid_i,
  input  wire logic                  base_mark_i,
  input  wire logic [15:0]           base_addr_i,
  output logic                       base_valid_o,
  output logic                       base_mark_o,
  output logic [15:0]                base_addr_o,

  // row offset of the next tile, likewise
  input  wire logic                  offset_valid_i,
  input  wire logic [4:0]            offset_row_i,
  input  wire logic [Combine-1:0]    offset_used_i,
  input  wire logic [16*Combine-1:0] offset_i,
  output logic                       offset_valid_o,
  output logic [4:0]                 offset_row_o,
  output logic [Combine-1:0]         offset_used_o,
  output logic [16*Combine-1:0]      offset_o,

  // whole-word read for STORE, the same address in all lanes
  input  wire logic                  store_en_i,
  input  wire logic [15:0]           store_addr_i,
  output logic [7:0]                 store_data_o,

  // read at the write address, for SAVE; wr_en_i is low then, and the data come two cycles later
  input  wire logic                  save_en_i,
  output logic [7:0]                 save_data_o,

  // write
  input  wire logic                  wr_en_i,
  input  wire logic [15:0]           wr_addr_i,
  input  wire logic [7:0]            wr_data_i,

  // to the array
  output logic [8*Combine-1:0]       act_o,
  output logic                       swap_o,
  output logic                       load_o
);

  logic       [1:0] mark_q;
  logic       [1:0] match_q;
  logic             match;

  assign match = offset_valid_i && (offset_row_i == 5'(Row));

  always_ff @(posedge clk_i) begin
    base_mark_o   <= base_mark_i;
    base_addr_o   <= base_addr_i;
    offset_row_o  <= offset_row_i;
    offset_used_o <= offset_used_i;
    offset_o      <= offset_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      base_valid_o   <= 1'b0;
      offset_valid_o <= 1'b0;
      mark_q         <= '0;
      swap_o         <= 1'b0;
      match_q        <= '0;
      load_o         <= 1'b0;
    end else begin
      base_valid_o   <= base_valid_i;
      offset_valid_o <= offset_valid_i;
      mark_q         <= {mark_q[0], base_valid_i & base_mark_i};
      swap_o         <= mark_q[1];
      match_q        <= {match_q[0], match};
      load_o         <= match_q[1];
    end
  end

  for (genvar s = 0; s < Combine; s++) begin : gen_stream
    logic [15:0] shadow_q;
    logic        shadow_used_q;
    logic [15:0] active_q;
    logic        active_used_q;
    logic [15:0] addr_q;
    logic        rd_en_q;
    logic [7:0]  rd_data;
    logic [7:0]  act_q;

    logic [15:0] offset;
    logic        used;
    // STORE reads the first copy.
    logic        store_en;

    assign offset   = base_mark_i ? shadow_q : active_q;
    assign used     = base_mark_i ? shadow_used_q : active_used_q;
    assign store_en = store_en_i && s == 0;

    always_ff @(posedge clk_i) begin
      if (match) begin
        shadow_q      <= offset_i[16*s+:16];
        shadow_used_q <= offset_used_i[s];
      end
      if (base_valid_i && base_mark_i) begin
        active_q      <= shadow_q;
        active_used_q <= shadow_used_q;
      end
      addr_q  <= store_en ? store_addr_i : base_addr_i + offset;
      act_q   <= rd_data;
      rd_en_q <= rst_ni && ((base_valid_i & used) | store_en);
    end

    if (Spill != 0 && s == 0) begin : gen_shared_port
      espalier_shared_ram #(
        .Width(8),
        .Depth(Depth)
      ) u_ram (
        .clk_i      (clk_i),
        .wr_en_i    (wr_en_i),
        .back_en_i  (save_en_i),
        .wr_addr_i  (wr_addr_i[AddrW-1:0]),
        .wr_data_i  (wr_data_i),
        .back_data_o(save_data_o),
        .rd_en_i    (rd_en_q),
        .rd_addr_i  (addr_q[AddrW-1:0]),
        .rd_data_o  (rd_data)
      );
    end else begin : gen_two_ports
      espalier_ram #(
        .Width(8),
        .Depth(Depth)
      ) u_ram (
        .clk_i    (clk_i),
        .wr_en_i  (wr_en_i),
        .wr_addr_i(wr_addr_i[AddrW-1:0]),
        .wr_data_i(wr_data_i),
        .rd_en_i  (rd_en_q),
        .rd_addr_i(addr_q[AddrW-1:0]),
        .rd_data_o(rd_data)
      );
      if (s == 0) begin : gen_no_save
        logic unused_save;
        assign save_data_o = '0;
        assign unused_save = save_en_i;
      end
    end

    assign act_o[8*s+:8] = act_q;

    if (s == 0) begin : gen_store
      assign store_data_o = rd_data;
    end

    if (AddrW < 16) begin : gen_unused_addr
      logic unused_addr;
      assign unused_addr = ^{addr_q[15:AddrW], wr_addr_i[15:AddrW]};
    end

`ifndef SYNTHESIS
    always @(posedge clk_i) begin
      if (rst_ni && rd_en_q) begin
        assert ({16'b0, addr_q} < Depth)
        else $error("lane %0d: read from address %0d of %0d", Row, addr_q, Depth);
        assert (!(wr_en_i && wr_addr_i == addr_q))
        else $error("lane %0d: address %0d read and written in one cycle", Row, addr_q);
      end
    end
`endif
  end

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni && wr_en_i) begin
      assert ({16'b0, wr_addr_i} < Depth)
      else $error("lane %0d: write to address %0d of %0d", Row, wr_addr_i, Depth);
    end
  end
`endif

endmodule

`default_nettype wire
