{% for line in header %}# ${ line }$
{% endfor %}#
# Lattice Radiant, in this folder: radiantc radiant.tcl
prj_create -name espalier -impl impl -dev ${ part }$ -synthesis synplify
{% for file in sources %}prj_add_source ${ file }$
{% endfor %}prj_add_source espalier.sdc
prj_set_impl_opt top top
prj_run Export -impl impl
