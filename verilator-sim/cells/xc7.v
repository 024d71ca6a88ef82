// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Models of the block RAMs of AMD 7 series (UG473), which Yosys maps to but does not describe. Only what Yosys uses: no
// output register, no error correction, equal widths of a port that reads and writes; a read returns the old word where
// the other port writes.

// A block of 2^ByteW bytes with a parity bit each, and two ports of up to eight bytes; port 0 is A. Vectors over the
// ports have A in the low half, data of a port has the parity bits above the bytes.
module espalier_ramb #(
  parameter ByteW = 11,
  parameter [8*2**ByteW-1:0] Init = 0,
  parameter [2**ByteW-1:0] InitParity = 0,
  // Bits with parity; 0 = does not read or write.
  parameter ReadWidthA = 0,
  parameter ReadWidthB = 0,
  parameter WriteWidthA = 0,
  parameter WriteWidthB = 0,
  parameter WriteModeA = "WRITE_FIRST",
  parameter WriteModeB = "WRITE_FIRST",
  // Content of the output latch at the start and after a reset.
  parameter [71:0] FirstA = 0,
  parameter [71:0] FirstB = 0,
  parameter [71:0] ResetA = 0,
  parameter [71:0] ResetB = 0
) (
  input [1:0] clk, enable, reset,
  input [2*(ByteW+3)-1:0] address,
  input [15:0] write_enable,
  input [127:0] write_data,
  input [15:0] write_parity,
  output [127:0] read_data,
  output [15:0] read_parity
);
  reg [8:0] memory [0:2**ByteW-1];

  // By 32 bytes, since Yosys copies the whole parameter for each part of it; what is undefined is left out.
  genvar r;
  generate for (r = 0; r < 2**ByteW / 32; r = r + 1) begin : content
    localparam [255:0] Bytes = Init[256*r+:256];
    localparam [31:0] Parity = InitParity[32*r+:32];
    if (Bytes !== {256{1'bx}} || Parity !== {32{1'bx}}) begin : defined
      integer i;
      initial for (i = 0; i < 32; i = i + 1) memory[32*r+i] = {Parity[i], Bytes[8*i+:8]};
    end
  end endgenerate

  genvar p;
  generate for (p = 0; p < 2; p = p + 1) begin : port
    localparam Read = p == 0 ? ReadWidthA : ReadWidthB;
    localparam Write = p == 0 ? WriteWidthA : WriteWidthB;
    localparam WriteFirst = (p == 0 ? WriteModeA : WriteModeB) == "WRITE_FIRST";
    localparam NoChange = (p == 0 ? WriteModeA : WriteModeB) == "NO_CHANGE";
    localparam [71:0] First = p == 0 ? FirstA : FirstB;
    localparam [71:0] Reset = p == 0 ? ResetA : ResetB;
    // Whole bytes of the port, or 0; its parity follows the bytes in First and Reset.
    localparam ReadBytes = Read / 9;
    localparam WriteBytes = Write / 9;
    localparam ParityBits = (1 << ReadBytes) - 1;

    wire [2:0] at_bit = address[p*(ByteW+3)+:3];
    wire [ByteW-1:0] at = address[p*(ByteW+3)+3+:ByteW];
    wire [7:0] we = Write == 0 ? 8'b0 : write_enable[8*p+:8];
    wire [63:0] data = write_data[64*p+:64];
    wire [7:0] parity = write_parity[8*p+:8];
    reg [63:0] word = First;
    reg [7:0] check = (First >> 8*ReadBytes) & ParityBits;
    assign read_data[64*p+:64] = word;
    assign read_parity[8*p+:8] = check;

    integer n;
    always @(posedge clk[p]) if (enable[p]) begin
      if (Read >= 9) begin
        for (n = 0; n < ReadBytes; n = n + 1)
          if (reset[p]) {check[n], word[8*n+:8]} <= {Reset[8*ReadBytes+n], Reset[8*n+:8]};
          else if (WriteFirst && we[n]) {check[n], word[8*n+:8]} <= {parity[n], data[8*n+:8]};
          else if (!(NoChange && we != 0)) {check[n], word[8*n+:8]} <= memory[(at & ~(ReadBytes - 1)) + n];
      end else if (Read > 0) begin
        if (reset[p]) word <= Reset;
        else if (WriteFirst && we[0]) word <= data;
        else if (!(NoChange && we[0])) word <= memory[at][7:0] >> (at_bit & ~(Read - 1));
      end
      if (Write >= 9) begin
        for (n = 0; n < WriteBytes; n = n + 1)
          if (we[n]) memory[(at & ~(WriteBytes - 1)) + n] <= {parity[n], data[8*n+:8]};
      end else if (Write > 0 && we[0]) begin
        for (n = 0; n < Write; n = n + 1)
          memory[at][(at_bit & ~(Write - 1)) + n] <= data[n];
      end
    end
  end endgenerate
