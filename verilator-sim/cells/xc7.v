// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Models of the block RAMs of AMD 7 series (UG473), which Yosys maps to but does not describe: no output register, no
// cascade, no reset, no first value of a read; reads are undefined where the other port writes. Only what Yosys uses.

module RAMB18E1 (
  input [13:0] ADDRARDADDR, ADDRBWRADDR,
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
  input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
  input [15:0] DIADI, DIBDI,
  input [1:0] DIPADIP, DIPBDIP,
  input [1:0] WEA,
  input [3:0] WEBWE,
  output [15:0] DOADO, DOBDO,
  output [1:0] DOPADOP, DOPBDOP
);
  parameter READ_WIDTH_A = 0;
  parameter READ_WIDTH_B = 0;
  parameter WRITE_WIDTH_A = 0;
  parameter WRITE_WIDTH_B = 0;
  parameter WRITE_MODE_A = "WRITE_FIRST";
  parameter WRITE_MODE_B = "WRITE_FIRST";
  parameter RAM_MODE = "TDP";
  parameter DOA_REG = 0;
  parameter DOB_REG = 0;
  parameter [35:0] INIT_A = 0;
  parameter [35:0] INIT_B = 0;
  parameter [35:0] SRVAL_A = 0;
  parameter [35:0] SRVAL_B = 0;
  parameter RAM_EXTENSION_A = "NONE";
  parameter RAM_EXTENSION_B = "NONE";
  parameter [255:0] INIT_00 = 256'b0;
  parameter [255:0] INIT_01 = 256'b0;
  parameter [255:0] INIT_02 = 256'b0;
  parameter [255:0] INIT_03 = 256'b0;
  parameter [255:0] INIT_04 = 256'b0;
  parameter [255:0] INIT_05 = 256'b0;
  parameter [255:0] INIT_06 = 256'b0;
  parameter [255:0] INIT_07 = 256'b0;
  parameter [255:0] INIT_08 = 256'b0;
  parameter [255:0] INIT_09 = 256'b0;
  parameter [255:0] INIT_0A = 256'b0;
  parameter [255:0] INIT_0B = 256'b0;
  parameter [255:0] INIT_0C = 256'b0;
  parameter [255:0] INIT_0D = 256'b0;
  parameter [255:0] INIT_0E = 256'b0;
  parameter [255:0] INIT_0F = 256'b0;
  parameter [255:0] INIT_10 = 256'b0;
  parameter [255:0] INIT_11 = 256'b0;
  parameter [255:0] INIT_12 = 256'b0;
  parameter [255:0] INIT_13 = 256'b0;
  parameter [255:0] INIT_14 = 256'b0;
  parameter [255:0] INIT_15 = 256'b0;
  parameter [255:0] INIT_16 = 256'b0;
  parameter [255:0] INIT_17 = 256'b0;
  parameter [255:0] INIT_18 = 256'b0;
  parameter [255:0] INIT_19 = 256'b0;
  parameter [255:0] INIT_1A = 256'b0;
  parameter [255:0] INIT_1B = 256'b0;
  parameter [255:0] INIT_1C = 256'b0;
  parameter [255:0] INIT_1D = 256'b0;
  parameter [255:0] INIT_1E = 256'b0;
  parameter [255:0] INIT_1F = 256'b0;
  parameter [255:0] INIT_20 = 256'b0;
  parameter [255:0] INIT_21 = 256'b0;
  parameter [255:0] INIT_22 = 256'b0;
  parameter [255:0] INIT_23 = 256'b0;
  parameter [255:0] INIT_24 = 256'b0;
  parameter [255:0] INIT_25 = 256'b0;
  parameter [255:0] INIT_26 = 256'b0;
  parameter [255:0] INIT_27 = 256'b0;
  parameter [255:0] INIT_28 = 256'b0;
  parameter [255:0] INIT_29 = 256'b0;
  parameter [255:0] INIT_2A = 256'b0;
  parameter [255:0] INIT_2B = 256'b0;
  parameter [255:0] INIT_2C = 256'b0;
  parameter [255:0] INIT_2D = 256'b0;
  parameter [255:0] INIT_2E = 256'b0;
  parameter [255:0] INIT_2F = 256'b0;
  parameter [255:0] INIT_30 = 256'b0;
  parameter [255:0] INIT_31 = 256'b0;
  parameter [255:0] INIT_32 = 256'b0;
  parameter [255:0] INIT_33 = 256'b0;
  parameter [255:0] INIT_34 = 256'b0;
  parameter [255:0] INIT_35 = 256'b0;
  parameter [255:0] INIT_36 = 256'b0;
  parameter [255:0] INIT_37 = 256'b0;
  parameter [255:0] INIT_38 = 256'b0;
  parameter [255:0] INIT_39 = 256'b0;
  parameter [255:0] INIT_3A = 256'b0;
  parameter [255:0] INIT_3B = 256'b0;
  parameter [255:0] INIT_3C = 256'b0;
  parameter [255:0] INIT_3D = 256'b0;
  parameter [255:0] INIT_3E = 256'b0;
  parameter [255:0] INIT_3F = 256'b0;
  parameter [255:0] INITP_00 = 256'b0;
  parameter [255:0] INITP_01 = 256'b0;
  parameter [255:0] INITP_02 = 256'b0;
  parameter [255:0] INITP_03 = 256'b0;
  parameter [255:0] INITP_04 = 256'b0;
  parameter [255:0] INITP_05 = 256'b0;
  parameter [255:0] INITP_06 = 256'b0;
  parameter [255:0] INITP_07 = 256'b0;

  // Bytes with their parity bits.
  reg [8:0] memory [0:2047];
  integer i;
  initial begin
    for (i = 0; i < 32; i = i + 1) memory[0+i] = {INITP_00[0+i], INIT_00[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[32+i] = {INITP_00[32+i], INIT_01[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[64+i] = {INITP_00[64+i], INIT_02[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[96+i] = {INITP_00[96+i], INIT_03[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[128+i] = {INITP_00[128+i], INIT_04[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[160+i] = {INITP_00[160+i], INIT_05[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[192+i] = {INITP_00[192+i], INIT_06[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[224+i] = {INITP_00[224+i], INIT_07[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[256+i] = {INITP_01[0+i], INIT_08[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[288+i] = {INITP_01[32+i], INIT_09[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[320+i] = {INITP_01[64+i], INIT_0A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[352+i] = {INITP_01[96+i], INIT_0B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[384+i] = {INITP_01[128+i], INIT_0C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[416+i] = {INITP_01[160+i], INIT_0D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[448+i] = {INITP_01[192+i], INIT_0E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[480+i] = {INITP_01[224+i], INIT_0F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[512+i] = {INITP_02[0+i], INIT_10[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[544+i] = {INITP_02[32+i], INIT_11[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[576+i] = {INITP_02[64+i], INIT_12[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[608+i] = {INITP_02[96+i], INIT_13[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[640+i] = {INITP_02[128+i], INIT_14[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[672+i] = {INITP_02[160+i], INIT_15[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[704+i] = {INITP_02[192+i], INIT_16[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[736+i] = {INITP_02[224+i], INIT_17[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[768+i] = {INITP_03[0+i], INIT_18[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[800+i] = {INITP_03[32+i], INIT_19[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[832+i] = {INITP_03[64+i], INIT_1A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[864+i] = {INITP_03[96+i], INIT_1B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[896+i] = {INITP_03[128+i], INIT_1C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[928+i] = {INITP_03[160+i], INIT_1D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[960+i] = {INITP_03[192+i], INIT_1E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[992+i] = {INITP_03[224+i], INIT_1F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1024+i] = {INITP_04[0+i], INIT_20[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1056+i] = {INITP_04[32+i], INIT_21[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1088+i] = {INITP_04[64+i], INIT_22[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1120+i] = {INITP_04[96+i], INIT_23[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1152+i] = {INITP_04[128+i], INIT_24[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1184+i] = {INITP_04[160+i], INIT_25[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1216+i] = {INITP_04[192+i], INIT_26[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1248+i] = {INITP_04[224+i], INIT_27[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1280+i] = {INITP_05[0+i], INIT_28[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1312+i] = {INITP_05[32+i], INIT_29[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1344+i] = {INITP_05[64+i], INIT_2A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1376+i] = {INITP_05[96+i], INIT_2B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1408+i] = {INITP_05[128+i], INIT_2C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1440+i] = {INITP_05[160+i], INIT_2D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1472+i] = {INITP_05[192+i], INIT_2E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1504+i] = {INITP_05[224+i], INIT_2F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1536+i] = {INITP_06[0+i], INIT_30[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1568+i] = {INITP_06[32+i], INIT_31[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1600+i] = {INITP_06[64+i], INIT_32[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1632+i] = {INITP_06[96+i], INIT_33[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1664+i] = {INITP_06[128+i], INIT_34[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1696+i] = {INITP_06[160+i], INIT_35[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1728+i] = {INITP_06[192+i], INIT_36[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1760+i] = {INITP_06[224+i], INIT_37[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1792+i] = {INITP_07[0+i], INIT_38[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1824+i] = {INITP_07[32+i], INIT_39[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1856+i] = {INITP_07[64+i], INIT_3A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1888+i] = {INITP_07[96+i], INIT_3B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1920+i] = {INITP_07[128+i], INIT_3C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1952+i] = {INITP_07[160+i], INIT_3D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1984+i] = {INITP_07[192+i], INIT_3E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2016+i] = {INITP_07[224+i], INIT_3F[8*i+:8]};
  end

  wire [13:0] at_a = ADDRARDADDR[13:0];
  wire [13:0] at_b = ADDRBWRADDR[13:0];
  wire [31:0] write_b = RAM_MODE == "SDP" && WRITE_WIDTH_B == 36 ? {DIBDI, DIADI} : {{16{1'b0}}, DIBDI};
  wire [3:0]   parity_b = RAM_MODE == "SDP" && WRITE_WIDTH_B == 36 ? {DIPBDIP, DIPADIP} : {{2{1'b0}}, DIPBDIP};
  reg [31:0] read_a, read_b;
  reg [3:0]   check_a, check_b;

  assign {DOADO, DOPADOP} = {read_a[15:0], check_a[1:0]};
  assign {DOBDO, DOPBDOP} = RAM_MODE == "SDP" ? {read_a[31:16], check_a[3:2]}
                                                : {read_b[15:0], check_b[1:0]};

  // Bytes of a port of so many bits with parity; 0 if it is narrower than a byte.
  localparam BytesRA = READ_WIDTH_A / 9;
  localparam BytesRB = READ_WIDTH_B / 9;
  localparam BytesWA = WRITE_WIDTH_A / 9;
  localparam BytesWB = WRITE_WIDTH_B / 9;
  integer a, b;

  always @(posedge CLKARDCLK) if (ENARDEN) begin
    if (READ_WIDTH_A >= 9) begin
      for (a = 0; a < BytesRA; a = a + 1)
        {check_a[a], read_a[8*a+:8]} <= memory[(at_a[13:3] & ~(BytesRA - 1)) + a];
    end else if (READ_WIDTH_A > 0) begin
      read_a <= memory[at_a[13:3]][7:0] >> (at_a[2:0] & ~(READ_WIDTH_A - 1));
    end
    if (WRITE_WIDTH_A >= 9) begin
      for (a = 0; a < BytesWA; a = a + 1)
        if (WEA[a % 2]) memory[(at_a[13:3] & ~(BytesWA - 1)) + a] <= {DIPADIP[a % 2], DIADI[8*(a % 2)+:8]};
    end else if (WRITE_WIDTH_A > 0 && WEA[0]) begin
      for (a = 0; a < WRITE_WIDTH_A; a = a + 1)
        memory[at_a[13:3]][(at_a[2:0] & ~(WRITE_WIDTH_A - 1)) + a] <= DIADI[a];
    end
  end

  always @(posedge CLKBWRCLK) if (ENBWREN) begin
    if (READ_WIDTH_B >= 9) begin
      for (b = 0; b < BytesRB; b = b + 1)
        {check_b[b], read_b[8*b+:8]} <= memory[(at_b[13:3] & ~(BytesRB - 1)) + b];
    end else if (READ_WIDTH_B > 0) begin
      read_b <= memory[at_b[13:3]][7:0] >> (at_b[2:0] & ~(READ_WIDTH_B - 1));
    end
    if (WRITE_WIDTH_B >= 9) begin
      for (b = 0; b < BytesWB; b = b + 1)
        if (WEBWE[b]) memory[(at_b[13:3] & ~(BytesWB - 1)) + b] <= {parity_b[b], write_b[8*b+:8]};
    end else if (WRITE_WIDTH_B > 0 && WEBWE[0]) begin
      for (b = 0; b < WRITE_WIDTH_B; b = b + 1)
        memory[at_b[13:3]][(at_b[2:0] & ~(WRITE_WIDTH_B - 1)) + b] <= write_b[b];
    end
  end
endmodule

module RAMB36E1 (
  input [15:0] ADDRARDADDR, ADDRBWRADDR,
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
  input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
  input [31:0] DIADI, DIBDI,
  input [3:0] DIPADIP, DIPBDIP,
  input [3:0] WEA,
  input [7:0] WEBWE,
  output [31:0] DOADO, DOBDO,
  output [3:0] DOPADOP, DOPBDOP
);
  parameter READ_WIDTH_A = 0;
  parameter READ_WIDTH_B = 0;
  parameter WRITE_WIDTH_A = 0;
  parameter WRITE_WIDTH_B = 0;
  parameter WRITE_MODE_A = "WRITE_FIRST";
  parameter WRITE_MODE_B = "WRITE_FIRST";
  parameter RAM_MODE = "TDP";
  parameter DOA_REG = 0;
  parameter DOB_REG = 0;
  parameter [35:0] INIT_A = 0;
  parameter [35:0] INIT_B = 0;
  parameter [35:0] SRVAL_A = 0;
  parameter [35:0] SRVAL_B = 0;
  parameter RAM_EXTENSION_A = "NONE";
  parameter RAM_EXTENSION_B = "NONE";
  parameter [255:0] INIT_00 = 256'b0;
  parameter [255:0] INIT_01 = 256'b0;
  parameter [255:0] INIT_02 = 256'b0;
  parameter [255:0] INIT_03 = 256'b0;
  parameter [255:0] INIT_04 = 256'b0;
  parameter [255:0] INIT_05 = 256'b0;
  parameter [255:0] INIT_06 = 256'b0;
  parameter [255:0] INIT_07 = 256'b0;
  parameter [255:0] INIT_08 = 256'b0;
  parameter [255:0] INIT_09 = 256'b0;
  parameter [255:0] INIT_0A = 256'b0;
  parameter [255:0] INIT_0B = 256'b0;
  parameter [255:0] INIT_0C = 256'b0;
  parameter [255:0] INIT_0D = 256'b0;
  parameter [255:0] INIT_0E = 256'b0;
  parameter [255:0] INIT_0F = 256'b0;
  parameter [255:0] INIT_10 = 256'b0;
  parameter [255:0] INIT_11 = 256'b0;
  parameter [255:0] INIT_12 = 256'b0;
  parameter [255:0] INIT_13 = 256'b0;
  parameter [255:0] INIT_14 = 256'b0;
  parameter [255:0] INIT_15 = 256'b0;
  parameter [255:0] INIT_16 = 256'b0;
  parameter [255:0] INIT_17 = 256'b0;
  parameter [255:0] INIT_18 = 256'b0;
  parameter [255:0] INIT_19 = 256'b0;
  parameter [255:0] INIT_1A = 256'b0;
  parameter [255:0] INIT_1B = 256'b0;
  parameter [255:0] INIT_1C = 256'b0;
  parameter [255:0] INIT_1D = 256'b0;
  parameter [255:0] INIT_1E = 256'b0;
  parameter [255:0] INIT_1F = 256'b0;
  parameter [255:0] INIT_20 = 256'b0;
  parameter [255:0] INIT_21 = 256'b0;
  parameter [255:0] INIT_22 = 256'b0;
  parameter [255:0] INIT_23 = 256'b0;
  parameter [255:0] INIT_24 = 256'b0;
  parameter [255:0] INIT_25 = 256'b0;
  parameter [255:0] INIT_26 = 256'b0;
  parameter [255:0] INIT_27 = 256'b0;
  parameter [255:0] INIT_28 = 256'b0;
  parameter [255:0] INIT_29 = 256'b0;
  parameter [255:0] INIT_2A = 256'b0;
  parameter [255:0] INIT_2B = 256'b0;
  parameter [255:0] INIT_2C = 256'b0;
  parameter [255:0] INIT_2D = 256'b0;
  parameter [255:0] INIT_2E = 256'b0;
  parameter [255:0] INIT_2F = 256'b0;
  parameter [255:0] INIT_30 = 256'b0;
  parameter [255:0] INIT_31 = 256'b0;
  parameter [255:0] INIT_32 = 256'b0;
  parameter [255:0] INIT_33 = 256'b0;
  parameter [255:0] INIT_34 = 256'b0;
  parameter [255:0] INIT_35 = 256'b0;
  parameter [255:0] INIT_36 = 256'b0;
  parameter [255:0] INIT_37 = 256'b0;
  parameter [255:0] INIT_38 = 256'b0;
  parameter [255:0] INIT_39 = 256'b0;
  parameter [255:0] INIT_3A = 256'b0;
  parameter [255:0] INIT_3B = 256'b0;
  parameter [255:0] INIT_3C = 256'b0;
  parameter [255:0] INIT_3D = 256'b0;
  parameter [255:0] INIT_3E = 256'b0;
  parameter [255:0] INIT_3F = 256'b0;
  parameter [255:0] INIT_40 = 256'b0;
  parameter [255:0] INIT_41 = 256'b0;
  parameter [255:0] INIT_42 = 256'b0;
  parameter [255:0] INIT_43 = 256'b0;
  parameter [255:0] INIT_44 = 256'b0;
  parameter [255:0] INIT_45 = 256'b0;
  parameter [255:0] INIT_46 = 256'b0;
  parameter [255:0] INIT_47 = 256'b0;
  parameter [255:0] INIT_48 = 256'b0;
  parameter [255:0] INIT_49 = 256'b0;
  parameter [255:0] INIT_4A = 256'b0;
  parameter [255:0] INIT_4B = 256'b0;
  parameter [255:0] INIT_4C = 256'b0;
  parameter [255:0] INIT_4D = 256'b0;
  parameter [255:0] INIT_4E = 256'b0;
  parameter [255:0] INIT_4F = 256'b0;
  parameter [255:0] INIT_50 = 256'b0;
  parameter [255:0] INIT_51 = 256'b0;
  parameter [255:0] INIT_52 = 256'b0;
  parameter [255:0] INIT_53 = 256'b0;
  parameter [255:0] INIT_54 = 256'b0;
  parameter [255:0] INIT_55 = 256'b0;
  parameter [255:0] INIT_56 = 256'b0;
  parameter [255:0] INIT_57 = 256'b0;
  parameter [255:0] INIT_58 = 256'b0;
  parameter [255:0] INIT_59 = 256'b0;
  parameter [255:0] INIT_5A = 256'b0;
  parameter [255:0] INIT_5B = 256'b0;
  parameter [255:0] INIT_5C = 256'b0;
  parameter [255:0] INIT_5D = 256'b0;
  parameter [255:0] INIT_5E = 256'b0;
  parameter [255:0] INIT_5F = 256'b0;
  parameter [255:0] INIT_60 = 256'b0;
  parameter [255:0] INIT_61 = 256'b0;
  parameter [255:0] INIT_62 = 256'b0;
  parameter [255:0] INIT_63 = 256'b0;
  parameter [255:0] INIT_64 = 256'b0;
  parameter [255:0] INIT_65 = 256'b0;
  parameter [255:0] INIT_66 = 256'b0;
  parameter [255:0] INIT_67 = 256'b0;
  parameter [255:0] INIT_68 = 256'b0;
  parameter [255:0] INIT_69 = 256'b0;
  parameter [255:0] INIT_6A = 256'b0;
  parameter [255:0] INIT_6B = 256'b0;
  parameter [255:0] INIT_6C = 256'b0;
  parameter [255:0] INIT_6D = 256'b0;
  parameter [255:0] INIT_6E = 256'b0;
  parameter [255:0] INIT_6F = 256'b0;
  parameter [255:0] INIT_70 = 256'b0;
  parameter [255:0] INIT_71 = 256'b0;
  parameter [255:0] INIT_72 = 256'b0;
  parameter [255:0] INIT_73 = 256'b0;
  parameter [255:0] INIT_74 = 256'b0;
  parameter [255:0] INIT_75 = 256'b0;
  parameter [255:0] INIT_76 = 256'b0;
  parameter [255:0] INIT_77 = 256'b0;
  parameter [255:0] INIT_78 = 256'b0;
  parameter [255:0] INIT_79 = 256'b0;
  parameter [255:0] INIT_7A = 256'b0;
  parameter [255:0] INIT_7B = 256'b0;
  parameter [255:0] INIT_7C = 256'b0;
  parameter [255:0] INIT_7D = 256'b0;
  parameter [255:0] INIT_7E = 256'b0;
  parameter [255:0] INIT_7F = 256'b0;
  parameter [255:0] INITP_00 = 256'b0;
  parameter [255:0] INITP_01 = 256'b0;
  parameter [255:0] INITP_02 = 256'b0;
  parameter [255:0] INITP_03 = 256'b0;
  parameter [255:0] INITP_04 = 256'b0;
  parameter [255:0] INITP_05 = 256'b0;
  parameter [255:0] INITP_06 = 256'b0;
  parameter [255:0] INITP_07 = 256'b0;
  parameter [255:0] INITP_08 = 256'b0;
  parameter [255:0] INITP_09 = 256'b0;
  parameter [255:0] INITP_0A = 256'b0;
  parameter [255:0] INITP_0B = 256'b0;
  parameter [255:0] INITP_0C = 256'b0;
  parameter [255:0] INITP_0D = 256'b0;
  parameter [255:0] INITP_0E = 256'b0;
  parameter [255:0] INITP_0F = 256'b0;

  // Bytes with their parity bits.
  reg [8:0] memory [0:4095];
  integer i;
  initial begin
    for (i = 0; i < 32; i = i + 1) memory[0+i] = {INITP_00[0+i], INIT_00[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[32+i] = {INITP_00[32+i], INIT_01[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[64+i] = {INITP_00[64+i], INIT_02[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[96+i] = {INITP_00[96+i], INIT_03[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[128+i] = {INITP_00[128+i], INIT_04[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[160+i] = {INITP_00[160+i], INIT_05[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[192+i] = {INITP_00[192+i], INIT_06[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[224+i] = {INITP_00[224+i], INIT_07[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[256+i] = {INITP_01[0+i], INIT_08[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[288+i] = {INITP_01[32+i], INIT_09[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[320+i] = {INITP_01[64+i], INIT_0A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[352+i] = {INITP_01[96+i], INIT_0B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[384+i] = {INITP_01[128+i], INIT_0C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[416+i] = {INITP_01[160+i], INIT_0D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[448+i] = {INITP_01[192+i], INIT_0E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[480+i] = {INITP_01[224+i], INIT_0F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[512+i] = {INITP_02[0+i], INIT_10[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[544+i] = {INITP_02[32+i], INIT_11[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[576+i] = {INITP_02[64+i], INIT_12[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[608+i] = {INITP_02[96+i], INIT_13[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[640+i] = {INITP_02[128+i], INIT_14[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[672+i] = {INITP_02[160+i], INIT_15[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[704+i] = {INITP_02[192+i], INIT_16[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[736+i] = {INITP_02[224+i], INIT_17[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[768+i] = {INITP_03[0+i], INIT_18[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[800+i] = {INITP_03[32+i], INIT_19[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[832+i] = {INITP_03[64+i], INIT_1A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[864+i] = {INITP_03[96+i], INIT_1B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[896+i] = {INITP_03[128+i], INIT_1C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[928+i] = {INITP_03[160+i], INIT_1D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[960+i] = {INITP_03[192+i], INIT_1E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[992+i] = {INITP_03[224+i], INIT_1F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1024+i] = {INITP_04[0+i], INIT_20[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1056+i] = {INITP_04[32+i], INIT_21[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1088+i] = {INITP_04[64+i], INIT_22[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1120+i] = {INITP_04[96+i], INIT_23[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1152+i] = {INITP_04[128+i], INIT_24[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1184+i] = {INITP_04[160+i], INIT_25[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1216+i] = {INITP_04[192+i], INIT_26[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1248+i] = {INITP_04[224+i], INIT_27[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1280+i] = {INITP_05[0+i], INIT_28[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1312+i] = {INITP_05[32+i], INIT_29[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1344+i] = {INITP_05[64+i], INIT_2A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1376+i] = {INITP_05[96+i], INIT_2B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1408+i] = {INITP_05[128+i], INIT_2C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1440+i] = {INITP_05[160+i], INIT_2D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1472+i] = {INITP_05[192+i], INIT_2E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1504+i] = {INITP_05[224+i], INIT_2F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1536+i] = {INITP_06[0+i], INIT_30[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1568+i] = {INITP_06[32+i], INIT_31[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1600+i] = {INITP_06[64+i], INIT_32[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1632+i] = {INITP_06[96+i], INIT_33[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1664+i] = {INITP_06[128+i], INIT_34[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1696+i] = {INITP_06[160+i], INIT_35[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1728+i] = {INITP_06[192+i], INIT_36[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1760+i] = {INITP_06[224+i], INIT_37[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1792+i] = {INITP_07[0+i], INIT_38[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1824+i] = {INITP_07[32+i], INIT_39[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1856+i] = {INITP_07[64+i], INIT_3A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1888+i] = {INITP_07[96+i], INIT_3B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1920+i] = {INITP_07[128+i], INIT_3C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1952+i] = {INITP_07[160+i], INIT_3D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[1984+i] = {INITP_07[192+i], INIT_3E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2016+i] = {INITP_07[224+i], INIT_3F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2048+i] = {INITP_08[0+i], INIT_40[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2080+i] = {INITP_08[32+i], INIT_41[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2112+i] = {INITP_08[64+i], INIT_42[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2144+i] = {INITP_08[96+i], INIT_43[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2176+i] = {INITP_08[128+i], INIT_44[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2208+i] = {INITP_08[160+i], INIT_45[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2240+i] = {INITP_08[192+i], INIT_46[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2272+i] = {INITP_08[224+i], INIT_47[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2304+i] = {INITP_09[0+i], INIT_48[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2336+i] = {INITP_09[32+i], INIT_49[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2368+i] = {INITP_09[64+i], INIT_4A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2400+i] = {INITP_09[96+i], INIT_4B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2432+i] = {INITP_09[128+i], INIT_4C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2464+i] = {INITP_09[160+i], INIT_4D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2496+i] = {INITP_09[192+i], INIT_4E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2528+i] = {INITP_09[224+i], INIT_4F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2560+i] = {INITP_0A[0+i], INIT_50[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2592+i] = {INITP_0A[32+i], INIT_51[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2624+i] = {INITP_0A[64+i], INIT_52[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2656+i] = {INITP_0A[96+i], INIT_53[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2688+i] = {INITP_0A[128+i], INIT_54[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2720+i] = {INITP_0A[160+i], INIT_55[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2752+i] = {INITP_0A[192+i], INIT_56[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2784+i] = {INITP_0A[224+i], INIT_57[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2816+i] = {INITP_0B[0+i], INIT_58[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2848+i] = {INITP_0B[32+i], INIT_59[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2880+i] = {INITP_0B[64+i], INIT_5A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2912+i] = {INITP_0B[96+i], INIT_5B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2944+i] = {INITP_0B[128+i], INIT_5C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[2976+i] = {INITP_0B[160+i], INIT_5D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3008+i] = {INITP_0B[192+i], INIT_5E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3040+i] = {INITP_0B[224+i], INIT_5F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3072+i] = {INITP_0C[0+i], INIT_60[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3104+i] = {INITP_0C[32+i], INIT_61[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3136+i] = {INITP_0C[64+i], INIT_62[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3168+i] = {INITP_0C[96+i], INIT_63[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3200+i] = {INITP_0C[128+i], INIT_64[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3232+i] = {INITP_0C[160+i], INIT_65[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3264+i] = {INITP_0C[192+i], INIT_66[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3296+i] = {INITP_0C[224+i], INIT_67[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3328+i] = {INITP_0D[0+i], INIT_68[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3360+i] = {INITP_0D[32+i], INIT_69[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3392+i] = {INITP_0D[64+i], INIT_6A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3424+i] = {INITP_0D[96+i], INIT_6B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3456+i] = {INITP_0D[128+i], INIT_6C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3488+i] = {INITP_0D[160+i], INIT_6D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3520+i] = {INITP_0D[192+i], INIT_6E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3552+i] = {INITP_0D[224+i], INIT_6F[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3584+i] = {INITP_0E[0+i], INIT_70[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3616+i] = {INITP_0E[32+i], INIT_71[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3648+i] = {INITP_0E[64+i], INIT_72[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3680+i] = {INITP_0E[96+i], INIT_73[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3712+i] = {INITP_0E[128+i], INIT_74[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3744+i] = {INITP_0E[160+i], INIT_75[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3776+i] = {INITP_0E[192+i], INIT_76[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3808+i] = {INITP_0E[224+i], INIT_77[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3840+i] = {INITP_0F[0+i], INIT_78[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3872+i] = {INITP_0F[32+i], INIT_79[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3904+i] = {INITP_0F[64+i], INIT_7A[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3936+i] = {INITP_0F[96+i], INIT_7B[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[3968+i] = {INITP_0F[128+i], INIT_7C[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[4000+i] = {INITP_0F[160+i], INIT_7D[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[4032+i] = {INITP_0F[192+i], INIT_7E[8*i+:8]};
    for (i = 0; i < 32; i = i + 1) memory[4064+i] = {INITP_0F[224+i], INIT_7F[8*i+:8]};
  end

  wire [14:0] at_a = ADDRARDADDR[14:0];
  wire [14:0] at_b = ADDRBWRADDR[14:0];
  wire [63:0] write_b = RAM_MODE == "SDP" && WRITE_WIDTH_B == 72 ? {DIBDI, DIADI} : {{32{1'b0}}, DIBDI};
  wire [7:0]   parity_b = RAM_MODE == "SDP" && WRITE_WIDTH_B == 72 ? {DIPBDIP, DIPADIP} : {{4{1'b0}}, DIPBDIP};
  reg [63:0] read_a, read_b;
  reg [7:0]   check_a, check_b;

  assign {DOADO, DOPADOP} = {read_a[31:0], check_a[3:0]};
  assign {DOBDO, DOPBDOP} = RAM_MODE == "SDP" ? {read_a[63:32], check_a[7:4]}
                                                : {read_b[31:0], check_b[3:0]};

  // Bytes of a port of so many bits with parity; 0 if it is narrower than a byte.
  localparam BytesRA = READ_WIDTH_A / 9;
  localparam BytesRB = READ_WIDTH_B / 9;
  localparam BytesWA = WRITE_WIDTH_A / 9;
  localparam BytesWB = WRITE_WIDTH_B / 9;
  integer a, b;

  always @(posedge CLKARDCLK) if (ENARDEN) begin
    if (READ_WIDTH_A >= 9) begin
      for (a = 0; a < BytesRA; a = a + 1)
        {check_a[a], read_a[8*a+:8]} <= memory[(at_a[14:3] & ~(BytesRA - 1)) + a];
    end else if (READ_WIDTH_A > 0) begin
      read_a <= memory[at_a[14:3]][7:0] >> (at_a[2:0] & ~(READ_WIDTH_A - 1));
    end
    if (WRITE_WIDTH_A >= 9) begin
      for (a = 0; a < BytesWA; a = a + 1)
        if (WEA[a % 4]) memory[(at_a[14:3] & ~(BytesWA - 1)) + a] <= {DIPADIP[a % 4], DIADI[8*(a % 4)+:8]};
    end else if (WRITE_WIDTH_A > 0 && WEA[0]) begin
      for (a = 0; a < WRITE_WIDTH_A; a = a + 1)
        memory[at_a[14:3]][(at_a[2:0] & ~(WRITE_WIDTH_A - 1)) + a] <= DIADI[a];
    end
  end

  always @(posedge CLKBWRCLK) if (ENBWREN) begin
    if (READ_WIDTH_B >= 9) begin
      for (b = 0; b < BytesRB; b = b + 1)
        {check_b[b], read_b[8*b+:8]} <= memory[(at_b[14:3] & ~(BytesRB - 1)) + b];
    end else if (READ_WIDTH_B > 0) begin
      read_b <= memory[at_b[14:3]][7:0] >> (at_b[2:0] & ~(READ_WIDTH_B - 1));
    end
    if (WRITE_WIDTH_B >= 9) begin
      for (b = 0; b < BytesWB; b = b + 1)
        if (WEBWE[b]) memory[(at_b[14:3] & ~(BytesWB - 1)) + b] <= {parity_b[b], write_b[8*b+:8]};
    end else if (WRITE_WIDTH_B > 0 && WEBWE[0]) begin
      for (b = 0; b < WRITE_WIDTH_B; b = b + 1)
        memory[at_b[14:3]][(at_b[2:0] & ~(WRITE_WIDTH_B - 1)) + b] <= write_b[b];
    end
  end
endmodule
