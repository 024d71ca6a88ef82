// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Entries of the tables that an instruction loads, a part of the loader.
 *
 * The 256 entries come one a cycle, four cycles after the parameters: until then, results of the block before the
 * previous one may pass the bank that they are written to. Each takes a word of its own, or a word holds those of Cols
 * cycles. An instruction whose results go back to the tables before the last ones makes the next load replace the latter.
 *
 * Latency: an entry leaves two cycles after the issue of its word, or of its turn in one.
 */
module espalier_entries #(
  // Columns of the array.
  parameter int Cols = 8
) (
  input  wire logic         clk_i,
  input  wire logic         rst_ni,

  // instruction
  input  wire logic         start_i,
  input  wire logic [255:0] instr_i,

  // last parameter word; a word is there; it is issued
  input  wire logic         params_done_i,
  input  wire logic         mem_valid_i,
  input  wire logic         issue_i,

  // the instruction loads tables; their entries are under way; the next needs a word; this is the last one
  output logic              loads_o,
  output logic              active_o,
  output logic              word_due_o,
  output logic              done_o,

  // entry, see espalier_table
  output logic              entry_valid_o,
  output logic              entry_bank_o,
  output logic [7:0]        entry_index_o,
  output logic              entry_own_o,
  output logic              entry_fresh_o
);

  logic       loads_q, own_q;                 // tables; a word an entry
  logic       active_q;
  logic [1:0] lead_q;                         // cycles before the first entry
  logic       ready_q;                        // they have passed
  logic [7:0] index_q;
  logic [4:0] byte_q;                         // of the word, where it holds several entries
  logic       bank_q;
  logic       more, entry, swaps;

  // one cycle behind the issue
  logic       entry_q, fresh_q, bank1_q, own1_q;
  logic [7:0] index1_q;

  assign swaps = !instr_i[espalier_pkg::PARTIAL_LSB] && instr_i[espalier_pkg::TABLE_LSB+:2] == 2'd1
                 && instr_i[espalier_pkg::SWAP_TABLES_LSB] && instr_i[espalier_pkg::WIN_X_LSB+:4] == 4'd1
                 && instr_i[espalier_pkg::WIN_Y_LSB+:4] == 4'd1;

  // The rest of a word needs no other.
  assign more       = !own_q && byte_q != '0;
  assign entry      = active_q && ready_q && (more || mem_valid_i);
  assign loads_o    = loads_q;
  assign active_o   = active_q;
  assign word_due_o = ready_q && !more;
  assign done_o     = entry && index_q == 8'hff;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      bank_q   <= 1'b0;
    end else begin
      if (params_done_i && loads_q) active_q <= 1'b1;
      if (done_o) active_q <= 1'b0;
      bank_q <= bank_q ^ done_o ^ (start_i && swaps);
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      loads_q <= !instr_i[espalier_pkg::PARTIAL_LSB] && instr_i[espalier_pkg::TABLE_LSB+1];
      own_q   <= instr_i[espalier_pkg::TABLE_LSB];
    end
    if (!active_q) begin
      lead_q  <= '0;
      ready_q <= 1'b0;
      index_q <= '0;
      byte_q  <= '0;
    end else begin
      lead_q <= lead_q + 2'd1;
      if (lead_q == 2'd3) ready_q <= 1'b1;
      if (entry) begin
        index_q <= index_q + 8'd1;
        byte_q  <= byte_q == 5'(Cols - 1) ? '0 : byte_q + 5'd1;
      end
    end
  end

  // The next instruction may start before the last entries are written, but its own come later.
  always_ff @(posedge clk_i) begin
    fresh_q       <= issue_i && active_q;
    entry_fresh_o <= fresh_q;
    index1_q      <= index_q;
    entry_index_o <= index1_q;
    bank1_q       <= bank_q;
    entry_bank_o  <= bank1_q;
    own1_q        <= own_q;
    entry_own_o   <= own1_q;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      entry_q       <= 1'b0;
      entry_valid_o <= 1'b0;
    end else begin
      entry_q       <= entry;
      entry_valid_o <= entry_q;
    end
  end

  logic unused_instr;
  assign unused_instr = ^instr_i;

endmodule

`default_nettype wire
