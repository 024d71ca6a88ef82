{% for line in header %}# ${ line }$
{% endfor %}#
# Gowin EDA, in this folder: gw_sh gowin.tcl
set_device -name ${ device }$ ${ part }$
{% for file in sources %}add_file ${ file }$
{% endfor %}{% if pins %}add_file pins.cst
{% endif %}add_file espalier.sdc
set_option -top_module top
set_option -verilog_std sysv2017
run all
