// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Models of the ECP5 cells that Yosys maps to but does not describe (FPGA-TN-02204, FPGA-TN-02205): multiplier without
// registers, block RAM without output register whose reads are undefined where it writes. Only what Yosys uses.

module MULT18X18D (
  input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
  input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
  input C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
  output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";

  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire signed [35:0] wide_a = {{18{SIGNEDA & a[17]}}, a};
  wire signed [35:0] wide_b = {{18{SIGNEDB & b[17]}}, b};
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = wide_a * wide_b;
endmodule

module DP16KD (
  input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
  input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA0, CSA1, CSA2,
  output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15, DOA16, DOA17,
  input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
  input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB0, CSB1, CSB2,
  output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter GSR = "AUTO";
  parameter [319:0] INITVAL_00 = 320'b0;
  parameter [319:0] INITVAL_01 = 320'b0;
  parameter [319:0] INITVAL_02 = 320'b0;
  parameter [319:0] INITVAL_03 = 320'b0;
  parameter [319:0] INITVAL_04 = 320'b0;
  parameter [319:0] INITVAL_05 = 320'b0;
  parameter [319:0] INITVAL_06 = 320'b0;
  parameter [319:0] INITVAL_07 = 320'b0;
  parameter [319:0] INITVAL_08 = 320'b0;
  parameter [319:0] INITVAL_09 = 320'b0;
  parameter [319:0] INITVAL_0A = 320'b0;
  parameter [319:0] INITVAL_0B = 320'b0;
  parameter [319:0] INITVAL_0C = 320'b0;
  parameter [319:0] INITVAL_0D = 320'b0;
  parameter [319:0] INITVAL_0E = 320'b0;
  parameter [319:0] INITVAL_0F = 320'b0;
  parameter [319:0] INITVAL_10 = 320'b0;
  parameter [319:0] INITVAL_11 = 320'b0;
  parameter [319:0] INITVAL_12 = 320'b0;
  parameter [319:0] INITVAL_13 = 320'b0;
  parameter [319:0] INITVAL_14 = 320'b0;
  parameter [319:0] INITVAL_15 = 320'b0;
  parameter [319:0] INITVAL_16 = 320'b0;
  parameter [319:0] INITVAL_17 = 320'b0;
  parameter [319:0] INITVAL_18 = 320'b0;
  parameter [319:0] INITVAL_19 = 320'b0;
  parameter [319:0] INITVAL_1A = 320'b0;
  parameter [319:0] INITVAL_1B = 320'b0;
  parameter [319:0] INITVAL_1C = 320'b0;
  parameter [319:0] INITVAL_1D = 320'b0;
  parameter [319:0] INITVAL_1E = 320'b0;
  parameter [319:0] INITVAL_1F = 320'b0;
  parameter [319:0] INITVAL_20 = 320'b0;
  parameter [319:0] INITVAL_21 = 320'b0;
  parameter [319:0] INITVAL_22 = 320'b0;
  parameter [319:0] INITVAL_23 = 320'b0;
  parameter [319:0] INITVAL_24 = 320'b0;
  parameter [319:0] INITVAL_25 = 320'b0;
  parameter [319:0] INITVAL_26 = 320'b0;
  parameter [319:0] INITVAL_27 = 320'b0;
  parameter [319:0] INITVAL_28 = 320'b0;
  parameter [319:0] INITVAL_29 = 320'b0;
  parameter [319:0] INITVAL_2A = 320'b0;
  parameter [319:0] INITVAL_2B = 320'b0;
  parameter [319:0] INITVAL_2C = 320'b0;
  parameter [319:0] INITVAL_2D = 320'b0;
  parameter [319:0] INITVAL_2E = 320'b0;
  parameter [319:0] INITVAL_2F = 320'b0;
  parameter [319:0] INITVAL_30 = 320'b0;
  parameter [319:0] INITVAL_31 = 320'b0;
  parameter [319:0] INITVAL_32 = 320'b0;
  parameter [319:0] INITVAL_33 = 320'b0;
  parameter [319:0] INITVAL_34 = 320'b0;
  parameter [319:0] INITVAL_35 = 320'b0;
  parameter [319:0] INITVAL_36 = 320'b0;
  parameter [319:0] INITVAL_37 = 320'b0;
  parameter [319:0] INITVAL_38 = 320'b0;
  parameter [319:0] INITVAL_39 = 320'b0;
  parameter [319:0] INITVAL_3A = 320'b0;
  parameter [319:0] INITVAL_3B = 320'b0;
  parameter [319:0] INITVAL_3C = 320'b0;
  parameter [319:0] INITVAL_3D = 320'b0;
  parameter [319:0] INITVAL_3E = 320'b0;
  parameter [319:0] INITVAL_3F = 320'b0;

  reg [17:0] memory [0:1023];
  integer i;
  initial begin
    for (i = 0; i < 16; i = i + 1) memory[0+i] = INITVAL_00[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[16+i] = INITVAL_01[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[32+i] = INITVAL_02[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[48+i] = INITVAL_03[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[64+i] = INITVAL_04[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[80+i] = INITVAL_05[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[96+i] = INITVAL_06[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[112+i] = INITVAL_07[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[128+i] = INITVAL_08[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[144+i] = INITVAL_09[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[160+i] = INITVAL_0A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[176+i] = INITVAL_0B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[192+i] = INITVAL_0C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[208+i] = INITVAL_0D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[224+i] = INITVAL_0E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[240+i] = INITVAL_0F[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[256+i] = INITVAL_10[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[272+i] = INITVAL_11[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[288+i] = INITVAL_12[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[304+i] = INITVAL_13[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[320+i] = INITVAL_14[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[336+i] = INITVAL_15[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[352+i] = INITVAL_16[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[368+i] = INITVAL_17[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[384+i] = INITVAL_18[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[400+i] = INITVAL_19[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[416+i] = INITVAL_1A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[432+i] = INITVAL_1B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[448+i] = INITVAL_1C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[464+i] = INITVAL_1D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[480+i] = INITVAL_1E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[496+i] = INITVAL_1F[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[512+i] = INITVAL_20[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[528+i] = INITVAL_21[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[544+i] = INITVAL_22[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[560+i] = INITVAL_23[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[576+i] = INITVAL_24[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[592+i] = INITVAL_25[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[608+i] = INITVAL_26[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[624+i] = INITVAL_27[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[640+i] = INITVAL_28[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[656+i] = INITVAL_29[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[672+i] = INITVAL_2A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[688+i] = INITVAL_2B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[704+i] = INITVAL_2C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[720+i] = INITVAL_2D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[736+i] = INITVAL_2E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[752+i] = INITVAL_2F[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[768+i] = INITVAL_30[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[784+i] = INITVAL_31[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[800+i] = INITVAL_32[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[816+i] = INITVAL_33[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[832+i] = INITVAL_34[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[848+i] = INITVAL_35[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[864+i] = INITVAL_36[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[880+i] = INITVAL_37[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[896+i] = INITVAL_38[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[912+i] = INITVAL_39[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[928+i] = INITVAL_3A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[944+i] = INITVAL_3B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[960+i] = INITVAL_3C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[976+i] = INITVAL_3D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[992+i] = INITVAL_3E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) memory[1008+i] = INITVAL_3F[20*i+:18];
  end

  // The width decides which address bits count; nine bits lie in a byte of the array.
  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [17:0] write_a   = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  reg  [17:0] read_a, upper_b;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? upper_b : read_a;

  // The width decides which address bits count; nine bits lie in a byte of the array.
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] write_b   = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  reg  [17:0] read_b;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = read_b;

  generate
    if (DATA_WIDTH_A == 18) begin : gen_a18
      always @(posedge CLKA) if (CEA) begin
        if (WEA && address_a[0]) memory[address_a[13:4]][8:0]  <= write_a[8:0];
        if (WEA && address_a[1]) memory[address_a[13:4]][17:9] <= write_a[17:9];
        if (!WEA) read_a <= memory[address_a[13:4]];
      end
    end else if (DATA_WIDTH_A == 9) begin : gen_a9
      always @(posedge CLKA) if (CEA) begin
        if (WEA) memory[address_a[13:4]][9*address_a[3]+:9] <= write_a[8:0];
        else read_a <= {9'b0, memory[address_a[13:4]][9*address_a[3]+:9]};
      end
    end else if (DATA_WIDTH_A == 36) begin : gen_a36
      // Writes only: both data inputs form the word.
      always @(posedge CLKA) if (CEA && WEA) begin
        if (address_a[0]) memory[{address_a[13:5], 1'b0}][8:0]  <= write_a[8:0];
        if (address_a[1]) memory[{address_a[13:5], 1'b0}][17:9] <= write_a[17:9];
        if (address_a[2]) memory[{address_a[13:5], 1'b1}][8:0]  <= write_b[8:0];
        if (address_a[3]) memory[{address_a[13:5], 1'b1}][17:9] <= write_b[17:9];
      end
    end else begin : gen_anarrow
      // 4, 2 or 1 bits: the ninth bit of a byte is not used.
      wire [3:0] place = address_a[3] * 9 + (DATA_WIDTH_A == 4 ? {address_a[2], 2'b0}
                                               : DATA_WIDTH_A == 2 ? {address_a[2:1], 1'b0} : address_a[2:0]);
      always @(posedge CLKA) if (CEA) begin
        if (WEA) memory[address_a[13:4]][place+:DATA_WIDTH_A] <= write_a[DATA_WIDTH_A-1:0];
        else read_a <= {{(18-DATA_WIDTH_A){1'b0}}, memory[address_a[13:4]][place+:DATA_WIDTH_A]};
      end
    end
  endgenerate

  generate
    if (DATA_WIDTH_B == 18) begin : gen_b18
      always @(posedge CLKB) if (CEB) begin
        if (WEB && address_b[0]) memory[address_b[13:4]][8:0]  <= write_b[8:0];
        if (WEB && address_b[1]) memory[address_b[13:4]][17:9] <= write_b[17:9];
        if (!WEB) read_b <= memory[address_b[13:4]];
      end
    end else if (DATA_WIDTH_B == 9) begin : gen_b9
      always @(posedge CLKB) if (CEB) begin
        if (WEB) memory[address_b[13:4]][9*address_b[3]+:9] <= write_b[8:0];
        else read_b <= {9'b0, memory[address_b[13:4]][9*address_b[3]+:9]};
      end
    end else if (DATA_WIDTH_B == 36) begin : gen_b36
      // Reads only: both data outputs form the word.
      always @(posedge CLKB) if (CEB) begin
        read_b  <= memory[{address_b[13:5], 1'b1}];
        upper_b <= memory[{address_b[13:5], 1'b0}];
      end
    end else begin : gen_bnarrow
      // 4, 2 or 1 bits: the ninth bit of a byte is not used.
      wire [3:0] place = address_b[3] * 9 + (DATA_WIDTH_B == 4 ? {address_b[2], 2'b0}
                                               : DATA_WIDTH_B == 2 ? {address_b[2:1], 1'b0} : address_b[2:0]);
      always @(posedge CLKB) if (CEB) begin
        if (WEB) memory[address_b[13:4]][place+:DATA_WIDTH_B] <= write_b[DATA_WIDTH_B-1:0];
        else read_b <= {{(18-DATA_WIDTH_B){1'b0}}, memory[address_b[13:4]][place+:DATA_WIDTH_B]};
      end
    end
  endgenerate
endmodule
