// SPDX-License-Identifier: MIT OR Apache-2.0
{% for line in header %}// ${ line }$
{% endfor %}//
// Wrapper for IP integrators, in Verilog-2001: AXI4-Lite for control and memories, AXI4-Stream for inputs
// and outputs (byte l of a beat belongs to lane l){% if memory.is_some() %}, AXI4 to read the weights from external memory{% endif %}{% if spill.is_some() %}, AXI4 to write
// and read spilled tensors{% endif %}.
// The registers are described in espalier_host.sv.
`default_nettype none

module espalier_top #(
  // Hex files with the initial content of the program and weight memories; "" leaves them to the host.
  parameter PROGRAM_FILE = "",
  parameter WEIGHT_FILE  = ""
) (
  input  wire           aclk,
  input  wire           aresetn,

  // control
  input  wire           s_axil_awvalid,
  output wire           s_axil_awready,
  input  wire [31:0]    s_axil_awaddr,
  input  wire [2:0]     s_axil_awprot,
  input  wire           s_axil_wvalid,
  output wire           s_axil_wready,
  input  wire [31:0]    s_axil_wdata,
  input  wire [3:0]     s_axil_wstrb,
  output wire           s_axil_bvalid,
  input  wire           s_axil_bready,
  output wire [1:0]     s_axil_bresp,
  input  wire           s_axil_arvalid,
  output wire           s_axil_arready,
  input  wire [31:0]    s_axil_araddr,
  input  wire [2:0]     s_axil_arprot,
  output wire           s_axil_rvalid,
  input  wire           s_axil_rready,
  output wire [31:0]    s_axil_rdata,
  output wire [1:0]     s_axil_rresp,

  // inputs
  input  wire           s_axis_tvalid,
  output wire           s_axis_tready,
  input  wire [${ stream_high }$:0] s_axis_tdata,
  input  wire           s_axis_tlast,

  // outputs
  output wire           m_axis_tvalid,
  input  wire           m_axis_tready,
  output wire [${ stream_high }$:0] m_axis_tdata,
  output wire           m_axis_tlast,

{% if let Some(port) = memory %}  // external memory, read only
  output wire           m_axi_arvalid,
  input  wire           m_axi_arready,
  output wire [0:0]     m_axi_arid,
  output wire [63:0]    m_axi_araddr,
  output wire [7:0]     m_axi_arlen,
  output wire [2:0]     m_axi_arsize,
  output wire [1:0]     m_axi_arburst,
  output wire           m_axi_arlock,
  output wire [3:0]     m_axi_arcache,
  output wire [2:0]     m_axi_arprot,
  input  wire           m_axi_rvalid,
  output wire           m_axi_rready,
  input  wire [0:0]     m_axi_rid,
  input  wire [${ port.data_high }$:0] m_axi_rdata,
  input  wire [1:0]     m_axi_rresp,
  input  wire           m_axi_rlast,

{% endif %}{% if let Some(port) = spill %}  // external memory for spilled tensors
  output wire           m_axi_spill_arvalid,
  input  wire           m_axi_spill_arready,
  output wire [0:0]     m_axi_spill_arid,
  output wire [63:0]    m_axi_spill_araddr,
  output wire [7:0]     m_axi_spill_arlen,
  output wire [2:0]     m_axi_spill_arsize,
  output wire [1:0]     m_axi_spill_arburst,
  output wire           m_axi_spill_arlock,
  output wire [3:0]     m_axi_spill_arcache,
  output wire [2:0]     m_axi_spill_arprot,
  input  wire           m_axi_spill_rvalid,
  output wire           m_axi_spill_rready,
  input  wire [0:0]     m_axi_spill_rid,
  input  wire [${ port.data_high }$:0] m_axi_spill_rdata,
  input  wire [1:0]     m_axi_spill_rresp,
  input  wire           m_axi_spill_rlast,
  output wire           m_axi_spill_awvalid,
  input  wire           m_axi_spill_awready,
  output wire [0:0]     m_axi_spill_awid,
  output wire [63:0]    m_axi_spill_awaddr,
  output wire [7:0]     m_axi_spill_awlen,
  output wire [2:0]     m_axi_spill_awsize,
  output wire [1:0]     m_axi_spill_awburst,
  output wire           m_axi_spill_awlock,
  output wire [3:0]     m_axi_spill_awcache,
  output wire [2:0]     m_axi_spill_awprot,
  output wire           m_axi_spill_wvalid,
  input  wire           m_axi_spill_wready,
  output wire [${ port.data_high }$:0] m_axi_spill_wdata,
  output wire [${ port.strobe_high }$:0] m_axi_spill_wstrb,
  output wire           m_axi_spill_wlast,
  input  wire           m_axi_spill_bvalid,
  output wire           m_axi_spill_bready,
  input  wire [0:0]     m_axi_spill_bid,
  input  wire [1:0]     m_axi_spill_bresp,

{% endif %}  // high from the end of a program until the next start
  output wire           done,
  // high from then, if it is enabled, until it is cleared
  output wire           irq
);

{% if let Some(port) = memory %}  // All reads are INCR bursts of whole beats with one ID, so data come in the order of the requests.
  assign m_axi_arid    = 1'b0;
  assign m_axi_arsize  = 3'd${ port.size }$;
  assign m_axi_arburst = 2'b01;
  assign m_axi_arlock  = 1'b0;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot  = 3'b000;

  wire unused_memory = m_axi_rid[0] ^ m_axi_rlast;

{% endif %}{% if let Some(port) = spill %}  // The same; all bytes of every beat are written.
  assign m_axi_spill_arid    = 1'b0;
  assign m_axi_spill_arsize  = 3'd${ port.size }$;
  assign m_axi_spill_arburst = 2'b01;
  assign m_axi_spill_arlock  = 1'b0;
  assign m_axi_spill_arcache = 4'b0011;
  assign m_axi_spill_arprot  = 3'b000;
  assign m_axi_spill_awid    = 1'b0;
  assign m_axi_spill_awsize  = 3'd${ port.size }$;
  assign m_axi_spill_awburst = 2'b01;
  assign m_axi_spill_awlock  = 1'b0;
  assign m_axi_spill_awcache = 4'b0011;
  assign m_axi_spill_awprot  = 3'b000;
  assign m_axi_spill_wstrb   = {${ port.strobe_high + 1 }${1'b1}};

  wire unused_spill = m_axi_spill_rid[0] ^ m_axi_spill_bid[0];

{% endif %}
  wire        unused_protection = ^{s_axil_awprot, s_axil_arprot};

  wire        host_we;
  wire [31:0] host_addr;
  wire [31:0] host_wdata;
  wire [31:0] host_rdata;

  espalier_axil u_axil (
    .clk_i         (aclk),
    .rst_ni        (aresetn),
    .s_axil_awvalid(s_axil_awvalid),
    .s_axil_awready(s_axil_awready),
    .s_axil_awaddr (s_axil_awaddr),
    .s_axil_wvalid (s_axil_wvalid),
    .s_axil_wready (s_axil_wready),
    .s_axil_wdata  (s_axil_wdata),
    .s_axil_wstrb  (s_axil_wstrb),
    .s_axil_bvalid (s_axil_bvalid),
    .s_axil_bready (s_axil_bready),
    .s_axil_bresp  (s_axil_bresp),
    .s_axil_arvalid(s_axil_arvalid),
    .s_axil_arready(s_axil_arready),
    .s_axil_araddr (s_axil_araddr),
    .s_axil_rvalid (s_axil_rvalid),
    .s_axil_rready (s_axil_rready),
    .s_axil_rdata  (s_axil_rdata),
    .s_axil_rresp  (s_axil_rresp),
    .host_we_o     (host_we),
    .host_addr_o   (host_addr),
    .host_wdata_o  (host_wdata),
    .host_rdata_i  (host_rdata)
  );

  espalier_core #(
    .ProgramFile(PROGRAM_FILE),
    .WeightFile (WEIGHT_FILE)
  ) u_core (
    .clk_i        (aclk),
    .rst_ni       (aresetn),
    .host_we_i    (host_we),
    .host_addr_i  (host_addr),
    .host_wdata_i (host_wdata),
    .host_rdata_o (host_rdata),
    .in_valid_i   (s_axis_tvalid),
    .in_ready_o   (s_axis_tready),
    .in_data_i    (s_axis_tdata),
    .in_last_i    (s_axis_tlast),
    .out_valid_o  (m_axis_tvalid),
    .out_ready_i  (m_axis_tready),
    .out_data_o   (m_axis_tdata),
    .out_last_o   (m_axis_tlast),
{% if memory.is_some() %}    .ar_valid_o   (m_axi_arvalid),
    .ar_ready_i   (m_axi_arready),
    .ar_addr_o    (m_axi_araddr),
    .ar_len_o     (m_axi_arlen),
    .r_valid_i    (m_axi_rvalid),
    .r_ready_o    (m_axi_rready),
    .r_data_i     (m_axi_rdata),
    .r_resp_i     (m_axi_rresp),
{% else %}    .ar_valid_o   (),
    .ar_ready_i   (1'b0),
    .ar_addr_o    (),
    .ar_len_o     (),
    .r_valid_i    (1'b0),
    .r_ready_o    (),
    .r_data_i     (8'b0),
    .r_resp_i     (2'b0),
{% endif %}{% if spill.is_some() %}    .spill_ar_valid_o(m_axi_spill_arvalid),
    .spill_ar_ready_i(m_axi_spill_arready),
    .spill_ar_addr_o (m_axi_spill_araddr),
    .spill_ar_len_o  (m_axi_spill_arlen),
    .spill_r_valid_i (m_axi_spill_rvalid),
    .spill_r_ready_o (m_axi_spill_rready),
    .spill_r_data_i  (m_axi_spill_rdata),
    .spill_r_resp_i  (m_axi_spill_rresp),
    .spill_r_last_i  (m_axi_spill_rlast),
    .spill_aw_valid_o(m_axi_spill_awvalid),
    .spill_aw_ready_i(m_axi_spill_awready),
    .spill_aw_addr_o (m_axi_spill_awaddr),
    .spill_aw_len_o  (m_axi_spill_awlen),
    .spill_w_valid_o (m_axi_spill_wvalid),
    .spill_w_ready_i (m_axi_spill_wready),
    .spill_w_data_o  (m_axi_spill_wdata),
    .spill_w_last_o  (m_axi_spill_wlast),
    .spill_b_valid_i (m_axi_spill_bvalid),
    .spill_b_ready_o (m_axi_spill_bready),
    .spill_b_resp_i  (m_axi_spill_bresp),
{% else %}    .spill_ar_valid_o(),
    .spill_ar_ready_i(1'b0),
    .spill_ar_addr_o (),
    .spill_ar_len_o  (),
    .spill_r_valid_i (1'b0),
    .spill_r_ready_o (),
    .spill_r_data_i  (8'b0),
    .spill_r_resp_i  (2'b0),
    .spill_r_last_i  (1'b0),
    .spill_aw_valid_o(),
    .spill_aw_ready_i(1'b0),
    .spill_aw_addr_o (),
    .spill_aw_len_o  (),
    .spill_w_valid_o (),
    .spill_w_ready_i (1'b0),
    .spill_w_data_o  (),
    .spill_w_last_o  (),
    .spill_b_valid_i (1'b0),
    .spill_b_ready_o (),
    .spill_b_resp_i  (2'b0),
{% endif %}    .done_o       (done),
    .interrupt_o  (irq),
    .trace_valid_o(),
    .trace_instr_o(),
    .trace_addr_o (),
    .trace_mask_o (),
    .trace_data_o ()
  );

endmodule

`default_nettype wire
