// SPDX-License-Identifier: MIT OR Apache-2.0
`default_nettype none

/**
 * AXI4-Lite slave in front of the host port: one access at a time, writes before reads.
 *
 * Only whole 32-bit words can be written; a write with other strobes is answered with SLVERR and ignored.
 * A read is answered two cycles after its address. The two highest bits of addresses are ignored: they say where the
 * integrator put the core.
 */
module espalier_axil (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,

  // AXI4-Lite
  input  wire logic        s_axil_awvalid,
  output logic             s_axil_awready,
  input  wire logic [31:0] s_axil_awaddr,
  input  wire logic        s_axil_wvalid,
  output logic             s_axil_wready,
  input  wire logic [31:0] s_axil_wdata,
  input  wire logic [3:0]  s_axil_wstrb,
  output logic             s_axil_bvalid,
  input  wire logic        s_axil_bready,
  output logic [1:0]       s_axil_bresp,
  input  wire logic        s_axil_arvalid,
  output logic             s_axil_arready,
  input  wire logic [31:0] s_axil_araddr,
  output logic             s_axil_rvalid,
  input  wire logic        s_axil_rready,
  output logic [31:0]      s_axil_rdata,
  output logic [1:0]       s_axil_rresp,

  // host port
  output logic             host_we_o,
  output logic [31:0]      host_addr_o,
  output logic [31:0]      host_wdata_o,
  input  wire logic [31:0] host_rdata_i
);

  localparam logic [1:0] RespOkay   = 2'b00;
  localparam logic [1:0] RespSlvErr = 2'b10;

  logic write, read, read_q;
  logic [31:0] addr;

  assign write = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign read  = s_axil_arvalid && !write && !read_q && !s_axil_rvalid;

  assign s_axil_awready = write;
  assign s_axil_wready  = write;
  assign s_axil_arready = read;
  assign s_axil_rresp   = RespOkay;

  assign host_we_o    = write && (&s_axil_wstrb);
  assign addr         = write ? s_axil_awaddr : s_axil_araddr;
  assign host_addr_o  = {2'b00, addr[29:0]};
  assign host_wdata_o = s_axil_wdata;

  always_ff @(posedge clk_i) begin
    if (write) s_axil_bresp <= (&s_axil_wstrb) ? RespOkay : RespSlvErr;
    if (read_q) s_axil_rdata <= host_rdata_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
      read_q        <= 1'b0;
    end else begin
      read_q <= read;
      if (write) s_axil_bvalid <= 1'b1;
      else if (s_axil_bready) s_axil_bvalid <= 1'b0;
      if (read_q) s_axil_rvalid <= 1'b1;
      else if (s_axil_rready) s_axil_rvalid <= 1'b0;
    end
  end

  logic unused_bits;
  assign unused_bits = ^addr[31:30];

endmodule

`default_nettype wire
