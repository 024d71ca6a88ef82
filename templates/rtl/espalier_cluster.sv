// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * A cluster: the lanes, an array, a depthwise unit and the accumulators behind it.
 *
 * All clusters of an accelerator get the same weights and hold the same bytes in their lanes; each computes
 * some rows of the outputs: its pixel bases say which. Weights travel down the rows as the array wants them,
 * pixel bases likewise, and accumulation steps travel along the columns, so that no signal but those of the
 * lanes' write port crosses the cluster in a cycle.
 *
 * Timing: espalier_lane (from base_* to activations), espalier_array (to partial sums), espalier_accumulator
 * (acc_* is the step of column 0, drain_data_o three cycles after drain_*). last_o is acc_last_i at the last
 * column.
 */
module espalier_cluster #(
  // As in espalier_core.
  parameter int Rows      = 8,
  parameter int Cols      = 8,
  parameter int Combine   = 1,
  parameter int Packed    = 0,
  parameter int HardCols  = 8,
  parameter int Depthwise = 0,
  parameter int LaneDepth = 1024,
  parameter int AccDepth  = 64,
  parameter int AccW      = 32,
  // 1 = the write port of the lanes reads, too, for SAVE.
  parameter int Spill     = 0,
  // As in espalier_core.
  parameter int States    = 0,
  // Bits of a pixel number, of a weight with its select bit, of the taps, of half a shift; derived, do not override.
  parameter int AccAddrW  = $clog2(AccDepth),
  parameter int WeightW   = 7 + Combine,
  parameter int TapsW     = Depthwise > 0 ? 8 * Depthwise : 8,
  parameter int ShiftW    = States != 0 ? 3 : 2
) (
  input  wire logic                    clk_i,
  input  wire logic                    rst_ni,

  // pixel base to lane 0
  input  wire logic                    base_valid_i,
  input  wire logic                    base_mark_i,
  input  wire logic [15:0]             base_addr_i,

  // a row of weights with its row number and the offsets of its vectors
  input  wire logic                    weight_valid_i,
  input  wire logic [4:0]              weight_row_i,
  input  wire logic [Combine-1:0]      weight_used_i,
  input  wire logic [16*Combine-1:0]   weight_offset_i,
  input  wire logic [WeightW*Cols-1:0] weight_i,
  input  wire logic [TapsW-1:0]        taps_i,

  // lanes: whole-word reads for STORE and SAVE, writes
  input  wire logic                    store_en_i,
  input  wire logic [15:0]             store_addr_i,
  output logic [8*Rows-1:0]            store_data_o,
  input  wire logic                    save_en_i,
  output logic [8*Rows-1:0]            save_data_o,
  input  wire logic [Rows-1:0]         wr_en_i,
  input  wire logic [15:0]             wr_addr_i,
  input  wire logic [8*Rows-1:0]       wr_data_i,

  // accumulation step of column 0, and the end of a stream at the last column
  input  wire logic                    acc_valid_i,
  input  wire logic                    acc_first_i,
  input  wire logic [ShiftW-1:0]       acc_shift_i,
  input  wire logic                    acc_bank_i,
  input  wire logic                    acc_last_i,
  input  wire logic [AccAddrW-1:0]     acc_addr_i,
  input  wire logic                    acc_depthwise_i,
  output logic                         last_o,
  output logic                         last_bank_o,

  // drain
  input  wire logic                    drain_valid_i,
  input  wire logic                    drain_bank_i,
  input  wire logic [AccAddrW-1:0]     drain_addr_i,
  output logic [AccW*Cols-1:0]         drain_data_o
);

  localparam int PsumW = 15 + $clog2(Rows);

  // --- lanes
  logic [8*Combine*Rows-1:0] act;
  logic [Rows-1:0]           swap_mark, load_mark;

  for (genvar r = 0; r < Rows; r++) begin : gen_lane
    logic        base_valid_in, base_valid_out, base_mark_in, base_mark_out;
    logic [15:0] base_addr_in, base_addr_out;
    logic        offset_valid_in, offset_valid_out;
    logic [4:0]  offset_row_in, offset_row_out;

    logic [Combine-1:0]    offset_used_in, offset_used_out;
    logic [16*Combine-1:0] offset_in, offset_out;

    if (r == 0) begin : gen_top
      assign base_valid_in   = base_valid_i;
      assign base_mark_in    = base_mark_i;
      assign base_addr_in    = base_addr_i;
      assign offset_valid_in = weight_valid_i;
      assign offset_row_in   = weight_row_i;
      assign offset_used_in  = weight_used_i;
      assign offset_in       = weight_offset_i;
    end else begin : gen_below
      assign base_valid_in   = gen_lane[r-1].base_valid_out;
      assign base_mark_in    = gen_lane[r-1].base_mark_out;
      assign base_addr_in    = gen_lane[r-1].base_addr_out;
      assign offset_valid_in = gen_lane[r-1].offset_valid_out;
      assign offset_row_in   = gen_lane[r-1].offset_row_out;
      assign offset_used_in  = gen_lane[r-1].offset_used_out;
      assign offset_in       = gen_lane[r-1].offset_out;
    end

    espalier_lane #(
      .Row    (r),
      .Depth  (LaneDepth),
      .Combine(Combine),
      .Spill  (Spill)
    ) u_lane (
      .clk_i         (clk_i),
      .rst_ni        (rst_ni),
      .base_valid_i  (base_valid_in),
      .base_mark_i   (base_mark_in),
      .base_addr_i   (base_addr_in),
      .base_valid_o  (base_valid_out),
      .base_mark_o   (base_mark_out),
      .base_addr_o   (base_addr_out),
      .offset_valid_i(offset_valid_in),
      .offset_row_i  (offset_row_in),
      .offset_used_i (offset_used_in),
      .offset_i      (offset_in),
      .offset_valid_o(offset_valid_out),
      .offset_row_o  (offset_row_out),
      .offset_used_o (offset_used_out),
      .offset_o      (offset_out),
      .store_en_i    (store_en_i),
      .store_addr_i  (store_addr_i),
      .store_data_o  (store_data_o[8*r+:8]),
      .save_en_i     (save_en_i),
      .save_data_o   (save_data_o[8*r+:8]),
      .wr_en_i       (wr_en_i[r]),
      .wr_addr_i     (wr_addr_i),
      .wr_data_i     (wr_data_i[8*r+:8]),
      .act_o         (act[8*Combine*r+:8*Combine]),
      .swap_o        (swap_mark[r]),
      .load_o        (load_mark[r])
    );

    if (r == Rows - 1) begin : gen_bottom
      logic unused_chain;
      assign unused_chain = ^{base_valid_out, base_mark_out, base_addr_out, offset_valid_out, offset_row_out,
                              offset_used_out, offset_out};
    end
  end

  // --- array
  logic [PsumW*Cols-1:0] psum;

  espalier_array #(
    .Rows    (Rows),
    .Cols    (Cols),
    .PsumW   (PsumW),
    .Combine (Combine),
    .Packed  (Packed),
    .HardCols(HardCols)
  ) u_array (
    .clk_i   (clk_i),
    .act_i   (act),
    .swap_i  (swap_mark),
    .load_i  (load_mark),
    .weight_i(weight_i),
    .psum_o  (psum)
  );

  // --- depthwise unit: its sums take the place of the array's
  logic [PsumW*Cols-1:0] column_sum;

  if (Depthwise > 0) begin : gen_depthwise
    logic [8*Rows-1:0] lane_act;
    for (genvar r = 0; r < Rows; r++) begin : gen_act
      assign lane_act[8*r+:8] = act[8*Combine*r+:8];
    end
    espalier_depthwise #(
      .Rows (Rows),
      .Cols (Cols),
      .Taps (Depthwise),
      .PsumW(PsumW)
    ) u_depthwise (
      .clk_i      (clk_i),
      .act_i      (lane_act),
      .swap_i     (swap_mark),
      .load_i     (load_mark),
      .weight_i   (taps_i),
      .depthwise_i(acc_depthwise_i),
      .psum_i     (psum),
      .psum_o     (column_sum)
    );
  end else begin : gen_array_only
    logic unused_depthwise;
    assign unused_depthwise = ^{acc_depthwise_i, taps_i};
    assign column_sum       = psum;
  end

  // --- accumulators. Step s is the accumulation step of column s; column c adds two steps and writes three
  // steps after its read.
  localparam int StepW = 3 + ShiftW + AccAddrW;

  for (genvar s = 0; s < Cols + 3; s++) begin : gen_step
    logic [StepW-1:0] step;
    logic             last;
    if (s == 0) begin : gen_first
      assign step = {acc_valid_i, acc_shift_i, acc_first_i, acc_bank_i, acc_addr_i};
      assign last = acc_last_i;
    end else begin : gen_next
      always_ff @(posedge clk_i) begin
        step <= gen_step[s-1].step;
        last <= gen_step[s-1].last;
        if (!rst_ni) begin
          step[StepW-1] <= 1'b0;
          last          <= 1'b0;
        end
      end
    end
    if (s > Cols) begin : gen_tail
      logic unused_last;
      assign unused_last = ^{last, step};
    end
  end

  assign last_o      = gen_step[Cols].last;
  assign last_bank_o = gen_step[Cols].step[AccAddrW];

  for (genvar c = 0; c < Cols; c++) begin : gen_acc
    espalier_accumulator #(
      .Width (AccW),
      .Depth (AccDepth),
      .PsumW (PsumW),
      .States(States)
    ) u_accumulator (
      .clk_i        (clk_i),
      .rst_ni       (rst_ni),
      .rd_valid_i   (gen_step[c].step[StepW-1]),
      .rd_bank_i    (gen_step[c].step[AccAddrW]),
      .rd_addr_i    (gen_step[c].step[AccAddrW-1:0]),
      .sum_bank_i   (gen_step[c+2].step[AccAddrW]),
      .sum_first_i  (gen_step[c+2].step[AccAddrW+1]),
      .sum_shift_i  (gen_step[c+2].step[AccAddrW+2+:ShiftW]),
      .psum_i       (column_sum[PsumW*c+:PsumW]),
      .wr_valid_i   (gen_step[c+3].step[StepW-1]),
      .wr_bank_i    (gen_step[c+3].step[AccAddrW]),
      .wr_addr_i    (gen_step[c+3].step[AccAddrW-1:0]),
      .drain_valid_i(drain_valid_i),
      .drain_bank_i (drain_bank_i),
      .drain_addr_i (drain_addr_i),
      .drain_data_o (drain_data_o[AccW*c+:AccW])
    );
  end

endmodule

`default_nettype wire
