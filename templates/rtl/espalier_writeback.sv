// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Write-back: rotates the results of the columns to their lanes and drives the write port of all lanes.
 *
 * Lane l takes column l + rot and is enabled if 0 <= l + rot < columns. The rotation needs two cycles;
 * mover writes (FILL, LOAD) join at the last register, and transfers (SAVE, RESTORE) in the cycles that are left, when
 * free_o is high. The trace outputs show every lane write of the others in order.
 */
module espalier_writeback #(
  // Rows of the array.
  parameter int Rows   = 8,
  // Columns of the array.
  parameter int Cols   = 8,
  // Bits of an instruction number.
  parameter int IndexW = 8
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,

  // from the drain
  input  wire logic              wb_valid_i,
  input  wire logic [15:0]       wb_addr_i,
  input  wire logic [6:0]        wb_rot_i,
  input  wire logic [5:0]        wb_columns_i,
  input  wire logic [IndexW-1:0] wb_index_i,
  input  wire logic [8*Cols-1:0] col_q_i,

  // from the mover, all lanes
  input  wire logic              mv_valid_i,
  input  wire logic [15:0]       mv_addr_i,
  input  wire logic [8*Rows-1:0] mv_data_i,
  input  wire logic [IndexW-1:0] mv_index_i,

  // from transfers, all lanes: a write, or a read of the same port; only while free_o
  output logic                   free_o,
  input  wire logic              restore_i,
  input  wire logic              save_i,
  input  wire logic [15:0]       tr_addr_i,
  input  wire logic [8*Rows-1:0] tr_data_i,

  // to the lanes
  output logic                   save_o,
  output logic [Rows-1:0]        wr_en_o,
  output logic [15:0]            wr_addr_o,
  output logic [8*Rows-1:0]      wr_data_o,

  // trace
  output logic                   trace_valid_o,
  output logic [IndexW-1:0]      trace_index_o
);

  // Positions of the rotator: a power of two that holds all columns and all lanes.
  localparam int Levels = $clog2(Rows > Cols ? Rows : Cols);
  localparam int Places = 1 << Levels;
  // Levels before the first register; the others follow it.
  localparam int Early  = (Levels + 1) / 2;

  logic [8*Places-1:0] places_q;
  logic [Rows-1:0]     mask, mask_q;
  logic [6:0]          rot_q;
  logic                valid_q;
  logic [15:0]         addr_q;
  logic [IndexW-1:0]   index_q;

  // Rotation by 1, 2, 4, ...: stage s of `places` holds the input of level s.
  for (genvar s = 0; s <= Levels; s++) begin : gen_level
    logic [8*Places-1:0] places;
    if (s == 0) begin : gen_input
      assign places = (8 * Places)'(col_q_i);
    end else begin : gen_rotate
      localparam int Bits = 8 << (s - 1);
      logic [8*Places-1:0] input_bits;
      logic                turn;
      if (s == Early + 1) begin : gen_register
        assign input_bits = places_q;
        assign turn   = rot_q[s-1];
      end else begin : gen_wire
        assign input_bits = gen_level[s-1].places;
        if (s > Early) begin : gen_late
          assign turn = rot_q[s-1];
        end else begin : gen_early
          assign turn = wb_rot_i[s-1];
        end
      end
      assign places = turn ? {input_bits[Bits-1:0], input_bits[8*Places-1:Bits]} : input_bits;
    end
  end

  for (genvar l = 0; l < Rows; l++) begin : gen_mask
    logic [6:0] column;
    assign column  = 7'(l) + wb_rot_i;
    assign mask[l] = wb_valid_i && !column[6] && column[5:0] < wb_columns_i;
  end

  always_ff @(posedge clk_i) begin
    places_q  <= gen_level[Early].places;
    rot_q     <= wb_rot_i;
    addr_q    <= wb_addr_i;
    index_q   <= wb_index_i;
    wr_addr_o <= mv_valid_i ? mv_addr_i : restore_i || save_i ? tr_addr_i : addr_q;
    wr_data_o <= mv_valid_i ? mv_data_i : restore_i ? tr_data_i : gen_level[Levels].places[8*Rows-1:0];
    trace_index_o <= mv_valid_i ? mv_index_i : index_q;
  end

  assign free_o = !valid_q && !mv_valid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q       <= 1'b0;
      mask_q        <= '0;
      wr_en_o       <= '0;
      save_o        <= 1'b0;
      trace_valid_o <= 1'b0;
    end else begin
      valid_q       <= wb_valid_i;
      mask_q        <= mask;
      wr_en_o       <= mv_valid_i || restore_i ? '1 : mask_q;
      save_o        <= save_i;
      trace_valid_o <= mv_valid_i || valid_q;
    end
  end

  logic unused_bits;
  assign unused_bits = ^{gen_level[Levels].places, rot_q};

`ifndef SYNTHESIS
  always @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(mv_valid_i && valid_q)) else $error("mover and drain write in one cycle");
      assert (!((restore_i || save_i) && !free_o)) else $error("transfer without a free cycle");
    end
  end
`endif

endmodule

`default_nettype wire