endmodule

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
  parameter [17:0] INIT_A = 0;
  parameter [17:0] INIT_B = 0;
  parameter [17:0] SRVAL_A = 0;
  parameter [17:0] SRVAL_B = 0;
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

  // Ports of 36 bits, which have the halves of A and B side by side: one reads, the other writes.
  localparam Sdp = RAM_MODE == "SDP";
  localparam WideRead = Sdp && READ_WIDTH_A == 36;
  localparam WideWrite = Sdp && WRITE_WIDTH_B == 36;
  wire [7:0] we_a = WEA;
  wire [7:0] we_b = Sdp ? WEBWE : {2'b0, WEBWE[1:0]};
  wire [63:0] di_a = DIADI;
  wire [63:0] di_b = WideWrite ? {DIBDI, DIADI} : DIBDI;
  wire [7:0] dip_a = DIPADIP;
  wire [7:0] dip_b = WideWrite ? {DIPBDIP, DIPADIP} : DIPBDIP;
  wire [63:0] do_a, do_b;
  wire [7:0] dop_a, dop_b;
  assign DOADO = do_a[15:0];
  assign DOBDO = WideRead ? do_a[31:16] : do_b[15:0];
  assign DOPADOP = dop_a[1:0];
  assign DOPBDOP = WideRead ? dop_a[3:2] : dop_b[1:0];

  espalier_ramb #(
    .ByteW(11),
    .Init({INIT_3F, INIT_3E, INIT_3D, INIT_3C, INIT_3B, INIT_3A, INIT_39, INIT_38,
           INIT_37, INIT_36, INIT_35, INIT_34, INIT_33, INIT_32, INIT_31, INIT_30,
           INIT_2F, INIT_2E, INIT_2D, INIT_2C, INIT_2B, INIT_2A, INIT_29, INIT_28,
           INIT_27, INIT_26, INIT_25, INIT_24, INIT_23, INIT_22, INIT_21, INIT_20,
           INIT_1F, INIT_1E, INIT_1D, INIT_1C, INIT_1B, INIT_1A, INIT_19, INIT_18,
           INIT_17, INIT_16, INIT_15, INIT_14, INIT_13, INIT_12, INIT_11, INIT_10,
           INIT_0F, INIT_0E, INIT_0D, INIT_0C, INIT_0B, INIT_0A, INIT_09, INIT_08,
           INIT_07, INIT_06, INIT_05, INIT_04, INIT_03, INIT_02, INIT_01, INIT_00}),
    .InitParity({INITP_07, INITP_06, INITP_05, INITP_04, INITP_03, INITP_02, INITP_01, INITP_00}),
    .ReadWidthA(READ_WIDTH_A),
    .ReadWidthB(READ_WIDTH_B),
    .WriteWidthA(WRITE_WIDTH_A),
    .WriteWidthB(WRITE_WIDTH_B),
    .WriteModeA(WRITE_MODE_A),
    .WriteModeB(WRITE_MODE_B),
    .FirstA(WideRead ? {INIT_B[17:16], INIT_A[17:16], INIT_B[15:0], INIT_A[15:0]} : INIT_A),
    .FirstB(INIT_B),
    .ResetA(WideRead ? {SRVAL_B[17:16], SRVAL_A[17:16], SRVAL_B[15:0], SRVAL_A[15:0]} : SRVAL_A),
    .ResetB(SRVAL_B)
  ) block (
    .clk({CLKBWRCLK, CLKARDCLK}),
    .enable({ENBWREN, ENARDEN}),
    .reset({RSTRAMB, RSTRAMARSTRAM}),
    .address({ADDRBWRADDR, ADDRARDADDR}),
    .write_enable({we_b, we_a}),
    .write_data({di_b, di_a}),
    .write_parity({dip_b, dip_a}),
    .read_data({do_b, do_a}),
    .read_parity({dop_b, dop_a})
  );
endmodule

