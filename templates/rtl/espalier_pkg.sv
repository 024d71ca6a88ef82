// SPDX-License-Identifier: MIT OR Apache-2.0
{% for line in header %}// ${ line }$
{% endfor %}`default_nettype none

/** Constants of one generated accelerator and the instruction set; the only generated values of the hardware. */
package espalier_pkg;

  // Configuration.
{% for constant in constants %}  localparam ${ constant.kind }$ ${ constant.name }$ = ${ constant.value }$;
{% endfor %}
  // Opcodes.
{% for opcode in opcodes %}  localparam logic [2:0] OP_${ opcode.name }$ = 3'd${ opcode.value }$;
{% endfor %}
  // Registers: bits 7:2 of their address. Regions: bits 31:28.
{% for register in registers %}  localparam logic [5:0] REG_${ register.name }$ = 6'd${ register.value }$;
{% endfor %}{% for region in regions %}  localparam logic [3:0] REGION_${ region.name }$ = 4'd${ region.value }$;
{% endfor %}
  // Error codes of the control register.
{% for error in errors %}  localparam logic [3:0] ERROR_${ error.name }$ = 4'd${ error.value }$;
{% endfor %}
  // Lowest bit of each field in the 256 bits of an instruction.
{% for field in fields %}  localparam int ${ field.name }$ = ${ field.value }$;
{% endfor %}
endpackage

`default_nettype wire
