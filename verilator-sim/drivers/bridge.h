// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Registers of the simulated board; espalier_dma.c is compiled with this header in front.
#ifndef BRIDGE_H
#define BRIDGE_H

#include <stdint.h>

#define BRIDGE_CORE ((uintptr_t)0x100000000)
#define BRIDGE_ENGINE ((uintptr_t)0x200000000)

uint32_t bridge_read32(uintptr_t address);
void bridge_write32(uintptr_t address, uint32_t value);

#define ESPALIER_READ32(address) bridge_read32(address)
#define ESPALIER_WRITE32(address, value) bridge_write32(address, value)
#define ESPALIER_SPINS 2000L

#endif
