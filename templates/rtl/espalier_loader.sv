// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Weight loader: reads the weight stream of an instruction and sends it to lanes, array and requantization.
 *
 * The stream is `tiles` x Rows words (row 0 first), then, unless the instruction is partial, five parameter words
 * and those of the tables that it loads. A tile goes into the shadow registers; its first word is issued at the
 * earliest one cycle after the swap of the tile before, so the shadow is free by the time the word arrives. The
 * parameter words wait until the drain has taken over those of the instruction before (params_full_o low).
 *
 * The entries of tables follow, see espalier_entries.
 *
 * Where words come from a stream, each waits until it is there (mem_valid_i); a memory always has it.
 *
 * Latency: a word leaves two cycles after its issue. Handshake: start_i is only raised while ready_o is
 * high; ready_o is high again in the cycle that issues the last word.
 */
module espalier_loader #(
  // Rows of the array.
  parameter int Rows   = 8,
  // Columns of the array.
  parameter int Cols   = 8,
  // Bits of a weight memory address.
  parameter int AddrW  = 10,
  // 1 = write-back has tables.
  parameter int Tables = 0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,

  // instruction
  input  wire logic              start_i,
  input  wire logic [255:0]      instr_i,
  output logic                   ready_o,

  // weight memory, or stream: a word is taken with mem_take_o
  output logic                   mem_en_o,
  output logic [AddrW-1:0]       mem_addr_o,
  input  wire logic              mem_valid_i,
  output logic                   mem_take_o,

  // word that leaves the memory: weights of row word_row_o, or parameter word word_row_o
  output logic                   weight_valid_o,
  output logic                   param_valid_o,
  output logic [4:0]             word_row_o,
  // its tile is gated, see espalier_gates
  output logic                   word_gated_o,

  // entry of the tables in that word, or in one before (entry_fresh_o low); see espalier_table
  output logic                   entry_valid_o,
  output logic                   entry_bank_o,
  output logic [7:0]             entry_index_o,
  output logic                   entry_own_o,
  output logic                   entry_fresh_o,

  // tile handshake: tile_ready_o with swap_i starts the next tile
  output logic                   tile_ready_o,
  input  wire logic              swap_i,

  // parameter registers
  output logic                   params_full_o,
  input  wire logic              params_taken_i
);

  localparam logic [4:0] LastRow   = 5'(Rows - 1);
  localparam logic [4:0] LastParam = 5'd4;

  logic             busy_d, busy_q;
  logic             params_d, params_q;       // in the parameter words
  logic             partial_q;                // there are none
  logic             gated_q;                  // computed factors take the place of weights
  logic [4:0]       row_d, row_q;
  logic [15:0]      tiles_d, tiles_q;         // tiles after this one
  logic             tile_last_d, tile_last_q;
  logic [AddrW-1:0] addr_d, addr_q;
  logic             shadow_free_q;
  logic             tile_ready_q;
  logic             params_full_q;

  // tables
  logic             loads;                    // the instruction loads them
  logic             in_table;                 // in their entries
  logic             word_due, table_done;     // an entry needs a word; this is the last one

  logic             issue;
  logic             tile_done, params_done, all_done, finished;
  logic [15:0]      instr_tiles;
  logic [AddrW-1:0] instr_addr;

  assign instr_tiles = {1'b0, instr_i[espalier_pkg::TILES_LSB+:15]};
  assign instr_addr  = instr_i[espalier_pkg::WEIGHT_ADDR_LSB+:AddrW];

  // Only the first word of a tile or of the parameters may have to wait for what it replaces.
  assign issue     = busy_q && mem_valid_i
                     && (in_table ? word_due : row_q != '0 || (params_q ? !params_full_q : shadow_free_q));
  assign tile_done = busy_q && mem_valid_i && !params_q && row_q == LastRow;
  assign params_done = busy_q && mem_valid_i && params_q && !in_table && row_q == LastParam;
  assign all_done  = table_done || (params_done && !loads);
  assign finished  = all_done || (tile_done && tile_last_q && partial_q);

  assign ready_o       = !busy_q || finished;
  assign tile_ready_o  = tile_ready_q || tile_done;
  assign params_full_o = params_full_q;
  assign mem_en_o      = busy_q;
  assign mem_addr_o    = addr_q;
  assign mem_take_o    = issue;

  always_comb begin
    busy_d      = busy_q;
    params_d    = params_q;
    row_d       = row_q;
    tiles_d     = tiles_q;
    tile_last_d = tile_last_q;
    addr_d      = addr_q;
    if (issue) begin
      addr_d = addr_q + AddrW'(1);
      row_d  = row_q + 5'd1;
      if (tile_done) begin
        row_d       = '0;
        tiles_d     = tiles_q - 16'd1;
        tile_last_d = tiles_q == 16'd1;
        params_d    = tile_last_q;
      end
    end
    if (finished) busy_d = 1'b0;
    if (start_i) begin
      busy_d      = 1'b1;
      params_d    = 1'b0;
      row_d       = '0;
      tiles_d     = instr_tiles - 16'd1;
      tile_last_d = instr_tiles == 16'd1;
      addr_d      = instr_addr;
    end
  end

  always_ff @(posedge clk_i) begin
    params_q    <= params_d;
    row_q       <= row_d;
    tiles_q     <= tiles_d;
    tile_last_q <= tile_last_d;
    addr_q      <= addr_d;
    if (start_i) begin
      partial_q <= instr_i[espalier_pkg::PARTIAL_LSB];
      gated_q   <= instr_i[espalier_pkg::DEPTHWISE_LSB] && instr_i[espalier_pkg::GATED_LSB];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q        <= 1'b0;
      shadow_free_q <= 1'b1;
      tile_ready_q  <= 1'b0;
      params_full_q <= 1'b0;
    end else begin
      busy_q <= busy_d;
      if (swap_i) shadow_free_q <= 1'b1;
      else if (issue && !params_q) shadow_free_q <= 1'b0;
      if (swap_i) tile_ready_q <= 1'b0;
      else if (tile_done) tile_ready_q <= 1'b1;
      if (all_done) params_full_q <= 1'b1;
      else if (params_taken_i) params_full_q <= 1'b0;
    end
  end

  // The word is two cycles behind its issue.
  logic       weight_valid_q, param_valid_q;
  logic [4:0] word_row_q;
  logic       word_gated_q;

  always_ff @(posedge clk_i) begin
    word_row_q   <= row_q;
    word_row_o   <= word_row_q;
    word_gated_q <= gated_q;
    word_gated_o <= word_gated_q;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      weight_valid_q <= 1'b0;
      weight_valid_o <= 1'b0;
      param_valid_q  <= 1'b0;
      param_valid_o  <= 1'b0;
    end else begin
      weight_valid_q <= issue && !params_q;
      weight_valid_o <= weight_valid_q;
      param_valid_q  <= issue && params_q && !in_table;
      param_valid_o  <= param_valid_q;
    end
  end

  if (Tables != 0) begin : gen_tables
    espalier_entries #(
      .Cols(Cols)
    ) u_entries (
      .clk_i        (clk_i),
      .rst_ni       (rst_ni),
      .start_i      (start_i),
      .instr_i      (instr_i),
      .params_done_i(params_done),
      .mem_valid_i  (mem_valid_i),
      .issue_i      (issue),
      .loads_o      (loads),
      .active_o     (in_table),
      .word_due_o   (word_due),
      .done_o       (table_done),
      .entry_valid_o(entry_valid_o),
      .entry_bank_o (entry_bank_o),
      .entry_index_o(entry_index_o),
      .entry_own_o  (entry_own_o),
      .entry_fresh_o(entry_fresh_o)
    );
  end else begin : gen_no_tables
    assign loads         = 1'b0;
    assign in_table      = 1'b0;
    assign word_due      = 1'b0;
    assign table_done    = 1'b0;
    assign entry_valid_o = 1'b0;
    assign entry_bank_o  = 1'b0;
    assign entry_index_o = '0;
    assign entry_own_o   = 1'b0;
    assign entry_fresh_o = 1'b0;
`ifndef SYNTHESIS
    always @(posedge clk_i) begin
      if (rst_ni && start_i) begin
        assert (instr_i[espalier_pkg::PARTIAL_LSB] || instr_i[espalier_pkg::TABLE_LSB+:2] == '0)
        else $error("there are no tables");
      end
    end
`endif
  end

  logic unused_instr;
  assign unused_instr = ^instr_i;

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!start_i || ready_o) else $error("loader started while busy");
      assert (!swap_i || tile_ready_o) else $error("swap without a loaded tile");
      assert (!(issue && params_q && !in_table && params_full_q))
      else $error("parameter registers overwritten");
    end
  end
`endif

endmodule

`default_nettype wire