module RAMB36E1 (
  input [15:0] ADDRARDADDR, ADDRBWRADDR,
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
  input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
  input CASCADEINA, CASCADEINB,
  input [31:0] DIADI, DIBDI,
  input [3:0] DIPADIP, DIPBDIP,
  input [3:0] WEA,
  input [7:0] WEBWE,
  output CASCADEOUTA, CASCADEOUTB,
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

  // Ports of 72 bits, which have the halves of A and B side by side: one reads, the other writes.
  localparam Sdp = RAM_MODE == "SDP";
  localparam WideRead = Sdp && READ_WIDTH_A == 72;
  localparam WideWrite = Sdp && WRITE_WIDTH_B == 72;
  // Two blocks make one of 64 Ki x 1: each writes its half of the addresses, the upper one chooses what is read.
  wire hit_a = RAM_EXTENSION_A == "NONE" || ADDRARDADDR[15] == (RAM_EXTENSION_A == "UPPER");
  wire hit_b = RAM_EXTENSION_B == "NONE" || ADDRBWRADDR[15] == (RAM_EXTENSION_B == "UPPER");
  reg low_a = 0, low_b = 0;
  always @(posedge CLKARDCLK) if (ENARDEN) low_a <= RAM_EXTENSION_A == "UPPER" && !ADDRARDADDR[15];
  always @(posedge CLKBWRCLK) if (ENBWREN) low_b <= RAM_EXTENSION_B == "UPPER" && !ADDRBWRADDR[15];
  wire [7:0] we_a = WEA & {4{hit_a}};
  wire [7:0] we_b = (Sdp ? WEBWE : {4'b0, WEBWE[3:0]}) & {8{hit_b}};
  wire [63:0] di_a = DIADI;
  wire [63:0] di_b = WideWrite ? {DIBDI, DIADI} : DIBDI;
  wire [7:0] dip_a = DIPADIP;
  wire [7:0] dip_b = WideWrite ? {DIPBDIP, DIPADIP} : DIPBDIP;
  wire [63:0] do_a, do_b;
  wire [7:0] dop_a, dop_b;
  assign DOADO = {do_a[31:1], low_a ? CASCADEINA : do_a[0]};
  assign DOBDO = WideRead ? do_a[63:32] : {do_b[31:1], low_b ? CASCADEINB : do_b[0]};
  assign DOPADOP = dop_a[3:0];
  assign DOPBDOP = WideRead ? dop_a[7:4] : dop_b[3:0];
  assign CASCADEOUTA = do_a[0];
  assign CASCADEOUTB = do_b[0];

  espalier_ramb #(
    .ByteW(12),
    .Init({INIT_7F, INIT_7E, INIT_7D, INIT_7C, INIT_7B, INIT_7A, INIT_79, INIT_78,
           INIT_77, INIT_76, INIT_75, INIT_74, INIT_73, INIT_72, INIT_71, INIT_70,
           INIT_6F, INIT_6E, INIT_6D, INIT_6C, INIT_6B, INIT_6A, INIT_69, INIT_68,
           INIT_67, INIT_66, INIT_65, INIT_64, INIT_63, INIT_62, INIT_61, INIT_60,
           INIT_5F, INIT_5E, INIT_5D, INIT_5C, INIT_5B, INIT_5A, INIT_59, INIT_58,
           INIT_57, INIT_56, INIT_55, INIT_54, INIT_53, INIT_52, INIT_51, INIT_50,
           INIT_4F, INIT_4E, INIT_4D, INIT_4C, INIT_4B, INIT_4A, INIT_49, INIT_48,
           INIT_47, INIT_46, INIT_45, INIT_44, INIT_43, INIT_42, INIT_41, INIT_40,
           INIT_3F, INIT_3E, INIT_3D, INIT_3C, INIT_3B, INIT_3A, INIT_39, INIT_38,
           INIT_37, INIT_36, INIT_35, INIT_34, INIT_33, INIT_32, INIT_31, INIT_30,
           INIT_2F, INIT_2E, INIT_2D, INIT_2C, INIT_2B, INIT_2A, INIT_29, INIT_28,
           INIT_27, INIT_26, INIT_25, INIT_24, INIT_23, INIT_22, INIT_21, INIT_20,
           INIT_1F, INIT_1E, INIT_1D, INIT_1C, INIT_1B, INIT_1A, INIT_19, INIT_18,
           INIT_17, INIT_16, INIT_15, INIT_14, INIT_13, INIT_12, INIT_11, INIT_10,
           INIT_0F, INIT_0E, INIT_0D, INIT_0C, INIT_0B, INIT_0A, INIT_09, INIT_08,
           INIT_07, INIT_06, INIT_05, INIT_04, INIT_03, INIT_02, INIT_01, INIT_00}),
    .InitParity({INITP_0F, INITP_0E, INITP_0D, INITP_0C, INITP_0B, INITP_0A, INITP_09, INITP_08,
                 INITP_07, INITP_06, INITP_05, INITP_04, INITP_03, INITP_02, INITP_01, INITP_00}),
    .ReadWidthA(READ_WIDTH_A),
    .ReadWidthB(READ_WIDTH_B),
    .WriteWidthA(WRITE_WIDTH_A),
    .WriteWidthB(WRITE_WIDTH_B),
    .WriteModeA(WRITE_MODE_A),
    .WriteModeB(WRITE_MODE_B),
    .FirstA(WideRead ? {INIT_B[35:32], INIT_A[35:32], INIT_B[31:0], INIT_A[31:0]} : INIT_A),
    .FirstB(INIT_B),
    .ResetA(WideRead ? {SRVAL_B[35:32], SRVAL_A[35:32], SRVAL_B[31:0], SRVAL_A[31:0]} : SRVAL_A),
    .ResetB(SRVAL_B)
  ) block (
    .clk({CLKBWRCLK, CLKARDCLK}),
    .enable({ENBWREN, ENARDEN}),
    .reset({RSTRAMB, RSTRAMARSTRAM}),
    .address({ADDRBWRADDR[14:0], ADDRARDADDR[14:0]}),
    .write_enable({we_b, we_a}),
    .write_data({di_b, di_a}),
    .write_parity({dip_b, dip_a}),
    .read_data({do_b, do_a}),
    .read_parity({dop_b, dop_a})
  );
endmodule
