// SPDX-License-Identifier: MIT OR Apache-2.0
//
// espalier_pe in one SB_MAC16 of an iCE40 UltraPlus: weight, product and partial sum are registers of the block.
//
// Yosys' own mapping (ice40_dsp) takes the sum of one element into the multiplier of the next one of its column and
// loses the first, so the block is instantiated. With Combine = 2 the select bit stays outside of it.
`default_nettype none

module espalier_pe #(
  parameter PsumW   = 18,
  parameter Combine = 1,
  parameter Soft    = 0,
  parameter WeightW = 7 + Combine
) (
  input  wire                    clk_i,
  input  wire [8*Combine-1:0]    act_i,
  output reg  [8*Combine-1:0]    act_o,
  input  wire                    swap_i,
  output reg                     swap_o,
  input  wire                    load_i,
  output reg                     load_o,
  input  wire [WeightW-1:0]      weight_i,
  output reg  [WeightW-1:0]      weight_o,
  input  wire signed [PsumW-1:0] psum_i,
  output wire signed [PsumW-1:0] psum_o
);

  reg [WeightW-1:0] shadow_q;
  // The activation that the weight in use selects.
  wire [7:0]        operand;

  always @(posedge clk_i) begin
    act_o    <= act_i;
    swap_o   <= swap_i;
    load_o   <= load_i;
    weight_o <= weight_i;
    if (load_i) shadow_q <= weight_i;
  end

  generate
    if (Combine > 1) begin : gen_select
      reg select_q;
      always @(posedge clk_i) if (swap_i) select_q <= shadow_q[WeightW-1];
      assign operand = select_q ? act_i[8*Combine-1:8*Combine-8] : act_i[7:0];
    end else begin : gen_single
      assign operand = act_i;
    end

    if (Soft != 0) begin : gen_soft
      reg [7:0]              weight_q;
      reg signed [15:0]      product_q;
      reg signed [PsumW-1:0] psum_q;
      wire signed [15:0]     product;

      espalier_mul u_mul (
        .a_i(operand),
        .b_i(weight_q),
        .p_o(product)
      );

      always @(posedge clk_i) begin
        if (swap_i) weight_q <= shadow_q[7:0];
        product_q <= product;
        psum_q    <= psum_i + product_q;
      end
      assign psum_o = psum_q;
    end else begin : gen_hard
      wire [31:0] sum;
      wire [31:0] addend = {{(32-PsumW){psum_i[PsumW-1]}}, psum_i};

      assign psum_o = sum[PsumW-1:0];

      // 16x16 product of sign-extended bytes, registered between the partial products and their sum; one
      // adder of 32 bits with C and D, registered.
      SB_MAC16 #(
        .A_REG(1'b0), .B_REG(1'b1), .C_REG(1'b0), .D_REG(1'b0),
        .TOP_8x8_MULT_REG(1'b1), .BOT_8x8_MULT_REG(1'b1),
        .PIPELINE_16x16_MULT_REG1(1'b1), .PIPELINE_16x16_MULT_REG2(1'b0),
        .TOPOUTPUT_SELECT(2'b01), .TOPADDSUB_LOWERINPUT(2'b10),
        .TOPADDSUB_UPPERINPUT(1'b1), .TOPADDSUB_CARRYSELECT(2'b11),
        .BOTOUTPUT_SELECT(2'b01), .BOTADDSUB_LOWERINPUT(2'b10),
        .BOTADDSUB_UPPERINPUT(1'b1), .BOTADDSUB_CARRYSELECT(2'b00),
        .MODE_8x8(1'b0), .A_SIGNED(1'b1), .B_SIGNED(1'b1)
      ) u_mac (
        .CLK(clk_i), .CE(1'b1),
        .A({{8{operand[7]}}, operand}), .B({{8{shadow_q[7]}}, shadow_q[7:0]}),
        .C(addend[31:16]), .D(addend[15:0]),
        .AHOLD(1'b0), .BHOLD(!swap_i), .CHOLD(1'b0), .DHOLD(1'b0),
        .IRSTTOP(1'b0), .IRSTBOT(1'b0), .ORSTTOP(1'b0), .ORSTBOT(1'b0),
        .OLOADTOP(1'b0), .OLOADBOT(1'b0), .ADDSUBTOP(1'b0), .ADDSUBBOT(1'b0),
        .OHOLDTOP(1'b0), .OHOLDBOT(1'b0), .CI(1'b0), .ACCUMCI(1'b0), .SIGNEXTIN(1'b0),
        .O(sum), .CO(), .ACCUMCO(), .SIGNEXTOUT()
      );
    end
  endgenerate

endmodule

`default_nettype wire
