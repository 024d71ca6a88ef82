// SPDX-License-Identifier: MIT OR Apache-2.0
{% for line in header %}// ${ line }$
{% endfor %}
// Constants of one accelerator and of the instruction set: the only generated part of the kernel.

#ifndef ESPALIER_HLS_CONFIG_H
#define ESPALIER_HLS_CONFIG_H

#include <cstddef>
#include <cstdint>

namespace espalier {

// Configuration.
{% for constant in constants %}constexpr ${ constant.kind }$ ${ constant.name }$ = ${ constant.value }$;
{% endfor %}
// Opcodes.
{% for opcode in opcodes %}constexpr uint32_t OP_${ opcode.name }$ = ${ opcode.value }$;
{% endfor %}
// Place of a field in the words of an instruction.
struct Field {
    int word;
    int lsb;
    int width;
    bool is_signed;
};

{% for field in fields %}constexpr Field ${ field.name }$ = ${ field.value }$;
{% endfor %}
// Bits of each word that an opcode reads; all others must be zero.
constexpr uint32_t USED_BITS[OPCODES][INSTRUCTION_WORDS] = {
{% for row in used_bits %}    {${ row }$},
{% endfor %}};

}  // namespace espalier

#endif
