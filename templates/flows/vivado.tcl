{% for line in header %}# ${ line }$
{% endfor %}#
# Vivado in batch mode, in this folder: vivado -mode batch -source vivado.tcl
# Packages the accelerator as an IP core in ip/, makes the project in project/ and builds the bitstream.
# ${ note }$

set part "${ part }$"
set here [file normalize [file dirname [info script]]]
set rtl [file join $here .. rtl]

# --- IP core: AXI4-Lite for control and memories, AXI4-Stream for inputs and outputs
create_project -force package [file join $here package] -part $part
{% for file in sources %}add_files -norecurse [file join $rtl ${ file }$]
{% endfor %}set_property top espalier_top [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir [file join $here ip] -vendor espalier -library user -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name espalier $core
set_property version 1.0 $core
set_property display_name "Espalier accelerator" $core
ipx::associate_bus_interfaces -busif s_axil -clock aclk $core
ipx::associate_bus_interfaces -busif s_axis -clock aclk $core
ipx::associate_bus_interfaces -busif m_axis -clock aclk $core
{% for port in masters %}ipx::associate_bus_interfaces -busif ${ port }$ -clock aclk $core
{% endfor %}ipx::add_bus_interface interrupt $core
set interrupt [ipx::get_bus_interfaces interrupt -of_objects $core]
set_property abstraction_type_vlnv xilinx.com:signal:interrupt_rtl:1.0 $interrupt
set_property bus_type_vlnv xilinx.com:signal:interrupt:1.0 $interrupt
set_property interface_mode master $interrupt
ipx::add_port_map INTERRUPT $interrupt
set_property physical_name irq [ipx::get_port_maps INTERRUPT -of_objects $interrupt]
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::save_core $core
close_project

# --- project
create_project -force espalier [file join $here project] -part $part
set_property ip_repo_paths [file join $here ip] [current_project]
update_ip_catalog
{% if processor %}
# The processor reads inputs from memory and writes outputs to it through one DMA engine; the end of a program
# and of a transfer are interrupts.
create_bd_design system
set ps [create_bd_cell -type ip -vlnv ${ processor_vlnv }$ ps]
{% if zynq7 %}apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config {make_external "FIXED_IO, DDR" Master "Disable" Slave "Disable"} $ps
set_property -dict [list CONFIG.PCW_USE_M_AXI_GP1 1 CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1 CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ ${ clock_mhz }$] $ps
set clock [get_bd_pins ps/FCLK_CLK0]
set reset [get_bd_pins ps/FCLK_RESET0_N]
set master ps/M_AXI_GP1
set slave ps/S_AXI_HP0
set irq [get_bd_pins ps/IRQ_F2P]
connect_bd_net $clock [get_bd_pins ps/M_AXI_GP0_ACLK] [get_bd_pins ps/M_AXI_GP1_ACLK] [get_bd_pins ps/S_AXI_HP0_ACLK]
{% else %}apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} $ps
set_property -dict [list CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0 CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__USE__IRQ0 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ ${ clock_mhz }$] $ps
set clock [get_bd_pins ps/pl_clk0]
set reset [get_bd_pins ps/pl_resetn0]
set master ps/M_AXI_HPM0_FPD
set slave ps/S_AXI_HP0_FPD
set irq [get_bd_pins ps/pl_ps_irq0]
connect_bd_net $clock [get_bd_pins ps/maxihpm0_fpd_aclk] [get_bd_pins ps/saxihp0_fpd_aclk]
{% endif %}set resets [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset resets]
connect_bd_net $clock [get_bd_pins resets/slowest_sync_clk]
connect_bd_net $reset [get_bd_pins resets/ext_reset_in]
set aresetn [get_bd_pins resets/peripheral_aresetn]

