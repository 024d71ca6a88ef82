{% for line in header %}# ${ line }$
{% endfor %}
create_clock -name clk -period ${ period }$ [get_ports ${ clock }$]
{% for port in inputs %}set_false_path -from [get_ports ${ port }$]
{% endfor %}{% for port in outputs %}set_false_path -to [get_ports ${ port }$]
{% endfor %}
