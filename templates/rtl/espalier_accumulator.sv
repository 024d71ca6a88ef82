// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * Accumulators of one column: two banks of Depth pixels.
 *
 * While the stream of one instruction adds partial sums to one bank, the drain reads the other. An addition
 * is a read (two cycles), a sum and a write: a pixel may come again four cycles later, and passes last at
 * least Rows >= 4 cycles. The first tile of a block writes without adding, so that nothing is cleared.
 * Partial sums are shifted left by 0, 2, 4 or 6 bits before they are added, with States also by 8.
 *
 * add_* steps: read address at cycle 0, psum_i at cycle 2, write at cycle 3 (wr_* repeat the step three
 * cycles later; the neighbouring columns already hold it, so no delay registers are needed here).
 */
module espalier_accumulator #(
  // Bits of an accumulator.
  parameter int Width = 32,
  // Pixels of a bank.
  parameter int Depth = 1024,
  // Bits of a partial sum.
  parameter int PsumW = 18,
  // 1 = partial sums can be shifted by 8 bits.
  parameter int States = 0,
  // Bits of a pixel number, of half a shift; derived, do not override.
  parameter int AddrW = $clog2(Depth),
  parameter int ShiftW = States != 0 ? 3 : 2
) (
  input  wire logic                    clk_i,
  input  wire logic                    rst_ni,       // for the assertions only

  // addition: read step, sum step, write step
  input  wire logic                    rd_valid_i,
  input  wire logic                    rd_bank_i,
  input  wire logic [AddrW-1:0]        rd_addr_i,
  input  wire logic                    sum_bank_i,
  input  wire logic                    sum_first_i,
  input  wire logic [ShiftW-1:0]       sum_shift_i,
  input  wire logic signed [PsumW-1:0] psum_i,
  input  wire logic                    wr_valid_i,
  input  wire logic                    wr_bank_i,
  input  wire logic [AddrW-1:0]        wr_addr_i,

  // drain: data three cycles after the address
  input  wire logic                    drain_valid_i,
  input  wire logic                    drain_bank_i,
  input  wire logic [AddrW-1:0]        drain_addr_i,
  output logic signed [Width-1:0]      drain_data_o
);

  logic signed [Width-1:0] data0, data1;
  logic signed [Width-1:0] old;
  logic signed [Width-1:0] sum_q;
  logic [1:0]              drain_bank_q;
  logic signed [Width-1:0] addend;
  logic                    add0, add1;

  assign add0 = rd_valid_i && !rd_bank_i;
  assign add1 = rd_valid_i && rd_bank_i;
  assign old  = sum_first_i ? '0 : (sum_bank_i ? data1 : data0);

  if (States != 0) begin : gen_states
    always_comb begin
      case (sum_shift_i)
        3'd0:    addend = Width'(psum_i);
        3'd1:    addend = Width'(psum_i) <<< 2;
        3'd2:    addend = Width'(psum_i) <<< 4;
        3'd3:    addend = Width'(psum_i) <<< 6;
        default: addend = Width'(psum_i) <<< 8;
      endcase
    end
  end else begin : gen_stateless
    always_comb begin
      case (sum_shift_i)
        2'd0:    addend = Width'(psum_i);
        2'd1:    addend = Width'(psum_i) <<< 2;
        2'd2:    addend = Width'(psum_i) <<< 4;
        default: addend = Width'(psum_i) <<< 6;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    sum_q        <= old + addend;
    drain_bank_q <= {drain_bank_q[0], drain_bank_i};
    drain_data_o <= drain_bank_q[1] ? data1 : data0;
  end

  espalier_ram #(
    .Width(Width),
    .Depth(Depth)
  ) u_bank0 (
    .clk_i    (clk_i),
    .wr_en_i  (wr_valid_i && !wr_bank_i),
    .wr_addr_i(wr_addr_i),
    .wr_data_i(sum_q),
    .rd_en_i  (add0 || (drain_valid_i && !drain_bank_i)),
    .rd_addr_i(add0 ? rd_addr_i : drain_addr_i),
    .rd_data_o(data0)
  );

  espalier_ram #(
    .Width(Width),
    .Depth(Depth)
  ) u_bank1 (
    .clk_i    (clk_i),
    .wr_en_i  (wr_valid_i && wr_bank_i),
    .wr_addr_i(wr_addr_i),
    .wr_data_i(sum_q),
    .rd_en_i  (add1 || (drain_valid_i && drain_bank_i)),
    .rd_addr_i(add1 ? rd_addr_i : drain_addr_i),
    .rd_data_o(data1)
  );

`ifndef SYNTHESIS
  localparam int WideW = Width + PsumW;
  logic signed [WideW-1:0] wide_addend, wide;
  assign wide_addend = WideW'(psum_i) <<< {sum_shift_i, 1'b0};
  assign wide        = WideW'(old) + wide_addend;
  logic [1:0] valid_q;
  always @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[0], rd_valid_i} : '0;
    if (rst_ni && drain_valid_i) begin
      assert (!(rd_valid_i && rd_bank_i == drain_bank_i)
                              && !(wr_valid_i && wr_bank_i == drain_bank_i))
      else $error("bank %0d is drained while it accumulates", drain_bank_i);
    end
    if (rst_ni && valid_q[1]) begin
      assert (wide == WideW'($signed(wide[Width-1:0]))
              && wide_addend == WideW'($signed(wide_addend[Width-1:0])))
      else $error("accumulator overflow");
    end
    if (rst_ni && rd_valid_i && wr_valid_i) begin
      assert (rd_bank_i != wr_bank_i || rd_addr_i != wr_addr_i)
      else $error("pixel %0d comes again before it is written", rd_addr_i);
    end
  end
`else
  logic unused_reset;
  assign unused_reset = rst_ni;
`endif

endmodule

`default_nettype wire