set accelerator [create_bd_cell -type ip -vlnv espalier:user:espalier accelerator]
set dma [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma dma]
set_property -dict [list CONFIG.c_include_sg 0 CONFIG.c_sg_include_stscntrl_strm 0 CONFIG.c_sg_length_width 26 CONFIG.c_addr_width ${ address_bits }$ CONFIG.c_m_axis_mm2s_tdata_width ${ stream_bits }$ CONFIG.c_s_axis_s2mm_tdata_width ${ stream_bits }$] $dma
{% if pads_stream %}# A beat has ${ rows }$ bytes, the DMA engine needs a power of two. Packets stay what they are.
set narrow [create_bd_cell -type ip -vlnv xilinx.com:ip:axis_subset_converter narrow]
set_property -dict [list CONFIG.S_TDATA_NUM_BYTES.VALUE_SRC USER CONFIG.S_TDATA_NUM_BYTES ${ stream_bytes }$ CONFIG.M_TDATA_NUM_BYTES.VALUE_SRC USER CONFIG.M_TDATA_NUM_BYTES ${ rows }$ CONFIG.S_HAS_TLAST.VALUE_SRC USER CONFIG.S_HAS_TLAST 1 CONFIG.M_HAS_TLAST.VALUE_SRC USER CONFIG.M_HAS_TLAST 1 CONFIG.TLAST_REMAP {tlast[0]} CONFIG.TDATA_REMAP {tdata[${ stream_high }$:0]}] $narrow
set widen [create_bd_cell -type ip -vlnv xilinx.com:ip:axis_subset_converter widen]
set_property -dict [list CONFIG.S_TDATA_NUM_BYTES.VALUE_SRC USER CONFIG.S_TDATA_NUM_BYTES ${ rows }$ CONFIG.M_TDATA_NUM_BYTES.VALUE_SRC USER CONFIG.M_TDATA_NUM_BYTES ${ stream_bytes }$ CONFIG.S_HAS_TLAST.VALUE_SRC USER CONFIG.S_HAS_TLAST 1 CONFIG.M_HAS_TLAST.VALUE_SRC USER CONFIG.M_HAS_TLAST 1 CONFIG.TLAST_REMAP {tlast[0]} CONFIG.TDATA_REMAP {${ padding }$'b0,tdata[${ stream_high }$:0]}] $widen
connect_bd_intf_net [get_bd_intf_pins dma/M_AXIS_MM2S] [get_bd_intf_pins narrow/S_AXIS]
connect_bd_intf_net [get_bd_intf_pins narrow/M_AXIS] [get_bd_intf_pins accelerator/s_axis]
connect_bd_intf_net [get_bd_intf_pins accelerator/m_axis] [get_bd_intf_pins widen/S_AXIS]
connect_bd_intf_net [get_bd_intf_pins widen/M_AXIS] [get_bd_intf_pins dma/S_AXIS_S2MM]
connect_bd_net $clock [get_bd_pins narrow/aclk] [get_bd_pins widen/aclk]
connect_bd_net $aresetn [get_bd_pins narrow/aresetn] [get_bd_pins widen/aresetn]
{% else %}connect_bd_intf_net [get_bd_intf_pins dma/M_AXIS_MM2S] [get_bd_intf_pins accelerator/s_axis]
connect_bd_intf_net [get_bd_intf_pins accelerator/m_axis] [get_bd_intf_pins dma/S_AXIS_S2MM]
{% endif %}
set control [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI {% if zynq7 %}1{% else %}2{% endif %}] $control
set memory [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect memory]
set_property -dict [list CONFIG.NUM_SI ${ 2 + masters.len() }$ CONFIG.NUM_MI 1] $memory
connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins accelerator/s_axil]
{% if zynq7 %}# The core fills the window of its port: the engine gets the other one.
set engine [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect engine]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $engine
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_GP0] [get_bd_intf_pins engine/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins engine/M00_AXI] [get_bd_intf_pins dma/S_AXI_LITE]
connect_bd_net $clock [get_bd_pins engine/aclk]
connect_bd_net $aresetn [get_bd_pins engine/aresetn]
{% else %}connect_bd_intf_net [get_bd_intf_pins control/M01_AXI] [get_bd_intf_pins dma/S_AXI_LITE]
{% endif %}connect_bd_intf_net [get_bd_intf_pins dma/M_AXI_MM2S] [get_bd_intf_pins memory/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins dma/M_AXI_S2MM] [get_bd_intf_pins memory/S01_AXI]
{% for port in masters %}# Weights, or spilled tensors, are in the processor's memory while the program runs.
connect_bd_intf_net [get_bd_intf_pins accelerator/${ port }$] [get_bd_intf_pins memory/S0${ 2 + loop.index0 }$_AXI]
{% endfor %}connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins $slave]
connect_bd_net $clock [get_bd_pins accelerator/aclk] [get_bd_pins dma/s_axi_lite_aclk] [get_bd_pins dma/m_axi_mm2s_aclk] [get_bd_pins dma/m_axi_s2mm_aclk] [get_bd_pins control/aclk] [get_bd_pins memory/aclk]
connect_bd_net $aresetn [get_bd_pins accelerator/aresetn] [get_bd_pins dma/axi_resetn] [get_bd_pins control/aresetn] [get_bd_pins memory/aresetn]
set interrupts [create_bd_cell -type ip -vlnv xilinx.com:ip:xlconcat interrupts]
set_property CONFIG.NUM_PORTS 3 $interrupts
connect_bd_net [get_bd_pins accelerator/irq] [get_bd_pins interrupts/In0]
connect_bd_net [get_bd_pins dma/mm2s_introut] [get_bd_pins interrupts/In1]
connect_bd_net [get_bd_pins dma/s2mm_introut] [get_bd_pins interrupts/In2]
connect_bd_net [get_bd_pins interrupts/dout] $irq
# The register map spans 30 bits: program at 0x1000_0000, weights at 0x2000_0000 from the start of the core.
assign_bd_address -offset ${ control_base }$ -range 1G [get_bd_addr_segs accelerator/s_axil/*]
assign_bd_address -offset ${ engine_base }$ -range 64K [get_bd_addr_segs dma/S_AXI_LITE/Reg]
assign_bd_address
validate_bd_design
save_bd_design
make_wrapper -files [get_files system.bd] -top -import
set_property top system_wrapper [current_fileset]
{% else %}
# No processor: the serial host of flow/top.sv.
{% for file in serial_sources %}add_files -norecurse [file join $rtl ${ file }$]
{% endfor %}add_files -norecurse [file join $here top.sv]
add_files -norecurse [glob [file join $here .. memory *.hex]]
add_files -fileset constrs_1 -norecurse [file join $here pins.xdc]
set_property top top [current_fileset]
{% endif %}
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
open_run impl_1
report_utilization -file [file join $here utilization.rpt]
report_timing_summary -file [file join $here timing.rpt]
