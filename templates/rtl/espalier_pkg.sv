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
  // Lowest bit of each field in the 256 bits of an instruction.
{% for field in fields %}  localparam int ${ field.name }$ = ${ field.value }$;
{% endfor %}
endpackage

`default_nettype wire
